/* The second opinion on how a message is framed, by http-parser: the only file that knows it, so
 * that another can replace it. The guard has taken every line of the head apart already; the start
 * line means what the guard found. */
#include "http1_internal.h"

#include <http_parser.h>

/* Returning 2 says that no body follows, so bodies and their framing are left to us. */
static int on_head(http_parser *parser)
{
    *(bool *)parser->data = true;
    return 2;
}

static const http_parser_settings settings = { .on_headers_complete = on_head };

static bool execute(http_parser *parser, const char *at, const char *end)
{
    size_t len = (size_t)(end - at);
    return http_parser_execute(parser, &settings, at, len) == len &&
           HTTP_PARSER_ERRNO(parser) == HPE_OK;
}

static bool frames(const weir_http1_span *name)
{
    return (name->len == 14 && wi_http1_same(name->at, "content-length", 14)) ||
           (name->len == 17 && wi_http1_same(name->at, "transfer-encoding", 17));
}

/* The fields that frame, behind the shortest of start lines. This parser would even take
 * Transfer-Encoding-Foo for Transfer-Encoding, so what means nothing here is not shown to it. */
weir_status wi_http1_parse_framing(const weir_http1_head *head, const char *end,
                                   wi_http1_framing *ret_framing, wi_http1_refusal *ret_refusal)
{
    static const char start[] = "GET /\n", last[] = "\r\n";
    http_parser parser;
    bool complete = false, is_fine = true;
    uint32_t shown = 0;
    *ret_framing = (wi_http1_framing){ 0 };
    for (uint32_t i = 0; i < head->field_count && is_fine; i++) {
        bool is_last = i + 1 == head->field_count;
        if (!frames(&head->fields[i].name))
            continue;
        if (shown++ == 0) {
            http_parser_init(&parser, HTTP_REQUEST);
            parser.data = &complete;
            is_fine = execute(&parser, start, start + sizeof start - 1);
        }
        is_fine = is_fine && execute(&parser, head->fields[i].name.at,
                                     is_last ? end - 2 : head->fields[i + 1].name.at);
    }
    if (shown == 0)
        return WEIR_OK;
    if (!is_fine || !execute(&parser, last, last + 2) || !complete) {
        enum http_errno number = HTTP_PARSER_ERRNO(&parser);
        ret_refusal->status = 400;
        ret_refusal->why = number == HPE_OK ? "malformed head" : http_errno_description(number);
        return WEIR_EPROTO;
    }
    ret_framing->chunked = (parser.flags & F_CHUNKED) != 0;
    ret_framing->has_length = (parser.flags & F_CONTENTLENGTH) != 0;
    ret_framing->length = parser.content_length;
    return WEIR_OK;
}
