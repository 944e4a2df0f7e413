/* A listening socket of one loop: bound with a clear reason on failure, paused and resumed. */
#include "wi_listener.h"
#include <event2/util.h>

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_MAX = 64, RETRY_MS = 50 };

/* ---- Binding ---- */

static weir_status explain(int error, const char **ret_why)
{
    switch (error) {
    case EADDRINUSE:
        *ret_why = "cannot listen: the address is in use";
        return WEIR_EEXIST;
    case EACCES:
    case EPERM:
        *ret_why = "cannot listen: permission denied";
        return WEIR_EDENIED;
    case EADDRNOTAVAIL:
        *ret_why = "cannot listen: this machine has no such address";
        return WEIR_ENOTFOUND;
    case EMFILE:
    case ENFILE:
        *ret_why = "cannot listen: out of descriptors";
        return WEIR_ELIMIT;
    default:
        *ret_why = "cannot listen";
        return WEIR_EIO;
    }
}

static weir_status bind_at(const struct evutil_addrinfo *at, bool reuse_port, int *ret_fd,
                           const char **ret_why)
{
    int on = 1, off = 0;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return explain(errno, ret_why);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (at->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if ((reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) ||
        bind(fd, at->ai_addr, (socklen_t)at->ai_addrlen) != 0) {
        weir_status status = explain(errno, ret_why);
        close(fd);
        return status;
    }
    *ret_fd = fd;
    return WEIR_OK;
}

weir_status wi_listener_bind(const char *host, uint16_t port, bool reuse_port, int *ret_fd,
                             const char **ret_why)
{
    char port_text[8];
    struct evutil_addrinfo *list = NULL;
    struct evutil_addrinfo hints = {
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_protocol = IPPROTO_TCP,
        .ai_flags = EVUTIL_AI_PASSIVE | EVUTIL_AI_NUMERICSERV | EVUTIL_AI_NUMERICHOST,
    };
    snprintf(port_text, sizeof port_text, "%u", port);
    if (host == NULL || host[0] == '\0') {
        host = "::"; /* takes both families, where the system has both */
    } else if (strcmp(host, "localhost") == 0) {
        host = "127.0.0.1";
    }
    if (evutil_getaddrinfo(host, port_text, &hints, &list) != 0) {
        *ret_why = "cannot listen: the host must be a numeric address";
        return WEIR_EINVAL;
    }
    weir_status status = bind_at(list, reuse_port, ret_fd, ret_why);
    evutil_freeaddrinfo(list);
    bool no_v6 = status == WEIR_EIO || status == WEIR_ENOTFOUND;
    if (no_v6 && strcmp(host, "::") == 0)
        return wi_listener_bind("0.0.0.0", port, reuse_port, ret_fd, ret_why);
    return status;
}

uint16_t wi_listener_port(int fd)
{
    struct sockaddr_storage at;
    socklen_t len = sizeof at;
    if (getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        return 0;
    if (at.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&at)->sin6_port);
    return ntohs(((struct sockaddr_in *)&at)->sin_port);
}

/* ---- Accepting ---- */

static void retry_accept(weir_timer *timer, void *user)
{
    wi_listener *listener = user;
    (void)timer;
    if (!listener->paused)
        event_add(&listener->readable, NULL);
}

/* Without a descriptor to accept with, the socket stays readable: looking away for a while keeps
 * the loop from spinning. */
static void look_away(wi_listener *listener)
{
    event_del(&listener->readable);
    weir_timer_start(listener->loop, &listener->retry, RETRY_MS * WEIR_MS, retry_accept, listener);
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    wi_listener *listener = user;
    (void)what;
    for (int i = 0; i < ACCEPTS_MAX && !listener->paused; i++) {
        int on = 1;
        int accepted = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
                look_away(listener);
            if (errno != ECONNABORTED && errno != EINTR)
                return;
            continue;
        }
        (void)setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        listener->accepted(accepted, listener->user);
    }
}

weir_status wi_listener_start(wi_listener *listener, weir_loop *loop, int fd, uint32_t backlog,
                              void (*accepted)(int fd, void *user), void *user,
                              const char **ret_why)
{
    *listener = (wi_listener){ .loop = loop, .fd = fd, .accepted = accepted, .user = user };
    if (listen(fd, backlog == 0 ? SOMAXCONN : (int)backlog) != 0) {
        weir_status status = explain(errno, ret_why);
        close(fd);
        listener->loop = NULL;
        return status;
    }
    event_assign(&listener->readable, weir_loop_base(loop), fd, EV_READ | EV_PERSIST, on_readable,
                 listener);
    if (event_add(&listener->readable, NULL) != 0) {
        *ret_why = "cannot listen: no memory";
        close(fd);
        listener->loop = NULL;
        return WEIR_ENOMEM;
    }
    return WEIR_OK;
}

void wi_listener_pause(wi_listener *listener)
{
    if (listener->loop == NULL || listener->paused)
        return;
    listener->paused = true;
    event_del(&listener->readable);
}

void wi_listener_resume(wi_listener *listener)
{
    if (listener->loop == NULL || !listener->paused)
        return;
    listener->paused = false;
    event_add(&listener->readable, NULL);
}

void wi_listener_stop(wi_listener *listener)
{
    if (listener->loop == NULL)
        return;
    weir_timer_stop(listener->loop, &listener->retry);
    event_del(&listener->readable);
    close(listener->fd);
    listener->loop = NULL;
    listener->paused = true; /* it may be `accepted` that stops it */
}

/* ---- Addresses ---- */

weir_status wi_listener_split(const char *text, char *ret_host, size_t host_cap, uint16_t *ret_port)
{
    const char *colon = text != NULL ? strrchr(text, ':') : NULL;
    if (colon == NULL || colon[1] < '0' || colon[1] > '9')
        return WEIR_EINVAL;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    size_t n = (size_t)(colon - text);
    if (*end != '\0' || port > 65535)
        return WEIR_EINVAL;
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        text++;
        n -= 2;
    }
    if (n >= host_cap)
        return WEIR_EINVAL;
    memcpy(ret_host, text, n);
    ret_host[n] = '\0';
    *ret_port = (uint16_t)port;
    return WEIR_OK;
}

/* ---- Ports of several replicas ---- */

weir_status wi_port_init(wi_port *port, const char *listen, uint32_t replicas, const char **ret_why)
{
    *port = (wi_port){ .reserved_fd = -1, .shared = replicas > 1 };
    *ret_why = "listen is not host:port";
    weir_status status = wi_listener_split(listen, port->host, sizeof port->host, &port->port);
    if (status != WEIR_OK || port->port != 0 || !port->shared)
        return status;
    /* A socket that is bound and never listens reserves it. */
    status = wi_listener_bind(port->host, 0, true, &port->reserved_fd, ret_why);
    if (status == WEIR_OK)
        port->port = wi_listener_port(port->reserved_fd);
    return status;
}

void wi_port_done(wi_port *port)
{
    if (port->reserved_fd > 0)
        close(port->reserved_fd);
    port->reserved_fd = -1;
}

weir_status wi_port_bind(const wi_port *port, int *ret_fd, const char **ret_why)
{
    return wi_listener_bind(port->host, port->port, port->shared, ret_fd, ret_why);
}

uint32_t wi_connections_max(uint32_t wanted, uint32_t replicas)
{
    struct rlimit files = { 0 };
    uint64_t most = 1024;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0)
        most = files.rlim_cur;
    most = most > 128 ? most - 64 : 64;
    if (wanted != 0 && wanted < most)
        most = wanted;
    most /= replicas;
    return most < 1 ? 1 : most > INT32_MAX ? INT32_MAX : (uint32_t)most;
}
