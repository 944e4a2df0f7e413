/* What becomes of failed items: skip, retry, dead letter, or stop; the same for every stage. */
#include "wi_core.h"

#include <assert.h>

/* An item that waits for its next try, and the later items of its key behind it. */
typedef struct waiter {
    weir_timer timer;
    wi_retry *retry;
    weir_stage *stage; /* whose callback failed it: a member of a fused chain, perhaps */
    weir_in *in;
    weir_item *item;
    weir_item *behind_head, *behind_tail;
    struct waiter *next;
    bool active;
} waiter;

struct wi_retry {
    uint32_t room, waiting, n_dead, n_used; /* waiting: items in waiters, with those behind */
    waiter *waiters, *free;
    weir_item *dead_head, *dead_tail; /* dead letters without credit yet */
};

weir_status wi_retry_new(const weir_env *env, const weir_error_policy *policy, wi_retry **ret_retry)
{
    uint32_t room = policy->on_error == WEIR_ON_ERROR_RETRY ? policy->waiting_max : 0;
    wi_retry *retry = weir_memory_new(env, sizeof *retry);
    if (retry == NULL)
        return WEIR_ENOMEM;
    retry->room = room;
    if (room != 0 && (retry->waiters = weir_memory_new(env, room * sizeof(waiter))) == NULL) {
        weir_memory_free(env, retry);
        return WEIR_ENOMEM;
    }
    for (uint32_t i = room; i-- > 0;) {
        retry->waiters[i].retry = retry;
        retry->waiters[i].next = retry->free;
        retry->free = &retry->waiters[i];
    }
    *ret_retry = retry;
    return WEIR_OK;
}

void wi_retry_free(wi_retry *retry, const weir_env *env)
{
    if (retry == NULL)
        return;
    weir_memory_free(env, retry->waiters);
    weir_memory_free(env, retry);
}

uint32_t wi_retry_waiting(const wi_retry *retry)
{
    return retry->waiting + retry->n_dead;
}

static weir_item *waiter_take(waiter *w)
{
    weir_item *behind = w->behind_head;
    wi_retry *retry = w->retry;
    w->item = w->behind_head = w->behind_tail = NULL;
    w->active = false;
    w->next = retry->free;
    retry->free = w;
    retry->n_used--;
    retry->waiting--;
    return behind;
}

/* The waiter is given back first: the item may fail again at once and take one. What stood behind
 * it follows in order, and waits again if it does. */
static void try_again(weir_timer *timer, void *user)
{
    waiter *w = user;
    weir_stage *stage = w->stage;
    weir_in *in = w->in;
    weir_item *item = w->item;
    wi_retry *retry = w->retry;
    (void)timer;
    weir_item *behind = waiter_take(w);
    wi_count(&stage->stats.retried, 1);
    wi_stage_redeliver(stage, in, item);
    while (behind != NULL) {
        weir_item *next = behind->next;
        retry->waiting--;
        wi_stage_redeliver(stage->exec, in, behind);
        behind = next;
    }
    wi_stage_ready(stage->exec);
}

size_t wi_retry_hold_keys(weir_stage *stage, weir_in *in, weir_item **items, size_t n)
{
    wi_retry *retry = stage->exec->retry;
    size_t kept = 0;
    (void)in;
    if (retry == NULL || retry->n_used == 0)
        return n;
    for (size_t i = 0; i < n; i++) {
        waiter *w = NULL;
        for (uint32_t k = 0; k < retry->room && items[i]->key != 0 && w == NULL; k++)
            if (retry->waiters[k].active && retry->waiters[k].item->key == items[i]->key)
                w = &retry->waiters[k];
        if (w == NULL) {
            items[kept++] = items[i];
            continue;
        }
        items[i]->next = NULL;
        if (w->behind_tail != NULL)
            w->behind_tail->next = items[i];
        else
            w->behind_head = items[i];
        w->behind_tail = items[i];
        retry->waiting++;
    }
    return kept;
}

/* Exponential backoff with half of it random: AWS Architecture Blog, "Exponential Backoff And
 * Jitter" (2015), "equal jitter". */
static uint64_t backoff_ns(weir_stage *stage, const weir_error_policy *policy, uint32_t attempts)
{
    uint64_t ms = policy->backoff_ms;
    for (uint32_t i = 0; i < attempts && ms < policy->backoff_ms_max; i++)
        ms *= 2;
    if (ms > policy->backoff_ms_max)
        ms = policy->backoff_ms_max;
    uint64_t half = ms * WEIR_MS / 2;
    return half + (half != 0 ? weir_loop_entropy(stage->loop) % (half + 1) : 0);
}

static bool schedule_retry(weir_stage *stage, weir_item *item)
{
    weir_stage *exec = stage->exec;
    const weir_error_policy *policy = &stage->node->policy;
    wi_retry *retry = exec->retry;
    if (retry == NULL || retry->free == NULL || exec->n_in == 0 || exec->aborting)
        return false;
    if (item->attempts >= policy->retries_max)
        return false;
    waiter *w = retry->free;
    retry->free = w->next;
    w->stage = stage;
    w->in = exec->current_in != NULL ? exec->current_in : exec->in[0];
    w->item = item;
    w->active = true;
    w->next = NULL;
    retry->n_used++;
    retry->waiting++;
    weir_timer_start(stage->loop, &w->timer, backoff_ns(stage, policy, item->attempts), try_again,
                     w);
    item->attempts++;
    return true;
}

void wi_retry_dead_letters(weir_stage *stage)
{
    wi_retry *retry = stage->retry;
    weir_out *out = stage->dead_letter;
    while (retry != NULL && retry->dead_head != NULL && (out->over || weir_out_credit(out) != 0)) {
        weir_item *item = retry->dead_head;
        retry->dead_head = item->next;
        if (retry->dead_head == NULL)
            retry->dead_tail = NULL;
        retry->n_dead--;
        if (out->over)
            weir_item_end(item, WEIR_FAILED, WEIR_ECANCELED);
        else
            weir_emit(out, item);
    }
}

static bool dead_letter(weir_stage *stage, weir_item *item)
{
    weir_stage *exec = stage->exec;
    wi_retry *retry = exec->retry;
    if (exec->dead_letter == NULL || exec->dead_letter->over || retry == NULL)
        return false;
    item->next = NULL;
    if (retry->dead_tail != NULL)
        retry->dead_tail->next = item;
    else
        retry->dead_head = item;
    retry->dead_tail = item;
    retry->n_dead++;
    wi_count(&stage->stats.dead_lettered, 1);
    wi_retry_dead_letters(exec);
    return true;
}

void wi_retry_abort(wi_retry *retry)
{
    for (uint32_t i = 0; i < retry->room; i++) {
        waiter *w = &retry->waiters[i];
        if (!w->active)
            continue;
        weir_item *item = w->item;
        weir_timer_stop(w->stage->loop, &w->timer);
        weir_item *behind = waiter_take(w);
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
        while (behind != NULL) {
            weir_item *next = behind->next;
            retry->waiting--;
            weir_item_end(behind, WEIR_ABORTED, WEIR_ECANCELED);
            behind = next;
        }
    }
    while (retry->dead_head != NULL) {
        weir_item *item = retry->dead_head;
        retry->dead_head = item->next;
        retry->n_dead--;
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
    }
    retry->dead_tail = NULL;
}

/* Is there a source that will hear how this item ended? */
static bool somebody_listens(const weir_item *item)
{
    while (item != NULL) {
        const weir_items *members = weir_item_members(item);
        if (members != NULL)
            item = members->items[0];
        else if (item->type != NULL && item->type->ended != NULL)
            return true;
        else
            item = item->parent;
    }
    return false;
}

void weir_fail(weir_stage *stage, weir_item *item, weir_status status, const char *why)
{
    const weir_node *node = stage->node;
    weir_on_error how = node->policy.on_error;
    assert(status != WEIR_OK);
    wi_count(&stage->stats.failed, 1);
    if (status < 0 && -status < WEIR_STATUS_COUNT)
        wi_count(&stage->stats.failed_by[-status], 1);
    if (how == WEIR_ON_ERROR_RETRY) {
        if (schedule_retry(stage, item))
            return;
        how = node->policy.then;
    }
    if (how == WEIR_ON_ERROR_DEAD_LETTER && dead_letter(stage, item))
        return;
    if (how == WEIR_ON_ERROR_STOP || (how == WEIR_ON_ERROR_DEFAULT && !somebody_listens(item)))
        wi_pipeline_fail(stage->part->pipeline, node->name, status, why);
    weir_item_end(item, WEIR_FAILED, status);
}
