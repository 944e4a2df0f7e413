/* The server that the conformance tests ask: it is told what to be on standard input, says where it
 * listens on standard output, and serves until SIGTERM. */
#include "servers.h"
#include "server_service.h"

#include <weir/pipeline.h>
#include <weir/rpc_server.h>

#include <connectrpc/conformance/v1/server_compat.pb-c.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef Connectrpc__Conformance__V1__ServerCompatRequest compat_request;
typedef Connectrpc__Conformance__V1__ServerCompatResponse compat_response;

typedef struct files {
    char folder[SERVER_PATH_MAX];
    char *cert, *key, *client_ca;
} files;

typedef struct program {
    weir_arena arena;
    const compat_request *request;
    files files;
} program;

static void remove_file(const char *path)
{
    if (path != NULL)
        (void)unlink(path);
}

static void remove_files(files *made)
{
    remove_file(made->cert);
    remove_file(made->key);
    remove_file(made->client_ca);
    if (made->folder[0] != '\0')
        (void)rmdir(made->folder);
    *made = (files){ .folder = "" };
}

static bool make_files(program *p)
{
    const compat_request *request = p->request;
    files *made = &p->files;
    if (!request->use_tls)
        return true;
    if (request->server_creds == NULL || !server_dir_new(made->folder)) {
        made->folder[0] = '\0';
        return false;
    }
    made->cert = common_file(&p->arena, made->folder, "cert", &request->server_creds->cert);
    made->key = common_file(&p->arena, made->folder, "key", &request->server_creds->key);
    if (request->client_tls_cert.len > 0) {
        made->client_ca = common_file(&p->arena, made->folder, "ca", &request->client_tls_cert);
        if (made->client_ca == NULL)
            return false;
    }
    return made->cert != NULL && made->key != NULL;
}

static void on_listening(uint16_t port, void *user)
{
    program *p = user;
    compat_response response = CONNECTRPC__CONFORMANCE__V1__SERVER_COMPAT_RESPONSE__INIT;
    response.host = "127.0.0.1";
    response.port = port;
    if (p->request->use_tls)
        response.pem_cert = p->request->server_creds->cert;
    if (!common_write(&p->arena, &response.base))
        fprintf(stderr, "conformance_server: standard output is closed\n");
}

static weir_status serve(program *p)
{
    const weir_rpc_service *services[] = { server_service() };
    weir_rpc_server_config config = {
        .listen = "127.0.0.1:0",
        .listening = on_listening,
        .user = p,
        .services = services,
        .service_count = 1,
        .types = &connectrpc_conformance_v1_service_proto_types,
        .message_bytes_max = p->request->message_receive_limit,
        .tls_cert_file = p->files.cert,
        .tls_key_file = p->files.key,
        .tls_client_ca_file = p->files.client_ca,
        .tls_client_required = p->files.client_ca != NULL,
    };
    weir_pipeline *pipeline = weir_pipeline_new(
        &(weir_pipeline_config){ .name = "conformance", .loops = 1, .drain_ms = 500 });
    if (pipeline == NULL)
        return WEIR_ENOMEM;
    weir_add(pipeline, weir_rpc_server(&config));
    weir_status status = weir_run(pipeline);
    if (status != WEIR_OK && status != WEIR_EDEADLINE)
        fprintf(stderr, "conformance_server: %s\n", weir_pipeline_why(pipeline));
    else
        status = WEIR_OK;
    weir_pipeline_free(pipeline);
    return status;
}

int main(void)
{
    program p = { .request = NULL };
    weir_status status = WEIR_EINVAL;
    weir_arena_init(&p.arena, NULL, NULL, 0, 0);
    p.request = (const compat_request *)common_read(
        &p.arena, &connectrpc__conformance__v1__server_compat_request__descriptor);
    if (p.request != NULL && make_files(&p))
        status = serve(&p);
    else
        fprintf(stderr, "conformance_server: no request, or no certificates\n");
    remove_files(&p.files);
    weir_arena_done(&p.arena);
    return status == WEIR_OK ? 0 : 1;
}
