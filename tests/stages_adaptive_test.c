/* adaptive_limit: finds the concurrency that what is below can take, and follows it. */
#include "stages_rig.h"

#include <weir/async.h>

/* A service that works on `servers` items at once, `ms` each; the others wait their turn. */
typedef struct service {
    uint32_t servers, ms;
    uint64_t free_at[256];
    uint64_t under_way, peak, served;
    weir_status status;
} service;

typedef struct work {
    weir_timer timer;
    weir_op *op;
    service *of;
} work;

static void work_done(weir_timer *timer, void *user)
{
    work *w = user;
    (void)timer;
    w->of->under_way--;
    w->of->served++;
    weir_op_done(w->op, w->of->status, "the service says no");
}

static void work_start(weir_op *op, void *state)
{
    work *w = op->work;
    service *s = *(service *const *)weir_async_config(op->stage);
    (void)state;
    weir_loop *loop = weir_stage_loop(op->stage);
    uint64_t now = weir_loop_now(loop);
    uint32_t first = 0;
    for (uint32_t i = 1; i < s->servers; i++)
        if (s->free_at[i] < s->free_at[first])
            first = i;
    uint64_t from = s->free_at[first] > now ? s->free_at[first] : now;
    s->free_at[first] = from + s->ms * WEIR_MS;
    s->under_way++;
    s->peak = s->under_way > s->peak ? s->under_way : s->peak;
    w->op = op;
    w->of = s;
    weir_timer_start(loop, &w->timer, s->free_at[first] - now, work_done, w);
}

static const weir_async_type service_type = { .name = "service",
                                              .config_size = sizeof(service *),
                                              .work_size = sizeof(work),
                                              .start = work_start };

static rig rig_service(const weir_adaptive_limit_config *config, service *s)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    r.node = weir_via(r.pipeline, weir_adaptive_limit(config));
    weir_node *node =
        weir_into(r.pipeline,
                  weir_async_of(&service_type,
                                &(weir_async_options){ .in_flight = 1000, .unordered = true }, &s));
    weir_node_window(node, &(weir_edge_config){ .window = 1024 });
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP });
    rig_start(&r);
    return r;
}

/* So many milliseconds with always more work than can be done. */
static void run_busy(rig *r, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i++) {
        while (weir_probe_demand(r->from) > 0) {
            uint64_t n = weir_probe_demand(r->from);
            for (uint64_t k = 0; k < n; k++)
                weir_probe_feed(r->from, 1);
            assert_true(weir_testkit_settle(r->kit));
        }
        assert_true(weir_testkit_advance(r->kit, WEIR_MS));
    }
}

/* What is under way is worked off: this service gives nothing up. */
static void stop(rig *r)
{
    rig_abort(r);
    assert_true(weir_testkit_advance_by(r->kit, 20 * WEIR_SEC, 100 * WEIR_MS));
    rig_done(r);
}

static weir_adaptive_stats look(const rig *r)
{
    weir_adaptive_stats stats;
    assert_true(weir_adaptive_limit_look(r->node, &stats));
    return stats;
}

static const weir_adaptive_limit_config quick = {
    .window_ms = 50, .limit_min = 2, .baseline_n = 100, .probe_ms = 2000
};

static void it_finds_the_concurrency_of_the_service_and_stays_there(void **unused)
{
    (void)unused;
    service s = { .servers = 30, .ms = 10 };
    rig r = rig_service(&quick, &s);
    run_busy(&r, 5000);
    for (int i = 0; i < 5; i++) {
        run_busy(&r, 1000);
        assert_in_range(look(&r).limit, 25, 75); /* tolerance x 30, and the slack smoothed */
    }
    s.peak = 0;
    uint64_t before = s.served;
    run_busy(&r, 2000);
    assert_true(s.peak <= 75);
    assert_true(s.served - before > 5400); /* of 6000: it keeps the service busy */
    stop(&r);
}

static void a_moving_baseline_alone_would_drift(void **unused)
{
    (void)unused;
    service s = { .servers = 30, .ms = 10 };
    weir_adaptive_limit_config config = quick;
    config.probe_ms = UINT32_MAX;
    config.baseline_n = 10;
    rig r = rig_service(&config, &s);
    run_busy(&r, 10000);
    assert_true(look(&r).limit > 100);
    stop(&r);
}

static void it_follows_a_service_that_gets_smaller(void **unused)
{
    (void)unused;
    service s = { .servers = 100, .ms = 10 };
    rig r = rig_service(&quick, &s);
    run_busy(&r, 5000);
    uint64_t wide = look(&r).limit;
    assert_in_range(wide, 85, 220);
    s.servers = 10;
    run_busy(&r, 6000);
    assert_in_range(look(&r).limit, 8, 40);
    stop(&r);
}

static void a_limit_that_is_not_used_does_not_grow(void **unused)
{
    (void)unused;
    service s = { .servers = 100, .ms = 10 };
    rig r = rig_service(&quick, &s);
    uint64_t most = 0; /* it is less while it looks for the baseline */
    for (int i = 0; i < 3000; i++) {
        weir_probe_feed(r.from, 1);
        assert_true(weir_testkit_advance(r.kit, 2 * WEIR_MS));
        uint64_t limit = look(&r).limit;
        most = limit > most ? limit : most;
    }
    assert_in_range(most, 20, 24);
    stop(&r);
}

static void failures_that_speak_of_load_lower_it_whatever_the_times(void **unused)
{
    (void)unused;
    service s = { .servers = 30, .ms = 10, .status = WEIR_EDEADLINE };
    rig r = rig_service(&quick, &s);
    run_busy(&r, 3000);
    assert_int_equal(look(&r).limit, 2);
    s.status = WEIR_OK;
    run_busy(&r, 3000);
    assert_true(look(&r).limit > 20);
    stop(&r);
}

static void quick_failures_of_other_kinds_count_for_nothing(void **unused)
{
    (void)unused;
    service s = { .servers = 30, .ms = 10, .status = WEIR_EINVAL };
    rig r = rig_service(&quick, &s);
    run_busy(&r, 2000);
    assert_int_equal(look(&r).limit, 20);
    assert_int_equal(look(&r).time_ns, 0);
    stop(&r);
}

static void it_holds_or_rejects_as_a_semaphore_does(void **unused)
{
    (void)unused;
    for (int rejects = 0; rejects < 2; rejects++) {
        service s = { .servers = 30, .ms = 10 };
        weir_adaptive_limit_config config = quick;
        config.reject = rejects != 0;
        rig r = rig_service(&config, &s);
        rig_feed(&r, 0, 30);
        assert_int_equal(s.under_way, 20);
        assert_ended(&r, WEIR_REJECTED, rejects ? 10 : 0);
        assert_int_equal(look(&r).used, 20);
        stop(&r);
    }
}

static void a_bad_config_is_found_while_building(void **unused)
{
    (void)unused;
    const weir_adaptive_limit_config bad[] = {
        { .limit_max = 1000001 }, { .limit_min = 5, .limit_max = 4 },
        { .window_ms = 60001 },   { .tolerance = 0.5 },
        { .tolerance = 11 },      { .smoothing = 1.5 },
        { .smoothing = -0.1 },    { .probe_ms = 86400001 }
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r = rig_of(weir_adaptive_limit(&bad[i]));
        assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_finds_the_concurrency_of_the_service_and_stays_there),
        cmocka_unit_test(a_moving_baseline_alone_would_drift),
        cmocka_unit_test(it_follows_a_service_that_gets_smaller),
        cmocka_unit_test(a_limit_that_is_not_used_does_not_grow),
        cmocka_unit_test(failures_that_speak_of_load_lower_it_whatever_the_times),
        cmocka_unit_test(quick_failures_of_other_kinds_count_for_nothing),
        cmocka_unit_test(it_holds_or_rejects_as_a_semaphore_does),
        cmocka_unit_test(a_bad_config_is_found_while_building),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
