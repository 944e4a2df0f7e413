/* All limiting stages in one graph: with every allocation failing in turn, and ended at any moment.
 */
#include "stages_rig.h"

#include <weir/async.h>

enum { ITEMS = 120 };

static weir_status keep(const weir_item *item, const weir_failure *failure, void *user)
{
    (void)item;
    (void)failure;
    (void)user;
    return WEIR_OK;
}

static weir_status make_good(weir_loop *loop, weir_item *item, const weir_failure *failure,
                             void *user, weir_item **ret_made)
{
    (void)failure;
    (void)user;
    if (value_of(item) % 2 == 0)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(*ret_made) = value_of(item);
    return WEIR_OK;
}

static weir_status fail_third(weir_item *item, void *user)
{
    (void)user;
    return value_of(item) % 3 == 0 ? WEIR_EIO : WEIR_OK;
}

/* source, semaphore, breaker, timeout, adaptive_limit, rate_limit, what fails, fallback, sink; what
 * the semaphore and the breaker reject, and what fails for want of memory, goes to dead_letter */
static void wire(rig *r, uint32_t loops)
{
    weir_pipeline *p = r->pipeline;
    weir_node *nodes[8], **node = nodes;
    weir_from(p, weir_probe_source(r->from));
    weir_node *permits = *node++ =
        weir_via(p, weir_semaphore(&(weir_semaphore_config){ .permits = 40, .reject = true }));
    weir_node *breaker = *node++ = weir_via(
        p, weir_breaker(
               &(weir_breaker_config){ .window_calls = 20, .failure_percent = 40, .open_ms = 1 }));
    *node++ = weir_via(p, weir_timeout(&(weir_timeout_config){ .timeout_ms = 5 }));
    *node++ = weir_via(
        p, weir_adaptive_limit(&(weir_adaptive_limit_config){ .window_ms = 1, .probe_ms = 5 }));
    *node++ = weir_via(p, weir_rate_limit(&(weir_rate_limit_config){ .rate = 20000, .burst = 8 }));
    weir_node *work = *node++ = weir_via(p, weir_map(fail_third, NULL));
    weir_node *good = *node++ = weir_via(p, weir_fallback(make_good, NULL));
    *node++ = weir_into(p, weir_probe_sink(r->to));
    weir_node *dead = weir_add(p, weir_dead_letter(keep, NULL));
    weir_node_policy(work, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                                 .retries_max = 1,
                                                 .backoff_ms = 1,
                                                 .then = WEIR_ON_ERROR_DEAD_LETTER });
    weir_node_dead_letter(work, good, 1);
    weir_node_dead_letter(permits, dead, 0);
    weir_node_dead_letter(breaker, dead, 1);
    for (uint32_t i = 0; loops > 1 && i < 8 && nodes[i] != NULL; i++)
        weir_node_place(nodes[i], (i * 5 + 1) % loops);
}

/* Gives whether an allocation failed: if not, all of them have been tried. */
static bool run_with_a_failure(uint64_t nth, uint32_t loops)
{
    rig r = { .kit = weir_testkit_new(loops, nth) };
    r.from = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    uint64_t before = weir_testkit_allocations(r.kit);
    weir_testkit_fail_allocation(r.kit, nth);
    r.pipeline = weir_testkit_pipeline(r.kit);
    if (r.pipeline != NULL) {
        wire(&r, loops);
        if (weir_testkit_start(r.kit, r.pipeline) == WEIR_OK) {
            weir_probe_request(r.to, WEIR_UNBOUNDED);
            rig_feed(&r, 0, ITEMS);
            rig_end(&r);
            assert_true(weir_testkit_advance_by(r.kit, 100 * WEIR_MS, WEIR_MS));
            if (!weir_pipeline_is_finished(r.pipeline))
                rig_abort(&r);
            assert_true(weir_pipeline_is_finished(r.pipeline));
        }
    }
    bool failed = weir_testkit_allocations(r.kit) - before >= nth;
    assert_int_equal(weir_probe_live(r.from), 0);
    assert_int_equal(weir_probe_violations(r.from) + weir_probe_violations(r.to), 0);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
    return failed;
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    for (uint32_t loops = 1; loops <= 3; loops += 2) {
        uint64_t nth = 1;
        while (run_with_a_failure(nth, loops))
            nth++;
        assert_true(nth > 40);
    }
}

/* Cancelled from below, aborted, or drained, after so many steps of time. */
static void run_and_end(uint32_t how, uint64_t steps, uint32_t loops)
{
    rig r = rig_new(loops);
    wire(&r, loops);
    rig_start(&r);
    weir_probe_request(r.to, 10 + steps * 5);
    rig_feed(&r, 0, ITEMS);
    assert_true(weir_testkit_advance_by(r.kit, steps * 100 * WEIR_US, 100 * WEIR_US));
    if (how == 0)
        rig_cancel(&r);
    else
        weir_pipeline_shutdown(r.pipeline, how == 1 ? WEIR_ABORT : WEIR_DRAIN, 0);
    assert_true(weir_testkit_settle(r.kit));
    if (how != 1)
        weir_probe_request(r.to, WEIR_UNBOUNDED);
    if (how == 0)
        rig_end(&r);
    assert_true(weir_testkit_advance_by(r.kit, 2 * WEIR_SEC, 5 * WEIR_MS));
    rig_done(&r);
}

static void it_can_be_ended_at_any_moment(void **unused)
{
    (void)unused;
    for (uint32_t loops = 1; loops <= 3; loops += 2)
        for (uint32_t how = 0; how < 3; how++)
            for (uint64_t steps = 0; steps < 100; steps += 3)
                run_and_end(how, steps, loops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(it_can_be_ended_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
