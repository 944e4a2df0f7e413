/* Looking at a pipeline: figures, bottleneck, graph and metrics as text. */
#include "wi_core.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- Figures ---- */

uint32_t weir_pipeline_stages(const weir_pipeline *p)
{
    return p->n_nodes;
}

uint32_t weir_pipeline_edges(const weir_pipeline *p)
{
    return p->n_links;
}

static void add_stage(weir_stage_stats *to, const weir_stage *stage)
{
    const weir_stage_stats *from = &stage->stats;
    to->items_in += wi_read(&from->items_in);
    to->items_out += wi_read(&from->items_out);
    to->filtered += wi_read(&from->filtered);
    to->aborted += wi_read(&from->aborted);
    to->failed += wi_read(&from->failed);
    to->retried += wi_read(&from->retried);
    to->dead_lettered += wi_read(&from->dead_lettered);
    to->over_emitted += wi_read(&from->over_emitted);
    to->busy_ns += wi_read(&from->busy_ns);
    to->starved_ns += wi_read(&from->starved_ns);
    to->blocked_ns += wi_read(&from->blocked_ns);
    to->idle_ns += wi_read(&from->idle_ns);
    to->in_flight += wi_read(&stage->holds);
    to->duration_count += wi_read(&from->duration_count);
    to->duration_ns += wi_read(&from->duration_ns);
    for (int i = 0; i < WEIR_STATUS_COUNT; i++)
        to->failed_by[i] += wi_read(&from->failed_by[i]);
    for (int i = 0; i < WEIR_DURATION_BUCKETS; i++)
        to->duration[i] += wi_read(&from->duration[i]);
}

/* None while it is being made: other threads may look from before the start. */
static uint32_t replicas(const weir_pipeline *p)
{
    return atomic_load(&p->made) ? p->n_replicas : 0;
}

weir_status weir_pipeline_stage_stats(const weir_pipeline *p, uint32_t index,
                                      weir_stage_stats *ret_stats)
{
    weir_stage_stats stats = { 0 };
    if (index >= p->n_nodes)
        return WEIR_EINVAL;
    stats.name = p->nodes[index]->name;
    stats.replicas = replicas(p);
    for (uint32_t r = 0; r < stats.replicas; r++)
        add_stage(&stats, &p->stages[r * p->n_nodes + index]);
    *ret_stats = stats;
    return WEIR_OK;
}

weir_status weir_pipeline_edge_stats(const weir_pipeline *p, uint32_t index,
                                     weir_edge_stats *ret_stats)
{
    weir_edge_stats stats = { 0 };
    if (index >= p->n_links)
        return WEIR_EINVAL;
    const wi_graph_link *link = &p->links[index];
    stats.from = link->from->name;
    stats.to = link->to->name;
    stats.output = link->output;
    stats.input = link->input;
    uint32_t n = replicas(p);
    uint64_t now = n > 0 ? wi_clock(p->env) : 0;
    for (uint32_t r = 0; r < n; r++) {
        const wi_edge *edge = &p->edges[r * p->n_links + index];
        uint64_t head = wi_read(&edge->in.head), tail = wi_read(&edge->out.tail);
        uint64_t granted = wi_read(&edge->out.granted), zero = wi_read(&edge->out.zero_since);
        stats.window += wi_read(&edge->window);
        stats.resizes += wi_read(&edge->resizes);
        stats.window_bytes += edge->window_bytes;
        stats.queued += tail > head ? tail - head : 0;
        stats.credit += granted > tail ? granted - tail : 0;
        stats.no_credit_ns += wi_read(&edge->out.no_credit_ns);
        if (zero != 0 && now > zero && !__atomic_load_n(&edge->is_fused, __ATOMIC_RELAXED))
            stats.no_credit_ns += now - zero;
    }
    *ret_stats = stats;
    return WEIR_OK;
}

/* ---- The bottleneck ---- */

static double share(uint64_t ns, uint64_t elapsed, uint32_t replicas)
{
    double s = elapsed != 0 ? (double)ns / (double)elapsed / (double)replicas : 0;
    return s < 0 ? 0 : s > 1 ? 1 : s;
}

/* What each stage suffered (no credit for its outputs), caused (none for its senders), and worked,
 * summed since the start: three figures a stage. */
static void sum_credit(const weir_pipeline *p, uint64_t *figures)
{
    memset(figures, 0, 3 * p->n_nodes * sizeof *figures);
    for (uint32_t i = 0; i < p->n_links; i++) {
        weir_edge_stats edge;
        (void)!weir_pipeline_edge_stats(p, i, &edge);
        uint64_t *suffered = &figures[3 * p->links[i].from->index];
        uint64_t *caused = &figures[3 * p->links[i].to->index + 1];
        if (edge.no_credit_ns > *suffered)
            *suffered = edge.no_credit_ns;
        if (edge.no_credit_ns > *caused)
            *caused = edge.no_credit_ns;
    }
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        weir_stage_stats stage;
        (void)!weir_pipeline_stage_stats(p, i, &stage);
        figures[3 * i + 2] = stage.busy_ns;
    }
}

uint64_t weir_duration_quantile(const weir_stage_stats *stats, double q)
{
    uint64_t sum = 0, all = 0;
    for (int i = 0; i < WEIR_DURATION_BUCKETS; i++)
        all += stats->duration[i];
    for (int i = 0; i < WEIR_DURATION_BUCKETS; i++) {
        sum += stats->duration[i];
        if (sum != 0 && (double)sum >= q * (double)all)
            return i < WEIR_DURATION_BUCKETS - 1 ? UINT64_C(128) << i : UINT64_MAX;
    }
    return 0;
}

uint32_t weir_window_advice(const weir_stage_stats *stats)
{
    const uint64_t most = 1048576;
    if (stats->duration_count < 100)
        return 0;
    uint64_t median = weir_duration_quantile(stats, 0.5), p99 = weir_duration_quantile(stats, 0.99);
    uint64_t times = median != 0 ? p99 / median : 1;
    return (uint32_t)(times < most / 2 ? 2 * times : most);
}

void weir_pipeline_bottleneck(weir_pipeline *p, weir_bottleneck *ret_bottleneck)
{
    weir_bottleneck found = { 0 }, busiest = { 0 };
    *ret_bottleneck = found;
    if (p->mark == NULL)
        return;
    uint64_t *figures = weir_memory_new(p->env, 3 * p->n_nodes * sizeof *figures);
    if (figures == NULL)
        return;
    pthread_mutex_lock(&p->lock);
    uint64_t now = wi_clock(p->env), elapsed = now - p->mark_ns;
    sum_credit(p, figures);
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const uint64_t *new_ = &figures[3 * i], *old = &p->mark[3 * i];
        double held = share(new_[1] - old[1], elapsed, p->n_replicas) -
                      share(new_[0] - old[0], elapsed, p->n_replicas);
        double busy = share(new_[2] - old[2], elapsed, p->n_replicas);
        if (held > found.held_back)
            found = (weir_bottleneck){ p->nodes[i]->name, held, busy };
        if (busy > busiest.busy)
            busiest = (weir_bottleneck){ p->nodes[i]->name, 0, busy };
    }
    memcpy(p->mark, figures, 3 * p->n_nodes * sizeof *figures);
    p->mark_ns = now;
    pthread_mutex_unlock(&p->lock);
    weir_memory_free(p->env, figures);
    if (found.held_back < 0.05 && busiest.busy > 0.2)
        found = busiest;
    else if (found.held_back < 0.01)
        found.stage = NULL;
    *ret_bottleneck = found;
}

/* ---- Text ---- */

typedef struct text {
    char *buffer;
    size_t cap, length;
} text;

static void put(text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void put(text *t, const char *format, ...)
{
    va_list arguments;
    size_t room = t->length < t->cap ? t->cap - t->length : 0;
    va_start(arguments, format);
    int n = vsnprintf(room != 0 ? t->buffer + t->length : NULL, room, format, arguments);
    va_end(arguments);
    if (n > 0)
        t->length += (size_t)n;
}

/* Names may hold anything: escaped alike for DOT, JSON and label values. */
static const char *quoted(const char *name, char buffer[192])
{
    size_t n = 0;
    for (const char *c = name; *c != '\0' && n < 184; c++) {
        if (*c == '"' || *c == '\\')
            buffer[n++] = '\\';
        buffer[n++] = (unsigned char)*c < 0x20 ? ' ' : *c;
    }
    buffer[n] = '\0';
    return buffer;
}

size_t weir_pipeline_dot(const weir_pipeline *p, char *buffer, size_t cap)
{
    text t = { buffer, cap, 0 };
    char a[192], b[192];
    put(&t, "digraph \"%s\" {\n    rankdir=LR;\n    node [shape=box];\n", quoted(p->name, a));
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const weir_node *node = p->nodes[i];
        put(&t, "    \"%s\"", quoted(node->name, a));
        if (p->placed)
            put(&t, " [label=\"%s\\nloop %u\"]", a, node->place);
        put(&t, ";\n");
    }
    for (uint32_t i = 0; i < p->n_links; i++) {
        const wi_graph_link *link = &p->links[i];
        /* as it is now: each replica has its own, the first stands for all */
        uint64_t window = replicas(p) != 0 ? wi_read(&p->edges[i].window)
                                           : wi_graph_link_complete(p, link).window;
        put(&t, "    \"%s\" -> \"%s\" [label=\"%" PRIu64 "\"%s];\n", quoted(link->from->name, a),
            quoted(link->to->name, b), window, link->dead_letter ? ", style=dashed" : "");
    }
    put(&t, "}\n");
    return t.length;
}

static void put_json_stage(text *t, const weir_stage_stats *s)
{
    char a[192];
    put(t,
        "{\"name\":\"%s\",\"replicas\":%u,\"items_in\":%" PRIu64 ",\"items_out\":%" PRIu64
        ",\"failed\":%" PRIu64 ",\"filtered\":%" PRIu64 ",\"aborted\":%" PRIu64
        ",\"in_flight\":%" PRIu64 ",\"busy_ns\":%" PRIu64 ",\"idle_ns\":%" PRIu64
        ",\"starved_ns\":%" PRIu64 ",\"blocked_ns\":%" PRIu64 "}",
        quoted(s->name, a), s->replicas, s->items_in, s->items_out, s->failed, s->filtered,
        s->aborted, s->in_flight, s->busy_ns, s->idle_ns, s->starved_ns, s->blocked_ns);
}

size_t weir_pipeline_json(const weir_pipeline *p, char *buffer, size_t cap)
{
    text t = { buffer, cap, 0 };
    char a[192], b[192];
    put(&t, "{\"pipeline\":\"%s\",\"bound_bytes\":%" PRIu64 ",\"stages\":[", quoted(p->name, a),
        weir_pipeline_bound(p));
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        weir_stage_stats s;
        (void)!weir_pipeline_stage_stats(p, i, &s);
        put(&t, "%s", i != 0 ? "," : "");
        put_json_stage(&t, &s);
    }
    put(&t, "],\"edges\":[");
    for (uint32_t i = 0; i < p->n_links; i++) {
        weir_edge_stats e;
        (void)!weir_pipeline_edge_stats(p, i, &e);
        put(&t,
            "%s{\"from\":\"%s\",\"to\":\"%s\",\"window\":%" PRIu64 ",\"queued\":%" PRIu64
            ",\"credit\":%" PRIu64 ",\"no_credit_ns\":%" PRIu64 ",\"resizes\":%" PRIu64 "}",
            i != 0 ? "," : "", quoted(e.from, a), quoted(e.to, b), e.window, e.queued, e.credit,
            e.no_credit_ns, e.resizes);
    }
    put(&t, "]}\n");
    return t.length;
}

/* ---- Metrics: Prometheus text 0.0.4 and OpenMetrics 1.0.0 ---- */

typedef struct family {
    const char *name, *help, *unit; /* unit: seconds for nanosecond counters */
    size_t offset;
    bool is_gauge;
} family;

#define STAGE_FAMILY(name, field, help)                            \
    {                                                              \
        name, help, NULL, offsetof(weir_stage_stats, field), false \
    }
#define STAGE_TIME(name, field, help)                                   \
    {                                                                   \
        name, help, "seconds", offsetof(weir_stage_stats, field), false \
    }

static const family stage_families[] = {
    STAGE_FAMILY("weir_stage_items_in", items_in, "Items handed to the stage."),
    STAGE_FAMILY("weir_stage_items_out", items_out, "Items the stage emitted."),
    STAGE_FAMILY("weir_stage_filtered", filtered, "Items dropped on purpose."),
    STAGE_FAMILY("weir_stage_aborted", aborted, "Items released by a cancel or an abort."),
    STAGE_FAMILY("weir_stage_retried", retried, "Deliveries after a failure."),
    STAGE_FAMILY("weir_stage_dead_lettered", dead_lettered, "Failed items kept aside."),
    STAGE_FAMILY("weir_stage_over_emitted", over_emitted, "Items emitted without credit."),
    STAGE_TIME("weir_stage_busy_seconds", busy_ns, "Time in the stage's callbacks (sampled)."),
    STAGE_TIME("weir_stage_starved_seconds", starved_ns, "Time with demand and no items."),
    STAGE_TIME("weir_stage_blocked_seconds", blocked_ns, "Time without credit downstream."),
    STAGE_TIME("weir_stage_idle_seconds", idle_ns, "Time with neither."),
    { "weir_stage_in_flight", "Operations under way.", NULL, offsetof(weir_stage_stats, in_flight),
      true },
};

static const family edge_families[] = {
    { "weir_edge_queued", "Items on the edge.", NULL, offsetof(weir_edge_stats, queued), true },
    { "weir_edge_credit", "Items the sender may emit.", NULL, offsetof(weir_edge_stats, credit),
      true },
    { "weir_edge_window", "Items the edge holds at most.", NULL, offsetof(weir_edge_stats, window),
      true },
    { "weir_edge_resizes", "Changes of the window.", NULL, offsetof(weir_edge_stats, resizes),
      false },
    { "weir_edge_no_credit_seconds", "Time the sender had no credit.", "seconds",
      offsetof(weir_edge_stats, no_credit_ns), false },
};

static void put_head(text *t, const char *name, const char *type, const char *unit,
                     const char *help, bool open)
{
    bool total = !open && strcmp(type, "counter") == 0;
    put(t, "# HELP %s%s %s\n# TYPE %s%s %s\n", name, total ? "_total" : "", help, name,
        total ? "_total" : "", type);
    if (open && unit != NULL)
        put(t, "# UNIT %s %s\n", name, unit);
}

static void put_value(text *t, const family *f, const void *stats)
{
    uint64_t value = *(const uint64_t *)(const void *)((const char *)stats + f->offset);
    if (f->unit != NULL)
        put(t, " %.9f\n", (double)value / 1e9);
    else
        put(t, " %" PRIu64 "\n", value);
}

static void put_errors(text *t, const weir_pipeline *p, bool open)
{
    char a[192], b[192];
    put_head(t, "weir_stage_errors", "counter", NULL, "Failed items by class.", open);
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        weir_stage_stats s;
        (void)!weir_pipeline_stage_stats(p, i, &s);
        for (int k = 1; k < WEIR_STATUS_COUNT; k++)
            if (s.failed_by[k] != 0)
                put(t,
                    "weir_stage_errors_total{pipeline=\"%s\",stage=\"%s\",class=\"%s\"} %" PRIu64
                    "\n",
                    quoted(p->name, a), quoted(s.name, b), weir_status_name((weir_status)-k),
                    s.failed_by[k]);
    }
}

static void put_durations(text *t, const weir_pipeline *p, bool open)
{
    char a[192], b[192];
    const char *name = "weir_stage_duration_seconds";
    put_head(t, name, "histogram", "seconds", "Time in callbacks per item (sampled).", open);
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        weir_stage_stats s;
        uint64_t sum = 0;
        (void)!weir_pipeline_stage_stats(p, i, &s);
        quoted(p->name, a);
        quoted(s.name, b);
        for (int k = 0; k + 1 < WEIR_DURATION_BUCKETS; k++) {
            sum += s.duration[k];
            put(t, "%s_bucket{pipeline=\"%s\",stage=\"%s\",le=\"%.9g\"} %" PRIu64 "\n", name, a, b,
                (double)(UINT64_C(128) << k) / 1e9, sum);
        }
        sum += s.duration[WEIR_DURATION_BUCKETS - 1];
        put(t, "%s_bucket{pipeline=\"%s\",stage=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", name, a, b,
            sum);
        put(t, "%s_sum{pipeline=\"%s\",stage=\"%s\"} %.9f\n", name, a, b,
            (double)s.duration_ns / 1e9);
        put(t, "%s_count{pipeline=\"%s\",stage=\"%s\"} %" PRIu64 "\n", name, a, b, sum);
    }
}

/* ---- Figures of the stages' own ---- */

static void put_labels(text *t, const char *pipeline, const char *stage, const weir_figure *figure)
{
    char a[192], b[192];
    put(t, "{pipeline=\"%s\",stage=\"%s\"", quoted(pipeline, a), quoted(stage, b));
    for (int i = 0; i < 2 && figure->labels[i] != NULL; i++)
        put(t, ",%s=\"%s\"", figure->labels[i], quoted(figure->values[i], a));
}

static void put_buckets(text *t, const char *name, const weir_pipeline *p, const char *stage,
                        const weir_figure *figure)
{
    uint64_t sum = 0;
    for (int k = 0; k < WEIR_DURATION_BUCKETS; k++) {
        sum += figure->buckets[k];
        put(t, "%s_bucket", name);
        put_labels(t, p->name, stage, figure);
        if (k + 1 < WEIR_DURATION_BUCKETS)
            put(t, ",le=\"%.9g\"} %" PRIu64 "\n", (double)(UINT64_C(128) << k) / 1e9, sum);
        else
            put(t, ",le=\"+Inf\"} %" PRIu64 "\n", sum);
    }
    put(t, "%s_sum", name);
    put_labels(t, p->name, stage, figure);
    put(t, "} %.9f\n%s_count", (double)figure->sum_ns / 1e9, name);
    put_labels(t, p->name, stage, figure);
    put(t, "} %" PRIu64 "\n", sum);
}

static void put_own_of(text *t, const weir_pipeline *p, const weir_node *node, size_t which)
{
    const weir_stage_type *type = node->spec->type;
    const weir_figure_family *f = &type->families[which];
    const void *shared = p->shared != NULL ? p->shared[node->index] : NULL;
    weir_figure figure = { 0 };
    for (size_t i = 0; shared != NULL && type->figure(shared, which, i, &figure); i++) {
        if (f->kind == WEIR_FIGURE_DURATIONS) {
            put_buckets(t, f->name, p, node->name, &figure);
        } else {
            put(t, "%s%s", f->name, f->kind == WEIR_FIGURE_COUNTER ? "_total" : "");
            put_labels(t, p->name, node->name, &figure);
            put(t, "} %" PRIu64 "\n", figure.value);
        }
        figure = (weir_figure){ 0 };
    }
}

static bool is_first_of_type(const weir_pipeline *p, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (p->nodes[i]->spec->type == p->nodes[index]->spec->type)
            return false;
    return true;
}

/* A family may be told once only: of all stages of the type together. */
static void put_own(text *t, const weir_pipeline *p, bool open)
{
    static const char *const kinds[] = { "counter", "gauge", "histogram" };
    for (uint32_t i = 0; i < p->n_nodes; i++) {
        const weir_stage_type *type = p->nodes[i]->spec->type;
        if (type->figure == NULL || !is_first_of_type(p, i))
            continue;
        for (size_t f = 0; f < type->family_count; f++) {
            const weir_figure_family *own = &type->families[f];
            put_head(t, own->name, kinds[own->kind],
                     own->kind == WEIR_FIGURE_DURATIONS ? "seconds" : NULL, own->help, open);
            for (uint32_t k = i; k < p->n_nodes; k++)
                if (p->nodes[k]->spec->type == type)
                    put_own_of(t, p, p->nodes[k], f);
        }
    }
}

size_t weir_pipeline_metrics(const weir_pipeline *p, weir_metrics_format format, char *buffer,
                             size_t cap)
{
    text t = { buffer, cap, 0 };
    bool open = format == WEIR_OPENMETRICS;
    char a[192], b[192], c[192];
    for (size_t f = 0; f < sizeof stage_families / sizeof *stage_families; f++) {
        const family *family_ = &stage_families[f];
        put_head(&t, family_->name, family_->is_gauge ? "gauge" : "counter", family_->unit,
                 family_->help, open);
        for (uint32_t i = 0; i < p->n_nodes; i++) {
            weir_stage_stats s;
            (void)!weir_pipeline_stage_stats(p, i, &s);
            put(&t, "%s%s{pipeline=\"%s\",stage=\"%s\"}", family_->name,
                family_->is_gauge ? "" : "_total", quoted(p->name, a), quoted(s.name, b));
            put_value(&t, family_, &s);
        }
    }
    for (size_t f = 0; f < sizeof edge_families / sizeof *edge_families; f++) {
        const family *family_ = &edge_families[f];
        put_head(&t, family_->name, family_->is_gauge ? "gauge" : "counter", family_->unit,
                 family_->help, open);
        for (uint32_t i = 0; i < p->n_links; i++) {
            weir_edge_stats e;
            (void)!weir_pipeline_edge_stats(p, i, &e);
            put(&t, "%s%s{pipeline=\"%s\",from=\"%s\",to=\"%s\",output=\"%u\"}", family_->name,
                family_->is_gauge ? "" : "_total", quoted(p->name, a), quoted(e.from, b),
                quoted(e.to, c), e.output);
            put_value(&t, family_, &e);
        }
    }
    put_errors(&t, p, open);
    put_durations(&t, p, open);
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&p->lock;
    pthread_mutex_lock(lock); /* what is shared may go meanwhile, and a swap change the type */
    put_own(&t, p, open);
    pthread_mutex_unlock(lock);
    if (open)
        put(&t, "# EOF\n");
    return t.length;
}
