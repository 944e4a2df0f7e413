/* A TCP connection: its reads become chunks, its replies one write a turn. */
#include "tcp_internal.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Writes in one flush before others get their turn. */
enum { WRITES_MAX = 16 };

static void chunk_ended(weir_item *item, weir_outcome outcome, weir_status status);
static weir_status chunk_clone(weir_item *to, const weir_item *from);
static void flush(weir_task *task, void *user);

const weir_item_type wi_tcp_chunk_type = {
    .name = "tcp_chunk",
    .ended = chunk_ended,
    .clone = chunk_clone,
};
const weir_item_type wi_tcp_line_type = { .name = "line" };

/* ---- Buffers ---- */

bool wi_tcp_buffer_reserve(const weir_env *env, wi_tcp_buffer *buffer, size_t more)
{
    if (buffer->cap - buffer->to >= more)
        return true;
    if (buffer->from > 0) {
        memmove(buffer->at, buffer->at + buffer->from, buffer->to - buffer->from);
        buffer->to -= buffer->from;
        buffer->from = 0;
    }
    size_t cap = buffer->cap != 0 ? buffer->cap : 512;
    while (cap - buffer->to < more)
        cap *= 2;
    if (cap == buffer->cap)
        return true;
    char *at = weir_memory_resize(env, buffer->at, cap);
    if (at == NULL)
        return false;
    buffer->at = at;
    buffer->cap = cap;
    return true;
}

static size_t buffered(const wi_tcp_conn *conn)
{
    return conn->out.to - conn->out.from;
}

static bool append(wi_tcp_conn *conn, const char *bytes, size_t n, bool is_line)
{
    if (!wi_tcp_buffer_reserve(conn->source->env, &conn->out, n + is_line))
        return false;
    if (buffered(conn) == 0)
        conn->written_ns = weir_loop_now(conn->source->loop);
    if (n > 0)
        memcpy(conn->out.at + conn->out.to, bytes, n);
    conn->out.to += n;
    if (is_line)
        conn->out.at[conn->out.to++] = '\n';
    return true;
}

/* ---- Replies that wait ---- */

static bool queue_grow(const weir_env *env, wi_tcp_queue *queue)
{
    uint32_t cap = queue->cap != 0 ? 2 * queue->cap : 16;
    weir_item **items = weir_memory_new(env, cap * sizeof *items);
    if (items == NULL)
        return false;
    for (uint32_t i = 0; i < queue->n; i++)
        items[i] = queue->items[(queue->first + i) % queue->cap];
    weir_memory_free(env, queue->items);
    *queue = (wi_tcp_queue){ .items = items, .cap = cap, .n = queue->n };
    return true;
}

static bool queue_push(const weir_env *env, wi_tcp_queue *queue, weir_item *item)
{
    if (queue->n == queue->cap && !queue_grow(env, queue))
        return false;
    queue->items[(queue->first + queue->n++) % queue->cap] = item;
    return true;
}

static weir_item *queue_pop(wi_tcp_queue *queue)
{
    weir_item *item = queue->items[queue->first];
    queue->first = (queue->first + 1) % queue->cap;
    queue->n--;
    return item;
}

/* ---- Chunks ---- */

static weir_status chunk_clone(weir_item *to, const weir_item *from)
{
    wi_tcp_chunk_body *body = to->body;
    (void)from;
    body->shown.bytes = body->bytes;
    body->conn = NULL;
    return WEIR_OK;
}

static void chunk_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    wi_tcp_conn *conn = ((wi_tcp_chunk_body *)item->body)->conn;
    (void)status;
    if (conn == NULL)
        return;
    conn->chunks_live--;
    conn->touched_ns = weir_loop_now(conn->source->loop);
    bool failed = outcome == WEIR_FAILED || outcome == WEIR_REJECTED;
    if (failed && (conn->cut_over || !conn->source->config.keep_failed)) {
        wi_tcp_conn_finish(conn);
        return;
    }
    wi_tcp_conn_wake(conn);
    wi_tcp_conn_settle(conn);
}

wi_tcp_conn *wi_tcp_conn_of(const weir_item *item)
{
    item = weir_item_root(item);
    return item->type == &wi_tcp_chunk_type ? ((wi_tcp_chunk_body *)item->body)->conn : NULL;
}

bool weir_tcp_is_from(const weir_item *item)
{
    return wi_tcp_conn_of(item) != NULL;
}

static bool emit_chunk(wi_tcp_conn *conn, const char *bytes, size_t n)
{
    wi_tcp_source *source = conn->source;
    weir_item *item = weir_item_new(source->loop, &wi_tcp_chunk_type,
                                    offsetof(wi_tcp_chunk_body, bytes) + n);
    if (item == NULL)
        return false;
    wi_tcp_chunk_body *body = item->body;
    body->shown = (weir_tcp_chunk){ .bytes = body->bytes, .n = n, .is_end = n == 0 };
    body->conn = conn;
    if (n > 0)
        memcpy(body->bytes, bytes, n);
    item->cost = n > 0 ? (uint32_t)n : 1;
    item->key = conn->id;
    item->context = &conn->context;
    conn->chunks_live++;
    conn->touched_ns = weir_loop_now(source->loop);
    weir_emit(weir_stage_out(source->stage), item);
    return true;
}

/* ---- Reading ---- */

static void stop_reading(wi_tcp_conn *conn)
{
    if (conn->reads)
        event_del(&conn->readable);
    conn->reads = false;
}

void wi_tcp_conn_wake(wi_tcp_conn *conn)
{
    if (conn->fd < 0 || conn->reads || conn->is_hungry || (conn->read_ended && !conn->lingers) ||
        conn->chunks_live >= conn->source->config.chunks_max)
        return;
    conn->reads = event_add(&conn->readable, NULL) == 0;
    if (!conn->reads)
        wi_tcp_conn_reset(conn);
}

/* Reads once, into one chunk. The caller knows that it fits the demand. */
void wi_tcp_conn_read(wi_tcp_conn *conn)
{
    wi_tcp_source *source = conn->source;
    ssize_t n = recv(conn->fd, source->scratch, source->config.chunk_bytes_max, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n == 0) {
        conn->read_ended = conn->peer_ended = true;
        stop_reading(conn);
    }
    if (n < 0 || !emit_chunk(conn, source->scratch, (size_t)n))
        wi_tcp_conn_reset(conn);
}

static void discard(wi_tcp_conn *conn)
{
    ssize_t n = recv(conn->fd, conn->source->scratch, conn->source->config.chunk_bytes_max, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
        wi_tcp_conn_reset(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    wi_tcp_conn *conn = user;
    wi_tcp_source *source = conn->source;
    (void)fd;
    (void)what;
    if (conn->lingers) {
        discard(conn);
    } else if (conn->chunks_live >= source->config.chunks_max) {
        stop_reading(conn);
    } else if (!weir_out_fits(weir_stage_out(source->stage), source->config.chunk_bytes_max)) {
        stop_reading(conn);
        wi_tcp_source_hungry(source, conn);
    } else {
        wi_tcp_conn_read(conn);
    }
}

/* No event tells that the peer of a socket that is not read has reset it: libevent does not hand on
 * an error that comes alone. */
void wi_tcp_conn_check(wi_tcp_conn *conn)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (conn->fd < 0 || conn->reads)
        return;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0)
        wi_tcp_conn_reset(conn);
}

/* ---- Writing ---- */

static void wait_writable(wi_tcp_conn *conn)
{
    conn->write_waits = event_add(&conn->writable, NULL) == 0;
    if (!conn->write_waits)
        wi_tcp_conn_reset(conn);
}

static void on_writable(evutil_socket_t fd, short what, void *user)
{
    wi_tcp_conn *conn = user;
    (void)fd;
    (void)what;
    conn->write_waits = false;
    flush(&conn->flush, conn);
}

bool wi_tcp_reply_bytes(const weir_item *item, const char **ret_at, size_t *ret_n,
                        bool *ret_is_line)
{
    if (item->type == &wi_tcp_chunk_type) {
        const weir_tcp_chunk *chunk = item->body;
        *ret_at = chunk->bytes;
        *ret_n = chunk->n;
        *ret_is_line = false;
        return true;
    }
    for (const weir_item *of = item; of != NULL; of = of->parent) {
        if (of->type != &wi_tcp_line_type)
            continue;
        *ret_at = item->body;
        *ret_n = strlen(*ret_at);
        *ret_is_line = true;
        return true;
    }
    return false;
}

/* Into the buffer, which may overrun its limit by one reply, so that none is too large for it. */
static bool take_reply(wi_tcp_conn *conn, weir_item *item)
{
    const char *at;
    size_t n;
    bool is_line;
    if (!wi_tcp_reply_bytes(item, &at, &n, &is_line) || !append(conn, at, n, is_line)) {
        weir_item_end(item, WEIR_ABORTED, WEIR_ENOMEM);
        return false;
    }
    weir_item_ack(item);
    return true;
}

static void take_waiting(wi_tcp_conn *conn)
{
    while (conn->waiting.n > 0 && buffered(conn) < conn->source->config.write_bytes_max) {
        if (!take_reply(conn, queue_pop(&conn->waiting))) {
            wi_tcp_conn_reset(conn);
            return;
        }
    }
}

void wi_tcp_conn_reply(wi_tcp_conn *conn, weir_item *item)
{
    if (conn->fd < 0) {
        weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
        return;
    }
    bool full = conn->waiting.n > 0 || buffered(conn) >= conn->source->config.write_bytes_max;
    if (full && queue_push(conn->source->env, &conn->waiting, item))
        return;
    conn->pins++;
    bool taken = !full && take_reply(conn, item);
    if (full)
        weir_item_end(item, WEIR_ABORTED, WEIR_ENOMEM);
    conn->pins--;
    if (!taken)
        wi_tcp_conn_reset(conn);
    else if (buffered(conn) > 0 && !conn->write_waits)
        weir_loop_defer(conn->source->loop, &conn->flush);
    else
        wi_tcp_conn_settle(conn);
}

/* Gives false when the socket takes no more for now, or is no more. */
static bool write_once(wi_tcp_conn *conn)
{
    ssize_t n = send(conn->fd, conn->out.at + conn->out.from, buffered(conn), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0) {
        if (errno == EAGAIN)
            wait_writable(conn);
        else
            wi_tcp_conn_reset(conn);
        return false;
    }
    conn->out.from += (size_t)n;
    conn->written_ns = weir_loop_now(conn->source->loop);
    if (conn->out.from == conn->out.to)
        conn->out.from = conn->out.to = 0;
    take_waiting(conn);
    return conn->fd >= 0;
}

static void flush(weir_task *task, void *user)
{
    wi_tcp_conn *conn = user;
    (void)task;
    conn->pins++;
    for (int i = 0; conn->fd >= 0 && buffered(conn) > 0; i++) {
        if (i == WRITES_MAX)
            wait_writable(conn);
        if (i == WRITES_MAX || !write_once(conn))
            break;
    }
    conn->pins--;
    wi_tcp_conn_settle(conn);
}

/* ---- Beginning and end ---- */

wi_tcp_conn *wi_tcp_conn_new(wi_tcp_source *source, int fd)
{
    wi_tcp_conn *conn = weir_memory_new(source->env, sizeof *conn);
    if (conn == NULL)
        return NULL;
    struct event_base *base = weir_loop_base(source->loop);
    conn->source = source;
    conn->fd = fd;
    conn->id = ++source->next_id;
    conn->touched_ns = weir_loop_now(source->loop);
    conn->flush = (weir_task)WEIR_TASK(flush, conn);
    event_assign(&conn->readable, base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->writable, base, fd, EV_WRITE, on_writable, conn);
    weir_context_init(&conn->context, source->loop, NULL, 0);
    wi_tcp_source_add(source, conn);
    wi_tcp_conn_wake(conn);
    return conn;
}

static void close_socket(wi_tcp_conn *conn)
{
    stop_reading(conn);
    if (conn->is_hungry)
        wi_tcp_source_fed(conn->source, conn);
    if (conn->write_waits)
        event_del(&conn->writable);
    conn->write_waits = false;
    conn->read_ended = true;
    close(conn->fd);
    conn->fd = -1;
}

void wi_tcp_conn_finish(wi_tcp_conn *conn)
{
    if (conn->fd >= 0 && !conn->lingers) {
        stop_reading(conn);
        if (conn->is_hungry)
            wi_tcp_source_fed(conn->source, conn);
        conn->read_ended = true;
    }
    wi_tcp_conn_settle(conn);
}

void wi_tcp_conn_reset(wi_tcp_conn *conn)
{
    if (conn->fd < 0)
        return;
    close_socket(conn);
    conn->out.from = conn->out.to = 0;
    conn->pins++;
    weir_context_cancel(&conn->context, WEIR_ECLOSED);
    while (conn->waiting.n > 0)
        weir_item_end(queue_pop(&conn->waiting), WEIR_ABORTED, WEIR_ECANCELED);
    conn->pins--;
    wi_tcp_conn_settle(conn);
}

/* Closing over unread input would reset the connection and take the last replies with it. */
static void linger(wi_tcp_conn *conn)
{
    if (conn->lingers)
        return;
    if (conn->peer_ended || shutdown(conn->fd, SHUT_WR) != 0) {
        close_socket(conn);
        return;
    }
    conn->lingers = true;
    conn->touched_ns = weir_loop_now(conn->source->loop);
    wi_tcp_conn_wake(conn);
}

void wi_tcp_conn_settle(wi_tcp_conn *conn)
{
    if (conn->pins > 0 || conn->chunks_live > 0 || !conn->read_ended)
        return;
    if (conn->fd >= 0 && buffered(conn) == 0 && conn->waiting.n == 0) {
        conn->pins++;
        linger(conn);
        conn->pins--;
    }
    if (conn->fd >= 0 || conn->flush.queued)
        return;
    wi_tcp_source *source = conn->source;
    weir_context_done(&conn->context);
    weir_memory_free(source->env, conn->out.at);
    weir_memory_free(source->env, conn->waiting.items);
    weir_memory_free(source->env, conn->partial.at);
    wi_tcp_source_remove(source, conn);
    weir_memory_free(source->env, conn);
}
