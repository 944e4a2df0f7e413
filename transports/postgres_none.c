/* What stands in for the PostgreSQL stages in a build without libpq. */
#include <weir/postgres.h>

#if !WEIR_HAVE_POSTGRES

static weir_status check_without(const void *config, const char **why)
{
    (void)config;
    *why = "built without postgres";
    return WEIR_EUNSUPPORTED;
}

static weir_stage_spec *stage_without(void)
{
    static const weir_stage_type type = { .name = "postgres", .check = check_without };
    return weir_stage_of(&type, NULL);
}

weir_stage_spec *weir_postgres_exec(const weir_postgres_config *config)
{
    (void)config;
    return stage_without();
}

weir_stage_spec *weir_postgres_query(const weir_postgres_config *config)
{
    (void)config;
    return stage_without();
}

weir_stage_spec *weir_postgres_insert(const weir_postgres_insert_config *config)
{
    (void)config;
    return stage_without();
}

uint64_t weir_postgres_changes(const weir_postgres_result *result)
{
    (void)result;
    return 0;
}

uint32_t weir_postgres_rows(const weir_postgres_result *result)
{
    (void)result;
    return 0;
}

uint32_t weir_postgres_columns(const weir_postgres_result *result)
{
    (void)result;
    return 0;
}

const char *weir_postgres_value(const weir_postgres_result *result, uint32_t row, uint32_t column,
                                size_t *ret_bytes)
{
    (void)result;
    (void)row;
    (void)column;
    (void)ret_bytes;
    return NULL;
}

weir_status weir_postgres_probe_new(weir_loop *loop, const weir_postgres_server *server,
                                    weir_postgres_probe **ret_probe)
{
    (void)loop;
    (void)server;
    (void)ret_probe;
    return WEIR_EUNSUPPORTED;
}

void weir_postgres_probe_free(weir_postgres_probe *probe)
{
    (void)probe;
}

weir_status weir_postgres_probe_ask(weir_postgres_probe *probe, uint32_t timeout_ms,
                                    void (*answered)(weir_status status, void *user), void *user)
{
    (void)probe;
    (void)timeout_ms;
    (void)answered;
    (void)user;
    return WEIR_EUNSUPPORTED;
}

#endif
