/* Packs messages from their last byte to their first: so the length of what is within another
 * message is known when it is to be written, and one pass does. */
#include "protobuf_wire.h"

/* A message being packed: the present one by itself, those around it in a stack. */
typedef struct level {
    const ProtobufCMessage *message;
    const ProtobufCFieldDescriptor *first; /* of its fields */
    const ProtobufCFieldDescriptor *field; /* behind the present one */
    size_t end;                            /* what was left when it began */
    size_t elements;                       /* of the present field that remain; NOT_BEGUN */
} level;

#define NOT_BEGUN SIZE_MAX

/* What is larger than this, and than 16 times what is written, is not written at the end of the
 * buffer to be moved: the size is found out first. */
#define LARGE_BYTES 4096

/* By itself, and never by its address out of a function, so that it stays in registers. */
typedef struct packer {
    uint8_t *base; /* what is packed stands from base + left on */
    size_t left;
    size_t cap;
    bool settled; /* it will not be moved */
    bool restart; /* find out the size first */
} packer;

typedef struct stack {
    unsigned depth;
    level outer[WI_DEPTH_MAX];
} stack;

/* Everything is written by one code, and counted by the same: `count` is a constant. */

WI_INLINE bool claim(packer *p, size_t n)
{
    if (WI_RARELY(n > p->left))
        return false;
    p->left -= n;
    return true;
}

WI_INLINE size_t varint_bytes(uint64_t value)
{
    unsigned top = 63 - (unsigned)__builtin_clzll(value | 1);
    return (top * 9 + 73) / 64;
}

WI_INLINE bool put_varint(packer *p, uint64_t value, bool count)
{
    size_t n = WI_MOSTLY(value < 0x80) ? 1 : varint_bytes(value);
    if (!claim(p, n))
        return false;
    if (count)
        return true;
    uint8_t *at = p->base + p->left;
    for (; value >= 0x80; value >>= 7)
        *at++ = (uint8_t)(value | 0x80);
    *at = (uint8_t)value;
    return true;
}

WI_INLINE bool put_tag(packer *p, uint32_t id, unsigned wire, bool count)
{
    return put_varint(p, (uint64_t)id << 3 | wire, count);
}

/* Tag and length of what is written already. */
WI_INLINE bool put_head(packer *p, uint32_t id, size_t n, bool count)
{
    if (WI_MOSTLY(id < 16 && n < 0x80 && p->left >= 2)) {
        p->left -= 2;
        if (!count) {
            p->base[p->left] = (uint8_t)(id << 3 | WI_WIRE_BYTES);
            p->base[p->left + 1] = (uint8_t)n;
        }
        return true;
    }
    return put_varint(p, n, count) && put_tag(p, id, WI_WIRE_BYTES, count);
}

WI_INLINE bool put_fixed32(packer *p, uint32_t value, bool count)
{
    value = wi_little32(value);
    if (!claim(p, sizeof value))
        return false;
    if (!count)
        memcpy(p->base + p->left, &value, sizeof value);
    return true;
}

WI_INLINE bool put_fixed64(packer *p, uint64_t value, bool count)
{
    value = wi_little64(value);
    if (!claim(p, sizeof value))
        return false;
    if (!count)
        memcpy(p->base + p->left, &value, sizeof value);
    return true;
}

/* Short ones without a call. */
WI_INLINE void copy_bytes(uint8_t *to, const uint8_t *from, size_t n)
{
    uint64_t first, last;
    if (n > 16) {
        memcpy(to, from, n);
    } else if (n >= 8) {
        memcpy(&first, from, 8);
        memcpy(&last, from + n - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + n - 8, &last, 8);
    } else {
        for (size_t i = 0; i < n; i++)
            to[i] = from[i];
    }
}

WI_INLINE bool put_bytes(packer *p, const void *bytes, size_t n, bool count)
{
    if (WI_RARELY(n > LARGE_BYTES) && !p->settled && n / 16 > p->cap - p->left) {
        p->restart = true;
        return false;
    }
    if (WI_RARELY(n > INT32_MAX) || !claim(p, n))
        return false;
    if (!count)
        copy_bytes(p->base + p->left, bytes, n);
    return true;
}

WI_INLINE bool put_text(packer *p, uint32_t id, const void *text, size_t n, bool count)
{
    return put_bytes(p, text, n, count) && put_head(p, id, n, count);
}

/* A number as it is in a packed field. */
WI_INLINE bool put_number(packer *p, ProtobufCType type, const void *member, bool count)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM: /* negative ones take ten bytes */
        return put_varint(p, (uint64_t)(int64_t) * (const int32_t *)member, count);
    case PROTOBUF_C_TYPE_UINT32:
        return put_varint(p, *(const uint32_t *)member, count);
    case PROTOBUF_C_TYPE_SINT32:
        return put_varint(p, wi_zigzag32(*(const int32_t *)member), count);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return put_varint(p, *(const uint64_t *)member, count);
    case PROTOBUF_C_TYPE_SINT64:
        return put_varint(p, wi_zigzag64(*(const int64_t *)member), count);
    case PROTOBUF_C_TYPE_BOOL:
        return put_varint(p, *(const protobuf_c_boolean *)member != 0, count);
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return put_fixed64(p, *(const uint64_t *)member, count);
    default:
        return put_fixed32(p, *(const uint32_t *)member, count);
    }
}

/* A value that is no message, with its tag. */
WI_INLINE bool put_value(packer *p, const ProtobufCFieldDescriptor *field, const void *member,
                         bool count)
{
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)member;
        return put_text(p, field->id, text, text == NULL ? 0 : strlen(text), count);
    }
    if (field->type == PROTOBUF_C_TYPE_BYTES) {
        const ProtobufCBinaryData *bytes = member;
        size_t n = bytes->data == NULL ? 0 : bytes->len;
        return put_text(p, field->id, bytes->data, n, count);
    }
    return put_number(p, field->type, member, count) &&
           put_tag(p, field->id, wi_wire_of(field->type), count);
}

WI_INLINE bool is_zero(ProtobufCType type, const void *member)
{
    if (type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)member;
        return text == NULL || *text == '\0';
    }
    if (type == PROTOBUF_C_TYPE_BYTES) {
        const ProtobufCBinaryData *bytes = member;
        return bytes->data == NULL || bytes->len == 0;
    }
    return wi_bytes_of(type) == 8 ? *(const uint64_t *)member == 0 : *(const uint32_t *)member == 0;
}

/* Whether a field that is not repeated is there. */
WI_INLINE bool is_present(const ProtobufCFieldDescriptor *field, const ProtobufCMessage *message)
{
    const char *base = (const char *)message;
    const void *member = base + field->offset;
    const uint32_t *presence = (const uint32_t *)(const void *)(base + field->quantifier_offset);
    const void *pointer = NULL;
    if (wi_has_pointer(field->type))
        pointer = *(const void *const *)member;

    if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
        return *presence == field->id && (pointer != NULL || !wi_has_pointer(field->type));
    switch (field->label) {
    case PROTOBUF_C_LABEL_NONE:
        return !is_zero(field->type, member);
    case PROTOBUF_C_LABEL_OPTIONAL:
        return wi_has_pointer(field->type) ? pointer != NULL && pointer != field->default_value
                                           : *presence != 0;
    default:
        return true;
    }
}

/* How a number in memory becomes a varint. */
typedef enum shape {
    SHAPE_SIGNED_32,
    SHAPE_UNSIGNED_32,
    SHAPE_ZIGZAG_32,
    SHAPE_64,
    SHAPE_ZIGZAG_64,
    SHAPE_BOOL
} shape;

WI_INLINE uint64_t as_varint(const void *array, size_t i, shape as)
{
    const int32_t *narrow = array;
    const int64_t *wide = array;
    switch (as) {
    case SHAPE_SIGNED_32:
        return (uint64_t)(int64_t)narrow[i];
    case SHAPE_UNSIGNED_32:
        return (uint32_t)narrow[i];
    case SHAPE_ZIGZAG_32:
        return wi_zigzag32(narrow[i]);
    case SHAPE_64:
        return (uint64_t)wide[i];
    case SHAPE_ZIGZAG_64:
        return wi_zigzag64(wide[i]);
    default:
        return narrow[i] != 0;
    }
}

WI_INLINE bool put_varints(packer *p, const void *array, size_t n, shape as, bool count)
{
    packer at = *p;
    while (n > 0)
        if (!put_varint(&at, as_varint(array, --n, as), count))
            return false;
    p->left = at.left;
    return true;
}

WI_INLINE bool put_numbers(packer *p, ProtobufCType type, const char *array, size_t n, bool count)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_ENUM:
        return put_varints(p, array, n, SHAPE_SIGNED_32, count);
    case PROTOBUF_C_TYPE_UINT32:
        return put_varints(p, array, n, SHAPE_UNSIGNED_32, count);
    case PROTOBUF_C_TYPE_SINT32:
        return put_varints(p, array, n, SHAPE_ZIGZAG_32, count);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return put_varints(p, array, n, SHAPE_64, count);
    case PROTOBUF_C_TYPE_SINT64:
        return put_varints(p, array, n, SHAPE_ZIGZAG_64, count);
    case PROTOBUF_C_TYPE_BOOL:
        return put_varints(p, array, n, SHAPE_BOOL, count);
    default:
        if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
            return put_bytes(p, array, n * wi_bytes_of(type), count);
        for (; n > 0; n--)
            if (!put_number(p, type, array + (n - 1) * wi_bytes_of(type), count))
                return false;
        return true;
    }
}

WI_INLINE bool put_array(packer *p, const ProtobufCFieldDescriptor *field, const char *array,
                         size_t n, bool count)
{
    size_t size = wi_bytes_of(field->type), end = p->left;
    if (n == 0)
        return true;
    if (field->flags & PROTOBUF_C_FIELD_FLAG_PACKED)
        return put_numbers(p, field->type, array, n, count) &&
               put_varint(p, end - p->left, count) && put_tag(p, field->id, WI_WIRE_BYTES, count);
    for (; n > 0; n--)
        if (!put_value(p, field, array + (n - 1) * size, count))
            return false;
    return true;
}

/* A function of its own, as it is a lot of code; it takes the cursor by value. */
static packer put_repeated(packer p, const ProtobufCFieldDescriptor *field,
                           const ProtobufCMessage *message, bool *ret_done)
{
    const char *base = (const char *)message;
    size_t n = *(const size_t *)(const void *)(base + field->quantifier_offset);
    const char *array = *(const char *const *)(const void *)(base + field->offset);
    *ret_done = p.base == NULL ? put_array(&p, field, array, n, true)
                               : put_array(&p, field, array, n, false);
    return p;
}

/* A field whose type is no message. */
WI_INLINE bool put_field(packer *p, const ProtobufCFieldDescriptor *field,
                         const ProtobufCMessage *message, bool count)
{
    bool done = true;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        *p = put_repeated(*p, field, message, &done);
    else if (is_present(field, message))
        done = put_value(p, field, (const char *)message + field->offset, count);
    return done;
}

static packer put_unknown(packer p, const ProtobufCMessage *message, bool *ret_done)
{
    bool done = true, count = p.base == NULL;
    for (unsigned i = message->n_unknown_fields; i > 0 && done; i--) {
        const ProtobufCMessageUnknownField *field = &message->unknown_fields[i - 1];
        done = put_bytes(&p, field->data, field->len, count) &&
               put_tag(&p, field->tag, field->wire_type, count);
    }
    *ret_done = done;
    return p;
}

/* ---- Messages within messages ---- */

WI_INLINE bool begin(packer *p, level *at, const ProtobufCMessage *message)
{
    const ProtobufCMessageDescriptor *type = message->descriptor;
    const ProtobufCFieldDescriptor *end = type->fields;
    bool done = true;
    if (type->n_fields > 0) /* without any, `fields` is NULL, and not to be added to */
        end += type->n_fields;
    *at = (level){ message, type->fields, end, p->left, NOT_BEGUN };
    if (WI_RARELY(message->n_unknown_fields > 0))
        *p = put_unknown(*p, message, &done);
    return done;
}

/* The next message of the present field, from its last; `*ret_more`: there is one, which may be
 * NULL, then it is empty. */
WI_INLINE const ProtobufCMessage *next_message(level *at, const ProtobufCFieldDescriptor *field,
                                               bool *ret_more)
{
    const char *base = (const char *)at->message;
    const void *member = base + field->offset;
    if (field->label != PROTOBUF_C_LABEL_REPEATED) {
        *ret_more = at->elements == NOT_BEGUN &&
                    (field->label == PROTOBUF_C_LABEL_REQUIRED || is_present(field, at->message));
        at->elements = 0;
        return *(const ProtobufCMessage *const *)member;
    }
    if (at->elements == NOT_BEGUN)
        at->elements = *(const size_t *)(const void *)(base + field->quantifier_offset);
    *ret_more = at->elements > 0;
    return *ret_more ? (*(const ProtobufCMessage *const *const *)member)[--at->elements] : NULL;
}

/* Goes on with the present field, which is of messages. */
WI_INLINE bool put_message(packer *p, stack *s, level *at, bool count)
{
    const ProtobufCFieldDescriptor *field = at->field - 1;
    bool more;
    const ProtobufCMessage *message = next_message(at, field, &more);
    if (!more) {
        at->elements = NOT_BEGUN;
        at->field--;
        return true;
    }
    if (WI_RARELY(message == NULL))
        return put_head(p, field->id, 0, count);
    if (WI_RARELY(s->depth == WI_DEPTH_MAX))
        return false;
    s->outer[s->depth++] = *at;
    return begin(p, at, message);
}

/* The fields of the present message, and of those within it that begin meanwhile. */
WI_INLINE bool put_fields(packer *p, stack *s, level *at, bool count)
{
    while (at->field > at->first) {
        const ProtobufCFieldDescriptor *field = at->field - 1;
        if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            if (!put_message(p, s, at, count))
                return false;
        } else {
            if (!put_field(p, field, at->message, count))
                return false;
            at->field--;
        }
    }
    return true;
}

WI_INLINE bool put_all(packer *p, const ProtobufCMessage *message, bool count)
{
    stack s; /* its levels are set as they are used */
    level at;
    s.depth = 0;
    if (!begin(p, &at, message))
        return false;
    while (put_fields(p, &s, &at, count)) {
        if (s.depth == 0)
            return true;
        size_t n = at.end - p->left;
        at = s.outer[--s.depth];
        if (n > INT32_MAX || !put_head(p, at.field[-1].id, n, count))
            return false;
    }
    return false;
}

size_t weir_protobuf_size(const ProtobufCMessage *message)
{
    packer p = { .left = INT32_MAX, .cap = INT32_MAX, .settled = true };
    return put_all(&p, message, true) ? p.cap - p.left : SIZE_MAX;
}

weir_status weir_protobuf_pack(const ProtobufCMessage *message, void *buffer, size_t cap,
                               size_t *ret_n)
{
    uint8_t nothing = 0;
    packer p = { .base = cap == 0 ? &nothing : buffer };
    p.left = p.cap = cap < INT32_MAX ? cap : INT32_MAX;
    bool done = put_all(&p, message, false);
    if (WI_RARELY(!done && p.restart)) {
        size_t n = weir_protobuf_size(message);
        p.left = p.cap = n;
        p.settled = true;
        done = n <= cap && put_all(&p, message, false);
    }
    if (WI_RARELY(!done))
        return WEIR_ELIMIT;
    size_t n = p.cap - p.left;
    if (p.left > 0 && n > 0)
        memmove(buffer, p.base + p.left, n);
    *ret_n = n;
    return WEIR_OK;
}
