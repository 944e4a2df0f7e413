/* Which field names are whose, and metadata from fields and back. */
#include "http1_internal.h"
#include "rpc_wire_internal.h"

#define IS(literal) (memcmp(name.at, literal, sizeof literal - 1) == 0)

/* Names that no switch on lengths knows: by how they begin and end. */
static wi_rpc_name by_affix(weir_http1_span name)
{
    char first = name.len > 0 ? name.at[0] : ':';
    if (first == ':')
        return WI_RPC_OURS;
    if (first == 'g' && name.len > 5 && IS("grpc-")) {
        if (WI_RPC_IS(name, "grpc-trace-bin") || WI_RPC_IS(name, "grpc-tags-bin"))
            return WI_RPC_METADATA_BIN;
        if (WI_RPC_IS(name, "grpc-previous-rpc-attempts") ||
            WI_RPC_IS(name, "grpc-retry-pushback-ms"))
            return WI_RPC_METADATA;
        return WI_RPC_OURS;
    }
    if (first == 'c' && name.len > 8 && IS("connect-"))
        return WI_RPC_OURS;
    if (first == 't' && name.len > 8 && IS("trailer-"))
        return WI_RPC_TRAILER;
    if (name.len > 4 && memcmp(name.at + name.len - 4, "-bin", 4) == 0)
        return WI_RPC_METADATA_BIN;
    return WI_RPC_METADATA;
}

static wi_rpc_name by_length(weir_http1_span name)
{
    switch (name.len) {
    case 2:
        return IS("te") ? WI_RPC_OURS : WI_RPC_METADATA;
    case 4:
        return IS("host") ? WI_RPC_OURS : WI_RPC_METADATA;
    case 6:
        return IS("accept") ? WI_RPC_OURS : WI_RPC_METADATA;
    case 7:
        return IS("trailer") || IS("upgrade") ? WI_RPC_OURS : WI_RPC_METADATA;
    case 10:
        return IS("connection") || IS("keep-alive") || IS("x-grpc-web") ? WI_RPC_OURS
                                                                        : WI_RPC_METADATA;
    case 11:
        return IS("grpc-status") ? WI_RPC_GRPC_STATUS : WI_RPC_METADATA;
    case 12:
        return IS("content-type")   ? WI_RPC_CONTENT_TYPE
               : IS("grpc-timeout") ? WI_RPC_GRPC_TIMEOUT
               : IS("grpc-message") ? WI_RPC_GRPC_MESSAGE
               : IS("x-user-agent") ? WI_RPC_OURS
                                    : WI_RPC_METADATA;
    case 13:
        return IS("grpc-encoding") ? WI_RPC_GRPC_ENCODING : WI_RPC_METADATA;
    case 14:
        return IS("content-length") ? WI_RPC_OURS : WI_RPC_METADATA;
    case 15:
        return IS("accept-encoding") ? WI_RPC_ACCEPT_ENCODING : WI_RPC_METADATA;
    case 16:
        return IS("content-encoding")   ? WI_RPC_CONTENT_ENCODING
               : IS("proxy-connection") ? WI_RPC_OURS
                                        : WI_RPC_METADATA;
    case 17:
        return IS("transfer-encoding") ? WI_RPC_OURS : WI_RPC_METADATA;
    case 18:
        return IS("connect-timeout-ms") ? WI_RPC_CONNECT_TIMEOUT : WI_RPC_METADATA;
    case 20:
        return IS("grpc-accept-encoding") ? WI_RPC_GRPC_ACCEPT : WI_RPC_METADATA;
    case 23:
        return IS("grpc-status-details-bin")   ? WI_RPC_GRPC_DETAILS
               : IS("connect-accept-encoding") ? WI_RPC_CONNECT_ACCEPT
                                               : WI_RPC_METADATA;
    case 24:
        return IS("connect-content-encoding")   ? WI_RPC_CONNECT_ENCODING
               : IS("connect-protocol-version") ? WI_RPC_CONNECT_VERSION
                                                : WI_RPC_METADATA;
    default:
        return WI_RPC_METADATA;
    }
}

wi_rpc_name wi_rpc_name_of(weir_http1_span name)
{
    wi_rpc_name known = by_length(name);
    return known != WI_RPC_METADATA ? known : by_affix(name);
}

wi_rpc_name wi_rpc_encoding_name(const weir_rpc_wire *wire, bool accepted)
{
    if (wire->protocol != WEIR_RPC_CONNECT)
        return accepted ? WI_RPC_GRPC_ACCEPT : WI_RPC_GRPC_ENCODING;
    if (wire->is_stream)
        return accepted ? WI_RPC_CONNECT_ACCEPT : WI_RPC_CONNECT_ENCODING;
    return accepted ? WI_RPC_ACCEPT_ENCODING : WI_RPC_CONTENT_ENCODING;
}

weir_http1_span wi_rpc_name_text(wi_rpc_name name)
{
    switch (name) {
    case WI_RPC_GRPC_ENCODING:
        return (weir_http1_span)WI_SPAN("grpc-encoding");
    case WI_RPC_GRPC_ACCEPT:
        return (weir_http1_span)WI_SPAN("grpc-accept-encoding");
    case WI_RPC_CONNECT_ENCODING:
        return (weir_http1_span)WI_SPAN("connect-content-encoding");
    case WI_RPC_CONNECT_ACCEPT:
        return (weir_http1_span)WI_SPAN("connect-accept-encoding");
    case WI_RPC_CONTENT_ENCODING:
        return (weir_http1_span)WI_SPAN("content-encoding");
    default:
        return (weir_http1_span)WI_SPAN("accept-encoding");
    }
}

weir_http1_span wi_rpc_trim(weir_http1_span text)
{
    while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
        text.at++, text.len--;
    while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
        text.len--;
    return text;
}

bool wi_rpc_name_ok(weir_http1_span name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (!wi_http1_is((unsigned char)name.at[i], WI_TOKEN))
            return false;
    }
    return name.len > 0;
}

bool wi_rpc_value_ok(weir_http1_span value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (!wi_http1_is((unsigned char)value.at[i], WI_VALUE))
            return false;
    }
    return true;
}
