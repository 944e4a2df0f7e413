/* Unary calls as a stage: items of one loop, answered by a server on another. */
#include "feed.h"
#include "rpc_client_rig.h"

#include <pthread.h>
#include <stdatomic.h>

static rig server;
static atomic_bool stopping;
static pthread_t thread;
static char target[64];

static void *run(void *user)
{
    (void)user;
    while (!atomic_load(&stopping))
        if (!weir_loop_turn(server.loop))
            sched_yield();
    return NULL;
}

static int start_server(void **state)
{
    (void)state;
    server = (rig){ 0 };
    serve_all(&server);
    rig_start(&server);
    snprintf(target, sizeof target, "http://127.0.0.1:%u", server.port);
    atomic_store(&stopping, false);
    return pthread_create(&thread, NULL, run, NULL);
}

static int stop_server(void **state)
{
    (void)state;
    atomic_store(&stopping, true);
    pthread_join(thread, NULL);
    rig_stop(&server);
    return 0;
}

static const ProtobufCMessage *make_request(const weir_item *item, weir_arena *arena,
                                            weir_status *ret_status, void *user)
{
    const feed_item *it = weir_item_body((weir_item *)(uintptr_t)item);
    Streams__V1__ProcessRequest *request = weir_arena_take(arena, sizeof *request);
    char text[32];
    streams__v1__process_request__init(request);
    snprintf(text, sizeof text, "%llu", (unsigned long long)it->number);
    request->text = weir_arena_copy(arena, text, strlen(text));
    if (user != NULL && it->number == *(const uint64_t *)user)
        request->fail_with = WEIR_RPC_NOT_FOUND;
    if (it->number != 99)
        return &request->base;
    *ret_status = WEIR_EDENIED;
    return NULL;
}

static weir_status take_response(weir_item *item, const ProtobufCMessage *response, void *user)
{
    feed_item *it = weir_item_body(item);
    (void)user;
    it->answer = atoll(((const Streams__V1__ProcessResponse *)response)->text);
    return it->number == 98 ? WEIR_EREJECTED : WEIR_OK;
}

static void check_answer(feed *f, const feed_item *item, weir_status status)
{
    (void)f;
    if (status == WEIR_OK)
        assert_int_equal(item->answer, item->number);
}

static void each_item_becomes_a_call(void **state)
{
    feed f = { .ended = check_answer };
    weir_rpc_call_config config = { .channel = { .target = target },
                                    .method = &streams_methods[PROCESS],
                                    .request = make_request,
                                    .response = take_response };
    (void)state;
    assert_int_equal(feed_run(&f, 90, weir_rpc_call_stage(&config)), WEIR_OK);
    assert_int_equal(f.acked, 90);
    feed_done(&f);
    config.unordered = true;
    config.in_flight = 3;
    assert_int_equal(feed_run(&f, 50, weir_rpc_call_stage(&config)), WEIR_OK);
    assert_int_equal(f.acked, 50);
    feed_done(&f);
}

static void what_goes_wrong_fails_the_item(void **state)
{
    feed f = { .ended = check_answer, .policy = { .on_error = WEIR_ON_ERROR_SKIP } };
    uint64_t wrong = 7;
    weir_rpc_call_config config = { .channel = { .target = target },
                                    .method = &streams_methods[PROCESS],
                                    .request = make_request,
                                    .response = take_response,
                                    .user = &wrong };
    (void)state;
    assert_int_equal(feed_run(&f, 100, weir_rpc_call_stage(&config)), WEIR_OK);
    assert_int_equal(f.acked, 97);
    assert_int_equal(f.statuses[7], weir_rpc_code_status(WEIR_RPC_NOT_FOUND));
    assert_int_equal(f.statuses[98], WEIR_EREJECTED);
    assert_int_equal(f.statuses[99], WEIR_EDENIED);
    feed_done(&f);
}

static void a_stage_that_cannot_be_is_refused(void **state)
{
    weir_rpc_call_config wrongs[] = {
        { .channel = { .target = target }, .request = make_request },
        { .channel = { .target = target },
          .method = &streams_methods[ECHO],
          .request = make_request },
        { .channel = { .target = target }, .method = &streams_methods[PROCESS] },
        { .channel = { .target = "nowhere" },
          .method = &streams_methods[PROCESS],
          .request = make_request },
    };
    (void)state;
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        feed f = { .n = 0 };
        assert_int_equal(feed_run(&f, 1, weir_rpc_call_stage(&wrongs[i])), WEIR_EINVAL);
        assert_string_not_equal(f.why, "");
        feed_done(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_item_becomes_a_call, start_server, stop_server),
        cmocka_unit_test_setup_teardown(what_goes_wrong_fails_the_item, start_server, stop_server),
        cmocka_unit_test_setup_teardown(a_stage_that_cannot_be_is_refused, start_server,
                                        stop_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
