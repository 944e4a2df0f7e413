/* The streams service's parts: what they share, and the stages and handlers they give. */
#ifndef STREAMS_SERVICE_H
#define STREAMS_SERVICE_H

#include "../orders/ops.h"

#include <weir/rpc_health.h>
#include <weir/rpc_reflection.h>

#include "orders/v1/orders.weir.h"
#include "streams/v1/streams.weir.h"
#include "test/v1/bombs.weir.h"

/* The outputs of the server's stage: requests that go through stages as items. */
enum { OUTPUT_ORDERS, OUTPUT_COMPOSE };

enum { ORIGINS_MAX = 16 };

typedef struct streams_options {
    const char *tls_cert, *tls_key, *tls_client_ca;
    const char *origins[ORIGINS_MAX];
    weir_rpc_cors cors;
    bool test;
} streams_options;

typedef struct streams {
    service orders; /* what the order service's stages know of; first */
    streams_options options;
    weir_hub *receipts; /* of orders that were stored, for who watches */
    streams_v1_streams_server streams_server;
    orders_v1_orders_server orders_server;
    test_v1_bombs_server bombs_server;
    weir_rpc_health *health;
    weir_rpc_reflection *reflection;
} streams;

/* ---- calls.c: one handler each ---- */

void calls_serve(streams_v1_streams_server *server);
void bombs_serve(test_v1_bombs_server *server);

/* ---- compose.c: an asynchronous stage ---- */

weir_stage_spec *compose_stage(streams *s);

/* ---- submit.c: into the order service's pipeline ---- */

extern const door rpc_door;
weir_stage_spec *submit_stage(streams *s);
/* Tells who submitted an order that it is stored, and emits its receipt. */
weir_stage_spec *tell_stage(streams *s);

/* The body of a receipt on its way to who watches. */
typedef struct receipt {
    Orders__V1__Receipt message;
    char id[ORDER_ID_BYTES_MAX + 1];
    char currency[4];
} receipt;

/* ---- watch.c: a call wired to stages ---- */

void watch_serve(streams *s);

#endif
