/* Metadata: out of fields as they came, and into fields that are to be sent. */
#include "rpc_wire_internal.h"
#include "wi_base64.h"

#define FIELDS_FIRST 8

weir_status wi_rpc_fields_reserve(wi_rpc_fields *fields, size_t more)
{
    if (more <= fields->cap - fields->n)
        return WEIR_OK;
    size_t cap = fields->cap < FIELDS_FIRST / 2 ? FIELDS_FIRST / 2 : fields->cap;
    cap = cap * 2 > fields->n + more ? cap * 2 : fields->n + more;
    weir_http1_field *at = weir_arena_take(fields->arena, cap * sizeof *at);
    if (at == NULL)
        return WEIR_ENOMEM;
    if (fields->n > 0)
        memcpy(at, fields->at, fields->n * sizeof *at);
    fields->at = at;
    fields->cap = cap;
    return WEIR_OK;
}

static void copy_lower(char *to, weir_http1_span name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.at[i];
        to[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
    }
}

static weir_status receive_one(wi_rpc_fields *fields, weir_http1_span name, weir_http1_span value,
                               bool is_bin)
{
    if (fields->n >= fields->max)
        return WEIR_ELIMIT;
    size_t room = is_bin ? wi_base64_decoded_max(value.len) : value.len;
    char *memory = weir_arena_take(fields->arena, name.len + room);
    if (memory == NULL || wi_rpc_fields_reserve(fields, 1) != WEIR_OK)
        return WEIR_ENOMEM;
    memcpy(memory, name.at, name.len);
    size_t len = value.len;
    char *to = memory + name.len;
    if (!is_bin && len > 0)
        memcpy(to, value.at, len);
    else if (is_bin && !wi_base64_decode(value.at, len, WI_BASE64_ANY_PADDING, to, &len))
        return WEIR_EINVAL;
    wi_rpc_fields_put(fields, (weir_http1_span){ memory, name.len }, (weir_http1_span){ to, len });
    return WEIR_OK;
}

weir_status wi_rpc_fields_receive(wi_rpc_fields *fields, weir_http1_span name,
                                  weir_http1_span value, bool is_bin)
{
    if (!is_bin)
        return receive_one(fields, name, value, false);
    for (;;) {
        const char *comma = value.len > 0 ? memchr(value.at, ',', value.len) : NULL;
        size_t len = comma == NULL ? value.len : (size_t)(comma - value.at);
        weir_status status = receive_one(fields, name,
                                         wi_rpc_trim((weir_http1_span){ value.at, len }), true);
        if (status != WEIR_OK || comma == NULL)
            return status;
        value = (weir_http1_span){ comma + 1, value.len - len - 1 };
    }
}

/* Visible ASCII and spaces: all that every protocol carries. */
static bool sendable(weir_http1_span value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] < 0x20 || value.at[i] > 0x7e)
            return false;
    }
    return true;
}

static bool has_upper(weir_http1_span name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (name.at[i] >= 'A' && name.at[i] <= 'Z')
            return true;
    }
    return false;
}

static weir_status send_bin(wi_rpc_fields *fields, weir_http1_span name, weir_http1_span value)
{
    if (value.len > SIZE_MAX / 2)
        return WEIR_ELIMIT;
    char *text = weir_arena_take(fields->arena, wi_base64_encoded_max(value.len));
    if (text == NULL)
        return WEIR_ENOMEM;
    size_t len = wi_base64_encode(value.at, value.len, WI_BASE64_UNPADDED, text);
    wi_rpc_fields_put(fields, name, (weir_http1_span){ text, len });
    return WEIR_OK;
}

bool weir_rpc_wire_may_be_named(weir_http1_span name)
{
    char lower[64]; /* no name of the protocols is so long; by their beginnings, longer ones are */
    if (!wi_rpc_name_ok(name))
        return false;
    if (name.len > sizeof lower)
        name.len = sizeof lower;
    copy_lower(lower, name);
    wi_rpc_name whose = wi_rpc_name_of((weir_http1_span){ lower, name.len });
    return whose == WI_RPC_METADATA || whose == WI_RPC_METADATA_BIN;
}

static weir_status send_one(wi_rpc_fields *fields, weir_http1_span name, weir_http1_span value,
                            weir_http1_span prefix)
{
    if (!wi_rpc_name_ok(name))
        return WEIR_EINVAL;
    weir_http1_span full = name;
    if (prefix.len > 0 || has_upper(name)) {
        char *memory = weir_arena_take(fields->arena, prefix.len + name.len);
        if (memory == NULL)
            return WEIR_ENOMEM;
        if (prefix.len > 0)
            memcpy(memory, prefix.at, prefix.len);
        copy_lower(memory + prefix.len, name);
        full = (weir_http1_span){ memory, prefix.len + name.len };
    }
    weir_http1_span bare = { full.at + prefix.len, name.len };
    wi_rpc_name whose = wi_rpc_name_of(bare);
    if (whose == WI_RPC_METADATA_BIN)
        return send_bin(fields, full, value);
    if (whose != WI_RPC_METADATA || !sendable(value))
        return WEIR_EINVAL;
    wi_rpc_fields_put(fields, full, wi_rpc_trim(value));
    return WEIR_OK;
}

weir_status wi_rpc_fields_send(wi_rpc_fields *fields, const weir_http1_field *from, size_t n,
                               weir_http1_span prefix)
{
    if (n > fields->max)
        return WEIR_ELIMIT;
    weir_status status = wi_rpc_fields_reserve(fields, n);
    for (size_t i = 0; i < n && status == WEIR_OK; i++)
        status = send_one(fields, from[i].name, from[i].value, prefix);
    return status;
}
