/* Asynchronous stages: one end an operation, whatever comes first; cancels, retries and the end. */
#include "core_rig.h"

#include <weir/async.h>

enum { OPS_MAX = 256 };

/* Operations that the test ends by hand. */
typedef struct bench {
    weir_op *ops[OPS_MAX]; /* by the value of their item */
    uint64_t started, cancelled, depth;
    uint32_t limit_at_open; /* 1 + the limit; 0: none */
    bool ends_cancelled, ends_at_once;
    uint64_t fails_first; /* deliveries to fail at once */
    weir_stage *stage;
} bench;

typedef struct bench_config {
    bench *b;
} bench_config;

static bench *bench_of(weir_op *op)
{
    return ((const bench_config *)weir_async_config(op->stage))->b;
}

static weir_status bench_open(weir_stage *stage, const void *config, void *state)
{
    bench *b = ((const bench_config *)config)->b;
    (void)state;
    b->stage = stage;
    return WEIR_OK;
}

static void bench_start(weir_op *op, void *state)
{
    bench *b = bench_of(op);
    (void)state;
    assert_int_equal(b->depth, 0);
    b->depth++;
    b->started++;
    b->ops[*(uint64_t *)weir_item_body(op->item)] = op;
    if (b->fails_first > 0) {
        b->fails_first--;
        weir_op_done(op, WEIR_EIO, "not yet");
    } else if (b->ends_at_once) {
        weir_op_done(op, WEIR_OK, NULL);
    }
    b->depth--;
}

static void bench_cancel(weir_op *op, weir_status status, void *state)
{
    bench *b = bench_of(op);
    (void)state;
    assert_int_equal(b->depth, 0);
    b->depth++;
    b->cancelled++;
    if (b->ends_cancelled)
        weir_op_done(op, status, "given up");
    b->depth--;
}

static const weir_async_type bench_type = {
    .name = "bench",
    .config_size = sizeof(bench_config),
    .open = bench_open,
    .start = bench_start,
    .cancel = bench_cancel,
};

static const weir_async_type stubborn_type = {
    .name = "stubborn",
    .config_size = sizeof(bench_config),
    .open = bench_open,
    .start = bench_start,
};

static weir_stage_spec *bench_spec(bench *b, weir_async_options options)
{
    return weir_async_of(&bench_type, &options, &(bench_config){ b });
}

/* As an author's callback would: beneath it nothing of the author's may start. */
static void bench_done(bench *b, uint64_t value, weir_status status)
{
    assert_non_null(b->ops[value]);
    b->depth++;
    weir_op_done(b->ops[value], status, "by hand");
    b->depth--;
}

static void results_come_in_the_order_of_arrival(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { 0 };
    rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 4 }));
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_feed(&r, 10);
    rig_settle(&r);
    assert_int_equal(b.started, 4);
    bench_done(&b, 2, WEIR_OK);
    bench_done(&b, 1, WEIR_OK);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 0);
    bench_done(&b, 0, WEIR_OK);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 3);
    assert_int_equal(b.started, 7);
    for (uint64_t i = 3; i < 10; i++) {
        bench_done(&b, i, WEIR_OK);
        rig_settle(&r);
    }
    for (uint64_t i = 0; i < 10; i++)
        assert_int_equal(weir_probe_value(r.to, i), i);
    weir_probe_end(r.from);
    rig_done(&r);
}

static void unordered_results_come_as_they_finish(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { 0 };
    rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 4, .unordered = true }));
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_feed(&r, 4);
    weir_probe_end(r.from);
    rig_settle(&r);
    for (uint64_t i = 4; i-- > 0;)
        bench_done(&b, i, WEIR_OK);
    rig_settle(&r);
    for (uint64_t i = 0; i < 4; i++)
        assert_int_equal(weir_probe_value(r.to, i), 3 - i);
    rig_done(&r);
}

static void results_wait_for_credit(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { .ends_at_once = true };
    rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 8 }));
    rig_start(&r);
    rig_feed(&r, 100);
    rig_settle(&r);
    assert_int_equal(b.started, 8);
    weir_probe_request(r.to, 5);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 5);
    assert_int_equal(b.started, 13);
    weir_probe_request(r.to, 100);
    weir_probe_end(r.from);
    rig_done(&r);
}

static void a_start_never_runs_beneath_the_end_of_another(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { 0 };
    rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 4 }));
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_settle(&r);
    assert_non_null(b.stage);
    weir_async_limit(b.stage, 2); /* what was asked for before has to wait */
    rig_feed(&r, 4);
    rig_settle(&r);
    assert_int_equal(b.started, 2);
    bench_done(&b, 0, WEIR_OK);
    bench_done(&b, 1, WEIR_OK);
    rig_settle(&r);
    assert_int_equal(b.started, 4);
    bench_done(&b, 2, WEIR_OK);
    bench_done(&b, 3, WEIR_OK);
    weir_probe_end(r.from);
    rig_done(&r);
}

static void a_timeout_cancels_the_operation_and_fails_its_item(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { .ends_cancelled = true };
    rig_chain(&r, bench_spec(&b, (weir_async_options){ .timeout_ms = 10 }));
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_feed(&r, 2);
    rig_settle(&r);
    bench_done(&b, 1, WEIR_OK);
    assert_true(weir_testkit_advance(r.kit, 11 * WEIR_MS));
    assert_int_equal(b.cancelled, 1);
    rig_assert_outcome(&r, 0, WEIR_FAILED, WEIR_EDEADLINE);
    rig_assert_outcome(&r, 1, WEIR_ACKED, WEIR_OK);
    weir_probe_end(r.from);
    rig_done(&r);
}

static void a_cancelled_context_cancels_the_operation(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { .ends_cancelled = true };
    weir_context context;
    rig_chain(&r, bench_spec(&b, (weir_async_options){ 0 }));
    rig_start(&r);
    weir_context_init(&context, weir_testkit_loop(r.kit, 0), NULL, 0);
    weir_probe_request(r.to, 100);
    assert_true(weir_probe_feed_item(r.from, &(weir_probe_item){ .context = &context }));
    rig_settle(&r);
    weir_context_cancel(&context, WEIR_ECLOSED);
    rig_settle(&r);
    rig_assert_outcome(&r, 0, WEIR_FAILED, WEIR_ECLOSED);
    weir_context_done(&context);
    weir_probe_end(r.from);
    rig_done(&r);
}

/* A source of plain items: nobody listens, so a failure would stop the pipeline. */
static void plain_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    uint64_t *made = state;
    (void)credit;
    while (weir_out_credit(out) > 0 && *made < 100) {
        weir_item *item = must(weir_item_new(weir_stage_loop(stage), NULL, 8));
        *(uint64_t *)weir_item_body(item) = (*made)++;
        weir_emit(out, item);
    }
}

static const weir_stage_type plain_type = {
    .name = "plain", .state_size = 8, .inputs = WEIR_PORTS_NONE, .on_demand = plain_on_demand
};

static void a_cancel_from_below_aborts_operations_without_an_error(void **state)
{
    (void)state;
    for (int ends_cancelled = 0; ends_cancelled < 2; ends_cancelled++) {
        rig r = rig_new();
        bench b = { .ends_cancelled = ends_cancelled };
        weir_from(r.p, weir_stage_of(&plain_type, NULL));
        weir_via(r.p, bench_spec(&b, (weir_async_options){ .in_flight = 4 }));
        weir_into(r.p, weir_probe_sink(r.to));
        rig_start(&r);
        weir_probe_request(r.to, 1);
        rig_settle(&r);
        bench_done(&b, 0, WEIR_OK);
        rig_settle(&r);
        assert_int_equal(weir_probe_received(r.to), 1);
        weir_probe_cancel(r.to);
        rig_settle(&r);
        assert_int_equal(b.cancelled, 4);
        for (uint64_t i = 1; !ends_cancelled && i < 5; i++)
            bench_done(&b, i, i % 2 == 0 ? WEIR_OK : WEIR_EIO);
        rig_settle(&r);
        assert_int_equal(weir_pipeline_status(r.p), WEIR_OK);
        rig_done(&r);
    }
}

static void an_abort_ends_operations_as_aborted_whenever_they_finish(void **state)
{
    (void)state;
    const weir_async_type *types[] = { &bench_type, &stubborn_type };
    for (int i = 0; i < 4; i++) {
        rig r = rig_new();
        bench b = { .ends_cancelled = i == 2 };
        rig_chain(&r, weir_async_of(types[i % 2], NULL, &(bench_config){ &b }));
        rig_start(&r);
        weir_probe_request(r.to, 100);
        rig_feed(&r, 3);
        rig_settle(&r);
        weir_pipeline_shutdown(r.p, WEIR_ABORT, 0);
        rig_settle(&r);
        if (i != 2) {
            assert_false(weir_pipeline_is_finished(r.p));
            bench_done(&b, 1, WEIR_OK);
            bench_done(&b, 0, WEIR_EIO);
            bench_done(&b, 2, WEIR_OK);
        }
        rig_settle(&r);
        assert_int_equal(weir_probe_ended(r.from, WEIR_ABORTED), 3);
        assert_int_equal(weir_pipeline_status(r.p), WEIR_OK);
        rig_done(&r);
    }
}

static void a_hybrid_gives_up_operations_that_never_finish(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { .ends_cancelled = true };
    rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 2 }));
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_feed(&r, 5);
    rig_settle(&r);
    weir_pipeline_shutdown(r.p, WEIR_HYBRID, 50);
    assert_true(weir_testkit_advance(r.kit, 60 * WEIR_MS));
    assert_int_equal(weir_probe_ended(r.from, WEIR_ABORTED), weir_probe_emitted(r.from));
    rig_done(&r);
}

static void a_hybrid_ends_where_results_wait_for_a_sink_that_never_asks(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { .ends_at_once = true };
    rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 2 }));
    rig_start(&r);
    rig_feed(&r, 5);
    rig_settle(&r);
    weir_pipeline_shutdown(r.p, WEIR_HYBRID, 50);
    assert_true(weir_testkit_advance(r.kit, 60 * WEIR_MS));
    assert_int_equal(weir_probe_ended(r.from, WEIR_ABORTED), 2);
    rig_done(&r);
}

static void a_retry_of_the_last_operation_comes_before_the_end(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { 0 };
    weir_node *node = rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 2 }));
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY });
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_feed(&r, 1);
    weir_probe_end(r.from);
    rig_settle(&r);
    bench_done(&b, 0, WEIR_EUNAVAILABLE); /* the stage knows of the end already */
    rig_settle(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    assert_true(weir_testkit_advance(r.kit, 60 * WEIR_MS));
    assert_int_equal(b.started, 2);
    bench_done(&b, 0, WEIR_OK);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 1);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
}

static void an_abort_ends_a_retry_that_waits_behind_the_end(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { 0 };
    weir_node *node = rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 2 }));
    weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY });
    rig_start(&r);
    weir_probe_request(r.to, 100);
    rig_feed(&r, 1);
    weir_probe_end(r.from);
    rig_settle(&r);
    bench_done(&b, 0, WEIR_EUNAVAILABLE);
    rig_settle(&r);
    weir_pipeline_shutdown(r.p, WEIR_ABORT, 0);
    rig_settle(&r);
    rig_assert_outcome(&r, 0, WEIR_ABORTED, WEIR_ECANCELED);
    rig_done(&r);
}

static void a_sink_keeps_open_for_what_waits_for_a_slot(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { .ends_at_once = true };
    weir_from(r.p, weir_probe_source(r.from));
    weir_into(r.p, bench_spec(&b, (weir_async_options){ .in_flight = 8 }));
    rig_start(&r);
    assert_non_null(b.stage);
    weir_async_limit(b.stage, 0);
    rig_feed(&r, 3);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_int_equal(b.started, 0);
    assert_false(weir_pipeline_is_finished(r.p));
    weir_async_limit(b.stage, UINT32_MAX);
    rig_settle(&r);
    assert_int_equal(weir_probe_ended(r.from, WEIR_ACKED), 3);
    rig_done(&r);
}

static void a_limit_of_none_withholds_demand(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { .ends_at_once = true };
    rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 2 }));
    rig_start(&r);
    assert_non_null(b.stage);
    weir_async_limit(b.stage, 0);
    weir_probe_request(r.to, 100);
    rig_feed(&r, 10);
    rig_settle(&r);
    assert_int_equal(weir_probe_emitted(r.from), 2);
    assert_int_equal(b.started, 0);
    weir_async_limit(b.stage, UINT32_MAX);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 10);
    rig_done(&r);
}

static void what_waits_for_a_slot_expires_with_its_context(void **state)
{
    (void)state;
    rig r = rig_new();
    bench b = { 0 };
    weir_context context;
    rig_chain(&r, bench_spec(&b, (weir_async_options){ .in_flight = 2 }));
    rig_start(&r);
    assert_non_null(b.stage);
    weir_async_limit(b.stage, 0);
    weir_probe_request(r.to, 100);
    weir_context_init(&context, weir_testkit_loop(r.kit, 0), NULL,
                      weir_testkit_now(r.kit) + 20 * WEIR_MS);
    assert_true(weir_probe_feed_item(r.from, &(weir_probe_item){ .context = &context }));
    weir_probe_end(r.from);
    assert_true(weir_testkit_advance(r.kit, 100 * WEIR_MS));
    rig_assert_outcome(&r, 0, WEIR_FAILED, WEIR_EDEADLINE);
    weir_context_done(&context);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_come_in_the_order_of_arrival),
        cmocka_unit_test(unordered_results_come_as_they_finish),
        cmocka_unit_test(results_wait_for_credit),
        cmocka_unit_test(a_start_never_runs_beneath_the_end_of_another),
        cmocka_unit_test(a_timeout_cancels_the_operation_and_fails_its_item),
        cmocka_unit_test(a_cancelled_context_cancels_the_operation),
        cmocka_unit_test(a_cancel_from_below_aborts_operations_without_an_error),
        cmocka_unit_test(an_abort_ends_operations_as_aborted_whenever_they_finish),
        cmocka_unit_test(a_hybrid_gives_up_operations_that_never_finish),
        cmocka_unit_test(a_hybrid_ends_where_results_wait_for_a_sink_that_never_asks),
        cmocka_unit_test(a_retry_of_the_last_operation_comes_before_the_end),
        cmocka_unit_test(an_abort_ends_a_retry_that_waits_behind_the_end),
        cmocka_unit_test(a_sink_keeps_open_for_what_waits_for_a_slot),
        cmocka_unit_test(a_limit_of_none_withholds_demand),
        cmocka_unit_test(what_waits_for_a_slot_expires_with_its_context),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
