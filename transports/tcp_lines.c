/* Lines out of the chunks of TCP connections. */
#include "tcp_internal.h"

#include <string.h>

enum { LINE_DEFAULT = 4096, LINE_MAX_MAX = 1 << 20, CHUNKS_AHEAD = 16 };
/* Holds of one item are counted in a byte: beyond this many lines a chunk is held through groups,
 * items without a body between it and its lines. */
enum { HOLDS_MAX = 128, GROUP_HOLDS_MAX = 255 };

typedef struct lines {
    weir_lines_config config;
    const weir_env *env;
    weir_item *chunks[CHUNKS_AHEAD]; /* to cut; a ring, as others may hold them too */
    uint32_t first, n;
    size_t at; /* the first is cut up to here */
    weir_item *group;
    weir_status end_status;
    bool ended;
} lines;

static weir_status lines_check(const void *config_, const char **ret_why)
{
    const weir_lines_config *config = config_;
    if (config->line_bytes_max <= LINE_MAX_MAX)
        return WEIR_OK;
    *ret_why = "line_bytes_max is above 1 MiB";
    return WEIR_EINVAL;
}

static weir_status lines_open(weir_stage *stage, const void *config, void *state)
{
    lines *l = state;
    l->config = *(const weir_lines_config *)config;
    if (l->config.line_bytes_max == 0)
        l->config.line_bytes_max = LINE_DEFAULT;
    l->env = weir_stage_env(stage);
    return WEIR_OK;
}

/* ---- Whose the lines are ---- */

static void close_group(lines *l)
{
    if (l->group != NULL)
        weir_item_ack(l->group);
    l->group = NULL;
}

static weir_status open_group(weir_stage *stage, lines *l)
{
    weir_item *chunk = l->chunks[l->first];
    weir_item *group = weir_item_new(weir_stage_loop(stage), NULL, 0);
    if (group == NULL)
        return WEIR_ENOMEM;
    if (weir_item_hold(chunk) != WEIR_OK) {
        weir_item_ack(group);
        return WEIR_ELIMIT;
    }
    weir_item_derive(group, chunk);
    l->group = group;
    return WEIR_OK;
}

/* Makes `line` of the chunk. */
static weir_status adopt(weir_stage *stage, lines *l, weir_item *line)
{
    weir_item *parent = l->chunks[l->first];
    if (l->group != NULL && l->group->holds >= GROUP_HOLDS_MAX)
        close_group(l);
    if (l->group == NULL && parent->holds >= HOLDS_MAX) {
        weir_status status = open_group(stage, l);
        if (status != WEIR_OK)
            return status;
    }
    if (l->group != NULL)
        parent = l->group;
    weir_status status = weir_item_hold(parent);
    if (status == WEIR_OK)
        weir_item_derive(line, parent);
    return status;
}

/* ---- Cutting ---- */

static weir_status keep_partial(lines *l, wi_tcp_conn *conn, const char *bytes, size_t n)
{
    wi_tcp_buffer *partial = &conn->partial;
    if (n > l->config.line_bytes_max - partial->to)
        return WEIR_ELIMIT;
    if (memchr(bytes, '\0', n) != NULL)
        return WEIR_EPROTO;
    if (!wi_tcp_buffer_reserve(l->env, partial, n))
        return WEIR_ENOMEM;
    memcpy(partial->at + partial->to, bytes, n);
    partial->to += n;
    return WEIR_OK;
}

/* A line that lies in one chunk is copied once; WEIR_EAGAIN if it has to wait for credit. */
static weir_status emit_line(weir_stage *stage, lines *l, wi_tcp_conn *conn, const char *bytes,
                             size_t n)
{
    size_t before = conn->partial.to, total = before + n;
    if (total > l->config.line_bytes_max)
        return WEIR_ELIMIT;
    if (n > 0 && memchr(bytes, '\0', n) != NULL)
        return WEIR_EPROTO;
    if (!weir_out_fits(weir_stage_out(stage), (uint32_t)total + 1))
        return WEIR_EAGAIN;
    weir_item *line = weir_item_new(weir_stage_loop(stage), &wi_tcp_line_type, total + 1);
    if (line == NULL)
        return WEIR_ENOMEM;
    weir_status status = adopt(stage, l, line);
    if (status != WEIR_OK) {
        weir_item_end(line, WEIR_ABORTED, status);
        return status;
    }
    char *text = line->body;
    if (before > 0)
        memcpy(text, conn->partial.at, before);
    if (n > 0)
        memcpy(text + before, bytes, n);
    if (l->config.strip_cr && total > 0 && text[total - 1] == '\r')
        total--;
    text[total] = '\0';
    conn->partial.to = 0;
    weir_emit(weir_stage_out(stage), line);
    return WEIR_OK;
}

/* WEIR_OK: the first chunk is cut to its end. */
static weir_status cut_first(weir_stage *stage, lines *l, wi_tcp_conn *conn)
{
    const weir_tcp_chunk *chunk = l->chunks[l->first]->body;
    if (conn->cut_over)
        return WEIR_ECLOSED;
    while (l->at < chunk->n) {
        const char *from = chunk->bytes + l->at;
        const char *newline = memchr(from, '\n', chunk->n - l->at);
        if (newline == NULL)
            return keep_partial(l, conn, from, chunk->n - l->at);
        weir_status status = emit_line(stage, l, conn, from, (size_t)(newline - from));
        if (status != WEIR_OK)
            return status;
        l->at += (size_t)(newline - from) + 1;
    }
    return chunk->is_end && conn->partial.to > 0 ? emit_line(stage, l, conn, NULL, 0) : WEIR_OK;
}

static weir_item *pop_first(lines *l)
{
    weir_item *chunk = l->chunks[l->first];
    close_group(l);
    l->first = (l->first + 1) % CHUNKS_AHEAD;
    l->n--;
    l->at = 0;
    return chunk;
}

static const char *reason(weir_status status)
{
    switch (status) {
    case WEIR_ELIMIT:
        return "the line is longer than line_bytes_max";
    case WEIR_EPROTO:
        return "the line has a NUL in it";
    case WEIR_ECLOSED:
        return "a line before it was refused";
    case WEIR_EINVAL:
        return "not a chunk of a TCP connection, or cut by another stage as well";
    default:
        return "no memory for a line";
    }
}

static wi_tcp_conn *conn_to_cut(weir_stage *stage, const weir_item *chunk)
{
    wi_tcp_conn *conn = chunk->type == &wi_tcp_chunk_type ? wi_tcp_conn_of(chunk) : NULL;
    if (conn != NULL && conn->cutter == NULL)
        conn->cutter = stage;
    return conn != NULL && conn->cutter == stage ? conn : NULL;
}

static void cut(weir_stage *stage, lines *l)
{
    while (l->n > 0) {
        wi_tcp_conn *conn = conn_to_cut(stage, l->chunks[l->first]);
        weir_status status = conn != NULL ? cut_first(stage, l, conn) : WEIR_EINVAL;
        if (status == WEIR_EAGAIN)
            return;
        if (status != WEIR_OK && conn != NULL)
            conn->cut_over = true;
        weir_item *chunk = pop_first(l);
        if (status == WEIR_OK)
            weir_item_ack(chunk);
        else
            weir_fail(stage, chunk, status, reason(status));
    }
    weir_out *out = weir_stage_out(stage);
    uint64_t credit = weir_out_credit(out);
    if (l->ended && l->end_status == WEIR_OK)
        weir_end(out);
    else if (l->ended)
        weir_end_error(out, l->end_status);
    else if (credit > 0)
        weir_request_to(weir_stage_in(stage), credit < CHUNKS_AHEAD ? credit : CHUNKS_AHEAD);
}

/* ---- The stage ---- */

static weir_status lines_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    lines *l = state;
    (void)in;
    for (size_t i = 0; i < n; i++) {
        if (l->n < CHUNKS_AHEAD)
            l->chunks[(l->first + l->n++) % CHUNKS_AHEAD] = items[i];
        else /* one that is tried again, beside all that were asked for */
            weir_fail(stage, items[i], WEIR_EAGAIN, "as many chunks wait as were asked for");
    }
    cut(stage, l);
    return WEIR_OK;
}

static void lines_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    cut(stage, state);
}

static void lines_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    lines *l = state;
    (void)in;
    l->ended = true;
    l->end_status = status;
    cut(stage, l);
}

static void give_up(lines *l)
{
    while (l->n > 0)
        weir_item_end(pop_first(l), WEIR_ABORTED, WEIR_ECANCELED);
}

static void lines_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    give_up(state);
    weir_cancel(weir_stage_in(stage));
}

static void lines_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    give_up(state);
}

static const weir_stage_type lines_type = {
    .name = "lines",
    .config_size = sizeof(weir_lines_config),
    .state_size = sizeof(lines),
    .check = lines_check,
    .open = lines_open,
    .on_items = lines_on_items,
    .on_demand = lines_on_demand,
    .on_end = lines_on_end,
    .on_cancel = lines_on_cancel,
    .on_abort = lines_on_abort,
};

weir_stage_spec *weir_lines(const weir_lines_config *config)
{
    return weir_stage_of(&lines_type, config);
}
