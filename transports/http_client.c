/* The HTTP client stage: its pool of connections, and which of them serves an operation. */
#include "http_client_internal.h"

#include <string.h>

typedef struct call {
    wi_http_conn *conn;
} call;

/* ---- Configuration ---- */

static void set_default(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void fill_defaults(weir_http_call_config *config)
{
    set_default(&config->connections_max, 12);
    set_default(&config->request_timeout_ms, 30000);
    set_default(&config->connect_timeout_ms, 3000);
    set_default(&config->idle_timeout_ms, 30000);
    set_default(&config->backoff_ms, 100);
    set_default(&config->backoff_ms_max, 5000);
    set_default(&config->name_ttl_ms, 30000);
    set_default(&config->request_bytes_max, 1 << 20);
    set_default(&config->response_body_bytes_max, 1 << 20);
}

static weir_status client_check(const void *config_, const char **ret_why)
{
    const weir_http_call_config *config = config_;
    wi_http_url url;
    if (config->request == NULL) {
        *ret_why = "the request callback is missing";
        return WEIR_EINVAL;
    }
    if (config->connections_max > 4096) {
        *ret_why = "connections_max is above 4096";
        return WEIR_EINVAL;
    }
    weir_status status = wi_http_url_parse(config->base_url, &url, ret_why);
    if (status == WEIR_OK && url.tls && !WEIR_HAVE_OPENSSL) {
        *ret_why = "https: built without OpenSSL";
        return WEIR_EUNSUPPORTED;
    }
    return status;
}

/* Certificates are read once for all loops. */
static weir_status client_share(const void *config_, const weir_env *env, uint32_t replicas,
                                void **ret_shared, const char **why)
{
    const weir_http_call_config *config = config_;
    wi_http_url url;
    wi_tls *tls = NULL;
    (void)replicas;
    weir_status status = wi_http_url_parse(config->base_url, &url, why);
    if (status == WEIR_OK && url.tls) {
        wi_tls_config settings = { .alpn = "\10http/1.1",
                                   .ca_file = config->tls_ca_file,
                                   .insecure = config->tls_insecure };
        status = wi_tls_new(&settings, env, &tls, why);
    }
    if (status == WEIR_OK)
        *ret_shared = tls;
    return status;
}

static void client_unshare(void *shared)
{
    wi_tls_free(shared);
}

/* ---- The pool ---- */

static void push(wi_http_conn **stack, wi_http_conn *conn)
{
    conn->next = *stack;
    *stack = conn;
}

static wi_http_conn *pop(wi_http_conn **stack)
{
    wi_http_conn *conn = *stack;
    if (conn != NULL)
        *stack = conn->next;
    return conn;
}

static void shrink(wi_http_client *client, wi_http_buffer *buffer)
{
    if (buffer->cap > WI_HTTP_BUFFER_KEEP) {
        weir_memory_free(client->env, buffer->at);
        *buffer = (wi_http_buffer){ .at = NULL };
    }
}

static void let_go(wi_http_client *client, wi_http_conn *conn)
{
    if (conn->op != NULL)
        ((call *)conn->op->work)->conn = NULL;
    conn->op = NULL;
    shrink(client, &conn->in);
    shrink(client, &conn->out);
}

void wi_http_client_keep(wi_http_client *client, wi_http_conn *conn)
{
    let_go(client, conn);
    conn->state = WI_HTTP_IDLE;
    push(&client->idle, conn);
    wi_http_client_watch(client, conn, client->config.idle_timeout_ms);
}

void wi_http_client_unuse(wi_http_client *client, wi_http_conn *conn)
{
    let_go(client, conn);
    conn->state = WI_HTTP_FREE;
    push(&client->unused, conn);
}

void wi_http_client_lose(wi_http_client *client, wi_http_conn *conn)
{
    wi_http_conn **at = &client->idle;
    while (*at != conn)
        at = &(*at)->next;
    *at = conn->next;
    wi_http_conn_close(conn);
    wi_http_client_unuse(client, conn);
}

/* ---- Time ---- */

static bool is_timed(const wi_http_conn *conn)
{
    return conn->state != WI_HTTP_FREE && conn->state != WI_HTTP_BUSY;
}

static void sweep(weir_timer *timer, void *user)
{
    wi_http_client *client = user;
    uint64_t now = weir_loop_now(client->loop), due = UINT64_MAX;
    for (uint32_t i = 0; i < client->config.connections_max; i++) {
        wi_http_conn *conn = &client->conns[i];
        if (!is_timed(conn))
            continue;
        if (conn->due_ns > now)
            due = conn->due_ns < due ? conn->due_ns : due;
        else if (conn->state == WI_HTTP_IDLE)
            wi_http_client_lose(client, conn);
        else
            wi_http_conn_connect_failed(conn, "connecting took too long");
    }
    client->sweep_due_ns = due;
    if (due != UINT64_MAX)
        weir_timer_start(client->loop, timer, due - now, sweep, client);
}

/* One timer for the pool: it is moved only to an earlier time, and finds the next by itself. */
void wi_http_client_watch(wi_http_client *client, wi_http_conn *conn, uint64_t delay_ms)
{
    uint64_t now = weir_loop_now(client->loop);
    conn->due_ns = now + delay_ms * WEIR_MS;
    if (conn->due_ns >= client->sweep_due_ns)
        return;
    client->sweep_due_ns = conn->due_ns;
    weir_timer_start(client->loop, &client->sweep, delay_ms * WEIR_MS, sweep, client);
}

void wi_http_client_connected(wi_http_client *client, const wi_http_conn *conn)
{
    client->backoff_ns = client->backoff_until_ns = 0;
    client->address_good = conn->address_first + conn->address_tried - 1;
}

/* Attempts that failed together count as one. */
void wi_http_client_connect_failed(wi_http_client *client)
{
    uint64_t now = weir_loop_now(client->loop);
    if (now < client->backoff_until_ns)
        return;
    uint64_t longest = client->config.backoff_ms_max * WEIR_MS;
    uint64_t wait = client->backoff_ns == 0 ? client->config.backoff_ms * WEIR_MS
                                            : client->backoff_ns * 2;
    client->backoff_ns = wait < longest ? wait : longest;
    uint64_t half = client->backoff_ns / 2;
    client->backoff_until_ns = now + half + weir_loop_entropy(client->loop) % (half + 1);
}

bool wi_http_client_waits(const wi_http_client *client)
{
    return weir_loop_now(client->loop) < client->backoff_until_ns;
}

static void names_resolved(weir_status status, void *user)
{
    wi_http_client *client = user;
    for (uint32_t i = 0; i < client->config.connections_max; i++) {
        wi_http_conn *conn = &client->conns[i];
        if (conn->state != WI_HTTP_RESOLVING)
            continue;
        if (status == WEIR_ECANCELED) /* it came after the lookup was given up */
            wi_http_conn_open(conn);
        else
            wi_http_conn_resolved(conn, status);
    }
}

/* A lookup that goes on keeps the stage open, so that a close can't come then. */
static void names_pending(bool goes_on, void *user)
{
    wi_http_client *client = user;
    if (goes_on)
        weir_stage_hold(client->stage);
    else
        weir_stage_release(client->stage);
}

static weir_status find_names(wi_http_client *client)
{
    wi_names_config config = { .loop = client->loop,
                               .env = client->env,
                               .host = client->url.host,
                               .port = client->url.port,
                               .ttl_ms = client->config.name_ttl_ms,
                               .resolved = names_resolved,
                               .pending = names_pending,
                               .user = client };
    return wi_names_new(&config, &client->names);
}

/* ---- Operations ---- */

static void flush_later(wi_http_client *client, wi_http_conn *conn)
{
    conn->state = WI_HTTP_BUSY;
    if (conn->flush_queued)
        return;
    conn->flush_queued = true;
    conn->flush_next = client->to_flush;
    client->to_flush = conn;
}

static void client_flush(weir_stage *stage, void *state)
{
    wi_http_client *client = state;
    (void)stage;
    while (client->to_flush != NULL) {
        wi_http_conn *conn = client->to_flush;
        client->to_flush = conn->flush_next;
        conn->flush_queued = false;
        /* It may have been cancelled, and even opened anew, since its start. */
        if (conn->state == WI_HTTP_BUSY && conn->out_sent == 0)
            wi_http_conn_send(conn);
    }
}

static void put_back(wi_http_client *client, wi_http_conn *conn)
{
    if (conn->fd >= 0)
        push(&client->idle, conn);
    else
        push(&client->unused, conn);
}

static void client_start(weir_op *op, void *state)
{
    wi_http_client *client = state;
    const char *why = NULL;
    if (client->idle == NULL && wi_http_client_waits(client)) {
        weir_op_done(op, WEIR_EUNAVAILABLE, "waiting before the next connect");
        return;
    }
    wi_http_conn *conn = pop(client->idle != NULL ? &client->idle : &client->unused);
    if (conn == NULL) { /* as many connections as operations, so this can't be */
        weir_op_done(op, WEIR_EINTERNAL, "no connection for an operation");
        return;
    }
    weir_status status = wi_http_conn_prepare(conn, op, &why);
    if (status != WEIR_OK) {
        put_back(client, conn);
        weir_op_done(op, status, why);
        return;
    }
    ((call *)op->work)->conn = conn;
    /* A request that can't be repeated is not risked on a connection that is seen to be over. */
    if (conn->fd >= 0 && (conn->repeatable || wi_http_conn_is_fresh(conn))) {
        flush_later(client, conn);
        return;
    }
    wi_http_conn_close(conn);
    wi_http_conn_open(conn);
}

static void client_cancel(weir_op *op, weir_status status, void *state)
{
    wi_http_client *client = state;
    wi_http_conn *conn = ((call *)op->work)->conn;
    bool was_resolving = conn->state == WI_HTTP_RESOLVING;
    wi_http_conn_fail(conn, status,
                      status == WEIR_EDEADLINE ? "the request took too long" : "cancelled");
    for (uint32_t i = 0; was_resolving && i < client->config.connections_max; i++)
        was_resolving = client->conns[i].state != WI_HTTP_RESOLVING;
    if (was_resolving)
        wi_names_give_up(client->names);
}

/* ---- The stage ---- */

static weir_status client_open(weir_stage *stage, const void *config, void *state)
{
    wi_http_client *client = state;
    client->stage = stage;
    client->loop = weir_stage_loop(stage);
    client->env = weir_stage_env(stage);
    client->base = weir_loop_base(client->loop);
    client->tls = weir_async_shared(stage);
    client->config = *(const weir_http_call_config *)config;
    client->sweep_due_ns = UINT64_MAX;
    fill_defaults(&client->config);
    client->limits.body_bytes_max = client->config.response_body_bytes_max;
    if (client->base == NULL)
        return WEIR_EUNSUPPORTED;
    const char *why;
    weir_status status = wi_http_url_parse(client->config.base_url, &client->url, &why);
    if (status == WEIR_OK)
        status = find_names(client);
    if (status != WEIR_OK)
        return status;
    uint32_t n = client->config.connections_max;
    client->conns = weir_memory_new(client->env, n * sizeof *client->conns);
    if (client->conns == NULL) {
        wi_names_free(client->names);
        return WEIR_ENOMEM;
    }
    for (uint32_t i = n; i-- > 0;) {
        client->conns[i].client = client;
        client->conns[i].fd = -1;
        push(&client->unused, &client->conns[i]);
    }
    return WEIR_OK;
}

static void client_close(weir_stage *stage, void *state)
{
    wi_http_client *client = state;
    (void)stage;
    weir_timer_stop(client->loop, &client->sweep);
    for (uint32_t i = 0; i < client->config.connections_max; i++)
        wi_http_conn_done(&client->conns[i]);
    weir_memory_free(client->env, client->conns);
    wi_names_free(client->names);
}

static const weir_async_type client_type = {
    .name = "http_call",
    .config_size = sizeof(weir_http_call_config),
    .state_size = sizeof(wi_http_client),
    .work_size = sizeof(call),
    .share = client_share,
    .unshare = client_unshare,
    .check = client_check,
    .open = client_open,
    .close = client_close,
    .start = client_start,
    .flush = client_flush,
    .cancel = client_cancel,
};

weir_stage_spec *weir_http_call(const weir_http_call_config *config)
{
    weir_http_call_config full = *config;
    fill_defaults(&full);
    weir_async_options options = {
        .in_flight = full.connections_max,
        .unordered = full.unordered,
        .timeout_ms = full.request_timeout_ms,
    };
    return weir_async_of(&client_type, &options, config);
}
