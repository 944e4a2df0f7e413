/* The message code: protoc-gen-c's, of a request made fit for it. */
#include <string.h>

#include "gen.h"

/* protoc-gen-c would make C of these that does not compile, or nothing at all. */
static bool check_field(wi_gen *gen, const wi_gen_file *file,
                        const Google__Protobuf__FieldDescriptorProto *field)
{
    static const char *const words[] = { "inf", "-inf", "nan", "-nan" };
    const char *name = field->name != NULL ? field->name : "";
    bool real = field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_DOUBLE ||
                field->type == GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_FLOAT;
    for (size_t i = 0; i < 4 && real && field->default_value != NULL; i++) {
        if (strcmp(field->default_value, words[i]) == 0) {
            return wi_gen_fail(gen, "%s: field %s: protoc-gen-c cannot make the default %s",
                               file->proto->name, name, words[i]);
        }
    }
    return field->type != GOOGLE__PROTOBUF__FIELD_DESCRIPTOR_PROTO__TYPE__TYPE_GROUP ||
           wi_gen_fail(gen, "%s: field %s: protoc-gen-c cannot make groups", file->proto->name,
                       name);
}

static bool fit_fields(wi_gen *gen, const wi_gen_file *file,
                       Google__Protobuf__FieldDescriptorProto **fields, size_t n)
{
    bool ok = true;
    for (size_t i = 0; i < n; i++) {
        fields[i]->has_proto3_optional = false; /* its oneof of one member stays */
        ok = ok && (!file->wanted || check_field(gen, file, fields[i]));
    }
    return ok;
}

static bool fit_message(wi_gen *gen, const wi_gen_file *file, wi_gen_message_proto *top)
{
    wi_gen_message_proto *levels[WI_GEN_NESTING_MAX + 1] = { top };
    size_t next[WI_GEN_NESTING_MAX + 1] = { 0 };
    size_t depth = 1;
    while (depth > 0) {
        wi_gen_message_proto *message = levels[depth - 1];
        size_t at = next[depth - 1]++;
        if (at == 0 && (!fit_fields(gen, file, message->field, message->n_field) ||
                        !fit_fields(gen, file, message->extension, message->n_extension))) {
            return false;
        }
        if (at == message->n_nested_type) {
            depth--;
        } else {
            levels[depth] = message->nested_type[at];
            next[depth++] = 0;
        }
    }
    return true;
}

/* What protoc-gen-c does not take, or would do badly: proto3 `optional`; services, whose
 * own form of protobuf-c nobody needs beside ours; and descriptors without names, which
 * optimize_for asks it for, and JSON could not be made of. */
static bool fit_for_c(wi_gen *gen, const wi_gen_file *file, ProtobufCBinaryData *ret_bytes)
{
    wi_gen_file_proto *proto = file->proto;
    for (size_t i = 0; i < proto->n_message_type; i++) {
        if (!fit_message(gen, file, proto->message_type[i])) {
            return false;
        }
    }
    if (!fit_fields(gen, file, proto->extension, proto->n_extension)) {
        return false;
    }
    proto->n_service = 0;
    if (proto->options != NULL) {
        proto->options->has_optimize_for = false;
    }
    size_t n = google__protobuf__file_descriptor_proto__get_packed_size(proto);
    uint8_t *bytes = wi_gen_alloc(gen->pool, n);
    google__protobuf__file_descriptor_proto__pack(proto, bytes);
    *ret_bytes = (ProtobufCBinaryData){ n, bytes };
    return true;
}

/* Of a file that is wanted, in C. */
static const wi_gen_file *source_of(const wi_gen *gen, const char *name)
{
    for (size_t i = 0; i < gen->file_count; i++) {
        const wi_gen_file *file = &gen->files[i];
        if (file->wanted && strcmp(name, wi_gen_print(gen->pool, "%s.pb-c.c", file->stem)) == 0) {
            return file;
        }
    }
    return NULL;
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
        const wi_gen_file *from = source_of(gen, file->name);
        const char *content = file->content;
        if (from != NULL && !wi_gen_json_names(gen, from, &content)) {
            return false;
        }
        wi_gen_add_output(gen, file->name, wi_gen_members(gen->pool, content));
    }
    return true;
}

/* Whether each file that is wanted was made; a program that is no protoc-gen-c may say nothing. */
static bool has_all(wi_gen *gen)
{
    for (size_t i = 0; i < gen->file_count; i++) {
        const wi_gen_file *file = &gen->files[i];
        const char *name = wi_gen_print(gen->pool, "%s.pb-c.h", file->stem);
        bool found = !file->wanted || file->no_c;
        for (size_t j = 0; j < gen->out_count && !found; j++) {
            found = strcmp(gen->out[j]->name, name) == 0;
        }
        if (!found) {
            return wi_gen_fail(gen, "%s made no %s", gen->protoc_gen_c, name);
        }
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
        if (!fit_for_c(gen, &gen->files[i], &request.proto_file[i])) {
            return false;
        }
    }
    size_t n = weir__plugin__request__get_packed_size(&request);
    uint8_t *bytes = wi_gen_alloc(gen->pool, n);
    weir__plugin__request__pack(&request, bytes);
    wi_gen_text said;
    wi_gen_text_init(&said, gen->pool);
    return wi_gen_run(gen, gen->protoc_gen_c, bytes, n, &said) && take_response(gen, &said) &&
           has_all(gen);
}
