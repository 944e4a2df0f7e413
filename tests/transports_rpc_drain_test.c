/* What an RPC server's handlers are told of its drain, and when the drain is over. */
#include "rpc_rig.h"

static struct {
    int begins, drains, overs;
    weir_rpc_code code;
    weir_rpc_call *held;
} told;

static void note_begin(weir_rpc_call *call, void *user)
{
    (void)user;
    told.begins++;
    weir_rpc_request(call, 1);
}

static void say_bye(weir_rpc_call *call, void *user)
{
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    (void)user;
    told.drains++;
    data.sequence = 99;
    assert_int_equal(weir_rpc_send(call, &data.base), WEIR_OK);
    assert_int_equal(weir_rpc_finish(call, WEIR_RPC_OK, NULL), WEIR_OK);
}

static void note_drain(weir_rpc_call *call, void *user)
{
    (void)call;
    (void)user;
    told.drains++;
}

static void note_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)user;
    told.overs++;
    told.code = code;
}

static void finish_well(weir_rpc_call *call, void *user)
{
    (void)user;
    assert_int_equal(weir_rpc_finish(call, WEIR_RPC_OK, NULL), WEIR_OK);
}

static void start(rig *r, void (*drain)(weir_rpc_call *call, void *user))
{
    memset(&told, 0, sizeof told);
    r->handlers[ECHO] = (weir_rpc_handler){
        .begin = note_begin, .drain = drain, .end = finish_well, .over = note_over
    };
    rig_start(r);
}

static void drain(rig *r)
{
    weir_pipeline_shutdown(r->pipeline, WEIR_DRAIN, 0);
}

static void a_call_may_say_its_last_word(void **state)
{
    rig r = { 0 };
    weir_arena arena;
    (void)state;
    start(&r, say_bye);
    rcall *k = call_start(client_new(&r, WEIR_HTTP_2), ECHO, NULL);
    TURN_UNTIL(&r, told.begins == 1);
    drain(&r);
    TURN_UNTIL(&r, k->got.over && told.overs == 1);
    weir_arena_init(&arena, NULL, NULL, 0, 0);
    assert_int_equal(((const Streams__V1__Data *)(const void *)last_message(k, &arena))->sequence,
                     99);
    assert_int_equal(k->got.code, WEIR_RPC_OK);
    assert_int_equal(told.drains, 1);
    weir_arena_done(&arena);
    call_free(k);
    rig_stop(&r);
}

static void every_call_is_told_on_every_connection(void **state)
{
    enum { CALLS = 20 };
    rig r = { 0 };
    rcall *calls[CALLS];
    int over = 0;
    (void)state;
    start(&r, say_bye);
    client *clients[] = { client_new(&r, WEIR_HTTP_2), client_new(&r, WEIR_HTTP_2) };
    for (int i = 0; i < CALLS; i++)
        calls[i] = call_start(clients[i % 2], ECHO, NULL);
    TURN_UNTIL(&r, told.begins == CALLS);
    drain(&r);
    TURN_UNTIL(&r, told.overs == CALLS);
    for (int i = 0; i < CALLS; i++) {
        TURN_UNTIL(&r, calls[i]->got.over);
        over += calls[i]->got.code == WEIR_RPC_OK;
        call_free(calls[i]);
    }
    assert_int_equal(over, CALLS);
    assert_int_equal(told.drains, CALLS);
    rig_stop(&r);
}

static void a_call_that_goes_on_is_waited_for(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r, note_drain);
    rcall *k = call_start(client_new(&r, WEIR_HTTP_2), ECHO, NULL);
    TURN_UNTIL(&r, told.begins == 1);
    drain(&r);
    pass_ms(&r, 3000);
    assert_int_equal(told.drains, 1);
    assert_false(r.finished);
    call_end(k);
    TURN_UNTIL(&r, k->got.over);
    assert_int_equal(k->got.code, WEIR_RPC_OK);
    call_free(k);
    rig_stop(&r);
}

static void a_call_that_is_answered_is_not_told(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r, note_drain);
    rcall *k = call_start(client_new(&r, WEIR_HTTP_2), ECHO, NULL);
    call_end(k);
    TURN_UNTIL(&r, told.overs == 1 && k->got.over);
    drain(&r);
    call_free(k);
    rig_stop(&r);
    assert_int_equal(told.drains, 0);
}

static void send_much(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    static uint8_t payload[100000]; /* more than the caller's window */
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    (void)message;
    uint32_t noise = 1;
    for (size_t i = 0; i < sizeof payload; i++) /* which does not compress */
        payload[i] = (uint8_t)((noise = noise * 1664525 + 1013904223) >> 24);
    data.payload = (ProtobufCBinaryData){ sizeof payload, payload };
    assert_int_equal(weir_rpc_send(call, &data.base), WEIR_OK);
    finish_well(call, user);
    told.begins++;
}

static void a_call_whose_answer_is_not_taken_yet_is_not_told(void **state)
{
    rig r = { .handlers[STREAM_DATA] = { .message = send_much, .drain = note_drain } };
    Streams__V1__StreamDataRequest request = STREAMS__V1__STREAM_DATA_REQUEST__INIT;
    (void)state;
    start(&r, note_drain);
    rcall *k = call_start(client_new(&r, WEIR_HTTP_2), STREAM_DATA, NULL);
    k->stingy = true;
    call_send(k, &request.base);
    call_end(k);
    TURN_UNTIL(&r, told.begins == 1 && k->unconsumed > 60000);
    drain(&r);
    turns(&r, 20);
    assert_int_equal(told.drains, 0);
    k->stingy = false;
    weir_http_exchange_consume(k->exchange, k->unconsumed);
    TURN_UNTIL(&r, k->got.over);
    assert_int_equal(k->got.code, WEIR_RPC_OK);
    call_free(k);
    rig_stop(&r);
}

static void an_abort_tells_nobody_of_a_drain(void **state)
{
    rig r = { 0 };
    (void)state;
    start(&r, note_drain);
    rcall *k = call_start(client_new(&r, WEIR_HTTP_2), ECHO, NULL);
    TURN_UNTIL(&r, told.begins == 1);
    weir_pipeline_shutdown(r.pipeline, WEIR_ABORT, 0);
    TURN_UNTIL(&r, k->got.over && told.overs == 1);
    assert_int_equal(told.drains, 0);
    call_free(k);
    rig_stop(&r);
}

/* ---- Let in late ---- */

static weir_status put_off(weir_rpc_call *call, void *user)
{
    (void)user;
    told.held = call;
    weir_rpc_hold(call);
    return WEIR_EAGAIN;
}

static void a_call_that_is_let_in_during_a_drain_is_refused(void **state)
{
    static const weir_rpc_interceptor late = { .begin = put_off };
    static const weir_rpc_interceptor *const interceptors[] = { &late };
    rig r = { .config = { .interceptors = interceptors, .interceptor_count = 1 } };
    (void)state;
    start(&r, note_drain);
    rcall *k = call_start(client_new(&r, WEIR_HTTP_2), ECHO, NULL);
    TURN_UNTIL(&r, told.held != NULL);
    drain(&r);
    turns(&r, 20);
    weir_rpc_resume(told.held);
    weir_rpc_release(told.held);
    TURN_UNTIL(&r, k->got.over);
    assert_int_equal(k->got.code, WEIR_RPC_UNAVAILABLE);
    assert_int_equal(told.begins + told.drains, 0);
    call_free(k);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_call_may_say_its_last_word),
        cmocka_unit_test(every_call_is_told_on_every_connection),
        cmocka_unit_test(a_call_that_goes_on_is_waited_for),
        cmocka_unit_test(a_call_that_is_answered_is_not_told),
        cmocka_unit_test(a_call_whose_answer_is_not_taken_yet_is_not_told),
        cmocka_unit_test(an_abort_tells_nobody_of_a_drain),
        cmocka_unit_test(a_call_that_is_let_in_during_a_drain_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
