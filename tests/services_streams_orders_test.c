/* The streams service's orders: Submit, into the order service's pipeline, and Watch. */
#include "streams_rig.h"

#if WEIR_HAVE_SQLITE
#include <sqlite3.h>
#endif

static Orders__V1__Order order_of(const char *id, double amount, const char *currency)
{
    Orders__V1__Order order = ORDERS__V1__ORDER__INIT;
    order.id = (char *)(uintptr_t)id;
    order.amount = amount;
    order.currency = (char *)(uintptr_t)currency;
    return order;
}

static void submit(streams *s, const Orders__V1__Order *order, weir_rpc_code code, caller *c)
{
    *c = (caller){ 0 };
    start_submit(c, s, order);
    expect(c, code);
}

/* Many at once, with ids of `id_bytes`; all are to be taken. */
static void submit_many(streams *s, int n, size_t id_bytes, const char *currency)
{
    enum { AT_ONCE = 50 };
    static caller callers[AT_ONCE];
    char id[256];
    assert_true(id_bytes < sizeof id);
    for (int at = 0; at < n; at += AT_ONCE) {
        for (int i = 0; i < AT_ONCE; i++) {
            Orders__V1__Order order = order_of(id, 1, currency);
            snprintf(id, sizeof id, "%0*d", (int)id_bytes, at + i);
            callers[i] = (caller){ 0 };
            start_submit(&callers[i], s, &order);
        }
        for (int i = 0; i < AT_ONCE; i++)
            expect(&callers[i], WEIR_RPC_OK);
    }
}

/* ---- The store, from outside ---- */

#if WEIR_HAVE_SQLITE
static int rows_in(const char *db, const char *where)
{
    sqlite3 *file = NULL;
    sqlite3_stmt *count = NULL;
    char sql[256];
    int rows = -1;
    snprintf(sql, sizeof sql, "SELECT count(*) FROM orders WHERE %s", where);
    if (sqlite3_open_v2(db, &file, SQLITE_OPEN_READWRITE, NULL) == SQLITE_OK &&
        sqlite3_prepare_v2(file, sql, -1, &count, NULL) == SQLITE_OK &&
        sqlite3_step(count) == SQLITE_ROW)
        rows = sqlite3_column_int(count, 0);
    sqlite3_finalize(count);
    sqlite3_close(file);
    return rows;
}

static void start_with_store(streams *s, const char *option, const char *value)
{
    char store[SERVER_PATH_MAX + 32];
    streams_new(s);
    snprintf(store, sizeof store, "sqlite:%s", s->db);
    streams_spawn(s, ARGS("--store", store, option, value));
    streams_wait(s);
    s->channel = streams_connect(s, (weir_rpc_channel_config){ .target = NULL });
}

static void an_order_is_stored_and_has_a_receipt(void **state)
{
    streams s;
    caller c;
    Orders__V1__Item item = ORDERS__V1__ITEM__INIT, *items[] = { &item };
    Orders__V1__Order order = order_of("A-1", 12.5, "EUR");
    (void)state;
    item.sku = (char *)(uintptr_t) "x";
    item.qty = 2;
    item.price = 6.25;
    order.items = items;
    order.n_items = 1;
    start_with_store(&s, "--pricing", "builtin");
    submit(&s, &order, WEIR_RPC_OK, &c);
    assert_string_equal(c.text, "A-1");
    assert_string_equal(c.other, "stored");
    char where[128];
    snprintf(where, sizeof where, "id = 'A-1' AND amount = 12.5 AND abs(price - %.2f) < 0.001",
             c.total); /* what the pricing service says */
    assert_int_equal(rows_in(s.db, where), 1);
    assert_int_equal(rows_in(s.db, "currency = 'EUR' AND items LIKE '%\"sku\":\"x\"%'"), 1);
    streams_stop(&s);
}

static void an_order_that_comes_again_is_stored_once_and_told_of_once(void **state)
{
    streams s;
    caller c, watch = { .asks = 100 };
    Orders__V1__Order order = order_of("A-1", 1, "EUR"), other = order_of("A-2", 1, "EUR");
    (void)state;
    start_with_store(&s, "--loops", "2");
    start_watch(&watch, &s, "");
    RUN_UNTIL(&s, watch.begins == 1);
    for (int i = 0; i < 3; i++) {
        order.amount = 1 + i;
        submit(&s, &order, WEIR_RPC_OK, &c);
        assert_string_equal(c.other, "stored");
    }
    submit(&s, &other, WEIR_RPC_OK, &c);
    RUN_UNTIL(&s, strcmp(watch.text, "A-2") == 0);
    assert_int_equal(watch.messages, 2);
    assert_int_equal(rows_in(s.db, "amount = 1"), 2);
    assert_int_equal(rows_in(s.db, "1"), 2);
    streams_stop(&s);
}

/* Another process writes: nobody else may. */
static sqlite3 *lock(const streams *s)
{
    sqlite3 *file = NULL;
    assert_int_equal(sqlite3_open_v2(s->db, &file, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(file, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
    return file;
}

static void unlock(sqlite3 *file)
{
    assert_int_equal(sqlite3_exec(file, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(file);
}

static void a_deadline_reaches_the_store(void **state)
{
    streams s;
    caller c;
    Orders__V1__Order first = order_of("A-1", 1, "EUR"), order = order_of("A-2", 1, "EUR");
    (void)state;
    start_with_store(&s, "--deadline-ms", "300"); /* of a Submit that brings none */
    submit(&s, &first, WEIR_RPC_OK, &c);
    sqlite3 *file = lock(&s);
    submit(&s, &order, WEIR_RPC_DEADLINE_EXCEEDED, &c);
    assert_non_null(strstr(c.error, "store"));
    await_in_flight(&s, "Orders/Submit", 0);
    assert_serves(&s);
    unlock(file);
    submit(&s, &order, WEIR_RPC_OK, &c);
    assert_int_equal(rows_in(s.db, "1"), 2);
    streams_stop(&s);
}

static void a_caller_that_goes_away_frees_its_place_in_the_store(void **state)
{
    streams s;
    caller c, gone = { 0 };
    Orders__V1__Order first = order_of("A-1", 1, "EUR"), order = order_of("A-2", 1, "EUR");
    (void)state;
    start_with_store(&s, "--deadline-ms", "60000");
    submit(&s, &first, WEIR_RPC_OK, &c);
    sqlite3 *file = lock(&s);
    start_submit(&gone, &s, &order);
    assert_serves(&s);
    await_in_flight(&s, "Orders/Submit", 1);
    weir_rpc_cancel(gone.call);
    expect(&gone, WEIR_RPC_CANCELLED);
    assert_serves(&s);
    await_in_flight(&s, "Orders/Submit", 0);
    await_completed(&s, "Orders/Submit", "CANCELLED", 1);
    unlock(file);
    streams_stop(&s);
}

static void orders_with_receipts_are_stored_when_it_ends(void **state)
{
    enum { ORDERS = 300 };
    static caller callers[ORDERS];
    streams s;
    char id[32];
    int good = 0;
    (void)state;
    start_with_store(&s, "--drain-ms", "20000");
    memset(callers, 0, sizeof callers);
    for (int i = 0; i < ORDERS; i++) {
        snprintf(id, sizeof id, "A-%d", i);
        Orders__V1__Order order = order_of(id, 1, "EUR");
        start_submit(&callers[i], &s, &order);
    }
    RUN_UNTIL(&s, callers[10].overs == 1);
    kill(s.pid, SIGTERM);
    for (int i = 0; i < ORDERS; i++) {
        RUN_UNTIL(&s, callers[i].overs == 1);
        good += callers[i].code == WEIR_RPC_OK;
        if (callers[i].code != WEIR_RPC_OK && callers[i].code != WEIR_RPC_UNAVAILABLE &&
            callers[i].code != WEIR_RPC_DEADLINE_EXCEEDED)
            fail_msg("%s: %s", weir_rpc_code_name(callers[i].code), callers[i].error);
    }
    assert_true(good > 10);
    assert_exits(&s, 0);
    assert_true(rows_in(s.db, "1") >= good);
    streams_discard(&s);
}
#endif

/* ---- What is no order ---- */

typedef struct bad_order {
    const char *id;
    double amount;
    const char *currency, *why;
} bad_order;

static void what_is_no_order_is_an_invalid_argument(void **state)
{
    static const bad_order bad[] = {
        { "", 1, "EUR", "id" },
        { "A", 0, "EUR", "amount" },
        { "A", -1, "EUR", "amount" },
        { "A", 0.0 / 0.0, "EUR", "amount" },
        { "A", 1 / 0.0, "EUR", "amount" },
        { "A", 1, "", "currency" },
        { "A", 1, "euro", "currency" },
        { "A\n", 1, "EUR", "id" },
    };
    streams s;
    caller c;
    (void)state;
    streams_start(&s, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Orders__V1__Order order = order_of(bad[i].id, bad[i].amount, bad[i].currency);
        submit(&s, &order, WEIR_RPC_INVALID_ARGUMENT, &c);
        if (strstr(c.error, bad[i].why) == NULL)
            fail_msg("%s: %s", bad[i].why, c.error);
    }
    Orders__V1__Item item = ORDERS__V1__ITEM__INIT, *items[] = { &item };
    Orders__V1__Order order = order_of("A", 1, "EUR");
    order.items = items;
    order.n_items = 1;
    submit(&s, &order, WEIR_RPC_INVALID_ARGUMENT, &c); /* an item without anything */
    assert_non_null(strstr(c.error, "items[0]"));
    order.n_items = 0;
    submit(&s, &order, WEIR_RPC_OK, &c);
    assert_string_equal(c.other, "taken"); /* there is no store */
    streams_stop(&s);
}

static void an_order_without_a_price_is_refused(void **state)
{
    streams s;
    caller c;
    char url[64];
    Orders__V1__Order order = order_of("A", 1, "EUR");
    (void)state;
    snprintf(url, sizeof url, "http://127.0.0.1:%u", server_free_port()); /* nobody listens */
    streams_start(&s, ARGS("--pricing", url));
    submit(&s, &order, WEIR_RPC_UNAVAILABLE, &c);
    assert_non_null(strstr(c.error, "pricing"));
    assert_serves(&s);
    streams_stop(&s);
}

/* ---- Watch ---- */

static void watchers_are_told_of_the_currency_they_ask_for(void **state)
{
    streams s;
    caller c, all = { .asks = 8 }, dollars = { .asks = 8 }, gone = { .asks = 8 };
    (void)state;
    streams_start(&s, ARGS("--pricing", "none", "--loops", "2"));
    start_watch(&all, &s, "");
    start_watch(&dollars, &s, "USD");
    start_watch(&gone, &s, "USD");
    RUN_UNTIL(&s, all.begins == 1 && dollars.begins == 1 && gone.begins == 1);
    weir_rpc_cancel(gone.call);
    expect(&gone, WEIR_RPC_CANCELLED);
    for (int i = 0; i < 10; i++) {
        char id[16];
        snprintf(id, sizeof id, "A-%d", i);
        Orders__V1__Order order = order_of(id, 1 + i, i % 2 == 0 ? "EUR" : "USD");
        submit(&s, &order, WEIR_RPC_OK, &c);
    }
    RUN_UNTIL(&s, all.messages == 10 && dollars.messages == 5);
    assert_string_equal(dollars.text, "A-9");
    assert_string_equal(dollars.other, "taken");
    await_in_flight(&s, "Orders/Watch", 2);
    streams_stop(&s);
}

static void a_watcher_that_does_not_read_misses_and_harms_nobody(void **state)
{
    enum { ORDERS = 4000, WATCHERS = 90, GROWTH_KB_MAX = GROWTH_KB(24 * 1024) };
    static caller slow[WATCHERS];
    streams s;
    caller quick = { .asks = 64 }, c;
    (void)state;
    streams_start(&s, ARGS("--pricing", "none"));
    memset(slow, 0, sizeof slow);
    weir_rpc_channel *busy = s.channel, *idle = streams_connect(&s, (weir_rpc_channel_config){ 0 });
    start_watch(&quick, &s, "");
    s.channel = idle;
    for (int i = 0; i < WATCHERS; i++)
        start_watch(&slow[i], &s, "");
    s.channel = busy;
    for (int i = 0; i < WATCHERS; i++)
        RUN_UNTIL(&s, slow[i].begins == 1);
    RUN_UNTIL(&s, quick.begins == 1);
    long before = streams_rss(&s);
    submit_many(&s, ORDERS, 120, "EUR");
    RUN_UNTIL(&s, quick.messages == ORDERS);
    long growth = streams_rss(&s) - before;
    if (growth > GROWTH_KB_MAX)
        fail_msg("%ld KiB more", growth);
    for (int i = 0; i < WATCHERS; i++)
        assert_int_equal(slow[i].overs, 0);
    weir_rpc_request(slow[3].call, WEIR_UNBOUNDED);
    Orders__V1__Order last = order_of("the last", 1, "EUR");
    submit(&s, &last, WEIR_RPC_OK, &c);
    RUN_UNTIL(&s, slow[3].messages > 0);
    while (strcmp(slow[3].text, "again") != 0) { /* what it has kept comes first */
        Orders__V1__Order again = order_of("again", 1, "EUR");
        submit(&s, &again, WEIR_RPC_OK, &c);
    }
    assert_in_range(slow[3].messages, 100, ORDERS - 100);
    weir_rpc_channel_free(idle);
    for (int i = 0; i < WATCHERS; i++)
        expect(&slow[i], WEIR_RPC_CANCELLED);
    await_in_flight(&s, "Orders/Watch", 1);
    streams_stop(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#if WEIR_HAVE_SQLITE
        cmocka_unit_test(an_order_is_stored_and_has_a_receipt),
        cmocka_unit_test(an_order_that_comes_again_is_stored_once_and_told_of_once),
        cmocka_unit_test(a_deadline_reaches_the_store),
        cmocka_unit_test(a_caller_that_goes_away_frees_its_place_in_the_store),
        cmocka_unit_test(orders_with_receipts_are_stored_when_it_ends),
#endif
        cmocka_unit_test(what_is_no_order_is_an_invalid_argument),
        cmocka_unit_test(an_order_without_a_price_is_refused),
        cmocka_unit_test(watchers_are_told_of_the_currency_they_ask_for),
        cmocka_unit_test(a_watcher_that_does_not_read_misses_and_harms_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
