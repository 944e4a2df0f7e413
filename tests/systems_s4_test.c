/* S4: at most 500 calls a second, at most 50 of them at once, whatever the service does. */
#include "stages_rig.h"

#include <weir/async.h>

enum { RATE = 500, BURST = 50, AT_ONCE = 50, CALLS = 20000 };

typedef struct service {
    uint32_t ms;
    uint64_t under_way, peak, done;
    uint64_t began[CALLS];
    uint64_t n;
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
    w->of->done++;
    weir_op_done(w->op, WEIR_OK, NULL);
}

static void work_start(weir_op *op, void *state)
{
    work *w = op->work;
    service *s = *(service *const *)weir_async_config(op->stage);
    weir_loop *loop = weir_stage_loop(op->stage);
    (void)state;
    s->began[s->n++] = weir_loop_now(loop);
    s->under_way++;
    s->peak = s->under_way > s->peak ? s->under_way : s->peak;
    *w = (work){ .op = op, .of = s };
    weir_timer_start(loop, &w->timer, s->ms * WEIR_MS, work_done, w);
}

static const weir_async_type service_type = { .name = "service",
                                              .config_size = sizeof(service *),
                                              .work_size = sizeof(work),
                                              .start = work_start };

static void run_for(rig *r, uint32_t loops, uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 5) {
        for (uint32_t l = 0; l < loops; l++) {
            weir_probe *from = weir_probe_replica(r->from, l);
            for (uint64_t n = weir_probe_demand(from); n > 0; n--)
                weir_probe_feed(from, 1);
        }
        assert_true(weir_testkit_advance(r->kit, 5 * WEIR_MS));
    }
}

/* In no interval more than the burst and what comes in it. */
static void assert_rate(const service *s)
{
    for (uint64_t i = 0; i < s->n; i += 7)
        for (uint64_t j = i; j < s->n && j < i + 1500; j += 13)
            assert_true(j - i + 1 <= BURST + (s->began[j] - s->began[i]) * RATE / WEIR_SEC + 1);
}

/* Quick, the rate is the limit; slow, what may be at once is; and quick again. */
static void calls_keep_to_the_rate_and_to_the_number_at_once(void **unused)
{
    (void)unused;
    for (uint32_t loops = 1; loops <= 3; loops += 2) {
        static service s;
        s = (service){ .ms = 20 };
        service *at = &s;
        rig r = rig_new(loops);
        weir_from(r.pipeline, weir_probe_source(r.from));
        r.node = weir_via(r.pipeline,
                          weir_semaphore(&(weir_semaphore_config){ .permits = AT_ONCE }));
        /* below the semaphore: what has its token is called at once */
        weir_via(r.pipeline,
                 weir_rate_limit(&(weir_rate_limit_config){ .rate = RATE, .burst = BURST }));
        weir_into(r.pipeline,
                  weir_async_of(&service_type,
                                &(weir_async_options){ .in_flight = 100, .unordered = true }, &at));
        rig_start(&r);
        run_for(&r, loops, 4000);
        assert_in_range(s.done, 4 * RATE - 40, 4 * RATE + BURST);
        assert_true(s.peak <= AT_ONCE);
        s.ms = 200; /* fifty at once are 250 a second */
        uint64_t before = s.done;
        run_for(&r, loops, 4000);
        assert_in_range(s.done - before, 900, 1000);
        assert_int_equal(s.peak, AT_ONCE);
        s.ms = 20;
        before = s.done;
        run_for(&r, loops, 4000);
        assert_in_range(s.done - before, 4 * RATE - 40, 4 * RATE + 2 * BURST + 50);
        assert_true(s.peak <= AT_ONCE);
        assert_rate(&s);
        rig_abort(&r);
        assert_true(weir_testkit_advance(r.kit, WEIR_SEC));
        rig_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_keep_to_the_rate_and_to_the_number_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
