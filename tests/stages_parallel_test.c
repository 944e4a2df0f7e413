/* parallel: copies of a stage, ordered and not. */
#include "stages_rig.h"

enum { COPIES = 4 };

/* ---- Workers ---- */

static weir_op *kept[64];
static size_t n_kept;

/* Keeps multiples of 10, fails multiples of 7, ends the others at once. */
static void mixed(weir_op *op, void *user)
{
    (void)user;
    uint64_t value = value_of(op->item);
    if (value % 10 == 0)
        kept[n_kept++] = op;
    else if (value % 7 == 0)
        weir_op_done(op, WEIR_EIO, "a seventh");
    else
        weir_op_done(op, WEIR_OK, NULL);
}

static void give_up(weir_op *op, weir_status status, void *user)
{
    (void)user;
    for (size_t i = 0; i < n_kept; i++)
        if (kept[i] == op)
            kept[i] = NULL;
    weir_op_done(op, status, "given up");
}

static weir_stage_spec *mixed_worker(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_async(&(weir_async_fn_config){ .start = mixed, .cancel = give_up });
}

static bool not_third(const weir_item *item, void *user)
{
    (void)user;
    return value_of(item) % 3 != 0;
}

static weir_stage_spec *filter_worker(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_filter(not_third, NULL);
}

static weir_status two_of_each(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                               weir_item **ret_made)
{
    (void)user;
    if (index == 2)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(*ret_made) = value_of(item) + 1000 * index;
    return WEIR_OK;
}

static weir_stage_spec *doubling_worker(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_flat_map(two_of_each, NULL);
}

static void wire(rig *r, weir_parallel_config *config)
{
    n_kept = 0;
    weir_from(r->pipeline, weir_probe_source(r->from));
    r->node = weir_parallel(r->pipeline, config);
    weir_into(r->pipeline, weir_probe_sink(r->to));
}

static rig rig_parallel(weir_stage_spec *(*stage)(uint32_t, void *), bool unordered)
{
    rig r = rig_new(1);
    wire(&r, &(weir_parallel_config){ .stage = stage, .copies = COPIES, .unordered = unordered });
    rig_start(&r);
    return r;
}

static void finish_kept(rig *r)
{
    for (size_t i = n_kept; i-- > 0;) /* the last first */
        if (kept[i] != NULL)
            weir_op_done(kept[i], WEIR_OK, NULL);
    n_kept = 0;
    assert_true(weir_testkit_settle(r->kit));
}

static void copies_keep_the_order_between_them(void **unused)
{
    (void)unused;
    rig r = rig_parallel(mixed_worker, false);
    rig_request(&r, 100);
    rig_feed(&r, 10, 12); /* 10 and 20 are kept, 14 and 21 fail */
    assert_received(&r, 0);
    finish_kept(&r);
    assert_got(&r, 10, 11, 12, 13, 15, 16, 17, 18, 19, 20);
    assert_outcome(&r, 4, WEIR_FAILED, WEIR_EIO);
    rig_finish(&r);
}

static void unordered_copies_go_as_they_finish(void **unused)
{
    (void)unused;
    rig r = rig_parallel(mixed_worker, true);
    rig_request(&r, 100);
    rig_feed(&r, 10, 12);
    assert_received(&r, 7); /* 18 waits in its copy, which has 10 */
    finish_kept(&r);
    assert_received(&r, 10);
    rig_finish(&r);
}

static void dropped_items_do_not_hold_up_the_order(void **unused)
{
    (void)unused;
    rig r = rig_parallel(filter_worker, false);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 3, 1);
    rig_feed(&r, 4, 1);
    assert_got(&r, 4); /* and nothing of 3 is left to come */
    for (uint64_t i = 5; i < 1000; i++)
        rig_feed(&r, i, 1);
    for (uint64_t n = 1; n < weir_probe_received(r.to); n++)
        assert_true(weir_probe_value(r.to, n) > weir_probe_value(r.to, n - 1));
    assert_received(&r, 665 - 1);
    rig_finish(&r);
}

static void a_second_item_of_one_is_refused(void **unused)
{
    (void)unused;
    rig r = rig_parallel(doubling_worker, false);
    rig_request(&r, 10);
    rig_feed(&r, 1, 2);
    assert_got(&r, 1, 2);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EINVAL);
    rig_finish(&r);
}

static void no_more_than_in_flight_are_between_the_ends(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    wire(&r, &(weir_parallel_config){ .stage = mixed_worker, .copies = COPIES, .in_flight = 6 });
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 10, 30);
    assert_int_equal(weir_probe_emitted(r.from), 6);
    while (n_kept != 0)
        finish_kept(&r);
    assert_received(&r, 30 - 4);
    rig_finish(&r);
}

static void demand_is_not_exceeded(void **unused)
{
    (void)unused;
    rig r = rig_parallel(filter_worker, false);
    rig_feed(&r, 1, 50);
    for (uint64_t n = 1; n < 20; n++) {
        rig_request(&r, 1);
        assert_received(&r, n);
    }
    rig_finish(&r);
}

static void the_end_and_an_error_come_after_what_is_inside(void **unused)
{
    (void)unused;
    for (int fails = 0; fails < 2; fails++) {
        rig r = rig_parallel(mixed_worker, false);
        weir_status status = WEIR_EINVAL;
        rig_request(&r, 100);
        rig_feed(&r, 10, 4);
        if (fails)
            weir_probe_end_error(r.from, WEIR_EPROTO);
        else
            weir_probe_end(r.from);
        assert_true(weir_testkit_settle(r.kit));
        assert_false(weir_probe_is_over(r.to, NULL));
        finish_kept(&r);
        assert_got(&r, 10, 11, 12, 13);
        assert_true(weir_probe_is_over(r.to, &status));
        assert_int_equal(status, fails ? WEIR_EPROTO : WEIR_OK);
        rig_done(&r);
    }
}

static void a_cancel_or_an_abort_frees_all(void **unused)
{
    (void)unused;
    for (int aborts = 0; aborts < 2; aborts++) {
        for (int unordered = 0; unordered < 2; unordered++) {
            rig r = rig_parallel(mixed_worker, unordered);
            rig_request(&r, 3);
            rig_feed(&r, 10, 30);
            if (aborts)
                rig_abort(&r);
            else
                rig_cancel(&r);
            rig_done(&r);
        }
    }
}

/* A leg of a broadcast behind ordered copies writes to a copy of its own. */
static weir_status overwrite(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) = 99;
    return WEIR_OK;
}

static void what_comes_out_can_be_shared_and_copied(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_probe *other = weir_testkit_probe(r.kit);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_parallel(r.pipeline, &(weir_parallel_config){ .stage = filter_worker });
    weir_node *split = weir_via(r.pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_node *map = weir_add(r.pipeline, weir_map(overwrite, NULL));
    weir_link(split, 0, map, 0, NULL);
    weir_link(map, 0, weir_add(r.pipeline, weir_probe_sink(other)), 0, NULL);
    weir_link(split, 1, weir_add(r.pipeline, weir_probe_sink(r.to)), 0, NULL);
    rig_start(&r);
    weir_probe_request(other, 5);
    rig_request(&r, 5);
    rig_feed(&r, 1, 1);
    assert_int_equal(weir_probe_value(other, 0), 99);
    assert_got(&r, 1);
    weir_probe_request(other, WEIR_UNBOUNDED);
    rig_finish(&r);
}

/* Items of a batch are seen through by the copies. */
static uint64_t members_seen;

static weir_status count_members(weir_item *item, void *user)
{
    (void)user;
    members_seen += weir_item_members(item)->n;
    return WEIR_OK;
}

static weir_stage_spec *counting_worker(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_map(count_members, NULL);
}

static void batches_are_batches_to_the_copies(void **unused)
{
    (void)unused;
    members_seen = 0;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_batch(&(weir_batch_config){ .count = 5 }));
    weir_parallel(r.pipeline, &(weir_parallel_config){ .stage = counting_worker });
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 20);
    assert_received(&r, 4);
    assert_int_equal(members_seen, 20);
    rig_finish(&r);
}

static uint32_t wired;

static void count_wired(weir_node *copy, uint32_t index, void *user)
{
    (void)user;
    assert_int_equal(index, wired++);
    weir_node_policy(copy, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP });
}

static void copies_are_seen_when_wired_and_may_be_too_many(void **unused)
{
    (void)unused;
    wired = 0;
    rig r = rig_new(1);
    wire(&r, &(weir_parallel_config){ .stage = filter_worker, .copies = 3, .wired = count_wired });
    assert_int_equal(wired, 3);
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_OK);
    weir_pipeline_free(r.pipeline);
    r.pipeline = weir_testkit_pipeline(r.kit);
    wire(&r, &(weir_parallel_config){ .stage = filter_worker, .copies = 65 });
    assert_int_not_equal(weir_pipeline_check(r.pipeline), WEIR_OK);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

static bool run_with_a_failure(uint64_t nth, uint32_t loops)
{
    rig r = { .kit = weir_testkit_new(loops, nth) };
    r.from = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    uint64_t before = weir_testkit_allocations(r.kit);
    weir_testkit_fail_allocation(r.kit, nth);
    r.pipeline = weir_testkit_pipeline(r.kit);
    if (r.pipeline != NULL) {
        wire(&r, &(weir_parallel_config){
                     .stage = mixed_worker, .loops = loops - 1, .first_loop = loops > 1 });
        if (weir_testkit_start(r.kit, r.pipeline) == WEIR_OK) {
            for (uint64_t i = 0; i < 60; i++)
                (void)weir_probe_feed(r.from, i);
            rig_request(&r, WEIR_UNBOUNDED);
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

/* Over several loops, ended in four ways after a walk of asking and feeding. */
static void walk(uint64_t seed, bool unordered)
{
    uint32_t loops = 1 + (uint32_t)seed % 4;
    uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15) + 1, fed = 0;
    const weir_edge_config narrow = { .window = 1 + (uint32_t)seed % 5 };
    rig r = rig_new(loops);
    wire(&r, &(weir_parallel_config){ .stage = seed % 2 ? mixed_worker : filter_worker,
                                      .loops = loops - 1,
                                      .first_loop = loops > 1,
                                      .edge = seed % 3 ? &narrow : NULL,
                                      .in_flight = seed % 5 ? 0 : 3,
                                      .unordered = unordered });
    rig_start(&r);
    for (uint64_t step = 0; step < 10 + seed % 40; step++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        if ((x >> 59 & 1) != 0)
            rig_request(&r, 1 + (x >> 60) * 3);
        uint64_t more = (x >> 58 & 1) != 0 ? x >> 60 : 0;
        rig_feed(&r, fed, more);
        fed += more;
        if ((x >> 57 & 1) != 0)
            finish_kept(&r);
    }
    if (seed % 4 == 0)
        rig_abort(&r);
    else if (seed % 4 == 1)
        rig_cancel(&r);
    else if (seed % 4 == 2)
        weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    weir_probe_end(r.from);
    rig_request(&r, WEIR_UNBOUNDED);
    while (n_kept != 0)
        finish_kept(&r);
    for (uint64_t n = 1; !unordered && n < weir_probe_received(r.to); n++)
        assert_true(weir_probe_value(r.to, n) > weir_probe_value(r.to, n - 1));
    rig_done(&r);
}

static void order_and_items_are_kept_however_it_ends(void **unused)
{
    (void)unused;
    for (uint64_t seed = 0; seed < 300; seed++) {
        walk(seed, false);
        walk(seed, true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_keep_the_order_between_them),
        cmocka_unit_test(unordered_copies_go_as_they_finish),
        cmocka_unit_test(dropped_items_do_not_hold_up_the_order),
        cmocka_unit_test(a_second_item_of_one_is_refused),
        cmocka_unit_test(no_more_than_in_flight_are_between_the_ends),
        cmocka_unit_test(demand_is_not_exceeded),
        cmocka_unit_test(the_end_and_an_error_come_after_what_is_inside),
        cmocka_unit_test(a_cancel_or_an_abort_frees_all),
        cmocka_unit_test(what_comes_out_can_be_shared_and_copied),
        cmocka_unit_test(batches_are_batches_to_the_copies),
        cmocka_unit_test(copies_are_seen_when_wired_and_may_be_too_many),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(order_and_items_are_kept_however_it_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
