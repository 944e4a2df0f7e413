/* One pool of memory, and text that grows in it. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gen.h"

typedef struct wi_gen_chunk {
    struct wi_gen_chunk *next;
    size_t used, cap;
    max_align_t bytes[];
} wi_gen_chunk;

static void *alloc_for(void *pool, size_t n)
{
    return wi_gen_alloc(pool, n);
}

static void free_for(void *pool, void *memory)
{
    (void)pool;
    (void)memory;
}

void wi_gen_pool_init(wi_gen_pool *pool)
{
    *pool = (wi_gen_pool){
        .allocator = { .alloc = alloc_for, .free = free_for, .allocator_data = pool },
    };
}

void wi_gen_pool_done(wi_gen_pool *pool)
{
    while (pool->chunks != NULL) {
        wi_gen_chunk *next = pool->chunks->next;
        free(pool->chunks);
        pool->chunks = next;
    }
}

static wi_gen_chunk *chunk_for(wi_gen_pool *pool, size_t n)
{
    size_t cap = n > 65536 ? n : 65536;
    wi_gen_chunk *chunk = NULL;
    if (cap <= WI_GEN_MEMORY_MAX - pool->used) {
        chunk = calloc(1, sizeof *chunk + cap);
    }
    if (chunk == NULL) {
        fprintf(stderr, "protoc-gen-weir: out of memory\n");
        exit(1);
    }
    chunk->cap = cap;
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    pool->used += cap;
    return chunk;
}

void *wi_gen_alloc(wi_gen_pool *pool, size_t n)
{
    if (n > WI_GEN_MEMORY_MAX) {
        n = WI_GEN_MEMORY_MAX; /* refused below */
    }
    n = (n + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    wi_gen_chunk *chunk = pool->chunks;
    if (chunk == NULL || n > chunk->cap - chunk->used) {
        chunk = chunk_for(pool, n);
    }
    void *memory = (char *)chunk->bytes + chunk->used;
    chunk->used += n;
    return memory;
}

void wi_gen_text_init(wi_gen_text *text, wi_gen_pool *pool)
{
    *text = (wi_gen_text){ .pool = pool, .at = wi_gen_alloc(pool, 256), .cap = 256 };
}

static void reserve(wi_gen_text *text, size_t more)
{
    if (more < text->cap - text->n) {
        return; /* with the NUL */
    }
    size_t cap = text->cap * 2;
    if (cap < text->n + more + 1) {
        cap = text->n + more + 1;
    }
    char *at = wi_gen_alloc(text->pool, cap);
    memcpy(at, text->at, text->n);
    text->at = at;
    text->cap = cap;
}

void wi_gen_append(wi_gen_text *text, const void *bytes, size_t n)
{
    reserve(text, n);
    if (n > 0) {
        memcpy(text->at + text->n, bytes, n);
    }
    text->n += n;
    text->at[text->n] = '\0';
}

static void put_list(wi_gen_text *text, const char *format, va_list list)
{
    va_list again;
    va_copy(again, list);
    int n = vsnprintf(NULL, 0, format, again);
    va_end(again);
    if (n < 0) {
        return;
    }
    reserve(text, (size_t)n);
    vsnprintf(text->at + text->n, (size_t)n + 1, format, list);
    text->n += (size_t)n;
}

void wi_gen_put(wi_gen_text *text, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    put_list(text, format, list);
    va_end(list);
}

char *wi_gen_print(wi_gen_pool *pool, const char *format, ...)
{
    wi_gen_text text;
    wi_gen_text_init(&text, pool);
    va_list list;
    va_start(list, format);
    put_list(&text, format, list);
    va_end(list);
    return text.at;
}

bool wi_gen_fail(wi_gen *gen, const char *format, ...)
{
    if (gen->error != NULL) {
        return false;
    }
    wi_gen_text text;
    wi_gen_text_init(&text, gen->pool);
    va_list list;
    va_start(list, format);
    put_list(&text, format, list);
    va_end(list);
    gen->error = text.at;
    return false;
}
