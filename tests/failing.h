/* Tests with every allocation failing in turn: see failing.c. */
#ifndef FAILING_H
#define FAILING_H

#include <stdbool.h>
#include <stddef.h>

/* Counts one more allocation, of a library's own hook. True: it must fail. */
bool failing_now(void);
/* The test has items, memory or work under way in its own hands: if it gives up, they are left, and
 * nobody is to blame. NULL where failing.c is not linked. */
void failing_in_hand(void) __attribute__((weak));
static inline void test_in_hand(void)
{
    if (failing_in_hand != NULL)
        failing_in_hand();
}

#endif
