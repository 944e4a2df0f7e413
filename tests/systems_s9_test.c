/* S9, errgroup: the first error cancels the rest and is the one reported; with a pool, with a
 * pipeline, with calls fanned out. */
#include "stages_rig.h"

enum { OPS_MAX = 64 };

typedef struct ops {
    weir_op *of[OPS_MAX];
    size_t n, cancels;
} ops;

static void keep(weir_op *op, void *user)
{
    ops *o = user;
    o->of[o->n++] = op;
}

static void give_up(weir_op *op, weir_status status, void *user)
{
    ops *o = user;
    o->cancels++;
    for (size_t i = 0; i < o->n; i++)
        if (o->of[i] == op)
            o->of[i] = NULL;
    weir_op_done(op, status, "given up");
}

/* ---- With a pool: a group of workers on the items of one pipeline ---- */

static void the_first_error_of_a_pool_stops_it_and_is_the_pipelines(void **unused)
{
    (void)unused;
    ops o = { .n = 0 };
    rig r = rig_of(weir_pool(&(weir_pool_config){
        .name = "fetch", .start = keep, .cancel = give_up, .user = &o, .min = 5, .max = 5 }));
    weir_node_policy(r.node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_STOP });
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 0, 20);
    assert_int_equal(o.n, 5);
    weir_op *second = o.of[1];
    o.of[1] = NULL;
    weir_op_done(second, WEIR_EIO, "the disk is gone");
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(o.cancels, 4); /* the rest of the group */
    assert_int_equal(o.n, 5);       /* and none was started any more */
    assert_true(weir_pipeline_is_finished(r.pipeline));
    assert_int_equal(weir_pipeline_status(r.pipeline), WEIR_EIO); /* not what the others gave */
    assert_non_null(strstr(weir_pipeline_why(r.pipeline), "fetch"));
    assert_non_null(strstr(weir_pipeline_why(r.pipeline), "the disk is gone"));
    rig_done(&r);
}

/* ---- With a pipeline: its stages are the group ---- */

static weir_status fails_at_five(weir_item *item, void *user)
{
    (void)user;
    return value_of(item) == 5 ? WEIR_EPROTO : WEIR_OK;
}

static void the_first_error_of_a_stage_cancels_all_stages(void **unused)
{
    (void)unused;
    ops before = { .n = 0 }, after = { .n = 0 };
    rig r = rig_new(2);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_node *first = weir_via(
        r.pipeline, weir_async(&(weir_async_fn_config){
                        .start = keep, .cancel = give_up, .user = &before, .in_flight = 8 }));
    weir_node *middle = weir_via(r.pipeline, weir_map(fails_at_five, NULL));
    weir_via(r.pipeline, weir_async(&(weir_async_fn_config){
                             .start = keep, .cancel = give_up, .user = &after }));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_node_place(first, 1);
    weir_node_policy(middle, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_STOP });
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 2, 20); /* 2 to 9 are under way in the first */
    for (size_t i = 0; i < 4; i++) {
        weir_op *op = before.of[i]; /* 2, 3, 4 pass; 5 fails in the middle */
        before.of[i] = NULL;
        assert_non_null(op);
        weir_op_done(op, WEIR_OK, NULL);
        assert_true(weir_testkit_settle(r.kit));
    }
    assert_int_equal(after.n, 3);
    assert_int_equal(after.cancels, 3);
    assert_int_equal(before.cancels, before.n - 4);
    assert_int_equal(weir_pipeline_status(r.pipeline), WEIR_EPROTO);
    assert_true(weir_probe_is_cancelled(r.from));
    rig_done(&r);
}

/* Copies in parallel are a group too, and a source that nobody asks is no reason to go on. */
typedef struct numbers {
    uint64_t sent;
} numbers;

static void numbers_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    numbers *n = state;
    for (; credit > 0; credit--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), NULL, sizeof(uint64_t));
        if (item == NULL) {
            weir_end_error(out, WEIR_ENOMEM);
            return;
        }
        *(uint64_t *)weir_item_body(item) = n->sent++;
        weir_emit(out, item);
    }
}

static const weir_stage_type numbers_type = { .name = "numbers",
                                              .state_size = sizeof(numbers),
                                              .inputs = WEIR_PORTS_NONE,
                                              .on_demand = numbers_on_demand };

static weir_stage_spec *failing_copy(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_stage_named(weir_map(fails_at_five, NULL), "worker");
}

static void the_first_error_of_copies_stops_the_pipeline_when_no_source_listens(void **unused)
{
    (void)unused;
    for (int unordered = 0; unordered < 2; unordered++) {
        weir_testkit *kit = weir_testkit_new(1, 1);
        weir_probe *to = weir_testkit_probe(kit);
        weir_pipeline *p = weir_testkit_pipeline(kit);
        weir_from(p, weir_stage_of(&numbers_type, NULL));
        weir_parallel(p, &(weir_parallel_config){ .stage = failing_copy, .unordered = unordered });
        weir_into(p, weir_probe_sink(to));
        assert_int_equal(weir_testkit_start(kit, p), WEIR_OK);
        weir_probe_request(to, 100);
        assert_true(weir_testkit_settle(kit));
        assert_true(weir_pipeline_is_finished(p));
        assert_int_equal(weir_pipeline_status(p), WEIR_EPROTO);
        assert_non_null(strstr(weir_pipeline_why(p), "worker"));
        weir_pipeline_free(p);
        assert_int_equal(weir_testkit_free(kit), 0);
    }
}

/* ---- With calls fanned out: pricing, stock and customer, asked at the same time ---- */

typedef struct remote {
    weir_call *call;
    weir_context_watch watch;
    uint64_t cancelled_at;
} remote;

/* A client that hears of its cancel by the call's context alone, as one of another layer would. */
static void on_cancelled(weir_context_watch *watch, weir_status status, void *user)
{
    remote *r = user;
    (void)weir_context_watch_stop(watch);
    r->cancelled_at = weir_loop_now(weir_stage_loop(r->call->stage));
    weir_call_done(r->call, status, "the connection was closed");
}

static void ask(weir_call *call, void *user)
{
    remote *r = user;
    r->call = call;
    r->watch = (weir_context_watch){ 0 };
    weir_context_watch_start(&r->watch, call->context, weir_stage_loop(call->stage), on_cancelled,
                             r);
}

static void answer(rig *r, remote *from, weir_status status)
{
    assert_non_null(from->call);
    (void)weir_context_watch_stop(&from->watch);
    weir_call_done(from->call, status, "no such customer");
    assert_true(weir_testkit_settle(r->kit));
}

static rig ask_three(remote *remotes)
{
    rig r = rig_with(
        weir_gather(&(weir_gather_config){ .calls = { { .start = ask, .user = &remotes[0] },
                                                      { .start = ask, .user = &remotes[1] },
                                                      { .start = ask, .user = &remotes[2] } },
                                           .timeout_ms = 150 }));
    rig_request(&r, 2);
    rig_feed(&r, 1, 1);
    return r;
}

static void all_three_answer_and_the_item_goes_on(void **unused)
{
    (void)unused;
    remote remotes[3] = { { 0 } };
    rig r = ask_three(remotes);
    for (size_t i = 0; i < 3; i++) {
        assert_received(&r, 0);
        answer(&r, &remotes[i], WEIR_OK);
    }
    assert_got(&r, 1);
    rig_finish(&r);
}

static void the_first_error_of_a_call_cancels_the_others_at_once(void **unused)
{
    (void)unused;
    remote remotes[3] = { { 0 } };
    rig r = ask_three(remotes);
    answer(&r, &remotes[0], WEIR_OK);
    assert_true(weir_testkit_advance(r.kit, 20 * WEIR_MS));
    answer(&r, &remotes[1], WEIR_ENOTFOUND);
    assert_int_equal(remotes[2].cancelled_at, weir_testkit_now(r.kit));
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ENOTFOUND);
    rig_finish(&r);
}

static void a_deadline_cancels_all_calls_and_is_what_is_reported(void **unused)
{
    (void)unused;
    remote remotes[3] = { { 0 } };
    rig r = ask_three(remotes);
    uint64_t began = weir_testkit_now(r.kit);
    answer(&r, &remotes[2], WEIR_OK);
    assert_true(weir_testkit_advance(r.kit, 150 * WEIR_MS));
    assert_int_equal(remotes[0].cancelled_at, began + 150 * WEIR_MS);
    assert_int_equal(remotes[1].cancelled_at, began + 150 * WEIR_MS);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EDEADLINE);
    rig_finish(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_error_of_a_pool_stops_it_and_is_the_pipelines),
        cmocka_unit_test(the_first_error_of_a_stage_cancels_all_stages),
        cmocka_unit_test(the_first_error_of_copies_stops_the_pipeline_when_no_source_listens),
        cmocka_unit_test(all_three_answer_and_the_item_goes_on),
        cmocka_unit_test(the_first_error_of_a_call_cancels_the_others_at_once),
        cmocka_unit_test(a_deadline_cancels_all_calls_and_is_what_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
