/* Heads and trailers of HTTP/2: collected from nghttp2 within limits, told, and those to be sent.
 */
#include "http1_internal.h"
#include "http2_session.h"

enum {
    FIELD_EXTRA = 32,
    FIELDS_STEP = 16,
    TEXT_STEP = 512 - sizeof(wi_http2_text),
    BOMB_BYTES = 64 * 1024,
    SENT_FIELDS_MAX = 1024
};

#define TEXT(s) s, sizeof(s) - 1

static bool is(weir_http1_span span, const char *text, size_t n)
{
    return span.len == n && memcmp(span.at, text, n) == 0;
}

/* ---- In ---- */

int wi_http2_block_begin(wi_http2 *h2, const nghttp2_frame *frame)
{
    wi_http2_block *block = &h2->block;
    bool is_server = !h2->session->config.is_client;
    if (block->stream != 0)
        wi_http2_block_end(h2);
    *block = (wi_http2_block){ .fields = block->fields,
                               .cap = block->cap,
                               .text = block->text,
                               .stream = frame->hd.stream_id,
                               .ruled = is_server,
                               .trailers = is_server && frame->headers.cat != NGHTTP2_HCAT_REQUEST,
                               .start_ns = h2->session->now_ns,
                               .content_length = UINT64_MAX };
    return 0;
}

static void free_text(wi_http2 *h2, wi_http2_text *text)
{
    while (text != NULL) {
        wi_http2_text *next = text->next;
        wi_http_pool_give(h2->session->pool, text);
        text = next;
    }
}

void wi_http2_block_end(wi_http2 *h2)
{
    wi_http2_block *block = &h2->block;
    block->stream = 0;
    block->count = 0;
    if (h2->session->exchanges > 0 && block->cap <= FIELDS_STEP && block->text != NULL &&
        block->text->next == NULL && block->text->cap <= TEXT_STEP) {
        block->text->len = 0;
        return;
    }
    /* A connection at rest holds nothing. */
    free_text(h2, block->text);
    if (block->fields != NULL)
        wi_http_pool_give(h2->session->pool, block->fields);
    block->text = NULL;
    block->fields = NULL;
    block->cap = 0;
}

static bool more_fields(wi_http2 *h2)
{
    wi_http2_block *block = &h2->block;
    uint32_t cap = block->cap == 0 ? FIELDS_STEP : block->cap * 2;
    void *larger = weir_memory_resize(h2->session->env, block->fields, cap * sizeof *block->fields);
    if (larger == NULL)
        return false;
    block->fields = larger;
    block->cap = cap;
    return true;
}

static bool more_text(wi_http2 *h2, size_t bytes)
{
    size_t cap = bytes > TEXT_STEP ? bytes : TEXT_STEP;
    wi_http2_text *text = wi_http_pool_take(h2->session->pool, sizeof *text + cap);
    if (text == NULL)
        return false;
    text->next = h2->block.text;
    text->len = 0;
    text->cap = cap;
    h2->block.text = text;
    return true;
}

static uint64_t number(weir_http1_span digits)
{
    uint64_t n = 0;
    for (size_t i = 0; i < digits.len; i++)
        n = n * 10 + (uint64_t)(digits.at[i] - '0');
    return n;
}

/* Which there are, that each comes once, and first, was looked at. */
static void take_pseudo(wi_http2_block *block, weir_http1_span name, weir_http1_span value)
{
    if (name.len == 5) /* ":path" */
        block->path = value;
    else if (name.len == 10) /* ":authority" */
        block->authority = value;
    else if (name.len == 7 && name.at[1] == 'm')
        block->method = value;
    else if (is(name, TEXT(":scheme")))
        block->scheme = value;
    else if (is(name, TEXT(":status")))
        block->status = (unsigned)number(value);
}

static bool take_field(wi_http2 *h2, weir_http1_span name, weir_http1_span value)
{
    wi_http2_block *block = &h2->block;
    if (block->count == h2->session->config.fields_max) {
        block->too_large = true;
        return true;
    }
    if (block->count == block->cap && !more_fields(h2))
        return false;
    block->fields[block->count++] = (weir_http1_field){ name, value };
    block->cookies += is(name, TEXT("cookie"));
    return true;
}

/* Most names and values are short: a call for each would cost more than the copy. */
static inline void copy(char *to, const char *from, size_t n)
{
    if (n >= 8 && n <= 16) {
        uint64_t first, last;
        memcpy(&first, from, 8);
        memcpy(&last, from + n - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + n - 8, &last, 8);
    } else if (n >= 4 && n < 8) {
        uint32_t first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + n - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + n - 4, &last, 4);
    } else if (n > 0) {
        memcpy(to, from, n);
    }
}

static char *room(wi_http2 *h2, size_t bytes)
{
    wi_http2_text *text = h2->block.text;
    if (text == NULL || bytes > text->cap - text->len) {
        if (!more_text(h2, bytes))
            return NULL;
        text = h2->block.text;
    }
    char *at = text->at + text->len;
    text->len += bytes;
    return at;
}

/* Copies what is told, which costs less than to hold nghttp2's. */
static bool take(wi_http2 *h2, weir_http1_span name, weir_http1_span value)
{
    wi_http2_block *block = &h2->block;
    bool is_pseudo = name.len > 0 && name.at[0] == ':', is_host = is(name, TEXT("host"));
    if (is(name, TEXT("te"))) /* hop by hop; it says "trailers" */
        return true;
    if (is(name, TEXT("content-length"))) {
        block->content_length = number(value);
        return true;
    }
    size_t told = is_pseudo || is_host ? 0 : name.len;
    char *at = room(h2, told + value.len);
    if (at == NULL)
        return false;
    copy(at + told, value.at, value.len);
    value.at = at + told;
    if (is_pseudo) {
        take_pseudo(block, name, value);
    } else if (is_host) {
        block->host = value;
    } else {
        copy(at, name.at, name.len);
        return take_field(h2, (weir_http1_span){ at, name.len }, value);
    }
    return true;
}

/* One may have come in crumbs, for compression's sake, and is one again (RFC 9113 8.2.3). */
static bool join_cookies(wi_http2 *h2)
{
    wi_http2_block *block = &h2->block;
    weir_http1_field *whole = NULL;
    size_t bytes = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < block->count; i++)
        if (is(block->fields[i].name, TEXT("cookie")))
            bytes += block->fields[i].value.len + 2;
    char *at = room(h2, bytes);
    if (at == NULL)
        return false;
    for (uint32_t i = 0; i < block->count; i++) {
        weir_http1_field field = block->fields[i];
        bool is_crumb = is(field.name, TEXT("cookie"));
        if (!is_crumb || whole == NULL)
            block->fields[kept++] = field;
        if (!is_crumb)
            continue;
        if (whole == NULL) {
            whole = &block->fields[kept - 1];
            whole->value = (weir_http1_span){ at, 0 };
        } else {
            copy(at + whole->value.len, "; ", 2);
            whole->value.len += 2;
        }
        copy(at + whole->value.len, field.value.at, field.value.len);
        whole->value.len += field.value.len;
    }
    block->count = kept;
    return true;
}

static int no_memory(wi_http2 *h2)
{
    (void)wi_http2_fail(h2, WEIR_ENOMEM, NGHTTP2_INTERNAL_ERROR, "out of memory");
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

int wi_http2_reject(wi_http2 *h2, int32_t stream)
{
    if (nghttp2_submit_rst_stream(h2->ng, NGHTTP2_FLAG_NONE, stream, NGHTTP2_PROTOCOL_ERROR) == 0)
        return wi_http2_go_on(h2);
    return no_memory(h2);
}

static int malformed(wi_http2 *h2)
{
    int rv = wi_http2_reject(h2, h2->block.stream);
    return rv != 0 ? rv : NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* nothing more of this head */
}

static bool may_be(wi_http2_block *block, const weir_http1_field *field)
{
    if (!block->ruled)
        return true;
    if (field->name.len > 0 && field->name.at[0] == ':')
        return wi_http2_pseudo_ok(block, field);
    block->fields_begun = true;
    return wi_http2_field_ok(block, field);
}

int wi_http2_on_header(nghttp2_session *ng, const nghttp2_frame *frame, const uint8_t *name,
                       size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                       void *user)
{
    wi_http2 *h2 = user;
    wi_http2_block *block = &h2->block;
    (void)ng;
    (void)flags;
    if (block->stream != frame->hd.stream_id)
        return 0;
    block->bytes += name_len + value_len + FIELD_EXTRA;
    size_t max = h2->session->config.head_bytes_max;
    if (block->bytes > 4 * max + BOMB_BYTES) {
        (void)wi_http2_fail(h2, WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM, "a head is far too large");
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    block->too_large = block->too_large || block->bytes > max;
    if (block->too_large)
        return 0;
    const weir_http1_field field = { { (const char *)name, name_len },
                                     { (const char *)value, value_len } };
    if (!may_be(block, &field))
        return malformed(h2);
    if (take(h2, field.name, field.value))
        return 0;
    return no_memory(h2);
}

static void tell_head(wi_http2 *h2, wi_http2_exchange *x, bool ends)
{
    wi_http2_block *block = &h2->block;
    weir_http_head head = { .method = block->method,
                            .path = block->path,
                            .authority = block->authority,
                            .scheme = block->scheme,
                            .status = block->status,
                            .fields = block->fields,
                            .field_count = block->count,
                            .content_length = block->content_length,
                            .ends = ends };
    if (head.authority.at == NULL)
        head.authority = block->host;
    x->has_head = true;
    wi_http_tell_head(&x->base, &head);
}

static int on_request(wi_http2 *h2, wi_http2_exchange *x, bool ends)
{
    wi_http2_block *block = &h2->block;
    if (block->too_large)
        return wi_http2_refuse(h2, x, "431");
    bool is_short = ends && block->content_length != UINT64_MAX && block->content_length > 0;
    bool is_connect = is(block->method, TEXT("CONNECT"));
    if (!wi_http2_request_whole(block) || (is_short && !is_connect))
        return wi_http2_reject(h2, x->stream);
    if (is_connect || !wi_http2_target_ok(block))
        return wi_http2_refuse(h2, x, "400");
    if (block->cookies > 1 && !join_cookies(h2))
        return no_memory(h2);
    x->counts = block->content_length != UINT64_MAX;
    x->expected = block->content_length;
    tell_head(h2, x, ends);
    return 0;
}

static int on_response(wi_http2 *h2, wi_http2_exchange *x, bool ends)
{
    if (h2->block.too_large) {
        weir_http_exchange_reset(&x->base, WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM);
        return 0;
    }
    if (h2->block.status < 200)
        wi_http2_count_control(h2);
    else
        tell_head(h2, x, ends);
    return 0;
}

int wi_http2_on_headers(wi_http2 *h2, const nghttp2_frame *frame)
{
    wi_http2_exchange *x = wi_http2_exchange_of(h2, frame->hd.stream_id);
    bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    int rv = 0;
    if (x == NULL || x->finished || h2->block.stream != frame->hd.stream_id)
        rv = 0;
    else if (!x->has_head)
        rv = h2->session->config.is_client ? on_response(h2, x, ends) : on_request(h2, x, ends);
    else if (h2->block.too_large)
        weir_http_exchange_reset(&x->base, WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM);
    else if (h2->block.trailers && (!ends || (x->counts && x->expected > 0)))
        rv = wi_http2_reject(h2, x->stream);
    else {
        wi_http_tell_end(&x->base, h2->block.fields, h2->block.count);
        if (x->base.ended)
            wi_http2_resume(x);
    }
    wi_http2_block_end(h2);
    return rv;
}

/* ---- Out ---- */

/* Fields that are said otherwise, or may not be in HTTP/2 (RFC 9113 8.2.2). */
static bool is_ours(weir_http1_span name)
{
    switch (name.len) {
    case 4:
        return weir_http1_span_is(name, "host");
    case 7:
        return weir_http1_span_is(name, "upgrade");
    case 10:
        return weir_http1_span_is(name, "connection") || weir_http1_span_is(name, "keep-alive");
    case 14:
        return weir_http1_span_is(name, "content-length");
    case 16:
        return weir_http1_span_is(name, "proxy-connection");
    case 17:
        return weir_http1_span_is(name, "transfer-encoding");
    default:
        return false;
    }
}

static nghttp2_nv nv_of(const char *name, size_t name_len, weir_http1_span value)
{
    return (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name,
                         .namelen = name_len,
                         .value = (uint8_t *)(uintptr_t)value.at,
                         .valuelen = value.len };
}

#define IF_KNOWN(name, text)                            \
    if (memcmp((name).at, text, sizeof(text) - 1) == 0) \
    return text

/* Another one in each request. In the table, each drives out what comes again, and is looked for
 * among all those before it. */
static const char unlike[] = "traceparent";

/* Names that stand in nearly every message: what is found here needs no check, and no copy. */
static const char *known(weir_http1_span name)
{
    switch (name.len) {
    case 11:
        IF_KNOWN(name, "grpc-status");
        IF_KNOWN(name, unlike);
        return NULL;
    case 12:
        IF_KNOWN(name, "content-type");
        IF_KNOWN(name, "grpc-message");
        IF_KNOWN(name, "grpc-timeout");
        return NULL;
    case 13:
        IF_KNOWN(name, "grpc-encoding");
        return NULL;
    case 20:
        IF_KNOWN(name, "grpc-accept-encoding");
        return NULL;
    default:
        return NULL;
    }
}

static bool field_nv(const weir_http1_field *field, nghttp2_nv *nv)
{
    weir_http1_span name = field->name;
    const char *text = known(name);
    if (!wi_http2_value_ok(field->value))
        return false;
    *nv = nv_of(text != NULL ? text : name.at, name.len, field->value);
    if (text != NULL)
        nv->flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    if (text == unlike)
        nv->flags |= NGHTTP2_NV_FLAG_NO_INDEX;
    return text != NULL || (wi_http2_token_ok(name) && !is_ours(name));
}

bool wi_http2_fields_count_ok(const weir_http1_field *fields, size_t n)
{
    return n <= SENT_FIELDS_MAX && (n == 0 || fields != NULL);
}

bool wi_http2_fields_nv(const weir_http1_field *fields, size_t n, nghttp2_nv *nv)
{
    for (size_t i = 0; i < n; i++)
        if (!field_nv(&fields[i], &nv[i]))
            return false;
    return true;
}

weir_status wi_http2_request_ok(const weir_http_head *head)
{
    const weir_http1_span *path = &head->path;
    if (!wi_http2_token_ok(head->method) || is(head->method, TEXT("CONNECT")))
        return WEIR_EINVAL;
    if (path->len == 0 || (path->at[0] != '/' && !is(*path, TEXT("*"))))
        return WEIR_EINVAL;
    for (size_t i = 0; i < path->len; i++)
        if ((unsigned char)path->at[i] <= ' ' || path->at[i] == 0x7f)
            return WEIR_EINVAL;
    if (!is(head->scheme, TEXT("http")) && !is(head->scheme, TEXT("https")))
        return WEIR_EINVAL;
    if (head->authority.len == 0 || !wi_http2_value_ok(head->authority))
        return WEIR_EINVAL;
    return WEIR_OK;
}

/* Of a response: 200…599. */
static weir_http1_span status_text(unsigned status, char digits[3])
{
    digits[0] = (char)('0' + status / 100);
    digits[1] = (char)('0' + status / 10 % 10);
    digits[2] = (char)('0' + status % 10);
    return (weir_http1_span){ digits, 3 };
}

/* The decimal digits of `n`, at the end of `digits`. */
static weir_http1_span decimal(uint64_t n, char digits[20])
{
    size_t at = 20;
    do {
        digits[--at] = (char)('0' + n % 10);
        n /= 10;
    } while (n > 0);
    return (weir_http1_span){ digits + at, 20 - at };
}

/* Of a field whose name is a literal of ours. */
static nghttp2_nv nv_said(const char *name, size_t name_len, weir_http1_span value)
{
    nghttp2_nv nv = nv_of(name, name_len, value);
    nv.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    return nv;
}

static nghttp2_nv status_nv(unsigned status, char *digits)
{
    static const weir_http1_span ok = { TEXT("200") };
    if (status != 200)
        return nv_said(TEXT(":status"), status_text(status, digits));
    nghttp2_nv nv = nv_said(TEXT(":status"), ok);
    nv.flags |= NGHTTP2_NV_FLAG_NO_COPY_VALUE;
    return nv;
}

size_t wi_http2_head_nv(const weir_http_head *head, bool is_request, nghttp2_nv *nv, char *digits)
{
    size_t n = 0;
    if (is_request) {
        nv[n++] = nv_said(TEXT(":method"), head->method);
        nv[n++] = nv_said(TEXT(":scheme"), head->scheme);
        nv[n++] = nv_said(TEXT(":authority"), head->authority);
        nv[n++] = nv_said(TEXT(":path"), head->path);
    } else {
        nv[n++] = status_nv(head->status, digits);
    }
    bool known_length = head->content_length != UINT64_MAX;
    if (known_length && (!head->ends || head->content_length > 0))
        nv[n++] = nv_said(TEXT("content-length"), decimal(head->content_length, digits + 20));
    if (!wi_http2_fields_nv(head->fields, head->field_count, nv + n))
        return 0;
    return n + head->field_count;
}
