/* S8, deadlines and cancellation across HTTP -> RPC -> database: a server of HTTP whose stage calls
 * a server of RPC whose stage has the work done, over real sockets on one loop. */
#include "rpc_rig.h"

#include <weir/http_server.h>
#include <weir/rpc_client.h>
#include <weir/sqlite.h>
#include <weir/stages.h>

#include "servers.h"

#if WEIR_HAVE_SQLITE
#include <sqlite3.h>
#endif

enum { DEADLINE_MS = 5000, OPS_MAX = 8 };

/* ---- The database: work that the test ends itself ---- */

static struct {
    weir_op *op[OPS_MAX];
    int n, cancels;
    weir_status cancelled; /* why, the last */
} work;

/* What the server of RPC tells of its calls. */
static struct {
    int begun, over;
    weir_rpc_code code;
} calls;

static void keep(weir_op *op, void *user)
{
    (void)user;
    assert_true(work.n < OPS_MAX);
    work.op[work.n++] = op;
}

static void give_up(weir_op *op, weir_status status, void *user)
{
    (void)user;
    for (int i = 0; i < work.n; i++)
        if (work.op[i] == op)
            work.op[i] = NULL;
    work.cancels++;
    work.cancelled = status;
    weir_op_done(op, status, "given up");
}

static void finish(int i)
{
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    weir_op *op = work.op[i];
    work.op[i] = NULL;
    response.text =
        ((const Streams__V1__ProcessRequest *)weir_rpc_message_of(op->item)->message)->text;
    assert_int_equal(weir_rpc_item_reply(op->item, &response.base), WEIR_OK);
    weir_op_done(op, WEIR_OK, NULL);
}

static weir_status call_begins(weir_rpc_call *call, void *user)
{
    (void)call;
    (void)user;
    calls.begun++;
    return WEIR_OK;
}

static void call_is_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)user;
    calls.over++;
    calls.code = code;
}

static const weir_rpc_interceptor observer = { .begin = call_begins, .over = call_is_over };
static const weir_rpc_interceptor *const observers[] = { &observer };

/* ---- The way there: HTTP, and a stage that calls ---- */

typedef struct world {
    rig rpc;
    weir_pipeline *http;
    uint16_t port;
    bool finished;
    char target[64];
} world;

static void http_listens(uint16_t port, void *user)
{
    ((world *)user)->port = port;
}

static void http_finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    (void)pipeline;
    (void)status;
    ((world *)user)->finished = true;
}

/* The body of the request is the text that is processed. */
static const ProtobufCMessage *request_of(const weir_item *item, weir_arena *arena,
                                          weir_status *ret_status, void *user)
{
    weir_http1_span body = weir_http_request_body(weir_http_request_of(item));
    Streams__V1__ProcessRequest *request = weir_arena_take(arena, sizeof *request);
    (void)user;
    *ret_status = WEIR_ENOMEM;
    if (request == NULL)
        return NULL;
    streams__v1__process_request__init(request);
    request->text = weir_arena_copy(arena, body.at, body.len);
    return request->text != NULL ? &request->base : NULL;
}

static weir_status take_response(weir_item *item, const ProtobufCMessage *message, void *user)
{
    const char *text = ((const Streams__V1__ProcessResponse *)message)->text;
    (void)user;
    return weir_http_reply(item, 200, "text/plain", text, strlen(text));
}

static weir_status answered(const weir_item *item, weir_http_response *response, void *user)
{
    (void)item;
    (void)response;
    (void)user;
    return WEIR_OK;
}

static weir_stage_spec *calling(world *w)
{
    snprintf(w->target, sizeof w->target, "http://127.0.0.1:%u", w->rpc.port);
    return weir_rpc_call_stage(&(weir_rpc_call_config){ .channel = { .target = w->target },
                                                        .method = &streams_methods[PROCESS],
                                                        .request = request_of,
                                                        .response = take_response,
                                                        .unordered = true });
}

static void world_start(world *w, weir_stage_spec *database)
{
    rig *r = &w->rpc;
    memset(&work, 0, sizeof work);
    memset(&calls, 0, sizeof calls);
    r->handlers[PROCESS] = (weir_rpc_handler){ .output_plus_1 = 1 };
    r->config.interceptors = observers;
    r->config.interceptor_count = 1;
    r->sinks[0] = database;
    rig_start(r);
    w->http = weir_pipeline_new(&(weir_pipeline_config){ .env = &r->env });
    weir_from(w->http,
              weir_http_server(&(weir_http_server_config){ .listen = "127.0.0.1:0",
                                                           .listening = http_listens,
                                                           .user = w,
                                                           .request_deadline_ms = DEADLINE_MS }));
    weir_via(w->http, calling(w));
    weir_into(w->http, weir_http_reply_with(answered, NULL));
    assert_int_equal(weir_pipeline_start(w->http, &r->loop, 1, http_finished, w), WEIR_OK);
    TURN_UNTIL(r, w->port != 0);
}

static void world_stop(world *w)
{
    weir_pipeline_shutdown(w->http, WEIR_DRAIN, 0);
    TURN_UNTIL(&w->rpc, w->finished);
    weir_pipeline_free(w->http);
    turns(&w->rpc, 20); /* the channel's connection ends */
    rig_stop(&w->rpc);
}

static weir_stage_spec *slow_database(void)
{
    return weir_async(&(weir_async_fn_config){
        .name = "database", .start = keep, .cancel = give_up, .unordered = true });
}

/* ---- The client of HTTP ---- */

static int post(const world *w, const char *body, const char *fields)
{
    char text[512];
    int fd = server_dial(w->port, PATIENCE_MS / 1000);
    assert_true(fd >= 0);
    int n = snprintf(text, sizeof text,
                     "POST /process HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", fields,
                     strlen(body), body);
    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
    return fd;
}

static void hear(world *w, int fd, const char *head, const char *tail)
{
    char text[2048] = "";
    size_t n = 0;
    ssize_t got = -1;
    TURN_UNTIL(
        &w->rpc,
        ((got = recv(fd, text + n, sizeof text - 1 - n, MSG_DONTWAIT)) > 0 ? (n += (size_t)got) : 0,
         strstr(text, "\r\n\r\n") != NULL && strstr(text, tail) != NULL));
    if (strncmp(text, head, strlen(head)) != 0)
        fail_msg("%s", text);
    close(fd);
}

static void hang_up(int fd)
{
    struct linger hard = { 1, 0 };
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard), 0);
    close(fd);
}

/* ---- The tests ---- */

static void an_answer_comes_all_the_way_back(void **state)
{
    world w = { 0 };
    (void)state;
    world_start(&w, slow_database());
    int fd = post(&w, "hello", "");
    TURN_UNTIL(&w.rpc, work.n == 1);
    finish(0);
    hear(&w, fd, "HTTP/1.1 200 ", "hello");
    TURN_UNTIL(&w.rpc, calls.over == 1);
    assert_int_equal(calls.code, WEIR_RPC_OK);
    assert_int_equal(work.cancels, 0);
    world_stop(&w);
}

static void the_deadline_and_the_trace_travel_to_the_work(void **state)
{
    static const char trace[] = "0af7651916cd43dd8448eb211c80319c";
    world w = { 0 };
    char seen[33];
    (void)state;
    world_start(&w, slow_database());
    int fd = post(&w, "hello",
                  "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n");
    TURN_UNTIL(&w.rpc, work.n == 1);
    const weir_context *context = work.op[0]->context;
    uint64_t left = weir_context_left(context, weir_loop_now(w.rpc.loop));
    assert_in_range(left, (DEADLINE_MS - 1000) * WEIR_MS, DEADLINE_MS * WEIR_MS);
    for (int i = 0; i < 16; i++)
        snprintf(seen + 2 * i, 3, "%02x", context->trace.trace_id[i]);
    assert_string_equal(seen, trace);
    assert_int_equal(context->trace.flags, 1);
    finish(0);
    hear(&w, fd, "HTTP/1.1 200 ", "hello");
    world_stop(&w);
}

static void the_deadline_ends_the_work_everywhere(void **state)
{
    world w = { 0 };
    (void)state;
    world_start(&w, slow_database());
    int fd = post(&w, "hello", "");
    TURN_UNTIL(&w.rpc, work.n == 1);
    w.rpc.clock_ns += DEADLINE_MS * WEIR_MS;
    hear(&w, fd, "HTTP/1.1 504 ", "");
    TURN_UNTIL(&w.rpc, work.cancels == 1 && calls.over == 1);
    assert_true(calls.code == WEIR_RPC_DEADLINE_EXCEEDED || calls.code == WEIR_RPC_CANCELLED);
    world_stop(&w);
}

static void a_client_that_hangs_up_ends_its_work_and_no_other(void **state)
{
    world w = { 0 };
    int fds[4];
    (void)state;
    world_start(&w, slow_database());
    for (int i = 0; i < 4; i++) {
        fds[i] = post(&w, "hello", "");
        TURN_UNTIL(&w.rpc, work.n == i + 1);
    }
    for (int i = 0; i < 3; i++)
        hang_up(fds[i]);
    TURN_UNTIL(&w.rpc, work.cancels == 3 && calls.over == 3);
    assert_int_equal(calls.code, WEIR_RPC_CANCELLED);
    assert_int_not_equal(work.cancelled, WEIR_EDEADLINE);
    finish(3);
    hear(&w, fds[3], "HTTP/1.1 200 ", "hello");
    world_stop(&w);
}

static void an_abort_above_ends_the_work_below(void **state)
{
    world w = { 0 };
    (void)state;
    world_start(&w, slow_database());
    int fd = post(&w, "hello", "");
    TURN_UNTIL(&w.rpc, work.n == 1);
    weir_pipeline_shutdown(w.http, WEIR_ABORT, 0);
    TURN_UNTIL(&w.rpc, w.finished && work.cancels == 1 && calls.over == 1);
    close(fd);
    world_stop(&w);
}

/* ---- With SQLite ---- */

#if WEIR_HAVE_SQLITE
static char path[SERVER_PATH_MAX + 16];

static weir_status bind_text(weir_item *item, weir_sqlite_params *params, void *user)
{
    const Streams__V1__ProcessRequest *request =
        (const Streams__V1__ProcessRequest *)weir_rpc_message_of(item)->message;
    (void)user;
    weir_sqlite_bind_text(params, 1, request->text, strlen(request->text));
    return WEIR_OK;
}

static weir_stage_spec *sqlite(void)
{
    return weir_sqlite_exec(
        &(weir_sqlite_config){ .path = path,
                               .schema = "CREATE TABLE IF NOT EXISTS texts (text TEXT)",
                               .statement = "INSERT INTO texts VALUES (?)",
                               .bind = bind_text,
                               .unordered = true,
                               .group_max = 1 });
}

static int rows_in(sqlite3 *file, const char *text)
{
    sqlite3_stmt *count = NULL;
    assert_int_equal(
        sqlite3_prepare_v2(file, "SELECT count(*) FROM texts WHERE text = ?", -1, &count, NULL),
        SQLITE_OK);
    sqlite3_bind_text(count, 1, text, -1, SQLITE_STATIC);
    assert_int_equal(sqlite3_step(count), SQLITE_ROW);
    int rows = sqlite3_column_int(count, 0);
    sqlite3_finalize(count);
    return rows;
}

/* One waits for a lock of somebody else; behind it, the place of one whose client has gone is free
 * at once, and nothing is written. */
static void a_client_that_hangs_up_is_not_written(void **state)
{
    world w = { 0 };
    char dir[SERVER_PATH_MAX];
    sqlite3 *other = NULL;
    (void)state;
    assert_true(server_dir_new(dir));
    snprintf(path, sizeof path, "%s/texts.db", dir);
    world_start(&w, sqlite());
    int first = post(&w, "first", "");
    hear(&w, first, "HTTP/1.1 200 ", "");
    assert_int_equal(sqlite3_open_v2(path, &other, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(rows_in(other, "first"), 1);
    assert_int_equal(sqlite3_exec(other, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    int waits = post(&w, "waits", "");
    TURN_UNTIL(&w.rpc, calls.begun == 2);
    turns(&w.rpc, 50);
    int gone = post(&w, "gone", "");
    TURN_UNTIL(&w.rpc, calls.begun == 3);
    turns(&w.rpc, 50);
    hang_up(gone);
    TURN_UNTIL(&w.rpc, calls.over == 2); /* the lock still stands */
    assert_int_equal(calls.code, WEIR_RPC_CANCELLED);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    hear(&w, waits, "HTTP/1.1 200 ", "");
    assert_int_equal(rows_in(other, "waits"), 1);
    sqlite3_close(other);
    world_stop(&w);
    assert_int_equal(sqlite3_open_v2(path, &other, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(rows_in(other, "gone"), 0);
    sqlite3_close(other);
    server_dir_remove(dir);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_comes_all_the_way_back),
        cmocka_unit_test(the_deadline_and_the_trace_travel_to_the_work),
        cmocka_unit_test(the_deadline_ends_the_work_everywhere),
        cmocka_unit_test(a_client_that_hangs_up_ends_its_work_and_no_other),
        cmocka_unit_test(an_abort_above_ends_the_work_below),
#if WEIR_HAVE_SQLITE
        cmocka_unit_test(a_client_that_hangs_up_is_not_written),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
