/* The channels of the client under test: one for each sort of call, kept for the next of its sort.
 */
#ifndef CONFORMANCE_CLIENT_CHANNELS_H
#define CONFORMANCE_CLIENT_CHANNELS_H

#include "servers.h"

#include "common.h"

#include <connectrpc/conformance/v1/client_compat.weir.h>

typedef Connectrpc__Conformance__V1__ClientCompatRequest compat_request;

typedef struct channel_entry channel_entry;

typedef struct channels {
    weir_loop *loop;
    channel_entry *first;
    char folder[SERVER_PATH_MAX]; /* for certificates, while a channel is made */
} channels;

/* Borrows `loop` until channels_done. */
bool channels_init(channels *all, weir_loop *loop);
/* Calls that are under way are cancelled; the loop has to turn after it. */
void channels_done(channels *all);
/* The channel for such a call; NULL with a reason if it cannot be made. */
weir_rpc_channel *channels_get(channels *all, const compat_request *request, const char **ret_why);

#endif
