/* Memory of HTTP sessions: what is freed is kept by size for the next, within a limit. */
#include "http_session_internal.h"

#include <assert.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif

/* Steps of 16 bytes up to 512, from there on 16 to each doubling up to 128 KiB; larger blocks are
 * not kept. */
enum {
    STEP = 16,
    STEPS_MAX = 512,
    STEPS = STEPS_MAX / STEP,
    DOUBLINGS = 8,
    CLASSES = STEPS + DOUBLINGS * 16,
    BLOCK_MAX = STEPS_MAX << DOUBLINGS,
    LARGE = CLASSES,
    RESERVED,
    SHARED,
    SLOT,
    RESERVE_BYTES = 4096,
    KEEP_DEFAULT = 4 * 1024 * 1024,
    MUCH_BYTES = 16 * 1024 * 1024
};

/* In front of each block. Eight bytes: nothing in here is aligned to more. */
typedef union block {
    uint64_t class;
    union block *next; /* of those kept */
} block;
_Static_assert(sizeof(block) == 8, "blocks are aligned to 8 behind their head");

struct weir_http_pool {
    weir_env env; /* this pool as an allocator */
    const weir_env *below;
    size_t kept, keep_max;
    size_t held, held_most; /* from below; the most since the last sweep */
    block *kept_of[CLASSES];
    block *shared; /* while somebody borrows it */
    size_t shared_bytes;
    uint32_t shared_live;
    uint32_t reserve_live;
    wi_http_slots slots[2]; /* of servers, of clients */
    size_t reserve_used;
    uint64_t reserve[RESERVE_BYTES / 8];
};

static unsigned class_of(size_t bytes)
{
    if (bytes <= STEPS_MAX)
        return bytes == 0 ? 0 : (unsigned)((bytes - 1) / STEP);
    if (bytes > BLOCK_MAX)
        return LARGE;
    unsigned log = 63 - (unsigned)__builtin_clzll(bytes - 1); /* 9…16 */
    return STEPS + (log - 9) * 16 + (unsigned)((bytes - 1) >> (log - 4) & 15);
}

static size_t class_bytes(unsigned class)
{
    if (class < STEPS)
        return (size_t)(class + 1) * STEP;
    unsigned above = class - STEPS, log = 9 + above / 16;
    return ((size_t)1 << log) + ((size_t)(above % 16 + 1) << (log - 4));
}

/* The size stands beside the class, as far as it fits. */
static uint64_t class_with(unsigned class, size_t size)
{
    return class | (uint64_t)(size < UINT32_MAX ? size : UINT32_MAX) << 32;
}

static size_t held_by(uint64_t class)
{
    return (size_t)(class >> 32);
}

static void hold(weir_http_pool *pool, uint64_t class)
{
    pool->held += held_by(class);
    if (pool->held > pool->held_most)
        pool->held_most = pool->held;
}

/* By itself, so that what is kept is taken without a frame on the stack. */
static __attribute__((noinline)) void *take_new(weir_http_pool *pool, unsigned class, size_t size)
{
    if (size > SIZE_MAX - sizeof(block))
        return NULL;
    block *b = weir_memory_resize(pool->below, NULL, sizeof *b + size);
    if (b == NULL)
        return NULL;
    b->class = class_with(class, size);
    hold(pool, b->class);
    return b + 1;
}

void *wi_http_pool_take(weir_http_pool *pool, size_t bytes)
{
    unsigned class = class_of(bytes);
    size_t size = class == LARGE ? bytes : class_bytes(class);
    block *b = class < CLASSES ? pool->kept_of[class] : NULL;
    if (b == NULL)
        return take_new(pool, class, size);
    pool->kept_of[class] = b->next;
    pool->kept -= size;
    b->class = class_with(class, size);
    return b + 1;
}

void *wi_http_pool_take_reserve(weir_http_pool *pool, size_t bytes)
{
    size_t rounded = ((bytes + 7) & ~(size_t)7) + sizeof(block);
    if (bytes > RESERVE_BYTES || rounded > RESERVE_BYTES - pool->reserve_used)
        return NULL;
    block *b = (block *)(pool->reserve + pool->reserve_used / 8);
    pool->reserve_used += rounded;
    pool->reserve_live++;
    b->class = RESERVED + ((uint64_t)bytes << 32);
    return b + 1;
}

void *wi_http_pool_borrow(weir_http_pool *pool, size_t bytes)
{
    if (pool->shared == NULL) {
        pool->shared = weir_memory_resize(pool->below, NULL, sizeof(block) + bytes);
        if (pool->shared == NULL)
            return NULL;
        pool->shared->class = SHARED + ((uint64_t)bytes << 32);
        pool->shared_bytes = bytes;
    }
    if (pool->shared_bytes != bytes)
        return NULL;
    pool->shared_live++;
    return pool->shared + 1;
}

static void give_shared(weir_http_pool *pool)
{
    if (--pool->shared_live > 0)
        return;
    weir_memory_free(pool->below, pool->shared);
    pool->shared = NULL;
}

wi_http_slots *wi_http_pool_slots(weir_http_pool *pool, bool is_client)
{
    return &pool->slots[is_client];
}

void *wi_http_pool_cut(wi_http_slot *slot, size_t bytes)
{
    if (bytes > UINT32_MAX)
        return NULL;
    block *b = wi_http_slot_cut(slot, sizeof *b + bytes);
    if (b == NULL)
        return NULL;
    b->class = SLOT + ((uint64_t)bytes << 32);
    return b + 1;
}

size_t wi_http_pool_bytes(const void *memory)
{
    const block *b = (const block *)memory - 1;
    return (unsigned)b->class == LARGE ? SIZE_MAX : held_by(b->class);
}

/* One that is not kept. */
static void give_back(weir_http_pool *pool, block *b)
{
    unsigned class = (unsigned)b->class;
    if (class == SHARED) {
        give_shared(pool);
    } else if (class < RESERVED) {
        pool->held -= held_by(b->class);
        weir_memory_free(pool->below, b);
    } else if (class == RESERVED && --pool->reserve_live == 0) {
        pool->reserve_used = 0;
    }
}

void wi_http_pool_give(weir_http_pool *pool, void *memory)
{
    block *b = (block *)memory - 1;
    unsigned class = (unsigned)b->class;
    size_t size = held_by(b->class);
    if (class >= CLASSES || pool->kept + size > pool->keep_max) {
        give_back(pool, b);
        return;
    }
    b->next = pool->kept_of[class];
    pool->kept_of[class] = b;
    pool->kept += size;
}

static void *pool_resize(void *memory, size_t bytes, void *user)
{
    weir_http_pool *pool = user;
    if (memory == NULL)
        return bytes == 0 ? NULL : wi_http_pool_take(pool, bytes);
    block *b = (block *)memory - 1;
    if (bytes == 0) {
        wi_http_pool_give(pool, memory);
        return NULL;
    }
    unsigned class = (unsigned)b->class;
    if (class == LARGE && class_of(bytes) == LARGE) {
        if (bytes > SIZE_MAX - sizeof *b)
            return NULL;
        b = weir_memory_resize(pool->below, b, sizeof *b + bytes);
        if (b == NULL)
            return NULL;
        pool->held -= held_by(b->class);
        b->class = class_with(LARGE, bytes);
        hold(pool, b->class);
        return b + 1;
    }
    size_t size = wi_http_pool_bytes(memory);
    if (class != LARGE && bytes <= size)
        return memory;
    void *moved = wi_http_pool_take(pool, bytes);
    if (moved == NULL)
        return NULL;
    memcpy(moved, memory, size < bytes ? size : bytes);
    wi_http_pool_give(pool, memory);
    return moved;
}

weir_http_pool *weir_http_pool_new(const weir_env *env, size_t keep_bytes_max)
{
    weir_http_pool *pool = weir_memory_new(env, sizeof *pool);
    if (pool == NULL)
        return NULL;
    if (env != NULL)
        pool->env = *env;
    pool->env.allocator = (weir_allocator){ .resize = pool_resize, .user = pool };
    pool->below = env;
    for (int i = 0; i < 2; i++)
        pool->slots[i] = (wi_http_slots){ .below = env, .env = &pool->env };
    pool->keep_max = keep_bytes_max == 0 ? KEEP_DEFAULT : keep_bytes_max;
    return pool;
}

void weir_http_pool_free(weir_http_pool *pool)
{
    if (pool == NULL)
        return;
    for (unsigned class = 0; class < CLASSES; class ++)
        for (block *b = pool->kept_of[class], *next; b != NULL; b = next) {
            next = b->next;
            weir_memory_free(pool->below, b);
        }
    for (int i = 0; i < 2; i++)
        wi_http_slots_done(&pool->slots[i]);
    weir_memory_free(pool->below, pool);
}

/* What was freed lies between what is kept, and malloc() gives back by itself but what lies behind
 * all of that: the most that ever was in use would stay ours. */
void weir_http_pool_sweep(weir_http_pool *pool)
{
    for (int i = 0; i < 2; i++)
        wi_http_slots_sweep(&pool->slots[i]);
    if (pool->held_most - pool->held < MUCH_BYTES || pool->held > pool->held_most / 2)
        return;
    pool->held_most = pool->held;
#if defined(__GLIBC__)
    if (pool->below == NULL || pool->below->allocator.resize == NULL)
        (void)malloc_trim(0);
#endif
}

const weir_env *weir_http_pool_env(const weir_http_pool *pool)
{
    return &pool->env;
}
