/* The simulation of random graphs: one seed makes a graph, feeds it, and sees that all is well. */
#ifndef SIMULATE_H
#define SIMULATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum sim_faults { SIM_FAULTS_MIXED, SIM_FAULTS_ON, SIM_FAULTS_OFF } sim_faults;

typedef struct sim_options {
    const char *stage; /* only graphs with this row; NULL: any */
    sim_faults faults;
    uint32_t loops; /* 0: 1 to 4 */
    void (*log)(const char *line, void *user);
    void *user;
} sim_options;

typedef struct sim_result {
    char why[320]; /* "": nothing is wrong */
    uint64_t trace, steps, items;
} sim_result;

/* Runs the seed; true if nothing is wrong. */
bool sim_run(uint64_t seed, const sim_options *options, sim_result *ret_result);
bool sim_has_stage(const char *name);

#endif
