/* Texts that every JSON parser must accept, must refuse, or may do either with; and what ours does.
 */
#ifndef PROTO_JSON_CASES_H
#define PROTO_JSON_CASES_H

#include <weir/json.h>

typedef struct json_case {
    const char *text;
    size_t len;
    weir_json_reason reason;
} json_case;

#define ACCEPT(text)                                  \
    {                                                 \
        text, sizeof(text) - 1, WEIR_JSON_REASON_NONE \
    }
#define REFUSE(reason, text)                              \
    {                                                     \
        text, sizeof(text) - 1, WEIR_JSON_REASON_##reason \
    }

/* clang-format off */
static const json_case must_accept[] = {
    /* structure and whitespace */
    ACCEPT("[]"), ACCEPT("{}"), ACCEPT("[ ]"), ACCEPT("{ }"), ACCEPT(" [] "), ACCEPT("[[]   ]"),
    ACCEPT("\n[\n]\n"), ACCEPT("\t[\t]\t"), ACCEPT("\r\n[\r\n]\r\n"), ACCEPT("[\"\"]"),
    ACCEPT("[[],[[]],{}]"), ACCEPT("[null, 1, \"1\", {}]"), ACCEPT("[1\n,1]"), ACCEPT(" [1]"),
    ACCEPT("[2] "), ACCEPT("[1,null,null,null,2]"), ACCEPT("[false]"), ACCEPT("[true]"),
    ACCEPT("[null]"), ACCEPT("null"), ACCEPT("true"), ACCEPT("false"), ACCEPT("42"),
    ACCEPT("-0.1"), ACCEPT("\"top\""), ACCEPT("\"\""), ACCEPT(" \"x\" "), ACCEPT("[\"a\"]\n"),
    /* objects */
    ACCEPT("{\"a\":1}"), ACCEPT("{\"\":0}"), ACCEPT("{\"a\":1,\"b\":2}"), ACCEPT("{\"a\":[]}"),
    ACCEPT("{\"a\" : 1 , \"b\" : 2}"), ACCEPT("{\"a\":{\"a\":{\"a\":1}}}"),
    ACCEPT("{\"a\":{},\"b\":{},\"c\":{\"a\":{},\"b\":{}}}"), ACCEPT("{\n\"a\": \"b\"\n}"),
    ACCEPT("[{\"a\":1},{\"a\":1}]"), ACCEPT("{\"foo\\u0000bar\": 42}"), ACCEPT("{\"A\":1,\"a\":2}"),
    ACCEPT("{\"min\": -1.0e+28, \"max\": 1.0e+28}"), ACCEPT("{\"ab\":1,\"a\\u0000b\":2}"),
    ACCEPT("{\"title\":\"\\u041f\\u043e\\u043b\\u0442\\u043e\\u0440\\u0430\"}"),
    ACCEPT("{\"a\":[{\"a\":[{\"a\":0}]}],\"b\":0}"), ACCEPT("{\"12345678\":1,\"12345678\\u0000\":2}"),
    /* numbers */
    ACCEPT("[0]"), ACCEPT("[-0]"), ACCEPT("[0.0]"), ACCEPT("[-0.0]"), ACCEPT("[1e1]"),
    ACCEPT("[1E1]"), ACCEPT("[1e+2]"), ACCEPT("[1E-2]"), ACCEPT("[0e+1]"), ACCEPT("[0e1]"),
    ACCEPT("[123.456e78]"), ACCEPT("[123e65]"), ACCEPT("[-1]"), ACCEPT("[-123]"), ACCEPT("[20e1]"),
    ACCEPT("[1.000000000000005]"), ACCEPT("[123.456789]"), ACCEPT("[1e00005]"),
    ACCEPT("[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]"),
    ACCEPT("[123123123123123123123123123123]"), ACCEPT("[ 4]"), ACCEPT("[1.5e-10]"),
    /* strings */
    ACCEPT("[\"asd\"]"), ACCEPT("[ \"asd\"]"), ACCEPT("[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]"),
    ACCEPT("[\"\\u0060\\u012a\\u12AB\"]"), ACCEPT("[\"\\uD801\\udc37\"]"), ACCEPT("[\"\\\\u0000\"]"),
    ACCEPT("[\"\\ud83d\\ude39\\ud83d\\udc8d\"]"), ACCEPT("[\"\\\"\"]"), ACCEPT("[\"a/*b*/c/*d//e\"]"),
    ACCEPT("[\"\\\\a\"]"), ACCEPT("[\"\\\\n\"]"), ACCEPT("[\"\\u0012\"]"), ACCEPT("[\"\\uFFFF\"]"),
    ACCEPT("[\"\xEF\xBF\xBF\"]"), ACCEPT("[\"\xF4\x8F\xBF\xBF\"]"), ACCEPT("[\"\\u0000\"]"),
    ACCEPT("[\"\\u002c\"]"), ACCEPT("[\"\xCF\x80\"]"), ACCEPT("[\"\xF0\x9B\xBF\xBF\"]"),
    ACCEPT("[\"asd \"]"), ACCEPT("\" \""), ACCEPT("[\"\\uDBFF\\uDFFF\"]"), ACCEPT("[\"\\uD834\\uDd1e\"]"),
    ACCEPT("[\"\\u0821\"]"), ACCEPT("[\"\\u0123\"]"), ACCEPT("[\"\xE2\x80\xA8\"]"),
    ACCEPT("[\"\xE2\x80\xA9\"]"), ACCEPT("[\"\\u0061\\u30af\\u30EA\\u30b9\"]"), ACCEPT("[\"new\\u000Aline\"]"),
    ACCEPT("[\"\x7F\"]"), ACCEPT("[\"\\uA66D\"]"), ACCEPT("[\"\xE2\x8D\x82\xE3\x88\xB4\xE2\x8D\x82\"]"),
    ACCEPT("[\"\\u0022\"]"), ACCEPT("[\"\\u005C\"]"), ACCEPT("[\"\\u200B\\u2064\"]"),
    ACCEPT("[\"\\uDBFF\\uDFFE\"]"), ACCEPT("[\"\\uFDD0\\uFFFE\"]"), ACCEPT("[\"a\x7F" "a\"]"),
    ACCEPT("[\"\xED\x9F\xBF\"]"), ACCEPT("[\"\xEE\x80\x80\"]"), ACCEPT("[\"\xE0\xA0\x80\"]"),
    ACCEPT("[\"\xC2\x80\"]"), ACCEPT("[\"\xF0\x90\x80\x80\"]"), ACCEPT("[\"fifteen bytes..\"]"),
    ACCEPT("[\"sixteen bytes...\"]"), ACCEPT("[\"seventeen bytes..\xC3\xA4 and then more than that\\n\"]"),
};

static const json_case must_refuse[] = {
    /* arrays */
    REFUSE(ARRAY_MORE, "[1 true]"), REFUSE(VALUE, "[a\xE5]"), REFUSE(ARRAY_MORE, "[\"\": 1]"),
    REFUSE(TRAILING, "[\"\"],"), REFUSE(VALUE, "[,1]"), REFUSE(VALUE, "[1,,2]"),
    REFUSE(VALUE, "[\"x\",,]"), REFUSE(TRAILING, "[\"x\"]]"), REFUSE(VALUE, "[\"\",]"),
    REFUSE(TRUNCATED, "[\"x\""), REFUSE(VALUE, "[x"), REFUSE(ARRAY_MORE, "[3[4]]"),
    REFUSE(VALUE, "[\xFF]"), REFUSE(ARRAY_MORE, "[1:2]"), REFUSE(VALUE, "[,]"),
    REFUSE(NUMBER, "[-]"), REFUSE(VALUE, "[   , \"\"]"), REFUSE(TRUNCATED, "[\"a\",\n4\n,1,"),
    REFUSE(VALUE, "[1,]"), REFUSE(CONTROL, "[\"\va\"\\f]"), REFUSE(VALUE, "[*]"),
    REFUSE(TRUNCATED, "[\"\""), REFUSE(TRUNCATED, "[1,"), REFUSE(TRUNCATED, "[1,\n1\n,1"),
    REFUSE(TRUNCATED, "[{}"), REFUSE(TRUNCATED, "["), REFUSE(TRUNCATED, "[[[["),
    REFUSE(VALUE, "]"), REFUSE(VALUE, "[}"), REFUSE(ARRAY_MORE, "[1}"), REFUSE(TRAILING, "[1]x"),
    REFUSE(TRAILING, "[][]"), REFUSE(TRAILING, "[] []"), REFUSE(TRAILING, "1]"),
    /* words */
    REFUSE(LITERAL, "[fals]"), REFUSE(LITERAL, "[nul]"), REFUSE(LITERAL, "[tru]"),
    REFUSE(VALUE, "[True]"), REFUSE(VALUE, "[TRUE]"), REFUSE(LITERAL, "[nULL]"),
    REFUSE(ARRAY_MORE, "[nulll]"), REFUSE(TRAILING, "truee"), REFUSE(TRUNCATED, "tru"),
    REFUSE(VALUE, "undefined"), REFUSE(VALUE, "[yes]"),
    /* numbers */
    REFUSE(VALUE, "[++1234]"),
    REFUSE(VALUE, "[+1]"), REFUSE(NUMBER, "[-01]"), REFUSE(ARRAY_MORE, "[-1.0.]"),
    REFUSE(NUMBER, "[-2.]"), REFUSE(NUMBER, "[-NaN]"), REFUSE(VALUE, "[.-1]"),
    REFUSE(VALUE, "[.2e-3]"), REFUSE(ARRAY_MORE, "[0.1.2]"), REFUSE(NUMBER, "[0.3e+]"),
    REFUSE(NUMBER, "[0.3e]"), REFUSE(NUMBER, "[0.e1]"), REFUSE(NUMBER, "[0E+]"),
    REFUSE(NUMBER, "[0E]"), REFUSE(NUMBER, "[0e+]"), REFUSE(NUMBER, "[0e]"),
    REFUSE(NUMBER, "[1.0e+]"), REFUSE(NUMBER, "[1.0e-]"), REFUSE(NUMBER, "[1.0e]"),
    REFUSE(ARRAY_MORE, "[1 000.0]"), REFUSE(NUMBER, "[1eE2]"), REFUSE(NUMBER, "[2.e+3]"),
    REFUSE(NUMBER, "[2.e-3]"), REFUSE(NUMBER, "[2.e3]"), REFUSE(NUMBER, "[9.e+]"),
    REFUSE(NOT_FINITE, "[Inf]"), REFUSE(NOT_FINITE, "[NaN]"), REFUSE(NOT_FINITE, "[Infinity]"),
    REFUSE(NOT_FINITE, "[-Infinity]"), REFUSE(VALUE, "[\xEF\xBC\x91]"), REFUSE(ARRAY_MORE, "[1+2]"),
    REFUSE(ARRAY_MORE, "[0x1]"), REFUSE(ARRAY_MORE, "[0x42]"), REFUSE(NUMBER, "[-foo]"),
    REFUSE(NUMBER, "[- 1]"), REFUSE(NUMBER, "[-012]"), REFUSE(NUMBER, "[-.123]"),
    REFUSE(ARRAY_MORE, "[-1x]"), REFUSE(NUMBER, "[1ea]"), REFUSE(NUMBER, "[1e\xE5]"),
    REFUSE(NUMBER, "[1.]"), REFUSE(VALUE, "[.123]"), REFUSE(ARRAY_MORE, "[1.2a-3]"),
    REFUSE(ARRAY_MORE, "[1.8011670033376514H-308]"), REFUSE(NUMBER, "[012]"), REFUSE(NUMBER, "[00]"),
    REFUSE(NUMBER, "00"), REFUSE(NUMBER, "[1e+-2]"), REFUSE(ARRAY_MORE, "[1e1.5]"),
    REFUSE(TRUNCATED, "-"), REFUSE(TRUNCATED, "1."), REFUSE(TRUNCATED, "1e"), REFUSE(TRUNCATED, "1e+"),
    REFUSE(ARRAY_MORE, "[1_000]"), REFUSE(ARRAY_MORE, "[1f]"), REFUSE(NUMBER, "[--1]"),
    /* objects */
    REFUSE(LITERAL, "[\"x\", truth]"), REFUSE(KEY, "{[: \"x\"}"), REFUSE(COLON, "{\"x\", null}"),
    REFUSE(VALUE, "{\"x\"::\"b\"}"), REFUSE(KEY, "{\xF0\x9F\x87\xA8}"), REFUSE(OBJECT_MORE, "{\"a\":\"a\" 123}"),
    REFUSE(KEY, "{key: 'value'}"), REFUSE(COLON, "{\"\xC3\xA4\" \"b\"}"), REFUSE(COLON, "{\"a\" b}"),
    REFUSE(KEY, "{:\"b\"}"), REFUSE(COLON, "{\"a\" \"b\"}"), REFUSE(TRUNCATED, "{\"a\":"),
    REFUSE(TRUNCATED, "{\"a\""), REFUSE(KEY, "{1:1}"), REFUSE(KEY, "{9999E9999:1}"), REFUSE(KEY, "{null:null}"),
    REFUSE(KEY, "{\"id\":0,,}"), REFUSE(KEY, "{'a':0}"), REFUSE(KEY, "{\"id\":0,}"),
    REFUSE(TRAILING, "{\"a\":\"b\"}/**/"), REFUSE(TRAILING, "{\"a\":\"b\"}/**//"), REFUSE(TRAILING, "{\"a\":\"b\"}//"),
    REFUSE(KEY, "{,\"a\":0}"), REFUSE(COLON, "{\"a\"}"), REFUSE(COLON, "{\"a\",\"b\":1}"),
    REFUSE(KEY, "{a: \"b\"}"), REFUSE(TRUNCATED, "{\"a\":\"a"), REFUSE(VALUE, "{ \"foo\" : ,\"a\":1 }"),
    REFUSE(OBJECT_MORE, "{\"a\":1]"), REFUSE(KEY, "{]"), REFUSE(VALUE, "{\"a\":}"), REFUSE(TRUNCATED, "{"),
    REFUSE(TRAILING, "{} }"), REFUSE(KEY, "{\"a\":1,}"), REFUSE(OBJECT_MORE, "{\"a\":1 \"b\":2}"),
    REFUSE(TRAILING, "{\"a\":true} \"x\""), REFUSE(VALUE, "}"), REFUSE(OBJECT_MORE, "{\"a\":1:2}"),
    /* strings */
    REFUSE(SURROGATE, "[\"\\uD800\"]"), REFUSE(SURROGATE, "[\"\\uD800\\u\"]"), REFUSE(SURROGATE, "[\"\\uD800\\u1\"]"),
    REFUSE(SURROGATE, "[\"\\uD800\\u1x\"]"), REFUSE(VALUE, "[\xC3\xA9]"), REFUSE(ESCAPE, "[\"\\\0\"]"),
    REFUSE(ARRAY_MORE, "[\"\\\\\\\"\"\"]"), REFUSE(ESCAPE, "[\"\\x00\"]"), REFUSE(TRUNCATED, "[\"\\\\\\\"]"),
    REFUSE(ESCAPE, "[\"\\\t\"]"), REFUSE(ESCAPE, "[\"\\\xF0\x9F\x8C\x80\"]"), REFUSE(TRUNCATED, "[\"\\"),
    REFUSE(ESCAPE, "[\"\\u00A\"]"), REFUSE(SURROGATE, "[\"\\uD834\\\"]" "xxxx"), REFUSE(ESCAPE, "[\"\\a\"]"),
    REFUSE(ESCAPE, "[\"\\uqqqq\"]"), REFUSE(ESCAPE, "[\"\\\xE5\"]"), REFUSE(VALUE, "[\\u0020\"asd\"]"),
    REFUSE(VALUE, "[\\n]"), REFUSE(TRUNCATED, "\""), REFUSE(VALUE, "['single quote']"), REFUSE(VALUE, "abc"),
    REFUSE(CONTROL, "[\"a\0a\"]"), REFUSE(CONTROL, "[\"new\nline\"]"), REFUSE(CONTROL, "[\"\t\"]"),
    REFUSE(CONTROL, "[\"\x1F\"]"), REFUSE(ESCAPE, "\"\\UA66D\""), REFUSE(TRAILING, "\"\"x"),
    REFUSE(ESCAPE, "[\"\\u:000\"]"), REFUSE(ESCAPE, "[\"\\u/000\"]"), REFUSE(ESCAPE, "[\"\\u@000\"]"),
    REFUSE(ESCAPE, "[\"\\uG000\"]"), REFUSE(ESCAPE, "[\"\\u`000\"]"), REFUSE(ESCAPE, "[\"\\ug000\"]"),
    REFUSE(ESCAPE, "[\"\\u 123\"]"), REFUSE(ESCAPE, "[\"\\u-123\"]"), REFUSE(ESCAPE, "[\"\\u\x11" "000\"]"),
    REFUSE(TRUNCATED, "[\"\\u00"), REFUSE(TRUNCATED, "[\"\\uD800"), REFUSE(TRUNCATED, "[\"\\uD800\\uDC0"),
    /* the whole text */
    REFUSE(TRUNCATED, ""), REFUSE(TRUNCATED, " "), REFUSE(TRUNCATED, "\n\n"), REFUSE(BOM, "\xEF\xBB\xBF{}"),
    REFUSE(BOM, "\xEF\xBB\xBF"), REFUSE(VALUE, "<.>"), REFUSE(VALUE, "[<null>]"), REFUSE(TRAILING, "[1]#"),
    REFUSE(TRAILING, "2@"), REFUSE(TRAILING, "{}}"), REFUSE(VALUE, "\xE5"), REFUSE(VALUE, "*"),
    REFUSE(TRAILING, "{\"a\":1}#{}"), REFUSE(VALUE, "[\xE2\x81\xA0]"), REFUSE(VALUE, "[\f]"),
    REFUSE(VALUE, "\xC2\xA0[]"), REFUSE(VALUE, "\f[]"), REFUSE(VALUE, "\0"), REFUSE(TRAILING, "[]\0"),
    REFUSE(TRAILING, "1\0"), REFUSE(VALUE, "/**/1"), REFUSE(VALUE, "//\n1"), REFUSE(VALUE, "[\v1]"),
    REFUSE(TRAILING, "123\xEF\xBB\xBF"), REFUSE(TRAILING, "1 2"), REFUSE(VALUE, "\xFE\xFF\0["),
    /* keys that occur twice */
    REFUSE(DUPLICATE, "{\"a\":\"b\",\"a\":\"c\"}"), REFUSE(DUPLICATE, "{\"a\":\"b\",\"a\":\"b\"}"),
    REFUSE(DUPLICATE, "{\"a\":1,\"\\u0061\":1}"), REFUSE(DUPLICATE, "{\"\\u0061\":1,\"a\":1}"),
    REFUSE(DUPLICATE, "{\"\":1,\"\":1}"), REFUSE(DUPLICATE, "[0,{\"x\":{\"a\":1,\"b\":[],\"a\":1}}]"),
    REFUSE(DUPLICATE, "{\"a\":{\"b\":{\"c\":1}},\"x\":[{\"a\":1},{}],\"a\":0}"),
    REFUSE(DUPLICATE, "{\"\xC3\xA4\":1,\"\\u00e4\":1}"), REFUSE(DUPLICATE, "{\"/\":1,\"\\/\":1}"),
    REFUSE(DUPLICATE, "{\"\\n\":1,\"\\u000A\":1}"), REFUSE(DUPLICATE, "{\"\\uD83D\\uDE00\":1,\"\xF0\x9F\x98\x80\":1}"),
    REFUSE(DUPLICATE, "{\"a long key of more than 8\":1,\"\\u0061 long key of more than 8\":1}"),
    REFUSE(DUPLICATE, "{\"12345678\":1,\"1234567\\u0038\":1}"), REFUSE(DUPLICATE, "{\"\\u0000\":1,\"\\u0000\":1}"),
};

/* What the standard leaves to the parser. */
static const json_case may_accept[] = {
    ACCEPT("[123.456e-789]"), ACCEPT("[0.4e00669999999999999999999999999999999999999999]"),
    ACCEPT("[-1e+9999]"), ACCEPT("[1.5e+9999]"), ACCEPT("[-123123e100000]"), ACCEPT("[123123e100000]"),
    ACCEPT("[123e-10000000]"), ACCEPT("[-123123123123123123123123123123]"),
    ACCEPT("[100000000000000000000]"), ACCEPT("[-237462374673276894279832749832423479823246327846]"),
    REFUSE(SURROGATE, "{\"\\uDFAA\":0}"), REFUSE(SURROGATE, "[\"\\uDADA\"]"), REFUSE(SURROGATE, "[\"\\uD888\\u1234\"]"),
    REFUSE(SURROGATE, "[\"\\uD800\\n\"]"), REFUSE(SURROGATE, "[\"\\uDd1ea\"]"), REFUSE(SURROGATE, "[\"\\uD800\\uD800\\n\"]"),
    REFUSE(SURROGATE, "[\"\\ud800abc..\"]"), REFUSE(SURROGATE, "[\"\\uDd1e\\uD834\"]"),
    REFUSE(UTF8, "[\"\xFF\"]"), REFUSE(UTF8, "[\"\xED\xA0\x80\"]"), REFUSE(UTF8, "[\"\xED\xBF\xBF\"]"),
    REFUSE(UTF8, "[\"\xC0\xAF\"]"), REFUSE(UTF8, "[\"\xE0\x80\xAF\"]"), REFUSE(UTF8, "[\"\xF0\x80\x80\xAF\"]"),
    REFUSE(UTF8, "[\"\xF4\xBF\xBF\xBF\"]"), REFUSE(UTF8, "[\"\xF4\x90\x80\x80\"]"), REFUSE(UTF8, "[\"\xF5\x80\x80\x80\"]"),
    REFUSE(UTF8, "[\"\xFC\x83\xBF\xBF\xBF\xBF\"]"), REFUSE(UTF8, "[\"\xC1\xBF\"]"), REFUSE(UTF8, "[\"\x81\"]"),
    REFUSE(UTF8, "[\"\xE0\xFF\"]"), REFUSE(UTF8, "[\"\xE6\x97\xA5\xD1\x88\xFA\"]"), REFUSE(UTF8, "[\"\xC3\"]"),
    REFUSE(UTF8, "[\"\xE9\"]"), REFUSE(UTF8, "{\"\xB9\":\"0\",}"), REFUSE(BOM, "\xEF\xBB\xBF[]"),
    REFUSE(VALUE, "\xFF\xFE[\0\"\0\xE9\0\"\0]\0"), REFUSE(VALUE, "\0[\0\"\0\xE9\0\"\0]"),
    REFUSE(DEPTH, "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"),
};
/* clang-format on */

#endif
