/* Calls whose requests become items: they wait for the demand of their output. */
#include "rpc_server_internal.h"

enum { OFF, GATED, READY };

static wi_rpc_output *output_of(weir_rpc_call *call)
{
    wi_rpc_server *server = call->core->user;
    return &server->outputs[call->handler->output_plus_1 - 1];
}

static wi_rpc_queue *queue_of(weir_rpc_call *call)
{
    wi_rpc_output *output = output_of(call);
    return call->queued == GATED ? &output->gated : &output->ready;
}

static void queue_up(weir_rpc_call *call, uint8_t which)
{
    call->queued = which;
    wi_rpc_queue *queue = queue_of(call);
    call->queue_next = NULL;
    call->queue_previous = queue->last;
    if (queue->last != NULL)
        queue->last->queue_next = call;
    else
        queue->first = call;
    queue->last = call;
}

static void queue_off(weir_rpc_call *call)
{
    if (call->queued == OFF)
        return;
    wi_rpc_queue *queue = queue_of(call);
    if (call->queue_previous != NULL)
        call->queue_previous->queue_next = call->queue_next;
    else
        queue->first = call->queue_next;
    if (call->queue_next != NULL)
        call->queue_next->queue_previous = call->queue_previous;
    else
        queue->last = call->queue_previous;
    call->queued = OFF;
}

static void emit(wi_rpc_output *output, weir_rpc_call *call)
{
    weir_item *item = weir_rpc_item(call);
    if (item != NULL)
        weir_emit(output->out, item);
    else
        wi_rpc_call_fail(call, WEIR_RPC_RESOURCE_EXHAUSTED, "no memory");
}

static uint32_t cost_of(const weir_rpc_call *call)
{
    return call->request_bytes < UINT32_MAX ? (uint32_t)call->request_bytes : UINT32_MAX;
}

/* The request is complete. */
static void on_request(weir_rpc_call *call, const ProtobufCMessage *message, size_t bytes,
                       void *user)
{
    wi_rpc_output *output = output_of(call);
    (void)message;
    (void)bytes;
    (void)user;
    if (weir_out_is_over(output->out))
        wi_rpc_call_fail(call, WEIR_RPC_UNAVAILABLE, "nobody takes such requests any more");
    else if (output->ready.first == NULL && weir_out_fits(output->out, cost_of(call)))
        emit(output, call);
    else
        queue_up(call, READY);
}

static void on_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)code;
    (void)user;
    queue_off(call);
}

static const wi_rpc_receiver receiver = { .message = on_request, .over = on_over };

void wi_rpc_output_take(wi_rpc_server *server, weir_rpc_call *call)
{
    wi_rpc_output *output = output_of(call);
    (void)server;
    call->receiver = &receiver;
    call->mute = true;
    if (output->gated.first == NULL && output->ready.first == NULL &&
        (weir_out_is_over(output->out) || weir_out_credit(output->out) > 0))
        return;
    call->gated = true;
    queue_up(call, GATED);
}

void wi_rpc_output_feed(wi_rpc_server *server, wi_rpc_output *output)
{
    weir_rpc_call *call;
    (void)server;
    while ((call = output->ready.first) != NULL && weir_out_fits(output->out, cost_of(call))) {
        queue_off(call);
        emit(output, call);
    }
    while ((call = output->gated.first) != NULL && output->ready.first == NULL &&
           weir_out_credit(output->out) > 0) {
        queue_off(call);
        call->gated = false;
        wi_rpc_call_pump(call);
    }
}

static void refuse(wi_rpc_queue *queue, const char *why)
{
    while (queue->first != NULL) {
        weir_rpc_call *call = queue->first;
        queue_off(call);
        wi_rpc_call_fail(call, WEIR_RPC_UNAVAILABLE, why);
    }
}

void wi_rpc_output_refuse(wi_rpc_output *output, const char *why)
{
    refuse(&output->ready, why);
    refuse(&output->gated, why);
}
