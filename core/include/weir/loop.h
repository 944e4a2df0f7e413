/* A loop: one thread's reactor on a libevent base, with timers, posts and end-of-turn work.
 *
 * A turn runs what is ready (within a budget of items and time), then the work put off to the end
 * of the turn, then polls. No callback runs beneath another. */
#ifndef WEIR_LOOP_H
#define WEIR_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/env.h>

#ifdef __cplusplus
extern "C" {
#endif

struct event_base;
typedef struct weir_loop weir_loop;

typedef struct weir_loop_config {
    const weir_env *env; /* borrowed until the loop is freed; NULL: the defaults */
    struct event_base
        *base;           /* adopt: borrowed; whoever owns it dispatches it. NULL: one of our own */
    uint32_t vector_max; /* items a callback gets at once, 1..64; 0: 64 */
    uint32_t turn_items_max; /* items a turn may deliver; 0: 4096 */
    uint32_t turn_us_max;    /* time a turn may take, in microseconds; 0: 500 */
    uint32_t spin_us_max; /* spin for work of other loops before sleeping; 0: 15, UINT32_MAX: never.
                             Only after being busy, only with edges from other loops */
    int pin_cpu_plus_1;   /* 1 + the processor to pin the running thread to; 0: do not pin */
    bool is_virtual;      /* never polls; driven by weir_loop_turn, time by env->now_ns */
} weir_loop_config;

/* Gives a loop, or NULL for want of memory or descriptors. config NULL: all defaults. */
WEIR_API weir_loop *weir_loop_new(const weir_loop_config *config);
/* Takes the loop. It must not be running and no pipeline may be on it. NULL is fine. */
WEIR_API void weir_loop_free(weir_loop *loop);

/* Runs turns on the calling thread until weir_loop_stop. Not for adopted bases. */
WEIR_API weir_status weir_loop_run(weir_loop *loop) WEIR_MUST_USE;
/* Ends weir_loop_run after the turn. Any thread; a stop before the run counts. */
WEIR_API void weir_loop_stop(weir_loop *loop);
/* One turn that does not wait. Says whether anything was done. For tests and for own main loops. */
WEIR_API bool weir_loop_turn(weir_loop *loop);

WEIR_API struct event_base *weir_loop_base(weir_loop *loop); /* borrowed; NULL on a virtual loop */
WEIR_API const weir_env *weir_loop_env(const weir_loop *loop);
/* True on the thread that runs the loop (or when no thread runs it yet). */
WEIR_API bool weir_loop_is_here(const weir_loop *loop);
/* The turn's time in nanoseconds: cheap, at most a turn old. Loop thread only. */
WEIR_API uint64_t weir_loop_now(const weir_loop *loop);
/* Reads the clock and sets the turn's time. Loop thread only. */
WEIR_API uint64_t weir_loop_update_now(weir_loop *loop);
WEIR_API uint64_t weir_loop_entropy(weir_loop *loop);

/* A piece of work owned by the caller, who keeps it alive until it ran. */
typedef struct weir_task weir_task;
struct weir_task {
    void (*run)(weir_task *task, void *user);
    void *user;
    weir_task *next; /* weir's */
    int queued;      /* weir's: posting a queued task is a no-op */
};
#define WEIR_TASK(run_, user_) \
    {                          \
        (run_), (user_), 0, 0  \
    }

/* Runs `task` once on the loop's thread, soon. Any thread; never allocates; a task that is already
 * posted is not posted twice. */
WEIR_API void weir_post(weir_loop *loop, weir_task *task);
/* Runs `task` once at the end of this turn, after all ready stages and before the poll: the place
 * to write once for everything the turn produced. Loop thread only. */
WEIR_API void weir_loop_defer(weir_loop *loop, weir_task *task);

/* A one-shot timer in caller memory. Zero it first. Loop thread only. */
typedef struct weir_timer weir_timer;
struct weir_timer {
    void (*fire)(weir_timer *timer, void *user);
    void *user;
    uint64_t due_ns;                    /* weir's, like all below */
    weir_timer *child, *sibling, *prev; /* a pairing heap */
    int armed;
};
/* Starts, or moves, the timer: it fires once, `delay_ns` (0 counts as 1) after the turn's time, as
 * the clock gets there: never in the turn that started it, so one that starts itself again fires
 * once a turn, and on a clock that stands not at all. For the next turn whatever the clock says:
 * weir_post. At UINT64_MAX or beyond it never fires. */
WEIR_API void weir_timer_start(weir_loop *loop, weir_timer *timer, uint64_t delay_ns,
                               void (*fire)(weir_timer *timer, void *user), void *user);
WEIR_API void weir_timer_stop(weir_loop *loop, weir_timer *timer);
static inline bool weir_timer_is_armed(const weir_timer *timer)
{
    return timer->armed != 0;
}

#define WEIR_US  UINT64_C(1000)
#define WEIR_MS  UINT64_C(1000000)
#define WEIR_SEC UINT64_C(1000000000)

/* Loops that this process may use: the affinity mask and the cgroup CPU quota, at least 1. */
WEIR_API uint32_t weir_loops_default(void);

typedef struct weir_loop_stats {
    uint64_t turns, polls, wakeups_received, items_live, items_reserved, bytes_reserved;
    uint64_t items_ended_twice; /* bugs of stages: debug builds abort, release builds count */
} weir_loop_stats;
/* Any thread; the figures are not one instant's. */
WEIR_API void weir_loop_stats_get(const weir_loop *loop, weir_loop_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
