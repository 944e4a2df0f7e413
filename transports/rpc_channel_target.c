/* The targets of a channel: what its text says, and the addresses that the names stand for. */
#include "rpc_client_internal.h"

#include <stdio.h>
#include <string.h>

enum { URL_MAX = WI_HTTP_HOST_MAX + 32 };

/* ---- Waiting after a failure ---- */

void wi_rpc_backoff_grow(weir_rpc_channel *channel, wi_rpc_backoff *backoff)
{
    uint64_t first = channel->config.backoff_ms * WEIR_MS;
    uint64_t most = channel->config.backoff_ms_max * WEIR_MS;
    uint64_t wait = backoff->wait_ns == 0 ? first : 2 * backoff->wait_ns;
    backoff->wait_ns = wait < most ? wait : most;
    uint64_t fifth = backoff->wait_ns / 5;
    backoff->until_ns = weir_loop_now(channel->loop) + backoff->wait_ns - fifth +
                        weir_loop_entropy(channel->loop) % (2 * fifth + 1);
}

bool wi_rpc_backoff_is_on(const weir_rpc_channel *channel, const wi_rpc_backoff *backoff)
{
    return backoff->until_ns > weir_loop_now(channel->loop);
}

/* ---- The text ---- */

/* The next of those between commas, without white space around; false: there is none. */
static bool next_url(const char **text, char *url, bool *ret_fits)
{
    const char *at = *text + strspn(*text, ", \t");
    size_t n = strcspn(at, ", \t");
    if (n == 0)
        return false;
    *ret_fits = n < URL_MAX;
    if (*ret_fits)
        memcpy(url, at, n);
    url[*ret_fits ? n : 0] = '\0';
    *text = at + n;
    return true;
}

static weir_status count_targets(weir_rpc_channel *channel, const char **ret_why)
{
    const char *text = channel->config.target;
    char url[URL_MAX];
    bool fits;
    wi_http_url parsed;
    const char *ignored;
    *ret_why = "target is missing";
    for (; text != NULL && next_url(&text, url, &fits); channel->target_count++) {
        *ret_why = "target must be http://host:port or https://host:port, several by commas, "
                   "without a path";
        if (!fits || wi_http_url_parse(url, &parsed, &ignored) != WEIR_OK)
            return WEIR_EINVAL;
        if (channel->target_count > 0 && parsed.tls != channel->is_tls) {
            *ret_why = "targets are all http, or all https";
            return WEIR_EINVAL;
        }
        channel->is_tls = parsed.tls;
    }
    if (channel->target_count > WI_RPC_TARGETS_MAX)
        *ret_why = "too many targets";
    return channel->target_count == 0 || channel->target_count > WI_RPC_TARGETS_MAX ? WEIR_EINVAL
                                                                                    : WEIR_OK;
}

/* ---- Names ---- */

static void resolved(weir_status status, void *user)
{
    wi_rpc_target *target = user;
    weir_rpc_channel *channel = target->channel;
    target->resolving = false;
    target->stale = true;
    if (status == WEIR_OK) {
        target->backoff = (wi_rpc_backoff){ 0, 0 };
    } else {
        wi_rpc_backoff_grow(channel, &target->backoff);
        snprintf(channel->why, sizeof channel->why, "%s: no such name", target->url.authority);
    }
    wi_rpc_channel_kick(channel);
}

weir_status wi_rpc_targets_make(weir_rpc_channel *channel, const char **ret_why)
{
    char url[URL_MAX];
    bool fits;
    weir_status status = count_targets(channel, ret_why);
    if (status != WEIR_OK)
        return status;
    *ret_why = "no memory";
    channel->targets = weir_memory_new(channel->env,
                                       channel->target_count * sizeof *channel->targets);
    if (channel->targets == NULL)
        return WEIR_ENOMEM;
    const char *text = channel->config.target;
    for (wi_rpc_target *at = channel->targets; next_url(&text, url, &fits); at++) {
        at->channel = channel;
        at->stale = true;
        status = wi_http_url_parse(url, &at->url, ret_why);
        if (status != WEIR_OK)
            return status;
        wi_names_config names = { .loop = channel->loop,
                                  .env = channel->env,
                                  .host = at->url.host,
                                  .port = at->url.port,
                                  .resolved = resolved,
                                  .user = at };
        *ret_why = "no memory";
        status = wi_names_new(&names, &at->names);
        if (status != WEIR_OK)
            return status;
    }
    return WEIR_OK;
}

void wi_rpc_targets_done(weir_rpc_channel *channel)
{
    while (channel->addresses != NULL) {
        wi_rpc_address *address = channel->addresses;
        channel->addresses = address->next;
        while (address->conns != NULL)
            wi_rpc_conn_free(address->conns);
        weir_memory_free(channel->env, address);
    }
    for (uint32_t i = 0; channel->targets != NULL && i < channel->target_count; i++)
        wi_names_free(channel->targets[i].names);
    weir_memory_free(channel->env, channel->targets);
    channel->targets = NULL;
}

void wi_rpc_target_distrust(wi_rpc_target *target)
{
    wi_names_distrust(target->names);
    target->stale = true;
}

/* ---- Addresses ---- */

static wi_rpc_address *find_address(wi_rpc_target *target, const wi_address *at)
{
    wi_rpc_address *address = target->channel->addresses;
    for (; address != NULL; address = address->next)
        if (address->target == target && address->at.len == at->len &&
            memcmp(&address->at.at, &at->at, at->len) == 0)
            return address;
    return NULL;
}

/* Behind the target's own, or those of the targets before it. */
static bool add_address(wi_rpc_target *target, const wi_address *at)
{
    weir_rpc_channel *channel = target->channel;
    wi_rpc_address *address = weir_memory_new(channel->env, sizeof *address);
    wi_rpc_address **place = &channel->addresses;
    if (address == NULL)
        return false;
    while (*place != NULL && (*place)->target <= target)
        place = &(*place)->next;
    address->target = target;
    address->at = *at;
    address->listed = true;
    address->next = *place;
    *place = address;
    channel->stats.addresses++;
    return true;
}

static void lose_address(wi_rpc_address *address)
{
    if (!address->gone)
        address->target->channel->stats.addresses--;
    address->gone = true;
    for (wi_rpc_conn *conn = address->conns, *next; conn != NULL; conn = next) {
        next = conn->next;
        wi_rpc_conn_leave(conn);
    }
}

static void refresh(wi_rpc_target *target)
{
    weir_rpc_channel *channel = target->channel;
    for (wi_rpc_address *at = channel->addresses; at != NULL; at = at->next)
        if (at->target == target)
            at->listed = false;
    target->stale = false;
    for (uint32_t i = 0; i < wi_names_count(target->names); i++) {
        const wi_address *named = wi_names_at(target->names, i);
        wi_rpc_address *address = find_address(target, named);
        if (address != NULL) {
            channel->stats.addresses += address->gone;
            address->listed = true;
            address->gone = false;
        } else if (!add_address(target, named)) {
            target->stale = true;
        }
    }
    for (wi_rpc_address *at = channel->addresses; at != NULL; at = at->next)
        if (at->target == target && !at->listed)
            lose_address(at);
    wi_rpc_addresses_tidy(channel);
}

void wi_rpc_addresses_tidy(weir_rpc_channel *channel)
{
    wi_rpc_address **place = &channel->addresses;
    while (*place != NULL) {
        wi_rpc_address *address = *place;
        if (!address->gone || address->conns != NULL) {
            place = &address->next;
            continue;
        }
        *place = address->next;
        if (channel->cursor == address)
            channel->cursor = address->next;
        weir_memory_free(channel->env, address);
    }
}

static void look(wi_rpc_target *target)
{
    weir_rpc_channel *channel = target->channel;
    if (target->resolving || wi_rpc_backoff_is_on(channel, &target->backoff))
        return;
    weir_status status = wi_names_ask(target->names);
    if (status == WEIR_EAGAIN) {
        target->resolving = true;
    } else if (status != WEIR_OK) {
        snprintf(channel->why, sizeof channel->why, "%s: no such name", target->url.authority);
        wi_rpc_backoff_grow(channel, &target->backoff);
    } else if (target->stale) {
        refresh(target);
    }
}

void wi_rpc_targets_look(weir_rpc_channel *channel)
{
    for (uint32_t i = 0; i < channel->target_count; i++)
        look(&channel->targets[i]);
}
