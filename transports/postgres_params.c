/* The parameters of one PostgreSQL statement, and arrays of them for many rows in one. */
#include "postgres_params.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(const weir_env *env, wi_pg_text *text, size_t bytes)
{
    if (bytes <= text->cap - text->used)
        return true;
    size_t cap = text->cap == 0 ? 256 : text->cap;
    while (cap - text->used < bytes)
        cap *= 2;
    void *grown = weir_memory_resize(env, text->data, cap);
    if (grown == NULL)
        return false;
    text->data = grown;
    text->cap = cap;
    return true;
}

bool wi_pg_text_add(const weir_env *env, wi_pg_text *text, const char *data, size_t bytes)
{
    if (!reserve(env, text, bytes))
        return false;
    if (bytes > 0)
        memcpy(text->data + text->used, data, bytes);
    text->used += bytes;
    return true;
}

bool wi_pg_array_add(const weir_env *env, wi_pg_text *text, const char *value, size_t bytes)
{
    if (!wi_pg_text_add(env, text, text->used == 0 ? "{" : ",", 1))
        return false;
    if (value == NULL)
        return wi_pg_text_add(env, text, "NULL", 4);
    if (!reserve(env, text, 2 * bytes + 2))
        return false;
    char *to = text->data + text->used;
    *to++ = '"';
    for (size_t i = 0; i < bytes; i++) {
        if (value[i] == '"' || value[i] == '\\')
            *to++ = '\\';
        *to++ = value[i];
    }
    *to++ = '"';
    text->used = (size_t)(to - text->data);
    return true;
}

bool wi_pg_array_end(const weir_env *env, wi_pg_text *text)
{
    return text->used == 0 ? wi_pg_text_add(env, text, "{}", 3) : wi_pg_text_add(env, text, "}", 2);
}

void wi_pg_params_clear(weir_postgres_params *params)
{
    params->n = 0;
    params->payload = 0;
    params->text.used = 0;
    params->status = WEIR_OK;
}

void wi_pg_params_done(weir_postgres_params *params)
{
    weir_memory_free(params->env, params->text.data);
    params->text = (wi_pg_text){ 0 };
}

void wi_pg_params_point(weir_postgres_params *params, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        bool is_set = i < params->n && params->is_set[i];
        params->values[i] = is_set ? params->text.data + params->offsets[i] : NULL;
        params->bytes[i] = is_set ? params->bytes[i] : 0;
        params->formats[i] = is_set ? params->formats[i] : 0;
    }
}

static void latch(weir_postgres_params *params, weir_status status)
{
    if (params->status == WEIR_OK)
        params->status = status;
}

static bool has_slot(weir_postgres_params *params, uint32_t index)
{
    if (index == 0 || index > WEIR_POSTGRES_PARAMS_MAX) {
        latch(params, WEIR_EINVAL);
        return false;
    }
    while (params->n < index)
        params->is_set[params->n++] = false;
    return true;
}

static void set(weir_postgres_params *params, uint32_t index, const char *data, size_t bytes,
                int format)
{
    if (params->status != WEIR_OK || !has_slot(params, index))
        return;
    if (bytes > params->bytes_max - params->payload) {
        latch(params, WEIR_ELIMIT);
        return;
    }
    size_t offset = params->text.used;
    if (!reserve(params->env, &params->text, bytes + 1)) {
        latch(params, WEIR_ENOMEM);
        return;
    }
    if (bytes > 0)
        memcpy(params->text.data + offset, data, bytes);
    params->text.data[offset + bytes] = '\0';
    params->text.used += bytes + 1;
    params->payload += bytes;
    params->is_set[index - 1] = true;
    params->offsets[index - 1] = offset;
    params->bytes[index - 1] = (int)bytes;
    params->formats[index - 1] = format;
}

void weir_postgres_bind_null(weir_postgres_params *params, uint32_t index)
{
    if (has_slot(params, index))
        params->is_set[index - 1] = false;
}

void weir_postgres_bind_bool(weir_postgres_params *params, uint32_t index, bool value)
{
    set(params, index, value ? "t" : "f", 1, 0);
}

void weir_postgres_bind_int(weir_postgres_params *params, uint32_t index, int64_t value)
{
    char digits[20]; /* 19 and a sign */
    char *at = digits + sizeof digits;
    uint64_t left = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do
        *--at = (char)('0' + left % 10);
    while ((left /= 10) != 0);
    if (value < 0)
        *--at = '-';
    set(params, index, at, (size_t)(digits + sizeof digits - at), 0);
}

void weir_postgres_bind_double(weir_postgres_params *params, uint32_t index, double value)
{
    char text[40];
    int length = 0;
    for (int digits = 15; digits <= 17; digits++) {
        length = snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) /* NaN never is; its text is the same thrice */
            break;
    }
    char *comma = strchr(text, ','); /* the locale's, if the program set one */
    if (comma != NULL)
        *comma = '.';
    set(params, index, text, (size_t)length, 0);
}

void weir_postgres_bind_text(weir_postgres_params *params, uint32_t index, const char *text,
                             size_t bytes)
{
    if (bytes > 0 && memchr(text, '\0', bytes) != NULL)
        latch(params, WEIR_EINVAL);
    else
        set(params, index, text, bytes, 0);
}

void weir_postgres_bind_binary(weir_postgres_params *params, uint32_t index, const void *data,
                               size_t bytes)
{
    if (params->text_only)
        latch(params, WEIR_EINVAL);
    else
        set(params, index, data, bytes, 1);
}
