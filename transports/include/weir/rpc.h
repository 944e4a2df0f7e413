/* Calls: what a handler of a service, or a caller of one, is told and may do. Both sides share it.
 *
 * A call is a stream of messages each way, with metadata before and a status behind. On the server
 * it is born when a request's head has come; on the client by weir_rpc_start. Either way a handler
 * is told of it:
 *
 *   begin     server: its metadata are there. client: the response's metadata are there.
 *   message   one message has come. It was asked for, by weir_rpc_request, or by the kind: the one
 *             message of a call that has one is asked for by itself.
 *   end       server: the caller sends no more (not told of calls with one request).
 *   room      more may be sent, after weir_rpc_send said WEIR_EAGAIN or weir_rpc_room 0, or at the
 *             beginning: behind `begin`, or behind the one request; client: before `begin`. Only
 *             where many are sent.
 *   drain     server: it takes no new calls, and waits for those under way. Calls without an end
 *             of their own say what is to be said, and finish.
 *   over      the last: with the status of the call. Server: it is answered and that is sent, or
 *             it was cancelled. The call is gone when this returns, unless it is held.
 *
 * Demand is on the wire: what is not asked for stays in the sender, whose HTTP/2 window is not
 * opened (HTTP/1.1: the socket is not read). What the peer does not take leaves weir_rpc_room at 0.
 * So a call holds at most one incoming message and its window, and `send_bytes_max` and a message
 * going out, whatever the other side does.
 *
 * Threads: a call belongs to one loop; everything here is for that loop, and its callbacks run
 * there, never beneath one another. For work elsewhere make an item of it (weir_rpc_item).
 *
 * No call and no name may be NULL, unless it says so; a message that is NULL is WEIR_EINVAL. */
#ifndef WEIR_RPC_H
#define WEIR_RPC_H

#include <weir/http1.h>
#include <weir/pipeline.h>
#include <weir/protobuf.h>
#include <weir/rpc_wire.h>
#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_rpc_call weir_rpc_call;

/* All optional. `message` lasts until the callback returns; that of a call with one request, until
 * the call is over, and it is told when the caller has sent all, so that it is certain to be the
 * only one. A call that an interceptor refused, or that can only be refused, is told nothing. */
typedef struct weir_rpc_handler {
    void (*begin)(weir_rpc_call *call, void *user);
    void (*message)(weir_rpc_call *call, const ProtobufCMessage *message, void *user);
    void (*end)(weir_rpc_call *call, void *user);
    void (*room)(weir_rpc_call *call, void *user);
    /* Once, to each call that was told `begin` and is not finished. A handler that has it is not
     * told of calls that an interceptor lets in later; those are refused. */
    void (*drain)(weir_rpc_call *call, void *user);
    void (*over)(weir_rpc_call *call, weir_rpc_code code, void *user);
    size_t state_size; /* of weir_rpc_call_state */
    /* Server: each request, complete, is emitted as an item (see weir_rpc_item) on this output of
     * the server's stage, in the place of all callbacks: 1 + its index; 0: callbacks. For methods
     * with one request. */
    uint32_t output_plus_1;
    const void *typed; /* what the typed code of protoc-gen-weir keeps; weir_rpc_call_typed */
} weir_rpc_handler;

/* A service to be served. */
typedef struct weir_rpc_service {
    const weir_rpc_service_type *type;
    const weir_rpc_handler *handlers; /* one for each method; one that is all zero: UNIMPLEMENTED */
    void *user;
} weir_rpc_service;

/* ---- About a call; everything is borrowed from it ---- */

WEIR_API const weir_rpc_method *weir_rpc_call_method(const weir_rpc_call *call);
WEIR_API weir_rpc_protocol weir_rpc_call_protocol(const weir_rpc_call *call);
WEIR_API weir_loop *weir_rpc_call_loop(const weir_rpc_call *call);
/* With its deadline and its trace (of the caller's "traceparent", or a new one, in a span of its
 * own); cancelled when the peer cancels, or the call is over; not if an item was answered and goes
 * on, nor on the client by an end that is OK. What is below it (contexts, watches, calls of
 * clients) may end later than the call: its memory waits for that. */
WEIR_API weir_context *weir_rpc_call_context(weir_rpc_call *call);
/* handler.state_size zeroed bytes. */
WEIR_API void *weir_rpc_call_state(const weir_rpc_call *call);
WEIR_API const void *weir_rpc_call_typed(const weir_rpc_call *call);
WEIR_API void *weir_rpc_call_user(const weir_rpc_call *call);
/* Memory that lasts as long as the call, within its budget. */
WEIR_API weir_arena *weir_rpc_call_arena(weir_rpc_call *call);
/* "127.0.0.1:5000", as snprintf; "" while there is no connection, and once the call is over. */
WEIR_API size_t weir_rpc_call_peer(const weir_rpc_call *call, char *buffer, size_t cap);
/* The subject of the peer's certificate, verified; "" if it has none, and as above. */
WEIR_API const char *weir_rpc_call_peer_subject(const weir_rpc_call *call);

/* Metadata that came: the request's on the server, the response's on the client. Names are in lower
 * case; values of names that end in "-bin" are decoded. `find`: the first; at NULL: none. Those of
 * the protocol itself (grpc-timeout, content-type, …) are not among them. */
WEIR_API weir_http1_span weir_rpc_metadata_find(const weir_rpc_call *call, const char *name);
WEIR_API size_t weir_rpc_metadata_count(const weir_rpc_call *call);
WEIR_API weir_http1_field weir_rpc_metadata_at(const weir_rpc_call *call, size_t index);
/* Client, once it is over: those that came behind. */
WEIR_API weir_http1_span weir_rpc_trailer_find(const weir_rpc_call *call, const char *name);
WEIR_API size_t weir_rpc_trailer_count(const weir_rpc_call *call);
WEIR_API weir_http1_field weir_rpc_trailer_at(const weir_rpc_call *call, size_t index);

/* Client, once it is over: how. */
WEIR_API const weir_rpc_error *weir_rpc_call_error(const weir_rpc_call *call);

/* ---- Receiving ---- */

/* Asks for `n` more messages; adds, saturates. 0 does nothing. */
WEIR_API void weir_rpc_request(weir_rpc_call *call, uint64_t n);

/* ---- Sending ---- */

/* Metadata of ours, before the first message: server: of the response; client: only from within an
 * interceptor (see weir_rpc_options for those of a call). Copies. WEIR_EINVAL: a name that is no
 * token, or the protocol's own (weir/rpc_wire.h), or a value that is no text; WEIR_EEXIST: too
 * late; WEIR_ELIMIT; WEIR_ENOMEM. */
WEIR_API weir_status weir_rpc_add_metadata(weir_rpc_call *call, const char *name, const void *value,
                                           size_t n) WEIR_MUST_USE;
/* Server: sends the metadata at the end of the turn, rather than with the first message; what was
 * added so far. Connect's unary calls have theirs with the answer, and nothing is done.
 * WEIR_EEXIST: they are sent; WEIR_ECLOSED; WEIR_ENOMEM. */
WEIR_API weir_status weir_rpc_send_metadata(weir_rpc_call *call);
/* Server, before the first message: what the call sends goes as it is, though the caller takes
 * gzip: what is compressed already, or a secret beside what the caller has chosen. WEIR_EEXIST: too
 * late; WEIR_EINVAL: a client's call (weir_rpc_options). */
WEIR_API weir_status weir_rpc_no_gzip(weir_rpc_call *call);
/* Server, before the end: metadata behind the response. The errors of weir_rpc_add_metadata;
 * WEIR_EINVAL on the client. */
WEIR_API weir_status weir_rpc_add_trailer(weir_rpc_call *call, const char *name, const void *value,
                                          size_t n) WEIR_MUST_USE;

/* Bytes that may be sent now; 0: wait for `room`. */
WEIR_API size_t weir_rpc_room(weir_rpc_call *call);
/* Packs and sends `message`, which it borrows. A message is taken whole if there is any room.
 * WEIR_EAGAIN: no room, nothing was taken, `room` will tell; WEIR_ECLOSED: the call is over, or our
 * side was ended; WEIR_EINVAL: not of the method's type, without a JSON form where JSON is spoken,
 * or a second one where the kind has one; WEIR_ELIMIT: larger than message_send_bytes_max;
 * WEIR_ENOMEM. After these our side is as it was. It goes out at the end of the turn. */
WEIR_API weir_status weir_rpc_send(weir_rpc_call *call,
                                   const ProtobufCMessage *message) WEIR_MUST_USE;
/* Client: no more messages from us. WEIR_ECLOSED: ended already, or the call is over; WEIR_EINVAL:
 * the one request was not sent, or a server's call; WEIR_ENOMEM. */
WEIR_API weir_status weir_rpc_send_end(weir_rpc_call *call) WEIR_MUST_USE;
/* Server: ends the call. Messages sent before arrive before. Borrows; `text` (UTF-8) may be NULL.
 * WEIR_EEXIST: ended already; WEIR_ECLOSED: the peer is gone; WEIR_EINVAL: a client's call;
 * WEIR_ENOMEM: the call was reset. One that owes a response and is finished with OK and without it
 * is answered INTERNAL. `over` follows, not beneath this. */
WEIR_API weir_status weir_rpc_finish(weir_rpc_call *call, weir_rpc_code code, const char *text);
/* NULL: OK. */
WEIR_API weir_status weir_rpc_finish_with(weir_rpc_call *call, const weir_rpc_error *error);
/* Server: sends the one response, which it borrows, and finishes with OK, whatever room there is.
 * WEIR_EEXIST, WEIR_ECLOSED: as weir_rpc_finish. One that cannot be sent (no JSON form, metadata
 * that may not be sent, too large, no memory) ends the call all the same, with INTERNAL or
 * RESOURCE_EXHAUSTED; only a message of another type, and a second one, are WEIR_EINVAL and no
 * more. */
WEIR_API weir_status weir_rpc_reply(weir_rpc_call *call, const ProtobufCMessage *message);
/* Gives the call up: client: cancels it there, server: as finish with CANCELLED. Idempotent. `over`
 * follows, not beneath this. NULL is fine. */
WEIR_API void weir_rpc_cancel(weir_rpc_call *call);

/* Keeps the memory of the call beyond `over`; in pairs, on the call's loop. */
WEIR_API void weir_rpc_hold(weir_rpc_call *call);
WEIR_API void weir_rpc_release(weir_rpc_call *call);

/* ---- Calls and pipelines ---- */

/* The body of an item that a call's message is. */
typedef struct weir_rpc_message {
    weir_rpc_call *call; /* the call's loop only */
    const weir_rpc_method *method;
    const ProtobufCMessage *message; /* any loop; as long as the item lives */
} weir_rpc_message;

/* Server: gives the call's request as an item, to go through stages, on any loop; for methods with
 * one request, from `message` on, once. Whatever is made of it keeps the call alive. It is answered
 * by weir_rpc_item_reply or _fail, or else by how it ends: acked or filtered: an empty message for
 * unary, the end of a server stream; rejected or aborted: UNAVAILABLE, or with WEIR_EDEADLINE
 * DEADLINE_EXCEEDED; failed: weir_rpc_code_of its status. cost: its packed bytes; context: the
 * call's. NULL: no memory, a client's call, or none can be had of it now. */
WEIR_API weir_item *weir_rpc_item(weir_rpc_call *call);
/* The call's message that `item` is, or is made of; NULL if none. */
WEIR_API const weir_rpc_message *weir_rpc_message_of(const weir_item *item);
/* Answers the request that `item` is made of; on whatever loop has the item. Packs at once, borrows
 * all. From another loop than the call's the answer travels with the item, and goes out when it has
 * ended at home. WEIR_EEXIST: answered; WEIR_ECLOSED: the call is over, or its deadline came;
 * WEIR_EINVAL: not made of a request, another type of message, or the code OK; WEIR_ELIMIT: larger
 * than message_send_bytes_max; WEIR_ENOMEM. */
WEIR_API weir_status weir_rpc_item_reply(weir_item *item, const ProtobufCMessage *message);
WEIR_API weir_status weir_rpc_item_fail(weir_item *item, weir_rpc_code code, const char *text);

/* A call as stages of a pipeline that runs on the call's loop; start it there, from `begin` (the
 * sink alone: also from `message`), and free it there, before or after the call is over. The
 * messages that come, as items, by demand (one that ends neither acked nor filtered cancels the
 * call; a drain of the pipeline ends the source); and a sink of items whose message `message_of`
 * gives (NULL: the body is the message, packed, of `cost` bytes), each acked when the transport has
 * taken it. The sink asks for what fits the room whatever it costs: weir_rpc_room over its edge's
 * item_bytes_max, 1 to 64. So for a reader who takes nothing, one item waits in it, or several that
 * cost send_bytes_max together, beside what the transport has (send_bytes_max and one message);
 * whose items are small says so there (1 KiB: all 64 at once), which saves work for each of them.
 * The source ends with the peer's side; the sink ends ours as its input ends: OK, or the error of
 * the input. A source that is stopped before reads no more: a server's call ends by its answer; a
 * client's is cancelled, or, while something is still sent by it, drops what comes. Each once per
 * call; the handler is told `begin` and `over` only. */
WEIR_API weir_stage_spec *weir_rpc_messages(weir_rpc_call *call);
WEIR_API weir_stage_spec *
weir_rpc_replies(weir_rpc_call *call,
                 const ProtobufCMessage *(*message_of)(const weir_item *item, void *user),
                 void *user);

/* ---- Interceptors, on either side, in the order given; `over` in the opposite one ---- */

typedef struct weir_rpc_interceptor {
    const char *name;
    /* Before the handler (server) or before anything is sent (client). May add metadata, put values
     * on the context, or refuse by weir_rpc_finish (client: weir_rpc_cancel). WEIR_OK: goes on;
     * WEIR_EAGAIN: when weir_rpc_resume is called, say when a token has been fetched; another
     * status refuses the call with its code. */
    weir_status (*begin)(weir_rpc_call *call, void *user);
    /* A message that came, before the handler is told; one that was sent, beneath weir_rpc_send:
     * look only. On the client those that were sent before it was let in, as the request of
     * weir_rpc_ask is, are shown, as copies, when all have let it in. Packed ones, from items of
     * another loop, are not shown. */
    void (*received)(weir_rpc_call *call, const ProtobufCMessage *message, void *user);
    void (*sent)(weir_rpc_call *call, const ProtobufCMessage *message, void *user);
    void (*over)(weir_rpc_call *call, weir_rpc_code code, void *user);
    void *user;
} weir_rpc_interceptor;

/* Goes on with the next interceptor, not beneath this. On the call's loop. The call may be over
 * meanwhile: hold it (weir_rpc_hold) until this was called. */
WEIR_API void weir_rpc_resume(weir_rpc_call *call);

/* ---- Figures of a method; see weir_rpc_method_stats ---- */

typedef struct weir_rpc_method_figures {
    const weir_rpc_method *method;
    uint64_t last_started_ns; /* of the loop's clock, the latest of all; 0: no call yet */
    uint64_t started, in_flight;
    uint64_t by_code[WEIR_RPC_UNAUTHENTICATED + 1]; /* ended so */
    uint64_t messages_in, messages_out;
    uint64_t bytes_in, bytes_out; /* of messages, not compressed, without what the wire adds */
    /* From the head to the end; see weir_duration_quantile for the buckets. */
    uint64_t duration_ns, duration[WEIR_DURATION_BUCKETS];
} weir_rpc_method_figures;

#ifdef __cplusplus
}
#endif
#endif
