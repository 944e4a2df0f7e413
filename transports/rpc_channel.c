/* A channel: its configuration, its life, and the task that brings calls and connections together.
 */
#include "rpc_client_internal.h"

#include <string.h>

enum { WAKE_MS = 100 };

/* ---- Config ---- */

static void set_default(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void fill_defaults(weir_rpc_channel_config *config)
{
    set_default(&config->retry.backoff_ms, 100);
    set_default(&config->retry.backoff_ms_max, 1000);
    set_default(&config->retry.codes, 1U << WEIR_RPC_UNAVAILABLE);
    set_default(&config->retry.buffer_bytes_max, 256 * 1024);
    set_default(&config->connections_max, 64);
    set_default(&config->calls_max, 65536);
    set_default(&config->message_bytes_max, 4 * 1024 * 1024);
    set_default(&config->message_send_bytes_max, UINT32_MAX);
    set_default(&config->message_memory_max, 16 * 1024 * 1024);
    set_default(&config->metadata_bytes_max, 16 * 1024);
    set_default(&config->send_bytes_max, 64 * 1024);
    set_default(&config->stream_window_bytes, 64 * 1024);
    set_default(&config->connection_window_bytes, 1024 * 1024);
    set_default(&config->connect_timeout_ms, 20000);
    set_default(&config->backoff_ms, 1000);
    set_default(&config->backoff_ms_max, 120000);
    set_default(&config->idle_timeout_ms, 1800000);
    set_default(&config->keepalive_timeout_ms, 20000);
    set_default(&config->gzip_bytes_min, 1024);
}

weir_status wi_rpc_channel_check(const weir_rpc_channel_config *config, const char **ret_why)
{
    *ret_why = NULL;
    if (config->protocol > WEIR_RPC_CONNECT || config->codec > WEIR_RPC_JSON ||
        config->http > WEIR_RPC_HTTP1 || config->balance > WEIR_RPC_ROUND_ROBIN)
        *ret_why = "an unknown protocol, codec, HTTP version or balance";
    else if (config->protocol == WEIR_RPC_GRPC && config->http == WEIR_RPC_HTTP1)
        *ret_why = "gRPC needs HTTP/2";
    else if (config->connect_get && config->protocol != WEIR_RPC_CONNECT)
        *ret_why = "only Connect asks by GET";
    else if ((config->tls_cert_file == NULL) != (config->tls_key_file == NULL))
        *ret_why = "a certificate needs its key, and a key its certificate";
    else if (config->retry.attempts_max > 5)
        *ret_why = "retry.attempts_max is above 5";
    else if (config->stream_window_bytes > INT32_MAX || config->connection_window_bytes > INT32_MAX)
        *ret_why = "a window is above 2 GiB";
    else if (config->connections_max > 4096)
        *ret_why = "connections_max is above 4096";
    else if (config->interceptor_count > 0 && config->interceptors == NULL)
        *ret_why = "no interceptors";
    if (*ret_why != NULL)
        return WEIR_EINVAL;
    if (config->http == WEIR_RPC_HTTP1 || WEIR_HAVE_NGHTTP2)
        return WEIR_OK;
    *ret_why = "HTTP/2: built without nghttp2";
    return WEIR_EUNSUPPORTED;
}

/* ---- Making ---- */

static weir_status make_tls(weir_rpc_channel *channel, const char **ret_why)
{
    const weir_rpc_channel_config *config = &channel->config;
    bool http1 = config->http == WEIR_RPC_HTTP1;
    wi_tls_config tls = {
        .alpn = wi_link_alpn(http1 ? WEIR_HTTP_1 : WEIR_HTTP_2),
        .cert_file = config->tls_cert_file,
        .key_file = config->tls_key_file,
        .ca_file = config->tls_ca_file,
        .insecure = config->tls_insecure,
    };
    if (channel->is_tls)
        return wi_tls_new(&tls, channel->env, &channel->tls, ret_why);
    if (config->tls_ca_file == NULL && config->tls_cert_file == NULL && config->tls_name == NULL)
        return WEIR_OK;
    *ret_why = "TLS files, but the target is http";
    return WEIR_EINVAL;
}

static weir_status make_links(weir_rpc_channel *channel, const char **ret_why)
{
    const weir_rpc_channel_config *config = &channel->config;
    wi_links_config links = {
        .loop = channel->loop,
        .env = channel->env,
        .events = &wi_rpc_link_events,
        .user = channel,
        .session = {
            .version = config->http == WEIR_RPC_HTTP1 ? WEIR_HTTP_1 : WEIR_HTTP_2,
            .is_client = true,
            .env = channel->env,
            .events = &wi_rpc_client_events,
            .head_bytes_max = config->metadata_bytes_max,
            .stream_window_bytes = config->stream_window_bytes,
            .connection_window_bytes = config->connection_window_bytes,
            .send_bytes_max = config->send_bytes_max,
            .header_timeout_ms = config->connect_timeout_ms,
            .idle_timeout_ms = config->idle_timeout_ms,
            .park_ms = config->park_ms,
            .keepalive_ms = config->keepalive_ms,
            .keepalive_timeout_ms = config->keepalive_timeout_ms,
        },
        .keepalives = &channel->stats.keepalives,
        .connect_timeout_ms = config->connect_timeout_ms,
    };
    return wi_links_new(&links, &channel->links, ret_why);
}

static weir_status make_core(weir_rpc_channel *channel)
{
    const weir_rpc_channel_config *config = &channel->config;
    channel->core = (wi_rpc_core){
        .loop = channel->loop,
        .env = channel->env,
        .pool_env = weir_http_pool_env(wi_links_pool(channel->links)),
        .side = &wi_rpc_client_side,
        .user = channel,
        .interceptors = config->interceptors,
        .interceptor_count = config->interceptor_count,
        .wire_limits = { .message_bytes_max = config->message_bytes_max,
                         .message_send_bytes_max = config->message_send_bytes_max,
                         .gzip_bytes_min = config->gzip_bytes_min },
        .json = { .limits.bytes_max = config->message_bytes_max, .types = config->types },
        .message_memory_max = config->message_memory_max,
        .metadata_bytes_max = config->metadata_bytes_max,
        .send_bytes_max = config->send_bytes_max,
    };
    return wi_rpc_core_open(&channel->core);
}

static void destroy(weir_rpc_channel *channel)
{
    weir_timer_stop(channel->loop, &channel->wake);
    wi_links_free(channel->links);
    wi_rpc_targets_done(channel);
    wi_tls_free(channel->tls);
    if (channel->core.loop != NULL)
        wi_rpc_core_close(&channel->core);
    weir_memory_free(channel->env, channel);
}

static void work(weir_task *task, void *user);
static void end(weir_task *task, void *user);

static weir_status make(weir_rpc_channel *channel, const char **ret_why)
{
    weir_status status = wi_rpc_targets_make(channel, ret_why);
    if (status == WEIR_OK)
        status = make_tls(channel, ret_why);
    if (status == WEIR_OK)
        status = make_links(channel, ret_why);
    if (status != WEIR_OK)
        return status;
    *ret_why = "no memory";
    return make_core(channel);
}

weir_status weir_rpc_channel_new(weir_loop *loop, const weir_rpc_channel_config *config,
                                 weir_rpc_channel **ret_channel, const char **ret_why)
{
    const char *why = "no memory";
    static const weir_rpc_channel_config none;
    weir_rpc_channel *channel = NULL;
    config = config != NULL ? config : &none; /* which has no target */
    weir_status status = wi_rpc_channel_check(config, &why);
    if (status == WEIR_OK) {
        channel = weir_memory_new(weir_loop_env(loop), sizeof *channel);
        status = channel != NULL ? WEIR_OK : WEIR_ENOMEM;
        why = "no memory";
    }
    if (status == WEIR_OK) {
        channel->loop = loop;
        channel->env = weir_loop_env(loop);
        channel->config = *config;
        channel->task = (weir_task)WEIR_TASK(work, channel);
        channel->end = (weir_task)WEIR_TASK(end, channel);
        channel->budget = WI_RPC_BUDGET_MAX;
        channel->budget_ns = weir_loop_now(loop);
        fill_defaults(&channel->config);
        status = make(channel, &why);
    }
    if (status == WEIR_OK) {
        *ret_channel = channel;
        return WEIR_OK;
    }
    if (ret_why != NULL)
        *ret_why = why;
    if (channel != NULL)
        destroy(channel);
    return status;
}

/* ---- The end ---- */

static bool is_at_rest(const weir_rpc_channel *channel)
{
    return wi_rpc_core_is_idle(&channel->core) && !channel->task.queued;
}

static void end(weir_task *task, void *user)
{
    weir_rpc_channel *channel = user;
    if (is_at_rest(channel))
        destroy(channel);
    else if (channel->core.live == 0)
        weir_post(channel->loop, task);
}

void wi_rpc_channel_maybe_end(weir_rpc_channel *channel)
{
    if (channel->freed && channel->core.live == 0)
        weir_post(channel->loop, &channel->end);
}

void weir_rpc_channel_free(weir_rpc_channel *channel)
{
    if (channel == NULL || channel->freed)
        return;
    channel->freed = true;
    weir_timer_stop(channel->loop, &channel->wake);
    if (is_at_rest(channel)) { /* so nothing of ours is further up the stack */
        destroy(channel);
        return;
    }
    for (weir_rpc_call *call = channel->core.calls, *next; call != NULL; call = next) {
        next = call->next;
        wi_rpc_call_fail(call, WEIR_RPC_CANCELLED, "the channel was freed");
    }
    wi_rpc_channel_maybe_end(channel);
}

/* ---- Calls and connections ---- */

static void wake(weir_timer *timer, void *user)
{
    (void)timer;
    wi_rpc_channel_kick(user);
}

void wi_rpc_channel_kick(weir_rpc_channel *channel)
{
    if (!channel->freed)
        weir_post(channel->loop, &channel->task);
}

static void sooner(uint64_t *due, const wi_rpc_backoff *backoff, uint64_t now)
{
    if (backoff->until_ns > now && backoff->until_ns < *due)
        *due = backoff->until_ns;
}

/* The next look: as the first waiting after a failure ends; or soon, as a peer may allow more. */
static void wake_later(weir_rpc_channel *channel)
{
    uint64_t now = weir_loop_now(channel->loop), due = UINT64_MAX;
    for (wi_rpc_address *at = channel->addresses; at != NULL; at = at->next) {
        sooner(&due, &at->backoff, now);
        if (at->up > 0 && due > now + WAKE_MS * WEIR_MS)
            due = now + WAKE_MS * WEIR_MS;
    }
    for (uint32_t i = 0; i < channel->target_count; i++)
        sooner(&due, &channel->targets[i].backoff, now);
    if (due != UINT64_MAX)
        weir_timer_start(channel->loop, &channel->wake, due - now, wake, channel);
}

static void hand_out(weir_rpc_channel *channel)
{
    wi_rpc_conn *conn;
    while (channel->waiting > 0 && (conn = wi_rpc_conn_pick(channel)) != NULL) {
        weir_rpc_call *call = wi_rpc_client_dequeue(channel);
        weir_status status = wi_rpc_client_open(call, conn);
        if (status == WEIR_ECLOSED)
            wi_rpc_conn_leave(conn);
        if (status == WEIR_ECLOSED || status == WEIR_EAGAIN)
            wi_rpc_client_requeue(call);
        if (status == WEIR_EAGAIN)
            return;
    }
}

/* Calls that do not wait for better times. */
static void fail_waiting(weir_rpc_channel *channel)
{
    weir_rpc_call *call = channel->first, *last = channel->last, *next;
    weir_rpc_error error = wi_rpc_error_of(WEIR_RPC_UNAVAILABLE, channel->why);
    for (bool more = call != NULL; more; call = next) {
        next = call->queue_next;
        more = call != last && next != NULL;
        if (wi_rpc_try_of(call)->wait_for_ready)
            continue;
        wi_rpc_try_of(call)->attempts++;
        wi_rpc_client_failed(call, &error, false);
    }
}

static void work(weir_task *task, void *user)
{
    weir_rpc_channel *channel = user;
    (void)task;
    if (channel->freed)
        return;
    hand_out(channel);
    bool in_turn = channel->config.balance == WEIR_RPC_ROUND_ROBIN && channel->core.live > 0;
    if (channel->waiting == 0 && !in_turn)
        return;
    wi_rpc_conns_seek(channel);
    if (channel->waiting > 0 && !wi_rpc_conns_hope(channel))
        fail_waiting(channel);
    if (channel->waiting > 0)
        wake_later(channel);
}

void weir_rpc_channel_stats_get(const weir_rpc_channel *channel, weir_rpc_channel_stats *ret_stats)
{
    *ret_stats = channel->stats;
    ret_stats->messages_in = channel->figures.messages_in;
    ret_stats->messages_out = channel->figures.messages_out;
    ret_stats->bytes_in = channel->figures.bytes_in;
    ret_stats->bytes_out = channel->figures.bytes_out;
}
