/* A server of the streams service that does what tests say, and calls of channels that note what
 * they are told. Beside rpc_rig.h. */
#ifndef RPC_CLIENT_RIG_H
#define RPC_CLIENT_RIG_H

#include "rpc_rig.h"

#include <weir/rpc_client.h>

/* ---- The server ---- */

static bool memory_fails;

static inline void works(weir_status status)
{
    if (status != WEIR_ENOMEM || !memory_fails)
        assert_int_equal(status, WEIR_OK);
}

/* What the server's handlers were told, and what they are to do. */
static struct {
    int begins, overs, gets;
    weir_rpc_code code;
    weir_rpc_call *kept[64];
    int kept_count;
    int unavailable; /* how many calls are refused so */
    bool keeps;      /* unary calls are not answered */
    char previous[16], traceparent[64], pushback[16];
} served;

static inline void copy_metadata(const weir_rpc_call *call, const char *name, char *to, size_t cap)
{
    weir_http1_span value = weir_rpc_metadata_find(call, name);
    snprintf(to, cap, "%.*s", (int)value.len, value.at != NULL ? value.at : "");
}

static inline void keep(weir_rpc_call *call)
{
    assert_true(served.kept_count < 64);
    served.kept[served.kept_count++] = call;
}

static inline void answer_one(void)
{
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    assert_true(served.kept_count > 0);
    response.text = (char *)(uintptr_t) "late";
    works(weir_rpc_reply(served.kept[0], &response.base));
    memmove(served.kept, served.kept + 1, (size_t)--served.kept_count * sizeof served.kept[0]);
}

static inline void process(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
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
            works(weir_rpc_add_trailer(call, "grpc-retry-pushback-ms", served.pushback,
                                       strlen(served.pushback)));
        works(weir_rpc_finish(call, WEIR_RPC_UNAVAILABLE, "not now"));
        return;
    }
    if (served.keeps) {
        keep(call);
        return;
    }
    if (request->fail_with != 0) {
        works(weir_rpc_add_trailer(call, "x-behind", "1", 1));
        works(weir_rpc_finish(call, (weir_rpc_code)request->fail_with, request->text));
        return;
    }
    works(weir_rpc_add_metadata(call, "x-before", "2", 1));
    works(weir_rpc_add_trailer(call, "x-behind", "1", 1));
    response.text = request->text;
    works(weir_rpc_reply(call, &response.base));
}

typedef struct stream {
    uint64_t count, sent, messages, bytes;
    size_t payload;
} stream;

static uint64_t produced;

static inline void produce(weir_rpc_call *call, void *user)
{
    static uint8_t payload[65536];
    stream *s = weir_rpc_call_state(call);
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    (void)user;
    data.payload = (ProtobufCBinaryData){ s->payload, payload };
    while (s->sent < s->count && weir_rpc_room(call) > 0) {
        data.sequence = s->sent++;
        produced = s->sent;
        works(weir_rpc_send(call, &data.base));
    }
    if (s->count != 0 && s->sent == s->count)
        (void)weir_rpc_finish(call, WEIR_RPC_OK, NULL);
}

static inline void stream_data(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    const Streams__V1__StreamDataRequest *request = (const Streams__V1__StreamDataRequest *)message;
    stream *s = weir_rpc_call_state(call);
    s->count = request->count;
    s->payload = request->payload_bytes;
    produce(call, user);
}

static inline void ask_all(weir_rpc_call *call, void *user)
{
    (void)user;
    weir_rpc_request(call, WEIR_UNBOUNDED);
}

static inline void ask_one(weir_rpc_call *call, void *user)
{
    (void)user;
    if (served.keeps)
        keep(call);
    else
        weir_rpc_request(call, 1);
}

static inline void count(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    stream *s = weir_rpc_call_state(call);
    (void)user;
    s->messages++;
    s->bytes += ((const Streams__V1__Data *)message)->payload.len;
}

static inline void count_end(weir_rpc_call *call, void *user)
{
    const stream *s = weir_rpc_call_state(call);
    Streams__V1__CollectResponse response = STREAMS__V1__COLLECT_RESPONSE__INIT;
    (void)user;
    response.messages = s->messages;
    response.bytes = s->bytes;
    works(weir_rpc_reply(call, &response.base));
}

static inline void echo(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)user;
    works(weir_rpc_send(call, message));
    if (weir_rpc_room(call) > 0)
        weir_rpc_request(call, 1);
    else
        *(bool *)weir_rpc_call_state(call) = true;
}

static inline void echo_more(weir_rpc_call *call, void *user)
{
    bool *waits = weir_rpc_call_state(call);
    (void)user;
    if (*waits)
        weir_rpc_request(call, 1);
    *waits = false;
}

static inline void finish_well(weir_rpc_call *call, void *user)
{
    (void)user;
    works(weir_rpc_finish(call, WEIR_RPC_OK, NULL));
}

static inline void note_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)user;
    for (int i = 0; i < served.kept_count; i++)
        if (served.kept[i] == call)
            served.kept[i] = served.kept[--served.kept_count];
    served.overs++;
    served.code = code;
}

static inline void serve_all(rig *r)
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
    r->handlers[ECHO] = (weir_rpc_handler){ .begin = ask_one,
                                            .message = echo,
                                            .end = finish_well,
                                            .room = echo_more,
                                            .over = note_over,
                                            .state_size = sizeof(bool) };
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

static inline weir_rpc_channel *channel_of(rig *r, weir_rpc_channel_config config)
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

static inline void on_begin(weir_rpc_call *call, void *user)
{
    caller *c = user;
    assert_false(c->inside);
    c->begins++;
    copy_metadata(call, "x-before", c->before, sizeof c->before);
    if (c->to_ask > 0)
        weir_rpc_request(call, c->to_ask);
}

static inline void on_message(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
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

static inline void on_room(weir_rpc_call *call, void *user)
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
        if (status == WEIR_ENOMEM && memory_fails)
            weir_rpc_cancel(call);
        else if (status != WEIR_ECLOSED || !memory_fails)
            assert_int_equal(status, WEIR_OK);
        if (status != WEIR_OK)
            return;
        c->sent++;
    }
    weir_status status = c->to_send > 0 ? weir_rpc_send_end(call) : WEIR_OK;
    if (status == WEIR_ENOMEM && memory_fails)
        weir_rpc_cancel(call);
    else
        assert_int_equal(status, WEIR_OK);
}

static inline void on_over(weir_rpc_call *call, weir_rpc_code code, void *user)
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

static inline weir_status try_ask(caller *c, rig *r, weir_rpc_channel *channel, const char *text,
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

static inline void ask(caller *c, rig *r, weir_rpc_channel *channel, const char *text,
                       int fail_with, const weir_rpc_options *options)
{
    assert_int_equal(try_ask(c, r, channel, text, fail_with, options), WEIR_OK);
}

static inline void start(caller *c, rig *r, weir_rpc_channel *channel, int method,
                         const weir_rpc_options *options)
{
    c->r = r;
    c->inside = true;
    assert_int_equal(
        weir_rpc_start(channel, &streams_methods[method], options, &calls, c, &c->call), WEIR_OK);
    c->inside = false;
}

static inline void stream_of(caller *c, rig *r, weir_rpc_channel *channel, uint64_t n,
                             uint32_t payload)
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

static inline void expect(caller *c, weir_rpc_code code)
{
    TURN_UNTIL(c->r, c->overs > 0);
    if (c->code != code)
        fail_msg("%s instead of %s: %s", weir_rpc_code_name(c->code), weir_rpc_code_name(code),
                 c->error);
}

static inline weir_rpc_channel_stats stats_of(const weir_rpc_channel *channel)
{
    weir_rpc_channel_stats stats;
    weir_rpc_channel_stats_get(channel, &stats);
    return stats;
}

static inline void stop(rig *r, weir_rpc_channel *channel)
{
    weir_rpc_channel_free(channel);
    turns(r, 5);
    rig_stop(r);
}

#endif
