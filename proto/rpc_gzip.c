/* Messages in gzip (RFC 1952), by zlib. */
#include "rpc_wire_internal.h"

#include <stdlib.h>
#include <string.h>

#if WEIR_HAVE_ZLIB
#include <zlib.h>

#define WINDOW_BITS    (15 + 16) /* 16: in gzip's clothes */
#define LEVEL          1
#define MEMORY_LEVEL   8
#define KEPT_BYTES_MAX (256 * 1024)

struct weir_rpc_gzip {
    const weir_env *env;
    bool inflates, deflates; /* the states are there */
    z_stream in, out;
    weir_bytes scratch;
};

static void *zlib_alloc(void *user, uInt items, uInt size)
{
    weir_rpc_gzip *gzip = user;
    if (size != 0 && items > SIZE_MAX / size)
        return NULL;
    return weir_memory_resize(gzip->env, NULL, (size_t)items * size);
}

static void zlib_free(void *user, void *memory)
{
    weir_rpc_gzip *gzip = user;
    weir_memory_free(gzip->env, memory);
}

weir_rpc_gzip *weir_rpc_gzip_new(const weir_env *env)
{
    weir_rpc_gzip *gzip = weir_memory_new(env, sizeof *gzip);
    if (gzip == NULL)
        return NULL;
    gzip->env = env;
    gzip->in = (z_stream){ .zalloc = zlib_alloc, .zfree = zlib_free, .opaque = gzip };
    gzip->out = gzip->in;
    gzip->scratch = (weir_bytes){ .bytes_max = SIZE_MAX, .env = env };
    return gzip;
}

void weir_rpc_gzip_free(weir_rpc_gzip *gzip)
{
    if (gzip == NULL)
        return;
    if (gzip->inflates)
        inflateEnd(&gzip->in);
    if (gzip->deflates)
        deflateEnd(&gzip->out);
    weir_bytes_done(&gzip->scratch);
    weir_memory_free(gzip->env, gzip);
}

static bool start_inflating(weir_rpc_gzip *gzip)
{
    if (gzip->inflates)
        return inflateReset(&gzip->in) == Z_OK;
    gzip->inflates = inflateInit2(&gzip->in, WINDOW_BITS) == Z_OK;
    return gzip->inflates;
}

/* One step, into what room `out` has, at most up to `max`; beyond that into one byte that must stay
 * empty. */
static weir_status inflate_some(z_stream *z, weir_bytes *out, size_t max, int *ret_result)
{
    Bytef beyond = 0;
    size_t room = max - out->len;
    if (room > 0 && out->cap == out->len) {
        weir_status status = weir_bytes_reserve(out, room < 256 ? room : 256);
        if (status != WEIR_OK)
            return status;
    }
    if (room > out->cap - out->len)
        room = out->cap - out->len;
    if (room > UINT32_MAX)
        room = UINT32_MAX;
    z->next_out = room > 0 ? (Bytef *)out->at + out->len : &beyond;
    z->avail_out = room > 0 ? (uInt)room : 1;
    *ret_result = inflate(z, Z_NO_FLUSH);
    if (room == 0)
        return z->avail_out == 0 ? WEIR_ELIMIT : WEIR_OK;
    out->len += room - z->avail_out;
    return WEIR_OK;
}

/* Members may follow one another (RFC 1952 section 2.2); nothing else may. */
weir_status wi_rpc_gzip_inflate(weir_rpc_gzip *gzip, const char *bytes, size_t n, weir_bytes *out,
                                size_t max)
{
    z_stream *z = &gzip->in;
    out->len = 0;
    if (!start_inflating(gzip))
        return WEIR_ENOMEM;
    if (n > UINT32_MAX)
        return WEIR_ELIMIT;
    z->next_in = (Bytef *)(uintptr_t)bytes;
    z->avail_in = (uInt)n;
    for (;;) {
        int result;
        uInt in_before = z->avail_in;
        size_t out_before = out->len;
        weir_status status = inflate_some(z, out, max, &result);
        if (status != WEIR_OK)
            return status;
        if (result == Z_MEM_ERROR)
            return WEIR_ENOMEM;
        if (result == Z_STREAM_END) {
            if (z->avail_in == 0)
                return WEIR_OK;
            if (inflateReset(z) != Z_OK)
                return WEIR_EPROTO;
            continue;
        }
        bool moved = z->avail_in != in_before || out->len != out_before;
        if (result != Z_OK || !moved)
            return WEIR_EPROTO;
    }
}

static bool start_deflating(weir_rpc_gzip *gzip)
{
    if (gzip->deflates)
        return deflateReset(&gzip->out) == Z_OK;
    gzip->deflates = deflateInit2(&gzip->out, LEVEL, Z_DEFLATED, WINDOW_BITS, MEMORY_LEVEL,
                                  Z_DEFAULT_STRATEGY) == Z_OK;
    return gzip->deflates;
}

weir_status wi_rpc_gzip_deflate(weir_rpc_gzip *gzip, const char *bytes, size_t n,
                                weir_http1_span *ret_packed)
{
    z_stream *z = &gzip->out;
    weir_bytes *to = &gzip->scratch;
    if (n > UINT32_MAX / 2)
        return WEIR_ELIMIT;
    if (!start_deflating(gzip))
        return WEIR_ENOMEM;
    if (to->cap > KEPT_BYTES_MAX)
        weir_bytes_done(to);
    to->len = 0;
    weir_status status = weir_bytes_reserve(to, deflateBound(z, (uLong)n));
    if (status != WEIR_OK)
        return status;
    z->next_in = (Bytef *)(uintptr_t)bytes;
    z->avail_in = (uInt)n;
    z->next_out = (Bytef *)to->at;
    z->avail_out = (uInt)(to->cap > UINT32_MAX ? UINT32_MAX : to->cap);
    if (deflate(z, Z_FINISH) != Z_STREAM_END)
        return WEIR_EINTERNAL;
    *ret_packed = (weir_http1_span){ to->at, z->total_out };
    return WEIR_OK;
}

#else

weir_rpc_gzip *weir_rpc_gzip_new(const weir_env *env)
{
    (void)env;
    return NULL;
}

void weir_rpc_gzip_free(weir_rpc_gzip *gzip)
{
    (void)gzip;
}

weir_status wi_rpc_gzip_inflate(weir_rpc_gzip *gzip, const char *bytes, size_t n, weir_bytes *out,
                                size_t max)
{
    (void)gzip, (void)bytes, (void)n, (void)out, (void)max;
    return WEIR_EUNSUPPORTED;
}

weir_status wi_rpc_gzip_deflate(weir_rpc_gzip *gzip, const char *bytes, size_t n,
                                weir_http1_span *ret_packed)
{
    (void)gzip, (void)bytes, (void)n, (void)ret_packed;
    return WEIR_EUNSUPPORTED;
}
#endif
