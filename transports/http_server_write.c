/* Writing: once per connection and turn, all replies together. */
#include "http_server_internal.h"

#include <unistd.h>

void wi_httpd_dirty(wi_httpd_conn *conn)
{
    wi_httpd *server = conn->server;
    if (conn->is_dirty || conn->fd < 0)
        return;
    conn->is_dirty = true;
    conn->next_dirty = server->dirty;
    server->dirty = conn;
    weir_loop_defer(server->loop, &server->flush);
}

/* Gives false when the connection was closed. */
static bool send_all(wi_httpd_conn *conn)
{
    uint64_t now = weir_loop_now(conn->server->loop);
    while (wi_httpd_buffered(&conn->out) > 0 && !conn->blocked) {
        size_t n = 0;
        wi_io io = wi_io_write(conn->fd, conn->tls, conn->out.at + conn->out.from,
                               wi_httpd_buffered(&conn->out), &n);
        if (io == WI_IO_DONE) {
            conn->out.from += (uint32_t)n;
            conn->wrote_ns = now;
        } else if (io == WI_IO_WANTS_READ || io == WI_IO_WANTS_WRITE) {
            conn->blocked = true;
        } else {
            wi_httpd_conn_kill(conn, WEIR_ECLOSED);
            return false;
        }
    }
    if (wi_httpd_buffered(&conn->out) == 0)
        wi_httpd_release(conn->server, &conn->out);
    return true;
}

void wi_httpd_flush_conn(wi_httpd_conn *conn)
{
    if (conn->fd < 0 || conn->phase == WI_HTTPD_LINGER || !send_all(conn))
        return;
    bool sent = wi_httpd_buffered(&conn->out) == 0;
    bool answered = conn->seq_in == conn->seq_out;
    if (sent && (conn->closes || (conn->read_ended && answered))) {
        wi_httpd_conn_wind_down(conn);
        return;
    }
    if (answered && conn->phase == WI_HTTPD_IDLE)
        conn->since_ns = conn->wrote_ns;
    if (conn->requests != NULL)
        wi_httpd_tell_room(conn);
    if (conn->waits)
        wi_httpd_pump(conn);
}

static void free_dead(wi_httpd *server)
{
    wi_httpd_conn *conn = server->dead;
    server->dead = NULL;
    while (conn != NULL) {
        wi_httpd_conn *next = conn->behind;
        if (conn->unwatched && !conn->is_dirty) {
            close(conn->dead_fd);
            weir_memory_free(server->env, conn);
        } else {
            conn->unwatched = true;
            conn->behind = server->dead;
            server->dead = conn;
        }
        conn = next;
    }
    if (server->dead != NULL)
        weir_loop_defer(server->loop, &server->flush);
}

void wi_httpd_flush(weir_task *task, void *user)
{
    wi_httpd *server = user;
    (void)task;
    wi_httpd_conn *conn = server->dirty;
    server->dirty = NULL;
    while (conn != NULL) {
        wi_httpd_conn *next = conn->next_dirty;
        conn->is_dirty = false;
        wi_httpd_flush_conn(conn);
        conn = next;
    }
    free_dead(server);
    wi_httpd_maybe_finish(server);
}
