/* Random messages as protobuf-c's descriptors allow them, packed by hand, and whether two unpacked
 * messages say the same. For the tests and the fuzzer; recursion goes as deep as the input of a
 * test, which is 100 at most. */
#ifndef PROTOBUF_RIG_H
#define PROTOBUF_RIG_H

#include <weir/bytes.h>
#include <weir/protobuf.h>

#include <protobuf-c/protobuf-c.h>
#include <stdlib.h>
#include <string.h>

static inline uint64_t chance(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed * UINT64_C(0x2545F4914F6CDD1D) >> 8;
}

/* ---- Packing by hand ---- */

static inline void put_raw(weir_bytes *w, const void *bytes, size_t n)
{
    if (weir_bytes_append(w, bytes, n) != WEIR_OK)
        abort();
}
static inline void put_byte(weir_bytes *w, unsigned byte)
{
    uint8_t one = (uint8_t)byte;
    put_raw(w, &one, 1);
}
static inline void put_varint(weir_bytes *w, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        put_byte(w, (unsigned)(value & 0x7F) | 0x80);
    put_byte(w, (unsigned)value);
}
static inline void put_tag(weir_bytes *w, uint32_t id, unsigned wire)
{
    put_varint(w, (uint64_t)id << 3 | wire);
}
static inline void put_block(weir_bytes *w, uint32_t id, const void *bytes, size_t n)
{
    put_tag(w, id, 2);
    put_varint(w, n);
    put_raw(w, bytes, n);
}
static inline void put_text(weir_bytes *w, uint32_t id, const char *text)
{
    put_block(w, id, text, strlen(text));
}

/* ---- Random messages ---- */

static inline void put_random_number(weir_bytes *w, unsigned wire, uint64_t *seed)
{
    uint64_t value = chance(seed) << 8 | (chance(seed) & 0xFF);
    if (wire == 1 || wire == 5) {
        put_raw(w, &value, wire == 1 ? 8 : 4);
        return;
    }
    value >>= chance(seed) % 64;
    if (chance(seed) % 16 != 0 || value >> 56 != 0) {
        put_varint(w, value);
        return;
    }
    put_varint(w, value | UINT64_C(1) << 56); /* longer than need be: the same without that bit */
    w->at[w->len - 1] = 0;
}

static inline unsigned rig_wire_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_FLOAT:
        return 5;
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 1;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
        return 2;
    default:
        return 0;
    }
}

static inline void put_random_text(weir_bytes *w, uint32_t id, uint64_t *seed)
{
    static const char *const parts[] = { "a",
                                         "plain",
                                         "eight ch",
                                         "\xC3\xBC",
                                         "\xE2\x82\xAC",
                                         "\xF0\x9F\x98\x80",
                                         "\x7F",
                                         "more than sixteen bytes" };
    char text[256] = "";
    for (uint64_t n = chance(seed) % 5; n > 0; n--)
        strcat(text, parts[chance(seed) % 8]);
    put_text(w, id, text);
}

static inline void put_random(weir_bytes *w, const ProtobufCMessageDescriptor *type, unsigned depth,
                              uint64_t *seed);

static inline void put_random_field(weir_bytes *w, const ProtobufCFieldDescriptor *field,
                                    unsigned depth, uint64_t *seed)
{
    unsigned wire = rig_wire_of(field->type);
    weir_bytes within = { 0 };
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        put_random_text(w, field->id, seed);
    } else if (field->type == PROTOBUF_C_TYPE_BYTES) {
        uint64_t data[4] = { chance(seed), chance(seed), chance(seed), chance(seed) };
        put_block(w, field->id, data, chance(seed) % sizeof data);
    } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        put_random(&within, field->descriptor, depth - 1, seed);
        put_block(w, field->id, within.at, within.len);
    } else if (field->label == PROTOBUF_C_LABEL_REPEATED && chance(seed) % 2 == 0) {
        for (uint64_t n = chance(seed) % 9; n > 0; n--)
            put_random_number(&within, wire, seed);
        put_block(w, field->id, within.at, within.len);
    } else {
        put_tag(w, field->id, wire);
        put_random_number(w, wire, seed);
    }
    weir_bytes_done(&within);
}

/* Of a singular message one part only: protobuf-c loses something when it puts several together.
 */
static inline void put_random(weir_bytes *w, const ProtobufCMessageDescriptor *type, unsigned depth,
                              uint64_t *seed)
{
    char used[128] = { 0 };
    for (unsigned i = 0; i < type->n_fields; i++)
        if (type->fields[i].label == PROTOBUF_C_LABEL_REQUIRED)
            put_random_field(w, &type->fields[i], depth, seed);
    for (uint64_t n = chance(seed) % 12; n > 0 && type->n_fields > 0; n--) {
        unsigned index = (unsigned)(chance(seed) % type->n_fields);
        const ProtobufCFieldDescriptor *field = &type->fields[index];
        if (chance(seed) % 16 == 0) {
            put_tag(w, 900, 0);
            put_random_number(w, 0, seed);
        }
        bool message = field->type == PROTOBUF_C_TYPE_MESSAGE;
        if (message && (depth == 0 || used[index]))
            continue;
        used[index] = field->label != PROTOBUF_C_LABEL_REPEATED;
        for (uint64_t times = used[index] ? 1 : 1 + chance(seed) % 3; times > 0; times--)
            put_random_field(w, field, depth, seed);
    }
}

/* ---- Comparing ---- */

static inline bool same_message(const ProtobufCMessage *a, const ProtobufCMessage *b);

static inline size_t rig_bytes_of(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_SINT64:
        return 8;
    default:
        return rig_wire_of(type) == 1 ? 8 : 4;
    }
}

static inline bool same_value(ProtobufCType type, const void *a, const void *b)
{
    const ProtobufCBinaryData *m = a, *n = b;
    const char *const *s = a, *const *t = b;
    switch (type) {
    case PROTOBUF_C_TYPE_MESSAGE:
        return same_message(*(ProtobufCMessage *const *)a, *(ProtobufCMessage *const *)b);
    case PROTOBUF_C_TYPE_STRING:
        return *s == NULL || *t == NULL ? *s == *t : strcmp(*s, *t) == 0;
    case PROTOBUF_C_TYPE_BYTES:
        return m->len == n->len && (m->data == NULL) == (n->data == NULL) &&
               (m->len == 0 || memcmp(m->data, n->data, m->len) == 0);
    default:
        return memcmp(a, b, rig_bytes_of(type)) == 0;
    }
}

static inline bool same_field(const ProtobufCFieldDescriptor *field, const char *a, const char *b)
{
    const void *p = a + field->quantifier_offset, *q = b + field->quantifier_offset;
    a += field->offset;
    b += field->offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        size_t n = *(const size_t *)p, size = rig_bytes_of(field->type);
        bool same = n == *(const size_t *)q;
        for (size_t i = 0; same && i < n; i++)
            same = same_value(field->type, *(char *const *)(const void *)a + i * size,
                              *(char *const *)(const void *)b + i * size);
        return same;
    }
    if (field->quantifier_offset != 0 && *(const uint32_t *)p != *(const uint32_t *)q)
        return false;
    if ((field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) && *(const uint32_t *)p != field->id)
        return true; /* another member is there, or none */
    return same_value(field->type, a, b);
}

static inline bool same_unknown(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    if (a->n_unknown_fields != b->n_unknown_fields)
        return false;
    for (unsigned i = 0; i < a->n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *x = &a->unknown_fields[i], *y = &b->unknown_fields[i];
        if (x->tag != y->tag || x->wire_type != y->wire_type || x->len != y->len ||
            (x->len > 0 && memcmp(x->data, y->data, x->len) != 0))
            return false;
    }
    return true;
}

static inline bool same_message(const ProtobufCMessage *a, const ProtobufCMessage *b)
{
    if (a == NULL || b == NULL)
        return a == b;
    if (!same_unknown(a, b))
        return false;
    for (unsigned i = 0; i < a->descriptor->n_fields; i++)
        if (!same_field(&a->descriptor->fields[i], (const char *)a, (const char *)b))
            return false;
    return true;
}

#endif
