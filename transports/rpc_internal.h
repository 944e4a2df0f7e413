/* The core of RPC calls, of which the server and the client are made.
 *
 * A call is one block of the core's pool. It is fed by the side that has it (wi_rpc_call_body,
 * _end, _room and so on, from the events of its exchange), and tells its handler. What a handler
 * asks for from its callbacks is only noted: the core's task does it, so that no callback runs
 * beneath another. */
#ifndef WI_RPC_INTERNAL_H
#define WI_RPC_INTERNAL_H

#include <weir/pipeline.h>
#include <weir/protobuf_json.h>
#include <weir/rpc.h>

enum {
    WI_RPC_CALL_ARENA = 768, /* bytes of the block: metadata, state */
    WI_RPC_MESSAGE_ARENA = 1024,
    WI_RPC_POOL_MAX = 1024 /* blocks that are kept */
};

typedef struct wi_rpc_core wi_rpc_core;

/* A server's answer to browsers; see rpc_cors.c. */
typedef struct wi_rpc_cors {
    const struct weir_rpc_cors *config; /* NULL: none */
    char *headers;                      /* that requests may have */
    size_t header_bytes, max_age_bytes;
    char max_age[12];
} wi_rpc_cors;

/* What a side does for the core. All are told beneath no handler's callback, but `dirty`, `fail`
 * and `let_go`, which may only note. */
typedef struct wi_rpc_side {
    bool is_client;
    /* All interceptors have let the call in. Server: wi_rpc_call_open follows, on the client when
     * the response's head has come. */
    void (*admitted)(weir_rpc_call *call);
    /* The call can only fail. Server: it is answered; client: it is given up, and wi_rpc_call_over
     * follows later. Not told twice, nor once our side has ended on the server. */
    void (*fail)(weir_rpc_call *call, const weir_rpc_error *error);
    /* Client: all that came has been told, and the peer's side is complete: how the call ended is
     * weir_rpc_wire_error; wi_rpc_call_over may be called. NULL: the handler's `end` is enough. */
    void (*ended)(weir_rpc_call *call);
    weir_status (*send_end)(weir_rpc_call *call); /* client: weir_rpc_send_end */
    /* Something is to be sent: by the end of the turn. */
    void (*dirty)(weir_rpc_call *call);
    /* `over` has been told: the side forgets the call. */
    void (*let_go)(weir_rpc_call *call);
    /* The memory of a call went. Optional. */
    void (*freed)(wi_rpc_core *core);
    size_t (*peer)(const weir_rpc_call *call, char *buffer, size_t cap);
    const char *(*peer_subject)(const weir_rpc_call *call);
} wi_rpc_side;

/* What the calls of a server's replica, or of a channel, have in common. The user fills in what is
 * above the line before wi_rpc_core_open. */
struct wi_rpc_core {
    weir_loop *loop;
    const weir_env *env;      /* of what is kept */
    const weir_env *pool_env; /* of what belongs to calls: weir_http_pool_env; NULL: env */
    const wi_rpc_side *side;
    void *user;
    const weir_rpc_interceptor *const *interceptors;
    size_t interceptor_count;
    weir_rpc_wire_limits wire_limits;
    weir_protobuf_json_options json;
    uint32_t message_memory_max, metadata_bytes_max, send_bytes_max;
    const wi_rpc_cors *cors; /* NULL: none */
    /* Its own: */
    weir_rpc_gzip *gzip;
    weir_rpc_call *spare;
    weir_rpc_call *ready_first, *ready_last; /* the task has something to do for them */
    weir_rpc_call *calls;                    /* all but those waiting */
    weir_rpc_call *waiting;                  /* over, but somebody is below their context yet */
    weir_task task;
    weir_timer again; /* looks at `waiting` */
    uint32_t spares, live;
    bool is_closed;
};

/* Figures of a method; any thread reads them. All but the method are numbers. */
typedef weir_rpc_method_figures wi_rpc_figures;

static inline void wi_rpc_count(uint64_t *figure, uint64_t by)
{
    __atomic_store_n(figure, __atomic_load_n(figure, __ATOMIC_RELAXED) + by, __ATOMIC_RELAXED);
}

/* Fields to be sent; in the call's arena. */
typedef struct wi_rpc_fields {
    weir_http1_field *at;
    size_t n, cap, bytes;
} wi_rpc_fields;

/* Client: a message that was sent before all interceptors had let the call in; in its arena. */
typedef struct wi_rpc_early {
    struct wi_rpc_early *next;
    ProtobufCMessage *message;
} wi_rpc_early;

/* Who is told in the handler's place, when stages or items stand there. */
typedef struct wi_rpc_receiver {
    /* Where the next message is to be unpacked; NULL for want of memory. Optional: the call's. */
    weir_arena *(*arena)(weir_rpc_call *call, void *user);
    void (*message)(weir_rpc_call *call, const ProtobufCMessage *message, size_t bytes, void *user);
    void (*end)(weir_rpc_call *call, void *user);
    void (*room)(weir_rpc_call *call, void *user);
    void (*over)(weir_rpc_call *call, weir_rpc_code code, void *user);
} wi_rpc_receiver;

struct weir_rpc_call {
    wi_rpc_core *core;
    weir_http_exchange *exchange; /* NULL: not yet, or no longer */
    const weir_rpc_method *method;
    const weir_rpc_handler *handler; /* NULL: there is none */
    void *user, *state;
    void *conn;      /* the side's */
    void *side_data; /* likewise */
    wi_rpc_figures *figures;
    weir_rpc_call *queue_next, *queue_previous;  /* the side's */
    weir_rpc_call *next_ready, *next, *previous; /* of the ready; of all, or of those waiting */

    uint64_t asked; /* messages */
    uint64_t started_ns;
    size_t pending_from; /* bytes of `pending` before it are used up */
    size_t out_sent;     /* client: bytes of `out` that the exchange has */
    size_t sent_bytes;   /* of the last message, without its envelope */
    uint64_t body_bytes; /* that came */
    /* Server: since when, at what bytes and messages, the rest of one is waited for; 0: it is not.
     */
    uint64_t awaited_ns, awaited_bytes;
    uint32_t awaited_count;
    uint32_t holds, unconsumed;
    uint32_t intercepted;               /* interceptors that were told begin */
    weir_rpc_code code;                 /* how it ended, once it did */
    weir_rpc_error error;               /* client: the same at length; the side sets it */
    bool is_ready;                      /* is on the list */
    bool opened;                        /* the handler was told begin */
    bool resumed, waits;                /* an interceptor's */
    bool pumping;                       /* its receiving end is at work further up the stack */
    bool one_in, one_out;               /* of messages; by kind and side */
    bool got_one, sent_one;             /* messages */
    bool sent_alike;                    /* the last two were equally long */
    bool head_sent, out_ended;          /* our side */
    bool peer_ended, end_told, in_over; /* theirs; in_over: nothing that comes is looked at */
    bool room_wanted, begin_room;
    bool retains; /* client: what is sent stays in `out`, for another attempt */
    bool mute;    /* the handler is told nothing: items stand in its place */
    bool gated;   /* nothing is taken in yet; the side opens it and pumps */
    bool failed;  /* side->fail was told */
    bool cancelled, timed_out;
    bool traced; /* the context has its trace */
    bool is_over, over_told, is_waiting;
    bool item_made, item_live; /* of the one request */
    uint8_t queued;            /* in which of the side's queues */
    const weir_http1_field *end_trailers;
    size_t end_trailer_count;

    weir_http1_span origin;          /* of the page that asks, if it may; borrowed */
    const ProtobufCMessage *request; /* the one */
    wi_rpc_early *early, *early_last;
    size_t request_bytes;
    const wi_rpc_receiver *receiver, *sender;
    void *receiver_user, *sender_user;

    const weir_http1_field *metadata, *trailers; /* that came */
    size_t metadata_count, trailer_count;
    wi_rpc_fields out_metadata, out_trailers;
    weir_bytes pending; /* bytes that came and were not asked for */
    weir_bytes out; /* what cannot go to the exchange yet: Connect's one message; before there is
                       one; what it `retains` */
    weir_context context;
    weir_timer deadline;
    weir_rpc_wire wire;
    weir_arena arena, messages;
    _Alignas(8) char call_memory[WI_RPC_CALL_ARENA];
    char message_memory[WI_RPC_MESSAGE_ARENA];
};

/* ---- rpc_core.c ---- */

/* Prepares the core, whose fields above the line are set. */
weir_status wi_rpc_core_open(wi_rpc_core *core);
/* No call may be left; weir_rpc_core_is_idle. */
void wi_rpc_core_close(wi_rpc_core *core);
static inline bool wi_rpc_core_is_idle(const wi_rpc_core *core)
{
    return core->live == 0 && !core->task.queued;
}
/* Tells `drain` to the handlers of all calls. Beneath no callback. */
void wi_rpc_core_drain(wi_rpc_core *core);
/* A call for `method` (NULL: an unknown one), all zero but its arenas, buffers, context (without a
 * deadline) and started_ns; it is on core->calls. NULL for want of memory. */
weir_rpc_call *wi_rpc_call_new(wi_rpc_core *core, const weir_rpc_method *method);
/* Its memory goes, if it is over, nobody holds it and nobody is below its context. */
void wi_rpc_call_maybe_free(weir_rpc_call *call);
/* The core's task looks at it soon. */
void wi_rpc_call_ready(weir_rpc_call *call);

/* ---- rpc_call.c ---- */

/* The handler of the call: state, user, kinds. WEIR_ENOMEM. Before the interceptors. */
weir_status wi_rpc_call_bind(weir_rpc_call *call, const weir_rpc_handler *handler, void *user);
/* Deadline of `deadline_ns` (loop time; 0: none), which fails the call; `parent` may be NULL. */
void wi_rpc_call_contextualise(weir_rpc_call *call, weir_context *parent, uint64_t deadline_ns);
/* The call's context with its trace: the parent's (client), or a span of its own in that of a
 * "traceparent" among the call's metadata (server), or a new one. */
weir_context *wi_rpc_call_traced(weir_rpc_call *call);
/* Asks the interceptors, then tells side->admitted. */
void wi_rpc_call_admit(weir_rpc_call *call);
/* Tells `begin`, and goes on with what has come. */
void wi_rpc_call_open(weir_rpc_call *call);
/* Fails it with `code` by side->fail, once. `text` is copied or static as the side has it. */
void wi_rpc_call_fail(weir_rpc_call *call, weir_rpc_code code, const char *text);
void wi_rpc_call_fail_with(weir_rpc_call *call, const weir_rpc_error *error);
/* The exchange is gone and the call is over: tells everybody, and lets it go. Beneath no callback.
 */
void wi_rpc_call_over(weir_rpc_call *call, weir_rpc_code code);
/* The same, by the core's task. */
void wi_rpc_call_over_soon(weir_rpc_call *call, weir_rpc_code code);
/* Part of the core's task. */
void wi_rpc_call_run(weir_rpc_call *call);

/* ---- rpc_call_in.c ---- */

/* Bytes of body came; `end`: no more follow. From the events of the exchange. */
void wi_rpc_call_body(weir_rpc_call *call, const char *bytes, size_t n);
void wi_rpc_call_end(weir_rpc_call *call, const weir_http1_field *trailers, size_t n);
/* Goes on with what came before and is now asked for. Beneath no callback. */
void wi_rpc_call_pump(weir_rpc_call *call);
/* Nothing that comes is looked at from here on. */
void wi_rpc_call_deafen(weir_rpc_call *call);

/* ---- rpc_call_out.c ---- */

/* The exchange has room: from its event. */
void wi_rpc_call_room(weir_rpc_call *call);
/* Tells `room`, by the core's task, as begin_room asks for. */
void wi_rpc_call_late_room(weir_rpc_call *call);
/* Tells `room` for the first time, once the handler may send. */
void wi_rpc_call_first_room(weir_rpc_call *call);
/* Client: the interceptors have let it in, and are shown what was sent before. */
void wi_rpc_call_tell_early(weir_rpc_call *call);
/* Packs and sends `message`; or, if that is NULL, sends `n` bytes that are packed as wi_rpc_pack
 * does it. */
weir_status wi_rpc_call_put(weir_rpc_call *call, const ProtobufCMessage *message,
                            const void *packed, size_t n);
/* Packs `message` behind what is in `buffer`, by `codec`. `guess`: bytes that may be enough. */
weir_status wi_rpc_pack(const wi_rpc_core *core, weir_rpc_codec codec,
                        const ProtobufCMessage *message, size_t guess, weir_bytes *buffer);
/* Server: the end of the call on the wire. WEIR_EEXIST, WEIR_ECLOSED. */
weir_status wi_rpc_call_finish(weir_rpc_call *call, const weir_rpc_error *error);
/* Server: the one response, and the end. The same, and what wi_rpc_call_put says. */
weir_status wi_rpc_call_answer(weir_rpc_call *call, const ProtobufCMessage *message,
                               const void *packed, size_t n);
weir_status wi_rpc_fields_add(weir_rpc_call *call, wi_rpc_fields *fields, const char *name,
                              const void *value, size_t n);

/* Server: the head of a response, with what browsers are to know. As weir_http_exchange_respond. */
weir_status wi_rpc_respond(weir_rpc_call *call, const weir_http_head *head);

/* ---- rpc_cors.c; only with core->cors ---- */

/* Looks for the origin of the request. */
void wi_rpc_cors_read(weir_rpc_call *call, const weir_http_head *head);
weir_status wi_rpc_cors_respond(weir_rpc_call *call, const weir_http_head *head);

/* ---- rpc_messages.c ---- */

/* Items whose body begins with a weir_rpc_message. */
extern const weir_item_type wi_rpc_message_type;

static inline weir_rpc_error wi_rpc_error_of(weir_rpc_code code, const char *text)
{
    weir_rpc_error error = { code, { text, text != NULL ? __builtin_strlen(text) : 0 }, NULL, 0 };
    return error;
}

#endif
