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

#endif
