/* How the memory that the service may use is shared out, so that the sum holds whatever comes. */
#ifndef THUMBNAILS_BUDGET_H
#define THUMBNAILS_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct budget {
    uint32_t upload_bytes_max; /* of an image file */
    uint64_t bodies_bytes_max; /* of uploads that are being received */
    uint64_t decoder_bytes;    /* what a decoder may need for an image */
    uint64_t worker_bytes;     /* what a worker may allocate: the file, the decoder's, the rest */
    uint32_t output_bytes_max; /* of a thumbnail */
} budget;

/* Shares out `memory` bytes for `workers` processes and thumbnails of `side` pixels. False: it is
 * too little, and `*ret_least` would do. */
bool budget_share(uint64_t memory, uint32_t workers, uint32_t side, budget *ret_budget,
                  uint64_t *ret_least);

#endif
