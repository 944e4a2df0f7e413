/* Tests of protobuf's JSON against what is hostile or scarce: depth, size, cut texts, no memory. */
#include "protobuf_json_rig.h"

#include <weir/env.h>

#define T "type.googleapis.com/"

/* Everything at once. */
static const char all[] =
    "{\"i32\":-5,\"i64\":\"9007199254740993\",\"real\":0.1,\"wide\":1e300,\"yes\":true,"
    "\"text\":\"a\\n\xC3\xA4\xF0\x9F\x98\x80\",\"data\":\"AQID\",\"colour\":\"RED\","
    "\"leaf\":{\"name\":\"n\"},\"below\":{\"below\":{\"i32\":1}},\"manyI32\":[1,2,3,4,5,6,7,8,9],"
    "\"manyText\":[\"\",\"b\"],\"manyLeaf\":[{},{\"itemCount\":4},{},{},{}],"
    "\"byText\":{\"a\":\"1\",\"b\":\"2\",\"c\":\"3\",\"d\":\"\",\"e\":\"\",\"f\":\"\",\"g\":\"\","
    "\"h\":\"\",\"i\":\"\"},\"byI32\":{\"1\":{\"name\":\"x\"}},\"choiceData\":\"AA==\","
    "\"moment\":\"2024-02-29T12:00:00.123Z\",\"span\":\"-1.500s\",\"mask\":\"a,b.cD\","
    "\"object\":{\"k\":[1,{\"l\":null}],\"m\":\"s\"},\"value\":[true],\"nothing\":{},"
    "\"any\":{\"@type\":\"" T "json_kinds.Leaf\",\"name\":\"in\"},\"stringValue\":\"w\","
    "\"manyAny\":[{\"@type\":\"" T "google.protobuf.Any\",\"value\":{\"@type\":\"" T
    "google.protobuf.Struct\",\"value\":{\"a\":[1,2]}}}]}";

static void everything_comes_back_the_same(void **state)
{
    (void)state;
    check_same(KINDS, all);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    for (size_t n = 0; n + 1 < sizeof all; n++) {
        rig r;
        ProtobufCMessage *message = NULL;
        rig_begin(&r, NULL);
        assert_int_equal(rig_read_n(&r, KINDS, all, n, &rig_strict, &message), WEIR_EPROTO);
        assert_null(message);
        rig_end(&r);
    }
}

/* Whatever a byte is changed to, it is read or refused; what is read is written. */
static void no_changed_byte_does_harm(void **state)
{
    (void)state;
    static const char others[] = { '"', '{', '}', '[', ']', ',', ':', '0', 'n', '\\', '@', 0, -1 };
    char text[sizeof all];
    for (size_t i = 0; i + 1 < sizeof all; i++) {
        for (size_t j = 0; j < sizeof others; j++) {
            rig r;
            ProtobufCMessage *message = NULL;
            memcpy(text, all, sizeof all);
            text[i] = others[j];
            rig_begin(&r, NULL);
            weir_status status = rig_read_n(&r, KINDS, text, sizeof all - 1, &rig_lenient,
                                            &message);
            if (status == WEIR_OK)
                status = rig_write(&r, message, &rig_lenient);
            if (status != WEIR_OK && status != WEIR_EPROTO)
                fail_msg("%s: %s", r.why, text);
            rig_end(&r);
        }
    }
}

/* An allocator of which one call fails, and that counts its blocks. */
typedef struct failing {
    uint64_t calls, nth;
    int64_t blocks;
} failing;

static void *resize(void *memory, size_t bytes, void *user)
{
    failing *f = user;
    if (bytes == 0) {
        f->blocks -= memory != NULL;
        free(memory);
        return NULL;
    }
    if (++f->calls == f->nth)
        return NULL;
    f->blocks += memory == NULL;
    return realloc(memory, bytes);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    bool hit = true;
    for (uint64_t nth = 1; hit; nth++) {
        failing f = { .nth = nth };
        weir_env env = { .allocator = { resize, &f } };
        rig r;
        ProtobufCMessage *message = NULL;
        rig_begin(&r, &env);
        weir_status status = rig_read_n(&r, KINDS, all, sizeof all - 1, &rig_strict, &message);
        if (status == WEIR_OK)
            status = weir_protobuf_to_json(message, &rig_strict, &r.text, &r.why);
        hit = f.calls >= nth;
        assert_int_equal(status, hit ? WEIR_ENOMEM : WEIR_OK);
        assert_true(hit ? r.text.len == 0 : r.text.len == sizeof all - 1);
        rig_end(&r);
        assert_int_equal(f.blocks, 0);
        assert_true(nth < 1000);
    }
}

/* What wraps `n` times around `core`, on its own. */
static char *nested(const char *before, const char *core, const char *behind, size_t n)
{
    size_t b = strlen(before), e = strlen(behind), c = strlen(core);
    char *text = malloc(n * (b + e) + c + 1), *at = text;
    if (text == NULL)
        abort();
    for (size_t i = 0; i < n; i++, at += b)
        memcpy(at, before, b);
    memcpy(at, core, c + 1);
    at += c;
    for (size_t i = 0; i < n; i++, at += e)
        memcpy(at, behind, e + 1);
    return text;
}

static void check_depth(const char *before, const char *core, const char *behind, size_t most)
{
    const weir_protobuf_json_options shallow = { .types = &rig_types, .limits.depth_max = 99 };
    char *fits = nested(before, core, behind, most);
    char *deep = nested(before, core, behind, most + 1);
    char *far = nested(before, core, behind, 20000);
    check_same(KINDS, fits);
    check_refused_as(KINDS, deep, WEIR_ELIMIT, "nested too deep", &rig_strict);
    check_refused_as(KINDS, far, WEIR_ELIMIT, "nested too deep", &rig_strict);
    check_refused_as(KINDS, fits, WEIR_ELIMIT, "nested too deep", &shallow);
    free(fits);
    free(deep);
    free(far);
}

static void depth_is_that_of_the_messages_whatever_they_are(void **state)
{
    (void)state;
    check_depth("{\"below\":", "{}", "}", 100);
    check_depth("{\"manyBelow\":[", "{}", "]}", 100);
    check_depth("{\"belowByText\":{\"\":", "{}", "}}", 50);
    check_depth("{\"any\":{\"@type\":\"/json_kinds.Kinds\",\"below\":", "{\"below\":{}}", "}}", 33);
}

static void a_chain_of_anys_is_as_deep_as_others(void **state)
{
    (void)state;
    static const char before[] = "{\"@type\":\"/google.protobuf.Any\",\"value\":";
    char *fits = nested(before, "{\"@type\":\"/google.protobuf.ListValue\",\"value\":[]}", "}", 99);
    char *deep = nested(before, "{\"@type\":\"/google.protobuf.ListValue\",\"value\":[]}", "}",
                        100);
    check_same(&google__protobuf__any__descriptor, fits);
    check_refused_as(&google__protobuf__any__descriptor, deep, WEIR_ELIMIT, NULL, NULL);
    free(fits);
    free(deep);
}

static void lists_of_values_and_what_is_skipped_have_limits_too(void **state)
{
    (void)state;
    char *fits = nested("[", "", "]", 51), *deep = nested("[", "", "]", 52);
    check_same(&google__protobuf__list_value__descriptor, fits);
    check_refused_as(&google__protobuf__list_value__descriptor, deep, WEIR_ELIMIT, NULL, NULL);
    free(fits);
    free(deep);
    deep = nested("{\"x\":", "1", "}", 100000);
    check_refused_as(KINDS, deep, WEIR_ELIMIT, "nested too deep", NULL);
    free(deep);
}

static void writing_has_a_depth_too(void **state)
{
    (void)state;
    JsonKinds__Kinds chain[102];
    rig r;
    rig_begin(&r, NULL);
    for (int i = 0; i < 102; i++) {
        json_kinds__kinds__init(&chain[i]);
        chain[i].below = i > 0 ? &chain[i - 1] : NULL;
    }
    assert_int_equal(rig_write(&r, &chain[100].base, NULL), WEIR_OK);
    assert_int_equal(rig_write(&r, &chain[101].base, NULL), WEIR_ELIMIT);
    const weir_protobuf_json_options shallow = { .limits.depth_max = 1 };
    assert_int_equal(rig_write(&r, &chain[1].base, &shallow), WEIR_OK);
    assert_int_equal(rig_write(&r, &chain[2].base, &shallow), WEIR_ELIMIT);
    chain[0].below = &chain[101]; /* a circle ends there too */
    assert_int_equal(rig_write(&r, &chain[0].base, NULL), WEIR_ELIMIT);
    rig_end(&r);
}

static void bytes_fields_and_the_budget_are_limited(void **state)
{
    (void)state;
    weir_protobuf_json_options options = { .limits.bytes_max = 10 };
    check_becomes(KINDS, "{\"i32\":12}", "{\"i32\":12}", &options);
    check_refused_as(KINDS, "{\"i32\":123}", WEIR_ELIMIT, "the text is too long", &options);
    options = (weir_protobuf_json_options){ .limits.fields_max = 4 };
    check_becomes(KINDS, "{\"manyI32\":[1,2,3]}", "{\"manyI32\":[1,2,3]}", &options);
    check_refused_as(KINDS, "{\"manyI32\":[1,2,3,4]}", WEIR_ELIMIT, "too many fields", &options);
    check_refused_as(KINDS, "{\"a\":1,\"b\":1,\"c\":1,\"d\":1,\"e\":1}", WEIR_ELIMIT, NULL,
                     &options);
    check_refused_as(KINDS, "{\"mask\":\"a,b,c,d\"}", WEIR_ELIMIT, "too many fields", &options);
    check_refused_as(KINDS, "{\"byText\":{\"a\":\"\",\"b\":\"\",\"c\":\"\",\"d\":\"\"}}",
                     WEIR_ELIMIT, "too many fields", &options);
    rig r;
    ProtobufCMessage *message = NULL;
    rig_begin(&r, NULL);
    weir_arena_init(&r.arena, NULL, NULL, 0, sizeof(JsonKinds__Kinds) + 64);
    assert_int_equal(rig_read_n(&r, KINDS, "{\"manyI32\":[1,2,3,4]}", 21, NULL, &message), WEIR_OK);
    weir_arena_reset(&r.arena);
    assert_int_equal(rig_read_n(&r, KINDS, all, sizeof all - 1, &rig_strict, &message),
                     WEIR_ELIMIT);
    assert_string_equal(r.why, "over the arena's budget");
    rig_end(&r);
}

static void the_text_grows_up_to_the_buffers_limit(void **state)
{
    (void)state;
    JsonKinds__Leaf leaf = JSON_KINDS__LEAF__INIT;
    char name[5000];
    rig r;
    rig_begin(&r, NULL);
    memset(name, '\n', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    leaf.name = name;
    assert_int_equal(rig_write(&r, &leaf.base, NULL), WEIR_OK);
    assert_int_equal(r.text.len, 2 * (sizeof name - 1) + 11);
    weir_bytes_done(&r.text);
    r.text.bytes_max = 2000;
    assert_int_equal(rig_write(&r, &leaf.base, NULL), WEIR_ELIMIT);
    assert_int_equal(r.text.len, 0);
    rig_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_comes_back_the_same),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(no_changed_byte_does_harm),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(depth_is_that_of_the_messages_whatever_they_are),
        cmocka_unit_test(a_chain_of_anys_is_as_deep_as_others),
        cmocka_unit_test(lists_of_values_and_what_is_skipped_have_limits_too),
        cmocka_unit_test(writing_has_a_depth_too),
        cmocka_unit_test(bytes_fields_and_the_budget_are_limited),
        cmocka_unit_test(the_text_grows_up_to_the_buffers_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
