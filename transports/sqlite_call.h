/* What the loop side and the thread side of the SQLite stages share: values, calls, and the open
 * database. */
#ifndef WI_SQLITE_CALL_H
#define WI_SQLITE_CALL_H

#include <weir/async.h>
#include <weir/offload.h>
#include <weir/sqlite.h>

typedef struct wi_sqlite_cell {
    weir_sqlite_kind kind;
    uint32_t bytes;
    union {
        int64_t integer;
        double real;
        size_t offset; /* into the text of its cells: that may move */
    } is;
} wi_sqlite_cell;

/* Values copied out of items and rows. Kept from use to use, so that it stops growing. */
typedef struct wi_sqlite_cells {
    const weir_env *env;
    wi_sqlite_cell *cells;
    char *text;
    size_t n, cap, n_max;
    size_t used, text_cap;     /* of text, with a NUL after each value */
    size_t payload, bytes_max; /* the values alone */
    weir_status status;        /* the first error */
} wi_sqlite_cells;

void wi_sqlite_cells_clear(wi_sqlite_cells *cells);
void wi_sqlite_cells_done(wi_sqlite_cells *cells);
/* Appends, or latches an error in cells->status and gives NULL. */
wi_sqlite_cell *wi_sqlite_cells_add(wi_sqlite_cells *cells, weir_sqlite_kind kind);
/* Copies bytes behind a cell, with a NUL after them. */
void wi_sqlite_cells_put(wi_sqlite_cells *cells, wi_sqlite_cell *cell, const void *data,
                         size_t bytes);

struct weir_sqlite_params {
    wi_sqlite_cells cells;
};

struct weir_sqlite_row {
    const wi_sqlite_cells *cells;
    size_t first;
    uint32_t columns;
};

/* One item's statement on its way to the thread and back. */
typedef struct wi_sqlite_call {
    weir_job job; /* job.work is the call */
    weir_op *op;
    struct wi_sqlite_call *next_made; /* all calls of a replica, to free them */
    int given_up;                     /* atomic: set on the loop, read on the thread */
    weir_sqlite_params params;
    wi_sqlite_cells results;
    uint32_t columns;
    uint64_t rows, changes;
    weir_status status;
    const char *why;
} wi_sqlite_call;

#if WEIR_HAVE_SQLITE
/* An open database and its prepared statement, on a pool thread. */
typedef struct wi_sqlite_db wi_sqlite_db;

weir_status wi_sqlite_db_open(const weir_sqlite_config *config, const weir_env *env, bool writes,
                              wi_sqlite_db **ret_db);
void wi_sqlite_db_close(wi_sqlite_db *db);
/* Do jobs whose work is a wi_sqlite_call: in one transaction, or each on its own. */
void wi_sqlite_db_write(wi_sqlite_db *db, weir_job **jobs, size_t n);
void wi_sqlite_db_read(wi_sqlite_db *db, weir_job **jobs, size_t n);
/* Reads something from the file. */
weir_status wi_sqlite_db_ping(const char *path, const weir_env *env);
#endif

#endif
