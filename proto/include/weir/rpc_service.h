/* What a service is: its methods, their kinds and messages, and the status codes of RPC. Tables of
 * these come from protoc-gen-weir; everything is immutable and static. */
#ifndef WEIR_RPC_SERVICE_H
#define WEIR_RPC_SERVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ProtobufCMessageDescriptor ProtobufCMessageDescriptor; /* protobuf-c's */

/* X(NAME, number, connect name, HTTP status of a Connect error).
 * https://grpc.io/docs/guides/status-codes/ https://connectrpc.com/docs/protocol/#error-codes */
#define WEIR_RPC_CODE_LIST(X)                             \
    X(OK, 0, "ok", 200)                                   \
    X(CANCELLED, 1, "canceled", 499)                      \
    X(UNKNOWN, 2, "unknown", 500)                         \
    X(INVALID_ARGUMENT, 3, "invalid_argument", 400)       \
    X(DEADLINE_EXCEEDED, 4, "deadline_exceeded", 504)     \
    X(NOT_FOUND, 5, "not_found", 404)                     \
    X(ALREADY_EXISTS, 6, "already_exists", 409)           \
    X(PERMISSION_DENIED, 7, "permission_denied", 403)     \
    X(RESOURCE_EXHAUSTED, 8, "resource_exhausted", 429)   \
    X(FAILED_PRECONDITION, 9, "failed_precondition", 400) \
    X(ABORTED, 10, "aborted", 409)                        \
    X(OUT_OF_RANGE, 11, "out_of_range", 400)              \
    X(UNIMPLEMENTED, 12, "unimplemented", 501)            \
    X(INTERNAL, 13, "internal", 500)                      \
    X(UNAVAILABLE, 14, "unavailable", 503)                \
    X(DATA_LOSS, 15, "data_loss", 500)                    \
    X(UNAUTHENTICATED, 16, "unauthenticated", 401)

typedef enum weir_rpc_code {
#define WEIR_RPC_CODE_ENUM(name, number, connect, http) WEIR_RPC_##name = number,
    WEIR_RPC_CODE_LIST(WEIR_RPC_CODE_ENUM)
#undef WEIR_RPC_CODE_ENUM
} weir_rpc_code;

/* "INVALID_ARGUMENT" and "invalid_argument"; "UNKNOWN", "unknown" for a code that is none. */
WEIR_API const char *weir_rpc_code_name(weir_rpc_code code);
WEIR_API const char *weir_rpc_code_connect_name(weir_rpc_code code);
/* The code that says what `status` does: WEIR_EDEADLINE is DEADLINE_EXCEEDED, WEIR_EOVERLOAD and
 * WEIR_EUNAVAILABLE are UNAVAILABLE, WEIR_ELIMIT is RESOURCE_EXHAUSTED, WEIR_EINVAL is
 * INVALID_ARGUMENT, and so on. And the other way round. */
WEIR_API weir_rpc_code weir_rpc_code_of(weir_status status);
WEIR_API weir_status weir_rpc_code_status(weir_rpc_code code);

typedef enum weir_rpc_kind {
    WEIR_RPC_UNARY = 0,
    WEIR_RPC_CLIENT_STREAM = 1, /* many requests, one response */
    WEIR_RPC_SERVER_STREAM = 2, /* one request, many responses */
    WEIR_RPC_BIDI_STREAM = 3
} weir_rpc_kind;

typedef struct weir_rpc_method {
    const char *name; /* "Submit" */
    const char *path; /* "/orders.v1.Orders/Submit" */
    const ProtobufCMessageDescriptor *request, *response;
    weir_rpc_kind kind;
    bool no_side_effects; /* idempotency_level = NO_SIDE_EFFECTS: Connect may ask by GET */
    bool idempotent;      /* that, or IDEMPOTENT: a client may send it again */
} weir_rpc_method;

/* A file as reflection gives it out: a serialized google.protobuf.FileDescriptorProto. */
typedef struct weir_rpc_file {
    const char *name; /* "orders/v1/orders.proto" */
    const uint8_t *bytes;
    size_t n;
    const struct weir_rpc_file *const *imports; /* ends with NULL */
} weir_rpc_file;

typedef struct weir_rpc_service_type {
    const char *name; /* "orders.v1.Orders" */
    const weir_rpc_method *methods;
    size_t method_count;
    const weir_rpc_file *file; /* NULL: reflection does not show it */
} weir_rpc_service_type;

#ifdef __cplusplus
}
#endif
#endif
