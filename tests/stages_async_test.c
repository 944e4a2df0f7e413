/* async: a user's functions, many in flight. */
#include "stages_rig.h"

enum { OPS_MAX = 256 };

/* What is under way, finished by hand. */
typedef struct work {
    weir_op *ops[OPS_MAX];
    size_t n, flushes, cancels;
    weir_status cancelled_with;
} work;

static void work_start(weir_op *op, void *user)
{
    work *w = user;
    assert_true(w->n < OPS_MAX);
    *(uint64_t *)op->work = value_of(op->item);
    w->ops[w->n++] = op;
}

static void work_cancel(weir_op *op, weir_status status, void *user)
{
    work *w = user;
    w->cancels++;
    w->cancelled_with = status;
    weir_op_done(op, status, "given up");
}

static void work_flush(weir_stage *stage, void *user)
{
    (void)stage;
    ((work *)user)->flushes++;
}

static void finish(rig *r, work *w, size_t index, weir_status status)
{
    assert_non_null(w->ops[index]);
    weir_op_done(w->ops[index], status, "the work failed");
    assert_true(weir_testkit_settle(r->kit));
}

static rig rig_async(work *w, uint32_t in_flight, bool unordered)
{
    return rig_with(weir_async(&(weir_async_fn_config){ .start = work_start,
                                                        .flush = work_flush,
                                                        .user = w,
                                                        .in_flight = in_flight,
                                                        .unordered = unordered }));
}

static void no_more_than_in_flight_are_started(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_async(&w, 3, false);
    rig_request(&r, 10);
    rig_feed(&r, 1, 10);
    assert_int_equal(w.n, 3);
    assert_int_equal(weir_probe_emitted(r.from), 3);
    finish(&r, &w, 0, WEIR_OK);
    assert_got(&r, 1);
    assert_int_equal(w.n, 4);
    for (size_t i = 1; i < w.n; i++)
        finish(&r, &w, i, WEIR_OK);
    assert_received(&r, 10);
    rig_finish(&r);
}

static void results_come_in_the_order_of_arrival(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_async(&w, 3, false);
    rig_request(&r, 10);
    rig_feed(&r, 1, 3);
    finish(&r, &w, 2, WEIR_OK);
    finish(&r, &w, 1, WEIR_OK);
    assert_received(&r, 0);
    finish(&r, &w, 0, WEIR_OK);
    assert_got(&r, 1, 2, 3);
    rig_finish(&r);
}

static void unordered_results_come_as_they_finish(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_async(&w, 3, true);
    rig_request(&r, 10);
    rig_feed(&r, 1, 3);
    finish(&r, &w, 2, WEIR_OK);
    finish(&r, &w, 0, WEIR_OK);
    assert_got(&r, 3, 1);
    finish(&r, &w, 1, WEIR_OK);
    rig_finish(&r);
}

static void a_result_without_demand_keeps_its_slot(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_async(&w, 2, false);
    rig_request(&r, 1);
    rig_feed(&r, 1, 5);
    finish(&r, &w, 0, WEIR_OK);
    finish(&r, &w, 1, WEIR_OK);
    assert_got(&r, 1);
    assert_int_equal(w.n, 3);
    finish(&r, &w, 2, WEIR_OK);
    assert_int_equal(w.n, 3); /* both slots wait for demand */
    rig_request(&r, 2);
    assert_got(&r, 1, 2, 3);
    assert_int_equal(w.n, 5);
    finish(&r, &w, 3, WEIR_OK);
    finish(&r, &w, 4, WEIR_OK);
    rig_finish(&r);
}

static void failed_work_fails_the_item(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_async(&w, 2, false);
    rig_request(&r, 2);
    rig_feed(&r, 1, 2);
    finish(&r, &w, 0, WEIR_EIO);
    finish(&r, &w, 1, WEIR_OK);
    assert_got(&r, 2);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EIO);
    rig_finish(&r);
}

static void the_end_waits_for_work_under_way(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_async(&w, 2, false);
    rig_request(&r, 2);
    rig_feed(&r, 1, 2);
    rig_end(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    finish(&r, &w, 0, WEIR_OK);
    finish(&r, &w, 1, WEIR_OK);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void work_that_takes_too_long_is_cancelled(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_with(weir_async(&(weir_async_fn_config){
        .start = work_start, .cancel = work_cancel, .user = &w, .timeout_ms = 20 }));
    rig_request(&r, 2);
    rig_feed(&r, 1, 1);
    assert_true(weir_testkit_advance(r.kit, 19 * WEIR_MS));
    assert_int_equal(w.cancels, 0);
    assert_true(weir_testkit_advance(r.kit, 1 * WEIR_MS));
    assert_int_equal(w.cancels, 1);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EDEADLINE);
    rig_finish(&r);
}

static void a_cancelled_context_cancels_the_work(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_with(weir_async(
        &(weir_async_fn_config){ .start = work_start, .cancel = work_cancel, .user = &w }));
    weir_context context;
    weir_context_init(&context, weir_testkit_loop(r.kit, 0), NULL, 0);
    rig_request(&r, 2);
    weir_probe_feed_item(r.from, &(weir_probe_item){ .value = 1, .context = &context });
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(w.n, 1);
    weir_context_cancel(&context, WEIR_ECANCELED);
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(w.cancelled_with, WEIR_ECANCELED);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ECANCELED);
    weir_context_done(&context);
    rig_finish(&r);
}

static void starts_of_a_turn_are_flushed_once(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_async(&w, 8, false);
    rig_request(&r, 8);
    rig_feed(&r, 1, 8);
    assert_int_equal(w.n, 8);
    assert_int_equal(w.flushes, 1);
    for (size_t i = 0; i < 8; i++)
        weir_op_done(w.ops[i], WEIR_OK, NULL);
    rig_finish(&r);
}

static void an_abort_cancels_what_is_under_way(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_with(weir_async(&(weir_async_fn_config){
        .start = work_start, .cancel = work_cancel, .user = &w, .in_flight = 4 }));
    rig_request(&r, 2);
    rig_feed(&r, 1, 8);
    rig_abort(&r);
    assert_int_equal(w.cancels, 4);
    rig_done(&r);
}

static void without_a_cancel_function_an_abort_waits_for_the_work(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_async(&w, 2, false);
    rig_request(&r, 2);
    rig_feed(&r, 1, 2);
    rig_abort(&r);
    assert_false(weir_pipeline_is_finished(r.pipeline));
    finish(&r, &w, 0, WEIR_OK);
    finish(&r, &w, 1, WEIR_OK);
    rig_done(&r);
}

static void work_memory_is_kept_and_nothing_is_allocated_per_item(void **unused)
{
    (void)unused;
    work w = { 0 };
    rig r = rig_async(&w, 2, false);
    rig_request(&r, WEIR_UNBOUNDED);
    uint64_t before = 0;
    for (uint64_t i = 0; i < 200; i++) {
        rig_feed(&r, i, 1);
        assert_int_equal(w.n, i + 1);
        assert_int_equal(*(uint64_t *)w.ops[i]->work, i);
        finish(&r, &w, i, WEIR_OK);
        if (i == 100)
            before = weir_testkit_allocations(r.kit);
    }
    assert_int_equal(weir_testkit_allocations(r.kit), before);
    rig_finish(&r);
}

static void async_without_a_start_function_is_refused(void **unused)
{
    (void)unused;
    rig r = rig_of(weir_async(NULL));
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

static void async_with_a_second_output_is_refused(void **unused)
{
    (void)unused;
    rig r = rig_of(weir_async(&(weir_async_fn_config){ .start = work_start }));
    weir_link(r.node, 1, weir_add(r.pipeline, weir_probe_sink(weir_testkit_probe(r.kit))), 0, NULL);
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    assert_non_null(strstr(weir_pipeline_why(r.pipeline), "one output"));
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_than_in_flight_are_started),
        cmocka_unit_test(results_come_in_the_order_of_arrival),
        cmocka_unit_test(unordered_results_come_as_they_finish),
        cmocka_unit_test(a_result_without_demand_keeps_its_slot),
        cmocka_unit_test(failed_work_fails_the_item),
        cmocka_unit_test(the_end_waits_for_work_under_way),
        cmocka_unit_test(work_that_takes_too_long_is_cancelled),
        cmocka_unit_test(a_cancelled_context_cancels_the_work),
        cmocka_unit_test(starts_of_a_turn_are_flushed_once),
        cmocka_unit_test(an_abort_cancels_what_is_under_way),
        cmocka_unit_test(without_a_cancel_function_an_abort_waits_for_the_work),
        cmocka_unit_test(work_memory_is_kept_and_nothing_is_allocated_per_item),
        cmocka_unit_test(async_without_a_start_function_is_refused),
        cmocka_unit_test(async_with_a_second_output_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
