/* Limits of a config: what 0 stands for, and what is refused. */
#include "core_rig.h"

#include <weir/async.h>

typedef struct figures {
    uint32_t tenths;
    uint32_t few;
    uint32_t count;
    uint64_t wait_us;
    uint32_t fixed;
} figures;

static const weir_config_limit limits[] = {
    WEIR_CONFIG_LIMIT(figures, tenths, 5, 1, 10),
    WEIR_CONFIG_LIMIT(figures, few, 0, 0, 1000),
    WEIR_CONFIG_LIMIT(figures, count, 64, 2, 65535),
    WEIR_CONFIG_LIMIT(figures, wait_us, 5000000000, 1, 86400000000),
};

/* What the stage saw; one stage a test. */
static figures seen;

static weir_status see_check(const void *config, const char **why)
{
    const figures *f = config;
    *why = "few is at most count";
    return f->few <= f->count ? WEIR_OK : WEIR_EINVAL;
}

static weir_status see_open(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    (void)state;
    seen = *(const figures *)config;
    return WEIR_OK;
}

static weir_status see_on_change(weir_stage *stage, const void *config, void *state)
{
    return see_open(stage, config, state);
}

static weir_status see_merge(void *config, const void *change, const char **why)
{
    const figures *new_ = change;
    figures *f = config;
    *why = "fixed and tenths cannot change";
    if (new_->fixed != f->fixed || new_->tenths != f->tenths)
        return WEIR_EINVAL;
    *f = *new_;
    return WEIR_OK;
}

static const weir_stage_type see_type = { .name = "see",
                                          .config_size = sizeof(figures),
                                          .limits = limits,
                                          .limit_count = 4,
                                          .check = see_check,
                                          .open = see_open,
                                          .merge_change = see_merge,
                                          .on_change = see_on_change };

static void see_start(weir_op *op, void *state)
{
    (void)state;
    weir_op_done(op, WEIR_OK, NULL);
}

static const weir_async_type see_async_type = { .name = "see_async",
                                                .config_size = sizeof(figures),
                                                .limits = limits,
                                                .limit_count = 4,
                                                .check = see_check,
                                                .open = see_open,
                                                .start = see_start };

static void assert_says(weir_stage_spec *spec, const char *said)
{
    rig r = rig_new();
    rig_chain(&r, spec);
    assert_int_equal(weir_pipeline_check(r.p), WEIR_EINVAL);
    if (strncmp(weir_pipeline_why(r.p), said, strlen(said)) != 0)
        fail_msg("\"%s\" is not \"%s\"", weir_pipeline_why(r.p), said);
    weir_pipeline_free(r.p);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

static rig rig_of(weir_stage_spec *spec)
{
    rig r = rig_new();
    seen = (figures){ 0 };
    rig_chain(&r, spec);
    rig_start(&r);
    rig_settle(&r);
    return r;
}

static void assert_filled(weir_stage_spec *spec)
{
    rig r = rig_of(spec);
    assert_int_equal(seen.tenths, 5);
    assert_int_equal(seen.few, 0);
    assert_int_equal(seen.count, 64);
    assert_int_equal(seen.wait_us, 5000000000);
    weir_probe_cancel(r.to);
    rig_done(&r);
}

static void what_is_0_has_its_default_when_the_stage_sees_it(void **unused)
{
    (void)unused;
    assert_filled(weir_stage_of(&see_type, NULL));
    assert_filled(weir_async_of(&see_async_type, NULL, &(figures){ .fixed = 7 }));
    assert_int_equal(seen.fixed, 7);
}

static void a_figure_beyond_its_limits_is_refused_with_both_and_itself(void **unused)
{
    (void)unused;
    assert_says(weir_stage_of(&see_type, &(figures){ .tenths = 11 }),
                "see: tenths is 1 to 10, not 11");
    assert_says(weir_stage_of(&see_type, &(figures){ .few = 1001 }),
                "see: few is 0 to 1000, not 1001");
    assert_says(weir_stage_of(&see_type, &(figures){ .count = 1 }),
                "see: count is 2 to 65535, not 1");
    assert_says(weir_stage_of(&see_type, &(figures){ .wait_us = UINT64_MAX }),
                "see: wait_us is 1 to 86400000000, not 18446744073709551615");
    assert_says(weir_async_of(&see_async_type, NULL, &(figures){ .count = 65536 }),
                "see_async: count is 2 to 65535, not 65536");
}

static void what_figures_are_to_each_other_is_checked_behind_their_limits(void **unused)
{
    (void)unused;
    assert_says(weir_stage_of(&see_type, &(figures){ .few = 65 }), "see: few is at most count");
    assert_says(weir_stage_of(&see_type, &(figures){ .few = 65, .count = 70000 }),
                "see: count is 2 to 65535, not 70000");
}

static void a_change_has_its_defaults_and_is_held_to_the_limits(void **unused)
{
    (void)unused;
    rig r = rig_of(weir_stage_of(&see_type, &(figures){ .count = 9 }));
    const char *why = NULL;
    figures change = { .few = 3 }; /* its tenths are those of the stage: the default */
    assert_int_equal(seen.count, 9);
    assert_int_equal(weir_pipeline_change(r.p, "see", &change, sizeof change, NULL, &why), WEIR_OK);
    rig_settle(&r);
    assert_int_equal(seen.few, 3);
    assert_int_equal(seen.count, 64);
    change.count = 65536;
    assert_int_equal(weir_pipeline_change(r.p, "see", &change, sizeof change, NULL, &why),
                     WEIR_EINVAL);
    assert_string_equal(why, "count is 2 to 65535");
    change = (figures){ .tenths = 6 };
    assert_int_equal(weir_pipeline_change(r.p, "see", &change, sizeof change, NULL, &why),
                     WEIR_EINVAL);
    assert_string_equal(why, "fixed and tenths cannot change");
    weir_probe_cancel(r.to);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_0_has_its_default_when_the_stage_sees_it),
        cmocka_unit_test(a_figure_beyond_its_limits_is_refused_with_both_and_itself),
        cmocka_unit_test(what_figures_are_to_each_other_is_checked_behind_their_limits),
        cmocka_unit_test(a_change_has_its_defaults_and_is_held_to_the_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
