/* The simulation's parts: the graph that a seed makes, and what arrives where. */
#ifndef SIMULATE_WORLD_H
#define SIMULATE_WORLD_H

#include <weir/hub.h>
#include <weir/stages.h>
#include <weir/testkit.h>

#include "simulate.h"
#include "table.h"

enum {
    WORLD_NODES_MAX = 48,
    WORLD_SOURCES_MAX = 2,
    WORLD_SINKS_MAX = 24,
    WORLD_LOOPS_MAX = 4,
    WORLD_ITEMS_MAX = 120, /* of a source */
    WORLD_CONTEXTS = 3,
    WORLD_CONSUMERS_MAX = 3,
    WORLD_DRAIN_MS = 300
};

typedef struct world world;

/* How items of one source come to a node. */
typedef struct route {
    uint32_t paths;
    bool makes, joins, unordered, unkeyed;
    bool mixed; /* of a joined item only the first member, whose key it has, is in order */
} route;

/* What a node is: a row of the table, or one of the simulation's own stages. */
typedef enum world_own {
    OWN_NONE,
    OWN_PASS,
    OWN_FIFTHS,
    OWN_FOURTHS,
    OWN_BATCH,
    OWN_BUFFER,
    OWN_TAKE,
    OWN_LATER,
    OWN_SEMAPHORE,
    OWN_SWITCH,
    OWN_KINDS
} world_own;

typedef struct world_node {
    weir_node *node;
    const stage_row *row; /* NULL: own */
    world_own own;        /* none: a probe */
    char name[32];
    uint32_t traits, place, inputs, outputs, linked; /* outputs linked so far */
    uint32_t window_max;
    bool retries, may_fail, at_once; /* at_once: what fails, fails within its callback */
    bool has_dead_letter;
    route from[WORLD_SOURCES_MAX]; /* how they leave it */
} world_node;

typedef struct world_sink {
    world *world;
    weir_probe *probe;
    uint32_t index;
    route from[WORLD_SOURCES_MAX];
    uint8_t count[WORLD_SOURCES_MAX][WORLD_LOOPS_MAX][WORLD_ITEMS_MAX];
    uint64_t last[WORLD_SOURCES_MAX][WORLD_LOOPS_MAX]; /* index + 1 */
    uint64_t last_of_key[WORLD_SOURCES_MAX][WORLD_LOOPS_MAX][4];
} world_sink;

typedef struct world_source {
    weir_probe *probe;
    uint8_t keys[WORLD_LOOPS_MAX][WORLD_ITEMS_MAX];
    uint32_t fed[WORLD_LOOPS_MAX];
    uint32_t place;
    bool ended;
} world_source;

struct world {
    const sim_options *options;
    uint64_t dice;
    weir_testkit *kit;
    weir_pipeline *pipeline;
    uint32_t loops, replicas;
    bool is_placed, has_faults, has_parallel;
    uint32_t item_bytes_max; /* what is joined may cost more, and fails; 0: nothing does */
    uint32_t n_nodes, n_sources, n_sinks;
    world_node nodes[WORLD_NODES_MAX];
    world_source sources[WORLD_SOURCES_MAX];
    world_sink sinks[WORLD_SINKS_MAX];
    weir_context contexts[WORLD_LOOPS_MAX][WORLD_CONTEXTS];
    weir_switch *off;                     /* of its switch stages; NULL for want of memory */
    bool changes;                         /* while it runs */
    uint32_t changes_taken, changes_told; /* not refused; heard of */
    weir_hub *hub;                        /* at most one; NULL: none */
    route hub_routes[WORLD_SOURCES_MAX];
    weir_pipeline *consumers[WORLD_CONSUMERS_MAX]; /* they have joined it */
    uint32_t n_consumers;
    bool may_hang;    /* something in it need never end by itself */
    bool swallows;    /* items may be acked without a sink probe */
    bool all_pass;    /* every stage hands on what it gets */
    bool was_stopped; /* cancelled, shut down, ended with an error */
    char why[256];
};

/* 0 … sides - 1. */
uint32_t roll(world *w, uint32_t sides);
/* One time in `n`. */
static inline bool one_in(world *w, uint32_t n)
{
    return roll(w, n) == 0;
}
void world_wrong(world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
void world_say(const world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Makes a pipeline of the seed's choosing. */
void world_build(world *w);
/* A stage of the simulation's own, or of the table with other figures; node->own says which, and
 * the first time what it promises is noted. */
weir_stage_spec *world_own_stage(world *w, world_node *node);
weir_async_options world_async_options(world *w, const world_node *node);
weir_error_policy world_policy(world *w);
/* Changes something of some stage while it runs, or has it refused. */
void world_change(world *w);
/* Says whether a way that comes to an end here goes to a hub; by `routes`. */
bool world_hub_end(world *w, const route *routes);
/* Somebody joins the hub or leaves it. */
void world_hub_step(world *w);
bool world_consumers_are_over(const world *w);
void world_hub_abort(world *w);
void world_hub_free(world *w);
/* Hears what comes to a sink. */
void world_arrived(const weir_item *item, void *user);
/* After all is over: what was promised of order and number. */
void world_account(world *w);

#endif
