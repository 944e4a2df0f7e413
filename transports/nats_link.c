/* One connection to a NATS server: resolve, connect, introduce, keep alive, come back. */
#include "nats_link.h"

#include <event2/util.h>

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_BYTES_FIRST   16384u
#define BACKOFF_SHIFT_MAX 16u

static void start_try(wi_nats_link *link);

/* ---- Configuration ---- */

static uint32_t value_or(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

weir_status wi_nats_connection_fill(wi_nats_link_config *config,
                                    const weir_nats_connection *connection)
{
    config->name = connection->name != NULL ? connection->name : "weir";
    config->connect_ms = value_or(connection->connect_ms, 5000);
    config->reconnect_ms = value_or(connection->reconnect_ms, 100);
    config->reconnect_ms_max = value_or(connection->reconnect_ms_max, 5000);
    config->ping_ms = value_or(connection->ping_ms, 10000);
    const char *url = connection->url != NULL ? connection->url : "nats://127.0.0.1";
    return weir_nats_url_parse(url, &config->url);
}

weir_status wi_nats_connection_check(const weir_nats_connection *connection, const char **why)
{
    wi_nats_link_config config;
    weir_status status = wi_nats_connection_fill(&config, connection);
    if (status != WEIR_OK)
        *why = status == WEIR_EUNSUPPORTED ? "nats: only nats:// is supported"
                                           : "nats: the URL makes no sense";
    return status;
}

/* ---- Bytes to send ---- */

static bool out_grow(wi_nats_link *link, size_t least)
{
    wi_nats_out *out = &link->out;
    size_t capacity = out->capacity != 0 ? out->capacity : OUT_BYTES_FIRST;
    if (capacity < least)
        capacity = least;
    char *data = weir_memory_new(link->env, capacity);
    if (data == NULL)
        return false;
    if (out->end != out->start)
        memcpy(data, out->data + out->start, out->end - out->start);
    weir_memory_free(link->env, out->data);
    out->data = data;
    out->capacity = capacity;
    return true;
}

char *wi_nats_out_room(wi_nats_link *link, size_t size)
{
    wi_nats_out *out = &link->out;
    if (out->capacity - out->end >= size)
        return out->data + out->end;
    size_t live = out->end - out->start;
    /* Moving only when at most half is live keeps the cost of moving constant per byte. */
    if (live <= out->capacity / 2 && out->capacity - live >= size)
        memmove(out->data, out->data + out->start, live);
    else if (!out_grow(link, 2 * live + size))
        return NULL;
    out->origin += out->start;
    out->sent -= out->start;
    out->end = live;
    out->start = 0;
    return out->data + out->end;
}

void wi_nats_link_kick(wi_nats_link *link)
{
    /* The task lives in the stage's state: hold the stage until it ran. */
    if (link->flush_held || link->writable_awaited || link->out.sent == link->out.end)
        return;
    link->flush_held = true;
    weir_stage_hold(link->stage);
    weir_loop_defer(weir_stage_loop(link->stage), &link->flush);
}

void wi_nats_out_commit(wi_nats_link *link, size_t size)
{
    link->out.end += size;
    assert(link->out.end <= link->out.capacity);
}

void wi_nats_out_release(wi_nats_link *link, uint64_t position)
{
    wi_nats_out *out = &link->out;
    size_t index = (size_t)(position - out->origin);
    assert(index >= out->start && index <= out->end);
    out->start = index;
    if (out->sent < out->start)
        out->sent = out->start;
    if (out->start == out->end) {
        out->origin += out->start;
        out->start = out->sent = out->end = 0;
    }
}

static bool out_append(wi_nats_link *link, const char *line, size_t size)
{
    char *room = wi_nats_out_room(link, size);
    if (room == NULL)
        return false;
    memcpy(room, line, size);
    wi_nats_out_commit(link, size);
    return true;
}

bool wi_nats_link_ping(wi_nats_link *link, uint64_t *ret_serial)
{
    if (!out_append(link, WEIR_NATS_PING_LINE, sizeof WEIR_NATS_PING_LINE - 1))
        return false;
    *ret_serial = ++link->pings_sent;
    return true;
}

static void await_writable(wi_nats_link *link, bool awaited)
{
    if (awaited == link->writable_awaited)
        return;
    if ((awaited ? event_add(&link->writable, NULL) : event_del(&link->writable)) == 0)
        link->writable_awaited = awaited;
}

/* Writes once. False: the link was lost. `*sent` moves on. */
static bool write_some(wi_nats_link *link, const char *data, size_t size, size_t *sent)
{
    ssize_t wrote = send(link->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (wrote < 0) {
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
            return true;
        wi_nats_link_lost(link, WEIR_EIO, "nats: the connection broke while writing");
        return false;
    }
    *sent += (size_t)wrote;
    return true;
}

/* All there is to send lies in one piece, so one send is all a turn costs. */
static void flush_out(wi_nats_link *link)
{
    if (link->state == WI_NATS_PROVING && link->hello_sent < link->hello_size) {
        if (!write_some(link, link->hello + link->hello_sent, link->hello_size - link->hello_sent,
                        &link->hello_sent))
            return;
        await_writable(link, link->hello_sent < link->hello_size);
        return;
    }
    wi_nats_out *out = &link->out;
    if (link->state != WI_NATS_UP || out->sent == out->end)
        return;
    size_t before = out->sent;
    if (!write_some(link, out->data + out->sent, out->end - out->sent, &out->sent))
        return;
    await_writable(link, out->sent < out->end);
    bool moved = out->sent != before;
    if (!link->config.retain)
        wi_nats_out_release(link, wi_nats_out_position(out, out->sent));
    if (moved && link->handler->sent != NULL)
        link->handler->sent(link);
}

void wi_nats_link_flush(wi_nats_link *link)
{
    if (!link->writable_awaited)
        flush_out(link);
}

static void run_flush(weir_task *task, void *user)
{
    wi_nats_link *link = user;
    (void)task;
    link->flush_held = false;
    if (link->state != WI_NATS_CLOSED)
        wi_nats_link_flush(link);
    weir_stage_release(link->stage);
}

/* ---- Losing and trying again ---- */

static void drop_socket(wi_nats_link *link)
{
    if (link->watching) {
        event_del(&link->readable);
        event_del(&link->writable);
    }
    link->watching = link->writable_awaited = link->paused = link->pong_owed = false;
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    link->in_start = link->in_end = 0;
    memset(&link->parser, 0, sizeof link->parser);
    link->parser.payload_bytes_max = link->config.payload_bytes_max;
    link->out.sent = link->out.start;
    link->pongs_seen = link->pings_sent;
    if (!link->config.retain)
        wi_nats_out_release(link, wi_nats_out_position(&link->out, link->out.end));
}

static uint64_t backoff_ns(wi_nats_link *link)
{
    uint32_t shift = link->attempts < BACKOFF_SHIFT_MAX ? link->attempts : BACKOFF_SHIFT_MAX;
    uint64_t ms = (uint64_t)link->config.reconnect_ms << shift;
    if (ms > link->config.reconnect_ms_max)
        ms = link->config.reconnect_ms_max;
    uint64_t half = ms * WEIR_MS / 2;
    return half + weir_loop_entropy(weir_stage_loop(link->stage)) % (half + 1);
}

static void backoff_over(weir_timer *timer, void *user)
{
    (void)timer;
    start_try(user);
}

void wi_nats_link_lost(wi_nats_link *link, weir_status status, const char *why)
{
    if (link->state == WI_NATS_CLOSED || link->state == WI_NATS_WAITING)
        return;
    bool was_up = link->state == WI_NATS_UP;
    /* A refusal that came before the loss says more than the loss. */
    if (link->why == NULL) {
        link->why = why;
        link->why_status = status;
    }
    weir_log(link->env, WEIR_LOG_WARN, "%s (%s:%u)", link->why, link->config.url.host,
             (unsigned)link->config.url.port);
    drop_socket(link);
    link->state = WI_NATS_WAITING;
    weir_timer_start(weir_stage_loop(link->stage), &link->timer, backoff_ns(link), backoff_over,
                     link);
    link->attempts++;
    if (was_up)
        link->handler->down(link);
}

/* ---- What the server says ---- */

static void tick(weir_timer *timer, void *user)
{
    wi_nats_link *link = user;
    (void)timer;
    /* While we do not read, silence says nothing about the server. */
    bool asked = link->pings_sent != link->pongs_seen;
    if (asked && !link->heard && !link->paused) {
        wi_nats_link_lost(link, WEIR_EUNAVAILABLE, "nats: the server stopped answering");
        return;
    }
    link->heard = false;
    uint64_t serial;
    if (!asked && !wi_nats_link_ping(link, &serial)) {
        wi_nats_link_lost(link, WEIR_ENOMEM, "nats: no memory to go on");
        return;
    }
    wi_nats_link_kick(link);
    weir_timer_start(weir_stage_loop(link->stage), &link->timer, link->config.ping_ms * WEIR_MS,
                     tick, link);
}

static void on_info(wi_nats_link *link, weir_nats_text json)
{
    weir_nats_info info;
    if (weir_nats_info_parse(json, &info) != WEIR_OK) {
        wi_nats_link_lost(link, WEIR_EPROTO, "nats: the server's INFO makes no sense");
        return;
    }
    link->max_payload = info.max_payload;
    if (link->state != WI_NATS_GREETING)
        return;
    if (info.tls_required || info.nonce.size != 0 || !info.headers) {
        wi_nats_link_lost(link, WEIR_EUNSUPPORTED,
                          info.tls_required      ? "nats: the server wants TLS"
                          : info.nonce.size != 0 ? "nats: the server wants a signature"
                                                 : "nats: the server knows no headers");
        return;
    }
    link->state = WI_NATS_PROVING;
    link->hello_sent = 0;
    flush_out(link);
}

/* Before we are up the stream to send is not in order yet: the answer is owed. */
static void answer_ping(wi_nats_link *link)
{
    link->pong_owed = link->state != WI_NATS_UP;
    if (link->pong_owed)
        return;
    if (!out_append(link, WEIR_NATS_PONG_LINE, sizeof WEIR_NATS_PONG_LINE - 1))
        wi_nats_link_lost(link, WEIR_ENOMEM, "nats: no memory to go on");
    wi_nats_link_kick(link);
}

static void on_pong(wi_nats_link *link)
{
    if (link->state == WI_NATS_PROVING) {
        link->state = WI_NATS_UP;
        link->attempts = 0;
        link->why = NULL;
        link->heard = true;
        weir_timer_start(weir_stage_loop(link->stage), &link->timer, link->config.ping_ms * WEIR_MS,
                         tick, link);
        weir_nats_info info = { .max_payload = link->max_payload };
        link->handler->up(link, &info);
        if (link->pong_owed)
            answer_ping(link);
        return;
    }
    if (link->pongs_seen == link->pings_sent)
        return; /* answers what we did not ask */
    link->pongs_seen++;
    if (link->handler->pong != NULL)
        link->handler->pong(link, link->pongs_seen);
}

static bool says(weir_nats_text text, const char *word)
{
    size_t size = strlen(word);
    for (size_t i = 0; i + size <= text.size; i++) {
        if (evutil_ascii_strncasecmp(text.data + i, word, size) == 0)
            return true;
    }
    return false;
}

/* Errors that do not name a subject are followed by the server's close: note what for. */
static void on_err(wi_nats_link *link, weir_nats_text text)
{
    static const struct {
        const char *says, *why;
        weir_status status;
    } fatal[] = {
        { "authorization", "nats: not authorized", WEIR_EDENIED },
        { "authentication", "nats: not authenticated", WEIR_EDENIED },
        { "maximum payload", "nats: a message is over the server's limit", WEIR_ELIMIT },
        { "maximum connections", "nats: the server has too many connections", WEIR_EOVERLOAD },
        { "stale connection", "nats: the server found us stale", WEIR_EUNAVAILABLE },
        { "slow consumer", "nats: the server found us slow", WEIR_EOVERLOAD },
        { "tls", "nats: the server wants TLS", WEIR_EUNSUPPORTED },
    };
    weir_log(link->env, WEIR_LOG_WARN, "nats: the server says: %.*s", (int)text.size, text.data);
    for (size_t i = 0; i < sizeof fatal / sizeof fatal[0]; i++) {
        if (says(text, fatal[i].says) && !says(text, "permissions violation")) {
            link->why = fatal[i].why;
            link->why_status = fatal[i].status;
            break;
        }
    }
    if (link->state == WI_NATS_UP && link->handler->refused != NULL)
        link->handler->refused(link, text);
}

/* False: stop taking operations; the event is not used up if `*again`. */
static bool take_event(wi_nats_link *link, const weir_nats_event *event, bool *again)
{
    switch (event->op) {
    case WEIR_NATS_INFO:
        on_info(link, event->text);
        break;
    case WEIR_NATS_PING:
        answer_ping(link);
        break;
    case WEIR_NATS_PONG:
        on_pong(link);
        break;
    case WEIR_NATS_ERR:
        on_err(link, event->text);
        break;
    case WEIR_NATS_MSG:
        if (link->handler->message != NULL && link->handler->message(link, event) == WEIR_EAGAIN) {
            *again = true;
            return false;
        }
        break;
    case WEIR_NATS_OK:
        break;
    }
    return link->fd >= 0;
}

static void pause_reading(wi_nats_link *link)
{
    if (!link->paused && event_del(&link->readable) == 0)
        link->paused = true;
}

/* Takes all whole operations off the buffer. */
static void parse_in(wi_nats_link *link)
{
    weir_status status = WEIR_OK;
    bool go_on = true, again = false;
    while (go_on) {
        size_t used;
        weir_nats_event event;
        status = weir_nats_parse(&link->parser, link->in + link->in_start,
                                 link->in_end - link->in_start, &used, &event);
        if (status != WEIR_OK)
            break;
        go_on = take_event(link, &event, &again);
        if (go_on)
            link->in_start += used;
    }
    if (again)
        pause_reading(link);
    if (status == WEIR_EPARTIAL || status == WEIR_OK)
        return;
    wi_nats_link_lost(link, status, "nats: the server does not speak NATS");
}

/* Room to read into: the rest of a message, or of a line. */
static bool in_room(wi_nats_link *link)
{
    if (link->in_start != 0) {
        memmove(link->in, link->in + link->in_start, link->in_end - link->in_start);
        link->in_end -= link->in_start;
        link->in_start = 0;
    }
    size_t need = weir_nats_parser_need(&link->parser);
    if (need <= link->in_capacity && link->in_end < link->in_capacity)
        return true;
    size_t capacity = need > link->in_end + 1 ? need : link->in_end + 1;
    char *in = weir_memory_resize(link->env, link->in, capacity);
    if (in == NULL)
        return false;
    link->in = in;
    link->in_capacity = capacity;
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    wi_nats_link *link = user;
    (void)what;
    if (!in_room(link)) {
        wi_nats_link_lost(link, WEIR_ENOMEM, "nats: no memory to go on");
        return;
    }
    ssize_t got = recv(fd, link->in + link->in_end, link->in_capacity - link->in_end, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        wi_nats_link_lost(link, got == 0 ? WEIR_ECLOSED : WEIR_EIO,
                          got == 0 ? "nats: the server closed the connection"
                                   : "nats: the connection broke while reading");
        return;
    }
    link->in_end += (size_t)got;
    link->heard = true;
    parse_in(link);
}

void wi_nats_link_resume(wi_nats_link *link)
{
    if (!link->paused || link->fd < 0)
        return;
    if (event_add(&link->readable, NULL) != 0)
        return;
    link->paused = false;
    parse_in(link);
}

/* ---- Connecting ---- */

static void on_writable(evutil_socket_t fd, short what, void *user)
{
    wi_nats_link *link = user;
    (void)what;
    if (link->state != WI_NATS_CONNECTING) {
        flush_out(link);
        return;
    }
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0) {
        wi_nats_link_lost(link, WEIR_EUNAVAILABLE, "nats: cannot connect");
        return;
    }
    await_writable(link, false);
    link->state = WI_NATS_GREETING;
    if (event_add(&link->readable, NULL) != 0)
        wi_nats_link_lost(link, WEIR_EIO, "nats: cannot watch the connection");
}

static void connect_next(wi_nats_link *link)
{
    const wi_address *address = wi_names_at(link->names, link->address_next++);
    link->state = WI_NATS_CONNECTING;
    link->fd = socket(address->at.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0) {
        wi_nats_link_lost(link, WEIR_EIO, "nats: no socket");
        return;
    }
    int on = 1;
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(link->fd, (const struct sockaddr *)&address->at, address->len) != 0 &&
        errno != EINPROGRESS) {
        wi_nats_link_lost(link, WEIR_EUNAVAILABLE, "nats: cannot connect");
        return;
    }
    struct event_base *base = weir_loop_base(weir_stage_loop(link->stage));
    event_assign(&link->readable, base, link->fd, EV_READ | EV_PERSIST, on_readable, link);
    event_assign(&link->writable, base, link->fd, EV_WRITE | EV_PERSIST, on_writable, link);
    link->watching = true;
    await_writable(link, true);
    if (!link->writable_awaited)
        wi_nats_link_lost(link, WEIR_EIO, "nats: cannot watch the connection");
}

static void look_up(wi_nats_link *link)
{
    weir_status status = wi_names_ask(link->names);
    if (status == WEIR_OK)
        connect_next(link);
    else if (status != WEIR_EAGAIN)
        wi_nats_link_lost(link, status, "nats: the server's name is not known");
}

static void resolved(weir_status status, void *user)
{
    wi_nats_link *link = user;
    if (link->state != WI_NATS_RESOLVING)
        return;
    if (status == WEIR_OK)
        connect_next(link);
    else if (status == WEIR_ECANCELED) /* one that was given up before */
        look_up(link);
    else
        wi_nats_link_lost(link, status, "nats: the server's name is not known");
}

static void took_too_long(weir_timer *timer, void *user)
{
    wi_nats_link *link = user;
    (void)timer;
    wi_names_give_up(link->names);
    wi_nats_link_lost(link, WEIR_EUNAVAILABLE, "nats: connecting took too long");
}

/* Addresses are asked for anew at each round of them: servers move. */
static void start_try(wi_nats_link *link)
{
    uint32_t count = wi_names_count(link->names);
    link->why = NULL;
    link->state = WI_NATS_RESOLVING;
    weir_timer_start(weir_stage_loop(link->stage), &link->timer, link->config.connect_ms * WEIR_MS,
                     took_too_long, link);
    if (count == 0 || link->address_next % count == 0)
        wi_names_distrust(link->names);
    look_up(link);
}

/* ---- Life ---- */

/* CONNECT and the PING whose PONG proves that it was accepted never change: written once. */
static weir_status make_hello(wi_nats_link *link)
{
    const weir_nats_url *url = &link->config.url;
    weir_nats_connect connect = {
        .name = weir_nats_text_of(link->config.name),
        .version = weir_nats_text_of("0.1.0"),
    };
    if (url->token[0] != '\0')
        connect.token = weir_nats_text_of(url->token);
    if (url->user[0] != '\0') {
        connect.user = weir_nats_text_of(url->user);
        connect.password = weir_nats_text_of(url->password);
    }
    size_t ping_size = sizeof WEIR_NATS_PING_LINE - 1;
    link->hello = weir_memory_new(link->env, WEIR_NATS_LINE_BYTES_MAX + ping_size);
    if (link->hello == NULL)
        return WEIR_ENOMEM;
    weir_status status = weir_nats_encode_connect(&connect, link->hello, WEIR_NATS_LINE_BYTES_MAX,
                                                  &link->hello_size);
    if (status != WEIR_OK)
        return status;
    memcpy(link->hello + link->hello_size, WEIR_NATS_PING_LINE, ping_size);
    link->hello_size += ping_size;
    return WEIR_OK;
}

weir_status wi_nats_link_open(wi_nats_link *link, weir_stage *stage,
                              const wi_nats_link_config *config, const wi_nats_handler *handler)
{
    link->stage = stage;
    link->env = weir_stage_env(stage);
    link->handler = handler;
    link->config = *config;
    link->fd = -1;
    link->flush.run = run_flush;
    link->flush.user = link;
    link->parser.payload_bytes_max = config->payload_bytes_max;
    if (weir_loop_base(weir_stage_loop(stage)) == NULL)
        return WEIR_EUNSUPPORTED;
    wi_names_config names = { .loop = weir_stage_loop(stage),
                              .env = link->env,
                              .host = config->url.host,
                              .port = config->url.port,
                              .resolved = resolved,
                              .user = link };
    weir_status status = make_hello(link);
    if (status == WEIR_OK)
        status = wi_names_new(&names, &link->names);
    if (status != WEIR_OK) {
        weir_memory_free(link->env, link->hello);
        link->hello = NULL;
        return status;
    }
    start_try(link);
    return WEIR_OK;
}

void wi_nats_link_close(wi_nats_link *link)
{
    if (link->stage == NULL)
        return;
    link->state = WI_NATS_CLOSED;
    drop_socket(link);
    weir_timer_stop(weir_stage_loop(link->stage), &link->timer);
    wi_names_free(link->names);
    weir_memory_free(link->env, link->in);
    weir_memory_free(link->env, link->out.data);
    weir_memory_free(link->env, link->hello);
    link->names = NULL;
    link->in = link->hello = NULL;
    link->in_capacity = 0;
    memset(&link->out, 0, sizeof link->out);
}
