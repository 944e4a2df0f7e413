/* The parser behind the guard: the only file that knows http-parser, so that another can replace
 * it. It sees complete heads only, and it stops where the body begins. */
#include "http1_internal.h"

#include <http_parser.h>

typedef struct parse {
    weir_http1_head *head;
    bool complete;
} parse;

static const uint8_t method_map[] = {
#define MAP_METHOD(number, name, text) [number] = WEIR_HTTP1_##name,
    HTTP_METHOD_MAP(MAP_METHOD)
#undef MAP_METHOD
};

static int on_target(http_parser *parser, const char *at, size_t len)
{
    parse *run = parser->data;
    run->head->target = (weir_http1_span){ at, len };
    return 0;
}

static int on_reason(http_parser *parser, const char *at, size_t len)
{
    parse *run = parser->data;
    run->head->reason = (weir_http1_span){ at, len };
    return 0;
}

/* Returning 2 says that no body follows, so bodies and their framing are left to us. */
static int on_head(http_parser *parser)
{
    parse *run = parser->data;
    run->complete = true;
    return 2;
}

static const http_parser_settings settings = {
    .on_url = on_target,
    .on_status = on_reason,
    .on_headers_complete = on_head,
};

static void refuse(const http_parser *parser, bool response, wi_http1_refusal *ret_refusal)
{
    enum http_errno number = HTTP_PARSER_ERRNO(parser);
    ret_refusal->status = 400;
    ret_refusal->why = number == HPE_OK ? "malformed head" : http_errno_description(number);
    if (number == HPE_INVALID_METHOD) {
        ret_refusal->status = 501;
        ret_refusal->why = "unknown method";
    }
    if (response)
        ret_refusal->status = 502;
}

/* Whether the parser makes something of a field. */
static bool concerns(const weir_http1_span *name)
{
    switch (name->len) {
    case 7:
        return wi_http1_same(name->at, "upgrade", 7);
    case 10:
        return wi_http1_same(name->at, "connection", 10);
    case 14:
        return wi_http1_same(name->at, "content-length", 14);
    case 17:
        return wi_http1_same(name->at, "transfer-encoding", 17);
    default:
        return false;
    }
}

static bool execute(http_parser *parser, const char *at, const char *end)
{
    size_t len = (size_t)(end - at);
    return http_parser_execute(parser, &settings, at, len) == len &&
           HTTP_PARSER_ERRNO(parser) == HPE_OK;
}

/* Start line, the fields that concern the parser, and the empty line. The guard has already taken
 * every line apart, and most of a head's bytes are in lines that mean nothing here; this parser
 * would even take Transfer-Encoding-Foo for Transfer-Encoding, and refuse a Content-Length then. */
static bool execute_head(http_parser *parser, const weir_http1_head *head, const char *buf,
                         const char *end)
{
    const char *last = end - 2; /* the empty line */
    const char *line = buf;
    bool wanted = true;
    for (uint32_t i = 0; i < head->field_count; i++) {
        const weir_http1_span *name = &head->fields[i].name;
        bool concerned = concerns(name);
        if (concerned == wanted)
            continue; /* goes with the lines before it */
        if (wanted && !execute(parser, line, name->at))
            return false;
        line = name->at;
        wanted = concerned;
    }
    return execute(parser, wanted ? line : last, end);
}

weir_status wi_http1_parse(const char *buf, size_t len, bool response, weir_http1_head *head,
                           wi_http1_parsed *ret_parsed, wi_http1_refusal *ret_refusal)
{
    http_parser parser;
    parse run = { head, false };
    http_parser_init(&parser, response ? HTTP_RESPONSE : HTTP_REQUEST);
    parser.data = &run;
    if (!execute_head(&parser, head, buf, buf + len) || !run.complete) {
        refuse(&parser, response, ret_refusal);
        return WEIR_EPROTO;
    }
    *ret_parsed = (wi_http1_parsed){
        .method = response ? WEIR_HTTP1_METHOD_NONE : (weir_http1_method)method_map[parser.method],
        .status = (uint16_t)(response ? parser.status_code : 0),
        .minor = parser.http_minor == 0 ? 0 : 1,
        .chunked = (parser.flags & F_CHUNKED) != 0,
        .has_length = (parser.flags & F_CONTENTLENGTH) != 0,
        .length = parser.content_length,
    };
    return WEIR_OK;
}
