/* A wire's beginning and end, what it tells about itself, and encodings. */
#include "rpc_wire_internal.h"

#define MESSAGE_BYTES_DEFAULT (4 * 1024 * 1024)
#define GZIP_BYTES_DEFAULT    1024
#define FIELDS_DEFAULT        128
#define KEPT_BYTES_MAX        (64 * 1024)

static void keep_small(weir_bytes *buffer, const weir_env *env, size_t max)
{
    if (buffer->cap > KEPT_BYTES_MAX || buffer->env != env)
        weir_bytes_done(buffer);
    buffer->len = 0;
    buffer->env = env;
    buffer->bytes_max = max;
}

void wi_rpc_begin(weir_rpc_wire *wire, const weir_env *env, const weir_rpc_wire_limits *limits,
                  weir_rpc_gzip *gzip, bool is_client)
{
    static const weir_rpc_wire_limits none = { 0 };
    weir_bytes partial = wire->partial, inflated = wire->inflated;
    *wire = (weir_rpc_wire){ .is_client = is_client, .env = env };
    wire->limits = limits == NULL ? none : *limits;
    if (wire->limits.message_bytes_max == 0)
        wire->limits.message_bytes_max = MESSAGE_BYTES_DEFAULT;
    if (wire->limits.message_send_bytes_max == 0)
        wire->limits.message_send_bytes_max = UINT32_MAX;
    if (wire->limits.gzip_bytes_min == 0)
        wire->limits.gzip_bytes_min = GZIP_BYTES_DEFAULT;
    if (wire->limits.fields_max == 0)
        wire->limits.fields_max = FIELDS_DEFAULT;
    wire->gzip = wire->limits.no_gzip ? NULL : gzip;
    wire->content_length = UINT64_MAX;
    wire->error.text.at = "";
    keep_small(&partial, env, wire->limits.message_bytes_max);
    keep_small(&inflated, env, wire->limits.message_bytes_max);
    wire->partial = partial;
    wire->inflated = inflated;
}

void weir_rpc_wire_done(weir_rpc_wire *wire)
{
    weir_bytes_done(&wire->partial);
    weir_bytes_done(&wire->inflated);
}

const weir_rpc_error *weir_rpc_wire_error(const weir_rpc_wire *wire)
{
    return &wire->error;
}

const weir_http1_field *weir_rpc_wire_trailers(const weir_rpc_wire *wire, size_t *ret_count)
{
    *ret_count = wire->trailer_count;
    return wire->trailers;
}

void weir_rpc_wire_broken(weir_rpc_wire *wire, weir_status status, uint32_t h2_code)
{
    if (wire->failed != WEIR_OK || (wire->marks & WI_RPC_OVER) != 0)
        return;
    if (status == WEIR_ECANCELED)
        wi_rpc_fail(wire, status, wi_rpc_code_of_h2(h2_code), "the peer reset the call");
    else if (status == WEIR_EUNAVAILABLE)
        wi_rpc_fail(wire, status, WEIR_RPC_UNAVAILABLE, "the peer did not take the call");
    else if (status == WEIR_ECLOSED)
        wi_rpc_fail(wire, status, WEIR_RPC_UNAVAILABLE, "the connection is gone");
    else
        wi_rpc_fail(wire, status, weir_rpc_code_of(status), weir_status_text(status));
}

/* "gzip;q=0" is a refusal. */
static bool is_refused(weir_http1_span parameters)
{
    const char *q = parameters.len > 0 ? memchr(parameters.at, '=', parameters.len) : NULL;
    if (q == NULL)
        return false;
    for (q++; q < parameters.at + parameters.len; q++) {
        if (*q >= '1' && *q <= '9')
            return false;
    }
    return true;
}

bool wi_rpc_lists_gzip(weir_http1_span value)
{
    while (value.len > 0) {
        const char *comma = memchr(value.at, ',', value.len);
        size_t len = comma == NULL ? value.len : (size_t)(comma - value.at);
        const char *semicolon = memchr(value.at, ';', len);
        size_t bare = semicolon == NULL ? len : (size_t)(semicolon - value.at);
        weir_http1_span name = wi_rpc_trim((weir_http1_span){ value.at, bare });
        if (name.len == 4 && weir_http1_span_is(name, "gzip"))
            return !is_refused((weir_http1_span){ value.at + bare, len - bare });
        len += comma != NULL;
        value = (weir_http1_span){ value.at + len, value.len - len };
    }
    return false;
}

bool wi_rpc_encoding(const weir_rpc_wire *wire, const weir_http1_span *value, bool *ret_gzip)
{
    *ret_gzip = false;
    if (value == NULL || value->len == 0 || weir_http1_span_is(*value, "identity"))
        return true;
    *ret_gzip = weir_http1_span_is(*value, "gzip") && wi_rpc_can_gzip(wire);
    return *ret_gzip;
}

weir_status wi_rpc_inflate(weir_rpc_wire *wire, weir_http1_span packed, weir_http1_span *ret_span)
{
    weir_status status = wi_rpc_gzip_inflate(wire->gzip, packed.at, packed.len, &wire->inflated,
                                             wire->limits.message_bytes_max);
    if (status == WEIR_ENOMEM)
        return wi_rpc_no_memory(wire);
    if (status == WEIR_ELIMIT)
        return wi_rpc_fail(wire, status, WEIR_RPC_RESOURCE_EXHAUSTED,
                           "inflated, a message is larger than may be received");
    if (status != WEIR_OK)
        return wi_rpc_fail(wire, WEIR_EPROTO, WEIR_RPC_INTERNAL, "malformed gzip");
    *ret_span = (weir_http1_span){ wire->inflated.at == NULL ? "" : wire->inflated.at,
                                   wire->inflated.len };
    return WEIR_OK;
}

weir_status wi_rpc_deflate_body(weir_rpc_wire *wire, weir_bytes *body, bool always, bool *ret_done)
{
    weir_http1_span packed;
    weir_status status = wi_rpc_gzip_deflate(wire->gzip, body->len > 0 ? body->at : "", body->len,
                                             &packed);
    *ret_done = false;
    if (status != WEIR_OK || (packed.len >= body->len && !always))
        return status;
    if (packed.len > body->len) {
        status = weir_bytes_reserve(body, packed.len - body->len);
        if (status != WEIR_OK)
            return status;
    }
    memcpy(body->at, packed.at, packed.len);
    body->len = packed.len;
    *ret_done = true;
    return WEIR_OK;
}
