/* Fuzzes RPC's wire: a head, then a body in any protocol on either side; cut anywhere it gives the
 * same messages, the same error and the same trailers as in one piece.
 *
 * Bytes: protocol, kind and side; how it is cut; HTTP status; then lines of fields up to an empty
 * one, lines of trailers up to another, and the body. */
#include <weir/rpc_wire.h>

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define FIELDS_MAX 20
#define BYTES_MAX  4096

typedef struct input {
    uint8_t what, cut, http;
    weir_http1_field head[FIELDS_MAX + 2], trailers[FIELDS_MAX];
    size_t head_count, trailer_count;
    const char *body;
    size_t body_len;
} input;

static uint64_t mix(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ at[i]) * 1099511628211u;
    return (hash ^ size) * 1099511628211u;
}

static uint64_t mix_fields(uint64_t hash, const weir_http1_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        hash = mix(hash, fields[i].name.at, fields[i].name.len);
        hash = mix(hash, fields[i].value.at, fields[i].value.len);
    }
    return mix(hash, &n, sizeof n);
}

/* Lines up to an empty one; what a session lets through, so names in lower case, no controls. */
static size_t take_fields(const char **at, const char *end, weir_http1_field *fields)
{
    size_t n = 0;
    while (*at < end) {
        const char *stop = memchr(*at, '\n', (size_t)(end - *at));
        const char *line = *at;
        if (stop == NULL)
            stop = end;
        *at = stop < end ? stop + 1 : end;
        if (stop == line)
            break;
        const char *colon = memchr(line, ':', (size_t)(stop - line));
        bool is_fine = colon != NULL && colon > line && n < FIELDS_MAX;
        for (const char *c = line; c < stop && is_fine; c++)
            is_fine = (*c < 0 || *c >= 0x20) && (c >= colon || *c < 'A' || *c > 'Z');
        if (!is_fine)
            continue;
        fields[n].name = (weir_http1_span){ line, (size_t)(colon - line) };
        fields[n++].value = (weir_http1_span){ colon + 1, (size_t)(stop - colon - 1) };
    }
    return n;
}

static uint64_t mix_error(uint64_t hash, const weir_rpc_error *error)
{
    hash = mix(hash, &error->code, sizeof error->code);
    hash = mix(hash, error->text.at, error->text.len);
    for (size_t i = 0; i < error->detail_count; i++) {
        hash = mix(hash, error->details[i].type.at, error->details[i].type.len);
        hash = mix(hash, error->details[i].value, error->details[i].n);
    }
    return hash;
}

static uint64_t feed_all(weir_rpc_wire *wire, const input *in, size_t cut, weir_arena *arena,
                         uint64_t hash)
{
    weir_http1_span message;
    for (size_t at = 0; at < in->body_len;) {
        size_t n = in->body_len - at < cut ? in->body_len - at : cut, used = 0;
        char *copy = malloc(n);
        memcpy(copy, in->body + at, n);
        at += n;
        while (used < n) {
            size_t more;
            weir_status status = weir_rpc_wire_feed(wire, copy + used, n - used, &more, &message);
            used += more;
            if (status == WEIR_OK)
                hash = mix(hash, message.at, message.len);
            else if (used != n)
                abort();
        }
        free(copy);
    }
    weir_status status = weir_rpc_wire_feed_end(wire, in->trailers, in->trailer_count, arena,
                                                &message);
    if (status == WEIR_OK)
        hash = mix(hash, message.at, message.len);
    if (status != WEIR_OK && status != WEIR_EPARTIAL && weir_rpc_wire_error(wire)->code == 0)
        abort();
    return mix_error(hash, weir_rpc_wire_error(wire));
}

/* What was read is said again; nothing that came may make that go wrong but for its own limits. */
static void answer(weir_rpc_wire *wire, const input *in, weir_arena *arena)
{
    weir_rpc_wire_ending ending;
    weir_bytes body = { .bytes_max = 1 << 20 };
    weir_status status = weir_rpc_wire_finish(wire, weir_rpc_wire_error(wire), in->head,
                                              in->head_count, in->trailers, in->trailer_count,
                                              arena, &body, &ending);
    if (status != WEIR_OK && weir_rpc_wire_finish(wire, weir_rpc_wire_error(wire), NULL, 0, NULL, 0,
                                                  arena, &body, &ending) != WEIR_OK)
        abort();
    weir_bytes_done(&body);
}

static uint64_t serve(const input *in, const weir_rpc_method *method, size_t cut, weir_arena *arena,
                      weir_rpc_gzip *gzip)
{
    weir_rpc_wire_limits limits = { .message_bytes_max = BYTES_MAX };
    weir_http1_span get = { "GET", 3 }, post = { "POST", 4 }, path = { in->body, in->body_len };
    bool is_get = in->http == 'G';
    weir_http_head refusal, head = { .method = is_get ? get : post,
                                     .path = path,
                                     .fields = in->head,
                                     .field_count = in->head_count,
                                     .content_length = UINT64_MAX };
    weir_rpc_wire_request request;
    weir_rpc_wire wire = { 0 };
    uint64_t hash = 14695981039346656037u;
    input without = *in;
    without.body_len = is_get ? 0 : in->body_len;
    weir_status status = weir_rpc_wire_accept(&wire, NULL, &limits, gzip, &head, method, arena,
                                              &request, &refusal);
    if (status == WEIR_OK)
        hash = mix_fields(hash, request.metadata, request.metadata_count);
    if (status == WEIR_OK)
        hash = feed_all(&wire, &without, cut, arena, hash);
    if (status != WEIR_EREJECTED)
        answer(&wire, in, arena);
    weir_rpc_wire_done(&wire);
    return hash;
}

static uint64_t ask(const input *in, const weir_rpc_method *method, size_t cut, weir_arena *arena,
                    weir_rpc_gzip *gzip)
{
    weir_rpc_wire_limits limits = { .message_bytes_max = BYTES_MAX };
    weir_rpc_wire_options options = { .protocol = (weir_rpc_protocol)(in->what % 3),
                                      .codec = (weir_rpc_codec)(in->what >> 4 & 1),
                                      .timeout_ns = in->http };
    options.is_text = options.protocol == WEIR_RPC_GRPC_WEB && (in->what & 64) != 0;
    weir_rpc_wire wire = { 0 };
    weir_http_head head;
    const weir_http1_field *metadata;
    size_t n;
    uint64_t hash = 14695981039346656037u;
    if (weir_rpc_wire_call(&wire, NULL, &limits, gzip, method, &options, arena, &head) != WEIR_OK)
        abort();
    head = (weir_http_head){ .status = in->http == 0 ? 200 : 200 + in->http * 2u,
                             .fields = in->head,
                             .field_count = in->head_count,
                             .content_length = UINT64_MAX };
    if (weir_rpc_wire_response(&wire, &head, arena, &metadata, &n) == WEIR_OK) {
        hash = mix_fields(hash, metadata, n);
        hash = feed_all(&wire, in, cut, arena, hash);
        metadata = weir_rpc_wire_trailers(&wire, &n);
        hash = mix_fields(hash, metadata, n);
    }
    hash = mix_error(hash, weir_rpc_wire_error(&wire));
    weir_rpc_wire_done(&wire);
    return hash;
}

static uint64_t run(const input *in, size_t cut)
{
    const weir_rpc_method method = { .path = "/a/b",
                                     .kind = (weir_rpc_kind)(in->what >> 2 & 3),
                                     .no_side_effects = true };
    weir_arena arena;
    weir_rpc_gzip *gzip = weir_rpc_gzip_new(NULL);
    weir_arena_init(&arena, NULL, NULL, 0, 0);
    uint64_t hash = in->what & 128 ? serve(in, &method, cut, &arena, gzip)
                                   : ask(in, &method, cut, &arena, gzip);
    weir_arena_done(&arena);
    weir_rpc_gzip_free(gzip);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    if (size < 3)
        return 0;
    input in = { .what = bytes[0], .cut = bytes[1], .http = bytes[2] };
    const char *at = (const char *)bytes + 3, *end = (const char *)bytes + size;
    in.head_count = take_fields(&at, end, in.head);
    in.trailer_count = take_fields(&at, end, in.trailers);
    in.body = at;
    in.body_len = (size_t)(end - at);
    uint64_t whole = run(&in, SIZE_MAX);
    if (run(&in, 1) != whole || run(&in, (size_t)in.cut + 2) != whole)
        abort();
    return 0;
}
