/* The contract of stages and edges, rule by rule, on virtual loops. */
#include "core_rig.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weir/inlet.h>

/* ---- Rule 1: credit ---- */

static void what_is_emitted_never_exceeds_what_was_requested(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    rig_start(&r);
    rig_feed(&r, 1000);
    uint64_t asked = 0;
    for (uint64_t n = 1; asked < 600; n = n * 3 % 17 + 1) {
        weir_probe_request(r.to, n);
        asked += n;
        rig_settle(&r);
        assert_int_equal(weir_probe_received(r.to), asked);
        assert_int_equal(weir_probe_emitted(r.from), asked);
        assert_int_equal(weir_probe_demand(r.from), 0);
    }
    weir_probe_cancel(r.to);
    rig_done(&r);
}

static void nothing_is_emitted_without_a_request(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    rig_start(&r);
    rig_feed(&r, 10);
    rig_settle(&r);
    assert_int_equal(weir_probe_emitted(r.from), 0);
    weir_probe_cancel(r.to);
    rig_done(&r);
}

static void a_request_of_nothing_is_invalid(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    rig_start(&r);
    weir_in *in = weir_stage_in(weir_probe_stage(r.to));
    assert_int_equal(weir_request(in, 0), WEIR_EINVAL);
    assert_int_equal(weir_in_outstanding(in), 0);
    weir_probe_cancel(r.to);
    assert_int_equal(weir_request(in, 0), WEIR_EINVAL);
    assert_int_equal(weir_request(in, 5), WEIR_OK);
    assert_int_equal(weir_in_outstanding(in), 0);
    rig_done(&r);
}

static void a_stage_knows_what_an_item_of_its_input_costs_at_most(void **state)
{
    (void)state;
    for (uint32_t bytes = 0; bytes < 2000; bytes += 1000) {
        rig r = rig_new();
        weir_from(r.p, weir_probe_source(r.from));
        weir_node_window(weir_into(r.p, weir_probe_sink(r.to)),
                         &(weir_edge_config){ .item_bytes_max = bytes });
        rig_start(&r);
        weir_in *in = weir_stage_in(weir_probe_stage(r.to));
        assert_int_equal(weir_in_item_bytes_max(in), bytes != 0 ? bytes : 2 << 20);
        weir_probe_cancel(r.to);
        rig_done(&r);
    }
}

static void an_input_that_is_over_has_nothing_outstanding(void **state)
{
    (void)state;
    for (int cancels = 0; cancels < 2; cancels++) {
        rig r = rig_new();
        rig_chain(&r, NULL);
        rig_start(&r);
        weir_in *in = weir_stage_in(weir_probe_stage(r.to));
        weir_probe_keep(r.to, true); /* which holds the stage open */
        weir_probe_request(r.to, 9);
        rig_feed(&r, 2);
        rig_settle(&r);
        assert_int_equal(weir_in_outstanding(in), 7);
        if (cancels != 0)
            weir_probe_cancel(r.to);
        else
            weir_probe_end(r.from);
        rig_settle(&r);
        assert_int_equal(weir_in_outstanding(in), 0);
        for (weir_item *item; (item = weir_probe_take(r.to)) != NULL;)
            weir_item_ack(item);
        rig_settle(&r);
        rig_done(&r);
    }
}

static void requests_saturate_and_unbounded_stays_so(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    rig_start(&r);
    weir_in *in = weir_stage_in(weir_probe_stage(r.to));
    weir_probe_request(r.to, WEIR_UNBOUNDED - 3);
    weir_probe_request(r.to, WEIR_UNBOUNDED - 3);
    assert_int_equal(weir_in_outstanding(in), WEIR_UNBOUNDED);
    rig_feed(&r, 3000);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 3000);
    assert_int_equal(weir_in_outstanding(in), WEIR_UNBOUNDED);
    weir_probe_end(r.from);
    rig_done(&r);
}

static void request_to_tops_up_and_never_over_asks(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    rig_start(&r);
    weir_in *in = weir_stage_in(weir_probe_stage(r.to));
    weir_request_to(in, 10);
    weir_request_to(in, 10);
    weir_request_to(in, 4);
    weir_request_to(in, 0);
    assert_int_equal(weir_in_outstanding(in), 10);
    rig_settle(&r);
    assert_int_equal(weir_probe_demand(r.from), 10);
    weir_request_to(in, 12);
    rig_settle(&r);
    assert_int_equal(weir_probe_demand(r.from), 12);
    weir_probe_cancel(r.to);
    rig_done(&r);
}

static void credit_in_flight_never_exceeds_the_window(void **state)
{
    (void)state;
    rig r = rig_with(1, (weir_pipeline_config){ .window = 5 });
    rig_chain(&r, NULL);
    rig_start(&r);
    weir_probe_request(r.to, 1000);
    rig_settle(&r);
    assert_int_equal(weir_probe_demand(r.from), 5);
    rig_feed(&r, 1000);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 1000);
    weir_probe_end(r.from);
    rig_done(&r);
}

typedef struct levels {
    uint64_t calls, last;
} levels;

static weir_status levels_open(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    *(levels **)state = *(levels *const *)config;
    return WEIR_OK;
}

static void levels_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    levels *seen = *(levels **)state;
    (void)stage;
    assert_int_equal(credit, weir_out_credit(out));
    seen->calls++;
    seen->last = credit;
}

static const weir_stage_type levels_type = {
    .name = "levels",
    .config_size = sizeof(levels *),
    .state_size = sizeof(levels *),
    .inputs = WEIR_PORTS_NONE,
    .open = levels_open,
    .on_demand = levels_on_demand,
};

static void demand_is_told_as_a_level_and_coalesced(void **state)
{
    (void)state;
    rig r = rig_new();
    levels seen = { 0 }, *config = &seen;
    weir_from(r.p, weir_stage_of(&levels_type, &config));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    weir_probe_request(r.to, 1);
    weir_probe_request(r.to, 2);
    weir_probe_request(r.to, 4);
    rig_settle(&r);
    assert_int_equal(seen.last, 7);
    assert_in_range(seen.calls, 1, 2);
    weir_probe_cancel(r.to);
    rig_done(&r);
}

/* ---- Rule 2: terminals ---- */

static void an_end_needs_no_credit(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    rig_start(&r);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void an_end_follows_the_data(void **state)
{
    (void)state;
    for (uint32_t loops = 1; loops <= 2; loops++) {
        rig r = rig_with(loops, (weir_pipeline_config){ 0 });
        weir_from(r.p, weir_probe_source(r.from));
        weir_node_place(weir_into(r.p, weir_probe_sink(r.to)), loops - 1);
        rig_start(&r);
        weir_probe_request(r.to, 200);
        rig_settle(&r);
        rig_feed(&r, 150);
        weir_probe_end(r.from);
        rig_settle(&r);
        weir_status status = WEIR_EINTERNAL;
        assert_int_equal(weir_probe_received(r.to), 150);
        assert_true(weir_probe_is_over(r.to, &status));
        assert_int_equal(status, WEIR_OK);
        rig_done(&r);
    }
}

static void an_error_follows_the_data(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    rig_start(&r);
    weir_probe_request(r.to, 10);
    rig_settle(&r);
    rig_feed(&r, 10);
    weir_probe_end_error(r.from, WEIR_EIO);
    rig_settle(&r);
    weir_status status = WEIR_OK;
    assert_int_equal(weir_probe_received(r.to), 10);
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EIO);
    rig_done(&r);
}

/* Errno, say. Across loops a 1 would look like no end at all; of an item one byte is kept. */
static void a_status_that_is_none_counts_as_a_bug_of_the_stage(void **state)
{
    (void)state;
    static const int wrong[] = { 1, 300, -WEIR_STATUS_COUNT, -110, -256, INT32_MIN };
    for (uint32_t i = 0; i < 2 * sizeof wrong / sizeof *wrong; i++) {
        weir_status status = (weir_status)wrong[i / 2], heard = WEIR_OK;
        rig r = rig_with(1 + i % 2, (weir_pipeline_config){ 0 });
        weir_from(r.p, weir_probe_source(r.from));
        weir_node_place(weir_into(r.p, weir_probe_sink(r.to)), i % 2);
        rig_start(&r);
        weir_probe_keep(r.to, true);
        weir_probe_request(r.to, 10);
        rig_feed(&r, 1);
        weir_probe_end_error(r.from, status);
        rig_settle(&r);
        assert_true(weir_probe_is_over(r.to, &heard));
        assert_int_equal(heard, WEIR_EINTERNAL);
        weir_item_end(weir_probe_take(r.to), WEIR_FAILED, status);
        rig_settle(&r);
        rig_assert_outcome(&r, 0, WEIR_FAILED, WEIR_EINTERNAL);
        rig_done(&r);
    }
}

static void an_error_that_jumps_aborts_what_it_overtakes(void **state)
{
    (void)state;
    for (uint32_t loops = 1; loops <= 2; loops++) {
        rig r = rig_with(loops, (weir_pipeline_config){ 0 });
        weir_from(r.p, weir_probe_source(r.from));
        weir_node *sink = weir_into(r.p, weir_probe_sink(r.to));
        weir_node_window(sink, &(weir_edge_config){ .error_jumps = true, .window_bytes = 1 });
        weir_node_place(sink, loops - 1);
        rig_start(&r);
        weir_probe_request(r.to, 10);
        rig_settle(&r);
        rig_feed(&r, 1);
        weir_probe_end_error(r.from, WEIR_EIO);
        rig_settle(&r);
        weir_status status = WEIR_OK;
        assert_true(weir_probe_is_over(r.to, &status));
        assert_int_equal(status, WEIR_EIO);
        assert_int_equal(weir_probe_received(r.to) + weir_probe_ended(r.from, WEIR_ABORTED), 1);
        rig_done(&r);
    }
}

static void a_second_terminal_does_nothing(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    rig_start(&r);
    weir_out *out = weir_stage_out(weir_probe_stage(r.from));
    weir_end(out);
    weir_end_error(out, WEIR_EIO);
    weir_end(out);
    rig_settle(&r);
    weir_status status = WEIR_EINTERNAL;
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_OK);
    rig_done(&r);
}

/* ---- Rule 3: no callback beneath another ---- */

static int depth, callbacks;

static void enter(void)
{
    assert_int_equal(depth, 0);
    depth++;
    callbacks++;
}

static void leave(void)
{
    depth--;
}

static void nest_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)state;
    enter();
    weir_request_to(weir_stage_in(stage), credit);
    leave();
}

static weir_status nest_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)state;
    enter();
    if (*(uint64_t *)weir_item_body(item) % 3 == 0)
        weir_drop(in, item);
    else if (*(uint64_t *)weir_item_body(item) % 3 == 1)
        weir_emit(weir_stage_out(stage), item);
    else
        weir_fail(stage, item, WEIR_EIO, "a third of them fail");
    leave();
    return WEIR_OK;
}

static void nest_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    (void)state;
    enter();
    weir_end_error(weir_stage_out(stage), status);
    leave();
}

static void nest_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    (void)state;
    enter();
    weir_cancel(weir_stage_in(stage));
    leave();
}

static void nest_close(weir_stage *stage, void *state)
{
    (void)stage;
    (void)state;
    enter();
    leave();
}

static const weir_stage_type nest_type = {
    .name = "nest",
    .close = nest_close,
    .on_demand = nest_on_demand,
    .on_item = nest_on_item,
    .on_end = nest_on_end,
    .on_cancel = nest_on_cancel,
};

static void nest_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    (void)item;
    (void)outcome;
    (void)status;
    enter();
    leave();
}

static const weir_item_type nest_item_type = { .name = "nest", .ended = nest_ended };

typedef struct nest_source {
    uint64_t left, made;
    bool foreign, derived;
} nest_source;

static void nest_source_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    nest_source *s = *(nest_source **)state;
    (void)credit;
    enter();
    while (weir_out_credit(out) > 0 && s->left > 0) {
        weir_loop *loop = weir_stage_loop(stage);
        weir_item *item =
            s->foreign ? must(weir_item_new_foreign(weir_stage_env(stage), &nest_item_type, 8))
                       : must(weir_item_new(loop, &nest_item_type, 8));
        *(uint64_t *)weir_item_body(item) = s->made++;
        if (s->derived) {
            weir_item *child = must(weir_item_new(loop, &nest_item_type, 8));
            *(uint64_t *)weir_item_body(child) = s->made;
            weir_item_derive(child, item);
            item = child;
        }
        s->left--;
        weir_emit(out, item);
    }
    if (s->left == 0)
        weir_end(out);
    leave();
}

static weir_status nest_source_open(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    *(nest_source **)state = *(nest_source *const *)config;
    return WEIR_OK;
}

static const weir_stage_type nest_source_type = {
    .name = "nest_source",
    .config_size = sizeof(nest_source *),
    .state_size = sizeof(nest_source *),
    .inputs = WEIR_PORTS_NONE,
    .open = nest_source_open,
    .on_demand = nest_source_on_demand,
};

static weir_status nest_sink_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                      void *state)
{
    (void)stage;
    (void)state;
    enter();
    assert_in_range(n, 1, 64);
    weir_items_ack(items, n);
    assert_int_equal(weir_request(in, n), WEIR_OK);
    leave();
    return WEIR_OK;
}

static weir_status nest_sink_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    return weir_request(weir_stage_in(stage), 7);
}

static const weir_stage_type nest_sink_type = {
    .name = "nest_sink",
    .outputs = WEIR_PORTS_NONE,
    .open = nest_sink_open,
    .on_items = nest_sink_on_items,
};

/* Every item's `ended` is told, however it was made and whatever became of it. */
static void run_nest(nest_source source, uint32_t n_stages, int ends)
{
    rig r = rig_new();
    nest_source *config = &source;
    depth = callbacks = 0;
    weir_from(r.p, weir_stage_of(&nest_source_type, &config));
    for (uint32_t i = 0; i < n_stages; i++)
        weir_via(r.p, weir_stage_of(&nest_type, NULL));
    weir_into(r.p, weir_stage_of(&nest_sink_type, NULL));
    rig_start(&r);
    rig_settle(&r);
    assert_true(weir_pipeline_is_finished(r.p));
    assert_int_equal(weir_pipeline_status(r.p), WEIR_OK);
    if (ends >= 0) {
        assert_true(callbacks >= ends);
        weir_stage_stats stats = rig_stats(&r, 1);
        assert_int_equal(stats.items_in, source.made);
        assert_int_equal(stats.items_out + stats.failed + stats.filtered, stats.items_in);
    }
    rig_done(&r);
}

static void no_callback_runs_beneath_another(void **state)
{
    (void)state;
    run_nest((nest_source){ .left = 1000 }, 1, 1000);
    run_nest((nest_source){ .left = 1000 }, 5, 1000);
    run_nest((nest_source){ .left = 1000, .derived = true }, 1, 2000);
}

static int foreign_ends;

static void foreign_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    (void)item;
    (void)outcome;
    (void)status;
    enter();
    foreign_ends++;
    leave();
}

static const weir_item_type foreign_type = { .name = "foreign", .ended = foreign_ended };

static void a_foreign_item_hears_of_its_end_but_never_beneath_a_callback(void **state)
{
    (void)state;
    run_nest((nest_source){ .left = 300, .foreign = true }, 2, 300);
}

static void a_foreign_item_hears_of_the_end_of_what_was_derived_from_it(void **state)
{
    (void)state;
    weir_testkit *kit = weir_testkit_new(1, 1);
    weir_loop *loop = weir_testkit_loop(kit, 0);
    foreign_ends = depth = 0;
    weir_item *root = must(weir_item_new_foreign(weir_testkit_env(kit), &foreign_type, 8));
    weir_item *child = must(weir_item_new(loop, NULL, 8));
    weir_item_derive(child, root);
    weir_item_ack(child);
    assert_true(weir_testkit_settle(kit));
    assert_int_equal(foreign_ends, 1);
    assert_int_equal(weir_testkit_free(kit), 0);
}

/* ---- Rule 4: cancel ---- */

static void a_cancel_is_idempotent_and_releases_what_is_in_flight(void **state)
{
    (void)state;
    for (uint32_t loops = 1; loops <= 2; loops++) {
        rig r = rig_with(loops, (weir_pipeline_config){ 0 });
        weir_from(r.p, weir_probe_source(r.from));
        weir_node_place(weir_into(r.p, weir_probe_sink(r.to)), loops - 1);
        rig_start(&r);
        weir_probe_request(r.to, 100);
        rig_settle(&r);
        rig_feed(&r, 50);
        weir_probe_cancel(r.to);
        weir_probe_cancel(r.to);
        rig_settle(&r);
        weir_probe_cancel(r.to);
        assert_true(weir_probe_is_cancelled(r.from));
        assert_int_equal(
            weir_probe_ended(r.from, WEIR_ABORTED) + weir_probe_ended(r.from, WEIR_ACKED), 50);
        assert_int_equal(weir_probe_demand(r.from), 0);
        rig_done(&r);
    }
}

static void an_item_emitted_after_an_unseen_cancel_ends_as_aborted(void **state)
{
    (void)state;
    rig r = rig_with(2, (weir_pipeline_config){ 0 });
    weir_loop *upper = weir_testkit_loop(r.kit, 0), *lower = weir_testkit_loop(r.kit, 1);
    weir_from(r.p, weir_probe_source(r.from));
    weir_node_place(weir_into(r.p, weir_probe_sink(r.to)), 1);
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_settle(&r);
    weir_stage *source = weir_probe_stage(r.from);
    weir_stage_hold(source); /* as a source does that waits for what it emitted */
    weir_probe_cancel(r.to);
    for (int i = 0; i < 5; i++)
        (void)weir_loop_turn(lower);
    rig_feed(&r, 10);
    for (int i = 0; i < 5; i++)
        (void)weir_loop_turn(upper);
    rig_settle(&r);
    assert_int_equal(weir_probe_ended(r.from, WEIR_ABORTED), 10);
    weir_stage_release(source);
    rig_done(&r);
}

static weir_status two_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    uint64_t *taken = state;
    assert_false(weir_in_is_over(in));
    weir_emit(weir_stage_out(stage), item);
    if (++*taken == 2) {
        weir_cancel(in);
        weir_end(weir_stage_out(stage));
    }
    return WEIR_OK;
}

static const weir_stage_type two_type = { .name = "two",
                                          .state_size = sizeof(uint64_t),
                                          .on_item = two_on_item };

static void after_a_cancel_no_item_is_handed_over(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, weir_stage_of(&two_type, NULL));
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_settle(&r);
    rig_feed(&r, 50);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 2);
    assert_int_equal(weir_probe_ended(r.from, WEIR_ACKED), 2);
    assert_true(weir_probe_is_cancelled(r.from));
    rig_done(&r);
}

/* ---- Rules 5 and 6: items, failures, refunds ---- */

static weir_status drop_odd(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)state;
    if (*(uint64_t *)weir_item_body(item) % 2 == 0)
        weir_emit(weir_stage_out(stage), item);
    else
        weir_drop(in, item);
    return WEIR_OK;
}

static void ask_as_asked(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)state;
    weir_request_to(weir_stage_in(stage), credit);
}

static const weir_stage_type even_type = { .name = "even",
                                           .on_demand = ask_as_asked,
                                           .on_item = drop_odd };
static const weir_stage_type auto_even_type = { .name = "even", .on_item = drop_odd };

static void a_dropped_item_is_refunded(void **state)
{
    (void)state;
    const weir_stage_type *types[] = { &even_type, &auto_even_type };
    for (int i = 0; i < 2; i++) {
        rig r = rig_with(1, (weir_pipeline_config){ .window = 4 });
        rig_chain(&r, weir_stage_of(types[i], NULL));
        rig_start(&r);
        rig_feed(&r, 1000);
        weir_probe_request(r.to, 100);
        rig_settle(&r);
        assert_int_equal(weir_probe_received(r.to), 100);
        assert_int_equal(weir_probe_value(r.to, 99), 198);
        assert_in_range(weir_probe_emitted(r.from), 199, 200);
        weir_probe_request(r.to, 1000);
        weir_probe_end(r.from);
        rig_settle(&r);
        assert_int_equal(weir_probe_ended(r.from, WEIR_FILTERED), 500);
        assert_int_equal(weir_probe_ended(r.from, WEIR_ACKED), 500);
        rig_assert_outcome(&r, 1, WEIR_FILTERED, WEIR_OK);
        rig_done(&r);
    }
}

static weir_status stage_fails(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    (void)state;
    if (*(uint64_t *)weir_item_body(item) < 3) {
        weir_emit(weir_stage_out(stage), item);
        return WEIR_OK;
    }
    weir_item_end(item, WEIR_FAILED, WEIR_EPROTO);
    return WEIR_EPROTO;
}

static const weir_stage_type stage_fails_type = { .name = "brittle", .on_item = stage_fails };

static void a_stage_that_fails_stops_the_pipeline_and_names_itself(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, weir_stage_of(&stage_fails_type, NULL));
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_settle(&r);
    rig_feed(&r, 50);
    rig_settle(&r);
    assert_int_equal(weir_pipeline_status(r.p), WEIR_EPROTO);
    assert_non_null(strstr(weir_pipeline_why(r.p), "brittle"));
    assert_int_equal(weir_probe_ended(r.from, WEIR_FAILED), 1);
    rig_done(&r);
}

/* ---- Rule 8: one end each, with the worst outcome ---- */

static int ends[6], status_seen;

static void count_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    (void)item;
    ends[outcome]++;
    status_seen = status;
}

static weir_status plain_clone(weir_item *to, const weir_item *from)
{
    (void)from;
    to->type = NULL;
    return WEIR_OK;
}

static const weir_item_type counted_type = { .name = "counted",
                                             .ended = count_ended,
                                             .clone = plain_clone };

static void expect_ends(weir_testkit *kit, weir_outcome outcome, int n, weir_status status)
{
    assert_true(weir_testkit_settle(kit));
    for (int i = 0; i <= WEIR_FAILED; i++)
        assert_int_equal(ends[i], i == (int)outcome ? n : 0);
    assert_int_equal(status_seen, status);
    memset(ends, 0, sizeof ends);
}

static void a_shared_item_ends_once_with_the_worst_outcome(void **state)
{
    (void)state;
    weir_testkit *kit = weir_testkit_new(1, 1);
    weir_loop *loop = weir_testkit_loop(kit, 0);
    weir_item *item = must(weir_item_new(loop, &counted_type, 8));
    for (int i = 0; i < 254; i++)
        assert_int_equal(weir_item_hold(item), WEIR_OK);
    assert_int_equal(weir_item_hold(item), WEIR_ELIMIT);
    weir_item_end(item, WEIR_FAILED, WEIR_EIO);
    weir_item_end(item, WEIR_FILTERED, WEIR_OK);
    for (int i = 0; i < 253; i++)
        weir_item_ack(item);
    expect_ends(kit, WEIR_FAILED, 1, WEIR_EIO);
    assert_int_equal(weir_testkit_free(kit), 0);
}

static void a_tree_of_derived_cloned_and_joined_items_ends_at_its_root_once(void **state)
{
    (void)state;
    weir_testkit *kit = weir_testkit_new(1, 1);
    weir_loop *loop = weir_testkit_loop(kit, 0);
    weir_item *root = must(weir_item_new(loop, &counted_type, 40000)), *copy, *joined;
    memset(weir_item_body(root), 'x', 40000);
    weir_item *child = must(weir_item_new(loop, NULL, 10)),
              *second = must(weir_item_new(loop, NULL, 0));
    assert_int_equal(weir_item_hold(root), WEIR_OK);
    assert_int_equal(weir_item_hold(root), WEIR_OK);
    assert_int_equal(weir_item_clone(loop, root, &copy), WEIR_OK);
    assert_memory_equal(weir_item_body(copy), weir_item_body(root), 40000);
    weir_item_derive(child, root);
    weir_item_derive(second, root);
    weir_item *members[] = { child, copy };
    assert_int_equal(weir_items_join(loop, members, 2, &joined), WEIR_OK);
    assert_int_equal(weir_item_members(joined)->n, 2);
    assert_int_equal(joined->cost, 40010);
    weir_item_ack(second);
    assert_true(weir_testkit_settle(kit));
    assert_int_equal(ends[WEIR_ACKED], 0);
    weir_item_end(joined, WEIR_REJECTED, WEIR_EOVERLOAD);
    expect_ends(kit, WEIR_REJECTED, 1, WEIR_EOVERLOAD);
    assert_int_equal(weir_testkit_free(kit), 0);
}

static void a_long_chain_of_parents_ends_without_recursion(void **state)
{
    (void)state;
    weir_testkit *kit = weir_testkit_new(1, 1);
    weir_loop *loop = weir_testkit_loop(kit, 0);
    weir_item *item = must(weir_item_new(loop, &counted_type, 8));
    for (int i = 0; i < 300000; i++) {
        weir_item *child = must(weir_item_new(loop, NULL, 8));
        weir_item_derive(child, item);
        item = child;
    }
    weir_item_end(item, WEIR_FAILED, WEIR_EIO);
    expect_ends(kit, WEIR_FAILED, 1, WEIR_EIO);
    assert_int_equal(weir_testkit_free(kit), 0);
}

/* In a debug build a bug in a stage is the end of the process; `body` runs in one of its own. */
#ifndef NDEBUG
static void expect_abort(void (*body)(void))
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        (void)signal(SIGABRT, SIG_DFL);
        body();
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}
#endif

static void emit_without_credit(void)
{
    rig r = rig_new();
    rig_chain(&r, NULL);
    assert_int_equal(weir_testkit_start(r.kit, r.p), WEIR_OK);
    weir_item *item = must(weir_item_new(weir_testkit_loop(r.kit, 0), &counted_type, 8));
    weir_emit(weir_stage_out(weir_probe_stage(r.from)), item);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_int_equal(ends[WEIR_ABORTED], 1);
    assert_int_equal(rig_stats(&r, 0).over_emitted, 1);
    assert_int_equal(weir_testkit_violations(r.kit), 1);
    memset(ends, 0, sizeof ends);
    weir_pipeline_free(r.p);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

static void leak_an_item(void)
{
    weir_testkit *kit = weir_testkit_new(1, 1);
    (void)weir_item_new(weir_testkit_loop(kit, 0), &counted_type, 8);
    assert_int_equal(weir_testkit_free(kit), 0);
    assert_int_equal(ends[WEIR_ABORTED], 1);
    memset(ends, 0, sizeof ends);
}

static void a_stage_that_emits_without_credit_or_leaks_is_caught(void **state)
{
    (void)state;
    void (*const bugs[])(void) = { emit_without_credit, leak_an_item };
    for (int i = 0; i < 2; i++) {
#ifdef NDEBUG
        bugs[i]();
#else
        expect_abort(bugs[i]);
#endif
    }
}

/* ---- Rule 9: shared bodies ---- */

static void a_shared_item_is_cloned_before_it_is_written(void **state)
{
    (void)state;
    weir_testkit *kit = weir_testkit_new(1, 1);
    weir_loop *loop = weir_testkit_loop(kit, 0);
    weir_item *item = must(weir_item_new(loop, &counted_type, 8)), *mine = item;
    *(uint64_t *)weir_item_body(item) = 1;
    assert_int_equal(weir_item_writable(loop, &mine), WEIR_OK);
    assert_ptr_equal(mine, item);
    assert_int_equal(weir_item_hold(item), WEIR_OK);
    assert_int_equal(weir_item_writable(loop, &mine), WEIR_OK);
    assert_ptr_not_equal(mine, item);
    *(uint64_t *)weir_item_body(mine) = 2;
    assert_int_equal(*(uint64_t *)weir_item_body(item), 1);
    weir_item_ack(mine);
    weir_item_ack(item);
    expect_ends(kit, WEIR_ACKED, 1, WEIR_OK);
    assert_int_equal(weir_testkit_free(kit), 0);
}

/* ---- Rule 10: no allocation in steady state ---- */

static void ends_and_credit_allocate_nothing(void **state)
{
    (void)state;
    rig r = rig_with(2, (weir_pipeline_config){ 0 });
    weir_from(r.p, weir_probe_source(r.from));
    weir_via(r.p, weir_stage_of(&auto_even_type, NULL));
    weir_node_place(weir_into(r.p, weir_probe_sink(r.to)), 1);
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_feed(&r, 200);
    rig_settle(&r);
    weir_probe_request(r.to, 1000);
    rig_settle(&r);
    rig_feed(&r, 20);
    weir_testkit_fail_all(r.kit, true);
    uint64_t before = weir_testkit_allocations(r.kit);
    rig_feed(&r, 20);
    weir_probe_cancel(r.to);
    rig_settle(&r);
    assert_true(weir_pipeline_is_finished(r.p));
    assert_int_equal(weir_testkit_allocations(r.kit), before);
    weir_testkit_fail_all(r.kit, false);
    rig_done(&r);
}

/* ---- Bytes ---- */

static void feed_costs(rig *r, uint32_t cost, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        assert_true(weir_probe_feed_item(r->from, &(weir_probe_item){ .value = i, .cost = cost }));
}

static const weir_stage_type forward_type = { .name = "forward" };

static size_t keep_all(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)stage;
    (void)items;
    (void)state;
    return n;
}

static const weir_stage_type transform_type = { .name = "same", .transform = keep_all };

/* What the sink may be handed in one go is what was in flight: the bytes since its last visit. */
typedef struct burst {
    uint64_t most, total;
} burst;

static weir_status burst_open(weir_stage *stage, const void *config, void *state)
{
    *(burst **)state = *(burst *const *)config;
    return weir_request(weir_stage_in(stage), WEIR_UNBOUNDED);
}

static weir_status burst_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    burst *b = *(burst **)state;
    uint64_t bytes = 0;
    (void)stage;
    (void)in;
    for (size_t i = 0; i < n; i++)
        bytes += items[i]->cost;
    b->total += n;
    if (bytes > b->most)
        b->most = bytes;
    weir_items_ack(items, n);
    return WEIR_OK;
}

static const weir_stage_type burst_type = {
    .name = "burst",
    .config_size = sizeof(burst *),
    .state_size = sizeof(burst *),
    .outputs = WEIR_PORTS_NONE,
    .open = burst_open,
    .on_items = burst_on_items,
};

static void run_bytes(const weir_stage_type *middle, uint32_t window, uint32_t cost, uint32_t loops)
{
    rig r = rig_with(loops, (weir_pipeline_config){ 0 });
    burst b = { 0 }, *config = &b;
    weir_from(r.p, weir_probe_source(r.from));
    if (middle != NULL)
        weir_via(r.p, weir_stage_of(middle, NULL));
    weir_node *sink = weir_into(r.p, weir_stage_of(&burst_type, &config));
    weir_node_window(sink, &(weir_edge_config){ .window_bytes = window });
    weir_node_place(sink, loops - 1);
    rig_start(&r);
    feed_costs(&r, cost, 200);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_int_equal(b.total, 200);
    assert_true(b.most <= (cost > window ? cost : window));
    rig_done(&r);
}

static void a_window_of_bytes_bounds_what_is_in_flight(void **state)
{
    (void)state;
    const weir_stage_type *middles[] = { NULL, &forward_type, &transform_type };
    for (uint32_t loops = 1; loops <= 2; loops++)
        for (int i = 0; i < 3; i++) {
            run_bytes(middles[i], 1000, 100, loops);
            run_bytes(middles[i], 1000, 300, loops);
        }
}

static void a_window_smaller_than_one_item_passes_them_one_by_one(void **state)
{
    (void)state;
    const weir_stage_type *middles[] = { NULL, &forward_type, &transform_type };
    for (uint32_t loops = 1; loops <= 2; loops++)
        for (int i = 0; i < 3; i++)
            run_bytes(middles[i], 10, 100, loops);
}

static void an_inlet_keeps_to_the_window_of_bytes(void **state)
{
    (void)state;
    rig r = rig_new();
    burst b = { 0 }, *config = &b;
    weir_inlet *inlet = weir_inlet_new(weir_testkit_env(r.kit), NULL);
    for (int i = 0; i < 100; i++) {
        weir_item *item = must(weir_item_new_foreign(weir_testkit_env(r.kit), NULL, 300));
        assert_int_equal(weir_inlet_offer(inlet, item), WEIR_OK);
    }
    weir_inlet_end(inlet);
    weir_from(r.p, weir_from_inlet(inlet));
    weir_inlet_free(inlet);
    weir_node_window(weir_into(r.p, weir_stage_of(&burst_type, &config)),
                     &(weir_edge_config){ .window_bytes = 1000 });
    rig_start(&r);
    rig_settle(&r);
    assert_int_equal(b.total, 100);
    assert_true(b.most <= 1000);
    rig_done(&r);
}

static void replicas_of_an_inlet_end_also_without_credit(void **state)
{
    (void)state;
    rig r = rig_with(2, (weir_pipeline_config){ 0 });
    weir_inlet *inlet = weir_inlet_new(weir_testkit_env(r.kit), NULL);
    weir_from(r.p, weir_from_inlet(inlet));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    for (int i = 0; i < 3; i++) {
        weir_item *item = must(weir_item_new_foreign(weir_testkit_env(r.kit), NULL, 8));
        assert_int_equal(weir_inlet_offer(inlet, item), WEIR_OK);
    }
    weir_inlet_end(inlet);
    rig_settle(&r);
    weir_probe_request(r.to, 10);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 3);
    assert_true(weir_probe_is_over(weir_probe_replica(r.to, 1), NULL));
    weir_inlet_free(inlet);
    rig_done(&r);
}

/* ---- Contexts ---- */

static void expired_items_are_dropped_at_dequeue_and_refunded(void **state)
{
    (void)state;
    rig r = rig_new();
    weir_context context;
    rig_chain(&r, weir_stage_of(&even_type, NULL));
    rig_start(&r);
    weir_context_init(&context, weir_testkit_loop(r.kit, 0), NULL,
                      weir_testkit_now(r.kit) + WEIR_SEC);
    weir_probe_request(r.to, 2);
    rig_settle(&r);
    for (uint64_t i = 0; i < 4; i++)
        assert_true(weir_probe_feed_item(
            r.from, &(weir_probe_item){ .value = i * 2, .context = i < 2 ? &context : NULL }));
    weir_context_cancel(&context, WEIR_ECANCELED);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 2);
    rig_assert_outcome(&r, 0, WEIR_FAILED, WEIR_ECANCELED);
    rig_assert_outcome(&r, 2, WEIR_ACKED, WEIR_OK);
    weir_probe_end(r.from);
    rig_settle(&r);
    weir_context_done(&context);
    rig_done(&r);
}

/* ---- Shutdown ---- */

static void shutdown_run(weir_shutdown how, uint32_t loops, uint64_t requested)
{
    rig r = rig_with(loops, (weir_pipeline_config){ 0 });
    weir_from(r.p, weir_probe_source(r.from));
    weir_via(r.p, weir_stage_of(&forward_type, NULL));
    weir_node_place(weir_into(r.p, weir_probe_sink(r.to)), loops - 1);
    rig_start(&r);
    if (requested != 0)
        weir_probe_request(r.to, requested);
    rig_settle(&r);
    rig_feed(&r, 50);
    weir_pipeline_shutdown(r.p, how, 100);
    assert_true(weir_testkit_advance(r.kit, 200 * WEIR_MS));
    assert_int_equal(weir_pipeline_status(r.p), WEIR_OK);
    rig_done(&r);
}

static void every_shutdown_terminates(void **state)
{
    (void)state;
    for (int how = WEIR_DRAIN; how <= WEIR_HYBRID; how++)
        for (uint32_t loops = 1; loops <= 2; loops++)
            for (uint64_t requested = 0; requested < 100; requested += 30)
                shutdown_run((weir_shutdown)how, loops, requested);
}

static void an_abort_lets_a_kept_item_go_and_a_drain_waits_for_it(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    weir_probe_keep(r.to, true);
    rig_start(&r);
    weir_probe_request(r.to, 10);
    rig_settle(&r);
    rig_feed(&r, 5);
    weir_pipeline_shutdown(r.p, WEIR_DRAIN, 0);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 5);
    assert_false(weir_pipeline_is_finished(r.p));
    weir_item_ack(weir_probe_take(r.to));
    weir_pipeline_shutdown(r.p, WEIR_ABORT, 0);
    rig_settle(&r);
    assert_int_equal(weir_probe_ended(r.from, WEIR_ACKED), 1);
    assert_int_equal(weir_probe_ended(r.from, WEIR_ABORTED), 4);
    rig_done(&r);
}

static void a_hybrid_aborts_at_its_deadline_and_not_before(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    weir_probe_keep(r.to, true);
    rig_start(&r);
    weir_probe_request(r.to, 10);
    rig_settle(&r);
    rig_feed(&r, 5);
    weir_pipeline_shutdown(r.p, WEIR_HYBRID, 100);
    assert_true(weir_testkit_advance(r.kit, 99 * WEIR_MS));
    assert_false(weir_pipeline_is_finished(r.p));
    assert_true(weir_testkit_advance(r.kit, 2 * WEIR_MS));
    assert_int_equal(weir_probe_ended(r.from, WEIR_ABORTED), 5);
    rig_done(&r);
}

static void a_drain_without_a_deadline_ends_too(void **state)
{
    rig r = rig_with(1, (weir_pipeline_config){ .drain_ms_max = 1000 });
    (void)state;
    rig_chain(&r, NULL);
    rig_start(&r);
    rig_feed(&r, 4);
    weir_probe_request(r.to, 2);
    weir_probe_keep(r.to, true);
    rig_settle(&r);
    weir_pipeline_shutdown(r.p, WEIR_DRAIN, 0);
    weir_testkit_advance(r.kit, 999 * WEIR_MS);
    assert_false(weir_pipeline_is_finished(r.p));
    weir_testkit_advance(r.kit, 2 * WEIR_MS);
    rig_done(&r);
}

/* Asks for one at a time, and fails every second item. */
static void fussy_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)state;
    weir_request_to(weir_stage_in(stage), credit < 1 ? credit : 1);
}

static void fussy_emit(weir_stage *stage, weir_item *item)
{
    weir_out *out = weir_stage_out(stage);
    weir_emit(out, item);
    fussy_on_demand(stage, out, weir_out_credit(out), NULL);
}

static weir_status fussy_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    uint64_t *n = state;
    (void)in;
    if (++*n % 2 == 0)
        weir_fail(stage, item, WEIR_EIO, "every second one");
    else
        fussy_emit(stage, item);
    return WEIR_OK;
}

static void a_stage_that_fails_an_item_can_ask_for_another(void **state)
{
    static const weir_stage_type fussy = { .name = "fussy",
                                           .state_size = sizeof(uint64_t),
                                           .on_demand = fussy_on_demand,
                                           .on_item = fussy_on_item };
    rig r = rig_new();
    (void)state;
    rig_chain(&r, weir_stage_of(&fussy, NULL));
    rig_start(&r);
    rig_feed(&r, 8);
    weir_probe_end(r.from);
    weir_probe_request(r.to, 5);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 4);
    assert_int_equal(weir_probe_ended(r.from, WEIR_FAILED), 4);
    rig_done(&r);
}

static void an_item_over_the_edges_limit_fails_and_the_rest_flow(void **state)
{
    rig r = rig_with(1, (weir_pipeline_config){ .item_bytes_max = 100 });
    (void)state;
    rig_chain(&r, NULL);
    rig_start(&r);
    feed_costs(&r, 100, 2);
    feed_costs(&r, 101, 1);
    feed_costs(&r, 1, 2);
    weir_probe_end(r.from);
    weir_probe_request(r.to, WEIR_UNBOUNDED);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 4);
    rig_assert_outcome(&r, 2, WEIR_FAILED, WEIR_ELIMIT);
    rig_done(&r);
}

static void a_softer_shutdown_does_not_soften_a_harder_one(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    weir_probe_keep(r.to, true);
    rig_start(&r);
    weir_probe_request(r.to, 10);
    rig_settle(&r);
    rig_feed(&r, 5);
    weir_pipeline_shutdown(r.p, WEIR_ABORT, 0);
    weir_pipeline_shutdown(r.p, WEIR_DRAIN, 0);
    rig_settle(&r);
    rig_done(&r);
}

static void a_shutdown_before_the_start_is_kept(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    weir_pipeline_shutdown(r.p, WEIR_DRAIN, 0);
    rig_start(&r);
    rig_done(&r);
}

/* ---- Fusing ---- */

static size_t drop_thirds(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t value = *(uint64_t *)weir_item_body(items[i]);
        if (value % 3 == 0)
            weir_item_end(items[i], WEIR_FILTERED, WEIR_OK);
        else if (value % 7 == 0)
            weir_fail(stage, items[i], WEIR_EPROTO, "sevens");
        else
            items[kept++] = items[i];
    }
    return kept;
}

static const weir_stage_type thirds_type = { .name = "thirds", .transform = drop_thirds };

typedef struct figures {
    weir_stage_stats stats[5];
    uint64_t received, values, ended[6];
} figures;

static figures run_fusing(bool no_fuse)
{
    figures f = { 0 };
    rig r = rig_with(1, (weir_pipeline_config){ .no_fuse = no_fuse });
    weir_from(r.p, weir_probe_source(r.from));
    weir_via(r.p, weir_stage_of(&transform_type, NULL));
    weir_via(r.p, weir_stage_of(&thirds_type, NULL));
    weir_via(r.p, weir_stage_of(&transform_type, NULL));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    for (uint64_t round = 0; round < 20; round++) {
        rig_feed(&r, 50);
        weir_probe_request(r.to, 23);
        rig_settle(&r);
    }
    weir_probe_request(r.to, 1000);
    weir_probe_end(r.from);
    rig_settle(&r);
    for (uint32_t i = 0; i < 5; i++)
        f.stats[i] = rig_stats(&r, i);
    f.received = weir_probe_received(r.to);
    for (uint64_t i = 0; i < f.received; i++)
        f.values = f.values * 31 + weir_probe_value(r.to, i);
    for (int i = 0; i <= WEIR_FAILED; i++)
        f.ended[i] = weir_probe_ended(r.from, (weir_outcome)i);
    rig_done(&r);
    return f;
}

static void fusing_changes_no_result_and_no_figure(void **state)
{
    (void)state;
    figures fused = run_fusing(false), plain = run_fusing(true);
    assert_int_equal(fused.received, plain.received);
    assert_int_equal(fused.values, plain.values);
    assert_memory_equal(fused.ended, plain.ended, sizeof plain.ended);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(fused.stats[i].items_in, plain.stats[i].items_in);
        assert_int_equal(fused.stats[i].items_out, plain.stats[i].items_out);
        assert_int_equal(fused.stats[i].failed, plain.stats[i].failed);
        assert_int_equal(fused.stats[i].filtered, plain.stats[i].filtered);
        assert_int_equal(fused.stats[i].failed_by[-WEIR_EPROTO],
                         plain.stats[i].failed_by[-WEIR_EPROTO]);
    }
}

static void what_a_pure_stage_takes_out_is_counted_as_filtered(void **state)
{
    (void)state;
    figures f = run_fusing(false);
    assert_int_equal(f.ended[WEIR_FILTERED], 20 * 17);
    assert_int_equal(f.stats[2].filtered, 20 * 17);
    assert_int_equal(f.stats[2].items_in, 1000);
    assert_int_equal(f.stats[2].items_in,
                     f.stats[2].items_out + f.stats[2].filtered + f.stats[2].failed);
}

static weir_status cannot_open(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    (void)config;
    (void)state;
    return WEIR_EUNAVAILABLE;
}

static const weir_stage_type shut_type = { .name = "shut",
                                           .open = cannot_open,
                                           .transform = keep_all };

static weir_status eager_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    return weir_request(weir_stage_in(stage), 10);
}

static const weir_stage_type eager_type = { .name = "eager",
                                            .outputs = WEIR_PORTS_NONE,
                                            .open = eager_open };

static void a_fused_stage_that_cannot_open_stops_the_pipeline(void **state)
{
    (void)state;
    for (int no_fuse = 0; no_fuse < 2; no_fuse++) {
        rig r = rig_with(1, (weir_pipeline_config){ .no_fuse = no_fuse });
        weir_from(r.p, weir_probe_source(r.from));
        weir_via(r.p, weir_stage_of(&transform_type, NULL));
        weir_via(r.p, weir_stage_of(&shut_type, NULL));
        weir_into(r.p, weir_stage_of(&eager_type, NULL));
        rig_feed(&r, 10);
        rig_start(&r);
        assert_int_equal(weir_pipeline_status(r.p), WEIR_EUNAVAILABLE);
        assert_non_null(strstr(weir_pipeline_why(r.p), "shut"));
        rig_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_emitted_never_exceeds_what_was_requested),
        cmocka_unit_test(nothing_is_emitted_without_a_request),
        cmocka_unit_test(a_request_of_nothing_is_invalid),
        cmocka_unit_test(a_stage_knows_what_an_item_of_its_input_costs_at_most),
        cmocka_unit_test(an_input_that_is_over_has_nothing_outstanding),
        cmocka_unit_test(requests_saturate_and_unbounded_stays_so),
        cmocka_unit_test(request_to_tops_up_and_never_over_asks),
        cmocka_unit_test(credit_in_flight_never_exceeds_the_window),
        cmocka_unit_test(demand_is_told_as_a_level_and_coalesced),
        cmocka_unit_test(an_end_needs_no_credit),
        cmocka_unit_test(an_end_follows_the_data),
        cmocka_unit_test(an_error_follows_the_data),
        cmocka_unit_test(a_status_that_is_none_counts_as_a_bug_of_the_stage),
        cmocka_unit_test(an_error_that_jumps_aborts_what_it_overtakes),
        cmocka_unit_test(a_second_terminal_does_nothing),
        cmocka_unit_test(no_callback_runs_beneath_another),
        cmocka_unit_test(a_foreign_item_hears_of_its_end_but_never_beneath_a_callback),
        cmocka_unit_test(a_foreign_item_hears_of_the_end_of_what_was_derived_from_it),
        cmocka_unit_test(a_cancel_is_idempotent_and_releases_what_is_in_flight),
        cmocka_unit_test(an_item_emitted_after_an_unseen_cancel_ends_as_aborted),
        cmocka_unit_test(after_a_cancel_no_item_is_handed_over),
        cmocka_unit_test(a_dropped_item_is_refunded),
        cmocka_unit_test(a_stage_that_fails_stops_the_pipeline_and_names_itself),
        cmocka_unit_test(a_shared_item_ends_once_with_the_worst_outcome),
        cmocka_unit_test(a_tree_of_derived_cloned_and_joined_items_ends_at_its_root_once),
        cmocka_unit_test(a_long_chain_of_parents_ends_without_recursion),
        cmocka_unit_test(a_stage_that_emits_without_credit_or_leaks_is_caught),
        cmocka_unit_test(a_shared_item_is_cloned_before_it_is_written),
        cmocka_unit_test(ends_and_credit_allocate_nothing),
        cmocka_unit_test(a_window_of_bytes_bounds_what_is_in_flight),
        cmocka_unit_test(a_window_smaller_than_one_item_passes_them_one_by_one),
        cmocka_unit_test(an_inlet_keeps_to_the_window_of_bytes),
        cmocka_unit_test(replicas_of_an_inlet_end_also_without_credit),
        cmocka_unit_test(expired_items_are_dropped_at_dequeue_and_refunded),
        cmocka_unit_test(every_shutdown_terminates),
        cmocka_unit_test(an_abort_lets_a_kept_item_go_and_a_drain_waits_for_it),
        cmocka_unit_test(a_drain_without_a_deadline_ends_too),
        cmocka_unit_test(a_stage_that_fails_an_item_can_ask_for_another),
        cmocka_unit_test(an_item_over_the_edges_limit_fails_and_the_rest_flow),
        cmocka_unit_test(a_hybrid_aborts_at_its_deadline_and_not_before),
        cmocka_unit_test(a_softer_shutdown_does_not_soften_a_harder_one),
        cmocka_unit_test(a_shutdown_before_the_start_is_kept),
        cmocka_unit_test(fusing_changes_no_result_and_no_figure),
        cmocka_unit_test(what_a_pure_stage_takes_out_is_counted_as_filtered),
        cmocka_unit_test(a_fused_stage_that_cannot_open_stops_the_pipeline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
