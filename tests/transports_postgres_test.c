/* The PostgreSQL stages on a real server, which is killed under load. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <weir/postgres.h>

#include "feed.h"
#include "servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if WEIR_HAVE_POSTGRES

#define SCHEMA                                                                        \
    "CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, amount float8 NOT NULL " \
    "CHECK (amount >= 0));"                                                           \
    "CREATE TABLE IF NOT EXISTS journal (id text NOT NULL, amount float8 NOT NULL); -- end"
#define UPSERT "INSERT INTO orders (id, amount) VALUES ($1, $2) ON CONFLICT (id) DO NOTHING"

static const weir_postgres_column columns[] = { { "id", "text" }, { "amount", "float8" } };

typedef struct fixture {
    server_postgres server;
    bool has_server;
    feed f;
    weir_timer timer;
    uint64_t crash_at;
    uint32_t crashes;
    int64_t inserted;
} fixture;

static int group_set_up(void **state)
{
    fixture *x = calloc(1, sizeof *x);
    if (x == NULL)
        return -1;
    x->has_server = server_postgres_start(&x->server);
    *state = x;
    return 0;
}

static int group_tear_down(void **state)
{
    fixture *x = *state;
    if (x->has_server)
        server_postgres_stop(&x->server);
    feed_done(&x->f);
    free(x);
    return 0;
}

/* Every test starts with empty tables, and is skipped without a server. */
static int set_up(void **state)
{
    fixture *x = *state;
    char text[64];
    if (!x->has_server)
        return 0;
    feed_done(&x->f);
    x->f = (feed){ .user = x };
    x->timer = (weir_timer){ 0 };
    x->crash_at = UINT64_MAX;
    x->crashes = 0;
    x->inserted = 0;
    (void)server_postgres_ask(&x->server, "DROP TABLE IF EXISTS orders, journal", text,
                              sizeof text);
    return 0;
}

static fixture *with_server(void **state)
{
    fixture *x = *state;
    if (!x->has_server)
        skip();
    return x;
}

static int64_t ask(fixture *x, const char *sql)
{
    char text[64];
    return server_postgres_ask(&x->server, sql, text, sizeof text) ? strtoll(text, NULL, 10) : -1;
}

static weir_status bind_order(weir_item *item, weir_postgres_params *params, void *user)
{
    const feed_item *it = weir_item_body(item);
    const uint64_t *divisor = user;
    char id[64];
    int n = snprintf(id, sizeof id, "A-\"%llu\\,",
                     (unsigned long long)(it->number / (divisor == NULL ? 1 : *divisor)));
    weir_postgres_bind_text(params, 1, id, (size_t)n);
    weir_postgres_bind_double(params, 2, (double)it->number + 0.1);
    return WEIR_OK;
}

static weir_status bind_some_bad(weir_item *item, weir_postgres_params *params, void *user)
{
    const feed_item *it = weir_item_body(item);
    weir_status status = bind_order(item, params, user);
    if (it->number % 100 == 33)
        weir_postgres_bind_double(params, 2, -1);
    if (it->number % 100 == 66)
        weir_postgres_bind_text(params, 2, "many", 4);
    if (it->number % 100 == 99)
        weir_postgres_bind_null(params, 2);
    return status;
}

static weir_status keep_inserted(weir_item *item, bool inserted, void *user)
{
    (void)user;
    ((feed_item *)weir_item_body(item))->answer = inserted;
    return WEIR_OK;
}

static weir_status keep_changes(weir_item *item, const weir_postgres_result *result, void *user)
{
    (void)user;
    ((feed_item *)weir_item_body(item))->answer = (int64_t)weir_postgres_changes(result);
    return WEIR_OK;
}

static weir_postgres_insert_config insert_config(const fixture *x)
{
    return (weir_postgres_insert_config){
        .server = { .conninfo = x->server.url, .schema = SCHEMA, .backoff_ms_max = 200 },
        .table = "orders",
        .columns = columns,
        .columns_n = 2,
        .key = "id",
        .bind = bind_order,
        .result = keep_inserted,
    };
}

static weir_postgres_config exec_config(const fixture *x)
{
    return (weir_postgres_config){
        .server = { .conninfo = x->server.url, .schema = SCHEMA, .backoff_ms_max = 200 },
        .statement = UPSERT,
        .idempotent = true,
        .bind = bind_order,
        .result = keep_changes,
    };
}

static void count_inserted(feed *f, const feed_item *it, weir_status status)
{
    if (status == WEIR_OK)
        ((fixture *)f->user)->inserted += it->answer;
}

/* ---- Storing ---- */

static void an_insert_stores_every_order_it_acknowledges(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_insert_config config = insert_config(x);
    x->f.ended = count_inserted;
    assert_int_equal(feed_run(&x->f, 5000, weir_postgres_insert(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 5000);
    assert_int_equal(x->inserted, 5000);
    assert_int_equal(ask(x, "SELECT count(*) FROM orders"), 5000);
    assert_int_equal(
        ask(x, "SELECT count(*) FROM orders WHERE id = 'A-\\\"7\\\\,' AND amount = 7.1"), 1);
}

static void an_exec_stores_every_order_it_acknowledges(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_config config = exec_config(x);
    x->f.ended = count_inserted;
    assert_int_equal(feed_run(&x->f, 5000, weir_postgres_exec(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 5000);
    assert_int_equal(x->inserted, 5000);
    assert_int_equal(ask(x, "SELECT count(*) FROM orders"), 5000);
}

static void an_insert_tells_a_new_row_from_one_that_was_there(void **state)
{
    fixture *x = with_server(state);
    uint64_t divisor = 4;
    weir_postgres_insert_config config = insert_config(x);
    config.user = &divisor;
    x->f.ended = count_inserted;
    for (int round = 0; round < 2; round++) {
        assert_int_equal(feed_run(&x->f, 2000, weir_postgres_insert(&config)), WEIR_OK);
        assert_int_equal(x->f.acked, 2000);
        assert_int_equal(x->inserted, 500);
    }
}

static void an_exec_tells_a_new_row_from_one_that_was_there(void **state)
{
    fixture *x = with_server(state);
    uint64_t divisor = 4;
    weir_postgres_config config = exec_config(x);
    config.user = &divisor;
    x->f.ended = count_inserted;
    assert_int_equal(feed_run(&x->f, 2000, weir_postgres_exec(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 2000);
    assert_int_equal(x->inserted, 500);
}

static void an_insert_without_a_key_appends(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_insert_config config = insert_config(x);
    uint64_t divisor = 4;
    config.table = "journal";
    config.key = NULL;
    config.user = &divisor;
    x->f.ended = count_inserted;
    assert_int_equal(feed_run(&x->f, 1000, weir_postgres_insert(&config)), WEIR_OK);
    assert_int_equal(x->inserted, 1000);
    assert_int_equal(ask(x, "SELECT count(*) FROM journal"), 1000);
}

/* ---- Failing rows ---- */

static void assert_only_the_bad_failed(const feed *f)
{
    for (uint64_t i = 0; i < f->n; i++)
        assert_int_equal(f->statuses[i], i % 100 == 33   ? WEIR_EREJECTED
                                         : i % 100 == 66 ? WEIR_EINVAL
                                         : i % 100 == 99 ? WEIR_EREJECTED
                                                         : WEIR_OK);
}

static void a_failing_row_of_an_insert_fails_alone(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_insert_config config = insert_config(x);
    config.bind = bind_some_bad;
    assert_int_equal(feed_run(&x->f, 1000, weir_postgres_insert(&config)), WEIR_OK);
    assert_only_the_bad_failed(&x->f);
    assert_int_equal(ask(x, "SELECT count(*) FROM orders"), 970);
}

static void a_failing_statement_leaves_the_rest_of_its_group(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_config config = exec_config(x);
    config.bind = bind_some_bad;
    assert_int_equal(feed_run(&x->f, 1000, weir_postgres_exec(&config)), WEIR_OK);
    assert_only_the_bad_failed(&x->f);
    assert_int_equal(ask(x, "SELECT count(*) FROM orders"), 970);
}

static void a_commit_that_fails_fails_only_the_row_that_broke_it(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_config config = exec_config(x);
    uint64_t divisor = 2;
    config.server.schema = "CREATE TABLE IF NOT EXISTS journal (id text UNIQUE DEFERRABLE "
                           "INITIALLY DEFERRED, amount float8)";
    config.statement = "INSERT INTO journal (id, amount) VALUES ($1, $2)";
    config.idempotent = false;
    config.user = &divisor;
    assert_int_equal(feed_run(&x->f, 200, weir_postgres_exec(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 100);
    for (uint64_t i = 0; i < 200; i++)
        assert_true(x->f.statuses[i] == WEIR_OK || x->f.statuses[i] == WEIR_EEXIST);
    assert_int_equal(ask(x, "SELECT count(*) FROM journal"), 100);
}

static weir_status bind_nul(weir_item *item, weir_postgres_params *params, void *user)
{
    (void)item;
    (void)user;
    weir_postgres_bind_text(params, 1, "a\0b", 3);
    return WEIR_OK;
}

static void a_text_with_a_nul_fails_its_item(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_insert_config config = insert_config(x);
    config.bind = bind_nul;
    assert_int_equal(feed_run(&x->f, 3, weir_postgres_insert(&config)), WEIR_OK);
    assert_int_equal(x->f.statuses[2], WEIR_EINVAL);
}

/* ---- Reading ---- */

static weir_status check_row(weir_item *item, const weir_postgres_result *result, void *user)
{
    (void)user;
    const feed_item *it = weir_item_body(item);
    if (weir_postgres_rows(result) == 0)
        return WEIR_ENOTFOUND;
    size_t bytes = 0;
    const char *amount = weir_postgres_value(result, 0, 0, &bytes);
    if (weir_postgres_columns(result) != 2 || amount == NULL || strlen(amount) != bytes ||
        strtod(amount, NULL) != (double)it->number + 0.1 ||
        weir_postgres_value(result, 0, 1, NULL) != NULL ||
        weir_postgres_value(result, 1, 0, NULL) != NULL)
        return WEIR_EINTERNAL;
    return WEIR_OK;
}

static weir_status bind_id(weir_item *item, weir_postgres_params *params, void *user)
{
    char id[64];
    (void)user;
    int n = snprintf(id, sizeof id, "A-\"%llu\\,",
                     (unsigned long long)((const feed_item *)weir_item_body(item))->number);
    weir_postgres_bind_text(params, 1, id, (size_t)n);
    return WEIR_OK;
}

static void a_query_reads_what_was_written_and_says_what_is_missing(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_config config = exec_config(x);
    assert_int_equal(feed_run(&x->f, 500, weir_postgres_exec(&config)), WEIR_OK);
    config.statement = "SELECT amount, NULL FROM orders WHERE id = $1";
    config.bind = bind_id;
    config.result = check_row;
    config.server.schema = NULL;
    assert_int_equal(feed_run(&x->f, 600, weir_postgres_query(&config)), WEIR_OK);
    for (uint64_t i = 0; i < 600; i++)
        assert_int_equal(x->f.statuses[i], i < 500 ? WEIR_OK : WEIR_ENOTFOUND);
}

static void a_statement_that_takes_too_long_fails_its_item(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_config config = exec_config(x);
    config.statement = "SELECT pg_sleep(20)";
    config.bind = NULL;
    config.server.statement_ms = 100;
    assert_int_equal(feed_run(&x->f, 2, weir_postgres_exec(&config)), WEIR_OK);
    assert_int_equal(x->f.statuses[0], WEIR_EDEADLINE);
    assert_int_equal(x->f.statuses[1], WEIR_EDEADLINE);
}

static void an_item_that_times_out_ends_before_its_statement(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_config config = exec_config(x);
    config.statement = "SELECT pg_sleep(20)";
    config.bind = NULL;
    config.timeout_ms = 100;
    assert_int_equal(feed_run(&x->f, 2, weir_postgres_exec(&config)), WEIR_OK);
    assert_int_equal(x->f.statuses[0], WEIR_EDEADLINE);
    assert_int_equal(x->f.statuses[1], WEIR_EDEADLINE);
}

/* ---- Connections ---- */

static void a_host_name_is_looked_up(void **state)
{
    fixture *x = with_server(state);
    char url[128];
    weir_postgres_insert_config config = insert_config(x);
    (void)snprintf(url, sizeof url, "postgresql://postgres@localhost:%u/postgres", x->server.port);
    config.server.conninfo = url;
    assert_int_equal(feed_run(&x->f, 10, weir_postgres_insert(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 10);
}

static void a_unix_socket_will_do(void **state)
{
    fixture *x = with_server(state);
    char words[SERVER_PATH_MAX + 64];
    weir_postgres_insert_config config = insert_config(x);
    (void)snprintf(words, sizeof words, "host=%s port=%u user=postgres dbname=postgres",
                   x->server.dir, x->server.port);
    config.server.conninfo = words;
    assert_int_equal(feed_run(&x->f, 10, weir_postgres_insert(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 10);
}

static void abort_pipeline(weir_timer *timer, void *user)
{
    (void)timer;
    feed *f = user;
    weir_pipeline_shutdown(f->pipeline, WEIR_ABORT, 0);
}

static void abort_after_a_while(feed *f, weir_loop *loop)
{
    weir_timer_start(loop, &((fixture *)f->user)->timer, 300 * WEIR_MS, abort_pipeline, f);
}

static void demand_is_withheld_while_there_is_no_server(void **state)
{
    fixture *x = with_server(state);
    char url[128];
    weir_postgres_insert_config config = insert_config(x);
    (void)snprintf(url, sizeof url, "postgresql://postgres@127.0.0.1:%u/x", server_free_port());
    config.server.conninfo = url;
    x->f.started = abort_after_a_while;
    (void)feed_run(&x->f, 10, weir_postgres_insert(&config));
    assert_int_equal(x->f.emitted, 0);
}

static void an_abort_finds_a_name_still_looked_up(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_config config = exec_config(x);
    config.server.conninfo = "postgresql://postgres@no-such-host.invalid/x";
    x->f.started = abort_after_a_while;
    (void)feed_run(&x->f, 10, weir_postgres_exec(&config));
    assert_int_equal(x->f.emitted, 0);
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
    fixture *x = with_server(state);
    weir_postgres_insert_config config = insert_config(x);
    x->f.ended = abort_under_load;
    (void)feed_run(&x->f, 1000000, weir_postgres_insert(&config));
    assert_true(x->f.acked >= 3000 && x->f.acked < 1000000);
    assert_int_equal(x->f.acked + x->f.failed, x->f.emitted);
    assert_true(ask(x, "SELECT count(*) FROM orders") >= (int64_t)x->f.acked);
}

static void two_loops_insert_the_same_rows_without_a_deadlock(void **state)
{
    fixture *x = with_server(state);
    uint64_t divisor = 4;
    weir_postgres_insert_config config = insert_config(x);
    config.user = &divisor;
    x->f.loops = 2;
    assert_int_equal(feed_run(&x->f, 20000, weir_postgres_insert(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 20000);
    assert_int_equal(ask(x, "SELECT count(*) FROM orders"), 5000);
}

static void wake_up(weir_timer *timer, void *user)
{
    (void)timer;
    server_postgres_freeze(user, false);
}

static void freeze_on_the_way(feed *f, const feed_item *it, weir_status status)
{
    fixture *x = f->user;
    count_inserted(f, it, status);
    if (f->acked != x->crash_at)
        return;
    server_postgres_freeze(&x->server, true);
    weir_timer_start(f->loop, &x->timer, 900 * WEIR_MS, wake_up, &x->server);
}

static void a_server_that_falls_silent_is_given_up_and_found_again(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_insert_config config = insert_config(x);
    config.server.statement_ms = 200;
    config.server.connect_ms = 200;
    x->f.ended = freeze_on_the_way;
    x->crash_at = 2000;
    assert_int_equal(feed_run(&x->f, 10000, weir_postgres_insert(&config)), WEIR_OK);
    assert_int_equal(x->f.acked, 10000);
    assert_int_equal(ask(x, "SELECT count(*) FROM orders"), 10000);
}

static void a_conninfo_that_is_none_is_refused(void **state)
{
    fixture *x = *state;
    weir_postgres_config config = { .server.conninfo = "postgresql://[", .statement = UPSERT };
    assert_int_equal(feed_run(&x->f, 1, weir_postgres_exec(&config)), WEIR_EINVAL);
    assert_non_null(strstr(x->f.why, "conninfo"));
}

static void every_allocation_may_fail(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_insert_config insert = insert_config(x);
    weir_postgres_config exec = exec_config(x);
    feed_memory memory;
    insert.in_flight = exec.in_flight = 8;
    insert.server.backoff_ms = exec.server.backoff_ms = 1;
    for (int round = 0; round < 2; round++) {
        for (uint64_t fails_at = 1;; fails_at++) {
            feed_memory_init(&memory, fails_at);
            x->f.env = &memory.env;
            (void)feed_run(&x->f, 20,
                           round == 0 ? weir_postgres_insert(&insert) : weir_postgres_exec(&exec));
            if (memory.asked < fails_at)
                break;
            assert_int_equal(x->f.acked + x->f.failed, x->f.emitted);
        }
        assert_int_equal(x->f.acked, 20);
    }
}

/* ---- kill -9 ---- */

/* Restarts the server until it is up: a crashed one's processes may be in the way for a while. */
static void restart(weir_timer *timer, void *user)
{
    feed *f = user;
    fixture *x = f->user;
    if (!server_is_running(x->server.pid))
        server_postgres_spawn(&x->server);
    if (!server_postgres_is_ready(&x->server))
        weir_timer_start(f->loop, timer, 200 * WEIR_MS, restart, f);
}

static void crash_on_the_way(feed *f, const feed_item *it, weir_status status)
{
    fixture *x = f->user;
    count_inserted(f, it, status);
    if (f->acked < x->crash_at)
        return;
    x->crash_at = x->crashes++ == 0 ? f->acked + f->n / 3 : UINT64_MAX;
    server_postgres_crash(&x->server);
    weir_timer_start(f->loop, &x->timer, 200 * WEIR_MS, restart, f);
}

static void wait_for_server(fixture *x)
{
    for (int i = 0; i < 100 && !server_postgres_is_ready(&x->server); i++) {
        if (!server_is_running(x->server.pid))
            server_postgres_spawn(&x->server);
        (void)server_wait_port(x->server.port, 200);
    }
}

static void nothing_is_lost_or_doubled_when_the_server_is_killed_under_inserts(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_insert_config config = insert_config(x);
    x->f.ended = crash_on_the_way;
    x->crash_at = 3000;
    assert_int_equal(feed_run(&x->f, 20000, weir_postgres_insert(&config)), WEIR_OK);
    wait_for_server(x);
    assert_int_equal(x->crashes, 2);
    assert_int_equal(x->f.acked, 20000);
    assert_int_equal(ask(x, "SELECT count(*) FROM orders"), 20000);
    assert_int_equal(ask(x, "SELECT count(DISTINCT id) FROM orders"), 20000);
}

static void nothing_is_lost_or_doubled_when_the_server_is_killed_under_statements(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_config config = exec_config(x);
    x->f.ended = crash_on_the_way;
    x->crash_at = 3000;
    assert_int_equal(feed_run(&x->f, 20000, weir_postgres_exec(&config)), WEIR_OK);
    wait_for_server(x);
    assert_int_equal(x->f.acked, 20000);
    assert_int_equal(ask(x, "SELECT count(*) FROM orders"), 20000);
}

static void what_is_not_idempotent_fails_when_the_server_is_killed(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_config config = exec_config(x);
    config.statement = "INSERT INTO journal (id, amount) VALUES ($1, $2)";
    config.idempotent = false;
    x->f.ended = crash_on_the_way;
    x->crash_at = 3000;
    assert_int_equal(feed_run(&x->f, 20000, weir_postgres_exec(&config)), WEIR_OK);
    wait_for_server(x);
    assert_int_equal(x->f.acked + x->f.failed, 20000);
    assert_true(x->f.failed > 0 && x->f.failed <= 2 * 512);
    for (uint64_t i = 0; i < x->f.n; i++)
        assert_true(x->f.statuses[i] == WEIR_OK || x->f.statuses[i] == WEIR_EUNAVAILABLE);
    int64_t rows = ask(x, "SELECT count(*) FROM journal");
    assert_true(rows >= (int64_t)x->f.acked && rows <= 20000);
    assert_int_equal(ask(x, "SELECT count(DISTINCT id) FROM journal"), rows);
}

static void what_waits_for_a_killed_server_ends_by_its_deadline(void **state)
{
    fixture *x = with_server(state);
    weir_postgres_insert_config config = insert_config(x);
    config.timeout_ms = 100;
    x->f.ended = crash_on_the_way;
    x->crash_at = 3000;
    assert_int_equal(feed_run(&x->f, 10000, weir_postgres_insert(&config)), WEIR_OK);
    wait_for_server(x);
    assert_int_equal(x->f.acked + x->f.failed, 10000);
    assert_true(x->f.failed > 0);
    for (uint64_t i = 0; i < x->f.n; i++)
        assert_true(x->f.statuses[i] == WEIR_OK || x->f.statuses[i] == WEIR_EDEADLINE);
    assert_true(ask(x, "SELECT count(*) FROM orders") >= (int64_t)x->f.acked);
}

/* ---- The probe ---- */

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

static int ask_probe(weir_postgres_probe *probe, answer *a)
{
    a->status = 1;
    assert_int_equal(weir_postgres_probe_ask(probe, 5000, answered, a), WEIR_OK);
    assert_int_equal(weir_postgres_probe_ask(probe, 5000, answered, a), WEIR_EAGAIN);
    assert_int_equal(weir_loop_run(a->loop), WEIR_OK);
    return a->status;
}

static void a_probe_answers_before_and_after_a_crash_and_not_in_between(void **state)
{
    fixture *x = with_server(state);
    answer a = { .loop = weir_loop_new(NULL) };
    weir_postgres_probe *probe = NULL;
    weir_postgres_server server = { .conninfo = x->server.url, .backoff_ms_max = 100 };
    assert_int_equal(weir_postgres_probe_new(a.loop, &server, &probe), WEIR_OK);
    assert_int_equal(ask_probe(probe, &a), WEIR_OK);
    assert_int_equal(ask_probe(probe, &a), WEIR_OK);
    server_postgres_crash(&x->server);
    assert_int_equal(weir_postgres_probe_ask(probe, 100, answered, &a), WEIR_OK);
    assert_int_equal(weir_loop_run(a.loop), WEIR_OK);
    assert_int_equal(a.status, WEIR_EUNAVAILABLE);
    wait_for_server(x);
    assert_int_equal(ask_probe(probe, &a), WEIR_OK);
    weir_postgres_probe_free(probe);
    weir_loop_free(a.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_insert_stores_every_order_it_acknowledges, set_up),
        cmocka_unit_test_setup(an_exec_stores_every_order_it_acknowledges, set_up),
        cmocka_unit_test_setup(an_insert_tells_a_new_row_from_one_that_was_there, set_up),
        cmocka_unit_test_setup(an_exec_tells_a_new_row_from_one_that_was_there, set_up),
        cmocka_unit_test_setup(an_insert_without_a_key_appends, set_up),
        cmocka_unit_test_setup(a_failing_row_of_an_insert_fails_alone, set_up),
        cmocka_unit_test_setup(a_failing_statement_leaves_the_rest_of_its_group, set_up),
        cmocka_unit_test_setup(a_commit_that_fails_fails_only_the_row_that_broke_it, set_up),
        cmocka_unit_test_setup(a_text_with_a_nul_fails_its_item, set_up),
        cmocka_unit_test_setup(a_query_reads_what_was_written_and_says_what_is_missing, set_up),
        cmocka_unit_test_setup(a_statement_that_takes_too_long_fails_its_item, set_up),
        cmocka_unit_test_setup(an_item_that_times_out_ends_before_its_statement, set_up),
        cmocka_unit_test_setup(a_host_name_is_looked_up, set_up),
        cmocka_unit_test_setup(a_unix_socket_will_do, set_up),
        cmocka_unit_test_setup(demand_is_withheld_while_there_is_no_server, set_up),
        cmocka_unit_test_setup(an_abort_finds_a_name_still_looked_up, set_up),
        cmocka_unit_test_setup(an_abort_under_load_leaves_every_acknowledged_row, set_up),
        cmocka_unit_test_setup(two_loops_insert_the_same_rows_without_a_deadlock, set_up),
        cmocka_unit_test_setup(a_server_that_falls_silent_is_given_up_and_found_again, set_up),
        cmocka_unit_test_setup(a_conninfo_that_is_none_is_refused, set_up),
        cmocka_unit_test_setup(every_allocation_may_fail, set_up),
        cmocka_unit_test_setup(nothing_is_lost_or_doubled_when_the_server_is_killed_under_inserts,
                               set_up),
        cmocka_unit_test_setup(
            nothing_is_lost_or_doubled_when_the_server_is_killed_under_statements, set_up),
        cmocka_unit_test_setup(what_is_not_idempotent_fails_when_the_server_is_killed, set_up),
        cmocka_unit_test_setup(what_waits_for_a_killed_server_ends_by_its_deadline, set_up),
        cmocka_unit_test_setup(a_probe_answers_before_and_after_a_crash_and_not_in_between, set_up),
    };
    return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}

#else

static void a_build_without_libpq_says_so(void **state)
{
    (void)state;
    feed f = { 0 };
    assert_int_equal(feed_run(&f, 1, weir_postgres_exec(NULL)), WEIR_EUNSUPPORTED);
    assert_non_null(strstr(f.why, "built without postgres"));
    assert_int_equal(feed_run(&f, 1, weir_postgres_query(NULL)), WEIR_EUNSUPPORTED);
    assert_int_equal(feed_run(&f, 1, weir_postgres_insert(NULL)), WEIR_EUNSUPPORTED);
    feed_done(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_build_without_libpq_says_so) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
