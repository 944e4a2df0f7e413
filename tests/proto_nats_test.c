/* The NATS protocol: what is understood, what is refused, and that cuts in the stream do not
 * matter. */
#include <weir/nats_proto.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static weir_nats_text T(const char *string)
{
    return weir_nats_text_of(string);
}

#define assert_text(text, string)                              \
    do {                                                       \
        assert_int_equal((text).size, strlen(string));         \
        assert_memory_equal((text).data, string, (text).size); \
    } while (0)

/* Everything a stream meant, as text: a cut changes the calls, and may not change this. */
typedef struct transcript {
    char text[8192];
    size_t size;
} transcript;

static void note(transcript *log, const char *label, weir_nats_text text)
{
    int size = snprintf(log->text + log->size, sizeof log->text - log->size, "%s<%.*s>", label,
                        (int)text.size, text.data != NULL ? text.data : "");
    log->size += (size_t)size;
    assert_true(log->size < sizeof log->text);
}

static void note_event(transcript *log, const weir_nats_event *event)
{
    char head[64];
    snprintf(head, sizeof head, "\n%d %llu ", (int)event->op, (unsigned long long)event->sid);
    note(log, head, event->text);
    note(log, "s", event->subject);
    note(log, "r", event->reply);
    note(log, "h", event->header);
    note(log, "p", event->payload);
}

static const weir_nats_parser small_limits = { .line_bytes_max = 128,
                                               .info_bytes_max = 256,
                                               .payload_bytes_max = 64 };

/* Feeds `stream` in pieces of `step` bytes, the first of `first`; each piece lands in a buffer of
 * exactly the bytes unread, so that a read past them is seen by the sanitizer. */
static weir_status run_cut(const char *stream, size_t size, size_t first, size_t step,
                           transcript *log)
{
    weir_nats_parser parser = small_limits;
    size_t start = 0, end = first;
    for (;;) {
        size_t unread = end - start;
        char *buffer = malloc(unread + 1);
        char *data = buffer + 1; /* ends at the allocation's end */
        memcpy(data, stream + start, unread);
        size_t used = 0;
        weir_nats_event event;
        weir_status status = weir_nats_parse(&parser, data, unread, &used, &event);
        if (status == WEIR_OK) {
            note_event(log, &event);
            start += used;
        }
        free(buffer);
        if (status == WEIR_OK)
            continue;
        if (status != WEIR_EPARTIAL || end == size)
            return status;
        end = end + step < size ? end + step : size;
    }
}

static void same_at_every_cut(const char *stream, size_t size, weir_status expected)
{
    static transcript whole, cut;
    memset(&whole, 0, sizeof whole);
    assert_int_equal(run_cut(stream, size, size, 1, &whole), expected);
    for (size_t first = 0; first <= size; first++) {
        memset(&cut, 0, sizeof cut);
        assert_int_equal(run_cut(stream, size, first, size, &cut), expected);
        assert_string_equal(cut.text, whole.text);
    }
    memset(&cut, 0, sizeof cut);
    assert_int_equal(run_cut(stream, size, 0, 1, &cut), expected);
    assert_string_equal(cut.text, whole.text);
}

static void every_cut_of_a_session_gives_the_same_operations(void **state)
{
    (void)state;
    static const char stream[] = "INFO {\"server_id\":\"x\",\"max_payload\":1048576} \r\n"
                                 "PING\r\n+OK\r\nPONG\r\nmsg a.b 9 3\r\nabc\r\n"
                                 "MSG  a.b\t7  _INBOX.1 0 \r\n\r\n"
                                 "HMSG a 1 18 21\r\nNATS/1.0\r\nA: b\r\n\r\n\r\nx\r\n"
                                 "HMSG a 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n"
                                 "-ERR 'Slow Consumer'\r\n";
    same_at_every_cut(stream, sizeof stream - 1, WEIR_EPARTIAL);
}

static void every_cut_of_a_bad_stream_gives_the_same_error(void **state)
{
    (void)state;
    static const struct {
        const char *stream;
        weir_status status;
    } bad[] = {
        { "PING\r\nBOGUS\r\n", WEIR_EPROTO },
        { "PING\r\nPIN\r\n", WEIR_EPROTO },
        { "PINGS\r\n", WEIR_EPROTO },
        { "PING\n", WEIR_EPROTO },
        { "PING\r\r\n", WEIR_EPROTO },
        { "PING x\r\n", WEIR_EPROTO },
        { "+OK no\r\n", WEIR_EPROTO },
        { "INFO \r\n", WEIR_EPROTO },
        { "INFO {\x01}\r\n", WEIR_EPROTO },
        { "MSG a 1\r\n", WEIR_EPROTO },
        { "MSG a 1 r 2 2\r\nab\r\n", WEIR_EPROTO },
        { "MSG a 1 r s 2 2\r\nab\r\n", WEIR_EPROTO },
        { "MSG a x 1\r\na\r\n", WEIR_EPROTO },
        { "MSG a 1 -1\r\n\r\n", WEIR_EPROTO },
        { "MSG a 1 0x1\r\na\r\n", WEIR_EPROTO },
        { "MSG a 1 99999999999999999999\r\n", WEIR_EPROTO },
        { "MSG a 1 9999999999999999999\r\n", WEIR_ELIMIT },
        { "MSG a 1 65\r\n", WEIR_ELIMIT },
        { "MSG a 1 2\r\nabc\r\n", WEIR_EPROTO },
        { "MSG a 1 2\r\nab\n\n", WEIR_EPROTO },
        { "HMSG a 1 11 11\r\nNATS/1.0\r\n\r\r\n", WEIR_EPROTO },
        { "HMSG a 1 13 12\r\nNATS/1.0\r\n\r\n\r\n", WEIR_EPROTO },
        { "HMSG a 1 12 12\r\nNATS/2.0\r\n\r\n\r\n", WEIR_EPROTO },
        { "HMSG a 1 12 12\r\nNATS/1.0\r\nxx\r\n", WEIR_EPROTO },
        { "HMSG a 1 13 13\r\nNATS/1.0x\r\n\r\n\r\n", WEIR_EPROTO },
        { "HMSG a 1 12\r\nNATS/1.0\r\n\r\n\r\n", WEIR_EPROTO },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        same_at_every_cut(bad[i].stream, strlen(bad[i].stream), bad[i].status);
}

static void a_line_over_its_limit_is_refused_at_every_cut(void **state)
{
    (void)state;
    char stream[300];
    memset(stream, 'a', sizeof stream);
    memcpy(stream, "-ERR ", 5);
    memcpy(stream + 126, "\r\n", 2);
    same_at_every_cut(stream, 128, WEIR_EPARTIAL);
    memcpy(stream + 126, "a\r\n", 3);
    same_at_every_cut(stream, 129, WEIR_ELIMIT);
    memcpy(stream, "INFO ", 5);
    memset(stream + 5, 'a', sizeof stream - 5);
    same_at_every_cut(stream, 255, WEIR_EPARTIAL);
    same_at_every_cut(stream, 256, WEIR_ELIMIT);
}

static void an_error_is_final(void **state)
{
    (void)state;
    weir_nats_parser parser = { 0 };
    size_t used;
    weir_nats_event event;
    assert_int_equal(weir_nats_parse(&parser, "HTTP", 4, &used, &event), WEIR_EPROTO);
    assert_int_equal(weir_nats_parse(&parser, "PING\r\n", 6, &used, &event), WEIR_EPROTO);
}

static void the_need_names_the_whole_message_once_its_line_is_read(void **state)
{
    (void)state;
    weir_nats_parser parser = { 0 };
    size_t used;
    weir_nats_event event;
    assert_int_equal(weir_nats_parse(&parser, "MSG a 1 10", 10, &used, &event), WEIR_EPARTIAL);
    assert_int_equal(weir_nats_parser_need(&parser), WEIR_NATS_INFO_BYTES_MAX);
    assert_int_equal(weir_nats_parse(&parser, "MSG a 1 1000\r\n", 14, &used, &event),
                     WEIR_EPARTIAL);
    assert_int_equal(weir_nats_parser_need(&parser), 14 + 1000 + 2);
}

static void a_message_with_headers_is_taken_apart(void **state)
{
    (void)state;
    static const char wire[] =
        "HMSG orders.eu 42 _INBOX.x 59 61\r\n"
        "NATS/1.0 503 no one\r\nTrace-ID:  t-1 \r\nA:1\r\na: 2\r\nEmpty:\r\n\r\nhi\r\n";
    weir_nats_parser parser = { 0 };
    size_t used;
    weir_nats_event event;
    assert_int_equal(weir_nats_parse(&parser, wire, sizeof wire - 1, &used, &event), WEIR_OK);
    assert_int_equal(used, sizeof wire - 1);
    assert_int_equal(event.op, WEIR_NATS_MSG);
    assert_int_equal(event.sid, 42);
    assert_text(event.subject, "orders.eu");
    assert_text(event.reply, "_INBOX.x");
    assert_text(event.payload, "hi");
    assert_int_equal(weir_nats_header_status(event.header), 503);
    weir_nats_text value;
    assert_int_equal(weir_nats_header_find(event.header, "trace-id", &value), WEIR_OK);
    assert_text(value, "t-1");
    assert_int_equal(weir_nats_header_find(event.header, "a", &value), WEIR_OK);
    assert_text(value, "1");
    assert_int_equal(weir_nats_header_find(event.header, "Empty", &value), WEIR_OK);
    assert_int_equal(value.size, 0);
    assert_int_equal(weir_nats_header_find(event.header, "nope", &value), WEIR_ENOTFOUND);
}

static void a_malformed_header_block_is_an_error_not_a_field(void **state)
{
    (void)state;
    static const char *const blocks[] = { "NATS/1.0\r\nnocolon\r\n\r\n",  "NATS/1.0\r\n: v\r\n\r\n",
                                          "NATS/1.0\r\n\r\nA: b\r\n\r\n", "NATS/1.0\r\nA: b\n\r\n",
                                          "NATS/1.0\r\nA: b\r\n",         "NATS/1.0" };
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++) {
        weir_nats_text value;
        assert_int_equal(weir_nats_header_find(T(blocks[i]), "x", &value), WEIR_EPROTO);
    }
}

static void the_info_of_a_server_is_read(void **state)
{
    (void)state;
    static const char json[] =
        "{\"server_id\":\"NA\",\"server_name\":\"n\\\"1\",\"version\":\"2.9.10\",\"proto\":1,"
        "\"go\":\"go1.19\",\"headers\":true,\"max_payload\":1048576,\"connect_urls\":[\"a:1\","
        "{\"x]\":[1,-2.5e3,null]}],\"client_id\":5,\"auth_required\":false,\"ldm\":true} ";
    weir_nats_info info;
    assert_int_equal(weir_nats_info_parse(T(json), &info), WEIR_OK);
    assert_text(info.server_id, "NA");
    assert_text(info.server_name, "n\\\"1");
    assert_text(info.version, "2.9.10");
    assert_int_equal(info.max_payload, 1048576);
    assert_int_equal(info.proto, 1);
    assert_true(info.headers && info.lame_duck);
    assert_false(info.auth_required || info.tls_required || info.nonce.size != 0);
}

static void an_info_that_is_no_object_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "{}x",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{\"a\":1 \"b\":2}",
        "{a:1}",
        "{\"a\":\"x}",
        "{\"a\":\"\\",
        "{\"a\":[1}]}",
        "{\"a\":[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]}",
        "{\"max_payload\":\"1\"}",
        "{\"max_payload\":-1}",
        "{\"max_payload\":1.5}",
        "{\"max_payload\":1,\"max_payload\":2}",
        "{\"headers\":\"true\"}",
        "{\"headers\":1}",
        "{\"server_id\":7}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        weir_nats_info info = { .proto = 99 };
        assert_int_equal(weir_nats_info_parse(T(bad[i]), &info), WEIR_EPROTO);
        assert_int_equal(info.proto, 99);
    }
}

static void subjects_follow_the_grammar(void **state)
{
    (void)state;
    static const char *const good[] = { "a", "a.b", "orders.EU-1.new_2", "$JS.API.INFO",
                                        "\xc3\xa9" };
    static const char *const wild[] = { "*", ">", "a.*", "*.b", "a.*.c.>" };
    static const char *const bad[] = { "",     ".",     "a.",    ".a",  "a..b", "a b",
                                       "a\tb", "a\rb",  "a\r\n", ">.a", "a*",   "a.b>",
                                       "**",   "a.>.b", " a",    "a ",  "\x7f", "a\x01" };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(weir_nats_subject_check(T(good[i]), false), WEIR_OK);
        assert_int_equal(weir_nats_subject_check(T(good[i]), true), WEIR_OK);
    }
    for (size_t i = 0; i < sizeof wild / sizeof wild[0]; i++) {
        assert_int_equal(weir_nats_subject_check(T(wild[i]), false), WEIR_EINVAL);
        assert_int_equal(weir_nats_subject_check(T(wild[i]), true), WEIR_OK);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(weir_nats_subject_check(T(bad[i]), false), WEIR_EINVAL);
        assert_int_equal(weir_nats_subject_check(T(bad[i]), true), WEIR_EINVAL);
    }
    char longest[WEIR_NATS_SUBJECT_BYTES_MAX + 1];
    memset(longest, 'a', sizeof longest);
    weir_nats_text text = { longest, sizeof longest - 1 };
    assert_int_equal(weir_nats_subject_check(text, false), WEIR_OK);
    text.size++;
    assert_int_equal(weir_nats_subject_check(text, false), WEIR_ELIMIT);
    weir_nats_text with_nul = { "a\0b", 3 };
    assert_int_equal(weir_nats_subject_check(with_nul, false), WEIR_EINVAL);
}

static void a_message_is_written_in_exactly_the_size_announced(void **state)
{
    (void)state;
    const weir_nats_header trace = { T("Trace-ID"), T("t-1") };
    const struct {
        weir_nats_message message;
        const char *wire;
    } cases[] = {
        { { .subject = T("a.b"), .payload = T("hello") }, "PUB a.b 5\r\nhello\r\n" },
        { { .subject = T("a"), .reply = T("r.1") }, "PUB a r.1 0\r\n\r\n" },
        { { .subject = T("a"), .payload = T("hi"), .headers = &trace, .header_count = 1 },
          "HPUB a 27 29\r\nNATS/1.0\r\nTrace-ID: t-1\r\n\r\nhi\r\n" },
        { { .subject = T("a"), .reply = T("r"), .headers = &trace, .header_count = 1 },
          "HPUB a r 27 27\r\nNATS/1.0\r\nTrace-ID: t-1\r\n\r\n\r\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t size = 0, written = 0;
        assert_int_equal(weir_nats_message_size(&cases[i].message, 0, &size), WEIR_OK);
        assert_int_equal(size, strlen(cases[i].wire));
        char *out = malloc(size);
        assert_int_equal(weir_nats_encode_message(&cases[i].message, 0, out, size, &written),
                         WEIR_OK);
        assert_int_equal(written, size);
        assert_memory_equal(out, cases[i].wire, size);
        assert_int_equal(weir_nats_encode_message(&cases[i].message, 0, out, size - 1, &written),
                         WEIR_EAGAIN);
        free(out);
    }
}

static weir_status size_with_header(const char *name, const char *value)
{
    weir_nats_header header = { T(name), T(value) };
    weir_nats_message message = { .subject = T("a"), .headers = &header, .header_count = 1 };
    size_t size;
    return weir_nats_message_size(&message, 0, &size);
}

static void nothing_can_be_smuggled_into_a_message(void **state)
{
    (void)state;
    assert_int_equal(size_with_header("Trace-ID", "a\tb \xc3\xa9"), WEIR_OK);
    assert_int_equal(size_with_header("Trace-ID", "x\r\nEvil: 1"), WEIR_EINVAL);
    assert_int_equal(size_with_header("Trace-ID", "x\n"), WEIR_EINVAL);
    assert_int_equal(size_with_header("Trace-ID", "x\r"), WEIR_EINVAL);
    assert_int_equal(size_with_header("Trace-ID", "\x01"), WEIR_EINVAL);
    assert_int_equal(size_with_header("Trace ID", "x"), WEIR_EINVAL);
    assert_int_equal(size_with_header("Trace:ID", "x"), WEIR_EINVAL);
    assert_int_equal(size_with_header("", "x"), WEIR_EINVAL);
    assert_int_equal(size_with_header("A\r\nB", "x"), WEIR_EINVAL);
    size_t size;
    weir_nats_message message = { .subject = T("a 5\r\nPUB b") };
    assert_int_equal(weir_nats_message_size(&message, 0, &size), WEIR_EINVAL);
    message.subject = T("a");
    message.reply = T("r\r\n");
    assert_int_equal(weir_nats_message_size(&message, 0, &size), WEIR_EINVAL);
}

static void the_payload_limit_counts_headers_too(void **state)
{
    (void)state;
    const weir_nats_header trace = { T("Trace-ID"), T("t-1") };
    weir_nats_message message = {
        .subject = T("a"), .payload = T("12345"), .headers = &trace, .header_count = 1
    };
    size_t size;
    assert_int_equal(weir_nats_message_size(&message, 27 + 5, &size), WEIR_OK);
    assert_int_equal(weir_nats_message_size(&message, 27 + 4, &size), WEIR_ELIMIT);
    assert_int_equal(weir_nats_message_size(&message, 26, &size), WEIR_ELIMIT);
    message.header_count = WEIR_NATS_HEADERS_MAX + 1;
    assert_int_equal(weir_nats_message_size(&message, 0, &size), WEIR_ELIMIT);
}

static void connect_escapes_what_json_needs_and_refuses_controls(void **state)
{
    (void)state;
    weir_nats_connect connect = { .user = T("al\"ice"),
                                  .password = T("p\\w"),
                                  .version = T("0.1") };
    char out[512];
    size_t size = 0;
    assert_int_equal(weir_nats_encode_connect(&connect, out, sizeof out, &size), WEIR_OK);
    weir_nats_text text = { out, size };
    assert_text(text, "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,"
                      "\"headers\":true,\"protocol\":1,\"lang\":\"c\",\"echo\":true,"
                      "\"version\":\"0.1\",\"user\":\"al\\\"ice\",\"pass\":\"p\\\\w\"}\r\n");
    connect.name = T("x\r\nPUB a 0");
    assert_int_equal(weir_nats_encode_connect(&connect, out, sizeof out, &size), WEIR_EINVAL);
    char longest[WEIR_NATS_LINE_BYTES_MAX];
    memset(longest, 'a', sizeof longest);
    weir_nats_connect too_long = { .token = { longest, sizeof longest } };
    assert_int_equal(weir_nats_encode_connect(&too_long, out, sizeof out, &size), WEIR_ELIMIT);
}

static void subscriptions_are_written(void **state)
{
    (void)state;
    char out[64];
    size_t size = 0;
    assert_int_equal(weir_nats_encode_sub(T("a.*"), T("q"), 7, out, sizeof out, &size), WEIR_OK);
    assert_text(((weir_nats_text){ out, size }), "SUB a.* q 7\r\n");
    assert_int_equal(weir_nats_encode_sub(T(">"), T(NULL), 1, out, sizeof out, &size), WEIR_OK);
    assert_text(((weir_nats_text){ out, size }), "SUB > 1\r\n");
    assert_int_equal(weir_nats_encode_sub(T("a"), T("q r"), 1, out, sizeof out, &size),
                     WEIR_EINVAL);
    assert_int_equal(weir_nats_encode_sub(T("a"), T(NULL), 1, out, 6, &size), WEIR_EAGAIN);
    assert_int_equal(weir_nats_encode_unsub(7, 0, out, sizeof out, &size), WEIR_OK);
    assert_text(((weir_nats_text){ out, size }), "UNSUB 7\r\n");
    assert_int_equal(weir_nats_encode_unsub(7, UINT64_MAX, out, sizeof out, &size), WEIR_OK);
    assert_text(((weir_nats_text){ out, size }), "UNSUB 7 18446744073709551615\r\n");
}

static void a_url_says_where_and_who(void **state)
{
    (void)state;
    static const struct {
        const char *url, *host, *user, *password, *token;
        uint16_t port;
    } good[] = {
        { "nats://127.0.0.1:4333", "127.0.0.1", "", "", "", 4333 },
        { "host", "host", "", "", "", 4222 },
        { "NATS://al%40ice:p%3Aw@host/", "host", "al@ice", "p:w", "", 4222 },
        { "nats://al:p:w@host:1", "host", "al", "p:w", "", 1 },
        { "nats://t0ken@[::1]:5", "::1", "", "", "t0ken", 5 },
        { "nats://[::1]", "::1", "", "", "", 4222 },
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        weir_nats_url url;
        assert_int_equal(weir_nats_url_parse(good[i].url, &url), WEIR_OK);
        assert_string_equal(url.host, good[i].host);
        assert_string_equal(url.user, good[i].user);
        assert_string_equal(url.password, good[i].password);
        assert_string_equal(url.token, good[i].token);
        assert_int_equal(url.port, good[i].port);
    }
    static const char *const bad[] = {
        "",
        "nats://",
        "nats://:1",
        "nats://h:",
        "nats://h:0",
        "nats://h:65536",
        "nats://h:1x",
        "nats://@h",
        "nats://:p@h",
        "nats://%4@h",
        "nats://%0a@h",
        "nats://[::1",
        "nats://[::1]x",
        "nats://a,b",
        "nats://a b",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        weir_nats_url url;
        assert_int_equal(weir_nats_url_parse(bad[i], &url), WEIR_EINVAL);
    }
    weir_nats_url url;
    assert_int_equal(weir_nats_url_parse("tls://h", &url), WEIR_EUNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cut_of_a_session_gives_the_same_operations),
        cmocka_unit_test(every_cut_of_a_bad_stream_gives_the_same_error),
        cmocka_unit_test(a_line_over_its_limit_is_refused_at_every_cut),
        cmocka_unit_test(an_error_is_final),
        cmocka_unit_test(the_need_names_the_whole_message_once_its_line_is_read),
        cmocka_unit_test(a_message_with_headers_is_taken_apart),
        cmocka_unit_test(a_malformed_header_block_is_an_error_not_a_field),
        cmocka_unit_test(the_info_of_a_server_is_read),
        cmocka_unit_test(an_info_that_is_no_object_is_refused),
        cmocka_unit_test(subjects_follow_the_grammar),
        cmocka_unit_test(a_message_is_written_in_exactly_the_size_announced),
        cmocka_unit_test(nothing_can_be_smuggled_into_a_message),
        cmocka_unit_test(the_payload_limit_counts_headers_too),
        cmocka_unit_test(connect_escapes_what_json_needs_and_refuses_controls),
        cmocka_unit_test(subscriptions_are_written),
        cmocka_unit_test(a_url_says_where_and_who),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
