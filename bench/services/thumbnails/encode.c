/* Thumbnails as files: JPEG, or PNG where there is transparency. */
#include "codec.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>
#include <png.h>

enum { QUALITY = 85 };

/* ---- JPEG ---- */

typedef struct writer {
    struct jpeg_compress_struct e; /* first: libjpeg hands it back */
    struct jpeg_error_mgr errors;
    jmp_buf out;
    unsigned char *bytes;
    unsigned long n;
} writer;

static void on_jpeg_error(j_common_ptr e)
{
    longjmp(((writer *)e)->out, 1);
}

static void write_rows(writer *w, const codec *c, uint32_t width, uint32_t height)
{
    jpeg_mem_dest(&w->e, &w->bytes, &w->n);
    w->e.image_width = width;
    w->e.image_height = height;
    w->e.input_components = 3;
    w->e.in_color_space = JCS_RGB;
    jpeg_set_defaults(&w->e);
    jpeg_set_quality(&w->e, QUALITY, TRUE);
    jpeg_start_compress(&w->e, TRUE);
    while (w->e.next_scanline < height) {
        JSAMPROW row = c->pixels + (size_t)w->e.next_scanline * width * 3;
        jpeg_write_scanlines(&w->e, &row, 1);
    }
    jpeg_finish_compress(&w->e);
}

static weir_status encode_jpeg(const codec *c, uint32_t width, uint32_t height,
                               weir_isolate_output *out)
{
    writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        return WEIR_ENOMEM;
    volatile weir_status status = WEIR_ENOMEM;
    w->e.err = jpeg_std_error(&w->errors);
    w->errors.error_exit = on_jpeg_error;
    if (setjmp(w->out) == 0) {
        jpeg_create_compress(&w->e);
        write_rows(w, c, width, height);
        status = weir_isolate_write(out, w->bytes, w->n);
    }
    jpeg_destroy_compress(&w->e);
    free(w->bytes);
    free(w);
    return status;
}

/* ---- PNG ---- */

static void on_png_error(png_structp png, png_const_charp text)
{
    (void)text;
    png_longjmp(png, 1);
}

static void on_write(png_structp png, png_bytep bytes, size_t n)
{
    if (weir_isolate_write(png_get_io_ptr(png), bytes, n) != WEIR_OK)
        png_error(png, "no room");
}

static void on_flush(png_structp png)
{
    (void)png;
}

static void write_png(png_structp png, png_infop info, const codec *c, uint32_t width,
                      uint32_t height)
{
    png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_RGBA, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (uint32_t y = 0; y < height; y++)
        png_write_row(png, c->pixels + (size_t)y * width * 4);
    png_write_end(png, info);
}

static weir_status encode_png(const codec *c, uint32_t width, uint32_t height,
                              weir_isolate_output *out)
{
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, on_png_error, NULL);
    png_infop info = png != NULL ? png_create_info_struct(png) : NULL;
    volatile weir_status status = WEIR_ENOMEM;
    if (info != NULL && setjmp(png_jmpbuf(png)) == 0) {
        png_set_write_fn(png, out, on_write, on_flush);
        write_png(png, info, c, width, height);
        status = WEIR_OK;
    }
    png_destroy_write_struct(&png, &info);
    return status;
}

weir_status codec_encode(codec *c, uint32_t width, uint32_t height, weir_isolate_output *out)
{
    return c->channels == 4 ? encode_png(c, width, height, out)
                            : encode_jpeg(c, width, height, out);
}
