/* foo.weir.c: the tables of a file, and the code between typed and untyped callbacks. */
#include <string.h>

#include <weir/version.h>

#include "gen.h"

static bool one_request(const wi_gen_method *method)
{
    return (method->kind & WEIR_RPC_CLIENT_STREAM) == 0;
}

static bool one_response(const wi_gen_method *method)
{
    return (method->kind & WEIR_RPC_SERVER_STREAM) == 0;
}

/* The tables of one file, for reflection. */
static void put_file(wi_gen *gen, wi_gen_text *text, const wi_gen_file *file)
{
    wi_gen_put(text, "static const uint8_t %s_bytes[] = {", file->base);
    for (size_t i = 0; i < file->bytes.len; i++) {
        wi_gen_put(text, "%s0x%02x,", i % 16 == 0 ? "\n    " : " ", file->bytes.data[i]);
    }
    wi_gen_put(text, "\n};\nstatic const weir_rpc_file *const %s_imports[] = {\n", file->base);
    for (size_t i = 0; i < file->proto->n_dependency; i++) {
        const wi_gen_file *import = wi_gen_find_file(gen, file->proto->dependency[i]);
        wi_gen_put(text, "    &%s_file,\n", import->base);
    }
    wi_gen_put(text,
               "    NULL,\n};\n%1$sconst weir_rpc_file %2$s_file = {\n"
               "    \"%3$s\", %2$s_bytes, sizeof %2$s_bytes, %2$s_imports,\n};\n\n",
               file->no_c ? "static " : "", file->base, file->proto->name);
}

/* Imports that have no code of their own stand in ours; all others in theirs. */
static void put_imports(wi_gen *gen, wi_gen_text *text, const wi_gen_file *file)
{
    bool *needed = wi_gen_alloc(gen->pool, gen->file_count + 1);
    needed[file - gen->files] = true;
    for (size_t i = gen->file_count; i-- > 0;) { /* imports stand before */
        const wi_gen_file *at = &gen->files[i];
        for (size_t j = 0; needed[i] && (at == file || at->no_c) && j < at->proto->n_dependency;
             j++) {
            needed[wi_gen_find_file(gen, at->proto->dependency[j]) - gen->files] = true;
        }
    }
    for (size_t i = 0; i < gen->file_count; i++) {
        const wi_gen_file *at = &gen->files[i];
        if (needed[i] && at->no_c) {
            put_file(gen, text, at);
        } else if (needed[i] && at != file) {
            wi_gen_put(text, "extern const weir_rpc_file %s_file;\n", at->base);
        }
    }
    wi_gen_put(text, "\n");
}

static void put_types(wi_gen_text *text, const wi_gen_file *file)
{
    size_t count = 0;
    for (size_t i = 0; i < file->type_count; i++) {
        const wi_gen_type *type = &file->types[i];
        if (type->map_entry) {
            continue;
        }
        if (count++ == 0) {
            wi_gen_put(text, "static const ProtobufCMessageDescriptor *const %s_messages[] = {\n",
                       file->base);
        }
        wi_gen_put(text, "    &%s,\n", type->descriptor);
    }
    if (count == 0) {
        wi_gen_put(text, "const weir_protobuf_types %s_types = {NULL, 0};\n", file->base);
        return;
    }
    wi_gen_put(text, "};\nconst weir_protobuf_types %s_types = {%s_messages, %zu};\n", file->base,
               file->base, count);
}

static void put_service(wi_gen_text *text, const wi_gen_file *file, const wi_gen_service *service)
{
    static const char *const kinds[] = { "UNARY", "CLIENT_STREAM", "SERVER_STREAM", "BIDI_STREAM" };
    if (service->method_count > 0) {
        wi_gen_put(text, "\nstatic const weir_rpc_method %s_methods[] = {\n", service->base);
        for (size_t i = 0; i < service->method_count; i++) {
            const wi_gen_method *method = &service->methods[i];
            wi_gen_put(
                text,
                "    {\"%s\", \"/%s/%s\",\n     &%s,\n     &%s,\n     WEIR_RPC_%s, %s, %s},\n",
                method->name, service->name, method->name, method->request->descriptor,
                method->response->descriptor, kinds[method->kind],
                method->no_side_effects ? "true" : "false", method->idempotent ? "true" : "false");
        }
        wi_gen_put(text, "};");
    }
    wi_gen_put(
        text,
        "\nconst weir_rpc_service_type %s_service = {\n    \"%s\", %s%s, %zu, &%s_file,\n};\n",
        service->base, service->name, service->method_count > 0 ? service->base : "NULL",
        service->method_count > 0 ? "_methods" : "", service->method_count, file->base);
}

/* From the untyped message to the typed: the one callback whose type differs. */
static void put_typed(wi_gen_text *text, const wi_gen_method *method, const char *side,
                      const char *what, const char *c_name)
{
    wi_gen_put(text,
               "\nstatic void %1$s_%2$s(weir_rpc_call *call, const ProtobufCMessage *message,\n"
               "    void *user) {\n"
               "    const %1$s_%3$s *typed =\n"
               "        (const %1$s_%3$s *)weir_rpc_call_typed(call);\n"
               "    typed->message(call, (const %4$s *)message, user);\n"
               "}\n",
               method->base, what, side, c_name);
}

static void put_handler(wi_gen_text *text, const wi_gen_method *method, size_t index)
{
    wi_gen_put(text,
               "    if (server->%1$s.begin != NULL || server->%1$s.message != NULL ||\n"
               "        server->%1$s.over != NULL%2$s%3$s%4$s) {\n"
               "        server->handlers[%5$zu].begin = server->%1$s.begin;\n"
               "        if (server->%1$s.message != NULL) {\n"
               "            server->handlers[%5$zu].message = %6$s_request;\n"
               "        }\n",
               method->member,
               one_request(method)
                   ? ""
                   : wi_gen_print(text->pool, " || server->%s.end != NULL", method->member),
               one_response(method)
                   ? ""
                   : wi_gen_print(text->pool, " || server->%s.room != NULL", method->member),
               one_request(method)
                   ? wi_gen_print(text->pool, " || server->%s.output_plus_1 != 0", method->member)
                   : "",
               index, method->base);
    if (!one_request(method)) {
        wi_gen_put(text, "        server->handlers[%zu].end = server->%s.end;\n", index,
                   method->member);
    }
    if (!one_response(method)) {
        wi_gen_put(text, "        server->handlers[%zu].room = server->%s.room;\n", index,
                   method->member);
    }
    if (one_request(method)) {
        wi_gen_put(text,
                   "        server->handlers[%zu].output_plus_1 = server->%s.output_plus_1;\n",
                   index, method->member);
    }
    wi_gen_put(text,
               "        server->handlers[%1$zu].drain = server->%2$s.drain;\n"
               "        server->handlers[%1$zu].over = server->%2$s.over;\n"
               "        server->handlers[%1$zu].state_size = server->%2$s.state_size;\n"
               "        server->handlers[%1$zu].typed = &server->%2$s;\n"
               "    }\n",
               index, method->member);
}

static void put_server(wi_gen_text *text, const wi_gen_service *service)
{
    for (size_t i = 0; i < service->method_count; i++) {
        const wi_gen_method *method = &service->methods[i];
        put_typed(text, method, "server", "request", method->request->c_name);
    }
    wi_gen_put(text,
               "\nconst weir_rpc_service *%1$s_service_of(%1$s_server *server) {\n"
               "    memset(server->handlers, 0, sizeof server->handlers);\n",
               service->base);
    for (size_t i = 0; i < service->method_count; i++) {
        put_handler(text, &service->methods[i], i);
    }
    wi_gen_put(text,
               "    server->service.type = &%s_service;\n"
               "    server->service.handlers = server->handlers;\n"
               "    server->service.user = server->user;\n"
               "    return &server->service;\n"
               "}\n",
               service->base);
}

static void put_call(wi_gen_text *text, const wi_gen_service *service, size_t index)
{
    const wi_gen_method *method = &service->methods[index];
    bool one = one_request(method);
    put_typed(text, method, "client", "response", method->response->c_name);
    wi_gen_put(
        text,
        "\nweir_status %1$s(weir_rpc_channel *channel, const weir_rpc_options *options,\n"
        "    %2$s%3$s%4$sconst %1$s_client *client, void *user, weir_rpc_call **ret_call) {\n"
        "    weir_rpc_handler handler;\n"
        "    memset(&handler, 0, sizeof handler);\n"
        "    if (client != NULL) {\n"
        "        handler.begin = client->begin;\n"
        "        if (client->message != NULL) {\n"
        "            handler.message = %1$s_response;\n"
        "        }\n"
        "%5$s"
        "        handler.over = client->over;\n"
        "        handler.state_size = client->state_size;\n"
        "        handler.typed = client;\n"
        "    }\n",
        method->base, one ? "const " : "", one ? method->request->c_name : "",
        one ? " *request, " : "", one ? "" : "        handler.room = client->room;\n");
    wi_gen_put(text,
               "    return weir_rpc_%s(channel, &%s_methods[%zu], options,\n"
               "        %s&handler, user, ret_call);\n"
               "}\n",
               one ? "ask" : "start", service->base, index,
               one ? "(const ProtobufCMessage *)request, " : "");
}

void wi_gen_source(wi_gen *gen, const wi_gen_file *file)
{
    wi_gen_text text;
    wi_gen_text_init(&text, gen->pool);
    wi_gen_put(&text,
               "/* Made of %s by protoc-gen-weir " WEIR_VERSION "; do not edit. */\n"
               "#ifndef PROTOBUF_C_NO_DEPRECATED\n#define PROTOBUF_C_NO_DEPRECATED\n#endif\n\n"
               "#include \"%s.weir.h\"\n\n#include <string.h>\n\n",
               file->proto->name, file->stem);
    put_imports(gen, &text, file);
    put_file(gen, &text, file);
    put_types(&text, file);
    for (size_t i = 0; i < file->service_count; i++) {
        const wi_gen_service *service = &file->services[i];
        put_service(&text, file, service);
        if (!gen->no_server) {
            put_server(&text, service);
        }
        for (size_t j = 0; j < service->method_count && !gen->no_client; j++) {
            put_call(&text, service, j);
        }
    }
    wi_gen_add_output(gen, wi_gen_print(gen->pool, "%s.weir.c", file->stem), text.at);
}
