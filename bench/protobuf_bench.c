/* Packs and unpacks messages of several shapes, by weir and by protobuf-c alone. */
#include "protobuf_shapes.h"
#include "rig.h"

#include <weir/protobuf.h>

#include "orders/v1/orders.pb-c.h"
#include "shapes.pb-c.h"

#include <stdlib.h>

typedef struct shape {
    const char *name;
    const ProtobufCMessageDescriptor *type;
    void (*make)(wire *);
    wire packed;
    ProtobufCMessage *message;
} shape;

static shape shapes[] = {
    { .name = "order", .type = &orders__v1__order__descriptor, .make = shape_order },
    { .name = "blob", .type = &shapes__blob__descriptor, .make = shape_blob },
    { .name = "nested", .type = &shapes__node__descriptor, .make = shape_nested },
    { .name = "numbers", .type = &shapes__numbers__descriptor, .make = shape_numbers },
    { .name = "texts", .type = &shapes__texts__descriptor, .make = shape_texts },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static weir_arena arena;
static uint8_t out[32768];

static void weir_unpack(const shape *s)
{
    ProtobufCMessage *message;
    if (weir_protobuf_unpack(s->type, s->packed.bytes, s->packed.n, NULL, &arena, &message, NULL))
        abort();
    weir_arena_reset(&arena);
}

static void weir_pack(const shape *s)
{
    size_t n;
    if (weir_protobuf_pack(s->message, out, sizeof out, &n) != WEIR_OK || n != s->packed.n)
        abort();
}

static void weir_size(const shape *s)
{
    if (weir_protobuf_size(s->message) != s->packed.n)
        abort();
}

static void c_unpack(const shape *s)
{
    ProtobufCMessage *message = protobuf_c_message_unpack(s->type, NULL, s->packed.n,
                                                          s->packed.bytes);
    if (message == NULL)
        abort();
    protobuf_c_message_free_unpacked(message, NULL);
}

static void c_pack(const shape *s)
{
    if (protobuf_c_message_get_packed_size(s->message) > sizeof out ||
        protobuf_c_message_pack(s->message, out) != s->packed.n)
        abort();
}

static const struct way {
    const char *name;
    void (*run)(const shape *);
} ways[] = {
    { "protobuf_unpack", weir_unpack }, { "protobuf_pack", weir_pack },
    { "protobuf_size", weir_size },     { "protobuf_c_unpack", c_unpack },
    { "protobuf_c_pack", c_pack },
};
enum { WAYS = sizeof ways / sizeof *ways };

static double measure(const struct way *way, const shape *s, unsigned times)
{
    uint64_t start = cpu_ns();
    for (unsigned i = 0; i < times; i++)
        way->run(s);
    return (double)(cpu_ns() - start) / times;
}

int main(int argc, char **argv)
{
    static char first[64 * 1024], kept[64 * 1024];
    static double ns[WAYS][SHAPES][ROUNDS_MAX];
    bool quick = argc > 1 && strcmp(argv[1], "--quick") == 0;
    int rounds = quick ? 3 : 9;
    weir_arena messages;
    weir_arena_init(&messages, NULL, kept, sizeof kept, 0);
    weir_arena_init(&arena, NULL, first, sizeof first, 0);
    for (shape *s = shapes; s < shapes + SHAPES; s++) {
        s->make(&s->packed);
        if (weir_protobuf_unpack(s->type, s->packed.bytes, s->packed.n, NULL, &messages,
                                 &s->message, NULL))
            abort();
    }
    for (int round = 0; round < rounds; round++)
        for (int w = 0; w < WAYS; w++)
            for (int s = 0; s < SHAPES; s++)
                ns[w][s][round] =
                    measure(&ways[w], &shapes[s],
                            (quick ? 1000000u : 10000000u) / (unsigned)shapes[s].packed.n);
    for (int w = 0; w < WAYS; w++)
        for (int s = 0; s < SHAPES; s++)
            printf("%s_%s=%.1f ns\n", ways[w].name, shapes[s].name, median(ns[w][s], rounds));
    weir_arena_done(&arena);
    weir_arena_done(&messages);
    return 0;
}
