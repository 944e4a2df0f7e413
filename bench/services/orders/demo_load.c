/* The demo's load: a closed loop over non-blocking sockets. */
#include "demo.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LAST_TURNS = 100, LAST_TURN_MS = 20, SUB_BUCKETS = 16 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * WEIR_SEC + (uint64_t)now.tv_nsec;
}

/* ---- Durations ---- */

static unsigned bucket_of(uint64_t ns)
{
    if (ns < SUB_BUCKETS)
        return (unsigned)ns;
    unsigned octave = 63u - (unsigned)__builtin_clzll(ns);
    unsigned index = (octave - 3) * SUB_BUCKETS + (unsigned)(ns >> (octave - 4)) % SUB_BUCKETS;
    return index < DEMO_BUCKETS ? index : DEMO_BUCKETS - 1;
}

static double bucket_ms(unsigned index)
{
    if (index < SUB_BUCKETS)
        return index / 1e6;
    unsigned octave = index / SUB_BUCKETS + 3;
    uint64_t low = ((uint64_t)SUB_BUCKETS + index % SUB_BUCKETS) << (octave - 4);
    return (double)low / 1e6;
}

static void note(demo_histogram *h, uint64_t ns)
{
    h->count++;
    h->buckets[bucket_of(ns)]++;
    if (ns > h->longest_ns)
        h->longest_ns = ns;
}

double demo_quantile_ms(const demo_histogram *h, double quantile)
{
    uint64_t wanted = (uint64_t)(quantile * (double)h->count), seen = 0;
    for (unsigned i = 0; i < DEMO_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > wanted)
            return bucket_ms(i);
    }
    return 0;
}

void demo_since(const demo_histogram *now, const demo_histogram *before, demo_histogram *ret_recent)
{
    ret_recent->count = now->count - before->count;
    ret_recent->longest_ns = now->longest_ns;
    for (unsigned i = 0; i < DEMO_BUCKETS; i++)
        ret_recent->buckets[i] = now->buckets[i] - before->buckets[i];
}

/* ---- Connections ---- */

static void drop(demo_load *l, demo_connection *c)
{
    l->errors++;
    close(c->fd);
    c->fd = -1;
    c->waits = false;
}

static void send_order(demo_load *l, demo_connection *c)
{
    char body[256], text[512];
    uint64_t number = l->number++;
    unsigned cents = (unsigned)(number * 7919 % 100000) + 1;
    int bytes = snprintf(body, sizeof body,
                         "{\"id\":\"demo-%llu\",\"amount\":%u.%02u,\"currency\":\"EUR\","
                         "\"items\":[{\"sku\":\"sku-%llu\",\"qty\":1,\"price\":%u.%02u}]}",
                         (unsigned long long)number, cents / 100, cents % 100,
                         (unsigned long long)number % 1000, cents / 100, cents % 100);
    int all = snprintf(text, sizeof text,
                       "POST /orders HTTP/1.1\r\nHost: localhost\r\n"
                       "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
                       bytes, body);
    c->sent_ns = now_ns();
    c->waits = true;
    if (send(c->fd, text, (size_t)all, MSG_NOSIGNAL) != all)
        drop(l, c);
}

static int connect_to(const char *host, uint16_t port)
{
    char service_port[8];
    int on = 1, fd = -1;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    snprintf(service_port, sizeof service_port, "%u", port);
    if (getaddrinfo(host[0] ? host : NULL, service_port, &hints, &found) != 0)
        return -1;
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        close(fd);
        fd = -1;
    }
    freeaddrinfo(found);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

bool demo_load_start(demo_load *l, const char *host, uint16_t port)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) {
        perror("orders: --demo");
        return false;
    }
    l->epoll = 1 + epoll;
    for (unsigned i = 0; i < DEMO_CONNECTIONS; i++) {
        demo_connection *c = &l->connections[i];
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = c };
        c->fd = connect_to(host, port);
        if (c->fd < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) {
            perror("orders: --demo: cannot connect");
            for (; i < DEMO_CONNECTIONS; i++)
                l->connections[i].fd = -1;
            return false;
        }
        send_order(l, c);
    }
    return true;
}

/* Reads what is there; true once the answer is complete. */
static bool read_answer(demo_load *l, demo_connection *c)
{
    ssize_t got = recv(c->fd, c->in + c->in_bytes, sizeof c->in - c->in_bytes, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (got <= 0) {
        drop(l, c);
        return false;
    }
    c->in_bytes += (size_t)got;
    size_t used = 0;
    enum response_result result = response_read(&c->response, &l->cache, false, c->in, c->in_bytes,
                                                &used);
    c->in_bytes -= used;
    memmove(c->in, c->in + used, c->in_bytes);
    if (result == RESPONSE_BAD || (result == RESPONSE_MORE && c->in_bytes == sizeof c->in))
        drop(l, c);
    return result == RESPONSE_DONE;
}

static void take_answer(demo_load *l, demo_connection *c, bool go_on)
{
    if (!read_answer(l, c))
        return;
    c->waits = false;
    l->statuses[c->response.facts.status]++;
    note(&l->histogram, now_ns() - c->sent_ns);
    bool close_it = c->response.facts.close;
    c->response = (response){ .state = RESPONSE_HEAD };
    if (close_it)
        drop(l, c);
    else if (go_on)
        send_order(l, c);
}

static void turn(demo_load *l, int ms, bool go_on)
{
    struct epoll_event events[DEMO_CONNECTIONS];
    int n = epoll_wait(l->epoll - 1, events, DEMO_CONNECTIONS, ms);
    for (int i = 0; i < n; i++)
        take_answer(l, events[i].data.ptr, go_on);
}

static bool any_waits(const demo_load *l)
{
    for (unsigned i = 0; i < DEMO_CONNECTIONS; i++)
        if (l->connections[i].waits)
            return true;
    return false;
}

bool demo_load_turn(demo_load *l, int ms)
{
    turn(l, ms, true);
    return any_waits(l);
}

void demo_load_stop(demo_load *l)
{
    if (l->epoll == 0)
        return;
    for (int i = 0; i < LAST_TURNS && any_waits(l); i++)
        turn(l, LAST_TURN_MS, false);
    for (unsigned i = 0; i < DEMO_CONNECTIONS; i++)
        if (l->connections[i].fd >= 0)
            close(l->connections[i].fd);
    close(l->epoll - 1);
}
