/* The second opinion on transfer codings, by http-parser: the only file that knows it, so that
 * another can replace it. */
#include "http1_internal.h"

#include <http_parser.h>

/* Returning 2 says that no body follows, so bodies and their framing are left to us. */
static int on_head(http_parser *parser)
{
    *(bool *)parser->data = (parser->flags & F_CHUNKED) != 0;
    return 2;
}

static bool execute(http_parser *parser, const char *at, size_t len)
{
    static const http_parser_settings settings = { .on_headers_complete = on_head };
    return http_parser_execute(parser, &settings, at, len) == len &&
           HTTP_PARSER_ERRNO(parser) == HPE_OK;
}

/* The line as it came, blanks and all: what is around the value is what parsers differ on. */
bool wi_http1_parser_says_chunked(const weir_http1_field *field)
{
    static const char start[] = "GET /\n", last[] = "\r\n";
    const char *line = field->name.at, *end = field->value.at + field->value.len;
    http_parser parser;
    bool is_chunked = false;
    while (*end++ != '\n') /* which the guard has seen */
        ;
    http_parser_init(&parser, HTTP_REQUEST);
    parser.data = &is_chunked;
    return execute(&parser, start, sizeof start - 1) &&
           execute(&parser, line, (size_t)(end - line)) &&
           execute(&parser, last, sizeof last - 1) && is_chunked;
}
