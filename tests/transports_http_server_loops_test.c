/* The HTTP server on several loops: one port for all, and replies that come from another loop. */
#include "http_server_rig.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { CLIENTS = 8, ROUNDS = 50 };

typedef struct served {
    weir_pipeline *pipeline;
    pthread_t thread;
    weir_status status;
    atomic_int begun, listeners, ports[8];
} served;

static void listening(uint16_t port, void *user)
{
    served *s = user;
    int i = atomic_fetch_add(&s->begun, 1);
    atomic_store(&s->ports[i], port);
    atomic_fetch_add(&s->listeners, 1); /* whoever waits for them all finds their ports */
}

static weir_status answer(const weir_item *item, weir_http_response *response, void *user)
{
    static const weir_http1_field field = { { "X-From", 6 }, { "afar", 4 } };
    weir_http1_span body = weir_http_request_body(weir_http_request_of(item));
    (void)user;
    response->answer = (weir_http_answer){
        .status = 201,
        .content_type = "text/plain",
        .body = body.at,
        .body_bytes = body.len,
        .fields = &field,
        .field_count = 1,
    };
    return WEIR_OK;
}

static void *run(void *user)
{
    served *s = user;
    s->status = weir_run(s->pipeline);
    return NULL;
}

static void serve(served *s, bool sink_elsewhere)
{
    weir_http_server_config config = { .listen = "127.0.0.1:0", .listening = listening, .user = s };
    s->pipeline = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
    weir_from(s->pipeline, weir_http_server(&config));
    weir_node *sink = weir_into(s->pipeline, weir_http_reply_with(answer, NULL));
    if (sink_elsewhere)
        weir_node_place(sink, 1);
    assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
    for (uint64_t until = server_now_ms() + PATIENCE_MS;
         atomic_load(&s->listeners) < (sink_elsewhere ? 1 : 2) && server_now_ms() < until;)
        sched_yield();
}

static void unserve(served *s)
{
    weir_pipeline_shutdown(s->pipeline, WEIR_DRAIN, 0);
    pthread_join(s->thread, NULL);
    assert_int_equal(s->status, WEIR_OK);
    weir_pipeline_free(s->pipeline);
}

static int dial(const served *s)
{
    struct timeval patience = { PATIENCE_MS / 1000, 0 };
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)atomic_load(&s->ports[0])) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* Two requests at once, whose replies must come in order. */
static void ask(int fd, int n)
{
    char text[512], got[1024] = "", want[2][16];
    size_t len = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(want[i], sizeof want[i], "<%05u>", (unsigned)(n * 2 + i) % 100000);
        len += (size_t)snprintf(text + len, sizeof text - len,
                                "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n%s",
                                want[i]);
    }
    assert_int_equal(send(fd, text, len, MSG_NOSIGNAL), (ssize_t)len);
    for (size_t at = 0; strstr(got, want[1]) == NULL;) {
        ssize_t n_got = recv(fd, got + at, sizeof got - at - 1, 0);
        assert_true(n_got > 0);
        at += (size_t)n_got;
        got[at] = '\0';
    }
    assert_true(strstr(got, want[0]) < strstr(got, want[1]));
    assert_non_null(strstr(got, "X-From: afar\r\n"));
    assert_memory_equal(got, "HTTP/1.1 201 Created\r\n", 22);
}

static void ask_much(const served *s)
{
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = dial(s);
    for (int round = 0; round < ROUNDS; round++)
        for (int i = 0; i < CLIENTS; i++)
            ask(fds[i], round * CLIENTS + i);
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
}

static void listens_on_one_port_with_all_its_loops(void **state)
{
    served s = { 0 };
    int fds = server_count_fds();
    (void)state;
    serve(&s, false);
    assert_int_equal(atomic_load(&s.listeners), 2);
    assert_int_equal(atomic_load(&s.ports[0]), atomic_load(&s.ports[1]));
    assert_int_not_equal(atomic_load(&s.ports[0]), 0);
    ask_much(&s);
    unserve(&s);
    assert_int_equal(server_count_fds(), fds);
}

static void sends_replies_that_were_given_on_another_loop(void **state)
{
    served s = { 0 };
    (void)state;
    serve(&s, true);
    ask_much(&s);
    unserve(&s);
}

static void survives_peers_that_go_while_another_loop_answers(void **state)
{
    static const char text[] = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
    struct linger hard = { 1, 0 };
    served s = { 0 };
    (void)state;
    serve(&s, true);
    for (int round = 0; round < 200; round++) {
        int fd = dial(&s);
        (void)!send(fd, text, sizeof text - 1, MSG_NOSIGNAL);
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
        close(fd);
    }
    int fd = dial(&s);
    ask(fd, 1);
    close(fd);
    unserve(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listens_on_one_port_with_all_its_loops),
        cmocka_unit_test(sends_replies_that_were_given_on_another_loop),
        cmocka_unit_test(survives_peers_that_go_while_another_loop_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
