/* The demo's load: keep-alive connections that each send an order as soon as the last is answered.
 */
#ifndef ORDERS_DEMO_H
#define ORDERS_DEMO_H

#include "../../load/response.h"
#include "service.h"

enum { DEMO_CONNECTIONS = 64, DEMO_BUCKETS = 40 * 16, DEMO_IN_BYTES = 2048 };

/* Durations by their logarithm, 16 to an octave. */
typedef struct demo_histogram {
    uint64_t count, longest_ns;
    uint64_t buckets[DEMO_BUCKETS];
} demo_histogram;

double demo_quantile_ms(const demo_histogram *h, double quantile);
/* What came after `before`. */
void demo_since(const demo_histogram *now, const demo_histogram *before,
                demo_histogram *ret_recent);

typedef struct demo_connection {
    int fd;
    bool waits; /* for its answer */
    uint64_t sent_ns;
    response response;
    size_t in_bytes;
    char in[DEMO_IN_BYTES];
} demo_connection;

typedef struct demo_load {
    int epoll; /* 1 + the descriptor; 0: none */
    uint64_t number, errors;
    uint64_t statuses[600];
    demo_histogram histogram;
    response_cache cache;
    demo_connection connections[DEMO_CONNECTIONS];
} demo_load;

/* Connects and sends the first orders; `load` is zeroed. False, and a line on stderr: it cannot. */
bool demo_load_start(demo_load *load, const char *host, uint16_t port);
/* Takes the answers that come within `ms`, and sends the next orders. False: nothing is left that
 * could answer. */
bool demo_load_turn(demo_load *load, int ms);
/* Waits a moment for the last answers, and closes. */
void demo_load_stop(demo_load *load);

#endif
