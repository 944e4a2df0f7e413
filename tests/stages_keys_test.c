/* fair_queue and async_by_key. */
#include "stages_rig.h"

static void feed_key(rig *r, uint64_t key, uint64_t value)
{
    assert_true(weir_probe_feed_item(r->from, &(weir_probe_item){ .value = value, .key = key }));
    assert_true(weir_testkit_settle(r->kit));
}

/* ---- fair_queue ---- */

static void keys_take_turns_however_many_one_has(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_fair_queue(NULL));
    for (uint64_t i = 0; i < 50; i++)
        feed_key(&r, 7, i);
    feed_key(&r, 8, 100);
    feed_key(&r, 9, 200);
    feed_key(&r, 8, 101);
    rig_request(&r, 6);
    assert_got(&r, 0, 100, 200, 1, 101, 2);
    rig_finish(&r);
}

static void equal_keys_keep_their_order(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_fair_queue(&(weir_fair_queue_config){ .items_max = 90 }));
    uint64_t last[5] = { 0 };
    for (uint64_t i = 1; i <= 500; i++) {
        feed_key(&r, i % 5, i);
        if (i % 3 == 0)
            rig_request(&r, 3);
    }
    rig_request(&r, WEIR_UNBOUNDED);
    assert_received(&r, 500);
    for (uint64_t n = 0; n < 500; n++) {
        uint64_t value = weir_probe_value(r.to, n);
        assert_true(value > last[value % 5]);
        last[value % 5] = value;
    }
    rig_finish(&r);
}

static void no_more_is_asked_for_than_may_be_held(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_fair_queue(&(weir_fair_queue_config){ .items_max = 5 }));
    rig_feed(&r, 1, 20);
    assert_int_equal(weir_probe_emitted(r.from), 5);
    assert_demand(&r, 0);
    rig_request(&r, 2);
    assert_int_equal(weir_probe_emitted(r.from), 7);
    rig_finish(&r);
}

static void more_of_one_key_than_it_may_have_is_rejected(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_fair_queue(&(weir_fair_queue_config){ .of_key_max = 2 }));
    for (uint64_t i = 0; i < 3; i++)
        feed_key(&r, 1, i);
    feed_key(&r, 2, 10);
    assert_outcome(&r, 2, WEIR_REJECTED, WEIR_EOVERLOAD);
    assert_demand(&r, 253);
    rig_request(&r, 5);
    assert_got(&r, 0, 10, 1);
    rig_finish(&r);
}

static void what_is_queued_flows_before_the_end_and_ends_with_a_cancel(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_fair_queue(NULL));
    rig_feed(&r, 1, 3);
    weir_probe_end_error(r.from, WEIR_EIO);
    rig_request(&r, 2);
    assert_false(weir_probe_is_over(r.to, NULL));
    rig_request(&r, 1);
    weir_status status = WEIR_OK;
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    rig_done(&r);
    r = rig_with(weir_fair_queue(NULL));
    rig_feed(&r, 1, 3);
    rig_cancel(&r);
    assert_ended(&r, WEIR_ABORTED, 3);
    rig_done(&r);
    r = rig_with(weir_fair_queue(NULL));
    rig_feed(&r, 1, 3);
    rig_abort_and_done(&r);
}

static void a_queue_too_large_is_refused(void **unused)
{
    (void)unused;
    rig r = rig_of(weir_fair_queue(&(weir_fair_queue_config){ .items_max = 1048577 }));
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

/* ---- async_by_key ---- */

enum { OPS_MAX = 512 };

typedef struct work {
    weir_op *ops[OPS_MAX];
    uint64_t values[OPS_MAX]; /* as they were started */
    uint64_t of_key[OPS_MAX]; /* how many of its key were before it, as the key's memory says */
    size_t n, cancels, expired;
    uint64_t last_expired;
    bool at_once;
} work;

static void work_start(weir_op *op, void *key_state, void *user)
{
    work *w = user;
    w->values[w->n] = value_of(op->item);
    if (key_state != NULL)
        w->of_key[w->n] = (*(uint64_t *)key_state)++;
    w->ops[w->n++] = op;
    if (w->at_once)
        weir_op_done(op, WEIR_OK, NULL);
}

static void work_cancel(weir_op *op, weir_status status, void *user)
{
    ((work *)user)->cancels++;
    weir_op_done(op, status, "given up");
}

static void work_expired(uint64_t key, void *key_state, void *user)
{
    work *w = user;
    (void)key_state;
    w->expired++;
    w->last_expired = key;
}

static void finish(rig *r, work *w, size_t index, weir_status status)
{
    assert_non_null(w->ops[index]);
    weir_op_done(w->ops[index], status, "the work failed");
    assert_true(weir_testkit_settle(r->kit));
}

static weir_async_by_key_config keyed(work *w)
{
    return (weir_async_by_key_config){ .start = work_start,
                                       .cancel = work_cancel,
                                       .key_expired = work_expired,
                                       .key_bytes = sizeof(uint64_t),
                                       .user = w };
}

static rig rig_keyed(const weir_async_by_key_config *config)
{
    rig r = rig_with(weir_async_by_key(config));
    rig_request(&r, WEIR_UNBOUNDED);
    return r;
}

static void one_of_a_key_at_a_time_and_keys_at_once(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_async_by_key_config config = keyed(&w);
    rig r = rig_keyed(&config);
    feed_key(&r, 1, 10);
    feed_key(&r, 1, 11);
    feed_key(&r, 2, 20);
    assert_int_equal(w.n, 2); /* 10 and 20 */
    assert_int_equal(w.values[1], 20);
    finish(&r, &w, 1, WEIR_OK);
    assert_got(&r, 20);
    finish(&r, &w, 0, WEIR_OK);
    assert_int_equal(w.n, 3);
    assert_int_equal(w.of_key[2], 1); /* the second of its key */
    finish(&r, &w, 2, WEIR_OK);
    assert_got(&r, 20, 10, 11);
    rig_finish(&r);
}

static void a_hot_key_starves_no_other(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_async_by_key_config config = keyed(&w);
    config.in_flight = 1;
    rig r = rig_keyed(&config);
    for (uint64_t i = 0; i < 100; i++)
        feed_key(&r, 1, i);
    feed_key(&r, 2, 200);
    feed_key(&r, 3, 300);
    for (size_t i = 0; i < 4; i++)
        finish(&r, &w, i, WEIR_OK);
    assert_got(&r, 0, 200, 300, 1);
    for (size_t i = 4; i < 102; i++)
        finish(&r, &w, i, WEIR_OK);
    rig_finish(&r);
}

static void a_failed_item_lets_its_key_go_on(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_async_by_key_config config = keyed(&w);
    rig r = rig_keyed(&config);
    feed_key(&r, 1, 10);
    feed_key(&r, 1, 11);
    finish(&r, &w, 0, WEIR_EIO);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EIO);
    finish(&r, &w, 1, WEIR_OK);
    assert_got(&r, 11);
    rig_finish(&r);
}

static void as_many_wait_as_may(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_async_by_key_config config = keyed(&w);
    config.in_flight = 2;
    config.waiting_max = 3;
    rig r = rig_keyed(&config);
    for (uint64_t i = 0; i < 20; i++)
        feed_key(&r, i % 2, i);
    assert_int_equal(weir_probe_emitted(r.from), 5);
    assert_int_equal(w.n, 2);
    for (size_t i = 0; i < 20; i++)
        finish(&r, &w, i, WEIR_OK);
    assert_received(&r, 20);
    rig_finish(&r);
}

static void an_idle_key_is_forgotten_after_its_time(void **unused)
{
    (void)unused;
    work w = { .at_once = true };
    weir_async_by_key_config config = keyed(&w);
    config.idle_ms = 100;
    rig r = rig_keyed(&config);
    feed_key(&r, 1, 10);
    assert_true(weir_testkit_advance(r.kit, 60 * WEIR_MS));
    feed_key(&r, 2, 20);
    feed_key(&r, 1, 11); /* in use again */
    assert_int_equal(w.of_key[2], 1);
    assert_true(weir_testkit_advance_by(r.kit, 99 * WEIR_MS, WEIR_MS));
    assert_int_equal(w.expired, 0);
    assert_true(weir_testkit_advance_by(r.kit, 3 * WEIR_MS, WEIR_MS));
    assert_int_equal(w.expired, 2);
    feed_key(&r, 1, 12);
    assert_int_equal(w.of_key[3], 0); /* new */
    rig_finish(&r);
}

static void a_key_whose_items_all_gave_up_is_forgotten(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_async_by_key_config config = keyed(&w);
    config.in_flight = 1;
    config.cancel = NULL;
    config.timeout_ms = 50;
    config.idle_ms = 100;
    rig r = rig_keyed(&config);
    feed_key(&r, 1, 10); /* under way for good */
    feed_key(&r, 2, 20);
    assert_true(weir_testkit_advance_by(r.kit, 149 * WEIR_MS, WEIR_MS));
    assert_int_equal(w.expired, 0);
    assert_true(weir_testkit_advance_by(r.kit, 3 * WEIR_MS, WEIR_MS));
    assert_int_equal(w.expired, 1);
    assert_int_equal(w.last_expired, 2);
    finish(&r, &w, 0, WEIR_OK);
    rig_finish(&r);
}

static void the_key_idle_for_longest_makes_room(void **unused)
{
    (void)unused;
    work w = { .at_once = true };
    weir_async_by_key_config config = keyed(&w);
    config.in_flight = config.waiting_max = 1;
    config.keys_max = 3;
    rig r = rig_keyed(&config);
    for (uint64_t key = 1; key <= 3; key++)
        feed_key(&r, key, key);
    feed_key(&r, 1, 4); /* so that 2 is the oldest */
    feed_key(&r, 9, 5);
    assert_int_equal(w.expired, 1);
    assert_int_equal(w.last_expired, 2);
    for (uint64_t i = 0; i < 300; i++)
        feed_key(&r, 100 + i, i);
    assert_int_equal(w.expired, 301);
    rig_finish(&r);
    assert_int_equal(w.expired, 304); /* the rest with the stage */
}

static void what_waits_for_its_turn_times_out_at_once(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_async_by_key_config config = keyed(&w);
    config.timeout_ms = 50;
    rig r = rig_keyed(&config);
    feed_key(&r, 1, 10);
    assert_true(weir_testkit_advance(r.kit, 20 * WEIR_MS));
    feed_key(&r, 1, 11);
    feed_key(&r, 1, 12);
    assert_true(weir_testkit_advance(r.kit, 10 * WEIR_MS));
    finish(&r, &w, 0, WEIR_OK); /* 11 begins */
    assert_true(weir_testkit_advance(r.kit, 40 * WEIR_MS));
    assert_int_equal(w.cancels, 1);
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_EDEADLINE);
    assert_outcome(&r, 2, WEIR_FAILED, WEIR_EDEADLINE);
    rig_finish(&r);
}

static void an_abort_ends_what_waits_and_cancels_what_runs(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    weir_async_by_key_config config = keyed(&w);
    rig r = rig_keyed(&config);
    for (uint64_t i = 0; i < 20; i++)
        feed_key(&r, i % 3, i);
    rig_abort(&r);
    assert_int_equal(w.cancels, 3);
    rig_done(&r);
    w = (work){ .n = 0 };
    r = rig_keyed(&config);
    for (uint64_t i = 0; i < 20; i++)
        feed_key(&r, i % 3, i);
    rig_cancel(&r);
    rig_done(&r);
}

static void start_bare(weir_op *op, void *key_state, void *user)
{
    (void)key_state;
    work *w = user;
    w->n++;
    weir_op_done(op, WEIR_OK, NULL);
}

static void keys_without_memory_need_no_time_to_expire(void **unused)
{
    (void)unused;
    work w = { .n = 0 };
    rig r = rig_keyed(&(weir_async_by_key_config){ .start = start_bare, .user = &w });
    for (uint64_t i = 0; i < 3000; i++)
        feed_key(&r, i, i);
    assert_received(&r, 3000);
    rig_finish(&r);
}

static void limits_of_keys_are_checked(void **unused)
{
    (void)unused;
    const weir_async_by_key_config wrong[] = {
        { 0 },
        { .start = work_start, .in_flight = 65537 },
        { .start = work_start, .waiting_max = 65536 },
        { .start = work_start, .waiting_max = 10, .in_flight = 10, .keys_max = 20 },
        { .start = work_start, .key_bytes = 65537 },
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        rig r = rig_of(weir_async_by_key(&wrong[i]));
        assert_int_not_equal(weir_pipeline_check(r.pipeline), WEIR_OK);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

static weir_stage_spec *fair(void)
{
    return weir_fair_queue(NULL);
}

static work at_once = { .at_once = true };

static weir_stage_spec *by_key(void)
{
    weir_async_by_key_config config = keyed(&at_once);
    return weir_async_by_key(&config);
}

static bool run_with_a_failure(weir_stage_spec *(*make)(void), uint64_t nth)
{
    at_once.n = 0;
    rig r = { .kit = weir_testkit_new(1, nth) };
    r.from = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    uint64_t before = weir_testkit_allocations(r.kit);
    weir_testkit_fail_allocation(r.kit, nth);
    r.pipeline = weir_testkit_pipeline(r.kit);
    if (r.pipeline != NULL) {
        weir_from(r.pipeline, weir_probe_source(r.from));
        weir_via(r.pipeline, make());
        weir_into(r.pipeline, weir_probe_sink(r.to));
        if (weir_testkit_start(r.kit, r.pipeline) == WEIR_OK) {
            for (uint64_t i = 0; i < 100; i++)
                (void)weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .key = i % 9 });
            weir_probe_end(r.from);
            rig_request(&r, WEIR_UNBOUNDED);
            rig_abort(&r);
            assert_true(weir_pipeline_is_finished(r.pipeline));
        }
    }
    bool failed = weir_testkit_allocations(r.kit) - before >= nth;
    assert_int_equal(weir_probe_live(r.from), 0);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
    return failed;
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    weir_stage_spec *(*const makers[])(void) = { fair, by_key };
    for (size_t m = 0; m < 2; m++) {
        uint64_t nth = 1;
        while (run_with_a_failure(makers[m], nth))
            nth++;
        assert_true(nth > 10);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_take_turns_however_many_one_has),
        cmocka_unit_test(equal_keys_keep_their_order),
        cmocka_unit_test(no_more_is_asked_for_than_may_be_held),
        cmocka_unit_test(more_of_one_key_than_it_may_have_is_rejected),
        cmocka_unit_test(what_is_queued_flows_before_the_end_and_ends_with_a_cancel),
        cmocka_unit_test(a_queue_too_large_is_refused),
        cmocka_unit_test(one_of_a_key_at_a_time_and_keys_at_once),
        cmocka_unit_test(a_hot_key_starves_no_other),
        cmocka_unit_test(a_failed_item_lets_its_key_go_on),
        cmocka_unit_test(as_many_wait_as_may),
        cmocka_unit_test(an_idle_key_is_forgotten_after_its_time),
        cmocka_unit_test(a_key_whose_items_all_gave_up_is_forgotten),
        cmocka_unit_test(the_key_idle_for_longest_makes_room),
        cmocka_unit_test(what_waits_for_its_turn_times_out_at_once),
        cmocka_unit_test(an_abort_ends_what_waits_and_cancels_what_runs),
        cmocka_unit_test(keys_without_memory_need_no_time_to_expire),
        cmocka_unit_test(limits_of_keys_are_checked),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
