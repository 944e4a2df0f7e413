/* JSON numbers to doubles and integers and back, correctly rounded and whatever the locale. */
#include "json_number.h"

#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* More significant digits than any double or midpoint between two has (767); what lies beyond
 * matters only by not being zero. */
#define DIGITS_KEPT 770

/* Exponents saturate here: beyond every double, and far from overflow in sums with a length. */
#define EXPONENT_TOP INT64_C(1000000000000)

/* A number taken apart: digits * 10^exponent. */
typedef struct decimal {
    const char *digits; /* from the first that is not 0 on; a point may stand among them */
    size_t span;        /* characters, up to the last digit */
    int64_t count;      /* significant digits, trailing zeros included; 0: the value is 0 */
    int64_t exponent;   /* of the last digit */
    uint64_t mantissa;  /* the digits' value, if count <= 19 */
    bool negative;
} decimal;

static int64_t written_exponent(const char *p, const char *end)
{
    bool negative = *p == '-';
    int64_t exponent = 0;
    if (*p == '-' || *p == '+')
        p++;
    for (; p < end; p++) {
        exponent = exponent * 10 + (*p - '0');
        if (exponent > EXPONENT_TOP)
            exponent = EXPONENT_TOP;
    }
    return negative ? -exponent : exponent;
}

static void take_apart(const char *p, const char *end, decimal *ret)
{
    const char *first = NULL;
    const char *point = NULL;
    const char *start = p;
    uint64_t mantissa = 0;
    ret->negative = *p == '-';
    if (ret->negative)
        p++;
    for (; p < end; p++) {
        unsigned digit = (unsigned)(unsigned char)*p - '0';
        if (digit <= 9) {
            mantissa = mantissa * 10 + digit; /* wraps only when count > 19 says so */
            if (first == NULL && digit != 0)
                first = p;
        } else if (*p == '.') {
            point = p;
        } else {
            break;
        }
    }
    ret->digits = first != NULL ? first : start;
    ret->span = first != NULL ? (size_t)(p - first) : 0;
    ret->count = first == NULL ? 0 : p - first - (point != NULL && point > first ? 1 : 0);
    ret->exponent = point != NULL ? point + 1 - p : 0;
    ret->mantissa = mantissa;
    if (p < end)
        ret->exponent += written_exponent(p + 1, end);
}

/* By way of strtod, on digits and an exponent alone: without a point it knows no locale. */
static weir_status to_double_slowly(const decimal *d, double *ret_value)
{
    char text[DIGITS_KEPT + 32];
    size_t kept = 0;
    int64_t dropped = 0;
    bool rest = false;
    for (size_t i = 0; i < d->span; i++) {
        char c = d->digits[i];
        if (c == '.')
            continue;
        if (kept < DIGITS_KEPT) {
            text[kept++] = c;
        } else {
            dropped++;
            rest = rest || c != '0';
        }
    }
    int64_t exponent = d->exponent + dropped;
    if (rest) {
        text[kept++] = '1';
        exponent--;
    }
    int64_t magnitude = exponent + (int64_t)kept; /* value < 10^magnitude, >= 10^(magnitude-1) */
    if (magnitude > 310)
        return WEIR_ELIMIT;
    double value = 0;
    if (magnitude > -330) {
        int saved = errno;
        (void)snprintf(text + kept, sizeof(text) - kept, "e%d", (int)exponent);
        value = strtod(text, NULL);
        errno = saved;
    }
    if (!isfinite(value))
        return WEIR_ELIMIT;
    *ret_value = d->negative ? -value : value;
    return WEIR_OK;
}

weir_status wi_json_to_double(const char *text, size_t len, double *ret_value)
{
    /* Clinger: integers to 2^53 and powers to 10^22 are exact, so one operation rounds once. */
    static const double powers[] = { 1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22 };
    decimal d;
    take_apart(text, text + len, &d);
    if (d.count == 0) {
        *ret_value = d.negative ? -0.0 : 0.0;
        return WEIR_OK;
    }
    if (FLT_EVAL_METHOD != 0 || d.count > 19 || d.mantissa > UINT64_C(1) << 53 ||
        d.exponent < -22 || d.exponent > 22)
        return to_double_slowly(&d, ret_value);
    double value = (double)d.mantissa;
    value = d.exponent < 0 ? value / powers[-d.exponent] : value * powers[d.exponent];
    *ret_value = d.negative ? -value : value;
    return WEIR_OK;
}

weir_status weir_json_double(const weir_json_token *token, double *ret_value)
{
    if (token->kind != WEIR_JSON_NUMBER)
        return WEIR_EINVAL;
    return wi_json_to_double(token->text, token->len, ret_value);
}

/* The size of an integral number, its sign apart. */
static weir_status magnitude(const decimal *d, uint64_t *ret_value)
{
    uint64_t value = 0;
    int64_t count = d->count;
    int64_t exponent = d->exponent;
    const char *last = d->digits + d->span;
    for (; count > 0 && (last[-1] == '0' || last[-1] == '.'); last--) {
        if (last[-1] == '0') {
            count--;
            exponent++;
        }
    }
    if (count > 0 && exponent < 0)
        return WEIR_EINVAL;
    if (count > 0 && count + exponent > 20)
        return WEIR_ELIMIT;
    for (const char *p = d->digits; p < last; p++) {
        if (*p != '.' && (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
                          __builtin_add_overflow(value, (uint64_t)(*p - '0'), &value)))
            return WEIR_ELIMIT;
    }
    for (; value > 0 && exponent > 0; exponent--) {
        if (__builtin_mul_overflow(value, UINT64_C(10), &value))
            return WEIR_ELIMIT;
    }
    *ret_value = value;
    return WEIR_OK;
}

weir_status weir_json_uint64(const weir_json_token *token, uint64_t *ret_value)
{
    decimal d;
    uint64_t value;
    if (token->kind != WEIR_JSON_NUMBER)
        return WEIR_EINVAL;
    take_apart(token->text, token->text + token->len, &d);
    weir_status status = magnitude(&d, &value);
    if (status != WEIR_OK)
        return status;
    if (d.negative && value != 0)
        return WEIR_ELIMIT;
    *ret_value = value;
    return WEIR_OK;
}

weir_status weir_json_int64(const weir_json_token *token, int64_t *ret_value)
{
    decimal d;
    uint64_t value;
    if (token->kind != WEIR_JSON_NUMBER)
        return WEIR_EINVAL;
    take_apart(token->text, token->text + token->len, &d);
    weir_status status = magnitude(&d, &value);
    if (status != WEIR_OK)
        return status;
    if (value > (uint64_t)INT64_MAX + (d.negative ? 1 : 0))
        return WEIR_ELIMIT;
    *ret_value = d.negative ? (int64_t)(0 - value) : (int64_t)value;
    return WEIR_OK;
}

/* Writes digits with a point behind the first `point` of them, the way people write numbers, and
 * with an exponent where that would need many zeros. */
static size_t lay_out(char *out, const char *digits, int count, int point)
{
    char *p = out;
    if (point > 21 || point < -5) {
        *p++ = digits[0];
        if (count > 1) {
            *p++ = '.';
            memcpy(p, digits + 1, (size_t)count - 1);
            p += count - 1;
        }
        return (size_t)(p - out) + (size_t)snprintf(p, 8, "e%d", point - 1);
    }
    for (int i = point < 1 ? point - 1 : 0; i < count || i < point; i++) {
        if (i == point)
            *p++ = '.';
        *p++ = i >= 0 && i < count ? digits[i] : '0';
    }
    return (size_t)(p - out);
}

/* Whether `value` is what reads back, in its width. */
static inline bool is_same(double back, double value, bool is_float)
{
    return is_float ? (float)back == (float)value : back == value;
}

/* Finds a positive number's digits when it has few decimals, as most have. At most 15 digits, of a
 * float 6: those always read back as the number that they are nearest to. */
__attribute__((always_inline)) static inline int few_decimals(double value, bool is_float,
                                                              char *digits, int *ret_point)
{
    double top = is_float ? 1e6 : 1e15;
    double power = 1;
    for (int decimals = 0; decimals <= 6 && value * power < top; decimals++, power *= 10) {
        uint64_t scaled = (uint64_t)(value * power + 0.5);
        if (scaled == 0 || !is_same((double)scaled / power, value, is_float))
            continue;
        char reversed[20];
        int count = 0;
        for (; scaled > 0; scaled /= 10)
            reversed[count++] = (char)('0' + scaled % 10);
        for (int i = 0; i < count; i++)
            digits[i] = reversed[count - 1 - i];
        *ret_point = count - decimals;
        return count;
    }
    return 0;
}

/* Has snprintf round a positive double to `count` digits; what it puts for the point is the
 * locale's affair, so only digits are taken. */
static double rounded(double value, int count, char *digits, int *ret_point)
{
    char text[48];
    char again[48];
    double back = 0;
    int taken = 0;
    (void)snprintf(text, sizeof(text), "%.*e", count - 1, value);
    const char *p = text;
    for (; *p != 'e'; p++) {
        if (*p >= '0' && *p <= '9')
            digits[taken++] = *p;
    }
    int exponent = (int)strtol(p + 1, NULL, 10);
    *ret_point = exponent + 1;
    int len = snprintf(again, sizeof(again), "%.*se%d", taken, digits, exponent + 1 - taken);
    return wi_json_to_double(again, (size_t)len, &back) == WEIR_OK ? back : HUGE_VAL;
}

/* The fewest digits that read back the same; subnormal numbers need fewer than others. */
static int fewest(double value, bool is_float, char *digits, int *ret_point)
{
    int most = is_float ? 9 : 17;
    int count = is_float ? 6 : 15;
    if (value < (is_float ? (double)FLT_MIN : DBL_MIN))
        count = 1;
    while (!is_same(rounded(value, count, digits, ret_point), value, is_float) && count < most)
        count++;
    return count;
}

/* Signs and zeros, the same for both widths. True: all is said. */
static bool begun(double *value, char *out, size_t *ret_at)
{
    size_t sign = signbit(*value) ? 1 : 0;
    out[0] = '-';
    *ret_at = sign;
    *value = fabs(*value);
    if (*value != 0)
        return false;
    out[sign] = '0';
    return true;
}

static size_t finish(char *out, size_t at, const char *digits, int count, int point)
{
    while (count > 1 && digits[count - 1] == '0')
        count--;
    return at + lay_out(out + at, digits, count, point);
}

size_t wi_json_from_double(double value, char out[WI_JSON_DOUBLE_BYTES])
{
    char digits[24];
    int point = 1;
    size_t at;
    if (begun(&value, out, &at))
        return at + 1;
    int count = few_decimals(value, false, digits, &point);
    if (count == 0)
        count = fewest(value, false, digits, &point);
    return finish(out, at, digits, count, point);
}

size_t wi_json_from_float(float value, char out[WI_JSON_DOUBLE_BYTES])
{
    char digits[24];
    double wide = (double)value;
    int point = 1;
    size_t at;
    if (begun(&wide, out, &at))
        return at + 1;
    int count = few_decimals(wide, true, digits, &point);
    if (count == 0)
        count = fewest(wide, true, digits, &point);
    return finish(out, at, digits, count, point);
}
