/* timeout: a deadline for what has passed, and for what is to come. */
#include "stages_rig.h"

#include <weir/async.h>

/* Work that never ends by itself; it looks at nothing but its cancel. */
static void never_start(weir_op *op, void *state)
{
    (void)op;
    (void)state;
}

static void never_cancel(weir_op *op, weir_status status, void *state)
{
    (void)state;
    weir_op_done(op, status, "given up");
}

static const weir_async_type never_type = { .name = "never",
                                            .start = never_start,
                                            .cancel = never_cancel };

static rig rig_never(const weir_timeout_config *config)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_timeout(config));
    r.node = weir_into(r.pipeline, weir_async_of(&never_type, NULL, NULL));
    rig_start(&r);
    return r;
}

static void advance(rig *r, uint64_t ms)
{
    assert_true(weir_testkit_advance(r->kit, ms * WEIR_MS));
}

static void what_has_not_ended_by_its_deadline_is_given_up_and_fails(void **unused)
{
    (void)unused;
    rig r = rig_never(&(weir_timeout_config){ .timeout_ms = 100 });
    rig_feed(&r, 0, 1);
    advance(&r, 50);
    rig_feed(&r, 1, 1);
    advance(&r, 49);
    assert_int_equal(weir_probe_live(r.from), 2);
    advance(&r, 1);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EDEADLINE);
    assert_int_equal(weir_probe_live(r.from), 1);
    advance(&r, 50);
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_EDEADLINE);
    rig_end(&r);
    rig_done(&r);
}

static void what_ends_in_time_ends_as_it_does(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_timeout(&(weir_timeout_config){ .timeout_ms = 100 }));
    rig_request(&r, WEIR_UNBOUNDED);
    for (uint64_t i = 0; i < 1000; i++)
        rig_feed(&r, i, 1);
    assert_ended(&r, WEIR_ACKED, 1000);
    advance(&r, 1000);
    rig_finish(&r);
}

static void what_is_late_fails_at_the_next_door(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_timeout(&(weir_timeout_config){ .timeout_ms = 100 }));
    rig_request(&r, 1);
    weir_probe_keep(r.to, true);
    rig_feed(&r, 0, 1);
    weir_item *item = weir_probe_take(r.to);
    assert_int_equal(weir_context_status(item->context, weir_testkit_now(r.kit)), WEIR_OK);
    assert_int_equal(weir_context_left(item->context, weir_testkit_now(r.kit)), 100 * WEIR_MS);
    advance(&r, 100);
    assert_int_equal(weir_context_status(item->context, weir_testkit_now(r.kit)), WEIR_EDEADLINE);
    weir_item_ack(item); /* who looks at no context may still do it */
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    rig_finish(&r);
}

static void no_more_are_under_way_than_in_flight(void **unused)
{
    (void)unused;
    rig r = rig_never(&(weir_timeout_config){ .timeout_ms = 100, .in_flight = 3 });
    assert_demand(&r, 3);
    rig_feed(&r, 0, 10);
    assert_int_equal(weir_probe_emitted(r.from), 3);
    advance(&r, 100);
    assert_int_equal(weir_probe_emitted(r.from), 6);
    rig_abort_and_done(&r);
}

static void a_cancel_from_above_reaches_below_and_its_values_are_seen(void **unused)
{
    (void)unused;
    rig r = rig_never(&(weir_timeout_config){ .timeout_ms = 1000 });
    weir_context above;
    weir_context_init(&above, weir_testkit_loop(r.kit, 0), NULL, 0);
    weir_probe_feed_item(r.from, &(weir_probe_item){ .value = 1, .context = &above });
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(weir_probe_live(r.from), 1);
    weir_context_cancel(&above, WEIR_ECANCELED);
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ECANCELED);
    weir_context_done(&above); /* nothing is left on it */
    rig_end(&r);
    rig_done(&r);
}

/* The context is loop 0's, the stage on loop 1. */
static void a_cancel_from_above_reaches_across_loops(void **unused)
{
    (void)unused;
    int values = 0;
    rig r = rig_new(2);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_node *timeout = weir_via(r.pipeline,
                                  weir_timeout(&(weir_timeout_config){ .timeout_ms = 1000 }));
    weir_node_place(timeout, 1);
    weir_node_place(weir_into(r.pipeline, weir_probe_sink(r.to)), 1);
    rig_start(&r);
    weir_probe_keep(r.to, true);
    rig_request(&r, WEIR_UNBOUNDED);
    weir_context above;
    weir_context_init(&above, weir_testkit_loop(r.kit, 0), NULL,
                      weir_testkit_now(r.kit) + 500 * WEIR_MS);
    above.values = &values;
    for (int round = 0; round < 3; round++) {
        weir_probe_feed_item(r.from, &(weir_probe_item){ .value = 1, .context = &above });
        assert_true(weir_testkit_settle(r.kit));
        weir_item *item = weir_probe_take(r.to);
        assert_non_null(item);
        assert_ptr_equal(item->context->values, &values);
        assert_int_equal(item->context->deadline_ns, above.deadline_ns);
        if (round == 2) {
            weir_context_cancel(&above, WEIR_ECLOSED);
            assert_true(weir_testkit_settle(r.kit));
            assert_int_equal(weir_context_status(item->context, 0), WEIR_ECLOSED);
        }
        weir_item_ack(item);
        assert_true(weir_testkit_settle(r.kit));
    }
    weir_context_done(&above);
    rig_finish(&r);
}

static void an_inner_timeout_is_within_the_outer_one(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_timeout(&(weir_timeout_config){ .timeout_ms = 100 }));
    weir_via(r.pipeline, weir_timeout(&(weir_timeout_config){ .timeout_ms = 300 }));
    weir_into(r.pipeline, weir_async_of(&never_type, NULL, NULL));
    rig_start(&r);
    rig_feed(&r, 0, 3);
    advance(&r, 100);
    assert_ended(&r, WEIR_FAILED, 3);
    rig_end(&r);
    rig_done(&r);
}

static weir_status count_kept(const weir_item *item, const weir_failure *failure, void *user)
{
    (void)item;
    assert_int_equal(failure->status, WEIR_EDEADLINE);
    ++*(uint64_t *)user;
    return WEIR_OK;
}

static void what_timed_out_goes_the_way_of_dead_letters_although_its_context_is_over(void **unused)
{
    (void)unused;
    uint64_t kept = 0;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_timeout(&(weir_timeout_config){ .timeout_ms = 100 }));
    weir_node *never = weir_into(r.pipeline, weir_async_of(&never_type, NULL, NULL));
    weir_node_dead_letter(never, weir_add(r.pipeline, weir_dead_letter(count_kept, &kept)), 0);
    rig_start(&r);
    rig_feed(&r, 0, 3);
    advance(&r, 100);
    assert_int_equal(kept, 3);
    assert_ended(&r, WEIR_DEAD_LETTERED, 3);
    rig_end(&r);
    rig_done(&r);
}

static void an_abort_and_a_cancel_leave_nothing(void **unused)
{
    (void)unused;
    rig r = rig_never(&(weir_timeout_config){ .timeout_ms = 100 });
    rig_feed(&r, 0, 3);
    rig_abort_and_done(&r);
    r = rig_with(weir_timeout(&(weir_timeout_config){ .timeout_ms = 100 }));
    rig_request(&r, 1);
    weir_probe_keep(r.to, true);
    rig_feed(&r, 0, 3);
    rig_cancel(&r);
    weir_item_ack(weir_probe_take(r.to));
    rig_done(&r);
}

/* ---- Idle ---- */

static void too_long_without_an_item_stops_the_pipeline(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_timeout(&(weir_timeout_config){ .idle_ms = 100 }));
    rig_request(&r, WEIR_UNBOUNDED);
    for (uint64_t i = 0; i < 20; i++) {
        advance(&r, 99);
        rig_feed(&r, i, 1);
    }
    assert_received(&r, 20);
    advance(&r, 99);
    assert_false(weir_pipeline_is_finished(r.pipeline));
    advance(&r, 1);
    assert_int_equal(weir_pipeline_status(r.pipeline), WEIR_EDEADLINE);
    rig_done(&r);
}

static void or_ends_it(void **unused)
{
    (void)unused;
    weir_status status = WEIR_EINTERNAL;
    rig r = rig_with(weir_timeout(&(weir_timeout_config){ .idle_ms = 100, .idle_ends = true }));
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 1);
    advance(&r, 100);
    assert_true(weir_probe_is_cancelled(r.from));
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_OK);
    rig_done(&r);
}

static void without_demand_nobody_is_late(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_timeout(&(weir_timeout_config){ .idle_ms = 100 }));
    advance(&r, 1000);
    rig_request(&r, 1);
    advance(&r, 99);
    rig_feed(&r, 1, 1);
    advance(&r, 1000); /* it has what it asked for */
    rig_request(&r, 1);
    advance(&r, 99);
    assert_false(weir_pipeline_is_finished(r.pipeline));
    advance(&r, 1);
    assert_int_equal(weir_pipeline_status(r.pipeline), WEIR_EDEADLINE);
    rig_done(&r);
}

static void what_ends_below_is_no_item_that_comes(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_timeout(&(weir_timeout_config){ .idle_ms = 100, .timeout_ms = 10000 }));
    weir_probe_keep(r.to, true);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 2);
    advance(&r, 60);
    weir_item_ack(weir_probe_take(r.to));
    advance(&r, 39);
    assert_false(weir_pipeline_is_ending(r.pipeline));
    advance(&r, 1);
    assert_int_equal(weir_pipeline_status(r.pipeline), WEIR_EDEADLINE);
    rig_done(&r);
}

static void when_all_places_are_taken_nobody_is_late(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_timeout(
        &(weir_timeout_config){ .idle_ms = 100, .timeout_ms = 10000, .in_flight = 2 }));
    weir_probe_keep(r.to, true);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 2);
    advance(&r, 500);
    weir_item_ack(weir_probe_take(r.to)); /* now it can ask again */
    advance(&r, 99);
    assert_false(weir_pipeline_is_ending(r.pipeline));
    advance(&r, 1);
    assert_int_equal(weir_pipeline_status(r.pipeline), WEIR_EDEADLINE);
    rig_done(&r);
}

static void a_bad_config_is_found_while_building(void **unused)
{
    (void)unused;
    const weir_timeout_config bad[] = { { .timeout_ms = 0 },
                                        { .timeout_ms = 86400001 },
                                        { .idle_ms = 86400001 },
                                        { .timeout_ms = 1, .in_flight = 65537 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r = rig_of(weir_timeout(&bad[i]));
        assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_not_ended_by_its_deadline_is_given_up_and_fails),
        cmocka_unit_test(what_ends_in_time_ends_as_it_does),
        cmocka_unit_test(what_is_late_fails_at_the_next_door),
        cmocka_unit_test(no_more_are_under_way_than_in_flight),
        cmocka_unit_test(a_cancel_from_above_reaches_below_and_its_values_are_seen),
        cmocka_unit_test(a_cancel_from_above_reaches_across_loops),
        cmocka_unit_test(an_inner_timeout_is_within_the_outer_one),
        cmocka_unit_test(what_timed_out_goes_the_way_of_dead_letters_although_its_context_is_over),
        cmocka_unit_test(an_abort_and_a_cancel_leave_nothing),
        cmocka_unit_test(too_long_without_an_item_stops_the_pipeline),
        cmocka_unit_test(or_ends_it),
        cmocka_unit_test(without_demand_nobody_is_late),
        cmocka_unit_test(what_ends_below_is_no_item_that_comes),
        cmocka_unit_test(when_all_places_are_taken_nobody_is_late),
        cmocka_unit_test(a_bad_config_is_found_while_building),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
