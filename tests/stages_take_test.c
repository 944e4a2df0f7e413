/* take and for_each. */
#include "stages_rig.h"

static void take_passes_so_many_then_ends_both_ways(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_take(3));
    rig_request(&r, 10);
    rig_feed(&r, 1, 5);
    assert_got(&r, 1, 2, 3);
    assert_true(weir_probe_is_over(r.to, NULL));
    assert_true(weir_probe_is_cancelled(r.from));
    assert_ended(&r, WEIR_ACKED, 3);
    rig_done(&r);
}

static void take_never_asks_for_more_than_are_left(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_take(3));
    rig_request(&r, WEIR_UNBOUNDED);
    assert_demand(&r, 3);
    rig_feed(&r, 1, 1);
    assert_demand(&r, 2);
    rig_abort_and_done(&r);
}

static void take_ends_early_with_its_input(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_take(3));
    rig_feed(&r, 1, 1);
    rig_end(&r);
    rig_request(&r, 5);
    assert_got(&r, 1);
    rig_done(&r);
}

static void take_passes_a_cancel_on(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_take(3));
    rig_cancel(&r);
    assert_true(weir_probe_is_cancelled(r.from));
    rig_done(&r);
}

static void take_of_none_is_refused(void **unused)
{
    (void)unused;
    rig r = rig_of(weir_take(0));
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

static weir_status sum_or_fail(weir_item *item, void *user)
{
    if (value_of(item) == 13)
        return WEIR_EINVAL;
    *(uint64_t *)user += value_of(item);
    return WEIR_OK;
}

static weir_status sum_all(weir_item *const *items, size_t n, void *user)
{
    for (size_t i = 0; i < n; i++)
        *(uint64_t *)user += value_of(items[i]);
    return WEIR_OK;
}

static rig rig_into(weir_stage_spec *sink)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_into(r.pipeline, sink);
    rig_start(&r);
    return r;
}

static void for_each_runs_its_function_then_acks(void **unused)
{
    (void)unused;
    uint64_t sum = 0;
    rig r = rig_into(weir_for_each(sum_or_fail, &sum));
    assert_true(weir_probe_demand(r.from) > 0);
    rig_feed(&r, 1, 1000);
    assert_int_equal(sum, 500500 - 13);
    assert_ended(&r, WEIR_ACKED, 999);
    assert_outcome(&r, 12, WEIR_FAILED, WEIR_EINVAL);
    rig_end(&r);
    rig_done(&r);
}

static void for_each_all_takes_vectors(void **unused)
{
    (void)unused;
    uint64_t sum = 0;
    rig r = rig_into(weir_for_each_all(sum_all, &sum));
    rig_feed(&r, 1, 1000);
    assert_int_equal(sum, 500500);
    assert_ended(&r, WEIR_ACKED, 1000);
    rig_end(&r);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_passes_so_many_then_ends_both_ways),
        cmocka_unit_test(take_never_asks_for_more_than_are_left),
        cmocka_unit_test(take_ends_early_with_its_input),
        cmocka_unit_test(take_passes_a_cancel_on),
        cmocka_unit_test(take_of_none_is_refused),
        cmocka_unit_test(for_each_runs_its_function_then_acks),
        cmocka_unit_test(for_each_all_takes_vectors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
