/* Every allocation fails in turn: nothing crashes, nothing leaks, and what failed is reported. */
#include "core_rig.h"

#include <weir/async.h>
#include <weir/inlet.h>
#include <weir/offload.h>
#include <weir/stages.h>

enum { TURNS_MAX = 3000 };

/* Runs `scenario` with the kth allocation failing, for k = 1, 2 … until none is left to fail. It
 * gives WEIR_OK or the error that it was told of. */
static void fail_each(weir_status (*scenario)(weir_testkit *kit), uint32_t loops, bool must_report)
{
    for (uint64_t k = 1;; k++) {
        assert_true(k < TURNS_MAX);
        weir_testkit *kit = weir_testkit_new(loops, k);
        assert_non_null(kit);
        uint64_t before = weir_testkit_allocations(kit);
        weir_testkit_fail_allocation(kit, k);
        weir_status status = scenario(kit);
        bool was_hit = weir_testkit_allocations(kit) - before >= k;
        assert_int_equal(weir_testkit_free(kit), 0);
        if (!was_hit) {
            assert_int_equal(status, WEIR_OK);
            return;
        }
        if (must_report)
            assert_int_equal(status, WEIR_ENOMEM);
        else
            assert_true(status == WEIR_OK || status == WEIR_ENOMEM);
    }
}

static weir_status finish(weir_testkit *kit, weir_pipeline *p)
{
    weir_pipeline_shutdown(p, WEIR_ABORT, 0);
    assert_true(weir_testkit_settle(kit));
    weir_status status = weir_pipeline_status(p);
    weir_pipeline_free(p);
    return status;
}

static weir_status start(weir_testkit *kit, weir_pipeline *p)
{
    weir_status status = weir_testkit_start(kit, p);
    if (status != WEIR_OK) {
        assert_true(weir_pipeline_why(p)[0] != '\0');
        assert_int_equal(weir_pipeline_status(p), status);
    }
    return status;
}

/* ---- Scenarios ---- */

static weir_status build_and_start(weir_testkit *kit)
{
    weir_pipeline *p = weir_testkit_pipeline(kit);
    if (p == NULL)
        return WEIR_ENOMEM;
    weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
    weir_from(p, weir_probe_source(from));
    weir_node *node = weir_via(p, weir_batch(NULL));
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY });
    weir_into(p, weir_probe_sink(to));
    weir_status status = start(kit, p);
    weir_status end = finish(kit, p);
    return status != WEIR_OK ? status : end;
}

static weir_status twice(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) *= 2;
    return WEIR_OK;
}

/* Every item ends exactly once, whatever could not be allocated on its way. */
static weir_status run_graph(weir_testkit *kit)
{
    weir_pipeline *p = weir_testkit_pipeline(kit);
    if (p == NULL)
        return WEIR_ENOMEM;
    weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
    weir_node *source = weir_add(p, weir_probe_source(from));
    weir_node *split = weir_add(p, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_node *map = weir_add(p, weir_map(twice, NULL)), *merge = weir_add(p, weir_merge());
    weir_node *batch = weir_add(p, weir_batch(&(weir_batch_config){ .count = 3 }));
    weir_node *sink = weir_add(p, weir_probe_sink(to));
    weir_link(source, 0, split, 0, NULL);
    weir_link(split, 0, map, 0, NULL);
    weir_link(map, 0, merge, 0, NULL);
    weir_link(split, 1, merge, 1, NULL);
    weir_link(merge, 0, batch, 0, NULL);
    weir_link(batch, 0, sink, 0, NULL);
    weir_node_place(map, weir_testkit_loop(kit, 1) != NULL ? 1 : 0);
    weir_status status = start(kit, p);
    if (status == WEIR_OK) {
        weir_probe_request(to, 1000);
        for (uint64_t i = 0; i < 100; i++)
            assert_true(weir_probe_feed(from, i));
        weir_probe_end(from);
        assert_true(weir_testkit_settle(kit));
        assert_int_equal(weir_probe_violations(from) + weir_probe_violations(to), 0);
        if (weir_probe_ended(from, WEIR_FAILED) != 0)
            status = WEIR_ENOMEM;
    }
    weir_status end = finish(kit, p);
    assert_int_equal(weir_probe_live(from), 0);
    return status != WEIR_OK ? status : end;
}

typedef struct latch {
    weir_op *ops[64];
    uint32_t n;
} latch;

typedef struct latch_config {
    latch *l;
} latch_config;

static void latch_start(weir_op *op, void *state)
{
    latch *l = ((const latch_config *)weir_async_config(op->stage))->l;
    (void)state;
    l->ops[l->n++ % 64] = op;
    if (l->n % 3 == 0)
        weir_op_done(op, WEIR_EIO, "every third fails");
    else
        weir_op_done(op, WEIR_OK, NULL);
}

static const weir_async_type latch_type = { .name = "latch",
                                            .config_size = sizeof(latch_config),
                                            .state_size = 10,
                                            .work_size = 100,
                                            .start = latch_start };

static weir_status run_async(weir_testkit *kit)
{
    latch l = { 0 };
    weir_pipeline *p = weir_testkit_pipeline(kit);
    if (p == NULL)
        return WEIR_ENOMEM;
    weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
    weir_probe *dead = weir_testkit_probe(kit);
    weir_async_options options = { .in_flight = 4 };
    weir_from(p, weir_probe_source(from));
    weir_node *node = weir_via(p, weir_async_of(&latch_type, &options, &(latch_config){ &l }));
    weir_into(p, weir_probe_sink(to));
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                                 .then = WEIR_ON_ERROR_DEAD_LETTER,
                                                 .retries_max = 1 });
    weir_node_dead_letter(node, weir_add(p, weir_probe_sink(dead)), 0);
    weir_status status = start(kit, p);
    if (status == WEIR_OK) {
        weir_probe_request(to, 1000);
        for (uint64_t i = 0; i < 50; i++)
            assert_true(
                weir_probe_feed_item(from, &(weir_probe_item){ .value = i, .key = 1 + i % 2 }));
        weir_probe_end(from);
        assert_true(weir_testkit_advance_by(kit, 10 * WEIR_SEC, 50 * WEIR_MS));
        weir_probe_request(dead, 1000);
        assert_true(weir_testkit_advance_by(kit, WEIR_SEC, 50 * WEIR_MS));
        if (weir_probe_ended(from, WEIR_FAILED) != 0)
            status = WEIR_ENOMEM;
    }
    weir_status end = finish(kit, p);
    assert_int_equal(weir_probe_live(from), 0);
    return status != WEIR_OK ? status : end;
}

static weir_status run_inlet(weir_testkit *kit)
{
    const weir_env *env = weir_testkit_env(kit);
    weir_inlet *inlet = weir_inlet_new(env, &(weir_inlet_config){ .items_max = 8 });
    if (inlet == NULL)
        return WEIR_ENOMEM;
    weir_status status = WEIR_ENOMEM;
    weir_pipeline *p = weir_testkit_pipeline(kit);
    if (p != NULL) {
        weir_from(p, weir_from_inlet(inlet));
        weir_into(p, weir_probe_sink(weir_testkit_probe(kit)));
        status = start(kit, p);
    }
    for (int i = 0; i < 10; i++) {
        weir_item *item = weir_item_new_foreign(env, NULL, 100);
        if (item == NULL)
            status = WEIR_ENOMEM;
        else if (weir_inlet_offer(inlet, item) != WEIR_OK)
            weir_item_end(item, WEIR_REJECTED, WEIR_EOVERLOAD);
    }
    assert_true(weir_testkit_settle(kit));
    weir_inlet_end(inlet);
    weir_inlet_free(inlet);
    weir_status end = p != NULL ? finish(kit, p) : WEIR_OK;
    return status != WEIR_OK ? status : end;
}

static weir_status make_items(weir_testkit *kit)
{
    weir_loop *loop = weir_testkit_loop(kit, 0);
    const size_t sizes[] = { 0, 1, 64, 500, 3000, 16320, 16321, 100000 };
    weir_status worst = WEIR_OK;
    for (int i = 0; i < 8; i++) {
        weir_item *items[3], *joined, *copy;
        size_t n = weir_items_new(loop, NULL, sizes[i], items, 3);
        if (n < 3)
            worst = WEIR_ENOMEM;
        if (n == 0)
            continue;
        if (sizes[i] != 0)
            memset(items[0]->body, 1, sizes[i]);
        weir_status status = weir_item_clone(loop, items[0], &copy);
        if (status == WEIR_OK)
            items[0] = copy;
        else
            worst = status;
        status = weir_items_join(loop, items, n, &joined);
        if (status == WEIR_OK) {
            weir_item_ack(joined);
            continue;
        }
        worst = status;
        weir_items_ack(items, n);
    }
    assert_true(weir_testkit_settle(kit));
    return worst;
}

static void no_job(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    (void)jobs;
    (void)n;
    (void)thread_state;
    (void)user;
}

static weir_status make_a_pool(weir_testkit *kit)
{
    weir_offload *offload = NULL;
    weir_offload_config config = { .env = weir_testkit_env(kit), .threads = 3, .run = no_job };
    weir_status status = weir_offload_new(&config, &offload);
    weir_offload_free(offload);
    return status;
}

static weir_status make_a_loop(weir_testkit *kit)
{
    weir_env env = *weir_testkit_env(kit);
    weir_loop *loop = weir_loop_new(&(weir_loop_config){ .env = &env });
    weir_status status = loop != NULL ? WEIR_OK : WEIR_ENOMEM;
    weir_loop_free(loop);
    return status;
}

/* ---- Tests ---- */

static void a_pipeline_that_cannot_be_built_or_started_says_so(void **state)
{
    (void)state;
    fail_each(build_and_start, 1, true);
    fail_each(build_and_start, 3, true);
}

static void a_graph_ends_every_item_whatever_allocation_fails(void **state)
{
    (void)state;
    fail_each(run_graph, 1, false);
    fail_each(run_graph, 2, false);
}

static void an_asynchronous_stage_ends_every_item_whatever_allocation_fails(void **state)
{
    (void)state;
    fail_each(run_async, 1, false);
}

static void an_inlet_refuses_or_works_whatever_allocation_fails(void **state)
{
    (void)state;
    fail_each(run_inlet, 1, true);
}

static void items_that_cannot_be_made_cloned_or_joined_leave_all_as_it_was(void **state)
{
    (void)state;
    fail_each(make_items, 1, true);
}

static void a_pool_or_a_loop_that_cannot_be_made_leaves_nothing(void **state)
{
    (void)state;
    fail_each(make_a_pool, 1, true);
    fail_each(make_a_loop, 1, true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pipeline_that_cannot_be_built_or_started_says_so),
        cmocka_unit_test(a_graph_ends_every_item_whatever_allocation_fails),
        cmocka_unit_test(an_asynchronous_stage_ends_every_item_whatever_allocation_fails),
        cmocka_unit_test(an_inlet_refuses_or_works_whatever_allocation_fails),
        cmocka_unit_test(items_that_cannot_be_made_cloned_or_joined_leave_all_as_it_was),
        cmocka_unit_test(a_pool_or_a_loop_that_cannot_be_made_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
