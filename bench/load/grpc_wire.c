/* Frames of HTTP/2 and messages of gRPC, read where they lie. */
#include "grpc_wire.h"

#include <stdlib.h>
#include <string.h>

#define MESSAGE_BYTES_MAX (64u << 20)

bool frame_read(frame *ret_frame, const uint8_t *bytes, size_t size)
{
    if (size < FRAME_HEAD)
        return false;
    size_t length = (size_t)bytes[0] << 16 | (size_t)bytes[1] << 8 | bytes[2];
    if (size - FRAME_HEAD < length)
        return false;
    *ret_frame = (frame){ length, bytes[3], bytes[4], get_u32(bytes + 5) & 0x7fffffffu,
                          bytes + FRAME_HEAD };
    return true;
}

void frame_put(uint8_t *at, size_t length, uint8_t type, uint8_t flags, uint32_t id)
{
    at[0] = (uint8_t)(length >> 16);
    at[1] = (uint8_t)(length >> 8);
    at[2] = (uint8_t)length;
    at[3] = type;
    at[4] = flags;
    put_u32(at + 5, id);
}

void put_u32(uint8_t *at, uint32_t value)
{
    uint32_t big = __builtin_bswap32(value);
    memcpy(at, &big, sizeof(big));
}

uint32_t get_u32(const uint8_t *at)
{
    uint32_t big = 0;
    memcpy(&big, at, sizeof(big));
    return __builtin_bswap32(big);
}

void message_reader_reset(message_reader *r)
{
    r->have = 0;
}

bool message_reader_empty(const message_reader *r)
{
    return r->have == 0;
}

/* Moves bytes to the partial message until it has `want`; false if there are too few. */
static bool partial_reach(message_reader *r, size_t want, const uint8_t **data, size_t *size)
{
    if (r->room < want) {
        size_t room = want < 256 ? 256 : want;
        uint8_t *partial = realloc(r->partial, room);
        if (partial == NULL)
            abort();
        r->partial = partial;
        r->room = room;
    }
    if (r->have < want) {
        size_t part = want - r->have < *size ? want - r->have : *size;
        memcpy(r->partial + r->have, *data, part);
        r->have += part;
        *data += part;
        *size -= part;
    }
    return r->have >= want;
}

bool message_reader_feed(message_reader *r, const uint8_t *data, size_t size, message_seen seen,
                         void *user)
{
    while (size != 0) {
        if (r->have == 0 && size >= MESSAGE_PREFIX) {
            size_t length = get_u32(data + 1);
            if (data[0] != 0 || length > MESSAGE_BYTES_MAX)
                return false;
            if (size - MESSAGE_PREFIX >= length) {
                if (!seen(user, data + MESSAGE_PREFIX, length))
                    return false;
                data += MESSAGE_PREFIX + length;
                size -= MESSAGE_PREFIX + length;
                continue;
            }
        }
        if (!partial_reach(r, MESSAGE_PREFIX, &data, &size))
            break;
        size_t length = get_u32(r->partial + 1);
        if (r->partial[0] != 0 || length > MESSAGE_BYTES_MAX)
            return false;
        if (!partial_reach(r, MESSAGE_PREFIX + length, &data, &size))
            break;
        r->have = 0;
        if (!seen(user, r->partial + MESSAGE_PREFIX, length))
            return false;
    }
    return true;
}

static bool varint_read(const uint8_t **at, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; *at < end && shift < 64; shift += 7) {
        uint8_t byte = *(*at)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

bool data_read(const uint8_t *message, size_t bytes, uint64_t *ret_sequence, size_t *ret_payload)
{
    const uint8_t *at = message;
    const uint8_t *end = message + bytes;
    uint64_t sequence = 0;
    uint64_t payload = 0;
    if (at < end && *at == 0x08) { /* left out if it is 0 */
        at++;
        if (!varint_read(&at, end, &sequence))
            return false;
    }
    if (at < end && *at == 0x12) {
        at++;
        if (!varint_read(&at, end, &payload) || payload != (uint64_t)(end - at))
            return false;
        at = end;
    }
    *ret_sequence = sequence;
    *ret_payload = (size_t)payload;
    return at == end;
}

bool header_reader_init(header_reader *r)
{
    return nghttp2_hd_inflate_new(&r->inflater) == 0;
}

static bool only_indexes(const uint8_t *block, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (block[i] < 0x80 || block[i] == 0xff)
            return false;
    return bytes <= HEADER_CACHE_BYTES;
}

static header_result inflate(header_reader *r, const uint8_t *block, size_t bytes)
{
    header_result result = { .bad = false };
    for (;;) {
        nghttp2_nv field;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(r->inflater, &field, &flags, block, bytes, 1);
        if (used < 0) {
            result.bad = true;
            return result;
        }
        block += used;
        bytes -= (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0 && field.namelen == 11 &&
            memcmp(field.name, "grpc-status", 11) == 0) {
            result.has_status = true;
            result.status = field.valuelen == 1 ? field.value[0] - '0' : -1;
        }
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0)
            break;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && bytes == 0)
            break;
    }
    nghttp2_hd_inflate_end_headers(r->inflater);
    return result;
}

header_result header_reader_read(header_reader *r, const uint8_t *block, size_t bytes)
{
    bool same = only_indexes(block, bytes);
    for (unsigned i = 0; same && i < HEADER_CACHE; i++)
        if (r->cache[i].bytes == bytes && memcmp(r->cache[i].block, block, bytes) == 0)
            return r->cache[i].result;
    header_result result = inflate(r, block, bytes);
    if (same) {
        unsigned i = r->next++ % HEADER_CACHE;
        r->cache[i].bytes = bytes;
        memcpy(r->cache[i].block, block, bytes);
        r->cache[i].result = result;
    } else {
        memset(r->cache, 0, sizeof(r->cache));
    }
    return result;
}
