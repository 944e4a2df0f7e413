/* The content types of RPC, and the heads that need nothing else. */
#include "rpc_wire_internal.h"

#define TYPE_SPAN WI_SPAN("content-type")

const wi_rpc_type wi_rpc_types[WI_RPC_TYPES] = {
#define ENCODING_GRPC_true     "grpc-encoding"
#define ENCODING_GRPC_WEB_true "grpc-encoding"
#define ENCODING_CONNECT_true  "connect-content-encoding"
#define ENCODING_CONNECT_false "content-encoding"
#define TYPE_ROW(name, type, proto, json, stream, base64)                                      \
    [WI_RPC_##name] = { .text = WI_SPAN(type),                                                 \
                        .protocol = WEIR_RPC_##proto,                                          \
                        .codec = WEIR_RPC_##json,                                              \
                        .is_stream = stream,                                                   \
                        .is_text = base64,                                                     \
                        .head = { { TYPE_SPAN, WI_SPAN(type) },                                \
                                  { WI_SPAN(ENCODING_##proto##_##stream), WI_SPAN("gzip") } }, \
                        .no_memory = { { TYPE_SPAN, WI_SPAN(type) },                           \
                                       { WI_SPAN("grpc-status"), WI_SPAN("8") },               \
                                       { WI_SPAN("grpc-message"), WI_SPAN("out of memory") } } },
    WI_RPC_TYPE_LIST(TYPE_ROW)
};

/* As everybody writes it, then in any case. */
static wi_rpc_type_id exact(weir_http1_span text)
{
    for (unsigned i = 0; i < WI_RPC_TYPES; i++) {
        if (wi_rpc_is(text, wi_rpc_types[i].text.at, wi_rpc_types[i].text.len))
            return (wi_rpc_type_id)i;
    }
    for (unsigned i = 0; i < WI_RPC_TYPES; i++) {
        if (text.len == wi_rpc_types[i].text.len &&
            weir_http1_span_is(text, wi_rpc_types[i].text.at))
            return (wi_rpc_type_id)i;
    }
    return WI_RPC_TYPE_NONE;
}

/* Text is in UTF-8: false if a parameter says that it is in something else. */
static bool parameters_ok(weir_http1_span rest)
{
    while (rest.len > 0) {
        const char *end = memchr(rest.at, ';', rest.len);
        size_t len = end == NULL ? rest.len : (size_t)(end - rest.at);
        weir_http1_span one = wi_rpc_trim((weir_http1_span){ rest.at, len });
        weir_http1_span name = { one.at, one.len < 8 ? one.len : 8 };
        if (weir_http1_span_is(name, "charset=")) {
            weir_http1_span value = { one.at + 8, one.len - 8 };
            if (!weir_http1_span_is(value, "utf-8") && !weir_http1_span_is(value, "\"utf-8\""))
                return false;
        }
        len += end != NULL;
        rest = (weir_http1_span){ rest.at + len, rest.len - len };
    }
    return true;
}

wi_rpc_type_id wi_rpc_type_of(weir_http1_span text)
{
    const char *end = text.len > 0 ? memchr(text.at, ';', text.len) : NULL;
    if (end == NULL)
        return exact(text);
    size_t len = (size_t)(end - text.at);
    weir_http1_span rest = { end + 1, text.len - len - 1 };
    if (!parameters_ok(rest))
        return WI_RPC_TYPE_NONE;
    return exact(wi_rpc_trim((weir_http1_span){ text.at, len }));
}

wi_rpc_type_id wi_rpc_type_for(weir_rpc_protocol protocol, weir_rpc_codec codec, bool is_stream,
                               bool is_text)
{
    for (unsigned i = 0; i < WI_RPC_TYPES; i++) {
        const wi_rpc_type *type = &wi_rpc_types[i];
        if (type->protocol == protocol && type->codec == codec && type->is_text == is_text &&
            (type->is_stream == is_stream || protocol != WEIR_RPC_CONNECT))
            return (wi_rpc_type_id)i;
    }
    return WI_RPC_TYPE_NONE;
}

void wi_rpc_set_type(weir_rpc_wire *wire, wi_rpc_type_id type)
{
    wire->type = (uint8_t)type;
    wire->protocol = wi_rpc_types[type].protocol;
    wire->codec = wi_rpc_types[type].codec;
    wire->is_stream = wi_rpc_types[type].is_stream;
    wire->is_text = wi_rpc_types[type].is_text;
}
