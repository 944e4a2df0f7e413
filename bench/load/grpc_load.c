/* grpc_load: a load generator for gRPC on one core, for the benchmarks. Requests are made once and
 * sent with another stream id each; of nghttp2 it uses the decoder of header fields alone. */
#include "grpc_options.h"
#include "grpc_wire.h"
#include "proc.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IN_BYTES = 512 * 1024,
    OUT_BYTES = 256 * 1024, /* no further request is written when so much waits */
    OUT_ROOM = OUT_BYTES + 64 * 1024,
    EVENTS = 256,
    SLOTS_PER_STREAM = 4, /* a power of two */
    EXIT_FAILED = 1,
    EXIT_UNANSWERED = 3,
    IDLE_WARM = 64,
    IDLE_ANSWER_S = 20,
};

#define WINDOW_STREAM_BYTES     (4u << 20)
#define WINDOW_CONNECTION_BYTES (64u << 20)
#define STREAM_ID_MAX           0x7ffffff0u

/* One call. */
typedef struct call {
    uint32_t id; /* of its stream; 0: the slot is free */
    bool status_seen;
    bool status_ok;
    uint64_t sent_ns;
    uint64_t messages;   /* received */
    uint64_t sent;       /* of `echo` */
    uint64_t timed;      /* the number of the one whose answer is timed; 0: none */
    uint64_t sequence;   /* that the next message has to have */
    int64_t send_window; /* what the server still takes */
    uint32_t unconsumed; /* received and not given back to its window */
    uint32_t owed;       /* messages that wait for a window */
    message_reader reader;
} call;

typedef struct connection {
    int fd;
    bool want_write;
    bool settled; /* the server's SETTINGS have come */
    bool closing; /* takes no more streams */
    bool first_sent;
    uint32_t next_id;
    uint32_t open_count;
    uint32_t owed;        /* of all its calls */
    uint32_t streams_max; /* what the server allows */
    int64_t send_window;
    int64_t initial_window;
    uint32_t unconsumed;
    uint8_t *carry; /* the front of a frame */
    size_t carry_bytes;
    uint8_t *out;
    size_t out_at;
    size_t out_end;
    call *slots;
    header_reader headers;
} connection;

typedef struct counts {
    uint64_t calls;
    uint64_t messages;
    uint64_t bytes_in;
    uint64_t errors;
    histogram latency;
} counts;

typedef struct load {
    grpc_options options;
    grpc_request request;
    int epoll;
    uint32_t slot_mask;
    uint32_t streams_left; /* --idle-streams that may still be opened */
    connection *connections;
    uint8_t *in;
    uint64_t now;
    bool measuring;
    bool stopping;
    const char *first_error;
    uint64_t idle_answered;
    counts counts;
} load;

/* Whose messages a reader reads. */
typedef struct message_context {
    load *load;
    connection *connection;
    call *call;
} message_context;

static _Noreturn void die(int code, const char *what)
{
    fprintf(stderr, "grpc_load: %s: %s\n", what, strerror(errno));
    exit(code);
}

static void *must_alloc(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (memory == NULL)
        die(EXIT_UNANSWERED, "memory");
    return memory;
}

static void count_error(load *l, const char *what)
{
    if (l->stopping)
        return;
    l->counts.errors++;
    if (l->first_error == NULL)
        l->first_error = what;
}

static void watch(load *l, connection *c, int operation, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = c };
    if (epoll_ctl(l->epoll, operation, c->fd, &event) != 0)
        die(EXIT_UNANSWERED, "epoll_ctl");
}

static void flush_out(load *l, connection *c)
{
    if (c->out_end == c->out_at || c->fd < 0)
        return;
    ssize_t sent = send(c->fd, c->out + c->out_at, c->out_end - c->out_at, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        count_error(l, "the connection broke while sending");
        c->out_at = c->out_end = 0;
        c->closing = true;
        return;
    }
    c->out_at += sent > 0 ? (size_t)sent : 0;
    bool rest = c->out_at < c->out_end;
    if (rest)
        memmove(c->out, c->out + c->out_at, c->out_end - c->out_at);
    c->out_end -= c->out_at;
    c->out_at = 0;
    if (rest != c->want_write) {
        c->want_write = rest;
        watch(l, c, EPOLL_CTL_MOD, rest ? EPOLLIN | EPOLLOUT : EPOLLIN);
    }
}

/* Room for a frame; control frames always fit behind what OUT_BYTES lets in. */
static uint8_t *out_room(connection *c, size_t bytes)
{
    if (OUT_ROOM - c->out_end < bytes)
        die(EXIT_FAILED, "the server does not read");
    uint8_t *at = c->out + c->out_end;
    c->out_end += bytes;
    return at;
}

static void window_update(connection *c, uint32_t id, uint32_t bytes)
{
    uint8_t *at = out_room(c, FRAME_HEAD + 4);
    frame_put(at, 4, FRAME_WINDOW_UPDATE, 0, id);
    put_u32(at + FRAME_HEAD, bytes);
}

static call *call_of(load *l, connection *c, uint32_t id)
{
    call *k = &c->slots[(id >> 1) & l->slot_mask];
    return k->id == id ? k : NULL;
}

static bool may_write(const load *l, const connection *c, const call *k)
{
    const int64_t bytes = (int64_t)l->request.message_bytes;
    return c->out_end < OUT_BYTES && c->send_window >= bytes &&
           (k == NULL || k->send_window >= bytes);
}

/* The request's message, in one DATA frame if it is not long. */
static void message_write(load *l, connection *c, call *k, bool last)
{
    const grpc_request *r = &l->request;
    for (size_t sent = 0; sent < r->message_bytes;) {
        size_t part = r->message_bytes - sent;
        part = part < FRAME_BYTES_MAX ? part : FRAME_BYTES_MAX;
        bool ends = last && sent + part == r->message_bytes;
        uint8_t *at = out_room(c, FRAME_HEAD + part);
        frame_put(at, part, FRAME_DATA, ends ? FLAG_END_STREAM : 0, k->id);
        memcpy(at + FRAME_HEAD, r->message + sent, part);
        sent += part;
    }
    c->send_window -= (int64_t)r->message_bytes;
    k->send_window -= (int64_t)r->message_bytes;
    k->sent++;
    if (k->timed == 0) {
        k->timed = k->sent;
        k->sent_ns = l->now;
    }
}

static void owed_write(load *l, connection *c, call *k)
{
    while (k->owed != 0 && may_write(l, c, k)) {
        message_write(l, c, k, l->request.ends);
        k->owed--;
        c->owed--;
    }
}

/* Opens one call and sends its first message. */
static void call_open(load *l, connection *c)
{
    const grpc_request *r = &l->request;
    while (c->slots[(c->next_id >> 1) & l->slot_mask].id != 0)
        c->next_id += 2; /* a call that lasts has the slot; ids may be left out */
    call *k = &c->slots[(c->next_id >> 1) & l->slot_mask];
    k->id = c->next_id;
    k->status_seen = k->status_ok = false;
    k->messages = k->sequence = k->sent = k->timed = 0;
    k->send_window = c->initial_window;
    k->unconsumed = 0;
    k->sent_ns = l->now;
    message_reader_reset(&k->reader);
    c->next_id += 2;
    c->open_count++;
    const uint8_t *fields = c->first_sent ? r->fields_again : r->fields_first;
    size_t bytes = c->first_sent ? r->fields_again_bytes : r->fields_first_bytes;
    c->first_sent = true;
    uint8_t *at = out_room(c, FRAME_HEAD + bytes);
    frame_put(at, bytes, FRAME_HEADERS, FLAG_END_HEADERS, k->id);
    memcpy(at + FRAME_HEAD, fields, bytes);
    k->owed = r->messages_first;
    c->owed += k->owed;
    owed_write(l, c, k);
    if (c->next_id >= STREAM_ID_MAX)
        c->closing = true;
}

static void calls_fill(load *l, connection *c)
{
    if (!c->settled || l->stopping)
        return;
    for (uint32_t i = 0; c->owed != 0 && i <= l->slot_mask && may_write(l, c, NULL); i++)
        if (c->slots[i].id != 0)
            owed_write(l, c, &c->slots[i]);
    uint32_t most = l->options.streams < c->streams_max ? l->options.streams : c->streams_max;
    bool counted = l->options.idle_streams != 0;
    while (c->open_count < most && !c->closing && may_write(l, c, NULL) &&
           (!counted || l->streams_left != 0)) {
        call_open(l, c);
        l->streams_left -= counted;
    }
}

static void call_close(connection *c, call *k)
{
    c->owed -= k->owed;
    c->open_count--;
    k->owed = 0;
    k->id = 0;
}

static void call_end(load *l, connection *c, call *k)
{
    const grpc_options *o = &l->options;
    bool whole = o->method == METHOD_STREAM ? k->messages == o->count : k->messages == 1;
    if (!k->status_seen || !k->status_ok)
        count_error(l, k->status_seen ? "a status that is not 0" : "a call without a status");
    else if (!whole || !message_reader_empty(&k->reader))
        count_error(l, "too few or too many messages");
    else if (l->measuring) {
        l->counts.calls++;
        histogram_add(&l->counts.latency, l->now - k->sent_ns);
    }
    call_close(c, k);
}

/* What a whole message must be. */
static bool on_message(void *user, const uint8_t *message, size_t bytes)
{
    message_context *context = user;
    load *l = context->load;
    call *k = context->call;
    const grpc_request *r = &l->request;
    k->messages++;
    if (l->options.method == METHOD_STREAM) {
        uint64_t sequence = 0;
        size_t payload = 0;
        bool good = data_read(message, bytes, &sequence, &payload) && payload == r->payload_bytes &&
                    (k->messages == 1 ? sequence <= 1 : sequence == k->sequence);
        k->sequence = sequence + 1;
        return good;
    }
    bool good = bytes == r->message_bytes - MESSAGE_PREFIX &&
                memcmp(message, r->message + MESSAGE_PREFIX, bytes) == 0;
    if (l->options.method == METHOD_ECHO && good) {
        l->idle_answered++;
        if (k->messages == k->timed) {
            k->timed = 0;
            if (l->measuring)
                histogram_add(&l->counts.latency, l->now - k->sent_ns);
        }
        if (l->options.idle_streams == 0 && !l->stopping) {
            k->owed++;
            context->connection->owed++;
            owed_write(l, context->connection, k);
        }
    }
    return good;
}

static void on_data(load *l, connection *c, const frame *f)
{
    c->unconsumed += (uint32_t)f->length;
    if (c->unconsumed >= WINDOW_CONNECTION_BYTES / 4) {
        window_update(c, 0, c->unconsumed);
        c->unconsumed = 0;
    }
    call *k = call_of(l, c, f->id);
    if (k == NULL) {
        count_error(l, "data of a stream that is not open");
        return;
    }
    k->unconsumed += (uint32_t)f->length;
    bool ends = (f->flags & FLAG_END_STREAM) != 0;
    if (k->unconsumed >= WINDOW_STREAM_BYTES / 4 && !ends) {
        window_update(c, k->id, k->unconsumed);
        k->unconsumed = 0;
    }
    message_context context = { l, c, k };
    uint64_t before = k->messages;
    if (!message_reader_feed(&k->reader, f->payload, f->length, on_message, &context))
        count_error(l, "a message that is not what was expected");
    if (l->measuring)
        l->counts.messages += k->messages - before;
    if (ends)
        call_end(l, c, k);
}

static void on_headers(load *l, connection *c, const frame *f)
{
    header_result result = header_reader_read(&c->headers, f->payload, f->length);
    call *k = call_of(l, c, f->id);
    if (result.bad)
        die(EXIT_FAILED, "header fields that cannot be read");
    if (k == NULL) {
        count_error(l, "an answer of a stream that is not open");
        return;
    }
    k->status_seen = k->status_seen || result.has_status;
    k->status_ok = k->status_ok || (result.has_status && result.status == 0);
    if ((f->flags & FLAG_END_STREAM) != 0)
        call_end(l, c, k);
}

static void on_settings(load *l, connection *c, const frame *f)
{
    if ((f->flags & FLAG_ACK) != 0)
        return;
    for (size_t at = 0; at + 6 <= f->length; at += 6) {
        uint32_t what = (uint32_t)f->payload[at] << 8 | f->payload[at + 1];
        uint32_t value = get_u32(f->payload + at + 2);
        if (what == NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS) {
            c->streams_max = value;
        } else if (what == NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE) {
            for (uint32_t i = 0; i <= l->slot_mask; i++)
                c->slots[i].send_window += (int64_t)value - c->initial_window;
            c->initial_window = value;
        } else if (what == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE && value < l->request.table_bytes) {
            die(EXIT_FAILED, "the server's header table is too small for the request");
        }
    }
    frame_put(out_room(c, FRAME_HEAD), 0, FRAME_SETTINGS, FLAG_ACK, 0);
    c->settled = true;
}

static void on_frame(load *l, connection *c, const frame *f)
{
    call *k = NULL;
    if (f->type == FRAME_CONTINUATION ||
        (f->type <= FRAME_HEADERS && (f->flags & (FLAG_PADDED | FLAG_PRIORITY)) != 0))
        die(EXIT_FAILED, "a frame with padding or priority, or a continued one");
    switch (f->type) {
    case FRAME_DATA:
        on_data(l, c, f);
        break;
    case FRAME_HEADERS:
        on_headers(l, c, f);
        break;
    case FRAME_SETTINGS:
        on_settings(l, c, f);
        break;
    case FRAME_WINDOW_UPDATE:
        k = f->id != 0 ? call_of(l, c, f->id) : NULL;
        if (f->id == 0)
            c->send_window += get_u32(f->payload);
        else if (k != NULL)
            k->send_window += get_u32(f->payload);
        break;
    case FRAME_PING:
        if ((f->flags & FLAG_ACK) == 0) {
            uint8_t *at = out_room(c, FRAME_HEAD + 8);
            frame_put(at, 8, FRAME_PING, FLAG_ACK, 0);
            memcpy(at + FRAME_HEAD, f->payload, 8);
        }
        break;
    case FRAME_RST_STREAM:
        k = call_of(l, c, f->id);
        if (k != NULL) {
            count_error(l, "the server reset a stream");
            call_close(c, k);
        }
        break;
    case FRAME_GOAWAY:
        count_error(l, "the server sent GOAWAY");
        c->closing = true;
        break;
    default:
        break;
    }
}

static void lose(load *l, connection *c)
{
    count_error(l, "the server closed a connection");
    close(c->fd);
    c->fd = -1;
    c->closing = true;
}

static void on_readable(load *l, connection *c)
{
    memcpy(l->in, c->carry, c->carry_bytes);
    ssize_t got = recv(c->fd, l->in + c->carry_bytes, IN_BYTES - c->carry_bytes, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0) {
        lose(l, c);
        return;
    }
    l->now = now_ns();
    if (l->measuring)
        l->counts.bytes_in += (uint64_t)got;
    size_t end = c->carry_bytes + (size_t)got;
    size_t at = 0;
    frame f;
    while (frame_read(&f, l->in + at, end - at)) {
        on_frame(l, c, &f);
        at += FRAME_HEAD + f.length;
    }
    c->carry_bytes = end - at;
    if (c->carry_bytes > FRAME_HEAD + FRAME_BYTES_MAX)
        die(EXIT_FAILED, "a frame of over 16 KiB");
    memcpy(c->carry, l->in + at, c->carry_bytes);
}

static void on_event(load *l, connection *c, uint32_t events)
{
    if (c->fd < 0)
        return;
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        on_readable(l, c);
    calls_fill(l, c);
    flush_out(l, c);
}

static void turn(load *l)
{
    struct epoll_event events[EVENTS];
    int count = epoll_wait(l->epoll, events, EVENTS, 20);
    l->now = now_ns();
    for (int i = 0; i < count; i++)
        on_event(l, events[i].data.ptr, events[i].events);
}

static void connection_open(load *l, connection *c)
{
    int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die(EXIT_UNANSWERED, "socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(c->fd, (const struct sockaddr *)&l->options.address, sizeof(l->options.address)) !=
        0)
        die(EXIT_UNANSWERED, "connect");
    c->next_id = 1;
    c->streams_max = UINT32_MAX;
    c->send_window = c->initial_window = 65535;
    c->carry = must_alloc(1, FRAME_HEAD + FRAME_BYTES_MAX);
    c->out = must_alloc(1, OUT_ROOM);
    c->slots = must_alloc(l->slot_mask + 1, sizeof(call));
    if (!header_reader_init(&c->headers))
        die(EXIT_UNANSWERED, "memory");
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    memcpy(out_room(c, sizeof(preface) - 1), preface, sizeof(preface) - 1);
    uint8_t *at = out_room(c, FRAME_HEAD + 6);
    frame_put(at, 6, FRAME_SETTINGS, 0, 0);
    at[FRAME_HEAD] = 0;
    at[FRAME_HEAD + 1] = NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE;
    put_u32(at + FRAME_HEAD + 2, WINDOW_STREAM_BYTES);
    window_update(c, 0, WINDOW_CONNECTION_BYTES - 65535);
    watch(l, c, EPOLL_CTL_ADD, EPOLLIN);
    flush_out(l, c);
}

static void connections_open(load *l, uint32_t count)
{
    uint32_t slots = SLOTS_PER_STREAM;
    while (slots < l->options.streams * SLOTS_PER_STREAM)
        slots *= 2;
    l->slot_mask = slots - 1;
    l->connections = must_alloc(count, sizeof(connection));
    for (uint32_t i = 0; i < count; i++)
        connection_open(l, &l->connections[i]);
}

static uint64_t own_cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

static void run_for(load *l, double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end)
        turn(l);
}

static void print_result(const load *l, double seconds, double server_us, double own_us)
{
    const counts *n = &l->counts;
    const histogram *h = &n->latency;
    uint64_t calls = l->options.method == METHOD_ECHO ? n->messages : n->calls;
    printf("requests=%" PRIu64 " messages=%" PRIu64
           " seconds=%.3f rps=%.0f mps=%.0f p50_us=%.1f p99_us=%.1f "
           "p999_us=%.1f max_us=%.1f errors=%" PRIu64 " bytes_in=%" PRIu64 " load_cores=%.2f",
           calls, n->messages, seconds, (double)calls / seconds, (double)n->messages / seconds,
           (double)histogram_at(h, 0.5) * 1e-3, (double)histogram_at(h, 0.99) * 1e-3,
           (double)histogram_at(h, 0.999) * 1e-3, (double)h->max * 1e-3, n->errors, n->bytes_in,
           own_us * 1e-6 / seconds);
    if (server_us >= 0)
        printf(" server_cpu_us_per_request=%.3f server_cpu_ns_per_message=%.1f server_cores=%.2f",
               server_us / (double)(calls != 0 ? calls : 1),
               server_us * 1e3 / (double)(n->messages != 0 ? n->messages : 1),
               server_us * 1e-6 / seconds);
    printf("\n");
    if (l->first_error != NULL)
        fprintf(stderr, "grpc_load: errors, the first: %s\n", l->first_error);
}

static int run_load(load *l)
{
    const grpc_options *o = &l->options;
    uint64_t server_start = 0;
    uint64_t server_end = 0;
    connections_open(l, o->connections);
    run_for(l, o->warmup_s);
    bool have_cpu = o->server_pid != 0 && proc_cpu_us(o->server_pid, &server_start);
    uint64_t own_start = own_cpu_us();
    uint64_t begin = now_ns();
    l->measuring = true;
    run_for(l, o->seconds);
    l->measuring = false;
    double seconds = (double)(now_ns() - begin) * 1e-9;
    uint64_t own_us = own_cpu_us() - own_start;
    have_cpu = have_cpu && proc_cpu_us(o->server_pid, &server_end);
    l->stopping = true;
    print_result(l, seconds, have_cpu ? (double)(server_end - server_start) : -1.0, (double)own_us);
    if (l->counts.messages == 0)
        return EXIT_UNANSWERED;
    return l->counts.errors != 0 ? EXIT_FAILED : 0;
}

static void wait_for(load *l, const uint64_t *count, uint64_t wanted)
{
    uint64_t end = now_ns() + (uint64_t)IDLE_ANSWER_S * 1000000000u;
    while (*count < wanted && l->counts.errors == 0) {
        turn(l);
        if (now_ns() > end) {
            errno = ETIMEDOUT;
            die(EXIT_UNANSWERED, "what is to be idle was not answered");
        }
    }
}

static int print_idle(load *l, uint32_t count, const char *what, const proc_memory *before)
{
    const grpc_options *o = &l->options;
    proc_memory after = { 0 };
    bool have = o->server_pid != 0 && proc_memory_read(o->server_pid, &after);
    printf("idle=%u errors=%" PRIu64, count, l->counts.errors);
    if (have)
        printf(" rss_bytes_per_%s=%.0f user_bytes_per_%s=%.0f rss_kib=%" PRIu64, what,
               ((double)after.rss_bytes - (double)before->rss_bytes) / count, what,
               ((double)after.anonymous_bytes - (double)before->anonymous_bytes) / count,
               after.rss_bytes / 1024);
    printf("\n");
    if (l->first_error != NULL)
        fprintf(stderr, "grpc_load: errors, the first: %s\n", l->first_error);
    return l->counts.errors != 0 ? EXIT_FAILED : 0;
}

/* Holds connections on each of which one unary call was answered. */
static int run_idle_connections(load *l)
{
    uint32_t count = l->options.idle_connections;
    proc_memory before = { 0 };
    l->options.streams = 1;
    l->slot_mask = SLOTS_PER_STREAM - 1;
    l->measuring = true; /* call by call: each connection stops after its first */
    l->connections = must_alloc(count + IDLE_WARM, sizeof(connection));
    for (uint32_t i = 0; i < count + IDLE_WARM; i++) {
        if (i == IDLE_WARM) {
            run_for(l, l->options.seconds);
            if (l->options.server_pid != 0)
                proc_memory_read(l->options.server_pid, &before);
        }
        connection *c = &l->connections[i];
        l->stopping = false;
        connection_open(l, c);
        while (c->open_count == 0 && l->counts.errors == 0)
            turn(l);
        c->closing = true;
        wait_for(l, &l->counts.calls, i + 1);
    }
    run_for(l, l->options.seconds);
    return print_idle(l, count, "connection", &before);
}

/* Holds calls of Echo, on each of which one message came back, --streams on a connection. */
static int run_idle_streams(load *l)
{
    const grpc_options *o = &l->options;
    proc_memory before = { 0 };
    uint32_t count = o->idle_streams;
    uint32_t connections = (count + IDLE_WARM + o->streams - 1) / o->streams;
    connections_open(l, connections);
    l->streams_left = IDLE_WARM;
    wait_for(l, &l->idle_answered, IDLE_WARM);
    if (o->server_pid != 0)
        proc_memory_read(o->server_pid, &before);
    l->streams_left = count;
    for (uint32_t i = 0; i < connections; i++) {
        calls_fill(l, &l->connections[i]);
        flush_out(l, &l->connections[i]);
    }
    wait_for(l, &l->idle_answered, count + IDLE_WARM);
    run_for(l, o->seconds);
    return print_idle(l, count, "stream", &before);
}

int main(int argc, char **argv)
{
    static load l;
    grpc_options_read(&l.options, argc, argv);
    grpc_request_make(&l.request, &l.options);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    l.in = must_alloc(1, IN_BYTES);
    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l.epoll < 0)
        die(EXIT_UNANSWERED, "epoll");
    if (l.options.idle_connections != 0)
        return run_idle_connections(&l);
    return l.options.idle_streams != 0 ? run_idle_streams(&l) : run_load(&l);
}
