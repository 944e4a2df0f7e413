/* One connection's HTTP without I/O: HTTP/2 (RFC 9113, on nghttp2) or HTTP/1.1 (RFC 9112), of
 * either side; bytes in, bytes out, and exchanges of one request and one response between.
 *
 * Both versions look the same from above: bodies come and go as they are produced, each exchange
 * has a window that opens only as what came is consumed, and trailers. The peer is not trusted:
 * heads, rates, floods, windows and times have limits, and who breaks them is cut off.
 *
 * Memory by `env`, also nghttp2's; pooled, so that an exchange in steady state allocates nothing
 * here. One thread. Events run beneath weir_http_session_feed, _output, _sweep and _eof only, never
 * beneath the other functions; an event may call anything but feed, output, sweep, eof and free. */
#ifndef WEIR_HTTP_SESSION_H
#define WEIR_HTTP_SESSION_H

#include <weir/bytes.h>
#include <weir/http1.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_http_session weir_http_session;
typedef struct weir_http_exchange weir_http_exchange;
typedef struct weir_http_pool weir_http_pool;

typedef enum weir_http_version {
    WEIR_HTTP_AUTO, /* server in clear: HTTP/2 if the first bytes are its preface (RFC 9113 3.4),
                       otherwise HTTP/1.1 */
    WEIR_HTTP_1,
    WEIR_HTTP_2
} weir_http_version;

/* A request's or a response's head. Spans and fields are borrowed for the event, or the call. */
typedef struct weir_http_head {
    weir_http1_span method;    /* requests: "POST" */
    weir_http1_span path;      /* requests: with its query, "/a?b" */
    weir_http1_span authority; /* requests: host and port; incoming may be empty in HTTP/1.0 */
    weir_http1_span scheme;    /* requests, "http" or "https"; incoming HTTP/1: by is_tls */
    unsigned status;           /* responses: 200…599 */
    const weir_http1_field
        *fields; /* incoming names are in lower case, in both versions; hop-by-hop
                    fields, Host and Content-Length are not among them */
    size_t field_count;
    uint64_t content_length; /* UINT64_MAX: unknown. Outgoing HTTP/1 is chunked then */
    bool ends;               /* there is no body, and no trailers */
} weir_http_head;

/* All but `head` are optional. */
typedef struct weir_http_events {
    /* Server: a request begins; give the exchange its user pointer. Client: the response's head;
     * interim (1xx) ones are swallowed. */
    void (*head)(weir_http_exchange *exchange, const weir_http_head *head, void *user);
    /* Bytes of body, borrowed for the call. They stay in the window until they are consumed. */
    void (*body)(weir_http_exchange *exchange, const char *bytes, size_t n, void *user);
    /* The peer's message is complete; its trailers. Not told if the head `ends`. */
    void (*end)(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n,
                void *user);
    /* weir_http_exchange_room had been 0, and now three quarters of send_bytes_max are free. */
    void (*room)(weir_http_exchange *exchange, void *user);
    /* The last event of an exchange: it is gone after this. WEIR_OK: both messages were complete
     * and ours is handed out; WEIR_ECANCELED: the peer reset it; WEIR_EUNAVAILABLE: it never was
     * processed (REFUSED_STREAM, above a GOAWAY's last stream), so it may be tried again elsewhere;
     * WEIR_EPROTO, WEIR_ELIMIT: the peer broke a rule; WEIR_ECLOSED: the connection is gone;
     * or what our own reset said. `h2_code`: of the RST_STREAM, in HTTP/2.
     * A server's exchange whose response is handed out while the request goes on is over, too, with
     * WEIR_OK: a second later, if it still goes on, RST_STREAM of NO_ERROR (RFC 9113 8.1); in
     * HTTP/1 the connection's end. In HTTP/2 the end of a response without trailers waits for that
     * of the request, a second at most. A client may reset what is left of its request, when the
     * response ended. */
    void (*over)(weir_http_exchange *exchange, weir_status status, uint32_t h2_code, void *user);
    /* Server: a request was answered 4xx or 5xx, or reset, by the session itself, before its head
     * was told: malformed, too large, or beyond exchanges_max. `user`: of the session. */
    void (*refused)(weir_http_session *session, void *user);
} weir_http_events;

/* Zero is the default that is given. */
typedef struct weir_http_session_config {
    weir_http_version version;
    bool is_client;
    bool is_tls;
    const weir_env *env;              /* NULL: the defaults */
    weir_http_pool *pool;             /* borrowed; NULL: one of its own, of `env` */
    const weir_http_events *events;   /* borrowed */
    void *user;                       /* of the session; each exchange starts with it as its own */
    uint32_t exchanges_max;           /* that the peer may open at once: 100. HTTP/1: 1 */
    uint32_t head_bytes_max;          /* names, values and 32 for each field: 16 KiB. HTTP/1: all
                                         bytes of the head, at most 64 KiB */
    uint32_t fields_max;              /* 100. HTTP/1: at most 256 */
    uint32_t stream_window_bytes;     /* 64 KiB */
    uint32_t connection_window_bytes; /* 1 MiB */
    uint32_t send_bytes_max;          /* body of an exchange queued for sending: 64 KiB */
    uint32_t frame_bytes_max;      /* of DATA that we send, at most what the peer takes: 16 KiB */
    uint32_t header_timeout_ms;    /* preface and a whole head: 10,000 */
    uint32_t idle_timeout_ms;      /* without exchanges: 300,000; UINT32_MAX: never */
    uint32_t park_ms;              /* at rest for so long: 1,000; UINT32_MAX: never. HTTP/2 */
    uint32_t keepalive_ms;         /* PING a silent peer: 0: never. HTTP/2 */
    uint32_t keepalive_timeout_ms; /* 20,000 */
    bool keepalive_idle;           /* also without exchanges */
    /* Floods, HTTP/2. Bursts and then so many a second. */
    uint32_t resets_burst, resets_per_second;         /* RST_STREAM received: 1000, 33 */
    uint32_t violations_burst, violations_per_second; /* resets the peer made us send: 100, 33 */
    uint32_t control_burst, control_per_second; /* SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty
                                                   DATA, beyond what our own frames lead to, three
                                                   each and two for each KiB of DATA: 1000, 200 */
    uint32_t continuations_max;                 /* of one head: 8 */
} weir_http_session_config;

/* Memory that sessions of one thread share, so that those at rest hold little: what was freed is
 * kept for the next, by size, up to `keep_bytes_max` bytes (0: 4 MiB; a session's own: 128 KiB).
 * Free it after its sessions. */
WEIR_API weir_http_pool *weir_http_pool_new(const weir_env *env, size_t keep_bytes_max);
WEIR_API void weir_http_pool_free(weir_http_pool *pool);
/* Has memory go back to the system: that of parked sessions; and, if much less is in use than was
 * (by half, and by 16 MiB), what malloc() has, if that is the allocator. Call it about once a
 * second.
 *
 * A session of HTTP/2 with a pool that was given to it is parked after park_ms without exchanges
 * and input: by weir_http_session_sweep it is packed into an eighth of what it holds, of which this
 * lets go. It wakes by itself, without allocating, when anything comes or is asked of it. */
WEIR_API void weir_http_pool_sweep(weir_http_pool *pool);
/* The pool as an allocator, for what belongs to exchanges; on its thread only. */
WEIR_API const weir_env *weir_http_pool_env(const weir_http_pool *pool);

/* Gives a session; config is copied. WEIR_EUNSUPPORTED: HTTP/2 in a build without nghttp2. */
WEIR_API weir_status weir_http_session_new(const weir_http_session_config *config, uint64_t now_ns,
                                           weir_http_session **ret_session) WEIR_MUST_USE;
/* Takes the session. Exchanges end without events: call weir_http_session_eof before. */
WEIR_API void weir_http_session_free(weir_http_session *session);

/* ---- Bytes; for the one who has the socket ---- */

/* Takes in what was read: all of it, but what HTTP/1 keeps for later (`*ret_consumed`; call again
 * with the rest when _wants_input is true again). An error: the connection is over: send what
 * _output gives (it says why to the peer), then close; the exchanges are told `over` by _eof. */
WEIR_API weir_status weir_http_session_feed(weir_http_session *session, const char *bytes, size_t n,
                                            uint64_t now_ns, size_t *ret_consumed) WEIR_MUST_USE;
/* False while nobody has consumed what came (HTTP/1's window): do not read the socket. */
WEIR_API bool weir_http_session_wants_input(const weir_http_session *session);
/* Appends what is to be sent to `out`, about `bytes_max` bytes at most (a frame more). More may be
 * there: _wants_output. An error: as that of _feed (some of what a peer does wrong shows only
 * here); `out` holds the last that is to be sent. */
WEIR_API weir_status weir_http_session_output(weir_http_session *session, weir_bytes *out,
                                              size_t bytes_max, uint64_t now_ns) WEIR_MUST_USE;
WEIR_API bool weir_http_session_wants_output(const weir_http_session *session);
/* The connection is gone (WEIR_ECLOSED), or cut off for a reason: every exchange is told `over`.
 * WEIR_OK: the peer ended its side in order, and all it sent has been fed. In HTTP/1 requests that
 * are whole are answered all the same, and a response without a length is complete; then the
 * session is over. In HTTP/2 it is WEIR_ECLOSED. */
WEIR_API void weir_http_session_eof(weir_http_session *session, weir_status status);
/* No new exchanges: GOAWAY (server: after a notice first, RFC 9113 6.8, and a PING, whose answer
 * has the last word said; or call again to say it), or "Connection: close". Those under way go on.
 */
WEIR_API void weir_http_session_drain(weir_http_session *session);
/* True when nothing is under way and nothing can follow: close it. */
WEIR_API bool weir_http_session_is_over(const weir_http_session *session);
/* Looks at the times; call it about once a second. An error: as that of _feed. */
WEIR_API weir_status weir_http_session_sweep(weir_http_session *session,
                                             uint64_t now_ns) WEIR_MUST_USE;
/* Why it was cut off: a static text; "" if it was not. */
WEIR_API const char *weir_http_session_why(const weir_http_session *session);
WEIR_API weir_http_version weir_http_session_version(const weir_http_session *session);
WEIR_API uint32_t weir_http_session_exchanges(const weir_http_session *session);
/* PINGs sent so far because of keepalive_ms. */
WEIR_API uint32_t weir_http_session_keepalives(const weir_http_session *session);
WEIR_API void *weir_http_session_user(const weir_http_session *session);

/* ---- Exchanges ---- */

/* Client: begins a request. WEIR_EAGAIN: as many as the peer allows are open (HTTP/1: one is);
 * WEIR_ECLOSED: it drains, or is over; WEIR_EINVAL: a bad field; WEIR_ENOMEM. */
WEIR_API weir_status weir_http_session_open(weir_http_session *session, const weir_http_head *head,
                                            void *user,
                                            weir_http_exchange **ret_exchange) WEIR_MUST_USE;
/* How many may be opened now. */
WEIR_API uint32_t weir_http_session_openable(const weir_http_session *session);
/* Client: no more can be opened, whatever ends: the peer said GOAWAY, it drains, or it is over. */
WEIR_API bool weir_http_session_is_closing(const weir_http_session *session);

WEIR_API weir_http_session *weir_http_exchange_session(const weir_http_exchange *exchange);
WEIR_API void weir_http_exchange_set_user(weir_http_exchange *exchange, void *user);
WEIR_API void *weir_http_exchange_user(const weir_http_exchange *exchange);

/* Server: begins the response; once. WEIR_EEXIST: begun; WEIR_EINVAL: a bad field; WEIR_ENOMEM. */
WEIR_API weir_status weir_http_exchange_respond(weir_http_exchange *exchange,
                                                const weir_http_head *head) WEIR_MUST_USE;
/* Body to be sent is written straight into this buffer: append at its end, then say _written, which
 * may be left out if the buffer was not empty; what stands before is not yours. At least `more`
 * bytes are free behind its end. NULL for want of memory, or if our side has ended. Borrowed until
 * the next call of this library. */
WEIR_API weir_bytes *weir_http_exchange_body(weir_http_exchange *exchange, size_t more);
WEIR_API void weir_http_exchange_written(weir_http_exchange *exchange);
/* send_bytes_max less what is queued; when 0, `room` tells when it is worth while. What the peer's
 * windows do not let out stays queued. */
WEIR_API size_t weir_http_exchange_room(weir_http_exchange *exchange);
/* Our message is complete: follows the queued body. trailers: HTTP/2, and chunked HTTP/1; dropped
 * in an HTTP/1 message with a length, or to an HTTP/1.0 peer. WEIR_EINVAL: a bad field, or (HTTP/1)
 * not as many bytes as the head announced; WEIR_ENOMEM: neither has ended it. */
WEIR_API weir_status weir_http_exchange_end(weir_http_exchange *exchange,
                                            const weir_http1_field *trailers,
                                            size_t n) WEIR_MUST_USE;
/* `n` bytes of body have been used up: the stream's window opens by as many (in lots of at least
 * half the window, or when the peer has none left). The connection's opens as bytes come in. */
WEIR_API void weir_http_exchange_consume(weir_http_exchange *exchange, size_t n);
/* Gives it up: RST_STREAM with `h2_code` (RFC 9113 section 7), and what is queued is dropped; in
 * HTTP/1 the connection ends behind it. `over` follows with `status`, not beneath this call. Does
 * not count against the peer. */
WEIR_API void weir_http_exchange_reset(weir_http_exchange *exchange, weir_status status,
                                       uint32_t h2_code);

#ifdef __cplusplus
}
#endif
#endif
