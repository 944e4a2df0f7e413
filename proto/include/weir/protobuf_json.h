/* The canonical JSON form of Protocol Buffers, from protobuf-c's descriptors.
 * https://protobuf.dev/programming-guides/json/
 *
 * Well-known types have their own forms: Timestamp, Duration, FieldMask, Struct, Value, ListValue,
 * the wrappers, Empty, Any. */
#ifndef WEIR_PROTOBUF_JSON_H
#define WEIR_PROTOBUF_JSON_H

#include <weir/bytes.h>
#include <weir/protobuf.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The message types that an Any may hold, found by the full name at the end of its type URL. */
typedef struct weir_protobuf_types {
    const ProtobufCMessageDescriptor *const *types; /* borrowed */
    size_t n;
} weir_protobuf_types;

/* Zero is the default. */
typedef struct weir_protobuf_json_options {
    weir_protobuf_limits limits;      /* bytes_max: of the text */
    const weir_protobuf_types *types; /* for Any; NULL: only the well-known types */
    bool refuse_unknown;   /* reading: an unknown field is WEIR_EPROTO; default: it is skipped */
    bool emit_defaults;    /* writing: fields without presence too, when they have their default */
    bool proto_names;      /* writing: field names as in the .proto; default: lowerCamelCase */
    bool enums_as_numbers; /* writing */
} weir_protobuf_json_options;

/* Reads a message of `type`. The rest as weir_protobuf_unpack. options NULL: all defaults. */
WEIR_API weir_status weir_protobuf_from_json(const ProtobufCMessageDescriptor *type,
                                             const char *text, size_t n,
                                             const weir_protobuf_json_options *options,
                                             weir_arena *arena, ProtobufCMessage **ret_message,
                                             const char **ret_why) WEIR_MUST_USE;
/* Appends the JSON of `message` to `buffer`. WEIR_EINVAL: what has no JSON form (an Any of an
 * unknown type, a Timestamp out of range, text that is no UTF-8); WEIR_ELIMIT: the buffer's limit
 * or depth_max; WEIR_ENOMEM. On an error the buffer is as it was. */
WEIR_API weir_status weir_protobuf_to_json(const ProtobufCMessage *message,
                                           const weir_protobuf_json_options *options,
                                           weir_bytes *buffer, const char **ret_why) WEIR_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
