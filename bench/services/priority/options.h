/* What the priority router is asked to do: its command line, read and checked. */
#ifndef PRIORITY_OPTIONS_H
#define PRIORITY_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct options {
    const char *listen, *admin; /* admin: NULL: none */
    uint32_t workers, reserved; /* calls at once: for all, and besides them for premium alone */
    uint32_t work_us;           /* that a call takes */
    uint32_t waiting_max;       /* requests of each kind that wait; more are answered 503 */
    uint32_t ageing_ms, weight;
    uint32_t seconds; /* of the demo */
    bool demo;
} options;

typedef enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG } options_result;

/* Reads the command line. OPTIONS_HELP: the help is on stdout; OPTIONS_WRONG: one line on stderr
 * says what. Texts are borrowed from argv. */
options_result options_read(int argc, char **argv, options *ret_options);

#endif
