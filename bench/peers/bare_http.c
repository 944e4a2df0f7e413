/* The fastest honest HTTP/1.1 server: one epoll loop, http-parser, one write per read. */
#include "bare_reply.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256 };

typedef struct peer {
    http_parser parser;
    int fd;
    size_t held_at;
    size_t held_bytes;
    char *held; /* what the socket would not take; nothing is read meanwhile */
} peer;

typedef struct server {
    int epoll;
    int listener;
    char in[BARE_IN_BYTES];
    bare_out out;
} server;

static void peer_close(peer *p)
{
    close(p->fd);
    free(p->held);
    free(p);
}

static void watch(server *s, peer *p, int operation, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = p };
    epoll_ctl(s->epoll, operation, p->fd, &event);
}

static void accept_all(server *s)
{
    for (int fd; (fd = bare_accept(s->listener)) >= 0;) {
        peer *p = calloc(1, sizeof(*p));
        if (p == NULL) {
            close(fd);
            return;
        }
        p->fd = fd;
        http_parser_init(&p->parser, HTTP_REQUEST);
        watch(s, p, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* Keeps what was not sent; false if that fails. */
static bool hold(server *s, peer *p, size_t sent)
{
    p->held_at = 0;
    p->held_bytes = s->out.bytes - sent;
    p->held = malloc(p->held_bytes);
    if (p->held == NULL)
        return false;
    memcpy(p->held, s->out.data + sent, p->held_bytes);
    watch(s, p, EPOLL_CTL_MOD, EPOLLOUT);
    return true;
}

static void on_readable(server *s, peer *p)
{
    ssize_t got = recv(p->fd, s->in, sizeof(s->in), 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0 || !bare_reply(&p->parser, &s->out, s->in, (size_t)got)) {
        peer_close(p);
        return;
    }
    if (s->out.bytes == 0)
        return;
    ssize_t sent = send(p->fd, s->out.data, s->out.bytes, MSG_NOSIGNAL);
    if (sent == (ssize_t)s->out.bytes && !s->out.close)
        return;
    if ((sent < 0 && errno != EAGAIN) || s->out.close || !hold(s, p, sent > 0 ? (size_t)sent : 0))
        peer_close(p);
}

static void on_writable(server *s, peer *p)
{
    ssize_t sent = send(p->fd, p->held + p->held_at, p->held_bytes - p->held_at, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        peer_close(p);
        return;
    }
    p->held_at += sent > 0 ? (size_t)sent : 0;
    if (p->held_at < p->held_bytes)
        return;
    free(p->held);
    p->held = NULL;
    watch(s, p, EPOLL_CTL_MOD, EPOLLIN);
}

int main(int argc, char **argv)
{
    int port = bare_port(argc, argv, "bare_http: an HTTP server on bare epoll and http-parser");
    server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return 1;
    s->listener = bare_listen(port);
    s->epoll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = { .events = EPOLLIN };
    epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->listener, &event);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(s->epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            peer *p = events[i].data.ptr;
            if (p == NULL)
                accept_all(s);
            else if (p->held != NULL)
                on_writable(s, p);
            else
                on_readable(s, p);
        }
    }
}
