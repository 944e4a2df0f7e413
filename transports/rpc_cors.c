/* Cross-origin requests: which pages' scripts a browser lets in, and what it shows them.
 * https://fetch.spec.whatwg.org/#http-cors-protocol https://connectrpc.com/docs/cors/ */
#include "rpc_server_internal.h"

#include <stdio.h>
#include <string.h>

enum { LIST_MAX = 64, TEXT_MAX = 256, MAX_AGE_S = 7200, MORE_FIELDS = 4, PREFLIGHT_FIELDS = 6 };

#define SPAN(literal)               \
    {                               \
        literal, sizeof literal - 1 \
    }

/* What clients of Connect and gRPC-Web say in a request, of what a page may not say unasked. */
static const char asked_headers[] =
    "content-type, content-encoding, connect-protocol-version, connect-timeout-ms, "
    "connect-content-encoding, connect-accept-encoding, grpc-timeout, grpc-encoding, "
    "grpc-accept-encoding, x-grpc-web, x-user-agent, user-agent";
static const char exposed_headers[] = "grpc-status, grpc-message, grpc-status-details-bin";

static const weir_http1_field vary = { SPAN("vary"), SPAN("origin") };
static const weir_http1_field vary_preflight = {
    SPAN("vary"), SPAN("origin, access-control-request-method, access-control-request-headers")
};
static const weir_http1_field with_credentials = { SPAN("access-control-allow-credentials"),
                                                   SPAN("true") };

/* ---- Config ---- */

static bool is_any(const char *origin)
{
    return strcmp(origin, "*") == 0;
}

/* "scheme://host", with a port or without; as a browser says it, so nothing behind. */
static bool is_origin(const char *text)
{
    const char *host = strstr(text, "://");
    size_t n = strlen(text);
    if (is_any(text) || strcmp(text, "null") == 0)
        return true;
    if (host == NULL || host == text || host[3] == '\0' || n > TEXT_MAX)
        return false;
    for (size_t i = 0; i < n; i++)
        if (text[i] <= ' ' || text[i] > '~' || (text[i] >= 'A' && text[i] <= 'Z'))
            return false;
    return strpbrk(host + 3, "/,?#@") == NULL;
}

static const char *list_wrong(const char *const *list, size_t n, bool (*is_fine)(const char *text))
{
    if (n > LIST_MAX)
        return "cors: more than 64 of a kind";
    for (size_t i = 0; i < n; i++)
        if (list == NULL || list[i] == NULL || !is_fine(list[i]))
            return is_fine == is_origin ? "cors: an origin is scheme://host[:port], in lower case"
                                        : "cors: a header that is no name";
    return NULL;
}

static bool is_name(const char *text)
{
    static const char token[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "!#$%&'*+-.^_`|~"; /* RFC 9110 5.6.2 */
    size_t n = strlen(text);
    return n > 0 && n <= TEXT_MAX && strspn(text, token) == n;
}

const char *wi_rpc_cors_wrong(const weir_rpc_cors *cors)
{
    if (cors == NULL)
        return NULL;
    const char *why = list_wrong(cors->origins, cors->origin_count, is_origin);
    if (why == NULL)
        why = list_wrong(cors->headers, cors->header_count, is_name);
    for (size_t i = 0; why == NULL && cors->credentials && i < cors->origin_count; i++)
        if (is_any(cors->origins[i]))
            why = "cors: credentials need origins by name";
    return why;
}

weir_status wi_rpc_cors_make(wi_rpc_cors *made, const weir_env *env, const weir_rpc_cors *cors)
{
    size_t room = sizeof asked_headers, at = sizeof asked_headers - 1;
    if (cors == NULL || cors->origin_count == 0)
        return WEIR_OK;
    for (size_t i = 0; i < cors->header_count; i++)
        room += strlen(cors->headers[i]) + 2;
    char *headers = weir_memory_new(env, room);
    if (headers == NULL)
        return WEIR_ENOMEM;
    memcpy(headers, asked_headers, sizeof asked_headers);
    for (size_t i = 0; i < cors->header_count; i++)
        at += (size_t)snprintf(headers + at, room - at, ", %s", cors->headers[i]);
    int n = snprintf(made->max_age, sizeof made->max_age, "%u",
                     cors->max_age_s != 0 ? cors->max_age_s : (unsigned)MAX_AGE_S);
    made->max_age_bytes = (size_t)n;
    made->headers = headers;
    made->header_bytes = at;
    made->config = cors;
    return WEIR_OK;
}

void wi_rpc_cors_done(wi_rpc_cors *made, const weir_env *env)
{
    weir_memory_free(env, made->headers);
}

/* ---- Requests ---- */

static const weir_http1_span *find(const weir_http_head *head, const char *name, size_t n)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (head->fields[i].name.len == n && memcmp(head->fields[i].name.at, name, n) == 0)
            return &head->fields[i].value;
    return NULL;
}
#define FIND(head, literal) find(head, literal, sizeof literal - 1)

void wi_rpc_cors_read(weir_rpc_call *call, const weir_http_head *head)
{
    const weir_rpc_cors *cors = call->core->cors->config;
    const weir_http1_span *origin = FIND(head, "origin");
    for (size_t i = 0; origin != NULL && i < cors->origin_count; i++) {
        const char *at = cors->origins[i];
        size_t n = strlen(at);
        if (is_any(at) || (n == origin->len && memcmp(at, origin->at, n) == 0)) {
            call->origin = (weir_http1_span){ at, n };
            return;
        }
    }
}

bool wi_rpc_cors_is_preflight(const weir_http_head *head)
{
    return head->method.len == 7 && memcmp(head->method.at, "OPTIONS", 7) == 0 &&
           FIND(head, "origin") != NULL && FIND(head, "access-control-request-method") != NULL;
}

/* ---- Answers ---- */

static void put(weir_http1_field *fields, size_t *n, weir_http1_field field)
{
    fields[(*n)++] = field;
}

/* What both kinds of answer say. */
static void put_origin(const weir_rpc_call *call, weir_http1_field *fields, size_t *n)
{
    if (call->origin.at == NULL)
        return;
    put(fields, n,
        (weir_http1_field){ .name = SPAN("access-control-allow-origin"), .value = call->origin });
    if (call->core->cors->config->credentials)
        put(fields, n, with_credentials);
}

weir_status wi_rpc_cors_preflight(weir_rpc_call *call, const weir_rpc_method *method,
                                  weir_http_head *ret_head)
{
    static const weir_http1_field post = { SPAN("access-control-allow-methods"), SPAN("POST") };
    static const weir_http1_field get = { SPAN("access-control-allow-methods"), SPAN("GET, POST") };
    const wi_rpc_cors *cors = call->core->cors;
    weir_http1_field *fields = weir_arena_take(&call->arena, PREFLIGHT_FIELDS * sizeof *fields);
    size_t n = 0;
    if (fields == NULL)
        return WEIR_ENOMEM;
    put(fields, &n, vary_preflight);
    put_origin(call, fields, &n);
    if (call->origin.at != NULL) {
        bool may_get = method->no_side_effects && method->kind == WEIR_RPC_UNARY;
        put(fields, &n, may_get ? get : post);
        put(fields, &n,
            (weir_http1_field){ .name = SPAN("access-control-allow-headers"),
                                .value = { cors->headers, cors->header_bytes } });
        put(fields, &n,
            (weir_http1_field){ .name = SPAN("access-control-max-age"),
                                .value = { cors->max_age, cors->max_age_bytes } });
    }
    *ret_head = (weir_http_head){ .status = call->origin.at != NULL ? 204 : 403,
                                  .fields = fields,
                                  .field_count = n };
    return WEIR_OK;
}

/* The names of all that the head has: metadata, and Connect's trailers, which stand there. */
static weir_http1_span exposed(weir_rpc_call *call, const weir_http_head *head)
{
    size_t room = sizeof exposed_headers, at = sizeof exposed_headers - 1;
    for (size_t i = 0; i < head->field_count; i++)
        room += head->fields[i].name.len + 2;
    char *text = weir_arena_take(&call->arena, room);
    if (text == NULL)
        return (weir_http1_span){ NULL, 0 };
    memcpy(text, exposed_headers, sizeof exposed_headers);
    for (size_t i = 0; i < head->field_count; i++) {
        weir_http1_span name = head->fields[i].name;
        at += (size_t)snprintf(text + at, room - at, ", %.*s", (int)name.len, name.at);
    }
    return (weir_http1_span){ text, at };
}

weir_status wi_rpc_cors_respond(weir_rpc_call *call, const weir_http_head *head)
{
    weir_http_head more = *head;
    size_t n = head->field_count;
    weir_http1_field *fields = weir_arena_take(&call->arena, (n + MORE_FIELDS) * sizeof *fields);
    if (fields == NULL)
        return WEIR_ENOMEM;
    if (n > 0)
        memcpy(fields, head->fields, n * sizeof *fields);
    put(fields, &n, vary);
    put_origin(call, fields, &n);
    if (call->origin.at != NULL) {
        weir_http1_span names = exposed(call, head);
        if (names.at == NULL)
            return WEIR_ENOMEM;
        put(fields, &n,
            (weir_http1_field){ .name = SPAN("access-control-expose-headers"), .value = names });
    }
    more.fields = fields;
    more.field_count = n;
    return weir_http_exchange_respond(call->exchange, &more);
}
