/* What grpc_load is asked to do, and the request that it sends again and again. */
#include "grpc_options.h"
#include "grpc_wire.h"

#include <errno.h>
#include <getopt.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "grpc_load: drives streams.v1.Streams from one core and prints one line of key=value pairs\n"
    "\n"
    "  --connect HOST:PORT    required\n"
    "  --method M             unary: Process; stream: StreamData; echo: Echo (unary)\n"
    "  --connections N        (1)\n"
    "  --streams M            calls at once on each connection (100)\n"
    "  --message-bytes B      of each message, whole (100)\n"
    "  --count N              messages of a call of `stream`; the next call follows (1000000)\n"
    "  --in-flight K          messages under way in a call of `echo` (1)\n"
    "  --seconds S            time measured (3)\n"
    "  --warmup S             time before it, not counted (0.5)\n"
    "  --server-pid PID       also report the server's CPU time, and with --idle its memory\n"
    "  --idle-connections N   only hold N connections, each with one call done, for --seconds\n"
    "  --idle-streams N       only hold N calls of Echo, each with one message done, --streams on a\n"
    "                         connection\n"
    "\n"
    "Every answer is checked: its status, and each message's sequence and length, or its bytes.\n"
    "exit: 0 good, 1 errors, 2 bad command line, 3 nothing was answered\n";

static _Noreturn void usage_error(const char *what, const char *value)
{
    fprintf(stderr, "grpc_load: %s: %s (see --help)\n", what, value);
    exit(2);
}

static double number_in(const char *name, const char *text, double low, double high)
{
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || *end != '\0' || !(value >= low && value <= high))
        usage_error(name, text);
    return value;
}

static void read_address(grpc_options *o, const char *text)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text || strlen(text) >= sizeof(o->authority))
        usage_error("--connect wants HOST:PORT", text);
    snprintf(host, sizeof(host), "%.*s", (int)(colon - text), text);
    snprintf(o->authority, sizeof(o->authority), "%s", text);
    struct addrinfo *found = NULL;
    struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
    int failed = getaddrinfo(host, colon + 1, &hints, &found);
    if (failed != 0)
        usage_error(text, gai_strerror(failed));
    memcpy(&o->address, found->ai_addr, sizeof(o->address));
    freeaddrinfo(found);
}

static grpc_method method_of(const char *text)
{
    if (strcmp(text, "unary") == 0)
        return METHOD_UNARY;
    if (strcmp(text, "stream") == 0)
        return METHOD_STREAM;
    if (strcmp(text, "echo") == 0)
        return METHOD_ECHO;
    usage_error("--method", text);
}

static void read_option(grpc_options *o, const char *name, const char *value)
{
    if (strcmp(name, "connect") == 0)
        read_address(o, value);
    else if (strcmp(name, "method") == 0)
        o->method = method_of(value);
    else if (strcmp(name, "connections") == 0)
        o->connections = (uint32_t)number_in(name, value, 1, 60000);
    else if (strcmp(name, "streams") == 0)
        o->streams = (uint32_t)number_in(name, value, 1, 65536);
    else if (strcmp(name, "message-bytes") == 0)
        o->message_bytes = (uint32_t)number_in(name, value, 16, 60000);
    else if (strcmp(name, "count") == 0)
        o->count = (uint64_t)number_in(name, value, 1, 1e15);
    else if (strcmp(name, "in-flight") == 0)
        o->in_flight = (uint32_t)number_in(name, value, 1, 65536);
    else if (strcmp(name, "seconds") == 0)
        o->seconds = number_in(name, value, 0.01, 86400);
    else if (strcmp(name, "warmup") == 0)
        o->warmup_s = number_in(name, value, 0, 86400);
    else if (strcmp(name, "server-pid") == 0)
        o->server_pid = (pid_t)number_in(name, value, 1, 1e9);
    else if (strcmp(name, "idle-connections") == 0)
        o->idle_connections = (uint32_t)number_in(name, value, 1, 60000);
    else if (strcmp(name, "idle-streams") == 0)
        o->idle_streams = (uint32_t)number_in(name, value, 1, 1e7);
}

void grpc_options_read(grpc_options *o, int argc, char **argv)
{
    static const char *const names[] = { "connect",    "method",           "connections",
                                         "streams",    "message-bytes",    "count",
                                         "in-flight",  "seconds",          "warmup",
                                         "server-pid", "idle-connections", "idle-streams",
                                         "help" };
    enum { NAMES = sizeof(names) / sizeof(names[0]) };
    struct option options[NAMES + 1] = { { .name = NULL } };
    for (int i = 0; i < NAMES; i++)
        options[i] = (struct option){ names[i], i + 1 < NAMES ? required_argument : no_argument,
                                      NULL, 1 };
    *o = (grpc_options){ .connections = 1,
                         .streams = 100,
                         .message_bytes = 100,
                         .count = 1000000,
                         .in_flight = 1,
                         .seconds = 3,
                         .warmup_s = 0.5 };
    int which = 0;
    int got = 0;
    while ((got = getopt_long(argc, argv, "", options, &which)) != -1) {
        if (got != 1)
            usage_error("unknown option", argv[optind - 1]);
        if (which == NAMES - 1) {
            fputs(help_text, stdout);
            exit(0);
        }
        read_option(o, names[which], optarg);
    }
    if (optind != argc || o->authority[0] == '\0')
        usage_error("--connect", "is required, and nothing but options");
    if (o->idle_connections != 0)
        o->method = METHOD_UNARY;
    if (o->idle_streams != 0)
        o->method = METHOD_ECHO;
}

/* A field that goes into the table: by the index of its name among the fixed ones, or in full. */
static void field_put(grpc_request *r, uint8_t name_index, const char *name, const char *value)
{
    size_t name_bytes = strlen(name);
    size_t value_bytes = strlen(value);
    size_t *at = &r->fields_first_bytes;
    if (name_bytes > 126 || value_bytes > 126 ||
        *at + name_bytes + value_bytes + 3 > REQUEST_FIELDS_MAX)
        usage_error("too long", value);
    r->fields_first[(*at)++] = (uint8_t)(0x40 | name_index);
    if (name_index == 0) {
        r->fields_first[(*at)++] = (uint8_t)name_bytes;
        memcpy(r->fields_first + *at, name, name_bytes);
        *at += name_bytes;
    }
    r->fields_first[(*at)++] = (uint8_t)value_bytes;
    memcpy(r->fields_first + *at, value, value_bytes);
    *at += value_bytes;
    r->table_bytes += (uint32_t)(name_bytes + value_bytes + 32);
}

static void fields_make(grpc_request *r, const grpc_options *o)
{
    static const char *const paths[] = { "/streams.v1.Streams/Process",
                                         "/streams.v1.Streams/StreamData",
                                         "/streams.v1.Streams/Echo" };
    static const uint8_t fixed[] = { 0x83, 0x86 }; /* :method POST, :scheme http */
    enum { TABLE_FIRST = 62, FIELDS = 5 };
    memcpy(r->fields_first, fixed, sizeof(fixed));
    memcpy(r->fields_again, fixed, sizeof(fixed));
    r->fields_first_bytes = r->fields_again_bytes = sizeof(fixed);
    field_put(r, 4, ":path", paths[o->method]);
    field_put(r, 1, ":authority", o->authority);
    field_put(r, 0, "te", "trailers");
    field_put(r, 31, "content-type", "application/grpc");
    field_put(r, 58, "user-agent", "grpc-load/1");
    for (int i = FIELDS - 1; i >= 0; i--) /* the newest one is the first of the table */
        r->fields_again[r->fields_again_bytes++] = (uint8_t)(0x80 | (TABLE_FIRST + i));
}

static uint8_t *varint_put(uint8_t *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}

/* Field `number`, of bytes, that makes the message as long as it is to be. */
static uint8_t *filler_put(uint8_t *at, int number, size_t room)
{
    size_t head = room - 2 < 0x80 ? 2 : room - 3 < 0x4000 ? 3 : 4;
    *at++ = (uint8_t)(number << 3 | 2);
    uint8_t *text = varint_put(at, room - head);
    for (size_t i = 0; i < room - head; i++)
        *text++ = (uint8_t)('a' + i % 26);
    return text;
}

void grpc_request_make(grpc_request *r, const grpc_options *o)
{
    enum {
        DATA_HEAD = 8
    }; /* of a message of StreamData: its sequence and the head of the payload */
    fields_make(r, o);
    r->message = calloc(1, MESSAGE_PREFIX + o->message_bytes + 32);
    if (r->message == NULL)
        usage_error("memory", "none");
    uint8_t *start = r->message + MESSAGE_PREFIX;
    uint8_t *at = start;
    r->ends = o->method != METHOD_ECHO;
    r->messages_first = o->method == METHOD_ECHO && o->idle_streams == 0 ? o->in_flight : 1;
    r->payload_bytes = o->message_bytes - DATA_HEAD;
    if (o->method == METHOD_STREAM) {
        *at++ = 0x08;
        at = varint_put(at, o->count);
        *at++ = 0x10;
        at = varint_put(at, r->payload_bytes);
    } else if (o->method == METHOD_ECHO) {
        *at++ = 0x08;
        at = varint_put(at, 1);
        at = filler_put(at, 2, o->message_bytes - 2);
    } else {
        at = filler_put(at, 1, o->message_bytes);
    }
    put_u32(r->message + 1, (uint32_t)(at - start));
    r->message_bytes = MESSAGE_PREFIX + (size_t)(at - start);
}
