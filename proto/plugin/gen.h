/* What the files of protoc-gen-weir share. A program that runs once: all memory is of one pool,
 * freed at the end, and want of memory ends it with a message. */
#ifndef WI_GEN_H
#define WI_GEN_H

#include <google/protobuf/descriptor.pb-c.h>
#include <plugin.pb-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/protobuf_json.h>
#include <weir/rpc_service.h>

typedef Google__Protobuf__FileDescriptorProto wi_gen_file_proto;
typedef Google__Protobuf__DescriptorProto wi_gen_message_proto;
typedef Google__Protobuf__ServiceDescriptorProto wi_gen_service_proto;
typedef Google__Protobuf__MethodDescriptorProto wi_gen_method_proto;

enum {
    WI_GEN_REQUEST_BYTES_MAX = 64 << 20,
    WI_GEN_RESPONSE_BYTES_MAX = 256 << 20, /* of protoc-gen-c */
    WI_GEN_NESTING_MAX = 64,               /* of messages */
    WI_GEN_NAME_BYTES_MAX = 1024,          /* a full name */
    WI_GEN_CHILD_MS_MAX = 120000
};
#define WI_GEN_MEMORY_MAX ((size_t)2 << 30)

/* ---- Memory and text (gen_text.c) ---- */

typedef struct wi_gen_pool {
    struct wi_gen_chunk *chunks;
    size_t used;
    ProtobufCAllocator allocator; /* gives from here */
} wi_gen_pool;

void wi_gen_pool_init(wi_gen_pool *pool);
void wi_gen_pool_done(wi_gen_pool *pool);
/* Zeroed, never NULL. */
void *wi_gen_alloc(wi_gen_pool *pool, size_t n);

/* Text that grows; `at` always ends with a NUL that `n` does not count. */
typedef struct wi_gen_text {
    wi_gen_pool *pool;
    char *at;
    size_t n, cap;
} wi_gen_text;

void wi_gen_text_init(wi_gen_text *text, wi_gen_pool *pool);
void wi_gen_append(wi_gen_text *text, const void *bytes, size_t n);
void wi_gen_put(wi_gen_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
char *wi_gen_print(wi_gen_pool *pool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- What is generated from ---- */

typedef struct wi_gen_type {
    const char *name;       /* ".streams.v1.Data" */
    const char *c_name;     /* "Streams__V1__Data", as protoc-gen-c has it */
    const char *descriptor; /* "streams__v1__data__descriptor" */
    bool map_entry;
} wi_gen_type;

typedef struct wi_gen_method {
    const char *name;   /* "Process" */
    const char *member; /* "process", of the structs; no keyword */
    const char *base;   /* "streams_v1_streams_process", of all other names */
    const char *comment;
    const wi_gen_type *request, *response;
    weir_rpc_kind kind;
    bool no_side_effects, idempotent;
} wi_gen_method;

typedef struct wi_gen_service {
    const char *name; /* "streams.v1.Streams" */
    const char *base; /* "streams_v1_streams" */
    const char *comment;
    wi_gen_method *methods;
    size_t method_count;
} wi_gen_service;

typedef struct wi_gen_file {
    wi_gen_file_proto *proto;
    ProtobufCBinaryData bytes; /* without comments */
    const char *stem;          /* "streams/v1/streams" */
    const char *base;          /* "streams_v1_streams_proto" */
    const char *c_package;
    bool no_c; /* protoc-gen-c makes nothing of it: (pb_c_file).no_generate */
    bool wanted;
    wi_gen_type *types; /* of this file, in order */
    size_t type_count;
    wi_gen_service *services;
    size_t service_count;
} wi_gen_file;

typedef struct wi_gen {
    wi_gen_pool *pool;
    const char *error; /* the first */
    Weir__Plugin__Request *request;
    wi_gen_file *files;
    size_t file_count;
    const wi_gen_type **types; /* of all files, by name */
    size_t type_count;
    const char *protoc_gen_c;
    bool no_c, no_server, no_client;
    Weir__Plugin__Response__File **out;
    size_t out_count, out_cap;
} wi_gen;

/* Keeps the first error; false, always. */
bool wi_gen_fail(wi_gen *gen, const char *format, ...) __attribute__((format(printf, 2, 3)));
void wi_gen_add_output(wi_gen *gen, const char *name, const char *content);

/* ---- Names (gen_names.c) ---- */

bool wi_gen_is_identifier(const char *name);
bool wi_gen_is_dotted(const char *name); /* identifiers between dots */
/* "HTTPServer" is http_server; dots become underscores. */
char *wi_gen_snake(wi_gen_pool *pool, const char *name);
/* As protoc-gen-c does it; pieces are between dots. */
char *wi_gen_c_type(wi_gen_pool *pool, const char *full_name);
char *wi_gen_c_lower(wi_gen_pool *pool, const char *full_name);
/* All that is no letter or digit becomes an underscore. */
char *wi_gen_flat(wi_gen_pool *pool, const char *path);
bool wi_gen_is_keyword(const char *name); /* of C or C++, or taken in the structs */

/* ---- Reading (gen_wire.c, gen_read.c, gen_services.c) ---- */

typedef struct wi_gen_field {
    uint32_t number, wire;
    ProtobufCBinaryData whole, content; /* content: of wire type 2 */
    uint64_t value;                     /* of wire type 0 */
} wi_gen_field;

/* 1: a field; 0: the end; -1: not well-formed. Moves `*rest` behind it. */
int wi_gen_next_field(ProtobufCBinaryData *rest, wi_gen_field *ret_field);
/* Whether messages are nested no deeper than may be unpacked. */
bool wi_gen_nesting_ok(ProtobufCBinaryData file);
ProtobufCBinaryData wi_gen_without_comments(wi_gen_pool *pool, ProtobufCBinaryData file);
/* The request, its parameter, files and types. */
bool wi_gen_read(wi_gen *gen, const uint8_t *bytes, size_t n);
wi_gen_file *wi_gen_find_file(const wi_gen *gen, const char *name);
const wi_gen_type *wi_gen_find_type(const wi_gen *gen, const char *name);
/* The services of a file that is wanted. */
bool wi_gen_read_services(wi_gen *gen, wi_gen_file *file);

/* ---- Making (gen_header.c, gen_source.c, gen_members.c, gen_c.c) ---- */

void wi_gen_put_comment(wi_gen_text *text, const char *indent, const char *comment);
void wi_gen_header(wi_gen *gen, const wi_gen_file *file);
void wi_gen_source(wi_gen *gen, const wi_gen_file *file);
/* A file of protoc-gen-c's, in which no member is a keyword or there twice. */
char *wi_gen_members(wi_gen_pool *pool, const char *content);
/* Has protoc-gen-c make its files of the request. */
bool wi_gen_c(wi_gen *gen);
/* Has `content`, what protoc-gen-c made of the file, know the names in JSON that are its own. */
bool wi_gen_json_names(wi_gen *gen, const wi_gen_file *file, const char **content);
/* Runs `program`, gives it `in`, reads what it says up to its end. */
bool wi_gen_run(wi_gen *gen, const char *program, const uint8_t *in, size_t in_n,
                wi_gen_text *ret_out);

#endif
