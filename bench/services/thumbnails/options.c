/* The thumbnail service's command line, read and checked. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help_text[] =
    "thumbnails: makes small images of large ones, uploaded or put into a folder\n"
    "\n"
    "  POST /thumbnails    a JPEG or PNG file: 200 and its thumbnail; with --out it is stored, and\n"
    "                      the answer is 201 and {\"name\": \"...\", \"width\": ..., \"height\": ...}\n"
    "\n"
    "  --listen HOST:PORT  where images are uploaded; port 0: any free one; or none\n"
    "                      (127.0.0.1:8080)\n"
    "  --watch DIR         takes the files that are in DIR and those that are closed or moved there.\n"
    "                      Done, they are in DIR/done; refused, in DIR/failed, beside a file\n"
    "                      NAME.reason. Needs --out\n"
    "  --out DIR           where thumbnails are stored, durable before they are announced\n"
    "  --size PX           of a thumbnail's longer side, 16 to 1024 (256)\n"
    "  --workers N         processes that decode, 1 to 64 (as many as processors, at most 4)\n"
    "  --memory BYTES      for everything, all processes together; K, M or G may follow (256M).\n"
    "                      What a file and its decoder may need follows from it\n"
    "  --drain-ms N        time to finish what was begun, on SIGTERM (10000)\n"
    "  --demo              drive it with its own load for a few seconds, kill a worker meanwhile,\n"
    "                      show how it does, and end; on a free port unless one is given\n"
    "  --help              this text\n"
    "\n"
    "Images with transparency become PNG, others JPEG, upright as their EXIF says. What is neither\n"
    "JPEG nor PNG is answered 415, what is too large (bytes, pixels, memory) 413, what is damaged\n"
    "422, each with a reason. Nothing is decoded outside the workers; one that dies is replaced, and\n"
    "only its image is answered 500. When there is more to do than can be done, 503.\n"
    "\n"
    "A second SIGTERM, or the end of the drain time, gives up what is under way.\n"
    "exit: 0 drained, 1 failed or gave up, 2 wrong command line\n";

static options_result wrong(const char *option, const char *value, const char *why)
{
    fprintf(stderr, "thumbnails: --%s %s: %s (see --help)\n", option, value, why);
    return OPTIONS_WRONG;
}

static bool read_number(const char *text, uint64_t low, uint64_t high, bool has_unit,
                        uint64_t *ret_number)
{
    static const char units[] = "KMG";
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9')
        return false;
    const char *unit = has_unit && *end != '\0' ? strchr(units, *end) : NULL;
    if (unit != NULL) {
        unsigned shift = 10 * (unsigned)(unit - units + 1);
        if (value > UINT64_MAX >> shift)
            return false;
        value <<= shift;
        end++;
    }
    if (*end != '\0' || value < low || value > high)
        return false;
    *ret_number = value;
    return true;
}

static options_result read_small(const char *option, const char *value, uint32_t low, uint32_t high,
                                 uint32_t *ret_number)
{
    uint64_t number;
    char why[64];
    if (!read_number(value, low, high, false, &number)) {
        snprintf(why, sizeof why, "not a number from %u to %u", low, high);
        return wrong(option, value, why);
    }
    *ret_number = (uint32_t)number;
    return OPTIONS_RUN;
}

static options_result read_listen(options *o, const char *value)
{
    const char *colon = strrchr(value, ':');
    uint64_t port;
    o->listen_given = true;
    if (strcmp(value, "none") == 0) {
        o->listen[0] = '\0';
        return OPTIONS_RUN;
    }
    if (colon == NULL || strlen(value) >= sizeof o->listen ||
        !read_number(colon + 1, 0, 65535, false, &port))
        return wrong("listen", value, "not of the form HOST:PORT");
    snprintf(o->listen, sizeof o->listen, "%s", value);
    return OPTIONS_RUN;
}

static options_result read_one(options *o, int option, const char *value)
{
    switch (option) {
    case 'l':
        return read_listen(o, value);
    case 'w':
        o->watch = value;
        return OPTIONS_RUN;
    case 'o':
        o->out = value;
        return OPTIONS_RUN;
    case 's':
        return read_small("size", value, 16, 1024, &o->side);
    case 'n':
        return read_small("workers", value, 1, 64, &o->workers);
    case 'd':
        return read_small("drain-ms", value, 1, 3600000, &o->drain_ms);
    case 'm':
        return read_number(value, 0, UINT64_MAX, true, &o->memory)
                   ? OPTIONS_RUN
                   : wrong("memory", value, "not a number of bytes");
    default:
        o->demo = true;
        return OPTIONS_RUN;
    }
}

static options_result check(options *o)
{
    if (o->watch != NULL && o->out == NULL)
        return wrong("watch", o->watch, "it needs --out");
    if (o->watch == NULL && o->listen[0] == '\0')
        return wrong("listen", "none", "then it needs --watch");
    if (o->demo && o->listen[0] == '\0')
        return wrong("demo", "", "it needs --listen");
    if (o->demo && !o->listen_given)
        snprintf(o->listen, sizeof o->listen, "127.0.0.1:0");
    return OPTIONS_RUN;
}

static uint32_t workers_default(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > 4 ? 4 : (uint32_t)n;
}

options_result options_read(int argc, char **argv, options *ret_options)
{
    static const struct option table[] = {
        { "listen", required_argument, NULL, 'l' },   { "watch", required_argument, NULL, 'w' },
        { "out", required_argument, NULL, 'o' },      { "size", required_argument, NULL, 's' },
        { "workers", required_argument, NULL, 'n' },  { "memory", required_argument, NULL, 'm' },
        { "drain-ms", required_argument, NULL, 'd' }, { "demo", no_argument, NULL, 'D' },
        { "help", no_argument, NULL, 'h' },           { NULL, 0, NULL, 0 },
    };
    options o = { .listen = "127.0.0.1:8080",
                  .workers = workers_default(),
                  .memory = UINT64_C(256) << 20,
                  .side = 256,
                  .drain_ms = 10000 };
    for (int got; (got = getopt_long(argc, argv, "h", table, NULL)) != -1;) {
        if (got == 'h') {
            fputs(help_text, stdout);
            return OPTIONS_HELP;
        }
        if (got == '?')
            return OPTIONS_WRONG; /* getopt has said why */
        if (read_one(&o, got, optarg) != OPTIONS_RUN)
            return OPTIONS_WRONG;
    }
    if (optind < argc) {
        fprintf(stderr, "thumbnails: \"%s\" is not an option (see --help)\n", argv[optind]);
        return OPTIONS_WRONG;
    }
    if (check(&o) != OPTIONS_RUN)
        return OPTIONS_WRONG;
    *ret_options = o;
    return OPTIONS_RUN;
}
