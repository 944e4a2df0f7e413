/* The demo: uploads of large images from a thread of its own, a worker killed meanwhile, and how
 * the service does. */
#include "../../load/tree.h"
#include "picture.h"
#include "service.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    SECONDS = 4,
    SHOW_MS = 1000,
    MEASURE_MS = 50,
    CONNECTIONS = 8,
    SIDE = 4000,
    IN_BYTES = 16 * 1024,
    KINDS = 2
};

typedef struct upload {
    int fd; /* -1: none */
    unsigned kind;
    char head[128];
    size_t head_bytes, sent, got;
    char in[IN_BYTES]; /* the beginning of the answer */
} upload;

typedef struct picture {
    uint8_t *bytes;
    size_t n;
} picture;

struct demo {
    service *service;
    pthread_t thread;
    picture pictures[KINDS];
    upload uploads[CONNECTIONS];
    uint64_t answered, errors, statuses[600];
    uint64_t begin_ns, end_ns, measured_ns;
    tree_memory most;
    bool started, killed;
};

static uint64_t clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * WEIR_SEC + (uint64_t)now.tv_nsec;
}

/* ---- Uploads: one for each connection, which then closes ---- */

static void begin(demo *d, upload *u)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((uint16_t)atomic_load(&d->service->port)) };
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    u->kind = (u->kind + 1) % KINDS;
    u->sent = u->got = 0;
    u->head_bytes = (size_t)snprintf(u->head, sizeof u->head,
                                     "POST /thumbnails HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                                     "Content-Length: %zu\r\n\r\n",
                                     d->pictures[u->kind].n);
    u->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (u->fd >= 0 && connect(u->fd, (struct sockaddr *)&to, sizeof to) != 0 &&
        errno != EINPROGRESS) {
        close(u->fd);
        u->fd = -1;
    }
}

static void finish(demo *d, upload *u)
{
    u->in[u->got < IN_BYTES ? u->got : IN_BYTES - 1] = '\0';
    int status = strncmp(u->in, "HTTP/1.1 ", 9) == 0 ? atoi(u->in + 9) : 0;
    if (status >= 100 && status < 600) {
        d->answered++;
        d->statuses[status]++;
    } else {
        d->errors++;
    }
    close(u->fd);
    u->fd = -1;
}

static void send_more(const demo *d, upload *u)
{
    const picture *p = &d->pictures[u->kind];
    while (u->sent < u->head_bytes + p->n) {
        bool in_head = u->sent < u->head_bytes;
        const char *at = in_head ? u->head + u->sent
                                 : (const char *)p->bytes + (u->sent - u->head_bytes);
        size_t left = in_head ? u->head_bytes - u->sent : p->n - (u->sent - u->head_bytes);
        ssize_t n = send(u->fd, at, left, MSG_NOSIGNAL | (in_head ? MSG_MORE : 0));
        if (n < 0)
            return;
        u->sent += (size_t)n;
    }
}

static void receive(demo *d, upload *u)
{
    char rest[IN_BYTES];
    bool fits = u->got < IN_BYTES - 1;
    ssize_t n = recv(u->fd, fits ? u->in + u->got : rest, fits ? IN_BYTES - 1 - u->got : IN_BYTES,
                     0);
    if (n > 0)
        u->got += fits ? (size_t)n : 0;
    else if (n == 0 || errno != EAGAIN)
        finish(d, u);
}

static bool turn(demo *d, bool begins)
{
    struct pollfd polls[CONNECTIONS];
    uint32_t open = 0;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        upload *u = &d->uploads[i];
        if (u->fd < 0 && begins)
            begin(d, u);
        bool sends = u->sent < u->head_bytes + d->pictures[u->kind].n;
        polls[i] = (struct pollfd){ .fd = u->fd, .events = sends ? POLLIN | POLLOUT : POLLIN };
        open += u->fd >= 0;
    }
    if (open == 0 || poll(polls, CONNECTIONS, 20) < 0)
        return open != 0;
    for (size_t i = 0; i < CONNECTIONS; i++) {
        if ((polls[i].revents & POLLOUT) != 0)
            send_more(d, &d->uploads[i]);
        if ((polls[i].revents & ~POLLOUT) != 0)
            receive(d, &d->uploads[i]);
    }
    return true;
}

/* ---- The thread ---- */

static void measure(demo *d)
{
    tree_memory now;
    uint64_t at = clock_ns();
    if (at - d->measured_ns < MEASURE_MS * WEIR_MS)
        return;
    d->measured_ns = at;
    tree_memory_read(getpid(), &now);
    if (now.pss_bytes > d->most.pss_bytes)
        d->most = now;
}

static void kill_one(demo *d)
{
    pid_t pid;
    d->killed = tree_find(getpid(), "weir-worker", &pid, 1) == 1 && kill(pid, SIGKILL) == 0;
}

static void show(const demo *d, uint64_t since, uint64_t ns)
{
    weir_isolate_stats w;
    weir_isolate_stats_get(&d->service->workers, &w);
    printf("%7.1f images/s  %.0f MiB  workers %llu busy, %llu died\n",
           (double)(d->answered - since) / ((double)ns / 1e9),
           (double)d->most.pss_bytes / (1 << 20), (unsigned long long)w.in_flight,
           (unsigned long long)w.crashes);
    fflush(stdout);
}

static void load(demo *d)
{
    uint64_t shown = d->begin_ns = clock_ns(), before = 0;
    uint64_t end = d->begin_ns + SECONDS * WEIR_SEC;
    for (uint64_t now = shown; now < end; now = clock_ns()) {
        if (!turn(d, true))
            break;
        if (!d->killed && now - d->begin_ns > SECONDS * WEIR_SEC / 2)
            kill_one(d);
        measure(d);
        if (now - shown < SHOW_MS * WEIR_MS)
            continue;
        show(d, before, now - shown);
        before = d->answered;
        shown = now;
    }
    while (turn(d, false)) /* what was begun */
        measure(d);
    d->end_ns = clock_ns();
}

static bool prepare(demo *d)
{
    static const picture_kind kinds[KINDS] = { PICTURE_JPEG, PICTURE_PNG };
    static const uint32_t noises[KINDS] = { 16, 2 };
    bool ok = true;
    for (size_t i = 0; i < KINDS; i++) {
        d->pictures[i].bytes = picture_make(kinds[i], SIDE, SIDE, noises[i], &d->pictures[i].n);
        ok = ok && d->pictures[i].bytes != NULL;
    }
    for (size_t i = 0; i < CONNECTIONS; i++)
        d->uploads[i] = (upload){ .fd = -1, .kind = (unsigned)i };
    return ok;
}

static void *run(void *user)
{
    demo *d = user;
    while (sem_wait(&d->service->listens) != 0)
        ;
    if (atomic_load(&d->service->port) != 0 && prepare(d)) {
        d->started = true;
        load(d);
    }
    weir_pipeline_shutdown(d->service->pipeline, WEIR_HYBRID, d->service->options.drain_ms);
    return NULL;
}

demo *demo_start(service *s)
{
    demo *d = weir_memory_new(&s->env, sizeof *d);
    if (d == NULL)
        return NULL;
    d->service = s;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&d->thread, NULL, run, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        weir_memory_free(&s->env, d);
        return NULL;
    }
    return d;
}

/* ---- The summary ---- */

static bool print_summary(const demo *d)
{
    double seconds = (double)(d->end_ns - d->begin_ns) / 1e9;
    const service *s = d->service;
    weir_isolate_stats w;
    weir_isolate_stats_get(&s->workers, &w);
    printf("\nthumbnails: %.1f s of uploads, %u at a time, %u x %u: JPEG of %.1f MB, PNG of %.1f "
           "MB\n\n",
           seconds, CONNECTIONS, SIDE, SIDE, (double)d->pictures[0].n / 1e6,
           (double)d->pictures[1].n / 1e6);
    printf("  answered   %llu, %.1f images/s\n", (unsigned long long)d->answered,
           (double)d->answered / seconds);
    for (unsigned i = 0; i < sizeof d->statuses / sizeof *d->statuses; i++)
        if (d->statuses[i] != 0)
            printf("  status %u %llu\n", i, (unsigned long long)d->statuses[i]);
    printf("  memory     %.0f MiB at most, %u processes, the load's own %.0f MiB included; budget "
           "%.0f MiB\n",
           (double)d->most.pss_bytes / (1 << 20), d->most.processes,
           (double)(d->pictures[0].n + d->pictures[1].n) / (1 << 20),
           (double)s->options.memory / (1 << 20));
    printf(
        "  workers    %u, of which one was killed: %llu died, %llu restarted, %llu images lost\n",
        s->options.workers, (unsigned long long)w.crashes, (unsigned long long)w.restarts,
        (unsigned long long)w.items_failed);
    uint64_t good = d->statuses[200] + d->statuses[201], lost = d->statuses[500];
    return d->killed && d->errors == 0 && good != 0 && lost <= 1 && good + lost == d->answered;
}

bool demo_finish(demo *d)
{
    pthread_join(d->thread, NULL);
    bool ok = d->started && print_summary(d);
    if (!ok)
        fputs("thumbnails: --demo: not all images were answered well\n", stderr);
    for (size_t i = 0; i < KINDS; i++)
        free(d->pictures[i].bytes);
    weir_memory_free(&d->service->env, d);
    return ok;
}
