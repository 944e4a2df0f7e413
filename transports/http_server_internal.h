/* What the parts of the HTTP server share: the server of a loop, its connections, its requests. */
#ifndef WI_HTTP_SERVER_INTERNAL_H
#define WI_HTTP_SERVER_INTERNAL_H

#include "wi_listener.h"
#include "wi_tls.h"

#include <weir/http_server.h>

#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/in.h>

#define WI_HTTPD_FIELDS_MAX 100
#define WI_HTTPD_POOL_BYTES 4096 /* a buffer of the pool */
#define WI_HTTPD_POOL_MAX   512  /* buffers that are kept */
#define WI_HTTPD_READ_BYTES (64 * 1024)
#define WI_HTTPD_HEAD_READ                                                \
    (16 * 1024) /* at most, while heads are expected: bounds what is left \
                 */
#define WI_HTTPD_PREFIXES    4
#define WI_HTTPD_PREFIX_TYPE 64

typedef struct wi_httpd wi_httpd;
typedef struct wi_httpd_conn wi_httpd_conn;

/* Connections that wait for the same thing. */
typedef struct wi_httpd_queue {
    wi_httpd_conn *first, *last;
    uint32_t count;
} wi_httpd_queue;

/* Bytes [from, to) are there. With cap of WI_HTTPD_POOL_BYTES it is the pool's. */
typedef struct wi_httpd_buffer {
    char *at;
    uint32_t from, to, cap;
} wi_httpd_buffer;

static inline uint32_t wi_httpd_buffered(const wi_httpd_buffer *buffer)
{
    return buffer->to - buffer->from;
}

/* A reply given before its turn. */
typedef struct wi_httpd_held {
    struct wi_httpd_held *next; /* by seq */
    uint32_t seq;
    bool complete, close;
    wi_httpd_buffer bytes;
} wi_httpd_held;

/* A request whose body did not come with its head. */
typedef struct wi_httpd_incoming {
    struct wi_httpd_incoming *next; /* in the list of spare ones */
    weir_item *item;
    weir_http1_body body;
    size_t room;       /* for the body, where it is collected */
    uint64_t reserved; /* of the bytes all bodies of the loop may have */
    bool complete;     /* only waits for demand */
} wi_httpd_incoming;

enum { WI_HTTPD_UNANSWERED, WI_HTTPD_STREAMING, WI_HTTPD_ANSWERED };

/* Offsets into the head; a head has at most 64 KiB. */
typedef struct wi_httpd_part {
    uint16_t at, len;
} wi_httpd_part;

typedef struct wi_httpd_field {
    wi_httpd_part name, value;
} wi_httpd_field;

/* The body of a request item; fields, head and mostly the body follow it in memory. */
struct weir_http_request {
    wi_httpd *server;
    wi_httpd_conn *conn;     /* home loop only; NULL once it is gone */
    weir_http_request *next; /* of the connection */
    weir_item *item;
    weir_context context;
    wi_httpd_field *fields;
    char *head;
    weir_http1_span body;
    char *body_memory;              /* if it is on its own */
    struct wi_httpd_parcel *parcel; /* a reply given on another loop */
    void (*has_room)(weir_item *item, void *user);
    void *has_room_user;
    struct in6_addr peer; /* IPv4 is mapped */
    uint16_t peer_port;   /* host order */
    uint16_t field_count;
    wi_httpd_part target, path, query, host, content_type;
    uint32_t seq;
    uint8_t method, minor, answered;
    bool has_query, has_type, is_tls, is_copy, to_close, cut_body;
};

/* Written by the loop that has the item, and looked at by the connection's. */
static inline uint8_t wi_httpd_answered(const weir_http_request *request)
{
    return __atomic_load_n(&request->answered, __ATOMIC_RELAXED);
}
/* Makes the one answer the caller's: the loop that has the item and the connection's, whose
 * deadline may have come, both may want to give it. */
static inline bool wi_httpd_claim(weir_http_request *request, uint8_t answered)
{
    uint8_t was = WI_HTTPD_UNANSWERED;
    return __atomic_compare_exchange_n(&request->answered, &was, answered, false, __ATOMIC_RELAXED,
                                       __ATOMIC_RELAXED);
}
static inline void wi_httpd_set_answered(weir_http_request *request, uint8_t answered)
{
    __atomic_store_n(&request->answered, answered, __ATOMIC_RELAXED);
}

enum { WI_HTTPD_HANDSHAKE, WI_HTTPD_IDLE, WI_HTTPD_HEAD, WI_HTTPD_BODY, WI_HTTPD_LINGER };

/* Lives from accept to the end of the turn after the one in which it ended. */
struct wi_httpd_conn {
    struct event io; /* edge-triggered, for everything, from beginning to end */
    wi_httpd *server;
    wi_httpd_conn *next, *prev;
    wi_httpd_queue *queue; /* where it waits, or NULL */
    wi_httpd_conn *before, *behind;
    wi_httpd_conn *next_dirty;
    weir_http_request *requests, *requests_last; /* whose items live, in order */
    wi_httpd_held *held;
    wi_httpd_incoming *incoming;
    wi_tls_session *tls;
    wi_httpd_buffer in, out;
    uint64_t wrote_ns;  /* when the peer last took something */
    uint64_t since_ns;  /* the beginning of what the deadline is for */
    uint64_t paused_ns; /* since when we do not read; 0: we do */
    weir_http1_scan scan;
    uint32_t seq_in, seq_out; /* the next request to read, the next to answer */
    uint64_t need_bytes;      /* what it is cramped for */
    uint32_t held_bytes, lingered;
    int fd;      /* -1: over */
    int dead_fd; /* then still to be closed */
    struct in6_addr peer;
    uint16_t peer_port;
    uint8_t phase;
    bool readable;   /* the socket may have more */
    bool read_short; /* the last read got less than it asked for */
    bool partial;    /* what is in `in` is not a whole head */
    bool blocked;    /* the socket takes no more */
    bool read_ended; /* nothing more is taken for a request */
    bool peer_ended; /* the peer sends no more */
    bool closes;     /* the last reply is in `out` */
    bool hup;        /* its end was seen to come */
    bool again;      /* has to be read without an edge */
    bool waits;      /* for its own replies to be given or sent */
    bool rejects;    /* answers 503 to what there is no demand for */
    bool continue_due, is_dirty;
    bool unwatched; /* the poll after its end is over */
};

/* The beginning of a reply's head, made once a second. */
typedef struct wi_httpd_prefix {
    int status;
    uint32_t type_len, len;
    char type[WI_HTTPD_PREFIX_TYPE];
    char text[256];
} wi_httpd_prefix;

typedef struct wi_httpd_shared {
    const weir_env *env;
    wi_port port;
    uint32_t connections_max; /* of one replica */
    wi_tls *tls;              /* one for all replicas */
} wi_httpd_shared;

struct wi_httpd {
    weir_stage *stage;
    weir_out *out;
    weir_loop *loop;
    const weir_env *env;
    weir_http_server_config config; /* with its defaults filled in */
    const wi_httpd_shared *shared;
    wi_listener listener;
    weir_task door_task;
    wi_httpd *next_at_door;
    bool is_open, accepting, draining, released, bytes_short;
    uint32_t conns_live;
    uint64_t requests_live;
    uint64_t body_bytes;                 /* reserved for bodies being received */
    wi_httpd_conn *conns, *dirty, *dead; /* the dead linked by `behind` */
    wi_httpd_queue hungry;               /* for demand */
    wi_httpd_queue cramped;              /* for memory for a body */
    weir_task flush;
    weir_timer sweep, overload, again;
    uint64_t sweep_ns;
    char **pool;
    uint32_t pooled;
    wi_httpd_incoming *spare_incoming;
    weir_http1_field fields[WI_HTTPD_FIELDS_MAX];
    weir_http1_date date;
    uint64_t date_until_ns; /* loop time */
    uint32_t next_prefix;
    wi_httpd_prefix prefixes[WI_HTTPD_PREFIXES];
    char *scratch; /* WI_HTTPD_READ_BYTES */
};

/* ---- http_server.c ---- */
/* Lets the stage go once it drains and nothing is left. */
void wi_httpd_maybe_finish(wi_httpd *server);

/* ---- http_server_buffer.c ---- */
bool wi_httpd_reserve(wi_httpd *server, wi_httpd_buffer *buffer, size_t more);
void wi_httpd_release(wi_httpd *server, wi_httpd_buffer *buffer);
bool wi_httpd_append(wi_httpd *server, wi_httpd_buffer *buffer, const void *bytes, size_t n);
void wi_httpd_pool_done(wi_httpd *server);

/* ---- http_server_accept.c ---- */
weir_status wi_httpd_listen(wi_httpd *server, const char **ret_why);
/* Accepts if there is demand and room for a connection; otherwise lets them wait. */
void wi_httpd_accept_or_not(wi_httpd *server);

bool wi_httpd_may_accept(const wi_httpd *server);

/* ---- http_server_door.c ---- */
void wi_httpd_door_open(wi_httpd *server);
void wi_httpd_door_close(wi_httpd *server);
bool wi_httpd_door_waits(const wi_httpd *server);
/* Takes what was handed in, while it may. */
void wi_httpd_door_take(wi_httpd *server);

/* ---- http_server_conn.c ---- */
wi_httpd_conn *wi_httpd_conn_new(wi_httpd *server, int fd);
/* Takes no more requests; closes once all is answered. */
void wi_httpd_conn_finish(wi_httpd_conn *conn);
/* Closes the socket now, and cancels what was not answered. */
void wi_httpd_conn_kill(wi_httpd_conn *conn, weir_status status);
/* Everything is sent and nothing follows: lets the peer close. */
void wi_httpd_conn_wind_down(wi_httpd_conn *conn);
/* Answers `status` to what is being read, and takes nothing more. `why` is a static text. */
void wi_httpd_refuse(wi_httpd_conn *conn, int status, const char *why);
/* Whether there is something received that no answer was given to. */
bool wi_httpd_conn_has_input(const wi_httpd_conn *conn);

/* ---- http_server_read.c ---- */
/* Reads and emits as long as it may. */
void wi_httpd_pump(wi_httpd_conn *conn);
/* Looks at who waits in the next turn. */
void wi_httpd_come_back(wi_httpd *server);

/* ---- http_server_wait.c ---- */
/* Stops the clock of its deadlines, and lets it go on. */
void wi_httpd_pause(wi_httpd_conn *conn);
void wi_httpd_resume(wi_httpd_conn *conn);
/* At the end of `queue`, or its beginning, if it is in none. */
void wi_httpd_queue_up(wi_httpd_conn *conn, wi_httpd_queue *queue, bool first);
void wi_httpd_queue_off(wi_httpd_conn *conn);
/* It has input, and there is no demand. */
void wi_httpd_hungry(wi_httpd_conn *conn, bool first);
/* Whether there is memory for a body of so many bytes. One always fits if there is no other. */
bool wi_httpd_body_fits(const wi_httpd *server, uint64_t bytes);
/* Lets those read that waited for what there is now. */
void wi_httpd_feed(wi_httpd *server);

/* ---- http_server_write.c ---- */
/* Sends at the end of the turn. */
void wi_httpd_dirty(wi_httpd_conn *conn);
void wi_httpd_flush_conn(wi_httpd_conn *conn);
void wi_httpd_flush(weir_task *task, void *user);

/* ---- http_server_request.c ---- */
extern const weir_item_type wi_httpd_request_type;
/* Copies the head, with room for `body_room` bytes of body behind it. NULL for want of memory. */
weir_item *wi_httpd_request_new(wi_httpd_conn *conn, const weir_http1_head *head, const char *at,
                                size_t head_bytes, size_t body_room);
/* Where the room for the body begins. */
char *wi_httpd_request_room(weir_http_request *request, size_t head_bytes);
/* Frees one that was never emitted, and tells nobody. */
void wi_httpd_request_discard(weir_http_request *request);
void wi_httpd_request_unlink(weir_http_request *request);

/* ---- http_server_body.c ---- */
/* Begins to collect the body that follows `head`; false for want of memory. */
bool wi_httpd_incoming_start(wi_httpd_conn *conn, const weir_http1_head *head, const char *at,
                             size_t head_bytes, size_t reserve);
/* Keeps a whole request until there is demand. */
bool wi_httpd_incoming_wait(wi_httpd_conn *conn, weir_item *item);
/* Takes bytes of the body; gives how many. Refuses on an error. */
size_t wi_httpd_incoming_take(wi_httpd_conn *conn, const char *at, size_t len);
/* Takes it from the connection; its item is the caller's. */
weir_item *wi_httpd_incoming_done(wi_httpd_conn *conn);
void wi_httpd_incoming_free(wi_httpd *server, wi_httpd_incoming *incoming);

/* ---- http_server_reply.c ---- */
/* How to answer: which place in the order, and what the peer understands. */
typedef struct wi_httpd_place {
    uint32_t seq;
    uint8_t minor;
    bool is_head, streams, to_close;
} wi_httpd_place;
weir_status wi_httpd_answer(wi_httpd_conn *conn, const wi_httpd_place *place,
                            const weir_http_answer *answer);
/* Answers by how the item ended; nothing if it was answered. */
void wi_httpd_answer_end(weir_http_request *request, weir_outcome outcome, weir_status status);
/* Answers with a small JSON text that says why. */
void wi_httpd_answer_error(wi_httpd_conn *conn, const wi_httpd_place *place, int status,
                           const char *why);
/* Says "100 Continue" if it is the turn of what is being read. */
void wi_httpd_put_continue(wi_httpd_conn *conn);
wi_httpd_place wi_httpd_place_of(const weir_http_request *request);
weir_status wi_httpd_stream_put(weir_http_request *request, const void *bytes, size_t n);
weir_status wi_httpd_stream_end(weir_http_request *request);

/* ---- http_server_answer.c ---- */
/* Answers with what was given on another loop; false if that can't be. */
bool wi_httpd_parcel_send(weir_http_request *request);
void wi_httpd_parcel_free(weir_http_request *request);
/* Runs what waits for room, if there is. */
void wi_httpd_tell_room(wi_httpd_conn *conn);

/* ---- http_server_sweep.c ---- */
void wi_httpd_sweep_start(wi_httpd *server);

#endif
