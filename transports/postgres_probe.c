/* Asks PostgreSQL whether it answers, on a connection of its own. */
#include "postgres_conninfo.h"
#include "postgres_link.h"

#include <string.h>

#if WEIR_HAVE_POSTGRES

struct weir_postgres_probe {
    weir_loop *loop;
    const weir_env *env;
    wi_pg_link *link;
    char *conninfo;
    weir_timer timer;
    void (*answered)(weir_status status, void *user);
    void *user;
    bool is_asked, is_sent, has_failed;
};

static void answer(weir_postgres_probe *probe, weir_status status)
{
    if (!probe->is_asked)
        return;
    probe->is_asked = false;
    weir_timer_stop(probe->loop, &probe->timer);
    probe->answered(status, probe->user);
}

static void send_question(weir_postgres_probe *probe)
{
    probe->is_sent = true;
    probe->has_failed = false;
    if (!wi_pg_link_send(probe->link, 0, NULL, NULL, NULL) || !wi_pg_link_sync(probe->link))
        wi_pg_link_lose(probe->link, "cannot ask");
}

static void on_up(wi_pg_link *link, void *user)
{
    (void)link;
    weir_postgres_probe *probe = user;
    if (probe->is_asked)
        send_question(probe);
}

/* The question stands: the next connection may answer it in time. */
static void on_down(wi_pg_link *link, void *user)
{
    (void)link;
    ((weir_postgres_probe *)user)->is_sent = false;
}

static void on_result(wi_pg_link *link, PGresult *result, void *user)
{
    (void)link;
    if (PQresultStatus(result) != PGRES_TUPLES_OK)
        ((weir_postgres_probe *)user)->has_failed = true;
    PQclear(result);
}

static void on_synced(wi_pg_link *link, void *user)
{
    (void)link;
    ((weir_postgres_probe *)user)->is_sent = false;
}

/* The answer is given here, where nothing of the link is under way: the asker may free the probe.
 */
static void on_idle(wi_pg_link *link, void *user)
{
    (void)link;
    weir_postgres_probe *probe = user;
    if (!probe->is_sent)
        answer(probe, probe->has_failed ? WEIR_EUNAVAILABLE : WEIR_OK);
}

static void on_timeout(weir_timer *timer, void *user)
{
    (void)timer;
    weir_postgres_probe *probe = user;
    if (probe->is_sent)
        wi_pg_link_lose(probe->link, "the server does not answer");
    answer(probe, WEIR_EUNAVAILABLE);
}

weir_status weir_postgres_probe_new(weir_loop *loop, const weir_postgres_server *server,
                                    weir_postgres_probe **ret_probe)
{
    if (loop == NULL || server == NULL || ret_probe == NULL)
        return WEIR_EINVAL;
    const char *why = NULL;
    weir_status status = wi_pg_conninfo_check(server->conninfo, &why);
    if (status != WEIR_OK)
        return status;
    const weir_env *env = weir_loop_env(loop);
    weir_postgres_probe *probe = weir_memory_new(env, sizeof *probe);
    if (probe == NULL)
        return WEIR_ENOMEM;
    probe->loop = loop;
    probe->env = env;
    size_t bytes = strlen(server->conninfo) + 1;
    probe->conninfo = weir_memory_new(env, bytes);
    if (probe->conninfo == NULL)
        goto fail;
    memcpy(probe->conninfo, server->conninfo, bytes);
    wi_pg_link_config config = { .loop = loop,
                                 .server = *server,
                                 .statement = "SELECT 1",
                                 .reads_only = true,
                                 .up = on_up,
                                 .down = on_down,
                                 .result = on_result,
                                 .synced = on_synced,
                                 .idle = on_idle,
                                 .user = probe };
    config.server.conninfo = probe->conninfo;
    config.server.schema = NULL;
    probe->link = wi_pg_link_new(&config);
    if (probe->link == NULL)
        goto fail;
    *ret_probe = probe;
    return WEIR_OK;
fail:
    weir_postgres_probe_free(probe);
    return WEIR_ENOMEM;
}

void weir_postgres_probe_free(weir_postgres_probe *probe)
{
    if (probe == NULL)
        return;
    weir_timer_stop(probe->loop, &probe->timer);
    wi_pg_link_free(probe->link);
    weir_memory_free(probe->env, probe->conninfo);
    weir_memory_free(probe->env, probe);
}

weir_status weir_postgres_probe_ask(weir_postgres_probe *probe, uint32_t timeout_ms,
                                    void (*answered)(weir_status status, void *user), void *user)
{
    if (probe == NULL || answered == NULL)
        return WEIR_EINVAL;
    if (probe->is_asked)
        return WEIR_EAGAIN;
    probe->answered = answered;
    probe->user = user;
    probe->is_asked = true;
    uint64_t patience_ms = timeout_ms == 0 ? 1000 : timeout_ms;
    weir_timer_start(probe->loop, &probe->timer, patience_ms * WEIR_MS, on_timeout, probe);
    if (wi_pg_link_is_up(probe->link) && !probe->is_sent)
        send_question(probe);
    return WEIR_OK;
}

#endif
