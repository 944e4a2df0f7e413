/* The client of RPC against the server of RPC, over real sockets on one loop: every kind of call in
 * every protocol, connections that come and go, deadlines, cancels, retries, limits. */
#include "rpc_rig.h"

#include <weir/rpc_client.h>

/* ---- The server ---- */

/* What the server's handlers were told, and what they are to do. */
static struct {
    int begins, overs, gets;
    weir_rpc_code code;
    weir_rpc_call *kept;
    int unavailable; /* how many calls are refused so */
    bool keeps;      /* unary calls are not answered */
    char previous[16], traceparent[64], pushback[16];
} served;

static void copy_metadata(const weir_rpc_call *call, const char *name, char *to, size_t cap)
{
    weir_http1_span value = weir_rpc_metadata_find(call, name);
    snprintf(to, cap, "%.*s", (int)value.len, value.at != NULL ? value.at : "");
}

static void process(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    const Streams__V1__ProcessRequest *request = (const Streams__V1__ProcessRequest *)message;
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    (void)user;
    served.begins++;
    copy_metadata(call, "grpc-previous-rpc-attempts", served.previous, sizeof served.previous);
    copy_metadata(call, "traceparent", served.traceparent, sizeof served.traceparent);
    if (served.unavailable > 0) {
        served.unavailable--;
        if (served.pushback[0] != '\0')
            assert_int_equal(weir_rpc_add_trailer(call, "grpc-retry-pushback-ms", served.pushback,
                                                  strlen(served.pushback)),
                             WEIR_OK);
        assert_int_equal(weir_rpc_finish(call, WEIR_RPC_UNAVAILABLE, "not now"), WEIR_OK);
        return;
    }
    served.kept = call;
    if (served.keeps)
        return;
    if (request->fail_with != 0) {
        assert_int_equal(weir_rpc_add_trailer(call, "x-behind", "1", 1), WEIR_OK);
        assert_int_equal(weir_rpc_finish(call, (weir_rpc_code)request->fail_with, request->text),
                         WEIR_OK);
        return;
    }
    assert_int_equal(weir_rpc_add_metadata(call, "x-before", "2", 1), WEIR_OK);
    assert_int_equal(weir_rpc_add_trailer(call, "x-behind", "1", 1), WEIR_OK);
    response.text = request->text;
    assert_int_equal(weir_rpc_reply(call, &response.base), WEIR_OK);
}

typedef struct stream {
    uint64_t count, sent, messages, bytes;
    size_t payload;
} stream;

static uint64_t produced;

static void produce(weir_rpc_call *call, void *user)
{
    static uint8_t payload[65536];
    stream *s = weir_rpc_call_state(call);
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    (void)user;
    data.payload = (ProtobufCBinaryData){ s->payload, payload };
    while (s->sent < s->count && weir_rpc_room(call) > 0) {
        data.sequence = s->sent++;
        produced = s->sent;
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
    served.kept = call;
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

static void note_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)user;
    if (served.kept == call)
        served.kept = NULL;
    served.overs++;
    served.code = code;
}

static void serve_all(rig *r)
{
    memset(&served, 0, sizeof served);
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

/* ---- The client ---- */

typedef struct caller {
    rig *r;
    weir_rpc_call *call;            /* NULL: over */
    uint64_t to_send, sent, to_ask; /* to_ask: for each message; 0: none */
    size_t payload;
    int begins, overs, rooms;
    uint64_t messages;
    bool inside; /* a function of the channel: nothing may be told beneath it */
    weir_rpc_code code;
    char text[256], error[256], before[16], behind[16];
    uint64_t collected;
    uint64_t over_at_ms;
} caller;

static weir_rpc_channel *channel_of(rig *r, weir_rpc_channel_config config)
{
    static char targets[4][64];
    static int at;
    const char *why = "";
    weir_rpc_channel *channel = NULL;
    char *target = targets[at++ % 4];
    snprintf(target, sizeof targets[0], "%s://127.0.0.1:%u",
             config.tls_insecure || config.tls_ca_file != NULL ? "https" : "http", r->port);
    if (config.target == NULL)
        config.target = target;
    if (weir_rpc_channel_new(r->loop, &config, &channel, &why) != WEIR_OK)
        fail_msg("%s", why);
    return channel;
}

static void on_begin(weir_rpc_call *call, void *user)
{
    caller *c = user;
    assert_false(c->inside);
    c->begins++;
    copy_metadata(call, "x-before", c->before, sizeof c->before);
    if (c->to_ask > 0)
        weir_rpc_request(call, c->to_ask);
}

static void on_message(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    caller *c = user;
    assert_false(c->inside);
    assert_int_equal(c->overs, 0);
    assert_int_equal(c->begins, 1);
    c->messages++;
    if (weir_rpc_call_method(call) == &streams_methods[PROCESS])
        snprintf(c->text, sizeof c->text, "%s",
                 ((const Streams__V1__ProcessResponse *)message)->text);
    else if (weir_rpc_call_method(call) == &streams_methods[COLLECT])
        c->collected = ((const Streams__V1__CollectResponse *)message)->messages;
    else if (c->to_ask > 0)
        weir_rpc_request(call, 1);
}

static void on_room(weir_rpc_call *call, void *user)
{
    static uint8_t payload[65536];
    caller *c = user;
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    assert_false(c->inside);
    c->rooms++;
    data.payload = (ProtobufCBinaryData){ c->payload, payload };
    while (c->sent < c->to_send) {
        weir_status status = weir_rpc_send(call, &data.base);
        if (status == WEIR_EAGAIN)
            return;
        assert_int_equal(status, WEIR_OK);
        c->sent++;
    }
    if (c->to_send > 0)
        assert_int_equal(weir_rpc_send_end(call), WEIR_OK);
}

static void on_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    caller *c = user;
    const weir_rpc_error *error = weir_rpc_call_error(call);
    weir_http1_span behind = weir_rpc_trailer_find(call, "x-behind");
    assert_false(c->inside);
    c->overs++;
    c->code = code;
    c->call = NULL;
    c->over_at_ms = c->r->clock_ns / WEIR_MS;
    assert_int_equal(error->code, code);
    snprintf(c->error, sizeof c->error, "%.*s", (int)error->text.len, error->text.at);
    snprintf(c->behind, sizeof c->behind, "%.*s", (int)behind.len, behind.at ? behind.at : "");
}

static const weir_rpc_handler calls = {
    .begin = on_begin, .message = on_message, .room = on_room, .over = on_over
};

static weir_status try_ask(caller *c, rig *r, weir_rpc_channel *channel, const char *text,
                           int fail_with, const weir_rpc_options *options)
{
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    memset(c, 0, sizeof *c);
    c->r = r;
    request.text = (char *)(uintptr_t)text;
    request.fail_with = fail_with;
    c->inside = true;
    weir_status status = weir_rpc_ask(channel, &streams_methods[PROCESS], options, &request.base,
                                      &calls, c, &c->call);
    c->inside = false;
    return status;
}

static void ask(caller *c, rig *r, weir_rpc_channel *channel, const char *text, int fail_with,
                const weir_rpc_options *options)
{
    assert_int_equal(try_ask(c, r, channel, text, fail_with, options), WEIR_OK);
}

static void start(caller *c, rig *r, weir_rpc_channel *channel, int method,
                  const weir_rpc_options *options)
{
    c->r = r;
    c->inside = true;
    assert_int_equal(
        weir_rpc_start(channel, &streams_methods[method], options, &calls, c, &c->call), WEIR_OK);
    c->inside = false;
}

static void stream_of(caller *c, rig *r, weir_rpc_channel *channel, uint64_t n, uint32_t payload)
{
    Streams__V1__StreamDataRequest request = STREAMS__V1__STREAM_DATA_REQUEST__INIT;
    request.count = n;
    request.payload_bytes = payload;
    c->r = r;
    c->inside = true;
    assert_int_equal(weir_rpc_ask(channel, &streams_methods[STREAM_DATA], NULL, &request.base,
                                  &calls, c, &c->call),
                     WEIR_OK);
    c->inside = false;
}

static void expect(caller *c, weir_rpc_code code)
{
    TURN_UNTIL(c->r, c->overs > 0);
    if (c->code != code)
        fail_msg("%s instead of %s: %s", weir_rpc_code_name(c->code), weir_rpc_code_name(code),
                 c->error);
}

static weir_rpc_channel_stats stats_of(const weir_rpc_channel *channel)
{
    weir_rpc_channel_stats stats;
    weir_rpc_channel_stats_get(channel, &stats);
    return stats;
}

static void stop(rig *r, weir_rpc_channel *channel)
{
    weir_rpc_channel_free(channel);
    turns(r, 5);
    rig_stop(r);
}

static void a_unary_call_is_answered(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    for (int i = 0; i < 3; i++) {
        ask(&c, &r, channel, "hello", 0, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_string_equal(c.text, "hello");
        assert_string_equal(c.before, "2");
        assert_string_equal(c.behind, "1");
        assert_int_equal(c.begins, 1);
        assert_int_equal(strlen(served.traceparent), 55);
    }
    ask(&c, &r, channel, "no such thing", WEIR_RPC_NOT_FOUND, NULL);
    expect(&c, WEIR_RPC_NOT_FOUND);
    assert_string_equal(c.error, "no such thing");
    assert_string_equal(c.behind, "1");
    weir_rpc_channel_stats stats = stats_of(channel);
    assert_int_equal(stats.started, 4);
    assert_int_equal(stats.succeeded, 3);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.calls, 0);
    assert_int_equal(stats.connects, 1);
    assert_int_equal(stats.connected, 1);
    stop(&r, channel);
}

/* ---- Every kind, protocol, version, codec, with gzip and without ---- */

static bool next_way(weir_rpc_channel_config *config, int *at)
{
    for (; *at < 24; (*at)++) {
        *config = (weir_rpc_channel_config){ .protocol = (weir_rpc_protocol)(*at / 8),
                                             .http = *at & 1 ? WEIR_RPC_HTTP1 : WEIR_RPC_HTTP2,
                                             .codec = *at & 2 ? WEIR_RPC_JSON : WEIR_RPC_PROTO,
                                             .gzip = (*at & 4) != 0,
                                             .gzip_bytes_min = 16 };
        if (config->protocol == WEIR_RPC_GRPC && config->http == WEIR_RPC_HTTP1)
            continue;
        (*at)++;
        return true;
    }
    return false;
}

static void every_way_answers_every_kind(void **state)
{
    static const char text[] =
        "a text that is long enough to be compressed, compressed, compressed";
    rig r = { 0 };
    weir_rpc_channel_config config;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    for (int at = 0; next_way(&config, &at);) {
        weir_rpc_channel *channel = channel_of(&r, config);
        caller c;
        for (int i = 0; i < 3; i++) {
            ask(&c, &r, channel, text, 0, NULL);
            expect(&c, WEIR_RPC_OK);
            assert_string_equal(c.text, text);
            assert_string_equal(c.behind, "1");
        }
        ask(&c, &r, channel, text, WEIR_RPC_ABORTED, NULL);
        expect(&c, WEIR_RPC_ABORTED);
        assert_string_equal(c.error, text);
        c = (caller){ .to_ask = 2 };
        stream_of(&c, &r, channel, 300, 1000);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.messages, 300);
        c = (caller){ .to_send = 200, .payload = 1000 };
        start(&c, &r, channel, COLLECT, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.collected, 200);
        c = (caller){ .to_send = 50, .payload = 1000, .to_ask = 1 };
        start(&c, &r, channel, ECHO, NULL);
        expect(&c, WEIR_RPC_OK);
        assert_int_equal(c.messages, 50);
        weir_rpc_channel_free(channel);
        turns(&r, 5);
    }
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unary_call_is_answered),
        cmocka_unit_test(every_way_answers_every_kind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
