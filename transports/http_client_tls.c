/* TLS for the HTTP client on a non-blocking socket, with the peer's certificate verified. */
#include "http_client_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#if WEIR_HAVE_OPENSSL
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct wi_tls {
    const weir_env *env;
    SSL_CTX *ctx;
    BIO_METHOD *bio;
    char name[WI_HTTP_HOST_MAX];
    bool insecure;
};

struct wi_tls_session {
    SSL *ssl;
    const weir_env *env;
    int fd;
};

/* OpenSSL's own socket BIO writes without MSG_NOSIGNAL, and a library must not leave SIGPIPE to
 * chance or to a global handler. */
static int bio_write(BIO *bio, const char *data, int len)
{
    const wi_tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = send(session->fd, data, (size_t)len, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)n;
}

static int bio_read(BIO *bio, char *data, int len)
{
    const wi_tls_session *session = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    ssize_t n = recv(session->fd, data, (size_t)len, 0);
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

static bool set_up(wi_tls *tls, const weir_http_call_config *config)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    tls->ctx = SSL_CTX_new(TLS_client_method());
    tls->bio = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir socket");
    if (tls->ctx == NULL || tls->bio == NULL)
        return false;
    SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                                   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(tls->ctx, tls->insecure ? SSL_VERIFY_NONE : SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_alpn_protos(tls->ctx, alpn, sizeof alpn - 1) != 0 ||
        BIO_meth_set_write(tls->bio, bio_write) != 1 ||
        BIO_meth_set_read(tls->bio, bio_read) != 1 || BIO_meth_set_ctrl(tls->bio, bio_ctrl) != 1)
        return false;
    if (config->tls_ca_file != NULL)
        return SSL_CTX_load_verify_locations(tls->ctx, config->tls_ca_file, NULL) == 1;
    return SSL_CTX_set_default_verify_paths(tls->ctx) == 1;
}

weir_status wi_tls_new(const weir_http_call_config *config, const wi_http_url *url,
                       const weir_env *env, wi_tls **ret_tls)
{
    const char *name = config->tls_name != NULL ? config->tls_name : url->host;
    wi_tls *tls = weir_memory_new(env, sizeof *tls);
    if (tls == NULL)
        return WEIR_ENOMEM;
    tls->env = env;
    tls->insecure = config->tls_insecure;
    if (strlen(name) >= sizeof tls->name) {
        wi_tls_free(tls);
        return WEIR_EINVAL;
    }
    memcpy(tls->name, name, strlen(name) + 1);
    if (!set_up(tls, config)) {
        ERR_clear_error();
        wi_tls_free(tls);
        return config->tls_ca_file != NULL ? WEIR_EINVAL : WEIR_ENOMEM;
    }
    *ret_tls = tls;
    return WEIR_OK;
}

void wi_tls_free(wi_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx);
    BIO_meth_free(tls->bio);
    weir_memory_free(tls->env, tls);
}

/* A number is matched against the certificate's addresses, a name against its names; and a number
 * is no server name to ask for (RFC 6066 section 3). */
static bool expect_peer(SSL *ssl, const wi_tls *tls)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), tls->name) == 1)
        return true;
    ERR_clear_error();
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, tls->name) == 1 && SSL_set_tlsext_host_name(ssl, tls->name) == 1;
}

weir_status wi_tls_session_new(wi_tls *tls, int fd, wi_tls_session **ret_session)
{
    wi_tls_session *session = weir_memory_new(tls->env, sizeof *session);
    if (session == NULL)
        return WEIR_ENOMEM;
    session->env = tls->env;
    session->fd = fd;
    session->ssl = SSL_new(tls->ctx);
    BIO *bio = BIO_new(tls->bio);
    if (session->ssl == NULL || bio == NULL || !expect_peer(session->ssl, tls)) {
        BIO_free(bio);
        ERR_clear_error();
        wi_tls_session_free(session);
        return WEIR_ENOMEM;
    }
    BIO_set_data(bio, session);
    BIO_set_init(bio, 1);
    SSL_set_bio(session->ssl, bio, bio);
    SSL_set_connect_state(session->ssl);
    *ret_session = session;
    return WEIR_OK;
}

void wi_tls_session_free(wi_tls_session *session)
{
    if (session == NULL)
        return;
    SSL_free(session->ssl);
    weir_memory_free(session->env, session);
}

static wi_tls_io outcome(wi_tls_session *session, int result)
{
    wi_tls_io io = WI_TLS_FAILED;
    switch (SSL_get_error(session->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        io = WI_TLS_AGAIN_READ;
        break;
    case SSL_ERROR_WANT_WRITE:
        io = WI_TLS_AGAIN_WRITE;
        break;
    case SSL_ERROR_ZERO_RETURN:
        io = WI_TLS_EOF;
        break;
    default:
        break;
    }
    return io;
}

wi_tls_io wi_tls_handshake(wi_tls_session *session)
{
    ERR_clear_error();
    int result = SSL_do_handshake(session->ssl);
    return result == 1 ? WI_TLS_DONE : outcome(session, result);
}

wi_tls_io wi_tls_read(wi_tls_session *session, char *buf, size_t cap, size_t *ret_len)
{
    ERR_clear_error();
    int result = SSL_read_ex(session->ssl, buf, cap, ret_len);
    return result == 1 ? WI_TLS_DONE : outcome(session, result);
}

wi_tls_io wi_tls_write(wi_tls_session *session, const char *buf, size_t len, size_t *ret_len)
{
    ERR_clear_error();
    int result = SSL_write_ex(session->ssl, buf, len, ret_len);
    return result == 1 ? WI_TLS_DONE : outcome(session, result);
}

#else

weir_status wi_tls_new(const weir_http_call_config *config, const wi_http_url *url,
                       const weir_env *env, wi_tls **ret_tls)
{
    (void)config;
    (void)url;
    (void)env;
    (void)ret_tls;
    return WEIR_EUNSUPPORTED;
}

void wi_tls_free(wi_tls *tls)
{
    (void)tls;
}

weir_status wi_tls_session_new(wi_tls *tls, int fd, wi_tls_session **ret_session)
{
    (void)tls;
    (void)fd;
    (void)ret_session;
    return WEIR_EUNSUPPORTED;
}

void wi_tls_session_free(wi_tls_session *session)
{
    (void)session;
}

wi_tls_io wi_tls_handshake(wi_tls_session *session)
{
    (void)session;
    return WI_TLS_FAILED;
}

wi_tls_io wi_tls_read(wi_tls_session *session, char *buf, size_t cap, size_t *ret_len)
{
    (void)session;
    (void)buf;
    (void)cap;
    (void)ret_len;
    return WI_TLS_FAILED;
}

wi_tls_io wi_tls_write(wi_tls_session *session, const char *buf, size_t len, size_t *ret_len)
{
    (void)session;
    (void)buf;
    (void)len;
    (void)ret_len;
    return WI_TLS_FAILED;
}
#endif
