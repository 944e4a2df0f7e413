/* Tests of unpacking Protocol Buffers: what protobuf-c reads is read alike, what is hostile is
 * refused. */
#include "protobuf_rig.h"

#include "kinds.pb-c.h"
#include "old.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* ---- An allocator that counts, and fails ---- */

static size_t calls, blocks, fails_at;

static void *resize(void *memory, size_t bytes, void *user)
{
    (void)user;
    if (bytes == 0) {
        blocks -= memory != NULL;
        free(memory);
        return NULL;
    }
    if (++calls == fails_at)
        return NULL;
    blocks += memory == NULL;
    return realloc(memory, bytes);
}

static const weir_env counting = { .allocator = { .resize = resize } };

static weir_arena arena;
static const char *why;

static int set_up(void **state)
{
    (void)state;
    calls = blocks = fails_at = 0;
    why = NULL;
    weir_arena_init(&arena, &counting, NULL, 0, 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    weir_arena_done(&arena);
    return blocks == 0 ? 0 : -1;
}

/* From a block of exactly its size, so that a sanitizer sees a byte too many. */
static weir_status unpack_with(const ProtobufCMessageDescriptor *type, const void *bytes, size_t n,
                               const weir_protobuf_limits *limits, void *ret)
{
    ProtobufCMessage *message = (ProtobufCMessage *)&arena;
    void *copy = malloc(n > 0 ? n : 1);
    memcpy(copy, bytes, n);
    why = NULL;
    weir_status status = weir_protobuf_unpack(type, copy, n, limits, &arena, &message, &why);
    free(copy);
    assert_int_equal(status == WEIR_OK, why == NULL);
    assert_int_equal(status == WEIR_OK, message != (ProtobufCMessage *)&arena);
    if (status == WEIR_OK)
        *(ProtobufCMessage **)ret = message;
    return status;
}

static weir_status unpack_bytes(const ProtobufCMessageDescriptor *type, const weir_bytes *w,
                                void *ret)
{
    return unpack_with(type, w->len == 0 ? "" : w->at, w->len, NULL, ret);
}

static weir_status unpack_kinds(const char *bytes, size_t n)
{
    Kinds__Kinds *ignored;
    return unpack_with(&kinds__kinds__descriptor, bytes, n, NULL, &ignored);
}

/* ---- Beside protobuf-c ---- */

static const ProtobufCMessageDescriptor *const types[] = {
    &kinds__kinds__descriptor, &kinds__leaf__descriptor, &kinds__empty__descriptor,
    &old__old__descriptor,     &old__needs__descriptor,  &old__wide__descriptor,
};
enum { TYPES = sizeof types / sizeof *types };

static void check_beside_protobuf_c(const ProtobufCMessageDescriptor *type, const weir_bytes *w)
{
    static const weir_protobuf_limits keep = { .keep_unknown = true };
    ProtobufCMessage *ours = NULL;
    const void *bytes = w->len == 0 ? "" : w->at;
    ProtobufCMessage *theirs = protobuf_c_message_unpack(type, NULL, w->len, bytes);
    weir_status status = unpack_with(type, bytes, w->len, &keep, &ours);
    if (theirs == NULL || status != WEIR_OK)
        fail_msg("%s: %s, protobuf-c %s it", type->name, why == NULL ? "fine" : why,
                 theirs == NULL ? "refuses" : "takes");
    assert_true(same_message(ours, theirs));
    protobuf_c_message_free_unpacked(theirs, NULL);
    weir_arena_reset(&arena);
}

static void random_messages_read_as_protobuf_c_reads_them(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 6000; seed++) {
        uint64_t at = seed * UINT64_C(0x9E3779B97F4A7C15);
        weir_bytes w = { 0 };
        put_random(&w, types[seed % TYPES], (unsigned)(seed % 5), &at);
        check_beside_protobuf_c(types[seed % TYPES], &w);
        weir_bytes_done(&w);
    }
}

static void descriptors_without_init_function_do(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 300; seed++) {
        /* protobuf-c crashes on proto3's oneofs then */
        ProtobufCMessageDescriptor type = *types[1 + seed % (TYPES - 1)];
        type.message_init = NULL;
        weir_bytes w = { 0 };
        uint64_t at = seed;
        put_random(&w, &type, 2, &at);
        check_beside_protobuf_c(&type, &w);
        weir_bytes_done(&w);
    }
}

static void what_is_cut_short_at_any_byte_is_read_or_refused_as_protobuf_c_does(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        const ProtobufCMessageDescriptor *type = types[seed % TYPES];
        weir_bytes w = { 0 };
        uint64_t at = seed * 77;
        put_random(&w, type, 3, &at);
        for (size_t n = 0; n < w.len; n++) {
            ProtobufCMessage *ours;
            ProtobufCMessage *theirs = protobuf_c_message_unpack(type, NULL, n,
                                                                 (const uint8_t *)w.at);
            weir_status status = unpack_with(type, w.at, n, NULL, &ours);
            assert_int_equal(status, theirs == NULL ? WEIR_EPROTO : WEIR_OK);
            protobuf_c_message_free_unpacked(theirs, NULL);
            weir_arena_reset(&arena);
        }
        weir_bytes_done(&w);
    }
}

/* ---- What the specification says and protobuf-c does not do ---- */

static void parts_of_a_singular_message_add_up(void **state)
{
    (void)state;
    Kinds__Kinds *kinds;
    weir_bytes w = { 0 }, part = { 0 };
    put_text(&part, 1, "first");
    put_tag(&part, 2, 0);
    put_varint(&part, 7);
    put_block(&w, 17, part.at, part.len);
    part.len = 0;
    put_text(&part, 1, "last");
    put_block(&w, 17, part.at, part.len);
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &kinds), WEIR_OK);
    assert_string_equal(kinds->leaf->name, "last");
    assert_int_equal(kinds->leaf->count, 7);
    weir_bytes_done(&w);
    weir_bytes_done(&part);
}

static void repeated_fields_of_the_parts_are_joined(void **state)
{
    (void)state;
    Kinds__Kinds *kinds;
    weir_bytes w = { 0 }, part = { 0 };
    for (uint32_t i = 0; i < 100; i++) {
        part.len = 0;
        put_tag(&part, 21, 0);
        put_varint(&part, i);
        put_text(&part, 34, "x");
        put_block(&w, 18, part.at, part.len);
    }
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &kinds), WEIR_OK);
    assert_int_equal(kinds->below->n_many_i32, 100);
    assert_int_equal(kinds->below->n_many_text, 100);
    for (int32_t i = 0; i < 100; i++)
        assert_int_equal(kinds->below->many_i32[i], i);
    weir_bytes_done(&w);
    weir_bytes_done(&part);
}

static void of_a_oneof_the_last_stays_and_its_parts_add_up(void **state)
{
    (void)state;
    Kinds__Kinds *kinds;
    weir_bytes w = { 0 };
    put_block(&w, 54,
              "\x0A\x01"
              "a",
              3);
    put_text(&w, 52, "text");
    put_block(&w, 54,
              "\x0A\x01"
              "b",
              3);
    put_block(&w, 54, "\x10\x05", 2);
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &kinds), WEIR_OK);
    assert_int_equal(kinds->choice_case, KINDS__KINDS__CHOICE_CHOICE_LEAF);
    assert_string_equal(kinds->choice_leaf->name, "b");
    assert_int_equal(kinds->choice_leaf->count, 5);
    put_text(&w, 52, "text");
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &kinds), WEIR_OK);
    assert_int_equal(kinds->choice_case, KINDS__KINDS__CHOICE_CHOICE_TEXT);
    assert_string_equal(kinds->choice_text, "text");
    weir_bytes_done(&w);
}

static void a_known_field_of_another_wire_type_is_an_unknown_one(void **state)
{
    (void)state;
    static const weir_protobuf_limits keep = { .keep_unknown = true };
    static const uint8_t bytes[] = { 0x0D, 1, 2, 3, 4, 0x72 - 2, 5, 0x68, 1 };
    Kinds__Kinds *kinds;
    assert_int_equal(unpack_with(&kinds__kinds__descriptor, bytes, sizeof bytes, &keep, &kinds),
                     WEIR_OK);
    assert_int_equal(kinds->i32, 0);
    assert_string_equal(kinds->text, "");
    assert_true(kinds->yes);
    assert_int_equal(kinds->base.n_unknown_fields, 2);
    assert_int_equal(kinds->base.unknown_fields[0].tag, 1);
    assert_int_equal(kinds->base.unknown_fields[0].wire_type, 5);
    assert_int_equal(kinds->base.unknown_fields[1].tag, 14);
}

static void unknown_fields_are_skipped_or_kept_groups_too(void **state)
{
    (void)state;
    static const weir_protobuf_limits keep = { .keep_unknown = true };
    /* 99: a group with a number, text, and a group within; then 98 = 5, and count = 3. */
    static const uint8_t bytes[] = { 0x9B, 0x06, 0x08, 0x96, 0x01, 0x12, 2,    'h',  'i',
                                     0x1B, 0x1C, 0x9C, 0x06, 0x90, 0x06, 0x05, 0x10, 0x03 };
    Kinds__Leaf *leaf;
    assert_int_equal(unpack_with(&kinds__leaf__descriptor, bytes, sizeof bytes, NULL, &leaf),
                     WEIR_OK);
    assert_int_equal(leaf->base.n_unknown_fields, 0);
    assert_int_equal(leaf->count, 3);

    uint8_t again[sizeof bytes];
    size_t n;
    assert_int_equal(unpack_with(&kinds__leaf__descriptor, bytes, sizeof bytes, &keep, &leaf),
                     WEIR_OK);
    assert_int_equal(leaf->base.n_unknown_fields, 2);
    assert_int_equal(leaf->base.unknown_fields[0].wire_type, 3);
    assert_int_equal(leaf->base.unknown_fields[0].len, 11);
    assert_int_equal(weir_protobuf_pack(&leaf->base, again, sizeof again, &n), WEIR_OK);
    assert_int_equal(n, sizeof bytes);
    assert_memory_equal(again, bytes + 16, 2); /* known fields come first */
    assert_memory_equal(again + 2, bytes, 16);
}

static void fields_of_proto2_have_presence_and_defaults(void **state)
{
    (void)state;
    Old__Old *old;
    assert_int_equal(unpack_with(&old__old__descriptor, "", 0, NULL, &old), WEIR_OK);
    assert_int_equal(old->i32, -7);
    assert_false(old->has_i32);
    assert_string_equal(old->text, "so it is");
    assert_int_equal(old->data.len, 4);
    assert_int_equal(unpack_with(&old__old__descriptor, "\x08\x00\x72\x00", 4, NULL, &old),
                     WEIR_OK);
    assert_int_equal(old->i32, 0);
    assert_true(old->has_i32);
    assert_string_equal(old->text, "");
}

static void a_missing_required_field_is_refused_wherever_it_is(void **state)
{
    (void)state;
    ProtobufCMessage *ignored;
    assert_int_equal(unpack_with(&old__needs__descriptor, "\x08\x01", 2, NULL, &ignored),
                     WEIR_EPROTO);
    assert_string_equal(why, "a required field is missing");
    assert_int_equal(unpack_with(&old__old__descriptor, "\x8A\x01\x02\x08\x01", 5, NULL, &ignored),
                     WEIR_EPROTO);
    assert_int_equal(unpack_with(&old__old__descriptor, "\xB2\x01\x00", 3, NULL, &ignored),
                     WEIR_EPROTO);
    for (uint32_t missing = 0; missing <= 70; missing++) {
        weir_bytes w = { 0 };
        for (uint32_t id = 1; id <= 70; id++) {
            if (id != missing) {
                put_tag(&w, id, 0);
                put_varint(&w, id);
            }
        }
        assert_int_equal(unpack_bytes(&old__wide__descriptor, &w, &ignored),
                         missing == 0 ? WEIR_OK : WEIR_EPROTO);
        weir_bytes_done(&w);
    }
}

/* ---- Malformed ---- */

typedef struct wire_case {
    const char *what, *bytes;
    size_t n;
    const char *why;
} wire_case;

#define CASE(what, bytes, why)              \
    {                                       \
        what, bytes, sizeof(bytes) - 1, why \
    }

static void what_is_malformed_is_refused_for_its_reason(void **state)
{
    (void)state;
    static const wire_case cases[] = {
        CASE("field number 0", "\x00\x01", "a field has the number 0"),
        CASE("field number 0, longer", "\x80\x00\x01", "a field has the number 0"),
        CASE("a tag of 6 bytes", "\x88\x80\x80\x80\x80\x00\x01", "a tag is cut short or too long"),
        CASE("a tag over 32 bits", "\x88\x80\x80\x80\x10\x01", "a tag is cut short or too long"),
        CASE("half a tag", "\x88", "a tag is cut short or too long"),
        CASE("wire type 6", "\x0E\x01", "there is no such wire type"),
        CASE("wire type 7", "\x0F\x01", "there is no such wire type"),
        CASE("wire type 7, unknown", "\xCF\x3E\x01", "there is no such wire type"),
        CASE("a tag alone", "\x08", "a varint is cut short or too long"),
        CASE("varint of 11 bytes", "\x08\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
             "a varint is cut short or too long"),
        CASE("unknown varint of 11 bytes", "\xC8\x3E\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
             "a varint is cut short or too long"),
        CASE("packed varint of 11 bytes",
             "\xAA\x01\x0B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
             "a varint is cut short or too long"),
        CASE("packed varint cut short", "\xAA\x01\x02\x01\x80\x08\x01",
             "a varint is cut short or too long"),
        CASE("packed varint without end", "\xAA\x01\x01\x80", "a varint is cut short or too long"),
        CASE("packed fixed32 of 5 bytes", "\xDA\x01\x05\x01\x02\x03\x04\x05",
             "a packed field ends within an element"),
        CASE("length past the end",
             "\x72\x02"
             "a",
             "a length reaches past the end"),
        CASE("length past its message",
             "\x8A\x01\x03\x0A\x02"
             "ab",
             "a length reaches past the end"),
        CASE("length -1", "\x72\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01",
             "a length is cut short or too long"),
        CASE("length of 2^31", "\x72\x80\x80\x80\x80\x08", "a length reaches past the end"),
        CASE("no length", "\x72", "a length is cut short or too long"),
        CASE("unknown length past the end", "\xCA\x3E\x05", "a length reaches past the end"),
        CASE("fixed32 of 3 bytes", "\x3D\x01\x02\x03", "a value is cut short"),
        CASE("fixed64 of 7 bytes", "\x41\x01\x02\x03\x04\x05\x06\x07", "a value is cut short"),
        CASE("unknown fixed64 of 7 bytes", "\xC9\x3E\x01\x02\x03\x04\x05\x06\x07",
             "a value is cut short"),
        CASE("a group's end alone", "\x0C", "a group ends that did not begin"),
        CASE("another group's end", "\xCB\x3E\xD4\x3E", "another group ends than began"),
        CASE("groups that cross", "\xCB\x3E\xD3\x3E\xCC\x3E\xD4\x3E",
             "another group ends than began"),
        CASE("a group without end", "\xCB\x3E\x08\x01", "a tag is cut short or too long"),
        CASE("a group that leaves its message", "\x8A\x01\x02\xCB\x3E\xCC\x3E",
             "a tag is cut short or too long"),
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (unpack_kinds(cases[i].bytes, cases[i].n) != WEIR_EPROTO ||
            strcmp(why, cases[i].why) != 0)
            fail_msg("%s: %s", cases[i].what, why == NULL ? "taken" : why);
        weir_arena_reset(&arena);
    }
}

static void longer_numbers_than_need_be_are_read(void **state)
{
    (void)state;
    Kinds__Kinds *kinds;
    /* i32 = 1 in ten bytes, behind a tag of three; bits over 64 fall away */
    assert_int_equal(unpack_with(&kinds__kinds__descriptor,
                                 "\x88\x80\x00\x81\x80\x80\x80\x80\x80\x80\x80\x80\x7E", 13, NULL,
                                 &kinds),
                     WEIR_OK);
    assert_int_equal(kinds->i32, 1);
    assert_int_equal(unpack_with(&kinds__kinds__descriptor,
                                 "\x08\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01\x68\x80\x02", 14,
                                 NULL, &kinds),
                     WEIR_OK);
    assert_int_equal(kinds->i32, -2);
    assert_int_equal(kinds->yes, 1);
}

/* Text at each offset in words of eight bytes, and at the end of the input or not. */
static bool takes_text(const char *text, size_t n)
{
    unsigned taken = 0, tried = 0;
    for (size_t before = 0; before < 17; before++) {
        for (size_t after = 0; after < 10; after += 9) {
            char padded[64];
            Kinds__Kinds *kinds;
            weir_bytes w = { 0 };
            memset(padded, 'x', sizeof padded);
            memcpy(padded + before, text, n);
            put_block(&w, 14, padded, before + n + after % 5);
            put_block(&w, 15, padded, after);
            bool fine = unpack_bytes(&kinds__kinds__descriptor, &w, &kinds) == WEIR_OK;
            if (fine) {
                assert_int_equal(strlen(kinds->text), before + n + after % 5);
                assert_memory_equal(kinds->text, padded, before + n + after % 5);
            } else {
                assert_string_equal(why, "a string is not UTF-8, or has a NUL");
            }
            taken += fine;
            tried++;
            weir_bytes_done(&w);
            weir_arena_reset(&arena);
        }
    }
    assert_true(taken == 0 || taken == tried);
    return taken > 0;
}

static void strings_must_be_utf8_without_nul(void **state)
{
    (void)state;
    static const wire_case good[] = {
        CASE("nothing", "", ""),
        CASE("ASCII", "az\x7F\x01", ""),
        CASE("U+0080", "\xC2\x80", ""),
        CASE("U+07FF", "\xDF\xBF", ""),
        CASE("U+0800", "\xE0\xA0\x80", ""),
        CASE("U+D7FF", "\xED\x9F\xBF", ""),
        CASE("U+E000", "\xEE\x80\x80", ""),
        CASE("U+FFFF", "\xEF\xBF\xBF", ""),
        CASE("U+10000", "\xF0\x90\x80\x80", ""),
        CASE("U+10FFFF", "\xF4\x8F\xBF\xBF", ""),
    };
    static const wire_case bad[] = {
        CASE("NUL", "\0", ""),
        CASE("NUL within", "a\0b", ""),
        CASE("a lone continuation", "\x80", ""),
        CASE("overlong slash", "\xC0\xAF", ""),
        CASE("overlong NUL", "\xC0\x80", ""),
        CASE("overlong U+007F", "\xC1\xBF", ""),
        CASE("overlong U+07FF", "\xE0\x9F\xBF", ""),
        CASE("overlong U+FFFF", "\xF0\x8F\xBF\xBF", ""),
        CASE("surrogate U+D800", "\xED\xA0\x80", ""),
        CASE("surrogate U+DFFF", "\xED\xBF\xBF", ""),
        CASE("U+110000", "\xF4\x90\x80\x80", ""),
        CASE("five bytes", "\xF8\x88\x80\x80\x80", ""),
        CASE("0xFF", "\xFF", ""),
        CASE("cut short", "\xE2\x82", ""),
        CASE("broken off", "\xE2\x28\xA1", ""),
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!takes_text(good[i].bytes, good[i].n))
            fail_msg("%s is refused", good[i].what);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (takes_text(bad[i].bytes, bad[i].n))
            fail_msg("%s is taken", bad[i].what);
    assert_int_equal(unpack_kinds("\x92\x02\x01\xFF", 4), WEIR_EPROTO); /* repeated ones too */
    assert_int_equal(unpack_kinds("\x7A\x01\xFF", 3), WEIR_OK);         /* bytes may be anything */
}

/* ---- Limits ---- */

/* A message within another, `depth` times. */
static void put_deep(weir_bytes *w, unsigned depth, uint32_t id)
{
    weir_bytes inner = { 0 };
    for (; depth > 0; depth--) {
        w->len = 0;
        put_block(w, id, inner.at, inner.len);
        weir_bytes swap = inner;
        inner = *w;
        *w = swap;
    }
    weir_bytes_done(w);
    *w = inner;
}

static void a_depth_bomb_of_28_kb_is_refused(void **state)
{
    (void)state;
    Kinds__Kinds *ignored;
    weir_bytes w = { 0 };
    put_deep(&w, 7000, 55);
    assert_in_range(w.len, 28000, 40000);
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &ignored), WEIR_ELIMIT);
    assert_string_equal(why, "nested too deep");
    weir_bytes_done(&w);
}

static void groups_and_messages_count_for_the_depth(void **state)
{
    (void)state;
    static const weir_protobuf_limits three = { .depth_max = 3 };
    Kinds__Kinds *ignored;
    for (unsigned depth = 98; depth <= 103; depth++) {
        weir_bytes w = { 0 };
        put_deep(&w, depth, 18);
        assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &ignored),
                         depth <= 100 ? WEIR_OK : WEIR_ELIMIT);
        w.len = 0;
        for (unsigned i = 0; i < depth; i++)
            put_tag(&w, 900, 3);
        for (unsigned i = 0; i < depth; i++)
            put_tag(&w, 900, 4);
        assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &ignored),
                         depth <= 100 ? WEIR_OK : WEIR_ELIMIT);
        weir_bytes_done(&w);
        weir_arena_reset(&arena);
    }
    /* two messages and a group within them, then two groups */
    static const uint8_t fits[] = { 0x92, 1, 7, 0x92, 1, 4, 0xA3, 6, 0xA4, 6 };
    static const uint8_t deeper[] = { 0x92, 1, 11, 0x92, 1, 8, 0xA3, 6, 0xAB, 6, 0xAC, 6, 0xA4, 6 };
    assert_int_equal(unpack_with(&kinds__kinds__descriptor, fits, sizeof fits, &three, &ignored),
                     WEIR_OK);
    assert_int_equal(
        unpack_with(&kinds__kinds__descriptor, deeper, sizeof deeper, &three, &ignored),
        WEIR_ELIMIT);
}

static void two_mb_of_empty_messages_are_refused_by_the_budget(void **state)
{
    (void)state;
    Kinds__Kinds *ignored;
    weir_bytes w = { 0 };
    while (w.len < 2 * 1000 * 1000)
        put_block(&w, 37, "", 0);
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &ignored), WEIR_ELIMIT);
    assert_string_equal(why, "expands beyond the arena's budget");
    assert_true(calls < 200); /* chunks of 256 KiB */

    /* One after the other of two fields: arrays grow again and again, within the budget too. */
    w.len = 0;
    while (w.len < 3500 * 1000) {
        put_block(&w, 37, "", 0);
        put_tag(&w, 41, 0);
        put_varint(&w, 1);
    }
    weir_arena_reset(&arena);
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &ignored), WEIR_ELIMIT);
    assert_string_equal(why, "expands beyond the arena's budget");
    weir_bytes_done(&w);
}

/* Arrays grow at least twofold: else these would take 64 MB, and the copying of as much. */
static void fields_that_take_turns_cost_in_proportion(void **state)
{
    (void)state;
    Kinds__Kinds *kinds;
    weir_bytes w = { 0 };
    for (uint64_t i = 0; i < 4000; i++) {
        put_tag(&w, 41, 0);
        put_varint(&w, i);
        put_text(&w, 34, "");
    }
    weir_arena_done(&arena);
    weir_arena_init(&arena, &counting, NULL, 0, 256 * 1024);
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &kinds), WEIR_OK);
    assert_int_equal(kinds->n_many_text, 4000);
    for (int32_t i = 0; i < 4000; i++)
        assert_int_equal(kinds->loose_i32[i], i);
    weir_bytes_done(&w);
}

static void more_fields_and_elements_than_the_limit_are_refused(void **state)
{
    (void)state;
    static const weir_protobuf_limits five = { .fields_max = 5 };
    static const wire_case fits[] = {
        CASE("numbers", "\x08\x01\x08\x01\x08\x01\x08\x01\x08\x01", ""),
        CASE("packed", "\xAA\x01\x04\x01\x02\x03\x04", ""),
        CASE("unknown", "\xC8\x3E\x01\xC8\x3E\x01\xC8\x3E\x01\xC8\x3E\x01\xC8\x3E\x01", ""),
        CASE("a group", "\xCB\x3E\x08\x01\x08\x01\x08\x01\xCC\x3E", ""),
        CASE("texts", "\x92\x02\x00\x92\x02\x00\x92\x02\x00\x92\x02\x00\x92\x02\x00", ""),
    };
    for (size_t i = 0; i < sizeof fits / sizeof *fits; i++) {
        Kinds__Kinds *ignored;
        char more[64] = "\x08\x01";
        memcpy(more + 2, fits[i].bytes, fits[i].n);
        assert_int_equal(
            unpack_with(&kinds__kinds__descriptor, fits[i].bytes, fits[i].n, &five, &ignored),
            WEIR_OK);
        assert_int_equal(
            unpack_with(&kinds__kinds__descriptor, more, fits[i].n + 2, &five, &ignored),
            WEIR_ELIMIT);
        assert_string_equal(why, "too many fields and elements");
    }
}

static void what_is_longer_than_the_limit_is_refused(void **state)
{
    (void)state;
    Kinds__Kinds *ignored;
    weir_protobuf_limits limits = { .bytes_max = 4 };
    assert_int_equal(
        unpack_with(&kinds__kinds__descriptor, "\x08\x01\x08\x01", 4, &limits, &ignored), WEIR_OK);
    assert_int_equal(
        unpack_with(&kinds__kinds__descriptor, "\x08\x01\x08\x01\x08", 5, &limits, &ignored),
        WEIR_ELIMIT);
    weir_bytes w = { 0 };
    put_tag(&w, 15, 2);
    put_varint(&w, 4 * 1024 * 1024 - 5);
    assert_int_equal(weir_bytes_reserve(&w, 4 * 1024 * 1024), WEIR_OK);
    memset(w.at + w.len, 'x', 4 * 1024 * 1024);
    w.len = 4 * 1024 * 1024;
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &ignored), WEIR_OK);
    w.len++;
    assert_int_equal(unpack_bytes(&kinds__kinds__descriptor, &w, &ignored), WEIR_ELIMIT);
    assert_string_equal(why, "longer than bytes_max");
    limits.bytes_max = UINT32_MAX;
    assert_int_equal(unpack_with(&kinds__kinds__descriptor, w.at, w.len, &limits, &ignored),
                     WEIR_EPROTO);
    weir_bytes_done(&w);
    limits.depth_max = 101;
    assert_int_equal(unpack_with(&kinds__kinds__descriptor, "", 0, &limits, &ignored), WEIR_EINVAL);
}

/* ---- Memory ---- */

static void every_allocation_may_fail(void **state)
{
    (void)state;
    weir_bytes w = { 0 };
    uint64_t seed = 12345;
    for (int i = 0; i < 20; i++)
        put_random_field(&w, &kinds__kinds__descriptor.fields[40], 4, &seed);
    for (int i = 0; i < 20; i++)
        put_random(&w, &kinds__kinds__descriptor, 0, &seed);
    size_t failed = 0;
    for (size_t nth = 1;; nth++) {
        static const weir_protobuf_limits keep = { .keep_unknown = true };
        Kinds__Kinds *kinds;
        weir_arena_done(&arena);
        weir_arena_init(&arena, &counting, NULL, 0, 0);
        calls = 0;
        fails_at = nth;
        weir_status status = unpack_with(&kinds__kinds__descriptor, w.at, w.len, &keep, &kinds);
        fails_at = 0;
        if (status == WEIR_OK)
            break;
        assert_int_equal(status, WEIR_ENOMEM);
        failed++;
    }
    assert_true(failed >= 3);
    weir_bytes_done(&w);
}

static void every_budget_suffices_or_is_told(void **state)
{
    (void)state;
    weir_bytes w = { 0 };
    uint64_t seed = 4;
    put_random(&w, &kinds__kinds__descriptor, 2, &seed);
    bool fitted = false;
    for (size_t budget = 8; budget < 200000 && !fitted; budget += budget < 2000 ? 8 : 1000) {
        Kinds__Kinds *kinds;
        weir_arena_done(&arena);
        weir_arena_init(&arena, &counting, NULL, 0, budget);
        weir_status status = unpack_bytes(&kinds__kinds__descriptor, &w, &kinds);
        assert_true(status == WEIR_OK || status == WEIR_ELIMIT);
        fitted = status == WEIR_OK;
    }
    assert_true(fitted);
    weir_bytes_done(&w);
}

static void message_after_message_allocates_nothing(void **state)
{
    (void)state;
    weir_bytes w = { 0 };
    Kinds__Kinds *kinds;
    for (uint64_t seed = 2; w.len < 3000; seed++)
        put_random(&w, &kinds__kinds__descriptor, 0, &seed);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(weir_protobuf_unpack(&kinds__kinds__descriptor, w.at, w.len, NULL, &arena,
                                              (ProtobufCMessage **)&kinds, NULL),
                         WEIR_OK);
        weir_arena_reset(&arena);
        if (i == 2)
            calls = 0;
    }
    assert_int_equal(calls, 0);
    weir_bytes_done(&w);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(random_messages_read_as_protobuf_c_reads_them),
        TEST(descriptors_without_init_function_do),
        TEST(what_is_cut_short_at_any_byte_is_read_or_refused_as_protobuf_c_does),
        TEST(parts_of_a_singular_message_add_up),
        TEST(repeated_fields_of_the_parts_are_joined),
        TEST(of_a_oneof_the_last_stays_and_its_parts_add_up),
        TEST(a_known_field_of_another_wire_type_is_an_unknown_one),
        TEST(unknown_fields_are_skipped_or_kept_groups_too),
        TEST(fields_of_proto2_have_presence_and_defaults),
        TEST(a_missing_required_field_is_refused_wherever_it_is),
        TEST(what_is_malformed_is_refused_for_its_reason),
        TEST(longer_numbers_than_need_be_are_read),
        TEST(strings_must_be_utf8_without_nul),
        TEST(a_depth_bomb_of_28_kb_is_refused),
        TEST(groups_and_messages_count_for_the_depth),
        TEST(two_mb_of_empty_messages_are_refused_by_the_budget),
        TEST(fields_that_take_turns_cost_in_proportion),
        TEST(more_fields_and_elements_than_the_limit_are_refused),
        TEST(what_is_longer_than_the_limit_is_refused),
        TEST(every_allocation_may_fail),
        TEST(every_budget_suffices_or_is_told),
        TEST(message_after_message_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
