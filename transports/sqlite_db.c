/* The thread side of the SQLite stages: one connection, group commit, and reads. */
#include "sqlite_call.h"

#if WEIR_HAVE_SQLITE

#include <sqlite3.h>

#include <string.h>

struct wi_sqlite_db {
    const weir_sqlite_config *config;
    const weir_env *env;
    sqlite3 *handle;
    sqlite3_stmt *begin, *commit, *rollback, *statement;
};

static weir_status status_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return WEIR_OK;
    case SQLITE_CONSTRAINT:
        if (code == SQLITE_CONSTRAINT_PRIMARYKEY || code == SQLITE_CONSTRAINT_UNIQUE ||
            code == SQLITE_CONSTRAINT_ROWID)
            return WEIR_EEXIST;
        return WEIR_EREJECTED;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_FULL:
    case SQLITE_CANTOPEN:
        return WEIR_EUNAVAILABLE;
    case SQLITE_NOMEM:
        return WEIR_ENOMEM;
    case SQLITE_TOOBIG:
        return WEIR_ELIMIT;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return WEIR_EDENIED;
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_MISMATCH:
    case SQLITE_RANGE:
        return WEIR_EINVAL;
    default:
        return WEIR_EIO;
    }
}

/* ---- Open and close ---- */

static int prepare(wi_sqlite_db *db, const char *sql, sqlite3_stmt **ret_statement)
{
    return sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, ret_statement, NULL);
}

/* Prepares the stage's statement; text after it would never run, so it is refused. */
static int prepare_only(wi_sqlite_db *db, const char *sql)
{
    const char *tail = "";
    int code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &db->statement,
                                  &tail);
    if (code != SQLITE_OK)
        return code;
    return db->statement == NULL || tail[strspn(tail, " \t\r\n;")] != '\0' ? SQLITE_MISUSE : code;
}

static int set_up_writer(wi_sqlite_db *db)
{
    static const char *const synchronous[] = { "PRAGMA synchronous=FULL",
                                               "PRAGMA synchronous=NORMAL",
                                               "PRAGMA synchronous=OFF" };
    int code = sqlite3_exec(db->handle, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(db->handle, synchronous[db->config->synchronous], NULL, NULL, NULL);
    if (code == SQLITE_OK && db->config->schema != NULL)
        code = sqlite3_exec(db->handle, db->config->schema, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = prepare(db, "BEGIN IMMEDIATE", &db->begin);
    if (code == SQLITE_OK)
        code = prepare(db, "COMMIT", &db->commit);
    if (code == SQLITE_OK)
        code = prepare(db, "ROLLBACK", &db->rollback);
    return code;
}

weir_status wi_sqlite_db_open(const weir_sqlite_config *config, const weir_env *env, bool writes,
                              wi_sqlite_db **ret_db)
{
    wi_sqlite_db *db = weir_memory_new(env, sizeof *db);
    if (db == NULL)
        return WEIR_ENOMEM;
    db->config = config;
    db->env = env;
    /* A reader of a WAL file needs write access to its index, so it is held back by a pragma. */
    int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_READWRITE | (writes ? SQLITE_OPEN_CREATE : 0);
    int code = sqlite3_open_v2(config->path, &db->handle, flags, NULL);
    if (code == SQLITE_OK) {
        sqlite3_extended_result_codes(db->handle, 1);
        sqlite3_busy_timeout(db->handle, config->busy_ms == 0 ? 5000 : (int)config->busy_ms);
        code = writes ? set_up_writer(db)
                      : sqlite3_exec(db->handle, "PRAGMA query_only=1", NULL, NULL, NULL);
    }
    if (code == SQLITE_OK)
        code = prepare_only(db, config->statement);
    if (code == SQLITE_OK) {
        *ret_db = db;
        return WEIR_OK;
    }
    weir_log(env, WEIR_LOG_ERROR, "sqlite %s: %s", config->path,
             db->handle == NULL || code == SQLITE_MISUSE ? sqlite3_errstr(code)
                                                         : sqlite3_errmsg(db->handle));
    wi_sqlite_db_close(db);
    return status_of(code);
}

void wi_sqlite_db_close(wi_sqlite_db *db)
{
    if (db == NULL)
        return;
    sqlite3_finalize(db->begin);
    sqlite3_finalize(db->commit);
    sqlite3_finalize(db->rollback);
    sqlite3_finalize(db->statement);
    sqlite3_close(db->handle);
    weir_memory_free(db->env, db);
}

weir_status wi_sqlite_db_ping(const char *path, const weir_env *env)
{
    weir_sqlite_config config = { .path = path,
                                  .statement = "SELECT count(*) FROM sqlite_master",
                                  .busy_ms = 1000 };
    wi_sqlite_db *db = NULL;
    weir_status status = wi_sqlite_db_open(&config, env, false, &db);
    if (status != WEIR_OK)
        return status;
    int code = sqlite3_step(db->statement);
    wi_sqlite_db_close(db);
    return status_of(code);
}

/* ---- One statement ---- */

static int bind_cell(sqlite3_stmt *statement, int index, const wi_sqlite_cells *cells)
{
    if ((size_t)index > cells->n)
        return sqlite3_bind_null(statement, index);
    const wi_sqlite_cell *cell = &cells->cells[index - 1];
    switch (cell->kind) {
    case WEIR_SQLITE_INT:
        return sqlite3_bind_int64(statement, index, cell->is.integer);
    case WEIR_SQLITE_DOUBLE:
        return sqlite3_bind_double(statement, index, cell->is.real);
    case WEIR_SQLITE_TEXT:
        return sqlite3_bind_text(statement, index, cells->text + cell->is.offset, (int)cell->bytes,
                                 SQLITE_STATIC);
    case WEIR_SQLITE_BLOB:
        return sqlite3_bind_blob(statement, index, cells->text + cell->is.offset, (int)cell->bytes,
                                 SQLITE_STATIC);
    default:
        return sqlite3_bind_null(statement, index);
    }
}

static void copy_column(sqlite3_stmt *statement, int column, wi_sqlite_cells *results)
{
    switch (sqlite3_column_type(statement, column)) {
    case SQLITE_INTEGER: {
        wi_sqlite_cell *cell = wi_sqlite_cells_add(results, WEIR_SQLITE_INT);
        if (cell != NULL)
            cell->is.integer = sqlite3_column_int64(statement, column);
        return;
    }
    case SQLITE_FLOAT: {
        wi_sqlite_cell *cell = wi_sqlite_cells_add(results, WEIR_SQLITE_DOUBLE);
        if (cell != NULL)
            cell->is.real = sqlite3_column_double(statement, column);
        return;
    }
    case SQLITE_NULL:
        (void)wi_sqlite_cells_add(results, WEIR_SQLITE_NULL);
        return;
    default: {
        bool is_blob = sqlite3_column_type(statement, column) == SQLITE_BLOB;
        wi_sqlite_cell *cell = wi_sqlite_cells_add(results,
                                                   is_blob ? WEIR_SQLITE_BLOB : WEIR_SQLITE_TEXT);
        const void *data = sqlite3_column_blob(statement, column);
        if (cell != NULL)
            wi_sqlite_cells_put(results, cell, data,
                                (size_t)sqlite3_column_bytes(statement, column));
    }
    }
}

static weir_status copy_row(wi_sqlite_db *db, wi_sqlite_call *call)
{
    uint32_t rows_max = db->config->rows_max == 0 ? 1000 : db->config->rows_max;
    if (call->rows == rows_max)
        return WEIR_ELIMIT;
    for (uint32_t column = 0; column < call->columns; column++)
        copy_column(db->statement, (int)column, &call->results);
    call->rows++;
    return call->results.status;
}

static void call_ended(wi_sqlite_call *call, int code)
{
    call->status = status_of(code);
    call->why = call->status == WEIR_OK ? NULL : sqlite3_errstr(code);
}

/* Runs the statement with the call's parameters and keeps its rows; call->status says how it went.
 */
static void execute(wi_sqlite_db *db, wi_sqlite_call *call)
{
    sqlite3_stmt *statement = db->statement;
    wi_sqlite_cells_clear(&call->results);
    call->rows = call->changes = 0;
    call->columns = (uint32_t)sqlite3_column_count(statement);
    int code = SQLITE_OK;
    int n = sqlite3_bind_parameter_count(statement);
    for (int index = 1; index <= n && code == SQLITE_OK; index++)
        code = bind_cell(statement, index, &call->params.cells);
    weir_status copied = WEIR_OK;
    while (code == SQLITE_OK || code == SQLITE_ROW) {
        code = sqlite3_step(statement);
        if (code == SQLITE_ROW && copied == WEIR_OK)
            copied = copy_row(db, call);
        if (copied != WEIR_OK)
            break;
    }
    if (code == SQLITE_DONE && !sqlite3_stmt_readonly(statement))
        call->changes = (uint64_t)sqlite3_changes64(db->handle);
    sqlite3_reset(statement);
    call_ended(call, code);
    if (copied != WEIR_OK) {
        call->status = copied;
        call->why = "the rows exceed rows_max or bytes_max";
    }
}

static int step_once(sqlite3_stmt *statement)
{
    int code = sqlite3_step(statement);
    sqlite3_reset(statement);
    return code == SQLITE_DONE || code == SQLITE_ROW ? SQLITE_OK : code;
}

/* ---- Groups ---- */

static bool skip_given_up(wi_sqlite_call *call)
{
    if (!__atomic_load_n(&call->given_up, __ATOMIC_RELAXED))
        return false;
    call->status = WEIR_ECANCELED;
    call->why = "given up before it was written";
    return true;
}

static void fail_all(weir_job **jobs, size_t n, int code)
{
    for (size_t i = 0; i < n; i++) {
        wi_sqlite_call *call = jobs[i]->work;
        if (call->status == WEIR_OK)
            call_ended(call, code);
    }
}

static void count(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, __atomic_load_n(counter, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static void count_group(const wi_sqlite_db *db, weir_job **jobs, size_t n)
{
    weir_sqlite_stats *stats = db->config->stats;
    if (stats == NULL)
        return;
    uint64_t rows = 0;
    for (size_t i = 0; i < n; i++)
        rows += ((wi_sqlite_call *)jobs[i]->work)->status == WEIR_OK;
    count(&stats->groups, rows > 0);
    count(&stats->rows, rows);
    count(&stats->rows_failed, n - rows);
}

/* Does the jobs in one transaction. False if it was rolled back for one of them, so that the rest
 * can be saved by doing them one by one. A failing statement alone does not end the transaction:
 * SQLite undoes just that statement. */
static bool write_group(wi_sqlite_db *db, weir_job **jobs, size_t n)
{
    int code = step_once(db->begin);
    for (size_t i = 0; i < n && code == SQLITE_OK; i++) {
        wi_sqlite_call *call = jobs[i]->work;
        call->status = WEIR_OK;
        if (skip_given_up(call))
            continue;
        execute(db, call);
        if (sqlite3_get_autocommit(db->handle)) {
            if (n > 1)
                return false;
            count_group(db, jobs, n);
            return true;
        }
    }
    if (code == SQLITE_OK)
        code = step_once(db->commit);
    if (code != SQLITE_OK && !sqlite3_get_autocommit(db->handle))
        (void)step_once(db->rollback);
    if ((code & 0xff) == SQLITE_CONSTRAINT && n > 1)
        return false;
    if (code != SQLITE_OK)
        fail_all(jobs, n, code);
    count_group(db, jobs, n);
    return true;
}

void wi_sqlite_db_write(wi_sqlite_db *db, weir_job **jobs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        ((wi_sqlite_call *)jobs[i]->work)->status = WEIR_OK;
    if (write_group(db, jobs, n))
        return;
    if (db->config->stats != NULL)
        count(&db->config->stats->regrouped, 1);
    for (size_t i = 0; i < n; i++)
        (void)write_group(db, &jobs[i], 1);
}

void wi_sqlite_db_read(wi_sqlite_db *db, weir_job **jobs, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        wi_sqlite_call *call = jobs[i]->work;
        if (!skip_given_up(call))
            execute(db, call);
    }
}

#endif
