/* Which method a path names: a hash table that is built once. */
#include "rpc_server_internal.h"

#include <string.h>

enum { METHODS_MAX = 65536 };
#define MIX UINT64_C(0x9e3779b97f4a7c15)

static bool is_served(const weir_rpc_handler *handler)
{
    return handler->begin != NULL || handler->message != NULL || handler->end != NULL ||
           handler->room != NULL || handler->over != NULL || handler->output_plus_1 != 0;
}

/* Eight bytes at a time; the paths are the program's own, so nobody can make them collide. */
static uint32_t hash_of(const char *at, size_t n)
{
    uint64_t hash = n, word = 0;
    if (n < 8) {
        memcpy(&word, at, n);
        return (uint32_t)(((hash ^ word) * MIX) >> 32);
    }
    memcpy(&word, at + n - 8, 8); /* the rest, and some that was there before */
    hash ^= word;
    for (; n > 8; at += 8, n -= 8) {
        memcpy(&word, at, 8);
        hash = (hash << 7 | hash >> 57) ^ word;
    }
    hash = (hash ^ hash >> 32) * MIX;
    return (uint32_t)(hash >> 32);
}

static const char *service_wrong(const weir_rpc_service *service)
{
    if (service == NULL || service->type == NULL || service->handlers == NULL)
        return "a service without type or handlers";
    for (size_t i = 0; i < service->type->method_count; i++) {
        const weir_rpc_method *method = &service->type->methods[i];
        uint32_t output = service->handlers[i].output_plus_1;
        if (method->path == NULL || method->request == NULL || method->response == NULL)
            return "a method without path or messages";
        if (output > WEIR_PORTS_MAX)
            return "a handler's output is above 64";
        if (output != 0 && method->kind != WEIR_RPC_UNARY && method->kind != WEIR_RPC_SERVER_STREAM)
            return "only methods with one request give items";
    }
    return NULL;
}

static size_t count_methods(const weir_rpc_service *const *services, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += services[i]->type->method_count;
    return count;
}

const char *wi_rpc_services_wrong(const weir_rpc_service *const *services, size_t n)
{
    const char *why = services == NULL && n > 0 ? "no services" : NULL;
    for (size_t i = 0; i < n && why == NULL; i++) {
        why = service_wrong(services[i]);
        for (size_t j = 0; j < i && why == NULL; j++)
            if (strcmp(services[i]->type->name, services[j]->type->name) == 0)
                why = "two services of one name";
    }
    if (why == NULL && count_methods(services, n) > METHODS_MAX)
        why = "more than 65,536 methods";
    return why;
}

uint32_t wi_rpc_services_outputs(const weir_rpc_service *const *services, size_t n)
{
    uint32_t most = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < services[i]->type->method_count; j++)
            if (services[i]->handlers[j].output_plus_1 > most)
                most = services[i]->handlers[j].output_plus_1;
    return most;
}

static uint32_t *slot_of(const wi_rpc_registry *registry, const char *path, size_t n)
{
    uint32_t at = hash_of(path, n) & registry->mask;
    for (;; at = (at + 1) & registry->mask) {
        uint32_t index = registry->slots[at];
        if (index == 0)
            return &registry->slots[at];
        const wi_rpc_entry *entry = &registry->entries[index - 1];
        if (entry->path_len == n && memcmp(entry->method->path, path, n) == 0)
            return &registry->slots[at];
    }
}

static void add(wi_rpc_registry *registry, const weir_rpc_service *service, size_t index)
{
    const weir_rpc_method *method = &service->type->methods[index];
    const weir_rpc_handler *handler = &service->handlers[index];
    wi_rpc_entry *entry = &registry->entries[registry->count++];
    *entry = (wi_rpc_entry){ method, service, is_served(handler) ? handler : NULL,
                             strlen(method->path) };
    uint32_t *slot = slot_of(registry, method->path, entry->path_len);
    if (*slot == 0)
        *slot = registry->count;
}

weir_status wi_rpc_registry_make(wi_rpc_registry *registry, const weir_env *env,
                                 const weir_rpc_service *const *services, size_t n)
{
    size_t methods = count_methods(services, n), slots = 2;
    while (slots < 2 * methods)
        slots *= 2;
    *registry = (wi_rpc_registry){ .mask = (uint32_t)slots - 1 };
    registry->outputs = wi_rpc_services_outputs(services, n);
    registry->slots = weir_memory_new(env, slots * sizeof *registry->slots);
    registry->entries = weir_memory_new(env, (methods + 1) * sizeof *registry->entries);
    if (registry->slots == NULL || registry->entries == NULL) {
        wi_rpc_registry_done(registry, env);
        return WEIR_ENOMEM;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < services[i]->type->method_count; j++)
            add(registry, services[i], j);
    return WEIR_OK;
}

void wi_rpc_registry_done(wi_rpc_registry *registry, const weir_env *env)
{
    weir_memory_free(env, registry->slots);
    weir_memory_free(env, registry->entries);
    *registry = (wi_rpc_registry){ 0 };
}

const wi_rpc_entry *wi_rpc_registry_find(const wi_rpc_registry *registry, weir_http1_span path)
{
    if (registry->count == 0)
        return NULL;
    const char *query = memchr(path.at, '?', path.len);
    size_t n = query != NULL ? (size_t)(query - path.at) : path.len;
    uint32_t index = *slot_of(registry, path.at, n);
    return index != 0 ? &registry->entries[index - 1] : NULL;
}
