/* What stands in for the standard services in a build without RPC. */
#include <weir/rpc_health.h>
#include <weir/rpc_reflection.h>

#if !WEIR_HAVE_RPC

weir_rpc_health *weir_rpc_health_new(const weir_env *env)
{
    (void)env;
    return NULL;
}

void weir_rpc_health_free(weir_rpc_health *health)
{
    (void)health;
}

weir_status weir_rpc_health_set(weir_rpc_health *health, const char *service,
                                weir_rpc_health_status status)
{
    (void)health;
    (void)service;
    (void)status;
    return WEIR_EUNSUPPORTED;
}

const weir_rpc_service *weir_rpc_health_service(const weir_rpc_health *health)
{
    (void)health;
    return NULL;
}

weir_rpc_reflection *weir_rpc_reflection_new(const weir_env *env,
                                             const weir_rpc_service *const *services, size_t count)
{
    (void)env;
    (void)services;
    (void)count;
    return NULL;
}

void weir_rpc_reflection_free(weir_rpc_reflection *reflection)
{
    (void)reflection;
}

const weir_rpc_service *weir_rpc_reflection_service(const weir_rpc_reflection *reflection,
                                                    weir_rpc_reflection_version version)
{
    (void)reflection;
    (void)version;
    return NULL;
}

#endif
