/* What the parts of the RPC server share: its registry of methods, the server of a loop, and what
 * its calls that become items wait for. */
#ifndef WI_RPC_SERVER_INTERNAL_H
#define WI_RPC_SERVER_INTERNAL_H

#include "rpc_internal.h"

#include "wi_link.h"

#include <weir/rpc_server.h>

/* ---- rpc_registry.c: path -> method ---- */

typedef struct wi_rpc_entry {
    const weir_rpc_method *method;
    const weir_rpc_service *service;
    const weir_rpc_handler *handler; /* NULL: none, or all zero */
    size_t path_len;
} wi_rpc_entry;

/* Open addressing, at most half full; immutable once made. */
typedef struct wi_rpc_registry {
    wi_rpc_entry *entries;
    uint32_t *slots; /* 1 + index; 0: free */
    uint32_t count, mask;
    uint32_t outputs; /* that handlers name: the highest */
} wi_rpc_registry;

/* Why these services cannot be served together; NULL: they can. */
const char *wi_rpc_services_wrong(const weir_rpc_service *const *services, size_t n);
uint32_t wi_rpc_services_outputs(const weir_rpc_service *const *services, size_t n);
weir_status wi_rpc_registry_make(wi_rpc_registry *registry, const weir_env *env,
                                 const weir_rpc_service *const *services, size_t n);
void wi_rpc_registry_done(wi_rpc_registry *registry, const weir_env *env);
/* NULL: there is none. The path is cut at its query. */
const wi_rpc_entry *wi_rpc_registry_find(const wi_rpc_registry *registry, weir_http1_span path);

/* ---- rpc_cors.c ---- */

/* Why it cannot be as it says; NULL: it can. */
const char *wi_rpc_cors_wrong(const weir_rpc_cors *cors);
weir_status wi_rpc_cors_make(wi_rpc_cors *made, const weir_env *env, const weir_rpc_cors *cors);
void wi_rpc_cors_done(wi_rpc_cors *made, const weir_env *env);
bool wi_rpc_cors_is_preflight(const weir_http_head *head);
/* The whole answer to one, before wi_rpc_cors_respond. */
weir_status wi_rpc_cors_preflight(weir_rpc_call *call, const weir_rpc_method *method,
                                  weir_http_head *ret_head);

/* ---- The server of a loop ---- */

typedef struct wi_rpc_server wi_rpc_server;

typedef struct wi_rpc_queue {
    weir_rpc_call *first, *last;
} wi_rpc_queue;

/* An output, and the calls that wait for its demand. */
typedef struct wi_rpc_output {
    weir_out *out;
    wi_rpc_queue gated; /* of which nothing was taken in yet */
    wi_rpc_queue ready; /* whose requests are complete */
} wi_rpc_output;

/* For all replicas. */
typedef struct wi_rpc_shared {
    const weir_env *env;
    weir_rpc_server_config config; /* with its defaults filled in */
    wi_rpc_registry registry;
    wi_rpc_cors cors;
    wi_port port;
    uint32_t connections_max; /* of one replica */
    wi_tls *tls;
    uint32_t replicas;
    wi_rpc_figures *figures;      /* of replica r, method m: [r * registry.count + m] */
    weir_rpc_server_figures *own; /* of each replica */
} wi_rpc_shared;

struct wi_rpc_server {
    weir_stage *stage;
    weir_loop *loop;
    const weir_env *env;
    const wi_rpc_shared *shared;
    const weir_rpc_server_config *config;
    wi_rpc_figures *figures; /* of this replica */
    weir_rpc_server_figures *own;
    wi_rpc_core core;
    wi_links *links;
    wi_rpc_output *outputs;
    weir_timer look; /* at requests that do not come */
    uint32_t output_count, outputs_over;
    bool draining, links_gone, released;
    uint64_t logged_ns; /* when it was last said that a connection was cut off */
    uint32_t unlogged;
};

/* ---- rpc_server.c ---- */

extern const weir_stage_type wi_rpc_server_type;

/* Lets the stage go once it drains and nothing is left. */
void wi_rpc_server_maybe_finish(wi_rpc_server *server);

/* ---- rpc_server_call.c: from exchanges to calls ---- */

extern const weir_http_events wi_rpc_server_events;
extern const wi_rpc_side wi_rpc_server_side;

/* ---- rpc_server_slow.c ---- */

/* There is a call whose request is to come. */
void wi_rpc_server_await(wi_rpc_server *server);

/* ---- rpc_server_figures.c ---- */

enum { WI_RPC_SERVER_FAMILIES = 15 };
extern const weir_figure_family wi_rpc_server_families[WI_RPC_SERVER_FAMILIES];
bool wi_rpc_server_figure(const void *shared, size_t family, size_t index, weir_figure *ret_figure);

/* ---- rpc_server_output.c: calls that become items ---- */

/* The call's request is to be an item; it waits for demand. Before it is opened. */
void wi_rpc_output_take(wi_rpc_server *server, weir_rpc_call *call);
/* There may be demand. */
void wi_rpc_output_feed(wi_rpc_server *server, wi_rpc_output *output);
/* Refuses all that wait. */
void wi_rpc_output_refuse(wi_rpc_output *output, const char *why);

#endif
