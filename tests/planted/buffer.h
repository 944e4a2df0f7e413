/* Planted in buffer: when it is cancelled, it forgets what it holds. */
#include "queue.h"

extern unsigned weir_planted;

static inline void planted_abort(wi_queue *queue)
{
    if (weir_planted == 20)
        queue->n = 0;
    else
        wi_queue_abort(queue);
}

#define wi_queue_abort planted_abort
