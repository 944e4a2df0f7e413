/* The priority router (S10), as a process of its own, over real sockets. */
#include "servers.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 30000, CALLERS_MAX = 16 };

static pid_t start(char *const more[], size_t n, uint16_t *ret_port)
{
    static char listen[32];
    char *argv[24] = { (char *)PRIORITY_BIN, (char *)"--listen", listen };
    *ret_port = server_free_port();
    snprintf(listen, sizeof listen, "127.0.0.1:%u", *ret_port);
    for (size_t i = 0; i < n; i++)
        argv[3 + i] = more[i];
    pid_t pid = server_spawn(argv, NULL, NULL);
    assert_true(pid > 0);
    assert_true(server_wait_port(*ret_port, WAIT_MS));
    return pid;
}

static int send_work(uint16_t port, bool premium)
{
    int fd = server_dial(port, WAIT_MS / 1000);
    assert_true(fd >= 0);
    char text[160];
    int n = snprintf(text, sizeof text,
                     "POST /work HTTP/1.1\r\nHost: x\r\n%sContent-Length: 0\r\n\r\n",
                     premium ? "Tier: premium\r\n" : "");
    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
    return fd;
}

/* Waits for any of the answers; gives its index, and its status code. */
static size_t next_answer(int *fds, size_t n, int *ret_code)
{
    struct pollfd polled[CALLERS_MAX];
    char text[512];
    for (size_t i = 0; i < n; i++)
        polled[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
    assert_true(poll(polled, n, WAIT_MS) > 0);
    for (size_t i = 0; i < n; i++) {
        if ((polled[i].revents & POLLIN) == 0)
            continue;
        ssize_t got = recv(fds[i], text, sizeof text - 1, 0);
        assert_true(got > 12);
        text[got] = '\0';
        assert_int_equal(sscanf(text, "HTTP/1.1 %d", ret_code), 1);
        close(fds[i]);
        fds[i] = -1;
        return i;
    }
    fail_msg("woken for nothing");
    return 0;
}

static void stop(pid_t pid)
{
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(server_wait_exit(pid, WAIT_MS), 0);
}

/* One worker, so that what waits is answered one by one. */
static char *one_worker[] = { (char *)"--workers", (char *)"1",         (char *)"--reserved",
                              (char *)"0",         (char *)"--work-us", (char *)"100000" };

static void premium_overtakes_normal_work_that_waits(void **unused)
{
    (void)unused;
    uint16_t port;
    pid_t pid = start(one_worker, 6, &port);
    int fds[9];
    for (size_t i = 0; i < 8; i++)
        fds[i] = send_work(port, false);
    fds[8] = send_work(port, true);
    size_t before = 0;
    for (int code; next_answer(fds, 9, &code) != 8; before++)
        assert_int_equal(code, 200);
    /* At most what was in the worker's hands and past choosing when it came. */
    assert_in_range(before, 0, 4);
    for (; before < 8; before++) {
        int code;
        (void)next_answer(fds, 9, &code);
        assert_int_equal(code, 200);
    }
    stop(pid);
}

static void more_than_may_wait_is_refused_and_premium_is_not(void **unused)
{
    (void)unused;
    char *args[8];
    memcpy(args, one_worker, sizeof one_worker);
    args[6] = (char *)"--waiting";
    args[7] = (char *)"2";
    uint16_t port;
    pid_t pid = start(args, 8, &port);
    int fds[13], refused = 0;
    for (size_t i = 0; i < 12; i++)
        fds[i] = send_work(port, false);
    fds[12] = send_work(port, true);
    for (size_t i = 0; i < 13; i++) {
        int code;
        size_t which = next_answer(fds, 13, &code);
        assert_true(code == 200 || (code == 503 && which != 12));
        refused += code == 503;
    }
    assert_in_range(refused, 4, 10);
    stop(pid);
}

static void what_was_begun_is_answered_before_it_ends(void **unused)
{
    (void)unused;
    uint16_t port;
    pid_t pid = start(one_worker, 6, &port);
    int fds[3], code;
    for (size_t i = 0; i < 3; i++)
        fds[i] = send_work(port, i == 0);
    assert_int_equal(next_answer(fds, 1, &code), 0);
    assert_int_equal(kill(pid, SIGTERM), 0);
    for (size_t i = 0; i < 2; i++) {
        (void)next_answer(fds, 3, &code);
        assert_int_equal(code, 200);
    }
    assert_int_equal(server_wait_exit(pid, WAIT_MS), 0);
}

static int exit_code(char *const argv[])
{
    pid_t pid = server_spawn(argv, NULL, NULL);
    assert_true(pid > 0);
    return server_wait_exit(pid, WAIT_MS);
}

static void a_wrong_command_line_is_refused(void **unused)
{
    (void)unused;
    char *program = (char *)PRIORITY_BIN;
    assert_int_equal(exit_code((char *[]){ program, (char *)"--help", NULL }), 0);
    assert_int_equal(exit_code((char *[]){ program, (char *)"--nothing", NULL }), 2);
    assert_int_equal(exit_code((char *[]){ program, (char *)"--workers", (char *)"0", NULL }), 2);
    assert_int_equal(exit_code((char *[]){ program, (char *)"more", NULL }), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(premium_overtakes_normal_work_that_waits),
        cmocka_unit_test(more_than_may_wait_is_refused_and_premium_is_not),
        cmocka_unit_test(what_was_begun_is_answered_before_it_ends),
        cmocka_unit_test(a_wrong_command_line_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
