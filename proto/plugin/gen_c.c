/* The message code: protoc-gen-c's, of a request made fit for it. */
#include <string.h>

#include "gen.h"

static void clear_fields(Google__Protobuf__FieldDescriptorProto **fields, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fields[i]->has_proto3_optional = false; /* its oneof of one member stays */
    }
}

static void clear_message(wi_gen_message_proto *top)
{
    wi_gen_message_proto *levels[WI_GEN_NESTING_MAX + 1] = { top };
    size_t next[WI_GEN_NESTING_MAX + 1] = { 0 };
    size_t depth = 1;
    while (depth > 0) {
        wi_gen_message_proto *message = levels[depth - 1];
        size_t at = next[depth - 1]++;
        if (at == 0) {
            clear_fields(message->field, message->n_field);
            clear_fields(message->extension, message->n_extension);
        }
        if (at == message->n_nested_type) {
            depth--;
        } else {
            levels[depth] = message->nested_type[at];
            next[depth++] = 0;
        }
    }
}

/* What protoc-gen-c does not take, or would do badly: proto3 `optional`; services, whose
 * own form of protobuf-c nobody needs beside ours; and descriptors without names, which
 * optimize_for asks it for, and JSON could not be made of. */
static ProtobufCBinaryData fit_for_c(wi_gen *gen, const wi_gen_file *file)
{
    wi_gen_file_proto *proto = file->proto;
    for (size_t i = 0; i < proto->n_message_type; i++) {
        clear_message(proto->message_type[i]);
    }
    clear_fields(proto->extension, proto->n_extension);
    proto->n_service = 0;
    if (proto->options != NULL) {
        proto->options->has_optimize_for = false;
    }
    size_t n = google__protobuf__file_descriptor_proto__get_packed_size(proto);
    uint8_t *bytes = wi_gen_alloc(gen->pool, n);
    google__protobuf__file_descriptor_proto__pack(proto, bytes);
    return (ProtobufCBinaryData){ n, bytes };
}

static bool take_response(wi_gen *gen, const wi_gen_text *text)
{
    Weir__Plugin__Response *response =
        weir__plugin__response__unpack(&gen->pool->allocator, text->n, (const uint8_t *)text->at);
    if (response == NULL) {
        return wi_gen_fail(gen, "%s: what it says is no CodeGeneratorResponse", gen->protoc_gen_c);
    }
    if (response->error != NULL) {
        return wi_gen_fail(gen, "%s: %s", gen->protoc_gen_c, response->error);
    }
    for (size_t i = 0; i < response->n_file; i++) {
        const Weir__Plugin__Response__File *file = response->file[i];
        if (file->name == NULL || file->content == NULL || file->insertion_point != NULL) {
            return wi_gen_fail(gen, "%s: a file without name or content", gen->protoc_gen_c);
        }
        wi_gen_add_output(gen, file->name, file->content);
    }
    return true;
}

bool wi_gen_c(wi_gen *gen)
{
    Weir__Plugin__Request request = *gen->request;
    request.parameter = NULL;
    request.proto_file = wi_gen_alloc(gen->pool,
                                      (gen->file_count + 1) * sizeof *request.proto_file);
    for (size_t i = 0; i < gen->file_count; i++) {
        request.proto_file[i] = fit_for_c(gen, &gen->files[i]);
    }
    size_t n = weir__plugin__request__get_packed_size(&request);
    uint8_t *bytes = wi_gen_alloc(gen->pool, n);
    weir__plugin__request__pack(&request, bytes);
    wi_gen_text said;
    wi_gen_text_init(&said, gen->pool);
    return wi_gen_run(gen, gen->protoc_gen_c, bytes, n, &said) && take_response(gen, &said);
}
