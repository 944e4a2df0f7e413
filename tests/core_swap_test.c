/* What is left behind when a stage goes, and what it may not take with it. */
#include "core_rig.h"

#include <weir/inlet.h>
#include <weir/stages.h>

static void swap_to(rig *r, const char *name, weir_stage_spec *spec)
{
    const char *why = NULL;
    if (weir_pipeline_swap(r->p, name, spec, NULL, &why) != WEIR_OK)
        fail_msg("swap: %s", why);
    rig_settle(r);
}

/* ---- Tasks that are still to run ---- */

static weir_inlet *ended_by_sink;
static weir_stage *sink_stage;

static weir_status sink_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    sink_stage = stage;
    return WEIR_OK;
}

static void sink_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static weir_status sink_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)stage;
    (void)state;
    weir_item_ack(item);
    weir_inlet_end(ended_by_sink);
    return weir_request(in, 1);
}

static const weir_stage_type ending_sink_type = { .name = "sink",
                                                  .outputs = WEIR_PORTS_NONE,
                                                  .open = sink_open,
                                                  .on_demand = sink_on_demand,
                                                  .on_item = sink_on_item };

static void what_was_posted_to_a_stage_finds_its_state(void **unused)
{
    (void)unused;
    rig r = rig_new();
    ended_by_sink = weir_inlet_new(weir_testkit_env(r.kit), NULL);
    assert_non_null(ended_by_sink);
    for (int i = 0; i < 2; i++)
        assert_int_equal(weir_inlet_offer(ended_by_sink, must(weir_item_new_foreign(
                                                             weir_testkit_env(r.kit), NULL, 8))),
                         WEIR_OK);
    weir_from(r.p, weir_from_inlet(ended_by_sink));
    weir_into(r.p, weir_stage_of(&ending_sink_type, NULL));
    rig_start(&r);
    swap_to(&r, "inlet", weir_probe_source(r.from));
    assert_int_equal(weir_request(weir_stage_in(sink_stage), 1), WEIR_OK);
    rig_settle(&r); /* the inlet wakes its source, which goes before it wakes */
    assert_non_null(weir_probe_stage(r.from));
    weir_inlet_free(ended_by_sink);
    weir_probe_end(r.from);
    rig_done(&r);
}

static weir_switch *handle;

static void flip(weir_task *task, void *user)
{
    (void)task;
    (void)user;
    weir_switch_off(handle, WEIR_OK);
}

static void what_was_posted_to_a_stage_leaves_the_next_one_alone(void **unused)
{
    (void)unused;
    rig r = rig_new();
    handle = weir_switch_new(weir_testkit_env(r.kit));
    weir_from(r.p, weir_probe_source(r.from));
    weir_via(r.p, weir_switch_stage(handle));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    weir_probe_request(r.to, 10);
    rig_settle(&r);
    assert_true(weir_probe_feed(r.from, 1));
    assert_int_equal(weir_pipeline_swap(r.p, "switch", weir_take(100), NULL, NULL), WEIR_OK);
    weir_task task = WEIR_TASK(flip, NULL); /* in the turn in which the stages change */
    weir_post(weir_testkit_loop(r.kit, 0), &task);
    rig_settle(&r);
    assert_false(weir_probe_is_cancelled(r.from));
    assert_int_equal(weir_probe_received(r.to), 1);
    weir_switch_free(handle);
    weir_probe_end(r.from);
    rig_done(&r);
}

/* ---- Sources ---- */

static weir_stage *holder;

static weir_status holder_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    holder = stage;
    weir_stage_hold(stage);
    return WEIR_OK;
}

static void holder_abort(weir_stage *stage, void *state)
{
    (void)state;
    if (holder != NULL)
        weir_stage_release(stage);
    holder = NULL;
}

static const weir_stage_type holder_type = {
    .name = "holder", .inputs = WEIR_PORTS_NONE, .open = holder_open, .on_abort = holder_abort
};

static void a_drain_while_a_source_goes_is_for_the_one_that_comes(void **unused)
{
    (void)unused;
    rig r = rig_new();
    weir_from(r.p, weir_stage_of(&holder_type, NULL));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    swap_to(&r, "holder", weir_probe_source(r.from));
    weir_pipeline_shutdown(r.p, WEIR_DRAIN, 0);
    rig_settle(&r);
    weir_stage *held = holder;
    holder = NULL;
    weir_stage_release(held);
    rig_done(&r);
}

static void an_inlet_is_swapped_on_every_replica(void **unused)
{
    (void)unused;
    rig r = rig_with(3, (weir_pipeline_config){ 0 });
    weir_inlet *inlet = weir_inlet_new(weir_testkit_env(r.kit), NULL);
    weir_from(r.p, weir_from_inlet(inlet));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    weir_item *item = must(weir_item_new_foreign(weir_testkit_env(r.kit), NULL, 8));
    assert_int_equal(weir_inlet_offer(inlet, item), WEIR_OK);
    for (uint32_t i = 0; i < 3; i++)
        weir_probe_request(weir_probe_replica(r.to, i), 1);
    swap_to(&r, "inlet", weir_probe_source(r.from));
    uint64_t got = 0;
    for (uint32_t i = 0; i < 3; i++) {
        got += weir_probe_received(weir_probe_replica(r.to, i));
        assert_non_null(weir_probe_stage(weir_probe_replica(r.from, i)));
        weir_probe_end(weir_probe_replica(r.from, i));
    }
    assert_int_equal(got, 1);
    weir_inlet_free(inlet);
    rig_done(&r);
}

/* ---- Sinks ---- */

static void a_sink_that_has_not_asked_yet_is_not_starved(void **unused)
{
    (void)unused;
    rig r = rig_new();
    weir_probe *to = weir_testkit_probe(r.kit);
    rig_chain(&r, NULL);
    rig_start(&r);
    weir_probe_request(r.to, 10); /* granted, to the one that goes */
    rig_settle(&r);
    swap_to(&r, "probe_sink", weir_probe_sink(to));
    weir_stage_stats before = rig_stats(&r, 1);
    assert_true(weir_testkit_advance(r.kit, WEIR_SEC));
    weir_probe_request(to, 1);
    rig_settle(&r);
    assert_int_equal(rig_stats(&r, 1).starved_ns - before.starved_ns, 0);
    assert_true(weir_testkit_advance(r.kit, WEIR_SEC));
    assert_true(weir_probe_feed(r.from, 1));
    rig_settle(&r);
    weir_probe_request(to, 1);
    rig_settle(&r);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_int_equal(rig_stats(&r, 1).starved_ns - before.starved_ns, WEIR_SEC);
    rig_done(&r);
}

/* ---- Stages of several inputs ---- */

static void a_zip_that_goes_cancels_none_of_its_inputs(void **unused)
{
    (void)unused;
    rig r = rig_new();
    weir_probe *other = weir_testkit_probe(r.kit);
    weir_node *zip = weir_add(r.p, weir_zip());
    weir_link(weir_add(r.p, weir_probe_source(r.from)), 0, zip, 0, NULL);
    weir_link(weir_add(r.p, weir_probe_source(other)), 0, zip, 1, NULL);
    weir_link(zip, 0, weir_add(r.p, weir_probe_sink(r.to)), 0, NULL);
    rig_start(&r);
    weir_probe_request(r.to, 10);
    rig_settle(&r);
    swap_to(&r, "zip", weir_zip());
    assert_false(weir_probe_is_cancelled(r.from));
    assert_false(weir_probe_is_cancelled(other));
    assert_true(weir_probe_feed(r.from, 1) && weir_probe_feed(other, 2));
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 1);
    weir_probe_end(r.from);
    weir_probe_end(other);
    rig_done(&r);
}

/* ---- Fused chains ---- */

static weir_status as_it_is(weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return WEIR_OK;
}

static void change_is_over(weir_pipeline *p, weir_status status, const char *why, void *user)
{
    (void)p;
    (void)why;
    *(int *)user += status == WEIR_OK ? 1 : 100;
}

static void a_window_in_a_chain_waits_for_no_item_that_is_followed_to_its_end(void **unused)
{
    (void)unused;
    rig r = rig_new();
    int told = 0;
    weir_on_changed on_changed = { change_is_over, &told };
    weir_from(r.p, weir_probe_source(r.from));
    weir_via(r.p, weir_dedup(&(weir_dedup_config){ .forgets_failed = true }));
    weir_via(r.p, weir_map(as_it_is, NULL));
    weir_into(r.p, weir_probe_sink(r.to));
    weir_probe_keep(r.to, true);
    rig_start(&r);
    weir_probe_request(r.to, 10);
    for (uint64_t i = 1; i <= 3; i++)
        assert_true(weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .key = i }));
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 3);
    assert_int_equal(weir_pipeline_set_window(r.p, "map", 0, 1, &on_changed, NULL), WEIR_OK);
    rig_settle(&r);
    assert_int_equal(told, 1);
    assert_true(weir_probe_feed(r.from, 4));
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 4);
    for (weir_item *item; (item = weir_probe_take(r.to)) != NULL;)
        weir_item_ack(item);
    weir_probe_end(r.from);
    rig_done(&r);
}

/* ---- Items that do not end ---- */

typedef struct answers {
    int over, late;
} answers;

static void note_answer(weir_pipeline *p, weir_status status, const char *why, void *user)
{
    answers *a = user;
    (void)p;
    assert_non_null(why);
    a->over += status == WEIR_OK;
    a->late += status == WEIR_EDEADLINE;
}

/* A dedup that is to go, and follows an item that the sink keeps. */
static rig follower_new(void)
{
    rig r = rig_new();
    weir_from(r.p, weir_probe_source(r.from));
    weir_via(r.p, weir_dedup(&(weir_dedup_config){ .forgets_failed = true }));
    weir_into(r.p, weir_probe_sink(r.to));
    weir_probe_keep(r.to, true);
    rig_start(&r);
    weir_probe_request(r.to, 10);
    assert_true(weir_probe_feed_item(r.from, &(weir_probe_item){ .value = 1, .key = 1 }));
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 1);
    return r;
}

static void change(rig *r, weir_stage_spec *spec, answers *a)
{
    weir_on_changed on_changed = { note_answer, a };
    assert_int_equal(weir_pipeline_swap(r->p, "dedup", spec, &on_changed, NULL), WEIR_OK);
    rig_settle(r);
}

static void a_swap_that_takes_too_long_says_so_and_goes_on(void **unused)
{
    (void)unused;
    rig r = follower_new();
    answers first = { 0 }, behind = { 0 };
    change(&r, weir_take(100), &first);
    change(&r, weir_take(200), &behind);
    assert_true(weir_testkit_advance(r.kit, 29 * WEIR_SEC));
    assert_int_equal(first.late + first.over + behind.late + behind.over, 0);
    assert_true(weir_testkit_advance_by(r.kit, 100 * WEIR_SEC, WEIR_SEC));
    assert_int_equal(first.late, 1);
    assert_int_equal(behind.late, 1);
    weir_item_ack(weir_probe_take(r.to));
    assert_true(weir_probe_feed(r.from, 2));
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 2);
    weir_item_ack(weir_probe_take(r.to));
    assert_int_equal(first.over + behind.over, 0);
    assert_int_equal(first.late + behind.late, 2);
    weir_probe_end(r.from);
    rig_done(&r);
}

static void a_swap_that_is_over_in_time_is_not_told_as_late(void **unused)
{
    (void)unused;
    rig r = follower_new();
    answers a = { 0 };
    change(&r, weir_take(100), &a);
    assert_true(weir_testkit_advance(r.kit, 29 * WEIR_SEC));
    weir_item_ack(weir_probe_take(r.to));
    rig_settle(&r);
    assert_true(weir_testkit_advance_by(r.kit, 100 * WEIR_SEC, WEIR_SEC));
    assert_int_equal(a.over, 1);
    assert_int_equal(a.late, 0);
    weir_probe_end(r.from);
    rig_done(&r);
}

static void an_abort_ends_a_swap_that_is_late(void **unused)
{
    (void)unused;
    rig r = follower_new();
    answers a = { 0 };
    change(&r, weir_take(100), &a);
    assert_true(weir_testkit_advance(r.kit, 31 * WEIR_SEC));
    assert_int_equal(a.late, 1);
    weir_pipeline_shutdown(r.p, WEIR_ABORT, 0);
    rig_settle(&r); /* the sink lets go of its item */
    assert_true(weir_pipeline_is_finished(r.p));
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_posted_to_a_stage_finds_its_state),
        cmocka_unit_test(what_was_posted_to_a_stage_leaves_the_next_one_alone),
        cmocka_unit_test(a_drain_while_a_source_goes_is_for_the_one_that_comes),
        cmocka_unit_test(an_inlet_is_swapped_on_every_replica),
        cmocka_unit_test(a_sink_that_has_not_asked_yet_is_not_starved),
        cmocka_unit_test(a_zip_that_goes_cancels_none_of_its_inputs),
        cmocka_unit_test(a_window_in_a_chain_waits_for_no_item_that_is_followed_to_its_end),
        cmocka_unit_test(a_swap_that_takes_too_long_says_so_and_goes_on),
        cmocka_unit_test(a_swap_that_is_over_in_time_is_not_told_as_late),
        cmocka_unit_test(an_abort_ends_a_swap_that_is_late),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
