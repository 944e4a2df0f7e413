/* Fuzzes Protocol Buffers: what is read and packed again must read the same, sizes must be true,
 * and where protobuf-c claims to read the same bytes it must find the same in them. */
#include "../protobuf_rig.h"

#include "kinds.pb-c.h"
#include "old.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

static const ProtobufCMessageDescriptor *const types[] = { &kinds__kinds__descriptor,
                                                           &old__old__descriptor,
                                                           &old__wide__descriptor };

/* Whether protobuf-c agrees with the specification about these bytes, which are well-formed: no
 * groups, no field of another wire type, and no message in several parts. */
static bool is_plain(const ProtobufCMessageDescriptor *type, const uint8_t *at, const uint8_t *end)
{
    char used[128] = { 0 };
    while (at < end) {
        uint64_t numbers[2] = { 0, 0 }; /* tag and length, or value */
        for (unsigned i = 0; i < 2; i++) {
            unsigned wire = (unsigned)numbers[0] & 7;
            if (i == 1 && (wire == 1 || wire == 5)) {
                at += wire == 1 ? 8 : 4;
                break;
            }
            unsigned shift = 0;
            do
                numbers[i] |= shift < 64 ? (uint64_t)(*at & 0x7F) << shift : 0;
            while (shift += 7, *at++ >= 0x80);
        }
        unsigned wire = (unsigned)numbers[0] & 7;
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(numbers[0] >> 3));
        if (wire == 3)
            return false;
        if (wire == 2)
            at += numbers[1];
        if (field == NULL)
            continue;
        bool packed = field->label == PROTOBUF_C_LABEL_REPEATED && wire == 2;
        if (!packed && wire != rig_wire_of(field->type))
            return false;
        if (field->type != PROTOBUF_C_TYPE_MESSAGE)
            continue;
        char *seen = &used[field - type->fields];
        if ((field->label != PROTOBUF_C_LABEL_REPEATED && (*seen)++ != 0) ||
            !is_plain(field->descriptor, at - numbers[1], at))
            return false;
    }
    return true;
}

static void pack_again(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *message,
                       const weir_protobuf_limits *limits, weir_arena *arena)
{
    size_t n = weir_protobuf_size(message), packed;
    uint8_t *bytes = malloc(n + 1);
    ProtobufCMessage *again;
    REQUIRE(n != SIZE_MAX && bytes != NULL);
    REQUIRE(n == 0 || weir_protobuf_pack(message, bytes, n - 1, &packed) == WEIR_ELIMIT);
    REQUIRE(weir_protobuf_pack(message, bytes, n, &packed) == WEIR_OK && packed == n);
    REQUIRE(weir_protobuf_unpack(type, bytes, n, limits, arena, &again, NULL) == WEIR_OK);
    REQUIRE(limits->keep_unknown || same_message(message, again));
    size_t more = weir_protobuf_size(again);
    REQUIRE(more == n);
    free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 4096)
        return 0;
    const ProtobufCMessageDescriptor *type = types[(data[0] >> 1) % 3];
    weir_protobuf_limits limits = { .keep_unknown = data[0] & 1 };
    weir_arena arena;
    ProtobufCMessage *ours;
    const char *why = NULL;
    uint8_t *copy = malloc(size);
    REQUIRE(copy != NULL);
    memcpy(copy, data + 1, --size);
    weir_arena_init(&arena, NULL, NULL, 0, 0);
    weir_status status = weir_protobuf_unpack(type, copy, size, &limits, &arena, &ours, &why);
    REQUIRE((status == WEIR_OK) == (why == NULL));
    if (status == WEIR_OK) {
        if (is_plain(type, copy, copy + size)) {
            ProtobufCMessage *theirs = protobuf_c_message_unpack(type, NULL, size, copy);
            REQUIRE(theirs != NULL);
            REQUIRE(!limits.keep_unknown || same_message(ours, theirs));
            protobuf_c_message_free_unpacked(theirs, NULL);
        }
        pack_again(type, ours, &limits, &arena);
    }
    weir_arena_done(&arena);
    free(copy);
    return 0;
}
