/* Answers, and what becomes of files: the end of every image. */
#include "service.h"

#include <weir/json.h>

#include <stdio.h>
#include <string.h>

/* A peer that has gone needs no answer. */
static void ignore(weir_status status)
{
    (void)status;
}

static weir_http1_span span_of(const char *text)
{
    return (weir_http1_span){ text, strlen(text) };
}

/* ---- Images ---- */

void image_refuse(image *im, unsigned status, const char *why, size_t n)
{
    size_t at = 0;
    for (; at < n && at < sizeof im->why - 1; at++)
        im->why[at] = why[at] >= ' ' && why[at] <= '~' ? why[at] : '?';
    im->why[at] = '\0';
    im->status = status;
    im->end = IMAGE_REFUSED;
}

static const char *why_of(weir_status status, unsigned *ret_status)
{
    *ret_status = 500;
    switch (status) {
    case WEIR_EUNAVAILABLE:
        return "the worker that decoded it died";
    case WEIR_EPROTO:
        return "the worker that decoded it went astray";
    case WEIR_EDEADLINE:
        *ret_status = 503;
        return "it took too long";
    case WEIR_ELIMIT:
        *ret_status = 413;
        return "it has too many bytes";
    case WEIR_ENOMEM:
        *ret_status = 503;
        return "there is no memory for it";
    case WEIR_ENOTFOUND:
    case WEIR_EDENIED:
        return "it cannot be read";
    case WEIR_EIO:
        return "its thumbnail cannot be stored";
    default:
        *ret_status = 503;
        return "it was given up";
    }
}

void image_note_end(image *im, weir_outcome outcome, weir_status status)
{
    unsigned code = 0;
    if (im->end != IMAGE_OPEN || outcome == WEIR_ACKED)
        return;
    if (im->request == NULL && outcome == WEIR_ABORTED)
        return; /* it stays where it is, for the next time */
    const char *why = why_of(outcome == WEIR_FAILED ? status : WEIR_ECANCELED, &code);
    image_refuse(im, code, why, strlen(why));
}

/* ---- Thumbnails ---- */

bool thumbnail_read(const weir_item *item, codec_head *ret_head, weir_isolate_bytes *ret_rest)
{
    const weir_isolate_bytes *all = weir_isolate_bytes_of(item);
    if (all == NULL || all->n < sizeof *ret_head)
        return false;
    memcpy(ret_head, all->bytes, sizeof *ret_head);
    *ret_rest = (weir_isolate_bytes){ (const char *)all->bytes + sizeof *ret_head,
                                      all->n - sizeof *ret_head };
    if (ret_head->status == 200)
        return ret_head->format == CODEC_JPEG || ret_head->format == CODEC_PNG;
    return ret_head->status == 413 || ret_head->status == 415 || ret_head->status == 422;
}

void thumbnail_name(const image *im, const codec_head *head, char ret_name[NAME_BYTES])
{
    const char *ending = head->format == CODEC_PNG ? "png" : "jpg";
    snprintf(ret_name, NAME_BYTES, "%.*s.%s", NAME_BYTES - 6, im->name, ending);
}

/* ---- Answers ---- */

void reply_refused(weir_item *request, unsigned status, const char *why)
{
    char body[2 * WHY_BYTES + 32];
    size_t bytes = 0;
    weir_json_writer json;
    weir_json_write_begin(&json, body, sizeof body);
    weir_json_write_object(&json);
    weir_json_write_key(&json, "error");
    weir_json_write_string(&json, why);
    weir_json_write_object_end(&json);
    if (weir_json_write_end(&json, &bytes) != WEIR_OK)
        bytes = 0;
    weir_http1_field field = { span_of(status == 405 ? "Allow" : "Retry-After"),
                               span_of(status == 405 ? "POST" : "1") };
    ignore(weir_http_answer_with(
        request, &(weir_http_answer){ .status = (int)status,
                                      .content_type = "application/json",
                                      .body = body,
                                      .body_bytes = bytes,
                                      .fields = &field,
                                      .field_count = status == 405 || status == 503 }));
}

static void reply_stored(const image *im, const codec_head *head)
{
    char body[NAME_BYTES + 64], name[NAME_BYTES];
    size_t bytes = 0;
    weir_json_writer json;
    thumbnail_name(im, head, name);
    weir_json_write_begin(&json, body, sizeof body);
    weir_json_write_object(&json);
    weir_json_write_key(&json, "name");
    weir_json_write_string(&json, name);
    weir_json_write_key(&json, "width");
    weir_json_write_int64(&json, head->width);
    weir_json_write_key(&json, "height");
    weir_json_write_int64(&json, head->height);
    weir_json_write_object_end(&json);
    if (weir_json_write_end(&json, &bytes) != WEIR_OK)
        bytes = 0;
    ignore(weir_http_reply(im->request, 201, "application/json", body, bytes));
}

/* It is what a worker says it is; a browser must not guess that it is something else. */
static void reply_thumbnail(const image *im, const codec_head *head, weir_isolate_bytes file)
{
    weir_http1_field field = { span_of("X-Content-Type-Options"), span_of("nosniff") };
    ignore(weir_http_answer_with(
        im->request,
        &(weir_http_answer){ .content_type = head->format == CODEC_PNG ? "image/png" : "image/jpeg",
                             .body = file.bytes,
                             .body_bytes = file.n,
                             .fields = &field,
                             .field_count = 1 }));
}

static void conclude(service *s, const weir_item *item)
{
    image *im = image_of(item);
    codec_head head;
    weir_isolate_bytes rest;
    if (!thumbnail_read(item, &head, &rest)) {
        static const char why[] = "the worker that decoded it went astray";
        image_refuse(im, 500, why, sizeof why - 1);
    } else if (head.status != 200) {
        image_refuse(im, head.status, rest.bytes, rest.n);
    } else {
        im->end = IMAGE_MADE;
        if (im->request != NULL && s->out_fd >= 0)
            reply_stored(im, &head);
        else if (im->request != NULL)
            reply_thumbnail(im, &head, rest);
    }
}

/* ---- The sink ---- */

typedef struct reply_config {
    service *service;
} reply_config;

static weir_status reply_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    return weir_request(weir_stage_in(stage), WEIR_UNBOUNDED);
}

/* Refusals are told as the images end. */
static weir_status reply_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    const reply_config *config = weir_stage_config(stage);
    (void)in;
    (void)state;
    for (size_t i = 0; i < n; i++)
        conclude(config->service, items[i]);
    weir_items_ack(items, n);
    return WEIR_OK;
}

static const weir_stage_type reply_type = {
    .name = "reply",
    .config_size = sizeof(reply_config),
    .outputs = WEIR_PORTS_NONE,
    .open = reply_open,
    .on_items = reply_on_items,
};

weir_stage_spec *reply_stage(service *s)
{
    return weir_stage_of(&reply_type, &(reply_config){ s });
}
