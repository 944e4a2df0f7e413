/* The states of a circuit, and its ways from one to another. */
#include "circuit_state.h"

static uint64_t now_of(const weir_stage *stage)
{
    return weir_loop_now(weir_stage_loop(stage));
}

/* A new era, under the lock: what began before counts no more. */
static void enter(wi_circuit *c, weir_breaker_state state)
{
    atomic_store(&c->is_doubtful, false);
    atomic_store(&c->word, (wi_era_of(atomic_load(&c->word)) + 1) << 2 | (uint64_t)state);
    c->probes_out = c->probed = c->probe_failed = c->probe_slow = 0;
    wi_waiters_wake(&c->waiters, true);
}

/* Doubled for each time in a row, with up to a tenth by chance, or all clients come back at once.
 */
void wi_circuit_trip(wi_circuit *c, weir_stage *stage, const char *why)
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

void wi_circuit_restore(wi_circuit *c, weir_stage *stage)
{
    c->in_a_row = 0;
    weir_log(c->env, WEIR_LOG_INFO, "%s: the circuit is closed again", weir_stage_name(stage));
    enter(c, WEIR_BREAKER_CLOSED);
}

void wi_circuit_look_at_time(wi_circuit *c, weir_stage *stage)
{
    weir_breaker_state state = wi_state_of(atomic_load(&c->word));
    if (now_of(stage) < atomic_load(&c->until_ns))
        return;
    if (state == WEIR_BREAKER_OPEN)
        try_half(c, stage);
    else if (state == WEIR_BREAKER_HALF_OPEN)
        wi_circuit_trip(c, stage, "the probes do not come back");
}

/* ---- Making ---- */

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
