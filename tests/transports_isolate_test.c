/* Isolate, with real helpers and workers: crashes, hangs, lies, kills and limits. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <weir/isolate.h>
#include <weir/testkit.h>

#include "effort.h"
#include "feed.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WAIT_MS = 20000, BIG_BYTES = 5 * 1024 * 1024 };

/* ---- Works: what the workers do. The number of the item decides ---- */

typedef struct asked {
    uint64_t number;
} asked;

static uint64_t number_of(const void *in, size_t n)
{
    asked a = { 0 };
    memcpy(&a, in, n < sizeof a ? n : sizeof a);
    return a.number;
}

static weir_status doubles(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    uint64_t twice = 2 * number_of(in, n);
    (void)user;
    return weir_isolate_write(out, &twice, sizeof twice);
}

static weir_status echoes(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    (void)user;
    return weir_isolate_write(out, in, n);
}

/* Ends the process in many ways; every hundredth item from 50 on. */
static void crash(uint64_t number)
{
    switch (number / 100 % 4) {
    case 0:
        signal(SIGSEGV, SIG_DFL); /* a sanitizer would make an exit of it */
        raise(SIGSEGV);
        break;
    case 1:
        signal(SIGABRT, SIG_DFL);
        raise(SIGABRT);
        break;
    case 2:
        _exit(3);
    default:
        raise(SIGKILL);
    }
}

static weir_status crashes(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    if (number_of(in, n) % 100 == 50)
        crash(number_of(in, n));
    return doubles(in, n, out, user);
}

static weir_status always_crashes(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    (void)in;
    (void)n;
    (void)out;
    (void)user;
    raise(SIGKILL);
    return WEIR_OK;
}

static weir_status hangs(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    while (number_of(in, n) % 10 == 3)
        (void)poll(NULL, 0, 1000);
    return doubles(in, n, out, user);
}

static void scream(const void *bytes, size_t n)
{
    (void)!write(3, bytes, n); /* its socket */
}

/* The ways to lie; see the head of a frame: magic, status, serial, bytes. */
static weir_status lies(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    struct head {
        uint32_t magic;
        int32_t status;
        uint64_t serial, bytes;
    } head = { 0x77656972u, 0, 0, 0 };
    char noise[200];
    memset(noise, 0xa5, sizeof noise);
    uint64_t number = number_of(in, n);
    head.serial = number + 1; /* of a stage with one worker; all the rest is true */
    if (number % 10 != 7)
        return doubles(in, n, out, user);
    switch (number / 10 % 6) {
    case 0: /* no head at all */
        scream(noise, sizeof noise);
        break;
    case 1: /* more than it may */
        head.bytes = UINT64_MAX;
        scream(&head, sizeof head);
        break;
    case 2: /* a number that is not its item's */
        head.serial = UINT64_MAX;
        scream(&head, sizeof head);
        break;
    case 3: /* a status that is none */
        head.status = 12345;
        scream(&head, sizeof head);
        break;
    case 4: /* half a head, and then an answer */
        scream(&head, 10);
        break;
    default: /* hangs up, and goes on */
        close(3);
        (void)poll(NULL, 0, WAIT_MS);
    }
    return doubles(in, n, out, user);
}

static weir_status writes_without_end(const void *in, size_t n, weir_isolate_output *out,
                                      void *user)
{
    char block[4096] = { 0 };
    weir_status status = WEIR_OK;
    if (number_of(in, n) % 2 == 0)
        return doubles(in, n, out, user);
    while (status == WEIR_OK)
        status = weir_isolate_write(out, block, sizeof block);
    return status;
}

static weir_status fails(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    if (number_of(in, n) % 2 == 0)
        return doubles(in, n, out, user);
    (void)!doubles(in, n, out, user);
    return number_of(in, n) % 4 == 1 ? WEIR_EREJECTED : (weir_status)-77;
}

static weir_status wants_memory(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    if (number_of(in, n) % 2 == 0)
        return doubles(in, n, out, user);
    char *much = malloc(64 << 20);
    if (much == NULL)
        return WEIR_ENOMEM;
    memset(much, 1, 64 << 20);
    free(much);
    return doubles(in, n, out, user);
}

static weir_status wants_processor(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    for (volatile uint64_t i = 0; number_of(in, n) == 1; i++)
        ;
    return doubles(in, n, out, user);
}

/* What is open, and what it is let do. */
typedef struct surroundings {
    uint64_t open, core, files;
    int can_fork;
} surroundings;

static weir_status looks_around(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    surroundings s = { 0 };
    struct rlimit is;
    struct stat there;
    (void)in;
    (void)n;
    (void)user;
    for (int fd = 0; fd < 1024; fd++)
        if (fstat(fd, &there) == 0)
            s.open |= fd < 63 ? UINT64_C(1) << fd : UINT64_C(1) << 63;
    if (getrlimit(RLIMIT_CORE, &is) == 0)
        s.core = is.rlim_max;
    if (getrlimit(RLIMIT_NOFILE, &is) == 0)
        s.files = is.rlim_max;
    return weir_isolate_write(out, &s, sizeof s);
}

static weir_status breaks_out(const void *in, size_t n, weir_isolate_output *out, void *user)
{
    if (number_of(in, n) == 1)
        (void)syscall(SYS_socket, 2, 1, 0);
    return doubles(in, n, out, user);
}

static const weir_isolate_work works[] = {
    { "doubles", doubles, NULL },
    { "echoes", echoes, NULL },
    { "crashes", crashes, NULL },
    { "always crashes", always_crashes, NULL },
    { "hangs", hangs, NULL },
    { "lies", lies, NULL },
    { "writes without end", writes_without_end, NULL },
    { "fails", fails, NULL },
    { "wants memory", wants_memory, NULL },
    { "wants processor", wants_processor, NULL },
    { "looks around", looks_around, NULL },
    { "breaks out", breaks_out, NULL },
};

/* ---- The rig ---- */

typedef struct rig {
    weir_isolate_helper *helper, *another; /* another: of one test */
    weir_isolate_stats stats;
    feed f;
    uint64_t expected; /* the next number to come out, when in order */
    uint64_t wrong;    /* outputs that are not what they should be */
    uint64_t disorder;
    char *big;
    void (*seen)(struct rig *r, const weir_item *item);
    surroundings around;
    unsigned fds;
} rig;

static unsigned descriptors(void)
{
    struct stat there;
    unsigned n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fstat(fd, &there) == 0;
    return n;
}

static int set_up(void **state)
{
    rig *r = calloc(1, sizeof *r);
    if (r == NULL)
        return -1;
    r->fds = descriptors();
    r->big = malloc(BIG_BYTES);
    r->f.user = r;
    *state = r;
    return r->big != NULL && weir_isolate_helper_new(NULL, works, sizeof works / sizeof *works,
                                                     &r->helper) == WEIR_OK
               ? 0
               : -1;
}

/* No child is left, dead or alive, and no descriptor. */
static int tear_down(void **state)
{
    rig *r = *state;
    weir_isolate_helper_free(r->helper);
    weir_isolate_helper_free(r->another);
    feed_done(&r->f);
    unsigned fds = descriptors();
    int left = waitpid(-1, NULL, WNOHANG), error = errno;
    if (left != -1 || error != ECHILD)
        printf("a child is left\n");
    if (fds != r->fds)
        printf("%u descriptors before, %u now\n", r->fds, fds);
    bool is_clean = left == -1 && error == ECHILD && fds == r->fds;
    free(r->big);
    free(r);
    return is_clean ? 0 : -1;
}

static weir_status give_number(const weir_item *item, weir_isolate_bytes *ret_in, void *user)
{
    const feed_item *it = weir_item_body(item);
    (void)user;
    *ret_in = (weir_isolate_bytes){ &it->number, sizeof it->number };
    return WEIR_OK;
}

static weir_status give_big(const weir_item *item, weir_isolate_bytes *ret_in, void *user)
{
    (void)item;
    *ret_in = (weir_isolate_bytes){ ((rig *)user)->big, BIG_BYTES };
    return WEIR_OK;
}

static const feed_item *feed_item_of(const weir_item *item)
{
    return weir_item_body(weir_item_root(item));
}

/* A stage behind the one under test that looks at what comes. */
typedef struct look_config {
    rig *r;
} look_config;

static size_t look(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    rig *r = ((const look_config *)weir_stage_config(stage))->r;
    (void)state;
    for (size_t i = 0; i < n; i++)
        r->seen(r, items[i]);
    return n;
}

static const weir_stage_type look_type = {
    .name = "look",
    .config_size = sizeof(look_config),
    .transform = look,
};

static void see_double(rig *r, const weir_item *item)
{
    const weir_isolate_bytes *out = weir_isolate_bytes_of(item);
    uint64_t number = feed_item_of(item)->number, twice = 0;
    if (out != NULL && out->n == sizeof twice)
        memcpy(&twice, out->bytes, sizeof twice);
    r->wrong += twice != 2 * number;
    r->disorder += number < r->expected;
    r->expected = number + 1;
}

static weir_isolate_config config_of(rig *r, const char *work)
{
    return (weir_isolate_config){ .helper = r->helper,
                                  .work = work,
                                  .input = give_number,
                                  .user = r,
                                  .workers = 2,
                                  .restart_ms = 1,
                                  .restart_ms_max = 20,
                                  .restarts_max = 1000,
                                  .stats = &r->stats };
}

/* ---- Running it beside a source and a sink, and looking at what comes out ---- */

static weir_status run(rig *r, uint64_t n, const weir_isolate_config *config)
{
    r->expected = r->wrong = r->disorder = 0;
    if (r->seen == NULL)
        r->seen = see_double;
    r->f.behind = weir_stage_of(&look_type, &(look_config){ r });
    weir_status status = feed_run(&r->f, n, weir_isolate(config));
    if (status != WEIR_OK)
        print_message("%s\n", r->f.why);
    return status;
}

static void assert_all_ended(const rig *r, uint64_t n)
{
    assert_int_equal(r->f.acked + r->f.failed, n);
    for (uint64_t i = 0; i < n; i++)
        assert_true(r->f.statuses[i] <= 0);
    weir_isolate_stats stats;
    weir_isolate_stats_get(&r->stats, &stats);
    assert_int_equal(stats.in_flight, 0);
    assert_int_equal(stats.workers, 0);
}

/* ---- Work ---- */

static void items_are_worked_on_and_come_in_order(void **state)
{
    rig *r = *state;
    for (uint32_t depth = 1; depth <= 16; depth *= 4) {
        weir_isolate_config config = config_of(r, "doubles");
        config.in_flight = depth;
        config.workers = 4;
        assert_int_equal(run(r, 2000, &config), WEIR_OK);
        assert_int_equal(r->f.acked, 2000);
        assert_int_equal(r->wrong + r->disorder, 0);
        assert_all_ended(r, 2000);
    }
    assert_int_equal(r->stats.items, 6000);
    assert_int_equal(r->stats.crashes + r->stats.restarts, 0);
}

static void see_big(rig *r, const weir_item *item)
{
    const weir_isolate_bytes *out = weir_isolate_bytes_of(item);
    r->wrong += out == NULL || out->n != BIG_BYTES || memcmp(out->bytes, r->big, BIG_BYTES) != 0;
}

static void bodies_larger_than_any_socket_buffer_pass(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "echoes");
    config.input = give_big;
    config.in_bytes_max = config.out_bytes_max = BIG_BYTES;
    config.in_flight = 3;
    r->f.item_bytes_max = 2 * BIG_BYTES;
    for (size_t i = 0; i < BIG_BYTES; i++)
        r->big[i] = (char)(i * i >> 7);
    r->seen = see_big;
    assert_int_equal(run(r, 20, &config), WEIR_OK);
    assert_int_equal(r->f.acked, 20);
    assert_int_equal(r->wrong, 0);
}

static void an_input_above_its_limit_fails_alone(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "echoes");
    config.input = give_big;
    config.in_bytes_max = BIG_BYTES - 1;
    assert_int_equal(run(r, 5, &config), WEIR_OK);
    for (int i = 0; i < 5; i++)
        assert_int_equal(r->f.statuses[i], WEIR_ELIMIT);
    assert_int_equal(r->stats.items + r->stats.crashes, 0);
}

static void an_output_above_its_limit_fails_alone(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "writes without end");
    config.out_bytes_max = 100000;
    assert_int_equal(run(r, 100, &config), WEIR_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(r->f.statuses[i], i % 2 == 0 ? WEIR_OK : WEIR_ELIMIT);
    assert_int_equal(r->stats.crashes, 0);
    assert_int_equal(r->wrong, 0);
}

static void work_that_fails_says_how(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "fails");
    assert_int_equal(run(r, 100, &config), WEIR_OK);
    for (int i = 0; i < 100; i++)
        assert_int_equal(r->f.statuses[i], i % 2 == 0   ? WEIR_OK
                                           : i % 4 == 1 ? WEIR_EREJECTED
                                                        : WEIR_EINTERNAL);
    assert_int_equal(r->stats.crashes, 0);
}

/* ---- Crashes ---- */

static void a_crash_fails_what_its_worker_had_and_nothing_else(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "crashes");
    config.workers = 3;
    assert_int_equal(run(r, 2000, &config), WEIR_OK);
    for (int i = 0; i < 2000; i++)
        assert_int_equal(r->f.statuses[i], i % 100 == 50 ? WEIR_EUNAVAILABLE : WEIR_OK);
    assert_int_equal(r->f.acked, 1980);
    assert_int_equal(r->wrong + r->disorder, 0);
    assert_int_equal(r->stats.crashes, 20);
    assert_int_equal(r->stats.items_failed, 20);
    assert_true(r->stats.restarts >= 17); /* the last need no other */
    assert_all_ended(r, 2000);
}

static void with_several_items_a_crash_fails_at_most_those(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "crashes");
    config.in_flight = 4;
    config.unordered = true;
    r->seen = NULL;
    assert_int_equal(run(r, 2000, &config), WEIR_OK);
    for (int i = 0; i < 2000; i++)
        if (i % 100 == 50)
            assert_int_equal(r->f.statuses[i], WEIR_EUNAVAILABLE);
    assert_true(r->f.failed >= 20 && r->f.failed <= 20 * 4);
    assert_int_equal(r->wrong, 0);
    assert_all_ended(r, 2000);
}

static void a_worker_that_always_crashes_is_restarted_ever_more_slowly(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "always crashes");
    struct timespec from, to;
    config.workers = 1;
    config.restart_ms = 5;
    config.restart_ms_max = 40;
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(run(r, 8, &config), WEIR_OK);
    clock_gettime(CLOCK_MONOTONIC, &to);
    int64_t ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
    assert_int_equal(r->f.failed, 8);
    assert_true(ms >= 5 + 10 + 20 + 40 * 4);
    assert_int_equal(r->stats.crashes, 8);
}

static void a_storm_of_restarts_has_a_limit(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "always crashes");
    struct timespec from, to;
    config.restart_ms_max = 1;
    config.restarts_max = 6;
    config.restarts_window_ms = 300;
    clock_gettime(CLOCK_MONOTONIC, &from);
    assert_int_equal(run(r, 20, &config), WEIR_OK);
    clock_gettime(CLOCK_MONOTONIC, &to);
    int64_t ms = (to.tv_sec - from.tv_sec) * 1000 + (to.tv_nsec - from.tv_nsec) / 1000000;
    assert_int_equal(r->f.failed, 20);
    assert_true(ms >= 300); /* 2 + 6 in the first window, 2 windows more */
}

static void a_failing_item_is_retried_as_the_policy_says(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "crashes");
    r->f.policy = (weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                       .retries_max = 2,
                                       .backoff_ms = 1,
                                       .then = WEIR_ON_ERROR_SKIP };
    assert_int_equal(run(r, 200, &config), WEIR_OK);
    assert_int_equal(r->f.acked, 198);
    assert_int_equal(r->stats.crashes, 2 * 3);
    assert_int_equal(r->f.statuses[50], WEIR_EUNAVAILABLE);
}

static void the_pipeline_says_which_signal_it_was(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "crashes");
    r->f.policy = (weir_error_policy){ .on_error = WEIR_ON_ERROR_STOP };
    assert_int_equal(run(r, 200, &config), WEIR_EUNAVAILABLE);
    assert_non_null(strstr(r->f.why, "worker killed by signal 11 (SIGSEGV)"));
    assert_non_null(strstr(r->f.why, "isolate"));
    assert_all_ended(r, r->f.emitted);
}

/* ---- Hangs and lies ---- */

static void a_worker_that_hangs_is_killed_and_only_its_item_fails(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "hangs");
    config.timeout_ms = IS_SANITIZED ? 500 : 100;
    config.workers = 4;
    assert_int_equal(run(r, 50, &config), WEIR_OK);
    for (int i = 0; i < 50; i++)
        assert_int_equal(r->f.statuses[i], i % 10 == 3 ? WEIR_EDEADLINE : WEIR_OK);
    assert_int_equal(r->stats.timeouts, 5);
    assert_int_equal(r->stats.crashes, 0);
    assert_int_equal(r->wrong + r->disorder, 0);
    assert_all_ended(r, 50);
}

static void a_worker_that_lies_is_killed_and_only_its_item_fails(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "lies");
    config.workers = 1;
    assert_int_equal(run(r, 120, &config), WEIR_OK);
    for (int i = 0; i < 120; i++)
        if (i % 10 != 7)
            assert_int_equal(r->f.statuses[i], WEIR_OK);
        else
            assert_int_equal(r->f.statuses[i], i / 10 % 6 == 5 ? WEIR_EUNAVAILABLE : WEIR_EPROTO);
    assert_int_equal(r->stats.breaches, 10);
    assert_int_equal(r->wrong + r->disorder, 0);
    assert_all_ended(r, 120);
}

/* ---- Limits ---- */

static void memory_is_limited(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "wants memory");
    config.memory_bytes_max = 32 << 20;
    if (IS_SANITIZED)
        skip();
    assert_int_equal(run(r, 20, &config), WEIR_OK);
    for (int i = 0; i < 20; i++)
        assert_int_equal(r->f.statuses[i], i % 2 == 0 ? WEIR_OK : WEIR_ENOMEM);
    config.memory_bytes_max = 128 << 20;
    assert_int_equal(run(r, 20, &config), WEIR_OK);
    assert_int_equal(r->f.acked, 20);
}

static void processor_time_is_limited(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "wants processor");
    config.cpu_s_max = 1;
    config.timeout_ms = 120000; /* a second of the processor may take long */
    assert_int_equal(run(r, 3, &config), WEIR_OK);
    assert_int_equal(r->f.statuses[0], WEIR_OK);
    assert_int_equal(r->f.statuses[1], WEIR_EUNAVAILABLE);
    assert_int_equal(r->f.statuses[2], WEIR_OK);
}

static void see_surroundings(rig *r, const weir_item *item)
{
    const weir_isolate_bytes *out = weir_isolate_bytes_of(item);
    if (out != NULL && out->n == sizeof r->around)
        memcpy(&r->around, out->bytes, sizeof r->around);
}

static void a_worker_has_its_socket_and_no_other_descriptor(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "looks around");
    config.files_max = 20;
    r->seen = see_surroundings;
    assert_int_equal(run(r, 1, &config), WEIR_OK);
    assert_int_equal(r->around.open, 15);
    assert_int_equal(r->around.core, 0);
    assert_int_equal(r->around.files, 20);
}

static void the_sandbox_kills_who_wants_more(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "breaks out");
    config.sandbox = true;
    config.cpu_s_max = 5;
    if (IS_SANITIZED)
        skip();
    assert_int_equal(run(r, 3, &config), WEIR_OK);
    assert_int_equal(r->f.statuses[0], WEIR_OK);
    assert_int_equal(r->f.statuses[1], WEIR_EUNAVAILABLE);
    assert_int_equal(r->f.statuses[2], WEIR_OK);
}

/* ---- Kills from outside ---- */

/* Children of `pid` by name, up to `cap`; of all threads. */
static size_t children_of(pid_t pid, const char *name, pid_t *ret_pids, size_t cap)
{
    char path[64], comm[32];
    size_t n = 0;
    DIR *all = opendir("/proc");
    assert_non_null(all);
    for (const struct dirent *entry; (entry = readdir(all)) != NULL && n < cap;) {
        int of = 0, parent = 0, it = atoi(entry->d_name);
        snprintf(path, sizeof path, "/proc/%d/stat", it);
        FILE *file = it > 0 ? fopen(path, "re") : NULL;
        if (file == NULL)
            continue;
        char life = 'Z';
        if (fscanf(file, "%d (%31[^)]) %c %d", &of, comm, &life, &parent) == 4 && parent == pid &&
            life != 'Z' && strcmp(comm, name) == 0)
            ret_pids[n++] = it;
        fclose(file);
    }
    closedir(all);
    return n;
}

static size_t workers(pid_t *ret_pids, size_t cap)
{
    pid_t helpers[4];
    size_t n = 0, n_helpers = children_of(getpid(), "weir-helper", helpers, 4);
    for (size_t i = 0; i < n_helpers; i++)
        n += children_of(helpers[i], "weir-worker", ret_pids + n, cap - n);
    return n;
}

/* Kills one worker now and then while items end. */
static void kill_a_worker(feed *f, const feed_item *item, weir_status status)
{
    pid_t pids[8];
    (void)f;
    (void)status;
    if (item->number % 200 != 100)
        return;
    size_t n = workers(pids, 8);
    if (n != 0)
        kill(pids[item->number % n], SIGKILL);
}

static void workers_that_are_killed_under_load_are_replaced(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "doubles");
    config.workers = 3;
    config.in_flight = 2;
    r->f.ended = kill_a_worker;
    assert_int_equal(run(r, 3000, &config), WEIR_OK);
    assert_true(r->f.failed <= 15 * 2);
    for (int i = 0; i < 3000; i++)
        assert_true(r->f.statuses[i] == WEIR_OK || r->f.statuses[i] == WEIR_EUNAVAILABLE);
    assert_int_equal(r->wrong + r->disorder, 0);
    assert_true(r->stats.crashes >= 5 && r->stats.crashes <= 15);
    assert_all_ended(r, 3000);
}

/* Every helper that works, one after the other; the one that stands by has no workers. */
static void kill_the_helper(feed *f, const feed_item *item, weir_status status)
{
    pid_t helpers[8], pids[8];
    (void)f;
    (void)status;
    if (item->number % 500 != 100)
        return;
    size_t n = children_of(getpid(), "weir-helper", helpers, 8);
    for (size_t i = 0; i < n; i++)
        if (children_of(helpers[i], "weir-worker", pids, 8) != 0)
            kill(helpers[i], SIGKILL);
}

static void a_helper_that_is_killed_under_load_is_replaced(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "doubles");
    r->f.ended = kill_the_helper;
    assert_int_equal(run(r, 3000, &config), WEIR_OK);
    assert_true(r->f.failed <= 2 * 6);
    assert_int_equal(r->wrong + r->disorder, 0);
    assert_true(r->stats.restarts >= 2);
    assert_int_equal(r->stats.crashes, 0);
    assert_all_ended(r, 3000);
}

/* Room for a few leashes: most orders come without all that was sent along. */
static void a_helper_that_was_short_of_descriptors_has_them_again(void **state)
{
    rig *r = *state;
    struct rlimit before, few;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    few = before;
    few.rlim_cur = 14;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    weir_status status = weir_isolate_helper_new(NULL, works, sizeof works / sizeof *works,
                                                 &r->another);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(status, WEIR_OK);
    weir_isolate_config config = config_of(r, "always crashes");
    config.helper = r->another;
    config.workers = 16;
    assert_int_equal(run(r, 300, &config), WEIR_OK);
    config = config_of(r, "doubles");
    config.helper = r->another;
    assert_int_equal(run(r, 100, &config), WEIR_OK);
    assert_int_equal(r->f.acked, 100);
}

/* ---- Ends ---- */

static void abort_soon(feed *f, const feed_item *item, weir_status status)
{
    (void)status;
    if (item->number == 20)
        weir_pipeline_shutdown(f->pipeline, WEIR_ABORT, 0);
}

static void an_abort_ends_every_item(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "echoes");
    config.input = give_big;
    config.in_bytes_max = config.out_bytes_max = BIG_BYTES;
    config.in_flight = 4;
    config.unordered = true;
    r->seen = see_big;
    r->f.ended = abort_soon;
    r->f.item_bytes_max = 2 * BIG_BYTES;
    memset(r->big, 7, BIG_BYTES);
    assert_int_equal(run(r, 1000, &config), WEIR_OK);
    assert_true(r->f.acked != 0);
    assert_true(r->f.emitted < 1000);
    assert_all_ended(r, r->f.emitted);
}

typedef struct stopper {
    rig *r;
    weir_timer timer;
} stopper;

static stopper the_stopper;

static void on_stop(weir_timer *timer, void *user)
{
    (void)timer;
    weir_pipeline_shutdown(((feed *)user)->pipeline, WEIR_ABORT, 0);
}

static void stop_in_a_while(feed *f, weir_loop *loop)
{
    memset(&the_stopper, 0, sizeof the_stopper);
    weir_timer_start(loop, &the_stopper.timer, 50 * WEIR_MS, on_stop, f);
}

static void an_abort_does_not_wait_for_a_worker_that_hangs(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "hangs");
    config.timeout_ms = 60000;
    config.workers = 3;
    r->seen = see_double;
    r->f.started = stop_in_a_while;
    r->f.behind = NULL;
    assert_int_equal(feed_run(&r->f, 1000, weir_isolate(&config)), WEIR_OK);
    assert_true(r->f.emitted < 1000 && r->f.failed != 0);
    assert_all_ended(r, r->f.emitted);
}

static void a_second_pipeline_uses_the_same_helper(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "doubles");
    for (int i = 0; i < 20; i++)
        assert_int_equal(run(r, 20, &config), WEIR_OK);
    assert_int_equal(r->stats.items, 400);
}

static void replicas_have_workers_of_their_own(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "crashes");
    config.workers = 3;
    r->f.loops = 2;
    assert_int_equal(feed_run(&r->f, 2000, weir_isolate(&config)), WEIR_OK);
    assert_int_equal(r->f.acked, 1980);
    assert_int_equal(r->stats.crashes, 20);
}

/* ---- When the process ends ---- */

static bool is_gone(pid_t pid)
{
    char path[64], life = 0;
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return true;
    bool is_zombie = fscanf(file, "%*d (%*[^)]) %c", &life) == 1 && life == 'Z';
    fclose(file);
    return is_zombie; /* whoever inherited it reaps it, not we */
}

static void tell_and_hang(feed *f, weir_loop *loop)
{
    (void)loop;
    (void)!write(*(int *)f->user, "x", 1);
}

static void live_until_killed(int ready, bool is_bare)
{
    weir_isolate_helper *helper = NULL;
    weir_isolate_stats stats = { 0 };
    feed f = { .user = &ready, .started = tell_and_hang };
    for (int fd = 0; is_bare && fd < 3; fd++)
        close(fd);
    if (weir_isolate_helper_new(NULL, works, sizeof works / sizeof *works, &helper) != WEIR_OK)
        _exit(1);
    weir_isolate_config config = { .helper = helper,
                                   .work = "hangs",
                                   .input = give_number,
                                   .workers = 3,
                                   .timeout_ms = 60000,
                                   .stats = &stats };
    (void)!feed_run(&f, 1000, weir_isolate(&config));
    _exit(0);
}

static void kill_and_see(bool is_bare)
{
    int ready[2];
    pid_t all[16];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0)
        live_until_killed(ready[1], is_bare);
    close(ready[1]);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    size_t n = 0;
    for (int i = 0; i < WAIT_MS && n != 3; i++) {
        pid_t helpers[2];
        n = 0;
        size_t h = children_of(pid, "weir-helper", helpers, 2);
        for (size_t k = 0; k < h; k++)
            n += children_of(helpers[k], "weir-worker", all + n, 8 - n);
        memcpy(all + n, helpers, h * sizeof *helpers);
        (void)poll(NULL, 0, 1);
    }
    assert_int_equal(n, 3);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (size_t k = 0; k < n + 2; k++) {
        int i = 0;
        while (i < WAIT_MS && !is_gone(all[k])) {
            (void)poll(NULL, 0, 1);
            i++;
        }
        assert_true(i < WAIT_MS);
    }
}

static void when_the_process_is_killed_helper_and_workers_end_too(void **state)
{
    (void)state;
    kill_and_see(false);
}

/* Its descriptors 0 to 2 are those of the helper, then. */
static void they_end_too_if_it_had_its_standard_descriptors_closed(void **state)
{
    (void)state;
    kill_and_see(true);
}

/* ---- What is refused, and want of memory ---- */

static void assert_refused(const weir_isolate_config *config, weir_status status, const char *why)
{
    feed f = { .n = 0 };
    assert_int_equal(feed_run(&f, 1, weir_isolate(config)), status);
    if (strstr(f.why, why) == NULL)
        fail_msg("expected \"%s\" in: %s", why, f.why);
    feed_done(&f);
}

static void configs_that_make_no_sense_are_refused(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "doubles"), bad;
    assert_refused(NULL, WEIR_EINVAL, "it needs a helper and a work");
    bad = config, bad.work = "nothing";
    assert_refused(&bad, WEIR_EINVAL, "no such work");
    bad = config, bad.workers = 65;
    assert_refused(&bad, WEIR_EINVAL, "workers is over 64");
    bad = config, bad.in_flight = 17;
    assert_refused(&bad, WEIR_EINVAL, "in_flight is over 16");
    bad = config, bad.in_bytes_max = UINT32_MAX;
    assert_refused(&bad, WEIR_EINVAL, "in_bytes_max is over 1 GiB");
    bad = config, bad.out_bytes_max = UINT32_MAX;
    assert_refused(&bad, WEIR_EINVAL, "out_bytes_max is over 1 GiB");
    bad = config, bad.files_max = 3;
    assert_refused(&bad, WEIR_EINVAL, "files_max is below 4");
    weir_isolate_helper *none = NULL;
    weir_isolate_work twice[] = { works[0], works[0] };
    assert_int_equal(weir_isolate_helper_new(NULL, NULL, 0, &none), WEIR_EINVAL);
    assert_int_equal(weir_isolate_helper_new(NULL, twice, 2, &none), WEIR_EINVAL);
    weir_isolate_helper_free(NULL);
}

static void a_virtual_loop_is_refused(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "doubles");
    weir_testkit *kit = weir_testkit_new(1, 7);
    weir_pipeline *p = weir_testkit_pipeline(kit);
    weir_from(p, weir_probe_source(weir_testkit_probe(kit)));
    weir_via(p, weir_isolate(&config));
    weir_into(p, weir_probe_sink(weir_testkit_probe(kit)));
    (void)!weir_testkit_start(kit, p);
    assert_true(weir_testkit_settle(kit));
    assert_int_equal(weir_pipeline_status(p), WEIR_EUNSUPPORTED);
    weir_pipeline_free(p);
    assert_int_equal(weir_testkit_free(kit), 0);
}

static void every_allocation_may_fail(void **state)
{
    rig *r = *state;
    weir_isolate_config config = config_of(r, "doubles");
    for (uint64_t nth = 1;; nth++) {
        feed_memory memory;
        feed_memory_init(&memory, nth);
        r->f.env = &memory.env;
        weir_status status = feed_run(&r->f, 30, weir_isolate(&config));
        if (memory.asked < nth)
            break;
        assert_true(status == WEIR_OK || status == WEIR_ENOMEM);
        assert_int_equal(r->f.acked + r->f.failed, r->f.emitted);
        assert_true(nth < 1000);
    }
    assert_int_equal(r->f.acked, 30);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(items_are_worked_on_and_come_in_order),
        TEST(bodies_larger_than_any_socket_buffer_pass),
        TEST(an_input_above_its_limit_fails_alone),
        TEST(an_output_above_its_limit_fails_alone),
        TEST(work_that_fails_says_how),
        TEST(a_crash_fails_what_its_worker_had_and_nothing_else),
        TEST(with_several_items_a_crash_fails_at_most_those),
        TEST(a_worker_that_always_crashes_is_restarted_ever_more_slowly),
        TEST(a_storm_of_restarts_has_a_limit),
        TEST(a_failing_item_is_retried_as_the_policy_says),
        TEST(the_pipeline_says_which_signal_it_was),
        TEST(a_worker_that_hangs_is_killed_and_only_its_item_fails),
        TEST(a_worker_that_lies_is_killed_and_only_its_item_fails),
        TEST(memory_is_limited),
        TEST(processor_time_is_limited),
        TEST(a_worker_has_its_socket_and_no_other_descriptor),
        TEST(the_sandbox_kills_who_wants_more),
        TEST(workers_that_are_killed_under_load_are_replaced),
        TEST(a_helper_that_is_killed_under_load_is_replaced),
        TEST(a_helper_that_was_short_of_descriptors_has_them_again),
        TEST(an_abort_ends_every_item),
        TEST(an_abort_does_not_wait_for_a_worker_that_hangs),
        TEST(a_second_pipeline_uses_the_same_helper),
        TEST(replicas_have_workers_of_their_own),
        TEST(when_the_process_is_killed_helper_and_workers_end_too),
        TEST(they_end_too_if_it_had_its_standard_descriptors_closed),
        TEST(configs_that_make_no_sense_are_refused),
        TEST(a_virtual_loop_is_refused),
        TEST(every_allocation_may_fail),
    };
    return cmocka_run_group_tests_name("isolate", tests, NULL, NULL);
}
