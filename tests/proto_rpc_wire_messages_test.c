/* RPC's messages: both sides speak with each other in every protocol, codec and kind, compressed
 * and cut anywhere; base64; gzip that is broken or lies; every allocation failing. */
#include "rpc_wire_rig.h"

#include "../proto/wi_base64.h"

#include <zlib.h>

/* ---- Two sides ---- */

typedef struct talk {
    weir_rpc_protocol protocol;
    weir_rpc_codec codec;
    bool is_text, gzip, is_get, early_head;
    weir_rpc_kind kind;
    weir_rpc_code code;
    size_t cut;
} talk;

static const size_t sizes[] = { 300, 0, 2, 1700 };

static weir_http1_span message_of(size_t i)
{
    static char bytes[4][2048];
    for (size_t j = 0; j < sizes[i]; j++)
        bytes[i][j] = (char)(j % 7 * i + j / 256);
    return (weir_http1_span){ bytes[i], sizes[i] };
}

static const weir_rpc_wire_limits small_gzip = { .gzip_bytes_min = 100 };
static const weir_rpc_detail details[] = { { { "a.Detail", 8 }, "\1\0\377", 3 },
                                           { { "b.Empty", 7 }, "", 0 } };
static const weir_http1_field head_metadata[] = { { { "X-Head", 6 }, { "one, two", 8 } },
                                                  { { "x-raw-bin", 9 }, { "\0\1\376", 3 } } };
static const weir_http1_field end_metadata[] = { { { "x-end", 5 }, { "first", 5 } },
                                                 { { "x-raw-bin", 9 }, { "\377", 1 } },
                                                 { { "X-End", 5 }, { "second", 6 } } };

/* Appends one message to what is sent. */
static weir_status send_message(weir_rpc_wire *wire, weir_bytes *out, size_t i)
{
    weir_http1_span message = message_of(i);
    size_t mark;
    weir_status status = weir_rpc_wire_message_begin(wire, out, &mark);
    if (status == WEIR_OK)
        status = weir_bytes_append(out, message.at, message.len);
    if (status == WEIR_OK)
        status = weir_rpc_wire_message_end(wire, out, mark);
    return status;
}

static void assert_messages(const fed *got, size_t count)
{
    size_t at = 0;
    assert_int_equal(got->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_memory_equal(got->bytes + at, message_of(i).at, sizes[i]);
        at += sizes[i];
    }
    assert_int_equal(got->len, at);
}

static size_t messages_up(weir_rpc_kind kind)
{
    return kind == WEIR_RPC_CLIENT_STREAM || kind == WEIR_RPC_BIDI_STREAM ? 4 : 1;
}
static size_t messages_down(weir_rpc_kind kind)
{
    return kind == WEIR_RPC_SERVER_STREAM || kind == WEIR_RPC_BIDI_STREAM ? 4 : 1;
}

/* One conversation; what each step needs of the others. */
typedef struct both {
    wire_rig *rig;
    const talk *t;
    const weir_rpc_method *method;
    weir_rpc_wire client, server;
    weir_bytes up, down;
    weir_http_head request, response;
    weir_rpc_wire_ending ending;
    fed got;
} both;

static weir_status client_asks(both *b)
{
    weir_rpc_wire_options options = { .protocol = b->t->protocol,
                                      .codec = b->t->codec,
                                      .is_text = b->t->is_text,
                                      .gzip = b->t->gzip,
                                      .scheme = { "http", 4 },
                                      .authority = { "h", 1 },
                                      .timeout_ns = 1500000000,
                                      .metadata = head_metadata,
                                      .metadata_count = 2 };
    weir_http1_span first = message_of(0);
    if (b->t->is_get) {
        options.get_message = first.at;
        options.get_bytes = first.len;
    }
    weir_status status = weir_rpc_wire_call(&b->client, &b->rig->env, &small_gzip, b->rig->gzip,
                                            b->method, &options, &b->rig->arena, &b->request);
    if (b->t->is_get)
        return status;
    for (size_t i = 0; status == WEIR_OK && i < messages_up(b->t->kind); i++)
        status = send_message(&b->client, &b->up, i);
    return status == WEIR_OK ? weir_rpc_wire_request_end(&b->client, &b->up) : status;
}

static weir_status server_hears(both *b)
{
    weir_http_head refusal;
    weir_rpc_wire_request request;
    weir_status status = weir_rpc_wire_accept(&b->server, &b->rig->env, &small_gzip, b->rig->gzip,
                                              &b->request, b->method, &b->rig->arena, &request,
                                              &refusal);
    if (status != WEIR_OK)
        return status;
    assert_int_equal(b->server.protocol, b->t->protocol);
    assert_int_equal(b->server.codec, b->t->codec);
    assert_int_equal(request.timeout_ns, 1500000000);
    assert_span(field_at(request.metadata, request.metadata_count, "x-head", 0), "one, two");
    assert_memory_equal(field_at(request.metadata, request.metadata_count, "x-raw-bin", 0).at,
                        "\0\1\376", 3);
    assert_int_equal(request.metadata_count, 3); /* and the user-agent */
    b->got = (fed){ .count = 0 };
    status = feed_cut(&b->server, b->up.at, b->up.len, b->t->cut, &b->got);
    if (status == WEIR_EPARTIAL)
        status = end_of(&b->server, "", b->rig, &b->got);
    if (status != WEIR_OK && status != WEIR_EPARTIAL)
        return status;
    assert_messages(&b->got, messages_up(b->t->kind));
    return WEIR_OK;
}

static weir_status server_answers(both *b)
{
    const weir_rpc_error error = { b->t->code, text_of("n\303\266 \"%\n"), details, 2 };
    size_t metadata = 2;
    weir_status status = WEIR_OK;
    b->response.status = 0;
    if (b->t->early_head) {
        status = weir_rpc_wire_respond(&b->server, head_metadata, 2, &b->rig->arena, &b->response);
        metadata = status == WEIR_OK ? 0 : 2;
        status = status == WEIR_EAGAIN ? WEIR_OK : status;
    }
    for (size_t i = 0; status == WEIR_OK && i < messages_down(b->t->kind); i++)
        status = send_message(&b->server, &b->down, i);
    if (status != WEIR_OK)
        return status;
    status = weir_rpc_wire_finish(&b->server, &error, head_metadata, metadata, end_metadata, 3,
                                  &b->rig->arena, &b->down, &b->ending);
    if (status == WEIR_OK && b->response.status == 0)
        b->response = b->ending.head;
    return status;
}

static void assert_end(const both *b)
{
    size_t n;
    const weir_http1_field *end = weir_rpc_wire_trailers(&b->client, &n);
    const weir_rpc_error *error = weir_rpc_wire_error(&b->client);
    assert_int_equal(error->code, b->t->code);
    assert_int_equal(n, 3);
    assert_span(field_at(end, n, "x-end", 0), "first");
    assert_span(field_at(end, n, "x-end", 1), "second");
    assert_memory_equal(field_at(end, n, "x-raw-bin", 0).at, "\377", 1);
    if (b->t->code == WEIR_RPC_OK)
        return;
    assert_span(error->text, "n\303\266 \"%\n");
    assert_int_equal(error->detail_count, 2);
    assert_span(error->details[0].type, "a.Detail");
    assert_int_equal(error->details[0].n, 3);
    assert_memory_equal(error->details[0].value, "\1\0\377", 3);
    assert_span(error->details[1].type, "b.Empty");
    assert_int_equal(error->details[1].n, 0);
}

static weir_status client_hears(both *b)
{
    const weir_http1_field *metadata;
    size_t n;
    weir_http1_span message;
    weir_status status = weir_rpc_wire_response(&b->client, &b->response, &b->rig->arena, &metadata,
                                                &n);
    if (status != WEIR_OK)
        return status;
    assert_span(field_at(metadata, n, "x-head", 0), "one, two");
    assert_memory_equal(field_at(metadata, n, "x-raw-bin", 0).at, "\0\1\376", 3);
    b->got = (fed){ .count = 0 };
    status = feed_cut(&b->client, b->down.at, b->down.len, b->t->cut, &b->got);
    if (status != WEIR_EPARTIAL)
        return status;
    status = weir_rpc_wire_feed_end(&b->client, b->ending.trailers, b->ending.trailer_count,
                                    &b->rig->arena, &message);
    if (status == WEIR_OK)
        fed_add(&b->got, message);
    if (status != WEIR_OK && status != WEIR_EPARTIAL)
        return status;
    bool is_lone_error = !b->client.is_stream && b->t->code != WEIR_RPC_OK;
    assert_messages(&b->got, is_lone_error ? 0 : messages_down(b->t->kind));
    assert_end(b);
    return WEIR_OK;
}

/* Memory was short as the server answered: it says so, or the answer is right all the same. */
static weir_status client_hears_of_short_memory(both *b)
{
    const weir_http1_field *metadata;
    size_t n;
    weir_http1_span message;
    const weir_rpc_error *error = weir_rpc_wire_error(&b->client);
    b->got = (fed){ .count = 0 };
    weir_status status = weir_rpc_wire_response(&b->client, &b->response, &b->rig->arena, &metadata,
                                                &n);
    if (status == WEIR_OK)
        status = feed_cut(&b->client, b->down.at, b->down.len, b->t->cut, &b->got);
    if (status == WEIR_EPARTIAL)
        status = weir_rpc_wire_feed_end(&b->client, b->ending.trailers, b->ending.trailer_count,
                                        &b->rig->arena, &message);
    if (error->code == b->t->code)
        assert_end(b);
    else if (error->code != WEIR_RPC_RESOURCE_EXHAUSTED && error->code != WEIR_RPC_UNAVAILABLE)
        fail_msg("code %d, \"%.*s\"", error->code, (int)error->text.len, error->text.at);
    return WEIR_OK;
}

/* WEIR_OK: all was said and heard as it was meant. */
static weir_status converse(wire_rig *rig, const talk *t)
{
    both b = { .rig = rig, .t = t, .method = t->is_get ? &get_method : method_of(t->kind) };
    b.up.env = b.down.env = &rig->env;
    weir_status status = client_asks(&b);
    if (status == WEIR_OK)
        status = server_hears(&b);
    if (status == WEIR_OK)
        status = server_answers(&b);
    bool was_short = status == WEIR_OK && rig->fail_at != 0 && rig->calls >= rig->fail_at;
    if (status == WEIR_OK)
        status = was_short ? client_hears_of_short_memory(&b) : client_hears(&b);
    weir_rpc_wire_done(&b.client);
    weir_rpc_wire_done(&b.server);
    weir_bytes_done(&b.up);
    weir_bytes_done(&b.down);
    weir_arena_reset(&rig->arena);
    return status;
}

/* Every protocol, codec, kind, with and without gzip, with and without an error: 0 to 255. */
static bool talk_of(unsigned i, talk *ret_talk)
{
    static const weir_rpc_protocol protocols[] = { WEIR_RPC_GRPC, WEIR_RPC_GRPC_WEB,
                                                   WEIR_RPC_GRPC_WEB, WEIR_RPC_CONNECT };
    *ret_talk = (talk){ .protocol = protocols[i & 3],
                        .is_text = (i & 3) == 2,
                        .codec = (weir_rpc_codec)(i >> 2 & 1),
                        .kind = (weir_rpc_kind)(i >> 3 & 3),
                        .gzip = i >> 5 & 1,
                        .code = i >> 6 & 1 ? WEIR_RPC_NOT_FOUND : WEIR_RPC_OK,
                        .early_head = i >> 7 & 1,
                        .cut = SIZE_MAX };
    return i < 256;
}

static void both_sides_understand_each_other_in_every_protocol_codec_and_kind(void **state)
{
    (void)state;
    talk t;
    wire_rig rig;
    rig_open(&rig);
    for (unsigned i = 0; talk_of(i, &t); i++)
        assert_int_equal(converse(&rig, &t), WEIR_OK);
    rig_close(&rig);
}

static void what_is_said_does_not_depend_on_how_it_is_cut(void **state)
{
    (void)state;
    talk t;
    wire_rig rig;
    rig_open(&rig);
    for (unsigned i = 0; talk_of(i, &t); i++) {
        for (t.cut = 1; t.cut < 12; t.cut++)
            assert_int_equal(converse(&rig, &t), WEIR_OK);
    }
    rig_close(&rig);
}

static void connect_asks_by_get_in_both_codecs_compressed_or_not(void **state)
{
    (void)state;
    wire_rig rig;
    rig_open(&rig);
    for (unsigned i = 0; i < 8; i++) {
        talk t = { .protocol = WEIR_RPC_CONNECT,
                   .codec = (weir_rpc_codec)(i & 1),
                   .gzip = i >> 1 & 1,
                   .code = i >> 2 ? WEIR_RPC_ABORTED : WEIR_RPC_OK,
                   .is_get = true,
                   .cut = SIZE_MAX };
        assert_int_equal(converse(&rig, &t), WEIR_OK);
    }
    rig_close(&rig);
}

static void every_allocation_may_fail_on_either_side(void **state)
{
    (void)state;
    talk t;
    wire_rig rig;
    for (unsigned i = 0; talk_of(i, &t); i++) {
        t.cut = 100;
        for (size_t fail_at = 1;; fail_at++) {
            rig_open(&rig);
            rig.calls = 0;
            rig.fail_at = fail_at;
            weir_status status = converse(&rig, &t);
            bool was_hit = rig.calls >= fail_at;
            if (!was_hit)
                assert_int_equal(status, WEIR_OK);
            rig_close(&rig);
            if (!was_hit)
                break;
        }
    }
}

static void a_wire_keeps_its_buffers_so_that_the_next_call_allocates_nothing(void **state)
{
    (void)state;
    static char first[8192];
    wire_rig rig;
    rig_open(&rig);
    weir_arena arena;
    weir_arena_init(&arena, &rig.env, first, sizeof first, 0);
    weir_rpc_wire wire = { 0 };
    size_t before = 0;
    for (int round = 0; round < 3; round++) {
        weir_http_head refusal, head = request_of("POST", "/a.B/One",
                                                  "content-type: application/grpc\n"
                                                  "te: trailers\nuser-agent: x");
        weir_rpc_wire_request request;
        weir_rpc_wire_ending ending;
        weir_bytes body = { .env = &rig.env };
        fed got = { .count = 0 };
        before = rig.calls;
        assert_int_equal(weir_rpc_wire_accept(&wire, &rig.env, NULL, NULL, &head, &unary_method,
                                              &arena, &request, &refusal),
                         WEIR_OK);
        assert_int_equal(feed_cut(&wire, "\0\0\0\0\3abc", 8, 6, &got), WEIR_EPARTIAL);
        assert_int_equal(end_of(&wire, "", &rig, &got), WEIR_EPARTIAL);
        assert_int_equal(weir_rpc_wire_respond(&wire, NULL, 0, &arena, &head), WEIR_OK);
        assert_int_equal(
            weir_rpc_wire_finish(&wire, NULL, NULL, 0, NULL, 0, &arena, &body, &ending), WEIR_OK);
        weir_arena_reset(&arena);
    }
    assert_int_equal(rig.calls, before);
    weir_rpc_wire_done(&wire);
    rig_close(&rig);
}

/* ---- gzip ---- */

static size_t packed_of(const char *bytes, size_t n, char *out, size_t cap)
{
    z_stream z = { .zalloc = NULL };
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)(uintptr_t)bytes;
    z.avail_in = (uInt)n;
    z.next_out = (Bytef *)out;
    z.avail_out = (uInt)cap;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t len = z.total_out;
    deflateEnd(&z);
    return len;
}

/* Feeds one compressed message to a server that takes at most `max` bytes; the wire is left open.
 */
static weir_status feed_packed(wire_rig *rig, weir_rpc_wire *wire, uint32_t max, const char *packed,
                               size_t n, fed *got)
{
    weir_rpc_wire_limits limits = { .message_bytes_max = max };
    weir_http_head refusal, head = request_of("POST", "/a.B/Up",
                                              "content-type: application/grpc\n"
                                              "grpc-encoding: gzip");
    weir_rpc_wire_request request;
    char prefix[5] = { 1, 0, (char)(n >> 16), (char)(n >> 8), (char)n };
    assert_int_equal(weir_rpc_wire_accept(wire, &rig->env, &limits, rig->gzip, &head, &up_method,
                                          &rig->arena, &request, &refusal),
                     WEIR_OK);
    (void)feed_cut(wire, prefix, 5, 5, got);
    return feed_cut(wire, packed, n, 1000, got);
}

static void inflating_stops_at_the_limit(void **state)
{
    (void)state;
    static char zeros[1000000], packed[10000];
    wire_rig rig;
    rig_open(&rig);
    weir_rpc_wire wire = { 0 };
    fed got = { .count = 0 };
    size_t n = packed_of(zeros, sizeof zeros, packed, sizeof packed);
    assert_int_equal(feed_packed(&rig, &wire, 20000, packed, n, &got), WEIR_ELIMIT);
    assert_int_equal(weir_rpc_wire_error(&wire)->code, WEIR_RPC_RESOURCE_EXHAUSTED);
    assert_true(rig.largest < 50000);
    n = packed_of(zeros, 20000, packed, sizeof packed);
    assert_int_equal(feed_packed(&rig, &wire, 20000, packed, n, &got), WEIR_EPARTIAL);
    assert_int_equal(got.len, 20000);
    n = packed_of(zeros, 20001, packed, sizeof packed);
    assert_int_equal(feed_packed(&rig, &wire, 20000, packed, n, &got), WEIR_ELIMIT);
    weir_rpc_wire_done(&wire);
    rig_close(&rig);
}

static void gzip_that_is_broken_anywhere_is_refused(void **state)
{
    (void)state;
    char packed[200];
    wire_rig rig;
    rig_open(&rig);
    weir_rpc_wire wire = { 0 };
    size_t n = packed_of("some text, some text", 20, packed, sizeof packed);
    for (size_t len = 1; len < n; len++) { /* cut off */
        fed got = { .count = 0 };
        assert_int_equal(feed_packed(&rig, &wire, 0, packed, len, &got), WEIR_EPROTO);
        assert_int_equal(weir_rpc_wire_error(&wire)->code, WEIR_RPC_INTERNAL);
    }
    for (size_t i = n - 8; i < n; i++) { /* its sum, and its length */
        fed got = { .count = 0 };
        packed[i] ^= 1;
        assert_int_equal(feed_packed(&rig, &wire, 0, packed, n, &got), WEIR_EPROTO);
        packed[i] ^= 1;
    }
    fed got = { .count = 0 };
    packed[n] = 0; /* garbage behind it */
    assert_int_equal(feed_packed(&rig, &wire, 0, packed, n + 1, &got), WEIR_EPROTO);
    weir_rpc_wire_done(&wire);
    rig_close(&rig);
}

static void gzip_may_have_several_members(void **state)
{
    (void)state;
    char packed[200];
    wire_rig rig;
    rig_open(&rig);
    weir_rpc_wire wire = { 0 };
    fed got = { .count = 0 };
    size_t n = packed_of("one, ", 5, packed, sizeof packed);
    n += packed_of("two", 3, packed + n, sizeof packed - n);
    assert_int_equal(feed_packed(&rig, &wire, 0, packed, n, &got), WEIR_EPARTIAL);
    assert_int_equal(got.count, 1);
    assert_memory_equal(got.bytes, "one, two", 8);
    weir_rpc_wire_done(&wire);
    rig_close(&rig);
}

static void what_is_small_or_does_not_shrink_is_sent_as_it_is(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        char flag;
    } cases[] = {
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 49, 0 },
        { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 50, 1 },
        { "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", 52, 0 },
    };
    wire_rig rig;
    rig_open(&rig);
    weir_rpc_wire wire = { 0 };
    weir_rpc_wire_limits limits = { .gzip_bytes_min = 50 };
    weir_rpc_wire_options options = { .gzip = true, .timeout_ns = UINT64_MAX };
    weir_http_head head;
    assert_int_equal(weir_rpc_wire_call(&wire, &rig.env, &limits, rig.gzip, &up_method, &options,
                                        &rig.arena, &head),
                     WEIR_OK);
    assert_span(head_at(&head, "grpc-encoding"), "gzip");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weir_bytes out = { .env = &rig.env };
        size_t mark;
        assert_int_equal(weir_rpc_wire_message_begin(&wire, &out, &mark), WEIR_OK);
        assert_int_equal(weir_bytes_append(&out, cases[i].bytes, cases[i].n), WEIR_OK);
        assert_int_equal(weir_rpc_wire_message_end(&wire, &out, mark), WEIR_OK);
        assert_int_equal(out.at[0], cases[i].flag);
        assert_int_equal((unsigned char)out.at[4], out.len - 5);
        weir_bytes_done(&out);
    }
    weir_rpc_wire_done(&wire);
    rig_close(&rig);
}

static void errors_and_the_ends_of_streams_may_be_compressed(void **state)
{
    (void)state;
    static const struct {
        weir_rpc_protocol protocol;
        weir_rpc_kind kind;
        unsigned http;
        const char *head, *body;
        char flag;
    } cases[] = {
        { WEIR_RPC_GRPC_WEB, WEIR_RPC_UNARY, 200,
          "content-type: application/grpc-web\ngrpc-encoding: gzip",
          "grpc-status: 10\r\ngrpc-message: m\r\n", (char)0x81 },
        { WEIR_RPC_CONNECT, WEIR_RPC_SERVER_STREAM, 200,
          "content-type: application/connect+proto\nconnect-content-encoding: gzip",
          "{\"error\":{\"code\":\"aborted\",\"message\":\"m\"}}", 3 },
        { WEIR_RPC_CONNECT, WEIR_RPC_UNARY, 422,
          "content-type: application/json\ncontent-encoding: gzip",
          "{\"code\":\"aborted\",\"message\":\"m\"}", 0 },
    };
    wire_rig rig;
    rig_open(&rig);
    for (size_t i = 0; i < 3; i++) {
        char bytes[300];
        weir_rpc_wire wire = { 0 };
        fed got = { .count = 0 };
        weir_rpc_wire_options options = { .protocol = cases[i].protocol };
        const weir_http1_field *metadata;
        weir_http_head head, response = response_of(cases[i].http, cases[i].head);
        size_t n = packed_of(cases[i].body, strlen(cases[i].body), bytes + 5, 290), count;
        bytes[0] = cases[i].flag;
        bytes[1] = bytes[2] = bytes[3] = 0;
        bytes[4] = (char)n;
        size_t skip = cases[i].flag == 0 ? 5 : 0;
        assert_int_equal(weir_rpc_wire_call(&wire, &rig.env, NULL, rig.gzip,
                                            method_of(cases[i].kind), &options, &rig.arena, &head),
                         WEIR_OK);
        assert_int_equal(weir_rpc_wire_response(&wire, &response, &rig.arena, &metadata, &count),
                         WEIR_OK);
        assert_int_equal(feed_cut(&wire, bytes + skip, n + 5 - skip, 7, &got), WEIR_EPARTIAL);
        assert_int_equal(end_of(&wire, "", &rig, &got), WEIR_EPARTIAL);
        assert_int_equal(weir_rpc_wire_error(&wire)->code, WEIR_RPC_ABORTED);
        assert_span(weir_rpc_wire_error(&wire)->text, "m");
        weir_rpc_wire_done(&wire);
    }
    rig_close(&rig);
}

/* ---- What comes in pieces ---- */

static weir_status open_server(wire_rig *rig, weir_rpc_wire *wire, const weir_rpc_method *method,
                               const weir_rpc_wire_limits *limits, const char *lines)
{
    weir_http_head refusal, head = request_of("POST", method->path, lines);
    weir_rpc_wire_request request;
    return weir_rpc_wire_accept(wire, &rig->env, limits, rig->gzip, &head, method, &rig->arena,
                                &request, &refusal);
}

static void a_message_that_came_whole_is_not_copied(void **state)
{
    (void)state;
    wire_rig rig;
    rig_open(&rig);
    weir_rpc_wire wire = { 0 };
    const char bytes[] = "\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\1z";
    size_t used, before;
    weir_http1_span message;
    assert_int_equal(open_server(&rig, &wire, &up_method, NULL, "content-type: application/grpc"),
                     WEIR_OK);
    before = rig.calls;
    assert_int_equal(weir_rpc_wire_feed(&wire, bytes, 19, &used, &message), WEIR_OK);
    assert_ptr_equal(message.at, bytes + 5);
    assert_int_equal(used, 8);
    assert_int_equal(weir_rpc_wire_feed(&wire, bytes + 8, 11, &used, &message), WEIR_OK);
    assert_int_equal(message.len, 0);
    assert_int_equal(used, 5);
    assert_int_equal(weir_rpc_wire_feed(&wire, bytes + 13, 6, &used, &message), WEIR_OK);
    assert_ptr_equal(message.at, bytes + 18);
    assert_int_equal(rig.calls, before);
    weir_rpc_wire_done(&wire);
    rig_close(&rig);
}

static void memory_is_taken_as_bytes_come_and_not_as_they_are_announced(void **state)
{
    (void)state;
    wire_rig rig;
    rig_open(&rig);
    weir_rpc_wire wire = { 0 };
    fed got = { .count = 0 };
    assert_int_equal(
        open_server(&rig, &wire, &unary_method, NULL, "content-type: application/grpc"), WEIR_OK);
    rig.largest = 0;
    assert_int_equal(feed_cut(&wire, "\0\0\100\0\0ten bytes.", 15, 3, &got), WEIR_EPARTIAL);
    assert_true(rig.largest <= 256);
    assert_int_equal(end_of(&wire, "", &rig, &got), WEIR_EPROTO);
    assert_int_equal(weir_rpc_wire_error(&wire)->code, WEIR_RPC_INTERNAL);
    weir_rpc_wire_done(&wire);
    rig_close(&rig);
}

static void text_may_come_as_padded_pieces_that_follow_one_another(void **state)
{
    (void)state;
    /* A prefix in two pieces, "abc" in one of its own, and an empty message. */
    static const char text[] = "AAA=AAAD"
                               "YWI=Yw=="
                               "AAAAAAA=";
    wire_rig rig;
    rig_open(&rig);
    for (size_t cut = 1; cut < sizeof text; cut++) {
        weir_rpc_wire wire = { 0 };
        fed got = { .count = 0 };
        assert_int_equal(open_server(&rig, &wire, &up_method, NULL,
                                     "content-type: application/grpc-web-text+proto"),
                         WEIR_OK);
        assert_int_equal(feed_cut(&wire, text, sizeof text - 1, cut, &got), WEIR_EPARTIAL);
        assert_int_equal(end_of(&wire, "", &rig, &got), WEIR_EPARTIAL);
        assert_int_equal(got.count, 2);
        assert_int_equal(got.len, 3);
        assert_memory_equal(got.bytes, "abc", 3);
        weir_rpc_wire_done(&wire);
    }
    rig_close(&rig);
}

static void text_that_is_no_base64_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = { "AA*A", "A===", "AAAA=AAA", "AA-A", "AAAA AAA", "AAA" };
    wire_rig rig;
    rig_open(&rig);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        weir_rpc_wire wire = { 0 };
        fed got = { .count = 0 };
        assert_int_equal(
            open_server(&rig, &wire, &up_method, NULL, "content-type: application/grpc-web-text"),
            WEIR_OK);
        weir_status status = feed_cut(&wire, texts[i], strlen(texts[i]), 100, &got);
        if (status == WEIR_EPARTIAL)
            status = end_of(&wire, "", &rig, &got);
        assert_int_equal(status, WEIR_EPROTO);
        assert_int_equal(weir_rpc_wire_error(&wire)->code, WEIR_RPC_INTERNAL);
        weir_rpc_wire_done(&wire);
    }
    rig_close(&rig);
}

/* ---- base64 ---- */

static void base64_goes_there_and_back_at_every_length(void **state)
{
    (void)state;
    unsigned char bytes[66], back[80];
    char text[120];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 37 + 251);
    for (size_t n = 0; n <= sizeof bytes; n++) {
        for (unsigned how = 0; how < 4; how++) {
            size_t len = wi_base64_encode(bytes, n, how, text), back_len;
            assert_true(len <= wi_base64_encoded_max(n));
            assert_true(wi_base64_decode(text, len, how | WI_BASE64_CANONICAL, back, &back_len));
            assert_int_equal(back_len, n);
            assert_memory_equal(back, bytes, n);
            memcpy(text, bytes, n); /* in place */
            assert_int_equal(wi_base64_encode(text, n, how, text), len);
            assert_true(wi_base64_decode(text, len, how, text, &back_len));
            assert_memory_equal(text, bytes, n);
        }
    }
}

static void base64_is_refused_for_its_alphabet_padding_length_and_odd_bits(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        unsigned how;
        bool is_fine;
    } cases[] = {
        { "", 0, true },
        { "Zg==", 0, true },
        { "Zg", 0, false },
        { "Zg=", 0, false },
        { "Zg", WI_BASE64_UNPADDED, true },
        { "Zg==", WI_BASE64_UNPADDED, false },
        { "Zg==", WI_BASE64_ANY_PADDING, true },
        { "Zg", WI_BASE64_ANY_PADDING, true },
        { "Zg=", WI_BASE64_ANY_PADDING, false },
        { "Z", WI_BASE64_ANY_PADDING, false },
        { "Zg=====", WI_BASE64_ANY_PADDING, false },
        { "Z===", 0, false },
        { "====", 0, false },
        { "Zm9v\n", WI_BASE64_ANY_PADDING, false },
        { "-_-_", 0, false },
        { "-_-_", WI_BASE64_URL, true },
        { "+/+/", WI_BASE64_URL, false },
        { "+/-_", WI_BASE64_ANY_ALPHABET, true },
        { "Zh==", 0, true },
        { "Zh==", WI_BASE64_CANONICAL, false },
        { "Zm9=", WI_BASE64_CANONICAL, false },
        { "Zm8=", WI_BASE64_CANONICAL, true },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t len;
        bool is_fine = wi_base64_decode(cases[i].text, strlen(cases[i].text), cases[i].how, NULL,
                                        &len);
        if (is_fine != cases[i].is_fine)
            fail_msg("\"%s\", %u", cases[i].text, cases[i].how);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_understand_each_other_in_every_protocol_codec_and_kind),
        cmocka_unit_test(what_is_said_does_not_depend_on_how_it_is_cut),
        cmocka_unit_test(connect_asks_by_get_in_both_codecs_compressed_or_not),
        cmocka_unit_test(every_allocation_may_fail_on_either_side),
        cmocka_unit_test(a_wire_keeps_its_buffers_so_that_the_next_call_allocates_nothing),
        cmocka_unit_test(inflating_stops_at_the_limit),
        cmocka_unit_test(gzip_that_is_broken_anywhere_is_refused),
        cmocka_unit_test(gzip_may_have_several_members),
        cmocka_unit_test(what_is_small_or_does_not_shrink_is_sent_as_it_is),
        cmocka_unit_test(errors_and_the_ends_of_streams_may_be_compressed),
        cmocka_unit_test(a_message_that_came_whole_is_not_copied),
        cmocka_unit_test(memory_is_taken_as_bytes_come_and_not_as_they_are_announced),
        cmocka_unit_test(text_may_come_as_padded_pieces_that_follow_one_another),
        cmocka_unit_test(text_that_is_no_base64_is_refused),
        cmocka_unit_test(base64_goes_there_and_back_at_every_length),
        cmocka_unit_test(base64_is_refused_for_its_alphabet_padding_length_and_odd_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
