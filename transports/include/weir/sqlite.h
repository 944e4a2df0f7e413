/* SQLite as pipeline stages: durable writes by group commit, reads beside them, off the loop.
 *
 * All replicas of a write stage share one writer: one connection on one pool thread, which takes
 * what has gathered (up to `group_max` items) into one transaction, and answers after its COMMIT.
 * Parameters are copied on the loop thread before, rows after: an item is never touched elsewhere.
 *
 * Built without SQLite, every factory gives a spec whose check fails with WEIR_EUNSUPPORTED. */
#ifndef WEIR_SQLITE_H
#define WEIR_SQLITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Parameters: filled by `bind`, on the loop thread ---- */

typedef struct weir_sqlite_params weir_sqlite_params;

/* Parameters a statement may have, and columns a result may have. */
#define WEIR_SQLITE_PARAMS_MAX 64

/* Set parameter `index` (from 1, as in SQL). The value is copied. What is not set is NULL. The
 * first error (index out of range, too many bytes, no memory) is latched and fails the item, so
 * `bind` needs no checks. NaN is NULL, as SQLite has it. Inside `bind` only. */
WEIR_API void weir_sqlite_bind_null(weir_sqlite_params *params, uint32_t index);
WEIR_API void weir_sqlite_bind_int(weir_sqlite_params *params, uint32_t index, int64_t value);
WEIR_API void weir_sqlite_bind_double(weir_sqlite_params *params, uint32_t index, double value);
/* `bytes` of UTF-8, no NUL needed. */
WEIR_API void weir_sqlite_bind_text(weir_sqlite_params *params, uint32_t index, const char *text,
                                    size_t bytes);
WEIR_API void weir_sqlite_bind_blob(weir_sqlite_params *params, uint32_t index, const void *blob,
                                    size_t bytes);

/* ---- Rows: read in `row`, on the loop thread; all borrowed for that call ---- */

typedef struct weir_sqlite_row weir_sqlite_row;

typedef enum weir_sqlite_kind {
    WEIR_SQLITE_NULL,
    WEIR_SQLITE_INT,
    WEIR_SQLITE_DOUBLE,
    WEIR_SQLITE_TEXT,
    WEIR_SQLITE_BLOB
} weir_sqlite_kind;

WEIR_API uint32_t weir_sqlite_columns(const weir_sqlite_row *row);
/* Columns count from 0; one out of range reads as NULL. */
WEIR_API weir_sqlite_kind weir_sqlite_kind_of(const weir_sqlite_row *row, uint32_t column);
/* The number, converted between the two number kinds; 0 for any other kind. */
WEIR_API int64_t weir_sqlite_int(const weir_sqlite_row *row, uint32_t column);
WEIR_API double weir_sqlite_double(const weir_sqlite_row *row, uint32_t column);
/* The bytes of a text or blob, followed by a NUL; NULL for any other kind. ret_bytes may be NULL.
 */
WEIR_API const char *weir_sqlite_text(const weir_sqlite_row *row, uint32_t column,
                                      size_t *ret_bytes);

/* ---- Stages ---- */

typedef enum weir_sqlite_sync {
    WEIR_SQLITE_FULL,   /* synced to the disk before the answer: survives a power cut */
    WEIR_SQLITE_NORMAL, /* survives a crash of the process, may lose the last ones in a power cut */
    WEIR_SQLITE_OFF     /* for data that can be made again */
} weir_sqlite_sync;

/* Counters, written by the writer's thread. Zero it first; read it with weir_sqlite_stats_get. */
typedef struct weir_sqlite_stats {
    uint64_t groups;      /* transactions committed */
    uint64_t rows;        /* items committed in them */
    uint64_t rows_failed; /* items that failed alone */
    uint64_t regrouped;   /* groups that were rolled back and done again row by row */
} weir_sqlite_stats;

/* Strings and pointers are borrowed until the pipeline is freed. */
typedef struct weir_sqlite_config {
    const char *path;      /* the file, made if missing. Required; no URI */
    const char *schema;    /* SQL run once at open, any number of statements. NULL: none */
    const char *statement; /* one statement, prepared once. Required */
    /* Sets the parameters from the item (borrowed). Loop thread. NULL: the statement has none. Not
     * WEIR_OK: the item fails with it. */
    weir_status (*bind)(weir_item *item, weir_sqlite_params *params, void *user);
    /* For each row, in order, once the work is durable. Loop thread. Optional. Not WEIR_OK: the
     * item fails with it, though its statement was committed. */
    weir_status (*row)(weir_item *item, const weir_sqlite_row *row, void *user);
    /* After the rows: `changes` rows were inserted, updated or deleted (an upsert that found its
     * row and did nothing says 0), `rows` were returned. As `row` otherwise. */
    weir_status (*result)(weir_item *item, uint64_t changes, uint64_t rows, void *user);
    void *user;
    weir_sqlite_sync synchronous; /* 0: FULL */
    uint32_t in_flight;           /* items under way in each replica, 1..65536; 0: 1024 */
    bool unordered;               /* emit as they finish; default: in the order of arrival */
    uint32_t timeout_ms;          /* each item; 0: none beyond its context's deadline */
    uint32_t group_max;           /* items in a transaction, 1..4096; 0: 512 */
    uint32_t busy_ms;             /* wait for a lock of another process; 0: 5000 */
    uint32_t rows_max;            /* rows an item may get; 0: 1000; more: WEIR_ELIMIT */
    uint32_t bytes_max; /* of one item's parameters, and of its rows; 0: 1 MiB; more: WEIR_ELIMIT */
    weir_sqlite_stats *stats; /* counts there; optional */
} weir_sqlite_config;

/* A stage that writes: one input, one output (or none). Each item is emitted after the COMMIT that
 * holds its row. A failing row fails its own item, never the rest of its group:
 * WEIR_EEXIST (unique or primary key), WEIR_EREJECTED (any other constraint), WEIR_EUNAVAILABLE
 * (locked, full), WEIR_EIO, WEIR_EDENIED, WEIR_EINVAL, WEIR_ELIMIT. Given up before the writer got
 * to it (deadline, cancel), an item is not written; after that it may have been.
 * An open that fails (path, schema, statement) stops the pipeline. NULL for want of memory. */
WEIR_API weir_stage_spec *weir_sqlite_exec(const weir_sqlite_config *config);

/* A stage that reads: a connection of its own on a pool thread of its own, beside the writer (WAL),
 * so it sees every write that was answered. It opens at the first item, and again until that
 * succeeds: the file and its tables may come later. `schema`, `synchronous`, `group_max` and
 * `stats` have no meaning here, a statement that writes fails. */
WEIR_API weir_stage_spec *weir_sqlite_query(const weir_sqlite_config *config);

/* Reads the counters. Any thread. */
WEIR_API void weir_sqlite_stats_get(const weir_sqlite_stats *stats, weir_sqlite_stats *ret_stats);

/* ---- Is the store well? ---- */

typedef struct weir_sqlite_probe weir_sqlite_probe;

/* Gives a probe of the database at `path` (copied), which must exist by the first question. It
 * has a thread that sleeps between questions. Loop thread only, like all below. WEIR_EUNSUPPORTED
 * without SQLite. */
WEIR_API weir_status weir_sqlite_probe_new(weir_loop *loop, const char *path,
                                           weir_sqlite_probe **ret_probe) WEIR_MUST_USE;
/* Takes the probe; `answered` is not called after it. With a question under way the memory goes
 * with the answer, so the loop must still turn. NULL is fine. */
WEIR_API void weir_sqlite_probe_free(weir_sqlite_probe *probe);
/* Reads the database off the loop, then calls `answered` on the loop: WEIR_OK, or what is wrong.
 * WEIR_EAGAIN while a question is under way. */
WEIR_API weir_status weir_sqlite_probe_ask(weir_sqlite_probe *probe,
                                           void (*answered)(weir_status status, void *user),
                                           void *user) WEIR_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
