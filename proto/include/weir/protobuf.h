/* Protocol Buffers on protobuf-c's descriptors, safe for bytes from outside: unpacked into an arena
 * within limits, packed into memory of the caller.
 * https://protobuf.dev/programming-guides/encoding/
 *
 * No I/O; any thread, one at a time per arena. Messages are protobuf-c's own structs, as
 * protoc-gen-c declares them; they live in the arena and are never freed one by one. */
#ifndef WEIR_PROTOBUF_H
#define WEIR_PROTOBUF_H

#include <protobuf-c/protobuf-c.h>

#include <stdbool.h>

#include <weir/arena.h>
#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zero is the default. */
typedef struct weir_protobuf_limits {
    uint32_t depth_max;  /* messages and groups within each other: 100 */
    uint32_t bytes_max;  /* of the packed message: 4 MiB; UINT32_MAX: no limit */
    uint32_t fields_max; /* fields and elements in all, unknown ones too: 1 M. What they expand to
                            is bounded by the arena's budget */
    bool keep_unknown;   /* keep fields that the descriptor does not know; default: skip them */
} weir_protobuf_limits;

/* Unpacks `n` bytes as a message of `type`. Strings must be UTF-8 (proto3). All that it needs comes
 * from the arena; strings and bytes are copies, so the input may go. limits NULL: all defaults.
 * WEIR_EPROTO: malformed, or no UTF-8; WEIR_ELIMIT: deeper, longer or more than the limits, or over
 * the arena's budget; WEIR_ENOMEM. `*ret_why` (may be NULL) gets a static text on an error. */
WEIR_API weir_status weir_protobuf_unpack(const ProtobufCMessageDescriptor *type, const void *bytes,
                                          size_t n, const weir_protobuf_limits *limits,
                                          weir_arena *arena, ProtobufCMessage **ret_message,
                                          const char **ret_why) WEIR_MUST_USE;

/* How many bytes `message` takes when packed. */
WEIR_API size_t weir_protobuf_size(const ProtobufCMessage *message);
/* Packs `message` to buffer[0..cap); WEIR_ELIMIT: it does not fit, or is nested deeper than 100.
 * `*ret_n`: how many bytes it took. */
WEIR_API weir_status weir_protobuf_pack(const ProtobufCMessage *message, void *buffer, size_t cap,
                                        size_t *ret_n) WEIR_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
