/* TCP source, lines and replies, over real sockets. */
#include "servers.h"

#include <weir/pipeline.h>
#include <weir/stages.h>
#include <weir/tcp.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <time.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { LOOPS_MAX = 2, PATIENCE_S = 10 };

/* ---- A server of the pipeline under test; the tests are its clients ---- */

typedef struct service {
    weir_loop *loops[LOOPS_MAX];
    pthread_t threads[LOOPS_MAX];
    uint32_t loop_count, listeners;
    weir_pipeline *pipeline;
    weir_tcp_config tcp;
    weir_lines_config lines;
    weir_status status;
    atomic_uint port, listening, cancelled;
    bool raw; /* chunks go straight back */
} service;

enum { SHUT, AJAR, OPEN };

static atomic_uint gate_is, gate_passed;

static size_t shout(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    size_t kept = 0;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        char *text = items[i]->body;
        if (strcmp(text, "fail") == 0) {
            weir_fail(stage, items[i], WEIR_EREJECTED, "asked to");
            continue;
        }
        for (char *c = text; *c != '\0'; c++)
            *c = (char)toupper((unsigned char)*c);
        items[kept++] = items[i];
    }
    return kept;
}

static const weir_stage_type shout_type = { .name = "shout", .transform = shout };

/* A stage that asks for nothing until it is told: for a few, then for all. */
typedef struct gate_config {
    uint32_t few;
} gate_config;

typedef struct gate {
    weir_timer timer;
    weir_stage *stage;
    uint32_t few;
} gate;

static void look(weir_timer *timer, void *user)
{
    gate *g = user;
    if (atomic_load(&gate_is) != SHUT && g->few > 0)
        weir_request(weir_stage_in(g->stage), g->few);
    if (atomic_load(&gate_is) != SHUT)
        g->few = 0;
    if (atomic_load(&gate_is) == OPEN)
        weir_request(weir_stage_in(g->stage), WEIR_UNBOUNDED);
    else
        weir_timer_start(weir_stage_loop(g->stage), timer, WEIR_MS, look, g);
}

static weir_status gate_sink_open(weir_stage *stage, const void *config, void *state)
{
    gate *g = state;
    g->stage = stage;
    g->few = ((const gate_config *)config)->few;
    weir_timer_start(weir_stage_loop(stage), &g->timer, WEIR_MS, look, g);
    return WEIR_OK;
}

static void gate_sink_close(weir_stage *stage, void *state)
{
    weir_timer_stop(weir_stage_loop(stage), &((gate *)state)->timer);
}

/* Its presence keeps the engine from asking by itself, as it does for sinks. */
static void gate_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static weir_status gate_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)stage;
    (void)in;
    (void)state;
    atomic_fetch_add(&gate_passed, 1);
    weir_item_ack(item);
    return WEIR_OK;
}

static const weir_stage_type gate_sink_type = {
    .name = "gate_sink",
    .config_size = sizeof(gate_config),
    .state_size = sizeof(gate),
    .outputs = WEIR_PORTS_NONE,
    .open = gate_sink_open,
    .close = gate_sink_close,
    .on_demand = gate_on_demand,
    .on_item = gate_on_item,
};

static void listening(uint16_t port, void *user)
{
    service *s = user;
    atomic_store(&s->port, port);
    atomic_fetch_add(&s->listening, 1);
}

static void finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    service *s = user;
    (void)pipeline;
    s->status = status;
    for (uint32_t i = 0; i < s->loop_count; i++)
        weir_loop_stop(s->loops[i]);
}

static void *run_loop(void *loop)
{
    assert_int_equal(weir_loop_run(loop), WEIR_OK);
    return NULL;
}

static service *service_new(uint32_t loops)
{
    service *s = calloc(1, sizeof *s);
    s->loop_count = s->listeners = loops;
    for (uint32_t i = 0; i < loops; i++)
        s->loops[i] = weir_loop_new(NULL);
    s->pipeline = weir_pipeline_new(NULL);
    s->tcp = (weir_tcp_config){ .host = "127.0.0.1", .listening = listening, .user = s };
    return s;
}

static void service_wire(service *s, weir_stage_spec *sink)
{
    weir_from(s->pipeline, weir_tcp_listen(&s->tcp));
    if (!s->raw) {
        weir_via(s->pipeline, weir_lines(&s->lines));
        weir_via(s->pipeline, weir_stage_of(&shout_type, NULL));
    }
    weir_into(s->pipeline, sink);
}

static void service_run(service *s)
{
    weir_status status = weir_pipeline_start(s->pipeline, s->loops, s->loop_count, finished, s);
    if (status != WEIR_OK)
        fail_msg("%s", weir_pipeline_why(s->pipeline));
    for (uint32_t i = 0; i < s->loop_count; i++)
        pthread_create(&s->threads[i], NULL, run_loop, s->loops[i]);
    while (atomic_load(&s->listening) < s->listeners)
        sched_yield();
}

static void service_start(service *s)
{
    service_wire(s, weir_tcp_reply());
    service_run(s);
}

static void service_join(service *s)
{
    for (uint32_t i = 0; i < s->loop_count; i++)
        pthread_join(s->threads[i], NULL);
}

static void service_free(service *s)
{
    weir_pipeline_free(s->pipeline);
    for (uint32_t i = 0; i < s->loop_count; i++)
        weir_loop_free(s->loops[i]);
    free(s);
}

static void service_stop(service *s)
{
    weir_pipeline_shutdown(s->pipeline, WEIR_HYBRID, 5000);
    service_join(s);
    assert_int_equal(s->status, WEIR_OK);
    service_free(s);
}

static int dial(const service *s)
{
    int fd = server_dial((uint16_t)s->port, PATIENCE_S);
    assert_true(fd >= 0);
    return fd;
}

static void say_n(int fd, const char *text, size_t n)
{
    assert_int_equal(send(fd, text, n, MSG_NOSIGNAL), n);
}

static void say(int fd, const char *text)
{
    say_n(fd, text, strlen(text));
}

static void hear(int fd, const char *expected)
{
    char text[256] = "";
    size_t n = 0, want = strlen(expected);
    while (n < want) {
        ssize_t r = recv(fd, text + n, want - n, 0);
        assert_true(r > 0);
        n += (size_t)r;
    }
    assert_memory_equal(text, expected, want);
}

static void hear_end(int fd)
{
    char byte;
    ssize_t n = recv(fd, &byte, 1, 0);
    assert_true(n == 0 || (n < 0 && errno == ECONNRESET));
    close(fd);
}

/* ---- Tests ---- */

static void a_line_goes_back_to_its_connection(void **state)
{
    (void)state;
    service *s = service_new(1);
    service_start(s);
    int a = dial(s), b = dial(s);
    say(a, "from a\n");
    say(b, "from b\n");
    hear(b, "FROM B\n");
    hear(a, "FROM A\n");
    close(a);
    close(b);
    service_stop(s);
}

static void a_line_may_come_byte_by_byte(void **state)
{
    (void)state;
    service *s = service_new(1);
    service_start(s);
    int a = dial(s);
    for (const char *c = "one\n"; *c != '\0'; c++)
        say_n(a, c, 1);
    hear(a, "ONE\n"); /* so that what follows is another read */
    for (const char *c = "\ntwo\r\n"; *c != '\0'; c++)
        say_n(a, c, 1);
    hear(a, "\nTWO\r\n");
    close(a);
    service_stop(s);
}

static void a_carriage_return_is_stripped_if_asked(void **state)
{
    (void)state;
    service *s = service_new(1);
    s->lines.strip_cr = true;
    service_start(s);
    int a = dial(s);
    say(a, "one\r\n\r\ntwo\n");
    hear(a, "ONE\n\nTWO\n");
    close(a);
    service_stop(s);
}

static void a_flood_of_short_lines_comes_back_whole_and_in_order(void **state)
{
    (void)state;
    enum { LINES = 60000 };
    service *s = service_new(1);
    service_start(s);
    int fd = dial(s);
    if (fork() == 0) {
        for (int i = 0; i < LINES; i++)
            say(fd, i % 3 == 0 ? "\n" : i % 3 == 1 ? "a\n" : "bc\n");
        shutdown(fd, SHUT_WR);
        _exit(0);
    }
    FILE *in = fdopen(fd, "r");
    char line[16];
    for (int i = 0; i < LINES; i++) {
        assert_non_null(fgets(line, sizeof line, in));
        assert_string_equal(line, i % 3 == 0 ? "\n" : i % 3 == 1 ? "A\n" : "BC\n");
    }
    wait(NULL);
    assert_null(fgets(line, sizeof line, in));
    fclose(in);
    service_stop(s);
}

static void what_follows_the_last_newline_is_a_line(void **state)
{
    (void)state;
    service *s = service_new(1);
    service_start(s);
    int a = dial(s);
    say(a, "first\nlast");
    shutdown(a, SHUT_WR);
    hear(a, "FIRST\nLAST\n");
    hear_end(a);
    service_stop(s);
}

static void a_line_that_is_too_long_ends_its_connection_only(void **state)
{
    (void)state;
    service *s = service_new(1);
    s->lines.line_bytes_max = 8;
    service_start(s);
    int a = dial(s), b = dial(s), c = dial(s);
    say(a, "12345678\n123456789\nnever\n");
    hear(a, "12345678\n");
    hear_end(a);
    say(b, "123456789 without an end");
    hear_end(b);
    say(c, "fine\n");
    hear(c, "FINE\n");
    close(c);
    service_stop(s);
}

static void a_line_with_a_nul_ends_its_connection(void **state)
{
    (void)state;
    service *s = service_new(1);
    service_start(s);
    int a = dial(s);
    say_n(a, "ok\nb\0d\nnever\n", 13);
    hear(a, "OK\n");
    hear_end(a);
    service_stop(s);
}

static void a_failed_item_ends_its_connection_unless_told_otherwise(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        service *s = service_new(1);
        s->tcp.keep_failed = keep;
        service_wire(s, weir_tcp_reply());
        service_run(s);
        int a = dial(s);
        say(a, "one\nfail\n");
        hear(a, "ONE\n");
        if (keep) {
            say(a, "two\n");
            hear(a, "TWO\n");
            close(a);
        } else {
            hear_end(a);
        }
        service_stop(s);
    }
}

static void chunks_go_back_as_they_came(void **state)
{
    (void)state;
    service *s = service_new(1);
    s->raw = true;
    service_start(s);
    int a = dial(s);
    say_n(a, "a\0b\n\nc", 6);
    char text[6];
    for (size_t n = 0; n < sizeof text;) {
        ssize_t r = recv(a, text + n, sizeof text - n, 0);
        assert_true(r > 0);
        n += (size_t)r;
    }
    assert_memory_equal(text, "a\0b\n\nc", 6);
    shutdown(a, SHUT_WR);
    hear_end(a);
    service_stop(s);
}

/* Sends until the socket takes no more for so long; gives the bytes. */
static size_t stuff(int fd, size_t max, uint32_t patience_ms)
{
    char block[4096];
    memset(block, 'x', sizeof block);
    for (size_t i = 63; i < sizeof block; i += 64)
        block[i] = '\n';
    size_t sent = 0;
    struct timeval patience = { patience_ms / 1000, patience_ms % 1000 * 1000 };
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    while (sent < max) {
        ssize_t n = send(fd, block, sizeof block, MSG_NOSIGNAL);
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    return sent;
}

static void a_peer_that_does_not_read_holds_up_only_itself(void **state)
{
    (void)state;
    const size_t plenty = 64u << 20;
    service *s = service_new(1);
    service_start(s);
    int deaf = dial(s), fine = dial(s);
    assert_true(stuff(deaf, plenty, 300) < plenty);
    for (int i = 0; i < 100; i++) {
        say(fine, "still here\n");
        hear(fine, "STILL HERE\n");
    }
    assert_true(weir_pipeline_bound(s->pipeline) > 0);
    close(deaf);
    say(fine, "and after\n");
    hear(fine, "AND AFTER\n");
    close(fine);
    service_stop(s);
}

static uint64_t connections(const service *s)
{
    weir_stage_stats stats;
    assert_int_equal(weir_pipeline_stage_stats(s->pipeline, 0, &stats), WEIR_OK);
    return stats.in_flight;
}

static void a_reset_is_noticed_while_its_connection_is_not_read(void **state)
{
    (void)state;
    service *s = service_new(1);
    s->tcp.idle_timeout_ms = s->tcp.write_timeout_ms = 3600 * 1000;
    service_start(s);
    struct linger at_once = { .l_onoff = 1 };
    int deaf = dial(s);
    stuff(deaf, 64u << 20, 300);
    assert_int_equal(connections(s), 1);
    setsockopt(deaf, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(deaf);
    for (time_t until = time(NULL) + 20; connections(s) > 0 && time(NULL) < until;)
        sched_yield();
    assert_int_equal(connections(s), 0);
    service_stop(s);
}

static void without_demand_nothing_is_read(void **state)
{
    (void)state;
    const size_t plenty = 64u << 20;
    atomic_store(&gate_is, SHUT);
    service *s = service_new(1);
    service_wire(s, weir_stage_of(&gate_sink_type, &(gate_config){ 0 }));
    service_run(s);
    int a = dial(s);
    assert_true(stuff(a, plenty, 300) < plenty);
    atomic_store(&gate_is, OPEN);
    assert_int_equal(stuff(a, 4u << 20, 60000), 4u << 20);
    close(a);
    service_stop(s);
}

static weir_node *two_legs(service *s)
{
    s->tcp.keep_failed = true;
    weir_from(s->pipeline, weir_tcp_listen(&s->tcp));
    weir_via(s->pipeline, weir_buffer(NULL));
    return weir_via(s->pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
}

/* The items of a broadcast are the same in both legs, and wait in both. */
static void chunks_wait_for_room_in_two_replies(void **state)
{
    const size_t plenty = 64u << 20;
    (void)state;
    service *s = service_new(1);
    s->tcp.write_bytes_max = 1;
    weir_node *legs = two_legs(s);
    for (uint32_t i = 0; i < 2; i++)
        weir_link(legs, i, weir_add(s->pipeline, weir_tcp_reply()), 0, NULL);
    service_run(s);
    int a = dial(s);
    size_t sent = stuff(a, plenty, 300), heard = 0;
    assert_true(sent < plenty);
    shutdown(a, SHUT_WR);
    static char text[65536];
    for (ssize_t n; (n = recv(a, text, sizeof text, 0)) > 0;)
        heard += (size_t)n;
    assert_int_equal(heard, 2 * sent);
    close(a);
    service_stop(s);
}

static weir_stage_stats stats_of(const service *s, uint32_t node)
{
    weir_stage_stats stats;
    assert_int_equal(weir_pipeline_stage_stats(s->pipeline, node, &stats), WEIR_OK);
    return stats;
}

/* Of one leg, for the other fails them: a connection is cut into lines once. */
static void chunks_wait_to_be_cut_while_another_stage_lets_go_of_them(void **state)
{
    enum { FEW = 4, CHUNKS = 8, LINES_OF_CHUNK = 8, LINES = CHUNKS * LINES_OF_CHUNK };
    (void)state;
    atomic_store(&gate_is, SHUT);
    atomic_store(&gate_passed, 0);
    service *s = service_new(1);
    s->tcp.chunk_bytes_max = 2 * LINES_OF_CHUNK;
    weir_node *legs = two_legs(s);
    for (uint32_t i = 0; i < 2; i++) {
        gate_config config = { .few = i == 0 ? FEW : LINES };
        weir_node *cut = weir_add(s->pipeline, weir_lines(&s->lines));
        weir_link(legs, i, cut, 0, NULL);
        weir_link(cut, 0, weir_add(s->pipeline, weir_stage_of(&gate_sink_type, &config)), 0, NULL);
    }
    service_run(s);
    int a = dial(s);
    char text[2 * LINES];
    for (int i = 0; i < LINES; i++)
        memcpy(text + 2 * i, "x\n", 2);
    say_n(a, text, sizeof text);
    while (stats_of(s, 0).items_out < CHUNKS)
        sched_yield();
    atomic_store(&gate_is, AJAR);
    while (stats_of(s, 3).failed + stats_of(s, 5).failed < FEW)
        sched_yield();
    atomic_store(&gate_is, OPEN);
    for (time_t until = time(NULL) + 20; gate_passed < LINES && time(NULL) < until;)
        sched_yield();
    assert_int_equal(gate_passed, LINES);
    close(a);
    service_stop(s);
}

static void a_drain_answers_what_was_read(void **state)
{
    (void)state;
    service *s = service_new(1);
    service_start(s);
    int a = dial(s);
    say(a, "first\n");
    hear(a, "FIRST\n");
    weir_pipeline_shutdown(s->pipeline, WEIR_DRAIN, 0);
    hear_end(a);
    service_join(s);
    assert_int_equal(s->status, WEIR_OK);
    assert_true(server_dial((uint16_t)s->port, PATIENCE_S) < 0);
    service_free(s);
}

static void an_abort_closes_every_connection(void **state)
{
    (void)state;
    service *s = service_new(1);
    service_start(s);
    int a = dial(s), deaf = dial(s);
    say(a, "first\n");
    hear(a, "FIRST\n");
    stuff(deaf, 64u << 20, 300);
    weir_pipeline_shutdown(s->pipeline, WEIR_ABORT, 0);
    hear_end(a);
    service_join(s);
    close(deaf);
    service_free(s);
}

static void peers_that_reset_leave_nothing_behind(void **state)
{
    (void)state;
    service *s = service_new(1);
    service_start(s);
    for (int i = 0; i < 50; i++) {
        struct linger at_once = { .l_onoff = 1 };
        int fd = dial(s);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        say(fd, "a\nb\nc\nd");
        if (i % 2 == 0)
            hear(fd, "A\n");
        close(fd);
    }
    int a = dial(s);
    say(a, "fine\n");
    hear(a, "FINE\n");
    close(a);
    service_stop(s);
}

static void connections_beyond_the_limit_wait(void **state)
{
    (void)state;
    service *s = service_new(1);
    s->tcp.connections_max = 2;
    service_start(s);
    int a = dial(s), b = dial(s);
    say(a, "a\n");
    hear(a, "A\n");
    say(b, "b\n");
    hear(b, "B\n");
    int waiting = dial(s);
    say(waiting, "c\n");
    char byte;
    assert_true(recv(waiting, &byte, 1, MSG_DONTWAIT) < 0);
    close(a);
    hear(waiting, "C\n");
    close(b);
    close(waiting);
    service_stop(s);
}

static void idle_connections_are_closed(void **state)
{
    (void)state;
    service *s = service_new(1);
    s->tcp.idle_timeout_ms = 1;
    service_start(s);
    int a = dial(s);
    hear_end(a);
    service_stop(s);
}

static void replicas_share_the_port(void **state)
{
    (void)state;
    service *s = service_new(2);
    service_start(s);
    int fds[32];
    for (int i = 0; i < 32; i++)
        fds[i] = dial(s);
    for (int i = 0; i < 32; i++)
        say(fds[i], "x\n");
    for (int i = 0; i < 32; i++) {
        hear(fds[i], "X\n");
        close(fds[i]);
    }
    service_stop(s);
}

static void lines_may_be_cut_on_another_loop(void **state)
{
    (void)state;
    service *s = service_new(2);
    weir_node_place(weir_from(s->pipeline, weir_tcp_listen(&s->tcp)), 0);
    weir_node_place(weir_via(s->pipeline, weir_lines(&s->lines)), 1);
    weir_node_place(weir_via(s->pipeline, weir_stage_of(&shout_type, NULL)), 1);
    weir_node_place(weir_into(s->pipeline, weir_tcp_reply()), 0);
    s->listeners = 1;
    service_run(s);
    for (int i = 0; i < 20; i++) {
        int a = dial(s), b = dial(s);
        say(a, "one\ntw");
        say(b, "x\n");
        hear(b, "X\n");
        say(a, "o\nthree");
        hear(a, "ONE\nTWO\n");
        shutdown(a, SHUT_WR);
        hear(a, "THREE\n");
        hear_end(a);
        close(b);
    }
    service_stop(s);
}

static void an_address_in_use_is_reported(void **state)
{
    (void)state;
    service *first = service_new(1);
    service_start(first);
    service *second = service_new(1);
    second->tcp.port = (uint16_t)first->port;
    service_wire(second, weir_tcp_reply());
    assert_int_equal(weir_pipeline_start(second->pipeline, second->loops, 1, finished, second),
                     WEIR_OK);
    assert_int_equal(weir_loop_run(second->loops[0]), WEIR_OK);
    assert_int_equal(second->status, WEIR_EEXIST);
    assert_non_null(strstr(weir_pipeline_why(second->pipeline), "address is in use"));
    service_free(second);
    service_stop(first);
}

/* ---- Memory ---- */

typedef struct memory {
    atomic_long live, until_failure; /* 0: no failure */
} memory;

static void *resize(void *at, size_t bytes, void *user)
{
    memory *m = user;
    if (bytes == 0) {
        m->live -= at != NULL;
        free(at);
        return NULL;
    }
    if (m->until_failure > 0 && --m->until_failure == 0)
        return NULL;
    m->live += at == NULL;
    return realloc(at, bytes);
}

/* Replies, or at least an end: never a peer that waits for ever. */
static void talk(const service *s)
{
    char text[64];
    int fd = server_dial((uint16_t)atomic_load(&s->port), PATIENCE_S);
    if (fd < 0)
        return;
    (void)!send(fd, "one\ntwo\nhal", 11, MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    ssize_t n;
    do
        n = recv(fd, text, sizeof text, 0);
    while (n > 0);
    assert_true(n == 0 || errno == ECONNRESET);
    close(fd);
}

/* One conversation with the nth allocation failing; false once n is beyond the last. */
static bool survives(long nth)
{
    memory m = { 0 };
    weir_env env = { .allocator = { resize, &m } };
    service *s = service_new(1);
    weir_loop_free(s->loops[0]);
    weir_pipeline_free(s->pipeline);
    s->loops[0] = weir_loop_new(&(weir_loop_config){ .env = &env });
    s->pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &env });
    s->tcp.write_bytes_max = 1; /* the second reply waits */
    m.until_failure = nth;
    service_wire(s, weir_tcp_reply());
    if (weir_pipeline_start(s->pipeline, s->loops, 1, finished, s) == WEIR_OK) {
        pthread_create(&s->threads[0], NULL, run_loop, s->loops[0]);
        while (atomic_load(&s->listening) == 0 && !weir_pipeline_is_finished(s->pipeline))
            sched_yield();
        if (atomic_load(&s->listening) > 0)
            talk(s);
        weir_pipeline_shutdown(s->pipeline, WEIR_HYBRID, 5000);
        service_join(s);
    }
    bool failed = m.until_failure == 0;
    service_free(s);
    assert_int_equal(m.live, 0);
    return failed;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    long nth = 1;
    while (survives(nth))
        nth++;
    assert_in_range(nth, 10, 400);
}

/* ---- The hello program ---- */

static void hello_shouts_back(void **state)
{
    (void)state;
    if (server_dial(7000, PATIENCE_S) >= 0 || access(HELLO_PROGRAM, X_OK) != 0)
        skip();
    char *argv[] = { HELLO_PROGRAM, NULL };
    pid_t pid = server_spawn(argv, NULL, NULL);
    assert_true(server_wait_port(7000, 20000));
    int fd = server_dial(7000, PATIENCE_S);
    assert_true(fd >= 0);
    say(fd, "hello, world\nagain\n");
    hear(fd, "HELLO, WORLD\nAGAIN\n");
    kill(pid, SIGTERM);
    hear_end(fd);
    assert_int_equal(server_wait_exit(pid, 20000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_goes_back_to_its_connection),
        cmocka_unit_test(a_line_may_come_byte_by_byte),
        cmocka_unit_test(a_carriage_return_is_stripped_if_asked),
        cmocka_unit_test(a_flood_of_short_lines_comes_back_whole_and_in_order),
        cmocka_unit_test(what_follows_the_last_newline_is_a_line),
        cmocka_unit_test(a_line_that_is_too_long_ends_its_connection_only),
        cmocka_unit_test(a_line_with_a_nul_ends_its_connection),
        cmocka_unit_test(a_failed_item_ends_its_connection_unless_told_otherwise),
        cmocka_unit_test(chunks_go_back_as_they_came),
        cmocka_unit_test(a_peer_that_does_not_read_holds_up_only_itself),
        cmocka_unit_test(a_reset_is_noticed_while_its_connection_is_not_read),
        cmocka_unit_test(without_demand_nothing_is_read),
        cmocka_unit_test(chunks_wait_for_room_in_two_replies),
        cmocka_unit_test(chunks_wait_to_be_cut_while_another_stage_lets_go_of_them),
        cmocka_unit_test(a_drain_answers_what_was_read),
        cmocka_unit_test(an_abort_closes_every_connection),
        cmocka_unit_test(peers_that_reset_leave_nothing_behind),
        cmocka_unit_test(connections_beyond_the_limit_wait),
        cmocka_unit_test(idle_connections_are_closed),
        cmocka_unit_test(replicas_share_the_port),
        cmocka_unit_test(lines_may_be_cut_on_another_loop),
        cmocka_unit_test(an_address_in_use_is_reported),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(hello_shouts_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
