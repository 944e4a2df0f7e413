/* The helper, from inside: forks workers on order, reaps them, tells their stages how they ended.
 *
 * It has one thread, few descriptors and next to no memory of its own, so that forking it is quick
 * and safe. It ends with its control socket, that is with the process that made it. */
#include "isolate_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CONTROL = 3, CHILDREN = 4, CHILDREN_TELL = 5, WORKERS_MAX = 1024 };

typedef struct helper {
    const weir_isolate_work *works;
    size_t n; /* workers */
    pid_t pids[WORKERS_MAX];
    struct pollfd polls[2 + WORKERS_MAX]; /* control, children, leashes (fd -1: let go) */
} helper;

static void tell(int leash, const wi_isolate_news *news)
{
    (void)send(leash, news, sizeof *news, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* ---- Orders ---- */

static void spawn(helper *h, const wi_isolate_order *order, int socket, int leash)
{
    pid_t self = getpid(), pid = -1;
    if (h->n < WORKERS_MAX)
        pid = fork();
    if (pid == 0)
        wi_isolate_child_live(&h->works[order->work], &order->limits, socket, self);
    close(socket);
    if (pid < 0) {
        tell(leash, &(wi_isolate_news){ .failed = h->n < WORKERS_MAX ? errno : EAGAIN });
        close(leash);
        return;
    }
    h->pids[h->n] = pid;
    h->polls[2 + h->n] = (struct pollfd){ .fd = leash, .events = POLLIN };
    h->n++;
}

static void beget(helper *h, int control)
{
    if (fork() == 0)
        wi_isolate_helper_live(h->works, control);
    close(control);
}

/* Gives the number of descriptors, -1 at the end. */
static int take_order(wi_isolate_order *ret_order, int ret_fds[2])
{
    union {
        struct cmsghdr align;
        char room[CMSG_SPACE(2 * sizeof(int))];
    } rights;
    struct iovec part = { ret_order, sizeof *ret_order };
    struct msghdr message = { .msg_iov = &part,
                              .msg_iovlen = 1,
                              .msg_control = rights.room,
                              .msg_controllen = sizeof rights.room };
    ssize_t n = recvmsg(CONTROL, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    const struct cmsghdr *head = n == (ssize_t)sizeof *ret_order ? CMSG_FIRSTHDR(&message) : NULL;
    if (head == NULL || head->cmsg_type != SCM_RIGHTS)
        return n == 0 ? -1 : 0;
    size_t fds = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    memcpy(ret_fds, CMSG_DATA(head), fds * sizeof(int));
    return (int)fds;
}

/* False: there will be no more. */
static bool obey(helper *h)
{
    wi_isolate_order order = { 0 };
    int fds[2] = { -1, -1 };
    int n = take_order(&order, fds);
    if (n == 2 && order.kind == WI_ISOLATE_SPAWN)
        spawn(h, &order, fds[0], fds[1]);
    else if (n == 1 && order.kind == WI_ISOLATE_BEGET)
        beget(h, fds[0]);
    else /* there was no room for the other, whose end its stage sees */
        for (int i = 0; i < n; i++)
            close(fds[i]);
    return n >= 0;
}

/* ---- Ends ---- */

static void forget(helper *h, size_t i)
{
    if (h->polls[2 + i].fd >= 0)
        close(h->polls[2 + i].fd);
    h->n--;
    h->pids[i] = h->pids[h->n];
    h->polls[2 + i] = h->polls[2 + h->n];
}

static void reap(helper *h)
{
    char told[64];
    int status;
    (void)!read(CHILDREN, told, sizeof told); /* a byte may stand for many */
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        size_t i = 0;
        while (i < h->n && h->pids[i] != pid)
            i++;
        if (i == h->n)
            continue; /* a helper that this one begot */
        if (h->polls[2 + i].fd >= 0)
            tell(h->polls[2 + i].fd, &(wi_isolate_news){ .wait_status = status });
        forget(h, i);
    }
}

/* A byte on the leash, or its end. The process is reaped later, so its number is still its own. */
static void kill_let_go(helper *h)
{
    for (size_t i = 0; i < h->n; i++) {
        struct pollfd *leash = &h->polls[2 + i];
        char byte;
        if (leash->fd < 0 || leash->revents == 0)
            continue;
        kill(h->pids[i], SIGKILL);
        if (recv(leash->fd, &byte, 1, MSG_DONTWAIT) <= 0) { /* nobody wants to know its end */
            close(leash->fd);
            leash->fd = -1;
        }
    }
}

static void end(helper *h)
{
    for (size_t i = 0; i < h->n; i++)
        kill(h->pids[i], SIGKILL);
    for (size_t i = 0; i < h->n; i++)
        while (waitpid(h->pids[i], NULL, 0) < 0 && errno == EINTR)
            ;
    _exit(0);
}

/* ---- Its life ---- */

/* By a pipe, not a signalfd: that would miss what a thread with another mask, such as a
 * sanitizer's, is given. */
static void on_child(int signal)
{
    int error = errno;
    (void)signal;
    (void)!write(CHILDREN_TELL, "c", 1);
    errno = error;
}

/* What it is sent must not come to stand there: a worker's stderr would be its leash. */
static void fill_standard(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= 2);
    if (fd > 2)
        close(fd);
}

static void settle_in(int control)
{
    static const int ignored[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2 };
    struct sigaction child = { .sa_handler = on_child, .sa_flags = SA_RESTART | SA_NOCLDSTOP };
    sigset_t none;
    int pair[2];
    prctl(PR_SET_NAME, "weir-helper");
    /* What ends the service's drain is sent to its whole group. */
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN);
    if (control != CONTROL && dup2(control, CONTROL) != CONTROL)
        _exit(1);
    wi_isolate_close_from(CHILDREN);
    fill_standard();
    if (pipe2(pair, O_NONBLOCK | O_CLOEXEC) != 0 || pair[0] != CHILDREN ||
        pair[1] != CHILDREN_TELL || sigaction(SIGCHLD, &child, NULL) != 0)
        _exit(1);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

void wi_isolate_helper_live(const weir_isolate_work *works, int control)
{
    settle_in(control);
    helper *h = calloc(1, sizeof *h);
    if (h == NULL)
        _exit(1);
    h->works = works;
    h->polls[0] = (struct pollfd){ .fd = CONTROL, .events = POLLIN };
    h->polls[1] = (struct pollfd){ .fd = CHILDREN, .events = POLLIN };
    for (;;) {
        int n = poll(h->polls, 2 + h->n, -1);
        if (n < 0 && errno != EINTR)
            end(h);
        if (n <= 0)
            continue;
        kill_let_go(h);
        if (h->polls[1].revents != 0)
            reap(h);
        if (h->polls[0].revents != 0 && !obey(h))
            end(h);
    }
}
