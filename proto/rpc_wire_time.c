/* Timeouts as they are written in heads. */
#include "rpc_wire_internal.h"

#define NS_PER_MS UINT64_C(1000000)

/* Up to `max` digits; false: others, none, or more. */
static bool read_digits(const char *at, size_t n, size_t max, uint64_t *ret_value)
{
    uint64_t value = 0;
    if (n == 0 || n > max)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (at[i] < '0' || at[i] > '9')
            return false;
        value = value * 10 + (uint64_t)(at[i] - '0');
    }
    *ret_value = value;
    return true;
}

/* What is too long to be said is as good as none. */
static uint64_t times(uint64_t value, uint64_t unit_ns)
{
    return value > UINT64_MAX / unit_ns ? UINT64_MAX : value * unit_ns;
}

bool wi_rpc_grpc_timeout(weir_http1_span text, uint64_t *ret_ns)
{
    static const struct {
        char letter;
        uint64_t ns;
    } units[] = {
        { 'm', NS_PER_MS },
        { 'u', 1000 },
        { 'n', 1 },
        { 'S', 1000 * NS_PER_MS },
        { 'M', 60 * 1000 * NS_PER_MS },
        { 'H', 3600 * 1000 * NS_PER_MS },
    };
    uint64_t value;
    if (text.len < 2 || !read_digits(text.at, text.len - 1, 8, &value))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (units[i].letter == text.at[text.len - 1]) {
            *ret_ns = times(value, units[i].ns);
            return true;
        }
    }
    return false;
}

bool wi_rpc_connect_timeout(weir_http1_span text, uint64_t *ret_ns)
{
    uint64_t value;
    if (!read_digits(text.at, text.len, 10, &value))
        return false;
    *ret_ns = times(value, NS_PER_MS);
    return true;
}

static size_t put_digits(uint64_t value, char *out)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    for (size_t i = 0; i < n; i++)
        out[i] = digits[n - 1 - i];
    return n;
}

static uint64_t divided_up(uint64_t value, uint64_t by)
{
    return value / by + (value % by != 0);
}

size_t wi_rpc_write_timeout(bool is_grpc, uint64_t ns, char *out)
{
    static const struct {
        uint64_t ns;
        char letter;
    } units[] = { { 1, 'n' }, { 1000, 'u' }, { NS_PER_MS, 'm' }, { 1000 * NS_PER_MS, 'S' } };
    if (!is_grpc) {
        uint64_t ms = divided_up(ns, NS_PER_MS);
        return put_digits(ms > UINT64_C(9999999999) ? UINT64_C(9999999999) : ms, out);
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        uint64_t value = divided_up(ns, units[i].ns);
        if (value <= 99999999) {
            size_t len = put_digits(value, out);
            out[len] = units[i].letter;
            return len + 1;
        }
    }
    size_t len = put_digits(divided_up(ns, 3600 * 1000 * NS_PER_MS), out);
    out[len] = 'H';
    return len + 1;
}
