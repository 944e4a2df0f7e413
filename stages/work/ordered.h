/* The pair of stages that keeps the order of items whose work is shared out: scatter gives each
 * item a turn, and a ticket that knows it; collect calls the turns up in order. Both are on one
 * loop; what is between them need not be. The turns go from scatter's output 0 to collect's input
 * 0. */
#ifndef WI_ORDERED_H
#define WI_ORDERED_H

#include <weir/stages.h>

enum { WI_COPIES_MAX = WEIR_PORTS_MAX - 1 }; /* a port is for the turns */

typedef struct wi_ordered_config {
    uint32_t copies;
    uint32_t in_flight; /* turns out at once */
} wi_ordered_config;

/* The body of a turn. Two hold it: who calls it up, and the ticket. */
typedef struct wi_turn {
    void *collect; /* who calls it up, once known */
    uint32_t slot;
    bool is_over; /* its item has ended, and will not come */
} wi_turn;

typedef struct wi_ticket {
    weir_item *turn;
} wi_ticket;

extern const weir_ticket_type wi_ticket_type;
/* Tells a collect, as `user`, that the item of its slot `at` will not come. */
void wi_collect_over(void *user, uint32_t at);

weir_stage_spec *wi_scatter(const wi_ordered_config *config);
weir_stage_spec *wi_collect(const wi_ordered_config *config);

#endif
