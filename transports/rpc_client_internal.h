/* The client of RPC: channels, the addresses and connections of each, and what calls of a client
 * have beside the core's.
 *
 * A channel has targets (a name and a port each), these have addresses, an address has connections:
 * one that takes calls in HTTP/2, a pool in HTTP/1.1, and those that end. Calls that found no
 * connection wait in order. What is to be done about them (dialling, handing calls to connections,
 * failing them) is done by the channel's task. */
#ifndef WI_RPC_CLIENT_INTERNAL_H
#define WI_RPC_CLIENT_INTERNAL_H

#include "http_client_internal.h"
#include "rpc_internal.h"
#include "wi_link.h"

#include <weir/rpc_client.h>

enum {
    WI_RPC_TARGETS_MAX = 64,
    WI_RPC_WHY_MAX = WI_HTTP_HOST_MAX + 128,
    WI_RPC_BUDGET_MAX = 1000, /* in tenths of a retry */
    WI_RPC_BUDGET_CALL = 2,   /* what a call pays in */
    WI_RPC_BUDGET_SECOND = 100
};

typedef struct wi_rpc_conn wi_rpc_conn;
typedef struct wi_rpc_address wi_rpc_address;
typedef struct wi_rpc_target wi_rpc_target;

/* Waiting longer from failure to failure. */
typedef struct wi_rpc_backoff {
    uint64_t wait_ns, until_ns; /* 0: nothing failed */
} wi_rpc_backoff;

struct wi_rpc_conn {
    wi_rpc_address *address;
    wi_link *link;
    wi_rpc_conn *next, *previous;
    uint64_t since_ns;
    bool is_up, leaving; /* leaving: takes no more calls */
    bool answered;       /* a response has come by it */
    bool cut;            /* HTTP/1: we ended it, with a call, or a head too large */
};

struct wi_rpc_address {
    wi_rpc_target *target;
    wi_rpc_address *next; /* of the channel's, in order */
    wi_address at;
    wi_rpc_backoff backoff;
    wi_rpc_conn *conns;
    uint32_t connecting, up, leaving; /* of them; up: those that take calls */
    bool listed, gone;                /* by the name's last answer */
};

struct wi_rpc_target {
    weir_rpc_channel *channel;
    wi_http_url url;
    wi_names *names;
    wi_rpc_backoff backoff; /* of the name */
    bool resolving, stale;  /* stale: the addresses are to be looked at */
};

struct weir_rpc_channel {
    wi_rpc_core core;
    weir_loop *loop;
    const weir_env *env;
    weir_rpc_channel_config config;
    wi_links *links;
    wi_tls *tls;
    bool is_tls, freed;
    wi_rpc_target *targets;
    uint32_t target_count;
    wi_rpc_address *addresses, *cursor; /* cursor: where round robin goes on; may be NULL */
    weir_rpc_call *first, *last;        /* waiting for a connection */
    uint32_t waiting;
    weir_task task, end;
    weir_timer wake;
    uint64_t budget, budget_ns;
    char why[WI_RPC_WHY_MAX]; /* of the last failure to connect */
    weir_rpc_channel_stats stats;
    wi_rpc_figures figures; /* messages and their bytes; the rest is in stats */
};

/* What a call of a client has beside; in its arena. */
typedef struct wi_rpc_try {
    weir_rpc_handler handler;
    weir_context_watch watch;
    weir_task unwatched;
    weir_timer again;
    wi_rpc_conn *conn;
    weir_http_head head; /* made at the start; good for the first attempt, at that time */
    uint64_t head_ns;
    uint32_t attempts; /* that were made */
    uint8_t unwatched_turns;
    bool has_head, watching;
    bool gzip; /* what is sent */
    bool admitted;
    bool wait_for_ready, no_retry, repeated; /* repeated: the one time without a policy */
    bool committed;                          /* its response was handed on */
    bool erring;                             /* the response is an error, read to its end */
    bool body_final;                         /* Connect's message is as it goes out */
    bool counted;
    bool between; /* attempts: what the one before brought is no more */
} wi_rpc_try;

static inline weir_rpc_channel *wi_rpc_channel_of(const weir_rpc_call *call)
{
    return call->core->user;
}

static inline wi_rpc_try *wi_rpc_try_of(const weir_rpc_call *call)
{
    return call->side_data;
}

/* ---- rpc_channel.c ---- */

/* What can be said of a configuration alone; the target is looked at by weir_rpc_channel_new. */
weir_status wi_rpc_channel_check(const weir_rpc_channel_config *config, const char **ret_why);
/* The task looks at calls that wait, and at connections, soon. */
void wi_rpc_channel_kick(weir_rpc_channel *channel);
/* The last call of a channel that was given up has gone. */
void wi_rpc_channel_maybe_end(weir_rpc_channel *channel);

/* ---- rpc_channel_target.c ---- */

/* WEIR_EINVAL, WEIR_EUNSUPPORTED, WEIR_ENOMEM. What it made is freed by _done in any case. */
weir_status wi_rpc_targets_make(weir_rpc_channel *channel, const char **ret_why);
void wi_rpc_targets_done(weir_rpc_channel *channel);
/* Looks names up as far as that is needed; brings the list of addresses up to date. */
void wi_rpc_targets_look(weir_rpc_channel *channel);
/* Asks afresh next time. */
void wi_rpc_target_distrust(wi_rpc_target *target);
/* Frees those that are gone and have no connections. */
void wi_rpc_addresses_tidy(weir_rpc_channel *channel);
void wi_rpc_backoff_grow(weir_rpc_channel *channel, wi_rpc_backoff *backoff);
bool wi_rpc_backoff_is_on(const weir_rpc_channel *channel, const wi_rpc_backoff *backoff);

/* ---- rpc_channel_conn.c ---- */

extern const wi_link_events wi_rpc_link_events;
/* A connection that takes a call now, or NULL. */
wi_rpc_conn *wi_rpc_conn_pick(weir_rpc_channel *channel);
/* Dials as is needed for the calls that wait. */
void wi_rpc_conns_seek(weir_rpc_channel *channel);
/* Whether a connection is there, or may come. */
bool wi_rpc_conns_hope(const weir_rpc_channel *channel);
void wi_rpc_conn_leave(wi_rpc_conn *conn);
/* It has shown that somebody is there. */
void wi_rpc_conn_answered(wi_rpc_conn *conn);
void wi_rpc_conn_free(wi_rpc_conn *conn);

/* ---- rpc_client.c ---- */

extern const wi_rpc_side wi_rpc_client_side;

/* ---- rpc_client_queue.c ---- */

/* To wait for a connection: as the last, or as the first. */
void wi_rpc_client_enqueue(weir_rpc_call *call);
void wi_rpc_client_requeue(weir_rpc_call *call);
/* Brings it to a connection, or has it wait. Beneath anything. */
void wi_rpc_client_place(weir_rpc_call *call);
weir_rpc_call *wi_rpc_client_dequeue(weir_rpc_channel *channel);
/* It has neither an exchange nor a place among those that wait. */
void wi_rpc_client_withdraw(weir_rpc_call *call);

/* ---- rpc_client_exchange.c ---- */

extern const weir_http_events wi_rpc_client_events;
/* Prepares the wire and the head of a request. */
weir_status wi_rpc_client_prepare(weir_rpc_call *call, const wi_http_url *url);
/* Begins the request on `conn`. WEIR_EAGAIN, WEIR_ECLOSED: not there, the call is as it was. Other
 * errors: the call has failed. */
weir_status wi_rpc_client_open(weir_rpc_call *call, wi_rpc_conn *conn);
/* Hands what is kept to the exchange. */
void wi_rpc_client_push(weir_rpc_call *call);
/* The call forgets its exchange, which is reset if anything is under way. */
void wi_rpc_client_detach(weir_rpc_call *call);

/* ---- rpc_client_retry.c ---- */

/* An attempt failed: it is made again, or the call fails. `unseen`: the service never saw it. */
void wi_rpc_client_failed(weir_rpc_call *call, const weir_rpc_error *error, bool unseen);
void wi_rpc_client_budget_pay(weir_rpc_channel *channel);

#endif
