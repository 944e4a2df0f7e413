/* Repeated fields from the wire: arrays, and numbers packed into one field. */
#include "protobuf_unpack.h"

void *wi_unpack_room(wi_unpacker *u, void **array, size_t n, size_t more, size_t size)
{
    uint64_t had = *array == NULL ? 0 : ((const uint64_t *)*array)[-1];
    if (*array != NULL && had - n >= more)
        return (char *)*array + n * size;
    /* At least double, or what comes in turns is copied again and again. */
    size_t room = n + more < 2 * had ? 2 * (size_t)had : n + more;
    uint64_t *memory = weir_arena_take(u->arena, sizeof *memory + room * size);
    if (memory == NULL) {
        wi_unpack_no_room(u, sizeof *memory + room * size);
        return NULL;
    }
    *memory++ = room;
    if (*array != NULL)
        memcpy(memory, *array, n * size);
    *array = memory;
    return (char *)memory + n * size;
}

/* Behind a value of the wire type; NULL: it is malformed, which is for others to say. */
static const uint8_t *behind_value(const uint8_t *at, const uint8_t *end, unsigned wire)
{
    uint64_t n;
    if (wire == WI_WIRE_64BIT || wire == WI_WIRE_32BIT) {
        n = wire == WI_WIRE_64BIT ? 8 : 4;
    } else {
        at = wi_varint(at, end, &n);
        if (at == NULL || wire == WI_WIRE_VARINT)
            return at;
    }
    return n > (size_t)(end - at) ? NULL : at + n;
}

size_t wi_unpack_run(const wi_unpacker *u, const uint8_t *start, const uint8_t *at, unsigned wire)
{
    size_t tag_bytes = (size_t)(at - start), n = 0;
    const uint8_t *next = start;
    do {
        next = behind_value(next + tag_bytes, u->end, wire);
        n++;
    } while (next != NULL && n <= u->fields_left && (size_t)(u->end - next) > tag_bytes &&
             *next == *start && memcmp(next, start, tag_bytes) == 0);
    return n;
}

/* ---- Packed ---- */

/* What becomes of a varint. */
typedef enum shape { SHAPE_32, SHAPE_ZIGZAG_32, SHAPE_64, SHAPE_ZIGZAG_64, SHAPE_BOOL } shape;

WI_INLINE void store(void *array, size_t i, uint64_t value, shape as)
{
    uint32_t *narrow = array;
    uint64_t *wide = array;
    if (as == SHAPE_32)
        narrow[i] = (uint32_t)value;
    else if (as == SHAPE_ZIGZAG_32)
        narrow[i] = (uint32_t)wi_unzigzag32((uint32_t)value);
    else if (as == SHAPE_64)
        wide[i] = value;
    else if (as == SHAPE_ZIGZAG_64)
        wide[i] = (uint64_t)wi_unzigzag64(value);
    else
        narrow[i] = value != 0;
}

WI_INLINE const uint8_t *decode(const uint8_t *at, const uint8_t *end, void *array, shape as)
{
    size_t i = 0;
    while (at < end) {
        uint64_t value = *at++;
        if (value >= 0x80) {
            unsigned shift = 7;
            uint64_t byte;
            value &= 0x7F;
            do {
                if (at == end || shift > 63)
                    return NULL;
                byte = *at++;
                value |= (byte & 0x7F) << shift;
                shift += 7;
            } while (byte >= 0x80);
        }
        store(array, i++, value, as);
    }
    return at;
}

static const uint8_t *decode_varints(ProtobufCType type, const uint8_t *at, const uint8_t *end,
                                     void *array)
{
    switch (type) {
    case PROTOBUF_C_TYPE_SINT32:
        return decode(at, end, array, SHAPE_ZIGZAG_32);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        return decode(at, end, array, SHAPE_64);
    case PROTOBUF_C_TYPE_SINT64:
        return decode(at, end, array, SHAPE_ZIGZAG_64);
    case PROTOBUF_C_TYPE_BOOL:
        return decode(at, end, array, SHAPE_BOOL);
    default:
        return decode(at, end, array, SHAPE_32);
    }
}

static void copy_fixed(const uint8_t *at, size_t count, size_t size, char *array)
{
    if (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__) {
        memcpy(array, at, count * size);
        return;
    }
    for (size_t i = 0; i < count; i++, at += size, array += size) {
        uint32_t narrow = wi_load32(at);
        uint64_t wide = size == 8 ? wi_load64(at) : 0;
        memcpy(array, size == 8 ? (const void *)&wide : &narrow, size);
    }
}

/* Every varint ends with a byte of which the top bit is clear. */
static size_t count_varints(const uint8_t *at, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += at[i] < 0x80;
    return count;
}

const uint8_t *wi_unpack_packed(wi_unpacker *u, const ProtobufCFieldDescriptor *field,
                                const uint8_t *at)
{
    size_t n = 0, size = wi_bytes_of(field->type);
    at = wi_unpack_length(u, at, &n);
    if (at == NULL || n == 0)
        return at;
    bool fixed = wi_wire_of(field->type) != WI_WIRE_VARINT;
    if (fixed && n % size != 0)
        return wi_unpack_refuse(u, WEIR_EPROTO, "a packed field ends within an element");
    size_t count = fixed ? n / size : count_varints(at, n);
    if (count == 0)
        return wi_unpack_refuse(u, WEIR_EPROTO, "a varint is cut short or too long");
    if (count > u->fields_left)
        return wi_unpack_refuse(u, WEIR_ELIMIT, "too many fields and elements");
    u->fields_left -= (uint32_t)count;
    size_t *have = (size_t *)((char *)u->message + field->quantifier_offset);
    void **array = (void **)((char *)u->message + field->offset);
    void *into = wi_unpack_room(u, array, *have, count, size);
    if (into == NULL)
        return NULL;
    if (fixed)
        copy_fixed(at, count, size, into);
    else if (decode_varints(field->type, at, at + n, into) == NULL)
        return wi_unpack_refuse(u, WEIR_EPROTO, "a varint is cut short or too long");
    *have += count;
    return at + n;
}
