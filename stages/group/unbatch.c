/* unbatch: takes joined items apart again. */
#include <weir/stages.h>

#include "family.h"
#include "queue.h"

enum { VECTOR_MAX = 64 };

typedef struct unbatch {
    wi_queue waiting;
    wi_family family;          /* of the joined item that is being taken apart */
    const weir_items *members; /* of that one */
    size_t at;                 /* members[0 … at) are gone */
    bool are_ours;             /* the members were taken out, and go on themselves */
    weir_item *copy;           /* otherwise: the next one's, without room below */
} unbatch;

static weir_status unbatch_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    return wi_queue_init(&((unbatch *)state)->waiting, weir_stage_env(stage), WEIR_UNBATCH_AHEAD);
}

static void unbatch_let_go(weir_stage *stage, void *state)
{
    (void)stage;
    unbatch *u = state;
    wi_abort_items(&u->copy, u->copy != NULL);
    u->copy = NULL;
    weir_item *item = wi_family_leave(&u->family);
    if (item != NULL && u->are_ours)
        wi_abort_items(u->members->items + u->at, u->members->n - u->at);
    wi_abort_items(&item, item != NULL);
    wi_queue_abort(&u->waiting);
}

/* Emits members that are ours. Gives whether any went. */
static bool emit_members(unbatch *u, weir_out *out)
{
    size_t left = u->members->n - u->at;
    uint32_t n = left < VECTOR_MAX ? (uint32_t)left : VECTOR_MAX;
    n = wi_emit_fitting(out, u->members->items + u->at, n);
    u->at += n;
    return n > 0;
}

/* Emits a copy of the next member, which others hold. Gives whether it went, or failed. */
static bool emit_copy(weir_stage *stage, unbatch *u, weir_out *out)
{
    weir_loop *loop = weir_stage_loop(stage);
    weir_status status = WEIR_OK;
    if (weir_out_credit(out) == 0)
        return false;
    if (u->copy == NULL) {
        status = weir_item_copy(loop, u->members->items[u->at], &u->copy);
        if (status == WEIR_OK &&
            (status = wi_family_adopt(&u->family, loop, &u->copy, 1)) != WEIR_OK)
            weir_item_end(u->copy, WEIR_ABORTED, status);
    }
    if (status != WEIR_OK) {
        u->copy = NULL;
        weir_fail(stage, wi_family_leave(&u->family), status, "cannot copy a member");
        return true;
    }
    if (!weir_out_fits(out, u->copy->cost))
        return false;
    weir_emit(out, u->copy);
    u->copy = NULL;
    u->at++;
    return true;
}

/* Begins with the next item, or passes it on if it is no joined one. False: there is none, or it
 * must wait. */
static bool unbatch_begin(weir_stage *stage, unbatch *u, weir_out *out)
{
    weir_item *item = wi_queue_first(&u->waiting);
    if (item == NULL || !weir_out_fits(out, 0))
        return false;
    u->members = weir_item_members(item);
    if (u->members == NULL) {
        if (!weir_out_fits(out, item->cost))
            return false;
        weir_emit(out, wi_queue_pop(&u->waiting));
        return true;
    }
    wi_family_begin(&u->family, wi_queue_pop(&u->waiting));
    u->at = 0;
    u->are_ours = weir_items_split(weir_stage_loop(stage), item, &u->members) == WEIR_OK;
    return true;
}

static void unbatch_run(weir_stage *stage, void *state)
{
    unbatch *u = state;
    weir_out *out = weir_stage_out(stage);
    for (bool goes_on = true; goes_on;) {
        if (u->family.item == NULL)
            goes_on = unbatch_begin(stage, u, out);
        else
            goes_on = u->are_ours ? emit_members(u, out) : emit_copy(stage, u, out);
        if (u->family.item != NULL && u->at == u->members->n)
            weir_item_ack(wi_family_leave(&u->family));
    }
    uint32_t held = u->waiting.n + (u->family.item != NULL);
    if (weir_finish(stage, held))
        return;
    uint64_t credit = weir_out_credit(out);
    uint64_t level = credit < WEIR_UNBATCH_AHEAD ? credit : WEIR_UNBATCH_AHEAD;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(level, held));
}

static weir_status unbatch_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                    void *state)
{
    (void)in;
    wi_queue_take(state, stage, items, n, true);
    return WEIR_OK;
}

static const weir_stage_type unbatch_type = {
    .name = "unbatch",
    .state_size = sizeof(unbatch),
    .open = unbatch_open,
    .on_items = unbatch_on_items,
    .run = unbatch_run,
    .let_go = unbatch_let_go,
    .close = wi_queue_close,
};

weir_stage_spec *weir_unbatch(void)
{
    return weir_stage_of(&unbatch_type, NULL);
}
