/* The parameters of one PostgreSQL statement, and arrays of them for many rows in one. */
#ifndef WI_POSTGRES_PARAMS_H
#define WI_POSTGRES_PARAMS_H

#include <weir/env.h>
#include <weir/postgres.h>

/* A growing buffer. */
typedef struct wi_pg_text {
    char *data;
    size_t used, cap;
} wi_pg_text;

/* Reused from statement to statement. Values are kept by offset, because the buffer may move. */
struct weir_postgres_params {
    const weir_env *env;
    size_t bytes_max, payload;
    uint32_t n;
    bool text_only;
    weir_status status; /* the first error */
    wi_pg_text text;
    size_t offsets[WEIR_POSTGRES_PARAMS_MAX];
    bool is_set[WEIR_POSTGRES_PARAMS_MAX];
    int bytes[WEIR_POSTGRES_PARAMS_MAX], formats[WEIR_POSTGRES_PARAMS_MAX];
    const char *values[WEIR_POSTGRES_PARAMS_MAX];
};

void wi_pg_params_clear(weir_postgres_params *params);
void wi_pg_params_done(weir_postgres_params *params);
/* Sets params->values, NULL for what is not set, up to `n`. */
void wi_pg_params_point(weir_postgres_params *params, uint32_t n);

/* Appends; false for want of memory. */
bool wi_pg_text_add(const weir_env *env, wi_pg_text *text, const char *data, size_t bytes);
/* Appends `{` or `,` and the value as an element of an array's text form (NULL: NULL).
 * https://www.postgresql.org/docs/15/arrays.html#ARRAYS-IO */
bool wi_pg_array_add(const weir_env *env, wi_pg_text *text, const char *value, size_t bytes);
/* Appends `}` and a NUL. */
bool wi_pg_array_end(const weir_env *env, wi_pg_text *text);

#endif
