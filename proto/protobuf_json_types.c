/* Which messages have a JSON form of their own, which fields are maps, and what an Any may hold:
 * the well-known types have descriptors here too, for programs that were built without theirs. */
#include "protobuf_json_internal.h"

#include <string.h>

/* ---- Telling types ---- */

#define ONE(kind, name, type)      \
    {                              \
        kind, name, 1,             \
        {                          \
            PROTOBUF_C_TYPE_##type \
        }                          \
    }

static const struct known {
    wi_pbj_kind kind;
    const char *name; /* behind "google.protobuf." */
    unsigned n;
    ProtobufCType types[6];
} known[] = {
    { WI_PBJ_TIMESTAMP, "Timestamp", 2, { PROTOBUF_C_TYPE_INT64, PROTOBUF_C_TYPE_INT32 } },
    { WI_PBJ_DURATION, "Duration", 2, { PROTOBUF_C_TYPE_INT64, PROTOBUF_C_TYPE_INT32 } },
    { WI_PBJ_ANY, "Any", 2, { PROTOBUF_C_TYPE_STRING, PROTOBUF_C_TYPE_BYTES } },
    { WI_PBJ_VALUE,
      "Value",
      6,
      { PROTOBUF_C_TYPE_ENUM, PROTOBUF_C_TYPE_DOUBLE, PROTOBUF_C_TYPE_STRING, PROTOBUF_C_TYPE_BOOL,
        PROTOBUF_C_TYPE_MESSAGE, PROTOBUF_C_TYPE_MESSAGE } },
    ONE(WI_PBJ_FIELD_MASK, "FieldMask", STRING),
    ONE(WI_PBJ_STRUCT, "Struct", MESSAGE),
    ONE(WI_PBJ_LIST_VALUE, "ListValue", MESSAGE),
    ONE(WI_PBJ_WRAPPER, "DoubleValue", DOUBLE),
    ONE(WI_PBJ_WRAPPER, "FloatValue", FLOAT),
    ONE(WI_PBJ_WRAPPER, "Int64Value", INT64),
    ONE(WI_PBJ_WRAPPER, "UInt64Value", UINT64),
    ONE(WI_PBJ_WRAPPER, "Int32Value", INT32),
    ONE(WI_PBJ_WRAPPER, "UInt32Value", UINT32),
    ONE(WI_PBJ_WRAPPER, "BoolValue", BOOL),
    ONE(WI_PBJ_WRAPPER, "StringValue", STRING),
    ONE(WI_PBJ_WRAPPER, "BytesValue", BYTES),
    { WI_PBJ_EMPTY, "Empty", 0, { PROTOBUF_C_TYPE_INT32 } },
};

static bool has_label(wi_pbj_kind kind, const ProtobufCFieldDescriptor *field)
{
    bool is_list = kind == WI_PBJ_FIELD_MASK || kind == WI_PBJ_STRUCT || kind == WI_PBJ_LIST_VALUE;
    return is_list == (field->label == PROTOBUF_C_LABEL_REPEATED) &&
           (kind == WI_PBJ_VALUE) == wi_pbj_in_oneof(field);
}

static bool has_shape(const ProtobufCMessageDescriptor *type, const struct known *k)
{
    if (type->n_fields != k->n)
        return false;
    for (unsigned i = 0; i < k->n; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        if (field->id != i + 1 || field->type != k->types[i] || !has_label(k->kind, field))
            return false;
    }
    return k->kind != WI_PBJ_STRUCT || wi_pbj_is_map(type, &type->fields[0]);
}

#define PREFIX       "google.protobuf."
#define PREFIX_BYTES (sizeof PREFIX - 1)

wi_pbj_kind wi_pbj_kind_of(const ProtobufCMessageDescriptor *type)
{
    if (strncmp(type->name, PREFIX, PREFIX_BYTES) != 0)
        return WI_PBJ_PLAIN;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(type->name + PREFIX_BYTES, known[i].name) == 0)
            return has_shape(type, &known[i]) ? known[i].kind : WI_PBJ_PLAIN;
    }
    return WI_PBJ_PLAIN;
}

bool wi_pbj_is_null_value(const ProtobufCFieldDescriptor *field)
{
    const ProtobufCEnumDescriptor *type = field->descriptor;
    return field->type == PROTOBUF_C_TYPE_ENUM && strcmp(type->name, PREFIX "NullValue") == 0;
}

bool wi_pbj_takes_null(const ProtobufCFieldDescriptor *field)
{
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return wi_pbj_kind_of(field->descriptor) == WI_PBJ_VALUE;
    return wi_pbj_is_null_value(field);
}

size_t wi_pbj_camel(const char *text, size_t len, const char *name, bool upper)
{
    size_t n = 0;
    for (; *name != '\0'; name++) {
        char c = *name;
        if (c == '_') {
            upper = true;
            continue;
        }
        if (upper && c >= 'a' && c <= 'z')
            c = (char)(c - 'a' + 'A');
        upper = false;
        if (n == len || text[n++] != c)
            return WI_PBJ_OTHER;
    }
    return n;
}

/* As protoc names it. */
static bool is_entry_name(const char *entry, const char *field)
{
    size_t n = wi_pbj_camel(entry, strlen(entry), field, true);
    return n != WI_PBJ_OTHER && strcmp(entry + n, "Entry") == 0;
}

static bool is_key_type(ProtobufCType type)
{
    return type != PROTOBUF_C_TYPE_FLOAT && type != PROTOBUF_C_TYPE_DOUBLE &&
           type != PROTOBUF_C_TYPE_ENUM && type != PROTOBUF_C_TYPE_BYTES &&
           type != PROTOBUF_C_TYPE_MESSAGE;
}

bool wi_pbj_is_map(const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE ||
        entry->n_fields != 2 || entry->fields[0].id != 1 || entry->fields[1].id != 2 ||
        entry->fields[0].label == PROTOBUF_C_LABEL_REPEATED ||
        entry->fields[1].label == PROTOBUF_C_LABEL_REPEATED ||
        !is_key_type(entry->fields[0].type) || strcmp(entry->fields[0].name, "key") != 0 ||
        strcmp(entry->fields[1].name, "value") != 0 ||
        !is_entry_name(entry->short_name, field->name))
        return false;
    size_t n = strlen(type->name);
    return strncmp(entry->name, type->name, n) == 0 && entry->name[n] == '.' &&
           strcmp(entry->name + n + 1, entry->short_name) == 0;
}

size_t wi_pbj_member_bytes(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_STRING:
        return sizeof(char *);
    case PROTOBUF_C_TYPE_BYTES:
        return sizeof(ProtobufCBinaryData);
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(ProtobufCMessage *);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    default:
        return 4;
    }
}

/* ---- The well-known types' own descriptors ---- */

typedef struct moment {
    ProtobufCMessage base;
    int64_t seconds;
    int32_t nanos;
} moment;

/* Repeated strings or messages. */
typedef struct many {
    ProtobufCMessage base;
    size_t n;
    void **items;
} many;

typedef struct entry {
    ProtobufCMessage base;
    char *key;
    ProtobufCMessage *value;
} entry;

typedef struct any_value {
    ProtobufCMessage base;
    uint32_t which;
    union {
        int null;
        double number;
        char *string;
        protobuf_c_boolean boolean;
        ProtobufCMessage *message;
    } is;
} any_value;

typedef struct any {
    ProtobufCMessage base;
    char *type_url;
    ProtobufCBinaryData value;
} any;

#define EMPTY_TEXT ((char *)(uintptr_t)protobuf_c_empty_string)

#define FIELD_OF(name_, id_, label_, type_, quantifier_, offset_, descriptor_, default_, flags_) \
    {                                                                                            \
        .name = (name_), .id = (id_), .label = PROTOBUF_C_LABEL_##label_,                        \
        .type = PROTOBUF_C_TYPE_##type_, .quantifier_offset = (unsigned)(quantifier_),           \
        .offset = (unsigned)(offset_), .descriptor = (descriptor_), .default_value = (default_), \
        .flags = (flags_),                                                                       \
    }
#define FIELD(name, id, type, in, at) \
    FIELD_OF(name, id, NONE, type, 0, offsetof(in, at), NULL, NULL, 0)
#define TEXT_FIELD(name, id, in, at) \
    FIELD_OF(name, id, NONE, STRING, 0, offsetof(in, at), NULL, protobuf_c_empty_string, 0)
#define MANY_FIELD(name, type, descriptor) \
    FIELD_OF(name, 1, REPEATED, type, offsetof(many, n), offsetof(many, items), descriptor, NULL, 0)
#define VALUE_FIELD(name, id, type, at, descriptor)                                        \
    FIELD_OF(name, id, NONE, type, offsetof(any_value, which), offsetof(any_value, is.at), \
             descriptor, NULL, PROTOBUF_C_FIELD_FLAG_ONEOF)

/* A type of `n` fields, numbered from 1, and how its message begins. */
#define TYPE_NAMED(id, full, tail, in, n, by_name, ...)                             \
    static const ProtobufCMessageDescriptor id##_type;                              \
    static void id##_init(ProtobufCMessage *message)                                \
    {                                                                               \
        *(in *)message = (in){ .base = { .descriptor = &id##_type }, __VA_ARGS__ }; \
    }                                                                               \
    static const ProtobufCIntRange id##_ranges[] = { { 1, 0 }, { 0, (n) } };        \
    static const ProtobufCMessageDescriptor id##_type = {                           \
        .magic = PROTOBUF_C__MESSAGE_DESCRIPTOR_MAGIC,                              \
        .name = full,                                                               \
        .short_name = tail,                                                         \
        .c_name = tail,                                                             \
        .package_name = "google.protobuf",                                          \
        .sizeof_message = sizeof(in),                                               \
        .n_fields = (n),                                                            \
        .fields = id##_fields,                                                      \
        .fields_sorted_by_name = (by_name),                                         \
        .n_field_ranges = (n) > 0 ? 1 : 0,                                          \
        .field_ranges = id##_ranges,                                                \
        .message_init = id##_init,                                                  \
    }
#define TYPE(id, tail, in, n, by_name, ...) \
    TYPE_NAMED(id, PREFIX tail, tail, in, n, by_name, __VA_ARGS__)

static const unsigned in_order[] = { 0, 1 }, turned[] = { 1, 0 };

#define moment_fields_of(id)                                \
    static const ProtobufCFieldDescriptor id##_fields[] = { \
        FIELD("seconds", 1, INT64, moment, seconds),        \
        FIELD("nanos", 2, INT32, moment, nanos),            \
    }
moment_fields_of(timestamp);
TYPE(timestamp, "Timestamp", moment, 2, turned, .seconds = 0);
moment_fields_of(duration);
TYPE(duration, "Duration", moment, 2, turned, .seconds = 0);

static const ProtobufCFieldDescriptor field_mask_fields[] = { MANY_FIELD("paths", STRING, NULL) };
TYPE(field_mask, "FieldMask", many, 1, in_order, .n = 0);

static const ProtobufCFieldDescriptor any_fields[] = {
    TEXT_FIELD("type_url", 1, any, type_url),
    FIELD("value", 2, BYTES, any, value),
};
TYPE(any, "Any", any, 2, in_order, .type_url = EMPTY_TEXT);

typedef struct nothing {
    ProtobufCMessage base;
} nothing;
#define empty_fields NULL
TYPE(empty, "Empty", nothing, 0, NULL, );

#define WRAPPER(id, tail, ctype, type)                      \
    typedef struct id {                                     \
        ProtobufCMessage base;                              \
        ctype value;                                        \
    } id;                                                   \
    static const ProtobufCFieldDescriptor id##_fields[] = { \
        FIELD("value", 1, type, id, value),                 \
    };                                                      \
    TYPE(id, tail, id, 1, in_order, )

WRAPPER(double_value, "DoubleValue", double, DOUBLE);
WRAPPER(float_value, "FloatValue", float, FLOAT);
WRAPPER(int64_value, "Int64Value", int64_t, INT64);
WRAPPER(uint64_value, "UInt64Value", uint64_t, UINT64);
WRAPPER(int32_value, "Int32Value", int32_t, INT32);
WRAPPER(uint32_value, "UInt32Value", uint32_t, UINT32);
WRAPPER(bool_value, "BoolValue", protobuf_c_boolean, BOOL);
WRAPPER(bytes_value, "BytesValue", ProtobufCBinaryData, BYTES);

typedef struct string_value {
    ProtobufCMessage base;
    char *value;
} string_value;
static const ProtobufCFieldDescriptor string_value_fields[] = {
    TEXT_FIELD("value", 1, string_value, value),
};
TYPE(string_value, "StringValue", string_value, 1, in_order, .value = EMPTY_TEXT);

static const ProtobufCEnumValue null_values[] = { { "NULL_VALUE", "NULL_VALUE", 0 } };
static const ProtobufCEnumValueIndex null_names[] = { { "NULL_VALUE", 0 } };
static const ProtobufCIntRange null_ranges[] = { { 0, 0 }, { 0, 1 } };
static const ProtobufCEnumDescriptor null_value_type = {
    .magic = PROTOBUF_C__ENUM_DESCRIPTOR_MAGIC,
    .name = PREFIX "NullValue",
    .short_name = "NullValue",
    .c_name = "NullValue",
    .package_name = "google.protobuf",
    .n_values = 1,
    .values = null_values,
    .n_value_names = 1,
    .values_by_name = null_names,
    .n_value_ranges = 1,
    .value_ranges = null_ranges,
};

static const ProtobufCMessageDescriptor struct_type, list_value_type, value_type, entry_type;
static const unsigned value_names[] = { 3, 5, 0, 1, 2, 4 };
static const ProtobufCFieldDescriptor value_fields[] = {
    VALUE_FIELD("null_value", 1, ENUM, null, &null_value_type),
    VALUE_FIELD("number_value", 2, DOUBLE, number, NULL),
    VALUE_FIELD("string_value", 3, STRING, string, NULL),
    VALUE_FIELD("bool_value", 4, BOOL, boolean, NULL),
    VALUE_FIELD("struct_value", 5, MESSAGE, message, &struct_type),
    VALUE_FIELD("list_value", 6, MESSAGE, message, &list_value_type),
};
TYPE(value, "Value", any_value, 6, value_names, .which = 0);

static const ProtobufCFieldDescriptor list_value_fields[] = {
    MANY_FIELD("values", MESSAGE, &value_type),
};
TYPE(list_value, "ListValue", many, 1, in_order, .n = 0);

static const ProtobufCFieldDescriptor entry_fields[] = {
    TEXT_FIELD("key", 1, entry, key),
    FIELD_OF("value", 2, NONE, MESSAGE, 0, offsetof(entry, value), &value_type, NULL, 0),
};
TYPE_NAMED(entry, PREFIX "Struct.FieldsEntry", "FieldsEntry", entry, 2, in_order,
           .key = EMPTY_TEXT);

static const ProtobufCFieldDescriptor struct_fields[] = {
    MANY_FIELD("fields", MESSAGE, &entry_type),
};
TYPE(struct, "Struct", many, 1, in_order, .n = 0);

static const ProtobufCMessageDescriptor *const own_types[] = {
    &timestamp_type,    &duration_type,    &field_mask_type,  &any_type,          &empty_type,
    &double_value_type, &float_value_type, &int64_value_type, &uint64_value_type, &int32_value_type,
    &uint32_value_type, &bool_value_type,  &bytes_value_type, &string_value_type, &value_type,
    &list_value_type,   &struct_type,
};

static const ProtobufCMessageDescriptor *find(const ProtobufCMessageDescriptor *const *types,
                                              size_t n, const char *name, size_t len)
{
    for (size_t i = 0; i < n; i++) {
        if (strncmp(types[i]->name, name, len) == 0 && types[i]->name[len] == '\0')
            return types[i];
    }
    return NULL;
}

const ProtobufCMessageDescriptor *wi_pbj_find_type(const weir_protobuf_types *types,
                                                   const char *url, size_t len)
{
    const char *slash = len == 0 ? NULL : memrchr(url, '/', len);
    if (slash == NULL || memchr(url, '\0', len) != NULL)
        return NULL;
    const char *name = slash + 1;
    size_t n = (size_t)(url + len - name);
    const ProtobufCMessageDescriptor *found = NULL;
    if (types != NULL)
        found = find(types->types, types->n, name, n);
    return found != NULL ? found : find(own_types, sizeof own_types / sizeof own_types[0], name, n);
}
