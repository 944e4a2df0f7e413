/* Windows of bytes: an edge holds no more than its window and one item, whatever stage emits. */
#include "stages_rig.h"

enum { COST = 6, WINDOW_BYTES = 10, ITEM_BYTES_MAX = 8, ITEMS = 8, LEGS = 2 };

typedef struct bench {
    weir_testkit *kit;
    weir_pipeline *p;
    weir_probe *from, *to[LEGS];
} bench;

static bench bench_of(weir_stage_spec *stage, uint32_t outputs, const weir_error_policy *policy)
{
    bench b = { .kit = weir_testkit_new_with(NULL) };
    b.p = weir_pipeline_new(&(weir_pipeline_config){ .env = weir_testkit_env(b.kit),
                                                     .item_bytes_max = ITEM_BYTES_MAX });
    b.from = weir_testkit_probe(b.kit);
    weir_node *node = weir_add(b.p, stage);
    weir_link(weir_add(b.p, weir_probe_source(b.from)), 0, node, 0, NULL);
    if (policy != NULL)
        weir_node_policy(node, policy);
    for (uint32_t i = 0; i < outputs; i++) {
        b.to[i] = weir_testkit_probe(b.kit);
        weir_link(node, i, weir_add(b.p, weir_probe_sink(b.to[i])), 0,
                  &(weir_edge_config){ .window_bytes = WINDOW_BYTES });
    }
    assert_int_equal(weir_testkit_start(b.kit, b.p), WEIR_OK);
    return b;
}

static void feed(bench *b)
{
    for (uint64_t i = 0; i < ITEMS; i++)
        assert_true(
            weir_probe_feed_item(b->from, &(weir_probe_item){ .value = i + 1, .cost = COST }));
}

/* All come at once, and all are wanted. */
static void passes_all_within_the_window(weir_stage_spec *stage, uint32_t outputs, uint64_t each)
{
    bench b = bench_of(stage, outputs, NULL);
    feed(&b);
    for (uint32_t i = 0; i < outputs; i++)
        weir_probe_request(b.to[i], ITEMS);
    assert_true(weir_testkit_settle(b.kit));
    assert_string_equal(weir_testkit_why(b.kit), "");
    uint64_t received = 0;
    for (uint32_t i = 0; i < outputs; i++)
        received += weir_probe_received(b.to[i]);
    assert_int_equal(received, each);
    weir_probe_end(b.from);
    if (!weir_testkit_expect_clean(b.kit))
        fail_msg("%s", weir_testkit_why(b.kit));
    weir_pipeline_free(b.p);
    assert_int_equal(weir_testkit_free(b.kit), 0);
}

static void take_keeps_to_a_window_of_bytes(void **state)
{
    (void)state;
    passes_all_within_the_window(weir_take(100), 1, ITEMS);
}

static void broadcast_keeps_to_the_windows_of_all_legs(void **state)
{
    (void)state;
    passes_all_within_the_window(weir_broadcast(WEIR_SLOW_LEG_HOLDS), LEGS, LEGS * ITEMS);
}

static void partition_keeps_to_the_windows_of_all_legs(void **state)
{
    (void)state;
    passes_all_within_the_window(weir_partition(NULL, NULL, LEGS), LEGS, ITEMS);
}

static void rate_limit_keeps_to_a_window_of_bytes(void **state)
{
    (void)state;
    weir_rate_limit_config config = { .rate = 1000, .burst = 100 };
    passes_all_within_the_window(weir_rate_limit(&config), 1, ITEMS);
    config.reject = true;
    passes_all_within_the_window(weir_rate_limit(&config), 1, ITEMS);
}

static void limits_keep_to_a_window_of_bytes(void **state)
{
    (void)state;
    passes_all_within_the_window(weir_semaphore(&(weir_semaphore_config){ .permits = 100 }), 1,
                                 ITEMS);
    passes_all_within_the_window(weir_breaker(&(weir_breaker_config){ 0 }), 1, ITEMS);
    passes_all_within_the_window(weir_timeout(&(weir_timeout_config){ .timeout_ms = 1000 }), 1,
                                 ITEMS);
}

static void merges_keep_to_a_window_of_bytes(void **state)
{
    (void)state;
    passes_all_within_the_window(weir_merge(), 1, ITEMS);
    passes_all_within_the_window(weir_merge_priority(NULL), 1, ITEMS);
    passes_all_within_the_window(
        weir_merge_priority(&(weir_merge_priority_config){ .weights = { 3 } }), 1, ITEMS);
}

static void tap_keeps_to_the_window_of_its_main_output(void **state)
{
    (void)state;
    bench b = bench_of(weir_tap(NULL), LEGS, NULL);
    feed(&b);
    weir_probe_request(b.to[0], ITEMS);
    assert_true(weir_testkit_settle(b.kit));
    assert_string_equal(weir_testkit_why(b.kit), "");
    assert_int_equal(weir_probe_received(b.to[0]), ITEMS);
    weir_probe_end(b.from);
    assert_true(weir_testkit_expect_clean(b.kit));
    weir_pipeline_free(b.p);
    assert_int_equal(weir_testkit_free(b.kit), 0);
}

static weir_status first_fails(weir_item *item, void *user)
{
    (void)item;
    return ++*(uint32_t *)user <= ITEMS ? WEIR_EIO : WEIR_OK;
}

static void retries_keep_to_a_window_of_bytes(void **state)
{
    (void)state;
    uint32_t calls = 0;
    bench b = bench_of(weir_map(first_fails, &calls), 1,
                       &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY, .backoff_ms = 1 });
    feed(&b);
    weir_probe_request(b.to[0], ITEMS);
    assert_true(weir_testkit_settle(b.kit));
    for (int i = 0; i < 100; i++)
        assert_true(weir_testkit_advance(b.kit, WEIR_MS)); /* all of them are due at once */
    assert_string_equal(weir_testkit_why(b.kit), "");
    assert_int_equal(weir_probe_received(b.to[0]), ITEMS);
    weir_probe_end(b.from);
    assert_true(weir_testkit_expect_clean(b.kit));
    weir_pipeline_free(b.p);
    assert_int_equal(weir_testkit_free(b.kit), 0);
}

static void an_item_refused_at_the_edge_keeps_nobody_waiting(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    const weir_edge_config small = { .window_bytes = 8, .item_bytes_max = 10 };
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_merge());
    weir_node *sink = weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_node_window(sink, &small);
    rig_start(&r);
    rig_request(&r, 10);
    const uint32_t costs[] = { 20, 5, 5 };
    for (uint64_t i = 0; i < 3; i++)
        assert_true(
            weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .cost = costs[i] }));
    assert_true(weir_testkit_settle(r.kit));
    assert_got(&r, 1, 2);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ELIMIT);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_keeps_to_a_window_of_bytes),
        cmocka_unit_test(broadcast_keeps_to_the_windows_of_all_legs),
        cmocka_unit_test(partition_keeps_to_the_windows_of_all_legs),
        cmocka_unit_test(rate_limit_keeps_to_a_window_of_bytes),
        cmocka_unit_test(limits_keep_to_a_window_of_bytes),
        cmocka_unit_test(merges_keep_to_a_window_of_bytes),
        cmocka_unit_test(tap_keeps_to_the_window_of_its_main_output),
        cmocka_unit_test(retries_keep_to_a_window_of_bytes),
        cmocka_unit_test(an_item_refused_at_the_edge_keeps_nobody_waiting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
