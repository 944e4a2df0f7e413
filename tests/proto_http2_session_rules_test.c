/* What a request of HTTP/2 may look like: the session and nghttp2's own rules are asked about the
 * same requests, made at random of what is right and what is not, and must agree. */
#include "http2_frames.h"
#include "http_session_rig.h"

#include <nghttp2/nghttp2.h>

enum { REQUESTS = 20000, PER_CONNECTION = 50 };

static uint64_t seed;

static uint32_t below(uint32_t n)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % n;
}

#define PICK(list) list[below(sizeof list / sizeof *list)]

static const char *const names[] = {
    ":method",
    ":scheme",
    ":path",
    ":authority",
    ":status",
    ":protocol",
    ":x",
    ":",
    "",
    "host",
    "Host",
    "te",
    "content-length",
    "connection",
    "keep-alive",
    "upgrade",
    "x",
    "proxy-connection",
    "sp ace",
    "transfer-encoding",
    "content-type",
    "accept",
    "x\x80",
    "user-agent",
    "long-name-with-a-Capital",
};
static const char *const values[] = {
    "",
    "/",
    "*",
    "/a b",
    "/a\x7f",
    "GET",
    "POST",
    "OPTIONS",
    "CONNECT",
    "g e",
    "http",
    "HTTPS",
    "ftp",
    "1x",
    "a:1",
    "user@[::1]:80",
    "a/b",
    "a b",
    " a",
    "a ",
    "\ta",
    "a\tb",
    "a long one, and\twith a tab",
    "a long one, \x80 but fine",
    "a long one, \r\n: and a bad one",
    "trailers",
    "Trailers",
    "gzip",
    "0",
    "3",
    "5",
    "-1",
    "+3",
    "3 ",
    "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999",
    "36893488147419103237",
    "\x01",
    "/very/long/path/of/more/than/16",
    "/very/long/path/of/more\x1fthan/16",
    "/very/long/path/of/m\xc3\xa9re/16",
    "\x1f",
    "a\"b",
};

/* A value that is right as it stands, mostly. */
static const char *value_or(const char *right)
{
    static char some[41];
    if (below(20) == 0)
        return PICK(values);
    if (below(20) != 0)
        return right;
    size_t n = below(sizeof some);
    memset(some, 'a', n);
    some[n] = 0;
    some[n == 0 ? 0 : below((uint32_t)n)] = (char)(n == 0 ? 0 : below(255) + 1);
    return some;
}

static void put_random_field(frames *block)
{
    static const char *const right[][2] = {
        { "host", "a" },
        { "te", "trailers" },
        { "content-length", "3" },
        { "content-type", "application/grpc+proto" },
        { "user-agent", "of some length, and with\ttabs" },
        { "x", "" },
    };
    size_t i = below(sizeof right / sizeof *right);
    if (below(6) == 0)
        put_field(block, PICK(names), PICK(values));
    else
        put_field(block, right[i][0], value_or(right[i][1]));
}

static void put_random_head(frames *block)
{
    static const char *const right[][2] = {
        { ":method", "POST" },
        { ":scheme", "http" },
        { ":path", "/a" },
        { ":authority", "a" },
    };
    for (size_t i = 0; i < 4; i++) {
        if (below(40) == 0)
            put_random_field(block);
        if (below(40) != 0)
            put_field(block, right[i][0], value_or(right[i][1]));
        if (below(60) == 0)
            put_field(block, right[i][0], value_or(right[i][1]));
    }
    for (uint32_t n = below(4); n > 0; n--)
        put_random_field(block);
}

/* Of trailers, where ours are stricter about a host and a length, which say nothing there. */
static void put_random_trailers(frames *block)
{
    static const char *const some[] = { ":path", "x", "", "te", "X", "connection", "grpc-status" };
    for (uint32_t n = 1 + below(2); n > 0; n--)
        put_field(block, PICK(some), value_or("0"));
}

/* One request: its head, perhaps a body of a few bytes, perhaps trailers. */
static void put_random_request(frames *f, uint32_t stream)
{
    frames block = { 0 };
    bool data = below(2) == 0, trailers = below(3) == 0;
    put_random_head(&block);
    put_frame(f, FRAME_HEADERS, (uint8_t)(END_HEADERS | (data || trailers ? 0 : END_STREAM)),
              stream, block.at, block.len);
    for (uint32_t n = data ? 1 + below(2) : 0; n > 0; n--)
        put_frame(f, FRAME_DATA, n == 1 && !trailers ? END_STREAM : 0, stream, "bytes", below(5));
    block.len = 0;
    if (trailers) {
        put_random_trailers(&block);
        put_frame(f, FRAME_HEADERS, (uint8_t)(END_HEADERS | (below(10) == 0 ? 0 : END_STREAM)),
                  stream, block.at, block.len);
    }
    free(block.at);
}

/* ---- Both ---- */

static bool says(const void *bytes, size_t n, uint8_t type, uint32_t stream)
{
    size_t at = 0;
    seen_frame frame;
    while (next_frame(bytes, n, &at, &frame))
        if (frame.type == type && frame.stream == stream &&
            (type != FRAME_RST_STREAM || read32(frame.payload) == H2_PROTOCOL_ERROR))
            return true;
    return false;
}

static bool resets(const void *bytes, size_t n, uint32_t stream)
{
    return says(bytes, n, FRAME_RST_STREAM, stream);
}

static nghttp2_session *bare_new(void)
{
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *ng;
    assert_int_equal(nghttp2_session_callbacks_new(&callbacks), 0);
    assert_int_equal(nghttp2_session_server_new(&ng, callbacks, NULL), 0);
    nghttp2_session_callbacks_del(callbacks);
    return ng;
}

static bool bare_resets(nghttp2_session *ng, const frames *f, uint32_t stream)
{
    bool found = false;
    const uint8_t *bytes;
    ssize_t n;
    assert_int_equal(nghttp2_session_mem_recv(ng, f->at, f->len), f->len);
    while ((n = nghttp2_session_mem_send(ng, &bytes)) > 0)
        found = found || resets(bytes, (size_t)n, stream);
    return found;
}

static void the_session_and_nghttp2_agree_about_what_is_malformed(void **state)
{
    uint32_t malformed = 0;
    (void)state;
    seed = 1;
    for (uint32_t round = 0; round < REQUESTS / PER_CONNECTION; round++) {
        side *s = side_new(false);
        nghttp2_session *ng = bare_new();
        frames f = { 0 };
        s->config.violations_burst = s->config.control_burst = 1000000;
        assert_int_equal(side_start(s), WEIR_OK);
        put_preface(&f);
        for (uint32_t i = 0; i < PER_CONNECTION; i++) {
            uint32_t stream = 2 * i + 1;
            put_random_request(&f, stream);
            bool expected = bare_resets(ng, &f, stream);
            assert_int_equal(side_feed(s, (const char *)f.at, f.len), WEIR_OK);
            assert_int_equal(side_output(s), WEIR_OK);
            /* One that was answered by 400 has no use for the rest of its request. */
            bool refused = says(s->out.at, s->out.len, FRAME_HEADERS, stream);
            if (!refused && resets(s->out.at, s->out.len, stream) != expected)
                fail_msg("request %u of connection %u: nghttp2 %s it", i, round,
                         expected ? "resets" : "takes");
            malformed += expected;
            f.len = 0;
        }
        nghttp2_session_del(ng);
        side_free(s);
        free(f.at);
    }
    assert_in_range(malformed, REQUESTS / 5, REQUESTS * 4 / 5); /* of each enough */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_session_and_nghttp2_agree_about_what_is_malformed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
