/* The helper, from outside: forked once, asked for workers, replaced by the one that stands by. */
#include "isolate_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORKS_MAX = 64, END_MS = 5000 };

typedef struct helper_process {
    int control; /* -1: none */
    pid_t pid;   /* 0: not a child of this process */
} helper_process;

struct weir_isolate_helper {
    const weir_env *env;
    const weir_isolate_work *works;
    uint32_t n_works;
    pthread_mutex_t lock;
    helper_process now, standby;
    pid_t dead[2]; /* killed children of ours that were not there to be reaped yet */
};

int wi_isolate_work_find(const weir_isolate_helper *helper, const char *name)
{
    for (uint32_t i = 0; i < helper->n_works; i++)
        if (strcmp(helper->works[i].name, name) == 0)
            return (int)i;
    return -1;
}

/* ---- Orders ---- */

/* WEIR_ECLOSED: that helper is no more. */
static weir_status give_order(int control, const wi_isolate_order *order, const int *fds, size_t n)
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } rights;
    struct iovec part = { (void *)(uintptr_t)order, sizeof *order };
    struct msghdr message = { .msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = rights.room,
                              .msg_controllen = CMSG_SPACE(n * sizeof(int)) };
    memset(&rights, 0, sizeof rights);
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(head), fds, n * sizeof(int));
    if (sendmsg(control, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof *order)
        return WEIR_OK;
    return errno == EPIPE || errno == ECONNRESET ? WEIR_ECLOSED : WEIR_EAGAIN;
}

/* ---- The one that stands by ---- */

static void reap_dead(weir_isolate_helper *helper)
{
    for (size_t i = 0; i < 2; i++)
        if (helper->dead[i] != 0 && waitpid(helper->dead[i], NULL, WNOHANG) != 0)
            helper->dead[i] = 0;
}

static void bury_helper(weir_isolate_helper *helper, helper_process *process)
{
    if (process->control >= 0)
        close(process->control);
    if (process->pid != 0)
        helper->dead[helper->dead[0] != 0] = process->pid;
    *process = (helper_process){ .control = -1 };
}

static void beget(weir_isolate_helper *helper)
{
    int pair[2];
    wi_isolate_order order = { .kind = WI_ISOLATE_BEGET };
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return;
    if (give_order(helper->now.control, &order, &pair[1], 1) == WEIR_OK)
        helper->standby.control = pair[0];
    else
        close(pair[0]);
    close(pair[1]);
}

/* Whether the other end is closed: the standby is never written to. */
static bool is_gone(int control)
{
    struct pollfd p = { .fd = control };
    return control < 0 || (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)) != 0);
}

weir_status wi_isolate_helper_spawn(weir_isolate_helper *helper, const wi_isolate_order *order,
                                    int socket, int leash)
{
    int fds[2] = { socket, leash };
    pthread_mutex_lock(&helper->lock);
    weir_status status = WEIR_ECLOSED;
    reap_dead(helper);
    for (int i = 0; i < 2 && status == WEIR_ECLOSED; i++) {
        if (is_gone(helper->now.control)) {
            bury_helper(helper, &helper->now);
            helper->now = helper->standby;
            helper->standby = (helper_process){ .control = -1 };
        }
        if (helper->now.control >= 0)
            status = give_order(helper->now.control, order, fds, 2);
    }
    if (status == WEIR_OK && is_gone(helper->standby.control)) {
        bury_helper(helper, &helper->standby);
        beget(helper);
    }
    pthread_mutex_unlock(&helper->lock);
    return status;
}

/* ---- Birth and end ---- */

static bool has_one_thread(void)
{
    DIR *tasks = opendir("/proc/self/task");
    int n = 0;
    if (tasks == NULL)
        return true; /* nobody to ask */
    for (const struct dirent *entry; (entry = readdir(tasks)) != NULL;)
        n += entry->d_name[0] != '.';
    closedir(tasks);
    return n == 1;
}

/* Both above the standard descriptors, which this process may have closed: the helper keeps those,
 * and must not keep the other end, whose end is its own. */
static bool control_pair(int ret_pair[2])
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        return false;
    for (int i = 0; i < 2; i++) {
        ret_pair[i] = pair[i] > 2 ? pair[i] : fcntl(pair[i], F_DUPFD_CLOEXEC, 3);
        if (ret_pair[i] != pair[i])
            close(pair[i]);
    }
    if (ret_pair[0] >= 0 && ret_pair[1] >= 0)
        return true;
    close(ret_pair[ret_pair[0] < 0]);
    return false;
}

static weir_status fork_helper(const weir_isolate_work *works, helper_process *ret_process)
{
    int pair[2];
    if (!control_pair(pair))
        return WEIR_ELIMIT;
    pid_t pid = fork();
    if (pid == 0)
        wi_isolate_helper_live(works, pair[1]);
    close(pair[1]);
    if (pid < 0) {
        close(pair[0]);
        return WEIR_ELIMIT;
    }
    *ret_process = (helper_process){ .control = pair[0], .pid = pid };
    return WEIR_OK;
}

static bool is_sane(const weir_isolate_work *works, uint32_t n)
{
    if (works == NULL || n == 0 || n > WORKS_MAX)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        if (works[i].name == NULL || works[i].run == NULL)
            return false;
        for (uint32_t k = 0; k < i; k++)
            if (strcmp(works[i].name, works[k].name) == 0)
                return false;
    }
    return true;
}

#if defined(__SANITIZE_THREAD__)
#define HAS_THREADS_OF_ITS_OWN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_THREADS_OF_ITS_OWN 1
#endif
#endif
#ifndef HAS_THREADS_OF_ITS_OWN
#define HAS_THREADS_OF_ITS_OWN 0
#endif

weir_status weir_isolate_helper_new(const weir_env *env, const weir_isolate_work *works, uint32_t n,
                                    weir_isolate_helper **ret_helper)
{
    if (ret_helper == NULL || !is_sane(works, n) || (!HAS_THREADS_OF_ITS_OWN && !has_one_thread()))
        return WEIR_EINVAL;
    weir_isolate_helper *helper = weir_memory_new(env, sizeof *helper);
    if (helper == NULL)
        return WEIR_ENOMEM;
    helper->env = env;
    helper->works = works;
    helper->n_works = n;
    helper->now.control = helper->standby.control = -1;
    pthread_mutex_init(&helper->lock, NULL);
    weir_status status = fork_helper(works, &helper->now);
    if (status == WEIR_OK)
        status = fork_helper(works, &helper->standby);
    if (status != WEIR_OK) {
        weir_isolate_helper_free(helper);
        return status;
    }
    *ret_helper = helper;
    return WEIR_OK;
}

/* Its socket ends after its workers are reaped. One that is stopped, say by a debugger, is killed.
 */
static void end_helper(helper_process *process)
{
    struct pollfd end = { .fd = process->control };
    if (process->control < 0)
        return;
    shutdown(process->control, SHUT_WR);
    while (poll(&end, 1, END_MS) < 0 && errno == EINTR)
        ;
    if (end.revents == 0 && process->pid != 0)
        kill(process->pid, SIGKILL);
    close(process->control);
    process->control = -1;
}

static void reap(pid_t pid)
{
    while (pid != 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

void weir_isolate_helper_free(weir_isolate_helper *helper)
{
    if (helper == NULL)
        return;
    /* The standby first: it may be the other's child. */
    end_helper(&helper->standby);
    end_helper(&helper->now);
    reap(helper->standby.pid);
    reap(helper->now.pid);
    reap(helper->dead[0]);
    reap(helper->dead[1]);
    pthread_mutex_destroy(&helper->lock);
    weir_memory_free(helper->env, helper);
}
