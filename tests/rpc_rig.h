/* An RPC server on a loop that the test turns itself, and raw clients beside it: each a socket with
 * an HTTP session, and calls with the wire's client side. */
#ifndef RPC_RIG_H
#define RPC_RIG_H

#include "servers.h"

#include <weir/pipeline.h>
#include <weir/protobuf_json.h>
#include <weir/rpc_server.h>

#include "streams/v1/streams.pb-c.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000, CLIENTS_MAX = 8, SCRATCH = 1 << 16 };

/* ---- The service ---- */

enum { PROCESS, STREAM_DATA, COLLECT, ECHO, METHODS };

static const weir_rpc_method streams_methods[METHODS] = {
    { .name = "Process",
      .path = "/streams.v1.Streams/Process",
      .request = &streams__v1__process_request__descriptor,
      .response = &streams__v1__process_response__descriptor,
      .kind = WEIR_RPC_UNARY,
      .no_side_effects = true,
      .idempotent = true },
    { .name = "StreamData",
      .path = "/streams.v1.Streams/StreamData",
      .request = &streams__v1__stream_data_request__descriptor,
      .response = &streams__v1__data__descriptor,
      .kind = WEIR_RPC_SERVER_STREAM },
    { .name = "Collect",
      .path = "/streams.v1.Streams/Collect",
      .request = &streams__v1__data__descriptor,
      .response = &streams__v1__collect_response__descriptor,
      .kind = WEIR_RPC_CLIENT_STREAM },
    { .name = "Echo",
      .path = "/streams.v1.Streams/Echo",
      .request = &streams__v1__data__descriptor,
      .response = &streams__v1__data__descriptor,
      .kind = WEIR_RPC_BIDI_STREAM },
};
static const weir_rpc_service_type streams_type = { "streams.v1.Streams", streams_methods, METHODS,
                                                    NULL };

/* ---- The rig ---- */

typedef struct client client;

typedef struct rig {
    weir_loop *loop;
    weir_pipeline *pipeline;
    weir_node *server;
    weir_rpc_server_config config;
    weir_rpc_handler handlers[METHODS];
    weir_rpc_service service;
    const weir_rpc_service *services[4], *more[3]; /* more: beside the service */
    weir_stage_spec *sinks[4];                     /* of the server's outputs */
    weir_allocator allocator;                      /* zeroed: the default */
    uint64_t clock_ns;
    weir_env env;
    uint16_t port;
    int listeners;
    bool finished;
    client *clients[CLIENTS_MAX];
    int client_count, fds;
} rig;

typedef struct answer {
    uint64_t messages;
    char *last; /* the last message, as it was packed */
    size_t last_bytes;
    bool headed, ended, over;
    weir_status status; /* of the exchange */
    int http_status;
    weir_rpc_code code;
    char text[256];
} answer;

/* A call of a raw client. */
typedef struct rcall {
    client *client;
    const weir_rpc_method *method;
    weir_http_exchange *exchange;
    weir_rpc_wire wire;
    weir_arena arena;
    weir_bytes body; /* Connect's one message */
    bool stingy;     /* consumes nothing */
    bool sent_all;
    uint64_t unconsumed;
    answer got;
    const weir_http1_field *metadata;
    size_t metadata_count;
} rcall;

struct client {
    rig *rig;
    int fd;
    weir_http_session *session;
    bool connected, over;
    weir_bytes out, rest; /* to be sent; read, and not fed */
    size_t sent, rest_at;
};

static inline void rig_listening(uint16_t port, void *user)
{
    rig *r = user;
    r->port = port;
    r->listeners++;
}

static inline void rig_finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    (void)pipeline;
    (void)status;
    ((rig *)user)->finished = true;
}

static inline uint64_t rig_now(void *user)
{
    return *(const uint64_t *)user;
}

/* libevent's allocations on the hook that the rig's allocator is; before anything else in main. */
static void *(*rig_resize)(void *memory, size_t bytes, void *user);

static inline void *rig_event_realloc(void *memory, size_t bytes)
{
    return rig_resize(memory, bytes != 0 ? bytes : 1, NULL);
}

static inline void *rig_event_malloc(size_t bytes)
{
    return rig_event_realloc(NULL, bytes);
}

static inline void rig_event_free(void *memory)
{
    (void)rig_resize(memory, 0, NULL);
}

static inline void rig_hook_libevent(void *(*resize)(void *, size_t, void *))
{
    rig_resize = resize;
    event_set_mem_functions(rig_event_malloc, rig_event_realloc, rig_event_free);
}

static inline weir_status rig_try_start(rig *r)
{
    r->fds = server_count_fds();
    r->config.listen = "127.0.0.1:0";
    r->config.listening = rig_listening;
    r->config.user = r;
    r->service = (weir_rpc_service){ &streams_type, r->handlers, r };
    r->services[0] = &r->service;
    r->config.services = r->services;
    r->config.service_count = 1;
    for (int i = 0; i < 3 && r->more[i] != NULL; i++)
        r->services[r->config.service_count++] = r->more[i];
    r->clock_ns = WEIR_SEC;
    r->env = (weir_env){ .allocator = r->allocator, .now_ns = rig_now, .user = &r->clock_ns };
    r->loop = weir_loop_new(&(weir_loop_config){ .env = &r->env });
    if (r->loop == NULL)
        return WEIR_ENOMEM;
    r->pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &r->env });
    r->server = weir_add(r->pipeline, weir_rpc_server(&r->config));
    if (r->pipeline == NULL)
        return WEIR_ENOMEM;
    for (uint32_t i = 0; i < 4 && r->sinks[i] != NULL; i++)
        weir_link(r->server, i, weir_add(r->pipeline, r->sinks[i]), 0, NULL);
    return weir_pipeline_start(r->pipeline, &r->loop, 1, rig_finished, r);
}

static inline void rig_start(rig *r)
{
    if (rig_try_start(r) != WEIR_OK)
        fail_msg("%s", weir_pipeline_why(r->pipeline));
    for (int i = 0; i < 100 && r->listeners == 0; i++)
        weir_loop_turn(r->loop);
    assert_int_equal(r->listeners, 1);
}

/* ---- Raw clients ---- */

static inline void client_gone(client *c)
{
    if (c->over)
        return;
    c->over = true;
    weir_http_session_eof(c->session, WEIR_ECLOSED);
    close(c->fd);
}

static inline void client_write(client *c)
{
    c->out.len = 0;
    c->sent = 0;
    while (!c->over && weir_http_session_wants_output(c->session) && c->out.len < SCRATCH)
        if (weir_http_session_output(c->session, &c->out, SCRATCH, c->rig->clock_ns) != WEIR_OK)
            break;
    uint64_t until = server_now_ms() + PATIENCE_MS;
    while (!c->over && c->sent < c->out.len) {
        ssize_t n = send(c->fd, c->out.at + c->sent, c->out.len - c->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0)
            c->sent += (size_t)n;
        else if (errno == EAGAIN && c->rig->loop != NULL)
            weir_loop_turn(c->rig->loop);
        else if (errno == EAGAIN)
            sched_yield();
        else
            client_gone(c);
        assert_true(server_now_ms() < until);
    }
}

/* HTTP/1 keeps what nobody has consumed for later. */
static inline void client_feed(client *c)
{
    while (!c->over && c->rest_at < c->rest.len && weir_http_session_wants_input(c->session)) {
        size_t used = 0;
        if (weir_http_session_feed(c->session, c->rest.at + c->rest_at, c->rest.len - c->rest_at,
                                   c->rig->clock_ns, &used) != WEIR_OK)
            client_gone(c);
        c->rest_at += used;
        if (used == 0)
            return;
    }
}

static inline void client_read(client *c)
{
    client_feed(c);
    if (c->over || c->rest_at < c->rest.len || !weir_http_session_wants_input(c->session))
        return;
    c->rest_at = c->rest.len = 0;
    assert_int_equal(weir_bytes_reserve(&c->rest, SCRATCH), WEIR_OK);
    ssize_t n = recv(c->fd, c->rest.at, SCRATCH, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN)
        return;
    if (n <= 0) {
        client_gone(c);
        return;
    }
    c->rest.len = (size_t)n;
    client_feed(c);
}

static inline void turn(rig *r)
{
    bool any = r->loop != NULL && weir_loop_turn(r->loop); /* NULL: it runs on its own */
    for (int i = 0; i < r->client_count; i++) {
        client_write(r->clients[i]);
        client_read(r->clients[i]);
        client_write(r->clients[i]);
    }
    if (!any)
        sched_yield();
}

#include "turns.h"

/* ---- Their calls ---- */

static inline void keep_message(rcall *k, weir_http1_span message)
{
    k->got.messages++;
    k->got.last = realloc(k->got.last, message.len + 1);
    if (message.len > 0)
        memcpy(k->got.last, message.at, message.len);
    k->got.last_bytes = message.len;
}

static inline void take_status(rcall *k)
{
    const weir_rpc_error *error = weir_rpc_wire_error(&k->wire);
    k->got.ended = true;
    k->got.code = error->code;
    snprintf(k->got.text, sizeof k->got.text, "%.*s", (int)error->text.len, error->text.at);
}

static inline void on_finish(rcall *k, const weir_http1_field *trailers, size_t n)
{
    weir_http1_span message;
    if (weir_rpc_wire_feed_end(&k->wire, trailers, n, &k->arena, &message) == WEIR_OK)
        keep_message(k, message);
    take_status(k);
}

/* The response is complete: what is left of the request is not wanted any more. */
static inline void drop_request(const rcall *k, weir_http_exchange *exchange)
{
    bool is_2 = weir_http_session_version(weir_http_exchange_session(exchange)) == WEIR_HTTP_2;
    if (is_2 && !k->sent_all)
        weir_http_exchange_reset(exchange, WEIR_OK, 0);
}

static inline void rig_on_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    rcall *k = user;
    k->got.headed = true;
    k->got.http_status = (int)head->status;
    if (weir_rpc_wire_response(&k->wire, head, &k->arena, &k->metadata, &k->metadata_count) !=
        WEIR_OK)
        take_status(k);
    else if (head->ends)
        on_finish(k, NULL, 0);
    if (head->ends)
        drop_request(k, exchange);
}

static inline void rig_on_body(weir_http_exchange *exchange, const char *bytes, size_t n,
                               void *user)
{
    rcall *k = user;
    size_t at = 0, used;
    weir_http1_span message;
    if (k->stingy)
        k->unconsumed += n;
    else
        weir_http_exchange_consume(exchange, n);
    while (at < n && !k->got.ended) {
        weir_status status = weir_rpc_wire_feed(&k->wire, bytes + at, n - at, &used, &message);
        at += used;
        if (status == WEIR_OK)
            keep_message(k, message);
        else if (status != WEIR_EPARTIAL)
            take_status(k);
    }
}

static inline void rig_on_end(weir_http_exchange *exchange, const weir_http1_field *trailers,
                              size_t n, void *user)
{
    rcall *k = user;
    if (!k->got.ended)
        on_finish(k, trailers, n);
    drop_request(k, exchange);
}

static inline void rig_on_over(weir_http_exchange *exchange, weir_status status, uint32_t h2_code,
                               void *user)
{
    rcall *k = user;
    (void)exchange;
    if (!k->got.ended) {
        weir_rpc_wire_broken(&k->wire, status, h2_code);
        take_status(k);
    }
    k->got.over = true;
    k->got.status = status;
    k->exchange = NULL;
}

static inline client *client_new(rig *r, weir_http_version version)
{
    static const weir_http_events events = { rig_on_head, rig_on_body, rig_on_end,
                                             NULL,        rig_on_over, NULL };
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(r->port) };
    client *c = calloc(1, sizeof *c);
    c->rig = r;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(c->fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), 0);
    assert_int_equal(setsockopt(c->fd, SOL_SOCKET, SO_RCVBUF, &(int){ 65536 }, sizeof(int)), 0);
    assert_int_equal(weir_http_session_new(
                         &(weir_http_session_config){
                             .version = version, .is_client = true, .events = &events, .user = c },
                         r->clock_ns, &c->session),
                     WEIR_OK);
    assert_true(r->client_count < CLIENTS_MAX);
    r->clients[r->client_count++] = c;
    return c;
}

static inline void client_close(client *c)
{
    if (c == NULL)
        return;
    rig *r = c->rig;
    client_gone(c);
    weir_http_session_free(c->session);
    weir_bytes_done(&c->out);
    weir_bytes_done(&c->rest);
    for (int i = 0; i < r->client_count; i++)
        if (r->clients[i] == c)
            r->clients[i] = r->clients[--r->client_count];
    free(c);
}

/* A call that is not on its way yet, and the head that it would have. */
static inline rcall *call_new(client *c, const weir_rpc_method *method,
                              const weir_rpc_wire_options *options, weir_http_head *ret_head)
{
    rcall *k = calloc(1, sizeof *k);
    k->client = c;
    k->method = method;
    weir_arena_init(&k->arena, NULL, NULL, 0, 0);
    assert_int_equal(
        weir_rpc_wire_call(&k->wire, NULL, NULL, NULL, k->method, options, &k->arena, ret_head),
        WEIR_OK);
    return k;
}

static inline void call_open(rcall *k, const weir_http_head *head)
{
    TURN_UNTIL(k->client->rig, weir_http_session_openable(k->client->session) > 0);
    assert_int_equal(weir_http_session_open(k->client->session, head, k, &k->exchange), WEIR_OK);
}

/* Begins a call; `options` without scheme and authority; NULL: gRPC. */
static inline rcall *call_start_of(client *c, const weir_rpc_method *method,
                                   const weir_rpc_wire_options *options)
{
    weir_rpc_wire_options o = { .timeout_ns = UINT64_MAX };
    weir_http_head head;
    if (options != NULL)
        o = *options;
    if (o.timeout_ns == 0)
        o.timeout_ns = UINT64_MAX;
    o.scheme = (weir_http1_span){ "http", 4 };
    o.authority = (weir_http1_span){ "test", 4 };
    rcall *k = call_new(c, method, &o, &head);
    call_open(k, &head);
    return k;
}

static inline rcall *call_start(client *c, int method, const weir_rpc_wire_options *options)
{
    return call_start_of(c, &streams_methods[method], options);
}

static inline void pack(weir_rpc_codec codec, const ProtobufCMessage *message, weir_bytes *out)
{
    if (codec == WEIR_RPC_JSON) {
        assert_int_equal(weir_protobuf_to_json(message, NULL, out, NULL), WEIR_OK);
        return;
    }
    size_t n = protobuf_c_message_get_packed_size(message);
    assert_int_equal(weir_bytes_reserve(out, n), WEIR_OK);
    protobuf_c_message_pack(message, (uint8_t *)out->at + out->len);
    out->len += n;
}

static inline void call_send(rcall *k, const ProtobufCMessage *message)
{
    size_t mark;
    if (k->exchange == NULL)
        return;
    weir_bytes *out = k->wire.is_stream ? weir_http_exchange_body(k->exchange, 64) : &k->body;
    assert_int_equal(weir_rpc_wire_message_begin(&k->wire, out, &mark), WEIR_OK);
    pack(k->wire.codec, message, out);
    assert_int_equal(weir_rpc_wire_message_end(&k->wire, out, mark), WEIR_OK);
    if (k->wire.is_stream)
        weir_http_exchange_written(k->exchange);
}

static inline void call_end(rcall *k)
{
    if (k->exchange == NULL)
        return;
    assert_int_equal(weir_rpc_wire_request_end(&k->wire, &k->body), WEIR_OK);
    if (k->body.len > 0) {
        weir_bytes *out = weir_http_exchange_body(k->exchange, k->body.len);
        assert_int_equal(weir_bytes_append(out, k->body.at, k->body.len), WEIR_OK);
        weir_http_exchange_written(k->exchange);
    }
    k->sent_all = true;
    assert_int_equal(weir_http_exchange_end(k->exchange, NULL, 0), WEIR_OK);
}

static inline void call_cancel(rcall *k)
{
    if (k->exchange != NULL)
        weir_http_exchange_reset(k->exchange, WEIR_ECANCELED, 8);
}

static inline void call_free(rcall *k)
{
    if (k->exchange != NULL) {
        call_cancel(k);
        TURN_UNTIL(k->client->rig, k->got.over);
    }
    weir_rpc_wire_done(&k->wire);
    weir_arena_done(&k->arena);
    weir_bytes_done(&k->body);
    free(k->got.last);
    free(k);
}

static inline ProtobufCMessage *last_message(rcall *k, weir_arena *arena)
{
    ProtobufCMessage *message = NULL;
    const char *why = "";
    weir_status status = k->wire.codec == WEIR_RPC_JSON
                             ? weir_protobuf_from_json(k->method->response, k->got.last,
                                                       k->got.last_bytes, NULL, arena, &message,
                                                       &why)
                             : weir_protobuf_unpack(k->method->response, k->got.last,
                                                    k->got.last_bytes, NULL, arena, &message, &why);
    if (status != WEIR_OK)
        fail_msg("%s: %.*s", why, (int)k->got.last_bytes, k->got.last);
    return message;
}

static inline void rig_shutdown(rig *r, weir_shutdown how)
{
    weir_pipeline_shutdown(r->pipeline, how, 0);
    TURN_UNTIL(r, (r->clock_ns += 10 * WEIR_MS, r->finished)); /* few turns: each may be long */
    while (r->client_count > 0)
        client_close(r->clients[0]);
    weir_pipeline_free(r->pipeline);
    weir_loop_free(r->loop);
    r->loop = NULL;
    assert_int_equal(server_count_fds(), r->fds);
}

static inline void rig_stop(rig *r)
{
    rig_shutdown(r, WEIR_DRAIN);
}

#endif
