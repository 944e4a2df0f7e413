/* One item and all that is made of it, however many: what stages that derive items share.
 *
 * An item is held at most 255 times. So its first children hang on it directly, and the others on
 * joints, empty items that hold it once for many. */
#ifndef WI_FAMILY_H
#define WI_FAMILY_H

#include <weir/stage.h>

typedef struct wi_family {
    weir_item *item; /* the parent, or NULL */
    weir_item *joint;
    uint32_t direct, of_joint; /* children */
    uint64_t made;
} wi_family;

/* Takes `item` as the parent. */
void wi_family_begin(wi_family *family, weir_item *item);
/* Makes `children`, 1..64, the parent's. On an error none is, and all stay the caller's. */
weir_status wi_family_adopt(wi_family *family, weir_loop *loop, weir_item **children, size_t n);
/* No more children. Gives the parent, to be ended; NULL if there is none. */
weir_item *wi_family_leave(wi_family *family);

#endif
