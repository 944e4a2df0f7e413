/* Building a graph: what is refused, in words that name the stage; and graphs that run. */
#include "core_rig.h"

#include <weir/stages.h>

static const weir_stage_type source_type = { .name = "source", .inputs = WEIR_PORTS_NONE };
static const weir_stage_type acked_type = { .name = "acked",
                                            .inputs = WEIR_PORTS_NONE,
                                            .acks = true };
static const weir_stage_type middle_type = { .name = "middle" };
static const weir_stage_type many_type = { .name = "many",
                                           .inputs = WEIR_PORTS_MANY,
                                           .outputs = WEIR_PORTS_MANY };
static const weir_stage_type lossy_type = { .name = "lossy", .lossy = true };
static const weir_stage_type sink_type = { .name = "sink", .outputs = WEIR_PORTS_NONE };

static weir_status refuse(const void *config, const char **why)
{
    (void)config;
    *why = "would not do";
    return WEIR_EDENIED;
}

static const weir_stage_type picky_type = { .name = "picky",
                                            .outputs = WEIR_PORTS_NONE,
                                            .check = refuse };

static weir_stage_spec *spec(const weir_stage_type *type)
{
    return weir_stage_of(type, NULL);
}

static void expect_refused(weir_pipeline *p, weir_status status, const char *who, const char *why)
{
    assert_int_equal(weir_pipeline_check(p), status);
    assert_int_equal(weir_pipeline_status(p), status);
    if (strncmp(weir_pipeline_why(p), who, strlen(who)) != 0 ||
        strstr(weir_pipeline_why(p), why) == NULL)
        fail_msg("\"%s\" names not \"%s\", or not \"%s\"", weir_pipeline_why(p), who, why);
    assert_int_equal(weir_run(p), status);
    weir_pipeline_free(p);
}

static void an_empty_pipeline_is_refused(void **state)
{
    (void)state;
    expect_refused(weir_pipeline_new(&(weir_pipeline_config){ .name = "nil" }), WEIR_EINVAL, "nil",
                   "no stages");
}

static void an_output_that_is_not_linked_is_refused(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_from(p, spec(&source_type));
    weir_via(p, spec(&middle_type));
    expect_refused(p, WEIR_EINVAL, "middle", "output is not linked");
}

static void an_input_that_is_not_linked_is_refused(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_from(p, spec(&source_type));
    weir_into(p, spec(&sink_type));
    (void)weir_add(p, spec(&sink_type));
    expect_refused(p, WEIR_EINVAL, "sink_2", "input is not linked");
}

static void a_gap_between_many_ports_is_refused(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_node *source = weir_add(p, spec(&source_type)), *many = weir_add(p, spec(&many_type));
    weir_node *sink = weir_add(p, spec(&sink_type));
    weir_link(source, 0, many, 0, NULL);
    weir_link(many, 1, sink, 0, NULL);
    expect_refused(p, WEIR_EINVAL, "many", "output is not linked");
}

static void a_pipeline_that_had_no_memory_may_be_wired(void **state)
{
    (void)state;
    weir_from(NULL, spec(&source_type));
    weir_node *node = weir_via(NULL, spec(&middle_type));
    weir_link(node, 0, weir_add(NULL, spec(&sink_type)), 0, NULL);
    weir_node_place(node, 1);
    weir_node_window(node, &(weir_edge_config){ .window = 1 });
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP });
    weir_node_dead_letter(node, node, 0);
    weir_node_best_effort(node);
    weir_into(NULL, spec(&sink_type));
    assert_int_equal(weir_pipeline_check(NULL), WEIR_ENOMEM);
    assert_int_equal(weir_run(NULL), WEIR_ENOMEM);
    assert_true(strlen(weir_pipeline_why(NULL)) > 0);
    weir_pipeline_free(NULL);
}

static void many_ports_none_of_which_is_linked_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        weir_pipeline *p = weir_pipeline_new(NULL);
        weir_node *many = weir_add(p, spec(&many_type));
        if (i == 0)
            weir_link(weir_add(p, spec(&source_type)), 0, many, 0, NULL);
        else
            weir_link(many, 0, weir_add(p, spec(&sink_type)), 0, NULL);
        expect_refused(p, WEIR_EINVAL, "many", "none of its");
    }
}

static weir_status as_many_as_it_says(const void *config, uint32_t inputs, uint32_t outputs,
                                      const char **why)
{
    *why = "other outputs than it says";
    return inputs == 1 && outputs == *(const uint32_t *)config ? WEIR_OK : WEIR_EINVAL;
}

static void a_stage_may_refuse_the_number_of_its_ports(void **state)
{
    (void)state;
    static const weir_stage_type counted = { .name = "counted",
                                             .config_size = sizeof(uint32_t),
                                             .outputs = WEIR_PORTS_MANY,
                                             .check_ports = as_many_as_it_says };
    for (uint32_t n = 0; n < 3; n++) {
        weir_pipeline *p = weir_pipeline_new(NULL);
        weir_node *node = weir_add(p, weir_stage_of(&counted, &n));
        weir_link(weir_add(p, spec(&source_type)), 0, node, 0, NULL);
        weir_link(node, 0, weir_add(p, spec(&sink_type)), 0, NULL);
        if (n == 1) {
            assert_int_equal(weir_pipeline_check(p), WEIR_OK);
            weir_pipeline_free(p);
        } else {
            expect_refused(p, WEIR_EINVAL, "counted", "than it says");
        }
    }
}

static void two_links_on_one_port_are_refused(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        weir_pipeline *p = weir_pipeline_new(NULL);
        weir_node *from[] = { weir_add(p, spec(&source_type)), weir_add(p, spec(&source_type)) };
        weir_node *to[] = { weir_add(p, spec(&sink_type)), weir_add(p, spec(&sink_type)) };
        weir_link(from[0], 0, to[0], 0, NULL);
        weir_link(from[i], 0, to[1 - i], 0, NULL);
        expect_refused(p, WEIR_EINVAL, i == 0 ? "source" : "sink", "two links");
    }
}

static void a_port_that_is_not_there_is_refused(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_node *source = weir_add(p, spec(&source_type)), *sink = weir_add(p, spec(&sink_type));
    weir_link(source, 0, sink, 1, NULL);
    expect_refused(p, WEIR_EINVAL, "sink", "no such input");
    p = weir_pipeline_new(NULL);
    source = weir_add(p, spec(&source_type));
    sink = weir_add(p, spec(&many_type));
    weir_link(source, 7, sink, 0, NULL);
    expect_refused(p, WEIR_EINVAL, "source", "no such output");
}

static void what_is_wired_after_a_check_is_checked_too(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, NULL);
    assert_int_equal(weir_pipeline_check(r.p), WEIR_OK);
    for (int i = 0; i < 40; i++)
        weir_add(r.p, weir_probe_source(weir_testkit_probe(r.kit)));
    expect_refused(r.p, WEIR_EINVAL, "probe_source_2", "not linked");
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

static void a_window_that_is_set_after_a_check_counts(void **state)
{
    (void)state;
    rig r = rig_new();
    weir_from(r.p, weir_probe_source(r.from));
    weir_node *to = weir_into(r.p, weir_probe_sink(r.to));
    assert_int_equal(weir_pipeline_check(r.p), WEIR_OK);
    weir_node_window(to, &(weir_edge_config){ .window = 3 });
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_settle(&r);
    assert_int_equal(weir_probe_demand(r.from), 3);
    weir_probe_cancel(r.to);
    rig_settle(&r);
    rig_done(&r);
}

static void a_cycle_is_refused_and_a_stage_on_it_named(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_node *source = weir_add(p, spec(&source_type));
    weir_node *many = weir_add(p, spec(&many_type)), *middle = weir_add(p, spec(&middle_type));
    weir_node *below = weir_add(p, weir_stage_named(spec(&middle_type), "below"));
    weir_link(source, 0, many, 0, NULL);
    weir_link(many, 0, middle, 0, NULL);
    weir_link(middle, 0, many, 1, NULL);
    weir_link(many, 1, below, 0, NULL);
    weir_link(below, 0, weir_add(p, spec(&sink_type)), 0, NULL);
    expect_refused(p, WEIR_EINVAL, "m", "cycle");
    p = weir_pipeline_new(NULL);
    middle = weir_add(p, spec(&middle_type));
    weir_link(middle, 0, middle, 0, NULL);
    expect_refused(p, WEIR_EINVAL, "middle", "cycle");
}

static void a_lossy_stage_on_an_acked_path_is_refused_unless_declared(void **state)
{
    (void)state;
    for (int declared = 0; declared < 2; declared++) {
        weir_pipeline *p = weir_pipeline_new(NULL);
        weir_from(p, spec(&acked_type));
        weir_via(p, spec(&middle_type));
        weir_node *lossy = weir_via(p, spec(&lossy_type));
        weir_into(p, spec(&sink_type));
        if (declared) {
            weir_node_best_effort(lossy);
            assert_int_equal(weir_pipeline_check(p), WEIR_OK);
            weir_pipeline_free(p);
        } else {
            expect_refused(p, WEIR_EINVAL, "lossy", "acknowledged");
        }
    }
}

static void a_window_that_is_too_large_is_refused(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_from(p, spec(&source_type));
    weir_node_window(weir_into(p, spec(&sink_type)), &(weir_edge_config){ .window = 1048577 });
    expect_refused(p, WEIR_ELIMIT, "sink", "window");
}

static void a_place_on_a_loop_that_is_not_there_is_refused(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
    weir_from(p, spec(&source_type));
    weir_node_place(weir_into(p, spec(&sink_type)), 2);
    assert_int_equal(weir_run(p), WEIR_EINVAL);
    assert_non_null(strstr(weir_pipeline_why(p), "sink"));
    weir_pipeline_free(p);
}

static void a_stage_may_refuse_its_configuration(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_from(p, spec(&source_type));
    weir_into(p, spec(&picky_type));
    expect_refused(p, WEIR_EDENIED, "picky", "would not do");
}

static void dead_letters_without_a_way_are_refused(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_from(p, spec(&source_type));
    weir_node_policy(weir_into(p, spec(&sink_type)),
                     &(weir_error_policy){ .on_error = WEIR_ON_ERROR_DEAD_LETTER });
    expect_refused(p, WEIR_EINVAL, "sink", "dead letters");
}

static void a_policy_that_retries_for_ever_is_refused(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_from(p, spec(&source_type));
    weir_node_policy(
        weir_into(p, spec(&sink_type)),
        &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY, .then = WEIR_ON_ERROR_RETRY });
    expect_refused(p, WEIR_EINVAL, "sink", "policy");
}

static void the_first_error_is_kept_and_the_rest_of_the_wiring_ignored(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .name = "p" });
    weir_via(p, spec(&middle_type));
    weir_into(p, NULL);
    weir_link(NULL, 0, NULL, 0, NULL);
    weir_node_place(NULL, 1);
    weir_node_policy(NULL, NULL);
    weir_node_window(NULL, NULL);
    weir_node_dead_letter(NULL, NULL, 0);
    weir_node_best_effort(NULL);
    expect_refused(p, WEIR_EINVAL, "middle", "nothing before it");
}

static void nodes_of_two_pipelines_are_not_linked(void **state)
{
    (void)state;
    weir_pipeline *p = weir_pipeline_new(NULL), *other = weir_pipeline_new(NULL);
    weir_link(weir_add(p, spec(&source_type)), 0, weir_add(other, spec(&sink_type)), 0, NULL);
    expect_refused(p, WEIR_EINVAL, "source", "another pipeline");
    weir_pipeline_free(other);
}

/* ---- Graphs ---- */

static weir_status add_one(weir_item *item, void *user)
{
    (void)user;
    ++*(uint64_t *)weir_item_body(item);
    return WEIR_OK;
}

/* from -> broadcast -> (map, pass) -> merge -> to, on one loop or with a branch on another. */
static void run_diamond(uint32_t loops, uint32_t branch)
{
    rig r = rig_with(loops, (weir_pipeline_config){ .window = 8 });
    weir_node *from = weir_add(r.p, weir_probe_source(r.from));
    weir_node *split = weir_add(r.p, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_node *map = weir_add(r.p, weir_map(add_one, NULL));
    weir_node *merge = weir_add(r.p, weir_merge());
    weir_node *to = weir_add(r.p, weir_probe_sink(r.to));
    weir_link(from, 0, split, 0, NULL);
    weir_link(split, 0, map, 0, NULL);
    weir_link(map, 0, merge, 0, NULL);
    weir_link(split, 1, merge, 1, NULL);
    weir_link(merge, 0, to, 0, NULL);
    weir_node_place(map, branch);
    rig_start(&r);
    weir_probe_request(r.to, 1000);
    rig_feed(&r, 300);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_int_equal(weir_pipeline_status(r.p), WEIR_OK);
    assert_int_equal(weir_probe_received(r.to), 600);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < 600; i++)
        sum += weir_probe_value(r.to, i);
    assert_int_equal(sum, 299 * 300 + 300);
    assert_int_equal(weir_probe_ended(r.from, WEIR_ACKED), 300);
    rig_done(&r);
}

static void a_diamond_conserves_its_items_on_one_loop_and_on_two(void **state)
{
    (void)state;
    run_diamond(1, 0);
    run_diamond(2, 0);
    run_diamond(2, 1);
    run_diamond(3, 2);
}

static void a_diamond_that_is_cut_below_ends_above(void **state)
{
    (void)state;
    for (int how = 0; how < 2; how++) {
        rig r = rig_new();
        weir_node *from = weir_add(r.p, weir_probe_source(r.from));
        weir_node *split = weir_add(r.p, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
        weir_node *merge = weir_add(r.p, weir_merge());
        weir_node *to = weir_add(r.p, weir_probe_sink(r.to));
        weir_link(from, 0, split, 0, NULL);
        weir_link(split, 0, merge, 0, NULL);
        weir_link(split, 1, merge, 1, NULL);
        weir_link(merge, 0, to, 0, NULL);
        rig_start(&r);
        weir_probe_request(r.to, 7);
        rig_feed(&r, 100);
        rig_settle(&r);
        if (how == 0)
            weir_probe_cancel(r.to);
        else
            weir_pipeline_shutdown(r.p, WEIR_ABORT, 0);
        rig_settle(&r);
        rig_done(&r);
    }
}

static void take_ends_its_source_early_and_conserves_the_rest(void **state)
{
    (void)state;
    for (uint32_t loops = 1; loops <= 2; loops++) {
        rig r = rig_with(loops, (weir_pipeline_config){ 0 });
        weir_from(r.p, weir_probe_source(r.from));
        weir_via(r.p, weir_map(add_one, NULL));
        weir_node_place(weir_via(r.p, weir_take(3)), loops - 1);
        weir_into(r.p, weir_probe_sink(r.to));
        rig_start(&r);
        weir_probe_request(r.to, 100);
        rig_feed(&r, 10);
        rig_settle(&r);
        assert_int_equal(weir_probe_received(r.to), 3);
        assert_true(weir_probe_is_over(r.to, NULL));
        assert_true(weir_probe_is_cancelled(r.from));
        rig_done(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_pipeline_is_refused),
        cmocka_unit_test(an_output_that_is_not_linked_is_refused),
        cmocka_unit_test(an_input_that_is_not_linked_is_refused),
        cmocka_unit_test(a_gap_between_many_ports_is_refused),
        cmocka_unit_test(a_pipeline_that_had_no_memory_may_be_wired),
        cmocka_unit_test(many_ports_none_of_which_is_linked_are_refused),
        cmocka_unit_test(a_stage_may_refuse_the_number_of_its_ports),
        cmocka_unit_test(two_links_on_one_port_are_refused),
        cmocka_unit_test(a_port_that_is_not_there_is_refused),
        cmocka_unit_test(what_is_wired_after_a_check_is_checked_too),
        cmocka_unit_test(a_window_that_is_set_after_a_check_counts),
        cmocka_unit_test(a_cycle_is_refused_and_a_stage_on_it_named),
        cmocka_unit_test(a_lossy_stage_on_an_acked_path_is_refused_unless_declared),
        cmocka_unit_test(a_window_that_is_too_large_is_refused),
        cmocka_unit_test(a_place_on_a_loop_that_is_not_there_is_refused),
        cmocka_unit_test(a_stage_may_refuse_its_configuration),
        cmocka_unit_test(dead_letters_without_a_way_are_refused),
        cmocka_unit_test(a_policy_that_retries_for_ever_is_refused),
        cmocka_unit_test(the_first_error_is_kept_and_the_rest_of_the_wiring_ignored),
        cmocka_unit_test(nodes_of_two_pipelines_are_not_linked),
        cmocka_unit_test(a_diamond_conserves_its_items_on_one_loop_and_on_two),
        cmocka_unit_test(a_diamond_that_is_cut_below_ends_above),
        cmocka_unit_test(take_ends_its_source_early_and_conserves_the_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
