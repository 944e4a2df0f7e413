/* A listening socket of one loop: bound with a clear reason on failure, paused and resumed. */
#ifndef WI_LISTENER_H
#define WI_LISTENER_H

#include <weir/loop.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include <stdbool.h>
#include <stdint.h>

typedef struct wi_listener {
    weir_loop *loop;
    int fd;
    struct event readable;
    weir_timer retry; /* after the process or the system ran out of descriptors */
    void (*accepted)(int fd, void *user);
    void *user;
    bool paused;
} wi_listener;

/* Binds a non-blocking socket to `host` (a number, or a name of the hosts file; NULL: every
 * address) and `port` (0: any free one). Does not listen yet: a port can be reserved so. With
 * reuse_port several sockets share a port. */
weir_status wi_listener_bind(const char *host, uint16_t port, bool reuse_port, int *ret_fd,
                             const char **ret_why);
/* The port of a bound socket; 0 if it has none. */
uint16_t wi_listener_port(int fd);
/* Listens on `fd`, which it takes. `accepted` is given non-blocking sockets with Nagle off. */
weir_status wi_listener_start(wi_listener *listener, weir_loop *loop, int fd, uint32_t backlog,
                              void (*accepted)(int fd, void *user), void *user,
                              const char **ret_why);
/* While paused, connections wait in the kernel's backlog. */
void wi_listener_pause(wi_listener *listener);
void wi_listener_resume(wi_listener *listener);
/* Closes it; idempotent, and fine on one that was never started but zeroed. */
void wi_listener_stop(wi_listener *listener);

/* Splits "host:port", "[v6]:port" or ":port" (every address). */
weir_status wi_listener_split(const char *text, char *ret_host, size_t host_cap,
                              uint16_t *ret_port);

/* A port for the replicas of a server, each of which listens on a socket of its own. */
typedef struct wi_port {
    char host[64];
    uint16_t port;   /* chosen already if any free one was asked for and there are several */
    bool shared;     /* by several replicas */
    int reserved_fd; /* holds a free port for all; -1: none */
} wi_port;

/* Of `listen` (as for wi_listener_split). */
weir_status wi_port_init(wi_port *port, const char *listen, uint32_t replicas,
                         const char **ret_why);
/* Fine on one whose init failed. */
void wi_port_done(wi_port *port);
/* Binds a socket for a replica. */
weir_status wi_port_bind(const wi_port *port, int *ret_fd, const char **ret_why);

/* How many connections each of `replicas` may have, of `wanted` (0: as many as there are
 * descriptors, less some for the rest). */
uint32_t wi_connections_max(uint32_t wanted, uint32_t replicas);

#endif
