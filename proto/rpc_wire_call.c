/* The head of a request, as a client says it. */
#include "rpc_wire_internal.h"
#include "wi_base64.h"

#include <weir/version.h>

#define PATH_BYTES_MAX 8000
#define FIELDS_OURS    9

static const weir_http1_span gzip_text = WI_SPAN("gzip");

static bool has_user_agent(const weir_rpc_wire_options *options)
{
    for (size_t i = 0; i < options->metadata_count; i++) {
        if (options->metadata[i].name.len == 10 &&
            weir_http1_span_is(options->metadata[i].name, "user-agent"))
            return true;
    }
    return false;
}

static void put_protocol(const weir_rpc_wire *wire, wi_rpc_fields *fields)
{
    static const weir_http1_field te = { WI_SPAN("te"), WI_SPAN("trailers") };
    static const weir_http1_field web = { WI_SPAN("x-grpc-web"), WI_SPAN("1") };
    static const weir_http1_field version = { WI_SPAN("connect-protocol-version"), WI_SPAN("1") };
    const wi_rpc_type *type = &wi_rpc_types[wire->type];
    if (wire->is_get)
        return; /* the query says it */
    fields->at[fields->n++] = type->head[0];
    fields->at[fields->n++] = wire->protocol == WEIR_RPC_GRPC       ? te
                              : wire->protocol == WEIR_RPC_GRPC_WEB ? web
                                                                    : version;
    if (wire->is_text)
        wi_rpc_fields_put(fields, (weir_http1_span)WI_SPAN("accept"), type->text);
}

static void put_gzip(const weir_rpc_wire *wire, wi_rpc_fields *fields)
{
    if (!wi_rpc_can_gzip(wire))
        return;
    wi_rpc_fields_put(fields, wi_rpc_name_text(wi_rpc_encoding_name(wire, true)), gzip_text);
    if (wire->gzip_out && !wire->is_get)
        fields->at[fields->n++] = wi_rpc_types[wire->type].head[1];
}

static weir_status put_timeout(const weir_rpc_wire *wire, uint64_t ns, wi_rpc_fields *fields)
{
    static const weir_http1_span grpc = WI_SPAN("grpc-timeout");
    static const weir_http1_span connect = WI_SPAN("connect-timeout-ms");
    bool is_grpc = wire->protocol != WEIR_RPC_CONNECT;
    if (ns == UINT64_MAX)
        return WEIR_OK;
    char *text = weir_arena_take(fields->arena, WI_RPC_TIMEOUT_MAX);
    if (text == NULL)
        return WEIR_ENOMEM;
    size_t len = wi_rpc_write_timeout(is_grpc, ns, text);
    wi_rpc_fields_put(fields, is_grpc ? grpc : connect, (weir_http1_span){ text, len });
    return WEIR_OK;
}

/* Connect's GET: the message in the query, in the order that caches like best. */
static weir_status make_query(weir_rpc_wire *wire, const char *path,
                              const weir_rpc_wire_options *options, weir_arena *arena,
                              weir_http1_span *ret_path)
{
    weir_http1_span message = { options->get_message, options->get_bytes };
    bool gzip = options->gzip && wi_rpc_can_gzip(wire) &&
                message.len >= wire->limits.gzip_bytes_min;
    if (message.len > wire->limits.message_send_bytes_max)
        return WEIR_ELIMIT;
    if (gzip) {
        weir_http1_span packed;
        weir_status status = wi_rpc_gzip_deflate(wire->gzip, message.at, message.len, &packed);
        if (status != WEIR_OK)
            return status;
        gzip = packed.len < message.len;
        message = gzip ? packed : message;
    }
    size_t n = strlen(path);
    if (n > PATH_BYTES_MAX || message.len > PATH_BYTES_MAX)
        return WEIR_ELIMIT;
    const char *query = gzip ? "?connect=v1&base64=1&compression=gzip&encoding="
                             : "?connect=v1&base64=1&encoding=";
    const char *codec = wire->codec == WEIR_RPC_JSON ? "json&message=" : "proto&message=";
    size_t query_len = strlen(query), codec_len = strlen(codec);
    char *at = weir_arena_take(arena,
                               n + query_len + codec_len + wi_base64_encoded_max(message.len));
    if (at == NULL)
        return WEIR_ENOMEM;
    memcpy(at, path, n);
    memcpy(at + n, query, query_len);
    memcpy(at + n + query_len, codec, codec_len);
    n += query_len + codec_len;
    n += wi_base64_encode(message.at, message.len, WI_BASE64_URL | WI_BASE64_UNPADDED, at + n);
    *ret_path = (weir_http1_span){ at, n };
    return n > PATH_BYTES_MAX ? WEIR_ELIMIT : WEIR_OK;
}

static bool makes_sense(const weir_rpc_method *method, const weir_rpc_wire_options *options)
{
    if (options->is_text && options->protocol != WEIR_RPC_GRPC_WEB)
        return false;
    return options->get_message == NULL ||
           (options->protocol == WEIR_RPC_CONNECT && method->kind == WEIR_RPC_UNARY &&
            method->no_side_effects);
}

static weir_status put_fields(weir_rpc_wire *wire, const weir_rpc_wire_options *options,
                              wi_rpc_fields *fields)
{
    static const weir_http1_field agent = { WI_SPAN("user-agent"), WI_SPAN("weir/" WEIR_VERSION) };
    fields->max = wire->limits.fields_max;
    if (options->metadata_count > fields->max)
        return WEIR_ELIMIT;
    weir_status status = wi_rpc_fields_reserve(fields, FIELDS_OURS + options->metadata_count);
    if (status != WEIR_OK)
        return status;
    put_protocol(wire, fields);
    if (!has_user_agent(options))
        fields->at[fields->n++] = agent;
    put_gzip(wire, fields);
    status = put_timeout(wire, options->timeout_ns, fields);
    if (status != WEIR_OK)
        return status;
    return wi_rpc_fields_send(fields, options->metadata, options->metadata_count,
                              (weir_http1_span){ "", 0 });
}

weir_status weir_rpc_wire_call(weir_rpc_wire *wire, const weir_env *env,
                               const weir_rpc_wire_limits *limits, weir_rpc_gzip *gzip,
                               const weir_rpc_method *method, const weir_rpc_wire_options *options,
                               weir_arena *arena, weir_http_head *ret_head)
{
    wi_rpc_begin(wire, env, limits, gzip, true);
    if (!makes_sense(method, options))
        return WEIR_EINVAL;
    wi_rpc_set_type(wire, wi_rpc_type_for(options->protocol, options->codec,
                                          method->kind != WEIR_RPC_UNARY, options->is_text));
    wire->kind = method->kind;
    wire->is_get = options->get_message != NULL;
    wire->gzip_out = options->gzip && wi_rpc_can_gzip(wire);
    wi_rpc_fields fields = { .arena = arena };
    weir_status status = put_fields(wire, options, &fields);
    weir_http1_span path = { method->path, strlen(method->path) };
    if (status == WEIR_OK && wire->is_get)
        status = make_query(wire, method->path, options, arena, &path);
    if (status != WEIR_OK)
        return status;
    weir_http1_span get = WI_SPAN("GET"), post = WI_SPAN("POST");
    *ret_head = (weir_http_head){ .method = wire->is_get ? get : post,
                                  .path = path,
                                  .authority = options->authority,
                                  .scheme = options->scheme,
                                  .fields = fields.at,
                                  .field_count = fields.n,
                                  .content_length = wire->is_get ? 0 : UINT64_MAX,
                                  .ends = wire->is_get };
    return WEIR_OK;
}

weir_status weir_rpc_wire_request_end(weir_rpc_wire *wire, weir_bytes *body)
{
    bool done;
    if (wire->is_stream || wire->is_get || !wire->gzip_out)
        return WEIR_OK;
    return wi_rpc_deflate_body(wire, body, true, &done);
}
