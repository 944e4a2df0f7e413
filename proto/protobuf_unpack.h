/* What the files of the unpacker share; private to proto. */
#ifndef WI_PROTOBUF_UNPACK_H
#define WI_PROTOBUF_UNPACK_H

#include "protobuf_wire.h"

/* A message whose submessage is being read. */
typedef struct wi_unpack_frame {
    ProtobufCMessage *message;
    const uint8_t *end;
    uint64_t seen;
    uint8_t *seen_more;
} wi_unpack_frame;

/* All readers take where to read and give what is behind; NULL: refused, and why stands here. */
typedef struct wi_unpacker {
    ProtobufCMessage *message; /* being read */
    const uint8_t *end;        /* of it */
    uint64_t seen;             /* its required fields, of the first 64 */
    uint8_t *seen_more;        /* and of all, a bit each; NULL: none */
    const uint8_t *input_end;
    weir_arena *arena;
    uint32_t fields_left, depth, depth_max;
    bool keep_unknown;
    weir_status status;
    const char *why;
    wi_unpack_frame outer[WI_DEPTH_MAX];
} wi_unpacker;

const uint8_t *wi_unpack_refuse(wi_unpacker *u, weir_status status, const char *why);
/* Refuses for want of `bytes` of the arena. */
const uint8_t *wi_unpack_no_room(wi_unpacker *u, size_t bytes);

/* Reads a tag, and counts the field. */
WI_INLINE const uint8_t *wi_unpack_tag(wi_unpacker *u, const uint8_t *at, uint32_t *ret_tag)
{
    uint64_t tag;
    const uint8_t *behind = wi_varint(at, u->end, &tag);
    if (WI_RARELY(behind == NULL || behind - at > WI_SHORT_VARINT_MAX || tag > UINT32_MAX))
        return wi_unpack_refuse(u, WEIR_EPROTO, "a tag is cut short or too long");
    if (WI_RARELY(tag < 8))
        return wi_unpack_refuse(u, WEIR_EPROTO, "a field has the number 0");
    if (WI_RARELY(u->fields_left == 0))
        return wi_unpack_refuse(u, WEIR_ELIMIT, "too many fields and elements");
    u->fields_left--;
    *ret_tag = (uint32_t)tag;
    return behind;
}

/* Reads the length of what stands behind it, and that it does. */
WI_INLINE const uint8_t *wi_unpack_length(wi_unpacker *u, const uint8_t *at, size_t *ret_n)
{
    uint64_t n;
    const uint8_t *behind = wi_varint(at, u->end, &n);
    if (WI_RARELY(behind == NULL || behind - at > WI_SHORT_VARINT_MAX))
        return wi_unpack_refuse(u, WEIR_EPROTO, "a length is cut short or too long");
    if (WI_RARELY(n > (size_t)(u->end - behind)))
        return wi_unpack_refuse(u, WEIR_EPROTO, "a length reaches past the end");
    *ret_n = (size_t)n;
    return behind;
}

/* Makes room in an array of elements of `size` bytes, of which `n` are used, for `more`. Arrays
 * remember their room in front of the first element. Gives where the first one more goes; NULL:
 * refused. */
void *wi_unpack_room(wi_unpacker *u, void **array, size_t n, size_t more, size_t size);
WI_INLINE bool wi_unpack_has_room(const void *array, size_t n)
{
    return array != NULL && ((const uint64_t *)array)[-1] > n;
}
/* How many elements of the field whose tag is at `start` and ends at `at` follow each other. */
size_t wi_unpack_run(const wi_unpacker *u, const uint8_t *start, const uint8_t *at, unsigned wire);
/* Reads a packed array; `at` is behind the tag. */
const uint8_t *wi_unpack_packed(wi_unpacker *u, const ProtobufCFieldDescriptor *field,
                                const uint8_t *at);

/* Copies text and a NUL to `copy`, which has room for whole words of 8 bytes, and says whether it
 * is UTF-8 without NUL. `limit`: up to where may be read. */
bool wi_unpack_text(char *copy, const uint8_t *at, size_t n, const uint8_t *limit);

/* Skips the unknown field whose tag is `tag`, or keeps it; `at` is behind the tag. */
const uint8_t *wi_unpack_unknown(wi_unpacker *u, const uint8_t *at, uint32_t tag);

#endif
