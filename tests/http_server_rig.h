/* A server on a loop that the test turns itself, and clients of plain sockets beside it. */
#ifndef HTTP_SERVER_RIG_H
#define HTTP_SERVER_RIG_H

#include "servers.h"

#include <weir/http_server.h>
#include <weir/pipeline.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { KEPT_MAX = 256, PATIENCE_MS = 60000 };

typedef struct rig {
    weir_loop *loop;
    weir_pipeline *pipeline;
    weir_http_server_config config;
    weir_allocator allocator; /* zeroed: the default */
    uint64_t clock_ns;        /* the loop's time: it passes when the test says so */
    weir_env env;
    uint16_t port;
    int listeners;
    bool finished;
    uint64_t window_bytes; /* of the sink's edge; 0: the default */
    uint64_t demand;       /* the keeper's first; then the test asks */
    weir_stage *keeper;    /* the sink that keeps what it gets */
    weir_item *kept[KEPT_MAX];
    int kept_count;
    int fds;
} rig;

typedef struct client {
    int fd;
    char *text; /* received and not taken; terminated */
    size_t n, cap;
    bool ended, reset;
} client;

typedef struct reply {
    int status;
    char head[4096];
    char body[8192];
    size_t body_bytes;
} reply;

/* ---- The server's side ---- */

static inline weir_status keeper_open(weir_stage *stage, const void *config, void *state)
{
    rig *r = *(rig *const *)config;
    (void)state;
    r->keeper = stage;
    if (r->demand > 0)
        weir_request_to(weir_stage_in(stage), r->demand);
    return WEIR_OK;
}

static inline weir_status keeper_on_item(weir_stage *stage, weir_in *in, weir_item *item,
                                         void *state)
{
    rig *r = *(rig *const *)weir_stage_config(stage);
    (void)in;
    (void)state;
    assert_true(r->kept_count < KEPT_MAX);
    r->kept[r->kept_count++] = item;
    return WEIR_OK;
}

/* So that nothing is asked for by default. */
static inline void keeper_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static inline weir_stage_spec *keeper(rig *r)
{
    static const weir_stage_type type = {
        .name = "keeper",
        .config_size = sizeof(rig *),
        .outputs = WEIR_PORTS_NONE,
        .open = keeper_open,
        .on_item = keeper_on_item,
        .on_demand = keeper_on_demand,
    };
    return weir_stage_of(&type, &r);
}

static inline void rig_listening(uint16_t port, void *user)
{
    rig *r = user;
    assert_true(r->listeners == 0 || r->port == port);
    r->port = port;
    r->listeners++;
}

static inline void rig_finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    (void)pipeline;
    (void)status;
    ((rig *)user)->finished = true;
}

static inline uint64_t rig_now(void *user)
{
    return *(const uint64_t *)user;
}

/* Config in r->config, demand in r->demand; sink NULL: keeps what it gets. */
static inline void rig_start(rig *r, weir_stage_spec *sink)
{
    r->fds = server_count_fds();
    r->config.listen = r->config.listen != NULL ? r->config.listen : "127.0.0.1:0";
    r->config.listening = rig_listening;
    r->config.user = r;
    r->clock_ns = WEIR_SEC;
    r->env = (weir_env){ .allocator = r->allocator, .now_ns = rig_now, .user = &r->clock_ns };
    r->loop = weir_loop_new(&(weir_loop_config){ .env = &r->env });
    r->pipeline = weir_pipeline_new(NULL);
    weir_from(r->pipeline, weir_http_server(&r->config));
    weir_node *node = weir_into(r->pipeline, sink != NULL ? sink : keeper(r));
    if (r->window_bytes != 0)
        weir_node_window(node, &(weir_edge_config){ .window_bytes = r->window_bytes });
    if (weir_pipeline_start(r->pipeline, &r->loop, 1, rig_finished, r) != WEIR_OK)
        fail_msg("%s", weir_pipeline_why(r->pipeline));
    for (int i = 0; i < 100 && r->listeners == 0; i++)
        weir_loop_turn(r->loop);
    assert_int_equal(r->listeners, r->config.door == NULL ? 1 : 0);
}

static inline void turn(rig *r)
{
    if (!weir_loop_turn(r->loop))
        sched_yield(); /* leaves the processor to the kernel's side of the sockets */
}

#include "turns.h"

static inline void rig_shutdown(rig *r, weir_shutdown how)
{
    weir_pipeline_shutdown(r->pipeline, how, 0);
    TURN_UNTIL(r, (r->clock_ns += 10 * WEIR_MS, r->finished)); /* few turns: each may be long */
    weir_pipeline_free(r->pipeline);
    weir_loop_free(r->loop);
    r->loop = NULL;
    assert_int_equal(server_count_fds(), r->fds);
}

static inline void rig_stop(rig *r)
{
    rig_shutdown(r, WEIR_DRAIN);
}

/* ---- The clients' side ---- */

static inline client client_new(const rig *r)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(r->port) };
    client c = { .fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), .cap = 4096 };
    c.text = calloc(1, c.cap);
    int result = connect(c.fd, (struct sockaddr *)&at, sizeof at);
    assert_true(result == 0 || errno == EINPROGRESS);
    return c;
}

static inline void client_close(client *c)
{
    close(c->fd);
    free(c->text);
}

/* Goes away without a good-bye. */
static inline void client_reset(client *c)
{
    struct linger hard = { 1, 0 };
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    client_close(c);
}

static inline void say_bytes(rig *r, client *c, const char *bytes, size_t n)
{
    uint64_t until = server_now_ms() + PATIENCE_MS;
    while (n > 0) {
        ssize_t sent = send(c->fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN && errno != ENOTCONN)
            return; /* it hung up: what it said is to be heard */
        if (sent > 0) {
            bytes += sent;
            n -= (size_t)sent;
        }
        assert_true(server_now_ms() < until);
        turn(r);
    }
}

static inline void say(rig *r, client *c, const char *text)
{
    say_bytes(r, c, text, strlen(text));
}

static inline void say_slowly(rig *r, client *c, const char *text)
{
    for (; *text != '\0'; text++)
        say_bytes(r, c, text, 1);
}

static inline void listen_once(rig *r, client *c)
{
    if (c->cap - c->n < 2048)
        c->text = realloc(c->text, c->cap *= 2);
    ssize_t n = recv(c->fd, c->text + c->n, c->cap - c->n - 1, 0);
    if (n > 0)
        c->n += (size_t)n;
    c->ended |= n == 0;
    c->reset |= n < 0 && errno != EAGAIN;
    c->text[c->n] = '\0';
    if (n <= 0)
        turn(r);
}

static inline void forget(client *c, size_t n)
{
    memmove(c->text, c->text + n, c->n - n + 1);
    c->n -= n;
}

static inline bool head_is_here(const client *c)
{
    return strstr(c->text, "\r\n\r\n") != NULL;
}

/* Hears one reply, by its Content-Length; to HEAD, without a body. */
static inline reply hear_to(rig *r, client *c, bool is_head)
{
    reply got = { 0 };
    uint64_t until = server_now_ms() + PATIENCE_MS;
    while (!head_is_here(c)) {
        if (c->ended || c->reset || server_now_ms() >= until)
            fail_msg("no reply, but \"%s\"%s%s", c->text, c->ended ? " and the end" : "",
                     c->reset ? " and a reset" : "");
        listen_once(r, c);
    }
    size_t head = (size_t)(strstr(c->text, "\r\n\r\n") + 4 - c->text);
    assert_true(head < sizeof got.head);
    memcpy(got.head, c->text, head);
    assert_int_equal(sscanf(got.head, "HTTP/1.1 %d ", &got.status), 1);
    forget(c, head);
    const char *length = strstr(got.head, "Content-Length: ");
    got.body_bytes = length != NULL && !is_head ? strtoul(length + 16, NULL, 10) : 0;
    while (c->n < got.body_bytes) {
        assert_false(c->ended || c->reset);
        listen_once(r, c);
    }
    if (got.body_bytes < sizeof got.body)
        memcpy(got.body, c->text, got.body_bytes);
    forget(c, got.body_bytes);
    return got;
}

static inline reply hear(rig *r, client *c)
{
    return hear_to(r, c, false);
}

static inline void hear_status(rig *r, client *c, int status)
{
    reply got = hear(r, c);
    if (got.status != status)
        fail_msg("answered %d instead of %d: %s%s", got.status, status, got.head, got.body);
}

/* The connection ends, and nothing more was said. */
static inline void hear_end(rig *r, client *c)
{
    TURN_UNTIL(r, (listen_once(r, c), c->ended || c->reset));
    assert_string_equal(c->text, "");
    assert_true(c->ended);
}

#endif
