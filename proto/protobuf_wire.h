/* The wire of Protocol Buffers as protobuf-c's descriptors see it: tags, varints, sizes of types.
 * Private to proto.
 * https://protobuf.dev/programming-guides/encoding/ */
#ifndef WI_PROTOBUF_WIRE_H
#define WI_PROTOBUF_WIRE_H

#include <weir/protobuf.h>

#include <protobuf-c/protobuf-c.h>
#include <string.h>

enum {
    WI_WIRE_VARINT = 0,
    WI_WIRE_64BIT = 1,
    WI_WIRE_BYTES = 2,
    WI_WIRE_GROUP = 3,
    WI_WIRE_GROUP_END = 4,
    WI_WIRE_32BIT = 5,
    WI_DEPTH_MAX = 100,      /* messages below the outermost */
    WI_SHORT_VARINT_MAX = 5, /* bytes of a tag or a length */
    WI_LONG_VARINT_MAX = 10,
};

#define WI_INLINE            static inline __attribute__((always_inline))
#define WI_MOSTLY(condition) __builtin_expect(!!(condition), 1)
#define WI_RARELY(condition) __builtin_expect(!!(condition), 0)

/* The wire type of a single value, and its bytes as a member or in an array. */
WI_INLINE unsigned wi_wire_of(ProtobufCType type)
{
    static const uint8_t wires[] = {
        [PROTOBUF_C_TYPE_INT32] = WI_WIRE_VARINT,   [PROTOBUF_C_TYPE_SINT32] = WI_WIRE_VARINT,
        [PROTOBUF_C_TYPE_SFIXED32] = WI_WIRE_32BIT, [PROTOBUF_C_TYPE_INT64] = WI_WIRE_VARINT,
        [PROTOBUF_C_TYPE_SINT64] = WI_WIRE_VARINT,  [PROTOBUF_C_TYPE_SFIXED64] = WI_WIRE_64BIT,
        [PROTOBUF_C_TYPE_UINT32] = WI_WIRE_VARINT,  [PROTOBUF_C_TYPE_FIXED32] = WI_WIRE_32BIT,
        [PROTOBUF_C_TYPE_UINT64] = WI_WIRE_VARINT,  [PROTOBUF_C_TYPE_FIXED64] = WI_WIRE_64BIT,
        [PROTOBUF_C_TYPE_FLOAT] = WI_WIRE_32BIT,    [PROTOBUF_C_TYPE_DOUBLE] = WI_WIRE_64BIT,
        [PROTOBUF_C_TYPE_BOOL] = WI_WIRE_VARINT,    [PROTOBUF_C_TYPE_ENUM] = WI_WIRE_VARINT,
        [PROTOBUF_C_TYPE_STRING] = WI_WIRE_BYTES,   [PROTOBUF_C_TYPE_BYTES] = WI_WIRE_BYTES,
        [PROTOBUF_C_TYPE_MESSAGE] = WI_WIRE_BYTES,
    };
    return wires[type];
}

WI_INLINE size_t wi_bytes_of(ProtobufCType type)
{
    static const uint8_t sizes[] = {
        [PROTOBUF_C_TYPE_INT32] = 4,
        [PROTOBUF_C_TYPE_SINT32] = 4,
        [PROTOBUF_C_TYPE_SFIXED32] = 4,
        [PROTOBUF_C_TYPE_INT64] = 8,
        [PROTOBUF_C_TYPE_SINT64] = 8,
        [PROTOBUF_C_TYPE_SFIXED64] = 8,
        [PROTOBUF_C_TYPE_UINT32] = 4,
        [PROTOBUF_C_TYPE_FIXED32] = 4,
        [PROTOBUF_C_TYPE_UINT64] = 8,
        [PROTOBUF_C_TYPE_FIXED64] = 8,
        [PROTOBUF_C_TYPE_FLOAT] = 4,
        [PROTOBUF_C_TYPE_DOUBLE] = 8,
        [PROTOBUF_C_TYPE_BOOL] = sizeof(protobuf_c_boolean),
        [PROTOBUF_C_TYPE_ENUM] = 4,
        [PROTOBUF_C_TYPE_STRING] = sizeof(char *),
        [PROTOBUF_C_TYPE_BYTES] = sizeof(ProtobufCBinaryData),
        [PROTOBUF_C_TYPE_MESSAGE] = sizeof(ProtobufCMessage *),
    };
    return sizes[type];
}

WI_INLINE bool wi_has_pointer(ProtobufCType type)
{
    return type == PROTOBUF_C_TYPE_STRING || type == PROTOBUF_C_TYPE_MESSAGE;
}

/* Fixed-width values on the wire are little-endian, as is memory here or this swaps. */
WI_INLINE uint32_t wi_little32(uint32_t value)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? value : __builtin_bswap32(value);
}
WI_INLINE uint64_t wi_little64(uint64_t value)
{
    return __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? value : __builtin_bswap64(value);
}
WI_INLINE uint32_t wi_load32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return wi_little32(value);
}
WI_INLINE uint64_t wi_load64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return wi_little64(value);
}

/* Reads a varint of more than one byte. Gives what is behind it; NULL: cut short by `end`, or
 * longer than ten bytes. What is over 64 bits falls away, as everywhere. */
const uint8_t *wi_varint_long(const uint8_t *at, const uint8_t *end, uint64_t *ret_value);

WI_INLINE const uint8_t *wi_varint(const uint8_t *at, const uint8_t *end, uint64_t *ret_value)
{
    if (WI_MOSTLY(at < end && *at < 0x80)) {
        *ret_value = *at;
        return at + 1;
    }
    return wi_varint_long(at, end, ret_value);
}

WI_INLINE int32_t wi_unzigzag32(uint32_t value)
{
    return (int32_t)((value >> 1) ^ (0 - (value & 1)));
}
WI_INLINE int64_t wi_unzigzag64(uint64_t value)
{
    return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}
WI_INLINE uint32_t wi_zigzag32(int32_t value)
{
    return ((uint32_t)value << 1) ^ (0 - ((uint32_t)value >> 31));
}
WI_INLINE uint64_t wi_zigzag64(int64_t value)
{
    return ((uint64_t)value << 1) ^ (0 - ((uint64_t)value >> 63));
}

#endif
