/* Pictures, encoded row by row. */
#include "picture.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

typedef struct painter {
    uint32_t width, height, noise, channels;
    uint32_t random;
    uint8_t *row;
} painter;

static uint8_t shade(painter *p, bool is_on, uint32_t x)
{
    uint32_t value = is_on ? 240 - 60 * x / p->width : 16;
    if (p->noise == 0)
        return (uint8_t)value;
    p->random = p->random * 1664525u + 1013904223u;
    return (uint8_t)(value - p->noise / 2 + (p->random >> 16) % p->noise);
}

static void paint(painter *p, uint32_t y)
{
    bool is_low = y >= p->height / 2;
    uint8_t *at = p->row;
    for (uint32_t x = 0; x < p->width; x++) {
        bool is_right = x >= p->width / 2;
        *at++ = shade(p, is_low == is_right, x);
        *at++ = shade(p, is_right, x);
        *at++ = shade(p, is_low && !is_right, x);
        if (p->channels == 4)
            *at++ = is_right ? 0 : 255;
    }
}

static uint8_t *make_jpeg(painter *p, bool is_progressive, size_t *ret_bytes)
{
    struct jpeg_compress_struct e;
    struct jpeg_error_mgr errors;
    unsigned char *bytes = NULL;
    unsigned long n = 0;
    e.err = jpeg_std_error(&errors); /* ends the program for want of memory */
    jpeg_create_compress(&e);
    jpeg_mem_dest(&e, &bytes, &n);
    e.image_width = p->width;
    e.image_height = p->height;
    e.input_components = 3;
    e.in_color_space = JCS_RGB;
    jpeg_set_defaults(&e);
    jpeg_set_quality(&e, 90, TRUE);
    if (is_progressive)
        jpeg_simple_progression(&e);
    jpeg_start_compress(&e, TRUE);
    while (e.next_scanline < p->height) {
        paint(p, e.next_scanline);
        jpeg_write_scanlines(&e, &p->row, 1);
    }
    jpeg_finish_compress(&e);
    jpeg_destroy_compress(&e);
    *ret_bytes = n;
    return bytes;
}

typedef struct growing {
    uint8_t *bytes;
    size_t n, cap;
} growing;

static void on_write(png_structp png, png_bytep bytes, size_t n)
{
    growing *g = png_get_io_ptr(png);
    if (g->n + n > g->cap) {
        size_t cap = 2 * (g->n + n) + 65536;
        uint8_t *grown = realloc(g->bytes, cap);
        if (grown == NULL)
            png_error(png, "no memory");
        g->bytes = grown;
        g->cap = cap;
    }
    memcpy(g->bytes + g->n, bytes, n);
    g->n += n;
}

static void on_flush(png_structp png)
{
    (void)png;
}

static void write_png(png_structp png, png_infop info, painter *p, bool is_interlaced)
{
    png_set_compression_level(png, 1);
    png_set_IHDR(png, info, p->width, p->height, 8,
                 p->channels == 4 ? PNG_COLOR_TYPE_RGBA : PNG_COLOR_TYPE_RGB,
                 is_interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int passes = png_set_interlace_handling(png); passes > 0; passes--)
        for (uint32_t y = 0; y < p->height; y++) {
            paint(p, y);
            png_write_row(png, p->row);
        }
    png_write_end(png, info);
}

static uint8_t *make_png(painter *p, bool is_interlaced, size_t *ret_bytes)
{
    growing *g = calloc(1, sizeof *g);
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png != NULL ? png_create_info_struct(png) : NULL;
    uint8_t *bytes = NULL;
    if (g != NULL && info != NULL && setjmp(png_jmpbuf(png)) == 0) {
        png_set_write_fn(png, g, on_write, on_flush);
        write_png(png, info, p, is_interlaced);
    }
    png_destroy_write_struct(&png, &info);
    if (g != NULL) {
        bytes = g->bytes;
        *ret_bytes = g->n;
    }
    free(g);
    return bytes;
}

uint8_t *picture_make(picture_kind kind, uint32_t width, uint32_t height, uint32_t noise,
                      size_t *ret_bytes)
{
    painter p = { .width = width, .height = height, .noise = noise, .random = 7 };
    p.channels = kind == PICTURE_ALPHA ? 4 : 3;
    p.row = malloc((size_t)width * p.channels);
    uint8_t *bytes = NULL;
    if (p.row != NULL)
        bytes = kind <= PICTURE_PROGRESSIVE ? make_jpeg(&p, kind == PICTURE_PROGRESSIVE, ret_bytes)
                                            : make_png(&p, kind == PICTURE_INTERLACED, ret_bytes);
    free(p.row);
    return bytes;
}
