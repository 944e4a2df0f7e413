/* Stages and engines that each break one rule, to show that the rule's check can fail.
 *
 * A rule that no stage can break, because the engine keeps it for all, is shown on a wrong engine:
 * one call of the real one is put another in its place. */
#include "tck.h"

/* ---- Stages ---- */

static weir_status emits_two(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    (void)state;
    weir_item *more = weir_item_new(weir_stage_loop(stage), NULL, sizeof(uint64_t));
    weir_emit(weir_stage_out(stage), item);
    weir_emit(weir_stage_out(stage), more);
    return WEIR_OK;
}

static weir_status reverses(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                            void *state)
{
    (void)in;
    (void)state;
    while (n > 0)
        weir_emit(weir_stage_out(stage), items[--n]);
    return WEIR_OK;
}

static weir_status corrupts(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    (void)state;
    ((tck_body *)weir_item_body(item))->magic ^= 1;
    weir_emit(weir_stage_out(stage), item);
    return WEIR_OK;
}

static weir_status loses_every_fourth(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    if (++*(uint64_t *)state % 4 != 0)
        weir_emit(weir_stage_out(stage), item);
    else
        (void)weir_request(in, 1); /* and nobody ends it */
    return WEIR_OK;
}

static weir_status drops_every_fourth(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    if (++*(uint64_t *)state % 4 != 0)
        weir_emit(weir_stage_out(stage), item);
    else
        weir_drop(in, item);
    return WEIR_OK;
}

static void asks_for_nothing(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    (void)state;
    (void)weir_request(weir_stage_in(stage), 0);
}

static void forgets_the_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)stage;
    (void)in;
    (void)status;
    (void)state;
}

static void swallows_the_error(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    (void)status;
    (void)state;
    weir_end(weir_stage_out(stage));
}

static void emits_after_the_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    (void)state;
    weir_end_error(weir_stage_out(stage), status);
    weir_emit(weir_stage_out(stage), weir_item_new(weir_stage_loop(stage), NULL, sizeof(uint64_t)));
}

static void fails_at_the_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    (void)state;
    weir_end_error(weir_stage_out(stage), status);
    weir_stage_fail(stage, WEIR_EINTERNAL, "cannot stand an end");
}

static void ignores_the_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)stage;
    (void)out;
    (void)state;
}

static void fails_at_the_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    (void)state;
    weir_cancel(weir_stage_in(stage));
    weir_stage_fail(stage, WEIR_EINTERNAL, "cannot stand a cancel");
}

static weir_status holds_for_ever(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    weir_stage_hold(stage);
    return WEIR_OK;
}

/* Ends only when it is asked for more. */
typedef struct late {
    bool is_over;
    weir_status status;
} late;

static void late_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)stage;
    (void)in;
    *(late *)state = (late){ .is_over = true, .status = status };
}

static void late_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    const late *l = state;
    if (l->is_over)
        weir_end_error(out, l->status);
    else
        weir_request_to(weir_stage_in(stage), credit);
}

/* Takes four ahead, and ends without emitting what it holds of them. */
typedef struct hasty {
    weir_item *held[64];
    uint32_t n;
} hasty;

static void hasty_run(weir_stage *stage, hasty *h)
{
    weir_out *out = weir_stage_out(stage);
    uint32_t emitted = 0;
    while (emitted < h->n && weir_out_credit(out) > 0)
        weir_emit(out, h->held[emitted++]);
    h->n -= emitted;
    for (uint32_t i = 0; i < h->n; i++)
        h->held[i] = h->held[i + emitted];
    weir_request_to(weir_stage_in(stage), 4 - h->n);
}

static weir_status hasty_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    hasty_run(stage, state);
    return WEIR_OK;
}

static weir_status hasty_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    hasty *h = state;
    (void)in;
    h->held[h->n++] = item;
    hasty_run(stage, h);
    return WEIR_OK;
}

static void hasty_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    hasty_run(stage, state);
}

static void hasty_on_abort(weir_stage *stage, void *state)
{
    hasty *h = state;
    (void)stage;
    while (h->n > 0)
        weir_item_end(h->held[--h->n], WEIR_ABORTED, WEIR_ECANCELED);
}

static void hasty_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    hasty_on_abort(stage, state);
    weir_end_error(weir_stage_out(stage), status);
}

static void hasty_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    hasty_on_abort(stage, state);
    weir_cancel(weir_stage_in(stage));
}

/* Two legs; when one goes, all goes. */
static void pair_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    (void)state;
    weir_request_to(weir_stage_in(stage), weir_out_credit(weir_stage_out_at(stage, 0)) +
                                              weir_out_credit(weir_stage_out_at(stage, 1)));
}

static weir_status pair_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    (void)state;
    uint32_t leg = weir_out_credit(weir_stage_out_at(stage, 0)) > 0 ? 0 : 1;
    weir_emit(weir_stage_out_at(stage, leg), item);
    return WEIR_OK;
}

static void pair_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    (void)state;
    weir_cancel(weir_stage_in(stage));
    for (uint32_t leg = 0; leg < 2; leg++)
        weir_end(weir_stage_out_at(stage, leg));
}

#define STAGE(name_, ...)                                        \
    static const weir_stage_type name_##_type = { __VA_ARGS__ }; \
    static weir_stage_spec *name_(void)                          \
    {                                                            \
        return weir_stage_of(&name_##_type, NULL);               \
    }

STAGE(right, .name = "right")
STAGE(two, .name = "two", .on_item = emits_two)
STAGE(reverse, .name = "reverse", .on_items = reverses)
STAGE(corrupt, .name = "corrupt", .on_item = corrupts)
STAGE(lose, .name = "lose", .state_size = sizeof(uint64_t), .on_item = loses_every_fourth)
STAGE(drop, .name = "drop", .state_size = sizeof(uint64_t), .on_item = drops_every_fourth)
STAGE(nothing, .name = "nothing", .on_demand = asks_for_nothing)
STAGE(endless, .name = "endless", .on_end = forgets_the_end)
STAGE(swallow, .name = "swallow", .on_end = swallows_the_error)
STAGE(afterwards, .name = "afterwards", .on_end = emits_after_the_end)
STAGE(fail_end, .name = "fail_end", .on_end = fails_at_the_end)
STAGE(deaf, .name = "deaf", .on_cancel = ignores_the_cancel)
STAGE(fail_cancel, .name = "fail_cancel", .on_cancel = fails_at_the_cancel)
STAGE(hold, .name = "hold", .open = holds_for_ever)
STAGE(tardy, .name = "tardy", .state_size = sizeof(late), .on_demand = late_on_demand,
      .on_end = late_on_end)
STAGE(early, .name = "early", .state_size = sizeof(hasty), .open = hasty_open,
      .on_item = hasty_on_item, .on_demand = hasty_on_demand, .on_end = hasty_on_end,
      .on_cancel = hasty_on_cancel, .on_abort = hasty_on_abort)
STAGE(pair, .name = "pair", .outputs = 2, .on_demand = pair_on_demand, .on_item = pair_on_item,
      .on_cancel = pair_on_cancel)

static weir_stage_spec *copies(void)
{
    return weir_broadcast(WEIR_SLOW_LEG_HOLDS);
}

/* ---- Engines ---- */

static void turn_all(tck *t)
{
    if (!t->in_callback)
        for (uint32_t i = 0; i < t->loops; i++)
            (void)weir_loop_turn(t->loop[i]);
}

static weir_status request_turns(tck *t, weir_in *in, uint64_t n)
{
    weir_status status = weir_request(in, n);
    turn_all(t);
    return status;
}

static weir_status request_not_in_callbacks(tck *t, weir_in *in, uint64_t n)
{
    return t->in_callback ? WEIR_OK : weir_request(in, n);
}

/* Answers with an item within the call, as deep as it goes. */
static weir_status request_recurses(tck *t, weir_in *in, uint64_t n)
{
    weir_status status = weir_request(in, n);
    if (t->in_callback && t->nested < 800)
        tck_fake_item(t, 0);
    return status;
}

static weir_status request_delivers(tck *t, weir_in *in, uint64_t n)
{
    weir_status status = weir_request(in, n);
    if (!t->in_callback)
        tck_fake_item(t, 0);
    return status;
}

static weir_status request_ends(tck *t, weir_in *in, uint64_t n)
{
    weir_status status = weir_request(in, n);
    if (!t->in_callback)
        tck_fake_over(t, 0);
    return status;
}

static weir_status request_asks_beneath(tck *t, weir_in *in, uint64_t n)
{
    weir_status status = weir_request(in, n);
    tck_fake_demand(t, 0);
    return status;
}

static weir_status request_allocates(tck *t, weir_in *in, uint64_t n)
{
    weir_memory_free(&t->env, weir_memory_new(&t->env, 16));
    return weir_request(in, n);
}

static weir_status request_replaces(tck *t, weir_in *in, uint64_t n)
{
    (void)t;
    return n == 0 || weir_in_outstanding(in) == 0 ? weir_request(in, n) : WEIR_OK;
}

static weir_status request_takes_nothing(tck *t, weir_in *in, uint64_t n)
{
    (void)t;
    return n == 0 ? WEIR_OK : weir_request(in, n);
}

static weir_status request_fails(tck *t, weir_in *in, uint64_t n)
{
    return t->in_callback && n == 1 ? WEIR_EAGAIN : weir_request(in, n);
}

static void cancel_does_nothing(tck *t, weir_in *in)
{
    (void)t;
    (void)in;
}

static void cancel_allocates(tck *t, weir_in *in)
{
    weir_memory_free(&t->env, weir_memory_new(&t->env, 16));
    weir_cancel(in);
}

static void cancel_tells_each_time(tck *t, weir_in *in)
{
    weir_cancel(in);
    tck_fake_cancel(t, 0);
}

static uint64_t outstanding_after_the_end(tck *t, const weir_in *in)
{
    (void)t;
    return weir_in_is_over(in) ? 1 : weir_in_outstanding(in);
}

static uint64_t outstanding_wraps(tck *t, const weir_in *in)
{
    (void)t;
    return weir_in_outstanding(in) & INT64_MAX;
}

static void emit_turns(tck *t, weir_out *out, weir_item *item)
{
    weir_emit(out, item);
    turn_all(t);
}

static void end_asks(tck *t, weir_out *out, weir_status status)
{
    weir_end_error(out, status);
    tck_fake_demand(t, 0);
}

static void end_twice(tck *t, weir_out *out, weir_status status)
{
    weir_end_error(out, status);
    tck_fake_over(t, 0);
}

static weir_status check_nothing(tck *t, weir_pipeline *pipeline)
{
    (void)t;
    (void)pipeline;
    return WEIR_OK;
}

static weir_status start_always(tck *t, weir_pipeline *pipeline)
{
    if (t->is_started)
        return WEIR_OK;
    return weir_pipeline_start(pipeline, t->loop, t->loops, NULL, NULL);
}

static weir_status start_opens_twice(tck *t, weir_pipeline *pipeline)
{
    if (!t->is_started)
        return weir_pipeline_start(pipeline, t->loop, t->loops, NULL, NULL);
    tck_fake_open(t, 0);
    return WEIR_EINVAL;
}

/* ---- The list ---- */

#define PASS(make_)                                       \
    {                                                     \
#make_, make_, 1, 1, STAGE_PASSES | STAGE_ORDERED \
    }
#define PAIR(make_)                                       \
    {                                                     \
#make_, make_, 1, 2, STAGE_PASSES | STAGE_ORDERED \
    }

static const tck_wrong list[] = {
    { "emits more than was asked for", "1.01", PASS(two), { 0 } },
    { "forgets to end", "1.02", PASS(endless), { 0 } },
    { "reorders", "1.03", PASS(reverse), { 0 } },
    { "delivers beneath a request", "1.03", PASS(right), { .request = request_recurses } },
    { "makes an error an end", "1.04", PASS(swallow), { 0 } },
    { "forgets to end", "1.05", PASS(endless), { 0 } },
    { "ends before what it holds", "1.05", PASS(early), { 0 } },
    { "loses items", "1.05", PASS(lose), { 0 } },
    { "never closes", "1.06", PASS(hold), { 0 } },
    { "has demand after the end",
      "1.06",
      PASS(right),
      { .outstanding = outstanding_after_the_end } },
    { "emits after its end", "1.07", PASS(afterwards), { 0 } },
    { "ends twice", "1.07", PASS(right), { .end = end_twice } },
    { "does not cancel", "1.08", PASS(right), { .cancel = cancel_does_nothing } },
    { "checks no graph", "1.09", PASS(right), { .check = check_nothing } },
    { "checks no graph", "1.10", PASS(right), { .check = check_nothing } },
    { "hands an item to both", "1.11", PAIR(copies), { 0 } },
    { "asks for 0", "2.01", PASS(nothing), { 0 } },
    { "delivers beneath an emit", "2.02", PASS(right), { .emit = emit_turns } },
    { "asks after the end", "2.03", PASS(right), { .end = end_asks } },
    { "never closes", "2.04", PASS(hold), { 0 } },
    { "checks no graph", "2.05", PASS(right), { .check = check_nothing } },
    { "does not hear a cancel", "2.06", PASS(deaf), { 0 } },
    { "asks beneath a request", "2.07", PASS(right), { .request = request_asks_beneath } },
    { "loses items", "2.08", PASS(lose), { 0 } },
    { "ends on demand only", "2.09", PASS(tardy), { 0 } },
    { "ends on demand only", "2.10", PASS(tardy), { 0 } },
    { "makes an error an end", "2.10", PASS(swallow), { 0 } },
    { "writes where it may not", "2.11", PASS(corrupt), { 0 } },
    { "starts twice", "2.12", PASS(right), { .start = start_always } },
    { "opens twice", "2.12", PASS(right), { .start = start_opens_twice } },
    { "fails in a callback", "2.13", PASS(fail_end), { 0 } },
    { "delivers beneath a request", "2.13", PASS(right), { .request = request_recurses } },
    { "runs all in a request", "3.01", PASS(right), { .request = request_turns } },
    { "hears no request in callbacks",
      "3.02",
      PASS(right),
      { .request = request_not_in_callbacks } },
    { "recurses", "3.03", PASS(right), { .request = request_recurses } },
    { "allocates in a request", "3.04", PASS(right), { .request = request_allocates } },
    { "allocates in a cancel", "3.05", PASS(right), { .cancel = cancel_allocates } },
    { "has demand after the cancel",
      "3.06",
      PASS(right),
      { .outstanding = outstanding_after_the_end } },
    { "tells each cancel", "3.07", PASS(right), { .cancel = cancel_tells_each_time } },
    { "replaces what was asked", "3.08", PASS(right), { .request = request_replaces } },
    { "takes a request of 0", "3.09", PASS(right), { .request = request_takes_nothing } },
    { "delivers within a request", "3.10", PASS(right), { .request = request_delivers } },
    { "ends within a request", "3.11", PASS(right), { .request = request_ends } },
    { "does not hear a cancel", "3.12", PASS(deaf), { 0 } },
    { "loses items", "3.13", PASS(lose), { 0 } },
    { "ends all legs with one", "3.14", PAIR(pair), { 0 } },
    { "does not hear a cancel", "3.14", PASS(deaf), { 0 } },
    { "fails at a cancel", "3.15", PASS(fail_cancel), { 0 } },
    { "fails a request", "3.16", PASS(right), { .request = request_fails } },
    { "wraps its demand", "3.17", PASS(right), { .outstanding = outstanding_wraps } },
    { "drops what it should pass", "4.01", PASS(drop), { 0 } },
    { "swallows an error", "4.02", PASS(endless), { 0 } },
    { "makes an error an end", "4.02", PASS(swallow), { 0 } },
};

const tck_wrong *tck_wrong_at(size_t index)
{
    size_t n = sizeof list / sizeof *list;
    return index < n ? &list[index] : tck_wrong_end_at(index - n);
}
