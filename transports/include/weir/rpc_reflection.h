/* The standard service that says which services a server has, and what their messages look like:
 * grpc.reflection.v1 and v1alpha, for grpcurl and its kin.
 * https://github.com/grpc/grpc/blob/master/doc/server-reflection.md
 *
 * It knows the files of the services that it is given, and what they import (weir_rpc_file):
 *
 *   list_services                  those services, and these two
 *   file_by_filename               the file, and with it all that it imports, directly or not,
 *                                  unless the stream had that before
 *   file_containing_symbol         the same for the file of a service, method, message, field,
 *                                  oneof, enum, value of one or extension, by its full name
 *   file_containing_extension      the same for that of an extension
 *   all_extension_numbers_of_type  those known of a message; perhaps none
 *
 * What it does not know is NOT_FOUND, and a question that it does not know UNIMPLEMENTED, both as
 * an error_response: the stream goes on. When the server drains its streams end with UNAVAILABLE.
 */
#ifndef WEIR_RPC_REFLECTION_H
#define WEIR_RPC_REFLECTION_H

#include <weir/rpc.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_rpc_reflection weir_rpc_reflection;

/* Their messages are the same. */
typedef enum weir_rpc_reflection_version {
    WEIR_RPC_REFLECTION_V1,
    WEIR_RPC_REFLECTION_V1ALPHA
} weir_rpc_reflection_version;

enum { WEIR_RPC_REFLECTION_FILES_MAX = 4096 };

/* Gives the reflection of `services`, of which it borrows the types; one without a file is listed
 * and no more. Do not name those of weir_rpc_reflection_service. NULL: no memory, a service that is
 * NULL, too many files, one that is malformed, or a build without nghttp2, zlib or protoc. env is
 * borrowed; NULL: the defaults. Any thread; it may be served by several servers. */
WEIR_API weir_rpc_reflection *
weir_rpc_reflection_new(const weir_env *env, const weir_rpc_service *const *services, size_t count);
/* Takes it. The pipelines that serve it must have been freed. NULL is fine. */
WEIR_API void weir_rpc_reflection_free(weir_rpc_reflection *reflection);

/* One of its two services, for weir_rpc_server_config. Borrowed from `reflection`. Of NULL: NULL,
 * which the server's check refuses. */
WEIR_API const weir_rpc_service *weir_rpc_reflection_service(const weir_rpc_reflection *reflection,
                                                             weir_rpc_reflection_version version);

#ifdef __cplusplus
}
#endif
#endif
