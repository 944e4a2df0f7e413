/* Planted in batch: it goes without demand. */
#include <weir/stage.h>

extern unsigned weir_planted;

static inline bool planted_fits(const weir_out *out, uint32_t cost)
{
    return weir_planted == 12 ? !weir_out_is_over(out) : weir_out_fits(out, cost);
}

#define weir_out_fits planted_fits
