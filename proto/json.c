/* The strict JSON pull parser: one token per call, duplicate keys refused in bounded memory. */
#include <weir/json.h>

#include "json_text.h"

#include <assert.h>

enum state {
    STATE_VALUE,       /* a value must follow */
    STATE_FIRST_VALUE, /* after '[': a value or ']' */
    STATE_FIRST_KEY,   /* after '{': a key or '}' */
    STATE_MORE_VALUES, /* ',' or ']' */
    STATE_MORE_KEYS,   /* ',' or '}' */
    STATE_DONE         /* nothing but whitespace */
};

#define LIKELY(condition)   __builtin_expect((condition), 1)
#define UNLIKELY(condition) __builtin_expect((condition), 0)

static const char *const reason_texts[] = {
#define REASON_TEXT(name, status, text) text,
    WEIR_JSON_REASON_LIST(REASON_TEXT)
#undef REASON_TEXT
};

static const weir_status reason_status[] = {
#define REASON_STATUS(name, status, text) status,
    WEIR_JSON_REASON_LIST(REASON_STATUS)
#undef REASON_STATUS
};

const char *weir_json_reason_text(weir_json_reason reason)
{
    size_t count = sizeof(reason_texts) / sizeof(reason_texts[0]);
    return (size_t)reason < count ? reason_texts[reason] : "?";
}

__attribute__((cold, noinline)) static weir_status
fail(weir_json_reader *reader, const unsigned char *at, weir_json_reason reason)
{
    reader->reason = reason;
    reader->error = reason_texts[reason];
    reader->status = reason_status[reason];
    reader->offset = (size_t)(at - reader->text);
    reader->at = at;
    return reader->status;
}

static uint32_t limit(uint32_t asked, uint32_t otherwise)
{
    return asked != 0 ? asked : otherwise;
}

weir_status weir_json_open(weir_json_reader *reader, const char *text, size_t len,
                           const weir_json_limits *limits)
{
    static const weir_json_limits none;
    const weir_json_limits *asked = limits != NULL ? limits : &none;
    if (reader == NULL || (text == NULL && len > 0) || asked->depth_max > WEIR_JSON_DEPTH_CAP ||
        asked->keys_max > WEIR_JSON_KEYS_CAP)
        return WEIR_EINVAL;
    /* Offsets of keys are held in 32 bits. */
    if (len > limit(asked->text_bytes_max, 16u << 20))
        return WEIR_ELIMIT;
    reader->limits.text_bytes_max = limit(asked->text_bytes_max, 16u << 20);
    reader->limits.depth_max = limit(asked->depth_max, 32);
    reader->limits.keys_max = limit(asked->keys_max, WEIR_JSON_KEYS_CAP);
    reader->limits.string_bytes_max = limit(asked->string_bytes_max, 1u << 20);
    reader->limits.number_bytes_max = limit(asked->number_bytes_max, 1024);
    reader->limits.keys_unchecked = asked->keys_unchecked;

    reader->error = reason_texts[WEIR_JSON_REASON_NONE];
    reader->reason = WEIR_JSON_REASON_NONE;
    reader->status = WEIR_OK;
    reader->offset = 0;
    reader->text = (const unsigned char *)(text != NULL ? text : "");
    reader->at = reader->text;
    reader->end = reader->text + len;
    /* Makes keys of equal hash harder to prepare; no result depends on it. */
    reader->seed = (uint64_t)(uintptr_t)reader * UINT64_C(0x9E3779B97F4A7C15);
    reader->depth = 0;
    reader->key_base = 0;
    reader->key_end = 0;
    reader->state = STATE_VALUE;
    reader->after = STATE_DONE;
    return WEIR_OK;
}

static inline const unsigned char *skip_space(const unsigned char *p, const unsigned char *end)
{
    while (p < end && *p <= ' ' && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

/* Checks what stopped the run of plain characters at `p`. Behind it, or NULL: failed. */
__attribute__((noinline)) static const unsigned char *
odd_character(weir_json_reader *reader, const unsigned char *p, bool *escapes)
{
    unsigned char out[4];
    unsigned bytes;
    weir_json_reason reason = WEIR_JSON_REASON_NONE;
    if (p == reader->end) {
        reason = WEIR_JSON_REASON_TRUNCATED;
    } else if (*p == '\\') {
        *escapes = true;
        unsigned len = wi_json_escape(p, reader->end, out, &bytes, &reason);
        if (len != 0)
            return p + len;
    } else if (*p < 0x20) {
        reason = WEIR_JSON_REASON_CONTROL;
    } else {
        int len = wi_json_utf8(p, reader->end);
        if (len > 0)
            return p + len;
        reason = len == 0 ? WEIR_JSON_REASON_UTF8 : WEIR_JSON_REASON_TRUNCATED;
    }
    (void)fail(reader, reason == WEIR_JSON_REASON_TRUNCATED ? reader->end : p, reason);
    return NULL;
}

/* Reads the string that begins at `p`, behind its quote, into the token. Behind the closing quote,
 * or NULL: failed. */
static inline const unsigned char *string(weir_json_reader *reader, const unsigned char *p,
                                          weir_json_kind kind, weir_json_token *token)
{
    const unsigned char *start = p;
    bool escapes = false;
    p = wi_json_plain(p, reader->end);
    while (UNLIKELY(p == reader->end || *p != '"')) {
        p = odd_character(reader, p, &escapes);
        if (p == NULL)
            return NULL;
        p = wi_json_plain(p, reader->end);
    }
    token->text = (const char *)start;
    token->len = (size_t)(p - start);
    token->kind = kind;
    token->has_escapes = escapes;
    if (UNLIKELY(token->len > reader->limits.string_bytes_max)) {
        (void)fail(reader, start - 1, WEIR_JSON_REASON_STRING_BYTES);
        return NULL;
    }
    return p + 1;
}

/* The low `len` (1 to 8) bytes at `p` as a little-endian word; reads 8 where the text has them. */
static inline uint64_t tail_word(const unsigned char *p, size_t len, const unsigned char *end)
{
    uint64_t word = 0;
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (LIKELY(end - p >= 8)) {
        memcpy(&word, p, 8);
        return word & (~UINT64_C(0) >> (64 - 8 * len));
    }
#else
    (void)end;
#endif
    for (size_t i = 0; i < len; i++)
        word |= (uint64_t)p[i] << (8 * i);
    return word;
}

static inline uint32_t hash_key(const weir_json_reader *reader, const weir_json_token *key)
{
    const unsigned char *p = (const unsigned char *)key->text;
    size_t left = key->len;
    uint64_t hash = reader->seed;
    if (UNLIKELY(key->has_escapes))
        return wi_json_hash_escaped(hash, p, p + left);
    for (; left > 8; p += 8, left -= 8)
        hash = wi_json_hash_word(hash, tail_word(p, 8, reader->end));
    if (left > 0)
        hash = wi_json_hash_word(hash, tail_word(p, left, reader->end));
    return wi_json_hash_end(hash, key->len);
}

/* Whether a key of the innermost object with the same hash is the same key. */
__attribute__((noinline)) static bool is_duplicate(const weir_json_reader *reader,
                                                   const weir_json_token *key, uint32_t hash)
{
    for (uint32_t i = reader->key_base; i < reader->key_end; i++) {
        if (reader->key_hash[i] == hash &&
            wi_json_same(reader->text + reader->key_offset[i], reader->key_bytes[i],
                         (const unsigned char *)key->text, key->len))
            return true;
    }
    return false;
}

/* Whether any of these hashes is `hash`. A walk over at most WEIR_JSON_KEYS_CAP of them beats a
 * hash table at the sizes that objects have; the long walk is apart because vectorised code is slow
 * to start. */
__attribute__((noinline)) static bool among_many(const uint32_t *hashes, uint32_t count,
                                                 uint32_t hash)
{
    unsigned hit = 0;
    for (uint32_t i = 0; i < count; i++)
        hit |= hashes[i] == hash;
    return hit != 0;
}

static inline bool among(const uint32_t *hashes, uint32_t count, uint32_t hash)
{
    if (UNLIKELY(count > 8))
        return among_many(hashes, count, hash);
    while (count > 0) {
        if (UNLIKELY(hashes[--count] == hash))
            return true;
    }
    return false;
}

/* Remembers a key of the innermost object; refuses one that is there already. */
static inline weir_status add_key(weir_json_reader *reader, const weir_json_token *key)
{
    uint32_t hash = hash_key(reader, key);
    uint32_t base = reader->key_base;
    uint32_t end = reader->key_end;
    const unsigned char *at = (const unsigned char *)key->text;
    if (UNLIKELY(among(reader->key_hash + base, end - base, hash)) &&
        is_duplicate(reader, key, hash))
        return fail(reader, at - 1, WEIR_JSON_REASON_DUPLICATE);
    if (UNLIKELY(end - base >= reader->limits.keys_max || end >= WEIR_JSON_KEYS_CAP))
        return fail(reader, at - 1, WEIR_JSON_REASON_KEYS);
    reader->key_hash[end] = hash;
    reader->key_offset[end] = (uint32_t)(at - reader->text);
    reader->key_bytes[end] = (uint32_t)key->len;
    reader->key_end = end + 1;
    return WEIR_OK;
}

/* Reads the key whose quote should be at `p`, and the colon behind it. */
static inline weir_status key(weir_json_reader *reader, const unsigned char *p,
                              weir_json_token *token)
{
    if (UNLIKELY(p == reader->end || *p != '"'))
        return fail(reader, p,
                    p == reader->end ? WEIR_JSON_REASON_TRUNCATED : WEIR_JSON_REASON_KEY);
    p = string(reader, p + 1, WEIR_JSON_KEY, token);
    if (UNLIKELY(p == NULL))
        return reader->status;
    if (!reader->limits.keys_unchecked && UNLIKELY(add_key(reader, token) != WEIR_OK))
        return reader->status;
    p = skip_space(p, reader->end);
    if (UNLIKELY(p == reader->end || *p != ':'))
        return fail(reader, p,
                    p == reader->end ? WEIR_JSON_REASON_TRUNCATED : WEIR_JSON_REASON_COLON);
    reader->at = p + 1;
    reader->state = STATE_VALUE;
    return WEIR_OK;
}

static inline const unsigned char *digits(const unsigned char *p, const unsigned char *end)
{
    while (p < end && (unsigned)*p - '0' <= 9)
        p++;
    return p;
}

__attribute__((cold, noinline)) static weir_status bad_number(weir_json_reader *reader,
                                                              const unsigned char *p)
{
    if (p == reader->end)
        return fail(reader, p, WEIR_JSON_REASON_TRUNCATED);
    return fail(reader, p, *p == 'I' ? WEIR_JSON_REASON_NOT_FINITE : WEIR_JSON_REASON_NUMBER);
}

/* Reads the number at `p` (RFC 8259 section 6). */
static inline weir_status number(weir_json_reader *reader, const unsigned char *p,
                                 weir_json_token *token)
{
    const unsigned char *end = reader->end;
    const unsigned char *start = p;
    const unsigned char *from;
    if (*p == '-')
        p++;
    from = p;
    p = digits(p, end);
    if (UNLIKELY(p == from))
        return bad_number(reader, p);
    if (UNLIKELY(*from == '0' && p - from > 1))
        return bad_number(reader, from + 1);
    if (p < end && *p == '.') {
        from = p + 1;
        p = digits(from, end);
        if (UNLIKELY(p == from))
            return bad_number(reader, p);
    }
    if (p < end && (*p | 0x20) == 'e') {
        from = p + 1;
        if (from < end && (*from == '+' || *from == '-'))
            from++;
        p = digits(from, end);
        if (UNLIKELY(p == from))
            return bad_number(reader, p);
    }
    token->text = (const char *)start;
    token->len = (size_t)(p - start);
    token->kind = WEIR_JSON_NUMBER;
    token->has_escapes = false;
    if (UNLIKELY(token->len > reader->limits.number_bytes_max))
        return fail(reader, start, WEIR_JSON_REASON_NUMBER_BYTES);
    reader->at = p;
    reader->state = reader->after;
    return WEIR_OK;
}

static void span(weir_json_token *token, weir_json_kind kind, const unsigned char *at, size_t len)
{
    token->text = (const char *)at;
    token->len = len;
    token->kind = kind;
    token->has_escapes = false;
}

static weir_status word(weir_json_reader *reader, const unsigned char *p, const char *spelling,
                        weir_json_kind kind, weir_json_token *token)
{
    size_t len = strlen(spelling);
    for (size_t i = 0; i < len; i++) {
        if (p + i == reader->end)
            return fail(reader, p + i, WEIR_JSON_REASON_TRUNCATED);
        if (p[i] != (unsigned char)spelling[i])
            return fail(reader, p + i, WEIR_JSON_REASON_LITERAL);
    }
    span(token, kind, p, len);
    reader->at = p + len;
    reader->state = reader->after;
    return WEIR_OK;
}

/* Opens an object or array. A frame holds the key base and the state to go back to. */
static inline weir_status push(weir_json_reader *reader, const unsigned char *p, bool object,
                               weir_json_token *token)
{
    if (UNLIKELY(reader->depth >= reader->limits.depth_max))
        return fail(reader, p, WEIR_JSON_REASON_DEPTH);
    reader->frames[reader->depth++] = (uint16_t)(reader->key_base << 4 | reader->after);
    if (object)
        reader->key_base = reader->key_end;
    reader->after = object ? STATE_MORE_KEYS : STATE_MORE_VALUES;
    reader->state = object ? STATE_FIRST_KEY : STATE_FIRST_VALUE;
    span(token, object ? WEIR_JSON_BEGIN_OBJECT : WEIR_JSON_BEGIN_ARRAY, p, 1);
    reader->at = p + 1;
    return WEIR_OK;
}

static inline weir_status pop(weir_json_reader *reader, const unsigned char *p, weir_json_kind kind,
                              weir_json_token *token)
{
    assert(reader->depth > 0);
    uint16_t frame = reader->frames[--reader->depth];
    if (kind == WEIR_JSON_END_OBJECT)
        reader->key_end = reader->key_base;
    reader->key_base = (uint32_t)frame >> 4;
    reader->after = frame & 15;
    reader->state = reader->after;
    span(token, kind, p, 1);
    reader->at = p + 1;
    return WEIR_OK;
}

__attribute__((cold, noinline)) static weir_status bad_value(weir_json_reader *reader,
                                                             const unsigned char *p)
{
    static const unsigned char bom[3] = { 0xEF, 0xBB, 0xBF };
    if (p == reader->end)
        return fail(reader, p, WEIR_JSON_REASON_TRUNCATED);
    if (*p == 'N' || *p == 'I')
        return fail(reader, p, WEIR_JSON_REASON_NOT_FINITE);
    if (p == reader->text && reader->end - p >= 3 && memcmp(p, bom, 3) == 0)
        return fail(reader, p, WEIR_JSON_REASON_BOM);
    return fail(reader, p, WEIR_JSON_REASON_VALUE);
}

static inline weir_status value(weir_json_reader *reader, const unsigned char *p,
                                weir_json_token *token)
{
    if (UNLIKELY(p == reader->end))
        return bad_value(reader, p);
    if (*p == '"') {
        p = string(reader, p + 1, WEIR_JSON_STRING, token);
        if (UNLIKELY(p == NULL))
            return reader->status;
        reader->at = p;
        reader->state = reader->after;
        return WEIR_OK;
    }
    if (*p == '-' || (unsigned)*p - '0' <= 9)
        return number(reader, p, token);
    switch (*p) {
    case '{':
        return push(reader, p, true, token);
    case '[':
        return push(reader, p, false, token);
    case 't':
        return word(reader, p, "true", WEIR_JSON_TRUE, token);
    case 'f':
        return word(reader, p, "false", WEIR_JSON_FALSE, token);
    case 'n':
        return word(reader, p, "null", WEIR_JSON_NULL, token);
    default:
        return bad_value(reader, p);
    }
}

/* What may follow a complete value: nothing at all at the top. */
__attribute__((noinline)) static weir_status done(weir_json_reader *reader, const unsigned char *p,
                                                  weir_json_token *token)
{
    if (p != reader->end)
        return fail(reader, p, WEIR_JSON_REASON_TRAILING);
    span(token, WEIR_JSON_END, p, 0);
    reader->at = p;
    return WEIR_OK;
}

static weir_status next(weir_json_reader *reader, weir_json_token *token)
{
    const unsigned char *end = reader->end;
    const unsigned char *p = skip_space(reader->at, end);
    unsigned char c = p < end ? *p : 0;
    switch ((enum state)reader->state) {
    case STATE_MORE_KEYS:
        if (LIKELY(c == ','))
            return key(reader, skip_space(p + 1, end), token);
        if (LIKELY(c == '}'))
            return pop(reader, p, WEIR_JSON_END_OBJECT, token);
        return fail(reader, p,
                    p == end ? WEIR_JSON_REASON_TRUNCATED : WEIR_JSON_REASON_OBJECT_MORE);
    case STATE_MORE_VALUES:
        if (LIKELY(c == ','))
            return value(reader, skip_space(p + 1, end), token);
        if (LIKELY(c == ']'))
            return pop(reader, p, WEIR_JSON_END_ARRAY, token);
        return fail(reader, p, p == end ? WEIR_JSON_REASON_TRUNCATED : WEIR_JSON_REASON_ARRAY_MORE);
    case STATE_FIRST_KEY:
        if (c == '}')
            return pop(reader, p, WEIR_JSON_END_OBJECT, token);
        return key(reader, p, token);
    case STATE_FIRST_VALUE:
        if (c == ']')
            return pop(reader, p, WEIR_JSON_END_ARRAY, token);
        return value(reader, p, token);
    case STATE_VALUE:
        return value(reader, p, token);
    case STATE_DONE:
        break;
    }
    return done(reader, p, token);
}

weir_status weir_json_next(weir_json_reader *reader, weir_json_token *ret_token)
{
    if (UNLIKELY(reader->status != WEIR_OK))
        return reader->status;
    return next(reader, ret_token);
}

/* Reads on until `depth` levels are open. */
static weir_status read_to_depth(weir_json_reader *reader, uint32_t depth)
{
    weir_json_token token;
    weir_status status;
    do {
        status = weir_json_next(reader, &token);
    } while (status == WEIR_OK && reader->depth > depth);
    return status;
}

weir_status weir_json_skip(weir_json_reader *reader)
{
    if (reader->status != WEIR_OK)
        return reader->status;
    const unsigned char *p = skip_space(reader->at, reader->end);
    bool at_end = p < reader->end && *p == ']';
    switch ((enum state)reader->state) {
    case STATE_VALUE:
        break;
    case STATE_FIRST_VALUE:
    case STATE_MORE_VALUES:
        if (at_end)
            return WEIR_EINVAL;
        break;
    case STATE_FIRST_KEY:
    case STATE_MORE_KEYS:
    case STATE_DONE:
        return WEIR_EINVAL;
    }
    return read_to_depth(reader, reader->depth);
}

weir_status weir_json_leave(weir_json_reader *reader)
{
    if (reader->status != WEIR_OK)
        return reader->status;
    if (reader->depth == 0)
        return WEIR_EINVAL;
    return read_to_depth(reader, reader->depth - 1);
}

void weir_json_where(const weir_json_reader *reader, size_t *ret_line, size_t *ret_column)
{
    size_t offset = reader->status != WEIR_OK ? reader->offset
                                              : (size_t)(reader->at - reader->text);
    size_t line = 1;
    size_t start = 0;
    for (size_t i = 0; i < offset; i++) {
        if (reader->text[i] == '\n') {
            line++;
            start = i + 1;
        }
    }
    *ret_line = line;
    *ret_column = offset - start + 1;
}

static bool is_string(const weir_json_token *token)
{
    return token->kind == WEIR_JSON_KEY || token->kind == WEIR_JSON_STRING;
}

weir_status weir_json_unescape(const weir_json_token *token, char *buf, size_t cap, size_t *ret_len)
{
    if (!is_string(token))
        return WEIR_EINVAL;
    const unsigned char *p = (const unsigned char *)token->text;
    const unsigned char *end = p + token->len;
    size_t len = 0;
    while (p < end) {
        const unsigned char *stop = token->has_escapes ? memchr(p, '\\', (size_t)(end - p)) : NULL;
        size_t run = (size_t)((stop != NULL ? stop : end) - p);
        if (run >= cap - len)
            return WEIR_ELIMIT;
        memcpy(buf + len, p, run);
        len += run;
        p += run;
        if (stop == NULL)
            break;
        unsigned char out[4];
        unsigned bytes;
        weir_json_reason reason;
        unsigned taken = wi_json_escape(p, end, out, &bytes, &reason);
        if (taken == 0)
            return WEIR_EINVAL;
        if (bytes >= cap - len)
            return WEIR_ELIMIT;
        memcpy(buf + len, out, bytes);
        len += bytes;
        p += taken;
    }
    if (cap == 0)
        return WEIR_ELIMIT;
    buf[len] = '\0';
    *ret_len = len;
    return WEIR_OK;
}

bool weir_json_equals_span(const weir_json_token *token, const char *text, size_t len)
{
    if (!is_string(token))
        return false;
    if (!token->has_escapes)
        return token->len == len && memcmp(token->text, text, len) == 0;
    const unsigned char *p = (const unsigned char *)token->text;
    const unsigned char *end = p + token->len;
    while (p < end) {
        unsigned char out[4] = { *p };
        unsigned bytes = 1;
        unsigned taken = 1;
        weir_json_reason reason;
        if (*p == '\\')
            taken = wi_json_escape(p, end, out, &bytes, &reason);
        if (taken == 0 || bytes > len || memcmp(out, text, bytes) != 0)
            return false;
        text += bytes;
        len -= bytes;
        p += taken;
    }
    return len == 0;
}
