/* take_while: lets items pass up to the first that is not wanted, then ends both ways. */
#include <weir/stages.h>

typedef struct take_while_config {
    bool (*keep)(const weir_item *item, void *user);
    void *user;
    bool is_inclusive;
} take_while_config;

static weir_status take_while_check(const void *config, const char **why)
{
    *why = "needs a function";
    return ((const take_while_config *)config)->keep != NULL ? WEIR_OK : WEIR_EINVAL;
}

static weir_status take_while_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                       void *state)
{
    (void)state;
    const take_while_config *config = weir_stage_config(stage);
    weir_out *out = weir_stage_out(stage);
    size_t passed = 0;
    while (passed < n && config->keep(items[passed], config->user))
        passed++;
    size_t last = passed < n && config->is_inclusive ? passed + 1 : passed;
    weir_item *beyond = passed < n && !config->is_inclusive ? items[passed] : NULL;
    for (size_t i = passed + 1; i < n; i++) /* nobody looked at these */
        weir_item_end(items[i], WEIR_ABORTED, WEIR_ECANCELED);
    weir_emit_all(out, items, last);
    if (passed == n)
        return WEIR_OK;
    weir_cancel(in);
    weir_end(out);
    if (beyond != NULL)
        weir_drop(in, beyond);
    return WEIR_OK;
}

static const weir_stage_type take_while_type = {
    .name = "take_while",
    .config_size = sizeof(take_while_config),
    .check = take_while_check,
    .on_items = take_while_on_items,
};

weir_stage_spec *weir_take_while(bool (*keep)(const weir_item *item, void *user), void *user)
{
    return weir_stage_of(&take_while_type, &(take_while_config){ .keep = keep, .user = user });
}

weir_stage_spec *weir_take_while_inclusive(bool (*keep)(const weir_item *item, void *user),
                                           void *user)
{
    return weir_stage_of(&take_while_type,
                         &(take_while_config){ .keep = keep, .user = user, .is_inclusive = true });
}
