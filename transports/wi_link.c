/* Links: their beginning and end, and what they share on a loop. */
#include "wi_link_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

const char *wi_link_alpn(weir_http_version version)
{
    if (version == WEIR_HTTP_2)
        return "\2h2";
    return version == WEIR_HTTP_1 || !WEIR_HAVE_NGHTTP2 ? "\10http/1.1" : "\2h2\10http/1.1";
}

/* ---- Its beginning ---- */

static void note_peer(wi_link *link)
{
    struct sockaddr_storage at = { .ss_family = AF_UNSPEC };
    socklen_t len = sizeof at;
    if (getpeername(link->fd, (struct sockaddr *)&at, &len) != 0)
        return;
    if (at.ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const void *)&at;
        link->peer = in6->sin6_addr;
        link->peer_port = ntohs(in6->sin6_port);
    } else if (at.ss_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)&at;
        link->peer.s6_addr[10] = link->peer.s6_addr[11] = 0xff;
        memcpy(link->peer.s6_addr + 12, &in->sin_addr, 4);
        link->peer_port = ntohs(in->sin_port);
    }
}

wi_link *wi_link_new(wi_links *links, int fd, wi_link_phase phase, void *user)
{
    const short all = EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST;
    wi_link *link = weir_memory_new(links->env, sizeof *link);
    if (link == NULL)
        return NULL;
    link->links = links;
    link->fd = fd;
    link->phase = (uint8_t)phase;
    link->user = user;
    link->why = "";
    link->since_ns = weir_loop_now(links->loop);
    link->in.env = link->out.env = weir_http_pool_env(links->pool);
    event_assign(&link->io, weir_loop_base(links->loop), fd, all, wi_link_on_event, link);
    if (event_add(&link->io, NULL) != 0) {
        weir_memory_free(links->env, link);
        return NULL;
    }
    link->next = links->first;
    if (links->first != NULL)
        links->first->prev = link;
    links->first = link;
    links->count++;
    wi_links_sweep_start(links);
    return link;
}

static weir_http_version version_of(const wi_link *link)
{
    if (link->tls != NULL && wi_tls_chose(link->tls, "h2"))
        return WEIR_HTTP_2;
    if (link->tls != NULL && wi_tls_chose(link->tls, "http/1.1"))
        return WEIR_HTTP_1;
    weir_http_version asked = link->links->config.session.version;
    return asked == WEIR_HTTP_AUTO && !link->accepted ? WEIR_HTTP_1 : asked;
}

static void keep_subject(wi_link *link)
{
    char text[512];
    if (link->tls == NULL || !wi_tls_peer_subject(link->tls, text, sizeof text))
        return;
    link->subject = weir_memory_resize(link->links->env, NULL, strlen(text) + 1);
    if (link->subject != NULL)
        memcpy(link->subject, text, strlen(text) + 1);
}

void wi_link_is_up(wi_link *link)
{
    wi_links *links = link->links;
    weir_http_session_config config = links->config.session;
    config.version = version_of(link);
    config.is_client = !link->accepted;
    config.is_tls = link->tls != NULL;
    config.pool = links->pool;
    config.user = link;
    if (config.version == WEIR_HTTP_2 && link->tls != NULL && !wi_tls_chose(link->tls, "h2")) {
        wi_link_kill(link, WEIR_EUNAVAILABLE, "the peer does not speak HTTP/2");
        return;
    }
    keep_subject(link);
    weir_status status = weir_http_session_new(&config, weir_loop_now(links->loop), &link->session);
    if (status != WEIR_OK) {
        wi_link_kill(link, status, "no session can be made");
        return;
    }
    link->phase = WI_LINK_UP;
    note_peer(link);
    if (links->config.events->up != NULL)
        links->config.events->up(link, link->user);
    link->readable = link->tls != NULL; /* something may have come along with the handshake */
    wi_link_dirty(link);
}

/* ---- Accepting and dialling ---- */

static void accept_or_not(wi_links *links)
{
    if (!links->listening || links->draining)
        return;
    if (links->accepted < links->config.connections_max)
        wi_listener_resume(&links->listener);
    else
        wi_listener_pause(&links->listener);
}

static void accepted(int fd, void *user)
{
    wi_links *links = user;
    wi_link *link = wi_link_new(links, fd, WI_LINK_HANDSHAKE, links->config.user);
    if (link == NULL) {
        close(fd);
        return;
    }
    link->accepted = true;
    links->accepted++;
    accept_or_not(links);
    if (links->tls != NULL && wi_tls_session_new(links->tls, fd, NULL, &link->tls) != WEIR_OK)
        wi_link_kill(link, WEIR_ENOMEM, "no memory for TLS");
    else if (links->tls == NULL)
        wi_link_is_up(link);
}

weir_status wi_links_listen(wi_links *links, const wi_port *port, uint32_t backlog, wi_tls *tls,
                            const char **ret_why)
{
    int fd = -1;
    links->tls = tls;
    weir_status status = wi_port_bind(port, &fd, ret_why);
    if (status == WEIR_OK)
        status = wi_listener_start(&links->listener, links->loop, fd, backlog, accepted, links,
                                   ret_why);
    links->listening = status == WEIR_OK;
    return status;
}

uint16_t wi_links_port(const wi_links *links)
{
    return links->listening ? wi_listener_port(links->listener.fd) : 0;
}

static int dial_socket(const wi_address *address)
{
    int on = 1;
    int fd = socket(address->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (const struct sockaddr *)&address->at, address->len) != 0 &&
        errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    return fd;
}

weir_status wi_links_dial(wi_links *links, const wi_dial *dial, wi_link **ret_link)
{
    if (links->draining)
        return WEIR_ECLOSED;
    int fd = dial_socket(dial->address);
    if (fd < 0)
        return WEIR_EUNAVAILABLE;
    wi_tls_session *tls = NULL;
    weir_status status = WEIR_OK;
    if (dial->tls != NULL)
        status = wi_tls_session_new(dial->tls, fd, dial->name, &tls);
    if (status != WEIR_OK) {
        close(fd);
        return status;
    }
    wi_link *link = wi_link_new(links, fd, WI_LINK_CONNECTING, dial->user);
    if (link == NULL) {
        wi_tls_session_free(tls);
        close(fd);
        return WEIR_ENOMEM;
    }
    link->tls = tls;
    *ret_link = link;
    return WEIR_OK;
}

/* ---- Its end ---- */

/* The session and its exchanges end; the user is told. */
static void end_session(wi_link *link, weir_status status, const char *why)
{
    wi_links *links = link->links;
    wi_link_phase phase = (wi_link_phase)link->phase;
    bool was_told = phase == WI_LINK_LINGER || phase == WI_LINK_DEAD;
    bool is_known = phase == WI_LINK_UP || !link->accepted;
    link->phase = WI_LINK_LINGER;
    if (link->session != NULL) {
        weir_http_session_eof(link->session, status == WEIR_OK ? WEIR_ECLOSED : status);
        weir_http_session_free(link->session);
        link->session = NULL;
    }
    weir_bytes_done(&link->in);
    weir_bytes_done(&link->out);
    link->out_sent = 0;
    if (!was_told && is_known && links->config.events->over != NULL)
        links->config.events->over(link, status, why, link->user);
}

static void unlist(wi_link *link)
{
    wi_links *links = link->links;
    if (link->prev != NULL)
        link->prev->next = link->next;
    else
        links->first = link->next;
    if (link->next != NULL)
        link->next->prev = link->prev;
    links->accepted -= link->accepted;
}

void wi_link_kill(wi_link *link, weir_status status, const char *why)
{
    static const struct linger hard = { .l_onoff = 1 };
    wi_links *links = link->links;
    if (link->phase == WI_LINK_DEAD)
        return;
    event_del(&link->io);
    if (status == WEIR_EDEADLINE) /* what it does not take is not kept for it */
        (void)setsockopt(link->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    end_session(link, status, why);
    wi_tls_session_free(link->tls);
    link->tls = NULL;
    link->phase = WI_LINK_DEAD;
    unlist(link);
    /* Whoever is using it still may, up to the end of the turn; the socket goes after libevent has
     * told the kernel, or its number would be somebody else's by then. */
    if (!link->is_dirty) {
        link->next_dirty = links->dead;
        links->dead = link;
    }
    weir_loop_defer(links->loop, &links->flush);
    accept_or_not(links);
}

void wi_link_wind_down(wi_link *link, weir_status status, const char *why)
{
    end_session(link, status, why);
    wi_tls_shutdown(link->tls);
    if (link->peer_ended || shutdown(link->fd, SHUT_WR) != 0) {
        wi_link_kill(link, status, why);
        return;
    }
    link->since_ns = weir_loop_now(link->links->loop);
    link->readable = true;
    wi_link_pump(link); /* which discards */
}

static void free_link(wi_link *link)
{
    close(link->fd);
    link->links->count--;
    weir_memory_free(link->links->env, link->subject);
    weir_memory_free(link->links->env, link);
}

static void free_dead(wi_links *links)
{
    wi_link *link = links->dead;
    links->dead = NULL;
    while (link != NULL) {
        wi_link *next = link->next_dirty;
        if (link->unwatched) {
            free_link(link);
        } else {
            link->unwatched = true;
            link->next_dirty = links->dead;
            links->dead = link;
        }
        link = next;
    }
    if (links->dead != NULL)
        weir_loop_defer(links->loop, &links->flush);
}

static void tell_gone(wi_links *links)
{
    if (!links->draining || links->count != 0 || links->told_gone)
        return;
    links->told_gone = true;
    if (links->config.events->gone != NULL)
        links->config.events->gone(links->config.user);
}

/* ---- The end of a turn ---- */

void wi_link_dirty(wi_link *link)
{
    wi_links *links = link->links;
    if (link->is_dirty || link->phase == WI_LINK_DEAD)
        return;
    link->is_dirty = true;
    link->next_dirty = links->dirty;
    links->dirty = link;
    weir_loop_defer(links->loop, &links->flush);
}

static void flush_one(wi_link *link)
{
    wi_links *links = link->links;
    link->is_dirty = false;
    if (link->phase == WI_LINK_DEAD) { /* while it was on the list */
        link->next_dirty = links->dead;
        links->dead = link;
        return;
    }
    bool was_up = link->phase == WI_LINK_UP;
    if (was_up) {
        wi_link_pump(link);
        wi_link_send(link);
    }
    if (link->closes != WEIR_OK && !(was_up && link->phase == WI_LINK_LINGER))
        wi_link_kill(link, link->closes, link->why);
}

void wi_links_flush(weir_task *task, void *user)
{
    wi_links *links = user;
    (void)task;
    wi_link *link = links->dirty;
    links->dirty = NULL;
    while (link != NULL) {
        wi_link *next = link->next_dirty;
        flush_one(link);
        link = next;
    }
    free_dead(links);
    tell_gone(links);
}

/* ---- All of them ---- */

static void default_to(uint32_t *value, uint32_t by_default)
{
    if (*value == 0)
        *value = by_default;
}

static void fill_defaults(wi_links_config *config)
{
    default_to(&config->connections_max, 1024);
    default_to(&config->write_timeout_ms, 60000);
    default_to(&config->linger_timeout_ms, 2000);
    default_to(&config->connect_timeout_ms, 20000);
    default_to(&config->output_bytes_max, 256 * 1024);
    default_to(&config->session.header_timeout_ms, 10000);
}

weir_status wi_links_new(const wi_links_config *config, wi_links **ret_links, const char **ret_why)
{
    const int needed = EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE;
    struct event_base *base = weir_loop_base(config->loop);
    const weir_env *env = config->env != NULL ? config->env : weir_loop_env(config->loop);
    *ret_why = "needs an event base on epoll";
    if (base == NULL || (event_base_get_features(base) & needed) != needed)
        return WEIR_EUNSUPPORTED;
    *ret_why = "no memory for connections";
    wi_links *links = weir_memory_new(env, sizeof *links);
    if (links == NULL)
        return WEIR_ENOMEM;
    links->config = *config;
    links->loop = config->loop;
    links->env = env;
    links->flush = (weir_task)WEIR_TASK(wi_links_flush, links);
    fill_defaults(&links->config);
    links->scratch_out = (weir_bytes){ .env = env, .bytes_max = SIZE_MAX };
    links->scratch = weir_memory_resize(env, NULL, WI_LINK_READ_BYTES);
    links->pool = weir_http_pool_new(env, config->pool_bytes_max);
    if (links->scratch == NULL || links->pool == NULL) {
        wi_links_free(links);
        return WEIR_ENOMEM;
    }
    *ret_links = links;
    return WEIR_OK;
}

/* One at rest takes its leave, if the socket takes that at once. */
static void say_goodbye(wi_link *link)
{
    weir_bytes *out = &link->links->scratch_out;
    if (link->phase != WI_LINK_UP || link->out.len != 0 ||
        weir_http_session_exchanges(link->session) != 0)
        return;
    out->len = 0;
    weir_http_session_drain(link->session);
    size_t n = 0;
    if (weir_http_session_output(link->session, out, link->links->config.output_bytes_max,
                                 weir_loop_now(link->links->loop)) == WEIR_OK &&
        out->len != 0)
        (void)wi_io_write(link->fd, link->tls, out->at, out->len, &n);
    wi_tls_shutdown(link->tls);
}

static void cut_off(wi_link *link)
{
    say_goodbye(link);
    if (link->phase != WI_LINK_DEAD)
        event_del(&link->io);
    weir_http_session_free(link->session);
    wi_tls_session_free(link->tls);
    weir_bytes_done(&link->in);
    weir_bytes_done(&link->out);
    free_link(link);
}

static void free_last(weir_task *task, void *user)
{
    wi_links *links = user;
    (void)task;
    weir_memory_free(links->env, links);
}

void wi_links_free(wi_links *links)
{
    if (links == NULL)
        return;
    wi_listener_stop(&links->listener);
    weir_timer_stop(links->loop, &links->sweep);
    weir_timer_stop(links->loop, &links->hurry);
    for (wi_link *link = links->dirty, *next; link != NULL; link = next) {
        next = link->next_dirty;
        if (link->phase == WI_LINK_DEAD)
            cut_off(link);
    }
    for (wi_link *link = links->dead, *next; link != NULL; link = next) {
        next = link->next_dirty;
        cut_off(link);
    }
    for (wi_link *link = links->first, *next; link != NULL; link = next) {
        next = link->next;
        cut_off(link);
    }
    weir_bytes_done(&links->scratch_out);
    weir_memory_free(links->env, links->scratch);
    weir_http_pool_free(links->pool);
    links->flush.run = free_last;
    if (!links->flush.queued)
        weir_memory_free(links->env, links);
}

uint32_t wi_links_count(const wi_links *links)
{
    return links->count;
}

weir_http_pool *wi_links_pool(const wi_links *links)
{
    return links->pool;
}

static void stop_listening(wi_links *links)
{
    links->draining = true;
    links->listening = false;
    wi_listener_stop(&links->listener);
    weir_loop_defer(links->loop, &links->flush);
}

void wi_links_drain(wi_links *links)
{
    stop_listening(links);
    for (wi_link *link = links->first; link != NULL; link = link->next)
        wi_link_drain(link);
    wi_links_hurry_start(links);
}

void wi_links_close(wi_links *links, weir_status status)
{
    stop_listening(links);
    for (wi_link *link = links->first; link != NULL; link = link->next)
        wi_link_close(link, status);
}

/* ---- From above ---- */

void wi_link_drain(wi_link *link)
{
    if (link->phase != WI_LINK_UP) {
        if (link->phase != WI_LINK_LINGER)
            wi_link_close(link, WEIR_ECLOSED);
        return;
    }
    link->drains = 1;
    link->at_rest = weir_http_session_exchanges(link->session) == 0 && link->out.len == 0;
    weir_http_session_drain(link->session);
    wi_link_dirty(link);
}

void wi_link_close(wi_link *link, weir_status status)
{
    if (link->closes == WEIR_OK)
        link->closes = status == WEIR_OK ? WEIR_ECLOSED : status;
    wi_link_dirty(link);
}

void wi_link_touch(wi_link *link)
{
    wi_link_dirty(link);
}

weir_http_session *wi_link_session(const wi_link *link)
{
    return link->session;
}

void *wi_link_user(const wi_link *link)
{
    return link->user;
}

wi_links *wi_link_links(const wi_link *link)
{
    return link->links;
}

size_t wi_link_peer(const wi_link *link, char *text, size_t cap)
{
    char address[INET6_ADDRSTRLEN];
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(&link->peer);
    const void *at = is_v4 ? (const void *)(link->peer.s6_addr + 12) : (const void *)&link->peer;
    if (link->peer_port == 0 ||
        inet_ntop(is_v4 ? AF_INET : AF_INET6, at, address, sizeof address) == NULL)
        return 0;
    int n = snprintf(text, cap, is_v4 ? "%s:%u" : "[%s]:%u", address, link->peer_port);
    return n < 0 ? 0 : (size_t)n;
}

const char *wi_link_peer_subject(const wi_link *link)
{
    return link->subject != NULL ? link->subject : "";
}

bool wi_link_is_tls(const wi_link *link)
{
    return link->tls != NULL;
}
