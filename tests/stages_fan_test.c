/* broadcast, partition, balance and merge. */
#include "fan_rig.h"

/* ---- broadcast ---- */

static void broadcast_asks_for_the_least_and_hands_to_all(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    leg_request(&f, 0, 5);
    leg_request(&f, 1, 3);
    assert_demand(&f.r, 0);
    leg_request(&f, 2, 4);
    assert_demand(&f.r, 3);
    rig_feed(&f.r, 1, 10);
    for (uint32_t i = 0; i < LEGS; i++)
        assert_int_equal(weir_probe_received(f.legs[i]), 3);
    leg_request(&f, 1, 5);
    assert_int_equal(weir_probe_received(f.legs[0]), 4);
    fan_out_finish(&f);
}

static void an_item_ends_when_all_legs_have_ended_it_with_their_worst(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    for (uint32_t i = 0; i < LEGS; i++) {
        weir_probe_keep(f.legs[i], true);
        leg_request(&f, i, 1);
    }
    rig_feed(&f.r, 1, 1);
    weir_item_ack(weir_probe_take(f.legs[0]));
    weir_item_end(weir_probe_take(f.legs[1]), WEIR_FAILED, WEIR_EIO);
    assert_true(weir_testkit_settle(f.r.kit));
    assert_int_equal(weir_probe_live(f.r.from), 1);
    weir_item_ack(weir_probe_take(f.legs[2]));
    assert_true(weir_testkit_settle(f.r.kit));
    assert_outcome(&f.r, 0, WEIR_FAILED, WEIR_EIO);
    fan_out_finish(&f);
}

static void a_cancelled_leg_is_left_out(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    leg_request(&f, 0, 2);
    leg_request(&f, 1, 2);
    assert_demand(&f.r, 0);
    leg_cancel(&f, 2);
    assert_demand(&f.r, 2);
    rig_feed(&f.r, 1, 2);
    assert_ended(&f.r, WEIR_ACKED, 2);
    leg_cancel(&f, 0);
    leg_cancel(&f, 1);
    assert_true(weir_probe_is_cancelled(f.r.from));
    fan_done(&f);
}

static void a_slow_leg_that_misses_does_not_hold_the_others(void **unused)
{
    (void)unused;
    fan f = fan_out_of(weir_broadcast(WEIR_SLOW_LEG_MISSES));
    weir_node_best_effort(f.node);
    rig_start(&f.r);
    leg_request(&f, 0, 5);
    leg_request(&f, 1, 2);
    assert_demand(&f.r, 5);
    rig_feed(&f.r, 1, 5);
    assert_int_equal(weir_probe_received(f.legs[0]), 5);
    assert_int_equal(weir_probe_received(f.legs[1]), 2);
    assert_int_equal(weir_probe_received(f.legs[2]), 0);
    assert_ended(&f.r, WEIR_ACKED, 5);
    leg_request(&f, 0, 3);
    leg_cancel(&f, 0);
    rig_feed(&f.r, 6, 3); /* asked for by the leg that went away */
    assert_ended(&f.r, WEIR_FILTERED, 3);
    fan_out_finish(&f);
}

static weir_status overwrite(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) = 99;
    return WEIR_OK;
}

static void a_map_behind_a_broadcast_writes_to_its_own_copy(void **unused)
{
    (void)unused;
    fan f = { .r = rig_new(1) };
    weir_node *from = weir_add(f.r.pipeline, weir_probe_source(f.r.from));
    f.node = weir_add(f.r.pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_link(from, 0, f.node, 0, NULL);
    for (uint32_t i = 0; i < LEGS; i++) {
        f.legs[i] = weir_testkit_probe(f.r.kit);
        weir_node *sink = weir_add(f.r.pipeline, weir_probe_sink(f.legs[i]));
        if (i == 1) {
            weir_link(f.node, i, sink, 0, NULL);
            continue;
        }
        weir_node *map = weir_add(f.r.pipeline, weir_map(overwrite, NULL));
        weir_link(f.node, i, map, 0, NULL);
        weir_link(map, 0, sink, 0, NULL);
    }
    rig_start(&f.r);
    for (uint32_t i = 0; i < LEGS; i++)
        leg_request(&f, i, 1);
    rig_feed(&f.r, 7, 1);
    assert_int_equal(weir_probe_value(f.legs[0], 0), 99);
    assert_int_equal(weir_probe_value(f.legs[1], 0), 7);
    assert_int_equal(weir_probe_value(f.legs[2], 0), 99);
    assert_outcome(&f.r, 0, WEIR_ACKED, WEIR_OK);
    fan_out_finish(&f);
}

static void an_unknown_rule_for_slow_legs_is_refused(void **unused)
{
    (void)unused;
    fan f = fan_out_of(weir_broadcast((weir_slow_leg)7));
    assert_int_equal(weir_pipeline_check(f.r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(f.r.pipeline);
    assert_int_equal(weir_testkit_free(f.r.kit), 0);
}

/* ---- partition ---- */

static uint64_t by_value_mod_10(const weir_item *item, void *user)
{
    (void)user;
    return value_of(item) % 10;
}

static void partition_keeps_each_key_on_one_leg_in_order(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_partition(by_value_mod_10, NULL, LEGS));
    uint64_t total = 0, last[10] = { 0 };
    int leg_of[10];
    memset(leg_of, -1, sizeof leg_of);
    for (uint32_t i = 0; i < LEGS; i++)
        leg_request(&f, i, WEIR_UNBOUNDED);
    rig_feed(&f.r, 1, 1000);
    for (uint32_t i = 0; i < LEGS; i++) {
        assert_true(weir_probe_received(f.legs[i]) > 0);
        for (uint64_t n = 0; n < weir_probe_received(f.legs[i]); n++, total++) {
            uint64_t value = weir_probe_value(f.legs[i], n), key = value % 10;
            assert_true(leg_of[key] == -1 || leg_of[key] == (int)i);
            assert_true(value > last[key]);
            leg_of[key] = (int)i;
            last[key] = value;
        }
    }
    assert_int_equal(total, 1000);
    fan_out_finish(&f);
}

static void partition_asks_for_the_least_of_its_legs(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_partition(by_value_mod_10, NULL, LEGS));
    leg_request(&f, 0, 5);
    leg_request(&f, 1, 2);
    assert_demand(&f.r, 0);
    leg_request(&f, 2, 4);
    assert_demand(&f.r, 2);
    fan_out_finish(&f);
}

static void items_for_a_cancelled_partition_are_aborted(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_partition(by_value_mod_10, NULL, LEGS));
    for (uint32_t i = 0; i < LEGS; i++)
        leg_request(&f, i, WEIR_UNBOUNDED);
    leg_cancel(&f, 1);
    rig_feed(&f.r, 0, 100);
    assert_true(weir_probe_ended(f.r.from, WEIR_ABORTED) > 0);
    assert_int_equal(
        weir_probe_ended(f.r.from, WEIR_ABORTED) + weir_probe_ended(f.r.from, WEIR_ACKED), 100);
    leg_cancel(&f, 0);
    leg_cancel(&f, 2);
    assert_true(weir_probe_is_cancelled(f.r.from));
    fan_done(&f);
}

static void a_partition_with_other_outputs_than_it_says_is_refused(void **unused)
{
    (void)unused;
    fan f = fan_out_of(weir_partition(by_value_mod_10, NULL, LEGS + 1));
    assert_int_equal(weir_pipeline_check(f.r.pipeline), WEIR_EINVAL);
    assert_non_null(strstr(weir_pipeline_why(f.r.pipeline), "number of outputs"));
    weir_pipeline_free(f.r.pipeline);
    assert_int_equal(weir_testkit_free(f.r.kit), 0);
}

/* ---- balance ---- */

static void balance_takes_turns_among_legs_with_credit(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_balance());
    leg_request(&f, 0, 10);
    leg_request(&f, 1, 10);
    assert_demand(&f.r, 20);
    rig_feed(&f.r, 0, 6);
    assert_int_equal(weir_probe_received(f.legs[0]), 3);
    assert_int_equal(weir_probe_received(f.legs[1]), 3);
    rig_feed(&f.r, 6, 20);
    assert_int_equal(weir_probe_received(f.legs[0]), 10);
    assert_int_equal(weir_probe_received(f.legs[1]), 10);
    leg_request(&f, 2, 1);
    assert_int_equal(weir_probe_received(f.legs[2]), 1);
    fan_out_finish(&f);
}

static void what_a_cancelled_leg_had_asked_for_goes_to_the_others(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_balance());
    leg_request(&f, 0, 10);
    leg_request(&f, 1, 2);
    leg_cancel(&f, 0);
    rig_feed(&f.r, 0, 20); /* 12 were asked for */
    assert_int_equal(weir_probe_emitted(f.r.from), 12);
    assert_int_equal(weir_probe_received(f.legs[1]), 2);
    leg_request(&f, 2, 10);
    assert_int_equal(weir_probe_received(f.legs[2]), 10);
    assert_int_equal(weir_probe_emitted(f.r.from), 12);
    fan_out_finish(&f);
}

static void balance_aborts_what_it_holds_when_all_legs_are_gone(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_balance());
    leg_request(&f, 0, 4);
    leg_request(&f, 1, 1);
    leg_cancel(&f, 0);
    rig_feed(&f.r, 0, 5);
    leg_cancel(&f, 1);
    leg_cancel(&f, 2);
    assert_ended(&f.r, WEIR_ABORTED, 4);
    fan_done(&f);
}

static void an_abort_ends_what_balance_holds(void **unused)
{
    (void)unused;
    fan f = fan_out(weir_balance());
    leg_request(&f, 0, 4);
    leg_cancel(&f, 0);
    rig_feed(&f.r, 0, 4);
    rig_abort(&f.r);
    assert_ended(&f.r, WEIR_ABORTED, 4);
    fan_done(&f);
}

/* ---- merge ---- */

static void merge_divides_demand_evenly(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    for (uint32_t i = 0; i < LEGS; i++)
        assert_int_equal(weir_probe_demand(f.legs[i]), 0);
    rig_request(&f.r, 30);
    for (uint32_t i = 0; i < LEGS; i++)
        assert_int_equal(weir_probe_demand(f.legs[i]), 10);
    fan_in_finish(&f);
}

static void merge_asks_for_vectors_where_much_is_asked(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    rig_request(&f.r, 63);
    assert_int_equal(weir_probe_demand(f.legs[0]), 63 / LEGS);
    rig_request(&f.r, 1);
    for (uint32_t i = 0; i < LEGS; i++)
        assert_int_equal(weir_probe_demand(f.legs[i]), 64);
    fan_in_finish(&f);
}

static void an_idle_input_starves_none(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    for (uint64_t i = 0; i < 100; i++) {
        rig_request(&f.r, 1);
        leg_feed(&f, 2, i, 1);
    }
    assert_received(&f.r, 100);
    rig_request(&f.r, 300);
    leg_feed(&f, 1, 0, 300); /* asked for at once, and never again */
    assert_received(&f.r, 400);
    fan_in_finish(&f);
}

static void merge_emits_no_more_than_was_asked(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    rig_request(&f.r, 1);
    for (uint32_t i = 0; i < LEGS; i++)
        leg_feed(&f, i, i * 10, 5);
    assert_received(&f.r, 1);
    rig_request(&f.r, 2); /* each input's one was held: they take turns */
    assert_got(&f.r, 0, 10, 20);
    fan_in_finish(&f);
}

static void busy_inputs_share_evenly(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    for (uint32_t i = 0; i < LEGS; i++)
        leg_feed(&f, i, i * 10000, 1000);
    uint64_t from[LEGS] = { 0 };
    for (int n = 0; n < 100; n++)
        rig_request(&f.r, 1 + (uint64_t)n % 7);
    for (uint64_t n = 0; n < weir_probe_received(f.r.to); n++)
        from[weir_probe_value(f.r.to, n) / 10000]++;
    uint64_t fair = weir_probe_received(f.r.to) / LEGS;
    for (uint32_t i = 0; i < LEGS; i++)
        assert_in_range(from[i], fair - fair / 4, fair + fair / 4);
    fan_in_finish(&f);
}

static void what_idle_inputs_were_asked_for_is_held_when_it_comes_late(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    rig_request(&f.r, 250);
    leg_feed(&f, 0, 0, 250);
    assert_received(&f.r, 250);
    leg_feed(&f, 1, 1000, 100);
    leg_feed(&f, 2, 2000, 100);
    assert_received(&f.r, 250);
    assert_int_equal(weir_probe_emitted(f.legs[1]), 64);
    assert_int_equal(weir_probe_emitted(f.legs[2]), 64);
    rig_request(&f.r, 500);
    assert_received(&f.r, 450);
    fan_in_finish(&f);
}

static void merge_ends_with_its_last_input(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    rig_request(&f.r, 10);
    weir_probe_end(f.legs[0]);
    weir_probe_end(f.legs[1]);
    leg_feed(&f, 2, 1, 2);
    assert_false(weir_probe_is_over(f.r.to, NULL));
    weir_probe_end(f.legs[2]);
    assert_true(weir_testkit_settle(f.r.kit));
    assert_got(&f.r, 1, 2);
    assert_true(weir_probe_is_over(f.r.to, NULL));
    fan_done(&f);
}

static void an_error_of_one_input_cancels_the_others(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    weir_status status = WEIR_OK;
    rig_request(&f.r, 10);
    weir_probe_end_error(f.legs[1], WEIR_EIO);
    assert_true(weir_testkit_settle(f.r.kit));
    assert_true(weir_probe_is_cancelled(f.legs[0]));
    assert_true(weir_probe_is_cancelled(f.legs[2]));
    assert_true(weir_probe_is_over(f.r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    fan_done(&f);
}

static void a_cancel_reaches_all_inputs_and_aborts_what_is_held(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    rig_request(&f.r, 1);
    for (uint32_t i = 0; i < LEGS; i++)
        leg_feed(&f, i, 0, 1);
    rig_cancel(&f.r);
    for (uint32_t i = 0; i < LEGS; i++)
        assert_true(weir_probe_is_cancelled(f.legs[i]));
    assert_int_equal(weir_probe_ended(f.legs[0], WEIR_ABORTED) +
                         weir_probe_ended(f.legs[1], WEIR_ABORTED) +
                         weir_probe_ended(f.legs[2], WEIR_ABORTED),
                     2);
    fan_done(&f);
}

static void an_abort_ends_what_merge_holds(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge());
    rig_request(&f.r, 1);
    for (uint32_t i = 0; i < LEGS; i++)
        leg_feed(&f, i, 0, 1);
    fan_abort_and_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broadcast_asks_for_the_least_and_hands_to_all),
        cmocka_unit_test(an_item_ends_when_all_legs_have_ended_it_with_their_worst),
        cmocka_unit_test(a_cancelled_leg_is_left_out),
        cmocka_unit_test(a_slow_leg_that_misses_does_not_hold_the_others),
        cmocka_unit_test(a_map_behind_a_broadcast_writes_to_its_own_copy),
        cmocka_unit_test(an_unknown_rule_for_slow_legs_is_refused),
        cmocka_unit_test(partition_keeps_each_key_on_one_leg_in_order),
        cmocka_unit_test(partition_asks_for_the_least_of_its_legs),
        cmocka_unit_test(items_for_a_cancelled_partition_are_aborted),
        cmocka_unit_test(a_partition_with_other_outputs_than_it_says_is_refused),
        cmocka_unit_test(balance_takes_turns_among_legs_with_credit),
        cmocka_unit_test(what_a_cancelled_leg_had_asked_for_goes_to_the_others),
        cmocka_unit_test(balance_aborts_what_it_holds_when_all_legs_are_gone),
        cmocka_unit_test(an_abort_ends_what_balance_holds),
        cmocka_unit_test(merge_divides_demand_evenly),
        cmocka_unit_test(merge_asks_for_vectors_where_much_is_asked),
        cmocka_unit_test(an_idle_input_starves_none),
        cmocka_unit_test(merge_emits_no_more_than_was_asked),
        cmocka_unit_test(busy_inputs_share_evenly),
        cmocka_unit_test(what_idle_inputs_were_asked_for_is_held_when_it_comes_late),
        cmocka_unit_test(merge_ends_with_its_last_input),
        cmocka_unit_test(an_error_of_one_input_cancels_the_others),
        cmocka_unit_test(a_cancel_reaches_all_inputs_and_aborts_what_is_held),
        cmocka_unit_test(an_abort_ends_what_merge_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
