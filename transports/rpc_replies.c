/* A sink whose items are the messages that a call sends, as there is room. */
#include "rpc_internal.h"

enum { LEVEL = 64 }; /* items asked for at once, at most */

typedef struct replies_config {
    weir_rpc_call *call;
    const ProtobufCMessage *(*message_of)(const weir_item *item, void *user);
    void *user;
} replies_config;

typedef struct sink {
    const weir_env *env;
    replies_config config;
    weir_stage *stage;         /* NULL: not open */
    weir_item *waiting[LEVEL]; /* for room; a ring, as others may hold the items too */
    uint32_t first, n;
    weir_status end;
    bool input_over, stage_held;
} sink;

/* ---- Sending ---- */

static weir_status send_packed(weir_rpc_call *call, const weir_item *item)
{
    ProtobufCMessage *message;
    weir_arena arena;
    if (call->wire.codec == WEIR_RPC_PROTO)
        return wi_rpc_call_put(call, NULL, item->body, item->cost);
    weir_arena_init(&arena, call->core->env, NULL, 0, call->core->message_memory_max);
    weir_status status = weir_protobuf_unpack(
        call->core->side->is_client ? call->method->request : call->method->response, item->body,
        item->cost, &call->core->json.limits, &arena, &message, NULL);
    if (status == WEIR_OK)
        status = weir_rpc_send(call, message);
    weir_arena_done(&arena);
    return status;
}

static weir_status send_item(sink *s, weir_item *item)
{
    if (s->config.message_of == NULL)
        return send_packed(s->config.call, item);
    const ProtobufCMessage *message = s->config.message_of(item, s->config.user);
    return message != NULL ? weir_rpc_send(s->config.call, message) : WEIR_EINVAL;
}

/* Gives false if it has to wait for room. */
static bool try_send(sink *s, weir_item *item)
{
    weir_status status = send_item(s, item);
    if (status == WEIR_EAGAIN)
        return false;
    if (status == WEIR_OK)
        weir_item_ack(item);
    else if (status == WEIR_ECLOSED)
        weir_item_end(item, WEIR_ABORTED, WEIR_ECLOSED);
    else
        weir_fail(s->stage, item, status, "the message cannot be sent");
    return true;
}

static void end_call(sink *s)
{
    weir_rpc_call *call = s->config.call;
    if (call->core->side->is_client && s->end == WEIR_OK)
        (void)!weir_rpc_send_end(call);
    else if (call->core->side->is_client)
        weir_rpc_cancel(call);
    else
        (void)weir_rpc_finish(call, s->end == WEIR_OK ? WEIR_RPC_OK : weir_rpc_code_of(s->end),
                              s->end == WEIR_OK ? NULL : weir_status_text(s->end));
}

static void let_go(sink *s)
{
    if (s->stage_held)
        weir_stage_release(s->stage);
    s->stage_held = false;
}

/* As many as fit the room however large they are, so that no more than that can wait. */
static void ask(sink *s)
{
    weir_in *in = weir_stage_in(s->stage);
    size_t room = weir_rpc_room(s->config.call);
    if (s->n != 0 || s->input_over || room == 0)
        return;
    uint64_t level = room / weir_in_item_bytes_max(in);
    if (level == 0 || s->config.call->one_out)
        level = 1;
    weir_request_to(in, level < LEVEL ? level : LEVEL);
}

static weir_item *pop(sink *s)
{
    weir_item *item = s->waiting[s->first];
    s->first = (s->first + 1) % LEVEL;
    s->n--;
    return item;
}

static void flush(sink *s)
{
    for (; s->n > 0; (void)pop(s))
        if (!try_send(s, s->waiting[s->first]))
            return;
    if (s->input_over) {
        end_call(s);
        let_go(s);
    } else {
        ask(s);
    }
}

/* ---- From the call ---- */

static void on_room(weir_rpc_call *call, void *user)
{
    sink *s = user;
    (void)call;
    if (s->stage != NULL)
        flush(s);
}

static void drop(sink *s)
{
    while (s->n > 0)
        weir_item_end(pop(s), WEIR_ABORTED, WEIR_ECANCELED);
}

static void on_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    sink *s = user;
    (void)call;
    (void)code;
    if (s->stage == NULL)
        return;
    drop(s);
    weir_cancel(weir_stage_in(s->stage));
    let_go(s);
}

static const wi_rpc_receiver sender = { .room = on_room, .over = on_over };

/* ---- The stage ---- */

static weir_status share(const void *config_, const weir_env *env, uint32_t replicas,
                         void **ret_shared, const char **why)
{
    const replies_config *config = config_;
    weir_rpc_call *call = config->call;
    if (replicas != 1 || call->sender != NULL) {
        *why = "a call's replies come from one sink, on the call's loop";
        return WEIR_EEXIST;
    }
    sink *s = weir_memory_new(env, sizeof *s);
    if (s == NULL)
        return WEIR_ENOMEM;
    s->env = env;
    s->config = *config;
    weir_rpc_hold(call);
    call->sender = &sender;
    call->sender_user = s;
    *ret_shared = s;
    return WEIR_OK;
}

static void unshare(void *shared)
{
    sink *s = shared;
    s->config.call->sender = NULL;
    weir_rpc_release(s->config.call);
    weir_memory_free(s->env, s);
}

static weir_status open_sink(weir_stage *stage, const void *config, void *state)
{
    sink *s = weir_stage_shared(stage);
    (void)config;
    (void)state;
    if (weir_stage_loop(stage) != s->config.call->core->loop) {
        weir_stage_fail(stage, WEIR_EINVAL, "is not on the call's loop");
        return WEIR_EINVAL;
    }
    s->stage = stage;
    weir_stage_hold(stage);
    s->stage_held = true;
    if (s->config.call->over_told)
        on_over(s->config.call, s->config.call->code, s);
    else
        ask(s);
    return WEIR_OK;
}

static void close_sink(weir_stage *stage, void *state)
{
    (void)state;
    ((sink *)weir_stage_shared(stage))->stage = NULL;
}

/* Demand is the call's room. */
static void on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static weir_status on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                            void *state)
{
    sink *s = weir_stage_shared(stage);
    (void)in;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        if (s->n == 0 && try_send(s, items[i]))
            continue;
        if (s->n < LEVEL)
            s->waiting[(s->first + s->n++) % LEVEL] = items[i];
        else /* one that is tried again, beside all that were asked for */
            weir_fail(stage, items[i], WEIR_EAGAIN, "the call has no room");
    }
    ask(s);
    return WEIR_OK;
}

static void on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    sink *s = weir_stage_shared(stage);
    (void)in;
    (void)state;
    s->input_over = true;
    s->end = status;
    if (status != WEIR_OK)
        drop(s);
    flush(s);
}

static void on_abort(weir_stage *stage, void *state)
{
    sink *s = weir_stage_shared(stage);
    (void)state;
    drop(s);
    weir_rpc_cancel(s->config.call);
    let_go(s);
}

static const weir_stage_type replies_type = {
    .name = "rpc_replies",
    .config_size = sizeof(replies_config),
    .outputs = WEIR_PORTS_NONE,
    .share = share,
    .unshare = unshare,
    .open = open_sink,
    .close = close_sink,
    .on_demand = on_demand,
    .on_items = on_items,
    .on_end = on_end,
    .on_abort = on_abort,
};

weir_stage_spec *weir_rpc_replies(weir_rpc_call *call,
                                  const ProtobufCMessage *(*message_of)(const weir_item *item,
                                                                        void *user),
                                  void *user)
{
    replies_config config = { call, message_of, user };
    return weir_stage_of(&replies_type, &config);
}
