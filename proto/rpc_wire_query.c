/* The query of Connect's GET requests. https://connectrpc.com/docs/protocol/#unary-get-request */
#include "rpc_wire_internal.h"

/* Decodes percent-escapes, and '+' as a space; false: a malformed escape. */
static bool unescape(weir_http1_span text, char *out, size_t *ret_len)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.at[i];
        if (c == '%') {
            int high = text.len - i > 2 ? wi_rpc_hex_of(text.at[i + 1]) : -1;
            int low = text.len - i > 2 ? wi_rpc_hex_of(text.at[i + 2]) : -1;
            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        out[len++] = c;
    }
    *ret_len = len;
    return true;
}

/* The first of each name counts. */
static void take_parameter(wi_rpc_query *query, weir_http1_span name, weir_http1_span value)
{
    if (WI_RPC_IS(name, "connect") && !query->has_connect) {
        query->connect = value;
        query->has_connect = true;
    } else if (WI_RPC_IS(name, "encoding") && query->encoding.at == NULL) {
        query->encoding = value;
    } else if (WI_RPC_IS(name, "message") && !query->has_message) {
        query->message = value;
        query->has_message = true;
    } else if (WI_RPC_IS(name, "compression") && !query->has_compression) {
        query->compression = value;
        query->has_compression = true;
    } else if (WI_RPC_IS(name, "base64") && WI_RPC_IS(value, "1")) {
        query->base64 = true;
    }
}

weir_status wi_rpc_query_read(weir_http1_span path, weir_arena *arena, wi_rpc_query *ret_query)
{
    wi_rpc_query query = { 0 };
    const char *mark = path.len > 0 ? memchr(path.at, '?', path.len) : NULL;
    size_t left = mark == NULL ? 0 : path.len - (size_t)(mark - path.at) - 1;
    char *out = weir_arena_take(arena, left);
    if (out == NULL)
        return WEIR_ENOMEM;
    for (const char *at = mark == NULL ? NULL : mark + 1; left > 0;) {
        const char *end = memchr(at, '&', left);
        size_t len = end == NULL ? left : (size_t)(end - at);
        const char *equals = memchr(at, '=', len);
        size_t name = equals == NULL ? len : (size_t)(equals - at);
        size_t skip = name + (equals != NULL), value;
        if (!unescape((weir_http1_span){ at + skip, len - skip }, out, &value))
            return WEIR_EINVAL;
        take_parameter(&query, (weir_http1_span){ at, name }, (weir_http1_span){ out, value });
        out += value;
        len += end != NULL;
        at += len;
        left -= len;
    }
    *ret_query = query;
    return WEIR_OK;
}
