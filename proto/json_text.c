/* The characters of JSON strings: UTF-8, escapes, and comparing what they decode to. */
#include "json_text.h"

int wi_json_utf8(const unsigned char *p, const unsigned char *end)
{
    unsigned char lead = *p;
    if (lead < 0x80)
        return 1;
    if (lead < 0xC2 || lead > 0xF4)
        return 0;
    int bytes = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;

    /* The second byte rules out overlong forms, surrogates and what lies above U+10FFFF. */
    unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    for (int i = 1; i < bytes; i++) {
        if (p + i == end)
            return -1;
        if (p[i] < low || p[i] > high)
            return 0;
        low = 0x80;
        high = 0xBF;
    }
    return bytes;
}

static unsigned put_utf8(uint32_t code, unsigned char out[4])
{
    if (code < 0x80) {
        out[0] = (unsigned char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (unsigned char)(0xC0 | code >> 6);
        out[1] = (unsigned char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (unsigned char)(0xE0 | code >> 12);
        out[1] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (unsigned char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (unsigned char)(0xF0 | code >> 18);
    out[1] = (unsigned char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (unsigned char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (unsigned char)(0x80 | (code & 0x3F));
    return 4;
}

/* Reads the \uXXXX at `p`. The code unit, or WEIR_JSON_REASON_… made negative. */
static int32_t code_unit(const unsigned char *p, const unsigned char *end)
{
    static const char start[2] = { '\\', 'u' };
    int32_t unit = 0;
    for (int i = 0; i < 6; i++) {
        if (p + i == end)
            return -(int32_t)WEIR_JSON_REASON_TRUNCATED;
        unsigned char c = p[i];
        if (i < 2 && c == start[i])
            continue;
        unsigned digit = (unsigned)c - '0';
        if (digit > 9)
            digit = ((unsigned)c | 0x20) - 'a' + 10;
        if (i < 2 || digit > 15 || (c > '9' && digit < 10))
            return -(int32_t)WEIR_JSON_REASON_ESCAPE;
        unit = unit << 4 | (int32_t)digit;
    }
    return unit;
}

static unsigned unicode_escape(const unsigned char *p, const unsigned char *end,
                               unsigned char out[4], unsigned *ret_bytes,
                               weir_json_reason *ret_reason)
{
    int32_t first = code_unit(p, end);
    if (first < 0) {
        *ret_reason = (weir_json_reason)-first;
        return 0;
    }
    if (first < 0xD800 || first > 0xDFFF) {
        *ret_bytes = put_utf8((uint32_t)first, out);
        return 6;
    }
    int32_t second = first < 0xDC00 ? code_unit(p + 6, end) : 0;
    if (second == -(int32_t)WEIR_JSON_REASON_TRUNCATED) {
        *ret_reason = WEIR_JSON_REASON_TRUNCATED;
        return 0;
    }
    if (second < 0xDC00 || second > 0xDFFF) {
        *ret_reason = WEIR_JSON_REASON_SURROGATE;
        return 0;
    }
    uint32_t code = 0x10000 + ((uint32_t)(first - 0xD800) << 10) + (uint32_t)(second - 0xDC00);
    *ret_bytes = put_utf8(code, out);
    return 12;
}

unsigned wi_json_escape(const unsigned char *p, const unsigned char *end, unsigned char out[4],
                        unsigned *ret_bytes, weir_json_reason *ret_reason)
{
    if (end - p < 2) {
        *ret_reason = WEIR_JSON_REASON_TRUNCATED;
        return 0;
    }
    *ret_bytes = 1;
    switch (p[1]) {
    case '"':
    case '\\':
    case '/':
        out[0] = p[1];
        return 2;
    case 'b':
        out[0] = '\b';
        return 2;
    case 'f':
        out[0] = '\f';
        return 2;
    case 'n':
        out[0] = '\n';
        return 2;
    case 'r':
        out[0] = '\r';
        return 2;
    case 't':
        out[0] = '\t';
        return 2;
    case 'u':
        return unicode_escape(p, end, out, ret_bytes, ret_reason);
    default:
        *ret_reason = WEIR_JSON_REASON_ESCAPE;
        return 0;
    }
}

unsigned wi_json_put_escape(unsigned char c, char out[6])
{
    static const char hex[] = "0123456789abcdef";
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt";
    out[0] = '\\';
    for (const char *pair = named; *pair != '\0'; pair += 2) {
        if ((unsigned char)pair[0] == c) {
            out[1] = pair[1];
            return 2;
        }
    }
    out[1] = 'u';
    out[2] = out[3] = '0';
    out[4] = hex[c >> 4];
    out[5] = hex[c & 15];
    return 6;
}

/* Walks the bytes that a string decodes to, one at a time. */
typedef struct decoder {
    const unsigned char *at;
    const unsigned char *end;
    unsigned char held[4]; /* what the last escape stands for */
    unsigned held_at, held_end;
} decoder;

static int next_byte(decoder *d)
{
    weir_json_reason reason;
    if (d->held_at < d->held_end)
        return d->held[d->held_at++];
    if (d->at == d->end)
        return -1;
    if (*d->at != '\\')
        return *d->at++;
    unsigned len = wi_json_escape(d->at, d->end, d->held, &d->held_end, &reason);
    if (len == 0) {
        d->held_at = d->held_end = 0;
        d->at = d->end; /* only for a token that no reader gave */
        return -1;
    }
    d->at += len;
    d->held_at = 1;
    return d->held[0];
}

uint32_t wi_json_hash_escaped(uint64_t seed, const unsigned char *p, const unsigned char *end)
{
    decoder d = { .at = p, .end = end };
    uint64_t hash = seed;
    uint64_t word = 0;
    size_t len = 0;
    for (int byte; (byte = next_byte(&d)) >= 0;) {
        word |= (uint64_t)byte << (8 * (len & 7));
        if ((++len & 7) == 0) {
            hash = wi_json_hash_word(hash, word);
            word = 0;
        }
    }
    if ((len & 7) != 0)
        hash = wi_json_hash_word(hash, word);
    return wi_json_hash_end(hash, len);
}

bool wi_json_same(const unsigned char *a, size_t a_len, const unsigned char *b, size_t b_len)
{
    decoder left = { .at = a, .end = a + a_len };
    decoder right = { .at = b, .end = b + b_len };
    for (;;) {
        int byte = next_byte(&left);
        if (byte != next_byte(&right))
            return false;
        if (byte < 0)
            return true;
    }
}
