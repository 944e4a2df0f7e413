/* Where orders are kept: a table of SQLite or PostgreSQL, or nowhere. */
#include "service.h"

#include <weir/postgres.h>
#include <weir/sqlite.h>

#include <stdlib.h>

enum { SQLITE_GROUP = 512, PROBE_MS = 1000 };

static const char sqlite_schema[] = "CREATE TABLE IF NOT EXISTS orders ("
                                    "id TEXT PRIMARY KEY, amount REAL NOT NULL,"
                                    "currency TEXT NOT NULL, items TEXT, price REAL"
                                    ") WITHOUT ROWID";

static const char postgres_schema[] = "CREATE TABLE IF NOT EXISTS orders ("
                                      "id text PRIMARY KEY, amount float8 NOT NULL,"
                                      "currency text NOT NULL, items text, price float8)";

static const weir_postgres_column columns[] = {
    { "id", "text" },    { "amount", "float8" }, { "currency", "text" },
    { "items", "text" }, { "price", "float8" },
};

/* ---- Writing ---- */

static weir_status sqlite_bind(weir_item *item, weir_sqlite_params *p, void *user)
{
    work *w = work_of(item);
    (void)user;
    w->step = AT_STORE;
    weir_sqlite_bind_text(p, 1, w->order.id, w->order.id_bytes);
    weir_sqlite_bind_double(p, 2, w->order.amount);
    weir_sqlite_bind_text(p, 3, w->order.currency, 3);
    if (w->order.items != NULL)
        weir_sqlite_bind_text(p, 4, w->order.items, w->order.items_bytes);
    if (w->price >= 0)
        weir_sqlite_bind_double(p, 5, w->price);
    return WEIR_OK;
}

static weir_status sqlite_result(weir_item *item, uint64_t changes, uint64_t rows, void *user)
{
    (void)rows;
    (void)user;
    work_of(item)->found = changes == 0;
    return WEIR_OK;
}

static weir_status postgres_bind(weir_item *item, weir_postgres_params *p, void *user)
{
    work *w = work_of(item);
    (void)user;
    w->step = AT_STORE;
    weir_postgres_bind_text(p, 1, w->order.id, w->order.id_bytes);
    weir_postgres_bind_double(p, 2, w->order.amount);
    weir_postgres_bind_text(p, 3, w->order.currency, 3);
    if (w->order.items != NULL)
        weir_postgres_bind_text(p, 4, w->order.items, w->order.items_bytes);
    if (w->price >= 0)
        weir_postgres_bind_double(p, 5, w->price);
    return WEIR_OK;
}

static weir_status postgres_result(weir_item *item, bool inserted, void *user)
{
    (void)user;
    work_of(item)->found = !inserted;
    return WEIR_OK;
}

weir_stage_spec *store_stage(service *s)
{
    const options *o = &s->options;
    weir_stage_spec *spec =
        o->store == STORE_SQLITE
            ? weir_sqlite_exec(&(weir_sqlite_config){
                  .path = o->store_at,
                  .schema = sqlite_schema,
                  .statement = "INSERT INTO orders (id, amount, currency, items, price) "
                               "VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                  .bind = sqlite_bind,
                  .result = sqlite_result,
                  .group_max = SQLITE_GROUP })
            : weir_postgres_insert(&(weir_postgres_insert_config){
                  .server = { .conninfo = o->store_at, .schema = postgres_schema },
                  .table = "orders",
                  .columns = columns,
                  .columns_n = sizeof columns / sizeof *columns,
                  .key = "id",
                  .bind = postgres_bind,
                  .result = postgres_result });
    return weir_stage_named(spec, "store");
}

/* ---- Reading ---- */

static weir_status sqlite_question(weir_item *item, weir_sqlite_params *p, void *user)
{
    work *w = work_of(item);
    (void)user;
    w->step = AT_STORE;
    weir_sqlite_bind_text(p, 1, w->order.id, w->order.id_bytes);
    return WEIR_OK;
}

static weir_status sqlite_row(weir_item *item, const weir_sqlite_row *r, void *user)
{
    row found = { .price = -1 };
    (void)user;
    found.id = weir_sqlite_text(r, 0, &found.id_bytes);
    found.amount = weir_sqlite_double(r, 1);
    found.currency = weir_sqlite_text(r, 2, &found.currency_bytes);
    found.items = weir_sqlite_text(r, 3, &found.items_bytes);
    if (weir_sqlite_kind_of(r, 4) != WEIR_SQLITE_NULL)
        found.price = weir_sqlite_double(r, 4);
    return work_of(item)->service->door->row(item, &found);
}

static weir_status postgres_question(weir_item *item, weir_postgres_params *p, void *user)
{
    work *w = work_of(item);
    (void)user;
    w->step = AT_STORE;
    weir_postgres_bind_text(p, 1, w->order.id, w->order.id_bytes);
    return WEIR_OK;
}

static weir_status postgres_rows(weir_item *item, const weir_postgres_result *r, void *user)
{
    row found = { .price = -1 };
    (void)user;
    if (weir_postgres_rows(r) == 0)
        return WEIR_OK;
    found.id = weir_postgres_value(r, 0, 0, &found.id_bytes);
    const char *amount = weir_postgres_value(r, 0, 1, NULL);
    found.amount = amount != NULL ? strtod(amount, NULL) : 0;
    found.currency = weir_postgres_value(r, 0, 2, &found.currency_bytes);
    found.items = weir_postgres_value(r, 0, 3, &found.items_bytes);
    const char *price = weir_postgres_value(r, 0, 4, NULL);
    if (price != NULL)
        found.price = strtod(price, NULL);
    return work_of(item)->service->door->row(item, &found);
}

weir_stage_spec *query_stage(service *s)
{
    const options *o = &s->options;
    weir_stage_spec *spec =
        o->store == STORE_SQLITE
            ? weir_sqlite_query(&(weir_sqlite_config){
                  .path = o->store_at,
                  .statement = "SELECT id, amount, currency, items, price FROM orders WHERE id = ?",
                  .bind = sqlite_question,
                  .row = sqlite_row,
                  .unordered = true })
            : weir_postgres_query(&(weir_postgres_config){
                  .server = { .conninfo = o->store_at,
                              .schema = postgres_schema,
                              .connections = 1 },
                  .statement =
                      "SELECT id, amount, currency, items, price FROM orders WHERE id = $1",
                  .bind = postgres_question,
                  .result = postgres_rows,
                  .unordered = true });
    return weir_stage_named(spec, "query");
}

/* ---- Is it well? ---- */

struct store_watch {
    service *service;
    weir_loop *loop;
    weir_sqlite_probe *sqlite;
    weir_postgres_probe *postgres;
    weir_timer timer;
    bool asking;
};

static void answered(weir_status status, void *user)
{
    store_watch *w = user;
    w->asking = false;
    atomic_store(&w->service->store_status, status);
}

static void ask(weir_timer *timer, void *user)
{
    store_watch *w = user;
    weir_status status = w->sqlite != NULL ? weir_sqlite_probe_ask(w->sqlite, answered, w)
                                           : weir_postgres_probe_ask(w->postgres, 0, answered, w);
    if (status == WEIR_OK)
        w->asking = true;
    else if (status != WEIR_EAGAIN)
        atomic_store(&w->service->store_status, status);
    weir_timer_start(w->loop, timer, PROBE_MS * WEIR_MS, ask, w);
}

store_watch *store_watch_new(weir_loop *loop, service *s)
{
    const options *o = &s->options;
    store_watch *w = weir_memory_new(&s->env, sizeof *w);
    if (w == NULL)
        return NULL;
    w->service = s;
    w->loop = loop;
    weir_status status =
        o->store == STORE_SQLITE
            ? weir_sqlite_probe_new(loop, o->store_at, &w->sqlite)
            : weir_postgres_probe_new(loop, &(weir_postgres_server){ .conninfo = o->store_at },
                                      &w->postgres);
    if (status != WEIR_OK) {
        weir_memory_free(&s->env, w);
        return NULL;
    }
    atomic_store(&s->store_status, WEIR_EUNAVAILABLE);
    ask(&w->timer, w);
    return w;
}

bool store_watch_stop(store_watch *w)
{
    weir_timer_stop(w->loop, &w->timer);
    return !w->asking;
}

void store_watch_free(store_watch *w)
{
    if (w == NULL)
        return;
    weir_timer_stop(w->loop, &w->timer);
    weir_sqlite_probe_free(w->sqlite);
    weir_postgres_probe_free(w->postgres);
    weir_memory_free(&w->service->env, w);
}
