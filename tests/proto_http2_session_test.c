/* HTTP/2 sessions: a client and a server in memory, by the public interface alone. */
#include "http_session_rig.h"

static void a_unary_call_goes_there_and_back(void **state)
{
    side *client = side_started(true), *server = side_started(false);
    (void)state;
    server->answer = true;
    rig_exchange *x = rig_open(client, false);
    assert_int_equal(rig_write(x->exchange, "hello", 5), WEIR_OK);
    assert_int_equal(weir_http_exchange_end(x->exchange, NULL, 0), WEIR_OK);
    pump(client, server);
    assert_string_equal(server->x[0]->head,
                        "POST http://host:1/a.B/C content-type=application/grpc;x-trace=abc;");
    assert_memory_equal(server->x[0]->body, "hello", 5);
    assert_string_equal(x->head, "200 content-type=text/plain;");
    assert_memory_equal(x->body, "hello", 5);
    assert_string_equal(x->trailers, "grpc-status=0;");
    assert_int_equal(x->status, WEIR_OK);
    assert_int_equal(x->overs, 1);
    assert_int_equal(server->x[0]->status, WEIR_OK);
    assert_int_equal(server->x[0]->overs, 1);
    side_free(client);
    side_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unary_call_goes_there_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
