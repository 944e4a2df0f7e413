/* expand: makes more of the last item while more is asked for than comes. */
#include <weir/stages.h>

#include "family.h"
#include "queue.h"

enum { AHEAD_MAX = 64 };

typedef struct expand {
    wi_queue waiting;
    weir_stage *stage;
    weir_task fill;   /* at the end of the turn, when the input has had its chance */
    wi_family family; /* of the item emitted last */
    weir_item *ready; /* made, and without room below; given up when something newer comes */
    bool is_spent;    /* there are no more of this one */
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

static void expand_let_go(weir_stage *stage, void *state)
{
    (void)stage;
    expand_forget(state);
    wi_queue_abort(&((expand *)state)->waiting);
}

/* Emits the items themselves, and keeps the last of them to make more of. */
static void expand_pass(expand *e, weir_out *out)
{
    while (e->waiting.n > 0 && weir_out_fits(out, wi_queue_first(&e->waiting)->cost)) {
        weir_item *item = wi_queue_pop(&e->waiting);
        expand_forget(e);
        e->is_spent = e->waiting.n > 0 || weir_in_is_over(weir_stage_in(e->stage)) ||
                      weir_item_hold(item) != WEIR_OK;
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

/* Is there demand that nothing of the input waits for, and more to be had of its last item? */
static bool expand_can_fill(const expand *e)
{
    const weir_expand_config *config = weir_stage_config(e->stage);
    const weir_out *out = weir_stage_out(e->stage);
    uint64_t most = config->made_max != 0 ? config->made_max : WEIR_EXPAND_MADE_MAX;
    most = config->made_max == UINT32_MAX ? UINT64_MAX : most;
    if (weir_in_is_over(weir_stage_in(e->stage)) || e->waiting.n != 0)
        return false;
    if (e->ready != NULL)
        return weir_out_fits(out, e->ready->cost);
    return weir_out_credit(out) > 0 && !e->is_spent && e->family.item != NULL &&
           e->family.made < most;
}

/* Makes more for the demand that the input has left. */
static void expand_fill(weir_task *task, void *user)
{
    (void)task;
    expand *e = user;
    for (; expand_can_fill(e); e->ready = NULL) {
        if (e->ready == NULL)
            e->ready = expand_make(e->stage, e);
        if (e->ready == NULL || !weir_out_fits(weir_stage_out(e->stage), e->ready->cost))
            break;
        weir_emit(weir_stage_out(e->stage), e->ready);
    }
    weir_stage_release(e->stage);
}

static void expand_run(weir_stage *stage, void *state)
{
    expand *e = state;
    weir_out *out = weir_stage_out(stage);
    expand_pass(e, out);
    if (weir_finish(stage, e->waiting.n)) {
        if (e->waiting.n == 0)
            expand_forget(e);
        return;
    }
    uint64_t credit = weir_out_credit(out), level = credit < AHEAD_MAX ? credit : AHEAD_MAX;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(level > 1 ? level : 1, e->waiting.n));
    if (e->fill.queued || !expand_can_fill(e))
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
    return wi_queue_init(&e->waiting, weir_stage_env(stage), AHEAD_MAX);
}

static const weir_stage_type expand_type = {
    .name = "expand",
    .config_size = sizeof(weir_expand_config),
    .state_size = sizeof(expand),
    .open = expand_open,
    .on_items = wi_queue_on_items,
    .run = expand_run,
    .let_go = expand_let_go,
    .close = wi_queue_close,
};

weir_stage_spec *weir_expand(const weir_expand_config *config)
{
    return weir_stage_of(&expand_type, config);
}
