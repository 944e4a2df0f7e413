/* What the thumbnail service is asked to do: its command line, read and checked. */
#ifndef THUMBNAILS_OPTIONS_H
#define THUMBNAILS_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct options {
    char listen[300]; /* HOST:PORT; "" for none */
    bool listen_given;
    const char *watch, *out; /* folders; NULL: none */
    uint32_t workers;
    uint64_t memory;
    uint32_t side;
    uint32_t drain_ms;
    bool demo;
} options;

typedef enum options_result { OPTIONS_RUN, OPTIONS_HELP, OPTIONS_WRONG } options_result;

/* Reads the command line. OPTIONS_HELP: the help is on stdout; OPTIONS_WRONG: one line on stderr
 * says what. Texts are borrowed from argv. */
options_result options_read(int argc, char **argv, options *ret_options);

#endif
