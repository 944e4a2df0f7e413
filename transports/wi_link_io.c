/* A link's bytes: events of its socket, reading, and writing once a turn. */
#include "wi_link_internal.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

/* ---- Reading ---- */

/* Gives what was read to the session; what it leaves stays in link->in. */
static void feed(wi_link *link, const char *at, size_t n)
{
    size_t used = 0;
    weir_status status = weir_http_session_feed(link->session, at, n,
                                                weir_loop_now(link->links->loop), &used);
    if (status != WEIR_OK) {
        link->failed = status; /* the session says why to the peer, when it is flushed */
        return;
    }
    if (at == link->in.at) {
        memmove(link->in.at, link->in.at + used, link->in.len - used);
        link->in.len -= used;
        if (link->in.len == 0)
            weir_bytes_done(&link->in);
    } else if (used < n && weir_bytes_append(&link->in, at + used, n - used) != WEIR_OK) {
        wi_link_close(link, WEIR_ENOMEM);
    }
}

static void receive_ended(wi_link *link, wi_io io)
{
    link->readable = false;
    if (io == WI_IO_END)
        link->peer_ended = true;
    else if (io == WI_IO_FAILED)
        wi_link_kill(link, WEIR_ECLOSED, "the connection broke");
}

static void read_some(wi_link *link)
{
    wi_links *links = link->links;
    size_t n = 0;
    wi_io io = wi_io_read(link->fd, link->tls, links->scratch, WI_LINK_READ_BYTES, &n);
    if (io != WI_IO_DONE) {
        receive_ended(link, io);
        return;
    }
    /* Edge-triggered: a short read has emptied the socket, but for an end that came before it. */
    if (link->tls == NULL && n < WI_LINK_READ_BYTES && !link->hup) {
        link->readable = false;
        link->unsure = true;
    }
    feed(link, links->scratch, n);
}

/* All that came is fed. HTTP/2 without one direction is nothing, and neither is TLS. */
static void peer_ended(wi_link *link)
{
    weir_http_version version = weir_http_session_version(link->session);
    link->told_end = true;
    if (version != WEIR_HTTP_1)
        wi_link_kill(link, WEIR_ECLOSED, "the peer closed");
    else
        weir_http_session_eof(link->session, WEIR_OK);
}

static bool step(wi_link *link)
{
    if (link->phase != WI_LINK_UP || !weir_http_session_wants_input(link->session))
        return false;
    if (link->in.len != 0) {
        size_t before = link->in.len;
        feed(link, link->in.at, link->in.len);
        return link->in.len < before;
    }
    if (link->peer_ended) {
        if (!link->told_end)
            peer_ended(link);
        return false;
    }
    if (link->readable)
        read_some(link);
    return link->phase == WI_LINK_UP && (link->readable || link->peer_ended);
}

/* Closing over unread input would reset the connection and take our last word with it. MSG_TRUNC
 * drops the bytes where they are (tcp(7)); the buffer is not written, but what watches memory takes
 * it to be, so it is the loop's own. */
static void discard(wi_link *link)
{
    while (link->phase == WI_LINK_LINGER && link->readable) {
        ssize_t n = recv(link->fd, link->links->scratch, WI_LINK_READ_BYTES, MSG_TRUNC);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            link->readable = false;
            return;
        }
        if (n > 0)
            link->lingered += (uint32_t)n;
        if (n <= 0 || link->lingered > WI_LINK_LINGER_BYTES)
            wi_link_kill(link, WEIR_OK, "");
    }
}

void wi_link_pump(wi_link *link)
{
    if (link->phase == WI_LINK_LINGER) {
        discard(link);
        return;
    }
    for (int steps = 0; steps < WI_LINK_READS_MAX && step(link); steps++)
        ;
}

/* ---- Writing ---- */

static bool write_failed(wi_link *link, wi_io io)
{
    if (io == WI_IO_DONE)
        return false;
    if (io == WI_IO_WANTS_READ || io == WI_IO_WANTS_WRITE)
        link->blocked = true;
    else
        wi_link_kill(link, WEIR_ECLOSED, "the connection broke");
    return true;
}

/* Sends as much as the socket takes; gives how much. */
static size_t transmit(wi_link *link, const char *at, size_t n)
{
    size_t sent = 0;
    while (sent < n) {
        size_t some = 0;
        wi_io io = wi_io_write(link->fd, link->tls, at + sent, n - sent, &some);
        if (write_failed(link, io))
            break;
        sent += some;
        link->unsure = false; /* it would have failed */
        link->wrote_ns = weir_loop_now(link->links->loop);
    }
    return sent;
}

/* What waited goes first; false while there is some left. */
static bool send_waiting(wi_link *link)
{
    if (link->out.len == 0)
        return true;
    link->out_sent += transmit(link, link->out.at + link->out_sent, link->out.len - link->out_sent);
    if (link->phase != WI_LINK_UP || link->out_sent < link->out.len)
        return false;
    link->out_sent = 0;
    weir_bytes_done(&link->out);
    return true;
}

/* One portion of the session's output, made in the loop's buffer: only what the socket does not
 * take is kept for it. False when there is no more, or no more can go. */
static bool send_portion(wi_link *link)
{
    wi_links *links = link->links;
    weir_bytes *out = &links->scratch_out;
    if (!weir_http_session_wants_output(link->session))
        return false;
    out->len = 0;
    weir_status status = weir_http_session_output(
        link->session, out, links->config.output_bytes_max, weir_loop_now(links->loop));
    if (status == WEIR_ENOMEM) {
        wi_link_kill(link, status, "no memory for output");
        return false;
    }
    link->failed = status;
    size_t sent = transmit(link, out->at, out->len);
    if (link->phase != WI_LINK_UP)
        return false;
    if (sent == out->len)
        return out->len != 0;
    if (weir_bytes_append(&link->out, out->at + sent, out->len - sent) != WEIR_OK)
        wi_link_kill(link, WEIR_ENOMEM, "no memory for output");
    else if (sent == 0)
        link->wrote_ns = weir_loop_now(links->loop);
    return false;
}

/* A reset that came along with what was read last is no event of its own, and libevent does not
 * tell it from readiness (EPOLLERR). */
static void look_for_reset(wi_link *link)
{
    char next;
    if (!link->unsure)
        return;
    link->unsure = false;
    ssize_t n = recv(link->fd, &next, 1, MSG_PEEK);
    if (n >= 0)
        link->readable = true;
    else if (errno != EAGAIN && errno != EINTR)
        wi_link_kill(link, WEIR_ECLOSED, "the connection broke");
}

/* Everything was said that will be. */
static void wind_down(wi_link *link)
{
    weir_status status = link->failed;
    if (status == WEIR_OK && link->peer_ended)
        status = WEIR_ECLOSED;
    wi_link_wind_down(link, status, weir_http_session_why(link->session));
}

/* Nobody waits for an answer any more: its peer has closed, and all that it said before is read. */
static bool is_abandoned(const wi_link *link)
{
    return link->hup && link->accepted && link->links->config.end_is_gone && link->out.len == 0 &&
           weir_http_session_version(link->session) == WEIR_HTTP_1 &&
           weir_http_session_exchanges(link->session) > 0 &&
           !weir_http_session_wants_input(link->session) &&
           !weir_http_session_wants_output(link->session);
}

void wi_link_send(wi_link *link)
{
    int portions = 0;
    if (link->phase != WI_LINK_UP) /* reading, just before, may have ended it */
        return;
    link->at_rest = link->at_rest && weir_http_session_exchanges(link->session) == 0;
    if (!link->blocked && send_waiting(link)) {
        while (portions < WI_LINK_WRITES_MAX && send_portion(link))
            portions++;
    }
    if (link->phase != WI_LINK_UP)
        return;
    if (link->out.len == 0 && weir_http_session_is_over(link->session)) {
        wind_down(link);
        return;
    }
    look_for_reset(link);
    if (link->phase == WI_LINK_UP && is_abandoned(link))
        wi_link_kill(link, WEIR_ECLOSED, "the peer closed");
    if (link->phase != WI_LINK_UP)
        return;
    bool more_out = portions == WI_LINK_WRITES_MAX;
    bool more_in = (link->in.len != 0 || link->readable || (link->peer_ended && !link->told_end)) &&
                   weir_http_session_wants_input(link->session);
    if (more_out || more_in)
        wi_link_dirty(link); /* in the next turn, without an event */
}

/* ---- Events ---- */

static void connected(wi_link *link)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        wi_link_kill(link, WEIR_EUNAVAILABLE,
                     error == ECONNREFUSED ? "connection refused" : "cannot connect");
        return;
    }
    link->phase = WI_LINK_HANDSHAKE;
    if (link->tls == NULL)
        wi_link_is_up(link);
    else
        wi_link_shake(link);
}

void wi_link_shake(wi_link *link)
{
    wi_io io = wi_tls_handshake(link->tls);
    if (io == WI_IO_WANTS_READ || io == WI_IO_WANTS_WRITE)
        return;
    if (io == WI_IO_DONE) {
        wi_link_is_up(link);
        return;
    }
    wi_link_kill(link, link->accepted ? WEIR_EPROTO : WEIR_EUNAVAILABLE, wi_tls_why(link->tls));
}

/* While we do not read, a reset shows only here. A peer that only ended its sending is left alone.
 */
static void check_reset(wi_link *link)
{
    struct pollfd at = { .fd = link->fd, .events = POLLRDHUP };
    if (poll(&at, 1, 0) > 0 && (at.revents & (POLLERR | POLLHUP)) != 0)
        wi_link_kill(link, WEIR_ECLOSED, "the connection broke");
}

static void on_up(wi_link *link, short what)
{
    if ((what & EV_WRITE) != 0 && link->blocked) {
        link->blocked = false;
        wi_link_dirty(link);
    }
    if ((what & (EV_READ | EV_CLOSED)) == 0)
        return;
    link->readable = true;
    wi_link_pump(link);
    wi_link_dirty(link);
    if (link->readable && link->phase == WI_LINK_UP &&
        !weir_http_session_wants_input(link->session))
        check_reset(link);
}

void wi_link_on_event(evutil_socket_t fd, short what, void *user)
{
    wi_link *link = user;
    (void)fd;
    if ((what & EV_CLOSED) != 0)
        link->hup = true;
    if (link->tls != NULL && link->phase == WI_LINK_UP)
        what |= EV_READ | EV_WRITE; /* either may have waited for the other */
    switch ((wi_link_phase)link->phase) {
    case WI_LINK_CONNECTING:
        if ((what & (EV_WRITE | EV_CLOSED)) != 0)
            connected(link);
        if (link->phase == WI_LINK_UP && (what & (EV_READ | EV_CLOSED)) != 0)
            link->readable = true; /* the edge that told of it was this one */
        break;
    case WI_LINK_HANDSHAKE:
        wi_link_shake(link);
        break;
    case WI_LINK_UP:
        on_up(link, what);
        break;
    case WI_LINK_LINGER:
        link->readable = true;
        discard(link);
        break;
    case WI_LINK_DEAD:
        break;
    }
}
