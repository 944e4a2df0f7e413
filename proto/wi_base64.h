/* Base64 (RFC 4648) in both alphabets, with and without padding; private to proto. */
#ifndef WI_BASE64_H
#define WI_BASE64_H

#include <stdbool.h>
#include <stddef.h>

/* How it is written; of two alphabets, or two ways to end, the one that is not named is taken. */
#define WI_BASE64_URL      1u /* '-' and '_' instead of '+' and '/' */
#define WI_BASE64_UNPADDED 2u
/* What is taken, when read. */
#define WI_BASE64_ANY_ALPHABET 4u  /* either, even mixed */
#define WI_BASE64_ANY_PADDING  8u  /* padded, or not at all */
#define WI_BASE64_CANONICAL    16u /* the bits that stand for nothing must be 0 */

/* Enough for `n` bytes encoded; of those that `n` characters decode to. */
static inline size_t wi_base64_encoded_max(size_t n)
{
    return (n + 2) / 3 * 4;
}
static inline size_t wi_base64_decoded_max(size_t n)
{
    return n / 4 * 3 + 3;
}

/* Writes `n` bytes to `out`; how many characters they became. `out` may be `bytes` moved up: it
 * writes from the end to the start. No NUL. */
size_t wi_base64_encode(const void *bytes, size_t n, unsigned how, char *out);

/* Decodes all of `text`; false: it is not base64 of that kind. `out` may be `text`, or NULL with a
 * text that is checked only. */
bool wi_base64_decode(const char *text, size_t n, unsigned how, void *out, size_t *ret_n);

/* Decodes whole groups of four up to the first that has anything but the standard alphabet; how
 * many groups, each of three bytes. */
size_t wi_base64_groups(const char *text, size_t groups, void *out);

#endif
