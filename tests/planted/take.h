/* Planted in take: it asks for all there is. */
#include <weir/stage.h>

extern unsigned weir_planted;

static inline void planted_request_to(weir_in *in, uint64_t level)
{
    weir_request_to(in, weir_planted == 21 ? WEIR_UNBOUNDED : level);
}

#define weir_request_to planted_request_to
