/* The TCP listener as a source: accepts, and reads whoever has something when there is demand. */
#include "tcp_internal.h"

#include <unistd.h>

enum { SWEEP_MS = 1000, LINGER_MS = 1000, CHUNK_MAX = 16000 };

/* One port for all replicas: a socket that is bound and never listens reserves it. */
typedef struct shared_port {
    const weir_env *env;
    int fd;
    uint16_t port;
} shared_port;

static void set_default(uint32_t *value, uint32_t fallback)
{
    if (*value == 0)
        *value = fallback;
}

static void fill_defaults(weir_tcp_config *config)
{
    set_default(&config->connections_max, 1024);
    set_default(&config->chunk_bytes_max, CHUNK_MAX);
    set_default(&config->chunks_max, 8);
    set_default(&config->write_bytes_max, 64 * 1024);
    set_default(&config->idle_timeout_ms, 300000);
    set_default(&config->write_timeout_ms, 30000);
}

static weir_status source_check(const void *config_, const char **ret_why)
{
    const weir_tcp_config *config = config_;
    if (config->chunk_bytes_max > CHUNK_MAX) {
        *ret_why = "chunk_bytes_max is above 16000";
        return WEIR_EINVAL;
    }
    if (config->chunks_max > UINT16_MAX) {
        *ret_why = "chunks_max is above 65535";
        return WEIR_EINVAL;
    }
    return WEIR_OK;
}

static weir_status source_share(const void *config_, const weir_env *env, uint32_t replicas,
                                void **ret_shared, const char **why)
{
    const weir_tcp_config *config = config_;
    shared_port *shared = weir_memory_new(env, sizeof *shared);
    if (shared == NULL)
        return WEIR_ENOMEM;
    shared->env = env;
    shared->fd = -1;
    shared->port = config->port;
    if (config->port == 0 && replicas > 1) {
        weir_status status = wi_listener_bind(config->host, 0, true, &shared->fd, why);
        if (status != WEIR_OK) {
            weir_memory_free(env, shared);
            return status;
        }
        shared->port = wi_listener_port(shared->fd);
    }
    *ret_shared = shared;
    return WEIR_OK;
}

static void source_unshare(void *shared_)
{
    shared_port *shared = shared_;
    if (shared->fd >= 0)
        close(shared->fd);
    weir_memory_free(shared->env, shared);
}

/* ---- Its connections ---- */

void wi_tcp_source_hungry(wi_tcp_source *source, wi_tcp_conn *conn)
{
    conn->is_hungry = true;
    conn->next_hungry = NULL;
    conn->prev_hungry = source->hungry_last;
    if (source->hungry_last != NULL)
        source->hungry_last->next_hungry = conn;
    else
        source->hungry = conn;
    source->hungry_last = conn;
}

void wi_tcp_source_fed(wi_tcp_source *source, wi_tcp_conn *conn)
{
    conn->is_hungry = false;
    if (conn->prev_hungry != NULL)
        conn->prev_hungry->next_hungry = conn->next_hungry;
    else
        source->hungry = conn->next_hungry;
    if (conn->next_hungry != NULL)
        conn->next_hungry->prev_hungry = conn->prev_hungry;
    else
        source->hungry_last = conn->prev_hungry;
}

static void sweep_one(wi_tcp_source *source, wi_tcp_conn *conn, uint64_t now)
{
    bool writes = conn->out.to != conn->out.from;
    uint64_t still = now - conn->touched_ns;
    if (conn->lingers) {
        if (still >= LINGER_MS * WEIR_MS)
            wi_tcp_conn_reset(conn);
    } else if (writes) {
        if (now - conn->written_ns >= source->config.write_timeout_ms * WEIR_MS)
            wi_tcp_conn_reset(conn);
    } else if (conn->fd >= 0 && conn->chunks_live == 0 && !conn->is_hungry &&
               still >= source->config.idle_timeout_ms * WEIR_MS) {
        wi_tcp_conn_finish(conn);
    }
}

static void sweep(weir_timer *timer, void *user)
{
    wi_tcp_source *source = user;
    uint64_t now = weir_loop_now(source->loop);
    for (wi_tcp_conn *conn = source->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        conn->pins++;
        wi_tcp_conn_check(conn);
        sweep_one(source, conn, now);
        conn->pins--;
        wi_tcp_conn_settle(conn);
    }
    if (source->conns != NULL)
        weir_timer_start(source->loop, timer, SWEEP_MS * WEIR_MS, sweep, source);
}

void wi_tcp_source_add(wi_tcp_source *source, wi_tcp_conn *conn)
{
    conn->next = source->conns;
    if (source->conns != NULL)
        source->conns->prev = conn;
    source->conns = conn;
    weir_stage_hold(source->stage);
    if (++source->conns_live >= source->config.connections_max)
        wi_listener_pause(&source->listener);
    if (!weir_timer_is_armed(&source->sweep))
        weir_timer_start(source->loop, &source->sweep, SWEEP_MS * WEIR_MS, sweep, source);
}

void wi_tcp_source_remove(wi_tcp_source *source, wi_tcp_conn *conn)
{
    if (conn->prev != NULL)
        conn->prev->next = conn->next;
    else
        source->conns = conn->next;
    if (conn->next != NULL)
        conn->next->prev = conn->prev;
    source->conns_live--;
    wi_listener_resume(&source->listener);
    weir_stage_release(source->stage);
}

static void accepted(int fd, void *user)
{
    if (wi_tcp_conn_new(user, fd) == NULL)
        close(fd);
}

/* ---- The stage ---- */

static weir_status source_listen(wi_tcp_source *source, const char **ret_why)
{
    const shared_port *shared = weir_stage_shared(source->stage);
    const weir_tcp_config *config = &source->config;
    int fd = -1;
    weir_status status = wi_listener_bind(config->host, shared->port,
                                          weir_stage_replicas(source->stage) > 1, &fd, ret_why);
    if (status == WEIR_OK)
        status = wi_listener_start(&source->listener, source->loop, fd, config->backlog, accepted,
                                   source, ret_why);
    return status;
}

static weir_status source_open(weir_stage *stage, const void *config, void *state)
{
    wi_tcp_source *source = state;
    const char *why = "no memory";
    source->stage = stage;
    source->loop = weir_stage_loop(stage);
    source->env = weir_stage_env(stage);
    source->config = *(const weir_tcp_config *)config;
    fill_defaults(&source->config);
    if (weir_loop_base(source->loop) == NULL)
        return WEIR_EUNSUPPORTED;
    source->scratch = weir_memory_new(source->env, source->config.chunk_bytes_max);
    weir_status status = source->scratch == NULL ? WEIR_ENOMEM : source_listen(source, &why);
    if (status != WEIR_OK) {
        weir_memory_free(source->env, source->scratch);
        weir_stage_fail(stage, status, why);
        return status;
    }
    /* Connections of one loop differ from those of another. */
    source->next_id = (uint64_t)weir_stage_replica(stage) << 48;
    if (source->config.listening != NULL)
        source->config.listening(wi_listener_port(source->listener.fd), source->config.user);
    return WEIR_OK;
}

static void source_close(weir_stage *stage, void *state)
{
    wi_tcp_source *source = state;
    (void)stage;
    wi_listener_stop(&source->listener);
    weir_timer_stop(source->loop, &source->sweep);
    weir_memory_free(source->env, source->scratch);
}

static void source_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    wi_tcp_source *source = state;
    (void)stage;
    (void)credit;
    while (source->hungry != NULL && weir_out_fits(out, source->config.chunk_bytes_max)) {
        wi_tcp_conn *conn = source->hungry;
        wi_tcp_source_fed(source, conn);
        conn->pins++;
        wi_tcp_conn_read(conn);
        wi_tcp_conn_wake(conn);
        conn->pins--;
        wi_tcp_conn_settle(conn);
    }
}

/* The end goes ahead of the replies: stages that wait for it, like a batch, let go of their items
 * by it. The connections keep the stage open until all is answered. */
static void source_on_drain(weir_stage *stage, void *state)
{
    wi_tcp_source *source = state;
    wi_listener_stop(&source->listener);
    for (wi_tcp_conn *conn = source->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        wi_tcp_conn_finish(conn);
    }
    weir_end(weir_stage_out(stage));
}

static void source_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    source_on_drain(stage, state);
}

static void source_on_abort(weir_stage *stage, void *state)
{
    wi_tcp_source *source = state;
    (void)stage;
    wi_listener_stop(&source->listener);
    for (wi_tcp_conn *conn = source->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        wi_tcp_conn_reset(conn);
    }
}

static const weir_stage_type source_type = {
    .name = "tcp_listen",
    .config_size = sizeof(weir_tcp_config),
    .state_size = sizeof(wi_tcp_source),
    .inputs = WEIR_PORTS_NONE,
    .share = source_share,
    .unshare = source_unshare,
    .check = source_check,
    .open = source_open,
    .close = source_close,
    .on_demand = source_on_demand,
    .on_drain = source_on_drain,
    .on_cancel = source_on_cancel,
    .on_abort = source_on_abort,
};

weir_stage_spec *weir_tcp_listen(const weir_tcp_config *config)
{
    return weir_stage_of(&source_type, config);
}
