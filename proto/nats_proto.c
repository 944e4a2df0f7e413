/* The NATS client protocol: finds operations in bytes received, and writes those we send. */
#include <weir/nats_proto.h>

#include <weir/json.h>

#include <assert.h>

#define MSG_ARGS_MAX 5 /* subject, sid, reply, header bytes, total bytes */

static const char header_version[] = "NATS/1.0";

static size_t limit_or(size_t limit, size_t fallback)
{
    return limit != 0 ? limit : fallback;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* `pattern` is lower case. */
static bool equals_nocase(const char *data, const char *pattern, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (lower(data[i]) != pattern[i])
            return false;
    }
    return true;
}

static weir_nats_text trim(weir_nats_text text)
{
    while (text.size > 0 && is_blank(text.data[0])) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && is_blank(text.data[text.size - 1]))
        text.size--;
    return text;
}

/* Decimal digits only, and no more of them than cannot overflow. */
static bool parse_number(weir_nats_text text, uint64_t *ret_number)
{
    if (text.size == 0 || text.size > 19)
        return false;
    uint64_t number = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    *ret_number = number;
    return true;
}

/* ---- URLs ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes %-escapes; controls are refused, as they could not be sent on. */
static weir_status url_decode(weir_nats_text part, char *out, size_t capacity)
{
    size_t size = 0;
    for (size_t i = 0; i < part.size; i++) {
        char c = part.data[i];
        if (c == '%') {
            int high = part.size - i > 2 ? hex_digit(part.data[i + 1]) : -1;
            int low = part.size - i > 2 ? hex_digit(part.data[i + 2]) : -1;
            if (high < 0 || low < 0)
                return WEIR_EINVAL;
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (is_control(c))
            return WEIR_EINVAL;
        if (size + 1 >= capacity)
            return WEIR_ELIMIT;
        out[size++] = c;
    }
    out[size] = '\0';
    return WEIR_OK;
}

static weir_status url_auth(weir_nats_text auth, weir_nats_url *url)
{
    const char *colon = auth.size != 0 ? memchr(auth.data, ':', auth.size) : NULL;
    if (colon == NULL)
        return auth.size != 0 ? url_decode(auth, url->token, sizeof url->token) : WEIR_EINVAL;
    weir_nats_text user = { auth.data, (size_t)(colon - auth.data) };
    weir_nats_text password = { colon + 1, auth.size - user.size - 1 };
    if (user.size == 0)
        return WEIR_EINVAL;
    weir_status status = url_decode(user, url->user, sizeof url->user);
    return status != WEIR_OK ? status : url_decode(password, url->password, sizeof url->password);
}

/* host, host:port, [v6], [v6]:port */
static weir_status url_host(weir_nats_text rest, weir_nats_url *url)
{
    weir_nats_text host = rest, port = { NULL, 0 };
    bool has_port = false;
    const char *end = NULL;
    if (rest.size != 0 && rest.data[0] == '[') {
        end = memchr(rest.data, ']', rest.size);
        if (end == NULL)
            return WEIR_EINVAL;
        host.data++;
        host.size = (size_t)(end - host.data);
        end++;
        has_port = end < rest.data + rest.size;
        if (has_port && *end != ':')
            return WEIR_EINVAL;
    } else if (rest.size != 0 && (end = memchr(rest.data, ':', rest.size)) != NULL) {
        host.size = (size_t)(end - rest.data);
        has_port = true;
    }
    uint64_t number = WEIR_NATS_PORT;
    if (has_port) {
        port.data = end + 1;
        port.size = rest.size - (size_t)(port.data - rest.data);
        if (!parse_number(port, &number) || number == 0 || number > 65535)
            return WEIR_EINVAL;
    }
    if (host.size == 0 || memchr(host.data, '%', host.size) != NULL ||
        memchr(host.data, ' ', host.size) != NULL || memchr(host.data, ',', host.size) != NULL)
        return WEIR_EINVAL;
    url->port = (uint16_t)number;
    return url_decode(host, url->host, sizeof url->host);
}

weir_status weir_nats_url_parse(const char *url, weir_nats_url *ret_url)
{
    if (url == NULL || ret_url == NULL)
        return WEIR_EINVAL;
    const char *scheme_end = strstr(url, "://");
    if (scheme_end != NULL) {
        if (scheme_end - url != 4 || !equals_nocase(url, "nats", 4))
            return WEIR_EUNSUPPORTED;
        url = scheme_end + 3;
    }
    weir_nats_url parsed;
    memset(&parsed, 0, sizeof parsed);
    weir_nats_text rest = { url, strlen(url) };
    if (rest.size != 0 && rest.data[rest.size - 1] == '/')
        rest.size--;
    const char *at = strrchr(url, '@');
    if (at != NULL) {
        weir_nats_text auth = { url, (size_t)(at - url) };
        weir_status status = url_auth(auth, &parsed);
        if (status != WEIR_OK)
            return status;
        rest.size -= auth.size + 1;
        rest.data = at + 1;
    }
    weir_status status = url_host(rest, &parsed);
    if (status == WEIR_OK)
        *ret_url = parsed;
    return status;
}

/* ---- Parsing ---- */

typedef enum line_kind {
    LINE_INFO,
    LINE_MSG,
    LINE_HMSG,
    LINE_PING,
    LINE_PONG,
    LINE_OK,
    LINE_ERR,
    LINE_KINDS
} line_kind;

static const struct {
    const char *name;
    size_t size;
} line_names[LINE_KINDS] = {
    [LINE_INFO] = { "info", 4 }, [LINE_MSG] = { "msg", 3 },   [LINE_HMSG] = { "hmsg", 4 },
    [LINE_PING] = { "ping", 4 }, [LINE_PONG] = { "pong", 4 }, [LINE_OK] = { "+ok", 3 },
    [LINE_ERR] = { "-err", 4 },
};

/* Which operation begins here: one byte after the name must end the name. EPARTIAL while the bytes
 * could still become one. */
static weir_status line_kind_of(const char *data, size_t size, line_kind *ret_kind)
{
    for (int kind = 0; kind < LINE_KINDS; kind++) {
        size_t name_size = line_names[kind].size;
        size_t common = size < name_size ? size : name_size;
        if (!equals_nocase(data, line_names[kind].name, common))
            continue;
        if (size <= name_size)
            return WEIR_EPARTIAL;
        if (!is_blank(data[name_size]) && data[name_size] != '\r')
            return WEIR_EPROTO;
        *ret_kind = (line_kind)kind;
        return WEIR_OK;
    }
    return WEIR_EPROTO;
}

/* Finds the end of the line: its size with CRLF. */
static weir_status line_size_of(weir_nats_parser *parser, const char *data, size_t size,
                                size_t line_max, size_t *ret_line_size)
{
    size_t end = size < line_max ? size : line_max;
    if (parser->scanned < end) {
        const char *lf = memchr(data + parser->scanned, '\n', end - parser->scanned);
        if (lf != NULL) {
            if (lf[-1] != '\r')
                return WEIR_EPROTO;
            *ret_line_size = (size_t)(lf - data) + 1;
            return WEIR_OK;
        }
        parser->scanned = end;
    }
    return size >= line_max ? WEIR_ELIMIT : WEIR_EPARTIAL;
}

static weir_status line_text_check(weir_nats_text line)
{
    for (size_t i = 0; i < line.size; i++) {
        if (is_control(line.data[i]) && line.data[i] != '\t')
            return WEIR_EPROTO;
    }
    return WEIR_OK;
}

/* Splits a line's arguments at blanks; false if there are more than fit. */
static bool split_args(weir_nats_text line, weir_nats_text *args, size_t *ret_count)
{
    size_t count = 0;
    for (size_t i = 0; i < line.size;) {
        if (is_blank(line.data[i])) {
            i++;
            continue;
        }
        if (count == MSG_ARGS_MAX)
            return false;
        size_t start = i;
        while (i < line.size && !is_blank(line.data[i]))
            i++;
        args[count].data = line.data + start;
        args[count].size = i - start;
        count++;
    }
    *ret_count = count;
    return true;
}

/* MSG <subject> <sid> [reply] <bytes>; HMSG <subject> <sid> [reply] <header bytes> <bytes>. Leaves
 * the sizes in the texts of header and payload. */
static weir_status parse_msg_line(weir_nats_text line, bool with_header, weir_nats_event *event)
{
    weir_nats_text args[MSG_ARGS_MAX];
    size_t count;
    size_t least = with_header ? 4 : 3;
    if (!split_args(line, args, &count) || count < least || count > least + 1)
        return WEIR_EPROTO;
    uint64_t header_size = 0, total = 0;
    if (!parse_number(args[1], &event->sid) || !parse_number(args[count - 1], &total))
        return WEIR_EPROTO;
    if (with_header && !parse_number(args[count - 2], &header_size))
        return WEIR_EPROTO;
    /* The shortest header block is the version, its line's end and the empty line. */
    if (with_header && (header_size < sizeof header_version - 1 + 4 || header_size > total))
        return WEIR_EPROTO;
    if (total > SIZE_MAX / 2)
        return WEIR_ELIMIT;
    event->subject = args[0];
    if (count > least)
        event->reply = args[2];
    event->header.size = (size_t)header_size;
    event->payload.size = (size_t)(total - header_size);
    return WEIR_OK;
}

static weir_status header_block_check(weir_nats_text block)
{
    size_t version_size = sizeof header_version - 1;
    if (memcmp(block.data, header_version, version_size) != 0 ||
        memcmp(block.data + block.size - 4, "\r\n\r\n", 4) != 0)
        return WEIR_EPROTO;
    char next = block.data[version_size];
    return next == '\r' || is_blank(next) ? WEIR_OK : WEIR_EPROTO;
}

/* The line is whole: reads what follows it. */
static weir_status parse_msg(weir_nats_parser *parser, const char *data, size_t size,
                             size_t line_size, bool with_header, size_t *ret_used,
                             weir_nats_event *event)
{
    size_t name_size = line_names[with_header ? LINE_HMSG : LINE_MSG].size;
    weir_nats_text line = { data + name_size, line_size - 2 - name_size };
    weir_status status = parse_msg_line(line, with_header, event);
    if (status != WEIR_OK)
        return status;
    size_t body = event->header.size + event->payload.size;
    if (body > limit_or(parser->payload_bytes_max, WEIR_NATS_PAYLOAD_BYTES_MAX))
        return WEIR_ELIMIT;
    parser->need = line_size + body + 2;
    if (size < parser->need)
        return WEIR_EPARTIAL;
    if (memcmp(data + line_size + body, "\r\n", 2) != 0)
        return WEIR_EPROTO;
    event->op = WEIR_NATS_MSG;
    event->header.data = with_header ? data + line_size : NULL;
    event->payload.data = data + line_size + event->header.size;
    if (with_header && (status = header_block_check(event->header)) != WEIR_OK)
        return status;
    *ret_used = parser->need;
    return WEIR_OK;
}

/* The operations of one line: the arguments are free text, or must be absent. */
static weir_status parse_line(weir_nats_text args, line_kind kind, weir_nats_event *event)
{
    static const weir_nats_op ops[LINE_KINDS] = {
        [LINE_INFO] = WEIR_NATS_INFO, [LINE_PING] = WEIR_NATS_PING, [LINE_PONG] = WEIR_NATS_PONG,
        [LINE_OK] = WEIR_NATS_OK,     [LINE_ERR] = WEIR_NATS_ERR,
    };
    event->op = ops[kind];
    args = trim(args);
    if (kind == LINE_INFO || kind == LINE_ERR) {
        if (kind == LINE_INFO && args.size == 0)
            return WEIR_EPROTO;
        if (kind == LINE_ERR && args.size >= 2 && args.data[0] == '\'' &&
            args.data[args.size - 1] == '\'') {
            args.data++;
            args.size -= 2;
        }
        event->text = args;
        return WEIR_OK;
    }
    return args.size == 0 ? WEIR_OK : WEIR_EPROTO;
}

static size_t line_max_of(const weir_nats_parser *parser, line_kind kind)
{
    return kind == LINE_INFO ? limit_or(parser->info_bytes_max, WEIR_NATS_INFO_BYTES_MAX)
                             : limit_or(parser->line_bytes_max, WEIR_NATS_LINE_BYTES_MAX);
}

static weir_status parse_op(weir_nats_parser *parser, const char *data, size_t size,
                            size_t *ret_used, weir_nats_event *event)
{
    line_kind kind;
    weir_status status = line_kind_of(data, size, &kind);
    if (status != WEIR_OK)
        return status;
    /* A message whose line was read before is only waited for. */
    if (size < parser->need)
        return WEIR_EPARTIAL;
    size_t line_size;
    status = line_size_of(parser, data, size, line_max_of(parser, kind), &line_size);
    if (status != WEIR_OK)
        return status;
    size_t name_size = line_names[kind].size;
    weir_nats_text args = { data + name_size, line_size - 2 - name_size };
    if (line_text_check(args) != WEIR_OK)
        return WEIR_EPROTO;
    if (kind == LINE_MSG || kind == LINE_HMSG)
        return parse_msg(parser, data, size, line_size, kind == LINE_HMSG, ret_used, event);
    status = parse_line(args, kind, event);
    if (status == WEIR_OK)
        *ret_used = line_size;
    return status;
}

weir_status weir_nats_parse(weir_nats_parser *parser, const char *data, size_t size,
                            size_t *ret_used, weir_nats_event *ret_event)
{
    if (parser == NULL || (data == NULL && size != 0) || ret_used == NULL || ret_event == NULL)
        return WEIR_EINVAL;
    if (parser->failed != WEIR_OK)
        return parser->failed;
    if (size == 0)
        return WEIR_EPARTIAL;
    weir_nats_event event;
    memset(&event, 0, sizeof event);
    size_t used = 0;
    weir_status status = parse_op(parser, data, size, &used, &event);
    if (status == WEIR_EPARTIAL)
        return status;
    parser->scanned = 0;
    parser->need = 0;
    if (status != WEIR_OK) {
        parser->failed = status;
        return status;
    }
    *ret_event = event;
    *ret_used = used;
    return WEIR_OK;
}

size_t weir_nats_parser_need(const weir_nats_parser *parser)
{
    if (parser->need != 0)
        return parser->need;
    size_t line = limit_or(parser->line_bytes_max, WEIR_NATS_LINE_BYTES_MAX);
    size_t info = limit_or(parser->info_bytes_max, WEIR_NATS_INFO_BYTES_MAX);
    return line > info ? line : info;
}

/* ---- The JSON of INFO ---- */

static weir_nats_text token_text(const weir_json_token *token)
{
    weir_nats_text text = { token->text, token->len };
    return text;
}

/* Reads the value of `key` where it belongs, or past it. False if it is not what it should be. */
static bool info_member(weir_json_reader *reader, const weir_json_token *key, weir_nats_info *info)
{
    const struct {
        const char *key;
        weir_nats_text *string;
        uint64_t *number;
        bool *flag;
    } members[] = {
        { "server_id", &info->server_id, NULL, NULL },
        { "server_name", &info->server_name, NULL, NULL },
        { "version", &info->version, NULL, NULL },
        { "nonce", &info->nonce, NULL, NULL },
        { "max_payload", NULL, &info->max_payload, NULL },
        { "proto", NULL, &info->proto, NULL },
        { "headers", NULL, NULL, &info->headers },
        { "auth_required", NULL, NULL, &info->auth_required },
        { "tls_required", NULL, NULL, &info->tls_required },
        { "tls_available", NULL, NULL, &info->tls_available },
        { "jetstream", NULL, NULL, &info->jetstream },
        { "ldm", NULL, NULL, &info->lame_duck },
    };
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (!weir_json_equals(key, members[i].key))
            continue;
        weir_json_token value;
        if (weir_json_next(reader, &value) != WEIR_OK)
            return false;
        if (members[i].number != NULL)
            return weir_json_uint64(&value, members[i].number) == WEIR_OK;
        if (members[i].flag != NULL) {
            *members[i].flag = value.kind == WEIR_JSON_TRUE;
            return value.kind == WEIR_JSON_TRUE || value.kind == WEIR_JSON_FALSE;
        }
        *members[i].string = token_text(&value);
        return value.kind == WEIR_JSON_STRING;
    }
    return weir_json_skip(reader) == WEIR_OK;
}

weir_status weir_nats_info_parse(weir_nats_text json, weir_nats_info *ret_info)
{
    if (json.data == NULL || ret_info == NULL)
        return WEIR_EINVAL;
    const weir_json_limits limits = { .depth_max = WEIR_NATS_INFO_DEPTH_MAX };
    weir_json_reader reader;
    weir_json_token token;
    weir_nats_info info;
    memset(&info, 0, sizeof info);
    if (weir_json_open(&reader, json.data, json.size, &limits) != WEIR_OK ||
        weir_json_next(&reader, &token) != WEIR_OK || token.kind != WEIR_JSON_BEGIN_OBJECT)
        return WEIR_EPROTO;
    for (;;) {
        if (weir_json_next(&reader, &token) != WEIR_OK)
            return WEIR_EPROTO;
        if (token.kind == WEIR_JSON_END)
            break;
        if (token.kind == WEIR_JSON_KEY && !info_member(&reader, &token, &info))
            return WEIR_EPROTO;
    }
    *ret_info = info;
    return WEIR_OK;
}

/* ---- Headers received ---- */

/* The line of `block` at `cursor`, without its CRLF, moving on. */
static bool header_line(weir_nats_text block, size_t *cursor, weir_nats_text *ret_line)
{
    size_t start = *cursor;
    const char *lf = start < block.size ? memchr(block.data + start, '\n', block.size - start)
                                        : NULL;
    if (lf == NULL || lf == block.data + start || lf[-1] != '\r')
        return false;
    ret_line->data = block.data + start;
    ret_line->size = (size_t)(lf - ret_line->data) - 1;
    *cursor = (size_t)(lf - block.data) + 1;
    return true;
}

weir_status weir_nats_header_next(weir_nats_text block, size_t *cursor,
                                  weir_nats_header *ret_header)
{
    if (cursor == NULL || ret_header == NULL)
        return WEIR_EINVAL;
    if (block.size == 0)
        return WEIR_ENOTFOUND;
    weir_nats_text line;
    size_t at = *cursor;
    if (at == 0 && !header_line(block, &at, &line))
        return WEIR_EPROTO;
    size_t next = at;
    if (!header_line(block, &next, &line))
        return WEIR_EPROTO;
    if (line.size == 0)
        return next == block.size ? WEIR_ENOTFOUND : WEIR_EPROTO;
    const char *colon = memchr(line.data, ':', line.size);
    if (colon == NULL || colon == line.data)
        return WEIR_EPROTO;
    *cursor = next;
    size_t name_size = (size_t)(colon - line.data);
    ret_header->name.data = line.data;
    ret_header->name.size = name_size;
    weir_nats_text value = { colon + 1, line.size - name_size - 1 };
    ret_header->value = trim(value);
    return WEIR_OK;
}

weir_status weir_nats_header_find(weir_nats_text block, const char *name, weir_nats_text *ret_value)
{
    if (name == NULL || ret_value == NULL)
        return WEIR_EINVAL;
    size_t name_size = strlen(name);
    size_t cursor = 0;
    weir_nats_header header;
    weir_status status;
    while ((status = weir_nats_header_next(block, &cursor, &header)) == WEIR_OK) {
        bool same = header.name.size == name_size;
        for (size_t i = 0; same && i < name_size; i++)
            same = lower(header.name.data[i]) == lower(name[i]);
        if (same) {
            *ret_value = header.value;
            return WEIR_OK;
        }
    }
    return status;
}

int weir_nats_header_status(weir_nats_text block)
{
    size_t version_size = sizeof header_version - 1;
    size_t cursor = 0;
    weir_nats_text line;
    if (!header_line(block, &cursor, &line) || line.size <= version_size)
        return 0;
    weir_nats_text rest = { line.data + version_size, line.size - version_size };
    rest = trim(rest);
    if (rest.size < 3 || (rest.size > 3 && !is_blank(rest.data[3])))
        return 0;
    rest.size = 3;
    uint64_t status;
    return parse_number(rest, &status) && status >= 100 ? (int)status : 0;
}

/* ---- Encoding ---- */

/* Counts always, writes while it fits: one pass gives the size, a second the bytes. */
typedef struct writer {
    char *out;
    size_t capacity, size;
} writer;

static void put(writer *w, const char *data, size_t size)
{
    if (size != 0 && w->size <= w->capacity && size <= w->capacity - w->size)
        memcpy(w->out + w->size, data, size);
    w->size += size;
}

static void put_text(writer *w, weir_nats_text text)
{
    put(w, text.data, text.size);
}

static void put_string(writer *w, const char *string)
{
    put(w, string, strlen(string));
}

static void put_number(writer *w, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    put(w, digits + at, sizeof digits - at);
}

static weir_status finish(const writer *w, size_t line_max, size_t *ret_size)
{
    if (w->size > line_max)
        return WEIR_ELIMIT;
    if (w->size > w->capacity)
        return WEIR_EAGAIN;
    *ret_size = w->size;
    return WEIR_OK;
}

/* A token's end has been reached: it may not be empty, and wildcards stand alone. */
static bool token_ok(const char *token, size_t size, bool last, bool wildcards)
{
    if (size == 0)
        return false;
    if (size == 1 && wildcards)
        return token[0] != '>' || last;
    return memchr(token, '*', size) == NULL && memchr(token, '>', size) == NULL;
}

weir_status weir_nats_subject_check(weir_nats_text subject, bool wildcards)
{
    if (subject.size == 0 || subject.data == NULL)
        return WEIR_EINVAL;
    if (subject.size > WEIR_NATS_SUBJECT_BYTES_MAX)
        return WEIR_ELIMIT;
    size_t start = 0;
    for (size_t i = 0; i <= subject.size; i++) {
        bool last = i == subject.size;
        if (!last && (is_control(subject.data[i]) || subject.data[i] == ' '))
            return WEIR_EINVAL;
        if (last || subject.data[i] == '.') {
            if (!token_ok(subject.data + start, i - start, last, wildcards))
                return WEIR_EINVAL;
            start = i + 1;
        }
    }
    return WEIR_OK;
}

static bool has_control(weir_nats_text text, bool tab_allowed)
{
    for (size_t i = 0; i < text.size; i++) {
        if (is_control(text.data[i]) && !(tab_allowed && text.data[i] == '\t'))
            return true;
    }
    return false;
}

/* ,"key":"text" unless there is none. */
static bool put_json_string(writer *w, const char *key, weir_nats_text text)
{
    if (text.data == NULL)
        return true;
    if (has_control(text, false))
        return false;
    put_string(w, ",\"");
    put_string(w, key);
    put_string(w, "\":\"");
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\')
            put(w, "\\", 1);
        put(w, text.data + i, 1);
    }
    put(w, "\"", 1);
    return true;
}

weir_status weir_nats_encode_connect(const weir_nats_connect *connect, char *out, size_t capacity,
                                     size_t *ret_size)
{
    if (connect == NULL || ret_size == NULL)
        return WEIR_EINVAL;
    writer w = { out, capacity, 0 };
    put_string(&w, "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,"
                   "\"headers\":true,\"protocol\":1,\"lang\":\"c\"");
    put_string(&w, connect->no_echo ? ",\"echo\":false" : ",\"echo\":true");
    if (!put_json_string(&w, "version", connect->version) ||
        !put_json_string(&w, "name", connect->name) ||
        !put_json_string(&w, "user", connect->user) ||
        !put_json_string(&w, "pass", connect->password) ||
        !put_json_string(&w, "auth_token", connect->token))
        return WEIR_EINVAL;
    put_string(&w, "}\r\n");
    return finish(&w, WEIR_NATS_LINE_BYTES_MAX, ret_size);
}

static weir_status header_check(const weir_nats_header *header)
{
    weir_nats_text name = header->name;
    if (name.size == 0 || name.data == NULL)
        return WEIR_EINVAL;
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] <= ' ' || name.data[i] == ':' || (unsigned char)name.data[i] >= 0x7f)
            return WEIR_EINVAL;
    }
    return has_control(header->value, true) ? WEIR_EINVAL : WEIR_OK;
}

/* The header block's size; WEIR_ELIMIT once it passes `limit`, so that sums cannot overflow. */
static weir_status headers_size(const weir_nats_message *message, size_t limit, size_t *ret_size)
{
    *ret_size = 0;
    if (message->header_count == 0)
        return WEIR_OK;
    if (message->headers == NULL)
        return WEIR_EINVAL;
    if (message->header_count > WEIR_NATS_HEADERS_MAX)
        return WEIR_ELIMIT;
    size_t size = sizeof header_version - 1 + 4;
    for (size_t i = 0; i < message->header_count; i++) {
        const weir_nats_header *header = &message->headers[i];
        if (header_check(header) != WEIR_OK)
            return WEIR_EINVAL;
        if (header->name.size > limit || header->value.size > limit)
            return WEIR_ELIMIT;
        size += header->name.size + 2 + header->value.size + 2;
        if (size > limit)
            return WEIR_ELIMIT;
    }
    *ret_size = size;
    return WEIR_OK;
}

static void put_message_line(writer *w, const weir_nats_message *message, size_t headers)
{
    put_string(w, headers != 0 ? "HPUB " : "PUB ");
    put_text(w, message->subject);
    put(w, " ", 1);
    if (message->reply.size != 0) {
        put_text(w, message->reply);
        put(w, " ", 1);
    }
    if (headers != 0) {
        put_number(w, headers);
        put(w, " ", 1);
    }
    put_number(w, headers + message->payload.size);
    put(w, "\r\n", 2);
}

/* Everything that can be wrong with a message. */
static weir_status message_check(const weir_nats_message *message, size_t limit,
                                 size_t *ret_headers)
{
    if (message == NULL || (message->payload.data == NULL && message->payload.size != 0))
        return WEIR_EINVAL;
    weir_status status = weir_nats_subject_check(message->subject, false);
    if (status == WEIR_OK && message->reply.size != 0)
        status = weir_nats_subject_check(message->reply, false);
    if (status == WEIR_OK)
        status = headers_size(message, limit, ret_headers);
    if (status == WEIR_OK && message->payload.size > limit - *ret_headers)
        status = WEIR_ELIMIT;
    return status;
}

weir_status weir_nats_message_size(const weir_nats_message *message, size_t payload_bytes_max,
                                   size_t *ret_size)
{
    size_t headers = 0;
    if (ret_size == NULL)
        return WEIR_EINVAL;
    weir_status status =
        message_check(message, limit_or(payload_bytes_max, WEIR_NATS_PAYLOAD_BYTES_MAX), &headers);
    if (status != WEIR_OK)
        return status;
    writer w = { NULL, 0, 0 };
    put_message_line(&w, message, headers);
    *ret_size = w.size + headers + message->payload.size + 2;
    return WEIR_OK;
}

weir_status weir_nats_encode_message(const weir_nats_message *message, size_t payload_bytes_max,
                                     char *out, size_t capacity, size_t *ret_size)
{
    size_t headers = 0;
    if (ret_size == NULL)
        return WEIR_EINVAL;
    weir_status status =
        message_check(message, limit_or(payload_bytes_max, WEIR_NATS_PAYLOAD_BYTES_MAX), &headers);
    if (status != WEIR_OK)
        return status;
    writer w = { out, capacity, 0 };
    put_message_line(&w, message, headers);
    if (headers != 0) {
        size_t before = w.size;
        put_string(&w, header_version);
        put(&w, "\r\n", 2);
        for (size_t i = 0; i < message->header_count; i++) {
            put_text(&w, message->headers[i].name);
            put(&w, ": ", 2);
            put_text(&w, message->headers[i].value);
            put(&w, "\r\n", 2);
        }
        put(&w, "\r\n", 2);
        assert(w.size - before == headers);
        (void)before;
    }
    put_text(&w, message->payload);
    put(&w, "\r\n", 2);
    return finish(&w, SIZE_MAX, ret_size);
}

/* A queue group is one word. */
static weir_status queue_check(weir_nats_text queue)
{
    if (queue.size > WEIR_NATS_SUBJECT_BYTES_MAX)
        return WEIR_ELIMIT;
    return has_control(queue, false) || (queue.size != 0 && memchr(queue.data, ' ', queue.size))
               ? WEIR_EINVAL
               : WEIR_OK;
}

weir_status weir_nats_encode_sub(weir_nats_text subject, weir_nats_text queue, uint64_t sid,
                                 char *out, size_t capacity, size_t *ret_size)
{
    if (ret_size == NULL)
        return WEIR_EINVAL;
    weir_status status = weir_nats_subject_check(subject, true);
    if (status == WEIR_OK)
        status = queue_check(queue);
    if (status != WEIR_OK)
        return status;
    writer w = { out, capacity, 0 };
    put_string(&w, "SUB ");
    put_text(&w, subject);
    put(&w, " ", 1);
    if (queue.size != 0) {
        put_text(&w, queue);
        put(&w, " ", 1);
    }
    put_number(&w, sid);
    put(&w, "\r\n", 2);
    return finish(&w, WEIR_NATS_LINE_BYTES_MAX, ret_size);
}

weir_status weir_nats_encode_unsub(uint64_t sid, uint64_t max_messages, char *out, size_t capacity,
                                   size_t *ret_size)
{
    if (ret_size == NULL)
        return WEIR_EINVAL;
    writer w = { out, capacity, 0 };
    put_string(&w, "UNSUB ");
    put_number(&w, sid);
    if (max_messages != 0) {
        put(&w, " ", 1);
        put_number(&w, max_messages);
    }
    put(&w, "\r\n", 2);
    return finish(&w, WEIR_NATS_LINE_BYTES_MAX, ret_size);
}
