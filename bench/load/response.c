/* The minimal HTTP/1.1 response reader of the load generator: status, length, chunks, no more. */
#include "response.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool name_is(const char *line, size_t name_bytes, const char *name)
{
    return name_bytes == strlen(name) && strncasecmp(line, name, name_bytes) == 0;
}

static void read_field(response_facts *facts, const char *line, const char *end)
{
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (colon == NULL)
        return;
    size_t name_bytes = (size_t)(colon - line);
    const char *value = colon + 1;
    while (value < end && *value == ' ')
        value++;
    if (name_is(line, name_bytes, "content-length")) {
        facts->body_bytes = strtoull(value, NULL, 10);
        facts->has_length = true;
    } else if (name_is(line, name_bytes, "transfer-encoding")) {
        facts->chunked = end - value >= 7 && strncasecmp(end - 7, "chunked", 7) == 0;
    } else if (name_is(line, name_bytes, "connection")) {
        facts->close = end - value == 5 && strncasecmp(value, "close", 5) == 0;
    } else if (name_is(line, name_bytes, "retry-after")) {
        facts->retry_after_s = (uint32_t)strtoul(value, NULL, 10);
    }
}

/* Returns the bytes of the head, 0 if it is not complete, or -1 if it is no HTTP/1.x. */
static long read_head(response_facts *facts, response_cache *cache, const char *data, size_t bytes)
{
    if (cache->head_bytes != 0 && bytes >= cache->head_bytes &&
        memcmp(data, cache->head, cache->head_bytes) == 0) {
        *facts = cache->facts;
        return (long)cache->head_bytes;
    }
    if (memcmp(data, "HTTP/1.", bytes < 7 ? bytes : 7) != 0)
        return -1;
    const char *end = memmem(data, bytes, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    if (end - data < 12)
        return -1;
    *facts = (response_facts){ .status = atoi(data + 9) };
    if (facts->status < 100 || facts->status > 599)
        return -1;
    const char *line = memchr(data, '\r', (size_t)(end - data) + 1);
    while (line < end) {
        line += 2;
        if (line > end)
            break;
        const char *stop = memchr(line, '\r', (size_t)(end - line) + 1);
        read_field(facts, line, stop);
        line = stop;
    }
    size_t head_bytes = (size_t)(end - data) + 4;
    if (head_bytes <= sizeof(cache->head)) {
        memcpy(cache->head, data, head_bytes);
        cache->head_bytes = head_bytes;
        cache->facts = *facts;
    }
    return (long)head_bytes;
}

/* Sets the state that follows a head; true if the response has no body and is complete. */
static bool after_head(response *r, bool bodyless)
{
    const response_facts *facts = &r->facts;
    if (facts->status < 200)
        return false; /* interim: the head of the real response comes next */
    if (bodyless || facts->status == 204 || facts->status == 304)
        return true;
    if (facts->chunked) {
        r->state = RESPONSE_CHUNK_SIZE;
        return false;
    }
    if (!facts->has_length) {
        r->state = RESPONSE_UNTIL_CLOSE;
        return false;
    }
    r->left = facts->body_bytes;
    r->state = RESPONSE_BODY;
    return r->left == 0;
}

/* Reads one line of chunked framing; returns its bytes with the newline, or 0 for an incomplete
 * one. */
static size_t read_chunk_line(response *r, const char *data, size_t bytes, bool *ret_done)
{
    const char *newline = memchr(data, '\n', bytes);
    if (newline == NULL)
        return 0;
    size_t used = (size_t)(newline - data) + 1;
    if (r->state == RESPONSE_TRAILER) {
        *ret_done = used <= 2;
        return used;
    }
    uint64_t size = strtoull(data, NULL, 16);
    r->left = size + 2; /* the data and its CRLF */
    r->state = size == 0 ? RESPONSE_TRAILER : RESPONSE_CHUNK_DATA;
    return used;
}

static size_t skip_data(response *r, size_t bytes)
{
    size_t used = r->left < bytes ? (size_t)r->left : bytes;
    r->left -= used;
    return used;
}

/* One step from the present state; the bytes used, 0 if more data is needed, -1 for no HTTP. */
static long step(response *r, response_cache *cache, bool bodyless, const char *data, size_t bytes,
                 bool *ret_done)
{
    long used = 0;
    switch (r->state) {
    case RESPONSE_HEAD:
        used = read_head(&r->facts, cache, data, bytes);
        if (used > 0)
            *ret_done = after_head(r, bodyless);
        return used;
    case RESPONSE_BODY:
        used = (long)skip_data(r, bytes);
        *ret_done = r->left == 0;
        return used;
    case RESPONSE_CHUNK_DATA:
        used = (long)skip_data(r, bytes);
        if (r->left == 0)
            r->state = RESPONSE_CHUNK_SIZE;
        return used;
    case RESPONSE_CHUNK_SIZE:
    case RESPONSE_TRAILER:
        return (long)read_chunk_line(r, data, bytes, ret_done);
    case RESPONSE_UNTIL_CLOSE:
        return (long)bytes;
    }
    return -1;
}

enum response_result response_read(response *r, response_cache *cache, bool bodyless,
                                   const char *data, size_t bytes, size_t *ret_used)
{
    size_t at = 0;
    while (at < bytes) {
        bool done = false;
        long used = step(r, cache, bodyless, data + at, bytes - at, &done);
        if (used < 0)
            return RESPONSE_BAD;
        at += (size_t)used;
        if (done) {
            r->state = RESPONSE_HEAD;
            *ret_used = at;
            return RESPONSE_DONE;
        }
        if (used == 0)
            break;
    }
    *ret_used = at;
    return RESPONSE_MORE;
}
