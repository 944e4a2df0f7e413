/* Memory that is taken piece by piece and given back all at once, within a budget.
 *
 * Plain memory of the caller: any thread, one thread at a time per arena. */
#ifndef WEIR_ARENA_H
#define WEIR_ARENA_H

#include <stddef.h>
#include <stdint.h>

#include <weir/env.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_arena_chunk weir_arena_chunk;

/* The fields are private. */
typedef struct weir_arena {
    char *at, *end; /* of what is free in the present chunk */
    char *first, *first_end;
    weir_arena_chunk *chunks; /* the newest first; all but `first` */
    weir_arena_chunk *spare;  /* of before the reset, not yet used again */
    const weir_env *env;
    size_t budget; /* bytes that may still be taken, over all chunks */
    size_t budget_bytes;
    size_t chunk_bytes; /* of the next chunk */
} weir_arena;

/* Prepares an arena whose first chunk is `first` (borrowed until weir_arena_done; NULL: none). It
 * gives out at most `budget_bytes` between two resets (0: 16 MiB; SIZE_MAX: no limit). Allocates
 * nothing. env NULL: the defaults. */
WEIR_API void weir_arena_init(weir_arena *arena, const weir_env *env, void *first,
                              size_t first_bytes, size_t budget_bytes);
/* Frees all chunks. `first` is the caller's again. */
WEIR_API void weir_arena_done(weir_arena *arena);
/* Takes back all that was given. Keeps `first` and of the chunks the largest of at most 64 KiB, so
 * that what comes again and again allocates nothing. */
WEIR_API void weir_arena_reset(weir_arena *arena);

WEIR_API void *weir_arena_grow(weir_arena *arena, size_t bytes); /* weir_arena_take's slow path */

/* Gives `bytes` uninitialised bytes, aligned to 8, that last until reset or done; of 0 a pointer
 * that is not NULL. NULL: over the budget, or for want of memory. */
static inline void *weir_arena_take(weir_arena *arena, size_t bytes)
{
    size_t rounded = (bytes + 7) & ~(size_t)7;
    if (rounded < bytes || rounded > (size_t)(arena->end - arena->at) || rounded > arena->budget)
        return weir_arena_grow(arena, bytes);
    char *memory = arena->at;
    arena->at += rounded;
    arena->budget -= rounded;
    return memory;
}
/* Gives a copy of `n` bytes, and a NUL behind them; NULL as weir_arena_take. */
WEIR_API char *weir_arena_copy(weir_arena *arena, const void *bytes, size_t n);

#ifdef __cplusplus
}
#endif
#endif
