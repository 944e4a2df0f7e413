/* HTTP/1.1 sessions at the public interface: server and client against each other, whatever the
 * cut; what hostile peers are answered; windows, limits and times. */
#include <weir/http_session.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LOG_MAX = 64 * 1024, PIPE_MAX = 256 * 1024 };

#define SPAN(text)  ((weir_http1_span){ (text), strlen(text) })
#define FIELD(n, v) ((weir_http1_field){ SPAN(n), SPAN(v) })
#define COUNT(a)    (sizeof(a) / sizeof *(a))

/* One end of a connection. What it is told goes into a log. */
typedef struct side {
    weir_http_session *session;
    weir_http_exchange *exchange; /* the last one told or opened; NULL when it is over */
    char log[LOG_MAX];
    size_t log_len;
    char in[PIPE_MAX]; /* sent by the other side, and not consumed */
    size_t in_len;
    weir_status failed;
    bool keeps; /* does not consume */
    void (*answers)(struct side *side, weir_http_exchange *exchange);
    int rooms;
} side;

static uint64_t now_ns;

/* ---- Memory that is counted, and may fail ---- */

static size_t blocks, allocations, failing_nth;

static void *resize(void *memory, size_t bytes, void *user)
{
    (void)user;
    if (bytes == 0) {
        blocks -= memory != NULL;
        free(memory);
        return NULL;
    }
    if (failing_nth != 0 && ++allocations == failing_nth)
        return NULL;
    blocks += memory == NULL;
    return realloc(memory, bytes);
}

static const weir_env env = { .allocator = { .resize = resize } };

/* ---- Events ---- */

static void note(side *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(s->log + s->log_len, LOG_MAX - s->log_len, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < LOG_MAX - s->log_len);
    s->log_len += (size_t)n;
}

static void note_fields(side *s, const weir_http1_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        note(s, " %.*s=%.*s", (int)fields[i].name.len, fields[i].name.at, (int)fields[i].value.len,
             fields[i].value.at);
}

static void on_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    side *s = user;
    s->exchange = exchange;
    if (head->status != 0)
        note(s, "<%u", head->status);
    else
        note(s, "<%.*s %.*s://%.*s %.*s", (int)head->method.len, head->method.at,
             (int)head->scheme.len, head->scheme.at, (int)head->authority.len, head->authority.at,
             (int)head->path.len, head->path.at);
    if (head->content_length == UINT64_MAX)
        note(s, " ?");
    else
        note(s, " %llu", (unsigned long long)head->content_length);
    note_fields(s, head->fields, head->field_count);
    note(s, head->ends ? " ends>" : ">");
    if (s->answers != NULL && head->ends)
        s->answers(s, exchange);
}

static void on_body(weir_http_exchange *exchange, const char *bytes, size_t n, void *user)
{
    side *s = user;
    assert_true(n > 0);
    note(s, "%.*s", (int)n, bytes);
    if (!s->keeps)
        weir_http_exchange_consume(exchange, n);
}

static void on_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n,
                   void *user)
{
    side *s = user;
    note(s, "<end");
    note_fields(s, trailers, n);
    note(s, ">");
    if (s->answers != NULL)
        s->answers(s, exchange);
}

static void on_room(weir_http_exchange *exchange, void *user)
{
    (void)exchange;
    ((side *)user)->rooms++;
}

static void on_over(weir_http_exchange *exchange, weir_status status, uint32_t h2_code, void *user)
{
    side *s = user;
    assert_int_equal(h2_code, 0);
    if (s->exchange == exchange)
        s->exchange = NULL;
    note(s, "<over %s>", weir_status_name(status));
}

static const weir_http_events events = { on_head, on_body, on_end, on_room, on_over, NULL };

/* ---- Two sides ---- */

static weir_status try_side(side *s, bool is_client, weir_http_session_config config)
{
    memset(s, 0, sizeof *s);
    config.version = WEIR_HTTP_1;
    config.is_client = is_client;
    config.env = &env;
    config.events = &events;
    config.user = s;
    return weir_http_session_new(&config, now_ns, &s->session);
}

static void side_new(side *s, bool is_client, weir_http_session_config config)
{
    now_ns = 1000000000;
    assert_int_equal(try_side(s, is_client, config), WEIR_OK);
}

static void side_free(side *s)
{
    weir_http_session_free(s->session);
    assert_int_equal(blocks, 0);
}

/* Feeds what waits, at most `step` bytes at a time. */
static bool take(side *s, size_t step)
{
    bool moved = false;
    while (s->in_len > 0 && s->failed == WEIR_OK && weir_http_session_wants_input(s->session)) {
        size_t n = s->in_len < step ? s->in_len : step, used = 0;
        char *copy = malloc(n); /* of that size, for the sanitizer */
        memcpy(copy, s->in, n);
        s->failed = weir_http_session_feed(s->session, copy, n, now_ns, &used);
        free(copy);
        if (s->failed == WEIR_OK && used == 0)
            break;
        memmove(s->in, s->in + used, s->in_len - used);
        s->in_len -= used;
        moved = true;
    }
    return moved;
}

/* What `from` has to send goes to `to`'s input. */
static bool give(side *from, side *to, size_t bytes_max)
{
    weir_bytes out = { .env = NULL };
    if (!weir_http_session_wants_output(from->session))
        return false;
    weir_status status = weir_http_session_output(from->session, &out, bytes_max, now_ns);
    if (status != WEIR_OK)
        from->failed = status;
    assert_true(to->in_len + out.len <= PIPE_MAX);
    if (out.len > 0)
        memcpy(to->in + to->in_len, out.at, out.len);
    to->in_len += out.len;
    weir_bytes_done(&out);
    return true;
}

static void talk(side *a, side *b, size_t step)
{
    for (bool moved = true; moved;) {
        moved = give(a, b, 1000);
        moved |= take(b, step);
        moved |= give(b, a, 1000);
        moved |= take(a, step);
    }
}

/* Everything `s` has to send, as a text. */
static const char *sent(side *s)
{
    static side to;
    to.in_len = 0;
    while (give(s, &to, 100000) && to.in_len < PIPE_MAX / 2)
        ;
    to.in[to.in_len] = '\0';
    return to.in;
}

static weir_status feed(side *s, const char *text, size_t step)
{
    s->in_len = strlen(text);
    memcpy(s->in, text, s->in_len);
    take(s, step);
    return s->failed;
}

static void write_body(weir_http_exchange *exchange, const char *text)
{
    size_t n = strlen(text);
    weir_bytes *body = weir_http_exchange_body(exchange, n);
    if (body == NULL)
        return;
    memcpy(body->at + body->len, text, n);
    body->len += n;
    weir_http_exchange_written(exchange);
}

static weir_http_exchange *ask(side *s, const char *method, uint64_t length, bool ends)
{
    weir_http1_field field = FIELD("X-One", "1");
    weir_http_head head = { .method = SPAN(method),
                            .path = SPAN("/a?b"),
                            .authority = SPAN("h:1"),
                            .fields = &field,
                            .field_count = 1,
                            .content_length = length,
                            .ends = ends };
    if (weir_http_session_open(s->session, &head, s, &s->exchange) != WEIR_OK)
        s->exchange = NULL;
    return s->exchange;
}

static void respond(weir_http_exchange *exchange, unsigned status, uint64_t length, bool ends)
{
    weir_http1_field field = FIELD("X-Two", "2");
    weir_http_head head = {
        .status = status, .fields = &field, .field_count = 1, .content_length = length, .ends = ends
    };
    weir_status result = weir_http_exchange_respond(exchange, &head);
    assert_true(result == WEIR_OK || failing_nth != 0);
}

static void greet(side *s, weir_http_exchange *exchange)
{
    (void)s;
    respond(exchange, 200, UINT64_MAX, false);
    write_body(exchange, "hello");
    assert_true(weir_http_exchange_end(exchange, NULL, 0) == WEIR_OK || failing_nth != 0);
}

static void greet_with_trailers(side *s, weir_http_exchange *exchange)
{
    weir_http1_field trailers[] = { FIELD("Grpc-Status", "0"), FIELD("B", "") };
    (void)s;
    respond(exchange, 200, UINT64_MAX, false);
    write_body(exchange, "hello");
    assert_true(weir_http_exchange_end(exchange, trailers, 2) == WEIR_OK || failing_nth != 0);
}

static void answer_five(side *s, weir_http_exchange *exchange)
{
    (void)s;
    respond(exchange, 200, 5, false);
    write_body(exchange, "12345");
    assert_int_equal(weir_http_exchange_end(exchange, NULL, 0), WEIR_OK);
}

static void answer_204(side *s, weir_http_exchange *exchange)
{
    (void)s;
    respond(exchange, 204, UINT64_MAX, true);
}

static void says(const side *s, const char *log)
{
    assert_string_equal(s->log, log);
}

static void clear(side *s)
{
    s->log_len = 0;
    s->log[0] = '\0';
}

static side client, server;

static void pair(void (*answers)(side *, weir_http_exchange *))
{
    side_new(&client, true, (weir_http_session_config){ 0 });
    side_new(&server, false, (weir_http_session_config){ 0 });
    server.answers = answers;
}

static void part(void)
{
    weir_http_session_free(client.session);
    side_free(&server);
}

/* ---- Exchanges ---- */

static void both_sides_understand_each_other_whatever_the_cut(void **state)
{
    (void)state;
    for (size_t step = 1; step < 200; step += step < 20 ? 1 : 37) {
        pair(greet_with_trailers);
        for (int i = 0; i < 3; i++) {
            weir_http_exchange *exchange = ask(&client, "POST", UINT64_MAX, false);
            write_body(exchange, "abc");
            write_body(exchange, "def");
            weir_http1_field trailer = FIELD("T", "u");
            assert_int_equal(weir_http_exchange_end(exchange, &trailer, 1), WEIR_OK);
            talk(&client, &server, step);
            says(&server, "<POST http://h:1 /a?b ? x-one=1>abcdef<end t=u><over OK>");
            says(&client, "<200 ? x-two=2>hello<end grpc-status=0 b=><over OK>");
            clear(&server);
            clear(&client);
        }
        part();
    }
}

static void a_request_without_a_body_and_a_length_are_said(void **state)
{
    (void)state;
    pair(answer_five);
    ask(&client, "GET", 0, true);
    talk(&client, &server, 7);
    says(&server, "<GET http://h:1 /a?b 0 x-one=1 ends><over OK>");
    says(&client, "<200 5 x-two=2>12345<end><over OK>");
    part();
}

static void a_204_and_the_answer_to_head_have_no_body(void **state)
{
    (void)state;
    pair(answer_204);
    ask(&client, "GET", 0, true);
    talk(&client, &server, 7);
    says(&client, "<204 0 x-two=2 ends><over OK>");
    clear(&client);
    server.answers = answer_five;
    ask(&client, "HEAD", 0, true);
    talk(&client, &server, 7);
    says(&client, "<200 5 x-two=2 ends><over OK>");
    clear(&client);
    server.answers = greet;
    ask(&client, "HEAD", 0, true);
    talk(&client, &server, 7);
    says(&client, "<200 0 x-two=2 ends><over OK>");
    assert_false(weir_http_session_is_over(client.session));
    part();
}

static void pipelined_requests_are_answered_in_order_and_one_at_a_time(void **state)
{
    const char *two = "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n";
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    assert_int_equal(feed(&server, two, 1000), WEIR_OK);
    says(&server, "<GET http://a /1 0 ends>");
    assert_true(server.in_len > 0);
    assert_false(weir_http_session_wants_input(server.session));
    respond(server.exchange, 200, 0, true);
    assert_non_null(strstr(sent(&server), "HTTP/1.1 200 OK\r\n"));
    assert_true(weir_http_session_wants_input(server.session));
    clear(&server);
    take(&server, 1000);
    says(&server, "<GET http://a /2 0 ends>");
    side_free(&server);
}

static void a_body_is_read_only_as_far_as_its_window(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ .stream_window_bytes = 4 });
    server.keeps = true;
    feed(&server, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123456789", 1000);
    says(&server, "<POST http://a / 9>1234");
    assert_false(weir_http_session_wants_input(server.session));
    weir_http_exchange_consume(server.exchange, 3);
    assert_true(weir_http_session_wants_input(server.session));
    take(&server, 1000);
    says(&server, "<POST http://a / 9>1234567");
    weir_http_exchange_consume(server.exchange, 7);
    take(&server, 1000);
    says(&server, "<POST http://a / 9>123456789<end>");
    side_free(&server);
}

static void what_is_queued_has_a_bound_and_room_is_told(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ .send_bytes_max = 10 });
    feed(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000);
    respond(server.exchange, 200, UINT64_MAX, false);
    assert_int_equal(weir_http_exchange_room(server.exchange), 10);
    write_body(server.exchange, "0123456789");
    assert_int_equal(weir_http_exchange_room(server.exchange), 0);
    assert_int_equal(server.rooms, 0);
    assert_non_null(strstr(sent(&server), "a\r\n0123456789\r\n"));
    assert_int_equal(server.rooms, 1);
    assert_int_equal(weir_http_exchange_room(server.exchange), 10);
    side_free(&server);
}

static void output_is_handed_out_in_portions(void **state)
{
    static char large[60000];
    side to = { .in_len = 0 };
    (void)state;
    memset(large, 'L', sizeof large - 1);
    side_new(&server, false, (weir_http_session_config){ 0 });
    feed(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000);
    respond(server.exchange, 200, UINT64_MAX, false);
    write_body(server.exchange, large);
    assert_true(give(&server, &to, 1000));
    assert_in_range(to.in_len, 900, 1100);
    assert_true(weir_http_session_wants_output(server.session));
    side_free(&server);
}

static void a_length_that_was_announced_is_kept(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    feed(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000);
    respond(server.exchange, 200, 3, false);
    write_body(server.exchange, "ab");
    assert_int_equal(weir_http_exchange_end(server.exchange, NULL, 0), WEIR_EINVAL);
    write_body(server.exchange, "cd");
    assert_int_equal(weir_http_exchange_end(server.exchange, NULL, 0), WEIR_EINVAL);
    const char *text = sent(&server);
    assert_string_equal(strstr(text, "\r\n\r\n"), "\r\n\r\nabc");
    side_free(&server);
}

/* ---- 100 Continue ---- */

#define EXPECTING "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"

static void a_body_that_waits_is_asked_for(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    server.answers = greet;
    feed(&server, EXPECTING, 1000);
    assert_string_equal(sent(&server), "HTTP/1.1 100 Continue\r\n\r\n");
    feed(&server, "ab", 1000);
    assert_null(strstr(sent(&server), "close"));
    says(&server, "<POST http://a / 2 expect=100-continue>ab<end><over OK>");
    side_free(&server);
}

static void an_answer_behind_100_need_not_end_the_connection(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    feed(&server, EXPECTING, 1000);
    sent(&server);
    respond(server.exchange, 200, 0, false);
    assert_null(strstr(sent(&server), "close"));
    side_free(&server);
}

static void a_body_that_came_by_itself_is_not_asked_for(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    server.answers = greet;
    feed(&server, EXPECTING "ab", 1000);
    assert_null(strstr(sent(&server), "100"));
    side_free(&server);
}

static void refuse_now(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    side *s = user;
    on_head(exchange, head, user);
    respond(s->exchange, 403, 0, true);
}

static void an_answer_in_place_of_100_ends_the_connection(void **state)
{
    static const weir_http_events refusing = {
        refuse_now, on_body, on_end, on_room, on_over, NULL
    };
    weir_http_session_config config = {
        .version = WEIR_HTTP_1, .events = &refusing, .user = &server, .env = &env
    };
    (void)state;
    memset(&server, 0, sizeof server);
    assert_int_equal(weir_http_session_new(&config, now_ns, &server.session), WEIR_OK);
    feed(&server, EXPECTING, 1000);
    const char *text = sent(&server);
    assert_non_null(strstr(text, "HTTP/1.1 403"));
    assert_non_null(strstr(text, "Connection: close"));
    assert_true(weir_http_session_is_over(server.session));
    side_free(&server);
}

static void interim_responses_are_swallowed_up_to_a_limit(void **state)
{
    (void)state;
    side_new(&client, true, (weir_http_session_config){ 0 });
    ask(&client, "GET", 0, true);
    feed(&client, "HTTP/1.1 103 x\r\nA: b\r\n\r\nHTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", 3);
    sent(&client);
    says(&client, "<200 0 ends><over OK>");
    ask(&client, "GET", 0, true);
    for (int i = 0; i < 9; i++)
        feed(&client, "HTTP/1.1 100 \r\n\r\n", 1000);
    assert_int_equal(client.failed, WEIR_EPROTO);
    side_free(&client);
}

/* ---- Persistence ---- */

static bool goes_on(const char *request, bool length_known)
{
    side_new(&server, false, (weir_http_session_config){ 0 });
    server.answers = length_known ? answer_five : greet;
    assert_int_equal(feed(&server, request, 5), WEIR_OK);
    const char *text = sent(&server);
    bool over = weir_http_session_is_over(server.session);
    assert_int_equal(strstr(text, "Connection: close") != NULL, over);
    assert_non_null(strstr(server.log, "<over OK>"));
    side_free(&server);
    return !over;
}

static void a_connection_goes_on_unless_one_side_says_no(void **state)
{
    (void)state;
    assert_true(goes_on("GET / HTTP/1.1\r\nHost: a\r\n\r\n", false));
    assert_false(goes_on("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false));
    assert_false(goes_on("GET / HTTP/1.0\r\n\r\n", true));
    assert_true(goes_on("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true));
    assert_false(goes_on("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false));
}

static void a_drain_says_close_and_takes_nothing_more(void **state)
{
    (void)state;
    pair(greet);
    ask(&client, "GET", 0, true);
    give(&client, &server, 1000);
    server.answers = NULL;
    take(&server, 1000);
    weir_http_session_drain(server.session);
    assert_false(weir_http_session_is_over(server.session));
    greet(&server, server.exchange);
    talk(&client, &server, 1000);
    says(&client, "<200 ? x-two=2>hello<end><over OK>");
    assert_true(weir_http_session_is_over(server.session));
    assert_true(weir_http_session_is_over(client.session));
    assert_int_equal(weir_http_session_openable(client.session), 0);
    assert_null(ask(&client, "GET", 0, true));
    part();
    side_new(&server, false, (weir_http_session_config){ 0 });
    weir_http_session_drain(server.session);
    assert_true(weir_http_session_is_over(server.session));
    side_free(&server);
}

static void the_rest_of_a_request_that_was_answered_early_is_skipped(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    feed(&server, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123", 1000);
    greet(&server, server.exchange);
    assert_null(strstr(sent(&server), "Connection"));
    says(&server, "<POST http://a / 9>123<over OK>");
    assert_true(weir_http_session_wants_input(server.session));
    feed(&server, "456789GET / HTTP/1.1\r\nHost: b\r\n\r\n", 4);
    says(&server, "<POST http://a / 9>123<over OK><GET http://b / 0 ends>");
    side_free(&server);
}

static void an_early_answer_that_would_leave_much_unread_says_close(void **state)
{
    static const char *const requests[] = {
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n123\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\n123",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(requests); i++) {
        side_new(&server, false, (weir_http_session_config){ 0 });
        feed(&server, requests[i], 1000);
        greet(&server, server.exchange);
        assert_non_null(strstr(sent(&server), "Connection: close\r\n"));
        assert_non_null(strstr(server.log, "123<over OK>"));
        assert_true(weir_http_session_is_over(server.session));
        side_free(&server);
    }
}

static void a_rest_that_does_not_come_is_not_waited_for(void **state)
{
    (void)state;
    for (int ends = 0; ends < 2; ends++) {
        side_new(&server, false, (weir_http_session_config){ .header_timeout_ms = 10 });
        feed(&server, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123", 1000);
        greet(&server, server.exchange);
        sent(&server);
        assert_false(weir_http_session_is_over(server.session));
        if (ends == 0) {
            now_ns += UINT64_C(20) * 1000000;
            assert_int_equal(weir_http_session_sweep(server.session, now_ns), WEIR_OK);
        } else {
            weir_http_session_eof(server.session, WEIR_OK);
        }
        assert_true(weir_http_session_is_over(server.session));
        assert_int_equal(strlen(sent(&server)), 0);
        side_free(&server);
    }
}

static void a_client_has_one_exchange_at_a_time(void **state)
{
    (void)state;
    pair(greet);
    assert_int_equal(weir_http_session_openable(client.session), 1);
    ask(&client, "GET", 0, true);
    assert_int_equal(weir_http_session_openable(client.session), 0);
    weir_http_head head = { .method = SPAN("GET"), .path = SPAN("/"), .ends = true };
    weir_http_exchange *second;
    assert_int_equal(weir_http_session_open(client.session, &head, NULL, &second), WEIR_EAGAIN);
    talk(&client, &server, 1000);
    assert_int_equal(weir_http_session_openable(client.session), 1);
    head.method = SPAN("BREW");
    assert_int_equal(weir_http_session_open(client.session, &head, NULL, &second), WEIR_EINVAL);
    head.method = SPAN("GET");
    head.path = SPAN("/a b");
    assert_int_equal(weir_http_session_open(client.session, &head, NULL, &second), WEIR_EINVAL);
    weir_http1_field field = FIELD("Transfer-Encoding", "chunked");
    head = (weir_http_head){
        .method = SPAN("GET"), .path = SPAN("/"), .fields = &field, .field_count = 1
    };
    assert_int_equal(weir_http_session_open(client.session, &head, NULL, &second), WEIR_EINVAL);
    assert_int_equal(weir_http_session_openable(client.session), 1);
    part();
}

/* ---- Ends ---- */

static void a_reset_ends_the_connection_and_is_told_later(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    feed(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000);
    respond(server.exchange, 200, UINT64_MAX, false);
    write_body(server.exchange, "never");
    weir_http_exchange_reset(server.exchange, WEIR_EINTERNAL, 0);
    says(&server, "<GET http://a / 0 ends>");
    assert_true(weir_http_session_wants_output(server.session));
    assert_false(weir_http_session_is_over(server.session));
    weir_bytes out = { .env = NULL };
    assert_int_equal(weir_http_session_sweep(server.session, now_ns), WEIR_OK);
    assert_int_equal(weir_http_session_output(server.session, &out, 1000, now_ns), WEIR_OK);
    assert_int_equal(out.len, 0);
    weir_bytes_done(&out);
    assert_non_null(strstr(server.log, "<over EINTERNAL>"));
    assert_true(weir_http_session_is_over(server.session));
    side_free(&server);
}

static void a_server_still_answers_a_peer_that_ended_its_side(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    feed(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000);
    weir_http_session_eof(server.session, WEIR_OK);
    assert_false(weir_http_session_is_over(server.session));
    greet(&server, server.exchange);
    assert_non_null(strstr(sent(&server), "hello"));
    assert_non_null(strstr(server.log, "<over OK>"));
    assert_true(weir_http_session_is_over(server.session));
    side_free(&server);
}

static void a_request_that_is_cut_off_is_refused(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    feed(&server, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n123", 1000);
    weir_http_session_eof(server.session, WEIR_OK);
    says(&server, "<POST http://a / 9>123<over EPROTO>");
    assert_non_null(strstr(sent(&server), "HTTP/1.1 400 "));
    side_free(&server);
    side_new(&server, false, (weir_http_session_config){ 0 });
    feed(&server, "POST / HT", 1000);
    weir_http_session_eof(server.session, WEIR_OK);
    assert_non_null(strstr(sent(&server), "HTTP/1.1 400 "));
    side_free(&server);
}

static void a_response_without_a_length_ends_with_the_connection(void **state)
{
    (void)state;
    side_new(&client, true, (weir_http_session_config){ 0 });
    ask(&client, "GET", 0, true);
    sent(&client);
    feed(&client, "HTTP/1.1 200 OK\r\n\r\nsome text", 4);
    says(&client, "<200 ?>some text");
    weir_http_session_eof(client.session, WEIR_OK);
    says(&client, "<200 ?>some text<end><over OK>");
    assert_true(weir_http_session_is_over(client.session));
    side_free(&client);
}

static void a_response_that_is_cut_off_is_none(void **state)
{
    (void)state;
    side_new(&client, true, (weir_http_session_config){ 0 });
    ask(&client, "GET", 0, true);
    sent(&client);
    weir_http_session_eof(client.session, WEIR_OK);
    says(&client, "<over ECLOSED>");
    side_free(&client);
    side_new(&client, true, (weir_http_session_config){ 0 });
    ask(&client, "GET", 0, true);
    feed(&client, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", 1000);
    weir_http_session_eof(client.session, WEIR_OK);
    says(&client, "<200 3>ab<over EPROTO>");
    side_free(&client);
}

static void bytes_that_nobody_asked_for_end_a_client(void **state)
{
    (void)state;
    side_new(&client, true, (weir_http_session_config){ 0 });
    assert_int_equal(feed(&client, "HTTP/1.1 408 \r\n\r\n", 1000), WEIR_EPROTO);
    assert_true(weir_http_session_why(client.session)[0] != '\0');
    side_free(&client);
}

/* ---- Hostile peers ---- */

typedef struct sample {
    const char *text;
    const char *answer;
} sample;

static const sample hostile[] = {
    { "GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 " },
    { "GET / HTTP/1.1\nHost: a\n\n", "HTTP/1.1 400 " },
    { "BREW / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 501 " },
    { "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP/1.1 501 " },
    { "GET / HTTP/2.0\r\nHost: a\r\n\r\n", "HTTP/1.1 505 " },
    { "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", "HTTP/1.1 431 " },
    { "GET / HTTP/1.1\r\nHost: a\r\nA: "
      "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
      "HTTP/1.1 431 " },
    { "POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", "HTTP/1.1 417 " },
    { "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
      "HTTP/1.1 400 " },
    { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX",
      "HTTP/1.1 400 " },
    { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff",
      "HTTP/1.1 400 " },
    { "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA b\r\n\r\n",
      "HTTP/1.1 400 " },
};

static void hostile_peers_are_refused_whatever_the_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(hostile); i++) {
        for (size_t step = 1; step < 200; step += 11) {
            side_new(&server, false,
                     (weir_http_session_config){ .head_bytes_max = 100, .fields_max = 4 });
            weir_status status = feed(&server, hostile[i].text, step);
            assert_true(status == WEIR_EPROTO || status == WEIR_ELIMIT);
            assert_int_equal(strncmp(sent(&server), hostile[i].answer, 13), 0);
            assert_true(weir_http_session_why(server.session)[0] != '\0');
            weir_http_session_eof(server.session, status);
            bool told = strstr(server.log, "<POST") != NULL;
            assert_int_equal(strstr(server.log, "<over E") != NULL, told);
            assert_true(weir_http_session_is_over(server.session));
            side_free(&server);
        }
    }
}

static void a_bad_body_behind_an_answer_is_not_answered_again(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ 0 });
    feed(&server, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", 1000);
    respond(server.exchange, 200, UINT64_MAX, false);
    write_body(server.exchange, "x");
    assert_non_null(strstr(sent(&server), "200 OK"));
    assert_int_equal(feed(&server, "zz", 1000), WEIR_EPROTO);
    assert_int_equal(strlen(sent(&server)), 0);
    side_free(&server);
}

static void fields_of_the_connection_are_kept_from_those_above(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ .is_tls = true });
    feed(&server,
         "GET http://b?q HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: te\r\nUPGRADE: h2c\r\n"
         "Keep-Alive: 1\r\nX-Y: Z\r\n\r\n",
         7);
    says(&server, "<GET https://b /?q 0 x-y=Z ends>");
    side_free(&server);
}

/* ---- Times ---- */

static void later(side *s, uint32_t ms, weir_status expected)
{
    now_ns += ms * (uint64_t)1000000;
    assert_int_equal(weir_http_session_sweep(s->session, now_ns), expected);
}

static void a_slow_head_is_cut_off(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ .header_timeout_ms = 100 });
    later(&server, 99, WEIR_OK);
    assert_false(weir_http_session_is_over(server.session));
    later(&server, 1, WEIR_OK);
    assert_true(weir_http_session_is_over(server.session));
    side_free(&server);
    side_new(&server, false, (weir_http_session_config){ .header_timeout_ms = 100 });
    feed(&server, "GET / HT", 1000);
    later(&server, 100, WEIR_EDEADLINE);
    assert_non_null(strstr(sent(&server), "HTTP/1.1 408 "));
    side_free(&server);
}

static void an_idle_connection_ends_but_not_a_busy_one(void **state)
{
    (void)state;
    side_new(&server, false, (weir_http_session_config){ .idle_timeout_ms = 100 });
    feed(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 1000);
    later(&server, 1000, WEIR_OK);
    assert_false(weir_http_session_is_over(server.session));
    greet(&server, server.exchange);
    sent(&server);
    later(&server, 99, WEIR_OK);
    assert_false(weir_http_session_is_over(server.session));
    later(&server, 1, WEIR_OK);
    assert_true(weir_http_session_is_over(server.session));
    side_free(&server);
}

/* ---- Memory ---- */

/* One conversation; whatever fails, nothing may be left or told wrongly. */
static void converse(void)
{
    memset(&client, 0, sizeof client);
    memset(&server, 0, sizeof server);
    if (try_side(&client, true, (weir_http_session_config){ 0 }) != WEIR_OK)
        return;
    if (try_side(&server, false, (weir_http_session_config){ 0 }) == WEIR_OK) {
        server.answers = greet_with_trailers;
        weir_http_exchange *exchange = ask(&client, "POST", UINT64_MAX, false);
        if (exchange != NULL) {
            weir_http1_field trailer = FIELD("T", "u");
            write_body(exchange, "abc");
            (void)(weir_http_exchange_end(exchange, &trailer, 1) == WEIR_OK);
        }
        talk(&client, &server, 9);
        weir_http_session_eof(client.session, WEIR_ECLOSED);
        weir_http_session_eof(server.session, WEIR_ECLOSED);
        assert_null(client.exchange);
        assert_null(server.exchange);
        weir_http_session_free(server.session);
    }
    weir_http_session_free(client.session);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (failing_nth = 1; failing_nth == 1 || allocations >= failing_nth - 1; failing_nth++) {
        allocations = 0;
        converse();
        assert_int_equal(blocks, 0);
    }
    assert_in_range(failing_nth, 5, 1000);
    failing_nth = 0;
}

static void exchanges_in_steady_state_allocate_nothing(void **state)
{
    (void)state;
    pair(greet);
    failing_nth = SIZE_MAX;
    for (int i = 0; i < 100; i++) {
        if (i == 10)
            allocations = 0;
        ask(&client, "GET", 0, true);
        talk(&client, &server, 1000);
        clear(&client);
        clear(&server);
    }
    assert_int_equal(allocations, 0);
    failing_nth = 0;
    part();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_sides_understand_each_other_whatever_the_cut),
        cmocka_unit_test(a_request_without_a_body_and_a_length_are_said),
        cmocka_unit_test(a_204_and_the_answer_to_head_have_no_body),
        cmocka_unit_test(pipelined_requests_are_answered_in_order_and_one_at_a_time),
        cmocka_unit_test(a_body_is_read_only_as_far_as_its_window),
        cmocka_unit_test(what_is_queued_has_a_bound_and_room_is_told),
        cmocka_unit_test(output_is_handed_out_in_portions),
        cmocka_unit_test(a_length_that_was_announced_is_kept),
        cmocka_unit_test(a_body_that_waits_is_asked_for),
        cmocka_unit_test(an_answer_behind_100_need_not_end_the_connection),
        cmocka_unit_test(a_body_that_came_by_itself_is_not_asked_for),
        cmocka_unit_test(an_answer_in_place_of_100_ends_the_connection),
        cmocka_unit_test(interim_responses_are_swallowed_up_to_a_limit),
        cmocka_unit_test(a_connection_goes_on_unless_one_side_says_no),
        cmocka_unit_test(a_drain_says_close_and_takes_nothing_more),
        cmocka_unit_test(the_rest_of_a_request_that_was_answered_early_is_skipped),
        cmocka_unit_test(an_early_answer_that_would_leave_much_unread_says_close),
        cmocka_unit_test(a_rest_that_does_not_come_is_not_waited_for),
        cmocka_unit_test(a_client_has_one_exchange_at_a_time),
        cmocka_unit_test(a_reset_ends_the_connection_and_is_told_later),
        cmocka_unit_test(a_server_still_answers_a_peer_that_ended_its_side),
        cmocka_unit_test(a_request_that_is_cut_off_is_refused),
        cmocka_unit_test(a_response_without_a_length_ends_with_the_connection),
        cmocka_unit_test(a_response_that_is_cut_off_is_none),
        cmocka_unit_test(bytes_that_nobody_asked_for_end_a_client),
        cmocka_unit_test(hostile_peers_are_refused_whatever_the_cut),
        cmocka_unit_test(a_bad_body_behind_an_answer_is_not_answered_again),
        cmocka_unit_test(fields_of_the_connection_are_kept_from_those_above),
        cmocka_unit_test(a_slow_head_is_cut_off),
        cmocka_unit_test(an_idle_connection_ends_but_not_a_busy_one),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(exchanges_in_steady_state_allocate_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
