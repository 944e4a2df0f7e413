/* Deadlines: one timer per loop looks at all links, once a second or as often as they need. */
#include "wi_link_internal.h"

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* A tenth of the shortest deadline: late by that at most. Lingering may take a little longer. */
static uint64_t interval_of(const wi_links_config *config)
{
    uint64_t ms =
        least(least(config->write_timeout_ms, config->connect_timeout_ms),
              least(config->session.header_timeout_ms, 5 * (uint64_t)config->linger_timeout_ms));
    if (config->session.idle_timeout_ms != 0)
        ms = least(ms, config->session.idle_timeout_ms);
    if (config->session.keepalive_ms != 0)
        ms = least(ms, config->session.keepalive_ms);
    if (config->session.keepalive_timeout_ms != 0)
        ms = least(ms, config->session.keepalive_timeout_ms);
    if (config->session.park_ms != 0) /* lateness by a whole one is no harm */
        ms = least(ms, 10 * (uint64_t)config->session.park_ms);
    ms /= 10;
    return (ms < 1 ? 1 : ms > 1000 ? 1000 : ms) * WEIR_MS;
}

static bool is_late(uint64_t since_ns, uint64_t now, uint32_t within_ms)
{
    return now > since_ns && now - since_ns >= within_ms * WEIR_MS;
}

static void sweep_up(wi_link *link, uint64_t now)
{
    const wi_links_config *config = &link->links->config;
    if (link->out.len != 0 && is_late(link->wrote_ns, now, config->write_timeout_ms)) {
        wi_link_kill(link, WEIR_EDEADLINE, "the peer takes nothing");
        return;
    }
    uint32_t pings = weir_http_session_keepalives(link->session);
    link->failed = weir_http_session_sweep(link->session, now);
    pings = weir_http_session_keepalives(link->session) - pings;
    if (pings != 0 && config->keepalives != NULL)
        __atomic_fetch_add(config->keepalives, pings, __ATOMIC_RELAXED);
    if (link->drains != 0 && link->drains < 3 && ++link->drains == 3)
        weir_http_session_drain(link->session);
    if (weir_http_session_wants_output(link->session) || weir_http_session_is_over(link->session))
        wi_link_dirty(link);
}

static void sweep_one(wi_link *link, uint64_t now)
{
    const wi_links_config *config = &link->links->config;
    uint32_t shake_ms = link->accepted ? config->session.header_timeout_ms
                                       : config->connect_timeout_ms;
    switch ((wi_link_phase)link->phase) {
    case WI_LINK_CONNECTING:
    case WI_LINK_HANDSHAKE:
        if (is_late(link->since_ns, now, shake_ms))
            wi_link_kill(link, link->accepted ? WEIR_EDEADLINE : WEIR_EUNAVAILABLE,
                         "connecting took too long");
        break;
    case WI_LINK_UP:
        sweep_up(link, now);
        break;
    case WI_LINK_LINGER:
        if (is_late(link->since_ns, now, config->linger_timeout_ms))
            wi_link_kill(link, WEIR_OK, "");
        break;
    case WI_LINK_DEAD:
        break;
    }
}

static void sweep(weir_timer *timer, void *user)
{
    wi_links *links = user;
    uint64_t now = weir_loop_now(links->loop);
    for (wi_link *link = links->first, *next; link != NULL; link = next) {
        next = link->next;
        sweep_one(link, now);
    }
    weir_http_pool_sweep(links->pool);
    if (links->first != NULL)
        weir_timer_start(links->loop, timer, interval_of(&links->config), sweep, links);
}

/* ---- The end of those at rest ---- */

enum { HURRY_MS = 250 };

/* A peer that has not answered the PING by now gets the last word, and then as long again to close:
 * of what it may still send, nothing is taken in. */
static void hurry_one(wi_link *link, uint64_t now)
{
    if (!link->at_rest)
        return;
    if (link->phase == WI_LINK_LINGER && is_late(link->since_ns, now, HURRY_MS)) {
        wi_link_kill(link, WEIR_OK, "");
    } else if (link->phase == WI_LINK_UP) {
        link->drains = 3;
        weir_http_session_drain(link->session);
        wi_link_dirty(link);
    }
}

static void hurry(weir_timer *timer, void *user)
{
    wi_links *links = user;
    uint64_t now = weir_loop_now(links->loop);
    bool any = false;
    for (wi_link *link = links->first, *next; link != NULL; link = next) {
        next = link->next;
        any = any || link->at_rest;
        hurry_one(link, now);
    }
    if (any)
        weir_timer_start(links->loop, timer, HURRY_MS * WEIR_MS, hurry, links);
}

void wi_links_hurry_start(wi_links *links)
{
    weir_timer_start(links->loop, &links->hurry, HURRY_MS * WEIR_MS, hurry, links);
}

void wi_links_sweep_start(wi_links *links)
{
    if (!weir_timer_is_armed(&links->sweep))
        weir_timer_start(links->loop, &links->sweep, interval_of(&links->config), sweep, links);
}
