/* The client that the conformance tests judge: it reads tests from standard input, runs many at
 * once, and writes what came of each to standard output. */
#include "client_test.h"

#include <event2/event.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* More at once end no sooner, and wait for their handshakes while their deadlines run. */
enum { RUNNING_MAX = 16, READ_BYTES = 64 * 1024 };

typedef struct program {
    weir_loop *loop;
    struct event *input;
    weir_bytes in;
    channels channels;
    uint32_t running;
    bool input_ended, failed;
} program;

static void fail_with(program *p, const char *why)
{
    fprintf(stderr, "conformance_client: %s\n", why);
    p->failed = true;
    weir_loop_stop(p->loop);
}

/* ---- Tests ---- */

static void take(program *p);

static void on_done(const Connectrpc__Conformance__V1__ClientCompatResponse *response,
                    weir_arena *arena, void *user)
{
    program *p = user;
    p->running--;
    if (!common_write(arena, &response->base))
        fail_with(p, "an answer cannot be written");
    if (p->input_ended && p->running == 0)
        weir_loop_stop(p->loop);
    else if (p->running == RUNNING_MAX - 1 && !p->input_ended)
        event_active(p->input, EV_READ, 0); /* not beneath this */
}

static void run(program *p, const char *bytes, size_t n)
{
    weir_arena arena;
    ProtobufCMessage *request = NULL;
    const char *why = "";
    weir_arena_init(&arena, NULL, NULL, 0, 64 << 20);
    if (weir_protobuf_unpack(&connectrpc__conformance__v1__client_compat_request__descriptor, bytes,
                             n, NULL, &arena, &request, &why) != WEIR_OK) {
        weir_arena_done(&arena);
        fail_with(p, why);
        return;
    }
    p->running++;
    test_run(&p->channels, (const compat_request *)request, &arena, on_done, p);
}

/* ---- Input ---- */

/* Runs what is there and may run; what is left is cut from the front. */
static void take(program *p)
{
    size_t at = 0;
    while (p->running < RUNNING_MAX && p->in.len - at >= 4) {
        const unsigned char *prefix = (const unsigned char *)p->in.at + at;
        size_t n = (size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 |
                   prefix[3];
        if (p->in.len - at - 4 < n)
            break;
        run(p, p->in.at + at + 4, n);
        at += 4 + n;
    }
    memmove(p->in.at, p->in.at + at, p->in.len - at);
    p->in.len -= at;
}

static void on_input(evutil_socket_t fd, short what, void *user)
{
    program *p = user;
    (void)what;
    if (p->in.at != NULL)
        take(p);
    while (p->running < RUNNING_MAX && !p->input_ended) {
        if (weir_bytes_reserve(&p->in, READ_BYTES) != WEIR_OK) {
            fail_with(p, "no memory for requests");
            return;
        }
        ssize_t n = read((int)fd, p->in.at + p->in.len, READ_BYTES);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        p->input_ended = n <= 0;
        p->in.len += n > 0 ? (size_t)n : 0;
        take(p);
    }
    if (p->input_ended || p->running >= RUNNING_MAX)
        (void)event_del(p->input);
    else
        (void)event_add(p->input, NULL);
    if (p->input_ended && p->running == 0)
        weir_loop_stop(p->loop);
}

/* ---- Beginning and end ---- */

static bool start(program *p)
{
    p->loop = weir_loop_new(NULL);
    if (p->loop == NULL || !channels_init(&p->channels, p->loop))
        return false;
    (void)fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    p->input = event_new(weir_loop_base(p->loop), STDIN_FILENO, EV_READ | EV_PERSIST, on_input, p);
    return p->input != NULL && event_add(p->input, NULL) == 0;
}

int main(void)
{
    program p = { .in = { .bytes_max = SIZE_MAX } };
    (void)signal(SIGPIPE, SIG_IGN);
    if (!start(&p)) {
        fprintf(stderr, "conformance_client: cannot start\n");
        return 1;
    }
    bool ran = weir_loop_run(p.loop) == WEIR_OK;
    event_free(p.input);
    channels_done(&p.channels);
    for (int i = 0; i < 100 && weir_loop_turn(p.loop); i++)
        ;
    weir_bytes_done(&p.in);
    weir_loop_free(p.loop);
    return ran && !p.failed ? 0 : 1;
}
