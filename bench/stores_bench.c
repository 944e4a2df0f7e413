/* What a durable row costs: SQLite by group commit; PostgreSQL by one handler, a pool of ten, a
 * pipeline of statements, and one statement for many rows. */
#include <weir/postgres.h>
#include <weir/sqlite.h>

#include "feed.h"
#include "servers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SCHEMA \
    "CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, amount float8, currency text)"
#define UPSERT \
    "INSERT INTO orders (id, amount, currency) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING"

enum { ROUNDS_MAX = 5 };

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Ids never repeat, within a run and between them, and do not come in order. */
static size_t id_of(weir_item *item, const void *user, char *ret_id, size_t cap)
{
    const feed_item *it = weir_item_body(item);
    return (size_t)snprintf(ret_id, cap, "A-%u-%llu", *(const unsigned *)user,
                            (unsigned long long)(it->number * 2654435761u));
}

static weir_status bind_sqlite(weir_item *item, weir_sqlite_params *params, void *user)
{
    char id[48];
    weir_sqlite_bind_text(params, 1, id, id_of(item, user, id, sizeof id));
    weir_sqlite_bind_double(params, 2, 12.5);
    weir_sqlite_bind_text(params, 3, "EUR", 3);
    return WEIR_OK;
}

static weir_status bind_postgres(weir_item *item, weir_postgres_params *params, void *user)
{
    char id[48];
    weir_postgres_bind_text(params, 1, id, id_of(item, user, id, sizeof id));
    weir_postgres_bind_double(params, 2, 12.5);
    weir_postgres_bind_text(params, 3, "EUR", 3);
    return WEIR_OK;
}

typedef struct bench {
    server_postgres server;
    char path[SERVER_PATH_MAX + 16];
    unsigned round; /* the callbacks' user */
} bench;

typedef struct way {
    const char *name;
    weir_stage_spec *(*stage)(bench *b, uint32_t in_flight, uint32_t connections);
    uint32_t in_flight, connections;
    uint64_t rows; /* in a full run */
} way;

static weir_stage_spec *sqlite_stage(bench *b, uint32_t in_flight, uint32_t connections)
{
    (void)connections;
    return weir_sqlite_exec(&(weir_sqlite_config){ .path = b->path,
                                                   .schema = SCHEMA,
                                                   .statement = UPSERT,
                                                   .bind = bind_sqlite,
                                                   .user = &b->round,
                                                   .in_flight = in_flight,
                                                   .unordered = true });
}

static weir_stage_spec *postgres_exec(bench *b, uint32_t in_flight, uint32_t connections)
{
    return weir_postgres_exec(&(weir_postgres_config){
        .server = { .conninfo = b->server.url, .schema = SCHEMA, .connections = connections },
        .statement = UPSERT,
        .idempotent = true,
        .bind = bind_postgres,
        .user = &b->round,
        .in_flight = in_flight,
        .group_max = in_flight <= connections ? 1 : 0,
        .unordered = true,
    });
}

static weir_stage_spec *postgres_insert(bench *b, uint32_t in_flight, uint32_t connections)
{
    static const weir_postgres_column columns[] = { { "id", "text" },
                                                    { "amount", "float8" },
                                                    { "currency", "text" } };
    return weir_postgres_insert(&(weir_postgres_insert_config){
        .server = { .conninfo = b->server.url, .schema = SCHEMA, .connections = connections },
        .table = "orders",
        .columns = columns,
        .columns_n = 3,
        .key = "id",
        .bind = bind_postgres,
        .user = &b->round,
        .in_flight = in_flight,
        .unordered = true,
    });
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Median rows a second; 0 if rows were not stored. */
static double measure(bench *b, const way *w, bool quick)
{
    double rates[ROUNDS_MAX];
    int rounds = quick ? 1 : ROUNDS_MAX;
    uint64_t rows = quick ? w->rows / 10 : w->rows;
    for (int i = 0; i < rounds; i++) {
        feed f = { 0 };
        char ignored[8];
        b->round++;
        if (w->stage != sqlite_stage) /* no way pays for the rows of another */
            (void)server_postgres_ask(&b->server, "DROP TABLE IF EXISTS orders", ignored,
                                      sizeof ignored);
        uint64_t begin = now_ns();
        weir_status status = feed_run(&f, rows, w->stage(b, w->in_flight, w->connections));
        rates[i] = (double)rows * 1e9 / (double)(now_ns() - begin);
        bool ok = status == WEIR_OK && f.acked == rows;
        if (!ok)
            fprintf(stderr, "%s: %llu of %llu rows: %s\n", w->name, (unsigned long long)f.acked,
                    (unsigned long long)rows, f.why);
        feed_done(&f);
        if (!ok)
            return 0;
    }
    qsort(rates, (size_t)rounds, sizeof *rates, by_value);
    return rates[rounds / 2];
}

int main(int argc, char **argv)
{
    static const way ways[] = {
        { "durable_sqlite_256", sqlite_stage, 256, 0, 200000 },
        { "durable_sqlite_1024", sqlite_stage, 1024, 0, 200000 },
        { "durable_postgres_handler", postgres_exec, 1, 1, 10000 },
        { "durable_postgres_pool10", postgres_exec, 10, 10, 20000 },
        { "durable_postgres_pipeline_256", postgres_exec, 256, 2, 100000 },
        { "durable_postgres_insert_256", postgres_insert, 256, 2, 100000 },
        { "durable_postgres_insert_1024", postgres_insert, 1024, 2, 200000 },
    };
    bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    bench b = { 0 };
    char dir[SERVER_PATH_MAX];
    if (!server_dir_new(dir))
        return 1;
    (void)snprintf(b.path, sizeof b.path, "%s/orders.db", dir);
    bool has_postgres = server_postgres_start(&b.server);
    bool ok = true;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        if (ways[i].stage != sqlite_stage && !has_postgres)
            continue;
        double rate = measure(&b, &ways[i], quick);
        ok = ok && rate > 0;
        printf("%s=%.0f rows/s\n", ways[i].name, rate);
        (void)fflush(stdout);
    }
    if (has_postgres)
        server_postgres_stop(&b.server);
    server_dir_remove(dir);
    return ok ? 0 : 1;
}
