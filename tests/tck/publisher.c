/* Section 1: what a row promises to those below it. */
#include "tck.h"

void rule_1_01(tck *t)
{
    static const uint64_t steps[] = { 0, 1, 3, 2, 7, 5 };
    if (!tck_start(t))
        return;
    tck_feed_all(t, 60);
    for (size_t step = 0; step < sizeof steps / sizeof *steps; step++) {
        for (uint32_t i = 0; i < t->n_out && steps[step] != 0; i++)
            (void)tck_ask(t, i, steps[step] + 2 * i);
        tck_idle(t);
        for (uint32_t i = 0; i < t->n_out; i++)
            (void)TCK(t, t->out[i].received <= t->out[i].requested && t->out[i].over_asked == 0,
                      "output %u: asked for %lu, got %lu", i, t->out[i].requested,
                      t->out[i].received);
    }
}

void rule_1_02(tck *t)
{
    if (!tck_start(t))
        return;
    tck_ask_all(t, 900);
    tck_feed_all(t, 3);
    (void)tck_wait(t, tck_all_emitted);
    tck_end_all(t, WEIR_OK);
    (void)TCK(t, tck_wait(t, tck_all_over),
              "no terminal while more was asked for (%lu of 900 came)", tck_received(t));
}

/* The callbacks of the probes, and of the items' ends, were serial and on their own loops. */
static void check_serial(tck *t)
{
    (void)TCK(t, t->nested == 0, "%lu of %lu callbacks ran beneath another", t->nested,
              t->callbacks);
    (void)TCK(t, t->on_foreign_loop == 0, "%lu callbacks ran on a foreign loop",
              t->on_foreign_loop);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].out_of_order == 0, "output %u: %lu items out of order", i,
                  t->out[i].out_of_order);
}

void rule_1_03(tck *t)
{
    tck_ask_as_it_comes(t, 3, 1);
    if (!tck_start(t))
        return;
    tck_feed_all(t, 100);
    (void)tck_wait(t, tck_all_emitted);
    tck_end_all(t, WEIR_OK);
    (void)tck_wait(t, tck_all_over);
    check_serial(t);
}

/* A source that finds no memory waits or fails; either way it can be ended, and says how. */
static void fails_for_memory(tck *t)
{
    weir_testkit_fail_all(t->kit, true);
    tck_ask_all(t, 30);
    tck_idle(t);
    weir_testkit_fail_all(t->kit, false);
    tck_ask_all(t, 30);
    tck_idle(t);
    weir_status status = weir_pipeline_status(t->pipeline);
    if (status == WEIR_OK)
        tck_end_all(t, WEIR_OK);
    (void)TCK(t, tck_wait(t, tck_is_finished), "out of memory it neither goes on nor ends");
}

void rule_1_04(tck *t)
{
    if (!tck_start(t))
        return;
    if (t->n_in == 0) {
        fails_for_memory(t);
        return;
    }
    tck_ask_all(t, 2);
    tck_feed_all(t, 3);
    tck_idle(t);
    tck_end(t, 0, WEIR_EIO);
    tck_ask_all(t, tck_all(t));
    (void)TCK(t, tck_wait(t, tck_all_over), "the input failed and no error came out");
    for (uint32_t i = 0; i < t->n_out && !tck_has(t, STAGE_ENDS); i++)
        (void)TCK(t, t->out[i].status == WEIR_EIO, "output %u ended with %s", i,
                  weir_status_name(t->out[i].status));
    (void)TCK(t, tck_wait(t, tck_is_finished), "does not close after its error");
}

static void check_ended_well(tck *t, uint64_t n)
{
    uint64_t expected = tck_expected(t, n);
    (void)TCK(t, tck_wait(t, tck_all_over), "the input ended, the output did not (%lu of %lu came)",
              tck_leaves(t), n);
    (void)TCK(t, expected == UINT64_MAX || tck_leaves(t) == expected, "ended with %lu items of %lu",
              tck_leaves(t), expected);
    for (uint32_t i = 0; i < t->n_out && !tck_has(t, STAGE_ENDS); i++)
        (void)TCK(t, t->out[i].status == WEIR_OK, "output %u ended with %s", i,
                  weir_status_name(t->out[i].status));
}

/* What it took ahead of any demand comes before the end. */
static void ends_with_items_held(tck *t)
{
    if (!tck_start(t))
        return;
    tck_feed_all(t, 12);
    tck_idle(t);
    uint64_t held = tck_emitted(t), expected = tck_expected(t, held);
    tck_end_all(t, WEIR_OK);
    tck_idle(t);
    if (expected != UINT64_MAX && held != 0)
        (void)TCK(t, !tck_all_over(t), "ended before the %lu items that it holds", held);
    tck_ask_all(t, tck_all(t));
    check_ended_well(t, held);
    tck_again(t);
}

/* Nor does the end pass items on the edge, whatever their number. */
static void ends_with_items_under_way(tck *t)
{
    if (t->failed || !tck_start(t))
        return;
    tck_ask_all(t, tck_all(t));
    tck_idle(t);
    tck_feed_all(t, 200);
    uint64_t n = tck_emitted(t);
    tck_end_all(t, WEIR_OK);
    check_ended_well(t, n);
    tck_again(t);
}

void rule_1_05(tck *t)
{
    if (t->n_in != 0) {
        ends_with_items_held(t);
        ends_with_items_under_way(t);
    }
    if (t->failed || !tck_start(t))
        return;
    tck_ask_all(t, tck_all(t));
    tck_feed_all(t, 13);
    (void)tck_wait(t, tck_all_emitted);
    (void)TCK(t, !tck_is_steady(t) || !tck_all_over(t), "ended before its input");
    tck_end_all(t, WEIR_OK);
    check_ended_well(t, tck_emitted(t));
    (void)TCK(t, tck_wait(t, tck_is_finished), "does not close after its end");
}

void rule_1_06(tck *t)
{
    tck_check_calls(t);
    if (!tck_start(t))
        return;
    tck_ask_all(t, tck_all(t));
    tck_feed_all(t, 3);
    (void)tck_wait(t, tck_all_emitted);
    tck_end_all(t, WEIR_OK);
    (void)TCK(t, tck_wait(t, tck_is_finished), "does not close after its terminal");
    for (uint32_t i = 0; i < t->n_out; i++) {
        (void)TCK(t, t->out[i].over_credit == 0, "output %u has demand after its terminal", i);
        (void)TCK(t, t->out[i].bad_calls == 0, "output %u: a call after the terminal failed", i);
    }
}

static void terminal_is_last(tck *t, weir_status status)
{
    if (!tck_start(t))
        return;
    tck_ask_all(t, 4);
    tck_feed_all(t, 7);
    tck_idle(t);
    tck_end_all(t, status);
    tck_ask_all(t, tck_all(t));
    (void)tck_wait(t, tck_all_over);
    tck_ask_all(t, 5);
    tck_idle(t);
    for (uint32_t i = 0; i < t->n_out; i++) {
        (void)TCK(t, t->out[i].overs <= 1, "output %u ended %u times", i, t->out[i].overs);
        (void)TCK(t, t->out[i].after_over == 0, "output %u: %lu signals after the terminal", i,
                  t->out[i].after_over);
    }
}

void rule_1_07(tck *t)
{
    terminal_is_last(t, WEIR_OK);
    tck_again(t);
    if (!t->failed)
        terminal_is_last(t, WEIR_EIO);
}

void rule_1_08(tck *t)
{
    if (!tck_start(t))
        return;
    tck_feed_all(t, 40);
    tck_ask_all(t, 4);
    tck_idle(t);
    tck_ask_all(t, tck_all(t));
    tck_turn(t, t->loops > 1 ? 1 : 0);
    uint64_t received = tck_received(t);
    tck_cancel_all(t);
    tck_idle(t);
    uint64_t emitted = tck_emitted(t);
    tck_feed_all(t, 10);
    tck_idle(t);
    (void)TCK(t, tck_received(t) == received, "%lu items came after the cancel",
              tck_received(t) - received);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].after_cancel == 0, "output %u: %lu signals after the cancel", i,
                  t->out[i].after_cancel);
    (void)TCK(t, tck_emitted(t) == emitted, "it went on taking items after the cancel");
}

/* What is not linked, or not there, is refused before anything runs. */
static void refuses_loose_ends(tck *t)
{
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .env = &t->env });
    (void)tck_add_row(t, p);
    (void)TCK(t, t->engine->check(t, p) == WEIR_EINVAL && weir_pipeline_why(p)[0] != '\0',
              "a port without an edge is not refused");
    weir_pipeline_free(p);
    p = weir_pipeline_new(&(weir_pipeline_config){ .env = &t->env });
    (void)TCK(t, weir_add(p, NULL) == NULL && t->engine->check(t, p) == WEIR_ENOMEM,
              "a stage that is not there is not refused");
    weir_pipeline_free(p);
}

void rule_1_09(tck *t)
{
    refuses_loose_ends(t);
    tck_ask_as_it_comes(t, 2, 1);
    for (uint32_t i = 0; i < t->n_in; i++)
        t->in[i].allowed = 6; /* emitted as soon as they are asked for */
    if (t->failed || !tck_start(t))
        return;
    tck_end_all(t, WEIR_OK);
    tck_idle(t);
    (void)TCK(t, t->before_open == 0, "%lu signals before open", t->before_open);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].opened == 1, "output %u opened %u times", i, t->out[i].opened);
}

/* A second edge at the same output. */
static void refuses_the_same_output_twice(tck *t)
{
    weir_pipeline *p = tck_build(t);
    if (p == NULL)
        return;
    weir_node *row = tck_add_row(t, p);
    for (uint32_t i = 0; i < t->n_in; i++)
        weir_link(tck_add_source(t, p, t->n_in + i), 0, row, i, NULL);
    for (uint32_t i = 0; i < t->n_out; i++)
        weir_link(row, i, tck_add_sink(t, p, t->n_out + i), 0, NULL);
    (void)TCK(t, weir_pipeline_check(p) == WEIR_OK, "two of it in a pipeline: %s",
              weir_pipeline_why(p));
    weir_link(row, 0, tck_add_sink(t, p, t->n_out), 0, NULL);
    (void)TCK(t, t->engine->check(t, p) == WEIR_EINVAL, "two edges at one output are not refused");
    weir_pipeline_free(p);
}

void rule_1_10(tck *t)
{
    refuses_the_same_output_twice(t);
    t->twins = 2;
    if (t->failed || !tck_start(t))
        return;
    uint32_t in = t->n_in / 2, out = t->n_out / 2;
    tck_ask_all(t, tck_all(t));
    for (uint32_t i = 0; i < in; i++)
        tck_feed(t, i, 8);
    tck_idle(t);
    for (uint32_t i = out; i < t->n_out && !tck_has(t, STAGE_INVENTS); i++)
        (void)TCK(t, t->out[i].received == 0, "what was sent to one came out of the other");
    for (uint32_t i = 0; i < out; i++)
        tck_cancel(t, i);
    tck_idle(t);
    for (uint32_t i = in; i < t->n_in; i++)
        tck_feed(t, i, 9);
    (void)tck_all_taken(t);
    uint64_t leaves = 0, expected = tck_expected(t, 9 * in);
    tck_end_all(t, WEIR_OK);
    (void)TCK(t, tck_wait(t, tck_all_over), "the second did not end");
    for (uint32_t i = out; i < t->n_out && (i == out || !tck_has(t, STAGE_COPIES)); i++)
        leaves += t->out[i].leaves;
    (void)TCK(t, expected == UINT64_MAX || leaves == expected,
              "the first was cancelled, and of the second's %lu items came %lu", expected, leaves);
}

/* A row that copies, and waits for its slowest output, leaves none out. */
static bool waits_for_the_slowest(tck *t)
{
    if (!tck_has(t, STAGE_COPIES) || tck_expected(t, 1) == UINT64_MAX || !tck_start(t))
        return false;
    for (uint32_t i = 0; i + 1 < t->n_out; i++)
        (void)tck_ask(t, i, 20);
    tck_feed_all(t, 30);
    tck_idle(t);
    bool waits = tck_received(t) == 0;
    tck_again(t);
    return waits;
}

static void check_item(tck *t, uint32_t source, uint64_t seq, bool comes_to_all)
{
    uint32_t seen = 0;
    for (uint32_t o = 0; o < t->n_out; o++)
        seen += t->out[o].seen[source][seq];
    (void)TCK(t, !comes_to_all || seen == t->n_out, "item %lu came to %u of all", seq, seen);
    (void)TCK(t, tck_has(t, STAGE_COPIES) || seen <= 1, "item %lu came to %u outputs", seq, seen);
}

void rule_1_11(tck *t)
{
    bool comes_to_all = waits_for_the_slowest(t);
    if (t->failed || !tck_start(t))
        return;
    tck_ask_all(t, tck_all(t));
    tck_feed_all(t, 30);
    (void)tck_wait(t, tck_all_emitted);
    tck_end_all(t, WEIR_OK);
    (void)tck_wait(t, tck_all_over);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, tck_has(t, STAGE_MAKES) || t->out[i].twice == 0,
                  "output %u: %lu items came twice", i, t->out[i].twice);
    for (uint32_t i = 0; i < t->n_in; i++)
        for (uint64_t seq = 0; seq < t->in[i].emitted; seq++)
            check_item(t, i, seq, comes_to_all);
}
