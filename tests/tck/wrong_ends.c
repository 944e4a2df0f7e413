/* Sources, sinks and copiers that each break one rule. */
#include "tck.h"

static weir_item *one(weir_stage *stage)
{
    weir_item *item = weir_item_new(weir_stage_loop(stage), NULL, sizeof(uint64_t));
    if (item != NULL)
        *(uint64_t *)weir_item_body(item) = 1;
    return item;
}

/* ---- Sources ---- */

static void on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)state;
    while (credit-- > 0)
        weir_emit(out, one(stage));
}

static void one_too_many(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    on_demand(stage, out, credit + 1, state);
}

static void does_not_drain(weir_stage *stage, void *state)
{
    (void)stage;
    (void)state;
}

static weir_status holds_for_ever(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    weir_stage_hold(stage);
    return WEIR_OK;
}

/* Keeps a spare item, and forgets it when it is cancelled. */
static void keeps_a_spare(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    weir_item **spare = state;
    if (*spare == NULL)
        *spare = one(stage);
    on_demand(stage, out, credit, NULL);
}

/* ---- Sinks ---- */

static weir_status asks(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    return weir_request(weir_stage_in(stage), WEIR_UNBOUNDED);
}

static weir_status asks_once(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    return weir_request(weir_stage_in(stage), 2);
}

static void asks_no_more(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static weir_status acks(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)stage;
    (void)in;
    (void)state;
    weir_item_ack(item);
    return WEIR_OK;
}

static weir_status loses(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    if (++*(uint64_t *)state % 4 != 0)
        weir_item_ack(item);
    (void)stage;
    (void)in;
    return WEIR_OK;
}

#ifndef NDEBUG
static weir_status acks_twice(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)stage;
    (void)in;
    (void)state;
    if (weir_item_hold(item) == WEIR_OK)
        weir_item_ack(item);
    weir_item_ack(item);
    weir_item_ack(item);
    return WEIR_OK;
}
#endif

static void fails_at_the_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    (void)status;
    (void)state;
    weir_stage_fail(stage, WEIR_EINTERNAL, "cannot stand an end");
}

/* Goes on by a hold of its own after the input is over. */
static void holds_at_the_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    (void)status;
    (void)state;
    weir_stage_hold(stage);
}

/* ---- Copiers ---- */

/* Paced by the slower of two legs, yet the second gets but half. */
static void slower_of_two(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    (void)state;
    uint64_t first = weir_out_credit(weir_stage_out_at(stage, 0));
    uint64_t second = weir_out_credit(weir_stage_out_at(stage, 1));
    weir_request_to(weir_stage_in(stage), first < second ? first : second);
}

static weir_status copies_half(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    if (++*(uint64_t *)state % 2 == 0 && weir_item_hold(item) == WEIR_OK)
        weir_emit(weir_stage_out_at(stage, 1), item);
    weir_emit(weir_stage_out_at(stage, 0), item);
    return WEIR_OK;
}

#define STAGE(name_, ...)                                                        \
    static const weir_stage_type name_##_type = { .name = #name_, __VA_ARGS__ }; \
    static weir_stage_spec *name_(void)                                          \
    {                                                                            \
        return weir_stage_of(&name_##_type, NULL);                               \
    }
#define SOURCE .inputs = WEIR_PORTS_NONE
#define SINK   .outputs = WEIR_PORTS_NONE

STAGE(source_over, SOURCE, .on_demand = one_too_many)
STAGE(source_deaf, SOURCE, .on_demand = on_demand, .on_drain = does_not_drain)
STAGE(source_stays, SOURCE, .on_demand = on_demand, .open = holds_for_ever)
STAGE(source_spare, SOURCE, .on_demand = keeps_a_spare, .state_size = sizeof(weir_item *))
STAGE(sink_once, SINK, .open = asks_once, .on_demand = asks_no_more, .on_item = acks)
STAGE(sink_loses, SINK, .open = asks, .on_item = loses, .state_size = sizeof(uint64_t))
#ifndef NDEBUG
STAGE(sink_twice, SINK, .open = asks, .on_item = acks_twice)
#endif
STAGE(sink_fails, SINK, .open = asks, .on_item = acks, .on_end = fails_at_the_end)
STAGE(sink_stays, SINK, .open = asks, .on_item = acks, .on_end = holds_at_the_end)

STAGE(half, .outputs = 2, .state_size = sizeof(uint64_t), .on_demand = slower_of_two,
      .on_item = copies_half)

#define FROM(make_)                        \
    {                                      \
#make_, make_, 0, 1, STAGE_INVENTS \
    }
#define INTO(make_)                                       \
    {                                                     \
#make_, make_, 1, 0, STAGE_PASSES | STAGE_ORDERED \
    }

static const tck_wrong list[] = {
    { "emits one more than was asked for", "1.01", FROM(source_over), { 0 } },
    { "does not end when drained", "1.02", FROM(source_deaf), { 0 } },
    { "does not end when drained", "1.05", FROM(source_deaf), { 0 } },
    { "never closes", "1.06", FROM(source_stays), { 0 } },
    { "holds on to an item", "3.13", FROM(source_spare), { 0 } },
    { "never closes", "3.14", FROM(source_stays), { 0 } },
    { "leaves one out", "1.11", { "half", half, 1, 2, STAGE_COPIES | STAGE_ORDERED }, { 0 } },
    { "asks once only", "2.01", INTO(sink_once), { 0 } },
    { "never closes", "2.04", INTO(sink_stays), { 0 } },
    { "loses items", "2.08", INTO(sink_loses), { 0 } },
    { "never closes after an empty input", "2.09", INTO(sink_stays), { 0 } },
    { "loses items", "2.11", INTO(sink_loses), { 0 } },
#ifndef NDEBUG /* a release build lets it pass */
    { "acks an item twice", "2.13", INTO(sink_twice), { 0 } },
#endif
    { "fails in a callback", "2.13", INTO(sink_fails), { 0 } },
};

const tck_wrong *tck_wrong_end_at(size_t index)
{
    return index < sizeof list / sizeof *list ? &list[index] : NULL;
}
