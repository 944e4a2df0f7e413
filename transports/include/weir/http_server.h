/* The HTTP/1.1 server as a source of requests, and the ways to answer them (RFC 9112, RFC 9110).
 *
 * The source emits one item per request, complete with its body. Whatever is made of it keeps it
 * alive, and a reply finds its way by the item alone. A request is answered once: by
 * weir_http_reply and its kin, or, when its item ends without, by how it ended (see
 * weir_http_server). A reply that is given on the loop of the connection goes out at the end of the
 * turn; given on another loop it is kept in the request and goes out when the item ends at home.
 * Replies go out in the order of the requests, whatever the order in which they are given.
 *
 * Without demand the server stops reading, and then accepting. */
#ifndef WEIR_HTTP_SERVER_H
#define WEIR_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/http1.h>
#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Connections that you accepted yourself, on their way to a server. */
typedef struct weir_http_door weir_http_door;

/* Zero is the default that is given; pointers stay borrowed until the pipeline is freed. */
typedef struct weir_http_server_config {
    const char *listen; /* "127.0.0.1:8080", "[::1]:8080", ":8080" (every address); port 0: any free
                           one, the same for all replicas. NULL: "127.0.0.1:8080" */
    /* Do not listen: serve what is handed in here. Borrowed. NULL: listen. */
    weir_http_door *door;
    /* Told the port, once per replica, as it begins to listen. Optional. Loop thread. */
    void (*listening)(uint16_t port, void *user);
    void *user;
    uint32_t backlog;            /* connections the kernel keeps waiting: SOMAXCONN */
    uint32_t connections_max;    /* of all replicas together: the descriptor limit less 64 */
    weir_http1_limits limits;    /* what a request may be at most: see there; at most 100 fields */
    uint32_t header_timeout_ms;  /* a whole head, and a TLS handshake; 408: 10,000 */
    uint32_t body_timeout_ms;    /* a whole body; 408: 30,000 */
    uint32_t idle_timeout_ms;    /* nothing under way; closed: 60,000 */
    uint32_t write_timeout_ms;   /* a peer took nothing of a reply; reset: 30,000 */
    uint32_t linger_timeout_ms;  /* a peer does not close after us; closed: 2,000 */
    uint32_t pipelined_max;      /* requests of a connection read and not answered, 1..65,535: 16 */
    uint32_t reply_bytes_max;    /* replies of a connection not yet sent; above it, it is read no
                                    further and streamed replies wait: 256 KiB */
    uint64_t body_bytes_max_all; /* bodies being received, per loop; more wait: 64 MiB */
    uint32_t overload_wait_ms;   /* without demand for so long, requests are read and answered 503;
                                    0: they wait in their sockets */
    uint32_t retry_after_s;      /* what a 503 says: 1 */
    uint32_t request_deadline_ms; /* of a request's context, from when it is emitted: 30,000;
                                     UINT32_MAX: none. What is unanswered then is answered 504 here,
                                     at the next look (a tenth of the shortest deadline, 1 s) */
    const char *tls_cert_file;    /* PEM, the whole chain: serve TLS 1.2 and up. NULL: in clear */
    const char *tls_key_file;     /* PEM */
} weir_http_server_config;

/* The source. config NULL: all defaults. NULL for want of memory. The stage fails, and the pipeline
 * with it, if it can't listen: WEIR_EEXIST (address in use), WEIR_EDENIED, WEIR_ENOTFOUND (no such
 * address); if its TLS files are no good (WEIR_EINVAL), or the loop's base is no epoll
 * (WEIR_EUNSUPPORTED).
 *
 * Items: plain requests of weir_http_request_of; cost: their bytes; key: 0; context: the request's,
 * with its deadline and its trace (of `traceparent`, or a new one), cancelled with WEIR_ECLOSED if
 * the peer is reset before the answer. A peer that only ends its sending is still answered.
 *
 * An item that ends unanswered: acked or filtered: 204; rejected or aborted, or failed with
 * WEIR_EOVERLOAD, WEIR_EUNAVAILABLE, WEIR_EREJECTED or WEIR_ECANCELED: 503 with Retry-After; failed
 * with WEIR_EDEADLINE: 504, with WEIR_ELIMIT: 413; failed otherwise or dead-lettered: 500. What
 * breaks the protocol is answered here, with one 4xx or 5xx, and the connection closes.
 *
 * Draining: what is complete is answered, the last with "Connection: close"; what is not is
 * answered 503. */
WEIR_API weir_stage_spec *weir_http_server(const weir_http_server_config *config);

/* Gives a door; NULL for want of memory. env NULL: the defaults. Any thread. */
WEIR_API weir_http_door *weir_http_door_new(const weir_env *env);
/* Takes the door, and closes what waits at it. After its pipeline is freed. NULL is fine. */
WEIR_API void weir_http_door_free(weir_http_door *door);
/* Hands in a connected stream socket. WEIR_OK: taken, it waits for demand and is then served, in
 * turn by the replicas. It stays yours with WEIR_EOVERLOAD (512 wait), WEIR_ECLOSED (the server
 * has ended) and WEIR_EINVAL (no socket). Any thread. */
WEIR_API weir_status weir_http_door_hand(weir_http_door *door, int fd) WEIR_MUST_USE;

/* ---- Requests ---- */

typedef struct weir_http_request weir_http_request;

/* The request that `item` is, or is made of (its parents are walked); NULL if there is none.
 * Borrowed: lives as long as the item. All that is read off a request may be read on any loop. */
WEIR_API const weir_http_request *weir_http_request_of(const weir_item *item);

WEIR_API weir_http1_method weir_http_request_method(const weir_http_request *request);
/* As sent; its parts: "/orders" of "/orders?x=1", and "x=1" (at is NULL without a '?'). */
WEIR_API weir_http1_span weir_http_request_target(const weir_http_request *request);
WEIR_API weir_http1_span weir_http_request_path(const weir_http_request *request);
WEIR_API weir_http1_span weir_http_request_query(const weir_http_request *request);
WEIR_API weir_http1_span weir_http_request_host(const weir_http_request *request);
/* at is NULL if there is none. */
WEIR_API weir_http1_span weir_http_request_content_type(const weir_http_request *request);
WEIR_API weir_http1_span weir_http_request_body(const weir_http_request *request);
/* The value of the first field called `name` (any case); at is NULL if there is none. */
WEIR_API weir_http1_span weir_http_request_find(const weir_http_request *request, const char *name);
WEIR_API uint32_t weir_http_request_fields(const weir_http_request *request);
/* Field `index`; empty beyond the last. */
WEIR_API weir_http1_field weir_http_request_field(const weir_http_request *request, uint32_t index);
/* 0 for HTTP/1.0, 1 for HTTP/1.1. */
WEIR_API unsigned weir_http_request_minor(const weir_http_request *request);
WEIR_API bool weir_http_request_is_tls(const weir_http_request *request);
/* "127.0.0.1:5000" or "[::1]:5000", terminated, at most 56 bytes with the NUL; gives the length, as
 * snprintf. */
WEIR_API size_t weir_http_request_peer(const weir_http_request *request, char *buffer, size_t cap);
/* The request's context; the same as its item's. */
WEIR_API weir_context *weir_http_request_context(const weir_http_request *request);

/* ---- Replies ---- */

typedef struct weir_http_answer {
    int status;               /* 200..599; 0: 200 */
    const char *content_type; /* NULL: no such field */
    const void *body;         /* for HEAD, and with 204 and 304, it is not sent */
    size_t body_bytes;
    const weir_http1_field *fields; /* further ones; not Content-Length, Transfer-Encoding,
                                       Connection, Date */
    size_t field_count;
    bool close; /* close the connection behind this reply */
} weir_http_answer;

/* Answers the request that `item` is made of. Everything is borrowed for the call. Takes no item.
 * WEIR_EINVAL: not made of a request, a status that is none, a field that may not be sent;
 * WEIR_EEXIST: answered already; WEIR_ECLOSED: the peer is gone; WEIR_ENOMEM. After WEIR_EINVAL and
 * WEIR_ENOMEM it is still unanswered. On the loop that has the item. */
WEIR_API weir_status weir_http_reply(weir_item *item, int status, const char *content_type,
                                     const void *body, size_t body_bytes) WEIR_MUST_USE;
WEIR_API weir_status weir_http_answer_with(weir_item *item,
                                           const weir_http_answer *answer) WEIR_MUST_USE;
/* Whether it was answered (or a streamed answer begun). On the loop that has the item. */
WEIR_API bool weir_http_is_answered(const weir_item *item);

/* A reply in pieces: begin, any number of chunks, end; in chunked coding, or up to the end of the
 * connection to an HTTP/1.0 peer. `answer->body` is the first piece. Only on the connection's loop
 * (WEIR_EUNSUPPORTED on another). If the item ends before weir_http_reply_end, the connection is
 * cut off, so that the peer sees that it is incomplete. */
WEIR_API weir_status weir_http_reply_begin(weir_item *item,
                                           const weir_http_answer *answer) WEIR_MUST_USE;
/* WEIR_EAGAIN: no room, nothing was taken; WEIR_EINVAL: not begun; WEIR_ECLOSED; WEIR_ENOMEM. A
 * chunk is taken whole if there is any room at all, so that none is too large. */
WEIR_API weir_status weir_http_reply_chunk(weir_item *item, const void *bytes,
                                           size_t n) WEIR_MUST_USE;
WEIR_API weir_status weir_http_reply_end(weir_item *item) WEIR_MUST_USE;
/* Bytes the connection takes now: reply_bytes_max less what is not sent. */
WEIR_API size_t weir_http_reply_room(const weir_item *item);
/* Runs `has_room` once, as soon as there is room again (never at once, never if the peer goes:
 * watch the context for that). The item must be held until then. */
WEIR_API weir_status weir_http_reply_on_room(weir_item *item,
                                             void (*has_room)(weir_item *item, void *user),
                                             void *user) WEIR_MUST_USE;

/* What a reply function fills in; zeroed before each call, but for the scratch memory. */
typedef struct weir_http_response {
    weir_http_answer answer; /* what it points to must last until the function is called again */
    char *scratch;           /* to write the body in */
    size_t scratch_bytes;    /* 16 KiB */
} weir_http_response;

/* The sink that answers: calls `fn` for each item and replies with what it filled in. The item is
 * acked; a status that is not WEIR_OK fails it, and it is answered by that. An item that was
 * answered before is only acked, and one whose peer is gone is aborted. */
WEIR_API weir_stage_spec *weir_http_reply_with(
    weir_status (*fn)(const weir_item *item, weir_http_response *response, void *user), void *user);

#ifdef __cplusplus
}
#endif
#endif
