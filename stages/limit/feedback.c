/* Permits whose number follows the time that items take. A replica counts for itself; the one that
 * finds the window over takes in what all have counted. */
#include "feedback.h"

enum { SAMPLES_MIN = 10 };

wi_feedback *wi_feedback_new(const weir_env *env, const wi_gradient *gradient, uint64_t window_ns,
                             uint32_t replicas)
{
    wi_feedback *s = weir_memory_new(env, sizeof *s + replicas * sizeof *s->tallies);
    if (s == NULL)
        return NULL;
    s->gradient = *gradient;
    s->window_ns = window_ns;
    s->replicas = replicas;
    if (wi_permits_init(&s->permits, env, (uint64_t)gradient->limit) != WEIR_OK)
        goto fail_permits;
    if (pthread_mutex_init(&s->lock, NULL) != 0)
        goto fail_lock;
    return s;
fail_lock:
    wi_permits_done(&s->permits);
fail_permits:
    weir_memory_free(env, s);
    return NULL;
}

void wi_feedback_free(wi_feedback *s)
{
    pthread_mutex_destroy(&s->lock);
    wi_permits_done(&s->permits);
    weir_memory_free(s->permits.env, s);
}

static void add(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t was = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, was + n, memory_order_relaxed);
}

void wi_feedback_took(wi_feedback *s, uint32_t replica, uint64_t n, uint64_t took_ns)
{
    add(&s->tallies[replica].time_ns, n * took_ns);
    add(&s->tallies[replica].n, n);
}

void wi_feedback_lost(wi_feedback *s, uint32_t replica, uint64_t n)
{
    add(&s->tallies[replica].lost, n);
}

/* The window's figures, if there are enough of them. */
static bool take_in(wi_feedback *s, wi_gradient_window *ret_window)
{
    uint64_t time = 0, n = 0, lost = 0, peak = 0;
    for (uint32_t i = 0; i < s->replicas; i++) {
        uint64_t most = atomic_load(&s->tallies[i].peak);
        peak = most > peak ? most : peak;
        time += atomic_load(&s->tallies[i].time_ns);
        n += atomic_load(&s->tallies[i].n);
        lost += atomic_load(&s->tallies[i].lost);
    }
    uint64_t fresh = n - s->n_seen;
    *ret_window = (wi_gradient_window){ .time = (double)(time - s->time_seen + 1) / (double)fresh,
                                        .n = fresh,
                                        .lost = lost - s->lost_seen,
                                        .peak = peak };
    if (fresh + ret_window->lost < SAMPLES_MIN)
        return false;
    s->time_seen = time;
    s->n_seen = n;
    s->lost_seen = lost;
    for (uint32_t i = 0; i < s->replicas; i++)
        atomic_store(&s->tallies[i].peak, 0);
    return true;
}

static void step(wi_feedback *s, weir_loop *loop)
{
    wi_gradient_window window;
    if (pthread_mutex_trylock(&s->lock) != 0)
        return; /* another replica does it */
    uint64_t now = weir_loop_now(loop), limit = atomic_load(&s->permits.limit);
    if (now >= atomic_load(&s->step_at) && take_in(s, &window)) {
        window.jitter = (uint32_t)weir_loop_entropy(loop);
        limit = (uint64_t)wi_gradient_step(&s->gradient, &window);
        atomic_store(&s->step_at, now + s->window_ns);
        if (window.n != 0)
            atomic_store(&s->time_ns, (uint64_t)window.time);
        atomic_store(&s->baseline_ns, (uint64_t)s->gradient.baseline);
        wi_permits_set(&s->permits, limit);
    }
    pthread_mutex_unlock(&s->lock);
}

void wi_feedback_settle(wi_feedback *s, uint32_t replica, weir_loop *loop)
{
    wi_tally *t = &s->tallies[replica];
    uint64_t used = atomic_load(&s->permits.used);
    if (used > atomic_load_explicit(&t->peak, memory_order_relaxed))
        atomic_store_explicit(&t->peak, used, memory_order_relaxed);
    if (weir_loop_now(loop) >= atomic_load_explicit(&s->step_at, memory_order_relaxed))
        step(s, loop);
}
