/* Messages on their way out: envelopes, compression, base64. */
#include "rpc_wire_internal.h"
#include "wi_base64.h"

#define PREFIX_BYTES (size_t)5

weir_status wi_rpc_close_envelope(weir_rpc_wire *wire, weir_bytes *out, size_t mark,
                                  unsigned char flags)
{
    size_t n = out->len - mark - PREFIX_BYTES;
    unsigned char *prefix = (unsigned char *)out->at + mark;
    if (n > UINT32_MAX)
        return WEIR_ELIMIT;
    prefix[0] = flags;
    prefix[1] = (unsigned char)(n >> 24);
    prefix[2] = (unsigned char)(n >> 16);
    prefix[3] = (unsigned char)(n >> 8);
    prefix[4] = (unsigned char)n;
    if (!wire->is_text)
        return WEIR_OK;
    size_t plain = n + PREFIX_BYTES, encoded = wi_base64_encoded_max(plain);
    weir_status status = weir_bytes_reserve(out, encoded - plain);
    if (status != WEIR_OK)
        return status;
    (void)wi_base64_encode(out->at + mark, plain, 0, out->at + mark);
    out->len = mark + encoded;
    return WEIR_OK;
}

weir_status weir_rpc_wire_message_end(weir_rpc_wire *wire, weir_bytes *out, size_t mark)
{
    size_t skip = wire->is_stream ? PREFIX_BYTES : 0, n = out->len - mark - skip;
    if (n > wire->limits.message_send_bytes_max)
        return WEIR_ELIMIT;
    if (!wire->is_stream)
        return WEIR_OK; /* compressed when its head is made */
    if (!wire->gzip_out || n < wire->limits.gzip_bytes_min)
        return wi_rpc_close_envelope(wire, out, mark, 0);
    weir_http1_span packed;
    char *at = out->at + mark + skip;
    weir_status status = wi_rpc_gzip_deflate(wire->gzip, at, n, &packed);
    if (status != WEIR_OK)
        return status;
    if (packed.len >= n)
        return wi_rpc_close_envelope(wire, out, mark, 0);
    memcpy(at, packed.at, packed.len);
    out->len = mark + skip + packed.len;
    return wi_rpc_close_envelope(wire, out, mark, 1);
}
