/* What a head means: framing, persistence, host and expectations, and the checks across fields. */
#include "http1_internal.h"

/* The parser behind the guard has a limit of its own, above this. */
#define HEAD_BYTES_CEILING 65536u

/* The fields that decide something, as they were met. */
typedef struct meaning {
    const weir_http1_span *host, *expect, *upgrade;
    const weir_http1_field *length, *coding;
    bool close, keep_alive, upgrading;
} meaning;

static const wi_http1_refusal fine = { NULL, 0 };

static wi_http1_refusal refusal(unsigned status, const char *why)
{
    return (wi_http1_refusal){ why, (uint16_t)status };
}

static uint32_t or_default(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

static wi_http1_bounds bounds_of(const weir_http1_limits *limits, const weir_http1_head *head)
{
    static const weir_http1_limits defaults = { 0 };
    if (limits == NULL)
        limits = &defaults;
    wi_http1_bounds bounds = { or_default(limits->target_bytes_max, 8192),
                               or_default(limits->head_bytes_max, 16384),
                               or_default(limits->fields_max, 100) };
    if (bounds.head > HEAD_BYTES_CEILING)
        bounds.head = HEAD_BYTES_CEILING;
    if (bounds.fields > head->field_cap)
        bounds.fields = head->field_cap;
    if (bounds.fields > UINT16_MAX)
        bounds.fields = UINT16_MAX;
    return bounds;
}

static bool value_is(const weir_http1_span *value, const char *lower, size_t len)
{
    return value->len == len && wi_http1_same(value->at, lower, len);
}

/* The next element of a comma-separated list that begins at *cursor; false behind the last. */
static bool next_element(const char **cursor, const char *end, weir_http1_span *ret_element)
{
    if (*cursor == NULL)
        return false;
    const char *comma = memchr(*cursor, ',', (size_t)(end - *cursor));
    *ret_element = wi_http1_trimmed(*cursor, comma != NULL ? comma : end);
    *cursor = comma != NULL ? comma + 1 : NULL;
    return true;
}

static void read_connection(const weir_http1_span *value, meaning *m)
{
    const char *cursor = value->at;
    weir_http1_span option;
    while (next_element(&cursor, value->at + value->len, &option)) {
        if (value_is(&option, "close", 5))
            m->close = true;
        else if (value_is(&option, "keep-alive", 10))
            m->keep_alive = true;
        else if (value_is(&option, "upgrade", 7))
            m->upgrading = true;
    }
}

/* Digits only, once: lists, signs and repetitions are how requests get smuggled. So are tabs, which
 * may stand behind it, but which some take for a part of it. */
static wi_http1_refusal read_length(const weir_http1_span *value, weir_http1_head *head)
{
    uint64_t length = 0;
    if (head->has_content_length)
        return refusal(400, "more than one Content-Length");
    if (value->len == 0 || value->at[value->len] == '\t')
        return refusal(400, "malformed Content-Length");
    for (size_t i = 0; i < value->len; i++) {
        unsigned digit = (unsigned char)value->at[i] - (unsigned)'0';
        if (digit > 9)
            return refusal(400, "malformed Content-Length");
        if (__builtin_mul_overflow(length, 10u, &length) ||
            __builtin_add_overflow(length, digit, &length) || length > INT64_MAX)
            return refusal(400, "Content-Length out of range");
    }
    head->content_length = length;
    head->has_content_length = true;
    return fine;
}

static wi_http1_refusal only_once(const weir_http1_span *value, const weir_http1_span **slot,
                                  const char *why)
{
    if (*slot != NULL)
        return refusal(400, why);
    *slot = value;
    return fine;
}

static wi_http1_refusal read_field(const weir_http1_field *field, weir_http1_head *head, meaning *m)
{
    const char *name = field->name.at;
    const weir_http1_span *value = &field->value;
    switch (field->name.len) {
    case 4:
        if (wi_http1_same(name, "host", 4))
            return only_once(value, &m->host, "more than one Host");
        break;
    case 6:
        if (wi_http1_same(name, "expect", 6))
            return only_once(value, &m->expect, "more than one Expect");
        break;
    case 7:
        if (wi_http1_same(name, "upgrade", 7))
            m->upgrade = value;
        break;
    case 10:
        if (wi_http1_same(name, "connection", 10))
            read_connection(value, m);
        break;
    case 12:
        if (wi_http1_same(name, "content-type", 12)) {
            if (head->content_type.at != NULL)
                return refusal(400, "more than one Content-Type");
            head->content_type = *value;
        }
        break;
    case 14:
        if (wi_http1_same(name, "content-length", 14)) {
            m->length = field;
            return read_length(value, head);
        }
        break;
    case 17:
        if (wi_http1_same(name, "transfer-encoding", 17)) {
            if (m->coding != NULL)
                return refusal(400, "more than one Transfer-Encoding");
            m->coding = field;
        }
        break;
    default:
        break;
    }
    return fine;
}

static wi_http1_refusal read_fields(weir_http1_head *head, meaning *m)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        wi_http1_refusal no = read_field(&head->fields[i], head, m);
        if (no.status != 0)
            return no;
    }
    return fine;
}

/* Only "chunked", alone, is spoken. Anything else is either a coding that we lack (501) or an
 * order of codings that leaves the end of the message in doubt (400). */
static wi_http1_refusal read_coding(const weir_http1_span *value)
{
    const char *cursor = value->at;
    weir_http1_span coding;
    bool chunked = false, unknown = false;
    if (value_is(value, "chunked", 7))
        return fine;
    while (next_element(&cursor, value->at + value->len, &coding)) {
        size_t n = 0;
        while (n < coding.len && wi_http1_is((unsigned char)coding.at[n], WI_TOKEN))
            n++;
        weir_http1_span name = { coding.at, n };
        if (n == 0 ||
            (n < coding.len && coding.at[n] != ';' && coding.at[n] != ' ' && coding.at[n] != '\t'))
            return refusal(400, "malformed Transfer-Encoding");
        if (chunked)
            return refusal(400, "chunked is not the last transfer coding");
        chunked = value_is(&name, "chunked", 7);
        if (chunked && n < coding.len)
            return refusal(400, "malformed Transfer-Encoding");
        unknown = unknown || !chunked;
    }
    return unknown ? refusal(501, "unknown transfer coding")
                   : refusal(400, "malformed Transfer-Encoding");
}

/* Framing as both kinds of message share it; `m->coding` wins over nothing, it excludes. */
static wi_http1_refusal read_framing(weir_http1_head *head, const meaning *m, uint64_t body_max)
{
    if (m->coding != NULL) {
        if (head->minor == 0)
            return refusal(400, "Transfer-Encoding in HTTP/1.0");
        if (head->has_content_length)
            return refusal(400, "both Transfer-Encoding and Content-Length");
        wi_http1_refusal no = read_coding(&m->coding->value);
        if (no.status != 0)
            return no;
        head->framing = WEIR_HTTP1_CHUNKED;
    } else if (head->has_content_length) {
        head->framing = head->content_length > 0 ? WEIR_HTTP1_LENGTH : WEIR_HTTP1_NO_BODY;
        if (head->content_length > body_max)
            return refusal(413, "body too large");
    }
    /* a difference is an attack or a bug */
    return wi_http1_parser_agrees(m->length, m->coding, head) ? fine
                                                              : refusal(400, "framing in doubt");
}

static wi_http1_refusal read_host(weir_http1_head *head, const meaning *m)
{
    weir_http1_span authority;
    wi_http1_target_split(head->target, head->method == WEIR_HTTP1_CONNECT, &head->path,
                          &head->query, &authority);
    if (m->host == NULL && head->minor >= 1)
        return refusal(400, "no Host");
    if (m->host != NULL) {
        if (!wi_http1_authority_ok(m->host->at, m->host->len, true, false))
            return refusal(400, "malformed Host");
        head->host = *m->host;
    }
    if (authority.at != NULL)
        head->host = authority; /* RFC 9112 section 3.2.2: the target's wins */
    return fine;
}

static wi_http1_refusal read_expect(weir_http1_head *head, const meaning *m)
{
    if (m->expect == NULL)
        return fine;
    if (!value_is(m->expect, "100-continue", 12))
        return refusal(417, "unknown expectation");
    head->expect_continue = head->minor >= 1 && head->framing != WEIR_HTTP1_NO_BODY;
    return fine;
}

static void read_persistence(weir_http1_head *head, const meaning *m)
{
    head->keep_alive = !m->close && (head->minor >= 1 || m->keep_alive);
    head->upgrade = head->minor >= 1 && m->upgrading && m->upgrade != NULL;
}

static uint64_t body_max_of(const weir_http1_limits *limits)
{
    return limits != NULL && limits->body_bytes_max != 0 ? limits->body_bytes_max : 1048576;
}

static void reset(weir_http1_head *head)
{
    weir_http1_field *fields = head->fields;
    uint32_t cap = head->field_cap;
    memset(head, 0, sizeof *head);
    head->fields = fields;
    head->field_cap = cap;
}

static weir_status refused(weir_http1_head *head, wi_http1_refusal no, bool response)
{
    head->status = response ? 502 : no.status;
    head->why = no.why;
    return no.status == 413 || no.status == 414 || no.status == 431 ? WEIR_ELIMIT : WEIR_EPROTO;
}

/* The guard over all there is. Fields are noted in one go, as the bytes may have moved since the
 * last call: a head that came in pieces is scanned once more when it is complete. */
static weir_status guard_head(const wi_http1_bounds *bounds, bool response, const char *buf,
                              size_t len, weir_http1_scan *scan, weir_http1_head *head,
                              wi_http1_refusal *ret_refusal)
{
    bool at_once = scan->at == 0;
    weir_status status = wi_http1_guard(bounds, response, buf, len, scan,
                                        at_once ? head->fields : NULL, ret_refusal);
    if (status == WEIR_OK && !at_once) {
        weir_http1_scan again = { 0 };
        status = wi_http1_guard(bounds, response, buf, scan->at, &again, head->fields, ret_refusal);
    }
    return status;
}

/* ---- Start lines, which the guard let pass: blanks and digits are where they must be ---- */

static weir_http1_method method_of(const char *at, size_t len)
{
    static const weir_http1_span methods[] = {
#define METHOD_SPAN(name, text) { text, sizeof(text) - 1 },
        WEIR_HTTP1_METHOD_LIST(METHOD_SPAN)
#undef METHOD_SPAN
    };
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (methods[i].len == len && memcmp(methods[i].at, at, len) == 0)
            return (weir_http1_method)(i + 1);
    return WEIR_HTTP1_METHOD_NONE;
}

static wi_http1_refusal read_request_line(weir_http1_head *head, const char *at, const char *end)
{
    const char *target = (const char *)memchr(at, ' ', (size_t)(end - at)) + 1;
    const char *version = memchr(target, ' ', (size_t)(end - target));
    head->method = method_of(at, (size_t)(target - 1 - at));
    head->target = (weir_http1_span){ target, (size_t)(version - target) };
    head->minor = version[8] != '0'; /* of " HTTP/1.1" */
    return head->method != WEIR_HTTP1_METHOD_NONE ? fine : refusal(501, "unknown method");
}

static wi_http1_refusal read_status_line(weir_http1_head *head, const char *at, const char *end)
{
    const char *reason = at + 13; /* of "HTTP/1.1 200 OK" */
    const char *line_end = memchr(reason, '\r', (size_t)(end - reason));
    head->minor = at[7] != '0';
    head->status = (uint16_t)((at[9] - '0') * 100 + (at[10] - '0') * 10 + (at[11] - '0'));
    head->reason = (weir_http1_span){ reason, (size_t)(line_end - reason) };
    return fine;
}

/* Guard and start line, for both kinds of message. */
static weir_status read_head(const weir_http1_limits *limits, const char *buf, size_t len,
                             weir_http1_scan *scan, bool response, weir_http1_head *head)
{
    wi_http1_refusal no = fine;
    wi_http1_bounds bounds = bounds_of(limits, head);
    weir_status status = guard_head(&bounds, response, buf, len, scan, head, &no);
    if (status == WEIR_OK) {
        const char *at = buf + (buf[0] == '\r' ? 2 : 0); /* the empty line the guard let pass */
        const char *end = buf + scan->at;
        reset(head);
        head->field_count = scan->field_count;
        no = response ? read_status_line(head, at, end) : read_request_line(head, at, end);
        status = no.status != 0 ? WEIR_EPROTO : WEIR_OK;
    }
    if (status == WEIR_EPROTO || status == WEIR_ELIMIT) {
        head->status = response ? 502 : no.status;
        head->why = no.why;
    }
    return status;
}

static wi_http1_refusal read_request(weir_http1_head *head, uint64_t body_max)
{
    meaning m = { 0 };
    wi_http1_refusal no = read_fields(head, &m);
    if (no.status == 0)
        no = read_host(head, &m);
    if (no.status == 0)
        no = read_framing(head, &m, body_max);
    if (no.status == 0)
        no = read_expect(head, &m);
    read_persistence(head, &m);
    return no;
}

weir_status weir_http1_request_head(const weir_http1_limits *limits, const char *buf, size_t len,
                                    weir_http1_scan *scan, weir_http1_head *ret_head,
                                    size_t *ret_consumed)
{
    weir_status status = read_head(limits, buf, len, scan, false, ret_head);
    if (status != WEIR_OK)
        return status;
    wi_http1_refusal no = read_request(ret_head, body_max_of(limits));
    if (no.status != 0)
        return refused(ret_head, no, false);
    *ret_consumed = scan->at;
    return WEIR_OK;
}

/* RFC 9112 section 6.3, rules 1 and 2: responses that have no body whatever their fields say. */
static bool bodyless(const weir_http1_head *head, weir_http1_method request_method)
{
    return request_method == WEIR_HTTP1_HEAD || head->status < 200 || head->status == 204 ||
           head->status == 304 || head->tunnel;
}

static wi_http1_refusal read_response(weir_http1_head *head, weir_http1_method request_method,
                                      uint64_t body_max)
{
    meaning m = { 0 };
    wi_http1_refusal no = read_fields(head, &m);
    head->tunnel = head->status == 101 || (request_method == WEIR_HTTP1_CONNECT &&
                                           head->status >= 200 && head->status < 300);
    bool none = bodyless(head, request_method);
    if (no.status == 0)
        no = read_framing(head, &m, none ? WEIR_HTTP1_UNLIMITED : body_max);
    read_persistence(head, &m);
    if (none) {
        head->framing = WEIR_HTTP1_NO_BODY;
    } else if (m.coding == NULL && !head->has_content_length) {
        head->framing = WEIR_HTTP1_UNTIL_CLOSE;
        head->keep_alive = false;
    }
    return no;
}

weir_status weir_http1_response_head(const weir_http1_limits *limits,
                                     weir_http1_method request_method, const char *buf, size_t len,
                                     weir_http1_scan *scan, weir_http1_head *ret_head,
                                     size_t *ret_consumed)
{
    weir_status status = read_head(limits, buf, len, scan, true, ret_head);
    if (status != WEIR_OK)
        return status;
    wi_http1_refusal no = read_response(ret_head, request_method, body_max_of(limits));
    if (no.status != 0)
        return refused(ret_head, no, true);
    *ret_consumed = scan->at;
    return WEIR_OK;
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

bool weir_http1_span_is(weir_http1_span span, const char *text)
{
    for (size_t i = 0; i < span.len; i++)
        if (text[i] == '\0' || lower(span.at[i]) != lower(text[i]))
            return false;
    return text[span.len] == '\0';
}

const weir_http1_span *weir_http1_find(const weir_http1_head *head, const char *name)
{
    for (uint32_t i = 0; i < head->field_count; i++)
        if (weir_http1_span_is(head->fields[i].name, name))
            return &head->fields[i].value;
    return NULL;
}

bool weir_http1_lists(const weir_http1_head *head, const char *name, const char *token)
{
    for (uint32_t i = 0; i < head->field_count; i++) {
        const weir_http1_span *value = &head->fields[i].value;
        const char *cursor = value->at;
        weir_http1_span element;
        if (!weir_http1_span_is(head->fields[i].name, name))
            continue;
        while (next_element(&cursor, value->at + value->len, &element))
            if (weir_http1_span_is(element, token))
                return true;
    }
    return false;
}

const char *weir_http1_method_text(weir_http1_method method)
{
    switch (method) {
#define METHOD_TEXT(name, text) \
    case WEIR_HTTP1_##name:     \
        return text;
        WEIR_HTTP1_METHOD_LIST(METHOD_TEXT)
#undef METHOD_TEXT
    case WEIR_HTTP1_METHOD_NONE:
        break;
    }
    return "";
}
