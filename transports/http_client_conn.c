/* One connection of the HTTP client: connect, handshake, one request, its response, and again. */
#include "http_client_internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* Reads per event before other descriptors get their turn. */
#define READS_MAX 16

static void receive(wi_http_conn *conn);
static void handshake(wi_http_conn *conn);
static void try_addresses(wi_http_conn *conn);

/* ---- Bytes ---- */

static void wait_writable(wi_http_conn *conn)
{
    if (event_add(&conn->writable, NULL) != 0)
        wi_http_conn_fail(conn, WEIR_ENOMEM, "cannot watch the connection");
}

/* ---- Its end ---- */

void wi_http_conn_close(wi_http_conn *conn)
{
    if (conn->fd >= 0) {
        event_del(&conn->readable);
        event_del(&conn->writable);
        wi_tls_session_free(conn->tls);
        conn->tls = NULL;
        close(conn->fd);
        conn->fd = -1;
    }
}

void wi_http_conn_fail(wi_http_conn *conn, weir_status status, const char *why)
{
    weir_op *op = conn->op;
    wi_http_conn_close(conn);
    wi_http_client_unuse(conn->client, conn);
    weir_op_done(op, status, why);
}

void wi_http_conn_connect_failed(wi_http_conn *conn, const char *why)
{
    wi_http_client_connect_failed(conn->client);
    wi_http_conn_fail(conn, WEIR_EUNAVAILABLE, why);
}

void wi_http_conn_done(wi_http_conn *conn)
{
    wi_http_conn_close(conn);
    weir_memory_free(conn->client->env, conn->out.at);
    weir_memory_free(conn->client->env, conn->in.at);
    weir_memory_free(conn->client->env, conn->fields);
}

/* A kept-alive connection may close just as we write to it: RFC 9112 section 9.3.1. Only if nothing
 * of a response came can that have been so. */
static void broke(wi_http_conn *conn)
{
    bool was_stale = conn->reused && conn->in.len == 0 && !conn->head_done && conn->interims == 0;
    if (!was_stale || !conn->repeatable || conn->repeated) {
        wi_http_conn_fail(conn, WEIR_EIO, "the connection broke before the response was complete");
        return;
    }
    wi_http_conn_close(conn);
    conn->repeated = true;
    conn->reused = conn->half_sent = false;
    conn->out_sent = 0;
    wi_http_response_reset(conn);
    if (wi_http_client_waits(conn->client))
        wi_http_conn_fail(conn, WEIR_EUNAVAILABLE, "waiting before the next connect");
    else
        wi_http_conn_open(conn);
}

/* ---- A request and its response ---- */

weir_status wi_http_conn_prepare(wi_http_conn *conn, weir_op *op, const char **ret_why)
{
    const weir_env *env = conn->client->env;
    if (conn->fields == NULL)
        conn->fields = weir_memory_new(env, WI_HTTP_FIELDS_MAX * sizeof *conn->fields);
    if (conn->fields == NULL) {
        *ret_why = "no memory for the response";
        return WEIR_ENOMEM;
    }
    wi_http_response_reset(conn);
    conn->repeated = conn->half_sent = false;
    weir_status status = wi_http_request_write(conn, op->item, op->context, ret_why);
    if (status == WEIR_OK)
        conn->op = op;
    return status;
}

bool wi_http_conn_is_fresh(wi_http_conn *conn)
{
    char byte;
    size_t n = 0;
    return wi_io_read(conn->fd, conn->tls, &byte, 1, &n) == WI_IO_WANTS_READ;
}

void wi_http_conn_send(wi_http_conn *conn)
{
    while (conn->out_sent < conn->out.len) {
        size_t n = 0;
        switch (wi_io_write(conn->fd, conn->tls, conn->out.at + conn->out_sent,
                            conn->out.len - conn->out_sent, &n)) {
        case WI_IO_DONE:
            conn->out_sent += n;
            break;
        case WI_IO_WANTS_WRITE:
            wait_writable(conn);
            return;
        case WI_IO_WANTS_READ:
            return;
        default:
            /* The server may have answered before it closed, say with 413. */
            conn->half_sent = true;
            conn->out_sent = conn->out.len;
            receive(conn);
            return;
        }
    }
}

static void complete(wi_http_conn *conn)
{
    weir_op *op = conn->op;
    const char *why = NULL;
    weir_status status = wi_http_response_deliver(conn, &why);
    bool reusable = conn->head.keep_alive && conn->head.framing != WEIR_HTTP1_UNTIL_CLOSE &&
                    !conn->half_sent && conn->out_sent == conn->out.len &&
                    conn->fed == conn->in.len;
    if (reusable) {
        conn->reused = true;
        wi_http_client_keep(conn->client, conn);
    } else {
        wi_http_conn_close(conn);
        wi_http_client_unuse(conn->client, conn);
    }
    weir_op_done(op, status, why);
}

static void receive_end(wi_http_conn *conn)
{
    const char *why = NULL;
    if (conn->in.len == 0 && !conn->head_done) {
        broke(conn);
        return;
    }
    weir_status status = wi_http_response_eof(conn, &why);
    if (status == WEIR_OK)
        complete(conn);
    else
        wi_http_conn_fail(conn, status, why);
}

/* Takes in one read's worth. False when there is nothing more to read now, or ever. */
static bool receive_some(wi_http_conn *conn)
{
    size_t room = wi_http_response_room(conn), n = 0;
    if (room == 0) {
        wi_http_conn_fail(conn, WEIR_ENOMEM, "no memory for the response");
        return false;
    }
    wi_io io = wi_io_read(conn->fd, conn->tls, conn->in.at + conn->in.len, room, &n);
    if (io == WI_IO_END || io == WI_IO_FAILED) {
        receive_end(conn);
        return false;
    }
    if (io == WI_IO_WANTS_WRITE)
        wait_writable(conn);
    if (io != WI_IO_DONE)
        return false;
    conn->in.len += n;
    const char *why = NULL;
    weir_status status = wi_http_response_feed(conn, &why);
    if (status == WEIR_OK)
        complete(conn);
    else if (status != WEIR_EPARTIAL)
        wi_http_conn_fail(conn, status, why);
    /* TLS hides records that no event tells of: read them all. */
    return status == WEIR_EPARTIAL && (n == room || conn->tls != NULL);
}

static void receive(wi_http_conn *conn)
{
    for (unsigned i = 0; i < READS_MAX || conn->tls != NULL; i++)
        if (!receive_some(conn))
            return;
}

/* ---- Connecting ---- */

static void connected(wi_http_conn *conn)
{
    wi_http_client_connected(conn->client, conn);
    conn->state = WI_HTTP_BUSY;
    wi_http_conn_send(conn);
}

static void handshake(wi_http_conn *conn)
{
    switch (wi_tls_handshake(conn->tls)) {
    case WI_IO_DONE:
        connected(conn);
        break;
    case WI_IO_WANTS_READ:
        break;
    case WI_IO_WANTS_WRITE:
        wait_writable(conn);
        break;
    default:
        wi_http_conn_connect_failed(conn, "the TLS handshake failed");
        break;
    }
}

static void socket_connected(wi_http_conn *conn)
{
    if (event_add(&conn->readable, NULL) != 0) {
        wi_http_conn_fail(conn, WEIR_ENOMEM, "cannot watch the connection");
        return;
    }
    if (!conn->client->url.tls) {
        connected(conn);
        return;
    }
    const wi_http_client *client = conn->client;
    const char *name = client->config.tls_name != NULL ? client->config.tls_name : client->url.host;
    if (wi_tls_session_new(client->tls, conn->fd, name, &conn->tls) != WEIR_OK) {
        wi_http_conn_fail(conn, WEIR_ENOMEM, "no memory for TLS");
        return;
    }
    conn->state = WI_HTTP_HANDSHAKE;
    handshake(conn);
}

static void connect_ended(wi_http_conn *conn)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0) {
        socket_connected(conn);
        return;
    }
    wi_http_conn_close(conn);
    try_addresses(conn);
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    wi_http_conn *conn = user;
    (void)fd;
    (void)what;
    if (conn->state == WI_HTTP_HANDSHAKE)
        handshake(conn);
    else if (conn->state == WI_HTTP_BUSY)
        receive(conn);
    else if (conn->state == WI_HTTP_IDLE && !wi_http_conn_is_fresh(conn))
        wi_http_client_lose(conn->client, conn);
}

static void on_writable(evutil_socket_t fd, short what, void *user)
{
    wi_http_conn *conn = user;
    (void)fd;
    (void)what;
    if (conn->state == WI_HTTP_CONNECTING) {
        connect_ended(conn);
    } else if (conn->state == WI_HTTP_HANDSHAKE) {
        handshake(conn);
    } else if (conn->state == WI_HTTP_BUSY) {
        const weir_op *op = conn->op;
        wi_http_conn_send(conn);
        if (conn->tls != NULL && conn->state == WI_HTTP_BUSY && conn->op == op)
            receive(conn);
    }
}

static bool make_socket(wi_http_conn *conn, int family)
{
    int on = 1;
    conn->fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        return false;
    (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct event_base *base = conn->client->base;
    event_assign(&conn->readable, base, conn->fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->writable, base, conn->fd, EV_WRITE, on_writable, conn);
    return true;
}

/* The addresses of a name in turn, beginning with the one that answered last. */
static void try_addresses(wi_http_conn *conn)
{
    wi_names *names = conn->client->names;
    while (conn->address_tried < wi_names_count(names)) {
        const wi_address *address = wi_names_at(names, conn->address_first + conn->address_tried++);
        if (!make_socket(conn, address->at.ss_family))
            continue;
        int result = connect(conn->fd, (const struct sockaddr *)&address->at, address->len);
        if (result == 0) {
            socket_connected(conn);
            return;
        }
        if (errno == EINPROGRESS) {
            wait_writable(conn);
            return;
        }
        wi_http_conn_close(conn);
    }
    wi_names_distrust(names);
    wi_http_conn_connect_failed(conn, "cannot connect to the server");
}

static void begin_connect(wi_http_conn *conn)
{
    conn->state = WI_HTTP_CONNECTING;
    conn->address_first = conn->client->address_good;
    conn->address_tried = 0;
    try_addresses(conn);
}

void wi_http_conn_open(wi_http_conn *conn)
{
    conn->state = WI_HTTP_RESOLVING;
    conn->reused = false;
    wi_http_client_watch(conn->client, conn, conn->client->config.connect_timeout_ms);
    wi_http_conn_resolved(conn, wi_names_ask(conn->client->names));
}

void wi_http_conn_resolved(wi_http_conn *conn, weir_status status)
{
    if (status == WEIR_OK)
        begin_connect(conn);
    else if (status != WEIR_EAGAIN)
        wi_http_conn_connect_failed(conn, "the server's name has no address");
}
