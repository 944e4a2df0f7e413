/* Links in clear, over loopback: both versions of HTTP, peers of every kind, ends and deadlines. */
#include "link_rig.h"

#define GET "GET /raw HTTP/1.1\r\nHost: a\r\n\r\n"

static rig *rig_new(void)
{
    static rig r;
    memset(&r, 0, sizeof r);
    return &r;
}

static void one_call(rig *r, wi_link *link, size_t bytes)
{
    unsigned before = r->at_client.exchange_overs;
    ask(r, link, bytes);
    UNTIL(r, r->at_client.exchange_overs == before + 1);
    assert_int_equal(r->at_client.exchange_over, WEIR_OK);
    assert_int_equal(r->at_client.status, 200);
}

static void calls(weir_http_version version)
{
    rig *r = rig_new();
    r->client_config.session.version = version;
    r->at_server.answer_bytes = 300000;
    rig_start(r, NULL);
    wi_link *link = dial(r, NULL, NULL);
    assert_null(wi_link_session(link));
    UNTIL(r, r->at_client.ups == 1);
    assert_int_equal(strncmp(r->at_client.peer, "127.0.0.1:", 10), 0);
    for (int i = 0; i < 3; i++)
        one_call(r, link, 200000);
    assert_int_equal(r->at_server.body_bytes, 600000);
    assert_int_equal(r->at_client.body_bytes, 900000);
    assert_string_equal(r->at_server.path, "/path");
    assert_string_equal(r->at_server.subject, "");
    UNTIL(r, r->at_server.link != NULL &&
                 weir_http_session_exchanges(wi_link_session(r->at_server.link)) == 0);
    assert_int_equal(weir_http_session_version(wi_link_session(r->at_server.link)), version);
    rig_stop(r);
    assert_int_equal(r->at_client.over, WEIR_ECANCELED);
}

static void calls_go_to_and_fro_by_http1(void **state)
{
    (void)state;
    calls(WEIR_HTTP_1);
}

static void calls_go_to_and_fro_by_http2(void **state)
{
    (void)state;
    if (!WEIR_HAVE_NGHTTP2)
        skip();
    calls(WEIR_HTTP_2);
}

static void a_port_where_nobody_listens_is_unavailable(void **state)
{
    rig *r = rig_new();
    (void)state;
    rig_start(r, NULL);
    ((struct sockaddr_in *)(void *)&r->address.at)->sin_port = htons(1);
    dial(r, NULL, NULL);
    assert_int_equal(r->at_client.overs, 0);
    UNTIL(r, r->at_client.overs == 1);
    assert_int_equal(r->at_client.over, WEIR_EUNAVAILABLE);
    assert_string_equal(r->at_client.why, "connection refused");
    assert_int_equal(r->at_client.ups, 0);
    rig_stop(r);
}

static void pipelined_requests_wait_their_turn(void **state)
{
    rig *r = rig_new();
    char text[4096];
    (void)state;
    r->at_server.waits = true;
    rig_start(r, NULL);
    int fd = raw_dial(r);
    raw_say(fd, GET GET GET);
    UNTIL(r, r->at_server.heads == 1);
    settle(r);
    assert_int_equal(r->at_server.heads, 1);
    for (unsigned i = 1; i <= 3; i++) {
        UNTIL(r, r->at_server.heads == i);
        answer(r->at_server.exchange, i);
        UNTIL(r, r->at_server.exchange_overs == i);
    }
    raw_hear(r, fd, "\r\n3\r\nbbb\r\n0\r\n\r\n", text, sizeof text);
    close(fd);
    UNTIL(r, r->at_server.overs == 1);
    assert_int_equal(r->at_server.over, WEIR_ECLOSED);
    rig_stop(r);
}

static void a_bad_request_is_answered_before_the_end(void **state)
{
    rig *r = rig_new();
    static char noise[100000];
    char text[4096];
    (void)state;
    rig_start(r, NULL);
    int fd = raw_dial(r);
    memset(noise, 'x', sizeof noise - 1);
    raw_say(fd, "GET / NONSENSE\r\n\r\n");
    raw_say(fd, noise); /* what we do not want to read must not cost the peer our answer */
    assert_true(raw_hear(r, fd, NULL, text, sizeof text) > 0);
    assert_int_equal(strncmp(text, "HTTP/1.1 400 ", 13), 0);
    UNTIL(r, r->at_server.overs == 1);
    assert_int_equal(r->at_server.over, WEIR_EPROTO);
    assert_true(r->at_server.why[0] != '\0');
    close(fd);
    rig_stop(r);
}

static void megabytes_behind_a_refused_request_do_not_cost_the_answer(void **state)
{
    rig *r = rig_new();
    static char noise[50000];
    char text[4096];
    (void)state;
    rig_start(r, NULL);
    int fd = raw_dial(r);
    memset(noise, 'x', sizeof noise - 1);
    raw_say(fd, "GET / NONSENSE\r\n\r\n");
    for (int i = 0; i < 80; i++) {
        raw_say(fd, noise);
        settle(r);
    }
    assert_true(raw_hear(r, fd, NULL, text, sizeof text) > 0);
    assert_int_equal(strncmp(text, "HTTP/1.1 400 ", 13), 0);
    close(fd);
    rig_stop(r);
}

static void a_peer_that_ended_its_side_is_still_answered(void **state)
{
    rig *r = rig_new();
    char text[4096];
    (void)state;
    r->at_server.waits = true;
    rig_start(r, NULL);
    int fd = raw_dial(r);
    raw_say(fd, GET GET);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    UNTIL(r, r->at_server.heads == 1);
    settle(r);
    assert_int_equal(r->at_server.exchange_overs, 0);
    answer(r->at_server.exchange, 1);
    UNTIL(r, r->at_server.heads == 2);
    answer(r->at_server.exchange, 2);
    assert_true(raw_hear(r, fd, NULL, text, sizeof text) > 0);
    assert_non_null(strstr(text, "\r\n2\r\nbb\r\n0\r\n\r\n"));
    assert_int_equal(r->at_server.exchange_over, WEIR_OK);
    close(fd);
    rig_stop(r);
}

static void a_reset_is_noticed_while_nothing_is_read(void **state)
{
    static const struct linger hard = { .l_onoff = 1 };
    rig *r = rig_new();
    (void)state;
    r->at_server.waits = true;
    rig_start(r, NULL);
    int fd = raw_dial(r);
    raw_say(fd, GET);
    UNTIL(r, r->at_server.heads == 1);
    settle(r);
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    UNTIL(r, r->at_server.overs == 1);
    assert_int_equal(r->at_server.exchange_overs, 1);
    assert_int_equal(r->at_server.exchange_over, WEIR_ECLOSED);
    rig_stop(r);
}

/* The socket tells both at once, and there is nothing to be sent that would fail. */
static void a_reset_is_noticed_that_comes_along_with_a_request(void **state)
{
    static const struct linger hard = { .l_onoff = 1 };
    rig *r = rig_new();
    (void)state;
    r->at_server.waits = true;
    rig_start(r, NULL);
    int fd = raw_dial(r);
    UNTIL(r, r->at_server.ups == 1);
    settle(r);
    raw_say(fd, GET);
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    UNTIL(r, r->at_server.overs == 1);
    assert_int_equal(r->at_server.heads, 1);
    assert_int_equal(r->at_server.exchange_over, WEIR_ECLOSED);
    rig_stop(r);
}

static void a_reset_of_ours_ends_the_connection(void **state)
{
    rig *r = rig_new();
    (void)state;
    r->at_server.waits = true;
    rig_start(r, NULL);
    wi_link *link = dial(r, NULL, NULL);
    UNTIL(r, r->at_client.ups == 1);
    ask(r, link, 10);
    UNTIL(r, r->at_server.ends == 1);
    weir_http_exchange_reset(r->at_server.exchange, WEIR_EINTERNAL, 2);
    wi_link_touch(r->at_server.link);
    UNTIL(r, r->at_server.exchange_overs == 1 && r->at_client.exchange_overs == 1);
    assert_int_equal(r->at_server.exchange_over, WEIR_EINTERNAL);
    assert_int_equal(r->at_client.exchange_over, WEIR_ECLOSED);
    UNTIL(r, r->at_client.overs == 1);
    rig_stop(r);
}

static void a_peer_that_never_reads_is_cut_off_and_holds_little(void **state)
{
    rig *r = rig_new();
    int small = 4096;
    (void)state;
    r->server_config.write_timeout_ms = 5000;
    r->server_config.output_bytes_max = 64 * 1024;
    r->at_server.waits = true;
    rig_start(r, NULL);
    int fd = raw_dial(r);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    raw_say(fd, GET);
    UNTIL(r, r->at_server.heads == 1);
    answer(r->at_server.exchange, 16 << 20);
    settle(r);
    later(r, 4000);
    assert_int_equal(r->at_server.overs, 0);
    later(r, 3000);
    UNTIL(r, r->at_server.overs == 1);
    assert_int_equal(r->at_server.over, WEIR_EDEADLINE);
    assert_int_equal(r->at_server.exchange_over, WEIR_EDEADLINE);
    close(fd);
    rig_stop(r);
}

static void a_window_that_is_full_stops_the_peer(void **state)
{
    rig *r = rig_new();
    (void)state;
    r->server_config.session.stream_window_bytes = 10000;
    r->at_server.keeps = true;
    rig_start(r, NULL);
    wi_link *link = dial(r, NULL, NULL);
    UNTIL(r, r->at_client.ups == 1);
    ask(r, link, 16 << 20);
    UNTIL(r, r->at_server.body_bytes == 10000);
    settle(r);
    assert_int_equal(r->at_server.body_bytes, 10000);
    weir_http_exchange_consume(r->at_server.exchange, 4000);
    wi_link_touch(r->at_server.link);
    UNTIL(r, r->at_server.body_bytes == 14000);
    r->at_server.keeps = false;
    weir_http_exchange_consume(r->at_server.exchange, 10000);
    wi_link_touch(r->at_server.link);
    UNTIL(r, r->at_server.ends == 1);
    assert_int_equal(r->at_server.body_bytes, 16 << 20);
    rig_stop(r);
}

static void a_slow_head_and_an_idle_connection_are_cut_off(void **state)
{
    rig *r = rig_new();
    char text[1024];
    (void)state;
    r->server_config.session.header_timeout_ms = 1000;
    r->server_config.session.idle_timeout_ms = 3000;
    rig_start(r, NULL);
    int fd = raw_dial(r), idle = raw_dial(r);
    raw_say(fd, "GET / HT");
    raw_say(idle, GET);
    UNTIL(r, r->at_server.exchange_overs == 1 && r->at_server.ups == 2);
    settle(r);
    later(r, 2000);
    assert_true(raw_hear(r, fd, NULL, text, sizeof text) > 0);
    assert_int_equal(strncmp(text, "HTTP/1.1 408 ", 13), 0);
    assert_int_equal(r->at_server.overs, 1);
    assert_int_equal(r->at_server.over, WEIR_EDEADLINE);
    later(r, 3000);
    UNTIL(r, r->at_server.overs == 2);
    assert_int_equal(r->at_server.over, WEIR_OK);
    close(fd);
    close(idle);
    rig_stop(r);
}

static void a_peer_that_does_not_close_is_not_waited_for_long(void **state)
{
    rig *r = rig_new();
    char text[1024];
    (void)state;
    rig_start(r, NULL);
    int fd = raw_dial(r);
    raw_say(fd, "nonsense\r\n\r\n");
    raw_hear(r, fd, NULL, text, sizeof text);
    settle(r);
    assert_int_equal(wi_links_count(r->server), 1);
    later(r, 5000);
    UNTIL(r, wi_links_count(r->server) == 0);
    close(fd);
    rig_stop(r);
}

static void a_drain_lets_what_is_under_way_end(weir_http_version version)
{
    rig *r = rig_new();
    r->client_config.session.version = version;
    r->at_server.waits = true;
    rig_start(r, NULL);
    wi_link *link = dial(r, NULL, NULL);
    UNTIL(r, r->at_client.ups == 1);
    ask(r, link, 10);
    UNTIL(r, r->at_server.ends == 1);
    wi_links_drain(r->server);
    settle(r);
    assert_int_equal(r->at_server.overs, 0);
    assert_int_equal(r->at_server.gones, 0);
    later(r, 5000);
    assert_int_equal(weir_http_session_openable(wi_link_session(link)), 0);
    answer(r->at_server.exchange, 10);
    UNTIL(r, r->at_client.exchange_overs == 1 && r->at_server.gones == 1);
    assert_int_equal(r->at_client.exchange_over, WEIR_OK);
    assert_int_equal(r->at_server.overs, 1);
    rig_stop(r);
}

static void drains_wait_for_calls_in_both_versions(void **state)
{
    (void)state;
    a_drain_lets_what_is_under_way_end(WEIR_HTTP_1);
    if (WEIR_HAVE_NGHTTP2)
        a_drain_lets_what_is_under_way_end(WEIR_HTTP_2);
}

/* Gives how long it took, in the loop's milliseconds. */
static uint64_t drain_ms(rig *r)
{
    uint64_t began = r->clock_ns;
    wi_links_drain(r->server);
    for (int i = 0; i < 400 && r->at_server.gones == 0; i++) {
        settle(r);
        if (r->at_server.gones == 0)
            later(r, 25);
    }
    assert_int_equal(r->at_server.gones, 1);
    return (r->clock_ns - began) / WEIR_MS;
}

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";

static void a_drain_does_not_wait_long_for_peers_at_rest(void **state)
{
    for (int http2 = 0; http2 <= WEIR_HAVE_NGHTTP2; http2++) {
        rig *r = rig_new();
        char text[4096];
        (void)state;
        rig_start(r, NULL);
        int fd = raw_dial(r); /* it ignores what it is told */
        UNTIL(r, r->at_server.ups == 1);
        if (http2) {
            assert_int_equal(send(fd, preface, sizeof preface - 1, 0), sizeof preface - 1);
        } else {
            raw_say(fd, GET);
            UNTIL(r, r->at_server.exchange_overs == 1);
        }
        settle(r);
        assert_in_range(drain_ms(r), 0, 800);
        ssize_t n = recv(fd, text, sizeof text, 0);
        assert_true(n > 0);
        close(fd);
        rig_stop(r);
    }
}

static void a_drain_is_over_at_once_with_peers_that_answer(void **state)
{
    rig *r = rig_new();
    (void)state;
    if (!WEIR_HAVE_NGHTTP2)
        skip();
    r->client_config.session.version = WEIR_HTTP_2;
    rig_start(r, NULL);
    wi_link *link = dial(r, NULL, NULL);
    UNTIL(r, r->at_client.ups == 1);
    one_call(r, link, 10);
    settle(r);
    assert_in_range(drain_ms(r), 0, 25);
    assert_int_equal(r->at_client.overs, 1);
    rig_stop(r);
}

/* What comes late, before the last word, is answered, and waited for as ever. */
static void a_drain_still_answers_what_comes_late(void **state)
{
    rig *r = rig_new();
    char text[4096];
    (void)state;
    r->at_server.waits = true;
    rig_start(r, NULL);
    int fd = raw_dial(r);
    UNTIL(r, r->at_server.ups == 1);
    raw_say(fd, GET);
    UNTIL(r, r->at_server.heads == 1);
    wi_links_drain(r->server);
    later(r, 1500);
    answer(r->at_server.exchange, 1);
    assert_true(raw_hear(r, fd, NULL, text, sizeof text) > 0);
    later(r, 1000); /* it may take its time to read that */
    assert_int_equal(r->at_server.gones, 0);
    close(fd);
    UNTIL(r, r->at_server.gones == 1);
    rig_stop(r);
}

static void links_at_rest_that_are_freed_say_goaway(void **state)
{
    enum { FRAME_HEAD = 9, GOAWAY = 7 };
    rig *r = rig_new();
    unsigned char text[4096];
    size_t n = 0, at = 24;
    struct sockaddr_in in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof in;
    (void)state;
    if (!WEIR_HAVE_NGHTTP2)
        skip();
    r->client_config.session.version = WEIR_HTTP_2;
    rig_start(r, NULL);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&in, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&in, &len), 0);
    ((struct sockaddr_in *)(void *)&r->address.at)->sin_port = in.sin_port;
    dial(r, NULL, NULL);
    UNTIL(r, r->at_client.ups == 1);
    settle(r);
    wi_links_free(r->client);
    int fd = accept(listener, NULL, NULL);
    for (ssize_t got; (got = recv(fd, text + n, sizeof text - n, 0)) > 0;)
        n += (size_t)got;
    bool said = false;
    for (; at + FRAME_HEAD <= n; at += FRAME_HEAD + (size_t)(text[at + 1] << 8) + text[at + 2])
        said = said || text[at + 3] == GOAWAY;
    assert_true(said);
    assert_int_equal(at, n);
    close(fd);
    close(listener);
    r->client = rig_links(r, &r->client_config); /* for the rig's end */
    rig_stop(r);
}

static void more_connections_than_allowed_wait(void **state)
{
    rig *r = rig_new();
    (void)state;
    r->server_config.connections_max = 2;
    rig_start(r, NULL);
    int fds[3];
    for (int i = 0; i < 3; i++)
        fds[i] = raw_dial(r);
    UNTIL(r, r->at_server.ups == 2);
    settle(r);
    assert_int_equal(r->at_server.ups, 2);
    close(fds[0]);
    UNTIL(r, r->at_server.ups == 3);
    close(fds[1]);
    close(fds[2]);
    rig_stop(r);
}

static void a_link_that_is_closed_tells_its_exchanges_why(void **state)
{
    rig *r = rig_new();
    (void)state;
    r->at_server.waits = true;
    rig_start(r, NULL);
    wi_link *link = dial(r, NULL, NULL);
    UNTIL(r, r->at_client.ups == 1);
    ask(r, link, 10);
    UNTIL(r, r->at_server.ends == 1);
    wi_link_close(link, WEIR_EDEADLINE);
    assert_int_equal(r->at_client.exchange_overs, 0);
    UNTIL(r, r->at_client.overs == 1);
    assert_int_equal(r->at_client.exchange_over, WEIR_EDEADLINE);
    assert_int_equal(r->at_client.over, WEIR_EDEADLINE);
    UNTIL(r, r->at_server.overs == 1);
    rig_stop(r);
}

static void links_may_be_freed_with_all_under_way(void **state)
{
    rig *r = rig_new();
    (void)state;
    r->at_server.waits = true;
    rig_start(r, NULL);
    wi_link *link = dial(r, NULL, NULL);
    UNTIL(r, r->at_client.ups == 1);
    ask(r, link, 10);
    UNTIL(r, r->at_server.ends == 1);
    wi_link_touch(link);
    wi_links_free(r->client);
    wi_links_free(r->server);
    while (weir_loop_turn(r->loop))
        ;
    wi_port_done(&r->port);
    weir_loop_free(r->loop);
    assert_int_equal(server_count_fds(), r->fds);
    assert_int_equal(link_bytes, 0);
}

/* A connection and a call, whatever fails. */
static void try_a_call(rig *r)
{
    wi_link *link = NULL;
    wi_dial dial = { .address = &r->address, .user = r };
    if (wi_links_dial(r->client, &dial, &link) != WEIR_OK)
        return;
    UNTIL(r, r->at_client.ups + r->at_client.overs > 0);
    if (r->at_client.overs == 0 && ask(r, link, 1000) != NULL)
        UNTIL(r, r->at_client.exchange_overs == 1);
}

static size_t allocations_of_a_call(weir_http_version version, size_t failing_nth)
{
    rig *r = rig_new();
    r->client_config.session.version = version;
    r->at_server.answer_bytes = 1000;
    r->client_config.pool_bytes_max = r->server_config.pool_bytes_max = 1;
    rig_start(r, NULL);
    link_allocations = 0;
    link_failing_nth = failing_nth;
    try_a_call(r);
    size_t n = link_allocations;
    link_failing_nth = 0;
    rig_stop(r); /* which looks for what is left */
    return n;
}

/* Those of HTTP/2 are its session's own, and in its test. */
static void every_allocation_may_fail(void **state)
{
    size_t nth = 1;
    (void)state;
    while (allocations_of_a_call(WEIR_HTTP_1, nth) >= nth)
        nth++;
    assert_in_range(nth, 10, 1000);
}

static void calls_in_steady_state_allocate_nothing(void **state)
{
    (void)state;
    for (int version = WEIR_HTTP_1; version <= (WEIR_HAVE_NGHTTP2 ? WEIR_HTTP_2 : WEIR_HTTP_1);
         version++) {
        rig *r = rig_new();
        r->client_config.session.version = (weir_http_version)version;
        r->at_server.answer_bytes = 20000;
        rig_start(r, NULL);
        wi_link *link = dial(r, NULL, NULL);
        UNTIL(r, r->at_client.ups == 1);
        for (int i = 0; i < 100; i++) {
            if (i == 50)
                link_allocations = 0;
            one_call(r, link, 20000);
        }
        assert_int_equal(link_allocations, 0);
        rig_stop(r);
    }
}

static void idle_connections_hold_little(weir_http_version version, size_t bytes_max)
{
    enum { N = 1000 };
    rig *r = rig_new();
    struct rlimit files = { 0 };
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    if (files.rlim_cur < 2 * N + 100)
        skip();
    r->client_config.session.version = version;
    r->client_config.pool_bytes_max = r->server_config.pool_bytes_max = 1;
    rig_start(r, NULL);
    size_t before = link_bytes;
    for (unsigned i = 1; i <= N; i++) {
        wi_link *link = dial(r, NULL, NULL);
        UNTIL(r, r->at_client.ups == i);
        one_call(r, link, 100);
    }
    UNTIL(r, r->at_server.exchange_overs == N);
    settle(r);
    size_t each = (link_bytes - before) / (2 * N);
    print_message("%zu bytes of memory for each side of an idle connection\n", each);
    assert_in_range(each, 100, bytes_max);
    rig_stop(r);
}

static void a_thousand_idle_connections_hold_little(void **state)
{
    (void)state;
    idle_connections_hold_little(WEIR_HTTP_1, 1000);
    if (WEIR_HAVE_NGHTTP2)
        idle_connections_hold_little(WEIR_HTTP_2, 40000);
}

/* So many links, each of which had a call and was left alone. */
static rig *links_at_rest(unsigned n, wi_link **links)
{
    rig *r = rig_new();
    r->client_config.session.version = WEIR_HTTP_2;
    r->client_config.pool_bytes_max = r->server_config.pool_bytes_max = 1;
    rig_start(r, NULL);
    for (unsigned i = 0; i < n; i++) {
        links[i] = dial(r, NULL, NULL);
        UNTIL(r, r->at_client.ups == i + 1);
        one_call(r, links[i], 100);
    }
    UNTIL(r, r->at_server.exchange_overs == n);
    settle(r);
    size_t awake = link_bytes;
    later(r, 3000);
    assert_in_range((link_bytes - awake) / (2 * n), 500, 3000); /* what they are packed into */
    return r;
}

static void links_at_rest_are_parked_and_go_on(void **state)
{
    enum { N = 200 };
    wi_link *links[N];
    (void)state;
    if (!WEIR_HAVE_NGHTTP2)
        skip();
    rig *r = links_at_rest(N, links);
    size_t parked = link_bytes;
    for (int round = 0; round < 3; round++) {
        for (unsigned i = 0; i < N; i += 2)
            one_call(r, links[i], 100);
        settle(r);
        assert_true(link_bytes < parked);
        later(r, 3000);
        assert_int_equal(link_bytes, parked);
    }
    wi_links_drain(r->server);
    later(r, 5000);
    UNTIL(r, r->at_server.gones == 1 && r->at_client.overs == N);
    assert_int_equal(r->at_client.over, WEIR_OK);
    rig_stop(r);
}

static void parked_links_end_like_others(void **state)
{
    enum { N = 4 };
    wi_link *links[N];
    (void)state;
    if (!WEIR_HAVE_NGHTTP2)
        skip();
    rig *r = links_at_rest(N, links);
    wi_link_close(links[0], WEIR_ECANCELED);
    UNTIL(r, r->at_client.overs == 1 && r->at_server.overs == 1);
    assert_int_equal(r->at_server.over, WEIR_ECLOSED);
    wi_link_drain(links[1]);
    UNTIL(r, r->at_client.overs == 2 && r->at_server.overs == 2);
    later(r, 310000); /* idle for too long */
    UNTIL(r, r->at_client.overs == N && r->at_server.overs == N);
    assert_int_equal(r->at_server.over, WEIR_OK);
    rig_stop(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(links_at_rest_are_parked_and_go_on),
        cmocka_unit_test(parked_links_end_like_others),
        cmocka_unit_test(calls_go_to_and_fro_by_http1),
        cmocka_unit_test(calls_go_to_and_fro_by_http2),
        cmocka_unit_test(a_port_where_nobody_listens_is_unavailable),
        cmocka_unit_test(pipelined_requests_wait_their_turn),
        cmocka_unit_test(a_bad_request_is_answered_before_the_end),
        cmocka_unit_test(megabytes_behind_a_refused_request_do_not_cost_the_answer),
        cmocka_unit_test(a_peer_that_ended_its_side_is_still_answered),
        cmocka_unit_test(a_reset_is_noticed_while_nothing_is_read),
        cmocka_unit_test(a_reset_is_noticed_that_comes_along_with_a_request),
        cmocka_unit_test(a_reset_of_ours_ends_the_connection),
        cmocka_unit_test(a_peer_that_never_reads_is_cut_off_and_holds_little),
        cmocka_unit_test(a_window_that_is_full_stops_the_peer),
        cmocka_unit_test(a_slow_head_and_an_idle_connection_are_cut_off),
        cmocka_unit_test(a_peer_that_does_not_close_is_not_waited_for_long),
        cmocka_unit_test(drains_wait_for_calls_in_both_versions),
        cmocka_unit_test(a_drain_does_not_wait_long_for_peers_at_rest),
        cmocka_unit_test(a_drain_is_over_at_once_with_peers_that_answer),
        cmocka_unit_test(a_drain_still_answers_what_comes_late),
        cmocka_unit_test(links_at_rest_that_are_freed_say_goaway),
        cmocka_unit_test(more_connections_than_allowed_wait),
        cmocka_unit_test(a_link_that_is_closed_tells_its_exchanges_why),
        cmocka_unit_test(links_may_be_freed_with_all_under_way),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(calls_in_steady_state_allocate_nothing),
        cmocka_unit_test(a_thousand_idle_connections_hold_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
