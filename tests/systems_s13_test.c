/* S13, the fatal item: an empty payload stops the whole pipeline, with its error, and nothing is
 * leaked. What the source hears: the fatal item failed, what was behind it was aborted. */
#include "stages_rig.h"

enum { ITEMS = 100, FATAL = 60, EMPTY = 0 };

/* The probe's value stands for the length of the payload. */
static weir_status refuse_empty(weir_item *item, void *user)
{
    (void)user;
    return value_of(item) == EMPTY ? WEIR_EINVAL : WEIR_OK;
}

static rig s13(uint32_t loops, weir_on_error on_error)
{
    rig r = rig_new(loops);
    weir_node *nodes[4];
    nodes[0] = weir_from(r.pipeline, weir_probe_source(r.from));
    nodes[1] = weir_via(r.pipeline, weir_buffer(&(weir_buffer_config){ .items_max = 16 }));
    nodes[2] = weir_via(r.pipeline, weir_stage_named(weir_map(refuse_empty, NULL), "validate"));
    nodes[3] = weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_node_policy(nodes[2], &(weir_error_policy){ .on_error = on_error });
    for (uint32_t i = 0; loops > 1 && i < 4; i++)
        weir_node_place(nodes[i], i % loops);
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    for (uint64_t i = 0; i < ITEMS; i++)
        assert_true(weir_probe_feed(r.from, i == FATAL ? EMPTY : 100 + i));
    assert_true(weir_testkit_settle(r.kit));
    return r;
}

static void an_empty_payload_stops_the_pipeline_with_its_error(void **unused)
{
    (void)unused;
    for (uint32_t loops = 1; loops <= 4; loops *= 2) {
        rig r = s13(loops, WEIR_ON_ERROR_STOP);
        assert_true(weir_pipeline_is_finished(r.pipeline));
        assert_int_equal(weir_pipeline_status(r.pipeline), WEIR_EINVAL);
        assert_non_null(strstr(weir_pipeline_why(r.pipeline), "validate"));
        assert_outcome(&r, FATAL, WEIR_FAILED, WEIR_EINVAL);
        rig_done(&r);
    }
}

static void all_items_end_and_those_before_the_fatal_one_are_not_lost(void **unused)
{
    (void)unused;
    rig r = s13(1, WEIR_ON_ERROR_STOP);
    uint64_t ended = 0;
    for (int outcome = WEIR_ACKED; outcome <= WEIR_FAILED; outcome++)
        ended += weir_probe_ended(r.from, (weir_outcome)outcome);
    assert_int_equal(ended, weir_probe_emitted(r.from));
    assert_ended(&r, WEIR_FAILED, 1);
    assert_int_equal(weir_probe_ended(r.from, WEIR_ACKED), weir_probe_received(r.to));
    rig_done(&r);
}

static void the_same_item_under_skip_stops_nothing(void **unused)
{
    (void)unused;
    rig r = s13(2, WEIR_ON_ERROR_SKIP);
    assert_received(&r, ITEMS - 1);
    assert_outcome(&r, FATAL, WEIR_FAILED, WEIR_EINVAL);
    assert_ended(&r, WEIR_ACKED, ITEMS - 1);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_payload_stops_the_pipeline_with_its_error),
        cmocka_unit_test(all_items_end_and_those_before_the_fatal_one_are_not_lost),
        cmocka_unit_test(the_same_item_under_skip_stops_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
