/* What a connection string says of hosts: libpq would look their names up, and block. */
#include "postgres_conninfo.h"
#include "postgres_link.h"

#if WEIR_HAVE_POSTGRES

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

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

#endif
