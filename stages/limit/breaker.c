/* breaker: a gate that shuts when what is below it fails, or is slow, too often. */
#include <weir/stages.h>

#include "circuit.h"

/* What the service below, or the way to it, is to blame for. */
static const uint32_t failures_default = WEIR_FAILURE(WEIR_EDEADLINE) | WEIR_FAILURE(WEIR_EPROTO) |
                                         WEIR_FAILURE(WEIR_EIO) | WEIR_FAILURE(WEIR_ECLOSED) |
                                         WEIR_FAILURE(WEIR_EUNAVAILABLE) |
                                         WEIR_FAILURE(WEIR_EOVERLOAD) |
                                         WEIR_FAILURE(WEIR_EINTERNAL) | WEIR_FAILURE(WEIR_EPARTIAL);

/* With its defaults. */
static weir_breaker_config complete(const weir_breaker_config *config)
{
    weir_breaker_config c = *config;
    if (c.window_ms == 0)
        c.window_calls = wi_or(c.window_calls, 100);
    c.calls_min = wi_or(c.calls_min, 10);
    if (c.window_ms == 0 && c.calls_min > c.window_calls)
        c.calls_min = c.window_calls;
    c.failure_percent = wi_or(c.failure_percent, 50);
    c.slow_percent = wi_or(c.slow_percent, 100);
    c.open_ms = wi_or(c.open_ms, 5000);
    c.open_ms_max = wi_or(c.open_ms_max, c.open_ms > 60000 ? c.open_ms : 60000);
    c.probes = wi_or(c.probes, 5);
    c.probe_ms = wi_or(c.probe_ms, 60000);
    c.failures = wi_or(c.failures, failures_default);
    return c;
}

static weir_status breaker_check(const void *config, const char **why)
{
    const weir_breaker_config *c = config;
    if (c->window_calls != 0 && c->window_ms != 0)
        *why = "the window is of calls or of time, not both";
    else if (c->window_calls > 1000000)
        *why = "window_calls is at most 1000000";
    else if (c->window_ms > 3600000 || (c->window_ms != 0 && c->window_ms < 10))
        *why = "window_ms is 10 to an hour";
    else if (c->failure_percent > 100 || c->slow_percent > 100)
        *why = "percentages are at most 100";
    else if (c->open_ms > c->open_ms_max || c->open_ms_max > 86400000)
        *why = "open_ms is at most open_ms_max, and that a day";
    else if (c->probes > 1000)
        *why = "probes are at most 1000";
    else if (!wi_gate_is_status(c->status))
        *why = "there is no such status";
    else
        return WEIR_OK;
    return WEIR_EINVAL;
}

static weir_status breaker_share(const void *config, const weir_env *env, uint32_t replicas,
                                 void **ret_shared, const char **why)
{
    (void)why;
    *ret_shared = wi_circuit_new(env, config, replicas);
    return *ret_shared != NULL ? WEIR_OK : WEIR_ENOMEM;
}

static void breaker_unshare(void *shared)
{
    wi_circuit_free(shared);
}

/* ---- The gate ---- */

typedef struct breaker {
    wi_gate gate;
    wi_circuit *circuit;
    uint64_t era; /* of what was taken last */
} breaker;

/* What began at the same time. */
typedef struct call {
    breaker *of;
    uint64_t era, began_ns;
} call;

static size_t breaker_take(wi_gate *gate, weir_item *const *items, size_t n)
{
    breaker *b = (breaker *)gate;
    (void)items;
    return (size_t)wi_circuit_begin(b->circuit, gate->stage, n, &b->era, &gate->wait_ns);
}

static uint64_t breaker_look(wi_gate *gate, uint64_t most)
{
    return wi_circuit_begin(((breaker *)gate)->circuit, gate->stage, most, NULL, &gate->wait_ns);
}

static size_t breaker_follow(wi_gate *gate, weir_item **items, size_t n)
{
    breaker *b = (breaker *)gate;
    weir_loop *loop = weir_stage_loop(gate->stage);
    call calls = { b, b->era, weir_loop_now(loop) };
    size_t made = weir_tickets_alike(loop, gate->kind->ticket, &calls, items, n);
    if (made < n)
        wi_circuit_ended(b->circuit, gate->stage, n - made, b->era, WI_CALL_IGNORED, 0);
    return made;
}

static wi_verdict verdict_on(const wi_circuit *c, weir_outcome outcome, weir_status status)
{
    if (outcome == WEIR_ACKED || outcome == WEIR_FILTERED)
        return WI_CALL_GOOD;
    if (outcome == WEIR_ABORTED || outcome == WEIR_REJECTED)
        return WI_CALL_IGNORED;
    return (atomic_load(&c->failures) & WEIR_FAILURE(status)) != 0 ? WI_CALL_FAILED
                                                                   : WI_CALL_IGNORED;
}

static void call_ended(void *memory, size_t n, weir_outcome outcome, weir_status status)
{
    const call *of = memory;
    breaker *b = of->of;
    weir_stage *stage = b->gate.stage;
    wi_circuit_ended(b->circuit, stage, n, of->era, verdict_on(b->circuit, outcome, status),
                     weir_loop_now(weir_stage_loop(stage)) - of->began_ns);
    wi_gate_ended(&b->gate, n);
}

static const weir_ticket_type call_type = { .name = "call",
                                            .bytes = sizeof(call),
                                            .ended_alike = call_ended };

static const wi_gate_kind breaker_kind = { .take = breaker_take,
                                           .look = breaker_look,
                                           .ticket = &call_type,
                                           .follow = breaker_follow,
                                           .why = "the circuit is open" };

static weir_status reject_of(const weir_breaker_config *c)
{
    return wi_gate_reject(!c->hold, c->status, WEIR_EUNAVAILABLE);
}

static weir_status breaker_open(weir_stage *stage, const void *config, void *state)
{
    breaker *b = state;
    b->circuit = weir_stage_shared(stage);
    return wi_gate_open(&b->gate, stage, &breaker_kind, &b->circuit->waiters, reject_of(config));
}

static weir_status breaker_merge_change(void *config, const void *change, const char **why)
{
    weir_breaker_config *c = config, new_ = complete(change);
    bool holds_as_before = new_.hold == c->hold;
    *why = holds_as_before ? "the window cannot change while it runs"
                           : "hold cannot change while it runs";
    if (!holds_as_before || new_.window_calls != c->window_calls || new_.window_ms != c->window_ms)
        return WEIR_EINVAL;
    *c = new_;
    return WEIR_OK;
}

static void breaker_change_shared(weir_stage *stage, const void *config, void *shared)
{
    (void)stage;
    wi_circuit_change(shared, config);
}

static weir_status breaker_on_change(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    wi_gate_change(state, reject_of(config));
    return WEIR_OK;
}

static const weir_stage_type breaker_type = {
    .name = "breaker",
    .config_size = sizeof(weir_breaker_config),
    .state_size = sizeof(breaker),
    .share = breaker_share,
    .unshare = breaker_unshare,
    .check = breaker_check,
    .open = breaker_open,
    WI_GATE_CALLBACKS,
    .merge_change = breaker_merge_change,
    .change_shared = breaker_change_shared,
    .on_change = breaker_on_change,
};

weir_stage_spec *weir_breaker(const weir_breaker_config *config)
{
    static const weir_breaker_config none;
    weir_breaker_config c = complete(config != NULL ? config : &none);
    return weir_stage_of(&breaker_type, &c);
}

bool weir_breaker_look(const weir_node *node, weir_breaker_stats *ret_stats)
{
    wi_circuit *circuit = weir_node_shared(node, &breaker_type);
    if (circuit == NULL)
        return false;
    wi_circuit_stats(circuit, ret_stats);
    return true;
}
