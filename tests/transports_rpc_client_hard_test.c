/* Calls in awkward hands: slow readers, pipelines that stop early, contexts that go at once, and
 * what a handler may do from any of its callbacks. */
#include "rpc_client_rig.h"

#include <weir/stages.h>

#include <malloc.h>

enum { ENDLESS = 1 << 30 };

/* ---- Memory of slow readers ---- */

static size_t in_use, most_in_use;

static void *measured_resize(void *memory, size_t bytes, void *user)
{
    (void)user;
    if (memory != NULL)
        in_use -= malloc_usable_size(memory);
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    void *at = realloc(memory, bytes);
    assert_non_null(at);
    in_use += malloc_usable_size(at);
    if (in_use > most_in_use)
        most_in_use = in_use;
    return at;
}

static void ask_first(weir_rpc_call *call, void *user)
{
    ((caller *)user)->begins++;
    weir_rpc_request(call, 1);
}

static void count_message(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)call;
    (void)message;
    ((caller *)user)->messages++;
}

static const weir_rpc_handler slow = { .begin = ask_first,
                                       .message = count_message,
                                       .over = on_over };

static void a_reader_that_is_always_behind_holds_a_window_and_no_more(void **state)
{
    enum { MESSAGES = 20000, BYTES = 1000 };
    rig r = { .allocator = { measured_resize, NULL } };
    caller c = { .r = &r };
    uint64_t asked = 1;
    Streams__V1__StreamDataRequest request = STREAMS__V1__STREAM_DATA_REQUEST__INIT;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    request.count = MESSAGES;
    request.payload_bytes = BYTES;
    assert_int_equal(weir_rpc_ask(channel, &streams_methods[STREAM_DATA], NULL, &request.base,
                                  &slow, &c, &c.call),
                     WEIR_OK);
    TURN_UNTIL(&r, c.messages == 1);
    turns(&r, 20);
    size_t before = most_in_use = in_use;
    while (c.messages < MESSAGES) {
        if (c.messages == asked) {
            weir_rpc_request(c.call, 7);
            asked += 7;
        }
        turn(&r);
    }
    expect(&c, WEIR_RPC_OK);
    if (most_in_use - before > 1 << 20)
        fail_msg("%zu bytes more than at first", most_in_use - before);
    stop(&r, channel);
}

/* Takes one at a time, a turn apart, and answers with how many there were. */
static weir_rpc_call *taker;
static uint64_t taken;

static void take_first(weir_rpc_call *call, void *user)
{
    (void)user;
    taker = call;
    taken = 0;
}

static void take_one(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    (void)call;
    (void)message;
    (void)user;
    taken++;
}

static void take_end(weir_rpc_call *call, void *user)
{
    Streams__V1__CollectResponse response = STREAMS__V1__COLLECT_RESPONSE__INIT;
    (void)user;
    response.messages = taken;
    taker = NULL;
    works(weir_rpc_reply(call, &response.base));
}

static void a_server_that_is_always_behind_holds_a_window_and_no_more(void **state)
{
    enum { MESSAGES = 20000, BYTES = 1000 };
    rig r = { .allocator = { measured_resize, NULL } };
    caller c = { .to_send = MESSAGES, .payload = BYTES };
    (void)state;
    serve_all(&r);
    r.handlers[COLLECT] = (weir_rpc_handler){
        .begin = take_first, .message = take_one, .end = take_end, .over = note_over
    };
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    start(&c, &r, channel, COLLECT, NULL);
    TURN_UNTIL(&r, taker != NULL);
    turns(&r, 20);
    size_t before = most_in_use = in_use;
    while (c.overs == 0) {
        if (taker != NULL)
            weir_rpc_request(taker, 7);
        turn(&r);
    }
    expect(&c, WEIR_RPC_OK);
    assert_int_equal(c.collected, MESSAGES);
    if (most_in_use - before > 1 << 20)
        fail_msg("%zu bytes more than at first", most_in_use - before);
    stop(&r, channel);
}

/* What calls had not taken in when they were cancelled is given back to their connection. */
static void cancelled_calls_leave_the_window_of_their_connection_open(void **state)
{
    rig r = { 0 };
    caller c[40];
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel =
        channel_of(&r, (weir_rpc_channel_config){ .connection_window_bytes = 256 * 1024 });
    for (int i = 0; i < 40; i++) {
        c[i] = (caller){ 0 };
        stream_of(&c[i], &r, channel, ENDLESS, 1000);
        if (i % 4 != 3)
            continue;
        turns(&r, 30);
        for (int j = i - 3; j <= i; j++)
            weir_rpc_cancel(c[j].call);
        for (int j = i - 3; j <= i; j++)
            expect(&c[j], WEIR_RPC_CANCELLED);
    }
    c[0] = (caller){ .to_ask = 3 };
    stream_of(&c[0], &r, channel, 1000, 1000);
    expect(&c[0], WEIR_RPC_OK);
    assert_int_equal(c[0].messages, 1000);
    assert_int_equal(stats_of(channel).connects, 1);
    stop(&r, channel);
}

/* ---- Pipelines of a call ---- */

static bool piped;

static void pipe_over(weir_pipeline *pipeline, weir_status status, void *user)
{
    (void)pipeline;
    (void)status;
    (void)user;
    piped = true;
}

static int sunk;

static weir_status sink_one(weir_item *item, void *user)
{
    (void)item;
    (void)user;
    sunk++;
    return WEIR_OK;
}

/* The stream has no end: taking three of it has to end it. */
static void a_pipeline_that_takes_a_few_messages_ends_the_call(void **state)
{
    rig r = { 0 };
    caller c = { 0 };
    (void)state;
    serve_all(&r);
    rig_start(&r);
    piped = false;
    sunk = 0;
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    stream_of(&c, &r, channel, ENDLESS, 1000);
    weir_pipeline *pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &r.env });
    weir_from(pipeline, weir_rpc_messages(c.call));
    weir_via(pipeline, weir_take(3));
    weir_into(pipeline, weir_for_each(sink_one, NULL));
    assert_int_equal(weir_pipeline_start(pipeline, &r.loop, 1, pipe_over, NULL), WEIR_OK);
    TURN_UNTIL(&r, piped);
    assert_int_equal(sunk, 3);
    expect(&c, WEIR_RPC_CANCELLED);
    weir_pipeline_free(pipeline);
    TURN_UNTIL(&r, served.overs == 1);
    stop(&r, channel);
}

/* At every point of a call's life its pipeline may be shut down, in each way. */
static void a_pipeline_of_a_call_may_stop_at_any_time(void **state)
{
    (void)state;
    for (int i = 0; i < 60; i++) {
        rig r = { 0 };
        caller c = { 0 };
        serve_all(&r);
        rig_start(&r);
        piped = false;
        weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
        stream_of(&c, &r, channel, i % 2 == 0 ? ENDLESS : 200, 1000);
        weir_pipeline *pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &r.env });
        weir_from(pipeline, weir_rpc_messages(c.call));
        weir_into(pipeline, weir_for_each(sink_one, NULL));
        assert_int_equal(weir_pipeline_start(pipeline, &r.loop, 1, pipe_over, NULL), WEIR_OK);
        turns(&r, i / 4);
        weir_pipeline_shutdown(pipeline, i % 4 < 2 ? WEIR_DRAIN : WEIR_ABORT, 0);
        TURN_UNTIL(&r, (pass_ms(&r, 1), piped));
        TURN_UNTIL(&r, (pass_ms(&r, 1), c.overs > 0));
        weir_pipeline_free(pipeline);
        assert_int_equal(c.overs, 1);
        weir_rpc_channel_free(channel);
        turns(&r, 20);
        assert_int_equal(served.begins, 0);
        rig_stop(&r);
    }
}

/* ---- Contexts ---- */

static weir_context *going;
static rig *the_rig;
static caller second;
static weir_rpc_channel *the_channel;

static void context_goes(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    on_over(call, code, user);
    weir_context_done(going);
    memset(going, 0xa5, sizeof *going);
}

/* The caller's context lasts until `over`; what is below the call's own may last longer. */
static void a_callers_context_goes_at_over_whatever_is_below_the_calls(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        rig r = { 0 };
        caller c = { .r = &r };
        weir_context context;
        weir_rpc_handler handler = { .over = context_goes };
        Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
        serve_all(&r);
        rig_start(&r);
        served.keeps = true;
        weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
        weir_context_init(&context, r.loop, NULL, 0);
        going = &context;
        assert_int_equal(weir_rpc_ask(channel, &streams_methods[PROCESS],
                                      &(weir_rpc_options){ .context = &context }, &request.base,
                                      &handler, &c, &c.call),
                         WEIR_OK);
        ask(&second, &r, channel, "x", 0,
            &(weir_rpc_options){ .context = weir_rpc_call_context(c.call) });
        TURN_UNTIL(&r, served.kept_count == 2);
        if (i == 0)
            weir_rpc_cancel(c.call);
        else
            answer_one();
        expect(&c, i == 0 ? WEIR_RPC_CANCELLED : WEIR_RPC_OK);
        if (i == 1)
            answer_one();
        expect(&second, i == 0 ? WEIR_RPC_CANCELLED : WEIR_RPC_OK);
        pass_ms(&r, 50);
        stop(&r, channel);
    }
}

/* ---- Calls that are started in `over`, below the one that ends ---- */

static void start_next(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    on_over(call, code, user);
    ask(&second, the_rig, the_channel, "next", 0,
        &(weir_rpc_options){ .context = weir_rpc_call_context(call) });
}

static void a_call_may_be_started_in_over(void **state)
{
    rig r = { 0 };
    caller c = { .r = &r };
    weir_rpc_handler handler = { .over = start_next };
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    the_rig = &r;
    the_channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    for (int i = 0; i < 2; i++) {
        request.text = (char *)(uintptr_t) "first";
        memset(&c, 0, sizeof c);
        c.r = &r;
        second = (caller){ 0 };
        assert_int_equal(weir_rpc_ask(the_channel, &streams_methods[PROCESS], NULL, &request.base,
                                      &handler, &c, &c.call),
                         WEIR_OK);
        if (i == 1)
            weir_rpc_cancel(c.call);
        expect(&c, i == 0 ? WEIR_RPC_OK : WEIR_RPC_CANCELLED);
        expect(&second, i == 0 ? WEIR_RPC_OK : WEIR_RPC_CANCELLED);
    }
    pass_ms(&r, 50);
    stop(&r, the_channel);
}

/* ---- The peer's name ---- */

static void note_peer(weir_rpc_call *call, void *user)
{
    char text[64], little[8];
    size_t n = weir_rpc_call_peer(call, text, sizeof text);
    (void)user;
    assert_int_equal(n, strlen(text));
    assert_true(n > 10);
    assert_int_equal(weir_rpc_call_peer(call, NULL, 0), n);
    assert_int_equal(weir_rpc_call_peer(call, little, sizeof little), n);
    assert_memory_equal(little, text, 7);
    assert_int_equal(little[7], '\0');
}

static void a_peers_name_is_cut_to_fit(void **state)
{
    rig r = { 0 };
    caller c = { .r = &r };
    weir_rpc_handler handler = { .begin = note_peer, .over = on_over };
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    assert_int_equal(weir_rpc_ask(channel, &streams_methods[PROCESS], NULL, &request.base, &handler,
                                  &c, &c.call),
                     WEIR_OK);
    expect(&c, WEIR_RPC_OK);
    stop(&r, channel);
}

/* ---- Items of requests ---- */

/* Fills what room there is, then answers by the item. */
static void fill_and_reply(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    static uint8_t payload[30000];
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    weir_item *item = weir_rpc_item(call);
    (void)message;
    (void)user;
    assert_non_null(item);
    data.payload = (ProtobufCBinaryData){ sizeof payload, payload };
    for (produced = 0; weir_rpc_room(call) > 0; produced++)
        works(weir_rpc_send(call, &data.base));
    assert_int_equal(weir_rpc_item_reply(item, &data.base), WEIR_OK);
    assert_int_equal(weir_rpc_item_reply(item, &data.base), WEIR_EEXIST);
    assert_int_equal(weir_rpc_item_fail(item, WEIR_RPC_ABORTED, ""), WEIR_EEXIST);
    weir_item_ack(item);
}

static void an_item_is_answered_whatever_room_there_is(void **state)
{
    rig r = { 0 };
    caller c = { .to_ask = 1 };
    (void)state;
    serve_all(&r);
    r.handlers[STREAM_DATA] = (weir_rpc_handler){ .message = fill_and_reply, .over = note_over };
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    stream_of(&c, &r, channel, 1, 1);
    expect(&c, WEIR_RPC_OK);
    assert_int_equal(c.messages, produced + 1);
    stop(&r, channel);
}

static void send_and_ack(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    weir_item *item = weir_rpc_item(call);
    (void)message;
    (void)user;
    response.text = (char *)(uintptr_t) "sent before";
    works(weir_rpc_send(call, &response.base));
    weir_item_ack(item);
}

static void an_item_whose_response_was_sent_is_over_as_it_ends(void **state)
{
    rig r = { 0 };
    caller c;
    (void)state;
    serve_all(&r);
    r.handlers[PROCESS] = (weir_rpc_handler){ .message = send_and_ack, .over = note_over };
    rig_start(&r);
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    ask(&c, &r, channel, "x", 0, NULL);
    expect(&c, WEIR_RPC_OK);
    assert_string_equal(c.text, "sent before");
    stop(&r, channel);
}

/* ---- Names ---- */

static void a_channel_may_go_while_its_name_is_looked_up(void **state)
{
    (void)state;
    for (int turns_before = 0; turns_before < 4; turns_before++) {
        rig r = { .clock_ns = WEIR_SEC };
        caller c;
        r.env = (weir_env){ .now_ns = rig_now, .user = &r.clock_ns };
        r.loop = weir_loop_new(&(weir_loop_config){ .env = &r.env });
        weir_rpc_channel *channel = channel_of(
            &r,
            (weir_rpc_channel_config){ .target = "http://name.invalid:1,http://two.invalid:2" });
        ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .wait_for_ready = true });
        turns(&r, turns_before);
        weir_rpc_channel_free(channel);
        expect(&c, WEIR_RPC_CANCELLED);
        weir_loop_free(r.loop); /* at once */
    }
}

/* ---- Attempts ---- */

static size_t trailers_at_over;

static void count_trailers(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    trailers_at_over = weir_rpc_trailer_count(call);
    on_over(call, code, user);
}

static void a_deadline_between_attempts_shows_nothing_of_the_one_before(void **state)
{
    rig r = { 0 };
    caller c = { .r = &r };
    weir_rpc_handler handler = { .over = count_trailers };
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    (void)state;
    serve_all(&r);
    rig_start(&r);
    strcpy(served.pushback, "5000");
    served.unavailable = 1;
    weir_rpc_channel *channel = channel_of(&r,
                                           (weir_rpc_channel_config){ .retry.attempts_max = 2 });
    assert_int_equal(weir_rpc_ask(channel, &streams_methods[PROCESS],
                                  &(weir_rpc_options){ .timeout_ms = 1000 }, &request.base,
                                  &handler, &c, &c.call),
                     WEIR_OK);
    TURN_UNTIL(&r, stats_of(channel).retried == 1);
    trailers_at_over = 99;
    TURN_UNTIL(&r, (pass_ms(&r, 1), c.overs > 0));
    assert_int_equal(c.code, WEIR_RPC_DEADLINE_EXCEEDED);
    assert_int_equal(trailers_at_over, 0);
    stop(&r, channel);
}

int main(int argc, char **argv)
{
    if (argc > 1) /* only those */
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_that_is_always_behind_holds_a_window_and_no_more),
        cmocka_unit_test(a_server_that_is_always_behind_holds_a_window_and_no_more),
        cmocka_unit_test(cancelled_calls_leave_the_window_of_their_connection_open),
        cmocka_unit_test(a_pipeline_that_takes_a_few_messages_ends_the_call),
        cmocka_unit_test(a_pipeline_of_a_call_may_stop_at_any_time),
        cmocka_unit_test(a_callers_context_goes_at_over_whatever_is_below_the_calls),
        cmocka_unit_test(a_call_may_be_started_in_over),
        cmocka_unit_test(a_peers_name_is_cut_to_fit),
        cmocka_unit_test(an_item_is_answered_whatever_room_there_is),
        cmocka_unit_test(an_item_whose_response_was_sent_is_over_as_it_ends),
        cmocka_unit_test(a_deadline_between_attempts_shows_nothing_of_the_one_before),
        cmocka_unit_test(a_channel_may_go_while_its_name_is_looked_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
