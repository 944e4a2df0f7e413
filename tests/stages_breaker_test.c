/* breaker: trips by the rate of failures or slow calls, lets probes through, and closes again. */
#include "stages_rig.h"

typedef struct plan {
    weir_status status; /* what calls end with; WEIR_OK: well */
    uint64_t calls;
} plan;

static weir_status do_call(weir_item *item, void *user)
{
    plan *p = user;
    (void)item;
    p->calls++;
    return p->status;
}

static rig rig_calls(const weir_breaker_config *config, plan *p)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    r.node = weir_via(r.pipeline, weir_breaker(config));
    weir_into(r.pipeline, weir_for_each(do_call, p));
    rig_start(&r);
    assert_true(weir_testkit_settle(r.kit));
    return r;
}

/* `n` calls that end with `status`, one after the other. */
static void calls(rig *r, plan *p, weir_status status, uint64_t n)
{
    p->status = status;
    for (uint64_t i = 0; i < n; i++)
        rig_feed(r, i, 1);
}

static weir_breaker_stats look(const rig *r)
{
    weir_breaker_stats stats;
    assert_true(weir_breaker_look(r->node, &stats));
    return stats;
}

#define assert_state(r, state_) assert_int_equal(look(r).state, WEIR_BREAKER_##state_)

static void advance(rig *r, uint64_t ms)
{
    assert_true(weir_testkit_advance(r->kit, ms * WEIR_MS));
}

/* Half of ten; open for a second; three probes. */
static const weir_breaker_config ten = { .window_calls = 10,
                                         .calls_min = 4,
                                         .failure_percent = 50,
                                         .open_ms = 1000,
                                         .open_ms_max = 4000,
                                         .probes = 3 };

static void it_trips_at_the_rate_and_rejects_at_once(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_calls(&ten, &p);
    calls(&r, &p, WEIR_OK, 5);
    calls(&r, &p, WEIR_EUNAVAILABLE, 4);
    assert_state(&r, CLOSED);
    calls(&r, &p, WEIR_EUNAVAILABLE, 1);
    assert_state(&r, OPEN);
    calls(&r, &p, WEIR_OK, 3);
    assert_int_equal(p.calls, 10);
    assert_outcome(&r, 10, WEIR_REJECTED, WEIR_EUNAVAILABLE);
    assert_ended(&r, WEIR_REJECTED, 3);
    assert_int_equal(look(&r).opened, 1);
    rig_end(&r);
    rig_done(&r);
}

static void fewer_calls_than_the_minimum_judge_nothing_until_it_is_reached(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_calls(&ten, &p);
    calls(&r, &p, WEIR_EIO, 3);
    assert_state(&r, CLOSED);
    calls(&r, &p, WEIR_OK, 1); /* three of four */
    assert_state(&r, OPEN);
    rig_end(&r);
    rig_done(&r);
}

static void what_slides_out_of_the_window_is_forgotten(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_calls(&ten, &p);
    calls(&r, &p, WEIR_OK, 3);
    calls(&r, &p, WEIR_EIO, 2);
    for (int i = 0; i < 20; i++) {
        calls(&r, &p, WEIR_OK, 9);
        calls(&r, &p, WEIR_EIO, 3);
        assert_state(&r, CLOSED);
        assert_int_equal(look(&r).calls, 10);
    }
    rig_end(&r);
    rig_done(&r);
}

/* Sixty-four items of one, that end in the same turn; of which the first `fail` fail. */
static weir_status make_many(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                             weir_item **ret_made)
{
    (void)item;
    (void)user;
    if (index == 64)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(*ret_made) = index;
    return WEIR_OK;
}

static weir_status fail_first(weir_item *item, void *user)
{
    return value_of(item) < *(const uint64_t *)user ? WEIR_EIO : WEIR_OK;
}

static rig rig_of_many(const weir_breaker_config *config, uint64_t *fail)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_flat_map(make_many, NULL));
    r.node = weir_via(r.pipeline, weir_breaker(config));
    weir_into(r.pipeline, weir_for_each(fail_first, fail));
    rig_start(&r);
    return r;
}

static void calls_that_end_together_slide_through_the_window_one_by_one(void **unused)
{
    (void)unused;
    uint64_t fail = 0;
    rig r = rig_of_many(&ten, &fail);
    rig_feed(&r, 0, 1);
    assert_int_equal(look(&r).calls, 10);
    fail = 4;
    rig_feed(&r, 0, 1); /* four of ten, and then sixty that did well */
    assert_int_equal(look(&r).failed, 0);
    assert_state(&r, CLOSED);
    rig_end(&r);
    rig_done(&r);
}

static void calls_that_end_together_are_judged_one_by_one(void **unused)
{
    (void)unused;
    uint64_t fail = 3;
    weir_breaker_config hundred = ten;
    hundred.window_calls = 100;
    rig r = rig_of_many(&hundred, &fail);
    rig_feed(&r, 0, 1);
    assert_state(&r, OPEN); /* three of four, although sixty more did well */
    rig_end(&r);
    rig_done(&r);
}

static void a_window_of_time_forgets_by_time(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_calls(&(weir_breaker_config){ .window_ms = 1000, .calls_min = 4 }, &p);
    for (int i = 0; i < 10; i++) {
        calls(&r, &p, WEIR_EIO, 3);
        advance(&r, 1000);
    }
    assert_state(&r, CLOSED);
    calls(&r, &p, WEIR_EIO, 3);
    advance(&r, 500);
    calls(&r, &p, WEIR_EIO, 1);
    assert_state(&r, OPEN);
    rig_end(&r);
    rig_done(&r);
}

static void only_what_the_service_is_to_blame_for_counts(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_calls(&ten, &p);
    calls(&r, &p, WEIR_EINVAL, 20);
    calls(&r, &p, WEIR_ECANCELED, 20);
    calls(&r, &p, WEIR_ENOTFOUND, 20);
    assert_state(&r, CLOSED);
    assert_int_equal(look(&r).calls, 0);
    calls(&r, &p, WEIR_EDEADLINE, 4);
    assert_state(&r, OPEN);
    rig_end(&r);
    rig_done(&r);
}

static void what_counts_can_be_chosen(void **unused)
{
    (void)unused;
    plan p = { 0 };
    weir_breaker_config config = ten;
    config.failures = WEIR_FAILURE(WEIR_ENOTFOUND) | WEIR_FAILURE(WEIR_EIO);
    rig r = rig_calls(&config, &p);
    calls(&r, &p, WEIR_EUNAVAILABLE, 20);
    assert_state(&r, CLOSED);
    calls(&r, &p, WEIR_ENOTFOUND, 4);
    assert_state(&r, OPEN);
    rig_end(&r);
    rig_done(&r);
}

static void probes_that_do_well_close_it(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_calls(&ten, &p);
    calls(&r, &p, WEIR_EIO, 4);
    advance(&r, 999);
    calls(&r, &p, WEIR_OK, 1);
    assert_int_equal(p.calls, 4);
    advance(&r, 102);
    calls(&r, &p, WEIR_OK, 2);
    assert_state(&r, HALF_OPEN);
    calls(&r, &p, WEIR_OK, 1);
    assert_state(&r, CLOSED);
    assert_int_equal(look(&r).calls, 0); /* a window of its own */
    calls(&r, &p, WEIR_EIO, 3);
    assert_state(&r, CLOSED);
    rig_end(&r);
    rig_done(&r);
}

static void probes_that_fail_open_it_for_twice_as_long_up_to_the_most(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_calls(&ten, &p);
    calls(&r, &p, WEIR_EIO, 4);
    const uint64_t ms[] = { 1000, 2000, 4000, 4000 };
    for (int i = 0; i < 4; i++) {
        advance(&r, ms[i] - 1);
        uint64_t before = p.calls;
        calls(&r, &p, WEIR_EIO, 1);
        assert_int_equal(p.calls, before);
        advance(&r, ms[i] / 10 + 2);
        calls(&r, &p, WEIR_EIO, 2); /* two of three is over half: the third is not needed */
        assert_int_equal(p.calls, before + 2);
        assert_state(&r, OPEN);
    }
    advance(&r, 4402);
    calls(&r, &p, WEIR_OK, 3);
    assert_state(&r, CLOSED);
    calls(&r, &p, WEIR_EIO, 4);
    advance(&r, 1102); /* from the beginning again */
    calls(&r, &p, WEIR_OK, 1);
    assert_state(&r, HALF_OPEN);
    rig_end(&r);
    rig_done(&r);
}

static void a_probe_that_tells_nothing_leaves_its_place_to_another(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_calls(&ten, &p);
    calls(&r, &p, WEIR_EIO, 4);
    advance(&r, 1101);
    calls(&r, &p, WEIR_EINVAL, 50);
    assert_state(&r, HALF_OPEN);
    assert_int_equal(p.calls, 54);
    calls(&r, &p, WEIR_OK, 3);
    assert_state(&r, CLOSED);
    rig_end(&r);
    rig_done(&r);
}

/* ---- Calls that take time: the sink keeps them ---- */

static rig rig_slow(const weir_breaker_config *config)
{
    rig r = rig_with(weir_breaker(config));
    weir_probe_keep(r.to, true);
    rig_request(&r, WEIR_UNBOUNDED);
    return r;
}

static void end_oldest(rig *r, weir_status status)
{
    weir_item *item = weir_probe_take(r->to);
    assert_non_null(item);
    weir_item_end(item, status == WEIR_OK ? WEIR_ACKED : WEIR_FAILED, status);
    assert_true(weir_testkit_settle(r->kit));
}

static void slow_calls_trip_it_by_a_rate_of_their_own(void **unused)
{
    (void)unused;
    weir_breaker_config config = ten;
    config.slow_ms = 100;
    config.slow_percent = 75;
    rig r = rig_slow(&config);
    for (uint64_t i = 0; i < 7; i++) {
        rig_feed(&r, i, 1);
        advance(&r, i % 2 == 0 ? 101 : 100); /* one of two */
        end_oldest(&r, WEIR_OK);
    }
    assert_state(&r, CLOSED);
    assert_int_equal(look(&r).slow, 4);
    for (uint64_t i = 0; i < 5; i++) {
        rig_feed(&r, i, 1);
        advance(&r, 150);
        end_oldest(&r, WEIR_OK);
    }
    assert_state(&r, OPEN);
    rig_abort_and_done(&r);
}

static void no_more_probes_are_under_way_than_allowed(void **unused)
{
    (void)unused;
    rig r = rig_slow(&ten);
    rig_feed(&r, 0, 4);
    for (int i = 0; i < 4; i++)
        end_oldest(&r, WEIR_EIO);
    advance(&r, 1101);
    rig_feed(&r, 10, 5);
    assert_received(&r, 7);
    assert_ended(&r, WEIR_REJECTED, 2);
    for (int i = 0; i < 3; i++)
        end_oldest(&r, WEIR_OK);
    assert_state(&r, CLOSED);
    rig_abort_and_done(&r);
}

static void what_began_before_the_last_change_of_state_counts_no_more(void **unused)
{
    (void)unused;
    rig r = rig_slow(&ten);
    rig_feed(&r, 0, 10);
    for (int i = 0; i < 4; i++)
        end_oldest(&r, WEIR_EIO);
    advance(&r, 1101);
    rig_feed(&r, 10, 1);
    assert_state(&r, HALF_OPEN);
    weir_item *last = weir_probe_take(r.to);
    for (int i = 0; i < 5; i++)
        end_oldest(&r, WEIR_EIO); /* late, of the time before */
    assert_state(&r, HALF_OPEN);
    end_oldest(&r, WEIR_OK);
    rig_feed(&r, 11, 2);
    end_oldest(&r, WEIR_OK);
    end_oldest(&r, WEIR_OK);
    assert_state(&r, CLOSED);
    rig_feed(&r, 20, 1);
    end_oldest(&r, WEIR_OK);
    weir_item_end(last, WEIR_FAILED, WEIR_EIO);
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(look(&r).calls, 1);
    assert_int_equal(look(&r).failed, 0);
    rig_abort_and_done(&r);
}

static void probes_that_never_come_back_open_it_again(void **unused)
{
    (void)unused;
    weir_breaker_config config = ten;
    config.probe_ms = 5000;
    rig r = rig_slow(&config);
    rig_feed(&r, 0, 4);
    for (int i = 0; i < 4; i++)
        end_oldest(&r, WEIR_EIO);
    advance(&r, 1101);
    rig_feed(&r, 10, 3);
    assert_state(&r, HALF_OPEN);
    advance(&r, 5000);
    rig_feed(&r, 20, 1);
    assert_state(&r, OPEN);
    assert_int_equal(look(&r).opened, 2);
    rig_abort_and_done(&r);
}

/* ---- Holding ---- */

static void holding_withholds_demand_and_wakes_by_itself(void **unused)
{
    (void)unused;
    plan p = { .status = WEIR_EIO };
    weir_breaker_config config = ten;
    config.hold = true;
    rig r = rig_calls(&config, &p);
    assert_demand(&r, 64);
    calls(&r, &p, WEIR_EIO, 4);
    rig_feed(&r, 0, 96);
    assert_int_equal(p.calls, 4);
    assert_in_range(weir_probe_emitted(r.from), 4, 4 + 64); /* those asked for before are held */
    assert_demand(&r, 0);
    p.status = WEIR_OK;
    advance(&r, 1101);
    assert_state(&r, CLOSED);
    assert_int_equal(p.calls, 100);
    assert_ended(&r, WEIR_REJECTED, 0);
    rig_end(&r);
    rig_done(&r);
}

static void held_items_end_as_aborted_when_cancelled_and_go_on_after_the_end(void **unused)
{
    (void)unused;
    for (int cancels = 0; cancels < 2; cancels++) {
        weir_breaker_config config = ten;
        config.hold = true;
        rig r = rig_slow(&config);
        rig_feed(&r, 0, 4);
        for (int i = 0; i < 4; i++)
            end_oldest(&r, WEIR_EIO); /* 60 are still asked for */
        rig_feed(&r, 10, 3);
        assert_received(&r, 4);
        if (cancels) {
            rig_cancel(&r);
            assert_ended(&r, WEIR_ABORTED, 3);
        } else {
            rig_end(&r);
            advance(&r, 1101);
            assert_received(&r, 7);
            assert_true(weir_probe_is_over(r.to, NULL));
            for (int i = 0; i < 3; i++)
                end_oldest(&r, WEIR_OK);
        }
        rig_done(&r);
    }
}

/* ---- All replicas ---- */

static void the_circuit_is_one_for_all_loops(void **unused)
{
    (void)unused;
    plan p = { .status = WEIR_EIO };
    weir_breaker_config config = ten;
    config.hold = true;
    rig r = rig_new(4);
    weir_from(r.pipeline, weir_probe_source(r.from));
    r.node = weir_via(r.pipeline, weir_breaker(&config));
    weir_into(r.pipeline, weir_for_each(do_call, &p));
    rig_start(&r);
    for (uint32_t i = 0; i < 4; i++) {
        assert_state(&r, CLOSED);
        weir_probe_feed(weir_probe_replica(r.from, i), 1);
        assert_true(weir_testkit_settle(r.kit));
    }
    assert_state(&r, OPEN);
    for (uint32_t i = 0; i < 4; i++)
        for (int k = 0; k < 10; k++)
            weir_probe_feed(weir_probe_replica(r.from, i), 1);
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(p.calls, 4);
    p.status = WEIR_OK;
    advance(&r, 1101); /* three probes, on whatever loop; then all are woken */
    assert_state(&r, CLOSED);
    assert_int_equal(p.calls, 44);
    for (uint32_t i = 0; i < 4; i++)
        weir_probe_end(weir_probe_replica(r.from, i));
    rig_done(&r);
}

static void settings_change_while_it_runs_but_not_the_window(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_calls(&ten, &p);
    weir_breaker_config config = ten;
    config.failure_percent = 100;
    assert_int_equal(
        weir_pipeline_change(r.pipeline, "breaker", &config, sizeof config, NULL, NULL), WEIR_OK);
    assert_true(weir_testkit_settle(r.kit));
    calls(&r, &p, WEIR_OK, 1);
    calls(&r, &p, WEIR_EIO, 9);
    assert_state(&r, CLOSED);
    calls(&r, &p, WEIR_EIO, 1);
    assert_state(&r, OPEN);
    config.window_calls = 20;
    assert_int_equal(
        weir_pipeline_change(r.pipeline, "breaker", &config, sizeof config, NULL, NULL),
        WEIR_EINVAL);
    rig_end(&r);
    rig_done(&r);
}

static void a_bad_config_is_found_while_building(void **unused)
{
    (void)unused;
    const weir_breaker_config bad[] = { { .window_calls = 10, .window_ms = 1000 },
                                        { .window_calls = 1000001 },
                                        { .window_ms = 9 },
                                        { .window_ms = 3600001 },
                                        { .failure_percent = 101 },
                                        { .slow_percent = 101 },
                                        { .open_ms = 2000, .open_ms_max = 1000 },
                                        { .open_ms_max = 86400001 },
                                        { .probes = 1001 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r = rig_of(weir_breaker(&bad[i]));
        assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_trips_at_the_rate_and_rejects_at_once),
        cmocka_unit_test(fewer_calls_than_the_minimum_judge_nothing_until_it_is_reached),
        cmocka_unit_test(what_slides_out_of_the_window_is_forgotten),
        cmocka_unit_test(calls_that_end_together_slide_through_the_window_one_by_one),
        cmocka_unit_test(calls_that_end_together_are_judged_one_by_one),
        cmocka_unit_test(a_window_of_time_forgets_by_time),
        cmocka_unit_test(only_what_the_service_is_to_blame_for_counts),
        cmocka_unit_test(what_counts_can_be_chosen),
        cmocka_unit_test(probes_that_do_well_close_it),
        cmocka_unit_test(probes_that_fail_open_it_for_twice_as_long_up_to_the_most),
        cmocka_unit_test(a_probe_that_tells_nothing_leaves_its_place_to_another),
        cmocka_unit_test(slow_calls_trip_it_by_a_rate_of_their_own),
        cmocka_unit_test(no_more_probes_are_under_way_than_allowed),
        cmocka_unit_test(what_began_before_the_last_change_of_state_counts_no_more),
        cmocka_unit_test(probes_that_never_come_back_open_it_again),
        cmocka_unit_test(holding_withholds_demand_and_wakes_by_itself),
        cmocka_unit_test(held_items_end_as_aborted_when_cancelled_and_go_on_after_the_end),
        cmocka_unit_test(the_circuit_is_one_for_all_loops),
        cmocka_unit_test(settings_change_while_it_runs_but_not_the_window),
        cmocka_unit_test(a_bad_config_is_found_while_building),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
