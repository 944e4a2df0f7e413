/* Requests that do not come to an end: calls whose peers stop amid a message are ended, by a look
 * at all calls now and then, so that it costs those that do come nothing. */
#include "rpc_server_internal.h"

enum { PROGRESS_BYTES = 1024, LOOKS = 4 /* within body_timeout_ms */ };

/* The peer has begun what it has not finished, and we wait for nothing else. */
static bool is_awaited(const weir_rpc_call *call)
{
    if (call->in_over || call->peer_ended || !call->opened || call->gated)
        return false;
    return call->one_in || (call->asked > 0 && weir_rpc_wire_is_amid(&call->wire));
}

static void look_at(weir_rpc_call *call, uint64_t now, uint64_t most_ns)
{
    if (!is_awaited(call)) {
        call->awaited_ns = 0;
    } else if (call->awaited_ns == 0 || call->awaited_count != call->wire.count ||
               call->body_bytes - call->awaited_bytes >= PROGRESS_BYTES) {
        call->awaited_ns = now;
        call->awaited_count = call->wire.count;
        call->awaited_bytes = call->body_bytes;
    } else if (now - call->awaited_ns >= most_ns) {
        wi_rpc_call_fail(call, WEIR_RPC_DEADLINE_EXCEEDED, "the request does not come");
    }
}

static uint64_t interval_of(const wi_rpc_server *server)
{
    return server->config->body_timeout_ms * WEIR_MS / LOOKS;
}

/* No handler is told beneath it, so no call goes meanwhile. */
static void look(weir_timer *timer, void *user)
{
    wi_rpc_server *server = user;
    uint64_t now = weir_loop_now(server->loop);
    for (weir_rpc_call *call = server->core.calls; call != NULL; call = call->next)
        look_at(call, now, server->config->body_timeout_ms * WEIR_MS);
    if (server->core.calls != NULL)
        weir_timer_start(server->loop, timer, interval_of(server), look, server);
}

void wi_rpc_server_await(wi_rpc_server *server)
{
    if (server->config->body_timeout_ms != UINT32_MAX && !weir_timer_is_armed(&server->look))
        weir_timer_start(server->loop, &server->look, interval_of(server), look, server);
}
