/* The priority router's command line, read and checked. */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help_text[] =
    "priority: does premium work before normal work, and starves neither\n"
    "\n"
    "  POST /work          \"Tier: premium\" goes first; anything else is normal. Answers when\n"
    "                      the work is done (a call that takes --work-us), or 503\n"
    "\n"
    "  --listen HOST:PORT  where work is taken; port 0: any free one (127.0.0.1:8080)\n"
    "  --admin HOST:PORT   /metrics /live /ready /graph (none)\n"
    "  --workers N         calls at once, premium first (80)\n"
    "  --reserved N        further ones for premium alone; 0: none (20)\n"
    "  --work-us N         microseconds that a call takes (8000)\n"
    "  --waiting N         requests of each kind that wait; more are answered 503 (512)\n"
    "  --weight N          premium before each normal one while both wait; 0: all of them (8)\n"
    "  --ageing-ms N       a normal one that waited so long outranks premium (1000)\n"
    "  --demo              drive it with premium at 2,000 a second below a flood of normal work,\n"
    "                      show how both fare, and end\n"
    "  --seconds N         of the demo (5)\n"
    "  --help              this text\n"
    "\n"
    "exit: 0 drained (demo: 99.9 % of premium within 100 ms), 1 not so, 2 wrong command line\n";

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

enum { LISTEN, ADMIN, WORKERS, RESERVED, WORK_US, WAITING, WEIGHT, AGEING, DEMO, SECONDS, HELP };

static const struct option names[] = {
    [LISTEN] = { "listen", required_argument, NULL, LISTEN },
    [ADMIN] = { "admin", required_argument, NULL, ADMIN },
    [WORKERS] = { "workers", required_argument, NULL, WORKERS },
    [RESERVED] = { "reserved", required_argument, NULL, RESERVED },
    [WORK_US] = { "work-us", required_argument, NULL, WORK_US },
    [WAITING] = { "waiting", required_argument, NULL, WAITING },
    [WEIGHT] = { "weight", required_argument, NULL, WEIGHT },
    [AGEING] = { "ageing-ms", required_argument, NULL, AGEING },
    [DEMO] = { "demo", no_argument, NULL, DEMO },
    [SECONDS] = { "seconds", required_argument, NULL, SECONDS },
    [HELP] = { "help", no_argument, NULL, HELP },
    { 0 },
};

static bool read_value(options *o, int option, const char *text)
{
    switch (option) {
    case LISTEN:
        o->listen = text;
        return strchr(text, ':') != NULL;
    case ADMIN:
        o->admin = text;
        return strchr(text, ':') != NULL;
    case WORKERS:
        return read_number(text, 1, 65536, &o->workers);
    case RESERVED:
        return read_number(text, 0, 65536, &o->reserved);
    case WORK_US:
        return read_number(text, 0, 10000000, &o->work_us);
    case WAITING:
        return read_number(text, 1, 1000000, &o->waiting_max);
    case WEIGHT:
        return read_number(text, 0, 65535, &o->weight);
    case AGEING:
        return read_number(text, 1, 3600000, &o->ageing_ms);
    default:
        return read_number(text, 1, 600, &o->seconds);
    }
}

options_result options_read(int argc, char **argv, options *ret_options)
{
    options o = { .listen = "127.0.0.1:8080",
                  .workers = 80,
                  .reserved = 20,
                  .work_us = 8000,
                  .waiting_max = 512,
                  .ageing_ms = 1000,
                  .weight = 8,
                  .seconds = 5 };
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (option == '?')
            return OPTIONS_WRONG; /* getopt has said what */
        if (option == HELP) {
            fputs(help_text, stdout);
            return OPTIONS_HELP;
        }
        if (option == DEMO) {
            o.demo = true;
        } else if (!read_value(&o, option, optarg)) {
            fprintf(stderr, "priority: --%s %s: out of range (see --help)\n", names[option].name,
                    optarg);
            return OPTIONS_WRONG;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "priority: %s: no such argument (see --help)\n", argv[optind]);
        return OPTIONS_WRONG;
    }
    *ret_options = o;
    return OPTIONS_RUN;
}
