/* Channels by what the tests ask of them: address, protocol, codec, compression, certificates. */
#include "client_channels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct channel_entry {
    channel_entry *next;
    weir_rpc_channel *channel;
    weir_arena arena; /* of what follows */
    const char *key;
    size_t key_bytes;
    char target[96];
};

bool channels_init(channels *all, weir_loop *loop)
{
    *all = (channels){ .loop = loop };
    return server_dir_new(all->folder);
}

void channels_done(channels *all)
{
    for (channel_entry *at = all->first, *next; at != NULL; at = next) {
        next = at->next;
        weir_rpc_channel_free(at->channel);
        weir_arena_done(&at->arena);
        free(at);
    }
    all->first = NULL;
    (void)rmdir(all->folder);
}

/* ---- Which one ---- */

/* Those parts of the request that a channel is for, packed. */
static const char *key_of(weir_arena *arena, const compat_request *request, size_t *ret_n)
{
    compat_request part = *request;
    part.test_name = part.service = part.method = NULL;
    part._service_case = CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_REQUEST___SERVICE__NOT_SET;
    part._method_case = CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_REQUEST___METHOD__NOT_SET;
    part._timeout_ms_case =
        CONNECTRPC__CONFORMANCE__V1__CLIENT_COMPAT_REQUEST___TIMEOUT_MS__NOT_SET;
    part.stream_type = CONNECTRPC__CONFORMANCE__V1__STREAM_TYPE__STREAM_TYPE_UNSPECIFIED;
    part.n_request_headers = part.n_request_messages = 0;
    part.request_delay_ms = 0;
    part.cancel = NULL;
    part.raw_request = NULL;
    size_t size = weir_protobuf_size(&part.base);
    char *bytes = weir_arena_take(arena, size);
    if (bytes == NULL || weir_protobuf_pack(&part.base, bytes, size, ret_n) != WEIR_OK)
        return NULL;
    return bytes;
}

static channel_entry *find(const channels *all, const char *key, size_t n)
{
    for (channel_entry *at = all->first; at != NULL; at = at->next)
        if (at->key_bytes == n && memcmp(at->key, key, n) == 0)
            return at;
    return NULL;
}

/* ---- A new one ---- */

static weir_rpc_protocol protocol_of(const compat_request *request)
{
    switch (request->protocol) {
    case CONNECTRPC__CONFORMANCE__V1__PROTOCOL__PROTOCOL_GRPC:
        return WEIR_RPC_GRPC;
    case CONNECTRPC__CONFORMANCE__V1__PROTOCOL__PROTOCOL_GRPC_WEB:
        return WEIR_RPC_GRPC_WEB;
    default:
        return WEIR_RPC_CONNECT;
    }
}

static bool put_files(const channels *all, channel_entry *entry, const compat_request *request,
                      weir_rpc_channel_config *config)
{
    weir_arena *arena = &entry->arena;
    if (request->server_tls_cert.len == 0)
        return true;
    config->tls_ca_file = common_file(arena, all->folder, "ca", &request->server_tls_cert);
    if (request->client_tls_creds == NULL)
        return config->tls_ca_file != NULL;
    config->tls_cert_file = common_file(arena, all->folder, "cert",
                                        &request->client_tls_creds->cert);
    config->tls_key_file = common_file(arena, all->folder, "key", &request->client_tls_creds->key);
    return config->tls_ca_file != NULL && config->tls_cert_file != NULL &&
           config->tls_key_file != NULL;
}

static void remove_files(const weir_rpc_channel_config *config)
{
    const char *const files[] = { config->tls_ca_file, config->tls_cert_file,
                                  config->tls_key_file };
    for (size_t i = 0; i < 3; i++)
        if (files[i] != NULL)
            (void)unlink(files[i]);
}

static weir_status make(const channels *all, channel_entry *entry, const compat_request *request,
                        const char **ret_why)
{
    weir_rpc_channel_config config = {
        .target = entry->target,
        .protocol = protocol_of(request),
        .http = request->http_version == CONNECTRPC__CONFORMANCE__V1__HTTPVERSION__HTTP_VERSION_1
                    ? WEIR_RPC_HTTP1
                    : WEIR_RPC_HTTP2,
        .codec = request->codec == CONNECTRPC__CONFORMANCE__V1__CODEC__CODEC_JSON ? WEIR_RPC_JSON
                                                                                  : WEIR_RPC_PROTO,
        .gzip = request->compression == CONNECTRPC__CONFORMANCE__V1__COMPRESSION__COMPRESSION_GZIP,
        .gzip_bytes_min = 1,
        .connect_get = request->use_get_http_method,
        .message_bytes_max = request->message_receive_limit,
        .types = &connectrpc_conformance_v1_service_proto_types,
    };
    snprintf(entry->target, sizeof entry->target, "%s://%.64s:%u",
             request->server_tls_cert.len > 0 ? "https" : "http", request->host, request->port);
    *ret_why = "certificates cannot be written";
    weir_status status = WEIR_EINTERNAL;
    if (put_files(all, entry, request, &config))
        status = weir_rpc_channel_new(all->loop, &config, &entry->channel, ret_why);
    remove_files(&config);
    return status;
}

weir_rpc_channel *channels_get(channels *all, const compat_request *request, const char **ret_why)
{
    channel_entry *entry = calloc(1, sizeof *entry);
    *ret_why = "no memory";
    if (entry == NULL)
        return NULL;
    weir_arena_init(&entry->arena, NULL, NULL, 0, 0);
    entry->key = key_of(&entry->arena, request, &entry->key_bytes);
    channel_entry *same = entry->key != NULL ? find(all, entry->key, entry->key_bytes) : NULL;
    if (entry->key == NULL || same != NULL || make(all, entry, request, ret_why) != WEIR_OK) {
        weir_arena_done(&entry->arena);
        free(entry);
        return same != NULL ? same->channel : NULL;
    }
    entry->next = all->first;
    all->first = entry;
    return entry->channel;
}
