/* Watch: a call that is a sink. Each has a small pipeline on its own loop: receipts from the hub,
 * those of the currency that was asked for, into the call. */
#include "service.h"

#include <weir/stages.h>

#include <string.h>

typedef struct watch {
    weir_rpc_call *call;
    weir_pipeline *pipeline;
    const char *currency; /* "": all */
    weir_task task;
} watch;

static bool is_wanted(const weir_item *item, void *user)
{
    const watch *w = user;
    const receipt *r = weir_item_body(item);
    return w->currency[0] == '\0' || strcmp(w->currency, r->currency) == 0;
}

static const ProtobufCMessage *message_of(const weir_item *item, void *user)
{
    (void)user;
    return &((const receipt *)weir_item_body(item))->message.base;
}

static void watch_free(weir_task *task, void *user)
{
    watch *w = user;
    (void)task;
    weir_pipeline_free(w->pipeline);
    weir_rpc_release(w->call);
}

/* Beneath a pipeline's own callback it cannot be freed. */
static void watch_finished(weir_pipeline *pipeline, weir_status status, void *user)
{
    watch *w = user;
    (void)pipeline;
    (void)status;
    w->task = (weir_task)WEIR_TASK(watch_free, w);
    weir_post(weir_rpc_call_loop(w->call), &w->task);
}

static void watch_message(weir_rpc_call *call, const Orders__V1__WatchRequest *request, void *user)
{
    streams *s = user;
    watch *w = weir_rpc_call_state(call);
    weir_loop *loop = weir_rpc_call_loop(call);
    weir_pipeline *p =
        weir_pipeline_new(&(weir_pipeline_config){ .name = "watch", .env = &s->orders.env });
    if (p == NULL) {
        (void)weir_rpc_finish(call, WEIR_RPC_UNAVAILABLE, "out of memory");
        return;
    }
    *w = (watch){ .call = call, .pipeline = p, .currency = request->currency };
    weir_from(p, weir_from_hub(s->receipts, &(weir_outlet_config){ .slow = WEIR_HUB_MISSES }));
    weir_via(p, weir_filter(is_wanted, w));
    weir_node *sink = weir_into(p, weir_rpc_replies(call, message_of, w));
    weir_node_window(sink, &(weir_edge_config){ .item_bytes_max = sizeof(receipt) });
    weir_rpc_hold(call);
    if (weir_pipeline_start(p, &loop, 1, watch_finished, w) != WEIR_OK) {
        (void)weir_rpc_finish(call, WEIR_RPC_UNAVAILABLE, weir_pipeline_why(p));
        weir_pipeline_free(p);
        weir_rpc_release(call);
        return;
    }
    (void)weir_rpc_send_metadata(call); /* so that the caller knows that the watch stands */
}

void watch_serve(streams *s)
{
    s->orders_server.watch.state_size = sizeof(watch);
    s->orders_server.watch.message = watch_message;
    s->orders_server.submit.output_plus_1 = 1 + OUTPUT_ORDERS;
    s->orders_server.user = s;
}
