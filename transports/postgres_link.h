/* One PostgreSQL connection on a loop: connects, sets up, pipelines, and comes back when lost. */
#ifndef WI_POSTGRES_LINK_H
#define WI_POSTGRES_LINK_H

#include <weir/loop.h>
#include <weir/postgres.h>

#if WEIR_HAVE_POSTGRES
#include <libpq-fe.h>

typedef struct wi_pg_link wi_pg_link;

typedef struct wi_pg_link_config {
    weir_loop *loop;
    weir_postgres_server server; /* strings borrowed for the link's life */
    const char *statement;       /* prepared as WI_PG_STATEMENT */
    bool reads_only;
    /* Ready for statements. */
    void (*up)(wi_pg_link *link, void *user);
    /* Was up, and all that was not acknowledged is lost. */
    void (*down)(wi_pg_link *link, void *user);
    /* The result of the next statement, in order; takes it. */
    void (*result)(wi_pg_link *link, PGresult *result, void *user);
    /* The next sync was reached: what was before it is committed, unless one of it failed. */
    void (*synced)(wi_pg_link *link, void *user);
    /* What came in was handled: a moment to send more. */
    void (*idle)(wi_pg_link *link, void *user);
    void *user;
} wi_pg_link_config;

/* Starts connecting. NULL for want of memory. */
wi_pg_link *wi_pg_link_new(const wi_pg_link_config *config);
/* Calls nothing back. */
void wi_pg_link_free(wi_pg_link *link);
bool wi_pg_link_is_up(const wi_pg_link *link);

/* Queue the statement with these parameters, and a sync. False: the connection is broken, to be
 * given up with wi_pg_link_lose when the caller's own state is in order. */
bool wi_pg_link_send(wi_pg_link *link, int n, const char *const *values, const int *bytes,
                     const int *formats);
bool wi_pg_link_sync(wi_pg_link *link);
/* Gives the connection up (calls `down` if it was up) and connects again after a while. */
void wi_pg_link_lose(wi_pg_link *link, const char *why);

weir_status wi_pg_status(const PGresult *result, const char **ret_why);
/* The failure is the server's going away, not the statement's. */
bool wi_pg_is_shutdown(const PGresult *result);
/* Trying again may succeed: a deadlock or a serialization failure. */
bool wi_pg_is_conflict(const PGresult *result);
#endif

#endif
