/* PostgreSQL as pipeline stages: libpq in pipeline mode on the loop, reconnecting by itself.
 *
 * Statements are sent as they come, many in flight on a connection, in groups that commit together
 * (a sync per group). An item goes on only after its group's commit was acknowledged. A statement
 * that fails rolls its group back; the group is then split and sent again until the culprit stands
 * alone, so that a failing row fails its own item only.
 *
 * A lost connection is made again, with exponential backoff and jitter, while the stage's demand is
 * withheld once no connection is left. What was in flight on it is sent again if the statement is
 * declared idempotent; otherwise it fails with WEIR_EUNAVAILABLE, its outcome unknown.
 *
 * Built without libpq, every factory gives a spec whose check fails with WEIR_EUNSUPPORTED. */
#ifndef WEIR_POSTGRES_H
#define WEIR_POSTGRES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Parameters: filled by `bind`, on the loop thread ---- */

typedef struct weir_postgres_params weir_postgres_params;

#define WEIR_POSTGRES_PARAMS_MAX 64

/* Set parameter `index` (from 1, as in SQL). The value is copied. What is not set is NULL. The
 * first error (index out of range, a NUL in a text, too many bytes, no memory) is latched and fails
 * the item with WEIR_EINVAL, WEIR_ELIMIT or WEIR_ENOMEM, so `bind` needs no checks. All but
 * `_binary` travel as text, which the server converts to the parameter's type. Inside `bind` only.
 */
WEIR_API void weir_postgres_bind_null(weir_postgres_params *params, uint32_t index);
WEIR_API void weir_postgres_bind_bool(weir_postgres_params *params, uint32_t index, bool value);
WEIR_API void weir_postgres_bind_int(weir_postgres_params *params, uint32_t index, int64_t value);
/* In the fewest digits that read back as the same number. */
WEIR_API void weir_postgres_bind_double(weir_postgres_params *params, uint32_t index, double value);
/* `bytes` of UTF-8, no NUL needed, none allowed within. */
WEIR_API void weir_postgres_bind_text(weir_postgres_params *params, uint32_t index,
                                      const char *text, size_t bytes);
/* In the binary format of the parameter's type. Not for weir_postgres_insert. */
WEIR_API void weir_postgres_bind_binary(weir_postgres_params *params, uint32_t index,
                                        const void *data, size_t bytes);

/* ---- Results: read in `result`, on the loop thread; all borrowed for that call ---- */

typedef struct weir_postgres_result weir_postgres_result;

/* Rows that the statement inserted, updated, deleted or selected. */
WEIR_API uint64_t weir_postgres_changes(const weir_postgres_result *result);
WEIR_API uint32_t weir_postgres_rows(const weir_postgres_result *result);
WEIR_API uint32_t weir_postgres_columns(const weir_postgres_result *result);
/* A value as text, followed by a NUL; NULL for SQL's NULL and out of range. Rows and columns count
 * from 0. ret_bytes may be NULL. */
WEIR_API const char *weir_postgres_value(const weir_postgres_result *result, uint32_t row,
                                         uint32_t column, size_t *ret_bytes);

/* ---- Stages ---- */

/* Where the server is and how to be connected to it. Strings are borrowed until the pipeline is
 * freed. */
typedef struct weir_postgres_server {
    /* A URL (postgresql://…) or keywords, as libpq takes them, with one host at most. Required.
     * https://www.postgresql.org/docs/15/libpq-connect.html#LIBPQ-CONNSTRING */
    const char *conninfo;
    /* SQL run on each new connection before any statement, any number of statements, in one
     * transaction, one connection at a time. NULL: none. */
    const char *schema;
    uint32_t connections;    /* of each replica, 1..64; 0: 2 */
    uint32_t connect_ms;     /* until a connection is ready; 0: 5000 */
    uint32_t statement_ms;   /* the server's statement_timeout; 0: 5000. A connection that owes an
                                answer for twice as long is given up */
    uint32_t backoff_ms;     /* first wait before connecting again, doubled each time; 0: 50 */
    uint32_t backoff_ms_max; /* 0: 5000 */
} weir_postgres_server;

typedef struct weir_postgres_config {
    weir_postgres_server server;
    const char *statement; /* one statement, prepared on each connection. Required */
    /* Running it twice does no harm (an upsert, a select): it is sent again after a connection
     * loss. The second time it may report the row of the first as already there. */
    bool idempotent;
    /* Sets the parameters from the item (borrowed); called again if it is sent again. NULL: the
     * statement has none. Not WEIR_OK: the item fails with it. Loop thread. */
    weir_status (*bind)(weir_item *item, weir_postgres_params *params, void *user);
    /* After the commit. Not WEIR_OK: the item fails with it. Loop thread. Optional. The result is
     * in memory as a whole: a select should have a LIMIT. */
    weir_status (*result)(weir_item *item, const weir_postgres_result *result, void *user);
    void *user;
    uint32_t in_flight;  /* items under way in each replica, 1..65536; 0: 256 for each connection */
    uint32_t group_max;  /* statements that commit together, 1..256; 0: 64 */
    bool unordered;      /* emit as they finish; default: in the order of arrival */
    uint32_t timeout_ms; /* each item; 0: none beyond its context's deadline */
    uint32_t bytes_max;  /* of one item's parameters; 0: 1 MiB */
} weir_postgres_config;

/* A stage that runs a statement for each item: one input, one output (or none). Errors of an item:
 * WEIR_EEXIST (unique violation), WEIR_EREJECTED (any other constraint), WEIR_EINVAL (data, SQL),
 * WEIR_EDEADLINE (statement_ms), WEIR_EDENIED, WEIR_EUNAVAILABLE (connection lost and not
 * idempotent, server out of resources), WEIR_EIO. Given up before it was sent (deadline, cancel),
 * an item is not written; after that it may have been. NULL for want of memory. */
WEIR_API weir_stage_spec *weir_postgres_exec(const weir_postgres_config *config);

/* The same for a statement that reads: idempotent, in read-only transactions. */
WEIR_API weir_stage_spec *weir_postgres_query(const weir_postgres_config *config);

typedef struct weir_postgres_column {
    const char *name; /* as in SQL: quoted by the caller where it needs to be */
    const char *type; /* text, float8, numeric, timestamptz, … */
} weir_postgres_column;

typedef struct weir_postgres_insert_config {
    weir_postgres_server server;
    const char *table;                   /* as in SQL. Required */
    const weir_postgres_column *columns; /* borrowed; parameter i is column i - 1. Required */
    uint32_t columns_n;                  /* 1..WEIR_POSTGRES_PARAMS_MAX */
    /* The column with the unique key: a row whose key is there already is left as it is, so the
     * insert is idempotent. NULL: none, then a duplicate fails, as does what was in flight on a
     * lost connection. */
    const char *key;
    weir_status (*bind)(weir_item *item, weir_postgres_params *params, void *user);
    /* After the commit; was the row inserted, or found? After a connection loss a row inserted just
     * before it counts as found. Not WEIR_OK: the item fails with it. Loop thread. Optional. */
    weir_status (*result)(weir_item *item, bool inserted, void *user);
    void *user;
    uint32_t in_flight; /* items under way in each replica, 1..65536; 0: 1024 */
    uint32_t group_max; /* rows in a statement, 1..4096; 0: 500 */
    bool unordered;     /* as in weir_postgres_config, like all below */
    uint32_t timeout_ms;
    uint32_t bytes_max;
} weir_postgres_insert_config;

/* A stage that inserts many items' rows by one statement (INSERT … SELECT … FROM unnest): all that
 * gathered while the statement before was under way. One statement, one flush of the log, so this
 * is the fast way to store rows. Errors as weir_postgres_exec. */
WEIR_API weir_stage_spec *weir_postgres_insert(const weir_postgres_insert_config *config);

/* ---- Is the store well? ---- */

typedef struct weir_postgres_probe weir_postgres_probe;

/* Gives a probe with a connection of its own, kept between questions (server: strings copied;
 * `schema` and `connections` have no meaning). Loop thread only, like all below. WEIR_EINVAL for a
 * conninfo that is none, WEIR_EUNSUPPORTED without libpq. */
WEIR_API weir_status weir_postgres_probe_new(weir_loop *loop, const weir_postgres_server *server,
                                             weir_postgres_probe **ret_probe) WEIR_MUST_USE;
/* Takes the probe; `answered` is not called after it. NULL is fine. */
WEIR_API void weir_postgres_probe_free(weir_postgres_probe *probe);
/* Runs a SELECT, then calls `answered`: WEIR_OK, or WEIR_EUNAVAILABLE after `timeout_ms` (0: 1000)
 * without an answer. WEIR_EAGAIN while a question is under way. */
WEIR_API weir_status weir_postgres_probe_ask(weir_postgres_probe *probe, uint32_t timeout_ms,
                                             void (*answered)(weir_status status, void *user),
                                             void *user) WEIR_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
