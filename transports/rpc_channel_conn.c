/* Connections of a channel: which takes a call, when one is dialled, and how they end. */
#include "rpc_client_internal.h"

#include <stdio.h>
#include <string.h>

/* ---- Lists ---- */

static void put_first(wi_rpc_conn *conn)
{
    wi_rpc_address *address = conn->address;
    conn->previous = NULL;
    conn->next = address->conns;
    if (address->conns != NULL)
        address->conns->previous = conn;
    address->conns = conn;
}

static void take_out(wi_rpc_conn *conn)
{
    if (conn->previous != NULL)
        conn->previous->next = conn->next;
    else
        conn->address->conns = conn->next;
    if (conn->next != NULL)
        conn->next->previous = conn->previous;
}

void wi_rpc_conn_free(wi_rpc_conn *conn)
{
    take_out(conn);
    weir_memory_free(conn->address->target->channel->env, conn);
}

static bool is_http1(const weir_rpc_channel *channel)
{
    return channel->config.http == WEIR_RPC_HTTP1;
}

/* ---- Failures ---- */

static const char no_calls[] = "the server takes no calls";

/* One that ends before it answered anything, or has stood a while, was as good as none; but for our
 * own doing. */
static bool was_none(const wi_rpc_conn *conn)
{
    const weir_rpc_channel *channel = conn->address->target->channel;
    uint64_t age = weir_loop_now(channel->loop) - conn->since_ns;
    return !conn->is_up ||
           (!conn->answered && !conn->cut && age < channel->config.backoff_ms * WEIR_MS);
}

static void note_why(wi_rpc_address *address, const char *why)
{
    weir_rpc_channel *channel = address->target->channel;
    snprintf(channel->why, sizeof channel->why, "%s: %s", address->target->url.authority, why);
}

static void connect_failed(wi_rpc_address *address, const char *why)
{
    weir_rpc_channel *channel = address->target->channel;
    channel->stats.connects_failed++;
    note_why(address, why);
    if (!wi_rpc_backoff_is_on(channel, &address->backoff)) /* those that failed together are one */
        wi_rpc_backoff_grow(channel, &address->backoff);
    wi_rpc_target_distrust(address->target);
}

/* ---- Which takes a call ---- */

void wi_rpc_conn_leave(wi_rpc_conn *conn)
{
    wi_rpc_address *address = conn->address;
    if (conn->leaving)
        return;
    conn->leaving = true;
    address->leaving++;
    if (conn->is_up) {
        address->up--;
        address->target->channel->stats.connected--;
    } else {
        address->connecting--;
    }
    wi_link_drain(conn->link);
}

void wi_rpc_conn_answered(wi_rpc_conn *conn)
{
    conn->answered = true;
    conn->address->backoff = (wi_rpc_backoff){ 0, 0 };
}

/* One that says it takes no more makes room for the next. */
static wi_rpc_conn *free_conn(wi_rpc_address *address)
{
    for (wi_rpc_conn *conn = address->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        if (!conn->is_up || conn->leaving)
            continue;
        weir_http_session *session = wi_link_session(conn->link);
        if (session == NULL || weir_http_session_is_closing(session)) {
            if (was_none(conn))
                connect_failed(address, no_calls);
            wi_rpc_conn_leave(conn);
            continue;
        }
        if (weir_http_session_openable(session) > 0) {
            take_out(conn); /* the pool's first is the one that was used last */
            put_first(conn);
            return conn;
        }
    }
    return NULL;
}

wi_rpc_conn *wi_rpc_conn_pick(weir_rpc_channel *channel)
{
    bool in_turn = channel->config.balance == WEIR_RPC_ROUND_ROBIN;
    wi_rpc_address *from = in_turn && channel->cursor != NULL ? channel->cursor
                                                              : channel->addresses;
    wi_rpc_address *at = from;
    if (from == NULL)
        return NULL;
    do {
        wi_rpc_conn *conn = at->up > 0 ? free_conn(at) : NULL;
        at = at->next != NULL ? at->next : channel->addresses;
        if (conn != NULL) {
            channel->cursor = at;
            return conn;
        }
    } while (at != from);
    return NULL;
}

/* ---- Dialling ---- */

static bool dial(wi_rpc_address *address)
{
    weir_rpc_channel *channel = address->target->channel;
    wi_rpc_conn *conn = weir_memory_new(channel->env, sizeof *conn);
    const char *name = channel->config.tls_name;
    weir_status status = WEIR_ENOMEM;
    if (conn != NULL) {
        wi_dial how = { .address = &address->at,
                        .tls = channel->tls,
                        .name = name != NULL ? name : address->target->url.host,
                        .user = conn };
        status = wi_links_dial(channel->links, &how, &conn->link);
    }
    channel->stats.connects++;
    if (status != WEIR_OK) {
        weir_memory_free(channel->env, conn);
        connect_failed(address, status == WEIR_ENOMEM ? "no memory" : "cannot connect");
        return false;
    }
    conn->address = address;
    conn->since_ns = weir_loop_now(channel->loop);
    put_first(conn);
    address->connecting++;
    return true;
}

static bool may_dial(const wi_rpc_address *address)
{
    const weir_rpc_channel *channel = address->target->channel;
    uint32_t has = address->up + address->connecting;
    if (address->gone || wi_rpc_backoff_is_on(channel, &address->backoff))
        return false;
    return has < (is_http1(channel) ? channel->config.connections_max : 1);
}

static uint32_t connecting(const weir_rpc_channel *channel)
{
    uint32_t n = 0;
    for (const wi_rpc_address *at = channel->addresses; at != NULL; at = at->next)
        n += at->connecting;
    return n;
}

/* One to each address; then, in a pool, as many as there are calls that wait. */
static void seek_all(weir_rpc_channel *channel)
{
    bool any = true;
    for (wi_rpc_address *at = channel->addresses; at != NULL; at = at->next)
        if (at->up + at->connecting == 0 && may_dial(at))
            (void)dial(at);
    if (!is_http1(channel))
        return;
    while (any && connecting(channel) < channel->waiting) {
        any = false;
        for (wi_rpc_address *at = channel->addresses; at != NULL; at = at->next)
            any |= connecting(channel) < channel->waiting && may_dial(at) && dial(at);
    }
}

/* The first that has connections, or that can be dialled. */
static void seek_first(weir_rpc_channel *channel)
{
    wi_rpc_address *at = channel->addresses;
    while (at != NULL && at->up + at->connecting == 0)
        at = at->next;
    for (wi_rpc_address *next = channel->addresses; at == NULL && next != NULL; next = next->next)
        if (may_dial(next) && dial(next))
            at = next;
    while (at != NULL && is_http1(channel) && at->connecting < channel->waiting && may_dial(at))
        if (!dial(at))
            return;
}

void wi_rpc_conns_seek(weir_rpc_channel *channel)
{
    wi_rpc_targets_look(channel);
    if (channel->config.balance == WEIR_RPC_ROUND_ROBIN)
        seek_all(channel);
    else
        seek_first(channel);
}

bool wi_rpc_conns_hope(const weir_rpc_channel *channel)
{
    for (const wi_rpc_address *at = channel->addresses; at != NULL; at = at->next)
        if (at->up + at->connecting > 0)
            return true;
    for (uint32_t i = 0; i < channel->target_count; i++)
        if (channel->targets[i].resolving)
            return true;
    return false;
}

/* ---- Events ---- */

static void on_up(wi_link *link, void *user)
{
    wi_rpc_conn *conn = user;
    wi_rpc_address *address = conn->address;
    weir_rpc_channel *channel = address->target->channel;
    (void)link;
    if (conn->leaving)
        return;
    conn->is_up = true;
    address->connecting--;
    address->up++;
    channel->stats.connected++;
    wi_rpc_channel_kick(channel);
}

static void on_over(wi_link *link, weir_status status, const char *why, void *user)
{
    wi_rpc_conn *conn = user;
    wi_rpc_address *address = conn->address;
    weir_rpc_channel *channel = address->target->channel;
    (void)link;
    if (conn->leaving) {
        address->leaving--;
    } else if (conn->is_up) {
        address->up--;
        channel->stats.connected--;
    } else {
        address->connecting--;
    }
    if (why[0] == '\0')
        why = status == WEIR_OK ? no_calls : weir_status_text(status);
    if (!conn->leaving && was_none(conn))
        connect_failed(address, why);
    else if (status != WEIR_OK)
        note_why(address, why);
    wi_rpc_conn_free(conn);
    wi_rpc_addresses_tidy(channel);
    wi_rpc_channel_kick(channel);
}

const wi_link_events wi_rpc_link_events = { .up = on_up, .over = on_over };
