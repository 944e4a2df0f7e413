/* Connect's JSON, read: leniently, as other servers' is what it is. What is missing, of another
 * type than expected or unknown is passed over; what is no JSON is refused. */
#include "rpc_wire_internal.h"
#include "wi_base64.h"

static const weir_json_limits lenient = { .text_bytes_max = UINT32_MAX,
                                          .string_bytes_max = UINT32_MAX,
                                          .depth_max = WEIR_JSON_DEPTH_CAP };

typedef struct json_in {
    weir_json_reader reader;
    weir_json_token token;
    weir_arena *arena;
    weir_status status; /* the first that went wrong */
} json_in;

static bool next(json_in *in)
{
    if (in->status == WEIR_OK)
        in->status = weir_json_next(&in->reader, &in->token);
    return in->status == WEIR_OK;
}

static bool is_now(const json_in *in, weir_json_kind kind)
{
    return in->status == WEIR_OK && in->token.kind == kind;
}

/* Goes past what the present token began. */
static void pass(json_in *in)
{
    if (is_now(in, WEIR_JSON_BEGIN_OBJECT) || is_now(in, WEIR_JSON_BEGIN_ARRAY))
        in->status = weir_json_leave(&in->reader);
}

/* The next key of the object, its value being the present token then; false: there is none. */
static bool next_key(json_in *in, weir_json_token *ret_key)
{
    if (!next(in) || in->token.kind != WEIR_JSON_KEY)
        return false;
    *ret_key = in->token;
    return next(in);
}

static bool take_string(json_in *in, weir_http1_span *ret_text)
{
    if (!is_now(in, WEIR_JSON_STRING))
        return false;
    char *copy = weir_arena_take(in->arena, in->token.len + 1);
    size_t len;
    if (copy == NULL)
        in->status = WEIR_ENOMEM;
    else if (weir_json_unescape(&in->token, copy, in->token.len + 1, &len) != WEIR_OK)
        in->status = WEIR_EPROTO;
    else
        *ret_text = (weir_http1_span){ copy, len };
    return in->status == WEIR_OK;
}

/* One of the details; false: it is not whole. */
static bool take_detail(json_in *in, weir_rpc_detail *ret_detail)
{
    weir_json_token key;
    weir_http1_span type, value = { NULL, 0 };
    bool has_type = false, has_value = false;
    while (next_key(in, &key)) {
        if (weir_json_equals(&key, "type"))
            has_type = take_string(in, &type);
        else if (weir_json_equals(&key, "value"))
            has_value = take_string(in, &value);
        pass(in);
    }
    size_t len;
    char *bytes = (char *)(uintptr_t)value.at; /* our own copy */
    if (!has_type || !has_value ||
        !wi_base64_decode(value.at, value.len, WI_BASE64_ANY_PADDING | WI_BASE64_ANY_ALPHABET,
                          bytes, &len))
        return false;
    *ret_detail = (weir_rpc_detail){ .type = type, .value = bytes, .n = len };
    return in->status == WEIR_OK;
}

static void put_detail(json_in *in, weir_rpc_error *error, size_t *cap, weir_rpc_detail detail)
{
    weir_rpc_detail *details = (weir_rpc_detail *)(uintptr_t)error->details;
    if (error->detail_count == *cap) {
        *cap = *cap == 0 ? 4 : *cap * 2;
        details = weir_arena_take(in->arena, *cap * sizeof *details);
        if (details == NULL) {
            in->status = WEIR_ENOMEM;
            return;
        }
        if (error->detail_count > 0)
            memcpy(details, error->details, error->detail_count * sizeof *details);
        error->details = details;
    }
    details[error->detail_count++] = detail;
}

static void take_details(json_in *in, weir_rpc_error *error)
{
    size_t cap = 0;
    if (!is_now(in, WEIR_JSON_BEGIN_ARRAY)) {
        pass(in);
        return;
    }
    while (next(in) && in->token.kind != WEIR_JSON_END_ARRAY) {
        weir_rpc_detail detail;
        if (!is_now(in, WEIR_JSON_BEGIN_OBJECT))
            pass(in);
        else if (take_detail(in, &detail))
            put_detail(in, error, &cap, detail);
    }
}

/* The members of an error; its opening brace is the present token. */
static void take_error(json_in *in, weir_rpc_error *error)
{
    weir_json_token key;
    while (next_key(in, &key)) {
        if (weir_json_equals(&key, "code") && is_now(in, WEIR_JSON_STRING)) {
            (void)wi_rpc_code_named(&in->token, &error->code);
        } else if (weir_json_equals(&key, "message")) {
            (void)take_string(in, &error->text);
            pass(in);
        } else if (weir_json_equals(&key, "details")) {
            take_details(in, error);
        } else {
            pass(in);
        }
    }
}

static weir_status outcome(json_in *in)
{
    (void)next(in);
    if (in->status == WEIR_OK && in->token.kind != WEIR_JSON_END)
        return WEIR_EPROTO;
    return in->status == WEIR_OK || in->status == WEIR_ENOMEM ? in->status : WEIR_EPROTO;
}

static bool open_object(json_in *in, weir_http1_span text, weir_arena *arena)
{
    in->arena = arena;
    in->status = weir_json_open(&in->reader, text.len > 0 ? text.at : "", text.len, &lenient);
    return next(in) && in->token.kind == WEIR_JSON_BEGIN_OBJECT;
}

weir_status wi_rpc_json_read_error(weir_http1_span text, weir_arena *arena, weir_rpc_error *error)
{
    json_in in;
    weir_rpc_error read = *error;
    if (!open_object(&in, text, arena))
        return WEIR_EPROTO;
    take_error(&in, &read);
    weir_status status = outcome(&in);
    if (status == WEIR_OK)
        *error = read;
    return status;
}

static void take_values(json_in *in, weir_http1_span name, wi_rpc_fields *fields)
{
    wi_rpc_name whose = wi_rpc_name_of(name);
    bool is_bin = whose == WI_RPC_METADATA_BIN;
    while (next(in) && in->token.kind != WEIR_JSON_END_ARRAY) {
        weir_http1_span value;
        if (!take_string(in, &value)) {
            pass(in);
            continue;
        }
        value = wi_rpc_trim(value);
        if (!wi_rpc_value_ok(value))
            in->status = WEIR_EPROTO;
        else if (is_bin || whose == WI_RPC_METADATA)
            in->status = wi_rpc_fields_receive(fields, name, value, is_bin);
    }
}

static void take_metadata(json_in *in, wi_rpc_fields *fields)
{
    weir_json_token key;
    if (!is_now(in, WEIR_JSON_BEGIN_OBJECT)) {
        pass(in);
        return;
    }
    while (next_key(in, &key)) {
        weir_json_token value = in->token;
        weir_http1_span name;
        in->token = key;
        in->token.kind = WEIR_JSON_STRING;
        if (!take_string(in, &name))
            return;
        in->token = value;
        for (size_t i = 0; i < name.len; i++) {
            char *c = (char *)(uintptr_t)name.at + i; /* our own copy */
            *c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
        }
        if (!wi_rpc_name_ok(name))
            in->status = WEIR_EPROTO;
        else if (is_now(in, WEIR_JSON_BEGIN_ARRAY))
            take_values(in, name, fields);
        else
            pass(in);
    }
}

static void take_end(json_in *in, weir_rpc_error *error, wi_rpc_fields *fields)
{
    weir_json_token key;
    while (next_key(in, &key)) {
        if (weir_json_equals(&key, "error") && is_now(in, WEIR_JSON_BEGIN_OBJECT)) {
            error->code = WEIR_RPC_UNKNOWN;
            take_error(in, error);
        } else if (weir_json_equals(&key, "metadata")) {
            take_metadata(in, fields);
        } else {
            pass(in);
        }
    }
}

weir_status wi_rpc_json_read_end(weir_rpc_wire *wire, weir_http1_span text, weir_arena *arena)
{
    json_in in;
    weir_rpc_error error = { .text = { "", 0 } };
    wi_rpc_fields fields = { .max = wire->limits.fields_max, .arena = arena };
    if (!open_object(&in, text, arena))
        return WEIR_EPROTO;
    take_end(&in, &error, &fields);
    weir_status status = outcome(&in);
    if (status != WEIR_OK)
        return status;
    wire->error = error;
    wire->trailers = fields.at;
    wire->trailer_count = fields.n;
    return WEIR_OK;
}
