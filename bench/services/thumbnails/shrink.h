/* Making an image smaller: every pixel of the result is the mean of the area it covers.
 *
 * The pixels of the source come in any order, row by row or one by one, so that no more of it than
 * a row is ever in memory, interlaced or not. The arithmetic is exact: a source pixel is dw by dh
 * parts, a result pixel sw by sh. */
#ifndef THUMBNAILS_SHRINK_H
#define THUMBNAILS_SHRINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SHRINK_SIDE_MAX = 32767 }; /* so that the weighted sums of a row fit 32 bits */

typedef struct shrink {
    uint32_t sw, sh, dw, dh, channels; /* 3: RGB, 4: RGB and alpha */
    uint32_t *row;
    uint64_t *sums;
} shrink;

/* The largest size with the same shape whose sides are at most `side`, never larger than it is. */
void shrink_fit(uint32_t sw, uint32_t sh, uint32_t side, uint32_t *ret_dw, uint32_t *ret_dh);
/* Needs 1 <= dw <= sw <= SHRINK_SIDE_MAX, and likewise for the heights. False: no memory. */
bool shrink_init(shrink *s, uint32_t sw, uint32_t sh, uint32_t dw, uint32_t dh, uint32_t channels);
void shrink_done(shrink *s);
/* Row `y`: sw pixels. */
void shrink_row(shrink *s, uint32_t y, const uint8_t *pixels);
/* The pixel at x, y. */
void shrink_pixel(shrink *s, uint32_t x, uint32_t y, const uint8_t *pixel);
/* Writes dw x dh pixels. */
void shrink_finish(const shrink *s, uint8_t *ret_pixels);

#endif
