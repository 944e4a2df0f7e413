/* Tests of protobuf's JSON at its public interface: what each kind of field may be written as. */
#include "protobuf_json_rig.h"

#include <math.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

typedef struct pair {
    const char *text, *expected;
} pair;

static void check_pairs(const pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_becomes(KINDS, pairs[i].text, pairs[i].expected, &rig_strict);
}

static void check_all_refused(const char *const *texts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_refused(KINDS, texts[i]);
}

static void an_empty_object_is_an_empty_message(void **state)
{
    (void)state;
    check_same(KINDS, "{}");
    check_becomes(KINDS, " { } ", "{}", NULL);
    check_refused(KINDS, "null");
    check_refused(KINDS, "[]");
    check_refused(KINDS, "{} {}");
    check_refused(KINDS, "");
}

static void integers_are_numbers_and_those_of_64_bits_strings(void **state)
{
    (void)state;
    check_same(KINDS, "{\"i32\":-2147483648,\"i64\":\"-9223372036854775808\",\"u32\":4294967295,"
                      "\"u64\":\"18446744073709551615\",\"s32\":2147483647,"
                      "\"s64\":\"9223372036854775807\",\"f32\":4294967295,"
                      "\"f64\":\"18446744073709551615\",\"sf32\":-1,\"sf64\":\"-1\"}");
}

static void integers_may_be_numbers_or_strings_with_points_and_exponents(void **state)
{
    (void)state;
    static const pair pairs[] = {
        { "{\"i32\":\"12\"}", "{\"i32\":12}" },
        { "{\"i32\":1e5}", "{\"i32\":100000}" },
        { "{\"i32\":\"1e5\"}", "{\"i32\":100000}" },
        { "{\"i32\":1.0}", "{\"i32\":1}" },
        { "{\"i32\":\"-1.50e1\"}", "{\"i32\":-15}" },
        { "{\"i32\":\"\\u0031\\u0032\"}", "{\"i32\":12}" },
        { "{\"i32\":-0}", "{}" },
        { "{\"u32\":-0.0}", "{}" },
        { "{\"i64\":9007199254740993}", "{\"i64\":\"9007199254740993\"}" },
        { "{\"u64\":1.8446744073709551615e19}", "{\"u64\":\"18446744073709551615\"}" },
        { "{\"f64\":1}", "{\"f64\":\"1\"}" },
    };
    check_pairs(pairs, COUNT(pairs));
}

static void what_is_no_integer_of_its_type_is_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"i32\":1.5}",
        "{\"i32\":2147483648}",
        "{\"i32\":-2147483649}",
        "{\"u32\":-1}",
        "{\"u32\":4294967296}",
        "{\"i64\":9223372036854775808}",
        "{\"i64\":\"-9223372036854775809\"}",
        "{\"u64\":18446744073709551616}",
        "{\"u64\":\"-1\"}",
        "{\"i32\":\"\"}",
        "{\"i32\":\" 1\"}",
        "{\"i32\":\"1 \"}",
        "{\"i32\":\"+1\"}",
        "{\"i32\":\"0x1\"}",
        "{\"i32\":\"01\"}",
        "{\"i32\":\"1.\"}",
        "{\"i32\":\".5\"}",
        "{\"i32\":\"1e\"}",
        "{\"i32\":\"NaN\"}",
        "{\"i32\":true}",
        "{\"i32\":[]}",
        "{\"i32\":{}}",
        "{\"i32\":1e-1}",
        "{\"u64\":\"1.5\"}",
        "{\"i32\":\"1e99999999999\"}",
    };
    check_all_refused(texts, COUNT(texts));
}

static void reals_are_their_shortest_text_in_their_own_width(void **state)
{
    (void)state;
    static const pair pairs[] = {
        { "{\"real\":0.1,\"wide\":0.1}", "{\"real\":0.1,\"wide\":0.1}" },
        { "{\"real\":0.30000001}", "{\"real\":0.3}" },
        { "{\"wide\":0.30000000000000004}", "{\"wide\":0.30000000000000004}" },
        { "{\"real\":16777216}", "{\"real\":16777216}" },
        { "{\"real\":123456789}", "{\"real\":123456790}" },
        { "{\"real\":3.4028235e38}", "{\"real\":3.4028235e38}" },
        { "{\"real\":1e-45}", "{\"real\":1e-45}" },
        { "{\"real\":1.17549435e-38}", "{\"real\":1.1754944e-38}" },
        { "{\"wide\":5e-324}", "{\"wide\":5e-324}" },
        { "{\"wide\":1.7976931348623157e308}", "{\"wide\":1.7976931348623157e308}" },
        { "{\"real\":\"1.5\",\"wide\":\"-2.5e1\"}", "{\"real\":1.5,\"wide\":-25}" },
        { "{\"real\":-0,\"wide\":-0.0}", "{\"real\":-0.0,\"wide\":-0.0}" },
        { "{\"real\":1e-60}", "{}" },
        { "{\"real\":\"NaN\",\"wide\":\"NaN\"}", "{\"real\":\"NaN\",\"wide\":\"NaN\"}" },
        { "{\"real\":\"Infinity\",\"wide\":\"-Infinity\"}",
          "{\"real\":\"Infinity\",\"wide\":\"-Infinity\"}" },
        { "{\"manyReal\":[1,\"-Infinity\",33554432]}",
          "{\"manyReal\":[1,\"-Infinity\",33554432]}" },
    };
    check_pairs(pairs, COUNT(pairs));
}

static void every_float_comes_back_from_its_text(void **state)
{
    (void)state;
    uint64_t seed = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        JsonKinds__Kinds kinds = JSON_KINDS__KINDS__INIT;
        ProtobufCMessage *back = NULL;
        rig r;
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        uint32_t bits = (uint32_t)(seed >> 20);
        memcpy(&kinds.real, &bits, sizeof bits);
        if (!isfinite(kinds.real))
            continue;
        rig_begin(&r, NULL);
        assert_int_equal(rig_write(&r, &kinds.base, NULL), WEIR_OK);
        assert_int_equal(rig_read_n(&r, KINDS, r.text.at, r.text.len, NULL, &back), WEIR_OK);
        if (memcmp(&((JsonKinds__Kinds *)back)->real, &bits, sizeof bits) != 0)
            fail_msg("%s", r.text.at);
        rig_end(&r);
    }
}

static void reals_that_overflow_or_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"wide\":1e309}",         "{\"wide\":\"1e309\"}", "{\"real\":3.4028236e38}",
        "{\"real\":-1e39}",         "{\"real\":1e309}",     "{\"wide\":\"nan\"}",
        "{\"wide\":\"+Infinity\"}", "{\"wide\":\"inf\"}",   "{\"wide\":true}",
        "{\"wide\":NaN}",           "{\"wide\":\"\"}",      "{\"wide\":\"1,5\"}",
    };
    check_all_refused(texts, COUNT(texts));
}

static void strings_are_utf8_without_nul(void **state)
{
    (void)state;
    check_same(KINDS, "{\"text\":\"\xC3\xA4 \xF0\x9F\x98\x80 \\\"\\\\\\n\\u001f\"}");
    check_becomes(KINDS, "{\"text\":\"\\u00e4\\uD83D\\uDE00\\/\"}",
                  "{\"text\":\"\xC3\xA4\xF0\x9F\x98\x80/\"}", NULL);
    check_refused(KINDS, "{\"text\":\"\xC3\"}");
    check_refused(KINDS, "{\"text\":\"\xED\xA0\x80\"}");
    check_refused(KINDS, "{\"text\":\"\\ud800\"}");
    check_refused(KINDS, "{\"text\":\"a\\u0000b\"}");
    check_refused(KINDS, "{\"text\":1}");
    JsonKinds__Kinds kinds = JSON_KINDS__KINDS__INIT;
    rig r;
    rig_begin(&r, NULL);
    kinds.text = "before \xFF behind";
    assert_int_equal(rig_write(&r, &kinds.base, NULL), WEIR_EINVAL);
    assert_string_equal(r.why, "a string is no UTF-8");
    kinds.text = NULL;
    assert_int_equal(rig_write(&r, &kinds.base, NULL), WEIR_OK);
    assert_string_equal(r.text.at, "{}");
    rig_end(&r);
}

static void bytes_are_base64_of_either_alphabet(void **state)
{
    (void)state;
    static const pair pairs[] = {
        { "{\"data\":\"AQI=\"}", "{\"data\":\"AQI=\"}" },
        { "{\"data\":\"AQI\"}", "{\"data\":\"AQI=\"}" },
        { "{\"data\":\"AQ==\"}", "{\"data\":\"AQ==\"}" },
        { "{\"data\":\"AQ\"}", "{\"data\":\"AQ==\"}" },
        { "{\"data\":\"AQID\"}", "{\"data\":\"AQID\"}" },
        { "{\"data\":\"-_-_\"}", "{\"data\":\"+/+/\"}" },
        { "{\"data\":\"-_\"}", "{\"data\":\"+w==\"}" },
        { "{\"data\":\"\\u002b\\/+\\/\"}", "{\"data\":\"+/+/\"}" },
        { "{\"data\":\"\"}", "{}" },
        { "{\"manyData\":[\"\",\"AAAAAA==\"]}", "{\"manyData\":[\"\",\"AAAAAA==\"]}" },
    };
    static const char *const texts[] = {
        "{\"data\":\"A\"}",        "{\"data\":\"AQ=\"}",
        "{\"data\":\"A===\"}",     "{\"data\":\"AQI*\"}",
        "{\"data\":\"AQ=I\"}",     "{\"data\":\"AQIDA\"}",
        "{\"data\":\"AQ==AQ==\"}", "{\"data\":\"AQ I\"}",
        "{\"data\":\"====\"}",     "{\"data\":5}",
    };
    check_pairs(pairs, COUNT(pairs));
    check_all_refused(texts, COUNT(texts));
}

static void enums_are_names_or_numbers(void **state)
{
    (void)state;
    static const pair pairs[] = {
        { "{\"colour\":\"RED\"}", "{\"colour\":\"RED\"}" },
        { "{\"colour\":1}", "{\"colour\":\"RED\"}" },
        { "{\"colour\":\"\\u0052ED\"}", "{\"colour\":\"RED\"}" },
        { "{\"colour\":-1}", "{\"colour\":\"BELOW\"}" },
        { "{\"colour\":77}", "{\"colour\":77}" },
        { "{\"manyColour\":[\"FAR\",1000000,\"1\",2e0]}",
          "{\"manyColour\":[\"FAR\",\"FAR\",\"RED\",2]}" },
        { "{\"colour\":\"NONE\"}", "{}" },
    };
    static const char *const texts[] = {
        "{\"colour\":\"GREEN\"}", "{\"colour\":\"red\"}",           "{\"colour\":\"RE\"}",
        "{\"colour\":\"REDD\"}",  "{\"colour\":2147483648}",        "{\"colour\":1.5}",
        "{\"colour\":\"\"}",      "{\"colour\":\"RED\\u0000FAR\"}", "{\"colour\":true}",
    };
    check_pairs(pairs, COUNT(pairs));
    check_all_refused(texts, COUNT(texts));
    check_becomes(KINDS,
                  "{\"colour\":\"GREEN\",\"manyColour\":[\"GREEN\",\"RED\"],"
                  "\"byYes\":{\"true\":\"GREEN\",\"false\":\"RED\"},\"choiceColour\":\"GREEN\"}",
                  "{\"manyColour\":[\"RED\"],\"byYes\":{\"false\":\"RED\"}}", &rig_lenient);
}

static void null_is_absence_but_for_values_and_null_values(void **state)
{
    (void)state;
    check_becomes(KINDS,
                  "{\"i32\":null,\"text\":null,\"leaf\":null,\"manyI32\":null,\"byText\":null,"
                  "\"object\":null,\"list\":null,\"int64Value\":null,\"moment\":null,\"any\":null,"
                  "\"choiceI32\":null,\"choiceText\":\"a\",\"maybeI32\":null,\"manyValue\":null}",
                  "{\"choiceText\":\"a\"}", &rig_strict);
    check_same(KINDS, "{\"manyNull\":[null,null],\"choiceNull\":null,\"value\":null,"
                      "\"manyValue\":[null,1]}");
    check_becomes(KINDS, "{\"choiceNull\":\"NULL_VALUE\",\"nullValue\":null}",
                  "{\"choiceNull\":null}", &rig_strict);
    check_same(KINDS, "{\"valueByText\":{\"a\":null}}");
    static const char *const texts[] = {
        "{\"manyI32\":[1,null]}",    "{\"manyText\":[null]}",    "{\"manyLeaf\":[null]}",
        "{\"byText\":{\"a\":null}}", "{\"byI32\":{\"1\":null}}", "{\"manyInt64Value\":[null]}",
        "{\"manyAny\":[null]}",
    };
    check_all_refused(texts, COUNT(texts));
}

static void fields_have_two_names_of_which_one_may_be_given_once(void **state)
{
    (void)state;
    check_becomes(KINDS, "{\"many_i32\":[1],\"leaf\":{\"item_count\":2,\"\\u006eame\":\"x\"}}",
                  "{\"leaf\":{\"name\":\"x\",\"itemCount\":2},\"manyI32\":[1]}", &rig_strict);
    check_same(KINDS, "{\"LeadingAndDouble\":1,\"WithCapitals\":2,\"digits12a\":3,"
                      "\"alreadyCamel\":{}}");
    check_becomes(KINDS, "{\"_leading_and__double_\":1,\"With_Capitals\":2,\"digits_1_2a\":3}",
                  "{\"LeadingAndDouble\":1,\"WithCapitals\":2,\"digits12a\":3}", &rig_strict);
    static const char *const texts[] = {
        "{\"i32\":1,\"i32\":1}",
        "{\"manyI32\":[1],\"many_i32\":[2]}",
        "{\"i32\":null,\"i32\":1}",
        "{\"leaf\":{\"itemCount\":1,\"item_count\":1}}",
        "{\"I32\":1}",
        "{\"many_I32\":[]}",
        "{\"i32\\u0000\":1}",
        "{\"alreadyCamel\":{},\"alreadyCamel\":null}",
        "{\"\":1}",
    };
    check_all_refused(texts, COUNT(texts));
}

static void unknown_fields_are_skipped_whole_or_refused(void **state)
{
    (void)state;
    static const char text[] =
        "{\"x\":{\"x\":[1,{\"i32\":2}],\"x\":2},\"i32\":1,\"\":[[]],\"x\":0}";
    check_becomes(KINDS, text, "{\"i32\":1}", NULL);
    check_refused_as(KINDS, text, WEIR_EPROTO, "an unknown field", &rig_strict);
    check_refused_as(KINDS, "{\"x\":{]}", WEIR_EPROTO, NULL, NULL);
    check_refused_as(KINDS, "{\"x\":tru}", WEIR_EPROTO, NULL, NULL);
}

static void one_field_of_a_oneof_may_be_given(void **state)
{
    (void)state;
    check_same(KINDS, "{\"choiceI32\":0}");
    check_same(KINDS, "{\"choiceText\":\"\"}");
    check_same(KINDS, "{\"choiceData\":\"\"}");
    check_same(KINDS, "{\"choiceLeaf\":{}}");
    check_same(KINDS, "{\"choiceWide\":0}");
    check_same(KINDS, "{\"maybeI32\":0,\"maybeText\":\"\",\"maybeYes\":false}");
    check_refused_as(KINDS, "{\"choiceI32\":1,\"choiceText\":\"\"}", WEIR_EPROTO,
                     "two fields of one oneof", NULL);
    check_refused(KINDS, "{\"choiceLeaf\":{},\"choiceNull\":null}");
    check_becomes(KINDS, "{\"choiceI32\":1,\"choiceText\":null}", "{\"choiceI32\":1}", NULL);
}

static void maps_are_objects(void **state)
{
    (void)state;
    check_same(
        KINDS,
        "{\"byText\":{\"\":\"\",\"k\\n\":\"v\"},\"byI32\":{\"-5\":{\"name\":\"x\"},\"0\":{}},"
        "\"byU64\":{\"18446744073709551615\":0.5},\"byYes\":{\"true\":\"RED\","
        "\"false\":\"NONE\"},\"belowByText\":{\"a\":{\"belowByText\":{\"b\":{}}}},"
        "\"byS64\":{\"-1\":\"AQ==\"},\"momentByText\":{\"t\":\"1970-01-01T00:00:00Z\"},"
        "\"byF32\":{\"7\":\"8\"}}");
    check_becomes(KINDS, "{\"byI32\":{\"\\u0031\":{}},\"byU64\":{\"1e2\":1},\"byText\":{}}",
                  "{\"byI32\":{\"1\":{}},\"byU64\":{\"100\":1}}", NULL);
    static const char *const texts[] = {
        "{\"byI32\":{\"a\":{}}}",
        "{\"byI32\":{\"2147483648\":{}}}",
        "{\"byI32\":{\"\":{}}}",
        "{\"byYes\":{\"True\":0}}",
        "{\"byYes\":{\"1\":0}}",
        "{\"byU64\":{\"-1\":0}}",
        "{\"byText\":{\"a\":\"\",\"a\":\"\"}}",
        "{\"byI32\":{\"1\":{},\"1.0\":{}}}",
        "{\"byYes\":{\"true\":0,\"true\":1}}",
        "{\"byText\":[]}",
        "{\"byText\":{\"a\\u0000\":\"\"}}",
        "{\"byText\":{\"a\":1}}",
        "{\"manyI32\":{}}",
        "{\"manyI32\":1}",
    };
    check_all_refused(texts, COUNT(texts));
}

static size_t many_entries(char *text, int n, bool twice)
{
    size_t len = (size_t)sprintf(text, "{\"byText\":{");
    for (int i = 0; i < n; i++)
        len += (size_t)sprintf(text + len, "%s\"key%d\":\"\"", i > 0 ? "," : "", i);
    if (twice)
        len += (size_t)sprintf(text + len, ",\"\\u006bey%d\":\"\"", n / 2);
    return len + (size_t)sprintf(text + len, "}}");
}

static void a_map_may_have_any_number_of_keys_each_once(void **state)
{
    (void)state;
    static char text[1 << 20];
    for (int n = 1; n <= 40000; n = n < 12 ? n + 1 : n * 3) {
        (void)many_entries(text, n, false);
        check_same(KINDS, text);
        (void)many_entries(text, n, true);
        check_refused_as(KINDS, text, WEIR_EPROTO, "a map has a key twice", NULL);
    }
}

static void options_say_how_it_is_written(void **state)
{
    (void)state;
    rig r;
    JsonKinds__Leaf leaf = JSON_KINDS__LEAF__INIT;
    weir_protobuf_json_options options = { .emit_defaults = true };
    rig_begin(&r, NULL);
    assert_int_equal(rig_write(&r, &leaf.base, &options), WEIR_OK);
    assert_string_equal(r.text.at, "{\"name\":\"\",\"itemCount\":0}");
    options.proto_names = true;
    assert_int_equal(rig_write(&r, &leaf.base, &options), WEIR_OK);
    assert_string_equal(r.text.at, "{\"name\":\"\",\"item_count\":0}");

    JsonKinds__Kinds kinds = JSON_KINDS__KINDS__INIT;
    assert_int_equal(rig_write(&r, &kinds.base, &options), WEIR_OK);
    assert_non_null(strstr(
        r.text.at, "\"data\":\"\",\"colour\":\"NONE\",\"null_value\":null,\"many_i32\":[],"));
    assert_non_null(strstr(r.text.at, "\"by_text\":{},"));
    assert_null(strstr(r.text.at, "choice"));
    assert_null(strstr(r.text.at, "maybe"));
    assert_null(strstr(r.text.at, "moment\""));
    kinds.colour = JSON_KINDS__COLOUR__FAR;
    options = (weir_protobuf_json_options){ .enums_as_numbers = true };
    assert_int_equal(rig_write(&r, &kinds.base, &options), WEIR_OK);
    assert_string_equal(r.text.at, "{\"colour\":1000000}");
    rig_end(&r);
}

static void proto2_has_required_fields_presence_and_defaults(void **state)
{
    (void)state;
    check_same(OLD, "{\"id\":0}");
    check_same(OLD, "{\"id\":1,\"count\":0,\"text\":\"\",\"data\":\"\",\"size\":\"SMALL\","
                    "\"below\":{\"id\":2},\"many\":[1],\"byText\":{\"a\":0},\"left\":\"\","
                    "\"yes\":false}");
    check_same(OLD, "{\"id\":1,\"right\":{\"id\":0}}");
    check_refused(OLD, "{}");
    check_refused(OLD, "{\"id\":null}");
    check_refused(OLD, "{\"id\":1,\"below\":{}}");
    rig r;
    ProtobufCMessage *message = NULL;
    rig_begin(&r, NULL);
    assert_int_equal(rig_read_n(&r, OLD, "{\"id\":1}", 8, NULL, &message), WEIR_OK);
    assert_int_equal(((JsonOld__Old *)message)->count, 7);
    assert_string_equal(((JsonOld__Old *)message)->text, "so");
    assert_false(((JsonOld__Old *)message)->has_count);
    rig_end(&r);
}

static void timestamps_are_rfc_3339(void **state)
{
    (void)state;
    static const pair pairs[] = {
        { "{\"moment\":\"1970-01-01T00:00:00Z\"}", "{\"moment\":\"1970-01-01T00:00:00Z\"}" },
        { "{\"moment\":\"0001-01-01T00:00:00Z\"}", "{\"moment\":\"0001-01-01T00:00:00Z\"}" },
        { "{\"moment\":\"9999-12-31T23:59:59.999999999Z\"}",
          "{\"moment\":\"9999-12-31T23:59:59.999999999Z\"}" },
        { "{\"moment\":\"2000-02-29T12:34:56.5Z\"}", "{\"moment\":\"2000-02-29T12:34:56.500Z\"}" },
        { "{\"moment\":\"2024-12-31T23:59:59.00001Z\"}",
          "{\"moment\":\"2024-12-31T23:59:59.000010Z\"}" },
        { "{\"moment\":\"1969-12-31T23:59:59.000000001Z\"}",
          "{\"moment\":\"1969-12-31T23:59:59.000000001Z\"}" },
        { "{\"moment\":\"2024-03-01T00:30:00+01:30\"}", "{\"moment\":\"2024-02-29T23:00:00Z\"}" },
        { "{\"moment\":\"2024-02-29T23:00:00-01:30\"}", "{\"moment\":\"2024-03-01T00:30:00Z\"}" },
    };
    static const char *const texts[] = {
        "{\"moment\":\"0000-01-01T00:00:00Z\"}",
        "{\"moment\":\"10000-01-01T00:00:00Z\"}",
        "{\"moment\":\"0001-01-01T00:00:00+00:01\"}",
        "{\"moment\":\"9999-12-31T23:59:59-00:01\"}",
        "{\"moment\":\"1970-01-01T00:00:00\"}",
        "{\"moment\":\"1970-01-01t00:00:00Z\"}",
        "{\"moment\":\"1970-01-01T00:00:00z\"}",
        "{\"moment\":\"1970-01-01 00:00:00Z\"}",
        "{\"moment\":\"1970-13-01T00:00:00Z\"}",
        "{\"moment\":\"1970-02-29T00:00:00Z\"}",
        "{\"moment\":\"1900-02-29T00:00:00Z\"}",
        "{\"moment\":\"1970-01-01T24:00:00Z\"}",
        "{\"moment\":\"1970-01-01T00:60:00Z\"}",
        "{\"moment\":\"1970-01-01T00:00:60Z\"}",
        "{\"moment\":\"1970-01-01T00:00:00.Z\"}",
        "{\"moment\":\"1970-01-01T00:00:00.1234567890Z\"}",
        "{\"moment\":\"1970-01-01T00:00:00+0100\"}",
        "{\"moment\":\"1970-01-01T00:00:00+24:00\"}",
        "{\"moment\":\"1970-01-01T00:00:00Z \"}",
        "{\"moment\":\"1970-1-01T00:00:00Z\"}",
        "{\"moment\":\"\"}",
        "{\"moment\":0}",
        "{\"moment\":{\"seconds\":1}}",
        "{\"moment\":\"1970-00-01T00:00:00Z\"}",
    };
    check_pairs(pairs, COUNT(pairs));
    check_all_refused(texts, COUNT(texts));
}

static void durations_are_seconds(void **state)
{
    (void)state;
    static const pair pairs[] = {
        { "{\"span\":\"0s\"}", "{\"span\":\"0s\"}" },
        { "{\"span\":\"1.5s\"}", "{\"span\":\"1.500s\"}" },
        { "{\"span\":\"-0.5s\"}", "{\"span\":\"-0.500s\"}" },
        { "{\"span\":\"-1.000000001s\"}", "{\"span\":\"-1.000000001s\"}" },
        { "{\"span\":\"315576000000.999999999s\"}", "{\"span\":\"315576000000.999999999s\"}" },
        { "{\"span\":\"-315576000000s\"}", "{\"span\":\"-315576000000s\"}" },
        { "{\"span\":\"-0s\"}", "{\"span\":\"0s\"}" },
        { "{\"span\":\"3.000100s\"}", "{\"span\":\"3.000100s\"}" },
    };
    static const char *const texts[] = {
        "{\"span\":\"1\"}",
        "{\"span\":\"315576000001s\"}",
        "{\"span\":\"-315576000001s\"}",
        "{\"span\":\"s\"}",
        "{\"span\":\".5s\"}",
        "{\"span\":\"1.s\"}",
        "{\"span\":\"--1s\"}",
        "{\"span\":\"+1s\"}",
        "{\"span\":\"1.0000000000s\"}",
        "{\"span\":\"1s \"}",
        "{\"span\":\"1e3s\"}",
        "{\"span\":1}",
        "{\"span\":\"99999999999999999999s\"}",
        "{\"span\":\"1.-5s\"}",
        "{\"span\":\"-\"}",
        "{\"span\":\"\"}",
    };
    check_pairs(pairs, COUNT(pairs));
    check_all_refused(texts, COUNT(texts));
}

static void times_out_of_range_are_not_written(void **state)
{
    (void)state;
    static const struct {
        int64_t seconds;
        int32_t nanos;
    } bad[] = { { INT64_MAX, 0 },    { INT64_MIN, 0 },   { 253402300800, 0 },
                { -62135596801, 0 }, { 0, 1000000000 },  { 0, INT32_MAX },
                { 0, INT32_MIN },    { 1, -1000000000 }, { 315576000001, 0 } };
    rig r;
    rig_begin(&r, NULL);
    for (size_t i = 0; i < COUNT(bad); i++) {
        Google__Protobuf__Timestamp moment = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
        Google__Protobuf__Duration span = GOOGLE__PROTOBUF__DURATION__INIT;
        moment.seconds = span.seconds = bad[i].seconds;
        moment.nanos = span.nanos = bad[i].nanos;
        if (llabs(bad[i].seconds) < 300000000000 && bad[i].seconds != 0 && bad[i].seconds != 1)
            span.nanos = bad[i].seconds > 0 ? -1 : 1; /* of the other sign */
        assert_int_equal(rig_write(&r, &moment.base, NULL), WEIR_EINVAL);
        assert_int_equal(rig_write(&r, &span.base, NULL), WEIR_EINVAL);
        assert_int_equal(r.text.len, 0);
    }
    rig_end(&r);
}

static void field_masks_are_camel_case_with_commas(void **state)
{
    (void)state;
    check_same(KINDS, "{\"mask\":\"a,b.cD,eFG.h1\"}");
    check_same(KINDS, "{\"mask\":\"\"}");
    check_refused(KINDS, "{\"mask\":\"a_b\"}");
    check_refused(KINDS, "{\"mask\":\"a,,b\"}");
    check_refused(KINDS, "{\"mask\":\",\"}");
    check_refused(KINDS, "{\"mask\":[]}");
    static char *const bad[] = { "aB", "a__b", "a_", "a_1", "_", "", "a,b", "a\"b" };
    rig r;
    rig_begin(&r, NULL);
    for (size_t i = 0; i < COUNT(bad); i++) {
        Google__Protobuf__FieldMask mask = GOOGLE__PROTOBUF__FIELD_MASK__INIT;
        char *paths[] = { "ok", bad[i] };
        mask.n_paths = 2;
        mask.paths = paths;
        assert_int_equal(rig_write(&r, &mask.base, NULL), WEIR_EINVAL);
    }
    rig_end(&r);
}

static void structs_values_and_lists_are_any_json(void **state)
{
    (void)state;
    check_same(KINDS, "{\"object\":{\"a\":1,\"b\":[true,null,{\"c\":\"x\"},[]],\"\":{}},"
                      "\"value\":[1.5,\"s\",{}],\"list\":[[],[[false]]],\"nothing\":{},"
                      "\"manyValue\":[1,\"NaN\",{\"a\":[null]}]}");
    check_same(&google__protobuf__value__descriptor, "null");
    check_same(&google__protobuf__value__descriptor, "{\"a\":[1]}");
    check_same(&google__protobuf__struct__descriptor, "{\"a\":[1]}");
    check_same(&google__protobuf__list_value__descriptor, "[null,\"a\"]");
    static const char *const texts[] = {
        "{\"object\":[]}",         "{\"list\":{}}",
        "{\"value\":1e400}",       "{\"object\":{\"a\":1,\"a\":1}}",
        "{\"nothing\":{\"a\":1}}", "{\"nothing\":[]}",
        "{\"object\":\"\"}",
    };
    check_all_refused(texts, COUNT(texts));
    Google__Protobuf__Value value = GOOGLE__PROTOBUF__VALUE__INIT;
    rig r;
    rig_begin(&r, NULL);
    assert_int_equal(rig_write(&r, &value.base, NULL), WEIR_EINVAL);
    value.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_NUMBER_VALUE;
    value.number_value = (double)NAN;
    assert_int_equal(rig_write(&r, &value.base, NULL), WEIR_EINVAL);
    value.number_value = -(double)INFINITY;
    assert_int_equal(rig_write(&r, &value.base, NULL), WEIR_EINVAL);
    rig_end(&r);
}

static void wrappers_are_what_they_wrap(void **state)
{
    (void)state;
    check_same(KINDS, "{\"doubleValue\":0,\"floatValue\":\"NaN\",\"int64Value\":\"0\","
                      "\"uint64Value\":\"1\",\"int32Value\":0,\"uint32Value\":0,"
                      "\"boolValue\":false,\"stringValue\":\"\",\"bytesValue\":\"\","
                      "\"manyInt64Value\":[\"1\"]}");
    check_same(&google__protobuf__int64_value__descriptor, "\"7\"");
    check_refused(KINDS, "{\"int32Value\":{\"value\":1}}");
    check_refused(KINDS, "{\"boolValue\":\"true\"}");
}

#define T "type.googleapis.com/"

static void an_any_names_the_type_of_what_it_holds(void **state)
{
    (void)state;
    check_same(KINDS, "{\"any\":{}}");
    check_same(KINDS, "{\"any\":{\"@type\":\"" T "json_kinds.Leaf\"}}");
    check_same(KINDS,
               "{\"any\":{\"@type\":\"x/y/json_kinds.Leaf\",\"name\":\"a\",\"itemCount\":2}}");
    check_becomes(KINDS, "{\"any\":{\"name\":\"a\",\"@\\u0074ype\":\"/json_kinds.Leaf\"}}",
                  "{\"any\":{\"@type\":\"/json_kinds.Leaf\",\"name\":\"a\"}}", &rig_strict);
    check_same(KINDS, "{\"any\":{\"@type\":\"" T "google.protobuf.Duration\",\"value\":\"1s\"}}");
    check_same(KINDS,
               "{\"any\":{\"@type\":\"" T "google.protobuf.Struct\",\"value\":{\"a\":[1]}}}");
    check_same(KINDS, "{\"any\":{\"@type\":\"" T "google.protobuf.Value\",\"value\":null}}");
    check_same(KINDS, "{\"any\":{\"@type\":\"" T "google.protobuf.ListValue\",\"value\":[[]]}}");
    check_same(KINDS, "{\"any\":{\"@type\":\"" T "google.protobuf.Empty\"}}");
    check_becomes(KINDS, "{\"any\":{\"@type\":\"" T "google.protobuf.Empty\",\"value\":{}}}",
                  "{\"any\":{\"@type\":\"" T "google.protobuf.Empty\"}}", &rig_strict);
    check_becomes(
        KINDS, "{\"any\":{\"value\":\"5\",\"@type\":\"" T "google.protobuf.Int32Value\"}}",
        "{\"any\":{\"@type\":\"" T "google.protobuf.Int32Value\",\"value\":5}}", &rig_strict);
    check_same(KINDS,
               "{\"any\":{\"@type\":\"" T "google.protobuf.Any\",\"value\":{\"@type\":\"" T
               "google.protobuf.Any\",\"value\":{\"@type\":\"" T
               "json_kinds.Kinds\",\"manyAny\":[{},{\"@type\":\"/json_old.Old\",\"id\":1}]}}}}");
    check_same(KINDS, "{\"any\":{\"@type\":\"" T "google.protobuf.Any\",\"value\":{}}}");
}

static void an_any_is_refused_unless_all_of_it_is_right(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{\"any\":{\"@type\":\"" T "json_kinds.Nope\"}}",
        "{\"any\":{\"@type\":\"json_kinds.Leaf\"}}",
        "{\"any\":{\"@type\":\"\"}}",
        "{\"any\":{\"@type\":1}}",
        "{\"any\":{\"@type\":null}}",
        "{\"any\":{\"name\":\"a\"}}",
        "{\"any\":{\"@type\":\"/json_kinds.Leaf\",\"@type\":\"/json_kinds.Leaf\"}}",
        "{\"any\":{\"@type\":\"/json_kinds.Leaf\",\"nope\":1}}",
        "{\"any\":{\"@type\":\"/google.protobuf.Duration\"}}",
        "{\"any\":{\"@type\":\"/google.protobuf.Duration\",\"value\":\"1s\",\"value\":\"1s\"}}",
        "{\"any\":{\"@type\":\"/google.protobuf.Duration\",\"value\":\"1s\",\"x\":1}}",
        "{\"any\":{\"@type\":\"/google.protobuf.Duration\",\"value\":null}}",
        "{\"any\":{\"@type\":\"/json_old.Old\"}}",
        "{\"any\":[]}",
        "{\"any\":{\"@type\":\"/json_kinds.Leaf\\u0000\"}}",
    };
    check_all_refused(texts, COUNT(texts));
    check_refused_as(KINDS, "{\"any\":{\"@type\":\"/json_kinds.Leaf\"}}", WEIR_EPROTO,
                     "an Any of an unknown type", NULL);
    check_becomes(KINDS, "{\"any\":{\"@type\":\"/json_kinds.Leaf\",\"x\":1,\"name\":\"a\"}}",
                  "{\"any\":{\"@type\":\"/json_kinds.Leaf\",\"name\":\"a\"}}", &rig_lenient);
}

static void an_any_of_an_unknown_type_or_of_rubbish_is_not_written(void **state)
{
    (void)state;
    rig r;
    rig_begin(&r, NULL);
    Google__Protobuf__Any any = GOOGLE__PROTOBUF__ANY__INIT;
    uint8_t rubbish[] = { 0xFF, 0xFF };
    any.type_url = T "json_kinds.Nope";
    assert_int_equal(rig_write(&r, &any.base, &rig_lenient), WEIR_EINVAL);
    any.type_url = T "json_kinds.Leaf";
    assert_int_equal(rig_write(&r, &any.base, NULL), WEIR_EINVAL);
    assert_int_equal(rig_write(&r, &any.base, &rig_lenient), WEIR_OK);
    any.value = (ProtobufCBinaryData){ 2, rubbish };
    assert_int_equal(rig_write(&r, &any.base, &rig_lenient), WEIR_EINVAL);
    any.type_url = "";
    assert_int_equal(rig_write(&r, &any.base, &rig_lenient), WEIR_EINVAL);
    rig_end(&r);
}

static void text_is_appended_and_taken_back_on_an_error(void **state)
{
    (void)state;
    rig r;
    JsonKinds__Leaf leaf = JSON_KINDS__LEAF__INIT;
    JsonKinds__Kinds kinds = JSON_KINDS__KINDS__INIT;
    rig_begin(&r, NULL);
    assert_int_equal(weir_bytes_append(&r.text, "ab", 2), WEIR_OK);
    assert_int_equal(weir_protobuf_to_json(&leaf.base, NULL, &r.text, NULL), WEIR_OK);
    assert_memory_equal(r.text.at, "ab{}", 4);
    kinds.i32 = 1;
    kinds.text = "\xFF";
    assert_int_equal(weir_protobuf_to_json(&kinds.base, NULL, &r.text, NULL), WEIR_EINVAL);
    assert_int_equal(r.text.len, 4);
    assert_memory_equal(r.text.at, "ab{}", 4);
    rig_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_object_is_an_empty_message),
        cmocka_unit_test(integers_are_numbers_and_those_of_64_bits_strings),
        cmocka_unit_test(integers_may_be_numbers_or_strings_with_points_and_exponents),
        cmocka_unit_test(what_is_no_integer_of_its_type_is_refused),
        cmocka_unit_test(reals_are_their_shortest_text_in_their_own_width),
        cmocka_unit_test(every_float_comes_back_from_its_text),
        cmocka_unit_test(reals_that_overflow_or_are_none_are_refused),
        cmocka_unit_test(strings_are_utf8_without_nul),
        cmocka_unit_test(bytes_are_base64_of_either_alphabet),
        cmocka_unit_test(enums_are_names_or_numbers),
        cmocka_unit_test(null_is_absence_but_for_values_and_null_values),
        cmocka_unit_test(fields_have_two_names_of_which_one_may_be_given_once),
        cmocka_unit_test(unknown_fields_are_skipped_whole_or_refused),
        cmocka_unit_test(one_field_of_a_oneof_may_be_given),
        cmocka_unit_test(maps_are_objects),
        cmocka_unit_test(a_map_may_have_any_number_of_keys_each_once),
        cmocka_unit_test(options_say_how_it_is_written),
        cmocka_unit_test(proto2_has_required_fields_presence_and_defaults),
        cmocka_unit_test(timestamps_are_rfc_3339),
        cmocka_unit_test(durations_are_seconds),
        cmocka_unit_test(times_out_of_range_are_not_written),
        cmocka_unit_test(field_masks_are_camel_case_with_commas),
        cmocka_unit_test(structs_values_and_lists_are_any_json),
        cmocka_unit_test(wrappers_are_what_they_wrap),
        cmocka_unit_test(an_any_names_the_type_of_what_it_holds),
        cmocka_unit_test(an_any_is_refused_unless_all_of_it_is_right),
        cmocka_unit_test(an_any_of_an_unknown_type_or_of_rubbish_is_not_written),
        cmocka_unit_test(text_is_appended_and_taken_back_on_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
