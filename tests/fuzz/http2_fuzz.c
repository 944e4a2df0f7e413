/* Feeds any bytes to an HTTP/2 server whose handlers do what bytes say, and insists that each
 * exchange is told its end once, and that all memory comes back.
 *
 * Bytes: how reads are cut, what handlers do, how limits are, whether a preface and SETTINGS go
 * before the rest; then what the peer says. Or, if so said, what a server says to a client. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <weir/http_session.h>

enum { ALIVE = 1, OVER = 2 };

typedef struct world {
    weir_http_session *session;
    weir_http_pool *pool;
    size_t live;
    uint32_t choices;
    unsigned begun, ended;
    bool in_call; /* beneath a function that tells no events */
} world;

static void *counted(void *memory, size_t bytes, void *user)
{
    world *w = user;
    if (bytes == 0) {
        w->live -= memory != NULL;
        free(memory);
        return NULL;
    }
    void *at = realloc(memory, bytes);
    w->live += memory == NULL;
    return at;
}

static unsigned choose(world *w, unsigned n)
{
    w->choices = w->choices * 1664525 + 1013904223;
    return (w->choices >> 16) % n;
}

static world *world_of(weir_http_exchange *exchange)
{
    world *w = weir_http_session_user(weir_http_exchange_session(exchange));
    if (w->in_call)
        abort();
    return w;
}

static void respond(weir_http_exchange *exchange, bool ends)
{
    const weir_http1_field field = { { "a", 1 }, { "b", 1 } };
    const weir_http_head head = { .status = 200,
                                  .fields = &field,
                                  .field_count = 1,
                                  .content_length = UINT64_MAX,
                                  .ends = ends };
    (void)!weir_http_exchange_respond(exchange, &head);
}

static void write_some(weir_http_exchange *exchange, size_t n)
{
    weir_bytes *body = weir_http_exchange_body(exchange, n);
    if (body == NULL)
        return;
    memset(body->at + body->len, 'x', n);
    body->len += n;
    weir_http_exchange_written(exchange);
}

static void do_something(world *w, weir_http_exchange *exchange)
{
    const weir_http1_field trailer = { { "grpc-status", 11 }, { "0", 1 } };
    w->in_call = true;
    switch (choose(w, 9)) {
    case 0:
        respond(exchange, true);
        break;
    case 1:
    case 2:
        respond(exchange, false);
        break;
    case 3:
        respond(exchange, false);
        write_some(exchange, 1 + choose(w, 40000));
        break;
    case 4:
        (void)!weir_http_exchange_end(exchange, &trailer, choose(w, 2));
        break;
    case 5:
        weir_http_exchange_reset(exchange, WEIR_ECANCELED, choose(w, 14));
        break;
    case 6:
        weir_http_exchange_consume(exchange, choose(w, 70000));
        break;
    case 7:
        if (choose(w, 16) == 0)
            weir_http_session_drain(w->session);
        break;
    default:
        break;
    }
    w->in_call = false;
}

static void on_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    world *w = world_of(exchange);
    for (size_t i = 0; i < head->field_count; i++)
        if (head->fields[i].name.len == 0 || head->fields[i].name.at[0] == ':')
            abort();
    (void)user;
    weir_http_exchange_set_user(exchange, (void *)(uintptr_t)ALIVE);
    w->begun++;
    do_something(w, exchange);
}

static void on_body(weir_http_exchange *exchange, const char *bytes, size_t n, void *user)
{
    world *w = world_of(exchange);
    volatile char last = bytes[n - 1];
    (void)last;
    if (user != (void *)(uintptr_t)ALIVE)
        abort();
    do_something(w, exchange);
}

static void on_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n,
                   void *user)
{
    (void)trailers, (void)n, (void)user;
    do_something(world_of(exchange), exchange);
}

static void on_room(weir_http_exchange *exchange, void *user)
{
    (void)user;
    do_something(world_of(exchange), exchange);
}

static void on_over(weir_http_exchange *exchange, weir_status status, uint32_t code, void *user)
{
    world *w = world_of(exchange);
    (void)status, (void)code;
    if (user == (void *)(uintptr_t)ALIVE) /* its head was told */
        w->ended++;
    weir_http_exchange_set_user(exchange, (void *)(uintptr_t)OVER);
    do_something(w, exchange);
}

static void open_some(world *w)
{
    for (unsigned n = choose(w, 5); n > 0; n--) {
        const weir_http_head head = { .method = { "POST", 4 },
                                      .path = { "/", 1 },
                                      .authority = { "a", 1 },
                                      .scheme = { "http", 4 },
                                      .content_length = UINT64_MAX,
                                      .ends = choose(w, 2) };
        weir_http_exchange *exchange;
        if (weir_http_session_open(w->session, &head, NULL, &exchange) != WEIR_OK)
            return;
        write_some(exchange, 1 + choose(w, 3) * 50);
    }
}

static weir_status say(world *w, weir_bytes *out, uint64_t now)
{
    weir_status status = WEIR_OK;
    out->len = 0;
    for (int i = 0; i < 100 && weir_http_session_wants_output(w->session); i++)
        status = weir_http_session_output(w->session, out, 1 + choose(w, 20000), now);
    return status;
}

static void run(world *w, const char *bytes, size_t n, size_t step)
{
    weir_bytes out = { .bytes_max = SIZE_MAX };
    uint64_t now = 1;
    weir_status status = WEIR_OK;
    size_t consumed;
    for (size_t at = 0; at < n && status == WEIR_OK; at += consumed) {
        size_t some = n - at < step ? n - at : step;
        char *copy = malloc(some); /* so that a read behind it is seen */
        memcpy(copy, bytes + at, some);
        status = weir_http_session_feed(w->session, copy, some, now, &consumed);
        free(copy);
        if (status == WEIR_OK && consumed != some)
            abort();
        if (choose(w, 3) > 0 && status == WEIR_OK)
            status = say(w, &out, now);
        now += choose(w, 100) * 1000000;
        if (status == WEIR_OK)
            status = weir_http_session_sweep(w->session, now);
        weir_http_pool_sweep(w->pool);
    }
    (void)say(w, &out, now);
    weir_bytes_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
    static const weir_http_events events = { on_head, on_body, on_end, on_room, on_over, NULL };
    if (size < 4 || size > 1 << 16)
        return 0;
    world w = { .choices = data[1] };
    const weir_env env = { .allocator = { .resize = counted, .user = &w } };
    w.pool = weir_http_pool_new(&env, 1); /* keeps nothing: the sanitizer sees more */
    bool tight = data[2] & 1, is_client = data[3] & 2;
    const weir_http_session_config config = { .version = WEIR_HTTP_2,
                                              .is_client = is_client,
                                              .env = &env,
                                              .pool = w.pool,
                                              .events = &events,
                                              .user = &w,
                                              .exchanges_max = tight ? 3 : 0,
                                              .head_bytes_max = tight ? 300 : 0,
                                              .fields_max = tight ? 6 : 0,
                                              .stream_window_bytes = tight ? 100 : 0,
                                              .send_bytes_max = tight ? 100 : 0,
                                              .frame_bytes_max = tight ? 64 : 0,
                                              .control_burst = tight ? 10 : 0,
                                              .park_ms = 1 };
    if (weir_http_session_new(&config, 1, &w.session) != WEIR_OK)
        abort();
    if (is_client)
        open_some(&w);
    if ((data[3] & 1) != 0)
        run(&w, preface + (is_client ? 24 : 0), sizeof preface - 1 - (is_client ? 24 : 0), 64);
    run(&w, (const char *)data + 4, size - 4, data[0] == 0 ? size : data[0]);
    weir_http_session_eof(w.session, WEIR_ECLOSED);
    if (weir_http_session_exchanges(w.session) != 0 || w.begun != w.ended)
        abort();
    weir_http_session_free(w.session);
    weir_http_pool_free(w.pool);
    if (w.live != 0)
        abort();
    return 0;
}
