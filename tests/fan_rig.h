/* The bench for stages of several inputs or outputs: three probes on one side, one on the other. */
#ifndef FAN_RIG_H
#define FAN_RIG_H

#include "stages_rig.h"

enum { LEGS = 3 };

typedef struct fan {
    rig r;
    weir_probe *legs[LEGS]; /* sinks of a fan-out, sources of a fan-in */
    weir_node *node;
} fan;

static inline fan fan_out_of(weir_stage_spec *stage)
{
    fan f = { .r = rig_new(1) };
    weir_node *from = weir_add(f.r.pipeline, weir_probe_source(f.r.from));
    f.node = weir_add(f.r.pipeline, stage);
    weir_link(from, 0, f.node, 0, NULL);
    for (uint32_t i = 0; i < LEGS; i++) {
        f.legs[i] = weir_testkit_probe(f.r.kit);
        weir_link(f.node, i, weir_add(f.r.pipeline, weir_probe_sink(f.legs[i])), 0, NULL);
    }
    return f;
}

static inline fan fan_out(weir_stage_spec *stage)
{
    fan f = fan_out_of(stage);
    rig_start(&f.r);
    return f;
}

static inline fan fan_in_of(weir_stage_spec *stage)
{
    fan f = { .r = rig_new(1) };
    f.node = weir_add(f.r.pipeline, stage);
    for (uint32_t i = 0; i < LEGS; i++) {
        f.legs[i] = weir_testkit_probe(f.r.kit);
        weir_link(weir_add(f.r.pipeline, weir_probe_source(f.legs[i])), 0, f.node, i, NULL);
    }
    weir_link(f.node, 0, weir_add(f.r.pipeline, weir_probe_sink(f.r.to)), 0, NULL);
    return f;
}

static inline fan fan_in(weir_stage_spec *stage)
{
    fan f = fan_in_of(stage);
    rig_start(&f.r);
    return f;
}

static inline void leg_request(fan *f, uint32_t leg, uint64_t n)
{
    weir_probe_request(f->legs[leg], n);
    assert_true(weir_testkit_settle(f->r.kit));
}

static inline void leg_cancel(fan *f, uint32_t leg)
{
    weir_probe_cancel(f->legs[leg]);
    assert_true(weir_testkit_settle(f->r.kit));
}

static inline void leg_feed(fan *f, uint32_t leg, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        assert_true(weir_probe_feed(f->legs[leg], first + i));
    assert_true(weir_testkit_settle(f->r.kit));
}

static inline void fan_done(fan *f)
{
    for (uint32_t i = 0; i < LEGS; i++) {
        assert_int_equal(weir_probe_violations(f->legs[i]), 0);
        assert_int_equal(weir_probe_live(f->legs[i]), 0);
    }
    rig_done(&f->r);
}

static inline void fan_out_finish(fan *f)
{
    weir_probe_end(f->r.from);
    for (uint32_t i = 0; i < LEGS; i++)
        leg_request(f, i, WEIR_UNBOUNDED);
    fan_done(f);
}

static inline void fan_in_finish(fan *f)
{
    for (uint32_t i = 0; i < LEGS; i++)
        weir_probe_end(f->legs[i]);
    rig_request(&f->r, WEIR_UNBOUNDED);
    fan_done(f);
}

static inline void fan_abort_and_done(fan *f)
{
    rig_abort(&f->r);
    fan_done(f);
}

#endif
