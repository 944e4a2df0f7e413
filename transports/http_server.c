/* The HTTP server as a source stage: what it shares, how it opens, drains and ends. */
#include "http_server_internal.h"

static void set_default(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void fill_defaults(weir_http_server_config *config)
{
    if (config->listen == NULL)
        config->listen = "127.0.0.1:8080";
    set_default(&config->header_timeout_ms, 10000);
    set_default(&config->body_timeout_ms, 30000);
    set_default(&config->idle_timeout_ms, 60000);
    set_default(&config->write_timeout_ms, 30000);
    set_default(&config->linger_timeout_ms, 2000);
    set_default(&config->pipelined_max, 16);
    set_default(&config->reply_bytes_max, 256 * 1024);
    set_default(&config->retry_after_s, 1);
    set_default(&config->request_deadline_ms, 30000);
    if (config->body_bytes_max_all == 0)
        config->body_bytes_max_all = 64 * 1024 * 1024;
    if (config->limits.body_bytes_max == 0)
        config->limits.body_bytes_max = 1024 * 1024;
    if (config->limits.body_bytes_max > config->body_bytes_max_all)
        config->limits.body_bytes_max = config->body_bytes_max_all;
}

static weir_status server_check(const void *config_, const char **ret_why)
{
    const weir_http_server_config *config = config_;
    char host[64];
    uint16_t port;
    *ret_why = NULL;
    if (config->listen != NULL &&
        wi_listener_split(config->listen, host, sizeof host, &port) != WEIR_OK)
        *ret_why = "listen is not host:port";
    else if (config->pipelined_max > UINT16_MAX)
        *ret_why = "pipelined_max is above 65535";
    else if (config->reply_bytes_max > INT32_MAX / 4)
        *ret_why = "reply_bytes_max is above 512 MiB";
    else if (config->body_bytes_max_all > INT32_MAX)
        *ret_why = "body_bytes_max_all is above 2 GiB";
    else if ((config->tls_cert_file == NULL) != (config->tls_key_file == NULL))
        *ret_why = "a certificate needs its key, and a key its certificate";
    return *ret_why == NULL ? WEIR_OK : WEIR_EINVAL;
}

/* ---- What the replicas share ---- */

static void server_unshare(void *shared_)
{
    wi_httpd_shared *shared = shared_;
    wi_port_done(&shared->port);
    wi_tls_free(shared->tls);
    weir_memory_free(shared->env, shared);
}

static weir_status server_share(const void *config_, const weir_env *env, uint32_t replicas,
                                void **ret_shared, const char **why)
{
    weir_http_server_config config = *(const weir_http_server_config *)config_;
    wi_httpd_shared *shared = weir_memory_new(env, sizeof *shared);
    if (shared == NULL)
        return WEIR_ENOMEM;
    fill_defaults(&config);
    shared->env = env;
    shared->connections_max = wi_connections_max(config.connections_max, replicas);
    weir_status status = wi_port_init(&shared->port, config.listen,
                                      config.door == NULL ? replicas : 1, why);
    wi_tls_config tls = { .is_server = true,
                          .alpn = "\10http/1.1",
                          .cert_file = config.tls_cert_file,
                          .key_file = config.tls_key_file };
    if (status == WEIR_OK && config.tls_cert_file != NULL)
        status = wi_tls_new(&tls, env, &shared->tls, why);
    if (status != WEIR_OK) {
        server_unshare(shared);
        return status;
    }
    *ret_shared = shared;
    return WEIR_OK;
}

/* ---- The stage ---- */

static void free_memory(wi_httpd *server)
{
    while (server->spare_incoming != NULL) {
        wi_httpd_incoming *incoming = server->spare_incoming;
        server->spare_incoming = incoming->next;
        weir_memory_free(server->env, incoming);
    }
    weir_memory_free(server->env, server->scratch);
    if (server->pool != NULL)
        wi_httpd_pool_done(server);
}

static weir_status server_start(wi_httpd *server, const char **ret_why)
{
    struct event_base *base = weir_loop_base(server->loop);
    const int needed = EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE;
    if (base == NULL || (event_base_get_features(base) & needed) != needed) {
        *ret_why = "needs an event base on epoll";
        return WEIR_EUNSUPPORTED;
    }
    server->pool = weir_memory_new(server->env, WI_HTTPD_POOL_MAX * sizeof *server->pool);
    server->scratch = weir_memory_resize(server->env, NULL, WI_HTTPD_READ_BYTES);
    if (server->pool == NULL || server->scratch == NULL)
        return WEIR_ENOMEM;
    return wi_httpd_listen(server, ret_why);
}

static weir_status server_open(weir_stage *stage, const void *config, void *state)
{
    wi_httpd *server = state;
    const char *why = "no memory";
    server->stage = stage;
    server->out = weir_stage_out(stage);
    server->loop = weir_stage_loop(stage);
    server->env = weir_stage_env(stage);
    server->shared = weir_stage_shared(stage);
    server->config = *(const weir_http_server_config *)config;
    server->flush = (weir_task)WEIR_TASK(wi_httpd_flush, server);
    fill_defaults(&server->config);
    weir_status status = server_start(server, &why);
    if (status != WEIR_OK) {
        free_memory(server);
        weir_stage_fail(stage, status, why);
        return status;
    }
    weir_stage_hold(stage);
    if (server->config.listening != NULL && server->config.door == NULL)
        server->config.listening(wi_listener_port(server->listener.fd), server->config.user);
    return WEIR_OK;
}

static void server_close(weir_stage *stage, void *state)
{
    wi_httpd *server = state;
    (void)stage;
    wi_listener_stop(&server->listener);
    weir_timer_stop(server->loop, &server->sweep);
    weir_timer_stop(server->loop, &server->overload);
    weir_timer_stop(server->loop, &server->again);
    free_memory(server);
}

void wi_httpd_maybe_finish(wi_httpd *server)
{
    if (!server->draining || server->released || server->conns != NULL ||
        server->requests_live != 0 || server->dead != NULL || server->flush.queued)
        return;
    server->released = true;
    weir_stage_release(server->stage);
}

/* ---- Demand ---- */

static void server_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    wi_httpd *server = state;
    (void)stage;
    (void)out;
    (void)credit;
    wi_httpd_feed(server);
    wi_httpd_accept_or_not(server);
}

/* ---- Ends ---- */

static void drain_conn(wi_httpd_conn *conn)
{
    if (conn->phase == WI_HTTPD_HANDSHAKE)
        wi_httpd_conn_kill(conn, WEIR_ECLOSED);
    else if (conn->phase == WI_HTTPD_LINGER || conn->read_ended)
        return;
    else if (wi_httpd_conn_has_input(conn))
        wi_httpd_refuse(conn, 503, "shutting down");
    else
        wi_httpd_conn_finish(conn);
}

/* The end goes ahead of the replies: stages that wait for it, like a batch, let go of their items
 * by it. What is under way keeps the stage open until it is answered. */
static void server_on_drain(weir_stage *stage, void *state)
{
    wi_httpd *server = state;
    (void)stage;
    server->draining = true;
    wi_listener_stop(&server->listener);
    wi_httpd_door_close(server);
    for (wi_httpd_conn *conn = server->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        drain_conn(conn);
    }
    weir_end(server->out);
    weir_loop_defer(server->loop, &server->flush);
}

static void server_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    server_on_drain(stage, state);
}

static void server_on_abort(weir_stage *stage, void *state)
{
    wi_httpd *server = state;
    (void)stage;
    server->draining = true;
    wi_listener_stop(&server->listener);
    wi_httpd_door_close(server);
    for (wi_httpd_conn *conn = server->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        wi_httpd_conn_kill(conn, WEIR_ECANCELED);
    }
    weir_loop_defer(server->loop, &server->flush);
}

static const weir_stage_type server_type = {
    .name = "http_server",
    .config_size = sizeof(weir_http_server_config),
    .state_size = sizeof(wi_httpd),
    .inputs = WEIR_PORTS_NONE,
    .acks = true,
    .share = server_share,
    .unshare = server_unshare,
    .check = server_check,
    .open = server_open,
    .close = server_close,
    .on_demand = server_on_demand,
    .on_drain = server_on_drain,
    .on_cancel = server_on_cancel,
    .on_abort = server_on_abort,
};

weir_stage_spec *weir_http_server(const weir_http_server_config *config)
{
    return weir_stage_of(&server_type, config);
}
