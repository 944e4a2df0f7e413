/* TLS on non-blocking sockets of ours, by OpenSSL, for servers and clients. */
#include "wi_tls.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

wi_io wi_io_read(int fd, wi_tls_session *session, char *at, size_t cap, size_t *ret_n)
{
    if (session != NULL)
        return wi_tls_read(session, at, cap, ret_n);
    ssize_t n = recv(fd, at, cap, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? WI_IO_WANTS_READ : WI_IO_FAILED;
    *ret_n = (size_t)n;
    return n == 0 ? WI_IO_END : WI_IO_DONE;
}

wi_io wi_io_write(int fd, wi_tls_session *session, const char *at, size_t n, size_t *ret_n)
{
    if (session != NULL)
        return wi_tls_write(session, at, n, ret_n);
    ssize_t sent = send(fd, at, n, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? WI_IO_WANTS_WRITE : WI_IO_FAILED;
    *ret_n = (size_t)sent;
    return WI_IO_DONE;
}

#if WEIR_HAVE_OPENSSL
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

struct wi_tls {
    const weir_env *env;
    SSL_CTX *ctx;
    BIO_METHOD *bio;
    char alpn[32];
    bool is_server;
};

/* A session is OpenSSL's own object. */
static SSL *ssl_of(const wi_tls_session *session)
{
    return (SSL *)(uintptr_t)session;
}

/* ---- The socket ---- */

static int fd_of(BIO *bio)
{
    return (int)(intptr_t)BIO_get_data(bio);
}

/* OpenSSL's own socket BIO writes without MSG_NOSIGNAL, and a library must not leave SIGPIPE to
 * chance or to a global handler. */
static int bio_write(BIO *bio, const char *data, int len)
{
    BIO_clear_retry_flags(bio);
    ssize_t n = send(fd_of(bio), data, (size_t)len, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        BIO_set_retry_write(bio);
    return (int)n;
}

static int bio_read(BIO *bio, char *data, int len)
{
    BIO_clear_retry_flags(bio);
    ssize_t n = recv(fd_of(bio), data, (size_t)len, 0);
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

/* ---- What is set up once ---- */

static int select_protocol(SSL *ssl, const unsigned char **ret_name, unsigned char *ret_len,
                           const unsigned char *offered, unsigned offered_len, void *user)
{
    const wi_tls *tls = user;
    unsigned char *name;
    (void)ssl;
    if (SSL_select_next_proto(&name, ret_len, (const unsigned char *)tls->alpn,
                              (unsigned)strlen(tls->alpn), offered,
                              offered_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *ret_name = name;
    return SSL_TLSEXT_ERR_OK;
}

static bool set_alpn(wi_tls *tls, const char *alpn)
{
    size_t len = alpn == NULL ? 0 : strlen(alpn);
    if (len == 0 || len >= sizeof tls->alpn)
        return len == 0;
    memcpy(tls->alpn, alpn, len + 1);
    if (tls->is_server)
        SSL_CTX_set_alpn_select_cb(tls->ctx, select_protocol, tls);
    else
        return SSL_CTX_set_alpn_protos(tls->ctx, (const unsigned char *)alpn, (unsigned)len) == 0;
    return true;
}

static bool set_up(wi_tls *tls, const wi_tls_config *config)
{
    static const unsigned char id[] = "weir";
    tls->ctx = SSL_CTX_new(config->is_server ? TLS_server_method() : TLS_client_method());
    tls->bio = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir socket");
    if (tls->ctx == NULL || tls->bio == NULL)
        return false;
    SSL_CTX_set_mode(tls->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
                                   SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(tls->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                      SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_session_cache_mode(tls->ctx, SSL_SESS_CACHE_OFF); /* tickets need no memory */
    return SSL_CTX_set_min_proto_version(tls->ctx, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_session_id_context(tls->ctx, id, sizeof id - 1) == 1 &&
           BIO_meth_set_write(tls->bio, bio_write) == 1 &&
           BIO_meth_set_read(tls->bio, bio_read) == 1 &&
           BIO_meth_set_ctrl(tls->bio, bio_ctrl) == 1 && set_alpn(tls, config->alpn);
}

static bool set_certificate(SSL_CTX *ctx, const wi_tls_config *config)
{
    if (config->cert_file == NULL || config->key_file == NULL)
        return !config->is_server && config->cert_file == config->key_file;
    return SSL_CTX_use_certificate_chain_file(ctx, config->cert_file) == 1 &&
           SSL_CTX_use_PrivateKey_file(ctx, config->key_file, SSL_FILETYPE_PEM) == 1 &&
           SSL_CTX_check_private_key(ctx) == 1;
}

static bool set_authorities(SSL_CTX *ctx, const wi_tls_config *config)
{
    int mode = SSL_VERIFY_PEER;
    if (config->is_server && config->ca_file == NULL)
        return true;
    if (config->is_server && config->peer_required)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(ctx, !config->is_server && config->insecure ? SSL_VERIFY_NONE : mode, NULL);
    if (config->ca_file == NULL)
        return SSL_CTX_set_default_verify_paths(ctx) == 1;
    if (config->is_server) /* whom we name to clients that have several certificates */
        SSL_CTX_set_client_CA_list(ctx, SSL_load_client_CA_file(config->ca_file));
    return SSL_CTX_load_verify_locations(ctx, config->ca_file, NULL) == 1;
}

weir_status wi_tls_new(const wi_tls_config *config, const weir_env *env, wi_tls **ret_tls,
                       const char **ret_why)
{
    wi_tls *tls = weir_memory_new(env, sizeof *tls);
    const char *why = NULL;
    *ret_why = "no memory for TLS";
    if (tls == NULL)
        return WEIR_ENOMEM;
    tls->env = env;
    tls->is_server = config->is_server;
    bool is_set_up = set_up(tls, config);
    if (is_set_up && !set_certificate(tls->ctx, config))
        why = "its certificate and key are no good";
    else if (is_set_up && !set_authorities(tls->ctx, config))
        why = "the certificates to verify by are no good";
    ERR_clear_error();
    if (is_set_up && why == NULL) {
        *ret_tls = tls;
        return WEIR_OK;
    }
    wi_tls_free(tls);
    if (why != NULL)
        *ret_why = why;
    return why != NULL ? WEIR_EINVAL : WEIR_ENOMEM;
}

void wi_tls_free(wi_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx);
    BIO_meth_free(tls->bio);
    weir_memory_free(tls->env, tls);
}

/* ---- A connection ---- */

/* A number is matched against the certificate's addresses, a name against its names; and a number
 * is no server name to ask for (RFC 6066 section 3). */
static bool expect_peer(SSL *ssl, const char *name)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1)
        return true;
    ERR_clear_error();
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

weir_status wi_tls_session_new(wi_tls *tls, int fd, const char *name, wi_tls_session **ret_session)
{
    if (name == NULL && !tls->is_server)
        return WEIR_EINVAL; /* anybody's certificate would do */
    SSL *ssl = SSL_new(tls->ctx);
    BIO *bio = BIO_new(tls->bio);
    if (ssl == NULL || bio == NULL || (name != NULL && !expect_peer(ssl, name))) {
        SSL_free(ssl);
        BIO_free(bio);
        ERR_clear_error();
        return WEIR_ENOMEM;
    }
    BIO_set_data(bio, (void *)(intptr_t)fd);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    if (tls->is_server)
        SSL_set_accept_state(ssl);
    else
        SSL_set_connect_state(ssl);
    *ret_session = (wi_tls_session *)ssl;
    return WEIR_OK;
}

void wi_tls_session_free(wi_tls_session *session)
{
    SSL_free(ssl_of(session));
}

static wi_io outcome(wi_tls_session *session, int result)
{
    if (result == 1)
        return WI_IO_DONE;
    switch (SSL_get_error(ssl_of(session), result)) {
    case SSL_ERROR_WANT_READ:
        return WI_IO_WANTS_READ;
    case SSL_ERROR_WANT_WRITE:
        return WI_IO_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return WI_IO_END;
    default:
        return WI_IO_FAILED;
    }
}

wi_io wi_tls_handshake(wi_tls_session *session)
{
    ERR_clear_error();
    return outcome(session, SSL_do_handshake(ssl_of(session)));
}

const char *wi_tls_why(const wi_tls_session *session)
{
    long result = SSL_get_verify_result(ssl_of(session));
    return result != X509_V_OK ? X509_verify_cert_error_string(result) : "the TLS handshake failed";
}

wi_io wi_tls_read(wi_tls_session *session, char *at, size_t cap, size_t *ret_n)
{
    ERR_clear_error();
    return outcome(session, SSL_read_ex(ssl_of(session), at, cap, ret_n));
}

wi_io wi_tls_write(wi_tls_session *session, const char *at, size_t n, size_t *ret_n)
{
    ERR_clear_error();
    return outcome(session, SSL_write_ex(ssl_of(session), at, n, ret_n));
}

void wi_tls_shutdown(wi_tls_session *session)
{
    if (session == NULL)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(ssl_of(session)); /* if it does not fit now, the stream's end has to do */
    ERR_clear_error();
}

bool wi_tls_chose(const wi_tls_session *session, const char *protocol)
{
    const unsigned char *name;
    unsigned len;
    SSL_get0_alpn_selected(ssl_of(session), &name, &len);
    return len == strlen(protocol) && memcmp(name, protocol, len) == 0;
}

bool wi_tls_peer_subject(const wi_tls_session *session, char *text, size_t cap)
{
    X509 *certificate = session == NULL ? NULL : SSL_get0_peer_certificate(ssl_of(session));
    BIO *out;
    if (certificate == NULL || SSL_get_verify_result(ssl_of(session)) != X509_V_OK)
        return false;
    out = BIO_new(BIO_s_mem());
    int n = -1;
    if (out != NULL &&
        X509_NAME_print_ex(out, X509_get_subject_name(certificate), 0, XN_FLAG_RFC2253) >= 0)
        n = BIO_read(out, text, (int)cap - 1);
    BIO_free(out);
    ERR_clear_error();
    if (n < 0)
        return false;
    text[n] = '\0';
    return true;
}

#else

weir_status wi_tls_new(const wi_tls_config *config, const weir_env *env, wi_tls **ret_tls,
                       const char **ret_why)
{
    (void)config;
    (void)env;
    (void)ret_tls;
    *ret_why = "built without TLS";
    return WEIR_EUNSUPPORTED;
}

void wi_tls_free(wi_tls *tls)
{
    (void)tls;
}

weir_status wi_tls_session_new(wi_tls *tls, int fd, const char *name, wi_tls_session **ret_session)
{
    (void)tls;
    (void)fd;
    (void)name;
    (void)ret_session;
    return WEIR_EUNSUPPORTED;
}

void wi_tls_session_free(wi_tls_session *session)
{
    (void)session;
}

wi_io wi_tls_handshake(wi_tls_session *session)
{
    (void)session;
    return WI_IO_FAILED;
}

const char *wi_tls_why(const wi_tls_session *session)
{
    (void)session;
    return "built without TLS";
}

wi_io wi_tls_read(wi_tls_session *session, char *at, size_t cap, size_t *ret_n)
{
    (void)session;
    (void)at;
    (void)cap;
    (void)ret_n;
    return WI_IO_FAILED;
}

wi_io wi_tls_write(wi_tls_session *session, const char *at, size_t n, size_t *ret_n)
{
    (void)session;
    (void)at;
    (void)n;
    (void)ret_n;
    return WI_IO_FAILED;
}

void wi_tls_shutdown(wi_tls_session *session)
{
    (void)session;
}

bool wi_tls_chose(const wi_tls_session *session, const char *protocol)
{
    (void)session;
    (void)protocol;
    return false;
}

bool wi_tls_peer_subject(const wi_tls_session *session, char *text, size_t cap)
{
    (void)session;
    (void)text;
    (void)cap;
    return false;
}
#endif
