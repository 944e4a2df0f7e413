/* The threads of a pool whose work blocks: operations as jobs of core's offload. */
#include "pool.h"

#include <assert.h>

typedef struct threads {
    weir_pool_config config;
    const weir_env *env;
    weir_offload *offload;
} threads;

enum { JOB_WAITS, JOB_BEGUN, JOB_SPARED };

typedef struct thread_job {
    char users[WEIR_ASYNC_FN_WORK_BYTES];
    weir_job job;
    weir_op *op;
    weir_status status;
    int state;
} thread_job;

static_assert(sizeof(thread_job) <= WI_THREADS_WORK_BYTES, "a job fits an operation's work");

static bool begins(thread_job *j)
{
    int waits = JOB_WAITS;
    return __atomic_compare_exchange_n(&j->state, &waits, JOB_BEGUN, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
}

static weir_status open_thread(void *user, void **ret_state)
{
    const weir_pool_config *config = user;
    return config->open != NULL ? config->open(config->user, ret_state) : WEIR_OK;
}

static void close_thread(void *thread_state, void *user)
{
    const weir_pool_config *config = user;
    if (config->close != NULL)
        config->close(thread_state, config->user);
}

/* On a thread of the pool, one job at a time. */
static void run_job(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    const weir_pool_config *config = user;
    for (size_t i = 0; i < n; i++) {
        thread_job *j = jobs[i]->work;
        j->status = begins(j) ? config->run(j->op->item, thread_state, config->user)
                              : WEIR_ECANCELED;
    }
}

static void job_done(weir_job *job, void *user)
{
    (void)user;
    thread_job *j = job->work;
    weir_op_done(j->op, j->status, "the work in a thread failed");
}

weir_status wi_threads_new(const weir_pool_config *config, const weir_env *env, uint32_t n,
                           uint32_t replicas, void **ret_threads, const char **why)
{
    threads *t = weir_memory_new(env, sizeof *t);
    if (t == NULL)
        return WEIR_ENOMEM;
    t->config = *config;
    t->env = env;
    weir_status status = weir_offload_new(
        &(weir_offload_config){ .env = env,
                                .threads = n,
                                .queue_max = n * replicas, /* so that none is turned away */
                                .name = config->name,
                                .open = open_thread,
                                .close = close_thread,
                                .run = run_job,
                                .user = &t->config },
        &t->offload);
    if (status == WEIR_OK) {
        *ret_threads = t;
        return WEIR_OK;
    }
    *why = "the threads could not be started";
    weir_memory_free(env, t);
    return status;
}

void wi_threads_free(void *shared)
{
    threads *t = shared;
    if (t == NULL)
        return;
    weir_offload_free(t->offload);
    weir_memory_free(t->env, t);
}

void wi_threads_start(void *shared, weir_op *op)
{
    threads *t = shared;
    thread_job *j = op->work;
    weir_status status = weir_item_writable(weir_stage_loop(op->stage), &op->item);
    if (status != WEIR_OK) {
        weir_op_done(op, status, "cannot copy a shared item");
        return;
    }
    j->op = op;
    j->job = (weir_job){ .loop = weir_stage_loop(op->stage), .done = job_done, .work = j };
    __atomic_store_n(&j->state, JOB_WAITS, __ATOMIC_RELAXED);
    status = weir_offload_submit(t->offload, &j->job);
    if (status != WEIR_OK)
        weir_op_done(op, status, "no room for the work in a thread");
}

void wi_threads_cancel(weir_op *op)
{
    thread_job *j = op->work;
    int waits = JOB_WAITS;
    (void)__atomic_compare_exchange_n(&j->state, &waits, JOB_SPARED, false, __ATOMIC_ACQ_REL,
                                      __ATOMIC_RELAXED);
}
