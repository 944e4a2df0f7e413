/* The guard of an HTTP/2 session: reads the head of each frame before nghttp2 does, counts what a
 * peer may send only so often, and cuts it off above. */
#include "http2_session.h"

static const wi_http2_verdict fine = { WEIR_OK, 0, NULL };

static void rate_init(wi_rate *rate, uint32_t burst, uint32_t per_second, uint64_t now_ns)
{
    rate->cost_ns = 1000 * WI_HTTP_MS / per_second;
    if (rate->cost_ns == 0)
        rate->cost_ns = 1;
    rate->debt_max_ns = rate->cost_ns * burst;
    rate->debt_ns = 0;
    rate->at_ns = now_ns;
}

bool wi_rate_over(wi_rate *rate, uint64_t now_ns)
{
    uint64_t elapsed = now_ns > rate->at_ns ? now_ns - rate->at_ns : 0;
    rate->debt_ns -= elapsed < rate->debt_ns ? elapsed : rate->debt_ns;
    rate->at_ns += elapsed;
    rate->debt_ns += rate->cost_ns;
    return rate->debt_ns > rate->debt_max_ns;
}

void wi_http2_guard_init(wi_http2 *h2)
{
    const weir_http_session_config *c = &h2->session->config;
    wi_http2_guard *g = &h2->guard;
    uint64_t now = h2->session->now_ns;
    rate_init(&g->resets, c->resets_burst, c->resets_per_second, now);
    rate_init(&g->violations, c->violations_burst, c->violations_per_second, now);
    rate_init(&g->control, c->control_burst, c->control_per_second, now);
    if (!c->is_client)
        g->payload_left = WI_HTTP_PREFACE_BYTES; /* nghttp2 compares it */
}

static bool control_over(wi_http2 *h2)
{
    if (h2->guard.earned > 0) {
        h2->guard.earned--;
        return false;
    }
    return wi_rate_over(&h2->guard.control, h2->session->now_ns);
}

static const char control_why[] = "too many control frames";

void wi_http2_count_control(wi_http2 *h2)
{
    if (control_over(h2))
        (void)wi_http2_fail(h2, WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM, control_why);
}

void wi_http2_count_violation(wi_http2 *h2, uint32_t code)
{
    /* Refused as there were too many: a peer may not know our limit yet. */
    wi_rate *rate = code == NGHTTP2_REFUSED_STREAM ? &h2->guard.resets : &h2->guard.violations;
    if (code != NGHTTP2_INTERNAL_ERROR && wi_rate_over(rate, h2->session->now_ns))
        (void)wi_http2_fail(h2, WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM,
                            "too many streams that had to be reset");
}

/* ---- Streams that were skipped ---- */

static void note_gap(wi_http2_guard *g, uint32_t first, uint32_t last)
{
    g->gaps[g->gap_next].first = first;
    g->gaps[g->gap_next].last = last;
    g->gap_next = (g->gap_next + 1) % WI_GAPS_MAX;
}

static bool in_gap(const wi_http2_guard *g, uint32_t stream)
{
    for (int i = 0; i < WI_GAPS_MAX; i++)
        if (stream >= g->gaps[i].first && stream <= g->gaps[i].last)
            return true;
    return false;
}

/* Whoever has ended a stream knows that nothing can follow (RFC 9113 5.1). nghttp2 ignores it once
 * it has forgotten the stream. */
static bool has_ended(const wi_http2_guard *g, uint32_t stream)
{
    bool found = false;
    for (int i = 0; i < WI_ENDED_MAX; i++)
        found |= g->ended[i] == stream;
    return found && stream != 0;
}

static void note_ended(wi_http2_guard *g, uint32_t stream)
{
    g->ended[g->ended_next] = stream;
    g->ended_next = (g->ended_next + 1) % WI_ENDED_MAX;
}

static const wi_http2_verdict after_end = { WEIR_EPROTO, NGHTTP2_STREAM_CLOSED,
                                            "a frame on a stream that its sender has ended" };

static wi_http2_verdict look_at_headers(wi_http2 *h2, uint32_t stream)
{
    wi_http2_guard *g = &h2->guard;
    g->continuations = 0;
    if (h2->session->config.is_client || stream % 2 == 0)
        return fine;
    if (stream > g->highest) {
        uint32_t next = g->highest == 0 ? 1 : g->highest + 2;
        if (stream > next)
            note_gap(g, next, stream - 2);
        g->highest = stream;
        return fine;
    }
    if (in_gap(g, stream))
        return (wi_http2_verdict){ WEIR_EPROTO, NGHTTP2_PROTOCOL_ERROR,
                                   "HEADERS on a stream below others that was never opened" };
    return fine;
}

/* ---- Frames ---- */

static wi_http2_verdict look_at_control(wi_http2 *h2)
{
    if (control_over(h2))
        return (wi_http2_verdict){ WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM, control_why };
    return fine;
}

static wi_http2_verdict look_at(wi_http2 *h2)
{
    wi_http2_guard *g = &h2->guard;
    const uint8_t *head = g->head;
    uint32_t stream = ((uint32_t)(head[5] & 0x7f) << 24) | ((uint32_t)head[6] << 16) |
                      ((uint32_t)head[7] << 8) | head[8];
    uint8_t type = head[3], flags = head[4];
    switch (type) {
    case NGHTTP2_DATA:
        if (has_ended(g, stream))
            return after_end;
        if ((flags & NGHTTP2_FLAG_END_STREAM) != 0)
            note_ended(g, stream);
        if (g->payload_left > 0 || (flags & NGHTTP2_FLAG_END_STREAM) != 0)
            return fine;
        return look_at_control(h2);
    case NGHTTP2_HEADERS:
        if (has_ended(g, stream))
            return after_end;
        if ((flags & NGHTTP2_FLAG_END_STREAM) != 0)
            note_ended(g, stream);
        return look_at_headers(h2, stream);
    case NGHTTP2_PRIORITY:
        if (stream == 0)
            return (wi_http2_verdict){ WEIR_EPROTO, NGHTTP2_PROTOCOL_ERROR,
                                       "PRIORITY without a stream" };
        return look_at_control(h2);
    case NGHTTP2_CONTINUATION:
        if (++g->continuations > h2->session->config.continuations_max)
            return (wi_http2_verdict){ WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM,
                                       "too many CONTINUATION frames" };
        return fine;
    case NGHTTP2_RST_STREAM:
        note_ended(g, stream);
        if (!h2->session->config.is_client && wi_rate_over(&g->resets, h2->session->now_ns))
            return (wi_http2_verdict){ WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM,
                                       "too many streams were reset" };
        return fine;
    case NGHTTP2_PUSH_PROMISE: /* our SETTINGS came before any request that could have led to it */
        return (wi_http2_verdict){ WEIR_EPROTO, NGHTTP2_PROTOCOL_ERROR,
                                   "PUSH_PROMISE, which was not enabled" };
    case NGHTTP2_SETTINGS: /* one that acknowledges nothing is nghttp2's to refuse */
        if ((flags & NGHTTP2_FLAG_ACK) != 0 || !h2->settings_received)
            return fine;
        return look_at_control(h2);
    case NGHTTP2_PING:
        if ((flags & NGHTTP2_FLAG_ACK) != 0 && h2->ping_out)
            return fine;
        return look_at_control(h2);
    case NGHTTP2_GOAWAY:
        g->goaway = true;
        return look_at_control(h2);
    default: /* WINDOW_UPDATE, unknown ones */
        return look_at_control(h2);
    }
}

/* As much of a frame's head as there is. */
static inline size_t take_head(wi_http2_guard *g, const char *bytes, size_t n)
{
    if (g->have == 0 && n >= WI_FRAME_HEAD) {
        memcpy(g->head, bytes, WI_FRAME_HEAD);
        g->have = WI_FRAME_HEAD;
        return WI_FRAME_HEAD;
    }
    size_t some = (size_t)WI_FRAME_HEAD - g->have;
    if (some > n)
        some = n;
    memcpy(g->head + g->have, bytes, some);
    g->have = (uint8_t)(g->have + some);
    return some;
}

wi_http2_verdict wi_http2_guard_look(wi_http2 *h2, const char *bytes, size_t n, size_t *ret_fine)
{
    wi_http2_guard *g = &h2->guard;
    size_t at = 0;
    while (at < n) {
        if (g->payload_left > 0) {
            size_t skip = n - at < g->payload_left ? n - at : g->payload_left;
            g->payload_left -= (uint32_t)skip;
            at += skip;
            continue;
        }
        size_t begin = at;
        at += take_head(g, bytes + at, n - at);
        if (g->have < WI_FRAME_HEAD)
            break;
        g->have = 0;
        g->payload_left = ((uint32_t)g->head[0] << 16) | ((uint32_t)g->head[1] << 8) | g->head[2];
        wi_http2_verdict verdict = look_at(h2);
        if (verdict.status != WEIR_OK) {
            *ret_fine = begin;
            return verdict;
        }
    }
    *ret_fine = n;
    return fine;
}
