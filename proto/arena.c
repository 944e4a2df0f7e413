/* An arena: chunks that double, given back all at once. */
#include <weir/arena.h>

#include <string.h>

#define CHUNK_BYTES_MIN 1024
#define CHUNK_BYTES_MAX (256 * 1024)
#define BUDGET_DEFAULT  (16 * 1024 * 1024)

struct weir_arena_chunk {
    weir_arena_chunk *next;
    uint64_t bytes; /* keeps what follows aligned to 16 */
};

void weir_arena_init(weir_arena *arena, const weir_env *env, void *first, size_t first_bytes,
                     size_t budget_bytes)
{
    uintptr_t skip = -(uintptr_t)first & 7;
    if (first == NULL || first_bytes < skip)
        first_bytes = skip = 0;
    *arena = (weir_arena){
        .first = first == NULL ? NULL : (char *)first + skip,
        .env = env,
        .budget_bytes = budget_bytes == 0 ? BUDGET_DEFAULT : budget_bytes,
        .chunk_bytes = CHUNK_BYTES_MIN,
    };
    arena->first_end = first == NULL ? NULL : arena->first + (first_bytes - skip);
    arena->at = arena->first;
    arena->end = arena->first_end;
    arena->budget = arena->budget_bytes;
}

void weir_arena_done(weir_arena *arena)
{
    while (arena->chunks != NULL) {
        weir_arena_chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        weir_memory_free(arena->env, chunk);
    }
}

void weir_arena_reset(weir_arena *arena)
{
    weir_arena_done(arena);
    arena->at = arena->first;
    arena->end = arena->first_end;
    arena->budget = arena->budget_bytes;
    arena->chunk_bytes = CHUNK_BYTES_MIN;
}

/* What is large gets a chunk of its own, so that the rest of the present one is not lost. */
void *weir_arena_grow(weir_arena *arena, size_t bytes)
{
    size_t rounded = (bytes + 7) & ~(size_t)7;
    if (rounded < bytes || rounded > arena->budget || rounded > SIZE_MAX / 2)
        return NULL;
    size_t room = arena->chunk_bytes > rounded ? arena->chunk_bytes : rounded;
    weir_arena_chunk *chunk = weir_memory_resize(arena->env, NULL, sizeof *chunk + room);
    if (chunk == NULL)
        return NULL;
    chunk->bytes = room;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->budget -= rounded;
    char *memory = (char *)(chunk + 1);
    if (room - rounded >= (size_t)(arena->end - arena->at)) {
        arena->at = memory + rounded;
        arena->end = memory + room;
    }
    if (arena->chunk_bytes < CHUNK_BYTES_MAX)
        arena->chunk_bytes *= 2;
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
