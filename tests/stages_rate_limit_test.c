/* rate_limit: shaping by demand, or rejecting, one bucket for all replicas. */
#include "stages_rig.h"

static rig rig_limit(const weir_rate_limit_config *config)
{
    return rig_with(weir_rate_limit(config));
}

static uint32_t cost_is_value(const weir_item *item, void *user)
{
    (void)user;
    return (uint32_t)value_of(item);
}

static void shaping_asks_for_the_burst_then_at_the_rate(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){ .rate = 10, .burst = 3 });
    rig_request(&r, WEIR_UNBOUNDED);
    assert_demand(&r, 3);
    rig_feed(&r, 0, 100);
    assert_received(&r, 3);
    assert_demand(&r, 0); /* withheld, not held */
    assert_int_equal(weir_probe_emitted(r.from), 3);
    assert_true(weir_testkit_advance(r.kit, 99 * WEIR_MS));
    assert_received(&r, 3);
    assert_true(weir_testkit_advance(r.kit, 1 * WEIR_MS));
    assert_received(&r, 4);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, 10 * WEIR_MS));
    assert_received(&r, 14);
    rig_abort_and_done(&r);
}

static void an_idle_bucket_fills_to_the_burst_and_no_further(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){ .rate = 10, .burst = 3 });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 3);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_SEC));
    rig_feed(&r, 0, 50);
    assert_received(&r, 6);
    rig_abort_and_done(&r);
}

static void shaping_never_asks_for_more_than_is_asked_of_it(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){ .rate = 10, .burst = 5 });
    rig_request(&r, 2);
    assert_demand(&r, 2);
    rig_feed(&r, 0, 4);
    assert_received(&r, 2);
    assert_demand(&r, 0);
    rig_abort_and_done(&r);
}

static void a_costly_item_waits_for_its_tokens_and_those_behind_it_wait_too(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){ .rate = 10, .burst = 5, .cost = cost_is_value });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 4, 1);
    assert_received(&r, 1); /* one token left */
    weir_probe_feed(r.from, 3);
    rig_feed(&r, 1, 1);
    assert_received(&r, 1);
    assert_true(weir_testkit_advance(r.kit, 200 * WEIR_MS));
    assert_got(&r, 4, 3);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_MS));
    assert_got(&r, 4, 3, 1);
    rig_abort_and_done(&r);
}

static void an_item_above_the_burst_waits_for_a_full_bucket_and_leaves_debt(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){ .rate = 10, .burst = 5, .cost = cost_is_value });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 15, 1);
    assert_received(&r, 1);
    rig_feed(&r, 1, 1);
    assert_true(weir_testkit_advance(r.kit, 1099 * WEIR_MS)); /* ten owed, then one */
    assert_received(&r, 1);
    assert_true(weir_testkit_advance(r.kit, 1 * WEIR_MS));
    assert_received(&r, 2);
    rig_abort_and_done(&r);
}

static void what_costs_nothing_passes_an_empty_bucket(void **unused)
{
    (void)unused;
    rig r = rig_limit(
        &(weir_rate_limit_config){ .rate = 10, .burst = 1, .cost = cost_is_value, .reject = true });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 1);
    for (int i = 0; i < 10; i++)
        rig_feed(&r, 0, 1);
    assert_received(&r, 11);
    rig_finish(&r);
}

static void rejecting_has_the_status_and_asks_again(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){
        .rate = 10, .burst = 2, .reject = true, .status = WEIR_EUNAVAILABLE });
    rig_request(&r, 4);
    rig_feed(&r, 1, 3);
    assert_got(&r, 1, 2);
    assert_outcome(&r, 2, WEIR_REJECTED, WEIR_EUNAVAILABLE);
    assert_demand(&r, 2);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_MS));
    rig_feed(&r, 4, 2);
    assert_got(&r, 1, 2, 4);
    rig_finish(&r);
}

static void the_bucket_is_shared_by_all_loops(void **unused)
{
    (void)unused;
    rig r = rig_new(4);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_rate_limit(&(weir_rate_limit_config){ .rate = 100, .burst = 10 }));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    for (uint32_t loop = 0; loop < 4; loop++) {
        weir_probe_request(weir_probe_replica(r.to, loop), WEIR_UNBOUNDED);
        assert_true(weir_testkit_settle(r.kit));
        for (uint64_t i = 0; i < 500; i++)
            weir_probe_feed(weir_probe_replica(r.from, loop), i);
    }
    assert_true(weir_testkit_advance_by(r.kit, 10 * WEIR_SEC, 5 * WEIR_MS));
    uint64_t total = 0;
    for (uint32_t loop = 0; loop < 4; loop++) {
        uint64_t got = weir_probe_received(weir_probe_replica(r.to, loop));
        assert_true(got > 0);
        total += got;
    }
    assert_true(total >= 1000 && total <= 1010);
    rig_abort(&r);
    for (uint32_t loop = 0; loop < 4; loop++)
        assert_int_equal(weir_probe_live(weir_probe_replica(r.from, loop)), 0);
    rig_done(&r);
}

static void no_interval_ever_sees_more_than_burst_and_rate(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){ .rate = 300, .burst = 7 });
    rig_request(&r, WEIR_UNBOUNDED);
    for (uint64_t i = 0; i < 400; i++) {
        rig_feed(&r, i, i % 3);
        assert_true(weir_testkit_advance(r.kit, (i % 5) * 1500 * WEIR_US));
    }
    for (uint64_t i = 0; i < weir_probe_received(r.to); i++)
        for (uint64_t j = i; j < weir_probe_received(r.to); j++) {
            uint64_t ns = weir_probe_arrival(r.to, j) - weir_probe_arrival(r.to, i);
            assert_true(j - i + 1 <= 7 + ns * 300 / WEIR_SEC);
        }
    rig_abort_and_done(&r);
}

static void what_is_held_outlasts_the_end(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){ .rate = 10, .burst = 2, .cost = cost_is_value });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 2, 1);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_MS));
    rig_feed(&r, 2, 1);
    rig_end(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_MS));
    assert_got(&r, 2, 2);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void an_end_with_nothing_held_needs_no_token(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){ .rate = 1, .burst = 1 });
    rig_request(&r, 5);
    rig_feed(&r, 1, 1);
    rig_end(&r);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void a_cancel_aborts_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_limit(&(weir_rate_limit_config){ .rate = 10, .burst = 2, .cost = cost_is_value });
    rig_request(&r, WEIR_UNBOUNDED);
    weir_probe_feed(r.from, 1);
    rig_feed(&r, 2, 1);
    rig_cancel(&r);
    assert_outcome(&r, 1, WEIR_ABORTED, WEIR_ECANCELED);
    assert_true(weir_testkit_advance(r.kit, WEIR_SEC));
    rig_done(&r);
}

static void a_bad_config_is_found_while_building(void **unused)
{
    (void)unused;
    const weir_rate_limit_config bad[] = { { .rate = 0 },
                                           { .rate = 1000000001 },
                                           { .rate = 1, .burst = 1000000000 },
                                           { .rate = 1, .period_ms = 86400001 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r = rig_of(weir_rate_limit(&bad[i]));
        assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shaping_asks_for_the_burst_then_at_the_rate),
        cmocka_unit_test(an_idle_bucket_fills_to_the_burst_and_no_further),
        cmocka_unit_test(shaping_never_asks_for_more_than_is_asked_of_it),
        cmocka_unit_test(a_costly_item_waits_for_its_tokens_and_those_behind_it_wait_too),
        cmocka_unit_test(an_item_above_the_burst_waits_for_a_full_bucket_and_leaves_debt),
        cmocka_unit_test(what_costs_nothing_passes_an_empty_bucket),
        cmocka_unit_test(rejecting_has_the_status_and_asks_again),
        cmocka_unit_test(the_bucket_is_shared_by_all_loops),
        cmocka_unit_test(no_interval_ever_sees_more_than_burst_and_rate),
        cmocka_unit_test(what_is_held_outlasts_the_end),
        cmocka_unit_test(an_end_with_nothing_held_needs_no_token),
        cmocka_unit_test(a_cancel_aborts_what_is_held),
        cmocka_unit_test(a_bad_config_is_found_while_building),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
