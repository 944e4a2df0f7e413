/* protoc-gen-weir: a plugin of protoc that makes C for RPC out of .proto files. protoc writes what
 * it is to do on standard input, and reads from standard output what came of it.
 * https://protobuf.dev/reference/other/ */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <weir/version.h>

#include "gen.h"

static const char *const usage =
    "Usage: protoc --plugin=protoc-gen-weir --weir_out=DIR [--weir_opt=PARAMETER,...] FILE.proto\n"
    "Makes FILE.pb-c.h and FILE.pb-c.c, the messages (by protoc-gen-c), and FILE.weir.h and\n"
    "FILE.weir.c, the services: tables, typed handlers, typed calls.\n"
    "\n"
    "Parameters:\n"
    "  protoc_gen_c=PROGRAM  where protoc-gen-c is (default: protoc-gen-c, searched on PATH)\n"
    "  c=off                 no *.pb-c.h and *.pb-c.c\n"
    "  server=off            no typed handlers\n"
    "  client=off            no typed calls\n"
    "\n"
    "Options:\n"
    "  --help                says this\n"
    "  --version             says the version\n";

void wi_gen_add_output(wi_gen *gen, const char *name, const char *content)
{
    if (gen->out_count == gen->out_cap) {
        size_t cap = gen->out_cap * 2 + 16;
        Weir__Plugin__Response__File **more = wi_gen_alloc(gen->pool, cap * sizeof *more);
        if (gen->out_count > 0) {
            memcpy(more, gen->out, gen->out_count * sizeof *more);
        }
        gen->out = more;
        gen->out_cap = cap;
    }
    Weir__Plugin__Response__File *file = wi_gen_alloc(gen->pool, sizeof *file);
    weir__plugin__response__file__init(file);
    file->name = wi_gen_print(gen->pool, "%s", name);
    file->content = wi_gen_print(gen->pool, "%s", content);
    gen->out[gen->out_count++] = file;
}

static bool read_all(wi_gen *gen, wi_gen_text *text)
{
    char bytes[65536];
    for (;;) {
        ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
        if (n == 0) {
            return true;
        }
        if (n < 0 && errno != EINTR) {
            return wi_gen_fail(gen, "standard input: %s", strerror(errno));
        }
        if (n > 0) {
            wi_gen_append(text, bytes, (size_t)n);
        }
        if (text->n > WI_GEN_REQUEST_BYTES_MAX) {
            return wi_gen_fail(gen, "the request is larger than %d bytes",
                               WI_GEN_REQUEST_BYTES_MAX);
        }
    }
}

static void generate(wi_gen *gen)
{
    wi_gen_text in;
    wi_gen_text_init(&in, gen->pool);
    if (!read_all(gen, &in) || !wi_gen_read(gen, (const uint8_t *)in.at, in.n)) {
        return;
    }
    for (size_t i = 0; i < gen->file_count; i++) {
        if (gen->files[i].wanted && !gen->files[i].no_c) {
            wi_gen_header(gen, &gen->files[i]);
            wi_gen_source(gen, &gen->files[i]);
        }
    }
    if (!gen->no_c) {
        wi_gen_c(gen);
    }
}

static int answer(wi_gen *gen)
{
    enum { FEATURE_PROTO3_OPTIONAL = 1 };
    Weir__Plugin__Response response = WEIR__PLUGIN__RESPONSE__INIT;
    response.has_supported_features = true;
    response.supported_features = FEATURE_PROTO3_OPTIONAL;
    if (gen->error != NULL) {
        response.error = wi_gen_print(gen->pool, "%s", gen->error);
    } else {
        response.n_file = gen->out_count;
        response.file = gen->out;
    }
    size_t n = weir__plugin__response__get_packed_size(&response);
    uint8_t *bytes = wi_gen_alloc(gen->pool, n);
    weir__plugin__response__pack(&response, bytes);
    if (fwrite(bytes, 1, n, stdout) != n || fflush(stdout) != 0) {
        fprintf(stderr, "protoc-gen-weir: standard output: %s\n", strerror(errno));
        return 1;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        return fputs(usage, stdout) < 0;
    }
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        return printf("protoc-gen-weir %s\n", WEIR_VERSION) < 0;
    }
    if (argc != 1) {
        fputs(usage, stderr);
        return 2;
    }
    wi_gen_pool pool;
    wi_gen_pool_init(&pool);
    wi_gen gen = { .pool = &pool };
    generate(&gen);
    int code = answer(&gen);
    wi_gen_pool_done(&pool);
    return code;
}
