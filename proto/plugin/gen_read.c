/* Reads and checks what protoc asks for: parameter, files, types. */
#include <stdlib.h>
#include <string.h>

#include "gen.h"

typedef struct message_at {
    const wi_gen_message_proto *proto;
    const char *path; /* "Outer.Inner" */
} message_at;

static bool switch_of(wi_gen *gen, const char *key, const char *value, bool *ret_off)
{
    *ret_off = strcmp(value, "off") == 0;
    return *ret_off || strcmp(value, "on") == 0 ||
           wi_gen_fail(gen, "parameter %s: \"%s\" is neither on nor off", key, value);
}

static bool read_parameter(wi_gen *gen)
{
    char *rest = wi_gen_print(gen->pool, "%s",
                              gen->request->parameter != NULL ? gen->request->parameter : "");
    gen->protoc_gen_c = "protoc-gen-c";
    bool ok = true;
    char *save = NULL;
    for (char *key = strtok_r(rest, ",", &save); ok && key != NULL;
         key = strtok_r(NULL, ",", &save)) {
        char *value = strchr(key, '=');
        if (value != NULL) {
            *value++ = '\0';
        } else {
            value = key + strlen(key);
        }
        if (strcmp(key, "c") == 0) {
            ok = switch_of(gen, key, value, &gen->no_c);
        } else if (strcmp(key, "server") == 0) {
            ok = switch_of(gen, key, value, &gen->no_server);
        } else if (strcmp(key, "client") == 0) {
            ok = switch_of(gen, key, value, &gen->no_client);
        } else if (strcmp(key, "protoc_gen_c") == 0 && *value != '\0') {
            gen->protoc_gen_c = value;
        } else {
            ok = wi_gen_fail(gen, "unknown parameter \"%s\"; see protoc-gen-weir --help", key);
        }
    }
    return ok;
}

/* What protobuf-c's own options say of the file. */
static void read_c_options(wi_gen *gen, wi_gen_file *file, ProtobufCBinaryData bytes)
{
    enum { OPTIONS = 8, PB_C_FILE = 1019, NO_GENERATE = 1, C_PACKAGE = 6 };
    wi_gen_field options, own, field;
    while (wi_gen_next_field(&bytes, &options) > 0) {
        while (options.number == OPTIONS && wi_gen_next_field(&options.content, &own) > 0) {
            while (own.number == PB_C_FILE && wi_gen_next_field(&own.content, &field) > 0) {
                if (field.number == NO_GENERATE && field.wire == 0) {
                    file->no_c = field.value != 0;
                } else if (field.number == C_PACKAGE && field.wire == 2) {
                    file->c_package = wi_gen_print(gen->pool, "%.*s", (int)field.content.len,
                                                   (const char *)field.content.data);
                }
            }
        }
    }
}

static bool is_path(const char *path)
{
    for (const char *at = path; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || *at == '"' || *at == '\\' || *at == 0x7f ||
            (*at == '?' && at[1] == '?')) {
            return false;
        }
        if ((at == path || at[-1] == '/') &&
            (*at == '/' || strncmp(at, "../", 3) == 0 || strncmp(at, "./", 2) == 0)) {
            return false;
        }
    }
    return *path != '\0' && strlen(path) <= WI_GEN_NAME_BYTES_MAX;
}

static bool read_file(wi_gen *gen, wi_gen_file *file, ProtobufCBinaryData bytes)
{
    file->proto = wi_gen_nesting_ok(bytes) ? google__protobuf__file_descriptor_proto__unpack(
                                                 &gen->pool->allocator, bytes.len, bytes.data)
                                           : NULL;
    if (file->proto == NULL) {
        return wi_gen_fail(gen,
                           "a file of the request is no FileDescriptorProto, or nested too deep");
    }
    const wi_gen_file_proto *proto = file->proto;
    if (proto->name == NULL || !is_path(proto->name)) {
        return wi_gen_fail(gen, "a file of the request has no name that can be used");
    }
    file->c_package = proto->package != NULL ? proto->package : "";
    read_c_options(gen, file, bytes);
    if ((proto->package != NULL && *proto->package != '\0' && !wi_gen_is_dotted(proto->package)) ||
        (*file->c_package != '\0' && !wi_gen_is_dotted(file->c_package))) {
        return wi_gen_fail(gen, "%s: the package is no name", proto->name);
    }
    size_t n = strlen(proto->name);
    bool suffix = n > 6 && strcmp(proto->name + n - 6, ".proto") == 0;
    file->stem = wi_gen_print(gen->pool, "%.*s", (int)(suffix ? n - 6 : n), proto->name);
    file->base = wi_gen_flat(gen->pool, proto->name);
    file->bytes = wi_gen_without_comments(gen->pool, bytes);
    return wi_gen_find_file(gen, proto->name) == file ||
           wi_gen_fail(gen, "%s stands twice in the request", proto->name);
}

static const char *under(wi_gen_pool *pool, const char *above, const char *name)
{
    return *above != '\0' ? wi_gen_print(pool, "%s.%s", above, name) : name;
}

static bool read_type(wi_gen *gen, const wi_gen_file *file, message_at at, wi_gen_type *ret_type)
{
    if (at.proto->name == NULL || !wi_gen_is_identifier(at.proto->name) ||
        strlen(at.path) > WI_GEN_NAME_BYTES_MAX) {
        return wi_gen_fail(gen, "%s: a message has no name that can be used", file->proto->name);
    }
    const char *package = file->proto->package != NULL ? file->proto->package : "";
    const char *c_name = under(gen->pool, file->c_package, at.path);
    *ret_type = (wi_gen_type){
        .name = wi_gen_print(gen->pool, ".%s", under(gen->pool, package, at.path)),
        .c_name = wi_gen_c_type(gen->pool, c_name),
        .descriptor = wi_gen_print(gen->pool, "%s__descriptor", wi_gen_c_lower(gen->pool, c_name)),
        .map_entry = at.proto->options != NULL && at.proto->options->map_entry,
    };
    return true;
}

/* All messages of a file: those on top, those within them, and so on. */
static bool read_types(wi_gen *gen, wi_gen_file *file)
{
    size_t count = file->proto->n_message_type, cap = count * 2 + 8;
    message_at *all = wi_gen_alloc(gen->pool, cap * sizeof *all);
    for (size_t i = 0; i < count; i++) {
        all[i].proto = file->proto->message_type[i];
        all[i].path = all[i].proto->name != NULL ? all[i].proto->name : "";
    }
    for (size_t i = 0; i < count; i++) {
        const wi_gen_message_proto *above = all[i].proto;
        if (above->n_nested_type > cap - count) {
            cap = 2 * (cap + above->n_nested_type);
            message_at *more = wi_gen_alloc(gen->pool, cap * sizeof *more);
            memcpy(more, all, count * sizeof *all);
            all = more;
        }
        for (size_t j = 0; j < above->n_nested_type; j++) {
            const wi_gen_message_proto *inner = above->nested_type[j];
            const char *name = inner->name != NULL ? inner->name : "";
            all[count++] = (message_at){ inner,
                                         wi_gen_print(gen->pool, "%s.%s", all[i].path, name) };
        }
    }
    file->types = wi_gen_alloc(gen->pool, (count + 1) * sizeof *file->types);
    file->type_count = count;
    for (size_t i = 0; i < count; i++) {
        if (!read_type(gen, file, all[i], &file->types[i])) {
            return false;
        }
    }
    gen->type_count += count;
    return true;
}

static int by_name(const void *a, const void *b)
{
    const wi_gen_type *const *left = a, *const *right = b;
    return strcmp((*left)->name, (*right)->name);
}

const wi_gen_type *wi_gen_find_type(const wi_gen *gen, const char *name)
{
    wi_gen_type key = { .name = name };
    const wi_gen_type *at = &key;
    const wi_gen_type **found = bsearch(&at, gen->types, gen->type_count, sizeof *gen->types,
                                        by_name);
    return found != NULL ? *found : NULL;
}

wi_gen_file *wi_gen_find_file(const wi_gen *gen, const char *name)
{
    for (size_t i = 0; i < gen->file_count; i++) {
        if (gen->files[i].proto != NULL && strcmp(gen->files[i].proto->name, name) == 0) {
            return &gen->files[i];
        }
    }
    return NULL;
}

static bool read_files(wi_gen *gen)
{
    size_t count = gen->request->n_proto_file;
    gen->files = wi_gen_alloc(gen->pool, (count + 1) * sizeof *gen->files);
    gen->file_count = count;
    for (size_t i = 0; i < count; i++) {
        if (!read_file(gen, &gen->files[i], gen->request->proto_file[i]) ||
            !read_types(gen, &gen->files[i])) {
            return false;
        }
        const wi_gen_file_proto *proto = gen->files[i].proto;
        for (size_t j = 0; j < proto->n_dependency; j++) {
            wi_gen_file *import = wi_gen_find_file(gen, proto->dependency[j]);
            if (import == NULL || import == &gen->files[i]) {
                return wi_gen_fail(gen, "%s imports %s, which is not in the request before it",
                                   proto->name, proto->dependency[j]);
            }
        }
    }
    gen->types = wi_gen_alloc(gen->pool, (gen->type_count + 1) * sizeof *gen->types);
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < gen->files[i].type_count; j++) {
            gen->types[n++] = &gen->files[i].types[j];
        }
    }
    qsort(gen->types, n, sizeof *gen->types, by_name);
    return true;
}

static bool read_wanted(wi_gen *gen)
{
    for (size_t i = 0; i < gen->request->n_file_to_generate; i++) {
        const char *name = gen->request->file_to_generate[i];
        wi_gen_file *file = wi_gen_find_file(gen, name);
        if (file == NULL) {
            return wi_gen_fail(gen, "%s is to be generated but not in the request", name);
        }
        if (file->proto->syntax != NULL && strcmp(file->proto->syntax, "proto2") != 0 &&
            strcmp(file->proto->syntax, "proto3") != 0) {
            return wi_gen_fail(gen, "%s: syntax \"%s\" is not supported: proto2 and proto3 are",
                               name, file->proto->syntax);
        }
        for (size_t j = 0; j < gen->file_count; j++) {
            if (gen->files[j].wanted && &gen->files[j] != file &&
                strcmp(gen->files[j].base, file->base) == 0) {
                return wi_gen_fail(gen, "%s and %s would share their names in C", name,
                                   gen->files[j].proto->name);
            }
        }
        file->wanted = true;
        if (!wi_gen_read_services(gen, file)) {
            return false;
        }
    }
    return gen->request->n_file_to_generate > 0 || wi_gen_fail(gen, "nothing is to be generated");
}

bool wi_gen_read(wi_gen *gen, const uint8_t *bytes, size_t n)
{
    gen->request = weir__plugin__request__unpack(&gen->pool->allocator, n, bytes);
    if (gen->request == NULL) {
        return wi_gen_fail(gen, "standard input holds no CodeGeneratorRequest; run it by protoc");
    }
    return read_parameter(gen) && read_files(gen) && read_wanted(gen);
}
