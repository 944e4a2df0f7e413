/* What reader and writer share about the characters of JSON strings; private to proto. */
#ifndef WI_JSON_TEXT_H
#define WI_JSON_TEXT_H

#include <weir/json.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

/* Whether a byte of a string stands for itself: no quote, backslash, control or non-ASCII. */
static inline bool wi_json_plain_byte(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* The first byte from `p` on that is not plain, or `end`. */
static inline const unsigned char *wi_json_plain(const unsigned char *p, const unsigned char *end)
{
#if defined(__SSE2__)
    const __m128i quote = _mm_set1_epi8('"');
    const __m128i backslash = _mm_set1_epi8('\\');
    const __m128i space = _mm_set1_epi8(' ');
    for (; end - p >= 16; p += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
        /* Compared as signed, bytes from 0x80 on lie below the space too. */
        __m128i odd = _mm_or_si128(
            _mm_cmplt_epi8(bytes, space),
            _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, backslash)));
        int mask = _mm_movemask_epi8(odd);
        if (mask != 0)
            return p + __builtin_ctz((unsigned)mask);
    }
#endif
    while (p < end && wi_json_plain_byte(*p))
        p++;
    return p;
}

/* Checks the UTF-8 sequence at `p` (RFC 3629). Its length; 0: invalid; -1: cut short by `end`. */
int wi_json_utf8(const unsigned char *p, const unsigned char *end);

/* Decodes the escape whose backslash is at `p`. Its length in the text, with the UTF-8 that it
 * stands for in `out` (1 to 4 bytes, `*ret_bytes`); or 0 and `*ret_reason`. */
unsigned wi_json_escape(const unsigned char *p, const unsigned char *end, unsigned char out[4],
                        unsigned *ret_bytes, weir_json_reason *ret_reason);

/* Writes the escape of a quote, a backslash or a control character; gives its length. */
unsigned wi_json_put_escape(unsigned char c, char out[6]);

/* Hashes what a string decodes to, so that it does not matter how it is escaped. */
uint32_t wi_json_hash_escaped(uint64_t seed, const unsigned char *p, const unsigned char *end);

/* Whether two strings, both checked before, decode to the same bytes. */
bool wi_json_same(const unsigned char *a, size_t a_len, const unsigned char *b, size_t b_len);

/* The steps of the hash: words of 8 bytes (the last filled up with zeros), then the length. */
static inline uint64_t wi_json_hash_word(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ (hash >> 29);
}

static inline uint32_t wi_json_hash_end(uint64_t hash, size_t len)
{
    hash = (hash + len) * UINT64_C(0xD6E8FEB86659FD93);
    return (uint32_t)(hash >> 32);
}

#endif
