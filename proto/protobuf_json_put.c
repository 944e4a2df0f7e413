/* Pieces of JSON text at the end of growing bytes: names, numbers, strings, base64. */
#include "protobuf_json_internal.h"

#include "json_number.h"
#include "json_text.h"
#include "wi_base64.h"

#include <math.h>
#include <string.h>

void wi_pbj_fail(wi_pbj_sink *sink, weir_status status, const char *why)
{
    if (sink->status != WEIR_OK)
        return;
    sink->status = status;
    sink->why = why;
}

__attribute__((noinline)) static char *more_room(wi_pbj_sink *sink, size_t n)
{
    if (sink->status != WEIR_OK)
        return NULL;
    weir_status status = weir_bytes_reserve(sink->bytes, n);
    if (status != WEIR_OK) {
        wi_pbj_fail(sink, status, status == WEIR_ENOMEM ? "no memory" : "the text is too long");
        return NULL;
    }
    return sink->bytes->at + sink->bytes->len;
}

/* Where the next `n` bytes go; NULL: nowhere. */
static inline char *room(wi_pbj_sink *sink, size_t n)
{
    weir_bytes *bytes = sink->bytes;
    if (sink->status != WEIR_OK || bytes->cap - bytes->len < n)
        return more_room(sink, n);
    return bytes->at + bytes->len;
}

/* The same, with the comma that is due before them; `*ret_at` is behind it. */
static inline bool begin(wi_pbj_sink *sink, size_t n, char **ret_at)
{
    char *at = room(sink, n + 1);
    if (at == NULL)
        return false;
    if (sink->comma)
        *at++ = ',';
    sink->comma = true;
    *ret_at = at;
    return true;
}

static inline void end(wi_pbj_sink *sink, const char *at)
{
    sink->bytes->len = (size_t)(at - sink->bytes->at);
}

void wi_pbj_put(wi_pbj_sink *sink, const void *bytes, size_t n)
{
    char *at = room(sink, n);
    if (at == NULL)
        return;
    memcpy(at, bytes, n);
    end(sink, at + n);
}

static void put_value(wi_pbj_sink *sink, const char *text, size_t n)
{
    char *at;
    if (!begin(sink, n, &at))
        return;
    memcpy(at, text, n);
    end(sink, at + n);
}

void wi_pbj_open(wi_pbj_sink *sink, char bracket)
{
    put_value(sink, &bracket, 1);
    sink->comma = false;
}

void wi_pbj_close(wi_pbj_sink *sink, char bracket)
{
    wi_pbj_put(sink, &bracket, 1);
    sink->comma = true;
}

void wi_pbj_put_name(wi_pbj_sink *sink, const char *name, bool as_it_is)
{
    char *at;
    bool upper = false;
    if (!begin(sink, strlen(name) + 3, &at))
        return;
    *at++ = '"';
    for (; *name != '\0'; name++) {
        char c = *name;
        if (c == '_' && !as_it_is) {
            upper = true;
            continue;
        }
        if (upper && c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        upper = false;
        *at++ = c;
    }
    *at++ = '"';
    *at++ = ':';
    end(sink, at);
    sink->comma = false;
}

/* ---- Strings ---- */

/* A string's characters from the first that is not plain on. */
__attribute__((noinline)) static void put_odd(wi_pbj_sink *sink, const unsigned char *p,
                                              const unsigned char *stop)
{
    const unsigned char *from = p; /* not yet put */
    char escape[6];
    while ((p = wi_json_plain(p, stop)) < stop) {
        if (*p >= 0x80) {
            int bytes = wi_json_utf8(p, stop);
            if (bytes <= 0) {
                wi_pbj_fail(sink, WEIR_EINVAL, "a string is no UTF-8");
                return;
            }
            p += bytes;
            continue;
        }
        wi_pbj_put(sink, from, (size_t)(p - from));
        wi_pbj_put(sink, escape, wi_json_put_escape(*p, escape));
        from = ++p;
    }
    wi_pbj_put(sink, from, (size_t)(stop - from));
}

void wi_pbj_put_string(wi_pbj_sink *sink, const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text, *stop = p + n;
    char *at;
    if (!begin(sink, n + 2, &at))
        return;
    *at++ = '"';
    const unsigned char *odd = wi_json_plain(p, stop);
    memcpy(at, text, (size_t)(odd - p));
    at += odd - p;
    if (odd == stop) {
        *at++ = '"';
        end(sink, at);
        return;
    }
    end(sink, at);
    put_odd(sink, odd, stop);
    wi_pbj_put(sink, "\"", 1);
}

static void put_c_string(wi_pbj_sink *sink, const char *text)
{
    wi_pbj_put_string(sink, text != NULL ? text : "", text != NULL ? strlen(text) : 0);
}

static void put_base64(wi_pbj_sink *sink, const ProtobufCBinaryData *data)
{
    size_t n = data->data != NULL ? data->len : 0;
    char *at;
    if (n > SIZE_MAX / 2) {
        wi_pbj_fail(sink, WEIR_ELIMIT, "the text is too long");
        return;
    }
    if (!begin(sink, wi_base64_encoded_max(n) + 2, &at))
        return;
    *at++ = '"';
    at += wi_base64_encode(data->data, n, 0, at);
    *at++ = '"';
    end(sink, at);
}

/* ---- Numbers ---- */

/* An integer, in quotes if it has 64 bits. */
static void put_integer(wi_pbj_sink *sink, uint64_t size, bool is_negative, bool quoted)
{
    char digits[24];
    size_t from = sizeof digits;
    if (quoted)
        digits[--from] = '"';
    do {
        digits[--from] = (char)('0' + size % 10);
        size /= 10;
    } while (size > 0);
    if (is_negative)
        digits[--from] = '-';
    if (quoted)
        digits[--from] = '"';
    put_value(sink, digits + from, sizeof digits - from);
}

static void put_signed(wi_pbj_sink *sink, int64_t value, bool quoted)
{
    put_integer(sink, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, value < 0, quoted);
}

static void put_odd_real(wi_pbj_sink *sink, double value)
{
    if (isnan(value))
        put_value(sink, "\"NaN\"", 5);
    else if (value > 0)
        put_value(sink, "\"Infinity\"", 10);
    else
        put_value(sink, "\"-Infinity\"", 11);
}

/* Readers to whom "-0" is an integer lose its sign. */
static void put_text_of_real(wi_pbj_sink *sink, const char *text, size_t n)
{
    if (n == 2 && text[0] == '-' && text[1] == '0')
        put_value(sink, "-0.0", 4);
    else
        put_value(sink, text, n);
}

static void put_double(wi_pbj_sink *sink, double value)
{
    char text[WI_JSON_DOUBLE_BYTES];
    if (!isfinite(value)) {
        put_odd_real(sink, value);
        return;
    }
    size_t n = wi_json_from_double(value, text);
    put_text_of_real(sink, text, n);
}

static void put_float(wi_pbj_sink *sink, float value)
{
    char text[WI_JSON_DOUBLE_BYTES];
    if (!isfinite(value)) {
        put_odd_real(sink, (double)value);
        return;
    }
    size_t n = wi_json_from_float(value, text);
    put_text_of_real(sink, text, n);
}

static const char *name_of(const ProtobufCEnumDescriptor *type, int32_t number)
{
    unsigned from = 0, to = type->n_values;
    while (from < to) {
        unsigned middle = from + (to - from) / 2;
        if (type->values[middle].value == number)
            return type->values[middle].name;
        if (type->values[middle].value < number)
            from = middle + 1;
        else
            to = middle;
    }
    return NULL;
}

static void put_enum(wi_pbj_sink *sink, const ProtobufCFieldDescriptor *field, int32_t number,
                     bool as_number)
{
    if (wi_pbj_is_null_value(field)) {
        put_value(sink, "null", 4);
        return;
    }
    const char *name = as_number ? NULL : name_of(field->descriptor, number);
    if (name != NULL)
        put_c_string(sink, name);
    else
        put_signed(sink, number, false);
}

/* An integer of any type. */
static void put_whole(wi_pbj_sink *sink, ProtobufCType type, const void *slot, bool quoted)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        put_signed(sink, *(const int32_t *)slot, quoted);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        put_integer(sink, *(const uint32_t *)slot, false, quoted);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        put_integer(sink, *(const uint64_t *)slot, false, true);
        break;
    default:
        put_signed(sink, *(const int64_t *)slot, true);
        break;
    }
}

void wi_pbj_put_scalar(wi_pbj_sink *sink, const ProtobufCFieldDescriptor *field, const void *slot,
                       bool enums_as_numbers)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_FLOAT:
        put_float(sink, *(const float *)slot);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_double(sink, *(const double *)slot);
        break;
    case PROTOBUF_C_TYPE_BOOL:
        if (*(const protobuf_c_boolean *)slot)
            put_value(sink, "true", 4);
        else
            put_value(sink, "false", 5);
        break;
    case PROTOBUF_C_TYPE_ENUM:
        put_enum(sink, field, *(const int32_t *)slot, enums_as_numbers);
        break;
    case PROTOBUF_C_TYPE_STRING:
        put_c_string(sink, *(char *const *)slot);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        put_base64(sink, slot);
        break;
    case PROTOBUF_C_TYPE_MESSAGE:
        wi_pbj_fail(sink, WEIR_EINVAL, "a field of an unknown type");
        break;
    default:
        put_whole(sink, field->type, slot, false);
        break;
    }
}

void wi_pbj_put_key(wi_pbj_sink *sink, const ProtobufCFieldDescriptor *field, const void *slot)
{
    if (field->type == PROTOBUF_C_TYPE_STRING)
        put_c_string(sink, *(char *const *)slot);
    else if (field->type != PROTOBUF_C_TYPE_BOOL)
        put_whole(sink, field->type, slot, true);
    else
        put_c_string(sink, *(const protobuf_c_boolean *)slot ? "true" : "false");
    wi_pbj_put(sink, ":", 1);
    sink->comma = false;
}

void wi_pbj_put_field_name(wi_pbj_sink *sink, const ProtobufCFieldDescriptor *field,
                           bool proto_names)
{
    const char *own = proto_names ? NULL : wi_pbj_json_name(field);
    if (own == NULL) {
        wi_pbj_put_name(sink, field->name, proto_names);
        return;
    }
    put_c_string(sink, own);
    wi_pbj_put(sink, ":", 1);
    sink->comma = false;
}

/* ---- Well-known types that are one string ---- */

/* A path in lowerCamelCase, if it is the same again in snake_case. */
static bool put_camel(wi_pbj_sink *sink, const char *path)
{
    char *at = room(sink, strlen(path));
    bool upper = false;
    if (at == NULL || *path == '\0')
        return false;
    for (; *path != '\0'; path++) {
        char c = *path;
        bool is_lower = c >= 'a' && c <= 'z';
        if ((upper && !is_lower) || (c >= 'A' && c <= 'Z') || c == ',')
            return false;
        if (c != '_')
            *at++ = upper ? (char)(c - 'a' + 'A') : c;
        upper = c == '_';
    }
    end(sink, at);
    return !upper;
}

static bool is_plain(const char *text)
{
    size_t n = strlen(text);
    const unsigned char *p = (const unsigned char *)text;
    return wi_json_plain(p, p + n) == p + n;
}

static void put_field_mask(wi_pbj_sink *sink, const ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[0];
    size_t n = *(size_t *)wi_pbj_quantifier(message, field);
    char **paths = *(char ***)wi_pbj_member(message, field);
    put_value(sink, "\"", 1);
    for (size_t i = 0; i < n; i++) {
        const char *path = paths[i] != NULL ? paths[i] : "";
        if (i > 0)
            wi_pbj_put(sink, ",", 1);
        if (!is_plain(path) || !put_camel(sink, path))
            wi_pbj_fail(sink, WEIR_EINVAL, "a FieldMask's path has no lowerCamelCase");
    }
    wi_pbj_put(sink, "\"", 1);
}

void wi_pbj_put_time(wi_pbj_sink *sink, wi_pbj_kind kind, const ProtobufCMessage *message)
{
    const ProtobufCFieldDescriptor *fields = message->descriptor->fields;
    char text[WI_PBJ_TIME_BYTES];
    if (kind == WI_PBJ_FIELD_MASK) {
        put_field_mask(sink, message);
        return;
    }
    int64_t seconds = *(int64_t *)wi_pbj_member(message, &fields[0]);
    int32_t nanos = *(int32_t *)wi_pbj_member(message, &fields[1]);
    bool is_moment = kind == WI_PBJ_TIMESTAMP;
    size_t n = is_moment ? wi_pbj_put_timestamp(seconds, nanos, text)
                         : wi_pbj_put_duration(seconds, nanos, text);
    if (n == 0)
        wi_pbj_fail(sink, WEIR_EINVAL,
                    is_moment ? "a Timestamp is out of range" : "a Duration is out of range");
    else
        wi_pbj_put_string(sink, text, n);
}
