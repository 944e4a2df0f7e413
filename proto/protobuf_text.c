/* Text from the wire: copied and checked in one go. */
#include "json_text.h"
#include "protobuf_unpack.h"

#define ONES  UINT64_C(0x0101010101010101)
#define HIGHS UINT64_C(0x8080808080808080)

/* Whether one of eight bytes is not ASCII, or NUL. */
WI_INLINE bool is_odd(uint64_t word)
{
    return (((word - ONES) | word) & HIGHS) != 0;
}

static bool is_text(const uint8_t *at, size_t n)
{
    const uint8_t *end = at + n;
    while (at < end) {
        uint64_t word;
        if (end - at >= 8 && (memcpy(&word, at, 8), !is_odd(word))) {
            at += 8;
            continue;
        }
        int bytes = *at == 0 ? 0 : wi_json_utf8(at, end);
        if (bytes <= 0)
            return false;
        at += bytes;
    }
    return true;
}

static bool copy_odd(char *copy, const uint8_t *at, size_t n)
{
    memcpy(copy, at, n);
    copy[n] = '\0';
    return is_text(at, n);
}

/* The last 0 to 7 bytes, the others zero. */
WI_INLINE uint64_t last_word(const uint8_t *at, size_t n, const uint8_t *limit)
{
    uint64_t word = 0;
    if (WI_MOSTLY(limit - at >= 8))
        return wi_load64(at) & ((UINT64_C(1) << (8 * n)) - 1);
    for (size_t i = 0; i < n; i++)
        word |= (uint64_t)at[i] << (8 * i);
    return word;
}

bool wi_unpack_text(char *copy, const uint8_t *at, size_t n, const uint8_t *limit)
{
    size_t done = 0;
    for (; n - done >= 8; done += 8) {
        uint64_t word;
        memcpy(&word, at + done, 8);
        if (WI_RARELY(is_odd(word)))
            return copy_odd(copy, at, n);
        memcpy(copy + done, &word, 8);
    }
    size_t rest = n - done;
    uint64_t word = last_word(at + done, rest, limit);
    if (WI_RARELY(is_odd(word | (ONES << (8 * rest)))))
        return copy_odd(copy, at, n);
    word = wi_little64(word);
    memcpy(copy + done, &word, 8); /* its zeros are the end */
    return true;
}
