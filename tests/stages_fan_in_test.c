/* merge_priority, interleave, zip and concat. */
#include "fan_rig.h"

/* ---- What holds for every fan-in that chooses ---- */

static weir_stage_spec *strict(void)
{
    return weir_merge_priority(NULL);
}

static weir_stage_spec *by_two(void)
{
    return weir_interleave(2);
}

/* Not started; the window below has room for 100 bytes. */
static fan fan_in_bytes(weir_stage_spec *stage)
{
    fan f = { .r = rig_new(1) };
    f.node = weir_add(f.r.pipeline, stage);
    for (uint32_t i = 0; i < LEGS; i++) {
        f.legs[i] = weir_testkit_probe(f.r.kit);
        weir_link(weir_add(f.r.pipeline, weir_probe_source(f.legs[i])), 0, f.node, i, NULL);
    }
    weir_node *sink = weir_add(f.r.pipeline, weir_probe_sink(f.r.to));
    weir_link(f.node, 0, sink, 0, &(weir_edge_config){ .window_bytes = 100 });
    return f;
}

static weir_stage_spec *(*const makers[])(void) = { strict, by_two, weir_zip, weir_concat };
enum { MAKERS = sizeof makers / sizeof *makers };

static void a_cancel_ends_what_is_held_and_reaches_all_inputs(void **unused)
{
    (void)unused;
    for (size_t m = 0; m < MAKERS; m++) {
        fan f = fan_in(makers[m]());
        rig_request(&f.r, 1);
        leg_feed(&f, 1, 10, 3);
        leg_feed(&f, 2, 20, 3);
        rig_cancel(&f.r);
        for (uint32_t i = 0; i < LEGS; i++)
            assert_true(weir_probe_is_cancelled(f.legs[i]));
        fan_done(&f);
    }
}

static void an_abort_ends_what_is_held(void **unused)
{
    (void)unused;
    for (size_t m = 0; m < MAKERS; m++) {
        fan f = fan_in(makers[m]());
        rig_request(&f.r, 1);
        leg_feed(&f, 1, 10, 3);
        fan_abort_and_done(&f);
    }
}

static void demand_is_never_exceeded(void **unused)
{
    (void)unused;
    for (size_t m = 0; m < MAKERS; m++) {
        fan f = fan_in(makers[m]());
        for (uint32_t i = 0; i < LEGS; i++)
            leg_feed(&f, i, i * 100, 40);
        for (uint64_t n = 1; n <= 9; n++) {
            rig_request(&f.r, 1);
            assert_received(&f.r, n);
        }
        fan_in_finish(&f);
    }
}

static void an_error_ends_the_output_after_what_is_held_and_cancels_the_others(void **unused)
{
    (void)unused;
    for (size_t m = 0; m < MAKERS; m++) {
        fan f = fan_in(makers[m]());
        weir_status status = WEIR_OK;
        rig_request(&f.r, 1);
        uint64_t before = makers[m] == weir_zip ? 0 : 2; /* what waits to be joined is held too */
        leg_feed(&f, 0, 0, before);
        weir_probe_end_error(f.legs[0], WEIR_EIO);
        rig_request(&f.r, WEIR_UNBOUNDED);
        assert_true(weir_probe_is_over(f.r.to, &status));
        assert_int_equal(status, WEIR_EIO);
        assert_true(weir_probe_is_cancelled(f.legs[1]));
        assert_true(weir_probe_is_cancelled(f.legs[2]));
        assert_received(&f.r, before);
        fan_done(&f);
    }
}

static bool run_with_a_failure(weir_stage_spec *(*make)(void), uint64_t nth)
{
    weir_testkit *kit = weir_testkit_new(1, nth);
    weir_probe *legs[LEGS], *to = weir_testkit_probe(kit);
    for (uint32_t i = 0; i < LEGS; i++)
        legs[i] = weir_testkit_probe(kit);
    uint64_t before = weir_testkit_allocations(kit);
    weir_testkit_fail_allocation(kit, nth);
    weir_pipeline *p = weir_testkit_pipeline(kit);
    if (p != NULL) {
        weir_node *node = weir_add(p, make());
        for (uint32_t i = 0; i < LEGS; i++)
            weir_link(weir_add(p, weir_probe_source(legs[i])), 0, node, i, NULL);
        weir_link(node, 0, weir_add(p, weir_probe_sink(to)), 0, NULL);
        if (weir_testkit_start(kit, p) == WEIR_OK) {
            weir_probe_request(to, WEIR_UNBOUNDED);
            for (uint32_t i = 0; i < LEGS; i++) {
                for (uint64_t v = 0; v < 100; v++)
                    (void)weir_probe_feed(legs[i], v);
                weir_probe_end(legs[i]);
            }
            assert_true(weir_testkit_settle(kit));
            weir_pipeline_shutdown(p, WEIR_ABORT, 0);
            assert_true(weir_testkit_settle(kit));
            assert_true(weir_pipeline_is_finished(p));
        }
    }
    bool failed = weir_testkit_allocations(kit) - before >= nth;
    for (uint32_t i = 0; i < LEGS; i++)
        assert_int_equal(weir_probe_live(legs[i]) + weir_probe_violations(legs[i]), 0);
    assert_int_equal(weir_probe_violations(to), 0);
    weir_pipeline_free(p);
    assert_int_equal(weir_testkit_free(kit), 0);
    return failed;
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    for (size_t m = 0; m < MAKERS; m++) {
        uint64_t nth = 1;
        while (run_with_a_failure(makers[m], nth))
            nth++;
        assert_true(nth > 10);
    }
}

/* ---- merge_priority ---- */

static void the_first_input_goes_first(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge_priority(NULL));
    leg_feed(&f, 2, 30, 2);
    leg_feed(&f, 1, 20, 2);
    leg_feed(&f, 0, 10, 2);
    rig_request(&f.r, 6);
    assert_got(&f.r, 10, 11, 20, 21, 30, 31);
    fan_in_finish(&f);
}

static void weights_share_a_round(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge_priority(&(weir_merge_priority_config){ .weights = { 3, 2 } }));
    for (uint32_t i = 0; i < LEGS; i++)
        leg_feed(&f, i, i * 100, 40);
    rig_request(&f.r, 12);
    assert_got(&f.r, 0, 1, 2, 100, 101, 200, 3, 4, 5, 102, 103, 201);
    fan_in_finish(&f);
}

static void one_that_waits_alone_uses_up_its_shares_of_the_rounds(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge_priority(&(weir_merge_priority_config){ .weights = { 3, 2 } }));
    leg_feed(&f, 1, 100, 9);
    rig_request(&f.r, 5); /* rounds of two, two and one */
    leg_feed(&f, 0, 0, 9);
    rig_request(&f.r, 6);
    assert_got(&f.r, 100, 101, 102, 103, 104, 0, 1, 2, 105, 3, 4);
    fan_in_finish(&f);
}

static void a_share_that_has_no_room_below_is_not_used_up(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge_priority(&(weir_merge_priority_config){ .weights = { 2, 1, 1 } }));
    for (uint32_t i = 0; i < LEGS; i++)
        leg_feed(&f, i, i * 100, 40);
    for (int n = 0; n < 8; n++)
        rig_request(&f.r, 1);
    assert_got(&f.r, 0, 1, 100, 200, 2, 3, 101, 201);
    fan_in_finish(&f);
}

static void what_has_waited_long_enough_goes_before_all(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge_priority(&(weir_merge_priority_config){ .ageing_ms = 100 }));
    leg_feed(&f, 2, 30, 2);
    assert_true(weir_testkit_advance(f.r.kit, 10 * WEIR_MS));
    leg_feed(&f, 1, 20, 2);
    assert_true(weir_testkit_advance(f.r.kit, 90 * WEIR_MS - 1));
    leg_feed(&f, 0, 10, 3);
    rig_request(&f.r, 1);
    assert_true(weir_testkit_advance(f.r.kit, 1));
    rig_request(&f.r, 3);
    assert_got(&f.r, 10, 30, 31, 11);
    assert_true(weir_testkit_advance(f.r.kit, 10 * WEIR_MS));
    rig_request(&f.r, 3);
    assert_got(&f.r, 10, 30, 31, 11, 20, 21, 12);
    fan_in_finish(&f);
}

static void without_ageing_an_input_may_starve(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge_priority(&(weir_merge_priority_config){ .ageing_ms = UINT32_MAX }));
    leg_feed(&f, 1, 1000, 1);
    for (uint64_t i = 0; i < 50; i++) {
        leg_feed(&f, 0, i, 1);
        assert_true(weir_testkit_advance(f.r.kit, WEIR_SEC));
        rig_request(&f.r, 1);
        assert_int_equal(weir_probe_value(f.r.to, i), i);
    }
    fan_in_finish(&f);
}

/* A starved input moves `ahead` items each `ageing_ms`, however busy the first is. */
static void no_input_starves_under_overload(void **unused)
{
    (void)unused;
    fan f =
        fan_in(weir_merge_priority(&(weir_merge_priority_config){ .ageing_ms = 50, .ahead = 8 }));
    leg_feed(&f, 0, 0, 2000);
    leg_feed(&f, 2, 10000, 2000);
    for (int ms = 0; ms < 500; ms++) {
        assert_true(weir_testkit_advance(f.r.kit, WEIR_MS));
        rig_request(&f.r, 2);
    }
    uint64_t starved = 0;
    for (uint64_t n = 0; n < weir_probe_received(f.r.to); n++)
        starved += weir_probe_value(f.r.to, n) >= 10000;
    assert_in_range(starved, 500 / 50 * 8 - 16, 500 / 50 * 8);
    fan_in_finish(&f);
}

static void each_input_is_asked_ahead_for_as_much_as_may_be_held(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_merge_priority(&(weir_merge_priority_config){ .ahead = 5 }));
    for (uint32_t i = 0; i < LEGS; i++)
        leg_feed(&f, i, 0, 9);
    for (uint32_t i = 0; i < LEGS; i++)
        assert_int_equal(weir_probe_emitted(f.legs[i]), 5);
    rig_request(&f.r, 2);
    assert_int_equal(weir_probe_emitted(f.legs[0]), 7);
    fan_in_finish(&f);
}

static void more_ahead_than_64_is_refused(void **unused)
{
    (void)unused;
    fan f = fan_in_of(weir_merge_priority(&(weir_merge_priority_config){ .ahead = 65 }));
    assert_int_equal(weir_pipeline_check(f.r.pipeline), WEIR_EINVAL);
    assert_non_null(strstr(weir_pipeline_why(f.r.pipeline), "64"));
    weir_pipeline_free(f.r.pipeline);
    assert_int_equal(weir_testkit_free(f.r.kit), 0);
}

static void priorities_respect_a_window_of_bytes(void **unused)
{
    (void)unused;
    fan f = fan_in_bytes(weir_merge_priority(NULL));
    rig_start(&f.r);
    for (uint64_t i = 0; i < 20; i++)
        (void)weir_probe_feed_item(f.legs[i % LEGS], &(weir_probe_item){ .value = i, .cost = 60 });
    rig_request(&f.r, 20);
    assert_received(&f.r, 20);
    fan_in_finish(&f);
}

/* ---- interleave ---- */

static void inputs_take_turns_of_n(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_interleave(2));
    for (uint32_t i = 0; i < LEGS; i++)
        leg_feed(&f, i, i * 100, 10);
    rig_request(&f.r, 9);
    assert_got(&f.r, 0, 1, 100, 101, 200, 201, 2, 3, 102);
    fan_in_finish(&f);
}

static void the_others_wait_for_whose_turn_it_is(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_interleave(1));
    rig_request(&f.r, 10);
    leg_feed(&f, 1, 100, 2);
    leg_feed(&f, 2, 200, 2);
    assert_received(&f.r, 0);
    leg_feed(&f, 0, 1, 1);
    assert_got(&f.r, 1, 100, 200);
    fan_in_finish(&f);
}

static void an_input_that_is_over_loses_its_turn(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_interleave(2));
    rig_request(&f.r, 20);
    leg_feed(&f, 0, 1, 1);
    weir_probe_end(f.legs[0]);
    leg_feed(&f, 1, 100, 4);
    leg_feed(&f, 2, 200, 4);
    assert_got(&f.r, 1, 100, 101, 200, 201, 102, 103, 202, 203);
    fan_in_finish(&f);
}

static void turns_ask_for_no_more_than_n_of_each(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_interleave(4));
    assert_int_equal(weir_probe_demand(f.legs[1]), 0);
    rig_request(&f.r, 2);
    assert_int_equal(weir_probe_demand(f.legs[1]), 2);
    rig_request(&f.r, 50);
    assert_int_equal(weir_probe_demand(f.legs[1]), 4);
    fan_in_finish(&f);
}

static void turns_of_none_are_refused(void **unused)
{
    (void)unused;
    fan f = fan_in_of(weir_interleave(0));
    assert_int_equal(weir_pipeline_check(f.r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(f.r.pipeline);
    assert_int_equal(weir_testkit_free(f.r.kit), 0);
}

/* ---- zip ---- */

static void zip_joins_one_of_each_in_the_order_of_inputs(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_zip());
    weir_probe_keep(f.r.to, true);
    rig_request(&f.r, 5);
    for (uint32_t i = LEGS; i-- > 0;)
        leg_feed(&f, i, i * 100 + 1, 2);
    assert_received(&f.r, 2);
    for (uint64_t n = 1; n <= 2; n++) {
        weir_item *joined = weir_probe_take(f.r.to);
        const weir_items *members = weir_item_members(joined);
        assert_int_equal(members->n, LEGS);
        for (uint32_t i = 0; i < LEGS; i++)
            assert_int_equal(value_of(members->items[i]), i * 100 + n);
        weir_item_ack(joined);
    }
    fan_in_finish(&f);
}

static void zip_ends_when_an_input_is_used_up(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_zip());
    leg_feed(&f, 0, 1, 2);
    weir_probe_end(f.legs[0]);
    leg_feed(&f, 1, 100, 5);
    leg_feed(&f, 2, 200, 1);
    rig_request(&f.r, 5);
    assert_received(&f.r, 1);
    assert_false(weir_probe_is_over(f.r.to, NULL)); /* one of input 0 still waits */
    leg_feed(&f, 2, 201, 1);
    assert_received(&f.r, 2);
    weir_status status = WEIR_EIO;
    assert_true(weir_probe_is_over(f.r.to, &status));
    assert_int_equal(status, WEIR_OK);
    assert_true(weir_probe_is_cancelled(f.legs[1]));
    assert_true(weir_probe_is_cancelled(f.legs[2]));
    assert_int_equal(weir_probe_ended(f.legs[1], WEIR_ACKED), 2);
    assert_int_equal(weir_probe_ended(f.legs[1], WEIR_ABORTED), 3);
    fan_done(&f);
}

static void zip_asks_each_for_what_is_asked_of_it(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_zip());
    rig_request(&f.r, 3);
    leg_feed(&f, 0, 1, 9);
    assert_int_equal(weir_probe_emitted(f.legs[0]), 3);
    assert_int_equal(weir_probe_demand(f.legs[0]), 0);
    assert_int_equal(weir_probe_demand(f.legs[1]), 3);
    fan_in_finish(&f);
}

/* ---- concat ---- */

static void concat_asks_nothing_of_an_input_before_its_turn(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_concat());
    rig_request(&f.r, 5);
    leg_feed(&f, 1, 100, 2);
    leg_feed(&f, 0, 1, 2);
    assert_int_equal(weir_probe_emitted(f.legs[1]), 0);
    assert_got(&f.r, 1, 2);
    weir_probe_end(f.legs[0]);
    assert_true(weir_testkit_settle(f.r.kit));
    assert_got(&f.r, 1, 2, 100, 101);
    assert_int_equal(weir_probe_demand(f.legs[1]), 1);
    fan_in_finish(&f);
}

static void an_error_counts_when_its_turn_comes(void **unused)
{
    (void)unused;
    fan f = fan_in(weir_concat());
    weir_status status = WEIR_OK;
    weir_probe_end_error(f.legs[1], WEIR_EPROTO);
    leg_feed(&f, 0, 1, 2);
    rig_request(&f.r, 5);
    assert_got(&f.r, 1, 2);
    assert_false(weir_probe_is_over(f.r.to, NULL));
    weir_probe_end(f.legs[0]);
    assert_true(weir_testkit_settle(f.r.kit));
    assert_true(weir_probe_is_over(f.r.to, &status));
    assert_int_equal(status, WEIR_EPROTO);
    assert_true(weir_probe_is_cancelled(f.legs[2]));
    fan_done(&f);
}

static void concat_holds_what_the_byte_window_has_no_room_for(void **unused)
{
    (void)unused;
    fan f = fan_in_bytes(weir_concat());
    weir_probe_keep(f.r.to, true);
    rig_start(&f.r);
    for (uint64_t i = 0; i < 10; i++)
        (void)weir_probe_feed_item(f.legs[0], &(weir_probe_item){ .value = i, .cost = 60 });
    rig_request(&f.r, 10);
    weir_edge_stats edge;
    for (uint32_t i = 0; i < weir_pipeline_edges(f.r.pipeline); i++) {
        assert_int_equal(weir_pipeline_edge_stats(f.r.pipeline, i, &edge), WEIR_OK);
        if (edge.window_bytes == 100)
            assert_true(edge.bytes <= 160);
    }
    weir_probe_keep(f.r.to, false);
    for (weir_item *item; (item = weir_probe_take(f.r.to)) != NULL;)
        weir_item_ack(item);
    fan_in_finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cancel_ends_what_is_held_and_reaches_all_inputs),
        cmocka_unit_test(an_abort_ends_what_is_held),
        cmocka_unit_test(demand_is_never_exceeded),
        cmocka_unit_test(an_error_ends_the_output_after_what_is_held_and_cancels_the_others),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(the_first_input_goes_first),
        cmocka_unit_test(weights_share_a_round),
        cmocka_unit_test(one_that_waits_alone_uses_up_its_shares_of_the_rounds),
        cmocka_unit_test(a_share_that_has_no_room_below_is_not_used_up),
        cmocka_unit_test(what_has_waited_long_enough_goes_before_all),
        cmocka_unit_test(without_ageing_an_input_may_starve),
        cmocka_unit_test(no_input_starves_under_overload),
        cmocka_unit_test(each_input_is_asked_ahead_for_as_much_as_may_be_held),
        cmocka_unit_test(more_ahead_than_64_is_refused),
        cmocka_unit_test(priorities_respect_a_window_of_bytes),
        cmocka_unit_test(inputs_take_turns_of_n),
        cmocka_unit_test(the_others_wait_for_whose_turn_it_is),
        cmocka_unit_test(an_input_that_is_over_loses_its_turn),
        cmocka_unit_test(turns_ask_for_no_more_than_n_of_each),
        cmocka_unit_test(turns_of_none_are_refused),
        cmocka_unit_test(zip_joins_one_of_each_in_the_order_of_inputs),
        cmocka_unit_test(zip_ends_when_an_input_is_used_up),
        cmocka_unit_test(zip_asks_each_for_what_is_asked_of_it),
        cmocka_unit_test(concat_asks_nothing_of_an_input_before_its_turn),
        cmocka_unit_test(an_error_counts_when_its_turn_comes),
        cmocka_unit_test(concat_holds_what_the_byte_window_has_no_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
