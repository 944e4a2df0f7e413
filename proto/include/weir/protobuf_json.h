/* The canonical JSON form of Protocol Buffers, from protobuf-c's descriptors.
 * https://protobuf.dev/programming-guides/json/
 *
 * Well-known types have their own forms: Timestamp, Duration, FieldMask, Struct, Value, ListValue,
 * the wrappers, Any; they are told by name and by their fields' numbers and types, whoever has
 * generated them. What descriptors do not say is lost: whether an enum is closed (numbers it does
 * not name are kept), and extensions (their keys are unknown fields). A json_name of the .proto's
 * own is known where protoc-gen-weir has made the messages (c=on); otherwise names are as protoc
 * derives them.
 *
 * No I/O and no recursion: about 16 KiB of stack when reading, 8 when writing. Any thread, one at a
 * time per arena and buffer. */
#ifndef WEIR_PROTOBUF_JSON_H
#define WEIR_PROTOBUF_JSON_H

#include <weir/bytes.h>
#include <weir/protobuf.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A field's descriptor with these reserved_flags has its json_name, a C string, as reserved2:
 * protoc-gen-weir's, since protobuf-c says 0 and NULL there. */
#define WEIR_PROTOBUF_JSON_NAMED 0x77656972u

/* The message types that an Any may hold, found by the full name at the end of its type URL (behind
 * its last slash). The well-known ones need not be among them. */
typedef struct weir_protobuf_types {
    const ProtobufCMessageDescriptor *const *types; /* borrowed */
    size_t n;
} weir_protobuf_types;

/* Zero is the default. */
typedef struct weir_protobuf_json_options {
    /* bytes_max: of the text, when reading. fields_max: keys and elements, when reading. depth_max:
     * as of the packed message, so that what is read can be packed and unpacked; an entry of a map,
     * a Value and what an Any holds are messages too. */
    weir_protobuf_limits limits;
    const weir_protobuf_types *types; /* for Any; NULL: only the well-known types */
    bool refuse_unknown;   /* reading: an unknown field, or an unknown name of an enum, is
                              WEIR_EPROTO; default: it is skipped */
    bool emit_defaults;    /* writing: fields without presence too, when they have their default */
    bool proto_names;      /* writing: field names as in the .proto; default: lowerCamelCase */
    bool enums_as_numbers; /* writing */
} weir_protobuf_json_options;

/* Reads a message of `type`. The rest as weir_protobuf_unpack; nothing refers to `text` afterwards.
 * options NULL: all defaults.
 *
 * Takes a field by either name (lowerCamelCase, or as in the .proto); integers as numbers or
 * strings, with point and exponent if the value is whole; base64 of either alphabet, padded or not;
 * enums by name or number. null is absence but for Value and NullValue. Refused (WEIR_EPROTO): a
 * field or a map's key that is there twice, under whatever name; two fields of a oneof; null among
 * elements; numbers out of range; a missing required field; an Any of an unknown type; a string
 * with a NUL in it, which a C string cannot hold. In an Any `@type` may stand anywhere, and is
 * looked for ahead; of an Empty in an Any "value" may be there or not. */
WEIR_API weir_status weir_protobuf_from_json(const ProtobufCMessageDescriptor *type,
                                             const char *text, size_t n,
                                             const weir_protobuf_json_options *options,
                                             weir_arena *arena, ProtobufCMessage **ret_message,
                                             const char **ret_why) WEIR_MUST_USE;
/* Appends the JSON of `message` to `buffer`, fields in the order of their numbers, without spaces.
 * WEIR_EINVAL: what has no JSON form (an Any of an unknown type or of what does not unpack, a
 * Timestamp or Duration out of range, a FieldMask's path that would not come back, a Value without
 * a value or whose number is not finite, text that is no UTF-8); WEIR_ELIMIT: the buffer's limit
 * (it may be missed by a few bytes) or depth_max; WEIR_ENOMEM. On an error the buffer is as it was.
 *
 * Only the buffer grows; an Any, or an element that is a NULL pointer and is written as an empty
 * message, needs up to 16 MiB for what it holds, of the buffer's env if it is more than 1 KiB,
 * until the call returns. */
WEIR_API weir_status weir_protobuf_to_json(const ProtobufCMessage *message,
                                           const weir_protobuf_json_options *options,
                                           weir_bytes *buffer, const char **ret_why) WEIR_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
