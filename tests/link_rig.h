/* Links of a server and of a client on one loop that the test turns itself, over real sockets. */
#ifndef LINK_RIG_H
#define LINK_RIG_H

#include "servers.h"
#include "wi_link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000, TEXT_MAX = 64 };

#define SPAN(text) ((weir_http1_span){ (text), strlen(text) })

/* What one side was told, all its links together. */
typedef struct told {
    unsigned ups, overs, gones, heads, ends, exchange_overs;
    size_t body_bytes;
    weir_status over, exchange_over;
    const char *why;
    unsigned status; /* of the last response */
    char path[TEXT_MAX], subject[TEXT_MAX], peer[TEXT_MAX];
    wi_link *link; /* the last one up */
    weir_http_exchange *exchange;
    bool waits; /* a server: does not answer by itself */
    bool keeps; /* does not consume */
    size_t answer_bytes;
} told;

typedef struct rig {
    weir_loop *loop;
    uint64_t clock_ns; /* the loop's time: it passes when the test says so */
    weir_env env;
    wi_links_config server_config, client_config;
    wi_links *server, *client;
    wi_port port;
    uint16_t port_number;
    wi_address address;
    told at_server, at_client;
    int fds;
} rig;

/* ---- Memory that is counted ---- */

static size_t link_bytes, link_allocations;
static size_t link_failing_nth; /* 0: none fails */

static inline void *link_resize(void *memory, size_t bytes, void *user)
{
    (void)user;
    size_t *block = memory != NULL ? (size_t *)memory - 2 : NULL;
    if (bytes != 0 && ++link_allocations == link_failing_nth)
        return NULL;
    if (block != NULL)
        link_bytes -= block[0];
    if (bytes == 0) {
        free(block);
        return NULL;
    }
    block = realloc(block, bytes + 2 * sizeof *block);
    if (block == NULL)
        abort();
    block[0] = bytes;
    link_bytes += bytes;
    return block + 2;
}

/* ---- Events ---- */

static inline uint64_t real_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static inline uint64_t rig_now(void *user)
{
    return *(const uint64_t *)user;
}

static inline rig *rig_of(const wi_link *link)
{
    return wi_link_user(link);
}

static inline told *told_of(rig *r, const wi_link *link)
{
    return wi_link_links(link) == r->server ? &r->at_server : &r->at_client;
}

static inline void rig_up(wi_link *link, void *user)
{
    told *t = told_of(user, link);
    t->ups++;
    t->link = link;
    snprintf(t->subject, sizeof t->subject, "%s", wi_link_peer_subject(link));
    assert_true(wi_link_peer(link, t->peer, sizeof t->peer) > 0);
    assert_non_null(wi_link_session(link));
}

static inline void rig_over(wi_link *link, weir_status status, const char *why, void *user)
{
    told *t = told_of(user, link);
    t->overs++;
    t->over = status;
    t->why = why;
    if (t->link == link)
        t->link = NULL;
}

static inline void rig_gone(void *user)
{
    rig *r = user;
    if (r->server != NULL && wi_links_count(r->server) == 0)
        r->at_server.gones++;
    if (r->client != NULL && wi_links_count(r->client) == 0)
        r->at_client.gones++;
}

/* The rest of a message; given up if memory fails. */
static inline void write_all(weir_http_exchange *exchange, size_t n, weir_status status)
{
    weir_bytes *body = NULL;
    if (status == WEIR_OK)
        body = weir_http_exchange_body(exchange, n);
    if (body != NULL) {
        if (n > 0)
            memset(body->at + body->len, 'b', n);
        body->len += n;
        weir_http_exchange_written(exchange);
        status = weir_http_exchange_end(exchange, NULL, 0);
    }
    if (body == NULL || status != WEIR_OK) {
        assert_true(link_failing_nth != 0);
        weir_http_exchange_reset(exchange, WEIR_ENOMEM, 2);
    }
    wi_link_touch(wi_link_of(exchange));
}

static inline void answer(weir_http_exchange *exchange, size_t bytes)
{
    weir_http_head head = { .status = 200, .content_length = UINT64_MAX };
    write_all(exchange, bytes, weir_http_exchange_respond(exchange, &head));
}

static inline void rig_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n,
                           void *user)
{
    wi_link *link = wi_link_of(exchange);
    rig *r = rig_of(link);
    told *t = told_of(r, link);
    (void)trailers;
    (void)n;
    (void)user;
    t->ends++;
    if (t == &r->at_server && !t->waits)
        answer(exchange, t->answer_bytes);
}

static inline void rig_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    wi_link *link = wi_link_of(exchange);
    told *t = told_of(rig_of(link), link);
    t->heads++;
    t->exchange = exchange;
    t->status = head->status;
    snprintf(t->path, sizeof t->path, "%.*s", (int)head->path.len, head->path.at);
    if (head->ends)
        rig_end(exchange, NULL, 0, user);
}

static inline void rig_body(weir_http_exchange *exchange, const char *bytes, size_t n, void *user)
{
    wi_link *link = wi_link_of(exchange);
    told *t = told_of(rig_of(link), link);
    (void)bytes;
    (void)user;
    t->body_bytes += n;
    if (!t->keeps)
        weir_http_exchange_consume(exchange, n);
}

static inline void rig_exchange_over(weir_http_exchange *exchange, weir_status status,
                                     uint32_t h2_code, void *user)
{
    wi_link *link = wi_link_of(exchange);
    told *t = told_of(rig_of(link), link);
    (void)h2_code;
    (void)user;
    t->exchange_overs++;
    t->exchange_over = status;
    if (t->exchange == exchange)
        t->exchange = NULL;
}

static const weir_http_events rig_http_events = { rig_head, rig_body,          rig_end,
                                                  NULL,     rig_exchange_over, NULL };
static const wi_link_events rig_events = { rig_up, rig_over, rig_gone };

/* ---- The rig ---- */

static inline wi_links *rig_links(rig *r, wi_links_config *config)
{
    const char *why = "";
    wi_links *links = NULL;
    config->loop = r->loop;
    config->events = &rig_events;
    config->session.events = &rig_http_events;
    config->user = r;
    if (wi_links_new(config, &links, &why) != WEIR_OK)
        fail_msg("%s", why);
    return links;
}

/* Configs in r; tls NULL: in clear. */
static inline void rig_start(rig *r, wi_tls *tls)
{
    const char *why = "";
    r->fds = server_count_fds();
    r->clock_ns = WEIR_SEC;
    r->env = (weir_env){ .allocator = { .resize = link_resize },
                         .now_ns = rig_now,
                         .user = &r->clock_ns };
    r->loop = weir_loop_new(&(weir_loop_config){ .env = &r->env });
    assert_non_null(r->loop);
    r->server = rig_links(r, &r->server_config);
    r->client_config.session.is_client = true;
    if (r->client_config.session.version == WEIR_HTTP_AUTO)
        r->client_config.session.version = tls == NULL ? WEIR_HTTP_1 : WEIR_HTTP_AUTO;
    r->client = rig_links(r, &r->client_config);
    assert_int_equal(wi_port_init(&r->port, "127.0.0.1:0", 1, &why), WEIR_OK);
    if (wi_links_listen(r->server, &r->port, 0, tls, &why) != WEIR_OK)
        fail_msg("%s", why);
    r->port_number = wi_links_port(r->server);
    struct sockaddr_in *in = (void *)&r->address.at;
    in->sin_family = AF_INET;
    in->sin_port = htons(r->port_number);
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    r->address.len = sizeof *in;
}

static inline void turn(rig *r)
{
    for (int i = 0; i < 20 && weir_loop_turn(r->loop); i++)
        ;
}

#define UNTIL(r, condition)                                              \
    do {                                                                 \
        for (uint64_t until_ = real_ms() + PATIENCE_MS; !(condition);) { \
            if (real_ms() > until_)                                      \
                fail_msg("never: %s", #condition);                       \
            turn(r);                                                     \
        }                                                                \
    } while (0)

/* Lets what is on its way arrive: nothing happens for some turns. */
static inline void settle(rig *r)
{
    for (int i = 0; i < 50; i++)
        turn(r);
}

static inline void later(rig *r, uint64_t ms)
{
    for (uint64_t step = 50; ms > 0; ms -= step) {
        step = ms < step ? ms : step;
        r->clock_ns += step * WEIR_MS;
        turn(r);
    }
}

static inline void rig_stop(rig *r)
{
    if (r->client != NULL)
        wi_links_close(r->client, WEIR_ECANCELED);
    if (r->server != NULL)
        wi_links_close(r->server, WEIR_ECANCELED);
    UNTIL(r, wi_links_count(r->server) == 0 && wi_links_count(r->client) == 0);
    settle(r);
    assert_int_equal(r->at_server.gones >= 1, 1);
    assert_int_equal(r->at_client.gones >= 1, 1);
    wi_links_free(r->client);
    wi_links_free(r->server);
    wi_port_done(&r->port);
    weir_loop_free(r->loop);
    assert_int_equal(server_count_fds(), r->fds);
    assert_int_equal(link_bytes, 0);
}

static inline wi_link *dial(rig *r, wi_tls *tls, const char *name)
{
    wi_link *link = NULL;
    wi_dial dial = { .address = &r->address, .tls = tls, .name = name, .user = r };
    assert_int_equal(wi_links_dial(r->client, &dial, &link), WEIR_OK);
    return link;
}

/* Begins a request; its body of so many bytes is whole. */
static inline weir_http_exchange *ask(rig *r, wi_link *link, size_t bytes)
{
    weir_http_exchange *exchange = NULL;
    weir_http_head head = { .method = SPAN("POST"),
                            .path = SPAN("/path"),
                            .authority = SPAN("localhost"),
                            .scheme = SPAN(wi_link_is_tls(link) ? "https" : "http"),
                            .content_length = UINT64_MAX,
                            .ends = bytes == 0 };
    weir_status status = weir_http_session_open(wi_link_session(link), &head, link, &exchange);
    assert_true(status == WEIR_OK || link_failing_nth != 0);
    if (bytes > 0 && status == WEIR_OK)
        write_all(exchange, bytes, status);
    wi_link_touch(link);
    (void)r;
    return status == WEIR_OK ? exchange : NULL;
}

/* ---- A peer of plain sockets ---- */

static inline int raw_dial(const rig *r)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&r->address.at, r->address.len), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

static inline void raw_say(int fd, const char *text)
{
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Reads until the end, or until `text` was there; gives what came. -1 as its length: a reset. */
static inline ssize_t raw_hear(rig *r, int fd, const char *text, char *at, size_t cap)
{
    size_t n = 0;
    for (uint64_t until = real_ms() + PATIENCE_MS;;) {
        ssize_t got = recv(fd, at + n, cap - 1 - n, 0);
        if (got < 0 && errno != EAGAIN)
            return -1;
        if (got == 0)
            return (ssize_t)n;
        n += got > 0 ? (size_t)got : 0;
        at[n] = '\0';
        if (text != NULL && strstr(at, text) != NULL)
            return (ssize_t)n;
        assert_true(real_ms() < until);
        turn(r);
    }
}

#endif
