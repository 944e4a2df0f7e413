/* What /proc says of a process and all below it: who they are, and their memory together. */
#ifndef LOAD_TREE_H
#define LOAD_TREE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

typedef struct tree_memory {
    uint64_t pss_bytes; /* each page counted once, however many share it */
    uint64_t rss_bytes; /* shared pages counted for each */
    uint32_t processes;
} tree_memory;

/* Sums over `root` and all processes below it that live. */
void tree_memory_read(pid_t root, tree_memory *ret_memory);
/* Those below `root` whose name is `name`; gives how many, at most `cap`. */
size_t tree_find(pid_t root, const char *name, pid_t *ret_pids, size_t cap);

#endif
