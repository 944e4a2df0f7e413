/* A call's request as an item, and how it is answered from whatever loop has it. */
#include "rpc_internal.h"

#include <protobuf-c/protobuf-c.h>

#include <string.h>

/* An answer given on another loop, on its way home. */
typedef struct parcel {
    weir_bytes bytes; /* the packed message, or the error's text */
    weir_rpc_code code;
    bool is_error;
} parcel;

typedef struct request {
    weir_rpc_message message; /* first: what weir_rpc_message_of gives */
    weir_rpc_codec codec;
    int answered;
    parcel *parcel;
} request;

static bool claim(request *r)
{
    return __atomic_exchange_n(&r->answered, 1, __ATOMIC_ACQ_REL) == 0;
}

static void unclaim(request *r)
{
    __atomic_store_n(&r->answered, 0, __ATOMIC_RELEASE);
}

static void parcel_free(const weir_env *env, parcel *p)
{
    weir_bytes_done(&p->bytes);
    weir_memory_free(env, p);
}

/* ---- At home ---- */

static weir_status say_empty(weir_rpc_call *call)
{
    if (!call->one_out || call->sent_one)
        return weir_rpc_finish(call, WEIR_RPC_OK, NULL);
    return wi_rpc_call_answer(call, NULL, "{}", call->wire.codec == WEIR_RPC_JSON ? 2 : 0);
}

static weir_rpc_code code_of_end(weir_outcome outcome, weir_status status)
{
    if (outcome == WEIR_REJECTED || outcome == WEIR_ABORTED)
        return status == WEIR_EDEADLINE ? WEIR_RPC_DEADLINE_EXCEEDED : WEIR_RPC_UNAVAILABLE;
    weir_rpc_code code = weir_rpc_code_of(status);
    return code == WEIR_RPC_OK ? WEIR_RPC_UNKNOWN : code;
}

static weir_status say_end(weir_rpc_call *call, weir_outcome outcome, weir_status status)
{
    if (outcome == WEIR_ACKED || outcome == WEIR_FILTERED)
        return say_empty(call);
    return weir_rpc_finish(call, code_of_end(outcome, status), weir_status_text(status));
}

static weir_status say_parcel(weir_rpc_call *call, const parcel *p)
{
    if (!p->is_error && call->one_out && call->sent_one)
        return weir_rpc_finish(call, WEIR_RPC_INTERNAL, "a second response");
    if (!p->is_error)
        return wi_rpc_call_answer(call, NULL, p->bytes.at, p->bytes.len);
    weir_rpc_error error = { p->code, { p->bytes.at, p->bytes.len }, NULL, 0 };
    return weir_rpc_finish_with(call, &error);
}

static void ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    request *r = weir_item_body(item);
    weir_rpc_call *call = r->message.call;
    if (r->parcel != NULL) {
        (void)say_parcel(call, r->parcel);
        parcel_free(call->core->env, r->parcel);
    } else if (claim(r)) {
        (void)say_end(call, outcome, status);
    }
    call->item_live = false;
    weir_rpc_release(call);
}

static const weir_item_type request_type = { .name = "rpc_request", .ended = ended };

weir_item *weir_rpc_item(weir_rpc_call *call)
{
    if (call->core->side->is_client || call->request == NULL || !call->end_told || call->item_made)
        return NULL;
    weir_item *item = weir_item_new(call->core->loop, &request_type, sizeof(request));
    if (item == NULL)
        return NULL;
    *(request *)weir_item_body(item) = (request){ .message = { call, call->method, call->request },
                                                  .codec = call->wire.codec };
    item->cost = call->request_bytes < UINT32_MAX ? (uint32_t)call->request_bytes : UINT32_MAX;
    item->context = wi_rpc_call_traced(call);
    call->item_made = call->item_live = true;
    weir_rpc_hold(call);
    return item;
}

/* ---- On whatever loop has it ---- */

static request *request_of(const weir_item *item)
{
    const weir_item *root = weir_item_root(item);
    return root != NULL && root->type == &request_type ? weir_item_body(root) : NULL;
}

const weir_rpc_message *weir_rpc_message_of(const weir_item *item)
{
    const weir_item *root = item != NULL ? weir_item_root(item) : NULL;
    if (root == NULL || (root->type != &request_type && root->type != &wi_rpc_message_type))
        return NULL;
    return weir_item_body(root);
}

static bool is_home(const request *r)
{
    return weir_loop_is_here(r->message.call->core->loop);
}

static parcel *parcel_new(const wi_rpc_core *core)
{
    parcel *p = weir_memory_new(core->env, sizeof *p);
    if (p == NULL)
        return NULL;
    uint32_t most = core->wire_limits.message_send_bytes_max;
    p->bytes.env = core->env;
    p->bytes.bytes_max = most != 0 ? most : UINT32_MAX;
    return p;
}

static weir_status send_reply(request *r, const ProtobufCMessage *message)
{
    weir_rpc_call *call = r->message.call;
    if (is_home(r))
        return weir_rpc_reply(call, message);
    parcel *p = parcel_new(call->core);
    if (p == NULL)
        return WEIR_ENOMEM;
    weir_status status = wi_rpc_pack(call->core, r->codec, message, 0, &p->bytes);
    if (status == WEIR_OK)
        r->parcel = p;
    else
        parcel_free(call->core->env, p);
    return status;
}

weir_status weir_rpc_item_reply(weir_item *item, const ProtobufCMessage *message)
{
    request *r = request_of(item);
    if (r == NULL || message == NULL || message->descriptor != r->message.method->response)
        return WEIR_EINVAL;
    if (!claim(r))
        return WEIR_EEXIST;
    weir_status status = send_reply(r, message);
    if (status == WEIR_EEXIST || status == WEIR_ECLOSED)
        return WEIR_ECLOSED; /* its deadline came, or its peer left */
    if (status != WEIR_OK)
        unclaim(r);
    return status;
}

static weir_status send_error(request *r, weir_rpc_code code, const char *text)
{
    weir_rpc_call *call = r->message.call;
    if (is_home(r))
        return weir_rpc_finish(call, code, text);
    parcel *p = parcel_new(call->core);
    if (p == NULL)
        return WEIR_ENOMEM;
    p->code = code;
    p->is_error = true;
    weir_status status = WEIR_OK;
    if (text != NULL)
        status = weir_bytes_append(&p->bytes, text, strlen(text));
    if (status == WEIR_OK)
        r->parcel = p;
    else
        parcel_free(call->core->env, p);
    return status;
}

weir_status weir_rpc_item_fail(weir_item *item, weir_rpc_code code, const char *text)
{
    request *r = request_of(item);
    if (r == NULL || code == WEIR_RPC_OK)
        return WEIR_EINVAL;
    if (!claim(r))
        return WEIR_EEXIST;
    weir_status status = send_error(r, code, text);
    if (status == WEIR_EEXIST || status == WEIR_ECLOSED)
        return WEIR_ECLOSED;
    if (status != WEIR_OK)
        unclaim(r);
    return status;
}
