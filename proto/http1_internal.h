/* What the files of the HTTP/1.1 layer share: byte classes, bounds and the steps of a parse. */
#ifndef WI_HTTP1_INTERNAL_H
#define WI_HTTP1_INTERNAL_H

#include <weir/http1.h>

#include <string.h>

/* Byte classes, one table for all grammars. */
enum {
    WI_TOKEN = 1,   /* tchar, RFC 9110 section 5.6.2 */
    WI_VALUE = 2,   /* HTAB, SP, VCHAR, obs-text: what a field value may hold */
    WI_TARGET = 4,  /* pchar without '%', '/', '?': RFC 3986 */
    WI_REGNAME = 8, /* unreserved and sub-delims: a registered name without '%' */
    WI_HEX = 16,
    WI_DIGIT = 32,
    WI_QUOTED = 64,     /* qdtext, RFC 9110 section 5.6.4 */
    WI_AUTHORITY = 128, /* host, port and user information: RFC 3986 section 3.2 */
};
extern const uint8_t wi_http1_class[256];

static inline bool wi_http1_is(unsigned char c, unsigned classes)
{
    return (wi_http1_class[c] & classes) != 0;
}

/* Compares `n` bytes with lower-case text. Setting bit 5 folds letters; what else it folds is no
 * token byte, so for names that were checked as tokens the answer is exact. */
static inline bool wi_http1_same(const char *bytes, const char *lower, size_t n)
{
    const uint64_t fold = 0x2020202020202020u;
    uint64_t a, b;
    if (n >= 8) {
        size_t i = 0;
        for (; i + 8 <= n; i += 8) {
            memcpy(&a, bytes + i, 8);
            memcpy(&b, lower + i, 8);
            if ((a | fold) != b)
                return false;
        }
        memcpy(&a, bytes + n - 8, 8);
        memcpy(&b, lower + n - 8, 8);
        return (a | fold) == b;
    }
    for (size_t i = 0; i < n; i++)
        if ((bytes[i] | 0x20) != lower[i])
            return false;
    return true;
}

/* Without the white space at either end. */
static inline weir_http1_span wi_http1_trimmed(const char *at, const char *end)
{
    while (at < end && (*at == ' ' || *at == '\t'))
        at++;
    while (end > at && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    return (weir_http1_span){ at, (size_t)(end - at) };
}

/* Limits with the defaults filled in, as far as a head needs them. */
typedef struct wi_http1_bounds {
    uint32_t target, head, fields;
} wi_http1_bounds;

typedef struct wi_http1_refusal {
    const char *why;
    uint16_t status;
} wi_http1_refusal;

/* The strict pass over raw bytes: start line and field lines by their grammar, and the limits.
 * Notes the field lines in `fields`, unless it is NULL; that needs a scan from the first byte on.
 * WEIR_EPARTIAL, WEIR_OK (scan->at is the length of the head), WEIR_EPROTO or WEIR_ELIMIT. */
weir_status wi_http1_guard(const wi_http1_bounds *bounds, bool response, const char *buf,
                           size_t len, weir_http1_scan *scan, weir_http1_field *fields,
                           wi_http1_refusal *ret_refusal);

/* The first byte in [p, end) that no field value may hold, or end. */
const unsigned char *wi_http1_value_end(const unsigned char *p, const unsigned char *end);

/* The second opinion: whether http-parser, too, frames a message as `head` says, by its only
 * Content-Length or its only Transfer-Encoding, which is "chunked". Of a head that passed the
 * guard; one of the two is NULL, or both are, and then there is nothing to ask. */
bool wi_http1_parser_agrees(const weir_http1_field *length, const weir_http1_field *coding,
                            const weir_http1_head *head);

/* What browsers leave raw in a query, though RFC 3986 has no place for it: of the bytes that are
 * not in the query percent-encode set (https://url.spec.whatwg.org/#query-percent-encode-set),
 * those that are not WI_TARGET. Nowhere else in a target may they stand. */
bool wi_http1_is_raw(unsigned char c);

/* Whether a target is made of what targets are made of: brackets may stand in one that does not
 * begin with '/', whose form is looked at then. */
bool wi_http1_target_bytes_ok(const char *target, size_t len);

/* Whether a target has a form that goes with its method (RFC 9112 section 3.2). Its bytes have
 * been checked to be target bytes. */
bool wi_http1_target_ok(const char *target, size_t len, bool connect, bool options);

/* Splits a target that is ok. ret_authority->at is NULL if the target has none. */
void wi_http1_target_split(weir_http1_span target, bool connect, weir_http1_span *ret_path,
                           weir_http1_span *ret_query, weir_http1_span *ret_authority);

/* Whether bytes are uri-host [":" port]. An empty host is fine if `may_be_empty`. */
bool wi_http1_authority_ok(const char *at, size_t len, bool may_be_empty, bool needs_port);

#endif
