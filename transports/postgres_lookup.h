/* A host's address without blocking, because libpq's own resolving blocks. */
#ifndef WI_POSTGRES_LOOKUP_H
#define WI_POSTGRES_LOOKUP_H

#include <weir/loop.h>

#include <stdbool.h>
#include <stddef.h>

typedef struct wi_pg_lookup wi_pg_lookup;

/* The name that has to be looked up to connect by `conninfo`, if there is one: false for a socket's
 * directory, an address, and none at all. */
bool wi_pg_conninfo_host(const char *conninfo, char *ret_host, size_t cap);

/* Looks `host` up and calls `found` once from the loop, with an address in text form, the `turn`-th
 * of those found, or NULL. NULL if that cannot be started: then `found` is not called. */
wi_pg_lookup *wi_pg_lookup_start(weir_loop *loop, const char *host, uint32_t turn,
                                 void (*found)(const char *address, void *user), void *user);
/* `found` is not called after this. NULL is fine. */
void wi_pg_lookup_cancel(wi_pg_lookup *lookup);

#endif
