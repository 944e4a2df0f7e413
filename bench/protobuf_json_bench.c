/* Writes and reads the JSON of messages. */
#include "protobuf_shapes.h"
#include "rig.h"

#include <weir/protobuf_json.h>

#include <protobuf-c/protobuf-c.h>

#include "orders/v1/orders.pb-c.h"
#include "shapes.pb-c.h"

#include <stdlib.h>

typedef struct shape {
    const char *name;
    const ProtobufCMessageDescriptor *type;
    void (*make)(wire *);
    wire packed;
    ProtobufCMessage *message;
    weir_bytes text;
} shape;

static shape shapes[] = {
    { .name = "order", .type = &orders__v1__order__descriptor, .make = shape_order },
    { .name = "nested", .type = &shapes__node__descriptor, .make = shape_nested },
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static weir_arena arena;
static weir_bytes out;

static void to_json(const shape *s)
{
    out.len = 0;
    if (weir_protobuf_to_json(s->message, NULL, &out, NULL) != WEIR_OK || out.len != s->text.len)
        abort();
}

static void from_json(const shape *s)
{
    ProtobufCMessage *message;
    if (weir_protobuf_from_json(s->type, s->text.at, s->text.len, NULL, &arena, &message, NULL))
        abort();
    weir_arena_reset(&arena);
}

static const struct way {
    const char *name;
    void (*run)(const shape *);
} ways[] = { { "protobuf_to_json", to_json }, { "protobuf_from_json", from_json } };
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
                                 &s->message, NULL) != WEIR_OK ||
            weir_protobuf_to_json(s->message, NULL, &s->text, NULL) != WEIR_OK)
            abort();
    }
    for (int round = 0; round < rounds; round++)
        for (int w = 0; w < WAYS; w++)
            for (int s = 0; s < SHAPES; s++)
                ns[w][s][round] =
                    measure(&ways[w], &shapes[s],
                            (quick ? 1000000u : 10000000u) / (unsigned)shapes[s].text.len);
    for (int w = 0; w < WAYS; w++)
        for (int s = 0; s < SHAPES; s++)
            printf("%s_%s=%.1f ns\n", ways[w].name, shapes[s].name, median(ns[w][s], rounds));
    for (shape *s = shapes; s < shapes + SHAPES; s++)
        weir_bytes_done(&s->text);
    weir_bytes_done(&out);
    weir_arena_done(&arena);
    weir_arena_done(&messages);
    return 0;
}
