/* How calls pass a circuit, and what their ends do to it; closed, it costs a call two loads and a
 * count of its own. */
#include "circuit_state.h"
#include "circuit_window.h"

static uint64_t now_of(const weir_stage *stage)
{
    return weir_loop_now(weir_stage_loop(stage));
}

static bool is_in(const wi_circuit *c, uint64_t era, weir_breaker_state state)
{
    return atomic_load(&c->word) == (era << 2 | (uint64_t)state);
}

/* ---- Beginning ---- */

/* Under the lock, when the circuit may not be closed: moves on if its time has come. */
static uint64_t places(wi_circuit *c, weir_stage *stage, uint64_t *ret_wait_ns)
{
    wi_circuit_look_at_time(c, stage);
    weir_breaker_state state = wi_state_of(atomic_load(&c->word));
    if (state == WEIR_BREAKER_CLOSED)
        return UINT64_MAX;
    uint32_t gone = c->probes_out + c->probed;
    if (state == WEIR_BREAKER_HALF_OPEN && gone < c->config.probes)
        return c->config.probes - gone;
    *ret_wait_ns = atomic_load(&c->until_ns) - now_of(stage);
    return 0;
}

uint64_t wi_circuit_begin(wi_circuit *c, weir_stage *stage, uint64_t most, uint64_t *ret_era,
                          uint64_t *ret_wait_ns)
{
    uint64_t word = atomic_load_explicit(&c->word, memory_order_acquire), n = most;
    if (wi_state_of(word) != WEIR_BREAKER_CLOSED) {
        pthread_mutex_lock(&c->lock);
        n = places(c, stage, ret_wait_ns);
        n = n < most ? n : most;
        word = atomic_load(&c->word);
        if (ret_era != NULL && wi_state_of(word) == WEIR_BREAKER_HALF_OPEN)
            c->probes_out += (uint32_t)n;
        pthread_mutex_unlock(&c->lock);
    }
    if (ret_era != NULL)
        *ret_era = wi_era_of(word);
    return n;
}

/* ---- Ending ---- */

static bool is_over(uint64_t part, uint32_t percent, uint64_t whole)
{
    return part != 0 && part * 100 >= percent * whole;
}

/* Decided as soon as the rest of the probes cannot change it. */
static void probe_ended(wi_circuit *c, weir_stage *stage, wi_verdict verdict, bool slow)
{
    c->probes_out--;
    if (verdict == WI_CALL_IGNORED) { /* its place is for another */
        wi_waiters_wake(&c->waiters, false);
        return;
    }
    c->probed++;
    c->probe_failed += verdict == WI_CALL_FAILED;
    c->probe_slow += slow;
    if (is_over(c->probe_failed, c->config.failure_percent, c->config.probes))
        wi_circuit_trip(c, stage, "the probes fail");
    else if (is_over(c->probe_slow, c->config.slow_percent, c->config.probes))
        wi_circuit_trip(c, stage, "the probes are slow");
    else if (c->probed >= c->config.probes)
        wi_circuit_restore(c, stage);
}

/* More good ends never raise the rate, but they make it one that counts. */
static void judge(wi_circuit *c, weir_stage *stage, uint64_t era)
{
    wi_circuit_sums sums = wi_circuit_sum(c, era, now_of(stage));
    bool too_few = sums.calls < c->config.calls_min;
    atomic_store(&c->is_doubtful, too_few && sums.failed + sums.slow != 0);
    if (too_few)
        return;
    if (is_over(sums.failed, c->config.failure_percent, sums.calls))
        wi_circuit_trip(c, stage, "too many calls fail");
    else if (is_over(sums.slow, c->config.slow_percent, sums.calls))
        wi_circuit_trip(c, stage, "too many calls are slow");
}

/* One by one, unless nothing has to be judged: gives how many are through. */
static uint64_t some_ended(wi_circuit *c, weir_stage *stage, uint64_t n, uint64_t era,
                           wi_verdict verdict, bool slow)
{
    uint64_t word = atomic_load_explicit(&c->word, memory_order_acquire);
    if (wi_era_of(word) != era)
        return n; /* of before the last change: too late to tell anything */
    if (wi_state_of(word) == WEIR_BREAKER_CLOSED) {
        if (verdict == WI_CALL_IGNORED)
            return n;
        bool is_harmless = verdict == WI_CALL_GOOD && !slow &&
                           !atomic_load_explicit(&c->is_doubtful, memory_order_relaxed);
        n = is_harmless ? n : 1;
        wi_circuit_add(c, weir_stage_replica(stage), era, now_of(stage), n,
                       verdict == WI_CALL_FAILED, slow);
        if (is_harmless)
            return n;
    }
    pthread_mutex_lock(&c->lock);
    if (is_in(c, era, WEIR_BREAKER_HALF_OPEN))
        probe_ended(c, stage, verdict, slow);
    else if (is_in(c, era, WEIR_BREAKER_CLOSED))
        judge(c, stage, era);
    pthread_mutex_unlock(&c->lock);
    return 1;
}

void wi_circuit_ended(wi_circuit *c, weir_stage *stage, uint64_t n, uint64_t era,
                      wi_verdict verdict, uint64_t took_ns)
{
    bool slow = took_ns > atomic_load_explicit(&c->slow_ns, memory_order_relaxed);
    while (n > 0)
        n -= some_ended(c, stage, n, era, verdict, slow);
}

void wi_circuit_stats(wi_circuit *c, weir_breaker_stats *ret_stats)
{
    pthread_mutex_lock(&c->lock);
    uint64_t word = atomic_load(&c->word);
    wi_circuit_sums sums = wi_circuit_sum(c, wi_era_of(word), 0);
    *ret_stats = (weir_breaker_stats){ .state = wi_state_of(word),
                                       .opened = atomic_load(&c->opened),
                                       .calls = sums.calls,
                                       .failed = sums.failed,
                                       .slow = sums.slow };
    if (wi_state_of(word) == WEIR_BREAKER_HALF_OPEN) {
        ret_stats->calls = c->probed;
        ret_stats->failed = c->probe_failed;
        ret_stats->slow = c->probe_slow;
    }
    pthread_mutex_unlock(&c->lock);
}
