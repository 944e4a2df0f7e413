/* What a request of HTTP/2 may look like (RFC 9113 sections 8.1 to 8.3): nghttp2's own rules, with
 * fewer looks at each byte. Those of responses are left to nghttp2. */
#include "http1_internal.h"
#include "http2_session.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#define IS(span, text) \
    ((span).len == sizeof(text) - 1 && memcmp((span).at, text, sizeof(text) - 1) == 0)

/* ---- Bytes ---- */

static bool word_below(const char *at, unsigned char least)
{
    const uint64_t ones = UINT64_MAX / 255;
    uint64_t word;
    memcpy(&word, at, sizeof word);
    uint64_t del = word ^ ones * 0x7f;
    return ((((word - ones * least) & ~word) | ((del - ones) & ~del)) & ones * 0x80) != 0;
}

#if defined(__SSE2__)
static bool vector_below(const char *at, __m128i most)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(v, most), v);
    return _mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)))) != 0;
}
#endif

/* Whether no byte is below `least`, or DEL. */
static bool none_below(weir_http1_span span, unsigned char least)
{
    const char *at = span.at, *end = at + span.len;
#if defined(__SSE2__)
    if (span.len >= 16) {
        const __m128i most = _mm_set1_epi8((char)(least - 1));
        for (; end - at > 16; at += 16)
            if (vector_below(at, most))
                return false;
        return !vector_below(end - 16, most);
    }
#endif
    if (span.len >= 8) {
        for (; end - at > 8; at += 8)
            if (word_below(at, least))
                return false;
        return !word_below(end - 8, least);
    }
    bool bad = false;
    for (; at < end; at++)
        bad |= (unsigned char)*at < least || *at == 0x7f;
    return !bad;
}

bool wi_http2_value_ok(weir_http1_span value)
{
    if (value.len == 0)
        return true;
    const unsigned char *at = (const unsigned char *)value.at, *end = at + value.len;
    if (*at == ' ' || *at == '\t' || end[-1] == ' ' || end[-1] == '\t')
        return false;
    return none_below(value, ' ') || wi_http1_value_end(at, end) == end;
}

/* Eight bytes that are all lower-case letters or '-', as most names are made of. */
static bool is_plain(const char *at)
{
    const uint64_t each = UINT64_C(0x0101010101010101), high = each * 0x80;
    uint64_t word, dash;
    memcpy(&word, at, 8);
    dash = high - (word ^ each * '-'); /* a high bit stays where there is no difference */
    uint64_t letter = (word + each * (0x80 - 'a')) & ~(word + each * (0x7f - 'z'));
    return (word & high) == 0 && ((letter | dash) & high) == high;
}

static bool is_plain_name(weir_http1_span name)
{
    return name.len >= 8 && name.len <= 16 && is_plain(name.at) && is_plain(name.at + name.len - 8);
}

bool wi_http2_token_ok(weir_http1_span token)
{
    unsigned all = WI_TOKEN;
    if (is_plain_name(token))
        return true;
    for (size_t i = 0; i < token.len; i++)
        all &= wi_http1_class[(unsigned char)token.at[i]];
    return token.len > 0 && all != 0;
}

/* A token without capitals. */
static bool name_ok(weir_http1_span name)
{
    if (is_plain_name(name))
        return true;
    for (size_t i = 0; i < name.len; i++)
        if (name.at[i] >= 'A' && name.at[i] <= 'Z')
            return false;
    return wi_http2_token_ok(name);
}

static bool authority_ok(weir_http1_span value)
{
    for (size_t i = 0; i < value.len; i++)
        if (!wi_http1_is((unsigned char)value.at[i], WI_AUTHORITY))
            return false;
    return value.len > 0;
}

static bool is_http(weir_http1_span scheme)
{
    return (scheme.len == 4 && wi_http1_same(scheme.at, "http", 4)) ||
           (scheme.len == 5 && wi_http1_same(scheme.at, "https", 5));
}

static bool scheme_ok(weir_http1_span scheme)
{
    for (size_t i = 0; i < scheme.len; i++) {
        char c = scheme.at[i], lower = (char)(c | 0x20);
        bool letter = lower >= 'a' && lower <= 'z';
        bool other = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';
        if (!letter && (i == 0 || !other))
            return false;
    }
    return true;
}

static bool number_ok(weir_http1_span digits)
{
    uint64_t n = 0;
    for (size_t i = 0; i < digits.len; i++) {
        if (digits.at[i] < '0' || digits.at[i] > '9' || n > INT64_MAX / 10)
            return false;
        n = n * 10 + (uint64_t)(digits.at[i] - '0');
    }
    return digits.len > 0 && n <= INT64_MAX;
}

/* ---- Fields ---- */

bool wi_http2_pseudo_ok(const wi_http2_block *block, const weir_http1_field *field)
{
    weir_http1_span name = field->name, value = field->value;
    if (block->trailers || block->fields_begun || value.len == 0)
        return false;
    if (IS(name, ":path"))
        return block->path.at == NULL && none_below(value, '!');
    if (IS(name, ":method"))
        return block->method.at == NULL && wi_http2_token_ok(value);
    if (IS(name, ":scheme"))
        return block->scheme.at == NULL && scheme_ok(value);
    return IS(name, ":authority") && block->authority.at == NULL && authority_ok(value);
}

/* Those that mean something to the connection, or to the message as a whole. */
static bool meaning_ok(const wi_http2_block *block, weir_http1_span name, weir_http1_span value)
{
    switch (name.len) {
    case 2:
        return !IS(name, "te") || (value.len == 8 && wi_http1_same(value.at, "trailers", 8));
    case 4:
        return !IS(name, "host") ||
               (!block->trailers && block->host.at == NULL && authority_ok(value));
    case 7:
        return !IS(name, "upgrade");
    case 10:
        return !IS(name, "connection") && !IS(name, "keep-alive");
    case 14:
        return !IS(name, "content-length") ||
               (!block->trailers && block->content_length == UINT64_MAX && number_ok(value));
    case 16:
        return !IS(name, "proxy-connection");
    case 17:
        return !IS(name, "transfer-encoding");
    default:
        return true;
    }
}

bool wi_http2_field_ok(const wi_http2_block *block, const weir_http1_field *field)
{
    return name_ok(field->name) && wi_http2_value_ok(field->value) &&
           meaning_ok(block, field->name, field->value);
}

static bool is_asterisk(const wi_http2_block *block)
{
    return IS(block->path, "*") && IS(block->method, "OPTIONS");
}

bool wi_http2_request_whole(const wi_http2_block *block)
{
    bool has_path = block->path.at != NULL, has_scheme = block->scheme.at != NULL;
    if (block->method.at == NULL)
        return false;
    if (IS(block->method, "CONNECT"))
        return !has_path && !has_scheme && block->authority.at != NULL;
    if (!has_path || !has_scheme || (block->authority.at == NULL && block->host.at == NULL))
        return false;
    if (block->path.at[0] == '/' || !is_http(block->scheme))
        return true;
    return is_asterisk(block);
}

#if defined(__SSE2__)
/* Sixteen bytes of most paths: letters, '&' to ';' (digits, '-', '.', '/'), '_', '=' and '?'. */
static bool are_plain_in_paths(const char *at)
{
    __m128i v = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i letter = _mm_sub_epi8(_mm_or_si128(v, _mm_set1_epi8(0x20)), _mm_set1_epi8('a'));
    __m128i other = _mm_sub_epi8(v, _mm_set1_epi8('&'));
    __m128i plain = _mm_cmpeq_epi8(_mm_min_epu8(letter, _mm_set1_epi8('z' - 'a')), letter);
    plain = _mm_or_si128(plain,
                         _mm_cmpeq_epi8(_mm_min_epu8(other, _mm_set1_epi8(';' - '&')), other));
    plain = _mm_or_si128(plain, _mm_cmpeq_epi8(v, _mm_set1_epi8('_')));
    plain = _mm_or_si128(plain, _mm_cmpeq_epi8(v, _mm_set1_epi8('=')));
    plain = _mm_or_si128(plain, _mm_cmpeq_epi8(v, _mm_set1_epi8('?')));
    return _mm_movemask_epi8(plain) == 0xffff;
}
#endif

static bool path_ok(weir_http1_span path)
{
#if defined(__SSE2__)
    size_t i = 0;
    while (path.len >= 16 && are_plain_in_paths(path.at + i)) {
        if (i + 16 == path.len)
            return true;
        i = path.len - i >= 32 ? i + 16 : path.len - 16;
    }
#endif
    return wi_http1_target_bytes_ok(path.at, path.len);
}

bool wi_http2_target_ok(const wi_http2_block *block)
{
    weir_http1_span authority = block->authority.at != NULL ? block->authority : block->host;
    if (block->authority.at != NULL && block->host.at != NULL &&
        (block->host.len != authority.len ||
         memcmp(block->host.at, authority.at, authority.len) != 0))
        return false;
    return (block->path.at[0] == '/' || is_asterisk(block)) && path_ok(block->path) &&
           wi_http1_authority_ok(authority.at, authority.len, false, false);
}
