/* Heads, chunk lines and dates on their way out, with nothing in them that could split a message.
 */
#include "http1_internal.h"

/* A buffer that is being filled; once something did not fit, nothing more is written. */
typedef struct out {
    char *p, *end;
    bool full;
} out;

static void put(out *o, const char *bytes, size_t len)
{
    if (len > (size_t)(o->end - o->p))
        o->full = true;
    if (o->full || len == 0)
        return;
    memcpy(o->p, bytes, len);
    o->p += len;
}

#define PUT(o, literal) put(o, literal, sizeof(literal) - 1)

static void put_decimal(out *o, uint64_t value)
{
    char text[20], *p = text + sizeof text;
    do {
        *--p = (char)('0' + value % 10);
    } while ((value /= 10) != 0);
    put(o, p, (size_t)(text + sizeof text - p));
}

static void put_line(out *o, const char *name, size_t name_len, weir_http1_span value)
{
    put(o, name, name_len);
    PUT(o, ": ");
    put(o, value.at, value.len);
    PUT(o, "\r\n");
}

static bool value_ok(weir_http1_span value)
{
    const unsigned char *p = (const unsigned char *)value.at;
    return value.len == 0 || wi_http1_value_end(p, p + value.len) == p + value.len;
}

static bool token_ok(weir_http1_span name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!wi_http1_is((unsigned char)name.at[i], WI_TOKEN))
            return false;
    return name.len > 0;
}

/* Fields that say where a message ends, or what becomes of the connection, are ours to write. */
static bool is_ours(weir_http1_span name)
{
    switch (name.len) {
    case 10:
        return wi_http1_same(name.at, "connection", 10);
    case 14:
        return wi_http1_same(name.at, "content-length", 14);
    case 17:
        return wi_http1_same(name.at, "transfer-encoding", 17);
    default:
        return false;
    }
}

static weir_status put_fields(out *o, const weir_http1_field *fields, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!token_ok(fields[i].name) || is_ours(fields[i].name) || !value_ok(fields[i].value))
            return WEIR_EINVAL;
        put_line(o, fields[i].name.at, fields[i].name.len, fields[i].value);
    }
    return WEIR_OK;
}

static weir_status put_content_type(out *o, weir_http1_span type)
{
    if (type.at == NULL)
        return WEIR_OK;
    if (!value_ok(type))
        return WEIR_EINVAL;
    put_line(o, "Content-Type", 12, type);
    return WEIR_OK;
}

static void put_framing(out *o, weir_http1_framing framing, uint64_t length)
{
    if (framing == WEIR_HTTP1_CHUNKED) {
        PUT(o, "Transfer-Encoding: chunked\r\n");
    } else if (framing == WEIR_HTTP1_LENGTH) {
        PUT(o, "Content-Length: ");
        put_decimal(o, length);
        PUT(o, "\r\n");
    }
}

static void put_connection(out *o, weir_http1_connection connection)
{
    switch (connection) {
    case WEIR_HTTP1_CONNECTION_CLOSE:
        PUT(o, "Connection: close\r\n");
        break;
    case WEIR_HTTP1_CONNECTION_KEEP_ALIVE:
        PUT(o, "Connection: keep-alive\r\n");
        break;
    case WEIR_HTTP1_CONNECTION_UPGRADE:
        PUT(o, "Connection: upgrade\r\n");
        break;
    case WEIR_HTTP1_CONNECTION_DEFAULT:
        break;
    }
}

static void put_status_line(out *o, unsigned status)
{
    const char *reason = weir_http1_reason(status);
    PUT(o, "HTTP/1.1 ");
    put_decimal(o, status);
    PUT(o, " ");
    put(o, reason, strlen(reason));
    PUT(o, "\r\n");
}

static weir_status finish(const out *o, const char *buf, size_t *ret_len)
{
    if (o->full)
        return WEIR_ELIMIT;
    *ret_len = (size_t)(o->p - buf);
    return WEIR_OK;
}

static bool response_ok(const weir_http1_response *r)
{
    bool none = r->status < 200 || r->status == 204; /* RFC 9110 section 8.6, RFC 9112 6.1 */
    bool framed = r->framing == WEIR_HTTP1_LENGTH || r->framing == WEIR_HTTP1_CHUNKED;
    if (r->status < 100 || r->status > 599 || (none && framed))
        return false;
    /* Only the end of the connection ends such a body. */
    return r->framing != WEIR_HTTP1_UNTIL_CLOSE || r->connection == WEIR_HTTP1_CONNECTION_CLOSE;
}

weir_status weir_http1_write_response_head(const weir_http1_response *response, char *buf,
                                           size_t cap, size_t *ret_len)
{
    out o = { buf, buf + cap, false };
    if (!response_ok(response))
        return WEIR_EINVAL;
    put_status_line(&o, response->status);
    if (response->date != NULL)
        put_line(&o, "Date", 4, (weir_http1_span){ response->date, 29 });
    weir_status status = put_content_type(&o, response->content_type);
    if (status == WEIR_OK)
        status = put_fields(&o, response->fields, response->field_count);
    if (status != WEIR_OK)
        return status;
    put_framing(&o, response->framing, response->content_length);
    put_connection(&o, response->connection);
    PUT(&o, "\r\n");
    return finish(&o, buf, ret_len);
}

static bool target_ok(const weir_http1_request *r)
{
    return wi_http1_target_bytes_ok(r->target.at, r->target.len) &&
           wi_http1_target_ok(r->target.at, r->target.len, r->method == WEIR_HTTP1_CONNECT,
                              r->method == WEIR_HTTP1_OPTIONS);
}

static bool request_ok(const weir_http1_request *r)
{
    return weir_http1_method_text(r->method)[0] != '\0' && target_ok(r) &&
           wi_http1_authority_ok(r->host.at, r->host.len, true, false) &&
           r->framing != WEIR_HTTP1_UNTIL_CLOSE;
}

weir_status weir_http1_write_request_head(const weir_http1_request *request, char *buf, size_t cap,
                                          size_t *ret_len)
{
    out o = { buf, buf + cap, false };
    if (!request_ok(request))
        return WEIR_EINVAL;
    const char *method = weir_http1_method_text(request->method);
    put(&o, method, strlen(method));
    PUT(&o, " ");
    put(&o, request->target.at, request->target.len);
    PUT(&o, " HTTP/1.1\r\n");
    put_line(&o, "Host", 4, request->host);
    weir_status status = put_content_type(&o, request->content_type);
    for (size_t i = 0; i < request->field_count && status == WEIR_OK; i++)
        if (weir_http1_span_is(request->fields[i].name, "host"))
            status = WEIR_EINVAL; /* there must be exactly one */
    if (status == WEIR_OK)
        status = put_fields(&o, request->fields, request->field_count);
    if (status != WEIR_OK)
        return status;
    put_framing(&o, request->framing, request->content_length);
    put_connection(&o, request->connection);
    PUT(&o, "\r\n");
    return finish(&o, buf, ret_len);
}

size_t weir_http1_write_chunk_head(uint64_t size, char *buf)
{
    size_t digits = 0;
    if (size == 0)
        return 0;
    for (uint64_t rest = size; rest != 0; rest >>= 4)
        digits++;
    for (size_t i = digits; i-- > 0; size >>= 4)
        buf[i] = "0123456789abcdef"[size & 15];
    buf[digits] = '\r';
    buf[digits + 1] = '\n';
    return digits + 2;
}

weir_status weir_http1_write_trailers(const weir_http1_field *fields, size_t count, char *buf,
                                      size_t cap, size_t *ret_len)
{
    out o = { buf, buf + cap, false };
    PUT(&o, "0\r\n");
    weir_status status = put_fields(&o, fields, count);
    if (status != WEIR_OK)
        return status;
    PUT(&o, "\r\n");
    return finish(&o, buf, ret_len);
}

/* The civil date of a day counted from 1970-01-01, for days that are not before it. */
static void civil(int64_t day, int *ret_year, int *ret_month, int *ret_mday)
{
    int64_t z = day + 719468;       /* days since 0000-03-01 */
    int64_t era = z / 146097;       /* of 400 years */
    int64_t doe = z - era * 146097; /* day of the era */
    int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    int64_t mp = (5 * doy + 2) / 153; /* months since March */
    *ret_mday = (int)(doy - (153 * mp + 2) / 5 + 1);
    *ret_month = (int)(mp < 10 ? mp + 3 : mp - 9);
    *ret_year = (int)(yoe + era * 400 + (*ret_month <= 2));
}

static void two_digits(char *at, int value)
{
    at[0] = (char)('0' + value / 10);
    at[1] = (char)('0' + value % 10);
}

const char *weir_http1_date_at(weir_http1_date *date, int64_t unix_s)
{
    const int64_t last = 253402300799; /* 9999-12-31T23:59:59Z */
    unix_s = unix_s < 0 ? 0 : unix_s > last ? last : unix_s;
    if (date->unix_s == unix_s && date->text[0] != '\0')
        return date->text;
    int year, month, mday;
    int64_t day = unix_s / 86400;
    int second = (int)(unix_s % 86400);
    civil(day, &year, &month, &mday);
    memcpy(date->text, "Thu, 01 Jan 1970 00:00:00 GMT", 30);
    memcpy(date->text, &"ThuFriSatSunMonTueWed"[day % 7 * 3], 3);
    memcpy(date->text + 8, &"JanFebMarAprMayJunJulAugSepOctNovDec"[(month - 1) * 3], 3);
    two_digits(date->text + 5, mday);
    two_digits(date->text + 12, year / 100);
    two_digits(date->text + 14, year % 100);
    two_digits(date->text + 17, second / 3600);
    two_digits(date->text + 20, second / 60 % 60);
    two_digits(date->text + 23, second % 60);
    date->unix_s = unix_s;
    return date->text;
}
