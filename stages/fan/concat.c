/* concat: the inputs one after the other, into one output. */
#include <weir/stages.h>

#include "queue.h"

enum { AHEAD_MAX = 64 };

typedef struct concat {
    wi_queue held; /* what the byte window of the output had no room for */
    uint32_t current;
} concat;

static weir_status concat_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    return wi_queue_init(&((concat *)state)->held, weir_stage_env(stage), AHEAD_MAX);
}

/* Goes on to the next input that is not over, and asks it for what the output lacks. */
static void concat_run(weir_stage *stage, void *state)
{
    concat *c = state;
    weir_out *out = weir_stage_out(stage);
    weir_in *in;
    weir_status status = WEIR_OK;
    wi_queue_emit(&c->held, out);
    while ((in = weir_stage_in_at(stage, c->current)) != NULL && status == WEIR_OK &&
           c->held.n == 0 && weir_in_is_over(in)) {
        status = weir_in_status(in);
        c->current++;
    }
    if (in == NULL || status != WEIR_OK) {
        wi_cancel_inputs(stage);
        weir_end_error(out, status);
        return;
    }
    uint64_t credit = weir_out_credit(out);
    weir_request_to(in, weir_credit_sub(credit < AHEAD_MAX ? credit : AHEAD_MAX, c->held.n));
}

static const weir_stage_type concat_type = {
    .name = "concat",
    .state_size = sizeof(concat),
    .inputs = WEIR_PORTS_MANY,
    .open = concat_open,
    .on_items = wi_queue_on_items,
    .run = concat_run,
    WI_QUEUE_CALLBACKS,
};

weir_stage_spec *weir_concat(void)
{
    return weir_stage_of(&concat_type, NULL);
}
