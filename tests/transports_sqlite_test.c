/* The SQLite stages on real files. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <weir/sqlite.h>

#include "feed.h"
#include "servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if WEIR_HAVE_SQLITE
#include <sqlite3.h>

#define SCHEMA "CREATE TABLE IF NOT EXISTS orders (id TEXT PRIMARY KEY, amount REAL NOT NULL)"
#define UPSERT "INSERT INTO orders (id, amount) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING"

typedef struct fixture {
    char dir[SERVER_PATH_MAX];
    char path[SERVER_PATH_MAX + 16];
    feed f;
} fixture;

static int set_up(void **state)
{
    fixture *x = calloc(1, sizeof *x);
    if (x == NULL || !server_dir_new(x->dir))
        return -1;
    (void)snprintf(x->path, sizeof x->path, "%s/orders.db", x->dir);
    *state = x;
    return 0;
}

static int tear_down(void **state)
{
    fixture *x = *state;
    feed_done(&x->f);
    server_dir_remove(x->dir);
    free(x);
    return 0;
}

/* A number that a second connection reads; -1 on an error. */
static int64_t ask(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *statement = NULL;
    int64_t number = -1;
    if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_busy_timeout(db, 5000) == SQLITE_OK &&
        sqlite3_prepare_v2(db, sql, -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        number = sqlite3_column_int64(statement, 0);
    sqlite3_finalize(statement);
    sqlite3_close(db);
    return number;
}

/* A divisor in `user` makes ids repeat; amounts of numbers that end in 3 are NULL with 10. */
static weir_status bind_order(weir_item *item, weir_sqlite_params *params, void *user)
{
    const feed_item *it = weir_item_body(item);
    const uint64_t *divisor = user;
    char id[32];
    int n = snprintf(id, sizeof id, "A-%llu",
                     (unsigned long long)(it->number / (divisor == NULL ? 1 : *divisor)));
    weir_sqlite_bind_text(params, 1, id, (size_t)n);
    weir_sqlite_bind_double(params, 2, (double)it->number + 0.5);
    return WEIR_OK;
}

static weir_status bind_some_bad(weir_item *item, weir_sqlite_params *params, void *user)
{
    const feed_item *it = weir_item_body(item);
    weir_status status = bind_order(item, params, user);
    if (it->number % 10 == 3)
        weir_sqlite_bind_null(params, 2);
    return status;
}

static weir_status keep_changes(weir_item *item, uint64_t changes, uint64_t rows, void *user)
{
    (void)rows;
    (void)user;
    ((feed_item *)weir_item_body(item))->answer = (int64_t)changes;
    return WEIR_OK;
}

static weir_sqlite_config config_of(const fixture *x)
{
    return (weir_sqlite_config){ .path = x->path,
                                 .schema = SCHEMA,
                                 .statement = UPSERT,
                                 .bind = bind_order,
                                 .result = keep_changes };
}

static void see_row(feed *f, const feed_item *it, weir_status status)
{
    if (status != WEIR_OK || it->number % 37 != 0)
        return;
    char sql[96];
    (void)snprintf(sql, sizeof sql, "SELECT count(*) FROM orders WHERE id='A-%llu'",
                   (unsigned long long)it->number);
    assert_int_equal(ask(f->user, sql), 1);
}

static void an_acknowledged_row_is_seen_by_another_connection(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    x->f.user = x->path;
    x->f.ended = see_row;
    assert_int_equal(feed_run(&x->f, 2000, weir_sqlite_exec(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 2000);
    assert_int_equal(ask(x->path, "SELECT count(*) FROM orders"), 2000);
}

static void many_rows_share_a_commit(void **state)
{
    fixture *x = *state;
    weir_sqlite_stats stats = { 0 }, seen;
    weir_sqlite_config config = config_of(x);
    config.stats = &stats;
    assert_int_equal(feed_run(&x->f, 5000, weir_sqlite_exec(&config)), WEIR_OK);
    weir_sqlite_stats_get(&stats, &seen);
    assert_int_equal(seen.rows, 5000);
    assert_true(seen.groups >= 10 && seen.groups <= 1000);
}

static void a_group_is_no_larger_than_asked_for(void **state)
{
    fixture *x = *state;
    weir_sqlite_stats stats = { 0 };
    weir_sqlite_config config = config_of(x);
    config.stats = &stats;
    config.group_max = 1;
    config.synchronous = WEIR_SQLITE_OFF;
    assert_int_equal(feed_run(&x->f, 300, weir_sqlite_exec(&config)), WEIR_OK);
    assert_int_equal(stats.groups, 300);
}

static void two_loops_share_one_writer(void **state)
{
    fixture *x = *state;
    weir_sqlite_stats stats = { 0 };
    weir_sqlite_config config = config_of(x);
    config.stats = &stats;
    x->f.loops = 2;
    assert_int_equal(feed_run(&x->f, 20000, weir_sqlite_exec(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 20000);
    assert_int_equal(stats.rows, 20000);
    assert_int_equal(ask(x->path, "SELECT count(*) FROM orders"), 20000);
}

static void abort_under_load(feed *f, const feed_item *it, weir_status status)
{
    (void)it;
    (void)status;
    if (f->acked == 3000)
        weir_pipeline_shutdown(f->pipeline, WEIR_ABORT, 0);
}

static void an_abort_under_load_leaves_every_acknowledged_row(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    x->f.ended = abort_under_load;
    (void)feed_run(&x->f, 1000000, weir_sqlite_exec(&config));
    assert_true(x->f.acked >= 3000 && x->f.acked < 1000000);
    assert_int_equal(x->f.acked + x->f.failed, x->f.emitted);
    assert_true(ask(x->path, "SELECT count(*) FROM orders") >= (int64_t)x->f.acked);
}

static void count_inserted(feed *f, const feed_item *it, weir_status status)
{
    if (status == WEIR_OK)
        *(int64_t *)f->user += it->answer;
}

static void a_duplicate_is_acknowledged_and_changes_nothing(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    uint64_t divisor = 4;
    int64_t inserted = 0;
    config.user = &divisor;
    x->f.user = &inserted;
    x->f.ended = count_inserted;
    assert_int_equal(feed_run(&x->f, 2000, weir_sqlite_exec(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 2000);
    assert_int_equal(inserted, 500);
    assert_int_equal(ask(x->path, "SELECT count(*) FROM orders"), 500);
}

static void assert_only_the_bad_failed(const feed *f, weir_status expected)
{
    for (uint64_t i = 0; i < f->n; i++)
        assert_int_equal(f->statuses[i], i % 10 == 3 ? expected : WEIR_OK);
}

static void a_failing_row_leaves_the_rest_of_its_group(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    config.bind = bind_some_bad;
    assert_int_equal(feed_run(&x->f, 1000, weir_sqlite_exec(&config)), WEIR_OK);
    assert_only_the_bad_failed(&x->f, WEIR_EREJECTED);
    assert_int_equal(ask(x->path, "SELECT count(*) FROM orders"), 900);
}

static void a_row_that_rolls_its_group_back_still_fails_alone(void **state)
{
    fixture *x = *state;
    weir_sqlite_stats stats = { 0 };
    weir_sqlite_config config = config_of(x);
    config.stats = &stats;
    config.bind = bind_some_bad;
    config.statement = "INSERT OR ROLLBACK INTO orders (id, amount) VALUES (?1, ?2)";
    assert_int_equal(feed_run(&x->f, 1000, weir_sqlite_exec(&config)), WEIR_OK);
    assert_only_the_bad_failed(&x->f, WEIR_EREJECTED);
    assert_int_equal(ask(x->path, "SELECT count(*) FROM orders"), 900);
    assert_true(stats.regrouped > 0);
    assert_int_equal(stats.rows, 900);
    assert_int_equal(stats.rows_failed, 100);
}

static void a_commit_that_fails_fails_only_the_row_that_broke_it(void **state)
{
    fixture *x = *state;
    weir_sqlite_stats stats = { 0 };
    weir_sqlite_config config = config_of(x);
    config.stats = &stats;
    config.schema = "PRAGMA foreign_keys=ON;"
                    "CREATE TABLE amounts (amount INTEGER PRIMARY KEY);"
                    "INSERT INTO amounts VALUES (0);"
                    "CREATE TABLE orders (id TEXT PRIMARY KEY, amount INTEGER REFERENCES amounts "
                    "DEFERRABLE INITIALLY DEFERRED)";
    config.statement = "INSERT INTO orders VALUES (?1, (CAST(?2 AS INTEGER) % 10 = 3) * 7)";
    assert_int_equal(feed_run(&x->f, 1000, weir_sqlite_exec(&config)), WEIR_OK);
    assert_only_the_bad_failed(&x->f, WEIR_EREJECTED);
    assert_int_equal(ask(x->path, "SELECT count(*) FROM orders"), 900);
    assert_true(stats.regrouped > 0);
}

static void a_key_that_exists_is_told_from_other_constraints(void **state)
{
    fixture *x = *state;
    uint64_t divisor = 2;
    weir_sqlite_config config = config_of(x);
    config.statement = "INSERT INTO orders (id, amount) VALUES (?1, ?2)";
    config.user = &divisor;
    assert_int_equal(feed_run(&x->f, 100, weir_sqlite_exec(&config)), WEIR_OK);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(x->f.statuses[i], i % 2 == 0 ? WEIR_OK : WEIR_EEXIST);
}

static weir_status bind_huge(weir_item *item, weir_sqlite_params *params, void *user)
{
    static char huge[2048];
    weir_status status = bind_order(item, params, user);
    if (((feed_item *)weir_item_body(item))->number % 10 == 3)
        weir_sqlite_bind_blob(params, 2, huge, sizeof huge);
    return status;
}

static void parameters_beyond_the_limit_fail_their_item(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    config.bind = bind_huge;
    config.bytes_max = 1024;
    assert_int_equal(feed_run(&x->f, 100, weir_sqlite_exec(&config)), WEIR_OK);
    assert_only_the_bad_failed(&x->f, WEIR_ELIMIT);
}

static void a_schema_that_is_none_stops_the_pipeline(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    config.schema = "CREATE TABEL orders";
    assert_int_equal(feed_run(&x->f, 10, weir_sqlite_exec(&config)), WEIR_EINVAL);
    assert_int_equal(x->f.acked, 0);
}

static void text_after_the_statement_is_refused(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    config.statement = UPSERT "; DELETE FROM orders";
    assert_int_equal(feed_run(&x->f, 10, weir_sqlite_exec(&config)), WEIR_EINVAL);
}

static void a_config_without_a_statement_is_refused(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = { .path = x->path };
    assert_int_equal(feed_run(&x->f, 10, weir_sqlite_exec(&config)), WEIR_EINVAL);
    assert_non_null(strstr(x->f.why, "statement"));
}

static weir_status check_row(weir_item *item, const weir_sqlite_row *row, void *user)
{
    (void)user;
    feed_item *it = weir_item_body(item);
    size_t bytes = 0;
    const char *id = weir_sqlite_text(row, 0, &bytes);
    it->answer++;
    if (weir_sqlite_columns(row) != 3 || id == NULL || strlen(id) != bytes ||
        strtoull(id + 2, NULL, 10) != it->number ||
        weir_sqlite_double(row, 1) != (double)it->number + 0.5 ||
        weir_sqlite_kind_of(row, 2) != WEIR_SQLITE_NULL ||
        weir_sqlite_kind_of(row, 3) != WEIR_SQLITE_NULL)
        return WEIR_EINTERNAL;
    return WEIR_OK;
}

static weir_status check_rows(weir_item *item, uint64_t changes, uint64_t rows, void *user)
{
    (void)user;
    (void)changes;
    const feed_item *it = weir_item_body(item);
    if (rows != (uint64_t)it->answer)
        return WEIR_EINTERNAL;
    return rows == 0 ? WEIR_ENOTFOUND : WEIR_OK;
}

static void a_query_reads_what_was_written_and_says_what_is_missing(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    assert_int_equal(feed_run(&x->f, 500, weir_sqlite_exec(&config)), WEIR_OK);
    config.statement = "SELECT id, amount, NULL FROM orders WHERE id = ?1";
    config.row = check_row;
    config.result = check_rows;
    assert_int_equal(feed_run(&x->f, 600, weir_sqlite_query(&config)), WEIR_OK);
    for (uint64_t i = 0; i < 600; i++)
        assert_int_equal(x->f.statuses[i], i < 500 ? WEIR_OK : WEIR_ENOTFOUND);
}

static void a_query_that_writes_fails(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    assert_int_equal(feed_run(&x->f, 10, weir_sqlite_exec(&config)), WEIR_OK);
    config.statement = "DELETE FROM orders WHERE id = ?1";
    assert_int_equal(feed_run(&x->f, 10, weir_sqlite_query(&config)), WEIR_OK);
    assert_int_equal(x->f.failed, 10);
    assert_int_equal(ask(x->path, "SELECT count(*) FROM orders"), 10);
}

static void a_query_for_too_many_rows_fails(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    assert_int_equal(feed_run(&x->f, 100, weir_sqlite_exec(&config)), WEIR_OK);
    config.statement = "SELECT id FROM orders";
    config.bind = NULL;
    config.rows_max = 99;
    assert_int_equal(feed_run(&x->f, 1, weir_sqlite_query(&config)), WEIR_OK);
    assert_int_equal(x->f.statuses[0], WEIR_ELIMIT);
}

static void every_allocation_may_fail(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    feed_memory memory;
    config.statement = "INSERT INTO orders (id, amount) VALUES (?1, ?2) ON CONFLICT (id) DO "
                       "UPDATE SET amount = excluded.amount RETURNING id, amount, NULL";
    config.row = check_row;
    config.in_flight = 8;
    config.synchronous = WEIR_SQLITE_OFF;
    x->f.env = &memory.env;
    for (uint64_t fails_at = 1;; fails_at++) {
        feed_memory_init(&memory, fails_at);
        (void)feed_run(&x->f, 20, weir_sqlite_exec(&config));
        if (memory.asked < fails_at)
            break;
        assert_int_equal(x->f.acked + x->f.failed, x->f.emitted);
    }
    assert_int_equal(x->f.acked, 20);
}

typedef struct answer {
    weir_loop *loop;
    int status;
} answer;

static void answered(weir_status status, void *user)
{
    answer *a = user;
    a->status = status;
    weir_loop_stop(a->loop);
}

static int probe(const char *path)
{
    answer a = { .loop = weir_loop_new(NULL), .status = 1 };
    weir_sqlite_probe *p = NULL;
    assert_int_equal(weir_sqlite_probe_new(a.loop, path, &p), WEIR_OK);
    assert_int_equal(weir_sqlite_probe_ask(p, answered, &a), WEIR_OK);
    assert_int_equal(weir_sqlite_probe_ask(p, answered, &a), WEIR_EAGAIN);
    assert_int_equal(weir_loop_run(a.loop), WEIR_OK);
    weir_sqlite_probe_free(p);
    weir_loop_free(a.loop);
    return a.status;
}

static void a_probe_tells_a_database_from_none(void **state)
{
    fixture *x = *state;
    weir_sqlite_config config = config_of(x);
    assert_int_equal(probe(x->path), WEIR_EUNAVAILABLE);
    assert_int_equal(feed_run(&x->f, 1, weir_sqlite_exec(&config)), WEIR_OK);
    assert_int_equal(probe(x->path), WEIR_OK);
    FILE *junk = fopen(x->path, "w");
    assert_non_null(junk);
    for (int i = 0; i < 2000; i++)
        (void)fputs("this is no database\n", junk);
    (void)fclose(junk);
    assert_int_equal(probe(x->path), WEIR_EIO);
}

#define WITH_FILE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(an_acknowledged_row_is_seen_by_another_connection),
        WITH_FILE(many_rows_share_a_commit),
        WITH_FILE(a_group_is_no_larger_than_asked_for),
        WITH_FILE(two_loops_share_one_writer),
        WITH_FILE(an_abort_under_load_leaves_every_acknowledged_row),
        WITH_FILE(a_duplicate_is_acknowledged_and_changes_nothing),
        WITH_FILE(a_failing_row_leaves_the_rest_of_its_group),
        WITH_FILE(a_row_that_rolls_its_group_back_still_fails_alone),
        WITH_FILE(a_commit_that_fails_fails_only_the_row_that_broke_it),
        WITH_FILE(a_key_that_exists_is_told_from_other_constraints),
        WITH_FILE(parameters_beyond_the_limit_fail_their_item),
        WITH_FILE(a_schema_that_is_none_stops_the_pipeline),
        WITH_FILE(text_after_the_statement_is_refused),
        WITH_FILE(a_config_without_a_statement_is_refused),
        WITH_FILE(a_query_reads_what_was_written_and_says_what_is_missing),
        WITH_FILE(a_query_that_writes_fails),
        WITH_FILE(a_query_for_too_many_rows_fails),
        WITH_FILE(every_allocation_may_fail),
        WITH_FILE(a_probe_tells_a_database_from_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

static void a_build_without_sqlite_says_so(void **state)
{
    (void)state;
    feed f = { 0 };
    assert_int_equal(feed_run(&f, 1, weir_sqlite_exec(NULL)), WEIR_EUNSUPPORTED);
    assert_non_null(strstr(f.why, "built without sqlite"));
    assert_int_equal(feed_run(&f, 1, weir_sqlite_query(NULL)), WEIR_EUNSUPPORTED);
    feed_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_build_without_sqlite_says_so) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
