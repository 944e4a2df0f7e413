/* A host's addresses without blocking: numbers at once, the hosts file, then DNS by evdns. */
#include "wi_names.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/util.h>

#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum { TTL_MS = 30000, HOST_MAX = 256 };

struct wi_names {
    wi_names_config config;
    weir_env env; /* a copy: a lookup that was let go may end after its loop */
    char host[HOST_MAX], port[8];
    struct evdns_base *dns; /* made at the first name that is no number */
    struct evdns_getaddrinfo_request *request;
    struct event last; /* frees it after the call that ended its lookup */
    wi_address addresses[WI_ADDRESSES_MAX];
    uint32_t count;
    uint64_t good_until_ns;
    bool numeric, asking, in_call, found, is_free;
};

static void keep_addresses(wi_names *names, const struct evutil_addrinfo *list)
{
    names->count = 0;
    for (; list != NULL && names->count < WI_ADDRESSES_MAX; list = list->ai_next) {
        wi_address *address = &names->addresses[names->count];
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

weir_status wi_names_new(const wi_names_config *config, wi_names **ret_names)
{
    const weir_env *env = config->env != NULL ? config->env : weir_loop_env(config->loop);
    if (strlen(config->host) >= HOST_MAX)
        return WEIR_EINVAL;
    wi_names *names = weir_memory_new(env, sizeof *names);
    if (names == NULL)
        return WEIR_ENOMEM;
    names->config = *config;
    if (env != NULL)
        names->env = *env;
    if (config->ttl_ms == 0)
        names->config.ttl_ms = TTL_MS;
    memcpy(names->host, config->host, strlen(config->host) + 1);
    snprintf(names->port, sizeof names->port, "%u", config->port);
    struct evutil_addrinfo hints = hints_of(EVUTIL_AI_NUMERICHOST | EVUTIL_AI_NUMERICSERV);
    struct evutil_addrinfo *list = NULL;
    if (evutil_getaddrinfo(names->host, names->port, &hints, &list) == 0) {
        keep_addresses(names, list);
        names->numeric = names->count > 0;
        evutil_freeaddrinfo(list);
    }
    *ret_names = names;
    return WEIR_OK;
}

static void free_now(wi_names *names)
{
    weir_env env = names->env;
    if (names->dns != NULL)
        evdns_base_free(names->dns, 0);
    weir_memory_free(&env, names);
}

static void free_last(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    free_now(user);
}

void wi_names_free(wi_names *names)
{
    if (names == NULL)
        return;
    names->is_free = true;
    if (names->asking)
        wi_names_give_up(names);
    else
        free_now(names);
}

/* A machine without a resolv.conf still has its hosts file. */
static bool make_dns(wi_names *names)
{
    if (names->dns != NULL)
        return true;
    names->dns = evdns_base_new(weir_loop_base(names->config.loop),
                                EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (names->dns == NULL)
        return false;
    (void)evdns_base_resolv_conf_parse(names->dns, DNS_OPTIONS_ALL, "/etc/resolv.conf");
    (void)evdns_base_set_option(names->dns, "timeout:", "2");
    (void)evdns_base_set_option(names->dns, "attempts:", "2");
    return true;
}

static void tell(wi_names *names, int error)
{
    const wi_names_config *config = &names->config;
    weir_status status = names->found                 ? WEIR_OK
                         : error == EVUTIL_EAI_CANCEL ? WEIR_ECANCELED
                                                      : WEIR_EUNAVAILABLE;
    config->resolved(status, config->user);
    if (config->pending != NULL)
        config->pending(false, config->user);
}

static void on_answer(int error, struct evutil_addrinfo *list, void *user)
{
    wi_names *names = user;
    bool in_call = names->in_call;
    names->asking = false;
    names->request = NULL;
    if (error == 0)
        keep_addresses(names, list);
    if (list != NULL)
        evutil_freeaddrinfo(list);
    names->found = error == 0 && names->count > 0;
    if (names->found && !names->is_free)
        names->good_until_ns = weir_loop_now(names->config.loop) + names->config.ttl_ms * WEIR_MS;
    if (names->is_free) {
        event_active(&names->last, EV_TIMEOUT, 1);
    } else if (!in_call) {
        tell(names, error);
    }
}

static weir_status ask_dns(wi_names *names)
{
    if (weir_loop_base(names->config.loop) == NULL || !make_dns(names))
        return WEIR_ENOMEM;
    struct evutil_addrinfo hints = hints_of(EVUTIL_AI_NUMERICSERV);
    event_assign(&names->last, weir_loop_base(names->config.loop), -1, 0, free_last, names);
    names->asking = true;
    names->in_call = true;
    struct evdns_getaddrinfo_request *request =
        evdns_getaddrinfo(names->dns, names->host, names->port, &hints, on_answer, names);
    names->in_call = false;
    if (!names->asking) /* the hosts file had it, or nobody can be asked */
        return names->found ? WEIR_OK : WEIR_EUNAVAILABLE;
    names->request = request;
    if (names->config.pending != NULL)
        names->config.pending(true, names->config.user);
    return WEIR_EAGAIN;
}

weir_status wi_names_ask(wi_names *names)
{
    if (names->asking)
        return WEIR_EAGAIN;
    if (names->numeric ||
        (names->count > 0 && weir_loop_now(names->config.loop) < names->good_until_ns))
        return WEIR_OK;
    return ask_dns(names);
}

void wi_names_give_up(wi_names *names)
{
    if (names->asking && names->request != NULL) {
        struct evdns_getaddrinfo_request *request = names->request;
        names->request = NULL;
        evdns_getaddrinfo_cancel(request);
    }
}

void wi_names_distrust(wi_names *names)
{
    names->good_until_ns = 0;
}

uint32_t wi_names_count(const wi_names *names)
{
    return names->count;
}

const wi_address *wi_names_at(const wi_names *names, uint32_t index)
{
    return &names->addresses[index % names->count];
}
