/* The switch: ends running pipelines from anywhere, once. */
#include "stages_rig.h"

#include <pthread.h>

static weir_switch *handle;

static int make_switch(void **state)
{
    (void)state;
    handle = weir_switch_new(NULL);
    return handle == NULL;
}

static int free_switch(void **state)
{
    (void)state;
    weir_switch_free(handle);
    return 0;
}

static void settle(rig *r)
{
    assert_true(weir_testkit_settle(r->kit));
}

static void assert_over(rig *r, weir_status expected)
{
    weir_status status = WEIR_EINTERNAL;
    assert_true(weir_probe_is_over(r->to, &status));
    assert_int_equal(status, expected);
    assert_true(weir_probe_is_cancelled(r->from));
}

static void a_switch_that_is_on_passes_what_is_asked_for(void **state)
{
    (void)state;
    rig r = rig_with(weir_switch_stage(handle));
    assert_false(weir_switch_is_off(handle));
    assert_demand(&r, 0);
    rig_request(&r, 2);
    assert_demand(&r, 2);
    rig_feed(&r, 1, 5);
    assert_got(&r, 1, 2);
    rig_finish(&r);
}

static void off_ends_below_and_cancels_above(void **state)
{
    (void)state;
    rig r = rig_with(weir_switch_stage(handle));
    rig_request(&r, 10);
    rig_feed(&r, 1, 3);
    weir_switch_off(handle, WEIR_OK);
    weir_switch_off(handle, WEIR_EIO);
    settle(&r);
    assert_true(weir_switch_is_off(handle));
    assert_got(&r, 1, 2, 3);
    assert_over(&r, WEIR_OK);
    rig_done(&r);
}

static void off_with_an_error_fails_below(void **state)
{
    (void)state;
    rig r = rig_with(weir_switch_stage(handle));
    weir_switch_off(handle, WEIR_EUNAVAILABLE);
    settle(&r);
    assert_over(&r, WEIR_EUNAVAILABLE);
    rig_done(&r);
}

static void off_before_the_start_counts(void **state)
{
    (void)state;
    weir_switch_off(handle, WEIR_OK);
    rig r = rig_with(weir_switch_stage(handle));
    assert_over(&r, WEIR_OK);
    rig_done(&r);
}

static void one_switch_ends_all_pipelines_behind_it(void **state)
{
    (void)state;
    rig rigs[3];
    for (int i = 0; i < 3; i++)
        rigs[i] = rig_with(weir_switch_stage(handle));
    rig_end(&rigs[1]); /* is over before */
    weir_switch_off(handle, WEIR_OK);
    for (int i = 0; i < 3; i++) {
        settle(&rigs[i]);
        assert_true(weir_probe_is_over(rigs[i].to, NULL));
        rig_done(&rigs[i]);
    }
}

static void abort_ends_the_items_that_are_held(void **state)
{
    (void)state;
    rig r = rig_with(weir_switch_stage(handle));
    weir_probe_keep(r.to, true);
    rig_request(&r, 10);
    rig_feed(&r, 1, 3);
    weir_switch_abort(handle);
    weir_switch_abort(handle);
    assert_true(weir_switch_is_off(handle));
    settle(&r);
    assert_ended(&r, WEIR_ABORTED, 3);
    rig_done(&r);
}

static void off_lets_what_is_held_end_by_itself(void **state)
{
    (void)state;
    rig r = rig_with(weir_switch_stage(handle));
    weir_probe_keep(r.to, true);
    rig_request(&r, 10);
    rig_feed(&r, 1, 1);
    weir_switch_off(handle, WEIR_OK);
    settle(&r);
    assert_false(weir_pipeline_is_finished(r.pipeline));
    weir_item_ack(weir_probe_take(r.to));
    settle(&r);
    assert_ended(&r, WEIR_ACKED, 1);
    rig_done(&r);
}

static void abort_before_the_start_counts(void **state)
{
    (void)state;
    weir_switch_abort(handle);
    rig r = rig_with(weir_switch_stage(handle));
    rig_done(&r);
}

static void errors_cancels_and_aborts_pass(void **state)
{
    (void)state;
    rig r = rig_with(weir_switch_stage(handle));
    weir_probe_end_error(r.from, WEIR_EIO);
    settle(&r);
    weir_status status;
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    rig_done(&r);
    r = rig_with(weir_switch_stage(handle));
    rig_cancel(&r);
    assert_true(weir_probe_is_cancelled(r.from));
    rig_done(&r);
    r = rig_with(weir_switch_stage(handle));
    rig_feed(&r, 1, 3);
    rig_abort_and_done(&r);
}

static void off_never_allocates(void **state)
{
    (void)state;
    rig r = rig_with(weir_switch_stage(handle));
    weir_testkit_fail_all(r.kit, true);
    uint64_t before = weir_testkit_allocations(r.kit);
    weir_switch_off(handle, WEIR_OK);
    settle(&r);
    assert_int_equal(weir_testkit_allocations(r.kit), before);
    weir_testkit_fail_all(r.kit, false);
    rig_done(&r);
}

static void a_failed_allocation_gives_no_switch(void **state)
{
    (void)state;
    weir_testkit *kit = weir_testkit_new(1, 7);
    weir_testkit_fail_all(kit, true);
    assert_null(weir_switch_new(weir_testkit_env(kit)));
    assert_int_equal(weir_testkit_free(kit), 0);
}

/* ---- On threads ---- */

static void endless_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)state;
    for (; credit > 0; credit--)
        weir_emit(out, weir_item_new(weir_stage_loop(stage), NULL, 8));
}

static const weir_stage_type endless_type = { .name = "endless",
                                              .inputs = WEIR_PORTS_NONE,
                                              .on_demand = endless_on_demand };
static const weir_stage_type sink_type = { .name = "sink", .outputs = WEIR_PORTS_NONE };

static void *switch_off(void *user)
{
    weir_pipeline *p = user;
    weir_stage_stats stats = { 0 };
    while (stats.items_in < 100000)
        assert_int_equal(weir_pipeline_stage_stats(p, 2, &stats), WEIR_OK);
    weir_switch_off(handle, WEIR_OK);
    return NULL;
}

static void another_thread_switches_off_all_loops(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
    weir_from(p, weir_stage_of(&endless_type, NULL));
    weir_via(p, weir_switch_stage(handle));
    weir_into(p, weir_stage_of(&sink_type, NULL));
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, switch_off, p), 0);
    assert_int_equal(weir_run(p), WEIR_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    weir_pipeline_free(p);
}

#define WITH_SWITCH(test) cmocka_unit_test_setup_teardown(test, make_switch, free_switch)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_SWITCH(a_switch_that_is_on_passes_what_is_asked_for),
        WITH_SWITCH(off_ends_below_and_cancels_above),
        WITH_SWITCH(off_with_an_error_fails_below),
        WITH_SWITCH(off_before_the_start_counts),
        WITH_SWITCH(one_switch_ends_all_pipelines_behind_it),
        WITH_SWITCH(abort_ends_the_items_that_are_held),
        WITH_SWITCH(off_lets_what_is_held_end_by_itself),
        WITH_SWITCH(abort_before_the_start_counts),
        WITH_SWITCH(errors_cancels_and_aborts_pass),
        WITH_SWITCH(off_never_allocates),
        cmocka_unit_test(a_failed_allocation_gives_no_switch),
        WITH_SWITCH(another_thread_switches_off_all_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
