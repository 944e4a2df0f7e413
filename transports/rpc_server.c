/* The RPC server as a stage: what its replicas share, how it opens, drains and ends. */
#include "rpc_server_internal.h"

#include <string.h>

/* ---- Config ---- */

static void set_default(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void fill_defaults(weir_rpc_server_config *config)
{
    if (config->listen == NULL)
        config->listen = "127.0.0.1:50051";
    set_default(&config->calls_max, 65536);
    set_default(&config->streams_max, 100);
    set_default(&config->message_bytes_max, 4 * 1024 * 1024);
    set_default(&config->message_send_bytes_max, UINT32_MAX);
    set_default(&config->message_memory_max, 16 * 1024 * 1024);
    set_default(&config->metadata_bytes_max, 16 * 1024);
    set_default(&config->send_bytes_max, 64 * 1024);
    set_default(&config->stream_window_bytes, 64 * 1024);
    set_default(&config->connection_window_bytes, 1024 * 1024);
    set_default(&config->header_timeout_ms, 10000);
    set_default(&config->body_timeout_ms, 60000);
    set_default(&config->idle_timeout_ms, 300000);
    set_default(&config->write_timeout_ms, 60000);
    set_default(&config->keepalive_ms, 7200000);
    set_default(&config->keepalive_timeout_ms, 20000);
    set_default(&config->gzip_bytes_min, 1024);
}

static weir_status server_check(const void *config_, const char **ret_why)
{
    const weir_rpc_server_config *config = config_;
    char host[64];
    uint16_t port;
    *ret_why = wi_rpc_services_wrong(config->services, config->service_count);
    if (*ret_why != NULL)
        return WEIR_EINVAL;
    if (config->listen != NULL &&
        wi_listener_split(config->listen, host, sizeof host, &port) != WEIR_OK)
        *ret_why = "listen is not host:port";
    else if ((config->tls_cert_file == NULL) != (config->tls_key_file == NULL))
        *ret_why = "a certificate needs its key, and a key its certificate";
    else if (config->tls_client_ca_file != NULL && config->tls_cert_file == NULL)
        *ret_why = "clients' certificates need one of ours";
    else if (config->tls_client_required && config->tls_client_ca_file == NULL)
        *ret_why = "clients' certificates need somebody who vouches for them";
    else if (config->stream_window_bytes > INT32_MAX || config->connection_window_bytes > INT32_MAX)
        *ret_why = "a window is above 2 GiB";
    else if (config->interceptor_count > 0 && config->interceptors == NULL)
        *ret_why = "no interceptors";
    else
        *ret_why = wi_rpc_cors_wrong(config->cors);
    return *ret_why == NULL ? WEIR_OK : WEIR_EINVAL;
}

static weir_status server_check_ports(const void *config_, uint32_t inputs, uint32_t outputs,
                                      const char **ret_why)
{
    const weir_rpc_server_config *config = config_;
    (void)inputs;
    if (wi_rpc_services_wrong(config->services, config->service_count) != NULL)
        return WEIR_OK; /* server_check says so */
    if (outputs == wi_rpc_services_outputs(config->services, config->service_count))
        return WEIR_OK;
    *ret_why = "the outputs that are linked are not those that its handlers name";
    return WEIR_EINVAL;
}

/* ---- What the replicas share ---- */

static void server_unshare(void *shared_)
{
    wi_rpc_shared *shared = shared_;
    wi_port_done(&shared->port);
    wi_tls_free(shared->tls);
    weir_memory_free(shared->env, shared->figures);
    weir_memory_free(shared->env, shared->own);
    wi_rpc_cors_done(&shared->cors, shared->env);
    wi_rpc_registry_done(&shared->registry, shared->env);
    weir_memory_free(shared->env, shared);
}

static weir_status share_tls(wi_rpc_shared *shared, const char **why)
{
    const weir_rpc_server_config *config = &shared->config;
    wi_tls_config tls = {
        .is_server = true,
        .alpn = wi_link_alpn(WEIR_HTTP_AUTO),
        .cert_file = config->tls_cert_file,
        .key_file = config->tls_key_file,
        .ca_file = config->tls_client_ca_file,
        .peer_required = config->tls_client_required,
    };
    return config->tls_cert_file == NULL ? WEIR_OK
                                         : wi_tls_new(&tls, shared->env, &shared->tls, why);
}

static weir_status share_figures(wi_rpc_shared *shared)
{
    uint32_t count = shared->registry.count;
    size_t n = (size_t)shared->replicas * count;
    shared->figures = weir_memory_new(shared->env, (n + 1) * sizeof *shared->figures);
    shared->own = weir_memory_new(shared->env, shared->replicas * sizeof *shared->own);
    if (shared->figures == NULL || shared->own == NULL)
        return WEIR_ENOMEM;
    for (size_t i = 0; i < n; i++)
        shared->figures[i].method = shared->registry.entries[i % count].method;
    return WEIR_OK;
}

static weir_status server_share(const void *config_, const weir_env *env, uint32_t replicas,
                                void **ret_shared, const char **why)
{
    wi_rpc_shared *shared = weir_memory_new(env, sizeof *shared);
    if (shared == NULL)
        return WEIR_ENOMEM;
    shared->env = env;
    shared->config = *(const weir_rpc_server_config *)config_;
    shared->replicas = replicas;
    fill_defaults(&shared->config);
    weir_rpc_server_config *config = &shared->config;
    shared->connections_max = wi_connections_max(config->connections_max, replicas);
    shared->port.reserved_fd = -1;
    weir_status status = wi_rpc_registry_make(&shared->registry, env, config->services,
                                              config->service_count);
    if (status == WEIR_OK)
        status = wi_rpc_cors_make(&shared->cors, env, config->cors);
    if (status == WEIR_OK)
        status = share_figures(shared);
    if (status == WEIR_OK)
        status = wi_port_init(&shared->port, config->listen, replicas, why);
    if (status == WEIR_OK)
        status = share_tls(shared, why);
    if (status != WEIR_OK) {
        server_unshare(shared);
        return status;
    }
    *ret_shared = shared;
    return WEIR_OK;
}

/* ---- Opening ---- */

static void on_link_up(wi_link *link, void *user)
{
    wi_rpc_server *server = user;
    (void)link;
    wi_rpc_count(&server->own->connections, 1);
    wi_rpc_count(&server->own->connections_open, 1);
}

static void on_link_over(wi_link *link, weir_status status, const char *why, void *user)
{
    wi_rpc_server *server = user;
    wi_rpc_count(&server->own->connections_open, (uint64_t)-1);
    wi_rpc_count(&server->own->connections_over[-status], 1);
    uint64_t now = weir_loop_now(server->loop);
    char peer[64];
    if (status == WEIR_OK || status == WEIR_ECLOSED || status == WEIR_ECANCELED)
        return;
    if (server->logged_ns != 0 && now - server->logged_ns < WEIR_SEC) {
        server->unlogged++;
        return;
    }
    if (wi_link_peer(link, peer, sizeof peer) == 0)
        peer[0] = '\0';
    weir_log(server->env, WEIR_LOG_WARN, "%s: connection of %s cut off: %s%s%s (%u more unsaid)",
             weir_stage_name(server->stage), peer, weir_status_text(status),
             why[0] != '\0' ? ": " : "", why, server->unlogged);
    server->logged_ns = now;
    server->unlogged = 0;
}

static void on_links_gone(void *user)
{
    wi_rpc_server *server = user;
    server->links_gone = true;
    wi_rpc_server_maybe_finish(server);
}

static const wi_link_events link_events = { .up = on_link_up,
                                            .over = on_link_over,
                                            .gone = on_links_gone };

static weir_status open_links(wi_rpc_server *server, const char **why)
{
    const weir_rpc_server_config *config = server->config;
    wi_links_config links = {
        .loop = server->loop,
        .env = server->env,
        .events = &link_events,
        .user = server,
        .session = {
            .env = server->env,
            .events = &wi_rpc_server_events,
            .exchanges_max = config->streams_max,
            .head_bytes_max = config->metadata_bytes_max,
            .stream_window_bytes = config->stream_window_bytes,
            .connection_window_bytes = config->connection_window_bytes,
            .send_bytes_max = config->send_bytes_max,
            .header_timeout_ms = config->header_timeout_ms,
            .idle_timeout_ms = config->idle_timeout_ms,
            .park_ms = config->park_ms,
            .keepalive_ms = config->keepalive_ms,
            .keepalive_timeout_ms = config->keepalive_timeout_ms,
            .keepalive_idle = true,
        },
        .keepalives = &server->own->keepalives,
        .connections_max = server->shared->connections_max,
        .write_timeout_ms = config->write_timeout_ms,
        .end_is_gone = true,
    };
    return wi_links_new(&links, &server->links, why);
}

static weir_status open_core(wi_rpc_server *server)
{
    const weir_rpc_server_config *config = server->config;
    server->core = (wi_rpc_core){
        .loop = server->loop,
        .env = server->env,
        .pool_env = weir_http_pool_env(wi_links_pool(server->links)),
        .side = &wi_rpc_server_side,
        .user = server,
        .interceptors = config->interceptors,
        .interceptor_count = config->interceptor_count,
        .wire_limits = { .message_bytes_max = config->message_bytes_max,
                         .message_send_bytes_max = config->message_send_bytes_max,
                         .gzip_bytes_min = config->gzip_bytes_min,
                         .no_gzip = config->no_gzip },
        .json = { .limits.bytes_max = config->message_bytes_max, .types = config->types },
        .message_memory_max = config->message_memory_max,
        .metadata_bytes_max = config->metadata_bytes_max,
        .send_bytes_max = config->send_bytes_max,
        .cors = server->shared->cors.config != NULL ? &server->shared->cors : NULL,
    };
    return wi_rpc_core_open(&server->core);
}

static weir_status open_outputs(wi_rpc_server *server)
{
    uint32_t n = weir_stage_outputs(server->stage);
    server->outputs = weir_memory_new(server->env, (n + 1) * sizeof *server->outputs);
    if (server->outputs == NULL)
        return WEIR_ENOMEM;
    server->output_count = n;
    for (uint32_t i = 0; i < n; i++)
        server->outputs[i].out = weir_stage_out_at(server->stage, i);
    return WEIR_OK;
}

static void free_memory(wi_rpc_server *server)
{
    weir_timer_stop(server->loop, &server->look);
    wi_rpc_core_close(&server->core);
    wi_links_free(server->links);
    weir_memory_free(server->env, server->outputs);
}

static weir_status server_open(weir_stage *stage, const void *config, void *state)
{
    wi_rpc_server *server = state;
    const char *why = "no memory";
    (void)config;
    server->stage = stage;
    server->loop = server->core.loop = weir_stage_loop(stage);
    server->env = weir_stage_env(stage);
    server->shared = weir_stage_shared(stage);
    server->config = &server->shared->config;
    server->figures = server->shared->figures +
                      weir_stage_replica(stage) * server->shared->registry.count;
    server->own = server->shared->own + weir_stage_replica(stage);
    weir_status status = open_outputs(server);
    if (status == WEIR_OK)
        status = open_links(server, &why);
    if (status == WEIR_OK)
        status = open_core(server);
    if (status == WEIR_OK)
        status = wi_links_listen(server->links, &server->shared->port, server->config->backlog,
                                 server->shared->tls, &why);
    if (status != WEIR_OK) {
        free_memory(server);
        weir_stage_fail(stage, status, why);
        return status;
    }
    weir_stage_hold(stage);
    if (server->config->listening != NULL)
        server->config->listening(wi_links_port(server->links), server->config->user);
    return WEIR_OK;
}

static void server_close(weir_stage *stage, void *state)
{
    (void)stage;
    free_memory(state);
}

/* ---- Demand and ends ---- */

static void server_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    wi_rpc_server *server = state;
    (void)stage;
    (void)credit;
    wi_rpc_output_feed(server, &server->outputs[weir_out_index(out)]);
}

void wi_rpc_server_maybe_finish(wi_rpc_server *server)
{
    if (!server->links_gone || server->released || !wi_rpc_core_is_idle(&server->core))
        return;
    server->released = true;
    weir_stage_release(server->stage);
}

/* The ends go ahead of the answers: stages that wait for them, like a batch, let go of their items
 * by them. */
static void stop(wi_rpc_server *server)
{
    server->draining = true;
    for (uint32_t i = 0; i < server->output_count; i++) {
        wi_rpc_output_refuse(&server->outputs[i], "shutting down");
        weir_end(server->outputs[i].out);
    }
}

static void server_on_drain(weir_stage *stage, void *state)
{
    wi_rpc_server *server = state;
    (void)stage;
    stop(server);
    wi_rpc_core_drain(&server->core);
    wi_links_drain(server->links);
}

static void server_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    wi_rpc_server *server = state;
    wi_rpc_output_refuse(&server->outputs[weir_out_index(out)], "nobody takes such requests");
    if (++server->outputs_over == server->output_count && !server->draining)
        server_on_drain(stage, state);
}

static void server_on_abort(weir_stage *stage, void *state)
{
    wi_rpc_server *server = state;
    (void)stage;
    stop(server);
    wi_links_close(server->links, WEIR_ECANCELED);
}

const weir_stage_type wi_rpc_server_type = {
    .name = "rpc_server",
    .config_size = sizeof(weir_rpc_server_config),
    .state_size = sizeof(wi_rpc_server),
    .inputs = WEIR_PORTS_NONE,
    .outputs = WEIR_PORTS_MANY,
    .acks = true,
    .share = server_share,
    .unshare = server_unshare,
    .check = server_check,
    .check_ports = server_check_ports,
    .open = server_open,
    .close = server_close,
    .on_demand = server_on_demand,
    .on_drain = server_on_drain,
    .on_cancel = server_on_cancel,
    .on_abort = server_on_abort,
    .families = wi_rpc_server_families,
    .family_count = WI_RPC_SERVER_FAMILIES,
    .figure = wi_rpc_server_figure,
};

weir_stage_spec *weir_rpc_server(const weir_rpc_server_config *config)
{
    return weir_stage_of(&wi_rpc_server_type, config);
}
