/* Offload: a bounded pool of threads for work that must block. Its queue slots are its credit. */
#ifndef WEIR_OFFLOAD_H
#define WEIR_OFFLOAD_H

#include <weir/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_offload weir_offload;
typedef struct weir_job weir_job;

/* A job in caller memory, zeroed first, kept until `done` ran. */
struct weir_job {
    weir_loop *loop; /* where `done` runs */
    void (*done)(weir_job *job, void *user);
    void *user;
    void *work;     /* the caller's, for `run` */
    weir_job *next; /* weir's, like all below */
    weir_task task;
};

typedef struct weir_offload_config {
    const weir_env *env;
    uint32_t threads;   /* 0: 1 */
    uint32_t queue_max; /* jobs waiting; 0: 1024 */
    uint32_t batch_max; /* jobs handed to one `run`; 0: 1 */
    const char *name;   /* of the threads, 15 bytes; NULL: "weir-offload" */
    /* On each pool thread, before its first job: gives its own value (a database handle). A failure
     * makes weir_offload_new fail. Optional. */
    weir_status (*open)(void *user, void **ret_thread_state);
    void (*close)(void *thread_state, void *user);
    /* Does jobs[0..n), n <= batch_max; may block. Results go to the jobs' own memory. Required. */
    void (*run)(weir_job **jobs, size_t n, void *thread_state, void *user);
    void *user;
} weir_offload_config;

/* Starts the threads and waits for their `open`. With a testkit's env there may be none: see
 * job_us_max in <weir/testkit.h>. */
WEIR_API weir_status weir_offload_new(const weir_offload_config *config,
                                      weir_offload **ret_offload) WEIR_MUST_USE;
/* Does what is queued, joins the threads. Every `done` has been posted by then. NULL is fine. */
WEIR_API void weir_offload_free(weir_offload *offload);
/* Queues `job`: WEIR_OK, or WEIR_EOVERLOAD when queue_max wait. `done` runs on job->loop. Any
 * thread; never allocates. */
WEIR_API weir_status weir_offload_submit(weir_offload *offload, weir_job *job) WEIR_MUST_USE;
WEIR_API uint32_t weir_offload_queued(const weir_offload *offload);

#ifdef __cplusplus
}
#endif
#endif
