/* Limiting stages on loops with threads of their own: permits, circuits, budgets that they share.
 */
#include "stages_rig.h"

#include <weir/async.h>

#include <stdatomic.h>

enum { ITEMS = 20000, LOOPS = 3, PERMITS = 7 };

typedef struct counter_state {
    uint64_t sent;
} counter_state;

typedef struct totals {
    atomic_uint_fast64_t now, peak, calls, ended[6];
} totals;

static void number_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    (void)status;
    totals *t = *(totals **)(void *)((uint64_t *)weir_item_body(item) + 1);
    atomic_fetch_add(&t->ended[outcome], 1);
}

static const weir_item_type number_type = { .name = "number", .ended = number_ended };

static void counter_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    counter_state *c = state;
    for (; credit > 0 && c->sent < ITEMS; credit--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), &number_type, 16);
        if (item == NULL)
            return;
        *(uint64_t *)weir_item_body(item) = c->sent++;
        *(totals **)(void *)((uint64_t *)weir_item_body(item) + 1) =
            *(totals *const *)weir_stage_config(stage);
        weir_emit(out, item);
    }
    if (c->sent == ITEMS)
        weir_end(out);
}

static const weir_stage_type counter_type = { .name = "counter",
                                              .config_size = sizeof(totals *),
                                              .state_size = sizeof(counter_state),
                                              .inputs = WEIR_PORTS_NONE,
                                              .acks = true,
                                              .on_demand = counter_on_demand };

static weir_status enter(weir_item *item, void *user)
{
    totals *t = user;
    (void)item;
    uint64_t now = atomic_fetch_add(&t->now, 1) + 1, peak = atomic_load(&t->peak);
    while (now > peak && !atomic_compare_exchange_weak(&t->peak, &peak, now))
        ;
    return WEIR_OK;
}

static weir_status leave(weir_item *item, void *user)
{
    totals *t = user;
    atomic_fetch_sub(&t->now, 1);
    atomic_fetch_add(&t->calls, 1);
    return value_of(item) % 1000 < 5 ? WEIR_EIO : WEIR_OK;
}

static void run(weir_pipeline *p)
{
    assert_int_equal(weir_run(p), WEIR_OK);
    weir_pipeline_free(p);
}

/* What is entered below the semaphore leaves on another loop. */
static void no_more_are_under_way_on_all_threads_than_there_are_permits(void **unused)
{
    (void)unused;
    for (int across = 0; across < 2; across++) {
        totals t = { 0 }, *at = &t;
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = LOOPS });
        weir_from(p, weir_stage_of(&counter_type, &at));
        weir_via(p, weir_semaphore(&(weir_semaphore_config){ .permits = PERMITS }));
        weir_via(p, weir_map(enter, &t));
        weir_node *last = weir_into(p, weir_for_each(leave, &t));
        weir_node_policy(last, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP });
        if (across)
            weir_node_place(last, 1);
        run(p);
        uint64_t all = across ? ITEMS : LOOPS * ITEMS;
        assert_int_equal(t.ended[WEIR_ACKED] + t.ended[WEIR_FAILED], all);
        assert_in_range(t.peak, 1, PERMITS);
    }
}

static uint32_t one_to_four(const weir_item *item, void *user)
{
    (void)user;
    return (uint32_t)(value_of(item) % 4) + 1;
}

static void costly_items_get_their_permits_on_all_threads(void **unused)
{
    (void)unused;
    totals t = { 0 }, *at = &t;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = LOOPS });
    weir_from(p, weir_stage_of(&counter_type, &at));
    weir_via(p,
             weir_semaphore(&(weir_semaphore_config){ .permits = PERMITS, .cost = one_to_four }));
    weir_via(p, weir_map(enter, &t));
    weir_node_policy(weir_into(p, weir_for_each(leave, &t)),
                     &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP });
    run(p);
    assert_int_equal(t.ended[WEIR_ACKED] + t.ended[WEIR_FAILED], LOOPS * ITEMS);
}

static weir_status make_good(weir_loop *loop, weir_item *item, const weir_failure *failure,
                             void *user, weir_item **ret_made)
{
    (void)loop;
    (void)item;
    (void)failure;
    (void)user;
    (void)ret_made;
    return WEIR_OK;
}

/* A circuit that opens and closes all the time, a limit that moves, retries within a budget. */
static void circuits_limits_and_budgets_are_shared_by_threads(void **unused)
{
    (void)unused;
    for (int holds = 0; holds < 2; holds++) {
        totals t = { 0 }, *at = &t;
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = LOOPS });
        weir_from(p, weir_stage_of(&counter_type, &at));
        weir_via(p, weir_breaker(&(weir_breaker_config){ .window_calls = 10,
                                                         .failure_percent = 30,
                                                         .calls_min = 5,
                                                         .open_ms = 1,
                                                         .open_ms_max = 2,
                                                         .probes = 3,
                                                         .hold = holds != 0 }));
        weir_via(
            p, weir_adaptive_limit(&(weir_adaptive_limit_config){ .window_ms = 1, .probe_ms = 5 }));
        weir_via(p, weir_timeout(&(weir_timeout_config){ .timeout_ms = 60000 }));
        weir_node *work = weir_via(p, weir_map(leave, &t));
        weir_node *good = weir_via(p, weir_fallback(make_good, NULL));
        weir_into(p, weir_for_each(enter, &t));
        weir_node_policy(work, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                                     .retries_max = 1,
                                                     .backoff_ms = 1,
                                                     .then = WEIR_ON_ERROR_DEAD_LETTER });
        weir_node_dead_letter(work, good, 1);
        run(p);
        uint64_t sum = t.ended[WEIR_ACKED] + t.ended[WEIR_REJECTED];
        assert_int_equal(sum, LOOPS * ITEMS);
        assert_true(!holds || t.ended[WEIR_REJECTED] == 0);
    }
}

static weir_status make_four(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                             weir_item **ret_made)
{
    (void)item;
    (void)user;
    if (index == 4)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(*ret_made) = 7;
    return WEIR_OK;
}

/* Items are made on loop 0; the limits follow them, on that loop or another, to where they end. */
static void what_is_made_ended_and_limited_on_different_threads_is_followed(void **unused)
{
    (void)unused;
    for (uint32_t limits = 0; limits < 2; limits++)
        for (uint32_t ends = 0; ends < LOOPS; ends += 2) {
            totals t = { 0 }, *at = &t;
            weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = LOOPS });
            weir_node_place(weir_from(p, weir_stage_of(&counter_type, &at)), 0);
            weir_node_place(weir_via(p, weir_flat_map(make_four, NULL)), 0);
            weir_node_place(weir_via(p, weir_semaphore(&(weir_semaphore_config){ .permits = 100 })),
                            limits);
            weir_node_place(weir_via(p, weir_breaker(NULL)), limits);
            weir_node_place(weir_via(p, weir_map(enter, &t)), limits);
            weir_node_place(weir_into(p, weir_for_each(leave, &t)), ends);
            run(p);
            assert_int_equal(t.ended[WEIR_ACKED], ITEMS);
            assert_int_equal(t.calls, 4 * ITEMS);
            assert_in_range(t.peak, 1, 100);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_more_are_under_way_on_all_threads_than_there_are_permits),
        cmocka_unit_test(costly_items_get_their_permits_on_all_threads),
        cmocka_unit_test(circuits_limits_and_budgets_are_shared_by_threads),
        cmocka_unit_test(what_is_made_ended_and_limited_on_different_threads_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
