/* All stages in one graph: with every allocation failing in turn, and ended at any moment. */
#include "effort.h"
#include "stages_rig.h"

enum { ITEMS = 300 };

static weir_status add_one(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) += 1;
    return WEIR_OK;
}

static bool not_seventh(const weir_item *item, void *user)
{
    (void)user;
    return value_of(item) % 7 != 0;
}

static void look(const weir_item *item, void *user)
{
    (void)item;
    (void)user;
}

/* A joined item's members, as items of their own again. */
static weir_status unbatch(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                           weir_item **ret_made)
{
    (void)user;
    const weir_items *members = weir_item_members(item);
    if (index == members->n)
        return WEIR_OK;
    weir_item *made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(made) = value_of(members->items[index]);
    made->key = value_of(made) % 5;
    *ret_made = made;
    return WEIR_OK;
}

static void done_at_once(weir_op *op, void *user)
{
    (void)user;
    weir_op_done(op, WEIR_OK, NULL);
}

static weir_status count(weir_item *item, void *user)
{
    (void)item;
    ++*(uint64_t *)user;
    return WEIR_OK;
}

/* source, map, filter, observe, buffer, batch, flat_map, rate_limit, async, then
 *   broadcast +- partition (2) - merge - sink
 *             +- balance (2) - for_each, for_each */
static void wire(rig *r, uint64_t *counts, uint32_t loops, const weir_edge_config *edge)
{
    weir_pipeline *p = r->pipeline;
    weir_from(p, weir_probe_source(r->from));
    weir_via(p, weir_map(add_one, NULL));
    weir_via(p, weir_filter(not_seventh, NULL));
    weir_via(p, weir_observe(look, NULL));
    weir_node *nodes[12], **node = nodes;
    *node++ = weir_via(p, weir_buffer(&(weir_buffer_config){ .items_max = 20 }));
    *node++ = weir_via(p, weir_batch(&(weir_batch_config){ .count = 10, .wait_us = 100 }));
    *node++ = weir_via(p, weir_flat_map(unbatch, NULL));
    *node++ = weir_via(p,
                       weir_rate_limit(&(weir_rate_limit_config){ .rate = 1000000, .burst = 100 }));
    *node++ =
        weir_via(p, weir_async(&(weir_async_fn_config){ .start = done_at_once, .in_flight = 8 }));
    weir_node *split = *node++ = weir_via(p, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_node *partition = *node++ = weir_add(p, weir_partition(NULL, NULL, 2));
    weir_node *merge = *node++ = weir_add(p, weir_merge());
    weir_node *balance = *node++ = weir_add(p, weir_balance());
    weir_node *sink = *node++ = weir_add(p, weir_probe_sink(r->to));
    weir_node *left = *node++ = weir_add(p, weir_for_each(count, &counts[0]));
    weir_node *right = *node++ = weir_add(p, weir_for_each(count, &counts[1]));
    weir_link(split, 0, partition, 0, NULL);
    weir_link(split, 1, balance, 0, NULL);
    weir_link(partition, 0, merge, 0, NULL);
    weir_link(partition, 1, merge, 1, NULL);
    weir_link(merge, 0, sink, 0, NULL);
    weir_link(balance, 0, left, 0, NULL);
    weir_link(balance, 1, right, 0, NULL);
    for (uint32_t i = 0; loops > 1 && i < 12 && nodes[i] != NULL; i++)
        weir_node_place(nodes[i], (i * 7 + loops) / 3 % loops);
    for (uint32_t i = 0; edge != NULL && i < 12 && nodes[i] != NULL; i++)
        weir_node_window(nodes[i], edge);
}

static void everything_together_conserves_items(void **unused)
{
    (void)unused;
    uint64_t counts[2] = { 0 }, dropped = 0;
    rig r = rig_new(1);
    wire(&r, counts, 1, NULL);
    rig_start(&r);
    rig_feed(&r, 0, ITEMS);
    for (uint64_t i = 0; i < ITEMS; i++)
        dropped += (i + 1) % 7 == 0;
    weir_probe_end(r.from);
    weir_probe_request(r.to, WEIR_UNBOUNDED);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, 50 * WEIR_US));
    assert_received(&r, ITEMS - dropped);
    assert_int_equal(counts[0] + counts[1], ITEMS - dropped);
    assert_ended(&r, WEIR_FILTERED, dropped);
    assert_ended(&r, WEIR_ACKED, ITEMS - dropped);
    rig_done(&r);
}

/* Gives whether an allocation failed: if not, all of them have been tried. */
static bool run_with_a_failure(uint64_t nth, uint32_t loops)
{
    uint64_t counts[2] = { 0 };
    rig r = { .kit = weir_testkit_new(loops, nth) };
    r.from = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    uint64_t before = weir_testkit_allocations(r.kit);
    weir_testkit_fail_allocation(r.kit, nth);
    r.pipeline = weir_testkit_pipeline(r.kit);
    if (r.pipeline != NULL) {
        wire(&r, counts, loops, NULL);
        if (weir_testkit_start(r.kit, r.pipeline) == WEIR_OK) {
            weir_probe_request(r.to, WEIR_UNBOUNDED);
            rig_feed(&r, 0, ITEMS);
            rig_end(&r);
            assert_true(weir_testkit_advance_by(r.kit, 20 * WEIR_MS, 100 * WEIR_US));
            /* A source that got no item tries again when it is asked again. */
            if (!weir_pipeline_is_finished(r.pipeline))
                rig_abort(&r);
            assert_true(weir_pipeline_is_finished(r.pipeline));
        }
    }
    bool failed = weir_testkit_allocations(r.kit) - before >= nth;
    assert_int_equal(weir_probe_live(r.from), 0);
    assert_int_equal(weir_probe_violations(r.from) + weir_probe_violations(r.to), 0);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
    return failed;
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    for (uint32_t loops = 1; loops <= 3; loops += 2) {
        uint64_t nth = 1;
        while (run_with_a_failure(nth, loops))
            nth++;
        assert_true(nth > 20);
    }
}

/* A walk of feeding, asking and waiting that is ended in one of four ways. */
static void walk(uint64_t seed, uint32_t loops)
{
    const weir_edge_config narrow = { .window = 1 + (uint32_t)seed % 5,
                                      .window_bytes = 20 + seed % 60 };
    uint64_t counts[2] = { 0 }, x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    rig r = rig_new(loops);
    wire(&r, counts, loops, seed % 3 != 0 ? &narrow : NULL);
    rig_start(&r);
    for (uint64_t step = 0; step < 10 + seed % 50; step++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        if ((x >> 59 & 1) != 0)
            rig_request(&r, 1 + (x >> 60) * 3);
        if ((x >> 58 & 1) != 0)
            rig_feed(&r, 0, x >> 57);
        if ((x >> 57 & 1) != 0)
            assert_true(weir_testkit_advance(r.kit, 40 * WEIR_US));
    }
    switch (seed % 4) {
    case 0:
        rig_abort(&r);
        break;
    case 1:
        rig_cancel(&r);
        rig_end(&r);
        break;
    case 2:
        weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
        rig_request(&r, WEIR_UNBOUNDED);
        break;
    default:
        rig_end(&r);
        rig_request(&r, WEIR_UNBOUNDED);
        break;
    }
    assert_true(weir_testkit_advance_by(r.kit, 20 * WEIR_MS, 100 * WEIR_US));
    rig_done(&r);
}

static void items_are_conserved_however_it_ends(void **unused)
{
    (void)unused;
    for (uint64_t seed = 0; seed < effort(200); seed++)
        walk(seed, 1);
}

static void items_are_conserved_across_loops_however_it_ends(void **unused)
{
    (void)unused;
    for (uint64_t seed = 0; seed < effort(200); seed++)
        walk(seed, 2 + (uint32_t)seed % 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_together_conserves_items),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(items_are_conserved_however_it_ends),
        cmocka_unit_test(items_are_conserved_across_loops_however_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
