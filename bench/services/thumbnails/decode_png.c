/* PNG by libpng, row by row; interlaced images too, pass by pass, without ever having all of it. */
#include "codec.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

enum { CHUNKS_MAX = 64, CHUNK_BYTES_MAX = 1024 * 1024 };

typedef struct reader {
    png_structp png;
    png_infop info;
    codec *codec;
} reader;

static void on_error(png_structp png, png_const_charp text)
{
    codec *c = png_get_error_ptr(png);
    if (c->status == 0)
        codec_refuse(c, 422, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep to, size_t n)
{
    codec *c = png_get_io_ptr(png);
    if (n > c->in_bytes - c->in_at) {
        codec_refuse(c, 422, "it is cut off");
        png_error(png, "cut off");
    }
    memcpy(to, c->in + c->in_at, n);
    c->in_at += n;
}

/* The size stands at a fixed place: signature, length, "IHDR", width, height. */
static bool header_is_fine(codec *c)
{
    const uint8_t *at = c->in + 16;
    if (c->in_bytes < 33 || memcmp(c->in + 12, "IHDR", 4) != 0)
        return codec_refuse(c, 422, "it has no header");
    return codec_size_is_fine(
        c, (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3],
        (uint32_t)at[4] << 24 | (uint32_t)at[5] << 16 | (uint32_t)at[6] << 8 | at[7]);
}

/* Eight bits of red, green and blue, and of alpha if there is any. */
static void convert(reader *r)
{
    png_byte type = png_get_color_type(r->png, r->info);
    bool has_alpha = (type & PNG_COLOR_MASK_ALPHA) != 0 ||
                     png_get_valid(r->png, r->info, PNG_INFO_tRNS) != 0;
    png_set_expand(r->png);
    png_set_scale_16(r->png);
    if ((type & PNG_COLOR_MASK_COLOR) == 0)
        png_set_gray_to_rgb(r->png);
    r->codec->channels = has_alpha ? 4 : 3;
}

/* The seven passes of Adam7 come one after the other, each an image of its own. */
static void read_interlaced(reader *r)
{
    codec *c = r->codec;
    for (int pass = 0; pass < PNG_INTERLACE_ADAM7_PASSES; pass++) {
        uint32_t columns = PNG_PASS_COLS(c->width, pass), rows = PNG_PASS_ROWS(c->height, pass);
        for (uint32_t row = 0; columns != 0 && row < rows; row++) {
            uint32_t y = PNG_ROW_FROM_PASS_ROW(row, pass);
            png_read_row(r->png, c->line, NULL);
            for (uint32_t i = 0; i < columns; i++)
                shrink_pixel(&c->shrink, PNG_COL_FROM_PASS_COL(i, pass), y,
                             c->line + (size_t)i * c->channels);
        }
    }
}

static bool decode(reader *r)
{
    codec *c = r->codec;
    png_set_read_fn(r->png, c, on_read);
    png_set_user_limits(r->png, CODEC_SIDE_MAX, CODEC_SIDE_MAX);
    png_set_chunk_cache_max(r->png, CHUNKS_MAX);
    png_set_chunk_malloc_max(r->png, CHUNK_BYTES_MAX);
    png_read_info(r->png, r->info);
    c->width = png_get_image_width(r->png, r->info);
    c->height = png_get_image_height(r->png, r->info);
    convert(r);
    png_read_update_info(r->png, r->info);
    size_t line_bytes = png_get_rowbytes(r->png, r->info);
    if (line_bytes != (size_t)c->width * c->channels)
        return codec_refuse(c, 422, "its rows are of no known kind");
    if (!codec_begin(c, c->width, c->height, line_bytes))
        return false;
    if (png_get_interlace_type(r->png, r->info) != PNG_INTERLACE_NONE) {
        read_interlaced(r);
        return true;
    }
    for (uint32_t y = 0; y < c->height; y++) {
        png_read_row(r->png, c->line, NULL);
        shrink_row(&c->shrink, y, c->line);
    }
    return true;
}

bool codec_decode_png(codec *c)
{
    reader *r = header_is_fine(c) ? calloc(1, sizeof *r) : NULL;
    if (r == NULL)
        return c->status != 0 ? false : codec_refuse(c, 413, "there is no memory for it");
    r->codec = c;
    r->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, c, on_error, on_warning);
    r->info = r->png != NULL ? png_create_info_struct(r->png) : NULL;
    bool ok = false;
    if (r->info == NULL)
        codec_refuse(c, 413, "there is no memory for it");
    else if (setjmp(png_jmpbuf(r->png)) == 0)
        ok = decode(r);
    png_destroy_read_struct(&r->png, &r->info, NULL);
    free(r);
    return ok && c->status == 0;
}
