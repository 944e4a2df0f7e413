/* The testkit as a simulator: choices by the seed, faults, what it reports, and what tests expect
 * of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/stages.h>
#include <weir/testkit.h>

typedef struct rig {
    weir_testkit *kit;
    weir_pipeline *p;
    weir_probe *from, *to;
} rig;

static weir_status twice(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) *= 2;
    return WEIR_OK;
}

/* Probe, the stage, probe. With two loops, the stage is on the second. */
static rig rig_with(const weir_testkit_config *config, weir_stage_spec *stage)
{
    rig r = { .kit = weir_testkit_new_with(config) };
    assert_non_null(r.kit);
    r.p = weir_testkit_pipeline(r.kit);
    r.from = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    weir_from(r.p, weir_probe_source(r.from));
    weir_node *node = weir_via(r.p, stage);
    weir_node_place(node, config != NULL && config->loops > 1 ? 1 : 0);
    weir_into(r.p, weir_probe_sink(r.to));
    return r;
}

static void feed_and_ask(rig *r, uint64_t n)
{
    assert_int_equal(weir_testkit_start(r->kit, r->p), WEIR_OK);
    for (uint64_t i = 1; i <= n; i++)
        assert_true(weir_probe_feed(r->from, i));
    weir_probe_request(r->to, n);
    (void)weir_testkit_settle(r->kit);
}

static void rig_done(rig *r)
{
    weir_pipeline_free(r->p);
    assert_int_equal(weir_testkit_free(r->kit), 0);
}

static void rig_finish(rig *r)
{
    weir_probe_end(r->from);
    if (!weir_testkit_expect_clean(r->kit))
        fail_msg("%s", weir_testkit_why(r->kit));
    rig_done(r);
}

/* ---- The seed ---- */

static uint64_t trace_of(uint64_t seed)
{
    rig r = rig_with(&(weir_testkit_config){ .loops = 3, .seed = seed, .shuffle = true },
                     weir_map(twice, NULL));
    feed_and_ask(&r, 50);
    weir_probe_end(r.from);
    assert_true(weir_testkit_expect_clean(r.kit));
    uint64_t trace = weir_testkit_trace(r.kit);
    assert_true(weir_testkit_steps(r.kit) > 10);
    rig_done(&r);
    return trace;
}

static void the_same_seed_leaves_the_same_trace(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++)
        assert_true(trace_of(seed) == trace_of(seed));
}

static void another_seed_goes_another_way(void **state)
{
    (void)state;
    uint32_t differ = 0;
    for (uint64_t seed = 0; seed < 20; seed++)
        differ += trace_of(seed) != trace_of(seed + 1);
    assert_true(differ >= 19);
}

static void whatever_the_seed_a_stage_gets_its_items_in_order(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 50; seed++) {
        rig r = rig_with(&(weir_testkit_config){ .loops = 2, .seed = seed, .shuffle = true },
                         weir_map(twice, NULL));
        feed_and_ask(&r, 5);
        assert_true(weir_probe_expect(r.to, 5, (uint64_t[]){ 2, 4, 6, 8, 10 }));
        rig_finish(&r);
    }
}

typedef struct fired {
    weir_timer timer;
    uint32_t *order, *n, which;
} fired;

static void note_fired(weir_timer *timer, void *user)
{
    fired *f = user;
    (void)timer;
    f->order[(*f->n)++] = f->which;
}

static void timers_of_one_instant_fire_in_any_order(void **state)
{
    (void)state;
    uint32_t swapped = 0;
    for (uint64_t seed = 0; seed < 32; seed++) {
        weir_testkit *kit =
            weir_testkit_new_with(&(weir_testkit_config){ .seed = seed, .shuffle = true });
        uint32_t order[2], n = 0;
        fired timers[2] = { { .order = order, .n = &n, .which = 0 },
                            { .order = order, .n = &n, .which = 1 } };
        for (int i = 0; i < 2; i++)
            weir_timer_start(weir_testkit_loop(kit, 0), &timers[i].timer, WEIR_MS, note_fired,
                             &timers[i]);
        assert_true(weir_testkit_advance(kit, WEIR_MS));
        assert_int_equal(n, 2);
        swapped += order[0] == 1;
        assert_int_equal(weir_testkit_free(kit), 0);
    }
    assert_in_range(swapped, 4, 28);
}

/* ---- Faults ---- */

static void a_callback_that_fails_stops_the_pipeline(void **state)
{
    (void)state;
    rig r = rig_with(NULL, weir_buffer(NULL));
    weir_testkit_fault(r.kit, WEIR_FAULT_CALLBACK, 1);
    feed_and_ask(&r, 3);
    assert_int_equal(weir_pipeline_status(r.p), WEIR_EIO);
    assert_int_equal(weir_testkit_fault_hits(r.kit, WEIR_FAULT_CALLBACK), 1);
    rig_finish(&r);
}

static void a_stage_that_cannot_open_stops_the_pipeline(void **state)
{
    (void)state;
    rig r = rig_with(NULL, weir_map(twice, NULL));
    weir_testkit_fault(r.kit, WEIR_FAULT_OPEN, 2);
    feed_and_ask(&r, 3);
    assert_int_equal(weir_pipeline_status(r.p), WEIR_EUNAVAILABLE);
    rig_finish(&r);
}

static void an_allocation_that_fails_is_not_lost_track_of(void **state)
{
    (void)state;
    rig r = rig_with(&(weir_testkit_config){ .faults_ppm[WEIR_FAULT_ALLOCATION] = 500000 },
                     weir_batch(&(weir_batch_config){ .count = 2 }));
    feed_and_ask(&r, 4);
    weir_pipeline_shutdown(r.p, WEIR_ABORT, 0);
    rig_finish(&r);
}

static void an_ack_that_comes_late_still_comes(void **state)
{
    (void)state;
    rig r = rig_with(&(weir_testkit_config){ .faults_ppm[WEIR_FAULT_ACK_LATE] = 1000000 },
                     weir_map(twice, NULL));
    feed_and_ask(&r, 3);
    assert_true(weir_probe_expect(r.to, 3, (uint64_t[]){ 2, 4, 6 }));
    assert_int_equal(weir_probe_live(r.from), 3);
    assert_true(weir_testkit_advance(r.kit, 20 * WEIR_MS));
    assert_int_equal(weir_probe_ended(r.from, WEIR_ACKED), 3);
    rig_finish(&r);
}

static void an_ack_that_is_lost_is_reported(void **state)
{
    (void)state;
    rig r = rig_with(NULL, weir_map(twice, NULL));
    weir_testkit_fault(r.kit, WEIR_FAULT_ACK_LOST, 2);
    feed_and_ask(&r, 3);
    weir_probe_end(r.from);
    assert_false(weir_testkit_expect_clean(r.kit));
    assert_string_equal(weir_testkit_why(r.kit), "1 items of a source have not ended");
    rig_done(&r); /* and its source hears of it: freeing the kit ends it */
}

static void an_ack_that_comes_twice_is_reported(void **state)
{
    (void)state;
    rig r = rig_with(NULL, weir_map(twice, NULL));
    weir_testkit_fault(r.kit, WEIR_FAULT_ACK_DOUBLED, 2);
    feed_and_ask(&r, 3);
    assert_false(weir_testkit_check(r.kit));
    assert_string_equal(weir_testkit_why(r.kit), "an item was ended that had ended already");
    weir_probe_end(r.from);
    (void)weir_testkit_settle(r.kit);
    rig_done(&r);
}

static void acks_all_and_one_again(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    weir_item *items[4];
    (void)in;
    (void)status;
    (void)state;
    assert_int_equal(weir_items_new(weir_stage_loop(stage), NULL, 0, items, 4), 4);
    weir_items_ack(items, 4);
    weir_item_ack(items[1]);
    weir_end(weir_stage_out(stage));
}

static void an_ack_after_one_in_a_vector_is_reported_and_counted(void **state)
{
    static const weir_stage_type type = { .name = "again", .on_end = acks_all_and_one_again };
    (void)state;
    rig r = rig_with(NULL, weir_stage_of(&type, NULL));
    feed_and_ask(&r, 3);
    weir_probe_end(r.from);
    (void)weir_testkit_settle(r.kit);
    assert_false(weir_testkit_check(r.kit));
    assert_string_equal(weir_testkit_why(r.kit), "an item was ended that had ended already");
    weir_loop_stats stats;
    weir_loop_stats_get(weir_testkit_loop(r.kit, 0), &stats);
    assert_int_equal(stats.items_ended_twice, 1);
    assert_int_equal(stats.items_live, 0);
    rig_done(&r);
}

static void a_sink_may_cancel_after_any_step(void **state)
{
    (void)state;
    for (uint64_t step = 1; step < 30; step++) {
        rig r = rig_with(&(weir_testkit_config){ .loops = 2, .seed = step, .shuffle = true },
                         weir_buffer(NULL));
        weir_testkit_fault(r.kit, WEIR_FAULT_CANCEL, step);
        feed_and_ask(&r, 10);
        rig_finish(&r);
    }
}

static void a_timer_may_be_late_and_a_loop_may_stall(void **state)
{
    (void)state;
    weir_testkit_config config = { .loops = 2,
                                   .shuffle = true,
                                   .faults_ppm = { [WEIR_FAULT_TIMER_LATE] = 500000,
                                                   [WEIR_FAULT_LOOP_STALL] = 100000,
                                                   [WEIR_FAULT_CLOCK_JUMP] = 500000 } };
    rig r = rig_with(&config, weir_batch(&(weir_batch_config){ .wait_us = 1000 }));
    feed_and_ask(&r, 3);
    for (int i = 0; i < 20; i++)
        assert_true(weir_testkit_advance(r.kit, WEIR_MS));
    assert_int_equal(weir_probe_received(r.to), 1);
    assert_true(weir_testkit_fault_hits(r.kit, WEIR_FAULT_LOOP_STALL) > 0);
    assert_true(weir_testkit_fault_hits(r.kit, WEIR_FAULT_CLOCK_JUMP) > 0);
    rig_finish(&r);
}

/* ---- What breaks the contract ---- */

static void greedy_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    (void)state;
    (void)weir_request(weir_stage_in(stage), 10);
}

static const weir_stage_type greedy_type = { .name = "greedy", .on_demand = greedy_on_demand };

static void a_stage_that_emits_without_credit_is_named(void **state)
{
    (void)state;
    rig r = rig_with(NULL, weir_stage_of(&greedy_type, NULL));
    assert_int_equal(weir_testkit_start(r.kit, r.p), WEIR_OK);
    for (uint64_t i = 0; i < 10; i++)
        assert_true(weir_probe_feed(r.from, i));
    weir_probe_request(r.to, 1);
    (void)weir_testkit_settle(r.kit);
    assert_false(weir_testkit_check(r.kit));
    assert_string_equal(weir_testkit_why(r.kit),
                        "greedy: a stage emitted without credit, or after its end");
    weir_probe_end(r.from);
    (void)weir_testkit_settle(r.kit);
    rig_done(&r);
}

static weir_status forget(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    weir_item **kept = state;
    if (*kept == NULL)
        *kept = weir_item_new(weir_stage_loop(stage), NULL, 8);
    weir_emit(weir_stage_out(stage), item);
    return WEIR_OK;
}

static const weir_stage_type forgetful_type = { .name = "forgetful",
                                                .state_size = sizeof(weir_item *),
                                                .on_item = forget };

static void an_item_of_nobody_that_leaks_is_counted(void **state)
{
    (void)state;
    rig r = rig_with(NULL, weir_stage_of(&forgetful_type, NULL));
    feed_and_ask(&r, 3);
    weir_probe_end(r.from);
    assert_false(weir_testkit_expect_clean(r.kit));
    assert_string_equal(weir_testkit_why(r.kit), "1 items were never ended");
    rig_done(&r);
}

/* ---- What tests expect ---- */

static void expectations_say_what_is_wrong(void **state)
{
    (void)state;
    rig r = rig_with(NULL, weir_map(twice, NULL));
    feed_and_ask(&r, 2);
    assert_true(weir_probe_expect(r.to, 2, (uint64_t[]){ 2, 4 }));
    assert_false(weir_probe_expect(r.to, 2, (uint64_t[]){ 2, 5 }));
    assert_string_equal(weir_testkit_why(r.kit), "expected 5 as value 1, got 4");
    assert_false(weir_probe_expect(r.to, 3, (uint64_t[]){ 2, 4, 6 }));
    assert_false(weir_probe_expect_end(r.to, WEIR_OK));
    assert_false(weir_probe_expect_demand(r.from, 1));
    assert_true(weir_probe_expect_demand(r.from, 0));
    assert_true(weir_probe_expect_outcome(r.from, 1, WEIR_ACKED));
    assert_false(weir_probe_expect_outcome(r.from, 2, WEIR_ACKED));
    weir_probe_end(r.from);
    assert_true(weir_testkit_settle(r.kit));
    assert_true(weir_probe_expect_end(r.to, WEIR_OK));
    rig_done(&r);
}

static void a_pipeline_that_still_runs_is_not_clean(void **state)
{
    (void)state;
    rig r = rig_with(NULL, weir_map(twice, NULL));
    feed_and_ask(&r, 1);
    assert_false(weir_testkit_expect_clean(r.kit));
    assert_non_null(strstr(weir_testkit_why(r.kit), "testkit is still running: "));
    weir_probe_end(r.from);
    assert_true(weir_testkit_settle(r.kit));
    rig_done(&r);
}

static void count_origins(const weir_item *item, void *user)
{
    weir_probe *source;
    uint64_t index;
    const weir_items *members = weir_item_members(item);
    assert_false(weir_probe_origin(item, &source, &index));
    for (size_t i = 0; i < members->n; i++)
        if (weir_probe_origin(members->items[i], &source, &index))
            *(uint64_t *)user += index;
}

static void an_item_knows_what_it_was_made_of(void **state)
{
    (void)state;
    uint64_t sum = 0;
    rig r = rig_with(NULL, weir_batch(&(weir_batch_config){ .count = 3 }));
    weir_probe_look(r.to, count_origins, &sum);
    feed_and_ask(&r, 3);
    assert_int_equal(sum, 0 + 1 + 2);
    rig_finish(&r);
}

static void lines_are_kept(const char *line, void *user)
{
    (*(uint32_t *)user)++;
    assert_true(strchr(line, '\n') == NULL);
}

static void the_log_has_a_line_for_every_step(void **state)
{
    (void)state;
    uint32_t lines = 0;
    rig r = rig_with(&(weir_testkit_config){ .log = lines_are_kept, .user = &lines },
                     weir_map(twice, NULL));
    feed_and_ask(&r, 1);
    assert_true(lines >= weir_testkit_steps(r.kit));
    rig_finish(&r);
}

static weir_stage *keen;

static weir_status holds_for_ever(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    (void)state;
    weir_stage_hold(keen = stage);
    weir_emit(weir_stage_out(stage), item);
    return WEIR_OK;
}

static void a_stage_that_stays_open_is_named_with_its_holds(void **state)
{
    (void)state;
    static const weir_stage_type type = { .name = "keen", .on_item = holds_for_ever };
    rig r = rig_with(NULL, weir_stage_of(&type, NULL));
    feed_and_ask(&r, 3);
    weir_probe_end(r.from);
    assert_false(weir_testkit_expect_clean(r.kit));
    assert_string_equal(weir_testkit_why(r.kit),
                        "testkit is still running: keen is open, with 3 holds");
    for (int i = 0; i < 3; i++)
        weir_stage_release(keen);
    assert_true(weir_testkit_settle(r.kit));
    rig_done(&r);
}

static size_t grows(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)stage;
    (void)items;
    (void)state;
    return n + 1;
}

static void a_transform_that_gives_more_than_it_got_is_named_and_survived(void **state)
{
    (void)state;
    static const weir_stage_type type = { .name = "grower", .transform = grows };
    rig r = rig_with(NULL, weir_stage_of(&type, NULL));
    feed_and_ask(&r, 3);
    weir_probe_end(r.from);
    assert_false(weir_testkit_expect_clean(r.kit));
    assert_string_equal(weir_testkit_why(r.kit), "grower: transform gave more than it got");
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_same_seed_leaves_the_same_trace),
        cmocka_unit_test(another_seed_goes_another_way),
        cmocka_unit_test(whatever_the_seed_a_stage_gets_its_items_in_order),
        cmocka_unit_test(timers_of_one_instant_fire_in_any_order),
        cmocka_unit_test(a_callback_that_fails_stops_the_pipeline),
        cmocka_unit_test(a_stage_that_cannot_open_stops_the_pipeline),
        cmocka_unit_test(an_allocation_that_fails_is_not_lost_track_of),
        cmocka_unit_test(an_ack_that_comes_late_still_comes),
        cmocka_unit_test(an_ack_that_is_lost_is_reported),
        cmocka_unit_test(an_ack_that_comes_twice_is_reported),
        cmocka_unit_test(an_ack_after_one_in_a_vector_is_reported_and_counted),
        cmocka_unit_test(a_sink_may_cancel_after_any_step),
        cmocka_unit_test(a_timer_may_be_late_and_a_loop_may_stall),
        cmocka_unit_test(a_stage_that_emits_without_credit_is_named),
        cmocka_unit_test(an_item_of_nobody_that_leaks_is_counted),
        cmocka_unit_test(expectations_say_what_is_wrong),
        cmocka_unit_test(a_pipeline_that_still_runs_is_not_clean),
        cmocka_unit_test(an_item_knows_what_it_was_made_of),
        cmocka_unit_test(the_log_has_a_line_for_every_step),
        cmocka_unit_test(a_stage_that_stays_open_is_named_with_its_holds),
        cmocka_unit_test(a_transform_that_gives_more_than_it_got_is_named_and_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
