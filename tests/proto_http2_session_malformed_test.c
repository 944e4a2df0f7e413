/* Requests of HTTP/2 that are malformed (RFC 9113 sections 8.1 to 8.3), one rule after the other:
 * each byte in each place, each head, and lengths that bodies do not keep. */
#include "http2_frames.h"
#include "http_session_rig.h"

typedef enum verdict { TAKEN, MALFORMED, REFUSED } verdict;

/* What the server was told of the request that is asked about. */
static struct {
    int heads, ends;
    size_t body;
} told;

static void on_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    (void)exchange;
    (void)user;
    told.heads++;
    told.ends += head->ends;
}

static void on_body(weir_http_exchange *exchange, const char *bytes, size_t n, void *user)
{
    (void)bytes;
    (void)user;
    told.body += n;
    weir_http_exchange_consume(exchange, n);
}

static void on_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n,
                   void *user)
{
    (void)exchange;
    (void)trailers;
    (void)n;
    (void)user;
    told.ends++;
}

static void on_room(weir_http_exchange *exchange, void *user)
{
    (void)exchange;
    (void)user;
}

static void on_over(weir_http_exchange *exchange, weir_status status, uint32_t code, void *user)
{
    (void)exchange;
    (void)status;
    (void)code;
    (void)user;
}

/* A server that is asked about one request after the other, each on the next stream. */
typedef struct asked {
    side *s;
    uint32_t stream;
    frames f;    /* of the request */
    size_t step; /* fed in pieces of so many bytes */
} asked;

static void asked_init(asked *a, size_t step)
{
    *a = (asked){ .s = side_new(false), .stream = 1, .step = step };
    a->s->events = (weir_http_events){ on_head, on_body, on_end, on_room, on_over, NULL };
    a->s->config.violations_burst = a->s->config.control_burst = 1000000;
    a->s->config.resets_burst = 1000000;
    assert_int_equal(side_start(a->s), WEIR_OK);
    put_preface(&a->f);
}

static void asked_done(asked *a)
{
    side_free(a->s);
    free(a->f.at);
}

static verdict look(const asked *a, verdict before)
{
    size_t at = 0;
    seen_frame frame;
    while (next_frame(a->s->out.at, a->s->out.len, &at, &frame)) {
        if (frame.stream != a->stream)
            continue;
        if (frame.type == FRAME_RST_STREAM && read32(frame.payload) == H2_PROTOCOL_ERROR)
            return MALFORMED;
        if (frame.type == FRAME_HEADERS)
            return REFUSED;
    }
    return before;
}

/* What the server makes of the frames that were written; the stream is reset behind them. */
static verdict ask(asked *a)
{
    verdict found = TAKEN;
    memset(&told, 0, sizeof told);
    for (size_t at = 0; at < a->f.len;) {
        size_t n = a->f.len - at < a->step ? a->f.len - at : a->step;
        assert_int_equal(side_feed(a->s, a->f.at + at, n), WEIR_OK);
        assert_int_equal(side_output(a->s), WEIR_OK);
        found = look(a, found);
        at += n;
    }
    assert_true(found != TAKEN || told.heads == 1);
    a->f.len = 0;
    put_u32_frame(&a->f, FRAME_RST_STREAM, a->stream, H2_CANCEL);
    a->stream += 2;
    return found;
}

/* ---- Bytes ---- */

static bool is_token(unsigned c)
{
    return c != 0 && c < 0x80 &&
           strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
                  "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
                  (int)c) != NULL;
}

static bool name_may(unsigned c, bool at_end)
{
    (void)at_end;
    return is_token(c) && !(c >= 'A' && c <= 'Z');
}

static bool method_may(unsigned c, bool at_end)
{
    (void)at_end;
    return is_token(c);
}

static bool value_may(unsigned c, bool at_end)
{
    if (c == ' ' || c == '\t')
        return !at_end;
    return c > ' ' && c != 0x7f;
}

static bool path_may(unsigned c, bool at_end)
{
    (void)at_end;
    return c > ' ' && c != 0x7f;
}

/* RFC 3986 section 3.2. */
static bool authority_may(unsigned c, bool at_end)
{
    (void)at_end;
    return (c < 0x80 && c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != 0 && c < 0x80 && strchr("-._~%!$&'()*+,;=:@[]", (int)c) != NULL);
}

static void put_any(frames *block, const char *name, size_t name_len, const char *value, size_t n)
{
    put(block, "\x10", 1);
    put_hpack_length(block, name_len);
    put(block, name, name_len);
    put_hpack_length(block, n);
    put(block, value, n);
}

/* A request whose pseudo-header field, or field, `what` is the text; NULL: the text is a name. */
static void put_with(asked *a, const char *what, const char *text, size_t n)
{
    static const char *const pseudo[][2] = {
        { ":method", "GET" }, { ":scheme", "http" }, { ":path", "/" }, { ":authority", "a" }
    };
    frames block = { 0 };
    bool is_pseudo = false;
    for (size_t i = 0; i < 4; i++) {
        bool it = what != NULL && strcmp(what, pseudo[i][0]) == 0;
        is_pseudo |= it;
        put_any(&block, pseudo[i][0], strlen(pseudo[i][0]), it ? text : pseudo[i][1],
                it ? n : strlen(pseudo[i][1]));
    }
    if (what == NULL)
        put_any(&block, text, n, "v", 1);
    else if (!is_pseudo)
        put_any(&block, what, strlen(what), text, n);
    put_frame(&a->f, FRAME_HEADERS, END_HEADERS | END_STREAM, a->stream, block.at, block.len);
    free(block.at);
}

enum { LONGEST = 36 };

static void each_byte_in_each_place(const char *what, bool (*may)(unsigned, bool), size_t keep)
{
    static const unsigned char few[] = { 0,   1,   '\t', '\n', '\r', 0x1f, ' ',  '!', ':',
                                         'A', 'Z', '[',  '`',  '{',  0x7f, 0x80, 0xff };
    asked a;
    asked_init(&a, SIZE_MAX);
    for (size_t n = 1 + keep; n <= LONGEST; n++) {
        bool all = n == 1 + keep || n == 7 || n == 12 || n == 16 || n == 19;
        for (size_t at = keep; at < n; at++)
            for (size_t i = 0; i < (all ? 256 : sizeof few); i++) {
                unsigned c = all ? (unsigned)i : few[i];
                char text[LONGEST];
                memset(text, keep > 0 ? '/' : 'a', n);
                text[at] = (char)c;
                put_with(&a, what, text, n);
                if ((ask(&a) != MALFORMED) != may(c, at == 0 || at + 1 == n))
                    fail_msg("%s: byte %#x at %zu of %zu", what == NULL ? "name" : what, c, at, n);
            }
    }
    asked_done(&a);
}

static void a_name_is_a_token_without_capitals(void **state)
{
    (void)state;
    each_byte_in_each_place(NULL, name_may, 0);
}

static void a_value_has_no_control_characters_and_no_blank_at_its_ends(void **state)
{
    (void)state;
    each_byte_in_each_place("x", value_may, 0);
}

static void a_path_has_no_blanks_and_no_control_characters(void **state)
{
    (void)state;
    each_byte_in_each_place(":path", path_may, 1);
}

static void a_method_is_a_token(void **state)
{
    (void)state;
    each_byte_in_each_place(":method", method_may, 0);
}

static void an_authority_is_what_a_uri_has(void **state)
{
    (void)state;
    each_byte_in_each_place(":authority", authority_may, 0);
}

/* ---- Heads ---- */

#define METHOD           \
    {                    \
        ":method", "GET" \
    }
#define SCHEME            \
    {                     \
        ":scheme", "http" \
    }
#define PATH         \
    {                \
        ":path", "/" \
    }
#define AUTHORITY         \
    {                     \
        ":authority", "a" \
    }
#define PSEUDO METHOD, SCHEME, PATH, AUTHORITY

static const struct {
    const char *fields[8][2];
    verdict expected;
} heads[] = {
    { { PSEUDO }, TAKEN },
    { { METHOD, SCHEME, PATH, { "host", "a" } }, TAKEN },
    { { PSEUDO, { "host", "a" } }, TAKEN },
    { { PSEUDO, { "host", "b" } }, REFUSED },
    { { PSEUDO, { "host", "aa" } }, REFUSED },
    { { PSEUDO, { "host", "" } }, MALFORMED },
    { { PSEUDO, { "host", "a" }, { "host", "a" } }, MALFORMED },
    { { METHOD, SCHEME, PATH, { "host", "a" }, { "host", "b" } }, MALFORMED },
    { { METHOD, SCHEME, PATH, { "host", "a/b" } }, MALFORMED },
    { { METHOD, SCHEME, PATH }, MALFORMED },
    { { SCHEME, PATH, AUTHORITY }, MALFORMED },
    { { METHOD, PATH, AUTHORITY }, MALFORMED },
    { { METHOD, SCHEME, AUTHORITY }, MALFORMED },
    { { PSEUDO, METHOD }, MALFORMED },
    { { PSEUDO, SCHEME }, MALFORMED },
    { { PSEUDO, PATH }, MALFORMED },
    { { PSEUDO, AUTHORITY }, MALFORMED },
    { { { "x", "1" }, PSEUDO }, MALFORMED },
    { { METHOD, SCHEME, PATH, { "x", "1" }, AUTHORITY }, MALFORMED },
    { { METHOD, SCHEME, PATH, { "te", "trailers" }, AUTHORITY }, MALFORMED },
    { { METHOD, SCHEME, PATH, { "content-length", "0" }, AUTHORITY }, MALFORMED },
    { { PSEUDO, { ":status", "200" } }, MALFORMED },
    { { PSEUDO, { ":protocol", "websocket" } }, MALFORMED },
    { { PSEUDO, { ":paths", "/" } }, MALFORMED },
    { { PSEUDO, { ":", "/" } }, MALFORMED },
    { { METHOD, SCHEME, { ":Path", "/" }, AUTHORITY }, MALFORMED },
    { { PSEUDO, { "", "v" } }, MALFORMED },
    /* Each says something. */
    { { { ":method", "" }, SCHEME, PATH, AUTHORITY }, MALFORMED },
    { { METHOD, { ":scheme", "" }, PATH, AUTHORITY }, MALFORMED },
    { { METHOD, SCHEME, { ":path", "" }, AUTHORITY }, MALFORMED },
    { { METHOD, SCHEME, PATH, { ":authority", "" } }, MALFORMED },
    { { METHOD, { ":scheme", "1x" }, PATH, AUTHORITY }, MALFORMED },
    { { METHOD, { ":scheme", "ht/tp" }, PATH, AUTHORITY }, MALFORMED },
    /* The forms of a path. */
    { { METHOD, SCHEME, { ":path", "*" }, AUTHORITY }, MALFORMED },
    { { METHOD, SCHEME, { ":path", "a" }, AUTHORITY }, MALFORMED },
    { { METHOD, SCHEME, { ":path", "http://a/" }, AUTHORITY }, MALFORMED },
    { { { ":method", "OPTIONS" }, SCHEME, { ":path", "*" }, AUTHORITY }, TAKEN },
    { { { ":method", "OPTIONS" }, SCHEME, { ":path", "**" }, AUTHORITY }, MALFORMED },
    { { { ":method", "OPTIONS" }, SCHEME, PATH, AUTHORITY }, TAKEN },
    { { { ":method", "CONNECT" }, AUTHORITY }, REFUSED },
    { { { ":method", "CONNECT" } }, MALFORMED },
    { { { ":method", "CONNECT" }, { "host", "a" } }, MALFORMED },
    { { { ":method", "CONNECT" }, PATH, AUTHORITY }, MALFORMED },
    { { { ":method", "CONNECT" }, SCHEME, AUTHORITY }, MALFORMED },
    { { { ":method", "CONNECT" }, SCHEME, PATH, AUTHORITY }, MALFORMED },
/* The bytes of a path, and of a query. */
#define FORM(path, is)                                       \
    {                                                        \
        { METHOD, SCHEME, { ":path", path }, AUTHORITY }, is \
    }
    FORM("/a%7e;b=c/?d=e?/%20", TAKEN),
    FORM("/Of.more.Than/Sixteen-Bytes_1?a={}|\\^`[]&b", TAKEN),
    FORM("/?{}", TAKEN),
    FORM("/{}", REFUSED),
    FORM("/Of.more.Than/Sixteen-Bytes_1{}?", REFUSED),
    FORM("/Of.more.Than/Sixteen-Bytes_1|?", REFUSED),
    FORM("/[a]", REFUSED),
    FORM("/?a#b", REFUSED),
    FORM("/Of.more.Than/Sixteen-Bytes_1#b", REFUSED),
    FORM("/#{}", REFUSED),
    FORM("/?\"", REFUSED),
    FORM("/?<", REFUSED),
    FORM("/?>", REFUSED),
    FORM("/?\x80", REFUSED),
    FORM("/\xc3\xa9", REFUSED),
    FORM("/Of.more.Than/Sixteen-Bytes_1\xc3\xa9", REFUSED),
    FORM("/%", REFUSED),
    FORM("/%4", REFUSED),
    FORM("/%zz", REFUSED),
    FORM("/Of.more.Than/Sixteen-Bytes_1%4", REFUSED),
#undef FORM
    /* Other schemes. */
    { { METHOD, { ":scheme", "ftp" }, PATH, AUTHORITY }, TAKEN },
    { { METHOD, { ":scheme", "ftp" }, { ":path", "a" }, AUTHORITY }, REFUSED },
    { { METHOD, { ":scheme", "ftp" }, { ":path", "http://b/" }, AUTHORITY }, REFUSED },
    { { METHOD, { ":scheme", "ftp" }, { ":path", "*" }, AUTHORITY }, REFUSED },
    { { { ":method", "OPTIONS" }, { ":scheme", "ftp" }, { ":path", "*" }, AUTHORITY }, TAKEN },
    /* A host and a port. */
    { { METHOD, SCHEME, PATH, { ":authority", "a.b:80" } }, TAKEN },
    { { METHOD, SCHEME, PATH, { ":authority", "[::1]:80" } }, TAKEN },
    { { METHOD, SCHEME, PATH, { ":authority", "a%20b" } }, TAKEN },
    { { METHOD, SCHEME, PATH, { ":authority", "user@a" } }, REFUSED },
    { { METHOD, SCHEME, PATH, { "host", "user@a" } }, REFUSED },
    { { METHOD, SCHEME, PATH, { ":authority", "a:b" } }, REFUSED },
    { { METHOD, SCHEME, PATH, { ":authority", "a:65536" } }, REFUSED },
    { { METHOD, SCHEME, PATH, { ":authority", "a:80:80" } }, REFUSED },
    { { METHOD, SCHEME, PATH, { ":authority", ":80" } }, REFUSED },
    { { METHOD, SCHEME, PATH, { ":authority", "[::1" } }, REFUSED },
    { { METHOD, SCHEME, PATH, { ":authority", "a%2" } }, REFUSED },
    /* Fields of a connection (8.2.2). */
    { { PSEUDO, { "connection", "close" } }, MALFORMED },
    { { PSEUDO, { "keep-alive", "1" } }, MALFORMED },
    { { PSEUDO, { "proxy-connection", "close" } }, MALFORMED },
    { { PSEUDO, { "transfer-encoding", "chunked" } }, MALFORMED },
    { { PSEUDO, { "transfer-encoding", "" } }, MALFORMED },
    { { PSEUDO, { "upgrade", "h2c" } }, MALFORMED },
    { { PSEUDO, { "te", "trailers" } }, TAKEN },
    { { PSEUDO, { "te", "gzip" } }, MALFORMED },
    { { PSEUDO, { "te", "" } }, MALFORMED },
    { { PSEUDO, { "te", "trailers, gzip" } }, MALFORMED },
    { { PSEUDO, { "te", "trailerz" } }, MALFORMED },
    { { PSEUDO, { "cookie", "a=b" }, { "cookie", "c=d" } }, TAKEN },
    /* Lengths of nothing. */
    { { PSEUDO, { "content-length", "0" } }, TAKEN },
    { { PSEUDO, { "content-length", "00" } }, TAKEN },
    { { PSEUDO, { "content-length", "1" } }, MALFORMED },
    { { PSEUDO, { "content-length", "" } }, MALFORMED },
    { { PSEUDO, { "content-length", "+0" } }, MALFORMED },
    { { PSEUDO, { "content-length", "-0" } }, MALFORMED },
    { { PSEUDO, { "content-length", "0x0" } }, MALFORMED },
    { { PSEUDO, { "content-length", "0,0" } }, MALFORMED },
    { { PSEUDO, { "content-length", "0, 0" } }, MALFORMED },
    { { PSEUDO, { "content-length", "0 " } }, MALFORMED },
    { { PSEUDO, { "content-length", "0" }, { "content-length", "0" } }, MALFORMED },
    { { PSEUDO, { "content-length", "18446744073709551616" } }, MALFORMED },
};

static void put_fields(frames *block, const char *const fields[][2], size_t max)
{
    for (size_t i = 0; i < max && fields[i][0] != NULL; i++)
        put_field(block, fields[i][0], fields[i][1]);
}

static void heads_are_taken_or_not(size_t step)
{
    asked a;
    asked_init(&a, step);
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        frames block = { 0 };
        put_fields(&block, heads[i].fields, 8);
        put_frame(&a.f, FRAME_HEADERS, END_HEADERS | END_STREAM, a.stream, block.at, block.len);
        free(block.at);
        verdict found = ask(&a);
        if (found != heads[i].expected || told.heads != (found == TAKEN))
            fail_msg("head %zu: %d, told %d", i, found, told.heads);
    }
    asked_done(&a);
}

static void a_head_has_what_it_needs_once_and_in_order(void **state)
{
    (void)state;
    heads_are_taken_or_not(SIZE_MAX);
    heads_are_taken_or_not(1);
}

/* ---- Bodies and trailers ---- */

enum { GOES_ON = 1, WITH_PADDING = 2 }; /* GOES_ON: the last frame does not end the stream */

static const struct {
    const char *length, *data[2], *trailer[2];
    int flags;
    verdict expected;
} messages[] = {
    { "3", { "abc" }, { 0 }, 0, TAKEN },
    { "3", { "a", "bc" }, { 0 }, 0, TAKEN },
    { "3", { "abc", "" }, { 0 }, 0, TAKEN },
    { "3", { "a", "bc" }, { 0 }, WITH_PADDING, TAKEN },
    { "0", { "" }, { 0 }, WITH_PADDING, TAKEN },
    { "003", { "abc" }, { 0 }, 0, TAKEN },
    { NULL, { "abc" }, { 0 }, 0, TAKEN },
    { "3", { "ab" }, { 0 }, 0, MALFORMED },
    { "3", { "" }, { 0 }, 0, MALFORMED },
    { "3", { "a", "b" }, { 0 }, 0, MALFORMED },
    { "3", { "a", "b" }, { 0 }, WITH_PADDING, MALFORMED },
    { "3", { "abcd" }, { 0 }, 0, MALFORMED },
    { "3", { "abcd" }, { 0 }, GOES_ON, MALFORMED },
    { "3", { "abc", "d" }, { 0 }, 0, MALFORMED },
    { "3", { "abc", "d" }, { 0 }, GOES_ON, MALFORMED },
    { "3", { "abc", "d" }, { 0 }, WITH_PADDING, MALFORMED },
    { "0", { "a" }, { 0 }, GOES_ON, MALFORMED },
    /* Trailers. */
    { NULL, { NULL }, { "x", "1" }, 0, TAKEN },
    { NULL, { "abc" }, { "x", "1" }, 0, TAKEN },
    { "3", { "a", "bc" }, { "x", "1" }, 0, TAKEN },
    { "0", { NULL }, { "x", "1" }, 0, TAKEN },
    { "3", { NULL }, { "x", "1" }, 0, MALFORMED },
    { "3", { "ab" }, { "x", "1" }, 0, MALFORMED },
    { "3", { "abcd" }, { "x", "1" }, 0, MALFORMED },
    { NULL, { "abc" }, { "x", "1" }, GOES_ON, MALFORMED },
    { "3", { "abc" }, { "x", "1" }, GOES_ON, MALFORMED },
    { NULL, { "abc" }, { ":path", "/" }, 0, MALFORMED },
    { NULL, { "abc" }, { ":status", "200" }, 0, MALFORMED },
    { NULL, { "abc" }, { "X", "1" }, 0, MALFORMED },
    { NULL, { "abc" }, { "x", "1\r\ny: 1" }, 0, MALFORMED },
    { NULL, { "abc" }, { "transfer-encoding", "chunked" }, 0, MALFORMED },
    { NULL, { "abc" }, { "host", "a" }, 0, MALFORMED },
    { NULL, { "abc" }, { "content-length", "3" }, 0, MALFORMED },
    { NULL, { "abc" }, { "content-length", "0" }, 0, MALFORMED },
    { "3", { "abc" }, { "content-length", "3" }, 0, MALFORMED },
    /* Numbers that 64 bits do not hold, or that would say "none was told". */
    { "18446744073709551619", { "abc" }, { 0 }, 0, MALFORMED },
    { "36893488147419103235", { "abc" }, { 0 }, 0, MALFORMED },
    { "184467440737095516163", { "abc" }, { 0 }, 0, MALFORMED },
    { "9223372036854775808", { "abc" }, { 0 }, GOES_ON, MALFORMED },
    { "18446744073709551615", { "abc" }, { 0 }, GOES_ON, MALFORMED },
    { "18446744073709551615", { "abc" }, { 0 }, 0, MALFORMED },
    { "9223372036854775807", { "abc" }, { 0 }, GOES_ON, TAKEN },
    { "3,3", { "abc" }, { 0 }, 0, MALFORMED },
    { "+3", { "abc" }, { 0 }, 0, MALFORMED },
};

static void put_data(asked *a, uint8_t flags, const char *text)
{
    frames payload = { 0 };
    put(&payload, "\4", (flags & PADDED) != 0);
    put(&payload, text, strlen(text));
    put(&payload, "\0\0\0\0", (flags & PADDED) != 0 ? 4 : 0);
    put_frame(&a->f, FRAME_DATA, flags, a->stream, payload.at, payload.len);
    free(payload.at);
}

static void put_message(asked *a, size_t i)
{
    frames block = { 0 };
    uint8_t end = (messages[i].flags & GOES_ON) != 0 ? 0 : END_STREAM;
    put_pseudo(&block);
    if (messages[i].length != NULL)
        put_field(&block, "content-length", messages[i].length);
    put_frame(&a->f, FRAME_HEADERS, END_HEADERS, a->stream, block.at, block.len);
    for (size_t n = 0; n < 2 && messages[i].data[n] != NULL; n++) {
        bool last = messages[i].trailer[0] == NULL && (n == 1 || messages[i].data[n + 1] == NULL);
        bool padded = (messages[i].flags & WITH_PADDING) != 0;
        put_data(a, (uint8_t)((last ? end : 0) | (padded ? PADDED : 0)), messages[i].data[n]);
    }
    block.len = 0;
    if (messages[i].trailer[0] != NULL) {
        put_field(&block, messages[i].trailer[0], messages[i].trailer[1]);
        put_frame(&a->f, FRAME_HEADERS, END_HEADERS | end, a->stream, block.at, block.len);
    }
    free(block.at);
}

static void messages_are_taken_or_not(size_t step)
{
    asked a;
    asked_init(&a, step);
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        put_message(&a, i);
        verdict found = ask(&a);
        int ends = found == TAKEN && (messages[i].flags & GOES_ON) == 0;
        if (found != messages[i].expected || told.ends != ends || told.body > 3)
            fail_msg("message %zu: %d, told %d ends and %zu bytes", i, found, told.ends, told.body);
    }
    asked_done(&a);
}

static void a_body_is_as_long_as_was_told_and_trailers_end_it(void **state)
{
    (void)state;
    messages_are_taken_or_not(SIZE_MAX);
    messages_are_taken_or_not(1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_name_is_a_token_without_capitals),
        cmocka_unit_test(a_value_has_no_control_characters_and_no_blank_at_its_ends),
        cmocka_unit_test(a_path_has_no_blanks_and_no_control_characters),
        cmocka_unit_test(a_method_is_a_token),
        cmocka_unit_test(an_authority_is_what_a_uri_has),
        cmocka_unit_test(a_head_has_what_it_needs_once_and_in_order),
        cmocka_unit_test(a_body_is_as_long_as_was_told_and_trailers_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
