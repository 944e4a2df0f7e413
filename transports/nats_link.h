/* One connection to a NATS server that comes back after every loss; under publisher and source. */
#ifndef WI_NATS_LINK_H
#define WI_NATS_LINK_H

#include "wi_names.h"

#include <weir/nats.h>
#include <weir/nats_proto.h>
#include <weir/stage.h>

#include <event2/event.h>
#include <event2/event_struct.h>

typedef struct wi_nats_link wi_nats_link;

/* What the owner hears. None of them may free the link. After wi_nats_link_lost nothing else is
 * called but `down`. */
typedef struct wi_nats_handler {
    void (*up)(wi_nats_link *link, const weir_nats_info *info);
    void (*down)(wi_nats_link *link); /* it was up */
    /* The PING numbered `serial` was answered. */
    void (*pong)(wi_nats_link *link, uint64_t serial);
    /* The server said -ERR; if that means the end, the loss follows by itself. */
    void (*refused)(wi_nats_link *link, weir_nats_text why);
    /* Bytes have left: link->out.sent moved on. */
    void (*sent)(wi_nats_link *link);
    /* A message; WEIR_EAGAIN pauses reading and gives it again after wi_nats_link_resume. */
    weir_status (*message)(wi_nats_link *link, const weir_nats_event *event);
} wi_nats_handler;

typedef struct wi_nats_link_config {
    weir_nats_url url;
    const char *name;
    uint32_t connect_ms, reconnect_ms, reconnect_ms_max, ping_ms;
    size_t payload_bytes_max; /* of messages received */
    bool retain;              /* keep what was sent until wi_nats_out_release, for replay */
} wi_nats_link_config;

/* Bytes to send: [start, end) are kept, of which [start, sent) were written on this connection.
 * `origin` is the position in the stream of data[0]; it lets the owner name bytes for good. */
typedef struct wi_nats_out {
    char *data;
    size_t capacity, start, sent, end;
    uint64_t origin;
} wi_nats_out;

typedef enum wi_nats_state {
    WI_NATS_CLOSED,
    WI_NATS_WAITING, /* for the next try */
    WI_NATS_RESOLVING,
    WI_NATS_CONNECTING,
    WI_NATS_GREETING, /* INFO is to come */
    WI_NATS_PROVING,  /* CONNECT and PING were sent, PONG is to come */
    WI_NATS_UP
} wi_nats_state;

struct wi_nats_link {
    weir_stage *stage;
    const weir_env *env;
    const wi_nats_handler *handler;
    wi_nats_link_config config;
    wi_nats_state state;
    const char *why; /* static: what the last loss was for */
    weir_status why_status;

    wi_names *names;
    uint32_t address_next, attempts;

    int fd;
    bool paused, writable_awaited, watching, pong_owed;
    struct event readable, writable;
    weir_timer timer; /* connect limit, backoff, keepalive: one at a time */
    weir_task flush;  /* at the end of the turn */
    bool flush_held;

    weir_nats_parser parser;
    char *in;
    size_t in_capacity, in_start, in_end;
    bool heard; /* bytes came since the last tick of the keepalive */

    wi_nats_out out;
    char *hello;
    size_t hello_size, hello_sent;
    uint64_t pings_sent, pongs_seen, max_payload;
};

/* Checks the user's part of a config, for a stage's `check`. */
weir_status wi_nats_connection_check(const weir_nats_connection *connection, const char **why);
/* Puts it into `config`, with the defaults. */
weir_status wi_nats_connection_fill(wi_nats_link_config *config,
                                    const weir_nats_connection *connection);

/* Prepares a zeroed link and starts to connect. Borrows handler and what config points to. */
weir_status wi_nats_link_open(wi_nats_link *link, weir_stage *stage,
                              const wi_nats_link_config *config, const wi_nats_handler *handler);
/* Ends it and frees what it owns. Idempotent; a zeroed link is fine. */
void wi_nats_link_close(wi_nats_link *link);
/* Gives the connection up, now, and tries again after a while. */
void wi_nats_link_lost(wi_nats_link *link, weir_status status, const char *why);

/* Room for `size` bytes at the end of what is to be sent, or NULL for want of memory. */
char *wi_nats_out_room(wi_nats_link *link, size_t size);
/* Appends `size` bytes that were put there. Flush or kick sends them. */
void wi_nats_out_commit(wi_nats_link *link, size_t size);
/* Sends what there is: now, or at the end of the turn. */
void wi_nats_link_flush(wi_nats_link *link);
void wi_nats_link_kick(wi_nats_link *link);
/* Bytes before `position` of the stream need not be kept. */
void wi_nats_out_release(wi_nats_link *link, uint64_t position);
/* Appends a PING and gives its number; false for want of memory. */
bool wi_nats_link_ping(wi_nats_link *link, uint64_t *ret_serial);
/* Reads on after a message was put off. */
void wi_nats_link_resume(wi_nats_link *link);

static inline uint64_t wi_nats_out_position(const wi_nats_out *out, size_t index)
{
    return out->origin + index;
}

#endif
