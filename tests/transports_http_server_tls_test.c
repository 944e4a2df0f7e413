/* The HTTP server over TLS, with a certificate made on the spot. */
#include "http_server_rig.h"
#include "tls_identities.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

typedef struct tls_client {
    client tcp;
    SSL_CTX *ctx;
    SSL *ssl;
} tls_client;

static weir_status size_of(const weir_item *item, weir_http_response *response, void *user)
{
    const weir_http_request *request = weir_http_request_of(item);
    static char large[1 << 20];
    (void)user;
    memset(large, 'L', sizeof large);
    assert_true(weir_http_request_is_tls(request));
    if (weir_http1_span_is(weir_http_request_path(request), "/large")) {
        response->answer = (weir_http_answer){ .body = large, .body_bytes = sizeof large };
        return WEIR_OK;
    }
    int n = snprintf(response->scratch, response->scratch_bytes, "%zu bytes",
                     weir_http_request_body(request).len);
    response->answer = (weir_http_answer){ .body = response->scratch, .body_bytes = (size_t)n };
    return WEIR_OK;
}

static void rig_tls(rig *r)
{
    r->config.tls_cert_file = of_server.cert;
    r->config.tls_key_file = of_server.key;
    rig_start(r, weir_http_reply_with(size_of, NULL));
}

static tls_client tls_new(const rig *r)
{
    tls_client c = { .tcp = client_new(r), .ctx = SSL_CTX_new(TLS_client_method()) };
    SSL_CTX_set_mode(c.ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    c.ssl = SSL_new(c.ctx);
    SSL_set_fd(c.ssl, c.tcp.fd);
    return c;
}

static void tls_close(tls_client *c)
{
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    client_close(&c->tcp);
}

/* Gives the result once it is one way or the other. */
static bool greets(rig *r, tls_client *c)
{
    for (uint64_t until = server_now_ms() + PATIENCE_MS;;) {
        int result = SSL_connect(c->ssl);
        if (result == 1)
            return true;
        int error = SSL_get_error(c->ssl, result);
        if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
            return false;
        assert_true(server_now_ms() < until);
        turn(r);
    }
}

static void tls_say(rig *r, tls_client *c, const char *bytes, size_t n)
{
    for (uint64_t until = server_now_ms() + PATIENCE_MS; n > 0;) {
        size_t sent = 0;
        if (SSL_write_ex(c->ssl, bytes, n, &sent) == 1) {
            bytes += sent;
            n -= sent;
        }
        assert_true(server_now_ms() < until);
        turn(r);
    }
}

/* Reads until `n` bytes are there, or, with 0, until the peer says that it ends. */
static void tls_hear(rig *r, tls_client *c, size_t n)
{
    for (uint64_t until = server_now_ms() + PATIENCE_MS; n == 0 || c->tcp.n < n;) {
        size_t got;
        client *t = &c->tcp;
        if (t->cap - t->n < 20000)
            t->text = realloc(t->text, t->cap = t->cap * 2 + 20000);
        if (SSL_read_ex(c->ssl, t->text + t->n, t->cap - t->n - 1, &got) == 1) {
            t->n += got;
            t->text[t->n] = '\0';
        } else if (SSL_get_error(c->ssl, 0) == SSL_ERROR_ZERO_RETURN) {
            assert_int_equal(n, 0);
            return;
        } else {
            assert_int_equal(SSL_get_error(c->ssl, 0), SSL_ERROR_WANT_READ);
        }
        assert_true(server_now_ms() < until);
        turn(r);
    }
}

static void tls_expect(rig *r, tls_client *c, const char *text)
{
    for (size_t more = 1; strstr(c->tcp.text, text) == NULL; more = c->tcp.n + 1)
        tls_hear(r, c, more);
}

#define SAY(r, c, literal) tls_say(r, c, literal, sizeof(literal) - 1)
#define GET(path)          "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"

static void serves_requests_over_tls(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_tls(&r);
    tls_client c = tls_new(&r);
    assert_true(greets(&r, &c));
    SAY(&r, &c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    tls_expect(&r, &c, "5 bytes");
    SAY(&r, &c, GET("/") "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
    tls_expect(&r, &c, "0 bytes");
    tls_expect(&r, &c, "3 bytes");
    tls_close(&c);
    rig_stop(&r);
}

static void moves_large_bodies_both_ways_over_tls(void **state)
{
    rig r = { 0 };
    static char body[300000];
    (void)state;
    memset(body, 'b', sizeof body);
    rig_tls(&r);
    tls_client c = tls_new(&r);
    assert_true(greets(&r, &c));
    SAY(&r, &c, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n");
    tls_say(&r, &c, body, sizeof body);
    tls_expect(&r, &c, "300000 bytes");
    SAY(&r, &c, GET("/large"));
    tls_hear(&r, &c, (1 << 20) + 150); /* with both heads */
    tls_close(&c);
    rig_stop(&r);
}

static void answers_requests_that_the_tls_layer_holds_back(void **state)
{
    rig r = { .config.pipelined_max = 1, .demand = 1 };
    (void)state;
    r.config.tls_cert_file = of_server.cert;
    r.config.tls_key_file = of_server.key;
    rig_start(&r, NULL);
    tls_client c = tls_new(&r);
    assert_true(greets(&r, &c));
    for (int i = 0; i < 20; i++)
        SAY(&r, &c, GET("/"));
    for (int i = 0; i < 20; i++) {
        TURN_UNTIL(&r, r.kept_count == i + 1);
        assert_int_equal(weir_http_reply(r.kept[i], 200, NULL, "held back", 9), WEIR_OK);
        weir_item_ack(r.kept[i]);
        weir_request_to(weir_stage_in(r.keeper), 1);
        tls_expect(&r, &c, "held back");
        forget(&c.tcp, c.tcp.n);
    }
    tls_close(&c);
    rig_stop(&r);
}

static void says_good_bye_when_it_drains(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_tls(&r);
    tls_client c = tls_new(&r);
    assert_true(greets(&r, &c));
    SAY(&r, &c, GET("/"));
    tls_expect(&r, &c, "0 bytes");
    weir_pipeline_shutdown(r.pipeline, WEIR_DRAIN, 0);
    tls_hear(&r, &c, 0);
    tls_close(&c);
    rig_stop(&r);
}

static void takes_no_protocol_below_tls_1_2(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_tls(&r);
    tls_client c = tls_new(&r);
    SSL_set_security_level(c.ssl, 0);
    SSL_set_min_proto_version(c.ssl, TLS1_VERSION);
    SSL_set_max_proto_version(c.ssl, TLS1_1_VERSION);
    assert_false(greets(&r, &c));
    tls_close(&c);
    rig_stop(&r);
}

/* A peer could have it calculate for nothing (CVE-2011-1473). */
static void does_not_renegotiate(void **state)
{
    rig r = { 0 };
    (void)state;
    rig_tls(&r);
    tls_client c = tls_new(&r);
    SSL_set_max_proto_version(c.ssl, TLS1_2_VERSION); /* later ones cannot */
    assert_true(greets(&r, &c));
    assert_int_equal(SSL_renegotiate(c.ssl), 1);
    assert_false(greets(&r, &c));
    assert_int_equal(ERR_GET_REASON(ERR_peek_error()), SSL_R_NO_RENEGOTIATION);
    ERR_clear_error();
    tls_close(&c);
    rig_stop(&r);
}

static void agrees_on_http_1_1_and_on_nothing_else(void **state)
{
    rig r = { 0 };
    const unsigned char *name;
    unsigned len;
    (void)state;
    rig_tls(&r);
    tls_client c = tls_new(&r), d = tls_new(&r);
    SSL_set_alpn_protos(c.ssl, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    assert_true(greets(&r, &c));
    SSL_get0_alpn_selected(c.ssl, &name, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(name, "http/1.1", 8);
    SSL_set_alpn_protos(d.ssl, (const unsigned char *)"\x02h2", 3);
    assert_false(greets(&r, &d));
    tls_close(&c);
    tls_close(&d);
    rig_stop(&r);
}

static void gives_up_on_a_handshake_that_takes_too_long_or_is_none(void **state)
{
    rig r = { .config.header_timeout_ms = 30 };
    (void)state;
    rig_tls(&r);
    client silent = client_new(&r), plain = client_new(&r);
    say(&r, &plain, GET("/"));
    TURN_UNTIL(&r, (listen_once(&r, &plain), plain.ended || plain.reset));
    assert_null(strstr(plain.text, "HTTP/1.1"));
    pass_ms(&r, 40);
    TURN_UNTIL(&r, (listen_once(&r, &silent), silent.ended || silent.reset));
    client_close(&silent);
    client_close(&plain);
    rig_stop(&r);
}

static void does_not_start_without_a_good_certificate(void **state)
{
    weir_http_server_config config = { .listen = "127.0.0.1:0",
                                       .tls_cert_file = of_server.key,
                                       .tls_key_file = of_server.key };
    (void)state;
    weir_loop *loop = weir_loop_new(NULL);
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_from(p, weir_http_server(&config));
    weir_into(p, weir_http_reply_with(size_of, NULL));
    assert_int_equal(weir_pipeline_start(p, &loop, 1, NULL, NULL), WEIR_EINVAL);
    weir_pipeline_free(p);
    weir_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_requests_over_tls),
        cmocka_unit_test(moves_large_bodies_both_ways_over_tls),
        cmocka_unit_test(answers_requests_that_the_tls_layer_holds_back),
        cmocka_unit_test(says_good_bye_when_it_drains),
        cmocka_unit_test(takes_no_protocol_below_tls_1_2),
        cmocka_unit_test(does_not_renegotiate),
        cmocka_unit_test(agrees_on_http_1_1_and_on_nothing_else),
        cmocka_unit_test(gives_up_on_a_handshake_that_takes_too_long_or_is_none),
        cmocka_unit_test(does_not_start_without_a_good_certificate),
    };
    return cmocka_run_group_tests(tests, make_all, remove_all);
}
