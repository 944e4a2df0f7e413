/* A token bucket that any number of threads may take from. */
#include "bucket.h"

enum { TICKS_PER_NS = 64 };

static const uint64_t ticks_max = UINT64_C(1) << 61;

/* Its pace, read once: it may change meanwhile. */
typedef struct pace {
    uint64_t token_ticks, burst_ticks;
} pace;

static pace pace_of(const wi_bucket *b)
{
    return (pace){ atomic_load_explicit(&b->token_ticks, memory_order_relaxed),
                   atomic_load_explicit(&b->burst_ticks, memory_order_relaxed) };
}

/* How long `tokens` take to come. Saturates far beyond what a clock can reach. */
static uint64_t ticks_of(pace p, uint64_t tokens)
{
    return tokens < ticks_max / p.token_ticks ? tokens * p.token_ticks : ticks_max;
}

static pace pace_for(uint64_t rate, uint64_t period_ns, uint64_t burst)
{
    pace p = { .token_ticks = (period_ns * TICKS_PER_NS + rate - 1) / rate }; /* never too fast */
    p.burst_ticks = ticks_of(p, burst);
    return p;
}

static void set_pace(wi_bucket *b, pace p)
{
    atomic_store_explicit(&b->token_ticks, p.token_ticks, memory_order_relaxed);
    atomic_store_explicit(&b->burst_ticks, p.burst_ticks, memory_order_relaxed);
}

void wi_bucket_init(wi_bucket *b, uint64_t rate, uint64_t period_ns, uint64_t burst)
{
    atomic_init(&b->full_at, 0);
    set_pace(b, pace_for(rate, period_ns, burst));
}

void wi_bucket_change(wi_bucket *b, uint64_t rate, uint64_t period_ns, uint64_t burst,
                      uint64_t now_ns)
{
    uint64_t now = now_ns * TICKS_PER_NS, full_at, next;
    pace old = pace_of(b), fresh = pace_for(rate, period_ns, burst);
    set_pace(b, fresh);
    full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    do {
        uint64_t missing = full_at > now ? full_at - now : 0;
        uint64_t tokens = missing / old.token_ticks + (missing % old.token_ticks != 0);
        next = now + ticks_of(fresh, tokens);
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, next,
                                                    memory_order_relaxed, memory_order_relaxed));
}

uint64_t wi_bucket_take(wi_bucket *b, uint64_t tokens, uint64_t now_ns)
{
    pace p = pace_of(b);
    uint64_t now = now_ns * TICKS_PER_NS, cost = ticks_of(p, tokens);
    uint64_t needed = cost < p.burst_ticks ? cost : p.burst_ticks;
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed), from;
    if (tokens == 0)
        return 0;
    do {
        from = full_at > now ? full_at : now;
        uint64_t ahead = from - now + needed;
        if (ahead > p.burst_ticks)
            return (ahead - p.burst_ticks + TICKS_PER_NS - 1) / TICKS_PER_NS;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, from + cost,
                                                    memory_order_relaxed, memory_order_relaxed));
    return 0;
}

/* Whole tokens there are, with `missing` ticks until the bucket is full. */
static uint64_t tokens_at(pace p, uint64_t missing)
{
    return missing < p.burst_ticks ? (p.burst_ticks - missing) / p.token_ticks : 0;
}

uint64_t wi_bucket_look(const wi_bucket *b, uint64_t most, uint64_t now_ns, uint64_t *ret_wait_ns)
{
    pace p = pace_of(b);
    uint64_t now = now_ns * TICKS_PER_NS;
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    uint64_t missing = full_at > now ? full_at - now : 0, tokens = tokens_at(p, missing);
    if (tokens == 0) /* so more than burst less a token is missing */
        *ret_wait_ns = (missing + p.token_ticks - p.burst_ticks + TICKS_PER_NS - 1) / TICKS_PER_NS;
    return tokens < most ? tokens : most;
}

uint64_t wi_bucket_take_some(wi_bucket *b, uint64_t most, uint64_t now_ns)
{
    pace p = pace_of(b);
    uint64_t now = now_ns * TICKS_PER_NS, n, from;
    uint64_t full_at = atomic_load_explicit(&b->full_at, memory_order_relaxed);
    do {
        from = full_at > now ? full_at : now;
        n = tokens_at(p, from - now);
        n = n < most ? n : most;
        if (n == 0)
            return 0;
    } while (!atomic_compare_exchange_weak_explicit(&b->full_at, &full_at, from + n * p.token_ticks,
                                                    memory_order_relaxed, memory_order_relaxed));
    return n;
}
