/* Errors of gRPC: grpc-status, grpc-message in percent-encoding, grpc-status-details-bin. */
#include "json_text.h"
#include "rpc_wire_internal.h"
#include "wi_base64.h"

static const weir_http1_span status_name = WI_SPAN("grpc-status");
static const weir_http1_span message_name = WI_SPAN("grpc-message");
static const weir_http1_span details_name = WI_SPAN("grpc-status-details-bin");

weir_status wi_rpc_fail(weir_rpc_wire *wire, weir_status status, weir_rpc_code code,
                        const char *text)
{
    wire->failed = status;
    wire->error = (weir_rpc_error){ .code = code, .text = { text, strlen(text) } };
    return status;
}

weir_status wi_rpc_no_memory(weir_rpc_wire *wire)
{
    return wi_rpc_fail(wire, WEIR_ENOMEM, WEIR_RPC_RESOURCE_EXHAUSTED, "out of memory");
}

weir_status wi_rpc_utf8(weir_http1_span text, weir_arena *arena, weir_http1_span *ret_text)
{
    if (text.len == 0) {
        *ret_text = (weir_http1_span){ "", 0 };
        return WEIR_OK;
    }
    const unsigned char *at = (const unsigned char *)text.at, *end = at + text.len;
    char *copy = NULL;
    for (size_t i = 0; i < text.len;) {
        int len = wi_json_utf8(at + i, end);
        if (at[i] >= 0x80 && len <= 0) {
            if (copy == NULL && (copy = weir_arena_copy(arena, text.at, text.len)) == NULL)
                return WEIR_ENOMEM;
            copy[i] = '?';
            len = 1;
        }
        i += at[i] < 0x80 ? 1 : (size_t)len;
    }
    *ret_text = (weir_http1_span){ copy != NULL ? copy : text.at, text.len };
    return WEIR_OK;
}

static bool plain(char c)
{
    return c >= 0x20 && c <= 0x7e && c != '%';
}

static weir_status percent_encode(weir_http1_span text, weir_arena *arena,
                                  weir_http1_span *ret_text)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t odd = 0, len = 0;
    for (size_t i = 0; i < text.len; i++)
        odd += !plain(text.at[i]);
    *ret_text = text;
    if (odd == 0)
        return WEIR_OK;
    char *out = odd > SIZE_MAX / 4 ? NULL : weir_arena_take(arena, text.len + 2 * odd);
    if (out == NULL)
        return WEIR_ENOMEM;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.at[i];
        if (plain(text.at[i])) {
            out[len++] = text.at[i];
            continue;
        }
        out[len++] = '%';
        out[len++] = hex[c >> 4];
        out[len++] = hex[c & 15];
    }
    *ret_text = (weir_http1_span){ out, len };
    return WEIR_OK;
}

/* What is no escape stands for itself, as the protocol asks of readers. */
static weir_status percent_decode(weir_http1_span text, weir_arena *arena,
                                  weir_http1_span *ret_text)
{
    char *out = weir_arena_take(arena, text.len);
    size_t len = 0;
    if (out == NULL)
        return WEIR_ENOMEM;
    for (size_t i = 0; i < text.len; i++) {
        bool escape = text.at[i] == '%' && text.len - i > 2 && wi_rpc_hex_of(text.at[i + 1]) >= 0 &&
                      wi_rpc_hex_of(text.at[i + 2]) >= 0;
        out[len++] = text.at[i];
        if (!escape)
            continue;
        out[len - 1] = (char)(wi_rpc_hex_of(text.at[i + 1]) << 4 | wi_rpc_hex_of(text.at[i + 2]));
        i += 2;
    }
    return wi_rpc_utf8((weir_http1_span){ out, len }, arena, ret_text);
}

static weir_http1_span code_text(weir_rpc_code code)
{
    static const char digits[] = "0123456789101112131415" /* two each from 10 on */ "16";
    unsigned number = (unsigned)code > WEIR_RPC_UNAUTHENTICATED ? WEIR_RPC_UNKNOWN : code;
    return number < 10 ? (weir_http1_span){ digits + number, 1 }
                       : (weir_http1_span){ digits + 10 + (number - 10) * 2, 2 };
}

static weir_status put_details(wi_rpc_fields *fields, const weir_rpc_error *error)
{
    weir_http1_span packed;
    weir_status status = wi_rpc_status_pack(error, fields->arena, &packed);
    if (status != WEIR_OK)
        return status;
    char *text = weir_arena_take(fields->arena, wi_base64_encoded_max(packed.len));
    if (text == NULL)
        return WEIR_ENOMEM;
    size_t len = wi_base64_encode(packed.at, packed.len, WI_BASE64_UNPADDED, text);
    wi_rpc_fields_put(fields, details_name, (weir_http1_span){ text, len });
    return WEIR_OK;
}

weir_status wi_rpc_grpc_end(wi_rpc_fields *fields, const weir_rpc_error *error,
                            const weir_http1_field *trailers, size_t n)
{
    weir_status status = wi_rpc_fields_reserve(fields, n < SIZE_MAX / 2 ? n + 3 : n);
    if (status != WEIR_OK)
        return status;
    wi_rpc_fields_put(fields, status_name, code_text(error->code));
    if (error->code != WEIR_RPC_OK) {
        weir_http1_span text;
        status = wi_rpc_utf8(error->text, fields->arena, &text);
        if (status == WEIR_OK)
            status = percent_encode(text, fields->arena, &text);
        if (status != WEIR_OK)
            return status;
        if (text.len > 0)
            wi_rpc_fields_put(fields, message_name, text);
        if (error->detail_count > 0 && (status = put_details(fields, error)) != WEIR_OK)
            return status;
    }
    return wi_rpc_fields_send(fields, trailers, n, (weir_http1_span){ "", 0 });
}

static bool read_code(weir_http1_span text, weir_rpc_code *ret_code)
{
    uint32_t code = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
        code = code > 99999 ? code : code * 10 + (uint32_t)(text.at[i] - '0');
    }
    *ret_code = code > WEIR_RPC_UNAUTHENTICATED ? WEIR_RPC_UNKNOWN : (weir_rpc_code)code;
    return text.len > 0;
}

/* Details are extra: those that cannot be read are left out. */
static weir_status read_details(weir_http1_span text, weir_arena *arena, weir_rpc_error *error)
{
    char *bytes = weir_arena_take(arena, wi_base64_decoded_max(text.len));
    size_t len;
    if (bytes == NULL)
        return WEIR_ENOMEM;
    if (!wi_base64_decode(text.at, text.len, WI_BASE64_ANY_PADDING, bytes, &len))
        return WEIR_OK;
    weir_rpc_error inner = { 0 };
    weir_status status = wi_rpc_status_unpack((weir_http1_span){ bytes, len }, arena, &inner);
    if (status != WEIR_OK)
        return status == WEIR_ENOMEM ? status : WEIR_OK;
    if (error->text.len == 0)
        error->text = inner.text;
    error->details = inner.details;
    error->detail_count = inner.detail_count;
    return WEIR_OK;
}

/* What stands in gRPC's fields, found on the way through all of them. */
typedef struct end_fields {
    const weir_http1_span *status, *message, *details;
} end_fields;

static weir_status sort_end(wi_rpc_fields *fields, const weir_http1_field *from, size_t n,
                            end_fields *ret_end)
{
    weir_status status = WEIR_OK;
    for (size_t i = 0; i < n && status == WEIR_OK; i++) {
        wi_rpc_name name = wi_rpc_name_of(from[i].name);
        const weir_http1_span **where = name == WI_RPC_GRPC_STATUS    ? &ret_end->status
                                        : name == WI_RPC_GRPC_MESSAGE ? &ret_end->message
                                        : name == WI_RPC_GRPC_DETAILS ? &ret_end->details
                                                                      : NULL;
        if (where != NULL && *where == NULL)
            *where = &from[i].value;
        if (name == WI_RPC_METADATA || name == WI_RPC_METADATA_BIN)
            status = wi_rpc_fields_receive(fields, from[i].name, from[i].value,
                                           name == WI_RPC_METADATA_BIN);
    }
    return status;
}

static weir_status read_error(const end_fields *end, weir_arena *arena, weir_rpc_error *ret_error)
{
    weir_rpc_error error = { .text = { "", 0 } };
    weir_status status = WEIR_OK;
    if (!read_code(*end->status, &error.code)) {
        static const char text[] = "malformed grpc-status";
        *ret_error = (weir_rpc_error){ .code = WEIR_RPC_INTERNAL, .text = WI_SPAN(text) };
        return WEIR_OK;
    }
    if (error.code != WEIR_RPC_OK && end->message != NULL)
        status = percent_decode(*end->message, arena, &error.text);
    if (status == WEIR_OK && error.code != WEIR_RPC_OK && end->details != NULL)
        status = read_details(*end->details, arena, &error);
    if (status == WEIR_OK)
        *ret_error = error;
    return status;
}

weir_status wi_rpc_read_grpc_end(weir_rpc_wire *wire, const weir_http1_field *from, size_t n,
                                 weir_arena *arena, bool *ret_has_status)
{
    wi_rpc_fields fields = { .max = wire->limits.fields_max, .arena = arena };
    end_fields end = { 0 };
    weir_status status = sort_end(&fields, from, n, &end);
    if (status == WEIR_OK && end.status != NULL)
        status = read_error(&end, arena, &wire->error);
    if (status == WEIR_ENOMEM)
        return wi_rpc_no_memory(wire);
    if (status == WEIR_ELIMIT)
        return wi_rpc_fail(wire, status, WEIR_RPC_RESOURCE_EXHAUSTED, "too much metadata");
    if (status != WEIR_OK)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "metadata that is no base64");
    wire->trailers = fields.at;
    wire->trailer_count = fields.n;
    *ret_has_status = end.status != NULL;
    return WEIR_OK;
}
