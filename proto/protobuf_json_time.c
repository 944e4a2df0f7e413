/* The texts of Timestamp and Duration (RFC 3339, and seconds with an "s"). */
#include "protobuf_json_internal.h"

#include <string.h>

#define SECONDS_MIN     INT64_C(-62135596800) /* 0001-01-01T00:00:00Z */
#define SECONDS_MAX     INT64_C(253402300799) /* 9999-12-31T23:59:59Z */
#define DURATION_MAX    INT64_C(315576000000)
#define NANOS_OF_SECOND 1000000000

/* Days since 1970-01-01 of a date of the proleptic Gregorian calendar, and back:
 * https://howardhinnant.github.io/date_algorithms.html */
static int64_t days_of(int year, int month, int day)
{
    year -= month <= 2;
    int era = year / 400, of_era = year - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return (int64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_of(int64_t days, int *ret_year, int *ret_month, int *ret_day)
{
    int since = (int)(days + 719468); /* not negative in the years that there are */
    int era = since / 146097, in_era = since - era * 146097;
    int of_era = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    int of_year = in_era - (365 * of_era + of_era / 4 - of_era / 100);
    int from_march = (5 * of_year + 2) / 153;
    *ret_day = of_year - (153 * from_march + 2) / 5 + 1;
    *ret_month = from_march < 10 ? from_march + 3 : from_march - 9;
    *ret_year = of_era + era * 400 + (*ret_month <= 2);
}

static int days_in(int year, int month)
{
    static const char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

/* A text that is read from its front; `right` once it was as expected. */
typedef struct scan {
    const char *at, *end;
    bool right;
} scan;

static void expect(scan *s, char c)
{
    if (s->at < s->end && *s->at == c)
        s->at++;
    else
        s->right = false;
}

/* A number of exactly `digits` digits from `min` to `max`. */
static int number(scan *s, int digits, int min, int max)
{
    int value = 0;
    for (int i = 0; i < digits; i++) {
        unsigned digit = s->at < s->end ? (unsigned)(unsigned char)*s->at - '0' : 10;
        if (digit > 9) {
            s->right = false;
            return min;
        }
        value = value * 10 + (int)digit;
        s->at++;
    }
    if (value < min || value > max) {
        s->right = false;
        return min;
    }
    return value;
}

/* A point with 1 to 9 digits behind it, or nothing. */
static int32_t fraction(scan *s)
{
    int32_t nanos = 0, unit = NANOS_OF_SECOND;
    if (s->at == s->end || *s->at != '.')
        return 0;
    s->at++;
    for (; s->at < s->end && (unsigned)(unsigned char)*s->at - '0' <= 9; s->at++) {
        if (unit == 1) {
            s->right = false;
            return 0;
        }
        unit /= 10;
        nanos += (*s->at - '0') * unit;
    }
    if (unit == NANOS_OF_SECOND)
        s->right = false;
    return nanos;
}

/* "Z" or "+01:30", in seconds east of UTC. */
static int zone(scan *s)
{
    char c = s->at < s->end ? *s->at : '\0';
    if (c == 'Z') {
        s->at++;
        return 0;
    }
    expect(s, c == '-' ? '-' : '+');
    int hours = number(s, 2, 0, 23);
    expect(s, ':');
    int seconds = hours * 3600 + number(s, 2, 0, 59) * 60;
    return c == '-' ? -seconds : seconds;
}

const char *wi_pbj_read_timestamp(const char *text, size_t n, int64_t *ret_seconds,
                                  int32_t *ret_nanos)
{
    scan s = { text, text + n, true };
    int year = number(&s, 4, 0, 9999);
    expect(&s, '-');
    int month = number(&s, 2, 1, 12);
    expect(&s, '-');
    int day = number(&s, 2, 1, days_in(year, month));
    expect(&s, 'T');
    int hour = number(&s, 2, 0, 23);
    expect(&s, ':');
    int minute = number(&s, 2, 0, 59);
    expect(&s, ':');
    int second = number(&s, 2, 0, 59);
    int32_t nanos = fraction(&s);
    int east = zone(&s);
    if (!s.right || s.at != s.end)
        return "a Timestamp is not as RFC 3339 has it";
    if (year == 0)
        return "a Timestamp is out of range";
    int64_t seconds = days_of(year, month, day) * 86400 + hour * 3600 + minute * 60 + second - east;
    if (seconds < SECONDS_MIN || seconds > SECONDS_MAX)
        return "a Timestamp is out of range";
    *ret_seconds = seconds;
    *ret_nanos = nanos;
    return NULL;
}

const char *wi_pbj_read_duration(const char *text, size_t n, int64_t *ret_seconds,
                                 int32_t *ret_nanos)
{
    scan s = { text, text + n, true };
    int64_t seconds = 0;
    bool is_negative = n > 0 && *text == '-';
    s.at += is_negative;
    const char *first = s.at;
    for (; s.at < s.end && (unsigned)(unsigned char)*s.at - '0' <= 9; s.at++) {
        seconds = seconds * 10 + (*s.at - '0');
        if (seconds > DURATION_MAX)
            return "a Duration is out of range";
    }
    s.right = s.at > first;
    int32_t nanos = fraction(&s);
    expect(&s, 's');
    if (!s.right || s.at != s.end)
        return "a Duration is not seconds with an s";
    *ret_seconds = is_negative ? -seconds : seconds;
    *ret_nanos = is_negative ? -nanos : nanos;
    return NULL;
}

static char *put_digits(char *at, int value, int digits)
{
    for (int i = digits; i > 0; i--, value /= 10)
        at[i - 1] = (char)('0' + value % 10);
    return at + digits;
}

/* Nothing, or a point and 3, 6 or 9 digits. */
static char *put_fraction(char *at, int32_t nanos)
{
    if (nanos == 0)
        return at;
    *at++ = '.';
    if (nanos % 1000000 == 0)
        return put_digits(at, nanos / 1000000, 3);
    if (nanos % 1000 == 0)
        return put_digits(at, nanos / 1000, 6);
    return put_digits(at, nanos, 9);
}

size_t wi_pbj_put_timestamp(int64_t seconds, int32_t nanos, char out[WI_PBJ_TIME_BYTES])
{
    int year, month, day;
    if (seconds < SECONDS_MIN || seconds > SECONDS_MAX || nanos < 0 || nanos >= NANOS_OF_SECOND)
        return 0;
    int64_t since = seconds - SECONDS_MIN; /* not negative, so division rounds down */
    int of_day = (int)(since % 86400);
    date_of(since / 86400 + SECONDS_MIN / 86400, &year, &month, &day);
    char *at = put_digits(out, year, 4);
    *at++ = '-';
    at = put_digits(at, month, 2);
    *at++ = '-';
    at = put_digits(at, day, 2);
    *at++ = 'T';
    at = put_digits(at, of_day / 3600, 2);
    *at++ = ':';
    at = put_digits(at, of_day / 60 % 60, 2);
    *at++ = ':';
    at = put_digits(at, of_day % 60, 2);
    at = put_fraction(at, nanos);
    *at++ = 'Z';
    return (size_t)(at - out);
}

size_t wi_pbj_put_duration(int64_t seconds, int32_t nanos, char out[WI_PBJ_TIME_BYTES])
{
    if (seconds < -DURATION_MAX || seconds > DURATION_MAX || nanos <= -NANOS_OF_SECOND ||
        nanos >= NANOS_OF_SECOND || (seconds < 0 && nanos > 0) || (seconds > 0 && nanos < 0))
        return 0;
    char *at = out;
    if (seconds < 0 || nanos < 0)
        *at++ = '-';
    uint64_t left = (uint64_t)(seconds < 0 ? -seconds : seconds);
    char digits[24];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + left % 10);
    } while ((left /= 10) > 0);
    while (n > 0)
        *at++ = digits[--n];
    at = put_fraction(at, nanos < 0 ? -nanos : nanos);
    *at++ = 's';
    return (size_t)(at - out);
}
