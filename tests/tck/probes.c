/* The probe stages above and below a row: they note every signal, and what was wrong about it. */
#include "tck.h"

/* ---- Callbacks: one at a time, each on its own loop ---- */

static bool enter(tck *t, const weir_stage *stage)
{
    bool was = t->in_callback;
    char *here = __builtin_frame_address(0);
    if (t->has_threads)
        return false;
    size_t depth = t->base > here ? (size_t)(t->base - here) : (size_t)(here - t->base);
    t->callbacks++;
    t->nested += was;
    t->on_foreign_loop += t->turning != NULL && stage != NULL &&
                          t->turning != weir_stage_loop(stage);
    if (t->turning != NULL && depth > t->depth_max)
        t->depth_max = depth;
    t->in_callback = true;
    return was;
}

static void leave(tck *t, bool was)
{
    if (!t->has_threads)
        t->in_callback = was;
}

/* ---- Items ---- */

static uint64_t magic_of(uint32_t source, uint32_t seq)
{
    return (((uint64_t)source + 1) << 32 | (seq + 1)) * UINT64_C(0x9e3779b97f4a7c15);
}

static void item_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    const tck_body *body = weir_item_body(item);
    tck_source *from = body->from;
    (void)status;
    if (from == NULL)
        return;
    bool was = enter(from->t, NULL);
    from->ended_twice += from->items_ended[body->seq] != 0;
    from->items_ended[body->seq] = 1;
    from->ends++;
    from->outcomes[outcome]++;
    leave(from->t, was);
}

static weir_status item_clone(weir_item *to, const weir_item *from)
{
    (void)from;
    ((tck_body *)weir_item_body(to))->from = NULL;
    return WEIR_OK;
}

static const weir_item_type item_type = { .name = "tck", .ended = item_ended, .clone = item_clone };

/* The item of ours that this one is, or was made of; NULL if there is none. */
static const tck_body *origin_of(const weir_item *item)
{
    while (item != NULL && item->type != &item_type)
        item = item->parent;
    return item != NULL ? weir_item_body(item) : NULL;
}

/* ---- The source ---- */

static void source_push(tck_source *source)
{
    tck *t = source->t;
    if (source->stage == NULL)
        return;
    weir_out *out = weir_stage_out(source->stage);
    while (source->emitted < source->allowed && weir_out_credit(out) > 0) {
        weir_item *item = weir_item_new(weir_stage_loop(source->stage), &item_type,
                                        sizeof(tck_body));
        if (!TCK(t, item != NULL, "no item"))
            return;
        uint32_t seq = (uint32_t)source->emitted++;
        *(tck_body *)weir_item_body(item) = (tck_body){ .value = seq + 1,
                                                        .magic = magic_of(source->index, seq),
                                                        .from = source,
                                                        .source = source->index,
                                                        .seq = seq };
        item->key = seq % 3 + 1;
        t->engine->emit(t, out, item);
    }
    if (source->ends_when_dry && source->emitted == source->allowed && !source->ended) {
        source->ended = true;
        t->engine->end(t, out, source->status);
    }
}

static weir_status source_open(weir_stage *stage, const void *config, void *state)
{
    tck_source *source = *(tck_source *const *)config;
    *(tck_source **)state = source;
    bool was = enter(source->t, stage);
    source->opened++;
    source->stage = stage;
    if (source->ends_in_open) {
        source->ended = true;
        source->t->engine->end(source->t, weir_stage_out(stage), source->status);
    }
    leave(source->t, was);
    return WEIR_OK;
}

static void source_close(weir_stage *stage, void *state)
{
    tck_source *source = *(tck_source **)state;
    bool was = enter(source->t, stage);
    source->closed++;
    source->stage = NULL;
    leave(source->t, was);
}

static void source_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    tck_source *source = *(tck_source **)state;
    bool was = enter(source->t, stage);
    uint64_t granted = source->emitted + credit;
    source->demands++;
    source->after_end += source->ended || source->cancelled;
    source->wrong_credits += credit != weir_out_credit(out) || granted < source->granted;
    source->granted = granted;
    source_push(source);
    leave(source->t, was);
}

static void source_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    tck_source *source = *(tck_source **)state;
    bool was = enter(source->t, stage);
    (void)out;
    source->cancels++;
    source->after_end += source->ended;
    source->cancelled = true;
    leave(source->t, was);
}

/* An abort tells the source itself, before or after the cancel of its output. */
static void source_on_abort(weir_stage *stage, void *state)
{
    tck_source *source = *(tck_source **)state;
    bool was = enter(source->t, stage);
    source->aborts += source->cancels == 0;
    leave(source->t, was);
}

static const weir_stage_type source_type = {
    .name = "tck_source",
    .config_size = sizeof(tck_source *),
    .state_size = sizeof(tck_source *),
    .inputs = WEIR_PORTS_NONE,
    .acks = true,
    .open = source_open,
    .close = source_close,
    .on_demand = source_on_demand,
    .on_cancel = source_on_cancel,
    .on_abort = source_on_abort,
};

weir_stage_spec *tck_source_spec(tck_source *source)
{
    return weir_stage_of(&source_type, &source);
}

void tck_feed(tck *t, uint32_t in, uint64_t n)
{
    tck_source *source = &t->in[in];
    source->allowed += n;
    if (TCK(t, source->allowed <= TCK_ITEMS, "the test feeds too much"))
        source_push(source);
}

void tck_feed_all(tck *t, uint64_t n)
{
    for (uint32_t i = 0; i < t->n_in; i++)
        tck_feed(t, i, n);
}

void tck_end(tck *t, uint32_t in, weir_status status)
{
    tck_source *source = &t->in[in];
    source->ended = true;
    if (source->stage != NULL)
        t->engine->end(t, weir_stage_out(source->stage), status);
}

void tck_end_all(tck *t, weir_status status)
{
    for (uint32_t i = 0; i < t->n_in; i++)
        tck_end(t, i, status);
    if (t->n_in == 0)
        weir_pipeline_shutdown(t->pipeline, WEIR_DRAIN, 0);
}

uint64_t tck_credit(const tck *t, uint32_t in)
{
    return t->in[in].stage != NULL ? weir_out_credit(weir_stage_out(t->in[in].stage)) : 0;
}

uint64_t tck_credits(const tck *t)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->n_in; i++)
        sum += tck_credit(t, i);
    return sum;
}

uint64_t tck_emitted(const tck *t)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->n_in; i++)
        sum += t->in[i].emitted;
    return sum;
}

uint64_t tck_live(const tck *t)
{
    uint64_t sum = tck_emitted(t);
    for (uint32_t i = 0; i < t->n_in; i++)
        sum -= t->in[i].ends;
    return sum;
}

/* ---- The sink ---- */

weir_status tck_ask(tck *t, uint32_t out, uint64_t n)
{
    tck_sink *sink = &t->out[out];
    if (sink->stage == NULL)
        return WEIR_OK;
    sink->requested = weir_credit_add(sink->requested, n);
    return t->engine->request(t, weir_stage_in(sink->stage), n);
}

void tck_ask_all(tck *t, uint64_t n)
{
    for (uint32_t i = 0; i < t->n_out; i++)
        (void)TCK(t, tck_ask(t, i, n) == WEIR_OK, "a request was refused");
}

uint64_t tck_all(const tck *t)
{
    return tck_has(t, STAGE_INVENTS) ? TCK_MUCH : WEIR_UNBOUNDED;
}

void tck_ask_as_it_comes(tck *t, uint64_t in_open, uint64_t per_item)
{
    for (uint32_t i = 0; i < t->n_out; i++) {
        t->out[i].ask_in_open = in_open;
        t->out[i].ask_per_item = per_item;
        if (tck_has(t, STAGE_INVENTS))
            t->out[i].cancel_at = 50;
    }
}

void tck_check_calls(tck *t)
{
    tck_ask_as_it_comes(t, 1, 0);
    for (uint32_t i = 0; i < t->n_out; i++)
        t->out[i].checks_calls = true;
}

void tck_cancel(tck *t, uint32_t out)
{
    tck_sink *sink = &t->out[out];
    sink->cancelled = true;
    if (sink->stage != NULL)
        t->engine->cancel(t, weir_stage_in(sink->stage));
}

void tck_cancel_all(tck *t)
{
    for (uint32_t i = 0; i < t->n_out; i++)
        tck_cancel(t, i);
}

uint64_t tck_outstanding(tck *t, uint32_t out)
{
    const tck_sink *sink = &t->out[out];
    return sink->stage != NULL ? t->engine->outstanding(t, weir_stage_in(sink->stage)) : 0;
}

uint64_t tck_received(const tck *t)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < t->n_out; i++)
        sum += t->out[i].received;
    return sum;
}

uint64_t tck_leaves(const tck *t)
{
    uint64_t sum = 0;
    uint32_t step = tck_has(t, STAGE_COPIES) ? (uint32_t)t->row->outputs : 1;
    for (uint32_t i = 0; i < t->n_out; i += step)
        sum += t->out[i].leaves;
    return sum;
}

/* Every call must return normally, whatever runs. */
static void check_calls(tck_sink *sink, weir_in *in)
{
    tck *t = sink->t;
    uint64_t before = sink->received;
    sink->bad_calls += t->engine->request(t, in, 1) != WEIR_OK;
    sink->bad_calls += t->engine->request(t, in, 0) != WEIR_EINVAL;
    sink->bad_calls += sink->received != before;
    sink->requested = weir_credit_add(sink->requested, 1);
}

static weir_status sink_open(weir_stage *stage, const void *config, void *state)
{
    tck_sink *sink = *(tck_sink *const *)config;
    *(tck_sink **)state = sink;
    bool was = enter(sink->t, stage);
    sink->opened++;
    sink->stage = stage;
    if (sink->checks_calls)
        check_calls(sink, weir_stage_in(stage));
    if (sink->ask_in_open != 0)
        (void)tck_ask(sink->t, sink->index, sink->ask_in_open);
    if (sink->cancel_in_open)
        tck_cancel(sink->t, sink->index);
    leave(sink->t, was);
    return WEIR_OK;
}

static void sink_close(weir_stage *stage, void *state)
{
    tck_sink *sink = *(tck_sink **)state;
    bool was = enter(sink->t, stage);
    sink->closed++;
    sink->stage = NULL;
    leave(sink->t, was);
}

/* Sees that it is whole, in order and not here already. */
static void note_leaf(tck_sink *sink, const weir_item *leaf)
{
    uint32_t traits = sink->t->row->traits;
    const tck_body *body = origin_of(leaf);
    sink->leaves++;
    if (body == NULL)
        return; /* it invents */
    if (body->source >= TCK_PORTS || body->seq >= TCK_ITEMS ||
        body->magic != magic_of(body->source, body->seq)) {
        sink->corrupt++;
        return;
    }
    uint32_t *next = &sink->next_seq[body->source];
    uint32_t *next_of_key = &sink->next_of_key[body->source][body->seq % 3];
    uint32_t step = (traits & STAGE_MAKES) != 0 ? 0 : 1;
    sink->out_of_order += (traits & STAGE_ORDERED) != 0 && body->seq < *next;
    sink->out_of_order += (traits & STAGE_BY_KEY) != 0 && body->seq < *next_of_key;
    sink->twice += sink->seen[body->source][body->seq] != 0;
    sink->seen[body->source][body->seq] = 1;
    *next = *next_of_key = body->seq + step;
}

static weir_status sink_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                 void *state)
{
    tck_sink *sink = *(tck_sink **)state;
    tck *t = sink->t;
    bool was = enter(t, stage);
    if (sink->opened == 0)
        t->before_open++;
    for (size_t i = 0; i < n; i++) {
        sink->after_over += sink->is_over;
        sink->after_cancel += sink->cancelled && sink->received + i < sink->cancel_at;
        const weir_items *members = weir_item_members(items[i]);
        /* groups that overlap: the first of each tells the order */
        size_t told = members != NULL && tck_has(t, STAGE_COPIES) ? 1
                      : members != NULL                           ? members->n
                                                                  : 0;
        for (size_t m = 0; m < told; m++)
            note_leaf(sink, members->items[m]);
        if (members == NULL)
            note_leaf(sink, items[i]);
        weir_item_ack(items[i]);
    }
    sink->received += n;
    sink->over_asked += sink->received > sink->requested;
    if (sink->checks_calls)
        check_calls(sink, in);
    if (sink->ask_per_item != 0)
        (void)tck_ask(t, sink->index, weir_credit_mul(sink->ask_per_item, n));
    if (sink->received >= sink->cancel_at)
        tck_cancel(t, sink->index);
    leave(t, was);
    return WEIR_OK;
}

/* Never called: says that demand is for the test to decide. */
static void sink_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static void sink_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    tck_sink *sink = *(tck_sink **)state;
    bool was = enter(sink->t, stage);
    if (sink->opened == 0)
        sink->t->before_open++;
    sink->after_over += sink->is_over;
    sink->after_cancel += sink->cancelled;
    sink->overs++;
    sink->is_over = true;
    sink->status = status;
    if (sink->checks_calls) {
        check_calls(sink, in);
        sink->over_credit += tck_outstanding(sink->t, sink->index) != 0 || !weir_in_is_over(in);
        sink->t->engine->cancel(sink->t, in);
    }
    leave(sink->t, was);
}

static const weir_stage_type sink_type = {
    .name = "tck_sink",
    .config_size = sizeof(tck_sink *),
    .state_size = sizeof(tck_sink *),
    .outputs = WEIR_PORTS_NONE,
    .open = sink_open,
    .close = sink_close,
    .on_demand = sink_on_demand,
    .on_items = sink_on_items,
    .on_end = sink_on_end,
};

weir_stage_spec *tck_sink_spec(tck_sink *sink)
{
    return weir_stage_of(&sink_type, &sink);
}

/* ---- What a wrong engine does ---- */

void tck_fake_item(tck *t, uint32_t out)
{
    tck_sink *sink = &t->out[out];
    if (sink->stage == NULL)
        return;
    weir_item *item = weir_item_new(weir_stage_loop(sink->stage), NULL, sizeof(uint64_t));
    if (item != NULL)
        (void)sink_on_items(sink->stage, weir_stage_in(sink->stage), &item, 1, &sink);
}

void tck_fake_over(tck *t, uint32_t out)
{
    tck_sink *sink = &t->out[out];
    if (sink->stage != NULL)
        sink_on_end(sink->stage, weir_stage_in(sink->stage), WEIR_OK, &sink);
}

void tck_fake_demand(tck *t, uint32_t in)
{
    tck_source *source = &t->in[in];
    if (source->stage != NULL)
        source_on_demand(source->stage, weir_stage_out(source->stage), 1, &source);
}

void tck_fake_cancel(tck *t, uint32_t in)
{
    tck_source *source = &t->in[in];
    if (source->stage != NULL)
        source_on_cancel(source->stage, weir_stage_out(source->stage), &source);
}

void tck_fake_open(tck *t, uint32_t out)
{
    tck_sink *sink = &t->out[out], *state = NULL;
    if (sink->stage != NULL)
        (void)sink_open(sink->stage, &sink, &state);
}
