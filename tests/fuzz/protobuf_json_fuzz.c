/* Fuzzes protobuf's JSON: what is read is written, and what that reads as packs to the same bytes
 * and has the same text. */
#include <weir/protobuf.h>
#include <weir/protobuf_json.h>

#include <protobuf-c/protobuf-c.h>

#include <stdlib.h>
#include <string.h>

#include "json_kinds.pb-c.h"
#include "json_old.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

static void *pack(const ProtobufCMessage *message, weir_arena *arena, size_t *ret_n)
{
    size_t n = weir_protobuf_size(message);
    void *packed = weir_arena_take(arena, n);
    REQUIRE(packed != NULL && weir_protobuf_pack(message, packed, n, ret_n) == WEIR_OK);
    REQUIRE(*ret_n == n);
    return packed;
}

/* The message must be written, and come back. */
static void check_back(const ProtobufCMessage *message, weir_arena *arena,
                       const weir_protobuf_json_options *options)
{
    weir_bytes first = { .bytes_max = SIZE_MAX }, second = { .bytes_max = SIZE_MAX };
    weir_protobuf_json_options unlimited = *options;
    ProtobufCMessage *back;
    size_t n = 0, m = 0;
    unlimited.limits.bytes_max = UINT32_MAX;
    const void *before = pack(message, arena, &n);
    REQUIRE(weir_protobuf_to_json(message, options, &first, NULL) == WEIR_OK);
    REQUIRE(weir_protobuf_from_json(message->descriptor, first.at, first.len, &unlimited, arena,
                                    &back, NULL) == WEIR_OK);
    const void *after = pack(back, arena, &m);
    REQUIRE(n == m && memcmp(before, after, n) == 0);
    REQUIRE(weir_protobuf_to_json(back, options, &second, NULL) == WEIR_OK);
    REQUIRE(first.len == second.len && memcmp(first.at, second.at, first.len) == 0);
    REQUIRE(weir_protobuf_unpack(message->descriptor, before, n, NULL, arena, &back, NULL) ==
            WEIR_OK);
    weir_bytes_done(&first);
    weir_bytes_done(&second);
}

/* The first byte chooses the type and the options, the rest is the text. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const ProtobufCMessageDescriptor *const list[] = {
        &json_kinds__kinds__descriptor,
        &json_old__old__descriptor,
    };
    static const weir_protobuf_types types = { list, 2 };
    if (size == 0)
        return 0;
    const weir_protobuf_json_options options = {
        .types = &types,
        .refuse_unknown = (data[0] & 2) != 0,
        .emit_defaults = (data[0] & 4) != 0,
        .proto_names = (data[0] & 8) != 0,
        .enums_as_numbers = (data[0] & 16) != 0,
    };
    weir_arena arena;
    ProtobufCMessage *message;
    const char *why = NULL;
    weir_arena_init(&arena, NULL, NULL, 0, SIZE_MAX);
    weir_status status = weir_protobuf_from_json(list[data[0] & 1], (const char *)data + 1,
                                                 size - 1, &options, &arena, &message, &why);
    if (status == WEIR_OK)
        check_back(message, &arena, &options);
    else
        REQUIRE(why != NULL);
    weir_arena_done(&arena);
    return 0;
}
