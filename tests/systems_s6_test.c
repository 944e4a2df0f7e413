/* S6, the back-pressured pipeline: source, times three, a stage that takes 2 ms, sink. The slow
 * stage slows the source down to its own pace, and what is queued stays bounded. */
#include "stages_rig.h"

enum { SLOW_MS = 2, WINDOW = 8 };

static weir_status times_three(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) *= 3;
    return WEIR_OK;
}

typedef struct slow {
    weir_timer timer;
    weir_op *op;
} slow;

static void slow_is_over(weir_timer *timer, void *user)
{
    (void)timer;
    weir_op_done(((slow *)user)->op, WEIR_OK, NULL);
}

static void slow_start(weir_op *op, void *state)
{
    slow *s = op->work;
    (void)state;
    s->op = op;
    weir_timer_start(weir_stage_loop(op->stage), &s->timer, SLOW_MS * WEIR_MS, slow_is_over, s);
}

static void slow_cancel(weir_op *op, weir_status status, void *state)
{
    slow *s = op->work;
    (void)state;
    weir_timer_stop(weir_stage_loop(op->stage), &s->timer);
    weir_op_done(op, status, "cancelled");
}

static const weir_async_type slow_type = {
    .name = "slow", .work_size = sizeof(slow), .start = slow_start, .cancel = slow_cancel
};

static rig s6(uint32_t loops)
{
    rig r = rig_new(loops);
    const weir_edge_config narrow = { .window = WINDOW };
    weir_node *nodes[4];
    nodes[0] = weir_from(r.pipeline, weir_probe_source(r.from));
    nodes[1] = weir_via(r.pipeline, weir_map(times_three, NULL));
    nodes[2] = weir_via(r.pipeline,
                        weir_async_of(&slow_type, &(weir_async_options){ .in_flight = 1 }, NULL));
    nodes[3] = weir_into(r.pipeline, weir_probe_sink(r.to));
    for (uint32_t i = 0; i < 4; i++) {
        if (i > 0)
            weir_node_window(nodes[i], &narrow);
        if (loops > 1)
            weir_node_place(nodes[i], i % loops);
    }
    rig_start(&r);
    return r;
}

static void a_stage_of_2_ms_slows_the_source_to_500_items_a_second(void **unused)
{
    (void)unused;
    for (uint32_t loops = 1; loops <= 4; loops *= 2) {
        rig r = s6(loops);
        rig_request(&r, WEIR_UNBOUNDED);
        rig_feed(&r, 0, 2000);
        assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
        assert_received(&r, 1000 / SLOW_MS);
        assert_in_range(weir_probe_emitted(r.from), 500, 500 + 2 * WINDOW + 2);
        for (uint64_t i = 0; i < 500; i++)
            assert_int_equal(weir_probe_value(r.to, i), 3 * i);
        rig_abort_and_done(&r);
    }
}

static void memory_is_flat_however_long_the_source_pushes(void **unused)
{
    (void)unused;
    rig r = s6(1);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 100);
    assert_true(weir_testkit_advance_by(r.kit, 20 * WEIR_MS, WEIR_MS));
    weir_loop_stats before, after;
    weir_loop_stats_get(weir_testkit_loop(r.kit, 0), &before);
    for (uint64_t i = 0; i < 2000; i++) {
        assert_true(weir_probe_feed(r.from, 100 + i));
        assert_true(weir_testkit_advance(r.kit, WEIR_MS));
        assert_in_range(weir_probe_live(r.from), 0, 2 * WINDOW + 2);
    }
    weir_loop_stats_get(weir_testkit_loop(r.kit, 0), &after);
    assert_int_equal(after.items_reserved, before.items_reserved);
    assert_int_equal(after.bytes_reserved, before.bytes_reserved);
    rig_abort_and_done(&r);
}

static void the_slow_stage_is_named_as_the_bottleneck(void **unused)
{
    (void)unused;
    rig r = s6(1);
    weir_bottleneck found;
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 1000);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    weir_pipeline_bottleneck(r.pipeline, &found);
    assert_non_null(found.stage);
    assert_string_equal(found.stage, "slow");
    assert_true(found.held_back > 0.9);
    rig_abort_and_done(&r);
}

static void an_operation_lasts_from_its_start_to_its_end(void **unused)
{
    (void)unused;
    rig r = s6(1);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 200);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    weir_stage_stats stats = rig_stats(&r, 2);
    assert_string_equal(stats.name, "slow");
    assert_int_equal(stats.duration_count, 200);
    assert_int_equal(stats.duration_ns, 200 * SLOW_MS * WEIR_MS);
    assert_in_range(weir_duration_quantile(&stats, 0.5), SLOW_MS * WEIR_MS, 2 * SLOW_MS * WEIR_MS);
    assert_int_equal(weir_window_advice(&stats), 2); /* it never varies */
    rig_finish(&r);
}

static void a_window_is_advised_by_how_much_durations_vary(void **unused)
{
    (void)unused;
    weir_stage_stats stats = { .duration_count = 99 };
    stats.duration[10] = 99;
    assert_int_equal(weir_window_advice(&stats), 0);
    /* 5 % take 16 times as long as the median: the documents' 2 x p99 / median. */
    stats.duration_count = 1000;
    stats.duration[10] = 950;
    stats.duration[14] = 50;
    assert_int_equal(weir_window_advice(&stats), 32);
    assert_int_equal(weir_duration_quantile(&stats, 0.9), 128 << 10);
    stats.duration[WEIR_DURATION_BUCKETS - 1] = 5000;
    assert_int_equal(weir_duration_quantile(&stats, 0.99), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stage_of_2_ms_slows_the_source_to_500_items_a_second),
        cmocka_unit_test(memory_is_flat_however_long_the_source_pushes),
        cmocka_unit_test(the_slow_stage_is_named_as_the_bottleneck),
        cmocka_unit_test(an_operation_lasts_from_its_start_to_its_end),
        cmocka_unit_test(a_window_is_advised_by_how_much_durations_vary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
