/* Attempts after the first: what may be tried again, when, and how often all calls of a channel
 * may be. */
#include "rpc_client_internal.h"

enum { PUSHBACK_MS_MAX = 600000 };

/* ---- The budget: 10 retries a second, and one for five calls ---- */

void wi_rpc_client_budget_pay(weir_rpc_channel *channel)
{
    uint64_t more = channel->budget + WI_RPC_BUDGET_CALL;
    channel->budget = more < WI_RPC_BUDGET_MAX ? more : WI_RPC_BUDGET_MAX;
}

static bool budget_take(weir_rpc_channel *channel)
{
    uint64_t now = weir_loop_now(channel->loop), each = WEIR_SEC / WI_RPC_BUDGET_SECOND;
    uint64_t n = (now - channel->budget_ns) / each;
    channel->budget_ns += n * each;
    n += channel->budget;
    channel->budget = n < WI_RPC_BUDGET_MAX ? n : WI_RPC_BUDGET_MAX;
    if (channel->budget < 10)
        return false;
    channel->budget -= 10;
    return true;
}

/* ---- When ---- */

/* Any part of a wait that doubles from attempt to attempt. */
static uint64_t backoff_ns(const weir_rpc_call *call)
{
    const weir_rpc_retry *retry = &wi_rpc_channel_of(call)->config.retry;
    uint32_t attempts = wi_rpc_try_of(call)->attempts;
    uint64_t ms = retry->backoff_ms;
    for (uint32_t i = 1; i < attempts; i++)
        ms = ms < retry->backoff_ms_max ? 2 * ms : ms;
    ms = ms < retry->backoff_ms_max ? ms : retry->backoff_ms_max;
    return weir_loop_entropy(call->core->loop) % (ms * WEIR_MS + 1);
}

/* What the server says about it: false: never. */
static bool pushback(const weir_rpc_call *call, uint64_t *delay_ns)
{
    size_t n;
    const weir_http1_field *trailers = weir_rpc_wire_trailers(&call->wire, &n);
    if (wi_rpc_try_of(call)->between)
        return true;
    for (size_t i = 0; i < n; i++) {
        if (!weir_http1_span_is(trailers[i].name, "grpc-retry-pushback-ms"))
            continue;
        uint64_t ms = 0;
        weir_http1_span text = trailers[i].value;
        for (size_t j = 0; j < text.len; j++) {
            if (text.at[j] < '0' || text.at[j] > '9' || ms > PUSHBACK_MS_MAX)
                return false;
            ms = ms * 10 + (uint64_t)(text.at[j] - '0');
        }
        *delay_ns = ms * WEIR_MS;
        return text.len > 0;
    }
    return true;
}

/* ---- Whether ---- */

static bool is_kept(const weir_rpc_call *call)
{
    return !wi_rpc_try_of(call)->committed && call->retains && !call->is_over && !call->failed &&
           !wi_rpc_channel_of(call)->freed;
}

static bool policy_allows(weir_rpc_call *call, weir_rpc_code code, uint64_t *delay_ns)
{
    weir_rpc_channel *channel = wi_rpc_channel_of(call);
    const weir_rpc_retry *retry = &channel->config.retry;
    wi_rpc_try *t = wi_rpc_try_of(call);
    if (t->no_retry || t->attempts >= retry->attempts_max || code == WEIR_RPC_OK ||
        (retry->codes & 1U << code) == 0)
        return false;
    *delay_ns = backoff_ns(call);
    return pushback(call, delay_ns) && budget_take(channel);
}

static void again(weir_timer *timer, void *user)
{
    weir_rpc_call *call = user;
    (void)timer;
    wi_rpc_client_place(call);
}

/* As before its first attempt. */
static void reset(weir_rpc_call *call)
{
    wi_rpc_try *t = wi_rpc_try_of(call);
    t->erring = false;
    t->between = true;
    call->peer_ended = false;
    call->out_sent = 0;
    call->metadata = NULL;
    call->metadata_count = 0;
    weir_bytes_done(&call->pending);
    call->pending_from = 0;
}

void wi_rpc_client_failed(weir_rpc_call *call, const weir_rpc_error *error, bool unseen)
{
    weir_rpc_channel *channel = wi_rpc_channel_of(call);
    wi_rpc_try *t = wi_rpc_try_of(call);
    uint64_t delay_ns = 0;
    bool free_one = unseen && !t->repeated;
    if (!is_kept(call) || (!free_one && !policy_allows(call, error->code, &delay_ns))) {
        wi_rpc_call_fail_with(call, error);
        return;
    }
    t->repeated |= free_one;
    channel->stats.retried++;
    wi_rpc_client_withdraw(call);
    reset(call);
    if (delay_ns > 0) {
        weir_timer_start(channel->loop, &t->again, delay_ns, again, call);
        return;
    }
    wi_rpc_client_enqueue(call);
    wi_rpc_channel_kick(channel);
}
