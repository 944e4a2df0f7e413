/* The HTTP server with nothing behind it, to measure against servers written by hand. */
#include <weir/http_server.h>
#include <weir/pipeline.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static weir_status stored(const weir_item *item, weir_http_response *response, void *user)
{
    static const char body[] = "{\"status\":\"stored\"}";
    (void)item;
    (void)user;
    response->answer = (weir_http_answer){
        .status = 201,
        .content_type = "application/json",
        .body = body,
        .body_bytes = sizeof body - 1,
    };
    return WEIR_OK;
}

static void listening(uint16_t port, void *user)
{
    (void)user;
    printf("listening on 127.0.0.1:%u\n", port);
    fflush(stdout);
}

static _Noreturn void usage(FILE *to, int code)
{
    fputs("http_bench_server: answers every request 201 with a small JSON body\n"
          "usage: http_bench_server [--port PORT] [--loops N] [--tls CERT KEY]\n",
          to);
    exit(code);
}

int main(int argc, char **argv)
{
    char address[32] = "127.0.0.1:0";
    weir_pipeline_config pipeline_config = { .name = "bench", .loops = 1 };
    weir_http_server_config config = { .listen = address, .listening = listening };
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--port") == 0 && i + 1 < argc) {
            snprintf(address, sizeof address, "127.0.0.1:%d", atoi(argv[++i]));
        } else if (strcmp(argv[i], "--loops") == 0 && i + 1 < argc) {
            pipeline_config.loops = (uint32_t)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--tls") == 0 && i + 2 < argc) {
            config.tls_cert_file = argv[++i];
            config.tls_key_file = argv[++i];
        } else {
            bool help = strcmp(argv[i], "--help") == 0;
            usage(help ? stdout : stderr, help ? 0 : 2);
        }
    }
    weir_pipeline *pipeline = weir_pipeline_new(&pipeline_config);
    weir_from(pipeline, weir_http_server(&config));
    weir_into(pipeline, weir_http_reply_with(stored, NULL));
    weir_status status = weir_run(pipeline);
    if (status != WEIR_OK)
        fprintf(stderr, "http_bench_server: %s\n", weir_pipeline_why(pipeline));
    weir_pipeline_free(pipeline);
    return status == WEIR_OK ? 0 : 1;
}
