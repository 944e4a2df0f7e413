/* Protocol Buffers on protobuf-c's descriptors, safe for bytes from outside: unpacked into an arena
 * within limits, packed into memory of the caller.
 * https://protobuf.dev/programming-guides/encoding/
 *
 * No I/O; any thread, one at a time per arena. Messages are protobuf-c's own structs, as
 * protoc-gen-c declares them; they live in the arena and are never freed one by one. */
#ifndef WEIR_PROTOBUF_H
#define WEIR_PROTOBUF_H

#include <stdbool.h>

#include <weir/arena.h>
#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* As <protobuf-c/protobuf-c.h> declares them. */
typedef struct ProtobufCMessage ProtobufCMessage;
typedef struct ProtobufCMessageDescriptor ProtobufCMessageDescriptor;

/* Zero is the default. */
typedef struct weir_protobuf_limits {
    uint32_t depth_max;  /* messages and groups below the outermost: 100, which is the most */
    uint32_t bytes_max;  /* of the packed message: 4 MiB; UINT32_MAX: no limit */
    uint32_t fields_max; /* fields and elements in all, unknown ones too: 1 M. What they expand to
                            is bounded by the arena's budget */
    bool keep_unknown;   /* keep fields that the descriptor does not know; default: skip them */
} weir_protobuf_limits;

/* Unpacks `n` bytes as a message of `type`. All that it needs comes from the arena, nothing is
 * allocated elsewhere; strings and bytes are copies, so the input may go. limits NULL: all
 * defaults.
 *
 * Reads what protobuf C++ reads: fields in any order, repeated numbers packed or not, of a singular
 * field the last, of a singular message the sum of all. A known field of another wire type is an
 * unknown one. Groups are unknown fields (kept as wire type 3, contents and end tag). Stricter than
 * others: all strings must be UTF-8 (RFC 3629) and hold no NUL, which a C string cannot say; and of
 * a message that comes in parts, each part has its required fields.
 *
 * WEIR_EPROTO: malformed, no such text, or a required field is missing; WEIR_ELIMIT: deeper, longer
 * or more than the limits, or over the arena's budget; WEIR_ENOMEM; WEIR_EINVAL: depth_max is over
 * 100. After an error what was taken from the arena lasts until its reset. `*ret_why` (may be NULL)
 * gets a static text on an error. */
WEIR_API weir_status weir_protobuf_unpack(const ProtobufCMessageDescriptor *type, const void *bytes,
                                          size_t n, const weir_protobuf_limits *limits,
                                          weir_arena *arena, ProtobufCMessage **ret_message,
                                          const char **ret_why) WEIR_MUST_USE;

/* How many bytes `message` takes when packed. SIZE_MAX: messages are nested deeper than 100, or it
 * takes more than INT32_MAX. */
WEIR_API size_t weir_protobuf_size(const ProtobufCMessage *message);
/* Packs `message` to buffer[0..cap), in one pass: there is no need to ask for its size before. Uses
 * all of the buffer while it works. WEIR_ELIMIT: it does not fit, is nested deeper than 100, or
 * takes more than INT32_MAX. `*ret_n`: how many bytes it took.
 *
 * The bytes are those of protobuf_c_message_pack, but that -0.0 is no zero and is kept, empty bytes
 * of proto3 are left out whatever they point to, and a oneof's text is kept even if it is the
 * default. */
WEIR_API weir_status weir_protobuf_pack(const ProtobufCMessage *message, void *buffer, size_t cap,
                                        size_t *ret_n) WEIR_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
