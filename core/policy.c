/* What becomes of failed items: skip, retry, dead letter, or stop; the same for every stage. */
#include "wi_core.h"
#include "wi_list.h"
#include "wi_plant.h"

#include <assert.h>

/* An item that waits for its next try. */
typedef struct waiter {
    weir_timer timer;
    wi_retry *retry;
    weir_stage *stage; /* whose callback failed it: a member of a fused chain, perhaps */
    weir_in *in;
    weir_item *item;
    struct waiter *next;
    bool active;
} waiter;

struct wi_retry {
    const weir_env *env;
    uint32_t room, n_used;
    waiter *waiters, *free;
    wi_list behind; /* later items of the keys of those that wait */
    wi_list dead;   /* dead letters without credit yet */
};

weir_status wi_retry_new(const weir_env *env, const weir_error_policy *policy, wi_retry **ret_retry)
{
    uint32_t room = policy->on_error == WEIR_ON_ERROR_RETRY ? policy->waiting_max : 0;
    wi_retry *retry = weir_memory_new(env, sizeof *retry);
    if (retry == NULL)
        return WEIR_ENOMEM;
    retry->env = env;
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
    wi_list_done(&retry->behind, env);
    wi_list_done(&retry->dead, env);
    weir_memory_free(env, retry->waiters);
    weir_memory_free(env, retry);
}

uint32_t wi_retry_waiting(const wi_retry *retry)
{
    return retry->n_used + retry->behind.n + retry->dead.n;
}

uint32_t wi_retry_tries_left(const wi_retry *retry)
{
    return retry != NULL ? retry->n_used + retry->behind.n : 0;
}

/* How many of the first have no key in common; it may be fewer than that, by chance. */
static size_t distinct_keys(weir_item *const *items, size_t n)
{
    uint64_t seen[32] = { 0 };
    for (size_t i = 0; i < n; i++) {
        if (items[i]->key == 0)
            continue;
        uint64_t hash = items[i]->key * UINT64_C(0x9e3779b97f4a7c15) >> 53; /* 11 bits */
        uint64_t bit = UINT64_C(1) << (hash & 63);
        if (seen[hash >> 6] & bit)
            return i;
        seen[hash >> 6] |= bit;
    }
    return n;
}

size_t wi_retry_vector(const weir_stage *stage, weir_item *const *items, size_t n)
{
    const wi_retry *retry = stage->retry;
    uint32_t waiting = wi_retry_waiting(retry), most = stage->policy.waiting_max;
    if (waiting >= most)
        return 0;
    if (n > most - waiting)
        n = most - waiting;
    return retry->room != 0 ? distinct_keys(items, n) : n;
}

static weir_item *waiter_take(waiter *w)
{
    wi_retry *retry = w->retry;
    weir_item *item = w->item;
    w->item = NULL;
    w->active = false;
    w->next = retry->free;
    retry->free = w;
    retry->n_used--;
    return item;
}

static bool key_waits(const wi_retry *retry, uint64_t key)
{
    for (uint32_t i = 0; i < retry->room && key != 0 && !WI_PLANT(6); i++)
        if (retry->waiters[i].active && retry->waiters[i].item->key == key)
            return true;
    return false;
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

static void try_again(weir_timer *timer, void *user);

/* Needs a free waiter. */
static void wait_turn(weir_stage *stage, weir_in *in, weir_item *item)
{
    wi_retry *retry = stage->exec->retry;
    waiter *w = retry->free;
    retry->free = w->next;
    w->stage = stage;
    w->in = in;
    w->item = item;
    w->active = true;
    w->next = NULL;
    retry->n_used++;
    weir_timer_start(stage->loop, &w->timer, backoff_ns(stage, &stage->policy, item->attempts),
                     try_again, w);
}

void wi_retry_move(wi_retry *from, wi_retry *to)
{
    for (uint32_t i = 0; i < from->room; i++) {
        waiter *old = &from->waiters[i], *w = to->free;
        if (!old->active)
            continue;
        weir_loop *loop = old->stage->loop;
        uint64_t due = old->timer.due_ns, now = weir_loop_now(loop);
        to->free = w->next;
        w->stage = old->stage;
        w->in = old->in;
        w->active = true;
        w->next = NULL;
        to->n_used++;
        weir_timer_stop(loop, &old->timer);
        w->item = waiter_take(old);
        weir_timer_start(loop, &w->timer, due > now ? due - now : 0, try_again, w);
    }
    to->behind = from->behind;
    to->dead = from->dead;
    from->behind = from->dead = (wi_list){ 0 };
}

uint32_t wi_retry_room(const wi_retry *retry)
{
    return retry->room;
}

/* The waiter is given back first: the item may fail again at once and take one. What stood behind
 * it follows in order, for as long as none of its key has to wait again. */
static void try_again(weir_timer *timer, void *user)
{
    waiter *w = user;
    weir_stage *stage = w->stage;
    weir_in *in = w->in;
    wi_retry *retry = w->retry;
    (void)timer;
    weir_item *item = waiter_take(w);
    if (!wi_stage_fits(stage->exec, item)) { /* into a window of bytes below: not a try */
        wait_turn(stage, in, item);
        return;
    }
    uint64_t key = item->key;
    wi_count(&stage->stats.retried, 1);
    wi_stage_redeliver(stage, in, item);
    while (key != 0 && !key_waits(retry, key) &&
           (item = wi_list_take_key(&retry->behind, key)) != NULL)
        if (wi_stage_fits(stage->exec, item))
            wi_stage_redeliver(stage->exec, in, item);
        else
            wait_turn(stage->exec, in, item);
    wi_stage_ready(stage->exec);
}

size_t wi_retry_hold_keys(weir_stage *stage, weir_in *in, weir_item **items, size_t n)
{
    wi_retry *retry = stage->exec->retry;
    size_t kept = 0;
    (void)in;
    if (retry == NULL || retry->n_used == 0)
        return n;
    for (size_t i = 0; i < n; i++)
        if (!key_waits(retry, items[i]->key))
            items[kept++] = items[i];
        else if (!wi_list_add(&retry->behind, retry->env, items[i]))
            weir_item_end(items[i], WEIR_FAILED, WEIR_ENOMEM);
    return kept;
}

static bool schedule_retry(weir_stage *stage, weir_item *item)
{
    weir_stage *exec = stage->exec;
    const weir_error_policy *policy = &stage->policy;
    wi_retry *retry = exec->retry;
    if (retry == NULL || retry->free == NULL || exec->n_in == 0 || exec->aborting)
        return false;
    if (item->attempts >= policy->retries_max)
        return false;
    weir_in *in = exec->current_in != NULL ? exec->current_in : exec->in[0];
    if (in->over && !exec->takes_late)
        return false; /* told of the end, or wanting no more, it is handed no item again */
    if (!wi_budget_take(stage))
        return false;
    wait_turn(stage, in, item);
    item->attempts++;
    return true;
}

void wi_retry_dead_letters(weir_stage *stage)
{
    wi_retry *retry = stage->retry;
    weir_out *out = stage->dead_letter;
    while (retry != NULL && retry->dead.n != 0 && (out->over || weir_out_credit(out) != 0)) {
        weir_item *item = wi_list_take(&retry->dead);
        if (out->over)
            weir_item_end(item, WEIR_FAILED, (weir_status)item->status);
        else
            weir_emit(out, item);
        wi_stage_ready(stage); /* it may have been full */
    }
}

static bool dead_letter(weir_stage *stage, weir_item *item, weir_status status)
{
    weir_stage *exec = stage->exec;
    wi_retry *retry = exec->retry;
    if (exec->dead_letter == NULL || exec->dead_letter->over || retry == NULL)
        return false;
    if (!wi_list_add(&retry->dead, retry->env, item))
        return false;
    if (stage->policy.on_error != WEIR_ON_ERROR_RETRY)
        item->attempts = 0;                         /* those of stages before do not count */
    wi_item_note(item, WEIR_DEAD_LETTERED, status); /* what its source hears, at best */
    wi_count(&stage->stats.dead_lettered, 1);
    wi_retry_dead_letters(exec);
    return true;
}

void wi_retry_cancel(wi_retry *retry)
{
    for (uint32_t i = 0; i < retry->room; i++) {
        waiter *w = &retry->waiters[i];
        if (!w->active)
            continue;
        weir_timer_stop(w->stage->loop, &w->timer);
        weir_item_end(waiter_take(w), WEIR_ABORTED, WEIR_ECANCELED);
    }
    wi_list_abort(&retry->behind);
}

void wi_retry_abort(wi_retry *retry)
{
    wi_retry_cancel(retry);
    wi_list_abort(&retry->dead);
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

/* The item is gone and its output's credit is still there, but will not rise: a stage with demand
 * rules of its own hears of the level again, or it would never ask for another. */
static void tell_demand_again(weir_stage *stage)
{
    if (stage->type->run != NULL)
        wi_stage_ready(stage);
    if (stage->type->on_demand == NULL)
        return;
    for (uint32_t i = 0; i < stage->n_out; i++)
        if (!stage->out[i]->over && stage->out[i]->granted != stage->out[i]->tail)
            stage->out_demand |= UINT64_C(1) << i;
    wi_stage_ready(stage);
}

void weir_fail(weir_stage *stage, weir_item *item, weir_status status, const char *why)
{
    const weir_node *node = stage->node;
    weir_on_error how = stage->policy.on_error;
    assert(status != WEIR_OK);
    wi_stage_count_failed(stage, status);
    tell_demand_again(stage->exec);
    if (how == WEIR_ON_ERROR_RETRY) {
        if (schedule_retry(stage, item))
            return;
        how = stage->policy.then;
    }
    if (how == WEIR_ON_ERROR_DEAD_LETTER && dead_letter(stage, item, status))
        return;
    if (how == WEIR_ON_ERROR_STOP || (how == WEIR_ON_ERROR_DEFAULT && !somebody_listens(item)))
        wi_pipeline_fail(stage->part->pipeline, node->name, status, why);
    weir_item_end(item, WEIR_FAILED, status);
}

void weir_reject(weir_stage *stage, weir_item *item, weir_status status, const char *why)
{
    const weir_error_policy *policy = &stage->policy;
    weir_on_error how = policy->on_error == WEIR_ON_ERROR_RETRY ? policy->then : policy->on_error;
    (void)why;
    assert(status != WEIR_OK);
    wi_stage_count_failed(stage, status);
    tell_demand_again(stage->exec);
    if (how != WEIR_ON_ERROR_DEAD_LETTER || !dead_letter(stage, item, status))
        weir_item_end(item, WEIR_REJECTED, status);
}
