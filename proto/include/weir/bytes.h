/* Bytes that grow at the end, within a limit. Plain memory of the caller: one thread at a time. */
#ifndef WEIR_BYTES_H
#define WEIR_BYTES_H

#include <stddef.h>
#include <stdint.h>

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

/* Makes room for `more` bytes behind the last one: they may be written to at + len, then len
 * raised. Grows by doubling. WEIR_ELIMIT: more than bytes_max; WEIR_ENOMEM. On an error nothing has
 * changed. A zeroed buffer is an empty one with the default limit. */
WEIR_API weir_status weir_bytes_reserve(weir_bytes *buffer, size_t more) WEIR_MUST_USE;
WEIR_API weir_status weir_bytes_append(weir_bytes *buffer, const void *bytes,
                                       size_t n) WEIR_MUST_USE;
/* Frees the bytes; it is an empty buffer of the same limit then. */
WEIR_API void weir_bytes_done(weir_bytes *buffer);

#ifdef __cplusplus
}
#endif
#endif
