/* The order service's command line, read and checked. */
#include "options.h"

#include <weir/nats_proto.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "orders: takes orders over HTTP, prices, stores and announces them\n"
    "\n"
    "  POST /orders        {\"id\": \"A-1\", \"amount\": 12.5, \"currency\": \"EUR\",\n"
    "                       \"items\": [{\"sku\": \"x\", \"qty\": 1, \"price\": 12.5}]}\n"
    "  GET  /orders/{id}   reads one back\n"
    "\n"
    "  --listen HOST:PORT  where orders are taken; port 0: any free one (127.0.0.1:8080)\n"
    "  --admin HOST:PORT   /metrics /live /ready /graph; or none (127.0.0.1:9090)\n"
    "  --store WHAT        sqlite:FILE, postgresql://..., or none (sqlite:orders.db)\n"
    "  --pricing WHAT      builtin: a pricing service within this process, called by HTTP;\n"
    "                      http://HOST:PORT: one that answers GET /price/{id} with\n"
    "                      {\"price\": NUMBER}; or none (builtin)\n"
    "  --notify WHAT       file:FILE, a line of JSON for each order; nats://HOST:PORT, a message\n"
    "                      on orders.created with the header Trace-ID; or none\n"
    "                      (file:orders.ndjson)\n"
    "  --reply WHEN        stored: 201 once the order is durable, 200 if it was there already;\n"
    "                      queued: 202 once it is admitted (stored)\n"
    "  --loops N           event loops, one thread each (as many as processors may be used)\n"
    "  --deadline-ms N     from the last byte of a request to its reply (2000)\n"
    "  --drain-ms N        time to finish what was begun, on SIGTERM (5000)\n"
    "  --demo              drive it with its own load for a few seconds, show how it does, and end;\n"
    "                      free ports and a temporary store unless they are given\n"
    "  --help              this text\n"
    "\n"
    "An answer 201 or 200 says that the order is stored and announced. One that gets no price\n"
    "within 150 ms is refused with 503 or 504 and is not stored; other failures are answered\n"
    "503 or 504 and say how far it came. The id makes it safe to repeat an order: it is stored\n"
    "once, as it came first. When there is more to do than can be done, 503 with Retry-After.\n"
    "\n"
    "A second SIGTERM, or the end of the drain time, gives up what is under way.\n"
    "exit: 0 drained, 1 failed or gave up, 2 wrong command line\n";

options_result options_wrong(const char *program, const char *option, const char *value,
                             const char *why)
{
    fprintf(stderr, "%s: --%s %s: %s (see --help)\n", program, option, value, why);
    return OPTIONS_WRONG;
}

static options_result wrong(const options *o, const char *option, const char *value,
                            const char *why)
{
    return options_wrong(o->program, option, value, why);
}

static bool read_number(const char *text, uint32_t low, uint32_t high, uint32_t *ret_number)
{
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value < low || value > high)
        return false;
    *ret_number = (uint32_t)value;
    return true;
}

/* HOST:PORT, [V6]:PORT or :PORT. */
static bool read_address(const char *text, address *ret_address)
{
    const char *colon = strrchr(text, ':');
    uint32_t port;
    if (colon == NULL || !read_number(colon + 1, 0, 65535, &port))
        return false;
    const char *host = text;
    size_t bytes = (size_t)(colon - text);
    if (bytes >= 2 && host[0] == '[' && colon[-1] == ']') {
        host++;
        bytes -= 2;
    } else if (memchr(host, ':', bytes) != NULL) {
        return false;
    }
    if (bytes >= sizeof ret_address->host)
        return false;
    memcpy(ret_address->host, host, bytes);
    ret_address->host[bytes] = '\0';
    ret_address->port = (uint16_t)port;
    return true;
}

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

/* Whether what follows the scheme of `url` may be [user@]host[:port]. */
static bool has_authority(const char *url)
{
    uint32_t port;
    char authority[512];
    const char *at = strstr(url, "://") + 3;
    size_t bytes = strcspn(at, "/?#");
    if (bytes >= sizeof authority)
        return false;
    memcpy(authority, at, bytes);
    authority[bytes] = '\0';
    char *host = strrchr(authority, '@');
    host = host != NULL ? host + 1 : authority;
    char *end = host[0] == '[' ? strchr(host, ']') : host + strcspn(host, ":");
    if (end == NULL)
        return false;
    end += *end == ']';
    return *end == '\0' || (*end == ':' && read_number(end + 1, 1, 65535, &port));
}

static options_result read_store(options *o, const char *value)
{
    o->store_given = true;
    if (strcmp(value, "none") == 0) {
        o->store = STORE_NONE;
    } else if (begins(value, "sqlite:") && value[7] != '\0') {
        o->store = STORE_SQLITE;
        o->store_at = value + 7;
    } else if ((begins(value, "postgresql://") || begins(value, "postgres://")) &&
               has_authority(value)) {
        o->store = STORE_POSTGRES;
        o->store_at = value;
    } else {
        return wrong(o, "store", value, "neither sqlite:FILE, postgresql://... nor none");
    }
    return OPTIONS_RUN;
}

static options_result read_pricing(options *o, const char *value)
{
    if (strcmp(value, "none") == 0) {
        o->pricing = PRICING_NONE;
    } else if (strcmp(value, "builtin") == 0) {
        o->pricing = PRICING_BUILTIN;
    } else if (((begins(value, "http://") && value[7] != '\0') ||
                (begins(value, "https://") && value[8] != '\0')) &&
               has_authority(value)) {
        o->pricing = PRICING_URL;
        o->pricing_url = value;
    } else {
        return wrong(o, "pricing", value, "neither builtin, http://HOST:PORT nor none");
    }
    return OPTIONS_RUN;
}

static options_result read_notify(options *o, const char *value)
{
    weir_nats_url url;
    o->notify_given = true;
    if (strcmp(value, "none") == 0) {
        o->notify = NOTIFY_NONE;
    } else if (begins(value, "file:") && value[5] != '\0') {
        o->notify = NOTIFY_FILE;
        o->notify_at = value + 5;
    } else if (begins(value, "nats://") && weir_nats_url_parse(value, &url) == WEIR_OK) {
        o->notify = NOTIFY_NATS;
        o->notify_at = value;
    } else {
        return wrong(o, "notify", value, "neither file:FILE, nats://HOST:PORT nor none");
    }
    return OPTIONS_RUN;
}

static options_result read_reply(options *o, const char *value)
{
    o->queued = strcmp(value, "queued") == 0;
    if (!o->queued && strcmp(value, "stored") != 0)
        return wrong(o, "reply", value, "neither stored nor queued");
    return OPTIONS_RUN;
}

static options_result read_where(options *o, char option, const char *value)
{
    if (option == 'a' && strcmp(value, "none") == 0) {
        o->has_admin = false;
        return OPTIONS_RUN;
    }
    bool is_admin = option == 'a';
    o->has_admin |= is_admin; /* after a none, too */
    if (!read_address(value, is_admin ? &o->admin : &o->listen))
        return wrong(o, is_admin ? "admin" : "listen", value, "not of the form HOST:PORT");
    *(is_admin ? &o->admin_given : &o->listen_given) = true;
    o->has_admin |= is_admin;
    return OPTIONS_RUN;
}

static options_result read_one(options *o, int option, const char *value)
{
    switch (option) {
    case 'l':
    case 'a':
        return read_where(o, (char)option, value);
    case 's':
        return read_store(o, value);
    case 'p':
        return read_pricing(o, value);
    case 'n':
        return read_notify(o, value);
    case 'r':
        return read_reply(o, value);
    case 'L':
        return read_number(value, 1, 64, &o->loops)
                   ? OPTIONS_RUN
                   : wrong(o, "loops", value, "not a number from 1 to 64");
    case 'd':
        return read_number(value, 1, 3600000, &o->deadline_ms)
                   ? OPTIONS_RUN
                   : wrong(o, "deadline-ms", value, "not a number from 1 to 3600000");
    case 'D':
        return read_number(value, 1, 3600000, &o->drain_ms)
                   ? OPTIONS_RUN
                   : wrong(o, "drain-ms", value, "not a number from 1 to 3600000");
    default:
        o->demo = true;
        return OPTIONS_RUN;
    }
}

static const struct option table[] = {
    { "listen", required_argument, NULL, 'l' },   { "admin", required_argument, NULL, 'a' },
    { "store", required_argument, NULL, 's' },    { "pricing", required_argument, NULL, 'p' },
    { "notify", required_argument, NULL, 'n' },   { "reply", required_argument, NULL, 'r' },
    { "loops", required_argument, NULL, 'L' },    { "deadline-ms", required_argument, NULL, 'd' },
    { "drain-ms", required_argument, NULL, 'D' }, { "demo", no_argument, NULL, 'm' },
    { "help", no_argument, NULL, 'h' },
};
enum { TABLE = sizeof table / sizeof *table };

static void fill_table(const options_program *program, struct option *to)
{
    for (size_t i = 0; i < TABLE; i++)
        if (program->without == NULL || strchr(program->without, table[i].val) == NULL)
            *to++ = table[i];
    for (size_t i = 0; program->more != NULL && program->more[i].name != NULL; i++)
        *to++ = program->more[i];
    *to = (struct option){ NULL, 0, NULL, 0 };
}

options_result options_read_for(const options_program *program, int argc, char **argv,
                                options *ret_options)
{
    struct option all[TABLE + OPTIONS_MORE_MAX + 1];
    const char *slash = strrchr(argv[0], '/');
    options o = program->defaults;
    o.program = slash != NULL ? slash + 1 : argv[0];
    fill_table(program, all);
    for (int got; (got = getopt_long(argc, argv, "h", all, NULL)) != -1;) {
        if (got == 'h') {
            fputs(program->help, stdout);
            return OPTIONS_HELP;
        }
        if (got == '?')
            return OPTIONS_WRONG; /* getopt has said why */
        options_result result = got > UCHAR_MAX ? program->read(got, optarg, argv, program->user)
                                                : read_one(&o, got, optarg);
        if (result != OPTIONS_RUN)
            return result;
    }
    if (optind < argc) {
        fprintf(stderr, "%s: \"%s\" is not an option (see --help)\n", o.program, argv[optind]);
        return OPTIONS_WRONG;
    }
    *ret_options = o;
    return OPTIONS_RUN;
}

options_result options_read(int argc, char **argv, options *ret_options)
{
    static const options_program orders = {
        .help = help_text,
        .defaults = { .listen = { "127.0.0.1", 8080 },
                      .admin = { "127.0.0.1", 9090 },
                      .has_admin = true,
                      .store = STORE_SQLITE,
                      .store_at = "orders.db",
                      .pricing = PRICING_BUILTIN,
                      .notify = NOTIFY_FILE,
                      .notify_at = "orders.ndjson",
                      .deadline_ms = 2000,
                      .drain_ms = 5000 },
    };
    return options_read_for(&orders, argc, argv, ret_options);
}
