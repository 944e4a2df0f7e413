/* The testkit's loops, time and memory: everything the kit's env hands to weir. */
#include "testkit_private.h"

#include <assert.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { SETTLE_ROUNDS_MAX = 100000 };

/* In front of every block, so that a free knows what it gives back. */
typedef union block_head {
    size_t bytes;
    max_align_t aligned;
} block_head;

uint64_t wi_kit_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static bool allocation_fails(weir_testkit *kit)
{
    uint64_t nth = atomic_fetch_add(&kit->allocations, 1) + 1;
    if (kit->walk != NULL && weir_testkit_walk_fails(kit->walk))
        return true;
    return atomic_load(&kit->fail_all) || nth == atomic_load(&kit->fail_at) ||
           wi_kit_fault(kit, WEIR_FAULT_ALLOCATION);
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

weir_testkit *wi_sim_kit_of(const weir_env *env)
{
    return env != NULL && env->allocator.resize == kit_resize ? env->allocator.user : NULL;
}

static uint64_t kit_now(void *user)
{
    return ((weir_testkit *)user)->now_ns;
}

static uint64_t kit_entropy(void *user)
{
    return wi_kit_random(&((weir_testkit *)user)->random);
}

static void kit_log(weir_log_level level, const char *line, void *user)
{
    (void)level;
    wi_kit_tell(user, "log: %s", line);
}

static weir_testkit *kit_new(const weir_testkit_config *config, bool reports)
{
    uint32_t loops = config->loops != 0 ? config->loops : 1;
    if (loops > WEIR_TESTKIT_LOOPS_MAX)
        return NULL;
    weir_testkit *kit = calloc(1, sizeof *kit);
    if (kit == NULL)
        return NULL;
    kit->config = *config;
    kit->reports = reports;
    kit->env = (weir_env){ .allocator = { .resize = kit_resize, .user = kit },
                           .now_ns = kit_now,
                           .entropy = kit_entropy,
                           .log = config->log != NULL ? kit_log : NULL,
                           .user = kit };
    kit->now_ns = WEIR_SEC;
    kit->random = config->seed;
    kit->choices = ~config->seed;
    for (; kit->loop_count < loops; kit->loop_count++) {
        weir_loop *loop =
            weir_loop_new(&(weir_loop_config){ .env = &kit->env, .is_virtual = true });
        if (loop == NULL)
            goto fail_loops;
        loop->kit = kit;
        kit->loops[kit->loop_count] = loop;
    }
    wi_walk_joined(kit);
    return kit;

fail_loops:
    (void)weir_testkit_free(kit);
    return NULL;
}

weir_testkit *weir_testkit_new(uint32_t loops, uint64_t seed)
{
    return loops != 0 ? kit_new(&(weir_testkit_config){ .loops = loops, .seed = seed }, false)
                      : NULL;
}

weir_testkit *weir_testkit_new_with(const weir_testkit_config *config)
{
    static const weir_testkit_config none;
    return kit_new(config != NULL ? config : &none, true);
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
    wi_kit_unwatch_all(kit);
    size_t leaked = atomic_load(&kit->bytes);
    wi_walk_left(kit, leaked);
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
    if (status != WEIR_OK)
        return status;
    /* Nothing has run yet. Without memory to watch it, it runs unwatched. */
    (void)wi_kit_watch(kit, pipeline);
    kit->is_armed = true;
    (void)weir_testkit_settle(kit);
    return WEIR_OK;
}

/* All loops in a row, beginning anywhere, until none did anything. */
static bool settle_in_rounds(weir_testkit *kit)
{
    const uint32_t count = kit->loop_count;
    assert(count > 0);
    for (uint32_t round = 0; round < SETTLE_ROUNDS_MAX; round++) {
        uint32_t first = (uint32_t)(wi_kit_random(&kit->random) % count);
        bool did = false;
        for (uint32_t i = 0; i < count; i++)
            did |= weir_loop_turn(kit->loops[(first + i) % count]);
        if (!did)
            return true;
    }
    return false;
}

static bool is_awake(const weir_testkit *kit, uint32_t index)
{
    weir_loop *loop = kit->loops[index];
    return !atomic_load(&loop->sleeping) || loop->ready_head != NULL || loop->owed != NULL ||
           loop->defer_head != NULL || loop->ended_head != NULL || loop->dirty_in != NULL ||
           loop->dirty_out != NULL || loop->sent_dirty ||
           (wi_timers_due(loop, kit->now_ns) && !kit->stalls[index].is_late);
}

/* A turn of the size that the seed says. What sleeps afterwards wakes by a bell, or by a timer. */
static void turn_one(weir_testkit *kit, uint32_t index)
{
    weir_loop *loop = kit->loops[index];
    loop->config.vector_max = 1 + (uint32_t)wi_kit_choose(kit, WI_VECTOR_MAX);
    loop->config.turn_items_max = WI_VECTOR_MAX << wi_kit_choose(kit, 7);
    kit->steers = true;
    (void)weir_loop_turn(loop);
    kit->steers = false;
    atomic_store(&loop->sleeping, !wi_loop_has_work(loop));
}

/* One of the loops that are awake at a time. */
static bool settle_by_choice(weir_testkit *kit)
{
    uint32_t awake[WEIR_TESTKIT_LOOPS_MAX], stalled;
    for (uint32_t i = 0; i < kit->loop_count; i++)
        kit->stalls[i].is_late = false;
    for (uint32_t turns = 0; turns < SETTLE_ROUNDS_MAX && kit->violations == 0; turns++) {
        uint32_t n = 0;
        stalled = 0;
        for (uint32_t i = 0; i < kit->loop_count; i++) {
            if (kit->stalls[i].turns > 0 && kit->stalls[i].turns-- > 0)
                stalled++;
            else if (is_awake(kit, i))
                awake[n++] = i;
        }
        if (n == 0 && stalled == 0)
            return true;
        if (n == 0)
            continue;
        uint32_t index = awake[wi_kit_choose(kit, n)];
        if (wi_kit_fault(kit, WEIR_FAULT_LOOP_STALL))
            kit->stalls[index].turns = 1 + (uint32_t)wi_kit_choose(kit, 100);
        else
            turn_one(kit, index);
    }
    return false;
}

bool weir_testkit_settle(weir_testkit *kit)
{
    bool settled = kit->config.shuffle ? settle_by_choice(kit) : settle_in_rounds(kit);
    if (settled)
        wi_kit_check_settled(kit);
    else if (kit->violations == 0)
        wi_kit_violated(kit, "the loops did not settle in %d turns", SETTLE_ROUNDS_MAX);
    return settled && (!kit->config.shuffle || kit->violations == 0);
}

bool weir_testkit_advance(weir_testkit *kit, uint64_t ns)
{
    bool settled = weir_testkit_settle(kit);
    kit->now_ns = weir_credit_add(kit->now_ns, ns);
    if (wi_kit_fault(kit, WEIR_FAULT_CLOCK_JUMP))
        kit->now_ns += wi_kit_choose(kit, 10 * WEIR_SEC);
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
    weir_probe *probes = wi_probes_new(kit, kit->loop_count, kit->probes);
    if (probes != NULL)
        kit->probes = probes;
    return probes;
}
