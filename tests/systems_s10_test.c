/* S10, the priority router: premium before normal, without starving normal; 99.9 % of premium under
 * 100 ms at 10,000 requests a second while normal floods. In virtual time, so exactly. */
#include "stages_rig.h"

#include <stdlib.h>

enum {
    WORK_MS = 8, /* of each call */
    CALLS = 80,  /* at once: 10,000 calls a second */
    WAITING = 512,
    MS_RUN = 3000
};

typedef struct call {
    weir_timer timer;
    weir_op *op;
} call;

static void call_is_over(weir_timer *timer, void *user)
{
    (void)timer;
    weir_op_done(((call *)user)->op, WEIR_OK, NULL);
}

static void call_start(weir_op *op, void *state)
{
    call *c = op->work;
    (void)state;
    c->op = op;
    weir_timer_start(weir_stage_loop(op->stage), &c->timer, WORK_MS * WEIR_MS, call_is_over, c);
}

static void call_cancel(weir_op *op, weir_status status, void *state)
{
    (void)state;
    weir_timer_stop(weir_stage_loop(op->stage), &((call *)op->work)->timer);
    weir_op_done(op, status, "cancelled");
}

static const weir_async_type call_type = {
    .name = "workers", .work_size = sizeof(call), .start = call_start, .cancel = call_cancel
};

typedef struct router {
    weir_testkit *kit;
    weir_probe *premium, *normal, *to;
    weir_pipeline *pipeline;
    uint64_t fed;
} router;

static weir_node *tier(router *r, weir_probe *from, weir_node *first, uint32_t input)
{
    const weir_buffer_config bounded = { .items_max = WAITING, .overflow = WEIR_OVERFLOW_REJECT };
    weir_node *source = weir_add(r->pipeline, weir_probe_source(from));
    weir_node *queue = weir_add(r->pipeline, weir_buffer(&bounded));
    weir_link(source, 0, queue, 0, NULL);
    weir_link(queue, 0, first, input, &(weir_edge_config){ .window = 1 });
    return queue;
}

static router router_new(const weir_merge_priority_config *config)
{
    router r = { .kit = weir_testkit_new(1, 7) };
    assert_non_null(r.kit);
    r.premium = weir_testkit_probe(r.kit);
    r.normal = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    r.pipeline = weir_testkit_pipeline(r.kit);
    weir_node *first = weir_add(r.pipeline, weir_merge_priority(config));
    weir_node *workers = weir_add(
        r.pipeline,
        weir_async_of(&call_type, &(weir_async_options){ .in_flight = CALLS, .unordered = true },
                      NULL));
    weir_node *sink = weir_add(r.pipeline, weir_probe_sink(r.to));
    tier(&r, r.premium, first, 0);
    tier(&r, r.normal, first, 1);
    weir_link(first, 0, workers, 0, &(weir_edge_config){ .window = 1 });
    weir_link(workers, 0, sink, 0, NULL);
    assert_int_equal(weir_testkit_start(r.kit, r.pipeline), WEIR_OK);
    weir_probe_request(r.to, WEIR_UNBOUNDED);
    return r;
}

/* The value says when it was sent, and in its lowest bit by whom. */
static void send(router *r, weir_probe *from, uint64_t n)
{
    uint64_t now = weir_testkit_now(r->kit) & ~UINT64_C(1);
    for (uint64_t i = 0; i < n; i++)
        assert_true(weir_probe_feed(from, now | (from == r->normal)));
}

/* `premium` and `normal` requests each millisecond, for `ms` of them. */
static void flood(router *r, uint64_t premium, uint64_t normal, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        send(r, r->premium, premium);
        send(r, r->normal, normal);
        assert_true(weir_testkit_advance(r->kit, WEIR_MS));
    }
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Of those of a tier that were served: how long the share `q` took at most, and how many. */
static uint64_t latency_ns(const router *r, bool normal, double q, uint64_t *ret_served)
{
    uint64_t n = weir_probe_received(r->to), served = 0;
    uint64_t *took = malloc((n + 1) * sizeof *took);
    assert_non_null(took);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t value = weir_probe_value(r->to, i);
        if ((value & 1) == normal)
            took[served++] = weir_probe_arrival(r->to, i) - (value & ~UINT64_C(1));
    }
    qsort(took, served, sizeof *took, by_value);
    uint64_t found = served != 0 ? took[(uint64_t)(q * (double)(served - 1))] : UINT64_MAX;
    free(took);
    *ret_served = served;
    return found;
}

static void router_done(router *r)
{
    weir_pipeline_shutdown(r->pipeline, WEIR_ABORT, 0);
    assert_true(weir_testkit_settle(r->kit));
    assert_true(weir_pipeline_is_finished(r->pipeline));
    assert_int_equal(weir_probe_live(r->premium) + weir_probe_live(r->normal), 0);
    weir_pipeline_free(r->pipeline);
    assert_int_equal(weir_testkit_free(r->kit), 0);
}

static void premium_stays_under_100_ms_while_normal_floods(void **unused)
{
    (void)unused;
    uint64_t served;
    router r = router_new(&(weir_merge_priority_config){ .weights = { 8, 1 }, .ahead = 1 });
    flood(&r, 2, 20, MS_RUN);
    assert_true(latency_ns(&r, false, 0.999, &served) < 100 * WEIR_MS);
    assert_true(served > 2 * MS_RUN - 200);
    assert_int_equal(weir_probe_ended(r.premium, WEIR_REJECTED), 0);
    router_done(&r);
}

static void the_workers_are_never_idle_for_the_sake_of_premium(void **unused)
{
    (void)unused;
    uint64_t served;
    router r = router_new(&(weir_merge_priority_config){ .weights = { 8, 1 }, .ahead = 1 });
    flood(&r, 2, 20, MS_RUN);
    (void)latency_ns(&r, true, 0.5, &served);
    /* What premium leaves of 10,000 calls a second. */
    assert_in_range(served, (CALLS / WORK_MS - 2) * (MS_RUN - 100), CALLS / WORK_MS * MS_RUN);
    assert_true(weir_probe_ended(r.normal, WEIR_REJECTED) > 0);
    router_done(&r);
}

static void normal_is_not_starved_by_a_flood_of_premium(void **unused)
{
    (void)unused;
    uint64_t served;
    /* Strictly by tier, so that nothing but age helps a normal one. */
    router r = router_new(&(weir_merge_priority_config){ .ageing_ms = 50, .ahead = 1 });
    flood(&r, 20, 2, MS_RUN);
    (void)latency_ns(&r, true, 0.5, &served);
    assert_in_range(served, MS_RUN / 60, MS_RUN); /* one each 50 ms at least */
    router_done(&r);
}

static void without_ageing_it_would_be(void **unused)
{
    (void)unused;
    uint64_t served;
    router r = router_new(&(weir_merge_priority_config){ .ageing_ms = UINT32_MAX, .ahead = 1 });
    flood(&r, 20, 2, MS_RUN);
    (void)latency_ns(&r, true, 0.5, &served);
    assert_in_range(served, 0, CALLS); /* those that came before the flood had filled its queue */
    router_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(premium_stays_under_100_ms_while_normal_floods),
        cmocka_unit_test(the_workers_are_never_idle_for_the_sake_of_premium),
        cmocka_unit_test(normal_is_not_starved_by_a_flood_of_premium),
        cmocka_unit_test(without_ageing_it_would_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
