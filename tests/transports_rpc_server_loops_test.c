/* The RPC server across loops: requests are answered on other loops than their calls', on every
 * replica, and calls that leave meanwhile. */
#include "rpc_rig.h"

#include <weir/stages.h>

#include <pthread.h>

typedef struct world {
    rig rig;
    pthread_t thread;
    weir_status status;
    int port;
} world;

static void listening(uint16_t port, void *user)
{
    __atomic_store_n(&((world *)user)->port, port, __ATOMIC_RELEASE);
}

static void *run(void *user)
{
    world *w = user;
    w->status = weir_run(w->rig.pipeline);
    return NULL;
}

/* Answers with the text, on whatever loop it is; every fourth fails. */
static weir_status answer_item(weir_item *item, void *user)
{
    const Streams__V1__ProcessRequest *request =
        (const Streams__V1__ProcessRequest *)weir_rpc_message_of(item)->message;
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    (void)user;
    if (request->fail_with != 0)
        return weir_rpc_item_fail(item, (weir_rpc_code)request->fail_with, request->text);
    response.text = request->text;
    weir_status status = weir_rpc_item_reply(item, &response.base);
    return status == WEIR_ECLOSED ? WEIR_OK : status;
}

static void world_start(world *w, uint32_t loops, bool apart)
{
    rig *r = &w->rig;
    r->clock_ns = WEIR_SEC;
    r->config.listen = "127.0.0.1:0";
    r->config.listening = listening;
    r->config.user = w;
    r->handlers[PROCESS] = (weir_rpc_handler){ .output_plus_1 = 1 };
    r->service = (weir_rpc_service){ &streams_type, r->handlers, r };
    r->services[0] = &r->service;
    r->config.services = r->services;
    r->config.service_count = 1;
    r->pipeline = weir_pipeline_new(&(weir_pipeline_config){ .loops = loops });
    weir_node *server = weir_from(r->pipeline, weir_rpc_server(&r->config));
    weir_node *answers = weir_into(r->pipeline, weir_for_each(answer_item, NULL));
    if (apart) {
        weir_node_place(server, 0);
        weir_node_place(answers, 1);
    }
    assert_int_equal(pthread_create(&w->thread, NULL, run, w), 0);
    uint64_t until = server_now_ms() + PATIENCE_MS;
    while (__atomic_load_n(&w->port, __ATOMIC_ACQUIRE) == 0) {
        assert_true(server_now_ms() < until);
        sched_yield();
    }
    r->port = (uint16_t)__atomic_load_n(&w->port, __ATOMIC_RELAXED);
}

static void world_stop(world *w)
{
    while (w->rig.client_count > 0)
        client_close(w->rig.clients[0]);
    weir_pipeline_shutdown(w->rig.pipeline, WEIR_DRAIN, 0);
    pthread_join(w->thread, NULL);
    assert_int_equal(w->status, WEIR_OK);
    weir_pipeline_free(w->rig.pipeline);
}

static rcall *ask(client *c, const char *text, int fail_with, weir_rpc_codec codec)
{
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    rcall *k = call_start(c, PROCESS, &(weir_rpc_wire_options){ .codec = codec });
    request.text = (char *)(uintptr_t)text;
    request.fail_with = fail_with;
    call_send(k, &request.base);
    call_end(k);
    return k;
}

static void ask_many(world *w, client *c, int rounds)
{
    enum { AT_ONCE = 20 };
    rcall *calls[AT_ONCE];
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < AT_ONCE; i++)
            calls[i] = ask(c, "elsewhere", i % 4 == 3 ? WEIR_RPC_ABORTED : 0,
                           i & 1 ? WEIR_RPC_JSON : WEIR_RPC_PROTO);
        for (int i = 0; i < AT_ONCE; i++) {
            if (round % 3 == 2 && i % 5 == 0) {
                call_free(calls[i]); /* leaves */
                continue;
            }
            TURN_UNTIL(&w->rig, calls[i]->got.over);
            assert_int_equal(calls[i]->got.code, i % 4 == 3 ? WEIR_RPC_ABORTED : WEIR_RPC_OK);
            assert_int_equal(calls[i]->got.messages, i % 4 == 3 ? 0 : 1);
            call_free(calls[i]);
        }
    }
}

static void items_are_answered_on_another_loop(void **state)
{
    world w = { 0 };
    (void)state;
    world_start(&w, 2, true);
    ask_many(&w, client_new(&w.rig, WEIR_HTTP_2), 20);
    world_stop(&w);
}

static void every_replica_serves(void **state)
{
    world w = { 0 };
    (void)state;
    world_start(&w, 2, false);
    for (int i = 0; i < 6; i++)
        ask_many(&w, client_new(&w.rig, WEIR_HTTP_2), 2);
    world_stop(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(items_are_answered_on_another_loop),
        cmocka_unit_test(every_replica_serves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
