/* Tests of the JSON reader and writer at their public interface. */
#include <weir/json.h>

#include "proto_json_cases.h"

#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint64_t chance(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* Reads a text to its end from a block of exactly its size, so that a sanitizer sees a byte too
 * many. The reader keeps its verdict. */
static weir_status read_all(weir_json_reader *reader, const char *text, size_t len,
                            const weir_json_limits *limits)
{
    char *copy = malloc(len > 0 ? len : 1);
    weir_json_token token = { NULL, 0, WEIR_JSON_NULL, false };
    assert_non_null(copy);
    memcpy(copy, text, len);
    weir_status status = weir_json_open(reader, copy, len, limits);
    while (status == WEIR_OK) {
        status = weir_json_next(reader, &token);
        if (status == WEIR_OK && token.kind == WEIR_JSON_END)
            break;
    }
    free(copy);
    return status;
}

static weir_status read_text(const char *text)
{
    weir_json_reader reader;
    return read_all(&reader, text, strlen(text), NULL);
}

static void check_cases(const json_case *cases, size_t count)
{
    weir_json_reader reader;
    for (size_t i = 0; i < count; i++) {
        weir_status status = read_all(&reader, cases[i].text, cases[i].len, NULL);
        if (reader.reason != cases[i].reason)
            fail_msg("%s: \"%s\" at %zu, not \"%s\"", cases[i].text, reader.error, reader.offset,
                     weir_json_reason_text(cases[i].reason));
        assert_int_equal(status == WEIR_OK, cases[i].reason == WEIR_JSON_REASON_NONE);
        assert_true(reader.offset <= cases[i].len);
        assert_string_equal(reader.error, weir_json_reason_text(cases[i].reason));
    }
}

static void what_every_parser_must_accept_is_accepted(void **state)
{
    (void)state;
    check_cases(must_accept, COUNT(must_accept));
}

static void what_every_parser_must_refuse_is_refused_for_its_reason(void **state)
{
    (void)state;
    check_cases(must_refuse, COUNT(must_refuse));
}

static void what_the_standard_leaves_open_is_decided_strictly(void **state)
{
    (void)state;
    check_cases(may_accept, COUNT(may_accept));
}

static void every_truncation_of_a_valid_text_is_refused_as_cut_short(void **state)
{
    (void)state;
    weir_json_reader reader;
    for (size_t i = 0; i < COUNT(must_accept); i++) {
        const char *text = must_accept[i].text;
        size_t len = must_accept[i].len;
        while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL)
            len--;
        if (strchr("]}\"el", text[len - 1]) == NULL)
            continue; /* a number's beginning may be a number */
        while (len-- > 0) {
            assert_int_equal(read_all(&reader, text, len, NULL), WEIR_EPARTIAL);
            assert_int_equal(reader.reason, WEIR_JSON_REASON_TRUNCATED);
            assert_int_equal(reader.offset, len);
        }
    }
}

static void open_text(weir_json_reader *reader, const char *text)
{
    assert_int_equal(weir_json_open(reader, text, strlen(text), NULL), WEIR_OK);
}

static weir_json_token take(weir_json_reader *reader, weir_json_kind kind)
{
    weir_json_token token = { NULL, 0, WEIR_JSON_NULL, false };
    assert_int_equal(weir_json_next(reader, &token), WEIR_OK);
    assert_int_equal(token.kind, kind);
    return token;
}

static void tokens_come_in_the_order_of_the_text(void **state)
{
    (void)state;
    weir_json_reader reader;
    open_text(&reader, " {\"a\": [1, \"x\\n\", true], \"b\" : {\"c\":null, \"d\":false}} ");
    take(&reader, WEIR_JSON_BEGIN_OBJECT);
    assert_true(weir_json_equals(&(weir_json_token){ "a", 1, WEIR_JSON_KEY, false }, "a"));
    weir_json_token key = take(&reader, WEIR_JSON_KEY);
    assert_true(weir_json_equals(&key, "a"));
    assert_false(weir_json_equals(&key, "ab"));
    take(&reader, WEIR_JSON_BEGIN_ARRAY);
    take(&reader, WEIR_JSON_NUMBER);
    weir_json_token string = take(&reader, WEIR_JSON_STRING);
    assert_true(string.has_escapes);
    assert_true(weir_json_equals(&string, "x\n"));
    assert_false(weir_json_equals(&string, "x"));
    assert_false(weir_json_equals(&string, "x\nx"));
    take(&reader, WEIR_JSON_TRUE);
    take(&reader, WEIR_JSON_END_ARRAY);
    take(&reader, WEIR_JSON_KEY);
    take(&reader, WEIR_JSON_BEGIN_OBJECT);
    take(&reader, WEIR_JSON_KEY);
    assert_false(weir_json_equals(&(weir_json_token){ "null", 4, WEIR_JSON_NULL, false }, "null"));
    take(&reader, WEIR_JSON_NULL);
    take(&reader, WEIR_JSON_KEY);
    take(&reader, WEIR_JSON_FALSE);
    take(&reader, WEIR_JSON_END_OBJECT);
    take(&reader, WEIR_JSON_END_OBJECT);
    take(&reader, WEIR_JSON_END);
    take(&reader, WEIR_JSON_END);
}

static void an_error_stays_and_writes_no_token(void **state)
{
    (void)state;
    weir_json_reader reader;
    weir_json_token token = { "kept", 4, WEIR_JSON_NULL, false };
    open_text(&reader, "[x]");
    take(&reader, WEIR_JSON_BEGIN_ARRAY);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(weir_json_next(&reader, &token), WEIR_EPROTO);
        assert_int_equal(weir_json_skip(&reader), WEIR_EPROTO);
        assert_int_equal(weir_json_leave(&reader), WEIR_EPROTO);
        assert_int_equal(reader.offset, 1);
    }
}

static void an_error_is_told_by_line_and_column(void **state)
{
    (void)state;
    weir_json_reader reader;
    const char *text = "{\n  \"a\": 1,\n  \"b\": nil\n}";
    size_t line = 0;
    size_t column = 0;
    assert_int_equal(weir_json_open(&reader, text, strlen(text), NULL), WEIR_OK);
    take(&reader, WEIR_JSON_BEGIN_OBJECT);
    assert_int_equal(weir_json_leave(&reader), WEIR_EPROTO);
    weir_json_where(&reader, &line, &column);
    assert_int_equal(line, 3);
    assert_int_equal(column, 9);
}

static void skip_reads_past_any_value_and_checks_it(void **state)
{
    (void)state;
    weir_json_reader reader;
    open_text(&reader, "{\"a\":{\"b\":[1,{\"c\":[]}]},\"d\":[1,2,3],\"e\":5}");
    assert_int_equal(weir_json_leave(&reader), WEIR_EINVAL);
    take(&reader, WEIR_JSON_BEGIN_OBJECT);
    assert_int_equal(weir_json_skip(&reader), WEIR_EINVAL);
    take(&reader, WEIR_JSON_KEY);
    assert_int_equal(weir_json_skip(&reader), WEIR_OK);
    weir_json_token key = take(&reader, WEIR_JSON_KEY);
    assert_true(weir_json_equals(&key, "d"));
    take(&reader, WEIR_JSON_BEGIN_ARRAY);
    for (int i = 0; i < 3; i++)
        assert_int_equal(weir_json_skip(&reader), WEIR_OK);
    assert_int_equal(weir_json_skip(&reader), WEIR_EINVAL);
    take(&reader, WEIR_JSON_END_ARRAY);
    assert_int_equal(weir_json_leave(&reader), WEIR_OK);
    take(&reader, WEIR_JSON_END);
    assert_int_equal(weir_json_skip(&reader), WEIR_EINVAL);

    open_text(&reader, "[{\"a\":{\"b\":1,\"\\u0062\":1}}]");
    assert_int_equal(weir_json_skip(&reader), WEIR_EEXIST);
}

static void strings_decode_as_they_were_meant(void **state)
{
    (void)state;
    weir_json_reader reader;
    char buf[64];
    size_t len = 0;
    static const char expected[] = "\"\\/\b\f\n\r\t\0A\xC3\xA4\xE2\x82\xAC\xF0\x9D\x84\x9E.";
    open_text(&reader, "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0000\\u0041\\u00e4\\u20AC\\ud834\\uDD1e.\"");
    weir_json_token token = take(&reader, WEIR_JSON_STRING);
    assert_int_equal(weir_json_unescape(&token, buf, sizeof(buf), &len), WEIR_OK);
    assert_int_equal(len, sizeof(expected) - 1);
    assert_memory_equal(buf, expected, sizeof(expected));
    assert_true(weir_json_equals_span(&token, expected, len));
    assert_false(weir_json_equals_span(&token, expected, len - 1));
    assert_int_equal(weir_json_unescape(&token, buf, len + 1, &len), WEIR_OK);
    for (size_t cap = 0; cap <= len; cap++) {
        char *exact = malloc(cap + 1);
        size_t kept = 77;
        assert_int_equal(weir_json_unescape(&token, exact + 1, cap, &kept), WEIR_ELIMIT);
        assert_int_equal(kept, 77);
        free(exact);
    }
    token.kind = WEIR_JSON_NUMBER;
    assert_int_equal(weir_json_unescape(&token, buf, sizeof(buf), &len), WEIR_EINVAL);
}

static void limits_hold_at_their_value_and_not_above(void **state)
{
    (void)state;
    weir_json_reader reader;
    weir_json_limits limits = { .text_bytes_max = 20,
                                .depth_max = 2,
                                .keys_max = 2,
                                .string_bytes_max = 3,
                                .number_bytes_max = 4 };
    assert_int_equal(read_all(&reader, "[[]]", 4, &limits), WEIR_OK);
    assert_int_equal(read_all(&reader, "[[[]]]", 6, &limits), WEIR_ELIMIT);
    assert_int_equal(reader.reason, WEIR_JSON_REASON_DEPTH);
    assert_int_equal(read_all(&reader, "{\"a\":1,\"b\":1}", 13, &limits), WEIR_OK);
    assert_int_equal(read_all(&reader, "{\"a\":1,\"b\":1,\"c\":1}", 19, &limits), WEIR_ELIMIT);
    assert_int_equal(reader.reason, WEIR_JSON_REASON_KEYS);
    assert_int_equal(read_all(&reader, "[\"abc\",1234]", 12, &limits), WEIR_OK);
    assert_int_equal(read_all(&reader, "[\"abcd\"]", 8, &limits), WEIR_ELIMIT);
    assert_int_equal(reader.reason, WEIR_JSON_REASON_STRING_BYTES);
    assert_int_equal(read_all(&reader, "[12345]", 7, &limits), WEIR_ELIMIT);
    assert_int_equal(reader.reason, WEIR_JSON_REASON_NUMBER_BYTES);
    assert_int_equal(read_all(&reader, "[                   ]", 21, &limits), WEIR_ELIMIT);
    limits.depth_max = WEIR_JSON_DEPTH_CAP + 1;
    assert_int_equal(weir_json_open(&reader, "1", 1, &limits), WEIR_EINVAL);
    assert_int_equal(weir_json_open(&reader, NULL, 1, NULL), WEIR_EINVAL);
    assert_int_equal(weir_json_open(NULL, "1", 1, NULL), WEIR_EINVAL);
}

static void nesting_may_be_raised_to_its_cap(void **state)
{
    (void)state;
    weir_json_reader reader;
    weir_json_limits limits = { .depth_max = WEIR_JSON_DEPTH_CAP };
    char text[2 * (WEIR_JSON_DEPTH_CAP + 1)];
    for (size_t depth = WEIR_JSON_DEPTH_CAP; depth <= WEIR_JSON_DEPTH_CAP + 1; depth++) {
        memset(text, '[', depth);
        memset(text + depth, ']', depth);
        assert_int_equal(read_all(&reader, text, 2 * depth, &limits),
                         depth <= WEIR_JSON_DEPTH_CAP ? WEIR_OK : WEIR_ELIMIT);
    }
}

/* {"k0":1,"k1":1,…}, the last key twice if asked. */
static size_t many_keys(char *text, int keys, bool twice)
{
    size_t len = 0;
    text[len++] = '{';
    for (int i = 0; i < keys; i++)
        len += (size_t)sprintf(text + len, "%s\"k%d\":1", i > 0 ? "," : "", i);
    if (twice)
        len += (size_t)sprintf(text + len, ",\"k\\u003%d\":1", (keys - 1) % 10);
    text[len++] = '}';
    return len;
}

static void the_table_of_keys_is_bounded_and_shared_by_all_open_objects(void **state)
{
    (void)state;
    static char text[8192];
    weir_json_reader reader;
    size_t len = many_keys(text, WEIR_JSON_KEYS_CAP, false);
    assert_int_equal(read_all(&reader, text, len, NULL), WEIR_OK);
    len = many_keys(text, WEIR_JSON_KEYS_CAP + 1, false);
    assert_int_equal(read_all(&reader, text, len, NULL), WEIR_ELIMIT);
    for (int keys = 1; keys <= 10; keys++) {
        len = many_keys(text, keys, true);
        assert_int_equal(read_all(&reader, text, len, NULL), WEIR_EEXIST);
    }

    /* One key outside leaves one less inside, and a closed object gives its keys back. */
    memcpy(text, "[{\"a\":", 6);
    len = 6 + many_keys(text + 6, WEIR_JSON_KEYS_CAP - 1, false);
    len += (size_t)sprintf(text + len, "},{\"a\":{\"k0\":1},\"b\":1}]");
    assert_int_equal(read_all(&reader, text, len, NULL), WEIR_OK);
    len = 6 + many_keys(text + 6, WEIR_JSON_KEYS_CAP, false);
    len += (size_t)sprintf(text + len, "}]");
    assert_int_equal(read_all(&reader, text, len, NULL), WEIR_ELIMIT);
    assert_int_equal(reader.reason, WEIR_JSON_REASON_KEYS);
}

static void keys_are_the_callers_affair_where_it_says_so(void **state)
{
    (void)state;
    static char text[131072];
    weir_json_reader reader;
    const weir_json_limits limits = { .keys_unchecked = true, .keys_max = 1 };
    size_t len = many_keys(text, 20 * WEIR_JSON_KEYS_CAP, false);
    assert_int_equal(read_all(&reader, text, len, &limits), WEIR_OK);
    len = many_keys(text, 10, true);
    assert_int_equal(read_all(&reader, text, len, &limits), WEIR_OK);
    assert_int_equal(read_all(&reader, "{\"a\":1,\"b\"}", 11, &limits), WEIR_EPROTO);
    assert_int_equal(reader.reason, WEIR_JSON_REASON_COLON);
}

static weir_json_token number(const char *text)
{
    return (weir_json_token){ text, strlen(text), WEIR_JSON_NUMBER, false };
}

static void check_double(const char *text)
{
    weir_json_token token = number(text);
    double value = 77;
    double expected = strtod(text, NULL);
    assert_int_equal(read_text(text), WEIR_OK);
    if (isinf(expected)) {
        assert_int_equal(weir_json_double(&token, &value), WEIR_ELIMIT);
        assert_true(value == 77);
        return;
    }
    assert_int_equal(weir_json_double(&token, &value), WEIR_OK);
    if (memcmp(&value, &expected, sizeof(value)) != 0)
        fail_msg("%s is read as %.17g", text, value);
}

static void doubles_are_correctly_rounded(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "0",
        "-0",
        "0.0",
        "-0.0e5",
        "1",
        "-1",
        "12.5",
        "0.1",
        "0.3",
        "1e22",
        "1e23",
        "1e-22",
        "1e-23",
        "9007199254740991",
        "9007199254740992",
        "9007199254740993",
        "9007199254740993.0",
        "9007199254740992999999999e-9",
        "18446744073709551616",
        "99999999999999999999",
        "1.7976931348623157e308",
        "1.7976931348623158e308",
        "1.7976931348623159e308",
        "1e308",
        "1e309",
        "-1e309",
        "1e400",
        "1e999999999999999999999",
        "2.2250738585072014e-308",
        "2.2250738585072011e-308",
        "4.9e-324",
        "2.5e-324",
        "2.4e-324",
        "1e-400",
        "1e-99999999999999",
        "2.4703282292062327208e-324",
        "2.4703282292062328e-324",
        "0e999999999999",
        "0.000e-99999",
        "8.5",
        "1.00000000000000011102230246251565404236316680908203125",
        "1.00000000000000011102230246251565404236316680908203124",
        "1.00000000000000011102230246251565404236316680908203126",
        "6929495644600919.5",
        "3.5028998217649e-310",
        "0.000000000000000000000000000000000000000000012345678901234567890",
        "1000000000000000000000000000000000000000000000000000000000000000000000000000000e-77",
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        check_double(texts[i]);

    uint64_t seed = 20240611;
    char text[128];
    for (int i = 0; i < 20000; i++) {
        double value;
        uint64_t bits = chance(&seed);
        memcpy(&value, &bits, sizeof(value));
        if (!isfinite(value))
            continue;
        (void)sprintf(text, "%.*g", (int)(1 + chance(&seed) % 40), value);
        check_double(text);
        (void)sprintf(text, "%u.%06u%019llue%d", (unsigned)(chance(&seed) % 1000),
                      (unsigned)(chance(&seed) % 1000000), (unsigned long long)(chance(&seed) >> 1),
                      (int)(chance(&seed) % 640) - 320);
        check_double(text);
    }
}

static void a_digit_beyond_all_others_still_breaks_a_tie(void **state)
{
    (void)state;
    static char text[1100];
    double value = 0;
    /* Half way between 1 and the next double, then zeros, then a 1 or none. */
    static const char tie[] = "1.00000000000000011102230246251565404236316680908203125";
    memset(text, '0', 1000);
    memcpy(text, tie, sizeof(tie) - 1);
    weir_json_token token = { text, 1000, WEIR_JSON_NUMBER, false };
    assert_int_equal(weir_json_double(&token, &value), WEIR_OK);
    assert_true(value == 1.0);
    text[999] = '1';
    assert_int_equal(weir_json_double(&token, &value), WEIR_OK);
    assert_true(value == nextafter(1.0, 2.0));
}

static void check_int64(const char *text, weir_status status, int64_t expected)
{
    weir_json_token token = number(text);
    int64_t value = 77;
    assert_int_equal(weir_json_int64(&token, &value), status);
    assert_true(value == (status == WEIR_OK ? expected : 77));
}

static void integers_are_exact_or_refused(void **state)
{
    (void)state;
    check_int64("0", WEIR_OK, 0);
    check_int64("-0", WEIR_OK, 0);
    check_int64("0e99999999999999999999", WEIR_OK, 0);
    check_int64("10", WEIR_OK, 10);
    check_int64("-10.000", WEIR_OK, -10);
    check_int64("1.5e1", WEIR_OK, 15);
    check_int64("1500e-2", WEIR_OK, 15);
    check_int64("0.0015e4", WEIR_OK, 15);
    check_int64("12000.0e-3", WEIR_OK, 12);
    check_int64("1e18", WEIR_OK, 1000000000000000000);
    check_int64("100000000000000000000000000000e-28", WEIR_OK, 10);
    check_int64("9223372036854775807", WEIR_OK, INT64_MAX);
    check_int64("-9223372036854775808", WEIR_OK, INT64_MIN);
    check_int64("9223372036854775808", WEIR_ELIMIT, 0);
    check_int64("-9223372036854775809", WEIR_ELIMIT, 0);
    check_int64("18446744073709551616", WEIR_ELIMIT, 0);
    check_int64("99999999999999999999", WEIR_ELIMIT, 0);
    check_int64("1e19", WEIR_ELIMIT, 0);
    check_int64("1e99999999999999999999", WEIR_ELIMIT, 0);
    check_int64("0.5", WEIR_EINVAL, 0);
    check_int64("15e-1", WEIR_EINVAL, 0);
    check_int64("1e-99999999999999999999", WEIR_EINVAL, 0);

    uint64_t value = 0;
    weir_json_token token = number("18446744073709551615");
    assert_int_equal(weir_json_uint64(&token, &value), WEIR_OK);
    assert_true(value == UINT64_MAX);
    token = number("-1");
    assert_int_equal(weir_json_uint64(&token, &value), WEIR_ELIMIT);
    token = number("-0");
    assert_int_equal(weir_json_uint64(&token, &value), WEIR_OK);
    assert_true(value == 0);
    token.kind = WEIR_JSON_STRING;
    assert_int_equal(weir_json_uint64(&token, &value), WEIR_EINVAL);
}

static void write_something(weir_json_writer *writer)
{
    weir_json_write_object(writer);
    weir_json_write_key(writer, "a");
    weir_json_write_array(writer);
    weir_json_write_int64(writer, INT64_MIN);
    weir_json_write_uint64(writer, UINT64_MAX);
    weir_json_write_double(writer, 12.5);
    weir_json_write_bool(writer, true);
    weir_json_write_bool(writer, false);
    weir_json_write_null(writer);
    weir_json_write_array(writer);
    weir_json_write_array_end(writer);
    weir_json_write_array_end(writer);
    weir_json_write_key(writer, "b\n");
    weir_json_write_string(writer, "\"\\/\b\f\n\r\t\x01\x7F\xC3\xA4");
    weir_json_write_key(writer, "c");
    weir_json_write_raw(writer, "{\"x\":1}", 7);
    weir_json_write_key(writer, "");
    weir_json_write_object(writer);
    weir_json_write_object_end(writer);
    weir_json_write_object_end(writer);
}

static const char something[] =
    "{\"a\":[-9223372036854775808,18446744073709551615,12.5,true,false,null,[]],"
    "\"b\\n\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7F\xC3\xA4\",\"c\":{\"x\":1},\"\":{}}";

static void the_writer_writes_what_it_is_told(void **state)
{
    (void)state;
    char buf[512];
    size_t len = 0;
    weir_json_writer writer;
    weir_json_write_begin(&writer, buf, sizeof(buf));
    write_something(&writer);
    assert_int_equal(weir_json_write_end(&writer, &len), WEIR_OK);
    assert_int_equal(len, sizeof(something) - 1);
    assert_memory_equal(buf, something, len);
    buf[len] = '\0';
    assert_int_equal(read_text(buf), WEIR_OK);
}

static void the_writer_never_overruns_a_buffer_of_any_size(void **state)
{
    (void)state;
    for (size_t cap = 0; cap < sizeof(something); cap++) {
        char *buf = malloc(cap > 0 ? cap : 1);
        size_t len = 77;
        weir_json_writer writer;
        weir_json_write_begin(&writer, buf, cap);
        write_something(&writer);
        bool fits = cap == sizeof(something) - 1;
        assert_int_equal(weir_json_write_end(&writer, &len), fits ? WEIR_OK : WEIR_ELIMIT);
        assert_int_equal(len, fits ? cap : 77);
        free(buf);
    }
}

/* Misuses from 10 on: values that JSON has no words for, and keys without values. */
static void misuse_of_a_value(weir_json_writer *w, int which)
{
    switch (which) {
    case 10:
        weir_json_write_double(w, NAN);
        break;
    case 11:
        weir_json_write_double(w, -INFINITY);
        break;
    case 12:
        weir_json_write_string(w, "\xC0\xAF");
        break;
    case 13:
        weir_json_write_string(w, "\xED\xA0\x80");
        break;
    case 14:
        weir_json_write_string(w, "cut \xE2\x82");
        break;
    case 15:
        weir_json_write_raw(w, "", 0);
        break;
    case 16:
        weir_json_write_object(w);
        weir_json_write_key(w, "a");
        weir_json_write_key(w, "b");
        break;
    default:
        weir_json_write_null(w);
        break;
    }
}

/* One misuse each; the writer ends with this status. */
static weir_status misuse(int which)
{
    char buf[512];
    size_t len;
    weir_json_writer writer;
    weir_json_writer *w = &writer;
    weir_json_write_begin(w, buf, sizeof(buf));
    switch (which) {
    case 0:
        break; /* nothing */
    case 1:
        weir_json_write_null(w);
        weir_json_write_null(w);
        break;
    case 2:
        weir_json_write_key(w, "a");
        break;
    case 3:
        weir_json_write_object(w);
        weir_json_write_null(w);
        weir_json_write_object_end(w);
        break;
    case 4:
        weir_json_write_object(w);
        weir_json_write_key(w, "a");
        weir_json_write_object_end(w);
        break;
    case 5:
        weir_json_write_object(w);
        weir_json_write_array_end(w);
        break;
    case 6:
        weir_json_write_array(w);
        weir_json_write_object_end(w);
        break;
    case 7:
        weir_json_write_array(w);
        weir_json_write_key(w, "a");
        weir_json_write_array_end(w);
        break;
    case 8:
        weir_json_write_array(w);
        break;
    case 9:
        weir_json_write_array_end(w);
        break;
    default:
        misuse_of_a_value(w, which);
        break;
    }
    return weir_json_write_end(w, &len);
}
static void the_writer_refuses_what_is_not_json(void **state)
{
    (void)state;
    for (int which = 0; which <= 16; which++)
        assert_int_equal(misuse(which), WEIR_EINVAL);
    char buf[512];
    size_t len;
    weir_json_writer writer;
    weir_json_write_begin(&writer, buf, sizeof(buf));
    for (int i = 0; i <= WEIR_JSON_DEPTH_CAP; i++)
        weir_json_write_array(&writer);
    assert_int_equal(weir_json_write_end(&writer, &len), WEIR_ELIMIT);
}

static size_t write_double(double value, char *buf, size_t cap)
{
    size_t len = 0;
    weir_json_writer writer;
    weir_json_write_begin(&writer, buf, cap);
    weir_json_write_double(&writer, value);
    assert_int_equal(weir_json_write_end(&writer, &len), WEIR_OK);
    return len;
}

static void check_written(double value, const char *expected)
{
    char buf[64];
    size_t len = write_double(value, buf, sizeof(buf) - 1);
    buf[len] = '\0';
    assert_string_equal(buf, expected);
}

static void doubles_are_written_short(void **state)
{
    (void)state;
    check_written(0.0, "0");
    check_written(-0.0, "-0");
    check_written(1, "1");
    check_written(-12.5, "-12.5");
    check_written(0.1, "0.1");
    check_written(0.05, "0.05");
    check_written(99.99, "99.99");
    check_written(0.1 + 0.2, "0.30000000000000004");
    check_written(100, "100");
    check_written(1e15, "1000000000000000");
    check_written(1e20, "100000000000000000000");
    check_written(1e21, "1e21");
    check_written(1e22, "1e22");
    check_written(1.5e300, "1.5e300");
    check_written(1e-5, "0.00001");
    check_written(1.25e-6, "0.00000125");
    check_written(1e-7, "1e-7");
    check_written(5e-324, "5e-324");
    check_written(1.7976931348623157e308, "1.7976931348623157e308");
    check_written(2.2250738585072014e-308, "2.2250738585072014e-308");
    check_written(123456.789012, "123456.789012");
}

static void check_round_trips(void)
{
    uint64_t seed = 42;
    char buf[64];
    for (int i = 0; i < 50000; i++) {
        double value;
        double back = 0;
        uint64_t bits = chance(&seed);
        memcpy(&value, &bits, sizeof(value));
        if (i % 4 == 0)
            value = (double)(int64_t)(chance(&seed) % 100000000) / 1000;
        if (i % 4 == 1)
            value = (double)(chance(&seed) % 1000) * 5e-324;
        if (!isfinite(value))
            continue;
        size_t len = write_double(value, buf, sizeof(buf));
        weir_json_reader reader;
        assert_int_equal(read_all(&reader, buf, len, NULL), WEIR_OK);
        weir_json_token token = { buf, len, WEIR_JSON_NUMBER, false };
        assert_int_equal(weir_json_double(&token, &back), WEIR_OK);
        assert_memory_equal(&back, &value, sizeof(value));
    }
}

static void every_double_reads_back_as_it_was_written(void **state)
{
    (void)state;
    check_round_trips();
}

static void numbers_do_not_depend_on_the_locale(void **state)
{
    (void)state;
    static const char *const names[] = { "de_DE.UTF-8", "de_DE.utf8",  "fr_FR.UTF-8",
                                         "ru_RU.UTF-8", "nl_NL.UTF-8", "de_DE" };
    size_t i = 0;
    while (i < COUNT(names) && setlocale(LC_NUMERIC, names[i]) == NULL)
        i++;
    if (i == COUNT(names))
        skip();
    check_round_trips();
    check_written(0.1 + 0.2, "0.30000000000000004");
    setlocale(LC_NUMERIC, "C");
}

static void any_text_written_as_a_string_reads_back(void **state)
{
    (void)state;
    uint64_t seed = 7;
    char text[40];
    char json[256];
    char back[256];
    for (int i = 0; i < 20000; i++) {
        size_t len = chance(&seed) % sizeof(text);
        for (size_t k = 0; k < len; k++)
            text[k] = (char)(chance(&seed) % 128);
        if (len > 4 && i % 2 == 0)
            memcpy(text + len - 4, "\xF0\x9F\x98\x80", 4);
        size_t json_len = 0;
        weir_json_writer writer;
        weir_json_write_begin(&writer, json, sizeof(json));
        weir_json_write_string_span(&writer, text, len);
        assert_int_equal(weir_json_write_end(&writer, &json_len), WEIR_OK);
        weir_json_reader reader;
        assert_int_equal(weir_json_open(&reader, json, json_len, NULL), WEIR_OK);
        weir_json_token token = take(&reader, WEIR_JSON_STRING);
        size_t back_len = 0;
        assert_int_equal(weir_json_unescape(&token, back, sizeof(back), &back_len), WEIR_OK);
        assert_int_equal(back_len, len);
        assert_memory_equal(back, text, len);
        take(&reader, WEIR_JSON_END);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_every_parser_must_accept_is_accepted),
        cmocka_unit_test(what_every_parser_must_refuse_is_refused_for_its_reason),
        cmocka_unit_test(what_the_standard_leaves_open_is_decided_strictly),
        cmocka_unit_test(every_truncation_of_a_valid_text_is_refused_as_cut_short),
        cmocka_unit_test(tokens_come_in_the_order_of_the_text),
        cmocka_unit_test(an_error_stays_and_writes_no_token),
        cmocka_unit_test(an_error_is_told_by_line_and_column),
        cmocka_unit_test(skip_reads_past_any_value_and_checks_it),
        cmocka_unit_test(strings_decode_as_they_were_meant),
        cmocka_unit_test(limits_hold_at_their_value_and_not_above),
        cmocka_unit_test(nesting_may_be_raised_to_its_cap),
        cmocka_unit_test(the_table_of_keys_is_bounded_and_shared_by_all_open_objects),
        cmocka_unit_test(keys_are_the_callers_affair_where_it_says_so),
        cmocka_unit_test(doubles_are_correctly_rounded),
        cmocka_unit_test(a_digit_beyond_all_others_still_breaks_a_tie),
        cmocka_unit_test(integers_are_exact_or_refused),
        cmocka_unit_test(the_writer_writes_what_it_is_told),
        cmocka_unit_test(the_writer_never_overruns_a_buffer_of_any_size),
        cmocka_unit_test(the_writer_refuses_what_is_not_json),
        cmocka_unit_test(doubles_are_written_short),
        cmocka_unit_test(every_double_reads_back_as_it_was_written),
        cmocka_unit_test(numbers_do_not_depend_on_the_locale),
        cmocka_unit_test(any_text_written_as_a_string_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
