/* A server on a real event_base, with every allocation failing in turn, libevent's and weir's on
 * one hook: whatever fails, nothing crashes, nothing is left, and the next server works. */
#include "servers.h"

#include <weir/http_server.h>
#include <weir/pipeline.h>
#include <weir/stages.h>

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { TURNS_MAX = 2000, WALK_MAX = 5000 };

/* ---- The hook ----
 *
 * Of libevent by event_set_mem_functions, of weir by its env. A further library joins by calls of
 * counted_resize: nghttp2 by the four functions of its nghttp2_mem, protobuf-c by the two of its
 * ProtobufCAllocator. */

typedef union head {
    size_t bytes;
    max_align_t aligned;
} head;

static struct {
    uint64_t n, fail_at, of_libevent;
    size_t bytes;
} hook;

static void *counted_resize(void *memory, size_t bytes, void *user)
{
    head *old = memory != NULL ? (head *)memory - 1 : NULL;
    size_t old_bytes = old != NULL ? old->bytes : 0;
    (void)user;
    if (bytes == 0) {
        hook.bytes -= old_bytes;
        free(old);
        return NULL;
    }
    if (++hook.n == hook.fail_at)
        return NULL;
    head *h = realloc(old, sizeof *h + bytes);
    if (h == NULL)
        return NULL;
    h->bytes = bytes;
    hook.bytes += bytes - old_bytes;
    return h + 1;
}

static void *for_event_malloc(size_t bytes)
{
    hook.of_libevent++;
    return counted_resize(NULL, bytes != 0 ? bytes : 1, NULL);
}

static void *for_event_realloc(void *memory, size_t bytes)
{
    hook.of_libevent++;
    return counted_resize(memory, bytes != 0 ? bytes : 1, NULL);
}

static void for_event_free(void *memory)
{
    (void)counted_resize(memory, 0, NULL);
}

/* ---- A server, a request, the end ---- */

static const weir_env env = { .allocator = { .resize = counted_resize } };

static void listening(uint16_t port, void *user)
{
    *(uint16_t *)user = port;
}

static void finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    (void)pipeline;
    (void)status;
    *(bool *)user = true;
}

static weir_status hello(weir_item *item, void *user)
{
    (void)user;
    return weir_http_reply(item, 200, "text/plain", "hello", 5);
}

static int client_of(uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_true(fd >= 0);
    int result = connect(fd, (struct sockaddr *)&at, sizeof at);
    assert_true(result == 0 || errno == EINPROGRESS);
    return fd;
}

/* True: it was answered. False: it was not, or the server ended. */
static bool asks(weir_loop *loop, uint16_t port, const bool *is_over)
{
    static const char request[] = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
    char answer[512];
    size_t sent = 0;
    int fd = client_of(port);
    ssize_t n = -1;
    for (int i = 0; i < TURNS_MAX && !*is_over && n < 0; i++) {
        if (sent == 0 && send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0)
            sent = sizeof request - 1;
        if (!weir_loop_turn(loop))
            sched_yield();
        n = recv(fd, answer, sizeof answer, 0);
        if (n < 0 && errno != EAGAIN)
            n = 0;
    }
    close(fd);
    return n > 12 && memcmp(answer, "HTTP/1.1 200", 12) == 0;
}

static bool serves(weir_loop *loop, weir_pipeline *pipeline)
{
    uint16_t port = 0;
    bool is_over = false, answered = false;
    weir_http_server_config config = { .listen = "127.0.0.1:0",
                                       .listening = listening,
                                       .user = &port };
    weir_from(pipeline, weir_http_server(&config));
    weir_into(pipeline, weir_for_each(hello, NULL));
    if (weir_pipeline_start(pipeline, &loop, 1, finished, &is_over) != WEIR_OK)
        return false;
    for (int i = 0; i < 100 && port == 0 && !is_over; i++)
        (void)weir_loop_turn(loop);
    for (int i = 0; i < 2 && port != 0; i++) /* whatever became of the first */
        answered = asks(loop, port, &is_over);
    weir_pipeline_shutdown(pipeline, WEIR_ABORT, 0);
    for (int i = 0; i < TURNS_MAX && !is_over; i++)
        (void)weir_loop_turn(loop);
    assert_true(is_over);
    return answered;
}

static bool lives_and_serves(void)
{
    weir_loop *loop = weir_loop_new(&(weir_loop_config){ .env = &env });
    weir_pipeline *pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &env });
    bool answered = loop != NULL && pipeline != NULL && serves(loop, pipeline);
    weir_pipeline_free(pipeline);
    weir_loop_free(loop);
    return answered;
}

static void a_server_survives_each_failing_allocation_of_libevent_and_its_own(void **state)
{
    (void)state;
    assert_true(lives_and_serves()); /* what libevent keeps for the process it has now */
    size_t bytes = hook.bytes;
    int fds = server_count_fds();
    uint64_t unanswered = 0, nth = 1;
    assert_true(hook.of_libevent > 10);
    for (;; nth++) {
        assert_true(nth < WALK_MAX);
        hook.n = 0;
        hook.fail_at = nth;
        bool answered = lives_and_serves();
        hook.fail_at = 0;
        if (hook.bytes != bytes || server_count_fds() != fds)
            fail_msg("allocation %u: %zu bytes, before %zu; %d descriptors, before %d",
                     (unsigned)nth, hook.bytes, bytes, server_count_fds(), fds);
        if (hook.n < nth) {
            assert_true(answered);
            break;
        }
        unanswered += !answered;
    }
    print_message("%u allocations failed, %u of these servers gave no answer\n", (unsigned)nth - 1,
                  (unsigned)unanswered);
    assert_true(nth > 30);
    assert_true(unanswered > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_survives_each_failing_allocation_of_libevent_and_its_own),
    };
    event_set_mem_functions(for_event_malloc, for_event_realloc, for_event_free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
