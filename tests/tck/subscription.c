/* Sections 3 and 4: request and cancel below a row, and both sides of it at once. */
#include "tck.h"

enum { DEPTH_GROWTH_MAX = 8192, DEPTH_MAX = 65536 };

void rule_3_01(tck *t)
{
    if (!tck_start(t))
        return;
    tck_idle(t);
    uint64_t credits = tck_credits(t), callbacks = t->callbacks;
    tck_ask_all(t, 5);
    (void)TCK(t, t->callbacks == callbacks, "a request ran %lu callbacks",
              t->callbacks - callbacks);
    if (t->loops > 1)
        tck_turn(t, 0); /* the loop of the source; that of the row stands still */
    (void)TCK(t, tck_credits(t) == credits, "the sender was asked outside the row's own loop");
    tck_idle(t);
    (void)TCK(t, t->on_foreign_loop == 0, "%lu callbacks ran on a foreign loop",
              t->on_foreign_loop);
}

/* All of it comes, asked for from within the callbacks alone. */
void rule_3_02(tck *t)
{
    tck_ask_as_it_comes(t, 1, 1);
    if (!tck_start(t))
        return;
    tck_feed_all(t, 30);
    bool took = tck_all_taken(t);
    (void)TCK(t, took || tck_has(t, STAGE_ENDS), "stuck after %lu items", tck_received(t));
    tck_end_all(t, WEIR_OK);
    (void)TCK(t, tck_wait(t, tck_all_over), "no end after %lu items", tck_received(t));
    uint64_t expected = tck_expected(t, tck_emitted(t));
    (void)TCK(t, expected == UINT64_MAX || tck_leaves(t) == expected, "%lu items came of %lu",
              tck_leaves(t), expected);
}

void rule_3_03(tck *t)
{
    if (t->n_in == 1 && t->n_out == 1 && tck_expected(t, 1) == 1 && !tck_has(t, STAGE_JOINS))
        t->chain = TCK_CHAIN;
    tck_ask_as_it_comes(t, 1, 1);
    for (uint32_t i = 0; i < t->n_out && tck_has(t, STAGE_INVENTS); i++)
        t->out[i].cancel_at = 300;
    if (!tck_start(t))
        return;
    tck_feed_all(t, 20);
    (void)tck_wait(t, tck_all_emitted);
    size_t depth = t->depth_max;
    tck_feed_all(t, 300);
    (void)tck_wait(t, tck_all_emitted);
    tck_end_all(t, WEIR_OK);
    (void)tck_wait(t, tck_all_over);
    uint64_t expected = tck_expected(t, tck_emitted(t));
    (void)TCK(t, expected == UINT64_MAX || tck_leaves(t) == expected, "%lu items came of %lu",
              tck_leaves(t), expected);
    (void)TCK(t, t->depth_max < DEPTH_MAX && t->depth_max < depth + DEPTH_GROWTH_MAX,
              "the stack grew from %zu to %zu bytes", depth, t->depth_max);
}

/* A call that only notes: it runs nothing, allocates nothing, ends nothing. */
typedef struct quiet {
    uint64_t callbacks, allocations, emitted, received, items_in, live, overs;
} quiet;

static quiet look(const tck *t)
{
    quiet now = { t->callbacks,
                  weir_testkit_allocations(t->kit),
                  tck_emitted(t),
                  tck_received(t),
                  tck_row_items_in(t),
                  tck_live(t),
                  0 };
    for (uint32_t i = 0; i < t->n_out; i++)
        now.overs += t->out[i].overs;
    return now;
}

static void check_quiet(tck *t, quiet before, const char *call)
{
    quiet now = look(t);
    (void)TCK(t, now.received == before.received, "an item came within a %s", call);
    (void)TCK(t, now.overs == before.overs, "a terminal came within a %s", call);
    (void)TCK(t, now.callbacks == before.callbacks, "a %s ran %lu callbacks", call,
              now.callbacks - before.callbacks);
    (void)TCK(t, now.allocations == before.allocations, "a %s allocated", call);
    (void)TCK(t, now.emitted == before.emitted && now.items_in == before.items_in,
              "items moved within a %s", call);
    (void)TCK(t, now.live == before.live, "items ended within a %s", call);
}

void rule_3_04(tck *t)
{
    if (!tck_start(t))
        return;
    tck_feed_all(t, 40);
    tck_idle(t);
    for (uint64_t n = 1; n < 40; n *= 3) {
        quiet before = look(t);
        tck_ask_all(t, n);
        check_quiet(t, before, "request");
        tck_turn(t, t->loops - 1);
    }
}

void rule_3_05(tck *t)
{
    if (!tck_start(t))
        return;
    tck_feed_all(t, 40);
    tck_ask_all(t, 3);
    tck_idle(t);
    tck_ask_all(t, 30);
    tck_turn(t, t->loops > 1 ? 1 : 0); /* items lie on the edges */
    quiet before = look(t);
    tck_cancel_all(t);
    tck_cancel_all(t);
    check_quiet(t, before, "cancel");
}

void rule_3_06(tck *t)
{
    if (!tck_start(t))
        return;
    tck_feed_all(t, 20);
    tck_ask_all(t, 3);
    tck_idle(t);
    uint64_t received = tck_received(t);
    tck_cancel_all(t);
    for (uint32_t i = 0; i < t->n_out; i++) {
        (void)TCK(t, tck_ask(t, i, 7) == WEIR_OK, "a request after the cancel is an error");
        (void)TCK(t, tck_outstanding(t, i) == 0, "a request after the cancel counts");
    }
    tck_idle(t);
    (void)TCK(t, tck_received(t) == received, "items came of a request after the cancel");
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, t->in[i].after_end == 0, "input %u was asked after its cancel", i);
}

void rule_3_07(tck *t)
{
    if (!tck_start(t))
        return;
    tck_feed_all(t, 20);
    tck_ask_all(t, 3);
    tck_idle(t);
    for (int times = 0; times < 3; times++) {
        tck_cancel_all(t);
        tck_cancel_all(t);
        tck_turn(t, 0);
    }
    (void)TCK(t, tck_wait(t, tck_is_finished), "does not close after the cancel");
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, t->in[i].cancels + t->in[i].aborts == 1, "input %u was cancelled %lu times", i,
                  t->in[i].cancels);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].closed == 1, "output %u closed %u times", i, t->out[i].closed);
}

void rule_3_08(tck *t)
{
    if (!tck_start(t))
        return;
    tck_ask_all(t, 2);
    tck_ask_all(t, 3);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, tck_outstanding(t, i) == 5 || t->out[i].stage == NULL,
                  "2 and 3 asked for make %lu", tck_outstanding(t, i));
    tck_feed_all(t, 64);
    bool exact = tck_expected(t, 1) != UINT64_MAX && !tck_has(t, STAGE_JOINS);
    t->wanted = exact ? 5 : 0;
    (void)TCK(t, tck_wait(t, tck_got_wanted), "5 asked for, and %lu came", tck_received(t));
    tck_idle(t);
    (void)TCK(t, !exact || !tck_has(t, STAGE_COPIES) || tck_leaves(t) == 5,
              "5 asked for, and %lu came", tck_leaves(t));
    for (uint32_t i = 0; i < t->n_out; i++) {
        const tck_sink *sink = &t->out[i];
        if (sink->is_over || sink->stage == NULL)
            continue;
        (void)TCK(t, sink->received <= 5 && tck_outstanding(t, i) == 5 - sink->received,
                  "output %u: %lu came, %lu are outstanding of 5", i, sink->received,
                  tck_outstanding(t, i));
    }
}

void rule_3_09(tck *t)
{
    tck_check_calls(t);
    for (uint32_t i = 0; i < t->n_out; i++)
        t->out[i].ask_in_open = 0;
    if (!tck_start(t))
        return;
    for (uint32_t i = 0; i < t->n_out; i++) {
        uint64_t before = tck_outstanding(t, i);
        (void)TCK(t, t->out[i].stage == NULL || tck_ask(t, i, 0) == WEIR_EINVAL,
                  "a request of 0 is not refused");
        (void)TCK(t, tck_outstanding(t, i) == before, "a request of 0 counts");
        tck_cancel(t, i);
        (void)TCK(t, t->out[i].stage == NULL || tck_ask(t, i, 0) == WEIR_EINVAL,
                  "a request of 0 is not refused after the cancel");
    }
    tck_idle(t);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].bad_calls == 0, "a request of 0 from a callback is not refused");
}

void rule_3_10(tck *t)
{
    tck_check_calls(t);
    if (!tck_start(t))
        return;
    tck_feed_all(t, 20);
    tck_idle(t);
    for (int step = 0; step < 3; step++) {
        quiet before = look(t);
        tck_ask_all(t, 3);
        check_quiet(t, before, "request");
        tck_idle(t);
    }
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].bad_calls == 0,
                  "output %u: an item came within a request from a callback", i);
    uint64_t expected = tck_expected(t, 1);
    (void)TCK(t, expected == UINT64_MAX || tck_received(t) != 0, "and none came afterwards");
}

void rule_3_11(tck *t)
{
    tck_check_calls(t);
    if (!tck_start(t))
        return;
    tck_feed_all(t, 6);
    tck_idle(t);
    tck_end_all(t, WEIR_OK);
    for (int step = 0; step < 3; step++) {
        quiet before = look(t);
        tck_ask_all(t, 2);
        check_quiet(t, before, "request");
        tck_turn(t, t->loops - 1);
    }
    tck_ask_all(t, tck_all(t));
    (void)TCK(t, tck_wait(t, tck_all_over), "and no terminal came afterwards");
    (void)TCK(t, t->nested == 0, "%lu callbacks ran beneath a call", t->nested);
}

/* Cancels below while items are everywhere. */
static bool cancel_amid(tck *t)
{
    if (!tck_start(t))
        return false;
    tck_feed_all(t, 60);
    tck_ask_all(t, 5);
    tck_idle(t);
    tck_ask_all(t, 20);
    tck_turn(t, t->loops > 1 ? 1 : 0);
    tck_cancel_all(t);
    return TCK(t, tck_wait(t, tck_is_finished), "does not close after the cancel");
}

void rule_3_12(tck *t)
{
    if (!cancel_amid(t))
        return;
    (void)TCK(t, tck_sources_told(t), "the inputs were not cancelled");
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, tck_credit(t, i) == 0 && t->in[i].closed == 1, "input %u is still served", i);
}

void rule_3_13(tck *t)
{
    if (!cancel_amid(t))
        return;
    tck_settle(t);
    (void)TCK(t, tck_live(t) == 0, "%lu items are still held after the cancel", tck_live(t));
    for (uint32_t i = 0; i < t->loops; i++) {
        weir_loop_stats stats;
        weir_loop_stats_get(t->loop[i], &stats);
        (void)TCK(t, stats.items_live == 0, "%lu items live on loop %u after the cancel",
                  stats.items_live, i);
    }
}

/* One leg goes, the others are served to their end. */
static void others_are_served(tck *t, uint32_t gone)
{
    (void)TCK(t, tck_has(t, STAGE_ENDS) || t->n_in == 0 || t->in[0].cancels == 0,
              "one output was cancelled, and with it the input");
    uint64_t received = tck_received(t);
    for (uint32_t i = 0; i < t->n_out; i++)
        if (i != gone)
            (void)tck_ask(t, i, tck_all(t));
    tck_feed_all(t, 20);
    bool took = tck_all_taken(t);
    (void)TCK(t, took || tck_has(t, STAGE_ENDS), "one output was cancelled, and the others starve");
    tck_end_all(t, WEIR_OK);
    (void)TCK(t, !tck_has(t, STAGE_PASSES | STAGE_COPIES) || tck_received(t) > received,
              "one output was cancelled, and nothing comes to the others");
}

/* A row may have a main output, the first, whose cancel ends the others. */
static void cancel_one_leg(tck *t, uint32_t leg)
{
    if (!tck_start(t))
        return;
    tck_ask_all(t, 5);
    tck_idle(t);
    tck_feed_all(t, 9); /* under way */
    tck_cancel(t, leg);
    tck_idle(t);
    if (leg != 0 || !tck_all_over(t))
        others_are_served(t, leg);
    (void)TCK(t, tck_wait(t, tck_all_over), "one output was cancelled, and the others do not end");
    tck_again(t);
}

void rule_3_14(tck *t)
{
    for (uint32_t leg = 0; t->n_out > 1 && leg < t->n_out && !t->failed; leg++)
        cancel_one_leg(t, leg);
    if (t->failed || !tck_start(t))
        return;
    tck_feed_all(t, 10);
    tck_ask_all(t, 3);
    tck_idle(t);
    tck_cancel_all(t);
    (void)TCK(t, tck_wait(t, tck_is_finished), "nobody wants it any more, and it does not close");
}

static void check_no_error(tck *t, const char *where)
{
    (void)TCK(t, tck_wait(t, tck_is_finished), "does not close after a cancel %s", where);
    (void)TCK(t, tck_has(t, STAGE_ENDS) || weir_pipeline_status(t->pipeline) == WEIR_OK,
              "a cancel %s: %s", where, weir_pipeline_why(t->pipeline));
}

void rule_3_15(tck *t)
{
    static const char *const where[] = { "in open", "in on_items", "between turns" };
    for (int place = 0; place < 3 && !t->failed; place++) {
        for (uint32_t i = 0; i < t->n_out; i++) {
            t->out[i].cancel_in_open = place == 0;
            t->out[i].cancel_at = place == 1 ? 1 : UINT64_MAX;
        }
        if (!tck_start(t))
            return;
        tck_feed_all(t, 20);
        tck_ask_all(t, 10);
        tck_idle(t);
        if (place == 2 || (place == 1 && tck_received(t) == 0))
            tck_cancel_all(t);
        for (uint32_t i = 0; i < t->n_out; i++) /* those that nothing came to */
            tck_cancel(t, i);
        check_no_error(t, where[place]);
        if (place < 2)
            tck_again(t);
    }
}

void rule_3_16(tck *t)
{
    tck_check_calls(t);
    if (!tck_start(t))
        return;
    for (uint64_t n = 1; n < 20; n += 6) {
        for (uint32_t i = 0; i < t->n_out; i++)
            (void)TCK(t, tck_ask(t, i, n) == WEIR_OK, "a request of %lu failed", n);
        tck_feed_all(t, n);
        tck_idle(t);
    }
    tck_end_all(t, WEIR_OK);
    tck_ask_all(t, tck_all(t));
    (void)tck_wait(t, tck_all_over);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, t->out[i].bad_calls == 0, "output %u: %lu calls in callbacks failed", i,
                  t->out[i].bad_calls);
}

static void saturate(tck *t, uint32_t out)
{
    static const uint64_t half = INT64_MAX;
    const uint64_t add[] = { half, half, 2, 1, WEIR_UNBOUNDED };
    const uint64_t makes[] = { half, 2 * half, WEIR_UNBOUNDED, WEIR_UNBOUNDED, WEIR_UNBOUNDED };
    for (size_t i = 0; i < sizeof add / sizeof *add && t->out[out].stage != NULL; i++) {
        (void)TCK(t, tck_ask(t, out, add[i]) == WEIR_OK, "a request of %lu failed", add[i]);
        (void)TCK(t, tck_outstanding(t, out) == makes[i], "outstanding %lu, not %lu",
                  tck_outstanding(t, out), makes[i]);
    }
}

void rule_3_17(tck *t)
{
    tck_ask_as_it_comes(t, 0, 0); /* a row that may never end is cancelled */
    if (!tck_start(t))
        return;
    for (uint32_t i = 0; i < t->n_out; i++)
        saturate(t, i);
    tck_feed_all(t, 100);
    bool took = tck_all_taken(t);
    (void)TCK(t, took || tck_has(t, STAGE_ENDS), "with unbounded demand it stalls after %lu items",
              tck_emitted(t));
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, tck_credit(t, i) <= t->window, "input %u: %lu of credit in a window of %u", i,
                  tck_credit(t, i), t->window);
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t,
                  t->out[i].stage == NULL || t->out[i].is_over || t->out[i].cancelled ||
                      tck_outstanding(t, i) == WEIR_UNBOUNDED,
                  "unbounded demand has become %lu", tck_outstanding(t, i));
    tck_end_all(t, WEIR_OK);
    (void)TCK(t, tck_wait(t, tck_all_over), "no end");
    uint64_t expected = tck_expected(t, tck_emitted(t));
    (void)TCK(t, expected == UINT64_MAX || tck_leaves(t) == expected, "%lu items came of %lu",
              tck_leaves(t), expected);
}

/* ---- Processors ---- */

static void check_both_sides(tck *t)
{
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t,
                  t->out[i].over_asked == 0 && t->out[i].out_of_order == 0 &&
                      t->out[i].corrupt == 0 && t->out[i].after_over == 0,
                  "output %u: unasked, out of order, corrupt or late", i);
    for (uint32_t i = 0; i < t->n_in; i++)
        (void)TCK(t, t->in[i].wrong_credits == 0 && t->in[i].after_end == 0,
                  "input %u: credit that is none", i);
}

void rule_4_01(tck *t)
{
    if (!tck_start(t))
        return;
    for (uint32_t step = 0; step < 24; step++) {
        for (uint32_t i = 0; i < t->n_in; i++)
            tck_feed(t, i, (step * 7 + i) % 5);
        for (uint32_t i = 0; i < t->n_out; i++)
            if ((step + i) % 3 != 0)
                (void)tck_ask(t, i, (step * 5 + i) % 4 + 1);
        if (step % 2 == 0)
            tck_idle(t);
        else
            tck_turn(t, step % t->loops);
    }
    tck_ask_all(t, tck_all(t));
    (void)tck_wait(t, tck_all_emitted);
    tck_end_all(t, WEIR_OK);
    (void)TCK(t, tck_wait(t, tck_is_finished), "does not end");
    check_both_sides(t);
    uint64_t n = tck_emitted(t), expected = tck_expected(t, n);
    (void)TCK(t, expected == UINT64_MAX || tck_leaves(t) == expected, "%lu items came of %lu",
              tck_leaves(t), expected);
    tck_settle(t);
    (void)TCK(t, expected == UINT64_MAX || t->in[0].outcomes[WEIR_ACKED] == t->in[0].emitted,
              "of %lu items %lu were acked", t->in[0].emitted, t->in[0].outcomes[WEIR_ACKED]);
}

void rule_4_02(tck *t)
{
    if (!tck_start(t))
        return;
    tck_ask_all(t, tck_all(t));
    tck_feed_all(t, 8);
    (void)tck_wait(t, tck_all_emitted);
    tck_feed(t, t->n_in - 1, 200); /* on the edge when the error comes */
    uint64_t expected = tck_expected(t, tck_emitted(t));
    tck_end(t, t->n_in - 1, WEIR_EPROTO);
    if (!tck_wait(t, tck_all_over)) /* its turn comes after the others */
        for (uint32_t i = 0; i + 1 < t->n_in; i++)
            tck_end(t, i, WEIR_OK);
    (void)TCK(t, tck_wait(t, tck_all_over), "the error of an input is swallowed");
    for (uint32_t i = 0; i < t->n_out && !tck_has(t, STAGE_ENDS); i++)
        (void)TCK(t, t->out[i].status == WEIR_EPROTO, "EPROTO has become %s",
                  weir_status_name(t->out[i].status));
    (void)TCK(t, t->in[t->n_in - 1].after_end == 0, "the failed input was called again");
    (void)TCK(t, expected == UINT64_MAX || t->n_in > 1 || tck_leaves(t) == expected,
              "the error passed %lu of %lu items", expected - tck_leaves(t), expected);
    (void)TCK(t, tck_wait(t, tck_is_finished), "does not close after the error");
}
