/* The HTTP client stage against a scripted server of plain sockets, and against Python's. */
#include <weir/http_client.h>
#include <weir/inlet.h>
#include <weir/pipeline.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { ITEMS_MAX = 256, THREADS_MAX = 512 };

/* ---- The server: a thread per connection, which does what the target says ---- */

typedef struct server {
    int fd;
    uint16_t port;
    pthread_t acceptor;
    pthread_t threads[THREADS_MAX];
    int thread_count;
    atomic_int accepted, requests, open, open_max;
    pthread_mutex_t lock;
    char last[8192]; /* the last request */
} server;

typedef struct peer {
    server *server;
    int fd;
} peer;

static void put(int fd, const char *text)
{
    (void)!send(fd, text, strlen(text), MSG_NOSIGNAL);
}

static void put_body(int fd, const char *head, const char *body)
{
    char text[1024];
    snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n%s\r\n%s", strlen(body),
             head, body);
    put(fd, text);
}

/* Reads one request into `text`; 0 at the end of the connection. */
static size_t take_request(int fd, char *text, size_t cap)
{
    size_t n = 0, want = 0;
    while (want == 0 || n < want) {
        ssize_t r = recv(fd, text + n, cap - 1 - n, 0);
        if (r <= 0)
            return 0;
        n += (size_t)r;
        text[n] = '\0';
        const char *end = strstr(text, "\r\n\r\n");
        const char *length = strcasestr(text, "content-length:");
        if (end != NULL)
            want = (size_t)(end + 4 - text) + (length != NULL ? strtoul(length + 15, NULL, 10) : 0);
    }
    return n;
}

static void put_big(int fd, size_t n)
{
    char head[128], block[4096];
    memset(block, 'x', sizeof block);
    snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
    put(fd, head);
    while (n > 0) {
        size_t part = n < sizeof block ? n : sizeof block;
        if (send(fd, block, part, MSG_NOSIGNAL) <= 0)
            return;
        n -= part;
    }
}

/* Gives false to close. */
static bool respond(const peer *p, const char *request, int nth)
{
    const char *target = strchr(request, ' ') + 1;
    char body[128];
    if (strncmp(target, "/ok/", 4) == 0) {
        snprintf(body, sizeof body, "answer %d", atoi(target + 4));
        put_body(p->fd, "", body);
    } else if (strncmp(target, "/close", 6) == 0) {
        put_body(p->fd, "Connection: close\r\n", "bye");
        return false;
    } else if (strncmp(target, "/stale", 6) == 0) { /* the first of a connection only */
        if (nth > 1)
            return false;
        put_body(p->fd, "", "fresh");
    } else if (strncmp(target, "/broken", 7) == 0) {
        put(p->fd, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        return false;
    } else if (strncmp(target, "/chunked", 8) == 0) {
        put(p->fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab");
        put(p->fd, "c\r\n4;x=y\r\ndefg\r");
        put(p->fd, "\n0\r\nT: v\r\n\r\n");
    } else if (strncmp(target, "/until-close", 12) == 0) {
        put(p->fd, "HTTP/1.1 200 OK\r\n\r\nall of it");
        return false;
    } else if (strncmp(target, "/interim", 8) == 0) {
        put(p->fd, "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n");
        put_body(p->fd, "", "final");
    } else if (strncmp(target, "/garbage", 8) == 0) {
        put(p->fd, "HTTP/1.1 200 OK\nContent-Length: 0\n\n");
    } else if (strncmp(target, "/big/", 5) == 0) {
        put_big(p->fd, strtoul(target + 5, NULL, 10));
    } else if (strncmp(target, "/status/", 8) == 0) {
        snprintf(body, sizeof body, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", atoi(target + 8));
        put(p->fd, body);
    } else if (strncmp(target, "/head", 5) == 0) {
        put(p->fd, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    } else { /* "/silent": no answer; waits for the client to go */
        (void)!recv(p->fd, body, sizeof body, 0);
        return false;
    }
    return true;
}

static void *serve(void *user)
{
    peer *p = user;
    server *s = p->server;
    char request[8192];
    int open = atomic_fetch_add(&s->open, 1) + 1, max = atomic_load(&s->open_max);
    while (open > max && !atomic_compare_exchange_weak(&s->open_max, &max, open))
        ;
    for (int nth = 1; take_request(p->fd, request, sizeof request) > 0; nth++) {
        atomic_fetch_add(&s->requests, 1);
        pthread_mutex_lock(&s->lock);
        memcpy(s->last, request, sizeof request);
        pthread_mutex_unlock(&s->lock);
        if (!respond(p, request, nth))
            break;
    }
    atomic_fetch_sub(&s->open, 1);
    shutdown(p->fd, SHUT_RDWR);
    close(p->fd);
    free(p);
    return NULL;
}

static void *accept_all(void *user)
{
    server *s = user;
    for (;;) {
        int fd = accept(s->fd, NULL, NULL);
        if (fd < 0)
            return NULL;
        atomic_fetch_add(&s->accepted, 1);
        peer *p = malloc(sizeof *p);
        *p = (peer){ s, fd };
        assert_true(s->thread_count < THREADS_MAX);
        pthread_create(&s->threads[s->thread_count++], NULL, serve, p);
    }
}

static int bound_socket(uint16_t *ret_port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *ret_port = ntohs(at.sin_port);
    return fd;
}

static server *server_start(void)
{
    server *s = calloc(1, sizeof *s);
    s->fd = bound_socket(&s->port);
    assert_int_equal(listen(s->fd, 128), 0);
    pthread_mutex_init(&s->lock, NULL);
    pthread_create(&s->acceptor, NULL, accept_all, s);
    return s;
}

static void server_stop(server *s)
{
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->acceptor, NULL);
    for (int i = 0; i < s->thread_count; i++)
        pthread_join(s->threads[i], NULL);
    close(s->fd);
    free(s);
}

/* ---- The client: calls in, a client, calls out ---- */

typedef struct result {
    bool ended;
    weir_outcome outcome;
    weir_status status;
    unsigned code;
    char answer[64];
    size_t answer_len;
} result;

typedef struct rig {
    weir_loop *loop;
    weir_inlet *inlet;
    weir_pipeline *pipeline;
    weir_http_call_config config;
    char url[64];
    int calls, emitted;
    int order[ITEMS_MAX];
    result results[ITEMS_MAX];
    weir_context *context;
    weir_timer timer;
    uint64_t later_ms; /* when `later` runs; 0: never. It ends the inlet */
    void (*later)(struct rig *r);
    void *user;
} rig;

typedef struct request {
    rig *rig;
    int index;
    weir_http1_method method;
    char target[128];
    char body[512];
} request;

static void call_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    request *call = weir_item_body(item);
    result *r = &call->rig->results[call->index];
    assert_false(r->ended);
    r->ended = true;
    r->outcome = outcome;
    r->status = status;
}

static const weir_item_type call_type = { .name = "call", .ended = call_ended };

static weir_status fill(const weir_item *item, weir_http_call_request *out, void *user)
{
    const request *call = weir_item_body(item);
    (void)user;
    out->method = call->method;
    out->target = weir_http_call_text(call->target);
    out->body = weir_http_call_text(call->body);
    if (call->body[0] != '\0')
        out->content_type = weir_http_call_text("text/plain");
    out->fields[out->field_count++] = (weir_http1_field){ weir_http_call_text("X-Kind"),
                                                          weir_http_call_text("test") };
    return strcmp(call->target, "refuse") == 0 ? WEIR_EREJECTED : WEIR_OK;
}

static weir_status note(weir_item *item, const weir_http_call_response *response, void *user)
{
    request *call = weir_item_body(item);
    result *r = &call->rig->results[call->index];
    (void)user;
    size_t n = response->body.len < sizeof r->answer ? response->body.len : sizeof r->answer - 1;
    memcpy(r->answer, response->body.at, n);
    r->answer_len = response->body.len;
    r->code = response->status;
    return WEIR_OK;
}

static weir_status sink_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    weir_request_to(weir_stage_in(stage), WEIR_UNBOUNDED);
    return WEIR_OK;
}

static weir_status sink_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    const request *call = weir_item_body(item);
    (void)stage;
    (void)in;
    (void)state;
    call->rig->order[call->rig->emitted++] = call->index;
    weir_item_ack(item);
    return WEIR_OK;
}

static const weir_stage_type sink_type = {
    .name = "sink",
    .outputs = WEIR_PORTS_NONE,
    .open = sink_open,
    .on_item = sink_on_item,
};

static rig *rig_new(uint16_t port)
{
    rig *r = calloc(1, sizeof *r);
    r->loop = weir_loop_new(NULL);
    r->inlet = weir_inlet_new(NULL, NULL);
    r->pipeline = weir_pipeline_new(NULL);
    snprintf(r->url, sizeof r->url, "http://127.0.0.1:%u", port);
    r->config = (weir_http_call_config){
        .base_url = r->url,
        .request = fill,
        .response = note,
        .backoff_ms = 20,
    };
    return r;
}

static int call(rig *r, weir_http1_method method, const char *target, const char *body)
{
    weir_item *item = weir_item_new_foreign(NULL, &call_type, sizeof(request));
    request *c = weir_item_body(item);
    *c = (request){ .rig = r, .index = r->calls, .method = method };
    snprintf(c->target, sizeof c->target, "%s", target);
    snprintf(c->body, sizeof c->body, "%s", body);
    item->context = r->context;
    assert_int_equal(weir_inlet_offer(r->inlet, item), WEIR_OK);
    return r->calls++;
}

static int get(rig *r, const char *target)
{
    return call(r, WEIR_HTTP1_GET, target, "");
}

static void finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    rig *r = user;
    (void)pipeline;
    (void)status;
    weir_loop_stop(r->loop);
}

static void run_later(weir_timer *timer, void *user)
{
    rig *r = user;
    (void)timer;
    r->later(r);
    weir_inlet_end(r->inlet);
}

static void run(rig *r)
{
    weir_from(r->pipeline, weir_from_inlet(r->inlet));
    weir_node *node = weir_via(r->pipeline, weir_http_call(&r->config));
    weir_into(r->pipeline, weir_stage_of(&sink_type, NULL));
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP });
    if (r->later_ms > 0)
        weir_timer_start(r->loop, &r->timer, r->later_ms * WEIR_MS, run_later, r);
    else
        weir_inlet_end(r->inlet);
    weir_status status = weir_pipeline_start(r->pipeline, &r->loop, 1, finished, r);
    if (status != WEIR_OK)
        fail_msg("%s", weir_pipeline_why(r->pipeline));
    assert_int_equal(weir_loop_run(r->loop), WEIR_OK);
    for (int i = 0; i < r->calls; i++)
        assert_true(r->results[i].ended);
}

static void rig_free(rig *r)
{
    weir_pipeline_free(r->pipeline);
    weir_inlet_free(r->inlet);
    weir_loop_free(r->loop);
    free(r);
}

static void expect_answer(const rig *r, int index, unsigned code, const char *answer)
{
    assert_int_equal(r->results[index].outcome, WEIR_ACKED);
    assert_int_equal(r->results[index].code, code);
    assert_string_equal(r->results[index].answer, answer);
}

static void expect_failure(const rig *r, int index, weir_status status)
{
    assert_int_equal(r->results[index].outcome, WEIR_FAILED);
    assert_int_equal(r->results[index].status, status);
}

/* ---- Tests ---- */

static void a_response_updates_its_item(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    int a = get(r, "/ok/7");
    run(r);
    expect_answer(r, a, 200, "answer 7");
    rig_free(r);
    server_stop(s);
}

static void requests_share_a_kept_alive_connection(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    r->config.connections_max = 1;
    for (int i = 0; i < 100; i++) {
        char target[32];
        snprintf(target, sizeof target, "/ok/%d", i);
        get(r, target);
    }
    run(r);
    for (int i = 0; i < 100; i++) {
        char answer[32];
        snprintf(answer, sizeof answer, "answer %d", i);
        expect_answer(r, i, 200, answer);
    }
    assert_int_equal(s->accepted, 1);
    assert_int_equal(s->requests, 100);
    rig_free(r);
    server_stop(s);
}

static void the_pool_is_bounded_and_order_is_kept(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    r->config.connections_max = 4;
    for (int i = 0; i < 200; i++)
        get(r, "/ok/1");
    run(r);
    assert_int_equal(r->emitted, 200);
    for (int i = 0; i < 200; i++)
        assert_int_equal(r->order[i], i);
    assert_in_range(s->accepted, 1, 4);
    rig_free(r);
    server_stop(s);
}

static void a_body_is_sent_with_its_fields(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    int a = call(r, WEIR_HTTP1_POST, "/ok/1", "hello there");
    run(r);
    expect_answer(r, a, 200, "answer 1");
    assert_non_null(strstr(s->last, "POST /ok/1 HTTP/1.1\r\n"));
    assert_non_null(strcasestr(s->last, "\r\nHost: 127.0.0.1:"));
    assert_non_null(strcasestr(s->last, "\r\nContent-Length: 11\r\n"));
    assert_non_null(strcasestr(s->last, "\r\nContent-Type: text/plain\r\n"));
    assert_non_null(strstr(s->last, "\r\nX-Kind: test\r\n"));
    assert_non_null(strstr(s->last, "\r\n\r\nhello there"));
    rig_free(r);
    server_stop(s);
}

static void the_trace_of_the_context_is_passed_on(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    weir_context context;
    weir_context_init(&context, r->loop, NULL, 0);
    memset(context.trace.trace_id, 0xab, 16);
    memset(context.trace.span_id, 0x01, 8);
    context.trace.flags = 1;
    r->context = &context;
    get(r, "/ok/1");
    run(r);
    assert_non_null(strstr(s->last, "\r\ntraceparent: 00-abababababababababababababababab-"
                                    "0101010101010101-01\r\n"));
    weir_context_done(&context);
    rig_free(r);
    server_stop(s);
}

static void every_framing_of_a_body_is_read(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    int chunked = get(r, "/chunked"), closing = get(r, "/until-close");
    int interim = get(r, "/interim"), big = get(r, "/big/300000");
    int head = call(r, WEIR_HTTP1_HEAD, "/head", ""), bye = get(r, "/close");
    run(r);
    expect_answer(r, chunked, 200, "abcdefg");
    expect_answer(r, closing, 200, "all of it");
    expect_answer(r, interim, 200, "final");
    assert_int_equal(r->results[big].outcome, WEIR_ACKED);
    assert_int_equal(r->results[big].answer_len, 300000);
    expect_answer(r, head, 200, "");
    expect_answer(r, bye, 200, "bye");
    rig_free(r);
    server_stop(s);
}

static void what_breaks_a_rule_fails_its_item_only(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    r->config.response_body_bytes_max = 1000;
    int garbage = get(r, "/garbage"), big = get(r, "/big/1001"), broken = get(r, "/broken");
    int refused = get(r, "refuse"), bad = get(r, "no target"), fine = get(r, "/ok/3");
    run(r);
    expect_failure(r, garbage, WEIR_EPROTO);
    expect_failure(r, big, WEIR_ELIMIT);
    expect_failure(r, broken, WEIR_EIO);
    expect_failure(r, refused, WEIR_EREJECTED);
    expect_failure(r, bad, WEIR_EINVAL);
    expect_answer(r, fine, 200, "answer 3");
    rig_free(r);
    server_stop(s);
}

static void without_a_response_callback_the_code_decides(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    r->config.response = NULL;
    int ok = get(r, "/ok/1"), missing = get(r, "/status/404"), down = get(r, "/status/503");
    run(r);
    assert_int_equal(r->results[ok].outcome, WEIR_ACKED);
    expect_failure(r, missing, WEIR_EREJECTED);
    expect_failure(r, down, WEIR_EUNAVAILABLE);
    rig_free(r);
    server_stop(s);
}

static void an_idempotent_request_on_a_stale_connection_is_sent_again(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    r->config.connections_max = 1;
    int first = get(r, "/stale"), again = get(r, "/stale");
    run(r);
    expect_answer(r, first, 200, "fresh");
    expect_answer(r, again, 200, "fresh");
    assert_int_equal(s->accepted, 2);
    assert_int_equal(s->requests, 3);
    rig_free(r);
    server_stop(s);
}

static void a_request_that_is_not_idempotent_is_sent_once(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    r->config.connections_max = 1;
    int first = call(r, WEIR_HTTP1_POST, "/stale", "x");
    int again = call(r, WEIR_HTTP1_POST, "/stale", "x");
    run(r);
    expect_answer(r, first, 200, "fresh");
    expect_failure(r, again, WEIR_EIO);
    assert_int_equal(s->requests, 2);
    rig_free(r);
    server_stop(s);
}

static void a_request_that_takes_too_long_fails_and_its_connection_closes(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    r->config.connections_max = 1;
    r->config.request_timeout_ms = 50;
    int silent = get(r, "/silent"), fine = get(r, "/ok/1");
    run(r);
    expect_failure(r, silent, WEIR_EDEADLINE);
    expect_answer(r, fine, 200, "answer 1");
    assert_int_equal(s->accepted, 2);
    rig_free(r);
    server_stop(s);
}

static void the_deadline_of_the_context_counts(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    weir_context context;
    weir_context_init(&context, r->loop, NULL, weir_loop_update_now(r->loop) + 50 * WEIR_MS);
    r->context = &context;
    int a = get(r, "/silent");
    run(r);
    assert_int_equal(r->results[a].status, WEIR_EDEADLINE);
    weir_context_done(&context);
    rig_free(r);
    server_stop(s);
}

static void cancel_it(rig *r)
{
    weir_context_cancel(r->context, WEIR_ECANCELED);
}

static void a_cancelled_context_gives_its_request_up(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    weir_context context;
    weir_context_init(&context, r->loop, NULL, 0);
    r->context = &context;
    r->later = cancel_it;
    r->later_ms = 30;
    int a = get(r, "/silent");
    run(r);
    assert_int_equal(r->results[a].status, WEIR_ECANCELED);
    weir_context_done(&context);
    rig_free(r);
    server_stop(s);
}

static void abort_it(rig *r)
{
    weir_pipeline_shutdown(r->pipeline, WEIR_ABORT, 0);
}

static void an_abort_gives_up_what_is_under_way(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    r->config.connections_max = 2;
    r->later = abort_it;
    r->later_ms = 30;
    for (int i = 0; i < 2; i++)
        get(r, "/silent");
    run(r);
    for (int i = 0; i < 2; i++)
        assert_int_equal(r->results[i].status, WEIR_ECANCELED);
    rig_free(r);
    server_stop(s);
}

static void call_again(rig *r)
{
    get(r, "/ok/2");
}

static void an_idle_connection_closes_after_its_timeout(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    r->config.idle_timeout_ms = 10;
    r->later = call_again;
    r->later_ms = 100;
    get(r, "/ok/1");
    run(r);
    expect_answer(r, 1, 200, "answer 2");
    assert_int_equal(s->accepted, 2);
    rig_free(r);
    server_stop(s);
}

static void listen_and_call_again(rig *r)
{
    server *s = r->user;
    assert_int_equal(listen(s->fd, 128), 0);
    pthread_create(&s->acceptor, NULL, accept_all, s);
    get(r, "/ok/2");
}

static void a_server_that_comes_back_is_found_again(void **state)
{
    (void)state;
    server *s = calloc(1, sizeof *s);
    s->fd = bound_socket(&s->port);
    pthread_mutex_init(&s->lock, NULL);
    rig *r = rig_new(s->port);
    r->user = s;
    r->later = listen_and_call_again;
    r->later_ms = 100; /* longer than the backoff */
    int absent = get(r, "/ok/1");
    run(r);
    expect_failure(r, absent, WEIR_EUNAVAILABLE);
    expect_answer(r, 1, 200, "answer 2");
    rig_free(r);
    server_stop(s);
}

static void an_absent_server_fails_items_at_once(void **state)
{
    (void)state;
    uint16_t port;
    int fd = bound_socket(&port); /* bound, not listening: connects are refused */
    rig *r = rig_new(port);
    r->config.backoff_ms = 5000;
    for (int i = 0; i < 100; i++)
        get(r, "/ok/1");
    run(r);
    for (int i = 0; i < 100; i++)
        expect_failure(r, i, WEIR_EUNAVAILABLE);
    rig_free(r);
    close(fd);
}

static void a_server_that_does_not_accept_is_given_up(void **state)
{
    (void)state;
    uint16_t port;
    int fd = bound_socket(&port);
    int fill_up[4];
    assert_int_equal(listen(fd, 0), 0);
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(port) };
    for (int i = 0; i < 4; i++) { /* the backlog is full: further connects hang */
        fill_up[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)!connect(fill_up[i], (struct sockaddr *)&at, sizeof at);
    }
    rig *r = rig_new(port);
    r->config.connect_timeout_ms = 60;
    int a = get(r, "/ok/1");
    run(r);
    expect_failure(r, a, WEIR_EUNAVAILABLE);
    rig_free(r);
    for (int i = 0; i < 4; i++)
        close(fill_up[i]);
    close(fd);
}

static void names_are_resolved_by_the_hosts_file(void **state)
{
    (void)state;
    server *s = server_start();
    rig *r = rig_new(s->port);
    snprintf(r->url, sizeof r->url, "http://localhost:%u", s->port);
    int a = get(r, "/ok/5"), b = get(r, "/ok/6");
    run(r);
    expect_answer(r, a, 200, "answer 5");
    expect_answer(r, b, 200, "answer 6");
    rig_free(r);
    server_stop(s);
}

static void a_name_that_nobody_knows_fails_within_the_timeout(void **state)
{
    (void)state;
    rig *r = rig_new(1);
    snprintf(r->url, sizeof r->url, "http://nobody.invalid:80");
    r->config.request_timeout_ms = 100;
    int a = get(r, "/ok/5");
    run(r);
    assert_int_equal(r->results[a].outcome, WEIR_FAILED);
    assert_true(r->results[a].status == WEIR_EDEADLINE ||
                r->results[a].status == WEIR_EUNAVAILABLE);
    rig_free(r);
}

static void a_bad_url_is_refused_while_building(void **state)
{
    (void)state;
    static const char *const urls[] = { "ftp://x",      "http://",        "http://h:0",
                                        "http://h:1/p", "http://h:65536", "http://u@h",
                                        "http://[::1",  "h:80",           "" };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        weir_pipeline *p = weir_pipeline_new(NULL);
        weir_inlet *inlet = weir_inlet_new(NULL, NULL);
        weir_from(p, weir_from_inlet(inlet));
        weir_via(p,
                 weir_http_call(&(weir_http_call_config){ .base_url = urls[i], .request = fill }));
        weir_into(p, weir_stage_of(&sink_type, NULL));
        assert_int_equal(weir_pipeline_check(p), WEIR_EINVAL);
        weir_pipeline_free(p);
        weir_inlet_free(inlet);
    }
}

/* ---- Memory ---- */

typedef struct memory {
    long live, until_failure; /* 0: no failure */
} memory;

static void *resize(void *at, size_t bytes, void *user)
{
    memory *m = user;
    if (bytes == 0) {
        m->live -= at != NULL;
        free(at);
        return NULL;
    }
    if (m->until_failure > 0 && --m->until_failure == 0)
        return NULL;
    m->live += at == NULL;
    return realloc(at, bytes);
}

/* One call with the nth allocation failing; false once n is beyond the last. */
static bool survives(const server *s, long nth)
{
    memory m = { 0 };
    weir_env env = { .allocator = { resize, &m } };
    rig *r = rig_new(s->port);
    weir_loop_free(r->loop);
    weir_pipeline_free(r->pipeline);
    r->loop = weir_loop_new(&(weir_loop_config){ .env = &env });
    r->pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &env });
    get(r, "/big/20000");
    m.until_failure = nth;
    weir_from(r->pipeline, weir_from_inlet(r->inlet));
    weir_node *node = weir_via(r->pipeline, weir_http_call(&r->config));
    weir_into(r->pipeline, weir_stage_of(&sink_type, NULL));
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP });
    weir_inlet_end(r->inlet);
    if (weir_pipeline_start(r->pipeline, &r->loop, 1, finished, r) == WEIR_OK)
        assert_int_equal(weir_loop_run(r->loop), WEIR_OK);
    bool failed = m.until_failure == 0;
    if (!failed)
        assert_int_equal(r->results[0].outcome, WEIR_ACKED);
    weir_pipeline_free(r->pipeline);
    weir_inlet_free(r->inlet);
    weir_loop_free(r->loop);
    assert_true(r->results[0].ended);
    assert_int_equal(m.live, 0);
    free(r);
    return failed;
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    server *s = server_start();
    long nth = 1;
    while (survives(s, nth))
        nth++;
    assert_in_range(nth, 10, 400);
    server_stop(s);
}

/* ---- Python's server, in clear and with TLS ---- */

static const char python_server[] =
    "import http.server, ssl, sys\n"
    "class H(http.server.BaseHTTPRequestHandler):\n"
    "    protocol_version = 'HTTP/1.1'\n"
    "    def do_POST(self):\n"
    "        body = self.rfile.read(int(self.headers['Content-Length']))\n"
    "        self.send_response(200)\n"
    "        self.send_header('Content-Length', str(len(body)))\n"
    "        self.end_headers()\n"
    "        self.wfile.write(body.upper())\n"
    "    def log_message(self, *a): pass\n"
    "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), H)\n"
    "if len(sys.argv) > 1:\n"
    "    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n"
    "    c.load_cert_chain(sys.argv[1])\n"
    "    s.socket = c.wrap_socket(s.socket, server_side=True)\n"
    "print(s.server_port, flush=True)\n"
    "s.serve_forever()\n";

static pid_t python_start(const char *cert, uint16_t *ret_port)
{
    int out[2];
    char text[16] = "";
    assert_int_equal(pipe(out), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        close(out[0]);
        execlp("python3", "python3", "-c", python_server, cert, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    size_t n = 0;
    for (ssize_t r = 1; r > 0 && n < sizeof text - 1 && memchr(text, '\n', n) == NULL;
         n += (size_t)r) {
        r = read(out[0], text + n, sizeof text - 1 - n);
        if (r <= 0)
            break;
    }
    close(out[0]);
    *ret_port = (uint16_t)atoi(text);
    return pid;
}

static void python_stop(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void python_answers(void **state)
{
    (void)state;
    uint16_t port;
    pid_t pid = python_start(NULL, &port);
    if (port == 0) {
        python_stop(pid);
        skip();
    }
    rig *r = rig_new(port);
    for (int i = 0; i < 50; i++)
        call(r, WEIR_HTTP1_POST, "/", "echo this");
    run(r);
    for (int i = 0; i < 50; i++)
        expect_answer(r, i, 200, "ECHO THIS");
    rig_free(r);
    python_stop(pid);
}

static bool make_certificate(char *path)
{
    char command[512];
    int fd = mkstemp(path);
    if (fd < 0)
        return false;
    close(fd);
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=weir-test "
             "-addext subjectAltName=IP:127.0.0.1 -keyout %s.key -out %s.crt 2>/dev/null && "
             "cat %s.key %s.crt > %s; s=$?; rm -f %s.key %s.crt; exit $s",
             path, path, path, path, path, path, path);
    return system(command) == 0;
}

static void tls_verifies_the_certificate(void **state)
{
    (void)state;
    char path[] = "/tmp/weir-test-XXXXXX";
    uint16_t port = 0;
    pid_t pid = -1;
    if (make_certificate(path))
        pid = python_start(path, &port);
    if (port == 0)
        skip();
    rig *trusting = rig_new(port), *strict = rig_new(port), *misnamed = rig_new(port);
    rig *rigs[] = { trusting, strict, misnamed };
    for (int i = 0; i < 3; i++) {
        snprintf(rigs[i]->url, sizeof rigs[i]->url, "https://127.0.0.1:%u", port);
        for (int j = 0; j < 20; j++)
            call(rigs[i], WEIR_HTTP1_POST, "/", "secret");
    }
    trusting->config.tls_ca_file = path;
    misnamed->config.tls_ca_file = path;
    misnamed->config.tls_name = "example.org";
    for (int i = 0; i < 3; i++)
        run(rigs[i]);
    for (int j = 0; j < 20; j++) {
        expect_answer(trusting, j, 200, "SECRET");
        expect_failure(strict, j, WEIR_EUNAVAILABLE);
        expect_failure(misnamed, j, WEIR_EUNAVAILABLE);
    }
    for (int i = 0; i < 3; i++)
        rig_free(rigs[i]);
    python_stop(pid);
    unlink(path);
}

int main(void)
{
    signal(SIGPIPE, SIG_DFL); /* the client must never raise it */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_updates_its_item),
        cmocka_unit_test(requests_share_a_kept_alive_connection),
        cmocka_unit_test(the_pool_is_bounded_and_order_is_kept),
        cmocka_unit_test(a_body_is_sent_with_its_fields),
        cmocka_unit_test(the_trace_of_the_context_is_passed_on),
        cmocka_unit_test(every_framing_of_a_body_is_read),
        cmocka_unit_test(what_breaks_a_rule_fails_its_item_only),
        cmocka_unit_test(without_a_response_callback_the_code_decides),
        cmocka_unit_test(an_idempotent_request_on_a_stale_connection_is_sent_again),
        cmocka_unit_test(a_request_that_is_not_idempotent_is_sent_once),
        cmocka_unit_test(a_request_that_takes_too_long_fails_and_its_connection_closes),
        cmocka_unit_test(the_deadline_of_the_context_counts),
        cmocka_unit_test(a_cancelled_context_gives_its_request_up),
        cmocka_unit_test(an_abort_gives_up_what_is_under_way),
        cmocka_unit_test(an_idle_connection_closes_after_its_timeout),
        cmocka_unit_test(a_server_that_comes_back_is_found_again),
        cmocka_unit_test(an_absent_server_fails_items_at_once),
        cmocka_unit_test(a_server_that_does_not_accept_is_given_up),
        cmocka_unit_test(names_are_resolved_by_the_hosts_file),
        cmocka_unit_test(a_name_that_nobody_knows_fails_within_the_timeout),
        cmocka_unit_test(a_bad_url_is_refused_while_building),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(python_answers),
        cmocka_unit_test(tls_verifies_the_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
