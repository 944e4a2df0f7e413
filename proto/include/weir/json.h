/* JSON without I/O and without allocation: a strict pull parser over a complete buffer, and a
 * writer into one (RFC 8259). A reader or writer is used by one thread at a time. */
#ifndef WEIR_JSON_H
#define WEIR_JSON_H

#include <weir/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the reader struct has room for; limits may be set lower, never higher. */
#define WEIR_JSON_DEPTH_CAP 256 /* open objects and arrays */
#define WEIR_JSON_KEYS_CAP  256 /* keys of all open objects together */

/* X(name, status, text): why a text was refused. */
#define WEIR_JSON_REASON_LIST(X)                                             \
    X(NONE, WEIR_OK, "no error")                                             \
    X(TRUNCATED, WEIR_EPARTIAL, "the text ends before its value does")       \
    X(VALUE, WEIR_EPROTO, "a value was expected")                            \
    X(NOT_FINITE, WEIR_EPROTO, "NaN and Infinity are not JSON")              \
    X(LITERAL, WEIR_EPROTO, "a misspelt true, false or null")                \
    X(NUMBER, WEIR_EPROTO, "a malformed number")                             \
    X(KEY, WEIR_EPROTO, "a key in double quotes was expected")               \
    X(COLON, WEIR_EPROTO, "a colon was expected after the key")              \
    X(OBJECT_MORE, WEIR_EPROTO, "a comma or a closing brace was expected")   \
    X(ARRAY_MORE, WEIR_EPROTO, "a comma or a closing bracket was expected")  \
    X(TRAILING, WEIR_EPROTO, "something follows the value")                  \
    X(BOM, WEIR_EPROTO, "the text begins with a byte order mark")            \
    X(CONTROL, WEIR_EPROTO, "an unescaped control character in a string")    \
    X(ESCAPE, WEIR_EPROTO, "a malformed escape in a string")                 \
    X(SURROGATE, WEIR_EPROTO, "an escaped surrogate without its other half") \
    X(UTF8, WEIR_EPROTO, "invalid UTF-8")                                    \
    X(DUPLICATE, WEIR_EEXIST, "a key occurs twice in one object")            \
    X(DEPTH, WEIR_ELIMIT, "nested too deep")                                 \
    X(KEYS, WEIR_ELIMIT, "too many keys")                                    \
    X(STRING_BYTES, WEIR_ELIMIT, "a string is too long")                     \
    X(NUMBER_BYTES, WEIR_ELIMIT, "a number is too long")

typedef enum weir_json_reason {
#define WEIR_JSON_REASON_ENUM(name, status, text) WEIR_JSON_REASON_##name,
    WEIR_JSON_REASON_LIST(WEIR_JSON_REASON_ENUM)
#undef WEIR_JSON_REASON_ENUM
} weir_json_reason;

typedef enum weir_json_kind {
    WEIR_JSON_END, /* the text is complete and nothing but whitespace follows */
    WEIR_JSON_BEGIN_OBJECT,
    WEIR_JSON_END_OBJECT,
    WEIR_JSON_BEGIN_ARRAY,
    WEIR_JSON_END_ARRAY,
    WEIR_JSON_KEY,
    WEIR_JSON_STRING,
    WEIR_JSON_NUMBER,
    WEIR_JSON_TRUE,
    WEIR_JSON_FALSE,
    WEIR_JSON_NULL
} weir_json_kind;

/* One token: a span of the reader's text, valid as long as that is. KEY and STRING: what stands
 * between the quotes, escapes undecoded; it is the value itself if has_escapes is false. NUMBER:
 * its characters. No NUL follows it. */
typedef struct weir_json_token {
    const char *text;
    size_t len;
    weir_json_kind kind;
    bool has_escapes;
} weir_json_token;

/* Zero is the default. UINT32_MAX lifts a limit in bytes; a depth or a number of keys above its
 * cap is WEIR_EINVAL. */
typedef struct weir_json_limits {
    uint32_t text_bytes_max;   /* 0: 16 MiB */
    uint32_t depth_max;        /* open objects and arrays; 0: 32 */
    uint32_t keys_max;         /* keys of one object; 0: 256. The keys of all objects open at one
                                  time never exceed WEIR_JSON_KEYS_CAP together. */
    uint32_t string_bytes_max; /* a key or string as written, without its quotes; 0: 1 MiB */
    uint32_t number_bytes_max; /* 0: 1024 */
    bool keys_unchecked;       /* the caller looks for keys that occur twice itself: as many keys as
                                  the text has, keys_max and WEIR_JSON_KEYS_CAP do not count */
} weir_json_limits;

/* A reader, in the caller's memory (about 4 KiB; it needs no initialising before
 * weir_json_open and no releasing). After a failure error, reason and offset (in bytes from 0)
 * say why and where. The rest is private. */
typedef struct weir_json_reader {
    const char *error;
    weir_json_reason reason;
    weir_status status;
    size_t offset;

    const unsigned char *text;
    const unsigned char *at;
    const unsigned char *end;
    weir_json_limits limits;
    uint64_t seed;
    uint32_t depth;
    uint32_t key_base; /* the first key of the innermost object */
    uint32_t key_end;
    uint8_t state;
    uint8_t after; /* the state that follows a value here */
    uint16_t frames[WEIR_JSON_DEPTH_CAP];
    uint32_t key_hash[WEIR_JSON_KEYS_CAP];
    uint32_t key_offset[WEIR_JSON_KEYS_CAP];
    uint32_t key_bytes[WEIR_JSON_KEYS_CAP];
} weir_json_reader;

/* Starts reading `len` bytes at `text`, which the reader borrows until the last call about it or
 * its tokens. `limits` (borrowed for the call) may be NULL: all defaults. WEIR_EINVAL: a NULL
 * reader or text, or a limit above its cap. WEIR_ELIMIT: the text is longer than text_bytes_max. */
WEIR_API WEIR_MUST_USE weir_status weir_json_open(weir_json_reader *reader, const char *text,
                                                  size_t len, const weir_json_limits *limits);

/* Gives the next token. Every key and value of the text comes in its order; WEIR_JSON_END comes
 * when the whole text was read and is right, and then again at each call. What came before is
 * provisional until END says that the text is JSON.
 * Accepts RFC 8259 exactly: UTF-8 checked (no overlong forms, no surrogates), lone surrogate
 * escapes refused, no byte order mark, comments, NaN, leading zeros or trailing commas. A key that
 * occurs twice in one object is refused, however it is escaped (unless keys_unchecked).
 * Errors (latched): WEIR_EPROTO malformed, WEIR_EPARTIAL cut short, WEIR_EEXIST duplicate key,
 * WEIR_ELIMIT over a limit. No recursion; the cost per byte is bounded. */
WEIR_API WEIR_MUST_USE weir_status weir_json_next(weir_json_reader *reader,
                                                  weir_json_token *ret_token);

/* Reads past the value that follows, whatever it is, checking it as weir_json_next does. Errors as
 * there, and WEIR_EINVAL, which changes nothing, where no value follows (a key, the end of an
 * array or of the text is due). */
WEIR_API WEIR_MUST_USE weir_status weir_json_skip(weir_json_reader *reader);

/* Reads past the rest of the innermost open object or array, its end included. Errors as
 * weir_json_next, and WEIR_EINVAL, which changes nothing, when none is open. */
WEIR_API WEIR_MUST_USE weir_status weir_json_leave(weir_json_reader *reader);

/* Tells line and column, both from 1, the column in bytes, of reader->offset; before an error, of
 * where the reader stands. Takes time proportional to the text before it. */
WEIR_API void weir_json_where(const weir_json_reader *reader, size_t *ret_line, size_t *ret_column);

/* "a malformed number" and the like; "?" for a reason that is none. Any thread. */
WEIR_API const char *weir_json_reason_text(weir_json_reason reason);

/* Decodes a KEY or STRING into `buf` as UTF-8 with a NUL behind it, which ret_len does not count
 * (the value itself may hold NULs, from \u0000). token->len + 1 bytes always suffice.
 * WEIR_EINVAL: another kind of token. WEIR_ELIMIT: `cap` is too small; `buf` is then undefined. */
WEIR_API WEIR_MUST_USE weir_status weir_json_unescape(const weir_json_token *token, char *buf,
                                                      size_t cap, size_t *ret_len);

/* Whether a KEY or STRING, decoded, is exactly these bytes. False for every other kind. */
WEIR_API bool weir_json_equals_span(const weir_json_token *token, const char *text, size_t len);

/* The same for a NUL-terminated string. */
static inline bool weir_json_equals(const weir_json_token *token, const char *literal)
{
    return weir_json_equals_span(token, literal, strlen(literal));
}

/* The value of a NUMBER, correctly rounded (to nearest, ties to even), whatever the locale. Too
 * small becomes 0 or subnormal. WEIR_EINVAL: not a NUMBER. WEIR_ELIMIT: too large for a double. */
WEIR_API WEIR_MUST_USE weir_status weir_json_double(const weir_json_token *token,
                                                    double *ret_value);

/* The value of a NUMBER that is integral, however written (10, 10.0 and 1e1 are one value).
 * WEIR_EINVAL: not a NUMBER, or it has a fraction. WEIR_ELIMIT: out of range. */
WEIR_API WEIR_MUST_USE weir_status weir_json_int64(const weir_json_token *token,
                                                   int64_t *ret_value);
WEIR_API WEIR_MUST_USE weir_status weir_json_uint64(const weir_json_token *token,
                                                    uint64_t *ret_value);

/* A writer, in the caller's memory; its fields are private. It latches its first error, so only
 * weir_json_write_end needs a check: WEIR_ELIMIT the buffer is full or the nesting over
 * WEIR_JSON_DEPTH_CAP, WEIR_EINVAL what was asked for is not JSON. It never writes beyond the
 * buffer. It does not look for duplicate keys. */
typedef struct weir_json_writer {
    char *buf;
    size_t cap;
    size_t len;
    weir_status status;
    uint32_t depth;
    bool comma;                                 /* due before the next key or value */
    bool keyed;                                 /* a key was written, its value is due */
    bool done;                                  /* the one value is complete */
    uint64_t objects[WEIR_JSON_DEPTH_CAP / 64]; /* bit set: that level is an object */
} weir_json_writer;

/* Starts writing one value into `buf`, which the writer borrows until weir_json_write_end. */
WEIR_API void weir_json_write_begin(weir_json_writer *writer, char *buf, size_t cap);

/* Ends the text and tells its length; there is no NUL behind it. Gives the first error of all
 * calls since weir_json_write_begin; WEIR_EINVAL also when the value is not complete. */
WEIR_API WEIR_MUST_USE weir_status weir_json_write_end(weir_json_writer *writer, size_t *ret_len);

WEIR_API void weir_json_write_object(weir_json_writer *writer);
WEIR_API void weir_json_write_object_end(weir_json_writer *writer);
WEIR_API void weir_json_write_array(weir_json_writer *writer);
WEIR_API void weir_json_write_array_end(weir_json_writer *writer);

/* A key, or a string value. The text must be UTF-8: invalid UTF-8 is refused with WEIR_EINVAL.
 * Escapes only what RFC 8259 section 7 demands. */
WEIR_API void weir_json_write_key_span(weir_json_writer *writer, const char *text, size_t len);
WEIR_API void weir_json_write_string_span(weir_json_writer *writer, const char *text, size_t len);

/* The same for NUL-terminated text. */
static inline void weir_json_write_key(weir_json_writer *writer, const char *text)
{
    weir_json_write_key_span(writer, text, strlen(text));
}

static inline void weir_json_write_string(weir_json_writer *writer, const char *text)
{
    weir_json_write_string_span(writer, text, strlen(text));
}

WEIR_API void weir_json_write_int64(weir_json_writer *writer, int64_t value);
WEIR_API void weir_json_write_uint64(weir_json_writer *writer, uint64_t value);

/* The fewest significant digits (up to 17) that read back as the same double, whatever the locale.
 * NaN and infinities are refused with WEIR_EINVAL. */
WEIR_API void weir_json_write_double(weir_json_writer *writer, double value);

WEIR_API void weir_json_write_bool(weir_json_writer *writer, bool value);
WEIR_API void weir_json_write_null(weir_json_writer *writer);

/* Copies one value that is JSON already; the caller answers for that. */
WEIR_API void weir_json_write_raw(weir_json_writer *writer, const char *text, size_t len);

#ifdef __cplusplus
}
#endif
#endif
