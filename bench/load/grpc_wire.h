/* Frames of HTTP/2 and messages of gRPC, read where they lie. */
#ifndef LOAD_GRPC_WIRE_H
#define LOAD_GRPC_WIRE_H

#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { FRAME_HEAD = 9, FRAME_BYTES_MAX = 16384, MESSAGE_PREFIX = 5 };
enum {
    FLAG_ACK = 1,
    FLAG_END_STREAM = 1,
    FLAG_END_HEADERS = 4,
    FLAG_PADDED = 8,
    FLAG_PRIORITY = 32
};
enum {
    FRAME_DATA = 0,
    FRAME_HEADERS = 1,
    FRAME_RST_STREAM = 3,
    FRAME_SETTINGS = 4,
    FRAME_PING = 6,
    FRAME_GOAWAY = 7,
    FRAME_WINDOW_UPDATE = 8,
    FRAME_CONTINUATION = 9,
};

typedef struct frame {
    size_t length;
    uint8_t type;
    uint8_t flags;
    uint32_t id; /* of the stream */
    const uint8_t *payload;
} frame;

/* False if `bytes` hold no whole frame. */
bool frame_read(frame *ret_frame, const uint8_t *bytes, size_t size);
void frame_put(uint8_t *at, size_t length, uint8_t type, uint8_t flags, uint32_t id);
void put_u32(uint8_t *at, uint32_t value);
uint32_t get_u32(const uint8_t *at);

/* Cuts what comes on a stream into messages; only those that lie across frames are copied. */
typedef struct message_reader {
    uint8_t *partial;
    size_t have;
    size_t room;
} message_reader;

/* Borrows the message. False: it is not what it must be. */
typedef bool (*message_seen)(void *user, const uint8_t *message, size_t bytes);

void message_reader_reset(message_reader *r);
bool message_reader_empty(const message_reader *r);
/* False if `seen` said so, or a message is compressed or absurdly large. */
bool message_reader_feed(message_reader *r, const uint8_t *data, size_t size, message_seen seen,
                         void *user);

/* The fields of streams.v1.Data. */
bool data_read(const uint8_t *message, size_t bytes, uint64_t *ret_sequence, size_t *ret_payload);

typedef struct header_result {
    bool bad;
    bool has_status; /* there is a grpc-status */
    int status;
} header_result;

enum { HEADER_CACHE = 4, HEADER_CACHE_BYTES = 32 };

/* Decodes answers' header fields. A block of nothing but indexes means the same as long as no other
 * block changed the table, so those are decoded once. */
typedef struct header_reader {
    nghttp2_hd_inflater *inflater;
    struct {
        size_t bytes;
        uint8_t block[HEADER_CACHE_BYTES];
        header_result result;
    } cache[HEADER_CACHE];
    unsigned next;
} header_reader;

bool header_reader_init(header_reader *r);
header_result header_reader_read(header_reader *r, const uint8_t *block, size_t bytes);

#endif
