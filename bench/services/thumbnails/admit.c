/* The admission: which request brings an image, and what is wrong with the rest. */
#include "service.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

typedef struct admit_config {
    service *service;
} admit_config;

static void image_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    image *im = weir_item_body(item);
    image_note_end(im, outcome, status);
    if (im->end == IMAGE_REFUSED)
        reply_refused(im->request, im->status, im->why);
}

const weir_item_type upload_type = { .name = "upload", .ended = image_ended };

/* No name is given twice, nor can it be guessed. */
static bool make_name(char ret_name[NAME_BYTES])
{
    uint64_t random[2];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return false;
    snprintf(ret_name, NAME_BYTES, "%016llx%016llx", (unsigned long long)random[0],
             (unsigned long long)random[1]);
    return true;
}

static bool span_equals(weir_http1_span span, const char *text)
{
    size_t bytes = strlen(text);
    return span.len == bytes && memcmp(span.at, text, bytes) == 0;
}

/* 0, or the status to refuse it with. */
static unsigned look(const weir_http_request *request, const char **ret_why)
{
    weir_http1_span body = weir_http_request_body(request);
    if (!span_equals(weir_http_request_path(request), "/thumbnails")) {
        *ret_why = "there is only /thumbnails";
        return 404;
    }
    if (weir_http_request_method(request) != WEIR_HTTP1_POST) {
        *ret_why = "images are uploaded by POST";
        return 405;
    }
    if (codec_format_of(body.at, body.len) == 0) {
        *ret_why = "neither JPEG nor PNG";
        return 415;
    }
    return 0;
}

static weir_status admit_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    service *s = ((const admit_config *)weir_stage_config(stage))->service;
    const weir_http_request *request = weir_http_request_of(item);
    const char *why = NULL;
    unsigned status = look(request, &why);
    (void)state;
    if (status != 0) {
        reply_refused(item, status, why);
        weir_drop(in, item);
        return WEIR_OK;
    }
    weir_item *child = weir_item_new(weir_stage_loop(stage), &upload_type, sizeof(image));
    if (child == NULL) {
        weir_fail(stage, item, WEIR_ENOMEM, "no memory for an image");
        return WEIR_OK;
    }
    image *im = weir_item_body(child);
    weir_http1_span body = weir_http_request_body(request);
    memset(im, 0, sizeof *im);
    im->service = s;
    im->request = item;
    im->file = (weir_isolate_bytes){ body.at, body.len };
    child->cost = item->cost;
    bool is_named = make_name(im->name);
    weir_item_derive(child, item);
    if (is_named)
        weir_emit(weir_stage_out(stage), child);
    else
        weir_fail(stage, child, WEIR_EUNAVAILABLE, "no random bytes");
    return WEIR_OK;
}

static const weir_stage_type admit_type = {
    .name = "admit",
    .config_size = sizeof(admit_config),
    .on_item = admit_on_item,
};

weir_stage_spec *admit_stage(service *s)
{
    return weir_stage_of(&admit_type, &(admit_config){ s });
}

image *image_of(const weir_item *item)
{
    while (item != NULL && item->type != &upload_type && item->type != &file_type)
        item = item->parent;
    return item != NULL ? weir_item_body(item) : NULL;
}
