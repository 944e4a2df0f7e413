/* flat_map: makes any number of items of each, as many as are asked for at a time. */
#include <weir/stages.h>

#include "queue.h"

/* An item is held at most 255 times. So the first few children hang on it directly, and the rest on
 * joints, empty items that hold it once for many. */
enum { DIRECT_MAX = 64, JOINT_CHILDREN = 250 };

typedef struct flat_map_config {
    weir_status (*next)(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                        weir_item **ret_made);
    void *user;
} flat_map_config;

typedef struct flat_map {
    wi_queue waiting;
    weir_item *item;  /* being taken apart */
    weir_item *ready; /* made of it, one ahead of demand: only so is it known which is the last */
    weir_item *joint;
    uint32_t made; /* of `item` */
    uint32_t joint_children;
    bool is_over;
    weir_status status;
} flat_map;

static weir_status flat_map_check(const void *config, const char **why)
{
    if (((const flat_map_config *)config)->next != NULL)
        return WEIR_OK;
    *why = "needs a function";
    return WEIR_EINVAL;
}

static weir_status flat_map_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    return wi_queue_init(&((flat_map *)state)->waiting, weir_stage_env(stage), WEIR_FLAT_MAP_AHEAD);
}

static void drop_joint(flat_map *f)
{
    if (f->joint != NULL)
        weir_item_ack(f->joint);
    f->joint = NULL;
}

static void flat_map_abort(flat_map *f)
{
    drop_joint(f);
    if (f->ready != NULL)
        weir_item_end(f->ready, WEIR_ABORTED, WEIR_ECANCELED);
    if (f->item != NULL)
        weir_item_end(f->item, WEIR_ABORTED, WEIR_ECANCELED);
    f->ready = f->item = NULL;
    wi_queue_abort(&f->waiting);
}

static void flat_map_close(weir_stage *stage, void *state)
{
    flat_map_abort(state);
    wi_queue_done(&((flat_map *)state)->waiting, weir_stage_env(stage));
}

static weir_status new_joint(weir_loop *loop, flat_map *f)
{
    weir_item *joint = weir_item_new(loop, NULL, 0);
    if (joint == NULL)
        return WEIR_ENOMEM;
    weir_status status = weir_item_hold(f->item);
    if (status != WEIR_OK) {
        weir_item_ack(joint);
        return status;
    }
    weir_item_derive(joint, f->item);
    drop_joint(f);
    f->joint = joint;
    f->joint_children = 0;
    return WEIR_OK;
}

/* Makes `made` a child of the current item; on an error it is still the caller's. */
static weir_status adopt(weir_loop *loop, flat_map *f, weir_item *made)
{
    weir_item *parent = f->item;
    if (f->made >= WEIR_FLAT_MAP_MADE_MAX)
        return WEIR_ELIMIT;
    if (f->made >= DIRECT_MAX) {
        if (f->joint == NULL || f->joint_children == JOINT_CHILDREN) {
            weir_status status = new_joint(loop, f);
            if (status != WEIR_OK)
                return status;
        }
        f->joint_children++;
        parent = f->joint;
    }
    weir_status status = weir_item_hold(parent);
    if (status != WEIR_OK)
        return status;
    weir_item_derive(made, parent);
    f->made++;
    return WEIR_OK;
}

/* Makes the next item, or is through with the current one. */
static void make_one(weir_stage *stage, flat_map *f)
{
    const flat_map_config *config = weir_stage_config(stage);
    weir_loop *loop = weir_stage_loop(stage);
    weir_item *made = NULL;
    weir_status status = config->next(loop, f->item, f->made, config->user, &made);
    if (status == WEIR_OK && made != NULL)
        status = adopt(loop, f, made);
    if (status == WEIR_OK && made != NULL) {
        f->ready = made;
        return;
    }
    if (made != NULL)
        weir_item_end(made, WEIR_ABORTED, status);
    drop_joint(f);
    weir_item *item = f->item;
    f->item = NULL;
    if (status != WEIR_OK)
        weir_fail(stage, item, status, "cannot make the next item");
    else
        weir_item_end(item, f->made > 0 ? WEIR_ACKED : WEIR_FILTERED, WEIR_OK);
}

static void flat_map_run(weir_stage *stage, flat_map *f)
{
    weir_out *out = weir_stage_out(stage);
    for (;;) {
        if (f->ready != NULL) {
            if (!weir_out_fits(out, f->ready->cost))
                break;
            weir_emit(out, f->ready);
            f->ready = NULL;
        }
        if (f->item == NULL) {
            if (weir_out_credit(out) == 0 || f->waiting.n == 0)
                break;
            f->item = wi_queue_pop(&f->waiting);
            f->made = 0;
        }
        make_one(stage, f);
    }
    uint32_t held = f->waiting.n + (f->item != NULL || f->ready != NULL);
    if (f->is_over) {
        if (held == 0)
            wi_end_with(out, f->status);
        return;
    }
    uint64_t credit = weir_out_credit(out);
    uint64_t level = credit < WEIR_FLAT_MAP_AHEAD ? credit : WEIR_FLAT_MAP_AHEAD;
    weir_request_to(weir_stage_in(stage), weir_credit_sub(level, held));
}

static void flat_map_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    flat_map_run(stage, state);
}

static weir_status flat_map_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                     void *state)
{
    (void)in;
    flat_map *f = state;
    for (size_t i = 0; i < n; i++) {
        /* Only what a retry policy hands over again comes on top of what was asked for. */
        bool has_room = f->waiting.n < f->waiting.capacity ||
                        wi_queue_grow(&f->waiting, weir_stage_env(stage)) == WEIR_OK;
        if (has_room)
            wi_queue_push(&f->waiting, items[i]);
        else
            weir_fail(stage, items[i], WEIR_ENOMEM, "no room for an item that is tried again");
    }
    flat_map_run(stage, f);
    return WEIR_OK;
}

static void flat_map_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    flat_map *f = state;
    f->is_over = true;
    f->status = status;
    flat_map_run(stage, f);
}

static void flat_map_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    flat_map_abort(state);
    weir_cancel(weir_stage_in(stage));
}

static void flat_map_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    flat_map_abort(state);
}

static const weir_stage_type flat_map_type = {
    .name = "flat_map",
    .config_size = sizeof(flat_map_config),
    .state_size = sizeof(flat_map),
    .check = flat_map_check,
    .open = flat_map_open,
    .close = flat_map_close,
    .on_demand = flat_map_on_demand,
    .on_items = flat_map_on_items,
    .on_end = flat_map_on_end,
    .on_cancel = flat_map_on_cancel,
    .on_abort = flat_map_on_abort,
};

weir_stage_spec *weir_flat_map(weir_status (*next)(weir_loop *loop, const weir_item *item,
                                                   uint32_t index, void *user,
                                                   weir_item **ret_made),
                               void *user)
{
    return weir_stage_of(&flat_map_type, &(flat_map_config){ .next = next, .user = user });
}
