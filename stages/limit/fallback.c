/* fallback: turns what failed into a substitute, which goes on with what did not. */
#include <weir/stages.h>

#include "failure.h"
#include "queue.h"

enum { NORMAL, FAILED, INPUTS, SHARE_MAX = 64 };

typedef struct fallback_config {
    weir_status (*substitute)(weir_loop *loop, weir_item *item, const weir_failure *failure,
                              void *user, weir_item **ret_made);
    void *user;
} fallback_config;

typedef struct fallback {
    wi_queue held[INPUTS]; /* what came when the credit it was asked for had gone to the other */
    bool over[INPUTS], is_over;
    weir_status status;
} fallback;

static weir_status fallback_check(const void *config, const char **why)
{
    if (((const fallback_config *)config)->substitute != NULL)
        return WEIR_OK;
    *why = "needs a function";
    return WEIR_EINVAL;
}

static weir_status fallback_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    fallback *f = state;
    for (int i = 0; i < INPUTS; i++) {
        weir_status status = wi_queue_init(&f->held[i], weir_stage_env(stage), SHARE_MAX);
        if (status == WEIR_OK)
            continue;
        if (i > 0)
            wi_queue_done(&f->held[0], weir_stage_env(stage));
        return status;
    }
    return WEIR_OK;
}

static void fallback_close(weir_stage *stage, void *state)
{
    fallback *f = state;
    for (int i = 0; i < INPUTS; i++)
        wi_queue_done(&f->held[i], weir_stage_env(stage));
}

/* The substitute of `item`, or NULL if it has none and is ended. */
static weir_item *substitute(weir_stage *stage, weir_in *in, weir_item *item)
{
    const fallback_config *config = weir_stage_config(stage);
    weir_loop *loop = weir_stage_loop(stage);
    weir_failure failure = wi_failure_of(item, in);
    weir_item *made = NULL;
    item = weir_item_forgive(item);
    weir_status status = weir_item_writable(loop, &item);
    if (status == WEIR_OK)
        status = config->substitute(loop, item, &failure, config->user, &made);
    if (status != WEIR_OK) {
        weir_fail(stage, item, failure.status != WEIR_OK ? failure.status : status,
                  "there is no substitute");
        return NULL;
    }
    if (made == NULL)
        return item;
    weir_item_derive(made, item);
    return made;
}

/* An even share to each input, at least one: or one that is idle would starve the other. */
static void fallback_ask(weir_stage *stage, fallback *f)
{
    uint64_t credit = weir_out_credit(weir_stage_out(stage));
    uint64_t open = (uint64_t)!f->over[NORMAL] + !f->over[FAILED];
    if (credit == 0 || open == 0)
        return;
    uint64_t share = credit / open;
    share = share < 1 ? 1 : share > SHARE_MAX ? SHARE_MAX : share;
    for (uint32_t i = 0; i < INPUTS; i++)
        if (share > f->held[i].n)
            weir_request_to(weir_stage_in_at(stage, i), share - f->held[i].n);
}

static void fallback_run(weir_stage *stage, fallback *f)
{
    weir_out *out = weir_stage_out(stage);
    wi_queue_emit(&f->held[FAILED], out);
    wi_queue_emit(&f->held[NORMAL], out);
    if (!f->is_over)
        fallback_ask(stage, f);
    else if (f->held[NORMAL].n + f->held[FAILED].n == 0)
        wi_end_with(out, f->status);
}

static weir_status fallback_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                     void *state)
{
    fallback *f = state;
    wi_queue *held = &f->held[weir_in_index(in)];
    for (size_t i = 0; i < n; i++) {
        weir_item *item = items[i];
        if (weir_in_index(in) == FAILED && (item = substitute(stage, in, item)) == NULL)
            continue;
        if (held->n == 0 && weir_out_fits(weir_stage_out(stage), item->cost))
            weir_emit(weir_stage_out(stage), item);
        else if (held->n < held->capacity)
            wi_queue_push(held, item);
        else
            weir_fail(stage, item, WEIR_ELIMIT, "no room for an item that is tried again");
    }
    fallback_run(stage, f);
    return WEIR_OK;
}

static void fallback_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    fallback_run(stage, state);
}

static void fallback_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    fallback *f = state;
    f->over[weir_in_index(in)] = true;
    f->is_over = status != WEIR_OK || (f->over[NORMAL] && f->over[FAILED]);
    f->status = f->status != WEIR_OK ? f->status : status;
    for (uint32_t i = 0; i < INPUTS && status != WEIR_OK; i++)
        weir_cancel(weir_stage_in_at(stage, i));
    fallback_run(stage, f);
}

static void fallback_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    for (int i = 0; i < INPUTS; i++)
        wi_queue_abort(&((fallback *)state)->held[i]);
}

static void fallback_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    fallback_on_abort(stage, state);
    for (uint32_t i = 0; i < INPUTS; i++)
        weir_cancel(weir_stage_in_at(stage, i));
}

static const weir_stage_type fallback_type = {
    .name = "fallback",
    .config_size = sizeof(fallback_config),
    .state_size = sizeof(fallback),
    .inputs = INPUTS,
    .check = fallback_check,
    .open = fallback_open,
    .close = fallback_close,
    .on_demand = fallback_on_demand,
    .on_items = fallback_on_items,
    .on_end = fallback_on_end,
    .on_cancel = fallback_on_cancel,
    .on_abort = fallback_on_abort,
};

weir_stage_spec *weir_fallback(weir_status (*fn)(weir_loop *loop, weir_item *item,
                                                 const weir_failure *failure, void *user,
                                                 weir_item **ret_made),
                               void *user)
{
    return weir_stage_of(&fallback_type, &(fallback_config){ fn, user });
}
