/* The admin listener: a small HTTP server, one request a connection, on a loop or a thread. */
#include "admin_internal.h"
#include "wi_listener.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HEAD_MAX = 8 * 1024, FIELDS_MAX = 64, RESPONSE_HEAD_MAX = 1024, CONNECTIONS_MAX = 1024 };

typedef struct admin_conn {
    weir_admin *admin;
    struct admin_conn *next, *prev;
    struct event readable, writable;
    int fd;
    uint64_t due_ns;
    size_t in_len, sent;
    weir_http1_scan scan;
    wi_text out; /* empty while the request is read */
    bool lingers, peer_ended;
    char in[HEAD_MAX];
} admin_conn;

struct weir_admin {
    wi_admin_pages pages;
    const weir_env *env;
    weir_loop *loop;
    wi_listener listener;
    admin_conn *conns;
    uint32_t conns_live;
    weir_timer sampler, sweeper;
    uint16_t port;
    bool has_thread;
    pthread_t thread;
    weir_task stop;
};

/* ---- Connections ---- */

static void close_conn(admin_conn *conn)
{
    weir_admin *admin = conn->admin;
    event_del(&conn->readable);
    event_del(&conn->writable);
    close(conn->fd);
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        admin->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    admin->conns_live--;
    wi_listener_resume(&admin->listener);
    wi_text_done(&conn->out);
    weir_memory_free(admin->env, conn);
}

/* Connections are few and short: each gets its whole time, and a look twice a second. */
static void sweep(weir_timer *timer, void *user)
{
    weir_admin *admin = user;
    uint64_t now = weir_loop_now(admin->loop);
    for (admin_conn *conn = admin->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (conn->due_ns <= now)
            close_conn(conn);
    }
    if (admin->conns != NULL)
        weir_timer_start(admin->loop, timer, 500 * WEIR_MS, sweep, admin);
}

static void send_some(admin_conn *conn)
{
    while (conn->sent < conn->out.len) {
        ssize_t n = send(conn->fd, conn->out.at + conn->sent, conn->out.len - conn->sent,
                         MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN && event_add(&conn->writable, NULL) == 0)
            return;
        if (n < 0) {
            close_conn(conn);
            return;
        }
        conn->sent += (size_t)n;
    }
    /* Closing over unread input would reset the connection before the peer has read the answer. */
    conn->lingers = true;
    if (conn->peer_ended || shutdown(conn->fd, SHUT_WR) != 0)
        close_conn(conn);
}

static void respond(admin_conn *conn, wi_admin_page *page, bool is_head)
{
    static const weir_http1_field allow = { { "Allow", 5 }, { "GET, HEAD", 9 } };
    static const weir_http1_field bearer = { { "WWW-Authenticate", 16 }, { "Bearer", 6 } };
    char head[RESPONSE_HEAD_MAX];
    size_t n = 0;
    if (page->body.failed) {
        close_conn(conn);
        return;
    }
    weir_http1_response response = {
        .status = page->status,
        .framing = WEIR_HTTP1_LENGTH,
        .content_length = page->body.len,
        .connection = WEIR_HTTP1_CONNECTION_CLOSE,
        .content_type = { page->content_type, strlen(page->content_type) },
        .fields = page->status == 401 ? &bearer : &allow,
        .field_count = page->status == 405 || page->status == 401,
    };
    conn->out.env = conn->admin->env;
    if (weir_http1_write_response_head(&response, head, sizeof head, &n) == WEIR_OK) {
        wi_text_append(&conn->out, head, n);
        wi_text_append(&conn->out, page->body.at, is_head ? 0 : page->body.len);
    }
    if (n == 0 || conn->out.failed)
        close_conn(conn);
    else
        send_some(conn);
}

static void answer(admin_conn *conn)
{
    weir_admin *admin = conn->admin;
    weir_http1_field fields[FIELDS_MAX];
    weir_http1_head head = { .fields = fields, .field_cap = FIELDS_MAX };
    weir_http1_limits limits = { .head_bytes_max = HEAD_MAX - 1 };
    wi_admin_page page = { .body = { .env = admin->env } };
    size_t consumed = 0;
    weir_status status = weir_http1_request_head(&limits, conn->in, conn->in_len, &conn->scan,
                                                 &head, &consumed);
    if (status == WEIR_EPARTIAL)
        return;
    bool is_head = status == WEIR_OK && head.method == WEIR_HTTP1_HEAD;
    if (status == WEIR_OK) {
        wi_admin_pages_answer(&admin->pages, &head, weir_loop_now(admin->loop), &page);
    } else {
        page.status = head.status;
        page.content_type = "text/plain; charset=utf-8";
        wi_text_printf(&page.body, "%s\n", head.why);
    }
    respond(conn, &page, is_head);
    wi_text_done(&page.body);
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    admin_conn *conn = user;
    char discarded[1024];
    bool answered = conn->out.len > 0;
    char *to = answered ? discarded : conn->in + conn->in_len;
    size_t cap = answered ? sizeof discarded : sizeof conn->in - conn->in_len;
    (void)what;
    ssize_t n = recv(fd, to, cap, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    /* A peer that sent its end may still read its answer. */
    if (n == 0 && answered && !conn->lingers) {
        conn->peer_ended = true;
        event_del(&conn->readable);
    } else if (n <= 0) {
        close_conn(conn);
    } else if (!answered) {
        conn->in_len += (size_t)n;
        answer(conn);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    send_some(user);
}

static void accepted(int fd, void *user)
{
    weir_admin *admin = user;
    struct event_base *base = weir_loop_base(admin->loop);
    admin_conn *conn = weir_memory_new(admin->env, sizeof *conn);
    if (conn == NULL) {
        close(fd);
        return;
    }
    conn->admin = admin;
    conn->fd = fd;
    conn->due_ns = weir_loop_now(admin->loop) + admin->pages.config.timeout_ms * WEIR_MS;
    event_assign(&conn->readable, base, fd, EV_READ | EV_PERSIST, on_readable, conn);
    event_assign(&conn->writable, base, fd, EV_WRITE, on_writable, conn);
    conn->next = admin->conns;
    if (conn->next != NULL)
        conn->next->prev = conn;
    admin->conns = conn;
    if (++admin->conns_live >= admin->pages.config.connections_max)
        wi_listener_pause(&admin->listener);
    if (!weir_timer_is_armed(&admin->sweeper))
        weir_timer_start(admin->loop, &admin->sweeper, 500 * WEIR_MS, sweep, admin);
    if (event_add(&conn->readable, NULL) != 0)
        close_conn(conn);
}

/* ---- Beginning and end ---- */

static void sample(weir_timer *timer, void *user)
{
    weir_admin *admin = user;
    wi_admin_pages_sample(&admin->pages, weir_loop_now(admin->loop));
    weir_timer_start(admin->loop, timer, admin->pages.config.stuck_ms * WEIR_MS / 4, sample, admin);
}

static void set_default(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static weir_status listen_on(weir_admin *admin, const char **ret_why)
{
    char host[256];
    uint16_t port = 0;
    int fd = -1;
    const char *listen_at = admin->pages.config.listen;
    if (listen_at == NULL)
        listen_at = "127.0.0.1:9090";
    *ret_why = "listen must be host:port";
    weir_status status = wi_listener_split(listen_at, host, sizeof host, &port);
    if (status == WEIR_OK)
        status = wi_listener_bind(host, port, false, &fd, ret_why);
    if (status != WEIR_OK)
        return status;
    admin->port = wi_listener_port(fd);
    return wi_listener_start(&admin->listener, admin->loop, fd, 64, accepted, admin, ret_why);
}

static void quiet(weir_admin *admin)
{
    wi_listener_stop(&admin->listener);
    weir_timer_stop(admin->loop, &admin->sampler);
    weir_timer_stop(admin->loop, &admin->sweeper);
    while (admin->conns != NULL)
        close_conn(admin->conns);
}

static void stop_own_loop(weir_task *task, void *user)
{
    weir_admin *admin = user;
    (void)task;
    quiet(admin);
    weir_loop_stop(admin->loop);
}

static void *run_own_loop(void *user)
{
    weir_admin *admin = user;
    (void)!weir_loop_run(admin->loop);
    return NULL;
}

static void free_admin(weir_admin *admin, bool with_loop)
{
    if (with_loop)
        weir_loop_free(admin->loop);
    wi_admin_pages_done(&admin->pages);
    weir_memory_free(admin->env, admin);
}

/* The process's signals are for its other threads. */
static bool start_thread(weir_admin *admin)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&admin->thread, NULL, run_own_loop, admin) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

static weir_status begin(weir_admin *admin, const char **ret_why)
{
    weir_status status = listen_on(admin, ret_why);
    if (status != WEIR_OK)
        return status;
    weir_timer_start(admin->loop, &admin->sampler, admin->pages.config.stuck_ms * WEIR_MS / 4,
                     sample, admin);
    admin->stop = (weir_task)WEIR_TASK(stop_own_loop, admin);
    if (admin->has_thread && !start_thread(admin)) {
        quiet(admin);
        *ret_why = "cannot start a thread";
        return WEIR_ELIMIT;
    }
    return WEIR_OK;
}

weir_status weir_admin_start(weir_loop *loop, const weir_admin_config *config,
                             weir_admin **ret_admin, const char **ret_why)
{
    const char *ignored;
    weir_admin_config full = *config;
    set_default(&full.stuck_ms, 5000);
    set_default(&full.connections_max, 16);
    set_default(&full.timeout_ms, 5000);
    if (ret_why == NULL)
        ret_why = &ignored;
    *ret_why = "connections_max is above 1024";
    if (full.connections_max > CONNECTIONS_MAX)
        return WEIR_EINVAL;
    *ret_why = "no memory";
    weir_admin *admin = weir_memory_new(config->env, sizeof *admin);
    if (admin == NULL)
        return WEIR_ENOMEM;
    admin->env = config->env;
    admin->has_thread = loop == NULL;
    admin->loop = loop != NULL ? loop : weir_loop_new(&(weir_loop_config){ .env = config->env });
    weir_status status = admin->loop == NULL
                             ? WEIR_ENOMEM
                             : wi_admin_pages_init(&admin->pages, config->env, &full);
    if (status == WEIR_OK)
        status = begin(admin, ret_why);
    if (status != WEIR_OK) {
        free_admin(admin, admin->has_thread);
        return status;
    }
    *ret_admin = admin;
    return WEIR_OK;
}

void weir_admin_stop(weir_admin *admin)
{
    if (admin == NULL)
        return;
    if (admin->has_thread) {
        weir_post(admin->loop, &admin->stop);
        pthread_join(admin->thread, NULL);
    } else {
        quiet(admin);
    }
    free_admin(admin, admin->has_thread);
}

uint16_t weir_admin_port(const weir_admin *admin)
{
    return admin->port;
}
