/* Blocks for each replica, each of an epoch: of so much time, or of so many calls of all replicas.
 * A replica counts in its own, so that the good case shares nothing; sums are for the others. */
#include "circuit_window.h"

enum { EPOCH_BITS = 44 };

static uint64_t key_of(uint64_t era, uint64_t epoch)
{
    return era << EPOCH_BITS | (epoch & ((UINT64_C(1) << EPOCH_BITS) - 1));
}

static uint64_t epoch_at(const wi_circuit *c, uint64_t now_ns)
{
    if (c->block_ns != 0 && now_ns != 0)
        return now_ns / c->block_ns;
    return atomic_load_explicit(&c->epoch, memory_order_relaxed);
}

static uint64_t count(_Atomic uint64_t *counter, uint64_t n)
{
    uint64_t now = atomic_load_explicit(counter, memory_order_relaxed) + n;
    atomic_store_explicit(counter, now, memory_order_relaxed);
    return now;
}

static void add_block(const wi_circuit_block *b, wi_circuit_sums *sums)
{
    sums->calls += atomic_load_explicit(&b->calls, memory_order_relaxed);
    sums->failed += atomic_load_explicit(&b->failed, memory_order_relaxed);
    sums->slow += atomic_load_explicit(&b->slow, memory_order_relaxed);
}

/* The block is full when all replicas together have filled it: a replica looks when it has done its
 * share. */
static void turn_over(wi_circuit *c, uint64_t era, uint64_t epoch)
{
    wi_circuit_sums sums = { 0 };
    for (uint32_t r = 0; r < c->replicas; r++) {
        const wi_circuit_block *b = &c->tallies[r].blocks[epoch % WI_CIRCUIT_BLOCKS];
        if (atomic_load_explicit(&b->key, memory_order_acquire) == key_of(era, epoch))
            add_block(b, &sums);
    }
    if (sums.calls >= c->block_calls)
        (void)atomic_compare_exchange_strong(&c->epoch, &epoch, epoch + 1);
}

static void begin_block(wi_circuit *c, wi_circuit_block *b, uint64_t key, uint64_t epoch)
{
    atomic_store_explicit(&b->calls, 0, memory_order_relaxed);
    atomic_store_explicit(&b->failed, 0, memory_order_relaxed);
    atomic_store_explicit(&b->slow, 0, memory_order_relaxed);
    atomic_store_explicit(&b->key, key, memory_order_release);
    if (c->block_ns != 0)
        atomic_store_explicit(&c->epoch, epoch, memory_order_relaxed); /* for who has no time */
}

/* Adds as many of `n` as go into the block, or one; gives how many. */
static uint64_t add_some(wi_circuit *c, uint32_t replica, uint64_t era, uint64_t now_ns, uint64_t n,
                         bool failed, bool slow)
{
    uint64_t epoch = epoch_at(c, now_ns), key = key_of(era, epoch);
    wi_circuit_block *b = &c->tallies[replica].blocks[epoch % WI_CIRCUIT_BLOCKS];
    if (atomic_load_explicit(&b->key, memory_order_relaxed) != key)
        begin_block(c, b, key, epoch);
    if (c->block_ns == 0) {
        uint64_t has = atomic_load_explicit(&b->calls, memory_order_relaxed);
        uint64_t room = c->block_share > has ? c->block_share - has : 1;
        n = n < room ? n : room;
    }
    uint64_t calls = count(&b->calls, n);
    if (failed)
        (void)count(&b->failed, n);
    if (slow)
        (void)count(&b->slow, n);
    if (c->block_ns == 0 && calls >= c->block_share)
        turn_over(c, era, epoch);
    return n;
}

void wi_circuit_add(wi_circuit *c, uint32_t replica, uint64_t era, uint64_t now_ns, uint64_t n,
                    bool failed, bool slow)
{
    while (n > 0)
        n -= add_some(c, replica, era, now_ns, n, failed, slow);
}

/* Of time, the block that is being filled is the last tenth; of calls, it comes on top of the ten
 * that are full, so that there are never fewer than the window says. */
wi_circuit_sums wi_circuit_sum(wi_circuit *c, uint64_t era, uint64_t now_ns)
{
    wi_circuit_sums sums = { 0 };
    uint64_t epoch = epoch_at(c, now_ns);
    uint64_t n = c->block_ns != 0 ? WI_CIRCUIT_PARTS : WI_CIRCUIT_BLOCKS;
    for (uint32_t r = 0; r < c->replicas; r++)
        for (uint64_t i = 0; i < n && i <= epoch; i++) {
            uint64_t at = epoch - i;
            const wi_circuit_block *b = &c->tallies[r].blocks[at % WI_CIRCUIT_BLOCKS];
            if (atomic_load_explicit(&b->key, memory_order_acquire) == key_of(era, at))
                add_block(b, &sums);
        }
    return sums;
}
