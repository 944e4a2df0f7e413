/* take: lets so many items pass, then ends both ways. */
#include <weir/stages.h>

typedef struct take_config {
    uint64_t n;
} take_config;

typedef struct take {
    uint64_t left;
} take;

static weir_status take_check(const void *config, const char **why)
{
    if (((const take_config *)config)->n > 0)
        return WEIR_OK;
    *why = "needs a number of at least 1";
    return WEIR_EINVAL;
}

static weir_status take_open(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    ((take *)state)->left = ((const take_config *)config)->n;
    return WEIR_OK;
}

static void take_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    uint64_t left = ((take *)state)->left;
    weir_request_to(weir_stage_in(stage), credit < left ? credit : left);
}

static weir_status take_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                 void *state)
{
    take *t = state;
    weir_emit_all(weir_stage_out(stage), items, n);
    t->left -= n;
    if (t->left == 0) {
        weir_cancel(in);
        weir_end(weir_stage_out(stage));
    }
    return WEIR_OK;
}

static const weir_stage_type take_type = {
    .name = "take",
    .at_once = 1,
    .config_size = sizeof(take_config),
    .state_size = sizeof(take),
    .check = take_check,
    .open = take_open,
    .on_demand = take_on_demand,
    .on_items = take_on_items,
};

weir_stage_spec *weir_take(uint64_t n)
{
    return weir_stage_of(&take_type, &(take_config){ .n = n });
}
