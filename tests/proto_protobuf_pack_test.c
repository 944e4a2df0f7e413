/* Tests of packing Protocol Buffers: the bytes are protobuf-c's, the limits are ours. */
#include "protobuf_rig.h"

#include "kinds.pb-c.h"
#include "old.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Packs into a block of exactly `cap` bytes, and gives it. */
static uint8_t *pack(const ProtobufCMessage *message, size_t cap, weir_status wanted)
{
    uint8_t *buffer = malloc(cap > 0 ? cap : 1);
    size_t n = SIZE_MAX - 1;
    weir_status status = weir_protobuf_pack(message, cap > 0 ? buffer : NULL, cap, &n);
    assert_int_equal(status, wanted);
    assert_int_equal(n, status == WEIR_OK ? weir_protobuf_size(message) : SIZE_MAX - 1);
    return buffer;
}

static void check_beside_protobuf_c(const ProtobufCMessage *message)
{
    size_t n = protobuf_c_message_get_packed_size(message);
    uint8_t *theirs = malloc(n + 1);
    assert_int_equal(protobuf_c_message_pack(message, theirs), n);
    assert_int_equal(weir_protobuf_size(message), n);
    for (size_t more = 0; more < 3; more++) {
        uint8_t *ours = pack(message, n + more * more * 500, WEIR_OK);
        assert_memory_equal(ours, theirs, n);
        free(ours);
    }
    if (n > 0)
        free(pack(message, n - 1, WEIR_ELIMIT));
    free(theirs);
}

static void random_messages_are_packed_byte_for_byte_as_protobuf_c_does(void **state)
{
    (void)state;
    static const ProtobufCMessageDescriptor *const types[] = {
        &kinds__kinds__descriptor, &kinds__empty__descriptor, &old__old__descriptor,
        &old__needs__descriptor,   &old__wide__descriptor,
    };
    for (uint64_t seed = 1; seed <= 5000; seed++) {
        uint64_t at = seed * UINT64_C(0x9E3779B97F4A7C15);
        weir_bytes w = { 0 };
        put_random(&w, types[seed % 5], (unsigned)(seed % 4), &at);
        ProtobufCMessage *message = protobuf_c_message_unpack(types[seed % 5], NULL, w.len,
                                                              (const uint8_t *)w.at);
        assert_non_null(message);
        check_beside_protobuf_c(message);
        protobuf_c_message_free_unpacked(message, NULL);
        weir_bytes_done(&w);
    }
}

static void any_room_that_is_too_small_is_told(void **state)
{
    (void)state;
    weir_bytes w = { 0 };
    uint64_t seed = 99;
    for (int i = 0; i < 6; i++)
        put_random(&w, &kinds__kinds__descriptor, 0, &seed);
    put_random_field(&w, &kinds__kinds__descriptor.fields[40], 3, &seed);
    ProtobufCMessage *message = protobuf_c_message_unpack(&kinds__kinds__descriptor, NULL, w.len,
                                                          (const uint8_t *)w.at);
    assert_non_null(message);
    size_t n = weir_protobuf_size(message);
    for (size_t cap = 0; cap < n; cap++)
        free(pack(message, cap, WEIR_ELIMIT));
    free(pack(message, n, WEIR_OK));
    protobuf_c_message_free_unpacked(message, NULL);
    weir_bytes_done(&w);
}

static void an_empty_message_takes_no_bytes_and_no_buffer(void **state)
{
    (void)state;
    Kinds__Kinds kinds = KINDS__KINDS__INIT;
    check_beside_protobuf_c(&kinds.base);
    free(pack(&kinds.base, 0, WEIR_OK));
    kinds.i32 = 1;
    free(pack(&kinds.base, 0, WEIR_ELIMIT));
}

static void what_a_caller_leaves_null_is_empty(void **state)
{
    (void)state;
    Kinds__Kinds kinds = KINDS__KINDS__INIT;
    char *texts[] = { "a", NULL, "" };
    Kinds__Leaf leaf = KINDS__LEAF__INIT, *leaves[] = { &leaf, NULL };
    leaf.name = NULL;
    kinds.text = NULL;
    check_beside_protobuf_c(&kinds.base);
    kinds.n_many_text = 3;
    kinds.many_text = texts;
    uint8_t *bytes = pack(&kinds.base, 10, WEIR_OK);
    assert_memory_equal(bytes, "\x92\x02\x01\x61\x92\x02\x00\x92\x02\x00", 10);
    free(bytes);
    kinds.n_many_text = 0;
    kinds.n_many_leaf = 2;
    kinds.many_leaf = leaves;
    bytes = pack(&kinds.base, 6, WEIR_OK);
    assert_memory_equal(bytes, "\xAA\x02\x00\xAA\x02\x00", 6);
    free(bytes);
    Old__Needs needs = OLD__NEEDS__INIT;
    needs.name = NULL;
    check_beside_protobuf_c(&needs.base);
}

static void large_bytes_are_packed_wherever_they_stand(void **state)
{
    (void)state;
    enum { LARGE = 1 << 20 };
    char *data = malloc(LARGE + 1);
    memset(data, 'd', LARGE);
    data[LARGE] = '\0';
    int32_t numbers[300];
    for (int32_t i = 0; i < 300; i++)
        numbers[i] = i * 1000;
    double *wide = calloc(10000, sizeof *wide);
    Kinds__Kinds inner = KINDS__KINDS__INIT, kinds = KINDS__KINDS__INIT;
    inner.n_many_i32 = 300;
    inner.many_i32 = numbers;
    kinds.data = (ProtobufCBinaryData){ LARGE, (uint8_t *)data };
    check_beside_protobuf_c(&kinds.base);
    kinds.below = &inner; /* written before the data, which stands before it */
    check_beside_protobuf_c(&kinds.base);
    inner.text = data;
    inner.n_many_wide = 10000;
    inner.many_wide = wide;
    check_beside_protobuf_c(&kinds.base);
    kinds.farthest = "the end";
    check_beside_protobuf_c(&kinds.base);
    free(wide);
    free(data);
}

static void more_than_100_levels_are_refused(void **state)
{
    (void)state;
    static Kinds__Kinds levels[200];
    for (unsigned i = 0; i < 200; i++) {
        kinds__kinds__init(&levels[i]);
        levels[i].i32 = (int32_t)i;
        levels[i].below = i == 0 ? NULL : &levels[i - 1];
    }
    check_beside_protobuf_c(&levels[100].base);
    assert_int_equal(weir_protobuf_size(&levels[101].base), SIZE_MAX);
    assert_int_equal(weir_protobuf_size(&levels[199].base), SIZE_MAX);
    uint8_t buffer[4096];
    size_t n;
    assert_int_equal(weir_protobuf_pack(&levels[101].base, buffer, sizeof buffer, &n), WEIR_ELIMIT);
    levels[1].below = &levels[1]; /* and a message that holds itself ends too */
    assert_int_equal(weir_protobuf_size(&levels[1].base), SIZE_MAX);
}

static void a_negative_zero_is_kept(void **state)
{
    (void)state;
    Kinds__Kinds kinds = KINDS__KINDS__INIT;
    kinds.wide = -0.0;
    kinds.real = -0.0f;
    uint8_t *bytes = pack(&kinds.base, 14, WEIR_OK);
    assert_memory_equal(bytes, "\x5D\0\0\0\x80\x61\0\0\0\0\0\0\0\x80", 14);
    free(bytes);
}

static void a_member_of_a_oneof_is_kept_though_it_is_the_default(void **state)
{
    (void)state;
    Kinds__Kinds kinds = KINDS__KINDS__INIT;
    kinds.choice_case = KINDS__KINDS__CHOICE_CHOICE_TEXT;
    kinds.choice_text = (char *)protobuf_c_empty_string;
    uint8_t *bytes = pack(&kinds.base, 3, WEIR_OK);
    assert_memory_equal(bytes, "\xA2\x03\x00", 3);
    free(bytes);
    kinds.choice_case = KINDS__KINDS__CHOICE_CHOICE_I32;
    kinds.choice_i32 = 0;
    check_beside_protobuf_c(&kinds.base);
}

static void empty_bytes_of_proto3_are_left_out(void **state)
{
    (void)state;
    Kinds__Kinds kinds = KINDS__KINDS__INIT;
    kinds.data = (ProtobufCBinaryData){ 0, (uint8_t *)&kinds };
    assert_int_equal(weir_protobuf_size(&kinds.base), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_messages_are_packed_byte_for_byte_as_protobuf_c_does),
        cmocka_unit_test(any_room_that_is_too_small_is_told),
        cmocka_unit_test(an_empty_message_takes_no_bytes_and_no_buffer),
        cmocka_unit_test(what_a_caller_leaves_null_is_empty),
        cmocka_unit_test(large_bytes_are_packed_wherever_they_stand),
        cmocka_unit_test(more_than_100_levels_are_refused),
        cmocka_unit_test(a_negative_zero_is_kept),
        cmocka_unit_test(a_member_of_a_oneof_is_kept_though_it_is_the_default),
        cmocka_unit_test(empty_bytes_of_proto3_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
