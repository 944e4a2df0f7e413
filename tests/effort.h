/* How much of a long test is run: under a sanitizer a part, unless WEIR_TEST_LONG is set. */
#ifndef EFFORT_H
#define EFFORT_H

#include <stdint.h>
#include <stdlib.h>

#if defined(__has_feature) /* clang */
#define HAS_SANITIZER(name) __has_feature(name)
#else
#define HAS_SANITIZER(name) 0
#endif

#if defined(__SANITIZE_THREAD__) || HAS_SANITIZER(thread_sanitizer)
#define EFFORT_PART 10
#elif defined(__SANITIZE_ADDRESS__) || HAS_SANITIZER(address_sanitizer)
#define EFFORT_PART 4
#else
#define EFFORT_PART 1
#endif
#define IS_SANITIZED (EFFORT_PART != 1)

/* How many of so many rounds. */
static inline uint64_t effort(uint64_t rounds)
{
    return getenv("WEIR_TEST_LONG") != NULL ? rounds : (rounds + EFFORT_PART - 1) / EFFORT_PART;
}

#endif
