/* What the admin listener shows: metrics, readiness and the graph of its pipelines. */
#include "admin_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define JSON_TYPE "application/json"
#define TEXT_TYPE "text/plain; charset=utf-8"

/* ---- Text ---- */

static bool make_room(wi_text *text, size_t more)
{
    size_t cap = text->cap != 0 ? text->cap : 1024;
    while (cap - text->len < more)
        cap *= 2;
    if (cap == text->cap)
        return true;
    char *at = text->failed ? NULL : weir_memory_resize(text->env, text->at, cap);
    if (at == NULL) {
        text->failed = true;
        return false;
    }
    text->at = at;
    text->cap = cap;
    return true;
}

void wi_text_append(wi_text *text, const char *at, size_t n)
{
    if (n == 0 || !make_room(text, n))
        return;
    memcpy(text->at + text->len, at, n);
    text->len += n;
}

void wi_text_printf(wi_text *text, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (n > 0)
        wi_text_append(text, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
}

void wi_text_json(wi_text *text, const char *string)
{
    wi_text_append(text, "\"", 1);
    for (; *string != '\0'; string++) {
        unsigned char byte = (unsigned char)*string;
        if (byte == '"' || byte == '\\')
            wi_text_printf(text, "\\%c", byte);
        else if (byte < 0x20)
            wi_text_printf(text, "\\u%04x", byte);
        else
            wi_text_append(text, string, 1);
    }
    wi_text_append(text, "\"", 1);
}

void wi_text_done(wi_text *text)
{
    weir_memory_free(text->env, text->at);
    *text = (wi_text){ .env = text->env };
}

/* ---- Whether the pipelines move ---- */

/* Names need not be unique: stages of one name count as one. */
static void look_at(const weir_pipeline *pipeline, const char *stage, uint64_t *ret_moved,
                    uint64_t *ret_in_flight)
{
    uint64_t moved = 0, in_flight = 0;
    weir_stage_stats stats;
    for (uint32_t i = 0; i < weir_pipeline_stages(pipeline); i++) {
        if (weir_pipeline_stage_stats(pipeline, i, &stats) != WEIR_OK ||
            strcmp(stats.name, stage) != 0)
            continue;
        moved += stats.items_in + stats.items_out + stats.filtered + stats.failed + stats.aborted +
                 stats.retried;
        in_flight += stats.in_flight;
    }
    *ret_moved = moved;
    *ret_in_flight = in_flight;
}

static bool fit_watch(const weir_env *env, wi_admin_watch *watch)
{
    uint32_t n = weir_pipeline_edges(watch->pipeline);
    if (n == watch->edge_count)
        return true;
    weir_memory_free(env, watch->edges);
    watch->edges = weir_memory_new(env, n * sizeof *watch->edges);
    watch->edge_count = watch->edges != NULL ? n : 0;
    for (uint32_t i = 0; i < watch->edge_count; i++)
        watch->edges[i].in_flight_least = UINT64_MAX;
    return watch->edges != NULL;
}

static void sample_edge(const wi_admin_watch *watch, uint32_t index, uint64_t now_ns)
{
    weir_edge_stats stats;
    wi_admin_edge *edge = &watch->edges[index];
    if (weir_pipeline_edge_stats(watch->pipeline, index, &stats) != WEIR_OK)
        return;
    uint64_t moved, in_flight;
    look_at(watch->pipeline, stats.to, &moved, &in_flight);
    if (in_flight < edge->in_flight_least)
        edge->in_flight_least = in_flight;
    bool has_work = stats.queued > 0 || in_flight > edge->in_flight_least;
    if (!has_work)
        edge->since_ns = 0;
    else if (edge->since_ns == 0 || moved != edge->moved || in_flight != edge->in_flight)
        edge->since_ns = now_ns;
    edge->moved = moved;
    edge->in_flight = in_flight;
}

void wi_admin_pages_sample(wi_admin_pages *pages, uint64_t now_ns)
{
    for (uint32_t p = 0; p < pages->config.pipeline_count; p++) {
        wi_admin_watch *watch = &pages->watches[p];
        if (!fit_watch(pages->env, watch))
            continue;
        for (uint32_t i = 0; i < watch->edge_count; i++)
            sample_edge(watch, i, now_ns);
    }
}

weir_status wi_admin_pages_init(wi_admin_pages *pages, const weir_env *env,
                                const weir_admin_config *config)
{
    pages->env = env;
    pages->config = *config;
    pages->watches = weir_memory_new(env, (config->pipeline_count + 1) * sizeof *pages->watches);
    if (pages->watches == NULL)
        return WEIR_ENOMEM;
    for (uint32_t i = 0; i < config->pipeline_count; i++)
        pages->watches[i].pipeline = config->pipelines[i];
    return WEIR_OK;
}

void wi_admin_pages_done(wi_admin_pages *pages)
{
    for (uint32_t i = 0; pages->watches != NULL && i < pages->config.pipeline_count; i++)
        weir_memory_free(pages->env, pages->watches[i].edges);
    weir_memory_free(pages->env, pages->watches);
}

/* ---- /ready ---- */

static void blame(wi_admin_page *page, const char *name, const char *why)
{
    wi_text_append(&page->body, page->status == 200 ? "" : ",", page->status == 200 ? 0 : 1);
    page->status = 503;
    wi_text_append(&page->body, "{\"name\":", 8);
    wi_text_json(&page->body, name);
    wi_text_append(&page->body, ",\"why\":", 7);
    wi_text_json(&page->body, why);
    wi_text_append(&page->body, "}", 1);
}

static void check_edges(const wi_admin_pages *pages, const wi_admin_watch *watch, uint64_t now_ns,
                        wi_admin_page *page)
{
    for (uint32_t i = 0; i < watch->edge_count; i++) {
        char why[192];
        weir_edge_stats stats;
        uint64_t since_ns = watch->edges[i].since_ns;
        if (since_ns == 0 || now_ns - since_ns < pages->config.stuck_ms * WEIR_MS ||
            weir_pipeline_edge_stats(watch->pipeline, i, &stats) != WEIR_OK)
            continue;
        snprintf(why, sizeof why,
                 "stuck: %" PRIu64 " items queued from %.48s, %" PRIu64
                 " operations under way, and nothing moved for %" PRIu64 " ms",
                 stats.queued, stats.from,
                 watch->edges[i].in_flight - watch->edges[i].in_flight_least,
                 (now_ns - since_ns) / WEIR_MS);
        blame(page, stats.to, why);
    }
}

static void check_pipeline(const wi_admin_pages *pages, const wi_admin_watch *watch,
                           uint64_t now_ns, wi_admin_page *page)
{
    if (weir_pipeline_is_finished(watch->pipeline))
        blame(page, "pipeline", "it has finished");
    else if (weir_pipeline_is_ending(watch->pipeline))
        blame(page, "pipeline", "it is draining");
    else if (weir_pipeline_loop(watch->pipeline, 0) == NULL)
        blame(page, "pipeline", "it has not started");
    else
        check_edges(pages, watch, now_ns, page);
}

static void ready(wi_admin_pages *pages, uint64_t now_ns, wi_admin_page *page)
{
    const weir_admin_config *config = &pages->config;
    page->content_type = JSON_TYPE;
    wi_text_printf(&page->body, "{\"not_ready\":[");
    wi_admin_pages_sample(pages, now_ns);
    for (uint32_t i = 0; i < config->pipeline_count; i++)
        check_pipeline(pages, &pages->watches[i], now_ns, page);
    for (uint32_t i = 0; i < config->check_count; i++) {
        const char *why = NULL;
        weir_status status = config->checks[i].ready(config->checks[i].user, &why);
        if (status != WEIR_OK)
            blame(page, config->checks[i].name, why != NULL ? why : weir_status_text(status));
    }
    wi_text_printf(&page->body, "],\"ready\":%s}\n", page->status == 200 ? "true" : "false");
}

/* ---- /metrics and /graph ---- */

typedef size_t (*writer)(const weir_pipeline *pipeline, char *buffer, size_t cap);

static size_t write_prometheus(const weir_pipeline *pipeline, char *buffer, size_t cap)
{
    return weir_pipeline_metrics(pipeline, WEIR_PROMETHEUS_TEXT, buffer, cap);
}

static size_t write_openmetrics(const weir_pipeline *pipeline, char *buffer, size_t cap)
{
    return weir_pipeline_metrics(pipeline, WEIR_OPENMETRICS, buffer, cap);
}

/* The text may grow while it is written, because the pipeline runs. */
static void append_written(wi_text *text, writer write, const weir_pipeline *pipeline)
{
    size_t room = 4096;
    while (make_room(text, room)) {
        size_t n = write(pipeline, text->at + text->len, text->cap - text->len);
        if (n < text->cap - text->len) {
            text->len += n;
            return;
        }
        room = n + n / 8 + 1;
    }
}

typedef struct lines {
    const char *at, *end;
} lines;

static size_t line_len(lines text)
{
    const char *newline = memchr(text.at, '\n', (size_t)(text.end - text.at));
    return newline != NULL ? (size_t)(newline - text.at) + 1 : (size_t)(text.end - text.at);
}

static bool is_comment(lines text)
{
    return text.at < text.end && *text.at == '#';
}

static void append_samples(wi_text *text, lines *from)
{
    while (from->at < from->end && !is_comment(*from)) {
        size_t n = line_len(*from);
        wi_text_append(text, from->at, n);
        from->at += n;
    }
}

/* The samples of the family whose first comment line is `head`. */
static void append_family(wi_text *text, lines head, lines from)
{
    size_t n = line_len(head);
    while (from.at < from.end) {
        size_t m = line_len(from);
        bool found = m == n && memcmp(from.at, head.at, n) == 0;
        from.at += m;
        if (!found)
            continue;
        while (is_comment(from))
            from.at += line_len(from);
        append_samples(text, &from);
        return;
    }
}

static bool has_family(lines head, lines from)
{
    size_t n = line_len(head);
    for (; from.at < from.end; from.at += line_len(from))
        if (line_len(from) == n && memcmp(from.at, head.at, n) == 0)
            return true;
    return false;
}

static lines lines_of(const wi_text *part)
{
    return (lines){ part->at, part->at + part->len };
}

static bool was_told(lines head, const wi_text *parts, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        if (has_family(head, lines_of(&parts[i])))
            return true;
    return false;
}

/* A family of metrics may be told once only: the samples of further pipelines follow those of the
 * first that has it. */
static void merge(wi_text *text, const wi_text *parts, uint32_t n)
{
    static const char eof[] = "# EOF\n";
    bool ends = false;
    for (uint32_t i = 0; i < n; i++) {
        lines at = lines_of(&parts[i]);
        while (at.at < at.end) {
            lines head = at;
            bool is_eof = line_len(at) == sizeof eof - 1 && memcmp(at.at, eof, sizeof eof - 1) == 0;
            bool skip = is_eof || was_told(head, parts, i);
            ends |= is_eof;
            while (is_comment(at))
                at.at += line_len(at);
            wi_text_append(text, head.at, skip ? 0 : (size_t)(at.at - head.at));
            while (at.at < at.end && !is_comment(at)) {
                wi_text_append(text, at.at, skip ? 0 : line_len(at));
                at.at += line_len(at);
            }
            for (uint32_t k = i + 1; k < n && !skip; k++)
                append_family(text, head, lines_of(&parts[k]));
        }
    }
    if (ends)
        wi_text_append(text, eof, sizeof eof - 1);
}

static void metrics(const wi_admin_pages *pages, bool openmetrics, wi_admin_page *page)
{
    writer write = openmetrics ? write_openmetrics : write_prometheus;
    uint32_t n = pages->config.pipeline_count;
    page->content_type = openmetrics ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
                                     : "text/plain; version=0.0.4; charset=utf-8";
    if (n == 0) {
        wi_text_printf(&page->body, "%s", openmetrics ? "# EOF\n" : "");
        return;
    }
    wi_text *parts = weir_memory_new(pages->env, n * sizeof *parts);
    if (parts == NULL) {
        page->body.failed = true;
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        parts[i].env = pages->env;
        append_written(&parts[i], write, pages->config.pipelines[i]);
    }
    merge(&page->body, parts, n);
    for (uint32_t i = 0; i < n; i++)
        wi_text_done(&parts[i]);
    weir_memory_free(pages->env, parts);
}

/* One pipeline is shown as it is; of several JSON makes an array, DOT a series of graphs. */
static void graph(const wi_admin_pages *pages, bool dot, wi_admin_page *page)
{
    uint32_t n = pages->config.pipeline_count;
    bool array = !dot && n != 1;
    page->content_type = dot ? "text/vnd.graphviz" : JSON_TYPE;
    wi_text_append(&page->body, "[", array);
    for (uint32_t i = 0; i < n; i++) {
        wi_text_append(&page->body, ",", array && i > 0);
        append_written(&page->body, dot ? weir_pipeline_dot : weir_pipeline_json,
                       pages->config.pipelines[i]);
    }
    wi_text_append(&page->body, "]", array);
}

/* ---- Which page ---- */

static bool accepts(const weir_http1_head *request, const char *type)
{
    const weir_http1_span *accept = weir_http1_find(request, "accept");
    size_t n = strlen(type);
    for (size_t i = 0; accept != NULL && i + n <= accept->len; i++)
        if (strncasecmp(accept->at + i, type, n) == 0)
            return true;
    return false;
}

/* In a time that does not tell how much of it was right. */
static bool is_allowed(const wi_admin_pages *pages, const weir_http1_head *request)
{
    static const char scheme[] = "Bearer ";
    const char *token = pages->config.token;
    const weir_http1_span *given = weir_http1_find(request, "authorization");
    if (token == NULL)
        return true;
    size_t n = strlen(token), skip = sizeof scheme - 1;
    if (given == NULL || given->len != skip + n || strncasecmp(given->at, scheme, skip) != 0)
        return false;
    unsigned char wrong = 0;
    for (size_t i = 0; i < n; i++)
        wrong |= (unsigned char)(given->at[skip + i] ^ token[i]);
    return wrong == 0;
}

static void say(wi_admin_page *page, unsigned status, const char *text)
{
    page->status = status;
    page->content_type = TEXT_TYPE;
    wi_text_printf(&page->body, "%s\n", text);
}

static void answer_private(const wi_admin_pages *pages, const weir_http1_head *request,
                           wi_admin_page *page)
{
    bool is_metrics = weir_http1_span_is(request->path, "/metrics");
    bool is_graph = weir_http1_span_is(request->path, "/graph");
    bool is_index = weir_http1_span_is(request->path, "/");
    if (!is_metrics && !is_graph && !is_index)
        say(page, 404, "not found; / lists what there is");
    else if (!is_allowed(pages, request))
        say(page, 401, "a token is needed");
    else if (is_metrics)
        metrics(pages, accepts(request, "application/openmetrics-text"), page);
    else if (is_graph)
        graph(pages,
              accepts(request, "text/vnd.graphviz") ||
                  weir_http1_span_is(request->query, "format=dot"),
              page);
    else
        say(page, 200, "/metrics\n/live\n/ready\n/graph\n/graph?format=dot");
}

void wi_admin_pages_answer(wi_admin_pages *pages, const weir_http1_head *request, uint64_t now_ns,
                           wi_admin_page *page)
{
    page->status = 200;
    if (request->method != WEIR_HTTP1_GET && request->method != WEIR_HTTP1_HEAD)
        say(page, 405, "only GET and HEAD");
    else if (weir_http1_span_is(request->path, "/live"))
        say(page, 200, "live");
    else if (weir_http1_span_is(request->path, "/ready"))
        ready(pages, now_ns, page);
    else
        answer_private(pages, request, page);
}
