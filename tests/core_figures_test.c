/* Figures that stages publish of their own, in a pipeline's metrics. */
#include "core_rig.h"

#include <weir/stages.h>

typedef struct lamp_config {
    uint64_t lit;
} lamp_config;

static weir_status lamp_share(const void *config, const weir_env *env, uint32_t replicas,
                              void **ret_shared, const char **why)
{
    lamp_config *shared = weir_memory_new(env, sizeof *shared);
    (void)replicas;
    (void)why;
    if (shared == NULL)
        return WEIR_ENOMEM;
    *shared = *(const lamp_config *)config;
    *ret_shared = shared;
    return WEIR_OK;
}

/* Of the kit: unshare is not told it. */
static const weir_env *lamp_env;

static void lamp_unshare(void *shared)
{
    weir_memory_free(lamp_env, shared);
}

enum { LIT, GLOWING, WARM_UP };

static bool lamp_figure(const void *shared, size_t family, size_t index, weir_figure *ret_figure)
{
    static const uint64_t buckets[WEIR_DURATION_BUCKETS] = { [0] = 2, [3] = 1 };
    static const char *const colours[] = { "red", "a \"b\\\n" };
    const lamp_config *lamp = shared;
    if (index >= (family == LIT ? 2 : 1))
        return false;
    ret_figure->value = lamp->lit + index;
    ret_figure->labels[0] = family == LIT ? "colour" : NULL;
    ret_figure->values[0] = colours[index];
    ret_figure->sum_ns = 1500000000;
    ret_figure->buckets = buckets;
    return true;
}

static const weir_figure_family lamp_families[] = {
    [LIT] = { "lamp_lit", "How often.", WEIR_FIGURE_COUNTER },
    [GLOWING] = { "lamp_glowing", "Now.", WEIR_FIGURE_GAUGE },
    [WARM_UP] = { "lamp_warm_up_seconds", "How long.", WEIR_FIGURE_DURATIONS },
};

static const weir_stage_type lamp_type = { .name = "lamp",
                                           .config_size = sizeof(lamp_config),
                                           .share = lamp_share,
                                           .unshare = lamp_unshare,
                                           .families = lamp_families,
                                           .family_count = 3,
                                           .figure = lamp_figure };

static weir_stage_spec *lamp(uint64_t lit)
{
    return weir_stage_of(&lamp_type, &(lamp_config){ lit });
}

static rig start(void)
{
    rig r = rig_new();
    lamp_env = weir_testkit_env(r.kit);
    weir_from(r.p, weir_probe_source(r.from));
    weir_via(r.p, lamp(5));
    weir_via(r.p, lamp(70));
    weir_into(r.p, weir_probe_sink(r.to));
    return r;
}

static void finish(rig *r)
{
    weir_pipeline_shutdown(r->p, WEIR_ABORT, 0);
    rig_done(r);
}

static const char *metrics(const rig *r, weir_metrics_format format)
{
    static char text[1 << 16];
    assert_true(weir_pipeline_metrics(r->p, format, text, sizeof text) < sizeof text);
    return text;
}

static void expect(const rig *r, const char *line)
{
    if (strstr(metrics(r, WEIR_OPENMETRICS), line) == NULL)
        fail_msg("not among the metrics: %s", line);
}

#define LAMP "{pipeline=\"weir\",stage=\"lamp\""

static void figures_of_a_stage_have_its_name_and_their_labels(void **unused)
{
    rig r = start();
    (void)unused;
    rig_start(&r);
    expect(&r, "# HELP lamp_lit How often.\n# TYPE lamp_lit counter\n");
    expect(&r, "lamp_lit_total" LAMP ",colour=\"red\"} 5\n");
    expect(&r, "lamp_lit_total" LAMP ",colour=\"a \\\"b\\\\ \"} 6\n");
    expect(&r, "# TYPE lamp_glowing gauge\nlamp_glowing" LAMP "} 5\n");
    finish(&r);
}

static void durations_are_a_histogram_in_seconds(void **unused)
{
    rig r = start();
    (void)unused;
    rig_start(&r);
    expect(&r, "# TYPE lamp_warm_up_seconds histogram\n# UNIT lamp_warm_up_seconds seconds\n");
    expect(&r, "lamp_warm_up_seconds_bucket" LAMP ",le=\"1.28e-07\"} 2\n");
    expect(&r, "lamp_warm_up_seconds_bucket" LAMP ",le=\"1.024e-06\"} 3\n");
    expect(&r, "lamp_warm_up_seconds_bucket" LAMP ",le=\"+Inf\"} 3\n");
    expect(&r, "lamp_warm_up_seconds_sum" LAMP "} 1.500000000\n");
    expect(&r, "lamp_warm_up_seconds_count" LAMP "} 3\n");
    finish(&r);
}

static void a_family_is_told_once_with_all_stages_of_its_type(void **unused)
{
    rig r = start();
    (void)unused;
    rig_start(&r);
    const char *text = metrics(&r, WEIR_PROMETHEUS_TEXT);
    const char *head = strstr(text, "# TYPE lamp_lit_total counter\n");
    assert_non_null(head);
    assert_null(strstr(head + 1, "# TYPE lamp_lit_total"));
    const char *first = strstr(head, "stage=\"lamp\""), *second = strstr(head, "stage=\"lamp_2\"");
    assert_true(first < second && second < strstr(head, "# HELP lamp_glowing"));
    finish(&r);
}

static void a_pipeline_that_does_not_run_has_families_without_figures(void **unused)
{
    rig r = start();
    (void)unused;
    expect(&r, "# TYPE lamp_lit counter\n");
    assert_null(strstr(metrics(&r, WEIR_OPENMETRICS), "lamp_lit_total"));
    rig_start(&r);
    finish(&r);
}

static void a_swap_brings_the_new_stages_figures(void **unused)
{
    rig r = start();
    const char *why = "";
    (void)unused;
    rig_start(&r);
    assert_int_equal(weir_pipeline_swap(r.p, "lamp", lamp(900), NULL, &why), WEIR_OK);
    rig_settle(&r);
    expect(&r, "lamp_glowing" LAMP "} 900\n");
    assert_int_equal(weir_pipeline_swap(r.p, "lamp", weir_take(1), NULL, &why), WEIR_OK);
    rig_settle(&r);
    assert_null(strstr(metrics(&r, WEIR_OPENMETRICS), LAMP ",colour"));
    expect(&r, "lamp_glowing{pipeline=\"weir\",stage=\"lamp_2\"} 70\n");
    finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_of_a_stage_have_its_name_and_their_labels),
        cmocka_unit_test(durations_are_a_histogram_in_seconds),
        cmocka_unit_test(a_family_is_told_once_with_all_stages_of_its_type),
        cmocka_unit_test(a_pipeline_that_does_not_run_has_families_without_figures),
        cmocka_unit_test(a_swap_brings_the_new_stages_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
