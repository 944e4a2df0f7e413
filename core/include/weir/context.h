/* A context: cancellation, deadline and request values, as a tree.
 *
 * A context lives in its creator's memory, usually the body of a source's item, and outlives every
 * item that names it, because derived items keep their root alive. Cancelling reaches all below:
 * child contexts, watches on any loop, items at their next dequeue. */
#ifndef WEIR_CONTEXT_H
#define WEIR_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_context weir_context;
typedef struct weir_context_watch weir_context_watch;

/* 16 bytes of W3C trace id and 8 of span id; all zero: none. https://www.w3.org/TR/trace-context/
 */
typedef struct weir_trace {
    uint8_t trace_id[16];
    uint8_t span_id[8];
    uint8_t flags;
} weir_trace;

struct weir_context {
    weir_loop *loop;      /* owner; borrowed */
    weir_context *parent; /* borrowed */
    uint64_t deadline_ns; /* loop time; 0: none; never later than the parent's */
    weir_trace trace;
    void *values; /* whatever the creator hangs on it; borrowed */
    /* weir's, from here on */
    int state; /* weir_status of the cancel, read by any loop */
    int lock;
    weir_context *children, *next, *prev;
    weir_context_watch *watches;
};

/* Prepares `context` in caller memory below `parent` (NULL: a root). deadline_ns is absolute loop
 * time, 0 for the parent's. Owner loop only. */
WEIR_API void weir_context_init(weir_context *context, weir_loop *loop, weir_context *parent,
                                uint64_t deadline_ns);
/* Takes it from the tree. No watch and no child may be left on it. Owner loop only. */
WEIR_API void weir_context_done(weir_context *context);
/* Takes it out of its parent's tree, with all that is below it: what becomes of the parent does not
 * reach them any more. For one whose parent goes while something is below it. Owner loop only. */
WEIR_API void weir_context_part(weir_context *context);
/* Whether neither a watch nor a child is on it, so that its memory may go. Owner loop only. */
WEIR_API bool weir_context_is_bare(weir_context *context);
/* Cancels it and all below, once; later calls do nothing. status: why, for example WEIR_ECANCELED.
 * Owner loop only; O(children + watches); allocates nothing. */
WEIR_API void weir_context_cancel(weir_context *context, weir_status status);

/* WEIR_OK, or why it is over: cancelled, or WEIR_EDEADLINE once `now_ns` has passed the deadline.
 * NULL is never over. Any loop. */
WEIR_API weir_status weir_context_status(const weir_context *context, uint64_t now_ns);
/* Nanoseconds left, UINT64_MAX without a deadline, 0 when over. */
WEIR_API uint64_t weir_context_left(const weir_context *context, uint64_t now_ns);

/* Be told of a cancel (not of the deadline: keep a timer for that). In caller memory, zeroed. */
struct weir_context_watch {
    void (*cancelled)(weir_context_watch *watch, weir_status status, void *user);
    void *user;
    /* weir's, from here on */
    weir_context *context;
    weir_loop *loop;
    weir_context_watch *next, *prev;
    weir_task task;
    int state, status;
};
/* Runs `cancelled` once, on `loop`, when the context is cancelled, also if it is already. `loop` is
 * the caller's. */
WEIR_API void weir_context_watch_start(
    weir_context_watch *watch, weir_context *context, weir_loop *loop,
    void (*cancelled)(weir_context_watch *watch, weir_status status, void *user), void *user);
/* No call after this one. Gives false if a message to this loop is still under way: then the memory
 * must stay until the next turn of this loop is over. The watch's loop only. */
WEIR_API bool weir_context_watch_stop(weir_context_watch *watch);

#ifdef __cplusplus
}
#endif
#endif
