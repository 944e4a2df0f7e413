/* expand: makes more of the last item while more is asked for than comes. */
#include <weir/stages.h>

#include "family.h"
#include "queue.h"

enum { AHEAD_MAX = 64 };

typedef struct expand {
    weir_stage *stage;
    weir_task fill; /* at the end of the turn, when the input has had its chance */
    wi_queue waiting;
    wi_family family; /* of the item emitted last */
    weir_item *ready; /* made, and without room below; given up when something newer comes */
    bool is_spent;    /* there are no more of this one */
    bool is_over;
    weir_status status;
} expand;

/* Gives up the last item: nothing was lost with what was made of it for nobody. */
static void expand_forget(expand *e)
{
    if (e->ready != NULL)
        weir_item_ack(e->ready);
    e->ready = NULL;
    weir_item *item = wi_family_leave(&e->family);
    if (item != NULL)
        weir_item_ack(item);
}

static void expand_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    expand_forget(state);
    wi_queue_abort(&((expand *)state)->waiting);
}

static void expand_close(weir_stage *stage, void *state)
{
    expand_forget(state);
    wi_queue_done(&((expand *)state)->waiting, weir_stage_env(stage));
}

static void expand_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    expand_on_abort(stage, state);
    weir_cancel(weir_stage_in(stage));
}

/* Emits the items themselves, and keeps the last of them to make more of. */
static void expand_pass(expand *e, weir_out *out)
{
    while (e->waiting.n > 0 && weir_out_fits(out, wi_queue_first(&e->waiting)->cost)) {
        weir_item *item = wi_queue_pop(&e->waiting);
        expand_forget(e);
        e->is_spent = e->waiting.n > 0 || e->is_over || weir_item_hold(item) != WEIR_OK;
        if (!e->is_spent)
            wi_family_begin(&e->family, item);
        weir_emit(out, item);
    }
}

/* Makes one more of the last item; it fails with what its function says. */
static weir_item *expand_make(weir_stage *stage, expand *e)
{
    const weir_expand_config *config = weir_stage_config(stage);
    weir_loop *loop = weir_stage_loop(stage);
    weir_item *made = NULL;
    weir_status status = config->next == NULL
                             ? weir_item_copy(loop, e->family.item, &made)
                             : config->next(loop, e->family.item, (uint32_t)e->family.made,
                                            config->user, &made);
    if (status == WEIR_OK && made != NULL)
        status = wi_family_adopt(&e->family, loop, &made, 1);
    e->is_spent = status != WEIR_OK || made == NULL;
    if (status == WEIR_OK)
        return made;
    if (made != NULL)
        weir_item_end(made, WEIR_ABORTED, status);
    weir_fail(stage, wi_family_leave(&e->family), status, "cannot make more of the item");
    return NULL;
}

/* Makes more for the demand that the input has left. */
static void expand_fill(weir_task *task, void *user)
{
    (void)task;
    expand *e = user;
    const weir_expand_config *config = weir_stage_config(e->stage);
    weir_out *out = weir_stage_out(e->stage);
    uint64_t most = config->made_max != 0 ? config->made_max : WEIR_EXPAND_MADE_MAX;
    most = config->made_max == UINT32_MAX ? UINT64_MAX : most;
    while (!e->is_over && e->waiting.n == 0 && weir_out_credit(out) > 0) {
        if (e->ready == NULL && !e->is_spent && e->family.item != NULL && e->family.made < most)
            e->ready = expand_make(e->stage, e);
        if (e->ready == NULL || !weir_out_fits(out, e->ready->cost))
            break;
        weir_emit(out, e->ready);
        e->ready = NULL;
    }
    weir_stage_release(e->stage);
}

static void expand_run(weir_stage *stage, expand *e)
{
    weir_out *out = weir_stage_out(stage);
    expand_pass(e, out);
    uint64_t credit = weir_out_credit(out), level = credit < AHEAD_MAX ? credit : AHEAD_MAX;
    if (e->is_over && e->waiting.n == 0) {
        expand_forget(e);
        wi_end_with(out, e->status);
    }
    if (e->is_over)
        return;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(level > 1 ? level : 1, e->waiting.n));
    if (credit == 0 || e->family.item == NULL || e->fill.queued)
        return;
    weir_stage_hold(stage);
    weir_loop_defer(weir_stage_loop(stage), &e->fill);
}

static weir_status expand_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    expand *e = state;
    e->stage = stage;
    e->fill = (weir_task)WEIR_TASK(expand_fill, e);
    weir_status status = wi_queue_init(&e->waiting, weir_stage_env(stage), AHEAD_MAX);
    if (status == WEIR_OK)
        weir_request_to(weir_stage_in(stage), 1);
    return status;
}

static void expand_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    expand_run(stage, state);
}

static weir_status expand_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                   void *state)
{
    (void)in;
    expand *e = state;
    for (size_t i = 0; i < n; i++)
        if (e->waiting.n < e->waiting.capacity)
            wi_queue_push(&e->waiting, items[i]);
        else /* only what a retry policy hands over again comes on top of what was asked for */
            weir_fail(stage, items[i], WEIR_ELIMIT, "no room for an item that is tried again");
    expand_run(stage, e);
    return WEIR_OK;
}

static void expand_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    expand *e = state;
    e->is_over = true;
    e->status = status;
    expand_run(stage, e);
}

static const weir_stage_type expand_type = {
    .name = "expand",
    .config_size = sizeof(weir_expand_config),
    .state_size = sizeof(expand),
    .open = expand_open,
    .close = expand_close,
    .on_demand = expand_on_demand,
    .on_items = expand_on_items,
    .on_end = expand_on_end,
    .on_cancel = expand_on_cancel,
    .on_abort = expand_on_abort,
};

weir_stage_spec *weir_expand(const weir_expand_config *config)
{
    return weir_stage_of(&expand_type, config);
}
