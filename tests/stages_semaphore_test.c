/* semaphore: so many under way at once, to their ends, whatever lies between. */
#include "stages_rig.h"

static rig rig_permits(const weir_semaphore_config *config)
{
    rig r = rig_with(weir_semaphore(config));
    weir_probe_keep(r.to, true);
    return r;
}

static void end_oldest(rig *r, weir_outcome outcome)
{
    weir_item *item = weir_probe_take(r->to);
    assert_non_null(item);
    weir_item_end(item, outcome, outcome == WEIR_ACKED ? WEIR_OK : WEIR_EIO);
    assert_true(weir_testkit_settle(r->kit));
}

static uint32_t cost_is_value(const weir_item *item, void *user)
{
    (void)user;
    return (uint32_t)value_of(item);
}

static void no_more_are_under_way_than_there_are_permits(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 3 });
    rig_request(&r, WEIR_UNBOUNDED);
    assert_demand(&r, 3);
    rig_feed(&r, 0, 10);
    assert_received(&r, 3);
    assert_int_equal(weir_probe_emitted(r.from), 3); /* withheld, not held */
    end_oldest(&r, WEIR_ACKED);
    assert_received(&r, 4);
    end_oldest(&r, WEIR_FAILED); /* however it ended */
    end_oldest(&r, WEIR_ABORTED);
    assert_received(&r, 6);
    rig_abort_and_done(&r);
}

static void it_never_asks_for_more_than_is_asked_of_it(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 10 });
    rig_request(&r, 2);
    assert_demand(&r, 2);
    rig_feed(&r, 0, 5);
    assert_received(&r, 2);
    assert_demand(&r, 0);
    rig_abort_and_done(&r);
}

static void reject_turns_away_what_finds_no_permit(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 2, .reject = true });
    rig_request(&r, WEIR_UNBOUNDED);
    assert_demand(&r, 64);
    rig_feed(&r, 0, 5);
    assert_got(&r, 0, 1);
    for (uint64_t i = 2; i < 5; i++)
        assert_outcome(&r, i, WEIR_REJECTED, WEIR_EOVERLOAD);
    end_oldest(&r, WEIR_ACKED);
    rig_feed(&r, 5, 2);
    assert_got(&r, 0, 1, 5);
    assert_int_equal(rig_stats(&r, 1).failed_by[-WEIR_EOVERLOAD], 4);
    rig_abort_and_done(&r);
}

static void rejected_items_go_the_way_of_dead_letters_if_there_is_one(void **unused)
{
    (void)unused;
    rig r = rig_of(weir_semaphore(&(weir_semaphore_config){ .permits = 1, .reject = true }));
    weir_probe *dead = weir_testkit_probe(r.kit);
    weir_node_dead_letter(r.node, weir_add(r.pipeline, weir_probe_sink(dead)), 0);
    weir_probe_request(dead, WEIR_UNBOUNDED);
    weir_probe_keep(r.to, true);
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 7, 3);
    assert_got(&r, 7);
    assert_int_equal(weir_probe_received(dead), 2);
    assert_outcome(&r, 1, WEIR_DEAD_LETTERED, WEIR_EOVERLOAD);
    rig_abort_and_done(&r);
}

static void permits_go_by_cost_and_what_is_free_takes_none(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 10, .cost = cost_is_value });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 6, 1);
    rig_feed(&r, 5, 1); /* held, with what is behind it */
    rig_feed(&r, 1, 1);
    assert_got(&r, 6);
    end_oldest(&r, WEIR_ACKED);
    assert_got(&r, 6, 5, 1);
    rig_feed(&r, 0, 1);
    rig_feed(&r, 0, 1);
    rig_feed(&r, 4, 1);
    assert_got(&r, 6, 5, 1, 0, 0, 4);
    rig_abort_and_done(&r);
}

/* Settling takes a turn for each wake-up: one that wakes itself never settles. */
static void permits_that_are_too_few_for_the_next_do_not_keep_the_loop_awake(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 10, .cost = cost_is_value });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 1);
    rig_feed(&r, 8, 2);
    assert_got(&r, 1, 8);
    end_oldest(&r, WEIR_ACKED); /* two are free, and nine are waited for */
    assert_got(&r, 1, 8);
    end_oldest(&r, WEIR_ACKED);
    assert_got(&r, 1, 8, 9);
    rig_abort_and_done(&r);
}

static void one_that_costs_more_than_there_are_passes_alone(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 3, .cost = cost_is_value });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 1);
    rig_feed(&r, 100, 1);
    assert_got(&r, 1);
    end_oldest(&r, WEIR_ACKED);
    assert_got(&r, 1, 100);
    rig_feed(&r, 1, 1);
    assert_got(&r, 1, 100);
    end_oldest(&r, WEIR_ACKED);
    assert_got(&r, 1, 100, 1);
    rig_abort_and_done(&r);
}

static weir_status make_two(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                            weir_item **ret_made)
{
    (void)user;
    if (index == 2)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(*ret_made) = value_of(item);
    return WEIR_OK;
}

static void an_item_is_under_way_until_all_that_was_made_of_it_has_ended(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_semaphore(&(weir_semaphore_config){ .permits = 1 }));
    weir_via(r.pipeline, weir_flat_map(make_two, NULL));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_probe_keep(r.to, true);
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 2);
    assert_got(&r, 1, 1);
    end_oldest(&r, WEIR_ACKED);
    assert_received(&r, 2);
    end_oldest(&r, WEIR_ACKED);
    assert_got(&r, 1, 1, 2, 2);
    rig_abort_and_done(&r);
}

static void what_is_held_outlasts_the_end_and_the_stage_what_is_under_way(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 3, .cost = cost_is_value });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 2, 1);
    rig_feed(&r, 2, 1);
    rig_end(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    end_oldest(&r, WEIR_ACKED);
    assert_got(&r, 2, 2);
    assert_true(weir_probe_is_over(r.to, NULL));
    assert_false(weir_pipeline_is_finished(r.pipeline));
    end_oldest(&r, WEIR_ACKED);
    rig_done(&r);
}

static void an_error_follows_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 1, .cost = cost_is_value });
    weir_status status = WEIR_OK;
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 1);
    weir_probe_end_error(r.from, WEIR_EIO);
    assert_true(weir_testkit_settle(r.kit));
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    end_oldest(&r, WEIR_ACKED);
    rig_done(&r);
}

static void a_cancel_aborts_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 2, .cost = cost_is_value });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 1);
    rig_feed(&r, 2, 1); /* held: first in line for the permits */
    rig_cancel(&r);
    assert_outcome(&r, 1, WEIR_ABORTED, WEIR_ECANCELED);
    weir_item *item;
    while ((item = weir_probe_take(r.to)) != NULL)
        weir_item_ack(item);
    rig_done(&r);
}

/* ---- All replicas ---- */

enum { LOOPS = 4 };

static rig rig_loops(const weir_semaphore_config *config)
{
    rig r = rig_new(LOOPS);
    weir_from(r.pipeline, weir_probe_source(r.from));
    r.node = weir_via(r.pipeline, weir_semaphore(config));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    for (uint32_t i = 0; i < LOOPS; i++) {
        weir_probe_keep(weir_probe_replica(r.to, i), true);
        weir_probe_request(weir_probe_replica(r.to, i), WEIR_UNBOUNDED);
    }
    assert_true(weir_testkit_settle(r.kit));
    return r;
}

static uint64_t under_way(const rig *r)
{
    uint64_t used, permits;
    assert_true(weir_semaphore_look(r->node, &used, &permits));
    return used;
}

static void the_permits_are_shared_by_all_loops_and_all_of_them_get_some(void **unused)
{
    (void)unused;
    rig r = rig_loops(&(weir_semaphore_config){ .permits = 5 });
    for (uint32_t i = 0; i < LOOPS; i++)
        for (uint64_t k = 0; k < 50; k++)
            weir_probe_feed(weir_probe_replica(r.from, i), k);
    uint64_t ended = 0;
    for (int round = 0; round < 1000 && ended < LOOPS * 50; round++) {
        assert_true(weir_testkit_settle(r.kit));
        uint64_t held = 0;
        for (uint32_t i = 0; i < LOOPS; i++)
            held += weir_probe_received(weir_probe_replica(r.to, i));
        assert_in_range(held - ended, 1, 5);
        assert_int_equal(held - ended, under_way(&r));
        weir_item *item = NULL;
        for (uint32_t i = 0; item == NULL && i < LOOPS; i++)
            item = weir_probe_take(weir_probe_replica(r.to, (i + (uint32_t)round) % LOOPS));
        weir_item_ack(item);
        ended++;
    }
    assert_int_equal(ended, LOOPS * 50);
    for (uint32_t i = 0; i < LOOPS; i++)
        weir_probe_end(weir_probe_replica(r.from, i));
    rig_done(&r);
}

static void a_costly_item_is_not_starved_by_the_small_ones_of_other_loops(void **unused)
{
    (void)unused;
    rig r = rig_loops(&(weir_semaphore_config){ .permits = 4, .cost = cost_is_value });
    weir_probe *small_from = weir_probe_replica(r.from, 1), *small = weir_probe_replica(r.to, 1);
    for (int i = 0; i < 100; i++)
        weir_probe_feed(small_from, 1);
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(weir_probe_received(small), 4);
    rig_feed(&r, 4, 1);
    for (int i = 0; i < 4; i++) {
        assert_received(&r, 0);
        weir_item_ack(weir_probe_take(small));
        assert_true(weir_testkit_settle(r.kit));
    }
    assert_int_equal(weir_probe_received(small), 4);
    assert_got(&r, 4);
    weir_item_ack(weir_probe_take(r.to));
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(weir_probe_received(small), 8);
    rig_abort(&r);
    rig_done(&r);
}

static void a_replica_that_is_cut_off_while_it_is_first_lets_the_others_go_on(void **unused)
{
    (void)unused;
    rig r = rig_loops(&(weir_semaphore_config){ .permits = 2, .cost = cost_is_value });
    weir_probe *small_from = weir_probe_replica(r.from, 1), *small = weir_probe_replica(r.to, 1);
    for (int i = 0; i < 10; i++)
        weir_probe_feed(small_from, 1);
    assert_true(weir_testkit_settle(r.kit));
    rig_feed(&r, 2, 1);
    weir_item_ack(weir_probe_take(small));
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(weir_probe_received(small), 2);
    rig_cancel(&r);
    assert_int_equal(weir_probe_received(small), 3);
    rig_abort(&r);
    rig_done(&r);
}

static void a_change_takes_effect_at_once_or_as_permits_come_back(void **unused)
{
    (void)unused;
    rig r = rig_permits(&(weir_semaphore_config){ .permits = 2 });
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 20);
    assert_received(&r, 2);
    weir_semaphore_config config = { .permits = 5 };
    assert_int_equal(
        weir_pipeline_change(r.pipeline, "semaphore", &config, sizeof config, NULL, NULL), WEIR_OK);
    assert_true(weir_testkit_settle(r.kit));
    assert_received(&r, 5);
    config.permits = 1;
    assert_int_equal(
        weir_pipeline_change(r.pipeline, "semaphore", &config, sizeof config, NULL, NULL), WEIR_OK);
    for (int i = 0; i < 4; i++)
        end_oldest(&r, WEIR_ACKED);
    assert_received(&r, 5);
    end_oldest(&r, WEIR_ACKED);
    assert_received(&r, 6);
    config.reject = true;
    assert_int_equal(
        weir_pipeline_change(r.pipeline, "semaphore", &config, sizeof config, NULL, NULL),
        WEIR_EINVAL);
    rig_abort_and_done(&r);
}

static void a_bad_config_is_found_while_building(void **unused)
{
    (void)unused;
    const weir_semaphore_config bad[] = { { .permits = 0 }, { .permits = 1000000001 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r = rig_of(weir_semaphore(&bad[i]));
        assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_are_under_way_than_there_are_permits),
        cmocka_unit_test(it_never_asks_for_more_than_is_asked_of_it),
        cmocka_unit_test(reject_turns_away_what_finds_no_permit),
        cmocka_unit_test(rejected_items_go_the_way_of_dead_letters_if_there_is_one),
        cmocka_unit_test(permits_go_by_cost_and_what_is_free_takes_none),
        cmocka_unit_test(permits_that_are_too_few_for_the_next_do_not_keep_the_loop_awake),
        cmocka_unit_test(one_that_costs_more_than_there_are_passes_alone),
        cmocka_unit_test(an_item_is_under_way_until_all_that_was_made_of_it_has_ended),
        cmocka_unit_test(what_is_held_outlasts_the_end_and_the_stage_what_is_under_way),
        cmocka_unit_test(an_error_follows_what_is_held),
        cmocka_unit_test(a_cancel_aborts_what_is_held),
        cmocka_unit_test(the_permits_are_shared_by_all_loops_and_all_of_them_get_some),
        cmocka_unit_test(a_costly_item_is_not_starved_by_the_small_ones_of_other_loops),
        cmocka_unit_test(a_replica_that_is_cut_off_while_it_is_first_lets_the_others_go_on),
        cmocka_unit_test(a_change_takes_effect_at_once_or_as_permits_come_back),
        cmocka_unit_test(a_bad_config_is_found_while_building),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
