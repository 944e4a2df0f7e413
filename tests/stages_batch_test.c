/* batch: by count, bytes and time; never without demand. */
#include "stages_rig.h"

static rig rig_batch(uint32_t count, uint32_t bytes, uint32_t wait_us)
{
    return rig_with(
        weir_batch(&(weir_batch_config){ .count = count, .bytes = bytes, .wait_us = wait_us }));
}

static void batch_joins_by_count(void **unused)
{
    (void)unused;
    rig r = rig_batch(3, 0, 0);
    weir_probe_keep(r.to, true);
    rig_request(&r, 2);
    rig_feed(&r, 1, 7);
    assert_got(&r, 3, 3);
    weir_item *joined = weir_probe_take(r.to);
    const weir_items *members = weir_item_members(joined);
    assert_int_equal(value_of(members->items[0]), 1);
    assert_int_equal(value_of(members->items[2]), 3);
    assert_ended(&r, WEIR_ACKED, 0);
    weir_item_ack(joined);
    assert_true(weir_testkit_settle(r.kit));
    assert_ended(&r, WEIR_ACKED, 3);
    rig_abort_and_done(&r);
}

static void batch_asks_for_a_batch_of_items_for_each_asked_of_it(void **unused)
{
    (void)unused;
    rig r = rig_batch(3, 0, 0);
    assert_demand(&r, 0);
    rig_request(&r, 2);
    assert_demand(&r, 6);
    rig_feed(&r, 1, 2);
    assert_demand(&r, 4);
    rig_finish(&r);
}

static void batch_asks_no_further_ahead_than_its_room(void **unused)
{
    (void)unused;
    rig r = rig_batch(3, 0, 0);
    rig_request(&r, WEIR_UNBOUNDED);
    assert_demand(&r, 64);
    rig_finish(&r);
    r = rig_batch(200, 0, 0);
    rig_request(&r, WEIR_UNBOUNDED);
    assert_demand(&r, 200);
    rig_finish(&r);
}

static void batch_flushes_its_remainder_when_the_source_ends(void **unused)
{
    (void)unused;
    rig r = rig_batch(3, 0, 0);
    rig_request(&r, 5);
    rig_feed(&r, 1, 4);
    rig_end(&r);
    assert_got(&r, 3, 1);
    assert_true(weir_probe_is_over(r.to, NULL));
    assert_ended(&r, WEIR_ACKED, 4);
    rig_done(&r);
}

static void the_end_waits_for_demand_when_something_is_held(void **unused)
{
    (void)unused;
    rig r = rig_batch(3, 0, 10);
    rig_request(&r, 2);
    rig_feed(&r, 1, 5);
    assert_true(weir_testkit_advance(r.kit, 10 * WEIR_US));
    assert_got(&r, 3, 2);
    rig_feed(&r, 6, 1);
    rig_end(&r);
    assert_received(&r, 2);
    assert_false(weir_probe_is_over(r.to, NULL));
    rig_request(&r, 1);
    assert_got(&r, 3, 2, 1);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void an_error_follows_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_batch(3, 0, 0);
    weir_status status = WEIR_OK;
    rig_request(&r, 1);
    rig_feed(&r, 1, 2);
    weir_probe_end_error(r.from, WEIR_EIO);
    assert_true(weir_testkit_settle(r.kit));
    assert_got(&r, 2);
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    rig_done(&r);
}

static void batch_goes_when_its_first_item_has_waited(void **unused)
{
    (void)unused;
    rig r = rig_batch(10, 0, 100);
    rig_request(&r, 5);
    assert_true(weir_testkit_advance(r.kit, WEIR_SEC)); /* empty: no timer, no batch */
    assert_received(&r, 0);
    rig_feed(&r, 1, 1);
    assert_true(weir_testkit_advance(r.kit, 60 * WEIR_US));
    rig_feed(&r, 2, 1);
    assert_true(weir_testkit_advance(r.kit, 39 * WEIR_US));
    assert_received(&r, 0);
    assert_true(weir_testkit_advance(r.kit, 1 * WEIR_US));
    assert_got(&r, 2);
    rig_finish(&r);
}

static void a_batch_whose_time_has_come_waits_for_demand_and_fills_on(void **unused)
{
    (void)unused;
    rig r = rig_batch(4, 0, 100);
    rig_request(&r, 1);
    rig_feed(&r, 1, 1);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    assert_got(&r, 1);
    rig_feed(&r, 2, 2); /* asked for when there was demand */
    assert_true(weir_testkit_advance(r.kit, WEIR_SEC));
    assert_received(&r, 1);
    assert_demand(&r, 1);
    rig_feed(&r, 4, 1);
    assert_received(&r, 1);
    rig_request(&r, 1);
    assert_got(&r, 1, 3);
    rig_finish(&r);
}

static void a_full_batch_without_demand_asks_for_no_more(void **unused)
{
    (void)unused;
    rig r = rig_batch(4, 0, 100);
    rig_request(&r, 1);
    rig_feed(&r, 1, 2);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    rig_feed(&r, 3, 10);
    assert_int_equal(weir_probe_emitted(r.from), 4);
    assert_demand(&r, 0);
    rig_finish(&r);
}

static void batch_splits_by_bytes(void **unused)
{
    (void)unused;
    rig r = rig_batch(10, 100, 0);
    rig_request(&r, 5);
    const uint32_t costs[] = { 40, 40, 40, 60, 250, 1 };
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++)
        weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .cost = costs[i] });
    rig_end(&r);
    /* 40+40 (the third would exceed), 40+60 (full), 250 alone, 1 */
    assert_got(&r, 2, 2, 1, 1);
    rig_done(&r);
}

static void a_cancel_aborts_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_batch(10, 0, 100);
    rig_request(&r, 1);
    rig_feed(&r, 1, 3);
    rig_cancel(&r);
    assert_true(weir_probe_is_cancelled(r.from));
    assert_ended(&r, WEIR_ABORTED, 3);
    assert_true(weir_testkit_advance(r.kit, WEIR_SEC)); /* no timer is left */
    rig_done(&r);
}

static void an_abort_ends_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_batch(10, 0, 100);
    rig_request(&r, 1);
    rig_feed(&r, 1, 3);
    rig_abort(&r);
    assert_ended(&r, WEIR_ABORTED, 3);
    rig_done(&r);
}

static void a_drain_flushes_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_batch(10, 0, 0);
    rig_request(&r, 1);
    rig_feed(&r, 1, 3);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    assert_true(weir_testkit_settle(r.kit));
    assert_got(&r, 3);
    rig_done(&r);
}

static void a_join_without_memory_fails_its_members(void **unused)
{
    (void)unused;
    rig r = rig_batch(1000, 0, 100);
    rig_request(&r, 1);
    rig_feed(&r, 1, 999);
    weir_testkit_fail_all(r.kit, true);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_US));
    weir_testkit_fail_all(r.kit, false);
    assert_int_equal(weir_probe_ended(r.from, WEIR_FAILED) + 999 * weir_probe_received(r.to), 999);
    rig_finish(&r);
}

static void batch_allocates_nothing_per_item(void **unused)
{
    (void)unused;
    rig r = rig_batch(16, 0, 0);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 1000);
    uint64_t before = weir_testkit_allocations(r.kit);
    rig_feed(&r, 0, 1000);
    assert_int_equal(weir_testkit_allocations(r.kit), before);
    rig_finish(&r);
}

static void batch_conserves_items_at_any_pace(void **unused)
{
    (void)unused;
    for (uint64_t seed = 1; seed <= 200; seed++) {
        uint64_t x = seed * UINT64_C(0x9e3779b97f4a7c15);
        rig r = rig_batch(1 + (uint32_t)seed % 7, 64, (uint32_t)(seed % 3) * 50);
        for (int step = 0; step < 60; step++) {
            x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
            uint64_t n = x >> 60;
            if (x >> 59 & 1)
                rig_request(&r, n + 1);
            if (x >> 58 & 1)
                rig_feed(&r, 0, n);
            if (x >> 57 & 1)
                assert_true(weir_testkit_advance(r.kit, 30 * WEIR_US));
        }
        uint64_t fed = weir_probe_emitted(r.from);
        weir_probe_end(r.from);
        rig_request(&r, WEIR_UNBOUNDED);
        fed = weir_probe_emitted(r.from);
        uint64_t joined = 0;
        for (uint64_t i = 0; i < weir_probe_received(r.to); i++)
            joined += weir_probe_value(r.to, i);
        assert_int_equal(joined, fed);
        assert_ended(&r, WEIR_ACKED, fed);
        rig_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_joins_by_count),
        cmocka_unit_test(batch_asks_for_a_batch_of_items_for_each_asked_of_it),
        cmocka_unit_test(batch_asks_no_further_ahead_than_its_room),
        cmocka_unit_test(batch_flushes_its_remainder_when_the_source_ends),
        cmocka_unit_test(the_end_waits_for_demand_when_something_is_held),
        cmocka_unit_test(an_error_follows_what_is_held),
        cmocka_unit_test(batch_goes_when_its_first_item_has_waited),
        cmocka_unit_test(a_batch_whose_time_has_come_waits_for_demand_and_fills_on),
        cmocka_unit_test(a_full_batch_without_demand_asks_for_no_more),
        cmocka_unit_test(batch_splits_by_bytes),
        cmocka_unit_test(a_cancel_aborts_what_is_held),
        cmocka_unit_test(an_abort_ends_what_is_held),
        cmocka_unit_test(a_drain_flushes_what_is_held),
        cmocka_unit_test(a_join_without_memory_fails_its_members),
        cmocka_unit_test(batch_allocates_nothing_per_item),
        cmocka_unit_test(batch_conserves_items_at_any_pace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
