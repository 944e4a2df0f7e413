/* What the TCP source, its lines and its replies share: the connection. */
#ifndef WI_TCP_INTERNAL_H
#define WI_TCP_INTERNAL_H

#include "wi_listener.h"

#include <weir/tcp.h>

typedef struct wi_tcp_conn wi_tcp_conn;
typedef struct wi_tcp_source wi_tcp_source;

typedef struct wi_tcp_buffer {
    char *at;
    size_t cap, from, to; /* bytes [from, to) are there */
} wi_tcp_buffer;

/* A ring of replies: they may be others' too, so their own links cannot hold them. */
typedef struct wi_tcp_queue {
    weir_item **items;
    uint32_t cap, first, n;
} wi_tcp_queue;

/* Lives as long as its socket, its chunks or its flush need it. The source's loop only, but for
 * `partial`, which belongs to the one stage that cuts lines. */
struct wi_tcp_conn {
    wi_tcp_source *source;
    wi_tcp_conn *next, *prev; /* all of the source */
    wi_tcp_conn *next_hungry, *prev_hungry;
    struct event readable, writable;
    weir_context context;
    weir_task flush;
    int fd;                     /* -1: closed */
    uint32_t chunks_live, pins; /* pinned while its own functions still use it */
    bool is_hungry;             /* readable, and not read for want of demand */
    bool reads;                 /* its read event is set */
    bool read_ended;            /* the peer, a failure or a drain ended the reading */
    bool write_waits;           /* its write event is set */
    bool peer_ended;            /* the peer sent its end, so there is nothing left to read */
    bool lingers;               /* all is written; waits for the peer's end, discarding */
    uint64_t id, touched_ns, written_ns;
    wi_tcp_buffer out;
    wi_tcp_queue waiting; /* replies the buffer has no room for */
    wi_tcp_buffer partial;
    const weir_stage *cutter; /* the stage that cuts lines; it owns this and what is below */
    bool cut_over;            /* a line was refused: nothing after it may be taken for a line */
};

typedef struct wi_tcp_chunk_body {
    weir_tcp_chunk shown;
    wi_tcp_conn *conn; /* NULL in a clone: only the original counts */
    char bytes[];
} wi_tcp_chunk_body;

extern const weir_item_type wi_tcp_chunk_type, wi_tcp_line_type;

/* ---- tcp_conn.c ---- */

wi_tcp_conn *wi_tcp_conn_new(wi_tcp_source *source, int fd);
/* The first of what `item` is made of, if that is a chunk; NULL otherwise. */
wi_tcp_conn *wi_tcp_conn_of(const weir_item *item);
/* Takes a reply: into the buffer, or behind those that wait for room. */
void wi_tcp_conn_reply(wi_tcp_conn *conn, weir_item *item);
/* The bytes of a reply; false if its body can't be told. A line is followed by a newline. */
bool wi_tcp_reply_bytes(const weir_item *item, const char **ret_at, size_t *ret_n,
                        bool *ret_is_line);
/* No more reading; closes once all is answered and written. */
void wi_tcp_conn_finish(wi_tcp_conn *conn);
/* The peer is gone, or has to go: cancels its work and drops its replies. */
void wi_tcp_conn_reset(wi_tcp_conn *conn);
void wi_tcp_conn_read(wi_tcp_conn *conn);
/* Notices a reset while it is not read. */
void wi_tcp_conn_check(wi_tcp_conn *conn);
/* Reads again if it may. */
void wi_tcp_conn_wake(wi_tcp_conn *conn);
/* Frees it if nothing needs it any more. */
void wi_tcp_conn_settle(wi_tcp_conn *conn);

bool wi_tcp_buffer_reserve(const weir_env *env, wi_tcp_buffer *buffer, size_t more);

/* ---- tcp.c: the source ---- */

struct wi_tcp_source {
    weir_stage *stage;
    weir_loop *loop;
    const weir_env *env;
    weir_tcp_config config; /* with its defaults filled in */
    wi_listener listener;
    wi_tcp_conn *conns;
    wi_tcp_conn *hungry, *hungry_last;
    uint32_t conns_live;
    uint64_t next_id;
    weir_timer sweep;
    char *scratch; /* chunk_bytes_max */
    bool ending;
};

void wi_tcp_source_add(wi_tcp_source *source, wi_tcp_conn *conn);
void wi_tcp_source_remove(wi_tcp_source *source, wi_tcp_conn *conn);
void wi_tcp_source_hungry(wi_tcp_source *source, wi_tcp_conn *conn);
void wi_tcp_source_fed(wi_tcp_source *source, wi_tcp_conn *conn);

#endif
