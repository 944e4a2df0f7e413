/* Permits that the replicas of a node share, and the gate that hands them out. */
#ifndef WI_PERMITS_H
#define WI_PERMITS_H

#include "gate.h"

typedef struct wi_permits {
    const weir_env *env;
    wi_waiters waiters;
    _Atomic uint64_t limit;
    char apart[64]; /* what is written often, from what is not */
    _Atomic uint64_t used;
    _Atomic(wi_gate *) first; /* whose item needs several permits: nobody else gets any till then */
} wi_permits;

weir_status wi_permits_init(wi_permits *permits, const weir_env *env, uint64_t limit);
void wi_permits_done(wi_permits *permits);
/* Gives back, and wakes those who wait. Any thread. */
void wi_permits_give(wi_permits *permits, uint64_t n);
/* Changes how many there are; wakes those who wait. Any thread. */
void wi_permits_set(wi_permits *permits, uint64_t limit);

/* A gate by permits; the first member of a stage's state. */
typedef struct wi_permit_gate {
    wi_gate gate;
    wi_permits *permits;
    uint32_t (*cost)(const weir_item *item, void *user);
    void *user;
    uint64_t back; /* permits of what ended this turn */
} wi_permit_gate;

/* What tickets remember: of one item, or of several alike. */
typedef struct wi_permit {
    wi_permit_gate *gate;
    uint64_t cost, passed_ns;
} wi_permit;

size_t wi_permits_take(wi_gate *gate, weir_item *const *items, size_t n);
uint64_t wi_permits_look(wi_gate *gate, uint64_t most);
size_t wi_permits_follow(wi_gate *gate, weir_item **items, size_t n);
void wi_permits_settle(wi_gate *gate);
void wi_permits_cut(wi_gate *gate);
/* `n` items with this memory ended. */
void wi_permit_ended(wi_permit *permit, uint64_t n);

#endif
