/* A door: connections that somebody else accepted, on their way to the server. */
#include "http_server_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#define DOOR_MAX 512 /* descriptors that wait */

struct weir_http_door {
    const weir_env *env;
    pthread_mutex_t lock;
    wi_httpd *servers; /* replicas that take from it; the next one to wake in front */
    bool was_open;
    uint32_t head;
    _Atomic uint32_t n;
    int fds[DOOR_MAX];
};

weir_http_door *weir_http_door_new(const weir_env *env)
{
    weir_http_door *door = weir_memory_new(env, sizeof *door);
    if (door == NULL)
        return NULL;
    door->env = env;
    pthread_mutex_init(&door->lock, NULL);
    return door;
}

static int take(weir_http_door *door)
{
    int fd = -1;
    pthread_mutex_lock(&door->lock);
    if (door->n != 0) {
        fd = door->fds[door->head];
        door->head = (door->head + 1) % DOOR_MAX;
        door->n--;
    }
    pthread_mutex_unlock(&door->lock);
    return fd;
}

static void close_waiting(weir_http_door *door)
{
    for (int fd; (fd = take(door)) >= 0;)
        close(fd);
}

void weir_http_door_free(weir_http_door *door)
{
    if (door == NULL)
        return;
    close_waiting(door);
    pthread_mutex_destroy(&door->lock);
    weir_memory_free(door->env, door);
}

static bool make_ready(int fd)
{
    int on = 1, flags = fcntl(fd, F_GETFL, 0);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* fails on a Unix socket */
    return flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* In turn, so that the replicas share the work. Under the lock. */
static void wake_next(weir_http_door *door)
{
    wi_httpd *first = door->servers;
    if (first == NULL)
        return;
    weir_post(first->loop, &first->door_task);
    if (first->next_at_door == NULL)
        return;
    door->servers = first->next_at_door;
    first->next_at_door = NULL;
    wi_httpd **last = &door->servers;
    while (*last != NULL)
        last = &(*last)->next_at_door;
    *last = first;
}

weir_status weir_http_door_hand(weir_http_door *door, int fd)
{
    weir_status status = WEIR_OK;
    if (!make_ready(fd))
        return WEIR_EINVAL;
    pthread_mutex_lock(&door->lock);
    if (door->was_open && door->servers == NULL) {
        status = WEIR_ECLOSED;
    } else if (door->n == DOOR_MAX) {
        status = WEIR_EOVERLOAD;
    } else {
        door->fds[(door->head + door->n) % DOOR_MAX] = fd;
        door->n++;
        wake_next(door);
    }
    pthread_mutex_unlock(&door->lock);
    return status;
}

/* ---- The server's side ---- */

bool wi_httpd_door_waits(const wi_httpd *server)
{
    return server->config.door->n != 0;
}

void wi_httpd_door_take(wi_httpd *server)
{
    for (int fd; wi_httpd_may_accept(server) && (fd = take(server->config.door)) >= 0;)
        if (wi_httpd_conn_new(server, fd) == NULL)
            close(fd);
}

static void taken(weir_task *task, void *user)
{
    (void)task;
    wi_httpd_door_take(user);
}

void wi_httpd_door_open(wi_httpd *server)
{
    weir_http_door *door = server->config.door;
    server->door_task = (weir_task)WEIR_TASK(taken, server);
    pthread_mutex_lock(&door->lock);
    server->next_at_door = door->servers;
    door->servers = server;
    door->was_open = true;
    pthread_mutex_unlock(&door->lock);
    weir_post(server->loop, &server->door_task); /* for what was handed before */
}

/* What waits when the last replica leaves is closed: nobody would answer it. */
void wi_httpd_door_close(wi_httpd *server)
{
    weir_http_door *door = server->config.door;
    if (door == NULL)
        return;
    pthread_mutex_lock(&door->lock);
    for (wi_httpd **link = &door->servers; *link != NULL; link = &(*link)->next_at_door) {
        if (*link != server)
            continue;
        *link = server->next_at_door;
        break;
    }
    bool last = door->servers == NULL;
    pthread_mutex_unlock(&door->lock);
    if (last)
        close_waiting(door);
}
