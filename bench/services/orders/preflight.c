/* What can be seen to be wrong before a service starts. */
#include "options.h"

#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* The loops share the port among themselves, and so would another process of this user: whether the
 * port is free shows only when it is bound without sharing. */
static bool port_is_free(const char *program, const address *at)
{
    char port[8];
    int on = 1;
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE }, *found = NULL;
    snprintf(port, sizeof port, "%u", at->port);
    if (at->port == 0 || getaddrinfo(at->host[0] ? at->host : NULL, port, &hints, &found) != 0)
        return true; /* the server says what is wrong */
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    bool ok = fd < 0 || bind(fd, found->ai_addr, found->ai_addrlen) == 0;
    if (!ok)
        fprintf(stderr, "%s: --listen %s:%s: %m\n", program, at->host, port);
    if (fd >= 0)
        close(fd);
    freeaddrinfo(found);
    return ok;
}

static bool may_write(const char *program, const char *option, const char *scheme, const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        fprintf(stderr, "%s: --%s %s:%s: %m\n", program, option, scheme, path);
    else
        close(fd);
    return fd >= 0;
}

bool preflight_may_read(const char *program, const char *option, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        fprintf(stderr, "%s: --%s %s: %m\n", program, option, path);
    else
        close(fd);
    return fd >= 0;
}

bool preflight(const options *o)
{
    return (o->store != STORE_SQLITE || may_write(o->program, "store", "sqlite", o->store_at)) &&
           (o->notify != NOTIFY_FILE || may_write(o->program, "notify", "file", o->notify_at)) &&
           port_is_free(o->program, &o->listen);
}

void preflight_process(void)
{
    struct rlimit files;
    signal(SIGPIPE, SIG_IGN);
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}
