/* Every test again and again, each time with another allocation failing: linked into a test
 * program, it takes the place of main and of cmocka's runner.
 *
 *     stages_batch_test --failing          all tests, at most RUNS_DEFAULT runs of each
 *     stages_batch_test --failing=0        every allocation of every test
 *     stages_batch_test --failing=9 NAME   the 9th allocation of the test NAME, in this process
 *
 * Once an allocation has failed, a test may be disappointed in what it expects. Never allowed: a
 * crash, a hang, a breach of the contract, an item that does not end, a byte that is left.
 *
 * What counts: allocations by a kit's env, by the default one (descriptions of stages), and by
 * whatever other library asks failing_now(). Tests run in a child; if it dies, the next one goes on
 * behind the allocation that killed it. */
#include "failing.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include <weir/hub.h>
#include <weir/inlet.h>
#include <weir/offload.h>
#include <weir/pipeline.h>
#include <weir/stages.h>
#include <weir/testkit.h>

enum {
    RUNS_DEFAULT = 200,
    RUN_MS_MAX = 10, /* of a test, on average: longer ones get fewer runs, unless it is to be all */
    SECONDS_MAX = 10,    /* more than without a failure, for one run: then it hangs */
    SECONDS_FIRST = 120, /* for the run without */
    PROBLEMS_MAX = 3,    /* of one test: then the rest is not looked at */
    EXIT_DIRTY = 77      /* a child that goes on no further, as a run left it in disorder */
};

static const int crash_signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS };
enum { CRASH_SIGNALS = sizeof crash_signals / sizeof *crash_signals };

/* What a child tells its parent. */
typedef struct progress {
    uint64_t run, nth;        /* under way */
    uint64_t allocations, ms; /* of the run in which none fails */
    uint64_t runs, hits, disappointed, unchecked, problems;
    bool is_over, has_threads;
    bool breaks_rules; /* on purpose, without any failure: it is not for others to judge */
} progress;

typedef struct job {
    const struct CMUnitTest *test;
    progress *p;
    uint64_t runs_max;
    int output;    /* of the child */
    bool is_fresh; /* the child's first run */
} job;

static struct {
    bool is_on, is_single;
    uint64_t runs; /* or, of a single test: which allocation */
    const char *name;
    struct sigaction at_start[CRASH_SIGNALS];
} options;

static weir_testkit_walk *current;
static atomic_long default_blocks;
static atomic_bool runs_threads;
static bool is_left;    /* the test has given up, and all it had is freed */
static bool is_in_hand; /* the test has something of its own */
static bool never_was;  /* the test was left as it lacks what it stands on */

void failing_in_hand(void)
{
    is_in_hand = true;
}

bool failing_now(void)
{
    return current != NULL && weir_testkit_walk_fails(current);
}

/* ---- The default env ---- */

void *__real_weir_memory_new(const weir_env *env, size_t bytes);
void *__real_weir_memory_resize(const weir_env *env, void *memory, size_t bytes);
void __real_weir_memory_free(const weir_env *env, void *memory);
weir_status __real_weir_run(weir_pipeline *pipeline);
void *__wrap_weir_memory_new(const weir_env *env, size_t bytes);
void *__wrap_weir_memory_resize(const weir_env *env, void *memory, size_t bytes);
void __wrap_weir_memory_free(const weir_env *env, void *memory);
weir_status __wrap_weir_run(weir_pipeline *pipeline);
weir_status __real_weir_offload_new(const weir_offload_config *config, weir_offload **ret_offload);
weir_status __wrap_weir_offload_new(const weir_offload_config *config, weir_offload **ret_offload);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *user);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *user);

static bool is_default(const weir_env *env)
{
    return env == NULL || env->allocator.resize == NULL;
}

void *__wrap_weir_memory_new(const weir_env *env, size_t bytes)
{
    if (is_default(env) && failing_now())
        return NULL;
    void *memory = __real_weir_memory_new(env, bytes);
    if (is_default(env) && memory != NULL)
        atomic_fetch_add(&default_blocks, 1);
    return memory;
}

void *__wrap_weir_memory_resize(const weir_env *env, void *memory, size_t bytes)
{
    if (is_default(env) && bytes != 0 && failing_now())
        return NULL;
    void *moved = __real_weir_memory_resize(env, memory, bytes);
    if (is_default(env))
        atomic_fetch_add(&default_blocks,
                         (memory == NULL && moved != NULL) - (memory != NULL && bytes == 0));
    return moved;
}

void __wrap_weir_memory_free(const weir_env *env, void *memory)
{
    if (is_default(env) && memory != NULL)
        atomic_fetch_sub(&default_blocks, 1);
    __real_weir_memory_free(env, memory);
}

/* Threads of a pool have nothing to do with time; others have, and their tests are not walked. */
static _Thread_local bool makes_a_pool;

weir_status __wrap_weir_run(weir_pipeline *pipeline)
{
    atomic_store(&runs_threads, true);
    return __real_weir_run(pipeline);
}

weir_status __wrap_weir_offload_new(const weir_offload_config *config, weir_offload **ret_offload)
{
    makes_a_pool = true;
    weir_status status = __real_weir_offload_new(config, ret_offload);
    makes_a_pool = false;
    return status;
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *user)
{
    if (!makes_a_pool)
        atomic_store(&runs_threads, true);
    return __real_pthread_create(thread, attributes, run, user);
}

/* ---- What tests take for granted, and what they own ---- */

/* No test looks whether it got one: without, it is over. */
static void must_have(const void *what)
{
    if (current == NULL || what != NULL || !weir_testkit_walk_hit(current))
        return;
    never_was = true; /* what it was to take stays with the test */
    fail_msg("no memory for what the test stands on");
}

weir_pipeline *__real_weir_pipeline_new(const weir_pipeline_config *config);
weir_pipeline *__wrap_weir_pipeline_new(const weir_pipeline_config *config);
weir_pipeline *__wrap_weir_pipeline_new(const weir_pipeline_config *config)
{
    weir_pipeline *pipeline = __real_weir_pipeline_new(config);
    must_have(pipeline);
    return pipeline;
}

weir_item *__real_weir_probe_take(weir_probe *sink);
weir_item *__wrap_weir_probe_take(weir_probe *sink);
weir_item *__wrap_weir_probe_take(weir_probe *sink)
{
    weir_item *item = __real_weir_probe_take(sink);
    must_have(item);
    is_in_hand = true;
    return item;
}

#define OWNED(type, parameters, arguments)                      \
    type *__real_##type##_new parameters;                       \
    type *__wrap_##type##_new parameters;                       \
    void __real_##type##_free(type *what);                      \
    void __wrap_##type##_free(type *what);                      \
    static void free_##type(void *what)                         \
    {                                                           \
        __real_##type##_free(what);                             \
    }                                                           \
    type *__wrap_##type##_new parameters                        \
    {                                                           \
        type *what = __real_##type##_new arguments;             \
        must_have(what);                                        \
        if (current != NULL)                                    \
            weir_testkit_walk_owns(current, what, free_##type); \
        return what;                                            \
    }                                                           \
    void __wrap_##type##_free(type *what)                       \
    {                                                           \
        if (current != NULL)                                    \
            weir_testkit_walk_freed(current, what);             \
        if (!is_left) /* a teardown finds it freed */           \
            __real_##type##_free(what);                         \
    }

OWNED(weir_hub, (const weir_env *env, const weir_hub_config *config), (env, config))
OWNED(weir_inlet, (const weir_env *env, const weir_inlet_config *config), (env, config))
OWNED(weir_switch, (const weir_env *env), (env))

/* ---- One run ---- */

/* cmocka's, which jumps out of the test: what stages refer to may lie on its stack, so the end of
 * all that it has left comes first. */
void _fail(const char *const file, const int line)
{
    void (*jump)(const char *, int);
    *(void **)&jump = dlsym(RTLD_NEXT, "_fail");
    weir_testkit_walk *walk = current;
    current = NULL;
    if (walk != NULL) {
        (void)weir_testkit_walk_end(walk);
        is_left = true;
    }
    jump(file, line);
}

int __real__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
                                   CMFixtureFunction setup, CMFixtureFunction teardown);
int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
                                   CMFixtureFunction setup, CMFixtureFunction teardown);

/* A crash is a crash, and no failed test, as cmocka would have it. */
static const struct CMUnitTest *real_test;
static void test_that_may_crash(void **state)
{
    for (int i = 0; i < CRASH_SIGNALS; i++)
        sigaction(crash_signals[i], &options.at_start[i], NULL);
    real_test->test_func(state);
}

static bool passes(const struct CMUnitTest *test)
{
    struct CMUnitTest one = *test;
    real_test = test;
    one.test_func = test_that_may_crash;
    return __real__cmocka_run_group_tests("failing", &one, 1, NULL, NULL) == 0;
}

static void problem(const job *j, bool was_hit, const char *why)
{
    j->p->problems++;
    dprintf(STDERR_FILENO, "%s: allocation %llu of %llu%s: %s\n", j->test->name,
            (unsigned long long)j->p->nth, (unsigned long long)j->p->allocations,
            was_hit ? "" : " (not reached)", why);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

typedef enum verdict { TIDY, UNTIDY, REDO } verdict;

/* Unless it is tidy, this process can go on no further. */
static verdict run_once(job *j)
{
    weir_testkit_walk *walk = weir_testkit_walk_new();
    long blocks = atomic_load(&default_blocks);
    never_was = is_in_hand = false;
    alarm(j->p->nth != 0 ? SECONDS_MAX + (unsigned)j->p->ms / 500 : SECONDS_FIRST);
    uint64_t began = now_ms();
    weir_testkit_walk_begin(walk, j->p->nth);
    current = walk;
    bool passed = passes(j->test);
    current = NULL;
    is_left = false;
    bool is_clean = weir_testkit_walk_end(walk);
    alarm(0);
    const char *why = weir_testkit_walk_why(walk);
    bool was_hit = weir_testkit_walk_hit(walk);
    bool was_jump = strstr(why, "left by a jump") != NULL;
    if (!passed && is_in_hand)
        was_jump |= is_clean || strstr(why, "left") != NULL || strstr(why, "ended") != NULL ||
                    strstr(why, "is not over") != NULL;
    blocks = atomic_load(&default_blocks) - blocks;
    j->p->runs++;
    j->p->hits += was_hit;
    j->p->disappointed += !passed;
    j->p->unchecked += was_jump;
    if (j->p->nth == 0) {
        j->p->allocations = weir_testkit_walk_allocations(walk);
        j->p->ms = now_ms() - began;
    }
    if (j->p->nth == 0 && passed && !is_clean)
        j->p->breaks_rules = true;
    if (!passed && !was_hit && j->is_fresh)
        problem(j, false, "the test fails on its own");
    else if (!passed && !was_hit)
        return REDO; /* it stands on what the run before has left */
    else if (!is_clean && !j->p->breaks_rules && !(was_hit && was_jump))
        problem(j, was_hit, why);
    else if (blocks != 0 && !was_jump && !never_was)
        problem(j, was_hit, "a block of the default env is left");
    weir_testkit_walk_free(walk);
    return is_clean && blocks == 0 ? TIDY : UNTIDY;
}

/* ---- One test ---- */

/* splitmix64: https://prng.di.unimi.it/splitmix64.c */
static uint64_t mixed(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t seed(void)
{
    const char *given = getenv("WEIR_TEST_SEED");
    return given != NULL ? strtoull(given, NULL, 10) : 1;
}

static uint64_t runs_of(const job *j)
{
    uint64_t n = j->p->allocations, runs = j->runs_max,
             in_time = runs * RUN_MS_MAX / (j->p->ms + 1);
    if (runs == 0)
        return n;
    runs = runs < in_time ? runs : in_time + 1;
    return n < runs ? n : runs;
}

/* Which allocation fails in run 1, 2 …: each, or one of every stretch of equal length. */
static uint64_t nth_of(const job *j, uint64_t run)
{
    uint64_t n = j->p->allocations, runs = runs_of(j);
    uint64_t from = (run - 1) * n / runs, to = run * n / runs;
    return 1 + from + mixed(seed() ^ run << 32) % (to - from);
}

static void child(job *j)
{
    j->is_fresh = true;
    dup2(j->output, STDOUT_FILENO);
    dup2(j->output, STDERR_FILENO);
    while (j->p->run == 0 || j->p->run <= runs_of(j)) {
        uint64_t problems = j->p->problems;
        (void)ftruncate(j->output, 0);
        (void)lseek(j->output, 0, SEEK_SET);
        j->p->nth = j->p->run != 0 ? nth_of(j, j->p->run) : 0;
        verdict v = run_once(j);
        j->is_fresh = false;
        fflush(NULL);
        j->p->has_threads = atomic_load(&runs_threads);
        if (v == REDO)
            _exit(EXIT_DIRTY);
        if (j->p->problems != problems)
            _exit(1);
        j->p->run++;
        if (j->p->has_threads)
            break;
        if (v != TIDY)
            _exit(EXIT_DIRTY);
    }
    j->p->is_over = true;
    _exit(0);
}

static void show(int output)
{
    char text[4096];
    ssize_t n;
    (void)lseek(output, 0, SEEK_SET);
    while ((n = read(output, text, sizeof text)) > 0)
        fwrite(text, 1, (size_t)n, stderr);
}

/* Children follow each other until one gets to the end. */
static void run_all(job *j)
{
    while (!j->p->is_over && j->p->problems < PROBLEMS_MAX) {
        int status;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            child(j);
        if (pid < 0 || waitpid(pid, &status, 0) != pid) {
            j->p->problems++;
            return;
        }
        if (WIFEXITED(status) && (WEXITSTATUS(status) == EXIT_DIRTY || j->p->is_over))
            continue;
        show(j->output);
        if (WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) != 1)) {
            bool hangs = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;
            char why[64];
            snprintf(why, sizeof why, "%s (wait status %#x)", hangs ? "hangs" : "dies",
                     (unsigned)status);
            problem(j, true, why);
        }
        if (j->p->run++ == 0)
            return;
    }
}

static uint64_t walk_test(const struct CMUnitTest *test, progress *total)
{
    job j = { .test = test, .runs_max = options.runs };
    j.output = memfd_create("failing", MFD_CLOEXEC);
    j.p = mmap(NULL, sizeof *j.p, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (j.output < 0 || j.p == MAP_FAILED) {
        perror("failing");
        exit(1);
    }
    run_all(&j);
    progress p = *j.p;
    printf("%-70s %6llu allocations, %4llu failed, %4llu disappointed%s%s\n", test->name,
           (unsigned long long)p.allocations, (unsigned long long)p.hits,
           (unsigned long long)p.disappointed, p.unchecked != 0 ? ", some left in a callback" : "",
           p.has_threads    ? ", not walked: it has threads"
           : p.breaks_rules ? ", breaks rules itself"
                            : "");
    total->runs++;
    total->hits += p.hits;
    total->problems += p.problems;
    munmap(j.p, sizeof *j.p);
    close(j.output);
    return p.problems;
}

/* ---- Instead of cmocka's runner, and of main ---- */

static int walk_one_here(const struct CMUnitTest *test)
{
    progress p = { .nth = options.runs };
    job j = { .test = test, .p = &p, .is_fresh = true };
    (void)run_once(&j);
    return p.problems != 0;
}

int __wrap__cmocka_run_group_tests(const char *name, const struct CMUnitTest *tests, size_t n,
                                   CMFixtureFunction setup, CMFixtureFunction teardown)
{
    progress total = { 0 };
    if (!options.is_on)
        return __real__cmocka_run_group_tests(name, tests, n, setup, teardown);
    for (size_t i = 0; i < n; i++) {
        if (options.name != NULL && strcmp(options.name, tests[i].name) != 0)
            continue;
        if (options.is_single)
            return walk_one_here(&tests[i]);
        (void)walk_test(&tests[i], &total);
    }
    printf("failing: %llu tests, %llu allocations failed, %llu problems\n",
           (unsigned long long)total.runs, (unsigned long long)total.hits,
           (unsigned long long)total.problems);
    return total.problems != 0;
}

int __real_main(int argc, char **argv);
int __wrap_main(int argc, char **argv);

int __wrap_main(int argc, char **argv)
{
    static const char option[] = "--failing";
    if (argc > 1 && strncmp(argv[1], option, sizeof option - 1) == 0) {
        const char *value = argv[1] + sizeof option - 1;
        options.is_on = true;
        options.runs = *value == '=' ? strtoull(value + 1, NULL, 10) : RUNS_DEFAULT;
        options.name = argc > 2 ? argv[2] : NULL;
        options.is_single = *value == '=' && options.name != NULL;
    }
    for (int i = 0; i < CRASH_SIGNALS; i++)
        sigaction(crash_signals[i], NULL, &options.at_start[i]);
    return __real_main(argc, argv);
}
