/* http_load: an HTTP/1.1 load generator on one core, for the benchmarks and the service tests. */
#include "options.h"
#include "proc.h"
#include "response.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IN_BYTES = 32 * 1024,
    EVENTS = 256,
    STATUSES = 600,
    EXIT_FAILED = 1,
    EXIT_UNANSWERED = 3,
};

#define RECONNECT_NS  20000000u
#define RETRY_NS_MIN  10000000u
#define DRAIN_NS      2000000000u
#define SECOND_NS     1000000000u
#define IDLE_ANSWER_S 10
#define IDLE_WARM     64

/* One connection: a batch of `batch` requests is sent at once and answered in order. */
typedef struct connection {
    int fd;
    bool connected;
    bool waiting; /* in load.waiting, until wake_ns */
    uint32_t batch;
    uint32_t answered;
    uint32_t retry_count;
    uint64_t sent_ns;
    uint64_t wake_ns;
    uint64_t *numbers; /* of the batch */
    uint64_t *retries; /* numbers answered 503, to be sent again */
    char *own_out;     /* only if requests differ */
    size_t out_at;
    size_t out_bytes;
    char *in;
    size_t in_bytes;
    response reading;
} connection;

typedef struct counts {
    uint64_t answered;
    uint64_t errors;
    uint64_t reconnects;
    uint64_t retried;
    uint64_t unexpected;
    uint64_t bytes_in;
    uint64_t status[STATUSES];
    histogram latency;
} counts;

typedef struct load {
    load_options options;
    load_request request;
    int epoll;
    int signals;
    connection *connections;
    connection **waiting;
    uint32_t waiting_count;
    uint32_t in_flight; /* connections with a batch under way */
    char *shared_out;   /* `pipeline` equal requests, if they need no number */
    uint64_t next_number;
    uint64_t sent;
    uint64_t start_ns;
    bool measuring;
    bool stopping;
    FILE *id_log;
    response_cache cache;
    counts counts;
    uint64_t late; /* answers after the end */
} load;

static _Noreturn void die(int code, const char *what)
{
    fprintf(stderr, "http_load: %s: %s\n", what, strerror(errno));
    exit(code);
}

static void *must_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        die(EXIT_UNANSWERED, "memory");
    return memory;
}

static void watch(load *l, connection *c, int operation, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = c };
    if (epoll_ctl(l->epoll, operation, c->fd, &event) != 0)
        die(EXIT_UNANSWERED, "epoll_ctl");
}

static void wait_until(load *l, connection *c, uint64_t wake_ns)
{
    c->wake_ns = wake_ns;
    if (!c->waiting) {
        c->waiting = true;
        l->waiting[l->waiting_count++] = c;
    }
}

static void connection_open(load *l, connection *c)
{
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die(EXIT_UNANSWERED, "socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    const struct sockaddr *to = (const struct sockaddr *)&l->options.address;
    int failed = connect(c->fd, to, sizeof(l->options.address));
    if (failed != 0 && errno != EINPROGRESS) {
        close(c->fd);
        c->fd = -1;
        l->counts.errors++;
        wait_until(l, c, now_ns() + RECONNECT_NS);
        return;
    }
    c->connected = false;
    watch(l, c, EPOLL_CTL_ADD, EPOLLOUT);
}

/* Ends a connection; unanswered requests are errors. A new one opens after `delay_ns`. */
static void connection_lose(load *l, connection *c, uint64_t delay_ns)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    if (c->batch != 0) {
        l->counts.errors += c->batch - c->answered;
        l->in_flight--;
    } else if (!c->connected) {
        l->counts.errors++;
    }
    l->counts.reconnects++;
    c->batch = c->answered = 0;
    c->in_bytes = 0;
    c->out_at = c->out_bytes = 0;
    c->reading = (response){ .state = RESPONSE_HEAD };
    uint64_t wake_ns = now_ns() + delay_ns;
    if (c->retry_count != 0 && c->wake_ns > wake_ns)
        wake_ns = c->wake_ns; /* the server said when to come back */
    wait_until(l, c, wake_ns);
}

/* How many requests may be sent now, by --requests and --rate. */
static uint32_t allowance(const load *l, uint64_t now)
{
    uint64_t allowed = l->options.pipeline;
    if (l->options.requests_max != 0 && l->options.requests_max - l->sent < allowed)
        allowed = l->options.requests_max - l->sent;
    if (l->options.rate != 0) {
        double due = (double)(now - l->start_ns) * 1e-9 * (double)l->options.rate;
        uint64_t room = due > (double)l->sent ? (uint64_t)due - l->sent : 0;
        if (room < allowed)
            allowed = room;
    }
    return (uint32_t)allowed;
}

static void put_number(char *at, uint64_t number)
{
    for (int i = NUMBER_DIGITS - 1; i >= 0; i--) {
        at[i] = (char)('0' + number % 10);
        number /= 10;
    }
}

static const char *batch_bytes(load *l, connection *c)
{
    const load_request *request = &l->request;
    if (request->slot_count == 0)
        return l->shared_out;
    return c->own_out;
}

static void batch_format(load *l, connection *c)
{
    const load_request *request = &l->request;
    c->out_at = 0;
    c->out_bytes = request->size * c->batch;
    if (request->slot_count == 0)
        return;
    for (uint32_t i = 0; i < c->batch; i++) {
        char *at = c->own_out + i * request->size; /* holds the request; only digits change */
        for (size_t s = 0; s < request->slot_count; s++)
            put_number(at + request->slots[s], c->numbers[i]);
    }
}

static void flush_out(load *l, connection *c)
{
    const char *bytes = batch_bytes(l, c);
    ssize_t sent = send(c->fd, bytes + c->out_at, c->out_bytes - c->out_at, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        connection_lose(l, c, RECONNECT_NS);
        return;
    }
    bool was_blocked = c->out_at != 0;
    c->out_at += sent > 0 ? (size_t)sent : 0;
    if (c->out_at < c->out_bytes)
        watch(l, c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    else if (was_blocked)
        watch(l, c, EPOLL_CTL_MOD, EPOLLIN);
}

static void batch_send(load *l, connection *c, uint64_t now)
{
    if (l->stopping)
        return;
    uint32_t fresh = allowance(l, now);
    if (fresh == 0 && c->retry_count == 0) {
        if (l->options.requests_max == 0 || l->sent < l->options.requests_max)
            wait_until(l, c, now);
        return;
    }
    c->batch = 0;
    c->answered = 0;
    while (c->retry_count != 0)
        c->numbers[c->batch++] = c->retries[--c->retry_count];
    for (; fresh != 0 && c->batch < l->options.pipeline; fresh--) {
        c->numbers[c->batch++] = l->next_number++;
        l->sent++;
    }
    l->in_flight++;
    batch_format(l, c);
    c->sent_ns = now;
    flush_out(l, c);
}

static void take_answer(load *l, connection *c, uint64_t now)
{
    const response_facts *facts = &c->reading.facts;
    uint64_t number = c->numbers[c->answered++];
    int status = facts->status;
    if (l->id_log != NULL && status / 100 == 2)
        fprintf(l->id_log, "%" PRIu64 "\n", number);
    if (status == 503 && l->options.retry_503) {
        c->retries[c->retry_count++] = number;
        uint64_t pause = (uint64_t)facts->retry_after_s * SECOND_NS;
        c->wake_ns = now + (pause > RETRY_NS_MIN ? pause : RETRY_NS_MIN);
    }
    if (l->stopping) {
        l->late++;
    } else if (l->measuring) {
        counts *n = &l->counts;
        n->answered++;
        n->status[status]++;
        n->retried += status == 503 && l->options.retry_503;
        n->unexpected += l->options.expect != 0 && status != l->options.expect;
        histogram_add(&n->latency, now - c->sent_ns);
    }
}

/* After the last answer of a batch: the next one, now or when the server said. */
static void batch_end(load *l, connection *c, uint64_t now, bool close_it)
{
    l->in_flight--;
    c->batch = c->answered = 0;
    if (close_it)
        connection_lose(l, c, 0);
    else if (c->retry_count != 0)
        wait_until(l, c, c->wake_ns);
    else
        batch_send(l, c, now);
}

static void read_answers(load *l, connection *c)
{
    ssize_t got = recv(c->fd, c->in + c->in_bytes, IN_BYTES - c->in_bytes, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        connection_lose(l, c, got == 0 ? 0 : RECONNECT_NS);
        return;
    }
    uint64_t now = now_ns();
    size_t bytes = c->in_bytes + (size_t)got;
    size_t at = 0;
    bool close_it = false;
    l->counts.bytes_in += (uint64_t)got;
    while (at < bytes && c->answered < c->batch && !close_it) {
        size_t used = 0;
        enum response_result result = response_read(&c->reading, &l->cache, l->options.head,
                                                    c->in + at, bytes - at, &used);
        at += used;
        if (result == RESPONSE_BAD) {
            connection_lose(l, c, RECONNECT_NS);
            return;
        }
        if (result == RESPONSE_MORE)
            break;
        close_it = c->reading.facts.close;
        take_answer(l, c, now);
    }
    c->in_bytes = bytes - at;
    if (c->batch == 0 || c->in_bytes == IN_BYTES) { /* bytes nobody asked for, or an endless head */
        connection_lose(l, c, RECONNECT_NS);
        return;
    }
    memmove(c->in, c->in + at, c->in_bytes);
    if (c->answered == c->batch)
        batch_end(l, c, now, close_it);
    else if (close_it)
        connection_lose(l, c, 0);
}

static void on_connected(load *l, connection *c)
{
    int error = 0;
    socklen_t size = sizeof(error);
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        connection_lose(l, c, RECONNECT_NS);
        return;
    }
    c->connected = true;
    watch(l, c, EPOLL_CTL_MOD, EPOLLIN);
    batch_send(l, c, now_ns());
}

static void on_event(load *l, connection *c, uint32_t events)
{
    if (!c->connected) {
        on_connected(l, c);
        return;
    }
    if ((events & EPOLLOUT) != 0 && c->out_at < c->out_bytes)
        flush_out(l, c);
    if (c->fd >= 0 && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        read_answers(l, c);
}

/* Wakes who waits for the rate, for a retry or to connect again. */
static void run_waiting(load *l, uint64_t now)
{
    uint32_t count = l->waiting_count;
    uint32_t kept = 0;
    connection *due[1024];
    uint32_t due_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        connection *c = l->waiting[i];
        if (c->wake_ns > now || due_count == sizeof(due) / sizeof(due[0])) {
            l->waiting[kept++] = c;
        } else {
            c->waiting = false;
            due[due_count++] = c;
        }
    }
    l->waiting_count = kept;
    for (uint32_t i = 0; i < due_count && !l->stopping; i++) {
        if (due[i]->fd < 0)
            connection_open(l, due[i]);
        else
            batch_send(l, due[i], now);
    }
}

/* One turn of the loop; false once a signal asked to end. */
static bool turn(load *l)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(l->epoll, events, EVENTS, l->waiting_count != 0 ? 1 : 20);
    bool go_on = true;
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr == NULL)
            go_on = false;
        else
            on_event(l, events[i].data.ptr, events[i].events);
    }
    if (l->waiting_count != 0)
        run_waiting(l, now_ns());
    return go_on;
}

static bool all_done(const load *l)
{
    if (l->options.requests_max == 0 || l->sent < l->options.requests_max || l->in_flight != 0)
        return false;
    for (uint32_t i = 0; i < l->options.connections; i++)
        if (l->connections[i].retry_count != 0)
            return false;
    return true;
}

static void run_until(load *l, uint64_t end_ns)
{
    while (now_ns() < end_ns && !all_done(l))
        if (!turn(l)) {
            l->stopping = true;
            return;
        }
}

static void load_open(load *l)
{
    const load_options *o = &l->options;
    l->connections = must_alloc(o->connections, sizeof(connection));
    l->waiting = must_alloc(o->connections, sizeof(connection *));
    l->shared_out = must_alloc(o->pipeline, l->request.size);
    for (uint32_t i = 0; i < o->pipeline; i++)
        memcpy(l->shared_out + i * l->request.size, l->request.bytes, l->request.size);
    if (o->id_log != NULL && (l->id_log = fopen(o->id_log, "a")) == NULL)
        die(2, o->id_log);
    l->next_number = o->first;
    l->start_ns = now_ns();
    for (uint32_t i = 0; i < o->connections; i++) {
        connection *c = &l->connections[i];
        c->numbers = must_alloc(o->pipeline, sizeof(uint64_t));
        c->retries = must_alloc(o->pipeline, sizeof(uint64_t));
        c->in = must_alloc(1, IN_BYTES);
        if (l->request.slot_count != 0) {
            c->own_out = must_alloc(o->pipeline, l->request.size);
            memcpy(c->own_out, l->shared_out, o->pipeline * l->request.size);
        }
        connection_open(l, c);
    }
}

static void load_close(load *l)
{
    for (uint32_t i = 0; i < l->options.connections; i++) {
        connection *c = &l->connections[i];
        if (c->fd >= 0)
            close(c->fd);
        free(c->numbers);
        free(c->retries);
        free(c->in);
        free(c->own_out);
    }
    free(l->connections);
    free(l->waiting);
    free(l->shared_out);
    if (l->id_log != NULL)
        fclose(l->id_log);
}

static uint64_t own_cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void print_statuses(const counts *n)
{
    for (int class = 2; class <= 5; class ++) {
        uint64_t sum = 0;
        for (int code = class * 100; code < class * 100 + 100; code++)
            sum += n->status[code];
        printf(" %dxx=%" PRIu64, class, sum);
    }
    for (int code = 100; code < STATUSES; code++)
        if (n->status[code] != 0)
            printf(" code_%d=%" PRIu64, code, n->status[code]);
}

static void print_result(const load *l, double seconds, bool have_cpu, uint64_t server_us,
                         uint64_t own_us)
{
    const counts *n = &l->counts;
    const histogram *h = &n->latency;
    double each = n->answered != 0 ? 1.0 / (double)n->answered : 0;
    printf("requests=%" PRIu64 " seconds=%.3f rps=%.0f p50_us=%.1f p90_us=%.1f p95_us=%.1f "
           "p99_us=%.1f p999_us=%.1f max_us=%.1f errors=%" PRIu64,
           n->answered, seconds, (double)n->answered / seconds, (double)histogram_at(h, 0.5) * 1e-3,
           (double)histogram_at(h, 0.9) * 1e-3, (double)histogram_at(h, 0.95) * 1e-3,
           (double)histogram_at(h, 0.99) * 1e-3, (double)histogram_at(h, 0.999) * 1e-3,
           (double)h->max * 1e-3, n->errors);
    print_statuses(n);
    printf(" unexpected=%" PRIu64 " retried=%" PRIu64 " reconnects=%" PRIu64 " late=%" PRIu64
           " bytes_in=%" PRIu64 " load_cpu_us_per_request=%.2f",
           n->unexpected, n->retried, n->reconnects, l->late, n->bytes_in, (double)own_us * each);
    if (have_cpu)
        printf(" server_cpu_us_per_request=%.2f server_cores=%.2f", (double)server_us * each,
               (double)server_us * 1e-6 / seconds);
    printf("\n");
}

static int run_load(load *l)
{
    const load_options *o = &l->options;
    load_open(l);
    uint64_t warm_end = l->start_ns + (uint64_t)(o->warmup_s * 1e9);
    run_until(l, warm_end);

    uint64_t server_start = 0;
    uint64_t server_end = 0;
    l->measuring = true;
    l->counts = (counts){ .errors = 0 };
    bool have_cpu = o->server_pid != 0 && proc_cpu_us(o->server_pid, &server_start);
    uint64_t own_start = own_cpu_us();
    uint64_t begin = now_ns();
    if (!l->stopping)
        run_until(l, begin + (uint64_t)(o->seconds * 1e9));
    double seconds = (double)(now_ns() - begin) * 1e-9;
    have_cpu = have_cpu && proc_cpu_us(o->server_pid, &server_end);
    uint64_t own_us = own_cpu_us() - own_start;

    counts measured = l->counts; /* what the drain loses is no error of the run */
    l->stopping = true;
    for (uint64_t end = now_ns() + DRAIN_NS; l->in_flight != 0 && now_ns() < end;)
        turn(l);
    l->counts = measured;
    print_result(l, seconds, have_cpu, server_end - server_start, own_us);
    load_close(l);
    if (measured.answered == 0)
        return EXIT_UNANSWERED;
    return measured.errors != 0 || measured.unexpected != 0 ? EXIT_FAILED : 0;
}

/* Opens one connection and waits for the answer to one request on it. */
static int idle_open(const load *l, char *scratch)
{
    struct timeval limit = { .tv_sec = IDLE_ANSWER_S };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die(EXIT_UNANSWERED, "socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    const struct sockaddr *to = (const struct sockaddr *)&l->options.address;
    if (connect(fd, to, sizeof(l->options.address)) != 0)
        die(EXIT_UNANSWERED, "connect");
    if (send(fd, l->request.bytes, l->request.size, MSG_NOSIGNAL) != (ssize_t)l->request.size)
        die(EXIT_UNANSWERED, "send");
    response reading = { .state = RESPONSE_HEAD };
    response_cache cache = { .head_bytes = 0 };
    size_t held = 0;
    enum response_result result = RESPONSE_MORE;
    while (result == RESPONSE_MORE) {
        size_t used = 0;
        ssize_t got = recv(fd, scratch + held, IN_BYTES - held, 0);
        if (got <= 0)
            die(EXIT_UNANSWERED, "an idle connection was not answered");
        held += (size_t)got;
        result = response_read(&reading, &cache, l->options.head, scratch, held, &used);
        memmove(scratch, scratch + used, held - used);
        held -= used;
    }
    if (result == RESPONSE_BAD || reading.facts.status / 100 != 2 || reading.facts.close) {
        fprintf(stderr, "http_load: --idle: answered %d, or the connection is not kept alive\n",
                reading.facts.status);
        exit(EXIT_FAILED);
    }
    return fd;
}

/* How many of the held connections the server has closed meanwhile. */
static uint32_t count_closed(const int *fds, uint32_t count)
{
    uint32_t closed = 0;
    char byte;
    for (uint32_t i = 0; i < count; i++)
        closed += recv(fds[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0 ||
                  (errno != EAGAIN && errno != EWOULDBLOCK);
    return closed;
}

static int run_idle(load *l)
{
    const load_options *o = &l->options;
    uint32_t total = o->idle + IDLE_WARM; /* the first ones pay for what is allocated once */
    int *fds = must_alloc(total, sizeof(int));
    char *scratch = must_alloc(1, IN_BYTES);
    proc_memory before = { 0 };
    proc_memory after = { 0 };
    for (uint32_t i = 0; i < IDLE_WARM; i++)
        fds[i] = idle_open(l, scratch);
    bool have = o->server_pid != 0 && proc_memory_read(o->server_pid, &before);
    for (uint32_t i = IDLE_WARM; i < total; i++)
        fds[i] = idle_open(l, scratch);
    usleep((useconds_t)(o->seconds * 1e6));
    have = have && proc_memory_read(o->server_pid, &after);
    printf("idle=%u closed=%u", o->idle, count_closed(fds, total));
    if (have)
        printf(" rss_bytes_per_connection=%.0f user_bytes_per_connection=%.0f rss_kib=%" PRIu64,
               ((double)after.rss_bytes - (double)before.rss_bytes) / o->idle,
               ((double)after.anonymous_bytes - (double)before.anonymous_bytes) / o->idle,
               after.rss_bytes / 1024);
    printf("\n");
    for (uint32_t i = 0; i < total; i++)
        close(fds[i]);
    free(fds);
    free(scratch);
    return 0;
}

/* A clear word if nobody listens, before anything is counted. */
static void probe(const load *l)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct sockaddr *to = (const struct sockaddr *)&l->options.address;
    if (fd < 0 || connect(fd, to, sizeof(l->options.address)) != 0)
        die(EXIT_UNANSWERED, l->options.host);
    close(fd);
}

int main(int argc, char **argv)
{
    load l = { .epoll = -1 };
    load_options_read(&l.options, argc, argv);
    load_request_format(&l.request, &l.options);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);

    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    probe(&l);
    int code = 0;
    if (l.options.idle != 0) {
        code = run_idle(&l);
    } else {
        sigprocmask(SIG_BLOCK, &set, NULL);
        l.signals = signalfd(-1, &set, SFD_CLOEXEC);
        l.epoll = epoll_create1(EPOLL_CLOEXEC);
        struct epoll_event event = { .events = EPOLLIN };
        if (l.epoll < 0 || epoll_ctl(l.epoll, EPOLL_CTL_ADD, l.signals, &event) != 0)
            die(EXIT_UNANSWERED, "epoll");
        code = run_load(&l);
        close(l.signals);
        close(l.epoll);
    }
    free(l.request.bytes);
    free(l.options.body);
    return code;
}
