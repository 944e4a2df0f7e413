/* An HTTP/1.1 client as an asynchronous stage: each item becomes one request, and its response
 * updates the item, over a bounded pool of kept-alive connections to one server. */
#ifndef WEIR_HTTP_CLIENT_H
#define WEIR_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/async.h>
#include <weir/http1.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A request to fill in. All spans and fields are copied before the next callback runs, so they may
 * point into the item's body, into static text or into `scratch`. */
typedef struct weir_http_call_request {
    weir_http1_method method;     /* preset: WEIR_HTTP1_GET. CONNECT is refused */
    weir_http1_span target;       /* origin-form, "/price/A-1"; preset: "/" */
    weir_http1_span content_type; /* preset: none */
    weir_http1_field *fields;     /* room for field_cap; not Host, Content-Length, Connection, TE */
    size_t field_cap, field_count;
    weir_http1_span body; /* sent with its Content-Length */
    bool repeatable;      /* may be sent twice although the method is not idempotent, say because it
                             carries an id by which the server knows it. Preset: false */
    char *scratch;        /* room to format the target or fields in */
    size_t scratch_bytes;
} weir_http_call_request;

/* A complete response, borrowed for the callback. */
typedef struct weir_http_call_response {
    unsigned status;             /* 200 to 999; above 599 it is to be taken for a 5xx */
    const weir_http1_head *head; /* its fields: weir_http1_find(head, "etag") */
    weir_http1_span body;        /* whole, decoded from its chunks */
    /* The operation: a callback that wants another item to go on derives one and puts it into
     * op->item; nothing else of it is the callback's. */
    weir_op *op;
} weir_http_call_response;

/* Zero is the default that is given; pointers stay borrowed until the pipeline is freed. */
typedef struct weir_http_call_config {
    const char *base_url; /* "http://host[:port]" or "https://…"; required. IPv6 in brackets */
    /* Fills in the request for `item`, which it borrows. A status other than WEIR_OK fails the
     * item with it, and nothing is sent. Required. Loop thread. */
    weir_status (*request)(const weir_item *item, weir_http_call_request *request, void *user);
    /* Takes the response over into `item`. Borrows both; a status other than WEIR_OK fails the item
     * with it. NULL: 2xx goes on, 5xx and 429 fail as WEIR_EUNAVAILABLE, the rest as
     * WEIR_EREJECTED. Loop thread. */
    weir_status (*response)(weir_item *item, const weir_http_call_response *response, void *user);
    void *user;

    uint32_t connections_max;    /* per loop, 1..4096; it is also the demand: 12 */
    bool unordered;              /* items go on as responses come; default: in order of arrival */
    uint32_t request_timeout_ms; /* from start to the last byte of the response: 30,000. The
                                    deadline of the item's context counts too */
    uint32_t connect_timeout_ms; /* name, connect and TLS handshake: 3,000 */
    uint32_t idle_timeout_ms;    /* a connection without work is closed: 30,000 */
    uint32_t backoff_ms;         /* after a failed connect, doubled each time, with jitter of a
                                    half: 100. Until then items fail at once */
    uint32_t backoff_ms_max;     /* 5,000 */
    uint32_t name_ttl_ms;        /* how long a resolved name is believed: 30,000 */
    uint32_t request_bytes_max;  /* head and body: 1 MiB */
    uint32_t response_body_bytes_max; /* 1 MiB; above it the item fails as WEIR_ELIMIT */

    const char *tls_ca_file; /* PEM; NULL: the system's certificates */
    const char *tls_name;    /* whom the certificate must name; NULL: the URL's host */
    bool tls_insecure;       /* do not verify; for tests only */
} weir_http_call_config;

/* Describes the stage; config is copied. NULL for want of memory.
 *
 * An item fails with WEIR_EUNAVAILABLE when the server can't be reached (at once while the client
 * waits after a failed connect), WEIR_EIO when the connection broke after the request was sent,
 * WEIR_EPROTO for a malformed response, WEIR_ELIMIT for one over a limit, WEIR_EDEADLINE or
 * WEIR_ECANCELED, WEIR_EUNSUPPORTED for https in a build without OpenSSL. A request is sent again,
 * once, if a kept-alive connection closed before the first byte of a response and the method is
 * idempotent (RFC 9110 section 9.2.2). A `traceparent` field (W3C Trace Context) is added if the
 * item's context has a trace. Needs a loop with an event base. */
WEIR_API weir_stage_spec *weir_http_call(const weir_http_call_config *config);

/* "text" as a span; borrows it. For requests. */
WEIR_API weir_http1_span weir_http_call_text(const char *text);

#ifdef __cplusplus
}
#endif
#endif
