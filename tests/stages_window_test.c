/* window, unbatch and conflate. */
#include "stages_failing.h"

/* ---- window by count ---- */

static rig rig_window(uint32_t count, uint32_t slide)
{
    rig r = rig_with(weir_window(&(weir_window_config){ .count = count, .slide = slide }));
    weir_probe_keep(r.to, true);
    return r;
}

/* Takes the next window and sees that it has these members, beginning with `first`. */
static void assert_window(rig *r, uint64_t first, size_t n)
{
    weir_item *joined = weir_probe_take(r->to);
    assert_non_null(joined);
    const weir_items *members = weir_item_members(joined);
    assert_int_equal(members->n, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(value_of(members->items[i]), first + i);
    weir_item_ack(joined);
    assert_true(weir_testkit_settle(r->kit));
}

static void a_window_has_so_many_members(void **unused)
{
    (void)unused;
    rig r = rig_window(3, 0);
    rig_request(&r, 5);
    rig_feed(&r, 1, 7);
    assert_received(&r, 2);
    assert_window(&r, 1, 3);
    assert_ended(&r, WEIR_ACKED, 3);
    assert_window(&r, 4, 3);
    rig_end(&r);
    assert_window(&r, 7, 1);
    rig_done(&r);
}

static void windows_slide(void **unused)
{
    (void)unused;
    rig r = rig_window(4, 2);
    rig_request(&r, 3);
    rig_feed(&r, 1, 8);
    assert_received(&r, 3);
    assert_window(&r, 1, 4);
    assert_ended(&r, WEIR_ACKED, 2); /* the others are in the next one too */
    assert_window(&r, 3, 4);
    assert_ended(&r, WEIR_ACKED, 4);
    assert_window(&r, 5, 4);
    rig_end(&r);
    assert_ended(&r, WEIR_ACKED, 8); /* 7 and 8 were in a window: there is no other */
    assert_received(&r, 3);
    rig_done(&r);
}

static void the_last_window_has_what_was_in_none(void **unused)
{
    (void)unused;
    rig r = rig_window(4, 2);
    rig_request(&r, 9);
    rig_feed(&r, 1, 5);
    rig_end(&r);
    assert_received(&r, 2);
    assert_window(&r, 1, 4);
    assert_window(&r, 3, 3);
    rig_done(&r);
}

static void windows_that_do_not_touch_drop_what_is_between(void **unused)
{
    (void)unused;
    rig r = rig_window(2, 5);
    rig_request(&r, 3);
    rig_feed(&r, 0, 12);
    assert_received(&r, 3);
    assert_window(&r, 0, 2);
    assert_window(&r, 5, 2);
    assert_window(&r, 10, 2);
    assert_ended(&r, WEIR_FILTERED, 6);
    rig_request(&r, 1);
    assert_demand(&r, 5);
    rig_feed(&r, 12, 5);
    assert_window(&r, 15, 2);
    rig_finish(&r);
}

static void windows_ask_for_what_makes_those_that_are_asked_of_them(void **unused)
{
    (void)unused;
    rig r = rig_window(4, 1);
    assert_demand(&r, 0);
    rig_request(&r, 3);
    assert_demand(&r, 6);
    rig_feed(&r, 1, 5);
    assert_demand(&r, 1);
    rig_feed(&r, 6, 1);
    assert_demand(&r, 0);
    rig_request(&r, WEIR_UNBOUNDED);
    assert_demand(&r, 4 + 64 - 3); /* three are held */
    rig_abort_and_done(&r);
}

static void a_member_ends_as_the_worst_of_its_windows(void **unused)
{
    (void)unused;
    rig r = rig_window(2, 1);
    rig_request(&r, 2);
    rig_feed(&r, 1, 3);
    weir_item_end(weir_probe_take(r.to), WEIR_FAILED, WEIR_EIO);
    weir_item_ack(weir_probe_take(r.to));
    rig_end(&r);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EIO);
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_EIO);
    assert_outcome(&r, 2, WEIR_ACKED, WEIR_OK);
    rig_done(&r);
}

static void the_end_of_windows_waits_for_demand(void **unused)
{
    (void)unused;
    weir_status status = WEIR_OK;
    rig r = rig_window(4, 2);
    rig_request(&r, 1);
    rig_feed(&r, 1, 4);
    rig_request(&r, 1);
    rig_feed(&r, 5, 1);
    weir_probe_end_error(r.from, WEIR_EIO);
    assert_true(weir_testkit_settle(r.kit));
    assert_window(&r, 1, 4);
    assert_window(&r, 3, 3);
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    rig_done(&r);
}

static void cancel_and_abort_end_what_windows_hold(void **unused)
{
    (void)unused;
    for (int how = 0; how < 4; how++) {
        rig r = how < 2 ? rig_window(4, 2)
                        : rig_with(weir_window(&(weir_window_config){ .every_us = 100 }));
        weir_probe_keep(r.to, false);
        rig_request(&r, 5);
        rig_feed(&r, 1, 3);
        if (how % 2 == 0)
            rig_cancel(&r);
        else
            rig_abort(&r);
        assert_ended(&r, WEIR_ABORTED, 3);
        rig_done(&r);
    }
}

static void a_window_without_memory_fails_those_that_would_leave_with_it(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_window(&(weir_window_config){ .count = 4, .slide = 1 }));
    rig_request(&r, 1);
    rig_feed(&r, 1, 3);
    assert_true(weir_probe_feed(r.from, 4));
    weir_testkit_fail_all(r.kit, true);
    assert_true(weir_testkit_settle(r.kit));
    weir_testkit_fail_all(r.kit, false);
    assert_ended(&r, WEIR_FAILED, weir_probe_received(r.to) == 0 ? 1 : 0);
    rig_finish(&r);
}

static void windows_allocate_nothing_per_item(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_window(&(weir_window_config){ .count = 16, .slide = 4 }));
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 1000);
    uint64_t before = weir_testkit_allocations(r.kit);
    rig_feed(&r, 0, 1000);
    assert_int_equal(weir_testkit_allocations(r.kit), before);
    rig_finish(&r);
}

/* ---- window by time ---- */

static rig rig_time_window(uint32_t every_us, uint32_t count, uint32_t bytes)
{
    rig r = rig_with(
        weir_window(&(weir_window_config){ .every_us = every_us, .count = count, .bytes = bytes }));
    weir_probe_keep(r.to, true);
    return r;
}

static void a_window_ends_by_the_clock_whenever_its_items_came(void **unused)
{
    (void)unused;
    rig r = rig_time_window(100, 0, 0);
    rig_request(&r, 9);
    assert_true(weir_testkit_advance(r.kit, 90 * WEIR_US));
    rig_feed(&r, 1, 2);
    assert_true(weir_testkit_advance(r.kit, 10 * WEIR_US));
    assert_window(&r, 1, 2);
    rig_feed(&r, 3, 1);
    assert_true(weir_testkit_advance(r.kit, 99 * WEIR_US));
    assert_received(&r, 1);
    rig_feed(&r, 4, 1);
    assert_true(weir_testkit_advance(r.kit, 1 * WEIR_US));
    assert_window(&r, 3, 2);
    rig_finish(&r);
}

static void a_window_in_which_nothing_came_is_not_emitted(void **unused)
{
    (void)unused;
    rig r = rig_time_window(100, 0, 0);
    rig_request(&r, 9);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_MS, 10 * WEIR_US));
    assert_received(&r, 0);
    rig_finish(&r);
}

static void an_item_is_in_the_window_in_which_it_came_though_that_waits(void **unused)
{
    (void)unused;
    rig r = rig_time_window(100, 8, 0);
    rig_request(&r, 1);
    rig_feed(&r, 1, 1);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    assert_window(&r, 1, 1);
    rig_feed(&r, 2, 2); /* asked for when there was demand */
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    rig_feed(&r, 4, 2);
    assert_received(&r, 1);
    rig_request(&r, 5);
    assert_received(&r, 2);
    assert_window(&r, 2, 2); /* not with those that came after its end */
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    assert_window(&r, 4, 2);
    rig_finish(&r);
}

static void a_full_window_goes_early(void **unused)
{
    (void)unused;
    rig r = rig_time_window(100, 3, 0);
    rig_request(&r, 9);
    rig_feed(&r, 1, 4);
    assert_window(&r, 1, 3);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    assert_window(&r, 4, 1);
    rig_finish(&r);
    r = rig_time_window(100, 0, 16);
    rig_request(&r, 9);
    for (uint64_t i = 1; i <= 2; i++)
        weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .cost = 8 });
    assert_true(weir_testkit_settle(r.kit));
    assert_window(&r, 1, 2);
    rig_finish(&r);
}

static void what_a_time_window_holds_goes_with_the_end(void **unused)
{
    (void)unused;
    rig r = rig_time_window(100, 0, 0);
    rig_request(&r, 9);
    rig_feed(&r, 1, 2);
    rig_end(&r);
    assert_window(&r, 1, 2);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

/* ---- unbatch ---- */

/* Probe, batch of `count`, unbatch, probe. */
static rig rig_unbatch(uint32_t count)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_batch(&(weir_batch_config){ .count = count }));
    weir_via(r.pipeline, weir_unbatch());
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    return r;
}

static void unbatch_gives_the_members_themselves(void **unused)
{
    (void)unused;
    rig r = rig_unbatch(3);
    weir_probe_keep(r.to, true);
    rig_request(&r, 9);
    for (uint64_t i = 1; i <= 3; i++)
        weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .key = 10 * i });
    assert_true(weir_testkit_settle(r.kit));
    assert_got(&r, 1, 2, 3);
    for (uint64_t i = 1; i <= 3; i++) {
        weir_item *item = weir_probe_take(r.to);
        assert_int_equal(item->key, 10 * i);
        assert_string_equal(item->type->name, "probe");
        assert_false(weir_item_is_shared(item));
        if (i == 2)
            weir_item_end(item, WEIR_FAILED, WEIR_EIO);
        else
            weir_item_ack(item);
    }
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK); /* each ends alone */
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_EIO);
    assert_outcome(&r, 2, WEIR_ACKED, WEIR_OK);
    rig_finish(&r);
}

static void unbatch_emits_no_more_than_was_asked_and_holds_the_rest(void **unused)
{
    (void)unused;
    rig r = rig_unbatch(4);
    rig_request(&r, 6);
    rig_feed(&r, 1, 16);
    assert_received(&r, 6);
    assert_int_equal(weir_probe_emitted(r.from), 8);
    rig_request(&r, 1);
    assert_received(&r, 7);
    rig_end(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    rig_request(&r, 100);
    assert_received(&r, 16);
    rig_done(&r);
}

static void what_is_no_joined_item_is_passed_on(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_unbatch());
    rig_request(&r, 1);
    assert_demand(&r, 1);
    rig_request(&r, 8);
    assert_demand(&r, WEIR_UNBATCH_AHEAD);
    rig_feed(&r, 1, 5);
    assert_got(&r, 1, 2, 3, 4, 5);
    rig_finish(&r);
}

static void cancel_and_abort_end_the_members_that_unbatch_holds(void **unused)
{
    (void)unused;
    for (int how = 0; how < 2; how++) {
        rig r = rig_unbatch(4);
        rig_request(&r, 2);
        rig_feed(&r, 1, 4);
        if (how == 0)
            rig_cancel(&r);
        else
            rig_abort(&r);
        assert_ended(&r, WEIR_ACKED, 2);
        assert_ended(&r, WEIR_ABORTED, 2);
        rig_done(&r);
    }
}

static weir_status add_hundred(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) += 100;
    return WEIR_OK;
}

/* Probe, batch, broadcast to two; each unbatches, one changes what it gets. */
static void members_of_a_shared_item_are_copied(void **unused)
{
    (void)unused;
    enum { COUNT = 300 };
    rig r = rig_new(1);
    weir_probe *other = weir_testkit_probe(r.kit);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_batch(&(weir_batch_config){ .count = COUNT }));
    weir_node *split = weir_via(r.pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_via(r.pipeline, weir_unbatch());
    weir_via(r.pipeline, weir_map(add_hundred, NULL));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_at(r.pipeline, split);
    weir_via(r.pipeline, weir_unbatch());
    weir_into(r.pipeline, weir_probe_sink(other));
    weir_probe_keep(other, true);
    rig_start(&r);
    weir_probe_request(other, 500);
    rig_request(&r, 500);
    rig_feed(&r, 1, COUNT);
    for (uint64_t i = 0; i < COUNT; i++) {
        assert_int_equal(weir_probe_value(r.to, i), 101 + i);
        assert_int_equal(weir_probe_value(other, i), 1 + i);
        weir_item *item = weir_probe_take(other);
        assert_int_equal(value_of(item), 1 + i);
        weir_item_end(item, i == 7 ? WEIR_FAILED : WEIR_ACKED, i == 7 ? WEIR_EIO : WEIR_OK);
    }
    assert_true(weir_testkit_settle(r.kit));
    assert_ended(&r, WEIR_FAILED, COUNT); /* all as the worst of them */
    rig_abort_and_done(&r);
}

static void members_go_on_themselves_on_another_loop_too(void **unused)
{
    (void)unused;
    rig r = rig_new(2);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_batch(&(weir_batch_config){ .count = 2 }));
    weir_node_place(weir_via(r.pipeline, weir_unbatch()), 1);
    weir_node_place(weir_into(r.pipeline, weir_probe_sink(r.to)), 1);
    weir_probe_keep(r.to, true);
    rig_start(&r);
    rig_request(&r, 10);
    rig_feed(&r, 1, 4);
    assert_got(&r, 1, 2, 3, 4);
    for (int i = 0; i < 4; i++) {
        weir_item *item = weir_probe_take(r.to);
        assert_string_equal(item->type->name, "probe");
        weir_item_end(item, i == 1 ? WEIR_FAILED : WEIR_ACKED, i == 1 ? WEIR_EIO : WEIR_OK);
    }
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_EIO);
    assert_ended(&r, WEIR_ACKED, 3);
    rig_finish(&r);
}

/* ---- conflate ---- */

static weir_status sum_up(weir_item *held, const weir_item *item, void *user)
{
    (void)user;
    if (value_of(item) == 13)
        return WEIR_EINVAL;
    *(uint64_t *)weir_item_body(held) += value_of(item);
    return WEIR_OK;
}

static rig rig_conflate(weir_status (*combine)(weir_item *held, const weir_item *item, void *user))
{
    rig r = rig_of(weir_conflate(&(weir_conflate_config){ .combine = combine }));
    weir_node_best_effort(r.node);
    rig_start(&r);
    return r;
}

static void conflate_passes_on_what_is_asked_for(void **unused)
{
    (void)unused;
    rig r = rig_conflate(sum_up);
    rig_request(&r, 3);
    rig_feed(&r, 1, 3);
    assert_got(&r, 1, 2, 3);
    assert_ended(&r, WEIR_ACKED, 3);
    rig_finish(&r);
}

static void conflate_never_pushes_back_and_puts_together(void **unused)
{
    (void)unused;
    rig r = rig_conflate(sum_up);
    for (int i = 0; i < 100; i++)
        rig_feed(&r, 1, 100);
    assert_int_equal(weir_probe_emitted(r.from), 10000);
    assert_ended(&r, WEIR_FILTERED, 10000 - 1 - 100); /* the held, and those of 13 */
    rig_request(&r, 1);
    assert_received(&r, 1);
    rig_finish(&r);
}

static void conflate_keeps_the_latest_by_default(void **unused)
{
    (void)unused;
    rig r = rig_conflate(NULL);
    rig_feed(&r, 1, 5);
    rig_request(&r, 2);
    assert_got(&r, 5);
    rig_feed(&r, 6, 2);
    assert_got(&r, 5, 6);
    rig_request(&r, 1);
    assert_got(&r, 5, 6, 7);
    assert_ended(&r, WEIR_FILTERED, 4);
    rig_finish(&r);
}

static void an_item_that_cannot_be_combined_fails_alone(void **unused)
{
    (void)unused;
    rig r = rig_conflate(sum_up);
    rig_feed(&r, 12, 3);
    rig_request(&r, 1);
    assert_got(&r, 26);
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_EINVAL);
    rig_finish(&r);
}

static void the_end_follows_what_conflate_holds(void **unused)
{
    (void)unused;
    rig r = rig_conflate(sum_up);
    rig_feed(&r, 1, 3);
    rig_end(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    rig_request(&r, 1);
    assert_got(&r, 6);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void cancel_and_abort_end_what_conflate_holds(void **unused)
{
    (void)unused;
    for (int how = 0; how < 2; how++) {
        rig r = rig_conflate(sum_up);
        rig_feed(&r, 1, 3);
        if (how == 0)
            rig_cancel(&r);
        else
            rig_abort(&r);
        assert_ended(&r, WEIR_ABORTED, 1);
        rig_done(&r);
    }
}

static const weir_stage_type acked_type = { .name = "acked",
                                            .inputs = WEIR_PORTS_NONE,
                                            .acks = true };

static void conflate_is_refused_where_nothing_may_be_lost(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_stage_of(&acked_type, NULL));
    weir_via(r.pipeline, weir_conflate(&(weir_conflate_config){ .combine = sum_up }));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

/* ---- All ---- */

static weir_stage_spec *a_window(void)
{
    return weir_window(&(weir_window_config){ .count = 6, .slide = 2 });
}

static weir_stage_spec *a_time_window(void)
{
    return weir_window(&(weir_window_config){ .every_us = 700 });
}

static weir_stage_spec *a_conflate(void)
{
    return weir_conflate(NULL);
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    fail_every_allocation((const stage_maker[]){ a_window, weir_unbatch, NULL }, false);
    fail_every_allocation((const stage_maker[]){ a_time_window, weir_unbatch, a_conflate, NULL },
                          false);
}

static void what_makes_no_sense_is_refused(void **unused)
{
    (void)unused;
    assert_refused(weir_window(&(weir_window_config){ .count = 65536 }));
    assert_refused(weir_window(&(weir_window_config){ .count = 65536, .every_us = 1 }));
    assert_refused(weir_window(&(weir_window_config){ .count = 1000, .slide = 4 }));
    assert_refused(weir_window(&(weir_window_config){ .slide = 65536 }));
    assert_refused(weir_window(&(weir_window_config){ .slide = 1, .every_us = 1 }));
    assert_refused(weir_window(&(weir_window_config){ .bytes = 1 }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_window_has_so_many_members),
        cmocka_unit_test(windows_slide),
        cmocka_unit_test(the_last_window_has_what_was_in_none),
        cmocka_unit_test(windows_that_do_not_touch_drop_what_is_between),
        cmocka_unit_test(windows_ask_for_what_makes_those_that_are_asked_of_them),
        cmocka_unit_test(a_member_ends_as_the_worst_of_its_windows),
        cmocka_unit_test(the_end_of_windows_waits_for_demand),
        cmocka_unit_test(cancel_and_abort_end_what_windows_hold),
        cmocka_unit_test(a_window_without_memory_fails_those_that_would_leave_with_it),
        cmocka_unit_test(windows_allocate_nothing_per_item),
        cmocka_unit_test(a_window_ends_by_the_clock_whenever_its_items_came),
        cmocka_unit_test(a_window_in_which_nothing_came_is_not_emitted),
        cmocka_unit_test(an_item_is_in_the_window_in_which_it_came_though_that_waits),
        cmocka_unit_test(a_full_window_goes_early),
        cmocka_unit_test(what_a_time_window_holds_goes_with_the_end),
        cmocka_unit_test(unbatch_gives_the_members_themselves),
        cmocka_unit_test(unbatch_emits_no_more_than_was_asked_and_holds_the_rest),
        cmocka_unit_test(what_is_no_joined_item_is_passed_on),
        cmocka_unit_test(cancel_and_abort_end_the_members_that_unbatch_holds),
        cmocka_unit_test(members_of_a_shared_item_are_copied),
        cmocka_unit_test(members_go_on_themselves_on_another_loop_too),
        cmocka_unit_test(conflate_passes_on_what_is_asked_for),
        cmocka_unit_test(conflate_never_pushes_back_and_puts_together),
        cmocka_unit_test(conflate_keeps_the_latest_by_default),
        cmocka_unit_test(an_item_that_cannot_be_combined_fails_alone),
        cmocka_unit_test(the_end_follows_what_conflate_holds),
        cmocka_unit_test(cancel_and_abort_end_what_conflate_holds),
        cmocka_unit_test(conflate_is_refused_where_nothing_may_be_lost),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
