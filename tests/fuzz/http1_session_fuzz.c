/* Fuzzes HTTP/1 sessions of either side, cut at places that the input chooses: nobody but a peer
 * may be blamed, windows are kept, and every exchange is told its end. */
#include <weir/http_session.h>

#include <stdlib.h>
#include <string.h>

enum { WINDOW = 32 };

typedef struct side {
    weir_http_session *session;
    size_t unconsumed;
    int under_way;
    uint8_t how;
} side;

static void reply(side *s, weir_http_exchange *exchange)
{
    weir_http1_field field = { { "a", 1 }, { "b", 1 } };
    weir_http_head head = { .status = (s->how & 4) != 0 ? 204 : 200,
                            .content_length = (s->how & 8) != 0 ? 3 : UINT64_MAX };
    if (weir_http_exchange_respond(exchange, &head) != WEIR_OK)
        return;
    weir_bytes *body = weir_http_exchange_body(exchange, 3);
    if (body == NULL)
        abort();
    memcpy(body->at + body->len, "abc", 3);
    body->len += 3;
    weir_http_exchange_written(exchange);
    if (weir_http_exchange_end(exchange, &field, 1) != WEIR_OK)
        abort();
}

static void on_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n,
                   void *user)
{
    side *s = user;
    for (size_t i = 0; i < n; i++)
        if (trailers[i].name.len == 0)
            abort();
    if ((s->how & 1) != 0)
        weir_http_exchange_reset(exchange, WEIR_ECANCELED, 0);
    else
        reply(s, exchange);
}

static void on_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    side *s = user;
    s->under_way += head->status == 0;
    for (size_t i = 0; i < head->field_count; i++)
        for (size_t k = 0; k < head->fields[i].name.len; k++)
            if (head->fields[i].name.at[k] >= 'A' && head->fields[i].name.at[k] <= 'Z')
                abort();
    if (head->ends)
        on_end(exchange, NULL, 0, user);
    else if ((s->how & 2) != 0)
        reply(s, exchange);
}

static void on_body(weir_http_exchange *exchange, const char *bytes, size_t n, void *user)
{
    side *s = user;
    (void)bytes;
    s->unconsumed += n;
    if (n == 0 || s->unconsumed > WINDOW)
        abort();
    if ((s->how & 16) != 0) {
        weir_http_exchange_consume(exchange, n);
        s->unconsumed -= n;
    }
}

static void on_over(weir_http_exchange *exchange, weir_status status, uint32_t h2_code, void *user)
{
    side *s = user;
    (void)exchange;
    (void)status;
    (void)h2_code;
    s->under_way--;
    s->unconsumed = 0;
}

static void hand_out(side *s)
{
    weir_bytes out = { .env = NULL };
    for (int i = 0; i < 10 && weir_http_session_wants_output(s->session); i++)
        if (weir_http_session_output(s->session, &out, 10, 1) != WEIR_OK)
            break;
    weir_bytes_done(&out);
}

static void ask(side *s)
{
    weir_http_exchange *exchange;
    weir_http_head head = { .method = { (s->how & 2) != 0 ? "HEAD" : "GET",
                                        (s->how & 2) != 0 ? 4 : 3 },
                            .path = { "/", 1 },
                            .ends = true };
    if (weir_http_session_open(s->session, &head, s, &exchange) == WEIR_OK)
        s->under_way++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const weir_http_events events = { on_head, on_body, on_end, NULL, on_over, NULL };
    if (size < 2)
        return 0;
    side s = { .how = data[0] };
    size_t step = data[1] == 0 ? size : data[1];
    bool is_client = (s.how & 32) != 0;
    weir_http_session_config config = { .version = WEIR_HTTP_1,
                                        .is_client = is_client,
                                        .events = &events,
                                        .user = &s,
                                        .stream_window_bytes = WINDOW };
    if (weir_http_session_new(&config, 0, &s.session) != WEIR_OK)
        abort();
    for (size_t at = 2; at < size && weir_http_session_wants_input(s.session);) {
        size_t n = size - at < step ? size - at : step, used = 0;
        char *copy = malloc(n); /* of that size, for the sanitizer */
        if (copy == NULL)
            abort();
        if (is_client)
            ask(&s);
        memcpy(copy, data + at, n);
        weir_status status = weir_http_session_feed(s.session, copy, n, 1, &used);
        free(copy);
        if (status != WEIR_OK && weir_http_session_why(s.session)[0] == '\0')
            abort();
        hand_out(&s);
        at += used;
        if (status != WEIR_OK)
            break;
    }
    weir_http_session_eof(s.session, WEIR_OK);
    hand_out(&s);
    weir_http_session_eof(s.session, WEIR_ECLOSED);
    if (s.under_way != 0)
        abort();
    weir_http_session_free(s.session);
    return 0;
}
