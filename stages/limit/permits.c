/* Permits that replicas on any loop take and give back, by atomics while there are enough. */
#include "permits.h"

weir_status wi_permits_init(wi_permits *p, const weir_env *env, uint64_t limit)
{
    p->env = env;
    atomic_init(&p->limit, limit);
    atomic_init(&p->used, 0);
    atomic_init(&p->first, NULL);
    return wi_waiters_init(&p->waiters);
}

void wi_permits_done(wi_permits *p)
{
    wi_waiters_done(&p->waiters);
}

/* Where one is first, the others would wake for nothing, and it must be woken. Otherwise one will
 * do: it passes on what it has no use for. */
void wi_permits_give(wi_permits *p, uint64_t n)
{
    atomic_fetch_sub(&p->used, n);
    wi_waiters_wake(&p->waiters, atomic_load(&p->first) != NULL);
}

void wi_permits_set(wi_permits *p, uint64_t limit)
{
    atomic_store(&p->limit, limit);
    wi_waiters_wake(&p->waiters, atomic_load(&p->first) != NULL);
}

static bool is_for_others(const wi_permits *p, const wi_permit_gate *g)
{
    wi_gate *first = atomic_load(&p->first);
    return first != NULL && first != &g->gate;
}

/* One at a time, up to `most`: gives how many. */
static uint64_t take_ones(wi_permits *p, uint64_t most)
{
    uint64_t used = atomic_load(&p->used), limit = atomic_load(&p->limit), n;
    do {
        n = used < limit ? limit - used : 0;
        n = n < most ? n : most;
        if (n == 0)
            return 0;
    } while (!atomic_compare_exchange_weak(&p->used, &used, used + n));
    return n;
}

/* What costs more than there are passes when nothing else is under way. */
static bool take_many(wi_permits *p, uint64_t n)
{
    uint64_t used = atomic_load(&p->used), limit = atomic_load(&p->limit);
    do {
        if (used != 0 && (used >= limit || n > limit - used))
            return false;
    } while (!atomic_compare_exchange_weak(&p->used, &used, used + n));
    return true;
}

/* An item that needs several would wait for ever if others took each permit as it comes back. Who
 * gives back looks for a first one after it has: so who becomes it looks once more for permits, or
 * those given back in between would wake somebody else alone. */
static bool take_costly(wi_permit_gate *g, uint64_t n)
{
    wi_permits *p = g->permits;
    wi_gate *nobody = NULL;
    bool taken = take_many(p, n);
    if (!taken && n > 1 && g->gate.reject == WEIR_OK &&
        atomic_compare_exchange_strong(&p->first, &nobody, &g->gate))
        taken = take_many(p, n);
    if (taken)
        wi_permits_cut(&g->gate);
    return taken;
}

size_t wi_permits_take(wi_gate *gate, weir_item *const *items, size_t n)
{
    wi_permit_gate *g = (wi_permit_gate *)gate;
    if (is_for_others(g->permits, g))
        return 0;
    if (g->cost == NULL)
        return (size_t)take_ones(g->permits, n);
    for (size_t i = 0; i < n; i++) {
        uint64_t cost = g->cost(items[i], g->user);
        if (cost != 0 && !take_costly(g, cost))
            return i;
    }
    return n;
}

uint64_t wi_permits_look(wi_gate *gate, uint64_t most)
{
    const wi_permit_gate *g = (const wi_permit_gate *)gate;
    uint64_t used = atomic_load(&g->permits->used), limit = atomic_load(&g->permits->limit);
    uint64_t n = used < limit && !is_for_others(g->permits, g) ? limit - used : 0;
    return n < most ? n : most;
}

/* Items that take a permit each are alike. */
static size_t follow_ones(wi_permit_gate *g, weir_item **items, size_t n)
{
    weir_loop *loop = weir_stage_loop(g->gate.stage);
    wi_permit permit = { g, 1, weir_loop_now(loop) };
    size_t made = weir_tickets_alike(loop, g->gate.kind->ticket, &permit, items, n);
    if (made < n)
        wi_permits_give(g->permits, n - made);
    return made;
}

size_t wi_permits_follow(wi_gate *gate, weir_item **items, size_t n)
{
    wi_permit_gate *g = (wi_permit_gate *)gate;
    if (g->cost == NULL)
        return follow_ones(g, items, n);
    weir_loop *loop = weir_stage_loop(gate->stage);
    size_t made = weir_tickets(loop, gate->kind->ticket, items, n);
    for (size_t i = 0; i < made; i++)
        *(wi_permit *)weir_ticket_memory(items[i]) = (wi_permit){ g, g->cost(items[i], g->user),
                                                                  weir_loop_now(loop) };
    for (size_t i = made; i < n; i++)
        wi_permits_give(g->permits, g->cost(items[i], g->user));
    return made;
}

void wi_permit_ended(wi_permit *permit, uint64_t n)
{
    permit->gate->back += permit->cost * n;
    wi_gate_ended(&permit->gate->gate, n);
}

void wi_permits_settle(wi_gate *gate)
{
    wi_permit_gate *g = (wi_permit_gate *)gate;
    uint64_t back = g->back;
    g->back = 0;
    if (back != 0)
        wi_permits_give(g->permits, back);
}

void wi_permits_cut(wi_gate *gate)
{
    wi_permits *p = ((wi_permit_gate *)gate)->permits;
    wi_gate *first = gate;
    if (atomic_load(&p->first) == gate && atomic_compare_exchange_strong(&p->first, &first, NULL))
        wi_waiters_wake(&p->waiters, false);
}
