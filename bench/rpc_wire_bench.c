/* What RPC's wire costs for each call and message: a head read, a message fed, a head and an end
 * made. No sockets, no protobuf. `rpc_wire_bench NAME ROUNDS` runs one step alone, for callgrind.
 */
#include <weir/rpc_wire.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS        9
#define CALLS         200000
#define MESSAGE_BYTES 100

#define FIELD(name, value)          \
    {                               \
        { name, sizeof name - 1 },  \
        {                           \
            value, sizeof value - 1 \
        }                           \
    }

static const weir_http1_field grpc_fields[] = { FIELD("content-type", "application/grpc"),
                                                FIELD("te", "trailers"),
                                                FIELD("user-agent", "grpc-c++/1.51.1 (linux)"),
                                                FIELD("grpc-accept-encoding", "identity"),
                                                FIELD("grpc-timeout", "999999u") };
static const weir_http1_field connect_fields[] = { FIELD("content-type", "application/proto"),
                                                   FIELD("user-agent", "connect-go/1.18"),
                                                   FIELD("connect-protocol-version", "1"),
                                                   FIELD("connect-timeout-ms", "1000") };
static const weir_rpc_method method = { .path = "/a.B/One", .kind = WEIR_RPC_UNARY };
static const weir_rpc_method stream = { .path = "/a.B/Up", .kind = WEIR_RPC_CLIENT_STREAM };

static struct {
    weir_rpc_wire wire;
    weir_arena arena;
    weir_bytes body;
    weir_rpc_gzip *gzip;
    weir_rpc_wire_request request;
    char first[4096];
    char bytes[64 * 1024], text[4096];
    size_t text_bytes, used;
} the;

static void must(weir_status status)
{
    if (status != WEIR_OK && status != WEIR_EPARTIAL)
        abort();
}

static void accept_by(const weir_http1_field *fields, size_t n, const weir_rpc_method *of)
{
    weir_http_head refusal, head = { .method = { "POST", 4 },
                                     .path = { "/a.B/One", 8 },
                                     .fields = fields,
                                     .field_count = n,
                                     .content_length = UINT64_MAX };
    must(weir_rpc_wire_accept(&the.wire, NULL, NULL, the.gzip, &head, of, &the.arena, &the.request,
                              &refusal));
}

static void accept_grpc(void)
{
    accept_by(grpc_fields, 5, &method);
    weir_arena_reset(&the.arena);
}

static void feed(void)
{
    weir_http1_span message;
    must(weir_rpc_wire_feed(&the.wire, the.bytes, MESSAGE_BYTES + 5, &the.used, &message));
}

static void respond(void)
{
    weir_http_head head;
    the.wire.marks = 0;
    must(weir_rpc_wire_respond(&the.wire, NULL, 0, &the.arena, &head));
}

static void send_message(void)
{
    size_t mark;
    must(weir_rpc_wire_message_begin(&the.wire, &the.body, &mark));
    must(weir_bytes_append(&the.body, the.bytes, MESSAGE_BYTES));
    must(weir_rpc_wire_message_end(&the.wire, &the.body, mark));
    the.body.len = 0;
}

static void finish(void)
{
    weir_rpc_wire_ending ending;
    must(weir_rpc_wire_finish(&the.wire, NULL, NULL, 0, NULL, 0, &the.arena, &the.body, &ending));
}

static void whole_call(void)
{
    weir_http1_span message;
    accept_by(grpc_fields, 5, &method);
    feed();
    must(weir_rpc_wire_feed_end(&the.wire, NULL, 0, &the.arena, &message));
    respond();
    send_message();
    finish();
    weir_arena_reset(&the.arena);
}

static void connect_call(void)
{
    weir_http1_span message;
    weir_rpc_wire_ending ending;
    accept_by(connect_fields, 4, &method);
    must(weir_rpc_wire_feed(&the.wire, the.bytes, MESSAGE_BYTES, &the.used, &message));
    must(weir_rpc_wire_feed_end(&the.wire, NULL, 0, &the.arena, &message));
    must(weir_bytes_append(&the.body, the.bytes, MESSAGE_BYTES));
    must(weir_rpc_wire_finish(&the.wire, NULL, NULL, 0, NULL, 0, &the.arena, &the.body, &ending));
    the.body.len = 0;
    weir_arena_reset(&the.arena);
}

static void ask(void)
{
    const weir_rpc_wire_options options = { .timeout_ns = 1000000000 };
    static weir_rpc_wire client;
    weir_http_head head;
    must(weir_rpc_wire_call(&client, NULL, NULL, NULL, &method, &options, &the.arena, &head));
    weir_arena_reset(&the.arena);
}

static void feed_text(void)
{
    weir_http1_span message;
    must(weir_rpc_wire_feed(&the.wire, the.text, the.text_bytes, &the.used, &message));
}

/* 4 KiB that shrink to about a third. */
static void deflate_message(void)
{
    size_t mark;
    must(weir_rpc_wire_message_begin(&the.wire, &the.body, &mark));
    must(weir_bytes_append(&the.body, the.bytes + 1000, 4096));
    must(weir_rpc_wire_message_end(&the.wire, &the.body, mark));
    the.text_bytes = the.body.len;
    the.body.len = 0;
}

static void inflate_message(void)
{
    weir_http1_span message;
    must(weir_rpc_wire_feed(&the.wire, the.text, the.text_bytes, &the.used, &message));
}

static void prepare_stream(void)
{
    accept_by(grpc_fields, 5, &stream);
}

static void prepare_text(void)
{
    static const weir_http1_field fields[] = { FIELD("content-type", "application/grpc-web-text") };
    size_t mark;
    accept_by(fields, 1, &stream);
    must(weir_rpc_wire_message_begin(&the.wire, &the.body, &mark));
    must(weir_bytes_append(&the.body, the.bytes, MESSAGE_BYTES));
    must(weir_rpc_wire_message_end(&the.wire, &the.body, mark));
    memcpy(the.text, the.body.at, the.body.len);
    the.text_bytes = the.body.len;
    the.body.len = 0;
}

static void prepare_gzip(void)
{
    static const weir_http1_field fields[] = { FIELD("content-type", "application/grpc"),
                                               FIELD("grpc-encoding", "gzip"),
                                               FIELD("grpc-accept-encoding", "gzip") };
    accept_by(fields, 3, &stream);
}

static void prepare_packed(void)
{
    size_t mark;
    prepare_gzip();
    must(weir_rpc_wire_message_begin(&the.wire, &the.body, &mark));
    must(weir_bytes_append(&the.body, the.bytes + 1000, 4096));
    must(weir_rpc_wire_message_end(&the.wire, &the.body, mark));
    memcpy(the.text, the.body.at, the.body.len);
    the.text_bytes = the.body.len;
    the.body.len = 0;
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static const struct {
    const char *name;
    void (*prepare)(void);
    void (*step)(void);
    int calls;
} steps[] = {
    { "accept", NULL, accept_grpc, CALLS },
    { "feed", prepare_stream, feed, CALLS },
    { "respond", prepare_stream, respond, CALLS },
    { "send", prepare_stream, send_message, CALLS },
    { "finish", prepare_stream, finish, CALLS },
    { "grpc-unary", NULL, whole_call, CALLS },
    { "connect-unary", NULL, connect_call, CALLS },
    { "client-call", NULL, ask, CALLS },
    { "feed-text", prepare_text, feed_text, CALLS },
    { "deflate-4k", prepare_gzip, deflate_message, CALLS / 20 },
    { "inflate-4k", prepare_packed, inflate_message, CALLS / 20 },
};

static double median_of(double *times)
{
    for (int i = 1; i < ROUNDS; i++) {
        for (int j = i; j > 0 && times[j] < times[j - 1]; j--) {
            double other = times[j];
            times[j] = times[j - 1];
            times[j - 1] = other;
        }
    }
    return times[ROUNDS / 2];
}

int main(int argc, char **argv)
{
    static const char words[] = "id order amount currency EUR USD pending shipped customer item ";
    weir_arena_init(&the.arena, NULL, the.first, sizeof the.first, 0);
    the.gzip = weir_rpc_gzip_new(NULL);
    uint32_t seed = 1;
    for (size_t i = 0; i < sizeof the.bytes; i++) {
        seed = i % 8 == 0 ? seed * 1664525 + 1013904223 : seed;
        the.bytes[i] = words[(seed >> 24) % (sizeof words - 9) + i % 8];
    }
    memcpy(the.bytes, "\0\0\0\0\144", 5);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        double times[ROUNDS];
        if (argc > 1 && strcmp(argv[1], steps[i].name) != 0)
            continue;
        if (steps[i].prepare != NULL)
            steps[i].prepare();
        int calls = argc > 2 ? atoi(argv[2]) : steps[i].calls;
        for (int round = 0; round < ROUNDS; round++) {
            double start = now_ns();
            for (int j = 0; j < calls; j++)
                steps[i].step();
            times[round] = (now_ns() - start) / calls;
        }
        printf("%-14s %9.1f ns\n", steps[i].name, median_of(times));
        if (strcmp(steps[i].name, "deflate-4k") == 0)
            printf("%-14s %9zu bytes of 4096\n", "", the.text_bytes);
    }
    weir_rpc_wire_done(&the.wire);
    weir_bytes_done(&the.body);
    weir_rpc_gzip_free(the.gzip);
    weir_arena_done(&the.arena);
    return 0;
}
