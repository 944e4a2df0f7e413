/* What the kinds of broadcast share. */
#ifndef WI_BROADCAST_H
#define WI_BROADCAST_H

#include <weir/stages.h>

/* The kind that cancels legs which lag behind. */
extern const weir_stage_type wi_broadcast_lag_type;

/* The least credit of the open legs, or the greatest. */
uint64_t wi_credit_of_legs(weir_stage *stage, bool greatest);

/* Adds `n` holds to `item`; on an error it takes the item. Not by weir_fail: a retry would bring it
 * back when there may be no credit. */
static inline bool wi_hold_for_legs(weir_item *item, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        weir_status status = weir_item_hold(item);
        if (status == WEIR_OK)
            continue;
        for (uint32_t held = 0; held <= i; held++)
            weir_item_end(item, WEIR_FAILED, status);
        return false;
    }
    return true;
}

#endif
