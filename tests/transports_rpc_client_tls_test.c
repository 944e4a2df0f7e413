/* Channels with TLS: who is trusted, who is asked for a certificate, what ALPN must say. */
#include "rpc_client_rig.h"
#include "tls_identities.h"

typedef struct tls_case {
    weir_rpc_channel_config channel;
    const char *client_ca; /* the server's */
    bool required, good;
} tls_case;

static char subject[256], peer[64];

static void note_peer(weir_rpc_call *call, void *user)
{
    (void)user;
    snprintf(subject, sizeof subject, "%s", weir_rpc_call_peer_subject(call));
    assert_in_range(weir_rpc_call_peer(call, peer, sizeof peer), 1, sizeof peer - 1);
    assert_int_equal(weir_rpc_call_peer(call, NULL, 0), strlen(peer));
}

/* Whose certificate the server has seen. */
static void expect_peer(const tls_case *t)
{
    bool shown = t->channel.tls_cert_file != NULL && t->client_ca != NULL;
    assert_non_null(strstr(peer, ":"));
    if (shown)
        assert_non_null(strstr(subject, "client"));
    else
        assert_string_equal(subject, "");
}

static void try(const tls_case *t)
{
    rig r = { .config = { .tls_cert_file = of_server.cert,
                          .tls_key_file = of_server.key,
                          .tls_client_ca_file = t->client_ca,
                          .tls_client_required = t->required } };
    caller c, d;
    char target[64];
    weir_rpc_channel_config config = t->channel;
    serve_all(&r);
    r.handlers[PROCESS].begin = note_peer;
    rig_start(&r);
    snprintf(target, sizeof target, "https://localhost:%u", r.port);
    config.target = target;
    weir_rpc_channel *channel = channel_of(&r, config);
    ask(&c, &r, channel, "x", 0, NULL);
    TURN_UNTIL(&r, (pass_ms(&r, 1), c.overs > 0));
    if (t->good)
        expect(&c, WEIR_RPC_OK);
    else
        expect(&c, WEIR_RPC_UNAVAILABLE);
    if (t->good) {
        ask(&d, &r, channel, "y", 0, NULL);
        expect(&d, WEIR_RPC_OK);
        assert_int_equal(stats_of(channel).connects, 1);
        expect_peer(t);
    } else {
        assert_string_not_equal(c.error, "");
    }
    stop(&r, channel);
}

static void whom_the_client_trusts_is_called(void **state)
{
    (void)state;
    try(&(tls_case){ .channel = { .tls_ca_file = of_server.cert }, .good = true });
    try(&(tls_case){ .channel = { .tls_ca_file = of_server.cert,
                                  .http = WEIR_RPC_HTTP1,
                                  .protocol = WEIR_RPC_CONNECT },
                     .good = true });
    try(&(tls_case){ .channel = { .tls_insecure = true }, .good = true });
    try(&(tls_case){ .channel = { .tls_ca_file = of_stranger.cert } });
    try(&(tls_case){ .channel = { .tls_ca_file = of_server.cert, .tls_name = "elsewhere" } });
}

static void a_server_may_ask_for_our_certificate(void **state)
{
    (void)state;
    weir_rpc_channel_config ours = { .tls_ca_file = of_server.cert,
                                     .tls_cert_file = of_client.cert,
                                     .tls_key_file = of_client.key };
    weir_rpc_channel_config none = { .tls_ca_file = of_server.cert };
    try(&(tls_case){
        .channel = ours, .client_ca = of_client.cert, .required = true, .good = true });
    try(&(tls_case){ .channel = none, .client_ca = of_client.cert, .required = true });
    try(&(tls_case){ .channel = none, .client_ca = of_client.cert, .good = true });
    try(&(tls_case){ .channel = ours, .client_ca = of_stranger.cert, .required = true });
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whom_the_client_trusts_is_called),
        cmocka_unit_test(a_server_may_ask_for_our_certificate),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
