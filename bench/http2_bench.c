/* What HTTP/2 costs without sockets: a client and a server session in memory, and for the server's
 * part a bare nghttp2 server that is given the same bytes. */
#include "rig.h"

#include <malloc.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <weir/http_session.h>

enum { IN_FLIGHT = 64, BATCHES = 1500, ROUNDS = 7, IDLE = 200, STREAM_BYTES = 64 << 20 };

static size_t live_bytes, taken;

static void *counting(void *memory, size_t bytes, void *user)
{
    (void)user;
    live_bytes -= malloc_usable_size(memory);
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    taken++;
    void *at = realloc(memory, bytes);
    live_bytes += malloc_usable_size(at);
    return at;
}

static const weir_env env = { .allocator = { .resize = counting } };

#define SPAN(text)             \
    {                          \
        text, sizeof(text) - 1 \
    }
static const char message[105] = { 0, 0, 0, 0, 100 };

static void must(weir_status status)
{
    if (status == WEIR_OK)
        return;
    fprintf(stderr, "http2_bench: %s\n", weir_status_text(status));
    abort();
}

/* ---- Events ---- */

static uint64_t answered, streamed;

static void write_message(weir_http_exchange *exchange)
{
    weir_bytes *body = weir_http_exchange_body(exchange, sizeof message);
    if (body == NULL)
        abort();
    memcpy(body->at + body->len, message, sizeof message);
    body->len += sizeof message;
    weir_http_exchange_written(exchange);
}

static void server_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    (void)exchange, (void)head, (void)user;
}

static void count_body(weir_http_exchange *exchange, const char *bytes, size_t n, void *user)
{
    (void)bytes, (void)user;
    streamed += n;
    weir_http_exchange_consume(exchange, n);
}

static void server_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n,
                       void *user)
{
    static const weir_http1_field type = { SPAN("content-type"), SPAN("application/grpc") };
    static const weir_http1_field status = { SPAN("grpc-status"), SPAN("0") };
    (void)trailers, (void)n, (void)user;
    must(weir_http_exchange_respond(exchange, &(weir_http_head){ .status = 200,
                                                                 .fields = &type,
                                                                 .field_count = 1,
                                                                 .content_length = UINT64_MAX }));
    write_message(exchange);
    must(weir_http_exchange_end(exchange, &status, 1));
}

static void client_over(weir_http_exchange *exchange, weir_status status, uint32_t code, void *user)
{
    (void)exchange, (void)code, (void)user;
    must(status);
    answered++;
}

static const weir_http_events server_events = { server_head, count_body, server_end,
                                                NULL,        NULL,       NULL };
static const weir_http_events client_events = { server_head, count_body,  NULL,
                                                NULL,        client_over, NULL };

static weir_http_session *session_new(bool is_client, weir_http_pool *pool)
{
    const weir_http_session_config config = { .version = WEIR_HTTP_2,
                                              .is_client = is_client,
                                              .env = &env,
                                              .pool = pool,
                                              .events = is_client ? &client_events : &server_events,
                                              .send_bytes_max = 1 << 20 };
    weir_http_session *session;
    must(weir_http_session_new(&config, now_ns(), &session));
    return session;
}

static void feed(weir_http_session *session, const weir_bytes *bytes)
{
    size_t consumed;
    must(weir_http_session_feed(session, bytes->at, bytes->len, 1, &consumed));
}

static void take(weir_http_session *session, weir_bytes *out)
{
    out->len = 0;
    while (weir_http_session_wants_output(session)) {
        size_t before = out->len;
        must(weir_http_session_output(session, out, SIZE_MAX, 1));
        if (out->len == before)
            break;
    }
}

static weir_http_exchange *open_request(weir_http_session *client)
{
    static const weir_http1_field fields[] = {
        { SPAN("content-type"), SPAN("application/grpc") },
        { SPAN("te"), SPAN("trailers") },
        { SPAN("user-agent"), SPAN("weir-bench/1.0") },
    };
    static const weir_http_head head = { .method = SPAN("POST"),
                                         .path = SPAN("/bench.Service/Unary"),
                                         .authority = SPAN("localhost:50051"),
                                         .scheme = SPAN("http"),
                                         .fields = fields,
                                         .field_count = 3,
                                         .content_length = UINT64_MAX };
    weir_http_exchange *exchange;
    must(weir_http_session_open(client, &head, NULL, &exchange));
    return exchange;
}

static void ask(weir_http_session *client, int n)
{
    for (int i = 0; i < n; i++) {
        weir_http_exchange *exchange = open_request(client);
        write_message(exchange);
        must(weir_http_exchange_end(exchange, NULL, 0));
    }
}

/* ---- A bare server ---- */

typedef struct bare_stream {
    size_t sent;
} bare_stream;

static int bare_begin(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    (void)user;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST)
        nghttp2_session_set_stream_user_data(ng, frame->hd.stream_id,
                                             calloc(1, sizeof(bare_stream)));
    return 0;
}

static int bare_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                       void *user)
{
    (void)ng, (void)frame, (void)name, (void)value, (void)flags, (void)user;
    streamed += name_len + value_len;
    return 0;
}

static int bare_chunk(nghttp2_session *ng, uint8_t flags, int32_t stream, const uint8_t *bytes,
                      size_t n, void *user)
{
    (void)ng, (void)flags, (void)stream, (void)bytes, (void)user;
    streamed += n;
    return 0;
}

static nghttp2_nv nv(const char *name, const char *value)
{
    return (nghttp2_nv){ (uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                         strlen(value),
                         NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE };
}

static ssize_t bare_read(nghttp2_session *ng, int32_t stream, uint8_t *bytes, size_t n,
                         uint32_t *flags, nghttp2_data_source *source, void *user)
{
    const nghttp2_nv trailer = nv("grpc-status", "0");
    (void)source, (void)user;
    if (n < sizeof message)
        abort();
    memcpy(bytes, message, sizeof message);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    nghttp2_submit_trailer(ng, stream, &trailer, 1);
    return sizeof message;
}

static int bare_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    const nghttp2_nv head[] = { nv(":status", "200"), nv("content-type", "application/grpc") };
    const nghttp2_data_provider data = { .read_callback = bare_read };
    (void)user;
    if (frame->hd.type == NGHTTP2_DATA && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
        nghttp2_submit_response(ng, frame->hd.stream_id, head, 2, &data);
    return 0;
}

static int bare_close(nghttp2_session *ng, int32_t stream, uint32_t code, void *user)
{
    (void)code, (void)user;
    free(nghttp2_session_get_stream_user_data(ng, stream));
    return 0;
}

static nghttp2_session *bare_new(void)
{
    nghttp2_session_callbacks *c;
    nghttp2_session *ng;
    nghttp2_session_callbacks_new(&c);
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, bare_begin);
    nghttp2_session_callbacks_set_on_header_callback(c, bare_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, bare_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, bare_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, bare_close);
    nghttp2_session_server_new(&ng, c, NULL);
    nghttp2_session_callbacks_del(c);
    nghttp2_submit_settings(ng, NGHTTP2_FLAG_NONE, NULL, 0);
    return ng;
}

static void bare_serve(nghttp2_session *ng, const weir_bytes *in, weir_bytes *out)
{
    const uint8_t *bytes;
    ssize_t n;
    if (nghttp2_session_mem_recv(ng, (const uint8_t *)in->at, in->len) != (ssize_t)in->len)
        abort();
    out->len = 0;
    while ((n = nghttp2_session_mem_send(ng, &bytes)) > 0)
        must(weir_bytes_append(out, bytes, (size_t)n));
}

/* ---- Rows ---- */

typedef struct unary {
    double client_ns, server_ns, client_taken, server_taken;
} unary;

static unary unary_round(nghttp2_session *bare)
{
    weir_http_pool *pool = weir_http_pool_new(&env, 0);
    weir_http_session *client = session_new(true, pool), *server = session_new(false, pool);
    weir_bytes up = { 0 }, down = { 0 };
    uint64_t client_ns = 0, server_ns = 0, client_taken = 0, server_taken = 0;
    answered = 0;
    for (int batch = -20; batch < BATCHES; batch++) {
        uint64_t t0 = now_ns(), a0 = taken;
        ask(client, IN_FLIGHT);
        take(client, &up);
        uint64_t t1 = now_ns(), a1 = taken;
        if (bare != NULL) {
            bare_serve(bare, &up, &down);
        } else {
            feed(server, &up);
            take(server, &down);
        }
        uint64_t t2 = now_ns(), a2 = taken;
        feed(client, &down);
        if (batch < 0)
            continue;
        client_ns += t1 - t0 + (now_ns() - t2);
        server_ns += t2 - t1;
        client_taken += a1 - a0 + (taken - a2);
        server_taken += a2 - a1;
    }
    if (answered != (uint64_t)(BATCHES + 20) * IN_FLIGHT)
        abort();
    weir_http_session_free(client);
    weir_http_session_free(server);
    weir_http_pool_free(pool);
    weir_bytes_done(&up);
    weir_bytes_done(&down);
    double n = (double)BATCHES * IN_FLIGHT;
    return (unary){ (double)client_ns / n, (double)server_ns / n, (double)client_taken / n,
                    (double)server_taken / n };
}

/* One stream of messages from the client; ns for each, both sides. */
static void stream_round(double *ret_client_ns, double *ret_server_ns)
{
    weir_http_session *client = session_new(true, NULL), *server = session_new(false, NULL);
    weir_bytes up = { 0 }, down = { 0 };
    uint64_t client_ns = 0, server_ns = 0;
    weir_http_exchange *exchange = open_request(client);
    streamed = 0;
    while (streamed < STREAM_BYTES) {
        uint64_t t0 = now_ns();
        while (weir_http_exchange_room(exchange) > sizeof message)
            write_message(exchange);
        take(client, &up);
        uint64_t t1 = now_ns();
        feed(server, &up);
        take(server, &down);
        uint64_t t2 = now_ns();
        feed(client, &down);
        client_ns += t1 - t0 + (now_ns() - t2);
        server_ns += t2 - t1;
    }
    double n = (double)(streamed / sizeof message);
    *ret_client_ns = (double)client_ns / n;
    *ret_server_ns = (double)server_ns / n;
    weir_http_session_free(client);
    weir_http_session_free(server);
    weir_bytes_done(&up);
    weir_bytes_done(&down);
}

/* Bytes of the heap for a server's connection at rest that has answered. */
static double idle_bytes(void)
{
    weir_http_pool *pool = weir_http_pool_new(&env, 1), *clients = weir_http_pool_new(&env, 1);
    weir_http_session *server[IDLE];
    weir_bytes up = { 0 }, down = { 0 };
    size_t before = live_bytes;
    for (int i = 0; i < IDLE; i++) {
        weir_http_session *client = session_new(true, clients);
        server[i] = session_new(false, pool);
        ask(client, 2);
        for (int turn = 0; turn < 3; turn++) {
            take(client, &up);
            feed(server[i], &up);
            take(server[i], &down);
            feed(client, &down);
        }
        weir_http_session_free(client);
    }
    double each = (double)(live_bytes - before) / IDLE;
    for (int i = 0; i < IDLE; i++)
        weir_http_session_free(server[i]);
    weir_http_pool_free(pool);
    weir_http_pool_free(clients);
    weir_bytes_done(&up);
    weir_bytes_done(&down);
    return each;
}

int main(void)
{
    double server[ROUNDS], client[ROUNDS], bare[ROUNDS], sent[ROUNDS], received[ROUNDS];
    unary last = { 0, 0, 0, 0 };
    for (int i = 0; i < ROUNDS; i++) {
        nghttp2_session *ng = bare_new();
        bare[i] = unary_round(ng).server_ns;
        nghttp2_session_del(ng);
        last = unary_round(NULL);
        server[i] = last.server_ns;
        client[i] = last.client_ns;
        stream_round(&sent[i], &received[i]);
    }
    printf("HTTP/2 in memory, %d calls in flight, messages of %zu bytes; medians of %d rounds\n",
           IN_FLIGHT, sizeof message, ROUNDS);
    printf("unary, bare nghttp2 server  %8.0f ns\n", median(bare, ROUNDS));
    printf("unary, server               %8.0f ns  %.3f allocations\n", median(server, ROUNDS),
           last.server_taken);
    printf("unary, client               %8.0f ns  %.3f allocations\n", median(client, ROUNDS),
           last.client_taken);
    printf("streamed message, sender    %8.1f ns\n", median(sent, ROUNDS));
    printf("streamed message, receiver  %8.1f ns\n", median(received, ROUNDS));
    printf("idle server connection      %8.0f bytes\n", idle_bytes());
    return 0;
}
