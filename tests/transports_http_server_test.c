/* The HTTP server over real sockets: requests, replies and their order, limits, deadlines, demand.
 */
#include "http_server_rig.h"

#include <fcntl.h>

#include <weir/loop.h>

static weir_status echo(const weir_item *item, weir_http_response *response, void *user)
{
    const weir_http_request *request = weir_http_request_of(item);
    weir_http1_span path = weir_http_request_path(request), body = weir_http_request_body(request);
    int n = snprintf(response->scratch, response->scratch_bytes, "%s %.*s [%.*s]",
                     weir_http1_method_text(weir_http_request_method(request)), (int)path.len,
                     path.at, (int)(body.len < 4000 ? body.len : 4000), body.at);
    if (user != NULL)
        ++*(int *)user;
    response->answer = (weir_http_answer){
        .content_type = "text/plain",
        .body = response->scratch,
        .body_bytes = (size_t)n,
    };
    return WEIR_OK;
}

static void rig_echo(rig *r)
{
    rig_start(r, weir_http_reply_with(echo, NULL));
}

/* Answers the kept item with its number, and ends it. */
static void answer_kept(rig *r, int i, const char *body)
{
    assert_int_equal(weir_http_reply(r->kept[i], 200, "text/plain", body, strlen(body)), WEIR_OK);
    weir_item_ack(r->kept[i]);
}

#define GET(path)  "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define POST(body) "POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: " body

/* ---- The usual ---- */

static void answers_requests_one_after_the_other_on_one_connection(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_echo(&r);
    client c = client_new(&r);
    for (int i = 0; i < 3; i++) {
        say(&r, &c, POST("5\r\n\r\nhello"));
        reply got = hear(&r, &c);
        assert_int_equal(got.status, 200);
        assert_string_equal(got.body, "POST /p [hello]");
        assert_non_null(strstr(got.head, "Content-Type: text/plain\r\n"));
        assert_non_null(strstr(got.head, "Date: "));
        assert_null(strstr(got.head, "Connection:"));
    }
    client_close(&c);
    rig_stop(&r);
}

static void shows_what_a_request_says(void **state)
{
    rig r = { .demand = 1 };
    char peer[64];
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c,
        "PUT /a/b?x=1&y HTTP/1.1\r\nHost: h:80\r\nContent-Type: text/x\r\nX-Two:  2 \r\n"
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        "Content-Length: 2\r\n\r\nok");
    TURN_UNTIL(&r, r.kept_count == 1);
    const weir_http_request *q = weir_http_request_of(r.kept[0]);
    assert_int_equal(weir_http_request_method(q), WEIR_HTTP1_PUT);
    assert_true(weir_http1_span_is(weir_http_request_target(q), "/a/b?x=1&y"));
    assert_true(weir_http1_span_is(weir_http_request_path(q), "/a/b"));
    assert_true(weir_http1_span_is(weir_http_request_query(q), "x=1&y"));
    assert_true(weir_http1_span_is(weir_http_request_host(q), "h:80"));
    assert_true(weir_http1_span_is(weir_http_request_content_type(q), "text/x"));
    assert_true(weir_http1_span_is(weir_http_request_body(q), "ok"));
    assert_true(weir_http1_span_is(weir_http_request_find(q, "x-TWO"), "2"));
    assert_null(weir_http_request_find(q, "x-three").at);
    assert_int_equal(weir_http_request_fields(q), 5);
    assert_true(weir_http1_span_is(weir_http_request_field(q, 0).name, "host"));
    assert_null(weir_http_request_field(q, 5).name.at);
    assert_int_equal(weir_http_request_minor(q), 1);
    assert_false(weir_http_request_is_tls(q));
    assert_true(weir_http_request_peer(q, peer, sizeof peer) < sizeof peer);
    assert_memory_equal(peer, "127.0.0.1:", 10);
    const weir_context *context = weir_http_request_context(q);
    assert_ptr_equal(context, r.kept[0]->context);
    assert_int_equal(context->trace.trace_id[0], 0x0a);
    assert_int_equal(context->trace.span_id[7], 0x31);
    assert_int_equal(context->trace.flags, 1);
    assert_true(context->deadline_ns > weir_loop_now(r.loop));
    answer_kept(&r, 0, "");
    hear_status(&r, &c, 200);
    client_close(&c);
    rig_stop(&r);
}

static void makes_a_trace_for_a_request_without_a_good_one(void **state)
{
    static const char *const bad[] = {
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
        "00-short",
    };
    const size_t n = sizeof bad / sizeof bad[0];
    const uint8_t zero[16] = { 0 }, sent[2] = { 0x0a, 0xf7 };
    rig r = { .demand = 64 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    for (size_t i = 0; i < n; i++) {
        char text[256];
        snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: a\r\ntraceparent: %s\r\n\r\n", bad[i]);
        say(&r, &c, text);
        TURN_UNTIL(&r, r.kept_count == (int)i + 1);
        const weir_trace *trace = &r.kept[i]->context->trace;
        assert_memory_not_equal(trace->trace_id, zero, 16);
        assert_memory_not_equal(trace->trace_id, sent, 2);
        answer_kept(&r, (int)i, "");
        hear_status(&r, &c, 200);
    }
    client_close(&c);
    rig_stop(&r);
}

static void answers_head_with_the_length_and_no_body(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_echo(&r);
    client c = client_new(&r);
    say(&r, &c, "HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n" GET("/y"));
    reply got = hear_to(&r, &c, true);
    assert_non_null(strstr(got.head, "Content-Length: 10\r\n"));
    assert_string_equal(hear(&r, &c).body, "GET /y []");
    client_close(&c);
    rig_stop(&r);
}

static void keeps_an_old_peers_connection_only_if_asked(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_echo(&r);
    client c = client_new(&r);
    say(&r, &c, "GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_non_null(strstr(hear(&r, &c).head, "Connection: keep-alive\r\n"));
    say(&r, &c, "GET /b HTTP/1.0\r\n\r\n");
    assert_non_null(strstr(hear(&r, &c).head, "Connection: close\r\n"));
    hear_end(&r, &c);
    client_close(&c);
    rig_stop(&r);
}

static void closes_when_the_peer_asks_and_answers_nothing_after(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_echo(&r);
    client c = client_new(&r);
    say(&r, &c, "GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" GET("/b"));
    reply got = hear(&r, &c);
    assert_string_equal(got.body, "GET /a []");
    assert_non_null(strstr(got.head, "Connection: close\r\n"));
    hear_end(&r, &c);
    client_close(&c);
    rig_stop(&r);
}

/* ---- Malformed input ---- */

typedef struct bad_request {
    const char *text;
    int status;
} bad_request;

#define LINE "GET / HTTP/1.1\r\nHost: a\r\n"
#define BODY "POST / HTTP/1.1\r\nHost: a\r\n"
static const bad_request bad_requests[] = {
    { "GET / HTTP/1.1\nHost: a\n\n", 400 },
    { "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "GET / HTTP/1.1\r\n\r\n", 400 },
    { LINE "Host: b\r\n\r\n", 400 },
    { LINE "A : b\r\n\r\n", 400 },
    { LINE "A b: c\r\n\r\n", 400 },
    { LINE "A: b\r\n folded\r\n\r\n", 400 },
    { LINE "A: b\x01\r\n\r\n", 400 },
    { LINE ": nameless\r\n\r\n", 400 },
    { "GET /\r\n\r\n", 400 },
    { "GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
    { "GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505 },
    { "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", 501 },
    { "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501 },
    { BODY "Content-Length: x\r\n\r\n", 400 },
    { BODY "Content-Length: -1\r\n\r\n", 400 },
    { BODY "Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400 },
    { BODY "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400 },
    { BODY "Content-Length: 99999999999999999999999\r\n\r\n", 400 },
    { BODY "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", 400 },
    { BODY "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501 },
    { BODY "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400 },
    { BODY "Transfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n0\r\n\r\n", 400 },
    { BODY "Transfer-Encoding: chunked\r\n\r\n1\nab\r\n0\r\n\r\n", 400 },
    { BODY "Transfer-Encoding: chunked\r\n\r\n0\r\nBad trailer\r\n\r\n", 400 },
    { "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400 },
    { BODY "Expect: miracles\r\nContent-Length: 1\r\n\r\nx", 417 },
    { BODY "Content-Length: 2000000\r\n\r\n", 413 },
};

static void refuse_each(bool slowly)
{
    rig r = { 0 };
    int handled = 0;
    rig_start(&r, weir_http_reply_with(echo, &handled));
    for (size_t i = 0; i < sizeof bad_requests / sizeof bad_requests[0]; i++) {
        client c = client_new(&r);
        (slowly ? say_slowly : say)(&r, &c, bad_requests[i].text);
        say(&r, &c, GET("/smuggled"));
        reply got = hear(&r, &c);
        if (got.status != bad_requests[i].status)
            fail_msg("case %zu: answered %d: %s", i, got.status, got.body);
        assert_non_null(strstr(got.head, "Connection: close\r\n"));
        assert_non_null(strstr(got.body, "\"why\""));
        hear_end(&r, &c);
        client_close(&c);
    }
    assert_int_equal(handled, 0);
    rig_stop(&r);
}

static void refuses_what_is_malformed_once_and_closes(void **state)
{
    (void)state;
    refuse_each(false);
}

static void refuses_what_is_malformed_byte_by_byte_as_well(void **state)
{
    (void)state;
    refuse_each(true);
}

static void answers_what_came_before_a_malformed_request_first(void **state)
{
    rig r = { .demand = 4 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/1") GET("/2") "nonsense\r\n\r\n" GET("/3"));
    TURN_UNTIL(&r, r.kept_count == 2);
    answer_kept(&r, 1, "two");
    answer_kept(&r, 0, "one");
    assert_string_equal(hear(&r, &c).body, "one");
    assert_string_equal(hear(&r, &c).body, "two");
    hear_status(&r, &c, 400);
    hear_end(&r, &c);
    assert_int_equal(r.kept_count, 2);
    client_close(&c);
    rig_stop(&r);
}

static void answers_400_to_what_the_peer_cuts_off(void **state)
{
    static const char *const cut[] = { "GET / HT", POST("5\r\n\r\nhel") };
    rig r = { 0 };
    (void)state;
    rig_echo(&r);
    for (int i = 0; i < 2; i++) {
        client c = client_new(&r);
        say(&r, &c, cut[i]);
        shutdown(c.fd, SHUT_WR);
        hear_status(&r, &c, 400);
        hear_end(&r, &c);
        client_close(&c);
    }
    rig_stop(&r);
}

/* ---- Limits ---- */

static void ask_with_target(rig *r, client *c, size_t n, const char *fields)
{
    char *text = malloc(n + strlen(fields) + 64);
    int at = sprintf(text, "GET /");
    memset(text + at, 'x', n);
    sprintf(text + at + n, " HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);
    say(r, c, text);
    free(text);
}

static void refuses_what_is_too_large_with_its_own_status(void **state)
{
    rig r = { .config.limits.body_bytes_max = 1000 };
    char fields[101 * 8 + 1], large[17 * 1024];
    (void)state;
    for (int i = 0; i < 101; i++)
        snprintf(fields + i * 8, 9, "A%03u: \r\n", (unsigned)i % 1000);
    memset(large, 'y', sizeof large);
    memcpy(large, "L: ", 3);
    memcpy(large + sizeof large - 3, "\r\n", 3);
    rig_echo(&r);
    client c[5];
    for (int i = 0; i < 5; i++)
        c[i] = client_new(&r);
    ask_with_target(&r, &c[0], 9000, "");
    hear_status(&r, &c[0], 414);
    ask_with_target(&r, &c[1], 1, fields);
    hear_status(&r, &c[1], 431);
    ask_with_target(&r, &c[2], 1, large);
    hear_status(&r, &c[2], 431);
    say(&r, &c[3], POST("1001\r\n\r\n"));
    hear_status(&r, &c[3], 413);
    say(&r, &c[4], BODY "Transfer-Encoding: chunked\r\n\r\n3e9\r\n");
    hear_status(&r, &c[4], 413);
    for (int i = 0; i < 5; i++) {
        hear_end(&r, &c[i]);
        client_close(&c[i]);
    }
    rig_stop(&r);
}

static void takes_what_is_just_within_the_limits(void **state)
{
    rig r = { .config.limits.body_bytes_max = 100000 };
    char *body = calloc(1, 100001);
    (void)state;
    memset(body, 'b', 100000);
    rig_echo(&r);
    client c = client_new(&r);
    ask_with_target(&r, &c, 8190, "");
    hear_status(&r, &c, 200);
    say(&r, &c, POST("100000\r\n\r\n"));
    say(&r, &c, body);
    hear_status(&r, &c, 200);
    say(&r, &c, BODY "Transfer-Encoding: chunked\r\n\r\n186a0\r\n");
    say(&r, &c, body);
    say(&r, &c, "\r\n0\r\n\r\n" GET("/z"));
    hear_status(&r, &c, 200);
    hear_status(&r, &c, 200);
    free(body);
    client_close(&c);
    rig_stop(&r);
}

static void lets_connections_above_the_limit_wait(void **state)
{
    rig r = { .config.connections_max = 2 };
    (void)state;
    rig_echo(&r);
    client c[3];
    for (int i = 0; i < 3; i++) {
        c[i] = client_new(&r);
        say(&r, &c[i], GET("/"));
        turns(&r, 20);
    }
    hear_status(&r, &c[0], 200);
    hear_status(&r, &c[1], 200);
    listen_once(&r, &c[2]);
    assert_string_equal(c[2].text, "");
    client_close(&c[0]);
    hear_status(&r, &c[2], 200);
    client_close(&c[1]);
    client_close(&c[2]);
    rig_stop(&r);
}

/* ---- Bodies ---- */

static void collects_bodies_that_come_in_pieces(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_echo(&r);
    client c = client_new(&r);
    say_slowly(&r, &c, POST("5\r\n\r\nhello"));
    assert_string_equal(hear(&r, &c).body, "POST /p [hello]");
    say_slowly(&r, &c,
               BODY
               "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nT: v\r\n\r\n");
    assert_string_equal(hear(&r, &c).body, "POST / [abcde]");
    say(&r, &c, BODY "Transfer-Encoding: chunked\r\n\r\n1\r\nf\r\n0\r\n\r\n" GET("/next"));
    assert_string_equal(hear(&r, &c).body, "POST / [f]");
    assert_string_equal(hear(&r, &c).body, "GET /next []");
    client_close(&c);
    rig_stop(&r);
}

#define EXPECTS "POST /e HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"

static void says_continue_to_who_waits_for_it(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_echo(&r);
    client c = client_new(&r);
    say(&r, &c, EXPECTS);
    hear_status(&r, &c, 100);
    say(&r, &c, "hi" EXPECTS "ho");
    assert_string_equal(hear(&r, &c).body, "POST /e [hi]");
    assert_string_equal(hear(&r, &c).body, "POST /e [ho]"); /* did not wait: no 100 */
    client_close(&c);
    rig_stop(&r);
}

static void says_continue_only_after_the_replies_before(void **state)
{
    rig r = { .demand = 4 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/1") EXPECTS);
    TURN_UNTIL(&r, r.kept_count == 1);
    turns(&r, 20);
    listen_once(&r, &c);
    assert_string_equal(c.text, "");
    answer_kept(&r, 0, "one");
    assert_string_equal(hear(&r, &c).body, "one");
    hear_status(&r, &c, 100);
    say(&r, &c, "hi");
    TURN_UNTIL(&r, r.kept_count == 2);
    answer_kept(&r, 1, "two");
    assert_string_equal(hear(&r, &c).body, "two");
    client_close(&c);
    rig_stop(&r);
}

/* ---- Replies ---- */

static void sends_replies_in_the_order_of_the_requests(void **state)
{
    rig r = { .demand = 64 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    for (int i = 0; i < 16; i++)
        say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 16);
    for (int i = 0; i < 16; i++) {
        char body[8];
        int at = (i * 5 + 3) % 16;
        snprintf(body, sizeof body, "%d", at);
        answer_kept(&r, at, body);
        turns(&r, 2);
    }
    for (int i = 0; i < 16; i++)
        assert_int_equal(atoi(hear(&r, &c).body), i);
    client_close(&c);
    rig_stop(&r);
}

static void reads_no_more_than_the_pipelining_limit(void **state)
{
    rig r = { .demand = 64, .config.pipelined_max = 3 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    for (int i = 0; i < 8; i++)
        say(&r, &c, GET("/"));
    turns(&r, 50);
    assert_int_equal(r.kept_count, 3);
    answer_kept(&r, 0, "0");
    TURN_UNTIL(&r, r.kept_count == 4);
    turns(&r, 50);
    assert_int_equal(r.kept_count, 4);
    for (int i = 1; i < 8; i++) {
        TURN_UNTIL(&r, r.kept_count > i);
        answer_kept(&r, i, "n");
    }
    for (int i = 0; i < 8; i++)
        hear_status(&r, &c, 200);
    client_close(&c);
    rig_stop(&r);
}

static void reads_no_more_while_too_many_reply_bytes_wait(void **state)
{
    rig r = { .demand = 64, .config.reply_bytes_max = 1000 };
    char body[2001];
    (void)state;
    memset(body, 'x', 2000);
    body[2000] = '\0';
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/") GET("/"));
    TURN_UNTIL(&r, r.kept_count == 2);
    answer_kept(&r, 1, body);
    turns(&r, 5);
    say(&r, &c, GET("/"));
    turns(&r, 50);
    assert_int_equal(r.kept_count, 2);
    answer_kept(&r, 0, "first");
    TURN_UNTIL(&r, r.kept_count == 3);
    answer_kept(&r, 2, "third");
    assert_string_equal(hear(&r, &c).body, "first");
    assert_string_equal(hear(&r, &c).body, body);
    assert_string_equal(hear(&r, &c).body, "third");
    client_close(&c);
    rig_stop(&r);
}

static void takes_one_answer_and_refuses_bad_ones(void **state)
{
    weir_http1_field split = { { "A", 1 }, { "x\r\nB: y", 7 } };
    weir_http1_field ours = { { "Content-Length", 14 }, { "1", 1 } };
    weir_http1_field good = { { "Location", 8 }, { "/there", 6 } };
    rig r = { .demand = 1 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    weir_item *item = r.kept[0], *plain = weir_item_new(r.loop, NULL, 8);
    assert_int_equal(weir_http_reply(plain, 200, NULL, NULL, 0), WEIR_EINVAL);
    weir_item_ack(plain);
    assert_int_equal(weir_http_reply(item, 199, NULL, NULL, 0), WEIR_EINVAL);
    assert_int_equal(weir_http_reply(item, 200, "a\r\nb", NULL, 0), WEIR_EINVAL);
    assert_int_equal(
        weir_http_answer_with(item, &(weir_http_answer){ .fields = &split, .field_count = 1 }),
        WEIR_EINVAL);
    assert_int_equal(
        weir_http_answer_with(item, &(weir_http_answer){ .fields = &ours, .field_count = 1 }),
        WEIR_EINVAL);
    assert_false(weir_http_is_answered(item));
    assert_int_equal(
        weir_http_answer_with(
            item,
            &(weir_http_answer){ .status = 302, .fields = &good, .field_count = 1, .close = true }),
        WEIR_OK);
    assert_true(weir_http_is_answered(item));
    assert_int_equal(weir_http_reply(item, 200, NULL, NULL, 0), WEIR_EEXIST);
    reply got = hear(&r, &c);
    assert_int_equal(got.status, 302);
    assert_non_null(strstr(got.head, "Location: /there\r\n"));
    assert_non_null(strstr(got.head, "Connection: close\r\n"));
    hear_end(&r, &c);
    weir_item_ack(item);
    client_close(&c);
    rig_stop(&r);
}

static void answers_what_ends_without_an_answer_by_how_it_ended(void **state)
{
    static const struct {
        weir_outcome outcome;
        weir_status status;
        int code;
    } cases[] = {
        { WEIR_ACKED, WEIR_OK, 204 },
        { WEIR_FILTERED, WEIR_OK, 204 },
        { WEIR_DEAD_LETTERED, WEIR_EIO, 500 },
        { WEIR_REJECTED, WEIR_EOVERLOAD, 503 },
        { WEIR_ABORTED, WEIR_ECANCELED, 503 },
        { WEIR_FAILED, WEIR_EINTERNAL, 500 },
        { WEIR_FAILED, WEIR_EUNAVAILABLE, 503 },
        { WEIR_FAILED, WEIR_EDEADLINE, 504 },
    };
    rig r = { .demand = 64, .config.retry_after_s = 7 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    for (int i = 0; i < (int)(sizeof cases / sizeof cases[0]); i++) {
        say(&r, &c, GET("/"));
        TURN_UNTIL(&r, r.kept_count == i + 1);
        weir_item_end(r.kept[i], cases[i].outcome, cases[i].status);
        reply got = hear(&r, &c);
        assert_int_equal(got.status, cases[i].code);
        assert_int_equal(strstr(got.head, "Retry-After: 7\r\n") != NULL, cases[i].code == 503);
        assert_null(strstr(got.head, "Connection: close"));
    }
    client_close(&c);
    rig_stop(&r);
}

static void answers_for_what_was_made_of_a_request(void **state)
{
    rig r = { .demand = 1 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    weir_item *child = weir_item_new(r.loop, NULL, 8), *copy;
    assert_int_equal(weir_item_hold(r.kept[0]), WEIR_OK);
    weir_item_derive(child, r.kept[0]);
    assert_int_equal(weir_item_clone(r.loop, r.kept[0], &copy), WEIR_OK);
    assert_ptr_equal(weir_http_request_of(child), weir_http_request_of(copy));
    weir_item_ack(copy);
    turns(&r, 5);
    assert_int_equal(weir_http_reply(child, 200, NULL, "child", 5), WEIR_OK);
    weir_item_ack(child);
    assert_string_equal(hear(&r, &c).body, "child");
    client_close(&c);
    rig_stop(&r);
}

static void fails_an_item_whose_deadline_passes_with_504(void **state)
{
    rig r = { .demand = 64, .config.request_deadline_ms = 20 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    pass_ms(&r, 30);
    assert_int_equal(weir_context_status(r.kept[0]->context, weir_loop_now(r.loop)),
                     WEIR_EDEADLINE);
    weir_fail(r.keeper, r.kept[0], WEIR_EDEADLINE, "too late");
    hear_status(&r, &c, 504);
    client_close(&c);
    rig_stop(&r);
}

static void answers_504_itself_when_nobody_looks_at_a_request_in_time(void **state)
{
    rig r = { .demand = 64, .config.request_deadline_ms = 20 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    pass_ms(&r, 30);
    hear_status(&r, &c, 504);
    assert_int_equal(weir_http_reply(r.kept[0], 200, NULL, "late", 4), WEIR_EEXIST);
    weir_item_ack(r.kept[0]);
    say(&r, &c, GET("/again"));
    TURN_UNTIL(&r, r.kept_count == 2);
    assert_int_equal(weir_http_reply(r.kept[1], 200, NULL, "good", 4), WEIR_OK);
    weir_item_ack(r.kept[1]);
    hear_status(&r, &c, 200);
    client_close(&c);
    rig_stop(&r);
}

static void a_reset_frees_a_connection_whose_request_waits_for_demand(void **state)
{
    rig r = { .demand = 1 };
    (void)state;
    rig_start(&r, NULL);
    int fds = server_count_fds();
    client first = client_new(&r), second = client_new(&r);
    TURN_UNTIL(&r, server_count_fds() == fds + 4);
    say(&r, &first, GET("/first"));
    TURN_UNTIL(&r, r.kept_count == 1);
    say(&r, &second, GET("/second"));
    turns(&r, 20);
    client_reset(&second);
    TURN_UNTIL(&r, server_count_fds() == fds + 2);
    assert_int_equal(weir_http_reply(r.kept[0], 200, NULL, "one", 3), WEIR_OK);
    weir_item_ack(r.kept[0]);
    hear_status(&r, &first, 200);
    client_close(&first);
    rig_stop(&r);
}

static void serves_connections_that_are_handed_in(void **state)
{
    rig r = { .demand = 64, .config.door = weir_http_door_new(NULL) };
    int ends[2];
    (void)state;
    assert_non_null(r.config.door);
    assert_int_equal(weir_http_door_hand(r.config.door, -1), WEIR_EINVAL);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(weir_http_door_hand(r.config.door, ends[0]), WEIR_OK); /* before the start */
    rig_start(&r, NULL);
    client c = { .fd = ends[1], .cap = 4096 };
    c.text = calloc(1, c.cap);
    assert_int_equal(fcntl(c.fd, F_SETFL, O_NONBLOCK), 0);
    say(&r, &c, GET("/handed"));
    TURN_UNTIL(&r, r.kept_count == 1);
    assert_int_equal(weir_http_reply(r.kept[0], 200, NULL, "served", 6), WEIR_OK);
    weir_item_ack(r.kept[0]);
    assert_string_equal(hear(&r, &c).body, "served");
    client_close(&c);
    r.fds -= 2; /* both ends were open when they were counted */
    rig_stop(&r);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    assert_int_equal(weir_http_door_hand(r.config.door, ends[0]), WEIR_ECLOSED);
    close(ends[0]);
    close(ends[1]);
    weir_http_door_free(r.config.door);
}

static void a_door_takes_no_more_than_it_can_hold(void **state)
{
    weir_http_door *door = weir_http_door_new(NULL);
    (void)state;
    int fds = server_count_fds();
    for (int i = 0; i < 512; i++)
        assert_int_equal(weir_http_door_hand(door, socket(AF_INET, SOCK_STREAM, 0)), WEIR_OK);
    int one_more = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(weir_http_door_hand(door, one_more), WEIR_EOVERLOAD);
    close(one_more);
    weir_http_door_free(door);
    assert_int_equal(server_count_fds(), fds);
}

/* ---- Replies in pieces ---- */

static void dechunk(rig *r, client *c, char *to)
{
    TURN_UNTIL(r, (listen_once(r, c), strstr(c->text, "0\r\n\r\n") != NULL));
    char *at = strstr(c->text, "\r\n\r\n") + 4;
    for (size_t n; (n = strtoul(at, &at, 16)) != 0; at += 2) {
        memcpy(to, at + 2, n);
        to += n;
        at += 2 + n;
    }
    *to = '\0';
    forget(c, (size_t)(at + 4 - c->text));
}

static void streams_a_reply_in_chunks(void **state)
{
    rig r = { .demand = 4 };
    char body[64];
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/1") GET("/2"));
    TURN_UNTIL(&r, r.kept_count == 2);
    /* the second begins before its turn */
    assert_int_equal(weir_http_reply_begin(r.kept[1], &(weir_http_answer){ .content_type = "t/x" }),
                     WEIR_OK);
    assert_int_equal(weir_http_reply_chunk(r.kept[1], "second", 6), WEIR_OK);
    assert_int_equal(
        weir_http_reply_begin(r.kept[0], &(weir_http_answer){ .body = "fi", .body_bytes = 2 }),
        WEIR_OK);
    assert_int_equal(weir_http_reply_chunk(r.kept[0], "rst", 3), WEIR_OK);
    assert_int_equal(weir_http_reply_end(r.kept[0]), WEIR_OK);
    assert_int_equal(weir_http_reply_end(r.kept[0]), WEIR_EINVAL);
    turns(&r, 5);
    assert_int_equal(weir_http_reply_chunk(r.kept[1], " half", 5), WEIR_OK);
    assert_int_equal(weir_http_reply_end(r.kept[1]), WEIR_OK);
    dechunk(&r, &c, body);
    assert_string_equal(body, "first");
    dechunk(&r, &c, body);
    assert_string_equal(body, "second half");
    weir_item_ack(r.kept[0]);
    weir_item_ack(r.kept[1]);
    client_close(&c);
    rig_stop(&r);
}

static void note_room(weir_item *item, void *user)
{
    (void)item;
    ++*(int *)user;
}

static void tells_a_streamer_when_there_is_room_again(void **state)
{
    rig r = { .demand = 4, .config.reply_bytes_max = 64 * 1024 };
    static char block[16 * 1024];
    int told = 0, put = 0;
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, "GET / HTTP/1.0\r\n\r\n");
    TURN_UNTIL(&r, r.kept_count == 1);
    weir_item *item = r.kept[0];
    memset(block, 'z', sizeof block);
    assert_int_equal(weir_http_reply_begin(item, &(weir_http_answer){ 0 }), WEIR_OK);
    for (int still = 0; still < 50; still++) {
        weir_status status = weir_http_reply_chunk(item, block, sizeof block);
        assert_true(status == WEIR_OK || status == WEIR_EAGAIN);
        if (status == WEIR_OK) {
            put++;
            still = 0;
        }
        turn(&r);
    }
    assert_int_equal(weir_http_reply_room(item), 0);
    assert_int_equal(weir_http_reply_on_room(item, note_room, &told), WEIR_OK);
    turns(&r, 50);
    assert_int_equal(told, 0);
    TURN_UNTIL(&r, (listen_once(&r, &c), told == 1));
    assert_int_equal(weir_http_reply_chunk(item, "end", 3), WEIR_OK);
    assert_int_equal(weir_http_reply_end(item), WEIR_OK);
    weir_item_ack(item);
    TURN_UNTIL(&r, (listen_once(&r, &c), c.ended));
    assert_int_equal((size_t)(c.text + c.n - strstr(c.text, "\r\n\r\n") - 4),
                     (size_t)put * sizeof block + 3);
    client_close(&c);
    rig_stop(&r);
}

static void cuts_off_a_reply_that_is_never_finished(void **state)
{
    rig r = { .demand = 1 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    assert_int_equal(
        weir_http_reply_begin(r.kept[0], &(weir_http_answer){ .body = "par", .body_bytes = 3 }),
        WEIR_OK);
    turns(&r, 5);
    weir_item_end(r.kept[0], WEIR_FAILED, WEIR_EIO);
    TURN_UNTIL(&r, (listen_once(&r, &c), c.ended || c.reset));
    assert_non_null(strstr(c.text, "3\r\npar\r\n"));
    assert_null(strstr(c.text, "0\r\n\r\n"));
    client_close(&c);
    rig_stop(&r);
}

/* ---- Deadlines ---- */

static void answers_408_to_a_head_or_a_body_that_takes_too_long(void **state)
{
    rig r = { .config.header_timeout_ms = 40, .config.body_timeout_ms = 40 };
    (void)state;
    rig_echo(&r);
    client head = client_new(&r), body = client_new(&r);
    say(&r, &head, "GET / HTTP/1.1\r\nHo");
    say(&r, &body, POST("5\r\n\r\nhel"));
    for (int i = 0; i < 10; i++) {
        say(&r, &head, "s"); /* a drop now and then does not help */
        pass_ms(&r, 3);
    }
    listen_once(&r, &head);
    assert_string_equal(head.text, "");
    pass_ms(&r, 20);
    hear_status(&r, &head, 408);
    hear_end(&r, &head);
    hear_status(&r, &body, 408);
    hear_end(&r, &body);
    client_close(&head);
    client_close(&body);
    rig_stop(&r);
}

static void closes_an_idle_connection_without_a_word(void **state)
{
    rig r = { .config.idle_timeout_ms = 30 };
    (void)state;
    rig_echo(&r);
    client silent = client_new(&r), used = client_new(&r);
    say(&r, &used, GET("/"));
    hear_status(&r, &used, 200);
    pass_ms(&r, 40);
    hear_end(&r, &used);
    hear_end(&r, &silent);
    client_close(&silent);
    client_close(&used);
    rig_stop(&r);
}

static void does_not_time_out_a_request_that_is_being_answered(void **state)
{
    rig r = { .demand = 1,
              .config.idle_timeout_ms = 20,
              .config.header_timeout_ms = 20,
              .config.body_timeout_ms = 20 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    pass_ms(&r, 60);
    answer_kept(&r, 0, "late");
    assert_string_equal(hear(&r, &c).body, "late");
    client_close(&c);
    rig_stop(&r);
}

static void stops_the_clock_while_it_does_not_read(void **state)
{
    rig r = { .demand = 1, .config.body_timeout_ms = 60 };
    (void)state;
    rig_start(&r, NULL);
    client slow = client_new(&r), quick = client_new(&r);
    say(&r, &slow, POST("5\r\n\r\nhel"));
    turns(&r, 10);
    say(&r, &quick, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1); /* the only demand there was */
    say(&r, &slow, "lo");
    pass_ms(&r, 120);
    assert_int_equal(r.kept_count, 1);
    weir_request_to(weir_stage_in(r.keeper), 1);
    TURN_UNTIL(&r, r.kept_count == 2);
    answer_kept(&r, 0, "");
    answer_kept(&r, 1, "whole");
    assert_string_equal(hear(&r, &slow).body, "whole");
    hear_status(&r, &quick, 200);
    client_close(&slow);
    client_close(&quick);
    rig_stop(&r);
}

static void resets_a_peer_that_does_not_take_its_reply(void **state)
{
    rig r = { .demand = 1, .config.write_timeout_ms = 30 };
    size_t n = 32 * 1024 * 1024;
    char *body = calloc(1, n);
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    assert_int_equal(weir_http_reply(r.kept[0], 200, NULL, body, n), WEIR_OK);
    weir_item_ack(r.kept[0]);
    pass_ms(&r, 100);
    TURN_UNTIL(&r, (listen_once(&r, &c), c.ended || c.reset));
    assert_true(c.n < n);
    free(body);
    client_close(&c);
    rig_stop(&r);
}

/* ---- Demand ---- */

static size_t say_until_it_blocks(rig *r, client *c, const char *block, size_t n)
{
    size_t sum = 0;
    for (int still = 0; still < 100; still++) {
        ssize_t sent = send(c->fd, block, n, MSG_NOSIGNAL);
        if (sent > 0) {
            sum += (size_t)sent;
            still = 0;
        }
        turn(r);
    }
    return sum;
}

static void stops_reading_without_demand_and_goes_on_with_it(void **state)
{
    rig r = { .demand = 1 };
    static char text[1024 * 40];
    const char one[] = POST("1000\r\n\r\n");
    size_t n = 0;
    (void)state;
    while (n + 1100 < sizeof text) {
        memcpy(text + n, one, sizeof one - 1);
        memset(text + n + sizeof one - 1, 'b', 1000);
        n += sizeof one - 1 + 1000;
    }
    rig_start(&r, NULL);
    client c = client_new(&r);
    size_t sent = say_until_it_blocks(&r, &c, text, n);
    assert_int_equal(r.kept_count, 1);
    turns(&r, 20);
    assert_true(sent > n); /* only what the kernel keeps, and what one read brings */
    for (int i = 0; i < 32; i++) {
        TURN_UNTIL(&r, r.kept_count == i + 1);
        weir_request_to(weir_stage_in(r.keeper), 1);
        answer_kept(&r, i, "ok");
        hear_status(&r, &c, 200);
    }
    client_reset(&c);
    TURN_UNTIL(&r, r.kept_count == 33);
    weir_item_ack(r.kept[32]);
    rig_stop(&r);
}

static void keeps_to_a_window_of_bytes_and_still_passes_what_is_larger(void **state)
{
    rig r = { .window_bytes = 2000 };
    char small[] = POST("500\r\n\r\n"), large[] = POST("9000\r\n\r\n"), body[9001] = { 0 };
    (void)state;
    memset(body, 'b', 9000);
    rig_echo(&r);
    client c = client_new(&r), d = client_new(&r);
    for (int i = 0; i < 10; i++) {
        client *who = i % 2 == 0 ? &c : &d;
        bool is_large = i % 3 == 0;
        say(&r, who, is_large ? large : small);
        say_bytes(&r, who, body, is_large ? 9000 : 500);
    }
    for (int i = 0; i < 10; i++)
        hear_status(&r, i % 2 == 0 ? &c : &d, 200);
    client_close(&c);
    client_close(&d);
    rig_stop(&r);
}

static void lets_bodies_wait_for_the_memory_of_others(void **state)
{
    rig r = { .config.body_bytes_max_all = 1000, .config.header_timeout_ms = 50 };
    char body[801] = { 0 };
    (void)state;
    memset(body, 'b', 800);
    rig_echo(&r);
    client a = client_new(&r), b = client_new(&r);
    say(&r, &a, POST("800\r\n\r\n"));
    turns(&r, 20);
    say(&r, &b, POST("800\r\n\r\nb")); /* its deadline waits with it */
    pass_ms(&r, 100);
    say(&r, &b, body + 1);
    turns(&r, 20);
    listen_once(&r, &b);
    assert_string_equal(b.text, "");
    say(&r, &a, body);
    hear_status(&r, &a, 200);
    hear_status(&r, &b, 200);
    client_close(&a);
    client_close(&b);
    rig_stop(&r);
}

static void accepts_nobody_without_demand(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_start(&r, NULL);
    client a = client_new(&r), b = client_new(&r);
    say(&r, &a, GET("/a"));
    say(&r, &b, GET("/b"));
    turns(&r, 20);
    int before = server_count_fds();
    turns(&r, 20);
    assert_true(server_count_fds() <= before);
    assert_int_equal(r.kept_count, 0);
    weir_request_to(weir_stage_in(r.keeper), 2);
    TURN_UNTIL(&r, r.kept_count == 2);
    answer_kept(&r, 0, "");
    answer_kept(&r, 1, "");
    hear_status(&r, &a, 200);
    hear_status(&r, &b, 200);
    client_close(&a);
    client_close(&b);
    rig_stop(&r);
}

static void answers_503_after_the_overload_wait(void **state)
{
    rig r = { .demand = 1, .config.overload_wait_ms = 20, .config.retry_after_s = 3 };
    (void)state;
    rig_start(&r, NULL);
    client a = client_new(&r), b = client_new(&r);
    say(&r, &a, GET("/a"));
    TURN_UNTIL(&r, r.kept_count == 1);
    say(&r, &b, GET("/b"));
    turns(&r, 20);
    pass_ms(&r, 15);
    listen_once(&r, &b);
    assert_string_equal(b.text, "");
    pass_ms(&r, 10);
    reply got = hear(&r, &b);
    assert_int_equal(got.status, 503);
    assert_non_null(strstr(got.head, "Retry-After: 3\r\n"));
    assert_null(strstr(got.head, "Connection: close"));
    weir_request_to(weir_stage_in(r.keeper), 1);
    say(&r, &b, POST("4\r\n\r\nbody"));
    TURN_UNTIL(&r, r.kept_count == 2);
    answer_kept(&r, 0, "");
    answer_kept(&r, 1, "");
    hear_status(&r, &a, 200);
    hear_status(&r, &b, 200);
    client_close(&a);
    client_close(&b);
    rig_stop(&r);
}

/* ---- Peers that go ---- */

static void cancels_the_work_of_a_peer_that_is_reset(void **state)
{
    rig r = { .demand = 1, .config.pipelined_max = 1 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/1") GET("/2"));
    TURN_UNTIL(&r, r.kept_count == 1);
    turns(&r, 10);
    assert_int_equal(weir_context_status(r.kept[0]->context, 0), WEIR_OK);
    client_reset(&c);
    TURN_UNTIL(&r, weir_context_status(r.kept[0]->context, 0) == WEIR_ECLOSED);
    assert_int_equal(weir_http_reply(r.kept[0], 200, NULL, NULL, 0), WEIR_ECLOSED);
    weir_item_ack(r.kept[0]);
    rig_stop(&r);
}

static void notices_a_reset_that_came_with_the_bytes_before_it(void **state)
{
    static const char *const parts[] = { "GET / HT", POST("5\r\n\r\nhel") };
    rig r = { 0 };
    (void)state;
    rig_echo(&r);
    int fds = server_count_fds();
    for (int i = 0; i < 2; i++) {
        client c = client_new(&r);
        turns(&r, 10);
        assert_true(send(c.fd, parts[i], strlen(parts[i]), MSG_NOSIGNAL) > 0);
        client_reset(&c); /* before the server had a turn to read */
        TURN_UNTIL(&r, server_count_fds() == fds);
    }
    rig_stop(&r);
}

static void answers_a_peer_that_only_ended_its_sending(void **state)
{
    rig r = { .demand = 2 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/1") GET("/2"));
    shutdown(c.fd, SHUT_WR);
    TURN_UNTIL(&r, r.kept_count == 2);
    turns(&r, 50);
    assert_int_equal(weir_context_status(r.kept[0]->context, 0), WEIR_OK);
    answer_kept(&r, 0, "one");
    answer_kept(&r, 1, "two");
    assert_string_equal(hear(&r, &c).body, "one");
    assert_string_equal(hear(&r, &c).body, "two");
    hear_end(&r, &c);
    client_close(&c);
    rig_stop(&r);
}

static void leaves_answered_work_alone_when_the_peer_goes(void **state)
{
    rig r = { .demand = 1 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    assert_int_equal(weir_http_reply(r.kept[0], 202, NULL, NULL, 0), WEIR_OK);
    hear_status(&r, &c, 202);
    client_reset(&c);
    turns(&r, 50);
    assert_int_equal(weir_context_status(r.kept[0]->context, 0), WEIR_OK);
    weir_item_ack(r.kept[0]);
    rig_stop(&r);
}

/* ---- The end ---- */

static void drains_by_answering_what_is_under_way(void **state)
{
    rig r = { .demand = 1 };
    (void)state;
    rig_start(&r, NULL);
    client busy = client_new(&r), idle = client_new(&r), half = client_new(&r);
    say(&r, &busy, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    weir_request_to(weir_stage_in(r.keeper), 1);
    say(&r, &half, POST("5\r\n\r\nhel"));
    turns(&r, 20);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    hear_end(&r, &idle);
    hear_status(&r, &half, 503);
    hear_end(&r, &half);
    client_close(&idle);
    client_close(&half);
    turns(&r, 20);
    assert_false(r.finished);
    answer_kept(&r, 0, "done");
    reply got = hear(&r, &busy);
    assert_string_equal(got.body, "done");
    assert_non_null(strstr(got.head, "Connection: close\r\n"));
    hear_end(&r, &busy);
    client_close(&busy);
    rig_stop(&r);
}

static void aborts_at_once(void **state)
{
    rig r = { .demand = 1 };
    (void)state;
    rig_start(&r, NULL);
    client c = client_new(&r);
    say(&r, &c, GET("/"));
    TURN_UNTIL(&r, r.kept_count == 1);
    weir_pipeline_shutdown(r.pipeline, WEIR_ABORT, 0);
    TURN_UNTIL(&r, weir_context_status(r.kept[0]->context, 0) != WEIR_OK);
    weir_item_end(r.kept[0], WEIR_ABORTED, WEIR_ECANCELED);
    client_close(&c);
    rig_shutdown(&r, WEIR_ABORT);
}

static void lingers_no_longer_than_it_should(void **state)
{
    rig r = { .config.linger_timeout_ms = 20 };
    (void)state;
    rig_echo(&r);
    client c = client_new(&r);
    say(&r, &c, "nonsense\r\n\r\n");
    hear_status(&r, &c, 400);
    hear_end(&r, &c);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    pass_ms(&r, 40);
    assert_true(r.finished); /* although the client never closes */
    client_close(&c);
    rig_stop(&r);
}

/* ---- Want of memory ---- */

typedef struct scarcity {
    int left; /* allocations until one fails; below 0: none does */
    int live;
} scarcity;

static void *scarce_resize(void *memory, size_t bytes, void *user)
{
    scarcity *s = user;
    if (bytes == 0) {
        s->live -= memory != NULL;
        free(memory);
        return NULL;
    }
    if (s->left == 0) {
        s->left = -1;
        return NULL;
    }
    s->left -= s->left > 0;
    s->live += memory == NULL;
    return realloc(memory, bytes);
}

/* Says whether an allocation failed. All that matters besides is that nothing hangs or leaks. */
static bool lives_through_scarcity(int after)
{
    scarcity s = { .left = -1 };
    rig r = { .demand = 8, .allocator = { scarce_resize, &s } };
    rig_start(&r, NULL);
    client c = client_new(&r);
    s.left = after;
    say(&r, &c, GET("/1") GET("/2") "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n");
    say(&r, &c, "\r\n4\r\nbody\r\n0\r\n\r\nGET / HT");
    turns(&r, 20);
    for (int i = r.kept_count; i-- > 0;) {
        weir_status status = weir_http_reply(r.kept[i], 200, NULL, "x", 1);
        weir_item_end(r.kept[i], status == WEIR_OK ? WEIR_ACKED : WEIR_FAILED, status);
        turns(&r, 3);
    }
    bool failed = s.left < 0;
    s.left = -1;
    client_close(&c);
    rig_stop(&r);
    assert_int_equal(s.live, 0);
    return failed;
}

static void survives_each_of_its_allocations_failing(void **state)
{
    int after = 0;
    (void)state;
    while (lives_through_scarcity(after))
        after++;
    assert_true(after > 4);
}

static void says_what_is_wrong_with_its_config(void **state)
{
    static const weir_http_server_config bad[] = {
        { .listen = "nowhere" },
        { .listen = "127.0.0.1:70000" },
        { .listen = "127.0.0.1:0", .pipelined_max = 100000 },
        { .listen = "127.0.0.1:0", .tls_cert_file = "cert.pem" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        weir_pipeline *p = weir_pipeline_new(NULL);
        weir_from(p, weir_http_server(&bad[i]));
        weir_into(p, weir_http_reply_with(echo, NULL));
        assert_int_equal(weir_pipeline_check(p), WEIR_EINVAL);
        assert_string_not_equal(weir_pipeline_why(p), "");
        weir_pipeline_free(p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_requests_one_after_the_other_on_one_connection),
        cmocka_unit_test(shows_what_a_request_says),
        cmocka_unit_test(makes_a_trace_for_a_request_without_a_good_one),
        cmocka_unit_test(answers_head_with_the_length_and_no_body),
        cmocka_unit_test(keeps_an_old_peers_connection_only_if_asked),
        cmocka_unit_test(closes_when_the_peer_asks_and_answers_nothing_after),
        cmocka_unit_test(refuses_what_is_malformed_once_and_closes),
        cmocka_unit_test(refuses_what_is_malformed_byte_by_byte_as_well),
        cmocka_unit_test(answers_what_came_before_a_malformed_request_first),
        cmocka_unit_test(answers_400_to_what_the_peer_cuts_off),
        cmocka_unit_test(refuses_what_is_too_large_with_its_own_status),
        cmocka_unit_test(takes_what_is_just_within_the_limits),
        cmocka_unit_test(lets_connections_above_the_limit_wait),
        cmocka_unit_test(collects_bodies_that_come_in_pieces),
        cmocka_unit_test(says_continue_to_who_waits_for_it),
        cmocka_unit_test(says_continue_only_after_the_replies_before),
        cmocka_unit_test(sends_replies_in_the_order_of_the_requests),
        cmocka_unit_test(reads_no_more_than_the_pipelining_limit),
        cmocka_unit_test(reads_no_more_while_too_many_reply_bytes_wait),
        cmocka_unit_test(takes_one_answer_and_refuses_bad_ones),
        cmocka_unit_test(answers_what_ends_without_an_answer_by_how_it_ended),
        cmocka_unit_test(answers_for_what_was_made_of_a_request),
        cmocka_unit_test(fails_an_item_whose_deadline_passes_with_504),
        cmocka_unit_test(answers_504_itself_when_nobody_looks_at_a_request_in_time),
        cmocka_unit_test(a_reset_frees_a_connection_whose_request_waits_for_demand),
        cmocka_unit_test(serves_connections_that_are_handed_in),
        cmocka_unit_test(a_door_takes_no_more_than_it_can_hold),
        cmocka_unit_test(streams_a_reply_in_chunks),
        cmocka_unit_test(tells_a_streamer_when_there_is_room_again),
        cmocka_unit_test(cuts_off_a_reply_that_is_never_finished),
        cmocka_unit_test(answers_408_to_a_head_or_a_body_that_takes_too_long),
        cmocka_unit_test(closes_an_idle_connection_without_a_word),
        cmocka_unit_test(does_not_time_out_a_request_that_is_being_answered),
        cmocka_unit_test(stops_the_clock_while_it_does_not_read),
        cmocka_unit_test(resets_a_peer_that_does_not_take_its_reply),
        cmocka_unit_test(stops_reading_without_demand_and_goes_on_with_it),
        cmocka_unit_test(keeps_to_a_window_of_bytes_and_still_passes_what_is_larger),
        cmocka_unit_test(lets_bodies_wait_for_the_memory_of_others),
        cmocka_unit_test(accepts_nobody_without_demand),
        cmocka_unit_test(answers_503_after_the_overload_wait),
        cmocka_unit_test(cancels_the_work_of_a_peer_that_is_reset),
        cmocka_unit_test(notices_a_reset_that_came_with_the_bytes_before_it),
        cmocka_unit_test(answers_a_peer_that_only_ended_its_sending),
        cmocka_unit_test(leaves_answered_work_alone_when_the_peer_goes),
        cmocka_unit_test(drains_by_answering_what_is_under_way),
        cmocka_unit_test(aborts_at_once),
        cmocka_unit_test(lingers_no_longer_than_it_should),
        cmocka_unit_test(survives_each_of_its_allocations_failing),
        cmocka_unit_test(says_what_is_wrong_with_its_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
