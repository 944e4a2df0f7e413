/* The streams service over TLS, with certificates made on the spot. */
#include "streams_rig.h"
#include "tls_identities.h"

/* As its client, or NULL: as nobody. */
static void connect_as(streams *s, const identity *id)
{
    if (s->channel != NULL)
        streams_hang_up(s);
    s->channel = streams_connect(
        s, (weir_rpc_channel_config){ .tls_ca_file = of_server.cert,
                                      .tls_name = "localhost",
                                      .tls_cert_file = id != NULL ? id->cert : NULL,
                                      .tls_key_file = id != NULL ? id->key : NULL });
}

static void start_tls(streams *s, const char *option, const char *value)
{
    streams_new(s);
    streams_spawn(s, ARGS("--tls", of_server.cert, of_server.key, option, value));
    streams_wait(s);
}

static void compose(streams *s, weir_rpc_code code)
{
    caller c = { 0 };
    Streams__V1__ProcessRequest a = process_of("left", 0, 0), b = process_of("right", 0, 0);
    start_compose(&c, s, &a, &b, NULL);
    expect(&c, code);
}

static void every_kind_is_served_by_tls(void **state)
{
    streams s;
    caller data = { .asks = 16 }, echo = { .asks = 1, .to_send = 50, .payload = 100000 };
    (void)state;
    start_tls(&s, "--loops", "2");
    connect_as(&s, NULL);
    assert_serves(&s);
    compose(&s, WEIR_RPC_OK);
    start_data(&data, &s, 5000, 1000);
    start_echo(&echo, &s);
    expect(&data, WEIR_RPC_OK);
    assert_int_equal(data.bytes, 5000 * 1000);
    expect(&echo, WEIR_RPC_OK);
    assert_int_equal(echo.bytes, 50 * 100000);
    streams_stop(&s);
}

static void who_has_no_certificate_that_is_asked_for_is_not_let_in(void **state)
{
    const identity *wrong[] = { NULL, &of_stranger };
    streams s;
    (void)state;
    start_tls(&s, "--client-ca", of_client.cert);
    for (int i = 0; i < 2; i++) {
        caller c = { 0 };
        Streams__V1__ProcessRequest request = process_of("hello", 0, 0);
        connect_as(&s, wrong[i]);
        start_process(&c, &s, &request, NULL);
        expect(&c, WEIR_RPC_UNAVAILABLE);
    }
    connect_as(&s, &of_client);
    assert_serves(&s);
    streams_stop(&s);
}

static void compose_shows_the_services_own_certificate(void **state)
{
    streams s;
    (void)state;
    start_tls(&s, "--client-ca", of_server.cert);
    connect_as(&s, &of_server);
    compose(&s, WEIR_RPC_OK);
    streams_stop(&s);
}

static void what_is_no_certificate_is_refused_at_the_start(void **state)
{
    streams s;
    char log[4096];
    (void)state;
    streams_new(&s);
    streams_spawn(&s, ARGS("--tls", of_server.key, of_server.key));
    assert_exits(&s, 1);
    server_read_text(s.log, log, sizeof log);
    assert_non_null(strstr(log, "certificate"));
    streams_discard(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_is_served_by_tls),
        cmocka_unit_test(who_has_no_certificate_that_is_asked_for_is_not_let_in),
        cmocka_unit_test(compose_shows_the_services_own_certificate),
        cmocka_unit_test(what_is_no_certificate_is_refused_at_the_start),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
