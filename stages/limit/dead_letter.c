/* dead_letter: the end of dead-letter edges, where a user keeps what failed. */
#include <weir/stages.h>

#include "failure.h"

typedef struct dead_letter_config {
    weir_status (*keep)(const weir_item *item, const weir_failure *failure, void *user);
    void *user;
} dead_letter_config;

weir_failure wi_failure_of(const weir_item *item, const weir_in *in)
{
    return (weir_failure){ .status = (weir_status)item->status,
                           .tries = item->attempts + 1u,
                           .stage = weir_in_from(in) };
}

static weir_status dead_letter_check(const void *config, const char **why)
{
    if (((const dead_letter_config *)config)->keep != NULL)
        return WEIR_OK;
    *why = "needs a function";
    return WEIR_EINVAL;
}

static weir_status dead_letter_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
        weir_request_to(weir_stage_in_at(stage, i), WEIR_UNBOUNDED);
    return WEIR_OK;
}

static weir_status dead_letter_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)state;
    const dead_letter_config *config = weir_stage_config(stage);
    weir_failure failure = wi_failure_of(item, in);
    weir_status status = config->keep(item, &failure, config->user);
    if (status == WEIR_OK)
        weir_item_end(item, WEIR_DEAD_LETTERED, failure.status);
    else
        weir_fail(stage, item, status, "the dead letter could not be kept");
    return WEIR_OK;
}

static const weir_stage_type dead_letter_type = {
    .name = "dead_letter",
    .config_size = sizeof(dead_letter_config),
    .inputs = WEIR_PORTS_MANY,
    .outputs = WEIR_PORTS_NONE,
    .check = dead_letter_check,
    .open = dead_letter_open,
    .on_item = dead_letter_on_item,
};

weir_stage_spec *weir_dead_letter(weir_status (*keep)(const weir_item *item,
                                                      const weir_failure *failure, void *user),
                                  void *user)
{
    return weir_stage_of(&dead_letter_type, &(dead_letter_config){ keep, user });
}
