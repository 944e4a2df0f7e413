/* Connect's JSON, written: errors, and the ends of streams.
 * https://connectrpc.com/docs/protocol/#error-end-stream */
#include "rpc_wire_internal.h"
#include "wi_base64.h"

#define BYTES_FIRST 256

/* What is written, with all text made ready: the writer may have to begin anew in more room. */
typedef struct end_text {
    const weir_rpc_error *error; /* NULL: none */
    weir_http1_span text;
    weir_http1_span *values; /* of the details, in base64 */
    const weir_http1_field *trailers;
    size_t trailer_count;
    bool is_end; /* of a stream, not an error alone */
} end_text;

static void write_error(weir_json_writer *w, const end_text *end)
{
    weir_rpc_code code = end->error->code;
    weir_json_write_object(w);
    weir_json_write_key(w, "code");
    weir_json_write_string(w, weir_rpc_code_connect_name(code));
    if (end->text.len > 0) {
        weir_json_write_key(w, "message");
        weir_json_write_string_span(w, end->text.at, end->text.len);
    }
    if (end->error->detail_count > 0) {
        weir_json_write_key(w, "details");
        weir_json_write_array(w);
        for (size_t i = 0; i < end->error->detail_count; i++) {
            const weir_rpc_detail *detail = &end->error->details[i];
            weir_json_write_object(w);
            weir_json_write_key(w, "type");
            weir_json_write_string_span(w, detail->type.at, detail->type.len);
            weir_json_write_key(w, "value");
            weir_json_write_string_span(w, end->values[i].at, end->values[i].len);
            weir_json_write_object_end(w);
        }
        weir_json_write_array_end(w);
    }
    weir_json_write_object_end(w);
}

static bool same_name(const weir_http1_field *a, const weir_http1_field *b)
{
    return wi_rpc_is(a->name, b->name.at, b->name.len);
}

/* Values of one name stand together, at the first of them. */
static void write_metadata(weir_json_writer *w, const end_text *end)
{
    const weir_http1_field *fields = end->trailers;
    weir_json_write_object(w);
    for (size_t i = 0; i < end->trailer_count; i++) {
        bool is_first = true;
        for (size_t j = 0; j < i && is_first; j++)
            is_first = !same_name(&fields[j], &fields[i]);
        if (!is_first)
            continue;
        weir_json_write_key_span(w, fields[i].name.at, fields[i].name.len);
        weir_json_write_array(w);
        for (size_t j = i; j < end->trailer_count; j++) {
            if (same_name(&fields[j], &fields[i]))
                weir_json_write_string_span(w, fields[j].value.at, fields[j].value.len);
        }
        weir_json_write_array_end(w);
    }
    weir_json_write_object_end(w);
}

static weir_status write_into(const end_text *end, char *buf, size_t cap, size_t *ret_len)
{
    weir_json_writer w;
    weir_json_write_begin(&w, buf, cap);
    if (!end->is_end) {
        write_error(&w, end);
        return weir_json_write_end(&w, ret_len);
    }
    weir_json_write_object(&w);
    if (end->error != NULL) {
        weir_json_write_key(&w, "error");
        write_error(&w, end);
    }
    if (end->trailer_count > 0) {
        weir_json_write_key(&w, "metadata");
        write_metadata(&w, end);
    }
    weir_json_write_object_end(&w);
    return weir_json_write_end(&w, ret_len);
}

static weir_status append(const end_text *end, weir_bytes *out)
{
    for (size_t room = BYTES_FIRST;; room *= 2) {
        weir_status status = weir_bytes_reserve(out, room);
        if (status != WEIR_OK)
            return status;
        size_t len;
        room = out->cap - out->len;
        status = write_into(end, out->at + out->len, room, &len);
        if (status == WEIR_OK)
            out->len += len;
        if (status != WEIR_ELIMIT)
            return status;
    }
}

static weir_status make_ready(end_text *end, weir_arena *arena)
{
    if (end->error == NULL)
        return WEIR_OK;
    size_t count = end->error->detail_count;
    weir_status status = wi_rpc_utf8(end->error->text, arena, &end->text);
    if (status != WEIR_OK)
        return status;
    end->values = count > SIZE_MAX / sizeof *end->values
                      ? NULL
                      : weir_arena_take(arena, count * sizeof *end->values);
    if (end->values == NULL)
        return WEIR_ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const weir_rpc_detail *detail = &end->error->details[i];
        char *text = detail->n > SIZE_MAX / 2
                         ? NULL
                         : weir_arena_take(arena, wi_base64_encoded_max(detail->n));
        if (text == NULL)
            return WEIR_ENOMEM;
        size_t len = wi_base64_encode(detail->value, detail->n, WI_BASE64_UNPADDED, text);
        end->values[i] = (weir_http1_span){ text, len };
    }
    return WEIR_OK;
}

weir_status wi_rpc_json_error(const weir_rpc_error *error, weir_arena *arena, weir_bytes *out)
{
    end_text end = { .error = error };
    weir_status status = make_ready(&end, arena);
    return status == WEIR_OK ? append(&end, out) : status;
}

weir_status wi_rpc_json_end(const weir_rpc_error *error, const weir_http1_field *trailers, size_t n,
                            weir_arena *arena, weir_bytes *out)
{
    end_text end = { .error = error->code == WEIR_RPC_OK ? NULL : error,
                     .trailers = trailers,
                     .trailer_count = n,
                     .is_end = true };
    weir_status status = make_ready(&end, arena);
    return status == WEIR_OK ? append(&end, out) : status;
}
