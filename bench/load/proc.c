/* What /proc says of another process: CPU time and memory; and a log histogram of times. */
#include "proc.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

bool proc_cpu_us(pid_t pid, uint64_t *ret_us)
{
    char path[64];
    char text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    size_t bytes = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[bytes] = '\0';
    const char *after_name = strrchr(text, ')'); /* the name may hold spaces and brackets */
    uint64_t user = 0;
    uint64_t system = 0;
    if (after_name == NULL ||
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %" SCNu64 " %" SCNu64,
               &user, &system) != 2)
        return false;
    *ret_us = (user + system) * (1000000u / (uint64_t)sysconf(_SC_CLK_TCK));
    return true;
}

bool proc_memory_read(pid_t pid, proc_memory *ret_memory)
{
    char path[64];
    char line[256];
    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return false;
    proc_memory memory = { 0 };
    uint64_t kib = 0;
    while (fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "Rss: %" SCNu64, &kib) == 1)
            memory.rss_bytes = kib * 1024;
        else if (sscanf(line, "Anonymous: %" SCNu64, &kib) == 1)
            memory.anonymous_bytes = kib * 1024;
    }
    fclose(file);
    *ret_memory = memory;
    return memory.rss_bytes != 0;
}

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned slot_of(uint64_t value)
{
    if (value < 1u << HISTOGRAM_SUB_BITS)
        return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    return ((shift + 1) << HISTOGRAM_SUB_BITS) +
           (unsigned)((value >> shift) & ((1u << HISTOGRAM_SUB_BITS) - 1));
}

static uint64_t value_of(unsigned slot)
{
    if (slot < 1u << HISTOGRAM_SUB_BITS)
        return slot;
    unsigned shift = (slot >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t top = (1u << HISTOGRAM_SUB_BITS) + (slot & ((1u << HISTOGRAM_SUB_BITS) - 1));
    return (top << shift) + ((1ull << shift) >> 1);
}

void histogram_add(histogram *h, uint64_t value)
{
    h->slots[slot_of(value)]++;
    h->count++;
    if (value > h->max)
        h->max = value;
}

uint64_t histogram_at(const histogram *h, double part)
{
    uint64_t want = (uint64_t)((double)h->count * part);
    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_SLOTS && h->count != 0; i++) {
        seen += h->slots[i];
        if (seen > want || seen == h->count)
            return value_of(i) < h->max ? value_of(i) : h->max;
    }
    return h->max;
}
