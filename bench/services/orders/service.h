/* The order service's parts: what they share, and the stages they give. */
#ifndef ORDERS_SERVICE_H
#define ORDERS_SERVICE_H

#include "options.h"
#include "order.h"

#include <weir/weir.h>

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <time.h>

typedef struct work work;
typedef struct refusal refusal;
typedef struct row row;

/* How those are answered who sent an order or a question: by HTTP here, by RPC elsewhere. */
typedef struct door {
    void (*refused)(weir_item *request, const refusal *r);
    void (*stored)(work *w);
    weir_status (*row)(weir_item *item, const row *r);
} door;

/* One for the process; outlives its pipelines. */
typedef struct service {
    options options;
    const door *door;
    weir_env env;
    weir_pipeline *pipeline;
    char pricing_url[64]; /* of the built-in one */
    atomic_uint_fast64_t failed_after_reply;
    atomic_int store_status; /* the last probe's weir_status */
    atomic_uint port;        /* once it listens */
    uint16_t admin_port;     /* 0: none */
    pthread_mutex_t log_lock;
    char log_last[512]; /* the last line, and when it was said */
    time_t log_last_s;
    sem_t listens; /* posted once the port is known */
} service;

/* How far an order has come, for those who are told that it came no further. */
typedef enum work_step { AT_ADMISSION, AT_PRICING, AT_STORE, AT_NOTIFICATION } work_step;

/* The body of the items below the admission: an order, or a question for one. Each is derived from
 * its request, which therefore is there as long as it. */
struct work {
    service *service;
    weir_item *request; /* borrowed */
    order order;
    double price; /* what the pricing service says; below 0: was not asked */
    work_step step;
    bool replied, found, is_query;
};

static inline work *work_of(const weir_item *item)
{
    return weir_item_body(item);
}

/* ---- admit.c ---- */

/* Requests in; orders out on 0, questions out on 1. What is neither is answered at once. */
weir_stage_spec *admit_stage(service *s);

/* ---- pricing.c ---- */

/* A stage that asks the pricing service for each order. */
weir_stage_spec *pricing_stage(service *s);
/* The pricing service: a pipeline of its own, to be started on a loop, which tells `listening` its
 * port of the loopback. NULL for want of memory. */
weir_pipeline *pricing_service_new(const weir_env *env,
                                   void (*listening)(uint16_t port, void *user), void *user);

/* ---- store.c ---- */

weir_stage_spec *store_stage(service *s);
/* A stage that answers questions with the row, if there is one. */
weir_stage_spec *query_stage(service *s);

/* Asks the store, again and again, whether it is well, into service.store_status. */
typedef struct store_watch store_watch;
store_watch *store_watch_new(weir_loop *loop, service *s);
/* Asks no more; false while an answer is still to come, on the loop's next turns. */
bool store_watch_stop(store_watch *watch);
void store_watch_free(store_watch *watch);

/* ---- notify.c ---- */

weir_stage_spec *notify_stage(service *s);

/* ---- reply.c ---- */

/* The end of the pipeline: tells clients that their orders are stored, or not found. */
weir_stage_spec *reply_stage(service *s);
void reply_queued(weir_item *request);
extern const door http_door;

/* ---- work.c ---- */

/* Refuses a request. `header` (a name and a value, or NULLs) goes with it. */
struct refusal {
    unsigned status;                 /* as HTTP has them */
    const char *error, *field, *why; /* field NULL: none */
    const char *header, *value;
};
/* Answers a question with a row. */
struct row {
    const char *id, *currency, *items; /* items NULL: none; else JSON */
    size_t id_bytes, currency_bytes, items_bytes;
    double amount, price; /* price below 0: none */
};
/* Tells the client why it came no further, if it was not answered. */
extern const weir_item_type work_type;

/* ---- demo.c ---- */

typedef struct demo demo;
/* Starts a thread that waits until the service listens, loads it for a while, shows how that goes,
 * and ends the pipeline. NULL: it could not. */
demo *demo_start(service *s);
/* Waits for it, prints the summary, and frees it. False: something went wrong. */
bool demo_finish(demo *d);

#endif
