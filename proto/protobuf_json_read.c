/* Messages from their JSON: one loop over the reader's tokens, with the messages that are open on
 * an explicit stack. */
#include "protobuf_json_internal.h"

#include "json_text.h"

#include <assert.h>
#include <string.h>

#define FIELDS_DEFAULT (1u << 20)
#define BYTES_DEFAULT  (4u << 20)
#define NONE           UINT32_MAX

/* What the open message waits for. */
typedef enum mode {
    FIELDS,   /* an object: names of fields */
    ELEMENTS, /* an array: elements of `field` */
    ENTRIES,  /* an object: keys of the map `field` */
    IN_ANY    /* an object: "@type" and "value", of an Any that holds a well-known type */
} mode;

typedef struct frame {
    ProtobufCMessage *message;
    const ProtobufCFieldDescriptor *field; /* repeated, the one that is being read */
    char *items;                           /* its elements */
    size_t n, cap;
    uint64_t few_seen;     /* a bit for each field that was there */
    uint64_t *seen;        /* the same */
    ProtobufCMessage *any; /* the Any that holds the message */
    uint32_t next;         /* the field that is likely next */
    uint8_t mode;
    uint8_t
        back; /* the mode after the repeated field; ELEMENTS: there is none, the message is over */
    uint8_t depth; /* messages around this one */
    bool has_type; /* the Any's "@type" was there */
} frame;

typedef struct reading {
    wi_pbj_source source;
    uint32_t depth_max;
    uint32_t n;
    ProtobufCMessage *root;
    /* A message has one frame, but one in an Any may have two: the Any's object and its own value.
     * Within that there are no more Anys. */
    frame frames[WI_PBJ_DEPTH_CAP + 2];
} reading;

static weir_status refuse(reading *r, const char *why)
{
    return wi_pbj_refuse(&r->source, WEIR_EPROTO, why);
}

/* The status and the reason of the text's being no JSON. */
static weir_status no_json(reading *r)
{
    weir_status status = r->source.json.status;
    return wi_pbj_refuse(&r->source, status == WEIR_EPARTIAL ? WEIR_EPROTO : status,
                         r->source.json.error);
}

static weir_status next(reading *r, weir_json_token *token)
{
    return weir_json_next(&r->source.json, token) == WEIR_OK ? WEIR_OK : no_json(r);
}

static weir_status skip(reading *r)
{
    return weir_json_skip(&r->source.json) == WEIR_OK ? WEIR_OK : no_json(r);
}

/* Each field and each element counts. */
static weir_status count(reading *r)
{
    if (r->source.fields_left == 0)
        return wi_pbj_refuse(&r->source, WEIR_ELIMIT, "too many fields");
    r->source.fields_left--;
    return WEIR_OK;
}

static ProtobufCMessage *new_message(reading *r, const ProtobufCMessageDescriptor *type,
                                     weir_status *ret_status)
{
    ProtobufCMessage *message = wi_pbj_take(&r->source, type->sizeof_message, ret_status);
    if (message == NULL)
        return NULL;
    wi_pbj_init(message, type);
    return message;
}

/* ---- Opening messages ---- */

/* NULL: no memory for it. */
static frame *push(reading *r, ProtobufCMessage *message, uint32_t depth, mode m,
                   weir_status *ret_status)
{
    unsigned n = message->descriptor->n_fields;
    assert(r->n < sizeof r->frames / sizeof r->frames[0]);
    frame *f = &r->frames[r->n++];
    *f = (frame){ .message = message, .mode = (uint8_t)m, .depth = (uint8_t)depth };
    f->back = ELEMENTS;
    f->seen = &f->few_seen;
    if (n > 64) {
        size_t bytes = (n + 63) / 64 * sizeof *f->seen;
        f->seen = wi_pbj_take(&r->source, bytes, ret_status);
        if (f->seen == NULL)
            return NULL;
        memset(f->seen, 0, bytes);
    }
    return f;
}

static weir_status push_repeated(reading *r, ProtobufCMessage *message, uint32_t depth, mode m)
{
    weir_status status = WEIR_OK;
    frame *f = push(r, message, depth, m, &status);
    if (f != NULL)
        f->field = &message->descriptor->fields[0];
    return status;
}

/* Finds the "@type" of the Any that begins with `brace`, wherever in it that stands. */
__attribute__((noinline)) static weir_status find_type(reading *r, const char *brace,
                                                       weir_json_token *ret_type)
{
    weir_json_reader ahead;
    weir_json_token token;
    weir_json_limits limits = r->source.json.limits;
    size_t left = (size_t)((const char *)r->source.json.end - brace);
    weir_status status = weir_json_open(&ahead, brace, left, &limits);
    if (status == WEIR_OK)
        status = weir_json_next(&ahead, &token);
    for (size_t n = 0; status == WEIR_OK; n++) {
        status = weir_json_next(&ahead, &token);
        if (status != WEIR_OK)
            break;
        if (token.kind == WEIR_JSON_END_OBJECT) {
            ret_type->kind = WEIR_JSON_NULL;
            return n == 0 ? WEIR_OK : refuse(r, "an Any without @type");
        }
        if (weir_json_equals(&token, "@type"))
            return weir_json_next(&ahead, ret_type) == WEIR_OK ? WEIR_OK
                                                               : refuse(r, "a malformed @type");
        status = weir_json_skip(&ahead);
    }
    return wi_pbj_refuse(&r->source, status == WEIR_EPARTIAL ? WEIR_EPROTO : status, ahead.error);
}

/* Opens what an Any holds. */
static weir_status push_any(reading *r, ProtobufCMessage *any, uint32_t depth,
                            const weir_json_token *brace)
{
    weir_json_token type;
    weir_status status = find_type(r, brace->text, &type);
    if (status != WEIR_OK)
        return status;
    if (type.kind == WEIR_JSON_NULL) { /* an empty one; its end is all that follows */
        (void)push(r, any, depth, IN_ANY, &status);
        return status;
    }
    if (type.kind != WEIR_JSON_STRING)
        return refuse(r, "a @type is no string");
    if (depth >= r->depth_max)
        return wi_pbj_refuse(&r->source, WEIR_ELIMIT, "nested too deep");
    const ProtobufCFieldDescriptor *url_field = &any->descriptor->fields[0];
    char *url;
    bool skipped;
    status = wi_pbj_read_scalar(&r->source, url_field, &type, &url, &skipped);
    if (status != WEIR_OK)
        return status;
    const ProtobufCMessageDescriptor *inner = wi_pbj_find_type(r->source.options->types, url,
                                                               strlen(url));
    if (inner == NULL)
        return refuse(r, "an Any of an unknown type");
    *(char **)wi_pbj_member(any, url_field) = url;
    wi_pbj_mark(any, url_field);
    wi_pbj_kind kind = wi_pbj_kind_of(inner);
    ProtobufCMessage *message = new_message(r, inner, &status);
    if (message == NULL)
        return status;
    bool is_plain = kind == WI_PBJ_PLAIN;
    frame *f = push(r, message, depth + 1, is_plain ? FIELDS : IN_ANY, &status);
    if (f != NULL)
        f->any = any;
    return status;
}

static weir_status read_into(reading *r, ProtobufCMessage *message, uint32_t depth,
                             const weir_json_token *token);

/* The member of a Value that a token is for. */
static unsigned variant(weir_json_kind kind)
{
    switch (kind) {
    case WEIR_JSON_NULL:
        return WI_PBJ_NULL;
    case WEIR_JSON_NUMBER:
        return WI_PBJ_NUMBER;
    case WEIR_JSON_STRING:
        return WI_PBJ_STRING;
    case WEIR_JSON_BEGIN_OBJECT:
        return WI_PBJ_OBJECT;
    case WEIR_JSON_BEGIN_ARRAY:
        return WI_PBJ_LIST;
    default:
        return WI_PBJ_BOOL;
    }
}

/* A message within another: makes it and begins to read it. */
static weir_status read_message(reading *r, const ProtobufCMessageDescriptor *type, uint32_t depth,
                                const weir_json_token *token, void *slot)
{
    weir_status status = WEIR_OK;
    if (depth > r->depth_max)
        return wi_pbj_refuse(&r->source, WEIR_ELIMIT, "nested too deep");
    ProtobufCMessage *message = new_message(r, type, &status);
    if (message == NULL)
        return status;
    *(ProtobufCMessage **)slot = message;
    return read_into(r, message, depth, token);
}

/* A Value's Struct or ListValue. Not by way of read_message, which would make that recursive. */
static weir_status read_nested(reading *r, const ProtobufCFieldDescriptor *field, uint32_t depth,
                               void *slot)
{
    weir_status status = WEIR_OK;
    bool is_list = field->id == WI_PBJ_LIST;
    if (depth > r->depth_max)
        return wi_pbj_refuse(&r->source, WEIR_ELIMIT, "nested too deep");
    if (wi_pbj_kind_of(field->descriptor) != (is_list ? WI_PBJ_LIST_VALUE : WI_PBJ_STRUCT))
        return wi_pbj_refuse(&r->source, WEIR_EINVAL, "a Value of an unknown shape");
    ProtobufCMessage *message = new_message(r, field->descriptor, &status);
    if (message == NULL)
        return status;
    *(ProtobufCMessage **)slot = message;
    return push_repeated(r, message, depth, is_list ? ELEMENTS : ENTRIES);
}

static weir_status read_value(reading *r, ProtobufCMessage *message, uint32_t depth,
                              const weir_json_token *token)
{
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[variant(token->kind) - 1];
    void *slot = wi_pbj_member(message, field);
    bool skipped;
    wi_pbj_mark(message, field);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return read_nested(r, field, depth + 1, slot);
    if (token->kind == WEIR_JSON_NULL) {
        *(int32_t *)slot = 0;
        return WEIR_OK;
    }
    return wi_pbj_read_scalar(&r->source, field, token, slot, &skipped);
}

static weir_status read_wrapper(reading *r, ProtobufCMessage *message, const weir_json_token *token)
{
    const ProtobufCFieldDescriptor *field = &message->descriptor->fields[0];
    bool skipped;
    wi_pbj_mark(message, field);
    return wi_pbj_read_scalar(&r->source, field, token, wi_pbj_member(message, field), &skipped);
}

/* Reads a message that is one token whole; of another it reads the beginning and opens it. */
static weir_status read_into(reading *r, ProtobufCMessage *message, uint32_t depth,
                             const weir_json_token *token)
{
    wi_pbj_kind kind = wi_pbj_kind_of(message->descriptor);
    weir_status status = WEIR_OK;
    switch (kind) {
    case WI_PBJ_TIMESTAMP:
    case WI_PBJ_DURATION:
    case WI_PBJ_FIELD_MASK:
        return wi_pbj_read_time(&r->source, kind, token, message);
    case WI_PBJ_WRAPPER:
        return read_wrapper(r, message, token);
    case WI_PBJ_VALUE:
        return read_value(r, message, depth, token);
    case WI_PBJ_LIST_VALUE:
        if (token->kind != WEIR_JSON_BEGIN_ARRAY)
            return refuse(r, "an array was expected");
        return push_repeated(r, message, depth, ELEMENTS);
    case WI_PBJ_STRUCT:
    case WI_PBJ_ANY:
    case WI_PBJ_PLAIN:
    case WI_PBJ_EMPTY:
        break;
    }
    if (token->kind != WEIR_JSON_BEGIN_OBJECT)
        return refuse(r, "an object was expected");
    if (kind == WI_PBJ_STRUCT)
        return push_repeated(r, message, depth, ENTRIES);
    if (kind == WI_PBJ_ANY)
        return push_any(r, message, depth, token);
    (void)push(r, message, depth, FIELDS, &status);
    return status;
}

/* ---- Fields ---- */

static bool is_same(const char *key, size_t len, const char *name)
{
    return strncmp(key, name, len) == 0 && name[len] == '\0';
}

/* Of a key without escapes. */
static bool is_name(const char *key, size_t len, const ProtobufCFieldDescriptor *field)
{
    const char *own = wi_pbj_json_name(field);
    return (own != NULL ? is_same(key, len, own)
                        : wi_pbj_camel(key, len, field->name, false) == len) ||
           is_same(key, len, field->name);
}

/* The index of a field of this name, either of its two; NONE: unknown. Fields mostly come in their
 * order, so the search begins behind the last one. */
static uint32_t find_field(frame *f, const char *key, size_t len)
{
    const ProtobufCMessageDescriptor *type = f->message->descriptor;
    uint32_t n = type->n_fields, at = f->next;
    if (memchr(key, '\0', len) != NULL)
        return NONE;
    for (uint32_t i = 0; i < n; i++, at++) {
        if (at >= n)
            at = 0;
        if (is_name(key, len, &type->fields[at])) {
            f->next = at + 1;
            return at;
        }
    }
    return NONE;
}

/* A name that no field has: its value is of no interest, unless it is the Any's own. */
static weir_status unknown_field(reading *r, frame *f, const weir_json_token *key)
{
    if (f->any != NULL && weir_json_equals(key, "@type")) {
        if (f->has_type)
            return refuse(r, "an Any has @type twice");
        f->has_type = true;
        return skip(r);
    }
    return r->source.options->refuse_unknown ? refuse(r, "an unknown field") : skip(r);
}

static weir_status begin_repeated(reading *r, frame *f, const ProtobufCFieldDescriptor *field,
                                  const weir_json_token *token)
{
    bool is_map = wi_pbj_is_map(f->message->descriptor, field);
    if (token->kind != (is_map ? WEIR_JSON_BEGIN_OBJECT : WEIR_JSON_BEGIN_ARRAY))
        return refuse(r, is_map ? "an object was expected" : "an array was expected");
    f->back = FIELDS;
    f->mode = is_map ? ENTRIES : ELEMENTS;
    f->field = field;
    f->items = NULL;
    f->n = f->cap = 0;
    return WEIR_OK;
}

/* The first value of a oneof is the only one. */
static weir_status check_oneof(reading *r, const frame *f, const ProtobufCFieldDescriptor *field)
{
    if (wi_pbj_in_oneof(field) && *(uint32_t *)wi_pbj_quantifier(f->message, field) != 0)
        return refuse(r, "two fields of one oneof");
    return WEIR_OK;
}

static weir_status read_field_value(reading *r, frame *f, const ProtobufCFieldDescriptor *field,
                                    const weir_json_token *token)
{
    void *slot = wi_pbj_member(f->message, field);
    bool skipped = false;
    weir_status status = check_oneof(r, f, field);
    if (status != WEIR_OK)
        return status;
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return begin_repeated(r, f, field, token);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        wi_pbj_mark(f->message, field);
        return read_message(r, field->descriptor, f->depth + 1u, token, slot);
    }
    status = wi_pbj_read_scalar(&r->source, field, token, slot, &skipped);
    if (status != WEIR_OK)
        return status;
    if (!skipped)
        wi_pbj_mark(f->message, field);
    else if (field->label == PROTOBUF_C_LABEL_REQUIRED)
        return refuse(r, "an unknown name of an enum that is required");
    return WEIR_OK;
}

static weir_status read_field(reading *r, frame *f, const weir_json_token *key)
{
    weir_json_token token;
    const char *name;
    size_t len;
    weir_status status = wi_pbj_text(&r->source, key, &name, &len);
    if (status == WEIR_OK)
        status = count(r);
    if (status != WEIR_OK)
        return status;
    uint32_t at = find_field(f, name, len);
    if (at == NONE)
        return unknown_field(r, f, key);
    const ProtobufCFieldDescriptor *field = &f->message->descriptor->fields[at];
    uint64_t bit = UINT64_C(1) << (at % 64);
    if ((f->seen[at / 64] & bit) != 0)
        return refuse(r, "a field twice");
    f->seen[at / 64] |= bit;
    status = next(r, &token);
    if (status != WEIR_OK)
        return status;
    if (token.kind == WEIR_JSON_NULL &&
        (field->label == PROTOBUF_C_LABEL_REPEATED || !wi_pbj_takes_null(field))) {
        if (field->label == PROTOBUF_C_LABEL_REQUIRED)
            return refuse(r, "a required field is null");
        return WEIR_OK;
    }
    return read_field_value(r, f, field, &token);
}

/* ---- Repeated fields and maps ---- */

/* Room for one more element of `bytes`. */
static weir_status grow(reading *r, frame *f, size_t bytes)
{
    weir_status status = count(r);
    if (status != WEIR_OK || f->n < f->cap)
        return status;
    size_t cap = f->cap == 0 ? 4 : f->cap * 2;
    char *items = wi_pbj_take(&r->source, cap * bytes, &status);
    if (items == NULL)
        return status;
    if (f->n > 0)
        memcpy(items, f->items, f->n * bytes);
    f->items = items;
    f->cap = cap;
    return WEIR_OK;
}

static weir_status read_element(reading *r, frame *f, const weir_json_token *token)
{
    const ProtobufCFieldDescriptor *field = f->field;
    size_t bytes = wi_pbj_member_bytes(field->type);
    bool skipped = false;
    if (token->kind == WEIR_JSON_NULL && !wi_pbj_takes_null(field))
        return refuse(r, "null among the elements of a field");
    weir_status status = grow(r, f, bytes);
    if (status != WEIR_OK)
        return status;
    void *slot = f->items + f->n * bytes;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
        f->n++;
        return read_message(r, field->descriptor, f->depth + 1u, token, slot);
    }
    status = wi_pbj_read_scalar(&r->source, field, token, slot, &skipped);
    f->n += status == WEIR_OK && !skipped;
    return status;
}

static weir_status read_entry_value(reading *r, frame *f, ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *field = &entry->descriptor->fields[1];
    void *slot = wi_pbj_member(entry, field);
    weir_json_token token;
    bool skipped = false;
    weir_status status = next(r, &token);
    if (status != WEIR_OK)
        return status;
    if (token.kind == WEIR_JSON_NULL && !wi_pbj_takes_null(field))
        return refuse(r, "null among the values of a map");
    wi_pbj_mark(entry, field);
    ((ProtobufCMessage **)(void *)f->items)[f->n++] = entry;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return read_message(r, field->descriptor, f->depth + 2u, &token, slot);
    status = wi_pbj_read_scalar(&r->source, field, &token, slot, &skipped);
    f->n -= skipped;
    return status;
}

static weir_status read_entry(reading *r, frame *f, const weir_json_token *key)
{
    const ProtobufCMessageDescriptor *type = f->field->descriptor;
    weir_status status = grow(r, f, sizeof(ProtobufCMessage *));
    if (status != WEIR_OK)
        return status;
    if (f->depth + 1u > r->depth_max)
        return wi_pbj_refuse(&r->source, WEIR_ELIMIT, "nested too deep");
    ProtobufCMessage *entry = new_message(r, type, &status);
    if (entry == NULL)
        return status;
    status = wi_pbj_read_key(&r->source, &type->fields[0], key,
                             wi_pbj_member(entry, &type->fields[0]));
    if (status != WEIR_OK)
        return status;
    wi_pbj_mark(entry, &type->fields[0]);
    return read_entry_value(r, f, entry);
}

/* ---- Ends ---- */

static weir_status check_required(reading *r, const frame *f)
{
    const ProtobufCMessageDescriptor *type = f->message->descriptor;
    for (unsigned i = 0; i < type->n_fields; i++) {
        if (type->fields[i].label == PROTOBUF_C_LABEL_REQUIRED &&
            (f->seen[i / 64] >> (i % 64) & 1) == 0)
            return refuse(r, "a required field is missing");
    }
    return WEIR_OK;
}

static weir_status pack(reading *r, const frame *f)
{
    const ProtobufCFieldDescriptor *field = &f->any->descriptor->fields[1];
    weir_status status = WEIR_OK;
    size_t n = weir_protobuf_size(f->message);
    uint8_t *data = wi_pbj_take(&r->source, n, &status);
    if (data == NULL)
        return status;
    status = weir_protobuf_pack(f->message, data, n, &n);
    if (status != WEIR_OK)
        return wi_pbj_refuse(&r->source, status, "an Any holds what cannot be packed");
    *(ProtobufCBinaryData *)wi_pbj_member(f->any, field) = (ProtobufCBinaryData){ n, data };
    wi_pbj_mark(f->any, field);
    return WEIR_OK;
}

/* The end of a message's object or array. */
static weir_status end_message(reading *r, frame *f)
{
    weir_status status = f->mode == FIELDS ? check_required(r, f) : WEIR_OK;
    if (f->mode == IN_ANY && f->any != NULL && f->n == 0 &&
        wi_pbj_kind_of(f->message->descriptor) != WI_PBJ_EMPTY)
        return refuse(r, "an Any of a well-known type without its value");
    if (status == WEIR_OK && f->any != NULL)
        status = pack(r, f);
    r->n--;
    return status;
}

/* The end of a repeated field's array or of a map's object. */
static weir_status end_repeated(reading *r, frame *f)
{
    const ProtobufCFieldDescriptor *field = f->field;
    weir_status status = WEIR_OK;
    if (f->mode == ENTRIES) {
        const ProtobufCMessageDescriptor *entry = field->descriptor;
        status = wi_pbj_check_keys(&r->source, &entry->fields[0],
                                   (ProtobufCMessage *const *)(void *)f->items, f->n);
    }
    *(size_t *)wi_pbj_quantifier(f->message, field) = f->n;
    *(void **)wi_pbj_member(f->message, field) = f->n > 0 ? f->items : NULL;
    if (f->back == FIELDS)
        f->mode = FIELDS;
    else
        r->n--;
    return status;
}

/* A key of an Any that holds a well-known type. */
static weir_status read_in_any(reading *r, frame *f, const weir_json_token *key)
{
    weir_json_token token;
    weir_status status = count(r);
    if (status != WEIR_OK || !weir_json_equals(key, "value"))
        return status != WEIR_OK ? status : unknown_field(r, f, key);
    if (f->n++ > 0)
        return refuse(r, "an Any has its value twice");
    status = next(r, &token);
    return status == WEIR_OK ? read_into(r, f->message, f->depth, &token) : status;
}

/* ---- The whole ---- */

static weir_status step(reading *r)
{
    weir_json_token token;
    frame *f = &r->frames[r->n - 1];
    weir_status status = next(r, &token);
    if (status != WEIR_OK)
        return status;
    bool is_end = token.kind == WEIR_JSON_END_OBJECT || token.kind == WEIR_JSON_END_ARRAY;
    switch ((mode)f->mode) {
    case FIELDS:
        return is_end ? end_message(r, f) : read_field(r, f, &token);
    case ELEMENTS:
        return is_end ? end_repeated(r, f) : read_element(r, f, &token);
    case ENTRIES:
        return is_end ? end_repeated(r, f) : read_entry(r, f, &token);
    case IN_ANY:
        break;
    }
    return is_end ? end_message(r, f) : read_in_any(r, f, &token);
}

static weir_status open_text(reading *r, const char *text, size_t n)
{
    const weir_protobuf_limits *limits = &r->source.options->limits;
    const weir_json_limits json = {
        .text_bytes_max = limits->bytes_max != 0 ? limits->bytes_max : BYTES_DEFAULT,
        .depth_max = WEIR_JSON_DEPTH_CAP,
        .string_bytes_max = UINT32_MAX,
        .keys_unchecked = true,
    };
    uint32_t depth_max = limits->depth_max;
    r->depth_max = depth_max == 0 || depth_max > WI_PBJ_DEPTH_CAP ? WI_PBJ_DEPTH_CAP : depth_max;
    r->source.fields_left = limits->fields_max != 0 ? limits->fields_max : FIELDS_DEFAULT;
    r->n = 0;
    weir_status status = weir_json_open(&r->source.json, text, n, &json);
    return status == WEIR_OK ? WEIR_OK : wi_pbj_refuse(&r->source, status, "the text is too long");
}

static weir_status read_all(reading *r, const ProtobufCMessageDescriptor *type)
{
    weir_json_token token;
    weir_status status = next(r, &token);
    if (status == WEIR_OK)
        status = read_message(r, type, 0, &token, &r->root);
    while (status == WEIR_OK && r->n > 0)
        status = step(r);
    return status == WEIR_OK ? next(r, &token) : status;
}

weir_status weir_protobuf_from_json(const ProtobufCMessageDescriptor *type, const char *text,
                                    size_t n, const weir_protobuf_json_options *options,
                                    weir_arena *arena, ProtobufCMessage **ret_message,
                                    const char **ret_why)
{
    static const weir_protobuf_json_options none;
    reading r; /* 15 KiB, of which only what is used is touched */
    r.source.arena = arena;
    r.source.options = options != NULL ? options : &none;
    r.source.why = "no error";
    weir_status status = open_text(&r, text, n);
    if (status == WEIR_OK)
        status = read_all(&r, type);
    if (status == WEIR_OK)
        *ret_message = r.root;
    else if (ret_why != NULL)
        *ret_why = r.source.why;
    return status;
}
