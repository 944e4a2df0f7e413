/* What the files of the HTTP client share: client, connection, names, TLS. */
#ifndef WI_HTTP_CLIENT_INTERNAL_H
#define WI_HTTP_CLIENT_INTERNAL_H

#include "wi_names.h"
#include "wi_tls.h"

#include <weir/http_client.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include <netinet/in.h>
#include <sys/socket.h>

enum {
    WI_HTTP_HOST_MAX = 256,   /* with its final NUL; RFC 1035 allows 253 */
    WI_HTTP_FIELDS_MAX = 100, /* of a response */
    WI_HTTP_REQUEST_FIELDS = 32,
    WI_HTTP_SCRATCH = 2048,
    WI_HTTP_HEAD_MAX = 16 * 1024,
    WI_HTTP_INTERIM_MAX = 8, /* 1xx responses before the final one */
    WI_HTTP_BUFFER_MIN = 4 * 1024,
    WI_HTTP_BUFFER_KEEP = 64 * 1024, /* an idle connection gives back what is larger */
};

typedef struct wi_http_client wi_http_client;

typedef struct wi_http_url {
    char host[WI_HTTP_HOST_MAX]; /* without brackets */
    char authority[WI_HTTP_HOST_MAX + 8];
    uint16_t port;
    bool tls;
} wi_http_url;

typedef enum wi_http_state {
    WI_HTTP_FREE, /* no socket, no operation */
    WI_HTTP_RESOLVING,
    WI_HTTP_CONNECTING,
    WI_HTTP_HANDSHAKE,
    WI_HTTP_BUSY, /* a request is being sent or answered */
    WI_HTTP_IDLE  /* kept alive, without an operation */
} wi_http_state;

typedef struct wi_http_buffer {
    char *at;
    size_t cap, len;
} wi_http_buffer;

typedef struct wi_http_conn {
    wi_http_client *client;
    struct wi_http_conn *next; /* in the stack of idle or of unused ones */
    struct wi_http_conn *flush_next;
    weir_op *op; /* from RESOLVING to BUSY */
    struct event readable, writable;
    wi_tls_session *tls;
    uint64_t due_ns; /* of connecting, or of being idle */
    int fd;
    wi_http_state state;
    uint32_t address_first, address_tried;
    weir_http1_method method;
    uint8_t interims;
    bool flush_queued, reused, repeatable, repeated, half_sent, head_done, head_moved;

    wi_http_buffer out, in;
    size_t out_sent, head_len, fed, body_len;
    weir_http1_scan scan;
    weir_http1_head head;
    weir_http1_body body;
    weir_http1_field *fields;
} wi_http_conn;

/* One client: the state of one replica of the stage, so of one loop. */
struct wi_http_client {
    weir_stage *stage;
    weir_loop *loop;
    const weir_env *env;
    struct event_base *base;
    weir_http_call_config config; /* with its defaults filled in */
    weir_http1_limits limits;
    wi_http_url url;
    wi_tls *tls;
    wi_names *names;
    wi_http_conn *conns;
    wi_http_conn *idle, *unused, *to_flush;
    weir_timer sweep;
    uint64_t sweep_due_ns, backoff_until_ns, backoff_ns;
    uint32_t address_good; /* the address that answered last */
    char scratch[WI_HTTP_SCRATCH];
    weir_http1_field fields[WI_HTTP_REQUEST_FIELDS + 1];
};

/* ---- http_client_url.c ---- */

weir_status wi_http_url_parse(const char *text, wi_http_url *ret_url, const char **ret_why);

/* ---- http_client_conn.c: one connection ---- */

/* Writes the request of `op` into an idle or unused connection and makes it the operation's. */
weir_status wi_http_conn_prepare(wi_http_conn *conn, weir_op *op, const char **ret_why);
/* Whether the server has neither closed an idle connection nor spoken out of turn. */
bool wi_http_conn_is_fresh(wi_http_conn *conn);
/* Connects, then sends. */
void wi_http_conn_open(wi_http_conn *conn);
/* The lookup that it waited for is over. */
void wi_http_conn_resolved(wi_http_conn *conn, weir_status status);
void wi_http_conn_send(wi_http_conn *conn);
void wi_http_conn_connect_failed(wi_http_conn *conn, const char *why);
/* Closes the socket; the operation stays with the connection. */
void wi_http_conn_close(wi_http_conn *conn);
/* Ends the operation and with it this use of the connection, whose socket is closed. */
void wi_http_conn_fail(wi_http_conn *conn, weir_status status, const char *why);
void wi_http_conn_done(wi_http_conn *conn);

/* ---- http_client_message.c: requests out, responses in ---- */

bool wi_http_buffer_reserve(const weir_env *env, wi_http_buffer *buffer, size_t cap);
weir_status wi_http_request_write(wi_http_conn *conn, const weir_item *item,
                                  const weir_context *context, const char **ret_why);
/* Takes in what conn->in holds. WEIR_OK: complete. WEIR_EPARTIAL: more is needed. */
weir_status wi_http_response_feed(wi_http_conn *conn, const char **ret_why);
/* The peer closed: whether that completes the response. */
weir_status wi_http_response_eof(wi_http_conn *conn, const char **ret_why);
void wi_http_response_reset(wi_http_conn *conn);
/* How much the next read may take, after making room; 0 for want of memory. */
size_t wi_http_response_room(wi_http_conn *conn);
/* Hands the complete response to the callback. */
weir_status wi_http_response_deliver(wi_http_conn *conn, const char **ret_why);

/* ---- http_client.c: the pool ---- */

/* The connection is to be looked at again in `delay_ms`. */
void wi_http_client_watch(wi_http_client *client, wi_http_conn *conn, uint64_t delay_ms);
void wi_http_client_connected(wi_http_client *client, const wi_http_conn *conn);
void wi_http_client_connect_failed(wi_http_client *client);
/* True while a failed connect is too recent for another. */
bool wi_http_client_waits(const wi_http_client *client);
/* Back to the pool: kept alive, or without a socket. */
void wi_http_client_keep(wi_http_client *client, wi_http_conn *conn);
void wi_http_client_unuse(wi_http_client *client, wi_http_conn *conn);
/* An idle connection is over. */
void wi_http_client_lose(wi_http_client *client, wi_http_conn *conn);

#endif
