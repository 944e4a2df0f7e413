/* Compares the JSON reader with jansson on generated and on damaged texts: verdict and values. */
#include <weir/json.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#if defined(WEIR_TEST_JANSSON)
#include <jansson.h>

typedef struct maker {
    uint64_t seed;
    size_t len;
    char text[8192];
} maker;

static unsigned pick(maker *m, unsigned below)
{
    m->seed ^= m->seed << 13;
    m->seed ^= m->seed >> 7;
    m->seed ^= m->seed << 17;
    return (unsigned)((m->seed >> 11) % below);
}

static void add(maker *m, const char *text)
{
    size_t len = strlen(text);
    if (m->len + len < sizeof(m->text)) {
        memcpy(m->text + m->len, text, len);
        m->len += len;
    }
}

static void add_space(maker *m)
{
    static const char *const spaces[] = { " ", "\n", "\t", "\r\n", "  " };
    if (pick(m, 8) == 0)
        add(m, spaces[pick(m, 5)]);
}

static void add_string(maker *m, unsigned parts)
{
    static const char *const bits[] = {
        "a",
        "b",
        "c",
        "id",
        "\\n",
        "\\\"",
        "\\\\",
        "\\/",
        "\\u0061",
        "\\u00e4",
        "\xC3\xA4",
        "\\uD83D\\uDE00",
        "\xF0\x9F\x98\x80",
        "\xE2\x82\xAC",
        "sixteen bytes...",
        "\\t",
        "\\u001f",
        "\x7F",
        " ",
        "\\u20ac",
    };
    add(m, "\"");
    for (unsigned n = pick(m, parts); n > 0; n--)
        add(m, bits[pick(m, sizeof(bits) / sizeof(bits[0]))]);
    add(m, "\"");
}

static void add_number(maker *m)
{
    char text[64];
    switch (pick(m, 4)) {
    case 0:
        (void)snprintf(text, sizeof(text), "%d", (int)pick(m, 2000) - 1000);
        break;
    case 1:
        (void)snprintf(text, sizeof(text), "%.17g", (double)pick(m, 1000000) / 997 * 1e-3);
        break;
    case 2:
        (void)snprintf(text, sizeof(text), "%u.%u%uE%+d", pick(m, 100), pick(m, 1000000000),
                       pick(m, 1000000000), (int)pick(m, 600) - 300);
        break;
    default:
        (void)snprintf(text, sizeof(text), "-%u%09u.5e%u", 1 + pick(m, 1000000),
                       pick(m, 1000000000), pick(m, 9));
        break;
    }
    add(m, text);
}

static void add_value(maker *m, unsigned depth)
{
    static const char *const words[] = { "true", "false", "null" };
    unsigned kind = pick(m, depth < 6 ? 7 : 4);
    bool object = kind < 6;
    add_space(m);
    if (kind < 2) {
        add_number(m);
    } else if (kind < 3) {
        add_string(m, 6);
    } else if (kind < 4) {
        add(m, words[pick(m, 3)]);
    } else {
        add(m, object ? "{" : "[");
        for (unsigned i = 0, n = pick(m, 6); i < n; i++) {
            if (i > 0)
                add(m, ",");
            if (object) {
                add_space(m);
                add_string(m, 5);
                add_space(m);
                add(m, ":");
            }
            add_value(m, depth + 1);
        }
        add(m, object ? "}" : "]");
    }
    add_space(m);
}

/* Damages a byte or two, so that about half of the texts are no longer JSON. */
static void damage(maker *m)
{
    static const char bytes[] = "\"\\,:[]{}0189.eE+-/ut \n\x01\x80\xC3\xFF";
    for (unsigned n = 1 + pick(m, 2); n > 0 && m->len > 0; n--) {
        size_t at = pick(m, (unsigned)m->len);
        if (pick(m, 3) == 0) {
            memmove(m->text + at, m->text + at + 1, m->len - at - 1);
            m->len--;
        } else {
            m->text[at] = bytes[pick(m, sizeof(bytes) - 1)];
        }
    }
}

static void check_scalar(const weir_json_token *token, const json_t *value)
{
    static char buf[8192];
    size_t len = 0;
    double number = 0;
    switch (json_typeof(value)) {
    case JSON_STRING:
        assert_int_equal(token->kind, WEIR_JSON_STRING);
        assert_int_equal(weir_json_unescape(token, buf, sizeof(buf), &len), WEIR_OK);
        assert_int_equal(len, json_string_length(value));
        assert_memory_equal(buf, json_string_value(value), len);
        assert_true(weir_json_equals_span(token, json_string_value(value), len));
        break;
    case JSON_INTEGER:
    case JSON_REAL:
        assert_int_equal(token->kind, WEIR_JSON_NUMBER);
        assert_int_equal(weir_json_double(token, &number), WEIR_OK);
        assert_true(number == json_number_value(value));
        break;
    case JSON_TRUE:
        assert_int_equal(token->kind, WEIR_JSON_TRUE);
        break;
    case JSON_FALSE:
        assert_int_equal(token->kind, WEIR_JSON_FALSE);
        break;
    default:
        assert_int_equal(token->kind, WEIR_JSON_NULL);
        break;
    }
}

/* Reads one value and finds it equal to jansson's. Nested at most as deep as the texts made. */
static void check_value(weir_json_reader *reader, const json_t *value)
{
    static char key[8192];
    weir_json_token token;
    size_t len = 0;
    assert_int_equal(weir_json_next(reader, &token), WEIR_OK);
    if (json_is_array(value)) {
        assert_int_equal(token.kind, WEIR_JSON_BEGIN_ARRAY);
        for (size_t i = 0; i < json_array_size(value); i++)
            check_value(reader, json_array_get(value, i));
        assert_int_equal(weir_json_next(reader, &token), WEIR_OK);
        assert_int_equal(token.kind, WEIR_JSON_END_ARRAY);
    } else if (json_is_object(value)) {
        assert_int_equal(token.kind, WEIR_JSON_BEGIN_OBJECT);
        for (size_t i = 0; i < json_object_size(value); i++) {
            assert_int_equal(weir_json_next(reader, &token), WEIR_OK);
            assert_int_equal(token.kind, WEIR_JSON_KEY);
            assert_int_equal(weir_json_unescape(&token, key, sizeof(key), &len), WEIR_OK);
            const json_t *member = json_object_get(value, key);
            assert_non_null(member);
            check_value(reader, member);
        }
        assert_int_equal(weir_json_next(reader, &token), WEIR_OK);
        assert_int_equal(token.kind, WEIR_JSON_END_OBJECT);
    } else {
        check_scalar(&token, value);
    }
}

/* Whether the text was accepted by both; -1: jansson has a limit there that we have not. */
static int compare(const char *text, size_t len)
{
    weir_json_reader reader;
    weir_json_token token = { NULL, 0, WEIR_JSON_NULL, false };
    json_error_t error;
    weir_status status = weir_json_open(&reader, text, len, NULL);
    json_t *root = json_loadb(text, len,
                              JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL |
                                  JSON_DECODE_INT_AS_REAL,
                              &error);
    if (root == NULL && (json_error_code(&error) == json_error_numeric_overflow ||
                         json_error_code(&error) == json_error_null_byte_in_key))
        return -1;
    while (status == WEIR_OK && token.kind != WEIR_JSON_END)
        status = weir_json_next(&reader, &token);
    if ((status == WEIR_OK) != (root != NULL))
        fail_msg("%.*s\nhere: %s at %zu; jansson: %s", (int)len, text, reader.error, reader.offset,
                 root != NULL ? "accepted" : error.text);
    if (root == NULL)
        return 0;
    assert_int_equal(weir_json_open(&reader, text, len, NULL), WEIR_OK);
    check_value(&reader, root);
    json_decref(root);
    return 1;
}

static void run(bool damaged)
{
    maker *m = calloc(1, sizeof(*m));
    int verdicts[3] = { 0, 0, 0 };
    assert_non_null(m);
    m->seed = 20260917;
    for (int i = 0; i < 20000; i++) {
        m->len = 0;
        add_value(m, 0);
        if (damaged)
            damage(m);
        /* A block of exactly its size, so that a sanitizer sees a byte too many. */
        char *text = malloc(m->len > 0 ? m->len : 1);
        assert_non_null(text);
        memcpy(text, m->text, m->len);
        verdicts[compare(text, m->len) + 1]++;
        free(text);
    }
    free(m);
    /* Both verdicts must have come up for the comparison to mean something. */
    assert_true(verdicts[1] > 1000);
    assert_true(verdicts[2] > 1000);
}

static void generated_texts_are_read_as_jansson_reads_them(void **state)
{
    (void)state;
    run(false);
}

static void damaged_texts_are_judged_as_jansson_judges_them(void **state)
{
    (void)state;
    run(true);
}
#else
static void generated_texts_are_read_as_jansson_reads_them(void **state)
{
    (void)state;
    skip();
}

static void damaged_texts_are_judged_as_jansson_judges_them(void **state)
{
    (void)state;
    skip();
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(generated_texts_are_read_as_jansson_reads_them),
        cmocka_unit_test(damaged_texts_are_judged_as_jansson_judges_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
