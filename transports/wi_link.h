/* Links: sockets, perhaps with TLS, and on each an HTTP session (weir/http_session.h); accepted or
 * dialled, watched, timed, and brought to an end. What servers and clients of RPC stand on.
 *
 * All of a loop's belong to one wi_links, on the loop's thread. Input is read while the session
 * wants it, a bounded amount a turn for each; output is handed out once for the whole turn, as much
 * as the socket takes. Between events a link holds no buffer.
 *
 * Session events have `user` of wi_link_of: the link is the session's user, and what a new exchange
 * starts with. They run beneath nothing of the user's. Events may call everything here but
 * wi_links_free, which only `gone` may. Whoever calls a function of an exchange or session outside
 * of its events says wi_link_touch. */
#ifndef WI_LINK_H
#define WI_LINK_H

#include "wi_listener.h"
#include "wi_names.h"
#include "wi_tls.h"

#include <weir/http_session.h>
#include <weir/loop.h>

typedef struct wi_links wi_links; /* of one loop */
typedef struct wi_link wi_link;

/* All are optional, and follow whatever caused them: never beneath a function of this header. */
typedef struct wi_link_events {
    /* It is connected, shaken hands with, and has its session: a server may set its user pointer; a
     * client may open exchanges from now on. */
    void (*up)(wi_link *link, void *user);
    /* The last event of a link that is up or was dialled; its exchanges have been told `over`.
     * WEIR_OK: both sides are done with it, after a drain or for idleness; WEIR_ECLOSED: the peer
     * closed; WEIR_EUNAVAILABLE: it could not be connected; WEIR_EDEADLINE, WEIR_EPROTO,
     * WEIR_ELIMIT: cut off; or what wi_link_close said. `why` is a static text, perhaps "". */
    void (*over)(wi_link *link, weir_status status, const char *why, void *user);
    /* After a drain or a close of all, none is left. `links_user`: that of the configuration. */
    void (*gone)(void *links_user);
} wi_link_events;

/* Zero is the default that is given. */
typedef struct wi_links_config {
    weir_loop *loop;              /* on epoll; WEIR_EUNSUPPORTED otherwise */
    const weir_env *env;          /* NULL: the loop's */
    const wi_link_events *events; /* borrowed */
    void *user;                   /* what each accepted link starts with */
    weir_http_session_config
        session;                 /* for all; its version: of servers AUTO or the only one, of
                                    clients what they ask for. is_tls, pool and user are set here
                                    for each link. header_timeout_ms is that of handshakes, too */
    uint64_t *keepalives;        /* counts their PINGs, for others to read; NULL: nobody does */
    uint32_t connections_max;    /* of accepted ones: 1024 */
    uint32_t write_timeout_ms;   /* a peer takes nothing: 60,000 */
    uint32_t linger_timeout_ms;  /* for the peer to close after us: 2,000 */
    uint32_t connect_timeout_ms; /* connect and handshake, of dialled ones: 20,000 */
    uint32_t output_bytes_max;   /* waiting for the socket: 256 KiB */
    bool end_is_gone; /* a client of HTTP/1.1 that ends its side has gone: what is under way is cut
                         off. Default: it is answered all the same */
    size_t pool_bytes_max; /* kept for the next (weir_http_pool_new): 0: its default */
} wi_links_config;

/* WEIR_ENOMEM, WEIR_EUNSUPPORTED, WEIR_EINVAL. */
weir_status wi_links_new(const wi_links_config *config, wi_links **ret_links, const char **ret_why);
/* Takes them. What is left is cut off without events. NULL is fine. If something was under way in
 * this turn, the last of its memory goes at the turn's end. */
void wi_links_free(wi_links *links);
uint32_t wi_links_count(const wi_links *links); /* those that came to an end, too, up to the last */
weir_http_pool *wi_links_pool(const wi_links *links);

/* ---- Servers ---- */

/* Accepts on `port`; `tls` (NULL: in clear) is borrowed until the links are freed. Once. */
weir_status wi_links_listen(wi_links *links, const wi_port *port, uint32_t backlog, wi_tls *tls,
                            const char **ret_why);
/* The port it listens on; 0: it does not. */
uint16_t wi_links_port(const wi_links *links);

/* ---- Clients ---- */

typedef struct wi_dial {
    const wi_address *address;
    wi_tls *tls;      /* NULL: in clear; borrowed as long as the link lives */
    const char *name; /* whom the certificate must name; copied */
    void *user;
} wi_dial;
/* Begins to connect; `up` or `over` follows. WEIR_EUNAVAILABLE: it failed at once, and nothing
 * follows; WEIR_ECLOSED: the links drain; WEIR_EINVAL: TLS without a name; WEIR_ENOMEM. */
weir_status wi_links_dial(wi_links *links, const wi_dial *dial, wi_link **ret_link);

/* ---- Ends ---- */

/* No new ones: those accepted and dialled end when what is under way on them does; `gone` follows.
 * Servers say GOAWAY twice (RFC 9113 6.8): the last when the peer has answered the PING behind the
 * first, or a second later; those at rest after 250 ms, and they are waited for as long to close.
 */
void wi_links_drain(wi_links *links);
/* Cuts all off soon, with `status`, and takes no new ones; `gone` follows. */
void wi_links_close(wi_links *links, weir_status status);
/* Drains one. */
void wi_link_drain(wi_link *link);
/* Cuts one off soon: its exchanges are told `status`. What the session still has to say is said,
 * if the socket takes it at once. */
void wi_link_close(wi_link *link, weir_status status);

/* ---- A link ---- */

/* NULL before it is up, and when it is over. */
weir_http_session *wi_link_session(const wi_link *link);
/* The one that has the exchange. */
static inline wi_link *wi_link_of(const weir_http_exchange *exchange)
{
    return (wi_link *)weir_http_session_user(weir_http_exchange_session(exchange));
}
/* Something was asked of its session: output is handed out at the end of the turn, and input read
 * that was waited with. */
void wi_link_touch(wi_link *link);
void *wi_link_user(const wi_link *link);
wi_links *wi_link_links(const wi_link *link);
/* "192.0.2.1:443" or "[2001:db8::1]:443", as snprintf; 0: unknown. */
size_t wi_link_peer(const wi_link *link, char *text, size_t cap);
/* Of the peer's verified certificate; "" if it has none. Borrowed from the link. */
const char *wi_link_peer_subject(const wi_link *link);
bool wi_link_is_tls(const wi_link *link);

/* The list for wi_tls_config.alpn: AUTO: what this build speaks. */
const char *wi_link_alpn(weir_http_version version);

#endif
