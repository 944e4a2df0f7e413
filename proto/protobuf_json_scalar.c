/* Values of fields from JSON: numbers, enums, strings, bytes, keys of maps, and the well-known
 * types that are one string. */
#include "protobuf_json_internal.h"

#include "json_number.h"
#include "json_text.h"
#include "wi_base64.h"

#include <math.h>
#include <string.h>

weir_status wi_pbj_refuse(wi_pbj_source *source, weir_status status, const char *why)
{
    source->why = why;
    return status;
}

static weir_status no_room(wi_pbj_source *source, size_t bytes)
{
    /* An arena does not say which of the two it was. */
    return ((bytes + 7) & ~(size_t)7) > source->arena->budget
               ? wi_pbj_refuse(source, WEIR_ELIMIT, "over the arena's budget")
               : wi_pbj_refuse(source, WEIR_ENOMEM, "no memory");
}

void *wi_pbj_take(wi_pbj_source *source, size_t bytes, weir_status *ret_status)
{
    void *memory = weir_arena_take(source->arena, bytes);
    if (memory == NULL)
        *ret_status = no_room(source, bytes);
    return memory;
}

weir_status wi_pbj_text(wi_pbj_source *source, const weir_json_token *token, const char **ret_text,
                        size_t *ret_len)
{
    weir_status status = WEIR_OK;
    if (!token->has_escapes) {
        *ret_text = token->text;
        *ret_len = token->len;
        return WEIR_OK;
    }
    char *text = wi_pbj_take(source, token->len + 1, &status);
    if (text == NULL)
        return status;
    *ret_text = text;
    return weir_json_unescape(token, text, token->len + 1, ret_len);
}

/* ---- Strings and bytes ---- */

/* A C string of the arena's: whoever reads it sees no more than up to a NUL, so none may be in it.
 */
static weir_status c_string(wi_pbj_source *source, const weir_json_token *token, char **ret_text)
{
    weir_status status = WEIR_OK;
    size_t len = token->len;
    char *text = wi_pbj_take(source, len + 1, &status);
    if (text == NULL)
        return status;
    if (token->has_escapes) {
        status = weir_json_unescape(token, text, token->len + 1, &len);
        if (status != WEIR_OK)
            return status;
        if (memchr(text, '\0', len) != NULL)
            return wi_pbj_refuse(source, WEIR_EPROTO, "a string holds a NUL");
    } else {
        memcpy(text, token->text, len); /* the reader lets no NUL through */
        text[len] = '\0';
    }
    *ret_text = text;
    return WEIR_OK;
}

/* Base64 of either alphabet, padded or not (RFC 4648 sections 4 and 5). */
static weir_status bytes(wi_pbj_source *source, const weir_json_token *token,
                         ProtobufCBinaryData *ret_data)
{
    const char *text = NULL;
    size_t len = 0;
    weir_status status = wi_pbj_text(source, token, &text, &len);
    if (status != WEIR_OK)
        return status;
    uint8_t *data = wi_pbj_take(source, wi_base64_decoded_max(len), &status);
    if (data == NULL)
        return status;
    if (!wi_base64_decode(text, len, WI_BASE64_ANY_ALPHABET | WI_BASE64_ANY_PADDING, data,
                          &ret_data->len))
        return wi_pbj_refuse(source, WEIR_EPROTO, "bytes are not base64");
    ret_data->data = data;
    return WEIR_OK;
}

/* ---- Numbers ---- */

/* Whether it is a number of the JSON grammar. */
static bool is_number(const char *p, size_t n)
{
    const char *end = p + n, *from;
    p += n > 0 && *p == '-';
    from = p;
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    if (p == from || (*from == '0' && p - from > 1))
        return false;
    if (p < end && *p == '.') {
        for (from = ++p; p < end && *p >= '0' && *p <= '9'; p++)
            ;
        if (p == from)
            return false;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p++;
        p += p < end && (*p == '+' || *p == '-');
        for (from = p; p < end && *p >= '0' && *p <= '9'; p++)
            ;
        if (p == from)
            return false;
    }
    return p == end;
}

/* A number, or a string that says one: as a number. */
static weir_status numeral(wi_pbj_source *source, const weir_json_token *token,
                           weir_json_token *ret_number)
{
    *ret_number = *token;
    if (token->kind == WEIR_JSON_NUMBER)
        return WEIR_OK;
    if (token->kind != WEIR_JSON_STRING && token->kind != WEIR_JSON_KEY)
        return wi_pbj_refuse(source, WEIR_EPROTO, "a number was expected");
    weir_status status = wi_pbj_text(source, token, &ret_number->text, &ret_number->len);
    if (status != WEIR_OK)
        return status;
    if (!is_number(ret_number->text, ret_number->len))
        return wi_pbj_refuse(source, WEIR_EPROTO, "a string is no number");
    ret_number->kind = WEIR_JSON_NUMBER;
    ret_number->has_escapes = false;
    return WEIR_OK;
}

static weir_status bad_integer(wi_pbj_source *source, weir_status status)
{
    return wi_pbj_refuse(source, WEIR_EPROTO,
                         status == WEIR_ELIMIT ? "an integer is out of range"
                                               : "an integer has a fraction");
}

/* Up to 18 digits and nothing else, as nearly all integers are written. */
static bool short_integer(const weir_json_token *token, int64_t *ret_value)
{
    int64_t value = 0;
    if (token->len > 18)
        return false;
    for (size_t i = 0; i < token->len; i++) {
        unsigned digit = (unsigned)(unsigned char)token->text[i] - '0';
        if (digit > 9)
            return false;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return true;
}

static weir_status integer(wi_pbj_source *source, const weir_json_token *token, int64_t min,
                           int64_t max, int64_t *ret_value)
{
    weir_json_token number;
    int64_t value;
    weir_status status = numeral(source, token, &number);
    if (status != WEIR_OK)
        return status;
    if (!short_integer(&number, &value)) {
        status = weir_json_int64(&number, &value);
        if (status != WEIR_OK)
            return bad_integer(source, status);
    }
    if (value < min || value > max)
        return bad_integer(source, WEIR_ELIMIT);
    *ret_value = value;
    return WEIR_OK;
}

static weir_status integer_of_32(wi_pbj_source *source, const weir_json_token *token, void *slot)
{
    int64_t value = 0;
    weir_status status = integer(source, token, INT32_MIN, INT32_MAX, &value);
    if (status == WEIR_OK)
        *(int32_t *)slot = (int32_t)value;
    return status;
}

static weir_status natural_of_32(wi_pbj_source *source, const weir_json_token *token, void *slot)
{
    int64_t value;
    weir_status status = integer(source, token, 0, UINT32_MAX, &value);
    if (status == WEIR_OK)
        *(uint32_t *)slot = (uint32_t)value;
    return status;
}

static weir_status natural_of_64(wi_pbj_source *source, const weir_json_token *token, void *slot)
{
    weir_json_token number;
    weir_status status = numeral(source, token, &number);
    if (status != WEIR_OK)
        return status;
    status = weir_json_uint64(&number, slot);
    return status == WEIR_OK ? WEIR_OK : bad_integer(source, status);
}

/* A number, what a string says is one, or what JSON has no number for. */
static weir_status real(wi_pbj_source *source, const weir_json_token *token, double *ret_value)
{
    weir_json_token number;
    if (weir_json_equals(token, "NaN"))
        *ret_value = (double)NAN;
    else if (weir_json_equals(token, "Infinity"))
        *ret_value = (double)INFINITY;
    else if (weir_json_equals(token, "-Infinity"))
        *ret_value = -(double)INFINITY;
    else {
        weir_status status = numeral(source, token, &number);
        if (status != WEIR_OK)
            return status;
        if (weir_json_double(&number, ret_value) != WEIR_OK)
            return wi_pbj_refuse(source, WEIR_EPROTO, "a number is too large for a double");
    }
    return WEIR_OK;
}

static weir_status real_of_32(wi_pbj_source *source, const weir_json_token *token, void *slot)
{
    double value;
    weir_status status = real(source, token, &value);
    if (status != WEIR_OK)
        return status;
    /* The largest float and half a unit of its last place: from there on it would be infinite. */
    if (isfinite(value) && fabs(value) >= 0x1.ffffffp127)
        return wi_pbj_refuse(source, WEIR_EPROTO, "a number is too large for a float");
    *(float *)slot = (float)value;
    return WEIR_OK;
}

/* ---- Enums ---- */

static const ProtobufCEnumValue *value_named(const ProtobufCEnumDescriptor *type, const char *name,
                                             size_t len)
{
    unsigned from = 0, to = memchr(name, '\0', len) == NULL ? type->n_value_names : 0;
    while (from < to) {
        unsigned middle = from + (to - from) / 2;
        const ProtobufCEnumValueIndex *at = &type->values_by_name[middle];
        int order = strncmp(name, at->name, len);
        if (order == 0 && at->name[len] == '\0')
            return &type->values[at->index];
        if (order > 0)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

static weir_status enumerated(wi_pbj_source *source, const ProtobufCFieldDescriptor *field,
                              const weir_json_token *token, void *slot, bool *ret_skipped)
{
    const char *name = "";
    size_t len = 0;
    if (token->kind == WEIR_JSON_NULL && wi_pbj_is_null_value(field)) {
        *(int32_t *)slot = 0;
        return WEIR_OK;
    }
    if (token->kind != WEIR_JSON_STRING)
        return integer_of_32(source, token, slot);
    weir_status status = wi_pbj_text(source, token, &name, &len);
    if (status != WEIR_OK)
        return status;
    const ProtobufCEnumValue *value = value_named(field->descriptor, name, len);
    if (value != NULL) {
        *(int32_t *)slot = value->value;
        return WEIR_OK;
    }
    if (is_number(name, len))
        return integer_of_32(source, token, slot);
    if (source->options->refuse_unknown)
        return wi_pbj_refuse(source, WEIR_EPROTO, "an unknown name of an enum");
    *ret_skipped = true;
    return WEIR_OK;
}

/* ---- By type ---- */

weir_status wi_pbj_read_scalar(wi_pbj_source *source, const ProtobufCFieldDescriptor *field,
                               const weir_json_token *token, void *slot, bool *ret_skipped)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        return integer_of_32(source, token, slot);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        return integer(source, token, INT64_MIN, INT64_MAX, slot);
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        return natural_of_32(source, token, slot);
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        return natural_of_64(source, token, slot);
    case PROTOBUF_C_TYPE_FLOAT:
        return real_of_32(source, token, slot);
    case PROTOBUF_C_TYPE_DOUBLE:
        return real(source, token, slot);
    case PROTOBUF_C_TYPE_BOOL:
        if (token->kind != WEIR_JSON_TRUE && token->kind != WEIR_JSON_FALSE)
            return wi_pbj_refuse(source, WEIR_EPROTO, "true or false was expected");
        *(protobuf_c_boolean *)slot = token->kind == WEIR_JSON_TRUE;
        return WEIR_OK;
    case PROTOBUF_C_TYPE_ENUM:
        return enumerated(source, field, token, slot, ret_skipped);
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
        if (token->kind != WEIR_JSON_STRING)
            return wi_pbj_refuse(source, WEIR_EPROTO, "a string was expected");
        return field->type == PROTOBUF_C_TYPE_STRING ? c_string(source, token, slot)
                                                     : bytes(source, token, slot);
    case PROTOBUF_C_TYPE_MESSAGE:
        break;
    }
    return wi_pbj_refuse(source, WEIR_EINVAL, "a field of an unknown type");
}

weir_status wi_pbj_read_key(wi_pbj_source *source, const ProtobufCFieldDescriptor *field,
                            const weir_json_token *token, void *slot)
{
    bool skipped = false;
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return c_string(source, token, slot);
    if (field->type != PROTOBUF_C_TYPE_BOOL)
        return wi_pbj_read_scalar(source, field, token, slot, &skipped);
    bool is_true = weir_json_equals(token, "true");
    if (!is_true && !weir_json_equals(token, "false"))
        return wi_pbj_refuse(source, WEIR_EPROTO, "a map's key is neither true nor false");
    *(protobuf_c_boolean *)slot = is_true;
    return WEIR_OK;
}

/* ---- Well-known types that are one string ---- */

/* How many bytes a path takes in snake_case; 0: it is none. */
static size_t snake_bytes(const char *path, size_t n)
{
    size_t bytes = n;
    for (size_t i = 0; i < n; i++) {
        if (path[i] == '_' || !wi_json_plain_byte((unsigned char)path[i]))
            return 0;
        bytes += path[i] >= 'A' && path[i] <= 'Z';
    }
    return bytes;
}

static char *snake(wi_pbj_source *source, const char *path, size_t n, weir_status *ret_status)
{
    size_t bytes = snake_bytes(path, n);
    if (bytes == 0) {
        *ret_status = wi_pbj_refuse(source, WEIR_EPROTO, "a FieldMask's path is no lowerCamelCase");
        return NULL;
    }
    char *text = wi_pbj_take(source, bytes + 1, ret_status);
    if (text == NULL)
        return NULL;
    char *at = text;
    for (size_t i = 0; i < n; i++) {
        bool is_upper = path[i] >= 'A' && path[i] <= 'Z';
        if (is_upper)
            *at++ = '_';
        *at++ = is_upper ? (char)(path[i] - 'A' + 'a') : path[i];
    }
    *at = '\0';
    return text;
}

static weir_status field_mask(wi_pbj_source *source, const char *text, size_t len,
                              ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[0];
    const char *end = text + len;
    size_t n = len > 0 ? 1 : 0, at = 0;
    weir_status status = WEIR_OK;
    for (size_t i = 0; i < len; i++)
        n += text[i] == ',';
    if (n == 0)
        return WEIR_OK;
    if (source->fields_left < n)
        return wi_pbj_refuse(source, WEIR_ELIMIT, "too many fields");
    source->fields_left -= (uint32_t)n;
    char **paths = wi_pbj_take(source, n * sizeof *paths, &status);
    if (paths == NULL)
        return status;
    for (; at < n; at++) {
        const char *comma = memchr(text, ',', (size_t)(end - text));
        size_t bytes = (size_t)((comma != NULL ? comma : end) - text);
        paths[at] = snake(source, text, bytes, &status);
        if (paths[at] == NULL)
            return status;
        text += bytes + 1;
    }
    *(size_t *)wi_pbj_quantifier(message, field) = n;
    *(char ***)wi_pbj_member(message, field) = paths;
    return WEIR_OK;
}

weir_status wi_pbj_read_time(wi_pbj_source *source, wi_pbj_kind kind, const weir_json_token *token,
                             ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *fields = message->descriptor->fields;
    const char *text, *why;
    size_t len;
    int64_t seconds = 0;
    int32_t nanos = 0;
    if (token->kind != WEIR_JSON_STRING)
        return wi_pbj_refuse(source, WEIR_EPROTO, "a string was expected");
    weir_status status = wi_pbj_text(source, token, &text, &len);
    if (status != WEIR_OK)
        return status;
    if (kind == WI_PBJ_FIELD_MASK)
        return field_mask(source, text, len, message);
    if (kind == WI_PBJ_TIMESTAMP)
        why = wi_pbj_read_timestamp(text, len, &seconds, &nanos);
    else
        why = wi_pbj_read_duration(text, len, &seconds, &nanos);
    if (why != NULL)
        return wi_pbj_refuse(source, WEIR_EPROTO, why);
    *(int64_t *)wi_pbj_member(message, &fields[0]) = seconds;
    *(int32_t *)wi_pbj_member(message, &fields[1]) = nanos;
    wi_pbj_mark(message, &fields[0]);
    wi_pbj_mark(message, &fields[1]);
    return WEIR_OK;
}
