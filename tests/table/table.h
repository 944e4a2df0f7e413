/* Every stage of the library with a small config, and what it promises: the tests that hold for all
 * stages (the Reactive Streams rules, the simulation, failing allocations) walk this table.
 *
 * A row's items have a body that begins with a uint64_t, or are joined items (weir_items_join);
 * user functions of the rows cope with both. */
#ifndef TABLE_H
#define TABLE_H

#include <weir/stages.h>

enum {
    STAGE_PASSES = 1 << 0,   /* hands every item on, once, itself */
    STAGE_DROPS = 1 << 1,    /* may end an item as filtered, failed or rejected */
    STAGE_MAKES = 1 << 2,    /* emits items of its own making, derived from what it got */
    STAGE_JOINS = 1 << 3,    /* emits joined items */
    STAGE_COPIES = 1 << 4,   /* hands an item to several outputs */
    STAGE_ORDERED = 1 << 5,  /* in order of arrival, per input and output */
    STAGE_BY_KEY = 1 << 6,   /* in order of arrival for equal keys */
    STAGE_TIMED = 1 << 7,    /* time must pass before all is through */
    STAGE_ENDS = 1 << 8,     /* may end or fail by itself, before its input has */
    STAGE_LOSSY = 1 << 9,    /* its node must be best-effort on an acked path */
    STAGE_INVENTS = 1 << 10, /* emits items that nobody sent: sources and tickers */
};

typedef struct stage_row {
    const char *name;
    weir_stage_spec *(*make)(void);
    int inputs, outputs; /* to link: 0, 1 or more */
    uint32_t traits;
} stage_row;

/* Gives the row of `index`, or NULL beyond the last. */
const stage_row *stage_row_at(size_t index);

/* The rows, a file for each header of the library; each list ends with a row without a name. */
extern const stage_row stage_rows_items[], stage_rows_group[], stage_rows_fan[], stage_rows_work[],
    stage_rows_limit[];

/* The first eight bytes of the body; of a joined item, those of its first member. */
uint64_t stage_value(const weir_item *item);

#endif
