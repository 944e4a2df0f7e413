/* The order service, as a process of its own, over real sockets, with real stores and brokers. */
#include "servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#if WEIR_HAVE_SQLITE
#include <sqlite3.h>
#endif

enum { ARGS_MAX = 32, REPLY_BYTES = 64 * 1024, WAIT_MS = 30000, EXIT_MS = 60000 };

/* ---- The service ---- */

typedef struct service {
    char dir[SERVER_PATH_MAX];
    char log[SERVER_PATH_MAX + 16], db[SERVER_PATH_MAX + 16], notes[SERVER_PATH_MAX + 16];
    pid_t pid;
    uint16_t port, admin;
} service;

static void service_new(service *s)
{
    memset(s, 0, sizeof *s);
    assert_true(server_dir_new(s->dir));
    snprintf(s->log, sizeof s->log, "%s/log", s->dir);
    snprintf(s->db, sizeof s->db, "%s/orders.db", s->dir);
    snprintf(s->notes, sizeof s->notes, "%s/notes", s->dir);
}

/* Starts it with its store and notifications below its directory; `args` come behind and win. */
static void service_spawn(service *s, const char *const *args)
{
    char store[SERVER_PATH_MAX + 32], notify[SERVER_PATH_MAX + 32];
    snprintf(store, sizeof store, "sqlite:%s", s->db);
    snprintf(notify, sizeof notify, "file:%s", s->notes);
    char *argv[ARGS_MAX] = { ORDERS_BIN,    "--listen", "127.0.0.1:0", "--admin",
                             "127.0.0.1:0", "--loops",  "1",           "--store",
                             store,         "--notify", notify };
    size_t n = 11;
    for (; args != NULL && *args != NULL && n < ARGS_MAX - 1; args++)
        argv[n++] = (char *)(uintptr_t)*args;
    unlink(s->log);
    s->pid = server_spawn(argv, NULL, s->log);
    assert_true(s->pid > 0);
}

static void service_wait(service *s)
{
    char log[4096];
    unsigned port = 0, admin = 0;
    for (uint64_t end = server_now_ms() + WAIT_MS; server_now_ms() < end; server_nap()) {
        server_read_text(s->log, log, sizeof log);
        const char *line = strstr(log, "listening on 127.0.0.1:");
        if (line != NULL && strchr(line, '\n') != NULL &&
            sscanf(line, "listening on 127.0.0.1:%u, admin on 127.0.0.1:%u", &port, &admin) >= 1)
            break;
        if (!server_is_running(s->pid)) {
            s->pid = 0;
            break;
        }
    }
    if (port == 0)
        fail_msg("the service does not listen: %s", log);
    s->port = (uint16_t)port;
    s->admin = (uint16_t)admin;
}

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })

static void service_start(service *s, const char *const *args)
{
    service_new(s);
    service_spawn(s, args);
    service_wait(s);
}

static int service_term(service *s)
{
    kill(s->pid, SIGTERM);
    int code = server_wait_exit(s->pid, EXIT_MS);
    s->pid = 0;
    return code;
}

static void assert_drains(service *s)
{
    char log[8192];
    int code = service_term(s);
    server_read_text(s->log, log, sizeof log);
    if (code != 0)
        fail_msg("the service ended with %d: %s", code, log);
}

static void service_free(service *s)
{
    if (s->pid > 0)
        server_kill(s->pid, SIGKILL);
    server_dir_remove(s->dir);
}

/* ---- HTTP, byte for byte ---- */

typedef struct reply {
    int status;
    size_t bytes;
    char text[REPLY_BYTES];
    const char *body;
} reply;

static int dial(uint16_t port)
{
    int fd = server_dial(port, 10);
    assert_true(fd >= 0);
    return fd;
}

/* Reads one answer; status 0 if there is none. */
static void receive(int fd, reply *r, bool is_head)
{
    r->bytes = 0;
    r->status = 0;
    r->body = "";
    for (;;) {
        r->text[r->bytes] = '\0';
        char *end = strstr(r->text, "\r\n\r\n");
        if (end != NULL) {
            const char *length = strcasestr(r->text, "\r\nContent-Length:");
            size_t body = length != NULL && !is_head ? strtoul(length + 17, NULL, 10) : 0;
            if (r->bytes >= (size_t)(end + 4 - r->text) + body) {
                r->status = atoi(r->text + 9);
                r->body = end + 4;
                return;
            }
        }
        ssize_t got = recv(fd, r->text + r->bytes, sizeof r->text - 1 - r->bytes, 0);
        if (got <= 0)
            return;
        r->bytes += (size_t)got;
    }
}

static void post_typed(uint16_t port, const char *type, const char *body, size_t bytes, reply *r)
{
    char head[512];
    int fd = dial(port);
    int n = snprintf(head, sizeof head,
                     "POST /orders HTTP/1.1\r\nHost: x\r\n%s%s%sContent-Length: %zu\r\n\r\n",
                     type != NULL ? "Content-Type: " : "", type != NULL ? type : "",
                     type != NULL ? "\r\n" : "", bytes);
    server_send_all(fd, head, (size_t)n);
    server_send_all(fd, body, bytes);
    receive(fd, r, false);
    close(fd);
}

static void post(uint16_t port, const char *body, reply *r)
{
    post_typed(port, "application/json", body, strlen(body), r);
}

static void ask(uint16_t port, const char *request, reply *r)
{
    int fd = dial(port);
    server_send_all(fd, request, strlen(request));
    receive(fd, r, strncmp(request, "HEAD", 4) == 0);
    close(fd);
}

static void get(uint16_t port, const char *path, reply *r)
{
    char request[512];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    ask(port, request, r);
}

static void assert_reply(const reply *r, int status, const char *with)
{
    if (r->status != status || strstr(r->text, with) == NULL)
        fail_msg("expected %d with \"%s\", got: %s", status, with, r->text);
}

/* ---- The store, from outside ---- */

#if WEIR_HAVE_SQLITE
static bool sqlite_has(sqlite3_stmt *find, const char *id)
{
    sqlite3_bind_text(find, 1, id, -1, SQLITE_STATIC);
    bool has = sqlite3_step(find) == SQLITE_ROW;
    sqlite3_reset(find);
    return has;
}
#endif

static int rows_in(const char *db, const char *where)
{
    int rows = -1;
#if WEIR_HAVE_SQLITE
    sqlite3 *file = NULL;
    sqlite3_stmt *count = NULL;
    char sql[256];
    snprintf(sql, sizeof sql, "SELECT count(*) FROM orders WHERE %s", where);
    if (sqlite3_open_v2(db, &file, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(file, sql, -1, &count, NULL) == SQLITE_OK &&
        sqlite3_step(count) == SQLITE_ROW)
        rows = sqlite3_column_int(count, 0);
    sqlite3_finalize(count);
    sqlite3_close(file);
#else
    (void)db;
    (void)where;
#endif
    return rows;
}

/* ---- Orders ---- */

static void an_order_is_stored_and_read_back(void **state)
{
    service s;
    reply r;
    (void)state;
    service_start(&s, NULL);
    post(s.port,
         "{\"id\": \"A-1\", \"amount\": 12.5, \"currency\": \"EUR\","
         " \"items\": [{\"sku\": \"x\", \"qty\": 1, \"price\": 12.5}]}",
         &r);
    assert_reply(&r, 201, "{\"status\":\"stored\",\"id\":\"A-1\",\"amount\":12.5}");
    assert_non_null(strcasestr(r.text, "content-type: application/json"));
    assert_int_equal(rows_in(s.db, "id = 'A-1' AND amount = 12.5 AND price > 0"), 1);
    get(s.port, "/orders/A-1", &r);
    assert_reply(&r, 200,
                 "{\"id\":\"A-1\",\"amount\":12.5,\"currency\":\"EUR\",\"items\":[{\"sku\"");
    ask(s.port, "HEAD /orders/A-1 HTTP/1.1\r\nHost: x\r\n\r\n", &r);
    assert_reply(&r, 200, "200 OK");
    get(s.port, "/orders/B-1", &r);
    assert_reply(&r, 404, "\"field\":\"id\"");
    char notes[4096];
    server_read_text(s.notes, notes, sizeof notes);
    assert_non_null(strstr(notes, "\"event\":\"orders.created\",\"id\":\"A-1\",\"amount\":12.5"));
    assert_drains(&s);
    service_free(&s);
}

static void ids_of_any_text_survive_the_way_there_and_back(void **state)
{
    service s;
    reply r;
    (void)state;
    service_start(&s, NULL);
    post(s.port, "{\"id\":\"a/b \\\"\\u00fc\\\" %\",\"amount\":1e-3,\"currency\":\"USD\"}", &r);
    assert_reply(&r, 201, "\"id\":\"a/b \\\"\xc3\xbc\\\" %\",\"amount\":0.001");
    get(s.port, "/orders/a%2Fb%20%22%c3%BC%22%20%25", &r);
    assert_reply(&r, 200, "\"amount\":0.001,\"currency\":\"USD\"");
    get(s.port, "/orders/%0a", &r);
    assert_reply(&r, 400, "\"field\":\"id\"");
    get(s.port, "/orders/%zz", &r);
    assert_reply(&r, 400, "\"why\":");
    service_free(&s);
}

static void a_repeated_id_is_stored_once_and_answered_200(void **state)
{
    service s;
    reply r;
    (void)state;
    service_start(&s, NULL);
    post(s.port, "{\"id\":\"A-1\",\"amount\":2,\"currency\":\"EUR\"}", &r);
    assert_reply(&r, 201, "\"status\":\"stored\"");
    for (int i = 0; i < 3; i++) {
        post(s.port, "{\"id\":\"A-1\",\"amount\":2,\"currency\":\"EUR\"}", &r);
        assert_reply(&r, 200, "{\"status\":\"stored\",\"id\":\"A-1\",\"amount\":2}");
    }
    assert_int_equal(rows_in(s.db, "1"), 1);
    service_free(&s);
}

static void a_queued_order_is_answered_202_and_stored_before_the_service_ends(void **state)
{
    service s;
    reply r;
    (void)state;
    service_start(&s, ARGS("--reply", "queued"));
    post(s.port, "{\"id\":\"A-1\",\"amount\":2,\"currency\":\"EUR\"}", &r);
    assert_reply(&r, 202, "{\"status\":\"queued\"}");
    assert_drains(&s);
    assert_int_equal(rows_in(s.db, "id = 'A-1'"), 1);
    service_free(&s);
}

static void without_stages_an_order_is_answered_all_the_same(void **state)
{
    service s;
    reply r;
    (void)state;
    service_start(
        &s, ARGS("--pricing", "none", "--store", "none", "--notify", "none", "--reply", "queued"));
    post(s.port, "{\"id\":\"A-1\",\"amount\":2,\"currency\":\"EUR\"}", &r);
    assert_reply(&r, 202, "{\"status\":\"queued\"}");
    get(s.port, "/orders/A-1", &r);
    assert_reply(&r, 404, "no orders are kept here");
    assert_drains(&s);
    service_free(&s);
}

/* ---- What is no order ---- */

typedef struct bad_order {
    const char *body;
    int status;
    const char *field, *why;
} bad_order;

#define REST ",\"currency\":\"EUR\"}"

static const bad_order bad_orders[] = {
    { "", 400, "body", "ends before" },
    { "{", 400, "body", "ends before" },
    { "nonsense", 400, "body", "" },
    { "{\"id\":\"A\",\"amount\":1,\"currency\":\"EUR\"", 400, "body", "ends before" },
    { "{\"id\":\"A\",\"amount\":1,\"currency\":\"EUR\",}", 400, "body", "key" },
    { "{\"id\":\"A\",\"amount\":1,\"currency\":\"EUR\"} x", 400, "body", "follows" },
    { "{\"id\":\"A\",\"amount\":01" REST, 400, "amount", "number" },
    { "{\"id\":\"A\",\"amount\":+1" REST, 400, "amount", "" },
    { "{\"id\":'A',\"amount\":1" REST, 400, "id", "" },
    { "{\"id\":\"A\x01\",\"amount\":1" REST, 400, "id", "control" },
    { "{\"id\":\"A\\x\",\"amount\":1" REST, 400, "id", "escape" },
    { "{\"id\":7,\"amount\":1,\"currency\":", 400, "currency", "" },
    { "[]", 422, "body", "object" },
    { "null", 422, "body", "object" },
    { "\"A\"", 422, "body", "object" },
    { "{}", 422, "id", "missing" },
    { "{\"amount\":1" REST, 422, "id", "missing" },
    { "{\"id\":\"A\"" REST, 422, "amount", "missing" },
    { "{\"id\":\"A\",\"amount\":1}", 422, "currency", "missing" },
    { "{\"id\":\"\",\"amount\":1" REST, 422, "id", "empty" },
    { "{\"id\":5,\"amount\":1" REST, 422, "id", "string" },
    { "{\"id\":null,\"amount\":1" REST, 422, "id", "string" },
    { "{\"id\":[\"A\"],\"amount\":1" REST, 422, "id", "string" },
    { "{\"id\":{\"a\":{}},\"amount\":1" REST, 422, "id", "string" },
    { "{\"id\":\"A\\n\",\"amount\":1" REST, 422, "id", "control" },
    { "{\"id\":\"A\\u0000\",\"amount\":1" REST, 422, "id", "control" },
    { "{\"id\":\"A\",\"amount\":0" REST, 422, "amount", "above 0" },
    { "{\"id\":\"A\",\"amount\":-0.0" REST, 422, "amount", "above 0" },
    { "{\"id\":\"A\",\"amount\":-1" REST, 422, "amount", "above 0" },
    { "{\"id\":\"A\",\"amount\":1e-999" REST, 422, "amount", "above 0" },
    { "{\"id\":\"A\",\"amount\":\"1\"" REST, 422, "amount", "number" },
    { "{\"id\":\"A\",\"amount\":true" REST, 422, "amount", "number" },
    { "{\"id\":\"A\",\"amount\":NaN" REST, 422, "amount", "NaN" },
    { "{\"id\":\"A\",\"amount\":Infinity" REST, 422, "amount", "Infinity" },
    { "{\"id\":\"A\",\"amount\":-Infinity" REST, 422, "amount", "Infinity" },
    { "{\"id\":\"A\",\"amount\":1e999" REST, 422, "amount", "too large" },
    { "{\"id\":\"A\",\"amount\":1,\"currency\":\"eur\"}", 422, "currency", "ISO 4217" },
    { "{\"id\":\"A\",\"amount\":1,\"currency\":\"EURO\"}", 422, "currency", "ISO 4217" },
    { "{\"id\":\"A\",\"amount\":1,\"currency\":\"EU\"}", 422, "currency", "ISO 4217" },
    { "{\"id\":\"A\",\"amount\":1,\"currency\":\"\"}", 422, "currency", "ISO 4217" },
    { "{\"id\":\"A\",\"amount\":1,\"currency\":\"\xe2\x82\xac\"}", 422, "currency", "ISO 4217" },
    { "{\"id\":\"A\",\"amount\":1,\"currency\":978}", 422, "currency", "string" },
    { "{\"id\":\"A\",\"id\":\"B\",\"amount\":1" REST, 422, "id", "twice" },
    { "{\"id\":\"A\",\"amount\":1,\"\\u0069d\":\"B\"" REST, 422, "body", "twice" },
    { "{\"id\":\"A\",\"amount\":1,\"x\":{\"y\":1,\"y\":2}" REST, 422, "body", "twice" },
    { "{\"id\":\"A\xff\",\"amount\":1" REST, 422, "id", "UTF-8" },
    { "{\"id\":\"A\xc0\xaf\",\"amount\":1" REST, 422, "id", "UTF-8" },
    { "{\"id\":\"A\\ud800\",\"amount\":1" REST, 422, "id", "surrogate" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":{}" REST, 422, "items", "array" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":null" REST, 422, "items", "array" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[1]" REST, 422, "items[0]", "object" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[[]]" REST, 422, "items[0]", "object" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{}]" REST, 422, "items[0].sku", "missing" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{\"sku\":\"x\"}]" REST, 422, "items[0].qty",
      "missing" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{\"sku\":\"x\",\"qty\":1},{\"sku\":1,\"qty\":1}]" REST,
      422, "items[1].sku", "string" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{\"sku\":\"\",\"qty\":1}]" REST, 422, "items[0].sku",
      "1 to 64" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{\"sku\":\"x\",\"qty\":\"1\"}]" REST, 422,
      "items[0].qty", "number" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{\"sku\":\"x\",\"qty\":1.5}]" REST, 422,
      "items[0].qty", "whole" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{\"sku\":\"x\",\"qty\":0}]" REST, 422, "items[0].qty",
      "at least 1" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{\"sku\":\"x\",\"qty\":1,\"price\":\"1\"}]" REST, 422,
      "items[0].price", "number" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{\"sku\":\"x\",\"qty\":1,\"price\":-1}]" REST, 422,
      "items[0].price", "below 0" },
    { "{\"id\":\"A\",\"amount\":1,\"items\":[{\"sku\":\"x\",\"qty\":1,\"price\":1e999}]" REST, 422,
      "items[0].price", "too large" },
};

static void what_is_no_order_is_refused_with_the_field_and_the_reason(void **state)
{
    service s;
    reply r;
    char field[64];
    (void)state;
    service_start(&s, NULL);
    for (size_t i = 0; i < sizeof bad_orders / sizeof *bad_orders; i++) {
        const bad_order *bad = &bad_orders[i];
        post(s.port, bad->body, &r);
        snprintf(field, sizeof field, "\"field\":\"%s\"", bad->field);
        if (r.status != bad->status || strstr(r.body, field) == NULL ||
            strstr(r.body, bad->why) == NULL)
            fail_msg("%s\n  wanted %d, %s, \"%s\"; got %s", bad->body, bad->status, field, bad->why,
                     r.text);
    }
    assert_int_equal(rows_in(s.db, "1"), 0);
    service_free(&s);
}

/* An order whose extra member `x` nests `depth` deep, the order itself included. */
static void post_nested(uint16_t port, unsigned depth, reply *r)
{
    char body[1024];
    size_t n = (size_t)snprintf(body, sizeof body,
                                "{\"id\":\"N\",\"amount\":1,\"currency\":\"EUR\",\"x\":");
    memset(body + n, '[', depth - 1);
    memset(body + n + depth - 1, ']', depth - 1);
    snprintf(body + n + 2 * (depth - 1), 8, "}");
    post(port, body, r);
}

static void nesting_over_32_is_refused(void **state)
{
    service s;
    reply r;
    (void)state;
    service_start(&s, NULL);
    post_nested(s.port, 32, &r);
    assert_reply(&r, 201, "stored");
    post_nested(s.port, 33, &r);
    assert_reply(&r, 422, "nested too deep");
    service_free(&s);
}

static void ids_have_at_most_128_bytes(void **state)
{
    service s;
    reply r;
    char id[130], body[256];
    (void)state;
    service_start(&s, NULL);
    memset(id, 'a', 129);
    id[129] = '\0';
    snprintf(body, sizeof body, "{\"id\":\"%s\",\"amount\":1,\"currency\":\"EUR\"}", id);
    post(s.port, body, &r);
    assert_reply(&r, 422, "at most 128 bytes");
    snprintf(body, sizeof body, "{\"id\":\"%s\",\"amount\":1,\"currency\":\"EUR\"}", id + 1);
    post(s.port, body, &r);
    assert_reply(&r, 201, "stored");
    service_free(&s);
}

static void a_request_that_is_none_of_ours_is_refused(void **state)
{
    static const char order[] = "{\"id\":\"A\",\"amount\":1,\"currency\":\"EUR\"}";
    service s;
    reply r;
    (void)state;
    service_start(&s, NULL);
    get(s.port, "/", &r);
    assert_reply(&r, 404, "\"why\":");
    get(s.port, "/orders/", &r);
    assert_reply(&r, 404, "\"why\":");
    get(s.port, "/orders/a/b", &r);
    assert_reply(&r, 404, "\"why\":");
    get(s.port, "/orders", &r);
    assert_reply(&r, 405, "Allow: POST\r\n");
    ask(s.port, "DELETE /orders/A HTTP/1.1\r\nHost: x\r\n\r\n", &r);
    assert_reply(&r, 405, "Allow: GET, HEAD\r\n");
    ask(s.port, "POST /orders/A HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", &r);
    assert_reply(&r, 405, "Allow: GET, HEAD\r\n");
    post_typed(s.port, NULL, order, sizeof order - 1, &r);
    assert_reply(&r, 415, "\"field\":\"Content-Type\"");
    post_typed(s.port, "text/plain", order, sizeof order - 1, &r);
    assert_reply(&r, 415, "\"field\":\"Content-Type\"");
    post_typed(s.port, "application/jsonx", order, sizeof order - 1, &r);
    assert_reply(&r, 415, "\"field\":\"Content-Type\"");
    post_typed(s.port, "application/json; charset=latin1", order, sizeof order - 1, &r);
    assert_reply(&r, 415, "\"field\":\"Content-Type\"");
    post_typed(s.port, "Application/JSON; charset=UTF-8", order, sizeof order - 1, &r);
    assert_reply(&r, 201, "stored");
    ask(s.port, "GET /orders/A HTTP/1.1\r\n\r\n", &r);
    assert_reply(&r, 400, "\r\n\r\n{");
    ask(s.port, "GET  /orders/A HTTP/1.1\r\nHost: x\r\n\r\n", &r);
    assert_reply(&r, 400, "\r\n\r\n{");
    service_free(&s);
}

static void a_body_over_a_mebibyte_is_refused(void **state)
{
    enum { BYTES = (1 << 20) + 1 };
    service s;
    reply r;
    (void)state;
    service_start(&s, NULL);
    char *body = malloc(BYTES);
    assert_non_null(body);
    memset(body, ' ', BYTES);
    post_typed(s.port, "application/json", body, BYTES, &r);
    assert_reply(&r, 413, "\r\n\r\n{");
    static const char order[] = "{\"id\":\"A\",\"amount\":1,\"currency\":\"EUR\"}";
    memcpy(body + 1000, order, sizeof order - 1);
    post_typed(s.port, "application/json", body, BYTES - 1, &r);
    assert_reply(&r, 201, "stored");
    free(body);
    service_free(&s);
}

/* ---- Pricing ---- */

/* A port that accepts and never answers. */
static int mute_listener(char ret_url[64])
{
    struct sockaddr_in at = { .sin_family = AF_INET };
    socklen_t size = sizeof at;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, size), 0);
    assert_int_equal(listen(fd, 4096), 0);
    getsockname(fd, (struct sockaddr *)&at, &size);
    snprintf(ret_url, 64, "http://127.0.0.1:%u", ntohs(at.sin_port));
    return fd;
}

static void without_a_price_an_order_is_not_stored(void **state)
{
    service s;
    reply r;
    char url[64];
    (void)state;
    int mute = mute_listener(url);
    service_start(&s, ARGS("--pricing", url));
    uint64_t begin = server_now_ms();
    post(s.port, "{\"id\":\"A-1\",\"amount\":2,\"currency\":\"EUR\"}", &r);
    assert_reply(&r, 504, "the pricing service does not answer");
    assert_non_null(strstr(r.text, "Retry-After: "));
    assert_in_range(server_now_ms() - begin, 100, 1500);
    close(mute);
    post(s.port, "{\"id\":\"A-1\",\"amount\":2,\"currency\":\"EUR\"}", &r);
    assert_true(r.status == 503 || r.status == 504);
    assert_drains(&s);
    assert_int_equal(rows_in(s.db, "1"), 0);
    service_free(&s);
}

/* Its memory, at its most so far. Sanitizers take what they like. */
static void assert_memory_below(const service *s, unsigned long kib)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    char path[64], status[4096];
    snprintf(path, sizeof path, "/proc/%d/status", (int)s->pid);
    server_read_text(path, status, sizeof status);
    const char *peak = strstr(status, "VmHWM:");
    assert_non_null(peak);
    assert_true(strtoul(peak + 6, NULL, 10) < kib);
#else
    (void)s;
    (void)kib;
#endif
}

static void an_overloaded_service_answers_503_with_retry_after(void **state)
{
    enum { PEERS = 700 };
    static const char request[] = "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: "
                                  "application/json\r\nContent-Length: 40\r\n\r\n"
                                  "{\"id\":\"A\",\"amount\":1.5,\"currency\":\"EUR\"}";
    static reply r;
    service s;
    char url[64];
    int fds[PEERS], overloaded = 0;
    (void)state;
    int mute = mute_listener(url);
    service_start(&s, ARGS("--pricing", url));
    uint64_t begin = server_now_ms();
    for (int i = 0; i < PEERS; i++) {
        fds[i] = dial(s.port);
        server_send_all(fds[i], request, sizeof request - 1);
    }
    for (int i = 0; i < PEERS; i++) {
        receive(fds[i], &r, false);
        assert_true(r.status == 503 || r.status == 504);
        assert_non_null(strcasestr(r.text, "Retry-After: "));
        overloaded += r.status == 503;
        close(fds[i]);
    }
    assert_true(overloaded >= 100);
    assert_memory_below(&s, 64 << 10);
    assert_true(server_now_ms() - begin < 8000);
    assert_drains(&s);
    close(mute);
    service_free(&s);
}

/* Begins to drain with orders that wait for their price, and gives the exit code. */
static int drain_with_orders(const char *drain_ms, bool again)
{
    static const char request[] = "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: "
                                  "application/json\r\nContent-Length: 40\r\n\r\n"
                                  "{\"id\":\"A\",\"amount\":1.5,\"currency\":\"EUR\"}";
    enum { PEERS = 100 };
    service s;
    char url[64];
    int fds[PEERS];
    int mute = mute_listener(url);
    service_start(&s, ARGS("--pricing", url, "--drain-ms", drain_ms));
    for (int i = 0; i < PEERS; i++) {
        fds[i] = dial(s.port);
        server_send_all(fds[i], request, sizeof request - 1);
    }
    int asked = accept(mute, NULL, NULL); /* the first order wants to know its price */
    if (again)
        kill(s.pid, SIGINT);
    int code = service_term(&s);
    for (int i = 0; i < PEERS; i++)
        close(fds[i]);
    close(asked);
    close(mute);
    service_free(&s);
    return code;
}

static void a_drain_lets_orders_end(void **state)
{
    (void)state;
    assert_int_equal(drain_with_orders("5000", false), 0);
}

static void a_drain_that_takes_too_long_is_cut_short(void **state)
{
    (void)state;
    assert_int_equal(drain_with_orders("50", false), 1);
}

static void a_second_signal_cuts_the_drain_short(void **state)
{
    (void)state;
    assert_int_equal(drain_with_orders("5000", true), 1);
}

/* ---- Under load ---- */

/* Load until load_stop. */
static pid_t load_spawn(const service *s, const char *ids)
{
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/orders", s->port);
    char *argv[] = { HTTP_LOAD_BIN,
                     "--url",
                     url,
                     "--connections",
                     "64",
                     "--seconds",
                     "300",
                     "--warmup",
                     "0",
                     "--id-log",
                     (char *)(uintptr_t)ids,
                     "--retry-503",
                     "honour",
                     "--body-template",
                     "{\"id\":\"A-{n}\",\"amount\":1.5,\"currency\":\"EUR\"}",
                     NULL };
    return server_spawn(argv, NULL, NULL);
}

/* It writes down what was answered so far, and ends. */
static void load_stop(pid_t load)
{
    kill(load, SIGTERM);
    assert_true(server_wait_exit(load, EXIT_MS) >= 0);
}

/* Waits until the load has had so many bytes of answers. */
static void wait_for_ids(const char *ids, off_t bytes)
{
    struct stat info = { 0 };
    for (uint64_t end = server_now_ms() + WAIT_MS; server_now_ms() < end; server_nap())
        if (stat(ids, &info) == 0 && info.st_size >= bytes)
            return;
    fail_msg("no orders are answered");
}

static void on_sigterm_under_load_every_order_answered_201_is_stored(void **state)
{
#if WEIR_HAVE_SQLITE
    service s;
    char ids[SERVER_PATH_MAX + 16], line[64], id[64];
    unsigned long answered = 0;
    sqlite3 *file = NULL;
    sqlite3_stmt *find = NULL;
    (void)state;
    service_start(&s, NULL);
    snprintf(ids, sizeof ids, "%s/ids", s.dir);
    pid_t load = load_spawn(&s, ids);
    wait_for_ids(ids, 4096);
    assert_drains(&s);
    load_stop(load);
    assert_int_equal(sqlite3_open_v2(s.db, &file, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(file, "SELECT 1 FROM orders WHERE id = ?", -1, &find, NULL),
                     SQLITE_OK);
    FILE *list = fopen(ids, "r");
    assert_non_null(list);
    for (; fgets(line, sizeof line, list) != NULL; answered++) {
        snprintf(id, sizeof id, "A-%.*s", (int)strcspn(line, "\n"), line);
        if (!sqlite_has(find, id))
            fail_msg("%s was answered and is not stored", id);
    }
    fclose(list);
    sqlite3_finalize(find);
    sqlite3_close(file);
    assert_true(answered > 300);
    service_free(&s);
#else
    (void)state;
    skip();
#endif
}

static void the_orders_of_clients_that_hang_up_are_given_up(void **state)
{
    static const char request[] = "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: "
                                  "application/json\r\nContent-Length: 40\r\n\r\n"
                                  "{\"id\":\"A\",\"amount\":1.5,\"currency\":\"EUR\"}";
    enum { PEERS = 12 };
    static const struct linger reset = { .l_onoff = 1 };
    static reply r;
    service s;
    char url[64];
    int fds[PEERS], asked[PEERS];
    (void)state;
    int mute = mute_listener(url);
    service_start(&s, ARGS("--pricing", url));
    for (int i = 0; i < PEERS; i++) {
        fds[i] = dial(s.port);
        server_send_all(fds[i], request, sizeof request - 1);
    }
    for (int i = 0; i < PEERS; i++)
        asked[i] = accept(mute, NULL, NULL);
    for (int i = 0; i < PEERS; i++) {
        setsockopt(fds[i], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        close(fds[i]);
    }
    for (uint64_t end = server_now_ms() + WAIT_MS; server_now_ms() < end; server_nap()) {
        get(s.admin, "/metrics", &r);
        if (strstr(r.text, "stage=\"price\",class=\"ECLOSED\"") != NULL)
            break;
    }
    assert_reply(&r, 200, "stage=\"price\",class=\"ECLOSED\"");
    assert_drains(&s);
    for (int i = 0; i < PEERS; i++)
        close(asked[i]);
    close(mute);
    service_free(&s);
}

/* ---- The rest of it ---- */

static void of_an_option_given_twice_the_last_counts(void **state)
{
    service s;
    static reply r;
    (void)state;
    service_start(&s, ARGS("--admin", "none", "--admin", "127.0.0.1:0"));
    get(s.admin, "/live", &r);
    assert_reply(&r, 200, "");
    service_free(&s);
}

static void the_admin_listener_shows_metrics_probes_and_the_graph(void **state)
{
    service s;
    static reply r;
    (void)state;
    service_start(&s, NULL);
    post(s.port, "{\"id\":\"A-1\",\"amount\":2,\"currency\":\"EUR\"}", &r);
    assert_reply(&r, 201, "stored");
    get(s.admin, "/live", &r);
    assert_reply(&r, 200, "");
    for (uint64_t end = server_now_ms() + WAIT_MS; server_now_ms() < end; server_nap()) {
        get(s.admin, "/ready", &r);
        if (r.status == 200)
            break;
    }
    assert_reply(&r, 200, "");
    get(s.admin, "/metrics", &r);
    assert_reply(&r, 200, "stage=\"store\"");
    get(s.admin, "/graph", &r);
    assert_reply(&r, 200, "\"price\"");
    get(s.admin, "/graph?format=dot", &r);
    assert_reply(&r, 200, "digraph");
    service_free(&s);
}

/* Runs it with a wrong command line; it must say why in one line. */
static void assert_refused(const char *const *args, int code, const char *with)
{
    service s;
    char log[4096];
    service_new(&s);
    service_spawn(&s, args);
    int got = server_wait_exit(s.pid, EXIT_MS);
    s.pid = 0;
    server_read_text(s.log, log, sizeof log);
    const char *newline = strchr(log, '\n');
    if (got != code || strstr(log, with) == NULL || newline == NULL || newline[1] != '\0')
        fail_msg("%s %s: wanted %d with one line that says \"%s\"; got %d: %s", args[0],
                 args[1] != NULL ? args[1] : "", code, with, got, log);
    service_free(&s);
}

static void a_wrong_command_line_is_answered_by_one_line(void **state)
{
    char taken[64];
    (void)state;
    assert_refused(ARGS("--nonsense"), 2, "nonsense");
    assert_refused(ARGS("--loops", "0"), 2, "--loops 0");
    assert_refused(ARGS("--loops", "x"), 2, "--loops x");
    assert_refused(ARGS("--deadline-ms", "-1"), 2, "--deadline-ms -1");
    assert_refused(ARGS("--drain-ms", "1s"), 2, "--drain-ms 1s");
    assert_refused(ARGS("--listen", "8080"), 2, "--listen 8080");
    assert_refused(ARGS("--listen", "127.0.0.1:99999"), 2, "--listen 127.0.0.1:99999");
    assert_refused(ARGS("--store", "mysql://x"), 2, "--store mysql://x");
    assert_refused(ARGS("--store", "postgresql://h:bad:port/db"), 2, "--store postgresql://h:bad");
    assert_refused(ARGS("--pricing", "ftp://x"), 2, "--pricing ftp://x");
    assert_refused(ARGS("--pricing", "http://x:port"), 2, "--pricing http://x:port");
    assert_refused(ARGS("--pricing", "http://[x"), 2, "--pricing http://[x");
    assert_refused(ARGS("--notify", "kafka://x"), 2, "--notify kafka://x");
    assert_refused(ARGS("--reply", "soon"), 2, "--reply soon");
    assert_refused(ARGS("more"), 2, "more");
    assert_refused(ARGS("--store", "sqlite:/nonexistent/orders.db"), 1, "No such file");
    assert_refused(ARGS("--notify", "file:/nonexistent/notes"), 1, "No such file");
    assert_refused(ARGS("--store", "sqlite:/"), 1, "--store sqlite:/");
    int fd = mute_listener(taken);
    assert_refused(ARGS("--listen", taken + strlen("http://")), 1, "in use");
    assert_refused(ARGS("--admin", taken + strlen("http://")), 1, "use");
    close(fd);
}

static void help_is_given(void **state)
{
    static const char *const options[] = { "--listen",   "--admin", "--store", "--pricing",
                                           "--notify",   "--reply", "--loops", "--deadline-ms",
                                           "--drain-ms", "--demo" };
    service s;
    char log[8192];
    (void)state;
    service_new(&s);
    service_spawn(&s, ARGS("--help"));
    assert_int_equal(server_wait_exit(s.pid, EXIT_MS), 0);
    s.pid = 0;
    server_read_text(s.log, log, sizeof log);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        assert_non_null(strstr(log, options[i]));
    service_free(&s);
}

static void the_demo_shows_itself_and_ends(void **state)
{
    service s;
    char log[16384];
    (void)state;
    service_new(&s);
    char *argv[] = { ORDERS_BIN, "--demo", NULL };
    s.pid = server_spawn(argv, NULL, s.log);
    int code = server_wait_exit(s.pid, EXIT_MS);
    s.pid = 0;
    server_read_text(s.log, log, sizeof log);
    if (code != 0)
        fail_msg("the demo ended with %d: %s", code, log);
    assert_non_null(strstr(log, "credit >admit "));
    assert_non_null(strstr(log, "status 201"));
    assert_non_null(strstr(log, "bottleneck: "));
    service_free(&s);
}

/* A pricing service that now and then does not answer. */
static void price_most(int listener)
{
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"price\":1}";
    enum { ASKING_MAX = 64, UNANSWERED = 100 };
    struct pollfd fds[1 + ASKING_MAX] = { { .fd = listener, .events = POLLIN } };
    char text[4096];
    nfds_t n = 1;
    for (uint64_t asked = 0; poll(fds, n, -1) > 0;) {
        for (nfds_t i = n; i-- > 1;) {
            if (fds[i].revents == 0)
                continue;
            if (recv(fds[i].fd, text, sizeof text, 0) <= 0) {
                close(fds[i].fd);
                fds[i] = fds[--n];
            } else if (++asked % UNANSWERED != 0) {
                (void)!send(fds[i].fd, answer, sizeof answer - 1, MSG_NOSIGNAL);
            }
        }
        if (fds[0].revents != 0 && n < 1 + ASKING_MAX)
            fds[n++] = (struct pollfd){ .fd = accept(listener, NULL, NULL), .events = POLLIN };
    }
}

/* So it is on a machine that is busy with other things. */
static void the_demo_does_not_fail_for_prices_that_are_late(void **state)
{
    service s;
    char log[16384], url[64];
    (void)state;
    service_new(&s);
    int listener = mute_listener(url);
    pid_t pricing = fork();
    if (pricing == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        price_most(listener);
        _exit(0);
    }
    close(listener);
    char *argv[] = { ORDERS_BIN, "--demo", "--pricing", url, NULL };
    s.pid = server_spawn(argv, NULL, s.log);
    int code = server_wait_exit(s.pid, EXIT_MS);
    s.pid = 0;
    server_kill(pricing, SIGKILL);
    server_read_text(s.log, log, sizeof log);
    if (code != 0)
        fail_msg("the demo ended with %d: %s", code, log);
    assert_non_null(strstr(log, "status 201"));
    assert_non_null(strstr(log, "status 504"));
    service_free(&s);
}

static void the_demo_fails_if_nothing_is_stored(void **state)
{
    service s;
    char url[64];
    (void)state;
    service_new(&s);
    int listener = mute_listener(url);
    char *argv[] = { ORDERS_BIN, "--demo", "--pricing", url, NULL };
    s.pid = server_spawn(argv, NULL, s.log);
    assert_int_equal(server_wait_exit(s.pid, EXIT_MS), 1);
    s.pid = 0;
    close(listener);
    service_free(&s);
}

/* ---- PostgreSQL ---- */

static bool answered_are_in(server_postgres *postgres, const char *ids, unsigned long *ret_answered)
{
    char sql[512], text[64];
    FILE *list = fopen(ids, "r");
    *ret_answered = 0;
    for (int c; list != NULL && (c = fgetc(list)) != EOF;)
        *ret_answered += c == '\n';
    if (list != NULL)
        fclose(list);
    if (!server_postgres_ask(postgres, "CREATE TABLE answered (n text)", text, sizeof text))
        return false;
    /* The file is this user's: the server gets it as standard input of \copy. */
    snprintf(sql, sizeof sql, "\\copy answered FROM '%s'", ids);
    if (!server_postgres_ask(postgres, sql, text, sizeof text))
        return false;
    return server_postgres_ask(postgres,
                               "SELECT count(*) FROM answered WHERE NOT EXISTS "
                               "(SELECT 1 FROM orders WHERE id = 'A-' || n)",
                               text, sizeof text) &&
           strcmp(text, "0") == 0;
}

static void orders_are_stored_in_postgresql_and_read_back(void **state)
{
    server_postgres postgres;
    service s;
    reply r;
    char text[64];
    (void)state;
    if (!server_postgres_start(&postgres))
        skip();
    service_start(&s, ARGS("--store", postgres.url));
    post(s.port,
         "{\"id\":\"A-1\",\"amount\":12.5,\"currency\":\"EUR\",\"items\":[{\"sku\":\"x\","
         "\"qty\":2}]}",
         &r);
    assert_reply(&r, 201, "{\"status\":\"stored\",\"id\":\"A-1\",\"amount\":12.5}");
    post(s.port, "{\"id\":\"A-1\",\"amount\":12.5,\"currency\":\"EUR\"}", &r);
    assert_reply(&r, 200, "{\"status\":\"stored\",\"id\":\"A-1\",\"amount\":12.5}");
    assert_true(server_postgres_ask(&postgres, "SELECT id, amount FROM orders", text, sizeof text));
    assert_string_equal(text, "A-1|12.5");
    get(s.port, "/orders/A-1", &r);
    assert_reply(&r, 200, "\"items\":[{\"sku\":\"x\",\"qty\":2}]");
    get(s.port, "/orders/A-2", &r);
    assert_reply(&r, 404, "no such order");
    assert_drains(&s);
    service_free(&s);
    server_postgres_stop(&postgres);
}

static void postgresql_may_be_killed_and_every_order_answered_201_is_in_it(void **state)
{
    server_postgres postgres;
    service s;
    char ids[SERVER_PATH_MAX + 16];
    unsigned long answered = 0;
    (void)state;
    if (!server_postgres_start(&postgres))
        skip();
    service_start(&s, ARGS("--store", postgres.url, "--pricing", "none", "--notify", "none"));
    snprintf(ids, sizeof ids, "%s/ids", s.dir);
    pid_t load = load_spawn(&s, ids);
    wait_for_ids(ids, 16384);
    server_postgres_crash(&postgres);
    struct stat before = { 0 };
    stat(ids, &before);
    server_postgres_spawn(&postgres);
    for (uint64_t end = server_now_ms() + WAIT_MS; server_now_ms() < end; server_nap()) {
        if (!server_is_running(postgres.pid))
            server_postgres_spawn(&postgres);
        if (server_postgres_is_ready(&postgres))
            break;
    }
    wait_for_ids(ids, before.st_size + 16384);
    assert_drains(&s);
    load_stop(load);
    bool all = answered_are_in(&postgres, ids, &answered);
    server_postgres_stop(&postgres);
    service_free(&s);
    assert_true(all);
    assert_true(answered > 1000);
}

/* ---- NATS ---- */

static void a_stored_order_is_announced_on_nats_with_its_trace(void **state)
{
    static const char request[] =
        "POST /orders HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
        "Content-Length: 43\r\n\r\n{\"id\":\"A-1\",\"amount\":12.5,\"currency\":\"EUR\"}";
    static const char subscribe[] = "CONNECT {\"verbose\":false,\"headers\":true}\r\n"
                                    "SUB orders.created 1\r\nPING\r\n";
    server_nats nats;
    service s;
    reply r;
    char text[8192];
    size_t bytes = 0;
    (void)state;
    if (!server_nats_start(&nats, false))
        skip();
    int fd = dial(nats.port);
    server_send_all(fd, subscribe, sizeof subscribe - 1);
    service_start(&s, ARGS("--notify", nats.url));
    ask(s.port, request, &r);
    assert_reply(&r, 201, "stored");
    post(s.port, "{\"id\":\"A-2\",\"amount\":12.5,\"currency\":\"EUR\"}", &r);
    assert_reply(&r, 201, "stored");
    for (ssize_t got; bytes < sizeof text - 1; bytes += (size_t)got) {
        got = recv(fd, text + bytes, sizeof text - 1 - bytes, 0);
        assert_true(got > 0);
        text[bytes + (size_t)got] = '\0';
        if (strstr(text, "\"id\":\"A-2\"") != NULL)
            break;
    }
    assert_non_null(strstr(text, "HMSG orders.created "));
    assert_non_null(strstr(text, "Trace-ID: 0af7651916cd43dd8448eb211c80319c\r\n"));
    assert_non_null(strstr(text, "\"id\":\"A-1\",\"amount\":12.5"));
    const char *second = strstr(strstr(text, "\"id\":\"A-1\""), "Trace-ID: ");
    assert_non_null(second);
    assert_int_equal(strspn(second + 10, "0123456789abcdef"), 32);
    close(fd);
    assert_drains(&s);
    service_free(&s);
    server_nats_stop(&nats);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_order_is_stored_and_read_back),
        cmocka_unit_test(ids_of_any_text_survive_the_way_there_and_back),
        cmocka_unit_test(a_repeated_id_is_stored_once_and_answered_200),
        cmocka_unit_test(a_queued_order_is_answered_202_and_stored_before_the_service_ends),
        cmocka_unit_test(without_stages_an_order_is_answered_all_the_same),
        cmocka_unit_test(what_is_no_order_is_refused_with_the_field_and_the_reason),
        cmocka_unit_test(nesting_over_32_is_refused),
        cmocka_unit_test(ids_have_at_most_128_bytes),
        cmocka_unit_test(a_request_that_is_none_of_ours_is_refused),
        cmocka_unit_test(a_body_over_a_mebibyte_is_refused),
        cmocka_unit_test(without_a_price_an_order_is_not_stored),
        cmocka_unit_test(an_overloaded_service_answers_503_with_retry_after),
        cmocka_unit_test(a_drain_lets_orders_end),
        cmocka_unit_test(a_drain_that_takes_too_long_is_cut_short),
        cmocka_unit_test(a_second_signal_cuts_the_drain_short),
        cmocka_unit_test(on_sigterm_under_load_every_order_answered_201_is_stored),
        cmocka_unit_test(the_orders_of_clients_that_hang_up_are_given_up),
        cmocka_unit_test(of_an_option_given_twice_the_last_counts),
        cmocka_unit_test(the_admin_listener_shows_metrics_probes_and_the_graph),
        cmocka_unit_test(a_wrong_command_line_is_answered_by_one_line),
        cmocka_unit_test(help_is_given),
        cmocka_unit_test(the_demo_shows_itself_and_ends),
        cmocka_unit_test(the_demo_does_not_fail_for_prices_that_are_late),
        cmocka_unit_test(the_demo_fails_if_nothing_is_stored),
        cmocka_unit_test(orders_are_stored_in_postgresql_and_read_back),
        cmocka_unit_test(postgresql_may_be_killed_and_every_order_answered_201_is_in_it),
        cmocka_unit_test(a_stored_order_is_announced_on_nats_with_its_trace),
    };
    return cmocka_run_group_tests_name("services_orders", tests, NULL, NULL);
}
