/* Orders by RPC: into the pipeline that the order service runs, and what their senders are told. */
#include "service.h"

#include <weir/protobuf_json.h>

#include <stdio.h>
#include <string.h>

/* ---- What senders are told ---- */

static weir_rpc_code code_of(unsigned http_status)
{
    switch (http_status) {
    case 400:
    case 415:
    case 422:
        return WEIR_RPC_INVALID_ARGUMENT;
    case 404:
        return WEIR_RPC_NOT_FOUND;
    case 504:
        return WEIR_RPC_DEADLINE_EXCEEDED;
    default:
        return WEIR_RPC_UNAVAILABLE;
    }
}

static void refused(weir_item *request, const refusal *r)
{
    char text[256];
    snprintf(text, sizeof text, "%s%s%s", r->field != NULL ? r->field : "",
             r->field != NULL ? ": " : "", r->why);
    (void)weir_rpc_item_fail(request, code_of(r->status), text);
}

static void fill_receipt(const work *w, receipt *r)
{
    orders__v1__receipt__init(&r->message);
    memcpy(r->id, w->order.id, sizeof r->id);
    memcpy(r->currency, w->order.currency, sizeof r->currency);
    r->message.id = r->id;
    r->message.currency = r->currency;
    r->message.total = w->price >= 0 ? w->price : w->order.amount;
    r->message.status = w->service->options.store != STORE_NONE ? "stored" : "taken";
}

static void stored(work *w)
{
    receipt r;
    fill_receipt(w, &r);
    (void)weir_rpc_item_reply(w->request, &r.message.base);
}

const door rpc_door = { .refused = refused, .stored = stored };

/* ---- In ---- */

typedef struct submit_config {
    streams *streams;
} submit_config;

typedef struct submitter {
    streams *streams;
    weir_bytes json;
} submitter;

/* The order service's own checks, on the message's JSON: there is one definition of an order. */
static bool decode(submitter *state, const weir_rpc_message *m, work *w, order_fault *ret_fault)
{
    const char *why = "out of memory";
    *ret_fault = (order_fault){ .status = 503, .why = why };
    state->json.len = 0;
    weir_status status = weir_protobuf_to_json(m->message, NULL, &state->json, &why);
    if (status == WEIR_EINVAL)
        *ret_fault = (order_fault){ .status = 422, .field = "body", .why = why };
    if (status != WEIR_OK)
        return false;
    char *text = weir_arena_copy(weir_rpc_call_arena(m->call), state->json.at, state->json.len);
    return text != NULL && order_decode(text, state->json.len, &w->order, ret_fault);
}

static weir_item *work_new(weir_stage *stage, submitter *state, weir_item *request)
{
    weir_item *item = weir_item_new(weir_stage_loop(stage), &work_type, sizeof(work));
    if (item != NULL)
        *work_of(item) = (work){ .service = &state->streams->orders,
                                 .request = request,
                                 .price = -1,
                                 .step = AT_ADMISSION };
    return item;
}

static weir_item *submit(weir_stage *stage, weir_in *in, weir_item *request, submitter *state)
{
    order_fault fault = { .status = 503, .why = "out of memory" };
    weir_item *item = work_new(stage, state, request);
    if (item != NULL && decode(state, weir_rpc_message_of(request), work_of(item), &fault)) {
        weir_item_derive(item, request);
        return item;
    }
    refused(request, &(refusal){ .status = fault.status,
                                 .field = fault.field[0] != '\0' ? fault.field : NULL,
                                 .why = fault.why });
    if (item != NULL) {
        work_of(item)->replied = true;
        weir_item_end(item, WEIR_FILTERED, WEIR_OK);
    }
    weir_drop(in, request);
    return NULL;
}

static weir_status submit_open(weir_stage *stage, const void *config, void *state)
{
    submitter *s = state;
    s->streams = ((const submit_config *)config)->streams;
    s->json.env = weir_stage_env(stage);
    return WEIR_OK;
}

static void submit_close(weir_stage *stage, void *state)
{
    (void)stage;
    weir_bytes_done(&((submitter *)state)->json);
}

static weir_status submit_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                   void *state)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        weir_item *item = submit(stage, in, items[i], state);
        if (item != NULL)
            items[kept++] = item;
    }
    if (kept != 0)
        weir_emit_all(weir_stage_out(stage), items, kept);
    return WEIR_OK;
}

static const weir_stage_type submit_type = {
    .name = "submit",
    .config_size = sizeof(submit_config),
    .state_size = sizeof(submitter),
    .open = submit_open,
    .close = submit_close,
    .on_items = submit_on_items,
};

weir_stage_spec *submit_stage(streams *s)
{
    return weir_stage_of(&submit_type, &(submit_config){ s });
}

/* ---- Out ---- */

static weir_status receipt_clone(weir_item *to, const weir_item *from)
{
    receipt *r = weir_item_body(to);
    (void)from;
    r->message.id = r->id;
    r->message.currency = r->currency;
    return WEIR_OK;
}

static const weir_item_type receipt_type = { .name = "receipt", .clone = receipt_clone };

static weir_item *tell(weir_stage *stage, weir_in *in, weir_item *item)
{
    work *w = work_of(item);
    stored(w);
    w->replied = true;
    weir_item *told =
        NULL; /* also of one that was stored before; for want of memory it is missed */
    if (!w->found)
        told = weir_item_new(weir_stage_loop(stage), &receipt_type, sizeof(receipt));
    if (told == NULL) {
        weir_drop(in, item);
        return NULL;
    }
    fill_receipt(w, weir_item_body(told));
    weir_item_ack(item);
    return told;
}

static weir_status tell_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                 void *state)
{
    size_t kept = 0;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        weir_item *told = tell(stage, in, items[i]);
        if (told != NULL)
            items[kept++] = told;
    }
    if (kept != 0)
        weir_emit_all(weir_stage_out(stage), items, kept);
    return WEIR_OK;
}

static const weir_stage_type tell_type = { .name = "tell", .on_items = tell_on_items };

weir_stage_spec *tell_stage(streams *s)
{
    (void)s;
    return weir_stage_of(&tell_type, NULL);
}
