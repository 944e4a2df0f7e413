/* S5, fan-out / fan-in: one source, n workers, merged, ordered or not; a cancel frees all. */
#include "stages_rig.h"

#include <stdatomic.h>

enum { ITEMS = 50000, LOOPS = 3, WORKERS = 6, AT_ONCE = 12000 };

/* ---- On loops with threads of their own ---- */

typedef struct counter_state {
    uint64_t sent;
} counter_state;

static void counter_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    counter_state *c = state;
    for (; credit > 0 && c->sent < ITEMS; credit--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), NULL, sizeof(uint64_t));
        if (item == NULL)
            return;
        *(uint64_t *)weir_item_body(item) = c->sent++;
        weir_emit(out, item);
    }
    if (c->sent == ITEMS)
        weir_end(out);
}

static const weir_stage_type counter_type = { .name = "counter",
                                              .state_size = sizeof(counter_state),
                                              .inputs = WEIR_PORTS_NONE,
                                              .on_demand = counter_on_demand };

static bool not_seventh(const weir_item *item, void *user)
{
    (void)user;
    return value_of(item) % 7 != 0;
}

/* Some drop items, some work asynchronously. */
static void done_at_once(weir_op *op, void *user)
{
    (void)user;
    weir_op_done(op, WEIR_OK, NULL);
}

static weir_stage_spec *dropping(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_filter(not_seventh, NULL);
}

static weir_stage_spec *asynchronous(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_async(&(weir_async_fn_config){ .start = done_at_once, .unordered = true });
}

typedef struct tally {
    atomic_uint_fast64_t n, sum;
    uint64_t last, out_of_order;
} tally;

static weir_status count(weir_item *item, void *user)
{
    tally *t = user;
    t->n++;
    t->sum += value_of(item);
    t->out_of_order += t->n > 1 && value_of(item) < t->last;
    t->last = value_of(item);
    return WEIR_OK;
}

static void run(weir_stage_spec *(*worker)(uint32_t, void *), bool unordered, tally *t)
{
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = LOOPS });
    weir_from(p, weir_stage_of(&counter_type, NULL));
    weir_parallel(p,
                  &(weir_parallel_config){
                      .stage = worker, .copies = WORKERS, .unordered = unordered, .loops = LOOPS });
    weir_into(p, weir_for_each(count, t));
    assert_int_equal(weir_run(p), WEIR_OK);
    weir_pipeline_free(p);
}

static void one_source_many_workers_merged_and_each_item_once(void **unused)
{
    (void)unused;
    tally t = { .n = 0 };
    run(asynchronous, true, &t);
    assert_int_equal(t.n, ITEMS);
    assert_int_equal(t.sum, (uint64_t)ITEMS * (ITEMS - 1) / 2);
}

static void or_in_order_although_workers_drop_items(void **unused)
{
    (void)unused;
    tally all = { .n = 0 }, some = { .n = 0 };
    run(asynchronous, false, &all);
    assert_int_equal(all.n, ITEMS);
    assert_int_equal(all.out_of_order, 0);
    run(dropping, false, &some);
    assert_int_equal(some.n, ITEMS - (ITEMS + 6) / 7);
    assert_int_equal(some.out_of_order, 0);
}

/* ---- Exactly, on the virtual clock ---- */

static uint64_t started, cancelled;

static void never(weir_op *op, void *user)
{
    (void)op;
    (void)user;
    started++;
}

static void give_up(weir_op *op, weir_status status, void *user)
{
    (void)user;
    cancelled++;
    weir_op_done(op, status, "given up");
}

static weir_stage_spec *endless(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_async(&(weir_async_fn_config){
        .start = never, .cancel = give_up, .in_flight = AT_ONCE / WORKERS });
}

/* What took twelve thousand goroutines: as many under way, on one thread; a cancel frees all of
 * them in the turn it comes. */
static void a_cancel_frees_all_of_twelve_thousand_under_way(void **unused)
{
    (void)unused;
    for (int unordered = 0; unordered < 2; unordered++) {
        started = cancelled = 0;
        rig r = rig_new(1);
        weir_from(r.pipeline, weir_probe_source(r.from));
        weir_parallel(r.pipeline, &(weir_parallel_config){ .stage = endless,
                                                           .copies = WORKERS,
                                                           .unordered = unordered,
                                                           .in_flight = AT_ONCE });
        weir_into(r.pipeline, weir_probe_sink(r.to));
        rig_start(&r);
        rig_request(&r, WEIR_UNBOUNDED);
        rig_feed(&r, 0, 2 * AT_ONCE);
        assert_true(started >= AT_ONCE - WORKERS);
        assert_true(weir_probe_live(r.from) >= started);
        rig_cancel(&r);
        assert_int_equal(cancelled, started);
        assert_int_equal(weir_probe_live(r.from), 0);
        rig_done(&r);
    }
}

static weir_op *first;

static void keep_first(weir_op *op, void *user)
{
    (void)user;
    if (first == NULL)
        first = op;
    else
        weir_op_done(op, WEIR_OK, NULL);
}

static weir_stage_spec *keeping(uint32_t index, void *user)
{
    (void)index;
    (void)user;
    return weir_async(&(weir_async_fn_config){ .start = keep_first, .in_flight = 1 });
}

static void a_slow_worker_holds_up_no_other_unless_order_is_asked_for(void **unused)
{
    (void)unused;
    for (int unordered = 0; unordered < 2; unordered++) {
        first = NULL;
        rig r = rig_new(1);
        weir_from(r.pipeline, weir_probe_source(r.from));
        weir_parallel(r.pipeline,
                      &(weir_parallel_config){ .stage = keeping,
                                               .unordered = unordered,
                                               .edge = &(weir_edge_config){ .window = 1 } });
        weir_into(r.pipeline, weir_probe_sink(r.to));
        rig_start(&r);
        rig_request(&r, WEIR_UNBOUNDED);
        rig_feed(&r, 0, 200);
        if (unordered)
            assert_true(weir_probe_received(r.to) >= 190);
        else
            assert_received(&r, 0);
        assert_non_null(first);
        weir_op_done(first, WEIR_OK, NULL);
        assert_true(weir_testkit_settle(r.kit));
        assert_received(&r, 200);
        rig_finish(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_source_many_workers_merged_and_each_item_once),
        cmocka_unit_test(or_in_order_although_workers_drop_items),
        cmocka_unit_test(a_cancel_frees_all_of_twelve_thousand_under_way),
        cmocka_unit_test(a_slow_worker_holds_up_no_other_unless_order_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
