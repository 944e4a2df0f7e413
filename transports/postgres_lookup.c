/* A host's address without blocking, because libpq's own resolving blocks. */
#include "postgres_link.h"

#if WEIR_HAVE_POSTGRES

#include "postgres_lookup.h"

#include <event2/dns.h>
#include <event2/event.h>
#include <event2/util.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* It lives until libevent's answer has come and the turn is over: evdns may not be freed beneath
 * its own callback. */
struct wi_pg_lookup {
    weir_loop *loop;
    const weir_env *env;
    struct evdns_base *dns;
    struct evdns_getaddrinfo_request *request;
    weir_timer after;
    uint32_t turn;
    bool is_answered, is_canceled;
    void (*found)(const char *address, void *user);
    void *user;
    char address[INET6_ADDRSTRLEN];
};

static bool is_address(const char *host)
{
    struct in6_addr ignored;
    return inet_pton(AF_INET, host, &ignored) == 1 || inet_pton(AF_INET6, host, &ignored) == 1;
}

static const char *option(const PQconninfoOption *options, const char *keyword,
                          const char *variable)
{
    for (; options != NULL && options->keyword != NULL; options++)
        if (strcmp(options->keyword, keyword) == 0 && options->val != NULL &&
            options->val[0] != '\0')
            return options->val;
    return getenv(variable);
}

bool wi_pg_conninfo_host(const char *conninfo, char *ret_host, size_t cap)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    const char *host = option(options, "host", "PGHOST");
    bool has_address = option(options, "hostaddr", "PGHOSTADDR") != NULL;
    bool needed = !has_address && host != NULL && host[0] != '\0' && host[0] != '/' &&
                  host[0] != '@' && !is_address(host) && strlen(host) < cap;
    if (needed)
        memcpy(ret_host, host, strlen(host) + 1);
    PQconninfoFree(options);
    return needed;
}

weir_status wi_pg_conninfo_check(const char *conninfo, const char **why)
{
    if (conninfo == NULL || conninfo[0] == '\0') {
        *why = "postgres needs a conninfo";
        return WEIR_EINVAL;
    }
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    if (options == NULL) {
        *why = "the conninfo is neither a URL nor keywords";
        return WEIR_EINVAL;
    }
    const char *host = option(options, "host", "PGHOST");
    bool is_list = host != NULL && (strchr(host, ',') != NULL || strlen(host) > 255);
    PQconninfoFree(options);
    if (is_list) {
        *why = "the conninfo names several hosts";
        return WEIR_EUNSUPPORTED;
    }
    return WEIR_OK;
}

static void lookup_free(wi_pg_lookup *lookup)
{
    evdns_base_free(lookup->dns, 0);
    weir_memory_free(lookup->env, lookup);
}

static void after_answer(weir_timer *timer, void *user)
{
    (void)timer;
    wi_pg_lookup *lookup = user;
    if (!lookup->is_canceled)
        lookup->found(lookup->address[0] == '\0' ? NULL : lookup->address, lookup->user);
    lookup_free(lookup);
}

static void pick_address(wi_pg_lookup *lookup, const struct evutil_addrinfo *list)
{
    uint32_t n = 0;
    for (const struct evutil_addrinfo *a = list; a != NULL; a = a->ai_next)
        n++;
    if (n == 0)
        return;
    const struct evutil_addrinfo *chosen = list;
    for (uint32_t i = lookup->turn % n; i > 0; i--)
        chosen = chosen->ai_next;
    const void *bytes = chosen->ai_family == AF_INET6
                            ? (const void *)&((struct sockaddr_in6 *)chosen->ai_addr)->sin6_addr
                            : (const void *)&((struct sockaddr_in *)chosen->ai_addr)->sin_addr;
    if (inet_ntop(chosen->ai_family, bytes, lookup->address, sizeof lookup->address) == NULL)
        lookup->address[0] = '\0';
}

static void on_addresses(int error, struct evutil_addrinfo *list, void *user)
{
    wi_pg_lookup *lookup = user;
    lookup->is_answered = true;
    lookup->request = NULL;
    if (error == 0)
        pick_address(lookup, list);
    if (list != NULL)
        evutil_freeaddrinfo(list);
    weir_timer_start(lookup->loop, &lookup->after, 0, after_answer, lookup);
}

wi_pg_lookup *wi_pg_lookup_start(weir_loop *loop, const char *host, uint32_t turn,
                                 void (*found)(const char *address, void *user), void *user)
{
    const weir_env *env = weir_loop_env(loop);
    wi_pg_lookup *lookup = weir_memory_new(env, sizeof *lookup);
    if (lookup == NULL)
        return NULL;
    *lookup =
        (wi_pg_lookup){ .loop = loop, .env = env, .turn = turn, .found = found, .user = user };
    struct event_base *base = weir_loop_base(loop);
    int flags = EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE;
    lookup->dns = evdns_base_new(base, flags);
    if (lookup->dns == NULL) { /* no name server: /etc/hosts may still know it */
        lookup->dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
        if (lookup->dns != NULL)
            (void)evdns_base_load_hosts(lookup->dns, "/etc/hosts");
    }
    if (lookup->dns == NULL) {
        weir_memory_free(env, lookup);
        return NULL;
    }
    struct evutil_addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    struct evdns_getaddrinfo_request *request = evdns_getaddrinfo(lookup->dns, host, NULL, &hints,
                                                                  on_addresses, lookup);
    if (!lookup->is_answered)
        lookup->request = request;
    return lookup;
}

void wi_pg_lookup_cancel(wi_pg_lookup *lookup)
{
    if (lookup == NULL)
        return;
    lookup->is_canceled = true;
    if (lookup->is_answered) {
        weir_timer_stop(lookup->loop, &lookup->after);
        lookup_free(lookup);
    } else if (lookup->request != NULL) {
        evdns_getaddrinfo_cancel(lookup->request);
    }
}

#endif
