/* generate, range, tick and expand. */
#include "stages_failing.h"

/* ---- generate and range ---- */

/* Up to the number that `user` points at, of 8 bytes each; then the end, or at 13 an error. */
static weir_status count_to(weir_loop *loop, uint64_t index, void *user, weir_item **ret_made)
{
    if (index == 13)
        return WEIR_EPROTO;
    if (user != NULL && index == *(const uint64_t *)user)
        return WEIR_OK;
    weir_item *made = weir_item_new(loop, NULL, sizeof index);
    if (made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(made) = index;
    *ret_made = made;
    return WEIR_OK;
}

/* A source, and the probe behind it. */
static rig rig_from(weir_stage_spec *source, const weir_edge_config *edge)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, source);
    weir_node *sink = weir_into(r.pipeline, weir_probe_sink(r.to));
    if (edge != NULL)
        weir_node_window(sink, edge);
    rig_start(&r);
    return r;
}

static void generate_makes_as_many_as_are_asked_for(void **unused)
{
    (void)unused;
    rig r = rig_from(weir_generate(count_to, NULL), NULL);
    assert_received(&r, 0);
    rig_request(&r, 2);
    assert_got(&r, 0, 1);
    rig_request(&r, 1);
    assert_got(&r, 0, 1, 2);
    rig_cancel(&r);
    rig_done(&r);
}

static void generate_ends_when_there_is_no_more(void **unused)
{
    (void)unused;
    uint64_t most = 3;
    rig r = rig_from(weir_generate(count_to, &most), NULL);
    rig_request(&r, 10);
    assert_got(&r, 0, 1, 2);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void an_error_of_generate_follows_what_was_made(void **unused)
{
    (void)unused;
    weir_status status = WEIR_OK;
    rig r = rig_from(weir_generate(count_to, NULL), NULL);
    rig_request(&r, 100);
    assert_received(&r, 13);
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EPROTO);
    rig_done(&r);
}

static void a_drain_ends_generate(void **unused)
{
    (void)unused;
    rig r = rig_from(weir_generate(count_to, NULL), NULL);
    rig_request(&r, 2);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    assert_true(weir_testkit_settle(r.kit));
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void generate_waits_for_room_in_a_window_of_bytes(void **unused)
{
    (void)unused;
    const weir_edge_config bytes = { .window_bytes = 20 };
    for (int how = 0; how < 4; how++) {
        uint64_t most = 12;
        rig r = rig_new(1);
        weir_from(r.pipeline, weir_generate(count_to, &most));
        weir_via(r.pipeline, weir_buffer(&(weir_buffer_config){ .items_max = 3 }));
        weir_node_window(weir_into(r.pipeline, weir_probe_sink(r.to)), &bytes);
        rig_start(&r);
        rig_request(&r, 3);
        assert_got(&r, 0, 1, 2);
        if (how == 0)
            rig_abort(&r);
        else if (how == 1)
            rig_cancel(&r);
        else if (how == 2)
            weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
        rig_request(&r, 100);
        if (how == 3)
            assert_received(&r, 12);
        rig_done(&r);
    }
}

static void range_counts_from_its_first(void **unused)
{
    (void)unused;
    rig r = rig_from(weir_range(7, 3), NULL);
    rig_request(&r, 2);
    assert_got(&r, 7, 8);
    assert_false(weir_probe_is_over(r.to, NULL));
    rig_request(&r, 1);
    assert_got(&r, 7, 8, 9);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void range_makes_any_number(void **unused)
{
    (void)unused;
    rig r = rig_from(weir_range(0, 1000), NULL);
    rig_request(&r, WEIR_UNBOUNDED);
    assert_received(&r, 1000);
    assert_int_equal(weir_probe_value(r.to, 999), 999);
    rig_done(&r);
    r = rig_from(weir_range(0, 0), NULL); /* over without being asked */
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
    r = rig_from(weir_range(5, UINT64_MAX), NULL);
    rig_request(&r, 300);
    assert_received(&r, 300);
    rig_abort_and_done(&r);
}

/* ---- tick ---- */

static rig rig_tick(const weir_tick_config *config)
{
    rig r = rig_from(weir_tick(config), NULL);
    weir_probe_keep(r.to, true);
    return r;
}

static weir_tick_body take_tick(rig *r)
{
    weir_item *item = weir_probe_take(r->to);
    assert_non_null(item);
    weir_tick_body body = *(const weir_tick_body *)weir_item_body(item);
    weir_item_ack(item);
    return body;
}

static void ticks_come_each_interval_after_a_delay(void **unused)
{
    (void)unused;
    rig r = rig_tick(&(weir_tick_config){ .interval_us = 100, .delay_us = 30 });
    rig_request(&r, 10);
    assert_true(weir_testkit_advance(r.kit, 29 * WEIR_US));
    assert_received(&r, 0);
    assert_true(weir_testkit_advance(r.kit, 1 * WEIR_US));
    assert_received(&r, 1);
    assert_true(weir_testkit_advance(r.kit, 99 * WEIR_US));
    assert_received(&r, 1);
    assert_true(weir_testkit_advance(r.kit, 1 * WEIR_US));
    assert_received(&r, 2);
    assert_int_equal(take_tick(&r).number, 0);
    assert_int_equal(take_tick(&r).number, 1);
    rig_abort_and_done(&r);
}

static void the_first_tick_comes_at_once_without_a_delay(void **unused)
{
    (void)unused;
    rig r = rig_tick(&(weir_tick_config){ .interval_us = 100 });
    rig_request(&r, 10);
    assert_true(weir_testkit_advance(r.kit, 1));
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    assert_true(weir_probe_received(r.to) >= 1);
    rig_abort_and_done(&r);
}

static void ticks_that_are_not_asked_for_are_missed_and_counted(void **unused)
{
    (void)unused;
    rig r = rig_tick(&(weir_tick_config){ .interval_us = 100, .delay_us = 100 });
    assert_true(weir_testkit_advance_by(r.kit, 350 * WEIR_US, 10 * WEIR_US));
    rig_request(&r, 1);
    assert_received(&r, 0); /* waits for the next */
    assert_true(weir_testkit_advance_by(r.kit, 50 * WEIR_US, 10 * WEIR_US));
    assert_received(&r, 1);
    weir_tick_body tick = take_tick(&r);
    assert_int_equal(tick.number, 0);
    assert_int_equal(tick.missed, 3);
    rig_abort_and_done(&r);
}

static void coalescing_makes_up_for_missed_ticks_by_one(void **unused)
{
    (void)unused;
    rig r = rig_tick(&(weir_tick_config){ .interval_us = 100, .delay_us = 100, .coalesce = true });
    assert_true(weir_testkit_advance_by(r.kit, 350 * WEIR_US, 10 * WEIR_US));
    rig_request(&r, 5);
    assert_received(&r, 1);
    assert_int_equal(take_tick(&r).missed, 2);
    assert_true(weir_testkit_advance_by(r.kit, 50 * WEIR_US, 10 * WEIR_US));
    assert_received(&r, 2);
    assert_int_equal(take_tick(&r).missed, 0);
    rig_abort_and_done(&r);
}

static void a_late_tick_puts_off_none_and_a_stall_is_not_made_up_for(void **unused)
{
    (void)unused;
    rig r = rig_tick(&(weir_tick_config){ .interval_us = 100, .delay_us = 100 });
    rig_request(&r, 10);
    assert_true(weir_testkit_advance(r.kit, 130 * WEIR_US)); /* that of 100, late */
    assert_received(&r, 1);
    assert_true(weir_testkit_advance(r.kit, 70 * WEIR_US));
    assert_received(&r, 2);
    assert_true(weir_testkit_advance(r.kit, 540 * WEIR_US)); /* 300, and 400 to 700 missed */
    assert_received(&r, 3);
    assert_true(weir_testkit_advance(r.kit, 60 * WEIR_US));
    assert_received(&r, 4);
    take_tick(&r);
    take_tick(&r);
    assert_int_equal(take_tick(&r).missed, 0);
    assert_int_equal(take_tick(&r).missed, 4);
    rig_abort_and_done(&r);
}

static void a_limit_ends_the_ticks(void **unused)
{
    (void)unused;
    rig r = rig_from(weir_tick(&(weir_tick_config){ .interval_us = 100, .limit = 2 }), NULL);
    rig_request(&r, 10);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_MS, 10 * WEIR_US));
    assert_received(&r, 2);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void a_coalesced_tick_may_be_the_last(void **unused)
{
    (void)unused;
    rig r = rig_from(
        weir_tick(&(weir_tick_config){ .interval_us = 100, .limit = 1, .coalesce = true }), NULL);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_MS, 10 * WEIR_US));
    rig_request(&r, 10);
    assert_received(&r, 1);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_MS, 10 * WEIR_US));
    rig_done(&r);
}

static void ticks_stop_with_a_cancel_a_drain_and_an_abort(void **unused)
{
    (void)unused;
    for (int how = 0; how < 3; how++) {
        rig r = rig_from(weir_tick(&(weir_tick_config){ .interval_us = 100 }), NULL);
        rig_request(&r, 1);
        if (how == 0)
            rig_cancel(&r);
        else
            weir_pipeline_shutdown(r.pipeline, how == 1 ? WEIR_DRAIN : WEIR_ABORT, 0);
        assert_true(weir_testkit_settle(r.kit));
        rig_done(&r);
    }
}

static void a_tick_without_memory_is_missed(void **unused)
{
    (void)unused;
    rig r = rig_tick(&(weir_tick_config){ .interval_us = 100, .delay_us = 100 });
    rig_request(&r, 10);
    weir_testkit_fail_all(r.kit, true);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    weir_testkit_fail_all(r.kit, false);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    assert_received(&r, 1);
    assert_int_equal(take_tick(&r).missed, 1);
    rig_abort_and_done(&r);
}

static void the_interval_may_change_while_it_runs(void **unused)
{
    (void)unused;
    weir_tick_config config = { .interval_us = 1000 };
    rig r = rig_tick(&config);
    rig_request(&r, 10);
    assert_true(weir_testkit_advance(r.kit, 10 * WEIR_US));
    assert_received(&r, 1);
    config.interval_us = 50;
    assert_int_equal(weir_pipeline_change(r.pipeline, "tick", &config, sizeof config, NULL, NULL),
                     WEIR_OK);
    assert_true(weir_testkit_advance(r.kit, 45 * WEIR_US));
    assert_received(&r, 2);
    config.limit = 1;
    assert_int_equal(weir_pipeline_change(r.pipeline, "tick", &config, sizeof config, NULL, NULL),
                     WEIR_EINVAL);
    rig_abort_and_done(&r);
}

/* ---- expand ---- */

/* value * 1000 + 1 + index, as many as `user` points at. */
static weir_status more(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                        weir_item **ret_made)
{
    if (index == *(const uint32_t *)user)
        return WEIR_OK;
    if (value_of(item) == 13)
        return WEIR_EPROTO;
    weir_item *made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(made) = value_of(item) * 1000 + 1 + index;
    *ret_made = made;
    return WEIR_OK;
}

static void expand_makes_more_of_the_last_item_while_more_is_asked_for(void **unused)
{
    (void)unused;
    uint32_t most = 100;
    rig r = rig_with(weir_expand(&(weir_expand_config){ .next = more, .user = &most }));
    rig_request(&r, 2);
    assert_received(&r, 0); /* there is nothing to make it of */
    rig_feed(&r, 1, 1);
    assert_got(&r, 1, 1001);
    rig_request(&r, 2);
    assert_got(&r, 1, 1001, 1002, 1003);
    rig_feed(&r, 2, 1);
    rig_request(&r, 2);
    assert_got(&r, 1, 1001, 1002, 1003, 2, 2001);
    rig_finish(&r);
}

static void expand_repeats_by_default(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_expand(NULL));
    rig_feed(&r, 7, 1);
    rig_request(&r, 3);
    assert_got(&r, 7, 7, 7);
    rig_finish(&r);
}

static void expand_loses_nothing_of_a_quick_sender(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_expand(NULL));
    rig_feed(&r, 1, 5);
    assert_int_equal(weir_probe_emitted(r.from), 1); /* one ahead */
    rig_request(&r, 3);
    rig_request(&r, 2);
    assert_int_equal(weir_probe_emitted(r.from), 5);
    rig_request(&r, 3);
    assert_true(weir_probe_received(r.to) == 8);
    uint64_t last = 0;
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t value = weir_probe_value(r.to, i);
        assert_true(value == last || value == last + 1); /* each, in order, some repeated */
        last = value;
    }
    assert_int_equal(last, 5);
    rig_finish(&r);
}

static void expand_stops_where_there_is_no_more_of_one(void **unused)
{
    (void)unused;
    uint32_t most = 2;
    rig r = rig_with(weir_expand(&(weir_expand_config){ .next = more, .user = &most }));
    rig_request(&r, 50);
    rig_feed(&r, 1, 1);
    assert_got(&r, 1, 1001, 1002);
    rig_feed(&r, 2, 1);
    assert_received(&r, 6);
    rig_finish(&r);
}

static void expand_makes_no_more_than_its_limit(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_expand(&(weir_expand_config){ .made_max = 3 }));
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 7, 1);
    assert_received(&r, 4);
    rig_finish(&r);
    r = rig_with(weir_expand(NULL));
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 7, 1);
    assert_received(&r, 1 + WEIR_EXPAND_MADE_MAX);
    rig_finish(&r);
}

static void an_expanded_item_ends_after_all_that_was_made_of_it(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_expand(NULL));
    weir_probe_keep(r.to, true);
    rig_feed(&r, 7, 1);
    rig_request(&r, 2);
    weir_item_ack(weir_probe_take(r.to));
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(weir_probe_live(r.from), 1);
    weir_item_end(weir_probe_take(r.to), WEIR_REJECTED, WEIR_EREJECTED);
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(weir_probe_live(r.from), 1); /* it is still the last */
    rig_end(&r);
    assert_outcome(&r, 0, WEIR_REJECTED, WEIR_EREJECTED);
    rig_done(&r);
}

static void a_failure_of_expand_fails_the_item(void **unused)
{
    (void)unused;
    uint32_t most = 2;
    rig r = rig_with(weir_expand(&(weir_expand_config){ .next = more, .user = &most }));
    rig_request(&r, 2);
    rig_feed(&r, 13, 1);
    assert_got(&r, 13);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EPROTO);
    rig_finish(&r);
}

static void expand_ends_with_its_input_after_what_it_holds(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_expand(NULL));
    rig_feed(&r, 1, 1);
    rig_end(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    rig_request(&r, 5);
    assert_got(&r, 1);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void an_error_ends_expand_too(void **unused)
{
    (void)unused;
    weir_status status = WEIR_OK;
    rig r = rig_with(weir_expand(NULL));
    rig_feed(&r, 1, 1);
    rig_request(&r, 2);
    weir_probe_end_error(r.from, WEIR_EIO);
    assert_true(weir_testkit_settle(r.kit));
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    assert_ended(&r, WEIR_ACKED, 1);
    rig_done(&r);
}

static void cancel_and_abort_end_what_expand_holds(void **unused)
{
    (void)unused;
    for (int how = 0; how < 2; how++) {
        rig r = rig_with(weir_expand(NULL));
        rig_request(&r, 2);
        rig_feed(&r, 1, 3);
        if (how == 0)
            rig_cancel(&r);
        else
            rig_abort(&r);
        rig_done(&r);
    }
}

static void expand_lives_with_windows_of_bytes(void **unused)
{
    (void)unused;
    uint32_t most = 40;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_expand(&(weir_expand_config){ .next = more, .user = &most }));
    weir_node *buffer = weir_via(r.pipeline, weir_buffer(&(weir_buffer_config){ .items_max = 4 }));
    weir_node_window(buffer, &(weir_edge_config){ .window_bytes = 12 });
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    rig_feed(&r, 1, 1);
    rig_request(&r, 5);
    assert_received(&r, 5);
    rig_feed(&r, 2, 30);
    rig_request(&r, 10);
    assert_received(&r, 15);
    rig_finish(&r);
}

/* ---- All ---- */

static weir_stage_spec *a_generate(void)
{
    static uint64_t most = 10;
    return weir_generate(count_to, &most);
}

static weir_stage_spec *a_range(void)
{
    return weir_range(1, 100);
}

static weir_stage_spec *a_tick(void)
{
    return weir_tick(&(weir_tick_config){ .interval_us = 100, .coalesce = true });
}

static weir_stage_spec *an_expand(void)
{
    return weir_expand(&(weir_expand_config){ .made_max = 300 });
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    fail_every_allocation((const stage_maker[]){ a_generate, NULL }, true);
    fail_every_allocation((const stage_maker[]){ a_range, an_expand, NULL }, true);
    fail_every_allocation((const stage_maker[]){ a_tick, NULL }, true);
    fail_every_allocation((const stage_maker[]){ an_expand, NULL }, false);
}

static void assert_source_refused(weir_stage_spec *source)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, source);
    weir_into(r.pipeline, weir_probe_sink(r.to));
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

static void what_makes_no_sense_is_refused(void **unused)
{
    (void)unused;
    assert_source_refused(weir_generate(NULL, NULL));
    assert_source_refused(weir_tick(NULL));
    assert_source_refused(weir_tick(&(weir_tick_config){ .interval_us = UINT64_MAX }));
    assert_source_refused(
        weir_tick(&(weir_tick_config){ .interval_us = 1, .delay_us = UINT64_MAX }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generate_makes_as_many_as_are_asked_for),
        cmocka_unit_test(generate_ends_when_there_is_no_more),
        cmocka_unit_test(an_error_of_generate_follows_what_was_made),
        cmocka_unit_test(a_drain_ends_generate),
        cmocka_unit_test(generate_waits_for_room_in_a_window_of_bytes),
        cmocka_unit_test(range_counts_from_its_first),
        cmocka_unit_test(range_makes_any_number),
        cmocka_unit_test(ticks_come_each_interval_after_a_delay),
        cmocka_unit_test(the_first_tick_comes_at_once_without_a_delay),
        cmocka_unit_test(ticks_that_are_not_asked_for_are_missed_and_counted),
        cmocka_unit_test(coalescing_makes_up_for_missed_ticks_by_one),
        cmocka_unit_test(a_late_tick_puts_off_none_and_a_stall_is_not_made_up_for),
        cmocka_unit_test(a_limit_ends_the_ticks),
        cmocka_unit_test(a_coalesced_tick_may_be_the_last),
        cmocka_unit_test(ticks_stop_with_a_cancel_a_drain_and_an_abort),
        cmocka_unit_test(a_tick_without_memory_is_missed),
        cmocka_unit_test(the_interval_may_change_while_it_runs),
        cmocka_unit_test(expand_makes_more_of_the_last_item_while_more_is_asked_for),
        cmocka_unit_test(expand_repeats_by_default),
        cmocka_unit_test(expand_loses_nothing_of_a_quick_sender),
        cmocka_unit_test(expand_stops_where_there_is_no_more_of_one),
        cmocka_unit_test(expand_makes_no_more_than_its_limit),
        cmocka_unit_test(an_expanded_item_ends_after_all_that_was_made_of_it),
        cmocka_unit_test(a_failure_of_expand_fails_the_item),
        cmocka_unit_test(expand_ends_with_its_input_after_what_it_holds),
        cmocka_unit_test(an_error_ends_expand_too),
        cmocka_unit_test(cancel_and_abort_end_what_expand_holds),
        cmocka_unit_test(expand_lives_with_windows_of_bytes),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
