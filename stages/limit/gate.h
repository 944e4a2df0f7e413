/* What the limiting stages share: a gate that lets items pass as a limit allows, holds or rejects
 * the others, asks for no more than may pass, and hears how what has passed ends. */
#ifndef WI_GATE_H
#define WI_GATE_H

#include <weir/stage.h>

#include "queue.h"

#include <pthread.h>
#include <stdatomic.h>

enum { WI_GATE_AHEAD_MAX = 64 };

/* ---- Gates of all loops that wait for one of them to let go ---- */

typedef struct wi_waiter wi_waiter;
struct wi_waiter {
    weir_task task;
    weir_loop *loop;
    wi_waiter *next;
    bool listed; /* under the lock */
    bool begun;  /* the gate's own: until it is called off, or woken */
};

typedef struct wi_waiters {
    pthread_mutex_t lock;
    atomic_uint n;
    wi_waiter *head, *tail;
} wi_waiters;

weir_status wi_waiters_init(wi_waiters *waiters);
void wi_waiters_done(wi_waiters *waiters);
/* Posts to the one that waits longest, or to all. Any thread. */
void wi_waiters_wake(wi_waiters *waiters, bool all);

void wi_waiters_add(wi_waiters *waiters, wi_waiter *waiter);
/* False if its task has been posted. */
bool wi_waiters_remove(wi_waiters *waiters, wi_waiter *waiter);

/* ---- The gate ---- */

/* A figure of a config, or its default. */
static inline uint32_t wi_or(uint32_t value, uint32_t otherwise)
{
    return value != 0 ? value : otherwise;
}

typedef struct wi_gate wi_gate;

typedef struct wi_gate_kind {
    /* Lets the first of items[0..n) pass, as many as may now: gives how many. */
    size_t (*take)(wi_gate *gate, weir_item *const *items, size_t n);
    /* How many items, up to `most`, would find room. */
    uint64_t (*look)(wi_gate *gate, uint64_t most);
    /* Both, when they give less than they could: set gate->wait_ns to try again by time; a kind
     * with waiters is woken besides. */

    /* Kinds that hear of ends: puts tickets of its type on items[0..n), which pass just now. Gives
     * how many have one; the others fail and never passed. */
    const weir_ticket_type *ticket;
    size_t (*follow)(wi_gate *gate, weir_item **items, size_t n);
    /* What ended since the last time: once at the end of the turn. Optional. */
    void (*settle)(wi_gate *gate);
    void (*cut)(wi_gate *gate); /* it takes no more. Optional */
    const char *why;            /* of what is rejected */
} wi_gate_kind;

/* The first member of each such stage's state. */
struct wi_gate {
    weir_stage *stage;
    const wi_gate_kind *kind;
    wi_waiters *waiters; /* NULL: nobody wakes it */
    weir_status reject;  /* of what may not pass; WEIR_OK: it is held */
    wi_queue held;
    wi_waiter waiter;
    weir_timer timer;
    weir_task settle;
    uint64_t wait_ns, under_way;
    bool is_held, is_cut; /* held: while something is under way, or to be settled */
};

weir_status wi_gate_open(wi_gate *gate, weir_stage *stage, const wi_gate_kind *kind,
                         wi_waiters *waiters, weir_status reject);
/* True if `status` may be that of what is rejected: an error that there is, or 0 for the default.
 */
bool wi_gate_is_status(weir_status status);
/* For wi_gate_open: what is rejected gets `status`, or the usual one; WEIR_OK: none is rejected. */
weir_status wi_gate_reject(bool rejects, weir_status status, weir_status usual);
/* `n` that have passed have ended: the kind's ticket calls it. */
void wi_gate_ended(wi_gate *gate, uint64_t n);
/* Has new settings: looks anew at what they allow. */
void wi_gate_change(wi_gate *gate, weir_status reject);

/* The callbacks, for the types of stages. */
weir_status wi_gate_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                             void *state);
void wi_gate_run(weir_stage *stage, void *state);
void wi_gate_let_go(weir_stage *stage, void *state);
void wi_gate_close(weir_stage *stage, void *state);
#define WI_GATE_CALLBACKS                                                                     \
    .at_once = 1, .on_items = wi_gate_on_items, .run = wi_gate_run, .let_go = wi_gate_let_go, \
    .close = wi_gate_close

#endif
