/* The client of RPC against the server of RPC, over real sockets on one loop: every kind of call in
 * every protocol, connections that come and go, deadlines, cancels, retries, limits. */
#include "rpc_client_rig.h"

static void a_unary_call_is_answered(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    for (int i = 0; i < 3; i++) {
        ask(&c, &r, channel, "hello", 0, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_string_equal(c.text, "hello");
        assert_string_equal(c.before, "2");
        assert_string_equal(c.behind, "1");
        assert_int_equal(c.begins, 1);
        assert_int_equal(strlen(served.traceparent), 55);
    }
    ask(&c, &r, channel, "no such thing", WEIR_RPC_NOT_FOUND, NULL);
    expect(&c, WEIR_RPC_NOT_FOUND);
    assert_string_equal(c.error, "no such thing");
    assert_string_equal(c.behind, "1");
    weir_rpc_channel_stats stats = stats_of(channel);
    assert_int_equal(stats.started, 4);
    assert_int_equal(stats.succeeded, 3);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.calls, 0);
    assert_int_equal(stats.connects, 1);
    assert_int_equal(stats.connected, 1);
    stop(&r, channel);
}

/* ---- Every kind, protocol, version, codec, with gzip and without ---- */

static bool next_way(weir_rpc_channel_config *config, int *at)
{
    for (; *at < 24; (*at)++) {
        *config = (weir_rpc_channel_config){ .protocol = (weir_rpc_protocol)(*at / 8),
                                             .http = *at & 1 ? WEIR_RPC_HTTP1 : WEIR_RPC_HTTP2,
                                             .codec = *at & 2 ? WEIR_RPC_JSON : WEIR_RPC_PROTO,
                                             .gzip = (*at & 4) != 0,
                                             .gzip_bytes_min = 16 };
        if (config->protocol == WEIR_RPC_GRPC && config->http == WEIR_RPC_HTTP1)
            continue;
        (*at)++;
        return true;
    }
    return false;
}

static void every_way_answers_every_kind(void **state)
{
    static const char text[] =
        "a text that is long enough to be compressed, compressed, compressed";
    rig r = { 0 };
    weir_rpc_channel_config config;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int at = 0; next_way(&config, &at);) {
        weir_rpc_channel *channel = channel_of(&r, config);
        caller c;
        for (int i = 0; i < 3; i++) {
            ask(&c, &r, channel, text, 0, NULL);
            expect(&c, WEIR_RPC_OK);
            assert_string_equal(c.text, text);
            assert_string_equal(c.behind, "1");
        }
        ask(&c, &r, channel, text, WEIR_RPC_ABORTED, NULL);
        expect(&c, WEIR_RPC_ABORTED);
        assert_string_equal(c.error, text);
        c = (caller){ .to_ask = 2 };
        stream_of(&c, &r, channel, 300, 1000);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.messages, 300);
        c = (caller){ .to_send = 200, .payload = 1000 };
        start(&c, &r, channel, COLLECT, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.collected, 200);
        c = (caller){ .to_send = 50, .payload = 1000, .to_ask = 1 };
        start(&c, &r, channel, ECHO, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.messages, 50);
        weir_rpc_channel_free(channel);
        turns(&r, 5);
    }
    rig_stop(&r);
}

/* ---- A peer that says what the test says ---- */

typedef struct fake {
    int listener, fd, accepted;
    char seen[8192];
    size_t n;
} fake;

static uint16_t fake_listen(fake *f, uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(port) };
    socklen_t len = sizeof at;
    *f = (fake){ .fd = -1 };
    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(setsockopt(f->listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)),
                     0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(f->listener, 16), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &len), 0);
    return ntohs(at.sin_port);
}

static bool fake_accepts(fake *f)
{
    int fd = accept(f->listener, NULL, NULL);
    if (fd < 0)
        return false;
    if (f->fd >= 0)
        close(f->fd);
    f->accepted++;
    f->n = 0;
    f->fd = fd;
    return true;
}

static bool fake_saw(fake *f, const char *text)
{
    ssize_t n = f->fd < 0 ? 0
                          : recv(f->fd, f->seen + f->n, sizeof f->seen - 1 - f->n, MSG_DONTWAIT);
    if (n > 0)
        f->n += (size_t)n;
    f->seen[f->n] = '\0';
    return strstr(f->seen, text) != NULL;
}

static void fake_says(fake *f, const char *bytes, size_t n)
{
    assert_int_equal(send(f->fd, bytes, n, MSG_NOSIGNAL), n);
}

static void fake_close(fake *f)
{
    if (f->fd >= 0)
        close(f->fd);
    if (f->listener >= 0)
        close(f->listener);
    f->fd = f->listener = -1;
}

/* A rig without a server. */
static void loop_only(rig *r)
{
    r->clock_ns = WEIR_SEC;
    r->env = (weir_env){ .allocator = r->allocator, .now_ns = rig_now, .user = &r->clock_ns };
    r->loop = weir_loop_new(&(weir_loop_config){ .env = &r->env });
}

static uint16_t port_of_nobody(void)
{
    fake f;
    uint16_t port = fake_listen(&f, 0);
    fake_close(&f);
    return port;
}

/* ---- What comes that is no good ---- */

typedef struct wrong {
    weir_rpc_protocol protocol;
    const char *response;
    size_t n;
    weir_rpc_code code;
} wrong;

#define SAID(text) text, sizeof(text) - 1

static void responses_that_are_none_have_their_codes(void **state)
{
    static const wrong cases[] = {
        { WEIR_RPC_GRPC_WEB, SAID("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"),
          WEIR_RPC_UNIMPLEMENTED },
        { WEIR_RPC_GRPC_WEB, SAID("HTTP/1.1 503 No\r\ncontent-length: 3\r\n\r\nabc"),
          WEIR_RPC_UNAVAILABLE },
        { WEIR_RPC_GRPC_WEB,
          SAID("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 3\r\n\r\nabc"),
          WEIR_RPC_UNKNOWN },
        { WEIR_RPC_GRPC_WEB, /* no trailers */
          SAID("HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\n"
               "content-length: 5\r\n\r\n\0\0\0\0\0"),
          WEIR_RPC_INTERNAL },
        { WEIR_RPC_GRPC_WEB, /* OK without a message */
          SAID("HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\n"
               "content-length: 20\r\n\r\n\x80\0\0\0\x0fgrpc-status: 0\r"),
          WEIR_RPC_UNIMPLEMENTED },
        { WEIR_RPC_GRPC_WEB, /* two messages */
          SAID("HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\n"
               "content-length: 30\r\n\r\n\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\x0fgrpc-status: 0\r"),
          WEIR_RPC_UNIMPLEMENTED },
        { WEIR_RPC_GRPC_WEB, /* a message that is none */
          SAID("HTTP/1.1 200 OK\r\ncontent-type: application/grpc-web+proto\r\n"
               "content-length: 26\r\n\r\n\0\0\0\0\1\x0a\x80\0\0\0\x0fgrpc-status: 0\r"),
          WEIR_RPC_INTERNAL },
        { WEIR_RPC_CONNECT,
          SAID("HTTP/1.1 403 No\r\ncontent-type: application/json\r\ncontent-length: 29\r\n\r\n"
               "{\"code\":\"resource_exhausted\"}"),
          WEIR_RPC_RESOURCE_EXHAUSTED },
        { WEIR_RPC_CONNECT, SAID("HTTP/1.1 429 No\r\ncontent-length: 0\r\n\r\n"),
          WEIR_RPC_UNAVAILABLE },
        { WEIR_RPC_CONNECT,
          SAID("HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\ncontent-length: 9\r\n\r\nab"),
          WEIR_RPC_INTERNAL }, /* and the connection ends */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rig r = { 0 };
        fake f;
        caller c;
        loop_only(&r);
        r.port = fake_listen(&f, 0);
        weir_rpc_channel *channel = channel_of(
            &r, (weir_rpc_channel_config){ .protocol = cases[i].protocol, .http = WEIR_RPC_HTTP1 });
        ask(&c, &r, channel, "x", 0, NULL);
        TURN_UNTIL(&r, fake_accepts(&f));
        TURN_UNTIL(&r, fake_saw(&f, "\r\n\r\n"));
        fake_says(&f, cases[i].response, cases[i].n);
        turns(&r, 20);
        fake_close(&f);
        TURN_UNTIL(&r, c.overs > 0);
        if (c.code != cases[i].code)
            fail_msg("%zu: %s: %s", i, weir_rpc_code_name(c.code), c.error);
        assert_int_equal(c.messages, 0);
        weir_rpc_channel_free(channel);
        weir_loop_free(r.loop);
    }
}

/* What else a turn may do, once its time was looked at. */
static void turn_takes_a_second(evutil_socket_t fd, short what, void *user)
{
    rig *r = user;
    (void)fd;
    (void)what;
    (void)weir_loop_now(r->loop);
    r->clock_ns += WEIR_SEC;
}

static void pass_a_second(weir_task *task, void *user)
{
    rig *r = user;
    (void)task;
    r->clock_ns += WEIR_SEC;
}

/* The reset is seen in the turn in which the deadline passes, before the timer is. */
static void a_reset_at_the_deadline_is_the_deadline(void **state)
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0";
    static const char reset[] = "\0\0\4\3\0\0\0\0\1\0\0\0\10"; /* CANCEL */
    rig r = { 0 };
    fake f;
    caller c;
    (void)state;
    loop_only(&r);
    r.port = fake_listen(&f, 0);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .timeout_ms = 900 });
    TURN_UNTIL(&r, fake_accepts(&f));
    TURN_UNTIL(&r, fake_saw(&f, "PRI "));
    fake_says(&f, settings, sizeof settings - 1);
    turns(&r, 20);
    assert_int_equal(c.overs, 0);
    weir_task later = WEIR_TASK(pass_a_second, &r);
    weir_post(r.loop, &later);
    fake_says(&f, reset, sizeof reset - 1);
    expect(&c, WEIR_RPC_DEADLINE_EXCEEDED);
    fake_close(&f);
    weir_rpc_channel_free(channel);
    turns(&r, 5);
    weir_loop_free(r.loop);
}

/* The server's clock goes on while a turn of ours takes long. */
static void a_reset_behind_the_deadline_is_the_deadline_in_a_long_turn_too(void **state)
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0";
    static const char reset[] = "\0\0\4\3\0\0\0\0\1\0\0\0\10"; /* CANCEL */
    rig r = { 0 };
    fake f;
    caller c;
    int ends[2];
    (void)state;
    loop_only(&r);
    r.port = fake_listen(&f, 0);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .timeout_ms = 900 });
    TURN_UNTIL(&r, fake_accepts(&f));
    TURN_UNTIL(&r, fake_saw(&f, "PRI "));
    fake_says(&f, settings, sizeof settings - 1);
    turns(&r, 20);
    assert_int_equal(pipe(ends), 0);
    struct event *first = event_new(weir_loop_base(r.loop), ends[0], EV_READ, turn_takes_a_second,
                                    &r);
    event_add(first, NULL);
    assert_int_equal(write(ends[1], "x", 1), 1); /* ready before the reset, so called before */
    fake_says(&f, reset, sizeof reset - 1);
    expect(&c, WEIR_RPC_DEADLINE_EXCEEDED);
    event_free(first);
    close(ends[0]);
    close(ends[1]);
    fake_close(&f);
    weir_rpc_channel_free(channel);
    turns(&r, 5);
    weir_loop_free(r.loop);
}

static void a_server_that_is_silent_is_asked_by_ping_and_given_up(void **state)
{
    static const char settings[] = "\0\0\0\4\0\0\0\0\0\0\0\0\4\1\0\0\0\0";
    rig r = { 0 };
    fake f;
    caller c = { 0 };
    (void)state;
    loop_only(&r);
    r.port = fake_listen(&f, 0);
    weir_rpc_channel *channel = channel_of(
        &r, (weir_rpc_channel_config){ .keepalive_ms = 5000, .keepalive_timeout_ms = 2000 });
    start(&c, &r, channel, ECHO, NULL);
    TURN_UNTIL(&r, fake_accepts(&f));
    TURN_UNTIL(&r, fake_saw(&f, "PRI "));
    fake_says(&f, settings, sizeof settings - 1);
    turns(&r, 20);
    pass_ms(&r, 6000); /* the PING is out */
    assert_int_equal(c.overs, 0);
    assert_int_equal(stats_of(channel).keepalives, 1);
    pass_ms(&r, 2000);
    expect(&c, WEIR_RPC_UNAVAILABLE);
    fake_close(&f);
    weir_rpc_channel_free(channel);
    turns(&r, 5);
    weir_loop_free(r.loop);
}

static void connect_asks_by_get_where_nothing_is_changed(void **state)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\ncontent-type: application/proto\r\n"
                             "content-length: 0\r\n\r\n";
    rig r = { 0 };
    fake f;
    caller c;
    (void)state;
    loop_only(&r);
    r.port = fake_listen(&f, 0);
    weir_rpc_channel *channel = channel_of(
        &r, (weir_rpc_channel_config){
                .protocol = WEIR_RPC_CONNECT, .http = WEIR_RPC_HTTP1, .connect_get = true });
    ask(&c, &r, channel, "x", 0, NULL);
    TURN_UNTIL(&r, fake_accepts(&f));
    TURN_UNTIL(&r, fake_saw(&f, "\r\n\r\n"));
    assert_ptr_equal(strstr(f.seen, "GET /streams.v1.Streams/Process?connect=v1&base64=1&"
                                    "encoding=proto&message=CgF4 "),
                     f.seen);
    assert_ptr_equal(strstr(f.seen, "\r\n\r\n") + 4, f.seen + f.n);
    fake_says(&f, ok, sizeof ok - 1);
    expect(&c, WEIR_RPC_OK);
    assert_int_equal(c.messages, 1);

    f.n = 0; /* too long for a path: by POST */
    char *text = malloc(20001);
    memset(text, 'x', 20000);
    text[20000] = '\0';
    ask(&c, &r, channel, text, 0, NULL);
    TURN_UNTIL(&r, fake_saw(&f, "\r\n\r\n"));
    assert_ptr_equal(strstr(f.seen, "POST /streams.v1.Streams/Process "), f.seen);
    assert_non_null(strcasestr(f.seen, "content-length: 20004\r\n"));
    fake_says(&f, ok, sizeof ok - 1);
    expect(&c, WEIR_RPC_OK);
    free(text);
    weir_rpc_channel_free(channel);
    fake_close(&f);
    weir_loop_free(r.loop);
}

static void get_is_answered_by_the_server(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int i = 0; i < 4; i++) {
        weir_rpc_channel *channel = channel_of(
            &r, (weir_rpc_channel_config){ .protocol = WEIR_RPC_CONNECT,
                                           .http = i & 1 ? WEIR_RPC_HTTP1 : WEIR_RPC_HTTP2,
                                           .gzip = i & 2,
                                           .gzip_bytes_min = 8,
                                           .connect_get = true });
        ask(&c, &r, channel, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_string_equal(c.text, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        weir_rpc_channel_free(channel);
    }
    rig_stop(&r);
}

/* ---- Connections ---- */

static void nobody_there_fails_at_once_and_is_asked_again_later(void **state)
{
    rig r = { 0 };
    caller c;
    char target[64];
    (void)state;
    loop_only(&r);
    snprintf(target, sizeof target, "http://127.0.0.1:%u", port_of_nobody());
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ .target = target });
    ask(&c, &r, channel, "x", 0, NULL);
    expect(&c, WEIR_RPC_UNAVAILABLE);
    assert_non_null(strstr(c.error, target + 7));
    assert_int_equal(stats_of(channel).connects, 1);
    assert_int_equal(stats_of(channel).connects_failed, 1);
    uint64_t wait_ms = 1000;
    for (uint64_t i = 1; i < 9; i++) { /* twice as long each time, by a fifth more or less */
        pass_ms(&r, wait_ms > 2000 ? 1 : wait_ms * 7 / 10);
        ask(&c, &r, channel, "x", 0, NULL);
        expect(&c, WEIR_RPC_UNAVAILABLE);
        assert_int_equal(stats_of(channel).connects, i);
        r.clock_ns += wait_ms * WEIR_MS * 12 / 10;
        turns(&r, 3);
        ask(&c, &r, channel, "x", 0, NULL);
        expect(&c, WEIR_RPC_UNAVAILABLE);
        assert_int_equal(stats_of(channel).connects, i + 1);
        wait_ms = wait_ms < 60000 ? 2 * wait_ms : 120000;
    }
    weir_rpc_channel_free(channel);
    weir_loop_free(r.loop);
}

static void a_call_may_wait_for_the_server_to_come(void **state)
{
    rig r = { 0 };
    caller c;
    char target[64];
    uint16_t port = port_of_nobody();
    (void)state;
    loop_only(&r);
    snprintf(target, sizeof target, "http://127.0.0.1:%u", port);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ .target = target });
    weir_rpc_options wait = { .wait_for_ready = true, .timeout_ms = 30000 };
    ask(&c, &r, channel, "x", 0, &wait);
    pass_ms(&r, 2000);
    assert_int_equal(c.overs, 0);
    assert_true(stats_of(channel).connects_failed >= 1);

    fake f;
    assert_int_equal(fake_listen(&f, port), port);
    for (int i = 0; i < 100 && !fake_accepts(&f); i++)
        pass_ms(&r, 50);
    assert_int_equal(f.accepted, 1);
    TURN_UNTIL(&r, fake_saw(&f, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
    fake_close(&f); /* without an answer: one that may be asked again goes on waiting */
    pass_ms(&r, 31000);
    expect(&c, WEIR_RPC_DEADLINE_EXCEEDED);
    weir_rpc_channel_free(channel);
    weir_loop_free(r.loop);
}

static void names_are_looked_up(void **state)
{
    rig r = { 0 };
    caller c;
    char target[64];
    (void)state;
    serve_all(&r);
    rig_start(&r);
    snprintf(target, sizeof target, "http://localhost:%u", r.port);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ .target = target });
    ask(&c, &r, channel, "x", 0, NULL);
    expect(&c, WEIR_RPC_OK);
    stop(&r, channel);
}

static void a_connection_at_rest_is_closed_and_made_anew(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    for (int http = 0; http < 2; http++) {
        memset(&r, 0, sizeof r);
        serve_all(&r);
        rig_start(&r);
        weir_rpc_channel *channel =
            channel_of(&r, (weir_rpc_channel_config){ .protocol = WEIR_RPC_CONNECT,
                                                      .http = (weir_rpc_http)http,
                                                      .idle_timeout_ms = 200 });
        ask(&c, &r, channel, "x", 0, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(stats_of(channel).connected, 1);
        pass_ms(&r, 400);
        assert_int_equal(stats_of(channel).connected, 0);
        ask(&c, &r, channel, "x", 0, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(stats_of(channel).connects, 2);
        stop(&r, channel);
    }
}

static void calls_beyond_what_the_peer_allows_wait_in_order(void **state)
{
    rig r = { .config.streams_max = 2 };
    caller first, c[10];
    (void)state;
    for (int http = 0; http < 2; http++) {
        served.kept_count = 0;
        memset(&r, 0, sizeof r);
        r.config.streams_max = 2;
        serve_all(&r);
        rig_start(&r);
        weir_rpc_channel *channel =
            channel_of(&r, (weir_rpc_channel_config){ .protocol = WEIR_RPC_CONNECT,
                                                      .http = (weir_rpc_http)http,
                                                      .connections_max = 2,
                                                      .calls_max = 10 });
        ask(&first, &r, channel, "x", 0, NULL);
        expect(&first, WEIR_RPC_OK);
        served.keeps = true;
        for (int i = 0; i < 10; i++)
            ask(&c[i], &r, channel, "x", 0, NULL);
        assert_int_equal(try_ask(&first, &r, channel, "x", 0, NULL), WEIR_ELIMIT);
        pass_ms(&r, 500);
        assert_int_equal(served.begins, 3);
        for (int i = 0; i < 10; i++) {
            TURN_UNTIL(&r, served.kept_count > 0);
            assert_int_equal(c[i].overs, 0);
            answer_one();
            TURN_UNTIL(&r, (pass_ms(&r, 1), c[i].overs == 1));
            assert_int_equal(c[i].code, WEIR_RPC_OK);
        }
        assert_int_equal(stats_of(channel).connects, http == 0 ? 1 : 2);
        stop(&r, channel);
    }
}

static void refused_streams_are_tried_again_unseen(void **state)
{
    rig r = { .config.streams_max = 2 };
    caller c[6];
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    for (int i = 0; i < 6; i++) /* more than the server allows, which is not known yet */
        ask(&c[i], &r, channel, "x", 0, NULL);
    for (int i = 0; i < 6; i++) {
        TURN_UNTIL(&r, (pass_ms(&r, 1), c[i].overs == 1));
        assert_int_equal(c[i].code, WEIR_RPC_OK);
    }
    assert_int_equal(served.begins, 6);
    stop(&r, channel);
}

/* Two servers, each with a loop of its own. */
static void both(rig *a, rig *b, int n)
{
    for (; n > 0; n--) {
        a->clock_ns += WEIR_MS;
        b->clock_ns = a->clock_ns;
        turn(a);
        turn(b);
        turn(a);
    }
}

static void round_robin_goes_on_with_those_that_are_left(void **state)
{
    rig a = { 0 }, b = { 0 };
    caller c;
    char target[128];
    int begins_of_b = 0;
    (void)state;
    serve_all(&a);
    serve_all(&b);
    rig_start(&a);
    rig_start(&b);
    snprintf(target, sizeof target, "http://127.0.0.1:%u, http://127.0.0.1:%u", a.port, b.port);
    weir_rpc_channel *channel = channel_of(
        &a, (weir_rpc_channel_config){ .target = target, .balance = WEIR_RPC_ROUND_ROBIN });
    ask(&c, &a, channel, "x", 0, NULL);
    for (int i = 0; i < 2000 && (c.overs == 0 || stats_of(channel).connected < 2); i++)
        both(&a, &b, 1);
    assert_int_equal(stats_of(channel).connected, 2);
    assert_int_equal(stats_of(channel).addresses, 2);
    for (int i = 0; i < 10; i++) {
        ask(&c, &a, channel, "x", 0, NULL);
        for (int j = 0; j < 2000 && c.overs == 0; j++) {
            turns(&a, 2);
            if (c.overs == 0)
                turn(&b);
            if (j == 0)
                begins_of_b += c.overs == 0;
        }
        assert_int_equal(c.code, WEIR_RPC_OK);
    }
    assert_true(begins_of_b >= 4);

    weir_pipeline_shutdown(b.pipeline, WEIR_DRAIN, 0);
    for (int i = 0; i < 5000 && !b.finished; i++)
        both(&a, &b, 1);
    assert_true(b.finished);
    for (int i = 0; i < 10; i++) {
        ask(&c, &a, channel, "x", 0, NULL);
        expect(&c, WEIR_RPC_OK);
    }
    assert_int_equal(stats_of(channel).connected, 1);
    weir_rpc_channel_free(channel);
    weir_pipeline_free(b.pipeline);
    weir_loop_free(b.loop);
    weir_pipeline_shutdown(a.pipeline, WEIR_DRAIN, 0);
    TURN_UNTIL(&a, (pass_ms(&a, 1), a.finished));
    weir_pipeline_free(a.pipeline);
    weir_loop_free(a.loop);
}

static void pick_first_takes_the_next_address_if_one_does_not_answer(void **state)
{
    rig r = { 0 };
    caller c;
    char target[128];
    (void)state;
    serve_all(&r);
    rig_start(&r);
    snprintf(target, sizeof target, "http://127.0.0.1:%u,http://127.0.0.1:%u", port_of_nobody(),
             r.port);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ .target = target });
    ask(&c, &r, channel, "x", 0, NULL);
    expect(&c, WEIR_RPC_OK);
    assert_int_equal(stats_of(channel).connects, 2);
    stop(&r, channel);
}

static void a_server_that_drains_finishes_what_it_has(void **state)
{
    rig r = { 0 };
    caller c, d;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    served.keeps = true;
    ask(&c, &r, channel, "x", 0, NULL);
    TURN_UNTIL(&r, served.kept_count == 1);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    pass_ms(&r, 3000);
    assert_int_equal(c.overs, 0);
    ask(&d, &r, channel, "x", 0, NULL); /* nobody listens any more */
    expect(&d, WEIR_RPC_UNAVAILABLE);
    answer_one();
    expect(&c, WEIR_RPC_OK);
    assert_string_equal(c.text, "late");
    stop(&r, channel);
}

static void a_server_that_dies_ends_calls_as_unavailable(void **state)
{
    rig r = { 0 };
    caller c, d = { .to_ask = WEIR_UNBOUNDED, .to_send = 1, .payload = 10 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    served.keeps = true;
    ask(&c, &r, channel, "x", 0, NULL);
    start(&d, &r, channel, ECHO, NULL);
    TURN_UNTIL(&r, served.kept_count == 2);
    weir_pipeline_shutdown(r.pipeline, WEIR_ABORT, 0);
    TURN_UNTIL(&r, (pass_ms(&r, 1), c.overs + d.overs == 2));
    assert_int_not_equal(c.code, WEIR_RPC_OK);
    assert_int_not_equal(d.code, WEIR_RPC_OK);
    stop(&r, channel);
}

/* ---- Deadlines and cancels ---- */

static void a_deadline_ends_the_call_on_both_sides(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    served.keeps = true;
    for (int http = 0; http < 2; http++) {
        weir_rpc_channel *channel = channel_of(
            &r,
            (weir_rpc_channel_config){ .protocol = WEIR_RPC_CONNECT, .http = (weir_rpc_http)http });
        ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .timeout_ms = 50 });
        TURN_UNTIL(&r, served.kept_count == 1);
        pass_ms(&r, 40);
        assert_int_equal(c.overs, 0);
        pass_ms(&r, 20);
        expect(&c, WEIR_RPC_DEADLINE_EXCEEDED);
        TURN_UNTIL(&r, served.kept_count == 0);
        served.keeps = false; /* by HTTP/1 its connection went with it, which is nobody's failure */
        ask(&c, &r, channel, "again", 0, NULL);
        expect(&c, WEIR_RPC_OK);
        served.keeps = true;
        weir_rpc_channel_free(channel);
    }
    rig_stop(&r);
}

/* What came was an answer, if not one that is taken: no failure to connect. */
static void a_head_that_is_too_large_costs_the_next_call_nothing(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int http = 0; http < 2; http++) {
        weir_rpc_channel *channel =
            channel_of(&r, (weir_rpc_channel_config){ .protocol = WEIR_RPC_GRPC_WEB,
                                                      .http = (weir_rpc_http)http,
                                                      .metadata_bytes_max = 100 });
        for (int i = 0; i < 3; i++) {
            ask(&c, &r, channel, "x", 0, NULL);
            expect(&c, WEIR_RPC_RESOURCE_EXHAUSTED);
        }
        weir_rpc_channel_free(channel);
    }
    rig_stop(&r);
}

static void answer_with_many_fields(weir_rpc_call *call, const ProtobufCMessage *message,
                                    void *user)
{
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    (void)message;
    (void)user;
    for (int i = 0; i < 110; i++)
        assert_int_equal(weir_rpc_add_metadata(call, "x-one-of-many", "1", 1), WEIR_OK);
    works(weir_rpc_reply(call, &response.base));
}

static void a_head_of_too_many_fields_is_too_large(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS].message = answer_with_many_fields;
    rig_start(&r);
    for (int http = 0; http < 2; http++) {
        weir_rpc_channel *channel =
            channel_of(&r, (weir_rpc_channel_config){ .protocol = WEIR_RPC_GRPC_WEB,
                                                      .http = (weir_rpc_http)http });
        ask(&c, &r, channel, "x", 0, NULL);
        expect(&c, WEIR_RPC_RESOURCE_EXHAUSTED);
        weir_rpc_channel_free(channel);
    }
    rig_stop(&r);
}

static void a_cancel_reaches_the_server(void **state)
{
    rig r = { 0 };
    caller c;
    weir_context context;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    served.keeps = true;
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    ask(&c, &r, channel, "x", 0, NULL);
    TURN_UNTIL(&r, served.kept_count == 1);
    c.inside = true;
    weir_rpc_cancel(c.call);
    weir_rpc_cancel(c.call);
    c.inside = false;
    expect(&c, WEIR_RPC_CANCELLED);
    TURN_UNTIL(&r, served.kept_count == 0);
    assert_int_equal(served.code, WEIR_RPC_CANCELLED);

    weir_context_init(&context, r.loop, NULL, 0);
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .context = &context });
    TURN_UNTIL(&r, served.kept_count == 1);
    weir_context_cancel(&context, WEIR_ECANCELED);
    expect(&c, WEIR_RPC_CANCELLED);
    TURN_UNTIL(&r, served.kept_count == 0);
    assert_true(weir_context_is_bare(&context));
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .context = &context });
    expect(&c, WEIR_RPC_CANCELLED);
    weir_context_done(&context);

    weir_context_init(&context, r.loop, NULL, r.clock_ns + 20 * WEIR_MS);
    context.trace.trace_id[15] = 0xab;
    context.trace.span_id[7] = 0xcd;
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .context = &context, .timeout_ms = 5000 });
    TURN_UNTIL(&r, served.kept_count == 1);
    assert_string_equal(served.traceparent,
                        "00-000000000000000000000000000000ab-00000000000000cd-00");
    pass_ms(&r, 21);
    expect(&c, WEIR_RPC_DEADLINE_EXCEEDED);
    weir_context_done(&context);
    stop(&r, channel);
}

static void a_context_of_another_loop_is_heeded(void **state)
{
    rig r = { 0 };
    caller c;
    weir_context context;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    served.keeps = true;
    weir_loop *other = weir_loop_new(&(weir_loop_config){ .env = &r.env });
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    weir_context_init(&context, other, NULL, 0);
    context.trace.trace_id[0] = 1;
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .context = &context });
    TURN_UNTIL(&r, served.kept_count == 1);
    assert_memory_equal(served.traceparent, "00-0100", 7);
    weir_context_cancel(&context, WEIR_ECANCELED);
    expect(&c, WEIR_RPC_CANCELLED);
    TURN_UNTIL(&r, served.kept_count == 0);
    weir_context_done(&context);

    weir_context_init(&context, other, NULL, r.clock_ns + 20 * WEIR_MS);
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .context = &context });
    pass_ms(&r, 10);
    weir_context_cancel(&context, WEIR_ECANCELED); /* and the call ends before it hears of it */
    weir_rpc_cancel(c.call);
    expect(&c, WEIR_RPC_CANCELLED);
    assert_true(weir_context_is_bare(&context));
    weir_context_done(&context);
    turns(&r, 5);
    weir_loop_free(other);
    stop(&r, channel);
}

/* ---- Retries ---- */

static weir_rpc_channel_config retrying(uint32_t attempts)
{
    return (weir_rpc_channel_config){ .retry = { .attempts_max = attempts } };
}

static void a_call_is_tried_again_as_its_policy_says(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, retrying(4));
    served.unavailable = 2;
    ask(&c, &r, channel, "x", 0, NULL);
    pass_ms(&r, 400);
    expect(&c, WEIR_RPC_OK);
    assert_string_equal(c.text, "x");
    assert_int_equal(c.begins, 1);
    assert_int_equal(served.begins, 3);
    assert_string_equal(served.previous, "2");
    assert_int_equal(stats_of(channel).retried, 2);

    served.begins = 0; /* not beyond attempts_max */
    served.unavailable = 100;
    ask(&c, &r, channel, "x", 0, NULL);
    pass_ms(&r, 1000);
    expect(&c, WEIR_RPC_UNAVAILABLE);
    assert_string_equal(c.error, "not now");
    assert_int_equal(served.begins, 4);

    served.begins = 0; /* nor where the caller says so */
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .no_retry = true });
    expect(&c, WEIR_RPC_UNAVAILABLE);
    assert_int_equal(served.begins, 1);

    served.begins = 0; /* nor for other codes */
    served.unavailable = 0;
    ask(&c, &r, channel, "x", WEIR_RPC_INTERNAL, NULL);
    expect(&c, WEIR_RPC_INTERNAL);
    assert_int_equal(served.begins, 1);
    stop(&r, channel);
}

static void the_server_says_when_to_try_again(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, retrying(3));
    strcpy(served.pushback, "700");
    served.unavailable = 1;
    ask(&c, &r, channel, "x", 0, NULL);
    pass_ms(&r, 650);
    assert_int_equal(served.begins, 1);
    pass_ms(&r, 100);
    expect(&c, WEIR_RPC_OK);
    assert_int_equal(served.begins, 2);

    served.begins = 0;
    strcpy(served.pushback, "-1");
    served.unavailable = 1;
    ask(&c, &r, channel, "x", 0, NULL);
    expect(&c, WEIR_RPC_UNAVAILABLE);
    assert_int_equal(served.begins, 1);
    stop(&r, channel);
}

static void retries_have_a_budget(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, retrying(5));
    served.unavailable = 1 << 20;
    strcpy(served.pushback, "0");
    for (int i = 0; i < 100; i++) {
        ask(&c, &r, channel, "x", 0, NULL);
        TURN_UNTIL(&r, c.overs == 1);
        assert_int_equal(c.code, WEIR_RPC_UNAVAILABLE);
    }
    uint64_t retried = stats_of(channel).retried;
    assert_in_range(retried, 100, 125); /* 100 at once, and one for five calls */
    pass_ms(&r, 1000);
    for (int i = 0; i < 5; i++) {
        ask(&c, &r, channel, "x", 0, NULL);
        TURN_UNTIL(&r, c.overs == 1);
    }
    assert_in_range(stats_of(channel).retried - retried, 10, 12);
    stop(&r, channel);
}

static void a_stream_is_tried_again_while_its_messages_are_kept(void **state)
{
    rig r = { 0 };
    (void)state;
    for (int large = 0; large < 2; large++) {
        memset(&r, 0, sizeof r);
        serve_all(&r);
        r.handlers[COLLECT] = (weir_rpc_handler){ 0 }; /* UNIMPLEMENTED, before any message */
        rig_start(&r);
        weir_rpc_channel_config config = retrying(3);
        config.retry.codes = 1U << WEIR_RPC_UNIMPLEMENTED;
        config.retry.buffer_bytes_max = 10000;
        weir_rpc_channel *channel = channel_of(&r, config);
        caller c = { .to_send = 9, .payload = large ? 10000 : 1000 };
        start(&c, &r, channel, COLLECT, NULL);
        pass_ms(&r, 600);
        expect(&c, WEIR_RPC_UNIMPLEMENTED);
        assert_int_equal(stats_of(channel).retried, large ? 0 : 2);
        stop(&r, channel);
    }
}

/* ---- Demand ---- */

static void what_is_not_asked_for_stays_with_the_server(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int http = 0; http < 2; http++) {
        weir_rpc_channel *channel = channel_of(
            &r,
            (weir_rpc_channel_config){ .protocol = WEIR_RPC_CONNECT, .http = (weir_rpc_http)http });
        caller c = { 0 };
        produced = 0;
        stream_of(&c, &r, channel, 100000, 1000);
        turns(&r, 1000);
        assert_int_equal(c.begins, 1);
        assert_int_equal(c.messages, 0);
        if (http == 0)
            assert_in_range(produced, 100, 200); /* the window, and the server's queue */
        assert_true(produced < 10000);
        weir_rpc_request(c.call, 7);
        turns(&r, 100);
        assert_int_equal(c.messages, 7);
        weir_rpc_request(c.call, WEIR_UNBOUNDED);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.messages, 100000);
        weir_rpc_channel_free(channel);
    }
    rig_stop(&r);
}

static void what_the_server_does_not_take_leaves_no_room(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    served.keeps = true;
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    caller c = { .to_send = 10000, .payload = 1000, .to_ask = 1 };
    start(&c, &r, channel, ECHO, NULL);
    assert_int_equal(c.sent, 0);
    turns(&r, 500);
    assert_in_range(c.sent, 65, 300);
    assert_int_equal(weir_rpc_room(c.call), 0);
    uint64_t before = c.sent;
    turns(&r, 500);
    assert_int_equal(c.sent, before);
    weir_rpc_request(served.kept[0], 1);
    expect(&c, WEIR_RPC_OK);
    assert_int_equal(c.messages, 10000);
    stop(&r, channel);
}

static void messages_wait_for_the_connection_within_bounds(void **state)
{
    rig r = { 0 };
    char target[64];
    (void)state;
    loop_only(&r);
    snprintf(target, sizeof target, "http://127.0.0.1:%u", port_of_nobody());
    weir_rpc_channel *channel =
        channel_of(&r, (weir_rpc_channel_config){ .target = target, .send_bytes_max = 10000 });
    caller c = { .to_send = 100, .payload = 1000 };
    start(&c, &r, channel, COLLECT,
          &(weir_rpc_options){ .wait_for_ready = true, .timeout_ms = 100 });
    turns(&r, 20);
    assert_int_equal(c.sent, 10);
    assert_int_equal(weir_rpc_room(c.call), 0);
    pass_ms(&r, 101);
    expect(&c, WEIR_RPC_DEADLINE_EXCEEDED);
    weir_rpc_channel_free(channel);
    weir_loop_free(r.loop);
}

static void send_while_room(weir_rpc_call *call, void *user)
{
    static uint8_t payload[40000];
    caller *c = user;
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    data.payload = (ProtobufCBinaryData){ sizeof payload, payload };
    for (; c->sent < c->to_send && weir_rpc_room(call) > 0; c->sent++)
        assert_int_equal(weir_rpc_send(call, &data.base), WEIR_OK);
    if (c->sent == c->to_send)
        assert_int_equal(weir_rpc_send_end(call), WEIR_OK);
}

static void who_saw_no_room_before_there_is_a_connection_is_told_of_it(void **state)
{
    static const weir_rpc_handler asks_for_room = {
        .begin = on_begin, .message = on_message, .room = send_while_room, .over = on_over
    };
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    caller c = { .r = &r, .to_send = 10 };
    assert_int_equal(
        weir_rpc_start(channel, &streams_methods[COLLECT], NULL, &asks_for_room, &c, &c.call),
        WEIR_OK);
    expect(&c, WEIR_RPC_OK);
    assert_int_equal(c.collected, 10);
    stop(&r, channel);
}

/* ---- Calls as stages ---- */

static bool piped;

static void pipe_over(weir_pipeline *pipeline, weir_status status, void *user)
{
    (void)pipeline;
    (void)user;
    assert_int_equal(status, WEIR_OK);
    piped = true;
}

static const ProtobufCMessage *same(const weir_item *item, void *user)
{
    (void)user;
    return weir_rpc_message_of(item)->message;
}

static void what_one_call_brings_goes_into_another(void **state)
{
    rig r = { 0 };
    caller from = { 0 }, to = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    piped = false;
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    stream_of(&from, &r, channel, 2000, 1000);
    weir_rpc_handler only_over = { .begin = on_begin, .message = on_message, .over = on_over };
    to.r = &r;
    assert_int_equal(
        weir_rpc_start(channel, &streams_methods[COLLECT], NULL, &only_over, &to, &to.call),
        WEIR_OK);
    weir_pipeline *pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &r.env });
    weir_from(pipeline, weir_rpc_messages(from.call));
    weir_into(pipeline, weir_rpc_replies(to.call, same, NULL));
    assert_int_equal(weir_pipeline_start(pipeline, &r.loop, 1, pipe_over, NULL), WEIR_OK);
    TURN_UNTIL(&r, piped);
    expect(&from, WEIR_RPC_OK);
    expect(&to, WEIR_RPC_OK);
    assert_int_equal(to.collected, 2000);
    assert_int_equal(from.messages, 0);
    weir_rpc_channel_stats stats = stats_of(channel);
    assert_int_equal(stats.messages_in, 2000 + 1);
    assert_int_equal(stats.messages_out, 1 + 2000);
    assert_in_range(stats.bytes_in, 2000 * 1000, 2001 * 1020);
    assert_in_range(stats.bytes_out, 2000 * 1000, 2001 * 1020);
    assert_in_range(stats.last_started_ns, 1, r.clock_ns);
    weir_pipeline_free(pipeline);
    stop(&r, channel);
}

static void a_server_that_takes_nothing_holds_one_message_of_the_sink(void **state)
{
    enum { MESSAGES = 100, BYTES = 60000 };
    static const weir_rpc_handler reads = { .begin = on_begin,
                                            .message = on_message,
                                            .over = on_over };
    rig r = { .config.no_gzip = true };
    caller from = { 0 }, to = { .r = &r, .to_ask = 1 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    piped = false;
    served.keeps = true;
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    stream_of(&from, &r, channel, MESSAGES, BYTES);
    assert_int_equal(weir_rpc_start(channel, &streams_methods[ECHO], NULL, &reads, &to, &to.call),
                     WEIR_OK);
    weir_pipeline *pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &r.env });
    weir_from(pipeline, weir_rpc_messages(from.call));
    weir_into(pipeline, weir_rpc_replies(to.call, same, NULL));
    assert_int_equal(weir_pipeline_start(pipeline, &r.loop, 1, pipe_over, NULL), WEIR_OK);
    TURN_UNTIL(&r, served.kept_count == 1);
    turns(&r, 500);
    assert_in_range(stats_of(channel).messages_in, 3, 4); /* windows, to be sent, one that waits */
    assert_in_range(produced, 4, 12);
    weir_rpc_request(served.kept[0], 1);
    TURN_UNTIL(&r, piped);
    expect(&from, WEIR_RPC_OK);
    expect(&to, WEIR_RPC_OK);
    assert_int_equal(to.messages, MESSAGES);
    weir_pipeline_free(pipeline);
    stop(&r, channel);
}

/* ---- The end of a channel ---- */

static void free_channel_at_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)code;
    weir_rpc_channel_free(*(weir_rpc_channel **)user);
    *(weir_rpc_channel **)user = NULL;
}

static void a_channel_is_freed_with_calls_running(void **state)
{
    rig r = { 0 };
    caller c[4], refused;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    served.keeps = true;
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    for (int i = 0; i < 3; i++)
        ask(&c[i], &r, channel, "x", 0, NULL);
    TURN_UNTIL(&r, served.kept_count == 3);
    ask(&c[3], &r, channel, "x", 0, NULL);
    for (int i = 0; i < 4; i++)
        c[i].inside = true;
    weir_rpc_hold(c[0].call);
    weir_rpc_call *held = c[0].call;
    weir_rpc_channel_free(channel);
    assert_int_equal(try_ask(&refused, &r, channel, "x", 0, NULL), WEIR_ECLOSED);
    for (int i = 0; i < 4; i++) {
        c[i].inside = false;
    }
    for (int i = 0; i < 4; i++)
        expect(&c[i], WEIR_RPC_CANCELLED);
    turns(&r, 10);
    weir_rpc_release(held);
    TURN_UNTIL(&r, served.kept_count == 0);

    served.keeps = false; /* and from within a callback */
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    weir_rpc_handler handler = { .over = free_channel_at_over };
    weir_rpc_call *call;
    channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    assert_int_equal(weir_rpc_ask(channel, &streams_methods[PROCESS], NULL, &request.base, &handler,
                                  &channel, &call),
                     WEIR_OK);
    TURN_UNTIL(&r, channel == NULL);
    turns(&r, 5);
    rig_stop(&r);
}

/* ---- Interceptors ---- */

static char journal[256];
static weir_rpc_call *asked_call;

static void note(const char *text)
{
    strcat(journal, text);
    strcat(journal, " ");
}

static weir_status first_begin(weir_rpc_call *call, void *user)
{
    (void)user;
    note("first");
    return weir_rpc_add_metadata(call, "grpc-previous-rpc-attempts", "7", 1);
}

static void first_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)user;
    note(code == WEIR_RPC_OK ? "first-over" : "first-failed");
}

static weir_status second_begin(weir_rpc_call *call, void *user)
{
    note("second");
    asked_call = call;
    return *(const weir_status *)user;
}

static void second_received(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)call;
    (void)message;
    (void)user;
    note("received");
}

static void second_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)code;
    (void)user;
    note("second-over");
}

static void sent(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    const Streams__V1__ProcessRequest *request = (const Streams__V1__ProcessRequest *)message;
    (void)call;
    note(user);
    note(request->text);
}

/* Whatever it comes before: it is sent when all have let the call in. */
static void interceptors_are_shown_the_one_request(void **state)
{
    static char huge[5 << 20]; /* larger than what may come */
    weir_status says = WEIR_EAGAIN;
    weir_rpc_interceptor first = { "first", first_begin, NULL, sent, NULL, "1st" };
    weir_rpc_interceptor second = { "second", second_begin, NULL, NULL, NULL, &says };
    weir_rpc_interceptor third = { "third", NULL, NULL, sent, NULL, "3rd" };
    const weir_rpc_interceptor *all[] = { &first, &second, &third };
    rig r = { .config.message_bytes_max = 8 << 20 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int json = 0; json < 2; json++) {
        weir_rpc_channel *channel = channel_of(
            &r, (weir_rpc_channel_config){ .interceptors = all,
                                           .interceptor_count = 3,
                                           .codec = json ? WEIR_RPC_JSON : WEIR_RPC_PROTO });
        journal[0] = '\0';
        says = WEIR_EAGAIN;
        ask(&c, &r, channel, "hello", 0, NULL);
        turns(&r, 20);
        assert_string_equal(journal, "first second ");
        weir_rpc_resume(asked_call);
        expect(&c, WEIR_RPC_OK);
        assert_string_equal(journal, "first second 1st hello 3rd hello ");
        journal[0] = '\0';
        says = WEIR_EDENIED;
        ask(&c, &r, channel, "hello", 0, NULL);
        expect(&c, WEIR_RPC_PERMISSION_DENIED);
        assert_string_equal(journal, "first second ");
        weir_rpc_channel_free(channel);
    }
    third.sent = first.sent = second_received; /* which looks at nothing */
    says = WEIR_OK;
    journal[0] = '\0';
    weir_rpc_channel *channel = channel_of(
        &r, (weir_rpc_channel_config){
                .interceptors = all, .interceptor_count = 3, .message_bytes_max = 8 << 20 });
    memset(huge, 'x', sizeof huge - 1);
    ask(&c, &r, channel, huge, 0, NULL);
    expect(&c, WEIR_RPC_OK);
    assert_string_equal(journal, "first second received received ");
    stop(&r, channel);
}

/* Whether a request says that it is compressed. */
static bool is_packed(bool channel_does, weir_rpc_options options)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    char text[4096], target[64];
    size_t n = 0;
    rig r = { 0 };
    caller c;
    rig_start(&r);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&at, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    snprintf(target, sizeof target, "http://127.0.0.1:%u", ntohs(at.sin_port));
    weir_rpc_channel *channel = channel_of(&r,
                                           (weir_rpc_channel_config){ .target = target,
                                                                      .protocol = WEIR_RPC_CONNECT,
                                                                      .http = WEIR_RPC_HTTP1,
                                                                      .gzip = channel_does });
    ask(&c, &r, channel, "x", 0, &options);
    turns(&r, 20);
    int fd = accept(listener, NULL, NULL);
    text[0] = '\0';
    while (strstr(text, "\r\n\r\n") == NULL) {
        turns(&r, 1);
        ssize_t got = recv(fd, text + n, sizeof text - 1 - n, MSG_DONTWAIT);
        n += got > 0 ? (size_t)got : 0;
        text[n] = '\0';
    }
    weir_rpc_channel_free(channel);
    expect(&c, WEIR_RPC_CANCELLED);
    close(fd);
    close(listener);
    rig_stop(&r);
    return strcasestr(text, "\r\ncontent-encoding: gzip\r\n") != NULL;
}

static void a_call_says_whether_it_is_compressed(void **state)
{
    (void)state;
    weir_rpc_gzip *gzip = weir_rpc_gzip_new(NULL);
    if (gzip == NULL)
        skip(); /* a build without zlib */
    weir_rpc_gzip_free(gzip);
    assert_false(is_packed(false, (weir_rpc_options){ 0 }));
    assert_true(is_packed(false, (weir_rpc_options){ .gzip = true }));
    assert_true(is_packed(true, (weir_rpc_options){ 0 }));
    assert_false(is_packed(true, (weir_rpc_options){ .no_gzip = true }));
}

static void what_is_null_is_refused(void **state)
{
    rig r = { 0 };
    weir_rpc_channel *channel = NULL;
    weir_rpc_call *call = NULL;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    assert_int_equal(weir_rpc_channel_new(r.loop, NULL, &channel, NULL), WEIR_EINVAL);
    channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    assert_int_equal(weir_rpc_start(channel, NULL, NULL, NULL, NULL, &call), WEIR_EINVAL);
    assert_int_equal(weir_rpc_ask(channel, NULL, NULL, NULL, NULL, NULL, &call), WEIR_EINVAL);
    assert_int_equal(
        weir_rpc_ask(channel, &streams_methods[PROCESS], NULL, NULL, NULL, NULL, &call),
        WEIR_EINVAL);
    weir_rpc_channel_free(NULL);
    stop(&r, channel);
}

static void interceptors_may_add_wait_and_refuse(void **state)
{
    weir_status says = WEIR_OK;
    weir_rpc_interceptor first = { "first", first_begin, NULL, NULL, first_over, NULL };
    weir_rpc_interceptor second = { "second", second_begin, second_received,
                                    NULL,     second_over,  &says };
    const weir_rpc_interceptor *all[] = { &first, &second };
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel =
        channel_of(&r, (weir_rpc_channel_config){ .interceptors = all, .interceptor_count = 2 });
    journal[0] = '\0';
    ask(&c, &r, channel, "x", 0, NULL);
    assert_string_equal(journal, "");
    expect(&c, WEIR_RPC_OK);
    assert_string_equal(journal, "first second received second-over first-over ");
    assert_string_equal(served.previous, "7");

    journal[0] = '\0';
    says = WEIR_EAGAIN;
    served.begins = 0;
    ask(&c, &r, channel, "later", 0, NULL);
    turns(&r, 30);
    assert_string_equal(journal, "first second ");
    assert_int_equal(served.begins, 0);
    weir_rpc_resume(asked_call);
    expect(&c, WEIR_RPC_OK);
    assert_string_equal(c.text, "later");

    journal[0] = '\0';
    says = WEIR_EDENIED;
    ask(&c, &r, channel, "x", 0, NULL);
    expect(&c, WEIR_RPC_PERMISSION_DENIED);
    assert_string_equal(journal, "first second second-over first-failed ");
    assert_int_equal(served.begins, 1);
    stop(&r, channel);
}

/* ---- What is refused ---- */

static void wrong_configurations_are_refused(void **state)
{
    static const weir_rpc_channel_config wrongs[] = {
        { .target = NULL },
        { .target = "" },
        { .target = "localhost:80" },
        { .target = "http://localhost:80/prefix" },
        { .target = "http://localhost:99999" },
        { .target = "http://a,https://b" },
        { .target = "http://a,," },
        { .target = "http://a", .http = WEIR_RPC_HTTP1 },
        { .target = "http://a", .connect_get = true },
        { .target = "https://a", .tls_cert_file = "x" },
        { .target = "https://a", .tls_ca_file = "/nowhere" },
        { .target = "http://a", .tls_ca_file = "/nowhere" },
        { .target = "http://a", .retry.attempts_max = 6 },
        { .target = "http://a", .interceptor_count = 1 },
        { .target = "http://a", .stream_window_bytes = UINT32_MAX },
    };
    rig r = { 0 };
    (void)state;
    loop_only(&r);
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        weir_rpc_channel *channel = NULL;
        const char *why = NULL;
        weir_status status = weir_rpc_channel_new(r.loop, &wrongs[i], &channel, &why);
        if (i == 6) { /* empty ones between commas are nothing */
            assert_int_equal(status, WEIR_OK);
            weir_rpc_channel_free(channel);
            continue;
        }
        if (status != WEIR_EINVAL)
            fail_msg("%zu: %s", i, weir_status_name(status));
        assert_non_null(why);
    }
    weir_loop_free(r.loop);
}

static void wrong_metadata_are_refused_at_the_start(void **state)
{
    static const weir_http1_field wrongs[] = {
        { { "grpc-status", 11 }, { "0", 1 } },
        { { "a b", 3 }, { "0", 1 } },
        { { "x", 1 }, { "\n", 1 } },
    };
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(
            try_ask(&c, &r, channel, "x", 0,
                    &(weir_rpc_options){ .metadata = &wrongs[i], .metadata_count = 1 }),
            WEIR_EINVAL);
    weir_http1_field ours = { { "traceparent", 11 }, { "mine", 4 } };
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .metadata = &ours, .metadata_count = 1 });
    expect(&c, WEIR_RPC_OK);
    assert_string_equal(served.traceparent, "mine");
    stop(&r, channel);
}

/* ---- Memory ---- */

static int until_failure = -1; /* allocations that succeed; negative: all */

static void *failing_resize(void *memory, size_t bytes, void *user)
{
    (void)user;
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    if (until_failure > 0)
        until_failure--;
    else if (until_failure == 0) {
        until_failure = -1;
        return NULL;
    }
    return realloc(memory, bytes);
}

/* The server, the client, nghttp2 and libevent share the allocator: whoever is hit, each call ends
 * once. */
static void every_allocation_may_fail(void **state)
{
    (void)state;
    memory_fails = true;
    for (int i = 0, hit = 1; hit; i++) {
        rig r = { .allocator = { failing_resize, NULL } };
        until_failure = -1;
        serve_all(&r);
        rig_start(&r);
        char target[64];
        snprintf(target, sizeof target, "http://127.0.0.1:%u", r.port);
        weir_rpc_channel_config config = { .target = target, .retry.attempts_max = 2 };
        weir_rpc_channel *channel = NULL;
        caller c = { 0 }, d = { .to_send = 20, .payload = 1000 };
        until_failure = i;
        if (weir_rpc_channel_new(r.loop, &config, &channel, NULL) == WEIR_OK) {
            if (try_ask(&c, &r, channel, "x", 0, NULL) == WEIR_OK)
                TURN_UNTIL(&r, (pass_ms(&r, 1), c.overs > 0));
            d.r = &r;
            if (weir_rpc_start(channel, &streams_methods[COLLECT], NULL, &calls, &d, &d.call) ==
                WEIR_OK)
                TURN_UNTIL(&r, (pass_ms(&r, 1), d.overs > 0));
            assert_true(c.overs <= 1 && d.overs <= 1);
        }
        hit = until_failure < 0;
        until_failure = -1;
        if (!hit) {
            assert_int_equal(c.code, WEIR_RPC_OK);
            assert_int_equal(d.code, WEIR_RPC_OK);
        }
        weir_rpc_channel_free(channel);
        turns(&r, 5);
        rig_stop(&r);
    }
    memory_fails = false;
}

static uint64_t allocated;

static void *counting_resize(void *memory, size_t bytes, void *user)
{
    (void)user;
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    allocated++;
    return realloc(memory, bytes);
}

static void calls_allocate_nothing_in_steady_state(void **state)
{
    rig r = { .allocator = { counting_resize, NULL } };
    caller c[8];
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    for (int round = 0; round < 20; round++) {
        if (round == 10)
            allocated = 0;
        for (int i = 0; i < 8; i++)
            ask(&c[i], &r, channel, "hello", 0, NULL);
        for (int i = 0; i < 8; i++)
            expect(&c[i], WEIR_RPC_OK);
    }
    assert_int_equal(allocated, 0);
    stop(&r, channel);
}

int main(int argc, char **argv)
{
    if (argc > 1) /* only those */
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unary_call_is_answered),
        cmocka_unit_test(every_way_answers_every_kind),
        cmocka_unit_test(responses_that_are_none_have_their_codes),
        cmocka_unit_test(a_reset_at_the_deadline_is_the_deadline),
        cmocka_unit_test(a_reset_behind_the_deadline_is_the_deadline_in_a_long_turn_too),
        cmocka_unit_test(a_server_that_is_silent_is_asked_by_ping_and_given_up),
        cmocka_unit_test(connect_asks_by_get_where_nothing_is_changed),
        cmocka_unit_test(get_is_answered_by_the_server),
        cmocka_unit_test(nobody_there_fails_at_once_and_is_asked_again_later),
        cmocka_unit_test(a_call_may_wait_for_the_server_to_come),
        cmocka_unit_test(names_are_looked_up),
        cmocka_unit_test(a_connection_at_rest_is_closed_and_made_anew),
        cmocka_unit_test(calls_beyond_what_the_peer_allows_wait_in_order),
        cmocka_unit_test(refused_streams_are_tried_again_unseen),
        cmocka_unit_test(round_robin_goes_on_with_those_that_are_left),
        cmocka_unit_test(pick_first_takes_the_next_address_if_one_does_not_answer),
        cmocka_unit_test(a_server_that_drains_finishes_what_it_has),
        cmocka_unit_test(a_server_that_dies_ends_calls_as_unavailable),
        cmocka_unit_test(a_deadline_ends_the_call_on_both_sides),
        cmocka_unit_test(a_head_that_is_too_large_costs_the_next_call_nothing),
        cmocka_unit_test(a_head_of_too_many_fields_is_too_large),
        cmocka_unit_test(a_cancel_reaches_the_server),
        cmocka_unit_test(a_context_of_another_loop_is_heeded),
        cmocka_unit_test(a_call_is_tried_again_as_its_policy_says),
        cmocka_unit_test(the_server_says_when_to_try_again),
        cmocka_unit_test(retries_have_a_budget),
        cmocka_unit_test(a_stream_is_tried_again_while_its_messages_are_kept),
        cmocka_unit_test(what_is_not_asked_for_stays_with_the_server),
        cmocka_unit_test(what_the_server_does_not_take_leaves_no_room),
        cmocka_unit_test(messages_wait_for_the_connection_within_bounds),
        cmocka_unit_test(who_saw_no_room_before_there_is_a_connection_is_told_of_it),
        cmocka_unit_test(what_one_call_brings_goes_into_another),
        cmocka_unit_test(a_server_that_takes_nothing_holds_one_message_of_the_sink),
        cmocka_unit_test(a_channel_is_freed_with_calls_running),
        cmocka_unit_test(interceptors_may_add_wait_and_refuse),
        cmocka_unit_test(interceptors_are_shown_the_one_request),
        cmocka_unit_test(a_call_says_whether_it_is_compressed),
        cmocka_unit_test(what_is_null_is_refused),
        cmocka_unit_test(wrong_configurations_are_refused),
        cmocka_unit_test(wrong_metadata_are_refused_at_the_start),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(calls_allocate_nothing_in_steady_state),
    };
    rig_hook_libevent(failing_resize);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
