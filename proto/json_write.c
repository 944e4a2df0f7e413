/* The JSON writer: one value into the caller's buffer, the first error latched. */
#include <weir/json.h>

#include "json_number.h"
#include "json_text.h"

#include <math.h>

static void refuse(weir_json_writer *writer, weir_status status)
{
    if (writer->status == WEIR_OK)
        writer->status = status;
}

/* Appends; all of it or, where it does not fit, nothing. */
static void put(weir_json_writer *writer, const void *bytes, size_t len)
{
    if (writer->status != WEIR_OK)
        return;
    if (len > writer->cap - writer->len) {
        refuse(writer, WEIR_ELIMIT);
        return;
    }
    if (len > 0)
        memcpy(writer->buf + writer->len, bytes, len);
    writer->len += len;
}

static bool in_object(const weir_json_writer *writer)
{
    uint32_t level = writer->depth - 1;
    return writer->depth > 0 && (writer->objects[level / 64] >> (level % 64) & 1) != 0;
}

/* Checks that a value may stand here and puts the comma before it. */
static bool before_value(weir_json_writer *writer)
{
    if (writer->done || (in_object(writer) && !writer->keyed))
        refuse(writer, WEIR_EINVAL);
    if (writer->comma && !writer->keyed)
        put(writer, ",", 1);
    return writer->status == WEIR_OK;
}

static void after_value(weir_json_writer *writer)
{
    writer->comma = true;
    writer->keyed = false;
    writer->done = writer->depth == 0;
}

void weir_json_write_begin(weir_json_writer *writer, char *buf, size_t cap)
{
    *writer = (weir_json_writer){ .buf = buf, .cap = buf != NULL ? cap : 0 };
}

weir_status weir_json_write_end(weir_json_writer *writer, size_t *ret_len)
{
    if (!writer->done)
        refuse(writer, WEIR_EINVAL);
    if (writer->status == WEIR_OK)
        *ret_len = writer->len;
    return writer->status;
}

static void push(weir_json_writer *writer, bool object)
{
    if (!before_value(writer))
        return;
    if (writer->depth == WEIR_JSON_DEPTH_CAP) {
        refuse(writer, WEIR_ELIMIT);
        return;
    }
    uint32_t level = writer->depth++;
    uint64_t bit = UINT64_C(1) << (level % 64);
    if (object)
        writer->objects[level / 64] |= bit;
    else
        writer->objects[level / 64] &= ~bit;
    put(writer, object ? "{" : "[", 1);
    writer->comma = false;
    writer->keyed = false;
}

static void pop(weir_json_writer *writer, bool object)
{
    if (writer->depth == 0 || writer->keyed || in_object(writer) != object)
        refuse(writer, WEIR_EINVAL);
    if (writer->status != WEIR_OK)
        return;
    put(writer, object ? "}" : "]", 1);
    writer->depth--;
    after_value(writer);
}

void weir_json_write_object(weir_json_writer *writer)
{
    push(writer, true);
}

void weir_json_write_object_end(weir_json_writer *writer)
{
    pop(writer, true);
}

void weir_json_write_array(weir_json_writer *writer)
{
    push(writer, false);
}

void weir_json_write_array_end(weir_json_writer *writer)
{
    pop(writer, false);
}

static void put_escape(weir_json_writer *writer, unsigned char c)
{
    char escape[6];
    put(writer, escape, wi_json_put_escape(c, escape));
}

static void put_quoted(weir_json_writer *writer, const char *text, size_t len)
{
    const unsigned char *p = (const unsigned char *)text;
    const unsigned char *end = p + len;
    const unsigned char *from = p; /* not yet put */
    put(writer, "\"", 1);
    while (writer->status == WEIR_OK && (p = wi_json_plain(p, end)) < end) {
        if (*p >= 0x80) {
            int bytes = wi_json_utf8(p, end);
            if (bytes <= 0) {
                refuse(writer, WEIR_EINVAL);
                return;
            }
            p += bytes;
            continue;
        }
        put(writer, from, (size_t)(p - from));
        put_escape(writer, *p);
        from = ++p;
    }
    put(writer, from, (size_t)(end - from));
    put(writer, "\"", 1);
}

void weir_json_write_key_span(weir_json_writer *writer, const char *text, size_t len)
{
    if (!in_object(writer) || writer->keyed || (text == NULL && len > 0))
        refuse(writer, WEIR_EINVAL);
    if (writer->status != WEIR_OK)
        return;
    if (writer->comma)
        put(writer, ",", 1);
    put_quoted(writer, len > 0 ? text : "", len);
    put(writer, ":", 1);
    writer->keyed = true;
}

void weir_json_write_string_span(weir_json_writer *writer, const char *text, size_t len)
{
    if (text == NULL && len > 0)
        refuse(writer, WEIR_EINVAL);
    if (!before_value(writer))
        return;
    put_quoted(writer, len > 0 ? text : "", len);
    after_value(writer);
}

static void write_plain(weir_json_writer *writer, const char *text, size_t len)
{
    if (!before_value(writer))
        return;
    put(writer, text, len);
    after_value(writer);
}

static void write_integer(weir_json_writer *writer, uint64_t size, bool negative)
{
    char digits[21];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + size % 10);
        size /= 10;
    } while (size > 0);
    if (negative)
        digits[--at] = '-';
    write_plain(writer, digits + at, sizeof(digits) - at);
}

void weir_json_write_int64(weir_json_writer *writer, int64_t value)
{
    write_integer(writer, value < 0 ? 0 - (uint64_t)value : (uint64_t)value, value < 0);
}

void weir_json_write_uint64(weir_json_writer *writer, uint64_t value)
{
    write_integer(writer, value, false);
}

void weir_json_write_double(weir_json_writer *writer, double value)
{
    char text[WI_JSON_DOUBLE_BYTES];
    if (!isfinite(value)) {
        refuse(writer, WEIR_EINVAL);
        return;
    }
    write_plain(writer, text, wi_json_from_double(value, text));
}

void weir_json_write_bool(weir_json_writer *writer, bool value)
{
    write_plain(writer, value ? "true" : "false", value ? 4 : 5);
}

void weir_json_write_null(weir_json_writer *writer)
{
    write_plain(writer, "null", 4);
}

void weir_json_write_raw(weir_json_writer *writer, const char *text, size_t len)
{
    if (text == NULL || len == 0)
        refuse(writer, WEIR_EINVAL);
    write_plain(writer, text, len);
}
