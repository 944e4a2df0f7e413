/* The loop side of the SQLite stages: parameters out of items, results back into them. */
#include <weir/sqlite.h>

#include <weir/async.h>

#include "sqlite_call.h"

#include <string.h>

void weir_sqlite_stats_get(const weir_sqlite_stats *stats, weir_sqlite_stats *ret_stats)
{
    ret_stats->groups = __atomic_load_n(&stats->groups, __ATOMIC_RELAXED);
    ret_stats->rows = __atomic_load_n(&stats->rows, __ATOMIC_RELAXED);
    ret_stats->rows_failed = __atomic_load_n(&stats->rows_failed, __ATOMIC_RELAXED);
    ret_stats->regrouped = __atomic_load_n(&stats->regrouped, __ATOMIC_RELAXED);
}

#if WEIR_HAVE_SQLITE

enum { IN_FLIGHT_DEFAULT = 1024, IN_FLIGHT_MAX = 65536, GROUP_DEFAULT = 512, GROUP_MAX = 4096 };

/* One for all replicas: the writer, or the reader. */
typedef struct shared {
    weir_sqlite_config config;
    const weir_env *env;
    weir_offload *pool;
    bool writes;
} shared;

typedef struct replica {
    wi_sqlite_call *made;
} replica;

/* What a slot keeps. The call is not in it because the thread holds on to it. */
typedef struct slot {
    wi_sqlite_call *call;
} slot;

/* ---- On the pool thread ---- */

static weir_status open_writer(void *user, void **ret_thread_state)
{
    shared *s = user;
    wi_sqlite_db *db = NULL;
    weir_status status = wi_sqlite_db_open(&s->config, s->env, true, &db);
    if (status == WEIR_OK)
        *ret_thread_state = db;
    return status;
}

static void close_writer(void *thread_state, void *user)
{
    (void)user;
    wi_sqlite_db_close(thread_state);
}

static void run_writer(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    (void)user;
    wi_sqlite_db_write(thread_state, jobs, n);
}

/* The reader opens late, so its thread state is a place for the handle. */
static weir_status open_reader(void *user, void **ret_thread_state)
{
    shared *s = user;
    wi_sqlite_db **place = weir_memory_new(s->env, sizeof(wi_sqlite_db *));
    if (place == NULL)
        return WEIR_ENOMEM;
    *ret_thread_state = (void *)place;
    return WEIR_OK;
}

static void close_reader(void *thread_state, void *user)
{
    shared *s = user;
    wi_sqlite_db **place = thread_state;
    wi_sqlite_db_close(*place);
    weir_memory_free(s->env, (void *)place);
}

static void run_reader(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    shared *s = user;
    wi_sqlite_db **place = thread_state;
    weir_status status = WEIR_OK;
    if (*place == NULL)
        status = wi_sqlite_db_open(&s->config, s->env, false, place);
    if (status == WEIR_OK) {
        wi_sqlite_db_read(*place, jobs, n);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        wi_sqlite_call *call = jobs[i]->work;
        call->status = WEIR_EUNAVAILABLE;
        call->why = "the database cannot be read yet";
    }
}

/* ---- Shared by the replicas ---- */

static uint32_t in_flight_of(const weir_sqlite_config *config)
{
    return config->in_flight == 0 ? IN_FLIGHT_DEFAULT : config->in_flight;
}

static weir_status share(const void *config, const weir_env *env, uint32_t replicas, bool writes,
                         void **ret_shared)
{
    shared *s = weir_memory_new(env, sizeof *s);
    if (s == NULL)
        return WEIR_ENOMEM;
    s->config = *(const weir_sqlite_config *)config;
    s->env = env;
    s->writes = writes;
    uint32_t group_max = s->config.group_max == 0 ? GROUP_DEFAULT : s->config.group_max;
    weir_status status = weir_offload_new(
        &(weir_offload_config){
            .env = env,
            .threads = 1,
            .queue_max = in_flight_of(&s->config) * replicas,
            .batch_max = writes ? group_max : 64,
            .name = writes ? "weir-sqlite" : "weir-sqlite-rd",
            .open = writes ? open_writer : open_reader,
            .close = writes ? close_writer : close_reader,
            .run = writes ? run_writer : run_reader,
            .user = s,
        },
        &s->pool);
    if (status != WEIR_OK) {
        weir_memory_free(env, s);
        return status;
    }
    *ret_shared = s;
    return WEIR_OK;
}

static weir_status share_writer(const void *config, const weir_env *env, uint32_t replicas,
                                void **ret_shared, const char **why)
{
    *why = "the database cannot be opened, or refuses the schema or the statement";
    return share(config, env, replicas, true, ret_shared);
}

static weir_status share_reader(const void *config, const weir_env *env, uint32_t replicas,
                                void **ret_shared, const char **why)
{
    *why = "no thread to read the database";
    return share(config, env, replicas, false, ret_shared);
}

static void unshare(void *shared_)
{
    shared *s = shared_;
    weir_offload_free(s->pool);
    weir_memory_free(s->env, s);
}

static weir_status check(const void *config, const char **why)
{
    const weir_sqlite_config *c = config;
    *why = c->path == NULL || c->path[0] == '\0'             ? "sqlite needs a path"
           : c->statement == NULL || c->statement[0] == '\0' ? "sqlite needs a statement"
           : c->in_flight > IN_FLIGHT_MAX                    ? "in_flight is above 65536"
           : c->group_max > GROUP_MAX                        ? "group_max is above 4096"
           : c->bytes_max > 512u << 20                       ? "bytes_max is above 512 MiB"
           : c->busy_ms > 3600u * 1000                       ? "busy_ms is above an hour"
           : (unsigned)c->synchronous > (unsigned)WEIR_SQLITE_OFF
               ? "synchronous is none of the three"
               : NULL;
    return *why == NULL ? WEIR_OK : WEIR_EINVAL;
}

/* ---- On the loop ---- */

static wi_sqlite_call *call_for(weir_op *op, replica *state)
{
    slot *kept = op->work;
    if (kept->call != NULL)
        return kept->call;
    const weir_sqlite_config *config = weir_async_config(op->stage);
    const weir_env *env = weir_stage_env(op->stage);
    wi_sqlite_call *call = weir_memory_new(env, sizeof *call);
    if (call == NULL)
        return NULL;
    size_t bytes_max = config->bytes_max == 0 ? 1u << 20 : config->bytes_max;
    size_t rows_max = config->rows_max == 0 ? 1000 : config->rows_max;
    call->params.cells =
        (wi_sqlite_cells){ .env = env, .n_max = WEIR_SQLITE_PARAMS_MAX, .bytes_max = bytes_max };
    call->results = (wi_sqlite_cells){ .env = env,
                                       .n_max = rows_max * WEIR_SQLITE_PARAMS_MAX,
                                       .bytes_max = bytes_max };
    call->next_made = state->made;
    state->made = call;
    kept->call = call;
    return call;
}

static weir_status hand_rows(wi_sqlite_call *call, const weir_sqlite_config *config)
{
    weir_item *item = call->op->item;
    weir_status status = WEIR_OK;
    weir_sqlite_row row = { .cells = &call->results, .columns = call->columns };
    for (uint64_t i = 0; config->row != NULL && i < call->rows && status == WEIR_OK; i++) {
        status = config->row(item, &row, config->user);
        row.first += call->columns;
    }
    if (status == WEIR_OK && config->result != NULL)
        status = config->result(item, call->changes, call->rows, config->user);
    return status;
}

static void answered(weir_job *job, void *user)
{
    (void)user;
    wi_sqlite_call *call = job->work;
    weir_status status = call->status;
    const char *why = call->why;
    if (status == WEIR_OK) {
        why = "refused by its callback";
        status = hand_rows(call, weir_async_config(call->op->stage));
    }
    weir_op_done(call->op, status, why);
}

static void start(weir_op *op, void *state)
{
    const weir_sqlite_config *config = weir_async_config(op->stage);
    shared *s = weir_async_shared(op->stage);
    wi_sqlite_call *call = call_for(op, state);
    if (call == NULL) {
        weir_op_done(op, WEIR_ENOMEM, "no memory for a statement");
        return;
    }
    wi_sqlite_cells_clear(&call->params.cells);
    weir_status status = WEIR_OK;
    if (config->bind != NULL)
        status = config->bind(op->item, &call->params, config->user);
    if (status == WEIR_OK)
        status = call->params.cells.status;
    if (status != WEIR_OK) {
        weir_op_done(op, status, "its parameters do not fit the statement");
        return;
    }
    call->op = op;
    call->given_up = 0;
    call->status = WEIR_OK;
    call->why = NULL;
    call->job.loop = weir_stage_loop(op->stage);
    call->job.done = answered;
    call->job.work = call;
    status = weir_offload_submit(s->pool, &call->job);
    if (status != WEIR_OK)
        weir_op_done(op, status, "the store's queue is full");
}

/* The thread may be at it: it answers soon either way, and skips it if it has not begun. */
static void cancel(weir_op *op, weir_status status, void *state)
{
    (void)status;
    (void)state;
    slot *kept = op->work;
    __atomic_store_n(&kept->call->given_up, 1, __ATOMIC_RELAXED);
}

static void close_replica(weir_stage *stage, void *state)
{
    replica *r = state;
    while (r->made != NULL) {
        wi_sqlite_call *call = r->made;
        r->made = call->next_made;
        wi_sqlite_cells_done(&call->params.cells);
        wi_sqlite_cells_done(&call->results);
        weir_memory_free(weir_stage_env(stage), call);
    }
}

static weir_stage_spec *stage_of(const weir_async_type *type, const weir_sqlite_config *config)
{
    static const weir_sqlite_config none;
    const weir_sqlite_config *c = config == NULL ? &none : config;
    weir_async_options options = { .in_flight = in_flight_of(c),
                                   .unordered = c->unordered,
                                   .timeout_ms = c->timeout_ms };
    return weir_async_of(type, &options, c);
}

weir_stage_spec *weir_sqlite_exec(const weir_sqlite_config *config)
{
    static const weir_async_type type = {
        .name = "sqlite_exec",
        .config_size = sizeof(weir_sqlite_config),
        .state_size = sizeof(replica),
        .work_size = sizeof(slot),
        .share = share_writer,
        .unshare = unshare,
        .check = check,
        .close = close_replica,
        .start = start,
        .cancel = cancel,
    };
    return stage_of(&type, config);
}

weir_stage_spec *weir_sqlite_query(const weir_sqlite_config *config)
{
    static const weir_async_type type = {
        .name = "sqlite_query",
        .config_size = sizeof(weir_sqlite_config),
        .state_size = sizeof(replica),
        .work_size = sizeof(slot),
        .share = share_reader,
        .unshare = unshare,
        .check = check,
        .close = close_replica,
        .start = start,
        .cancel = cancel,
    };
    return stage_of(&type, config);
}

/* ---- The probe ---- */

struct weir_sqlite_probe {
    weir_job job;
    const weir_env *env;
    weir_offload *pool;
    char *path;
    void (*answered)(weir_status status, void *user);
    void *user;
    weir_status status;
    bool is_asked, is_freed;
};

static void probe_run(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    (void)thread_state;
    weir_sqlite_probe *probe = user;
    for (size_t i = 0; i < n; i++)
        ((weir_sqlite_probe *)jobs[i]->work)->status = wi_sqlite_db_ping(probe->path, probe->env);
}

static void probe_destroy(weir_sqlite_probe *probe)
{
    weir_offload_free(probe->pool);
    weir_memory_free(probe->env, probe->path);
    weir_memory_free(probe->env, probe);
}

static void probe_answered(weir_job *job, void *user)
{
    (void)user;
    weir_sqlite_probe *probe = job->work;
    probe->is_asked = false;
    if (probe->is_freed)
        probe_destroy(probe);
    else
        probe->answered(probe->status, probe->user);
}

weir_status weir_sqlite_probe_new(weir_loop *loop, const char *path, weir_sqlite_probe **ret_probe)
{
    if (loop == NULL || path == NULL || ret_probe == NULL)
        return WEIR_EINVAL;
    const weir_env *env = weir_loop_env(loop);
    weir_status status = WEIR_ENOMEM;
    weir_sqlite_probe *probe = weir_memory_new(env, sizeof *probe);
    if (probe == NULL)
        return status;
    probe->env = env;
    probe->path = weir_memory_new(env, strlen(path) + 1);
    if (probe->path == NULL)
        goto fail;
    memcpy(probe->path, path, strlen(path) + 1);
    probe->job = (weir_job){ .loop = loop, .done = probe_answered, .work = probe };
    status = weir_offload_new(&(weir_offload_config){ .env = env,
                                                      .queue_max = 1,
                                                      .name = "weir-sqlite-ask",
                                                      .run = probe_run,
                                                      .user = probe },
                              &probe->pool);
    if (status != WEIR_OK)
        goto fail;
    *ret_probe = probe;
    return WEIR_OK;
fail:
    weir_memory_free(env, probe->path);
    weir_memory_free(env, probe);
    return status;
}

void weir_sqlite_probe_free(weir_sqlite_probe *probe)
{
    if (probe == NULL)
        return;
    probe->is_freed = true;
    if (!probe->is_asked)
        probe_destroy(probe);
}

weir_status weir_sqlite_probe_ask(weir_sqlite_probe *probe,
                                  void (*answered_)(weir_status status, void *user), void *user)
{
    if (probe == NULL || answered_ == NULL)
        return WEIR_EINVAL;
    if (probe->is_asked)
        return WEIR_EAGAIN;
    probe->answered = answered_;
    probe->user = user;
    weir_status status = weir_offload_submit(probe->pool, &probe->job);
    probe->is_asked = status == WEIR_OK;
    return status;
}

#else

static weir_status check_without(const void *config, const char **why)
{
    (void)config;
    *why = "built without sqlite";
    return WEIR_EUNSUPPORTED;
}

static weir_stage_spec *stage_without(void)
{
    static const weir_stage_type type = { .name = "sqlite", .check = check_without };
    return weir_stage_of(&type, NULL);
}

weir_stage_spec *weir_sqlite_exec(const weir_sqlite_config *config)
{
    (void)config;
    return stage_without();
}

weir_stage_spec *weir_sqlite_query(const weir_sqlite_config *config)
{
    (void)config;
    return stage_without();
}

weir_status weir_sqlite_probe_new(weir_loop *loop, const char *path, weir_sqlite_probe **ret_probe)
{
    (void)loop;
    (void)path;
    (void)ret_probe;
    return WEIR_EUNSUPPORTED;
}

void weir_sqlite_probe_free(weir_sqlite_probe *probe)
{
    (void)probe;
}

weir_status weir_sqlite_probe_ask(weir_sqlite_probe *probe,
                                  void (*answered)(weir_status status, void *user), void *user)
{
    (void)probe;
    (void)answered;
    (void)user;
    return WEIR_EUNSUPPORTED;
}

#endif
