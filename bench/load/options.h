/* What the load generator is asked to do: its command line, read and checked. */
#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { HEADERS_MAX = 32, SLOTS_MAX = 16, NUMBER_DIGITS = 10 };

typedef struct load_options {
    struct sockaddr_in address;
    char host[256];
    const char *target; /* path and query */
    const char *method;
    char *body; /* owned */
    size_t body_bytes;
    const char *headers[HEADERS_MAX];
    size_t header_count;
    uint32_t connections;
    uint32_t pipeline;
    uint32_t idle;
    double seconds;
    double warmup_s;
    uint64_t requests_max; /* 0: no limit */
    uint64_t first;
    uint64_t rate; /* requests/s over all connections; 0: as fast as answers come */
    int expect;
    pid_t server_pid;
    bool retry_503;
    bool head;
    const char *id_log;
} load_options;

/* Reads the command line into `*o`; prints what is wrong (or the help) and exits if it cannot. */
void load_options_read(load_options *o, int argc, char **argv);

/* The preformatted request: its bytes, and where the running number goes. */
typedef struct load_request {
    char *bytes; /* owned */
    size_t size;
    size_t slots[SLOTS_MAX];
    size_t slot_count;
} load_request;

/* Formats the request of `o`; exits with a message if memory is out or it has too many `{n}`. */
void load_request_format(load_request *request, const load_options *o);

#endif
