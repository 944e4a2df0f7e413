/* Planted in broadcast: the legs but one go without a hold of their own, so that the item is acked
 * more often than it is held. */
#include <weir/stage.h>

extern unsigned weir_planted;

static inline weir_status planted_hold(weir_item *item)
{
    return weir_planted == 2 ? WEIR_OK : weir_item_hold(item);
}

#define weir_item_hold planted_hold
