/* The loop: turns, the doorbell, posts from other threads, and libevent underneath. */
#include "wi_plant.h"
#include "wi_sim.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define POLL_EVERY_NS (50 * WEIR_US)
#define CLOCK_EVERY   16 /* visits between looks at the clock, for the turn's budget of time */

/* ---- Where are we ---- */

bool weir_loop_is_here(const weir_loop *loop)
{
    if (!atomic_load_explicit(&loop->has_thread, memory_order_acquire))
        return true;
    return pthread_equal(atomic_load_explicit(&loop->thread, memory_order_relaxed),
                         pthread_self()) != 0;
}

static void own_thread(weir_loop *loop)
{
    atomic_store_explicit(&loop->thread, pthread_self(), memory_order_relaxed);
    atomic_store_explicit(&loop->has_thread, true, memory_order_release);
}

struct event_base *weir_loop_base(weir_loop *loop)
{
    return loop->base;
}

const weir_env *weir_loop_env(const weir_loop *loop)
{
    return loop->env;
}

uint64_t weir_loop_update_now(weir_loop *loop)
{
    loop->now_stale = false;
    loop->now = wi_clock(loop->env);
    return loop->now;
}

/* While libevent runs its callbacks after a wait, the turn's time is from before the wait. */
uint64_t weir_loop_now(const weir_loop *loop)
{
    return loop->now_stale ? weir_loop_update_now((weir_loop *)(uintptr_t)loop) : loop->now;
}

uint64_t weir_loop_entropy(weir_loop *loop)
{
    return wi_entropy(loop->env, &loop->entropy);
}

/* ---- Waking ---- */

void wi_loop_ring(weir_loop *loop)
{
    if (!atomic_load_explicit(&loop->sleeping, memory_order_relaxed))
        return;
    if (!atomic_exchange(&loop->sleeping, 0) || loop->bell_fd < 0)
        return;
    uint64_t one = 1;
    __atomic_fetch_add(&loop->stats.wakeups_received, 1, __ATOMIC_RELAXED);
    while (write(loop->bell_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

/* An adopted base does not ask us before it sleeps: have it call us in its next round. */
void wi_loop_kick(weir_loop *loop)
{
    static const struct timeval soon = { 0, 0 };
    if (loop->in_turn || loop->kicked || loop->config.base == NULL)
        return;
    loop->kicked = true;
    evtimer_add(loop->timer_event, &soon);
}

/* ---- Posts and deferred work ---- */

void weir_post(weir_loop *loop, weir_task *task)
{
    if (__atomic_exchange_n(&task->queued, 1, __ATOMIC_ACQ_REL) != 0)
        return;
    /* What the task does may lead to the end of the loop, while this thread still rings. */
    bool is_guest = wi_here != loop;
    if (is_guest)
        atomic_fetch_add_explicit(&loop->guests, 1, memory_order_relaxed);
    weir_task *top = atomic_load_explicit(&loop->posts, memory_order_relaxed);
    do {
        task->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&loop->posts, &top, task, memory_order_release,
                                                    memory_order_relaxed));
    atomic_thread_fence(memory_order_seq_cst);
    wi_loop_ring(loop);
    if (is_guest)
        atomic_fetch_sub_explicit(&loop->guests, 1, memory_order_release);
}

static bool run_posts(weir_loop *loop)
{
    if (atomic_load_explicit(&loop->posts, memory_order_relaxed) == NULL)
        return false;
    if (WI_UNLIKELY(loop->kit != NULL) && wi_sim_puts_off(loop))
        return false;
    weir_task *newest = atomic_exchange_explicit(&loop->posts, NULL, memory_order_acquire);
    weir_task *oldest = NULL;
    while (newest != NULL) {
        weir_task *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest != NULL) {
        weir_task *next = oldest->next;
        __atomic_store_n(&oldest->queued, 0, __ATOMIC_RELEASE);
        oldest->run(oldest, oldest->user);
        if (WI_UNLIKELY(loop->kit != NULL))
            wi_sim_after(loop, WI_STEP_TASK, NULL);
        oldest = next;
    }
    return true;
}

void weir_loop_defer(weir_loop *loop, weir_task *task)
{
    if (task->queued)
        return;
    task->queued = 1;
    task->next = NULL;
    if (loop->defer_tail != NULL)
        loop->defer_tail->next = task;
    else
        loop->defer_head = task;
    loop->defer_tail = task;
    wi_loop_kick(loop);
}

static bool run_deferred(weir_loop *loop)
{
    weir_task *task = loop->defer_head;
    if (task == NULL)
        return false;
    loop->defer_head = loop->defer_tail = NULL;
    while (task != NULL) {
        weir_task *next = task->next;
        task->queued = 0;
        if (WI_PLANT(18) && next != NULL)
            next = NULL;
        task->run(task, task->user);
        if (WI_UNLIKELY(loop->kit != NULL))
            wi_sim_after(loop, WI_STEP_TASK, NULL);
        task = next;
    }
    return true;
}

/* ---- The turn ---- */

static bool run_ready(weir_loop *loop, uint64_t until)
{
    bool any = false;
    uint32_t visits = 0;
    while (loop->ready_head != NULL && loop->budget > 0) {
        if (WI_UNLIKELY(loop->kit != NULL))
            wi_sim_pick(loop);
        weir_stage *stage = loop->ready_head;
        loop->ready_head = stage->next_ready;
        if (loop->ready_head == NULL)
            loop->ready_tail = NULL;
        stage->queued = false;
        wi_stage_run(stage);
        if (WI_UNLIKELY(loop->kit != NULL))
            wi_sim_after(loop, WI_STEP_VISIT, stage);
        any = true;
        loop->budget = loop->budget > WI_VECTOR_MAX ? loop->budget - WI_VECTOR_MAX : 0;
        /* Early, while they are in the cache: their sources use the memory again. */
        if (loop->ended_head != NULL)
            wi_items_run_ended(loop);
        if (++visits % CLOCK_EVERY == 0 && weir_loop_update_now(loop) >= until) {
            loop->budget = 0;
            break;
        }
    }
    return any;
}

/* Runs all that is ready and, when nothing is, hands up the small credit that was kept back. */
static bool drain(weir_loop *loop)
{
    bool any = false, more = true;
    uint64_t until = loop->now + (uint64_t)loop->config.turn_us_max * WEIR_US;
    loop->budget = loop->config.turn_items_max;
    while (more && loop->budget > 0) {
        more = run_ready(loop, until);
        more |= wi_items_run_ended(loop);
        if (loop->ready_head == NULL && loop->owed != NULL) {
            wi_edges_flush_owed(loop);
            if (WI_UNLIKELY(loop->kit != NULL))
                wi_sim_after(loop, WI_STEP_FLUSH, NULL);
        }
        any |= more;
        more |= loop->ready_head != NULL;
    }
    return any;
}

static bool is_ready(const weir_loop *loop)
{
    return loop->ready_head != NULL || loop->defer_head != NULL || loop->ended_head != NULL ||
           loop->owed != NULL;
}

static bool pending_from_others(weir_loop *loop)
{
    return atomic_load_explicit(&loop->posts, memory_order_acquire) != NULL ||
           wi_items_pending(loop) || wi_edges_pending(loop);
}

static bool is_dirty(const weir_loop *loop)
{
    return loop->dirty_out != NULL || loop->dirty_in != NULL || loop->sent_dirty;
}

bool wi_loop_has_work(weir_loop *loop)
{
    return is_ready(loop) || is_dirty(loop) || pending_from_others(loop);
}

static void publish(weir_loop *loop)
{
    if (WI_UNLIKELY(loop->kit != NULL)) {
        wi_sim_publish(loop);
        return;
    }
    wi_edges_publish(loop);
    wi_items_publish(loop);
}

static bool turn(weir_loop *loop)
{
    weir_loop *outer = wi_here;
    wi_here = loop;
    loop->in_turn = true;
    weir_loop_update_now(loop);
    if (WI_UNLIKELY(loop->watched != NULL))
        wi_loop_awake(loop);
    bool any = run_posts(loop);
    any |= wi_timers_fire(loop);
    any |= wi_items_collect(loop);
    any |= wi_edges_poll(loop);
    any |= drain(loop);
    any |= run_deferred(loop);
    any |= is_dirty(loop);
    publish(loop);
    wi_count(&loop->stats.turns, 1);
    loop->in_turn = false;
    wi_here = outer;
    return any;
}

bool weir_loop_turn(weir_loop *loop)
{
    if (!loop->config.is_virtual)
        own_thread(loop);
    bool any = turn(loop);
    if (loop->base != NULL && loop->config.base == NULL) {
        weir_loop *outer = wi_here;
        wi_here = loop;
        loop->now_stale = true;
        event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        wi_here = outer;
    }
    if (WI_UNLIKELY(loop->watched != NULL) && !wi_loop_has_work(loop))
        wi_loop_asleep(loop);
    return any || is_ready(loop) || pending_from_others(loop);
}

/* ---- Own base: turn, poll, sleep ---- */

/* The loop's own descriptor: libevent would set its one anew for every wait. */
static void arm_descriptor(weir_loop *loop, uint64_t wait)
{
    struct itimerspec at = { .it_value = { .tv_sec = (time_t)(wait / WEIR_SEC),
                                           .tv_nsec = (long)(wait % WEIR_SEC) } };
    if (wait == 0)
        at.it_value.tv_nsec = 1; /* 0 would disarm it */
    (void)timerfd_settime(loop->timer_fd, 0, &at, NULL);
}

static void arm_timeout(weir_loop *loop, uint64_t wait)
{
    struct timeval delay = { .tv_sec = (time_t)(wait / WEIR_SEC),
                             .tv_usec = (suseconds_t)((wait % WEIR_SEC + 999) / WEIR_US) };
    evtimer_add(loop->timer_event, &delay);
}

static void arm_timer(weir_loop *loop)
{
    if (loop->timers == NULL)
        return;
    uint64_t due = loop->timers->due_ns;
    /* One that fires early does no harm; moving it costs more than a spare wake-up. */
    if (loop->timer_armed_ns != 0 && loop->timer_armed_ns <= due)
        return;
    uint64_t now = weir_loop_update_now(loop);
    loop->timer_armed_ns = due != 0 ? due : 1;
    if (loop->timer_fd >= 0)
        arm_descriptor(loop, due > now ? due - now : 0);
    else
        arm_timeout(loop, due > now ? due - now : 0);
}

static bool spin_pays(const weir_loop *loop)
{
    return loop->config.spin_us_max != UINT32_MAX &&
           (loop->cross_in != NULL || loop->cross_out != NULL) && loop->spin_hits > 0;
}

static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* Work of another loop often comes within microseconds, and a wake-up costs more than the wait. How
 * often it paid decides whether the next one is tried, so an idle loop stops at once. */
static bool spin(weir_loop *loop)
{
    if (!spin_pays(loop))
        return false;
    uint64_t until = wi_clock(loop->env) + (uint64_t)loop->config.spin_us_max * WEIR_US;
    for (;;) {
        for (int i = 0; i < 32; i++) {
            if (pending_from_others(loop)) {
                if (loop->spin_hits < SPIN_HITS_MAX)
                    loop->spin_hits++;
                return true;
            }
            relax();
        }
        if (wi_clock(loop->env) >= until) {
            loop->spin_hits--;
            return false;
        }
    }
}

static void poll(weir_loop *loop, bool busy)
{
    /* With work left, sockets can wait for a moment: a turn of cheap items is shorter than a poll
     * is worth. */
    if (busy && loop->now - loop->polled_ns < POLL_EVERY_NS)
        return;
    bool sleeps = !busy && !is_ready(loop) && !pending_from_others(loop) && !spin(loop);
    if (sleeps) {
        if (WI_UNLIKELY(loop->watched != NULL))
            wi_loop_asleep(loop);
        arm_timer(loop);
        atomic_store(&loop->sleeping, 1);
        atomic_thread_fence(memory_order_seq_cst);
        if (pending_from_others(loop) || atomic_load(&loop->stop))
            sleeps = false;
    }
    wi_count(&loop->stats.polls, 1);
    loop->now_stale = true;
    event_base_loop(loop->base, EVLOOP_ONCE | (sleeps ? 0 : EVLOOP_NONBLOCK));
    if (atomic_load_explicit(&loop->sleeping, memory_order_relaxed))
        atomic_store_explicit(&loop->sleeping, 0, memory_order_relaxed);
    loop->polled_ns = loop->now;
}

weir_status weir_loop_run(weir_loop *loop)
{
    if (loop->config.base != NULL || loop->config.is_virtual)
        return WEIR_EINVAL;
    own_thread(loop);
    weir_loop *outer = wi_here;
    wi_here = loop;
    cpu_set_t before, pinned;
    bool pins = loop->config.pin_cpu_plus_1 > 0 &&
                pthread_getaffinity_np(pthread_self(), sizeof before, &before) == 0;
    if (pins) {
        CPU_ZERO(&pinned);
        CPU_SET((size_t)loop->config.pin_cpu_plus_1 - 1, &pinned);
        (void)pthread_setaffinity_np(pthread_self(), sizeof pinned, &pinned);
    }
    while (!atomic_load_explicit(&loop->stop, memory_order_acquire)) {
        bool any = turn(loop);
        if (any && (loop->cross_in != NULL || loop->cross_out != NULL) && loop->spin_hits == 0)
            loop->spin_hits = 1;
        poll(loop, is_ready(loop));
    }
    if (pins) /* the caller's thread goes on as it came */
        (void)pthread_setaffinity_np(pthread_self(), sizeof before, &before);
    atomic_store(&loop->stop, false);
    atomic_store(&loop->has_thread, false);
    wi_here = outer;
    return WEIR_OK;
}

void weir_loop_stop(weir_loop *loop)
{
    atomic_store(&loop->stop, true);
    atomic_thread_fence(memory_order_seq_cst);
    wi_loop_ring(loop);
}

/* ---- Adopted base: the timer and the bell drive the turns ---- */

static void adopted_turn(weir_loop *loop)
{
    atomic_store(&loop->sleeping, 0);
    own_thread(loop);
    loop->kicked = false;
    loop->timer_armed_ns = 0;
    turn(loop);
    atomic_store(&loop->sleeping, 1);
    atomic_thread_fence(memory_order_seq_cst);
    loop->now_stale = true;
    if (is_ready(loop) || pending_from_others(loop)) {
        wi_loop_kick(loop);
        return;
    }
    if (WI_UNLIKELY(loop->watched != NULL))
        wi_loop_asleep(loop);
    arm_timer(loop);
}

static void on_bell(evutil_socket_t fd, short what, void *user)
{
    weir_loop *loop = user;
    uint64_t rings;
    (void)what;
    while (read(fd, &rings, sizeof rings) < 0 && errno == EINTR)
        ;
    if (loop->config.base != NULL)
        adopted_turn(loop);
}

static void on_timer(evutil_socket_t fd, short what, void *user)
{
    weir_loop *loop = user;
    uint64_t times;
    (void)what;
    if (loop->timer_fd >= 0)
        while (read(fd, &times, sizeof times) < 0 && errno == EINTR)
            ;
    loop->timer_armed_ns = 0;
    if (loop->config.base != NULL)
        adopted_turn(loop);
}

/* ---- Making and freeing ---- */

/* It has no timeouts, so it need not be precise about them. */
static struct event_base *base_new(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL)
        return NULL;
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

static weir_status attach_timer(weir_loop *loop)
{
    if (loop->config.base != NULL) {
        loop->timer_event = evtimer_new(loop->base, on_timer, loop);
        return loop->timer_event != NULL ? WEIR_OK : WEIR_ENOMEM;
    }
    loop->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (loop->timer_fd < 0)
        return WEIR_EIO;
    loop->timer_event = event_new(loop->base, loop->timer_fd, EV_READ | EV_PERSIST, on_timer, loop);
    if (loop->timer_event == NULL || event_add(loop->timer_event, NULL) != 0)
        return WEIR_ENOMEM;
    return WEIR_OK;
}

static weir_status attach(weir_loop *loop)
{
    loop->base = loop->config.base != NULL ? loop->config.base : base_new();
    if (loop->base == NULL)
        return WEIR_ENOMEM;
    loop->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->bell_fd < 0)
        return WEIR_EIO;
    loop->bell_event = event_new(loop->base, loop->bell_fd, EV_READ | EV_PERSIST, on_bell, loop);
    if (loop->bell_event == NULL || event_add(loop->bell_event, NULL) != 0)
        return WEIR_ENOMEM;
    return attach_timer(loop);
}

static void set_defaults(weir_loop *loop, const weir_loop_config *config)
{
    weir_loop_config *c = &loop->config;
    if (config != NULL)
        *c = *config;
    loop->env = c->env != NULL ? c->env : &loop->env_default;
    if (c->vector_max == 0 || c->vector_max > WI_VECTOR_MAX)
        c->vector_max = WI_VECTOR_MAX;
    if (c->turn_items_max == 0)
        c->turn_items_max = 4096;
    if (c->turn_us_max == 0)
        c->turn_us_max = 500;
    if (c->spin_us_max == 0)
        c->spin_us_max = 15;
}

weir_loop *weir_loop_new(const weir_loop_config *config)
{
    const weir_env *env = config != NULL ? config->env : NULL;
    char *memory = weir_memory_new(env, sizeof(weir_loop) + WI_CACHE_LINE);
    if (memory == NULL)
        return NULL;
    weir_loop *loop = wi_aligned(memory);
    loop->memory = memory;
    loop->bell_fd = loop->timer_fd = -1;
    set_defaults(loop, config);
    if (!loop->config.is_virtual && attach(loop) != WEIR_OK) {
        weir_loop_free(loop);
        return NULL;
    }
    if (loop->config.base != NULL)
        atomic_store(&loop->sleeping, 1);
    weir_loop_update_now(loop);
    return loop;
}

bool wi_loop_quiesce(weir_loop *loop)
{
    weir_loop *outer = wi_here;
    wi_here = loop;
    loop->in_turn = true;
    bool any = run_posts(loop);
    any |= wi_items_collect(loop);
    any |= wi_items_run_ended(loop);
    wi_items_publish(loop);
    loop->in_turn = false;
    wi_here = outer;
    return any;
}

/* Calls that libevent owes already, as it does the end of what was cancelled: memory goes by them.
 */
static bool call_what_is_owed(weir_loop *loop)
{
    if (loop->base == NULL || loop->config.base != NULL ||
        event_base_get_num_events(loop->base, EVENT_BASE_COUNT_ACTIVE) == 0)
        return false;
    weir_loop *outer = wi_here;
    wi_here = loop;
    (void)event_base_loop(loop->base, EVLOOP_NONBLOCK);
    wi_here = outer;
    return true;
}

void weir_loop_free(weir_loop *loop)
{
    if (loop == NULL)
        return;
    atomic_store(&loop->has_thread, false);
    while (wi_loop_quiesce(loop) || run_deferred(loop) || call_what_is_owed(loop)) /* to the end */
        ;
    while (atomic_load_explicit(&loop->guests, memory_order_acquire) != 0)
        sched_yield();
    wi_items_nack_leaked(loop);
    wi_items_done(loop);
    if (loop->bell_event != NULL)
        event_free(loop->bell_event);
    if (loop->timer_event != NULL)
        event_free(loop->timer_event);
    if (loop->bell_fd >= 0)
        close(loop->bell_fd);
    if (loop->timer_fd >= 0)
        close(loop->timer_fd);
    if (loop->base != NULL && loop->config.base == NULL)
        event_base_free(loop->base);
    weir_memory_free(loop->env == &loop->env_default ? NULL : loop->env, loop->memory);
}

void weir_loop_stats_get(const weir_loop *loop, weir_loop_stats *ret_stats)
{
    const weir_loop_stats *s = &loop->stats;
    *ret_stats = (weir_loop_stats){
        .turns = wi_read(&s->turns),
        .polls = wi_read(&s->polls),
        .wakeups_received = wi_read(&s->wakeups_received),
        .items_live = wi_read(&s->items_reserved) - wi_items_free(loop),
        .items_reserved = wi_read(&s->items_reserved),
        .bytes_reserved = wi_read(&s->bytes_reserved),
        .items_ended_twice = wi_read(&s->items_ended_twice),
    };
}

/* ---- How many loops ---- */

int wi_allowed_cpu(uint32_t index)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET((size_t)cpu, &set) && index-- == 0)
            return cpu;
    return 0;
}

static uint32_t cgroup_cpus(void)
{
    long long quota = 0, period = 0;
    uint32_t cpus = UINT32_MAX;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (file == NULL)
        return cpus;
    if (fscanf(file, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0)
        cpus = (uint32_t)((quota + period - 1) / period);
    fclose(file);
    return cpus;
}

uint32_t weir_loops_default(void)
{
    cpu_set_t set;
    uint32_t cpus = 1, quota = cgroup_cpus();
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cpus = (uint32_t)CPU_COUNT(&set);
    if (quota < cpus)
        cpus = quota;
    return cpus < 1 ? 1 : cpus > WI_LOOPS_MAX ? WI_LOOPS_MAX : cpus;
}
