/* One PostgreSQL connection on a loop: connects, sets up, pipelines, and comes back when lost. */
#include "postgres_link.h"

#if WEIR_HAVE_POSTGRES

#include "postgres_conninfo.h"
#include "wi_names.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <netdb.h>
#include <stdio.h>
#include <string.h>

#define STATEMENT   "weir"
#define WATCHDOG_MS 250
#define SETUP_MAX   (1u << 20)
#define SHIFT_MAX   16u

/* An arbitrary number: connections that run the schema take turns by this lock. */
#define SCHEMA_LOCK "1466263890"

typedef enum link_state {
    LINK_DOWN,
    LINK_LOOKUP,
    LINK_CONNECT,
    LINK_SCHEMA,
    LINK_PREPARE,
    LINK_UP
} link_state;

struct wi_pg_link {
    wi_pg_link_config config;
    const weir_env *env;
    PGconn *conn;
    wi_names *names; /* NULL: nothing to look up so far */
    struct event readable, writable;
    bool has_events, waits_to_write;
    link_state state;
    weir_timer timer;
    uint32_t failures; /* in a row */
    uint32_t attempts;
    uint64_t syncs; /* not reached yet */
    uint64_t progress_ns;
    bool has_failed; /* a step of the setup */
};

static void begin(wi_pg_link *link);
static void on_socket(evutil_socket_t fd, short what, void *user);

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
    return value == 0 ? otherwise : value;
}

/* ---- The socket's events ---- */

static void disarm(wi_pg_link *link)
{
    if (!link->has_events)
        return;
    event_del(&link->readable);
    event_del(&link->writable);
    link->has_events = false;
    link->waits_to_write = false;
}

/* libpq may have another socket than before, even one with the same number. */
static bool arm(wi_pg_link *link, bool reads, bool writes)
{
    struct event_base *base = weir_loop_base(link->config.loop);
    int fd = PQsocket(link->conn);
    if (fd < 0 || base == NULL)
        return false;
    event_assign(&link->readable, base, fd, EV_READ | EV_PERSIST, on_socket, link);
    event_assign(&link->writable, base, fd, EV_WRITE | EV_PERSIST, on_socket, link);
    link->has_events = true;
    link->waits_to_write = writes;
    if (reads && event_add(&link->readable, NULL) != 0)
        return false;
    return !writes || event_add(&link->writable, NULL) == 0;
}

static bool flush(wi_pg_link *link)
{
    int left = PQflush(link->conn);
    if (left < 0)
        return false;
    bool writes = left > 0;
    if (writes == link->waits_to_write)
        return true;
    link->waits_to_write = writes;
    return (writes ? event_add(&link->writable, NULL) : event_del(&link->writable)) == 0;
}

/* ---- Losing it, and the way back ---- */

static void on_backoff(weir_timer *timer, void *user)
{
    (void)timer;
    begin(user);
}

static void wait_to_begin(wi_pg_link *link)
{
    const weir_postgres_server *server = &link->config.server;
    uint64_t delay_ms = or_default(server->backoff_ms, 50);
    uint64_t most_ms = or_default(server->backoff_ms_max, 5000);
    delay_ms <<= link->failures > SHIFT_MAX ? SHIFT_MAX : link->failures;
    if (delay_ms > most_ms)
        delay_ms = most_ms;
    uint64_t delay_ns = delay_ms * WEIR_MS;
    /* Half of it by chance, so that many clients do not come back at once. */
    delay_ns = delay_ns / 2 + weir_loop_entropy(link->config.loop) % (delay_ns / 2 + 1);
    link->failures++;
    weir_timer_start(link->config.loop, &link->timer, delay_ns, on_backoff, link);
}

static void disconnect(wi_pg_link *link)
{
    disarm(link);
    weir_timer_stop(link->config.loop, &link->timer);
    if (link->names != NULL)
        wi_names_give_up(link->names);
    PQfinish(link->conn);
    link->conn = NULL;
    link->syncs = 0;
    link->state = LINK_DOWN;
}

void wi_pg_link_lose(wi_pg_link *link, const char *why)
{
    if (link->state == LINK_DOWN)
        return;
    bool was_up = link->state == LINK_UP;
    const char *said = link->conn == NULL ? "" : PQerrorMessage(link->conn);
    weir_log(link->env, WEIR_LOG_WARN, "postgres: %s: %.*s", why, (int)strcspn(said, "\n"), said);
    disconnect(link);
    wait_to_begin(link);
    if (was_up)
        link->config.down(link, link->config.user);
}

static void on_connect_timeout(weir_timer *timer, void *user)
{
    (void)timer;
    wi_pg_link_lose(user, "no connection in time");
}

static void on_watchdog(weir_timer *timer, void *user)
{
    wi_pg_link *link = user;
    uint64_t patience_ms = 2 * (uint64_t)or_default(link->config.server.statement_ms, 5000);
    if (link->syncs > 0 &&
        weir_loop_now(link->config.loop) - link->progress_ns > patience_ms * WEIR_MS) {
        wi_pg_link_lose(link, "the server owes an answer for too long");
        return;
    }
    weir_timer_start(link->config.loop, timer, WATCHDOG_MS * WEIR_MS, on_watchdog, link);
}

/* ---- Connecting ---- */

/* libpq would print them. */
static void swallow_notice(void *user, const PGresult *notice)
{
    (void)user;
    (void)notice;
}

static void send_schema(wi_pg_link *link)
{
    const weir_postgres_server *server = &link->config.server;
    const char *schema = server->schema == NULL ? "" : server->schema;
    size_t cap = strlen(schema) + 512;
    char *sql = cap > SETUP_MAX ? NULL : weir_memory_new(link->env, cap);
    if (sql == NULL) {
        wi_pg_link_lose(link, "no memory for the schema");
        return;
    }
    (void)snprintf(sql, cap,
                   "SET client_min_messages=warning;%s%s\n;SET statement_timeout=%u;"
                   "SET default_transaction_read_only=%s",
                   schema[0] == '\0' ? "" : "SELECT pg_advisory_xact_lock(" SCHEMA_LOCK ");",
                   schema, or_default(server->statement_ms, 5000),
                   link->config.reads_only ? "on" : "off");
    PQsetNoticeReceiver(link->conn, swallow_notice, NULL);
    link->state = LINK_SCHEMA;
    link->has_failed = false;
    bool ok = PQsetnonblocking(link->conn, 1) == 0 && PQsendQuery(link->conn, sql) == 1 &&
              arm(link, true, false) && flush(link);
    weir_memory_free(link->env, sql);
    if (!ok)
        wi_pg_link_lose(link, "cannot set the session up");
}

static void poll_connect(wi_pg_link *link)
{
    disarm(link);
    switch (PQconnectPoll(link->conn)) {
    case PGRES_POLLING_READING:
        if (!arm(link, true, false))
            wi_pg_link_lose(link, "cannot watch the socket");
        return;
    case PGRES_POLLING_WRITING:
        if (!arm(link, false, true))
            wi_pg_link_lose(link, "cannot watch the socket");
        return;
    case PGRES_POLLING_OK:
        send_schema(link);
        return;
    default:
        wi_pg_link_lose(link, "cannot connect");
    }
}

enum { KEYWORDS_MAX = 64 };

static void connect_to(wi_pg_link *link, const char *address)
{
    const char *keywords[KEYWORDS_MAX + 4], *values[KEYWORDS_MAX + 4];
    size_t n = 0;
    PQconninfoOption *options = PQconninfoParse(link->config.server.conninfo, NULL);
    bool has_gss = false;
    for (PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++) {
        if (o->val == NULL || n == KEYWORDS_MAX || strcmp(o->keyword, "client_encoding") == 0)
            continue;
        if (address != NULL && strcmp(o->keyword, "hostaddr") == 0)
            continue;
        has_gss = has_gss || strcmp(o->keyword, "gssencmode") == 0;
        keywords[n] = o->keyword;
        values[n++] = o->val;
    }
    keywords[n] = "client_encoding";
    values[n++] = "UTF8";
    if (address != NULL) {
        keywords[n] = "hostaddr";
        values[n++] = address;
    }
    if (!has_gss) { /* its negotiation blocks */
        keywords[n] = "gssencmode";
        values[n++] = "disable";
    }
    keywords[n] = values[n] = NULL;
    link->state = LINK_CONNECT;
    link->conn = PQconnectStartParams(keywords, values, 0);
    PQconninfoFree(options);
    if (link->conn == NULL || PQstatus(link->conn) == CONNECTION_BAD) {
        wi_pg_link_lose(link, "cannot connect");
        return;
    }
    /* As if the last poll had said WRITING: the manual's rule for the first step. */
    if (!arm(link, false, true))
        wi_pg_link_lose(link, "cannot watch the socket");
}

static void connect_by_name(wi_pg_link *link)
{
    char text[NI_MAXHOST];
    const wi_address *address = wi_names_at(link->names, link->attempts++);
    if (getnameinfo((const struct sockaddr *)&address->at, address->len, text, sizeof text, NULL, 0,
                    NI_NUMERICHOST) != 0)
        wi_pg_link_lose(link, "the host's address makes no sense");
    else
        connect_to(link, text);
}

static void look_up(wi_pg_link *link)
{
    weir_status status = wi_names_ask(link->names);
    if (status == WEIR_OK)
        connect_by_name(link);
    else if (status != WEIR_EAGAIN)
        wi_pg_link_lose(link, "the host's name has no address");
}

static void resolved(weir_status status, void *user)
{
    wi_pg_link *link = user;
    if (link->state != LINK_LOOKUP)
        return;
    if (status == WEIR_OK)
        connect_by_name(link);
    else if (status == WEIR_ECANCELED) /* one that was given up before */
        look_up(link);
    else
        wi_pg_link_lose(link, "the host's name has no address");
}

static weir_status find_names(wi_pg_link *link, const char *host)
{
    if (link->names != NULL) {
        wi_names_distrust(link->names); /* servers move */
        return WEIR_OK;
    }
    return wi_names_new(
        &(wi_names_config){
            .loop = link->config.loop, .host = host, .resolved = resolved, .user = link },
        &link->names);
}

static void begin(wi_pg_link *link)
{
    uint64_t patience_ms = or_default(link->config.server.connect_ms, 5000);
    weir_timer_start(link->config.loop, &link->timer, patience_ms * WEIR_MS, on_connect_timeout,
                     link);
    char host[256];
    link->state = LINK_LOOKUP;
    if (!wi_pg_conninfo_host(link->config.server.conninfo, host, sizeof host))
        connect_to(link, NULL);
    else if (find_names(link, host) != WEIR_OK)
        wi_pg_link_lose(link, "cannot look the host's name up");
    else
        look_up(link);
}

/* ---- What comes in ---- */

/* Reads the setup's results; true once the step is over. */
static bool setup_step_is_over(wi_pg_link *link)
{
    while (!PQisBusy(link->conn)) {
        PGresult *result = PQgetResult(link->conn);
        if (result == NULL)
            return true;
        ExecStatusType status = PQresultStatus(result);
        if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
            link->has_failed = true;
        PQclear(result);
        if (PQstatus(link->conn) == CONNECTION_BAD)
            return true;
    }
    return false;
}

static void go_up(wi_pg_link *link)
{
    if (PQenterPipelineMode(link->conn) != 1) {
        wi_pg_link_lose(link, "cannot enter pipeline mode");
        return;
    }
    link->state = LINK_UP;
    link->failures = 0;
    weir_timer_start(link->config.loop, &link->timer, WATCHDOG_MS * WEIR_MS, on_watchdog, link);
    link->config.up(link, link->config.user);
}

static void set_up(wi_pg_link *link)
{
    if (!setup_step_is_over(link))
        return;
    if (link->has_failed || PQstatus(link->conn) == CONNECTION_BAD) {
        wi_pg_link_lose(link, link->state == LINK_SCHEMA ? "the schema was refused"
                                                         : "the statement was refused");
        return;
    }
    if (link->state == LINK_PREPARE) {
        go_up(link);
        return;
    }
    link->state = LINK_PREPARE;
    if (PQsendPrepare(link->conn, STATEMENT, link->config.statement, 0, NULL) != 1 || !flush(link))
        wi_pg_link_lose(link, "cannot prepare the statement");
}

/* Hands out what has arrived. Two NULLs in a row: there is nothing more. */
static void hand_out(wi_pg_link *link)
{
    unsigned nulls = 0;
    while (link->state == LINK_UP && link->syncs > 0 && nulls < 2 && !PQisBusy(link->conn)) {
        PGresult *result = PQgetResult(link->conn);
        if (result == NULL) {
            nulls++;
            continue;
        }
        nulls = 0;
        if (PQresultStatus(result) != PGRES_PIPELINE_SYNC) {
            link->config.result(link, result, link->config.user);
            continue;
        }
        PQclear(result);
        link->syncs--;
        link->config.synced(link, link->config.user);
    }
    link->progress_ns = weir_loop_now(link->config.loop);
}

static void on_socket(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    wi_pg_link *link = user;
    if (link->state == LINK_CONNECT) {
        poll_connect(link);
        return;
    }
    bool ok = true;
    if (what & EV_READ)
        ok = PQconsumeInput(link->conn) == 1;
    if (link->state != LINK_UP) {
        if (ok && !flush(link))
            ok = false;
        if (ok)
            set_up(link);
        else
            wi_pg_link_lose(link, "lost while setting up");
        return;
    }
    /* Also after a failed read: what came before the end still counts. */
    hand_out(link);
    if (link->state == LINK_UP && (!ok || PQstatus(link->conn) == CONNECTION_BAD || !flush(link)))
        wi_pg_link_lose(link, "lost the connection");
    if (link->state == LINK_UP)
        link->config.idle(link, link->config.user);
}

/* ---- For its users ---- */

wi_pg_link *wi_pg_link_new(const wi_pg_link_config *config)
{
    const weir_env *env = weir_loop_env(config->loop);
    wi_pg_link *link = weir_memory_new(env, sizeof *link);
    if (link == NULL)
        return NULL;
    link->config = *config;
    link->env = env;
    /* From the loop, so that no callback runs beneath the one who asks. */
    weir_timer_start(config->loop, &link->timer, 0, on_backoff, link);
    return link;
}

void wi_pg_link_free(wi_pg_link *link)
{
    if (link == NULL)
        return;
    disconnect(link);
    wi_names_free(link->names);
    weir_memory_free(link->env, link);
}

bool wi_pg_link_is_up(const wi_pg_link *link)
{
    return link->state == LINK_UP;
}

bool wi_pg_link_send(wi_pg_link *link, int n, const char *const *values, const int *bytes,
                     const int *formats)
{
    return PQsendQueryPrepared(link->conn, STATEMENT, n, values, bytes, formats, 0) == 1;
}

bool wi_pg_link_sync(wi_pg_link *link)
{
    if (PQpipelineSync(link->conn) != 1)
        return false;
    if (link->syncs++ == 0)
        link->progress_ns = weir_loop_now(link->config.loop);
    return flush(link);
}

/* ---- SQLSTATE: https://www.postgresql.org/docs/15/errcodes-appendix.html ---- */

weir_status wi_pg_status(const PGresult *result, const char **ret_why)
{
    static const struct {
        const char *prefix;
        weir_status status;
        const char *why;
    } classes[] = {
        { "23505", WEIR_EEXIST, "a row with this key exists" },
        { "23", WEIR_EREJECTED, "a constraint refused the row" },
        { "22", WEIR_EINVAL, "the data does not fit its type" },
        { "42501", WEIR_EDENIED, "the server denied the permission" },
        { "42", WEIR_EINVAL, "the server did not understand the statement" },
        { "28", WEIR_EDENIED, "the server refused the user" },
        { "25006", WEIR_EUNAVAILABLE, "the server only reads" },
        { "40", WEIR_EUNAVAILABLE, "a conflict with another transaction" },
        { "53", WEIR_EUNAVAILABLE, "the server is out of resources" },
        { "54", WEIR_ELIMIT, "a limit of the server was exceeded" },
        { "55", WEIR_EUNAVAILABLE, "the row is locked" },
        { "57014", WEIR_EDEADLINE, "the statement took too long" },
        { "57", WEIR_EUNAVAILABLE, "the server is going away" },
        { "08", WEIR_EUNAVAILABLE, "the connection was lost" },
        { "P0", WEIR_EREJECTED, "a function refused the row" },
    };
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    for (size_t i = 0; state != NULL && i < sizeof classes / sizeof *classes; i++)
        if (strncmp(state, classes[i].prefix, strlen(classes[i].prefix)) == 0) {
            *ret_why = classes[i].why;
            return classes[i].status;
        }
    *ret_why = "the server failed";
    return WEIR_EIO;
}

bool wi_pg_is_shutdown(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    /* No SQLSTATE: libpq's own words about a broken connection. */
    return state == NULL || strncmp(state, "57P", 3) == 0 || strncmp(state, "08", 2) == 0;
}

bool wi_pg_is_conflict(const PGresult *result)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    return state != NULL && (strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0);
}

#endif
