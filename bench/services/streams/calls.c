/* The calls that are answered by handlers: one of each kind. */
#include "service.h"

#include <string.h>

enum { PAYLOAD_BYTES = 92, PAYLOAD_BYTES_MAX = 1 << 20, DELAY_MS_MAX = 3600000, AHEAD = 64 };

/* ---- Process: an answer that takes its time ---- */

typedef struct process {
    weir_timer timer;
    Streams__V1__ProcessResponse response;
} process;

static void process_is_done(weir_timer *timer, void *user)
{
    weir_rpc_call *call = user;
    process *p = weir_rpc_call_state(call);
    (void)timer;
    (void)streams_v1_streams_process_reply(call, &p->response);
}

/* Metadata called echo-… goes back. */
static void process_begin(weir_rpc_call *call, void *user)
{
    static const char prefix[] = "echo-";
    char name[128];
    (void)user;
    for (size_t i = 0; i < weir_rpc_metadata_count(call); i++) {
        weir_http1_field field = weir_rpc_metadata_at(call, i);
        if (field.name.len < sizeof prefix || field.name.len >= sizeof name ||
            memcmp(field.name.at, prefix, sizeof prefix - 1) != 0)
            continue;
        memcpy(name, field.name.at, field.name.len);
        name[field.name.len] = '\0';
        if (weir_rpc_add_metadata(call, name, field.value.at, field.value.len) != WEIR_OK)
            return;
    }
}

/* The request is the error's detail. */
static void process_fail(weir_rpc_call *call, const Streams__V1__ProcessRequest *request)
{
    char packed[512];
    weir_rpc_detail detail = { .type = { "streams.v1.ProcessRequest", 25 }, .value = packed };
    weir_rpc_error error = { .code = (weir_rpc_code)request->fail_with,
                             .text = { request->text, strlen(request->text) },
                             .details = &detail };
    if (weir_protobuf_pack(&request->base, packed, sizeof packed, &detail.n) == WEIR_OK)
        error.detail_count = 1;
    (void)weir_rpc_finish_with(call, &error);
}

static void process_message(weir_rpc_call *call, const Streams__V1__ProcessRequest *request,
                            void *user)
{
    process *p = weir_rpc_call_state(call);
    (void)user;
    if (request->fail_with < 0 || request->fail_with > WEIR_RPC_UNAUTHENTICATED) {
        (void)weir_rpc_finish(call, WEIR_RPC_INVALID_ARGUMENT, "fail_with: no status code");
        return;
    }
    if (request->fail_with != 0) {
        process_fail(call, request);
        return;
    }
    if (request->delay_ms > DELAY_MS_MAX) {
        (void)weir_rpc_finish(call, WEIR_RPC_INVALID_ARGUMENT, "delay_ms: an hour at most");
        return;
    }
    streams__v1__process_response__init(&p->response);
    p->response.text = request->text; /* the request lasts as long as the call */
    if (request->delay_ms == 0)
        (void)streams_v1_streams_process_reply(call, &p->response);
    else
        weir_timer_start(weir_rpc_call_loop(call), &p->timer, request->delay_ms * WEIR_MS,
                         process_is_done, call);
}

static void process_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    process *p = weir_rpc_call_state(call);
    (void)code;
    (void)user;
    weir_timer_stop(weir_rpc_call_loop(call), &p->timer);
}

/* ---- StreamData: as many messages as the reader takes ---- */

typedef struct stream_data {
    Streams__V1__Data data;
    uint64_t count;
} stream_data;

static void stream_data_go_on(weir_rpc_call *call, void *user)
{
    stream_data *d = weir_rpc_call_state(call);
    (void)user;
    while (d->data.sequence < d->count) {
        weir_status status = streams_v1_streams_stream_data_send(call, &d->data);
        if (status == WEIR_EAGAIN || status == WEIR_ECLOSED)
            return; /* `room` or `over` follows */
        if (status != WEIR_OK) {
            (void)weir_rpc_finish(call, weir_rpc_code_of(status), weir_status_text(status));
            return;
        }
        d->data.sequence++;
    }
    (void)weir_rpc_finish(call, WEIR_RPC_OK, NULL);
}

static void stream_data_message(weir_rpc_call *call, const Streams__V1__StreamDataRequest *request,
                                void *user)
{
    stream_data *d = weir_rpc_call_state(call);
    size_t bytes = request->payload_bytes != 0 ? request->payload_bytes : PAYLOAD_BYTES;
    if (bytes > PAYLOAD_BYTES_MAX) {
        (void)weir_rpc_finish(call, WEIR_RPC_INVALID_ARGUMENT, "payload_bytes: 1 MiB at most");
        return;
    }
    streams__v1__data__init(&d->data);
    d->count = request->count;
    d->data.payload.data = weir_arena_take(weir_rpc_call_arena(call), bytes);
    if (d->data.payload.data == NULL) {
        (void)weir_rpc_finish(call, WEIR_RPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    memset(d->data.payload.data, 'x', bytes);
    d->data.payload.len = bytes;
    stream_data_go_on(call, user);
}

/* ---- Collect: counts ---- */

static void collect_begin(weir_rpc_call *call, void *user)
{
    Streams__V1__CollectResponse *total = weir_rpc_call_state(call);
    (void)user;
    streams__v1__collect_response__init(total);
    weir_rpc_request(call, AHEAD);
}

static void collect_message(weir_rpc_call *call, const Streams__V1__Data *message, void *user)
{
    Streams__V1__CollectResponse *total = weir_rpc_call_state(call);
    (void)user;
    total->messages++;
    total->bytes += message->payload.len;
    weir_rpc_request(call, 1);
}

static void collect_end(weir_rpc_call *call, void *user)
{
    (void)user;
    (void)streams_v1_streams_collect_reply(call, weir_rpc_call_state(call));
}

/* ---- Echo: asks for a message when there is room to send it back ---- */

static void echo_ask(weir_rpc_call *call, void *user)
{
    (void)user;
    weir_rpc_request(call, 1);
}

static void echo_message(weir_rpc_call *call, const Streams__V1__Data *message, void *user)
{
    weir_status status = streams_v1_streams_echo_send(call, message);
    if (status != WEIR_OK && status != WEIR_ECLOSED)
        (void)weir_rpc_finish(call, weir_rpc_code_of(status), weir_status_text(status));
    else if (weir_rpc_room(call) > 0)
        echo_ask(call, user);
}

static void echo_end(weir_rpc_call *call, void *user)
{
    (void)user;
    (void)weir_rpc_finish(call, WEIR_RPC_OK, NULL);
}

void calls_serve(streams_v1_streams_server *server)
{
    server->process.state_size = sizeof(process);
    server->process.begin = process_begin;
    server->process.message = process_message;
    server->process.over = process_over;
    server->stream_data.state_size = sizeof(stream_data);
    server->stream_data.message = stream_data_message;
    server->stream_data.room = stream_data_go_on;
    server->collect.state_size = sizeof(Streams__V1__CollectResponse);
    server->collect.begin = collect_begin;
    server->collect.message = collect_message;
    server->collect.end = collect_end;
    server->echo.message = echo_message;
    server->echo.room = echo_ask; /* at the beginning, too */
    server->echo.end = echo_end;
    server->compose.output_plus_1 = 1 + OUTPUT_COMPOSE;
}

/* ---- Bombs, for tests ---- */

typedef struct level {
    const Test__V1__Tree *node;
    size_t next;
} level;

static void measure_message(weir_rpc_call *call, const Test__V1__Tree *tree, void *user)
{
    enum { DEPTH_MAX = 128 }; /* what is unpacked is never so deep */
    level path[DEPTH_MAX] = { { tree, 0 } };
    Test__V1__Size size = TEST__V1__SIZE__INIT;
    uint32_t depth = 1;
    (void)user;
    size.nodes = size.depth = 1;
    while (depth > 0) {
        level *here = &path[depth - 1];
        if (here->next == here->node->n_children || depth == DEPTH_MAX) {
            depth--;
            continue;
        }
        path[depth++] = (level){ here->node->children[here->next++], 0 };
        size.nodes++;
        size.depth = depth > size.depth ? depth : size.depth;
    }
    (void)test_v1_bombs_measure_reply(call, &size);
}

void bombs_serve(test_v1_bombs_server *server)
{
    server->measure.message = measure_message;
}
