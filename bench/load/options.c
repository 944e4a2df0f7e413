/* What the load generator is asked to do: its command line, read and checked. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "http_load: drives an HTTP/1.1 server from one core and prints one line of key=value pairs\n"
    "\n"
    "  --url URL              http://HOST[:PORT]/PATH, required\n"
    "  --connections N        keep-alive connections (64)\n"
    "  --pipeline D           requests sent at once on a connection; the next D follow when all\n"
    "                         are answered (1)\n"
    "  --seconds S            time measured (3)\n"
    "  --warmup S             time before it, not counted (0.5)\n"
    "  --requests N           stop after N requests (no limit; the warm-up counts towards it)\n"
    "  --rate R               send at most R requests a second in all\n"
    "  --method M             GET, or POST when there is a body\n"
    "  --body FILE            body from a file\n"
    "  --body-template TEXT   body from the command line\n"
    "  --first N              first running number (1000000000). {n} in the URL, a header or the\n"
    "                         body becomes the running number, always ten digits\n"
    "  --header 'K: V'        another header field, may repeat\n"
    "  --expect CODE          any other status is an error (exit 1)\n"
    "  --retry-503 WHAT       count: a 503 is a result like others (default); honour: its number is\n"
    "                         sent again after Retry-After\n"
    "  --id-log FILE          append the running numbers that were answered 2xx\n"
    "  --server-pid PID       also report the server's CPU time per request\n"
    "  --idle N               only hold N idle keep-alive connections for --seconds (each made one\n"
    "                         request), and print the memory of --server-pid per connection\n"
    "\n"
    "exit: 0 good, 1 errors or unexpected statuses, 2 bad command line, 3 nothing was answered\n";

static _Noreturn void usage_error(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("http_load: ", stderr);
    vfprintf(stderr, format, args);
    fputs(" (see --help)\n", stderr);
    va_end(args);
    exit(2);
}

static double number_in(const char *name, const char *text, double low, double high)
{
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(value >= low && value <= high))
        usage_error("--%s: \"%s\" is no number from %g to %g", name, text, low, high);
    return value;
}

static char *text_copy(const char *text)
{
    char *copy = strdup(text);
    if (copy == NULL)
        usage_error("out of memory");
    return copy;
}

static void read_body_file(load_options *o, const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        usage_error("--body: cannot open %s: %s", path, strerror(errno));
    size_t room = 64u << 20;
    o->body = malloc(room);
    if (o->body == NULL)
        usage_error("out of memory");
    o->body_bytes = fread(o->body, 1, room, file);
    if (o->body_bytes == room)
        usage_error("--body: %s is over 64 MiB", path);
    fclose(file);
}

static void read_url(load_options *o, const char *url)
{
    if (strncmp(url, "http://", 7) != 0)
        usage_error("--url: \"%s\" does not start with http://", url);
    const char *host = url + 7;
    size_t host_bytes = strcspn(host, "/?");
    if (host_bytes == 0 || host_bytes >= sizeof(o->host))
        usage_error("--url: \"%s\" has no host", url);
    memcpy(o->host, host, host_bytes);
    o->host[host_bytes] = '\0';
    o->target = host[host_bytes] == '\0' ? "/" : host + host_bytes;

    char name[sizeof(o->host)];
    memcpy(name, o->host, sizeof(name));
    const char *port = "80";
    char *colon = strrchr(name, ':');
    if (colon != NULL) {
        *colon = '\0';
        port = colon + 1;
    }
    struct addrinfo *found = NULL;
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
    int failed = getaddrinfo(name, port, &hints, &found);
    if (failed != 0)
        usage_error("--url: cannot resolve %s: %s", o->host, gai_strerror(failed));
    memcpy(&o->address, found->ai_addr, sizeof(o->address));
    freeaddrinfo(found);
}

static void read_option(load_options *o, const char *name, const char *value)
{
    if (strcmp(name, "url") == 0) {
        read_url(o, value);
    } else if (strcmp(name, "connections") == 0) {
        o->connections = (uint32_t)number_in(name, value, 1, 60000);
    } else if (strcmp(name, "pipeline") == 0) {
        o->pipeline = (uint32_t)number_in(name, value, 1, 1024);
    } else if (strcmp(name, "seconds") == 0) {
        o->seconds = number_in(name, value, 0.01, 86400);
    } else if (strcmp(name, "warmup") == 0) {
        o->warmup_s = number_in(name, value, 0, 3600);
    } else if (strcmp(name, "requests") == 0) {
        o->requests_max = (uint64_t)number_in(name, value, 1, 1e12);
    } else if (strcmp(name, "rate") == 0) {
        o->rate = (uint64_t)number_in(name, value, 1, 1e8);
    } else if (strcmp(name, "method") == 0) {
        o->method = value;
    } else if (strcmp(name, "first") == 0) {
        o->first = (uint64_t)number_in(name, value, 0, 9e9);
    } else if (strcmp(name, "expect") == 0) {
        o->expect = (int)number_in(name, value, 100, 599);
    } else if (strcmp(name, "server-pid") == 0) {
        o->server_pid = (pid_t)number_in(name, value, 1, 1e9);
    } else if (strcmp(name, "idle") == 0) {
        o->idle = (uint32_t)number_in(name, value, 1, 60000);
    } else if (strcmp(name, "id-log") == 0) {
        o->id_log = value;
    } else if (strcmp(name, "retry-503") == 0) {
        o->retry_503 = strcmp(value, "honour") == 0;
        if (!o->retry_503 && strcmp(value, "count") != 0)
            usage_error("--retry-503: \"%s\" is neither honour nor count", value);
    } else if (strcmp(name, "header") == 0) {
        if (strchr(value, ':') == NULL || strpbrk(value, "\r\n") != NULL)
            usage_error("--header: \"%s\" is not of the form 'Name: value'", value);
        if (o->header_count == HEADERS_MAX)
            usage_error("--header: more than %d", HEADERS_MAX);
        o->headers[o->header_count++] = value;
    } else if (o->body != NULL) {
        usage_error("more than one body");
    } else if (strcmp(name, "body") == 0) {
        read_body_file(o, value);
    } else {
        o->body = text_copy(value);
        o->body_bytes = strlen(value);
    }
}

void load_options_read(load_options *o, int argc, char **argv)
{
    static const char *const names[] = { "url",          "connections", "pipeline", "seconds",
                                         "warmup",       "requests",    "rate",     "method",
                                         "first",        "expect",      "id-log",   "idle",
                                         "server-pid",   "retry-503",   "header",   "body",
                                         "body-template" };
    enum { NAMES = sizeof(names) / sizeof(names[0]) };
    struct option table[NAMES + 2] = { 0 };
    for (size_t i = 0; i < NAMES; i++)
        table[i] = (struct option){ .name = names[i], .has_arg = required_argument, .val = 'o' };
    table[NAMES] = (struct option){ .name = "help", .val = 'h' };

    *o = (load_options){
        .connections = 64, .pipeline = 1, .seconds = 3, .warmup_s = -1, .first = 1000000000
    };
    int which = 0;
    for (int got; (got = getopt_long(argc, argv, "h", table, &which)) != -1;) {
        if (got == 'h') {
            fputs(help_text, stdout);
            exit(0);
        }
        if (got != 'o')
            exit(2); /* getopt has said why */
        read_option(o, table[which].name, optarg);
    }
    if (optind < argc)
        usage_error("\"%s\" is not an option", argv[optind]);
    if (o->target == NULL)
        usage_error("--url is missing");
    if (o->method == NULL)
        o->method = o->body != NULL ? "POST" : "GET";
    if (o->warmup_s < 0)
        o->warmup_s = o->requests_max != 0 ? 0 : 0.5;
    o->head = strcmp(o->method, "HEAD") == 0;
}

/* How many bytes `text` has once each {n} is a number of ten digits. */
static size_t expanded_bytes(const char *text, size_t bytes)
{
    size_t size = bytes;
    for (const char *at = text; (at = memmem(at, bytes - (size_t)(at - text), "{n}", 3)) != NULL;
         at += 3)
        size += NUMBER_DIGITS - 3;
    return size;
}

/* Replaces each {n} by digits to be patched and notes where they are. */
static void expand(load_request *request, const char *text, size_t bytes)
{
    const char *end = text + bytes;
    char *out = request->bytes;
    while (text < end) {
        if (end - text >= 3 && memcmp(text, "{n}", 3) == 0) {
            if (request->slot_count == SLOTS_MAX)
                usage_error("more than %d {n}", SLOTS_MAX);
            request->slots[request->slot_count++] = (size_t)(out - request->bytes);
            memset(out, '0', NUMBER_DIGITS);
            out += NUMBER_DIGITS;
            text += 3;
        } else {
            *out++ = *text++;
        }
    }
    request->size = (size_t)(out - request->bytes);
}

void load_request_format(load_request *request, const load_options *o)
{
    char *raw = NULL;
    size_t raw_bytes = 0;
    FILE *out = open_memstream(&raw, &raw_bytes);
    if (out == NULL)
        usage_error("out of memory");
    fprintf(out, "%s %s HTTP/1.1\r\nHost: %s\r\n", o->method, o->target, o->host);
    bool typed = false;
    for (size_t i = 0; i < o->header_count; i++) {
        fprintf(out, "%s\r\n", o->headers[i]);
        typed = typed || strncasecmp(o->headers[i], "content-type:", 13) == 0;
    }
    if (o->body != NULL && !typed)
        fputs("Content-Type: application/json\r\n", out);
    if (o->body != NULL)
        fprintf(out, "Content-Length: %zu\r\n", expanded_bytes(o->body, o->body_bytes));
    fputs("\r\n", out);
    if (o->body != NULL)
        fwrite(o->body, 1, o->body_bytes, out);
    fclose(out);

    *request = (load_request){ .bytes = malloc(expanded_bytes(raw, raw_bytes) + 1) };
    if (request->bytes == NULL)
        usage_error("out of memory");
    expand(request, raw, raw_bytes);
    free(raw);
}
