/* Tests of growing buffers at their public interface. */
#include <weir/bytes.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void a_zeroed_buffer_takes_bytes_and_grows_by_doubling(void **state)
{
    (void)state;
    weir_bytes buffer = { 0 };
    size_t moves = 0, cap = 0;
    for (int i = 0; i < 100000; i++) {
        char byte = (char)i;
        assert_int_equal(weir_bytes_append(&buffer, &byte, 1), WEIR_OK);
        moves += buffer.cap != cap;
        cap = buffer.cap;
    }
    assert_int_equal(buffer.len, 100000);
    assert_in_range(moves, 1, 12);
    for (int i = 0; i < 100000; i++)
        assert_int_equal(buffer.at[i], (char)i);
    weir_bytes_done(&buffer);
    assert_null(buffer.at);
}

static void the_limit_is_kept_to_the_byte_however_small(void **state)
{
    (void)state;
    for (size_t max = 1; max < 3000; max = max * 3 + 1) {
        weir_bytes buffer = { .bytes_max = max };
        for (size_t i = 0; i < max; i++)
            assert_int_equal(weir_bytes_append(&buffer, "x", 1), WEIR_OK);
        assert_int_equal(weir_bytes_append(&buffer, "x", 1), WEIR_ELIMIT);
        assert_int_equal(weir_bytes_reserve(&buffer, SIZE_MAX), WEIR_ELIMIT);
        assert_int_equal(weir_bytes_append(&buffer, NULL, 0), WEIR_OK);
        assert_int_equal(buffer.len, max);
        weir_bytes_done(&buffer);
        assert_int_equal(buffer.bytes_max, max);
    }
}

static void the_default_limit_is_16_mib_and_none_is_spelt_out(void **state)
{
    (void)state;
    weir_bytes buffer = { 0 };
    assert_int_equal(weir_bytes_reserve(&buffer, 16 * 1024 * 1024 + 1), WEIR_ELIMIT);
    assert_int_equal(weir_bytes_reserve(&buffer, 16 * 1024 * 1024), WEIR_OK);
    weir_bytes_done(&buffer);
    buffer.bytes_max = SIZE_MAX;
    assert_int_equal(weir_bytes_reserve(&buffer, 16 * 1024 * 1024 + 1), WEIR_OK);
    weir_bytes_done(&buffer);
}

static void room_that_was_reserved_may_be_written(void **state)
{
    (void)state;
    weir_bytes buffer = { 0 };
    for (size_t n = 1; n < 5000; n += 997) {
        assert_int_equal(weir_bytes_reserve(&buffer, n), WEIR_OK);
        assert_true(buffer.cap - buffer.len >= n);
        memset(buffer.at + buffer.len, 'y', n);
        buffer.len += n;
    }
    weir_bytes_done(&buffer);
}

static void *fails(void *memory, size_t bytes, void *user)
{
    (void)memory;
    (void)bytes;
    (void)user;
    return NULL;
}

static void want_of_memory_changes_nothing(void **state)
{
    (void)state;
    static const weir_env poor = { .allocator = { .resize = fails } };
    weir_bytes buffer = { 0 };
    assert_int_equal(weir_bytes_append(&buffer, "abc", 3), WEIR_OK);
    weir_bytes before = buffer;
    buffer.env = &poor;
    assert_int_equal(weir_bytes_reserve(&buffer, 1000), WEIR_ENOMEM);
    assert_ptr_equal(buffer.at, before.at);
    assert_int_equal(buffer.len, 3);
    assert_int_equal(buffer.cap, before.cap);
    buffer.env = NULL;
    weir_bytes_done(&buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_zeroed_buffer_takes_bytes_and_grows_by_doubling),
        cmocka_unit_test(the_limit_is_kept_to_the_byte_however_small),
        cmocka_unit_test(the_default_limit_is_16_mib_and_none_is_spelt_out),
        cmocka_unit_test(room_that_was_reserved_may_be_written),
        cmocka_unit_test(want_of_memory_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
