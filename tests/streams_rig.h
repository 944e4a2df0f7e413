/* The streams service as a process of its own, and callers of it on a loop of the test's. */
#ifndef STREAMS_RIG_H
#define STREAMS_RIG_H

#include "effort.h"
#include "servers.h"

#include <weir/rpc_client.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "orders/v1/orders.weir.h"
#include "streams/v1/streams.weir.h"

enum { PATIENCE_MS = 30000, ARGS_MAX = 32, METRICS_BYTES = 1 << 20, LONG_MS = 600000 };

typedef struct streams {
    char dir[SERVER_PATH_MAX];
    char log[SERVER_PATH_MAX + 16], db[SERVER_PATH_MAX + 16];
    pid_t pid;
    uint16_t port, admin;
    weir_loop *loop;
    weir_rpc_channel *channel;
    weir_timer patience;
    bool is_late;
} streams;

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

/* ---- The service ---- */

static inline void streams_spawn(streams *s, const char *const *args)
{
    char *argv[ARGS_MAX] = { STREAMS_BIN, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0",
                             "--loops",   "1" };
    size_t n = 7;
    for (; args != NULL && *args != NULL && n < ARGS_MAX - 1; args++)
        argv[n++] = (char *)(uintptr_t)*args;
    unlink(s->log);
    s->pid = server_spawn(argv, NULL, s->log);
    assert_true(s->pid > 0);
}

/* "listening on HOST:PORT, admin on HOST:PORT" */
static inline bool streams_read_ports(streams *s, const char *log)
{
    unsigned port = 0, admin = 0;
    const char *line = strstr(log, "listening on "), *end = line ? strchr(line, '\n') : NULL;
    const char *second = line != NULL ? strstr(line, ", admin on ") : NULL;
    if (end == NULL)
        return false;
    for (const char *at = line; at < (second != NULL ? second : end); at++)
        if (*at == ':')
            port = (unsigned)strtoul(at + 1, NULL, 10);
    for (const char *at = second; at != NULL && at < end; at++)
        if (*at == ':')
            admin = (unsigned)strtoul(at + 1, NULL, 10);
    s->port = (uint16_t)port;
    s->admin = (uint16_t)admin;
    return port != 0;
}

static inline void streams_wait(streams *s)
{
    char log[4096];
    for (uint64_t end = server_now_ms() + PATIENCE_MS; server_now_ms() < end; server_nap()) {
        server_read_text(s->log, log, sizeof log);
        if (streams_read_ports(s, log))
            return;
        if (!server_is_running(s->pid)) {
            s->pid = 0;
            break;
        }
    }
    fail_msg("the service does not listen: %s", log);
}

static inline void streams_new(streams *s)
{
    memset(s, 0, sizeof *s);
    assert_true(server_dir_new(s->dir));
    snprintf(s->log, sizeof s->log, "%s/log", s->dir);
    snprintf(s->db, sizeof s->db, "%s/orders.db", s->dir);
    s->loop = weir_loop_new(NULL);
    assert_non_null(s->loop);
}

static inline weir_rpc_channel *streams_connect(streams *s, weir_rpc_channel_config config)
{
    char target[64];
    const char *why = "";
    weir_rpc_channel *channel = NULL;
    snprintf(target, sizeof target, "%s://127.0.0.1:%u",
             config.tls_ca_file != NULL ? "https" : "http", s->port);
    if (config.target == NULL)
        config.target = target;
    if (weir_rpc_channel_new(s->loop, &config, &channel, &why) != WEIR_OK)
        fail_msg("no channel: %s", why);
    return channel;
}

/* With its store in its directory: `args` come behind and win. */
static inline void streams_start(streams *s, const char *const *args)
{
    streams_new(s);
    streams_spawn(s, args);
    streams_wait(s);
    s->channel = streams_connect(s, (weir_rpc_channel_config){ .target = NULL });
}

static inline void streams_hang_up(streams *s)
{
    weir_rpc_channel_free(s->channel);
    s->channel = NULL;
    for (int i = 0; i < 10; i++)
        (void)weir_loop_turn(s->loop);
}

static inline void assert_exits(streams *s, int code)
{
    char log[8192];
    int got = server_wait_exit(s->pid, PATIENCE_MS);
    s->pid = 0;
    server_read_text(s->log, log, sizeof log);
    if (got != code)
        fail_msg("the service ended with %d: %s", got, log);
}

/* Ends it: in order, and with nothing left. */
static inline void streams_stop(streams *s)
{
    streams_hang_up(s);
    kill(s->pid, SIGTERM);
    assert_exits(s, 0);
    weir_loop_free(s->loop);
    server_dir_remove(s->dir);
}

static inline void streams_discard(streams *s)
{
    streams_hang_up(s);
    if (s->pid > 0)
        server_kill(s->pid, SIGKILL);
    weir_loop_free(s->loop);
    server_dir_remove(s->dir);
}

/* What memory may grow by, in kilobytes; sanitizers keep what was freed. */
#if IS_SANITIZED
#define GROWTH_KB(kb) (8 * (kb))
#else
#define GROWTH_KB(kb) (kb)
#endif

/* Kilobytes of memory that it has. */
static inline long streams_rss(const streams *s)
{
    char path[64], text[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
    server_read_text(path, text, sizeof text);
    const char *line = strstr(text, "VmRSS:");
    assert_non_null(line);
    return strtol(line + 6, NULL, 10);
}

/* ---- Waiting ---- */

static inline void streams_is_late(weir_timer *timer, void *user)
{
    streams *s = user;
    (void)timer;
    s->is_late = true;
    weir_loop_stop(s->loop);
}

/* Whatever a caller is told ends the run of the loop, and the condition is looked at. */
#define RUN_UNTIL(s, condition)                                                                  \
    do {                                                                                         \
        weir_loop_update_now((s)->loop);                                                         \
        weir_timer_start((s)->loop, &(s)->patience, PATIENCE_MS *WEIR_MS, streams_is_late, (s)); \
        while (!(condition) && !(s)->is_late)                                                    \
            assert_int_equal(weir_loop_run((s)->loop), WEIR_OK);                                 \
        weir_timer_stop((s)->loop, &(s)->patience);                                              \
        if ((s)->is_late)                                                                        \
            fail_msg("%s:%d: waited in vain for %s", __FILE__, __LINE__, #condition);            \
    } while (0)

/* ---- What the service says of itself ---- */

static inline char *streams_metrics(const streams *s)
{
    static const char request[] = "GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n";
    char *text = malloc(METRICS_BYTES);
    size_t n = 0;
    assert_non_null(text);
    int fd = server_dial(s->admin, PATIENCE_MS / 1000);
    assert_true(fd >= 0);
    server_send_all(fd, request, sizeof request - 1);
    for (ssize_t got;
         n < METRICS_BYTES - 1 && (got = recv(fd, text + n, METRICS_BYTES - 1 - n, 0)) > 0;)
        n += (size_t)got;
    text[n] = '\0';
    close(fd);
    return text;
}

/* Of a method; `label`, as code="OK", or "". */
static inline double streams_metric(const streams *s, const char *family, const char *method,
                                    const char *label)
{
    char *text = streams_metrics(s), name[128];
    double value = -1;
    snprintf(name, sizeof name, "\nweir_rpc_server_%s{", family);
    for (char *at = strstr(text, name); at != NULL && value < 0; at = strstr(at + 1, name)) {
        char *end = strchr(at + 1, '\n');
        if (end == NULL)
            break;
        *end = '\0';
        if (strstr(at + 1, method) != NULL && strstr(at + 1, label) != NULL)
            value = strtod(strrchr(at + 1, ' '), NULL);
        *end = '\n';
    }
    free(text);
    if (value < 0)
        fail_msg("no metric %s of %s with %s", family, method, label);
    return value;
}

static inline void await_metric(const streams *s, const char *family, const char *method,
                                const char *label, double wanted)
{
    double got = -1;
    for (uint64_t end = server_now_ms() + PATIENCE_MS; server_now_ms() < end; server_nap())
        if ((got = streams_metric(s, family, method, label)) == wanted)
            return;
    fail_msg("%s of %s with %s: %g instead of %g", family, method, label, got, wanted);
}

static inline void await_in_flight(const streams *s, const char *method, double wanted)
{
    await_metric(s, "calls_in_flight", method, "", wanted);
}

static inline void await_completed(const streams *s, const char *method, const char *code,
                                   double wanted)
{
    char label[64];
    snprintf(label, sizeof label, "code=\"%s\"", code);
    await_metric(s, "calls_completed_total", method, label, wanted);
}

/* ---- Callers ---- */

/* Zero it; `asks`: for a message whenever one has come, and at first for as many. */
typedef struct caller {
    streams *s;
    weir_rpc_call *call;             /* NULL: over */
    uint64_t asks, to_send, payload; /* to_send: of a stream, and then its end */
    bool stays;                      /* sends no end */
    uint64_t sent, messages, bytes;
    int begins, overs;
    weir_rpc_code code;
    char text[256], other[256], error[256];
    double total;
} caller;

static inline void caller_begin(weir_rpc_call *call, void *user)
{
    caller *c = user;
    c->begins++;
    weir_rpc_request(call, c->asks);
    weir_loop_stop(c->s->loop);
}

static inline void caller_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    caller *c = user;
    weir_http1_span text = weir_rpc_call_error(call)->text;
    c->overs++;
    c->code = code;
    c->call = NULL;
    snprintf(c->error, sizeof c->error, "%.*s", (int)text.len, text.at != NULL ? text.at : "");
    weir_loop_stop(c->s->loop);
}

static inline void caller_heard(weir_rpc_call *call, caller *c)
{
    c->messages++;
    if (c->asks != 0)
        weir_rpc_request(call, 1);
    weir_loop_stop(c->s->loop);
}

static inline void caller_processed(weir_rpc_call *call,
                                    const Streams__V1__ProcessResponse *response, void *user)
{
    caller *c = user;
    c->bytes = strlen(response->text);
    snprintf(c->text, sizeof c->text, "%s", response->text);
    caller_heard(call, c);
}

static inline void caller_data(weir_rpc_call *call, const Streams__V1__Data *data, void *user)
{
    caller *c = user;
    assert_int_equal(data->sequence, c->messages);
    c->bytes += data->payload.len;
    caller_heard(call, c);
}

static inline void caller_collected(weir_rpc_call *call,
                                    const Streams__V1__CollectResponse *response, void *user)
{
    caller *c = user;
    c->messages = response->messages;
    c->bytes = response->bytes;
    (void)call;
}

static inline void caller_composed(weir_rpc_call *call,
                                   const Streams__V1__ComposeResponse *response, void *user)
{
    caller *c = user;
    snprintf(c->text, sizeof c->text, "%s", response->a);
    snprintf(c->other, sizeof c->other, "%s", response->b);
    caller_heard(call, c);
}

static inline void caller_receipt(weir_rpc_call *call, const Orders__V1__Receipt *receipt,
                                  void *user)
{
    caller *c = user;
    snprintf(c->text, sizeof c->text, "%s", receipt->id);
    snprintf(c->other, sizeof c->other, "%s", receipt->status);
    c->total = receipt->total;
    caller_heard(call, c);
}

static inline void caller_go_on(weir_rpc_call *call, void *user)
{
    static uint8_t payload[1 << 20];
    caller *c = user;
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    uint32_t noise = 1;
    for (size_t i = 0; i < sizeof payload && payload[0] == 0; i++) /* gzip makes nothing of it */
        payload[sizeof payload - 1 - i] = (uint8_t)((noise = noise * 1664525 + 1013904223) >> 24) |
                                          1;
    data.payload = (ProtobufCBinaryData){ c->payload, payload };
    while (c->sent < c->to_send) {
        data.sequence = c->sent;
        weir_status status = weir_rpc_send(call, &data.base);
        if (status == WEIR_EAGAIN || status == WEIR_ECLOSED)
            return;
        assert_int_equal(status, WEIR_OK);
        c->sent++;
    }
    if (!c->stays)
        assert_int_equal(weir_rpc_send_end(call), WEIR_OK);
    weir_loop_stop(c->s->loop);
}

static inline void start_process(caller *c, streams *s, const Streams__V1__ProcessRequest *request,
                                 const weir_rpc_options *options)
{
    static const streams_v1_streams_process_client told = { .begin = caller_begin,
                                                            .message = caller_processed,
                                                            .over = caller_over };
    c->s = s;
    assert_int_equal(streams_v1_streams_process(s->channel, options, request, &told, c, &c->call),
                     WEIR_OK);
}

static inline void start_data(caller *c, streams *s, uint64_t count, uint32_t payload_bytes)
{
    static const streams_v1_streams_stream_data_client told = { .begin = caller_begin,
                                                                .message = caller_data,
                                                                .over = caller_over };
    Streams__V1__StreamDataRequest request = STREAMS__V1__STREAM_DATA_REQUEST__INIT;
    request.count = count;
    request.payload_bytes = payload_bytes;
    c->s = s;
    assert_int_equal(streams_v1_streams_stream_data(s->channel, NULL, &request, &told, c, &c->call),
                     WEIR_OK);
}

static inline void start_collect(caller *c, streams *s)
{
    static const streams_v1_streams_collect_client told = { .begin = caller_begin,
                                                            .message = caller_collected,
                                                            .room = caller_go_on,
                                                            .over = caller_over };
    c->s = s;
    assert_int_equal(streams_v1_streams_collect(s->channel, NULL, &told, c, &c->call), WEIR_OK);
}

static inline void start_echo(caller *c, streams *s)
{
    static const streams_v1_streams_echo_client told = {
        .begin = caller_begin, .message = caller_data, .room = caller_go_on, .over = caller_over
    };
    c->s = s;
    assert_int_equal(streams_v1_streams_echo(s->channel, NULL, &told, c, &c->call), WEIR_OK);
}

static inline void start_compose(caller *c, streams *s, Streams__V1__ProcessRequest *a,
                                 Streams__V1__ProcessRequest *b, const weir_rpc_options *options)
{
    static const streams_v1_streams_compose_client told = { .message = caller_composed,
                                                            .over = caller_over };
    Streams__V1__ComposeRequest request = STREAMS__V1__COMPOSE_REQUEST__INIT;
    request.a = a;
    request.b = b;
    c->s = s;
    assert_int_equal(streams_v1_streams_compose(s->channel, options, &request, &told, c, &c->call),
                     WEIR_OK);
}

static inline void start_submit(caller *c, streams *s, const Orders__V1__Order *order)
{
    static const orders_v1_orders_submit_client told = { .message = caller_receipt,
                                                         .over = caller_over };
    c->s = s;
    assert_int_equal(orders_v1_orders_submit(s->channel, NULL, order, &told, c, &c->call), WEIR_OK);
}

static inline void start_watch(caller *c, streams *s, const char *currency)
{
    static const orders_v1_orders_watch_client told = { .begin = caller_begin,
                                                        .message = caller_receipt,
                                                        .over = caller_over };
    Orders__V1__WatchRequest request = ORDERS__V1__WATCH_REQUEST__INIT;
    request.currency = (char *)(uintptr_t)currency;
    c->s = s;
    assert_int_equal(orders_v1_orders_watch(s->channel, NULL, &request, &told, c, &c->call),
                     WEIR_OK);
}

static inline Streams__V1__ProcessRequest process_of(const char *text, uint32_t delay_ms,
                                                     weir_rpc_code fail_with)
{
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    request.text = (char *)(uintptr_t)text;
    request.delay_ms = delay_ms;
    request.fail_with = (int32_t)fail_with;
    return request;
}

static inline void expect(caller *c, weir_rpc_code code)
{
    RUN_UNTIL(c->s, c->overs > 0);
    if (c->code != code)
        fail_msg("%s instead of %s: %s", weir_rpc_code_name(c->code), weir_rpc_code_name(code),
                 c->error);
}

/* It serves, on the connection that all use. */
static inline void assert_serves(streams *s)
{
    caller c = { 0 };
    Streams__V1__ProcessRequest request = process_of("hello", 0, 0);
    start_process(&c, s, &request, NULL);
    expect(&c, WEIR_RPC_OK);
    assert_string_equal(c.text, "hello");
}

#endif
