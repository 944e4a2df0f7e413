/* The client of RPC against gRPC C++'s server (bench/peers), where that is built. */
#include "rpc_client_rig.h"

#include <limits.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static char path[PATH_MAX + 32];
static pid_t child;
static char target[64];

static bool find_server(void)
{
    ssize_t n = readlink("/proc/self/exe", path, PATH_MAX);
    while (n > 0 && path[n - 1] != '/')
        n--;
    strcpy(path + (n > 0 ? n : 0), "grpc_cpp_server");
    return access(path, X_OK) == 0;
}

static uint16_t unused_port(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static int start_server(void **state)
{
    (void)state;
    uint16_t port = unused_port();
    snprintf(target, sizeof target, "http://127.0.0.1:%u", port);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(path, path, "--listen", target + 7, (char *)NULL);
        _exit(127);
    }
    return child < 0;
}

static int stop_server(void **state)
{
    (void)state;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    return 0;
}

typedef struct world {
    rig r;
    weir_rpc_channel *channel;
} world;

/* Time goes by with the machine's clock, as the peer has no other. */
static uint64_t real_now(void *user)
{
    struct timespec t;
    (void)user;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * WEIR_SEC + (uint64_t)t.tv_nsec;
}

static void begin(world *w, weir_rpc_channel_config config)
{
    caller c;
    memset(w, 0, sizeof *w);
    memset(&served, 0, sizeof served);
    w->r.env = (weir_env){ .now_ns = real_now };
    w->r.loop = weir_loop_new(&(weir_loop_config){ .env = &w->r.env });
    config.target = target;
    config.backoff_ms = 20;
    config.backoff_ms_max = 100;
    w->channel = channel_of(&w->r, config);
    ask(&c, &w->r, w->channel, "up?", 0,
        &(weir_rpc_options){ .wait_for_ready = true, .timeout_ms = 20000 });
    expect(&c, WEIR_RPC_OK);
}

static void end(world *w)
{
    weir_rpc_channel_free(w->channel);
    weir_loop_free(w->r.loop);
}

static void every_kind_of_call_is_understood(void **state)
{
    world w;
    caller c;
    (void)state;
    for (int gzip = 0; gzip < 2; gzip++) {
        begin(&w, (weir_rpc_channel_config){ .gzip = gzip == 1, .gzip_bytes_min = 10 });
        for (int i = 0; i < 20; i++) {
            ask(&c, &w.r, w.channel, "hello hello hello hello", 0, NULL);
            expect(&c, WEIR_RPC_OK);
            assert_string_equal(c.text, "hello hello hello hello");
        }
        c = (caller){ .to_ask = 3 };
        stream_of(&c, &w.r, w.channel, 2000, 1000);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.messages, 2000);
        c = (caller){ .to_send = 2000, .payload = 1000 };
        start(&c, &w.r, w.channel, COLLECT, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.collected, 2000);
        c = (caller){ .to_send = 2000, .payload = 1000, .to_ask = 1 };
        start(&c, &w.r, w.channel, ECHO, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.messages, 2000);
        c = (caller){ .to_ask = 1, .to_send = 3, .payload = 60000 };
        start(&c, &w.r, w.channel, ECHO, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.messages, 3);
        end(&w);
    }
}

static void errors_deadlines_and_cancels_are_understood(void **state)
{
    world w;
    caller c;
    (void)state;
    begin(&w, (weir_rpc_channel_config){ 0 });
    ask(&c, &w.r, w.channel, "50% \xc3\xa4\n", WEIR_RPC_DATA_LOSS, NULL);
    expect(&c, WEIR_RPC_DATA_LOSS);
    assert_string_equal(c.error, "50% \xc3\xa4\n");
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    request.delay_ms = 10000;
    for (int i = 0; i < 2; i++) {
        c = (caller){ .r = &w.r };
        assert_int_equal(weir_rpc_ask(w.channel, &streams_methods[PROCESS],
                                      &(weir_rpc_options){ .timeout_ms = i == 0 ? 30 : 0 },
                                      &request.base, &calls, &c, &c.call),
                         WEIR_OK);
        turns(&w.r, 20);
        if (i == 1)
            weir_rpc_cancel(c.call);
        expect(&c, i == 0 ? WEIR_RPC_DEADLINE_EXCEEDED : WEIR_RPC_CANCELLED);
    }
    static const weir_rpc_method nowhere = { .name = "X",
                                             .path = "/streams.v1.Streams/X",
                                             .request = &streams__v1__process_request__descriptor,
                                             .response = &streams__v1__data__descriptor };
    c = (caller){ .r = &w.r };
    assert_int_equal(weir_rpc_ask(w.channel, &nowhere, NULL, &request.base, &calls, &c, &c.call),
                     WEIR_OK);
    expect(&c, WEIR_RPC_UNIMPLEMENTED);
    ask(&c, &w.r, w.channel, "still there", 0, NULL);
    expect(&c, WEIR_RPC_OK);
    assert_int_equal(stats_of(w.channel).connected, 1);
    end(&w);
}

static char echoed[64];

static void note_echo(weir_rpc_call *call, void *user)
{
    (void)user;
    weir_http1_span value = weir_rpc_metadata_find(call, "echo-it-bin");
    assert_int_equal(value.len, 4);
    assert_memory_equal(value.at, "\0\xff\n ", 4);
    copy_metadata(call, "echo-text", echoed, sizeof echoed);
}

static void note_end(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    *(int *)user = (int)code;
}

static void metadata_come_back(void **state)
{
    const weir_http1_field fields[] = { { { "echo-it-bin", 11 }, { "\0\xff\n ", 4 } },
                                        { { "Echo-Text", 9 }, { "some text", 9 } } };
    world w;
    int code = -1;
    weir_rpc_call *call;
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    weir_rpc_handler handler = { .begin = note_echo, .over = note_end };
    (void)state;
    begin(&w, (weir_rpc_channel_config){ 0 });
    weir_rpc_options options = { .metadata = fields, .metadata_count = 2 };
    assert_int_equal(weir_rpc_ask(w.channel, &streams_methods[PROCESS], &options, &request.base,
                                  &handler, &code, &call),
                     WEIR_OK);
    TURN_UNTIL(&w.r, code >= 0);
    assert_int_equal(code, WEIR_RPC_OK);
    assert_string_equal(echoed, "some text");
    end(&w);
}

static void a_server_that_is_killed_and_comes_back_is_found_again(void **state)
{
    world w;
    caller c;
    (void)state;
    begin(&w, (weir_rpc_channel_config){ 0 });
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    request.delay_ms = 10000;
    weir_rpc_method once = streams_methods[PROCESS];
    once.idempotent = once.no_side_effects = false;
    c = (caller){ .r = &w.r };
    assert_int_equal(weir_rpc_ask(w.channel, &once, NULL, &request.base, &calls, &c, &c.call),
                     WEIR_OK);
    turns(&w.r, 50);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    expect(&c, WEIR_RPC_UNAVAILABLE);
    ask(&c, &w.r, w.channel, "x", 0, NULL);
    expect(&c, WEIR_RPC_UNAVAILABLE);
    child = fork();
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(path, path, "--listen", target + 7, (char *)NULL);
        _exit(127);
    }
    ask(&c, &w.r, w.channel, "x", 0,
        &(weir_rpc_options){ .wait_for_ready = true, .timeout_ms = 20000 });
    expect(&c, WEIR_RPC_OK);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_call_is_understood),
        cmocka_unit_test(errors_deadlines_and_cancels_are_understood),
        cmocka_unit_test(metadata_come_back),
        cmocka_unit_test(a_server_that_is_killed_and_comes_back_is_found_again),
    };
    if (!find_server()) {
        printf("no grpc_cpp_server here: nothing is tested against it\n");
        return 0;
    }
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
