/* Two HTTP sessions, or one and a hand that writes frames, in memory: what was told is noted. */
#ifndef HTTP_SESSION_RIG_H
#define HTTP_SESSION_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weir/http_session.h>

enum { RIG_MS = 1000000, RIG_EXCHANGES = 4096 };

#define SPAN(text) ((weir_http1_span){ text, sizeof(text) - 1 })

/* Memory that is counted, and may fail. */
typedef struct rig_memory {
    size_t live, taken;
    size_t fail_at; /* the nth from now fails; 0: none */
    bool for_good;  /* and all that follow; otherwise once */
    bool failed;
} rig_memory;

static inline void *rig_resize(void *memory, size_t bytes, void *user)
{
    rig_memory *m = user;
    if (bytes == 0) {
        m->live -= memory != NULL;
        free(memory);
        return NULL;
    }
    m->taken++;
    if (m->fail_at != 0 && --m->fail_at == 0) {
        m->fail_at = m->for_good;
        m->failed = true;
        return NULL;
    }
    void *at = realloc(memory, bytes);
    m->live += memory == NULL && at != NULL;
    return at;
}

/* What one side was told of an exchange. */
typedef struct rig_exchange {
    weir_http_exchange *exchange; /* NULL: over */
    char head[1024], body[1 << 17], trailers[512];
    size_t body_bytes;
    int heads, ends, rooms, overs;
    uint64_t content_length;
    bool head_ends;
    weir_status status;
    uint32_t code;
} rig_exchange;

typedef struct side side;
struct side {
    weir_http_session *session;
    weir_http_session_config config;
    weir_http_events events;
    rig_memory memory;
    weir_env env;
    weir_bytes out;
    uint64_t now_ns;
    bool dont_consume, answer; /* answer: 200, an echo of the body, and a trailer */
    void (*on_head)(side *s, rig_exchange *x);
    void (*on_body)(side *s, rig_exchange *x);
    void (*on_room)(side *s, rig_exchange *x);
    void (*on_over)(side *s, rig_exchange *x);
    rig_exchange *x[RIG_EXCHANGES];
    size_t count;
    weir_status failed; /* of feed or output */
};

static inline side *side_of(weir_http_exchange *exchange)
{
    return weir_http_session_user(weir_http_exchange_session(exchange));
}

static inline void rig_add(char *text, size_t cap, const char *format, ...)
{
    va_list arguments;
    size_t len = strlen(text);
    va_start(arguments, format);
    vsnprintf(text + len, cap - len, format, arguments);
    va_end(arguments);
}

static inline void rig_fields(char *text, size_t cap, const weir_http1_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        rig_add(text, cap, "%.*s=%.*s;", (int)fields[i].name.len, fields[i].name.at,
                (int)fields[i].value.len, fields[i].value.at);
}

static inline rig_exchange *rig_exchange_new(side *s)
{
    rig_exchange *x = calloc(1, sizeof *x);
    assert_true(s->count < RIG_EXCHANGES);
    s->x[s->count++] = x;
    return x;
}

static inline weir_status rig_write(weir_http_exchange *exchange, const char *bytes, size_t n)
{
    weir_bytes *body = weir_http_exchange_body(exchange, n);
    if (body == NULL)
        return WEIR_ENOMEM;
    weir_status status = weir_bytes_append(body, bytes, n);
    weir_http_exchange_written(exchange);
    return status;
}

static inline weir_status rig_respond(weir_http_exchange *exchange, unsigned code, bool ends)
{
    const weir_http1_field fields[] = { { SPAN("content-type"), SPAN("text/plain") } };
    return weir_http_exchange_respond(exchange, &(weir_http_head){ .status = code,
                                                                   .fields = fields,
                                                                   .field_count = 1,
                                                                   .content_length = UINT64_MAX,
                                                                   .ends = ends });
}

static inline void rig_answer(rig_exchange *x)
{
    const weir_http1_field trailer = { SPAN("grpc-status"), SPAN("0") };
    if (rig_respond(x->exchange, 200, false) == WEIR_OK && x->body_bytes > 0)
        (void)!rig_write(x->exchange, x->body, x->body_bytes);
    (void)!weir_http_exchange_end(x->exchange, &trailer, 1);
}

static inline void rig_on_head(weir_http_exchange *exchange, const weir_http_head *h, void *user)
{
    side *s = side_of(exchange);
    rig_exchange *x = user;
    if (!s->config.is_client) {
        x = rig_exchange_new(s);
        x->exchange = exchange;
        weir_http_exchange_set_user(exchange, x);
        rig_add(x->head, sizeof x->head, "%.*s %.*s://%.*s%.*s ", (int)h->method.len, h->method.at,
                (int)h->scheme.len, h->scheme.at, (int)h->authority.len, h->authority.at,
                (int)h->path.len, h->path.at);
    } else {
        rig_add(x->head, sizeof x->head, "%u ", h->status);
    }
    rig_fields(x->head, sizeof x->head, h->fields, h->field_count);
    x->heads++;
    x->head_ends = h->ends;
    x->content_length = h->content_length;
    if (s->on_head != NULL)
        s->on_head(s, x);
    else if (s->answer && h->ends)
        rig_answer(x);
}

static inline void rig_on_body(weir_http_exchange *exchange, const char *bytes, size_t n,
                               void *user)
{
    side *s = side_of(exchange);
    rig_exchange *x = user;
    if (x->body_bytes + n < sizeof x->body)
        memcpy(x->body + x->body_bytes, bytes, n);
    x->body_bytes += n;
    if (!s->dont_consume)
        weir_http_exchange_consume(exchange, n);
    if (s->on_body != NULL)
        s->on_body(s, x);
}

static inline void rig_on_end(weir_http_exchange *exchange, const weir_http1_field *trailers,
                              size_t n, void *user)
{
    rig_exchange *x = user;
    x->ends++;
    rig_fields(x->trailers, sizeof x->trailers, trailers, n);
    if (side_of(exchange)->answer)
        rig_answer(x);
}

static inline void rig_on_room(weir_http_exchange *exchange, void *user)
{
    rig_exchange *x = user;
    side *s = side_of(exchange);
    x->rooms++;
    if (s->on_room != NULL)
        s->on_room(s, x);
}

static inline void rig_on_over(weir_http_exchange *exchange, weir_status status, uint32_t code,
                               void *user)
{
    side *s = side_of(exchange);
    rig_exchange *x = user;
    if (user == s) /* it never had a head */
        x = rig_exchange_new(s);
    x->exchange = NULL;
    x->overs++;
    x->status = status;
    x->code = code;
    if (s->on_over != NULL)
        s->on_over(s, x);
}

/* The defaults of the rig, to be changed before side_start. */
static inline side *side_new(bool is_client)
{
    side *s = calloc(1, sizeof *s);
    s->env.allocator = (weir_allocator){ .resize = rig_resize, .user = &s->memory };
    s->events = (weir_http_events){ rig_on_head, rig_on_body, rig_on_end,
                                    rig_on_room, rig_on_over, NULL };
    s->config = (weir_http_session_config){ .version = WEIR_HTTP_2,
                                            .is_client = is_client,
                                            .env = &s->env,
                                            .events = &s->events,
                                            .user = s };
    s->now_ns = (uint64_t)1000 * RIG_MS;
    return s;
}

static inline weir_status side_start(side *s)
{
    return weir_http_session_new(&s->config, s->now_ns, &s->session);
}

static inline side *side_started(bool is_client)
{
    side *s = side_new(is_client);
    assert_int_equal(side_start(s), WEIR_OK);
    return s;
}

static inline void side_close(side *s)
{
    if (s->session != NULL) {
        weir_http_session_eof(s->session, WEIR_ECLOSED);
        assert_int_equal(weir_http_session_exchanges(s->session), 0);
    }
    weir_http_session_free(s->session);
    s->session = NULL;
}

static inline void side_free(side *s)
{
    side_close(s);
    weir_bytes_done(&s->out);
    for (size_t i = 0; i < s->count; i++) {
        assert_true(s->x[i]->overs == 1 || s->x[i]->exchange == NULL);
        free(s->x[i]);
    }
    assert_int_equal(s->memory.live, 0);
    free(s);
}

static inline weir_status side_feed(side *s, const void *bytes, size_t n)
{
    size_t consumed;
    weir_status status = weir_http_session_feed(s->session, bytes, n, s->now_ns, &consumed);
    if (status != WEIR_OK)
        s->failed = status;
    else
        assert_int_equal(consumed, n);
    return status;
}

/* What it has to say, in s->out. */
static inline weir_status side_output(side *s)
{
    weir_status status = WEIR_OK;
    s->out.len = 0;
    for (int i = 0; i < 10000 && weir_http_session_wants_output(s->session); i++) {
        size_t before = s->out.len;
        status = weir_http_session_output(s->session, &s->out, 16384, s->now_ns);
        if (status != WEIR_OK)
            s->failed = status;
        if (s->out.len == before)
            break;
    }
    return status;
}

/* Hands over what `from` says, in pieces of `step` bytes. True: there was something. */
static inline bool side_hand(side *from, side *to, size_t step)
{
    (void)!side_output(from);
    for (size_t at = 0; at < from->out.len; at += step) {
        size_t n = from->out.len - at < step ? from->out.len - at : step;
        if (side_feed(to, from->out.at + at, n) != WEIR_OK)
            break;
    }
    return from->out.len > 0;
}

static inline void pump_by(side *a, side *b, size_t step)
{
    for (int i = 0; i < 100000; i++) {
        bool some = side_hand(a, b, step);
        some = side_hand(b, a, step) || some;
        if (!some)
            return;
    }
    fail_msg("they never stop talking");
}

static inline void pump(side *a, side *b)
{
    pump_by(a, b, SIZE_MAX / 2);
}

static inline weir_http_head rig_request(bool ends)
{
    static const weir_http1_field fields[] = { { SPAN("content-type"), SPAN("application/grpc") },
                                               { SPAN("te"), SPAN("trailers") },
                                               { SPAN("X-Trace"), SPAN("abc") } };
    return (weir_http_head){ .method = SPAN("POST"),
                             .path = SPAN("/a.B/C"),
                             .authority = SPAN("host:1"),
                             .scheme = SPAN("http"),
                             .fields = fields,
                             .field_count = 3,
                             .content_length = UINT64_MAX,
                             .ends = ends };
}

static inline weir_status rig_try_open(side *client, bool ends, rig_exchange **ret_x)
{
    weir_http_head head = rig_request(ends);
    rig_exchange *x = calloc(1, sizeof *x);
    weir_status status = weir_http_session_open(client->session, &head, x, &x->exchange);
    if (status != WEIR_OK) {
        free(x);
        return status;
    }
    assert_true(client->count < RIG_EXCHANGES);
    client->x[client->count++] = x;
    *ret_x = x;
    return WEIR_OK;
}

static inline rig_exchange *rig_open(side *client, bool ends)
{
    rig_exchange *x = NULL;
    assert_int_equal(rig_try_open(client, ends, &x), WEIR_OK);
    return x;
}

#endif
