/* The RPC server over real sockets, with raw clients: every kind of call in every protocol, demand,
 * deadlines, cancels, limits, interceptors, items, drain. */
#include "rpc_rig.h"

#include <weir/inlet.h>
#include <weir/rpc_health.h>
#include <weir/rpc_reflection.h>
#include <weir/stages.h>

/* ---- Handlers ---- */

static void expect_taken(weir_status status)
{
    if (status != WEIR_OK && status != WEIR_ENOMEM)
        fail_msg("%s", weir_status_name(status));
}

static void process(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    const Streams__V1__ProcessRequest *request = (const Streams__V1__ProcessRequest *)message;
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    (void)user;
    if (request->fail_with != 0) {
        assert_int_equal(weir_rpc_finish(call, (weir_rpc_code)request->fail_with, request->text),
                         WEIR_OK);
        return;
    }
    response.text = request->text;
    expect_taken(weir_rpc_reply(call, &response.base));
}

typedef struct stream {
    uint64_t count, sent, messages, bytes;
    size_t payload;
} stream;

static void produce(weir_rpc_call *call, void *user)
{
    static uint8_t payload[65536];
    stream *s = weir_rpc_call_state(call);
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    (void)user;
    data.payload = (ProtobufCBinaryData){ s->payload, payload };
    while (s->sent < s->count && weir_rpc_room(call) > 0) {
        data.sequence = s->sent++;
        weir_status status = weir_rpc_send(call, &data.base);
        expect_taken(status);
        if (status != WEIR_OK) {
            (void)weir_rpc_finish(call, WEIR_RPC_RESOURCE_EXHAUSTED, NULL);
            return;
        }
    }
    if (s->count != 0 && s->sent == s->count)
        (void)weir_rpc_finish(call, WEIR_RPC_OK, NULL);
}

static void stream_data(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    const Streams__V1__StreamDataRequest *request = (const Streams__V1__StreamDataRequest *)message;
    stream *s = weir_rpc_call_state(call);
    s->count = request->count;
    s->payload = request->payload_bytes;
    produce(call, user);
}

static void ask_all(weir_rpc_call *call, void *user)
{
    (void)user;
    weir_rpc_request(call, WEIR_UNBOUNDED);
}

static void ask_one(weir_rpc_call *call, void *user)
{
    (void)user;
    weir_rpc_request(call, 1);
}

static void count(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    stream *s = weir_rpc_call_state(call);
    (void)user;
    s->messages++;
    s->bytes += ((const Streams__V1__Data *)message)->payload.len;
}

static void count_end(weir_rpc_call *call, void *user)
{
    const stream *s = weir_rpc_call_state(call);
    Streams__V1__CollectResponse response = STREAMS__V1__COLLECT_RESPONSE__INIT;
    (void)user;
    response.messages = s->messages;
    response.bytes = s->bytes;
    expect_taken(weir_rpc_reply(call, &response.base));
}

static void echo(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)user;
    assert_int_equal(weir_rpc_send(call, message), WEIR_OK);
    weir_rpc_request(call, 1);
}

static void finish_well(weir_rpc_call *call, void *user)
{
    (void)user;
    assert_int_equal(weir_rpc_finish(call, WEIR_RPC_OK, NULL), WEIR_OK);
}

/* What the handlers of a test were told. */
static struct {
    int begins, messages, ends, overs;
    weir_rpc_code code;
    weir_status context;
    weir_rpc_call *call;
} told;

static void note_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)user;
    told.overs++;
    told.code = code;
    told.context = weir_context_status(weir_rpc_call_context(call), 0);
}

static void serve_all(rig *r)
{
    memset(&told, 0, sizeof told);
    r->handlers[PROCESS] = (weir_rpc_handler){ .message = process, .over = note_over };
    r->handlers[STREAM_DATA] = (weir_rpc_handler){
        .message = stream_data, .room = produce, .over = note_over, .state_size = sizeof(stream)
    };
    r->handlers[COLLECT] = (weir_rpc_handler){ .begin = ask_all,
                                               .message = count,
                                               .end = count_end,
                                               .over = note_over,
                                               .state_size = sizeof(stream) };
    r->handlers[ECHO] = (weir_rpc_handler){
        .begin = ask_one, .message = echo, .end = finish_well, .over = note_over
    };
}

/* ---- Calls of clients ---- */

static rcall *ask_process(client *c, const char *text, int fail_with,
                          const weir_rpc_wire_options *options)
{
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    rcall *k = call_start(c, PROCESS, options);
    request.text = (char *)(uintptr_t)text;
    request.fail_with = fail_with;
    call_send(k, &request.base);
    call_end(k);
    return k;
}

static void expect_text(rcall *k, const char *text)
{
    weir_arena arena;
    TURN_UNTIL(k->client->rig, k->got.over);
    if (k->got.code != WEIR_RPC_OK)
        fail_msg("%s: %s (HTTP %d, %s)", weir_rpc_code_name(k->got.code), k->got.text,
                 k->got.http_status, weir_status_name(k->got.status));
    assert_int_equal(k->got.messages, 1);
    weir_arena_init(&arena, NULL, NULL, 0, 0);
    assert_string_equal(((Streams__V1__ProcessResponse *)last_message(k, &arena))->text, text);
    weir_arena_done(&arena);
}

static void expect_code(rcall *k, weir_rpc_code code)
{
    TURN_UNTIL(k->client->rig, k->got.over);
    if (k->got.code != code)
        fail_msg("%s instead of %s: %s", weir_rpc_code_name(k->got.code), weir_rpc_code_name(code),
                 k->got.text);
}

static void a_unary_call_is_answered(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "hello", 0, NULL);
    expect_text(k, "hello");
    call_free(k);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_OK);
    rig_stop(&r);
}

/* ---- Every kind, protocol, version and codec ---- */

typedef struct way {
    weir_http_version version;
    weir_rpc_wire_options options;
} way;

static const char *const protocol_names[] = { "gRPC", "gRPC-Web", "Connect" };

/* gRPC needs HTTP/2. */
static bool next_way(way *w, int *at)
{
    for (; *at < 16; (*at)++) {
        weir_rpc_protocol protocol = (weir_rpc_protocol)(*at / 4);
        bool is_text = protocol > WEIR_RPC_CONNECT;
        *w = (way){ *at & 1 ? WEIR_HTTP_1 : WEIR_HTTP_2,
                    { .protocol = is_text ? WEIR_RPC_GRPC_WEB : protocol,
                      .codec = *at & 2 ? WEIR_RPC_JSON : WEIR_RPC_PROTO,
                      .is_text = is_text } };
        if (protocol == WEIR_RPC_GRPC && w->version == WEIR_HTTP_1)
            continue;
        (*at)++;
        return true;
    }
    return false;
}

static void expect_ok(rcall *k, const way *w)
{
    TURN_UNTIL(k->client->rig, k->got.over);
    if (k->got.code != WEIR_RPC_OK)
        fail_msg("%s %s HTTP/%d: %s: %s (%d, %s)", protocol_names[w->options.protocol],
                 w->options.codec == WEIR_RPC_JSON ? "JSON" : "proto",
                 w->version == WEIR_HTTP_1 ? 1 : 2, weir_rpc_code_name(k->got.code), k->got.text,
                 k->got.http_status, weir_status_name(k->got.status));
}

static void send_data(rcall *k, uint64_t sequence, size_t bytes)
{
    static uint8_t payload[1 << 20];
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    data.sequence = sequence;
    data.payload = (ProtobufCBinaryData){ bytes, payload };
    call_send(k, &data.base);
}

static void send_count(rcall *k, uint64_t n, uint32_t payload)
{
    Streams__V1__StreamDataRequest request = STREAMS__V1__STREAM_DATA_REQUEST__INIT;
    request.count = n;
    request.payload_bytes = payload;
    call_send(k, &request.base);
    call_end(k);
}

static void every_protocol_answers_unary_calls(void **state)
{
    rig r = { 0 };
    way w;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int at = 0; next_way(&w, &at);) {
        client *c = client_new(&r, w.version);
        for (int i = 0; i < 3; i++) {
            rcall *k = ask_process(c, "hello", 0, &w.options);
            expect_ok(k, &w);
            expect_text(k, "hello");
            call_free(k);
        }
        rcall *k = ask_process(c, "no", WEIR_RPC_NOT_FOUND, &w.options);
        expect_code(k, WEIR_RPC_NOT_FOUND);
        assert_string_equal(k->got.text, "no");
        call_free(k);
        client_close(c);
    }
    rig_stop(&r);
}

static void every_protocol_streams_to_the_client(void **state)
{
    rig r = { 0 };
    way w;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int at = 0; next_way(&w, &at);) {
        client *c = client_new(&r, w.version);
        rcall *k = call_start(c, STREAM_DATA, &w.options);
        send_count(k, 300, 1000);
        expect_ok(k, &w);
        assert_int_equal(k->got.messages, 300);
        call_free(k);
        client_close(c);
    }
    rig_stop(&r);
}

static void every_protocol_streams_to_the_server(void **state)
{
    rig r = { 0 };
    way w;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int at = 0; next_way(&w, &at);) {
        weir_arena arena;
        client *c = client_new(&r, w.version);
        rcall *k = call_start(c, COLLECT, &w.options);
        for (uint64_t i = 0; i < 100; i++) {
            send_data(k, i, 1000);
            turn(&r);
        }
        call_end(k);
        expect_ok(k, &w);
        weir_arena_init(&arena, NULL, NULL, 0, 0);
        const Streams__V1__CollectResponse *got =
            (const Streams__V1__CollectResponse *)last_message(k, &arena);
        assert_int_equal(got->messages, 100);
        assert_int_equal(got->bytes, 100000);
        weir_arena_done(&arena);
        call_free(k);
        client_close(c);
    }
    rig_stop(&r);
}

static void every_protocol_streams_both_ways_at_once(void **state)
{
    rig r = { 0 };
    way w;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int at = 0; next_way(&w, &at);) {
        client *c = client_new(&r, w.version);
        rcall *k = call_start(c, ECHO, &w.options);
        for (uint64_t i = 0; i < 20; i++) {
            send_data(k, i, 100);
            TURN_UNTIL(&r, k->got.messages == i + 1);
        }
        call_end(k);
        expect_ok(k, &w);
        call_free(k);
        client_close(c);
    }
    rig_stop(&r);
}

/* Each is packed by what the one before needed. */
static void messages_may_be_as_long_as_the_one_before_or_longer_or_shorter(void **state)
{
    static const size_t lengths[] = { 0,   90, 90,  90,   90,   91,   91,  89,  89,  5000, 5000,
                                      300, 0,  0,   0,    1,    128,  128, 127, 127, 9000, 0,
                                      0,   90, 800, 1100, 1100, 1100, 2,   2,   3 };
    rig r = { 0 };
    way w;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int at = 0; next_way(&w, &at);) {
        client *c = client_new(&r, w.version);
        rcall *k = call_start(c, ECHO, &w.options);
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
            weir_arena arena;
            weir_arena_init(&arena, NULL, NULL, 0, 0);
            send_data(k, i, lengths[i]);
            TURN_UNTIL(&r, k->got.messages == i + 1);
            const Streams__V1__Data *got = (const Streams__V1__Data *)last_message(k, &arena);
            assert_int_equal(got->sequence, i);
            assert_int_equal(got->payload.len, lengths[i]);
            weir_arena_done(&arena);
        }
        call_end(k);
        expect_ok(k, &w);
        call_free(k);
        client_close(c);
    }
    rig_stop(&r);
}

/* ---- What is no call ---- */

static void unknown_and_unserved_methods_are_unimplemented(void **state)
{
    static const weir_rpc_method nowhere = { .name = "X",
                                             .path = "/streams.v1.Streams/X",
                                             .request = &streams__v1__data__descriptor,
                                             .response = &streams__v1__data__descriptor };
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ 0 };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, NULL);
    expect_code(k, WEIR_RPC_UNIMPLEMENTED);
    call_free(k);
    k = call_start_of(c, &nowhere, NULL);
    call_end(k);
    expect_code(k, WEIR_RPC_UNIMPLEMENTED);
    call_free(k);
    rig_stop(&r);
}

static void a_request_that_cannot_be_unpacked_is_an_invalid_argument(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, PROCESS, NULL);
    weir_bytes *out = weir_http_exchange_body(k->exchange, 64);
    assert_int_equal(weir_bytes_append(out, "\0\0\0\0\2\12\77", 7), WEIR_OK);
    weir_http_exchange_written(k->exchange);
    call_end(k);
    expect_code(k, WEIR_RPC_INVALID_ARGUMENT);
    call_free(k);
    rig_stop(&r);
}

static void a_unary_call_takes_exactly_one_message(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    for (int n = 0; n <= 2; n += 2) {
        rcall *k = call_start(c, PROCESS, NULL);
        for (int i = 0; i < n; i++)
            call_send(k, &request.base);
        call_end(k);
        TURN_UNTIL(&r, k->got.over);
        assert_int_not_equal(k->got.code, WEIR_RPC_OK);
        assert_int_equal(k->got.messages, 0);
        call_free(k);
    }
    rig_stop(&r);
}

/* ---- Limits ---- */

static void a_message_that_is_too_large_is_refused_from_its_prefix(void **state)
{
    rig r = { .config.message_bytes_max = 1000 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, COLLECT, NULL);
    weir_bytes *out = weir_http_exchange_body(k->exchange, 64);
    assert_int_equal(weir_bytes_append(out, "\0\0\0\4\0", 5), WEIR_OK);
    weir_http_exchange_written(k->exchange);
    expect_code(k, WEIR_RPC_RESOURCE_EXHAUSTED);
    call_free(k);
    rig_stop(&r);
}

static void more_calls_than_calls_max_are_unavailable(void **state)
{
    rig r = { .config.calls_max = 2 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *a = call_start(c, ECHO, NULL), *b = call_start(c, ECHO, NULL);
    rcall *k = ask_process(c, "x", 0, NULL);
    expect_code(k, WEIR_RPC_UNAVAILABLE);
    call_free(k);
    call_end(a);
    expect_code(a, WEIR_RPC_OK);
    call_free(a);
    k = ask_process(c, "x", 0, NULL);
    expect_code(k, WEIR_RPC_OK);
    call_free(k);
    call_free(b);
    rig_stop(&r);
}

/* ---- Demand ---- */

static uint64_t produced(weir_rpc_call *call)
{
    return ((const stream *)weir_rpc_call_state(call))->sent;
}

static void note_call(weir_rpc_call *call, void *user)
{
    (void)user;
    told.begins++;
    told.call = call;
}

static void a_slow_reader_holds_no_more_than_send_bytes_max_and_a_message(void **state)
{
    rig r = { .config.send_bytes_max = 32768 };
    (void)state;
    serve_all(&r);
    r.handlers[STREAM_DATA].begin = note_call;
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, STREAM_DATA, NULL);
    k->stingy = true;
    send_count(k, 1000000, 1000);
    TURN_UNTIL(&r, k->got.messages > 50);
    turns(&r, 200);
    uint64_t held = produced(told.call), got = k->got.messages;
    assert_int_equal(weir_rpc_room(told.call), 0);
    assert_true((held - got) * 1000 <= 32768 + 2 * 1010);
    turns(&r, 200);
    assert_int_equal(produced(told.call), held);
    weir_http_exchange_consume(k->exchange, k->unconsumed);
    TURN_UNTIL(&r, produced(told.call) > held);
    call_free(k);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_CANCELLED);
    rig_stop(&r);
}

static void begin_only(weir_rpc_call *call, void *user)
{
    (void)user;
    told.begins++;
    told.call = call;
}

static void what_is_not_asked_for_stays_with_the_sender(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[COLLECT].begin = begin_only;
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, COLLECT, NULL);
    TURN_UNTIL(&r, told.begins == 1);
    stream *s = weir_rpc_call_state(told.call);
    for (uint64_t sent = 0; weir_http_exchange_room(k->exchange) > 0 && sent < 10000; sent++) {
        send_data(k, sent, 1000);
        turns(&r, 3);
    }
    assert_int_equal(s->messages, 0);
    size_t stuck = weir_http_exchange_room(k->exchange);
    turns(&r, 100);
    assert_int_equal(weir_http_exchange_room(k->exchange), stuck);
    weir_rpc_request(told.call, 3);
    assert_int_equal(s->messages, 0); /* not beneath the call */
    TURN_UNTIL(&r, s->messages == 3);
    turns(&r, 50);
    assert_int_equal(s->messages, 3);
    weir_rpc_request(told.call, WEIR_UNBOUNDED);
    TURN_UNTIL(&r, weir_http_exchange_room(k->exchange) > 60000);
    call_end(k);
    expect_code(k, WEIR_RPC_OK);
    call_free(k);
    rig_stop(&r);
}

/* ---- Deadlines and cancels ---- */

static void a_deadline_ends_the_call(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .begin = note_call, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, &(weir_rpc_wire_options){ .timeout_ns = 50 * WEIR_MS });
    TURN_UNTIL(&r, told.begins == 1);
    pass_ms(&r, 45);
    assert_int_equal(told.overs, 0);
    pass_ms(&r, 10);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_DEADLINE_EXCEEDED);
    assert_int_equal(told.context, WEIR_EDEADLINE);
    expect_code(k, WEIR_RPC_DEADLINE_EXCEEDED);
    call_free(k);
    rig_stop(&r);
}

static void the_server_has_a_default_and_a_longest_deadline(void **state)
{
    rig r = { .config = { .deadline_ms_default = 20, .deadline_ms_max = 50 } };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .begin = note_call, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, NULL);
    TURN_UNTIL(&r, told.begins == 1);
    assert_int_equal(weir_rpc_call_context(told.call)->deadline_ns - r.clock_ns, 20 * WEIR_MS);
    pass_ms(&r, 25);
    expect_code(k, WEIR_RPC_DEADLINE_EXCEEDED);
    call_free(k);
    k = ask_process(c, "x", 0, &(weir_rpc_wire_options){ .timeout_ns = WEIR_SEC });
    TURN_UNTIL(&r, told.begins == 2);
    assert_int_equal(weir_rpc_call_context(told.call)->deadline_ns - r.clock_ns, 50 * WEIR_MS);
    call_free(k);
    rig_stop(&r);
}

static void a_deadline_cuts_off_a_reader_that_takes_nothing(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, STREAM_DATA, &(weir_rpc_wire_options){ .timeout_ns = 50 * WEIR_MS });
    k->stingy = true;
    send_count(k, 1000000, 1000);
    TURN_UNTIL(&r, k->got.messages > 50);
    turns(&r, 100);
    pass_ms(&r, 60);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_DEADLINE_EXCEEDED);
    call_free(k);
    rig_stop(&r);
}

/* The window is used up to its last byte, and gRPC-Web's trailers are body. */
static void a_deadline_ends_a_call_whose_reader_takes_not_even_the_end(void **state)
{
    enum { WINDOW = 64 * 1024, ENVELOPE = 5, FIELDS = 6 };
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(
        c, ECHO,
        &(weir_rpc_wire_options){ .protocol = WEIR_RPC_GRPC_WEB, .timeout_ns = 50 * WEIR_MS });
    k->stingy = true;
    send_data(k, 1, WINDOW - ENVELOPE - FIELDS);
    TURN_UNTIL(&r, k->got.messages == 1);
    pass_ms(&r, 60);
    turns(&r, 20);
    assert_int_equal(told.overs, 0);
    assert_int_equal(told.code, WEIR_RPC_OK);
    pass_ms(&r, 1100);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_DEADLINE_EXCEEDED);
    call_free(k);
    rig_stop(&r);
}

static void a_cancel_of_the_peer_reaches_the_context_at_once(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .begin = note_call, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, NULL);
    TURN_UNTIL(&r, told.begins == 1);
    weir_rpc_hold(told.call);
    call_cancel(k);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_CANCELLED);
    assert_int_equal(told.context, WEIR_ECANCELED);
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    assert_int_equal(weir_rpc_reply(told.call, &response.base), WEIR_ECLOSED);
    assert_int_equal(weir_rpc_finish(told.call, WEIR_RPC_OK, NULL), WEIR_ECLOSED);
    weir_rpc_release(told.call);
    call_free(k);
    rig_stop(&r);
}

static void a_peer_that_goes_away_cancels_its_calls(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .begin = note_call, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, NULL);
    TURN_UNTIL(&r, told.begins == 1);
    client_close(c);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_CANCELLED);
    call_free(k);
    rig_stop(&r);
}

/* ---- Requests that do not come ---- */

/* The first `n` bytes of an envelope of 100 and its message; more: by send_raw. */
static void send_raw(rcall *k, size_t n)
{
    static const char zeros[4096];
    weir_bytes *out = weir_http_exchange_body(k->exchange, n);
    assert_int_equal(weir_bytes_append(out, zeros, n), WEIR_OK);
    weir_http_exchange_written(k->exchange);
}

static void send_prefix(rcall *k, unsigned char bytes)
{
    const char prefix[] = { 0, 0, 0, (char)bytes, 0 };
    weir_bytes *out = weir_http_exchange_body(k->exchange, 5);
    assert_int_equal(weir_bytes_append(out, prefix, 5), WEIR_OK);
    weir_http_exchange_written(k->exchange);
}

static void a_request_that_does_not_come_ends_its_call(void **state)
{
    static const struct {
        int method;
        weir_http_version version;
        weir_rpc_protocol protocol;
        int dribble; /* a byte now and then */
    } all[] = { { PROCESS, WEIR_HTTP_2, WEIR_RPC_GRPC, 0 },
                { PROCESS, WEIR_HTTP_2, WEIR_RPC_GRPC, 1 },
                { PROCESS, WEIR_HTTP_1, WEIR_RPC_CONNECT, 1 },
                { STREAM_DATA, WEIR_HTTP_1, WEIR_RPC_GRPC_WEB, 0 },
                { COLLECT, WEIR_HTTP_2, WEIR_RPC_GRPC, 1 },
                { ECHO, WEIR_HTTP_2, WEIR_RPC_CONNECT, 1 } };
    (void)state;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        rig r = { .config.body_timeout_ms = 100 };
        serve_all(&r);
        rig_start(&r);
        client *c = client_new(&r, all[i].version);
        rcall *k = call_start(c, all[i].method,
                              &(weir_rpc_wire_options){ .protocol = all[i].protocol });
        if (k->wire.is_stream)
            send_prefix(k, 100);
        for (int ms = 0; ms < 90; ms += 10) {
            pass_ms(&r, 10);
            if (all[i].dribble)
                send_raw(k, 1);
        }
        assert_false(k->got.ended);
        int most = all[i].protocol == WEIR_RPC_CONNECT ? 2500 : 70; /* its end waits for ours */
        for (int ms = 0; ms < most && !k->got.ended; ms += 10) {
            pass_ms(&r, 10);
            if (all[i].dribble && k->exchange != NULL)
                send_raw(k, 1);
        }
        if (!k->got.ended)
            fail_msg("row %zu is not cut off", i);
        assert_int_equal(k->got.code, WEIR_RPC_DEADLINE_EXCEEDED);
        TURN_UNTIL(&r, (pass_ms(&r, 1), told.overs == 1));
        call_free(k);
        rig_stop(&r);
    }
}

static void a_request_that_comes_slowly_is_waited_for(void **state)
{
    rig r = { .config.body_timeout_ms = 100 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    rcall *k = call_start(client_new(&r, WEIR_HTTP_2), COLLECT, NULL);
    send_prefix(k, 100); /* 25,600 bytes */
    for (int i = 0; i < 12; i++) {
        pass_ms(&r, 60);
        send_raw(k, 1024);
    }
    assert_false(k->got.ended);
    pass_ms(&r, 160);
    expect_code(k, WEIR_RPC_DEADLINE_EXCEEDED);
    call_free(k);
    rig_stop(&r);
}

static void silence_between_messages_is_not_cut(void **state)
{
    rig r = { .config.body_timeout_ms = 100 };
    (void)state;
    serve_all(&r);
    r.handlers[COLLECT].begin = begin_only; /* asks for nothing */
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *echo = call_start(c, ECHO, NULL), *unasked = call_start(c, COLLECT, NULL),
          *silent = call_start(c, ECHO, NULL);
    send_data(echo, 1, 10);
    send_prefix(unasked, 100);
    pass_ms(&r, 1000);
    assert_int_equal(echo->got.messages, 1);
    send_data(echo, 2, 10);
    TURN_UNTIL(&r, echo->got.messages == 2);
    assert_false(unasked->got.ended || silent->got.ended);
    weir_rpc_request(told.call, 1); /* now it is waited for */
    pass_ms(&r, 160);
    expect_code(unasked, WEIR_RPC_DEADLINE_EXCEEDED);
    call_free(echo);
    call_free(unasked);
    call_free(silent);
    rig_stop(&r);
}

static void a_call_that_is_answered_slowly_is_not_cut_for_its_request(void **state)
{
    rig r = { .config.body_timeout_ms = 100 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .begin = note_call, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, NULL);
    pass_ms(&r, 1000);
    assert_false(k->got.ended);
    call_free(k);
    rig_stop(&r);
}

/* Without a frame to say so: a browser's abort is the connection's end. */
static void a_peer_of_http1_that_goes_away_cancels_its_call(void **state)
{
    static const weir_rpc_wire_options connect = { .protocol = WEIR_RPC_CONNECT };
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .begin = note_call, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_1);
    rcall *k = ask_process(c, "x", 0, &connect);
    TURN_UNTIL(&r, told.begins == 1);
    turns(&r, 20);
    assert_int_equal(told.overs, 0);
    client_close(c);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_CANCELLED);
    assert_int_equal(told.context, WEIR_ECANCELED);
    call_free(k);
    rig_stop(&r);
}

/* As browsers write {"text":"a|b\^`[]"} in a query: what is raw here is not in the query
 * percent-encode set of the WHATWG's URL standard. */
static void a_get_may_have_what_browsers_leave_raw_in_its_query(void **state)
{
    static const char path[] = "/streams.v1.Streams/Process"
                               "?message={%22text%22:%22a|b\\\\^`[]%22}&encoding=json&connect=v1";
    static const weir_rpc_wire_options connect = { .protocol = WEIR_RPC_CONNECT,
                                                   .codec = WEIR_RPC_JSON,
                                                   .timeout_ns = UINT64_MAX,
                                                   .scheme = { "http", 4 },
                                                   .authority = { "test", 4 } };
    (void)state;
    for (int i = 0; i < 2; i++) {
        rig r = { 0 };
        weir_http_head head;
        serve_all(&r);
        rig_start(&r);
        client *c = client_new(&r, i == 0 ? WEIR_HTTP_1 : WEIR_HTTP_2);
        rcall *k = call_new(c, &streams_methods[PROCESS], &connect, &head);
        head.method = (weir_http1_span){ "GET", 3 };
        head.path = (weir_http1_span){ path, sizeof path - 1 };
        head.ends = k->sent_all = true;
        call_open(k, &head);
        expect_text(k, "a|b\\^`[]");
        call_free(k);
        rig_stop(&r);
    }
}

/* As `nc -N` does it. */
static void a_call_of_http1_that_is_answered_at_once_may_be_half_closed(void **state)
{
    static const char request[] =
        "POST /streams.v1.Streams/Process HTTP/1.1\r\nHost: x\r\nContent-Length: 14\r\n"
        "Content-Type: application/json\r\n\r\n{\"text\": \"hi\"}";
    char text[1024];
    size_t n = 0;
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_1);
    assert_int_equal(send(c->fd, request, sizeof request - 1, 0), sizeof request - 1);
    assert_int_equal(shutdown(c->fd, SHUT_WR), 0);
    for (ssize_t got = -1; got != 0;) {
        weir_loop_turn(r.loop);
        got = recv(c->fd, text + n, sizeof text - 1 - n, MSG_DONTWAIT);
        n += got > 0 ? (size_t)got : 0;
    }
    text[n] = '\0';
    assert_non_null(strstr(text, "{\"text\":\"hi\"}"));
    rig_stop(&r);
}

static void reply_in_the_clear(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    const Streams__V1__ProcessRequest *request = (const Streams__V1__ProcessRequest *)message;
    if (request->text[0] == '!')
        assert_int_equal(weir_rpc_no_gzip(call), WEIR_OK);
    process(call, message, user);
    assert_int_equal(weir_rpc_no_gzip(call), WEIR_EEXIST);
}

static void a_call_may_go_uncompressed(void **state)
{
    static const char head[] = "POST /streams.v1.Streams/Process HTTP/1.1\r\nHost: x\r\n"
                               "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n"
                               "Connection: close\r\nContent-Length: 211\r\n\r\n";
    (void)state;
    weir_rpc_gzip *gzip = weir_rpc_gzip_new(NULL);
    if (gzip == NULL)
        skip(); /* a build without zlib */
    weir_rpc_gzip_free(gzip);
    for (int plain = 0; plain < 2; plain++) {
        char text[2048];
        size_t n = (size_t)snprintf(text, sizeof text, "%s{\"text\":\"%c%0199d\"}", head,
                                    plain ? '!' : '?', 0);
        rig r = { .config.gzip_bytes_min = 10 };
        serve_all(&r);
        r.handlers[PROCESS].message = reply_in_the_clear;
        rig_start(&r);
        client *c = client_new(&r, WEIR_HTTP_1);
        assert_int_equal(send(c->fd, text, n, 0), n);
        n = 0;
        for (ssize_t got = -1; got != 0;) {
            weir_loop_turn(r.loop);
            got = recv(c->fd, text + n, sizeof text - 1 - n, MSG_DONTWAIT);
            n += got > 0 ? (size_t)got : 0;
        }
        text[n] = '\0';
        assert_int_equal(strncmp(text, "HTTP/1.1 200", 12), 0);
        assert_int_equal(strcasestr(text, "content-encoding: gzip") == NULL, plain);
        assert_int_equal(strstr(text, "!0000") != NULL, plain);
        rig_stop(&r);
    }
}

static void the_server_cancels_a_call(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[ECHO] = (weir_rpc_handler){ .begin = note_call, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, ECHO, NULL);
    TURN_UNTIL(&r, told.begins == 1);
    weir_rpc_cancel(told.call);
    weir_rpc_cancel(told.call);
    assert_int_equal(told.overs, 0);
    expect_code(k, WEIR_RPC_CANCELLED);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_CANCELLED);
    call_free(k);
    rig_stop(&r);
}

/* ---- Interceptors ---- */

static char journal[512];

static void note(const char *text)
{
    assert_true(strlen(journal) + strlen(text) + 2 < sizeof journal);
    strcat(journal, text);
    strcat(journal, " ");
}

static weir_status first_begin(weir_rpc_call *call, void *user)
{
    note("first");
    (void)user;
    assert_int_equal(weir_rpc_add_metadata(call, "x-first", "1", 1), WEIR_OK);
    return WEIR_OK;
}

static void first_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)user;
    note(code == WEIR_RPC_OK ? "first-over" : "first-failed");
}

static weir_status second_begin(weir_rpc_call *call, void *user)
{
    note("second");
    told.call = call;
    return *(const weir_status *)user;
}

static void second_received(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)call;
    (void)message;
    (void)user;
    note("received");
}

static void second_sent(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)call;
    (void)message;
    (void)user;
    note("sent");
}

static void second_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)user;
    (void)code;
    note("second-over");
}

static void over_noted(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    note("over");
    note_over(call, code, user);
}

static void interceptors_stand_around_the_handler(void **state)
{
    weir_status says = WEIR_OK;
    weir_rpc_interceptor first = { "first", first_begin, NULL, NULL, first_over, NULL };
    weir_rpc_interceptor second = { "second",    second_begin, second_received,
                                    second_sent, second_over,  &says };
    const weir_rpc_interceptor *both[] = { &first, &second };
    rig r = { .config = { .interceptors = both, .interceptor_count = 2 } };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS].over = over_noted;
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    journal[0] = '\0';
    rcall *k = ask_process(c, "x", 0, NULL);
    expect_text(k, "x");
    TURN_UNTIL(&r, told.overs == 1);
    assert_string_equal(journal, "first second received sent over second-over first-over ");
    assert_int_equal(k->metadata_count, 1);
    call_free(k);

    journal[0] = '\0';
    says = WEIR_EDENIED;
    k = ask_process(c, "x", 0, NULL);
    expect_code(k, WEIR_RPC_PERMISSION_DENIED);
    turns(&r, 10);
    assert_string_equal(journal, "first second second-over first-failed ");
    assert_int_equal(told.overs, 1);
    call_free(k);

    journal[0] = '\0';
    says = WEIR_EAGAIN;
    k = ask_process(c, "later", 0, NULL);
    turns(&r, 50);
    assert_string_equal(journal, "first second ");
    weir_rpc_resume(told.call);
    expect_text(k, "later");
    turns(&r, 10);
    assert_string_equal(journal, "first second received sent over second-over first-over ");
    call_free(k);

    k = ask_process(c, "never", 0, NULL);
    turns(&r, 50);
    call_free(k);
    rig_stop(&r);
}

/* ---- Items ---- */

/* A sink that takes items as it is told, and answers as it is told. */
typedef struct keeper {
    weir_stage *stage;
    weir_item *kept[64];
    int n;
} keeper;

static weir_status keeper_open(weir_stage *stage, const void *config, void *state)
{
    (void)state;
    (*(keeper *const *)config)->stage = stage;
    return WEIR_OK;
}

static weir_status keeper_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    keeper *k = *(keeper *const *)weir_stage_config(stage);
    (void)in;
    (void)state;
    k->kept[k->n++] = item;
    return WEIR_OK;
}

static void keeper_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static weir_stage_spec *keep(keeper *k)
{
    static const weir_stage_type type = {
        .name = "keeper",
        .config_size = sizeof(keeper *),
        .outputs = WEIR_PORTS_NONE,
        .open = keeper_open,
        .on_item = keeper_on_item,
        .on_demand = keeper_on_demand,
    };
    return weir_stage_of(&type, &k);
}

static void start_with_items(rig *r, keeper *k)
{
    serve_all(r);
    r->handlers[PROCESS] = (weir_rpc_handler){ .output_plus_1 = 1 };
    r->sinks[0] = keep(k);
    rig_start(r);
}

static void requests_are_items_by_demand(void **state)
{
    rig r = { 0 };
    keeper kept = { 0 };
    (void)state;
    start_with_items(&r, &kept);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *a = ask_process(c, "a", 0, NULL), *b = ask_process(c, "b", 0, NULL);
    turns(&r, 50);
    assert_int_equal(kept.n, 0);
    assert_int_equal(weir_request(weir_stage_in(kept.stage), 1), WEIR_OK);
    TURN_UNTIL(&r, kept.n == 1);
    turns(&r, 50);
    assert_int_equal(kept.n, 1);
    const weir_rpc_message *message = weir_rpc_message_of(kept.kept[0]);
    assert_string_equal(((const Streams__V1__ProcessRequest *)message->message)->text, "a");
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    response.text = "answer";
    assert_int_equal(weir_rpc_item_reply(kept.kept[0], &response.base), WEIR_OK);
    assert_int_equal(weir_rpc_item_reply(kept.kept[0], &response.base), WEIR_EEXIST);
    expect_text(a, "answer");
    weir_item_ack(kept.kept[0]);
    call_free(a);
    call_free(b); /* it leaves while it waits */
    turns(&r, 50);
    assert_int_equal(weir_request(weir_stage_in(kept.stage), 1), WEIR_OK);
    turns(&r, 50);
    assert_int_equal(kept.n, 1);
    rig_stop(&r);
}

static void how_an_item_ends_is_the_answer(void **state)
{
    static const struct {
        weir_outcome outcome;
        weir_status status;
        weir_rpc_code code;
    } ends[] = {
        { WEIR_ACKED, WEIR_OK, WEIR_RPC_OK },
        { WEIR_FILTERED, WEIR_OK, WEIR_RPC_OK },
        { WEIR_REJECTED, WEIR_EREJECTED, WEIR_RPC_UNAVAILABLE },
        { WEIR_ABORTED, WEIR_ECANCELED, WEIR_RPC_UNAVAILABLE },
        { WEIR_FAILED, WEIR_EOVERLOAD, WEIR_RPC_UNAVAILABLE },
        { WEIR_FAILED, WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT },
        { WEIR_FAILED, WEIR_ENOTFOUND, WEIR_RPC_NOT_FOUND },
    };
    rig r = { 0 };
    keeper kept = { 0 };
    (void)state;
    start_with_items(&r, &kept);
    client *c = client_new(&r, WEIR_HTTP_2);
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        rcall *k = ask_process(
            c, "a", 0, &(weir_rpc_wire_options){ .codec = i & 1 ? WEIR_RPC_JSON : WEIR_RPC_PROTO });
        assert_int_equal(weir_request(weir_stage_in(kept.stage), 1), WEIR_OK);
        kept.n = 0;
        TURN_UNTIL(&r, kept.n == 1);
        weir_item_end(kept.kept[0], ends[i].outcome, ends[i].status);
        expect_code(k, ends[i].code);
        call_free(k);
    }
    rcall *k = ask_process(c, "a", 0, NULL);
    assert_int_equal(weir_request(weir_stage_in(kept.stage), 1), WEIR_OK);
    kept.n = 0;
    TURN_UNTIL(&r, kept.n == 1);
    assert_int_equal(weir_rpc_item_fail(kept.kept[0], WEIR_RPC_ABORTED, "lost"), WEIR_OK);
    weir_item_ack(kept.kept[0]);
    expect_code(k, WEIR_RPC_ABORTED);
    assert_string_equal(k->got.text, "lost");
    call_free(k);
    rig_stop(&r);
}

static void calls_that_wait_for_demand_have_their_deadline(void **state)
{
    rig r = { 0 };
    keeper kept = { 0 };
    (void)state;
    start_with_items(&r, &kept);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "a", 0, &(weir_rpc_wire_options){ .timeout_ns = 20 * WEIR_MS });
    turns(&r, 50);
    pass_ms(&r, 25);
    expect_code(k, WEIR_RPC_DEADLINE_EXCEEDED);
    call_free(k);
    rig_stop(&r);
}

static void a_drain_refuses_what_waits_for_demand(void **state)
{
    rig r = { 0 };
    keeper kept = { 0 };
    (void)state;
    start_with_items(&r, &kept);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "a", 0, NULL);
    turns(&r, 50);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    expect_code(k, WEIR_RPC_UNAVAILABLE);
    call_free(k);
    rig_stop(&r);
}

static void an_items_call_may_leave_before_it_is_answered(void **state)
{
    rig r = { 0 };
    keeper kept = { 0 };
    (void)state;
    start_with_items(&r, &kept);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "a", 0, NULL);
    assert_int_equal(weir_request(weir_stage_in(kept.stage), 1), WEIR_OK);
    TURN_UNTIL(&r, kept.n == 1);
    call_free(k);
    TURN_UNTIL(&r, weir_context_status(kept.kept[0]->context, 0) == WEIR_ECANCELED);
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    assert_int_equal(weir_rpc_item_reply(kept.kept[0], &response.base), WEIR_ECLOSED);
    weir_item_ack(kept.kept[0]);
    rig_stop(&r);
}

/* ---- Drain and abort ---- */

static void a_drain_lets_calls_under_way_end(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, ECHO, NULL);
    send_data(k, 1, 10);
    TURN_UNTIL(&r, k->got.messages == 1);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    pass_ms(&r, 1500);
    assert_int_equal(weir_http_session_openable(c->session), 0);
    assert_false(r.finished);
    send_data(k, 2, 10);
    TURN_UNTIL(&r, k->got.messages == 2);
    call_end(k);
    expect_code(k, WEIR_RPC_OK);
    call_free(k);
    rig_stop(&r);
}

static void an_abort_cuts_calls_off(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, ECHO, NULL);
    send_data(k, 1, 10);
    TURN_UNTIL(&r, k->got.messages == 1);
    weir_pipeline_shutdown(r.pipeline, WEIR_ABORT, 0);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_not_equal(told.code, WEIR_RPC_OK);
    TURN_UNTIL(&r, k->got.over);
    call_free(k);
    rig_shutdown(&r, WEIR_ABORT);
}

/* ---- Trace ---- */

static void the_trace_of_the_caller_is_the_contexts(void **state)
{
    static const weir_http1_field parent = {
        { "traceparent", 11 }, { "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", 55 }
    };
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .begin = note_call };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0,
                           &(weir_rpc_wire_options){ .metadata = &parent, .metadata_count = 1 });
    TURN_UNTIL(&r, told.begins == 1);
    const weir_trace *trace = &weir_rpc_call_context(told.call)->trace;
    assert_int_equal(trace->trace_id[0], 0x0a);
    assert_int_equal(trace->trace_id[15], 0x9c);
    assert_int_equal(trace->flags, 1);
    assert_int_not_equal(trace->span_id[0] + trace->span_id[1], 0xb7 + 0xad);
    call_free(k);
    rig_stop(&r);
}

/* ---- Calls as stages ---- */

static weir_pipeline *inner;
static bool inner_finished;

static void inner_over(weir_pipeline *pipeline, weir_status status, void *user)
{
    (void)pipeline;
    (void)status;
    (void)user;
    inner_finished = true;
}

static const ProtobufCMessage *same(const weir_item *item, void *user)
{
    (void)user;
    return weir_rpc_message_of(item)->message;
}

static void echo_by_stages(weir_rpc_call *call, void *user)
{
    weir_loop *loop = weir_rpc_call_loop(call);
    (void)user;
    told.begins++;
    inner_finished = false;
    inner = weir_pipeline_new(NULL);
    weir_from(inner, weir_rpc_messages(call));
    weir_into(inner, weir_rpc_replies(call, same, NULL));
    assert_int_equal(weir_pipeline_start(inner, &loop, 1, inner_over, NULL), WEIR_OK);
}

static void start_staged(rig *r)
{
    serve_all(r);
    r->handlers[ECHO] = (weir_rpc_handler){ .begin = echo_by_stages, .over = note_over };
    rig_start(r);
}

static void inner_free(rig *r)
{
    TURN_UNTIL(r, inner_finished && told.overs == 1);
    weir_pipeline_free(inner);
}

static void a_call_is_a_source_and_a_sink(void **state)
{
    rig r = { 0 };
    (void)state;
    start_staged(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, ECHO, NULL);
    for (uint64_t i = 0; i < 500; i++) {
        TURN_UNTIL(&r, weir_http_exchange_room(k->exchange) > 0);
        send_data(k, i, 1000);
    }
    call_end(k);
    expect_code(k, WEIR_RPC_OK);
    assert_int_equal(k->got.messages, 500);
    call_free(k);
    inner_free(&r);
    assert_int_equal(told.code, WEIR_RPC_OK);
    rig_stop(&r);
}

/* ---- Into a pipeline that runs already ---- */

static weir_inlet *inlet;

static void offer_it(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    weir_item *item = weir_rpc_item(call);
    (void)message;
    (void)user;
    assert_non_null(item);
    if (weir_inlet_offer(inlet, item) != WEIR_OK)
        weir_item_end(item, WEIR_REJECTED, WEIR_EOVERLOAD);
}

static weir_status answer_alike(weir_item *item, void *user)
{
    const Streams__V1__ProcessRequest *asked =
        (const Streams__V1__ProcessRequest *)weir_rpc_message_of(item)->message;
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    (void)user;
    response.text = asked->text;
    return weir_rpc_item_reply(item, &response.base);
}

static void calls_go_into_the_inlet_of_a_pipeline_that_runs(void **state)
{
    rig r = { 0 };
    rcall *k[3];
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .message = offer_it };
    rig_start(&r);
    inner_finished = false;
    inlet = weir_inlet_new(weir_loop_env(r.loop), &(weir_inlet_config){ .items_max = 2 });
    inner = weir_pipeline_new(NULL);
    weir_from(inner, weir_from_inlet(inlet));
    weir_into(inner, weir_for_each(answer_alike, NULL));
    assert_int_equal(weir_pipeline_start(inner, &r.loop, 1, inner_over, NULL), WEIR_OK);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *first = ask_process(c, "alone", 0, NULL);
    expect_text(first, "alone");
    call_free(first);
    for (int i = 0; i < 3; i++) /* in one turn, and there is room for two */
        k[i] = ask_process(c, i == 0 ? "a" : i == 1 ? "b" : "c", 0, NULL);
    expect_text(k[0], "a");
    expect_text(k[1], "b");
    expect_code(k[2], WEIR_RPC_UNAVAILABLE);
    for (int i = 0; i < 3; i++)
        call_free(k[i]);
    weir_inlet_end(inlet);
    TURN_UNTIL(&r, inner_finished);
    weir_pipeline_free(inner);
    weir_inlet_free(inlet);
    rig_stop(&r);
}

static uint64_t credit_of(const weir_pipeline *pipeline)
{
    weir_edge_stats edge;
    assert_int_equal(weir_pipeline_edge_stats(pipeline, 0, &edge), WEIR_OK);
    return edge.credit;
}

/* Who reads nothing closes his window; that is no credit for the source, which closes the window of
 * who sends. And the other way round. */
static void the_windows_of_the_wire_are_credit_on_the_edge(void **state)
{
    rig r = { .config.no_gzip = true };
    (void)state;
    start_staged(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, ECHO, NULL);
    k->stingy = true;
    TURN_UNTIL(&r, told.begins == 1 && credit_of(inner) > 0);
    uint64_t sent = 0;
    for (int still = 0; still < 100 && sent < 1000; still++) {
        turns(&r, 1);
        if (weir_http_exchange_room(k->exchange) > 0) {
            send_data(k, sent++, 10000);
            still = 0;
        }
    }
    assert_in_range(sent, 2, 40); /* one in the sink, windows, what is to be sent */
    assert_int_equal(credit_of(inner), 0);
    k->stingy = false;
    weir_http_exchange_consume(k->exchange, k->unconsumed);
    TURN_UNTIL(&r, weir_http_exchange_room(k->exchange) > 0);
    call_end(k);
    TURN_UNTIL(&r, k->got.messages == sent);
    expect_code(k, WEIR_RPC_OK);
    call_free(k);
    inner_free(&r);
    rig_stop(&r);
}

/* Two that stream, and one whose messages go to both: the very same items. */
static weir_rpc_call *listeners[2];
static int listener_count;

static void listen_by_stages(weir_rpc_call *call, void *user)
{
    (void)user;
    listeners[listener_count++] = call;
}

static void speak_by_stages(weir_rpc_call *call, void *user)
{
    weir_loop *loop = weir_rpc_call_loop(call);
    (void)user;
    inner_finished = false;
    inner = weir_pipeline_new(NULL);
    weir_from(inner, weir_rpc_messages(call));
    weir_node *all = weir_via(inner, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    for (uint32_t i = 0; i < 2; i++)
        weir_link(all, i, weir_add(inner, weir_rpc_replies(listeners[i], same, NULL)), 0, NULL);
    assert_int_equal(weir_pipeline_start(inner, &loop, 1, inner_over, NULL), WEIR_OK);
}

static void items_wait_for_the_room_of_several_calls(void **state)
{
    enum { MESSAGES = 40, BYTES = 10000 };
    static uint8_t payload[BYTES];
    rig r = { .config.no_gzip = true };
    rcall *k[2];
    (void)state;
    serve_all(&r);
    listener_count = 0;
    r.handlers[STREAM_DATA] = (weir_rpc_handler){ .begin = listen_by_stages, .over = note_over };
    r.handlers[COLLECT] = (weir_rpc_handler){ .begin = speak_by_stages };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    for (int i = 0; i < 2; i++) {
        k[i] = call_start(c, STREAM_DATA, NULL);
        k[i]->stingy = true;
        send_count(k[i], 1, 1);
        TURN_UNTIL(&r, listener_count == i + 1);
    }
    rcall *speaker = call_start(c, COLLECT, NULL);
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    data.payload = (ProtobufCBinaryData){ BYTES, payload };
    for (int i = 0; i < MESSAGES; i++) {
        data.sequence = (uint64_t)i;
        call_send(speaker, &data.base);
    }
    call_end(speaker);
    TURN_UNTIL(&r, k[0]->got.messages > 4 && k[1]->got.messages > 4);
    turns(&r, 200);
    assert_true(k[0]->got.messages < MESSAGES);
    for (int i = 0; i < 2; i++) {
        k[i]->stingy = false;
        weir_http_exchange_consume(k[i]->exchange, k[i]->unconsumed);
    }
    for (int i = 0; i < 2; i++) {
        TURN_UNTIL(&r, k[i]->got.over);
        assert_int_equal(k[i]->got.code, WEIR_RPC_OK);
        assert_int_equal(k[i]->got.messages, MESSAGES);
    }
    TURN_UNTIL(&r, inner_finished);
    weir_pipeline_free(inner);
    call_free(speaker);
    call_free(k[0]);
    call_free(k[1]);
    rig_stop(&r);
}

/* One who has more messages than anybody takes: small ones at first, then large ones. */
enum { SMALL_BYTES = 10, LARGE_BYTES = 1 << 20, SMALL_COUNT = 2000 };
static uint64_t made, made_small, alive_bytes, most_alive;

static void one_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    (void)outcome;
    (void)status;
    alive_bytes -= item->cost;
}

static const weir_item_type made_type = { .name = "made", .ended = one_ended };

static void make_all(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)state;
    for (; credit > 0; credit--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), &made_type, 0);
        assert_non_null(item);
        item->cost = made++ < made_small ? SMALL_BYTES : LARGE_BYTES;
        alive_bytes += item->cost;
        most_alive = alive_bytes > most_alive ? alive_bytes : most_alive;
        weir_emit(out, item);
    }
}

static const weir_stage_type maker_type = {
    .name = "maker", .inputs = WEIR_PORTS_NONE, .acks = true, .on_demand = make_all
};

static const ProtobufCMessage *as_large(const weir_item *item, void *user)
{
    static uint8_t payload[LARGE_BYTES];
    static Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    (void)user;
    data.payload = (ProtobufCBinaryData){ item->cost, payload };
    return &data.base;
}

static uint32_t made_bytes_max; /* what the sink is told of them; 0: nothing */

static void make_by_stages(weir_rpc_call *call, void *user)
{
    weir_loop *loop = weir_rpc_call_loop(call);
    (void)user;
    told.begins++;
    told.call = call;
    inner_finished = false;
    inner = weir_pipeline_new(NULL);
    weir_from(inner, weir_stage_of(&maker_type, NULL));
    weir_node_window(weir_into(inner, weir_rpc_replies(call, as_large, NULL)),
                     &(weir_edge_config){ .item_bytes_max = made_bytes_max });
    assert_int_equal(weir_pipeline_start(inner, &loop, 1, inner_over, NULL), WEIR_OK);
}

static void a_slow_reader_holds_one_message_beside_what_the_transport_has(void **state)
{
    rig r = { .config.no_gzip = true };
    (void)state;
    serve_all(&r);
    made = alive_bytes = most_alive = 0;
    made_small = SMALL_COUNT;
    r.handlers[ECHO] = (weir_rpc_handler){ .begin = make_by_stages, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, ECHO, NULL);
    TURN_UNTIL(&r, made > SMALL_COUNT + 2); /* takes what comes: large ones do not wait for it */
    k->stingy = true;
    turns(&r, 200);
    uint64_t then = made;
    turns(&r, 200);
    assert_int_equal(made, then);
    assert_int_equal(most_alive, LARGE_BYTES);
    call_free(k);
    inner_free(&r);
    assert_int_equal(alive_bytes, 0);
    rig_stop(&r);
}

static uint64_t most_alive_of(uint32_t bytes_max)
{
    rig r = { .config.no_gzip = true };
    serve_all(&r);
    made = alive_bytes = most_alive = 0;
    made_small = UINT64_MAX;
    made_bytes_max = bytes_max;
    r.handlers[ECHO] = (weir_rpc_handler){ .begin = make_by_stages, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, ECHO, NULL);
    TURN_UNTIL(&r, made > SMALL_COUNT);
    call_free(k);
    inner_free(&r);
    assert_int_equal(alive_bytes, 0);
    rig_stop(&r);
    made_bytes_max = 0;
    return most_alive;
}

static void more_is_asked_for_at_once_of_items_that_are_surely_small(void **state)
{
    (void)state;
    assert_int_equal(most_alive_of(0), SMALL_BYTES);
    assert_in_range(most_alive_of(10000), 4 * SMALL_BYTES, 6 * SMALL_BYTES);
    assert_int_equal(most_alive_of(100), 64 * SMALL_BYTES);
}

static void stages_of_a_call_end_when_the_peer_leaves(void **state)
{
    rig r = { 0 };
    (void)state;
    start_staged(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = call_start(c, ECHO, NULL);
    k->stingy = true;
    for (uint64_t i = 0; i < 500 && weir_http_exchange_room(k->exchange) > 0; i++) {
        send_data(k, i, 1000);
        turns(&r, 3);
    }
    assert_true(k->got.messages < 400);
    call_free(k);
    inner_free(&r);
    assert_int_equal(told.code, WEIR_RPC_CANCELLED);
    rig_stop(&r);
}

/* ---- Ends ---- */

static void refuse_at_once(weir_rpc_call *call, void *user)
{
    (void)user;
    told.begins++;
    assert_int_equal(weir_rpc_finish(call, WEIR_RPC_FAILED_PRECONDITION, "not now"), WEIR_OK);
    assert_int_equal(weir_rpc_finish(call, WEIR_RPC_OK, NULL), WEIR_EEXIST);
    assert_int_equal(told.overs, told.begins - 1); /* not beneath it */
}

static void a_call_may_be_finished_while_the_caller_still_sends(void **state)
{
    rig r = { 0 };
    way w;
    int calls = 0;
    (void)state;
    serve_all(&r);
    r.handlers[COLLECT].begin = refuse_at_once;
    rig_start(&r);
    for (int at = 0; next_way(&w, &at); calls++) {
        client *c = client_new(&r, w.version);
        rcall *k = call_start(c, COLLECT, &w.options);
        send_data(k, 1, 1000);
        TURN_UNTIL(&r, (pass_ms(&r, 10), k->got.ended)); /* an end may wait for a second */
        assert_int_equal(k->got.code, WEIR_RPC_FAILED_PRECONDITION);
        assert_string_equal(k->got.text, "not now");
        TURN_UNTIL(&r, (pass_ms(&r, 10), told.overs == calls + 1));
        assert_int_equal(told.code, WEIR_RPC_FAILED_PRECONDITION);
        call_free(k);
        client_close(c);
    }
    rig_stop(&r);
}

static void finish_without_message(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)message;
    (void)user;
    assert_int_equal(weir_rpc_finish(call, WEIR_RPC_OK, NULL), WEIR_OK);
}

static void a_unary_call_without_a_response_is_internal(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS].message = finish_without_message;
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, NULL);
    expect_code(k, WEIR_RPC_INTERNAL);
    call_free(k);
    rig_stop(&r);
}

static void reply_without_a_json_form(weir_rpc_call *call, const ProtobufCMessage *message,
                                      void *user)
{
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    char text[] = "\xff";
    (void)message;
    (void)user;
    response.text = text;
    assert_int_equal(weir_rpc_reply(call, &response.base), WEIR_EINVAL);
}

static void reply_with_the_protocols_metadata(weir_rpc_call *call, const ProtobufCMessage *message,
                                              void *user)
{
    static const char *const reserved[] = {
        "grpc-status",
        "Grpc-Message",
        "grpc-anything",
        "GRPC-x-bin",
        "content-type",
        "Connect-Other",
        "te",
        "trailer-x",
        ":status",
        "host",
        "connection",
        "x y",
        "",
        "x-grpc-web",
        "x-user-agent",
        "grpc-anything-that-is-longer-than-any-name-of-the-protocols-could-ever-be-written"
    };
    static const char *const ours[] = { "grpc-trace-bin", "grpc-retry-pushback-ms",
                                        "user-agent",     "grpcx",
                                        "X-Any-Case",     "traceparent" };
    const Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    (void)message;
    (void)user;
    for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
        if (weir_rpc_add_metadata(call, reserved[i], "0", 1) != WEIR_EINVAL ||
            weir_rpc_add_trailer(call, reserved[i], "0", 1) != WEIR_EINVAL)
            fail_msg("%s is taken", reserved[i]);
    for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
        if (weir_rpc_add_metadata(call, ours[i], "0", 1) != WEIR_OK)
            fail_msg("%s is refused", ours[i]);
    assert_int_equal(weir_rpc_reply(call, &response.base), WEIR_OK);
}

static void a_response_that_cannot_be_sent_ends_its_call(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS].message = reply_without_a_json_form;
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, &(weir_rpc_wire_options){ .codec = WEIR_RPC_JSON });
    expect_code(k, WEIR_RPC_INTERNAL);
    call_free(k);
    rig_stop(&r);
}

static void metadata_of_the_protocols_own_names_is_refused_at_once(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS].message = reply_with_the_protocols_metadata;
    rig_start(&r);
    rcall *k = ask_process(client_new(&r, WEIR_HTTP_2), "x", 0, NULL);
    expect_code(k, WEIR_RPC_OK);
    call_free(k);
    rig_stop(&r);
}

static void what_is_null_is_refused_or_does_nothing(void **state)
{
    const weir_rpc_service *none[] = { weir_rpc_health_service(NULL) };
    weir_pipeline *p = weir_pipeline_new(NULL);
    (void)state;
    assert_null(none[0]);
    assert_null(weir_rpc_reflection_service(NULL, WEIR_RPC_REFLECTION_V1ALPHA));
    assert_null(weir_rpc_reflection_new(NULL, none, 1));
    assert_int_equal(weir_rpc_health_set(NULL, "", WEIR_RPC_HEALTH_SERVING), WEIR_EINVAL);
    weir_rpc_health_free(NULL);
    weir_rpc_reflection_free(NULL);
    weir_rpc_cancel(NULL);
    assert_null(weir_rpc_message_of(NULL));
    weir_add(p, weir_rpc_server(&(weir_rpc_server_config){ .services = none, .service_count = 1 }));
    assert_int_equal(weir_pipeline_check(p), WEIR_EINVAL);
    weir_pipeline_free(p);
}

static void refuse_with_metadata(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    static const weir_rpc_detail detail = { { "google.rpc.RetryInfo", 20 }, "\x0a\x02\x08\x01", 4 };
    weir_rpc_error error = { WEIR_RPC_ABORTED, { "once more", 9 }, &detail, 1 };
    (void)message;
    (void)user;
    assert_int_equal(weir_rpc_add_metadata(call, "x-head", "1", 1), WEIR_OK);
    assert_int_equal(weir_rpc_add_metadata(call, "x-bad", "a\nb", 3), WEIR_EINVAL);
    assert_int_equal(weir_rpc_add_metadata(call, "x bad", "a", 1), WEIR_EINVAL);
    assert_int_equal(weir_rpc_add_trailer(call, "x-tail-bin", "\0\1", 2), WEIR_OK);
    assert_int_equal(weir_rpc_finish_with(call, &error), WEIR_OK);
    assert_int_equal(weir_rpc_add_trailer(call, "x-late", "1", 1), WEIR_EEXIST);
}

static void errors_have_details_and_trailers(void **state)
{
    rig r = { 0 };
    way w;
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS].message = refuse_with_metadata;
    rig_start(&r);
    for (int at = 0; next_way(&w, &at);) {
        size_t n;
        client *c = client_new(&r, w.version);
        rcall *k = ask_process(c, "x", 0, &w.options);
        expect_code(k, WEIR_RPC_ABORTED);
        const weir_rpc_error *error = weir_rpc_wire_error(&k->wire);
        assert_int_equal(error->detail_count, 1);
        assert_int_equal(error->details[0].n, 4);
        const weir_http1_field *trailers = weir_rpc_wire_trailers(&k->wire, &n);
        bool found = false;
        for (size_t i = 0; i < n; i++)
            found |= trailers[i].value.len == 2 && memcmp(trailers[i].value.at, "\0\1", 2) == 0;
        assert_true(found);
        call_free(k);
        client_close(c);
    }
    rig_stop(&r);
}

static weir_context below;

static void begin_below(weir_rpc_call *call, void *user)
{
    (void)user;
    told.begins++;
    weir_context_init(&below, weir_rpc_call_loop(call), weir_rpc_call_context(call), 0);
}

static void a_calls_memory_waits_for_what_is_below_its_context(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .begin = begin_below, .over = note_over };
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, NULL);
    TURN_UNTIL(&r, told.begins == 1);
    call_free(k);
    TURN_UNTIL(&r, told.overs == 1);
    pass_ms(&r, 50);
    assert_int_equal(weir_context_status(&below, 0), WEIR_ECANCELED);
    weir_pipeline_shutdown(r.pipeline, WEIR_ABORT, 0);
    pass_ms(&r, 50);
    assert_false(r.finished);
    weir_context_done(&below);
    rig_shutdown(&r, WEIR_ABORT);
}

static weir_status finish_in_interceptor(weir_rpc_call *call, void *user)
{
    (void)user;
    return weir_rpc_finish(call, WEIR_RPC_UNAUTHENTICATED, "who?");
}

static void an_interceptor_may_finish_the_call(void **state)
{
    weir_rpc_interceptor guard = { .name = "guard", .begin = finish_in_interceptor };
    const weir_rpc_interceptor *one[] = { &guard };
    rig r = { .config = { .interceptors = one, .interceptor_count = 1 } };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    rcall *k = ask_process(c, "x", 0, NULL);
    expect_code(k, WEIR_RPC_UNAUTHENTICATED);
    assert_string_equal(k->got.text, "who?");
    turns(&r, 20);
    assert_int_equal(told.overs, 0);
    call_free(k);
    rig_stop(&r);
}

static void a_slow_reader_of_http1_stops_the_producer_too(void **state)
{
    rig r = { .config.send_bytes_max = 32768 };
    (void)state;
    serve_all(&r);
    r.handlers[STREAM_DATA].begin = note_call;
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_1);
    rcall *k = call_start(c, STREAM_DATA, &(weir_rpc_wire_options){ .protocol = WEIR_RPC_CONNECT });
    k->stingy = true;
    send_count(k, 10000000, 1000);
    TURN_UNTIL(&r, told.begins == 1);
    uint64_t before = 0;
    do {
        before = produced(told.call);
        turns(&r, 300);
    } while (produced(told.call) != before);
    assert_true(before > 50 && before < 20000);
    assert_int_equal(weir_rpc_room(told.call), 0);
    client_close(c);
    TURN_UNTIL(&r, told.overs == 1);
    assert_int_equal(told.code, WEIR_RPC_CANCELLED);
    call_free(k);
    rig_stop(&r);
}

/* ---- Figures ---- */

static void expect_figure(rig *r, const char *line)
{
    static char text[1 << 17];
    size_t n = weir_pipeline_metrics(r->pipeline, WEIR_OPENMETRICS, text, sizeof text);
    assert_true(n < sizeof text);
    if (strstr(text, line) == NULL)
        fail_msg("not among the metrics: %s", line);
}

#define LABELS "{pipeline=\"weir\",stage=\"rpc_server\",method=\"streams.v1.Streams/Process\""

static void the_metrics_show_calls_by_method_and_code(void **state)
{
    rig r = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    for (int i = 0; i < 3; i++) {
        rcall *k = ask_process(c, "x", i == 2 ? WEIR_RPC_ABORTED : 0, NULL);
        expect_code(k, i == 2 ? WEIR_RPC_ABORTED : WEIR_RPC_OK);
        call_free(k);
    }
    TURN_UNTIL(&r, told.overs == 3);
    expect_figure(&r, "# TYPE weir_rpc_server_calls_started counter\n");
    expect_figure(&r, "weir_rpc_server_calls_started_total" LABELS "} 3\n");
    expect_figure(&r, "weir_rpc_server_calls_completed_total" LABELS ",code=\"OK\"} 2\n");
    expect_figure(&r, "weir_rpc_server_calls_completed_total" LABELS ",code=\"ABORTED\"} 1\n");
    expect_figure(&r, "weir_rpc_server_calls_in_flight" LABELS "} 0\n");
    expect_figure(&r, "weir_rpc_server_messages_total" LABELS ",direction=\"received\"} 3\n");
    expect_figure(&r, "weir_rpc_server_messages_total" LABELS ",direction=\"sent\"} 2\n");
    expect_figure(&r, "weir_rpc_server_message_bytes_total" LABELS ",direction=\"sent\"} 6\n");
    expect_figure(&r, "weir_rpc_server_call_duration_seconds_count" LABELS "} 3\n");
    rig_stop(&r);
}

/* ---- Memory ---- */

static struct {
    long left; /* allocations until one fails; negative: none does */
    long live, hits, count;
} memory = { .left = -1 };

static void *failing_resize(void *at, size_t bytes, void *user)
{
    (void)user;
    if (bytes == 0) {
        memory.live -= at != NULL;
        free(at);
        return NULL;
    }
    memory.count++;
    if (memory.left >= 0 && memory.left-- == 0) {
        memory.hits++;
        return NULL;
    }
    void *got = realloc(at, bytes);
    memory.live += at == NULL;
    return got;
}

static void do_all(rig *r, client *c)
{
    rcall *a = ask_process(c, "hello", 0, &(weir_rpc_wire_options){ .timeout_ns = WEIR_SEC });
    rcall *b = call_start(c, STREAM_DATA, &(weir_rpc_wire_options){ .codec = WEIR_RPC_JSON });
    send_count(b, 100, 2000);
    rcall *d = call_start(
        c, COLLECT, &(weir_rpc_wire_options){ .protocol = WEIR_RPC_CONNECT, .timeout_ns = 1 });
    for (uint64_t i = 0; i < 5; i++)
        send_data(d, i, 3000);
    call_end(d);
    TURN_UNTIL(r, a->got.over && b->got.over && d->got.over);
    call_free(a);
    call_free(b);
    call_free(d);
}

static void every_allocation_may_fail_while_it_serves(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        rig r = { .allocator.resize = failing_resize };
        memory.left = -1;
        memory.live = memory.hits = 0;
        serve_all(&r);
        rig_start(&r);
        client *c = client_new(&r, WEIR_HTTP_2);
        memory.left = n;
        do_all(&r, c);
        memory.left = -1;
        c = client_new(&r, WEIR_HTTP_2);
        rcall *k = ask_process(c, "after", 0, NULL);
        expect_text(k, "after");
        call_free(k);
        rig_stop(&r);
        assert_int_equal(memory.live, 0);
        if (memory.hits == 0)
            break;
    }
}

static void every_allocation_may_fail_as_it_starts(void **state)
{
    (void)state;
    for (long n = 0;; n++) {
        rig r = { .allocator.resize = failing_resize };
        memory.live = memory.hits = 0;
        memory.left = n;
        serve_all(&r);
        weir_status status = rig_try_start(&r);
        for (int i = 0; i < 100 && r.loop != NULL && !r.finished && r.listeners == 0; i++)
            weir_loop_turn(r.loop);
        memory.left = -1;
        if (status == WEIR_OK) {
            weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
            TURN_UNTIL(&r, r.finished);
        }
        weir_pipeline_free(r.pipeline);
        weir_loop_free(r.loop);
        assert_int_equal(server_count_fds(), r.fds);
        assert_int_equal(memory.live, 0);
        if (memory.hits == 0)
            break;
    }
}

static void a_call_in_steady_state_allocates_nothing(void **state)
{
    rig r = { .allocator.resize = failing_resize };
    (void)state;
    memory.left = -1;
    serve_all(&r);
    rig_start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    for (int i = 0; i < 50; i++) {
        rcall *k = ask_process(c, "hello", 0, &(weir_rpc_wire_options){ .timeout_ns = WEIR_SEC });
        expect_text(k, "hello");
        call_free(k);
        k = call_start(c, STREAM_DATA, NULL);
        send_count(k, 20, 1000);
        expect_code(k, WEIR_RPC_OK);
        call_free(k);
        TURN_UNTIL(&r, told.overs == 2 * i + 2);
        if (i == 40)
            memory.count = 0;
    }
    assert_int_equal(memory.count, 0);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unary_call_is_answered),
        cmocka_unit_test(every_protocol_answers_unary_calls),
        cmocka_unit_test(every_protocol_streams_to_the_client),
        cmocka_unit_test(every_protocol_streams_to_the_server),
        cmocka_unit_test(every_protocol_streams_both_ways_at_once),
        cmocka_unit_test(messages_may_be_as_long_as_the_one_before_or_longer_or_shorter),
        cmocka_unit_test(unknown_and_unserved_methods_are_unimplemented),
        cmocka_unit_test(a_request_that_cannot_be_unpacked_is_an_invalid_argument),
        cmocka_unit_test(a_unary_call_takes_exactly_one_message),
        cmocka_unit_test(a_message_that_is_too_large_is_refused_from_its_prefix),
        cmocka_unit_test(more_calls_than_calls_max_are_unavailable),
        cmocka_unit_test(a_slow_reader_holds_no_more_than_send_bytes_max_and_a_message),
        cmocka_unit_test(what_is_not_asked_for_stays_with_the_sender),
        cmocka_unit_test(a_deadline_ends_the_call),
        cmocka_unit_test(the_server_has_a_default_and_a_longest_deadline),
        cmocka_unit_test(a_deadline_cuts_off_a_reader_that_takes_nothing),
        cmocka_unit_test(a_deadline_ends_a_call_whose_reader_takes_not_even_the_end),
        cmocka_unit_test(a_cancel_of_the_peer_reaches_the_context_at_once),
        cmocka_unit_test(a_peer_that_goes_away_cancels_its_calls),
        cmocka_unit_test(a_request_that_does_not_come_ends_its_call),
        cmocka_unit_test(a_request_that_comes_slowly_is_waited_for),
        cmocka_unit_test(silence_between_messages_is_not_cut),
        cmocka_unit_test(a_call_that_is_answered_slowly_is_not_cut_for_its_request),
        cmocka_unit_test(a_peer_of_http1_that_goes_away_cancels_its_call),
        cmocka_unit_test(a_get_may_have_what_browsers_leave_raw_in_its_query),
        cmocka_unit_test(a_call_of_http1_that_is_answered_at_once_may_be_half_closed),
        cmocka_unit_test(a_call_may_go_uncompressed),
        cmocka_unit_test(the_server_cancels_a_call),
        cmocka_unit_test(interceptors_stand_around_the_handler),
        cmocka_unit_test(requests_are_items_by_demand),
        cmocka_unit_test(how_an_item_ends_is_the_answer),
        cmocka_unit_test(calls_that_wait_for_demand_have_their_deadline),
        cmocka_unit_test(a_drain_refuses_what_waits_for_demand),
        cmocka_unit_test(an_items_call_may_leave_before_it_is_answered),
        cmocka_unit_test(a_drain_lets_calls_under_way_end),
        cmocka_unit_test(an_abort_cuts_calls_off),
        cmocka_unit_test(the_trace_of_the_caller_is_the_contexts),
        cmocka_unit_test(calls_go_into_the_inlet_of_a_pipeline_that_runs),
        cmocka_unit_test(a_call_is_a_source_and_a_sink),
        cmocka_unit_test(the_windows_of_the_wire_are_credit_on_the_edge),
        cmocka_unit_test(items_wait_for_the_room_of_several_calls),
        cmocka_unit_test(a_slow_reader_holds_one_message_beside_what_the_transport_has),
        cmocka_unit_test(more_is_asked_for_at_once_of_items_that_are_surely_small),
        cmocka_unit_test(stages_of_a_call_end_when_the_peer_leaves),
        cmocka_unit_test(a_call_may_be_finished_while_the_caller_still_sends),
        cmocka_unit_test(a_unary_call_without_a_response_is_internal),
        cmocka_unit_test(a_response_that_cannot_be_sent_ends_its_call),
        cmocka_unit_test(metadata_of_the_protocols_own_names_is_refused_at_once),
        cmocka_unit_test(what_is_null_is_refused_or_does_nothing),
        cmocka_unit_test(errors_have_details_and_trailers),
        cmocka_unit_test(a_calls_memory_waits_for_what_is_below_its_context),
        cmocka_unit_test(an_interceptor_may_finish_the_call),
        cmocka_unit_test(a_slow_reader_of_http1_stops_the_producer_too),
        cmocka_unit_test(the_metrics_show_calls_by_method_and_code),
        cmocka_unit_test(every_allocation_may_fail_while_it_serves),
        cmocka_unit_test(every_allocation_may_fail_as_it_starts),
        cmocka_unit_test(a_call_in_steady_state_allocates_nothing),
    };
    rig_hook_libevent(failing_resize);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
