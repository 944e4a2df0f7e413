/* The limits of configs: what 0 stands for, and what is refused. */
#include "wi_core.h"

#include <assert.h>
#include <stdio.h>

static uint64_t figure_of(const weir_config_limit *limit, const void *config)
{
    const void *at = (const char *)config + limit->offset;
    assert(limit->bytes == 4 || limit->bytes == 8);
    return limit->bytes == 8 ? *(const uint64_t *)at : *(const uint32_t *)at;
}

void wi_config_fill(const weir_config_limit *limits, size_t n, void *config)
{
    for (size_t i = 0; i < n; i++) {
        const weir_config_limit *l = &limits[i];
        void *at = (char *)config + l->offset;
        if (figure_of(l, config) != 0)
            continue;
        if (l->bytes == 8)
            *(uint64_t *)at = l->usual;
        else
            *(uint32_t *)at = (uint32_t)l->usual;
    }
}

const weir_config_limit *wi_config_beyond(const weir_config_limit *limits, size_t n,
                                          const void *config, uint64_t *ret_value)
{
    for (size_t i = 0; i < n; i++) {
        const weir_config_limit *l = &limits[i];
        *ret_value = figure_of(l, config);
        if (*ret_value < l->least || *ret_value > l->most)
            return l;
    }
    return NULL;
}

weir_status wi_spec_check(const weir_stage_spec *spec, char *text, size_t bytes, const char **why)
{
    const void *config = spec->extra != NULL ? spec->extra : spec->config;
    uint64_t value;
    const weir_config_limit *beyond = wi_config_beyond(spec->limits, spec->limit_count, config,
                                                       &value);
    if (beyond == NULL)
        return spec->type->check != NULL ? spec->type->check(spec->config, why) : WEIR_OK;
    *why = beyond->why;
    if (text != NULL) {
        snprintf(text, bytes, "%s, not %llu", beyond->why, (unsigned long long)value);
        *why = text;
    }
    return WEIR_EINVAL;
}
