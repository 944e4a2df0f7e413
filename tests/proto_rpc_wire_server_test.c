/* The server's side of RPC on the wire: which requests are calls, what they say, and how they are
 * answered. */
#include "rpc_wire_rig.h"

/* One server, opened by a request. */
typedef struct side {
    wire_rig rig;
    weir_rpc_wire wire;
    weir_rpc_wire_request request;
    weir_http_head refusal;
    weir_bytes body;
    weir_rpc_wire_ending ending;
    fed got;
} side;

static int open_side(void **state)
{
    side *s = calloc(1, sizeof *s);
    rig_open(&s->rig);
    s->body.env = &s->rig.env;
    *state = s;
    return 0;
}

static int close_side(void **state)
{
    side *s = *state;
    weir_rpc_wire_done(&s->wire);
    weir_bytes_done(&s->body);
    rig_close(&s->rig);
    free(s);
    return 0;
}

static weir_status ask(side *s, const weir_rpc_method *method, const char *verb, const char *path,
                       const char *lines)
{
    weir_http_head head = request_of(verb, path, lines);
    return weir_rpc_wire_accept(&s->wire, &s->rig.env, NULL, s->rig.gzip, &head, method,
                                &s->rig.arena, &s->request, &s->refusal);
}

static weir_status post(side *s, const weir_rpc_method *method, const char *lines)
{
    return ask(s, method, "POST", "/a.B/M", lines);
}

static weir_rpc_code code_of(const side *s)
{
    return weir_rpc_wire_error(&s->wire)->code;
}

static weir_status finish(side *s, const weir_rpc_error *error, const char *metadata,
                          const char *trailers)
{
    size_t n, m;
    const weir_http1_field *head = fields_of(metadata, &n), *end = fields_of(trailers, &m);
    return weir_rpc_wire_finish(&s->wire, error, head, n, end, m, &s->rig.arena, &s->body,
                                &s->ending);
}

static weir_http1_span trailer(const side *s, const char *name)
{
    return field_at(s->ending.trailers, s->ending.trailer_count, name, 0);
}

/* ---- Which requests are calls ---- */

static void the_content_type_says_protocol_codec_and_framing(void **state)
{
    static const struct {
        const char *lines;
        const weir_rpc_method *method;
        weir_rpc_protocol protocol;
        weir_rpc_codec codec;
        bool is_stream, is_text;
    } cases[] = {
        { "content-type: application/grpc", &unary_method, WEIR_RPC_GRPC, WEIR_RPC_PROTO, 1, 0 },
        { "content-type: application/grpc+proto", &up_method, WEIR_RPC_GRPC, 0, 1, 0 },
        { "content-type: application/grpc+json", &up_method, WEIR_RPC_GRPC, WEIR_RPC_JSON, 1, 0 },
        { "content-type: application/grpc;x=y", &up_method, WEIR_RPC_GRPC, 0, 1, 0 },
        { "content-type: application/grpc-web", &up_method, WEIR_RPC_GRPC_WEB, 0, 1, 0 },
        { "content-type: application/grpc-web+proto", &up_method, WEIR_RPC_GRPC_WEB, 0, 1, 0 },
        { "content-type: application/grpc-web+json", &up_method, WEIR_RPC_GRPC_WEB, 1, 1, 0 },
        { "content-type: application/grpc-web-text", &up_method, WEIR_RPC_GRPC_WEB, 0, 1, 1 },
        { "content-type: application/grpc-web-text+proto", &up_method, 1, 0, 1, 1 },
        { "content-type: application/proto", &unary_method, WEIR_RPC_CONNECT, 0, 0, 0 },
        { "content-type: application/json", &unary_method, WEIR_RPC_CONNECT, 1, 0, 0 },
        { "content-type: Application/JSON ; Charset=UTF-8", &unary_method, 2, 1, 0, 0 },
        { "content-type: application/json;charset=\"utf-8\"", &unary_method, 2, 1, 0, 0 },
        { "content-type: application/connect+proto", &down_method, WEIR_RPC_CONNECT, 0, 1, 0 },
        { "content-type: application/connect+json", &both_method, WEIR_RPC_CONNECT, 1, 1, 0 },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(post(s, cases[i].method, cases[i].lines), WEIR_OK);
        assert_int_equal(s->wire.protocol, cases[i].protocol);
        assert_int_equal(s->wire.codec, cases[i].codec);
        assert_int_equal(s->wire.is_stream, cases[i].is_stream);
        assert_int_equal(s->wire.is_text, cases[i].is_text);
        assert_int_equal(s->request.timeout_ns, UINT64_MAX);
        assert_int_equal(s->request.metadata_count, 0);
    }
}

static void other_content_types_are_415_and_told_what_is_taken(void **state)
{
    static const char *const types[] = { "x: y",
                                         "content-type: ",
                                         "content-type: image/jpeg",
                                         "content-type: application/foo",
                                         "content-type: application/grpc+foo",
                                         "content-type: application/grpcx",
                                         "content-type: application/json; charset=latin1",
                                         "content-type: application/connect+proto" };
    side *s = *state;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        assert_int_equal(post(s, &unary_method, types[i]), WEIR_EREJECTED);
        assert_int_equal(s->refusal.status, 415);
        assert_true(s->refusal.ends);
        assert_true(head_at(&s->refusal, "accept-post").len > 100);
    }
    assert_int_equal(post(s, &down_method, "content-type: application/json"), WEIR_EREJECTED);
    assert_int_equal(s->refusal.status, 415);
}

static void other_verbs_are_405_and_told_which_are_allowed(void **state)
{
    side *s = *state;
    const char *lines = "content-type: application/grpc";
    assert_int_equal(ask(s, &unary_method, "DELETE", "/a.B/One", lines), WEIR_EREJECTED);
    assert_int_equal(s->refusal.status, 405);
    assert_span(head_at(&s->refusal, "allow"), "POST");
    assert_int_equal(ask(s, &unary_method, "GET", "/a.B/One?encoding=proto&message=", ""),
                     WEIR_EREJECTED);
    assert_int_equal(s->refusal.status, 405);
    assert_int_equal(ask(s, &get_method, "PUT", "/a.B/Get", lines), WEIR_EREJECTED);
    assert_span(head_at(&s->refusal, "allow"), "GET, POST");
}

static void unknown_methods_are_404_but_unimplemented_for_grpc(void **state)
{
    side *s = *state;
    assert_int_equal(post(s, NULL, "content-type: application/json"), WEIR_EREJECTED);
    assert_int_equal(s->refusal.status, 404);
    assert_int_equal(s->refusal.field_count, 0);
    assert_int_equal(post(s, NULL, "content-type: text/html"), WEIR_EREJECTED);
    assert_int_equal(s->refusal.status, 404);
    assert_int_equal(post(s, NULL, "content-type: application/grpc-web+proto"), WEIR_ENOTFOUND);
    assert_int_equal(code_of(s), WEIR_RPC_UNIMPLEMENTED);
    assert_int_equal(post(s, NULL, "content-type: application/grpc"), WEIR_ENOTFOUND);
    assert_int_equal(finish(s, weir_rpc_wire_error(&s->wire), "", ""), WEIR_OK);
    assert_int_equal(s->ending.head.status, 200);
    assert_true(s->ending.head.ends);
    assert_span(head_at(&s->ending.head, "content-type"), "application/grpc");
    assert_span(head_at(&s->ending.head, "grpc-status"), "12");
    assert_span(head_at(&s->ending.head, "grpc-message"), "unknown method");
}

/* ---- What a head says ---- */

static void timeouts_are_read_in_every_unit_and_refused_when_malformed(void **state)
{
    static const struct {
        const char *lines;
        uint64_t ns;
    } cases[] = {
        { "content-type: application/grpc\ngrpc-timeout: 1H", UINT64_C(3600000000000) },
        { "content-type: application/grpc\ngrpc-timeout: 2M", UINT64_C(120000000000) },
        { "content-type: application/grpc\ngrpc-timeout: 3S", UINT64_C(3000000000) },
        { "content-type: application/grpc\ngrpc-timeout: 4m", 4000000 },
        { "content-type: application/grpc\ngrpc-timeout: 5u", 5000 },
        { "content-type: application/grpc\ngrpc-timeout: 00000006n", 6 },
        { "content-type: application/grpc-web\ngrpc-timeout: 0n", 0 },
        { "content-type: application/grpc\ngrpc-timeout: 99999999H", UINT64_MAX },
        { "content-type: application/grpc\ngrpc-timeout: 99999999S", UINT64_C(99999999000000000) },
        { "content-type: application/proto\nconnect-timeout-ms: 9999999999",
          UINT64_C(9999999999000000) },
        { "content-type: application/proto\nconnect-timeout-ms: 0", 0 },
    };
    static const char *const wrong[] = {
        "content-type: application/grpc\ngrpc-timeout: 123456789S",
        "content-type: application/grpc\ngrpc-timeout: S",
        "content-type: application/grpc\ngrpc-timeout: 1",
        "content-type: application/grpc\ngrpc-timeout: ",
        "content-type: application/grpc\ngrpc-timeout: -1S",
        "content-type: application/grpc\ngrpc-timeout: 1s",
        "content-type: application/grpc\ngrpc-timeout: 1 S",
        "content-type: application/proto\nconnect-timeout-ms: 12345678901",
        "content-type: application/proto\nconnect-timeout-ms: ",
        "content-type: application/proto\nconnect-timeout-ms: 1.5",
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(post(s, &unary_method, cases[i].lines), WEIR_OK);
        assert_int_equal(s->request.timeout_ns, cases[i].ns);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(post(s, &unary_method, wrong[i]), WEIR_EINVAL);
        assert_int_equal(code_of(s), WEIR_RPC_INVALID_ARGUMENT);
    }
}

static void metadata_is_what_belongs_to_no_protocol(void **state)
{
    side *s = *state;
    assert_int_equal(post(s, &unary_method,
                          "content-type: application/grpc\nte: trailers\nuser-agent: me\n"
                          "grpc-accept-encoding: gzip\ngrpc-foo: 1\ngrpc-trace-bin: AQ\n"
                          "x-grpc-web: 1\nx-user-agent: grpc-web\nconnect-protocol-version: 1\n"
                          "accept-encoding: gzip\nx-a: 1\nx-a: 2\nauthorization: Bearer t\n"
                          "grpc-previous-rpc-attempts: 1\ntrailer-x: y"),
                     WEIR_OK);
    const weir_http1_field *m = s->request.metadata;
    assert_int_equal(s->request.metadata_count, 6);
    assert_span(field_at(m, 6, "user-agent", 0), "me");
    assert_span(field_at(m, 6, "x-a", 0), "1");
    assert_span(field_at(m, 6, "x-a", 1), "2");
    assert_span(field_at(m, 6, "authorization", 0), "Bearer t");
    assert_span(field_at(m, 6, "grpc-trace-bin", 0), "\1");
    assert_span(field_at(m, 6, "grpc-previous-rpc-attempts", 0), "1");
}

static void binary_metadata_is_decoded_padded_or_not_and_taken_apart_at_commas(void **state)
{
    side *s = *state;
    assert_int_equal(
        post(s, &unary_method, "content-type: application/grpc\na-bin: YQ==, YWI,YWJj\nb-bin: "),
        WEIR_OK);
    assert_int_equal(s->request.metadata_count, 4);
    assert_span(s->request.metadata[0].value, "a");
    assert_span(s->request.metadata[1].value, "ab");
    assert_span(s->request.metadata[2].value, "abc");
    assert_span(s->request.metadata[3].value, "");
    assert_int_equal(post(s, &unary_method, "content-type: application/grpc\na-bin: Y"),
                     WEIR_EINVAL);
    assert_int_equal(code_of(s), WEIR_RPC_INVALID_ARGUMENT);
}

static void too_much_metadata_is_refused(void **state)
{
    side *s = *state;
    weir_rpc_wire_limits limits = { .fields_max = 2 };
    weir_http_head head = request_of("POST", "/a.B/One",
                                     "content-type: application/grpc\na: 1\n"
                                     "b-bin: YQ,YQ");
    assert_int_equal(weir_rpc_wire_accept(&s->wire, &s->rig.env, &limits, NULL, &head,
                                          &unary_method, &s->rig.arena, &s->request, &s->refusal),
                     WEIR_ELIMIT);
    assert_int_equal(code_of(s), WEIR_RPC_RESOURCE_EXHAUSTED);
    assert_int_equal(finish(s, weir_rpc_wire_error(&s->wire), "", "a: 1\nb: 2\nc: 3"), WEIR_ELIMIT);
    assert_int_equal(finish(s, weir_rpc_wire_error(&s->wire), "", "a: 1\nb: 2"), WEIR_OK);
}

static void unknown_compression_is_answered_with_what_is_taken(void **state)
{
    static const struct {
        const char *lines, *told;
        const weir_rpc_method *method;
    } cases[] = {
        { "content-type: application/grpc\ngrpc-encoding: foo", "grpc-accept-encoding",
          &unary_method },
        { "content-type: application/grpc-web\ngrpc-encoding: foo", "grpc-accept-encoding",
          &unary_method },
        { "content-type: application/proto\ncontent-encoding: foo", "accept-encoding",
          &unary_method },
        { "content-type: application/connect+json\nconnect-content-encoding: foo",
          "connect-accept-encoding", &up_method },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        s->body.len = 0;
        assert_int_equal(post(s, cases[i].method, cases[i].lines), WEIR_EUNSUPPORTED);
        assert_int_equal(code_of(s), WEIR_RPC_UNIMPLEMENTED);
        assert_int_equal(finish(s, weir_rpc_wire_error(&s->wire), "", ""), WEIR_OK);
        assert_span(head_at(&s->ending.head, cases[i].told), "gzip");
    }
    weir_rpc_wire_limits limits = { .no_gzip = true };
    weir_http_head head = request_of("POST", "/",
                                     "content-type: application/grpc\n"
                                     "grpc-encoding: gzip");
    assert_int_equal(weir_rpc_wire_accept(&s->wire, NULL, &limits, s->rig.gzip, &head,
                                          &unary_method, &s->rig.arena, &s->request, &s->refusal),
                     WEIR_EUNSUPPORTED);
}

static void other_versions_of_connect_are_refused(void **state)
{
    side *s = *state;
    assert_int_equal(
        post(s, &unary_method, "content-type: application/proto\nconnect-protocol-version: 2"),
        WEIR_EINVAL);
    assert_int_equal(code_of(s), WEIR_RPC_INVALID_ARGUMENT);
}

static void an_answer_is_compressed_only_if_that_is_accepted(void **state)
{
    static const struct {
        const char *accepted;
        bool is_gzip;
    } cases[] = {
        { "grpc-accept-encoding: gzip", true },
        { "grpc-accept-encoding: identity, deflate,gzip", true },
        { "grpc-accept-encoding: identity,gzipx", false },
        { "grpc-accept-encoding: gzip;q=0.5", true },
        { "grpc-accept-encoding: gzip;q=0", false },
        { "grpc-accept-encoding: gzip; q=0.000, br", false },
        { "grpc-accept-encoding: ,", false },
        { "accept-encoding: gzip", false },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char lines[200];
        weir_http_head head;
        snprintf(lines, sizeof lines, "content-type: application/grpc\n%s", cases[i].accepted);
        assert_int_equal(post(s, &unary_method, lines), WEIR_OK);
        assert_int_equal(weir_rpc_wire_respond(&s->wire, NULL, 0, &s->rig.arena, &head), WEIR_OK);
        assert_span(head_at(&head, "grpc-encoding"), cases[i].is_gzip ? "gzip" : "");
    }
}

/* ---- Connect by GET ---- */

static void a_get_has_its_message_in_the_query(void **state)
{
    static const struct {
        const char *path, *message;
        weir_rpc_codec codec;
    } cases[] = {
        { "/a.B/Get?connect=v1&encoding=json&message=%7b%22a+b%22%3A1%7D", "{\"a b\":1}", 1 },
        { "/a.B/Get?message=YWI_&base64=1&encoding=proto", "ab?", 0 },
        { "/a.B/Get?message=YWI%2F&base64=1&encoding=proto", "ab?", 0 },
        { "/a.B/Get?encoding=proto&message=YQ%3D%3D&base64=1&x=y&&z", "a", 0 },
        { "/a.B/Get?encoding=proto&message=&compression=identity", "", 0 },
        { "/a.B/Get?encoding=proto&message=a&message=b", "a", 0 },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        s->got = (fed){ .count = 0 };
        assert_int_equal(ask(s, &get_method, "GET", cases[i].path, "x-a: 1"), WEIR_OK);
        assert_true(s->wire.is_get && s->wire.codec == cases[i].codec);
        assert_int_equal(end_of(&s->wire, "", &s->rig, &s->got), WEIR_OK);
        assert_int_equal(s->got.len, strlen(cases[i].message));
        assert_memory_equal(s->got.bytes, cases[i].message, s->got.len);
    }
    assert_int_equal(feed_cut(&s->wire, "x", 1, 1, &s->got), WEIR_EINVAL);
}

static void a_get_that_is_wrong_is_told_why(void **state)
{
    static const struct {
        const char *path;
        weir_status status;
        weir_rpc_code code;
    } cases[] = {
        { "/a.B/Get?encoding=foo&message=", WEIR_EREJECTED, 0 },
        { "/a.B/Get", WEIR_EREJECTED, 0 },
        { "/a.B/Get?encoding=proto", WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT },
        { "/a.B/Get?encoding=proto&message=%4", WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT },
        { "/a.B/Get?encoding=proto&message=%zz", WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT },
        { "/a.B/Get?encoding=proto&message=*&base64=1", WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT },
        { "/a.B/Get?encoding=proto&message=&connect=v2", WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT },
        { "/a.B/Get?encoding=proto&message=&compression=br", WEIR_EUNSUPPORTED,
          WEIR_RPC_UNIMPLEMENTED },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(ask(s, &get_method, "GET", cases[i].path, ""), cases[i].status);
        if (cases[i].status == WEIR_EREJECTED)
            assert_int_equal(s->refusal.status, 415);
        else
            assert_int_equal(code_of(s), cases[i].code);
    }
}

/* ---- What comes in ---- */

static void bodies_that_break_the_rules_have_the_documented_code(void **state)
{
#define GRPC "content-type: application/grpc"
    static const struct {
        const char *lines;
        const weir_rpc_method *method;
        const char *bytes;
        size_t n;
        weir_rpc_code code;
    } cases[] = {
        { GRPC, &unary_method, "", 0, WEIR_RPC_UNIMPLEMENTED },
        { GRPC, &down_method, "", 0, WEIR_RPC_UNIMPLEMENTED },
        { GRPC, &up_method, "", 0, WEIR_RPC_OK },
        { GRPC, &unary_method, "\0\0\0\0\0", 5, WEIR_RPC_OK },
        { GRPC, &unary_method, "\0\0\0\0\0\0\0\0\0\0", 10, WEIR_RPC_UNIMPLEMENTED },
        { GRPC, &down_method, "\0\0\0\0\0\0\0\0\0\1", 10, WEIR_RPC_UNIMPLEMENTED },
        { GRPC, &both_method, "\0\0\0\0\0\0\0\0\0\0", 10, WEIR_RPC_OK },
        { GRPC, &up_method, "\1\0\0\0\1x", 6, WEIR_RPC_INTERNAL },
        { GRPC "\ngrpc-encoding: identity", &up_method, "\1\0\0\0\1x", 6, WEIR_RPC_INTERNAL },
        { GRPC "\ngrpc-encoding: gzip", &up_method, "\1\0\0\0\1x", 6, WEIR_RPC_INTERNAL },
        { GRPC "\ngrpc-encoding: gzip", &up_method, "\1\0\0\0\0", 5, WEIR_RPC_OK },
        { GRPC, &up_method, "\2\0\0\0\0", 5, WEIR_RPC_INTERNAL },
        { GRPC, &up_method, "\200\0\0\0\0", 5, WEIR_RPC_INTERNAL },
        { GRPC, &up_method, "\0\0\100\0\1", 5, WEIR_RPC_RESOURCE_EXHAUSTED },
        { GRPC, &up_method, "\0\377\377\377\377", 5, WEIR_RPC_RESOURCE_EXHAUSTED },
        { GRPC, &up_method, "\0\0\0\0\12abc", 8, WEIR_RPC_INTERNAL },
        { GRPC, &up_method, "\0\0\0", 3, WEIR_RPC_INTERNAL },
        { "content-type: application/grpc-web", &up_method, "\200\0\0\0\0", 5, WEIR_RPC_INTERNAL },
        { "content-type: application/connect+proto", &up_method, "\2\0\0\0\2{}", 7,
          WEIR_RPC_INTERNAL },
        { "content-type: application/connect+proto", &down_method, "", 0, WEIR_RPC_UNIMPLEMENTED },
        { "content-type: application/connect+proto", &up_method, "\0\0\0", 3, WEIR_RPC_INTERNAL },
        { "content-type: application/proto", &unary_method, "", 0, WEIR_RPC_OK },
        { "content-type: application/proto\ncontent-encoding: gzip", &unary_method, "", 0,
          WEIR_RPC_OK },
        { "content-type: application/proto\ncontent-encoding: gzip", &unary_method, "x", 1,
          WEIR_RPC_INTERNAL },
    };
    side *s = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t cut = 1; cut < 12; cut++) {
            s->got = (fed){ .count = 0 };
            assert_int_equal(post(s, cases[i].method, cases[i].lines), WEIR_OK);
            weir_status status = feed_cut(&s->wire, cases[i].bytes, cases[i].n, cut, &s->got);
            weir_status at_end = end_of(&s->wire, "", &s->rig, &s->got);
            if (code_of(s) != cases[i].code)
                fail_msg("case %zu, cut %zu: code %d", i, cut, code_of(s));
            if (status != WEIR_EPARTIAL)
                assert_int_equal(at_end, status);
            assert_int_equal(at_end == WEIR_OK || at_end == WEIR_EPARTIAL,
                             cases[i].code == WEIR_RPC_OK);
        }
    }
}

static void a_unary_body_larger_than_may_be_is_refused_when_announced_or_as_it_comes(void **state)
{
    side *s = *state;
    weir_rpc_wire_limits limits = { .message_bytes_max = 4 };
    weir_http_head head = request_of("POST", "/", "content-type: application/proto");
    head.content_length = 5;
    assert_int_equal(weir_rpc_wire_accept(&s->wire, &s->rig.env, &limits, NULL, &head,
                                          &unary_method, &s->rig.arena, &s->request, &s->refusal),
                     WEIR_ELIMIT);
    assert_int_equal(code_of(s), WEIR_RPC_RESOURCE_EXHAUSTED);
    head.content_length = UINT64_MAX;
    assert_int_equal(weir_rpc_wire_accept(&s->wire, &s->rig.env, &limits, NULL, &head,
                                          &unary_method, &s->rig.arena, &s->request, &s->refusal),
                     WEIR_OK);
    assert_int_equal(feed_cut(&s->wire, "abcd", 4, 2, &s->got), WEIR_EPARTIAL);
    assert_int_equal(feed_cut(&s->wire, "e", 1, 2, &s->got), WEIR_ELIMIT);
    assert_int_equal(code_of(s), WEIR_RPC_RESOURCE_EXHAUSTED);
}

static void a_unary_body_of_the_announced_length_is_not_copied(void **state)
{
    side *s = *state;
    weir_http_head head = request_of("POST", "/", "content-type: application/proto");
    size_t used;
    weir_http1_span message;
    const char *bytes = "abcd";
    head.content_length = 4;
    assert_int_equal(weir_rpc_wire_accept(&s->wire, &s->rig.env, NULL, NULL, &head, &unary_method,
                                          &s->rig.arena, &s->request, &s->refusal),
                     WEIR_OK);
    assert_int_equal(weir_rpc_wire_feed(&s->wire, bytes, 4, &used, &message), WEIR_OK);
    assert_ptr_equal(message.at, bytes);
    assert_int_equal(end_of(&s->wire, "", &s->rig, &s->got), WEIR_EPARTIAL);
}

/* ---- Answers ---- */

static const weir_rpc_detail one_detail = { { "a.D", 3 }, "\10\1", 2 };
static const weir_rpc_error an_error = {
    WEIR_RPC_NOT_FOUND, { "no \303\244\n%", 7 }, &one_detail, 1
};

static void grpc_ends_with_trailers(void **state)
{
    side *s = *state;
    weir_http_head head;
    assert_int_equal(post(s, &up_method, "content-type: application/grpc+proto"), WEIR_OK);
    assert_int_equal(weir_rpc_wire_respond(&s->wire, NULL, 0, &s->rig.arena, &head), WEIR_OK);
    assert_int_equal(head.status, 200);
    assert_int_equal(head.field_count, 1);
    assert_span(head_at(&head, "content-type"), "application/grpc+proto");
    assert_int_equal(weir_rpc_wire_respond(&s->wire, NULL, 0, &s->rig.arena, &head), WEIR_EEXIST);
    assert_int_equal(finish(s, &an_error, "", "X-T: 1"), WEIR_OK);
    assert_int_equal(s->ending.head.status, 0);
    assert_int_equal(s->ending.trailer_count, 4);
    assert_span(trailer(s, "grpc-status"), "5");
    assert_span(trailer(s, "grpc-message"), "no %C3%A4%0A%25");
    /* code 5, the text, and an Any of "type.googleapis.com/a.D" */
    assert_span(trailer(s, "grpc-status-details-bin"),
                "CAUSB25vIMOkCiUaHQoXdHlwZS5nb29nbGVhcGlzLmNvbS9hLkQSAggB");
    assert_span(trailer(s, "x-t"), "1");
    assert_int_equal(s->body.len, 0);
    weir_rpc_error shorter = an_error;
    shorter.text = text_of("short");
    assert_int_equal(finish(s, &shorter, "", ""), WEIR_OK);
    assert_span(trailer(s, "grpc-status-details-bin"),
                "CAUSBXNob3J0Gh0KF3R5cGUuZ29vZ2xlYXBpcy5jb20vYS5EEgIIAQ"); /* without padding */
}

static void grpc_errors_before_anything_else_are_all_in_the_head(void **state)
{
    side *s = *state;
    assert_int_equal(post(s, &up_method, "content-type: application/grpc"), WEIR_OK);
    assert_int_equal(finish(s, &an_error, "", "x-t: 1"), WEIR_OK);
    assert_true(s->ending.head.ends);
    assert_int_equal(s->ending.trailer_count, 0);
    assert_span(head_at(&s->ending.head, "grpc-status"), "5");
    assert_span(head_at(&s->ending.head, "x-t"), "1");
    assert_int_equal(post(s, &up_method, "content-type: application/grpc"), WEIR_OK);
    assert_int_equal(finish(s, &an_error, "x-h: 1", "x-t: 1"),
                     WEIR_OK); /* metadata has its place */
    assert_false(s->ending.head.ends);
    assert_span(head_at(&s->ending.head, "x-h"), "1");
    assert_span(trailer(s, "grpc-status"), "5");
}

static void grpc_web_ends_with_an_envelope_of_trailers(void **state)
{
    side *s = *state;
    assert_int_equal(post(s, &up_method, "content-type: application/grpc-web"), WEIR_OK);
    assert_int_equal(finish(s, NULL, "", "X-T: 1\nx-t: 2"), WEIR_OK);
    assert_span(head_at(&s->ending.head, "content-type"), "application/grpc-web");
    assert_int_equal(s->ending.trailer_count, 0);
    assert_int_equal(s->body.len, 5 + 32);
    assert_memory_equal(s->body.at, "\200\0\0\0\40grpc-status: 0\r\nx-t: 1\r\nx-t: 2\r\n", 37);
    s->body.len = 0;
    assert_int_equal(post(s, &up_method, "content-type: application/grpc-web-text"), WEIR_OK);
    assert_int_equal(finish(s, NULL, "", ""), WEIR_OK);
    assert_span(((weir_http1_span){ s->body.at, s->body.len }), "gAAAABBncnBjLXN0YXR1czogMA0K");
}

static void connect_streams_end_with_an_envelope_of_json(void **state)
{
    static const char end[] = "{\"error\":{\"code\":\"not_found\",\"message\":\"no \303\244\\n%\","
                              "\"details\":[{\"type\":\"a.D\",\"value\":\"CAE\"}]},"
                              "\"metadata\":{\"x-t\":[\"1\",\"3\"],\"y-bin\":[\"YQ\"]}}";
    side *s = *state;
    assert_int_equal(post(s, &up_method, "content-type: application/connect+json"), WEIR_OK);
    assert_int_equal(finish(s, &an_error, "", "x-t: 1\ny-bin: a\nX-T: 3"), WEIR_OK);
    assert_int_equal(s->ending.head.status, 200);
    assert_int_equal(s->body.at[0], 2);
    assert_int_equal(s->body.at[4], (char)(sizeof end - 1));
    assert_span(((weir_http1_span){ s->body.at + 5, s->body.len - 5 }), end);
    s->body.len = 0;
    assert_int_equal(post(s, &up_method, "content-type: application/connect+json"), WEIR_OK);
    assert_int_equal(finish(s, NULL, "", ""), WEIR_OK);
    assert_memory_equal(s->body.at, "\2\0\0\0\2{}", 7);
}

static void connect_unary_calls_answer_by_http_status_and_json(void **state)
{
    side *s = *state;
    weir_http_head head;
    assert_int_equal(post(s, &unary_method, "content-type: application/proto"), WEIR_OK);
    assert_int_equal(weir_rpc_wire_respond(&s->wire, NULL, 0, &s->rig.arena, &head), WEIR_EAGAIN);
    assert_int_equal(weir_bytes_append(&s->body, "old", 3), WEIR_OK);
    assert_int_equal(finish(s, &an_error, "x-h: 1", "x-t: 2"), WEIR_OK);
    assert_int_equal(s->ending.head.status, 404);
    assert_span(head_at(&s->ending.head, "content-type"), "application/json");
    assert_span(head_at(&s->ending.head, "x-h"), "1");
    assert_span(head_at(&s->ending.head, "trailer-x-t"), "2");
    assert_int_equal(s->ending.head.content_length, s->body.len);
    assert_span(((weir_http1_span){ s->body.at, s->body.len }),
                "{\"code\":\"not_found\",\"message\":\"no \303\244\\n%\","
                "\"details\":[{\"type\":\"a.D\",\"value\":\"CAE\"}]}");
#define CODE(name, number, connect, http) { number, connect, http },
    static const struct {
        int code;
        const char *name;
        unsigned http;
    } codes[] = { WEIR_RPC_CODE_LIST(CODE) };
    for (size_t i = 1; i < sizeof codes / sizeof codes[0]; i++) {
        char json[100];
        weir_rpc_error error = { .code = (weir_rpc_code)codes[i].code };
        snprintf(json, sizeof json, "{\"code\":\"%s\"}", codes[i].name);
        assert_int_equal(finish(s, &error, "", ""), WEIR_OK);
        assert_int_equal(s->ending.head.status, codes[i].http);
        assert_span(((weir_http1_span){ s->body.at, s->body.len }), json);
    }
}

static void a_connect_unary_message_is_kept_or_compressed(void **state)
{
    side *s = *state;
    char zeros[2000] = { 0 };
    assert_int_equal(
        post(s, &unary_method, "content-type: application/proto\naccept-encoding: gzip"), WEIR_OK);
    assert_int_equal(weir_bytes_append(&s->body, "abc", 3), WEIR_OK);
    assert_int_equal(finish(s, NULL, "", ""), WEIR_OK);
    assert_int_equal(s->body.len, 3);
    assert_span(head_at(&s->ending.head, "content-encoding"), "");
    assert_int_equal(weir_bytes_append(&s->body, zeros, sizeof zeros), WEIR_OK);
    assert_int_equal(finish(s, NULL, "", ""), WEIR_OK);
    assert_true(s->body.len < 100);
    assert_int_equal(s->ending.head.content_length, s->body.len);
    assert_span(head_at(&s->ending.head, "content-encoding"), "gzip");
    s->body.len = 0;
    assert_int_equal(finish(s, NULL, "", ""), WEIR_OK); /* an empty message is one */
    assert_true(s->ending.head.ends && s->ending.head.status == 200);
}

static void
metadata_that_may_not_be_sent_is_refused_and_the_call_can_still_be_finished(void **state)
{
    static const char *const wrong[] = {
        "grpc-status: 0", "Content-Type: x",      ":status: 1",       "a b: 1",
        "a: b\001",       "a: \303\244",          "connect-x: 1",     "te: x",
        "trailer-x: 1",   "transfer-encoding: x", "content-length: 1"
    };
    side *s = *state;
    static const char *const types[] = { "content-type: application/grpc",
                                         "content-type: application/grpc-web",
                                         "content-type: application/json" };
    for (size_t t = 0; t < 3; t++) {
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            s->body.len = 0;
            assert_int_equal(post(s, &unary_method, types[t]), WEIR_OK);
            assert_int_equal(finish(s, NULL, wrong[i], ""), WEIR_EINVAL);
            assert_int_equal(finish(s, NULL, "", wrong[i]), WEIR_EINVAL);
            assert_int_equal(s->body.len, 0);
            assert_int_equal(finish(s, &an_error, "", ""), WEIR_OK);
        }
    }
}

static void text_that_is_no_utf8_is_mended(void **state)
{
    side *s = *state;
    const weir_rpc_error error = { WEIR_RPC_ABORTED, { "a\377b\303", 4 }, NULL, 0 };
    assert_int_equal(post(s, &unary_method, "content-type: application/json"), WEIR_OK);
    assert_int_equal(finish(s, &error, "", ""), WEIR_OK);
    assert_span(((weir_http1_span){ s->body.at, s->body.len }),
                "{\"code\":\"aborted\",\"message\":\"a?b?\"}");
    assert_int_equal(post(s, &unary_method, "content-type: application/grpc"), WEIR_OK);
    s->body.len = 0;
    assert_int_equal(finish(s, &error, "", ""), WEIR_OK);
    assert_span(head_at(&s->ending.head, "grpc-message"), "a?b?");
}

static void without_memory_an_answer_says_so_where_static_text_can(void **state)
{
    side *s = *state;
    weir_arena none;
    weir_arena_init(&none, &s->rig.env, NULL, 0, 1);
    weir_http_head head;
    assert_int_equal(post(s, &up_method, "content-type: application/grpc"), WEIR_OK);
    assert_int_equal(
        weir_rpc_wire_finish(&s->wire, &an_error, NULL, 0, NULL, 0, &none, &s->body, &s->ending),
        WEIR_OK);
    assert_span(head_at(&s->ending.head, "grpc-status"), "8");
    assert_int_equal(post(s, &up_method, "content-type: application/grpc"), WEIR_OK);
    assert_int_equal(weir_rpc_wire_respond(&s->wire, NULL, 0, &none, &head), WEIR_OK);
    assert_int_equal(
        weir_rpc_wire_finish(&s->wire, &an_error, NULL, 0, NULL, 0, &none, &s->body, &s->ending),
        WEIR_OK);
    assert_span(trailer(s, "grpc-status"), "8");
    assert_int_equal(post(s, &unary_method, "content-type: application/json"), WEIR_OK);
    assert_int_equal(
        weir_rpc_wire_finish(&s->wire, &an_error, NULL, 0, NULL, 0, &none, &s->body, &s->ending),
        WEIR_OK);
    assert_int_equal(s->ending.head.status, 503);
    assert_int_equal(post(s, &up_method, "content-type: application/connect+json"), WEIR_OK);
    assert_int_equal(
        weir_rpc_wire_finish(&s->wire, &an_error, NULL, 0, NULL, 0, &none, &s->body, &s->ending),
        WEIR_ENOMEM);
    weir_arena_done(&none);
}

/* ---- Codes ---- */

static void codes_have_names_and_are_weirs_and_back(void **state)
{
    (void)state;
    assert_string_equal(weir_rpc_code_name(WEIR_RPC_CANCELLED), "CANCELLED");
    assert_string_equal(weir_rpc_code_connect_name(WEIR_RPC_CANCELLED), "canceled");
    assert_string_equal(weir_rpc_code_name((weir_rpc_code)17), "UNKNOWN");
    assert_string_equal(weir_rpc_code_connect_name((weir_rpc_code)-1), "unknown");
    assert_int_equal(weir_rpc_code_of(WEIR_EDEADLINE), WEIR_RPC_DEADLINE_EXCEEDED);
    assert_int_equal(weir_rpc_code_of(WEIR_EOVERLOAD), WEIR_RPC_UNAVAILABLE);
    assert_int_equal(weir_rpc_code_of((weir_status)-99), WEIR_RPC_UNKNOWN);
    assert_int_equal(weir_rpc_code_of((weir_status)1), WEIR_RPC_UNKNOWN);
    assert_int_equal(weir_rpc_code_status((weir_rpc_code)99), WEIR_EINTERNAL);
    for (int status = 0; status > -WEIR_STATUS_COUNT; status--)
        assert_int_equal(weir_rpc_code_of((weir_status)status) == WEIR_RPC_OK, status == 0);
    for (int code = 0; code <= 16; code++) {
        assert_int_equal(weir_rpc_code_status((weir_rpc_code)code) == WEIR_OK, code == 0);
        weir_rpc_code back = weir_rpc_code_of(weir_rpc_code_status((weir_rpc_code)code));
        if (code != 2 && code != 10 && code != 11 && code != 15 && code != 16)
            assert_int_equal(back, code);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_side, close_side)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_content_type_says_protocol_codec_and_framing),
        TEST(other_content_types_are_415_and_told_what_is_taken),
        TEST(other_verbs_are_405_and_told_which_are_allowed),
        TEST(unknown_methods_are_404_but_unimplemented_for_grpc),
        TEST(timeouts_are_read_in_every_unit_and_refused_when_malformed),
        TEST(metadata_is_what_belongs_to_no_protocol),
        TEST(binary_metadata_is_decoded_padded_or_not_and_taken_apart_at_commas),
        TEST(too_much_metadata_is_refused),
        TEST(unknown_compression_is_answered_with_what_is_taken),
        TEST(other_versions_of_connect_are_refused),
        TEST(an_answer_is_compressed_only_if_that_is_accepted),
        TEST(a_get_has_its_message_in_the_query),
        TEST(a_get_that_is_wrong_is_told_why),
        TEST(bodies_that_break_the_rules_have_the_documented_code),
        TEST(a_unary_body_larger_than_may_be_is_refused_when_announced_or_as_it_comes),
        TEST(a_unary_body_of_the_announced_length_is_not_copied),
        TEST(grpc_ends_with_trailers),
        TEST(grpc_errors_before_anything_else_are_all_in_the_head),
        TEST(grpc_web_ends_with_an_envelope_of_trailers),
        TEST(connect_streams_end_with_an_envelope_of_json),
        TEST(connect_unary_calls_answer_by_http_status_and_json),
        TEST(a_connect_unary_message_is_kept_or_compressed),
        TEST(metadata_that_may_not_be_sent_is_refused_and_the_call_can_still_be_finished),
        TEST(text_that_is_no_utf8_is_mended),
        TEST(without_memory_an_answer_says_so_where_static_text_can),
        cmocka_unit_test(codes_have_names_and_are_weirs_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
