/* What the tests of core share: a kit with probes at both ends, and a detector of nested callbacks.
 */
#ifndef CORE_RIG_H
#define CORE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weir/testkit.h>

#include "failing.h"

typedef struct rig {
    weir_testkit *kit;
    weir_pipeline *p;
    weir_probe *from, *to;
} rig;

static inline rig rig_with(uint32_t loops, weir_pipeline_config config)
{
    rig r = { .kit = weir_testkit_new(loops, 7) };
    config.env = weir_testkit_env(r.kit);
    r.p = weir_pipeline_new(&config);
    r.from = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    return r;
}

static inline rig rig_new(void)
{
    return rig_with(1, (weir_pipeline_config){ 0 });
}

/* from -> middle (if there is one) -> to, started. Gives the middle's node. */
static inline weir_node *rig_chain(rig *r, weir_stage_spec *middle)
{
    weir_from(r->p, weir_probe_source(r->from));
    weir_node *node = middle != NULL ? weir_via(r->p, middle) : NULL;
    weir_into(r->p, weir_probe_sink(r->to));
    return node;
}

static inline void rig_start(rig *r)
{
    assert_int_equal(weir_testkit_start(r->kit, r->p), WEIR_OK);
}

static inline void rig_feed(rig *r, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        assert_true(weir_probe_feed(r->from, i));
}

static inline void rig_settle(rig *r)
{
    assert_true(weir_testkit_settle(r->kit));
}

/* All is over, every item has ended, nothing leaked, nobody broke the contract. */
static inline void rig_done(rig *r)
{
    rig_settle(r);
    assert_true(weir_pipeline_is_finished(r->p));
    assert_int_equal(weir_probe_live(r->from), 0);
    assert_int_equal(weir_probe_violations(r->from), 0);
    assert_int_equal(weir_probe_violations(r->to), 0);
    if (weir_testkit_violations(r->kit) != 0)
        fail_msg("%s", weir_testkit_why(r->kit));
    weir_pipeline_free(r->p);
    assert_int_equal(weir_testkit_free(r->kit), 0);
}

static inline weir_stage_stats rig_stats(const rig *r, uint32_t index)
{
    weir_stage_stats stats;
    assert_int_equal(weir_pipeline_stage_stats(r->p, index, &stats), WEIR_OK);
    return stats;
}

static inline void rig_assert_outcome(const rig *r, uint64_t index, weir_outcome expected,
                                      weir_status status)
{
    weir_outcome outcome;
    weir_status got;
    assert_true(weir_probe_outcome(r->from, index, &outcome, &got));
    assert_string_equal(weir_outcome_name(outcome), weir_outcome_name(expected));
    assert_int_equal(got, status);
}

/* An item of the test's own, for which there is memory. */
static inline weir_item *must(weir_item *item)
{
    test_in_hand();
    assert_non_null(item);
    return item;
}

#endif
