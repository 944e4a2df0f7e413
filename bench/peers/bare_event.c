/* The bare HTTP server on raw libevent events, to see what libevent itself costs. */
#include "bare_reply.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct server {
    struct event_base *base;
    int listener;
    char in[BARE_IN_BYTES];
    bare_out out;
} server;

typedef struct peer {
    struct event readable;
    http_parser parser;
    server *server;
    int fd;
} peer;

static void peer_close(peer *p)
{
    event_del(&p->readable);
    close(p->fd);
    free(p);
}

/* Sends all, waiting if it must: no benchmark fills a socket's buffer here. */
static bool send_all(int fd, const char *data, size_t bytes)
{
    while (bytes != 0) {
        ssize_t sent = send(fd, data, bytes, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            return false;
        if (sent > 0) {
            data += sent;
            bytes -= (size_t)sent;
        }
    }
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    peer *p = user;
    server *s = p->server;
    (void)what;
    ssize_t got = recv(fd, s->in, sizeof(s->in), 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0 || !bare_reply(&p->parser, &s->out, s->in, (size_t)got) ||
        !send_all(fd, s->out.data, s->out.bytes) || s->out.close)
        peer_close(p);
}

static void on_accept(evutil_socket_t fd, short what, void *user)
{
    server *s = user;
    (void)what;
    for (int accepted; (accepted = bare_accept(fd)) >= 0;) {
        peer *p = calloc(1, sizeof(*p));
        if (p == NULL) {
            close(accepted);
            return;
        }
        p->server = s;
        p->fd = accepted;
        http_parser_init(&p->parser, HTTP_REQUEST);
        event_assign(&p->readable, s->base, accepted, EV_READ | EV_PERSIST, on_readable, p);
        event_add(&p->readable, NULL);
    }
}

int main(int argc, char **argv)
{
    int port = bare_port(argc, argv, "bare_event: an HTTP server on raw libevent and http-parser");
    server *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return 1;
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    s->base = event_base_new_with_config(config);
    event_config_free(config);
    s->listener = bare_listen(port);
    struct event *accepting = event_new(s->base, s->listener, EV_READ | EV_PERSIST, on_accept, s);
    event_add(accepting, NULL);
    event_base_dispatch(s->base);
    return 0;
}
