/* pool, its asynchronous kind: workers that grow and shrink, on virtual time. */
#include "stages_rig.h"

enum { OPS_MAX = 1024 };

typedef struct work {
    weir_op *ops[OPS_MAX];
    size_t n, finished, cancels;
} work;

static void work_start(weir_op *op, void *user)
{
    work *w = user;
    assert_true(w->n < OPS_MAX);
    w->ops[w->n++] = op;
}

static void work_cancel(weir_op *op, weir_status status, void *user)
{
    ((work *)user)->cancels++;
    weir_op_done(op, status, "given up");
}

static void finish_all(rig *r, work *w)
{
    while (w->finished < w->n) {
        weir_op_done(w->ops[w->finished++], WEIR_OK, NULL);
        assert_true(weir_testkit_settle(r->kit));
    }
}

static weir_pool_config small(work *w, weir_pool_control *control)
{
    return (weir_pool_config){ .start = work_start,
                               .cancel = work_cancel,
                               .user = w,
                               .min = 1,
                               .max = 4,
                               .most = 8,
                               .queue = 8,
                               .control = control };
}

static rig rig_pool(const weir_pool_config *config)
{
    rig r = rig_with(weir_pool(config));
    rig_request(&r, WEIR_UNBOUNDED);
    return r;
}

static void assert_size(const weir_pool_control *control, uint32_t size)
{
    weir_pool_figures figures;
    weir_pool_look(control, &figures);
    assert_int_equal(figures.size, size);
}

static void look(rig *r, uint32_t times)
{
    assert_true(weir_testkit_advance_by(r->kit, times * 500 * WEIR_MS, 500 * WEIR_MS));
}

static void it_starts_with_the_fewest_and_asks_for_its_queue(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_pool_control control = { 0 };
    weir_pool_config config = small(&w, &control);
    rig r = rig_pool(&config);
    assert_size(&control, 1);
    assert_demand(&r, 9);
    rig_feed(&r, 1, 20);
    assert_int_equal(w.n, 1);
    assert_int_equal(weir_probe_emitted(r.from), 9);
    while (w.finished < 20)
        finish_all(&r, &w);
    rig_finish(&r);
}

static void it_grows_by_one_while_more_than_half_its_queue_is_taken(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_pool_control control = { 0 };
    weir_pool_config config = small(&w, &control);
    rig r = rig_pool(&config);
    rig_feed(&r, 1, 100);
    for (uint32_t size = 1; size <= 4; size++) {
        assert_size(&control, size);
        assert_int_equal(w.n, size);
        assert_true(weir_testkit_advance(r.kit, 499 * WEIR_MS));
        assert_size(&control, size);
        assert_true(weir_testkit_advance(r.kit, 1 * WEIR_MS));
    }
    assert_size(&control, 4); /* its most */
    weir_pool_figures figures;
    weir_pool_look(&control, &figures);
    assert_int_equal(figures.waiting, 8);
    finish_all(&r, &w);
    assert_received(&r, 100);
    rig_finish(&r);
}

static void half_a_queue_is_not_enough_to_grow(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_pool_control control = { 0 };
    weir_pool_config config = small(&w, &control);
    rig r = rig_pool(&config);
    rig_feed(&r, 1, 5); /* one under way, four wait */
    look(&r, 10);
    assert_size(&control, 1);
    rig_feed(&r, 6, 1);
    look(&r, 1);
    assert_size(&control, 2);
    finish_all(&r, &w);
    rig_finish(&r);
}

static void it_shrinks_by_one_while_nothing_waits(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_pool_control control = { 0 };
    weir_pool_config config = small(&w, &control);
    rig r = rig_pool(&config);
    rig_feed(&r, 1, 100);
    look(&r, 5);
    assert_size(&control, 4);
    finish_all(&r, &w);
    for (uint32_t size = 4; size-- > 1;) {
        look(&r, 1);
        assert_size(&control, size);
    }
    look(&r, 5);
    assert_size(&control, 1);
    rig_finish(&r);
    assert_size(&control, 0);
}

static void bounds_change_while_it_works_and_no_item_is_lost_or_doubled(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_pool_control control = { 0 };
    weir_pool_config config = small(&w, &control);
    rig r = rig_pool(&config);
    uint64_t fed = 0;
    for (uint32_t round = 0; round < 40; round++) {
        weir_pool_set_bounds(&control, 1 + round % 3, 1 + round * 7 % 9);
        rig_feed(&r, fed, 10);
        fed += 10;
        look(&r, 1);
        if (round % 4 != 0)
            finish_all(&r, &w);
    }
    finish_all(&r, &w);
    assert_received(&r, fed);
    for (uint64_t i = 0; i < fed; i++)
        assert_int_equal(weir_probe_value(r.to, i), i);
    assert_ended(&r, WEIR_ACKED, fed);
    rig_finish(&r);
}

static void lower_bounds_let_work_under_way_finish(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_pool_control control = { 0 };
    weir_pool_config config = small(&w, &control);
    rig r = rig_pool(&config);
    rig_feed(&r, 1, 100);
    look(&r, 5);
    assert_int_equal(w.n, 4);
    weir_pool_set_bounds(&control, 1, 2);
    look(&r, 1);
    assert_size(&control, 2);
    assert_int_equal(w.cancels, 0);
    weir_op_done(w.ops[0], WEIR_OK, NULL);
    weir_op_done(w.ops[1], WEIR_OK, NULL);
    w.finished = 2;
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(w.n, 4); /* two are under way still */
    finish_all(&r, &w);
    assert_received(&r, 100);
    rig_finish(&r);
}

static void higher_bounds_hold_up_to_the_most(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_pool_control control = { 0 };
    weir_pool_config config = small(&w, &control);
    rig r = rig_pool(&config);
    weir_pool_set_bounds(&control, 6, 100);
    rig_feed(&r, 1, 100);
    assert_size(&control, 6);
    assert_int_equal(w.n, 6);
    look(&r, 10);
    assert_size(&control, 8);
    finish_all(&r, &w);
    rig_finish(&r);
}

static void what_waits_is_dropped_when_its_context_is_over(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_pool_config config = small(&w, NULL);
    rig r = rig_pool(&config);
    weir_context context;
    weir_context_init(&context, weir_testkit_loop(r.kit, 0), NULL, 0);
    rig_feed(&r, 1, 1);
    (void)weir_probe_feed_item(r.from, &(weir_probe_item){ .value = 2, .context = &context });
    assert_true(weir_testkit_settle(r.kit));
    weir_context_cancel(&context, WEIR_ECANCELED);
    assert_true(weir_testkit_advance(r.kit, 50 * WEIR_MS));
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_ECANCELED);
    assert_int_equal(w.n, 1);
    weir_context_done(&context);
    finish_all(&r, &w);
    rig_finish(&r);
}

static void an_abort_cancels_workers_and_ends_what_waits(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_pool_config config = small(&w, NULL);
    rig r = rig_pool(&config);
    rig_feed(&r, 1, 100);
    look(&r, 2);
    rig_abort(&r);
    assert_int_equal(w.cancels, 3);
    rig_done(&r);
}

static weir_status run(weir_item *item, void *thread_state, void *user)
{
    (void)item;
    (void)thread_state;
    (void)user;
    return WEIR_OK;
}

static void limits_of_pools_are_checked(void **unused)
{
    (void)unused;
    const weir_pool_config wrong[] = {
        { 0 },
        { .start = work_start, .run = run },
        { .start = work_start, .min = 5, .max = 4 },
        { .start = work_start, .max = 8, .most = 4 },
        { .start = work_start, .max = 1025 },
        { .start = work_start, .queue = 65537 },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        rig r = rig_of(weir_pool(&wrong[i]));
        assert_int_not_equal(weir_pipeline_check(r.pipeline), WEIR_OK);
        assert_true(strlen(weir_pipeline_why(r.pipeline)) > 10);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_starts_with_the_fewest_and_asks_for_its_queue),
        cmocka_unit_test(it_grows_by_one_while_more_than_half_its_queue_is_taken),
        cmocka_unit_test(half_a_queue_is_not_enough_to_grow),
        cmocka_unit_test(it_shrinks_by_one_while_nothing_waits),
        cmocka_unit_test(bounds_change_while_it_works_and_no_item_is_lost_or_doubled),
        cmocka_unit_test(lower_bounds_let_work_under_way_finish),
        cmocka_unit_test(higher_bounds_hold_up_to_the_most),
        cmocka_unit_test(what_waits_is_dropped_when_its_context_is_over),
        cmocka_unit_test(an_abort_cancels_workers_and_ends_what_waits),
        cmocka_unit_test(limits_of_pools_are_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
