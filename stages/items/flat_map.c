/* flat_map: makes any number of items of each, as many as are asked for at a time. */
#include <weir/stages.h>

#include <string.h>

#include "family.h"
#include "queue.h"

enum { AHEAD_MAX = 1024, VECTOR_MAX = 64 };

typedef struct flat_map {
    wi_queue waiting;
    wi_family family;             /* of the item that is being taken apart */
    weir_item *ready[VECTOR_MAX]; /* made ahead of demand: one at least, or it would not be known
                                     which is the last */
    uint32_t n_ready;
} flat_map;

static weir_status flat_map_check(const void *config, const char **why)
{
    const weir_flat_map_config *c = config;
    *why = (c->next == NULL) == (c->next_all == NULL) ? "needs one function, next or next_all"
           : c->ahead > AHEAD_MAX                     ? "ahead is at most 1024"
                                                      : "prefetch is at most 64";
    bool is_sane = (c->next == NULL) != (c->next_all == NULL) && c->ahead <= AHEAD_MAX;
    return is_sane && c->prefetch <= VECTOR_MAX ? WEIR_OK : WEIR_EINVAL;
}

static weir_status flat_map_open(weir_stage *stage, const void *config, void *state)
{
    uint32_t ahead = ((const weir_flat_map_config *)config)->ahead;
    return wi_queue_init(&((flat_map *)state)->waiting, weir_stage_env(stage),
                         ahead != 0 ? ahead : WEIR_FLAT_MAP_AHEAD);
}

static void flat_map_let_go(weir_stage *stage, void *state)
{
    flat_map *f = state;
    wi_abort_items(f->ready, f->n_ready);
    f->n_ready = 0;
    weir_item *item = wi_family_leave(&f->family);
    if (item != NULL)
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
    wi_queue_let_go(stage, state);
}

/* Lets the user's function make up to `n`; gives how many it made. Less than `n`: there are no
 * more, or it failed. */
static size_t make(const weir_flat_map_config *config, weir_loop *loop, const wi_family *family,
                   weir_item **made, size_t n, weir_status *status)
{
    uint32_t index = (uint32_t)family->made;
    size_t got = 0, more = 1;
    for (; got < n && *status == WEIR_OK && more != 0; got += more) {
        weir_item **next = made + got;
        *next = NULL;
        if (config->next != NULL) {
            *status = config->next(loop, family->item, index + (uint32_t)got, config->user, next);
            more = *next != NULL;
        } else {
            more = 0;
            *status = config->next_all(loop, family->item, index + (uint32_t)got, config->user,
                                       next, n - got, &more);
        }
    }
    return got;
}

/* Makes up to `n` more, or is through with the current item. */
static void flat_map_fill(weir_stage *stage, const weir_flat_map_config *config, flat_map *f,
                          size_t n)
{
    weir_loop *loop = weir_stage_loop(stage);
    weir_item **made = f->ready + f->n_ready;
    uint64_t most = config->made_max != 0 ? config->made_max : WEIR_FLAT_MAP_MADE_MAX;
    uint64_t left = most > f->family.made ? most - f->family.made : 0; /* it may have changed */
    weir_status status = WEIR_OK;
    size_t got = make(config, loop, &f->family, made, n <= left ? n : left + 1, &status),
           kept = got;
    if (got > left) {
        kept = (size_t)left;
        status = WEIR_ELIMIT;
    }
    if (kept > 0) {
        weir_status adopted = wi_family_adopt(&f->family, loop, made, kept);
        kept = adopted == WEIR_OK ? kept : 0;
        status = status == WEIR_OK ? adopted : status;
    }
    for (size_t i = kept; i < got; i++)
        weir_item_end(made[i], WEIR_ABORTED, status);
    f->n_ready += (uint32_t)kept;
    if (got == n && status == WEIR_OK)
        return;
    weir_item *item = wi_family_leave(&f->family);
    if (status != WEIR_OK)
        weir_fail(stage, item, status, "cannot make the next item");
    else
        weir_item_end(item, f->family.made > 0 ? WEIR_ACKED : WEIR_FILTERED, WEIR_OK);
}

/* Emits what is ready and fits; gives how many are to be ready: for the demand, and those ahead. */
static uint32_t flat_map_emit(weir_out *out, uint32_t prefetch, flat_map *f)
{
    uint32_t gone = wi_emit_fitting(out, f->ready, f->n_ready);
    f->n_ready -= gone;
    memmove(f->ready, f->ready + gone, f->n_ready * sizeof *f->ready);
    uint64_t want = f->n_ready == 0 ? weir_out_credit(out) : 0; /* what is left fits no more */
    want = weir_credit_add(want, prefetch != 0 ? prefetch : 1);
    return want < VECTOR_MAX ? (uint32_t)want : VECTOR_MAX;
}

/* A new item is begun only if there is demand for it. */
static void flat_map_run(weir_stage *stage, void *state)
{
    flat_map *f = state;
    const weir_flat_map_config *config = weir_stage_config(stage);
    weir_out *out = weir_stage_out(stage);
    uint32_t want, before;
    do {
        want = flat_map_emit(out, config->prefetch, f);
        uint64_t credit = weir_out_credit(out);
        before = f->n_ready;
        while (f->n_ready < want &&
               (f->family.item != NULL || (f->waiting.n > 0 && credit > f->n_ready))) {
            if (f->family.item == NULL)
                wi_family_begin(&f->family, wi_queue_pop(&f->waiting));
            flat_map_fill(stage, config, f, want - f->n_ready);
        }
    } while (f->n_ready > before);
    uint32_t held = f->waiting.n + (f->family.item != NULL || f->n_ready > 0);
    if (weir_finish(stage, held))
        return;
    uint64_t credit = weir_out_credit(out),
             level = config->ahead != 0 ? config->ahead : WEIR_FLAT_MAP_AHEAD;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(credit < level ? credit : level, held));
}

static weir_status flat_map_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                     void *state)
{
    (void)in;
    wi_queue_take(state, stage, items, n, true);
    return WEIR_OK;
}

static weir_status flat_map_on_change(weir_stage *stage, const void *config, void *state)
{
    flat_map *f = state;
    while (f->waiting.capacity < ((const weir_flat_map_config *)config)->ahead) {
        weir_status status = wi_queue_grow(&f->waiting, weir_stage_env(stage));
        if (status != WEIR_OK)
            return status;
    }
    return WEIR_OK;
}

static const weir_stage_type flat_map_type = {
    .name = "flat_map",
    .config_size = sizeof(weir_flat_map_config),
    .state_size = sizeof(flat_map),
    .check = flat_map_check,
    .open = flat_map_open,
    .on_items = flat_map_on_items,
    .run = flat_map_run,
    .let_go = flat_map_let_go,
    .close = wi_queue_close,
    .on_change = flat_map_on_change,
};

weir_stage_spec *weir_flat_map_with(const weir_flat_map_config *config)
{
    return weir_stage_of(&flat_map_type, config);
}

weir_stage_spec *weir_flat_map(weir_status (*next)(weir_loop *loop, const weir_item *item,
                                                   uint32_t index, void *user,
                                                   weir_item **ret_made),
                               void *user)
{
    return weir_flat_map_with(&(weir_flat_map_config){ .next = next, .user = user });
}
