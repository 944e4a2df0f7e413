/* Fuzzes the JSON reader, its conversions and the writer: what is read and written again must read
 * the same. */
#include <weir/json.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition) \
    do {                   \
        if (!(condition))  \
            abort();       \
    } while (0)

/* Writes again what a token says, by way of its decoded value. */
static void write_text(weir_json_writer *writer, const weir_json_token *token, char *scratch)
{
    size_t len = 0;
    REQUIRE(weir_json_unescape(token, scratch, token->len + 1, &len) == WEIR_OK);
    REQUIRE(weir_json_equals_span(token, scratch, len));
    if (token->kind == WEIR_JSON_KEY)
        weir_json_write_key_span(writer, scratch, len);
    else
        weir_json_write_string_span(writer, scratch, len);
}

static void write_number(weir_json_writer *writer, const weir_json_token *token)
{
    double value = 0;
    int64_t integer = 0;
    uint64_t whole = 0;
    weir_status status = weir_json_double(token, &value);
    REQUIRE(status == WEIR_OK ? isfinite(value) : status == WEIR_ELIMIT);
    if (status == WEIR_OK && value == 0) {
        weir_json_write_double(writer, value); /* -0 keeps its sign only as a double */
    } else if (weir_json_int64(token, &integer) == WEIR_OK) {
        REQUIRE(status == WEIR_OK && value == (double)integer);
        weir_json_write_int64(writer, integer);
    } else if (weir_json_uint64(token, &whole) == WEIR_OK) {
        REQUIRE(status == WEIR_OK && value == (double)whole);
        weir_json_write_uint64(writer, whole);
    } else if (status == WEIR_OK) {
        weir_json_write_double(writer, value);
    } else {
        weir_json_write_raw(writer, token->text, token->len);
    }
}

static void write_token(weir_json_writer *writer, const weir_json_token *token, char *scratch)
{
    switch (token->kind) {
    case WEIR_JSON_BEGIN_OBJECT:
        weir_json_write_object(writer);
        break;
    case WEIR_JSON_END_OBJECT:
        weir_json_write_object_end(writer);
        break;
    case WEIR_JSON_BEGIN_ARRAY:
        weir_json_write_array(writer);
        break;
    case WEIR_JSON_END_ARRAY:
        weir_json_write_array_end(writer);
        break;
    case WEIR_JSON_KEY:
    case WEIR_JSON_STRING:
        write_text(writer, token, scratch);
        break;
    case WEIR_JSON_NUMBER:
        write_number(writer, token);
        break;
    case WEIR_JSON_TRUE:
    case WEIR_JSON_FALSE:
        weir_json_write_bool(writer, token->kind == WEIR_JSON_TRUE);
        break;
    case WEIR_JSON_NULL:
        weir_json_write_null(writer);
        break;
    case WEIR_JSON_END:
        break;
    }
}

/* Reads a text and writes it again into `buf`. False: it is no JSON. */
static bool copy_text(const char *text, size_t len, char *buf, size_t cap, char *scratch,
                      size_t *ret_len)
{
    weir_json_reader reader;
    weir_json_writer writer;
    weir_json_token token = { NULL, 0, WEIR_JSON_NULL, false };
    weir_status status = weir_json_open(&reader, text, len, NULL);
    weir_json_write_begin(&writer, buf, cap);
    while (status == WEIR_OK && token.kind != WEIR_JSON_END) {
        status = weir_json_next(&reader, &token);
        if (status == WEIR_OK)
            write_token(&writer, &token, scratch);
    }
    size_t line = 0;
    size_t column = 0;
    weir_json_where(&reader, &line, &column);
    REQUIRE(line >= 1 && column >= 1 && reader.offset <= len);
    if (status != WEIR_OK)
        return false;
    REQUIRE(weir_json_write_end(&writer, ret_len) == WEIR_OK);

    REQUIRE(weir_json_open(&reader, text, len, NULL) == WEIR_OK);
    REQUIRE(weir_json_skip(&reader) == WEIR_OK);
    REQUIRE(weir_json_next(&reader, &token) == WEIR_OK && token.kind == WEIR_JSON_END);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Nothing grows more than 8 times: 1e20 becomes 21 characters, and escapes only shrink. */
    size_t cap = 8 * size + 64;
    char *first = malloc(cap);
    char *second = malloc(cap);
    char *scratch = malloc(cap);
    size_t first_len = 0;
    size_t second_len = 0;
    REQUIRE(first != NULL && second != NULL && scratch != NULL);
    if (copy_text((const char *)data, size, first, cap, scratch, &first_len)) {
        REQUIRE(copy_text(first, first_len, second, cap, scratch, &second_len));
        REQUIRE(first_len == second_len && memcmp(first, second, first_len) == 0);
    }
    free(first);
    free(second);
    free(scratch);
    return 0;
}
