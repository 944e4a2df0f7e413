/* Unpacks messages into an arena, in one pass and without recursion, whatever the bytes. */
#include "protobuf_unpack.h"

#define BYTES_DEFAULT  (4 * 1024 * 1024)
#define FIELDS_DEFAULT (1024 * 1024)

const uint8_t *wi_unpack_refuse(wi_unpacker *u, weir_status status, const char *why)
{
    u->status = status;
    u->why = why;
    return NULL;
}

const uint8_t *wi_unpack_no_room(wi_unpacker *u, size_t bytes)
{
    if (bytes > u->arena->budget)
        return wi_unpack_refuse(u, WEIR_ELIMIT, "expands beyond the arena's budget");
    return wi_unpack_refuse(u, WEIR_ENOMEM, "out of memory");
}

const uint8_t *wi_varint_long(const uint8_t *at, const uint8_t *end, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (end - at > WI_LONG_VARINT_MAX)
        end = at + WI_LONG_VARINT_MAX;
    for (unsigned shift = 0; at < end; shift += 7) {
        uint8_t byte = *at++;
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80) {
            *ret_value = value;
            return at;
        }
    }
    return NULL;
}

/* ---- Messages ---- */

/* For descriptors that were not made by protoc-gen-c. */
static void init_by_fields(const ProtobufCMessageDescriptor *type, ProtobufCMessage *message)
{
    memset(message, 0, type->sizeof_message);
    message->descriptor = type;
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        char *member = (char *)message + field->offset;
        if (field->default_value == NULL || field->label == PROTOBUF_C_LABEL_REPEATED ||
            (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF))
            continue;
        if (wi_has_pointer(field->type))
            memcpy(member, &field->default_value, sizeof field->default_value);
        else
            memcpy(member, field->default_value, wi_bytes_of(field->type));
    }
}

static ProtobufCMessage *new_message(wi_unpacker *u, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = weir_arena_take(u->arena, type->sizeof_message);
    if (WI_RARELY(message == NULL))
        wi_unpack_no_room(u, type->sizeof_message);
    else if (WI_MOSTLY(type->message_init != NULL))
        type->message_init(message);
    else
        init_by_fields(type, message);
    return message;
}

/* Reads the length of a submessage, and goes on within it; `*slot` is it, or becomes it. */
static const uint8_t *enter(wi_unpacker *u, const uint8_t *at,
                            const ProtobufCMessageDescriptor *type, ProtobufCMessage **slot)
{
    size_t n;
    at = wi_unpack_length(u, at, &n);
    if (WI_RARELY(at == NULL))
        return NULL;
    if (WI_RARELY(u->depth >= u->depth_max))
        return wi_unpack_refuse(u, WEIR_ELIMIT, "nested too deep");
    if (WI_MOSTLY(*slot == NULL) && (*slot = new_message(u, type)) == NULL)
        return NULL;
    u->outer[u->depth++] = (wi_unpack_frame){ u->message, u->end, u->seen, u->seen_more };
    u->message = *slot;
    u->end = at + n;
    u->seen = 0;
    u->seen_more = NULL;
    return at;
}

static bool has_seen(const wi_unpacker *u, unsigned index)
{
    if (index < 64)
        return u->seen >> index & 1;
    return u->seen_more != NULL && u->seen_more[index / 8] >> (index % 8) & 1;
}

/* At the end of a message. Fields without label are proto3's, which has no required ones. */
WI_INLINE bool is_complete(wi_unpacker *u)
{
    const ProtobufCMessageDescriptor *type = u->message->descriptor;
    for (unsigned i = 0; i < type->n_fields && type->fields[i].label != PROTOBUF_C_LABEL_NONE;
         i++) {
        if (type->fields[i].label == PROTOBUF_C_LABEL_REQUIRED && !has_seen(u, i)) {
            wi_unpack_refuse(u, WEIR_EPROTO, "a required field is missing");
            return false;
        }
    }
    return true;
}

WI_INLINE void leave(wi_unpacker *u)
{
    const wi_unpack_frame *outer = &u->outer[--u->depth];
    u->message = outer->message;
    u->end = outer->end;
    u->seen = outer->seen;
    u->seen_more = outer->seen_more;
}

/* ---- Values ---- */

static const uint8_t *take_text(wi_unpacker *u, const uint8_t *at, char **ret_text)
{
    size_t n;
    at = wi_unpack_length(u, at, &n);
    if (WI_RARELY(at == NULL))
        return NULL;
    char *text = weir_arena_take(u->arena, n + 1);
    if (WI_RARELY(text == NULL))
        return wi_unpack_no_room(u, n + 1);
    if (WI_RARELY(!wi_unpack_text(text, at, n, u->input_end)))
        return wi_unpack_refuse(u, WEIR_EPROTO, "a string is not UTF-8, or has a NUL");
    *ret_text = text;
    return at + n;
}

static const uint8_t *take_bytes(wi_unpacker *u, const uint8_t *at, ProtobufCBinaryData *ret_bytes)
{
    size_t n;
    at = wi_unpack_length(u, at, &n);
    if (WI_RARELY(at == NULL))
        return NULL;
    uint8_t *data = n == 0 ? NULL : weir_arena_take(u->arena, n);
    if (n != 0 && data == NULL)
        return wi_unpack_no_room(u, n);
    if (n != 0)
        memcpy(data, at, n);
    *ret_bytes = (ProtobufCBinaryData){ n, data };
    return at + n;
}

static const uint8_t *take_varint(wi_unpacker *u, const uint8_t *at, ProtobufCType type,
                                  void *member)
{
    uint64_t value;
    at = wi_varint(at, u->end, &value);
    if (WI_RARELY(at == NULL))
        return wi_unpack_refuse(u, WEIR_EPROTO, "a varint is cut short or too long");
    switch (type) {
    case PROTOBUF_C_TYPE_SINT32:
        *(int32_t *)member = wi_unzigzag32((uint32_t)value);
        return at;
    case PROTOBUF_C_TYPE_SINT64:
        *(int64_t *)member = wi_unzigzag64(value);
        return at;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_UINT64:
        *(uint64_t *)member = value;
        return at;
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)member = value != 0;
        return at;
    default:
        *(uint32_t *)member = (uint32_t)value;
        return at;
    }
}

static const uint8_t *take_fixed(wi_unpacker *u, const uint8_t *at, size_t size, void *member)
{
    if (WI_RARELY((size_t)(u->end - at) < size))
        return wi_unpack_refuse(u, WEIR_EPROTO, "a value is cut short");
    if (size == 8)
        *(uint64_t *)member = wi_load64(at);
    else
        *(uint32_t *)member = wi_load32(at);
    return at + size;
}

/* Any value but a message. */
WI_INLINE const uint8_t *take_value(wi_unpacker *u, const uint8_t *at, ProtobufCType type,
                                    void *member)
{
    switch (wi_wire_of(type)) {
    case WI_WIRE_VARINT:
        return take_varint(u, at, type, member);
    case WI_WIRE_64BIT:
        return take_fixed(u, at, 8, member);
    case WI_WIRE_32BIT:
        return take_fixed(u, at, 4, member);
    default:
        return type == PROTOBUF_C_TYPE_STRING ? take_text(u, at, member)
                                              : take_bytes(u, at, member);
    }
}

/* ---- Fields ---- */

static const ProtobufCFieldDescriptor *search(const ProtobufCMessageDescriptor *type, uint32_t id)
{
    unsigned from = 0, n = type->n_field_ranges;
    while (n > 1) { /* the last range that does not start behind it */
        unsigned half = n / 2;
        bool behind = (uint32_t)type->field_ranges[from + half].start_value <= id;
        from = behind ? from + half : from;
        n = behind ? n - half : half;
    }
    if (n == 0 || id < (uint32_t)type->field_ranges[from].start_value)
        return NULL;
    const ProtobufCIntRange *range = &type->field_ranges[from];
    uint32_t index = range->orig_index + (id - (uint32_t)range->start_value);
    return index < range[1].orig_index ? &type->fields[index] : NULL;
}

WI_INLINE const ProtobufCFieldDescriptor *find(const ProtobufCMessageDescriptor *type, uint32_t id)
{
    if (WI_RARELY(type->n_field_ranges != 1))
        return search(type, id);
    uint32_t index = id - (uint32_t)type->field_ranges[0].start_value;
    return WI_MOSTLY(index < type->n_fields) ? &type->fields[index] : NULL;
}

/* Remembers that a required field is there. */
static bool note_required(wi_unpacker *u, const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *type = u->message->descriptor;
    size_t index = (size_t)(field - type->fields), bytes = type->n_fields / 8 + 1;
    if (index < 64) {
        u->seen |= UINT64_C(1) << index;
        return true;
    }
    if (u->seen_more == NULL) {
        u->seen_more = weir_arena_take(u->arena, bytes);
        if (u->seen_more == NULL) {
            wi_unpack_no_room(u, bytes);
            return false;
        }
        memset(u->seen_more, 0, bytes);
    }
    u->seen_more[index / 8] |= (uint8_t)(1 << (index % 8));
    return true;
}

static const uint8_t *take_singular(wi_unpacker *u, const uint8_t *at,
                                    const ProtobufCFieldDescriptor *field)
{
    char *message = (char *)u->message;
    void *member = message + field->offset;
    /* `has_…` of proto2, or a oneof's case; 0: it has none. */
    uint32_t *presence = (uint32_t *)(void *)(message + field->quantifier_offset);
    uint32_t present = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF ? field->id : 1;
    bool counted = field->quantifier_offset != 0;

    if (WI_RARELY(field->label == PROTOBUF_C_LABEL_REQUIRED) && !note_required(u, field))
        return NULL;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        ProtobufCMessage **slot = member;
        if (counted && *presence != present) /* another member of the oneof was there */
            *slot = NULL;
        at = enter(u, at, field->descriptor, slot);
    } else {
        at = take_value(u, at, field->type, member);
    }
    if (counted && WI_MOSTLY(at != NULL))
        *presence = present;
    return at;
}

/* `start` is at the tag, `at` behind it. */
static const uint8_t *take_element(wi_unpacker *u, const uint8_t *start, const uint8_t *at,
                                   const ProtobufCFieldDescriptor *field, unsigned wire)
{
    size_t *n = (size_t *)(void *)((char *)u->message + field->quantifier_offset);
    void **array = (void **)(void *)((char *)u->message + field->offset);
    size_t size = wi_bytes_of(field->type);
    if (!wi_unpack_has_room(*array, *n) &&
        wi_unpack_room(u, array, *n, wi_unpack_run(u, start, at, wire), size) == NULL)
        return NULL;
    void *member = (char *)*array + *n * size;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        at = take_value(u, at, field->type, member);
        *n += at != NULL;
        return at;
    }
    *(ProtobufCMessage **)member = NULL;
    ++*n;
    return enter(u, at, field->descriptor, member);
}

WI_INLINE const uint8_t *take_field(wi_unpacker *u, const uint8_t *start)
{
    uint32_t tag;
    const uint8_t *at = wi_unpack_tag(u, start, &tag);
    if (WI_RARELY(at == NULL))
        return NULL;
    const ProtobufCFieldDescriptor *field = find(u->message->descriptor, tag >> 3);
    unsigned wire = tag & 7;
    if (WI_RARELY(field == NULL))
        return wi_unpack_unknown(u, at, tag);
    if (WI_MOSTLY(wire == wi_wire_of(field->type)))
        return field->label == PROTOBUF_C_LABEL_REPEATED ? take_element(u, start, at, field, wire)
                                                         : take_singular(u, at, field);
    if (field->label == PROTOBUF_C_LABEL_REPEATED && wire == WI_WIRE_BYTES)
        return wi_unpack_packed(u, field, at);
    return wi_unpack_unknown(u, at, tag);
}

static bool take_all(wi_unpacker *u, const uint8_t *at)
{
    for (;;) {
        while (at < u->end)
            if ((at = take_field(u, at)) == NULL)
                return false;
        if (WI_RARELY(!is_complete(u)))
            return false;
        if (u->depth == 0)
            return true;
        leave(u);
    }
}

weir_status weir_protobuf_unpack(const ProtobufCMessageDescriptor *type, const void *bytes,
                                 size_t n, const weir_protobuf_limits *limits, weir_arena *arena,
                                 ProtobufCMessage **ret_message, const char **ret_why)
{
    static const weir_protobuf_limits defaults;
    limits = limits == NULL ? &defaults : limits;
    uint32_t bytes_max = limits->bytes_max == 0 ? BYTES_DEFAULT : limits->bytes_max;

    wi_unpacker u; /* its frames are set as they are used */
    u.seen = 0;
    u.seen_more = NULL;
    u.arena = arena;
    u.fields_left = limits->fields_max == 0 ? FIELDS_DEFAULT : limits->fields_max;
    u.depth = 0;
    u.depth_max = limits->depth_max == 0 ? WI_DEPTH_MAX : limits->depth_max;
    u.keep_unknown = limits->keep_unknown;
    u.end = u.input_end = n == 0 ? NULL : (const uint8_t *)bytes + n;
    if (u.depth_max > WI_DEPTH_MAX)
        wi_unpack_refuse(&u, WEIR_EINVAL, "depth_max is over 100");
    else if (n > bytes_max && bytes_max != UINT32_MAX)
        wi_unpack_refuse(&u, WEIR_ELIMIT, "longer than bytes_max");
    else {
        ProtobufCMessage *message = u.message = new_message(&u, type);
        if (message != NULL && take_all(&u, n == 0 ? NULL : bytes)) {
            *ret_message = message;
            return WEIR_OK;
        }
    }
    if (ret_why != NULL)
        *ret_why = u.why;
    return u.status;
}
