/* fallback: turns what failed into a substitute, which goes on with what did not. */
#include <weir/stages.h>

#include "failure.h"
#include "lines.h"

enum { NORMAL, FAILED, INPUTS };

typedef struct fallback_config {
    weir_status (*substitute)(weir_loop *loop, weir_item *item, const weir_failure *failure,
                              void *user, weir_item **ret_made);
    void *user;
} fallback_config;

static weir_status fallback_check(const void *config, const char **why)
{
    if (((const fallback_config *)config)->substitute != NULL)
        return WEIR_OK;
    *why = "needs a function";
    return WEIR_EINVAL;
}

/* The substitute of `item`, or NULL if it has none and is ended. */
static weir_item *substitute(weir_stage *stage, weir_in *in, weir_item *item)
{
    const fallback_config *config = weir_stage_config(stage);
    weir_loop *loop = weir_stage_loop(stage);
    weir_failure failure = wi_failure_of(item, in);
    weir_item *made = NULL;
    item = weir_item_forgive(item);
    weir_status status = weir_item_writable(loop, &item);
    if (status == WEIR_OK)
        status = config->substitute(loop, item, &failure, config->user, &made);
    if (status != WEIR_OK) {
        weir_fail(stage, item, failure.status != WEIR_OK ? failure.status : status,
                  "there is no substitute");
        return NULL;
    }
    if (made == NULL)
        return item;
    weir_item_derive(made, item);
    return made;
}

static weir_status fallback_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                     void *state)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (weir_in_index(in) == NORMAL || (items[i] = substitute(stage, in, items[i])) != NULL)
            items[kept++] = items[i];
    return wi_lines_on_items(stage, in, items, kept, state);
}

static void fallback_run(weir_stage *stage, void *state)
{
    wi_lines *lines = state;
    wi_lines_emit(lines, FAILED, weir_stage_out(stage));
    wi_lines_emit(lines, NORMAL, weir_stage_out(stage));
    if (!weir_finish(stage, lines->waiting))
        wi_lines_ask(lines, stage, wi_share_of_credit(stage));
}

static const weir_stage_type fallback_type = {
    .name = "fallback",
    .config_size = sizeof(fallback_config),
    .state_size = sizeof(wi_lines),
    .check = fallback_check,
    .open = wi_lines_open,
    .on_items = fallback_on_items,
    .run = fallback_run,
    WI_LINES_CALLBACKS,
    .inputs = INPUTS,
};

weir_stage_spec *weir_fallback(weir_status (*fn)(weir_loop *loop, weir_item *item,
                                                 const weir_failure *failure, void *user,
                                                 weir_item **ret_made),
                               void *user)
{
    return weir_stage_of(&fallback_type, &(fallback_config){ fn, user });
}
