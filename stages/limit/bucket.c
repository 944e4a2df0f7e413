/* A token bucket that any number of threads may take from. */
#include "bucket.h"

enum { TICKS_PER_NS = 64 };

static const uint64_t ticks_max = UINT64_C(1) << 61;

/* How long `tokens` take to come. Saturates far beyond what a clock can reach. */
static uint64_t ticks_of(const wi_bucket *b, uint64_t tokens)
{
    return tokens < ticks_max / b->token_ticks ? tokens * b->token_ticks : ticks_max;
}

void wi_bucket_init(wi_bucket *b, uint64_t rate, uint64_t period_ns, uint64_t burst)
{
    atomic_init(&b->full_at, 0);
    b->token_ticks = (period_ns * TICKS_PER_NS + rate - 1) / rate; /* rounded up: never too fast */
    b->burst_ticks = ticks_of(b, burst);
}

uint64_t wi_bucket_take(wi_bucket *b, uint64_t tokens, uint64_t now_ns)
{
    uint64_t now = now_ns * TICKS_PER_NS, cost = ticks_of(b, tokens);
    uint64_t needed = cost < b->burst_ticks ? cost : b->burst_ticks;
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed), from;
    if (tokens == 0)
        return 0;
    do {
        from = full_at > now ? full_at : now;
        uint64_t ahead = from - now + needed;
        if (ahead > b->burst_ticks)
            return (ahead - b->burst_ticks + TICKS_PER_NS - 1) / TICKS_PER_NS;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, from + cost,
                                                    memory_order_relaxed, memory_order_relaxed));
    return 0;
}

/* Whole tokens there are, when the bucket will be full at `full_at`. */
static uint64_t tokens_at(const wi_bucket *b, uint64_t full_at, uint64_t now)
{
    uint64_t missing = full_at > now ? full_at - now : 0;
    return missing < b->burst_ticks ? (b->burst_ticks - missing) / b->token_ticks : 0;
}

uint64_t wi_bucket_look(const wi_bucket *b, uint64_t most, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    uint64_t now = now_ns * TICKS_PER_NS;
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    uint64_t tokens = tokens_at(b, full_at, now);
    if (tokens == 0) /* so it is not full: full_at lies ahead, by more than burst less a token */
        *ret_wait_ns = (full_at - now + b->token_ticks - b->burst_ticks + TICKS_PER_NS - 1) /
                       TICKS_PER_NS;
    return tokens < most ? tokens : most;
}

uint64_t wi_bucket_take_some(wi_bucket *b, uint64_t most, uint64_t now_ns)
{
    uint64_t now = now_ns * TICKS_PER_NS, n, from;
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    do {
        from = full_at > now ? full_at : now;
        n = tokens_at(b, full_at, now);
        n = n < most ? n : most;
        if (n == 0)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at,
                                                    from + n * b->token_ticks, memory_order_relaxed,
                                                    memory_order_relaxed));
    return n;
}
