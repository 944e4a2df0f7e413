/* One item and all that is made of it, however many: what stages that derive items share. */
#include "family.h"

enum { DIRECT_MAX = 64, JOINT_CHILDREN_MAX = 250 };

void wi_family_begin(wi_family *family, weir_item *item)
{
    *family = (wi_family){ .item = item };
}

static void drop_joint(wi_family *family)
{
    if (family->joint != NULL)
        weir_item_ack(family->joint);
    family->joint = NULL;
}

static weir_status new_joint(wi_family *family, weir_loop *loop)
{
    weir_item *joint = weir_item_new(loop, NULL, 0);
    if (joint == NULL)
        return WEIR_ENOMEM;
    weir_status status = weir_item_derive_all(&joint, 1, family->item);
    if (status != WEIR_OK) {
        weir_item_ack(joint);
        return status;
    }
    drop_joint(family);
    family->joint = joint;
    family->of_joint = 0;
    return WEIR_OK;
}

static weir_status adopt_by_joint(wi_family *family, weir_loop *loop, weir_item **children,
                                  uint32_t n)
{
    if (family->joint == NULL || family->of_joint + n > JOINT_CHILDREN_MAX) {
        weir_status status = new_joint(family, loop);
        if (status != WEIR_OK)
            return status;
    }
    weir_status status = weir_item_derive_all(children, n, family->joint);
    if (status == WEIR_OK)
        family->of_joint += n;
    return status;
}

weir_status wi_family_adopt(wi_family *family, weir_loop *loop, weir_item **children, size_t n)
{
    bool is_direct = family->direct + n <= DIRECT_MAX;
    weir_status status = is_direct ? weir_item_derive_all(children, n, family->item)
                                   : adopt_by_joint(family, loop, children, (uint32_t)n);
    if (status != WEIR_OK)
        return status;
    family->direct += is_direct ? (uint32_t)n : 0;
    family->made += n;
    return WEIR_OK;
}

weir_item *wi_family_leave(wi_family *family)
{
    weir_item *item = family->item;
    drop_joint(family);
    family->item = NULL;
    return item;
}
