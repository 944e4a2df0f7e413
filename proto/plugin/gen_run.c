/* Runs a program and talks to it through pipes, both ways at once. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gen.h"

typedef struct conversation {
    pid_t pid;
    int to, from; /* -1: closed */
    const uint8_t *in;
    size_t in_n;
    wi_gen_text *out;
} conversation;

static void close_fd(int *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

static bool spawn(wi_gen *gen, const char *program, const int to[2], const int from[2],
                  pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0) {
        return wi_gen_fail(gen, "out of memory");
    }
    posix_spawn_file_actions_adddup2(&actions, to[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, from[1], STDOUT_FILENO);
    char *arguments[] = { wi_gen_print(gen->pool, "%s", program), NULL };
    int error = posix_spawnp(ret_pid, program, &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    return error == 0 ||
           wi_gen_fail(gen,
                       "cannot run %s: %s; it comes with protobuf-c (Debian: "
                       "protobuf-c-compiler); the parameter protoc_gen_c= says where it is",
                       program, strerror(error));
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static bool read_some(wi_gen *gen, const char *program, conversation *talk)
{
    char bytes[16384];
    ssize_t n = read(talk->from, bytes, sizeof bytes);
    if (n > 0) {
        wi_gen_append(talk->out, bytes, (size_t)n);
        return talk->out->n <= WI_GEN_RESPONSE_BYTES_MAX ||
               wi_gen_fail(gen, "%s says more than %d bytes", program, WI_GEN_RESPONSE_BYTES_MAX);
    }
    if (n == 0) {
        close_fd(&talk->from);
    }
    return n == 0 || errno == EINTR || errno == EAGAIN ||
           wi_gen_fail(gen, "reading from %s: %s", program, strerror(errno));
}

/* What a program that is gone does not read is no error here: how it ended says more. */
static void write_some(conversation *talk)
{
    ssize_t n = write(talk->to, talk->in, talk->in_n);
    if (n > 0) {
        talk->in += n;
        talk->in_n -= (size_t)n;
    }
    if (talk->in_n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        close_fd(&talk->to);
    }
}

static bool converse(wi_gen *gen, const char *program, conversation *talk)
{
    int64_t until = now_ms() + WI_GEN_CHILD_MS_MAX;
    if (talk->in_n == 0) {
        close_fd(&talk->to);
    }
    while (talk->from >= 0) {
        struct pollfd fds[2] = { { talk->from, POLLIN, 0 }, { talk->to, POLLOUT, 0 } };
        int64_t left = until - now_ms();
        int got = left > 0 ? poll(fds, 2, (int)left) : 0;
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return wi_gen_fail(gen, "%s: no end after %d ms", program, WI_GEN_CHILD_MS_MAX);
        }
        if (got > 0 && fds[1].revents != 0) {
            write_some(talk);
        }
        if (got > 0 && fds[0].revents != 0 && !read_some(gen, program, talk)) {
            return false;
        }
    }
    return true;
}

static bool wait_for(wi_gen *gen, const char *program, pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return wi_gen_fail(gen, "waiting for %s: %s", program, strerror(errno));
        }
    }
    if (WIFSIGNALED(status)) {
        return wi_gen_fail(gen, "%s was ended by signal %d (%s)", program, WTERMSIG(status),
                           strsignal(WTERMSIG(status)));
    }
    return WEXITSTATUS(status) == 0 ||
           wi_gen_fail(gen, "%s failed with exit code %d", program, WEXITSTATUS(status));
}

bool wi_gen_run(wi_gen *gen, const char *program, const uint8_t *in, size_t in_n,
                wi_gen_text *ret_out)
{
    int to[2] = { -1, -1 }, from[2] = { -1, -1 };
    bool ok = false;
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0 ||
        fcntl(to[1], F_SETFL, O_NONBLOCK) != 0) {
        wi_gen_fail(gen, "pipe: %s", strerror(errno));
        goto close_all;
    }
    signal(SIGPIPE, SIG_IGN);
    conversation talk = { .to = to[1], .from = from[0], .in = in, .in_n = in_n, .out = ret_out };
    if (!spawn(gen, program, to, from, &talk.pid)) {
        goto close_all;
    }
    close_fd(&to[0]);
    close_fd(&from[1]);
    ok = converse(gen, program, &talk);
    if (!ok) {
        kill(talk.pid, SIGKILL);
    }
    to[1] = talk.to;
    from[0] = talk.from;
    ok = wait_for(gen, program, talk.pid) && ok;
close_all:
    for (int i = 0; i < 2; i++) {
        close_fd(&to[i]);
        close_fd(&from[i]);
    }
    return ok;
}
