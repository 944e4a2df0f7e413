/* Messages out of the bytes that come: envelopes, base64, or all of the body. */
#include "rpc_wire_internal.h"
#include "wi_base64.h"

#define PREFIX_BYTES     ((size_t)5)

#define PACKED_FLAG      0x01u
#define CONNECT_END_FLAG 0x02u
#define WEB_END_FLAG     0x80u

static uint32_t end_flag(const weir_rpc_wire *wire)
{
    if (!wire->is_client || wire->protocol == WEIR_RPC_GRPC)
        return 0;
    return wire->protocol == WEIR_RPC_CONNECT ? CONNECT_END_FLAG : WEB_END_FLAG;
}

/* Judges an envelope by its first five bytes. */
static weir_status open_envelope(weir_rpc_wire *wire, const char *prefix)
{
    const unsigned char *p = (const unsigned char *)prefix;
    uint32_t flags = p[0], last = end_flag(wire);
    uint32_t len = (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | p[4];
    wire->marks &= ~(WI_RPC_PACKED | WI_RPC_LAST);
    if ((flags & ~(PACKED_FLAG | last)) != 0)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "unknown flags of an envelope");
    if ((flags & PACKED_FLAG) != 0) {
        if (!wire->gzip_in)
            return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL,
                               "a compressed message, but no compression was agreed on");
        wire->marks |= WI_RPC_PACKED;
    }
    if ((flags & last) != 0)
        wire->marks |= WI_RPC_LAST;
    else if (wire->count > 0 && wi_rpc_takes_one(wire))
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_UNIMPLEMENTED,
                           "more than one message where there must be one");
    if (len > wire->limits.message_bytes_max)
        return wi_rpc_fail(wire, WEIR_ELIMIT, WEIR_RPC_RESOURCE_EXHAUSTED,
                           "a message is larger than may be received");
    wire->need = len;
    return WEIR_OK;
}

/* A message is whole. */
static weir_status deliver(weir_rpc_wire *wire, weir_http1_span bytes, weir_http1_span *ret_message)
{
    wire->state = WI_RPC_PREFIX;
    if (bytes.at == NULL)
        bytes.at = "";
    if ((wire->marks & WI_RPC_PACKED) != 0 && bytes.len > 0) {
        weir_status status = wi_rpc_inflate(wire, bytes, &bytes);
        if (status != WEIR_OK)
            return status;
    }
    wire->count += wire->count < UINT32_MAX;
    *ret_message = bytes;
    return WEIR_OK;
}

static weir_status collect(weir_rpc_wire *wire, const char *bytes, size_t n)
{
    if (weir_bytes_append(&wire->partial, bytes, n) != WEIR_OK)
        return wi_rpc_no_memory(wire);
    wire->need -= (uint32_t)n;
    return WEIR_OK;
}

/* The prefix, as far as it came. WEIR_EPARTIAL: not all of it. */
static weir_status feed_prefix(weir_rpc_wire *wire, const char **at, const char *end)
{
    const char *prefix = *at;
    size_t left = (size_t)(end - *at);
    if (wire->have > 0 || left < PREFIX_BYTES) {
        size_t take = PREFIX_BYTES - wire->have < left ? PREFIX_BYTES - wire->have : left;
        memcpy(wire->prefix + wire->have, *at, take);
        wire->have = (uint8_t)(wire->have + take);
        *at += take;
        if (wire->have < PREFIX_BYTES)
            return WEIR_EPARTIAL;
        prefix = wire->prefix;
    } else {
        *at += PREFIX_BYTES;
    }
    wire->have = 0;
    wire->partial.len = 0;
    wire->state = WI_RPC_BODY;
    return open_envelope(wire, prefix);
}

static weir_status feed_envelopes(weir_rpc_wire *wire, const char *bytes, size_t n,
                                  size_t *ret_consumed, weir_http1_span *ret_message)
{
    const char *at = bytes, *end = bytes + n;
    weir_status status = WEIR_EPARTIAL;
    *ret_consumed = n;
    if (n > 0 && wire->state == WI_RPC_ENDED)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "data behind the end");
    if (n > 0 && wire->state == WI_RPC_PREFIX) {
        status = feed_prefix(wire, &at, end);
        if (status != WEIR_OK)
            return status;
        bool is_last = (wire->marks & WI_RPC_LAST) != 0;
        if (!is_last && wire->need <= (size_t)(end - at)) {
            *ret_consumed = (size_t)(at - bytes) + wire->need;
            return deliver(wire, (weir_http1_span){ at, wire->need }, ret_message);
        }
    }
    if (wire->state != WI_RPC_BODY)
        return status;
    size_t take = (size_t)(end - at) < wire->need ? (size_t)(end - at) : wire->need;
    if (take > 0 && (status = collect(wire, at, take)) != WEIR_OK)
        return status;
    at += take;
    if (wire->need > 0)
        return WEIR_EPARTIAL;
    if ((wire->marks & WI_RPC_LAST) != 0) {
        wire->state = WI_RPC_ENDED;
        if (at < end)
            return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "data behind the end");
        return WEIR_EPARTIAL;
    }
    *ret_consumed = (size_t)(at - bytes);
    return deliver(wire, (weir_http1_span){ wire->partial.at, wire->partial.len }, ret_message);
}

/* Many groups at once, where all of them are inside a message. */
static weir_status collect_groups(weir_rpc_wire *wire, const char *bytes, size_t n, size_t *at)
{
    size_t groups = (wire->need - 1) / 3, left = (n - *at) / 4;
    if (wire->state != WI_RPC_BODY || wire->need < 4 || wire->quads != 0)
        return WEIR_OK;
    groups = groups < left ? groups : left;
    if (weir_bytes_reserve(&wire->partial, groups * 3) != WEIR_OK)
        return wi_rpc_no_memory(wire);
    if (groups == 0)
        return WEIR_OK;
    groups = wi_base64_groups(bytes + *at, groups, wire->partial.at + wire->partial.len);
    wire->partial.len += groups * 3;
    wire->need -= (uint32_t)groups * 3;
    *at += groups * 4;
    return WEIR_OK;
}

static weir_status decode_quad(weir_rpc_wire *wire)
{
    size_t len;
    wire->quads = 0;
    if (!wi_base64_decode(wire->quad, sizeof wire->quad, 0, wire->decoded, &len))
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "malformed base64");
    wire->decoded_at = 0;
    wire->decoded_n = (uint8_t)len;
    return WEIR_OK;
}

/* Base64, of which every group of four may be the last of a padded piece. */
static weir_status feed_text(weir_rpc_wire *wire, const char *bytes, size_t n, size_t *ret_consumed,
                             weir_http1_span *ret_message)
{
    size_t at = 0;
    *ret_consumed = n;
    for (;;) {
        weir_status status;
        if (wire->decoded_at < wire->decoded_n) {
            size_t used;
            status = feed_envelopes(wire, wire->decoded + wire->decoded_at,
                                    (size_t)wire->decoded_n - wire->decoded_at, &used, ret_message);
            wire->decoded_at = (uint8_t)(wire->decoded_at + used);
            if (status == WEIR_OK)
                *ret_consumed = at;
            if (status != WEIR_EPARTIAL)
                return status;
        }
        status = collect_groups(wire, bytes, n, &at);
        if (status != WEIR_OK)
            return status;
        while (at < n && wire->quads < sizeof wire->quad)
            wire->quad[wire->quads++] = bytes[at++];
        if (wire->quads < sizeof wire->quad)
            return WEIR_EPARTIAL;
        status = decode_quad(wire);
        if (status != WEIR_OK)
            return status;
    }
}

/* Connect's unary calls: the body is the message, or the error. */
static weir_status feed_whole(weir_rpc_wire *wire, const char *bytes, size_t n,
                              size_t *ret_consumed, weir_http1_span *ret_message)
{
    bool is_error = (wire->marks & WI_RPC_ERROR_BODY) != 0;
    *ret_consumed = n;
    if (n == 0)
        return WEIR_EPARTIAL;
    if (wire->is_get && !wire->is_client)
        return wi_rpc_fail(wire, WEIR_EINVAL, WEIR_RPC_INVALID_ARGUMENT, "a GET with a body");
    if (wire->count > 0)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "data behind the end");
    if (n > wire->limits.message_bytes_max ||
        wire->partial.len > wire->limits.message_bytes_max - n) {
        if (!is_error)
            return wi_rpc_fail(wire, WEIR_ELIMIT, WEIR_RPC_RESOURCE_EXHAUSTED,
                               "a message is larger than may be received");
        wire->marks |= WI_RPC_ERROR_CUT;
    }
    if ((wire->marks & WI_RPC_ERROR_CUT) != 0)
        return WEIR_EPARTIAL;
    if (!is_error && n == wire->content_length) {
        wire->marks |= wire->gzip_in ? WI_RPC_PACKED : 0;
        return deliver(wire, (weir_http1_span){ bytes, n }, ret_message);
    }
    if (weir_bytes_append(&wire->partial, bytes, n) != WEIR_OK)
        return wi_rpc_no_memory(wire);
    return WEIR_EPARTIAL;
}

bool weir_rpc_wire_is_amid(const weir_rpc_wire *wire)
{
    if (!wire->is_stream)
        return wire->count == 0 && wire->partial.len > 0;
    return wire->have > 0 || wire->state == WI_RPC_BODY || wire->quads > 0;
}

weir_status weir_rpc_wire_feed(weir_rpc_wire *wire, const char *bytes, size_t n,
                               size_t *ret_consumed, weir_http1_span *ret_message)
{
    weir_status status = wire->failed;
    if (status != WEIR_OK) {
        *ret_consumed = n;
        return status;
    }
    if (n > 0)
        wire->marks |= WI_RPC_GOT_BYTES;
    status = !wire->is_stream ? feed_whole(wire, bytes, n, ret_consumed, ret_message)
             : wire->is_text  ? feed_text(wire, bytes, n, ret_consumed, ret_message)
                              : feed_envelopes(wire, bytes, n, ret_consumed, ret_message);
    if (status != WEIR_OK)
        *ret_consumed = n;
    return status;
}
