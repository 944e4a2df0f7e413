/* Bodies on their way in: by length, in chunks (RFC 9112 section 7.1), or until the end. */
#include "http1_internal.h"

#define CHUNK_DIGITS_MAX   16 /* what 64 bits hold */
#define CHUNK_EXT_LINES    16 /* extension lines of full length that a whole body may have */
#define EXT_DEFAULT        1024u
#define TRAILER_DEFAULT    4096u
#define BODY_BYTES_DEFAULT 1048576u

enum state {
    DONE,
    FAILED,
    IDENTITY,
    TO_CLOSE,
    SIZE,
    EXT_SPACE, /* behind the size or a complete extension: only space, ';' or the end of the line */
    EXT_BEFORE_NAME,
    EXT_NAME,
    EXT_AFTER_NAME,
    EXT_BEFORE_VALUE,
    EXT_VALUE,
    EXT_QUOTED,
    EXT_QUOTED_PAIR,
    EXT_QUOTED_END,
    SIZE_LF,
    DATA,
    DATA_CR,
    DATA_LF,
    TRAILER_START,
    TRAILER_NAME,
    TRAILER_VALUE,
    TRAILER_LF,
    LAST_LF,
};

static void refuse(weir_http1_body *body, unsigned status, const char *why)
{
    body->state = FAILED;
    body->status = (uint16_t)status;
    body->why = why;
}

void weir_http1_body_init(weir_http1_body *body, const weir_http1_limits *limits,
                          const weir_http1_head *head)
{
    static const uint8_t first[] = { [WEIR_HTTP1_NO_BODY] = DONE,
                                     [WEIR_HTTP1_LENGTH] = IDENTITY,
                                     [WEIR_HTTP1_CHUNKED] = SIZE,
                                     [WEIR_HTTP1_UNTIL_CLOSE] = TO_CLOSE };
    static const weir_http1_limits defaults = { 0 };
    if (limits == NULL)
        limits = &defaults;
    uint32_t ext = limits->chunk_ext_bytes_max != 0 ? limits->chunk_ext_bytes_max : EXT_DEFAULT;
    if (ext > UINT32_MAX / CHUNK_EXT_LINES)
        ext = UINT32_MAX / CHUNK_EXT_LINES;
    *body = (weir_http1_body){
        .state = first[head->framing],
        .budget = limits->body_bytes_max != 0 ? limits->body_bytes_max : BODY_BYTES_DEFAULT,
        .ext_line_max = ext,
        .ext_left = ext * CHUNK_EXT_LINES,
        .trailer_bytes_max = limits->trailer_bytes_max != 0 ? limits->trailer_bytes_max
                                                            : TRAILER_DEFAULT,
    };
    if (head->framing == WEIR_HTTP1_LENGTH) {
        body->left = head->content_length;
        if (body->left == 0)
            body->state = DONE;
        if (body->left > body->budget)
            refuse(body, 413, "body too large");
    }
}

/* The end of the size digits, at `c`, which is not one of them. */
static uint8_t size_end(weir_http1_body *body, unsigned char c)
{
    if (body->digits == 0) {
        refuse(body, 400, "malformed chunk size");
        return FAILED;
    }
    if (body->left > body->budget) {
        refuse(body, 413, "body too large");
        return FAILED;
    }
    body->line_left = body->ext_line_max;
    if (c == '\r')
        return SIZE_LF;
    if (c == ';')
        return EXT_BEFORE_NAME;
    if (c == ' ' || c == '\t')
        return EXT_SPACE;
    refuse(body, 400, "malformed chunk size");
    return FAILED;
}

static uint8_t size_byte(weir_http1_body *body, unsigned char c)
{
    if (!wi_http1_is(c, WI_HEX))
        return size_end(body, c);
    if (body->digits == CHUNK_DIGITS_MAX) {
        refuse(body, 400, "chunk size out of range");
        return FAILED;
    }
    unsigned digit = c <= '9' ? c - (unsigned)'0' : (c | 0x20u) - 'a' + 10u;
    body->left = body->left << 4 | digit;
    body->digits++;
    return SIZE;
}

/* What follows a name or a value of an extension, or FAILED for none of it. */
static uint8_t after_ext(unsigned char c)
{
    if (c == ';')
        return EXT_BEFORE_NAME;
    if (c == '\r')
        return SIZE_LF;
    return c == ' ' || c == '\t' ? EXT_SPACE : FAILED;
}

static uint8_t ext_step(uint8_t state, unsigned char c)
{
    bool space = c == ' ' || c == '\t';
    bool token = wi_http1_is(c, WI_TOKEN);
    switch ((enum state)state) {
    case EXT_SPACE:
        return space ? EXT_SPACE : c == ';' ? EXT_BEFORE_NAME : FAILED;
    case EXT_BEFORE_NAME:
        return space ? EXT_BEFORE_NAME : token ? EXT_NAME : FAILED;
    case EXT_NAME:
        if (token)
            return EXT_NAME;
        return c == '=' ? EXT_BEFORE_VALUE : space ? EXT_AFTER_NAME : after_ext(c);
    case EXT_AFTER_NAME:
        return space      ? EXT_AFTER_NAME
               : c == '=' ? EXT_BEFORE_VALUE
               : c == ';' ? EXT_BEFORE_NAME
                          : FAILED;
    case EXT_BEFORE_VALUE:
        return space ? EXT_BEFORE_VALUE : c == '"' ? EXT_QUOTED : token ? EXT_VALUE : FAILED;
    case EXT_VALUE:
        return token ? EXT_VALUE : after_ext(c);
    case EXT_QUOTED:
        return c == '"'                    ? EXT_QUOTED_END
               : c == '\\'                 ? EXT_QUOTED_PAIR
               : wi_http1_is(c, WI_QUOTED) ? EXT_QUOTED
                                           : FAILED;
    case EXT_QUOTED_PAIR:
        return wi_http1_is(c, WI_VALUE) ? EXT_QUOTED : FAILED;
    case EXT_QUOTED_END:
        return after_ext(c);
    default:
        return FAILED;
    }
}

static uint8_t ext_byte(weir_http1_body *body, unsigned char c)
{
    uint8_t next = ext_step(body->state, c);
    if (next == FAILED) {
        refuse(body, 400, "malformed chunk extension");
        return FAILED;
    }
    /* The ';' that ended the size was not charged; the CR that ends the line stands in for it. */
    if (body->line_left == 0 || body->ext_left == 0) {
        refuse(body, 413, "chunk extension too long");
        return FAILED;
    }
    body->line_left--;
    body->ext_left--;
    return next;
}

static uint8_t expect_byte(weir_http1_body *body, unsigned char c, char wanted, uint8_t next,
                           const char *why)
{
    if (c == (unsigned char)wanted)
        return next;
    refuse(body, 400, why);
    return FAILED;
}

static uint8_t chunk_begins(weir_http1_body *body)
{
    body->digits = 0;
    if (body->left > 0) {
        body->budget -= body->budget == WEIR_HTTP1_UNLIMITED ? 0 : body->left;
        return DATA;
    }
    body->line_left = body->trailer_bytes_max;
    return TRAILER_START;
}

static uint8_t trailer_step(uint8_t state, unsigned char c)
{
    bool token = wi_http1_is(c, WI_TOKEN);
    switch ((enum state)state) {
    case TRAILER_START:
        return token ? TRAILER_NAME : c == '\r' ? LAST_LF : FAILED;
    case TRAILER_NAME:
        return token ? TRAILER_NAME : c == ':' ? TRAILER_VALUE : FAILED;
    case TRAILER_VALUE:
        return wi_http1_is(c, WI_VALUE) ? TRAILER_VALUE : c == '\r' ? TRAILER_LF : FAILED;
    case TRAILER_LF:
        return c == '\n' ? TRAILER_START : FAILED;
    default:
        return c == '\n' ? DONE : FAILED;
    }
}

/* The empty line at the end is not charged. */
static uint8_t trailer_byte(weir_http1_body *body, unsigned char c)
{
    uint8_t next = trailer_step(body->state, c);
    if (next == FAILED) {
        refuse(body, 400, "malformed trailer");
        return FAILED;
    }
    if (next == LAST_LF || next == DONE)
        return next;
    if (body->line_left == 0) {
        refuse(body, 431, "trailers too large");
        return FAILED;
    }
    body->line_left--;
    return next;
}

/* One byte of chunk framing. */
static uint8_t framing_byte(weir_http1_body *body, unsigned char c)
{
    switch ((enum state)body->state) {
    case SIZE:
        return size_byte(body, c);
    case SIZE_LF:
        if (c == '\n')
            return chunk_begins(body);
        return expect_byte(body, c, '\n', FAILED, "CR without LF in a chunk line");
    case DATA_CR:
        return expect_byte(body, c, '\r', DATA_LF, "junk after chunk data");
    case DATA_LF:
        return expect_byte(body, c, '\n', SIZE, "junk after chunk data");
    case TRAILER_START:
    case TRAILER_NAME:
    case TRAILER_VALUE:
    case TRAILER_LF:
    case LAST_LF:
        return trailer_byte(body, c);
    default:
        return ext_byte(body, c);
    }
}

/* Hands out what there is of a run of data; returns how much that is. */
static size_t take_data(weir_http1_body *body, const char *at, size_t len,
                        weir_http1_span *ret_data)
{
    size_t n = body->left < len ? (size_t)body->left : len;
    *ret_data = (weir_http1_span){ at, n };
    body->left -= n;
    if (body->left == 0)
        body->state = body->state == DATA ? DATA_CR : DONE;
    return n;
}

static size_t take_to_close(weir_http1_body *body, const char *at, size_t len,
                            weir_http1_span *ret_data)
{
    if (len > body->budget) {
        refuse(body, 413, "body too large");
        return 0;
    }
    body->budget -= body->budget == WEIR_HTTP1_UNLIMITED ? 0 : len;
    *ret_data = (weir_http1_span){ at, len };
    return len;
}

/* Whether a byte taken in this state belongs to a trailer field. */
static bool is_trailer(uint8_t before, uint8_t after)
{
    return before >= TRAILER_START && before <= TRAILER_LF && after != LAST_LF;
}

static void note_trailer(weir_http1_body *body, size_t at)
{
    if (body->trailer_len == 0)
        body->trailer_at = at;
    body->trailer_len++;
}

static weir_status status_of(const weir_http1_body *body)
{
    if (body->state == DONE)
        return WEIR_OK;
    if (body->state != FAILED)
        return WEIR_EPARTIAL;
    return body->status == 413 || body->status == 431 ? WEIR_ELIMIT : WEIR_EPROTO;
}

weir_status weir_http1_body_feed(weir_http1_body *body, const char *buf, size_t len,
                                 weir_http1_span *ret_data, size_t *ret_consumed)
{
    weir_http1_span data = { buf, 0 };
    size_t used = 0;
    body->trailer_at = body->trailer_len = 0;
    while (used < len && body->state != DONE && body->state != FAILED) {
        if (body->state == IDENTITY || body->state == DATA) {
            used += take_data(body, buf + used, len - used, &data);
            break;
        }
        if (body->state == TO_CLOSE) {
            used += take_to_close(body, buf + used, len - used, &data);
            break;
        }
        uint8_t before = body->state;
        body->state = framing_byte(body, (unsigned char)buf[used]);
        if (is_trailer(before, body->state))
            note_trailer(body, used);
        used++;
    }
    weir_status status = status_of(body);
    if (status == WEIR_OK || status == WEIR_EPARTIAL) {
        *ret_data = data;
        *ret_consumed = used;
    }
    return status;
}

weir_status weir_http1_body_eof(weir_http1_body *body)
{
    if (body->state == TO_CLOSE)
        body->state = DONE;
    if (body->state != DONE && body->state != FAILED)
        refuse(body, 400, "the body was cut off");
    return status_of(body);
}

size_t weir_http1_trailers(const char *bytes, size_t len, weir_http1_field *fields, size_t cap)
{
    const char *at = bytes, *end = bytes + len;
    size_t n = 0;
    while (at < end && n < cap) {
        const char *cr = memchr(at, '\r', (size_t)(end - at));
        const char *colon = cr == NULL ? NULL : memchr(at, ':', (size_t)(cr - at));
        if (colon == NULL)
            break;
        fields[n].name = (weir_http1_span){ at, (size_t)(colon - at) };
        fields[n++].value = wi_http1_trimmed(colon + 1, cr);
        at = cr + 2;
    }
    return n;
}

bool weir_http1_body_done(const weir_http1_body *body)
{
    return body->state == DONE;
}
