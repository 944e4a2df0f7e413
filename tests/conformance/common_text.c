/* The tests' words for metadata and Any; messages on standard input and output; files. */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- Standard input and output ---- */

static bool write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, bytes, n);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        bytes += written;
        n -= (size_t)written;
    }
    return true;
}

bool common_write(weir_arena *arena, const ProtobufCMessage *message)
{
    size_t size = weir_protobuf_size(message), n;
    char *bytes = size < UINT32_MAX ? weir_arena_take(arena, size + 4) : NULL;
    if (bytes == NULL || weir_protobuf_pack(message, bytes + 4, size, &n) != WEIR_OK)
        return false;
    for (int i = 0; i < 4; i++)
        bytes[i] = (char)(n >> (24 - 8 * i));
    return write_all(STDOUT_FILENO, bytes, n + 4);
}

static bool read_all(int fd, unsigned char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t got = read(fd, bytes, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        bytes += got;
        n -= (size_t)got;
    }
    return true;
}

ProtobufCMessage *common_read(weir_arena *arena, const ProtobufCMessageDescriptor *type)
{
    unsigned char prefix[4];
    ProtobufCMessage *message = NULL;
    const char *why = "no memory";
    if (!read_all(STDIN_FILENO, prefix, sizeof prefix))
        return NULL;
    size_t n = (size_t)prefix[0] << 24 | (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 |
               prefix[3];
    unsigned char *bytes = weir_arena_take(arena, n);
    if (bytes == NULL || !read_all(STDIN_FILENO, bytes, n) ||
        weir_protobuf_unpack(type, bytes, n, NULL, arena, &message, &why) != WEIR_OK) {
        fprintf(stderr, "a request of %zu bytes cannot be read: %s\n", n, why);
        return NULL;
    }
    return message;
}

/* ---- Files ---- */

char *common_file(weir_arena *arena, const char *folder, const char *name,
                  const ProtobufCBinaryData *bytes)
{
    size_t size = strlen(folder) + strlen(name) + 2;
    char *path = weir_arena_take(arena, size);
    if (path == NULL)
        return NULL;
    snprintf(path, size, "%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return NULL;
    bool written = write_all(fd, (const char *)bytes->data, bytes->len);
    return close(fd) == 0 && written ? path : NULL;
}

/* ---- Metadata ---- */

static conformance_header *find(conformance_header **headers, size_t n, weir_http1_span name)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(headers[i]->name) == name.len &&
            memcmp(headers[i]->name, name.at, name.len) == 0)
            return headers[i];
    return NULL;
}

/* A name may come as often as there are fields. */
static conformance_header *new_header(weir_arena *arena, weir_http1_span name, size_t values)
{
    conformance_header *header = weir_arena_take(arena, sizeof *header);
    if (header == NULL)
        return NULL;
    *header = (conformance_header)CONNECTRPC__CONFORMANCE__V1__HEADER__INIT;
    header->name = weir_arena_copy(arena, name.at, name.len);
    header->value = weir_arena_take(arena, values * sizeof *header->value);
    return header->name != NULL && header->value != NULL ? header : NULL;
}

/* Binary metadata is left out: bytes are no text, and the tests have none. */
static bool is_binary(weir_http1_span name)
{
    return name.len > 4 && memcmp(name.at + name.len - 4, "-bin", 4) == 0;
}

conformance_header **common_headers(weir_arena *arena, const weir_rpc_call *call, size_t n,
                                    weir_http1_field (*at)(const weir_rpc_call *, size_t),
                                    size_t *ret_n)
{
    conformance_header **headers = weir_arena_take(arena, n * sizeof *headers);
    size_t count = 0;
    for (size_t i = 0; headers != NULL && i < n; i++) {
        weir_http1_field field = at(call, i);
        if (is_binary(field.name))
            continue;
        conformance_header *header = find(headers, count, field.name);
        if (header == NULL) {
            header = new_header(arena, field.name, n - i);
            if (header == NULL)
                return NULL;
            headers[count++] = header;
        }
        char *value = weir_arena_copy(arena, field.value.at, field.value.len);
        if (value == NULL)
            return NULL;
        header->value[header->n_value++] = value;
    }
    *ret_n = count;
    return headers;
}

/* ---- Any ---- */

static const char prefix[] = "type.googleapis.com/";

Google__Protobuf__Any *common_any(weir_arena *arena, const char *name, const void *bytes, size_t n)
{
    Google__Protobuf__Any *any = weir_arena_take(arena, sizeof *any);
    size_t size = sizeof prefix + strlen(name);
    char *url = weir_arena_take(arena, size);
    char *value = weir_arena_copy(arena, bytes, n);
    if (any == NULL || url == NULL || value == NULL)
        return NULL;
    snprintf(url, size, "%s%s", prefix, name);
    *any = (Google__Protobuf__Any)GOOGLE__PROTOBUF__ANY__INIT;
    any->type_url = url;
    any->value = (ProtobufCBinaryData){ n, (uint8_t *)value };
    return any;
}

Google__Protobuf__Any *common_any_of(weir_arena *arena, const ProtobufCMessage *message)
{
    size_t size = weir_protobuf_size(message), n;
    void *bytes = size != SIZE_MAX ? weir_arena_take(arena, size) : NULL;
    if (bytes == NULL || weir_protobuf_pack(message, bytes, size, &n) != WEIR_OK)
        return NULL;
    return common_any(arena, message->descriptor->name, bytes, n);
}

const char *common_type(const Google__Protobuf__Any *any)
{
    const char *slash = strrchr(any->type_url, '/');
    return slash != NULL ? slash + 1 : any->type_url;
}
