/* What the workers do: an image file in, a thumbnail or a refusal out. */
#ifndef THUMBNAILS_CODEC_H
#define THUMBNAILS_CODEC_H

#include "shrink.h"

#include <weir/isolate.h>

enum {
    CODEC_SIDE_MAX = 30000,
    CODEC_PIXELS_MAX = 50 * 1000 * 1000, /* bounds the time an image takes */
    CODEC_SCANS_MAX = 64,                /* of a progressive JPEG */
    CODEC_WHY_BYTES = 160,
};

typedef enum codec_format { CODEC_JPEG = 'J', CODEC_PNG = 'P' } codec_format;

/* Handed to the workers as they are forked. */
typedef struct codec_config {
    uint32_t side;          /* the thumbnail's longer side */
    uint64_t decoder_bytes; /* what a decoder may need for an image */
} codec_config;

/* What a worker gives: this, then the thumbnail, or, as text, why there is none. */
typedef struct codec_head {
    uint16_t status; /* as of HTTP: 200, 413, 415, 422 */
    uint16_t format;
    uint16_t width, height;
} codec_head;

/* What is being made of an image. */
typedef struct codec {
    const codec_config *config;
    const uint8_t *in;
    size_t in_bytes, in_at;
    uint32_t width, height; /* of the source */
    shrink shrink;
    uint8_t *line;        /* a row of the source */
    uint8_t *pixels;      /* of the thumbnail */
    uint32_t channels;    /* 3 or 4 */
    unsigned orientation; /* as of EXIF: 1..8 */
    uint16_t status;
    char why[CODEC_WHY_BYTES];
} codec;

/* Says why there is no thumbnail; gives false. */
bool codec_refuse(codec *c, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Looks at what the header says, before anything is decoded; false: refused. */
bool codec_size_is_fine(codec *c, uint64_t width, uint64_t height);
/* A bug's or want of memory's: false. */
bool codec_begin(codec *c, uint32_t width, uint32_t height, size_t line_bytes);

/* decode_jpeg.c, decode_png.c: fill c->shrink. False: refused. */
bool codec_decode_jpeg(codec *c);
bool codec_decode_png(codec *c);
/* The orientation that an EXIF segment tells; 1 if it tells none. */
unsigned codec_orientation(const uint8_t *segment, size_t n);

/* encode.c: append c->pixels, dw x dh. */
weir_status codec_encode(codec *c, uint32_t width, uint32_t height, weir_isolate_output *out);

/* The work; user is a codec_config. */
weir_status codec_run(const void *in, size_t in_bytes, weir_isolate_output *out, void *user);
/* What a file begins with: CODEC_JPEG, CODEC_PNG, or 0. */
int codec_format_of(const void *bytes, size_t n);

#endif
