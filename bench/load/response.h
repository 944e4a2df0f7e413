/* The minimal HTTP/1.1 response reader of the load generator: status, length, chunks, no more. */
#ifndef LOAD_RESPONSE_H
#define LOAD_RESPONSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum response_state {
    RESPONSE_HEAD,
    RESPONSE_BODY,
    RESPONSE_CHUNK_SIZE,
    RESPONSE_CHUNK_DATA,
    RESPONSE_TRAILER,
    RESPONSE_UNTIL_CLOSE,
};

/* What a response head says. */
typedef struct response_facts {
    uint64_t body_bytes;
    int status;
    uint32_t retry_after_s;
    bool chunked;
    bool has_length;
    bool close;
} response_facts;

/* A server repeats its heads byte for byte, so the last one is remembered and compared instead of
 * parsed again: this keeps the generator well below the cost of the server. */
typedef struct response_cache {
    char head[512];
    size_t head_bytes;
    response_facts facts;
} response_cache;

typedef struct response {
    enum response_state state;
    response_facts facts;
    uint64_t left;
} response;

enum response_result { RESPONSE_MORE, RESPONSE_DONE, RESPONSE_BAD };

/* Reads `data` until one response is complete (RESPONSE_DONE), the data is used up (RESPONSE_MORE)
 * or it is no HTTP (RESPONSE_BAD). `*ret_used` is the number of bytes consumed; what is left must
 * be given again, with more behind it. `bodyless` says that the request was a HEAD. */
enum response_result response_read(response *r, response_cache *cache, bool bodyless,
                                   const char *data, size_t bytes, size_t *ret_used);

#endif
