/* The offload pool: threads that may block, fed from a bounded queue, answering by post. On a
 * testkit's virtual time each thread is a timer. */
#include "wi_sim.h"

#include <weir/offload.h>

#include <stdio.h>
#include <string.h>

#define BATCH_MAX 4096

typedef struct worker {
    weir_offload *offload;
    pthread_t thread;
    void *state;
    weir_job **batch;
    /* in the place of the thread: */
    weir_loop *loop; /* of the job it was woken for */
    weir_timer timer;
    size_t n; /* jobs that have run, and have not been answered */
} worker;

struct weir_offload {
    weir_offload_config config;
    const weir_env *env;
    pthread_mutex_t lock;
    pthread_cond_t wake, opened;
    weir_job *head, *tail;
    uint32_t queued, n_threads, n_open;
    weir_status open_status;
    bool stop, is_virtual;
    worker *workers;
};

static void job_done(weir_task *task, void *user)
{
    weir_job *job = user;
    (void)task;
    job->done(job, job->user);
}

/* Under the lock. */
static size_t take_off(weir_offload *o, weir_job **batch)
{
    size_t n = 0;
    while (o->head != NULL && n < o->config.batch_max) {
        batch[n++] = o->head;
        o->head = o->head->next;
    }
    if (o->head == NULL)
        o->tail = NULL;
    o->queued -= (uint32_t)n;
    return n;
}

static size_t take_batch(weir_offload *o, weir_job **batch)
{
    pthread_mutex_lock(&o->lock);
    while (o->head == NULL && !o->stop)
        pthread_cond_wait(&o->wake, &o->lock);
    size_t n = take_off(o, batch);
    pthread_mutex_unlock(&o->lock);
    return n;
}

static void answer(worker *w, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        weir_job *job = w->batch[i];
        job->task = (weir_task)WEIR_TASK(job_done, job);
        weir_post(job->loop, &job->task);
    }
}

static void *work(void *user)
{
    worker *w = user;
    weir_offload *o = w->offload;
    weir_status status = o->config.open != NULL ? o->config.open(o->config.user, &w->state)
                                                : WEIR_OK;
    pthread_mutex_lock(&o->lock);
    if (o->open_status == WEIR_OK)
        o->open_status = status;
    o->n_open++;
    pthread_cond_signal(&o->opened);
    pthread_mutex_unlock(&o->lock);
    if (status != WEIR_OK)
        return NULL;
    for (size_t n; (n = take_batch(o, w->batch)) != 0;) {
        o->config.run(w->batch, n, w->state, o->config.user);
        answer(w, n);
    }
    if (o->config.close != NULL)
        o->config.close(w->state, o->config.user);
    return NULL;
}

/* ---- On virtual time: one thread does everything, as if it were on no loop ---- */

static void run_virtually(worker *w)
{
    weir_loop *here = wi_here;
    wi_here = NULL;
    if ((w->n = take_off(w->offload, w->batch)) != 0)
        w->offload->config.run(w->batch, w->n, w->state, w->offload->config.user);
    wi_here = here;
}

static void answer_virtually(worker *w)
{
    answer(w, w->n);
    w->n = 0;
}

static void step(weir_timer *timer, void *user);

static void step_later(worker *w)
{
    weir_timer_start(w->loop, &w->timer, wi_sim_job_ns(w->offload->env), step, w);
}

/* Wakes one that has nothing to do. */
static void wake_virtually(weir_offload *o, weir_loop *loop)
{
    for (uint32_t i = 0; i < o->n_threads; i++) {
        worker *w = &o->workers[i];
        if (w->n != 0 || weir_timer_is_armed(&w->timer))
            continue;
        w->loop = loop;
        step_later(w);
        return;
    }
}

/* Some time after a job came it runs, and some time after that it is answered. */
static void step(weir_timer *timer, void *user)
{
    worker *w = user;
    (void)timer;
    if (w->n == 0) {
        run_virtually(w);
        if (w->n != 0)
            step_later(w);
        return;
    }
    answer_virtually(w);
    if (w->offload->head != NULL)
        wake_virtually(w->offload, w->offload->head->loop);
}

static weir_status open_virtually(worker *w)
{
    weir_offload *o = w->offload;
    weir_loop *here = wi_here;
    wi_here = NULL;
    weir_status status = o->config.open != NULL ? o->config.open(o->config.user, &w->state)
                                                : WEIR_OK;
    wi_here = here;
    o->n_threads += status == WEIR_OK;
    return status;
}

static void stop_virtually(weir_offload *o)
{
    for (uint32_t i = 0; i < o->n_threads; i++) {
        weir_timer_stop(o->workers[i].loop, &o->workers[i].timer);
        answer_virtually(&o->workers[i]);
    }
    while (o->head != NULL) {
        run_virtually(o->workers);
        answer_virtually(o->workers);
    }
    for (uint32_t i = 0; i < o->n_threads && o->config.close != NULL; i++)
        o->config.close(o->workers[i].state, o->config.user);
}

/* ---- Making ---- */

static weir_status start_thread(worker *w)
{
    char name[16];
    const weir_offload_config *config = &w->offload->config;
    snprintf(name, sizeof name, "%s", config->name != NULL ? config->name : "weir-offload");
    if (pthread_create(&w->thread, NULL, work, w) != 0)
        return WEIR_ELIMIT;
    (void)pthread_setname_np(w->thread, name);
    w->offload->n_threads++;
    return WEIR_OK;
}

static weir_status start_workers(weir_offload *o)
{
    weir_status status = WEIR_OK;
    for (uint32_t i = 0; i < o->config.threads && status == WEIR_OK; i++) {
        worker *w = &o->workers[i];
        w->offload = o;
        w->batch = weir_memory_new(o->env, o->config.batch_max * sizeof *w->batch);
        if (w->batch == NULL)
            return WEIR_ENOMEM;
        status = o->is_virtual ? open_virtually(w) : start_thread(w);
    }
    if (o->is_virtual || status != WEIR_OK)
        return status;
    pthread_mutex_lock(&o->lock);
    while (o->n_open < o->n_threads)
        pthread_cond_wait(&o->opened, &o->lock);
    status = o->open_status;
    pthread_mutex_unlock(&o->lock);
    return status;
}

weir_status weir_offload_new(const weir_offload_config *config, weir_offload **ret_offload)
{
    if (config == NULL || config->run == NULL || config->batch_max > BATCH_MAX ||
        config->threads > 1024)
        return WEIR_EINVAL;
    weir_offload *o = weir_memory_new(config->env, sizeof *o);
    if (o == NULL)
        return WEIR_ENOMEM;
    o->config = *config;
    o->env = config->env;
    o->is_virtual = wi_sim_job_ns(config->env) != 0;
    o->config.threads = config->threads != 0 ? config->threads : 1;
    o->config.queue_max = config->queue_max != 0 ? config->queue_max : 1024;
    o->config.batch_max = config->batch_max != 0 ? config->batch_max : 1;
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->wake, NULL);
    pthread_cond_init(&o->opened, NULL);
    o->workers = weir_memory_new(o->env, o->config.threads * sizeof *o->workers);
    weir_status status = o->workers != NULL ? start_workers(o) : WEIR_ENOMEM;
    if (status != WEIR_OK) {
        weir_offload_free(o);
        return status;
    }
    *ret_offload = o;
    return WEIR_OK;
}

void weir_offload_free(weir_offload *o)
{
    if (o == NULL)
        return;
    pthread_mutex_lock(&o->lock);
    o->stop = true;
    pthread_cond_broadcast(&o->wake);
    pthread_mutex_unlock(&o->lock);
    if (o->is_virtual)
        stop_virtually(o);
    for (uint32_t i = 0; i < o->n_threads && !o->is_virtual; i++)
        pthread_join(o->workers[i].thread, NULL);
    for (uint32_t i = 0; o->workers != NULL && i < o->config.threads; i++)
        weir_memory_free(o->env, o->workers[i].batch);
    weir_memory_free(o->env, o->workers);
    pthread_mutex_destroy(&o->lock);
    pthread_cond_destroy(&o->wake);
    pthread_cond_destroy(&o->opened);
    weir_memory_free(o->env, o);
}

weir_status weir_offload_submit(weir_offload *o, weir_job *job)
{
    weir_status status = WEIR_OK;
    pthread_mutex_lock(&o->lock);
    if (o->stop) {
        status = WEIR_ECLOSED;
    } else if (o->queued == o->config.queue_max) {
        status = WEIR_EOVERLOAD;
    } else {
        job->next = NULL;
        if (o->tail != NULL)
            o->tail->next = job;
        else
            o->head = job;
        o->tail = job;
        o->queued++;
        pthread_cond_signal(&o->wake); /* no system call unless a thread waits */
    }
    pthread_mutex_unlock(&o->lock);
    if (o->is_virtual && status == WEIR_OK)
        wake_virtually(o, job->loop);
    return status;
}

uint32_t weir_offload_queued(const weir_offload *o)
{
    weir_offload *locked = (weir_offload *)(uintptr_t)o;
    pthread_mutex_lock(&locked->lock);
    uint32_t queued = o->queued;
    pthread_mutex_unlock(&locked->lock);
    return queued;
}
