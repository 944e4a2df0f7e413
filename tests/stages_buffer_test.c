/* buffer: holding, rejecting, dropping. */
#include "stages_failing.h"

static weir_stage_spec *buffer_of(uint32_t items_max, weir_overflow overflow)
{
    return weir_buffer(&(weir_buffer_config){ .items_max = items_max, .overflow = overflow });
}

/* A dropping buffer must be declared best-effort below a source that is told of ends. */
static rig rig_buffer(uint32_t items_max, weir_overflow overflow)
{
    rig r = rig_of(buffer_of(items_max, overflow));
    weir_node_best_effort(r.node);
    rig_start(&r);
    return r;
}

static void a_buffer_fills_ahead_of_demand_and_then_holds(void **unused)
{
    (void)unused;
    rig r = rig_buffer(4, WEIR_OVERFLOW_HOLD);
    assert_demand(&r, 4);
    rig_feed(&r, 1, 9);
    assert_int_equal(weir_probe_emitted(r.from), 4);
    assert_received(&r, 0);
    rig_request(&r, 2);
    assert_got(&r, 1, 2);
    assert_int_equal(weir_probe_emitted(r.from), 6);
    rig_finish(&r);
}

static void a_full_buffer_rejects_the_new_item(void **unused)
{
    (void)unused;
    rig r = rig_buffer(2, WEIR_OVERFLOW_REJECT);
    rig_feed(&r, 1, 4);
    assert_outcome(&r, 2, WEIR_REJECTED, WEIR_EOVERLOAD);
    assert_outcome(&r, 3, WEIR_REJECTED, WEIR_EOVERLOAD);
    rig_request(&r, 3);
    assert_got(&r, 1, 2);
    rig_finish(&r);
}

static void a_full_buffer_drops_the_oldest(void **unused)
{
    (void)unused;
    rig r = rig_buffer(2, WEIR_OVERFLOW_DROP_OLDEST);
    rig_feed(&r, 1, 5);
    assert_ended(&r, WEIR_FILTERED, 3);
    rig_request(&r, 5);
    assert_got(&r, 4, 5);
    assert_int_equal(rig_stats(&r, 1).filtered, 3);
    rig_finish(&r);
}

static void a_full_buffer_drops_the_newest(void **unused)
{
    (void)unused;
    rig r = rig_buffer(2, WEIR_OVERFLOW_DROP_NEWEST);
    rig_feed(&r, 1, 5);
    assert_ended(&r, WEIR_FILTERED, 3);
    rig_request(&r, 5);
    assert_got(&r, 1, 2);
    rig_finish(&r);
}

static void a_full_buffer_drops_all_that_it_holds(void **unused)
{
    (void)unused;
    rig r = rig_buffer(3, WEIR_OVERFLOW_DROP_ALL);
    rig_feed(&r, 1, 5);
    assert_ended(&r, WEIR_FILTERED, 3);
    rig_request(&r, 5);
    assert_got(&r, 4, 5);
    rig_finish(&r);
}

static void a_full_buffer_fails_the_pipeline(void **unused)
{
    (void)unused;
    rig r = rig_buffer(2, WEIR_OVERFLOW_FAIL);
    rig_feed(&r, 1, 2);
    assert_int_equal(weir_pipeline_status(r.pipeline), WEIR_OK);
    rig_feed(&r, 3, 2);
    assert_int_equal(weir_pipeline_status(r.pipeline), WEIR_EOVERLOAD);
    assert_outcome(&r, 0, WEIR_ABORTED, WEIR_ECANCELED);
    assert_outcome(&r, 2, WEIR_REJECTED, WEIR_EOVERLOAD);
    rig_done(&r);
}

static void a_buffer_keeps_to_the_window_of_bytes_below(void **unused)
{
    (void)unused;
    rig r = rig_of(buffer_of(20, WEIR_OVERFLOW_HOLD));
    weir_node *second = NULL;
    weir_pipeline_free(r.pipeline);
    r.pipeline = weir_testkit_pipeline(r.kit);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, buffer_of(20, WEIR_OVERFLOW_HOLD));
    second = weir_via(r.pipeline, weir_batch(&(weir_batch_config){ .count = 100 }));
    weir_node_window(second, &(weir_edge_config){ .window_bytes = 100 });
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    const uint32_t costs[] = { 40, 40, 40, 300, 1, 99, 1 };
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++)
        weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .cost = costs[i] });
    rig_request(&r, 1);
    assert_int_equal(rig_stats(&r, 2).items_in, 7); /* one after the other, as room comes */
    rig_finish(&r);
}

static weir_status costs_its_value(weir_item *item, void *user)
{
    (void)user;
    item->cost = (uint32_t)value_of(item);
    return WEIR_OK;
}

static void an_item_without_cost_takes_no_others_with_it_beyond_the_window(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_map(costs_its_value, NULL));
    weir_via(r.pipeline, buffer_of(20, WEIR_OVERFLOW_HOLD));
    weir_node *sink = weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_node_window(sink, &(weir_edge_config){ .window_bytes = 100 });
    rig_start(&r);
    rig_feed(&r, 0, 1);
    rig_feed(&r, 81, 6);
    rig_request(&r, 7);
    assert_received(&r, 7);
    rig_finish(&r); /* which sees that no more was queued than the window and one item */
}

static void a_lossy_buffer_never_withholds_demand(void **unused)
{
    (void)unused;
    rig r = rig_buffer(2, WEIR_OVERFLOW_DROP_OLDEST);
    for (int i = 0; i < 100; i++)
        rig_feed(&r, 0, 100);
    assert_int_equal(weir_probe_emitted(r.from), 10000);
    rig_finish(&r);
}

static void bytes_bound_a_buffer_too(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_buffer(&(weir_buffer_config){
        .items_max = 10, .bytes_max = 100, .overflow = WEIR_OVERFLOW_REJECT }));
    const uint32_t costs[] = { 300, 1, 1 };
    for (size_t i = 0; i < 3; i++)
        weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .cost = costs[i] });
    assert_true(weir_testkit_settle(r.kit));
    assert_ended(&r, WEIR_REJECTED, 2); /* one item is always held, and fills it */
    rig_finish(&r);
}

static void a_holding_buffer_full_of_bytes_asks_for_no_more(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_buffer(&(weir_buffer_config){ .items_max = 4, .bytes_max = 100 }));
    for (uint64_t i = 0; i < 10; i++)
        weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .cost = 60 });
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(weir_probe_emitted(r.from), 4);
    rig_request(&r, 1);
    assert_int_equal(weir_probe_emitted(r.from), 4); /* three of 60 are held */
    rig_request(&r, 2);
    assert_int_equal(weir_probe_emitted(r.from), 7);
    rig_finish(&r);
}

static void the_end_follows_what_is_buffered(void **unused)
{
    (void)unused;
    rig r = rig_buffer(4, WEIR_OVERFLOW_HOLD);
    rig_feed(&r, 1, 3);
    rig_end(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    rig_request(&r, 3);
    assert_got(&r, 1, 2, 3);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void a_cancel_aborts_what_is_buffered(void **unused)
{
    (void)unused;
    rig r = rig_buffer(4, WEIR_OVERFLOW_HOLD);
    rig_feed(&r, 1, 3);
    rig_cancel(&r);
    assert_ended(&r, WEIR_ABORTED, 3);
    rig_done(&r);
}

static void an_abort_ends_what_is_buffered(void **unused)
{
    (void)unused;
    rig r = rig_buffer(4, WEIR_OVERFLOW_HOLD);
    rig_feed(&r, 1, 3);
    rig_abort(&r);
    assert_ended(&r, WEIR_ABORTED, 3);
    rig_done(&r);
}

static void a_bad_config_is_found_while_building(void **unused)
{
    (void)unused;
    rig r = rig_of(buffer_of((1u << 20) + 1, WEIR_OVERFLOW_HOLD));
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
    assert_refused(buffer_of(1, (weir_overflow)(WEIR_OVERFLOW_FAIL + 1)));
}

static weir_stage_spec *a_small_buffer(void)
{
    return buffer_of(5, WEIR_OVERFLOW_DROP_ALL);
}

static weir_stage_spec *a_batch(void)
{
    return weir_batch(&(weir_batch_config){ .count = 7, .wait_us = 100 });
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    fail_every_allocation((const stage_maker[]){ a_small_buffer, a_batch, NULL }, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_fills_ahead_of_demand_and_then_holds),
        cmocka_unit_test(a_full_buffer_rejects_the_new_item),
        cmocka_unit_test(a_full_buffer_drops_the_oldest),
        cmocka_unit_test(a_full_buffer_drops_the_newest),
        cmocka_unit_test(a_full_buffer_drops_all_that_it_holds),
        cmocka_unit_test(a_full_buffer_fails_the_pipeline),
        cmocka_unit_test(a_buffer_keeps_to_the_window_of_bytes_below),
        cmocka_unit_test(an_item_without_cost_takes_no_others_with_it_beyond_the_window),
        cmocka_unit_test(a_lossy_buffer_never_withholds_demand),
        cmocka_unit_test(bytes_bound_a_buffer_too),
        cmocka_unit_test(a_holding_buffer_full_of_bytes_asks_for_no_more),
        cmocka_unit_test(the_end_follows_what_is_buffered),
        cmocka_unit_test(a_cancel_aborts_what_is_buffered),
        cmocka_unit_test(an_abort_ends_what_is_buffered),
        cmocka_unit_test(a_bad_config_is_found_while_building),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
