/* Planted in buffer: when it is cancelled, it forgets what it holds. */
#include "queue.h"

extern unsigned weir_planted;

static inline void planted_let_go(weir_stage *stage, void *state)
{
    if (weir_planted == 20)
        ((wi_queue *)state)->n = 0;
    else
        wi_queue_let_go(stage, state);
}

#define wi_queue_let_go planted_let_go
