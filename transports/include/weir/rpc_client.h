/* The client of RPC: a channel to a service, on one loop, by gRPC, gRPC-Web or Connect.
 *
 * A channel keeps connections to one or several addresses, connects when first used, connects again
 * with backoff, and spreads calls over them. It belongs to one loop: make one on each.
 *
 * Over HTTP/2 an address has one connection, with as many calls at once as the peer allows; over
 * HTTP/1.1 it has a pool, a call on each. Calls beyond that wait in order. A connection that the
 * peer ends (GOAWAY) finishes the calls that it has, while new ones go by the next.
 *
 * What a caller's handler is told (weir/rpc.h): `room` first, once, where many messages are sent:
 * sending need not wait for anything, what is sent before there is a connection is kept
 * (send_bytes_max). `begin` when the response's metadata are there; not of a call that fails before
 * a response has begun: its metadata and trailers can be asked for in `over`. A connection that is
 * lost ends its calls at once: messages that came and were not asked for are gone. */
#ifndef WEIR_RPC_CLIENT_H
#define WEIR_RPC_CLIENT_H

#include <weir/async.h>
#include <weir/rpc.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_rpc_channel weir_rpc_channel;

typedef enum weir_rpc_http { WEIR_RPC_HTTP2, WEIR_RPC_HTTP1 } weir_rpc_http;
typedef enum weir_rpc_balance {
    WEIR_RPC_PICK_FIRST, /* the first address that connects */
    WEIR_RPC_ROUND_ROBIN /* every address that is connected, in turn; the others are tried again */
} weir_rpc_balance;

/* When a call is tried again: it failed with one of `codes`, nothing of its response was handed on,
 * and its messages so far are still kept (buffer_bytes_max). Throttled by a budget as
 * weir_error_policy has it: 20 % and 10 a second. "grpc-retry-pushback-ms" among the trailers says
 * when instead, or never.
 * https://github.com/grpc/proposal/blob/master/A6-client-retries.md
 *
 * What never reached the service (a refused stream, above a GOAWAY's last) is tried again once
 * without any of this; so is a call of an idempotent method whose connection is lost before its
 * response. */
typedef struct weir_rpc_retry {
    uint32_t attempts_max;     /* in all, up to 5; 0 or 1: never */
    uint32_t backoff_ms;       /* doubled each time, jittered; 0: 100 */
    uint32_t backoff_ms_max;   /* 0: 1000 */
    uint32_t codes;            /* bits, 1 << WEIR_RPC_UNAVAILABLE; 0: that one */
    uint32_t buffer_bytes_max; /* of what was sent; 0: 256 KiB */
} weir_rpc_retry;

/* Zero is the default that is given; pointers stay borrowed until the channel is freed and its last
 * call over. */
typedef struct weir_rpc_channel_config {
    const char *target; /* "http://host:port" or "https://…", several by commas; the paths of
                           methods follow. A name stands for all of its addresses. Required */
    weir_rpc_protocol protocol; /* gRPC needs HTTP/2 */
    weir_rpc_http http;
    weir_rpc_codec codec; /* JSON: Connect, gRPC and gRPC-Web alike */
    weir_rpc_balance balance;
    bool gzip;        /* compress what is sent, from gzip_bytes_min on */
    bool connect_get; /* Connect: by GET where the method has no side effects */
    weir_rpc_retry retry;
    const weir_rpc_interceptor *const *interceptors;
    size_t interceptor_count;
    const struct weir_protobuf_types *types; /* that an Any may hold in JSON */

    uint32_t connections_max;         /* HTTP/1.1 per address; a call each at a time: 64 */
    uint32_t calls_max;               /* at once, waiting ones too; more: WEIR_ELIMIT: 65,536 */
    uint32_t message_bytes_max;       /* that comes: 4 MiB */
    uint32_t message_send_bytes_max;  /* UINT32_MAX */
    uint32_t message_memory_max;      /* of an unpacked message: 16 MiB */
    uint32_t metadata_bytes_max;      /* 16 KiB */
    uint32_t send_bytes_max;          /* of a call not yet taken: 64 KiB */
    uint32_t stream_window_bytes;     /* 64 KiB */
    uint32_t connection_window_bytes; /* 1 MiB */
    uint32_t connect_timeout_ms;      /* name, connect, handshake, SETTINGS: 20,000 */
    uint32_t backoff_ms;           /* after a failed connect, doubled, jittered by a fifth: 1,000 */
    uint32_t backoff_ms_max;       /* 120,000 */
    uint32_t idle_timeout_ms;      /* a connection without calls is closed: 1,800,000 */
    uint32_t park_ms;              /* one at rest for so long is packed: 1,000; UINT32_MAX: never */
    uint32_t keepalive_ms;         /* asks a silent peer by PING while calls run; 0: never */
    uint32_t keepalive_timeout_ms; /* 20,000 */
    uint32_t gzip_bytes_min;       /* 1024 */

    const char *tls_ca_file;   /* PEM; NULL: the system's certificates */
    const char *tls_name;      /* whom the certificate must name; NULL: the target's host */
    const char *tls_cert_file; /* PEM: ours, if the server asks */
    const char *tls_key_file;
    bool tls_insecure; /* do not verify; for tests only */
} weir_rpc_channel_config;

/* Gives a channel on `loop`, not yet connected; config is copied. WEIR_EINVAL: a bad target (or
 * none: config NULL), or a combination that is none; WEIR_EUNSUPPORTED: this build has no nghttp2,
 * or no TLS; WEIR_ENOMEM. Loop thread. */
WEIR_API weir_status weir_rpc_channel_new(weir_loop *loop, const weir_rpc_channel_config *config,
                                          weir_rpc_channel **ret_channel,
                                          const char **ret_why) WEIR_MUST_USE;
/* Takes the channel. Calls on it are cancelled and told `over`, not beneath this; its memory goes
 * after the last of them. NULL is fine. Loop thread. */
WEIR_API void weir_rpc_channel_free(weir_rpc_channel *channel);

/* Zero is the default. Everything is copied. */
typedef struct weir_rpc_options {
    weir_context *context; /* of any loop; its deadline, cancel and trace are the call's; it lasts
                              until `over` at least. NULL: none */
    uint32_t timeout_ms;   /* beside that; 0: none */
    const weir_http1_field *metadata; /* values of "-bin" names as they are */
    size_t metadata_count;
    bool wait_for_ready; /* wait for a connection up to the deadline; default: a channel that failed
                            to connect fails the call at once, with UNAVAILABLE */
    bool no_retry;
    bool gzip,
        no_gzip; /* compress what this call sends, or do not; default: as the channel has it */
} weir_rpc_options;

/* Starts a call; gives it, on the channel's loop. "traceparent" is sent by the context's trace, or
 * a new one, unless it is among the metadata. `handler` is copied; its `over` always follows, never
 * beneath this call. Send with weir_rpc_send, weir_rpc_send_end. options NULL: all defaults.
 * WEIR_ENOMEM; WEIR_ELIMIT: calls_max; WEIR_EINVAL: metadata that may not be sent; WEIR_ECLOSED:
 * the channel is being freed. method NULL: WEIR_EINVAL; handler NULL: nobody is told. */
WEIR_API weir_status weir_rpc_start(weir_rpc_channel *channel, const weir_rpc_method *method,
                                    const weir_rpc_options *options,
                                    const weir_rpc_handler *handler, void *user,
                                    weir_rpc_call **ret_call) WEIR_MUST_USE;
/* The same for a method with one request, which it borrows: sends it, and ends our side. Also
 * WEIR_EINVAL: a method with many, or a request of another type; WEIR_ELIMIT:
 * message_send_bytes_max. */
WEIR_API weir_status weir_rpc_ask(weir_rpc_channel *channel, const weir_rpc_method *method,
                                  const weir_rpc_options *options, const ProtobufCMessage *request,
                                  const weir_rpc_handler *handler, void *user,
                                  weir_rpc_call **ret_call) WEIR_MUST_USE;

typedef struct weir_rpc_channel_stats {
    uint32_t addresses, connected, calls; /* now */
    uint64_t started, succeeded, failed, retried, connects, connects_failed;
    uint64_t last_started_ns; /* of the loop's clock; 0: no call yet */
    uint64_t messages_in, messages_out;
    uint64_t bytes_in, bytes_out; /* of messages, not compressed, without what the wire adds */
    uint64_t keepalives;          /* PINGs sent into silence: keepalive_ms */
} weir_rpc_channel_stats;
/* The channel's loop. */
WEIR_API void weir_rpc_channel_stats_get(const weir_rpc_channel *channel,
                                         weir_rpc_channel_stats *ret_stats);

/* ---- As a stage: each item becomes a unary call, and its response updates the item ---- */

typedef struct weir_rpc_call_config {
    weir_rpc_channel_config channel; /* one channel is made per replica */
    const weir_rpc_method *method;   /* unary */
    /* Makes the request for `item`, in `arena`, which is reset when this is sent. NULL with
     * `*ret_status` fails the item. Required. */
    const ProtobufCMessage *(*request)(const weir_item *item, weir_arena *arena,
                                       weir_status *ret_status, void *user);
    /* Takes the response over into `item`; a status that is not WEIR_OK fails it. An error of the
     * call fails it by weir_rpc_code_status. */
    weir_status (*response)(weir_item *item, const ProtobufCMessage *response, void *user);
    void *user;
    uint32_t in_flight; /* 64 */
    bool unordered;
    uint32_t timeout_ms; /* 30,000 */
} weir_rpc_call_config;
/* An asynchronous stage (weir_async_of). config is copied; what it points at stays borrowed until
 * the pipeline is freed.
 *   demand    as many as may be in flight, ahead.
 *   order     kept; `unordered`: as the calls end.
 *   cancel    cancels the calls under way. A call has its item's deadline, cancel and trace. */
WEIR_API weir_stage_spec *weir_rpc_call_stage(const weir_rpc_call_config *config);

#ifdef __cplusplus
}
#endif
#endif
