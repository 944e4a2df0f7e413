/* TCP: a listener as a source of bytes, lines cut out of them, and replies to their connections.
 *
 * Whatever is made of a chunk (a line, what a stage derives of a line) keeps the chunk alive, and
 * with it the connection, so that a reply finds its way by the item alone. A connection is read
 * while there is demand, and while few of its chunks are under way: a peer that does not read its
 * replies is soon not read either, and holds up nobody else. */
#ifndef WEIR_TCP_H
#define WEIR_TCP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Zero is the default that is given; pointers stay borrowed until the pipeline is freed. */
typedef struct weir_tcp_config {
    const char *host;          /* a numeric address or "localhost"; NULL: every address */
    uint16_t port;             /* 0: any free one, the same for all replicas; see `listening` */
    uint32_t backlog;          /* connections the kernel keeps waiting: SOMAXCONN */
    uint32_t connections_max;  /* per loop; more wait in the backlog: 1024 */
    uint32_t chunk_bytes_max;  /* a read, 1..16,000: 16,000 */
    uint32_t chunks_max;       /* of one connection under way, 1..65,535: 8 */
    uint32_t write_bytes_max;  /* replies buffered per connection; more wait as items: 64 KiB */
    uint32_t idle_timeout_ms;  /* nothing read, nothing under way; closed: 300,000 */
    uint32_t write_timeout_ms; /* a peer took nothing of a reply; reset: 30,000 */
    bool keep_failed;          /* keep a connection of which an item failed or was rejected;
                                  otherwise it closes after the replies before it */
    /* Told the port, once per replica, as it begins to listen. Optional. Loop thread. */
    void (*listening)(uint16_t port, void *user);
    void *user;
} weir_tcp_config;

/* The body of a chunk. Borrowed from the item. */
typedef struct weir_tcp_chunk {
    char *bytes;
    size_t n;    /* 0 only at the end */
    bool is_end; /* the peer sends no more; it may still read */
} weir_tcp_chunk;

/* The source: chunks of all connections, in order per connection; key: the connection, not 0;
 * context: the connection's, cancelled with WEIR_ECLOSED when the peer is gone (while the
 * connection is not read, within a second). config NULL: all defaults. NULL for want of memory.
 * When it can't listen the stage fails, and the pipeline with it: WEIR_EEXIST (address in use),
 * WEIR_EDENIED, WEIR_ENOTFOUND (no such address) or WEIR_EINVAL; weir_pipeline_why says so in
 * words. */
WEIR_API weir_stage_spec *weir_tcp_listen(const weir_tcp_config *config);

typedef struct weir_lines_config {
    uint32_t line_bytes_max; /* without the newline; 0: 4096. At most 1 MiB */
    bool strip_cr;           /* take one CR off the end as well */
} weir_lines_config;

/* Cuts chunks into lines: items whose body is the line as a C string without its newline (LF),
 * cost its length + 1, made of the chunk that ends them. What follows the last newline when the
 * peer ends is a line too. A longer line (WEIR_ELIMIT), or one with a NUL in it (WEIR_EPROTO),
 * fails its chunk, and so ends its connection. Input: what weir_tcp_listen emits. */
WEIR_API weir_stage_spec *weir_lines(const weir_lines_config *config);

/* The sink: writes each item to the connection it came from. A chunk, and anything without a line
 * among what it is made of, must be a weir_tcp_chunk; anything else has a C string for its body,
 * and is followed by a newline. Replies go out in the order they come here, in one write per
 * connection and turn; an item is acked when the connection's buffer has it. One whose peer is gone
 * ends as aborted; one that came from no connection fails with WEIR_EINVAL, one from a connection
 * of another loop with WEIR_EUNSUPPORTED: the sink stands on the loop of its source. */
WEIR_API weir_stage_spec *weir_tcp_reply(void);

/* Whether `item` came from a weir_tcp_listen, directly or by what it is made of; any loop. */
WEIR_API bool weir_tcp_is_from(const weir_item *item);

#ifdef __cplusplus
}
#endif
#endif
