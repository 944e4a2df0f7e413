/* TLS of the HTTP server: OpenSSL on the connection's own non-blocking socket. */
#include "http_server_internal.h"

#if WEIR_HAVE_OPENSSL
#include <errno.h>
#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <string.h>
#include <sys/socket.h>

struct wi_httpd_tls {
    const weir_env *env;
    SSL_CTX *ctx;
    BIO_METHOD *bio;
};

/* OpenSSL's own socket BIO writes without MSG_NOSIGNAL, and a library must not leave SIGPIPE to
 * chance or to a global handler. */
static int bio_write(BIO *bio, const char *data, int len)
{
    const wi_httpd_conn *conn = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = send(conn->fd, data, (size_t)len, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)n;
}

static int bio_read(BIO *bio, char *data, int len)
{
    const wi_httpd_conn *conn = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = recv(conn->fd, data, (size_t)len, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_read(bio);
    if (n == 0)
        BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    return (int)n;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    if (command == BIO_CTRL_EOF)
        return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
    return command == BIO_CTRL_FLUSH;
}

static int select_protocol(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len,
                           const unsigned char *offered, unsigned offered_len, void *user)
{
    static const unsigned char ours[] = "\x08http/1.1";
    unsigned char *name;
    (void)ssl;
    (void)user;
    if (SSL_select_next_proto(&name, ret_len, ours, sizeof ours - 1, offered, offered_len) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret_name = name;
    return SSL_TLSEXT_ERR_OK;
}

static bool set_up(wi_httpd_tls *tls)
{
    tls->ctx = SSL_CTX_new(TLS_server_method());
    tls->bio = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir socket");
    if (tls->ctx == NULL || tls->bio == NULL)
        return false;
    SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                                   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                      SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_OFF); /* tickets need no memory */
    SSL_CTX_set_alpn_select_cb(tls->ctx, select_protocol, NULL);
    return SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) == 1 &&
           BIO_meth_set_write(tls->bio, bio_write) == 1 &&
           BIO_meth_set_read(tls->bio, bio_read) == 1 && BIO_meth_set_ctrl(tls->bio, bio_ctrl) == 1;
}

weir_status wi_httpd_tls_new(const weir_http_server_config *config, const weir_env *env,
                             wi_httpd_tls **ret_tls, const char **ret_why)
{
    wi_httpd_tls *tls = weir_memory_new(env, sizeof *tls);
    weir_status status = WEIR_ENOMEM;
    if (tls == NULL)
        return WEIR_ENOMEM;
    tls->env = env;
    if (!set_up(tls))
        goto fail;
    status = WEIR_EINVAL;
    if (SSL_CTX_use_certificate_chain_file(tls->ctx, config->tls_cert_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(tls->ctx, config->tls_key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(tls->ctx) != 1)
        goto fail;
    *ret_tls = tls;
    return WEIR_OK;
fail:
    ERR_clear_error();
    *ret_why = status == WEIR_ENOMEM ? "no memory for TLS" : "its certificate and key are no good";
    wi_httpd_tls_free(tls);
    return status;
}

void wi_httpd_tls_free(wi_httpd_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx);
    BIO_meth_free(tls->bio);
    weir_memory_free(tls->env, tls);
}

bool wi_httpd_tls_accept(wi_httpd_conn *conn)
{
    const wi_httpd_tls *tls = conn->server->shared->tls;
    SSL *ssl = SSL_new(tls->ctx);
    BIO *bio = BIO_new(tls->bio);
    if (ssl == NULL || bio == NULL) {
        SSL_free(ssl);
        BIO_free(bio);
        ERR_clear_error();
        return false;
    }
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_accept_state(ssl);
    conn->ssl = ssl;
    return true;
}

void wi_httpd_tls_done(wi_httpd_conn *conn)
{
    SSL_free(conn->ssl);
    conn->ssl = NULL;
}

static wi_httpd_io outcome(wi_httpd_conn *conn, int result)
{
    switch (SSL_get_error(conn->ssl, result)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        return WI_HTTPD_IO_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return WI_HTTPD_IO_END;
    default:
        return WI_HTTPD_IO_FAILED;
    }
}

wi_httpd_io wi_httpd_tls_handshake(wi_httpd_conn *conn)
{
    ERR_clear_error();
    int result = SSL_do_handshake(conn->ssl);
    return result == 1 ? WI_HTTPD_IO_OK : outcome(conn, result);
}

wi_httpd_io wi_httpd_tls_read(wi_httpd_conn *conn, char *at, size_t cap, size_t *ret_n)
{
    ERR_clear_error();
    int result = SSL_read_ex(conn->ssl, at, cap, ret_n);
    return result == 1 ? WI_HTTPD_IO_OK : outcome(conn, result);
}

wi_httpd_io wi_httpd_tls_write(wi_httpd_conn *conn, const char *at, size_t n, size_t *ret_n)
{
    ERR_clear_error();
    int result = SSL_write_ex(conn->ssl, at, n, ret_n);
    return result == 1 ? WI_HTTPD_IO_OK : outcome(conn, result);
}

void wi_httpd_tls_shutdown(wi_httpd_conn *conn)
{
    if (conn->ssl == NULL)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(conn->ssl); /* if it does not fit now, the end of the stream has to do */
    ERR_clear_error();
}

#else

weir_status wi_httpd_tls_new(const weir_http_server_config *config, const weir_env *env,
                             wi_httpd_tls **ret_tls, const char **ret_why)
{
    (void)config;
    (void)env;
    (void)ret_tls;
    *ret_why = "built without TLS";
    return WEIR_EUNSUPPORTED;
}

void wi_httpd_tls_free(wi_httpd_tls *tls)
{
    (void)tls;
}

bool wi_httpd_tls_accept(wi_httpd_conn *conn)
{
    (void)conn;
    return false;
}

void wi_httpd_tls_done(wi_httpd_conn *conn)
{
    (void)conn;
}

wi_httpd_io wi_httpd_tls_handshake(wi_httpd_conn *conn)
{
    (void)conn;
    return WI_HTTPD_IO_FAILED;
}

wi_httpd_io wi_httpd_tls_read(wi_httpd_conn *conn, char *at, size_t cap, size_t *ret_n)
{
    (void)conn;
    (void)at;
    (void)cap;
    (void)ret_n;
    return WI_HTTPD_IO_FAILED;
}

wi_httpd_io wi_httpd_tls_write(wi_httpd_conn *conn, const char *at, size_t n, size_t *ret_n)
{
    (void)conn;
    (void)at;
    (void)n;
    (void)ret_n;
    return WI_HTTPD_IO_FAILED;
}

void wi_httpd_tls_shutdown(wi_httpd_conn *conn)
{
    (void)conn;
}
#endif
