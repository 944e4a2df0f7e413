/* The RPC server and browsers: preflights, and what responses say to pages of other origins, over
 * HTTP/1.1 and HTTP/2. */
#include "rpc_rig.h"

static void process(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    const Streams__V1__ProcessRequest *request = (const Streams__V1__ProcessRequest *)message;
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    (void)user;
    assert_int_equal(weir_rpc_add_metadata(call, "x-of-ours", "1", 1), WEIR_OK);
    assert_int_equal(weir_rpc_add_trailer(call, "x-behind", "2", 1), WEIR_OK);
    if (request->fail_with != 0) {
        assert_int_equal(weir_rpc_finish(call, (weir_rpc_code)request->fail_with, request->text),
                         WEIR_OK);
        return;
    }
    response.text = request->text;
    weir_status status = weir_rpc_reply(call, &response.base);
    assert_true(status == WEIR_OK || status == WEIR_ENOMEM);
}

static void collect(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)call;
    (void)message;
    (void)user;
}

static void start(rig *r, const weir_rpc_cors *cors)
{
    r->handlers[PROCESS] = (weir_rpc_handler){ .message = process };
    r->handlers[COLLECT] = (weir_rpc_handler){ .message = collect };
    r->config.cors = cors;
    rig_start(r);
}

/* ---- Requests as a browser makes them ---- */

typedef struct fetched {
    unsigned status;
    char fields[4096]; /* "name: value\n" … */
    char body[1024];
    size_t body_bytes;
    bool over;
    weir_status how;
} fetched;

static void fetched_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    fetched *f = user;
    size_t n = 0;
    (void)exchange;
    f->status = head->status;
    for (size_t i = 0; i < head->field_count; i++)
        n += (size_t)snprintf(f->fields + n, sizeof f->fields - n, "%.*s: %.*s\n",
                              (int)head->fields[i].name.len, head->fields[i].name.at,
                              (int)head->fields[i].value.len, head->fields[i].value.at);
}

static void fetched_body(weir_http_exchange *exchange, const char *bytes, size_t n, void *user)
{
    fetched *f = user;
    weir_http_exchange_consume(exchange, n);
    assert_true(n < sizeof f->body - f->body_bytes);
    memcpy(f->body + f->body_bytes, bytes, n);
    f->body_bytes += n;
}

static void fetched_over(weir_http_exchange *exchange, weir_status status, uint32_t h2_code,
                         void *user)
{
    fetched *f = user;
    (void)exchange;
    (void)h2_code;
    f->over = true;
    f->how = status;
}

static client *browser_new(rig *r, weir_http_version version)
{
    static const weir_http_events events = { fetched_head, fetched_body, NULL,
                                             NULL,         fetched_over, NULL };
    client *c = client_new(r, version);
    weir_http_session_free(c->session);
    assert_int_equal(weir_http_session_new(
                         &(weir_http_session_config){
                             .version = version, .is_client = true, .events = &events, .user = c },
                         r->clock_ns, &c->session),
                     WEIR_OK);
    return c;
}

static weir_http1_span span(const char *text)
{
    return (weir_http1_span){ text, strlen(text) };
}

/* `fields`: name, value, …, NULL. */
static fetched fetch(client *c, const char *method, const char *path, const char *body,
                     const char *const *fields)
{
    fetched f = { 0 };
    weir_http1_field list[8];
    weir_http_exchange *exchange;
    size_t n = 0;
    for (; fields[2 * n] != NULL; n++)
        list[n] = (weir_http1_field){ span(fields[2 * n]), span(fields[2 * n + 1]) };
    weir_http_head head = { .method = span(method),
                            .path = span(path),
                            .authority = span("test"),
                            .scheme = span("http"),
                            .fields = list,
                            .field_count = n,
                            .content_length = body != NULL ? strlen(body) : UINT64_MAX,
                            .ends = body == NULL };
    TURN_UNTIL(c->rig, weir_http_session_openable(c->session) > 0);
    assert_int_equal(weir_http_session_open(c->session, &head, &f, &exchange), WEIR_OK);
    if (body != NULL) {
        assert_int_equal(
            weir_bytes_append(weir_http_exchange_body(exchange, strlen(body)), body, strlen(body)),
            WEIR_OK);
        weir_http_exchange_written(exchange);
        assert_int_equal(weir_http_exchange_end(exchange, NULL, 0), WEIR_OK);
    }
    TURN_UNTIL(c->rig, f.over);
    return f;
}

#define FIELDS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define JSON        "content-type", "application/json"

static fetched preflight(client *c, const char *path, const char *origin)
{
    return fetch(c, "OPTIONS", path, NULL,
                 FIELDS("origin", origin, "access-control-request-method", "POST",
                        "access-control-request-headers", "connect-protocol-version,content-type"));
}

static bool has(const fetched *f, const char *line)
{
    size_t n = strlen(line);
    for (const char *at = f->fields; at != NULL && *at != '\0'; at = strchr(at, '\n') + 1)
        if (strncmp(at, line, n) == 0)
            return true;
    return false;
}

static bool lists(const fetched *f, const char *field, const char *name)
{
    char line[64], value[2048], *save = NULL;
    snprintf(line, sizeof line, "%s: ", field);
    const char *at = strstr(f->fields, line);
    if (at == NULL)
        return false;
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at + strlen(line), "\n"), at + strlen(line));
    for (char *word = strtok_r(value, ", ", &save); word != NULL;
         word = strtok_r(NULL, ", ", &save))
        if (strcmp(word, name) == 0)
            return true;
    return false;
}

#define PROCESS_PATH "/streams.v1.Streams/Process"
static const char app[] = "https://app.example.org", other[] = "https://evil.example.org";
static const char *const origins[] = { "http://localhost:8080", app };
static const char *const headers[] = { "authorization", "X-Tenant" };
static const weir_rpc_cors listed = {
    .origins = origins, .origin_count = 2, .headers = headers, .header_count = 2
};
static const weir_http_version versions[] = { WEIR_HTTP_1, WEIR_HTTP_2 };

/* ---- Preflights ---- */

static void a_preflight_of_a_listed_origin_is_answered(void **state)
{
    static const char *const allowed[] = { "content-type",
                                           "connect-protocol-version",
                                           "connect-timeout-ms",
                                           "connect-accept-encoding",
                                           "connect-content-encoding",
                                           "grpc-timeout",
                                           "x-grpc-web",
                                           "x-user-agent",
                                           "authorization",
                                           "X-Tenant" };
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        rig r = { 0 };
        start(&r, &listed);
        fetched f = preflight(browser_new(&r, versions[v]), PROCESS_PATH, app);
        assert_int_equal(f.status, 204);
        assert_int_equal(f.how, WEIR_OK);
        assert_int_equal(f.body_bytes, 0);
        assert_true(has(&f, "access-control-allow-origin: https://app.example.org\n"));
        assert_true(has(&f, "access-control-allow-methods: GET, POST\n"));
        assert_true(has(&f, "access-control-max-age: 7200\n"));
        assert_false(has(&f, "access-control-allow-credentials"));
        assert_false(has(&f, "content-length"));
        assert_true(lists(&f, "vary", "origin"));
        for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
            if (!lists(&f, "access-control-allow-headers", allowed[i]))
                fail_msg("%s is not allowed", allowed[i]);
        rig_stop(&r);
    }
}

static void only_methods_without_side_effects_may_be_got(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r, &listed);
    fetched f = preflight(browser_new(&r, WEIR_HTTP_2), "/streams.v1.Streams/Collect", app);
    assert_int_equal(f.status, 204);
    assert_true(has(&f, "access-control-allow-methods: POST\n"));
    rig_stop(&r);
}

static void a_preflight_of_another_origin_is_refused(void **state)
{
    static const char *const not_quite[] = { other,
                                             "http://app.example.org",
                                             "https://app.example.org:444",
                                             "https://app.example.or",
                                             "https://app.example.orgy",
                                             "null",
                                             "*",
                                             "" };
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        rig r = { 0 };
        start(&r, &listed);
        client *c = browser_new(&r, versions[v]);
        for (size_t i = 0; i < sizeof not_quite / sizeof *not_quite; i++) {
            fetched f = preflight(c, PROCESS_PATH, not_quite[i]);
            assert_int_equal(f.status, 403);
            assert_false(has(&f, "access-control-"));
            assert_true(lists(&f, "vary", "origin"));
        }
        rig_stop(&r);
    }
}

static void without_cors_nothing_is_said_of_it(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r, NULL);
    client *c = browser_new(&r, WEIR_HTTP_1);
    fetched f = preflight(c, PROCESS_PATH, app);
    assert_int_equal(f.status, 405);
    assert_false(has(&f, "access-control-") || has(&f, "vary"));
    f = fetch(c, "POST", PROCESS_PATH, "{}", FIELDS(JSON, "origin", app));
    assert_int_equal(f.status, 200);
    assert_false(has(&f, "access-control-") || has(&f, "vary"));
    rig_stop(&r);
}

static void preflights_are_of_methods_that_are_served_and_of_browsers(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r, &listed);
    client *c = browser_new(&r, WEIR_HTTP_1);
    assert_int_equal(preflight(c, "/streams.v1.Streams/Nothing", app).status, 404);
    assert_int_equal(
        fetch(c, "OPTIONS", PROCESS_PATH, NULL, FIELDS("access-control-request-method", "POST"))
            .status,
        405);
    assert_int_equal(fetch(c, "OPTIONS", PROCESS_PATH, NULL, FIELDS("origin", app)).status, 405);
    rig_stop(&r);
}

/* ---- Responses ---- */

static void a_response_says_who_may_read_it_and_what(void **state)
{
    (void)state;
    for (size_t v = 0; v < 2; v++) {
        rig r = { 0 };
        start(&r, &listed);
        client *c = browser_new(&r, versions[v]);
        fetched f = fetch(c, "POST", PROCESS_PATH, "{\"text\":\"hi\"}",
                          FIELDS(JSON, "origin", app));
        assert_int_equal(f.status, 200);
        assert_string_equal(f.body, "{\"text\":\"hi\"}");
        assert_true(has(&f, "access-control-allow-origin: https://app.example.org\n"));
        assert_true(has(&f, "x-of-ours: 1\n"));
        static const char *const exposed[] = { "x-of-ours", "trailer-x-behind", "grpc-status",
                                               "grpc-message", "grpc-status-details-bin" };
        for (size_t i = 0; i < sizeof exposed / sizeof *exposed; i++)
            if (!lists(&f, "access-control-expose-headers", exposed[i]))
                fail_msg("%s is not exposed", exposed[i]);
        assert_true(lists(&f, "vary", "origin"));
        rig_stop(&r);
    }
}

static void another_origin_or_none_is_served_without_it(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r, &listed);
    client *c = browser_new(&r, WEIR_HTTP_2);
    fetched f = fetch(c, "POST", PROCESS_PATH, "{}", FIELDS(JSON, "origin", other));
    assert_int_equal(f.status, 200);
    assert_false(has(&f, "access-control-"));
    assert_true(lists(&f, "vary", "origin"));
    f = fetch(c, "POST", PROCESS_PATH, "{}", FIELDS(JSON));
    assert_int_equal(f.status, 200);
    assert_false(has(&f, "access-control-"));
    assert_true(lists(&f, "vary", "origin"));
    rig_stop(&r);
}

static void errors_and_what_is_no_call_may_be_read_too(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r, &listed);
    client *c = browser_new(&r, WEIR_HTTP_1);
    fetched f = fetch(c, "POST", PROCESS_PATH, "{\"text\":\"no\",\"failWith\":5}",
                      FIELDS(JSON, "origin", app));
    assert_int_equal(f.status, 404);
    assert_true(has(&f, "access-control-allow-origin: https://app.example.org\n"));
    f = fetch(c, "POST", PROCESS_PATH, "{}", FIELDS("content-type", "text/plain", "origin", app));
    assert_int_equal(f.status, 415);
    assert_true(has(&f, "access-control-allow-origin: https://app.example.org\n"));
    assert_true(lists(&f, "access-control-expose-headers", "accept-post"));
    f = fetch(c, "POST", PROCESS_PATH, "",
              FIELDS("content-type", "application/grpc-web+proto", "origin", app));
    assert_non_null(memmem(f.body, f.body_bytes, "grpc-status: 12", 15));
    assert_true(has(&f, "access-control-allow-origin: https://app.example.org\n"));
    rig_stop(&r);
}

static void any_origin_may_be_let_in(void **state)
{
    static const char *const any[] = { "*" };
    rig r = { 0 };
    (void)state;
    start(&r, &(weir_rpc_cors){ .origins = any, .origin_count = 1, .max_age_s = 60 });
    client *c = browser_new(&r, WEIR_HTTP_1);
    fetched f = preflight(c, PROCESS_PATH, "null");
    assert_int_equal(f.status, 204);
    assert_true(has(&f, "access-control-allow-origin: *\n"));
    assert_true(has(&f, "access-control-max-age: 60\n"));
    f = fetch(c, "POST", PROCESS_PATH, "{}", FIELDS(JSON, "origin", other));
    assert_true(has(&f, "access-control-allow-origin: *\n"));
    rig_stop(&r);
}

static void credentials_are_for_origins_by_name(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r, &(weir_rpc_cors){ .origins = origins, .origin_count = 2, .credentials = true });
    client *c = browser_new(&r, WEIR_HTTP_2);
    fetched f = preflight(c, PROCESS_PATH, app);
    assert_true(has(&f, "access-control-allow-credentials: true\n"));
    f = fetch(c, "POST", PROCESS_PATH, "{}", FIELDS(JSON, "origin", app));
    assert_true(has(&f, "access-control-allow-credentials: true\n"));
    f = fetch(c, "POST", PROCESS_PATH, "{}", FIELDS(JSON, "origin", other));
    assert_false(has(&f, "access-control-allow-credentials"));
    rig_stop(&r);
}

/* ---- Configs ---- */

static const char *why_not(const weir_rpc_cors *cors)
{
    static char why[256];
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_add(p, weir_rpc_server(&(weir_rpc_server_config){ .cors = cors }));
    weir_status status = weir_pipeline_check(p);
    snprintf(why, sizeof why, "%s", status == WEIR_OK ? "" : weir_pipeline_why(p));
    weir_pipeline_free(p);
    return why;
}

static void what_cannot_be_meant_is_refused_by_check(void **state)
{
    static const char *const wrong[] = { "app.example.org",     "https://",
                                         "https://app/",        "://app",
                                         "https://App",         "https://a b",
                                         "https://a,https://b", "",
                                         "https://user@app",    NULL };
    const char *any = "*", *name = "x y", *many[65];
    (void)state;
    assert_string_equal(why_not(&listed), "");
    assert_string_equal(why_not(&(weir_rpc_cors){ 0 }), "");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (strstr(why_not(&(weir_rpc_cors){ .origins = &wrong[i], .origin_count = 1 }),
                   "cors: an origin is") == NULL)
            fail_msg("%s is taken", wrong[i]);
    assert_non_null(
        strstr(why_not(&(weir_rpc_cors){ .origins = &any, .origin_count = 1, .credentials = true }),
               "credentials need origins by name"));
    assert_non_null(
        strstr(why_not(&(weir_rpc_cors){
                   .origins = &any, .origin_count = 1, .headers = &name, .header_count = 1 }),
               "a header that is no name"));
    for (int i = 0; i < 65; i++)
        many[i] = app;
    assert_non_null(
        strstr(why_not(&(weir_rpc_cors){ .origins = many, .origin_count = 65 }), "more than 64"));
}

/* ---- Memory ---- */

static struct {
    int left; /* allocations until one fails; -1: none */
    int live;
} memory;

static void *failing_resize(void *at, size_t bytes, void *user)
{
    (void)user;
    if (bytes != 0 && memory.left >= 0 && memory.left-- == 0)
        return NULL;
    memory.live += (at == NULL && bytes != 0) - (at != NULL && bytes == 0);
    if (bytes != 0)
        return realloc(at, bytes);
    free(at);
    return NULL;
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    for (int failing = 0; failing < 200; failing++) {
        rig r = { .allocator = { failing_resize, NULL } };
        memory.left = -1;
        start(&r, &listed);
        client *c = browser_new(&r, WEIR_HTTP_2);
        memory.left = failing;
        fetched f = preflight(c, PROCESS_PATH, app);
        assert_true(f.how != WEIR_OK || f.status == 204);
        if (!c->over) {
            f = fetch(c, "POST", PROCESS_PATH, "{\"text\":\"hi\"}", FIELDS(JSON, "origin", app));
            if (f.how == WEIR_OK && f.status == 200)
                assert_true(has(&f, "access-control-allow-origin: https://app.example.org\n"));
        }
        bool none_hit = memory.left >= 0;
        memory.left = -1;
        rig_stop(&r);
        if (none_hit)
            return;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_preflight_of_a_listed_origin_is_answered),
        cmocka_unit_test(only_methods_without_side_effects_may_be_got),
        cmocka_unit_test(a_preflight_of_another_origin_is_refused),
        cmocka_unit_test(without_cors_nothing_is_said_of_it),
        cmocka_unit_test(preflights_are_of_methods_that_are_served_and_of_browsers),
        cmocka_unit_test(a_response_says_who_may_read_it_and_what),
        cmocka_unit_test(another_origin_or_none_is_served_without_it),
        cmocka_unit_test(errors_and_what_is_no_call_may_be_read_too),
        cmocka_unit_test(any_origin_may_be_let_in),
        cmocka_unit_test(credentials_are_for_origins_by_name),
        cmocka_unit_test(what_cannot_be_meant_is_refused_by_check),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
