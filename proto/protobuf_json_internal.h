/* What reading and writing the JSON of protobuf share: the well-known types, maps, members of
 * messages by way of descriptors, and the texts of times. Private to proto. */
#ifndef WI_PROTOBUF_JSON_INTERNAL_H
#define WI_PROTOBUF_JSON_INTERNAL_H

#include <weir/json.h>
#include <weir/protobuf_json.h>

#include <protobuf-c/protobuf-c.h>

#include <string.h>

/* Messages below the outermost: no more can be packed. */
#define WI_PBJ_DEPTH_CAP 100

typedef enum wi_pbj_kind {
    WI_PBJ_PLAIN,
    WI_PBJ_EMPTY, /* as PLAIN, but in an Any its fields may stand in "value" */
    WI_PBJ_TIMESTAMP,
    WI_PBJ_DURATION,
    WI_PBJ_FIELD_MASK,
    WI_PBJ_STRUCT,
    WI_PBJ_VALUE,
    WI_PBJ_LIST_VALUE,
    WI_PBJ_WRAPPER,
    WI_PBJ_ANY
} wi_pbj_kind;

/* The fields of google.protobuf.Value. */
enum { WI_PBJ_NULL = 1, WI_PBJ_NUMBER, WI_PBJ_STRING, WI_PBJ_BOOL, WI_PBJ_OBJECT, WI_PBJ_LIST };

/* Tells a well-known type by its name and by the numbers and types of its fields; the field of
 * number i is then type->fields[i - 1]. */
wi_pbj_kind wi_pbj_kind_of(const ProtobufCMessageDescriptor *type);
bool wi_pbj_is_null_value(const ProtobufCFieldDescriptor *field);
/* Whether null is a value of this field, not its absence. */
bool wi_pbj_takes_null(const ProtobufCFieldDescriptor *field);

/* How much of `text` a field's name takes in camel case, as protoc makes it, beginning with a
 * capital if `upper`; WI_PBJ_OTHER: it is another name. */
#define WI_PBJ_OTHER SIZE_MAX
size_t wi_pbj_camel(const char *text, size_t len, const char *name, bool upper);
/* Whether a field of `type` is a map: repeated entries with a key and a value. */
bool wi_pbj_is_map(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field);

/* The type that a type URL ends in, of `types` or a well-known one; NULL: unknown. */
const ProtobufCMessageDescriptor *wi_pbj_find_type(const weir_protobuf_types *types,
                                                   const char *url, size_t len);

/* How many bytes a member of this type takes. */
size_t wi_pbj_member_bytes(ProtobufCType type);

/* Makes a message of `type` of so much memory. */
static inline void wi_pbj_init(ProtobufCMessage *message, const ProtobufCMessageDescriptor *type)
{
    if (type->message_init != NULL) {
        type->message_init(message);
        return;
    }
    memset(message, 0, type->sizeof_message);
    message->descriptor = type;
}

static inline void *wi_pbj_member(const ProtobufCMessage *message,
                                  const ProtobufCFieldDescriptor *field)
{
    return (char *)(uintptr_t)message + field->offset;
}

/* The json_name of the .proto's own; NULL: none. */
static inline const char *wi_pbj_json_name(const ProtobufCFieldDescriptor *field)
{
    return field->reserved_flags == WEIR_PROTOBUF_JSON_NAMED ? field->reserved2 : NULL;
}

/* Where a field's count, its has_ or its oneof's case stands. */
static inline void *wi_pbj_quantifier(const ProtobufCMessage *message,
                                      const ProtobufCFieldDescriptor *field)
{
    return (char *)(uintptr_t)message + field->quantifier_offset;
}

static inline bool wi_pbj_in_oneof(const ProtobufCFieldDescriptor *field)
{
    return (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) != 0;
}

/* Notes that a field, which is not repeated, has a value. */
static inline void wi_pbj_mark(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field)
{
    if (wi_pbj_in_oneof(field))
        *(uint32_t *)wi_pbj_quantifier(message, field) = field->id;
    else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->type != PROTOBUF_C_TYPE_STRING &&
             field->type != PROTOBUF_C_TYPE_MESSAGE)
        *(protobuf_c_boolean *)wi_pbj_quantifier(message, field) = 1;
}

/* ---- Texts of well-known types. What reads them gives why not, or NULL. ---- */

#define WI_PBJ_TIME_BYTES 40

const char *wi_pbj_read_timestamp(const char *text, size_t n, int64_t *ret_seconds,
                                  int32_t *ret_nanos);
const char *wi_pbj_read_duration(const char *text, size_t n, int64_t *ret_seconds,
                                 int32_t *ret_nanos);
/* Give the length; 0: out of range. */
size_t wi_pbj_put_timestamp(int64_t seconds, int32_t nanos, char out[WI_PBJ_TIME_BYTES]);
size_t wi_pbj_put_duration(int64_t seconds, int32_t nanos, char out[WI_PBJ_TIME_BYTES]);

/* ---- Values of fields, read ---- */

/* Whence values come and where they go. */
typedef struct wi_pbj_source {
    weir_json_reader json;
    weir_arena *arena;
    const weir_protobuf_json_options *options;
    uint32_t fields_left; /* that may still be read */
    const char *why;
} wi_pbj_source;

/* Memory of the arena's; NULL and `*ret_status`: there is none. */
void *wi_pbj_take(wi_pbj_source *source, size_t bytes, weir_status *ret_status);

/* Notes why and gives `status`. */
weir_status wi_pbj_refuse(wi_pbj_source *source, weir_status status, const char *why);

/* What a KEY or STRING says: a span of the text itself or, if it has escapes, of the arena. */
weir_status wi_pbj_text(wi_pbj_source *source, const weir_json_token *token, const char **ret_text,
                        size_t *ret_len);
/* Reads a value of one element of a field, which is no message, to `slot`. *ret_skipped: it is an
 * unknown name of an enum and to be left out. */
weir_status wi_pbj_read_scalar(wi_pbj_source *source, const ProtobufCFieldDescriptor *field,
                               const weir_json_token *token, void *slot, bool *ret_skipped);
/* Reads a map's key. */
weir_status wi_pbj_read_key(wi_pbj_source *source, const ProtobufCFieldDescriptor *field,
                            const weir_json_token *token, void *slot);
/* Reads a well-known type that is one string, to `message` of this kind. */
weir_status wi_pbj_read_time(wi_pbj_source *source, wi_pbj_kind kind, const weir_json_token *token,
                             ProtobufCMessage *message);
/* Refuses a map that has a key twice. */
weir_status wi_pbj_check_keys(wi_pbj_source *source, const ProtobufCFieldDescriptor *key,
                              ProtobufCMessage *const *entries, size_t n);

/* ---- Values of fields, written ---- */

/* Where the text goes. Errors are latched; what is put after one is dropped. */
typedef struct wi_pbj_sink {
    weir_bytes *bytes;
    weir_status status;
    const char *why;
    bool comma; /* due before the next value */
} wi_pbj_sink;

void wi_pbj_fail(wi_pbj_sink *sink, weir_status status, const char *why);
/* Appends bytes that are JSON, without a comma. */
void wi_pbj_put(wi_pbj_sink *sink, const void *bytes, size_t n);
/* Puts the comma that is due, then an opening bracket. */
void wi_pbj_open(wi_pbj_sink *sink, char bracket);
void wi_pbj_close(wi_pbj_sink *sink, char bracket);
/* A field's name as a key, with its colon. */
void wi_pbj_put_name(wi_pbj_sink *sink, const char *name, bool as_it_is);
/* That, or its json_name. */
void wi_pbj_put_field_name(wi_pbj_sink *sink, const ProtobufCFieldDescriptor *field,
                           bool proto_names);
void wi_pbj_put_string(wi_pbj_sink *sink, const char *text, size_t n);
/* One element of a field that is no message. */
void wi_pbj_put_scalar(wi_pbj_sink *sink, const ProtobufCFieldDescriptor *field, const void *slot,
                       bool enums_as_numbers);
/* A map's key with its colon. */
void wi_pbj_put_key(wi_pbj_sink *sink, const ProtobufCFieldDescriptor *field, const void *slot);
/* A well-known type that is one string. */
void wi_pbj_put_time(wi_pbj_sink *sink, wi_pbj_kind kind, const ProtobufCMessage *message);

#endif
