/* The admission: which request is an order, which a question for one, and what is wrong with the
 * rest. */
#include "service.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TO_PRICING, TO_QUERY };

typedef struct admit_config {
    service *service;
} admit_config;

/* Orders and questions of one callback, on their way out. */
typedef struct admitted {
    weir_item *orders[64], *questions[64];
    size_t n_orders, n_questions;
} admitted;

static bool span_equals(weir_http1_span span, const char *text)
{
    size_t bytes = strlen(text);
    return span.len == bytes && memcmp(span.at, text, bytes) == 0;
}

/* ---- What is refused ---- */

static void refuse(weir_in *in, weir_item *request, const refusal *r)
{
    http_door.refused(request, r);
    weir_drop(in, request);
}

static void refuse_method(weir_in *in, weir_item *request, const char *allow)
{
    refuse(in, request,
           &(refusal){ .status = 405,
                       .error = "method not allowed",
                       .why = allow,
                       .header = "Allow",
                       .value = allow });
}

static void refuse_order(weir_in *in, weir_item *request, const order_fault *fault)
{
    char why[160];
    refusal r = { .status = fault->status, .field = fault->field, .why = fault->why };
    r.error = fault->status == 400 ? "malformed JSON" : "not an order";
    if (fault->status == 400) {
        snprintf(why, sizeof why, "%s, at byte %zu", fault->why, fault->offset);
        r.why = why;
    }
    refuse(in, request, &r);
}

static const char *skip_blanks(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    return at;
}

/* A parameter of application/json: any, but for a charset that is not UTF-8. */
static bool is_json_parameter(const char *at, const char *end)
{
    static const char charset[] = "charset=";
    while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    if ((size_t)(end - at) < sizeof charset - 1 ||
        strncasecmp(at, charset, sizeof charset - 1) != 0)
        return true;
    weir_http1_span value = { at + sizeof charset - 1, (size_t)(end - at) - sizeof charset + 1 };
    return weir_http1_span_is(value, "utf-8") || weir_http1_span_is(value, "\"utf-8\"");
}

/* application/json, in UTF-8 if it says so (RFC 9110 section 8.3.1, RFC 8259 section 8.1). */
static bool is_json_type(weir_http1_span type)
{
    static const char json[] = "application/json";
    size_t bytes = sizeof json - 1;
    if (type.at == NULL || type.len < bytes || strncasecmp(type.at, json, bytes) != 0)
        return false;
    const char *at = type.at + bytes, *end = type.at + type.len;
    while ((at = skip_blanks(at, end)) < end) {
        if (*at != ';')
            return false;
        at = skip_blanks(at + 1, end);
        const char *stop = at < end ? memchr(at, ';', (size_t)(end - at)) : NULL;
        stop = stop != NULL ? stop : end;
        if (!is_json_parameter(at, stop))
            return false;
        at = stop;
    }
    return true;
}

/* ---- What is taken ---- */

static weir_item *work_new(weir_stage *stage, weir_item *request)
{
    const admit_config *config = weir_stage_config(stage);
    weir_item *item = weir_item_new(weir_stage_loop(stage), &work_type, sizeof(work));
    if (item == NULL)
        return NULL;
    work *w = work_of(item);
    w->service = config->service;
    w->request = request;
    w->price = -1;
    w->step = AT_ADMISSION;
    w->replied = w->found = w->is_query = false;
    return item;
}

static void refuse_for_memory(weir_in *in, weir_item *request)
{
    refuse(in, request,
           &(refusal){ .status = 503,
                       .error = "overloaded",
                       .why = "out of memory",
                       .header = "Retry-After",
                       .value = "1" });
}

/* Ends an item that was not derived yet. */
static void work_discard(weir_item *item)
{
    work_of(item)->replied = true;
    weir_item_end(item, WEIR_FILTERED, WEIR_OK);
}

static void admit_order(weir_stage *stage, weir_in *in, weir_item *request, admitted *out)
{
    const weir_http_request *r = weir_http_request_of(request);
    if (!is_json_type(weir_http_request_content_type(r))) {
        refuse(in, request,
               &(refusal){ .status = 415,
                           .error = "unsupported media type",
                           .field = "Content-Type",
                           .why = "must be application/json, in UTF-8",
                           .header = "Accept",
                           .value = "application/json" });
        return;
    }
    weir_item *item = work_new(stage, request);
    if (item == NULL) {
        refuse_for_memory(in, request);
        return;
    }
    order_fault fault;
    weir_http1_span body = weir_http_request_body(r);
    if (!order_decode(body.at != NULL ? body.at : "", body.len, &work_of(item)->order, &fault)) {
        work_discard(item);
        refuse_order(in, request, &fault);
        return;
    }
    if (work_of(item)->service->options.queued) {
        reply_queued(request);
        work_of(item)->replied = true;
    }
    weir_item_derive(item, request);
    out->orders[out->n_orders++] = item;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Undoes percent-encoding; false if it is malformed or longer than an id. */
static bool decode_id(const char *at, size_t bytes, order *o)
{
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        char c = at[i];
        if (n == ORDER_ID_BYTES_MAX)
            return false;
        if (c == '%') {
            int high = i + 2 < bytes ? hex_digit(at[i + 1]) : -1;
            int low = i + 2 < bytes ? hex_digit(at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high * 16 + low);
            i += 2;
        }
        o->id[n++] = c;
    }
    o->id_bytes = (uint16_t)n;
    return order_id_is_fine(o->id, n);
}

static void admit_question(weir_stage *stage, weir_in *in, weir_item *request, const char *id,
                           size_t bytes, admitted *out)
{
    if (weir_stage_outputs(stage) <= TO_QUERY) {
        refuse(in, request,
               &(refusal){ .status = 404,
                           .error = "not found",
                           .field = "id",
                           .why = "no orders are kept here" });
        return;
    }
    weir_item *item = work_new(stage, request);
    if (item == NULL) {
        refuse_for_memory(in, request);
        return;
    }
    if (!decode_id(id, bytes, &work_of(item)->order)) {
        work_discard(item);
        refuse(in, request,
               &(refusal){ .status = 400,
                           .error = "malformed request",
                           .field = "id",
                           .why = "must have 1 to 128 bytes without control characters, "
                                  "percent-encoded" });
        return;
    }
    work_of(item)->is_query = true;
    weir_item_derive(item, request);
    out->questions[out->n_questions++] = item;
}

static void admit(weir_stage *stage, weir_in *in, weir_item *request, admitted *out)
{
    static const char prefix[] = "/orders/";
    const weir_http_request *r = weir_http_request_of(request);
    weir_http1_method method = weir_http_request_method(r);
    weir_http1_span path = weir_http_request_path(r);
    size_t n = sizeof prefix - 1;
    if (span_equals(path, "/orders")) {
        if (method == WEIR_HTTP1_POST)
            admit_order(stage, in, request, out);
        else
            refuse_method(in, request, "POST");
    } else if (path.len > n && memcmp(path.at, prefix, n) == 0 &&
               memchr(path.at + n, '/', path.len - n) == NULL) {
        if (method == WEIR_HTTP1_GET || method == WEIR_HTTP1_HEAD)
            admit_question(stage, in, request, path.at + n, path.len - n, out);
        else
            refuse_method(in, request, "GET, HEAD");
    } else {
        refuse(in, request,
               &(refusal){ .status = 404,
                           .error = "not found",
                           .field = "path",
                           .why = "there are /orders and /orders/{id}" });
    }
}

static weir_status admit_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    admitted out;
    (void)state;
    out.n_orders = out.n_questions = 0;
    for (size_t i = 0; i < n; i++)
        admit(stage, in, items[i], &out);
    if (out.n_orders != 0)
        weir_emit_all(weir_stage_out_at(stage, TO_PRICING), out.orders, out.n_orders);
    if (out.n_questions != 0)
        weir_emit_all(weir_stage_out_at(stage, TO_QUERY), out.questions, out.n_questions);
    return WEIR_OK;
}

/* A request may be for either output, so it is asked for only if both can take it. */
static void admit_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    uint64_t least = credit;
    (void)out;
    (void)state;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++) {
        uint64_t other = weir_out_credit(weir_stage_out_at(stage, i));
        least = other < least ? other : least;
    }
    weir_request_to(weir_stage_in(stage), least);
}

static const weir_stage_type admit_type = {
    .name = "admit",
    .config_size = sizeof(admit_config),
    .outputs = WEIR_PORTS_MANY,
    .on_demand = admit_on_demand,
    .on_items = admit_on_items,
};

weir_stage_spec *admit_stage(service *s)
{
    return weir_stage_of(&admit_type, &(admit_config){ s });
}
