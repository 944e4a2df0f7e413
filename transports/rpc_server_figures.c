/* What the metrics show of an RPC server, by method. */
#include "rpc_server_internal.h"

enum { STARTED, COMPLETED, IN_FLIGHT, MESSAGES, BYTES, DURATION, CODES = 17 };

const weir_figure_family wi_rpc_server_families[WI_RPC_SERVER_FAMILIES] = {
    { "weir_rpc_server_calls_started", "Calls that came.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_calls_completed", "Calls that are over, by their code.",
      WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_calls_in_flight", "Calls under way.", WEIR_FIGURE_GAUGE },
    { "weir_rpc_server_messages", "Messages received and sent.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_message_bytes", "Their bytes, packed.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_call_duration_seconds", "Time of a call, from its head to its end.",
      WEIR_FIGURE_DURATIONS },
};

/* Of all replicas, as seen now. */
static void sum_up(const wi_rpc_shared *shared, size_t method, size_t offset, uint64_t *ret_sum,
                   size_t n)
{
    for (size_t k = 0; k < n; k++)
        ret_sum[k] = 0;
    for (uint32_t r = 0; r < shared->replicas; r++) {
        const wi_rpc_figures *figures = &shared->figures[r * shared->registry.count + method];
        const uint64_t *at = (const uint64_t *)(const void *)((const char *)figures + offset);
        for (size_t k = 0; k < n; k++)
            ret_sum[k] += __atomic_load_n(&at[k], __ATOMIC_RELAXED);
    }
}

static size_t variants_of(size_t family)
{
    return family == COMPLETED ? CODES : family == MESSAGES || family == BYTES ? 2 : 1;
}

static size_t offset_of(size_t family, size_t variant)
{
    switch (family) {
    case STARTED:
        return offsetof(wi_rpc_figures, started);
    case COMPLETED:
        return offsetof(wi_rpc_figures, by_code) + variant * sizeof(uint64_t);
    case IN_FLIGHT:
        return offsetof(wi_rpc_figures, in_flight);
    case MESSAGES:
        return variant == 0 ? offsetof(wi_rpc_figures, messages_in)
                            : offsetof(wi_rpc_figures, messages_out);
    case BYTES:
        return variant == 0 ? offsetof(wi_rpc_figures, bytes_in)
                            : offsetof(wi_rpc_figures, bytes_out);
    default:
        return offsetof(wi_rpc_figures, duration_ns);
    }
}

bool wi_rpc_server_figure(const void *shared_, size_t family, size_t index, weir_figure *ret_figure)
{
    static _Thread_local uint64_t buckets[WEIR_DURATION_BUCKETS];
    const wi_rpc_shared *shared = shared_;
    size_t variants = variants_of(family), method = index / variants, variant = index % variants;
    if (method >= shared->registry.count)
        return false;
    ret_figure->labels[0] = "method";
    ret_figure->values[0] = shared->registry.entries[method].method->path + 1;
    if (family == COMPLETED) {
        ret_figure->labels[1] = "code";
        ret_figure->values[1] = weir_rpc_code_name((weir_rpc_code)variant);
    } else if (family == MESSAGES || family == BYTES) {
        ret_figure->labels[1] = "direction";
        ret_figure->values[1] = variant == 0 ? "received" : "sent";
    }
    uint64_t sum;
    sum_up(shared, method, offset_of(family, variant), &sum, 1);
    ret_figure->value = ret_figure->sum_ns = sum;
    if (family == DURATION) {
        sum_up(shared, method, offsetof(wi_rpc_figures, duration), buckets, WEIR_DURATION_BUCKETS);
        ret_figure->buckets = buckets;
    }
    return true;
}
