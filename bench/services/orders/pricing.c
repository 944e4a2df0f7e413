/* Pricing: the stage that asks the pricing service, and a small such service of our own. */
#include "service.h"

#include <weir/json.h>

#include <stdio.h>
#include <string.h>

enum { IN_FLIGHT = 12, TIMEOUT_MS = 150 };

/* ---- Asking ---- */

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

/* "/price/" and the id, percent-encoded (RFC 3986 section 2.1). */
static weir_status ask(const weir_item *item, weir_http_call_request *request, void *user)
{
    static const char prefix[] = "/price/", hex[] = "0123456789ABCDEF";
    work *asked = work_of(item);
    size_t n = sizeof prefix - 1;
    (void)user;
    asked->step = AT_PRICING;
    if (request->scratch_bytes < n + 3u * asked->order.id_bytes)
        return WEIR_ELIMIT;
    char *to = request->scratch;
    memcpy(to, prefix, n);
    for (size_t i = 0; i < asked->order.id_bytes; i++) {
        char c = asked->order.id[i];
        if (is_unreserved(c)) {
            to[n++] = c;
            continue;
        }
        to[n++] = '%';
        to[n++] = hex[(unsigned char)c >> 4];
        to[n++] = hex[(unsigned char)c & 15];
    }
    request->target = (weir_http1_span){ to, n };
    return WEIR_OK;
}

/* {"price": NUMBER}, among whatever else. */
static bool read_price(weir_http1_span body, double *ret_price)
{
    weir_json_reader reader;
    weir_json_token token;
    bool found = false;
    if (weir_json_open(&reader, body.at != NULL ? body.at : "", body.len, NULL) != WEIR_OK ||
        weir_json_next(&reader, &token) != WEIR_OK || token.kind != WEIR_JSON_BEGIN_OBJECT)
        return false;
    while (weir_json_next(&reader, &token) == WEIR_OK && token.kind == WEIR_JSON_KEY) {
        if (!weir_json_equals(&token, "price")) {
            if (weir_json_skip(&reader) != WEIR_OK)
                return false;
            continue;
        }
        if (weir_json_next(&reader, &token) != WEIR_OK ||
            weir_json_double(&token, ret_price) != WEIR_OK)
            return false;
        found = *ret_price >= 0;
    }
    return found && weir_json_next(&reader, &token) == WEIR_OK && token.kind == WEIR_JSON_END;
}

static weir_status take_price(weir_item *item, const weir_http_call_response *response, void *user)
{
    (void)user;
    if (response->status == 404)
        return WEIR_ENOTFOUND;
    if (response->status != 200)
        return WEIR_EUNAVAILABLE;
    return read_price(response->body, &work_of(item)->price) ? WEIR_OK : WEIR_EPROTO;
}

weir_stage_spec *pricing_stage(service *s)
{
    const options *o = &s->options;
    const char *url = o->pricing == PRICING_URL ? o->pricing_url : s->pricing_url;
    return weir_stage_named(
        weir_http_call(&(weir_http_call_config){ .base_url = url,
                                                 .request = ask,
                                                 .response = take_price,
                                                 .connections_max = IN_FLIGHT,
                                                 .unordered = true,
                                                 .request_timeout_ms = TIMEOUT_MS }),
        "price");
}

/* ---- Being asked ---- */

/* The same price for the same id, always: FNV-1a of the path. */
static weir_status answer(const weir_item *item, weir_http_response *response, void *user)
{
    static const char prefix[] = "/price/";
    const weir_http_request *request = weir_http_request_of(item);
    weir_http1_span path = weir_http_request_path(request);
    (void)user;
    response->answer.content_type = "application/json";
    response->answer.body = response->scratch;
    if (weir_http_request_method(request) != WEIR_HTTP1_GET || path.len < sizeof prefix ||
        memcmp(path.at, prefix, sizeof prefix - 1) != 0) {
        response->answer.status = 404;
        response->answer.body_bytes = (size_t)snprintf(response->scratch, response->scratch_bytes,
                                                       "{\"error\":\"not found\"}");
        return WEIR_OK;
    }
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < path.len; i++)
        hash = (hash ^ (unsigned char)path.at[i]) * UINT64_C(0x100000001b3);
    unsigned cents = (unsigned)(hash % 10000) + 1;
    response->answer.body_bytes = (size_t)snprintf(response->scratch, response->scratch_bytes,
                                                   "{\"price\":%u.%02u}", cents / 100, cents % 100);
    return WEIR_OK;
}

weir_pipeline *pricing_service_new(const weir_env *env,
                                   void (*listening)(uint16_t port, void *user), void *user)
{
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .name = "pricing", .env = env });
    if (p == NULL)
        return NULL;
    weir_from(p, weir_http_server(&(weir_http_server_config){
                     .listen = "127.0.0.1:0", .listening = listening, .user = user }));
    weir_into(p, weir_http_reply_with(answer, NULL));
    return p;
}
