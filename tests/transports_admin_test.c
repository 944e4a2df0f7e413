/* The admin listener, over real sockets, beside pipelines that run, stand still and stall. */
#include <weir/admin.h>
#include <weir/async.h>
#include <weir/inlet.h>

#include <arpa/inet.h>
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

/* ---- A pipeline whose only operation can be held up ---- */

typedef struct hub {
    weir_loop *loop;
    pthread_t thread;
    weir_inlet *inlet;
    weir_pipeline *pipeline;
    atomic_bool held;
    weir_admin *admin;
    weir_admin_check check;
    atomic_int store;
} hub;

typedef struct worker {
    weir_op *held[4];
    uint32_t n;
    weir_timer timer;
    weir_loop *loop;
    hub *hub;
} worker;

static void look(weir_timer *timer, void *user)
{
    worker *w = user;
    if (atomic_load(&w->hub->held)) {
        weir_timer_start(w->loop, timer, WEIR_MS, look, w);
        return;
    }
    while (w->n > 0)
        weir_op_done(w->held[--w->n], WEIR_OK, NULL);
}

static weir_status worker_open(weir_stage *stage, const void *config, void *state)
{
    worker *w = state;
    w->hub = *(hub *const *)config;
    w->loop = weir_stage_loop(stage);
    return WEIR_OK;
}

static void worker_start(weir_op *op, void *state)
{
    worker *w = state;
    w->held[w->n++] = op;
    if (!weir_timer_is_armed(&w->timer))
        weir_timer_start(w->loop, &w->timer, WEIR_MS, look, w);
}

static const weir_async_type worker_type = {
    .name = "store",
    .config_size = sizeof(hub *),
    .state_size = sizeof(worker),
    .open = worker_open,
    .start = worker_start,
};

static weir_status sink_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)stage;
    (void)in;
    (void)state;
    weir_item_ack(item);
    return WEIR_OK;
}

static const weir_stage_type sink_type = {
    .name = "sink",
    .outputs = WEIR_PORTS_NONE,
    .on_item = sink_on_item,
};

static void finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    (void)pipeline;
    (void)status;
    weir_loop_stop(((hub *)user)->loop);
}

static hub *hub_new(void)
{
    hub *h = calloc(1, sizeof *h);
    h->loop = weir_loop_new(NULL);
    h->inlet = weir_inlet_new(NULL, NULL);
    h->pipeline = weir_pipeline_new(&(weir_pipeline_config){ .name = "hub" });
    weir_from(h->pipeline, weir_from_inlet(h->inlet));
    weir_via(h->pipeline, weir_async_of(&worker_type, &(weir_async_options){ .in_flight = 4 }, &h));
    weir_into(h->pipeline, weir_stage_of(&sink_type, NULL));
    return h;
}

static void *run(void *user)
{
    assert_int_equal(weir_loop_run(((hub *)user)->loop), WEIR_OK);
    return NULL;
}

static void hub_start(hub *h)
{
    assert_int_equal(weir_pipeline_start(h->pipeline, &h->loop, 1, finished, h), WEIR_OK);
    pthread_create(&h->thread, NULL, run, h);
}

static void hub_offer(hub *h)
{
    weir_item *item = weir_item_new_foreign(NULL, NULL, 8);
    assert_int_equal(weir_inlet_offer(h->inlet, item), WEIR_OK);
}

static void hub_end(hub *h)
{
    weir_inlet_end(h->inlet);
    pthread_join(h->thread, NULL);
}

static void hub_free(hub *h)
{
    weir_admin_stop(h->admin);
    weir_pipeline_free(h->pipeline);
    weir_inlet_free(h->inlet);
    weir_loop_free(h->loop);
    free(h);
}

static void admit(hub *h, weir_loop *loop, weir_admin_config config)
{
    const char *why = "";
    config.listen = "127.0.0.1:0";
    config.pipelines = &h->pipeline;
    config.pipeline_count = 1;
    if (weir_admin_start(loop, &config, &h->admin, &why) != WEIR_OK)
        fail_msg("%s", why);
}

/* ---- A client ---- */

static uint16_t remote_port; /* of an admin in another process */

static int dial(const weir_admin *admin)
{
    uint16_t port = admin != NULL ? weir_admin_port(admin) : remote_port;
    struct timeval patience = { .tv_sec = 10 };
    struct sockaddr_in at = { .sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons(port) };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* Sends `request` and gives all that comes, in a buffer of the caller's next ask. */
static const char *ask(const weir_admin *admin, const char *request)
{
    static char text[256 * 1024];
    size_t n = 0;
    int fd = dial(admin);
    (void)!send(fd, request, strlen(request), MSG_NOSIGNAL);
    for (ssize_t r = 1; r > 0 && n<sizeof text - 1; n += r> 0 ? (size_t)r : 0)
        r = recv(fd, text + n, sizeof text - 1 - n, 0);
    text[n] = '\0';
    close(fd);
    return text;
}

static const char *get(const weir_admin *admin, const char *target, const char *fields)
{
    char request[512];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n", target, fields);
    return ask(admin, request);
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool ends(const char *text, const char *with)
{
    size_t n = strlen(text), m = strlen(with);
    return n >= m && strcmp(text + n - m, with) == 0;
}

/* ---- Tests ---- */

static void metrics_come_in_the_format_that_is_accepted(void **state)
{
    (void)state;
    hub *h = hub_new();
    hub_start(h);
    admit(h, NULL, (weir_admin_config){ 0 });
    const char *text = get(h->admin, "/metrics", "");
    assert_true(begins(text, "HTTP/1.1 200 OK\r\n"));
    assert_non_null(strstr(text, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert_non_null(strstr(text, "pipeline=\"hub\""));
    assert_null(strstr(text, "# EOF"));
    text = get(h->admin, "/metrics",
               "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n");
    assert_non_null(strstr(text, "Content-Type: application/openmetrics-text; version=1.0.0"));
    assert_true(ends(text, "# EOF\n"));
    hub_end(h);
    hub_free(h);
}

static void metrics_of_several_pipelines_share_their_families(void **state)
{
    (void)state;
    hub *a = hub_new(), *b = hub_new();
    weir_pipeline *both[] = { a->pipeline, b->pipeline };
    weir_admin *admin;
    weir_admin_config config = { .listen = "127.0.0.1:0", .pipelines = both, .pipeline_count = 2 };
    hub_start(a);
    hub_start(b);
    assert_int_equal(weir_admin_start(NULL, &config, &admin, NULL), WEIR_OK);
    const char *text = get(admin, "/metrics", "Accept: application/openmetrics-text\r\n");
    const char *family = strstr(text, "# TYPE ");
    assert_non_null(family);
    for (; family != NULL; family = strstr(family + 1, "# TYPE ")) {
        char line[256];
        snprintf(line, sizeof line, "%.*s", (int)strcspn(family, "\n"), family);
        assert_null(strstr(family + 1, line));
    }
    assert_true(ends(text, "# EOF\n"));
    assert_ptr_equal(strstr(text, "# EOF"), text + strlen(text) - 6);
    assert_true(ends(get(admin, "/graph", ""), "]"));
    weir_admin_stop(admin);
    hub_end(a);
    hub_end(b);
    hub_free(a);
    hub_free(b);
}

static void the_graph_is_json_or_dot(void **state)
{
    (void)state;
    hub *h = hub_new();
    hub_start(h);
    admit(h, NULL, (weir_admin_config){ 0 });
    const char *text = get(h->admin, "/graph", "");
    assert_non_null(strstr(text, "Content-Type: application/json\r\n"));
    assert_non_null(strstr(text, "\r\n\r\n{"));
    text = get(h->admin, "/graph?format=dot", "");
    assert_non_null(strstr(text, "Content-Type: text/vnd.graphviz\r\n"));
    assert_non_null(strstr(text, "\r\n\r\ndigraph"));
    text = get(h->admin, "/graph", "Accept: text/vnd.graphviz\r\n");
    assert_non_null(strstr(text, "\r\n\r\ndigraph"));
    hub_end(h);
    hub_free(h);
}

static void readiness_follows_the_life_of_the_pipeline(void **state)
{
    (void)state;
    hub *h = hub_new();
    admit(h, NULL, (weir_admin_config){ 0 });
    assert_non_null(strstr(get(h->admin, "/ready", ""), "it has not started"));
    hub_start(h);
    const char *text = get(h->admin, "/ready", "");
    assert_true(begins(text, "HTTP/1.1 200 OK\r\n"));
    assert_true(ends(text, "{\"not_ready\":[],\"ready\":true}\n"));
    assert_true(begins(get(h->admin, "/live", ""), "HTTP/1.1 200 OK\r\n"));
    hub_end(h);
    text = get(h->admin, "/ready", "");
    assert_true(begins(text, "HTTP/1.1 503 "));
    assert_non_null(strstr(text, "it has finished"));
    hub_free(h);
}

static weir_status store_answers(void *user, const char **ret_why)
{
    const hub *h = user;
    *ret_why = "it is \"away\"";
    return (weir_status)atomic_load(&h->store);
}

static void readiness_names_the_check_that_fails(void **state)
{
    (void)state;
    hub *h = hub_new();
    hub_start(h);
    h->check = (weir_admin_check){ "database", store_answers, h };
    h->store = WEIR_EUNAVAILABLE;
    admit(h, NULL, (weir_admin_config){ .checks = &h->check, .check_count = 1 });
    const char *text = get(h->admin, "/ready", "");
    assert_true(begins(text, "HTTP/1.1 503 "));
    assert_true(ends(text,
                     "{\"not_ready\":[{\"name\":\"database\",\"why\":\"it is \\\"away\\\"\"}],"
                     "\"ready\":false}\n"));
    h->store = WEIR_OK;
    assert_true(begins(get(h->admin, "/ready", ""), "HTTP/1.1 200 OK\r\n"));
    hub_end(h);
    hub_free(h);
}

static bool wait_for(const hub *h, const char *status_line, const char *text)
{
    for (int i = 0; i < 2000; i++) {
        const char *answer = get(h->admin, "/ready", "");
        if (begins(answer, status_line) && strstr(answer, text) != NULL)
            return true;
    }
    return false;
}

static void a_stalled_stage_is_named_until_it_moves_again(void **state)
{
    (void)state;
    hub *h = hub_new();
    hub_start(h);
    admit(h, NULL, (weir_admin_config){ .stuck_ms = 40 });
    assert_true(begins(get(h->admin, "/ready", ""), "HTTP/1.1 200 OK\r\n"));
    atomic_store(&h->held, true);
    for (int i = 0; i < 10; i++)
        hub_offer(h);
    assert_true(wait_for(h, "HTTP/1.1 503 ", "{\"name\":\"store\",\"why\":\"stuck: "));
    atomic_store(&h->held, false);
    assert_true(wait_for(h, "HTTP/1.1 200 ", "\"ready\":true"));
    hub_end(h);
    hub_free(h);
}

static void a_token_guards_all_but_the_probes(void **state)
{
    (void)state;
    hub *h = hub_new();
    hub_start(h);
    admit(h, NULL, (weir_admin_config){ .token = "sesame" });
    assert_non_null(strstr(get(h->admin, "/metrics", ""), "401 Unauthorized\r\n"));
    assert_non_null(strstr(get(h->admin, "/metrics", ""), "WWW-Authenticate: Bearer\r\n"));
    assert_true(
        begins(get(h->admin, "/graph", "Authorization: Bearer sesamo\r\n"), "HTTP/1.1 401"));
    assert_true(
        begins(get(h->admin, "/metrics", "Authorization: Bearer sesame\r\n"), "HTTP/1.1 200"));
    assert_true(begins(get(h->admin, "/live", ""), "HTTP/1.1 200"));
    assert_true(begins(get(h->admin, "/ready", ""), "HTTP/1.1 200"));
    hub_end(h);
    hub_free(h);
}

static void other_requests_are_refused(void **state)
{
    (void)state;
    hub *h = hub_new();
    char long_one[9000];
    admit(h, NULL, (weir_admin_config){ 0 });
    assert_true(begins(get(h->admin, "/nothing", ""), "HTTP/1.1 404 "));
    assert_non_null(strstr(get(h->admin, "/", ""), "\r\n\r\n/metrics\n"));
    const char *text = ask(h->admin,
                           "POST /live HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab");
    assert_true(begins(text, "HTTP/1.1 405 "));
    assert_non_null(strstr(text, "Allow: GET, HEAD\r\n"));
    text = ask(h->admin, "HEAD /live HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_true(begins(text, "HTTP/1.1 200 OK\r\n") && ends(text, "\r\n\r\n"));
    assert_true(begins(ask(h->admin, "GET /live\r\n\r\n"), "HTTP/1.1 400 "));
    memset(long_one, 'x', sizeof long_one - 1);
    memcpy(long_one, "GET /", 5);
    long_one[sizeof long_one - 1] = '\0';
    text = ask(h->admin, long_one);
    assert_true(begins(text, "HTTP/1.1 414 ") || begins(text, "HTTP/1.1 431 "));
    hub_free(h);
}

static void idle_clients_are_few_and_leave(void **state)
{
    (void)state;
    hub *h = hub_new();
    admit(h, NULL, (weir_admin_config){ .connections_max = 2, .timeout_ms = 50 });
    int idle[4];
    for (int i = 0; i < 4; i++)
        idle[i] = dial(h->admin);
    assert_true(begins(get(h->admin, "/live", ""), "HTTP/1.1 200"));
    for (int i = 0; i < 4; i++)
        close(idle[i]);
    hub_free(h);
}

static void it_can_live_on_a_loop_of_the_pipeline(void **state)
{
    (void)state;
    hub *h = hub_new();
    admit(h, h->loop, (weir_admin_config){ 0 });
    hub_start(h);
    hub_offer(h);
    assert_true(begins(get(h->admin, "/ready", ""), "HTTP/1.1 200"));
    hub_end(h);
    hub_free(h);
}

static void it_goes_with_weir_run_and_its_signals(void **state)
{
    (void)state;
    int port_pipe[2], status;
    assert_int_equal(pipe(port_pipe), 0);
    pid_t pid = fork();
    if (pid == 0) {
        hub *h = hub_new();
        admit(h, NULL, (weir_admin_config){ 0 });
        uint16_t port = weir_admin_port(h->admin);
        (void)!write(port_pipe[1], &port, sizeof port);
        status = weir_run(h->pipeline);
        hub_free(h);
        _exit(status == WEIR_OK ? 0 : 1);
    }
    remote_port = 0;
    assert_int_equal(read(port_pipe[0], &remote_port, sizeof remote_port), sizeof remote_port);
    while (!begins(get(NULL, "/ready", ""), "HTTP/1.1 200"))
        ;
    kill(pid, SIGTERM);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(port_pipe[0]);
    close(port_pipe[1]);
}

static void why_it_cannot_listen_is_told(void **state)
{
    (void)state;
    hub *h = hub_new();
    weir_admin *second = NULL;
    const char *why = NULL;
    char taken[32];
    admit(h, NULL, (weir_admin_config){ 0 });
    snprintf(taken, sizeof taken, "127.0.0.1:%u", weir_admin_port(h->admin));
    weir_admin_config config = { .listen = taken };
    assert_int_equal(weir_admin_start(NULL, &config, &second, &why), WEIR_EEXIST);
    assert_string_equal(why, "cannot listen: the address is in use");
    config.listen = "192.0.2.1:0";
    assert_int_equal(weir_admin_start(NULL, &config, &second, &why), WEIR_ENOTFOUND);
    config.listen = "nonsense";
    assert_int_equal(weir_admin_start(NULL, &config, &second, &why), WEIR_EINVAL);
    assert_null(second);
    hub_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(metrics_come_in_the_format_that_is_accepted),
        cmocka_unit_test(metrics_of_several_pipelines_share_their_families),
        cmocka_unit_test(the_graph_is_json_or_dot),
        cmocka_unit_test(readiness_follows_the_life_of_the_pipeline),
        cmocka_unit_test(readiness_names_the_check_that_fails),
        cmocka_unit_test(a_stalled_stage_is_named_until_it_moves_again),
        cmocka_unit_test(a_token_guards_all_but_the_probes),
        cmocka_unit_test(other_requests_are_refused),
        cmocka_unit_test(idle_clients_are_few_and_leave),
        cmocka_unit_test(it_can_live_on_a_loop_of_the_pipeline),
        cmocka_unit_test(it_goes_with_weir_run_and_its_signals),
        cmocka_unit_test(why_it_cannot_listen_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
