/* Making an image smaller by area. */
#include "shrink.h"

#include <stdlib.h>
#include <string.h>

void shrink_fit(uint32_t sw, uint32_t sh, uint32_t side, uint32_t *ret_dw, uint32_t *ret_dh)
{
    uint32_t longest = sw > sh ? sw : sh;
    uint64_t dw = sw, dh = sh;
    if (longest > side) {
        dw = ((uint64_t)sw * side + longest / 2) / longest;
        dh = ((uint64_t)sh * side + longest / 2) / longest;
    }
    *ret_dw = dw != 0 ? (uint32_t)dw : 1;
    *ret_dh = dh != 0 ? (uint32_t)dh : 1;
}

bool shrink_init(shrink *s, uint32_t sw, uint32_t sh, uint32_t dw, uint32_t dh, uint32_t channels)
{
    *s = (shrink){ .sw = sw, .sh = sh, .dw = dw, .dh = dh, .channels = channels };
    s->row = calloc((size_t)dw * channels, sizeof *s->row);
    s->sums = calloc((size_t)dw * dh * channels, sizeof *s->sums);
    return s->row != NULL && s->sums != NULL;
}

void shrink_done(shrink *s)
{
    free(s->row);
    free(s->sums);
    s->row = NULL;
    s->sums = NULL;
}

/* Colours count as much as they are opaque. */
static inline void weigh(const uint8_t *pixel, uint32_t channels, uint32_t *ret_values)
{
    for (uint32_t c = 0; c < 3; c++)
        ret_values[c] = channels == 4 ? (pixel[c] * (uint32_t)pixel[3] + 127) / 255 : pixel[c];
    if (channels == 4)
        ret_values[3] = pixel[3];
}

static inline void put(uint32_t *to, const uint32_t *sums, uint32_t channels)
{
    for (uint32_t c = 0; c < channels; c++)
        to[c] = sums[c];
}

/* Inlined with a constant number of channels: this is where the time goes. */
static inline void across(const shrink *s, const uint8_t *pixels, uint32_t channels)
{
    uint32_t left = s->sw, values[4] = { 0 }, sums[4] = { 0 };
    uint32_t *to = s->row;
    for (uint32_t x = 0; x < s->sw; x++, pixels += channels) {
        uint32_t first = s->dw < left ? s->dw : left, rest = s->dw - first;
        weigh(pixels, channels, values);
        for (uint32_t c = 0; c < channels; c++)
            sums[c] += values[c] * first;
        left -= first;
        if (left != 0)
            continue;
        put(to, sums, channels);
        for (uint32_t c = 0; c < channels; c++)
            sums[c] = values[c] * rest;
        to += channels;
        left = s->sw - rest;
    }
}

/* Where source line `at` of `from` falls in `to`: its first line, and how much falls in that. */
static uint32_t split(uint32_t at, uint32_t from, uint32_t to, uint32_t *ret_first)
{
    uint64_t begin = (uint64_t)at * to;
    uint32_t line = (uint32_t)(begin / from);
    uint64_t left = (uint64_t)(line + 1) * from - begin;
    *ret_first = left < to ? (uint32_t)left : to;
    return line;
}

static void down(uint64_t *sums, const uint32_t *row, size_t n, uint32_t weight)
{
    for (size_t i = 0; i < n && weight != 0; i++)
        sums[i] += (uint64_t)row[i] * weight;
}

void shrink_row(shrink *s, uint32_t y, const uint8_t *pixels)
{
    size_t n = (size_t)s->dw * s->channels;
    uint32_t first, line = split(y, s->sh, s->dh, &first);
    if (s->channels == 4)
        across(s, pixels, 4);
    else
        across(s, pixels, 3);
    down(s->sums + line * n, s->row, n, first);
    if (first != s->dh)
        down(s->sums + (line + 1) * n, s->row, n, s->dh - first);
}

void shrink_pixel(shrink *s, uint32_t x, uint32_t y, const uint8_t *pixel)
{
    uint32_t values[4], wx[2], wy[2];
    uint32_t column = split(x, s->sw, s->dw, &wx[0]), line = split(y, s->sh, s->dh, &wy[0]);
    wx[1] = s->dw - wx[0];
    wy[1] = s->dh - wy[0];
    weigh(pixel, s->channels, values);
    for (uint32_t v = 0; v < 2 && (v == 0 || wy[1] != 0); v++)
        for (uint32_t h = 0; h < 2 && (h == 0 || wx[1] != 0); h++) {
            uint64_t *to = s->sums + ((size_t)(line + v) * s->dw + column + h) * s->channels;
            for (uint32_t c = 0; c < s->channels; c++)
                to[c] += (uint64_t)values[c] * wx[h] * wy[v];
        }
}

static uint8_t mean(uint64_t sum, uint64_t by)
{
    uint64_t value = by != 0 ? (sum + by / 2) / by : 0;
    return value < 255 ? (uint8_t)value : 255;
}

void shrink_finish(const shrink *s, uint8_t *ret_pixels)
{
    uint64_t area = (uint64_t)s->sw * s->sh;
    const uint64_t *sums = s->sums;
    for (size_t i = (size_t)s->dw * s->dh; i > 0; i--) {
        /* of the opaque part only */
        uint64_t by = s->channels == 4 ? sums[3] / 255 : area;
        for (uint32_t c = 0; c < 3; c++)
            *ret_pixels++ = mean(sums[c], by);
        if (s->channels == 4)
            *ret_pixels++ = mean(sums[3], area);
        sums += s->channels;
    }
}
