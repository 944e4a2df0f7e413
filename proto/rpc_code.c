/* The status codes of RPC: their names, their numbers in HTTP, and what they are as weir's own. */
#include <weir/rpc_service.h>

#include "rpc_wire_internal.h"

typedef struct code_row {
    const char *name, *connect_name;
    unsigned http_status;
} code_row;

static const code_row rows[] = {
#define ROW(name, number, connect, http) [number] = { #name, connect, http },
    WEIR_RPC_CODE_LIST(ROW)
#undef ROW
};

static const code_row *row_of(weir_rpc_code code)
{
    return &rows[(unsigned)code < sizeof rows / sizeof rows[0] ? code : WEIR_RPC_UNKNOWN];
}

const char *weir_rpc_code_name(weir_rpc_code code)
{
    return row_of(code)->name;
}

const char *weir_rpc_code_connect_name(weir_rpc_code code)
{
    return row_of(code)->connect_name;
}

unsigned wi_rpc_code_http(weir_rpc_code code)
{
    return row_of(code)->http_status;
}

bool wi_rpc_code_named(const weir_json_token *name, weir_rpc_code *ret_code)
{
    for (unsigned i = 1; i < sizeof rows / sizeof rows[0]; i++) {
        if (weir_json_equals(name, rows[i].connect_name)) {
            *ret_code = (weir_rpc_code)i;
            return true;
        }
    }
    return false;
}

weir_rpc_code wi_rpc_code_of_http(unsigned http_status)
{
    switch (http_status) {
    case 400:
        return WEIR_RPC_INTERNAL;
    case 401:
        return WEIR_RPC_UNAUTHENTICATED;
    case 403:
        return WEIR_RPC_PERMISSION_DENIED;
    case 404:
        return WEIR_RPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return WEIR_RPC_UNAVAILABLE;
    default:
        return WEIR_RPC_UNKNOWN;
    }
}

weir_rpc_code wi_rpc_code_of_h2(uint32_t h2_code)
{
    switch (h2_code) {
    case 7: /* REFUSED_STREAM */
        return WEIR_RPC_UNAVAILABLE;
    case 8: /* CANCEL */
        return WEIR_RPC_CANCELLED;
    case 11: /* ENHANCE_YOUR_CALM */
        return WEIR_RPC_RESOURCE_EXHAUSTED;
    case 12: /* INADEQUATE_SECURITY */
        return WEIR_RPC_PERMISSION_DENIED;
    case 5: /* STREAM_CLOSED: the table has no code for it, nor for what is beyond it */
        return WEIR_RPC_UNKNOWN;
    default:
        return h2_code <= 10 ? WEIR_RPC_INTERNAL : WEIR_RPC_UNKNOWN;
    }
}

weir_rpc_code weir_rpc_code_of(weir_status status)
{
    static const uint8_t codes[WEIR_STATUS_COUNT] = {
        [-WEIR_OK] = WEIR_RPC_OK,
        [-WEIR_EINVAL] = WEIR_RPC_INVALID_ARGUMENT,
        [-WEIR_ENOMEM] = WEIR_RPC_RESOURCE_EXHAUSTED,
        [-WEIR_EAGAIN] = WEIR_RPC_UNAVAILABLE,
        [-WEIR_ELIMIT] = WEIR_RPC_RESOURCE_EXHAUSTED,
        [-WEIR_ECANCELED] = WEIR_RPC_CANCELLED,
        [-WEIR_EDEADLINE] = WEIR_RPC_DEADLINE_EXCEEDED,
        [-WEIR_EPROTO] = WEIR_RPC_INTERNAL,
        [-WEIR_EIO] = WEIR_RPC_UNAVAILABLE,
        [-WEIR_ECLOSED] = WEIR_RPC_UNAVAILABLE,
        [-WEIR_EUNAVAILABLE] = WEIR_RPC_UNAVAILABLE,
        [-WEIR_EOVERLOAD] = WEIR_RPC_UNAVAILABLE,
        [-WEIR_ENOTFOUND] = WEIR_RPC_NOT_FOUND,
        [-WEIR_EEXIST] = WEIR_RPC_ALREADY_EXISTS,
        [-WEIR_EREJECTED] = WEIR_RPC_FAILED_PRECONDITION,
        [-WEIR_EUNSUPPORTED] = WEIR_RPC_UNIMPLEMENTED,
        [-WEIR_EINTERNAL] = WEIR_RPC_INTERNAL,
        [-WEIR_EDENIED] = WEIR_RPC_PERMISSION_DENIED,
        [-WEIR_EPARTIAL] = WEIR_RPC_INVALID_ARGUMENT,
    };
    unsigned number = 0u - (unsigned)status;
    return number < WEIR_STATUS_COUNT ? (weir_rpc_code)codes[number] : WEIR_RPC_UNKNOWN;
}

weir_status weir_rpc_code_status(weir_rpc_code code)
{
    static const int8_t statuses[] = {
        [WEIR_RPC_OK] = WEIR_OK,
        [WEIR_RPC_CANCELLED] = WEIR_ECANCELED,
        [WEIR_RPC_UNKNOWN] = WEIR_EINTERNAL,
        [WEIR_RPC_INVALID_ARGUMENT] = WEIR_EINVAL,
        [WEIR_RPC_DEADLINE_EXCEEDED] = WEIR_EDEADLINE,
        [WEIR_RPC_NOT_FOUND] = WEIR_ENOTFOUND,
        [WEIR_RPC_ALREADY_EXISTS] = WEIR_EEXIST,
        [WEIR_RPC_PERMISSION_DENIED] = WEIR_EDENIED,
        [WEIR_RPC_RESOURCE_EXHAUSTED] = WEIR_ELIMIT,
        [WEIR_RPC_FAILED_PRECONDITION] = WEIR_EREJECTED,
        [WEIR_RPC_ABORTED] = WEIR_EREJECTED,
        [WEIR_RPC_OUT_OF_RANGE] = WEIR_EINVAL,
        [WEIR_RPC_UNIMPLEMENTED] = WEIR_EUNSUPPORTED,
        [WEIR_RPC_INTERNAL] = WEIR_EINTERNAL,
        [WEIR_RPC_UNAVAILABLE] = WEIR_EUNAVAILABLE,
        [WEIR_RPC_DATA_LOSS] = WEIR_EIO,
        [WEIR_RPC_UNAUTHENTICATED] = WEIR_EDENIED,
    };
    unsigned number = (unsigned)code;
    return number < sizeof statuses ? (weir_status)statuses[number] : WEIR_EINTERNAL;
}
