/* What the parts of isolate share: frames, orders to the helper, workers as their stage sees them.
 */
#ifndef WI_ISOLATE_INTERNAL_H
#define WI_ISOLATE_INTERNAL_H

#include <weir/async.h>
#include <weir/isolate.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#define WI_ISOLATE_MAGIC 0x77656972u

enum { WI_ISOLATE_DEPTH_MAX = 16, WI_ISOLATE_WORKERS_MAX = 64, WI_ISOLATE_SOCKET = 3 };

/* ---- Frames between a stage and its worker: a head, then `bytes` bytes ---- */

typedef struct wi_isolate_head {
    uint32_t magic;
    int32_t status; /* of an answer; 0 otherwise */
    uint64_t serial;
    uint64_t bytes;
} wi_isolate_head;

/* ---- Orders to the helper, with descriptors, and what it says on a leash ---- */

typedef struct wi_isolate_limits {
    uint64_t memory_bytes_max;
    uint32_t in_bytes_max, out_bytes_max, cpu_s_max, files_max;
    uint32_t sandbox;
} wi_isolate_limits;

enum { WI_ISOLATE_SPAWN = 1, WI_ISOLATE_BEGET };

/* SPAWN comes with the worker's socket and the other end of its leash, BEGET with the control
 * socket of the helper to be. */
typedef struct wi_isolate_order {
    uint32_t kind, work;
    wi_isolate_limits limits;
} wi_isolate_order;

/* The leash is a socket between the stage and the helper, one per worker. The helper says on it how
 * the worker ended; any byte the other way, or its end, kills the worker. */
typedef struct wi_isolate_news {
    int32_t failed;      /* errno: it could not be forked */
    int32_t wait_status; /* as of waitpid */
} wi_isolate_news;

/* ---- isolate_helper.c ---- */

/* The index of `name` among the works; -1 if there is none. */
int wi_isolate_work_find(const weir_isolate_helper *helper, const char *name);
/* Orders a worker; takes neither descriptor. WEIR_ECLOSED: no helper is left; WEIR_EAGAIN: not now.
 * Any thread; does not block. */
weir_status wi_isolate_helper_spawn(weir_isolate_helper *helper, const wi_isolate_order *order,
                                    int socket, int leash);

/* ---- isolate_forks.c: in the helper ---- */

/* The helper's life. */
void wi_isolate_helper_live(const weir_isolate_work *works, int control) __attribute__((noreturn));

/* ---- isolate_child.c: in the worker ---- */

/* Closes all descriptors from `first` on. */
void wi_isolate_close_from(int first);
/* Makes the process a worker, and works until its socket ends. */
void wi_isolate_child_live(const weir_isolate_work *work, const wi_isolate_limits *limits,
                           int socket, int helper_pid) __attribute__((noreturn));

/* ---- isolate_sandbox.c ---- */

bool wi_isolate_sandbox_is_there(void);
bool wi_isolate_sandbox_enter(void);

/* ---- Workers, as their stage sees them ---- */

/* An item that a worker has; op is NULL once it was given up. */
typedef struct wi_isolate_place {
    weir_op *op;
    wi_isolate_head head;
    const char *bytes;
    size_t sent; /* of head and bytes */
    bool cancelled;
} wi_isolate_place;

typedef enum wi_isolate_state { WI_ISOLATE_DOWN, WI_ISOLATE_UP, WI_ISOLATE_DYING } wi_isolate_state;

typedef struct wi_isolate wi_isolate;

typedef struct wi_isolate_worker {
    wi_isolate *of;
    wi_isolate_state state;
    int socket, leash;
    struct event readable, writable, leashed;
    bool has_events;
    weir_timer restart, patience; /* patience: for the first item; when dying, for the news */
    uint32_t strikes;             /* failures since the last answer */
    bool was_there;               /* it is being started again */
    weir_status cause;            /* why we killed it; WEIR_OK: we did not */
    bool innocent;                /* killed for what it had no part in */
    uint32_t n, n_sent;           /* places taken; of them sent whole */
    wi_isolate_place places[WI_ISOLATE_DEPTH_MAX];
    wi_isolate_head answer; /* what is being received */
    size_t got;             /* of head and bytes */
    weir_item *made;        /* takes its bytes; NULL: they are dropped */
    const char *why;        /* the first item fails all the same: no memory for its output */
} wi_isolate_worker;

/* Per slot of the stage. */
typedef struct wi_isolate_call {
    wi_isolate_worker *worker; /* NULL: waits for one */
    weir_op *next, *prev;      /* of those that wait */
    weir_isolate_bytes in;
} wi_isolate_call;

/* One replica. */
struct wi_isolate {
    weir_stage *stage;
    weir_loop *loop;
    const weir_isolate_config *config; /* with its defaults filled in */
    wi_isolate_order order;
    uint32_t n_workers;
    wi_isolate_worker *workers;
    weir_op *first_waiting, *last_waiting;
    uint64_t serial, window_from_ns;
    uint32_t window_restarts;
    weir_isolate_stats *stats;
    bool closing;
    char scratch[16 * 1024];
};

static inline void wi_isolate_count(uint64_t *figure, int64_t by)
{
    __atomic_fetch_add(figure, (uint64_t)by, __ATOMIC_RELAXED);
}

/* ---- isolate_worker.c ---- */

void wi_isolate_worker_start(wi_isolate_worker *worker);
void wi_isolate_worker_stop(wi_isolate_worker *worker);
/* Gives it an item; it must be up and have room. */
void wi_isolate_worker_take(wi_isolate_worker *worker, weir_op *op);
/* The item's operation is over for others. */
void wi_isolate_worker_cancel(wi_isolate_worker *worker, weir_op *op);

/* ---- isolate_receive.c ---- */

/* Takes what has come, at most about `bytes`. */
typedef enum wi_isolate_received {
    WI_ISOLATE_TOOK,   /* there may be more */
    WI_ISOLATE_EMPTY,  /* there is no more for now */
    WI_ISOLATE_ENDED,  /* the worker has closed */
    WI_ISOLATE_BREACH, /* it broke the protocol */
} wi_isolate_received;
wi_isolate_received wi_isolate_receive(wi_isolate_worker *worker, size_t bytes);
/* Drops what was received in part. */
void wi_isolate_receive_drop(wi_isolate_worker *worker);

/* ---- isolate.c ---- */

extern const weir_item_type wi_isolate_item_type;
/* The worker's first item was answered: ends it, and gives the next one its time. */
void wi_isolate_answered(wi_isolate_worker *worker);
/* Hands what waits to workers with room, and asks for as much as living workers can take. */
void wi_isolate_dispatch(wi_isolate *isolate);

#endif
