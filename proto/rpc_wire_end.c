/* The end of what comes: what is missing then, and what it says about the call. */
#include "rpc_wire_internal.h"

static const char cut_off[] = "cut off within a message";

static bool is_cut(const weir_rpc_wire *wire)
{
    return wire->state == WI_RPC_BODY || wire->have > 0 || wire->quads > 0;
}

static weir_status no_message(weir_rpc_wire *wire)
{
    return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_UNIMPLEMENTED,
                       "no message where there must be one");
}

/* The body of a Connect unary call is its message, also if it is empty. */
static weir_status whole_message(weir_rpc_wire *wire, weir_http1_span *ret_message)
{
    weir_http1_span bytes = { wire->partial.at, wire->partial.len };
    if (wire->count > 0)
        return WEIR_EPARTIAL;
    if (wire->is_get && !wire->is_client)
        bytes = wire->message;
    if (bytes.len == 0)
        bytes.at = "";
    if (wire->gzip_in && bytes.len > 0) {
        weir_status status = wi_rpc_inflate(wire, bytes, &bytes);
        if (status != WEIR_OK)
            return status;
    }
    wire->count = 1;
    *ret_message = bytes;
    return WEIR_OK;
}

static weir_status server_end(weir_rpc_wire *wire, weir_http1_span *ret_message)
{
    if (!wire->is_stream)
        return whole_message(wire, ret_message);
    if (is_cut(wire))
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, cut_off);
    if (wire->count == 0 && wi_rpc_takes_one(wire))
        return no_message(wire);
    return WEIR_EPARTIAL;
}

/* The error stays what HTTP's status says, where the body does not say more. */
static weir_status error_body(weir_rpc_wire *wire, weir_arena *arena)
{
    weir_http1_span text = { wire->partial.at, wire->partial.len };
    weir_rpc_error error = wire->error;
    if ((wire->marks & WI_RPC_ERROR_CUT) != 0 || text.len == 0)
        return WEIR_EPARTIAL;
    if (wire->gzip_in && wi_rpc_inflate(wire, text, &text) != WEIR_OK) {
        wire->failed = WEIR_OK;
        wire->error = error;
        return WEIR_EPARTIAL;
    }
    weir_rpc_error read = { .code = error.code, .text = { "", 0 } };
    weir_status status = wi_rpc_json_read_error(text, arena, &read);
    if (status == WEIR_ENOMEM)
        return wi_rpc_no_memory(wire);
    wire->error = status == WEIR_OK ? read : error;
    return WEIR_EPARTIAL;
}

/* What the last envelope holds, inflated. */
static weir_status last_envelope(weir_rpc_wire *wire, weir_http1_span *ret_text)
{
    *ret_text = (weir_http1_span){ wire->partial.len > 0 ? wire->partial.at : "",
                                   wire->partial.len };
    if ((wire->marks & WI_RPC_PACKED) == 0 || ret_text->len == 0)
        return WEIR_OK;
    return wi_rpc_inflate(wire, *ret_text, ret_text);
}

static weir_status connect_stream_end(weir_rpc_wire *wire, weir_arena *arena)
{
    weir_http1_span text;
    if (wire->state != WI_RPC_ENDED)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL,
                           is_cut(wire) ? cut_off : "the stream has no end");
    weir_status status = last_envelope(wire, &text);
    if (status != WEIR_OK)
        return status;
    status = wi_rpc_json_read_end(wire, text, arena);
    if (status == WEIR_ENOMEM)
        return wi_rpc_no_memory(wire);
    if (status != WEIR_OK)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "a malformed end of the stream");
    return WEIR_OK;
}

/* One of gRPC-Web's trailers, a line without its end. False: it is none. */
static bool take_line(wi_rpc_fields *fields, weir_http1_span line, weir_status *ret_status)
{
    const char *colon = line.len > 0 ? memchr(line.at, ':', line.len) : NULL;
    if (colon == NULL)
        return false;
    size_t len = (size_t)(colon - line.at);
    weir_http1_span name = { line.at, len };
    weir_http1_span value = wi_rpc_trim((weir_http1_span){ colon + 1, line.len - len - 1 });
    if (!wi_rpc_name_ok(name) || !wi_rpc_value_ok(value))
        return false;
    for (size_t i = 0; i < len; i++) {
        char *c = (char *)(uintptr_t)line.at + i; /* of a buffer of the wire's */
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
    }
    *ret_status = wi_rpc_fields_receive(fields, name, value, false);
    return true;
}

static weir_status web_lines(weir_http1_span text, wi_rpc_fields *fields)
{
    weir_status status = WEIR_OK;
    while (text.len > 0 && status == WEIR_OK) {
        const char *end = memchr(text.at, '\n', text.len);
        size_t len = end == NULL ? text.len : (size_t)(end - text.at);
        weir_http1_span line = { text.at, len };
        if (line.len > 0 && line.at[line.len - 1] == '\r')
            line.len--;
        if (line.len > 0 && !take_line(fields, line, &status))
            return WEIR_EPROTO;
        len += end != NULL;
        text = (weir_http1_span){ text.at + len, text.len - len };
    }
    return status;
}

static weir_status no_status(weir_rpc_wire *wire)
{
    return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "the response has no status");
}

/* gRPC: the status is in the trailers; in the head only if nothing came behind it. */
static weir_status grpc_end(weir_rpc_wire *wire, const weir_http1_field *trailers, size_t n,
                            weir_arena *arena)
{
    bool has_status, is_bare = n == 0 && (wire->marks & WI_RPC_GOT_BYTES) == 0;
    if (is_bare && (wire->marks & WI_RPC_HEAD_STATUS) != 0)
        return WEIR_OK;
    wire->error = (weir_rpc_error){ .text = { "", 0 } };
    weir_status status = wi_rpc_read_grpc_end(wire, trailers, n, arena, &has_status);
    if (status != WEIR_OK)
        return status;
    bool is_ok = !has_status || wire->error.code == WEIR_RPC_OK;
    if (is_ok && wire->state == WI_RPC_ENDED)
        return has_status ? WEIR_OK : no_status(wire);
    if (is_ok && is_cut(wire))
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, cut_off);
    return has_status ? WEIR_OK : no_status(wire);
}

static weir_status web_end(weir_rpc_wire *wire, const weir_http1_field *trailers, size_t n,
                           weir_arena *arena)
{
    weir_http1_span text;
    if (wire->state != WI_RPC_ENDED)
        return grpc_end(wire, trailers, n, arena);
    wi_rpc_fields fields = { .arena = arena, .max = wire->limits.fields_max };
    weir_status status = last_envelope(wire, &text);
    if (status != WEIR_OK)
        return status;
    if (wire->quads > 0)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, cut_off);
    status = web_lines(text, &fields);
    if (status == WEIR_ENOMEM)
        return wi_rpc_no_memory(wire);
    if (status == WEIR_ELIMIT)
        return wi_rpc_fail(wire, status, WEIR_RPC_RESOURCE_EXHAUSTED, "too much metadata");
    if (status != WEIR_OK)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "malformed trailers");
    return grpc_end(wire, fields.at, fields.n, arena);
}

static weir_status client_end(weir_rpc_wire *wire, const weir_http1_field *trailers, size_t n,
                              weir_arena *arena, weir_http1_span *ret_message)
{
    if ((wire->marks & WI_RPC_ERROR_BODY) != 0)
        return error_body(wire, arena);
    if (!wire->is_stream)
        return whole_message(wire, ret_message);
    weir_status status = wire->protocol == WEIR_RPC_CONNECT ? connect_stream_end(wire, arena)
                         : wire->protocol == WEIR_RPC_GRPC  ? grpc_end(wire, trailers, n, arena)
                                                            : web_end(wire, trailers, n, arena);
    if (status != WEIR_OK)
        return status;
    if (wire->error.code == WEIR_RPC_OK && wire->count == 0 && wi_rpc_takes_one(wire))
        return no_message(wire);
    return WEIR_EPARTIAL;
}

weir_status weir_rpc_wire_feed_end(weir_rpc_wire *wire, const weir_http1_field *trailers, size_t n,
                                   weir_arena *arena, weir_http1_span *ret_message)
{
    if (wire->failed != WEIR_OK)
        return wire->failed;
    if ((wire->marks & WI_RPC_OVER) != 0)
        return WEIR_EPARTIAL;
    weir_status status = wire->is_client ? client_end(wire, trailers, n, arena, ret_message)
                                         : server_end(wire, ret_message);
    wire->marks |= WI_RPC_OVER;
    return status;
}
