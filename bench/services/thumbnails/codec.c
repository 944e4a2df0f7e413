/* The work of a worker: looks at the header, decodes while shrinking, turns, encodes. */
#include "codec.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int codec_format_of(const void *bytes, size_t n)
{
    if (n >= 3 && memcmp(bytes, "\xff\xd8\xff", 3) == 0)
        return CODEC_JPEG;
    return n >= 8 && memcmp(bytes, "\x89PNG\r\n\x1a\n", 8) == 0 ? CODEC_PNG : 0;
}

bool codec_refuse(codec *c, unsigned status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(c->why, sizeof c->why, format, args);
    va_end(args);
    c->status = (uint16_t)status;
    return false;
}

bool codec_size_is_fine(codec *c, uint64_t width, uint64_t height)
{
    if (width == 0 || height == 0)
        return codec_refuse(c, 422, "it has no pixels");
    if (width > CODEC_SIDE_MAX || height > CODEC_SIDE_MAX)
        return codec_refuse(c, 413, "%llu x %llu: a side is longer than %d",
                            (unsigned long long)width, (unsigned long long)height, CODEC_SIDE_MAX);
    if (width * height > CODEC_PIXELS_MAX)
        return codec_refuse(c, 413, "%llu x %llu: more than %d pixels", (unsigned long long)width,
                            (unsigned long long)height, CODEC_PIXELS_MAX);
    return true;
}

bool codec_begin(codec *c, uint32_t width, uint32_t height, size_t line_bytes)
{
    uint32_t dw, dh;
    shrink_fit(c->width, c->height, c->config->side, &dw, &dh);
    dw = dw < width ? dw : width;
    dh = dh < height ? dh : height;
    c->line = malloc(line_bytes);
    if (c->line == NULL || !shrink_init(&c->shrink, width, height, dw, dh, c->channels))
        return codec_refuse(c, 413, "there is no memory for it");
    return true;
}

/* ---- Turning ---- */

/* Where pixel x, y of the turned image comes from (EXIF 2.32, tag 0x0112). */
static size_t source_of(const shrink *s, unsigned orientation, uint32_t x, uint32_t y)
{
    uint32_t right = s->dw - 1, bottom = s->dh - 1;
    switch (orientation) {
    case 2:
        return (size_t)y * s->dw + (right - x);
    case 3:
        return (size_t)(bottom - y) * s->dw + (right - x);
    case 4:
        return (size_t)(bottom - y) * s->dw + x;
    case 5:
        return (size_t)x * s->dw + y;
    case 6:
        return (size_t)(bottom - x) * s->dw + y;
    case 7:
        return (size_t)(bottom - x) * s->dw + (right - y);
    case 8:
        return (size_t)x * s->dw + (right - y);
    default:
        return (size_t)y * s->dw + x;
    }
}

static bool turn(codec *c, uint32_t *ret_width, uint32_t *ret_height)
{
    const shrink *s = &c->shrink;
    size_t n = s->channels, all = (size_t)s->dw * s->dh * n;
    bool swaps = c->orientation >= 5;
    *ret_width = swaps ? s->dh : s->dw;
    *ret_height = swaps ? s->dw : s->dh;
    c->pixels = malloc(all);
    uint8_t *plain = c->orientation > 1 ? malloc(all) : c->pixels;
    if (c->pixels == NULL || plain == NULL) {
        if (plain != c->pixels)
            free(plain);
        return codec_refuse(c, 413, "there is no memory for it");
    }
    shrink_finish(s, plain);
    if (plain == c->pixels)
        return true;
    for (uint32_t y = 0; y < *ret_height; y++)
        for (uint32_t x = 0; x < *ret_width; x++)
            memcpy(c->pixels + ((size_t)y * *ret_width + x) * n,
                   plain + source_of(s, c->orientation, x, y) * n, n);
    free(plain);
    return true;
}

/* ---- The work ---- */

static weir_status refused(const codec *c, weir_isolate_output *out)
{
    codec_head head = { .status = c->status };
    weir_isolate_rewind(out);
    weir_status status = weir_isolate_write(out, &head, sizeof head);
    return status == WEIR_OK ? weir_isolate_write(out, c->why, strlen(c->why)) : status;
}

static bool make(codec *c, weir_isolate_output *out)
{
    uint32_t width, height;
    int format = codec_format_of(c->in, c->in_bytes);
    if (format == 0)
        return codec_refuse(c, 415, "neither JPEG nor PNG");
    if (!(format == CODEC_JPEG ? codec_decode_jpeg(c) : codec_decode_png(c)) ||
        !turn(c, &width, &height))
        return false;
    codec_head head = { .status = 200,
                        .format = c->channels == 4 ? CODEC_PNG : CODEC_JPEG,
                        .width = (uint16_t)width,
                        .height = (uint16_t)height };
    weir_status status = weir_isolate_write(out, &head, sizeof head);
    if (status == WEIR_OK)
        status = codec_encode(c, width, height, out);
    return status == WEIR_OK || codec_refuse(c, 413, "its thumbnail needs too many bytes");
}

weir_status codec_run(const void *in, size_t in_bytes, weir_isolate_output *out, void *user)
{
    codec c = { .config = user, .in = in, .in_bytes = in_bytes, .orientation = 1 };
    weir_status status = make(&c, out) ? WEIR_OK : refused(&c, out);
    shrink_done(&c.shrink);
    free(c.line);
    free(c.pixels);
    return status;
}
