/* The offload pool: threads that may block, fed from a bounded queue, answering by post. */
#include "wi_core.h"

#include <weir/offload.h>

#include <stdio.h>
#include <string.h>

#define BATCH_MAX 4096

typedef struct worker {
    weir_offload *offload;
    pthread_t thread;
    void *state;
    weir_job **batch;
} worker;

struct weir_offload {
    weir_offload_config config;
    const weir_env *env;
    pthread_mutex_t lock;
    pthread_cond_t wake, opened;
    weir_job *head, *tail;
    uint32_t queued, n_threads, n_open;
    weir_status open_status;
    bool stop;
    worker *workers;
};

static void job_done(weir_task *task, void *user)
{
    weir_job *job = user;
    (void)task;
    job->done(job, job->user);
}

static size_t take_batch(weir_offload *o, weir_job **batch)
{
    size_t n = 0;
    pthread_mutex_lock(&o->lock);
    while (o->head == NULL && !o->stop)
        pthread_cond_wait(&o->wake, &o->lock);
    while (o->head != NULL && n < o->config.batch_max) {
        batch[n++] = o->head;
        o->head = o->head->next;
    }
    if (o->head == NULL)
        o->tail = NULL;
    o->queued -= (uint32_t)n;
    pthread_mutex_unlock(&o->lock);
    return n;
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
        for (size_t i = 0; i < n; i++) {
            weir_job *job = w->batch[i];
            job->task = (weir_task)WEIR_TASK(job_done, job);
            weir_post(job->loop, &job->task);
        }
    }
    if (o->config.close != NULL)
        o->config.close(w->state, o->config.user);
    return NULL;
}

static weir_status start_threads(weir_offload *o)
{
    char name[16];
    snprintf(name, sizeof name, "%s", o->config.name != NULL ? o->config.name : "weir-offload");
    for (uint32_t i = 0; i < o->config.threads; i++) {
        worker *w = &o->workers[i];
        w->offload = o;
        w->batch = weir_memory_new(o->env, o->config.batch_max * sizeof *w->batch);
        if (w->batch == NULL)
            return WEIR_ENOMEM;
        if (pthread_create(&w->thread, NULL, work, w) != 0)
            return WEIR_ELIMIT;
        (void)pthread_setname_np(w->thread, name);
        o->n_threads++;
    }
    pthread_mutex_lock(&o->lock);
    while (o->n_open < o->n_threads)
        pthread_cond_wait(&o->opened, &o->lock);
    weir_status status = o->open_status;
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
    o->config.threads = config->threads != 0 ? config->threads : 1;
    o->config.queue_max = config->queue_max != 0 ? config->queue_max : 1024;
    o->config.batch_max = config->batch_max != 0 ? config->batch_max : 1;
    pthread_mutex_init(&o->lock, NULL);
    pthread_cond_init(&o->wake, NULL);
    pthread_cond_init(&o->opened, NULL);
    o->workers = weir_memory_new(o->env, o->config.threads * sizeof *o->workers);
    weir_status status = o->workers != NULL ? start_threads(o) : WEIR_ENOMEM;
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
    for (uint32_t i = 0; i < o->n_threads; i++)
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
