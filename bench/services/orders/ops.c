/* What runs beside the orders, on a loop and a thread of its own. */
#include "ops.h"

#include <weir/admin.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { TURNS_TO_LISTEN = 1000, TURNS_TO_CLOSE = 3000 /* a millisecond each */ };

struct ops {
    service *service;
    weir_loop *loop;
    weir_pipeline *pricing;
    uint16_t pricing_port;
    weir_admin *admin;
    weir_pipeline *pipelines[2];
    weir_admin_check check;
    char admin_listen[300];
    store_watch *watch;
    pthread_t thread;
    bool has_thread;
    weir_task stop;
};

/* ---- Pricing ---- */

static void pricing_listens(uint16_t port, void *user)
{
    ops *o = user;
    o->pricing_port = port;
}

static void pricing_finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    ops *o = user;
    (void)pipeline;
    (void)status;
    weir_loop_stop(o->loop);
}

/* Its port must be known before the orders' pipeline is wired, so the first turns are taken here.
 */
static bool start_pricing(ops *o)
{
    service *s = o->service;
    o->pricing = pricing_service_new(&s->env, pricing_listens, o);
    if (o->pricing == NULL ||
        weir_pipeline_start(o->pricing, &o->loop, 1, pricing_finished, o) != WEIR_OK)
        return false;
    for (int i = 0; i < TURNS_TO_LISTEN && o->pricing_port == 0; i++)
        (void)weir_loop_turn(o->loop);
    snprintf(s->pricing_url, sizeof s->pricing_url, "http://127.0.0.1:%u", o->pricing_port);
    return o->pricing_port != 0;
}

bool ops_new(service *s, ops **ret_ops)
{
    ops *o = weir_memory_new(&s->env, sizeof *o);
    if (o == NULL)
        return false;
    o->service = s;
    o->loop = weir_loop_new(&(weir_loop_config){ .env = &s->env, .spin_us_max = UINT32_MAX });
    if (o->loop == NULL || (s->options.pricing == PRICING_BUILTIN && !start_pricing(o))) {
        fprintf(stderr, "%s: cannot start the pricing service: %s\n", s->options.program,
                o->pricing != NULL ? weir_pipeline_why(o->pricing) : "out of memory");
        ops_free(o);
        return false;
    }
    *ret_ops = o;
    return true;
}

/* ---- Admin ---- */

static weir_status store_is_ready(void *user, const char **ret_why)
{
    service *s = user;
    weir_status status = (weir_status)atomic_load(&s->store_status);
    *ret_why = weir_status_text(status);
    return status;
}

static bool start_admin(ops *o)
{
    service *s = o->service;
    const address *at = &s->options.admin;
    const char *why = "";
    snprintf(o->admin_listen, sizeof o->admin_listen, strchr(at->host, ':') ? "[%s]:%u" : "%s:%u",
             at->host, at->port);
    o->pipelines[0] = s->pipeline;
    o->pipelines[1] = o->pricing;
    o->check = (weir_admin_check){ .name = "store", .ready = store_is_ready, .user = s };
    weir_status status =
        weir_admin_start(o->loop,
                         &(weir_admin_config){ .listen = o->admin_listen,
                                               .pipelines = o->pipelines,
                                               .pipeline_count = o->pricing != NULL ? 2 : 1,
                                               .checks = &o->check,
                                               .check_count = o->watch != NULL,
                                               .env = &s->env },
                         &o->admin, &why);
    if (status != WEIR_OK)
        fprintf(stderr, "%s: --admin %s: %s (%s)\n", s->options.program, o->admin_listen, why,
                weir_status_text(status));
    return status == WEIR_OK;
}

uint16_t ops_admin_port(const ops *o)
{
    return o->admin != NULL ? weir_admin_port(o->admin) : 0;
}

/* ---- The thread ---- */

static void *run(void *user)
{
    ops *o = user;
    weir_status status = weir_loop_run(o->loop);
    (void)status;
    return NULL;
}

bool ops_start(ops *o)
{
    service *s = o->service;
    sigset_t all, before;
    if (s->options.store != STORE_NONE)
        o->watch = store_watch_new(o->loop, s);
    if (s->options.has_admin && !start_admin(o))
        return false;
    if (o->pricing == NULL && o->admin == NULL && o->watch == NULL)
        return true; /* nothing to do, and a process of one thread is a little faster */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    o->has_thread = pthread_create(&o->thread, NULL, run, o) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (!o->has_thread)
        fprintf(stderr, "%s: cannot start a thread\n", s->options.program);
    return o->has_thread;
}

/* ---- The end ---- */

/* On the loop's thread, or when it has none. */
static void stop(weir_task *task, void *user)
{
    ops *o = user;
    (void)task;
    if (o->pricing != NULL && !weir_pipeline_is_finished(o->pricing))
        weir_pipeline_shutdown(o->pricing, WEIR_ABORT, 0);
    else
        weir_loop_stop(o->loop);
}

static bool is_quiet(const ops *o)
{
    return (o->watch == NULL || store_watch_stop(o->watch)) &&
           (o->pricing == NULL || weir_pipeline_is_finished(o->pricing));
}

/* Its thread has ended: what is still under way ends on the loop's turns taken here. */
static void close_down(ops *o)
{
    for (int i = 0; i < TURNS_TO_CLOSE && !is_quiet(o); i++) {
        while (weir_loop_turn(o->loop))
            ;
        (void)poll(NULL, 0, 1);
    }
    store_watch_free(o->watch);
    weir_admin_stop(o->admin);
    while (weir_loop_turn(o->loop))
        ;
    weir_pipeline_free(o->pricing);
    weir_loop_free(o->loop);
}

void ops_free(ops *o)
{
    if (o == NULL)
        return;
    o->stop = (weir_task)WEIR_TASK(stop, o);
    if (o->has_thread) {
        weir_post(o->loop, &o->stop);
        pthread_join(o->thread, NULL);
    } else if (o->loop != NULL) {
        stop(&o->stop, o);
    }
    if (o->loop != NULL)
        close_down(o);
    weir_memory_free(&o->service->env, o);
}
