/* JPEG by libjpeg, scaled as it is decoded, so that a large image needs little. */
#include "codec.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jerror.h>
#include <jpeglib.h>

typedef struct jpeg {
    struct jpeg_decompress_struct d; /* first: libjpeg hands it back */
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf out;
    codec *codec;
    JSAMPROW line;
} jpeg;

/* ---- What libjpeg calls ---- */

static void on_error(j_common_ptr d)
{
    jpeg *j = (jpeg *)d;
    char text[JMSG_LENGTH_MAX];
    if (j->codec->status == 0) {
        d->err->format_message(d, text);
        int code = d->err->msg_code;
        if (code == JERR_OUT_OF_MEMORY)
            codec_refuse(j->codec, 413, "it needs too much memory");
        else
            codec_refuse(j->codec, code == JERR_IMAGE_TOO_BIG ? 413 : 422, "%s", text);
    }
    longjmp(j->out, 1);
}

/* Damage within is shown as it is; a missing end is not. */
static void on_warning(j_common_ptr d, int level)
{
    jpeg *j = (jpeg *)d;
    if (level != -1 || d->err->msg_code != JWRN_JPEG_EOF)
        return;
    codec_refuse(j->codec, 422, "it is cut off");
    longjmp(j->out, 1);
}

static void on_text(j_common_ptr d)
{
    (void)d;
}

/* Each scan of a progressive image costs a pass over all of it, and a file has room for many. */
static void on_progress(j_common_ptr d)
{
    jpeg *j = (jpeg *)d;
    if (j->d.input_scan_number <= CODEC_SCANS_MAX)
        return;
    codec_refuse(j->codec, 422, "it has more than %d scans", CODEC_SCANS_MAX);
    longjmp(j->out, 1);
}

/* ---- The header ---- */

static bool header_is_fine(jpeg *j)
{
    codec *c = j->codec;
    uint64_t whole = 0;
    if (!codec_size_is_fine(c, j->d.image_width, j->d.image_height))
        return false;
    if (!jpeg_has_multiple_scans(&j->d))
        return true;
    /* libjpeg keeps the coefficients of such an image. */
    for (int i = 0; i < j->d.num_components; i++) {
        const jpeg_component_info *part = &j->d.comp_info[i];
        whole += (uint64_t)part->width_in_blocks * part->height_in_blocks * sizeof(JBLOCK);
    }
    if (whole <= c->config->decoder_bytes)
        return true;
    return codec_refuse(c, 413, "%u x %u and progressive: its decoder would need %llu MiB",
                        j->d.image_width, j->d.image_height, (unsigned long long)(whole >> 20));
}

static void read_orientation(jpeg *j)
{
    for (jpeg_saved_marker_ptr m = j->d.marker_list; m != NULL; m = m->next) {
        unsigned found = codec_orientation(m->data, m->data_length);
        if (found != 1)
            j->codec->orientation = found;
    }
}

/* The smallest scale that leaves enough to average over. */
static void choose_scale(jpeg *j)
{
    uint32_t dw, dh;
    shrink_fit(j->codec->width, j->codec->height, j->codec->config->side, &dw, &dh);
    j->d.scale_denom = 8;
    for (j->d.scale_num = 1; j->d.scale_num < 8; j->d.scale_num++) {
        jpeg_calc_output_dimensions(&j->d);
        if (2 * j->d.output_width >= 3 * dw && 2 * j->d.output_height >= 3 * dh)
            break;
    }
    j->d.out_color_space = j->d.num_components == 4 ? JCS_CMYK : JCS_RGB;
    j->d.do_block_smoothing = FALSE;
}

/* ---- The image ---- */

/* As Adobe writes CMYK: inverted. */
static void cmyk_to_rgb(uint8_t *line, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint8_t *from = line + (size_t)4 * i;
        uint8_t rgb[3] = { (uint8_t)(from[0] * from[3] / 255), (uint8_t)(from[1] * from[3] / 255),
                           (uint8_t)(from[2] * from[3] / 255) };
        memcpy(line + (size_t)3 * i, rgb, 3);
    }
}

static bool decode(jpeg *j)
{
    codec *c = j->codec;
    jpeg_mem_src(&j->d, c->in, (unsigned long)c->in_bytes);
    jpeg_save_markers(&j->d, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(&j->d, TRUE);
    if (!header_is_fine(j))
        return false;
    read_orientation(j);
    c->width = j->d.image_width;
    c->height = j->d.image_height;
    choose_scale(j);
    j->progress.progress_monitor = on_progress;
    j->d.progress = &j->progress;
    jpeg_start_decompress(&j->d);
    c->channels = 3;
    if (!codec_begin(c, j->d.output_width, j->d.output_height, (size_t)j->d.output_width * 4))
        return false;
    j->line = c->line;
    while (j->d.output_scanline < j->d.output_height) {
        uint32_t y = j->d.output_scanline;
        if (jpeg_read_scanlines(&j->d, &j->line, 1) != 1)
            return codec_refuse(c, 422, "it is cut off");
        if (j->d.num_components == 4)
            cmyk_to_rgb(c->line, j->d.output_width);
        shrink_row(&c->shrink, y, c->line);
    }
    return true;
}

bool codec_decode_jpeg(codec *c)
{
    jpeg *j = calloc(1, sizeof *j); /* not on the stack, which longjmp would leave undefined */
    if (j == NULL)
        return codec_refuse(c, 413, "there is no memory for it");
    j->codec = c;
    j->d.err = jpeg_std_error(&j->errors);
    j->errors.error_exit = on_error;
    j->errors.emit_message = on_warning;
    j->errors.output_message = on_text;
    bool ok = false;
    if (setjmp(j->out) == 0) {
        jpeg_create_decompress(&j->d);
        ok = decode(j);
    } else {
        ok = false;
    }
    jpeg_destroy_decompress(&j->d);
    free(j);
    return ok;
}

/* ---- EXIF (CIPA DC-008): a TIFF file whose first directory may have tag 0x0112 ---- */

static uint32_t number(const uint8_t *at, size_t bytes, bool is_little)
{
    uint32_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | at[is_little ? bytes - 1 - i : i];
    return value;
}

unsigned codec_orientation(const uint8_t *segment, size_t n)
{
    enum { HEAD = 6, ENTRY = 12, TAG = 0x0112, SHORT = 3 };
    if (n < HEAD + 8 || memcmp(segment, "Exif\0", HEAD) != 0)
        return 1;
    const uint8_t *tiff = segment + HEAD;
    bool is_little = tiff[0] == 'I';
    size_t left = n - HEAD, at = number(tiff + 4, 4, is_little);
    if (at > left - 2)
        return 1;
    uint32_t entries = number(tiff + at, 2, is_little);
    for (at += 2; entries > 0 && at + ENTRY <= left; entries--, at += ENTRY) {
        if (number(tiff + at, 2, is_little) != TAG || number(tiff + at + 2, 2, is_little) != SHORT)
            continue;
        uint32_t value = number(tiff + at + 8, 2, is_little);
        return value >= 1 && value <= 8 ? value : 1;
    }
    return 1;
}
