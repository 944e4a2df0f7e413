/* What the metrics show of an RPC server, and what programs are told: by method, and of its
 * connections and streams. */
#include "rpc_server_internal.h"

#include <time.h>

enum { STARTED, COMPLETED, IN_FLIGHT, MESSAGES, BYTES, DURATION, LAST, METHOD_FAMILIES };

const weir_figure_family wi_rpc_server_families[WI_RPC_SERVER_FAMILIES] = {
    { "weir_rpc_server_calls_started", "Calls that came.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_calls_completed", "Calls that are over, by their code.",
      WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_calls_in_flight", "Calls under way.", WEIR_FIGURE_GAUGE },
    { "weir_rpc_server_messages", "Messages received and sent.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_message_bytes", "Their bytes, packed.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_call_duration_seconds", "Time of a call, from its head to its end.",
      WEIR_FIGURE_DURATIONS },
    { "weir_rpc_server_call_last_started_timestamp_seconds",
      "When the last call came, since 1970; 0: none yet.", WEIR_FIGURE_GAUGE },
    { "weir_rpc_server_connections", "Connections, their handshake behind them.",
      WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_connections_open", "Connections that are there.", WEIR_FIGURE_GAUGE },
    { "weir_rpc_server_connections_over", "Connections that ended, by how.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_streams", "Requests, of whatever kind.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_streams_open", "Requests under way.", WEIR_FIGURE_GAUGE },
    { "weir_rpc_server_streams_over", "Requests that ended, by how.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_refused", "Requests that were not let in, by why.", WEIR_FIGURE_COUNTER },
    { "weir_rpc_server_keepalives_sent", "PINGs into the silence of connections.",
      WEIR_FIGURE_COUNTER },
};

/* Adds `n` numbers that others write. */
static void add(uint64_t *to, const uint64_t *from, size_t n)
{
    for (size_t i = 0; i < n; i++)
        to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

/* ---- By method ---- */

static void keep_latest(uint64_t *to, const uint64_t *from)
{
    uint64_t at = __atomic_load_n(from, __ATOMIC_RELAXED);
    *to = at > *to ? at : *to;
}

static void sum_method(const wi_rpc_shared *shared, size_t method,
                       weir_rpc_method_figures *ret_figures)
{
    const size_t n = (sizeof *ret_figures - offsetof(weir_rpc_method_figures, started)) /
                     sizeof(uint64_t);
    *ret_figures = (weir_rpc_method_figures){
        .method = shared->registry.entries[method].method,
    };
    for (uint32_t r = 0; r < shared->replicas; r++) {
        const wi_rpc_figures *one = &shared->figures[r * shared->registry.count + method];
        add(&ret_figures->started, &one->started, n);
        keep_latest(&ret_figures->last_started_ns, &one->last_started_ns);
    }
}

static size_t variants_of(size_t family)
{
    return family == COMPLETED                     ? WEIR_RPC_UNAUTHENTICATED + 1
           : family == MESSAGES || family == BYTES ? 2
                                                   : 1;
}

static uint64_t method_value(const weir_rpc_method_figures *figures, size_t family, size_t variant)
{
    switch (family) {
    case STARTED:
        return figures->started;
    case COMPLETED:
        return figures->by_code[variant];
    case IN_FLIGHT:
        return figures->in_flight;
    case MESSAGES:
        return variant == 0 ? figures->messages_in : figures->messages_out;
    case BYTES:
        return variant == 0 ? figures->bytes_in : figures->bytes_out;
    default:
        return figures->duration_ns;
    }
}

/* The loops' clock began anywhere. */
static uint64_t wall_seconds(const wi_rpc_shared *shared, uint64_t at_ns)
{
    const weir_env *env = shared->env;
    struct timespec wall, now_;
    if (at_ns == 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &wall);
    clock_gettime(CLOCK_MONOTONIC, &now_);
    uint64_t now = env->now_ns != NULL ? env->now_ns(env->user)
                                       : (uint64_t)now_.tv_sec * WEIR_SEC + (uint64_t)now_.tv_nsec;
    return (uint64_t)wall.tv_sec - (now > at_ns ? now - at_ns : 0) / WEIR_SEC;
}

static bool method_figure(const wi_rpc_shared *shared, size_t family, size_t index,
                          weir_figure *ret_figure)
{
    static _Thread_local weir_rpc_method_figures figures;
    size_t variants = variants_of(family), method = index / variants, variant = index % variants;
    if (method >= shared->registry.count)
        return false;
    sum_method(shared, method, &figures);
    ret_figure->labels[0] = "method";
    ret_figure->values[0] = figures.method->path + 1;
    if (family == COMPLETED) {
        ret_figure->labels[1] = "code";
        ret_figure->values[1] = weir_rpc_code_name((weir_rpc_code)variant);
    } else if (variants == 2) {
        ret_figure->labels[1] = "direction";
        ret_figure->values[1] = variant == 0 ? "received" : "sent";
    }
    ret_figure->value = ret_figure->sum_ns = method_value(&figures, family, variant);
    if (family == LAST)
        ret_figure->value = wall_seconds(shared, figures.last_started_ns);
    ret_figure->buckets = figures.duration;
    return true;
}

/* ---- Connections and streams ---- */

static void sum_server(const wi_rpc_shared *shared, weir_rpc_server_figures *ret_figures)
{
    *ret_figures = (weir_rpc_server_figures){ 0 };
    for (uint32_t r = 0; r < shared->replicas; r++)
        add(&ret_figures->connections, &shared->own[r].connections,
            sizeof *ret_figures / sizeof(uint64_t));
}

static bool single(uint64_t value, size_t index, weir_figure *ret_figure)
{
    ret_figure->value = value;
    return index == 0;
}

/* The usual ends by name, and the rest as one. */
static bool end_figure(const uint64_t *over, size_t index, weir_figure *ret_figure)
{
    static const weir_status usual[] = { WEIR_OK,     WEIR_ECLOSED, WEIR_ECANCELED, WEIR_EDEADLINE,
                                         WEIR_EPROTO, WEIR_ELIMIT,  WEIR_ENOMEM };
    enum { USUAL = sizeof usual / sizeof *usual };
    if (index > USUAL)
        return false;
    ret_figure->labels[0] = "class";
    ret_figure->values[0] = index < USUAL ? weir_status_name(usual[index]) : "other";
    for (int i = 0; i < WEIR_STATUS_COUNT && index == USUAL; i++)
        ret_figure->value += over[i];
    for (size_t i = 0; i < USUAL && index == USUAL; i++)
        ret_figure->value -= over[-usual[i]];
    if (index < USUAL)
        ret_figure->value = over[-usual[index]];
    return true;
}

static bool refused_figure(const weir_rpc_server_figures *figures, size_t index,
                           weir_figure *ret_figure)
{
    static const char *const reasons[] = {
#define REASON(name, text) text,
        WEIR_RPC_REFUSED_LIST(REASON)
#undef REASON
    };
    if (index >= WEIR_RPC_REFUSED_COUNT)
        return false;
    ret_figure->labels[0] = "reason";
    ret_figure->values[0] = reasons[index];
    ret_figure->value = figures->refused[index];
    return true;
}

static bool own_figure(const wi_rpc_shared *shared, size_t family, size_t index,
                       weir_figure *ret_figure)
{
    weir_rpc_server_figures figures;
    sum_server(shared, &figures);
    switch (family - METHOD_FAMILIES) {
    case 0:
        return single(figures.connections, index, ret_figure);
    case 1:
        return single(figures.connections_open, index, ret_figure);
    case 2:
        return end_figure(figures.connections_over, index, ret_figure);
    case 3:
        return single(figures.streams, index, ret_figure);
    case 4:
        return single(figures.streams_open, index, ret_figure);
    case 5:
        return end_figure(figures.streams_over, index, ret_figure);
    case 6:
        return refused_figure(&figures, index, ret_figure);
    default:
        return single(figures.keepalives, index, ret_figure);
    }
}

bool wi_rpc_server_figure(const void *shared, size_t family, size_t index, weir_figure *ret_figure)
{
    return family < METHOD_FAMILIES ? method_figure(shared, family, index, ret_figure)
                                    : own_figure(shared, family, index, ret_figure);
}

/* ---- For programs ---- */

weir_status weir_rpc_server_stats(const weir_node *node, weir_rpc_server_figures *ret_figures)
{
    const wi_rpc_shared *shared = weir_node_shared(node, &wi_rpc_server_type);
    if (shared == NULL)
        return WEIR_ENOTFOUND;
    sum_server(shared, ret_figures);
    return WEIR_OK;
}

weir_status weir_rpc_method_stats(const weir_node *node, uint32_t index,
                                  weir_rpc_method_figures *ret_figures)
{
    const wi_rpc_shared *shared = weir_node_shared(node, &wi_rpc_server_type);
    if (shared == NULL || index >= shared->registry.count)
        return WEIR_ENOTFOUND;
    sum_method(shared, index, ret_figures);
    return WEIR_OK;
}
