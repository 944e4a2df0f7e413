/* The bench that stages are tested on: probe, stage, probe, on one virtual loop. */
#ifndef STAGES_RIG_H
#define STAGES_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <weir/stages.h>
#include <weir/testkit.h>

#include "failing.h"

typedef struct rig {
    weir_testkit *kit;
    weir_probe *from, *to;
    weir_pipeline *pipeline;
    weir_node *node; /* of the stage, before the start */
} rig;

static inline rig rig_new(uint32_t loops)
{
    rig r = { .kit = weir_testkit_new(loops, 7) };
    assert_non_null(r.kit);
    r.from = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    r.pipeline = weir_testkit_pipeline(r.kit);
    assert_non_null(r.pipeline);
    return r;
}

static inline void rig_start(rig *r)
{
    weir_status status = weir_testkit_start(r->kit, r->pipeline);
    if (status != WEIR_OK)
        fail_msg("start: %s", weir_pipeline_why(r->pipeline));
}

/* Wires probe, stage, probe; not started yet. */
static inline rig rig_of(weir_stage_spec *stage)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    r.node = weir_via(r.pipeline, stage);
    weir_into(r.pipeline, weir_probe_sink(r.to));
    return r;
}

static inline rig rig_with(weir_stage_spec *stage)
{
    rig r = rig_of(stage);
    rig_start(&r);
    return r;
}

static inline void rig_feed(rig *r, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        assert_true(weir_probe_feed(r->from, first + i));
    assert_true(weir_testkit_settle(r->kit));
}

static inline void rig_request(rig *r, uint64_t n)
{
    weir_probe_request(r->to, n);
    assert_true(weir_testkit_settle(r->kit));
}

static inline void rig_end(rig *r)
{
    weir_probe_end(r->from);
    assert_true(weir_testkit_settle(r->kit));
}

static inline void rig_cancel(rig *r)
{
    weir_probe_cancel(r->to);
    assert_true(weir_testkit_settle(r->kit));
}

static inline void rig_abort(rig *r)
{
    weir_pipeline_shutdown(r->pipeline, WEIR_ABORT, 0);
    assert_true(weir_testkit_settle(r->kit));
}

/* The pipeline is over, every item ended once, nothing leaked, no rule was broken. */
static inline void rig_done(rig *r)
{
    assert_true(weir_testkit_settle(r->kit));
    assert_true(weir_pipeline_is_finished(r->pipeline));
    assert_int_equal(weir_probe_live(r->from), 0);
    assert_int_equal(weir_probe_violations(r->from), 0);
    assert_int_equal(weir_probe_violations(r->to), 0);
    if (weir_testkit_violations(r->kit) != 0)
        fail_msg("%s", weir_testkit_why(r->kit));
    for (uint32_t i = 0; i < weir_pipeline_stages(r->pipeline); i++) {
        weir_stage_stats stats;
        assert_int_equal(weir_pipeline_stage_stats(r->pipeline, i, &stats), WEIR_OK);
        assert_int_equal(stats.over_emitted, 0);
    }
    weir_pipeline_free(r->pipeline);
    assert_int_equal(weir_testkit_free(r->kit), 0);
}

/* Ends the source, asks for all, and sees that all is over. */
static inline void rig_finish(rig *r)
{
    weir_probe_end(r->from);
    rig_request(r, WEIR_UNBOUNDED);
    rig_done(r);
}

static inline void rig_abort_and_done(rig *r)
{
    rig_abort(r);
    rig_done(r);
}

/* The sink got exactly these. */
#define assert_got(rig_, ...)                                                  \
    do {                                                                       \
        const uint64_t expected_[] = { __VA_ARGS__ };                          \
        size_t n_ = sizeof expected_ / sizeof *expected_;                      \
        assert_int_equal(weir_probe_received((rig_)->to), n_);                 \
        for (size_t i_ = 0; i_ < n_; i_++)                                     \
            assert_int_equal(weir_probe_value((rig_)->to, i_), expected_[i_]); \
    } while (0)

static inline void assert_outcome(rig *r, uint64_t index, weir_outcome outcome, weir_status status)
{
    weir_outcome was;
    weir_status with;
    assert_true(weir_probe_outcome(r->from, index, &was, &with));
    assert_int_equal(was, outcome);
    assert_int_equal(with, status);
}

#define assert_received(rig_, n) assert_int_equal(weir_probe_received((rig_)->to), (n))
#define assert_demand(rig_, n)   assert_int_equal(weir_probe_demand((rig_)->from), (n))
#define assert_ended(rig_, outcome_, n_) \
    assert_int_equal(weir_probe_ended((rig_)->from, (outcome_)), (n_))

static inline uint64_t value_of(const weir_item *item)
{
    return *(const uint64_t *)weir_item_body(item);
}

/* The figures of stage `index`, in the order in which the nodes were added. */
static inline weir_stage_stats rig_stats(const rig *r, uint32_t index)
{
    weir_stage_stats stats;
    assert_int_equal(weir_pipeline_stage_stats(r->pipeline, index, &stats), WEIR_OK);
    return stats;
}

#endif
