/* NATS on the loop: a stage that publishes items, and a source of subscribed messages.
 *
 * Each replica has one connection, on its own loop; it comes back after every loss, with
 * exponential backoff and jitter, for as long as the stage is open. Core NATS with headers; no
 * TLS. The protocol itself is in <weir/nats_proto.h>. */
#ifndef WEIR_NATS_H
#define WEIR_NATS_H

#include <weir/nats_proto.h>
#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_NATS_PUBLISH_HEADERS_MAX 16
#define WEIR_NATS_FOREVER             UINT32_MAX

/* How a connection is made and kept. Zero is the default everywhere. */
typedef struct weir_nats_connection {
    /* As weir_nats_url_parse reads it; borrowed until the pipeline is freed. NULL:
     * nats://127.0.0.1:4222 */
    const char *url;
    const char *name;    /* for the server's monitoring; borrowed alike; NULL: "weir" */
    uint32_t connect_ms; /* to resolve, connect and be accepted; 0: 5000 */
    /* First wait after a loss, doubled each time, half of it jitter; 0: 100. */
    uint32_t reconnect_ms;
    uint32_t reconnect_ms_max; /* 0: 5000 */
    /* We ask for a sign of life this often; one interval without a word is a loss; 0: 10000. */
    uint32_t ping_ms;
} weir_nats_connection;

/* What to publish for one item, filled in by the user's callback. What the texts point to is the
 * item's, the user's, or lies in `scratch`; it is copied as soon as the callback has returned. */
typedef struct weir_nats_publication {
    weir_nats_text subject; /* required; no wildcards */
    weir_nats_text reply;   /* where an answer should go, or none */
    weir_nats_text payload; /* may be empty */
    weir_nats_header headers[WEIR_NATS_PUBLISH_HEADERS_MAX];
    uint32_t header_count;
    bool skip;            /* publish nothing: the item passes on as it is */
    char *scratch;        /* room to format in */
    size_t scratch_bytes; /* how much, as configured */
} weir_nats_publication;

/* When an item has been published. */
typedef enum weir_nats_done {
    /* The server has answered a PING sent after it, so it has the message. What was not answered is
     * sent again after a loss: at least once. */
    WEIR_NATS_FLUSHED,
    /* The socket took it: at most once. What was under way in a loss is gone. */
    WEIR_NATS_WRITTEN
} weir_nats_done;

typedef struct weir_nats_config {
    weir_nats_connection connection;
    /* Says what to publish for `item`, which it borrows. On other than WEIR_OK the item fails with
     * that. Loop thread; called once per item, and again if there was no room. Required. */
    weir_status (*publication)(const weir_item *item, weir_nats_publication *publication,
                               void *user);
    void *user; /* borrowed; shared by all replicas */
    weir_nats_done done;
    uint32_t in_flight;  /* items begun and not yet done; 0: 1024; at most 65536 */
    uint32_t timeout_ms; /* of an item from its start; 0: none. It may still be published */
    /* How long demand is withheld while no server takes anything; after that, items fail with
     * WEIR_EUNAVAILABLE until one does. 0: 5000; WEIR_NATS_FOREVER. */
    uint32_t wait_ms;
    /* Messages encoded and not yet done; while that is full, items wait. 0: 4 MiB; at most 1 GiB.
     * The buffer takes at most twice that and a message. */
    uint32_t pending_bytes;
    uint32_t
        payload_bytes_max;  /* a message's headers and payload; 0: 1 MiB, the server's holds too */
    uint32_t scratch_bytes; /* 0: 4096 */
    /* Leave out the header Trace-ID, which has the trace id of the item's context in hex, if there
     * is one and the callback gave no such header. */
    bool no_trace;
} weir_nats_config;

/* A stage that publishes each item and then passes it on, in order. Items fail with WEIR_EINVAL
 * (not a valid message), WEIR_ELIMIT (over payload_bytes_max, pending_bytes or the server's limit),
 * WEIR_EDENIED (the server forbids the subject; seen in flushed mode), WEIR_EUNAVAILABLE (no server
 * for wait_ms: what was sent but not answered may have arrived), WEIR_ENOMEM. Without demand it is
 * still connected. The config is copied. Gives NULL for want of memory. Any thread. */
WEIR_API weir_stage_spec *weir_nats_publish(const weir_nats_config *config);

/* The body of an item that weir_nats_subscribe emits; the texts lie in the item. */
typedef struct weir_nats_received {
    weir_nats_text subject, reply, payload;
    weir_nats_text header; /* see weir_nats_header_find */
} weir_nats_received;

typedef struct weir_nats_subscribe_config {
    weir_nats_connection connection;
    const char *subject; /* wildcards allowed; borrowed like the URL. Required */
    /* Queue group: replicas of one group share the messages. NULL: each gets every message. */
    const char *queue;
    uint32_t payload_bytes_max; /* larger ones break the connection; 0: 1 MiB; at most 1 GiB */
} weir_nats_subscribe_config;

/* A source of messages. Core NATS delivers at most once: what was published while there was no
 * connection is gone, and a source without demand stops reading, until the server finds it slow and
 * closes it. Draining stops at once. A forbidden subject fails the stage (WEIR_EDENIED). The config
 * is copied. Gives NULL for want of memory. Any thread. */
WEIR_API weir_stage_spec *weir_nats_subscribe(const weir_nats_subscribe_config *config);

#ifdef __cplusplus
}
#endif
#endif
