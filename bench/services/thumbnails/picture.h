/* Pictures to make thumbnails of, for the demo and the tests. */
#ifndef THUMBNAILS_PICTURE_H
#define THUMBNAILS_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum picture_kind {
    PICTURE_JPEG,
    PICTURE_PROGRESSIVE,
    PICTURE_PNG,
    PICTURE_INTERLACED,
    PICTURE_ALPHA, /* a PNG with transparency: its right half is clear */
} picture_kind;

/* Encodes red, green, blue and yellow quarters (from the left top, by rows) that grow darker to
 * the right, with noise of up to `noise` steps. Gives bytes to free(); NULL for want of memory. */
uint8_t *picture_make(picture_kind kind, uint32_t width, uint32_t height, uint32_t noise,
                      size_t *ret_bytes);

#endif
