/* From a server's exchanges to its calls: heads are accepted or refused, events passed on. */
#include "rpc_server_internal.h"

#include <assert.h>

enum { H2_INTERNAL_ERROR = 2, H2_REFUSED_STREAM = 7, H2_CANCEL = 8 };

static wi_rpc_server *server_of(const weir_rpc_call *call)
{
    return call->core->user;
}

static void count_refused(const weir_rpc_call *call, weir_rpc_refused why)
{
    wi_rpc_count(&server_of(call)->own->refused[why], 1);
}

/* ---- The side of the core ---- */

static void admitted(weir_rpc_call *call)
{
    const weir_rpc_handler *handler = call->handler;
    if (handler->drain != NULL && server_of(call)->draining) {
        count_refused(call, WEIR_RPC_REFUSED_DRAINING);
        wi_rpc_call_fail(call, WEIR_RPC_UNAVAILABLE, "shutting down");
        return;
    }
    if (handler->output_plus_1 != 0)
        wi_rpc_output_take(server_of(call), call);
    wi_rpc_call_open(call);
}

/* A peer that does not take what is queued would not take the end either. */
static bool is_stuck(const weir_rpc_call *call)
{
    return call->timed_out && call->head_sent &&
           weir_http_exchange_room(call->exchange) < call->core->send_bytes_max;
}

static void fail(weir_rpc_call *call, const weir_rpc_error *error)
{
    if (call->exchange == NULL)
        return;
    if (!call->out_ended && !is_stuck(call)) {
        (void)wi_rpc_call_finish(call, error);
        return;
    }
    call->out_ended = true;
    call->code = error->code;
    weir_http_exchange_reset(call->exchange, weir_rpc_code_status(error->code), H2_CANCEL);
    wi_link_touch(call->conn);
}

static void dirty(weir_rpc_call *call)
{
    wi_link_touch(call->conn);
}

static void let_go(weir_rpc_call *call)
{
    call->conn = NULL;
}

static void freed(wi_rpc_core *core)
{
    wi_rpc_server_maybe_finish(core->user);
}

static size_t peer(const weir_rpc_call *call, char *buffer, size_t cap)
{
    return wi_link_peer(call->conn, buffer, cap);
}

static const char *peer_subject(const weir_rpc_call *call)
{
    return wi_link_peer_subject(call->conn);
}

const wi_rpc_side wi_rpc_server_side = {
    .admitted = admitted,
    .fail = fail,
    .dirty = dirty,
    .let_go = let_go,
    .freed = freed,
    .peer = peer,
    .peer_subject = peer_subject,
};

/* ---- Heads ---- */

static uint64_t deadline_of(const wi_rpc_server *server, uint64_t timeout_ns)
{
    const weir_rpc_server_config *config = server->config;
    uint64_t most = config->deadline_ms_max * WEIR_MS;
    if (timeout_ns == UINT64_MAX && config->deadline_ms_default != 0)
        timeout_ns = config->deadline_ms_default * WEIR_MS;
    if (most != 0 && timeout_ns > most)
        timeout_ns = most;
    if (timeout_ns == UINT64_MAX)
        return 0;
    return weir_credit_add(weir_loop_now(server->loop), timeout_ns);
}

/* The exchange has its answer; there is no call, but what waits for the exchange's end. */
static void answer_with(weir_rpc_call *call, const weir_http_head *head,
                        weir_status (*respond)(weir_rpc_call *call, const weir_http_head *head))
{
    weir_http_head apart = *head;
    apart.ends = false; /* an end of its own may wait for that of the request */
    apart.content_length = head->status == 204 ? UINT64_MAX : 0;
    call->out_ended = true;
    call->code = WEIR_RPC_UNIMPLEMENTED;
    wi_rpc_call_deafen(call);
    weir_status status = respond(call, &apart);
    if (status == WEIR_OK)
        status = weir_http_exchange_end(call->exchange, NULL, 0);
    if (status != WEIR_OK)
        weir_http_exchange_reset(call->exchange, status, H2_INTERNAL_ERROR);
}

static void answer_plainly(weir_rpc_call *call, const weir_http_head *head)
{
    answer_with(call, head, wi_rpc_respond);
}

static weir_status respond_as_it_is(weir_rpc_call *call, const weir_http_head *head)
{
    return weir_http_exchange_respond(call->exchange, head);
}

static void answer_preflight(weir_rpc_call *call, const weir_rpc_method *method)
{
    weir_http_head head;
    if (wi_rpc_cors_preflight(call, method, &head) == WEIR_OK) {
        answer_with(call, &head, respond_as_it_is);
        return;
    }
    call->out_ended = true;
    wi_rpc_call_deafen(call);
    weir_http_exchange_reset(call->exchange, WEIR_ENOMEM, H2_INTERNAL_ERROR);
}

static void refuse(weir_rpc_call *call, weir_rpc_refused reason, weir_rpc_code code,
                   const char *why)
{
    count_refused(call, reason);
    wi_rpc_call_fail(call, code, why);
}

/* HTTP/1.1 has no trailers that gRPC could rely on. Both ways at once is up to the client there:
 * the server answers as it goes, and many clients first say all and then listen. */
static bool fits_version(const weir_rpc_call *call)
{
    const weir_http_session *session = weir_http_exchange_session(call->exchange);
    return weir_http_session_version(session) == WEIR_HTTP_2 ||
           call->wire.protocol != WEIR_RPC_GRPC;
}

static void count_start(weir_rpc_call *call, const wi_rpc_entry *entry)
{
    wi_rpc_server *server = server_of(call);
    call->figures = &server->figures[entry - server->shared->registry.entries];
    __atomic_store_n(&call->figures->last_started_ns, call->started_ns, __ATOMIC_RELAXED);
    wi_rpc_count(&call->figures->started, 1);
    wi_rpc_count(&call->figures->in_flight, 1);
}

/* The head is that of a call. */
static void begin(weir_rpc_call *call, const wi_rpc_entry *entry, uint64_t timeout_ns)
{
    static const weir_http_head not_supported = { .status = 505, .ends = true };
    wi_rpc_server *server = server_of(call);
    if (!fits_version(call)) {
        count_refused(call, WEIR_RPC_REFUSED_NOT_A_CALL);
        answer_plainly(call, &not_supported);
        return;
    }
    count_start(call, entry);
    if (entry->handler == NULL)
        refuse(call, WEIR_RPC_REFUSED_UNKNOWN_METHOD, WEIR_RPC_UNIMPLEMENTED,
               "this method is not served");
    else if (server->draining)
        refuse(call, WEIR_RPC_REFUSED_DRAINING, WEIR_RPC_UNAVAILABLE, "shutting down");
    else if (server->core.live > server->config->calls_max)
        refuse(call, WEIR_RPC_REFUSED_TOO_MANY, WEIR_RPC_UNAVAILABLE, "too many calls");
    else if (wi_rpc_call_bind(call, entry->handler, entry->service->user) != WEIR_OK)
        refuse(call, WEIR_RPC_REFUSED_NO_MEMORY, WEIR_RPC_RESOURCE_EXHAUSTED, "no memory");
    else {
        wi_rpc_call_contextualise(call, NULL, deadline_of(server, timeout_ns));
        wi_rpc_call_admit(call);
    }
}

static void accept_head(weir_rpc_call *call, const weir_http_head *head)
{
    wi_rpc_core *core = call->core;
    weir_http_head refusal;
    weir_rpc_wire_request request;
    const wi_rpc_entry *entry = wi_rpc_registry_find(&server_of(call)->shared->registry,
                                                     head->path);
    call->method = entry != NULL ? entry->method : NULL;
    if (core->cors != NULL) {
        wi_rpc_cors_read(call, head);
        if (entry != NULL && wi_rpc_cors_is_preflight(head)) {
            answer_preflight(call, entry->method);
            return;
        }
    }
    weir_status status = weir_rpc_wire_accept(&call->wire, core->pool_env, &core->wire_limits,
                                              core->gzip, head, call->method, &call->arena,
                                              &request, &refusal);
    if (status != WEIR_OK)
        count_refused(call, entry == NULL ? WEIR_RPC_REFUSED_UNKNOWN_METHOD
                                          : WEIR_RPC_REFUSED_NOT_A_CALL);
    if (status == WEIR_EREJECTED) {
        answer_plainly(call, &refusal);
    } else if (status != WEIR_OK) {
        wi_rpc_call_fail_with(call, weir_rpc_wire_error(&call->wire));
    } else {
        assert(entry != NULL); /* the wire accepts no call of an unknown method */
        call->metadata = request.metadata;
        call->metadata_count = request.metadata_count;
        begin(call, entry, request.timeout_ns);
    }
}

static void on_head(weir_http_exchange *exchange, const weir_http_head *head, void *user)
{
    wi_link *link = user;
    wi_rpc_server *server = wi_link_user(link);
    weir_rpc_call *call = wi_rpc_call_new(&server->core, NULL);
    weir_http_exchange_set_user(exchange, call);
    wi_rpc_count(&server->own->streams, 1);
    wi_rpc_count(&server->own->streams_open, 1);
    if (call == NULL) {
        wi_rpc_count(&server->own->refused[WEIR_RPC_REFUSED_NO_MEMORY], 1);
        weir_http_exchange_reset(exchange, WEIR_ENOMEM, H2_REFUSED_STREAM);
        return;
    }
    call->exchange = exchange;
    call->conn = link;
    accept_head(call, head);
    if (head->ends)
        wi_rpc_call_end(call, NULL, 0);
    else
        wi_rpc_server_await(server);
}

/* ---- What follows ---- */

static void on_body(weir_http_exchange *exchange, const char *bytes, size_t n, void *user)
{
    (void)exchange;
    if (user != NULL)
        wi_rpc_call_body(user, bytes, n);
}

static void on_end(weir_http_exchange *exchange, const weir_http1_field *trailers, size_t n,
                   void *user)
{
    (void)exchange;
    (void)trailers;
    (void)n; /* requests have none in these protocols */
    if (user != NULL)
        wi_rpc_call_end(user, NULL, 0);
}

static void on_room(weir_http_exchange *exchange, void *user)
{
    (void)exchange;
    if (user != NULL)
        wi_rpc_call_room(user);
}

static weir_rpc_code code_of(const weir_rpc_call *call, weir_status status)
{
    if (call->timed_out)
        return WEIR_RPC_DEADLINE_EXCEEDED;
    if (call->out_ended && status != WEIR_ECLOSED &&
        (status != WEIR_ECANCELED ||
         weir_http_exchange_room(call->exchange) >= call->core->send_bytes_max))
        return call->code;
    return status == WEIR_EPROTO || status == WEIR_ELIMIT || status == WEIR_EINTERNAL
               ? WEIR_RPC_INTERNAL
               : WEIR_RPC_CANCELLED;
}

static void on_over(weir_http_exchange *exchange, weir_status status, uint32_t h2_code, void *user)
{
    (void)h2_code;
    if (user == wi_link_of(exchange)) /* its head was never told */
        return;
    const wi_rpc_server *server = wi_link_user(wi_link_of(exchange));
    wi_rpc_count(&server->own->streams_open, (uint64_t)-1);
    wi_rpc_count(&server->own->streams_over[-status], 1);
    if (user != NULL)
        wi_rpc_call_over(user, code_of(user, status));
}

static void on_refused(weir_http_session *session, void *user)
{
    wi_rpc_server *server = wi_link_user(user);
    (void)session;
    wi_rpc_count(&server->own->refused[WEIR_RPC_REFUSED_BAD_REQUEST], 1);
}

const weir_http_events wi_rpc_server_events = {
    .head = on_head,
    .body = on_body,
    .end = on_end,
    .room = on_room,
    .over = on_over,
    .refused = on_refused,
};
