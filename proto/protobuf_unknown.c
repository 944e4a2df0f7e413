/* Fields from the wire that the descriptor does not know, groups among them. */
#include "protobuf_unpack.h"

static const uint8_t *skip_bytes(wi_unpacker *u, const uint8_t *at, size_t n)
{
    if (n > (size_t)(u->end - at))
        return wi_unpack_refuse(u, WEIR_EPROTO, "a value is cut short");
    return at + n;
}

/* Behind a value that is no group. */
static const uint8_t *skip_value(wi_unpacker *u, const uint8_t *at, unsigned wire)
{
    uint64_t value;
    size_t n = 0;
    switch (wire) {
    case WI_WIRE_VARINT:
        at = wi_varint(at, u->end, &value);
        return at != NULL ? at
                          : wi_unpack_refuse(u, WEIR_EPROTO, "a varint is cut short or too long");
    case WI_WIRE_64BIT:
        return skip_bytes(u, at, 8);
    case WI_WIRE_32BIT:
        return skip_bytes(u, at, 4);
    case WI_WIRE_BYTES:
        at = wi_unpack_length(u, at, &n);
        return at == NULL ? NULL : at + n;
    case WI_WIRE_GROUP_END:
        return wi_unpack_refuse(u, WEIR_EPROTO, "a group ends that did not begin");
    default:
        return wi_unpack_refuse(u, WEIR_EPROTO, "there is no such wire type");
    }
}

static const uint8_t *open_group(wi_unpacker *u, const uint8_t *at, uint32_t tag, uint32_t *open,
                                 uint32_t *ret_n)
{
    if (u->depth + *ret_n >= u->depth_max)
        return wi_unpack_refuse(u, WEIR_ELIMIT, "nested too deep");
    open[(*ret_n)++] = tag;
    return at;
}

/* Behind the group whose tag is `tag`, with all groups in it. */
static const uint8_t *skip_group(wi_unpacker *u, const uint8_t *at, uint32_t tag)
{
    uint32_t open[WI_DEPTH_MAX], n = 0;
    at = open_group(u, at, tag, open, &n);
    while (at != NULL && n > 0) {
        at = wi_unpack_tag(u, at, &tag);
        if (at == NULL)
            return NULL;
        unsigned wire = tag & 7;
        if (wire == WI_WIRE_GROUP)
            at = open_group(u, at, tag, open, &n);
        else if (wire != WI_WIRE_GROUP_END)
            at = skip_value(u, at, wire);
        else if (tag >> 3 != open[--n] >> 3)
            return wi_unpack_refuse(u, WEIR_EPROTO, "another group ends than began");
    }
    return at;
}

static bool keep(wi_unpacker *u, uint32_t tag, const uint8_t *at, size_t n)
{
    ProtobufCMessage *message = u->message;
    void *array = message->unknown_fields;
    if (wi_unpack_room(u, &array, message->n_unknown_fields, 1, sizeof *message->unknown_fields) ==
        NULL)
        return false;
    message->unknown_fields = array;
    void *data = weir_arena_take(u->arena, n);
    if (data == NULL) {
        wi_unpack_no_room(u, n);
        return false;
    }
    if (n > 0)
        memcpy(data, at, n);
    message->unknown_fields[message->n_unknown_fields++] = (ProtobufCMessageUnknownField){
        .tag = tag >> 3,
        .wire_type = (ProtobufCWireType)(tag & 7),
        .len = n,
        .data = data,
    };
    return true;
}

const uint8_t *wi_unpack_unknown(wi_unpacker *u, const uint8_t *at, uint32_t tag)
{
    const uint8_t *behind = (tag & 7) == WI_WIRE_GROUP ? skip_group(u, at, tag)
                                                       : skip_value(u, at, tag & 7);
    if (behind != NULL && u->keep_unknown && !keep(u, tag, at, (size_t)(behind - at)))
        return NULL;
    return behind;
}
