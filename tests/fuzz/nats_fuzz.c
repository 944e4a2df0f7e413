/* Fuzzes the NATS parser: any bytes, cut anywhere, give the same operations as in one piece.
 * clang -fsanitize=fuzzer,address,undefined -I core/include -I proto/include -I proto
 * proto/nats_proto.c proto/json*.c core/status.c tests/fuzz/nats_fuzz.c */
#include <weir/nats_proto.h>

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static uint64_t mix(uint64_t hash, const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (uint8_t)data[i]) * 1099511628211u;
    return (hash ^ size) * 1099511628211u;
}

static uint64_t mix_event(uint64_t hash, const weir_nats_event *event)
{
    const weir_nats_text texts[] = { event->text, event->subject, event->reply, event->header,
                                     event->payload };
    hash = (hash ^ event->op ^ event->sid) * 1099511628211u;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        hash = mix(hash, texts[i].data, texts[i].size);
    return hash;
}

/* What is done with an operation must hold for any content. */
static void use_event(const weir_nats_event *event)
{
    if (event->op == WEIR_NATS_INFO) {
        weir_nats_info info;
        (void)!weir_nats_info_parse(event->text, &info);
    }
    size_t cursor = 0;
    weir_nats_header header;
    while (weir_nats_header_next(event->header, &cursor, &header) == WEIR_OK)
        ;
    (void)weir_nats_header_status(event->header);
}

static uint64_t run(const char *data, size_t size, size_t step)
{
    weir_nats_parser parser = { .line_bytes_max = 64,
                                .info_bytes_max = 256,
                                .payload_bytes_max = 64 };
    uint64_t hash = 14695981039346656037u;
    size_t start = 0, end = step < size ? step : size;
    for (;;) {
        size_t used;
        weir_nats_event event;
        size_t unread = end - start;
        char *copy = malloc(unread != 0 ? unread : 1);
        if (unread != 0)
            memcpy(copy, data + start, unread);
        weir_status status = weir_nats_parse(&parser, copy, unread, &used, &event);
        if (status == WEIR_OK) {
            use_event(&event);
            hash = mix_event(hash, &event);
            start += used;
        }
        free(copy);
        if (status == WEIR_OK)
            continue;
        if (status != WEIR_EPARTIAL || end == size)
            return hash ^ (uint64_t)(-status);
        end = step < size - end ? end + step : size;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size == 0 || size > 4096)
        return 0;
    const char *data = (const char *)bytes + 1;
    size--;
    uint64_t whole = run(data, size, size != 0 ? size : 1);
    if (run(data, size, 1) != whole || run(data, size, (size_t)bytes[0] + 1) != whole)
        abort();
    weir_nats_text text = { data, size };
    weir_nats_info info;
    (void)!weir_nats_info_parse(text, &info);
    if (weir_nats_subject_check(text, true) == WEIR_OK && memchr(data, '\n', size) != NULL)
        abort();
    return 0;
}
