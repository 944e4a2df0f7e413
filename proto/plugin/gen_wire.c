/* Looks at packed messages: how deep they are nested, and what to leave out. */
#include <string.h>

#include "gen.h"

static bool varint(ProtobufCBinaryData *rest, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (uint32_t i = 0; i < 10 && i < rest->len; i++) {
        value |= (uint64_t)(rest->data[i] & 0x7f) << (7 * i);
        if (rest->data[i] < 0x80) {
            rest->data += i + 1;
            rest->len -= i + 1;
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool skip(ProtobufCBinaryData *rest, uint64_t n)
{
    if (n > rest->len) {
        return false;
    }
    rest->data += n;
    rest->len -= (size_t)n;
    return true;
}

int wi_gen_next_field(ProtobufCBinaryData *rest, wi_gen_field *ret_field)
{
    if (rest->len == 0) {
        return 0;
    }
    ProtobufCBinaryData at = *rest;
    wi_gen_field field = { 0 };
    uint64_t tag;
    if (!varint(&at, &tag) || tag >> 3 == 0 || tag >> 32 != 0) {
        return -1;
    }
    field.number = (uint32_t)(tag >> 3);
    field.wire = (uint32_t)(tag & 7);
    bool ok = false;
    switch (field.wire) {
    case 0:
        ok = varint(&at, &field.value);
        break;
    case 1:
        ok = skip(&at, 8);
        break;
    case 2:
        ok = varint(&at, &field.value) && field.value <= at.len;
        field.content = (ProtobufCBinaryData){ ok ? (size_t)field.value : 0, at.data };
        ok = ok && skip(&at, field.value);
        break;
    case 5:
        ok = skip(&at, 4);
        break;
    default:
        break;
    }
    if (!ok) {
        return -1;
    }
    field.whole = (ProtobufCBinaryData){ rest->len - at.len, rest->data };
    *rest = at;
    *ret_field = field;
    return 1;
}

bool wi_gen_nesting_ok(ProtobufCBinaryData file)
{
    enum { MESSAGE_TYPE = 4, NESTED_TYPE = 3 };
    ProtobufCBinaryData levels[WI_GEN_NESTING_MAX + 1] = { file };
    size_t depth = 0;
    for (;;) {
        wi_gen_field field;
        int got = wi_gen_next_field(&levels[depth], &field);
        if (got < 0) {
            return false;
        }
        if (got == 0) {
            if (depth == 0) {
                return true;
            }
            depth--;
            continue;
        }
        if (field.wire == 2 && field.number == (depth == 0 ? MESSAGE_TYPE : NESTED_TYPE)) {
            if (depth == WI_GEN_NESTING_MAX) {
                return false;
            }
            levels[++depth] = field.content;
        }
    }
}

ProtobufCBinaryData wi_gen_without_comments(wi_gen_pool *pool, ProtobufCBinaryData file)
{
    enum { SOURCE_CODE_INFO = 9 };
    wi_gen_text text;
    wi_gen_text_init(&text, pool);
    wi_gen_field field;
    while (wi_gen_next_field(&file, &field) > 0) {
        if (field.number != SOURCE_CODE_INFO) {
            wi_gen_append(&text, field.whole.data, field.whole.len);
        }
    }
    return (ProtobufCBinaryData){ text.n, (uint8_t *)text.at };
}
