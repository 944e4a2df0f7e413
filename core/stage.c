/* Stages at run time: what a visit does, default behaviour, and what a stage may ask. */
#include "wi_hot.h"
#include "wi_plant.h"
#include "wi_sim.h"

#include <assert.h>
#include <string.h>

/* How often a quick stage's callbacks are timed: one visit in so many. Slow ones always are. */
#define SAMPLE_EVERY   128
#define SAMPLE_SLOW_NS 2000

/* What still comes to a stage that could not open, alone or in a fused chain. */
static size_t closed_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    (void)state;
    wi_count(&stage->stats.aborted, n);
    for (size_t i = 0; i < n; i++)
        weir_item_end(items[i], WEIR_ABORTED, WEIR_ECANCELED);
    return 0;
}

static const weir_stage_type closed_type = { .name = "closed", .transform = closed_transform };

void wi_stage_shut(weir_stage *stage)
{
    stage->type = &closed_type;
    if (stage->after_visit == WI_RUNS)
        stage->after_visit = WI_NOTHING;
}

/* ---- Specs ---- */

weir_stage_spec *weir_stage_of(const weir_stage_type *type, const void *config)
{
    weir_stage_spec *spec = weir_memory_new(NULL, sizeof *spec);
    if (spec == NULL)
        return NULL;
    spec->type = type;
    strncpy(spec->name, type->name != NULL ? type->name : "stage", sizeof spec->name - 1);
    spec->config = weir_memory_new(NULL, type->config_size);
    if (spec->config == NULL) {
        weir_memory_free(NULL, spec);
        return NULL;
    }
    if (config != NULL && type->config_size != 0)
        memcpy(spec->config, config, type->config_size);
    return spec;
}

weir_stage_spec *weir_stage_named(weir_stage_spec *spec, const char *name)
{
    if (spec != NULL && name != NULL) {
        memset(spec->name, 0, sizeof spec->name);
        strncpy(spec->name, name, sizeof spec->name - 1);
    }
    return spec;
}

void weir_stage_spec_free(weir_stage_spec *spec)
{
    if (spec == NULL)
        return;
    if (spec->free_extra != NULL)
        spec->free_extra((void *)spec->extra);
    weir_memory_free(NULL, spec->config);
    weir_memory_free(NULL, spec);
}

/* ---- Accessors ---- */

weir_loop *weir_stage_loop(const weir_stage *stage)
{
    return stage->loop;
}

const weir_env *weir_stage_env(const weir_stage *stage)
{
    return stage->loop->env;
}

weir_pipeline *weir_stage_pipeline(const weir_stage *stage)
{
    return stage->part->pipeline;
}

const char *weir_stage_name(const weir_stage *stage)
{
    return stage->node->name;
}

void *weir_stage_state(weir_stage *stage)
{
    return stage->state;
}

const void *weir_stage_config(const weir_stage *stage)
{
    return stage->config;
}

void *weir_stage_shared(const weir_stage *stage)
{
    return stage->shared;
}

uint32_t weir_stage_replica(const weir_stage *stage)
{
    return stage->replica;
}

uint32_t weir_stage_replicas(const weir_stage *stage)
{
    return stage->part->pipeline->n_replicas;
}

bool weir_stage_is_draining(const weir_stage *stage)
{
    return stage->draining || stage->aborting;
}

bool weir_stage_is_acked(const weir_stage *stage)
{
    return wi_node_is_acked(stage->node);
}

uint32_t weir_stage_inputs(const weir_stage *stage)
{
    return stage->n_in;
}

uint32_t weir_stage_outputs(const weir_stage *stage)
{
    return stage->n_out;
}

weir_in *weir_stage_in_at(weir_stage *stage, uint32_t index)
{
    return index < stage->n_in ? stage->in[index] : NULL;
}

weir_out *weir_stage_out_at(weir_stage *stage, uint32_t index)
{
    return index < stage->n_out ? stage->out[index] : NULL;
}

const char *weir_in_from(const weir_in *in)
{
    return in->edge->out.stage->fused_tail->node->name;
}

void weir_stage_hold(weir_stage *stage)
{
    wi_set(&stage->holds, stage->holds + 1);
}

void weir_stage_release(weir_stage *stage)
{
    assert(stage->holds > 0);
    wi_set(&stage->holds, stage->holds - 1);
    wi_stage_ready(stage->exec);
}

void weir_stage_wake(weir_stage *stage)
{
    wi_stage_ready(stage->exec);
}

static void wake(weir_timer *timer, void *user)
{
    (void)timer;
    weir_stage_wake(user);
}

void weir_stage_wake_after(weir_stage *stage, weir_timer *timer, uint64_t ns)
{
    weir_timer_start(stage->loop, timer, ns, wake, stage);
}

void weir_stage_fail(weir_stage *stage, weir_status status, const char *why)
{
    wi_pipeline_fail(stage->part->pipeline, stage->node->name, status, why);
}

/* ---- The ready queue ---- */

void wi_stage_ready(weir_stage *stage)
{
    wi_ready(stage);
}

/* ---- Time ---- */

static uint8_t clock_state_of(const weir_stage *stage)
{
    for (uint32_t i = 0; i < stage->n_out; i++) {
        const weir_out *out = stage->out[i];
        if (!out->over && (out->granted == out->tail || wi_bytes_full(out)))
            return WI_BLOCKED;
    }
    for (uint32_t i = 0; i < stage->n_in; i++)
        if (!stage->in[i]->over && wi_has_asked(stage->in[i]))
            return WI_STARVED;
    return WI_IDLE;
}

void wi_stage_clock(weir_stage *stage, uint64_t now)
{
    uint64_t *sums[] = { &stage->stats.idle_ns, &stage->stats.starved_ns,
                         &stage->stats.blocked_ns };
    wi_count(sums[stage->clock_state], now - stage->state_since);
    wi_set(&stage->state_since, now);
    stage->clock_state = clock_state_of(stage);
}

/* A few nanoseconds for the usual case: nothing changed. */
static inline void clock_after_run(weir_stage *stage)
{
    uint8_t state = clock_state_of(stage);
    if (state != stage->clock_state)
        wi_stage_clock(stage, stage->loop->now);
}

static uint32_t duration_bucket(uint64_t ns)
{
    uint32_t bucket = ns <= 128 ? 0 : (uint32_t)(64 - __builtin_clzll((ns - 1) >> 7));
    return bucket < WEIR_DURATION_BUCKETS ? bucket : WEIR_DURATION_BUCKETS - 1;
}

void wi_stage_count_duration(weir_stage *stage, uint64_t ns, uint64_t n, uint64_t weight)
{
    assert(n > 0);
    wi_count(&stage->stats.duration_ns, ns * weight);
    wi_count(&stage->stats.duration_count, n * weight);
    wi_count(&stage->stats.duration[duration_bucket(ns / n)], n * weight);
}

static void sample_end(weir_stage *stage, uint64_t started, size_t n)
{
    weir_loop *loop = stage->loop;
    uint64_t ended = wi_clock(loop->env), took = ended - started;
    loop->now = ended;
    wi_count(&stage->stats.busy_ns, took * stage->sample_every);
    if (!stage->takes_late) /* else it is the operations' time that counts */
        wi_stage_count_duration(stage, took, n, stage->sample_every);
    stage->sample_every = took > SAMPLE_SLOW_NS ? 1 : SAMPLE_EVERY;
    stage->sample = stage->sample_every;
}

/* ---- Delivering ---- */

void wi_stage_top_up(weir_stage *stage)
{
    weir_in *in = stage->in[0];
    if (in->over)
        return;
    if (stage->n_out == 0) {
        weir_request_to(in, WEIR_UNBOUNDED);
        return;
    }
    if (stage->out[0]->over)
        return;
    uint64_t level = stage->out[0]->granted - stage->out[0]->tail;
    if (stage->retry != NULL)
        level = weir_credit_sub(level, wi_retry_waiting(stage->retry));
    if (WI_PLANT(3))
        level = weir_credit_sub(level, stage->stats.filtered);
    uint64_t outstanding = weir_credit_add(in->demand, in->granted - in->head - in->surplus);
    if (outstanding < level) {
        uint64_t more = level - outstanding;
        if (WI_UNLIKELY(in->surplus != 0))
            more = wi_in_use_surplus(in, more);
        if (WI_UNLIKELY(stage->loop->kit != NULL))
            wi_sim_asked(in, more);
        wi_set(&in->demand, in->demand + more);
        wi_settle(in->edge, false);
    }
}

static weir_status deliver_each(weir_stage *stage, weir_in *in, weir_item **items, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        weir_status status = stage->type->on_item(stage, in, items[i], stage->state);
        if (WI_LIKELY(status == WEIR_OK && !in->over))
            continue;
        /* it failed, or wants no more */
        wi_count(&stage->stats.aborted, n - i - 1);
        for (size_t rest = i + 1; rest < n; rest++)
            weir_item_end(items[rest], WEIR_ABORTED, WEIR_ECANCELED);
        return status;
    }
    return WEIR_OK;
}

/* What a pure stage took out without failing it was dropped on purpose. */
static void count_taken_out(weir_stage *stage, size_t n, uint64_t lost_before)
{
    uint64_t lost = stage->stats.failed + stage->stats.aborted - lost_before;
    if (n > lost)
        wi_count(&stage->stats.filtered, n - lost);
}

static size_t transform_timed(weir_stage *stage, weir_item **items, size_t n)
{
    uint64_t started = wi_clock(stage->loop->env);
    size_t kept = stage->type->transform(stage, items, n, stage->state);
    sample_end(stage, started, n);
    return kept;
}

/* Hands items to a pure stage, by vectors; gives how many are left. */
static inline size_t transform_all(weir_stage *stage, weir_item **items, size_t n)
{
    const weir_stage_type *type = stage->type;
    uint64_t lost = stage->stats.failed + stage->stats.aborted;
    size_t most = stage->loop->config.vector_max, left = 0;
    for (size_t at = 0, part; at < n; at += part) {
        part = n - at < most ? n - at : most;
        size_t kept = WI_LIKELY(--stage->sample != 0)
                          ? type->transform(stage, items + at, part, stage->state)
                          : transform_timed(stage, items + at, part);
        assert(kept <= part);
        if (WI_UNLIKELY(left != at))
            memmove(items + left, items + at, kept * sizeof *items);
        left += kept;
    }
    if (WI_UNLIKELY(left < n))
        count_taken_out(stage, n - left, lost);
    return left;
}

static inline void emit_applied(weir_stage *head, weir_item **items, size_t n)
{
    if (n == 0)
        return;
    if (head->n_out == 0) {
        weir_items_ack(items, n);
        return;
    }
    wi_emit_all(head->out[0], items, n);
    if (head->fused_tail != head) {
        /* emit counted them for the head, whose output this is now */
        wi_count(&head->stats.items_out, (uint64_t)0 - n);
        wi_count(&head->fused_tail->stats.items_out, n);
    }
}

/* Pure stages: one after the other over all items, without a queue between them. */
static inline void deliver_pure(weir_stage *stage, weir_item **items, size_t n)
{
    weir_stage *at = stage;
    while ((n = transform_all(at, items, n)) != 0 && at->fused_next != NULL) {
        wi_count(&at->stats.items_out, n);
        at = at->fused_next;
        wi_count(&at->stats.items_in, n);
    }
    emit_applied(stage->exec, items, n);
}

static inline void deliver(weir_stage *stage, weir_in *in, weir_item **items, size_t n, bool timed)
{
    const weir_stage_type *type = stage->type;
    weir_status status = WEIR_OK;
    uint64_t started = timed ? wi_clock(stage->loop->env) : 0;
    if (type->on_items != NULL)
        status = type->on_items(stage, in, items, n, stage->state);
    else if (type->on_item != NULL)
        status = deliver_each(stage, in, items, n);
    else if (stage->n_out != 0)
        weir_emit_all(stage->out[0], items, n);
    else
        weir_items_ack(items, n);
    if (timed)
        sample_end(stage, started, n);
    if (WI_UNLIKELY(status != WEIR_OK))
        wi_pipeline_fail(stage->part->pipeline, stage->node->name, status, "the stage failed");
}

void wi_stage_redeliver(weir_stage *stage, weir_in *in, weir_item *item)
{
    if (wi_retry_hold_keys(stage, in, &item, 1) == 0)
        return;
    if (stage->type->transform != NULL)
        deliver_pure(stage, &item, 1);
    else
        deliver(stage, in, &item, 1, false);
    wi_stage_ready(stage->exec);
}

void wi_stage_count_failed(weir_stage *stage, weir_status status)
{
    wi_count(&stage->stats.failed, 1);
    if (status < 0 && -status < WEIR_STATUS_COUNT)
        wi_count(&stage->stats.failed_by[-status], 1);
}

/* Items whose context is over are not worth any work; they never count as delivered. */
static size_t drop_expired(weir_stage *stage, weir_in *in, weir_item **items, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        weir_status status = weir_context_status(items[i]->context, stage->loop->now);
        if (status == WEIR_OK) {
            items[kept++] = items[i];
            continue;
        }
        wi_stage_count_failed(stage, status);
        weir_item_end(items[i], WEIR_FAILED, status);
    }
    if (kept < n)
        (void)weir_request(in, n - kept);
    return kept;
}

/* A stage that emits all it gets must not get what the byte windows below have no room for. */
static size_t what_fits(const weir_stage *stage, weir_item **items, size_t n)
{
    for (uint64_t bits = stage->gated; bits != 0 && n != 0; bits &= bits - 1) {
        const weir_out *out = stage->out[__builtin_ctzll(bits)];
        if (!out->over)
            n = wi_bytes_room(out, items, n);
    }
    return n;
}

bool wi_stage_fits(const weir_stage *stage, weir_item *item)
{
    return what_fits(stage, &item, 1) != 0;
}

/* Takes out what is over or must wait; gives how many are left to hand over. */
static inline size_t hold_back(weir_stage *stage, weir_in *in, weir_item **items, size_t n)
{
    if (__atomic_load_n(&in->edge->has_contexts, __ATOMIC_RELAXED) && !in->edge->is_dead_letter)
        n = drop_expired(stage, in, items, n);
    if (WI_UNLIKELY(stage->retry != NULL)) {
        for (size_t i = 0; i < n; i++)
            items[i]->attempts = 0;                  /* those of stages before do not count */
        n = wi_retry_hold_keys(stage, in, items, n); /* behind a retry of their key */
    }
    return n;
}

/* Hands over vectors, 64 items a visit at most. Says whether more could follow at once. */
static bool take_vectors(weir_stage *stage, weir_in *in)
{
    wi_edge *edge = in->edge;
    uint64_t mask = edge->out.mask, tail = wi_tail_asked_for(in), taken = 0, left = WI_VECTOR_MAX;
    bool gated = stage->gated != 0, is_pure = stage->type->transform != NULL;
    uint64_t vector_max = is_pure ? WI_VECTOR_MAX : stage->loop->config.vector_max;
    stage->current_in = in;
    while (left > 0 && tail != in->head && !in->over) {
        weir_item **items = &edge->slots[in->head & mask];
        uint64_t to_end = mask + 1 - (in->head & mask), queued = tail - in->head;
        uint64_t n = queued < left ? queued : left;
        n = n < to_end ? n : to_end;
        n = n < vector_max ? n : vector_max;
        if (WI_UNLIKELY(gated) && (n = what_fits(stage, items, n)) == 0)
            break; /* returning credit brings us here again */
        if (WI_UNLIKELY(stage->retry != NULL) && (n = wi_retry_vector(stage, items, n)) == 0)
            break; /* the next retry does */
        if (WI_UNLIKELY(edge->window_bytes != 0))
            for (size_t i = WI_PLANT(9); i < n; i++)
                in->bytes += items[i]->cost;
        wi_set(&in->head, in->head + n);
        left -= n;
        n = hold_back(stage, in, items, n);
        taken += n;
        if (n != 0 && is_pure)
            deliver_pure(stage, items, n);
        else if (n != 0)
            deliver(stage, in, items, n, --stage->sample == 0);
        tail = wi_tail_asked_for(in);
    }
    wi_count(&stage->stats.items_in, taken);
    if (WI_UNLIKELY(edge->latency_ns != 0))
        wi_edge_size_itself(edge);
    wi_settle(edge, false);
    if (tail == in->head)
        stage->in_ready &= ~(UINT64_C(1) << in->index);
    return left != WI_VECTOR_MAX && tail != in->head && !in->over;
}

/* ---- Terminals and control ---- */

void wi_stage_end_outputs(weir_stage *stage, weir_status status)
{
    for (uint32_t i = 0; i < stage->n_out; i++)
        weir_end_error(stage->out[i], status);
}

static void cancel_inputs(weir_stage *stage)
{
    for (uint32_t i = 0; i < stage->n_in; i++)
        weir_cancel(stage->in[i]);
}

bool wi_stage_is_wanted(const weir_stage *stage)
{
    for (uint32_t i = 0; i < stage->n_out; i++)
        if (!stage->out[i]->over)
            return true;
    return stage->n_out == 0;
}

static __attribute__((noinline)) bool finish(weir_stage *stage, uint64_t held)
{
    bool is_open = stage->n_in == 0;
    weir_status status = WEIR_OK;
    for (uint32_t i = 0; i < stage->n_in; i++) {
        is_open |= !stage->in[i]->over;
        status = status != WEIR_OK ? status : weir_in_status(stage->in[i]);
    }
    if (is_open && status == WEIR_OK)
        return false;
    cancel_inputs(stage);
    if (held == 0)
        wi_stage_end_outputs(stage, status);
    return true;
}

bool weir_finish(weir_stage *stage, uint64_t held)
{
    return (stage->n_open_in != stage->n_in || stage->swapping) && finish(stage, held);
}

weir_status wi_edge_end_status(const wi_edge *edge)
{
    if (!edge->is_cross)
        return edge->end_status;
    int shared = atomic_load_explicit(&edge->end_shared, memory_order_acquire);
    return (weir_status)(1 - shared);
}

weir_status weir_in_status(const weir_in *in)
{
    return in->over && !in->cancelled && !in->parked ? wi_edge_end_status(in->edge) : WEIR_OK;
}

static void take_end(weir_stage *stage, weir_in *in)
{
    wi_edge *edge = in->edge;
    if (in->over)
        return;
    weir_status status = wi_edge_end_status(edge);
    if (edge->is_cross)
        in->tail_seen = atomic_load_explicit(&edge->tail_shared, memory_order_acquire);
    if (status != WEIR_OK && edge->error_jumps)
        wi_edge_release_queue(edge);
    uint64_t tail = edge->is_cross ? in->tail_seen : edge->out.tail;
    if (tail != in->head && wi_tail_asked_for(in) == in->head)
        return;             /* asking for it brings us here again */
    if (tail != in->head) { /* the data first */
        if ((stage->in_ready & UINT64_C(1) << in->index) == 0)
            wi_stage_ready(stage);
        stage->in_ready |= UINT64_C(1) << in->index;
        return;
    }
    if (stage->retry != NULL && wi_retry_waiting(stage->retry) != 0)
        return; /* comes again when the last of them is settled */
    stage->in_ending &= ~(UINT64_C(1) << in->index);
    in->over = true;
    wi_set(&in->demand, 0);
    stage->n_open_in--;
    if (stage->type->on_end != NULL)
        stage->type->on_end(stage, in, status, stage->state);
    else if (stage->type->run == NULL && (status != WEIR_OK || stage->n_open_in == 0))
        wi_stage_end_outputs(stage, status);
}

static void take_cancel(weir_stage *stage, weir_out *out)
{
    if (stage->dead_letter == out) {
        if (!stage->must_abort) /* which ends them as aborted */
            wi_retry_dead_letters(stage);
        return;
    }
    if (stage->type->on_cancel != NULL) {
        stage->type->on_cancel(stage, out, stage->state);
        return;
    }
    if (wi_stage_is_wanted(stage))
        return;
    if (stage->type->let_go != NULL)
        stage->type->let_go(stage, stage->state);
    cancel_inputs(stage);
}

static void take_drain(weir_stage *stage)
{
    stage->must_drain = false;
    stage->draining = true;
    if (stage->n_in != 0)
        return;
    if (stage->type->on_drain != NULL)
        stage->type->on_drain(stage, stage->state);
    else if (stage->type->run == NULL)
        wi_stage_end_outputs(stage, WEIR_OK);
}

static void take_abort(weir_stage *stage)
{
    stage->must_abort = false;
    stage->aborting = true;
    if (stage->retry != NULL)
        wi_retry_abort(stage->retry);
    for (weir_stage *s = stage; s != NULL; s = s->fused_next)
        if (s->type->on_abort != NULL)
            s->type->on_abort(s, s->state);
        else if (s->type->let_go != NULL)
            s->type->let_go(s, s->state);
    cancel_inputs(stage);
    wi_stage_end_outputs(stage, WEIR_ECANCELED);
}

static void release_cancelled(weir_stage *stage)
{
    while (stage->must_release != 0) {
        uint32_t i = (uint32_t)__builtin_ctzll(stage->must_release);
        stage->must_release &= stage->must_release - 1;
        wi_edge_release_queue(stage->in[i]->edge);
    }
    if (stage->retry != NULL && stage->n_open_in == 0)
        wi_retry_cancel(stage->retry);
}

static void take_demand(weir_stage *stage)
{
    uint64_t bits = stage->out_demand;
    stage->out_demand = 0;
    if (stage->type->on_demand == NULL && stage->dead_letter == NULL)
        return;
    for (; bits != 0; bits &= bits - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(bits);
        if (i >= stage->n_out) {
            wi_retry_dead_letters(stage);
            continue;
        }
        if (stage->out[i]->over && !WI_PLANT(11))
            continue;
        if (stage->type->on_demand != NULL)
            stage->type->on_demand(stage, stage->out[i], weir_out_credit(stage->out[i]),
                                   stage->state);
    }
}

static inline void look_at_all(weir_stage *stage)
{
    bool may = stage->n_out != 0 && (!stage->out[0]->over || wi_stage_is_wanted(stage));
    if (may || (stage->n_out == 0 && !stage->aborting)) /* which ends all outputs */
        stage->type->run(stage, stage->state);
}

void wi_stage_look_at_all(weir_stage *stage)
{
    if (stage->type->run != NULL)
        look_at_all(stage);
}

wi_after_visit wi_stage_what_after_visit(const weir_stage *stage)
{
    if (stage->type->run != NULL)
        return WI_RUNS;
    bool tops_up = stage->type->on_demand == NULL && stage->n_in == 1 && stage->n_out <= 1;
    return tops_up ? WI_TOPS_UP : WI_NOTHING;
}

static void run_control(weir_stage *stage)
{
    if (stage->must_release != 0)
        release_cancelled(stage);
    if (stage->must_drain)
        take_drain(stage);
    while (stage->out_cancelled != 0) {
        uint32_t i = (uint32_t)__builtin_ctzll(stage->out_cancelled);
        stage->out_cancelled &= stage->out_cancelled - 1;
        take_cancel(stage, i < stage->n_out ? stage->out[i] : stage->dead_letter);
    }
    if (stage->must_abort)
        take_abort(stage);
}

/* A stage that is being swapped out: it may finish what it has, and is handed nothing new. */
static void run_swapped(weir_stage *stage)
{
    bool must_drain = stage->must_drain;
    if (stage->must_abort) {
        wi_swap_abandon(stage);
        wi_stage_ready(stage);
        return;
    }
    if (stage->n_in == 0)
        stage->must_drain = false; /* the new one's matter */
    run_control(stage);
    stage->must_drain = must_drain && stage->n_in == 0;
    take_demand(stage);
    if (stage->after_visit == WI_RUNS)
        look_at_all(stage);
    clock_after_run(stage);
    wi_swap_step(stage);
}

void wi_stage_run(weir_stage *stage)
{
    bool again = false;
    if (stage->closed)
        return;
    if (WI_UNLIKELY(stage->must_release != 0 || stage->must_drain || stage->must_abort ||
                    stage->out_cancelled != 0 || stage->swapping)) {
        if (stage->swapping) {
            run_swapped(stage);
            return;
        }
        run_control(stage);
    }
    for (uint64_t bits = stage->in_ready; bits != 0; bits &= bits - 1)
        again |= take_vectors(stage, stage->in[__builtin_ctzll(bits)]);
    if (stage->out_demand != 0)
        take_demand(stage);
    if (WI_UNLIKELY(stage->in_ending != 0))
        for (uint64_t bits = stage->in_ending; bits != 0; bits &= bits - 1)
            take_end(stage, stage->in[__builtin_ctzll(bits)]);
    if (stage->after_visit == WI_TOPS_UP)
        wi_stage_top_up(stage);
    else if (stage->after_visit == WI_RUNS)
        look_at_all(stage);
    clock_after_run(stage);
    if (again)
        wi_stage_ready(stage);
    if (WI_UNLIKELY(stage->n_open_in == 0))
        wi_stage_maybe_close(stage);
}

/* ---- Opening and closing ---- */

weir_status wi_stage_open(weir_stage *stage)
{
    stage->state_since = stage->loop->now;
    stage->sample = stage->sample_every = 1;
    for (uint32_t i = 0; i < stage->n_out; i++)
        if (wi_credit(stage->out[i]) == 0) /* what is below has opened, and may have asked */
            wi_set(&stage->out[i]->zero_since, stage->loop->now);
    weir_status status = WEIR_OK;
    if (stage->type->open != NULL)
        status = stage->type->open(stage, stage->config, stage->state);
    stage->opened = status == WEIR_OK;
    if (stage->exec == stage)
        wi_stage_ready(stage);
    if (status == WEIR_OK && stage->n_out == 0 && stage->n_in == 1 &&
        stage->after_visit == WI_TOPS_UP)
        wi_stage_top_up(stage);
    return status;
}

/* The dead-letter edge ends last: nothing else of the stage can fail any more. */
static bool dead_letter_is_over(weir_stage *stage)
{
    if (stage->dead_letter == NULL || stage->dead_letter->over)
        return true;
    if (stage->n_open_in == 0 && stage->n_open_out == 1 && !wi_stage_is_held(stage))
        weir_end(stage->dead_letter);
    return stage->dead_letter->over;
}

/* A sender on another loop may emit until it sees the cancel: somebody must be there to release. */
static bool senders_are_done(const weir_stage *stage)
{
    for (uint32_t i = 0; i < stage->n_in; i++)
        if (stage->in[i]->edge->is_cross && !stage->in[i]->end_seen)
            return false;
    return true;
}

void wi_stage_close(weir_stage *stage)
{
    if (stage->opened && stage->type->let_go != NULL)
        stage->type->let_go(stage, stage->state);
    if (stage->opened && stage->type->close != NULL)
        stage->type->close(stage, stage->state);
    stage->opened = false;
}

void wi_stage_maybe_close(weir_stage *stage)
{
    if (stage->closed || stage->n_open_in != 0 || wi_stage_is_held(stage))
        return;
    if (stage->retry != NULL && wi_retry_waiting(stage->retry) != 0)
        return;
    if (!dead_letter_is_over(stage) || stage->n_open_out != 0 || !senders_are_done(stage))
        return;
    if (stage->must_release != 0)
        release_cancelled(stage);
    wi_stage_clock(stage, stage->loop->now);
    for (weir_stage *s = stage; s != NULL; s = s->fused_next) {
        wi_stage_close(s);
        s->closed = true;
        wi_part_stage_closed(s->part);
    }
}
