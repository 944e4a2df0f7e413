/* The standard health service, grpc.health.v1.Health: by it, load balancers and orchestrators ask a
 * server whether it, or a service of it, takes calls. Check, List, and Watch, which tells of each
 * change. https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 *
 *   weir_rpc_health *health = weir_rpc_health_new(NULL);
 *   const weir_rpc_service *services[] = { &orders, weir_rpc_health_service(health) }; */
#ifndef WEIR_RPC_HEALTH_H
#define WEIR_RPC_HEALTH_H

#include <weir/rpc.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_rpc_health weir_rpc_health;

typedef enum weir_rpc_serving {
    WEIR_RPC_SERVING_UNKNOWN = 0,
    WEIR_RPC_SERVING = 1,
    WEIR_RPC_NOT_SERVING = 2
} weir_rpc_serving;

enum {
    WEIR_RPC_HEALTH_SERVICES_MAX = 1024, /* names that have a status */
    WEIR_RPC_HEALTH_NAME_MAX = 255,      /* bytes of one */
    WEIR_RPC_HEALTH_WATCHES_MAX = 4096   /* at once; more: RESOURCE_EXHAUSTED */
};

/* Gives a health service in which the server as a whole, the empty name, is SERVING. NULL for want
 * of memory. Any thread. */
WEIR_API weir_rpc_health *weir_rpc_health_new(const weir_env *env);
/* Takes it, after the pipelines of the servers that serve it. NULL is fine. */
WEIR_API void weir_rpc_health_free(weir_rpc_health *health);
/* To be put among the services of servers. Borrowed from it. */
WEIR_API const weir_rpc_service *weir_rpc_health_service(const weir_rpc_health *health);

/* Sets the status of `service` ("orders.v1.Orders"; "": the server as a whole); whoever watches it
 * is told. WEIR_EINVAL: too long a name; WEIR_ELIMIT: too many; WEIR_ENOMEM. Any thread. */
WEIR_API weir_status weir_rpc_health_set(weir_rpc_health *health, const char *service,
                                         weir_rpc_serving serving) WEIR_MUST_USE;
/* All are NOT_SERVING from here on, whatever is set: before a drain, so that callers go elsewhere
 * first. Watches end as well (UNAVAILABLE), or a drain would wait for them. Any thread. */
WEIR_API void weir_rpc_health_shut_down(weir_rpc_health *health);

#ifdef __cplusplus
}
#endif
#endif
