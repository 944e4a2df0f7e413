/* The testkit itself: time, memory, probes. */
#include "stages_rig.h"

#include <stdio.h>
#include <stdlib.h>

static rig rig_bare(uint32_t loops)
{
    rig r = rig_new(loops);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    return r;
}

static void time_stands_still_until_it_is_advanced(void **unused)
{
    (void)unused;
    weir_testkit *kit = weir_testkit_new(2, 1);
    uint64_t start = weir_testkit_now(kit);
    assert_true(weir_testkit_settle(kit));
    assert_int_equal(weir_testkit_now(kit), start);
    assert_true(weir_testkit_advance(kit, 5 * WEIR_SEC));
    assert_int_equal(weir_testkit_now(kit), start + 5 * WEIR_SEC);
    assert_int_equal(weir_loop_now(weir_testkit_loop(kit, 1)), start + 5 * WEIR_SEC);
    assert_int_equal(weir_testkit_free(kit), 0);
}

typedef struct ticker {
    weir_loop *loop;
    weir_timer timer;
    int ticks;
} ticker;

static void tick(weir_timer *timer, void *user)
{
    ticker *t = user;
    t->ticks++;
    weir_timer_start(t->loop, timer, WEIR_MS, tick, t);
}

static void advancing_by_steps_fires_chained_timers(void **unused)
{
    (void)unused;
    weir_testkit *kit = weir_testkit_new(1, 1);
    ticker t = { .loop = weir_testkit_loop(kit, 0) };
    weir_timer_start(t.loop, &t.timer, WEIR_MS, tick, &t);
    assert_true(weir_testkit_advance_by(kit, 10 * WEIR_MS, WEIR_MS));
    assert_int_equal(t.ticks, 10);
    weir_timer_stop(t.loop, &t.timer);
    assert_int_equal(weir_testkit_free(kit), 0);
}

typedef struct spinner {
    weir_loop *loop;
    bool stop;
} spinner;

static void run_again(weir_task *task, void *user)
{
    spinner *s = user;
    if (!s->stop)
        weir_post(s->loop, task);
}

static void settle_gives_up_on_what_spins(void **unused)
{
    (void)unused;
    weir_testkit *kit = weir_testkit_new(1, 1);
    spinner s = { .loop = weir_testkit_loop(kit, 0) };
    weir_task task = WEIR_TASK(run_again, &s);
    weir_post(s.loop, &task);
    assert_false(weir_testkit_settle(kit));
    s.stop = true;
    assert_true(weir_testkit_settle(kit));
    assert_int_equal(weir_testkit_free(kit), 0);
}

static void memory_is_counted_and_fails_when_told(void **unused)
{
    (void)unused;
    weir_testkit *kit = weir_testkit_new(1, 1);
    const weir_env *env = weir_testkit_env(kit);
    size_t before = weir_testkit_bytes(kit);
    uint64_t allocations = weir_testkit_allocations(kit);
    weir_testkit_fail_allocation(kit, 2);
    test_in_hand();
    void *first = weir_memory_new(env, 100);
    assert_non_null(first);
    assert_null(weir_memory_new(env, 100));
    first = weir_memory_resize(env, first, 50);
    assert_int_equal(weir_testkit_bytes(kit), before + 50);
    assert_int_equal(weir_testkit_allocations(kit), allocations + 3);
    weir_testkit_fail_all(kit, true);
    assert_null(weir_memory_new(env, 1));
    weir_testkit_fail_all(kit, false);
    weir_memory_free(env, first);
    assert_int_equal(weir_testkit_bytes(kit), before);
    assert_int_equal(weir_testkit_free(kit), 0);
}

static void a_source_emits_what_it_was_fed_as_demand_allows(void **unused)
{
    (void)unused;
    rig r = rig_bare(1);
    rig_feed(&r, 10, 5);
    assert_int_equal(weir_probe_emitted(r.from), 0);
    rig_request(&r, 2);
    assert_got(&r, 10, 11);
    assert_int_equal(weir_probe_live(r.from), 0);
    rig_finish(&r);
}

static void a_source_without_memory_tries_again(void **unused)
{
    (void)unused;
    rig r = rig_bare(1);
    rig_request(&r, 2);
    weir_testkit_fail_allocation(r.kit, 2); /* of the item: the first is to note it */
    assert_true(weir_probe_feed(r.from, 1));
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(weir_probe_emitted(r.from), 0);
    assert_true(weir_testkit_advance(r.kit, WEIR_MS));
    assert_int_equal(weir_probe_emitted(r.from), 1);
    rig_finish(&r);
}

static void a_source_hears_how_each_item_ended(void **unused)
{
    (void)unused;
    rig r = rig_bare(1);
    weir_probe_keep(r.to, true);
    rig_request(&r, 2);
    rig_feed(&r, 1, 2);
    assert_false(weir_probe_outcome(r.from, 0, NULL, NULL));
    weir_item_end(weir_probe_take(r.to), WEIR_REJECTED, WEIR_EOVERLOAD);
    weir_item_ack(weir_probe_take(r.to));
    assert_null(weir_probe_take(r.to));
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_REJECTED, WEIR_EOVERLOAD);
    assert_outcome(&r, 1, WEIR_ACKED, WEIR_OK);
    rig_finish(&r);
}

static void a_sink_sees_the_terminal(void **unused)
{
    (void)unused;
    weir_status status = WEIR_OK;
    rig r = rig_bare(1);
    assert_false(weir_probe_is_over(r.to, NULL));
    weir_probe_end_error(r.from, WEIR_EPROTO);
    assert_true(weir_testkit_settle(r.kit));
    assert_true(weir_probe_is_over(r.to, &status));
    assert_int_equal(status, WEIR_EPROTO);
    assert_false(weir_probe_feed(r.from, 1));
    rig_done(&r);
}

static void a_source_sees_the_cancel(void **unused)
{
    (void)unused;
    rig r = rig_bare(1);
    rig_cancel(&r);
    assert_true(weir_probe_is_cancelled(r.from));
    assert_null(weir_probe_stage(r.from));
    rig_done(&r);
}

static void an_abort_ends_what_a_sink_keeps(void **unused)
{
    (void)unused;
    rig r = rig_bare(1);
    weir_probe_keep(r.to, true);
    rig_request(&r, 3);
    rig_feed(&r, 1, 3);
    rig_abort(&r);
    assert_ended(&r, WEIR_ABORTED, 3);
    rig_done(&r);
}

static void each_replica_has_its_probe(void **unused)
{
    (void)unused;
    rig r = rig_bare(3);
    for (uint32_t i = 0; i < 3; i++) {
        weir_probe_feed(weir_probe_replica(r.from, i), 100 + i);
        weir_probe_request(weir_probe_replica(r.to, i), 1);
    }
    assert_true(weir_testkit_settle(r.kit));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(weir_probe_value(weir_probe_replica(r.to, i), 0), 100 + i);
        weir_probe_end(weir_probe_replica(r.from, i));
    }
    assert_null(weir_probe_replica(r.from, 3));
    rig_done(&r);
}

static void items_cross_loops_and_come_home(void **unused)
{
    (void)unused;
    rig r = rig_new(2);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_node_place(weir_into(r.pipeline, weir_probe_sink(r.to)), 1);
    rig_start(&r);
    rig_request(&r, 100);
    rig_feed(&r, 0, 150);
    assert_received(&r, 100);
    assert_ended(&r, WEIR_ACKED, 100);
    rig_finish(&r);
}

/* ---- The walk ---- */

typedef struct careless {
    bool forgets_item, forgets_memory; /* when it has no memory */
} careless;

/* So that a leak checker of the process finds what only the kit shall find leaked. */
static void *volatile forgotten;

static weir_status careless_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    const careless *c = weir_stage_config(stage);
    (void)in;
    (void)state;
    void *first = weir_memory_new(weir_stage_env(stage), 10);
    void *second = weir_memory_new(weir_stage_env(stage), 20);
    bool has_both = first != NULL && second != NULL;
    if (has_both || !c->forgets_memory)
        weir_memory_free(weir_stage_env(stage), first);
    else
        forgotten = first != NULL ? first : forgotten;
    weir_memory_free(weir_stage_env(stage), second);
    if (has_both)
        weir_emit(weir_stage_out(stage), item);
    else if (!c->forgets_item)
        weir_fail(stage, item, WEIR_ENOMEM, "careless");
    return WEIR_OK;
}

static const weir_stage_type careless_type = { .name = "careless",
                                               .config_size = sizeof(careless),
                                               .on_item = careless_on_item };

/* True: it ran to its end and saw all as it should be. Leaves everything where it gives up. */
static bool passes_one_item(const careless *c)
{
    weir_testkit *kit = weir_testkit_new(1, 7);
    weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
    weir_pipeline *p = weir_testkit_pipeline(kit);
    if (p == NULL)
        return false;
    weir_from(p, weir_probe_source(from));
    weir_via(p, weir_stage_of(&careless_type, c));
    weir_into(p, weir_probe_sink(to));
    if (weir_testkit_start(kit, p) != WEIR_OK)
        return false;
    weir_probe_feed(from, 1);
    weir_probe_request(to, 1);
    weir_testkit_settle(kit);
    if (!weir_probe_expect(to, 1, (const uint64_t[]){ 1 }))
        return false;
    weir_probe_end(from);
    weir_testkit_settle(kit);
    weir_pipeline_free(p);
    return weir_testkit_free(kit) == 0;
}

/* What the walk finds wrong; "" for nothing. */
static const char *found_in(const careless *c, uint64_t *ret_failed)
{
    static char why[256];
    weir_testkit_walk *walk = weir_testkit_walk_new();
    assert_non_null(walk);
    bool is_fine = true, was_hit = true;
    uint64_t nth = 0;
    while (is_fine && was_hit) {
        weir_testkit_walk_begin(walk, ++nth);
        bool passed = passes_one_item(c);
        is_fine = weir_testkit_walk_end(walk);
        was_hit = weir_testkit_walk_hit(walk);
        assert_true(passed || was_hit);
    }
    snprintf(why, sizeof why, "%s", weir_testkit_walk_why(walk));
    weir_testkit_walk_free(walk);
    *ret_failed = nth - 1;
    return why;
}

static void a_walk_fails_each_allocation_and_ends_what_is_left(void **unused)
{
    (void)unused;
    uint64_t failed;
    assert_string_equal(found_in(&(careless){ 0 }, &failed), "");
    assert_in_range(failed, 10, 100);
}

static void a_walk_finds_memory_that_is_left(void **unused)
{
    (void)unused;
    uint64_t failed;
    assert_string_equal(found_in(&(careless){ .forgets_memory = true }, &failed),
                        "10 bytes were left");
}

static void a_walk_frees_what_the_test_owns_unless_it_did(void **unused)
{
    (void)unused;
    weir_testkit_walk *walk = weir_testkit_walk_new();
    void *first = malloc(1), *second = malloc(2);
    weir_testkit_walk_begin(walk, 0);
    weir_testkit *kit = weir_testkit_new(1, 7);
    assert_true(weir_testkit_walk_owns(walk, first, free));
    assert_true(weir_testkit_walk_owns(walk, second, free));
    weir_testkit_walk_freed(walk, second);
    free(second);
    assert_non_null(kit); /* and left */
    assert_true(weir_testkit_walk_end(walk));
    assert_false(weir_testkit_walk_hit(walk));
    weir_testkit_walk_free(walk);
}

static void an_abandoned_kit_says_what_never_ends(void **unused)
{
    (void)unused;
    rig r = rig_bare(1);
    weir_probe_keep(r.to, true);
    rig_request(&r, 1);
    rig_feed(&r, 1, 1);
    weir_item *item = weir_probe_take(r.to);
    assert_non_null(item);
    assert_false(weir_testkit_abandon(r.kit));
    assert_true(strlen(weir_testkit_why(r.kit)) > 10);
    weir_item_end(item, WEIR_ABORTED, WEIR_ECANCELED);
    assert_true(weir_testkit_abandon(r.kit));
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_stands_still_until_it_is_advanced),
        cmocka_unit_test(advancing_by_steps_fires_chained_timers),
        cmocka_unit_test(settle_gives_up_on_what_spins),
        cmocka_unit_test(memory_is_counted_and_fails_when_told),
        cmocka_unit_test(a_source_emits_what_it_was_fed_as_demand_allows),
        cmocka_unit_test(a_source_without_memory_tries_again),
        cmocka_unit_test(a_source_hears_how_each_item_ended),
        cmocka_unit_test(a_sink_sees_the_terminal),
        cmocka_unit_test(a_source_sees_the_cancel),
        cmocka_unit_test(an_abort_ends_what_a_sink_keeps),
        cmocka_unit_test(each_replica_has_its_probe),
        cmocka_unit_test(items_cross_loops_and_come_home),
        cmocka_unit_test(a_walk_fails_each_allocation_and_ends_what_is_left),
        cmocka_unit_test(a_walk_finds_memory_that_is_left),
        cmocka_unit_test(a_walk_frees_what_the_test_owns_unless_it_did),
        cmocka_unit_test(an_abandoned_kit_says_what_never_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
