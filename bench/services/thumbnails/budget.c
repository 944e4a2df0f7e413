/* How the memory is shared out.
 *
 * With an image file of at most U bytes, W workers, and what is fixed:
 *     fixed + 2 U (being received) + 3 U (a file being read, and one at each input of the merge)
 *           + W U (what workers have, as the main process keeps it)
 *           + W (U (their copy of it) + 3.6 U (decoder) + rest (thumbnail)) */
#include "budget.h"

enum { KIB = 1024, MIB = 1024 * 1024, FIXED = 24 * MIB, UPLOAD_MIN = 1 * MIB };

static uint64_t rest(uint32_t side)
{
    uint64_t pixels = (uint64_t)side * side;
    return pixels * (4 * 8 + 4 + 4 + 4) +
           4 * MIB; /* sums, pixels, turned, encoded; odds and ends */
}

bool budget_share(uint64_t memory, uint32_t workers, uint32_t side, budget *ret_budget,
                  uint64_t *ret_least)
{
    uint64_t fixed = FIXED + workers * (rest(side) + MIB); /* and what a process costs by itself */
    uint64_t tenths = 50 + 56 * (uint64_t)workers;         /* of an upload */
    *ret_least = fixed + UPLOAD_MIN * tenths / 10;
    if (memory < *ret_least)
        return false;
    uint64_t upload = (memory - fixed) * 10 / tenths;
    upload = upload < UINT64_C(512) * MIB ? upload : UINT64_C(512) * MIB;
    *ret_budget = (budget){
        .upload_bytes_max = (uint32_t)upload,
        .bodies_bytes_max = 2 * upload,
        .decoder_bytes = upload * 36 / 10,
        .worker_bytes = upload + upload * 36 / 10 + rest(side),
        .output_bytes_max = side * side * 4 + 64 * KIB,
    };
    return true;
}
