/* What the two versions of HTTP share behind weir/http_session.h: the base parts of sessions and
 * exchanges, the operations that each version implements, and what they call to tell events. */
#ifndef WI_HTTP_SESSION_INTERNAL_H
#define WI_HTTP_SESSION_INTERNAL_H

#include "http_slots.h"

#include <weir/http_session.h>

#include <string.h>

#define WI_HTTP_MS            UINT64_C(1000000) /* nanoseconds */

#define WI_HTTP_PREFACE       "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define WI_HTTP_PREFACE_BYTES 24

/* What a version does. All are called with session->now_ns set by those that have a time. None is
 * called once session->failed is set, but output, wants_output, exchange_done and done. */
typedef struct wi_http_ops {
    weir_http_version version;
    size_t exchange_bytes; /* of its exchange, whose first member is a weir_http_exchange */
    /* Makes session->impl. On an error nothing is left. */
    weir_status (*start)(weir_http_session *session);
    /* Frees session->impl; there are no exchanges any more. */
    void (*done)(weir_http_session *session);

    weir_status (*feed)(weir_http_session *session, const char *bytes, size_t n,
                        size_t *ret_consumed);
    bool (*wants_input)(const weir_http_session *session);
    /* The peer ended its side. NULL: that is the end of all. */
    void (*peer_ended)(weir_http_session *session);
    weir_status (*output)(weir_http_session *session, weir_bytes *out, size_t bytes_max);
    bool (*wants_output)(const weir_http_session *session);
    /* `session->drains` counts the calls: 1 at the first. */
    void (*drain)(weir_http_session *session);
    /* Whether it is over when there are no exchanges and it did not fail. */
    bool (*is_over)(const weir_http_session *session);
    /* Times. The error is what wi_http_session_fail returned. */
    weir_status (*sweep)(weir_http_session *session);

    /* May be more than there is: those that drain or have failed are not asked. */
    uint32_t (*openable)(const weir_http_session *session);
    weir_status (*open)(weir_http_session *session, const weir_http_head *head, void *user,
                        weir_http_exchange **ret_exchange);
    /* Not asked if it has responded or was reset. Sets exchange->ended if the head ends. */
    weir_status (*respond)(weir_http_exchange *exchange, const weir_http_head *head);
    /* There is (more) in exchange->body. */
    void (*written)(weir_http_exchange *exchange);
    /* Not asked twice. exchange->ended is set by the caller if this succeeds. */
    weir_status (*end)(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n);
    /* `n` is not 0, and at most what is unconsumed; exchange->unconsumed is less it already. */
    void (*consume)(weir_http_exchange *exchange, size_t n);
    /* Once at most, after which nothing else is asked of the exchange: what is queued has been
     * dropped, and it is on the list of those that wi_http_session_tell_resets will tell. */
    void (*reset)(weir_http_exchange *exchange, uint32_t h2_code);
    /* It is going to be freed, for whatever reason: release what the version holds of it. */
    void (*exchange_done)(weir_http_exchange *exchange);
} wi_http_ops;

extern const wi_http_ops wi_http1_ops;
#if WEIR_HAVE_NGHTTP2
extern const wi_http_ops wi_http2_ops;
#endif

struct weir_http_session {
    const wi_http_ops *ops; /* NULL: not known yet, WEIR_HTTP_AUTO */
    void *impl;
    weir_http_session_config config; /* the defaults are filled in */
    weir_http_pool *pool;
    const weir_env *env;              /* the pool's: whatever a session allocates */
    weir_http_exchange *first, *last; /* all that are not over, in their order */
    weir_http_exchange *resets;       /* those of them that we reset: linked by next_reset */
    uint64_t start_ns, now_ns;        /* now: of the last call that told the time */
    const char *why;                  /* "" if not cut off */
    weir_status failed;               /* WEIR_OK, or the connection is over */
    uint32_t exchanges, drains, keepalives;
    uint8_t preface; /* bytes of the preface that came, before the version is known */
    bool owns_pool;
    bool gone;      /* eof came before any failure: there is nobody to tell anything */
    bool in_events; /* beneath feed, output, sweep or eof */
};

struct weir_http_exchange {
    weir_http_session *session;
    void *user;
    weir_http_exchange *next, *previous, *next_reset;
    weir_bytes body;   /* queued for sending from `sent` on */
    size_t sent;       /* those before are framed */
    uint32_t body_had; /* how large `body` was when it was given back */
    size_t unconsumed; /* body told and not consumed: count by wi_http_tell_body */
    weir_status reset_status;
    uint32_t reset_code;
    bool responded;   /* the response has begun; a client's own request: from the start */
    bool ended;       /* our message is complete: no more body */
    bool peer_ended;  /* the peer's is */
    bool was_reset;   /* by us: no more events but over */
    bool room_wanted; /* _room said 0 */
};

/* ---- http_pool.c ---- */

/* What the pool's env does, without the way through it. */
void *wi_http_pool_take(weir_http_pool *pool, size_t bytes);
void wi_http_pool_give(weir_http_pool *pool, void *memory); /* not NULL */
/* From a small reserve, when take has failed, for a library that does not take a refusal well
 * (nghttp2 frees twice what its queue of streams could not grow for). Nothing more may be asked of
 * that library then. NULL: used up. */
void *wi_http_pool_take_reserve(weir_http_pool *pool, size_t bytes);
/* One block of `bytes` for all who borrow of this pool, to be written to and read by one at a time
 * and for a moment only: what was in it is gone when another has used it. Give it back like others.
 * NULL: for want of memory, or one of another size is lent. */
void *wi_http_pool_borrow(weir_http_pool *pool, size_t bytes);
/* For sessions that may rest; of servers, or of clients. */
wi_http_slots *wi_http_pool_slots(weir_http_pool *pool, bool is_client);
/* A block in a slot: to give it back does nothing. NULL: the slot is full, or none. */
void *wi_http_pool_cut(wi_http_slot *slot, size_t bytes);
/* How many bytes the block has room for; SIZE_MAX: a large one, it is not known. */
size_t wi_http_pool_bytes(const void *memory);

/* ---- http_session.c ---- */

/* Makes an exchange of the session's version (zeroed behind its base), as the last of the list; its
 * user is the session's. NULL for want of memory. */
weir_http_exchange *wi_http_exchange_new(weir_http_session *session);
/* Takes the exchange out of the list and frees it without an event. */
void wi_http_exchange_free(weir_http_exchange *exchange);
/* Tells `over`, then frees it. If it was reset by us, that status and code are told. */
void wi_http_exchange_over(weir_http_exchange *exchange, weir_status status, uint32_t h2_code);
/* Tells `over` to all that were reset; call first and last in feed, output and sweep. The
 * dispatcher does so around the version's: a version needs it only before it waits for them. */
void wi_http_session_tell_resets(weir_http_session *session);

/* These tell an event, unless the exchange was reset. The exchange lives on at least until feed,
 * output or sweep return, or wi_http_exchange_over. */
void wi_http_tell_refused(weir_http_session *session);
void wi_http_tell_head(weir_http_exchange *exchange, const weir_http_head *head);
void wi_http_tell_body(weir_http_exchange *exchange, const char *bytes, size_t n);
void wi_http_tell_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n);

/* What is queued of its body. */
static inline const char *wi_http_queued(const weir_http_exchange *exchange)
{
    return exchange->body.at + exchange->sent;
}
static inline size_t wi_http_queued_bytes(const weir_http_exchange *exchange)
{
    return exchange->body.len - exchange->sent;
}
/* The first `n` queued bytes have been framed. Tells `room` if that is due; call it where events
 * may run (output). */
void wi_http_body_sent(weir_http_exchange *exchange, size_t n);

/* Notes that the connection is over, and why, if it was not already; returns session->failed. */
weir_status wi_http_session_fail(weir_http_session *session, weir_status status, const char *why);

#endif
