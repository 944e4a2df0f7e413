/* What cannot do what it says is refused while the graph is built, with a reason that names it. */
#include "stages_rig.h"

#include <weir/hub.h>
#include <weir/inlet.h>

static void start(weir_op *op, void *user)
{
    (void)user;
    weir_op_done(op, WEIR_OK, NULL);
}

static void start_keyed(weir_op *op, void *key_state, void *user)
{
    (void)key_state;
    start(op, user);
}

static void cancel(weir_op *op, weir_status status, void *user)
{
    (void)user;
    weir_op_done(op, status, "given up");
}

static void start_call(weir_call *call, void *user)
{
    (void)user;
    weir_call_done(call, WEIR_OK, NULL);
}

static weir_status run(weir_item *item, void *thread_state, void *user)
{
    (void)item;
    (void)thread_state;
    (void)user;
    return WEIR_OK;
}

static void close_thread(void *thread_state, void *user)
{
    (void)thread_state;
    (void)user;
}

enum { SOURCE = 1, SINK = 2, TWO_IN = 4, TWO_OUT = 8 };

/* Wires probes to the ports of `spec`; takes it. */
static weir_pipeline *wired(weir_testkit *kit, weir_stage_spec *spec, int ports)
{
    weir_pipeline *p = weir_testkit_pipeline(kit);
    weir_node *node = weir_add(p, spec);
    for (uint32_t i = 0; i < ((ports & SOURCE) != 0 ? 0 : (ports & TWO_IN) != 0 ? 2 : 1); i++)
        weir_link(weir_add(p, weir_probe_source(weir_testkit_probe(kit))), 0, node, i, NULL);
    for (uint32_t i = 0; i < ((ports & SINK) != 0 ? 0 : (ports & TWO_OUT) != 0 ? 2 : 1); i++)
        weir_link(node, i, weir_add(p, weir_probe_sink(weir_testkit_probe(kit))), 0, NULL);
    return p;
}

/* `who` begins the reason, `why` is in it. */
static void refused(weir_testkit *kit, weir_pipeline *p, const char *who, const char *why)
{
    weir_status status = weir_pipeline_check(p);
    const char *said = weir_pipeline_why(p);
    if (status != WEIR_EINVAL || strncmp(said, who, strlen(who)) != 0 || strstr(said, why) == NULL)
        fail_msg("%s, \"%s\" is not \"%s: … %s …\"", weir_status_name(status), said, who, why);
    weir_pipeline_free(p);
    assert_int_equal(weir_testkit_free(kit), 0);
}

static void assert_refused(weir_stage_spec *spec, int ports, const char *who, const char *why)
{
    weir_testkit *kit = weir_testkit_new(1, 7);
    refused(kit, wired(kit, spec, ports), who, why);
}

#define REFUSED(factory, who, why, ...) \
    assert_refused(factory(&(factory##_config){ __VA_ARGS__ }), 0, who, why)

static void a_missing_function_is_refused(void **unused)
{
    (void)unused;
    assert_refused(weir_map(NULL, NULL), 0, "map", "function");
    assert_refused(weir_map_all(NULL, NULL), 0, "map", "function");
    assert_refused(weir_filter_map(NULL, NULL), 0, "filter_map", "function");
    assert_refused(weir_filter(NULL, NULL), 0, "filter", "function");
    assert_refused(weir_filter_all(NULL, NULL), 0, "filter", "function");
    assert_refused(weir_observe(NULL, NULL), 0, "observe", "function");
    assert_refused(weir_observe_all(NULL, NULL), 0, "observe", "function");
    assert_refused(weir_skip_while(NULL, NULL), 0, "skip_while", "function");
    assert_refused(weir_take_while(NULL, NULL), 0, "take_while", "function");
    assert_refused(weir_take_while_inclusive(NULL, NULL), 0, "take_while", "function");
    assert_refused(weir_flat_map(NULL, NULL), 0, "flat_map", "function");
    assert_refused(weir_generate(NULL, NULL), SOURCE, "generate", "function");
    assert_refused(weir_for_each(NULL, NULL), SINK, "for_each", "function");
    assert_refused(weir_for_each_all(NULL, NULL), SINK, "for_each", "function");
    assert_refused(weir_dead_letter(NULL, NULL), SINK, "dead_letter", "function");
    assert_refused(weir_fallback(NULL, NULL), TWO_IN, "fallback", "function");
}

static void no_config_is_refused_where_something_is_required(void **unused)
{
    (void)unused;
    assert_refused(weir_scan(NULL), 0, "scan", "function");
    assert_refused(weir_flat_map_with(NULL), 0, "flat_map", "function");
    assert_refused(weir_tick(NULL), SOURCE, "tick", "interval_us");
    assert_refused(weir_route(NULL), TWO_OUT, "route", "function");
    assert_refused(weir_rate_limit(NULL), 0, "rate_limit", "rate");
    assert_refused(weir_semaphore(NULL), 0, "semaphore", "permits");
    assert_refused(weir_timeout(NULL), 0, "timeout", "timeout_ms");
    assert_refused(weir_async(NULL), 0, "async", "function");
    assert_refused(weir_async_by_key(NULL), 0, "async_by_key", "function");
    assert_refused(weir_gather(NULL), 0, "gather", "call");
    assert_refused(weir_pool(NULL), 0, "pool", "function");
    assert_refused(weir_blocking(NULL), 0, "blocking", "function");
}

static void a_missing_handle_is_refused(void **unused)
{
    (void)unused;
    assert_refused(weir_switch_stage(NULL), 0, "switch", "needs a switch");
    assert_refused(weir_from_inlet(NULL), SOURCE, "inlet", "needs an inlet");
    assert_refused(weir_into_hub(NULL), SINK, "into_hub", "needs a hub");
    assert_refused(weir_from_hub(NULL, NULL), SOURCE, "from_hub", "needs a hub");
}

static void what_is_beyond_its_limit_is_refused(void **unused)
{
    (void)unused;
    REFUSED(weir_batch, "batch", "65535", .count = 65536);
    REFUSED(weir_window, "window", "65535", .count = 65536);
    REFUSED(weir_buffer, "buffer", "1048576", .items_max = UINT32_MAX);
    REFUSED(weir_fair_queue, "fair_queue", "1048576", .items_max = UINT32_MAX);
    assert_refused(weir_async(&(weir_async_fn_config){ .start = start, .in_flight = UINT32_MAX }),
                   0, "async", "in_flight");
    REFUSED(weir_gather, "gather", "in_flight", .calls = { { .start = start_call } },
            .in_flight = 65537);
    REFUSED(weir_async_by_key, "async_by_key", "together", .start = start_keyed,
            .in_flight = UINT32_MAX, .waiting_max = UINT32_MAX);
    REFUSED(weir_async_by_key, "async_by_key", "keys_max is more", .start = start_keyed,
            .keys_max = 5);
    REFUSED(weir_pool, "pool", "1024 workers", .start = start, .max = UINT32_MAX);
    REFUSED(weir_pool, "pool", "min is at most max", .start = start, .min = 20);
    REFUSED(weir_pool, "pool", "queue", .start = start, .queue = UINT32_MAX);
    REFUSED(weir_blocking, "blocking", "1024", .run = run, .threads = 5000);
    assert_refused(weir_merge_priority(&(weir_merge_priority_config){ .ahead = 65 }), TWO_IN,
                   "merge_priority", "64");
    assert_refused(weir_broadcast_with(&(weir_broadcast_config){
                       .slow_leg = WEIR_SLOW_LEG_CANCELLED, .lag_items = 65537 }),
                   TWO_OUT, "broadcast", "65536");
}

static void a_setting_that_would_have_no_effect_is_refused(void **unused)
{
    (void)unused;
    REFUSED(weir_timeout, "timeout", "idle_ms", .timeout_ms = 5, .idle_ends = true);
    REFUSED(weir_pool, "pool", "for run", .start = start, .close = close_thread);
    REFUSED(weir_pool, "pool", "for start", .run = run, .cancel = cancel);
    assert_refused(weir_broadcast_with(&(weir_broadcast_config){ .lag_items = 5 }), TWO_OUT,
                   "broadcast", "cancelled");
}

static void a_status_that_is_none_is_refused(void **unused)
{
    (void)unused;
    const weir_status none[] = { (weir_status)1, (weir_status)-WEIR_STATUS_COUNT };
    for (int i = 0; i < 2; i++) {
        REFUSED(weir_rate_limit, "rate_limit", "status", .rate = 1, .status = none[i]);
        REFUSED(weir_semaphore, "semaphore", "status", .permits = 1, .status = none[i]);
        REFUSED(weir_adaptive_limit, "adaptive_limit", "status", .status = none[i]);
        REFUSED(weir_breaker, "breaker", "status", .status = none[i]);
    }
}

static void refused_copies(const weir_parallel_config *config, const char *why)
{
    weir_testkit *kit = weir_testkit_new(1, 7);
    weir_pipeline *p = weir_testkit_pipeline(kit);
    weir_from(p, weir_probe_source(weir_testkit_probe(kit)));
    (void)weir_parallel(p, config);
    weir_into(p, weir_probe_sink(weir_testkit_probe(kit)));
    refused(kit, p, "parallel", why);
}

static weir_stage_spec *unbatch(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_unbatch();
}

static void parallel_without_copies_or_with_too_many_is_refused(void **unused)
{
    (void)unused;
    refused_copies(NULL, "function");
    refused_copies(&(weir_parallel_config){ .copies = 3 }, "function");
    for (int unordered = 0; unordered < 2; unordered++)
        refused_copies(
            &(weir_parallel_config){ .stage = unbatch, .copies = 64, .unordered = unordered },
            "1 to 63 copies");
    refused_copies(&(weir_parallel_config){ .stage = unbatch, .in_flight = 65537 }, "in_flight");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_missing_function_is_refused),
        cmocka_unit_test(no_config_is_refused_where_something_is_required),
        cmocka_unit_test(a_missing_handle_is_refused),
        cmocka_unit_test(what_is_beyond_its_limit_is_refused),
        cmocka_unit_test(a_setting_that_would_have_no_effect_is_refused),
        cmocka_unit_test(a_status_that_is_none_is_refused),
        cmocka_unit_test(parallel_without_copies_or_with_too_many_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
