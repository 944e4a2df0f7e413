/* HTTP/2 sessions: a client and a server in memory, by the public interface alone. */
#include "effort.h"
#include "http2_frames.h"
#include "http_session_rig.h"

static void a_unary_call_goes_there_and_back(void **state)
{
    side *client = side_started(true), *server = side_started(false);
    (void)state;
    server->answer = true;
    rig_exchange *x = rig_open(client, false);
    assert_int_equal(rig_write(x->exchange, "hello", 5), WEIR_OK);
    assert_int_equal(weir_http_exchange_end(x->exchange, NULL, 0), WEIR_OK);
    pump(client, server);
    assert_string_equal(server->x[0]->head,
                        "POST http://host:1/a.B/C content-type=application/grpc;x-trace=abc;");
    assert_memory_equal(server->x[0]->body, "hello", 5);
    assert_string_equal(x->head, "200 content-type=text/plain;");
    assert_memory_equal(x->body, "hello", 5);
    assert_string_equal(x->trailers, "grpc-status=0;");
    assert_int_equal(x->status, WEIR_OK);
    assert_int_equal(x->overs, 1);
    assert_int_equal(server->x[0]->status, WEIR_OK);
    assert_int_equal(server->x[0]->overs, 1);
    side_free(client);
    side_free(server);
}

typedef struct pair {
    side *client, *server;
} pair;

static pair pair_of(side *client, side *server)
{
    assert_int_equal(side_start(client), WEIR_OK);
    assert_int_equal(side_start(server), WEIR_OK);
    pump(client, server);
    return (pair){ client, server };
}

static pair pair_new(void)
{
    return pair_of(side_new(true), side_new(false));
}

static void pair_free(pair p)
{
    side_free(p.client);
    side_free(p.server);
}

static void fill(char *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 7 + i / 251);
}

/* Gives how many bytes its frame has. */
static size_t request_with(pair p, const weir_http1_field *field)
{
    rig_exchange *x = calloc(1, sizeof *x);
    weir_http_head head = rig_request(true);
    head.fields = field;
    head.field_count = 1;
    assert_int_equal(weir_http_session_open(p.client->session, &head, x, &x->exchange), WEIR_OK);
    p.client->x[p.client->count++] = x;
    assert_int_equal(side_output(p.client), WEIR_OK);
    size_t n = p.client->out.len;
    assert_int_equal(side_feed(p.server, p.client->out.at, n), WEIR_OK);
    pump(p.client, p.server);
    return n;
}

static void a_trace_takes_no_place_in_the_table_and_other_fields_do(void **state)
{
    static const char id[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const weir_http1_field trace = { { "traceparent", 11 }, { id, sizeof id - 1 } };
    const weir_http1_field other = { { "tracestates", 11 }, { id, sizeof id - 1 } };
    pair p = pair_new();
    (void)state;
    size_t first = request_with(p, &other);
    assert_true(request_with(p, &other) + 30 < first);
    (void)request_with(p, &trace);
    assert_true(request_with(p, &trace) > 40);
    assert_non_null(strstr(p.server->x[3]->head, id));
    pair_free(p);
}

static void bytes_one_by_one_say_the_same_as_all_at_once(void **state)
{
    char body[5000];
    (void)state;
    fill(body, sizeof body);
    for (size_t step = 1; step < 20000; step = step * 3 + 1) {
        side *client = side_started(true), *server = side_started(false);
        server->answer = true;
        for (int i = 0; i < 3; i++) {
            rig_exchange *x = rig_open(client, false);
            assert_int_equal(rig_write(x->exchange, body, sizeof body), WEIR_OK);
            assert_int_equal(weir_http_exchange_end(x->exchange, NULL, 0), WEIR_OK);
        }
        pump_by(client, server, step);
        for (int i = 0; i < 3; i++) {
            assert_string_equal(client->x[i]->head, "200 content-type=text/plain;");
            assert_int_equal(client->x[i]->body_bytes, sizeof body);
            assert_memory_equal(client->x[i]->body, body, sizeof body);
            assert_string_equal(client->x[i]->trailers, "grpc-status=0;");
            assert_int_equal(client->x[i]->status, WEIR_OK);
        }
        pair_free((pair){ client, server });
    }
}

static void trailers_go_both_ways_also_without_a_body(void **state)
{
    const weir_http1_field fields[] = { { SPAN("a"), SPAN("1") }, { SPAN("b"), SPAN("") } };
    pair p = pair_new();
    (void)state;
    p.server->answer = true;
    rig_exchange *x = rig_open(p.client, false);
    assert_int_equal(weir_http_exchange_end(x->exchange, fields, 2), WEIR_OK);
    pump(p.client, p.server);
    assert_string_equal(p.server->x[0]->trailers, "a=1;b=;");
    assert_int_equal(p.server->x[0]->body_bytes, 0);
    assert_string_equal(x->trailers, "grpc-status=0;");
    assert_int_equal(x->status, WEIR_OK);
    pair_free(p);
}

static void a_head_that_ends_has_no_end_event(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *x = rig_open(p.client, true);
    pump(p.client, p.server);
    assert_true(p.server->x[0]->head_ends);
    assert_int_equal(p.server->x[0]->ends, 0);
    assert_int_equal(rig_respond(p.server->x[0]->exchange, 204, true), WEIR_OK);
    assert_null(weir_http_exchange_body(p.server->x[0]->exchange, 1));
    pump(p.client, p.server);
    assert_int_equal(x->ends, 0);
    assert_true(x->head_ends);
    assert_int_equal(x->status, WEIR_OK);
    assert_int_equal(p.server->x[0]->status, WEIR_OK);
    pair_free(p);
}

static void a_cookie_in_crumbs_is_one_again(void **state)
{
    static const weir_http1_field fields[] = { { SPAN("cookie"), SPAN("a=b") },
                                               { SPAN("x"), SPAN("1") },
                                               { SPAN("cookie"), SPAN("") },
                                               { SPAN("cookie"), SPAN("c=d") },
                                               { SPAN("y"), SPAN("2") } };
    pair p = pair_new();
    (void)state;
    for (size_t n = 1; n <= 5; n += 4) {
        weir_http_head head = rig_request(true);
        rig_exchange *x = rig_exchange_new(p.client);
        head.fields = fields;
        head.field_count = n;
        assert_int_equal(weir_http_session_open(p.client->session, &head, x, &x->exchange),
                         WEIR_OK);
        pump(p.client, p.server);
    }
    assert_non_null(strstr(p.server->x[0]->head, " cookie=a=b;"));
    assert_non_null(strstr(p.server->x[1]->head, " cookie=a=b; ; c=d;x=1;y=2;"));
    pair_free(p);
}

static void a_length_is_told_and_held_to(void **state)
{
    pair p = pair_new();
    (void)state;
    weir_http_head head = rig_request(false);
    rig_exchange *x = rig_exchange_new(p.client);
    head.content_length = 3;
    assert_int_equal(weir_http_session_open(p.client->session, &head, x, &x->exchange), WEIR_OK);
    assert_int_equal(rig_write(x->exchange, "four", 4), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(p.server->x[0]->content_length, 3);
    assert_int_equal(p.server->x[0]->status, WEIR_EPROTO);
    assert_int_equal(x->status, WEIR_ECANCELED);
    assert_int_equal(x->code, H2_PROTOCOL_ERROR);
    pair_free(p);
}

/* ---- Windows ---- */

static void what_nobody_consumes_closes_the_window_and_consuming_opens_it(void **state)
{
    static char body[100000];
    pair p = pair_new();
    (void)state;
    fill(body, sizeof body);
    p.server->dont_consume = true;
    rig_exchange *x = rig_open(p.client, false);
    assert_int_equal(rig_write(x->exchange, body, sizeof body), WEIR_OK);
    assert_int_equal(weir_http_exchange_room(x->exchange), 0);
    pump(p.client, p.server);
    rig_exchange *at = p.server->x[0];
    assert_int_equal(at->body_bytes, 65536);
    assert_true(weir_http_exchange_room(x->exchange) > 0);
    assert_int_equal(x->rooms, 0);                 /* not worth while yet */
    weir_http_exchange_consume(at->exchange, 100); /* none is left: told at once */
    pump(p.client, p.server);
    assert_int_equal(at->body_bytes, 65636);
    weir_http_exchange_consume(at->exchange, SIZE_MAX); /* at most what there is */
    pump(p.client, p.server);
    assert_int_equal(at->body_bytes, sizeof body);
    assert_memory_equal(at->body, body, sizeof body);
    assert_int_equal(x->rooms, 1);
    pair_free(p);
}

static size_t window_updates(const side *s)
{
    size_t at = 0, n = 0;
    seen_frame frame;
    while (next_frame(s->out.at, s->out.len, &at, &frame))
        n += frame.type == FRAME_WINDOW_UPDATE && frame.stream != 0;
    return n;
}

static void a_window_opens_in_lots_of_half_of_it(void **state)
{
    static char body[40000];
    pair p = pair_new();
    (void)state;
    p.server->dont_consume = true;
    rig_exchange *x = rig_open(p.client, false);
    assert_int_equal(rig_write(x->exchange, body, sizeof body), WEIR_OK);
    pump(p.client, p.server);
    weir_http_exchange_consume(p.server->x[0]->exchange, 32767);
    assert_int_equal(side_output(p.server), WEIR_OK);
    assert_int_equal(window_updates(p.server), 0);
    weir_http_exchange_consume(p.server->x[0]->exchange, 1);
    assert_int_equal(side_output(p.server), WEIR_OK);
    assert_int_equal(window_updates(p.server), 1);
    pair_free(p);
}

static void one_stalled_exchange_does_not_hold_up_others(void **state)
{
    static char body[60000];
    pair p = pair_new();
    (void)state;
    p.server->dont_consume = true;
    for (int i = 0; i < 30; i++) { /* nearly two windows of the connection */
        rig_exchange *x = rig_open(p.client, false);
        assert_int_equal(rig_write(x->exchange, body, sizeof body), WEIR_OK);
    }
    pump(p.client, p.server);
    for (int i = 0; i < 30; i++)
        assert_int_equal(p.server->x[i]->body_bytes, sizeof body);
    pair_free(p);
}

static void streams_take_turns(void **state)
{
    static char body[60000];
    pair p = pair_new();
    seen_frame frame;
    size_t at = 0, changes = 0;
    uint32_t before = 0;
    (void)state;
    for (int i = 0; i < 2; i++)
        (void)rig_open(p.client, true);
    pump(p.client, p.server);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rig_respond(p.server->x[i]->exchange, 200, false), WEIR_OK);
        assert_int_equal(rig_write(p.server->x[i]->exchange, body, sizeof body), WEIR_OK);
    }
    assert_int_equal(side_output(p.server), WEIR_OK);
    while (next_frame(p.server->out.at, p.server->out.len, &at, &frame)) {
        changes += frame.type == FRAME_DATA && frame.stream != before;
        before = frame.type == FRAME_DATA ? frame.stream : before;
    }
    assert_true(changes >= 6);
    pair_free(p);
}

static void output_stops_at_its_bytes_and_goes_on(void **state)
{
    static char body[60000];
    pair p = pair_new();
    (void)state;
    rig_exchange *x = rig_open(p.client, false);
    assert_int_equal(rig_write(x->exchange, body, sizeof body), WEIR_OK);
    p.client->out.len = 0;
    assert_int_equal(weir_http_session_output(p.client->session, &p.client->out, 1000, 1), WEIR_OK);
    assert_true(p.client->out.len <= 1000 + 16384 + 9);
    assert_true(weir_http_session_wants_output(p.client->session));
    assert_int_equal(side_feed(p.server, p.client->out.at, p.client->out.len), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(p.server->x[0]->body_bytes, sizeof body);
    pair_free(p);
}

static void frames_are_as_large_as_configured(void **state)
{
    static char body[30000];
    side *client = side_new(true);
    client->config.frame_bytes_max = 1000;
    pair p = pair_of(client, side_new(false));
    seen_frame frame;
    size_t at = 0;
    (void)state;
    rig_exchange *x = rig_open(client, false);
    assert_int_equal(rig_write(x->exchange, body, sizeof body), WEIR_OK);
    assert_int_equal(side_output(client), WEIR_OK);
    while (next_frame(client->out.at, client->out.len, &at, &frame))
        assert_true(frame.length <= 1000);
    pair_free(p);
}

/* ---- Resets and ends ---- */

static void a_client_that_resets_is_told_and_so_is_the_server(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *x = rig_open(p.client, false);
    pump(p.client, p.server);
    weir_http_exchange_reset(x->exchange, WEIR_EDEADLINE, H2_CANCEL);
    weir_http_exchange_reset(x->exchange, WEIR_EINTERNAL, H2_INTERNAL_ERROR); /* once is enough */
    assert_int_equal(x->overs, 0);
    assert_true(weir_http_session_wants_output(p.client->session));
    pump(p.client, p.server);
    assert_int_equal(x->status, WEIR_EDEADLINE);
    assert_int_equal(x->overs, 1);
    assert_int_equal(p.server->x[0]->status, WEIR_ECANCELED);
    assert_int_equal(p.server->x[0]->code, H2_CANCEL);
    pair_free(p);
}

static void a_request_reset_before_it_was_sent_never_is(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *x = rig_open(p.client, false);
    assert_int_equal(rig_write(x->exchange, "x", 1), WEIR_OK);
    weir_http_exchange_reset(x->exchange, WEIR_ECANCELED, H2_CANCEL);
    pump(p.client, p.server);
    assert_int_equal(x->overs, 1);
    assert_int_equal(p.server->count, 0);
    assert_int_equal(weir_http_session_exchanges(p.client->session), 0);
    pair_free(p);
}

static void reset_here(side *s, rig_exchange *x)
{
    (void)s;
    if (x->exchange == NULL)
        return;
    (void)!rig_respond(x->exchange, 200, false);
    (void)!rig_write(x->exchange, "never", 5);
    weir_http_exchange_reset(x->exchange, WEIR_EUNAVAILABLE, H2_REFUSED_STREAM);
    assert_int_equal(x->overs, 0);
    assert_int_equal(rig_respond(x->exchange, 200, false), WEIR_ECLOSED);
    assert_null(weir_http_exchange_body(x->exchange, 1));
    assert_int_equal(weir_http_exchange_end(x->exchange, NULL, 0), WEIR_ECLOSED);
}

static void an_exchange_may_be_reset_within_each_event(void **state)
{
    (void)state;
    for (int which = 0; which < 2; which++) {
        pair p = pair_new();
        p.server->on_head = which == 0 ? reset_here : NULL;
        p.server->on_body = which == 1 ? reset_here : NULL;
        rig_exchange *x = rig_open(p.client, false);
        assert_int_equal(rig_write(x->exchange, "hello", 5), WEIR_OK);
        pump(p.client, p.server);
        assert_int_equal(p.server->x[0]->overs, 1);
        assert_int_equal(p.server->x[0]->status, WEIR_EUNAVAILABLE);
        assert_int_equal(p.server->x[0]->body_bytes, which == 0 ? 0 : 5);
        assert_int_equal(x->status, WEIR_EUNAVAILABLE);
        assert_int_equal(x->code, H2_REFUSED_STREAM);
        pair_free(p);
    }
}

static rig_exchange *answer_before_the_request_ends(pair p)
{
    rig_exchange *x = rig_open(p.client, false);
    assert_int_equal(rig_write(x->exchange, "more is to come", 15), WEIR_OK);
    pump(p.client, p.server);
    rig_answer(p.server->x[0]);
    pump(p.client, p.server);
    assert_string_equal(x->trailers, "grpc-status=0;");
    assert_int_equal(p.server->x[0]->overs, 0);
    return x;
}

/* Complete, and without trailers. */
static rig_exchange *refuse_before_the_request_ends(pair p, uint64_t content_length)
{
    weir_http_head request = rig_request(false);
    rig_exchange *x = rig_exchange_new(p.client);
    request.content_length = content_length;
    assert_int_equal(weir_http_session_open(p.client->session, &request, x, &x->exchange), WEIR_OK);
    assert_int_equal(rig_write(x->exchange, "more is to come", 15), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(rig_respond(p.server->x[0]->exchange, 405, false), WEIR_OK);
    assert_int_equal(weir_http_exchange_end(p.server->x[0]->exchange, NULL, 0), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(x->heads, 1);
    assert_int_equal(x->ends, 0);
    return x;
}

static void a_response_without_trailers_waits_for_the_end_of_its_request(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *x = refuse_before_the_request_ends(p, 1000); /* the rest is left out */
    assert_int_equal(weir_http_exchange_end(x->exchange, NULL, 0), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(x->ends, 1);
    assert_int_equal(x->status, WEIR_OK);
    assert_int_equal(p.server->x[0]->status, WEIR_OK);
    assert_int_equal(p.server->x[0]->overs, 1);
    pair_free(p);
}

static void a_response_without_trailers_waits_a_second_at_most(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *x = refuse_before_the_request_ends(p, UINT64_MAX);
    for (int seconds = 1; seconds <= 2; seconds++) {
        p.server->now_ns += 1000 * 1000000ull;
        assert_int_equal(weir_http_session_sweep(p.server->session, p.server->now_ns), WEIR_OK);
        pump(p.client, p.server);
        assert_int_equal(x->ends, 1);
        assert_int_equal(x->overs, seconds - 1);
    }
    assert_int_equal(x->status, WEIR_OK);
    assert_int_equal(x->code, H2_NO_ERROR);
    assert_int_equal(p.server->x[0]->status, WEIR_OK);
    pair_free(p);
}

static void a_request_may_end_behind_its_response(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *x = answer_before_the_request_ends(p);
    assert_int_equal(weir_http_exchange_end(x->exchange, NULL, 0), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(p.server->x[0]->status, WEIR_OK);
    assert_int_equal(x->status, WEIR_OK);
    assert_int_equal(p.server->x[0]->overs, 1);
    assert_int_equal(x->overs, 1);
    pair_free(p);
}

static void a_response_that_ends_first_ends_the_exchange_a_little_later(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *x = answer_before_the_request_ends(p);
    p.server->now_ns += 1000 * 1000000ull;
    assert_int_equal(weir_http_session_sweep(p.server->session, p.server->now_ns), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(p.server->x[0]->status, WEIR_OK);
    assert_int_equal(x->status, WEIR_OK);
    assert_int_equal(x->code, H2_NO_ERROR);
    assert_string_equal(x->trailers, "grpc-status=0;");
    pair_free(p);
}

static void again(side *s, rig_exchange *x)
{
    rig_exchange *next;
    (void)x;
    if (s->count < 5)
        (void)!rig_try_open(s, true, &next);
}

static void another_request_may_be_opened_where_one_is_over(void **state)
{
    pair p = pair_new();
    (void)state;
    p.client->on_over = again;
    p.server->answer = true;
    (void)rig_open(p.client, true);
    pump(p.client, p.server);
    assert_int_equal(p.client->count, 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(p.client->x[i]->status, WEIR_OK);
    pair_free(p);
}

static void the_end_of_a_connection_is_told_to_all_exchanges(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *a = rig_open(p.client, false), *b = rig_open(p.client, true);
    pump(p.client, p.server);
    weir_http_session_eof(p.client->session, WEIR_ECLOSED);
    assert_int_equal(a->status, WEIR_ECLOSED);
    assert_int_equal(b->status, WEIR_ECLOSED);
    rig_exchange *none;
    assert_int_equal(rig_try_open(p.client, true, &none), WEIR_ECLOSED);
    assert_true(weir_http_session_is_over(p.client->session));
    pair_free(p);
}

/* ---- Limits of the peer, and draining ---- */

static void no_more_requests_are_opened_than_the_server_takes(void **state)
{
    side *server = side_new(false);
    server->config.exchanges_max = 3;
    pair p = pair_of(side_new(true), server);
    rig_exchange *x;
    (void)state;
    assert_int_equal(weir_http_session_openable(p.client->session), 3);
    for (int i = 0; i < 3; i++)
        (void)rig_open(p.client, false);
    assert_int_equal(rig_try_open(p.client, false, &x), WEIR_EAGAIN);
    weir_http_exchange_reset(p.client->x[0]->exchange, WEIR_ECANCELED, H2_CANCEL);
    pump(p.client, server);
    assert_int_equal(weir_http_session_openable(p.client->session), 1);
    pair_free(p);
}

static void a_server_drains_what_is_under_way(void **state)
{
    pair p = pair_new();
    rig_exchange *x = rig_open(p.client, true), *late;
    (void)state;
    pump(p.client, p.server);
    weir_http_session_drain(p.server->session);
    rig_exchange *crossing = rig_open(p.client, true); /* before it knows */
    pump(p.client, p.server);
    assert_int_equal(p.server->count, 2);
    assert_int_equal(rig_try_open(p.client, true, &late), WEIR_ECLOSED);
    weir_http_session_drain(p.server->session);
    pump(p.client, p.server);
    assert_false(weir_http_session_is_over(p.server->session));
    rig_answer(p.server->x[0]);
    rig_answer(p.server->x[1]);
    pump(p.client, p.server);
    assert_int_equal(x->status, WEIR_OK);
    assert_int_equal(crossing->status, WEIR_OK);
    assert_true(weir_http_session_is_over(p.server->session));
    assert_true(weir_http_session_is_over(p.client->session));
    pair_free(p);
}

/* Nobody calls drain again: the answer to the PING behind the first GOAWAY does. */
static void a_peer_that_has_read_the_first_goaway_gets_the_last(void **state)
{
    pair p = pair_new();
    rig_exchange *x = rig_open(p.client, true);
    (void)state;
    pump(p.client, p.server);
    weir_http_session_drain(p.server->session);
    pump(p.client, p.server);
    assert_false(weir_http_session_is_over(p.server->session));
    rig_answer(p.server->x[0]);
    pump(p.client, p.server);
    assert_int_equal(x->status, WEIR_OK);
    assert_true(weir_http_session_is_over(p.server->session));
    pair_free(p);
}

static void what_a_goaway_leaves_out_may_be_tried_elsewhere(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *taken = rig_open(p.client, true);
    pump(p.client, p.server);
    weir_http_session_drain(p.server->session);
    weir_http_session_drain(p.server->session);
    rig_exchange *late = rig_open(p.client, true);
    assert_int_equal(side_output(p.server), WEIR_OK); /* both cross */
    frames goaway = { 0 };
    put(&goaway, p.server->out.at, p.server->out.len);
    (void)side_hand(p.client, p.server, SIZE_MAX / 2);
    assert_int_equal(side_feed(p.client, goaway.at, goaway.len), WEIR_OK);
    assert_int_equal(late->status, WEIR_EUNAVAILABLE);
    assert_int_equal(p.server->count, 1);
    rig_answer(p.server->x[0]);
    pump(p.client, p.server);
    assert_int_equal(taken->status, WEIR_OK);
    free(goaway.at);
    pair_free(p);
}

static void a_client_that_drains_opens_nothing_more(void **state)
{
    pair p = pair_new();
    rig_exchange *x = rig_open(p.client, true), *late;
    (void)state;
    p.server->answer = true;
    weir_http_session_drain(p.client->session);
    assert_int_equal(rig_try_open(p.client, true, &late), WEIR_ECLOSED);
    pump(p.client, p.server);
    assert_int_equal(x->status, WEIR_OK);
    assert_true(weir_http_session_is_over(p.client->session));
    pair_free(p);
}

/* ---- What users may not do ---- */

static void bad_fields_are_refused(void **state)
{
    static const weir_http1_field bad[] = {
        { SPAN("a b"), SPAN("x") },
        { SPAN(""), SPAN("x") },
        { SPAN(":status"), SPAN("200") },
        { SPAN("x"), SPAN("a\r\nb: c") },
        { SPAN("x"), SPAN(" a") },
        { SPAN("x"), SPAN("a ") },
        { SPAN("Connection"), SPAN("x") },
        { SPAN("host"), SPAN("x") },
        { SPAN("Upgrade"), SPAN("x") },
        { SPAN("keep-alive"), SPAN("x") },
        { SPAN("content-length"), SPAN("1") },
        { SPAN("transfer-encoding"), SPAN("chunked") },
        { SPAN("proxy-connection"), SPAN("x") },
    };
    pair p = pair_new();
    (void)state;
    (void)rig_open(p.client, true);
    pump(p.client, p.server);
    weir_http_exchange *exchange = p.server->x[0]->exchange;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const weir_http_head head = { .status = 200, .fields = &bad[i], .field_count = 1 };
        assert_int_equal(weir_http_exchange_respond(exchange, &head), WEIR_EINVAL);
    }
    assert_int_equal(rig_respond(exchange, 100, false), WEIR_EINVAL);
    assert_int_equal(weir_http_exchange_end(exchange, NULL, 0), WEIR_EINVAL); /* not begun */
    assert_null(weir_http_exchange_body(exchange, 1));
    assert_int_equal(rig_respond(exchange, 200, false), WEIR_OK);
    assert_int_equal(rig_respond(exchange, 200, false), WEIR_EEXIST);
    assert_int_equal(weir_http_exchange_end(exchange, bad, 1), WEIR_EINVAL);
    assert_int_equal(weir_http_exchange_end(exchange, NULL, 0), WEIR_OK);
    assert_int_equal(weir_http_exchange_end(exchange, NULL, 0), WEIR_EINVAL);
    pair_free(p);
}

static void bad_requests_are_refused(void **state)
{
    pair p = pair_new();
    weir_http_exchange *none;
    (void)state;
    for (int i = 0; i < 6; i++) {
        weir_http_head head = rig_request(true);
        head.method = i == 0 ? SPAN("G T") : i == 1 ? SPAN("CONNECT") : head.method;
        head.path = i == 2 ? SPAN("a") : i == 3 ? SPAN("/a b") : head.path;
        head.scheme = i == 4 ? SPAN("ftp") : head.scheme;
        head.authority = i == 5 ? SPAN("") : head.authority;
        assert_int_equal(weir_http_session_open(p.client->session, &head, NULL, &none),
                         WEIR_EINVAL);
    }
    assert_int_equal(weir_http_session_exchanges(p.client->session), 0);
    pair_free(p);
}

/* ---- A client and frames by hand ---- */

static void interim_responses_are_swallowed(void **state)
{
    side *client = side_started(true);
    frames f = { 0 }, interim = { 0 }, final = { 0 };
    (void)state;
    rig_exchange *x = rig_open(client, true);
    assert_int_equal(side_output(client), WEIR_OK);
    put_frame(&f, FRAME_SETTINGS, 0, 0, NULL, 0);
    put_field(&interim, ":status", "103");
    put_field(&interim, "link", "x");
    put_frame(&f, FRAME_HEADERS, END_HEADERS, 1, interim.at, interim.len);
    put_field(&final, ":status", "200");
    put_field(&final, "a", "b");
    put_field(&final, "content-length", "0");
    put_frame(&f, FRAME_HEADERS, END_HEADERS | END_STREAM, 1, final.at, final.len);
    assert_int_equal(side_feed(client, f.at, f.len), WEIR_OK);
    assert_int_equal(x->heads, 1);
    assert_string_equal(x->head, "200 a=b;");
    assert_int_equal(x->content_length, 0);
    assert_int_equal(x->status, WEIR_OK);
    free(f.at);
    free(interim.at);
    free(final.at);
    side_free(client);
}

static void a_response_to_head_has_a_length_and_no_body(void **state)
{
    pair p = pair_new();
    (void)state;
    weir_http_head head = rig_request(true);
    rig_exchange *x = rig_exchange_new(p.client);
    head.method = SPAN("HEAD");
    assert_int_equal(weir_http_session_open(p.client->session, &head, x, &x->exchange), WEIR_OK);
    pump(p.client, p.server);
    const weir_http_head answer = { .status = 200, .content_length = 1234, .ends = true };
    assert_int_equal(weir_http_exchange_respond(p.server->x[0]->exchange, &answer), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(x->content_length, 1234);
    assert_true(x->head_ends);
    assert_int_equal(x->status, WEIR_OK);
    pair_free(p);
}

static void the_preface_tells_http_2_however_it_is_cut(void **state)
{
    (void)state;
    for (size_t cut = 1; cut <= 30; cut++) {
        side *client = side_started(true), *server = side_new(false);
        server->config.version = WEIR_HTTP_AUTO;
        server->answer = true;
        assert_int_equal(side_start(server), WEIR_OK);
        assert_int_equal(weir_http_session_version(server->session), WEIR_HTTP_AUTO);
        rig_exchange *x = rig_open(client, true);
        pump_by(client, server, cut);
        assert_int_equal(weir_http_session_version(server->session), WEIR_HTTP_2);
        assert_int_equal(x->status, WEIR_OK);
        pair_free((pair){ client, server });
    }
}

/* ---- Memory ---- */

static void call(pair p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        rig_exchange *x;
        if (rig_try_open(p.client, false, &x) != WEIR_OK)
            return;
        (void)!rig_write(x->exchange, "hello, hello, hello", 19);
        (void)!weir_http_exchange_end(x->exchange, NULL, 0);
    }
    pump(p.client, p.server);
}

static void calls_in_steady_state_allocate_nothing(void **state)
{
    pair p = pair_new();
    (void)state;
    p.server->answer = true;
    call(p, 50);
    call(p, 50);
    size_t client = p.client->memory.taken, server = p.server->memory.taken;
    for (int i = 0; i < 10; i++)
        call(p, 50);
    assert_int_equal(p.client->memory.taken, client);
    assert_int_equal(p.server->memory.taken, server);
    pair_free(p);
}

static void sessions_may_share_a_pool(void **state)
{
    side *client = side_new(true), *server = side_new(false);
    weir_http_pool *pool = weir_http_pool_new(NULL, 0);
    (void)state;
    assert_non_null(pool);
    client->config.pool = server->config.pool = pool;
    server->answer = true;
    pair p = pair_of(client, server);
    call(p, 10);
    assert_int_equal(client->x[9]->status, WEIR_OK);
    assert_int_equal(client->memory.taken, 0);
    pair_free(p);
    weir_http_pool_free(pool);
}

static size_t resident_bytes(void)
{
    size_t all = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%zu %zu", &all, &resident), 2);
    fclose(statm);
    return resident * 4096;
}

/* Blocks of 60 KiB with small ones between, which stay. */
static void a_pool_that_is_swept_gives_back_what_was_in_use(void **state)
{
    enum { BLOCKS = 1000, BYTES = 60 * 1024 };
    static void *large[BLOCKS], *small[BLOCKS];
    (void)state;
    if (IS_SANITIZED)
        skip(); /* memory is not malloc()'s own then */
    weir_http_pool *pool = weir_http_pool_new(NULL, 0);
    const weir_env *env = weir_http_pool_env(pool);
    for (int i = 0; i < BLOCKS; i++) {
        large[i] = weir_memory_resize(env, NULL, BYTES);
        small[i] = weir_memory_resize(env, NULL, 2048);
        memset(large[i], i, BYTES);
    }
    size_t most = resident_bytes();
    weir_http_pool_sweep(pool);
    assert_true(resident_bytes() >= most);
    for (int i = 0; i < BLOCKS; i++)
        weir_memory_free(env, large[i]);
    weir_http_pool_sweep(pool);
    assert_true(resident_bytes() < most - (size_t)BLOCKS * BYTES / 2);
    for (int i = 0; i < BLOCKS; i++)
        weir_memory_free(env, small[i]);
    weir_http_pool_free(pool);
}

/* One buffer for frames serves all servers of a pool, so what one has said in part is not what
 * another says next. */
static void servers_of_a_pool_may_speak_by_turns(void **state)
{
    static char body[40000], text[20000];
    enum { N = 3 };
    pair p[N];
    rig_exchange *x[N];
    weir_http_pool *pool = weir_http_pool_new(NULL, 0);
    const weir_http1_field field = { SPAN("x-long"), { text, sizeof text } };
    (void)state;
    assert_non_null(pool);
    for (int i = 0; i < N; i++) {
        side *client = side_new(true), *server = side_new(false);
        client->config.pool = server->config.pool = pool;
        client->config.head_bytes_max = 64 * 1024;
        p[i] = pair_of(client, server);
        x[i] = rig_open(client, true);
        pump(client, server);
    }
    for (int i = 0; i < N; i++) {
        weir_http_exchange *exchange = p[i].server->x[0]->exchange;
        weir_http_head head = { .status = 200, .fields = &field, .field_count = 1 };
        head.content_length = UINT64_MAX;
        memset(text, '{' + i, sizeof text); /* which HPACK's code makes no shorter */
        memset(body, 'A' + i, sizeof body);
        assert_int_equal(weir_http_exchange_respond(exchange, &head), WEIR_OK);
        assert_int_equal(rig_write(exchange, body, sizeof body), WEIR_OK);
        assert_int_equal(
            weir_http_exchange_end(exchange, &(weir_http1_field){ SPAN("t"), { text, 9 } }, 1),
            WEIR_OK);
    }
    for (bool some = true; some;) {
        some = false;
        for (int i = 0; i < N; i++) { /* a frame, or a part of a head, of each */
            weir_bytes *out = &p[i].server->out;
            out->len = 0;
            assert_int_equal(weir_http_session_output(p[i].server->session, out, 1, 1), WEIR_OK);
            some = some || out->len > 0;
            assert_int_equal(side_feed(p[i].client, out->at, out->len), WEIR_OK);
            out->len = 0;
        }
    }
    for (int i = 0; i < N; i++) {
        char trailers[] = "t=aaaaaaaaa;";
        memset(body, 'A' + i, sizeof body);
        memset(trailers + 2, '{' + i, 9);
        assert_int_equal(x[i]->status, WEIR_OK);
        assert_string_equal(x[i]->trailers, trailers);
        assert_int_equal(x[i]->body_bytes, sizeof body);
        assert_memory_equal(x[i]->body, body, sizeof body);
        pair_free(p[i]);
    }
    weir_http_pool_free(pool);
}

/* Runs with the nth allocation of a side failing; false: there were not as many. */
static bool runs_with_failure(size_t nth, bool of_server, bool for_good)
{
    static char body[30000];
    side *client = side_new(true), *server = side_new(false);
    rig_memory *memory = of_server ? &server->memory : &client->memory;
    server->answer = true;
    /* Pools that keep nothing, so that a sanitizer sees what is used after it was freed. */
    weir_http_pool *client_pool = weir_http_pool_new(&client->env, 1);
    weir_http_pool *server_pool = weir_http_pool_new(&server->env, 1);
    client->config.pool = client_pool;
    server->config.pool = server_pool;
    memory->fail_at = nth;
    memory->for_good = for_good;
    weir_status a = side_start(client), b = side_start(server);
    if (a == WEIR_OK && b == WEIR_OK) {
        pair p = { client, server };
        rig_exchange *x;
        call(p, 3);
        if (rig_try_open(client, false, &x) == WEIR_OK) {
            (void)!rig_write(x->exchange, body, sizeof body);
            (void)!weir_http_exchange_end(x->exchange, NULL, 0);
        }
        pump(client, server);
        weir_http_session_drain(server->session);
        pump(client, server);
    } else {
        assert_true(memory->failed);
        assert_int_equal(a != WEIR_OK ? a : b, WEIR_ENOMEM);
    }
    bool failed = memory->failed;
    memory->fail_at = 0;
    side_close(client);
    side_close(server);
    weir_http_pool_free(client_pool);
    weir_http_pool_free(server_pool);
    pair_free((pair){ client, server });
    return failed;
}

static void any_allocation_may_fail(void **state)
{
    (void)state;
    for (int which = 0; which < 4; which++) {
        size_t n = 1;
        while (runs_with_failure(n, which % 2 == 1, which >= 2))
            n++;
        assert_true(n > 20);
    }
}

static void without_the_preface_it_is_http_1(void **state)
{
    static const char *const texts[] = { "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                                         "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
                                         "PRI * HTTP/1.1\r\n\r\n" };
    (void)state;
    for (size_t i = 0; i < 3; i++)
        for (size_t step = 1; step < 30; step += 7) {
            side *s = side_new(false);
            s->config.version = WEIR_HTTP_AUTO;
            assert_int_equal(side_start(s), WEIR_OK);
            size_t n = strlen(texts[i]);
            for (size_t at = 0; at < n && s->failed == WEIR_OK; at += step)
                (void)!side_feed(s, texts[i] + at, n - at < step ? n - at : step);
            assert_int_equal(weir_http_session_version(s->session), WEIR_HTTP_1);
            assert_int_equal(s->count, i < 2);
            side_free(s);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unary_call_goes_there_and_back),
        cmocka_unit_test(a_trace_takes_no_place_in_the_table_and_other_fields_do),
        cmocka_unit_test(bytes_one_by_one_say_the_same_as_all_at_once),
        cmocka_unit_test(trailers_go_both_ways_also_without_a_body),
        cmocka_unit_test(a_head_that_ends_has_no_end_event),
        cmocka_unit_test(a_cookie_in_crumbs_is_one_again),
        cmocka_unit_test(a_length_is_told_and_held_to),
        cmocka_unit_test(what_nobody_consumes_closes_the_window_and_consuming_opens_it),
        cmocka_unit_test(a_window_opens_in_lots_of_half_of_it),
        cmocka_unit_test(one_stalled_exchange_does_not_hold_up_others),
        cmocka_unit_test(streams_take_turns),
        cmocka_unit_test(output_stops_at_its_bytes_and_goes_on),
        cmocka_unit_test(frames_are_as_large_as_configured),
        cmocka_unit_test(a_client_that_resets_is_told_and_so_is_the_server),
        cmocka_unit_test(a_request_reset_before_it_was_sent_never_is),
        cmocka_unit_test(an_exchange_may_be_reset_within_each_event),
        cmocka_unit_test(a_response_without_trailers_waits_for_the_end_of_its_request),
        cmocka_unit_test(a_response_without_trailers_waits_a_second_at_most),
        cmocka_unit_test(a_request_may_end_behind_its_response),
        cmocka_unit_test(a_response_that_ends_first_ends_the_exchange_a_little_later),
        cmocka_unit_test(another_request_may_be_opened_where_one_is_over),
        cmocka_unit_test(the_end_of_a_connection_is_told_to_all_exchanges),
        cmocka_unit_test(no_more_requests_are_opened_than_the_server_takes),
        cmocka_unit_test(a_server_drains_what_is_under_way),
        cmocka_unit_test(a_peer_that_has_read_the_first_goaway_gets_the_last),
        cmocka_unit_test(what_a_goaway_leaves_out_may_be_tried_elsewhere),
        cmocka_unit_test(a_client_that_drains_opens_nothing_more),
        cmocka_unit_test(bad_fields_are_refused),
        cmocka_unit_test(bad_requests_are_refused),
        cmocka_unit_test(interim_responses_are_swallowed),
        cmocka_unit_test(a_response_to_head_has_a_length_and_no_body),
        cmocka_unit_test(the_preface_tells_http_2_however_it_is_cut),
        cmocka_unit_test(calls_in_steady_state_allocate_nothing),
        cmocka_unit_test(sessions_may_share_a_pool),
        cmocka_unit_test(a_pool_that_is_swept_gives_back_what_was_in_use),
        cmocka_unit_test(servers_of_a_pool_may_speak_by_turns),
        cmocka_unit_test(any_allocation_may_fail),
        cmocka_unit_test(without_the_preface_it_is_http_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
