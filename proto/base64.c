/* Base64 by tables. */
#include "wi_base64.h"

#include <stdint.h>

static const char standard[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char url_safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/* 64: of no alphabet. The four that differ stand for themselves in both. */
#define NO 64
static const uint8_t values[256] = {
#define ROW NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO
    ROW,           ROW,
    /* 0x20 */ NO, NO,  NO,  NO,  NO,  NO,  NO,  NO, NO, NO, NO, 62, NO, 62, NO, 63,
    /* 0x30 */ 52, 53,  54,  55,  56,  57,  58,  59, 60, 61, NO, NO, NO, NO, NO, NO,
    /* 0x40 */ NO, 0,   1,   2,   3,   4,   5,   6,  7,  8,  9,  10, 11, 12, 13, 14,
    /* 0x50 */ 15, 16,  17,  18,  19,  20,  21,  22, 23, 24, 25, NO, NO, NO, NO, 63,
    /* 0x60 */ NO, 26,  27,  28,  29,  30,  31,  32, 33, 34, 35, 36, 37, 38, 39, 40,
    /* 0x70 */ 41, 42,  43,  44,  45,  46,  47,  48, 49, 50, 51, NO, NO, NO, NO, NO,
    ROW,           ROW, ROW, ROW, ROW, ROW, ROW, ROW
#undef ROW
};

static uint32_t value_of(char c, unsigned how)
{
    bool is_url = c == '-' || c == '_', is_standard = c == '+' || c == '/';
    if ((how & WI_BASE64_ANY_ALPHABET) == 0 && (how & WI_BASE64_URL ? is_standard : is_url))
        return NO;
    return values[(unsigned char)c];
}

/* The bytes that are over when the others make groups of three. */
static size_t encode_rest(const uint8_t *in, size_t n, const char *letters, unsigned how, char *out)
{
    uint32_t bits = (uint32_t)in[0] << 16 | (n == 2 ? (uint32_t)in[1] << 8 : 0);
    bool padded = (how & WI_BASE64_UNPADDED) == 0;
    if (padded)
        out[3] = '=';
    if (n == 2)
        out[2] = letters[bits >> 6 & 63];
    else if (padded)
        out[2] = '=';
    out[1] = letters[bits >> 12 & 63];
    out[0] = letters[bits >> 18];
    return padded ? 4 : n + 1;
}

size_t wi_base64_encode(const void *bytes, size_t n, unsigned how, char *out)
{
    const uint8_t *in = bytes;
    const char *letters = how & WI_BASE64_URL ? url_safe : standard;
    size_t groups = n / 3, len = groups * 4;
    if (n % 3 != 0)
        len += encode_rest(in + groups * 3, n % 3, letters, how, out + groups * 4);
    for (size_t i = groups; i-- > 0;) {
        uint32_t bits = (uint32_t)in[i * 3] << 16 | (uint32_t)in[i * 3 + 1] << 8 |
                        (uint32_t)in[i * 3 + 2];
        out[i * 4 + 3] = letters[bits & 63];
        out[i * 4 + 2] = letters[bits >> 6 & 63];
        out[i * 4 + 1] = letters[bits >> 12 & 63];
        out[i * 4] = letters[bits >> 18];
    }
    return len;
}

size_t wi_base64_groups(const char *text, size_t groups, void *out)
{
    uint8_t *to = out;
    for (size_t i = 0; i < groups; i++, text += 4, to += 3) {
        uint32_t a = value_of(text[0], 0), b = value_of(text[1], 0), c = value_of(text[2], 0),
                 d = value_of(text[3], 0);
        if ((a | b | c | d) >= NO)
            return i;
        uint32_t bits = a << 18 | b << 12 | c << 6 | d;
        to[0] = (uint8_t)(bits >> 16);
        to[1] = (uint8_t)(bits >> 8);
        to[2] = (uint8_t)bits;
    }
    return groups;
}

/* Takes the padding off; false: it is not as it must be. */
static bool unpad(const char *text, size_t *n, unsigned how)
{
    size_t len = *n, pads = 0;
    while (pads < 2 && pads < len && text[len - 1 - pads] == '=')
        pads++;
    if (pads > 0 && (len % 4 != 0 ||
                     (how & (WI_BASE64_UNPADDED | WI_BASE64_ANY_PADDING)) == WI_BASE64_UNPADDED))
        return false;
    if (len % 4 != 0 && (how & (WI_BASE64_UNPADDED | WI_BASE64_ANY_PADDING)) == 0)
        return false;
    *n = len - pads;
    return *n % 4 != 1;
}

bool wi_base64_decode(const char *text, size_t n, unsigned how, void *out, size_t *ret_n)
{
    uint8_t *to = out;
    uint32_t bits = 0;
    size_t len = 0;
    if (!unpad(text, &n, how))
        return false;
    for (size_t i = 0; i < n; i++) {
        uint32_t value = value_of(text[i], how);
        if (value >= NO)
            return false;
        bits = bits << 6 | value;
        if (i % 4 == 0)
            continue;
        if (to != NULL)
            to[len] = (uint8_t)(bits >> (6 - 2 * (i % 4)));
        len++;
    }
    uint32_t over = n % 4 == 2 ? bits & 15 : n % 4 == 3 ? bits & 3 : 0;
    if (over != 0 && (how & WI_BASE64_CANONICAL) != 0)
        return false;
    *ret_n = len;
    return true;
}
