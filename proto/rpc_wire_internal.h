/* What the files of RPC's wire share; private to proto. */
#ifndef WI_RPC_WIRE_INTERNAL_H
#define WI_RPC_WIRE_INTERNAL_H

#include <weir/json.h>
#include <weir/rpc_wire.h>

#include <string.h>

#define WI_SPAN(text)         \
    {                         \
        text, sizeof text - 1 \
    }

/* ---- Content types ---- */

/* X(name, text, protocol, codec, in envelopes, in base64). The first of a protocol and codec is
 * the one that a client asks with. */
#define WI_RPC_TYPE_LIST(X)                                                           \
    X(GRPC_PROTO, "application/grpc+proto", GRPC, PROTO, true, false)                 \
    X(GRPC_JSON, "application/grpc+json", GRPC, JSON, true, false)                    \
    X(WEB_PROTO, "application/grpc-web+proto", GRPC_WEB, PROTO, true, false)          \
    X(WEB_JSON, "application/grpc-web+json", GRPC_WEB, JSON, true, false)             \
    X(WEB_TEXT_PROTO, "application/grpc-web-text+proto", GRPC_WEB, PROTO, true, true) \
    X(WEB_TEXT_JSON, "application/grpc-web-text+json", GRPC_WEB, JSON, true, true)    \
    X(UNARY_PROTO, "application/proto", CONNECT, PROTO, false, false)                 \
    X(UNARY_JSON, "application/json", CONNECT, JSON, false, false)                    \
    X(STREAM_PROTO, "application/connect+proto", CONNECT, PROTO, true, false)         \
    X(STREAM_JSON, "application/connect+json", CONNECT, JSON, true, false)            \
    X(GRPC, "application/grpc", GRPC, PROTO, true, false)                             \
    X(WEB, "application/grpc-web", GRPC_WEB, PROTO, true, false)                      \
    X(WEB_TEXT, "application/grpc-web-text", GRPC_WEB, PROTO, true, true)

typedef enum wi_rpc_type_id {
#define WI_RPC_TYPE_ENUM(name, text, protocol, codec, is_stream, is_text) WI_RPC_##name,
    WI_RPC_TYPE_LIST(WI_RPC_TYPE_ENUM)
#undef WI_RPC_TYPE_ENUM
        WI_RPC_TYPES,
    WI_RPC_TYPE_NONE = WI_RPC_TYPES
} wi_rpc_type_id;

typedef struct wi_rpc_type {
    weir_http1_span text;
    weir_rpc_protocol protocol;
    weir_rpc_codec codec;
    bool is_stream, is_text;
    weir_http1_field head[2];      /* content-type, and that gzip is used */
    weir_http1_field no_memory[3]; /* a whole response: content-type, and gRPC's status */
} wi_rpc_type;

extern const wi_rpc_type wi_rpc_types[WI_RPC_TYPES];

/* By its text, in any case, with parameters; WI_RPC_TYPE_NONE. */
wi_rpc_type_id wi_rpc_type_of(weir_http1_span text);
/* What a client asks with. */
wi_rpc_type_id wi_rpc_type_for(weir_rpc_protocol protocol, weir_rpc_codec codec, bool is_stream,
                               bool is_text);
void wi_rpc_set_type(weir_rpc_wire *wire, wi_rpc_type_id type);

/* ---- Field names ---- */

typedef enum wi_rpc_name {
    WI_RPC_METADATA,     /* the application's */
    WI_RPC_METADATA_BIN, /* likewise, in base64 */
    WI_RPC_TRAILER,      /* "trailer-…" */
    WI_RPC_OURS,         /* a protocol's, of no interest */
    WI_RPC_CONTENT_TYPE,
    WI_RPC_GRPC_TIMEOUT,
    WI_RPC_GRPC_ENCODING,
    WI_RPC_GRPC_ACCEPT,
    WI_RPC_GRPC_STATUS,
    WI_RPC_GRPC_MESSAGE,
    WI_RPC_GRPC_DETAILS,
    WI_RPC_CONTENT_ENCODING,
    WI_RPC_ACCEPT_ENCODING,
    WI_RPC_CONNECT_VERSION,
    WI_RPC_CONNECT_TIMEOUT,
    WI_RPC_CONNECT_ENCODING,
    WI_RPC_CONNECT_ACCEPT,
    WI_RPC_NAMES
} wi_rpc_name;

/* Of a name in lower case. */
wi_rpc_name wi_rpc_name_of(weir_http1_span name);
/* Which fields tell the encoding used, and those accepted, for this wire. */
wi_rpc_name wi_rpc_encoding_name(const weir_rpc_wire *wire, bool accepted);
/* "grpc-encoding" and the like; of those names only that are an encoding's. */
weir_http1_span wi_rpc_name_text(wi_rpc_name name);

/* Fields in an arena. */
typedef struct wi_rpc_fields {
    weir_http1_field *at;
    size_t n, cap;
    size_t max; /* of metadata */
    weir_arena *arena;
} wi_rpc_fields;

/* Makes room for `more`. */
weir_status wi_rpc_fields_reserve(wi_rpc_fields *fields, size_t more);
/* Adds a field as it is, borrowed. Room must be there. */
static inline void wi_rpc_fields_put(wi_rpc_fields *fields, weir_http1_span name,
                                     weir_http1_span value)
{
    fields->at[fields->n++] = (weir_http1_field){ name, value };
}
/* Adds what came: copied, the name being in lower case; values of "-bin" taken apart and decoded.
 * WEIR_EINVAL: those are no base64; WEIR_ELIMIT: too many; WEIR_ENOMEM. */
weir_status wi_rpc_fields_receive(wi_rpc_fields *fields, weir_http1_span name,
                                  weir_http1_span value, bool is_bin);
/* Adds what is to be sent, checked, the name in lower case with `prefix` before it, "-bin" in
 * base64; borrows what need not be changed. Errors as weir_rpc_wire_respond. */
weir_status wi_rpc_fields_send(wi_rpc_fields *fields, const weir_http1_field *from, size_t n,
                               weir_http1_span prefix);
/* Whether a name that came in a body is a token, and a value free of controls. */
bool wi_rpc_name_ok(weir_http1_span name);
bool wi_rpc_value_ok(weir_http1_span value);
/* Without spaces and tabs around. */
weir_http1_span wi_rpc_trim(weir_http1_span text);

static inline bool wi_rpc_is(weir_http1_span span, const char *text, size_t n)
{
    return span.len == n && memcmp(span.at, text, n) == 0;
}
#define WI_RPC_IS(span, literal) wi_rpc_is(span, literal, sizeof literal - 1)
/* What a hexadecimal digit stands for; -1: it is none. */
static inline int wi_rpc_hex_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* ---- Times ---- */

/* "10S"; false: malformed. */
bool wi_rpc_grpc_timeout(weir_http1_span text, uint64_t *ret_ns);
/* "10000" milliseconds. */
bool wi_rpc_connect_timeout(weir_http1_span text, uint64_t *ret_ns);
/* Writes either, rounded up; how long it is, at most WI_RPC_TIMEOUT_MAX. */
#define WI_RPC_TIMEOUT_MAX 12
size_t wi_rpc_write_timeout(bool is_grpc, uint64_t ns, char *out);

/* ---- Codes ---- */

unsigned wi_rpc_code_http(weir_rpc_code code);
bool wi_rpc_code_named(const weir_json_token *name, weir_rpc_code *ret_code);
weir_rpc_code wi_rpc_code_of_http(unsigned http_status);
weir_rpc_code wi_rpc_code_of_h2(uint32_t h2_code);

/* ---- Errors ---- */

/* The call failed, by our own judgement: `code` and a static text are its error. Gives `status`. */
weir_status wi_rpc_fail(weir_rpc_wire *wire, weir_status status, weir_rpc_code code,
                        const char *text);
weir_status wi_rpc_no_memory(weir_rpc_wire *wire);
/* What the error looks like as gRPC's fields: up to three are added, and the trailers behind. */
weir_status wi_rpc_grpc_end(wi_rpc_fields *fields, const weir_rpc_error *error,
                            const weir_http1_field *trailers, size_t n);
/* Reads gRPC's status out of fields, and what else there is as the wire's trailers.
 * *ret_has_status: there was one. */
weir_status wi_rpc_read_grpc_end(weir_rpc_wire *wire, const weir_http1_field *from, size_t n,
                                 weir_arena *arena, bool *ret_has_status);
/* A google.rpc.Status. */
weir_status wi_rpc_status_pack(const weir_rpc_error *error, weir_arena *arena,
                               weir_http1_span *ret_packed);
/* Its text and details; WEIR_EPROTO: none. */
weir_status wi_rpc_status_unpack(weir_http1_span packed, weir_arena *arena,
                                 weir_rpc_error *ret_error);
/* UTF-8, as it is if it is that; otherwise a copy with '?' for what is not. */
weir_status wi_rpc_utf8(weir_http1_span text, weir_arena *arena, weir_http1_span *ret_text);

/* ---- Connect's JSON ---- */

/* Appends {"code":…}. */
weir_status wi_rpc_json_error(const weir_rpc_error *error, weir_arena *arena, weir_bytes *out);
/* Appends {"error":…,"metadata":…}; the fields are as on the wire. */
weir_status wi_rpc_json_end(const weir_rpc_error *error, const weir_http1_field *trailers, size_t n,
                            weir_arena *arena, weir_bytes *out);
/* Reads an error; error->code stays where the text has none that is known. WEIR_EPROTO: it is no
 * JSON object. */
weir_status wi_rpc_json_read_error(weir_http1_span text, weir_arena *arena, weir_rpc_error *error);
/* Reads the end of a stream into the wire's error and trailers. WEIR_EPROTO: it is none. */
weir_status wi_rpc_json_read_end(weir_rpc_wire *wire, weir_http1_span text, weir_arena *arena);

/* ---- gzip ---- */

/* Inflates all of `bytes` into `out`, from its start. WEIR_EPROTO: not gzip, or broken;
 * WEIR_ELIMIT: more than `max`; WEIR_ENOMEM. */
weir_status wi_rpc_gzip_inflate(weir_rpc_gzip *gzip, const char *bytes, size_t n, weir_bytes *out,
                                size_t max);
/* Gives it compressed; borrowed until the next call. */
weir_status wi_rpc_gzip_deflate(weir_rpc_gzip *gzip, const char *bytes, size_t n,
                                weir_http1_span *ret_packed);

/* ---- The wire ---- */

/* State of what comes in. */
enum { WI_RPC_PREFIX, WI_RPC_BODY, WI_RPC_ENDED };

/* Marks. */
#define WI_RPC_HEAD_SENT      1u
#define WI_RPC_TELL_ENCODINGS 2u   /* refused for its compression: say what is taken */
#define WI_RPC_HEAD_STATUS    4u   /* the head had a status, good if nothing else comes */
#define WI_RPC_ERROR_BODY     8u   /* a Connect error comes as the body */
#define WI_RPC_ERROR_CUT      16u  /* and is too long to be one */
#define WI_RPC_GOT_BYTES      32u  /* of body */
#define WI_RPC_PACKED         64u  /* the envelope that comes is compressed */
#define WI_RPC_LAST           128u /* and is the end of the stream */
#define WI_RPC_OVER           256u /* feed_end was called */

/* Makes a wire ready for a new call. */
void wi_rpc_begin(weir_rpc_wire *wire, const weir_env *env, const weir_rpc_wire_limits *limits,
                  weir_rpc_gzip *gzip, bool is_client);
static inline bool wi_rpc_can_gzip(const weir_rpc_wire *wire)
{
    return wire->gzip != NULL;
}
/* Whether the method's kind has one message in what comes in. */
static inline bool wi_rpc_takes_one(const weir_rpc_wire *wire)
{
    return wire->kind == WEIR_RPC_UNARY ||
           wire->kind == (wire->is_client ? WEIR_RPC_CLIENT_STREAM : WEIR_RPC_SERVER_STREAM);
}
/* Inflates into wire->inflated, at most what a message may be; fails the wire if it cannot. */
weir_status wi_rpc_inflate(weir_rpc_wire *wire, weir_http1_span packed, weir_http1_span *ret_span);
/* Replaces all of `body` by its compressed form; `always`, or if that is shorter. */
weir_status wi_rpc_deflate_body(weir_rpc_wire *wire, weir_bytes *body, bool always, bool *ret_done);
/* Fills in the envelope at `mark` with `flags`, and encodes from there on for text. */
weir_status wi_rpc_close_envelope(weir_rpc_wire *wire, weir_bytes *out, size_t mark,
                                  unsigned char flags);
/* Whether the value lists gzip among what is accepted. */
bool wi_rpc_lists_gzip(weir_http1_span value);
/* Reads an encoding's name: none, or gzip. False: neither. */
bool wi_rpc_encoding(const weir_rpc_wire *wire, const weir_http1_span *value, bool *ret_gzip);

/* ---- Queries of Connect's GET ---- */

typedef struct wi_rpc_query {
    weir_http1_span connect, encoding, message, compression;
    bool has_connect, has_message, has_compression, base64;
} wi_rpc_query;

/* Takes the path's query apart; values are decoded. WEIR_EINVAL: a malformed escape. */
weir_status wi_rpc_query_read(weir_http1_span path, weir_arena *arena, wi_rpc_query *ret_query);

#endif
