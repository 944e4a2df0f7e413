/* New settings for the library's stages while items flow. */
#include "stages_rig.h"

static weir_status change(rig *r, const char *stage, const void *config, size_t size)
{
    const char *why = NULL;
    weir_status status = weir_pipeline_change(r->pipeline, stage, config, size, NULL, &why);
    assert_true(status == WEIR_OK || (why != NULL && why[0] != '\0'));
    assert_true(weir_testkit_settle(r->kit));
    return status;
}

#define change_to(rig_, stage_, type_, ...) \
    change((rig_), (stage_), &(type_){ __VA_ARGS__ }, sizeof(type_))

/* ---- rate_limit ---- */

static void a_rate_rises_and_what_waits_goes_at_the_new_one(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_rate_limit(&(weir_rate_limit_config){ .rate = 1, .burst = 1 }));
    rig_request(&r, 100);
    rig_feed(&r, 0, 5);
    assert_received(&r, 1);
    assert_int_equal(change_to(&r, "rate_limit", weir_rate_limit_config, .rate = 1000, .burst = 1),
                     WEIR_OK);
    assert_received(&r, 1);
    assert_true(weir_testkit_advance_by(r.kit, 2 * WEIR_MS, WEIR_MS / 4));
    assert_received(&r, 3);
    assert_true(weir_testkit_advance_by(r.kit, 2 * WEIR_MS, WEIR_MS / 4));
    assert_received(&r, 5);
    rig_finish(&r);
}

static void a_rate_falls_for_what_comes_after(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_rate_limit(&(weir_rate_limit_config){ .rate = 1000, .burst = 10 }));
    rig_request(&r, 100);
    rig_feed(&r, 0, 30);
    assert_received(&r, 10);
    assert_int_equal(change_to(&r, "rate_limit", weir_rate_limit_config, .rate = 10, .burst = 2),
                     WEIR_OK);
    assert_true(weir_testkit_advance_by(r.kit, 50 * WEIR_MS, WEIR_MS));
    assert_received(&r, 10);
    assert_true(weir_testkit_advance_by(r.kit, 2000 * WEIR_MS, 10 * WEIR_MS));
    assert_in_range(weir_probe_received(r.to), 18, 24);
    rig_abort_and_done(&r);
}

static void a_larger_burst_is_not_filled_at_once(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_rate_limit(&(weir_rate_limit_config){ .rate = 10, .burst = 5 }));
    rig_request(&r, 100);
    rig_feed(&r, 0, 40);
    assert_received(&r, 5);
    assert_int_equal(change_to(&r, "rate_limit", weir_rate_limit_config, .rate = 10, .burst = 20),
                     WEIR_OK);
    assert_received(&r, 20); /* it lacks five still, of twenty */
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_MS));
    assert_received(&r, 21);
    rig_abort_and_done(&r);
}

static void rejecting_cannot_change(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_rate_limit(&(weir_rate_limit_config){ .rate = 1 }));
    assert_int_equal(change_to(&r, "rate_limit", weir_rate_limit_config, .rate = 1, .reject = true),
                     WEIR_EINVAL);
    assert_int_equal(change_to(&r, "rate_limit", weir_rate_limit_config, .rate = 0), WEIR_EINVAL);
    rig_finish(&r);
}

static void all_replicas_share_the_new_rate(void **unused)
{
    (void)unused;
    rig r = rig_new(4);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_rate_limit(&(weir_rate_limit_config){ .rate = 1, .burst = 1 }));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    for (uint32_t i = 0; i < 4; i++) {
        weir_probe_request(weir_probe_replica(r.to, i), 1000);
        for (uint64_t k = 0; k < 100; k++)
            assert_true(weir_probe_feed(weir_probe_replica(r.from, i), k));
    }
    assert_int_equal(change_to(&r, "rate_limit", weir_rate_limit_config, .rate = 100, .burst = 1),
                     WEIR_OK);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 4; i++)
        sum += weir_probe_received(weir_probe_replica(r.to, i));
    assert_in_range(sum, 95, 102);
    rig_abort_and_done(&r);
}

/* ---- batch ---- */

static void a_batch_grows_and_shrinks(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_batch(&(weir_batch_config){ .count = 4 }));
    rig_request(&r, 100);
    rig_feed(&r, 0, 7);
    assert_received(&r, 1);
    assert_int_equal(change_to(&r, "batch", weir_batch_config, .count = 200), WEIR_OK);
    rig_feed(&r, 7, 196);
    assert_received(&r, 1); /* 199 are held */
    rig_feed(&r, 203, 1);
    assert_received(&r, 2);
    assert_int_equal(weir_probe_value(r.to, 1), 200);
    rig_feed(&r, 204, 100);
    assert_int_equal(change_to(&r, "batch", weir_batch_config, .count = 50), WEIR_OK);
    assert_received(&r, 4);
    assert_int_equal(change_to(&r, "batch", weir_batch_config, .count = 70000), WEIR_EINVAL);
    rig_finish(&r);
}

static void a_batch_gets_a_wait(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_batch(&(weir_batch_config){ .count = 4 }));
    rig_request(&r, 100);
    rig_feed(&r, 0, 2);
    assert_true(weir_testkit_advance(r.kit, WEIR_SEC));
    assert_received(&r, 0);
    assert_int_equal(change_to(&r, "batch", weir_batch_config, .count = 4, .wait_us = 2000000),
                     WEIR_OK);
    assert_received(&r, 0);
    assert_true(weir_testkit_advance(r.kit, WEIR_SEC));
    assert_received(&r, 1);
    rig_finish(&r);
}

/* ---- buffer ---- */

static void a_buffer_grows_and_shrinks(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_buffer(&(weir_buffer_config){ .items_max = 3 }));
    rig_feed(&r, 0, 50);
    assert_int_equal(weir_probe_emitted(r.from), 3);
    assert_int_equal(change_to(&r, "buffer", weir_buffer_config, .items_max = 20), WEIR_OK);
    assert_int_equal(weir_probe_emitted(r.from), 20);
    assert_int_equal(change_to(&r, "buffer", weir_buffer_config, .items_max = 5), WEIR_OK);
    rig_request(&r, 15);
    assert_int_equal(weir_probe_emitted(r.from), 20);
    rig_request(&r, 1);
    assert_int_equal(weir_probe_emitted(r.from), 21);
    assert_int_equal(change_to(&r, "buffer", weir_buffer_config, .overflow = WEIR_OVERFLOW_REJECT),
                     WEIR_EINVAL);
    rig_finish(&r);
}

/* ---- async ---- */

typedef struct work {
    weir_op *ops[64];
    uint32_t n;
} work;

static void work_start(weir_op *op, void *user)
{
    work *w = user;
    w->ops[w->n++] = op;
    test_in_hand(); /* it cannot be cancelled */
}

static void work_finish(rig *r, work *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        weir_op_done(w->ops[i], WEIR_OK, NULL);
    w->n = 0;
    assert_true(weir_testkit_settle(r->kit));
}

static void more_operations_run_at_once_and_fewer(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    rig r = rig_with(
        weir_async(&(weir_async_fn_config){ .start = work_start, .user = &w, .in_flight = 2 }));
    rig_request(&r, 100);
    rig_feed(&r, 0, 60);
    assert_int_equal(w.n, 2);
    assert_int_equal(change_to(&r, "async", weir_async_options, .in_flight = 10), WEIR_OK);
    assert_int_equal(w.n, 10);
    assert_int_equal(change_to(&r, "async", weir_async_options, .in_flight = 3), WEIR_OK);
    work_finish(&r, &w);
    assert_received(&r, 10);
    assert_int_equal(w.n, 3);
    assert_int_equal(change_to(&r, "async", weir_async_options, .in_flight = 20), WEIR_OK);
    assert_int_equal(w.n, 20);
    work_finish(&r, &w);
    work_finish(&r, &w);
    work_finish(&r, &w);
    assert_received(&r, 60 - w.n);
    for (uint64_t i = 0; i < weir_probe_received(r.to); i++)
        assert_int_equal(weir_probe_value(r.to, i), i);
    work_finish(&r, &w);
    rig_finish(&r);
}

static void the_order_of_operations_cannot_change(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    rig r = rig_with(weir_async(&(weir_async_fn_config){ .start = work_start, .user = &w }));
    assert_int_equal(change_to(&r, "async", weir_async_options, .unordered = true), WEIR_EINVAL);
    assert_int_equal(change_to(&r, "async", weir_async_options, .in_flight = 70000), WEIR_EINVAL);
    rig_finish(&r);
}

/* ---- Memory ---- */

static void started_with_key(weir_op *op, void *key_state, void *user)
{
    (void)key_state;
    (void)user;
    weir_op_done(op, WEIR_OK, NULL);
}

static void async_by_key_has_no_more_places_than_at_first(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_async_by_key(&(weir_async_by_key_config){
        .start = started_with_key, .in_flight = 2, .waiting_max = 3 }));
    assert_int_equal(
        change_to(&r, "async_by_key", weir_async_options, .in_flight = 6, .unordered = true),
        WEIR_EINVAL);
    assert_demand(&r, 5);
    assert_int_equal(change_to(&r, "async_by_key", weir_async_options, .in_flight = 5,
                               .unordered = true, .timeout_ms = 9),
                     WEIR_OK);
    rig_finish(&r);
}

static void told(weir_pipeline *p, weir_status status, const char *why, void *user)
{
    (void)p;
    (void)why;
    *(weir_status *)user = status;
}

/* Every allocation of a change of this stage fails in turn: it is refused or undone, and the stage
 * goes on as it was. */
static void fail_each(weir_stage_spec *(*make)(void), const char *name, const void *config,
                      size_t size)
{
    bool hit = true;
    for (uint64_t nth = 1; hit; nth++) {
        rig r = rig_new(3);
        weir_from(r.pipeline, weir_probe_source(r.from));
        weir_via(r.pipeline, make());
        weir_into(r.pipeline, weir_probe_sink(r.to));
        rig_start(&r);
        weir_status status = WEIR_EAGAIN;
        weir_on_changed on_changed = { told, &status };
        uint64_t before = weir_testkit_allocations(r.kit);
        weir_testkit_fail_allocation(r.kit, nth);
        const char *why = NULL;
        weir_status refused = weir_pipeline_change(r.pipeline, name, config, size, &on_changed,
                                                   &why);
        assert_true(weir_testkit_settle(r.kit));
        hit = weir_testkit_allocations(r.kit) - before >= nth;
        if (refused == WEIR_OK)
            assert_int_equal(status, hit ? WEIR_ENOMEM : WEIR_OK);
        else
            assert_int_equal(refused, WEIR_ENOMEM);
        weir_testkit_fail_allocation(r.kit, 0);
        rig_feed(&r, 0, 20);
        for (uint32_t i = 0; i < 3; i++)
            weir_probe_end(weir_probe_replica(r.from, i));
        for (uint32_t i = 0; i < 3; i++)
            weir_probe_request(weir_probe_replica(r.to, i), 100);
        assert_true(weir_testkit_advance_by(r.kit, 2 * WEIR_SEC, 10 * WEIR_MS));
        rig_done(&r);
    }
}

static weir_stage_spec *small_batch(void)
{
    return weir_batch(&(weir_batch_config){ .count = 4 });
}

static weir_stage_spec *small_buffer(void)
{
    return weir_buffer(&(weir_buffer_config){ .items_max = 4 });
}

static void at_once(weir_op *op, void *user)
{
    (void)user;
    weir_op_done(op, WEIR_OK, NULL);
}

static weir_stage_spec *small_async(void)
{
    return weir_async(&(weir_async_fn_config){ .start = at_once, .in_flight = 2 });
}

static weir_stage_spec *small_rate(void)
{
    return weir_rate_limit(&(weir_rate_limit_config){ .rate = 100 });
}

static void a_change_without_memory_is_refused_or_undone(void **unused)
{
    (void)unused;
    fail_each(small_batch, "batch", &(weir_batch_config){ .count = 300 },
              sizeof(weir_batch_config));
    fail_each(small_buffer, "buffer", &(weir_buffer_config){ .items_max = 30 },
              sizeof(weir_buffer_config));
    fail_each(small_async, "async", &(weir_async_options){ .in_flight = 20 },
              sizeof(weir_async_options));
    fail_each(small_rate, "rate_limit", &(weir_rate_limit_config){ .rate = 300 },
              sizeof(weir_rate_limit_config));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_rises_and_what_waits_goes_at_the_new_one),
        cmocka_unit_test(a_rate_falls_for_what_comes_after),
        cmocka_unit_test(a_larger_burst_is_not_filled_at_once),
        cmocka_unit_test(rejecting_cannot_change),
        cmocka_unit_test(all_replicas_share_the_new_rate),
        cmocka_unit_test(a_batch_grows_and_shrinks),
        cmocka_unit_test(a_batch_gets_a_wait),
        cmocka_unit_test(a_buffer_grows_and_shrinks),
        cmocka_unit_test(more_operations_run_at_once_and_fewer),
        cmocka_unit_test(the_order_of_operations_cannot_change),
        cmocka_unit_test(a_change_without_memory_is_refused_or_undone),
        cmocka_unit_test(async_by_key_has_no_more_places_than_at_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
