/* Links with TLS: the version by ALPN, certificates of both sides, and handshakes that fail. */
#include "link_rig.h"
#include "tls_identities.h"

static wi_tls *tls_new(const wi_tls_config *config)
{
    const char *why = "";
    wi_tls *tls = NULL;
    if (wi_tls_new(config, NULL, &tls, &why) != WEIR_OK)
        fail_msg("%s", why);
    return tls;
}

typedef struct tls_case {
    weir_http_version server, client;
    const char *client_ca; /* the server's, for clients */
    bool required;
    const identity *certificate; /* the client's own */
    const char *name;            /* whom the client expects; NULL: localhost */
    bool distrusts;              /* the client knows another authority */
    bool insecure;
} tls_case;

static wi_tls *server_tls(const tls_case *c)
{
    return tls_new(&(wi_tls_config){ .is_server = true,
                                     .alpn = wi_link_alpn(c->server),
                                     .cert_file = of_server.cert,
                                     .key_file = of_server.key,
                                     .ca_file = c->client_ca,
                                     .peer_required = c->required });
}

static wi_tls *client_tls(const tls_case *c)
{
    return tls_new(
        &(wi_tls_config){ .alpn = wi_link_alpn(c->client),
                          .cert_file = c->certificate != NULL ? c->certificate->cert : NULL,
                          .key_file = c->certificate != NULL ? c->certificate->key : NULL,
                          .ca_file = c->distrusts ? of_stranger.cert : of_server.cert,
                          .insecure = c->insecure });
}

/* Dials, and makes a call if it comes up. Gives the rig, to look at what both were told. */
static rig *try_it(const tls_case *c)
{
    static rig r;
    memset(&r, 0, sizeof r);
    wi_tls *server = server_tls(c), *client = client_tls(c);
    r.client_config.session.version = c->client;
    r.at_server.answer_bytes = 300000;
    rig_start(&r, server);
    wi_link *link = dial(&r, client, c->name != NULL ? c->name : "localhost");
    UNTIL(&r, r.at_client.ups + r.at_client.overs > 0);
    if (r.at_client.ups > 0 && r.at_client.overs == 0) {
        ask(&r, link, 200000);
        UNTIL(&r, r.at_client.exchange_overs == 1);
    }
    if (r.at_server.link != NULL && r.at_client.exchange_over == WEIR_OK)
        r.at_server.status = (unsigned)weir_http_session_version(wi_link_session(r.at_server.link));
    rig_stop(&r);
    wi_tls_free(server);
    wi_tls_free(client);
    return &r;
}

static void works(const tls_case *c, weir_http_version version)
{
    const rig *r = try_it(c);
    assert_int_equal(r->at_client.exchange_overs, 1);
    assert_int_equal(r->at_client.exchange_over, WEIR_OK);
    assert_int_equal(r->at_client.body_bytes, 300000);
    assert_int_equal(r->at_server.body_bytes, 200000);
    assert_int_equal(r->at_server.status, version);
}

static void the_version_is_chosen_by_alpn(void **state)
{
    (void)state;
    works(&(tls_case){ .server = WEIR_HTTP_AUTO, .client = WEIR_HTTP_1 }, WEIR_HTTP_1);
    works(&(tls_case){ .server = WEIR_HTTP_1, .client = WEIR_HTTP_AUTO }, WEIR_HTTP_1);
    if (!WEIR_HAVE_NGHTTP2)
        skip();
    works(&(tls_case){ .server = WEIR_HTTP_AUTO, .client = WEIR_HTTP_2 }, WEIR_HTTP_2);
    works(&(tls_case){ .server = WEIR_HTTP_AUTO, .client = WEIR_HTTP_AUTO }, WEIR_HTTP_2);
}

static void a_server_that_does_not_speak_the_version_is_unavailable(void **state)
{
    (void)state;
    if (!WEIR_HAVE_NGHTTP2)
        skip();
    const rig *r = try_it(&(tls_case){ .server = WEIR_HTTP_1, .client = WEIR_HTTP_2 });
    assert_int_equal(r->at_client.ups, 0);
    assert_int_equal(r->at_client.over, WEIR_EUNAVAILABLE);
}

static void a_client_trusts_only_whom_it_should(void **state)
{
    (void)state;
    const rig *r = try_it(&(tls_case){ .distrusts = true });
    assert_int_equal(r->at_client.ups, 0);
    assert_int_equal(r->at_client.over, WEIR_EUNAVAILABLE);
    assert_non_null(strstr(r->at_client.why, "self"));
    r = try_it(&(tls_case){ .name = "other.example" });
    assert_int_equal(r->at_client.ups, 0);
    assert_int_equal(r->at_client.over, WEIR_EUNAVAILABLE);
    assert_non_null(strstr(r->at_client.why, "ostname"));
    r = try_it(&(tls_case){ .distrusts = true, .insecure = true });
    assert_int_equal(r->at_client.exchange_over, WEIR_OK);
    assert_int_equal(r->at_client.exchange_overs, 1);
}

static void a_client_is_known_by_its_certificate(void **state)
{
    (void)state;
    tls_case c = { .client_ca = of_client.cert, .certificate = &of_client };
    const rig *r = try_it(&c);
    assert_int_equal(r->at_client.exchange_over, WEIR_OK);
    assert_string_equal(r->at_server.subject, "CN=client");
    assert_string_equal(r->at_client.subject, "CN=localhost");
    c.certificate = NULL; /* it need not show one */
    r = try_it(&c);
    assert_int_equal(r->at_client.exchange_over, WEIR_OK);
    assert_string_equal(r->at_server.subject, "");
    c = (tls_case){ .certificate = &of_client }; /* nobody asks for it */
    r = try_it(&c);
    assert_string_equal(r->at_server.subject, "");
}

static void a_client_without_the_right_certificate_is_refused(void **state)
{
    (void)state;
    tls_case c = { .client_ca = of_client.cert, .required = true };
    const rig *r = try_it(&c);
    assert_int_equal(r->at_server.ups, 0);
    assert_true(r->at_client.exchange_overs == 0 || r->at_client.exchange_over != WEIR_OK);
    c.certificate = &of_stranger;
    r = try_it(&c);
    assert_int_equal(r->at_server.ups, 0);
    c.required = false;
    r = try_it(&c);
    assert_int_equal(r->at_server.ups, 0);
    c = (tls_case){ .client_ca = of_client.cert, .required = true, .certificate = &of_client };
    r = try_it(&c);
    assert_int_equal(r->at_client.exchange_over, WEIR_OK);
    assert_string_equal(r->at_server.subject, "CN=client");
}

/* More than is read in one go lies in the socket, and the end behind it. */
static void a_peer_that_leaves_after_a_long_message_was_heard(void **state)
{
    const tls_case c = { .client = WEIR_HTTP_2 };
    rig r = { 0 };
    (void)state;
    wi_tls *server = server_tls(&c), *client = client_tls(&c);
    r.client_config.session.version = WEIR_HTTP_2;
    r.server_config.session.stream_window_bytes = 1 << 20;
    r.server_config.session.connection_window_bytes = 1 << 20;
    r.at_server.waits = true;
    rig_start(&r, server);
    wi_link *link = dial(&r, client, "localhost");
    UNTIL(&r, r.at_client.ups == 1 && r.at_server.ups == 1);
    settle(&r); /* the windows are known */
    ask(&r, link, 100000);
    wi_link_close(link, WEIR_ECANCELED);
    UNTIL(&r, r.at_server.overs == 1);
    assert_int_equal(r.at_server.body_bytes, 100000);
    assert_int_equal(r.at_server.exchange_overs, 1);
    assert_int_equal(r.at_server.over, WEIR_ECLOSED);
    rig_stop(&r);
    wi_tls_free(server);
    wi_tls_free(client);
}

static void a_slow_handshake_is_cut_off_on_either_side(void **state)
{
    static rig r;
    (void)state;
    memset(&r, 0, sizeof r);
    tls_case c = { .client = WEIR_HTTP_1 };
    wi_tls *server = server_tls(&c), *client = client_tls(&c);
    r.server_config.session.header_timeout_ms = 1000;
    r.client_config.connect_timeout_ms = 2000;
    rig_start(&r, server);
    int fd = raw_dial(&r), listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    raw_say(fd, "\x16\x03\x01");
    UNTIL(&r, wi_links_count(r.server) == 1);
    r.address.len = sizeof(struct sockaddr_in);
    ((struct sockaddr_in *)(void *)&r.address.at)->sin_port = 0;
    assert_int_equal(bind(listener, (struct sockaddr *)&r.address.at, r.address.len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&r.address.at, &r.address.len), 0);
    dial(&r, client, "localhost"); /* which nobody answers */
    settle(&r);
    assert_int_equal(wi_links_count(r.server), 1);
    later(&r, 1500);
    UNTIL(&r, wi_links_count(r.server) == 0);
    assert_int_equal(r.at_client.overs, 0);
    later(&r, 1500);
    UNTIL(&r, r.at_client.overs == 1);
    assert_int_equal(r.at_client.over, WEIR_EUNAVAILABLE);
    assert_string_equal(r.at_client.why, "connecting took too long");
    assert_int_equal(r.at_server.ups + r.at_server.overs, 0);
    close(fd);
    close(listener);
    rig_stop(&r);
    wi_tls_free(server);
    wi_tls_free(client);
}

static void files_that_are_no_good_are_refused(void **state)
{
    const wi_tls_config bad[] = {
        { .is_server = true },
        { .is_server = true, .cert_file = of_server.cert },
        { .is_server = true, .cert_file = of_server.cert, .key_file = of_client.key },
        { .is_server = true,
          .cert_file = of_server.cert,
          .key_file = of_server.key,
          .ca_file = "/nonexistent" },
        { .ca_file = "/nonexistent" },
        { .cert_file = of_client.cert, .ca_file = of_server.cert },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *why = NULL;
        wi_tls *tls;
        assert_int_equal(wi_tls_new(&bad[i], NULL, &tls, &why), WEIR_EINVAL);
        assert_non_null(why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_version_is_chosen_by_alpn),
        cmocka_unit_test(a_server_that_does_not_speak_the_version_is_unavailable),
        cmocka_unit_test(a_client_trusts_only_whom_it_should),
        cmocka_unit_test(a_client_is_known_by_its_certificate),
        cmocka_unit_test(a_client_without_the_right_certificate_is_refused),
        cmocka_unit_test(a_peer_that_leaves_after_a_long_message_was_heard),
        cmocka_unit_test(a_slow_handshake_is_cut_off_on_either_side),
        cmocka_unit_test(files_that_are_no_good_are_refused),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
