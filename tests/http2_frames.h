/* Frames of HTTP/2 by hand, also those that nobody should send (RFC 9113 sections 4 and 6). */
#ifndef HTTP2_FRAMES_H
#define HTTP2_FRAMES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    FRAME_DATA,
    FRAME_HEADERS,
    FRAME_PRIORITY,
    FRAME_RST_STREAM,
    FRAME_SETTINGS,
    FRAME_PUSH_PROMISE,
    FRAME_PING,
    FRAME_GOAWAY,
    FRAME_WINDOW_UPDATE,
    FRAME_CONTINUATION
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8, PRIORITY = 32 };
enum {
    H2_NO_ERROR,
    H2_PROTOCOL_ERROR,
    H2_INTERNAL_ERROR,
    H2_FLOW_CONTROL_ERROR,
    H2_SETTINGS_TIMEOUT,
    H2_STREAM_CLOSED,
    H2_FRAME_SIZE_ERROR,
    H2_REFUSED_STREAM,
    H2_CANCEL,
    H2_COMPRESSION_ERROR,
    H2_CONNECT_ERROR,
    H2_ENHANCE_YOUR_CALM
};

typedef struct frames {
    uint8_t *at;
    size_t len, cap;
} frames;

static inline void put(frames *f, const void *bytes, size_t n)
{
    if (f->len + n > f->cap) {
        f->cap = (f->len + n) * 2;
        f->at = realloc(f->at, f->cap);
    }
    if (n > 0)
        memcpy(f->at + f->len, bytes, n);
    f->len += n;
}

static inline void put32(frames *f, uint32_t value)
{
    const uint8_t bytes[] = { (uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8),
                              (uint8_t)value };
    put(f, bytes, 4);
}

static inline void put_head(frames *f, size_t length, uint8_t type, uint8_t flags, uint32_t stream)
{
    const uint8_t bytes[] = { (uint8_t)(length >> 16), (uint8_t)(length >> 8), (uint8_t)length,
                              type, flags };
    put(f, bytes, 5);
    put32(f, stream);
}

static inline void put_frame(frames *f, uint8_t type, uint8_t flags, uint32_t stream,
                             const void *payload, size_t n)
{
    put_head(f, n, type, flags, stream);
    put(f, payload, n);
}

static inline void put_u32_frame(frames *f, uint8_t type, uint32_t stream, uint32_t value)
{
    put_head(f, 4, type, 0, stream);
    put32(f, value);
}

static inline void put_preface(frames *f)
{
    put(f, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    put_frame(f, FRAME_SETTINGS, 0, 0, NULL, 0);
}

/* A field in HPACK, literal, never indexed, no Huffman (RFC 7541 6.2.3); lengths below 16384. */
static inline void put_hpack_length(frames *f, size_t n)
{
    uint8_t bytes[3] = { (uint8_t)n };
    if (n < 127) {
        put(f, bytes, 1);
        return;
    }
    n -= 127;
    bytes[0] = 127;
    bytes[1] = (uint8_t)(n >= 128 ? 128 | (n & 127) : n);
    bytes[2] = (uint8_t)(n >> 7);
    put(f, bytes, n >= 128 ? 3 : 2);
}

static inline void put_field_n(frames *block, const char *name, const void *value, size_t n)
{
    put(block, "\x10", 1);
    put_hpack_length(block, strlen(name));
    put(block, name, strlen(name));
    put_hpack_length(block, n);
    put(block, value, n);
}

static inline void put_field(frames *block, const char *name, const char *value)
{
    put_field_n(block, name, value, strlen(value));
}

static inline void put_pseudo(frames *block)
{
    put_field(block, ":method", "POST");
    put_field(block, ":scheme", "http");
    put_field(block, ":path", "/");
    put_field(block, ":authority", "a");
}

/* A whole request's head. */
static inline void put_request(frames *f, uint32_t stream, uint8_t flags)
{
    frames block = { 0 };
    put_pseudo(&block);
    put_frame(f, FRAME_HEADERS, (uint8_t)(flags | END_HEADERS), stream, block.at, block.len);
    free(block.at);
}

/* Reads the head of the frame at *at in bytes; false: there is no whole one. */
typedef struct seen_frame {
    size_t length;
    uint8_t type, flags;
    uint32_t stream;
    const uint8_t *payload;
} seen_frame;

static inline bool next_frame(const void *bytes, size_t n, size_t *at, seen_frame *ret_frame)
{
    const uint8_t *p = (const uint8_t *)bytes + *at;
    if (n - *at < 9)
        return false;
    size_t length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
    if (n - *at < 9 + length)
        return false;
    *ret_frame = (seen_frame){ length, p[3], p[4],
                               (uint32_t)(p[5] & 0x7f) << 24 | (uint32_t)p[6] << 16 |
                                   (uint32_t)p[7] << 8 | p[8],
                               p + 9 };
    *at += 9 + length;
    return true;
}

static inline uint32_t read32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

#endif
