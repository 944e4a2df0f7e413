/* map, filter and observe. */
#include "stages_rig.h"

static weir_status twice(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) *= 2;
    return WEIR_OK;
}

static weir_status odd_fails(weir_item *item, void *user)
{
    (void)user;
    return value_of(item) % 2 != 0 ? WEIR_EPROTO : WEIR_OK;
}

static bool is_even(const weir_item *item, void *user)
{
    (void)user;
    return value_of(item) % 2 == 0;
}

static void sum_up(const weir_item *item, void *user)
{
    *(uint64_t *)user += value_of(item);
}

static void map_changes_each_item(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_map(twice, NULL));
    rig_feed(&r, 1, 3);
    rig_request(&r, 3);
    assert_got(&r, 2, 4, 6);
    rig_finish(&r);
}

static void map_passes_demand_on_as_it_is(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_map(twice, NULL));
    assert_demand(&r, 0);
    rig_request(&r, 5);
    assert_demand(&r, 5);
    rig_feed(&r, 0, 7);
    assert_received(&r, 5);
    assert_demand(&r, 0);
    rig_finish(&r);
}

static void map_fails_an_item_with_the_status_of_its_function(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_map(odd_fails, NULL));
    rig_feed(&r, 1, 2);
    rig_request(&r, 2);
    assert_got(&r, 2);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EPROTO);
    assert_outcome(&r, 1, WEIR_ACKED, WEIR_OK);
    assert_demand(&r, 1);
    rig_finish(&r);
}

static weir_status add_n(weir_item *const *items, size_t n, void *user)
{
    (void)user;
    for (size_t i = 0; i < n; i++)
        *(uint64_t *)weir_item_body(items[i]) += 100;
    return WEIR_OK;
}

static weir_status fail_all(weir_item *const *items, size_t n, void *user)
{
    (void)items;
    (void)n;
    (void)user;
    return WEIR_EIO;
}

static void map_all_changes_a_vector(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_map_all(add_n, NULL));
    rig_request(&r, 200);
    rig_feed(&r, 0, 150);
    assert_received(&r, 150);
    assert_int_equal(weir_probe_value(r.to, 149), 249);
    rig_finish(&r);
}

static void map_all_fails_its_vector_and_asks_again(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_map_all(fail_all, NULL));
    rig_request(&r, 10);
    rig_feed(&r, 0, 20);
    assert_received(&r, 0);
    assert_ended(&r, WEIR_FAILED, 20);
    assert_demand(&r, 10);
    rig_finish(&r);
}

static void filter_ends_what_it_drops_and_asks_for_as_many_again(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_filter(is_even, NULL));
    rig_request(&r, 2);
    rig_feed(&r, 1, 1);
    assert_demand(&r, 2);
    assert_ended(&r, WEIR_FILTERED, 1);
    rig_feed(&r, 2, 7);
    assert_got(&r, 2, 4);
    assert_demand(&r, 0);
    rig_finish(&r);
}

static void filter_that_drops_all_does_not_stall(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_filter(is_even, NULL));
    rig_request(&r, 1);
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(weir_probe_feed(r.from, 2 * i + 1));
    rig_feed(&r, 4, 1);
    assert_got(&r, 4);
    rig_finish(&r);
}

static void keep_even(const weir_item *const *items, size_t n, bool *ret_keep, void *user)
{
    (void)user;
    for (size_t i = 0; i < n; i++)
        if (value_of(items[i]) % 2 == 0)
            ret_keep[i] = true;
}

static void filter_all_keeps_what_is_marked(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_filter_all(keep_even, NULL));
    rig_request(&r, 100);
    rig_feed(&r, 0, 130);
    assert_received(&r, 65);
    assert_int_equal(weir_probe_value(r.to, 64), 128);
    assert_ended(&r, WEIR_FILTERED, 65);
    rig_finish(&r);
}

static void observe_sees_all_and_changes_nothing(void **unused)
{
    (void)unused;
    uint64_t sum = 0;
    rig r = rig_with(weir_observe(sum_up, &sum));
    rig_feed(&r, 1, 4);
    rig_request(&r, 4);
    assert_got(&r, 1, 2, 3, 4);
    assert_int_equal(sum, 10);
    rig_finish(&r);
}

static void count_all(const weir_item *const *items, size_t n, void *user)
{
    (void)items;
    *(uint64_t *)user += n;
}

static void a_fused_chain_behaves_as_its_stages_do(void **unused)
{
    (void)unused;
    uint64_t seen = 0;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_map(twice, NULL));
    weir_via(r.pipeline, weir_observe_all(count_all, &seen));
    weir_via(r.pipeline, weir_filter(is_even, NULL));
    weir_via(r.pipeline, weir_map(odd_fails, NULL));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    rig_request(&r, 3);
    rig_feed(&r, 1, 5);
    assert_got(&r, 2, 4, 6);
    assert_int_equal(seen, 3);
    rig_finish(&r);
}

static void figures_tell_drops_from_failures(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_filter_all(keep_even, NULL));
    weir_via(r.pipeline, weir_map(twice, NULL));
    weir_via(r.pipeline, weir_filter(is_even, NULL));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    rig_request(&r, 100);
    rig_feed(&r, 0, 100);
    assert_int_equal(rig_stats(&r, 1).filtered, 50);
    assert_int_equal(rig_stats(&r, 1).items_out, 50);
    assert_int_equal(rig_stats(&r, 3).filtered, 0);
    rig_finish(&r);
    r = rig_with(weir_map(odd_fails, NULL));
    rig_request(&r, 100);
    rig_feed(&r, 0, 100);
    assert_int_equal(rig_stats(&r, 1).filtered, 0);
    assert_int_equal(rig_stats(&r, 1).failed, 50);
    rig_finish(&r);
}

static void a_transform_passes_errors_on(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_map(twice, NULL));
    weir_status status = WEIR_OK;
    rig_feed(&r, 1, 1);
    weir_probe_end_error(r.from, WEIR_EIO);
    rig_request(&r, 1);
    assert_got(&r, 2);
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    rig_done(&r);
}

static void a_missing_function_is_found_while_building(void **unused)
{
    (void)unused;
    rig r = rig_of(weir_map(NULL, NULL));
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    assert_string_not_equal(weir_pipeline_why(r.pipeline), "");
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

static void transforms_allocate_nothing_per_item(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_map(twice, NULL));
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 1000);
    uint64_t before = weir_testkit_allocations(r.kit);
    rig_feed(&r, 0, 1000);
    assert_int_equal(weir_testkit_allocations(r.kit), before);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_changes_each_item),
        cmocka_unit_test(map_passes_demand_on_as_it_is),
        cmocka_unit_test(map_fails_an_item_with_the_status_of_its_function),
        cmocka_unit_test(map_all_changes_a_vector),
        cmocka_unit_test(map_all_fails_its_vector_and_asks_again),
        cmocka_unit_test(filter_ends_what_it_drops_and_asks_for_as_many_again),
        cmocka_unit_test(filter_that_drops_all_does_not_stall),
        cmocka_unit_test(filter_all_keeps_what_is_marked),
        cmocka_unit_test(observe_sees_all_and_changes_nothing),
        cmocka_unit_test(a_fused_chain_behaves_as_its_stages_do),
        cmocka_unit_test(figures_tell_drops_from_failures),
        cmocka_unit_test(a_transform_passes_errors_on),
        cmocka_unit_test(a_missing_function_is_found_while_building),
        cmocka_unit_test(transforms_allocate_nothing_per_item),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
