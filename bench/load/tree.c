/* Process trees, read from /proc. */
#include "tree.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PROCESSES_MAX = 4096 };

typedef struct process {
    pid_t pid, parent;
    char name[32];
} process;

static size_t read_all(process *all)
{
    char path[64], life;
    size_t n = 0;
    DIR *proc = opendir("/proc");
    if (proc == NULL)
        return 0;
    for (const struct dirent *entry; n < PROCESSES_MAX && (entry = readdir(proc)) != NULL;) {
        process *p = &all[n];
        snprintf(path, sizeof path, "/proc/%d/stat", atoi(entry->d_name));
        FILE *file = atoi(entry->d_name) > 0 ? fopen(path, "re") : NULL;
        if (file == NULL)
            continue;
        if (fscanf(file, "%d (%31[^)]) %c %d", &p->pid, p->name, &life, &p->parent) == 4 &&
            life != 'Z')
            n++;
        fclose(file);
    }
    closedir(proc);
    return n;
}

/* Moves `root` and all below it to the front; a parent comes before its children. */
static size_t below(pid_t root, process *all, size_t n)
{
    size_t found = 0;
    for (size_t i = 0; i < n && found == 0; i++)
        if (all[i].pid == root) {
            process it = all[i];
            all[i] = all[0];
            all[found++] = it;
        }
    for (size_t parent = 0; parent < found; parent++)
        for (size_t i = found; i < n; i++)
            if (all[i].parent == all[parent].pid) {
                process it = all[i];
                all[i] = all[found];
                all[found++] = it;
            }
    return found;
}

static void add(pid_t pid, tree_memory *memory)
{
    char path[64], line[256];
    unsigned long kib;
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "Pss: %lu", &kib) == 1)
            memory->pss_bytes += (uint64_t)kib * 1024;
        else if (sscanf(line, "Rss: %lu", &kib) == 1)
            memory->rss_bytes += (uint64_t)kib * 1024;
    }
    memory->processes++;
    fclose(file);
}

void tree_memory_read(pid_t root, tree_memory *ret_memory)
{
    process *all = malloc(PROCESSES_MAX * sizeof *all);
    *ret_memory = (tree_memory){ 0 };
    size_t n = all != NULL ? below(root, all, read_all(all)) : 0;
    for (size_t i = 0; i < n; i++)
        add(all[i].pid, ret_memory);
    free(all);
}

size_t tree_find(pid_t root, const char *name, pid_t *ret_pids, size_t cap)
{
    process *all = malloc(PROCESSES_MAX * sizeof *all);
    size_t n = all != NULL ? below(root, all, read_all(all)) : 0, found = 0;
    for (size_t i = 1; i < n && found < cap; i++)
        if (strcmp(all[i].name, name) == 0)
            ret_pids[found++] = all[i].pid;
    free(all);
    return found;
}
