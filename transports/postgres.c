/* The PostgreSQL stages: items to statements in groups, groups to connections, and back. */
#include <weir/postgres.h>

#include <weir/async.h>

#include "postgres_conninfo.h"
#include "postgres_link.h"
#include "postgres_params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if WEIR_HAVE_POSTGRES

struct weir_postgres_result {
    const PGresult *result;
};

uint64_t weir_postgres_changes(const weir_postgres_result *result)
{
    return strtoull(PQcmdTuples((PGresult *)(uintptr_t)result->result), NULL, 10);
}

uint32_t weir_postgres_rows(const weir_postgres_result *result)
{
    return (uint32_t)PQntuples(result->result);
}

uint32_t weir_postgres_columns(const weir_postgres_result *result)
{
    return (uint32_t)PQnfields(result->result);
}

const char *weir_postgres_value(const weir_postgres_result *result, uint32_t row, uint32_t column,
                                size_t *ret_bytes)
{
    if (row >= weir_postgres_rows(result) || column >= weir_postgres_columns(result) ||
        PQgetisnull(result->result, (int)row, (int)column))
        return NULL;
    if (ret_bytes != NULL)
        *ret_bytes = (size_t)PQgetlength(result->result, (int)row, (int)column);
    return PQgetvalue(result->result, (int)row, (int)column);
}

/* ---- The client: one for each replica ---- */

enum {
    CONNECTIONS_MAX = 64,
    IN_FLIGHT_MAX = 65536,
    EXEC_GROUP_DEFAULT = 64,
    EXEC_GROUP_MAX = 256,
    EXEC_GROUPS = 4, /* under way on a connection: with groups of 64, 256 statements */
    INSERT_GROUP_DEFAULT = 500,
    INSERT_GROUP_MAX = 4096,
    INSERT_GROUPS = 1, /* so that rows gather while a statement is under way */
    TRIES_MAX = 10     /* of a statement that meets conflicts or lost connections */
};

/* One item's statement. It outlives its operation when that is given up while the server is at it.
 */
typedef struct call call;
struct call {
    weir_op *op; /* NULL: given up */
    call *next, *prev;
    PGresult *result;   /* kept until the commit is known */
    uint32_t group_max; /* how many it may be grouped with, less after each failure */
    uint32_t tries;
    bool is_sent, is_inserted;
};

typedef struct call_list {
    call *first, *last;
    uint32_t n;
} call_list;

/* Statements that commit together: between two syncs, or one for many rows. */
typedef struct group group;
struct group {
    group *next;
    call_list calls;
    call *at;         /* whose result comes next */
    PGresult *result; /* of the one statement for many rows */
    PGresult *error;  /* the first */
};

typedef struct client client;

typedef struct lane {
    client *client;
    wi_pg_link *link;
    group *first, *last;
    uint32_t groups;
} lane;

/* What exec and insert have in common, out of their configs. */
typedef struct settings {
    weir_postgres_server server;
    weir_status (*bind)(weir_item *item, weir_postgres_params *params, void *user);
    weir_status (*result)(weir_item *item, const weir_postgres_result *result, void *user);
    weir_status (*inserted)(weir_item *item, bool inserted, void *user);
    void *user;
    const char *statement;
    const weir_postgres_insert_config *insert; /* NULL: a statement for each item */
    bool idempotent, reads_only;
    uint32_t group_max, groups_max, params_n;
    size_t bytes_max;
} settings;

struct client {
    weir_stage *stage;
    const weir_env *env;
    settings set;
    char *sql; /* of an insert */
    lane *lanes;
    uint32_t lanes_n, lanes_up, lane_next;
    call_list waiting;
    call *free_calls;
    group *groups, *free_groups;
    weir_postgres_params params;
    wi_pg_text arrays[WEIR_POSTGRES_PARAMS_MAX];
    call **by_ordinal; /* of an insert's group */
};

typedef struct slot {
    call *call;
} slot;

static void pump(client *c);

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value == 0 ? otherwise : value;
}

/* ---- Lists ---- */

static void list_append(call_list *list, call *one)
{
    one->next = NULL;
    one->prev = list->last;
    if (list->last != NULL)
        list->last->next = one;
    else
        list->first = one;
    list->last = one;
    list->n++;
}

static void list_prepend(call_list *list, call *one)
{
    one->prev = NULL;
    one->next = list->first;
    if (list->first != NULL)
        list->first->prev = one;
    else
        list->last = one;
    list->first = one;
    list->n++;
}

static void list_remove(call_list *list, call *one)
{
    *(one->prev != NULL ? &one->prev->next : &list->first) = one->next;
    *(one->next != NULL ? &one->next->prev : &list->last) = one->prev;
    one->next = one->prev = NULL;
    list->n--;
}

static call *list_take_first(call_list *list)
{
    call *one = list->first;
    if (one != NULL)
        list_remove(list, one);
    return one;
}

static call *list_take_last(call_list *list)
{
    call *one = list->last;
    if (one != NULL)
        list_remove(list, one);
    return one;
}

/* ---- Calls and groups, kept for the next ---- */

static call *call_new(client *c)
{
    call *one = c->free_calls;
    if (one != NULL)
        c->free_calls = one->next;
    else
        one = weir_memory_new(c->env, sizeof *one);
    if (one != NULL)
        *one = (call){ .group_max = c->set.group_max };
    return one;
}

static void call_free(client *c, call *one)
{
    PQclear(one->result);
    one->result = NULL;
    one->next = c->free_calls;
    c->free_calls = one;
}

/* There are as many as may be under way, so there is one. */
static group *group_new(client *c)
{
    group *g = c->free_groups;
    c->free_groups = g->next;
    *g = (group){ 0 };
    return g;
}

static void group_free(client *c, group *g)
{
    PQclear(g->result);
    PQclear(g->error);
    g->next = c->free_groups;
    c->free_groups = g;
}

static void call_done(client *c, call *one, weir_status status, const char *why)
{
    weir_op *op = one->op;
    call_free(c, one);
    if (op != NULL)
        weir_op_done(op, status, why);
}

/* Back to the front of the queue, to be sent again; given up ones are forgotten. */
static void call_again(client *c, call *one)
{
    if (one->op == NULL) {
        call_free(c, one);
        return;
    }
    PQclear(one->result);
    one->result = NULL;
    one->is_sent = one->is_inserted = false;
    list_prepend(&c->waiting, one);
}

/* ---- Sending ---- */

/* Sets c->params from the item. False: the call is over. */
static bool bind(client *c, call *one)
{
    wi_pg_params_clear(&c->params);
    weir_status status = WEIR_OK;
    if (c->set.bind != NULL)
        status = c->set.bind(one->op->item, &c->params, c->set.user);
    if (status == WEIR_OK)
        status = c->params.status;
    if (status == WEIR_OK && c->set.insert != NULL && c->params.n > c->set.params_n)
        status = WEIR_EINVAL;
    if (status != WEIR_OK)
        call_done(c, one, status, "its parameters do not fit the statement");
    return status == WEIR_OK;
}

static bool send_one(client *c, lane *l)
{
    wi_pg_params_point(&c->params, c->params.n);
    return wi_pg_link_send(l->link, (int)c->params.n, c->params.values, c->params.bytes,
                           c->params.formats);
}

static bool gather_one(client *c)
{
    wi_pg_params_point(&c->params, c->set.params_n);
    bool ok = true;
    for (uint32_t i = 0; i < c->set.params_n; i++)
        ok = ok && wi_pg_array_add(c->env, &c->arrays[i], c->params.values[i],
                                   (size_t)c->params.bytes[i]);
    return ok;
}

static bool send_gathered(client *c, lane *l)
{
    const char *values[WEIR_POSTGRES_PARAMS_MAX];
    bool ok = true;
    for (uint32_t i = 0; i < c->set.params_n; i++) {
        ok = ok && wi_pg_array_end(c->env, &c->arrays[i]);
        values[i] = c->arrays[i].data;
    }
    return ok && wi_pg_link_send(l->link, (int)c->set.params_n, values, NULL, NULL);
}

/* Moves calls from the queue into the group, and their statements to the connection. False: the
 * connection is to be given up; all that was moved is in the group then. */
static bool fill_group(client *c, lane *l, group *g)
{
    bool gathers = c->set.insert != NULL;
    for (uint32_t i = 0; gathers && i < c->set.params_n; i++)
        c->arrays[i].used = 0;
    uint32_t most = c->waiting.first->group_max;
    while (c->waiting.first != NULL && g->calls.n < most) {
        if (c->waiting.first->group_max < most) {
            if (g->calls.n >= c->waiting.first->group_max)
                break;
            most = c->waiting.first->group_max;
        }
        call *one = list_take_first(&c->waiting);
        if (!bind(c, one))
            continue;
        one->is_sent = true;
        list_append(&g->calls, one);
        if (!(gathers ? gather_one(c) : send_one(c, l)))
            return false;
    }
    g->at = g->calls.first;
    if (g->calls.n == 0)
        return true;
    return (!gathers || send_gathered(c, l)) && wi_pg_link_sync(l->link);
}

static void lane_append(lane *l, group *g)
{
    g->next = NULL;
    *(l->last != NULL ? &l->last->next : &l->first) = g;
    l->last = g;
    l->groups++;
}

/* The connection that is up, has room and the least to do. */
static lane *lane_with_room(client *c)
{
    lane *best = NULL;
    for (uint32_t i = 0; i < c->lanes_n; i++) {
        lane *l = &c->lanes[(c->lane_next + i) % c->lanes_n];
        if (wi_pg_link_is_up(l->link) && l->groups < c->set.groups_max &&
            (best == NULL || l->groups < best->groups))
            best = l;
    }
    return best;
}

static void pump(client *c)
{
    while (c->waiting.first != NULL) {
        lane *l = lane_with_room(c);
        if (l == NULL)
            return;
        group *g = group_new(c);
        c->lane_next = (uint32_t)(l - c->lanes) + 1;
        bool ok = fill_group(c, l, g);
        if (g->calls.n == 0)
            group_free(c, g);
        else
            lane_append(l, g);
        if (!ok)
            wi_pg_link_lose(l->link, "cannot send");
    }
}

/* ---- Results ---- */

static lane *lane_of(client *c, const wi_pg_link *link)
{
    for (uint32_t i = 0; i < c->lanes_n; i++)
        if (c->lanes[i].link == link)
            return &c->lanes[i];
    return NULL;
}

static void on_result(wi_pg_link *link, PGresult *result, void *user)
{
    lane *l = lane_of(user, link);
    group *g = l->first;
    ExecStatusType status = PQresultStatus(result);
    if (g == NULL) {
        PQclear(result);
    } else if (status == PGRES_FATAL_ERROR && g->error == NULL) {
        g->error = result;
    } else if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
        PQclear(result);
        if (status != PGRES_PIPELINE_ABORTED && status != PGRES_FATAL_ERROR)
            wi_pg_link_lose(link, "the statement wants a copy, which is not supported");
        return;
    } else if (l->client->set.insert != NULL) {
        PQclear(g->result);
        g->result = result;
    } else if (g->at != NULL) {
        g->at->result = result;
        g->at = g->at->next;
    } else {
        PQclear(result);
    }
}

/* Which rows of the statement were inserted: it returns their ordinals. */
static void mark_inserted(client *c, group *g)
{
    uint32_t n = 0;
    for (call *one = g->calls.first; one != NULL; one = one->next) {
        one->is_inserted = c->set.insert->key == NULL;
        c->by_ordinal[n++] = one;
    }
    for (int row = 0; c->set.insert->key != NULL && row < PQntuples(g->result); row++) {
        unsigned long ordinal = strtoul(PQgetvalue(g->result, row, 0), NULL, 10);
        if (ordinal >= 1 && ordinal <= n)
            c->by_ordinal[ordinal - 1]->is_inserted = true;
    }
}

static void finish_call(client *c, call *one)
{
    weir_status status = WEIR_OK;
    if (one->op != NULL && c->set.result != NULL && one->result != NULL) {
        weir_postgres_result result = { one->result };
        status = c->set.result(one->op->item, &result, c->set.user);
    } else if (one->op != NULL && c->set.inserted != NULL) {
        status = c->set.inserted(one->op->item, one->is_inserted, c->set.user);
    }
    call_done(c, one, status, "refused by its callback");
}

/* The group was rolled back: halves it and sends it again, until what fails stands alone. */
static void split_group(client *c, group *g)
{
    bool is_conflict = wi_pg_is_conflict(g->error);
    uint32_t n = g->calls.n;
    call *one;
    while ((one = list_take_last(&g->calls)) != NULL) {
        bool again = is_conflict && one->tries < TRIES_MAX;
        if (!again && n == 1) {
            const char *why = NULL;
            weir_status status = wi_pg_status(g->error, &why);
            call_done(c, one, status, why);
            continue;
        }
        if (again)
            one->tries++;
        else
            one->group_max = n / 2;
        call_again(c, one);
    }
}

static void on_synced(wi_pg_link *link, void *user)
{
    client *c = user;
    lane *l = lane_of(c, link);
    group *g = l->first;
    if (g->error != NULL && wi_pg_is_shutdown(g->error)) {
        wi_pg_link_lose(link, "the server is going away");
        return;
    }
    l->first = g->next;
    if (l->first == NULL)
        l->last = NULL;
    l->groups--;
    if (g->error == NULL) {
        if (c->set.insert != NULL)
            mark_inserted(c, g);
        call *one;
        while ((one = list_take_first(&g->calls)) != NULL)
            finish_call(c, one);
    } else {
        split_group(c, g);
    }
    group_free(c, g);
}

static void on_idle(wi_pg_link *link, void *user)
{
    (void)link;
    pump(user);
}

/* ---- Connections come and go ---- */

static void on_up(wi_pg_link *link, void *user)
{
    (void)link;
    client *c = user;
    c->lanes_up++;
    weir_async_limit(c->stage, UINT32_MAX);
    pump(c);
}

static void drop_group(client *c, group *g)
{
    call *one;
    while ((one = list_take_last(&g->calls)) != NULL) {
        /* The bound is for a statement that itself brings the server down. */
        if (c->set.idempotent && one->tries++ < TRIES_MAX)
            call_again(c, one);
        else
            call_done(c, one, WEIR_EUNAVAILABLE,
                      "the connection was lost: whether the statement was done is unknown");
    }
    group_free(c, g);
}

static void on_down(wi_pg_link *link, void *user)
{
    client *c = user;
    lane *l = lane_of(c, link);
    if (--c->lanes_up == 0)
        weir_async_limit(c->stage, 0);
    /* The last first, because each goes to the front of the queue. */
    group *reversed = NULL;
    while (l->first != NULL) {
        group *g = l->first;
        l->first = g->next;
        g->next = reversed;
        reversed = g;
    }
    l->last = NULL;
    l->groups = 0;
    while (reversed != NULL) {
        group *g = reversed;
        reversed = g->next;
        drop_group(c, g);
    }
}

/* ---- The stage's callbacks ---- */

static void start(weir_op *op, void *state)
{
    client *c = state;
    call *one = call_new(c);
    if (one == NULL) {
        weir_op_done(op, WEIR_ENOMEM, "no memory for a statement");
        return;
    }
    one->op = op;
    ((slot *)op->work)->call = one;
    list_append(&c->waiting, one);
}

static void flush(weir_stage *stage, void *state)
{
    (void)stage;
    pump(state);
}

static void cancel(weir_op *op, weir_status status, void *state)
{
    client *c = state;
    call *one = ((slot *)op->work)->call;
    one->op = NULL;
    if (!one->is_sent) {
        list_remove(&c->waiting, one);
        call_free(c, one);
    }
    weir_op_done(op, status, "given up");
}

static void close_client(weir_stage *stage, void *state)
{
    (void)stage;
    client *c = state;
    for (uint32_t i = 0; i < c->lanes_n; i++) {
        lane *l = &c->lanes[i];
        wi_pg_link_free(l->link);
        while (l->first != NULL) { /* only what was given up is left */
            group *g = l->first;
            l->first = g->next;
            drop_group(c, g);
        }
    }
    while (c->free_calls != NULL) {
        call *one = c->free_calls;
        c->free_calls = one->next;
        weir_memory_free(c->env, one);
    }
    for (uint32_t i = 0; i < WEIR_POSTGRES_PARAMS_MAX; i++)
        weir_memory_free(c->env, c->arrays[i].data);
    wi_pg_params_done(&c->params);
    weir_memory_free(c->env, (void *)c->by_ordinal);
    weir_memory_free(c->env, c->groups);
    weir_memory_free(c->env, c->lanes);
    weir_memory_free(c->env, c->sql);
}

static weir_status open_client(weir_stage *stage, client *c)
{
    c->stage = stage;
    c->params.env = c->env;
    c->params.bytes_max = c->set.bytes_max;
    c->params.text_only = c->set.insert != NULL;
    uint32_t n = or_default(c->set.server.connections, 2);
    c->lanes = weir_memory_new(c->env, n * sizeof *c->lanes);
    c->groups = weir_memory_new(c->env, n * c->set.groups_max * sizeof *c->groups);
    if (c->lanes == NULL || c->groups == NULL)
        goto fail;
    for (uint32_t i = 0; i < n * c->set.groups_max; i++)
        group_free(c, &c->groups[i]);
    weir_async_limit(stage, 0);
    for (uint32_t i = 0; i < n; i++) {
        lane *l = &c->lanes[c->lanes_n++];
        l->client = c;
        l->link = wi_pg_link_new(&(wi_pg_link_config){ .loop = weir_stage_loop(stage),
                                                       .server = c->set.server,
                                                       .statement = c->set.statement,
                                                       .reads_only = c->set.reads_only,
                                                       .up = on_up,
                                                       .down = on_down,
                                                       .result = on_result,
                                                       .synced = on_synced,
                                                       .idle = on_idle,
                                                       .user = c });
        if (l->link == NULL)
            goto fail;
    }
    return WEIR_OK;
fail:
    close_client(stage, c);
    return WEIR_ENOMEM;
}

static weir_status check_server(const weir_postgres_server *server, const char **why)
{
    weir_status status = wi_pg_conninfo_check(server->conninfo, why);
    if (status != WEIR_OK)
        return status;
    if (server->connections <= CONNECTIONS_MAX)
        return WEIR_OK;
    *why = "connections is above 64";
    return WEIR_EINVAL;
}

/* ---- A statement for each item ---- */

static weir_status exec_check(const void *config, const char **why)
{
    const weir_postgres_config *e = config;
    *why = e->statement == NULL || e->statement[0] == '\0' ? "postgres needs a statement"
           : e->in_flight > IN_FLIGHT_MAX                  ? "in_flight is above 65536"
           : e->group_max > EXEC_GROUP_MAX                 ? "group_max is above 256"
           : e->bytes_max > 512u << 20                     ? "bytes_max is above 512 MiB"
                                                           : NULL;
    return *why != NULL ? WEIR_EINVAL : check_server(&e->server, why);
}

static weir_status exec_open_as(weir_stage *stage, const void *config, void *state, bool reads_only)
{
    const weir_postgres_config *e = config;
    client *c = state;
    c->env = weir_stage_env(stage);
    c->set = (settings){ .server = e->server,
                         .bind = e->bind,
                         .result = e->result,
                         .user = e->user,
                         .statement = e->statement,
                         .idempotent = e->idempotent || reads_only,
                         .reads_only = reads_only,
                         .group_max = or_default(e->group_max, EXEC_GROUP_DEFAULT),
                         .groups_max = EXEC_GROUPS,
                         .bytes_max = or_default(e->bytes_max, 1u << 20) };
    return open_client(stage, c);
}

static weir_status exec_open(weir_stage *stage, const void *config, void *state)
{
    return exec_open_as(stage, config, state, false);
}

static weir_status query_open(weir_stage *stage, const void *config, void *state)
{
    return exec_open_as(stage, config, state, true);
}

static weir_stage_spec *exec_of(const weir_async_type *type, const weir_postgres_config *config)
{
    static const weir_postgres_config none;
    const weir_postgres_config *e = config == NULL ? &none : config;
    uint32_t connections = e->server.connections > CONNECTIONS_MAX
                               ? CONNECTIONS_MAX
                               : or_default(e->server.connections, 2);
    weir_async_options options = { .in_flight = or_default(e->in_flight, 256 * connections),
                                   .unordered = e->unordered,
                                   .timeout_ms = e->timeout_ms };
    return weir_async_of(type, &options, e);
}

weir_stage_spec *weir_postgres_exec(const weir_postgres_config *config)
{
    static const weir_async_type type = {
        .name = "postgres_exec",
        .config_size = sizeof(weir_postgres_config),
        .state_size = sizeof(client),
        .work_size = sizeof(slot),
        .check = exec_check,
        .open = exec_open,
        .close = close_client,
        .start = start,
        .flush = flush,
        .cancel = cancel,
    };
    return exec_of(&type, config);
}

weir_stage_spec *weir_postgres_query(const weir_postgres_config *config)
{
    static const weir_async_type type = {
        .name = "postgres_query",
        .config_size = sizeof(weir_postgres_config),
        .state_size = sizeof(client),
        .work_size = sizeof(slot),
        .check = exec_check,
        .open = query_open,
        .close = close_client,
        .start = start,
        .flush = flush,
        .cancel = cancel,
    };
    return exec_of(&type, config);
}

/* ---- One statement for many rows ---- */

static weir_status insert_check(const void *config, const char **why)
{
    const weir_postgres_insert_config *i = config;
    *why = i->table == NULL                          ? "postgres needs a table"
           : i->columns == NULL || i->columns_n == 0 ? "postgres needs columns"
           : i->columns_n > WEIR_POSTGRES_PARAMS_MAX ? "columns_n is above 64"
           : i->bind == NULL                         ? "postgres needs bind to fill the columns"
           : i->in_flight > IN_FLIGHT_MAX            ? "in_flight is above 65536"
           : i->group_max > INSERT_GROUP_MAX         ? "group_max is above 4096"
           : i->bytes_max > 512u << 20               ? "bytes_max is above 512 MiB"
                                                     : NULL;
    return *why != NULL ? WEIR_EINVAL : check_server(&i->server, why);
}

static bool add(const client *c, wi_pg_text *sql, const char *text)
{
    return wi_pg_text_add(c->env, sql, text, strlen(text));
}

static bool add_names(const client *c, wi_pg_text *sql)
{
    bool ok = true;
    for (uint32_t i = 0; i < c->set.params_n; i++)
        ok = ok && (i == 0 || add(c, sql, ", ")) && add(c, sql, c->set.insert->columns[i].name);
    return ok;
}

/* With a key: the ordinals of the rows that were inserted come back, of equal keys the first. The
 * rows go in by key, so that two connections take their locks in the same order. */
static bool write_insert(const client *c, wi_pg_text *sql)
{
    const weir_postgres_insert_config *insert = c->set.insert;
    const char *key = insert->key;
    bool ok = add(c, sql, key == NULL ? "INSERT INTO " : "WITH rows_in AS (SELECT * FROM unnest(");
    if (key == NULL)
        ok = ok && add(c, sql, insert->table) && add(c, sql, " (") && add_names(c, sql) &&
             add(c, sql, ") SELECT * FROM unnest(");
    for (uint32_t i = 0; i < insert->columns_n; i++) {
        char number[32];
        (void)snprintf(number, sizeof number, "%s$%u::", i == 0 ? "" : ", ", i + 1);
        ok = ok && add(c, sql, number) && add(c, sql, insert->columns[i].type) && add(c, sql, "[]");
    }
    if (key == NULL)
        return ok && add(c, sql, ")") && wi_pg_text_add(c->env, sql, "", 1);
    ok = ok && add(c, sql, ") WITH ORDINALITY AS t (") && add_names(c, sql) &&
         add(c, sql, ", weir_ordinal)), done AS (INSERT INTO ") && add(c, sql, insert->table) &&
         add(c, sql, " (") && add_names(c, sql) && add(c, sql, ") SELECT ") && add_names(c, sql) &&
         add(c, sql, " FROM rows_in ORDER BY ") && add(c, sql, key) &&
         add(c, sql, ", weir_ordinal ON CONFLICT (") && add(c, sql, key) &&
         add(c, sql, ") DO NOTHING RETURNING ") && add(c, sql, key) &&
         add(c, sql, ") SELECT min(weir_ordinal) FROM rows_in JOIN done USING (") &&
         add(c, sql, key) && add(c, sql, ") GROUP BY ") && add(c, sql, key);
    return ok && wi_pg_text_add(c->env, sql, "", 1);
}

static weir_status insert_open(weir_stage *stage, const void *config, void *state)
{
    const weir_postgres_insert_config *i = config;
    client *c = state;
    c->env = weir_stage_env(stage);
    c->set = (settings){ .server = i->server,
                         .bind = i->bind,
                         .inserted = i->result,
                         .user = i->user,
                         .insert = i,
                         .idempotent = i->key != NULL,
                         .group_max = or_default(i->group_max, INSERT_GROUP_DEFAULT),
                         .groups_max = INSERT_GROUPS,
                         .params_n = i->columns_n,
                         .bytes_max = or_default(i->bytes_max, 1u << 20) };
    wi_pg_text sql = { 0 };
    bool ok = write_insert(c, &sql);
    c->sql = sql.data;
    c->set.statement = sql.data;
    c->by_ordinal = weir_memory_new(c->env, c->set.group_max * sizeof *c->by_ordinal);
    if (ok && c->by_ordinal != NULL)
        return open_client(stage, c);
    close_client(stage, c);
    return WEIR_ENOMEM;
}

weir_stage_spec *weir_postgres_insert(const weir_postgres_insert_config *config)
{
    static const weir_postgres_insert_config none;
    static const weir_async_type type = {
        .name = "postgres_insert",
        .config_size = sizeof(weir_postgres_insert_config),
        .state_size = sizeof(client),
        .work_size = sizeof(slot),
        .check = insert_check,
        .open = insert_open,
        .close = close_client,
        .start = start,
        .flush = flush,
        .cancel = cancel,
    };
    const weir_postgres_insert_config *i = config == NULL ? &none : config;
    weir_async_options options = { .in_flight = or_default(i->in_flight, 1024),
                                   .unordered = i->unordered,
                                   .timeout_ms = i->timeout_ms };
    return weir_async_of(&type, &options, i);
}

#endif
