/* Tests of arenas at their public interface. */
#include <weir/arena.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct heap {
    size_t calls, blocks;
    bool fails;
} heap;

static void *resize(void *memory, size_t bytes, void *user)
{
    heap *h = user;
    if (bytes == 0) {
        h->blocks -= memory != NULL;
        free(memory);
        return NULL;
    }
    h->calls++;
    if (h->fails)
        return NULL;
    h->blocks += memory == NULL;
    return realloc(memory, bytes);
}

static weir_env env_of(heap *h)
{
    return (weir_env){ .allocator = { resize, h } };
}

static void what_is_taken_is_aligned_and_does_not_overlap(void **state)
{
    (void)state;
    heap h = { 0 };
    weir_env env = env_of(&h);
    char first[200], *taken[300];
    weir_arena arena;
    weir_arena_init(&arena, &env, first + 1, sizeof first - 1, 0);
    for (size_t i = 0; i < 300; i++) {
        taken[i] = weir_arena_take(&arena, i);
        assert_non_null(taken[i]);
        assert_int_equal((uintptr_t)taken[i] % 8, 0);
        memset(taken[i], (int)i, i);
    }
    for (size_t i = 0; i < 300; i++)
        for (size_t k = 0; k < i; k++)
            assert_int_equal((unsigned char)taken[i][k], i & 0xFF);
    weir_arena_done(&arena);
    assert_int_equal(h.blocks, 0);
}

static void nothing_has_an_address_even_in_an_arena_of_nothing(void **state)
{
    (void)state;
    char first[4];
    weir_arena arena;
    weir_arena_init(&arena, NULL, NULL, 0, 0);
    assert_non_null(weir_arena_take(&arena, 0));
    weir_arena_done(&arena);
    for (size_t n = 0; n < sizeof first; n++) {
        weir_arena_init(&arena, NULL, first + n, sizeof first - n, 0);
        assert_non_null(weir_arena_take(&arena, 0));
        assert_non_null(weir_arena_take(&arena, 1));
        weir_arena_done(&arena);
    }
}

static void the_first_chunk_serves_without_allocating(void **state)
{
    (void)state;
    heap h = { 0 };
    weir_env env = env_of(&h);
    _Alignas(8) char first[256];
    weir_arena arena;
    weir_arena_init(&arena, &env, first, sizeof first, 0);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 32; i++)
            assert_in_range((uintptr_t)weir_arena_take(&arena, 7), (uintptr_t)first,
                            (uintptr_t)first + 255);
        weir_arena_reset(&arena);
    }
    assert_int_equal(h.calls, 0);
    weir_arena_done(&arena);
}

static void the_budget_is_kept_to_the_byte_and_given_back_by_a_reset(void **state)
{
    (void)state;
    weir_arena arena;
    weir_arena_init(&arena, NULL, NULL, 0, 4096);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 4; i++)
            assert_non_null(weir_arena_take(&arena, 1020)); /* 1024 with what aligns them */
        assert_null(weir_arena_take(&arena, 1));
        assert_non_null(weir_arena_take(&arena, 0));
        weir_arena_reset(&arena);
    }
    assert_null(weir_arena_take(&arena, 4097));
    assert_non_null(weir_arena_take(&arena, 4096));
    weir_arena_done(&arena);
}

static void sizes_beyond_all_reason_are_refused(void **state)
{
    (void)state;
    weir_arena arena;
    weir_arena_init(&arena, NULL, NULL, 0, SIZE_MAX);
    for (size_t i = 0; i < 64; i++)
        assert_null(weir_arena_take(&arena, SIZE_MAX - i));
    assert_null(weir_arena_copy(&arena, "", SIZE_MAX));
    assert_non_null(weir_arena_take(&arena, 8));
    weir_arena_done(&arena);
}

static void want_of_memory_is_told_and_costs_no_budget(void **state)
{
    (void)state;
    heap h = { .fails = true };
    weir_env env = env_of(&h);
    weir_arena arena;
    weir_arena_init(&arena, &env, NULL, 0, 1000);
    for (int i = 0; i < 10; i++)
        assert_null(weir_arena_take(&arena, 1000));
    h.fails = false;
    assert_non_null(weir_arena_take(&arena, 1000));
    weir_arena_done(&arena);
    assert_int_equal(h.blocks, 0);
}

/* What one round takes: `n` times `bytes`. */
static void take_round(weir_arena *arena, size_t n, size_t bytes)
{
    for (size_t i = 0; i < n; i++)
        assert_non_null(weir_arena_take(arena, bytes));
    weir_arena_reset(arena);
}

static void the_same_again_allocates_nothing(void **state)
{
    (void)state;
    static const size_t rounds[][2] = { { 100, 8 }, { 100, 100 }, { 600, 100 }, { 1, 60000 } };
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
        heap h = { 0 };
        weir_env env = env_of(&h);
        char first[64];
        weir_arena arena;
        weir_arena_init(&arena, &env, first, sizeof first, 0);
        for (int round = 0; round < 3; round++)
            take_round(&arena, rounds[i][0], rounds[i][1]);
        size_t calls = h.calls;
        for (int round = 0; round < 10; round++)
            take_round(&arena, rounds[i][0], rounds[i][1]);
        assert_int_equal(h.calls, calls);
        assert_true(h.blocks <= 1);
        weir_arena_done(&arena);
        assert_int_equal(h.blocks, 0);
    }
}

static void what_is_large_is_given_back_by_a_reset(void **state)
{
    (void)state;
    heap h = { 0 };
    weir_env env = env_of(&h);
    weir_arena arena;
    weir_arena_init(&arena, &env, NULL, 0, 0);
    take_round(&arena, 10, 100000);
    assert_int_equal(h.blocks, 0);
    weir_arena_done(&arena);
}

static void what_is_large_leaves_the_rest_of_a_chunk_in_use(void **state)
{
    (void)state;
    heap h = { 0 };
    weir_env env = env_of(&h);
    _Alignas(8) char first[256];
    weir_arena arena;
    weir_arena_init(&arena, &env, first, sizeof first, 0);
    assert_non_null(weir_arena_take(&arena, 5000));
    assert_ptr_equal(weir_arena_take(&arena, 256), first);
    assert_int_equal(h.calls, 1);
    weir_arena_done(&arena);
}

static void a_copy_ends_with_a_nul(void **state)
{
    (void)state;
    weir_arena arena;
    weir_arena_init(&arena, NULL, NULL, 0, 0);
    assert_string_equal(weir_arena_copy(&arena, "four more", 4), "four");
    assert_string_equal(weir_arena_copy(&arena, NULL, 0), "");
    weir_arena_done(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_taken_is_aligned_and_does_not_overlap),
        cmocka_unit_test(nothing_has_an_address_even_in_an_arena_of_nothing),
        cmocka_unit_test(the_first_chunk_serves_without_allocating),
        cmocka_unit_test(the_budget_is_kept_to_the_byte_and_given_back_by_a_reset),
        cmocka_unit_test(sizes_beyond_all_reason_are_refused),
        cmocka_unit_test(want_of_memory_is_told_and_costs_no_budget),
        cmocka_unit_test(the_same_again_allocates_nothing),
        cmocka_unit_test(what_is_large_is_given_back_by_a_reset),
        cmocka_unit_test(what_is_large_leaves_the_rest_of_a_chunk_in_use),
        cmocka_unit_test(a_copy_ends_with_a_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
