/* Answers: what the client of an order, of a question or of a refused request is told. */
#include "service.h"

#include <weir/json.h>

#include <string.h>

static const char json_type[] = "application/json";

static weir_http1_span span_of(const char *text)
{
    return (weir_http1_span){ text, strlen(text) };
}

/* A peer that has gone needs no answer. */
static void ignore(weir_status status)
{
    (void)status;
}

void reply_queued(weir_item *request)
{
    static const char body[] = "{\"status\":\"queued\"}";
    ignore(weir_http_reply(request, 202, json_type, body, sizeof body - 1));
}

static void reply_refused(weir_item *request, const refusal *r)
{
    char body[512];
    size_t bytes = 0;
    weir_json_writer json;
    weir_json_write_begin(&json, body, sizeof body);
    weir_json_write_object(&json);
    weir_json_write_key(&json, "error");
    weir_json_write_string(&json, r->error);
    if (r->field != NULL) {
        weir_json_write_key(&json, "field");
        weir_json_write_string(&json, r->field);
    }
    weir_json_write_key(&json, "why");
    weir_json_write_string(&json, r->why);
    weir_json_write_object_end(&json);
    if (weir_json_write_end(&json, &bytes) != WEIR_OK)
        bytes = 0;
    weir_http1_field field = { span_of(r->header != NULL ? r->header : ""),
                               span_of(r->value != NULL ? r->value : "") };
    ignore(weir_http_answer_with(request, &(weir_http_answer){ .status = (int)r->status,
                                                               .content_type = json_type,
                                                               .body = body,
                                                               .body_bytes = bytes,
                                                               .fields = &field,
                                                               .field_count = r->header != NULL }));
}

/* ---- What came of an order ---- */

static void reply_stored(work *w)
{
    char body[2 * ORDER_ID_BYTES_MAX + 128];
    size_t bytes = 0;
    weir_json_writer json;
    const char *done = w->service->options.store != STORE_NONE ? "stored" : "taken";
    weir_json_write_begin(&json, body, sizeof body);
    weir_json_write_object(&json);
    weir_json_write_key(&json, "status");
    weir_json_write_string(&json, done);
    weir_json_write_key(&json, "id");
    weir_json_write_string_span(&json, w->order.id, w->order.id_bytes);
    weir_json_write_key(&json, "amount");
    weir_json_write_double(&json, w->order.amount);
    weir_json_write_object_end(&json);
    if (weir_json_write_end(&json, &bytes) != WEIR_OK)
        bytes = 0;
    ignore(weir_http_reply(w->request, w->found ? 200 : 201, json_type, body, bytes));
}

static void reply_not_found(weir_item *request)
{
    reply_refused(request, &(refusal){ .status = 404,
                                       .error = "not found",
                                       .field = "id",
                                       .why = "there is no such order" });
}

/* ---- What came of a question ---- */

static void write_row(weir_json_writer *json, const row *r)
{
    weir_json_write_object(json);
    weir_json_write_key(json, "id");
    weir_json_write_string_span(json, r->id, r->id_bytes);
    weir_json_write_key(json, "amount");
    weir_json_write_double(json, r->amount);
    weir_json_write_key(json, "currency");
    weir_json_write_string_span(json, r->currency, r->currency_bytes);
    if (r->items != NULL) {
        weir_json_write_key(json, "items");
        weir_json_write_raw(json, r->items, r->items_bytes);
    }
    if (r->price >= 0) {
        weir_json_write_key(json, "price");
        weir_json_write_double(json, r->price);
    }
    weir_json_write_object_end(json);
}

static weir_status reply_row(weir_item *item, const row *r)
{
    work *w = work_of(item);
    const weir_env *env = &w->service->env;
    size_t cap = r->items_bytes + 2 * r->id_bytes + 256, bytes = 0;
    char small[2048];
    char *body = cap <= sizeof small ? small : weir_memory_new(env, cap);
    if (body == NULL)
        return WEIR_ENOMEM;
    weir_json_writer json;
    weir_json_write_begin(&json, body, cap);
    write_row(&json, r);
    weir_status status = weir_json_write_end(&json, &bytes);
    if (status == WEIR_OK) {
        ignore(weir_http_reply(w->request, 200, json_type, body, bytes));
        w->replied = true;
    }
    if (body != small)
        weir_memory_free(env, body);
    return status;
}

const door http_door = { .refused = reply_refused, .stored = reply_stored, .row = reply_row };

/* ---- The end of the pipeline ---- */

static weir_status reply_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    return weir_request(weir_stage_in(stage), WEIR_UNBOUNDED);
}

static weir_status reply_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    (void)stage;
    (void)in;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        work *w = work_of(items[i]);
        if (w->replied)
            continue;
        w->replied = true;
        if (w->is_query)
            reply_not_found(w->request);
        else
            reply_stored(w);
    }
    weir_items_ack(items, n);
    return WEIR_OK;
}

static const weir_stage_type reply_type = {
    .name = "reply",
    .outputs = WEIR_PORTS_NONE,
    .open = reply_open,
    .on_items = reply_on_items,
};

weir_stage_spec *reply_stage(service *s)
{
    (void)s;
    return weir_stage_of(&reply_type, NULL);
}
