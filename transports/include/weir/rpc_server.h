/* The server of RPC: gRPC, gRPC-Web and Connect, over HTTP/2 and HTTP/1.1, in clear or by TLS, all
 * on one port, told apart by preface, ALPN and content type.
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 * https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-WEB.md
 * https://connectrpc.com/docs/protocol/
 *
 * It is a stage without inputs: one output for each that the handlers name (weir_rpc_handler),
 * often none, and then it stands alone in its pipeline:
 *
 *   weir_add(p, weir_rpc_server(&(weir_rpc_server_config){
 *                   .listen = ":50051", .services = services, .service_count = 1 }));
 *   status = weir_run(p); */
#ifndef WEIR_RPC_SERVER_H
#define WEIR_RPC_SERVER_H

#include <weir/rpc.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Scripts of pages from other origins, that browsers are to let in (CORS): preflights of the
 * methods that are served are answered, by 204, or 403 to an origin that is not listed, and
 * responses say who may read them, and all of their fields: metadata, trailers of Connect and of
 * gRPC-Web. What is asked by another origin is served all the same: it is the browser that keeps
 * the answer back. Requests may have the fields that Connect and gRPC-Web name, and `headers`:
 * metadata, or "authorization". At most 64 of each, of 256 bytes.
 * https://fetch.spec.whatwg.org/#http-cors-protocol https://connectrpc.com/docs/cors/ */
typedef struct weir_rpc_cors {
    const char *const *origins; /* "https://app.example.org", "http://localhost:8080": to the letter
                                   as the browser says it; "*": any */
    size_t origin_count;        /* 0: as without all this */
    const char *const *headers; /* "x-tenant"; "*": any but authorization, without credentials */
    size_t header_count;
    bool credentials;   /* cookies and certificates, too; not with "*" */
    uint32_t max_age_s; /* that a browser may remember it: 7200 */
} weir_rpc_cors;

/* Zero is the default that is given; pointers stay borrowed until the pipeline is freed. */
typedef struct weir_rpc_server_config {
    const char *listen; /* as for weir_http_server; NULL: "127.0.0.1:50051" */
    void (*listening)(uint16_t port, void *user); /* told the port, once per replica, on its loop.
                                                     Optional */
    void *user;
    const weir_rpc_service *const *services;
    size_t service_count;
    const weir_rpc_interceptor *const *interceptors;
    size_t interceptor_count;
    const struct weir_protobuf_types *types; /* that an Any may hold in JSON */
    const weir_rpc_cors *cors; /* NULL: pages of other origins are not let in by their browsers */

    uint32_t backlog;                 /* SOMAXCONN */
    uint32_t connections_max;         /* of all replicas together: the descriptor limit less 64 */
    uint32_t calls_max;               /* at once, per replica; more: UNAVAILABLE: 65,536 */
    uint32_t streams_max;             /* at once, per connection, announced to HTTP/2 peers: 100 */
    uint32_t message_bytes_max;       /* that comes, also when inflated; RESOURCE_EXHAUSTED from its
                                         prefix: 4 MiB */
    uint32_t message_send_bytes_max;  /* UINT32_MAX */
    uint32_t message_memory_max;      /* of an unpacked message; RESOURCE_EXHAUSTED: 16 MiB */
    uint32_t metadata_bytes_max;      /* of a head, as HTTP/2 counts it; refused: 16 KiB */
    uint32_t send_bytes_max;          /* of a call not yet taken by the peer: 64 KiB */
    uint32_t stream_window_bytes;     /* that a stream may send unasked: 64 KiB */
    uint32_t connection_window_bytes; /* 1 MiB */
    uint32_t deadline_ms_default;     /* of a call that brings none; 0: none */
    uint32_t deadline_ms_max;         /* cuts a longer one, and none at all; 0: does not */
    uint32_t header_timeout_ms;       /* preface or head, and a TLS handshake: 10,000 */
    uint32_t body_timeout_ms;         /* a message that has begun, or a call's only request, and
                                         of it less than 1 KiB came: DEADLINE_EXCEEDED; up to a
                                         quarter later. Not between messages, nor while we take
                                         none: 60,000; UINT32_MAX: never */
    uint32_t idle_timeout_ms;         /* a connection without calls is closed: 300,000 */
    uint32_t park_ms;                 /* one without calls and input for so long is packed into a
                                         third of its memory: 1,000; UINT32_MAX: never */
    uint32_t write_timeout_ms;        /* a peer took nothing; the connection is cut: 60,000 */
    uint32_t keepalive_ms;            /* asks a silent peer by PING: 7,200,000 */
    uint32_t keepalive_timeout_ms;    /* and cuts it off without an answer: 20,000 */
    bool no_gzip;                     /* neither takes nor sends it */
    uint32_t gzip_bytes_min;          /* smaller messages are sent as they are: 1024 */

    const char *tls_cert_file; /* PEM, the whole chain; NULL: in clear */
    const char *tls_key_file;  /* PEM */
    const char
        *tls_client_ca_file;  /* PEM: asks clients for a certificate of these. NULL: does not */
    bool tls_client_required; /* and refuses those without */
} weir_rpc_server_config;

/* The server. config is copied; NULL: all defaults, which answers UNIMPLEMENTED. NULL for want of
 * memory. The stage fails as weir_http_server does. A build without nghttp2 serves HTTP/1.1, and so
 * no gRPC; one without zlib does as if no_gzip were set.
 *
 * A call whose deadline came is answered DEADLINE_EXCEEDED; if the peer does not take that within a
 * second, or has not taken what went before, the call is reset.
 *
 * A caller over HTTP/1.1 that ends its side of the connection has gone, as browsers go: its call is
 * cancelled, unless it is answered at once.
 *
 * Calls are served by the loop that has their connection. A drain says GOAWAY, lets the calls under
 * way end, telling their handlers (`drain`), and refuses new ones. */
WEIR_API weir_stage_spec *weir_rpc_server(const weir_rpc_server_config *config);

/* ---- Figures, of all replicas together ----
 *
 * weir_pipeline_metrics, and with it the admin's /metrics, shows them as weir_rpc_server_… by
 * themselves, with the labels method (of those served, no other) and code. Here they are for
 * programs. `node` is what weir_add gave for the server; any thread, from the start of the pipeline
 * on, as for weir_node_shared. */

/* Why a call was not let in. */
#define WEIR_RPC_REFUSED_LIST(X)                                                                  \
    X(BAD_REQUEST, "bad_request") /* malformed HTTP, or beyond metadata_bytes_max, streams_max */ \
    X(NOT_A_CALL, "not_a_call")   /* content type, HTTP method */                                 \
    X(UNKNOWN_METHOD, "unknown_method") /* also one without handler */                            \
    X(DRAINING, "draining")                                                                       \
    X(TOO_MANY, "too_many") /* calls_max */                                                       \
    X(NO_MEMORY, "no_memory")
typedef enum weir_rpc_refused {
#define WEIR_RPC_REFUSED_ENUM(name, text) WEIR_RPC_REFUSED_##name,
    WEIR_RPC_REFUSED_LIST(WEIR_RPC_REFUSED_ENUM)
#undef WEIR_RPC_REFUSED_ENUM
        WEIR_RPC_REFUSED_COUNT
} weir_rpc_refused;

typedef struct weir_rpc_server_figures {
    uint64_t connections, connections_open; /* with their handshake behind them */
    /* How connections ended, by -status: 0: both sides were done; WEIR_ECLOSED: the peer closed;
     * WEIR_EDEADLINE, WEIR_EPROTO, WEIR_ELIMIT: cut off; WEIR_ECANCELED: by an abort. */
    uint64_t connections_over[WEIR_STATUS_COUNT];
    uint64_t streams, streams_open; /* requests: HTTP/2 streams, and exchanges of HTTP/1.1 */
    uint64_t streams_over[WEIR_STATUS_COUNT]; /* 0: whole; WEIR_ECANCELED: reset; and as above */
    uint64_t refused[WEIR_RPC_REFUSED_COUNT];
    uint64_t keepalives; /* PINGs sent into silence: keepalive_ms */
} weir_rpc_server_figures;

/* WEIR_ENOTFOUND: not the node of a server that was started; or no method of this index: they are
 * numbered in the order of the services. */
WEIR_API weir_status weir_rpc_server_stats(const weir_node *node,
                                           weir_rpc_server_figures *ret_figures) WEIR_MUST_USE;
WEIR_API weir_status weir_rpc_method_stats(const weir_node *node, uint32_t index,
                                           weir_rpc_method_figures *ret_figures) WEIR_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
