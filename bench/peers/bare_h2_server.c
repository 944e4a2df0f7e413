/* streams.v1.Streams by the thinnest means: nghttp2, libevent and protobuf-c, nothing checked
 * twice. It is the yardstick, no server to copy: no deadlines, no errors but a closed connection.
 */
#include "streams/v1/streams.pb-c.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    IN_BYTES = 256 * 1024,
    OUT_BYTES = 256 * 1024, /* of one write */
    OUT_ROOM = OUT_BYTES + 64 * 1024,
    ARENA_BYTES = 64 * 1024,
    WINDOW_BYTES = 1024 * 1024,
    STREAMS_MAX = 65536,
    MESSAGE_BYTES_MAX = 4 * 1024 * 1024,
    FRAME_HEAD = 9,
    PREFIX = 5, /* of a message of gRPC: a flag and the length */
    PAYLOAD_BYTES_DEFAULT = 92,
};

typedef enum method { METHOD_NONE, METHOD_PROCESS, METHOD_STREAM_DATA, METHOD_ECHO } method;

typedef struct bytes {
    uint8_t *data;
    size_t begin;
    size_t end;
    size_t room;
} bytes;

typedef struct stream {
    struct stream *next; /* of the pool */
    method method;
    bool ended; /* the client has sent all */
    bool answering;
    bytes in;
    bytes out; /* whole messages, or the rest of one that a frame had no room for */
    uint64_t count;
    Streams__V1__Data data;
} stream;

typedef struct server {
    struct event_base *base;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *option;
    stream *pool;
    uint8_t *in;
    uint8_t *out; /* of the turn of one connection */
    size_t out_bytes;
    uint8_t *payload; /* that StreamData sends */
    size_t arena_at;
    _Alignas(16) uint8_t arena[ARENA_BYTES];
} server;

typedef struct connection {
    server *server;
    nghttp2_session *session;
    int fd;
    struct event *readable;
    struct event *writable;
    uint8_t *held; /* what the socket did not take */
    size_t held_at;
    size_t held_bytes;
} connection;

/* What protobuf-c unpacks lives until the next message. */
static void *arena_alloc(void *user, size_t size)
{
    server *s = user;
    size = (size + 15) & ~(size_t)15;
    if (size > ARENA_BYTES - s->arena_at)
        return NULL;
    void *memory = s->arena + s->arena_at;
    s->arena_at += size;
    return memory;
}

static void arena_free(void *user, void *memory)
{
    (void)user;
    (void)memory;
}

static uint8_t *bytes_room(bytes *b, size_t more)
{
    if (b->begin == b->end)
        b->begin = b->end = 0;
    if (b->room - b->end < more) {
        size_t room = b->room != 0 ? b->room : 256;
        while (room - b->end < more)
            room *= 2;
        b->data = realloc(b->data, room);
        if (b->data == NULL)
            abort();
        b->room = room;
    }
    return b->data + b->end;
}

static void prefix_put(uint8_t *at, size_t size)
{
    uint32_t big = htonl((uint32_t)size);
    at[0] = 0;
    memcpy(at + 1, &big, sizeof(big));
}

static stream *stream_take(server *s)
{
    stream *st = s->pool;
    if (st != NULL) {
        s->pool = st->next;
        bytes in = st->in;
        bytes out = st->out;
        *st = (stream){ .in = in, .out = out };
        st->in.begin = st->in.end = st->out.begin = st->out.end = 0;
        return st;
    }
    return calloc(1, sizeof(*st));
}

static int trailer(nghttp2_session *session, int32_t id, uint32_t *flags)
{
    static uint8_t name[] = "grpc-status";
    static uint8_t value[] = "0";
    const nghttp2_nv ok = { name, value, sizeof(name) - 1, sizeof(value) - 1,
                            NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE };
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    return nghttp2_submit_trailer(session, id, &ok, 1);
}

static size_t drain(bytes *from, uint8_t *to, size_t most)
{
    size_t part = from->end - from->begin;
    part = part < most ? part : most;
    if (part != 0)
        memcpy(to, from->data + from->begin, part);
    from->begin += part;
    return part;
}

/* As many messages as the frame has room for; the last one goes on in the next frame. */
static size_t fill(stream *st, uint8_t *to, size_t most)
{
    size_t at = drain(&st->out, to, most);
    while (at < most && st->data.sequence < st->count) {
        size_t size = streams__v1__data__get_packed_size(&st->data);
        bool fits = PREFIX + size <= most - at;
        uint8_t *into = fits ? to + at : bytes_room(&st->out, PREFIX + size);
        prefix_put(into, size);
        streams__v1__data__pack(&st->data, into + PREFIX);
        st->data.sequence++;
        if (fits) {
            at += PREFIX + size;
        } else {
            st->out.end += PREFIX + size;
            at += drain(&st->out, to + at, most - at);
        }
    }
    return at;
}

/* Packs right where the frame will stand in the connection's next write. */
static ssize_t on_body(nghttp2_session *session, int32_t id, uint8_t *unused, size_t most,
                       uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)unused;
    connection *c = user;
    stream *st = source->ptr;
    if (c->server->out_bytes >= OUT_BYTES)
        return NGHTTP2_ERR_PAUSE; /* one call of mem_send sends all the data there is */
    uint8_t *to = c->server->out + c->server->out_bytes + FRAME_HEAD;
    size_t got = 0;
    bool all = true;
    if (st->method == METHOD_STREAM_DATA) {
        got = fill(st, to, most);
        all = st->data.sequence == st->count;
    } else {
        got = drain(&st->out, to, most);
        if (st->method == METHOD_ECHO) {
            nghttp2_session_consume_stream(session, id, got); /* what is sent back may come again */
            all = st->ended;
        }
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (all && st->out.begin == st->out.end) {
        if (trailer(session, id, flags) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
    } else if (got == 0) {
        return NGHTTP2_ERR_DEFERRED;
    }
    return (ssize_t)got;
}

static int on_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
                        size_t length, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)frame;
    (void)source;
    server *s = ((connection *)user)->server;
    memcpy(s->out + s->out_bytes, head, FRAME_HEAD);
    s->out_bytes += FRAME_HEAD + length;
    return 0;
}

static int answer(nghttp2_session *session, int32_t id, stream *st)
{
    static uint8_t names[2][16] = { ":status", "content-type" };
    static uint8_t values[2][20] = { "200", "application/grpc" };
    enum { UNCOPIED = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE };
    const nghttp2_nv fields[] = { { names[0], values[0], 7, 3, UNCOPIED },
                                  { names[1], values[1], 12, 16, UNCOPIED } };
    const nghttp2_data_provider provider = { .source.ptr = st, .read_callback = on_body };
    if (st->answering)
        return nghttp2_session_resume_data(session, id) == NGHTTP2_ERR_NOMEM
                   ? NGHTTP2_ERR_CALLBACK_FAILURE
                   : 0;
    st->answering = true;
    return nghttp2_submit_response(session, id, fields, 2, &provider);
}

/* One whole message of a request. */
static bool on_message(server *s, stream *st, const uint8_t *data, size_t size)
{
    ProtobufCAllocator allocator = { arena_alloc, arena_free, s };
    s->arena_at = 0;
    if (st->method == METHOD_PROCESS) {
        Streams__V1__ProcessRequest *request = streams__v1__process_request__unpack(&allocator,
                                                                                    size, data);
        if (request == NULL)
            return false;
        Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
        response.text = request->text;
        size_t packed = streams__v1__process_response__get_packed_size(&response);
        uint8_t *to = bytes_room(&st->out, PREFIX + packed);
        prefix_put(to, packed);
        st->out.end += PREFIX + streams__v1__process_response__pack(&response, to + PREFIX);
    } else if (st->method == METHOD_ECHO) {
        Streams__V1__Data *message = streams__v1__data__unpack(&allocator, size, data);
        if (message == NULL)
            return false;
        size_t packed = streams__v1__data__get_packed_size(message);
        uint8_t *to = bytes_room(&st->out, PREFIX + packed);
        prefix_put(to, packed);
        st->out.end += PREFIX + streams__v1__data__pack(message, to + PREFIX);
    } else {
        Streams__V1__StreamDataRequest *request =
            streams__v1__stream_data_request__unpack(&allocator, size, data);
        if (request == NULL || request->payload_bytes > MESSAGE_BYTES_MAX)
            return false;
        streams__v1__data__init(&st->data);
        st->count = request->count;
        st->data.payload.data = s->payload;
        st->data.payload.len = request->payload_bytes != 0 ? request->payload_bytes
                                                           : PAYLOAD_BYTES_DEFAULT;
    }
    return true;
}

/* Takes whole messages from the front of what has come; gives how much it took, or -1. */
static ssize_t on_messages(server *s, stream *st, const uint8_t *data, size_t size)
{
    size_t at = 0;
    while (size - at >= PREFIX) {
        uint32_t length = 0;
        memcpy(&length, data + at + 1, sizeof(length));
        length = ntohl(length);
        if (data[at] != 0 || length > MESSAGE_BYTES_MAX)
            return -1;
        if (size - at - PREFIX < length)
            break;
        if (!on_message(s, st, data + at + PREFIX, length))
            return -1;
        at += PREFIX + length;
    }
    return (ssize_t)at;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                         size_t size, void *user)
{
    (void)flags;
    connection *c = user;
    stream *st = nghttp2_session_get_stream_user_data(session, id);
    nghttp2_session_consume_connection(session, size);
    if (st == NULL)
        return 0;
    if (st->method != METHOD_ECHO)
        nghttp2_session_consume_stream(session, id, size);
    bool had = st->in.begin != st->in.end;
    if (had) { /* the front of a message waits already */
        memcpy(bytes_room(&st->in, size), data, size);
        st->in.end += size;
        data = st->in.data + st->in.begin;
        size = st->in.end - st->in.begin;
    }
    ssize_t used = on_messages(c->server, st, data, size);
    if (used < 0)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    if (had) {
        st->in.begin += (size_t)used;
    } else if ((size_t)used < size) {
        memcpy(bytes_room(&st->in, size - (size_t)used), data + used, size - (size_t)used);
        st->in.end += size - (size_t)used;
    }
    return st->method == METHOD_ECHO && used != 0 ? answer(session, id, st) : 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    stream *st = stream_take(((connection *)user)->server);
    if (st == NULL)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, st);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_bytes, const uint8_t *value, size_t value_bytes, uint8_t flags,
                     void *user)
{
    (void)flags;
    (void)user;
    static const char service[] = "/streams.v1.Streams/";
    const size_t service_bytes = sizeof(service) - 1;
    if (name_bytes != 5 || memcmp(name, ":path", 5) != 0 || value_bytes <= service_bytes ||
        memcmp(value, service, service_bytes) != 0)
        return 0;
    stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    char first = (char)value[service_bytes];
    st->method = first == 'P' ? METHOD_PROCESS : first == 'S' ? METHOD_STREAM_DATA : METHOD_ECHO;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)user;
    if (frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    stream *st = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (st == NULL || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return st == NULL || st->method != METHOD_NONE ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
    st->ended = true;
    return answer(session, frame->hd.stream_id, st);
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user)
{
    (void)error;
    server *s = ((connection *)user)->server;
    stream *st = nghttp2_session_get_stream_user_data(session, id);
    if (st != NULL) {
        st->next = s->pool;
        s->pool = st;
    }
    return 0;
}

static void connection_close(connection *c)
{
    nghttp2_session_del(c->session);
    event_free(c->readable);
    event_free(c->writable);
    close(c->fd);
    free(c->held);
    free(c);
}

/* All there is to send, up to a limit, by one write. False: the connection is over. */
static bool flush(connection *c)
{
    server *s = c->server;
    s->out_bytes = 0;
    while (s->out_bytes < OUT_BYTES) {
        const uint8_t *data = NULL;
        ssize_t size = nghttp2_session_mem_send(c->session, &data);
        if (size < 0)
            return false;
        if (size == 0)
            break;
        memcpy(s->out + s->out_bytes, data, (size_t)size);
        s->out_bytes += (size_t)size;
    }
    bool more = s->out_bytes >= OUT_BYTES;
    ssize_t sent = s->out_bytes != 0 ? send(c->fd, s->out, s->out_bytes, MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN)
        return false;
    size_t rest = s->out_bytes - (sent > 0 ? (size_t)sent : 0);
    if (rest != 0) {
        c->held = malloc(rest);
        if (c->held == NULL)
            return false;
        memcpy(c->held, s->out + s->out_bytes - rest, rest);
        c->held_bytes = rest;
        c->held_at = 0;
    }
    if (rest != 0 || more)
        event_add(c->writable, NULL);
    return rest != 0 || more || nghttp2_session_want_read(c->session) ||
           nghttp2_session_want_write(c->session);
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    connection *c = user;
    ssize_t got = recv(fd, c->server->in, IN_BYTES, 0);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got <= 0 || nghttp2_session_mem_recv(c->session, c->server->in, (size_t)got) != got ||
        (c->held == NULL && !event_pending(c->writable, EV_WRITE, NULL) && !flush(c)))
        connection_close(c);
}

static void on_writable(evutil_socket_t fd, short what, void *user)
{
    (void)what;
    connection *c = user;
    if (c->held != NULL) {
        ssize_t sent = send(fd, c->held + c->held_at, c->held_bytes - c->held_at, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            connection_close(c);
            return;
        }
        c->held_at += sent > 0 ? (size_t)sent : 0;
        if (c->held_at < c->held_bytes) {
            event_add(c->writable, NULL);
            return;
        }
        free(c->held);
        c->held = NULL;
    }
    if (!flush(c))
        connection_close(c);
}

static bool connection_open(server *s, int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    connection *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return false;
    c->server = s;
    c->fd = fd;
    c->readable = event_new(s->base, fd, EV_READ | EV_PERSIST, on_readable, c);
    c->writable = event_new(s->base, fd, EV_WRITE, on_writable, c);
    const nghttp2_settings_entry settings[] = {
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX },
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES }
    };
    if (c->readable == NULL || c->writable == NULL ||
        nghttp2_session_server_new2(&c->session, s->callbacks, c, s->option) != 0 ||
        nghttp2_submit_settings(c->session, NGHTTP2_FLAG_NONE, settings, 2) != 0 ||
        nghttp2_session_set_local_window_size(c->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES) != 0)
        abort();
    event_add(c->readable, NULL);
    if (!flush(c))
        connection_close(c);
    return true;
}

static void on_accept(evutil_socket_t listener, short what, void *user)
{
    (void)what;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if (!connection_open(user, fd))
            close(fd);
    }
}

static void server_init(server *s)
{
    s->base = event_base_new();
    s->in = malloc(IN_BYTES);
    s->out = malloc(OUT_ROOM);
    s->payload = malloc(MESSAGE_BYTES_MAX);
    if (s->base == NULL || s->in == NULL || s->out == NULL || s->payload == NULL ||
        nghttp2_session_callbacks_new(&s->callbacks) != 0 || nghttp2_option_new(&s->option) != 0)
        abort();
    memset(s->payload, 'x', MESSAGE_BYTES_MAX);
    nghttp2_option_set_no_auto_window_update(s->option, 1);
    nghttp2_option_set_no_closed_streams(s->option, 1);
    nghttp2_session_callbacks_set_on_begin_headers_callback(s->callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(s->callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(s->callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(s->callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(s->callbacks, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(s->callbacks, on_send_data);
}

static int listen_on(const char *text)
{
    struct sockaddr_storage address;
    int bytes_of = sizeof(address);
    int on = 1;
    if (evutil_parse_sockaddr_port(text, (struct sockaddr *)&address, &bytes_of) != 0)
        return -1;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(fd, (struct sockaddr *)&address, (socklen_t)bytes_of) != 0 || listen(fd, 4096) != 0)
        return -1;
    return fd;
}

int main(int argc, char **argv)
{
    static server s;
    const char *address = "127.0.0.1:9000";
    if (argc == 3 && strcmp(argv[1], "--listen") == 0) {
        address = argv[2];
    } else if (argc != 1) {
        fprintf(stderr,
                "bare_h2_server [--listen HOST:PORT]: streams.v1.Streams on bare nghttp2\n");
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    int listener = listen_on(address);
    if (listener < 0) {
        fprintf(stderr, "bare_h2_server: cannot listen on %s\n", address);
        return 1;
    }
    server_init(&s);
    struct event *accepting = event_new(s.base, listener, EV_READ | EV_PERSIST, on_accept, &s);
    event_add(accepting, NULL);
    return event_base_dispatch(s.base);
}
