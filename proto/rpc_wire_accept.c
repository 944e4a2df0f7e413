/* The head of a request, read. */
#include "rpc_wire_internal.h"
#include "wi_base64.h"

/* The protocols' own fields of a head; the rest is metadata. */
typedef struct head_fields {
    const weir_http1_span *of[WI_RPC_NAMES];
    wi_rpc_fields metadata;
    weir_status status;
} head_fields;

static void sort_fields(const weir_http_head *head, head_fields *fields)
{
    for (size_t i = 0; i < head->field_count; i++) {
        const weir_http1_field *field = &head->fields[i];
        wi_rpc_name name = wi_rpc_name_of(field->name);
        if (name > WI_RPC_METADATA_BIN) {
            if (fields->of[name] == NULL)
                fields->of[name] = &field->value;
        } else if (fields->status == WEIR_OK) {
            fields->status = wi_rpc_fields_receive(&fields->metadata, field->name, field->value,
                                                   name == WI_RPC_METADATA_BIN);
        }
    }
}

/* ---- What is no call ---- */

#define TYPES                                                                         \
    "application/grpc, application/grpc+proto, application/grpc+json, "               \
    "application/grpc-web, application/grpc-web+proto, application/grpc-web+json, "   \
    "application/grpc-web-text, application/grpc-web-text+proto, application/proto, " \
    "application/json, application/connect+proto, application/connect+json"

static weir_status refuse(weir_http_head *ret_refusal, unsigned status, bool may_get)
{
    static const weir_http1_field allow_post = { WI_SPAN("allow"), WI_SPAN("POST") };
    static const weir_http1_field allow_get = { WI_SPAN("allow"), WI_SPAN("GET, POST") };
    static const weir_http1_field accept_post = { WI_SPAN("accept-post"), WI_SPAN(TYPES) };
    *ret_refusal = (weir_http_head){ .status = status, .ends = true };
    ret_refusal->fields = status == 415 ? &accept_post : may_get ? &allow_get : &allow_post;
    ret_refusal->field_count = status != 404;
    return WEIR_EREJECTED;
}

/* Connect has another type for streams than for single messages. */
static bool suits(wi_rpc_type_id type, weir_rpc_kind kind)
{
    return type != WI_RPC_TYPE_NONE && (wi_rpc_types[type].protocol != WEIR_RPC_CONNECT ||
                                        wi_rpc_types[type].is_stream == (kind != WEIR_RPC_UNARY));
}

/* ---- What is one ---- */

static weir_status read_encodings(weir_rpc_wire *wire, const head_fields *fields)
{
    const weir_http1_span *accepted = fields->of[wi_rpc_encoding_name(wire, true)];
    wire->gzip_out = accepted != NULL && wi_rpc_can_gzip(wire) && wi_rpc_lists_gzip(*accepted);
    if (wire->is_get ||
        wi_rpc_encoding(wire, fields->of[wi_rpc_encoding_name(wire, false)], &wire->gzip_in))
        return WEIR_OK;
    wire->marks |= WI_RPC_TELL_ENCODINGS;
    return wi_rpc_fail(wire, WEIR_EUNSUPPORTED, WEIR_RPC_UNIMPLEMENTED, "unknown compression");
}

static weir_status read_timeout(weir_rpc_wire *wire, const head_fields *fields, uint64_t *ret_ns)
{
    bool is_connect = wire->protocol == WEIR_RPC_CONNECT;
    const weir_http1_span *text =
        fields->of[is_connect ? WI_RPC_CONNECT_TIMEOUT : WI_RPC_GRPC_TIMEOUT];
    *ret_ns = UINT64_MAX;
    if (text == NULL ||
        (is_connect ? wi_rpc_connect_timeout(*text, ret_ns) : wi_rpc_grpc_timeout(*text, ret_ns)))
        return WEIR_OK;
    return wi_rpc_fail(wire, WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT, "malformed timeout");
}

static weir_status read_call(weir_rpc_wire *wire, const weir_http_head *head,
                             const head_fields *fields, weir_rpc_wire_request *ret_request)
{
    if (fields->status == WEIR_ENOMEM)
        return wi_rpc_no_memory(wire);
    if (fields->status == WEIR_ELIMIT)
        return wi_rpc_fail(wire, WEIR_ELIMIT, WEIR_RPC_RESOURCE_EXHAUSTED, "too much metadata");
    if (fields->status != WEIR_OK)
        return wi_rpc_fail(wire, WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT,
                           "metadata that is no base64");
    const weir_http1_span *version = fields->of[WI_RPC_CONNECT_VERSION];
    if (wire->protocol == WEIR_RPC_CONNECT && version != NULL && !WI_RPC_IS(*version, "1"))
        return wi_rpc_fail(wire, WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT,
                           "unknown version of the protocol");
    weir_status status = read_timeout(wire, fields, &ret_request->timeout_ns);
    if (status != WEIR_OK)
        return status;
    wire->content_length = head->content_length;
    if (!wire->is_stream && head->content_length != UINT64_MAX &&
        head->content_length > wire->limits.message_bytes_max)
        return wi_rpc_fail(wire, WEIR_ELIMIT, WEIR_RPC_RESOURCE_EXHAUSTED,
                           "a message is larger than may be received");
    ret_request->metadata = fields->metadata.at;
    ret_request->metadata_count = fields->metadata.n;
    return WEIR_OK;
}

/* ---- Connect by GET ---- */

static weir_status read_get_message(weir_rpc_wire *wire, const wi_rpc_query *query)
{
    char *text = (char *)(uintptr_t)query->message.at; /* the arena's, so ours */
    size_t len = query->message.len;
    if (!query->has_message)
        return wi_rpc_fail(wire, WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT, "no message");
    if (query->has_connect && !WI_RPC_IS(query->connect, "v1"))
        return wi_rpc_fail(wire, WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT,
                           "unknown version of the protocol");
    if (query->has_compression && !wi_rpc_encoding(wire, &query->compression, &wire->gzip_in)) {
        wire->marks |= WI_RPC_TELL_ENCODINGS;
        return wi_rpc_fail(wire, WEIR_EUNSUPPORTED, WEIR_RPC_UNIMPLEMENTED, "unknown compression");
    }
    if (query->base64 &&
        !wi_base64_decode(text, len, WI_BASE64_ANY_PADDING | WI_BASE64_ANY_ALPHABET, text, &len))
        return wi_rpc_fail(wire, WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT,
                           "a message that is no base64");
    if (len > wire->limits.message_bytes_max)
        return wi_rpc_fail(wire, WEIR_ELIMIT, WEIR_RPC_RESOURCE_EXHAUSTED,
                           "a message is larger than may be received");
    wire->message = (weir_http1_span){ text, len };
    return WEIR_OK;
}

static weir_status accept_get(weir_rpc_wire *wire, const weir_http_head *head, weir_arena *arena,
                              const head_fields *fields, weir_rpc_wire_request *ret_request,
                              weir_http_head *ret_refusal)
{
    wi_rpc_query query;
    weir_status status = wi_rpc_query_read(head->path, arena, &query);
    if (status == WEIR_OK && WI_RPC_IS(query.encoding, "proto"))
        wi_rpc_set_type(wire, WI_RPC_UNARY_PROTO);
    else if (status == WEIR_OK && !WI_RPC_IS(query.encoding, "json"))
        return refuse(ret_refusal, 415, true);
    else
        wi_rpc_set_type(wire, WI_RPC_UNARY_JSON);
    wire->is_get = true;
    if (status == WEIR_ENOMEM)
        return wi_rpc_no_memory(wire);
    if (status != WEIR_OK)
        return wi_rpc_fail(wire, status, WEIR_RPC_INVALID_ARGUMENT, "malformed query");
    status = read_encodings(wire, fields);
    if (status == WEIR_OK)
        status = read_get_message(wire, &query);
    return status == WEIR_OK ? read_call(wire, head, fields, ret_request) : status;
}

weir_status weir_rpc_wire_accept(weir_rpc_wire *wire, const weir_env *env,
                                 const weir_rpc_wire_limits *limits, weir_rpc_gzip *gzip,
                                 const weir_http_head *head, const weir_rpc_method *method,
                                 weir_arena *arena, weir_rpc_wire_request *ret_request,
                                 weir_http_head *ret_refusal)
{
    wi_rpc_begin(wire, env, limits, gzip, false);
    head_fields fields = { .metadata = { .arena = arena, .max = wire->limits.fields_max } };
    sort_fields(head, &fields);
    const weir_http1_span *content = fields.of[WI_RPC_CONTENT_TYPE];
    wi_rpc_type_id type = content == NULL ? WI_RPC_TYPE_NONE : wi_rpc_type_of(*content);
    bool is_post = WI_RPC_IS(head->method, "POST");
    bool may_get = method != NULL && method->no_side_effects && method->kind == WEIR_RPC_UNARY;
    weir_rpc_wire_request request;
    weir_status status;
    if (method == NULL) {
        if (!is_post || type == WI_RPC_TYPE_NONE || wi_rpc_types[type].protocol == WEIR_RPC_CONNECT)
            return refuse(ret_refusal, 404, false);
        wi_rpc_set_type(wire, type);
        return wi_rpc_fail(wire, WEIR_ENOTFOUND, WEIR_RPC_UNIMPLEMENTED, "unknown method");
    }
    wire->kind = method->kind;
    if (may_get && WI_RPC_IS(head->method, "GET")) {
        status = accept_get(wire, head, arena, &fields, &request, ret_refusal);
    } else {
        if (!is_post || !suits(type, method->kind))
            return refuse(ret_refusal, is_post ? 415 : 405, may_get);
        wi_rpc_set_type(wire, type);
        status = read_encodings(wire, &fields);
        if (status == WEIR_OK)
            status = read_call(wire, head, &fields, &request);
    }
    if (status == WEIR_OK)
        *ret_request = request;
    return status;
}
