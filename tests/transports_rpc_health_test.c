/* The service of health over real sockets: Check, List, Watch on changes, slow watchers, drain. */
#include "rpc_rig.h"

#include <weir/rpc_health.h>

#include "grpc/health/v1/health.weir.h"

#include <pthread.h>

#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

static weir_rpc_health *shared_health; /* of handlers, and of other threads */

static weir_rpc_health *start(rig *r)
{
    weir_rpc_health *health = weir_rpc_health_new(NULL);
    assert_non_null(health);
    r->more[0] = weir_rpc_health_service(health);
    rig_start(r);
    return health;
}

static void stop(rig *r, weir_rpc_health *health)
{
    rig_stop(r);
    weir_rpc_health_free(health);
}

static rcall *ask(client *c, const weir_rpc_method *method, const char *service)
{
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    rcall *k = call_start_of(c, method, NULL);
    request.service = (char *)(uintptr_t)service;
    call_send(k, &request.base);
    call_end(k);
    return k;
}

static rcall *watch(client *c, const char *service)
{
    return ask(c, grpc_health_v1_health_watch_method(), service);
}

static int last_status(rcall *k)
{
    weir_arena arena;
    weir_arena_init(&arena, NULL, NULL, 0, 0);
    const Grpc__Health__V1__HealthCheckResponse *response = (const void *)last_message(k, &arena);
    int status = (int)response->status;
    weir_arena_done(&arena);
    return status;
}

/* The status, or less than 0: a code of RPC. */
static int check(client *c, const char *service)
{
    rcall *k = ask(c, grpc_health_v1_health_check_method(), service);
    TURN_UNTIL(c->rig, k->got.over);
    int found = k->got.code == WEIR_RPC_OK ? last_status(k) : -(int)k->got.code;
    call_free(k);
    return found;
}

static void set(weir_rpc_health *health, const char *service, weir_rpc_health_status status)
{
    assert_int_equal(weir_rpc_health_set(health, service, status), WEIR_OK);
}

/* ---- Check ---- */

static void check_says_how_a_service_is(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    (void)state;
    set(health, "b", WEIR_RPC_HEALTH_SERVING);
    set(health, "a", WEIR_RPC_HEALTH_NOT_SERVING);
    set(health, "c", WEIR_RPC_HEALTH_UNKNOWN);
    assert_int_equal(check(c, "a"), WEIR_RPC_HEALTH_NOT_SERVING);
    assert_int_equal(check(c, "b"), WEIR_RPC_HEALTH_SERVING);
    assert_int_equal(check(c, "c"), WEIR_RPC_HEALTH_UNKNOWN);
    set(health, "a", WEIR_RPC_HEALTH_SERVING);
    assert_int_equal(check(c, "a"), WEIR_RPC_HEALTH_SERVING);
    stop(&r, health);
}

static void check_of_a_service_never_set_is_not_found(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    (void)state;
    assert_int_equal(check(c, "nowhere"), -WEIR_RPC_NOT_FOUND);
    stop(&r, health);
}

static void the_whole_server_begins_as_serving(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    (void)state;
    assert_int_equal(check(c, ""), WEIR_RPC_HEALTH_SERVING);
    set(health, "", WEIR_RPC_HEALTH_NOT_SERVING);
    assert_int_equal(check(c, ""), WEIR_RPC_HEALTH_NOT_SERVING);
    stop(&r, health);
}

/* ---- List ---- */

static rcall *ask_list(client *c)
{
    Grpc__Health__V1__HealthListRequest request = GRPC__HEALTH__V1__HEALTH_LIST_REQUEST__INIT;
    rcall *k = call_start_of(c, grpc_health_v1_health_list_method(), NULL);
    call_send(k, &request.base);
    call_end(k);
    TURN_UNTIL(c->rig, k->got.over);
    return k;
}

static void list_gives_all_services(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    weir_arena arena;
    (void)state;
    set(health, "a", WEIR_RPC_HEALTH_NOT_SERVING);
    rcall *k = ask_list(client_new(&r, WEIR_HTTP_2));
    weir_arena_init(&arena, NULL, NULL, 0, 0);
    const Grpc__Health__V1__HealthListResponse *list = (const void *)last_message(k, &arena);
    assert_int_equal(list->n_statuses, 2);
    assert_string_equal(list->statuses[0]->key, "");
    assert_int_equal(list->statuses[0]->value->status, WEIR_RPC_HEALTH_SERVING);
    assert_string_equal(list->statuses[1]->key, "a");
    assert_int_equal(list->statuses[1]->value->status, WEIR_RPC_HEALTH_NOT_SERVING);
    weir_arena_done(&arena);
    call_free(k);
    stop(&r, health);
}

static void set_many(weir_rpc_health *health, int n)
{
    char name[16];
    for (int i = 1; i < n; i++) { /* "" is there */
        snprintf(name, sizeof name, "s%d", i);
        set(health, name, WEIR_RPC_HEALTH_SERVING);
    }
}

static void a_list_that_is_too_long_is_refused(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    (void)state;
    set_many(health, WEIR_RPC_HEALTH_LIST_MAX);
    rcall *k = ask_list(c);
    assert_int_equal(k->got.code, WEIR_RPC_OK);
    call_free(k);
    set(health, "one more", WEIR_RPC_HEALTH_SERVING);
    k = ask_list(c);
    assert_int_equal(k->got.code, WEIR_RPC_RESOURCE_EXHAUSTED);
    call_free(k);
    stop(&r, health);
}

/* ---- Watch ---- */

static void watch_gives_the_state_and_each_change(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    (void)state;
    set(health, "a", WEIR_RPC_HEALTH_SERVING);
    rcall *k = watch(client_new(&r, WEIR_HTTP_2), "a");
    TURN_UNTIL(&r, k->got.messages == 1);
    assert_int_equal(last_status(k), WEIR_RPC_HEALTH_SERVING);
    set(health, "a", WEIR_RPC_HEALTH_NOT_SERVING);
    TURN_UNTIL(&r, k->got.messages == 2);
    assert_int_equal(last_status(k), WEIR_RPC_HEALTH_NOT_SERVING);
    set(health, "a", WEIR_RPC_HEALTH_SERVING);
    TURN_UNTIL(&r, k->got.messages == 3);
    assert_int_equal(last_status(k), WEIR_RPC_HEALTH_SERVING);
    assert_false(k->got.ended);
    call_free(k);
    stop(&r, health);
}

static void watch_of_a_service_never_set_waits_for_it(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    (void)state;
    rcall *k = watch(client_new(&r, WEIR_HTTP_2), "a");
    TURN_UNTIL(&r, k->got.messages == 1);
    assert_int_equal(last_status(k), SERVICE_UNKNOWN);
    set(health, "a", WEIR_RPC_HEALTH_SERVING);
    TURN_UNTIL(&r, k->got.messages == 2);
    assert_int_equal(last_status(k), WEIR_RPC_HEALTH_SERVING);
    call_free(k);
    stop(&r, health);
}

static void watch_is_told_only_of_its_service_and_only_of_changes(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    (void)state;
    rcall *k = watch(client_new(&r, WEIR_HTTP_2), "");
    TURN_UNTIL(&r, k->got.messages == 1);
    set(health, "a", WEIR_RPC_HEALTH_NOT_SERVING);
    set(health, "", WEIR_RPC_HEALTH_SERVING);
    turns(&r, 20);
    assert_int_equal(k->got.messages, 1);
    call_free(k);
    stop(&r, health);
}

static void changes_at_once_are_told_as_one(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    (void)state;
    rcall *k = watch(client_new(&r, WEIR_HTTP_2), "");
    TURN_UNTIL(&r, k->got.messages == 1);
    set(health, "", WEIR_RPC_HEALTH_NOT_SERVING);
    set(health, "", WEIR_RPC_HEALTH_SERVING);
    set(health, "", WEIR_RPC_HEALTH_UNKNOWN);
    TURN_UNTIL(&r, k->got.messages == 2);
    assert_int_equal(last_status(k), WEIR_RPC_HEALTH_UNKNOWN);
    turns(&r, 20);
    assert_int_equal(k->got.messages, 2);
    call_free(k);
    stop(&r, health);
}

/* Each message takes 7 bytes, 64 KiB of them are the caller's window. */
static void a_watcher_that_takes_nothing_gets_the_latest_in_the_end(void **state)
{
    enum { CHANGES = 12001 };
    rig r = { .config.send_bytes_max = 64 };
    weir_rpc_health *health = start(&r);
    (void)state;
    rcall *k = watch(client_new(&r, WEIR_HTTP_2), "");
    k->stingy = true;
    TURN_UNTIL(&r, k->got.messages == 1);
    for (int i = 0; i < CHANGES; i++) {
        set(health, "", i % 2 ? WEIR_RPC_HEALTH_SERVING : WEIR_RPC_HEALTH_NOT_SERVING);
        turn(&r);
    }
    uint64_t taken = k->got.messages;
    assert_true(taken > 9000 && taken < 9500);
    set(health, "", WEIR_RPC_HEALTH_UNKNOWN);
    turns(&r, 20);
    assert_int_equal(k->got.messages, taken);
    k->stingy = false;
    weir_http_exchange_consume(k->exchange, k->unconsumed);
    TURN_UNTIL(&r, last_status(k) == WEIR_RPC_HEALTH_UNKNOWN);
    assert_true(k->got.messages < taken + 12); /* its send buffer, and the latest */
    call_free(k);
    stop(&r, health);
}

static void a_drain_tells_watchers_and_ends_their_calls(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    (void)state;
    set(health, "down", WEIR_RPC_HEALTH_NOT_SERVING);
    rcall *up = watch(c, ""), *down = watch(c, "down"), *unknown = watch(c, "nowhere");
    TURN_UNTIL(&r, up->got.messages + down->got.messages + unknown->got.messages == 3);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    TURN_UNTIL(&r, up->got.over && down->got.over && unknown->got.over);
    assert_int_equal(up->got.messages, 2);
    assert_int_equal(last_status(up), WEIR_RPC_HEALTH_NOT_SERVING);
    assert_int_equal(up->got.code, WEIR_RPC_UNAVAILABLE);
    assert_int_equal(down->got.messages, 1);
    assert_int_equal(down->got.code, WEIR_RPC_UNAVAILABLE);
    assert_int_equal(last_status(unknown), WEIR_RPC_HEALTH_NOT_SERVING);
    call_free(up);
    call_free(down);
    call_free(unknown);
    stop(&r, health);
}

static void a_drain_ends_a_watch_whose_request_has_not_come(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    (void)state;
    assert_int_equal(check(c, ""), WEIR_RPC_HEALTH_SERVING);
    rcall *k = call_start_of(c, grpc_health_v1_health_watch_method(), NULL);
    turns(&r, 20);
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    TURN_UNTIL(&r, k->got.over);
    assert_int_equal(k->got.code, WEIR_RPC_UNAVAILABLE);
    call_free(k);
    stop(&r, health);
}

static void a_change_that_meets_the_end_of_a_watch_is_harmless(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    (void)state;
    for (int i = 0; i < 50; i++) {
        rcall *k = watch(c, "");
        TURN_UNTIL(&r, k->got.messages == 1);
        call_cancel(k);
        client_write(c);
        set(health, "", i % 2 ? WEIR_RPC_HEALTH_SERVING : WEIR_RPC_HEALTH_NOT_SERVING);
        call_free(k);
    }
    stop(&r, health);
}

static void set_and_reply(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    Streams__V1__ProcessResponse response = STREAMS__V1__PROCESS_RESPONSE__INIT;
    (void)message;
    (void)user;
    set(shared_health, "", WEIR_RPC_HEALTH_NOT_SERVING);
    assert_int_equal(weir_rpc_reply(call, &response.base), WEIR_OK);
}

/* What the caller sends comes at once: the change is posted, and then the watch is cancelled. */
static void a_change_that_is_posted_as_a_watch_ends_is_harmless(void **state)
{
    rig r = { .handlers[PROCESS] = { .message = set_and_reply } };
    Streams__V1__ProcessRequest request = STREAMS__V1__PROCESS_REQUEST__INIT;
    weir_rpc_health *health = shared_health = start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    (void)state;
    rcall *k = watch(c, "");
    TURN_UNTIL(&r, k->got.messages == 1);
    rcall *process = call_start(c, PROCESS, NULL);
    call_send(process, &request.base);
    call_end(process);
    client_write(c);
    call_cancel(k);
    client_write(c);
    TURN_UNTIL(&r, process->got.over);
    assert_int_equal(process->got.code, WEIR_RPC_OK);
    call_free(process);
    call_free(k);
    stop(&r, health);
}

static void an_abort_ends_watches(void **state)
{
    rig r = { 0 };
    weir_rpc_health *health = start(&r);
    (void)state;
    rcall *k = watch(client_new(&r, WEIR_HTTP_2), "");
    TURN_UNTIL(&r, k->got.messages == 1);
    set(health, "", WEIR_RPC_HEALTH_NOT_SERVING);
    weir_pipeline_shutdown(r.pipeline, WEIR_ABORT, 0);
    TURN_UNTIL(&r, k->got.over);
    call_free(k);
    stop(&r, health);
}

/* ---- From other threads ---- */

static bool setting; /* atomically */

static void *set_all_the_time(void *user)
{
    (void)user;
    for (int i = 0; __atomic_load_n(&setting, __ATOMIC_RELAXED); i++) {
        set(shared_health, "", i % 2 ? WEIR_RPC_HEALTH_SERVING : WEIR_RPC_HEALTH_NOT_SERVING);
        sched_yield();
    }
    return NULL;
}

static void states_are_set_from_any_thread_while_watchers_come_and_go(void **state)
{
    rig r = { 0 };
    pthread_t thread;
    shared_health = start(&r);
    client *c = client_new(&r, WEIR_HTTP_2);
    (void)state;
    setting = true;
    assert_int_equal(pthread_create(&thread, NULL, set_all_the_time, NULL), 0);
    for (int i = 0; i < 100; i++) {
        rcall *k = watch(c, "");
        TURN_UNTIL(&r, k->got.messages >= 3);
        call_free(k);
    }
    __atomic_store_n(&setting, false, __ATOMIC_RELAXED);
    assert_int_equal(pthread_join(thread, NULL), 0);
    stop(&r, shared_health);
}

/* ---- Limits ---- */

static void what_cannot_be_set_is_refused(void **state)
{
    weir_rpc_health *health = weir_rpc_health_new(NULL);
    char name[WEIR_RPC_HEALTH_NAME_MAX + 2];
    (void)state;
    memset(name, 'a', sizeof name);
    name[WEIR_RPC_HEALTH_NAME_MAX + 1] = '\0';
    assert_int_equal(weir_rpc_health_set(health, name, WEIR_RPC_HEALTH_SERVING), WEIR_EINVAL);
    name[WEIR_RPC_HEALTH_NAME_MAX] = '\0';
    assert_int_equal(weir_rpc_health_set(health, name, WEIR_RPC_HEALTH_SERVING), WEIR_OK);
    assert_int_equal(weir_rpc_health_set(health, NULL, WEIR_RPC_HEALTH_SERVING), WEIR_EINVAL);
    assert_int_equal(weir_rpc_health_set(health, "", (weir_rpc_health_status)3), WEIR_EINVAL);
    set_many(health, WEIR_RPC_HEALTH_SERVICES_MAX - 1);
    assert_int_equal(weir_rpc_health_set(health, "new", WEIR_RPC_HEALTH_SERVING), WEIR_ELIMIT);
    assert_int_equal(weir_rpc_health_set(health, "s1", WEIR_RPC_HEALTH_SERVING), WEIR_OK);
    weir_rpc_health_free(health);
}

static void *resize(void *memory, size_t bytes, void *user)
{
    int *left = user;
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    return (*left)-- > 0 ? realloc(memory, bytes) : NULL;
}

static void every_allocation_may_fail(void **state)
{
    int left = 0;
    weir_env env = { .allocator = { resize, &left } };
    weir_rpc_health *health = NULL;
    (void)state;
    for (int n = 0; health == NULL; n++) {
        assert_true(n < 10);
        left = n;
        health = weir_rpc_health_new(&env);
    }
    left = 0;
    assert_int_equal(weir_rpc_health_set(health, "a", WEIR_RPC_HEALTH_SERVING), WEIR_ENOMEM);
    assert_int_equal(weir_rpc_health_set(health, "", WEIR_RPC_HEALTH_NOT_SERVING), WEIR_OK);
    weir_rpc_health_free(health);
    weir_rpc_health_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(check_says_how_a_service_is),
        cmocka_unit_test(check_of_a_service_never_set_is_not_found),
        cmocka_unit_test(the_whole_server_begins_as_serving),
        cmocka_unit_test(list_gives_all_services),
        cmocka_unit_test(a_list_that_is_too_long_is_refused),
        cmocka_unit_test(watch_gives_the_state_and_each_change),
        cmocka_unit_test(watch_of_a_service_never_set_waits_for_it),
        cmocka_unit_test(watch_is_told_only_of_its_service_and_only_of_changes),
        cmocka_unit_test(changes_at_once_are_told_as_one),
        cmocka_unit_test(a_watcher_that_takes_nothing_gets_the_latest_in_the_end),
        cmocka_unit_test(a_drain_tells_watchers_and_ends_their_calls),
        cmocka_unit_test(a_drain_ends_a_watch_whose_request_has_not_come),
        cmocka_unit_test(a_change_that_meets_the_end_of_a_watch_is_harmless),
        cmocka_unit_test(a_change_that_is_posted_as_a_watch_ends_is_harmless),
        cmocka_unit_test(an_abort_ends_watches),
        cmocka_unit_test(states_are_set_from_any_thread_while_watchers_come_and_go),
        cmocka_unit_test(what_cannot_be_set_is_refused),
        cmocka_unit_test(every_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
