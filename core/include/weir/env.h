/* What a loop takes from its surroundings, all replaceable: clock, entropy, allocator, log. */
#ifndef WEIR_ENV_H
#define WEIR_ENV_H

#include <stddef.h>
#include <stdint.h>

#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_allocator {
    /* As realloc(3): bytes 0 frees and returns NULL; NULL for want of memory leaves `memory` as it
     * was. Called from any thread. NULL: the C library's. */
    void *(*resize)(void *memory, size_t bytes, void *user);
    void *user;
} weir_allocator;

typedef enum weir_log_level {
    WEIR_LOG_DEBUG,
    WEIR_LOG_INFO,
    WEIR_LOG_WARN,
    WEIR_LOG_ERROR
} weir_log_level;

typedef struct weir_env {
    weir_allocator allocator;
    /* Monotonic time in nanoseconds. NULL: CLOCK_MONOTONIC. */
    uint64_t (*now_ns)(void *user);
    /* 64 random bits, for jitter and seeds, not for keys. NULL: a generator seeded by the kernel.
     */
    uint64_t (*entropy)(void *user);
    /* One line without a newline; borrowed for the call; from any thread. NULL: silence. */
    void (*log)(weir_log_level level, const char *line, void *user);
    void *user; /* handed to now_ns, entropy and log */
} weir_env;

/* Allocates zeroed memory, resizes, frees, by `env` (NULL: the defaults). Any thread. NULL for want
 * of memory. `weir_memory_free` of NULL does nothing. */
WEIR_API void *weir_memory_new(const weir_env *env, size_t bytes);
WEIR_API void *weir_memory_resize(const weir_env *env, void *memory, size_t bytes);
WEIR_API void weir_memory_free(const weir_env *env, void *memory);

/* Formats a line (at most 512 bytes, longer is cut) and hands it to the log. Any thread. */
WEIR_API void weir_log(const weir_env *env, weir_log_level level, const char *format, ...)
#if defined(__GNUC__)
    __attribute__((format(printf, 3, 4)))
#endif
    ;

#ifdef __cplusplus
}
#endif
#endif
