/* What the files of the HTTP/1 session share: a connection that carries one exchange at a time. */
#ifndef WI_HTTP1_SESSION_H
#define WI_HTTP1_SESSION_H

#include "http_session_internal.h"

enum {
    WI_HTTP1_FIELDS_MAX = 256, /* of a head, whatever the configuration says */
    WI_HTTP1_TRAILERS_MAX = 64,
    WI_HTTP1_INTERIM_MAX = 8, /* 1xx responses before the final one */
    WI_HTTP1_TRAILER_BYTES = 4096,
    WI_HTTP1_SKIP_BYTES = 64 * 1024 /* of a request that was answered before it had come */
};

enum { WI_HTTP1_HEAD, WI_HTTP1_BODY, WI_HTTP1_COMPLETE };

typedef struct wi_http1_exchange {
    weir_http_exchange base;
    weir_bytes tail;  /* the last chunk, with trailers */
    uint64_t length;  /* of our body as announced; UINT64_MAX: none was */
    uint64_t framed;  /* bytes of body handed out */
    bool chunked;     /* how our body is framed */
    bool mute;        /* its body is not sent: HEAD, 204, 304 */
    bool is_old;      /* the peer speaks HTTP/1.0 */
    bool waits;       /* for 100 before it sends its body */
    bool counted;     /* the peer has announced the length of its body */
    bool handed_out;  /* our message is, to its end */
    uint8_t interims; /* 1xx responses that came */
    weir_http1_method method;
} wi_http1_exchange;

typedef struct wi_http1_session {
    wi_http1_exchange *exchange; /* the one under way, or NULL */
    weir_bytes head;             /* of a head or trailers that came in part; mostly empty */
    weir_bytes out;              /* our head, 100 Continue, or a refusal: to be handed out */
    weir_http1_scan scan;
    weir_http1_body body;
    uint64_t since_ns; /* since when it waits for a head, or for the rest of one */
    uint8_t phase;     /* of what comes */
    bool was_used;     /* a message has come */
    bool closes;       /* the exchange under way is the last */
    bool is_dead;      /* nothing comes or goes any more, but what is in `out` */
    bool peer_ended;
} wi_http1_session;

static inline wi_http1_session *wi_http1_of(const weir_http_session *session)
{
    return session->impl;
}

/* ---- http1_session.c ---- */
/* Nothing follows. What waits is dropped. */
void wi_http1_end_input(weir_http_session *session);
/* Ready for the next head, if there is to be one. */
void wi_http1_next_message(weir_http_session *session);
/* Ends the exchange if both messages are done. */
void wi_http1_settle(weir_http_session *session);
/* Cuts the connection off; a server that has not answered yet says so with `code`. */
weir_status wi_http1_refuse(weir_http_session *session, weir_status status, unsigned code,
                            const char *why);

/* ---- http1_session_in.c ---- */
weir_status wi_http1_feed(weir_http_session *session, const char *bytes, size_t n,
                          size_t *ret_consumed);
bool wi_http1_wants_input(const weir_http_session *session);
/* The peer ended its side. */
void wi_http1_peer_ended(weir_http_session *session);

/* ---- http1_session_out.c ---- */
weir_status wi_http1_output(weir_http_session *session, weir_bytes *out, size_t bytes_max);
bool wi_http1_wants_output(const weir_http_session *session);
weir_status wi_http1_open(weir_http_session *session, const weir_http_head *head, void *user,
                          weir_http_exchange **ret_exchange);
weir_status wi_http1_respond(weir_http_exchange *exchange, const weir_http_head *head);
void wi_http1_written(weir_http_exchange *exchange);
weir_status wi_http1_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n);

#endif
