/* A worker, from inside: gives up what it does not need, then reads a frame, works, writes one. */
#include "isolate_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

enum { KEPT_BYTES = 64 * 1024, FIRST_BYTES = 4096 };

/* ---- The output ---- */

struct weir_isolate_output {
    char *bytes;
    size_t n, cap, max;
};

weir_status weir_isolate_write(weir_isolate_output *out, const void *bytes, size_t n)
{
    if (n > out->max - out->n)
        return WEIR_ELIMIT;
    if (n > out->cap - out->n) {
        size_t cap = out->cap != 0 ? out->cap : FIRST_BYTES;
        while (cap < out->n + n)
            cap *= 2;
        char *grown = realloc(out->bytes, cap);
        if (grown == NULL)
            return WEIR_ENOMEM;
        out->bytes = grown;
        out->cap = cap;
    }
    if (n != 0)
        memcpy(out->bytes + out->n, bytes, n);
    out->n += n;
    return WEIR_OK;
}

void weir_isolate_rewind(weir_isolate_output *out)
{
    out->n = 0;
}

/* ---- What it gives up ---- */

void wi_isolate_close_from(int first)
{
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, ~0u, 0) == 0)
        return;
#endif
    struct rlimit files;
    int last = getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < 65536 ? (int)files.rlim_cur
                                                                               : 65536;
    for (int fd = first; fd < last; fd++)
        close(fd);
}

static void descriptors(int socket)
{
    if (socket != WI_ISOLATE_SOCKET && dup2(socket, WI_ISOLATE_SOCKET) != WI_ISOLATE_SOCKET)
        _exit(1);
    wi_isolate_close_from(WI_ISOLATE_SOCKET + 1);
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || dup2(null, 0) != 0 || dup2(null, 1) != 1)
        _exit(1);
    close(null);
}

static void signals(void)
{
    static const int defaults[] = { SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD };
    sigset_t none;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
        signal(defaults[i], SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

static uint64_t address_space(void)
{
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%lu", &pages) != 1)
        pages = 0;
    fclose(file);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void limit(int what, uint64_t most)
{
    struct rlimit is;
    if (getrlimit(what, &is) != 0)
        return;
    if (most < is.rlim_max)
        is.rlim_max = most;
    is.rlim_cur = is.rlim_max;
    setrlimit(what, &is);
}

static void give_up(const wi_isolate_limits *limits, int socket, int helper_pid)
{
    prctl(PR_SET_NAME, "weir-worker");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != helper_pid)
        _exit(1);
    descriptors(socket);
    signals();
    limit(RLIMIT_CORE, 0);
    limit(RLIMIT_NOFILE, limits->files_max);
    uint64_t base = address_space();
    if (!IS_SANITIZED && base != 0 && limits->memory_bytes_max < UINT64_MAX - base)
        limit(RLIMIT_AS, base + limits->memory_bytes_max);
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (!IS_SANITIZED && limits->sandbox && !wi_isolate_sandbox_enter())
        _exit(1);
}

/* The limit is for the process's whole life, so it is moved on from item to item. Not by the C
 * library, whose call could be told to reach other processes, so that the sandbox has it not. */
static void allow_cpu(uint32_t seconds)
{
    struct rusage used;
    struct rlimit is;
    if (seconds == 0 || getrusage(RUSAGE_SELF, &used) != 0 ||
        syscall(SYS_getrlimit, RLIMIT_CPU, &is) != 0)
        return;
    is.rlim_cur = (rlim_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec + 1) + seconds;
    if (is.rlim_cur <= is.rlim_max)
        (void)syscall(SYS_setrlimit, RLIMIT_CPU, &is);
}

/* ---- Work ---- */

static bool read_all(void *to, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t more = read(WI_ISOLATE_SOCKET, (char *)to + got, n - got);
        if (more < 0 && errno == EINTR)
            continue;
        if (more <= 0)
            return false;
        got += (size_t)more;
    }
    return true;
}

static bool write_all(struct iovec *parts, int n)
{
    while (n > 0) {
        ssize_t wrote = writev(WI_ISOLATE_SOCKET, parts, n);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0)
            return false;
        for (; n > 0 && (size_t)wrote >= parts->iov_len; n--, parts++)
            wrote -= (ssize_t)parts->iov_len;
        if (n > 0) {
            parts->iov_base = (char *)parts->iov_base + wrote;
            parts->iov_len -= (size_t)wrote;
        }
    }
    return true;
}

static bool answer(uint64_t serial, weir_status status, const weir_isolate_output *out)
{
    size_t n = status == WEIR_OK ? out->n : 0;
    wi_isolate_head head = {
        .magic = WI_ISOLATE_MAGIC, .status = status, .serial = serial, .bytes = n
    };
    struct iovec parts[2] = { { &head, sizeof head }, { out->bytes, n } };
    return write_all(parts, 2);
}

static weir_status work_on(const weir_isolate_work *work, const wi_isolate_limits *limits,
                           const void *in, size_t n, weir_isolate_output *out)
{
    out->n = 0;
    allow_cpu(limits->cpu_s_max);
    weir_status status = work->run(in, n, out, work->user);
    return status > 0 || status <= -WEIR_STATUS_COUNT ? WEIR_EINTERNAL : status;
}

/* Big ones go back to the system, so that an idle worker is small. */
static void keep_small(char **buffer, size_t *cap)
{
    if (*cap <= KEPT_BYTES)
        return;
    free(*buffer);
    *buffer = NULL;
    *cap = 0;
}

/* Without memory for an input it can't be skipped either way: the worker ends, and its item fails
 * with it. */
static bool make_room(char **buffer, size_t *cap, size_t n)
{
    if (n <= *cap)
        return true;
    free(*buffer);
    *cap = n < KEPT_BYTES ? KEPT_BYTES : n;
    *buffer = malloc(*cap);
    return *buffer != NULL;
}

void wi_isolate_child_live(const weir_isolate_work *work, const wi_isolate_limits *limits,
                           int socket, int helper_pid)
{
    wi_isolate_limits l = *limits;
    weir_isolate_output out = { .max = l.out_bytes_max };
    wi_isolate_head head;
    char *in = NULL;
    size_t cap = 0;
    give_up(&l, socket, helper_pid);
    while (read_all(&head, sizeof head)) {
        if (head.bytes > l.in_bytes_max || !make_room(&in, &cap, (size_t)head.bytes) ||
            !read_all(in, (size_t)head.bytes))
            _exit(2);
        weir_status status = work_on(work, &l, in, (size_t)head.bytes, &out);
        keep_small(&in, &cap);
        if (!answer(head.serial, status, &out))
            _exit(2);
        keep_small(&out.bytes, &out.cap);
    }
    _exit(0);
}
