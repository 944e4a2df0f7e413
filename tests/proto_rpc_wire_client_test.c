/* The client's side of RPC on the wire: what it asks, and what it makes of answers, right or wrong.
 * https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md */
#include "rpc_wire_rig.h"

#include <weir/version.h>

typedef struct side {
    wire_rig rig;
    weir_rpc_wire wire;
    weir_http_head head;
    const weir_http1_field *metadata;
    size_t metadata_count;
    fed got;
} side;

static int open_side(void **state)
{
    side *s = calloc(1, sizeof *s);
    rig_open(&s->rig);
    *state = s;
    return 0;
}

static int close_side(void **state)
{
    side *s = *state;
    weir_rpc_wire_done(&s->wire);
    rig_close(&s->rig);
    free(s);
    return 0;
}

static weir_status call_by(side *s, const weir_rpc_method *method,
                           const weir_rpc_wire_options *options)
{
    return weir_rpc_wire_call(&s->wire, &s->rig.env, NULL, s->rig.gzip, method, options,
                              &s->rig.arena, &s->head);
}

static void call(side *s, weir_rpc_protocol protocol, weir_rpc_kind kind)
{
    const weir_rpc_wire_options options = { .protocol = protocol, .timeout_ns = UINT64_MAX };
    assert_int_equal(call_by(s, method_of(kind), &options), WEIR_OK);
}

static weir_status answer(side *s, unsigned status, const char *lines, bool ends)
{
    weir_http_head head = response_of(status, lines);
    head.ends = ends;
    return weir_rpc_wire_response(&s->wire, &head, &s->rig.arena, &s->metadata, &s->metadata_count);
}

static const weir_rpc_error *error_of(const side *s)
{
    return weir_rpc_wire_error(&s->wire);
}

static weir_http1_span trailer(const side *s, const char *name, size_t i)
{
    size_t n;
    const weir_http1_field *trailers = weir_rpc_wire_trailers(&s->wire, &n);
    return field_at(trailers, n, name, i);
}

/* ---- What is asked ---- */

static void every_protocol_has_its_head(void **state)
{
    static const struct {
        weir_rpc_protocol protocol;
        weir_rpc_codec codec;
        bool is_text;
        weir_rpc_kind kind;
        const char *fields;
    } cases[] = {
        { WEIR_RPC_GRPC, WEIR_RPC_PROTO, false, WEIR_RPC_UNARY,
          "content-type: application/grpc+proto\nte: trailers\ngrpc-accept-encoding: gzip\n"
          "grpc-encoding: gzip\ngrpc-timeout: 2500000u" },
        { WEIR_RPC_GRPC_WEB, WEIR_RPC_JSON, false, WEIR_RPC_UNARY,
          "content-type: application/grpc-web+json\nx-grpc-web: 1\ngrpc-accept-encoding: gzip\n"
          "grpc-encoding: gzip\ngrpc-timeout: 2500000u" },
        { WEIR_RPC_GRPC_WEB, WEIR_RPC_PROTO, true, WEIR_RPC_SERVER_STREAM,
          "content-type: application/grpc-web-text+proto\nx-grpc-web: 1\n"
          "accept: application/grpc-web-text+proto\ngrpc-encoding: gzip" },
        { WEIR_RPC_CONNECT, WEIR_RPC_JSON, false, WEIR_RPC_UNARY,
          "content-type: application/json\nconnect-protocol-version: 1\naccept-encoding: gzip\n"
          "content-encoding: gzip\nconnect-timeout-ms: 2500" },
        { WEIR_RPC_CONNECT, WEIR_RPC_PROTO, false, WEIR_RPC_BIDI_STREAM,
          "content-type: application/connect+proto\nconnect-protocol-version: 1\n"
          "connect-accept-encoding: gzip\nconnect-content-encoding: gzip\n"
          "connect-timeout-ms: 2500" },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const weir_rpc_wire_options options = { .protocol = cases[i].protocol,
                                                .codec = cases[i].codec,
                                                .is_text = cases[i].is_text,
                                                .gzip = true,
                                                .scheme = { "https", 5 },
                                                .authority = { "h:1", 3 },
                                                .timeout_ns = UINT64_C(2500000000) };
        assert_int_equal(call_by(s, method_of(cases[i].kind), &options), WEIR_OK);
        assert_span(s->head.method, "POST");
        assert_span(s->head.path, method_of(cases[i].kind)->path);
        assert_span(s->head.scheme, "https");
        assert_span(s->head.authority, "h:1");
        assert_span(head_at(&s->head, "user-agent"), "weir/" WEIR_VERSION);
        size_t n;
        const weir_http1_field *fields = fields_of(cases[i].fields, &n);
        for (size_t j = 0; j < n; j++) {
            char name[40] = { 0 }, value[60] = { 0 };
            memcpy(name, fields[j].name.at, fields[j].name.len);
            memcpy(value, fields[j].value.at, fields[j].value.len);
            assert_span(head_at(&s->head, name), value);
        }
    }
}

static void a_timeout_is_rounded_up_to_what_can_be_said(void **state)
{
    static const struct {
        uint64_t ns;
        const char *grpc, *connect;
    } cases[] = {
        { 0, "0n", "0" },
        { 1, "1n", "1" },
        { 99999999, "99999999n", "100" },
        { 100000001, "100001u", "101" },
        { UINT64_C(100000000001), "100001m", "100001" },
        { UINT64_C(99999999000000000), "99999999S", "9999999999" },
        { UINT64_C(99999999000000001), "27778H", "9999999999" },
        { UINT64_MAX - 1, "5124096H", "9999999999" },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weir_rpc_wire_options options = { .timeout_ns = cases[i].ns };
        assert_int_equal(call_by(s, &unary_method, &options), WEIR_OK);
        assert_span(head_at(&s->head, "grpc-timeout"), cases[i].grpc);
        options.protocol = WEIR_RPC_CONNECT;
        assert_int_equal(call_by(s, &unary_method, &options), WEIR_OK);
        assert_span(head_at(&s->head, "connect-timeout-ms"), cases[i].connect);
    }
}

static void metadata_is_sent_in_lower_case_and_base64_or_refused(void **state)
{
    static const weir_http1_field fine[] = { { { "X-A", 3 }, { " v ", 3 } },
                                             { { "b-BIN", 5 }, { "\0\377", 2 } },
                                             { { "User-Agent", 10 }, { "me", 2 } } };
    static const weir_http1_field wrong[] = { { { "grpc-timeout", 12 }, { "1S", 2 } },
                                              { { "", 0 }, { "x", 1 } },
                                              { { "x\n", 2 }, { "x", 1 } },
                                              { { "x", 1 }, { "a\r\nb", 4 } } };
    side *s = *state;
    weir_rpc_wire_options options = { .metadata = fine,
                                      .metadata_count = 3,
                                      .timeout_ns = UINT64_MAX };
    assert_int_equal(call_by(s, &unary_method, &options), WEIR_OK);
    assert_span(head_at(&s->head, "x-a"), "v");
    assert_span(head_at(&s->head, "b-bin"), "AP8");
    assert_span(head_at(&s->head, "user-agent"), "me");
    assert_int_equal(s->head.field_count, 6);
    options.metadata_count = 1;
    for (size_t i = 0; i < 4; i++) {
        options.metadata = &wrong[i];
        assert_int_equal(call_by(s, &unary_method, &options), WEIR_EINVAL);
    }
}

static void a_get_has_its_query_in_the_order_that_caches_like(void **state)
{
    static char large[7000];
    side *s = *state;
    weir_rpc_wire_options options = {
        .protocol = WEIR_RPC_CONNECT, .timeout_ns = 5000000, .get_message = "a?>", .get_bytes = 3
    };
    assert_int_equal(call_by(s, &get_method, &options), WEIR_OK);
    assert_span(s->head.method, "GET");
    assert_true(s->head.ends);
    assert_span(s->head.path, "/a.B/Get?connect=v1&base64=1&encoding=proto&message=YT8-");
    assert_span(head_at(&s->head, "content-type"), "");
    assert_span(head_at(&s->head, "connect-timeout-ms"), "5");
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * i / 7);
    options.get_message = large;
    options.get_bytes = sizeof large;
    assert_int_equal(call_by(s, &get_method, &options), WEIR_ELIMIT);
    memset(large, 'a', sizeof large);
    options.gzip = true;
    assert_int_equal(call_by(s, &get_method, &options), WEIR_OK);
    assert_non_null(memmem(s->head.path.at, s->head.path.len,
                           "?connect=v1&base64=1&compression=gzip&encoding=proto&", 52));
}

static void combinations_that_are_none_are_refused(void **state)
{
    side *s = *state;
    weir_rpc_wire_options options = { .is_text = true };
    assert_int_equal(call_by(s, &unary_method, &options), WEIR_EINVAL);
    options = (weir_rpc_wire_options){ .protocol = WEIR_RPC_GRPC, .get_message = "" };
    assert_int_equal(call_by(s, &get_method, &options), WEIR_EINVAL);
    options.protocol = WEIR_RPC_CONNECT;
    assert_int_equal(call_by(s, &unary_method, &options), WEIR_EINVAL);
}

/* ---- What is answered ---- */

#define GRPC    "content-type: application/grpc"
#define WEB     "content-type: application/grpc-web+proto"
#define STREAM  "content-type: application/connect+proto"
#define PROTO   "content-type: application/proto"
#define JSON    "content-type: application/json"
#define MESSAGE "\0\0\0\0\0"

typedef struct answer_case {
    weir_rpc_protocol protocol;
    weir_rpc_kind kind;
    unsigned http;
    const char *head;
    const char *body;
    size_t n;
    const char *trailers;
    weir_rpc_code code;
    size_t messages;
    const char *text; /* NULL: any */
} answer_case;

#define BODY(bytes) bytes, sizeof bytes - 1

static const answer_case cases[] = {
    /* gRPC: the end is in the trailers. */
    { 0, 0, 200, GRPC, BODY(MESSAGE), "grpc-status: 0", WEIR_RPC_OK, 1, "" },
    { 0, 0, 200, GRPC "+proto", BODY(MESSAGE), "grpc-status: 0", WEIR_RPC_OK, 1, "" },
    { 0, 0, 200, GRPC, BODY(""), "grpc-status: 0", WEIR_RPC_UNIMPLEMENTED, 0, NULL },
    { 0, 1, 200, GRPC, BODY(""), "grpc-status: 0", WEIR_RPC_UNIMPLEMENTED, 0, NULL },
    { 0, 2, 200, GRPC, BODY(""), "grpc-status: 0", WEIR_RPC_OK, 0, "" },
    { 0, 0, 200, GRPC, BODY(MESSAGE MESSAGE), "grpc-status: 0", WEIR_RPC_UNIMPLEMENTED, 1, NULL },
    { 0, 2, 200, GRPC, BODY(MESSAGE MESSAGE), "grpc-status: 0", WEIR_RPC_OK, 2, "" },
    { 0, 0, 200, GRPC, BODY(""), "grpc-status: 9\ngrpc-message: a%20b%C3%A4%zz%2", 9, 0,
      "a b\303\244%zz%2" },
    { 0, 0, 200, GRPC, BODY(MESSAGE), "grpc-status: 9", 9, 1, "" },
    { 0, 0, 200, GRPC, BODY(""), "grpc-status: 9\ngrpc-message: %FF", 9, 0, "?" },
    { 0, 2, 200, GRPC, BODY(""), "grpc-status: 17\ngrpc-message: m", WEIR_RPC_UNKNOWN, 0, "m" },
    { 0, 2, 200, GRPC, BODY(""), "grpc-status: 4294967296", WEIR_RPC_UNKNOWN, 0, "" },
    { 0, 2, 200, GRPC, BODY(""), "grpc-status: -1", WEIR_RPC_INTERNAL, 0, NULL },
    { 0, 2, 200, GRPC, BODY(""), "grpc-status: ", WEIR_RPC_INTERNAL, 0, NULL },
    { 0, 0, 200, GRPC, BODY(MESSAGE), "", WEIR_RPC_INTERNAL, 1, NULL },
    { 0, 2, 200, GRPC, BODY(MESSAGE), "", WEIR_RPC_INTERNAL, 1, NULL },
    { 0, 0, 200, GRPC, BODY(""), "grpc-message: error", WEIR_RPC_INTERNAL, 0, NULL },
    { 0, 2, 200, GRPC, BODY(MESSAGE "\0\0\0\0\12ab"), "grpc-status: 0", WEIR_RPC_INTERNAL, 1,
      NULL },
    { 0, 2, 200, GRPC, BODY(MESSAGE "\0\0\0"), "grpc-status: 0", WEIR_RPC_INTERNAL, 1, NULL },
    { 0, 2, 200, GRPC, BODY("\0\0\0"), "grpc-status: 8", WEIR_RPC_RESOURCE_EXHAUSTED, 0, NULL },
    /* Or in the head, if there is nothing else. */
    { 0, 0, 200, GRPC "\ngrpc-status: 9\ngrpc-message: m", BODY(""), "", 9, 0, "m" },
    { 0, 0, 200, GRPC "\ngrpc-status: 9", BODY(MESSAGE), "", WEIR_RPC_INTERNAL, 1, NULL },
    { 0, 0, 200, GRPC "\ngrpc-status: 8", BODY(""), "foo: bar\ngrpc-status: 9", 9, 0, NULL },
    { 0, 0, 200, GRPC "\ngrpc-status: 0", BODY(""), "", WEIR_RPC_UNIMPLEMENTED, 0, NULL },
    { 0, 0, 404, GRPC "\ngrpc-status: 9", BODY(""), "", 9, 0, NULL },
    /* Heads that are not what was asked for. */
    { 0, 0, 200, "content-type: image/jpeg", BODY(""), "", WEIR_RPC_UNKNOWN, 0, NULL },
    { 0, 0, 200, "x: y", BODY(""), "", WEIR_RPC_UNKNOWN, 0, NULL },
    { 0, 0, 200, GRPC "+json", BODY(""), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 0, 0, 200, WEB, BODY(""), "", WEIR_RPC_UNKNOWN, 0, NULL },
    { 0, 0, 200, GRPC "\ngrpc-encoding: foo", BODY("\1\0\0\0\1x"), "grpc-status: 0",
      WEIR_RPC_INTERNAL, 0, NULL },
    { 0, 0, 200, GRPC "\ngrpc-encoding: identity", BODY("\1\0\0\0\1x"), "grpc-status: 0",
      WEIR_RPC_INTERNAL, 0, NULL },
    { 0, 0, 200, GRPC "\na-bin: *", BODY(""), "grpc-status: 0", WEIR_RPC_INTERNAL, 0, NULL },
    { 0, 2, 200, GRPC, BODY(""), "grpc-status: 0\na-bin: *", WEIR_RPC_INTERNAL, 0, NULL },
    /* gRPC-Web: in the last envelope. */
    { 1, 0, 200, WEB, BODY(MESSAGE "\200\0\0\0\20grpc-status: 0\r\n"), "", WEIR_RPC_OK, 1, "" },
    { 1, 0, 200, WEB, BODY("\200\0\0\0\44Grpc-Status:9\r\ngRPC-Message: error\r\n"), "", 9, 0,
      "error" },
    { 1, 0, 200, WEB, BODY("\200\0\0\0\15grpc-status:9"), "", 9, 0, "" },
    { 1, 0, 200, WEB, BODY("\200\0\0\0\20grpc-status: 0\r\n"), "", WEIR_RPC_UNIMPLEMENTED, 0,
      NULL },
    { 1, 0, 200, WEB, BODY(MESSAGE MESSAGE "\200\0\0\0\20grpc-status: 0\r\n"), "",
      WEIR_RPC_UNIMPLEMENTED, 1, NULL },
    { 1, 0, 200, WEB, BODY("\200\0\0\0\25grpc-message: error\r\n"), "", WEIR_RPC_INTERNAL, 0,
      NULL },
    { 1, 0, 200, WEB, BODY("\200\0\0\0\0"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 1, 0, 200, WEB, BODY("\200\0\0\0\4abcd"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 1, 2, 200, WEB, BODY("\200\0\0\0\26grpc-status: 0\r\na b: 1"), "", WEIR_RPC_INTERNAL, 0,
      NULL },
    { 1, 2, 200, WEB, BODY("\200\0\0\0\25grpc-status: 0\r\nab: \1"), "", WEIR_RPC_INTERNAL, 0,
      NULL },
    { 1, 2, 200, WEB, BODY("\200\0\0\0\21grpc-status: 0\r\nx"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 1, 2, 200, WEB, BODY("\201\0\0\0\20grpc-status: 0\r\n"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 1, 2, 200, WEB, BODY("\200\0\0\0\20grpc-st"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 1, 2, 200, WEB, BODY(MESSAGE), "", WEIR_RPC_INTERNAL, 1, NULL },
    { 1, 2, 200, WEB, BODY("\2\0\0\0\0"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 1, 0, 200, WEB "\ngrpc-status: 9\ngrpc-message: m", BODY(""), "", 9, 0, "m" },
    { 1, 0, 200, WEB "\ngrpc-message: m", BODY(""), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 1, 0, 200, WEB "\ngrpc-status: 8", BODY("\200\0\0\0\20grpc-status: 9\r\n"), "", 9, 0, NULL },
    /* Connect's streams: JSON in the last envelope. */
    { 2, 2, 200, STREAM, BODY(MESSAGE "\2\0\0\0\2{}"), "", WEIR_RPC_OK, 1, "" },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\16{\"error\":null}"), "", WEIR_RPC_OK, 0, "" },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\14{\"error\":{}}"), "", WEIR_RPC_UNKNOWN, 0, "" },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\50{\"error\":{\"code\":null,\"message\":\"oops\"}}"), "",
      WEIR_RPC_UNKNOWN, 0, "oops" },
    { 2, 2, 200, STREAM,
      BODY("\2\0\0\0\60{\"error\":{\"code\":\"aborted\",\"message\":\"a\"},\"x\":1}"), "",
      WEIR_RPC_ABORTED, 0, "a" },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\33{\"error\":{\"code\":\"foobar\"}}"), "", WEIR_RPC_UNKNOWN,
      0, "" },
    { 2, 1, 200, STREAM, BODY("\2\0\0\0\16{\"code\":\"oops\"}"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 1, 200, STREAM, BODY("\2\0\0\0\17{\"code\":\"oops\"}"), "", WEIR_RPC_UNIMPLEMENTED, 0,
      NULL },
    { 2, 1, 200, STREAM, BODY(MESSAGE MESSAGE "\2\0\0\0\2{}"), "", WEIR_RPC_UNIMPLEMENTED, 1,
      NULL },
    { 2, 2, 200, STREAM, BODY(MESSAGE), "", WEIR_RPC_INTERNAL, 1, NULL },
    { 2, 2, 200, STREAM, BODY(MESSAGE "\2\0"), "", WEIR_RPC_INTERNAL, 1, NULL },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\4null"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\0"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\3{} "), "", WEIR_RPC_OK, 0, "" },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\3{}x"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\2{}" MESSAGE), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 2, 200, STREAM, BODY("\3\0\0\0\2{}"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\26{\"metadata\":{\"\\n\":[]}}"), "", WEIR_RPC_INTERNAL, 0,
      NULL },
    { 2, 2, 200, STREAM, BODY("\2\0\0\0\33{\"metadata\":{\"a\":[\"\\n b\"]}}"), "",
      WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 2, 200, STREAM, BODY("\1\0\0\0\1x\2\0\0\0\2{}"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 2, 200, "content-type: application/connect+json", BODY("\2\0\0\0\2{}"), "",
      WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 2, 404, STREAM, BODY(""), "", WEIR_RPC_UNIMPLEMENTED, 0, NULL },
    /* Connect's unary calls: HTTP's status, and JSON if it is not 200. */
    { 2, 0, 200, PROTO, BODY("abc"), "", WEIR_RPC_OK, 1, "" },
    { 2, 0, 200, PROTO, BODY(""), "", WEIR_RPC_OK, 1, "" },
    { 2, 0, 200, JSON, BODY("{}"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 0, 200, "content-type: image/jpeg", BODY("x"), "", WEIR_RPC_UNKNOWN, 0, NULL },
    { 2, 0, 200, PROTO "\ncontent-encoding: foo", BODY("x"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 0, 200, PROTO "\ncontent-encoding: gzip", BODY("x"), "", WEIR_RPC_INTERNAL, 0, NULL },
    { 2, 0, 403, PROTO, BODY("x"), "", WEIR_RPC_PERMISSION_DENIED, 0, "HTTP status 403" },
    { 2, 0, 401, JSON, BODY("null"), "", WEIR_RPC_UNAUTHENTICATED, 0, NULL },
    { 2, 0, 401, JSON, BODY(""), "", WEIR_RPC_UNAUTHENTICATED, 0, NULL },
    { 2, 0, 401, JSON, BODY("{\"code\":null,\"message\":\"oops\"}"), "", WEIR_RPC_UNAUTHENTICATED,
      0, "oops" },
    { 2, 0, 401, JSON, BODY("{\"message\":\"oops\"}"), "", WEIR_RPC_UNAUTHENTICATED, 0, "oops" },
    { 2, 0, 429, JSON, BODY("{\"code\":\"foobar\",\"message\":\"oops\"}"), "", WEIR_RPC_UNAVAILABLE,
      0, "oops" },
    { 2, 0, 401, JSON "; charset=utf-8", BODY("{\"code\":\"canceled\"}"), "", WEIR_RPC_CANCELLED, 0,
      "" },
    { 2, 0, 422, JSON, BODY("{\"code\":\"out_of_range\",\"message\":7,\"foobar\":[{}]}"), "",
      WEIR_RPC_OUT_OF_RANGE, 0, "" },
    { 2, 0, 500, JSON, BODY("{\"code\":\"out_of_range\""), "", WEIR_RPC_UNKNOWN, 0, NULL },
    { 2, 0, 500, JSON, BODY("{\"code\":\"aborted\"} x"), "", WEIR_RPC_UNKNOWN, 0, NULL },
    { 2, 0, 503, JSON "\ncontent-encoding: gzip", BODY("x"), "", WEIR_RPC_UNAVAILABLE, 0, NULL },
    { 2, 0, 503, JSON "\ncontent-encoding: br", BODY("x"), "", WEIR_RPC_UNAVAILABLE, 0, NULL },
};

static void run_case(side *s, size_t i, size_t cut)
{
    const answer_case *c = &cases[i];
    call(s, c->protocol, c->kind);
    s->got = (fed){ .count = 0 };
    weir_status status = answer(s, c->http, c->head, c->n == 0 && *c->trailers == '\0');
    if (status == WEIR_OK)
        status = feed_cut(&s->wire, c->body, c->n, cut, &s->got);
    if (status == WEIR_OK || status == WEIR_EPARTIAL)
        status = end_of(&s->wire, c->trailers, &s->rig, &s->got);
    const weir_rpc_error *error = error_of(s);
    if (error->code != c->code || s->got.count != c->messages)
        fail_msg("case %zu, cut %zu: code %d, %zu messages", i, cut, error->code, s->got.count);
    if (c->text != NULL)
        assert_span(error->text, c->text);
    if (status != WEIR_OK && status != WEIR_EPARTIAL)
        assert_true(error->code != WEIR_RPC_OK && error->text.len > 0);
    weir_arena_reset(&s->rig.arena);
}

static void answers_have_the_documented_code_however_they_are_cut(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t cut = 1; cut <= cases[i].n + 1; cut++)
            run_case(*state, i, cut);
    }
}

static void other_http_statuses_are_codes_by_the_table(void **state)
{
    static const struct {
        unsigned http;
        weir_rpc_code code;
    } table[] = {
        { 400, WEIR_RPC_INTERNAL },          { 401, WEIR_RPC_UNAUTHENTICATED },
        { 403, WEIR_RPC_PERMISSION_DENIED }, { 404, WEIR_RPC_UNIMPLEMENTED },
        { 409, WEIR_RPC_UNKNOWN },           { 412, WEIR_RPC_UNKNOWN },
        { 413, WEIR_RPC_UNKNOWN },           { 415, WEIR_RPC_UNKNOWN },
        { 418, WEIR_RPC_UNKNOWN },           { 429, WEIR_RPC_UNAVAILABLE },
        { 431, WEIR_RPC_UNKNOWN },           { 500, WEIR_RPC_UNKNOWN },
        { 502, WEIR_RPC_UNAVAILABLE },       { 503, WEIR_RPC_UNAVAILABLE },
        { 504, WEIR_RPC_UNAVAILABLE },       { 505, WEIR_RPC_UNKNOWN },
        { 204, WEIR_RPC_UNKNOWN },           { 800, WEIR_RPC_UNKNOWN },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (unsigned protocol = 0; protocol < 3; protocol++) {
            call(s, (weir_rpc_protocol)protocol, WEIR_RPC_UNARY);
            assert_int_equal(answer(s, table[i].http, "x: y", true), WEIR_EPROTO);
            assert_int_equal(error_of(s)->code, table[i].code);
        }
    }
}

static void metadata_and_trailers_are_told_apart(void **state)
{
    side *s = *state;
    call(s, WEIR_RPC_GRPC, WEIR_RPC_SERVER_STREAM);
    assert_int_equal(answer(s, 200, GRPC "\nx-h: 1\nx-h: 2\nh-bin: YQ", false), WEIR_OK);
    assert_int_equal(s->metadata_count, 3);
    assert_span(field_at(s->metadata, 3, "x-h", 1), "2");
    assert_int_equal(
        end_of(&s->wire, "grpc-status: 0\nx-t: 1\nx-t: 2\nt-bin: YQ==,Yg", &s->rig, &s->got),
        WEIR_EPARTIAL);
    assert_span(trailer(s, "x-t", 1), "2");
    assert_span(trailer(s, "t-bin", 1), "b");
    assert_span(trailer(s, "grpc-status", 0), "");
    call(s, WEIR_RPC_CONNECT, WEIR_RPC_UNARY);
    assert_int_equal(answer(s, 200, PROTO "\nx-h: 1\ntrailer-x-t: 2\ntrailer-t-bin: YQ", false),
                     WEIR_OK);
    assert_int_equal(s->metadata_count, 1);
    assert_span(trailer(s, "x-t", 0), "2");
    assert_span(trailer(s, "t-bin", 0), "a");
    call(s, WEIR_RPC_CONNECT, WEIR_RPC_SERVER_STREAM);
    assert_int_equal(answer(s, 200, STREAM, false), WEIR_OK);
    static const char end[] =
        "\2\0\0\0\67{\"metadata\":{\"X-T\":[\"1\",2,\"3\"],\"t-bin\":[\"YQ==\"],"
        "\"z\":1}}";
    assert_int_equal(feed_cut(&s->wire, end, sizeof end - 1, 9, &s->got), WEIR_EPARTIAL);
    assert_int_equal(end_of(&s->wire, "", &s->rig, &s->got), WEIR_EPARTIAL);
    assert_span(trailer(s, "x-t", 0), "1");
    assert_span(trailer(s, "x-t", 1), "3");
    assert_span(trailer(s, "t-bin", 0), "a");
}

static void a_response_that_is_only_an_end_has_trailers_and_no_metadata(void **state)
{
    side *s = *state;
    call(s, WEIR_RPC_GRPC, WEIR_RPC_UNARY);
    assert_int_equal(answer(s, 200, GRPC "\nx-t: 1\nx-t: 2\ngrpc-status: 9", true), WEIR_OK);
    assert_int_equal(s->metadata_count, 0);
    assert_int_equal(end_of(&s->wire, "", &s->rig, &s->got), WEIR_EPARTIAL);
    assert_int_equal(error_of(s)->code, 9);
    assert_span(trailer(s, "x-t", 1), "2");
}

static void details_of_grpc_errors_are_read_and_nonsense_is_left_out(void **state)
{
    static const struct {
        const char *trailers;
        size_t details;
        const char *text;
    } ends[] = {
        { "grpc-status: 5\ngrpc-message: m\ngrpc-status-details-bin: "
          "CAUSB25vIMOkCiUaHQoXdHlwZS5nb29nbGVhcGlzLmNvbS9hLkQSAggB",
          1, "m" },
        { "grpc-status: 5\ngrpc-status-details-bin: "
          "CAUSB25vIMOkCiUaHQoXdHlwZS5nb29nbGVhcGlzLmNvbS9hLkQSAggB==",
          0, "" },
        { "grpc-status: 5\ngrpc-status-details-bin: EgJoaQ==", 0, "hi" },
        { "grpc-status: 5\ngrpc-status-details-bin: GgA", 1, "" },
        { "grpc-status: 5\ngrpc-status-details-bin: GgE", 0, "" },
        { "grpc-status: 5\ngrpc-status-details-bin: GgL//w", 0, "" },
        { "grpc-status: 5\ngrpc-status-details-bin: *", 0, "" },
        { "grpc-status: 0\ngrpc-status-details-bin: EgJoaQ==", 0, "" },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        call(s, WEIR_RPC_GRPC, WEIR_RPC_SERVER_STREAM);
        assert_int_equal(answer(s, 200, GRPC, false), WEIR_OK);
        assert_int_equal(end_of(&s->wire, ends[i].trailers, &s->rig, &s->got), WEIR_EPARTIAL);
        assert_int_equal(error_of(s)->detail_count, ends[i].details);
        assert_span(error_of(s)->text, ends[i].text);
        if (i == 0) {
            assert_span(error_of(s)->details[0].type, "a.D");
            assert_memory_equal(error_of(s)->details[0].value, "\10\1", 2);
        }
    }
}

static void details_of_connect_errors_are_read_and_nonsense_is_left_out(void **state)
{
    side *s = *state;
    static const char json[] =
        "{\"code\":\"aborted\",\"details\":[{\"type\":\"a.D\",\"value\":\"CAE\",\"debug\":\"x\"},"
        "{\"type\":\"a.E\",\"value\":\"CAE=\",\"frob\":1,\"debug\":{\"a\":[1,{}]}},7,null,[1],"
        "{\"type\":\"no.Value\"},{\"value\":\"AA\"},{\"type\":1,\"value\":2},"
        "{\"type\":\"bad\",\"value\":\"*\"},{},{\"type\":\"a.F\",\"value\":\"\"}]}";
    call(s, WEIR_RPC_CONNECT, WEIR_RPC_UNARY);
    assert_int_equal(answer(s, 409, JSON, false), WEIR_OK);
    assert_int_equal(feed_cut(&s->wire, json, sizeof json - 1, 7, &s->got), WEIR_EPARTIAL);
    assert_int_equal(end_of(&s->wire, "", &s->rig, &s->got), WEIR_EPARTIAL);
    const weir_rpc_error *error = error_of(s);
    assert_int_equal(error->code, WEIR_RPC_ABORTED);
    assert_int_equal(error->detail_count, 3);
    assert_span(error->details[1].type, "a.E");
    assert_int_equal(error->details[1].n, 2);
    assert_memory_equal(error->details[1].value, "\10\1", 2);
    assert_span(error->details[2].type, "a.F");
}

static void an_exchange_that_broke_is_an_error_by_the_table(void **state)
{
    static const struct {
        weir_status status;
        uint32_t h2;
        weir_rpc_code code;
    } table[] = {
        { WEIR_ECANCELED, 0, WEIR_RPC_INTERNAL },
        { WEIR_ECANCELED, 1, WEIR_RPC_INTERNAL },
        { WEIR_ECANCELED, 2, WEIR_RPC_INTERNAL },
        { WEIR_ECANCELED, 7, WEIR_RPC_UNAVAILABLE },
        { WEIR_ECANCELED, 8, WEIR_RPC_CANCELLED },
        { WEIR_ECANCELED, 11, WEIR_RPC_RESOURCE_EXHAUSTED },
        { WEIR_ECANCELED, 12, WEIR_RPC_PERMISSION_DENIED },
        { WEIR_ECANCELED, 99, WEIR_RPC_UNKNOWN },
        { WEIR_EUNAVAILABLE, 7, WEIR_RPC_UNAVAILABLE },
        { WEIR_ECLOSED, 0, WEIR_RPC_UNAVAILABLE },
        { WEIR_EPROTO, 1, WEIR_RPC_INTERNAL },
        { WEIR_EDEADLINE, 8, WEIR_RPC_DEADLINE_EXCEEDED },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        call(s, WEIR_RPC_GRPC, WEIR_RPC_UNARY);
        weir_rpc_wire_broken(&s->wire, table[i].status, table[i].h2);
        assert_int_equal(error_of(s)->code, table[i].code);
        assert_int_equal(end_of(&s->wire, "grpc-status: 0", &s->rig, &s->got), table[i].status);
    }
    call(s, WEIR_RPC_GRPC, WEIR_RPC_UNARY); /* nothing is said of a connection that is well */
    weir_rpc_wire_broken(&s->wire, WEIR_EUNAVAILABLE, 7);
    assert_memory_equal(error_of(s)->text.at, "the peer did not take the call", 30);
    call(s, WEIR_RPC_GRPC, WEIR_RPC_SERVER_STREAM);
    assert_int_equal(answer(s, 200, GRPC, false), WEIR_OK);
    assert_int_equal(end_of(&s->wire, "grpc-status: 0", &s->rig, &s->got), WEIR_EPARTIAL);
    weir_rpc_wire_broken(&s->wire, WEIR_ECANCELED, 0); /* after the end it is nothing */
    assert_int_equal(error_of(s)->code, WEIR_RPC_OK);
}

static void answers_larger_than_may_be_are_refused_from_their_prefix(void **state)
{
    side *s = *state;
    call(s, WEIR_RPC_GRPC, WEIR_RPC_UNARY);
    assert_int_equal(answer(s, 200, GRPC, false), WEIR_OK);
    assert_int_equal(feed_cut(&s->wire, "\0\0\100\0\1", 5, 2, &s->got), WEIR_ELIMIT);
    assert_int_equal(error_of(s)->code, WEIR_RPC_RESOURCE_EXHAUSTED);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_side, close_side)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_protocol_has_its_head),
        TEST(a_timeout_is_rounded_up_to_what_can_be_said),
        TEST(metadata_is_sent_in_lower_case_and_base64_or_refused),
        TEST(a_get_has_its_query_in_the_order_that_caches_like),
        TEST(combinations_that_are_none_are_refused),
        TEST(answers_have_the_documented_code_however_they_are_cut),
        TEST(other_http_statuses_are_codes_by_the_table),
        TEST(metadata_and_trailers_are_told_apart),
        TEST(a_response_that_is_only_an_end_has_trailers_and_no_metadata),
        TEST(details_of_grpc_errors_are_read_and_nonsense_is_left_out),
        TEST(details_of_connect_errors_are_read_and_nonsense_is_left_out),
        TEST(an_exchange_that_broke_is_an_error_by_the_table),
        TEST(answers_larger_than_may_be_are_refused_from_their_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
