/* The messages that come for a call as a source of items, by demand. */
#include "rpc_internal.h"

enum { INLINE_BYTES = 512 };

/* A message on its way: unpacked into memory of its own, so that it may wait anywhere. */
typedef struct body {
    weir_rpc_message message; /* first: as that of a request */
    weir_arena arena;
    _Alignas(8) char memory[INLINE_BYTES];
} body;

typedef struct source {
    const weir_env *env;
    weir_rpc_call *call;
    weir_stage *stage; /* NULL: not open */
    weir_out *out;
    weir_item *next; /* into which the next message is unpacked */
    weir_item *held; /* did not fit the edge's bytes */
    bool is_held, ended;
} source;

/* ---- Items ---- */

static void ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    body *b = weir_item_body(item);
    weir_rpc_call *call = b->message.call;
    (void)status;
    weir_arena_done(&b->arena);
    if (outcome != WEIR_ACKED && outcome != WEIR_FILTERED && b->message.message != NULL)
        weir_rpc_cancel(call);
    weir_rpc_release(call);
}

const weir_item_type wi_rpc_message_type = { .name = "rpc_message", .ended = ended };

static weir_item *item_new(source *s)
{
    weir_item *item = weir_item_new(s->call->core->loop, &wi_rpc_message_type, sizeof(body));
    if (item == NULL)
        return NULL;
    body *b = weir_item_body(item);
    b->message = (weir_rpc_message){ s->call, s->call->method, NULL };
    /* It may end on another loop, while the call's pool is this one's. */
    weir_arena_init(&b->arena, s->env, b->memory, sizeof b->memory,
                    s->call->core->message_memory_max);
    item->context = wi_rpc_call_traced(s->call);
    weir_rpc_hold(s->call);
    return item;
}

static weir_arena *arena(weir_rpc_call *call, void *user)
{
    source *s = user;
    (void)call;
    if (s->next == NULL)
        s->next = item_new(s);
    if (s->next == NULL)
        return NULL;
    body *b = weir_item_body(s->next);
    weir_arena_reset(&b->arena);
    return &b->arena;
}

/* ---- From the call ---- */

static void let_go(source *s)
{
    if (s->next != NULL) /* of a message that was never told */
        weir_item_end(s->next, WEIR_FILTERED, WEIR_OK);
    s->next = NULL;
    if (s->is_held)
        weir_stage_release(s->stage);
    s->is_held = false;
}

static void finish(source *s)
{
    weir_end(s->out);
    let_go(s);
}

/* The one message of a call that has one comes without being asked for. */
static void put(source *s, weir_item *item)
{
    if (weir_out_is_over(s->out)) {
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
    } else if (weir_out_credit(s->out) > 0 && weir_out_fits(s->out, item->cost)) {
        weir_emit(s->out, item);
    } else {
        s->held = item;
        s->call->gated = true;
    }
}

static void on_message(weir_rpc_call *call, const ProtobufCMessage *message, size_t bytes,
                       void *user)
{
    source *s = user;
    weir_item *item = s->next;
    (void)call;
    s->next = NULL;
    ((body *)weir_item_body(item))->message.message = message;
    item->cost = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
    put(s, item);
    if (call->one_in) {
        s->ended = true;
        if (s->held == NULL)
            finish(s);
    }
}

static void on_end(weir_rpc_call *call, void *user)
{
    source *s = user;
    (void)call;
    s->ended = true;
    if (s->held == NULL)
        finish(s);
}

static void on_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    source *s = user;
    (void)call;
    if (s->stage == NULL || (s->held != NULL && s->ended)) /* the last goes out, and then the end */
        return;
    if (s->held != NULL)
        weir_item_end(s->held, WEIR_ABORTED, WEIR_ECANCELED);
    s->held = NULL;
    if (s->ended || code == WEIR_RPC_OK)
        weir_end(s->out);
    else
        weir_end_error(s->out, weir_rpc_code_status(code));
    let_go(s);
}

static const wi_rpc_receiver receiver = { arena, on_message, on_end, NULL, on_over };

/* ---- Messages that nobody reads ---- */

static void drop_message(weir_rpc_call *call, const ProtobufCMessage *message, size_t bytes,
                         void *user)
{
    (void)call;
    (void)message;
    (void)bytes;
    (void)user;
}

static void drop_end(weir_rpc_call *call, void *user)
{
    (void)call;
    (void)user;
}

static const wi_rpc_receiver dropping = { NULL, drop_message, drop_end, NULL, NULL };

/* A server's call ends by its answer. A client's ends as the server says, so that this is waited
 * for while something is sent, and the call given up otherwise. */
static void stop_reading(source *s)
{
    weir_rpc_call *call = s->call;
    bool sends = !call->out_ended && (call->sender != NULL || call->handler->room != NULL);
    if (call->is_over)
        return;
    if (!call->core->side->is_client) {
        wi_rpc_call_deafen(call);
    } else if (!sends) {
        weir_rpc_cancel(call);
    } else {
        call->receiver = &dropping;
        call->gated = false;
        call->asked = WEIR_UNBOUNDED;
        wi_rpc_call_ready(call);
    }
}

/* ---- The stage ---- */

static weir_status share(const void *config, const weir_env *env, uint32_t replicas,
                         void **ret_shared, const char **why)
{
    weir_rpc_call *call = *(weir_rpc_call *const *)config;
    if (replicas != 1 || call->receiver != NULL || call->mute) {
        *why = "a call's messages go one way, on the call's loop";
        return WEIR_EEXIST;
    }
    source *s = weir_memory_new(env, sizeof *s);
    if (s == NULL)
        return WEIR_ENOMEM;
    s->env = env;
    s->call = call;
    weir_rpc_hold(call);
    call->receiver = &receiver;
    call->receiver_user = s;
    call->gated = true; /* until it is open */
    *ret_shared = s;
    return WEIR_OK;
}

static void unshare(void *shared)
{
    source *s = shared;
    let_go(s);
    if (s->call->receiver == &receiver) {
        stop_reading(s);
        s->call->receiver = s->call->is_over ? NULL : &dropping;
    }
    weir_rpc_release(s->call);
    weir_memory_free(s->env, s);
}

static weir_status open_source(weir_stage *stage, const void *config, void *state)
{
    source *s = weir_stage_shared(stage);
    (void)config;
    (void)state;
    if (weir_stage_loop(stage) != s->call->core->loop) {
        weir_stage_fail(stage, WEIR_EINVAL, "is not on the call's loop");
        return WEIR_EINVAL;
    }
    s->stage = stage;
    s->out = weir_stage_out(stage);
    weir_stage_hold(stage);
    s->is_held = true;
    s->call->gated = false;
    if (s->call->over_told)
        on_over(s->call, s->call->code, s);
    else
        wi_rpc_call_ready(s->call);
    return WEIR_OK;
}

static void close_source(weir_stage *stage, void *state)
{
    source *s = weir_stage_shared(stage);
    (void)state;
    s->stage = NULL;
}

static void on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    source *s = weir_stage_shared(stage);
    weir_rpc_call *call = s->call;
    (void)state;
    if (s->held != NULL) {
        if (!weir_out_fits(out, s->held->cost))
            return;
        weir_item *item = s->held;
        s->held = NULL;
        call->gated = false;
        weir_emit(out, item);
        credit--;
        if (s->ended)
            finish(s);
    }
    if (!call->one_in && credit > call->asked)
        weir_rpc_request(call, credit - call->asked);
    else
        wi_rpc_call_ready(call);
}

static void stop(source *s)
{
    stop_reading(s);
    if (s->held != NULL)
        weir_item_end(s->held, WEIR_ABORTED, WEIR_ECANCELED);
    s->held = NULL;
    let_go(s);
}

static void on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    (void)state;
    stop(weir_stage_shared(stage));
}

static void on_drain(weir_stage *stage, void *state)
{
    source *s = weir_stage_shared(stage);
    (void)state;
    if (s->held != NULL) { /* it was taken in: it goes out, and then the end */
        s->ended = true;
        stop_reading(s);
        return;
    }
    weir_end(s->out);
    stop(s); /* what comes now is not looked at; replies still go out */
}

static void on_abort(weir_stage *stage, void *state)
{
    source *s = weir_stage_shared(stage);
    (void)state;
    if (!s->call->over_told)
        weir_rpc_cancel(s->call);
    stop(s);
}

static const weir_stage_type messages_type = {
    .name = "rpc_messages",
    .config_size = sizeof(weir_rpc_call *),
    .inputs = WEIR_PORTS_NONE,
    .acks = true,
    .share = share,
    .unshare = unshare,
    .open = open_source,
    .close = close_source,
    .on_demand = on_demand,
    .on_cancel = on_cancel,
    .on_drain = on_drain,
    .on_abort = on_abort,
};

weir_stage_spec *weir_rpc_messages(weir_rpc_call *call)
{
    return weir_stage_of(&messages_type, &call);
}
