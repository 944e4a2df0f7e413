/* Probes: a source that emits what a test feeds it, and a sink that asks when the test says so. */
#include "testkit_private.h"

#include <stdlib.h>

enum { NOT_ENDED = -1, FIRST_CAPACITY = 256 };

typedef struct fed_item {
    weir_probe_item item;
    int outcome;
    weir_status status;
} fed_item;

typedef struct got_item {
    uint64_t value, arrival_ns;
    weir_item *item; /* kept, or NULL */
} got_item;

/* Grows with the test; not the env's memory, so that it neither counts nor fails. */
typedef struct probe_list {
    void *at;
    uint64_t n, capacity;
} probe_list;

struct weir_probe {
    weir_testkit *kit;
    weir_probe *next_probes, *replicas;
    uint32_t replica_count;
    weir_stage *stage;
    uint64_t violations;
    /* source */
    probe_list feds;
    uint64_t emitted, ended[WEIR_FAILED + 1];
    bool is_ending, is_cancelled;
    /* sink */
    probe_list gots;
    uint64_t requested, early_requests, taken, kept;
    bool keeps, is_over, is_sink;
    void (*look)(const weir_item *item, void *user);
    void *look_user;
    weir_timer late;    /* of acks that a fault holds back; of a source that found no memory */
    weir_status status; /* of the terminal: to send, or received */
};

typedef struct probe_body {
    uint64_t value; /* first: what tests read */
    uint64_t index;
    weir_probe *probe; /* NULL in a clone, whose end is its parent's to tell */
} probe_body;

weir_probe *wi_probes_new(weir_testkit *kit, uint32_t n, weir_probe *next)
{
    weir_probe *probes = calloc(n, sizeof *probes);
    if (probes == NULL)
        return NULL;
    for (uint32_t i = 0; i < n; i++) {
        probes[i].kit = kit;
        probes[i].replicas = probes;
        probes[i].replica_count = n;
    }
    probes->next_probes = next;
    return probes;
}

weir_probe *wi_probes_next(const weir_probe *probes)
{
    return probes->next_probes;
}

void wi_probes_free(weir_probe *probes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        free(probes[i].feds.at);
        free(probes[i].gots.at);
    }
    free(probes);
}

/* Makes room for one more element of `size` bytes. */
static bool list_grow(probe_list *list, size_t size)
{
    if (list->n < list->capacity)
        return true;
    uint64_t capacity = list->capacity != 0 ? list->capacity * 2 : FIRST_CAPACITY;
    void *at = realloc(list->at, capacity * size);
    if (at == NULL)
        return false;
    list->at = at;
    list->capacity = capacity;
    return true;
}

static fed_item *fed_at(const weir_probe *probe, uint64_t index)
{
    return (fed_item *)probe->feds.at + index;
}

static got_item *got_at(const weir_probe *probe, uint64_t index)
{
    return (got_item *)probe->gots.at + index;
}

/* ---- Items ---- */

static void breach(weir_probe *probe, const char *what)
{
    probe->violations++;
    wi_kit_violated(probe->kit, "%s: %s", probe->stage != NULL ? probe->stage->node->name : "probe",
                    what);
}

static void probe_item_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    probe_body *body = weir_item_body(item);
    if (body->probe == NULL)
        return;
    weir_probe *probe = body->probe;
    fed_item *fed = fed_at(probe, body->index);
    if (fed->outcome != NOT_ENDED) {
        breach(probe, "an item ended twice");
        return;
    }
    if (probe->kit->depth != 0)
        breach(probe, "an item's end was told beneath a callback");
    wi_kit_fold(probe->kit, body->index);
    wi_kit_fold(probe->kit, (uint64_t)outcome << 8 | (uint8_t)status);
    wi_kit_tell(probe->kit, "               item %llu ended: %s", (unsigned long long)body->index,
                weir_outcome_name(outcome));
    fed->outcome = (int)outcome;
    fed->status = status;
    probe->ended[outcome]++;
}

static weir_status probe_item_clone(weir_item *to, const weir_item *from)
{
    (void)from;
    ((probe_body *)weir_item_body(to))->probe = NULL;
    return WEIR_OK;
}

static const weir_item_type probe_item_type = { .name = "probe",
                                                .ended = probe_item_ended,
                                                .clone = probe_item_clone };

/* ---- The source ---- */

typedef struct probe_config {
    weir_probe *probe;
} probe_config;

typedef struct probe_state {
    weir_probe *probe;
} probe_state;

static weir_status probe_open(weir_stage *stage, const void *config, void *state)
{
    weir_probe *probe = weir_probe_replica(((const probe_config *)config)->probe,
                                           weir_stage_replica(stage));
    if (probe == NULL || probe->stage != NULL)
        return WEIR_EINVAL;
    probe->stage = stage;
    ((probe_state *)state)->probe = probe;
    probe->is_sink = weir_stage_inputs(stage) != 0;
    return WEIR_OK;
}

static void probe_close(weir_stage *stage, void *state)
{
    weir_probe *probe = ((probe_state *)state)->probe;
    weir_timer_stop(weir_stage_loop(stage), &probe->late);
    probe->stage = NULL;
}

static weir_item *next_item(weir_probe *probe)
{
    const weir_probe_item *from = &fed_at(probe, probe->emitted)->item;
    weir_item *item = weir_item_new(weir_stage_loop(probe->stage), &probe_item_type,
                                    sizeof(probe_body));
    if (item == NULL)
        return NULL;
    *(probe_body *)weir_item_body(item) =
        (probe_body){ .value = from->value, .index = probe->emitted, .probe = probe };
    item->key = from->key;
    item->context = from->context;
    if (from->cost != 0)
        item->cost = from->cost;
    return item;
}

static void source_push(weir_probe *probe);

static void source_tries_again(weir_timer *timer, void *user)
{
    (void)timer;
    source_push(user);
}

static void source_push(weir_probe *probe)
{
    if (probe->stage == NULL)
        return;
    weir_out *out = weir_stage_out(probe->stage);
    while (probe->emitted < probe->feds.n && weir_out_credit(out) > 0) {
        uint32_t cost = fed_at(probe, probe->emitted)->item.cost;
        if (!weir_out_fits(out, cost != 0 ? cost : (uint32_t)sizeof(probe_body)))
            return;
        weir_item *item = next_item(probe);
        if (item == NULL) {
            weir_timer_start(weir_stage_loop(probe->stage), &probe->late, WEIR_MS,
                             source_tries_again, probe);
            return;
        }
        probe->emitted++;
        weir_emit(out, item);
    }
    if (probe->is_ending && probe->emitted == probe->feds.n) {
        if (probe->status == WEIR_OK)
            weir_end(out);
        else
            weir_end_error(out, probe->status);
    }
}

static void source_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    source_push(((probe_state *)state)->probe);
}

static void source_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)stage;
    (void)out;
    weir_probe *probe = ((probe_state *)state)->probe;
    probe->is_cancelled = true;
}

static const weir_stage_type source_type = {
    .name = "probe_source",
    .config_size = sizeof(probe_config),
    .state_size = sizeof(probe_state),
    .inputs = WEIR_PORTS_NONE,
    .open = probe_open,
    .close = probe_close,
    .on_demand = source_on_demand,
    .on_cancel = source_on_cancel,
};

weir_stage_spec *weir_probe_source(weir_probe *probe)
{
    return weir_stage_of(&source_type, &(probe_config){ .probe = probe });
}

bool weir_probe_feed_item(weir_probe *source, const weir_probe_item *item)
{
    if (source->is_ending || !list_grow(&source->feds, sizeof(fed_item)))
        return false;
    *fed_at(source, source->feds.n++) = (fed_item){ .item = *item, .outcome = NOT_ENDED };
    source_push(source);
    return true;
}

bool weir_probe_feed(weir_probe *source, uint64_t value)
{
    return weir_probe_feed_item(source, &(weir_probe_item){ .value = value });
}

void weir_probe_end(weir_probe *source)
{
    weir_probe_end_error(source, WEIR_OK);
}

void weir_probe_end_error(weir_probe *source, weir_status status)
{
    if (!source->is_ending)
        source->status = status;
    source->is_ending = true;
    source_push(source);
}

uint64_t weir_probe_demand(const weir_probe *source)
{
    return source->stage != NULL ? weir_out_credit(weir_stage_out(source->stage)) : 0;
}

uint64_t weir_probe_emitted(const weir_probe *source)
{
    return source->emitted;
}

bool weir_probe_is_cancelled(const weir_probe *source)
{
    return source->is_cancelled;
}

uint64_t weir_probe_ended(const weir_probe *source, weir_outcome outcome)
{
    return source->ended[outcome];
}

uint64_t weir_probe_live(const weir_probe *source)
{
    uint64_t live = source->emitted;
    for (int i = 0; i <= WEIR_FAILED; i++)
        live -= source->ended[i];
    return live;
}

bool weir_probe_outcome(const weir_probe *source, uint64_t index, weir_outcome *ret_outcome,
                        weir_status *ret_status)
{
    if (index >= source->emitted || fed_at(source, index)->outcome == NOT_ENDED)
        return false;
    if (ret_outcome != NULL)
        *ret_outcome = (weir_outcome)fed_at(source, index)->outcome;
    if (ret_status != NULL)
        *ret_status = fed_at(source, index)->status;
    return true;
}

/* ---- The sink ---- */

static weir_status sink_open(weir_stage *stage, const void *config, void *state)
{
    weir_status status = probe_open(stage, config, state);
    if (status != WEIR_OK)
        return status;
    weir_probe *probe = ((probe_state *)state)->probe;
    if (probe->early_requests > 0)
        (void)weir_request(weir_stage_in(stage), probe->early_requests);
    return WEIR_OK;
}

static uint64_t value_of(const weir_item *item)
{
    const weir_items *members = weir_item_members(item);
    if (members != NULL)
        return members->n;
    return item->body != NULL ? *(const uint64_t *)item->body : 0;
}

static void acks_are_due(weir_timer *timer, void *user)
{
    (void)timer;
    for (weir_item *item; (item = weir_probe_take(user)) != NULL;)
        weir_item_ack(item);
}

/* Or what a fault makes of it. */
static void ack(weir_probe *probe, weir_item *item)
{
    weir_testkit *kit = probe->kit;
    weir_loop *loop = weir_stage_loop(probe->stage);
    if (wi_kit_fault(kit, WEIR_FAULT_ACK_LOST))
        return;
    if (wi_kit_fault(kit, WEIR_FAULT_ACK_LATE)) {
        got_at(probe, probe->gots.n - 1)->item = item;
        if (probe->kept++ == 0)
            weir_timer_start(loop, &probe->late, (1 + wi_kit_choose(kit, 20)) * WEIR_MS,
                             acks_are_due, probe);
        weir_stage_hold(probe->stage);
        return;
    }
    weir_item_ack(item);
    if (wi_kit_fault(kit, WEIR_FAULT_ACK_DOUBLED))
        weir_item_ack(item);
}

static weir_status sink_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    weir_probe *probe = ((probe_state *)state)->probe;
    if (probe->gots.n >= probe->requested)
        breach(probe, "an item came that was not asked for");
    if (probe->is_over)
        breach(probe, "an item came after the end");
    wi_kit_fold(probe->kit, value_of(item));
    if (probe->look != NULL)
        probe->look(item, probe->look_user);
    if (!list_grow(&probe->gots, sizeof(got_item))) {
        weir_item_end(item, WEIR_FAILED, WEIR_ENOMEM);
        return WEIR_ENOMEM;
    }
    *got_at(probe,
            probe->gots.n++) = (got_item){ .value = value_of(item),
                                           .arrival_ns = weir_loop_now(weir_stage_loop(stage)),
                                           .item = probe->keeps ? item : NULL };
    if (probe->keeps) {
        probe->kept++;
        weir_stage_hold(stage);
    } else {
        ack(probe, item);
    }
    return WEIR_OK;
}

/* Never called, as there are no outputs: it says that demand is for this stage to decide. */
static void sink_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static void sink_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)stage;
    (void)in;
    weir_probe *probe = ((probe_state *)state)->probe;
    if (probe->is_over)
        breach(probe, "a second end came");
    probe->is_over = true;
    probe->status = status;
}

static void sink_on_abort(weir_stage *stage, void *state)
{
    weir_probe *probe = ((probe_state *)state)->probe;
    weir_timer_stop(weir_stage_loop(stage), &probe->late);
    for (weir_item *item; (item = weir_probe_take(probe)) != NULL;)
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
}

static const weir_stage_type sink_type = {
    .name = "probe_sink",
    .config_size = sizeof(probe_config),
    .state_size = sizeof(probe_state),
    .outputs = WEIR_PORTS_NONE,
    .open = sink_open,
    .close = probe_close,
    .on_demand = sink_on_demand,
    .on_item = sink_on_item,
    .on_end = sink_on_end,
    .on_abort = sink_on_abort,
};

weir_stage_spec *weir_probe_sink(weir_probe *probe)
{
    return weir_stage_of(&sink_type, &(probe_config){ .probe = probe });
}

void weir_probe_request(weir_probe *sink, uint64_t n)
{
    sink->requested = weir_credit_add(sink->requested, n);
    if (sink->stage != NULL)
        (void)weir_request(weir_stage_in(sink->stage), n);
    else
        sink->early_requests = weir_credit_add(sink->early_requests, n);
}

void weir_probe_cancel(weir_probe *sink)
{
    if (sink->stage != NULL)
        weir_cancel(weir_stage_in(sink->stage));
}

void weir_probe_keep(weir_probe *sink, bool keep)
{
    sink->keeps = keep;
}

uint64_t weir_probe_received(const weir_probe *sink)
{
    return sink->gots.n;
}

uint64_t weir_probe_value(const weir_probe *sink, uint64_t index)
{
    return index < sink->gots.n ? got_at(sink, index)->value : 0;
}

uint64_t weir_probe_arrival(const weir_probe *sink, uint64_t index)
{
    return index < sink->gots.n ? got_at(sink, index)->arrival_ns : 0;
}

weir_item *weir_probe_take(weir_probe *sink)
{
    if (sink->kept == 0)
        return NULL;
    while (got_at(sink, sink->taken)->item == NULL)
        sink->taken++;
    weir_item *item = got_at(sink, sink->taken)->item;
    got_at(sink, sink->taken++)->item = NULL;
    sink->kept--;
    weir_stage_release(sink->stage);
    return item;
}

bool weir_probe_is_over(const weir_probe *sink, weir_status *ret_status)
{
    if (sink->is_over && ret_status != NULL)
        *ret_status = sink->status;
    return sink->is_over;
}

/* ---- Either ---- */

weir_probe *weir_probe_replica(weir_probe *probe, uint32_t replica)
{
    return replica < probe->replica_count ? probe->replicas + replica : NULL;
}

weir_stage *weir_probe_stage(const weir_probe *probe)
{
    return probe->stage;
}

uint64_t weir_probe_violations(const weir_probe *probe)
{
    return probe->violations;
}

void weir_probe_look(weir_probe *sink, void (*look)(const weir_item *item, void *user), void *user)
{
    for (uint32_t i = 0; i < sink->replica_count; i++) {
        sink->replicas[i].look = look;
        sink->replicas[i].look_user = user;
    }
}

bool weir_probe_origin(const weir_item *item, weir_probe **ret_source, uint64_t *ret_index)
{
    for (; item != NULL; item = item->parent) {
        const probe_body *body = item->type == &probe_item_type ? item->body : NULL;
        if (body == NULL || body->probe == NULL)
            continue;
        *ret_source = body->probe;
        *ret_index = body->index;
        return true;
    }
    return false;
}

/* ---- For the kit's checks ---- */

static const char *chain_fault(const weir_item *item)
{
    for (; item != NULL; item = item->parent) {
        if (item->holds == 0)
            return "it, or what it was made of, has ended and is still on its way";
        const probe_body *body = item->type == &probe_item_type ? item->body : NULL;
        if (body != NULL && body->probe != NULL &&
            fed_at(body->probe, body->index)->outcome != NOT_ENDED)
            return "its source was told of its end, and it is still on its way";
    }
    return NULL;
}

const char *wi_item_fault(const weir_item *item)
{
    const char *fault = chain_fault(item);
    const weir_items *members = fault == NULL ? weir_item_members(item) : NULL;
    for (size_t i = 0; members != NULL && i < members->n && fault == NULL; i++)
        fault = chain_fault(members->items[i]);
    return fault;
}

void wi_probes_cancel_one(weir_testkit *kit, const weir_loop *loop)
{
    uint32_t n = 0;
    weir_probe *chosen = NULL;
    for (weir_probe *list = kit->probes; list != NULL; list = list->next_probes)
        for (uint32_t i = 0; i < list->replica_count; i++) {
            weir_probe *probe = &list[i];
            if (!probe->is_sink || probe->stage == NULL || probe->stage->loop != loop)
                continue;
            if (wi_kit_choose(kit, ++n) == 0)
                chosen = probe;
        }
    if (chosen == NULL)
        return;
    wi_kit_tell(kit, "               fault: %s is cancelled", chosen->stage->node->name);
    weir_probe_cancel(chosen);
}

static void check_kept(weir_probe *probe)
{
    for (uint64_t i = probe->taken; i < probe->gots.n; i++) {
        const weir_item *item = got_at(probe, i)->item;
        const char *fault = item != NULL ? wi_item_fault(item) : NULL;
        if (fault != NULL) {
            breach(probe, fault);
            return;
        }
    }
}

void wi_probes_check(weir_testkit *kit)
{
    for (weir_probe *list = kit->probes; list != NULL; list = list->next_probes)
        for (uint32_t i = 0; i < list->replica_count; i++)
            if (list[i].kept != 0)
                check_kept(&list[i]);
}

/* ---- What users expect ---- */

bool weir_probe_expect(const weir_probe *sink, uint64_t n, const uint64_t *values)
{
    for (uint64_t i = 0; i < n && i < sink->gots.n; i++)
        if (got_at(sink, i)->value != values[i]) {
            wi_kit_disappointed(sink->kit, "expected %llu as value %llu, got %llu",
                                (unsigned long long)values[i], (unsigned long long)i,
                                (unsigned long long)got_at(sink, i)->value);
            return false;
        }
    if (sink->gots.n == n)
        return true;
    wi_kit_disappointed(sink->kit, "expected %llu items, got %llu", (unsigned long long)n,
                        (unsigned long long)sink->gots.n);
    return false;
}

bool weir_probe_expect_end(const weir_probe *sink, weir_status status)
{
    if (sink->is_over && sink->status == status)
        return true;
    wi_kit_disappointed(sink->kit, "expected the end (%s), got %s", weir_status_text(status),
                        sink->is_over ? weir_status_text(sink->status) : "none");
    return false;
}

bool weir_probe_expect_demand(const weir_probe *source, uint64_t credit)
{
    if (weir_probe_demand(source) == credit)
        return true;
    wi_kit_disappointed(source->kit, "expected a demand of %llu, got %llu",
                        (unsigned long long)credit, (unsigned long long)weir_probe_demand(source));
    return false;
}

bool weir_probe_expect_outcome(const weir_probe *source, uint64_t index, weir_outcome outcome)
{
    bool ended = index < source->emitted && fed_at(source, index)->outcome != NOT_ENDED;
    if (ended && fed_at(source, index)->outcome == (int)outcome)
        return true;
    wi_kit_disappointed(source->kit, "expected item %llu to be %s, it is %s",
                        (unsigned long long)index, weir_outcome_name(outcome),
                        ended ? weir_outcome_name((weir_outcome)fed_at(source, index)->outcome)
                              : "under way");
    return false;
}

/* Those on their way home between loops have ended. */
uint64_t wi_kit_items_live(const weir_testkit *kit)
{
    uint64_t live = 0;
    for (bool any = true; any;) {
        any = false;
        for (uint32_t i = 0; i < kit->loop_count; i++)
            any |= wi_loop_quiesce(kit->loops[i]);
    }
    for (uint32_t i = 0; i < kit->loop_count; i++) {
        weir_loop_stats stats;
        weir_loop_stats_get(kit->loops[i], &stats);
        live += stats.items_live;
    }
    return live;
}

uint64_t wi_probes_live(const weir_testkit *kit)
{
    uint64_t live = 0;
    for (const weir_probe *list = kit->probes; list != NULL; list = list->next_probes)
        for (uint32_t i = 0; i < list->replica_count; i++)
            live += weir_probe_live(&list[i]);
    return live;
}

bool weir_testkit_expect_clean(weir_testkit *kit)
{
    if (!weir_testkit_settle(kit) || !weir_testkit_check(kit))
        return false;
    for (const wi_watched *w = kit->watched; w != NULL; w = w->next)
        if (w->pipeline != NULL) {
            const weir_stage *s = wi_kit_who_runs(w->pipeline);
            wi_kit_disappointed(kit, "%s is still running: %s is open, with %llu holds",
                                w->pipeline->name, s != NULL ? s->node->name : "no stage",
                                s != NULL ? (unsigned long long)s->holds : 0);
            return false;
        }
    uint64_t live = wi_probes_live(kit);
    if (live != 0) {
        wi_kit_disappointed(kit, "%llu items of a source have not ended", (unsigned long long)live);
        return false;
    }
    live = wi_kit_items_live(kit);
    if (live != 0)
        wi_kit_disappointed(kit, "%llu items were never ended", (unsigned long long)live);
    return live == 0;
}
