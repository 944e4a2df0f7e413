/* Plants one bug after the other, and sees that the simulation finds each, by a check of its own
 * and not because the process dies. */
#include "simulate.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEEDS = 1000, SECONDS_A_SEED = 20 };

unsigned weir_planted;

/* By number. */
static const char *const bugs[] = {
    "none",
    "item.c: one ack of a vector is dropped",
    "broadcast.c: an item is acked more often than it is held",
    "stage.c: a filter's refund is forgotten",
    "wi_hot.h: a grant does not debit the demand",
    "edge.c: credit for another loop does not ring its bell",
    "policy.c: a retried item is overtaken by its key",
    "edge.c: across loops the end overtakes the data",
    "wi_hot.h: one credit beyond the window is granted",
    "stage.c: the bytes of a vector's first item are not returned",
    "edge.c: a cancel forgets what is queued",
    "stage.c: demand is told after the terminal",
    "batch.c: a batch goes without demand",
    "run.c: a drain has no deadline",
    "merge.c: two held items change places",
    "async.c: the end does not wait for what is under way",
    "timer.c: stopping one timer loses another",
    "item.c: an end that comes home does not ring the bell",
    "loop.c: of the work put off, only the first is done",
    "list.c: what waits behind a retry comes back newest first",
    "buffer.c: a cancel forgets what is held",
    "take.c: it asks for more than it is asked for",
    "edge.c: an empty window of bytes takes any number of items at once",
    "swap.c: a new stage gets what the old one asked for",
    "hub.c: who leaves forgets the first of what is queued",
};

enum { BUGS = sizeof bugs / sizeof *bugs };

typedef struct finding {
    atomic_int at, found; /* seeds; found: -1 if not */
    atomic_int crashed;
    char why[320];
} finding;

static void seek(finding *f)
{
    static const sim_options options = { .faults = SIM_FAULTS_MIXED };
    sim_result result;
    for (int seed = atomic_load(&f->at); seed < SEEDS; seed++) {
        atomic_store(&f->at, seed);
        alarm(SECONDS_A_SEED);
        if (sim_run((uint64_t)seed, &options, &result))
            continue;
        memcpy(f->why, result.why, sizeof f->why);
        atomic_store(&f->found, seed);
        _exit(0);
    }
    _exit(0);
}

/* In processes of its own, as a bug may also end one. */
static void hunt(unsigned bug, finding *f)
{
    int status;
    bool ended_early;
    memset(f, 0, sizeof *f);
    atomic_store(&f->found, -1);
    do {
        fflush(stdout);
        pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            exit(2);
        }
        if (pid == 0) {
            (void)!freopen("/dev/null", "w", stderr);
            weir_planted = bug;
            seek(f);
        }
        if (waitpid(pid, &status, 0) != pid)
            exit(2);
        ended_early = !WIFEXITED(status) || WEXITSTATUS(status) != 0; /* a sanitizer exits */
        if (ended_early) {
            atomic_fetch_add(&f->crashed, 1);
            atomic_fetch_add(&f->at, 1);
        }
    } while (ended_early && atomic_load(&f->at) < SEEDS);
}

static bool report(unsigned bug, const finding *f)
{
    int found = atomic_load(&f->found), crashed = atomic_load(&f->crashed);
    printf("%2u %s\n", bug, bugs[bug]);
    if (crashed != 0)
        printf("   %d seeds before that end the process\n", crashed);
    if (found >= 0)
        printf("   seed %d: %s\n", found, f->why);
    else
        printf("   nothing is found in %d seeds\n", SEEDS);
    return bug == 0 ? found < 0 && crashed == 0 : found >= 0;
}

int main(int argc, char **argv)
{
    finding *f = mmap(NULL, sizeof *f, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    unsigned first = 0, last = BUGS - 1, missed = 0;
    if (f == MAP_FAILED)
        return 2;
    if (argc == 3 && strcmp(argv[1], "--bug") == 0) {
        first = last = (unsigned)strtoul(argv[2], NULL, 10);
    } else if (argc != 1) {
        fprintf(stderr, "usage: %s [--bug N]\n", argv[0]);
        return 2;
    }
    for (unsigned bug = first; bug <= last && bug < BUGS; bug++) {
        hunt(bug, f);
        missed += !report(bug, f);
    }
    printf("%u bugs planted, %u not as they should be\n", last - first + 1, missed);
    return missed != 0;
}
