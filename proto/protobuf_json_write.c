/* The JSON of messages: one loop, with the messages that are open on an explicit stack. */
#include "protobuf_json_internal.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* What of the open message comes next. */
typedef enum mode {
    FIELDS,   /* the field at `next` */
    ELEMENTS, /* the element at `element` of `field`, a repeated message */
    ENTRIES,  /* the same, a map */
    IN_ANY    /* the "value" of an Any, or its end */
} mode;

typedef struct frame {
    const ProtobufCMessage *message;
    const ProtobufCFieldDescriptor *field;
    size_t element;
    uint32_t next;
    uint8_t mode;
    uint8_t back; /* the mode after ELEMENTS and ENTRIES; ELEMENTS: there is none */
    uint8_t depth;
} frame;

typedef struct writing {
    wi_pbj_sink sink;
    const weir_protobuf_json_options *options;
    uint32_t depth_max;
    uint32_t n;
    bool has_arena;
    weir_arena arena;                   /* for what an Any holds */
    frame frames[WI_PBJ_DEPTH_CAP + 2]; /* one more, as when reading: an Any's object and value */
    char first[1024];                   /* of the arena */
} writing;

static void refuse(writing *w, const char *why)
{
    wi_pbj_fail(&w->sink, WEIR_EINVAL, why);
}

static bool is_over(const writing *w)
{
    return w->sink.status != WEIR_OK;
}

static frame *push(writing *w, const ProtobufCMessage *message, uint32_t depth, mode m)
{
    assert(w->n < sizeof w->frames / sizeof w->frames[0]);
    frame *f = &w->frames[w->n++];
    *f = (frame){ .message = message, .mode = (uint8_t)m, .depth = (uint8_t)depth };
    f->back = ELEMENTS;
    return f;
}

/* A Struct or a ListValue: its one field is its elements. */
static void push_repeated(writing *w, const ProtobufCMessage *message, uint32_t depth, bool is_map)
{
    wi_pbj_open(&w->sink, is_map ? '{' : '[');
    frame *f = push(w, message, depth, is_map ? ENTRIES : ELEMENTS);
    f->field = &message->descriptor->fields[0];
}

static weir_arena *arena_of(writing *w)
{
    if (!w->has_arena)
        weir_arena_init(&w->arena, w->sink.bytes->env, w->first, sizeof w->first, 0);
    w->has_arena = true;
    return &w->arena;
}

/* What a pointer to no message stands for. */
static const ProtobufCMessage *absent(writing *w, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *message = weir_arena_take(arena_of(w), type->sizeof_message);
    if (message == NULL)
        wi_pbj_fail(&w->sink, WEIR_ENOMEM, "no memory");
    else
        wi_pbj_init(message, type);
    return message;
}

/* ---- Messages with a form of their own ---- */

/* Unpacks what an Any holds. NULL: failed. */
static ProtobufCMessage *unpack_any(writing *w, const char *url, const ProtobufCBinaryData *data)
{
    const ProtobufCMessageDescriptor *type = wi_pbj_find_type(w->options->types, url, strlen(url));
    ProtobufCMessage *message;
    const char *why = "";
    if (type == NULL) {
        refuse(w, "an Any of an unknown type");
        return NULL;
    }
    weir_protobuf_limits limits = w->options->limits;
    limits.bytes_max = UINT32_MAX;
    limits.keep_unknown = false;
    weir_status status = weir_protobuf_unpack(type, data->data, data->len, &limits, arena_of(w),
                                              &message, &why);
    if (status == WEIR_OK)
        return message;
    wi_pbj_fail(&w->sink, status == WEIR_EPROTO ? WEIR_EINVAL : status, why);
    return NULL;
}

static void write_any(writing *w, const ProtobufCMessage *any, uint32_t depth)
{
    const ProtobufCFieldDescriptor *fields = any->descriptor->fields;
    const char *url = *(char **)wi_pbj_member(any, &fields[0]);
    const ProtobufCBinaryData *data = wi_pbj_member(any, &fields[1]);
    if (url == NULL)
        url = "";
    wi_pbj_open(&w->sink, '{');
    if (*url == '\0' && data->len == 0) {
        wi_pbj_close(&w->sink, '}');
        return;
    }
    if (depth >= w->depth_max) {
        wi_pbj_fail(&w->sink, WEIR_ELIMIT, "nested too deep");
        return;
    }
    ProtobufCMessage *message = unpack_any(w, url, data);
    if (message == NULL)
        return;
    wi_pbj_put_name(&w->sink, "@type", true);
    wi_pbj_put_string(&w->sink, url, strlen(url));
    wi_pbj_kind kind = wi_pbj_kind_of(message->descriptor);
    push(w, message, depth + 1, kind == WI_PBJ_PLAIN || kind == WI_PBJ_EMPTY ? FIELDS : IN_ANY);
}

/* A Value's Struct or ListValue. */
static void write_nested(writing *w, const ProtobufCFieldDescriptor *field,
                         const ProtobufCMessage *message, uint32_t depth)
{
    bool is_map = field->id == WI_PBJ_OBJECT;
    if (depth > w->depth_max)
        wi_pbj_fail(&w->sink, WEIR_ELIMIT, "nested too deep");
    else if (wi_pbj_kind_of(field->descriptor) != (is_map ? WI_PBJ_STRUCT : WI_PBJ_LIST_VALUE))
        refuse(w, "a Value of an unknown shape");
    if (!is_over(w) && message == NULL)
        message = absent(w, field->descriptor);
    if (!is_over(w))
        push_repeated(w, message, depth, is_map);
}

static void write_value(writing *w, const ProtobufCMessage *message, uint32_t depth)
{
    const ProtobufCFieldDescriptor *fields = message->descriptor->fields;
    uint32_t which = *(uint32_t *)wi_pbj_quantifier(message, &fields[0]);
    if (which == 0 || which > WI_PBJ_LIST) {
        refuse(w, "a Value without a value");
        return;
    }
    const ProtobufCFieldDescriptor *field = &fields[which - 1];
    const void *slot = wi_pbj_member(message, field);
    if (which >= WI_PBJ_OBJECT)
        write_nested(w, field, *(ProtobufCMessage *const *)slot, depth + 1);
    else if (which == WI_PBJ_NUMBER && !isfinite(*(const double *)slot))
        refuse(w, "a Value's number is not finite");
    else
        wi_pbj_put_scalar(&w->sink, field, slot, false);
}

/* Writes a message that is one token whole; of another it opens the object or array. */
static void write_message(writing *w, const ProtobufCMessage *message, uint32_t depth)
{
    wi_pbj_kind kind = wi_pbj_kind_of(message->descriptor);
    switch (kind) {
    case WI_PBJ_TIMESTAMP:
    case WI_PBJ_DURATION:
    case WI_PBJ_FIELD_MASK:
        wi_pbj_put_time(&w->sink, kind, message);
        return;
    case WI_PBJ_WRAPPER:
        wi_pbj_put_scalar(&w->sink, &message->descriptor->fields[0],
                          wi_pbj_member(message, &message->descriptor->fields[0]), false);
        return;
    case WI_PBJ_VALUE:
        write_value(w, message, depth);
        return;
    case WI_PBJ_STRUCT:
    case WI_PBJ_LIST_VALUE:
        push_repeated(w, message, depth, kind == WI_PBJ_STRUCT);
        return;
    case WI_PBJ_ANY:
        write_any(w, message, depth);
        return;
    case WI_PBJ_PLAIN:
    case WI_PBJ_EMPTY:
        break;
    }
    wi_pbj_open(&w->sink, '{');
    push(w, message, depth, FIELDS);
}

/* A message within another. */
static void write_inner(writing *w, const ProtobufCFieldDescriptor *field,
                        const ProtobufCMessage *message, uint32_t depth)
{
    if (depth > w->depth_max)
        wi_pbj_fail(&w->sink, WEIR_ELIMIT, "nested too deep");
    else if (message == NULL)
        message = absent(w, field->descriptor);
    if (!is_over(w))
        write_message(w, message, depth);
}

/* ---- Fields ---- */

static bool is_zero(const ProtobufCFieldDescriptor *field, const void *slot)
{
    static const char zeros[8];
    const char *text;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        text = *(char *const *)slot;
        return text == NULL || *text == '\0';
    case PROTOBUF_C_TYPE_BYTES:
        return ((const ProtobufCBinaryData *)slot)->len == 0 ||
               ((const ProtobufCBinaryData *)slot)->data == NULL;
    default: /* -0 is not zero: its bits are not */
        return memcmp(slot, zeros, wi_pbj_member_bytes(field->type)) == 0;
    }
}

/* Whether a field that is not repeated is written. */
static bool is_there(const writing *w, const ProtobufCMessage *message,
                     const ProtobufCFieldDescriptor *field)
{
    const void *slot = wi_pbj_member(message, field);
    bool is_pointer = field->type == PROTOBUF_C_TYPE_STRING ||
                      field->type == PROTOBUF_C_TYPE_MESSAGE;
    if (wi_pbj_in_oneof(field))
        return *(uint32_t *)wi_pbj_quantifier(message, field) == field->id &&
               !(is_pointer && *(void *const *)slot == NULL);
    if (field->label == PROTOBUF_C_LABEL_REQUIRED)
        return true;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)slot != NULL;
    if (field->label != PROTOBUF_C_LABEL_OPTIONAL)
        return w->options->emit_defaults || !is_zero(field, slot);
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return *(void *const *)slot != NULL && *(void *const *)slot != field->default_value;
    return *(protobuf_c_boolean *)wi_pbj_quantifier(message, field) != 0;
}

static void write_elements(writing *w, const ProtobufCFieldDescriptor *field, const char *items,
                           size_t n)
{
    size_t bytes = wi_pbj_member_bytes(field->type);
    wi_pbj_open(&w->sink, '[');
    for (size_t i = 0; i < n && !is_over(w); i++)
        wi_pbj_put_scalar(&w->sink, field, items + i * bytes, w->options->enums_as_numbers);
    wi_pbj_close(&w->sink, ']');
}

static void write_repeated(writing *w, frame *f, const ProtobufCFieldDescriptor *field)
{
    size_t n = *(size_t *)wi_pbj_quantifier(f->message, field);
    if (n == 0 && !w->options->emit_defaults)
        return;
    wi_pbj_put_field_name(&w->sink, field, w->options->proto_names);
    if (field->type != PROTOBUF_C_TYPE_MESSAGE) {
        write_elements(w, field, *(char **)wi_pbj_member(f->message, field), n);
        return;
    }
    bool is_map = wi_pbj_is_map(f->message->descriptor, field);
    wi_pbj_open(&w->sink, is_map ? '{' : '[');
    f->back = FIELDS;
    f->mode = is_map ? ENTRIES : ELEMENTS;
    f->field = field;
    f->element = 0;
}

/* Writes fields as long as they open nothing. */
static void write_fields(writing *w, frame *f)
{
    const ProtobufCMessageDescriptor *type = f->message->descriptor;
    uint32_t n = w->n;
    while (f->next < type->n_fields && w->n == n && f->mode == FIELDS && !is_over(w)) {
        const ProtobufCFieldDescriptor *field = &type->fields[f->next++];
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            write_repeated(w, f, field);
            continue;
        }
        if (!is_there(w, f->message, field))
            continue;
        const void *slot = wi_pbj_member(f->message, field);
        wi_pbj_put_field_name(&w->sink, field, w->options->proto_names);
        if (field->type == PROTOBUF_C_TYPE_MESSAGE)
            write_inner(w, field, *(ProtobufCMessage *const *)slot, f->depth + 1u);
        else
            wi_pbj_put_scalar(&w->sink, field, slot, w->options->enums_as_numbers);
    }
    if (f->next == type->n_fields && w->n == n && f->mode == FIELDS) {
        wi_pbj_close(&w->sink, '}');
        w->n--;
    }
}

static void write_entry(writing *w, const frame *f, const ProtobufCMessage *entry)
{
    if (entry == NULL)
        entry = absent(w, f->field->descriptor);
    if (is_over(w))
        return;
    const ProtobufCFieldDescriptor *fields = entry->descriptor->fields;
    const void *slot = wi_pbj_member(entry, &fields[1]);
    wi_pbj_put_key(&w->sink, &fields[0], wi_pbj_member(entry, &fields[0]));
    if (f->depth + 1u > w->depth_max)
        wi_pbj_fail(&w->sink, WEIR_ELIMIT, "nested too deep");
    else if (fields[1].type == PROTOBUF_C_TYPE_MESSAGE)
        write_inner(w, &fields[1], *(ProtobufCMessage *const *)slot, f->depth + 2u);
    else
        wi_pbj_put_scalar(&w->sink, &fields[1], slot, w->options->enums_as_numbers);
}

/* The next element of a repeated message, or of a map, or the end of them. */
static void write_element(writing *w, frame *f)
{
    ProtobufCMessage *const *items = *(ProtobufCMessage ***)wi_pbj_member(f->message, f->field);
    bool is_map = f->mode == ENTRIES;
    if (f->element == *(size_t *)wi_pbj_quantifier(f->message, f->field)) {
        wi_pbj_close(&w->sink, is_map ? '}' : ']');
        if (f->back == FIELDS)
            f->mode = FIELDS;
        else
            w->n--;
        return;
    }
    const ProtobufCMessage *item = items[f->element++];
    if (is_map)
        write_entry(w, f, item);
    else
        write_inner(w, f->field, item, f->depth + 1u);
}

static void write_in_any(writing *w, frame *f)
{
    if (f->element++ == 0) {
        wi_pbj_put_name(&w->sink, "value", true);
        write_message(w, f->message, f->depth);
        return;
    }
    wi_pbj_close(&w->sink, '}');
    w->n--;
}

/* ---- The whole ---- */

static void step(writing *w)
{
    frame *f = &w->frames[w->n - 1];
    switch ((mode)f->mode) {
    case FIELDS:
        write_fields(w, f);
        break;
    case ELEMENTS:
    case ENTRIES:
        write_element(w, f);
        break;
    case IN_ANY:
        write_in_any(w, f);
        break;
    }
}

weir_status weir_protobuf_to_json(const ProtobufCMessage *message,
                                  const weir_protobuf_json_options *options, weir_bytes *buffer,
                                  const char **ret_why)
{
    static const weir_protobuf_json_options none;
    writing w; /* 6 KiB, of which only what is used is touched */
    size_t before = buffer->len;
    w.options = options != NULL ? options : &none;
    w.sink = (wi_pbj_sink){ .bytes = buffer, .status = WEIR_OK };
    uint32_t depth_max = w.options->limits.depth_max;
    w.depth_max = depth_max == 0 || depth_max > WI_PBJ_DEPTH_CAP ? WI_PBJ_DEPTH_CAP : depth_max;
    w.n = 0;
    w.has_arena = false;
    write_message(&w, message, 0);
    while (w.n > 0 && !is_over(&w))
        step(&w);
    if (w.has_arena)
        weir_arena_done(&w.arena);
    if (!is_over(&w))
        return WEIR_OK;
    buffer->len = before;
    if (ret_why != NULL)
        *ret_why = w.sink.why;
    return w.sink.status;
}
