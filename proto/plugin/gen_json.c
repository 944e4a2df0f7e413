/* Names of fields in JSON that are the .proto's own (json_name): protobuf-c's descriptors have no
 * place for them but one that is reserved, where weir/protobuf_json.h looks. */
#include <string.h>

#include "gen.h"

static const char unused[] = "\n    0,NULL,NULL ";

/* As protoc makes it, if the .proto does not say. */
static char *derived(wi_gen_pool *pool, const char *name)
{
    char *out = wi_gen_print(pool, "%s", name), *to = out;
    bool upper = false;
    for (; *name != '\0'; name++) {
        if (*name == '_') {
            upper = true;
            continue;
        }
        *to++ = upper && *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name;
        upper = false;
    }
    *to = '\0';
    return out;
}

static void put_literal(wi_gen_text *text, const char *name)
{
    wi_gen_put(text, "\"");
    for (const unsigned char *at = (const unsigned char *)name; *at != '\0'; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || *at == '_' ||
                     (*at >= '0' && *at <= '9');
        wi_gen_put(text, plain ? "%c" : "\\%03o", *at);
    }
    wi_gen_put(text, "\"");
}

/* The fields of a message begin at `table`, and each with its name. NULL: not as we know it. */
static const char *find_unused(wi_gen *gen, const char *table, const char *name)
{
    const char *end = strstr(table, "\n};");
    const char *at = strstr(table, wi_gen_print(gen->pool, "\n  {\n    \"%s\",\n", name));
    at = at != NULL && end != NULL && at < end ? strstr(at, unused) : NULL;
    return at != NULL && at < end ? at : NULL;
}

static bool name_field(wi_gen *gen, const wi_gen_type *type, const char *name, const char *json,
                       const char **content)
{
    size_t prefix = strlen(type->descriptor) - strlen("descriptor");
    const char *table =
        strstr(*content, wi_gen_print(gen->pool, "ProtobufCFieldDescriptor %.*sfield_descriptors[",
                                      (int)prefix, type->descriptor));
    const char *at = table != NULL ? find_unused(gen, table, name) : NULL;
    if (at == NULL)
        return wi_gen_fail(gen, "%s: field %s: its json_name cannot be told by what %s has made",
                           type->name, name, gen->protoc_gen_c);
    wi_gen_text text;
    wi_gen_text_init(&text, gen->pool);
    wi_gen_append(&text, *content, (size_t)(at - *content));
    wi_gen_put(&text, "\n    0x%x,(void *)", WEIR_PROTOBUF_JSON_NAMED);
    put_literal(&text, json);
    wi_gen_put(&text, ",NULL ");
    wi_gen_append(&text, at + sizeof unused - 1, strlen(at + sizeof unused - 1));
    *content = text.at;
    return true;
}

static bool name_fields(wi_gen *gen, const char *full_name, const wi_gen_message_proto *message,
                        const char **content)
{
    for (size_t i = 0; i < message->n_field; i++) {
        const Google__Protobuf__FieldDescriptorProto *field = message->field[i];
        if (field->name == NULL || field->json_name == NULL ||
            strcmp(field->json_name, derived(gen->pool, field->name)) == 0)
            continue;
        const wi_gen_type *type = wi_gen_find_type(gen, full_name);
        if (type == NULL || !name_field(gen, type, field->name, field->json_name, content))
            return false;
    }
    return true;
}

static bool name_message(wi_gen *gen, const char *package, wi_gen_message_proto *top,
                         const char **content)
{
    const wi_gen_message_proto *levels[WI_GEN_NESTING_MAX + 1] = { top };
    const char *names[WI_GEN_NESTING_MAX + 1] = { wi_gen_print(
        gen->pool, "%s%s.%s", package[0] != '\0' ? "." : "", package, top->name) };
    size_t next[WI_GEN_NESTING_MAX + 1] = { 0 }, depth = 1;
    while (depth > 0) {
        const wi_gen_message_proto *message = levels[depth - 1];
        const char *name = names[depth - 1];
        size_t at = next[depth - 1]++;
        if (at == 0 && !name_fields(gen, name, message, content))
            return false;
        if (at == message->n_nested_type) {
            depth--;
            continue;
        }
        levels[depth] = message->nested_type[at];
        names[depth] = wi_gen_print(gen->pool, "%s.%s", name, levels[depth]->name);
        next[depth++] = 0;
    }
    return true;
}

bool wi_gen_json_names(wi_gen *gen, const wi_gen_file *file, const char **content)
{
    const char *package = file->proto->package != NULL ? file->proto->package : "";
    for (size_t i = 0; i < file->proto->n_message_type; i++)
        if (!name_message(gen, package, file->proto->message_type[i], content))
            return false;
    return true;
}
