/* Calls that wait for a connection, in order. */
#include "rpc_client_internal.h"

enum { NOT_QUEUED, QUEUED };

void wi_rpc_client_enqueue(weir_rpc_call *call)
{
    weir_rpc_channel *channel = wi_rpc_channel_of(call);
    call->queued = QUEUED;
    call->queue_next = NULL;
    call->queue_previous = channel->last;
    if (channel->last != NULL)
        channel->last->queue_next = call;
    else
        channel->first = call;
    channel->last = call;
    channel->waiting++;
}

void wi_rpc_client_requeue(weir_rpc_call *call)
{
    weir_rpc_channel *channel = wi_rpc_channel_of(call);
    call->queued = QUEUED;
    call->queue_previous = NULL;
    call->queue_next = channel->first;
    if (channel->first != NULL)
        channel->first->queue_previous = call;
    else
        channel->last = call;
    channel->first = call;
    channel->waiting++;
}

static void leave_queue(weir_rpc_call *call)
{
    weir_rpc_channel *channel = wi_rpc_channel_of(call);
    if (call->queued == NOT_QUEUED)
        return;
    call->queued = NOT_QUEUED;
    if (call->queue_previous != NULL)
        call->queue_previous->queue_next = call->queue_next;
    else
        channel->first = call->queue_next;
    if (call->queue_next != NULL)
        call->queue_next->queue_previous = call->queue_previous;
    else
        channel->last = call->queue_previous;
    channel->waiting--;
}

weir_rpc_call *wi_rpc_client_dequeue(weir_rpc_channel *channel)
{
    weir_rpc_call *call = channel->first;
    leave_queue(call);
    return call;
}

void wi_rpc_client_place(weir_rpc_call *call)
{
    weir_rpc_channel *channel = wi_rpc_channel_of(call);
    wi_rpc_conn *conn;
    while (channel->waiting == 0 && (conn = wi_rpc_conn_pick(channel)) != NULL) {
        weir_status status = wi_rpc_client_open(call, conn);
        if (status != WEIR_ECLOSED && status != WEIR_EAGAIN)
            return;
        if (status == WEIR_EAGAIN)
            break;
        wi_rpc_conn_leave(conn);
    }
    wi_rpc_client_enqueue(call);
    wi_rpc_channel_kick(channel);
}

void wi_rpc_client_withdraw(weir_rpc_call *call)
{
    wi_rpc_client_detach(call);
    leave_queue(call);
}
