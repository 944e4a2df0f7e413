/* What the order service is asked to do: its command line, read and checked. */
#ifndef ORDERS_OPTIONS_H
#define ORDERS_OPTIONS_H

#include <getopt.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum store_kind { STORE_NONE, STORE_SQLITE, STORE_POSTGRES } store_kind;
typedef enum pricing_kind { PRICING_NONE, PRICING_BUILTIN, PRICING_URL } pricing_kind;
typedef enum notify_kind { NOTIFY_NONE, NOTIFY_FILE, NOTIFY_NATS } notify_kind;

typedef struct address {
    char host[256];
    uint16_t port; /* 0: any free one */
} address;

typedef struct options {
    const char *program; /* its name, for messages */
    address listen, admin;
    bool listen_given, admin_given, has_admin;
    store_kind store;
    const char *store_at; /* a path, or a URL */
    bool store_given;
    pricing_kind pricing;
    const char *pricing_url;
    notify_kind notify;
    const char *notify_at; /* a path, or a URL */
    bool notify_given;
    bool queued; /* reply once admitted, not once stored */
    uint32_t loops;
    uint32_t deadline_ms, drain_ms;
    bool demo;
} options;

typedef enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG } options_result;

/* Reads the command line. OPTIONS_HELP: the help is on stdout; OPTIONS_WRONG: one line on stderr
 * says what. Texts are borrowed from argv. */
options_result options_read(int argc, char **argv, options *ret_options);

/* Another program that takes some of these options, and has some of its own. */
typedef struct options_program {
    const char *help;
    options defaults;
    const char *without;       /* those that it does not take: the letters of options.c's table */
    const struct option *more; /* its own, up to OPTIONS_MORE_MAX; the last is zeroed */
    options_result (*read)(int option, const char *value, char **argv, void *user);
    void *user;
} options_program;
enum { OPTIONS_MORE_MAX = 8 };
options_result options_read_for(const options_program *program, int argc, char **argv,
                                options *ret_options);
/* Says so on stderr. */
options_result options_wrong(const char *program, const char *option, const char *value,
                             const char *why);

/* ---- preflight.c ---- */

/* Whether the port and the files can be had; if not, a line on stderr says which, rather than later
 * that a stage cannot open. */
bool preflight(const options *o);
/* The same for a file that is to be read. */
bool preflight_may_read(const char *program, const char *option, const char *path);
/* As many descriptors as may be; and a peer that goes away is no signal. */
void preflight_process(void);

#endif
