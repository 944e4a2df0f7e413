/* NATS publisher and source against a real nats-server, stopped, killed and started again. */
#include "servers.h"

#include <weir/inlet.h>
#include <weir/nats.h>
#include <weir/pipeline.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define SERVER_PATH "/usr/sbin/nats-server"
#define PATIENCE_S  60
#define ITEMS_MAX   4096
#define BLOCK_BYTES 8192

/* ---- A server of our own ---- */

typedef struct server {
    pid_t pid;
    int log_fd; /* kept open: writing its log into a closed pipe would kill it */
    uint16_t port;
    char url[128];
    char config[64]; /* path of a config file, or "" */
} server;

/* Returns when it says that it is ready. */
static void server_start(server *s)
{
    int log[2];
    char port[8];
    snprintf(port, sizeof port, "%u", (unsigned)s->port);
    assert_int_equal(pipe2(log, O_CLOEXEC), 0);
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a failed test leaves no server behind */
        dup2(log[1], 2);
        if (s->config[0] != '\0')
            execl(SERVER_PATH, "nats-server", "-a", "127.0.0.1", "-p", port, "-c", s->config, NULL);
        else
            execl(SERVER_PATH, "nats-server", "-a", "127.0.0.1", "-p", port, NULL);
        _exit(127);
    }
    close(log[1]);
    char text[16384];
    size_t size = 0;
    ssize_t got;
    while ((got = read(log[0], text + size, sizeof text - size - 1)) > 0) {
        size += (size_t)got;
        text[size] = '\0';
        if (strstr(text, "Server is ready") != NULL)
            break;
    }
    assert_true(got > 0);
    s->log_fd = log[0];
}

static void nats_kill(server *s)
{
    if (s->pid > 0) {
        kill(s->pid, SIGKILL);
        waitpid(s->pid, NULL, 0);
        close(s->log_fd);
    }
    s->pid = 0;
}

/* Stopped, it takes bytes, in the kernel, and understands none. Returns when all its threads stand.
 */
static void server_stop(server *s)
{
    kill(s->pid, SIGSTOP);
    assert_int_equal(waitpid(s->pid, NULL, WUNTRACED), s->pid);
}

static void server_new(server *s)
{
    memset(s, 0, sizeof *s);
    s->port = server_free_port();
    snprintf(s->url, sizeof s->url, "nats://127.0.0.1:%u", (unsigned)s->port);
}

static void server_configure(server *s, const char *text)
{
    strcpy(s->config, "/tmp/weir-nats-XXXXXX");
    int fd = mkstemp(s->config);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void server_free(server *s)
{
    nats_kill(s);
    if (s->config[0] != '\0')
        unlink(s->config);
}

/* ---- A subscriber on a bare socket ---- */

typedef struct raw {
    int fd;
    char *text;
    size_t size, capacity;
} raw;

static void raw_send(raw *r, const char *text)
{
    assert_int_equal(send(r->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Reads what is there; waits up to `ms` for the first byte. */
static void raw_read(raw *r, int ms)
{
    struct pollfd poller = { .fd = r->fd, .events = POLLIN };
    while (poll(&poller, 1, ms) == 1) {
        if (r->capacity - r->size < 65536) {
            r->capacity = 2 * r->capacity + 131072;
            r->text = realloc(r->text, r->capacity);
        }
        ssize_t got = recv(r->fd, r->text + r->size, r->capacity - r->size - 1, MSG_DONTWAIT);
        if (got <= 0)
            return;
        r->size += (size_t)got;
        r->text[r->size] = '\0';
        ms = 0;
    }
}

static bool raw_has(const raw *r, const char *needle)
{
    return r->text != NULL && memmem(r->text, r->size, needle, strlen(needle)) != NULL;
}

static void raw_open(raw *r, const server *s, const char *connect_json)
{
    memset(r, 0, sizeof *r);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(s->port) };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    r->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(r->fd, (struct sockaddr *)&address, sizeof address), 0);
    char hello[256];
    snprintf(hello, sizeof hello, "CONNECT {%s\"verbose\":false,\"headers\":true}\r\n",
             connect_json);
    raw_send(r, hello);
    raw_send(r, "SUB t.> 1\r\nPING\r\n");
    while (!raw_has(r, "PONG\r\n"))
        raw_read(r, PATIENCE_S * 1000);
}

static void raw_close(raw *r)
{
    close(r->fd);
    free(r->text);
}

/* ---- A pipeline: inlet, publisher, a sink that acknowledges ---- */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * WEIR_SEC + (uint64_t)now.tv_nsec;
}

typedef struct harness {
    weir_env env;
    uint64_t stands_ns, behind_ns; /* its clock: 0: goes on; and how long it has stood */
    size_t live_bytes, peak_bytes;
    uint32_t allocations, fail_at; /* the allocation that fails, counted from 1; 0: none */
    weir_loop *loop;
    weir_inlet *inlet;
    weir_pipeline *pipeline;
    weir_context context;
    bool finished;
    uint32_t offered, ended, acked, failed, failed_by[WEIR_STATUS_COUNT];
    bool acked_id[ITEMS_MAX];
} harness;

typedef struct order {
    harness *h;
    uint32_t id;
    const char *subject;
    size_t payload_bytes; /* 0: just the id */
} order;

static void order_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    order *o = weir_item_body(item);
    o->h->ended++;
    if (outcome == WEIR_ACKED) {
        o->h->acked++;
        o->h->acked_id[o->id] = true;
    } else {
        o->h->failed++;
        o->h->failed_by[-status]++;
    }
}

static const weir_item_type order_type = { .name = "order", .ended = order_ended };

static weir_status order_publication(const weir_item *item, weir_nats_publication *publication,
                                     void *user)
{
    static const char block[BLOCK_BYTES];
    const order *o = weir_item_body(item);
    (void)user;
    publication->subject = weir_nats_text_of(o->subject);
    publication->headers[0].name = weir_nats_text_of("Order");
    int size = snprintf(publication->scratch, publication->scratch_bytes, "id=%u;", o->id);
    publication->headers[0].value = (weir_nats_text){ publication->scratch, (size_t)size };
    publication->header_count = 1;
    publication->payload = publication->headers[0].value;
    if (o->payload_bytes != 0)
        publication->payload = (weir_nats_text){ block, o->payload_bytes };
    return WEIR_OK;
}

static weir_status sink_open(weir_stage *stage, const void *config, void *state)
{
    (void)config, (void)state;
    weir_request_to(weir_stage_in(stage), WEIR_UNBOUNDED);
    return WEIR_OK;
}

static weir_status sink_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                              void *state)
{
    (void)stage, (void)in, (void)state;
    weir_items_ack(items, n);
    return WEIR_OK;
}

static const weir_stage_type sink_type = {
    .name = "sink", .outputs = WEIR_PORTS_NONE, .open = sink_open, .on_items = sink_items
};

static void on_finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    harness *h = user;
    (void)pipeline, (void)status;
    h->finished = true;
}

/* Counts live bytes: each block is preceded by its size. */
static void *counting_resize(void *memory, size_t bytes, void *user)
{
    harness *h = user;
    size_t *block = memory != NULL ? (size_t *)memory - 2 : NULL;
    size_t old = block != NULL ? block[0] : 0;
    if (bytes == 0) {
        h->live_bytes -= old;
        free(block);
        return NULL;
    }
    if (h->fail_at != 0 && ++h->allocations == h->fail_at)
        return NULL;
    block = realloc(block, bytes + 2 * sizeof *block);
    if (block == NULL)
        return NULL;
    block[0] = bytes;
    h->live_bytes += bytes - old;
    if (h->live_bytes > h->peak_bytes)
        h->peak_bytes = h->live_bytes;
    return block + 2;
}

static uint64_t harness_now(void *user)
{
    const harness *h = user;
    return h->stands_ns != 0 ? h->stands_ns : now_ns() - h->behind_ns;
}

/* What is to be done in time by a machine that is busy with other things is done while it stands.
 */
static void clock_stands(harness *h, bool stands)
{
    uint64_t now = harness_now(h);
    h->stands_ns = stands ? now : 0;
    h->behind_ns = now_ns() - now;
}

static void harness_open(harness *h)
{
    memset(h, 0, sizeof *h);
    h->env.now_ns = harness_now;
    h->env.user = h;
    h->env.allocator.resize = counting_resize;
    h->env.allocator.user = h;
    h->loop = weir_loop_new(&(weir_loop_config){ .env = &h->env });
    assert_non_null(h->loop);
    weir_context_init(&h->context, h->loop, NULL, 0);
    for (size_t i = 0; i < sizeof h->context.trace.trace_id; i++)
        h->context.trace.trace_id[i] = (uint8_t)(0xa0 + i);
    h->pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &h->env });
}

static void harness_start(harness *h)
{
    weir_status status = weir_pipeline_start(h->pipeline, &h->loop, 1, on_finished, h);
    if (status != WEIR_OK)
        fail_msg("%s", weir_pipeline_why(h->pipeline));
}

static void publisher_open(harness *h, weir_nats_config config)
{
    harness_open(h);
    h->inlet = weir_inlet_new(&h->env, &(weir_inlet_config){ .items_max = ITEMS_MAX });
    config.publication = order_publication;
    if (config.connection.reconnect_ms == 0)
        config.connection.reconnect_ms = 2;
    if (config.connection.reconnect_ms_max == 0)
        config.connection.reconnect_ms_max = 10;
    weir_from(h->pipeline, weir_from_inlet(h->inlet));
    weir_node_policy(weir_via(h->pipeline, weir_nats_publish(&config)),
                     &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP });
    weir_into(h->pipeline, weir_stage_of(&sink_type, NULL));
    harness_start(h);
}

static void offer(harness *h, uint32_t count, const char *subject, size_t payload_bytes)
{
    for (uint32_t i = 0; i < count; i++) {
        weir_item *item = weir_item_new_foreign(&h->env, &order_type, sizeof(order));
        *(order *)weir_item_body(item) = (order){ h, h->offered++, subject, payload_bytes };
        item->context = &h->context;
        assert_int_equal(weir_inlet_offer(h->inlet, item), WEIR_OK);
    }
}

/* Turns the loop until `condition` holds; fails the test if it never does. */
#define turn_until(h, condition)                                                         \
    do {                                                                                 \
        uint64_t give_up = now_ns() + PATIENCE_S * WEIR_SEC;                             \
        while (!(condition)) {                                                           \
            weir_loop_turn((h)->loop);                                                   \
            if (now_ns() > give_up)                                                      \
                fail_msg("never: " #condition " (ended %u, acked %u of %u)", (h)->ended, \
                         (h)->acked, (h)->offered);                                      \
        }                                                                                \
    } while (0)

/* Turns until nothing has been taken from the inlet for a while of turns. */
static void turn_until_stuck(harness *h)
{
    uint32_t queued = UINT32_MAX;
    for (uint32_t same = 0; same < 2000; same++) {
        weir_loop_turn(h->loop);
        if (weir_inlet_queued(h->inlet) != queued)
            same = 0;
        queued = weir_inlet_queued(h->inlet);
    }
}

static void harness_close(harness *h)
{
    if (h->inlet != NULL)
        weir_inlet_end(h->inlet);
    else
        weir_pipeline_shutdown(h->pipeline, WEIR_DRAIN, 0);
    turn_until(h, h->finished);
    weir_pipeline_free(h->pipeline);
    weir_inlet_free(h->inlet);
    assert_int_equal(h->ended, h->offered);
    weir_context_done(&h->context);
    weir_loop_free(h->loop);
    assert_int_equal(h->live_bytes, 0);
}

static bool received_id(const raw *r, uint32_t id)
{
    char needle[32];
    snprintf(needle, sizeof needle, "Order: id=%u;\r\n", id);
    return raw_has(r, needle);
}

static bool received_all(raw *r, uint32_t from, uint32_t to)
{
    raw_read(r, 0);
    while (from < to && received_id(r, from))
        from++;
    return from == to;
}

/* ---- Tests ---- */

static void an_item_arrives_with_its_headers_and_its_trace_id(void **state)
{
    static harness h;
    server s;
    raw r;
    (void)state;
    server_new(&s);
    server_start(&s);
    raw_open(&r, &s, "");
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url });
    offer(&h, 1, "t.orders", 0);
    turn_until(&h, h.acked == 1);
    while (!raw_has(&r, "HMSG"))
        raw_read(&r, PATIENCE_S * 1000);
    assert_true(raw_has(&r, "HMSG t.orders 1 70 75\r\nNATS/1.0\r\nOrder: id=0;\r\n"
                            "Trace-ID: a0a1a2a3a4a5a6a7a8a9aaabacadaeaf\r\n\r\nid=0;\r\n"));
    harness_close(&h);
    raw_close(&r);
    server_free(&s);
}

static void many_items_arrive_in_order(void **state)
{
    static harness h;
    server s;
    raw r;
    (void)state;
    server_new(&s);
    server_start(&s);
    raw_open(&r, &s, "");
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url, .in_flight = 100 });
    offer(&h, ITEMS_MAX, "t.orders", 0);
    turn_until(&h, h.acked == ITEMS_MAX);
    char last[32];
    snprintf(last, sizeof last, "Order: id=%u;", ITEMS_MAX - 1);
    while (!raw_has(&r, last))
        raw_read(&r, PATIENCE_S * 1000);
    const char *at = r.text;
    for (uint32_t id = 0; id < ITEMS_MAX; id++) {
        char needle[32];
        snprintf(needle, sizeof needle, "Order: id=%u;\r\n", id);
        at = strstr(at, needle);
        assert_non_null(at);
    }
    harness_close(&h);
    raw_close(&r);
    server_free(&s);
}

static void what_a_killed_server_did_not_confirm_is_published_by_its_successor(void **state)
{
    static harness h;
    server s;
    raw before, after;
    (void)state;
    server_new(&s);
    server_start(&s);
    raw_open(&before, &s, "");
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url, .wait_ms = WEIR_NATS_FOREVER });
    offer(&h, 500, "t.orders", 0);
    turn_until(&h, h.acked == 500 && received_all(&before, 0, 500));
    /* These are sent and not confirmed. */
    server_stop(&s);
    offer(&h, 500, "t.orders", 0);
    turn_until_stuck(&h);
    assert_int_equal(h.ended, 500);
    nats_kill(&s);
    server_start(&s);
    raw_open(&after, &s, "");
    turn_until(&h, h.acked == 1000);
    turn_until(&h, received_all(&after, 500, 1000));
    harness_close(&h);
    raw_close(&before);
    raw_close(&after);
    server_free(&s);
}

static void every_item_ends_published_or_failed_when_the_server_dies_in_full_flow(void **state)
{
    static harness h;
    server s;
    (void)state;
    server_new(&s);
    server_start(&s);
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url, .in_flight = 64 });
    for (uint32_t round = 0; round < 3; round++) {
        offer(&h, 1000, "t.orders", 0);
        turn_until(&h, h.acked >= 1000 * round + 200);
        nats_kill(&s);
        server_start(&s);
    }
    turn_until(&h, h.ended == 3000);
    assert_int_equal(h.acked, 3000);
    harness_close(&h);
    server_free(&s);
}

static void without_a_server_items_fail_after_the_wait_and_succeed_once_there_is_one(void **state)
{
    static harness h;
    server s;
    (void)state;
    server_new(&s);
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url, .wait_ms = 50 });
    offer(&h, 100, "t.orders", 0);
    uint64_t start = now_ns();
    turn_until(&h, h.ended > 0);
    assert_true(now_ns() - start >= 45 * WEIR_MS);
    turn_until(&h, h.ended == 100);
    assert_int_equal(h.failed_by[-WEIR_EUNAVAILABLE], 100);
    server_start(&s);
    while (h.acked == 0) {
        offer(&h, 1, "t.orders", 0);
        turn_until(&h, h.ended == h.offered);
        assert_true(h.offered < ITEMS_MAX);
        assert_true(now_ns() < start + PATIENCE_S * WEIR_SEC);
        for (uint32_t i = 0; i < 1000; i++)
            weir_loop_turn(h.loop);
    }
    harness_close(&h);
    server_free(&s);
}

static void the_pending_bytes_are_bounded_and_the_rest_waits_upstream(void **state)
{
    static harness h;
    server s;
    raw r;
    (void)state;
    server_new(&s);
    server_start(&s);
    raw_open(&r, &s, "");
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url,
                                           .pending_bytes = 8 * BLOCK_BYTES,
                                           .in_flight = 32,
                                           .wait_ms = WEIR_NATS_FOREVER });
    offer(&h, 1, "t.first", 0);
    turn_until(&h, h.acked == 1);
    server_stop(&s);
    offer(&h, 2000, "t.block", BLOCK_BYTES);
    size_t settled = h.live_bytes;
    h.peak_bytes = h.live_bytes;
    turn_until_stuck(&h);
    assert_true(weir_inlet_queued(h.inlet) >= 2000 - 256 - 64);
    assert_int_equal(h.acked, 1);
    /* Twice the limit and a message, and while it grows the old buffer beside the new. */
    assert_true(h.peak_bytes - settled < 4 * 8 * BLOCK_BYTES + 2 * BLOCK_BYTES + 65536);
    kill(s.pid, SIGCONT);
    turn_until(&h, h.acked == 2001 && received_all(&r, 0, 2001));
    harness_close(&h);
    raw_close(&r);
    server_free(&s);
}

static void written_mode_needs_no_answer(void **state)
{
    static harness h;
    server s;
    raw r;
    (void)state;
    server_new(&s);
    server_start(&s);
    raw_open(&r, &s, "");
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url, .done = WEIR_NATS_WRITTEN });
    offer(&h, 1, "t.orders", 0);
    turn_until(&h, h.acked == 1);
    server_stop(&s);
    offer(&h, 100, "t.orders", 0);
    turn_until(&h, h.acked == 101);
    kill(s.pid, SIGCONT);
    turn_until(&h, received_all(&r, 0, 101));
    harness_close(&h);
    raw_close(&r);
    server_free(&s);
}

static void a_silent_server_is_found_stale_and_items_time_out(void **state)
{
    static harness h;
    server s;
    (void)state;
    server_new(&s);
    server_start(&s);
    publisher_open(
        &h, (weir_nats_config){ .connection = { .url = s.url, .ping_ms = 20, .connect_ms = 50 },
                                .wait_ms = 50 });
    clock_stands(&h, true);
    offer(&h, 1, "t.orders", 0);
    turn_until(&h, h.acked == 1);
    server_stop(&s);
    clock_stands(&h, false);
    offer(&h, 10, "t.orders", 0);
    turn_until(&h, h.ended == 11);
    assert_int_equal(h.failed_by[-WEIR_EUNAVAILABLE], 10);
    kill(s.pid, SIGCONT);
    harness_close(&h);
    server_free(&s);
}

static void an_item_that_waits_too_long_times_out_alone(void **state)
{
    static harness h;
    server s;
    (void)state;
    server_new(&s);
    server_start(&s);
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url, .timeout_ms = 40 });
    clock_stands(&h, true);
    offer(&h, 1, "t.orders", 0);
    turn_until(&h, h.acked == 1);
    server_stop(&s);
    clock_stands(&h, false);
    offer(&h, 10, "t.orders", 0);
    turn_until(&h, h.ended == 11);
    assert_int_equal(h.failed_by[-WEIR_EDEADLINE], 10);
    kill(s.pid, SIGCONT);
    clock_stands(&h, true);
    offer(&h, 10, "t.orders", 0);
    turn_until(&h, h.acked == 11);
    clock_stands(&h, false);
    harness_close(&h);
    server_free(&s);
}

static void bad_messages_fail_and_the_rest_goes_on(void **state)
{
    static harness h;
    server s;
    (void)state;
    server_new(&s);
    server_configure(&s, "max_payload: 4096\n");
    server_start(&s);
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url });
    offer(&h, 1, "t.good", 0);
    offer(&h, 1, "t bad\r\nPUB x 0", 0);
    offer(&h, 1, "t.*", 0);
    offer(&h, 1, "t.large", 5000);
    offer(&h, 1, "t.good", 4000);
    turn_until(&h, h.ended == 5);
    assert_int_equal(h.acked, 2);
    assert_int_equal(h.failed_by[-WEIR_EINVAL], 2);
    assert_int_equal(h.failed_by[-WEIR_ELIMIT], 1);
    harness_close(&h);
    server_free(&s);
}

static const char accounts[] =
    "authorization { users = [ { user: \"al:ice\", password: \"s3cret\", permissions: { publish: { "
    "deny: \"t.secret\" }, subscribe: \"t.>\" } } ] }\n";

static void a_forbidden_subject_fails_its_items_only(void **state)
{
    static harness h;
    server s;
    char url[160];
    (void)state;
    server_new(&s);
    server_configure(&s, accounts);
    server_start(&s);
    snprintf(url, sizeof url, "nats://al%%3Aice:s3cret@127.0.0.1:%u", (unsigned)s.port);
    publisher_open(&h, (weir_nats_config){ .connection.url = url });
    for (uint32_t i = 0; i < 10; i++)
        offer(&h, 1, i % 2 == 0 ? "t.public" : "t.secret", 0);
    turn_until(&h, h.ended == 10);
    assert_int_equal(h.acked, 5);
    assert_int_equal(h.failed_by[-WEIR_EDENIED], 5);
    assert_true(h.acked_id[0] && !h.acked_id[1]);
    harness_close(&h);
    server_free(&s);
}

static void a_wrong_password_is_no_server(void **state)
{
    static harness h;
    server s;
    char url[160];
    (void)state;
    server_new(&s);
    server_configure(&s, accounts);
    server_start(&s);
    snprintf(url, sizeof url, "nats://al%%3Aice:wrong@127.0.0.1:%u", (unsigned)s.port);
    publisher_open(&h, (weir_nats_config){ .connection.url = url, .wait_ms = 100 });
    offer(&h, 10, "t.public", 0);
    turn_until(&h, h.ended == 10);
    assert_int_equal(h.failed_by[-WEIR_EUNAVAILABLE], 10);
    harness_close(&h);
    server_free(&s);
}

static void a_server_is_found_by_its_name(void **state)
{
    static harness h;
    server s;
    char url[160];
    (void)state;
    server_new(&s);
    server_start(&s);
    snprintf(url, sizeof url, "nats://localhost:%u", (unsigned)s.port);
    publisher_open(&h, (weir_nats_config){ .connection.url = url });
    offer(&h, 10, "t.orders", 0);
    turn_until(&h, h.acked == 10);
    harness_close(&h);
    server_free(&s);
}

static void a_bad_config_is_refused_before_the_start(void **state)
{
    (void)state;
    static const weir_nats_config bad[] = {
        { .connection.url = NULL },
        { .connection.url = "nats://h:0", .publication = order_publication },
        { .connection.url = "tls://h", .publication = order_publication },
        { .in_flight = 65537, .publication = order_publication },
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        weir_pipeline *pipeline = weir_pipeline_new(NULL);
        weir_inlet *inlet = weir_inlet_new(NULL, NULL);
        weir_from(pipeline, weir_from_inlet(inlet));
        weir_via(pipeline, weir_nats_publish(&bad[i]));
        weir_into(pipeline, weir_stage_of(&sink_type, NULL));
        assert_int_not_equal(weir_pipeline_check(pipeline), WEIR_OK);
        weir_pipeline_free(pipeline);
        weir_inlet_free(inlet);
    }
}

static void an_abort_finds_the_name_still_looked_up(void **state)
{
    static harness h;
    (void)state;
    publisher_open(&h, (weir_nats_config){ .connection.url = "nats://no-such-host.invalid",
                                           .wait_ms = WEIR_NATS_FOREVER });
    offer(&h, 10, "t.orders", 0);
    for (uint32_t i = 0; i < 10; i++)
        weir_loop_turn(h.loop);
    weir_pipeline_shutdown(h.pipeline, WEIR_ABORT, 0);
    turn_until(&h, h.finished);
    assert_int_equal(h.acked, 0);
    harness_close(&h);
}

static void an_abort_ends_every_item_while_there_is_no_server(void **state)
{
    static harness h;
    server s;
    (void)state;
    server_new(&s);
    server_start(&s);
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url, .wait_ms = WEIR_NATS_FOREVER });
    offer(&h, 1, "t.orders", 0);
    turn_until(&h, h.acked == 1);
    server_stop(&s);
    offer(&h, 500, "t.orders", 0);
    turn_until_stuck(&h);
    nats_kill(&s);
    for (uint32_t i = 0; i < 100; i++)
        weir_loop_turn(h.loop);
    assert_int_equal(h.ended, 1);
    weir_pipeline_shutdown(h.pipeline, WEIR_ABORT, 0);
    turn_until(&h, h.finished && h.ended == 501);
    harness_close(&h);
    server_free(&s);
}

static void an_allocation_that_fails_costs_at_most_its_item(void **state)
{
    static harness h;
    server s;
    (void)state;
    server_new(&s);
    server_start(&s);
    for (uint32_t fail_at = 1, reached = 1; reached != 0; fail_at++) {
        publisher_open(&h, (weir_nats_config){ .connection.url = s.url });
        offer(&h, 20, "t.block", BLOCK_BYTES);
        h.fail_at = fail_at;
        /* At worst the stage did not open: what was offered ends with the inlet. */
        turn_until(&h, h.ended == 20 || h.finished);
        assert_true(h.acked >= 19 || h.finished);
        reached = h.allocations >= fail_at;
        h.fail_at = 0;
        harness_close(&h);
    }
    server_free(&s);
}

/* ---- Servers that misbehave: a bare listener plays them ---- */

#define GREETING "INFO {\"headers\":true,\"max_payload\":1000} \r\n"

static int fake_listen(server *s)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assert_int_equal(listen(fd, 8), 0);
    memset(s, 0, sizeof *s);
    s->port = ntohs(address.sin_port);
    snprintf(s->url, sizeof s->url, "nats://127.0.0.1:%u", (unsigned)s->port);
    return fd;
}

static void fake_accept(harness *h, int listener, raw *r, const char *says)
{
    memset(r, 0, sizeof *r);
    turn_until(h, (r->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    raw_send(r, says);
}

static void fake_hear(harness *h, raw *r, const char *needle)
{
    turn_until(h, (raw_read(r, 0), raw_has(r, needle)));
}

/* The client hangs up. */
static void fake_is_left(harness *h, raw *r)
{
    char byte;
    ssize_t got;
    turn_until(h, (got = recv(r->fd, &byte, 1, MSG_DONTWAIT)) == 0 ||
                      (got < 0 && errno != EAGAIN && errno != EINTR));
    raw_close(r);
}

static void a_server_that_talks_nonsense_is_left_and_tried_again(void **state)
{
    static harness h;
    static char long_line[WEIR_NATS_INFO_BYTES_MAX + 64];
    server s;
    raw r;
    (void)state;
    memset(long_line, 'x', sizeof long_line - 1);
    memcpy(long_line, "INFO ", 5);
    const char *const nonsense[] = {
        "HTTP/1.1 400 Bad Request\r\n",
        "INFO {\"max_payload\":\"a\"}\r\n",
        "INFO []\r\n",
        "INFO {\"headers\":true,\"tls_required\":true}\r\n",
        "INFO {\"headers\":true,\"nonce\":\"n\"}\r\n",
        "INFO {\"headers\":false}\r\n",
        long_line,
        GREETING "MSG a 1 999999999\r\n",
    };
    int listener = fake_listen(&s);
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url });
    offer(&h, 1, "t.orders", 0);
    for (size_t i = 0; i < sizeof nonsense / sizeof nonsense[0]; i++) {
        fake_accept(&h, listener, &r, nonsense[i]);
        fake_is_left(&h, &r);
    }
    fake_accept(&h, listener, &r, GREETING);
    fake_hear(&h, &r, "PING\r\n");
    raw_send(&r, "PING\r\nPONG\r\nPONG\r\n"); /* one of them for nothing */
    fake_hear(&h, &r, "id=0;\r\nPING\r\n");
    assert_int_equal(h.ended, 0);
    raw_send(&r, "PO");
    for (uint32_t i = 0; i < 100; i++)
        weir_loop_turn(h.loop);
    raw_send(&r, "NG\r\n");
    turn_until(&h, h.acked == 1);
    fake_hear(&h, &r, "PONG\r\n");
    harness_close(&h);
    raw_close(&r);
    close(listener);
}

static void a_server_that_drops_us_before_it_confirms_is_none(void **state)
{
    static harness h;
    server s;
    raw r;
    (void)state;
    int listener = fake_listen(&s);
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url, .wait_ms = 1000 });
    offer(&h, 5, "t.orders", 0);
    uint32_t rounds = 0;
    while (h.ended == 0) {
        memset(&r, 0, sizeof r);
        turn_until(&h, h.ended != 0 || (r.fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
        if (h.ended != 0)
            break;
        raw_send(&r, GREETING "PONG\r\n");
        turn_until(&h, h.ended != 0 || (raw_read(&r, 0), raw_has(&r, "id=4;\r\nPING\r\n")));
        raw_close(&r);
        rounds++;
    }
    turn_until(&h, h.ended == 5);
    assert_int_equal(h.failed_by[-WEIR_EUNAVAILABLE], 5);
    assert_true(rounds >= 2);
    harness_close(&h);
    close(listener);
}

static void a_message_over_the_limit_of_the_next_server_fails_alone(void **state)
{
    static harness h;
    server s;
    raw r;
    (void)state;
    int listener = fake_listen(&s);
    publisher_open(&h, (weir_nats_config){ .connection.url = s.url });
    offer(&h, 1, "t.small", 0);
    offer(&h, 1, "t.large", 800);
    offer(&h, 1, "t.small", 0);
    fake_accept(&h, listener, &r, GREETING "PONG\r\n");
    fake_hear(&h, &r, "id=2;\r\nPING\r\n");
    raw_close(&r);
    fake_accept(&h, listener, &r, "INFO {\"headers\":true,\"max_payload\":500} \r\nPONG\r\n");
    fake_hear(&h, &r, "id=2;\r\nPING\r\n");
    assert_false(raw_has(&r, "t.large"));
    raw_send(&r, "PONG\r\n");
    turn_until(&h, h.ended == 3);
    assert_int_equal(h.acked, 2);
    assert_int_equal(h.failed_by[-WEIR_ELIMIT], 1);
    harness_close(&h);
    raw_close(&r);
    close(listener);
}

/* ---- The source ---- */

typedef struct heard {
    uint32_t count;
    char last[256];
    bool modest; /* asks for nothing by itself */
    weir_in *in;
} heard;

typedef struct listener {
    heard *heard;
} listener;

static weir_status listener_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    heard *said = ((const listener *)weir_stage_config(stage))->heard;
    (void)in, (void)state;
    for (size_t i = 0; i < n; i++) {
        const weir_nats_received *got = weir_item_body(items[i]);
        weir_nats_text trace = { "-", 1 };
        (void)!weir_nats_header_find(got->header, "trace-id", &trace);
        snprintf(said->last, sizeof said->last, "%.*s|%.*s|%.*s|%.*s", (int)got->subject.size,
                 got->subject.data, (int)got->reply.size, got->reply.data, (int)trace.size,
                 trace.data, (int)got->payload.size, got->payload.data);
        said->count++;
    }
    weir_items_ack(items, n);
    return WEIR_OK;
}

static weir_status listener_open(weir_stage *stage, const void *config, void *state)
{
    heard *said = ((const listener *)config)->heard;
    said->in = weir_stage_in(stage);
    return said->modest ? WEIR_OK : sink_open(stage, config, state);
}

/* Without this the engine asks for everything on a sink's behalf. */
static void listener_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage, (void)out, (void)credit, (void)state;
}

static const weir_stage_type listener_type = { .name = "listener",
                                               .config_size = sizeof(listener),
                                               .outputs = WEIR_PORTS_NONE,
                                               .open = listener_open,
                                               .on_demand = listener_on_demand,
                                               .on_items = listener_items };

static void a_source_emits_what_is_published_also_after_a_restart(void **state)
{
    static harness h;
    server s;
    raw r;
    heard said = { 0 };
    (void)state;
    server_new(&s);
    server_start(&s);
    harness_open(&h);
    weir_from(h.pipeline,
              weir_nats_subscribe(&(weir_nats_subscribe_config){
                  .connection = { .url = s.url, .reconnect_ms = 2, .reconnect_ms_max = 10 },
                  .subject = "s.*" }));
    weir_into(h.pipeline, weir_stage_of(&listener_type, &(listener){ &said }));
    harness_start(&h);
    for (uint32_t round = 0; round < 2; round++) {
        raw_open(&r, &s, "");
        uint32_t before = said.count;
        /* Who subscribes gets nothing older, so it is said until it is heard. */
        while (said.count == before) {
            raw_send(&r, "HPUB s.a re 25 27\r\nNATS/1.0\r\nTrace-ID: 7\r\n\r\nhi\r\n");
            for (uint32_t i = 0; i < 100; i++)
                weir_loop_turn(h.loop);
        }
        assert_string_equal(said.last, "s.a|re|7|hi");
        raw_send(&r, "PUB s.b 4\r\nlast\r\n");
        turn_until(&h, strcmp(said.last, "s.b||-|last") == 0);
        raw_close(&r);
        nats_kill(&s);
        server_start(&s);
    }
    harness_close(&h);
    server_free(&s);
}

static void a_source_without_demand_reads_no_further_and_loses_nothing(void **state)
{
    static harness h;
    server s;
    raw r;
    heard said = { .modest = true };
    (void)state;
    server_new(&s);
    server_start(&s);
    harness_open(&h);
    weir_from(h.pipeline, weir_nats_subscribe(&(weir_nats_subscribe_config){
                              .connection.url = s.url, .subject = "s.>", .queue = "q" }));
    weir_into(h.pipeline, weir_stage_of(&listener_type, &(listener){ &said }));
    harness_start(&h);
    turn_until(&h, said.in != NULL);
    raw_open(&r, &s, "");
    weir_request_to(said.in, 1);
    while (said.count == 0) {
        raw_send(&r, "PUB s.first 0\r\n\r\n");
        for (uint32_t i = 0; i < 100; i++)
            weir_loop_turn(h.loop);
    }
    weir_request_to(said.in, 10);
    for (uint32_t i = 1; i <= 3000; i++) {
        char line[64];
        snprintf(line, sizeof line, "PUB s.n 4\r\n%04u\r\n", i);
        raw_send(&r, line);
    }
    turn_until(&h, said.count == 11);
    for (uint32_t i = 0; i < 5000; i++)
        weir_loop_turn(h.loop);
    assert_int_equal(said.count, 11);
    weir_request_to(said.in, WEIR_UNBOUNDED);
    turn_until(&h, strcmp(said.last, "s.n||-|3000") == 0);
    assert_true(said.count >= 3001);
    harness_close(&h);
    raw_close(&r);
    server_free(&s);
}

int main(void)
{
    if (access(SERVER_PATH, X_OK) != 0) {
        printf("skipped: there is no " SERVER_PATH "\n");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_item_arrives_with_its_headers_and_its_trace_id),
        cmocka_unit_test(many_items_arrive_in_order),
        cmocka_unit_test(what_a_killed_server_did_not_confirm_is_published_by_its_successor),
        cmocka_unit_test(every_item_ends_published_or_failed_when_the_server_dies_in_full_flow),
        cmocka_unit_test(without_a_server_items_fail_after_the_wait_and_succeed_once_there_is_one),
        cmocka_unit_test(the_pending_bytes_are_bounded_and_the_rest_waits_upstream),
        cmocka_unit_test(written_mode_needs_no_answer),
        cmocka_unit_test(a_silent_server_is_found_stale_and_items_time_out),
        cmocka_unit_test(an_item_that_waits_too_long_times_out_alone),
        cmocka_unit_test(bad_messages_fail_and_the_rest_goes_on),
        cmocka_unit_test(a_forbidden_subject_fails_its_items_only),
        cmocka_unit_test(a_wrong_password_is_no_server),
        cmocka_unit_test(a_server_is_found_by_its_name),
        cmocka_unit_test(a_bad_config_is_refused_before_the_start),
        cmocka_unit_test(an_abort_finds_the_name_still_looked_up),
        cmocka_unit_test(an_abort_ends_every_item_while_there_is_no_server),
        cmocka_unit_test(an_allocation_that_fails_costs_at_most_its_item),
        cmocka_unit_test(a_server_that_talks_nonsense_is_left_and_tried_again),
        cmocka_unit_test(a_server_that_drops_us_before_it_confirms_is_none),
        cmocka_unit_test(a_message_over_the_limit_of_the_next_server_fails_alone),
        cmocka_unit_test(a_source_emits_what_is_published_also_after_a_restart),
        cmocka_unit_test(a_source_without_demand_reads_no_further_and_loses_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
