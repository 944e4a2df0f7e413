/* What the files of the HTTP/2 session share: it stands on nghttp2, with a look at each frame's
 * head before nghttp2 sees it (guard), as much of what peers do wrong is told nobody there. */
#ifndef WI_HTTP2_SESSION_H
#define WI_HTTP2_SESSION_H

#include "http_session_internal.h"

#include <nghttp2/nghttp2.h>

/* A budget: a burst, and then so many a second. */
typedef struct wi_rate {
    uint64_t debt_ns, at_ns;
    uint64_t cost_ns, debt_max_ns;
} wi_rate;

enum { WI_GAPS_MAX = 8, WI_ENDED_MAX = 8, WI_FRAME_HEAD = 9 };

/* Reads the heads of frames as they come. */
typedef struct wi_http2_guard {
    uint8_t head[WI_FRAME_HEAD], have;
    uint32_t payload_left; /* of the frame, also of the preface */
    uint32_t continuations;
    uint32_t highest; /* server: stream that a HEADERS frame named */
    struct {
        uint32_t first, last; /* never opened, as a higher one was */
    } gaps[WI_GAPS_MAX];
    uint32_t gap_next;
    uint32_t ended[WI_ENDED_MAX]; /* the last that the peer ended or reset */
    uint32_t ended_next;
    bool goaway; /* the peer leaves */
    wi_rate resets, violations, control;
    uint32_t earned; /* control frames that what we sent allows beyond the rate */
} wi_http2_guard;

/* Names and values. More of them go into further pieces, so that none is moved. */
typedef struct wi_http2_text {
    struct wi_http2_text *next; /* an older one */
    size_t len, cap;
    char at[];
} wi_http2_text;

/* A header block on its way in; there is one at most on a connection. The names and values are
 * copies. */
typedef struct wi_http2_block {
    weir_http1_field *fields;
    wi_http2_text *text;
    uint32_t count, cap;
    uint32_t cookies; /* of the fields */
    size_t bytes;     /* as limits count */
    weir_http1_span method, path, authority, scheme, host;
    uint64_t content_length;
    unsigned status;
    bool too_large;
    bool ruled;        /* here, a request's; otherwise nghttp2 has done so */
    bool trailers;     /* of a request */
    bool fields_begun; /* no pseudo-header field may follow */
    int32_t stream;    /* 0: none is under way */
    uint64_t start_ns;
} wi_http2_block;

typedef struct wi_http2 {
    nghttp2_session *ng;
    weir_http_session *session;
    weir_bytes *out;                  /* beneath output */
    size_t out_end;                   /* where it is enough */
    struct wi_http2_exchange *recent; /* the last one looked up, or NULL */
    wi_http2_guard guard;
    wi_http2_block block;
    uint64_t received_ns, ping_ns, idle_ns; /* idle: since then without exchanges */
    uint64_t settings_ns;                   /* since then ours are not acknowledged; 0: they are */
    uint32_t goaway_code;
    bool goaway_said, goaway_received, ping_out, settings_received, settings_said;
    bool makes;            /* nghttp2 is being made: what it asks for goes into the slot */
    bool starved;          /* nghttp2 lives on the reserve: nothing more is asked of it */
    uint32_t openable_max; /* that the peer allows at once; of one that is parked */
    wi_http_slot slot;     /* where nghttp2's session stands */
} wi_http2;

typedef struct wi_http2_exchange {
    weir_http_exchange base;
    int32_t stream;
    uint32_t unreturned; /* consumed, and not told by a WINDOW_UPDATE */
    nghttp2_nv *trailers;
    size_t trailer_count;
    bool has_head;     /* the peer's was told */
    bool deferred;     /* nghttp2 waits for resume_data */
    bool counts;       /* server: the request told a length, of which */
    uint64_t expected; /* so much is still to come */
    bool violated;     /* the peer made nghttp2 reset it */
    bool last_data;    /* the peer's last frame of DATA comes: its window is of no use any more */
    bool finished;     /* server: the response is out, what is left of the request is not wanted */
    bool waited;       /* server: the request has had its time to end before the response does */
    uint64_t finished_ns; /* since when it has; or since `finished` */
} wi_http2_exchange;

/* In the place of the exchange as a stream's user data: we reset it, or refused it. */
extern char wi_http2_disowned;

static inline wi_http2 *wi_http2_of(const weir_http_session *session)
{
    return session->impl;
}
static inline bool wi_http2_is_parked(const wi_http2 *h2)
{
    return h2->slot.image != NULL;
}
/* Goes before whatever is asked of nghttp2 when there may be no exchanges. */
static inline void wi_http2_wake(wi_http2 *h2)
{
    if (__builtin_expect(wi_http2_is_parked(h2), 0))
        wi_http_slot_wake(wi_http_pool_slots(h2->session->pool, h2->session->config.is_client),
                          &h2->slot);
}
wi_http2_exchange *wi_http2_exchange_look_up(wi_http2 *h2, int32_t stream);

/* The exchange of a stream, or NULL: there is no such stream, or it is disowned. */
static inline wi_http2_exchange *wi_http2_exchange_of(wi_http2 *h2, int32_t stream)
{
    if (h2->recent != NULL && h2->recent->stream == stream)
        return h2->recent;
    return wi_http2_exchange_look_up(h2, stream);
}

/* Cuts the connection off; GOAWAY says `code` and why. Returns the session's failure. */
weir_status wi_http2_fail(wi_http2 *h2, weir_status status, uint32_t code, const char *why);

/* Server: the response is complete but for its end, which waits a moment for that of the request.
 * One with trailers does not: they are the status that its caller waits for. */
static inline bool wi_http2_is_held(const wi_http2_exchange *x)
{
    return x->base.ended && !x->base.peer_ended && !x->waited && x->trailer_count == 0 &&
           !x->base.session->config.is_client;
}
/* nghttp2 asks again for what is to be sent. */
void wi_http2_resume(wi_http2_exchange *x);

/* What a callback returns: an error if the session has failed, or the memory's reserve is in use.
 */
int wi_http2_go_on(wi_http2 *h2);

/* ---- http2_session_guard.c ---- */
void wi_http2_guard_init(wi_http2 *h2);
/* Looks at the bytes. *ret_fine of them may be fed; if that is not all, the connection was cut off,
 * or is to be as soon as those are fed: that is what it returns. */
typedef struct wi_http2_verdict {
    weir_status status;
    uint32_t code;
    const char *why;
} wi_http2_verdict;
wi_http2_verdict wi_http2_guard_look(wi_http2 *h2, const char *bytes, size_t n, size_t *ret_fine);
/* One more; true: above the budget. */
bool wi_rate_over(wi_rate *rate, uint64_t now_ns);
/* One more control frame; cuts off above the budget. */
void wi_http2_count_control(wi_http2 *h2);
/* We sent a RST_STREAM that was not ours to want. */
void wi_http2_count_violation(wi_http2 *h2, uint32_t code);
/* We sent a frame that peers answer by control frames: for itself, and as they read what is in it,
 * in steps of a KiB or more, opening the windows of stream and connection for each. That may be as
 * far behind as the windows are wide, 2 GiB at most. */
static inline void wi_http2_earn(wi_http2 *h2, size_t bytes)
{
    if (h2->guard.earned < UINT32_C(1) << 22)
        h2->guard.earned += 3 + (uint32_t)bytes / 512;
}

/* ---- http2_session_rules.c ---- */
/* Whether a request's next field may be, before it is taken into the block. Pseudo-header fields
 * come first, once each, and say something. */
bool wi_http2_pseudo_ok(const wi_http2_block *block, const weir_http1_field *field);
bool wi_http2_field_ok(const wi_http2_block *block, const weir_http1_field *field);
/* Whether the block has what a request needs. */
bool wi_http2_request_whole(const wi_http2_block *block);
/* Of one that is whole, and no CONNECT: whether it says where to as requests of HTTP/1 must, which
 * is more than nghttp2 asks for. A path begins with '/', whatever the scheme, or is the "*" of
 * OPTIONS, and has the bytes of a target and of its query only; the authority is a host and a port,
 * without user information (RFC 9113 section 8.3.1), and a host field is the same. */
bool wi_http2_target_ok(const wi_http2_block *block);
/* What a field's value may be, and its name but for the case. */
bool wi_http2_value_ok(weir_http1_span value);
bool wi_http2_token_ok(weir_http1_span token);

/* ---- http2_session_head.c ---- */
int wi_http2_block_begin(wi_http2 *h2, const nghttp2_frame *frame);
void wi_http2_block_end(wi_http2 *h2);
int wi_http2_on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                       void *user);
/* The block is complete: tells the head, or the trailers. */
int wi_http2_on_headers(wi_http2 *h2, const nghttp2_frame *frame);

/* Fields of ours. */
enum { WI_NV_MORE = 6 }; /* pseudo-header fields and a length */
/* So many may be sent. */
bool wi_http2_fields_count_ok(const weir_http1_field *fields, size_t n);
/* Fills nghttp2's form of fields; false: one may not be sent. What is marked with
 * NGHTTP2_NV_FLAG_NO_COPY_NAME has a name that is a literal. */
bool wi_http2_fields_nv(const weir_http1_field *fields, size_t n, nghttp2_nv *nv);
/* Checks what a request needs besides fields; WEIR_EINVAL. */
weir_status wi_http2_request_ok(const weir_http_head *head);
/* Fills nghttp2's form of a head, with WI_NV_MORE places more than its fields; returns how many
 * there are, or 0: one may not be sent. `digits` is room for 40 bytes. */
size_t wi_http2_head_nv(const weir_http_head *head, bool is_request, nghttp2_nv *nv, char *digits);

/* ---- http2_session_exchange.c ---- */
weir_status wi_http2_open(weir_http_session *session, const weir_http_head *head, void *user,
                          weir_http_exchange **ret_exchange);
weir_status wi_http2_respond(weir_http_exchange *exchange, const weir_http_head *head);
void wi_http2_written(weir_http_exchange *exchange);
weir_status wi_http2_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n);
void wi_http2_consume(weir_http_exchange *exchange, size_t n);
void wi_http2_reset(weir_http_exchange *exchange, uint32_t h2_code);
void wi_http2_exchange_done(weir_http_exchange *exchange);
int wi_http2_send_data(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t n,
                       nghttp2_data_source *source, void *user);
/* Resets the stream of a malformed request, as its peer's fault. What a callback returns. */
int wi_http2_reject(wi_http2 *h2, int32_t stream);
/* Answers with a status and nothing else; the stream is disowned. */
int wi_http2_refuse(wi_http2 *h2, wi_http2_exchange *x, const char *status);

#endif
