/* In front of every callback of a stage on a kit: is this the moment for it? And the fault that it
 * fails. */
#include "testkit_private.h"

static wi_wrap *wrap_of(const weir_stage *stage)
{
    return (wi_wrap *)(uintptr_t)stage->type;
}

static void wrong(const wi_wrap *w, const char *callback, const char *what)
{
    wi_kit_violated(w->kit, "%s: %s %s", w->stage->node->name, callback, what);
}

static wi_wrap *enter(weir_stage *stage, const char *callback)
{
    wi_wrap *w = wrap_of(stage);
    if (w->kit->depth++ != 0)
        wrong(w, callback, "ran beneath another callback");
    if (wi_here != stage->loop)
        wrong(w, callback, "ran on a foreign loop");
    if (!w->opened)
        wrong(w, callback, "ran before open");
    if (w->closed)
        wrong(w, callback, "ran after close");
    wi_kit_tell(w->kit, "               %s.%s", stage->node->name, callback);
    return w;
}

static void leave(wi_wrap *w)
{
    w->kit->depth--;
}

static weir_status on_open(weir_stage *stage, const void *config, void *state)
{
    wi_wrap *w = wrap_of(stage);
    if (wi_kit_fault(w->kit, WEIR_FAULT_OPEN))
        return WEIR_EUNAVAILABLE;
    if (w->opened)
        wrong(w, "open", "ran twice");
    w->opened = true; /* a callback that open itself brings about is no breach */
    weir_status status = w->real->open != NULL ? w->real->open(stage, config, state) : WEIR_OK;
    w->opened = status == WEIR_OK;
    return status;
}

static void on_close(weir_stage *stage, void *state)
{
    wi_wrap *w = enter(stage, "close");
    if (w->real->close != NULL)
        w->real->close(stage, state);
    w->closed = true;
    leave(w);
}

static void on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    wi_wrap *w = enter(stage, "on_demand");
    if (out->over)
        wrong(w, "on_demand", "came for an output that is over");
    w->real->on_demand(stage, out, credit, state);
    leave(w);
}

/* Retries are handed to a stage that takes them after its end. */
static void before_items(const wi_wrap *w, const weir_in *in, weir_item *const *items, size_t n)
{
    bool told = (w->ends_told & UINT64_C(1) << in->index) != 0;
    if (told && !w->stage->takes_late)
        wrong(w, "on_items", "came after the end");
    if (in->cancelled && !w->stage->takes_late)
        wrong(w, "on_items", "came after the stage had cancelled");
    if (n == 0 || n > WI_VECTOR_MAX)
        wrong(w, "on_items", "came with a vector of a size that is not allowed");
    for (size_t i = 0; i < n; i++)
        if (items[i]->holds == 0)
            wrong(w, "on_items", "came with an item that has ended");
}

static weir_status after_items(wi_wrap *w, weir_status status)
{
    leave(w);
    return status == WEIR_OK && wi_kit_fault(w->kit, WEIR_FAULT_CALLBACK) ? WEIR_EIO : status;
}

static weir_status on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                            void *state)
{
    wi_wrap *w = enter(stage, "on_items");
    before_items(w, in, items, n);
    return after_items(w, w->real->on_items(stage, in, items, n, state));
}

static weir_status on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    wi_wrap *w = enter(stage, "on_item");
    before_items(w, in, &item, 1);
    return after_items(w, w->real->on_item(stage, in, item, state));
}

static size_t on_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    wi_wrap *w = enter(stage, "transform");
    size_t kept = w->real->transform(stage, items, n, state);
    if (kept > n)
        wrong(w, "transform", "gave more than it got");
    leave(w);
    return kept < n ? kept : n;
}

static void on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    wi_wrap *w = enter(stage, "on_end");
    if (w->ends_told & UINT64_C(1) << in->index)
        wrong(w, "on_end", "came twice");
    if (in->cancelled && !w->is_late)
        wrong(w, "on_end", "came after the stage had cancelled");
    if (!in->parked && in->head != in->edge->out.tail)
        wrong(w, "on_end", "came ahead of the data");
    w->ends_told |= UINT64_C(1) << in->index;
    w->real->on_end(stage, in, status, state);
    leave(w);
}

static void on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    wi_wrap *w = enter(stage, "on_cancel");
    if (w->cancels_told & UINT64_C(1) << out->index)
        wrong(w, "on_cancel", "came twice");
    w->cancels_told |= UINT64_C(1) << out->index;
    w->real->on_cancel(stage, out, state);
    leave(w);
}

static void on_drain(weir_stage *stage, void *state)
{
    wi_wrap *w = enter(stage, "on_drain");
    if (w->drained)
        wrong(w, "on_drain", "came twice");
    w->drained = true;
    w->real->on_drain(stage, state);
    leave(w);
}

static void on_abort(weir_stage *stage, void *state)
{
    wi_wrap *w = enter(stage, "on_abort");
    if (w->aborted)
        wrong(w, "on_abort", "came twice");
    w->aborted = true;
    w->real->on_abort(stage, state);
    leave(w);
}

static void on_run(weir_stage *stage, void *state)
{
    wi_wrap *w = enter(stage, "run");
    if (w->aborted)
        wrong(w, "run", "came after an abort");
    w->real->run(stage, state);
    leave(w);
}

static void on_let_go(weir_stage *stage, void *state)
{
    wi_wrap *w = enter(stage, "let_go");
    w->aborted |= stage->aborting;
    w->real->let_go(stage, state);
    leave(w);
}

/* What is not there stays so: its absence means something. */
void wi_wrap_stage(wi_wrap *w, weir_testkit *kit, weir_stage *stage)
{
    const weir_stage_type *real = stage->type;
    w->kit = kit;
    w->stage = stage;
    w->real = real;
    w->type = *real;
    w->type.open = on_open;
    w->type.close = on_close;
#define WRAP(callback)          \
    if (real->callback != NULL) \
    w->type.callback = callback
    WRAP(on_demand);
    WRAP(on_items);
    WRAP(on_item);
    WRAP(on_end);
    WRAP(on_cancel);
    WRAP(on_drain);
    WRAP(on_abort);
#undef WRAP
    if (real->transform != NULL)
        w->type.transform = on_transform;
    if (real->run != NULL)
        w->type.run = on_run;
    if (real->let_go != NULL)
        w->type.let_go = on_let_go;
    stage->type = &w->type;
}
