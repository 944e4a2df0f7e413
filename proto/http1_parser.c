/* The parser behind the guard: the only file that knows http-parser, so that another can replace
 * it. It sees complete heads only, and it stops where the body begins. */
#include "http1_internal.h"

#include <http_parser.h>

typedef struct parse {
    weir_http1_head *head;
    weir_http1_field *next; /* the field to fill after the one at hand */
    weir_http1_field *end;
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

static int on_name(http_parser *parser, const char *at, size_t len)
{
    parse *run = parser->data;
    if (run->next == run->end)
        return 1;
    *run->next++ = (weir_http1_field){ { at, len }, { at + len, 0 } };
    return 0;
}

static int on_value(http_parser *parser, const char *at, size_t len)
{
    parse *run = parser->data;
    if (run->next == run->head->fields)
        return 1;
    while (len > 0 && (at[len - 1] == ' ' || at[len - 1] == '\t'))
        len--;
    run->next[-1].value = (weir_http1_span){ at, len };
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
    .on_header_field = on_name,
    .on_header_value = on_value,
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

weir_status wi_http1_parse(const char *buf, size_t len, bool response, weir_http1_head *head,
                           wi_http1_parsed *ret_parsed, wi_http1_refusal *ret_refusal)
{
    http_parser parser;
    parse run = { head, head->fields, head->fields + head->field_cap, false };
    http_parser_init(&parser, response ? HTTP_RESPONSE : HTTP_REQUEST);
    parser.data = &run;
    /* It takes Transfer-Encoding-Foo for Transfer-Encoding, and then refuses a Content-Length.
     * Lenient, it leaves that to our own check, and the bytes of values to the guard. */
    parser.lenient_http_headers = 1;
    size_t used = http_parser_execute(&parser, &settings, buf, len);
    if (HTTP_PARSER_ERRNO(&parser) != HPE_OK || !run.complete || used != len) {
        refuse(&parser, response, ret_refusal);
        return WEIR_EPROTO;
    }
    head->field_count = (uint32_t)(run.next - head->fields);
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
