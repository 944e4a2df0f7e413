/* The head of a response, read by a client. */
#include "rpc_wire_internal.h"

typedef struct response_fields {
    const weir_http1_span *type, *encoding;
    bool has_status; /* gRPC's */
    wi_rpc_fields metadata, trailers;
} response_fields;

/* Metadata, and Connect's trailers of unary calls, which stand here too. */
static weir_status sort_response(const weir_rpc_wire *wire, const weir_http_head *head,
                                 response_fields *fields)
{
    static const size_t prefix = sizeof "trailer-" - 1;
    wi_rpc_name encoding = wi_rpc_encoding_name(wire, false);
    bool is_unary = !wire->is_stream;
    weir_status status = WEIR_OK;
    for (size_t i = 0; i < head->field_count && status == WEIR_OK; i++) {
        const weir_http1_field *field = &head->fields[i];
        wi_rpc_name name = wi_rpc_name_of(field->name);
        if (name == WI_RPC_CONTENT_TYPE)
            fields->type = &field->value;
        else if (name == encoding)
            fields->encoding = &field->value;
        else if (name == WI_RPC_GRPC_STATUS)
            fields->has_status = wire->protocol != WEIR_RPC_CONNECT;
        if (name == WI_RPC_METADATA || name == WI_RPC_METADATA_BIN) {
            status = wi_rpc_fields_receive(&fields->metadata, field->name, field->value,
                                           name == WI_RPC_METADATA_BIN);
        } else if (name == WI_RPC_TRAILER && is_unary) {
            weir_http1_span bare = { field->name.at + prefix, field->name.len - prefix };
            wi_rpc_name of_bare = wi_rpc_name_of(bare);
            if (of_bare == WI_RPC_METADATA || of_bare == WI_RPC_METADATA_BIN)
                status = wi_rpc_fields_receive(&fields->trailers, bare, field->value,
                                               of_bare == WI_RPC_METADATA_BIN);
        }
    }
    return status;
}

static weir_status fail_sorting(weir_rpc_wire *wire, weir_status status)
{
    if (status == WEIR_ENOMEM)
        return wi_rpc_no_memory(wire);
    if (status == WEIR_ELIMIT)
        return wi_rpc_fail(wire, status, WEIR_RPC_RESOURCE_EXHAUSTED, "too much metadata");
    return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "metadata that is no base64");
}

/* "HTTP status 503" */
static weir_status fail_by_http(weir_rpc_wire *wire, weir_arena *arena)
{
    char text[] = "HTTP status 000";
    unsigned status = wire->http_status;
    for (size_t i = 0; i < 3; i++, status /= 10)
        text[sizeof text - 2 - i] = (char)('0' + status % 10);
    const char *copy = weir_arena_copy(arena, text, sizeof text - 1);
    return wi_rpc_fail(wire, WEIR_EPROTO, wi_rpc_code_of_http(wire->http_status),
                       copy != NULL ? copy : "HTTP status");
}

/* The type must be that of the call, down to the codec. */
static weir_status check_type(weir_rpc_wire *wire, const weir_http1_span *text)
{
    wi_rpc_type_id id = text == NULL ? WI_RPC_TYPE_NONE : wi_rpc_type_of(*text);
    const wi_rpc_type *type = &wi_rpc_types[id == WI_RPC_TYPE_NONE ? 0 : id];
    if (id == WI_RPC_TYPE_NONE || type->protocol != wire->protocol ||
        type->is_stream != wire->is_stream || type->is_text != wire->is_text)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_UNKNOWN, "unexpected content type");
    if (type->codec != wire->codec)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "unexpected codec");
    return WEIR_OK;
}

static weir_status check_encoding(weir_rpc_wire *wire, const weir_http1_span *text)
{
    if (wi_rpc_encoding(wire, text, &wire->gzip_in))
        return WEIR_OK;
    return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "unexpected compression");
}

/* Another status than 200: an error of Connect is to come as JSON, or HTTP's says it all. */
static weir_status not_ok(weir_rpc_wire *wire, const response_fields *fields, weir_arena *arena)
{
    bool is_json = fields->type != NULL && wi_rpc_type_of(*fields->type) == WI_RPC_UNARY_JSON;
    if (wire->is_stream || !is_json || !wi_rpc_encoding(wire, fields->encoding, &wire->gzip_in))
        return fail_by_http(wire, arena);
    (void)fail_by_http(wire, arena);
    wire->failed = WEIR_OK;
    wire->marks |= WI_RPC_ERROR_BODY;
    return WEIR_OK;
}

/* gRPC's status in the head: it counts if nothing follows. */
static weir_status read_head_status(weir_rpc_wire *wire, const weir_http_head *head,
                                    weir_arena *arena)
{
    bool has_status;
    weir_status status = wi_rpc_read_grpc_end(wire, head->fields, head->field_count, arena,
                                              &has_status);
    wire->marks |= WI_RPC_HEAD_STATUS;
    return status;
}

weir_status weir_rpc_wire_response(weir_rpc_wire *wire, const weir_http_head *head,
                                   weir_arena *arena, const weir_http1_field **ret_metadata,
                                   size_t *ret_count)
{
    response_fields fields = { .metadata = { .arena = arena, .max = wire->limits.fields_max },
                               .trailers = { .arena = arena, .max = wire->limits.fields_max } };
    weir_status status = sort_response(wire, head, &fields);
    if (status != WEIR_OK)
        return fail_sorting(wire, status);
    wire->http_status = head->status;
    wire->content_length = head->content_length;
    if (head->status != 200 && !fields.has_status)
        status = not_ok(wire, &fields, arena);
    else if ((status = check_type(wire, fields.type)) == WEIR_OK)
        status = check_encoding(wire, fields.encoding);
    wire->trailers = fields.trailers.at;
    wire->trailer_count = fields.trailers.n;
    if (status == WEIR_OK && fields.has_status)
        status = read_head_status(wire, head, arena);
    if (status != WEIR_OK)
        return status;
    bool only_trailers = fields.has_status && head->ends;
    *ret_metadata = only_trailers ? NULL : fields.metadata.at;
    *ret_count = only_trailers ? 0 : fields.metadata.n;
    return WEIR_OK;
}
