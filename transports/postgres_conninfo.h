/* What a connection string says of hosts: libpq would look their names up, and block. */
#ifndef WI_POSTGRES_CONNINFO_H
#define WI_POSTGRES_CONNINFO_H

#include <weir/status.h>

#include <stdbool.h>
#include <stddef.h>

/* Says whether libpq understands the string and we support it; *why is a static text. */
weir_status wi_pg_conninfo_check(const char *conninfo, const char **why);
/* The name that has to be looked up to connect by `conninfo`, if there is one: false for a socket's
 * directory, an address, and none at all. */
bool wi_pg_conninfo_host(const char *conninfo, char *ret_host, size_t cap);

#endif
