/* The second opinion on how a message is framed, by http-parser: the only file that knows it, so
 * that another can replace it. The guard has taken every line of the head apart already, and what
 * does not frame decides nothing here. So the parser sees the one value that does, behind a start
 * line and a name that it has read once for all messages: it costs some 40 instructions a byte. */
#include "http1_internal.h"

#include <http_parser.h>
#include <pthread.h>

/* Where a value begins, of Content-Length and of Transfer-Encoding: it is read in the same way in
 * requests and in responses. Written once. */
static http_parser begun[2];

static bool execute(http_parser *parser, const char *at, size_t len)
{
    static const http_parser_settings settings = { 0 };
    return http_parser_execute(parser, &settings, at, len) == len &&
           HTTP_PARSER_ERRNO(parser) == HPE_OK;
}

/* What failed stays in error, and agrees with nothing. */
static void begin_both(void)
{
    static const char *const starts[] = { "POST / HTTP/1.1\r\nContent-Length:",
                                          "POST / HTTP/1.1\r\nTransfer-Encoding:" };
    for (int i = 0; i < 2; i++) {
        http_parser_init(&begun[i], HTTP_REQUEST);
        (void)execute(&begun[i], starts[i], strlen(starts[i]));
    }
}

/* The value as it came, blanks and all, as what is around it is what parsers differ on; and the
 * byte behind its line, which says that it ends there. */
static bool read_value(http_parser *parser, const weir_http1_field *field)
{
    const char *at = field->name.at + field->name.len + 1;
    const char *end = field->value.at + field->value.len;
    while (*end++ != '\n') /* which the guard has seen */
        ;
    return execute(parser, at, (size_t)(end + 1 - at));
}

bool wi_http1_parser_agrees(const weir_http1_field *length, const weir_http1_field *coding,
                            const weir_http1_head *head)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (length == NULL && coding == NULL)
        return true;
    (void)pthread_once(&once, begin_both);
    http_parser parser = begun[coding != NULL];
    if (!read_value(&parser, coding != NULL ? coding : length))
        return false;
    unsigned framed = parser.flags & (F_CHUNKED | F_CONTENTLENGTH);
    return coding != NULL
               ? framed == F_CHUNKED
               : framed == F_CONTENTLENGTH && parser.content_length == head->content_length;
}
