/* What may be asked about a call. */
#include "rpc_internal.h"

#include <string.h>

const weir_rpc_method *weir_rpc_call_method(const weir_rpc_call *call)
{
    return call->method;
}

weir_rpc_protocol weir_rpc_call_protocol(const weir_rpc_call *call)
{
    return call->wire.protocol;
}

weir_loop *weir_rpc_call_loop(const weir_rpc_call *call)
{
    return call->core->loop;
}

weir_context *weir_rpc_call_context(weir_rpc_call *call)
{
    return wi_rpc_call_traced(call);
}

void *weir_rpc_call_state(const weir_rpc_call *call)
{
    return call->state;
}

const void *weir_rpc_call_typed(const weir_rpc_call *call)
{
    return call->handler != NULL ? call->handler->typed : NULL;
}

void *weir_rpc_call_user(const weir_rpc_call *call)
{
    return call->user;
}

weir_arena *weir_rpc_call_arena(weir_rpc_call *call)
{
    return &call->arena;
}

size_t weir_rpc_call_peer(const weir_rpc_call *call, char *buffer, size_t cap)
{
    if (call->exchange != NULL)
        return call->core->side->peer(call, buffer, cap);
    if (cap > 0)
        buffer[0] = '\0';
    return 0;
}

const char *weir_rpc_call_peer_subject(const weir_rpc_call *call)
{
    const char *subject = call->exchange != NULL ? call->core->side->peer_subject(call) : NULL;
    return subject != NULL ? subject : "";
}

static weir_http1_span find(const weir_http1_field *fields, size_t n, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (fields[i].name.len == len && memcmp(fields[i].name.at, name, len) == 0)
            return fields[i].value;
    return (weir_http1_span){ NULL, 0 };
}

static weir_http1_field at(const weir_http1_field *fields, size_t n, size_t index)
{
    return index < n ? fields[index] : (weir_http1_field){ { NULL, 0 }, { NULL, 0 } };
}

weir_http1_span weir_rpc_metadata_find(const weir_rpc_call *call, const char *name)
{
    return find(call->metadata, call->metadata_count, name);
}

size_t weir_rpc_metadata_count(const weir_rpc_call *call)
{
    return call->metadata_count;
}

weir_http1_field weir_rpc_metadata_at(const weir_rpc_call *call, size_t index)
{
    return at(call->metadata, call->metadata_count, index);
}

weir_http1_span weir_rpc_trailer_find(const weir_rpc_call *call, const char *name)
{
    return find(call->trailers, call->trailer_count, name);
}

size_t weir_rpc_trailer_count(const weir_rpc_call *call)
{
    return call->trailer_count;
}

weir_http1_field weir_rpc_trailer_at(const weir_rpc_call *call, size_t index)
{
    return at(call->trailers, call->trailer_count, index);
}

const weir_rpc_error *weir_rpc_call_error(const weir_rpc_call *call)
{
    return &call->error;
}
