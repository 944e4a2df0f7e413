/* Compose: calls Process twice, in parallel, and joins the answers. The first error cancels the
 * other call, and is the one that is told. */
#include "service.h"

#include <weir/async.h>
#include <weir/rpc_client.h>

#include <stdio.h>
#include <string.h>

enum { IN_FLIGHT = 1024, TARGET_BYTES = 300 };

typedef struct compose_config {
    streams *streams;
} compose_config;

/* A replica's: its channel to this very service. */
typedef struct composer {
    streams *streams;
    weir_rpc_channel *channel;
    char target[TARGET_BYTES];
} composer;

typedef struct composition composition;

/* One of the two. */
typedef struct part {
    composition *composition;
    weir_rpc_call *call; /* NULL: not begun, or over */
    const char *text;    /* the answer, in the other call's arena */
} part;

struct composition {
    weir_op *op;
    part parts[2];
    weir_rpc_code code; /* the first error */
    const char *why;    /* and its text; NULL: none */
    bool is_over;
};

static weir_rpc_call *caller(const composition *c)
{
    return weir_rpc_message_of(c->op->item)->call;
}

static void cancel_parts(composition *c)
{
    for (int i = 0; i < 2; i++)
        if (c->parts[i].call != NULL)
            weir_rpc_cancel(c->parts[i].call);
}

static void finish(composition *c)
{
    Streams__V1__ComposeResponse response = STREAMS__V1__COMPOSE_RESPONSE__INIT;
    if (c->parts[0].call != NULL || c->parts[1].call != NULL || c->is_over)
        return;
    c->is_over = true;
    if (c->code == WEIR_RPC_OK && c->parts[0].text != NULL && c->parts[1].text != NULL) {
        response.a = (char *)c->parts[0].text;
        response.b = (char *)c->parts[1].text;
        (void)weir_rpc_item_reply(c->op->item, &response.base);
    } else {
        (void)weir_rpc_item_fail(c->op->item, c->code != WEIR_RPC_OK ? c->code : WEIR_RPC_INTERNAL,
                                 c->why);
    }
    weir_op_done_consumed(c->op);
}

/* What is told to the caller lasts as long as its call. */
static const char *kept(const composition *c, const char *text, size_t n)
{
    return weir_arena_copy(weir_rpc_call_arena(caller(c)), text, n);
}

static void part_message(weir_rpc_call *call, const Streams__V1__ProcessResponse *response,
                         void *user)
{
    part *p = user;
    (void)call;
    p->text = kept(p->composition, response->text, strlen(response->text));
    if (p->text == NULL && p->composition->code == WEIR_RPC_OK)
        p->composition->code = WEIR_RPC_RESOURCE_EXHAUSTED;
}

static void part_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    part *p = user;
    composition *c = p->composition;
    weir_http1_span text = weir_rpc_call_error(call)->text;
    p->call = NULL;
    if (code != WEIR_RPC_OK && c->code == WEIR_RPC_OK) {
        c->code = code;
        c->why = kept(c, text.at, text.len);
        cancel_parts(c);
    }
    finish(c);
}

/* Where this process listens; an address that stands for all stands for the loopback. */
static void find_self(const streams *s, char *ret_target, size_t cap)
{
    const char *host = s->orders.options.listen.host;
    if (host[0] == '\0' || strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    snprintf(ret_target, cap, strchr(host, ':') != NULL ? "%s://[%s]:%u" : "%s://%s:%u",
             s->options.tls_cert != NULL ? "https" : "http", host,
             (unsigned)atomic_load(&s->orders.port));
}

static bool connect_to_self(weir_op *op, composer *state)
{
    const streams_options *o = &state->streams->options;
    const char *why = "";
    if (state->channel != NULL)
        return true;
    find_self(state->streams, state->target, sizeof state->target);
    weir_rpc_channel_config config = {
        .target = state->target,
        .tls_insecure = true, /* it is this process itself */
        .tls_cert_file = o->tls_client_ca != NULL ? o->tls_cert : NULL,
        .tls_key_file = o->tls_client_ca != NULL ? o->tls_key : NULL,
    };
    return weir_rpc_channel_new(weir_stage_loop(op->stage), &config, &state->channel, &why) ==
           WEIR_OK;
}

static void start(weir_op *op, void *state)
{
    static const streams_v1_streams_process_client client = { .message = part_message,
                                                              .over = part_over };
    composition *c = op->work;
    const Streams__V1__ComposeRequest *request =
        (const Streams__V1__ComposeRequest *)weir_rpc_message_of(op->item)->message;
    const Streams__V1__ProcessRequest none = STREAMS__V1__PROCESS_REQUEST__INIT;
    const Streams__V1__ProcessRequest *asked[2] = { request->a, request->b };
    *c = (composition){ .op = op, .parts = { { c, NULL, NULL }, { c, NULL, NULL } } };
    if (!connect_to_self(op, state)) {
        c->code = WEIR_RPC_UNAVAILABLE;
        finish(c);
        return;
    }
    weir_rpc_options asking = { .context = op->context };
    for (int i = 0; i < 2 && c->code == WEIR_RPC_OK; i++) {
        weir_status status = streams_v1_streams_process(((composer *)state)->channel, &asking,
                                                        asked[i] != NULL ? asked[i] : &none,
                                                        &client, &c->parts[i], &c->parts[i].call);
        if (status != WEIR_OK) {
            c->code = weir_rpc_code_of(status);
            cancel_parts(c);
        }
    }
    finish(c);
}

static void cancel(weir_op *op, weir_status status, void *state)
{
    composition *c = op->work;
    (void)state;
    if (c->code == WEIR_RPC_OK)
        c->code = weir_rpc_code_of(status);
    cancel_parts(c);
}

static weir_status open_composer(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    ((composer *)state)->streams = ((const compose_config *)config)->streams;
    return WEIR_OK;
}

static void close_composer(weir_stage *stage, void *state)
{
    (void)stage;
    weir_rpc_channel_free(((composer *)state)->channel);
}

static const weir_async_type compose_type = {
    .name = "compose",
    .config_size = sizeof(compose_config),
    .state_size = sizeof(composer),
    .work_size = sizeof(composition),
    .open = open_composer,
    .close = close_composer,
    .start = start,
    .cancel = cancel,
};

weir_stage_spec *compose_stage(streams *s)
{
    return weir_async_of(&compose_type,
                         &(weir_async_options){ .in_flight = IN_FLIGHT, .unordered = true },
                         &(compose_config){ s });
}
