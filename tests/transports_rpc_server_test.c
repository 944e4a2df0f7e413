/* The RPC server over real sockets, with raw clients: every kind of call in every protocol, demand,
 * deadlines, cancels, limits, interceptors, items, drain. */
#include "rpc_rig.h"

/* ---- Handlers ---- */

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
    assert_int_equal(weir_rpc_reply(call, &response.base), WEIR_OK);
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
        assert_int_equal(weir_rpc_send(call, &data.base), WEIR_OK);
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
    assert_int_equal(weir_rpc_reply(call, &response.base), WEIR_OK);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unary_call_is_answered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
