/* An arena: chunks that double, given back all at once. */
#include <weir/arena.h>

#include <string.h>

#define CHUNK_BYTES_MIN 1024
#define CHUNK_BYTES_MAX (256 * 1024)
#define SPARE_BYTES_MAX (64 * 1024)
#define BUDGET_DEFAULT  (16 * 1024 * 1024)

struct weir_arena_chunk {
    weir_arena_chunk *next;
    uint64_t bytes; /* keeps what follows aligned to 16 */
};

static void rewind_to_first(weir_arena *arena)
{
    arena->at = arena->first;
    arena->end = arena->first_end;
    arena->budget = arena->budget_bytes;
}

void weir_arena_init(weir_arena *arena, const weir_env *env, void *first, size_t first_bytes,
                     size_t budget_bytes)
{
    size_t skip = (size_t)(-(uintptr_t)first & 7);
    if (first == NULL || first_bytes < skip) {
        first = arena; /* nothing is there, but it has an address */
        first_bytes = skip = 0;
    }
    *arena = (weir_arena){
        .first = (char *)first + skip,
        .first_end = (char *)first + first_bytes,
        .env = env,
        .budget_bytes = budget_bytes == 0 ? BUDGET_DEFAULT : budget_bytes,
        .chunk_bytes = CHUNK_BYTES_MIN,
    };
    rewind_to_first(arena);
}

static void free_chunks(weir_arena *arena)
{
    while (arena->chunks != NULL) {
        weir_arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        weir_memory_free(arena->env, chunk);
    }
}

void weir_arena_done(weir_arena *arena)
{
    free_chunks(arena);
    weir_memory_free(arena->env, arena->spare);
    arena->spare = NULL;
}

/* Unlinks the largest chunk that is worth keeping, if it is larger than the spare one. */
static void keep_spare(weir_arena *arena)
{
    weir_arena_chunk **best = NULL;
    for (weir_arena_chunk **link = &arena->chunks; *link != NULL; link = &(*link)->next)
        if ((*link)->bytes <= SPARE_BYTES_MAX && (best == NULL || (*link)->bytes > (*best)->bytes))
            best = link;
    if (best == NULL || (arena->spare != NULL && arena->spare->bytes >= (*best)->bytes))
        return;
    weir_memory_free(arena->env, arena->spare);
    arena->spare = *best;
    *best = (*best)->next;
}

void weir_arena_reset(weir_arena *arena)
{
    if (arena->chunks != NULL) {
        keep_spare(arena);
        free_chunks(arena);
        /* If the spare one is too small again, the next shall not be. */
        arena->chunk_bytes = CHUNK_BYTES_MIN;
        while (arena->spare != NULL && arena->chunk_bytes <= arena->spare->bytes)
            arena->chunk_bytes *= 2;
    }
    rewind_to_first(arena);
}

/* A chunk with room for `bytes`, in the list: the spare one, or a new one. */
static weir_arena_chunk *next_chunk(weir_arena *arena, size_t bytes)
{
    weir_arena_chunk *chunk = arena->spare;
    if (chunk != NULL && chunk->bytes >= bytes) {
        arena->spare = NULL;
    } else {
        size_t room = arena->chunk_bytes > bytes ? arena->chunk_bytes : bytes;
        chunk = weir_memory_resize(arena->env, NULL, sizeof *chunk + room);
        if (chunk == NULL)
            return NULL;
        chunk->bytes = room;
        if (arena->chunk_bytes < CHUNK_BYTES_MAX)
            arena->chunk_bytes *= 2;
    }
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return chunk;
}

/* What is large gets a chunk of its own, so that the rest of the present one is not lost. */
void *weir_arena_grow(weir_arena *arena, size_t bytes)
{
    size_t rounded = (bytes + 7) & ~(size_t)7;
    if (rounded < bytes || rounded > arena->budget || rounded > SIZE_MAX / 2)
        return NULL;
    weir_arena_chunk *chunk = next_chunk(arena, rounded);
    if (chunk == NULL)
        return NULL;
    arena->budget -= rounded;
    char *memory = (char *)(chunk + 1);
    if (chunk->bytes - rounded >= (size_t)(arena->end - arena->at)) {
        arena->at = memory + rounded;
        arena->end = memory + chunk->bytes;
    }
    return memory;
}

char *weir_arena_copy(weir_arena *arena, const void *bytes, size_t n)
{
    char *copy = n == SIZE_MAX ? NULL : weir_arena_take(arena, n + 1);
    if (copy == NULL)
        return NULL;
    if (n > 0)
        memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}
