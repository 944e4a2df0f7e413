/* What goes out of a call: metadata, messages as there is room, and the end of a response. */
#include "rpc_internal.h"

#include <protobuf-c/protobuf-c.h>

#include <string.h>

enum { H2_INTERNAL_ERROR = 2, ENVELOPE = 5, GUESS_MORE = 251 };

/* ---- Metadata ---- */

static bool is_token(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && c != '-' && c != '_' && c != '.')
            return false;
    }
    return n > 0;
}

static bool is_text(const char *value, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (value[i] < 0x20 || value[i] > 0x7e)
            return false;
    return n == 0 || (value[0] != ' ' && value[n - 1] != ' ');
}

static bool is_binary(const char *name, size_t n)
{
    return n > 4 && memcmp(name + n - 4, "-bin", 4) == 0;
}

static bool fields_grow(weir_rpc_call *call, wi_rpc_fields *fields)
{
    size_t cap = fields->cap == 0 ? 4 : 2 * fields->cap;
    weir_http1_field *larger = weir_arena_take(&call->arena, cap * sizeof *larger);
    if (larger == NULL)
        return false;
    if (fields->n > 0)
        memcpy(larger, fields->at, fields->n * sizeof *larger);
    fields->at = larger;
    fields->cap = cap;
    return true;
}

weir_status wi_rpc_fields_add(weir_rpc_call *call, wi_rpc_fields *fields, const char *name,
                              const void *value, size_t n)
{
    size_t len = strlen(name), bytes = len + n + 32;
    if (!is_token(name, len) || (!is_binary(name, len) && !is_text(value, n)))
        return WEIR_EINVAL;
    if (bytes > call->core->metadata_bytes_max - fields->bytes)
        return WEIR_ELIMIT;
    if (fields->n == fields->cap && !fields_grow(call, fields))
        return WEIR_ENOMEM;
    const char *name_copy = weir_arena_copy(&call->arena, name, len);
    const char *value_copy = weir_arena_copy(&call->arena, value, n);
    if (name_copy == NULL || value_copy == NULL)
        return WEIR_ENOMEM;
    fields->at[fields->n++] = (weir_http1_field){ { name_copy, len }, { value_copy, n } };
    fields->bytes += bytes;
    return WEIR_OK;
}

static bool is_ours(const char *name)
{
    return !weir_rpc_wire_may_be_named((weir_http1_span){ name, strlen(name) });
}

weir_status weir_rpc_add_metadata(weir_rpc_call *call, const char *name, const void *value,
                                  size_t n)
{
    bool ended = call->out_ended && !call->core->side->is_client;
    if (call->head_sent || ended || call->is_over)
        return WEIR_EEXIST;
    if (is_ours(name))
        return WEIR_EINVAL;
    return wi_rpc_fields_add(call, &call->out_metadata, name, value, n);
}

weir_status weir_rpc_add_trailer(weir_rpc_call *call, const char *name, const void *value, size_t n)
{
    if (call->core->side->is_client)
        return WEIR_EINVAL;
    if (call->out_ended || call->is_over)
        return WEIR_EEXIST;
    if (is_ours(name))
        return WEIR_EINVAL;
    return wi_rpc_fields_add(call, &call->out_trailers, name, value, n);
}

weir_status wi_rpc_respond(weir_rpc_call *call, const weir_http_head *head)
{
    return call->core->cors == NULL ? weir_http_exchange_respond(call->exchange, head)
                                    : wi_rpc_cors_respond(call, head);
}

static weir_status send_head(weir_rpc_call *call)
{
    weir_http_head head;
    if (call->head_sent || call->core->side->is_client)
        return WEIR_OK;
    weir_status status = weir_rpc_wire_respond(&call->wire, call->out_metadata.at,
                                               call->out_metadata.n, &call->arena, &head);
    if (status == WEIR_EAGAIN)
        return WEIR_OK;
    if (status == WEIR_OK)
        status = wi_rpc_respond(call, &head);
    call->head_sent = status == WEIR_OK;
    return status;
}

weir_status weir_rpc_send_metadata(weir_rpc_call *call)
{
    if (call->core->side->is_client)
        return WEIR_EINVAL;
    if (call->is_over || call->out_ended || call->cancelled || call->exchange == NULL)
        return WEIR_ECLOSED;
    if (call->head_sent)
        return WEIR_EEXIST;
    weir_status status = send_head(call);
    call->core->side->dirty(call);
    return status;
}

weir_status weir_rpc_no_gzip(weir_rpc_call *call)
{
    if (call->core->side->is_client)
        return WEIR_EINVAL;
    if (call->head_sent || call->sent_one || call->out_ended || call->is_over)
        return WEIR_EEXIST;
    call->wire.gzip_out = false;
    return WEIR_OK;
}

/* ---- Messages ---- */

weir_status wi_rpc_pack(const wi_rpc_core *core, weir_rpc_codec codec,
                        const ProtobufCMessage *message, size_t guess, weir_bytes *buffer)
{
    if (codec == WEIR_RPC_JSON)
        return weir_protobuf_to_json(message, &core->json, buffer, NULL);
    size_t room = buffer->cap - buffer->len, n = room < guess ? room : guess;
    weir_status status = WEIR_ELIMIT;
    if (n > 0)
        status = weir_protobuf_pack(message, buffer->at + buffer->len, n, &n);
    if (status == WEIR_ELIMIT) {
        size_t size = weir_protobuf_size(message);
        status = weir_bytes_reserve(buffer, size);
        if (status == WEIR_OK)
            status = weir_protobuf_pack(message, buffer->at + buffer->len, size, &n);
    }
    if (status == WEIR_OK)
        buffer->len += n;
    return status;
}

/* Messages of a call are often as long as the one before. Into just the room that it needs a
 * message is packed where it stays: to move what was just written costs a stall of some ten
 * nanoseconds. */
static size_t guess_of(const weir_rpc_call *call)
{
    return call->sent_bytes + (call->sent_alike ? 0 : GUESS_MORE);
}

/* One that waits for the end, or for an exchange, or that may be sent again, is kept by the call.
 */
static bool is_kept(const weir_rpc_call *call)
{
    return call->exchange == NULL || !call->wire.is_stream || call->retains;
}

static weir_status put_body(weir_rpc_call *call, weir_bytes *out, const ProtobufCMessage *message,
                            const void *packed, size_t n)
{
    size_t begun = out->len;
    weir_status status = weir_rpc_wire_message_begin(&call->wire, out, &begun);
    size_t mark = out->len;
    if (status == WEIR_OK && message != NULL)
        status = wi_rpc_pack(call->core, call->wire.codec, message, guess_of(call), out);
    else if (status == WEIR_OK)
        status = weir_bytes_append(out, packed, n);
    size_t bytes = out->len - mark;
    call->sent_alike = bytes == call->sent_bytes;
    call->sent_bytes = bytes;
    if (status == WEIR_OK)
        status = weir_rpc_wire_message_end(&call->wire, out, begun);
    if (status != WEIR_OK) {
        out->len = begun;
        return status;
    }
    if (call->figures != NULL) {
        wi_rpc_count(&call->figures->messages_out, 1);
        wi_rpc_count(&call->figures->bytes_out, bytes);
    }
    return WEIR_OK;
}

static void tell_sent(weir_rpc_call *call, const ProtobufCMessage *message)
{
    const wi_rpc_core *core = call->core;
    for (size_t i = 0; i < core->interceptor_count && i < call->intercepted; i++)
        if (core->interceptors[i]->sent != NULL)
            core->interceptors[i]->sent(call, message, core->interceptors[i]->user);
}

static bool is_closed(const weir_rpc_call *call)
{
    return call->is_over || call->out_ended || call->cancelled;
}

static bool is_early(const weir_rpc_call *call)
{
    return call->core->interceptor_count > 0 && call->core->side->is_client && !call->head_sent;
}

/* Copies `message` for interceptors that are to begin first, if one of them looks. */
static weir_status keep_early(weir_rpc_call *call, const ProtobufCMessage *message)
{
    static const weir_protobuf_limits none = { .bytes_max = UINT32_MAX };
    const wi_rpc_core *core = call->core;
    bool any = false;
    for (size_t i = 0; i < core->interceptor_count; i++)
        any = any || core->interceptors[i]->sent != NULL;
    if (!any)
        return WEIR_OK;
    size_t n = weir_protobuf_size(message);
    wi_rpc_early *early = weir_arena_take(&call->arena, sizeof *early);
    char *packed = weir_arena_take(&call->arena, n);
    if (early == NULL || packed == NULL)
        return WEIR_ENOMEM;
    weir_status status = weir_protobuf_pack(message, packed, n, &n);
    if (status == WEIR_OK)
        status = weir_protobuf_unpack(message->descriptor, packed, n, &none, &call->arena,
                                      &early->message, NULL);
    if (status != WEIR_OK)
        return status;
    early->next = NULL;
    *(call->early == NULL ? &call->early : &call->early_last->next) = early;
    call->early_last = early;
    return WEIR_OK;
}

void wi_rpc_call_tell_early(weir_rpc_call *call)
{
    for (; call->early != NULL; call->early = call->early->next)
        tell_sent(call, call->early->message);
}

/* Whatever room there is, in a call that is not closed. */
static weir_status put_now(weir_rpc_call *call, const ProtobufCMessage *message, const void *packed,
                           size_t n)
{
    if (call->one_out && call->sent_one)
        return WEIR_EINVAL;
    weir_status status = send_head(call);
    if (status != WEIR_OK)
        return status;
    bool kept = is_kept(call);
    weir_bytes *out = kept ? &call->out
                           : weir_http_exchange_body(call->exchange,
                                                     ENVELOPE + call->sent_bytes + GUESS_MORE);
    if (out == NULL)
        return WEIR_ENOMEM;
    size_t mark = out->len;
    bool is_told = kept || mark > 0; /* of what is queued the exchange knows */
    status = put_body(call, out, message, packed, n);
    bool early = is_early(call) && message != NULL;
    if (status == WEIR_OK && early && (status = keep_early(call, message)) != WEIR_OK)
        out->len = mark;
    if (status != WEIR_OK)
        return status;
    call->sent_one = true;
    if (!is_told)
        weir_http_exchange_written(call->exchange);
    call->core->side->dirty(call);
    if (message != NULL && !early)
        tell_sent(call, message);
    return WEIR_OK;
}

static size_t room_of(const weir_rpc_call *call)
{
    if (call->exchange != NULL && call->wire.is_stream)
        return weir_http_exchange_room(call->exchange);
    size_t most = call->core->send_bytes_max, held = call->out.len - call->out_sent;
    return held < most ? most - held : 0;
}

weir_status wi_rpc_call_put(weir_rpc_call *call, const ProtobufCMessage *message,
                            const void *packed, size_t n)
{
    if (is_closed(call))
        return WEIR_ECLOSED;
    if (!call->one_out && room_of(call) == 0) {
        call->room_wanted = true;
        return WEIR_EAGAIN;
    }
    return put_now(call, message, packed, n);
}

static bool is_of(const ProtobufCMessage *message, const weir_rpc_call *call)
{
    const weir_rpc_method *method = call->method;
    return message != NULL &&
           message->descriptor ==
               (call->core->side->is_client ? method->request : method->response);
}

weir_status weir_rpc_send(weir_rpc_call *call, const ProtobufCMessage *message)
{
    return is_of(message, call) ? wi_rpc_call_put(call, message, NULL, 0) : WEIR_EINVAL;
}

/* ---- Room ---- */

size_t weir_rpc_room(weir_rpc_call *call)
{
    size_t room = is_closed(call) ? 0 : room_of(call);
    call->room_wanted |= room == 0;
    return room;
}

void wi_rpc_call_room(weir_rpc_call *call)
{
    if ((!call->opened && !call->core->side->is_client) || call->out_ended || call->cancelled ||
        call->is_over)
        return;
    call->room_wanted = false;
    if (call->sender != NULL)
        call->sender->room(call, call->sender_user);
    else if (call->handler->room != NULL)
        call->handler->room(call, call->user);
}

void wi_rpc_call_first_room(weir_rpc_call *call)
{
    if (!call->one_out && call->handler->room != NULL && weir_rpc_room(call) > 0)
        wi_rpc_call_room(call);
}

/* Other things that the task was to do for the call come after it. */
void wi_rpc_call_late_room(weir_rpc_call *call)
{
    call->begin_room = false;
    wi_rpc_call_ready(call);
    if (weir_rpc_room(call) > 0)
        wi_rpc_call_room(call);
    else
        call->room_wanted = true;
}

/* ---- The end of a response ---- */

weir_status weir_rpc_send_end(weir_rpc_call *call)
{
    return call->core->side->is_client ? call->core->side->send_end(call) : WEIR_EINVAL;
}

static weir_status send_body(weir_rpc_call *call, const weir_bytes *body)
{
    if (body->len == 0)
        return WEIR_OK;
    weir_bytes *out = weir_http_exchange_body(call->exchange, body->len);
    if (out == NULL)
        return WEIR_ENOMEM;
    weir_status status = weir_bytes_append(out, body->at, body->len);
    if (status == WEIR_OK)
        weir_http_exchange_written(call->exchange);
    return status;
}

static weir_status send_ending(weir_rpc_call *call, const weir_rpc_wire_ending *ending,
                               const weir_bytes *body)
{
    if (ending->head.status != 0) {
        weir_status status = wi_rpc_respond(call, &ending->head);
        if (status != WEIR_OK || ending->head.ends)
            return status;
    }
    weir_status status = send_body(call, body);
    if (status != WEIR_OK)
        return status;
    return weir_http_exchange_end(call->exchange, ending->trailers, ending->trailer_count);
}

/* In Connect's unary calls `out` holds the message; otherwise it is empty. */
static weir_status end_with(weir_rpc_call *call, const weir_rpc_error *error)
{
    weir_rpc_wire_ending ending;
    wi_rpc_fields *metadata = &call->out_metadata, *trailers = &call->out_trailers;
    weir_status status = weir_rpc_wire_finish(&call->wire, error, metadata->at, metadata->n,
                                              trailers->at, trailers->n, &call->arena, &call->out,
                                              &ending);
    if (status == WEIR_EINVAL || status == WEIR_ELIMIT) {
        weir_rpc_error wrong = wi_rpc_error_of(WEIR_RPC_INTERNAL, "metadata that may not be sent");
        call->code = wrong.code;
        call->out.len = 0;
        status = weir_rpc_wire_finish(&call->wire, &wrong, NULL, 0, NULL, 0, &call->arena,
                                      &call->out, &ending);
    }
    if (status == WEIR_OK)
        status = send_ending(call, &ending, &call->out);
    weir_bytes_done(&call->out);
    return status;
}

weir_status wi_rpc_call_finish(weir_rpc_call *call, const weir_rpc_error *error)
{
    weir_rpc_error none = wi_rpc_error_of(WEIR_RPC_INTERNAL, "the handler gave no response");
    if (call->is_over || call->exchange == NULL)
        return WEIR_ECLOSED;
    if (call->out_ended)
        return WEIR_EEXIST;
    if (call->one_out && error->code == WEIR_RPC_OK && !call->sent_one)
        error = &none;
    call->out_ended = true;
    call->code = error->code;
    wi_rpc_call_deafen(call);
    weir_status status = end_with(call, error);
    if (status != WEIR_OK) {
        call->code = WEIR_RPC_INTERNAL;
        weir_http_exchange_reset(call->exchange, status, H2_INTERNAL_ERROR);
    }
    call->core->side->dirty(call);
    return status;
}

weir_status weir_rpc_finish_with(weir_rpc_call *call, const weir_rpc_error *error)
{
    static const weir_rpc_error well;
    error = error != NULL ? error : &well;
    return call->core->side->is_client ? WEIR_EINVAL : wi_rpc_call_finish(call, error);
}

weir_status weir_rpc_finish(weir_rpc_call *call, weir_rpc_code code, const char *text)
{
    weir_rpc_error error = wi_rpc_error_of(code, text);
    return weir_rpc_finish_with(call, &error);
}

static weir_rpc_code code_of_pack(weir_status status)
{
    return status == WEIR_ELIMIT || status == WEIR_ENOMEM ? WEIR_RPC_RESOURCE_EXHAUSTED
                                                          : WEIR_RPC_INTERNAL;
}

weir_status wi_rpc_call_answer(weir_rpc_call *call, const ProtobufCMessage *message,
                               const void *packed, size_t n)
{
    if (call->is_over || call->exchange == NULL)
        return WEIR_ECLOSED;
    if (call->out_ended)
        return WEIR_EEXIST;
    bool second = call->one_out && call->sent_one;
    weir_status status = call->cancelled ? WEIR_ECLOSED : put_now(call, message, packed, n);
    if (second)
        return status;
    if (status == WEIR_OK)
        return weir_rpc_finish(call, WEIR_RPC_OK, NULL);
    (void)weir_rpc_finish(call, code_of_pack(status), "the response could not be packed");
    return status;
}

weir_status weir_rpc_reply(weir_rpc_call *call, const ProtobufCMessage *message)
{
    if (call->core->side->is_client || !is_of(message, call))
        return WEIR_EINVAL;
    return wi_rpc_call_answer(call, message, NULL, 0);
}
