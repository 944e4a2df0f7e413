/* Stages that keep the contract, in shapes that the library may lack: endless, finite, ticking and
 * failing sources, a sink that works late, a stage that emits at the end. The rules must let them
 * pass. */
#include "tck.h"

enum { FEW = 10, TICK_NS = 30000, LATE_MAX = 8 };

static bool emit_one(weir_stage *stage)
{
    weir_item *item = weir_item_new(weir_stage_loop(stage), NULL, sizeof(uint64_t));
    if (item == NULL)
        return false;
    *(uint64_t *)weir_item_body(item) = 1;
    weir_emit(weir_stage_out(stage), item);
    return true;
}

/* ---- Sources ---- */

static void counts_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)credit;
    (void)state;
    while (weir_out_credit(out) > 0)
        if (!emit_one(stage))
            return; /* with the next demand */
}

static void few_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    uint64_t *made = state;
    (void)credit;
    while (*made < FEW && weir_out_credit(out) > 0 && emit_one(stage))
        ++*made;
    if (*made == FEW)
        weir_end(out);
}

static void fails_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    uint64_t *made = state;
    (void)credit;
    while (*made < FEW && weir_out_credit(out) > 0 && emit_one(stage))
        ++*made;
    if (*made == FEW)
        weir_end_error(out, WEIR_EIO);
}

typedef struct ticks {
    weir_timer timer;
    weir_stage *stage;
} ticks;

static void tick(weir_timer *timer, void *user)
{
    ticks *t = user;
    weir_out *out = weir_stage_out(t->stage);
    if (weir_out_is_over(out)) {
        weir_stage_release(t->stage);
        return;
    }
    if (weir_out_credit(out) > 0)
        (void)emit_one(t->stage); /* a tick that nobody wants is no tick */
    weir_timer_start(weir_stage_loop(t->stage), timer, TICK_NS, tick, t);
}

static weir_status ticks_open(weir_stage *stage, const void *config, void *state)
{
    ticks *t = state;
    (void)config;
    t->stage = stage;
    weir_stage_hold(stage);
    weir_timer_start(weir_stage_loop(stage), &t->timer, TICK_NS, tick, t);
    return WEIR_OK;
}

/* ---- A sink that acks later ---- */

typedef struct sinks_late {
    weir_timer timer;
    weir_stage *stage;
    weir_item *held[LATE_MAX];
    uint32_t n;
} sinks_late;

static void late_done(weir_timer *timer, void *user)
{
    sinks_late *l = user;
    (void)timer;
    weir_items_ack(l->held, l->n);
    l->n = 0;
    weir_request_to(weir_stage_in(l->stage), LATE_MAX);
    weir_stage_release(l->stage);
}

static weir_status late_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    ((sinks_late *)state)->stage = stage;
    return weir_request(weir_stage_in(stage), LATE_MAX);
}

static weir_status late_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    sinks_late *l = state;
    (void)in;
    l->held[l->n++] = item;
    if (!weir_timer_is_armed(&l->timer)) {
        weir_stage_hold(stage);
        weir_timer_start(weir_stage_loop(stage), &l->timer, TICK_NS, late_done, l);
    }
    return WEIR_OK;
}

static void late_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static void late_on_abort(weir_stage *stage, void *state)
{
    sinks_late *l = state;
    while (l->n > 0)
        weir_item_end(l->held[--l->n], WEIR_ABORTED, WEIR_ECANCELED);
    if (weir_timer_is_armed(&l->timer)) {
        weir_timer_stop(weir_stage_loop(stage), &l->timer);
        weir_stage_release(stage);
    }
}

/* ---- One more at the end ---- */

typedef struct adds {
    bool is_over, added;
    weir_status status;
} adds;

static void adds_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    adds *a = state;
    if (!a->is_over) {
        weir_request_to(weir_stage_in(stage), credit);
        return;
    }
    if (a->status == WEIR_OK && credit > 0 && !a->added)
        a->added = emit_one(stage);
    if (a->status != WEIR_OK || a->added)
        weir_end_error(out, a->status);
}

static void adds_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    *(adds *)state = (adds){ .is_over = true, .status = status };
    adds_on_demand(stage, weir_stage_out(stage), weir_out_credit(weir_stage_out(stage)), state);
}

/* ---- The list ---- */

#define SOURCE .inputs = WEIR_PORTS_NONE
#define SINK   .outputs = WEIR_PORTS_NONE
#define STAGE(name_, ...)                                                                 \
    static const weir_stage_type name_##_type = { .name = "right_" #name_, __VA_ARGS__ }; \
    static weir_stage_spec *name_(void)                                                   \
    {                                                                                     \
        return weir_stage_of(&name_##_type, NULL);                                        \
    }

STAGE(counts, SOURCE, .on_demand = counts_on_demand)
STAGE(few, SOURCE, .state_size = sizeof(uint64_t), .on_demand = few_on_demand)
STAGE(fails, SOURCE, .state_size = sizeof(uint64_t), .on_demand = fails_on_demand)
STAGE(ticking, SOURCE, .state_size = sizeof(ticks), .open = ticks_open)
STAGE(late, SINK, .state_size = sizeof(sinks_late), .open = late_open, .on_item = late_on_item,
      .on_demand = late_on_demand, .on_abort = late_on_abort)
STAGE(plus_one, .state_size = sizeof(adds), .on_demand = adds_on_demand, .on_end = adds_on_end)
STAGE(plain, .state_size = 0)

static const stage_row list[] = {
    { "right_plain", plain, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "right_counts", counts, 0, 1, STAGE_INVENTS },
    { "right_few", few, 0, 1, STAGE_INVENTS | STAGE_ENDS },
    { "right_fails", fails, 0, 1, STAGE_INVENTS | STAGE_ENDS },
    { "right_ticking", ticking, 0, 1, STAGE_INVENTS | STAGE_TIMED },
    { "right_late", late, 1, 0, STAGE_PASSES | STAGE_ORDERED | STAGE_TIMED },
    { "right_plus_one", plus_one, 1, 1, STAGE_PASSES | STAGE_ORDERED | STAGE_INVENTS },
};

const stage_row *tck_right_at(size_t index)
{
    return index < sizeof list / sizeof *list ? &list[index] : NULL;
}
