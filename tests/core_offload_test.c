/* Pools of threads on a testkit's virtual time: no threads, the same seed, the same run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/offload.h>
#include <weir/stages.h>
#include <weir/testkit.h>

#include "failing.h"

enum { JOB_US = 1000, JOBS = 20 };

typedef struct rig {
    weir_testkit *kit;
    weir_offload *pool;
    weir_job jobs[JOBS];
    uint32_t ran[JOBS], done[JOBS], n_ran, n_done, under_way_most, most_at_once;
    uint32_t opened, closed, open_fails_at;
} rig;

static weir_status open_worker(void *user, void **ret_state)
{
    rig *r = user;
    *ret_state = r;
    return ++r->opened == r->open_fails_at ? WEIR_EIO : WEIR_OK;
}

static void close_worker(void *thread_state, void *user)
{
    assert_ptr_equal(thread_state, user);
    ((rig *)user)->closed++;
}

static void run(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    rig *r = user;
    assert_ptr_equal(thread_state, r);
    for (size_t i = 0; i < n; i++)
        r->ran[r->n_ran++] = (uint32_t)(jobs[i] - r->jobs);
    if (r->n_ran - r->n_done > r->under_way_most)
        r->under_way_most = r->n_ran - r->n_done;
    r->most_at_once = n > r->most_at_once ? (uint32_t)n : r->most_at_once;
}

static void done(weir_job *job, void *user)
{
    rig *r = user;
    assert_true(weir_loop_is_here(job->loop));
    r->done[r->n_done++] = (uint32_t)(job - r->jobs);
}

static weir_status rig_open(rig *r, uint64_t seed, const weir_offload_config *like)
{
    r->kit = weir_testkit_new_with(
        &(weir_testkit_config){ .loops = 2, .seed = seed, .shuffle = true, .job_us_max = JOB_US });
    assert_non_null(r->kit);
    weir_offload_config config = *like;
    config.env = weir_testkit_env(r->kit);
    config.open = open_worker;
    config.close = close_worker;
    config.run = run;
    config.user = r;
    return weir_offload_new(&config, &r->pool);
}

static void submit(rig *r, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        r->jobs[i] =
            (weir_job){ .loop = weir_testkit_loop(r->kit, i % 2), .done = done, .user = r };
        assert_int_equal(weir_offload_submit(r->pool, &r->jobs[i]), WEIR_OK);
    }
}

static void rig_done(rig *r)
{
    weir_offload_free(r->pool);
    assert_int_equal(weir_testkit_free(r->kit), 0);
    assert_int_equal(r->n_done, r->n_ran);
    assert_int_equal(r->closed, r->opened);
}

static void a_job_begins_and_ends_as_time_passes(void **state)
{
    rig r = { 0 };
    (void)state;
    assert_int_equal(rig_open(&r, 7, &(weir_offload_config){ .threads = 1 }), WEIR_OK);
    submit(&r, 1);
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(r.n_ran, 0);
    assert_int_equal(weir_offload_queued(r.pool), 1);
    assert_true(weir_testkit_advance(r.kit, JOB_US * WEIR_US));
    assert_int_equal(r.n_ran, 1);
    assert_int_equal(r.n_done, 0);
    assert_int_equal(weir_offload_queued(r.pool), 0);
    assert_true(weir_testkit_advance(r.kit, JOB_US * WEIR_US));
    assert_int_equal(r.n_done, 1);
    rig_done(&r);
}

static void no_more_run_at_once_than_there_are_threads(void **state)
{
    rig r = { 0 };
    (void)state;
    assert_int_equal(rig_open(&r, 7, &(weir_offload_config){ .threads = 3 }), WEIR_OK);
    submit(&r, JOBS);
    assert_true(weir_testkit_advance_by(r.kit, 2 * JOBS * JOB_US * WEIR_US, 10 * WEIR_US));
    assert_int_equal(r.n_done, JOBS);
    assert_int_equal(r.under_way_most, 3);
    assert_int_equal(r.most_at_once, 1);
    rig_done(&r);
}

static void a_worker_takes_as_many_as_a_batch_may_have(void **state)
{
    rig r = { 0 };
    (void)state;
    weir_offload_config config = { .threads = 1, .batch_max = 8, .queue_max = JOBS - 1 };
    assert_int_equal(rig_open(&r, 7, &config), WEIR_OK);
    submit(&r, JOBS - 1);
    assert_int_equal(weir_offload_submit(r.pool, &r.jobs[JOBS - 1]), WEIR_EOVERLOAD);
    assert_true(weir_testkit_advance_by(r.kit, 6 * JOB_US * WEIR_US, 10 * WEIR_US));
    assert_int_equal(r.n_done, JOBS - 1);
    assert_int_equal(r.most_at_once, 8);
    rig_done(&r);
}

static void ends_of(uint64_t seed, uint32_t order[JOBS])
{
    rig r = { 0 };
    assert_int_equal(rig_open(&r, seed, &(weir_offload_config){ .threads = 4 }), WEIR_OK);
    submit(&r, JOBS);
    assert_true(weir_testkit_advance_by(r.kit, 2 * JOBS * JOB_US * WEIR_US, 10 * WEIR_US));
    assert_int_equal(r.n_done, JOBS);
    memcpy(order, r.done, sizeof r.done);
    rig_done(&r);
}

static void the_seed_decides_in_which_order_jobs_end(void **state)
{
    uint32_t first[JOBS], order[JOBS], others = 0;
    (void)state;
    ends_of(1, first);
    for (uint64_t seed = 1; seed <= 5; seed++) {
        ends_of(seed, order);
        assert_true(seed != 1 || memcmp(first, order, sizeof order) == 0);
        others += memcmp(first, order, sizeof order) != 0;
    }
    assert_true(others > 0);
}

static void what_is_queued_when_a_pool_is_freed_is_done(void **state)
{
    rig r = { 0 };
    (void)state;
    assert_int_equal(rig_open(&r, 7, &(weir_offload_config){ .threads = 2 }), WEIR_OK);
    submit(&r, 5);
    assert_true(weir_testkit_advance(r.kit, JOB_US * WEIR_US)); /* two have run */
    assert_int_equal(r.n_ran, 2);
    weir_offload_free(r.pool);
    r.pool = NULL;
    assert_int_equal(r.n_ran, 5);
    assert_true(weir_testkit_settle(r.kit));
    rig_done(&r);
}

static void a_pool_that_cannot_open_closes_what_it_has_opened(void **state)
{
    rig r = { .open_fails_at = 3 };
    (void)state;
    assert_int_equal(rig_open(&r, 7, &(weir_offload_config){ .threads = 4 }), WEIR_EIO);
    assert_null(r.pool);
    assert_int_equal(r.opened, 3);
    assert_int_equal(r.closed, 2);
    r.closed = r.opened;
    rig_done(&r);
}

/* ---- A stage that blocks, by the testkit alone ---- */

static weir_status twice(weir_item *item, void *thread_state, void *user)
{
    (void)thread_state;
    (void)user;
    *(uint64_t *)weir_item_body(item) *= 2;
    return WEIR_OK;
}

typedef struct line {
    weir_testkit *kit;
    weir_pipeline *p;
    weir_probe *from, *to;
} line;

static line line_with(const weir_blocking_config *config)
{
    line l = { .kit = weir_testkit_new_with(
                   &(weir_testkit_config){ .seed = 7, .job_us_max = JOB_US }) };
    assert_non_null(l.kit);
    l.p = weir_testkit_pipeline(l.kit);
    l.from = weir_testkit_probe(l.kit);
    l.to = weir_testkit_probe(l.kit);
    weir_from(l.p, weir_probe_source(l.from));
    weir_via(l.p, weir_blocking(config));
    weir_into(l.p, weir_probe_sink(l.to));
    assert_int_equal(weir_testkit_start(l.kit, l.p), WEIR_OK);
    weir_probe_request(l.to, WEIR_UNBOUNDED);
    for (uint64_t i = 1; i <= 9; i++)
        assert_true(weir_probe_feed(l.from, i));
    assert_true(weir_testkit_settle(l.kit));
    return l;
}

static void a_stage_that_blocks_is_tested_without_threads(void **state)
{
    (void)state;
    line l = line_with(&(weir_blocking_config){ .run = twice, .threads = 3 });
    assert_int_equal(weir_probe_emitted(l.from), 6); /* in threads, and as many that wait */
    assert_int_equal(weir_probe_received(l.to), 0);
    assert_true(weir_testkit_advance_by(l.kit, 9 * 2 * JOB_US * WEIR_US, 10 * WEIR_US));
    assert_true(weir_probe_expect(l.to, 9, (uint64_t[]){ 2, 4, 6, 8, 10, 12, 14, 16, 18 }));
    weir_probe_end(l.from);
    if (!weir_testkit_expect_clean(l.kit))
        fail_msg("%s", weir_testkit_why(l.kit));
    weir_pipeline_free(l.p);
    assert_int_equal(weir_testkit_free(l.kit), 0);
}

static void an_abandoned_kit_gives_jobs_their_time(void **state)
{
    (void)state;
    line l = line_with(&(weir_blocking_config){ .run = twice, .threads = 2 });
    assert_true(weir_testkit_advance(l.kit, JOB_US * WEIR_US));
    if (!weir_testkit_abandon(l.kit))
        fail_msg("%s", weir_testkit_why(l.kit));
    assert_int_equal(weir_testkit_free(l.kit), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_job_begins_and_ends_as_time_passes),
        cmocka_unit_test(no_more_run_at_once_than_there_are_threads),
        cmocka_unit_test(a_worker_takes_as_many_as_a_batch_may_have),
        cmocka_unit_test(the_seed_decides_in_which_order_jobs_end),
        cmocka_unit_test(what_is_queued_when_a_pool_is_freed_is_done),
        cmocka_unit_test(a_pool_that_cannot_open_closes_what_it_has_opened),
        cmocka_unit_test(a_stage_that_blocks_is_tested_without_threads),
        cmocka_unit_test(an_abandoned_kit_gives_jobs_their_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
