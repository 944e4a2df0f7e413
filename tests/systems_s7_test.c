/* S7, the dynamic worker pool: it grows when its queue is above half, shrinks when it is empty,
 * every 500 ms, between bounds that change live; no job is lost or doubled while it scales. */
#include "feed.h"
#include "stages_rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { ITEMS = 30000 };

/* ---- On the virtual clock: jobs of a known length ---- */

static void job_done(weir_timer *timer, void *user)
{
    (void)timer;
    weir_op_done(user, WEIR_OK, NULL);
}

/* A job takes 100 ms. */
static void job_start(weir_op *op, void *user)
{
    (void)user;
    weir_timer_start(weir_stage_loop(op->stage), op->work, 100 * WEIR_MS, job_done, op);
}

static uint32_t size_of(const weir_pool_control *control)
{
    weir_pool_figures figures;
    weir_pool_look(control, &figures);
    return figures.size;
}

/* 60 jobs a second need six workers of ten a second each. */
static void a_pool_finds_the_workers_that_its_load_needs(void **unused)
{
    (void)unused;
    weir_pool_control control = { 0 };
    rig r = rig_with(weir_pool(&(weir_pool_config){
        .start = job_start, .min = 2, .max = 12, .queue = 40, .control = &control }));
    rig_request(&r, WEIR_UNBOUNDED);
    assert_int_equal(size_of(&control), 2);
    uint64_t fed = 0;
    uint32_t most = 0;
    for (int ms = 0; ms < 20000; ms += 50) {
        rig_feed(&r, fed, 3);
        fed += 3;
        assert_true(weir_testkit_advance(r.kit, 50 * WEIR_MS));
        most = size_of(&control) > most ? size_of(&control) : most;
    }
    assert_in_range(most, 6, 12);
    for (int ms = 0; ms < 10000; ms += 50)
        assert_true(weir_testkit_advance(r.kit, 50 * WEIR_MS));
    assert_int_equal(size_of(&control), 2);
    assert_received(&r, fed);
    for (uint64_t i = 0; i < fed; i++)
        assert_int_equal(weir_probe_value(r.to, i), i);
    rig_finish(&r);
}

static void it_looks_every_500_ms(void **unused)
{
    (void)unused;
    weir_pool_control control = { 0 };
    rig r = rig_with(weir_pool(
        &(weir_pool_config){ .start = job_start, .max = 3, .queue = 10, .control = &control }));
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 100);
    assert_true(weir_testkit_advance_by(r.kit, 499 * WEIR_MS, WEIR_MS));
    assert_int_equal(size_of(&control), 1);
    assert_true(weir_testkit_advance(r.kit, WEIR_MS));
    assert_int_equal(size_of(&control), 2);
    assert_true(weir_testkit_advance_by(r.kit, 500 * WEIR_MS, WEIR_MS));
    assert_int_equal(size_of(&control), 3);
    assert_true(weir_testkit_advance_by(r.kit, 20 * WEIR_SEC, 10 * WEIR_MS));
    assert_received(&r, 100);
    assert_int_equal(size_of(&control), 1);
    rig_finish(&r);
}

/* ---- In threads, with bounds that another thread changes all the while ---- */

static atomic_uchar done_times[ITEMS];
static atomic_uint under_way, most_under_way;
static atomic_bool over;
static weir_pool_control control;

static weir_status work(weir_item *item, void *thread_state, void *user)
{
    (void)thread_state;
    (void)user;
    unsigned now = ++under_way;
    for (unsigned most = most_under_way;
         now > most && !atomic_compare_exchange_weak(&most_under_way, &most, now);)
        ;
    done_times[((feed_item *)weir_item_body(item))->number]++;
    under_way--;
    return WEIR_OK;
}

static void *change_bounds(void *user)
{
    (void)user;
    for (uint32_t i = 0; !over; i++) {
        weir_pool_figures figures;
        weir_pool_set_bounds(&control, 1 + i % 3, 1 + i * 5 % 8);
        weir_pool_look(&control, &figures);
        if (figures.size > 8)
            abort();
    }
    return NULL;
}

static void no_job_is_lost_or_doubled_while_it_scales(void **unused)
{
    (void)unused;
    for (int unordered = 0; unordered < 2; unordered++) {
        pthread_t changer;
        feed f = { .n = 0 };
        memset((void *)done_times, 0, sizeof done_times);
        control = (weir_pool_control){ 0 };
        over = false;
        assert_int_equal(pthread_create(&changer, NULL, change_bounds, NULL), 0);
        assert_int_equal(feed_run(&f, ITEMS,
                                  weir_pool(&(weir_pool_config){ .run = work,
                                                                 .min = 1,
                                                                 .max = 4,
                                                                 .most = 8,
                                                                 .look_ms = 1,
                                                                 .unordered = unordered,
                                                                 .control = &control })),
                         WEIR_OK);
        over = true;
        pthread_join(changer, NULL);
        for (uint64_t i = 0; i < ITEMS; i++)
            assert_int_equal(done_times[i], 1);
        assert_int_equal(f.acked, ITEMS);
        assert_in_range(most_under_way, 1, 8);
        assert_int_equal(size_of(&control), 0);
        feed_done(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_finds_the_workers_that_its_load_needs),
        cmocka_unit_test(it_looks_every_500_ms),
        cmocka_unit_test(no_job_is_lost_or_doubled_while_it_scales),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
