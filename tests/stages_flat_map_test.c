/* flat_map. */
#include "stages_failing.h"

/* As many items as the value says, numbered value * 1000 + index. */
static weir_status count_out(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                             weir_item **ret_made)
{
    (void)user;
    uint64_t value = value_of(item);
    if (index == value)
        return WEIR_OK;
    weir_item *made = weir_item_new(loop, NULL, sizeof value);
    if (made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(made) = value * 1000 + index;
    *ret_made = made;
    return WEIR_OK;
}

static weir_status fails_at_two(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                                weir_item **ret_made)
{
    return index == 2 ? WEIR_EPROTO : count_out(loop, item, index, user, ret_made);
}

static void flat_map_makes_items_in_order(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    rig_request(&r, 10);
    rig_feed(&r, 2, 2);
    assert_got(&r, 2000, 2001, 3000, 3001, 3002);
    rig_finish(&r);
}

static void flat_map_makes_no_more_than_was_asked(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    rig_feed(&r, 5, 1);
    rig_request(&r, 2);
    assert_got(&r, 5000, 5001);
    rig_request(&r, 1);
    assert_received(&r, 3);
    assert_int_equal(weir_probe_live(r.from), 1);
    rig_finish(&r);
}

static void flat_map_asks_for_at_most_one_item_per_item_asked(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    rig_request(&r, 3);
    assert_demand(&r, 3);
    rig_request(&r, 100);
    assert_demand(&r, WEIR_FLAT_MAP_AHEAD);
    rig_finish(&r);
}

static void what_is_asked_ahead_is_held(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    rig_request(&r, 4);
    rig_feed(&r, 3, 10);
    assert_received(&r, 4);
    assert_int_equal(weir_probe_emitted(r.from), 4);
    assert_demand(&r, 0);
    rig_finish(&r);
}

static void an_item_ends_after_all_that_was_made_of_it(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    weir_probe_keep(r.to, true);
    rig_request(&r, 10);
    rig_feed(&r, 2, 1);
    weir_item_ack(weir_probe_take(r.to));
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(weir_probe_live(r.from), 1);
    weir_item_end(weir_probe_take(r.to), WEIR_REJECTED, WEIR_EREJECTED);
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_REJECTED, WEIR_EREJECTED);
    rig_finish(&r);
}

static void an_item_of_which_nothing_is_made_is_filtered_and_asked_for_again(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    rig_request(&r, 1);
    for (int i = 0; i < 100; i++)
        rig_feed(&r, 0, 1);
    assert_ended(&r, WEIR_FILTERED, 100);
    assert_demand(&r, 1);
    rig_feed(&r, 1, 1);
    assert_got(&r, 1000);
    rig_finish(&r);
}

static void a_failure_fails_the_item_and_keeps_what_was_made(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(fails_at_two, NULL));
    rig_request(&r, 10);
    rig_feed(&r, 5, 1);
    rig_feed(&r, 1, 1);
    assert_got(&r, 5000, 5001, 1000);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EPROTO);
    assert_outcome(&r, 1, WEIR_ACKED, WEIR_OK);
    rig_finish(&r);
}

static void one_item_makes_thousands(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    weir_probe_keep(r.to, true);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 5000, 1);
    assert_received(&r, 5000);
    assert_int_equal(weir_probe_value(r.to, 4999), 5000 * 1000 + 4999);
    for (weir_item *item; (item = weir_probe_take(r.to)) != NULL;)
        weir_item_ack(item);
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    rig_finish(&r);
}

static void more_than_the_limit_fails_the_item(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, WEIR_FLAT_MAP_MADE_MAX + 1, 1);
    assert_received(&r, WEIR_FLAT_MAP_MADE_MAX);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ELIMIT);
    rig_finish(&r);
}

static void the_end_follows_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    rig_request(&r, 2);
    rig_feed(&r, 3, 2);
    rig_end(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    rig_request(&r, 5);
    assert_got(&r, 3000, 3001, 3002, 4000, 4001, 4002, 4003);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void a_cancel_aborts_the_item_in_hand_and_those_waiting(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    rig_request(&r, 100);
    rig_feed(&r, 101, 3);
    rig_cancel(&r);
    assert_true(weir_probe_is_cancelled(r.from));
    assert_ended(&r, WEIR_ABORTED, 3);
    rig_done(&r);
}

static void an_abort_ends_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map(count_out, NULL));
    rig_request(&r, 100);
    rig_feed(&r, 101, 3);
    rig_abort(&r);
    assert_ended(&r, WEIR_ABORTED, 3);
    rig_done(&r);
}

static void items_tried_again_come_on_top_of_those_asked_for(void **unused)
{
    (void)unused;
    rig r = rig_of(weir_flat_map(fails_at_two, NULL));
    weir_node_policy(r.node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                                   .retries_max = 2,
                                                   .backoff_ms = 10,
                                                   .then = WEIR_ON_ERROR_SKIP,
                                                   .budget_percent = UINT32_MAX });
    rig_start(&r);
    rig_request(&r, 40);
    rig_feed(&r, 5, 200);
    for (int i = 0; i < 400; i++) {
        rig_request(&r, 3);
        assert_true(weir_testkit_advance(r.kit, 5 * WEIR_MS));
    }
    weir_probe_end(r.from);
    weir_probe_request(r.to, WEIR_UNBOUNDED);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    assert_ended(&r, WEIR_FAILED, 200);
    assert_received(&r, 200 * 3 * 2);
    rig_done(&r);
}

/* The same by up to three at once. */
static weir_status count_out_all(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                                 weir_item **ret_made, size_t n, size_t *ret_n)
{
    for (size_t i = 0; i < n && i < 3; i++) {
        weir_item *made = NULL;
        weir_status status = count_out(loop, item, index + (uint32_t)i, user, &made);
        if (status != WEIR_OK || made == NULL)
            return status;
        ret_made[(*ret_n)++] = made;
        if (value_of(item) == 13 && index + i == 4)
            return WEIR_EPROTO;
    }
    return WEIR_OK;
}

static weir_stage_spec *flat_map_all(void)
{
    return weir_flat_map_with(&(weir_flat_map_config){ .next_all = count_out_all });
}

static void items_may_be_made_many_at_once(void **unused)
{
    (void)unused;
    rig r = rig_with(flat_map_all());
    rig_request(&r, 4);
    rig_feed(&r, 0, 4);
    assert_got(&r, 1000, 2000, 2001, 3000);
    rig_request(&r, 1000);
    rig_feed(&r, 100, 1);
    assert_received(&r, 106);
    assert_int_equal(weir_probe_value(r.to, 105), 100099);
    rig_finish(&r);
}

static void what_was_made_along_with_a_failure_stays_out(void **unused)
{
    (void)unused;
    rig r = rig_with(flat_map_all());
    rig_request(&r, 100);
    rig_feed(&r, 13, 1);
    assert_received(&r, 5);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EPROTO);
    rig_finish(&r);
}

static void the_items_asked_ahead_may_be_set(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_flat_map_with(&(weir_flat_map_config){ .next = count_out, .ahead = 3 }));
    rig_request(&r, 100);
    assert_demand(&r, 3);
    rig_finish(&r);
}

static weir_status count_calls(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                               weir_item **ret_made)
{
    ++*(uint32_t *)user;
    return count_out(loop, item, index, NULL, ret_made);
}

static void items_are_made_ahead_of_demand_as_many_as_set(void **unused)
{
    (void)unused;
    for (uint32_t prefetch = 0; prefetch <= 64; prefetch += 16) {
        uint32_t calls = 0;
        rig r = rig_with(weir_flat_map_with(
            &(weir_flat_map_config){ .next = count_calls, .user = &calls, .prefetch = prefetch }));
        rig_request(&r, 2);
        rig_feed(&r, 500, 2);
        assert_received(&r, 2);
        assert_int_equal(calls, 2 + (prefetch != 0 ? prefetch : 1));
        rig_request(&r, 10);
        assert_int_equal(calls, 12 + (prefetch != 0 ? prefetch : 1));
        rig_cancel(&r);
        rig_done(&r);
    }
}

static void an_item_is_begun_only_when_there_is_demand_for_what_it_makes(void **unused)
{
    (void)unused;
    uint32_t calls = 0;
    rig r = rig_with(
        weir_flat_map_with(&(weir_flat_map_config){ .next = count_calls, .user = &calls }));
    rig_request(&r, 2);
    rig_feed(&r, 2, 2);
    assert_received(&r, 2);
    assert_int_equal(calls, 3); /* the third says that there are no more */
    rig_finish(&r);
}

static void the_items_made_of_one_may_be_limited(void **unused)
{
    (void)unused;
    rig r = rig_with(
        weir_flat_map_with(&(weir_flat_map_config){ .next_all = count_out_all, .made_max = 5 }));
    rig_request(&r, 100);
    rig_feed(&r, 5, 2);
    assert_received(&r, 10);
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_ELIMIT);
    rig_finish(&r);
}

static void flat_map_allocates_nothing_per_item(void **unused)
{
    (void)unused;
    rig r = rig_with(flat_map_all());
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 100, 10);
    uint64_t before = weir_testkit_allocations(r.kit);
    rig_feed(&r, 90, 15);
    assert_int_equal(weir_testkit_allocations(r.kit), before);
    rig_finish(&r);
}

static void flat_map_keeps_to_a_window_of_bytes(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, flat_map_all());
    weir_node *sink = weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_node_window(sink, &(weir_edge_config){ .window_bytes = 20 }); /* two of eight bytes */
    rig_start(&r);
    for (int i = 0; i < 4; i++)
        assert_true(weir_probe_feed(r.from, 50));
    weir_probe_request(r.to, 30);
    while (weir_loop_turn(weir_testkit_loop(r.kit, 0))) {
        weir_edge_stats edge;
        assert_int_equal(weir_pipeline_edge_stats(r.pipeline, 1, &edge), WEIR_OK);
        assert_true(edge.bytes <= 20);
    }
    assert_received(&r, 30);
    rig_finish(&r);
}

static void settings_of_flat_map_may_change_while_it_runs(void **unused)
{
    (void)unused;
    weir_flat_map_config config = { .next = count_out, .ahead = 2 };
    rig r = rig_with(weir_flat_map_with(&config));
    rig_request(&r, 100);
    assert_demand(&r, 2);
    config.ahead = 50;
    assert_int_equal(
        weir_pipeline_change(r.pipeline, "flat_map", &config, sizeof config, NULL, NULL), WEIR_OK);
    assert_true(weir_testkit_settle(r.kit));
    assert_demand(&r, 50);
    rig_feed(&r, 3, 10);
    assert_received(&r, 75);
    rig_finish(&r);
}

static void a_lower_limit_of_what_is_made_counts_for_the_item_in_hand(void **unused)
{
    (void)unused;
    weir_flat_map_config config = { .next = count_out };
    rig r = rig_with(weir_flat_map_with(&config));
    rig_feed(&r, 1000, 1);
    rig_request(&r, 10);
    config.made_max = 5;
    assert_int_equal(
        weir_pipeline_change(r.pipeline, "flat_map", &config, sizeof config, NULL, NULL), WEIR_OK);
    rig_request(&r, 100);
    assert_received(&r, 11); /* one had been made ahead */
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ELIMIT);
    rig_finish(&r);
}

static weir_stage_spec *one_by_one(void)
{
    return weir_flat_map(count_out, NULL);
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    fail_every_allocation((const stage_maker[]){ flat_map_all, NULL }, false);
    fail_every_allocation((const stage_maker[]){ one_by_one, NULL }, false);
}

static void what_makes_no_sense_is_refused(void **unused)
{
    (void)unused;
    assert_refused(weir_flat_map(NULL, NULL));
    assert_refused(weir_flat_map_with(NULL));
    assert_refused(weir_flat_map_with(
        &(weir_flat_map_config){ .next = count_out, .next_all = count_out_all }));
    assert_refused(weir_flat_map_with(&(weir_flat_map_config){ .next = count_out, .ahead = 1025 }));
    assert_refused(
        weir_flat_map_with(&(weir_flat_map_config){ .next = count_out, .prefetch = 65 }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flat_map_makes_items_in_order),
        cmocka_unit_test(flat_map_makes_no_more_than_was_asked),
        cmocka_unit_test(flat_map_asks_for_at_most_one_item_per_item_asked),
        cmocka_unit_test(what_is_asked_ahead_is_held),
        cmocka_unit_test(an_item_ends_after_all_that_was_made_of_it),
        cmocka_unit_test(an_item_of_which_nothing_is_made_is_filtered_and_asked_for_again),
        cmocka_unit_test(a_failure_fails_the_item_and_keeps_what_was_made),
        cmocka_unit_test(one_item_makes_thousands),
        cmocka_unit_test(more_than_the_limit_fails_the_item),
        cmocka_unit_test(the_end_follows_what_is_held),
        cmocka_unit_test(a_cancel_aborts_the_item_in_hand_and_those_waiting),
        cmocka_unit_test(an_abort_ends_what_is_held),
        cmocka_unit_test(items_tried_again_come_on_top_of_those_asked_for),
        cmocka_unit_test(items_may_be_made_many_at_once),
        cmocka_unit_test(what_was_made_along_with_a_failure_stays_out),
        cmocka_unit_test(the_items_asked_ahead_may_be_set),
        cmocka_unit_test(items_are_made_ahead_of_demand_as_many_as_set),
        cmocka_unit_test(an_item_is_begun_only_when_there_is_demand_for_what_it_makes),
        cmocka_unit_test(the_items_made_of_one_may_be_limited),
        cmocka_unit_test(flat_map_allocates_nothing_per_item),
        cmocka_unit_test(flat_map_keeps_to_a_window_of_bytes),
        cmocka_unit_test(a_lower_limit_of_what_is_made_counts_for_the_item_in_hand),
        cmocka_unit_test(settings_of_flat_map_may_change_while_it_runs),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
