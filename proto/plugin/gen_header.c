/* foo.weir.h: what a file's services look like to C. */
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

/* Bytes that a comment of C cannot hold, or that compilers warn of. */
static bool is_bidi(const unsigned char *at)
{
    return at[0] == 0xe2 && ((at[1] == 0x80 && at[2] >= 0xaa && at[2] <= 0xae) ||
                             (at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9));
}

static void put_line(wi_gen_text *text, const char *line, size_t n)
{
    while (n > 0 && (line[n - 1] == ' ' || line[n - 1] == '\t' || line[n - 1] == '\r')) {
        n--;
    }
    for (size_t i = 0; i < n; i++) {
        const unsigned char *at = (const unsigned char *)line + i;
        if (n - i >= 3 && is_bidi(at)) {
            wi_gen_put(text, "?");
            i += 2;
            continue;
        }
        bool control = *at < 0x20 && *at != '\t';
        wi_gen_put(text, "%c", control || *at == 0x7f ? ' ' : *at);
        bool pair = i + 1 < n && ((at[0] == '*' && at[1] == '/') ||
                                  (at[0] == '/' && at[1] == '*') || (at[0] == '?' && at[1] == '?'));
        wi_gen_put(text, "%s", pair ? " " : "");
    }
}

/* Without what is white at its end. */
static char *trimmed(wi_gen_pool *pool, const char *comment)
{
    size_t end = strlen(comment);
    while (end > 0 && strchr(" \t\r\n", comment[end - 1]) != NULL) {
        end--;
    }
    return wi_gen_print(pool, "%.*s", (int)end, comment);
}

void wi_gen_put_comment(wi_gen_text *text, const char *indent, const char *comment)
{
    comment = trimmed(text->pool, comment != NULL ? comment : "");
    const char *prefix = "/*";
    size_t end = strlen(comment);
    size_t start = strspn(comment, "\n");
    for (size_t at = start; at < end;) {
        size_t n = strcspn(comment + at, "\n");
        n = n > end - at ? end - at : n;
        size_t space = comment[at] == ' ' ? 1 : 0;
        wi_gen_put(text, "%s%s%s", indent, prefix, n > space ? " " : "");
        put_line(text, comment + at + space, n > space ? n - space : 0);
        at += n + 1;
        wi_gen_put(text, "%s", at < end ? "\n" : " */\n");
        prefix = " *";
    }
}

static void server_method(wi_gen_text *text, const wi_gen_method *method)
{
    wi_gen_put_comment(text, "", method->comment);
    wi_gen_put(text,
               "typedef struct %s_server {\n"
               "    void (*begin)(weir_rpc_call *call, void *user);\n"
               "    void (*message)(weir_rpc_call *call, const %s *request, void *user);\n",
               method->base, method->request->c_name);
    if (!one_request(method)) {
        wi_gen_put(text, "    void (*end)(weir_rpc_call *call, void *user);\n");
    }
    if (!one_response(method)) {
        wi_gen_put(text, "    void (*room)(weir_rpc_call *call, void *user);\n");
    }
    wi_gen_put(text, "    void (*drain)(weir_rpc_call *call, void *user);\n"
                     "    void (*over)(weir_rpc_call *call, weir_rpc_code code, void *user);\n"
                     "    size_t state_size;\n");
    if (one_request(method)) {
        wi_gen_put(text, "    uint32_t output_plus_1;\n");
    }
    wi_gen_put(text, "} %s_server;\n", method->base);
    const char *what = one_response(method) ? "reply" : "send";
    wi_gen_put(text,
               "/* As weir_rpc_%s, of the server. */\n"
               "static inline %sweir_status\n%s_%s(weir_rpc_call *call, const %s *response) {\n"
               "    return weir_rpc_%s(call, (const ProtobufCMessage *)response);\n"
               "}\n\n",
               what, one_response(method) ? "" : "WEIR_MUST_USE ", method->base, what,
               method->response->c_name, what);
}

static void server(wi_gen_text *text, const wi_gen_service *service)
{
    for (size_t i = 0; i < service->method_count; i++) {
        server_method(text, &service->methods[i]);
    }
    wi_gen_put(
        text,
        "/* The handlers of %s, one for each method; zero: UNIMPLEMENTED. What they are told\n"
        " * stands at weir_rpc_handler in <weir/rpc.h>. */\n"
        "typedef struct %s_server {\n",
        service->name, service->base);
    for (size_t i = 0; i < service->method_count; i++) {
        const wi_gen_method *method = &service->methods[i];
        wi_gen_put(text, "    %s_server %s;\n", method->base, method->member);
    }
    wi_gen_put(
        text,
        "    void *user; /* of all handlers */\n"
        "    /* Private: filled in by %1$s_service_of. */\n"
        "    weir_rpc_service service;\n"
        "    weir_rpc_handler handlers[%2$zu];\n"
        "} %1$s_server;\n"
        "/* Gives the service that `server` makes, for weir_rpc_server_config. `server` stays\n"
        " * borrowed, and as it is, while it is served. */\n"
        "const weir_rpc_service *%1$s_service_of(%1$s_server *server);\n\n",
        service->base, service->method_count > 0 ? service->method_count : 1);
}

static void client_method(wi_gen_text *text, const wi_gen_method *method)
{
    wi_gen_put(text,
               "/* What a caller of %s is told; see weir_rpc_handler in <weir/rpc.h>. It stays\n"
               " * borrowed until the call is over. */\n"
               "typedef struct %s_client {\n"
               "    void (*begin)(weir_rpc_call *call, void *user);\n"
               "    void (*message)(weir_rpc_call *call, const %s *response, void *user);\n"
               "%s"
               "    void (*over)(weir_rpc_call *call, weir_rpc_code code, void *user);\n"
               "    size_t state_size;\n"
               "} %s_client;\n",
               method->name, method->base, method->response->c_name,
               one_request(method) ? "" : "    void (*room)(weir_rpc_call *call, void *user);\n",
               method->base);
    const char *as = one_request(method) ? "As weir_rpc_ask; client NULL: nothing is told."
                                         : "As weir_rpc_start; client NULL: nothing is told.";
    const char *comment = method->comment != NULL ? method->comment : "";
    wi_gen_put_comment(text, "",
                       wi_gen_print(text->pool, "%s\n%s", trimmed(text->pool, comment), as));
    wi_gen_put(text,
               "weir_status %s(weir_rpc_channel *channel, const weir_rpc_options *options,\n"
               "    %s%s%sconst %s_client *client,\n"
               "    void *user, weir_rpc_call **ret_call) WEIR_MUST_USE;\n",
               method->base, one_request(method) ? "const " : "",
               one_request(method) ? method->request->c_name : "",
               one_request(method) ? " *request,\n    " : "", method->base);
    if (!one_request(method)) {
        wi_gen_put(text,
                   "/* As weir_rpc_send, of the caller. */\n"
                   "static inline WEIR_MUST_USE weir_status\n"
                   "%s_client_send(weir_rpc_call *call, const %s *request) {\n"
                   "    return weir_rpc_send(call, (const ProtobufCMessage *)request);\n"
                   "}\n",
                   method->base, method->request->c_name);
    }
    wi_gen_put(text, "\n");
}

static void service_head(wi_gen *gen, wi_gen_text *text, const wi_gen_service *service)
{
    wi_gen_put(text, "/* ---- %s ---- */\n\n", service->name);
    wi_gen_put_comment(text, "", service->comment);
    wi_gen_put(text, "extern const weir_rpc_service_type %s_service;\n", service->base);
    for (size_t i = 0; i < service->method_count; i++) {
        wi_gen_put(text,
                   "static inline const weir_rpc_method *%s_method(void) {\n"
                   "    return &%s_service.methods[%zu];\n"
                   "}\n",
                   service->methods[i].base, service->base, i);
    }
    wi_gen_put(text, "\n");
    if (!gen->no_server) {
        server(text, service);
    }
    for (size_t i = 0; i < service->method_count && !gen->no_client; i++) {
        client_method(text, &service->methods[i]);
    }
}

/* Like protoc-gen-c's guards: no two files share one. */
static const char *guard_of(wi_gen *gen, const char *path)
{
    wi_gen_text text;
    wi_gen_text_init(&text, gen->pool);
    wi_gen_put(&text, "WEIR_OF_");
    for (const char *at = path; *at != '\0'; at++) {
        bool plain = (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') ||
                     (*at >= '0' && *at <= '9');
        wi_gen_put(&text, plain ? "%c" : "_%02x", (unsigned char)*at);
    }
    return text.at;
}

void wi_gen_header(wi_gen *gen, const wi_gen_file *file)
{
    wi_gen_text text;
    wi_gen_text_init(&text, gen->pool);
    const char *guard = guard_of(gen, file->proto->name);
    bool typed = file->service_count > 0 && !(gen->no_server && gen->no_client);
    wi_gen_put(&text,
               "/* Made of %s by protoc-gen-weir " WEIR_VERSION "; do not edit. */\n"
               "#ifndef %s\n#define %s\n\n#include \"%s.pb-c.h\"\n\n"
               "#include <weir/protobuf_json.h>\n%s#include <weir/rpc_service.h>\n\n"
               "#ifdef __cplusplus\nextern \"C\" {\n#endif\n\n"
               "/* The file, as reflection gives it out; and its messages, for an Any in JSON. */\n"
               "extern const weir_rpc_file %s_file;\n"
               "extern const weir_protobuf_types %s_types;\n\n",
               file->proto->name, guard, guard, file->stem,
               !typed           ? ""
               : gen->no_client ? "#include <weir/rpc.h>\n"
                                : "#include <weir/rpc_client.h>\n",
               file->base, file->base);
    for (size_t i = 0; i < file->service_count; i++) {
        service_head(gen, &text, &file->services[i]);
    }
    wi_gen_put(&text, "#ifdef __cplusplus\n}\n#endif\n#endif\n");
    wi_gen_add_output(gen, wi_gen_print(gen->pool, "%s.weir.h", file->stem), text.at);
}
