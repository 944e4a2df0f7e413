/* Feeds any bytes as a request and as a response, and insists that the cut makes no difference. */
#include "../http1_feed.h"

#include <stdint.h>

static verdict whole, pieces;

static void check(const feeding *f, size_t first, size_t step)
{
    feed(f, first, step, &pieces);
    if (!feed_agree(&whole, &pieces))
        abort();
}

/* Spans of an accepted head lie in the message and hold no line end. */
static void check_spans(const feeding *f)
{
    for (uint32_t i = 0; i < whole.head.field_count; i++) {
        const weir_http1_field *field = &whole.fields[i];
        if (field->name.at < f->bytes || field->name.len == 0 ||
            field->value.at + field->value.len > f->bytes + f->len)
            abort();
        if (memchr(field->value.at, '\n', field->value.len) != NULL)
            abort();
    }
}

static void run(const feeding *f, size_t cut)
{
    feed(f, f->len, f->len, &whole);
    check(f, 0, 1);
    check(f, cut, f->len);
    check(f, 0, 7);
    if (whole.in_body)
        check_spans(f);
}

/* Whatever the writer lets through reads back as the one field it was, and nothing else. */
static void check_writer(const char *bytes, size_t len, size_t cut)
{
    const weir_http1_field field = { { bytes, cut }, { bytes + cut, len - cut } };
    const weir_http1_response response = {
        .status = 200, .framing = WEIR_HTTP1_LENGTH, .fields = &field, .field_count = 1
    };
    static char buf[8192];
    weir_http1_field fields[4];
    weir_http1_head head = { .fields = fields, .field_cap = 4 };
    weir_http1_scan scan = { 0 };
    size_t written, consumed;
    if (weir_http1_write_response_head(&response, buf, sizeof buf, &written) != WEIR_OK)
        return;
    weir_status status = weir_http1_response_head(NULL, WEIR_HTTP1_GET, buf, written, &scan, &head,
                                                  &consumed);
    if (status != WEIR_OK || consumed != written || head.field_count != 2 ||
        head.content_length != 0 || fields[0].name.len != cut)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const weir_http1_limits tight = { .target_bytes_max = 40,
                                             .head_bytes_max = 400,
                                             .fields_max = 6,
                                             .chunk_ext_bytes_max = 12,
                                             .trailer_bytes_max = 30,
                                             .body_bytes_max = 64 };
    static const weir_http1_method methods[] = { WEIR_HTTP1_GET, WEIR_HTTP1_HEAD,
                                                 WEIR_HTTP1_CONNECT, WEIR_HTTP1_POST };
    if (size < 2 || size > 4096)
        return 0;
    size_t cut = data[0] % (size - 1);
    feeding f = { .limits = data[1] & 1 ? &tight : NULL,
                  .bytes = (const char *)data + 2,
                  .len = size - 2,
                  .response = data[1] & 2,
                  .request_method = methods[data[1] >> 2 & 3] };
    cut = cut < f.len ? cut : f.len;
    run(&f, cut);
    check_writer(f.bytes, f.len, cut);
    return 0;
}
