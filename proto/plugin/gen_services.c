/* The services of a file, with names for C that no two of them share. */
#include <string.h>

#include "gen.h"

typedef struct name_set {
    const char **names;
    size_t n, cap;
} name_set;

static bool is_taken(const name_set *set, const char *name)
{
    for (size_t i = 0; i < set->n; i++) {
        if (strcmp(set->names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static void take(wi_gen *gen, name_set *set, const char *name)
{
    if (set->n == set->cap) {
        set->cap = set->cap * 2 + 64;
        const char **more = wi_gen_alloc(gen->pool, set->cap * sizeof *more);
        if (set->n > 0) {
            memcpy(more, set->names, set->n * sizeof *more);
        }
        set->names = more;
    }
    set->names[set->n++] = name;
}

/* Takes `base` with every suffix, if all are free. */
static bool take_all(wi_gen *gen, name_set *set, const char *base, const char *const *suffixes)
{
    size_t before = set->n;
    for (size_t i = 0; suffixes[i] != NULL; i++) {
        const char *name = wi_gen_print(gen->pool, "%s%s", base, suffixes[i]);
        if (is_taken(set, name)) {
            set->n = before;
            return false;
        }
        take(gen, set, name);
    }
    return true;
}

static const char *comment_of(const wi_gen_file *file, const int32_t *path, size_t n)
{
    const Google__Protobuf__SourceCodeInfo *info = file->proto->source_code_info;
    for (size_t i = 0; info != NULL && i < info->n_location; i++) {
        const Google__Protobuf__SourceCodeInfo__Location *at = info->location[i];
        if (at->n_path == n && memcmp(at->path, path, n * sizeof *path) == 0) {
            return at->leading_comments != NULL ? at->leading_comments : at->trailing_comments;
        }
    }
    return NULL;
}

/* "get_http", or "get_http_2" for a second one that would be called so. */
static void name_method(wi_gen *gen, name_set *set, const wi_gen_service *service,
                        wi_gen_method *method)
{
    static const char *const suffixes[] = { "",        "_method",  "_send",
                                            "_reply",  "_client",  "_client_send",
                                            "_server", "_request", "_response",
                                            NULL };
    const char *snake = wi_gen_snake(gen->pool, method->name);
    for (unsigned i = 1;; i++) {
        const char *name = i == 1 ? snake : wi_gen_print(gen->pool, "%s_%u", snake, i);
        method->member = wi_gen_print(gen->pool, "%s%s", name, wi_gen_is_keyword(name) ? "_" : "");
        method->base = wi_gen_print(gen->pool, "%s_%s", service->base, name);
        const char *member = wi_gen_print(gen->pool, "%s.%s", service->base, method->member);
        if (!is_taken(set, member) && take_all(gen, set, method->base, suffixes)) {
            take(gen, set, member);
            return;
        }
    }
}

static bool read_method(wi_gen *gen, const wi_gen_file *file, const wi_gen_service *service,
                        const wi_gen_method_proto *proto, wi_gen_method *method)
{
    if (proto->name == NULL || !wi_gen_is_identifier(proto->name)) {
        return wi_gen_fail(gen, "%s: a method of %s has no name that can be used",
                           file->proto->name, service->name);
    }
    const char *request = proto->input_type != NULL ? proto->input_type : "";
    const char *response = proto->output_type != NULL ? proto->output_type : "";
    method->name = proto->name;
    method->request = wi_gen_find_type(gen, request);
    method->response = wi_gen_find_type(gen, response);
    if (method->request == NULL || method->response == NULL) {
        return wi_gen_fail(gen, "%s: %s.%s: no such message: \"%s\"", file->proto->name,
                           service->name, proto->name,
                           method->request == NULL ? request : response);
    }
    bool many_requests = proto->has_client_streaming && proto->client_streaming;
    bool many_responses = proto->has_server_streaming && proto->server_streaming;
    method->kind = (many_requests ? WEIR_RPC_CLIENT_STREAM : WEIR_RPC_UNARY) |
                   (many_responses ? WEIR_RPC_SERVER_STREAM : WEIR_RPC_UNARY);
    if (proto->options != NULL && proto->options->has_idempotency_level) {
        int level = (int)proto->options->idempotency_level;
        method->no_side_effects = level == 1;
        method->idempotent = level == 1 || level == 2;
    }
    return true;
}

static bool name_service(wi_gen *gen, name_set *set, const wi_gen_file *file,
                         const wi_gen_service_proto *proto, wi_gen_service *service)
{
    static const char *const suffixes[] = { "_service", "_service_of", "_server", "_methods",
                                            NULL };
    if (proto->name == NULL || !wi_gen_is_identifier(proto->name)) {
        return wi_gen_fail(gen, "%s: a service has no name that can be used", file->proto->name);
    }
    const char *package = file->proto->package != NULL ? file->proto->package : "";
    service->name = *package != '\0' ? wi_gen_print(gen->pool, "%s.%s", package, proto->name)
                                     : proto->name;
    const char *snake = wi_gen_snake(gen->pool, service->name);
    for (unsigned i = 1;; i++) {
        service->base = i == 1 ? snake : wi_gen_print(gen->pool, "%s_%u", snake, i);
        if (take_all(gen, set, service->base, suffixes)) {
            return true;
        }
    }
}

static bool read_methods(wi_gen *gen, name_set *set, const wi_gen_file *file, int32_t index)
{
    enum { SERVICE = 6, METHOD = 2 };
    const wi_gen_service_proto *proto = file->proto->service[index];
    wi_gen_service *service = &file->services[index];
    service->comment = comment_of(file, (int32_t[]){ SERVICE, index }, 2);
    service->method_count = proto->n_method;
    service->methods = wi_gen_alloc(gen->pool, (proto->n_method + 1) * sizeof *service->methods);
    for (size_t i = 0; i < proto->n_method; i++) {
        wi_gen_method *method = &service->methods[i];
        if (!read_method(gen, file, service, proto->method[i], method)) {
            return false;
        }
        name_method(gen, set, service, method);
        method->comment = comment_of(file, (int32_t[]){ SERVICE, index, METHOD, (int32_t)i }, 4);
    }
    return true;
}

bool wi_gen_read_services(wi_gen *gen, wi_gen_file *file)
{
    static const char *const suffixes[] = { "_file",    "_types",    "_bytes",
                                            "_imports", "_messages", NULL };
    name_set set = { 0 };
    take_all(gen, &set, file->base, suffixes);
    file->service_count = file->proto->n_service;
    file->services = wi_gen_alloc(gen->pool, (file->service_count + 1) * sizeof *file->services);
    for (size_t i = 0; i < file->service_count; i++) {
        if (!name_service(gen, &set, file, file->proto->service[i], &file->services[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < file->service_count; i++) {
        if (!read_methods(gen, &set, file, (int32_t)i)) {
            return false;
        }
    }
    return true;
}
