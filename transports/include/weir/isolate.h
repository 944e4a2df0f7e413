/* Isolate: a stage whose work runs in processes of its own, so that a crash costs one item.
 *
 * For code that is not trusted with hostile input, such as image codecs and parsers. A helper
 * process, forked before there is any thread, forks the workers; each is joined to its stage by a
 * socket of its own, over which go frames of bytes. A worker that crashes, hangs or breaks the
 * protocol fails the items it had, and nothing else, and another takes its place. Nothing that a
 * worker sends is believed: lengths and numbers are checked before they are used.
 *
 * When this process ends, in whatever way, the helper and the workers end too. */
#ifndef WEIR_ISOLATE_H
#define WEIR_ISOLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- The work, in the worker ---- */

typedef struct weir_isolate_output weir_isolate_output;

typedef struct weir_isolate_work {
    const char *name;
    /* Does one item: `in` is borrowed for the call. Runs in a worker, alone in its process, and may
     * block. It has what the process had at weir_isolate_helper_new (a copy), descriptors 0 to 2
     * (/dev/null, and stderr) and nothing opened since. Not WEIR_OK: the item fails with that
     * status, and what was written is dropped. */
    weir_status (*run)(const void *in, size_t in_bytes, weir_isolate_output *out, void *user);
    void *user;
} weir_isolate_work;

/* Appends to the output: WEIR_OK, or, with nothing written, WEIR_ELIMIT (above out_bytes_max) or
 * WEIR_ENOMEM. */
WEIR_API weir_status weir_isolate_write(weir_isolate_output *out, const void *bytes,
                                        size_t n) WEIR_MUST_USE;
/* Drops what was written so far. */
WEIR_API void weir_isolate_rewind(weir_isolate_output *out);

/* ---- The helper ---- */

typedef struct weir_isolate_helper weir_isolate_helper;

/* Forks the helper, and a second one that stands by in case the first is killed. Call it first
 * thing in main, on the main thread: before any thread is started (WEIR_EINVAL if there is one
 * already) and before descriptors are opened and memory filled that workers need not have a copy
 * of. `works` (1..64, names unique) is borrowed as long as the helper; stages choose from it by
 * name. env NULL: the defaults. WEIR_ELIMIT: no process or descriptor to be had. */
WEIR_API weir_status weir_isolate_helper_new(const weir_env *env, const weir_isolate_work *works,
                                             uint32_t n,
                                             weir_isolate_helper **ret_helper) WEIR_MUST_USE;
/* Takes the helper: ends it and what workers there are, and waits until they are gone. After the
 * pipelines that use it are freed. NULL is fine. */
WEIR_API void weir_isolate_helper_free(weir_isolate_helper *helper);

/* ---- The stage ---- */

/* The body of what the stage emits; `bytes` is borrowed from the item. */
typedef struct weir_isolate_bytes {
    const void *bytes;
    size_t n;
} weir_isolate_bytes;

/* Figures, written by the stage's loops. Zero it first; read it with weir_isolate_stats_get. */
typedef struct weir_isolate_stats {
    uint64_t items;        /* worked on: a worker answered, well or not */
    uint64_t crashes;      /* workers that ended by themselves: a signal, an exit */
    uint64_t timeouts;     /* workers killed because an item took too long */
    uint64_t breaches;     /* workers killed because they broke the protocol */
    uint64_t restarts;     /* workers started in the place of another */
    uint64_t workers;      /* of them there are now */
    uint64_t in_flight;    /* items that workers have now */
    uint64_t items_failed; /* with their worker */
} weir_isolate_stats;

/* Pointers stay borrowed until the pipeline is freed. */
typedef struct weir_isolate_config {
    weir_isolate_helper *helper; /* required */
    const char *work;            /* its name, required */
    /* What of the item is sent to the worker: borrowed until the item has ended. Loop thread. Not
     * WEIR_OK: the item fails with it. NULL: the body of the item is a weir_isolate_bytes. */
    weir_status (*input)(const weir_item *item, weir_isolate_bytes *ret_in, void *user);
    void *user;
    uint32_t workers;          /* of all replicas together, 1..64, but at least one each; 0: 2 */
    uint32_t in_flight;        /* items a worker has at once, 1..16; 0: 1. More hides the way there
                                  and back of small items; a crash fails all its worker had */
    bool unordered;            /* emit as they finish; default: in the order of arrival */
    uint32_t in_bytes_max;     /* of an item, at most 1 GiB; more fails, WEIR_ELIMIT; 0: 1 MiB */
    uint32_t out_bytes_max;    /* of what is made of it, at most 1 GiB; 0: 1 MiB */
    uint32_t timeout_ms;       /* for one item, from when its worker is free for it; 0: 10,000 */
    uint64_t memory_bytes_max; /* address space a worker may add to what it begins with, input and
                                  output included; 0: 256 MiB; UINT64_MAX: any. Not with
                                  sanitizers */
    uint32_t cpu_s_max;        /* processor time for one item, whole seconds; 0: no limit */
    uint32_t files_max;        /* descriptors a worker may have, at least 4; 0: 16 */
    bool sandbox; /* leave a worker only the system calls that computing needs (seccomp on x86-64
                     and ARM64; elsewhere the check fails with WEIR_EUNSUPPORTED): memory, clocks,
                     reading and writing what is open. Any other kills it. Not with sanitizers.
                     Without it, a worker that is taken over may still signal or trace others of the
                     same user */
    uint32_t restart_ms;     /* before a worker that failed is replaced; doubled for each failure
                                without an answer between; 0: 10 */
    uint32_t restart_ms_max; /* 0: 5,000 */
    uint32_t restarts_max;   /* of all workers of a replica, in restarts_window_ms; what fails then
                                is replaced when the window is over; 0: 100 */
    uint32_t restarts_window_ms; /* 0: 10,000 */
    weir_isolate_stats *stats;   /* counts there; optional, may be shared by stages */
} weir_isolate_config;

/* The stage: one input, one output (or none). NULL for want of memory.
 *
 *   emits     items made of their inputs, with a weir_isolate_bytes for their body; cost: its
 *             bytes and its own size
 *   demand    items that living workers have room for; while none lives, none
 *   order     of arrival, unless unordered
 *   failures  WEIR_EUNAVAILABLE: the worker crashed (a signal, an exit, the kernel's OOM killer) or
 *             the helper was killed; WEIR_EDEADLINE: it took longer than timeout_ms; WEIR_EPROTO:
 *             the worker broke the protocol; WEIR_ELIMIT: too many bytes; or as `run` says.
 *             weir_pipeline_why tells the signal by name
 *   cancel    an item whose context is over fails at once; its worker finishes what it has begun
 *             within timeout_ms, or is killed if it had not taken the whole input
 *   the end   workers end as the stage closes; the helper reaps them
 *
 * It fails with WEIR_EUNSUPPORTED on a virtual loop. */
WEIR_API weir_stage_spec *weir_isolate(const weir_isolate_config *config);

/* What `item` is, or is made of (its parents are walked), as the stage emitted it; NULL if it never
 * passed one. Borrowed from the item. */
WEIR_API const weir_isolate_bytes *weir_isolate_bytes_of(const weir_item *item);

/* Reads the figures. Any thread. */
WEIR_API void weir_isolate_stats_get(const weir_isolate_stats *stats,
                                     weir_isolate_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
