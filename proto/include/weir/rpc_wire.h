/* What gRPC, gRPC-Web and Connect say on the wire, without I/O: heads, metadata, envelopes,
 * compression and ends, of either side.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
 * https://connectrpc.com/docs/protocol/
 *
 * One object for each call and side. Bytes from the peer go in as they come; messages come out,
 * each whole and inflated. Nothing here knows a message's type: packing and unpacking is the
 * caller's. Memory by `env` and the buffers and arenas that are handed in (of which nothing is
 * kept but what "lives in the arena"); nothing per message in steady state. Plain memory of the
 * caller: one thread at a time.
 *
 * Metadata: names are in lower case, values of names that end in "-bin" are the bytes themselves,
 * other values printable ASCII without white space around them. Outgoing names come in any case.
 * Not to be sent, so WEIR_EINVAL: what is no token (RFC 9110 5.6.2); what belongs to the protocols
 * or to HTTP (content-type, te, host, connection, trailer-…, connect-…, grpc-… and the like, but
 * grpc-trace-bin, grpc-tags-bin, grpc-previous-rpc-attempts and grpc-retry-pushback-ms). Incoming
 * ones of these are left out; user-agent and authorization are metadata. */
#ifndef WEIR_RPC_WIRE_H
#define WEIR_RPC_WIRE_H

#include <weir/arena.h>
#include <weir/bytes.h>
#include <weir/http_session.h>
#include <weir/rpc_service.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum weir_rpc_protocol {
    WEIR_RPC_GRPC,
    WEIR_RPC_GRPC_WEB,
    WEIR_RPC_CONNECT
} weir_rpc_protocol;
typedef enum weir_rpc_codec { WEIR_RPC_PROTO, WEIR_RPC_JSON } weir_rpc_codec;

/* One of an error's details: a google.protobuf.Any. */
typedef struct weir_rpc_detail {
    weir_http1_span type; /* full name, "google.rpc.RetryInfo" */
    const void *value;    /* packed */
    size_t n;
} weir_rpc_detail;

typedef struct weir_rpc_error {
    weir_rpc_code code;
    weir_http1_span text; /* UTF-8 */
    const weir_rpc_detail *details;
    size_t detail_count;
} weir_rpc_error;

/* Zero is the default that is given. */
typedef struct weir_rpc_wire_limits {
    uint32_t message_bytes_max;      /* that comes, also inflated: 4 MiB; refused from its prefix */
    uint32_t message_send_bytes_max; /* UINT32_MAX */
    uint32_t gzip_bytes_min;         /* messages below it are sent as they are: 1024 */
    uint32_t fields_max;             /* of metadata, in each direction and at each end: 128 */
    bool no_gzip;                    /* neither takes nor sends it */
} weir_rpc_wire_limits;

/* One side of one call. The caller reads what is above the line. Zero it before its first use; it
 * may be used for one call after another and keeps its buffers then, up to 64 KiB. */
typedef struct weir_rpc_wire {
    weir_rpc_protocol protocol;
    weir_rpc_codec codec;
    bool is_client;
    bool is_stream; /* messages are in envelopes: all but Connect's unary calls */
    bool is_text;   /* gRPC-Web in base64 */
    bool is_get;    /* Connect by GET */
    bool gzip_out;  /* what is sent is compressed; a server may clear it, before the response */
    /* weir's, from here on */
    bool gzip_in;
    uint8_t type;  /* of content: index into a table */
    uint8_t state; /* of what comes in */
    uint8_t have;  /* bytes of `prefix` */
    uint8_t quads; /* characters of `quad` */
    uint8_t decoded_at, decoded_n;
    char prefix[5], quad[4], decoded[3]; /* cut envelopes, cut base64 */
    uint32_t marks;                      /* what was seen and done */
    uint32_t count;                      /* messages that came */
    uint32_t need;                       /* bytes of a message that are to come */
    uint32_t http_status;
    weir_status failed; /* what feeding says from now on */
    weir_rpc_kind kind;
    weir_rpc_wire_limits limits;
    const weir_env *env;
    weir_bytes partial;         /* a message that did not come in one piece */
    weir_bytes inflated;        /* and one that was compressed */
    uint64_t content_length;    /* of what comes */
    weir_http1_span message;    /* of a GET */
    struct weir_rpc_gzip *gzip; /* of the loop; borrowed */
    weir_rpc_error error;
    const weir_http1_field *trailers;
    size_t trailer_count;
} weir_rpc_wire;

/* zlib's states, for all calls of a loop: they are large (300 KB, taken when first needed), and
 * hold nothing between two messages. NULL for want of memory. A wire without them (NULL) does as
 * if limits->no_gzip were set. */
typedef struct weir_rpc_gzip weir_rpc_gzip;
WEIR_API weir_rpc_gzip *weir_rpc_gzip_new(const weir_env *env);
WEIR_API void weir_rpc_gzip_free(weir_rpc_gzip *gzip);

/* What a request's head says, beside what stands in the wire. Lives in the arena. */
typedef struct weir_rpc_wire_request {
    uint64_t timeout_ns;              /* UINT64_MAX: none */
    const weir_http1_field *metadata; /* without the protocol's own; "-bin" values decoded */
    size_t metadata_count;
} weir_rpc_wire_request;

/* Whether metadata may be called so, in any case: a token that is not the protocols' own. */
WEIR_API bool weir_rpc_wire_may_be_named(weir_http1_span name);

/* Frees what the wire holds. Fine on one that is all zero. */
WEIR_API void weir_rpc_wire_done(weir_rpc_wire *wire);

/* ---- Server ---- */

/* Reads the head of a request for `method` (found by its path without the query; NULL: there is no
 * such method) and prepares `wire`. env, limits (copied; may be NULL), gzip may be NULL. WEIR_OK:
 * it is a call. WEIR_EREJECTED: it is none, or one that can only be refused: answer with the
 * complete response *ret_refusal (404, 405, 415; static, no body) and be done. WEIR_ENOTFOUND (no
 * such method), WEIR_EUNSUPPORTED (unknown compression), WEIR_EINVAL (bad timeout, version, query
 * or "-bin" value), WEIR_ELIMIT (too much metadata, a body announced too long), WEIR_ENOMEM: a
 * call whose head is wrong: finish it with weir_rpc_wire_error. *ret_request is written on WEIR_OK
 * only.
 *
 * "te: trailers" is not insisted on. Only what a request says about itself is judged: that gRPC
 * needs HTTP/2, or both directions at once do, is for the caller. */
WEIR_API weir_status weir_rpc_wire_accept(weir_rpc_wire *wire, const weir_env *env,
                                          const weir_rpc_wire_limits *limits, weir_rpc_gzip *gzip,
                                          const weir_http_head *head, const weir_rpc_method *method,
                                          weir_arena *arena, weir_rpc_wire_request *ret_request,
                                          weir_http_head *ret_refusal) WEIR_MUST_USE;
/* The head of the response, before the first message; once. Connect's unary calls have none before
 * the end: WEIR_EAGAIN, give the metadata to _finish then. WEIR_EINVAL: metadata that may not be
 * sent; WEIR_ELIMIT: too much of it; WEIR_ENOMEM. After an error nothing has changed. */
WEIR_API weir_status weir_rpc_wire_respond(weir_rpc_wire *wire, const weir_http1_field *metadata,
                                           size_t metadata_count, weir_arena *arena,
                                           weir_http_head *ret_head) WEIR_MUST_USE;

typedef struct weir_rpc_wire_ending {
    weir_http_head head; /* send it first; status 0: it was sent before */
    const weir_http1_field *trailers;
    size_t trailer_count;
} weir_rpc_wire_ending;
/* Ends the response with `error` (its code may be OK; NULL: OK). `metadata`: for the head, if that
 * was not sent yet. `body`: what is still to be sent as body, behind the head: for Connect's unary
 * calls the caller puts the message in before, and it is kept, compressed, or replaced by the
 * error; otherwise what ends the stream is appended. Then send head, body, trailers. If the head
 * `ends`, that is all. The same WEIR_EINVAL, WEIR_ELIMIT as _respond: finish it again with an
 * error of your own and no metadata. WEIR_ENOMEM: the response cannot be ended (where static text
 * can say it, it is said that memory is short, with WEIR_OK): reset it. */
WEIR_API weir_status weir_rpc_wire_finish(weir_rpc_wire *wire, const weir_rpc_error *error,
                                          const weir_http1_field *metadata, size_t metadata_count,
                                          const weir_http1_field *trailers, size_t trailer_count,
                                          weir_arena *arena, weir_bytes *body,
                                          weir_rpc_wire_ending *ret_ending) WEIR_MUST_USE;

/* ---- Client ---- */

typedef struct weir_rpc_wire_options {
    weir_rpc_protocol protocol;
    weir_rpc_codec codec;
    bool is_text; /* gRPC-Web in base64 */
    bool gzip;    /* compress what is sent */
    weir_http1_span scheme, authority;
    uint64_t timeout_ns; /* UINT64_MAX: none */
    const weir_http1_field *metadata;
    size_t metadata_count;
    const void *get_message; /* Connect: ask by GET, with this message, packed; NULL: by POST */
    size_t get_bytes;
} weir_rpc_wire_options;

/* Prepares `wire` and the head of a request; all of it lives in the arena, is static, or borrowed
 * from `method` and `options`. "user-agent" is weir's, unless metadata has one. Connect's unary
 * calls with `gzip` say so in this head, so their message is compressed whatever its length.
 * WEIR_EINVAL: metadata that may not be sent, or a combination that is none (text but not
 * gRPC-Web; GET but not Connect, or a method not free of side effects); WEIR_ELIMIT: too much
 * metadata, or too long for a GET (8000 bytes of path): use POST. */
WEIR_API weir_status weir_rpc_wire_call(weir_rpc_wire *wire, const weir_env *env,
                                        const weir_rpc_wire_limits *limits, weir_rpc_gzip *gzip,
                                        const weir_rpc_method *method,
                                        const weir_rpc_wire_options *options, weir_arena *arena,
                                        weir_http_head *ret_head) WEIR_MUST_USE;
/* Reads the head of the response; its metadata (in the arena). An error: the call failed, so:
 * weir_rpc_wire_error; reset the exchange, nothing more of it is to be fed. After WEIR_OK it may
 * still be that it fails when it ends; a response that is nothing but an end (its head `ends`) has
 * no metadata here, but trailers. */
WEIR_API weir_status weir_rpc_wire_response(weir_rpc_wire *wire, const weir_http_head *head,
                                            weir_arena *arena,
                                            const weir_http1_field **ret_metadata,
                                            size_t *ret_count) WEIR_MUST_USE;
/* Ends the request: `body` is what is still to be sent. Streams need nothing (it is left alone); a
 * Connect unary message, alone in `body`, is compressed here if the head said so. WEIR_ELIMIT,
 * WEIR_ENOMEM: `body` is as it was. */
WEIR_API weir_status weir_rpc_wire_request_end(weir_rpc_wire *wire, weir_bytes *body) WEIR_MUST_USE;
/* The exchange was over before its end: the error that this is, by the protocol's table
 * (`h2_code` counts with WEIR_ECANCELED). Nothing, if the end has come or the call failed before.
 */
WEIR_API void weir_rpc_wire_broken(weir_rpc_wire *wire, weir_status status, uint32_t h2_code);

/* ---- Messages, both sides ---- */

/* Takes in bytes of body, up to the end of one message. WEIR_OK: *ret_message is one, inflated: it
 * lies in `bytes` or in the wire, until the next call for this wire (a compressed one too); go on
 * with the rest. WEIR_EPARTIAL: all was consumed, and there is none. Anything else (always
 * *ret_consumed = n): weir_rpc_wire_error says what to tell the peer, or the caller; later calls
 * say the same again. A second message where the method's kind has one is such an error, so
 * whoever acts on a single message before the end may act on what is refused later: unpack it at
 * once and act when _feed_end has said that it was the only one. */
WEIR_API weir_status weir_rpc_wire_feed(weir_rpc_wire *wire, const char *bytes, size_t n,
                                        size_t *ret_consumed,
                                        weir_http1_span *ret_message) WEIR_MUST_USE;
/* Whether a part of a message came, and not all of it. */
WEIR_API bool weir_rpc_wire_is_amid(const weir_rpc_wire *wire);
/* The peer's side is complete (also if its head said that it `ends`). WEIR_OK: and with it a
 * message (Connect's unary calls, GET: the query has it); WEIR_EPARTIAL: without one. Client:
 * weir_rpc_wire_error is the call's status now, and its trailers are there. Anything else: the
 * error likewise (cut off within a message, no message where the kind has one, no status). */
WEIR_API weir_status weir_rpc_wire_feed_end(weir_rpc_wire *wire, const weir_http1_field *trailers,
                                            size_t n, weir_arena *arena,
                                            weir_http1_span *ret_message) WEIR_MUST_USE;
/* OK as long as nothing was wrong. Text and details are static or live in the arena. */
WEIR_API const weir_rpc_error *weir_rpc_wire_error(const weir_rpc_wire *wire);
/* Client, at the end: metadata behind the response. Lives in the arena. */
WEIR_API const weir_http1_field *weir_rpc_wire_trailers(const weir_rpc_wire *wire,
                                                        size_t *ret_count);

/* A message to send: begin, append it packed to `out`, end. begin leaves room for the envelope and
 * gives where it is; end fills it in, compresses and encodes what is behind it. Connect's unary
 * calls have no envelope: `out` is then a buffer of the caller, handed to _finish or _request_end.
 * WEIR_ELIMIT: longer than message_send_bytes_max; WEIR_ENOMEM. After an error the caller cuts
 * `out` back to `mark`. */
static inline weir_status weir_rpc_wire_message_begin(const weir_rpc_wire *wire, weir_bytes *out,
                                                      size_t *ret_mark)
{
    const size_t prefix = wire->is_stream ? 5 : 0;
    *ret_mark = out->len;
    weir_status status = weir_bytes_reserve(out, prefix);
    if (status != WEIR_OK)
        return status;
    out->len += prefix;
    return WEIR_OK;
}
WEIR_API weir_status weir_rpc_wire_message_end(weir_rpc_wire *wire, weir_bytes *out,
                                               size_t mark) WEIR_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
