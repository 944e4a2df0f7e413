/* HTTP/1.1 messages without I/O: strict heads, bodies and a writer, for servers and clients.
 *
 * Nothing here allocates, blocks or keeps a pointer after it returns, and everything is plain
 * memory of the caller: any thread, one thread at a time per object. Spans point into the buffer
 * that was passed in and live as long as its bytes stay put.
 *
 * Strict means: what RFC 9112 and RFC 9110 do not allow is refused, also where recipients may
 * repair it (bare LF, obs-fold, repeated Content-Length). The verdict depends on the bytes alone,
 * never on how they were cut into reads. */
#ifndef WEIR_HTTP1_H
#define WEIR_HTTP1_H

#include <weir/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, text): the methods that are known. Others are answered 501 (RFC 9110 section 9.1). */
#define WEIR_HTTP1_METHOD_LIST(X) \
    X(GET, "GET")                 \
    X(HEAD, "HEAD")               \
    X(POST, "POST")               \
    X(PUT, "PUT")                 \
    X(DELETE, "DELETE")           \
    X(CONNECT, "CONNECT")         \
    X(OPTIONS, "OPTIONS")         \
    X(TRACE, "TRACE")             \
    X(PATCH, "PATCH")             \
    X(COPY, "COPY")               \
    X(LOCK, "LOCK")               \
    X(MKCOL, "MKCOL")             \
    X(MOVE, "MOVE")               \
    X(PROPFIND, "PROPFIND")       \
    X(PROPPATCH, "PROPPATCH")     \
    X(SEARCH, "SEARCH")           \
    X(UNLOCK, "UNLOCK")           \
    X(BIND, "BIND")               \
    X(REBIND, "REBIND")           \
    X(UNBIND, "UNBIND")           \
    X(ACL, "ACL")                 \
    X(REPORT, "REPORT")           \
    X(MKACTIVITY, "MKACTIVITY")   \
    X(CHECKOUT, "CHECKOUT")       \
    X(MERGE, "MERGE")             \
    X(MSEARCH, "M-SEARCH")        \
    X(NOTIFY, "NOTIFY")           \
    X(SUBSCRIBE, "SUBSCRIBE")     \
    X(UNSUBSCRIBE, "UNSUBSCRIBE") \
    X(PURGE, "PURGE")             \
    X(MKCALENDAR, "MKCALENDAR")   \
    X(LINK, "LINK")               \
    X(UNLINK, "UNLINK")           \
    X(SOURCE, "SOURCE")

typedef enum weir_http1_method {
    WEIR_HTTP1_METHOD_NONE = 0,
#define WEIR_HTTP1_METHOD_ENUM(name, text) WEIR_HTTP1_##name,
    WEIR_HTTP1_METHOD_LIST(WEIR_HTTP1_METHOD_ENUM)
#undef WEIR_HTTP1_METHOD_ENUM
} weir_http1_method;

/* "GET" for WEIR_HTTP1_GET; "" for a value that is none. */
WEIR_API const char *weir_http1_method_text(weir_http1_method method);

/* The reason phrase of a registered status code ("Not Found" for 404), or "" (RFC 9110 15). */
WEIR_API const char *weir_http1_reason(unsigned status);

/* Bytes in a buffer of the caller; not terminated. */
typedef struct weir_http1_span {
    const char *at;
    size_t len;
} weir_http1_span;

/* A field line. The value has no white space around it; it may be empty. */
typedef struct weir_http1_field {
    weir_http1_span name;
    weir_http1_span value;
} weir_http1_field;

/* What a peer may send at most. Zero is the default given here; NULL means all defaults. */
typedef struct weir_http1_limits {
    uint32_t target_bytes_max;    /* request target: 8 KiB; above it 414 */
    uint32_t head_bytes_max;      /* start line, fields and their line ends: 16 KiB, at most
                                     64 KiB (more counts as 64 KiB); above it 431 */
    uint32_t fields_max;          /* field lines: 100, and never above field_cap; above it 431 */
    uint32_t chunk_ext_bytes_max; /* chunk extension on one line: 1 KiB; above it, or above 16
                                     times as much in one body, 413 */
    uint32_t trailer_bytes_max;   /* trailer section: 4 KiB; above it 431 */
    uint64_t body_bytes_max;      /* body: 1 MiB, or WEIR_HTTP1_UNLIMITED; above it 413 */
} weir_http1_limits;

#define WEIR_HTTP1_UNLIMITED UINT64_MAX

/* How a body is delimited (RFC 9112 section 6.3). */
typedef enum weir_http1_framing {
    WEIR_HTTP1_NO_BODY = 0,
    WEIR_HTTP1_LENGTH,      /* content_length bytes */
    WEIR_HTTP1_CHUNKED,     /* chunks up to an empty one, then trailers */
    WEIR_HTTP1_UNTIL_CLOSE, /* responses only: all bytes up to the end of the connection */
} weir_http1_framing;

/* A parsed head. The caller sets `fields` and `field_cap`; the rest is written by the parser.
 * On WEIR_EPROTO and WEIR_ELIMIT only `status` and `why` are. */
typedef struct weir_http1_head {
    weir_http1_field *fields; /* borrowed: room for field_cap fields */
    uint32_t field_cap;
    uint32_t field_count;

    uint16_t status;            /* a response's code, 100 to 999: what is above 599 goes for 5xx
                                   (RFC 9110 section 15); of a refused request the code to answer */
    uint8_t minor;              /* 0 or 1: HTTP/1.0, HTTP/1.1 or a later 1.x */
    weir_http1_method method;   /* requests */
    weir_http1_framing framing; /* what to hand to weir_http1_body_init */
    uint64_t content_length;    /* as announced, 0 without one; of a HEAD reply there is no body */
    bool has_content_length;
    bool keep_alive;      /* the connection may carry another message */
    bool expect_continue; /* the sender waits for 100 before it sends the body (HTTP/1.1 only) */
    bool upgrade;         /* Connection lists "upgrade" and there is an Upgrade field */
    bool tunnel;          /* response: 2xx to CONNECT or 101; what follows is no longer HTTP */

    weir_http1_span target;       /* as sent */
    weir_http1_span path;         /* "/orders"; "*" in asterisk-form; empty for CONNECT */
    weir_http1_span query;        /* behind the '?', without it; at is NULL if there is none. It may
                                     have raw what browsers leave raw there: {}|\^`[] */
    weir_http1_span host;         /* host and port: of an absolute target, or else of Host */
    weir_http1_span content_type; /* at is NULL if there is none */
    weir_http1_span reason;       /* responses; may be empty */

    const char *why; /* static text: why it was refused */
} weir_http1_head;

/* Where the scan of an incomplete head stands, so that a head that comes byte by byte costs no
 * more than one that comes at once. Zero it for every new message; its fields are private. */
typedef struct weir_http1_scan {
    uint32_t at;
    uint32_t mark;
    uint16_t field_count;
    uint8_t state;
    uint8_t flags;
} weir_http1_scan;

/* Parses the head of a request out of `buf`, which holds the message from its first byte. One
 * empty line before it is skipped (RFC 9112 section 2.2).
 *
 * WEIR_EPARTIAL: not complete; call again with the same bytes and more (they may have moved) and
 *   the same `scan`. Whatever can be refused from the bytes at hand has been.
 * WEIR_OK: *ret_head is filled, *ret_consumed bytes are the head; the body begins there.
 * WEIR_EPROTO: malformed; ret_head->status says what to answer: 400, 417 (unknown expectation),
 *   501 (unknown method or transfer coding) or 505 (major version).
 * WEIR_ELIMIT: too large: 413, 414 or 431.
 * After a refusal answer and close: nothing behind it may be taken for a request. */
WEIR_API WEIR_MUST_USE weir_status weir_http1_request_head(const weir_http1_limits *limits,
                                                           const char *buf, size_t len,
                                                           weir_http1_scan *scan,
                                                           weir_http1_head *ret_head,
                                                           size_t *ret_consumed);

/* The same for a response to a request of `request_method`, which decides whether a body follows
 * (RFC 9112 section 6.3). A 1xx response other than 101 is followed by another head. On a refusal
 * ret_head->status is 502, what a gateway would answer. */
WEIR_API WEIR_MUST_USE weir_status weir_http1_response_head(
    const weir_http1_limits *limits, weir_http1_method request_method, const char *buf, size_t len,
    weir_http1_scan *scan, weir_http1_head *ret_head, size_t *ret_consumed);

/* The value of the first field called `name` (any case), or NULL. Borrows the head. */
WEIR_API const weir_http1_span *weir_http1_find(const weir_http1_head *head, const char *name);

/* Whether a field called `name` lists `token` among its comma-separated elements (any case), as
 * in weir_http1_lists(head, "connection", "upgrade"). */
WEIR_API bool weir_http1_lists(const weir_http1_head *head, const char *name, const char *token);

/* Whether `span` equals `text`, ignoring the case of ASCII letters. */
WEIR_API bool weir_http1_span_is(weir_http1_span span, const char *text);

/* A body on its way in. Fields other than status, why and the trailers' are private. */
typedef struct weir_http1_body {
    uint64_t left;      /* bytes to come in this chunk or body */
    uint64_t budget;    /* bytes of body still allowed */
    const char *why;    /* static text: why it was refused, or NULL */
    size_t trailer_at;  /* where the bytes of trailer fields lie that the last call took in, in */
    size_t trailer_len; /* its `buf`: put one behind the other for weir_http1_trailers */
    uint32_t line_left;
    uint32_t ext_left;
    uint32_t ext_line_max;
    uint32_t trailer_bytes_max;
    uint16_t status; /* of a refused body: 400, 413 or 431 */
    uint8_t state;
    uint8_t digits;
} weir_http1_body;

/* Prepares `body` for what follows `head`. */
WEIR_API void weir_http1_body_init(weir_http1_body *body, const weir_http1_limits *limits,
                                   const weir_http1_head *head);

/* Takes in the next bytes behind the head. At most one run of body bytes comes out of a call; it
 * lies in `buf`, nothing is copied. Trailers are checked; who wants them keeps their bytes.
 *
 * WEIR_EPARTIAL and WEIR_OK write *ret_data (may be empty) and *ret_consumed; go on with the rest:
 *   WEIR_EPARTIAL: not at the end. If all of `len` was consumed, come again with more bytes.
 *   WEIR_OK: the body is complete; what was not consumed belongs to the next message.
 * WEIR_EPROTO, WEIR_ELIMIT: refused, see body->status and body->why; every later call says so
 *   again. Answer, if nothing was answered yet, and close. */
WEIR_API WEIR_MUST_USE weir_status weir_http1_body_feed(weir_http1_body *body, const char *buf,
                                                        size_t len, weir_http1_span *ret_data,
                                                        size_t *ret_consumed);

/* The peer closed: WEIR_OK if the body is whole, WEIR_EPROTO if it was cut off. */
WEIR_API WEIR_MUST_USE weir_status weir_http1_body_eof(weir_http1_body *body);

/* The trailer fields in what weir_http1_body_feed has checked; more than `cap` are left out. They
 * point into `bytes`. Gives how many. Those that say how a message is framed or routed mean nothing
 * there, and must not be merged into the head (RFC 9110 section 6.5.1). */
WEIR_API size_t weir_http1_trailers(const char *bytes, size_t len, weir_http1_field *fields,
                                    size_t cap);

/* Whether the body is complete; true from the start if there is none. */
WEIR_API bool weir_http1_body_done(const weir_http1_body *body);

/* What a head that we write says about the connection. */
typedef enum weir_http1_connection {
    WEIR_HTTP1_CONNECTION_DEFAULT = 0, /* no Connection field */
    WEIR_HTTP1_CONNECTION_CLOSE,
    WEIR_HTTP1_CONNECTION_KEEP_ALIVE, /* for peers that speak HTTP/1.0 */
    WEIR_HTTP1_CONNECTION_UPGRADE,
} weir_http1_connection;

/* A response head to write. Framing and connection are said by their members only: fields named
 * Content-Length, Transfer-Encoding or Connection are refused. */
typedef struct weir_http1_response {
    unsigned status; /* 100 to 599 */
    weir_http1_framing framing;
    uint64_t content_length; /* with WEIR_HTTP1_LENGTH */
    weir_http1_connection connection;
    const char *date; /* 29 characters of weir_http1_date_at(), or NULL: no Date field */
    weir_http1_span content_type;
    const weir_http1_field *fields;
    size_t field_count;
} weir_http1_response;

/* A request head to write; the same rules. */
typedef struct weir_http1_request {
    weir_http1_method method;
    weir_http1_span target; /* origin-, absolute-, authority- or asterisk-form */
    weir_http1_span host;   /* host and port, may be empty */
    weir_http1_framing framing;
    uint64_t content_length;
    weir_http1_connection connection;
    weir_http1_span content_type;
    const weir_http1_field *fields;
    size_t field_count;
} weir_http1_request;

/* Write a head with its empty line into buf[0..cap).
 * WEIR_EINVAL: a field name that is no token, CR, LF, NUL or another control in a value, a field
 *   that is not the caller's to write, a body where the status allows none, a bad target or host.
 * WEIR_ELIMIT: it does not fit; the buffer's content is then undefined. */
WEIR_API WEIR_MUST_USE weir_status weir_http1_write_response_head(
    const weir_http1_response *response, char *buf, size_t cap, size_t *ret_len);
WEIR_API WEIR_MUST_USE weir_status weir_http1_write_request_head(const weir_http1_request *request,
                                                                 char *buf, size_t cap,
                                                                 size_t *ret_len);

/* Chunk framing (RFC 9112 section 7.1): the line before `size` bytes of data, which must be
 * followed by WEIR_HTTP1_CHUNK_END; the body ends with WEIR_HTTP1_LAST_CHUNK. `buf` has room for
 * WEIR_HTTP1_CHUNK_HEAD_MAX bytes. Returns the length of the line; 0 for a size of 0, which would
 * end the body. */
#define WEIR_HTTP1_CHUNK_HEAD_MAX 18
#define WEIR_HTTP1_CHUNK_END      "\r\n"
#define WEIR_HTTP1_LAST_CHUNK     "0\r\n\r\n"
WEIR_API size_t weir_http1_write_chunk_head(uint64_t size, char *buf);

/* The end of a chunked body with trailers: the last chunk, the fields, the empty line. The rules
 * for fields and the errors of a head. */
WEIR_API WEIR_MUST_USE weir_status weir_http1_write_trailers(const weir_http1_field *fields,
                                                             size_t count, char *buf, size_t cap,
                                                             size_t *ret_len);

/* A Date text (IMF-fixdate, RFC 9110 section 5.6.7) that is made once a second. Zero it first. */
typedef struct weir_http1_date {
    int64_t unix_s;
    char text[32];
} weir_http1_date;

/* The text for that second, terminated, 29 characters. Borrowed from `date` until the next call.
 * Seconds before 1970 or after 9999 count as the nearest that can be said. */
WEIR_API const char *weir_http1_date_at(weir_http1_date *date, int64_t unix_s);

#ifdef __cplusplus
}
#endif
#endif
