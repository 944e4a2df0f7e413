/* broadcast that cuts slow legs off, tap and route. */
#include "fan_rig.h"

/* ---- broadcast, WEIR_SLOW_LEG_CANCELLED ---- */

static fan lagging(uint32_t items, uint32_t ms)
{
    return fan_out(weir_broadcast_with(&(weir_broadcast_config){
        .slow_leg = WEIR_SLOW_LEG_CANCELLED, .lag_items = items, .lag_ms = ms }));
}

static void a_slow_leg_gets_all_until_it_lags_too_far(void **unused)
{
    (void)unused;
    fan f = lagging(4, 0);
    weir_status status = WEIR_OK;
    leg_request(&f, 0, 100);
    leg_request(&f, 1, 2);
    leg_request(&f, 2, 100);
    rig_feed(&f.r, 1, 6); /* leg 1: two taken, four wait */
    assert_int_equal(weir_probe_received(f.legs[0]), 6);
    assert_int_equal(weir_probe_received(f.legs[1]), 2);
    assert_int_equal(weir_probe_live(f.r.from), 4);
    leg_request(&f, 1, 1);
    rig_feed(&f.r, 7, 1);
    assert_int_equal(weir_probe_received(f.legs[1]), 3);
    assert_false(weir_probe_is_over(f.legs[1], NULL));
    rig_feed(&f.r, 8, 1);
    assert_true(weir_probe_is_over(f.legs[1], &status));
    assert_int_equal(status, WEIR_EOVERLOAD);
    assert_ended(&f.r, WEIR_ABORTED, 4);
    assert_outcome(&f.r, 7, WEIR_ACKED, WEIR_OK); /* it never was the slow leg's */
    rig_feed(&f.r, 9, 3);
    assert_int_equal(weir_probe_received(f.legs[2]), 11);
    fan_out_finish(&f);
}

static void a_leg_that_takes_nothing_for_too_long_is_cut(void **unused)
{
    (void)unused;
    fan f = lagging(100, 20);
    leg_request(&f, 0, 100);
    leg_request(&f, 1, 1);
    rig_feed(&f.r, 1, 3);
    assert_true(weir_testkit_advance(f.r.kit, 15 * WEIR_MS));
    leg_request(&f, 1, 1); /* progress */
    assert_true(weir_testkit_advance(f.r.kit, 19 * WEIR_MS));
    assert_false(weir_probe_is_over(f.legs[1], NULL));
    assert_true(weir_probe_is_over(f.legs[2], NULL));
    assert_true(weir_testkit_advance(f.r.kit, 1 * WEIR_MS));
    assert_true(weir_probe_is_over(f.legs[1], NULL));
    fan_out_finish(&f);
}

static void the_last_leg_is_never_cut(void **unused)
{
    (void)unused;
    fan f = lagging(4, 20);
    leg_request(&f, 0, 4);
    leg_cancel(&f, 1);
    leg_cancel(&f, 2);
    leg_cancel(&f, 0);
    fan_done(&f);
    f = lagging(4, 20);
    leg_request(&f, 0, 4);
    leg_request(&f, 1, 1);
    leg_cancel(&f, 2);
    rig_feed(&f.r, 1, 3); /* leg 1: two wait */
    leg_cancel(&f, 0);
    rig_feed(&f.r, 4, 9); /* one more was asked for */
    assert_true(weir_testkit_advance(f.r.kit, WEIR_SEC));
    assert_false(weir_probe_is_over(f.legs[1], NULL));
    leg_request(&f, 1, 3);
    assert_int_equal(weir_probe_received(f.legs[1]), 4);
    fan_out_finish(&f);
}

/* Items of 60 bytes into windows of 100: of what is asked for by credit alone most would wait. */
static void legs_that_wait_for_bytes_do_not_lag(void **unused)
{
    (void)unused;
    fan f = { .r = rig_new(1) };
    weir_node *from = weir_from(f.r.pipeline, weir_probe_source(f.r.from));
    f.node = weir_add(f.r.pipeline, weir_broadcast_with(&(weir_broadcast_config){
                                        .slow_leg = WEIR_SLOW_LEG_CANCELLED, .lag_items = 4 }));
    weir_link(from, 0, f.node, 0, NULL);
    for (uint32_t i = 0; i < LEGS; i++) {
        f.legs[i] = weir_testkit_probe(f.r.kit);
        weir_link(f.node, i, weir_add(f.r.pipeline, weir_probe_sink(f.legs[i])), 0,
                  &(weir_edge_config){ .window_bytes = 100 });
    }
    rig_start(&f.r);
    for (uint32_t i = 0; i < LEGS; i++)
        leg_request(&f, i, 100);
    for (uint64_t i = 0; i < 40; i++)
        assert_true(weir_probe_feed_item(f.r.from, &(weir_probe_item){ .value = i, .cost = 60 }));
    assert_true(weir_testkit_settle(f.r.kit));
    for (uint32_t i = 0; i < LEGS; i++)
        assert_int_equal(weir_probe_received(f.legs[i]), 40);
    fan_out_finish(&f);
}

static void what_waits_for_legs_is_ended_by_an_abort(void **unused)
{
    (void)unused;
    fan f = lagging(0, 0);
    leg_request(&f, 0, 10);
    rig_feed(&f.r, 1, 10);
    assert_int_equal(weir_probe_live(f.r.from), 10);
    fan_abort_and_done(&f);
}

static void legs_end_when_what_waits_for_them_is_through(void **unused)
{
    (void)unused;
    fan f = lagging(0, 0);
    leg_request(&f, 0, 3);
    rig_feed(&f.r, 1, 3);
    rig_end(&f.r);
    assert_true(weir_probe_is_over(f.legs[0], NULL));
    assert_false(weir_probe_is_over(f.legs[1], NULL));
    fan_out_finish(&f);
}

static void a_lag_beyond_the_limit_is_refused(void **unused)
{
    (void)unused;
    fan f = fan_out_of(weir_broadcast_with(
        &(weir_broadcast_config){ .slow_leg = WEIR_SLOW_LEG_CANCELLED, .lag_items = 65537 }));
    assert_int_equal(weir_pipeline_check(f.r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(f.r.pipeline);
    assert_int_equal(weir_testkit_free(f.r.kit), 0);
}

/* ---- tap ---- */

typedef struct tap {
    rig r; /* r.to: the main output */
    weir_probe *side;
    uint64_t missed;
} tap;

static void tap_start(tap *t)
{
    t->r = rig_new(1);
    t->side = weir_testkit_probe(t->r.kit);
    weir_from(t->r.pipeline, weir_probe_source(t->r.from));
    weir_node *node = weir_via(t->r.pipeline, weir_tap(&(weir_tap_config){ .missed = &t->missed }));
    weir_into(t->r.pipeline, weir_probe_sink(t->r.to));
    weir_link(node, 1, weir_add(t->r.pipeline, weir_probe_sink(t->side)), 0, NULL);
    rig_start(&t->r);
}

static void tap_request(tap *t, uint64_t n)
{
    weir_probe_request(t->side, n);
    assert_true(weir_testkit_settle(t->r.kit));
}

static void the_side_misses_what_it_has_no_credit_for(void **unused)
{
    (void)unused;
    tap t = { .missed = 0 };
    tap_start(&t);
    rig_request(&t.r, 10);
    tap_request(&t, 3);
    rig_feed(&t.r, 1, 10);
    assert_received(&t.r, 10);
    assert_int_equal(weir_probe_received(t.side), 3);
    assert_int_equal(t.missed, 7);
    assert_ended(&t.r, WEIR_ACKED, 10);
    assert_int_equal(weir_probe_violations(t.side), 0);
    rig_finish(&t.r);
}

static void the_side_asks_for_nothing(void **unused)
{
    (void)unused;
    tap t = { .missed = 0 };
    tap_start(&t);
    tap_request(&t, 10);
    assert_demand(&t.r, 0);
    rig_request(&t.r, 2);
    assert_demand(&t.r, 2);
    rig_finish(&t.r);
}

static void a_cancelled_side_leaves_the_main_output_alone(void **unused)
{
    (void)unused;
    tap t = { .missed = 0 };
    tap_start(&t);
    weir_probe_cancel(t.side);
    rig_request(&t.r, 5);
    rig_feed(&t.r, 1, 5);
    assert_received(&t.r, 5);
    assert_int_equal(t.missed, 0);
    rig_finish(&t.r);
}

static void a_cancelled_main_output_ends_the_side(void **unused)
{
    (void)unused;
    tap t = { .missed = 0 };
    tap_start(&t);
    rig_cancel(&t.r);
    assert_true(weir_probe_is_over(t.side, NULL));
    assert_true(weir_probe_is_cancelled(t.r.from));
    rig_done(&t.r);
}

static void the_source_hears_of_an_item_after_the_side_has_ended_it(void **unused)
{
    (void)unused;
    tap t = { .missed = 0 };
    tap_start(&t);
    weir_probe_keep(t.side, true);
    rig_request(&t.r, 1);
    tap_request(&t, 1);
    rig_feed(&t.r, 1, 1);
    assert_int_equal(weir_probe_live(t.r.from), 1);
    weir_item_ack(weir_probe_take(t.side));
    assert_true(weir_testkit_settle(t.r.kit));
    assert_outcome(&t.r, 0, WEIR_ACKED, WEIR_OK);
    rig_finish(&t.r);
}

/* ---- route ---- */

/* 0, 1, 2: that output; 3: none; 4: one that is not there. */
static uint32_t by_last_digit(const weir_item *item, void *user)
{
    (void)user;
    uint64_t digit = value_of(item) % 10;
    return digit == 3 ? WEIR_ROUTE_NONE : (uint32_t)digit;
}

static weir_stage_spec *route(weir_slow_leg slow)
{
    return weir_route(&(weir_route_config){ .output = by_last_digit, .slow_leg = slow });
}

static void each_item_goes_where_the_function_says(void **unused)
{
    (void)unused;
    fan f = fan_out(route(WEIR_SLOW_LEG_HOLDS));
    for (uint32_t i = 0; i < LEGS; i++)
        leg_request(&f, i, 20);
    rig_feed(&f.r, 10, 5);
    for (uint32_t i = 0; i < LEGS; i++) {
        assert_int_equal(weir_probe_received(f.legs[i]), 1);
        assert_int_equal(weir_probe_value(f.legs[i], 0), 10 + i);
    }
    assert_outcome(&f.r, 3, WEIR_FILTERED, WEIR_OK);
    assert_outcome(&f.r, 4, WEIR_FAILED, WEIR_EINVAL);
    assert_demand(&f.r, 19);
    fan_out_finish(&f);
}

static void a_slow_output_holds_up_all(void **unused)
{
    (void)unused;
    fan f = fan_out(route(WEIR_SLOW_LEG_HOLDS));
    leg_request(&f, 0, 20);
    leg_request(&f, 1, 1);
    leg_request(&f, 2, 20);
    rig_feed(&f.r, 11, 1);
    assert_demand(&f.r, 0);
    fan_out_finish(&f);
}

static void or_its_items_are_rejected(void **unused)
{
    (void)unused;
    fan f = fan_out(route(WEIR_SLOW_LEG_MISSES));
    leg_request(&f, 0, 20);
    leg_request(&f, 1, 1);
    rig_feed(&f.r, 11, 1);
    rig_feed(&f.r, 11, 1);
    rig_feed(&f.r, 10, 1);
    assert_outcome(&f.r, 0, WEIR_ACKED, WEIR_OK);
    assert_outcome(&f.r, 1, WEIR_REJECTED, WEIR_EOVERLOAD);
    assert_outcome(&f.r, 2, WEIR_ACKED, WEIR_OK);
    fan_out_finish(&f);
}

static void items_for_a_cancelled_output_are_aborted(void **unused)
{
    (void)unused;
    fan f = fan_out(route(WEIR_SLOW_LEG_HOLDS));
    for (uint32_t i = 0; i < LEGS; i++)
        leg_request(&f, i, 20);
    leg_cancel(&f, 1);
    rig_feed(&f.r, 10, 3);
    assert_ended(&f.r, WEIR_ABORTED, 1);
    assert_ended(&f.r, WEIR_ACKED, 2);
    leg_cancel(&f, 0);
    leg_cancel(&f, 2);
    assert_true(weir_probe_is_cancelled(f.r.from));
    fan_done(&f);
}

/* Three of 60 bytes are asked for at once; the window of the output takes two at most. */
static fan route_with_bytes(void)
{
    fan f = { .r = rig_new(1) };
    weir_node *from = weir_add(f.r.pipeline, weir_probe_source(f.r.from));
    f.node = weir_add(f.r.pipeline, route(WEIR_SLOW_LEG_HOLDS));
    weir_link(from, 0, f.node, 0, NULL);
    for (uint32_t i = 0; i < LEGS; i++) {
        f.legs[i] = weir_testkit_probe(f.r.kit);
        weir_link(f.node, i, weir_add(f.r.pipeline, weir_probe_sink(f.legs[i])), 0,
                  &(weir_edge_config){ .window_bytes = 100 });
    }
    rig_start(&f.r);
    for (uint32_t i = 0; i < LEGS; i++)
        weir_probe_request(f.legs[i], 10);
    for (uint64_t i = 0; i < 9; i++)
        (void)weir_probe_feed_item(f.r.from, &(weir_probe_item){ .value = i % 3, .cost = 60 });
    return f;
}

static void route_keeps_to_windows_of_bytes(void **unused)
{
    (void)unused;
    fan f = route_with_bytes();
    assert_true(weir_testkit_settle(f.r.kit));
    for (uint32_t i = 0; i < LEGS; i++)
        assert_int_equal(weir_probe_received(f.legs[i]), 3);
    fan_out_finish(&f);
    f = route_with_bytes();
    (void)weir_loop_turn(weir_testkit_loop(f.r.kit, 0));
    fan_abort_and_done(&f);
}

static void a_route_without_a_function_is_refused(void **unused)
{
    (void)unused;
    const weir_route_config wrong[] = { { 0 }, { .output = by_last_digit, .slow_leg = 9 } };
    for (size_t i = 0; i < 2; i++) {
        fan f = fan_out_of(weir_route(&wrong[i]));
        assert_int_equal(weir_pipeline_check(f.r.pipeline), WEIR_EINVAL);
        weir_pipeline_free(f.r.pipeline);
        assert_int_equal(weir_testkit_free(f.r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_leg_gets_all_until_it_lags_too_far),
        cmocka_unit_test(a_leg_that_takes_nothing_for_too_long_is_cut),
        cmocka_unit_test(the_last_leg_is_never_cut),
        cmocka_unit_test(legs_that_wait_for_bytes_do_not_lag),
        cmocka_unit_test(what_waits_for_legs_is_ended_by_an_abort),
        cmocka_unit_test(legs_end_when_what_waits_for_them_is_through),
        cmocka_unit_test(a_lag_beyond_the_limit_is_refused),
        cmocka_unit_test(the_side_misses_what_it_has_no_credit_for),
        cmocka_unit_test(the_side_asks_for_nothing),
        cmocka_unit_test(a_cancelled_side_leaves_the_main_output_alone),
        cmocka_unit_test(a_cancelled_main_output_ends_the_side),
        cmocka_unit_test(the_source_hears_of_an_item_after_the_side_has_ended_it),
        cmocka_unit_test(each_item_goes_where_the_function_says),
        cmocka_unit_test(a_slow_output_holds_up_all),
        cmocka_unit_test(or_its_items_are_rejected),
        cmocka_unit_test(items_for_a_cancelled_output_are_aborted),
        cmocka_unit_test(route_keeps_to_windows_of_bytes),
        cmocka_unit_test(a_route_without_a_function_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
