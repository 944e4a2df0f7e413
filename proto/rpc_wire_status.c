/* google.rpc.Status as protobuf: a code, a text, and details, each a google.protobuf.Any.
 * https://protobuf.dev/programming-guides/encoding/ */
#include "rpc_wire_internal.h"

#define TYPE_PREFIX   "type.googleapis.com/"
#define CODE_TAG      (1 << 3 | 0)
#define TEXT_TAG      (2 << 3 | 2)
#define DETAIL_TAG    (3 << 3 | 2)
#define ANY_URL_TAG   (1 << 3 | 2)
#define ANY_VALUE_TAG (2 << 3 | 2)
#define DETAILS_MAX   256

static size_t varint_bytes(uint64_t value)
{
    size_t n = 1;
    while (value >= 0x80)
        value >>= 7, n++;
    return n;
}

static char *put_varint(char *to, uint64_t value)
{
    while (value >= 0x80) {
        *to++ = (char)(value | 0x80);
        value >>= 7;
    }
    *to++ = (char)value;
    return to;
}

static char *put_bytes(char *to, char tag, const void *bytes, size_t n)
{
    *to++ = tag;
    to = put_varint(to, n);
    if (n > 0)
        memcpy(to, bytes, n);
    return to + n;
}

static size_t url_bytes(const weir_rpc_detail *detail)
{
    return sizeof TYPE_PREFIX - 1 + detail->type.len;
}

static size_t any_bytes(const weir_rpc_detail *detail)
{
    size_t url = url_bytes(detail);
    return 1 + varint_bytes(url) + url + 1 + varint_bytes(detail->n) + detail->n;
}

static char *put_any(char *to, const weir_rpc_detail *detail)
{
    *to++ = DETAIL_TAG;
    to = put_varint(to, any_bytes(detail));
    *to++ = ANY_URL_TAG;
    to = put_varint(to, url_bytes(detail));
    memcpy(to, TYPE_PREFIX, sizeof TYPE_PREFIX - 1);
    to += sizeof TYPE_PREFIX - 1;
    if (detail->type.len > 0)
        memcpy(to, detail->type.at, detail->type.len);
    return put_bytes(to + detail->type.len, ANY_VALUE_TAG, detail->value, detail->n);
}

weir_status wi_rpc_status_pack(const weir_rpc_error *error, weir_arena *arena,
                               weir_http1_span *ret_packed)
{
    weir_http1_span text;
    weir_status status = wi_rpc_utf8(error->text, arena, &text);
    if (status != WEIR_OK)
        return status;
    size_t bytes = 2 + 1 + varint_bytes(text.len) + text.len;
    for (size_t i = 0; i < error->detail_count; i++) {
        size_t any = any_bytes(&error->details[i]);
        if (any > UINT32_MAX || bytes > UINT32_MAX)
            return WEIR_ELIMIT;
        bytes += 1 + varint_bytes(any) + any;
    }
    char *at = weir_arena_take(arena, bytes), *to = at;
    if (at == NULL)
        return WEIR_ENOMEM;
    *to++ = CODE_TAG;
    *to++ = (char)(error->code > WEIR_RPC_UNAUTHENTICATED ? WEIR_RPC_UNKNOWN : error->code);
    if (text.len > 0)
        to = put_bytes(to, TEXT_TAG, text.at, text.len);
    for (size_t i = 0; i < error->detail_count; i++)
        to = put_any(to, &error->details[i]);
    *ret_packed = (weir_http1_span){ at, (size_t)(to - at) };
    return WEIR_OK;
}

static bool get_varint(weir_http1_span *from, uint64_t *ret_value)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && from->len > 0; shift += 7) {
        unsigned char c = (unsigned char)*from->at++;
        from->len--;
        value |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

/* The next field: its tag, and its bytes if it has a length; others are skipped but for that. */
static bool get_field(weir_http1_span *from, uint64_t *ret_tag, weir_http1_span *ret_bytes)
{
    uint64_t n;
    *ret_bytes = (weir_http1_span){ from->at, 0 };
    if (!get_varint(from, ret_tag))
        return false;
    switch (*ret_tag & 7) {
    case 0:
        return get_varint(from, &n);
    case 1:
        n = 8;
        break;
    case 2:
        if (!get_varint(from, &n))
            return false;
        break;
    case 5:
        n = 4;
        break;
    default:
        return false;
    }
    if (n > from->len)
        return false;
    *ret_bytes = (weir_http1_span){ from->at, (size_t)n };
    *from = (weir_http1_span){ from->at + n, from->len - (size_t)n };
    return true;
}

static bool get_any(weir_http1_span from, weir_rpc_detail *ret_detail)
{
    uint64_t tag;
    weir_http1_span bytes;
    *ret_detail = (weir_rpc_detail){ .type = { "", 0 }, .value = "" };
    while (from.len > 0) {
        if (!get_field(&from, &tag, &bytes))
            return false;
        if (tag == ANY_URL_TAG) {
            const char *slash = bytes.len > 0 ? memrchr(bytes.at, '/', bytes.len) : NULL;
            size_t skip = slash == NULL ? 0 : (size_t)(slash - bytes.at) + 1;
            ret_detail->type = (weir_http1_span){ bytes.at + skip, bytes.len - skip };
        } else if (tag == ANY_VALUE_TAG) {
            ret_detail->value = bytes.at;
            ret_detail->n = bytes.len;
        }
    }
    return true;
}

static bool count_details(weir_http1_span from, size_t *ret_count)
{
    uint64_t tag;
    weir_http1_span bytes;
    *ret_count = 0;
    while (from.len > 0) {
        if (!get_field(&from, &tag, &bytes))
            return false;
        *ret_count += tag == DETAIL_TAG;
    }
    return *ret_count <= DETAILS_MAX;
}

weir_status wi_rpc_status_unpack(weir_http1_span packed, weir_arena *arena,
                                 weir_rpc_error *ret_error)
{
    size_t count, n = 0;
    weir_rpc_error error = { .code = ret_error->code };
    if (!count_details(packed, &count))
        return WEIR_EPROTO;
    weir_rpc_detail *details = weir_arena_take(arena, count * sizeof *details);
    if (details == NULL)
        return WEIR_ENOMEM;
    uint64_t tag;
    weir_http1_span bytes;
    while (packed.len > 0 && get_field(&packed, &tag, &bytes)) {
        if (tag == TEXT_TAG)
            error.text = bytes;
        if (tag == DETAIL_TAG && !get_any(bytes, &details[n++]))
            return WEIR_EPROTO;
    }
    weir_status status = wi_rpc_utf8(error.text, arena, &error.text);
    if (status != WEIR_OK)
        return status;
    error.details = details;
    error.detail_count = n;
    *ret_error = error;
    return WEIR_OK;
}
