/* Bytes that grow at the end, within a limit. Plain memory of the caller: one thread at a time. */
#ifndef WEIR_BYTES_H
#define WEIR_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <weir/env.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_bytes {
    char *at;   /* borrowed by whoever reads it, until the buffer changes */
    size_t len; /* may be made smaller by the user */
    size_t cap;
    size_t bytes_max;    /* 0: 16 MiB; SIZE_MAX: no limit */
    const weir_env *env; /* NULL: the defaults */
} weir_bytes;

WEIR_API weir_status weir_bytes_grow(weir_bytes *buffer, size_t more)
    WEIR_MUST_USE; /* weir_bytes_reserve's slow path */

/* Makes room for `more` bytes behind the last one: they may be written to at + len, then len
 * raised. Grows by doubling. WEIR_ELIMIT: more than bytes_max; WEIR_ENOMEM. On an error nothing has
 * changed. A zeroed buffer is an empty one with the default limit. */
static inline weir_status weir_bytes_reserve(weir_bytes *buffer, size_t more)
{
    if (more > buffer->cap - buffer->len || buffer->bytes_max != SIZE_MAX)
        return weir_bytes_grow(buffer, more);
    return WEIR_OK;
}
/* Copies `n` bytes behind the last one. Errors as weir_bytes_reserve. */
static inline weir_status weir_bytes_append(weir_bytes *buffer, const void *bytes, size_t n)
{
    weir_status status = weir_bytes_reserve(buffer, n);
    if (status != WEIR_OK || n == 0)
        return status;
    memcpy(buffer->at + buffer->len, bytes, n);
    buffer->len += n;
    return WEIR_OK;
}
/* Frees the bytes; it is an empty buffer of the same limit then. */
static inline void weir_bytes_done(weir_bytes *buffer)
{
    if (buffer->at != NULL)
        weir_memory_free(buffer->env, buffer->at);
    buffer->at = NULL;
    buffer->len = buffer->cap = 0;
}

#ifdef __cplusplus
}
#endif
#endif
