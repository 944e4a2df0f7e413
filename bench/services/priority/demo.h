/* The demo: premium requests at a steady rate below a flood of normal ones, by http_load. */
#ifndef PRIORITY_DEMO_H
#define PRIORITY_DEMO_H

#include <stdbool.h>
#include <stdint.h>

#include <weir/pipeline.h>

typedef struct demo demo;

/* Prepares the demo on a thread that waits for demo_go; it shuts `pipeline` down at its end. NULL,
 * with a line on stderr, if that cannot be. */
demo *demo_new(weir_pipeline *pipeline, uint32_t seconds);
/* The service listens on `port`; 0: it never will. Any thread, once. */
void demo_go(demo *demo, uint16_t port);
/* Waits for the end, frees it, and says whether 99.9 % of premium were answered within 100 ms. */
bool demo_finish(demo *demo);

#endif
