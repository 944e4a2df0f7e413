/* Unary calls as a stage: an item in, a call, the item with the response out. */
#include "rpc_client_internal.h"

enum { TIMEOUT_MS = 30000 };

typedef struct calling {
    const weir_rpc_call_config *config;
    weir_rpc_channel *channel;
    weir_arena arena; /* of the request that is being made */
} calling;

/* Of one item. */
typedef struct asked {
    const weir_rpc_call_config *config;
    weir_rpc_call *call;
    weir_status status; /* what `response` said, or why it was given up */
} asked;

static uint32_t timeout_of(const weir_rpc_call_config *config)
{
    return config->timeout_ms != 0 ? config->timeout_ms : TIMEOUT_MS;
}

static weir_status call_check(const void *config_, const char **why)
{
    const weir_rpc_call_config *config = config_;
    if (config->method == NULL || config->method->kind != WEIR_RPC_UNARY)
        *why = "the method is missing, or not unary";
    else if (config->request == NULL)
        *why = "the request callback is missing";
    else
        return wi_rpc_channel_check(&config->channel, why);
    return WEIR_EINVAL;
}

static weir_status call_open(weir_stage *stage, const void *config, void *state)
{
    calling *c = state;
    const char *why = "";
    c->config = config;
    weir_arena_init(&c->arena, weir_stage_env(stage), NULL, 0,
                    c->config->channel.message_memory_max);
    weir_status status = weir_rpc_channel_new(weir_stage_loop(stage), &c->config->channel,
                                              &c->channel, &why);
    if (status != WEIR_OK)
        weir_stage_fail(stage, status, why);
    return status;
}

static void call_close(weir_stage *stage, void *state)
{
    calling *c = state;
    (void)stage;
    weir_rpc_channel_free(c->channel);
    weir_arena_done(&c->arena);
}

static void on_message(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    weir_op *op = user;
    asked *a = op->work;
    (void)call;
    if (a->config->response != NULL && a->status == WEIR_OK)
        a->status = a->config->response(op->item, message, a->config->user);
}

static void on_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    weir_op *op = user;
    asked *a = op->work;
    (void)call;
    a->call = NULL;
    if (code != WEIR_RPC_OK && a->status == WEIR_OK)
        weir_op_done(op, weir_rpc_code_status(code), weir_rpc_code_name(code));
    else
        weir_op_done(op, a->status, "the response was refused");
}

static void call_start(weir_op *op, void *state)
{
    static const weir_rpc_handler handler = { .message = on_message, .over = on_over };
    calling *c = state;
    asked *a = op->work;
    weir_rpc_options options = { .context = op->context, .timeout_ms = timeout_of(c->config) };
    weir_status status = WEIR_OK;
    *a = (asked){ .config = c->config };
    const ProtobufCMessage *request = c->config->request(op->item, &c->arena, &status,
                                                         c->config->user);
    if (request != NULL)
        status = weir_rpc_ask(c->channel, c->config->method, &options, request, &handler, op,
                              &a->call);
    weir_arena_reset(&c->arena);
    if (request == NULL)
        weir_op_done(op, status != WEIR_OK ? status : WEIR_ENOMEM, "no request was made");
    else if (status != WEIR_OK)
        weir_op_done(op, status, "no call was made");
}

/* The operation is done when the call is over. */
static void call_cancel(weir_op *op, weir_status status, void *state)
{
    asked *a = op->work;
    (void)state;
    if (a->status == WEIR_OK)
        a->status = status;
    if (a->call != NULL)
        weir_rpc_cancel(a->call);
}

static const weir_async_type call_type = {
    .name = "rpc_call",
    .config_size = sizeof(weir_rpc_call_config),
    .state_size = sizeof(calling),
    .work_size = sizeof(asked),
    .check = call_check,
    .open = call_open,
    .close = call_close,
    .start = call_start,
    .cancel = call_cancel,
};

weir_stage_spec *weir_rpc_call_stage(const weir_rpc_call_config *config)
{
    static const weir_rpc_call_config none;
    config = config != NULL ? config : &none;
    weir_async_options options = { .in_flight = config->in_flight,
                                   .unordered = config->unordered,
                                   .timeout_ms = timeout_of(config) };
    return weir_async_of(&call_type, &options, config);
}
