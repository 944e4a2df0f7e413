/* The states of a circuit breaker; closed, it costs a call two loads and a count of its own. */
#include "circuit.h"

#include "circuit_window.h"

static uint64_t now_of(const weir_stage *stage)
{
    return weir_loop_now(weir_stage_loop(stage));
}

static uint64_t era_of(uint64_t word)
{
    return word >> 2;
}

static weir_breaker_state state_of(uint64_t word)
{
    return (weir_breaker_state)(word & 3);
}

static bool is_in(const wi_circuit *c, uint64_t era, weir_breaker_state state)
{
    return atomic_load(&c->word) == (era << 2 | (uint64_t)state);
}

/* A new era, under the lock: what began before counts no more. */
static void enter(wi_circuit *c, weir_breaker_state state)
{
    atomic_store(&c->is_doubtful, false);
    atomic_store(&c->word, (era_of(atomic_load(&c->word)) + 1) << 2 | (uint64_t)state);
    c->probes_out = c->probed = c->probe_failed = c->probe_slow = 0;
    wi_waiters_wake(&c->waiters, true);
}

/* Doubled for each time in a row, with up to a tenth by chance, or all clients come back at once.
 */
static void trip(wi_circuit *c, weir_stage *stage, const char *why)
{
    uint64_t ms = c->config.open_ms;
    for (uint32_t i = 0; i < c->in_a_row && ms < c->config.open_ms_max; i++)
        ms *= 2;
    ms = ms < c->config.open_ms_max ? ms : c->config.open_ms_max;
    uint64_t ns = ms * WEIR_MS;
    ns += weir_loop_entropy(weir_stage_loop(stage)) % (ns / 10 + 1);
    c->in_a_row++;
    atomic_fetch_add(&c->opened, 1);
    atomic_store(&c->until_ns, now_of(stage) + ns);
    weir_log(c->env, WEIR_LOG_WARN, "%s: the circuit opens for %llu ms: %s", weir_stage_name(stage),
             (unsigned long long)(ns / WEIR_MS), why);
    enter(c, WEIR_BREAKER_OPEN);
}

static void try_half(wi_circuit *c, weir_stage *stage)
{
    atomic_store(&c->until_ns, now_of(stage) + c->config.probe_ms * WEIR_MS);
    weir_log(c->env, WEIR_LOG_INFO, "%s: the circuit is half open", weir_stage_name(stage));
    enter(c, WEIR_BREAKER_HALF_OPEN);
}

static void restore(wi_circuit *c, weir_stage *stage)
{
    c->in_a_row = 0;
    weir_log(c->env, WEIR_LOG_INFO, "%s: the circuit is closed again", weir_stage_name(stage));
    enter(c, WEIR_BREAKER_CLOSED);
}

void wi_circuit_change(wi_circuit *c, const weir_breaker_config *config)
{
    pthread_mutex_lock(&c->lock);
    c->config = *config;
    atomic_store(&c->failures, config->failures);
    atomic_store(&c->slow_ns, config->slow_ms != 0 ? config->slow_ms * WEIR_MS : UINT64_MAX);
    pthread_mutex_unlock(&c->lock);
}

wi_circuit *wi_circuit_new(const weir_env *env, const weir_breaker_config *config,
                           uint32_t replicas)
{
    wi_circuit *c = weir_memory_new(env, sizeof *c + replicas * sizeof *c->tallies);
    if (c == NULL)
        return NULL;
    c->env = env;
    c->replicas = replicas;
    c->block_calls = (config->window_calls + WI_CIRCUIT_PARTS - 1) / WI_CIRCUIT_PARTS;
    c->block_share = (c->block_calls + replicas - 1) / replicas;
    c->block_ns = config->window_ms * WEIR_MS / WI_CIRCUIT_PARTS;
    atomic_init(&c->word, 1 << 2 | WEIR_BREAKER_CLOSED);
    if (wi_waiters_init(&c->waiters) != WEIR_OK)
        goto fail_waiters;
    if (pthread_mutex_init(&c->lock, NULL) != 0)
        goto fail_lock;
    wi_circuit_change(c, config);
    return c;
fail_lock:
    wi_waiters_done(&c->waiters);
fail_waiters:
    weir_memory_free(env, c);
    return NULL;
}

void wi_circuit_free(wi_circuit *c)
{
    pthread_mutex_destroy(&c->lock);
    wi_waiters_done(&c->waiters);
    weir_memory_free(c->env, c);
}

/* ---- Beginning ---- */

/* Under the lock, when the circuit may not be closed: moves on if its time has come. */
static uint64_t places(wi_circuit *c, weir_stage *stage, uint64_t *ret_wait_ns)
{
    uint64_t now = now_of(stage);
    if (now >= atomic_load(&c->until_ns)) {
        if (state_of(atomic_load(&c->word)) == WEIR_BREAKER_OPEN)
            try_half(c, stage);
        else if (state_of(atomic_load(&c->word)) == WEIR_BREAKER_HALF_OPEN)
            trip(c, stage, "the probes do not come back");
    }
    weir_breaker_state state = state_of(atomic_load(&c->word));
    if (state == WEIR_BREAKER_CLOSED)
        return UINT64_MAX;
    uint32_t gone = c->probes_out + c->probed;
    if (state == WEIR_BREAKER_HALF_OPEN && gone < c->config.probes)
        return c->config.probes - gone;
    *ret_wait_ns = atomic_load(&c->until_ns) - now;
    return 0;
}

uint64_t wi_circuit_begin(wi_circuit *c, weir_stage *stage, uint64_t most, uint64_t *ret_era,
                          uint64_t *ret_wait_ns)
{
    uint64_t word = atomic_load_explicit(&c->word, memory_order_acquire), n = most;
    if (state_of(word) != WEIR_BREAKER_CLOSED) {
        pthread_mutex_lock(&c->lock);
        n = places(c, stage, ret_wait_ns);
        n = n < most ? n : most;
        word = atomic_load(&c->word);
        if (ret_era != NULL && state_of(word) == WEIR_BREAKER_HALF_OPEN)
            c->probes_out += (uint32_t)n;
        pthread_mutex_unlock(&c->lock);
    }
    if (ret_era != NULL)
        *ret_era = era_of(word);
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
        trip(c, stage, "the probes fail");
    else if (is_over(c->probe_slow, c->config.slow_percent, c->config.probes))
        trip(c, stage, "the probes are slow");
    else if (c->probed >= c->config.probes)
        restore(c, stage);
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
        trip(c, stage, "too many calls fail");
    else if (is_over(sums.slow, c->config.slow_percent, sums.calls))
        trip(c, stage, "too many calls are slow");
}

/* One by one, unless nothing has to be judged: gives how many are through. */
static uint64_t some_ended(wi_circuit *c, weir_stage *stage, uint64_t n, uint64_t era,
                           wi_verdict verdict, bool slow)
{
    uint64_t word = atomic_load_explicit(&c->word, memory_order_acquire);
    if (era_of(word) != era)
        return n; /* of before the last change: too late to tell anything */
    if (state_of(word) == WEIR_BREAKER_CLOSED) {
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
    wi_circuit_sums sums = wi_circuit_sum(c, era_of(word), 0);
    *ret_stats = (weir_breaker_stats){ .state = state_of(word),
                                       .opened = atomic_load(&c->opened),
                                       .calls = sums.calls,
                                       .failed = sums.failed,
                                       .slow = sums.slow };
    if (state_of(word) == WEIR_BREAKER_HALF_OPEN) {
        ret_stats->calls = c->probed;
        ret_stats->failed = c->probe_failed;
        ret_stats->slow = c->probe_slow;
    }
    pthread_mutex_unlock(&c->lock);
}
