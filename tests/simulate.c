/* Simulates random graphs of all stages, seed by seed, and says which seed breaks what. */
#include "simulate.h"

#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { JOBS_MAX = 64, SECONDS_A_SEED = 60, TWICE_EVERY = 16, EXIT_SOME_FAILED = 1 };

static const char usage[] =
    "usage: simulate [options]\n"
    "  --seeds N       how many (1000)\n"
    "  --from S        the first (0)\n"
    "  --jobs J        processes (one a core)\n"
    "  --seed S        replays one: prints its graph and its trace\n"
    "  --stage NAME    only graphs with this row of the stage table\n"
    "  --loops N       1 to 4; default: by the seed\n"
    "  --faults on|off every seed has faults, or none; default: every other, by the seed\n"
    "  --progress      says how far it is, every few seconds\n"
    "Exit code 0: nothing is wrong; 1: some seed fails; 2: wrong usage.\n";

typedef struct settings {
    sim_options options;
    uint64_t seeds, from, seed;
    uint32_t jobs;
    bool replay, progress;
    const char *program;
    char replay_options[160];
} settings;

/* What the workers say, in memory that all share. */
typedef struct worker {
    atomic_uint_fast64_t at; /* the seed under way */
    atomic_uint_fast64_t done, failed, steps;
} worker;

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- One seed ---- */

static void say_failed(const settings *s, uint64_t seed, const char *why)
{
    char line[640];
    int n = snprintf(line, sizeof line, "seed %" PRIu64 ": %s\n  %s --seed %" PRIu64 "%s\n", seed,
                     why, s->program, seed, s->replay_options);
    (void)!write(STDOUT_FILENO, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

static bool run_seed(const settings *s, uint64_t seed, sim_result *ret_result)
{
    bool fine = sim_run(seed, &s->options, ret_result);
    sim_result again;
    if (fine && seed % TWICE_EVERY == 0 &&
        (!sim_run(seed, &s->options, &again) || again.trace != ret_result->trace)) {
        snprintf(ret_result->why, sizeof ret_result->why, "run twice, it is not the same");
        fine = false;
    }
    return fine;
}

static void print_line(const char *line, void *user)
{
    (void)user;
    puts(line);
}

static int replay(settings *s)
{
    sim_result result;
    s->options.log = print_line;
    setvbuf(stdout, NULL, _IOLBF, 0);
    bool fine = sim_run(s->seed, &s->options, &result);
    printf("seed %" PRIu64 ": %s; trace %016" PRIx64 ", %" PRIu64 " steps\n", s->seed,
           fine ? "fine" : result.why, result.trace, result.steps);
    return fine ? 0 : EXIT_SOME_FAILED;
}

/* ---- Many ---- */

/* Every jobs-th seed, from `first` on. */
static void work(const settings *s, worker *w, uint64_t first)
{
    for (uint64_t seed = first; seed < s->from + s->seeds; seed += s->jobs) {
        sim_result result;
        atomic_store(&w->at, seed);
        alarm(SECONDS_A_SEED);
        if (!run_seed(s, seed, &result)) {
            say_failed(s, seed, result.why);
            atomic_fetch_add(&w->failed, 1);
        }
        atomic_fetch_add(&w->steps, result.steps);
        atomic_fetch_add(&w->done, 1);
    }
    exit(0);
}

static pid_t spawn(const settings *s, worker *w, uint64_t first)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        work(s, w, first);
    if (pid < 0) {
        perror("simulate: fork");
        exit(2);
    }
    return pid;
}

static void say_crashed(const settings *s, worker *w, int status)
{
    char why[64];
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if (number == SIGALRM)
        snprintf(why, sizeof why, "it hangs");
    else
        snprintf(why, sizeof why, "it crashes: %s",
                 number != 0 ? strsignal(number) : "it exits by itself");
    say_failed(s, atomic_load(&w->at), why);
    atomic_fetch_add(&w->failed, 1);
    atomic_fetch_add(&w->done, 1);
}

static void say_progress(const settings *s, worker *workers, double began)
{
    uint64_t done = 0, failed = 0;
    for (uint32_t i = 0; i < s->jobs; i++) {
        done += atomic_load(&workers[i].done);
        failed += atomic_load(&workers[i].failed);
    }
    fprintf(stderr, "%" PRIu64 " of %" PRIu64 " seeds, %" PRIu64 " failed, %.0f s\n", done,
            s->seeds, failed, seconds() - began);
}

static pid_t wait_for_one(const settings *s, worker *workers, double began, int *ret_status)
{
    static double said;
    for (;;) {
        pid_t pid = waitpid(-1, ret_status, s->progress ? WNOHANG : 0);
        if (pid != 0)
            return pid;
        if (seconds() - said > 5) {
            said = seconds();
            say_progress(s, workers, began);
        }
        (void)waitid(P_ALL, 0, NULL, WEXITED | WNOWAIT | WNOHANG);
        struct timespec moment = { .tv_nsec = 100000000 };
        sigset_t none;
        sigemptyset(&none);
        (void)sigtimedwait(&none, NULL, &moment);
    }
}

static int run_all(const settings *s)
{
    worker *workers = mmap(NULL, s->jobs * sizeof *workers, PROT_READ | PROT_WRITE,
                           MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pids[JOBS_MAX];
    double began = seconds();
    if (workers == MAP_FAILED)
        return 2;
    for (uint32_t i = 0; i < s->jobs; i++)
        pids[i] = spawn(s, &workers[i], s->from + i);
    for (uint32_t left = s->jobs; left > 0;) {
        int status;
        pid_t pid = wait_for_one(s, workers, began, &status);
        uint32_t i = 0;
        while (i < s->jobs && pids[i] != pid)
            i++;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
            left--;
            continue;
        }
        say_crashed(s, &workers[i], status);
        pids[i] = spawn(s, &workers[i], atomic_load(&workers[i].at) + s->jobs);
    }
    uint64_t done = 0, failed = 0, steps = 0;
    for (uint32_t i = 0; i < s->jobs; i++) {
        done += atomic_load(&workers[i].done);
        failed += atomic_load(&workers[i].failed);
        steps += atomic_load(&workers[i].steps);
    }
    double took = seconds() - began;
    printf("%" PRIu64 " seeds, %" PRIu64 " failed, %" PRIu64 " steps, %.1f s, %.0f seeds/s\n", done,
           failed, steps, took, (double)done / took);
    return failed != 0 ? EXIT_SOME_FAILED : 0;
}

/* ---- The command line ---- */

static int wrong_usage(const char *what)
{
    fprintf(stderr, "simulate: %s\n%s", what, usage);
    return 2;
}

static bool take_number(const char *text, uint64_t *ret_number)
{
    char *end;
    *ret_number = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0';
}

static void keep_option(settings *s, const char *name, const char *value)
{
    size_t n = strlen(s->replay_options);
    snprintf(s->replay_options + n, sizeof s->replay_options - n, " %s %s", name, value);
}

static bool take_option(settings *s, const char *name, const char *value)
{
    uint64_t number = 0;
    bool is_number = take_number(value, &number);
    if (strcmp(name, "--seeds") == 0) {
        s->seeds = number;
    } else if (strcmp(name, "--from") == 0) {
        s->from = number;
    } else if (strcmp(name, "--jobs") == 0) {
        s->jobs = (uint32_t)number;
        is_number &= number >= 1 && number <= JOBS_MAX;
    } else if (strcmp(name, "--seed") == 0) {
        s->seed = number;
        s->replay = true;
    } else if (strcmp(name, "--loops") == 0) {
        s->options.loops = (uint32_t)number;
        is_number &= number >= 1 && number <= 4;
        keep_option(s, name, value);
    } else if (strcmp(name, "--stage") == 0) {
        s->options.stage = value;
        is_number = sim_has_stage(value);
        keep_option(s, name, value);
    } else if (strcmp(name, "--faults") == 0) {
        bool on = strcmp(value, "on") == 0;
        s->options.faults = on ? SIM_FAULTS_ON : SIM_FAULTS_OFF;
        is_number = on || strcmp(value, "off") == 0;
        keep_option(s, name, value);
    } else {
        return false;
    }
    return is_number;
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    settings s = { .seeds = 1000,
                   .program = argv[0],
                   .jobs = cores < 1          ? 1
                           : cores > JOBS_MAX ? JOBS_MAX
                                              : (uint32_t)cores };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--progress") == 0) {
            s.progress = true;
            continue;
        }
        if (i + 1 == argc || !take_option(&s, argv[i], argv[i + 1]))
            return wrong_usage(argv[i]);
        i++;
    }
    return s.replay ? replay(&s) : run_all(&s);
}
