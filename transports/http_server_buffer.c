/* Buffers of connections: taken from a pool of the loop when there is something to keep, and given
 * back as soon as they are empty, so that an idle connection has none. */
#include "http_server_internal.h"

#include <string.h>

static char *take(wi_httpd *server)
{
    if (server->pooled > 0)
        return server->pool[--server->pooled];
    return weir_memory_resize(server->env, NULL, WI_HTTPD_POOL_BYTES);
}

static void give(wi_httpd *server, char *at, uint32_t cap)
{
    if (cap == WI_HTTPD_POOL_BYTES && server->pooled < WI_HTTPD_POOL_MAX)
        server->pool[server->pooled++] = at;
    else
        weir_memory_free(server->env, at);
}

static bool grow(wi_httpd *server, wi_httpd_buffer *buffer, size_t more)
{
    uint32_t held = wi_httpd_buffered(buffer);
    size_t cap = 2 * (size_t)buffer->cap;
    if (more > INT32_MAX - held)
        return false;
    if (cap < held + more)
        cap = held + more;
    if (cap > INT32_MAX)
        return false;
    char *at = cap <= WI_HTTPD_POOL_BYTES ? take(server)
                                          : weir_memory_resize(server->env, NULL, cap);
    if (at == NULL)
        return false;
    if (held > 0)
        memcpy(at, buffer->at + buffer->from, held);
    if (buffer->at != NULL)
        give(server, buffer->at, buffer->cap);
    if (cap < WI_HTTPD_POOL_BYTES)
        cap = WI_HTTPD_POOL_BYTES;
    *buffer = (wi_httpd_buffer){ .at = at, .to = held, .cap = (uint32_t)cap };
    return true;
}

bool wi_httpd_reserve(wi_httpd *server, wi_httpd_buffer *buffer, size_t more)
{
    if (buffer->cap - buffer->to >= more)
        return true;
    uint32_t held = wi_httpd_buffered(buffer);
    if (buffer->from == 0 || buffer->cap - held < more)
        return grow(server, buffer, more);
    memmove(buffer->at, buffer->at + buffer->from, held);
    buffer->from = 0;
    buffer->to = held;
    return true;
}

void wi_httpd_release(wi_httpd *server, wi_httpd_buffer *buffer)
{
    if (buffer->at != NULL)
        give(server, buffer->at, buffer->cap);
    *buffer = (wi_httpd_buffer){ 0 };
}

bool wi_httpd_append(wi_httpd *server, wi_httpd_buffer *buffer, const void *bytes, size_t n)
{
    if (!wi_httpd_reserve(server, buffer, n))
        return false;
    if (n > 0)
        memcpy(buffer->at + buffer->to, bytes, n);
    buffer->to += (uint32_t)n;
    return true;
}

void wi_httpd_pool_done(wi_httpd *server)
{
    while (server->pooled > 0)
        weir_memory_free(server->env, server->pool[--server->pooled]);
    weir_memory_free(server->env, server->pool);
}
