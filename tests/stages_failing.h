/* Every allocation of a chain of stages fails in turn. */
#ifndef STAGES_FAILING_H
#define STAGES_FAILING_H

#include "stages_rig.h"

typedef weir_stage_spec *(*stage_maker)(void);

/* Gives whether the nth allocation came and failed. The first maker makes a source if `is_source`;
 * otherwise a probe feeds it, values 0 … 99 with keys 1 … 100. */
static inline bool chain_with_a_failure(const stage_maker *makers, bool is_source, uint64_t nth)
{
    rig r = { .kit = weir_testkit_new(1, nth) };
    r.from = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    uint64_t before = weir_testkit_allocations(r.kit);
    weir_testkit_fail_allocation(r.kit, nth);
    r.pipeline = weir_testkit_pipeline(r.kit);
    if (r.pipeline != NULL) {
        weir_from(r.pipeline, is_source ? (*makers++)() : weir_probe_source(r.from));
        for (; *makers != NULL; makers++) {
            weir_node *node = weir_via(r.pipeline, (*makers)());
            if (node != NULL)
                weir_node_best_effort(node);
        }
        weir_into(r.pipeline, weir_probe_sink(r.to));
        if (weir_testkit_start(r.kit, r.pipeline) == WEIR_OK) {
            for (uint64_t i = 0; i < 100 && !is_source; i++)
                (void)weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .key = i + 1 });
            for (int i = 0; i < 20; i++) {
                weir_probe_request(r.to, 10);
                assert_true(weir_testkit_advance(r.kit, WEIR_MS));
            }
            if (!is_source)
                weir_probe_end(r.from);
            rig_request(&r, 1000);
            if (!weir_pipeline_is_finished(r.pipeline))
                rig_abort(&r);
            assert_true(weir_pipeline_is_finished(r.pipeline));
        }
    }
    bool failed = weir_testkit_allocations(r.kit) - before >= nth;
    assert_int_equal(weir_probe_live(r.from), 0);
    assert_int_equal(weir_probe_violations(r.from) + weir_probe_violations(r.to), 0);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
    return failed;
}

static inline void fail_every_allocation(const stage_maker *makers, bool is_source)
{
    uint64_t nth = 1;
    while (chain_with_a_failure(makers, is_source, nth))
        nth++;
    assert_true(nth > 5);
}

/* The config of `stage` is refused, with a reason. */
static inline void assert_refused(weir_stage_spec *stage)
{
    rig r = rig_of(stage);
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    assert_true(strlen(weir_pipeline_why(r.pipeline)) > 10);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

#endif
