/* Names to addresses without blocking: numbers at once, the hosts file, then DNS by evdns. */
#include "http_client_internal.h"

#include <event2/dns.h>
#include <event2/util.h>

#include <stdio.h>
#include <string.h>

struct wi_http_names {
    wi_http_client *client;
    wi_http_resolved resolved;
    struct evdns_base *dns; /* made at the first name that is no number */
    struct evdns_getaddrinfo_request *request;
    wi_http_address addresses[WI_HTTP_ADDRESSES_MAX];
    uint32_t count;
    uint64_t good_until_ns;
    bool numeric, asking, in_call, found;
};

static void keep_addresses(wi_http_names *names, const struct evutil_addrinfo *list)
{
    names->count = 0;
    for (; list != NULL && names->count < WI_HTTP_ADDRESSES_MAX; list = list->ai_next) {
        wi_http_address *address = &names->addresses[names->count];
        if (list->ai_addrlen > sizeof address->at)
            continue;
        memcpy(&address->at, list->ai_addr, list->ai_addrlen);
        address->len = (socklen_t)list->ai_addrlen;
        names->count++;
    }
}

static struct evutil_addrinfo hints_of(int flags)
{
    return (struct evutil_addrinfo){
        .ai_family = AF_UNSPEC,
        .ai_socktype = SOCK_STREAM,
        .ai_protocol = IPPROTO_TCP,
        .ai_flags = flags,
    };
}

weir_status wi_http_names_new(wi_http_client *client, wi_http_resolved resolved,
                              wi_http_names **ret_names)
{
    wi_http_names *names = weir_memory_new(client->env, sizeof *names);
    if (names == NULL)
        return WEIR_ENOMEM;
    names->client = client;
    names->resolved = resolved;
    struct evutil_addrinfo hints = hints_of(EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV);
    struct evutil_addrinfo *list = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", client->url.port);
    if (evutil_getaddrinfo(client->url.host, port, &hints, &list) == 0) {
        keep_addresses(names, list);
        names->numeric = names->count > 0;
        evutil_freeaddrinfo(list);
    }
    *ret_names = names;
    return WEIR_OK;
}

void wi_http_names_free(wi_http_names *names)
{
    if (names == NULL)
        return;
    if (names->dns != NULL)
        evdns_base_free(names->dns, 0);
    weir_memory_free(names->client->env, names);
}

/* A machine without a resolv.conf still has its hosts file. */
static bool make_dns(wi_http_names *names)
{
    if (names->dns != NULL)
        return true;
    names->dns = evdns_base_new(names->client->base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (names->dns == NULL)
        return false;
    (void)evdns_base_resolv_conf_parse(names->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    (void)evdns_base_set_option(names->dns, "timeout:", "2");
    (void)evdns_base_set_option(names->dns, "attempts:", "2");
    return true;
}

static void on_answer(int error, struct evutil_addrinfo *list, void *user)
{
    wi_http_names *names = user;
    wi_http_client *client = names->client;
    bool in_call = names->in_call;
    names->asking = false;
    names->request = NULL;
    if (error == 0)
        keep_addresses(names, list);
    if (list != NULL)
        evutil_freeaddrinfo(list);
    names->found = error == 0 && names->count > 0;
    if (names->found)
        names->good_until_ns = weir_loop_now(client->loop) + client->config.name_ttl_ms * WEIR_MS;
    if (in_call)
        return;
    names->resolved(client, names->found                 ? WEIR_OK
                            : error == EVUTIL_EAI_CANCEL ? WEIR_ECANCELED
                                                         : WEIR_EUNAVAILABLE);
    weir_stage_release(client->stage);
}

static weir_status ask_dns(wi_http_names *names)
{
    if (!make_dns(names))
        return WEIR_ENOMEM;
    char port[8];
    snprintf(port, sizeof port, "%u", names->client->url.port);
    struct evutil_addrinfo hints = hints_of(EVUTIL_AI_NUMERICSERV);
    names->asking = true;
    names->in_call = true;
    struct evdns_getaddrinfo_request *request =
        evdns_getaddrinfo(names->dns, names->client->url.host, port, &hints, on_answer, names);
    names->in_call = false;
    if (!names->asking) /* the hosts file had it, or nobody can be asked */
        return names->found ? WEIR_OK : WEIR_EUNAVAILABLE;
    names->request = request;
    weir_stage_hold(names->client->stage);
    return WEIR_EAGAIN;
}

weir_status wi_http_names_ask(wi_http_names *names)
{
    if (names->asking)
        return WEIR_EAGAIN;
    if (names->numeric ||
        (names->count > 0 && weir_loop_now(names->client->loop) < names->good_until_ns))
        return WEIR_OK;
    return ask_dns(names);
}

void wi_http_names_give_up(wi_http_names *names)
{
    if (names->asking && names->request != NULL) {
        struct evdns_getaddrinfo_request *request = names->request;
        names->request = NULL;
        evdns_getaddrinfo_cancel(request);
    }
}

void wi_http_names_distrust(wi_http_names *names)
{
    names->good_until_ns = 0;
}

uint32_t wi_http_names_count(const wi_http_names *names)
{
    return names->count;
}

const wi_http_address *wi_http_names_at(const wi_http_names *names, uint32_t index)
{
    return &names->addresses[index % names->count];
}
