/* Defaults of the surroundings: the C heap, the monotonic clock, the kernel's entropy. */
#include "wi_core.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

void *weir_memory_resize(const weir_env *env, void *memory, size_t bytes)
{
    if (env != NULL && env->allocator.resize != NULL)
        return env->allocator.resize(memory, bytes, env->allocator.user);
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    return realloc(memory, bytes);
}

void *weir_memory_new(const weir_env *env, size_t bytes)
{
    size_t wanted = bytes != 0 ? bytes : 1;
    void *memory = weir_memory_resize(env, NULL, wanted);
    if (memory != NULL)
        memset(memory, 0, wanted);
    return memory;
}

void weir_memory_free(const weir_env *env, void *memory)
{
    if (memory != NULL)
        weir_memory_resize(env, memory, 0);
}

void weir_log(const weir_env *env, weir_log_level level, const char *format, ...)
{
    char line[512];
    va_list arguments;
    if (env == NULL || env->log == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    env->log(level, line, env->user);
}

uint64_t wi_clock(const weir_env *env)
{
    if (env->now_ns != NULL)
        return env->now_ns(env->user);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * WEIR_SEC + (uint64_t)now.tv_nsec;
}

/* splitmix64 (Steele, Lea, Flood 2014), seeded once from the kernel. */
uint64_t wi_entropy(const weir_env *env, uint64_t *state)
{
    if (env->entropy != NULL)
        return env->entropy(env->user);
    if (*state == 0 && getrandom(state, sizeof *state, GRND_NONBLOCK) != (ssize_t)sizeof *state)
        *state = wi_clock(env) ^ (uintptr_t)state;
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
