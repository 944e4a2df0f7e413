/* The retry policy: waiting, keys, giving up. */
#include "stages_rig.h"

typedef struct flaky {
    uint64_t fails_left; /* of items with value 10 */
    uint64_t tries, order[64], n;
} flaky;

static weir_status try_it(weir_item *item, void *user)
{
    flaky *f = user;
    f->tries++;
    if (value_of(item) == 10 && f->fails_left > 0) {
        f->fails_left--;
        return WEIR_EUNAVAILABLE;
    }
    f->order[f->n++] = value_of(item);
    return WEIR_OK;
}

static rig rig_flaky(flaky *f)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    r.node = weir_into(r.pipeline, weir_for_each(try_it, f));
    weir_node_policy(r.node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                                   .retries_max = 2,
                                                   .backoff_ms = 10,
                                                   .then = WEIR_ON_ERROR_SKIP });
    rig_start(&r);
    return r;
}

static void feed_keyed(rig *r, uint64_t value, uint64_t key)
{
    weir_probe_feed_item(r->from, &(weir_probe_item){ .value = value, .key = key });
    assert_true(weir_testkit_settle(r->kit));
}

static void assert_order(const flaky *f, const uint64_t *values, size_t n)
{
    assert_int_equal(f->n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(f->order[i], values[i]);
}

static void later_items_of_a_key_wait_behind_its_retry_in_order(void **unused)
{
    (void)unused;
    flaky f = { .fails_left = 2 };
    rig r = rig_flaky(&f);
    feed_keyed(&r, 10, 7);
    feed_keyed(&r, 11, 7);
    feed_keyed(&r, 20, 8);
    feed_keyed(&r, 12, 7);
    feed_keyed(&r, 13, 0);
    assert_order(&f, (const uint64_t[]){ 20, 13 }, 2);
    assert_true(weir_testkit_advance(r.kit, 10 * WEIR_MS)); /* fails again: they wait on */
    assert_int_equal(f.n, 2);
    assert_true(weir_testkit_advance(r.kit, 20 * WEIR_MS));
    assert_order(&f, (const uint64_t[]){ 20, 13, 10, 11, 12 }, 5);
    assert_ended(&r, WEIR_ACKED, 5);
    rig_end(&r);
    rig_done(&r);
}

static void what_was_retried_enough_fails_and_lets_its_key_go_on(void **unused)
{
    (void)unused;
    flaky f = { .fails_left = 100 };
    rig r = rig_flaky(&f);
    feed_keyed(&r, 10, 7);
    feed_keyed(&r, 11, 7);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    assert_order(&f, (const uint64_t[]){ 11 }, 1);
    assert_int_equal(f.tries, 4);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EUNAVAILABLE);
    assert_outcome(&r, 1, WEIR_ACKED, WEIR_OK);
    rig_end(&r);
    rig_done(&r);
}

static void the_end_waits_for_what_waits(void **unused)
{
    (void)unused;
    flaky f = { .fails_left = 1 };
    rig r = rig_flaky(&f);
    feed_keyed(&r, 10, 7);
    feed_keyed(&r, 11, 7);
    rig_end(&r);
    assert_false(weir_pipeline_is_finished(r.pipeline));
    assert_true(weir_testkit_advance(r.kit, 10 * WEIR_MS));
    assert_order(&f, (const uint64_t[]){ 10, 11 }, 2);
    rig_done(&r);
}

static void an_abort_ends_what_waits_and_what_stands_behind(void **unused)
{
    (void)unused;
    flaky f = { .fails_left = 1 };
    rig r = rig_flaky(&f);
    feed_keyed(&r, 10, 7);
    feed_keyed(&r, 11, 7);
    rig_abort(&r);
    assert_ended(&r, WEIR_ABORTED, 2);
    rig_done(&r);
}

/* ---- The budget ---- */

static weir_status fail_all(weir_item *item, void *user)
{
    (void)item;
    ++*(uint64_t *)user;
    return WEIR_EUNAVAILABLE;
}

static rig rig_budget(uint64_t *tries, uint32_t loops, const weir_error_policy *policy)
{
    rig r = rig_new(loops);
    weir_from(r.pipeline, weir_probe_source(r.from));
    r.node = weir_into(r.pipeline, weir_for_each(fail_all, tries));
    weir_node_policy(r.node, policy);
    rig_start(&r);
    return r;
}

static const weir_error_policy half = { .on_error = WEIR_ON_ERROR_RETRY,
                                        .retries_max = 200,
                                        .backoff_ms = 1,
                                        .backoff_ms_max = 1,
                                        .waiting_max = 1000,
                                        .then = WEIR_ON_ERROR_SKIP,
                                        .budget_percent = 50,
                                        .budget_per_second = 2,
                                        .budget_ms = 10000 };

static void retries_never_exceed_the_share_of_the_items_and_the_floor(void **unused)
{
    (void)unused;
    uint64_t tries = 0;
    rig r = rig_budget(&tries, 1, &half);
    rig_feed(&r, 0, 200);
    assert_true(weir_testkit_advance_by(r.kit, 9 * WEIR_SEC, WEIR_MS));
    assert_int_equal(tries, 200 + 100 + 20);
    assert_ended(&r, WEIR_FAILED, 200);
    assert_true(weir_testkit_advance(r.kit, 20 * WEIR_SEC)); /* all of it is forgotten */
    rig_feed(&r, 0, 1);
    assert_true(weir_testkit_advance_by(r.kit, 5 * WEIR_SEC, WEIR_MS));
    assert_int_equal(tries, 320 + 1 + 20);
    rig_end(&r);
    rig_done(&r);
}

static void the_budget_is_one_for_all_loops(void **unused)
{
    (void)unused;
    uint64_t tries = 0;
    rig r = rig_budget(&tries, 4, &half);
    for (uint32_t loop = 0; loop < 4; loop++)
        for (uint64_t i = 0; i < 50; i++)
            weir_probe_feed(weir_probe_replica(r.from, loop), i);
    assert_true(weir_testkit_advance_by(r.kit, 9 * WEIR_SEC, WEIR_MS));
    assert_int_equal(tries, 200 + 100 + 20);
    for (uint32_t loop = 0; loop < 4; loop++)
        weir_probe_end(weir_probe_replica(r.from, loop));
    rig_done(&r);
}

/* A thousand items, then a long time later the first failure: they are of long ago. */
static void items_of_before_the_window_lend_nothing(void **unused)
{
    (void)unused;
    flaky f = { .fails_left = 0 };
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_error_policy policy = half;
    policy.budget_per_second = 1;
    weir_node_policy(weir_into(r.pipeline, weir_for_each(try_it, &f)), &policy);
    rig_start(&r);
    rig_feed(&r, 1000, 60);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_SEC));
    f.fails_left = 1000;
    f.n = 0;
    f.tries = 0;
    rig_feed(&r, 10, 1);
    assert_true(weir_testkit_advance_by(r.kit, 9 * WEIR_SEC, WEIR_MS));
    assert_int_equal(f.tries, 1 + 10 + 3); /* sixty in a hundred seconds are six in ten, halved */
    rig_end(&r);
    rig_done(&r);
}

/* The slots become six times as long, so that their numbers begin again far below. */
static void a_budget_over_another_time_forgets_as_every_other(void **unused)
{
    (void)unused;
    uint64_t tries = 0;
    weir_error_policy policy = half;
    rig r = rig_budget(&tries, 1, &policy);
    policy.budget_ms = 60000;
    rig_feed(&r, 0, 1);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_SEC));
    assert_int_equal(weir_pipeline_set_policy(r.pipeline, "for_each", &policy, NULL, NULL),
                     WEIR_OK);
    for (int i = 0; i < 2; i++) {
        tries = 0;
        rig_feed(&r, 0, 1);
        assert_true(weir_testkit_advance_by(r.kit, 5 * WEIR_SEC, WEIR_MS));
        assert_int_equal(tries, 1 + 120);
        assert_true(weir_testkit_advance(r.kit, 100 * WEIR_SEC));
    }
    rig_end(&r);
    rig_done(&r);
}

static void without_a_budget_each_item_has_all_its_retries(void **unused)
{
    (void)unused;
    uint64_t tries = 0;
    weir_error_policy policy = half;
    policy.budget_percent = UINT32_MAX;
    policy.retries_max = 9;
    rig r = rig_budget(&tries, 1, &policy);
    rig_feed(&r, 0, 100);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    assert_int_equal(tries, 1000);
    rig_end(&r);
    rig_done(&r);
}

static void a_budget_that_makes_no_sense_is_refused(void **unused)
{
    (void)unused;
    const weir_error_policy bad[] = { { .budget_percent = 1001 },
                                      { .budget_per_second = 1000001 },
                                      { .budget_ms = 999 },
                                      { .budget_ms = 60001 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r = rig_of(weir_take(1));
        weir_node_policy(r.node, &bad[i]);
        assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_items_of_a_key_wait_behind_its_retry_in_order),
        cmocka_unit_test(what_was_retried_enough_fails_and_lets_its_key_go_on),
        cmocka_unit_test(the_end_waits_for_what_waits),
        cmocka_unit_test(an_abort_ends_what_waits_and_what_stands_behind),
        cmocka_unit_test(retries_never_exceed_the_share_of_the_items_and_the_floor),
        cmocka_unit_test(the_budget_is_one_for_all_loops),
        cmocka_unit_test(items_of_before_the_window_lend_nothing),
        cmocka_unit_test(a_budget_over_another_time_forgets_as_every_other),
        cmocka_unit_test(without_a_budget_each_item_has_all_its_retries),
        cmocka_unit_test(a_budget_that_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
