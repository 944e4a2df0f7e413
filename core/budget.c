/* The retry budget of a node: how many retries its traffic can bear, whatever fails. */
#include "wi_core.h"

#include <string.h>

/* Finagle's RetryBudget (https://twitter.github.io/finagle/docs/com/twitter/finagle/service/
 * RetryBudget$.html): a share of the items of the last seconds, and a floor for those with little
 * traffic. Items are not deposited one by one, which would cost each of them something: they are
 * counted anyway, and looked at when one asks for a retry; what came since the last look is spread
 * evenly over the time since. */
static uint64_t items_of(const weir_stage *stage)
{
    const weir_pipeline *p = stage->part->pipeline;
    uint64_t sum = 0;
    for (uint32_t r = 0; r < p->n_replicas; r++)
        sum += wi_read(&p->stages[r * p->n_nodes + stage->node->index].stats.items_in);
    return sum;
}

static wi_budget_slot *slot_at(wi_budget *b, uint64_t number)
{
    wi_budget_slot *slot = &b->slots[number % WI_BUDGET_SLOTS];
    if (slot->number != number)
        *slot = (wi_budget_slot){ .number = number };
    return slot;
}

static void look(wi_budget *b, uint64_t number, uint64_t items)
{
    uint64_t came = items > b->items ? items - b->items : 0, over = number - b->number + 1;
    uint64_t n = over < WI_BUDGET_SLOTS ? over : WI_BUDGET_SLOTS;
    uint64_t lately = came / over * n + came % over * n / over, each = lately / n;
    for (uint64_t i = number - n + 1; i < number; i++)
        slot_at(b, i)->items += each;
    slot_at(b, number)->items += lately - each * (n - 1);
    b->items += came;
    b->number = number;
}

static void sum_of(const wi_budget *b, uint64_t *items, uint64_t *retries)
{
    for (int i = 0; i < WI_BUDGET_SLOTS; i++) {
        if (b->slots[i].number + WI_BUDGET_SLOTS <= b->number)
            continue;
        *items += b->slots[i].items;
        *retries += b->slots[i].retries;
    }
}

static bool take(wi_budget *b, const weir_error_policy *policy)
{
    uint64_t items = 0, retries = 0;
    sum_of(b, &items, &retries);
    uint64_t floor = (uint64_t)policy->budget_per_second * policy->budget_ms / 1000;
    if (retries >= floor + items * policy->budget_percent / 100)
        return false;
    slot_at(b, b->number)->retries++;
    return true;
}

/* A policy with another budget_ms: slots are counted anew, and what they held is of the last one.
 */
static void rescale(wi_budget *b, uint64_t slot_ns)
{
    uint64_t items = 0, retries = 0;
    sum_of(b, &items, &retries);
    b->number = b->number * b->slot_ns / slot_ns;
    b->slot_ns = slot_ns;
    memset(b->slots, 0, sizeof b->slots);
    *slot_at(b, b->number) = (wi_budget_slot){ b->number, items, retries };
}

bool wi_budget_take(weir_stage *stage)
{
    wi_budget *b = &((weir_node *)(uintptr_t)stage->node)->budget;
    const weir_error_policy *policy = &stage->policy;
    uint64_t slot_ns = policy->budget_ms * WEIR_MS / WI_BUDGET_SLOTS;
    if (policy->budget_percent == UINT32_MAX)
        return true;
    while (__atomic_exchange_n(&b->lock, 1, __ATOMIC_ACQUIRE) != 0)
        ; /* held for a few hundred instructions */
    uint64_t number = stage->loop->now / slot_ns;
    if (b->slot_ns == 0) {
        b->slot_ns = slot_ns;
        b->number = stage->part->pipeline->started_ns / slot_ns;
    }
    if (b->slot_ns != slot_ns)
        rescale(b, slot_ns);
    look(b, number > b->number ? number : b->number, items_of(stage));
    bool taken = take(b, policy);
    __atomic_store_n(&b->lock, 0, __ATOMIC_RELEASE);
    return taken;
}
