/* Section 2: what a row promises to those above it. */
#include "tck.h"

void rule_2_01(tck *t)
{
    if (!tck_start(t))
        return;
    (void)TCK(t, tck_emitted(t) == 0, "items flowed before any was there");
    tck_ask_all(t, tck_all(t));
    tck_feed_all(t, 24);
    bool took = tck_all_taken(t);
    (void)TCK(t, tck_has(t, STAGE_ENDS) || took, "it asked for %lu of %lu items", tck_emitted(t),
              UINT64_C(24) * t->n_in);
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, t->in[i].demands != 0, "input %u was never asked for", i);
}

static bool some_credit(const tck *t)
{
    return tck_credits(t) != 0;
}

void rule_2_02(tck *t)
{
    if (!tck_start(t))
        return;
    tck_ask_all(t, tck_all(t));
    (void)TCK(t, tck_has(t, STAGE_ENDS) || tck_wait(t, some_credit), "it never asks");
    uint64_t items_in = tck_row_items_in(t), callbacks = t->callbacks;
    tck_feed_all(t, 1);
    (void)TCK(t, tck_row_items_in(t) == items_in, "it ran beneath the emit of its sender");
    (void)TCK(t, t->callbacks == callbacks, "an emit ran %lu callbacks", t->callbacks - callbacks);
}

static void leaves_the_ended_alone(tck *t, weir_status status)
{
    if (!tck_start(t))
        return;
    tck_ask_all(t, tck_all(t));
    tck_feed_all(t, 5);
    (void)tck_wait(t, tck_all_emitted);
    tck_end_all(t, status);
    (void)tck_wait(t, tck_all_over);
    tck_idle(t);
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, t->in[i].after_end == 0, "input %u was asked or cancelled after its terminal",
                  i);
}

void rule_2_03(tck *t)
{
    leaves_the_ended_alone(t, WEIR_OK);
    tck_again(t);
    if (!t->failed)
        leaves_the_ended_alone(t, WEIR_EIO);
}

static void forgets_the_ended(tck *t, weir_status status)
{
    if (!tck_start(t))
        return;
    tck_feed_all(t, 4);
    tck_idle(t);
    tck_end_all(t, status);
    tck_settle(t);
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, tck_credit(t, i) == 0, "input %u has demand after its terminal", i);
    tck_ask_all(t, tck_all(t));
    (void)TCK(t, tck_wait(t, tck_is_finished), "it does not close after the terminal of its input");
    for (uint32_t i = 0; i < weir_pipeline_edges(t->pipeline); i++) {
        weir_edge_stats edge;
        (void)TCK(t, weir_pipeline_edge_stats(t->pipeline, i, &edge) == WEIR_OK && edge.queued == 0,
                  "%lu items are left on an edge", edge.queued);
    }
}

void rule_2_04(tck *t)
{
    forgets_the_ended(t, WEIR_OK);
    tck_again(t);
    if (!t->failed)
        forgets_the_ended(t, WEIR_EIO);
}

void rule_2_05(tck *t)
{
    for (uint32_t twice = 0; twice < (uint32_t)t->row->inputs; twice++) {
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .env = &t->env });
        weir_node *row = tck_add_row(t, p);
        for (uint32_t i = 0; i < t->n_in; i++)
            weir_link(tck_add_source(t, p, i), 0, row, i, NULL);
        for (uint32_t i = 0; i < t->n_out; i++)
            weir_link(row, i, tck_add_sink(t, p, i), 0, NULL);
        (void)TCK(t, weir_pipeline_check(p) == WEIR_OK, "is refused: %s", weir_pipeline_why(p));
        weir_link(tck_add_source(t, p, t->n_in), 0, row, twice, NULL);
        (void)TCK(t, t->engine->check(t, p) == WEIR_EINVAL, "input %u has two senders", twice);
        weir_pipeline_free(p);
    }
}

static void check_told_once(tck *t)
{
    (void)TCK(t, tck_wait(t, tck_sources_told), "the inputs are not cancelled");
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, t->in[i].ended || t->in[i].cancels + t->in[i].aborts == 1,
                  "input %u was cancelled %lu times, aborted %lu times", i, t->in[i].cancels,
                  t->in[i].aborts);
}

void rule_2_06(tck *t)
{
    if (!tck_start(t))
        return;
    tck_ask_all(t, 3);
    tck_feed_all(t, 6);
    tck_idle(t);
    if (t->n_out == 0)
        weir_pipeline_shutdown(t->pipeline, WEIR_ABORT, 0);
    tck_cancel_all(t);
    check_told_once(t);
    tck_again(t);
    if (t->failed || !tck_has(t, STAGE_ENDS) || t->n_out == 0 || !tck_start(t))
        return;
    tck_ask_all(t, tck_all(t)); /* it ends first: then it needs no more */
    tck_feed_all(t, 100);
    (void)tck_wait(t, tck_all_emitted);
    if (tck_all_over(t))
        check_told_once(t);
}

void rule_2_07(tck *t)
{
    tck_ask_as_it_comes(t, 2, 1);
    if (!tck_start(t))
        return;
    for (uint32_t step = 0; step < 12; step++) {
        tck_feed_all(t, 1 + step % 4);
        tck_idle(t);
    }
    tck_cancel_all(t);
    tck_idle(t);
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, t->in[i].wrong_credits == 0,
                  "input %u: %lu times a level that fell, or was not what there is", i,
                  t->in[i].wrong_credits);
    (void)TCK(t, t->on_foreign_loop == 0, "%lu signals came on a foreign loop", t->on_foreign_loop);
    (void)TCK(t, t->nested == 0, "%lu signals came beneath another", t->nested);
}

void rule_2_08(tck *t)
{
    if (!tck_start(t))
        return;
    tck_ask_all(t, tck_all(t));
    tck_idle(t);
    tck_feed_all(t, 50);
    for (uint32_t turns = 0; turns < 8 * t->loops; turns++)
        tck_turn(t, turns % t->loops);
    tck_feed_all(t, 50);
    if (t->n_out == 0)
        weir_pipeline_shutdown(t->pipeline, WEIR_ABORT, 0);
    tck_cancel_all(t);
    tck_turn(t, 0); /* the sender may not know yet, and goes on */
    tck_feed_all(t, 20);
    (void)TCK(t, tck_wait(t, tck_is_finished), "it does not close after the cancel");
    (void)TCK(t, tck_live(t) == 0, "%lu items in flight at the cancel never ended", tck_live(t));
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].after_cancel == 0, "%lu signals came after the cancel",
                  t->out[i].after_cancel);
}

static void takes_terminal(tck *t, weir_status status, bool with_demand)
{
    bool needs_none = !tck_has(t, STAGE_MAKES | STAGE_INVENTS);
    for (uint32_t i = 0; i < t->n_in; i++) {
        t->in[i].ends_in_open = !with_demand;
        t->in[i].status = status;
    }
    if (!tck_start(t))
        return;
    if (with_demand) {
        tck_ask_all(t, tck_all(t));
        tck_idle(t);
        tck_end_all(t, status);
    }
    if (needs_none)
        (void)TCK(t, tck_wait(t, tck_all_over), "an empty input's %s is not passed on %s demand",
                  status == WEIR_OK ? "end" : "error", with_demand ? "with" : "without");
    tck_ask_all(t, tck_all(t));
    (void)TCK(t, tck_wait(t, tck_is_finished), "it does not close after an empty input");
    (void)TCK(t, !needs_none || tck_received(t) == 0, "items came of an empty input");
    for (uint32_t i = 0; i < t->n_out && !tck_has(t, STAGE_ENDS); i++)
        (void)TCK(t, t->out[i].status == status, "output %u ended with %s", i,
                  weir_status_name(t->out[i].status));
}

void rule_2_09(tck *t)
{
    takes_terminal(t, WEIR_OK, false);
    tck_again(t);
    if (!t->failed)
        takes_terminal(t, WEIR_OK, true);
}

void rule_2_10(tck *t)
{
    takes_terminal(t, WEIR_EIO, false);
    tck_again(t);
    if (!t->failed)
        takes_terminal(t, WEIR_EIO, true);
}

/* The same on threads, a loop each. A timed row would take its time. */
static void reads_what_was_written_on_threads(tck *t)
{
    if (t->loops == 1 || t->window < 16 || tck_has(t, STAGE_TIMED))
        return;
    tck_again(t);
    for (uint32_t i = 0; i < t->n_in; i++)
        t->in[i].allowed = 300;
    if (t->failed || !tck_run_on_threads(t))
        return;
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].corrupt == 0 && t->out[i].out_of_order == 0,
                  "on threads: %lu items are not what was written, %lu out of order",
                  t->out[i].corrupt, t->out[i].out_of_order);
    uint64_t expected = tck_expected(t, tck_emitted(t));
    (void)TCK(t, expected == UINT64_MAX || tck_leaves(t) == expected,
              "on threads %lu items came of %lu", tck_leaves(t), expected);
}

void rule_2_11(tck *t)
{
    tck_ask_as_it_comes(t, 2, 1);
    if (!tck_start(t))
        return;
    tck_feed_all(t, 50);
    (void)tck_wait(t, tck_all_emitted);
    tck_end_all(t, WEIR_OK);
    (void)tck_wait(t, tck_all_over);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].corrupt == 0, "output %u: %lu items are not what was written", i,
                  t->out[i].corrupt);
    (void)TCK(t, tck_wait(t, tck_is_finished) && tck_live(t) == 0, "%lu items never ended",
              tck_live(t));
    reads_what_was_written_on_threads(t);
}

void rule_2_12(tck *t)
{
    if (!tck_start(t))
        return;
    (void)TCK(t, t->engine->start(t, t->pipeline) == WEIR_EINVAL, "it can be started twice");
    tck_settle(t);
    tck_ask_all(t, 4);
    tck_feed_all(t, 4);
    tck_idle(t);
    tck_end_all(t, WEIR_OK);
    tck_ask_all(t, tck_all(t));
    (void)TCK(t, tck_wait(t, tck_is_finished), "does not end");
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, t->in[i].opened == 1 && t->in[i].closed == 1, "input %u: opened %u, closed %u",
                  i, t->in[i].opened, t->in[i].closed);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].opened == 1 && t->out[i].closed == 1,
                  "output %u: opened %u, closed %u", i, t->out[i].opened, t->out[i].closed);
}

void rule_2_13(tck *t)
{
    tck_ask_as_it_comes(t, 4, 1);
    if (!tck_start(t))
        return;
    tck_feed_all(t, 21);
    (void)tck_wait(t, tck_all_emitted);
    tck_end_all(t, WEIR_OK);
    (void)TCK(t, tck_wait(t, tck_is_finished), "does not end");
    (void)TCK(t, t->nested == 0, "%lu callbacks ran beneath another", t->nested);
    (void)TCK(t, tck_has(t, STAGE_ENDS) || weir_pipeline_status(t->pipeline) == WEIR_OK,
              "a callback failed: %s", weir_pipeline_why(t->pipeline));
}
