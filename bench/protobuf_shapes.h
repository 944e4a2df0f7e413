/* The packed messages that the benchmarks of Protocol Buffers read and write, for C and C++. */
#ifndef BENCH_PROTOBUF_SHAPES_H
#define BENCH_PROTOBUF_SHAPES_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct wire {
    size_t n;
    uint8_t bytes[16384];
} wire;

static inline void wire_varint(wire *w, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        w->bytes[w->n++] = (uint8_t)(value | 0x80);
    w->bytes[w->n++] = (uint8_t)value;
}
static inline void wire_number(wire *w, unsigned id, uint64_t value)
{
    wire_varint(w, id << 3);
    wire_varint(w, value);
}
static inline void wire_double(wire *w, unsigned id, double value)
{
    wire_varint(w, id << 3 | 1);
    memcpy(w->bytes + w->n, &value, 8);
    w->n += 8;
}
static inline void wire_bytes(wire *w, unsigned id, const void *bytes, size_t n)
{
    wire_varint(w, id << 3 | 2);
    wire_varint(w, n);
    memcpy(w->bytes + w->n, bytes, n);
    w->n += n;
}
static inline void wire_text(wire *w, unsigned id, const char *text)
{
    wire_bytes(w, id, text, strlen(text));
}

/* 124 bytes, with 4 items. */
static inline void shape_order(wire *w)
{
    wire_text(w, 1, "0f8fad5b-d9cb-469f-a165-70867728950e");
    wire_double(w, 2, 42.5);
    wire_text(w, 3, "EUR");
    for (unsigned i = 0; i < 4; i++) {
        wire item = { 0, { 0 } };
        char sku[16];
        snprintf(sku, sizeof sku, "sku-%08u", i * 7919);
        wire_text(&item, 1, sku);
        wire_number(&item, 2, i + 1);
        wire_bytes(w, 4, item.bytes, item.n);
    }
}

/* 100 bytes of bytes. */
static inline void shape_blob(wire *w)
{
    uint8_t data[98];
    for (unsigned i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37);
    wire_bytes(w, 1, data, sizeof data);
}

/* About 2 KB: a tree of nodes, each with texts, numbers and labels. */
static inline void shape_node(wire *w, unsigned depth, unsigned seed)
{
    char name[32];
    snprintf(name, sizeof name, "node %u of level %u", seed, depth);
    wire_text(w, 1, name);
    wire_number(w, 2, UINT64_C(1700000000000) + seed);
    wire_number(w, 3, seed * 2001 + 1);
    wire_double(w, 4, seed * 0.25 + 1);
    wire_number(w, 5, 1);
    for (unsigned i = 0; depth > 0 && i < 3; i++) {
        wire below = { 0, { 0 } };
        shape_node(&below, depth - 1, seed * 3 + i);
        wire_bytes(w, 6, below.bytes, below.n);
    }
    wire label = { 0, { 0 } };
    wire_text(&label, 1, "colour");
    wire_text(&label, 2, seed % 2 == 0 ? "a light blue" : "red");
    wire_bytes(w, 7, label.bytes, label.n);
}
static inline void shape_nested(wire *w)
{
    shape_node(w, 3, 1);
}

/* Packed numbers: 1,000 of one to three bytes, 100 large ones, 100 of either sign, 100 doubles. */
static inline void shape_numbers(wire *w)
{
    wire packed = { 0, { 0 } };
    for (unsigned i = 0; i < 1000; i++)
        wire_varint(&packed, i % 10 == 0 ? i * 97 : i % 128);
    wire_bytes(w, 1, packed.bytes, packed.n);
    packed.n = 0;
    for (unsigned i = 0; i < 100; i++)
        wire_varint(&packed, UINT64_C(1) << (i % 63));
    wire_bytes(w, 2, packed.bytes, packed.n);
    packed.n = 0;
    for (unsigned i = 0; i < 100; i++)
        wire_varint(&packed, i * 33);
    wire_bytes(w, 3, packed.bytes, packed.n);
    double real[100];
    for (unsigned i = 0; i < 100; i++)
        real[i] = i * 0.5;
    wire_bytes(w, 4, real, sizeof real);
}

/* 50 texts of 8 to 57 bytes, some of them not ASCII. */
static inline void shape_texts(wire *w)
{
    char text[64];
    for (unsigned i = 0; i < 50; i++) {
        memset(text, 'a' + (int)(i % 26), 8 + i);
        text[8 + i] = '\0';
        if (i % 10 == 9)
            memcpy(text, "\xC3\xBC\xE2\x82\xAC", 5);
        wire_text(w, 1, text);
    }
}

#endif
