/* gather: several calls for one item, joined. */
#include "stages_rig.h"

enum { CALLS_MAX = 64 };

typedef struct calls {
    weir_call *of[CALLS_MAX];
    size_t n, cancels;
    weir_status cancelled_with;
    bool give_up_at_once;
    weir_status at_once[2]; /* WEIR_EAGAIN: later */
} calls;

static void call_start(weir_call *call, void *user)
{
    calls *c = user;
    *(uint64_t *)call->work = value_of(call->item) * 10 + call->index;
    c->of[c->n++] = call;
    if (call->index < 2 && c->at_once[call->index] != WEIR_EAGAIN)
        weir_call_done(call, c->at_once[call->index], "at once");
}

static void call_cancel(weir_call *call, weir_status status, void *user)
{
    calls *c = user;
    c->cancels++;
    c->cancelled_with = status;
    if (c->give_up_at_once)
        weir_call_done(call, status, "given up");
}

static weir_status add(weir_item *item, void *const *works, void *user)
{
    uint64_t sum = *(uint64_t *)works[0] + *(uint64_t *)works[1];
    if (sum == 61)
        return WEIR_EPROTO;
    *(uint64_t *)weir_item_body(item) = sum;
    (void)user;
    return WEIR_OK;
}

static calls later(void)
{
    return (calls){ .give_up_at_once = true, .at_once = { WEIR_EAGAIN, WEIR_EAGAIN } };
}

static weir_gather_config two(calls *c)
{
    return (weir_gather_config){
        .calls = { { call_start, call_cancel, c }, { call_start, call_cancel, c } }, .join = add
    };
}

static rig rig_two(calls *c)
{
    weir_gather_config config = two(c);
    rig r = rig_with(weir_gather(&config));
    rig_request(&r, 10);
    return r;
}

static void done(rig *r, calls *c, size_t index, weir_status status)
{
    assert_non_null(c->of[index]);
    weir_call_done(c->of[index], status, "it failed");
    assert_true(weir_testkit_settle(r->kit));
}

static void calls_run_at_once_and_are_joined(void **unused)
{
    (void)unused;
    calls c = later();
    rig r = rig_two(&c);
    rig_feed(&r, 1, 1);
    assert_int_equal(c.n, 2);
    done(&r, &c, 1, WEIR_OK);
    assert_received(&r, 0);
    done(&r, &c, 0, WEIR_OK);
    assert_got(&r, 10 + 11);
    rig_finish(&r);
}

static void the_first_error_cancels_the_other_and_is_reported(void **unused)
{
    (void)unused;
    calls c = later();
    rig r = rig_two(&c);
    rig_feed(&r, 1, 1);
    done(&r, &c, 0, WEIR_EIO);
    assert_int_equal(c.cancels, 1);
    assert_int_equal(c.cancelled_with, WEIR_ECANCELED);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EIO);
    rig_finish(&r);
}

static void the_item_waits_for_calls_that_cannot_be_given_up_at_once(void **unused)
{
    (void)unused;
    calls c = later();
    c.give_up_at_once = false;
    rig r = rig_two(&c);
    rig_feed(&r, 1, 1);
    assert_non_null(c.of[1]);
    weir_context *context = c.of[1]->context;
    done(&r, &c, 0, WEIR_EIO);
    assert_int_equal(weir_context_status(context, 0), WEIR_ECANCELED);
    assert_int_equal(weir_probe_live(r.from), 1);
    done(&r, &c, 1, WEIR_EPROTO); /* says something else, too late */
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EIO);
    rig_finish(&r);
}

static void calls_may_end_as_they_start(void **unused)
{
    (void)unused;
    calls c = { .at_once = { WEIR_OK, WEIR_OK } };
    rig r = rig_two(&c);
    rig_feed(&r, 1, 2);
    assert_got(&r, 21, 41);
    c.at_once[0] = WEIR_EIO;
    rig_feed(&r, 5, 1);
    assert_int_equal(c.n, 5); /* the second was not started */
    assert_outcome(&r, 2, WEIR_FAILED, WEIR_EIO);
    c.at_once[0] = WEIR_EAGAIN;
    c.at_once[1] = WEIR_EIO;
    c.give_up_at_once = true;
    rig_feed(&r, 6, 1);
    assert_int_equal(c.cancels, 1);
    assert_outcome(&r, 3, WEIR_FAILED, WEIR_EIO);
    rig_finish(&r);
}

static void results_that_cannot_be_joined_fail_the_item(void **unused)
{
    (void)unused;
    calls c = { .at_once = { WEIR_OK, WEIR_OK } };
    rig r = rig_two(&c);
    rig_feed(&r, 3, 1);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EPROTO);
    rig_finish(&r);
}

static void a_timeout_cancels_all_calls(void **unused)
{
    (void)unused;
    calls c = later();
    weir_gather_config config = two(&c);
    config.timeout_ms = 30;
    rig r = rig_with(weir_gather(&config));
    rig_request(&r, 10);
    rig_feed(&r, 1, 1);
    assert_true(weir_testkit_advance(r.kit, 30 * WEIR_MS));
    assert_int_equal(c.cancels, 2);
    assert_int_equal(c.cancelled_with, WEIR_EDEADLINE);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EDEADLINE);
    rig_finish(&r);
}

static void the_items_context_reaches_the_calls(void **unused)
{
    (void)unused;
    calls c = later();
    rig r = rig_two(&c);
    weir_context context;
    weir_context_init(&context, weir_testkit_loop(r.kit, 0), NULL, 5 * WEIR_SEC);
    (void)weir_probe_feed_item(r.from, &(weir_probe_item){ .value = 1, .context = &context });
    assert_true(weir_testkit_settle(r.kit));
    assert_non_null(c.of[0]);
    assert_int_equal(c.of[0]->context->deadline_ns, 5 * WEIR_SEC);
    weir_context_cancel(&context, WEIR_ECANCELED);
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(c.cancels, 2);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ECANCELED);
    weir_context_done(&context);
    rig_finish(&r);
}

static void an_abort_cancels_the_calls(void **unused)
{
    (void)unused;
    calls c = later();
    rig r = rig_two(&c);
    rig_feed(&r, 1, 3);
    rig_abort(&r);
    assert_int_equal(c.cancels, 6);
    rig_done(&r);
}

static void the_order_is_that_of_arrival_unless_told_otherwise(void **unused)
{
    (void)unused;
    for (int unordered = 0; unordered < 2; unordered++) {
        calls c = later();
        weir_gather_config config = two(&c);
        config.unordered = unordered;
        rig r = rig_with(weir_gather(&config));
        rig_request(&r, 10);
        rig_feed(&r, 1, 2);
        done(&r, &c, 2, WEIR_OK);
        done(&r, &c, 3, WEIR_OK);
        assert_received(&r, (uint64_t)unordered);
        done(&r, &c, 0, WEIR_OK);
        done(&r, &c, 1, WEIR_OK);
        assert_received(&r, 2);
        rig_finish(&r);
    }
}

static void a_call_may_be_ended_from_elsewhere(void **unused)
{
    (void)unused;
    calls c = later();
    rig r = rig_two(&c);
    rig_feed(&r, 1, 1);
    assert_non_null(c.of[1]);
    weir_call_done_from(c.of[0], WEIR_OK, NULL);
    weir_call_done_from(c.of[1], WEIR_EIO, "from elsewhere");
    assert_received(&r, 0);
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EIO);
    rig_finish(&r);
}

static void nothing_is_allocated_per_item(void **unused)
{
    (void)unused;
    calls c = { .at_once = { WEIR_OK, WEIR_OK } };
    rig r = rig_two(&c);
    rig_request(&r, WEIR_UNBOUNDED);
    uint64_t before = 0;
    for (uint64_t i = 0; i < 200; i++) {
        c.n = 0;
        rig_feed(&r, 10 + i, 1);
        if (i == 100)
            before = weir_testkit_allocations(r.kit);
    }
    assert_int_equal(weir_testkit_allocations(r.kit), before);
    rig_finish(&r);
}

static void gather_needs_calls_without_gaps(void **unused)
{
    (void)unused;
    const weir_gather_config wrong[] = {
        { 0 }, { .calls = { { call_start, NULL, NULL }, { 0 }, { call_start, NULL, NULL } } }
    };
    for (size_t i = 0; i < 2; i++) {
        rig r = rig_of(weir_gather(&wrong[i]));
        assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_run_at_once_and_are_joined),
        cmocka_unit_test(the_first_error_cancels_the_other_and_is_reported),
        cmocka_unit_test(the_item_waits_for_calls_that_cannot_be_given_up_at_once),
        cmocka_unit_test(calls_may_end_as_they_start),
        cmocka_unit_test(results_that_cannot_be_joined_fail_the_item),
        cmocka_unit_test(a_timeout_cancels_all_calls),
        cmocka_unit_test(the_items_context_reaches_the_calls),
        cmocka_unit_test(an_abort_cancels_the_calls),
        cmocka_unit_test(the_order_is_that_of_arrival_unless_told_otherwise),
        cmocka_unit_test(a_call_may_be_ended_from_elsewhere),
        cmocka_unit_test(nothing_is_allocated_per_item),
        cmocka_unit_test(gather_needs_calls_without_gaps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
