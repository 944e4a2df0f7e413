/* What an RPC server counts of its connections, streams and methods: for programs, in the metrics,
 * and at the admin listener. */
#include "rpc_rig.h"

#include <weir/admin.h>

static void process(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    const Streams__V1__ProcessRequest *request = (const Streams__V1__ProcessRequest *)message;
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    (void)user;
    response.text = request->text;
    assert_int_equal(weir_rpc_reply(call, &response.base), WEIR_OK);
}

static void ignore(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)call;
    (void)message;
    (void)user;
}

/* Process answers, StreamData never does, Collect is not there. */
static void start(rig *r)
{
    r->handlers[PROCESS] = (weir_rpc_handler){ .message = process };
    r->handlers[STREAM_DATA] = (weir_rpc_handler){ .message = ignore };
    rig_start(r);
}

static weir_rpc_server_figures figures_of(rig *r)
{
    weir_rpc_server_figures figures;
    assert_int_equal(weir_rpc_server_stats(r->server, &figures), WEIR_OK);
    return figures;
}

static weir_rpc_method_figures method_of(rig *r, uint32_t index)
{
    weir_rpc_method_figures figures;
    assert_int_equal(weir_rpc_method_stats(r->server, index, &figures), WEIR_OK);
    return figures;
}

static rcall *ask(client *c, const weir_rpc_method *method)
{
    Streams__V1__ProcessRequest process_ = STREAMS__V1__PROCESS_REQUEST__INIT;
    Streams__V1__StreamDataRequest stream = STREAMS__V1__STREAM_DATA_REQUEST__INIT;
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    rcall *k = call_start_of(c, method, NULL);
    process_.text = "text";
    call_send(k, method->request == process_.base.descriptor ? &process_.base
                 : method->request == stream.base.descriptor ? &stream.base
                                                             : &data.base);
    call_end(k);
    return k;
}

static void ask_and_wait(client *c, const weir_rpc_method *method, weir_rpc_code code)
{
    rcall *k = ask(c, method);
    TURN_UNTIL(c->rig, k->got.over);
    assert_int_equal(k->got.code, code);
    call_free(k);
}

/* ---- For programs ---- */

static void connections_are_counted_with_how_they_ended(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r);
    client *a = client_new(&r, WEIR_HTTP_2), *b = client_new(&r, WEIR_HTTP_2);
    ask_and_wait(a, &streams_methods[PROCESS], WEIR_RPC_OK);
    ask_and_wait(b, &streams_methods[PROCESS], WEIR_RPC_OK);
    assert_int_equal(figures_of(&r).connections, 2);
    assert_int_equal(figures_of(&r).connections_open, 2);
    client_close(a);
    TURN_UNTIL(&r, figures_of(&r).connections_open == 1);
    assert_int_equal(figures_of(&r).connections_over[-WEIR_ECLOSED], 1);
    assert_int_equal(send(b->fd, "\0\0\1\0\0\0\0\0\0x", 10, MSG_NOSIGNAL), 10); /* DATA on 0 */
    TURN_UNTIL(&r, figures_of(&r).connections_open == 0);
    assert_int_equal(figures_of(&r).connections_over[-WEIR_EPROTO], 1);
    assert_int_equal(figures_of(&r).connections, 2);
    rig_stop(&r);
}

static void streams_are_counted_with_how_they_ended(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    ask_and_wait(c, &streams_methods[PROCESS], WEIR_RPC_OK);
    rcall *k = ask(c, &streams_methods[STREAM_DATA]);
    TURN_UNTIL(&r, figures_of(&r).streams_open == 1 && figures_of(&r).streams == 2);
    call_free(k); /* which cancels it */
    TURN_UNTIL(&r, figures_of(&r).streams_open == 0);
    assert_int_equal(figures_of(&r).streams_over[0], 1);
    assert_int_equal(figures_of(&r).streams_over[-WEIR_ECANCELED], 1);
    assert_int_equal(method_of(&r, STREAM_DATA).by_code[WEIR_RPC_CANCELLED], 1);
    rig_stop(&r);
}

static weir_http_exchange *open_with(client *c, rcall *k, const char *path, size_t field_bytes)
{
    static char value[40000];
    memset(value, 'x', sizeof value);
    weir_http1_field field = { { "x", 1 }, { value, field_bytes } };
    weir_http_head head = { .method = { "POST", 4 },
                            .path = { path, strlen(path) },
                            .authority = { "test", 4 },
                            .scheme = { "http", 4 },
                            .fields = &field,
                            .field_count = 1,
                            .content_length = UINT64_MAX,
                            .ends = true };
    assert_int_equal(weir_http_session_open(c->session, &head, k, &k->exchange), WEIR_OK);
    return k->exchange;
}

static void what_is_refused_before_it_is_a_call_is_counted(void **state)
{
    (void)state;
    for (weir_http_version version = WEIR_HTTP_1; version <= WEIR_HTTP_2; version++) {
        rig r = { 0 };
        start(&r);
        client *c = client_new(&r, version);
        rcall *k = calloc(1, sizeof *k);
        k->client = c;
        weir_arena_init(&k->arena, NULL, NULL, 0, 0);
        (void)open_with(c, k, "/streams.v1.Streams/Process", 40000);
        TURN_UNTIL(&r, k->got.over);
        assert_int_equal(k->got.http_status, 431);
        assert_int_equal(figures_of(&r).refused[WEIR_RPC_REFUSED_BAD_REQUEST], 1);
        assert_int_equal(figures_of(&r).streams, 0);
        call_free(k);
        rig_stop(&r);
    }
}

static void what_is_refused_is_counted_by_why(void **state)
{
    static const weir_rpc_method nowhere = { .name = "Nowhere",
                                             .path = "/streams.v1.Streams/Nowhere",
                                             .request = &streams__v1__data__descriptor,
                                             .response = &streams__v1__data__descriptor };
    rig r = { .config.calls_max = 1 };
    (void)state;
    start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    ask_and_wait(c, &streams_methods[COLLECT], WEIR_RPC_UNIMPLEMENTED);
    ask_and_wait(c, &nowhere, WEIR_RPC_UNIMPLEMENTED);
    assert_int_equal(figures_of(&r).refused[WEIR_RPC_REFUSED_UNKNOWN_METHOD], 2);
    rcall *k = ask(c, &streams_methods[STREAM_DATA]);
    ask_and_wait(c, &streams_methods[PROCESS], WEIR_RPC_UNAVAILABLE);
    assert_int_equal(figures_of(&r).refused[WEIR_RPC_REFUSED_TOO_MANY], 1);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    ask_and_wait(c, &streams_methods[PROCESS], WEIR_RPC_UNAVAILABLE);
    assert_int_equal(figures_of(&r).refused[WEIR_RPC_REFUSED_DRAINING], 1);
    assert_int_equal(figures_of(&r).refused[WEIR_RPC_REFUSED_NOT_A_CALL], 0);
    assert_int_equal(figures_of(&r).refused[WEIR_RPC_REFUSED_BAD_REQUEST], 0);
    assert_int_equal(figures_of(&r).streams, 5);
    call_free(k);
    rig_stop(&r);
}

static void methods_are_counted_in_the_order_of_the_services(void **state)
{
    rig r = { 0 };
    weir_rpc_method_figures figures;
    (void)state;
    start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    ask_and_wait(c, &streams_methods[PROCESS], WEIR_RPC_OK);
    rcall *k = ask(c, &streams_methods[STREAM_DATA]);
    TURN_UNTIL(&r, method_of(&r, STREAM_DATA).messages_in == 1);
    figures = method_of(&r, PROCESS);
    assert_ptr_equal(figures.method, &streams_methods[PROCESS]);
    assert_int_equal(figures.started, 1);
    assert_int_equal(figures.in_flight, 0);
    assert_int_equal(figures.by_code[WEIR_RPC_OK], 1);
    assert_int_equal(figures.messages_out, 1);
    assert_int_equal(figures.bytes_in, 6);
    assert_int_equal(figures.bytes_out, 6);
    assert_int_equal(method_of(&r, STREAM_DATA).in_flight, 1);
    assert_int_equal(weir_rpc_method_stats(r.server, METHODS, &figures), WEIR_ENOTFOUND);
    call_free(k);
    rig_stop(&r);
}

static void a_node_that_is_no_server_has_none(void **state)
{
    weir_rpc_server_figures figures;
    weir_rpc_method_figures method;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_node *node = weir_add(p, weir_rpc_server(NULL));
    (void)state;
    assert_int_equal(weir_rpc_server_stats(node, &figures), WEIR_ENOTFOUND); /* not started */
    assert_int_equal(weir_rpc_server_stats(NULL, &figures), WEIR_ENOTFOUND);
    assert_int_equal(weir_rpc_method_stats(node, 0, &method), WEIR_ENOTFOUND);
    weir_pipeline_free(p);
}

/* ---- At the admin listener ---- */

static char page[1 << 17];

static void get_metrics(rig *r, uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(port) };
    static const char request[] = "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t n = 0;
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), sizeof request - 1);
    for (ssize_t got = -1; got != 0; turn(r)) {
        got = recv(fd, page + n, sizeof page - 1 - n, MSG_DONTWAIT);
        n += got > 0 ? (size_t)got : 0;
    }
    page[n] = '\0';
    close(fd);
}

static void expect(const char *line)
{
    if (strstr(page, line) == NULL)
        fail_msg("not on the page: %s", line);
}

static uint64_t number_behind(const char *text)
{
    const char *at = strstr(page, text);
    if (at == NULL)
        fail_msg("not on the page: %s", text);
    return strtoull(at + strlen(text), NULL, 10);
}

#define SERVER "{pipeline=\"weir\",stage=\"rpc_server\""

static void the_admin_listener_shows_them_all(void **state)
{
    rig r = { 0 };
    weir_admin *admin;
    (void)state;
    start(&r);
    weir_admin_config config = { .listen = "127.0.0.1:0",
                                 .pipelines = &r.pipeline,
                                 .pipeline_count = 1 };
    client *c = client_new(&r, WEIR_HTTP_2);
    ask_and_wait(c, &streams_methods[PROCESS], WEIR_RPC_OK);
    ask_and_wait(c, &streams_methods[COLLECT], WEIR_RPC_UNIMPLEMENTED);
    assert_int_equal(weir_admin_start(r.loop, &config, &admin, NULL), WEIR_OK);
    get_metrics(&r, weir_admin_port(admin));
    expect("weir_rpc_server_calls_completed_total" SERVER
           ",method=\"streams.v1.Streams/Process\",code=\"OK\"} 1\n");
    expect("weir_rpc_server_connections_total" SERVER "} 1\n");
    expect("weir_rpc_server_connections_open" SERVER "} 1\n");
    expect("weir_rpc_server_connections_over_total" SERVER ",class=\"ECLOSED\"} 0\n");
    expect("weir_rpc_server_streams_total" SERVER "} 2\n");
    expect("weir_rpc_server_streams_open" SERVER "} 0\n");
    expect("weir_rpc_server_streams_over_total" SERVER ",class=\"OK\"} 2\n");
    expect("weir_rpc_server_streams_over_total" SERVER ",class=\"other\"} 0\n");
    expect("weir_rpc_server_refused_total" SERVER ",reason=\"unknown_method\"} 1\n");
    weir_admin_stop(admin);
    rig_stop(&r);
}

static void when_the_last_call_came_and_what_keepalive_asked_are_shown(void **state)
{
    rig r = { .config.keepalive_ms = 5000 };
    weir_admin *admin;
    (void)state;
    start(&r);
    weir_admin_config config = { .listen = "127.0.0.1:0",
                                 .pipelines = &r.pipeline,
                                 .pipeline_count = 1 };
    client *c = client_new(&r, WEIR_HTTP_2);
    ask_and_wait(c, &streams_methods[PROCESS], WEIR_RPC_OK);
    uint64_t called_ns = r.clock_ns;
    for (int second = 0; second < 7; second++) {
        r.clock_ns += 1000 * WEIR_MS;
        turns(&r, 3);
    }
    TURN_UNTIL(&r, figures_of(&r).keepalives == 1);
    assert_in_range(method_of(&r, PROCESS).last_started_ns, called_ns - WEIR_SEC, called_ns);
    assert_int_equal(weir_admin_start(r.loop, &config, &admin, NULL), WEIR_OK);
    uint64_t now = (uint64_t)time(NULL);
    get_metrics(&r, weir_admin_port(admin));
    expect("weir_rpc_server_keepalives_sent_total" SERVER "} 1\n");
    assert_in_range(number_behind("weir_rpc_server_call_last_started_timestamp_seconds" SERVER
                                  ",method=\"streams.v1.Streams/Process\"} "),
                    now - 9, now - 6);
    expect("weir_rpc_server_call_last_started_timestamp_seconds" SERVER
           ",method=\"streams.v1.Streams/StreamData\"} 0\n");
    weir_admin_stop(admin);
    rig_stop(&r);
}

/* What a peer names is no label. */
static void paths_that_are_not_served_make_no_figures(void **state)
{
    static const weir_rpc_method nowhere = { .name = "Nowhere",
                                             .path = "/no.such/Nowhere",
                                             .request = &streams__v1__data__descriptor,
                                             .response = &streams__v1__data__descriptor };
    rig r = { 0 };
    (void)state;
    start(&r);
    ask_and_wait(client_new(&r, WEIR_HTTP_2), &nowhere, WEIR_RPC_UNIMPLEMENTED);
    assert_true(weir_pipeline_metrics(r.pipeline, WEIR_OPENMETRICS, page, sizeof page) <
                sizeof page);
    assert_null(strstr(page, "Nowhere"));
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_counted_with_how_they_ended),
        cmocka_unit_test(streams_are_counted_with_how_they_ended),
        cmocka_unit_test(what_is_refused_before_it_is_a_call_is_counted),
        cmocka_unit_test(what_is_refused_is_counted_by_why),
        cmocka_unit_test(methods_are_counted_in_the_order_of_the_services),
        cmocka_unit_test(a_node_that_is_no_server_has_none),
        cmocka_unit_test(the_admin_listener_shows_them_all),
        cmocka_unit_test(when_the_last_call_came_and_what_keepalive_asked_are_shown),
        cmocka_unit_test(paths_that_are_not_served_make_no_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
