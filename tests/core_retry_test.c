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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_items_of_a_key_wait_behind_its_retry_in_order),
        cmocka_unit_test(what_was_retried_enough_fails_and_lets_its_key_go_on),
        cmocka_unit_test(the_end_waits_for_what_waits),
        cmocka_unit_test(an_abort_ends_what_waits_and_what_stands_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
