/* Deadlines of items under way, all as far away: what timeout gives those below it. */
#ifndef WI_DEADLINES_H
#define WI_DEADLINES_H

#include "gate.h"

typedef struct wi_deadline wi_deadline;

/* Of one loop. */
typedef struct wi_deadlines {
    wi_gate *gate; /* hears of each that ends */
    wi_deadline *all, *free, *first, *last;
    uint64_t n_free, ns; /* from an item's passing to its deadline */
    weir_timer timer;
} wi_deadlines;

/* Room for `n` at once. */
weir_status wi_deadlines_init(wi_deadlines *deadlines, wi_gate *gate, const weir_env *env,
                              uint32_t n, uint64_t ns);
/* All have ended. Of zeroed memory it is fine. */
void wi_deadlines_done(wi_deadlines *deadlines, weir_stage *stage);
/* The tickets of items[0..n), of wi_deadline_type, get a context of their own each: there are as
 * many free. It ends with the item. */
void wi_deadlines_begin(wi_deadlines *deadlines, weir_item **items, size_t n);
extern const weir_ticket_type wi_deadline_type;

#endif
