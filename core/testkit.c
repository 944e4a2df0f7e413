/* The testkit's loops, time and memory: everything the kit's env hands to weir. */
#include <weir/testkit.h>

#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "testkit_private.h"

enum { SETTLE_ROUNDS_MAX = 100000 };

/* In front of every block, so that a free knows what it gives back. */
typedef union block_head {
    size_t bytes;
    max_align_t aligned;
} block_head;

struct weir_testkit {
    weir_env env;
    uint64_t now_ns, random;
    uint32_t loop_count;
    weir_loop *loops[WEIR_TESTKIT_LOOPS_MAX];
    weir_probe *probes; /* a list of arrays, one probe per loop */
    /* Offload threads allocate too. */
    _Atomic size_t bytes;
    _Atomic uint64_t allocations, fail_at;
    atomic_bool fail_all;
};

/* splitmix64: https://prng.di.unimi.it/splitmix64.c */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool allocation_fails(weir_testkit *kit)
{
    uint64_t nth = atomic_fetch_add(&kit->allocations, 1) + 1;
    return atomic_load(&kit->fail_all) || nth == atomic_load(&kit->fail_at);
}

static void *kit_resize(void *memory, size_t bytes, void *user)
{
    weir_testkit *kit = user;
    block_head *old = memory != NULL ? (block_head *)memory - 1 : NULL;
    size_t old_bytes = old != NULL ? old->bytes : 0;
    if (bytes == 0) {
        free(old);
        atomic_fetch_sub(&kit->bytes, old_bytes);
        return NULL;
    }
    if (allocation_fails(kit) || bytes > SIZE_MAX - sizeof(block_head))
        return NULL;
    block_head *head = realloc(old, sizeof *head + bytes);
    if (head == NULL)
        return NULL;
    head->bytes = bytes;
    atomic_fetch_add(&kit->bytes, bytes - old_bytes); /* may wrap, and wraps back */
    return head + 1;
}

static uint64_t kit_now(void *user)
{
    return ((weir_testkit *)user)->now_ns;
}

static uint64_t kit_entropy(void *user)
{
    return next_random(&((weir_testkit *)user)->random);
}

weir_testkit *weir_testkit_new(uint32_t loops, uint64_t seed)
{
    if (loops == 0 || loops > WEIR_TESTKIT_LOOPS_MAX)
        return NULL;
    weir_testkit *kit = calloc(1, sizeof *kit);
    if (kit == NULL)
        return NULL;
    kit->env = (weir_env){ .allocator = { .resize = kit_resize, .user = kit },
                           .now_ns = kit_now,
                           .entropy = kit_entropy,
                           .user = kit };
    kit->now_ns = WEIR_SEC;
    kit->random = seed;
    for (; kit->loop_count < loops; kit->loop_count++) {
        weir_loop *loop =
            weir_loop_new(&(weir_loop_config){ .env = &kit->env, .is_virtual = true });
        if (loop == NULL)
            goto fail_loops;
        kit->loops[kit->loop_count] = loop;
    }
    return kit;

fail_loops:
    (void)weir_testkit_free(kit);
    return NULL;
}

size_t weir_testkit_free(weir_testkit *kit)
{
    if (kit == NULL)
        return 0;
    for (uint32_t i = 0; i < kit->loop_count; i++)
        weir_loop_free(kit->loops[i]);
    while (kit->probes != NULL) {
        weir_probe *next = wi_probes_next(kit->probes);
        wi_probes_free(kit->probes, kit->loop_count);
        kit->probes = next;
    }
    size_t leaked = atomic_load(&kit->bytes);
    free(kit);
    return leaked;
}

const weir_env *weir_testkit_env(const weir_testkit *kit)
{
    return &kit->env;
}

weir_loop *weir_testkit_loop(const weir_testkit *kit, uint32_t index)
{
    return index < kit->loop_count ? kit->loops[index] : NULL;
}

uint64_t weir_testkit_now(const weir_testkit *kit)
{
    return kit->now_ns;
}

weir_pipeline *weir_testkit_pipeline(weir_testkit *kit)
{
    return weir_pipeline_new(&(weir_pipeline_config){ .name = "testkit", .env = &kit->env });
}

weir_status weir_testkit_start(weir_testkit *kit, weir_pipeline *pipeline)
{
    weir_status status = weir_pipeline_start(pipeline, kit->loops, kit->loop_count, NULL, NULL);
    if (status == WEIR_OK)
        (void)weir_testkit_settle(kit);
    return status;
}

bool weir_testkit_settle(weir_testkit *kit)
{
    for (uint32_t round = 0; round < SETTLE_ROUNDS_MAX; round++) {
        uint32_t first = (uint32_t)(next_random(&kit->random) % kit->loop_count);
        bool did = false;
        for (uint32_t i = 0; i < kit->loop_count; i++)
            did |= weir_loop_turn(kit->loops[(first + i) % kit->loop_count]);
        if (!did)
            return true;
    }
    return false;
}

bool weir_testkit_advance(weir_testkit *kit, uint64_t ns)
{
    bool settled = weir_testkit_settle(kit);
    kit->now_ns += ns;
    for (uint32_t i = 0; i < kit->loop_count; i++)
        (void)weir_loop_update_now(kit->loops[i]);
    return weir_testkit_settle(kit) && settled;
}

bool weir_testkit_advance_by(weir_testkit *kit, uint64_t ns, uint64_t step_ns)
{
    uint64_t step_max = step_ns != 0 ? step_ns : 1;
    bool settled = true;
    while (ns > 0) {
        uint64_t step = ns < step_max ? ns : step_max;
        settled &= weir_testkit_advance(kit, step);
        ns -= step;
    }
    return settled;
}

size_t weir_testkit_bytes(const weir_testkit *kit)
{
    return atomic_load(&kit->bytes);
}

uint64_t weir_testkit_allocations(const weir_testkit *kit)
{
    return atomic_load(&kit->allocations);
}

void weir_testkit_fail_allocation(weir_testkit *kit, uint64_t nth)
{
    atomic_store(&kit->fail_at, nth != 0 ? atomic_load(&kit->allocations) + nth : 0);
}

void weir_testkit_fail_all(weir_testkit *kit, bool fail)
{
    atomic_store(&kit->fail_all, fail);
}

weir_probe *weir_testkit_probe(weir_testkit *kit)
{
    weir_probe *probes = wi_probes_new(kit->loop_count, kit->probes);
    if (probes != NULL)
        kit->probes = probes;
    return probes;
}
