/* What becomes of failed items: each policy, retries in time and order, dead letters. */
#include "core_rig.h"

enum { VALUES_MAX = 4096 };

/* Fails what it is told to, and writes down what it was handed and when. */
typedef struct flaky {
    uint32_t fails[VALUES_MAX]; /* deliveries of that value that still fail */
    uint64_t handed[VALUES_MAX * 2], at[VALUES_MAX * 2], n;
    uint64_t fails_all;
} flaky;

typedef struct flaky_config {
    flaky *f;
} flaky_config;

static weir_status flaky_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    flaky *f = ((const flaky_config *)weir_stage_config(stage))->f;
    uint64_t value = *(uint64_t *)weir_item_body(item);
    (void)in;
    (void)state;
    if (f->n < VALUES_MAX * 2) {
        f->at[f->n] = weir_loop_now(weir_stage_loop(stage));
        f->handed[f->n++] = value;
    }
    if (f->fails_all || f->fails[value] > 0) {
        f->fails[value] -= f->fails_all == 0;
        weir_fail(stage, item, WEIR_EUNAVAILABLE, "flaky");
    } else if (weir_stage_outputs(stage) != 0) {
        weir_emit(weir_stage_out(stage), item);
    } else {
        weir_item_ack(item);
    }
    return WEIR_OK;
}

static size_t flaky_transform(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    flaky *f = ((const flaky_config *)weir_stage_config(stage))->f;
    size_t kept = 0;
    (void)state;
    for (size_t i = 0; i < n; i++) {
        uint64_t value = *(uint64_t *)weir_item_body(items[i]);
        if (f->n < VALUES_MAX * 2)
            f->handed[f->n++] = value;
        if (f->fails_all || f->fails[value] > 0) {
            f->fails[value] -= f->fails_all == 0;
            weir_fail(stage, items[i], WEIR_EUNAVAILABLE, "flaky");
        } else {
            items[kept++] = items[i];
        }
    }
    return kept;
}

static const weir_stage_type flaky_type = { .name = "flaky",
                                            .config_size = sizeof(flaky_config),
                                            .on_item = flaky_on_item };
static const weir_stage_type flaky_sink_type = { .name = "flaky",
                                                 .config_size = sizeof(flaky_config),
                                                 .outputs = WEIR_PORTS_NONE,
                                                 .on_item = flaky_on_item };
static const weir_stage_type flaky_pure_type = { .name = "flaky",
                                                 .config_size = sizeof(flaky_config),
                                                 .transform = flaky_transform };

static flaky *flaky_new(void)
{
    return calloc(1, sizeof(flaky));
}

static weir_stage_spec *flaky_spec(const weir_stage_type *type, flaky *f)
{
    return weir_stage_of(type, &(flaky_config){ f });
}

static const weir_stage_type *const both[] = { &flaky_type, &flaky_pure_type };

static void a_skipped_failure_ends_its_item_and_the_rest_goes_on(void **state)
{
    (void)state;
    const weir_on_error hows[] = { WEIR_ON_ERROR_SKIP, WEIR_ON_ERROR_DEFAULT };
    for (int i = 0; i < 4; i++) {
        rig r = rig_new();
        flaky *f = flaky_new();
        f->fails[1] = 1;
        weir_node_policy(rig_chain(&r, flaky_spec(both[i / 2], f)),
                         &(weir_error_policy){ .on_error = hows[i % 2] });
        rig_start(&r);
        rig_feed(&r, 3);
        weir_probe_request(r.to, 2);
        rig_settle(&r);
        assert_int_equal(weir_probe_received(r.to), 2); /* the failed one was refunded */
        weir_probe_end(r.from);
        rig_settle(&r);
        rig_assert_outcome(&r, 1, WEIR_FAILED, WEIR_EUNAVAILABLE);
        assert_int_equal(weir_pipeline_status(r.p), WEIR_OK);
        rig_done(&r);
        free(f);
    }
}

static void a_stop_policy_makes_the_first_failure_the_pipelines_error(void **state)
{
    (void)state;
    rig r = rig_new();
    flaky *f = flaky_new();
    f->fails[1] = 1;
    weir_node_policy(rig_chain(&r, flaky_spec(&flaky_type, f)),
                     &(weir_error_policy){ .on_error = WEIR_ON_ERROR_STOP });
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_feed(&r, 3);
    rig_settle(&r);
    assert_int_equal(weir_pipeline_status(r.p), WEIR_EUNAVAILABLE);
    assert_non_null(strstr(weir_pipeline_why(r.p), "flaky"));
    rig_done(&r);
    free(f);
}

static void a_retry_waits_longer_each_time_and_then_gives_up(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        rig r = rig_new();
        flaky *f = flaky_new();
        f->fails_all = 1;
        weir_node_policy(rig_chain(&r, flaky_spec(both[i], f)),
                         &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                               .then = WEIR_ON_ERROR_SKIP,
                                               .retries_max = 4,
                                               .backoff_ms = 100,
                                               .backoff_ms_max = 400 });
        rig_start(&r);
        weir_probe_request(r.to, 10);
        rig_feed(&r, 1);
        assert_true(weir_testkit_advance_by(r.kit, 2 * WEIR_SEC, WEIR_MS));
        assert_int_equal(f->n, 5);
        uint64_t least[] = { 50, 100, 200, 200 }, most[] = { 101, 201, 401, 401 };
        for (int k = 0; k < 4 && i == 0; k++)
            assert_in_range((f->at[k + 1] - f->at[k]) / WEIR_MS, least[k], most[k]);
        rig_assert_outcome(&r, 0, WEIR_FAILED, WEIR_EUNAVAILABLE);
        weir_stage_stats stats = rig_stats(&r, 1);
        assert_int_equal(stats.retried, 4);
        assert_int_equal(stats.failed, 5);
        weir_probe_end(r.from);
        rig_done(&r);
        free(f);
    }
}

static void feed_keys(rig *r, uint64_t n, uint64_t keys)
{
    for (uint64_t i = 0; i < n; i++)
        assert_true(weir_probe_feed_item(
            r->from, &(weir_probe_item){ .value = i, .key = keys != 0 ? 1 + i % keys : 0 }));
}

static void a_retry_holds_the_later_items_of_its_key_and_no_others(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        rig r = rig_new();
        flaky *f = flaky_new();
        f->fails[0] = 2;
        f->fails[4] = 1;
        weir_node_policy(rig_chain(&r, flaky_spec(both[i], f)),
                         &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY });
        rig_start(&r);
        weir_probe_request(r.to, 100);
        rig_settle(&r);
        feed_keys(&r, 20, 2); /* even values have key 1, odd ones key 2 */
        rig_settle(&r);
        assert_int_equal(weir_probe_received(r.to), 10);
        for (uint64_t k = 0; k < 10; k++)
            assert_int_equal(weir_probe_value(r.to, k), 2 * k + 1);
        assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
        assert_int_equal(weir_probe_received(r.to), 20);
        for (uint64_t k = 0; k < 10; k++)
            assert_int_equal(weir_probe_value(r.to, 10 + k), 2 * k);
        weir_probe_end(r.from);
        rig_done(&r);
        free(f);
    }
}

static void what_waits_for_retries_is_bounded_also_in_a_sink(void **state)
{
    (void)state;
    for (uint64_t keys = 0; keys < 2; keys++) {
        rig r = rig_with(1, (weir_pipeline_config){ .window = 16 });
        flaky *f = flaky_new();
        f->fails_all = 1;
        weir_from(r.p, weir_probe_source(r.from));
        weir_node_policy(weir_into(r.p, flaky_spec(&flaky_sink_type, f)),
                         &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                               .then = WEIR_ON_ERROR_SKIP,
                                               .waiting_max = 10 });
        rig_start(&r);
        feed_keys(&r, 1000, keys);
        rig_settle(&r);
        assert_in_range(weir_probe_emitted(r.from), 20, 10 + 16);
        f->fails_all = 0;
        weir_probe_end(r.from);
        assert_true(weir_testkit_advance_by(r.kit, 20 * WEIR_SEC, 10 * WEIR_MS));
        assert_int_equal(weir_probe_ended(r.from, WEIR_ACKED), 1000);
        rig_done(&r);
        free(f);
    }
}

static void a_drain_waits_for_retries_and_an_abort_does_not(void **state)
{
    (void)state;
    for (int how = WEIR_DRAIN; how <= WEIR_HYBRID; how++) {
        rig r = rig_new();
        flaky *f = flaky_new();
        f->fails[0] = 1;
        weir_node_policy(
            rig_chain(&r, flaky_spec(&flaky_type, f)),
            &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY, .backoff_ms = 1000 });
        rig_start(&r);
        weir_probe_request(r.to, 100);
        rig_settle(&r);
        feed_keys(&r, 5, 1);
        rig_settle(&r);
        weir_pipeline_shutdown(r.p, (weir_shutdown)how, 100);
        assert_true(weir_testkit_advance(r.kit, 101 * WEIR_MS));
        assert_int_equal(weir_pipeline_is_finished(r.p), how != WEIR_DRAIN);
        assert_true(weir_testkit_advance(r.kit, WEIR_SEC));
        assert_int_equal(weir_probe_ended(r.from, how == WEIR_DRAIN ? WEIR_ACKED : WEIR_ABORTED),
                         5);
        rig_done(&r);
        free(f);
    }
}

static void a_cancel_from_below_releases_what_waits_for_a_retry(void **state)
{
    (void)state;
    rig r = rig_new();
    flaky *f = flaky_new();
    f->fails[0] = 1;
    weir_node_policy(rig_chain(&r, flaky_spec(&flaky_type, f)),
                     &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY });
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_settle(&r);
    feed_keys(&r, 5, 1);
    rig_settle(&r);
    weir_probe_cancel(r.to);
    rig_settle(&r);
    assert_int_equal(weir_probe_ended(r.from, WEIR_ABORTED), 5);
    assert_int_equal(f->n, 1);
    rig_done(&r);
    free(f);
}

static void each_stage_counts_its_own_retries(void **state)
{
    (void)state;
    rig r = rig_new();
    flaky *first = flaky_new(), *second = flaky_new();
    weir_error_policy policy = { .on_error = WEIR_ON_ERROR_RETRY,
                                 .then = WEIR_ON_ERROR_SKIP,
                                 .retries_max = 2 };
    first->fails[0] = second->fails[0] = 2;
    weir_from(r.p, weir_probe_source(r.from));
    weir_node_policy(weir_via(r.p, flaky_spec(&flaky_type, first)), &policy);
    weir_node_policy(weir_via(r.p, flaky_spec(&flaky_type, second)), &policy);
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    weir_probe_request(r.to, 1);
    rig_feed(&r, 1);
    weir_probe_end(r.from);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    rig_assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    rig_done(&r);
    free(first);
    free(second);
}

/* from -> flaky -> to, with dead letters to a probe of their own. */
static weir_probe *dead_letter_rig(rig *r, flaky *f, const weir_stage_type *type)
{
    weir_probe *dead = weir_testkit_probe(r->kit);
    weir_node *node = rig_chain(r, flaky_spec(type, f));
    weir_node_dead_letter(node, weir_add(r->p, weir_probe_sink(dead)), 0);
    rig_start(r);
    weir_probe_request(r->to, 1000);
    return dead;
}

static void a_dead_letter_goes_its_own_way_and_its_source_hears_so(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        rig r = rig_new();
        flaky *f = flaky_new();
        f->fails[1] = f->fails[3] = 1;
        weir_probe *dead = dead_letter_rig(&r, f, both[i]);
        weir_probe_request(dead, 10);
        rig_feed(&r, 5);
        weir_probe_end(r.from);
        rig_settle(&r);
        assert_int_equal(weir_probe_received(r.to), 3);
        assert_int_equal(weir_probe_received(dead), 2);
        assert_int_equal(weir_probe_value(dead, 1), 3);
        rig_assert_outcome(&r, 1, WEIR_DEAD_LETTERED, WEIR_EUNAVAILABLE);
        rig_assert_outcome(&r, 2, WEIR_ACKED, WEIR_OK);
        assert_int_equal(rig_stats(&r, 1).dead_lettered, 2);
        assert_true(weir_probe_is_over(dead, NULL));
        rig_done(&r);
        free(f);
    }
}

static void dead_letters_without_credit_wait_bounded_and_come_before_the_end(void **state)
{
    (void)state;
    rig r = rig_with(1, (weir_pipeline_config){ .window = 16 });
    flaky *f = flaky_new();
    f->fails_all = 1;
    weir_probe *dead = dead_letter_rig(&r, f, &flaky_type);
    rig_feed(&r, 1000);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_in_range(weir_probe_emitted(r.from), 16, 256 + 16);
    assert_false(weir_probe_is_over(r.to, NULL));
    weir_probe_request(dead, 1000);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(dead), 1000);
    assert_int_equal(weir_probe_ended(r.from, WEIR_DEAD_LETTERED), 1000);
    rig_done(&r);
    free(f);
}

static void dead_letters_that_nobody_takes_any_more_fail(void **state)
{
    (void)state;
    rig r = rig_new();
    flaky *f = flaky_new();
    f->fails_all = 1;
    weir_probe *dead = dead_letter_rig(&r, f, &flaky_type);
    rig_feed(&r, 5);
    rig_settle(&r);
    weir_probe_cancel(dead);
    rig_feed(&r, 1);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_int_equal(weir_probe_ended(r.from, WEIR_FAILED), 6);
    rig_assert_outcome(&r, 0, WEIR_FAILED, WEIR_EUNAVAILABLE);
    rig_done(&r);
    free(f);
}

static void retries_that_run_out_become_dead_letters(void **state)
{
    (void)state;
    rig r = rig_new();
    flaky *f = flaky_new();
    f->fails_all = 1;
    weir_probe *dead = weir_testkit_probe(r.kit);
    weir_node *node = rig_chain(&r, flaky_spec(&flaky_type, f));
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                                 .then = WEIR_ON_ERROR_DEAD_LETTER,
                                                 .retries_max = 2 });
    weir_node_dead_letter(node, weir_add(r.p, weir_probe_sink(dead)), 0);
    rig_start(&r);
    weir_probe_request(r.to, 10);
    weir_probe_request(dead, 10);
    feed_keys(&r, 2, 1);
    weir_probe_end(r.from);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    assert_int_equal(f->n, 6);
    assert_int_equal(weir_probe_value(dead, 0), 0);
    assert_int_equal(weir_probe_value(dead, 1), 1);
    assert_int_equal(weir_probe_ended(r.from, WEIR_DEAD_LETTERED), 2);
    rig_done(&r);
    free(f);
}

static void an_abort_ends_dead_letters_without_credit(void **state)
{
    (void)state;
    rig r = rig_new();
    flaky *f = flaky_new();
    f->fails_all = 1;
    (void)dead_letter_rig(&r, f, &flaky_type);
    rig_feed(&r, 5);
    rig_settle(&r);
    weir_pipeline_shutdown(r.p, WEIR_ABORT, 0);
    rig_settle(&r);
    assert_int_equal(weir_probe_ended(r.from, WEIR_ABORTED), 5);
    rig_done(&r);
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_skipped_failure_ends_its_item_and_the_rest_goes_on),
        cmocka_unit_test(a_stop_policy_makes_the_first_failure_the_pipelines_error),
        cmocka_unit_test(a_retry_waits_longer_each_time_and_then_gives_up),
        cmocka_unit_test(a_retry_holds_the_later_items_of_its_key_and_no_others),
        cmocka_unit_test(what_waits_for_retries_is_bounded_also_in_a_sink),
        cmocka_unit_test(a_drain_waits_for_retries_and_an_abort_does_not),
        cmocka_unit_test(a_cancel_from_below_releases_what_waits_for_a_retry),
        cmocka_unit_test(each_stage_counts_its_own_retries),
        cmocka_unit_test(a_dead_letter_goes_its_own_way_and_its_source_hears_so),
        cmocka_unit_test(dead_letters_without_credit_wait_bounded_and_come_before_the_end),
        cmocka_unit_test(dead_letters_that_nobody_takes_any_more_fail),
        cmocka_unit_test(retries_that_run_out_become_dead_letters),
        cmocka_unit_test(an_abort_ends_dead_letters_without_credit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
