/* filter_map, skip, skip_while, take_while, scan and dedup. */
#include "stages_failing.h"

/* ---- filter_map ---- */

/* Doubles; drops the odd; 13 is wrong. */
static weir_status double_even(weir_item *item, void *user, bool *ret_keep)
{
    (void)user;
    uint64_t value = value_of(item);
    if (value == 13)
        return WEIR_EPROTO;
    *ret_keep = value % 2 == 0;
    *(uint64_t *)weir_item_body(item) = value * 2;
    return WEIR_OK;
}

static void filter_map_changes_drops_and_fails(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_filter_map(double_even, NULL));
    rig_request(&r, 3);
    rig_feed(&r, 10, 6);
    assert_got(&r, 20, 24, 28);
    assert_outcome(&r, 1, WEIR_FILTERED, WEIR_OK);
    assert_outcome(&r, 3, WEIR_FAILED, WEIR_EPROTO);
    assert_int_equal(rig_stats(&r, 1).filtered, 1);
    rig_finish(&r);
}

static void filter_map_asks_again_for_what_it_dropped(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_filter_map(double_even, NULL));
    rig_request(&r, 2);
    rig_feed(&r, 1, 1);
    assert_demand(&r, 2);
    rig_feed(&r, 2, 1);
    assert_demand(&r, 1);
    rig_finish(&r);
}

static void filter_map_keeps_by_default(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_filter_map(double_even, NULL));
    rig_request(&r, 1);
    rig_feed(&r, 4, 1);
    assert_got(&r, 8);
    rig_finish(&r);
}

static void filter_map_clones_what_others_share(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_probe *other = weir_testkit_probe(r.kit);
    weir_node *from = weir_add(r.pipeline, weir_probe_source(r.from));
    weir_node *split = weir_add(r.pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_node *map = weir_add(r.pipeline, weir_filter_map(double_even, NULL));
    weir_link(from, 0, split, 0, NULL);
    weir_link(split, 0, map, 0, NULL);
    weir_link(map, 0, weir_add(r.pipeline, weir_probe_sink(r.to)), 0, NULL);
    weir_link(split, 1, weir_add(r.pipeline, weir_probe_sink(other)), 0, NULL);
    weir_probe_keep(other, true);
    rig_start(&r);
    weir_probe_request(other, 5);
    rig_request(&r, 5);
    rig_feed(&r, 4, 1);
    assert_got(&r, 8);
    weir_item *untouched = weir_probe_take(other);
    assert_int_equal(value_of(untouched), 4);
    weir_item_ack(untouched);
    rig_abort_and_done(&r);
}

/* ---- skip ---- */

static bool below_five(const weir_item *item, void *user)
{
    if (user != NULL)
        ++*(uint64_t *)user;
    return value_of(item) < 5;
}

static void skip_drops_the_first_and_asks_for_as_many_again(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_skip(3));
    rig_request(&r, 2);
    rig_feed(&r, 1, 2);
    assert_demand(&r, 2);
    rig_feed(&r, 3, 5);
    assert_got(&r, 4, 5);
    assert_ended(&r, WEIR_FILTERED, 3);
    rig_finish(&r);
}

static void skip_of_none_passes_all(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_skip(0));
    rig_request(&r, 5);
    rig_feed(&r, 1, 3);
    assert_got(&r, 1, 2, 3);
    rig_finish(&r);
}

static void skip_counts_across_vectors_and_may_outlast_its_input(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_skip(150));
    rig_request(&r, 1000);
    rig_feed(&r, 0, 149);
    assert_received(&r, 0);
    rig_end(&r);
    assert_true(weir_probe_is_over(r.to, NULL));
    assert_ended(&r, WEIR_FILTERED, 149);
    rig_done(&r);
}

static void skip_while_looks_no_more_after_the_first_that_stays(void **unused)
{
    (void)unused;
    uint64_t looks = 0;
    rig r = rig_with(weir_skip_while(below_five, &looks));
    rig_request(&r, 10);
    rig_feed(&r, 3, 3);
    rig_feed(&r, 1, 2);
    assert_got(&r, 5, 1, 2);
    assert_int_equal(looks, 3);
    assert_ended(&r, WEIR_FILTERED, 2);
    rig_finish(&r);
}

/* ---- take_while ---- */

static void take_while_stops_before_the_first_that_is_not_wanted(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_take_while(below_five, NULL));
    rig_request(&r, 10);
    rig_feed(&r, 3, 4);
    assert_got(&r, 3, 4);
    assert_true(weir_probe_is_over(r.to, NULL));
    assert_true(weir_probe_is_cancelled(r.from));
    assert_outcome(&r, 2, WEIR_FILTERED, WEIR_OK);
    assert_outcome(&r, 3, WEIR_ABORTED, WEIR_ECANCELED);
    rig_done(&r);
}

static void take_while_inclusive_passes_that_one_too(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_take_while_inclusive(below_five, NULL));
    rig_request(&r, 10);
    rig_feed(&r, 3, 4);
    assert_got(&r, 3, 4, 5);
    assert_true(weir_probe_is_over(r.to, NULL));
    assert_outcome(&r, 2, WEIR_ACKED, WEIR_OK);
    assert_outcome(&r, 3, WEIR_ABORTED, WEIR_ECANCELED);
    rig_done(&r);
}

static void take_while_asks_as_it_is_asked_and_ends_with_its_input(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_take_while(below_five, NULL));
    rig_request(&r, 3);
    assert_demand(&r, 3);
    rig_feed(&r, 1, 1);
    weir_status status = WEIR_OK;
    weir_probe_end_error(r.from, WEIR_EIO);
    assert_true(weir_testkit_settle(r.kit));
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    rig_done(&r);
}

/* ---- scan ---- */

static weir_status add_up(void *running, weir_item *item, void *user)
{
    (void)user;
    uint64_t *sum = running;
    if (value_of(item) == 13)
        return WEIR_EINVAL;
    *sum += value_of(item);
    *(uint64_t *)weir_item_body(item) = *sum;
    return WEIR_OK;
}

static void scan_shows_each_item_to_a_running_state(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_scan(&(weir_scan_config){ .fn = add_up, .state_bytes = 8 }));
    rig_request(&r, 10);
    rig_feed(&r, 1, 4);
    assert_got(&r, 1, 3, 6, 10);
    rig_finish(&r);
}

static void scan_begins_with_what_it_is_given(void **unused)
{
    (void)unused;
    const uint64_t hundred = 100;
    rig r = rig_with(
        weir_scan(&(weir_scan_config){ .fn = add_up, .state_bytes = 8, .initial = &hundred }));
    rig_request(&r, 10);
    rig_feed(&r, 1, 2);
    assert_got(&r, 101, 103);
    rig_finish(&r);
}

static void a_failure_leaves_the_running_state_to_the_function(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_scan(&(weir_scan_config){ .fn = add_up, .state_bytes = 8 }));
    rig_request(&r, 10);
    rig_feed(&r, 12, 3);
    assert_got(&r, 12, 26);
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_EINVAL);
    rig_finish(&r);
}

static void each_replica_scans_for_itself(void **unused)
{
    (void)unused;
    rig r = rig_new(2);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_scan(&(weir_scan_config){ .fn = add_up, .state_bytes = 8 }));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    for (uint32_t i = 0; i < 2; i++) {
        weir_probe_request(weir_probe_replica(r.to, i), 5);
        assert_true(weir_probe_feed(weir_probe_replica(r.from, i), 7));
    }
    assert_true(weir_testkit_settle(r.kit));
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(weir_probe_value(weir_probe_replica(r.to, i), 0), 7);
    rig_abort_and_done(&r);
}

/* ---- dedup ---- */

static uint64_t by_value(const weir_item *item, void *user)
{
    (void)user;
    return value_of(item);
}

static rig rig_dedup(uint32_t keys_max, uint32_t ttl_ms, bool forgets_failed)
{
    return rig_with(weir_dedup(&(weir_dedup_config){ .key = by_value,
                                                     .keys_max = keys_max,
                                                     .ttl_ms = ttl_ms,
                                                     .forgets_failed = forgets_failed }));
}

static void dedup_passes_the_first_of_each_key(void **unused)
{
    (void)unused;
    rig r = rig_dedup(0, 0, false);
    rig_request(&r, 4);
    rig_feed(&r, 1, 2);
    rig_feed(&r, 1, 3);
    assert_got(&r, 1, 2, 3);
    assert_ended(&r, WEIR_FILTERED, 2);
    assert_demand(&r, 1);
    rig_finish(&r);
}

static void an_item_without_a_key_is_never_a_duplicate(void **unused)
{
    (void)unused;
    rig r = rig_with(weir_dedup(NULL));
    rig_request(&r, 9);
    rig_feed(&r, 1, 3); /* the probe's keys are 0 */
    assert_received(&r, 3);
    for (int i = 0; i < 2; i++)
        weir_probe_feed_item(r.from, &(weir_probe_item){ .value = 4, .key = 77 });
    assert_true(weir_testkit_settle(r.kit));
    assert_received(&r, 4);
    rig_finish(&r);
}

static void dedup_forgets_the_key_that_was_not_seen_for_longest(void **unused)
{
    (void)unused;
    rig r = rig_dedup(3, 0, false);
    rig_request(&r, 100);
    rig_feed(&r, 1, 3);
    rig_feed(&r, 1, 1); /* seen again: now 2 is the oldest */
    rig_feed(&r, 4, 1); /* in the place of 2 */
    rig_feed(&r, 1, 1);
    rig_feed(&r, 2, 1); /* in the place of 3 */
    rig_feed(&r, 3, 1);
    assert_got(&r, 1, 2, 3, 4, 2, 3);
    rig_finish(&r);
}

static void a_key_is_forgotten_so_long_after_its_item_passed(void **unused)
{
    (void)unused;
    rig r = rig_dedup(0, 10, false);
    rig_request(&r, 100);
    rig_feed(&r, 1, 1);
    assert_true(weir_testkit_advance(r.kit, 9 * WEIR_MS));
    rig_feed(&r, 1, 1); /* does not prolong it */
    assert_received(&r, 1);
    assert_true(weir_testkit_advance(r.kit, 1 * WEIR_MS));
    rig_feed(&r, 1, 2);
    assert_got(&r, 1, 1, 2);
    assert_true(weir_testkit_advance(r.kit, 9 * WEIR_MS));
    rig_feed(&r, 1, 1);
    assert_received(&r, 3);
    rig_finish(&r);
}

static void a_key_remains_seen_when_its_item_fails_later(void **unused)
{
    (void)unused;
    rig r = rig_dedup(0, 0, false);
    weir_probe_keep(r.to, true);
    rig_request(&r, 100);
    rig_feed(&r, 1, 1);
    weir_item_end(weir_probe_take(r.to), WEIR_FAILED, WEIR_EIO);
    rig_feed(&r, 1, 1);
    assert_received(&r, 1);
    assert_outcome(&r, 1, WEIR_FILTERED, WEIR_OK);
    rig_finish(&r);
}

static void a_key_is_forgotten_when_its_item_fails_if_so_asked(void **unused)
{
    (void)unused;
    rig r = rig_dedup(0, 0, true);
    weir_probe_keep(r.to, true);
    rig_request(&r, 100);
    rig_feed(&r, 1, 2);
    rig_feed(&r, 1, 1); /* its first is under way */
    assert_received(&r, 2);
    weir_item_end(weir_probe_take(r.to), WEIR_FAILED, WEIR_EIO);
    weir_item_ack(weir_probe_take(r.to));
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EIO);
    rig_feed(&r, 1, 2); /* 1 passes again, 2 is a duplicate */
    assert_received(&r, 3);
    assert_int_equal(weir_probe_value(r.to, 2), 1);
    weir_item_ack(weir_probe_take(r.to));
    rig_feed(&r, 1, 1);
    assert_received(&r, 3);
    rig_finish(&r);
}

static void the_end_of_an_old_pass_forgets_no_newer_one(void **unused)
{
    (void)unused;
    rig r = rig_dedup(0, 10, true);
    weir_probe_keep(r.to, true);
    rig_request(&r, 100);
    rig_feed(&r, 1, 1);
    assert_true(weir_testkit_advance(r.kit, 10 * WEIR_MS));
    rig_feed(&r, 1, 1); /* its time is over: passes again */
    assert_received(&r, 2);
    weir_item_end(weir_probe_take(r.to), WEIR_FAILED, WEIR_EIO);
    rig_feed(&r, 1, 1);
    assert_received(&r, 2);
    weir_item_ack(weir_probe_take(r.to));
    rig_finish(&r);
}

static void a_forgotten_key_makes_room_first(void **unused)
{
    (void)unused;
    rig r = rig_dedup(3, 0, true);
    weir_probe_keep(r.to, true);
    rig_request(&r, 100);
    rig_feed(&r, 1, 3);
    weir_item_ack(weir_probe_take(r.to));
    weir_item_ack(weir_probe_take(r.to));
    weir_item_end(weir_probe_take(r.to), WEIR_REJECTED, WEIR_EREJECTED);
    assert_true(weir_testkit_settle(r.kit));
    weir_probe_keep(r.to, false);
    rig_feed(&r, 4, 1); /* in the place of 3 */
    rig_feed(&r, 1, 2);
    assert_got(&r, 1, 2, 3, 4);
    rig_finish(&r);
}

/* As a sorted history says, over many keys and few entries. */
static void dedup_agrees_with_a_plain_list(void **unused)
{
    (void)unused;
    enum { KEYS = 16, FEEDS = 3000 };
    uint64_t recent[KEYS] = { 0 }, x = 3, expected = 0, n = 0;
    rig r = rig_dedup(KEYS, 0, false);
    rig_request(&r, WEIR_UNBOUNDED);
    for (int step = 0; step < FEEDS; step++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t key = 1 + (x >> 59), at = 0; /* of 32 */
        while (at < n && recent[at] != key)
            at++;
        expected += at == n;
        if (at == n && n < KEYS)
            n++;
        memmove(recent + 1, recent, (at < KEYS ? at : KEYS - 1) * sizeof *recent);
        recent[0] = key;
        rig_feed(&r, key, 1);
        assert_received(&r, expected);
    }
    rig_finish(&r);
}

static void dedup_allocates_nothing_per_item(void **unused)
{
    (void)unused;
    rig r = rig_dedup(100, 0, true);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 1000);
    uint64_t before = weir_testkit_allocations(r.kit);
    rig_feed(&r, 0, 1000);
    assert_int_equal(weir_testkit_allocations(r.kit), before);
    rig_finish(&r);
}

static void the_time_of_keys_may_change_while_it_runs(void **unused)
{
    (void)unused;
    rig r = rig_dedup(0, 1000, false);
    weir_dedup_config config = { .key = by_value, .ttl_ms = 10 };
    rig_request(&r, 100);
    rig_feed(&r, 1, 1);
    assert_int_equal(weir_pipeline_change(r.pipeline, "dedup", &config, sizeof config, NULL, NULL),
                     WEIR_OK);
    assert_true(weir_testkit_advance(r.kit, 10 * WEIR_MS));
    rig_feed(&r, 1, 1);
    assert_received(&r, 2);
    config.keys_max = 5;
    assert_int_equal(weir_pipeline_change(r.pipeline, "dedup", &config, sizeof config, NULL, NULL),
                     WEIR_EINVAL);
    rig_finish(&r);
}

/* ---- All ---- */

static weir_stage_spec *a_filter_map(void)
{
    return weir_filter_map(double_even, NULL);
}

static weir_stage_spec *a_skip(void)
{
    return weir_skip(3);
}

static weir_stage_spec *a_scan(void)
{
    return weir_scan(&(weir_scan_config){ .fn = add_up, .state_bytes = 8 });
}

static weir_stage_spec *a_dedup(void)
{
    return weir_dedup(&(weir_dedup_config){ .keys_max = 20, .forgets_failed = true });
}

static bool below_sixty(const weir_item *item, void *user)
{
    (void)user;
    return value_of(item) < 60;
}

static weir_stage_spec *a_take_while(void)
{
    return weir_take_while(below_sixty, NULL);
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    fail_every_allocation(
        (const stage_maker[]){ a_filter_map, a_skip, a_dedup, a_scan, a_take_while, NULL }, false);
    fail_every_allocation((const stage_maker[]){ a_take_while, a_dedup, NULL }, false);
}

static void what_makes_no_sense_is_refused(void **unused)
{
    (void)unused;
    assert_refused(weir_filter_map(NULL, NULL));
    assert_refused(weir_skip_while(NULL, NULL));
    assert_refused(weir_take_while(NULL, NULL));
    assert_refused(weir_take_while_inclusive(NULL, NULL));
    assert_refused(weir_scan(NULL));
    assert_refused(weir_scan(&(weir_scan_config){ .fn = add_up }));
    assert_refused(weir_scan(&(weir_scan_config){ .fn = add_up, .state_bytes = (1 << 20) + 1 }));
    assert_refused(weir_dedup(&(weir_dedup_config){ .keys_max = (1 << 24) + 1 }));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(filter_map_changes_drops_and_fails),
        cmocka_unit_test(filter_map_asks_again_for_what_it_dropped),
        cmocka_unit_test(filter_map_keeps_by_default),
        cmocka_unit_test(filter_map_clones_what_others_share),
        cmocka_unit_test(skip_drops_the_first_and_asks_for_as_many_again),
        cmocka_unit_test(skip_of_none_passes_all),
        cmocka_unit_test(skip_counts_across_vectors_and_may_outlast_its_input),
        cmocka_unit_test(skip_while_looks_no_more_after_the_first_that_stays),
        cmocka_unit_test(take_while_stops_before_the_first_that_is_not_wanted),
        cmocka_unit_test(take_while_inclusive_passes_that_one_too),
        cmocka_unit_test(take_while_asks_as_it_is_asked_and_ends_with_its_input),
        cmocka_unit_test(scan_shows_each_item_to_a_running_state),
        cmocka_unit_test(scan_begins_with_what_it_is_given),
        cmocka_unit_test(a_failure_leaves_the_running_state_to_the_function),
        cmocka_unit_test(each_replica_scans_for_itself),
        cmocka_unit_test(dedup_passes_the_first_of_each_key),
        cmocka_unit_test(an_item_without_a_key_is_never_a_duplicate),
        cmocka_unit_test(dedup_forgets_the_key_that_was_not_seen_for_longest),
        cmocka_unit_test(a_key_is_forgotten_so_long_after_its_item_passed),
        cmocka_unit_test(a_key_remains_seen_when_its_item_fails_later),
        cmocka_unit_test(a_key_is_forgotten_when_its_item_fails_if_so_asked),
        cmocka_unit_test(the_end_of_an_old_pass_forgets_no_newer_one),
        cmocka_unit_test(a_forgotten_key_makes_room_first),
        cmocka_unit_test(dedup_agrees_with_a_plain_list),
        cmocka_unit_test(dedup_allocates_nothing_per_item),
        cmocka_unit_test(the_time_of_keys_may_change_while_it_runs),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(what_makes_no_sense_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
