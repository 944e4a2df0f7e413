/* What gRPC, gRPC-Web and Connect say on the wire, without I/O: heads, metadata, envelopes,
 * compression and ends, of either side.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
 * https://connectrpc.com/docs/protocol/
 *
 * One object for each call and side. Bytes from the peer go in as they come; messages come out,
 * each whole and inflated. Nothing here knows a message's type: packing and unpacking is the
 * caller's. Memory by `env` and the buffers that are handed in; nothing per message in steady
 * state. */
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
    uint32_t gzip_bytes_min;         /* 1024 */
    bool no_gzip;                    /* neither takes nor sends it */
} weir_rpc_wire_limits;

/* One side of one call. The caller reads what is above the line. */
typedef struct weir_rpc_wire {
    weir_rpc_protocol protocol;
    weir_rpc_codec codec;
    bool is_client;
    bool is_stream; /* messages are in envelopes: all but Connect's unary calls */
    bool is_text;   /* gRPC-Web in base64 */
    bool is_get;    /* Connect by GET */
    /* weir's, from here on */
    bool gzip_in, gzip_out, head_sent, ended;
    weir_rpc_kind kind;
    weir_rpc_wire_limits limits;
    const weir_env *env;
    weir_bytes partial;  /* a message that did not come in one piece */
    weir_bytes inflated; /* and one that was compressed */
    uint64_t need;
    struct weir_rpc_gzip *gzip; /* of the loop; borrowed */
    weir_rpc_error error;
    const weir_http1_field *trailers;
    size_t trailer_count;
    uint32_t state, flags, bits, count;
    uint64_t spare[4];
} weir_rpc_wire;

/* zlib's states, for all calls of a loop: they are large (300 KB), and hold nothing between two
 * messages. NULL for want of memory. */
typedef struct weir_rpc_gzip weir_rpc_gzip;
WEIR_API weir_rpc_gzip *weir_rpc_gzip_new(const weir_env *env);
WEIR_API void weir_rpc_gzip_free(weir_rpc_gzip *gzip);

/* What a request's head says, beside what stands in the wire. Lives in the arena. */
typedef struct weir_rpc_wire_request {
    uint64_t timeout_ns;              /* UINT64_MAX: none */
    const weir_http1_field *metadata; /* without the protocol's own; "-bin" values decoded */
    size_t metadata_count;
} weir_rpc_wire_request;

/* Frees what the wire holds. Fine on one that is all zero. */
WEIR_API void weir_rpc_wire_done(weir_rpc_wire *wire);

/* ---- Server ---- */

/* Reads the head of a request for `method` (found by its path without the query; NULL: there is no
 * such method) and prepares `wire`. WEIR_OK: it is a call. WEIR_EREJECTED: it is none, or one that
 * can only be refused: answer with the complete response *ret_refusal (404, 405, 415, 505 …; no
 * body) and be done. WEIR_EINVAL, and others: a call whose head is wrong: (unknown method, bad
 * timeout, unknown compression, too much metadata): finish it with weir_rpc_wire_error.
 * WEIR_ENOMEM: likewise, if need be without memory. */
WEIR_API weir_status weir_rpc_wire_accept(weir_rpc_wire *wire, const weir_env *env,
                                          const weir_rpc_wire_limits *limits, weir_rpc_gzip *gzip,
                                          const weir_http_head *head, const weir_rpc_method *method,
                                          weir_arena *arena, weir_rpc_wire_request *ret_request,
                                          weir_http_head *ret_refusal) WEIR_MUST_USE;
/* The head of the response, before the first message. Connect's unary calls have none before the
 * end: WEIR_EAGAIN. */
WEIR_API weir_status weir_rpc_wire_respond(weir_rpc_wire *wire, const weir_http1_field *metadata,
                                           size_t metadata_count, weir_arena *arena,
                                           weir_http_head *ret_head) WEIR_MUST_USE;

typedef struct weir_rpc_wire_ending {
    weir_http_head head; /* send it first; status 0: it was sent before */
    const weir_http1_field *trailers;
    size_t trailer_count;
} weir_rpc_wire_ending;
/* Ends the response with `error` (its code may be OK). `body`: what is still to be sent as body,
 * behind the head: for Connect's unary calls the caller puts the message in before, and it is kept,
 * compressed, or replaced by the error; otherwise what ends the stream is appended. Then send
 * head, body, trailers. If the head `ends`, that is all. */
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

/* Prepares `wire` and the head of a request. WEIR_EINVAL: metadata that may not be sent, or a
 * combination that is none; WEIR_ELIMIT: too long for a GET: use POST. */
WEIR_API weir_status weir_rpc_wire_call(weir_rpc_wire *wire, const weir_env *env,
                                        const weir_rpc_wire_limits *limits, weir_rpc_gzip *gzip,
                                        const weir_rpc_method *method,
                                        const weir_rpc_wire_options *options, weir_arena *arena,
                                        weir_http_head *ret_head) WEIR_MUST_USE;
/* Reads the head of the response; its metadata (in the arena). An error: the call failed, so:
 * weir_rpc_wire_error. After WEIR_OK it may still be that it fails when it ends. */
WEIR_API weir_status weir_rpc_wire_response(weir_rpc_wire *wire, const weir_http_head *head,
                                            weir_arena *arena,
                                            const weir_http1_field **ret_metadata,
                                            size_t *ret_count) WEIR_MUST_USE;
/* Ends the request: what is still to be sent as body (gRPC-Web and Connect need nothing; a Connect
 * unary message is compressed here, if it is to be). */
WEIR_API weir_status weir_rpc_wire_request_end(weir_rpc_wire *wire, weir_bytes *body) WEIR_MUST_USE;
/* The exchange was over before its end: the error that this is, by the protocol's table. */
WEIR_API void weir_rpc_wire_broken(weir_rpc_wire *wire, weir_status status, uint32_t h2_code);

/* ---- Messages, both sides ---- */

/* Takes in bytes of body, up to the end of one message. WEIR_OK: *ret_message is one, inflated: it
 * lies in `bytes` or in the wire, until the next call; WEIR_EPARTIAL: all was consumed, and there
 * is none; anything else: weir_rpc_wire_error says what to tell the peer, or the caller. */
WEIR_API weir_status weir_rpc_wire_feed(weir_rpc_wire *wire, const char *bytes, size_t n,
                                        size_t *ret_consumed,
                                        weir_http1_span *ret_message) WEIR_MUST_USE;
/* The peer's side is complete. WEIR_OK: and with it a message (Connect's unary calls, GET: the
 * query has it); WEIR_EPARTIAL: without one. Client: weir_rpc_wire_error is the call's status now,
 * and its trailers are there. Anything else: the error likewise (cut off within a message, no
 * status). */
WEIR_API weir_status weir_rpc_wire_feed_end(weir_rpc_wire *wire, const weir_http1_field *trailers,
                                            size_t n, weir_arena *arena,
                                            weir_http1_span *ret_message) WEIR_MUST_USE;
WEIR_API const weir_rpc_error *weir_rpc_wire_error(const weir_rpc_wire *wire);
/* Client, at the end: metadata behind the response. Lives in the arena. */
WEIR_API const weir_http1_field *weir_rpc_wire_trailers(const weir_rpc_wire *wire,
                                                        size_t *ret_count);

/* A message to send: begin, append it packed to `out`, end. begin leaves room for the envelope and
 * gives where it is; end fills it in, compresses and encodes what is behind it. Connect's unary
 * calls have no envelope: `out` is then a buffer of the caller, handed to _finish or _request_end.
 * After an error the caller cuts `out` back to `mark`. */
WEIR_API weir_status weir_rpc_wire_message_begin(weir_rpc_wire *wire, weir_bytes *out,
                                                 size_t *ret_mark) WEIR_MUST_USE;
WEIR_API weir_status weir_rpc_wire_message_end(weir_rpc_wire *wire, weir_bytes *out,
                                               size_t mark) WEIR_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
