/* Items that wait to be joined: what batch and the windows share. */
#include "members.h"

#include <string.h>

weir_status wi_members_init(wi_members *members, const weir_env *env, uint32_t room,
                            bool is_stamped)
{
    size_t each = sizeof *members->items + (is_stamped ? sizeof *members->stamps : 0);
    weir_item **items = weir_memory_new(env, room * each);
    if (items == NULL)
        return WEIR_ENOMEM;
    *members = (wi_members){ .items = items, .room = room };
    members->stamps = is_stamped ? (uint64_t *)(void *)(items + room) : NULL;
    return WEIR_OK;
}

weir_status wi_members_reserve(wi_members *members, const weir_env *env, uint32_t room)
{
    const wi_members *m = members;
    wi_members larger;
    if (room <= m->room)
        return WEIR_OK;
    weir_status status = wi_members_init(&larger, env, room, m->stamps != NULL);
    if (status != WEIR_OK)
        return status;
    memcpy(larger.items, m->items + m->head, m->n * sizeof *m->items);
    if (m->stamps != NULL)
        memcpy(larger.stamps, m->stamps + m->head, m->n * sizeof *m->stamps);
    larger.n = m->n;
    weir_memory_free(env, m->items);
    *members = larger;
    return WEIR_OK;
}

void wi_members_abort(wi_members *members)
{
    for (; members->n > 0; members->n--)
        weir_item_end(members->items[members->head++], WEIR_ABORTED, WEIR_ECANCELED);
    members->head = 0;
}

void wi_members_done(wi_members *members, const weir_env *env)
{
    wi_members_abort(members);
    weir_memory_free(env, members->items);
}

void wi_members_close(weir_stage *stage, void *state)
{
    wi_members_done(state, weir_stage_env(stage));
}

void wi_members_add(weir_stage *stage, wi_members *members, weir_item **items, size_t n,
                    uint64_t stamp)
{
    wi_members *m = members;
    if (m->head + m->n + n > m->room) {
        memmove(m->items, m->items + m->head, m->n * sizeof *m->items);
        if (m->stamps != NULL)
            memmove(m->stamps, m->stamps + m->head, m->n * sizeof *m->stamps);
        m->head = 0;
    }
    for (; n > m->room - m->n; n--)
        weir_fail(stage, items[n - 1], WEIR_ELIMIT, "no room for an item that is tried again");
    uint32_t tail = m->head + m->n;
    memcpy(m->items + tail, items, n * sizeof *items);
    for (size_t i = 0; m->stamps != NULL && i < n; i++)
        m->stamps[tail + i] = stamp;
    m->n += (uint32_t)n;
}

/* One more hold of each, or of none. */
static weir_status hold_all(weir_item **items, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        weir_status status = weir_item_hold(items[i]);
        if (status == WEIR_OK)
            continue;
        while (i-- > 0)
            weir_item_ack(items[i]);
        return status;
    }
    return WEIR_OK;
}

void wi_members_emit(weir_stage *stage, wi_members *members, uint32_t n, uint32_t stay)
{
    weir_item **first = members->items + members->head, **staying = first + n - stay, *joined;
    weir_status status = stay > 0 ? hold_all(staying, stay) : WEIR_OK;
    if (status == WEIR_OK) {
        status = weir_items_join(weir_stage_loop(stage), first, n, &joined);
        for (uint32_t i = 0; status != WEIR_OK && i < stay; i++)
            weir_item_ack(staying[i]);
    }
    members->head += n - stay;
    members->n -= n - stay;
    if (status == WEIR_OK) {
        weir_emit(weir_stage_out(stage), joined);
        return;
    }
    for (uint32_t i = 0; i < n - stay; i++)
        weir_fail(stage, first[i], status, "cannot join the items");
}
