/* TLS on non-blocking sockets of ours, by OpenSSL, for servers and clients. What is set up once may
 * be used by all loops; a session is one connection's. In a build without OpenSSL nothing can be
 * set up. */
#ifndef WI_TLS_H
#define WI_TLS_H

#include <weir/env.h>

#include <stdbool.h>

typedef struct wi_tls wi_tls;
typedef struct wi_tls_session wi_tls_session;

typedef enum wi_io {
    WI_IO_DONE,
    WI_IO_WANTS_READ, /* again when the socket is readable */
    WI_IO_WANTS_WRITE,
    WI_IO_END, /* the peer said in order that no more comes */
    WI_IO_FAILED
} wi_io;

/* Strings are borrowed for the call; files are PEM. */
typedef struct wi_tls_config {
    bool is_server;
    const char *alpn; /* best first, as on the wire: "\2h2\10http/1.1"; NULL: none. A client that
                         offers only others is refused (RFC 7301) */
    const char *cert_file; /* ours, the whole chain; servers must have one */
    const char *key_file;
    const char *ca_file; /* who may vouch for the peer. NULL: a client takes the system's, a server
                            does not ask */
    bool peer_required;  /* a server refuses clients without a certificate */
    bool insecure;       /* a client does not verify */
} wi_tls_config;

/* TLS 1.2 at least, no renegotiation, no compression; tickets instead of a cache of sessions.
 * WEIR_EINVAL: a file is no good; WEIR_ENOMEM; WEIR_EUNSUPPORTED. */
weir_status wi_tls_new(const wi_tls_config *config, const weir_env *env, wi_tls **ret_tls,
                       const char **ret_why);
void wi_tls_free(wi_tls *tls);

/* On `fd`, which it borrows. `name`: whom the server's certificate must name, a host or a numeric
 * address; clients must say it (WEIR_EINVAL). WEIR_ENOMEM. */
weir_status wi_tls_session_new(wi_tls *tls, int fd, const char *name, wi_tls_session **ret_session);
void wi_tls_session_free(wi_tls_session *session);
wi_io wi_tls_handshake(wi_tls_session *session);
/* Why it failed: a static text. */
const char *wi_tls_why(const wi_tls_session *session);
wi_io wi_tls_read(wi_tls_session *session, char *at, size_t cap, size_t *ret_n);
wi_io wi_tls_write(wi_tls_session *session, const char *at, size_t n, size_t *ret_n);
/* Says that no more comes. */
void wi_tls_shutdown(wi_tls_session *session);
/* Whether ALPN chose that protocol. */
bool wi_tls_chose(const wi_tls_session *session, const char *protocol);
/* Writes the subject of the peer's verified certificate (RFC 2253) into `text`; false if it has
 * none. */
bool wi_tls_peer_subject(const wi_tls_session *session, char *text, size_t cap);

/* A socket, through `session` unless that is NULL. */
wi_io wi_io_read(int fd, wi_tls_session *session, char *at, size_t cap, size_t *ret_n);
wi_io wi_io_write(int fd, wi_tls_session *session, const char *at, size_t n, size_t *ret_n);

#endif
