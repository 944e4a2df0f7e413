/* The streams service (S11), as a process of its own, called by weir's own client: every kind of
 * call, deadlines and callers that go away (S8), slow readers, calls fanned out (S9), what hostile
 * callers send, and its end. */
#include "streams_rig.h"

static void calls_of_every_kind_are_answered(void **state)
{
    streams s;
    caller unary = { 0 }, data = { .asks = 16 }, collect = { .to_send = 300, .payload = 1000 },
           echo = { .asks = 1, .to_send = 50, .payload = 1000 };
    Streams__V1__ProcessRequest request = process_of("hello", 5, 0);
    (void)state;
    streams_start(&s, NULL);
    start_process(&unary, &s, &request, NULL);
    start_data(&data, &s, 1000, 0);
    start_collect(&collect, &s);
    start_echo(&echo, &s);
    expect(&unary, WEIR_RPC_OK);
    assert_string_equal(unary.text, "hello");
    expect(&data, WEIR_RPC_OK);
    assert_int_equal(data.messages, 1000);
    assert_int_equal(data.bytes, 92 * 1000);
    expect(&collect, WEIR_RPC_OK);
    assert_int_equal(collect.messages, 300);
    assert_int_equal(collect.bytes, 300 * 1000);
    expect(&echo, WEIR_RPC_OK);
    assert_int_equal(echo.messages, 50);
    assert_int_equal(echo.bytes, 50 * 1000);
    streams_stop(&s);
}

static void process_fails_as_it_is_asked_to(void **state)
{
    streams s;
    (void)state;
    streams_start(&s, NULL);
    for (int code = WEIR_RPC_CANCELLED; code <= WEIR_RPC_UNAUTHENTICATED; code++) {
        caller c = { 0 };
        Streams__V1__ProcessRequest request = process_of("as you like", 0, (weir_rpc_code)code);
        start_process(&c, &s, &request, NULL);
        expect(&c, (weir_rpc_code)code);
        assert_string_equal(c.error, "as you like");
    }
    static const int32_t none[] = { -1, 17, INT32_MAX, INT32_MIN };
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        caller c = { 0 };
        Streams__V1__ProcessRequest request = process_of("x", 0, 0);
        request.fail_with = none[i];
        start_process(&c, &s, &request, NULL);
        expect(&c, WEIR_RPC_INVALID_ARGUMENT);
    }
    caller c = { 0 };
    Streams__V1__ProcessRequest request = process_of("x", UINT32_MAX, 0);
    start_process(&c, &s, &request, NULL);
    expect(&c, WEIR_RPC_INVALID_ARGUMENT);
    c = (caller){ 0 };
    start_data(&c, &s, 1, 2 << 20);
    expect(&c, WEIR_RPC_INVALID_ARGUMENT);
    streams_stop(&s);
}

/* ---- Deadlines, and callers that go away (S8) ---- */

static void a_deadline_ends_a_process_and_frees_its_work(void **state)
{
    streams s;
    caller c = { 0 };
    Streams__V1__ProcessRequest request = process_of("late", LONG_MS, 0);
    (void)state;
    streams_start(&s, NULL);
    assert_serves(&s); /* so that connecting takes nothing of the deadline */
    start_process(&c, &s, &request, &(weir_rpc_options){ .timeout_ms = 500 });
    expect(&c, WEIR_RPC_DEADLINE_EXCEEDED);
    await_in_flight(&s, "Streams/Process", 0);
    assert_true(
        streams_metric(&s, "calls_completed_total", "Streams/Process",
                       "code=\"DEADLINE_EXCEEDED\"") +
            streams_metric(&s, "calls_completed_total", "Streams/Process", "code=\"CANCELLED\"") ==
        1);
    assert_serves(&s);
    streams_stop(&s);
}

static void a_caller_that_cancels_frees_its_work(void **state)
{
    streams s;
    caller c[3] = { { 0 }, { .asks = 1 }, { .to_send = 1, .stays = true } };
    Streams__V1__ProcessRequest request = process_of("long", LONG_MS, 0);
    (void)state;
    streams_start(&s, NULL);
    start_process(&c[0], &s, &request, NULL);
    start_data(&c[1], &s, UINT64_MAX, 0);
    start_collect(&c[2], &s);
    RUN_UNTIL(&s, c[1].messages > 10 && c[2].sent == 1);
    await_in_flight(&s, "Streams/Process", 1);
    await_in_flight(&s, "Streams/Collect", 1);
    for (int i = 0; i < 3; i++)
        weir_rpc_cancel(c[i].call);
    for (int i = 0; i < 3; i++)
        expect(&c[i], WEIR_RPC_CANCELLED);
    assert_serves(&s); /* and with it, what was said has gone out */
    await_completed(&s, "Streams/Process", "CANCELLED", 1);
    await_completed(&s, "Streams/StreamData", "CANCELLED", 1);
    await_completed(&s, "Streams/Collect", "CANCELLED", 1);
    await_in_flight(&s, "Streams/Process", 0);
    await_in_flight(&s, "Streams/StreamData", 0);
    await_in_flight(&s, "Streams/Collect", 0);
    streams_stop(&s);
}

/* Posts a request to Process over HTTP/1.1, in JSON. */
static int post_process(const streams *s, const char *json)
{
    char text[512];
    int fd = server_dial(s->port, PATIENCE_MS / 1000);
    assert_true(fd >= 0);
    int n = snprintf(text, sizeof text,
                     "POST /streams.v1.Streams/Process HTTP/1.1\r\nHost: x\r\n"
                     "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                     strlen(json), json);
    server_send_all(fd, text, (size_t)n);
    return fd;
}

static void a_caller_whose_connection_breaks_frees_its_work(void **state)
{
    streams s;
    caller c[20] = { { 0 } };
    struct linger hard = { 1, 0 };
    Streams__V1__ProcessRequest request = process_of("long", LONG_MS, 0);
    (void)state;
    streams_start(&s, NULL);
    for (int i = 0; i < 20; i++)
        start_process(&c[i], &s, &request, NULL);
    assert_serves(&s);
    int fd = post_process(&s, "{\"delayMs\": 600000}");
    await_in_flight(&s, "Streams/Process", 21);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd); /* by a reset */
    await_in_flight(&s, "Streams/Process", 20);
    streams_hang_up(&s);
    for (int i = 0; i < 20; i++)
        assert_int_equal(c[i].code, WEIR_RPC_CANCELLED);
    await_in_flight(&s, "Streams/Process", 0);
    await_completed(&s, "Streams/Process", "CANCELLED", 21);
    streams_stop(&s);
}

/* ---- Slow readers ---- */

enum { READERS = 100, GROWTH_KB_MAX = GROWTH_KB(32 * 1024), HELD_BYTES_MAX = 512 * 1024 };

static double sent_by(const streams *s, const char *method)
{
    return streams_metric(s, "messages_total", method, "direction=\"sent\"");
}

/* Nobody is told anything any more, so the service is asked again and again. */
static double await_standstill(streams *s)
{
    double before, now = -1;
    uint64_t end = server_now_ms() + PATIENCE_MS;
    do {
        before = now;
        for (int i = 0; i < 20; i++)
            assert_serves(s);
        now = sent_by(s, "Streams/StreamData");
    } while (now != before && server_now_ms() < end);
    assert_true(now == before);
    return now;
}

static void readers_that_do_not_read_stop_the_producer(void **state)
{
    static caller readers[READERS];
    streams s;
    (void)state;
    streams_start(&s, NULL);
    assert_serves(&s);
    memset(readers, 0, sizeof readers);
    long before = streams_rss(&s);
    weir_rpc_channel *idle = streams_connect(&s, (weir_rpc_channel_config){ .target = NULL });
    weir_rpc_channel *busy = s.channel;
    s.channel = idle;
    for (int i = 0; i < READERS; i++)
        start_data(&readers[i], &s, UINT64_MAX, 1000);
    s.channel = busy;
    await_in_flight(&s, "Streams/StreamData", 0); /* nothing has gone out yet */
    for (int i = 0; i < READERS; i++)
        RUN_UNTIL(&s, readers[i].begins == 1);
    double sent = await_standstill(&s);
    assert_true(sent > READERS);
    assert_true(sent * 1000 < (double)READERS * HELD_BYTES_MAX);
    long growth = streams_rss(&s) - before;
    if (growth > GROWTH_KB_MAX)
        fail_msg("%ld KiB more for %d readers that do not read", growth, READERS);
    weir_rpc_request(readers[7].call, 3000); /* and one goes on where it stopped */
    RUN_UNTIL(&s, readers[7].messages == 3000);
    assert_true(sent_by(&s, "Streams/StreamData") > sent);
    weir_rpc_channel_free(idle);
    for (int i = 0; i < READERS; i++)
        expect(&readers[i], WEIR_RPC_CANCELLED);
    await_in_flight(&s, "Streams/StreamData", 0);
    streams_stop(&s);
}

static void an_echo_that_is_not_read_takes_no_more(void **state)
{
    enum { MESSAGES = 20, BYTES = 300000 };
    streams s;
    caller c = { .to_send = MESSAGES, .payload = BYTES };
    (void)state;
    streams_start(&s, NULL);
    start_echo(&c, &s);
    double seen = -1, now = 0;
    RUN_UNTIL(&s, c.begins == 1);
    while (seen != now) {
        seen = now;
        for (int i = 0; i < 20; i++)
            assert_serves(&s);
        now = streams_metric(&s, "messages_total", "Streams/Echo", "direction=\"received\"");
    }
    if (now < 1 || now > 2 || c.sent == MESSAGES || c.overs != 0)
        fail_msg("%g messages taken, %d sent, %d came, over: %s", now, (int)c.sent, (int)c.messages,
                 c.error);
    assert_non_null(c.call);
    weir_rpc_request(c.call, MESSAGES); /* all come back */
    expect(&c, WEIR_RPC_OK);
    assert_int_equal(c.messages, MESSAGES);
    assert_int_equal(c.bytes, MESSAGES * BYTES);
    streams_stop(&s);
}

/* ---- Compose: calls fanned out (S9) ---- */

static void compose_joins_two_calls_in_parallel(void **state)
{
    streams s;
    caller c[20] = { { 0 } };
    Streams__V1__ProcessRequest a = process_of("left", 300, 0), b = process_of("right", 300, 0);
    (void)state;
    streams_start(&s, NULL);
    uint64_t began = server_now_ms();
    for (int i = 0; i < 20; i++)
        start_compose(&c[i], &s, &a, &b, NULL);
    for (int i = 0; i < 20; i++) {
        expect(&c[i], WEIR_RPC_OK);
        assert_string_equal(c[i].text, "left");
        assert_string_equal(c[i].other, "right");
    }
    assert_in_range(server_now_ms() - began, 300, 20 * 300); /* 12 s one after the other */
    c[0] = (caller){ 0 };
    start_compose(&c[0], &s, NULL, NULL, NULL); /* defaults are requests too */
    expect(&c[0], WEIR_RPC_OK);
    streams_stop(&s);
}

static void the_first_error_cancels_the_other_call_at_once(void **state)
{
    streams s;
    Streams__V1__ProcessRequest slow = process_of("slow", LONG_MS, 0);
    Streams__V1__ProcessRequest wrong = process_of("no such thing", 0, WEIR_RPC_NOT_FOUND);
    (void)state;
    streams_start(&s, NULL);
    for (int i = 0; i < 2; i++) {
        caller c = { 0 };
        uint64_t began = server_now_ms();
        start_compose(&c, &s, i == 0 ? &slow : &wrong, i == 0 ? &wrong : &slow, NULL);
        expect(&c, WEIR_RPC_NOT_FOUND);
        assert_string_equal(c.error, "no such thing");
        assert_true(server_now_ms() - began < LONG_MS / 100);
        await_in_flight(&s, "Streams/Process", 0);
        await_completed(&s, "Streams/Process", "CANCELLED", i + 1);
        await_completed(&s, "Streams/Process", "NOT_FOUND", i + 1);
    }
    streams_stop(&s);
}

static void a_composition_that_is_given_up_cancels_both_calls(void **state)
{
    streams s;
    caller c = { 0 };
    Streams__V1__ProcessRequest slow = process_of("slow", LONG_MS, 0);
    (void)state;
    streams_start(&s, NULL);
    start_compose(&c, &s, &slow, &slow, NULL);
    assert_serves(&s);
    await_in_flight(&s, "Streams/Process", 2);
    weir_rpc_cancel(c.call);
    expect(&c, WEIR_RPC_CANCELLED);
    assert_serves(&s);
    await_in_flight(&s, "Streams/Compose", 0);
    await_in_flight(&s, "Streams/Process", 0);
    c = (caller){ 0 };
    start_compose(&c, &s, &slow, &slow, &(weir_rpc_options){ .timeout_ms = 100 });
    expect(&c, WEIR_RPC_DEADLINE_EXCEEDED);
    await_in_flight(&s, "Streams/Compose", 0);
    await_in_flight(&s, "Streams/Process", 0);
    streams_stop(&s);
}

static void compose_calls_the_address_it_listens_on(void **state)
{
    static const char *const hosts[] = { "[::1]:0", "0.0.0.0:0", "[::]:0", ":0", "127.0.0.9:0" };
    Streams__V1__ProcessRequest a = process_of("left", 0, 0), b = process_of("right", 0, 0);
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        streams s;
        caller c = { 0 };
        char target[64];
        if (access("/proc/net/if_inet6", R_OK) != 0 && hosts[i][0] == '[')
            continue; /* no IPv6 here */
        streams_new(&s);
        streams_spawn(&s, ARGS("--listen", hosts[i]));
        streams_wait(&s);
        const char *host = i == 0 || i == 2 ? "[::1]" : i == 4 ? "127.0.0.9" : "127.0.0.1";
        snprintf(target, sizeof target, "http://%s:%u", host, s.port);
        s.channel = streams_connect(&s, (weir_rpc_channel_config){ .target = target });
        start_compose(&c, &s, &a, &b, NULL);
        expect(&c, WEIR_RPC_OK);
        streams_stop(&s);
    }
}

/* ---- Limits, and hostile callers ---- */

static void a_message_over_4_mib_is_resource_exhausted(void **state)
{
    enum { MIB = 1 << 20 };
    streams s;
    caller large = { 0 }, good = { 0 };
    char *text = calloc(1, 5 * MIB + 1);
    (void)state;
    assert_non_null(text);
    streams_start(&s, NULL);
    memset(text, 'x', 5 * MIB);
    Streams__V1__ProcessRequest request = process_of(text, 0, 0);
    start_process(&large, &s, &request, NULL);
    expect(&large, WEIR_RPC_RESOURCE_EXHAUSTED);
    text[4 * MIB - 100] = '\0';
    start_process(&good, &s, &request, NULL);
    expect(&good, WEIR_RPC_OK);
    assert_int_equal(good.bytes, 4 * MIB - 100);
    streams_stop(&s);
    free(text);
}

static int measure(const streams *s, const uint8_t *tree, size_t n, char *ret_text, size_t cap)
{
    char head[256];
    size_t bytes = 0;
    int fd = server_dial(s->port, PATIENCE_MS / 1000);
    assert_true(fd >= 0);
    int length = snprintf(head, sizeof head,
                          "POST /test.v1.Bombs/Measure HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                          "Content-Type: application/proto\r\nContent-Length: %zu\r\n\r\n",
                          n);
    server_send_all(fd, head, (size_t)length);
    server_send_all(fd, tree, n);
    for (ssize_t got;
         bytes < cap - 1 && (got = recv(fd, ret_text + bytes, cap - 1 - bytes, 0)) > 0;)
        bytes += (size_t)got;
    close(fd);
    ret_text[bytes] = '\0';
    int status = 0;
    if (sscanf(ret_text, "HTTP/1.1 %d", &status) != 1)
        fail_msg("no answer: %s", ret_text);
    return status;
}

/* A tree that is nothing but deep, made from its end; as many levels as fit. Gives where it begins.
 */
static size_t dig(uint8_t *bytes, size_t cap)
{
    size_t at = cap;
    while (at > 8) {
        size_t length = cap - at;
        uint8_t head[8] = { 0x0a };
        size_t n = 1;
        for (; length > 127; length >>= 7)
            head[n++] = (uint8_t)(length | 0x80);
        head[n++] = (uint8_t)length;
        at -= n;
        memcpy(bytes + at, head, n);
    }
    return at;
}

static void bombs_are_refused_and_cost_no_more_than_their_limit(void **state)
{
    enum { WIDE = 2 << 20, DEEP = 28 * 1024 };
    static uint8_t wide[WIDE], deep[DEEP];
    static const uint8_t good[] = { 0x0a, 0x02, 0x0a, 0x00, 0x0a, 0x00 };
    streams s;
    char text[4096];
    (void)state;
    streams_start(&s, ARGS("--test"));
    assert_int_equal(measure(&s, good, sizeof good, text, sizeof text), 200);
    assert_non_null(strstr(text, "\r\n\r\n\x08\x04\x10\x03")); /* 4 nodes, 3 deep */
    long before = streams_rss(&s);
    size_t at = dig(deep, sizeof deep);
    int status = measure(&s, deep + at, sizeof deep - at, text, sizeof text);
    if (status != 400 && status != 429)
        fail_msg("a depth bomb: %s", text);
    for (size_t i = 0; i < sizeof wide; i += 2)
        wide[i] = 0x0a;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(measure(&s, wide, sizeof wide, text, sizeof text), 429);
        assert_non_null(strstr(text, "resource_exhausted"));
    }
    long growth = streams_rss(&s) - before;
    if (growth > GROWTH_KB_MAX)
        fail_msg("%ld KiB more after the bombs", growth);
    assert_serves(&s);
    streams_stop(&s);
}

static void bombs_are_not_served_unless_it_is_a_test(void **state)
{
    streams s;
    char text[4096];
    (void)state;
    streams_start(&s, NULL);
    int status = measure(&s, (const uint8_t *)"", 0, text, sizeof text);
    assert_true(status == 404 || status == 501);
    streams_stop(&s);
}

/* ---- Several loops ---- */

static void two_loops_serve_every_kind(void **state)
{
    enum { CHANNELS = 8 };
    streams s;
    (void)state;
    streams_start(&s, ARGS("--loops", "2"));
    Streams__V1__ProcessRequest a = process_of("left", 10, 0), b = process_of("right", 0, 0);
    weir_rpc_channel *first = s.channel, *channels[CHANNELS];
    caller composed[CHANNELS] = { { 0 } }, data[CHANNELS];
    for (int i = 0; i < CHANNELS; i++) { /* connections, spread by the kernel */
        channels[i] = streams_connect(&s, (weir_rpc_channel_config){ .target = NULL });
        s.channel = channels[i];
        data[i] = (caller){ .asks = 8 };
        start_compose(&composed[i], &s, &a, &b, NULL);
        start_data(&data[i], &s, 500, 500);
    }
    for (int i = 0; i < CHANNELS; i++) {
        expect(&composed[i], WEIR_RPC_OK);
        assert_string_equal(composed[i].other, "right");
        expect(&data[i], WEIR_RPC_OK);
        assert_int_equal(data[i].messages, 500);
        weir_rpc_channel_free(channels[i]);
    }
    await_completed(&s, "Streams/Process", "OK", 2 * CHANNELS);
    s.channel = first;
    streams_stop(&s);
}

/* ---- The end ---- */

static void what_was_begun_is_finished_after_sigterm(void **state)
{
    streams s;
    caller unary = { 0 }, data = { 0 }, collect = { .to_send = 10, .payload = 10, .stays = true },
           echo = { .asks = 1, .to_send = 10, .payload = 10, .stays = true }, composed = { 0 },
           late = { 0 }, watch = { .asks = 1 };
    Streams__V1__ProcessRequest slow = process_of("slow", 2000, 0), fast = process_of("fast", 0, 0);
    (void)state;
    streams_start(&s, ARGS("--drain-ms", "20000"));
    start_watch(&watch, &s, "");
    start_data(&data, &s, 5000, 1000);
    start_collect(&collect, &s);
    start_echo(&echo, &s);
    RUN_UNTIL(&s, data.begins == 1 && watch.begins == 1 && echo.messages == 10);
    start_process(&unary, &s, &slow, NULL);
    start_compose(&composed, &s, &slow, &fast, NULL);
    RUN_UNTIL(&s, collect.sent == 10);
    assert_serves(&s);
    await_in_flight(&s, "Streams/Process", 2); /* that of the composition, too */
    uint64_t began = server_now_ms();
    kill(s.pid, SIGTERM);
    expect(&watch, WEIR_RPC_OK); /* there will be no more orders to tell of */
    start_process(&late, &s, &fast, NULL);
    expect(&late, WEIR_RPC_UNAVAILABLE);
    expect(&unary, WEIR_RPC_OK);
    expect(&composed, WEIR_RPC_OK);
    weir_rpc_request(data.call, 5000);
    assert_int_equal(weir_rpc_send_end(collect.call), WEIR_OK);
    assert_int_equal(weir_rpc_send_end(echo.call), WEIR_OK);
    expect(&data, WEIR_RPC_OK);
    assert_int_equal(data.messages, 5000);
    expect(&collect, WEIR_RPC_OK);
    assert_int_equal(collect.messages, 10);
    expect(&echo, WEIR_RPC_OK);
    assert_exits(&s, 0);
    assert_true(server_now_ms() - began < 20000);
    streams_discard(&s);
}

static void what_does_not_end_in_time_is_given_up(void **state)
{
    streams s;
    caller unary = { 0 }, data = { 0 };
    Streams__V1__ProcessRequest slow = process_of("slow", LONG_MS, 0);
    (void)state;
    streams_start(&s, ARGS("--drain-ms", "200"));
    start_process(&unary, &s, &slow, NULL);
    start_data(&data, &s, UINT64_MAX, 1000);
    RUN_UNTIL(&s, data.begins == 1);
    kill(s.pid, SIGTERM);
    RUN_UNTIL(&s, unary.overs == 1 && data.overs == 1);
    assert_true(unary.code == WEIR_RPC_UNAVAILABLE || unary.code == WEIR_RPC_CANCELLED);
    assert_exits(&s, 1);
    streams_discard(&s);
}

/* ---- The command line ---- */

typedef struct bad_line {
    const char *args[6];
    int code;
    const char *why;
} bad_line;

static const bad_line bad_lines[] = {
    { { "--listen", "nonsense" }, 2, "--listen nonsense: not of the form HOST:PORT" },
    { { "--listen", "127.0.0.1:65536" }, 2, "not of the form HOST:PORT" },
    { { "--loops", "0" }, 2, "--loops 0: not a number" },
    { { "--tls", "a" }, 2, "--tls a: a key must follow the certificate" },
    { { "--tls", "a", "--test" }, 2, "--tls a: a key must follow the certificate" },
    { { "--client-ca", "a" }, 2, "--client-ca a: needs --tls" },
    { { "--demo" }, 2, "unrecognized option '--demo'" },
    { { "--reply", "queued" }, 2, "unrecognized option '--reply'" },
    { { "more" }, 2, "\"more\" is not an option" },
    { { "--store", "sqlite:/nowhere/x" }, 1, "--store sqlite:/nowhere/x: No such file" },
    { { "--tls", "/nowhere/cert", "/nowhere/key" }, 1, "--tls /nowhere/cert: No such file" },
    { { "--listen", "nowhere.invalid:0" }, 1, "numeric address" },
};

static void run_to_its_end(const char *const *args, int code, const char *why)
{
    streams s;
    char log[4096];
    streams_new(&s);
    streams_spawn(&s, args);
    int got = server_wait_exit(s.pid, PATIENCE_MS);
    s.pid = 0;
    server_read_text(s.log, log, sizeof log);
    if (got != code || strstr(log, why) == NULL)
        fail_msg("ended with %d instead of %d: %s (%s)", got, code, log, why);
    const char *newline = strchr(log, '\n');
    if (code != 0 && (newline == NULL || newline[1] != '\0'))
        fail_msg("not one line: %s", log);
    streams_discard(&s);
}

static void a_wrong_command_line_is_explained_in_one_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_lines / sizeof *bad_lines; i++)
        run_to_its_end(bad_lines[i].args, bad_lines[i].code, bad_lines[i].why);
    run_to_its_end(ARGS("--help"), 0, "--listen HOST:PORT");
}

static void an_address_in_use_is_said_in_one_line(void **state)
{
    streams s;
    char listen[32], why[96];
    (void)state;
    streams_start(&s, ARGS("--loops", "2"));
    snprintf(listen, sizeof listen, "127.0.0.1:%u", s.port);
    snprintf(why, sizeof why, "streams: --listen %s: Address already in use\n", listen);
    run_to_its_end(ARGS("--listen", listen, "--loops", "2"), 1, why);
    assert_serves(&s);
    streams_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_of_every_kind_are_answered),
        cmocka_unit_test(process_fails_as_it_is_asked_to),
        cmocka_unit_test(a_deadline_ends_a_process_and_frees_its_work),
        cmocka_unit_test(a_caller_that_cancels_frees_its_work),
        cmocka_unit_test(a_caller_whose_connection_breaks_frees_its_work),
        cmocka_unit_test(readers_that_do_not_read_stop_the_producer),
        cmocka_unit_test(an_echo_that_is_not_read_takes_no_more),
        cmocka_unit_test(compose_joins_two_calls_in_parallel),
        cmocka_unit_test(the_first_error_cancels_the_other_call_at_once),
        cmocka_unit_test(a_composition_that_is_given_up_cancels_both_calls),
        cmocka_unit_test(compose_calls_the_address_it_listens_on),
        cmocka_unit_test(a_message_over_4_mib_is_resource_exhausted),
        cmocka_unit_test(bombs_are_refused_and_cost_no_more_than_their_limit),
        cmocka_unit_test(bombs_are_not_served_unless_it_is_a_test),
        cmocka_unit_test(two_loops_serve_every_kind),
        cmocka_unit_test(what_was_begun_is_finished_after_sigterm),
        cmocka_unit_test(what_does_not_end_in_time_is_given_up),
        cmocka_unit_test(a_wrong_command_line_is_explained_in_one_line),
        cmocka_unit_test(an_address_in_use_is_said_in_one_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
