/* What /proc says of another process: CPU time and memory; and a log histogram of times. */
#ifndef LOAD_PROC_H
#define LOAD_PROC_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* User and system time of `pid`, all its threads, in microseconds (of 10 ms grain). False if it is
 * gone. */
bool proc_cpu_us(pid_t pid, uint64_t *ret_us);

typedef struct proc_memory {
    uint64_t rss_bytes;
    uint64_t anonymous_bytes;
} proc_memory;

/* Resident memory of `pid` from smaps_rollup. False if it is gone or not ours to read. */
bool proc_memory_read(pid_t pid, proc_memory *ret_memory);

/* Nanoseconds of the monotonic clock. */
uint64_t now_ns(void);

enum { HISTOGRAM_SUB_BITS = 6, HISTOGRAM_SLOTS = 64 << HISTOGRAM_SUB_BITS };

/* Counts by value with 64 slots per power of two: within 1.6 % at any size. */
typedef struct histogram {
    uint64_t slots[HISTOGRAM_SLOTS];
    uint64_t count;
    uint64_t max;
} histogram;

void histogram_add(histogram *h, uint64_t value);

/* The value below which the share `part` (0 to 1) of all lies; 0 if there is none. */
uint64_t histogram_at(const histogram *h, double part);

#endif
