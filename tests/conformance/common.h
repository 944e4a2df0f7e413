/* What both programs for the conformance tests do: messages on standard input and output, files for
 * certificates, and the tests' words for metadata, errors and Any. All memory is the arena's. */
#ifndef CONFORMANCE_COMMON_H
#define CONFORMANCE_COMMON_H

#include <weir/rpc.h>

#include <connectrpc/conformance/v1/service.weir.h>

typedef Connectrpc__Conformance__V1__Header conformance_header;
typedef Connectrpc__Conformance__V1__Error conformance_error;

/* A message with its length before it, to standard output, whole. */
bool common_write(weir_arena *arena, const ProtobufCMessage *message);
/* One from standard input, whatever it takes; NULL at the end of the input, or on an error. */
ProtobufCMessage *common_read(weir_arena *arena, const ProtobufCMessageDescriptor *type);

/* A file of these bytes that nobody else may read; NULL if it cannot be made. */
char *common_file(weir_arena *arena, const char *folder, const char *name,
                  const ProtobufCBinaryData *bytes);

/* Metadata as the tests have it: each name once, with all its values in their order. `at` gives
 * field `i` of `n`. NULL for want of memory. */
conformance_header **common_headers(weir_arena *arena, const weir_rpc_call *call, size_t n,
                                    weir_http1_field (*at)(const weir_rpc_call *, size_t),
                                    size_t *ret_n);

/* Any of a packed message, of type `name`; of a message. NULL for want of memory. */
Google__Protobuf__Any *common_any(weir_arena *arena, const char *name, const void *bytes, size_t n);
Google__Protobuf__Any *common_any_of(weir_arena *arena, const ProtobufCMessage *message);
/* The name of the type in an Any: what is behind the last slash. */
const char *common_type(const Google__Protobuf__Any *any);

#endif
