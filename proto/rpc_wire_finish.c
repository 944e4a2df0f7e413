/* The head of a response and its end, as a server says them. */
#include "rpc_wire_internal.h"

static const weir_http1_field grpc_ok = { WI_SPAN("grpc-status"), WI_SPAN("0") };
static const weir_http1_span no_prefix = { "", 0 };

/* ---- Heads ---- */

static void put_encodings(const weir_rpc_wire *wire, wi_rpc_fields *fields)
{
    weir_http1_span gzip = WI_SPAN("gzip"), identity = WI_SPAN("identity");
    if ((wire->marks & WI_RPC_TELL_ENCODINGS) != 0)
        wi_rpc_fields_put(fields, wi_rpc_name_text(wi_rpc_encoding_name(wire, true)),
                          wi_rpc_can_gzip(wire) ? gzip : identity);
}

/* Content type, whether gzip is used, and metadata, with room for `more`. */
static weir_status begin_head(weir_rpc_wire *wire, const weir_http1_field *metadata, size_t n,
                              bool gzip, size_t more, wi_rpc_fields *fields)
{
    const wi_rpc_type *type = &wi_rpc_types[wire->type];
    if (n > wire->limits.fields_max)
        return WEIR_ELIMIT;
    fields->max = wire->limits.fields_max;
    weir_status status = wi_rpc_fields_reserve(fields, n + 3 + more);
    if (status != WEIR_OK)
        return status;
    fields->at[fields->n++] = type->head[0];
    if (gzip)
        fields->at[fields->n++] = type->head[1];
    put_encodings(wire, fields);
    return wi_rpc_fields_send(fields, metadata, n, no_prefix);
}

static weir_status make_head(weir_rpc_wire *wire, const weir_http1_field *metadata, size_t n,
                             weir_arena *arena, weir_http_head *ret_head)
{
    const weir_http1_field *at = wi_rpc_types[wire->type].head;
    size_t count = wire->gzip_out ? 2 : 1;
    if (n > 0 || (wire->marks & WI_RPC_TELL_ENCODINGS) != 0) {
        wi_rpc_fields fields = { .arena = arena };
        weir_status status = begin_head(wire, metadata, n, wire->gzip_out, 0, &fields);
        if (status != WEIR_OK)
            return status;
        at = fields.at;
        count = fields.n;
    }
    *ret_head = (weir_http_head){
        .status = 200, .fields = at, .field_count = count, .content_length = UINT64_MAX
    };
    return WEIR_OK;
}

weir_status weir_rpc_wire_respond(weir_rpc_wire *wire, const weir_http1_field *metadata,
                                  size_t metadata_count, weir_arena *arena,
                                  weir_http_head *ret_head)
{
    if (!wire->is_stream)
        return WEIR_EAGAIN;
    if ((wire->marks & WI_RPC_HEAD_SENT) != 0)
        return WEIR_EEXIST;
    weir_status status = make_head(wire, metadata, metadata_count, arena, ret_head);
    if (status == WEIR_OK)
        wire->marks |= WI_RPC_HEAD_SENT;
    return status;
}

/* ---- Ends ---- */

/* All that an end is made of. */
typedef struct finishing {
    const weir_rpc_error *error;
    const weir_http1_field *metadata, *trailers;
    size_t metadata_count, trailer_count;
    weir_arena *arena;
    weir_bytes *body;
} finishing;

static weir_status head_unless_sent(weir_rpc_wire *wire, const finishing *f,
                                    weir_http_head *ret_head)
{
    *ret_head = (weir_http_head){ 0 };
    if ((wire->marks & WI_RPC_HEAD_SENT) != 0)
        return WEIR_OK;
    return make_head(wire, f->metadata, f->metadata_count, f->arena, ret_head);
}

/* gRPC: an error before anything else is all in the head. */
static weir_status finish_in_head(weir_rpc_wire *wire, const finishing *f,
                                  weir_rpc_wire_ending *ret_ending)
{
    wi_rpc_fields fields = { .arena = f->arena };
    weir_status status = begin_head(wire, NULL, 0, false, f->trailer_count, &fields);
    if (status == WEIR_OK)
        status = wi_rpc_grpc_end(&fields, f->error, f->trailers, f->trailer_count);
    if (status != WEIR_OK)
        return status;
    *ret_ending = (weir_rpc_wire_ending){
        .head = { .status = 200, .fields = fields.at, .field_count = fields.n, .ends = true }
    };
    return WEIR_OK;
}

static weir_status grpc_trailers(weir_rpc_wire *wire, const finishing *f,
                                 const weir_http1_field **ret_at, size_t *ret_n)
{
    *ret_at = &grpc_ok;
    *ret_n = 1;
    if (f->error->code == WEIR_RPC_OK && f->trailer_count == 0)
        return WEIR_OK;
    wi_rpc_fields fields = { .arena = f->arena, .max = wire->limits.fields_max };
    weir_status status = wi_rpc_grpc_end(&fields, f->error, f->trailers, f->trailer_count);
    *ret_at = fields.at;
    *ret_n = fields.n;
    return status;
}

static weir_status finish_grpc(weir_rpc_wire *wire, const finishing *f,
                               weir_rpc_wire_ending *ret_ending)
{
    bool is_head_due = (wire->marks & WI_RPC_HEAD_SENT) == 0;
    if (is_head_due && f->error->code != WEIR_RPC_OK && f->metadata_count == 0 && f->body->len == 0)
        return finish_in_head(wire, f, ret_ending);
    weir_rpc_wire_ending ending;
    weir_status status = head_unless_sent(wire, f, &ending.head);
    if (status == WEIR_OK)
        status = grpc_trailers(wire, f, &ending.trailers, &ending.trailer_count);
    if (status == WEIR_OK)
        *ret_ending = ending;
    return status;
}

static weir_status append_lines(const weir_http1_field *fields, size_t n, weir_bytes *body)
{
    for (size_t i = 0; i < n; i++) {
        const weir_http1_field *field = &fields[i];
        weir_status status = weir_bytes_reserve(body, field->name.len + field->value.len + 4);
        if (status != WEIR_OK)
            return status;
        char *to = body->at + body->len;
        memcpy(to, field->name.at, field->name.len);
        to += field->name.len;
        *to++ = ':';
        *to++ = ' ';
        if (field->value.len > 0)
            memcpy(to, field->value.at, field->value.len);
        to += field->value.len;
        *to++ = '\r';
        *to++ = '\n';
        body->len = (size_t)(to - body->at);
    }
    return WEIR_OK;
}

/* gRPC-Web: trailers are the last envelope. */
static weir_status finish_web(weir_rpc_wire *wire, const finishing *f,
                              weir_rpc_wire_ending *ret_ending)
{
    weir_rpc_wire_ending ending = { .trailer_count = 0 };
    const weir_http1_field *fields;
    size_t n, mark;
    weir_status status = head_unless_sent(wire, f, &ending.head);
    if (status == WEIR_OK)
        status = grpc_trailers(wire, f, &fields, &n);
    if (status == WEIR_OK)
        status = weir_rpc_wire_message_begin(wire, f->body, &mark);
    if (status == WEIR_OK)
        status = append_lines(fields, n, f->body);
    if (status == WEIR_OK)
        status = wi_rpc_close_envelope(wire, f->body, mark, 0x80);
    if (status == WEIR_OK)
        *ret_ending = ending;
    return status;
}

static weir_status finish_connect_stream(weir_rpc_wire *wire, const finishing *f,
                                         weir_rpc_wire_ending *ret_ending)
{
    weir_rpc_wire_ending ending = { .trailer_count = 0 };
    wi_rpc_fields fields = { .arena = f->arena, .max = wire->limits.fields_max };
    size_t mark;
    weir_status status = head_unless_sent(wire, f, &ending.head);
    if (status == WEIR_OK)
        status = wi_rpc_fields_send(&fields, f->trailers, f->trailer_count, no_prefix);
    if (status == WEIR_OK)
        status = weir_rpc_wire_message_begin(wire, f->body, &mark);
    if (status == WEIR_OK)
        status = wi_rpc_json_end(f->error, fields.at, fields.n, f->arena, f->body);
    if (status == WEIR_OK)
        status = wi_rpc_close_envelope(wire, f->body, mark, 2);
    if (status == WEIR_OK)
        *ret_ending = ending;
    return status;
}

static weir_status unary_body(weir_rpc_wire *wire, const finishing *f, bool *ret_gzip)
{
    *ret_gzip = false;
    if (f->error->code != WEIR_RPC_OK) {
        f->body->len = 0;
        return wi_rpc_json_error(f->error, f->arena, f->body);
    }
    if (!wire->gzip_out || f->body->len < wire->limits.gzip_bytes_min)
        return WEIR_OK;
    return wi_rpc_deflate_body(wire, f->body, false, ret_gzip);
}

/* Connect's unary calls: one message or one error, trailers among the head's fields. */
static weir_status finish_connect_unary(weir_rpc_wire *wire, const finishing *f,
                                        weir_rpc_wire_ending *ret_ending)
{
    static const weir_http1_span trailer = WI_SPAN("trailer-");
    static const weir_http1_field vary = { WI_SPAN("vary"), WI_SPAN("accept-encoding") };
    wi_rpc_fields fields = { .arena = f->arena };
    bool gzip, is_error = f->error->code != WEIR_RPC_OK;
    if (f->trailer_count > wire->limits.fields_max)
        return WEIR_ELIMIT;
    weir_status status = begin_head(wire, f->metadata, f->metadata_count, false,
                                    f->trailer_count + 2, &fields);
    if (status == WEIR_OK)
        status = wi_rpc_fields_send(&fields, f->trailers, f->trailer_count, trailer);
    if (status == WEIR_OK)
        status = unary_body(wire, f, &gzip);
    if (status != WEIR_OK)
        return status;
    if (is_error)
        fields.at[0] = wi_rpc_types[WI_RPC_UNARY_JSON].head[0];
    if (gzip)
        fields.at[fields.n++] = wi_rpc_types[wire->type].head[1];
    if (wire->is_get && wi_rpc_can_gzip(wire))
        fields.at[fields.n++] = vary;
    *ret_ending = (weir_rpc_wire_ending){ .head = { .status = wi_rpc_code_http(f->error->code),
                                                    .fields = fields.at,
                                                    .field_count = fields.n,
                                                    .content_length = f->body->len,
                                                    .ends = f->body->len == 0 } };
    return WEIR_OK;
}

/* That memory is short, where that needs none. */
static weir_status finish_without_memory(const weir_rpc_wire *wire, size_t body_before,
                                         weir_bytes *body, weir_rpc_wire_ending *ret_ending)
{
    const weir_http1_field *fields = wi_rpc_types[wire->type].no_memory;
    bool is_head_due = (wire->marks & WI_RPC_HEAD_SENT) == 0;
    body->len = body_before;
    if (is_head_due && wire->is_stream && wire->protocol != WEIR_RPC_CONNECT) {
        body->len = 0;
        *ret_ending = (weir_rpc_wire_ending){
            .head = { .status = 200, .fields = fields, .field_count = 3, .ends = true }
        };
        return WEIR_OK;
    }
    if (is_head_due && !wire->is_stream) {
        body->len = 0;
        *ret_ending = (weir_rpc_wire_ending){ .head = { .status = 503, .ends = true } };
        return WEIR_OK;
    }
    if (!is_head_due && wire->protocol == WEIR_RPC_GRPC) {
        *ret_ending = (weir_rpc_wire_ending){ .trailers = fields + 1, .trailer_count = 2 };
        return WEIR_OK;
    }
    return WEIR_ENOMEM;
}

weir_status weir_rpc_wire_finish(weir_rpc_wire *wire, const weir_rpc_error *error,
                                 const weir_http1_field *metadata, size_t metadata_count,
                                 const weir_http1_field *trailers, size_t trailer_count,
                                 weir_arena *arena, weir_bytes *body,
                                 weir_rpc_wire_ending *ret_ending)
{
    static const weir_rpc_error ok = { .code = WEIR_RPC_OK };
    const finishing f = {
        error == NULL ? &ok : error, metadata, trailers, metadata_count, trailer_count, arena, body
    };
    size_t before = body->len;
    weir_status status = wire->protocol == WEIR_RPC_GRPC       ? finish_grpc(wire, &f, ret_ending)
                         : wire->protocol == WEIR_RPC_GRPC_WEB ? finish_web(wire, &f, ret_ending)
                         : wire->is_stream ? finish_connect_stream(wire, &f, ret_ending)
                                           : finish_connect_unary(wire, &f, ret_ending);
    if (status == WEIR_ENOMEM)
        status = finish_without_memory(wire, before, body, ret_ending);
    else if (status != WEIR_OK && wire->is_stream)
        body->len = before;
    if (status == WEIR_OK)
        wire->marks |= WI_RPC_HEAD_SENT;
    return status;
}
