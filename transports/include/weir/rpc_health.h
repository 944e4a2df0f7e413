/* The standard service that says how a server's services are: grpc.health.v1.Health, for load
 * balancers and orchestrators.
 * https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 *
 *   Check  how one service is now; NOT_FOUND if it was never set.
 *   List   how all are; RESOURCE_EXHAUSTED above WEIR_RPC_HEALTH_LIST_MAX.
 *   Watch  the same as Check, and then each change. A service that was never set is
 *          SERVICE_UNKNOWN, and may become known. Several changes at once are told as one; a
 *          caller that takes nothing gets what its window and send_bytes_max hold, and then only
 *          the latest. When the server drains it is told NOT_SERVING, and its call ends with
 *          UNAVAILABLE.
 *
 * The service "" stands for the whole server; it begins as SERVING. */
#ifndef WEIR_RPC_HEALTH_H
#define WEIR_RPC_HEALTH_H

#include <weir/rpc.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_rpc_health weir_rpc_health;

/* The numbers of HealthCheckResponse.ServingStatus. */
typedef enum weir_rpc_health_status {
    WEIR_RPC_HEALTH_UNKNOWN = 0,
    WEIR_RPC_HEALTH_SERVING = 1,
    WEIR_RPC_HEALTH_NOT_SERVING = 2
} weir_rpc_health_status;

/* Services that can be set, "" among them; how many of them List gives; bytes of a name. */
enum {
    WEIR_RPC_HEALTH_SERVICES_MAX = 4096,
    WEIR_RPC_HEALTH_LIST_MAX = 100,
    WEIR_RPC_HEALTH_NAME_MAX = 255
};

/* Gives it, or NULL for want of memory, and in a build without nghttp2, zlib or protoc.
 * env is borrowed; NULL: the defaults. Any thread. It may be served by several servers. */
WEIR_API weir_rpc_health *weir_rpc_health_new(const weir_env *env);
/* Takes it. The pipelines that serve it must have been freed. NULL is fine. */
WEIR_API void weir_rpc_health_free(weir_rpc_health *health);

/* Says how `service` is: "orders.v1.Orders", or "" for the whole server. Copies the name, which is
 * known from here on. Any thread. WEIR_EINVAL: another status, a name that is too long, or NULL;
 * WEIR_ELIMIT: too many; WEIR_ENOMEM: a new one could not be kept. */
WEIR_API weir_status weir_rpc_health_set(weir_rpc_health *health, const char *service,
                                         weir_rpc_health_status status);

/* The service, for weir_rpc_server_config. Borrowed from `health`. Of NULL: NULL, which the
 * server's check refuses, so that weir_rpc_health_new need not be looked at. */
WEIR_API const weir_rpc_service *weir_rpc_health_service(const weir_rpc_health *health);

#ifdef __cplusplus
}
#endif
#endif
