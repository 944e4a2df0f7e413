/* The hub: consumers join and leave a running pipeline; who is slow meets the fate it chose. */
#include "core_rig.h"
#include "effort.h"

#include <pthread.h>
#include <semaphore.h>

#include <weir/hub.h>
#include <weir/inlet.h>

enum { CONSUMERS_MAX = 8 };

typedef struct consumer {
    weir_pipeline *p;
    weir_probe *to;
} consumer;

typedef struct hub_rig {
    rig r;
    weir_hub *hub;
    consumer consumers[CONSUMERS_MAX];
    uint32_t n;
} hub_rig;

static hub_rig hub_rig_of(weir_testkit *kit, const weir_hub_config *config)
{
    hub_rig h = { .r = { .kit = kit } };
    assert_non_null(kit);
    h.hub = weir_hub_new(weir_testkit_env(kit), config);
    h.r.p = weir_testkit_pipeline(kit);
    h.r.from = weir_testkit_probe(kit);
    weir_from(h.r.p, weir_probe_source(h.r.from));
    weir_node_place(weir_into(h.r.p, weir_into_hub(h.hub)), 0);
    return h;
}

static hub_rig hub_rig_new(uint32_t loops, const weir_hub_config *config)
{
    hub_rig h = hub_rig_of(weir_testkit_new(loops, 7), config);
    rig_start(&h.r);
    return h;
}

/* A consumer on loop `at`; NULL if it could not be opened. */
static weir_probe *try_join(hub_rig *h, uint32_t at, const weir_outlet_config *config)
{
    consumer *c = &h->consumers[h->n++];
    c->p = weir_testkit_pipeline(h->r.kit);
    c->to = weir_testkit_probe(h->r.kit);
    weir_node_place(weir_from(c->p, weir_from_hub(h->hub, config)), at);
    weir_node_place(weir_into(c->p, weir_probe_sink(c->to)), at);
    assert_int_equal(weir_testkit_start(h->r.kit, c->p), WEIR_OK);
    return weir_pipeline_status(c->p) == WEIR_OK ? c->to : NULL;
}

static weir_probe *join(hub_rig *h, uint32_t at, const weir_outlet_config *config)
{
    weir_probe *to = try_join(h, at, config);
    assert_non_null(to);
    return to;
}

static weir_hub_stats stats_of(const hub_rig *h)
{
    weir_hub_stats stats;
    weir_hub_stats_get(h->hub, &stats);
    return stats;
}

static void ask(hub_rig *h, weir_probe *to, uint64_t n)
{
    weir_probe_request(to, n);
    rig_settle(&h->r);
}

/* Numbers from `first` on; the sink got exactly those. */
static void assert_range(const weir_probe *to, uint64_t first, uint64_t n)
{
    assert_int_equal(weir_probe_received(to), n);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(weir_probe_value(to, i), first + i);
}

/* All is over, and every byte, item and credit is back. */
static void hub_done(hub_rig *h)
{
    rig_settle(&h->r);
    assert_true(weir_pipeline_is_finished(h->r.p));
    assert_int_equal(weir_probe_live(h->r.from), 0);
    assert_int_equal(weir_probe_violations(h->r.from), 0);
    assert_int_equal(stats_of(h).queued, 0);
    assert_int_equal(stats_of(h).outlets, 0);
    weir_pipeline_free(h->r.p);
    for (uint32_t i = 0; i < h->n; i++) {
        assert_true(weir_pipeline_is_finished(h->consumers[i].p));
        assert_int_equal(weir_probe_violations(h->consumers[i].to), 0);
        weir_pipeline_free(h->consumers[i].p);
    }
    weir_hub_free(h->hub);
    assert_int_equal(weir_testkit_violations(h->r.kit), 0);
    assert_int_equal(weir_testkit_free(h->r.kit), 0);
}

static void finish(hub_rig *h)
{
    weir_probe_end(h->r.from);
    for (uint32_t i = 0; i < h->n; i++)
        weir_probe_request(h->consumers[i].to, WEIR_UNBOUNDED);
    hub_done(h);
}

static void feed_from(hub_rig *h, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        assert_true(weir_probe_feed(h->r.from, first + i));
    rig_settle(&h->r);
}

/* ---- Who gets what ---- */

static void every_consumer_gets_every_item_in_order(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(2, NULL);
    weir_probe *a = join(&h, 0, NULL), *b = join(&h, 1, NULL), *c = join(&h, 0, NULL);
    weir_probe_request(a, 1000);
    weir_probe_request(b, 1000);
    weir_probe_request(c, 1000);
    feed_from(&h, 0, 500);
    assert_range(a, 0, 500);
    assert_range(b, 0, 500);
    assert_range(c, 0, 500);
    assert_int_equal(weir_probe_ended(h.r.from, WEIR_ACKED), 500);
    finish(&h);
}

static void who_joins_late_gets_what_comes_from_then_on(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(1, NULL);
    weir_probe *a = join(&h, 0, NULL);
    ask(&h, a, 100);
    feed_from(&h, 0, 10);
    weir_probe *b = join(&h, 0, NULL);
    ask(&h, b, 100);
    feed_from(&h, 10, 5);
    assert_range(a, 0, 15);
    assert_range(b, 10, 5);
    finish(&h);
}

static void an_item_ends_with_the_worst_of_its_ends(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(2, NULL);
    weir_probe *a = join(&h, 0, NULL), *b = join(&h, 1, NULL);
    ask(&h, a, 10);
    feed_from(&h, 0, 3);
    assert_int_equal(weir_probe_received(a), 3);
    assert_int_equal(weir_probe_live(h.r.from), 3); /* queued for b */
    weir_probe_cancel(b);
    rig_settle(&h.r);
    assert_int_equal(weir_probe_ended(h.r.from, WEIR_ABORTED), 3);
    assert_int_equal(stats_of(&h).left, 1);
    feed_from(&h, 3, 2);
    assert_range(a, 0, 5);
    finish(&h);
}

/* ---- Slow consumers ---- */

static void the_slowest_that_holds_sets_the_pace(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(2, NULL);
    weir_probe *quick = join(&h, 0, NULL);
    weir_probe *slow = join(&h, 1, &(weir_outlet_config){ .window = 4 });
    ask(&h, quick, WEIR_UNBOUNDED);
    feed_from(&h, 0, 1000);
    uint64_t asked_before = 256; /* of the hub, before `slow` joined */
    assert_in_range(weir_probe_received(quick), 4, 4 + asked_before);
    uint64_t got = weir_probe_received(quick);
    ask(&h, slow, 100);
    assert_true(weir_probe_received(quick) <= 100 + 4 + asked_before);
    assert_true(weir_probe_received(quick) >= got);
    ask(&h, slow, 900);
    assert_range(quick, 0, 1000);
    assert_range(slow, 0, 1000);
    finish(&h);
}

static void who_misses_holds_back_nobody_and_is_counted(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(2, NULL);
    weir_probe *quick = join(&h, 0, NULL);
    weir_probe *slow = join(&h, 1, &(weir_outlet_config){ .slow = WEIR_HUB_MISSES, .window = 4 });
    ask(&h, quick, WEIR_UNBOUNDED);
    feed_from(&h, 0, 100);
    assert_range(quick, 0, 100);
    assert_int_equal(stats_of(&h).missed, 96);
    ask(&h, slow, 100);
    assert_range(slow, 0, 4);
    feed_from(&h, 100, 3);
    assert_int_equal(weir_probe_value(slow, 4), 100);
    finish(&h);
}

static void who_leaves_is_put_out_after_what_is_queued(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(2, NULL);
    weir_probe *quick = join(&h, 0, NULL);
    weir_probe *slow = join(&h, 1, &(weir_outlet_config){ .slow = WEIR_HUB_LEAVES, .window = 4 });
    weir_status status = WEIR_OK;
    ask(&h, quick, WEIR_UNBOUNDED);
    feed_from(&h, 0, 4);
    assert_int_equal(stats_of(&h).outlets, 2);
    feed_from(&h, 4, 6);
    assert_range(quick, 0, 10);
    assert_int_equal(stats_of(&h).put_out, 1);
    assert_int_equal(stats_of(&h).outlets, 1);
    assert_false(weir_probe_is_over(slow, &status));
    ask(&h, slow, 10);
    assert_range(slow, 0, 4);
    assert_true(weir_probe_is_over(slow, &status));
    assert_int_equal(status, WEIR_EOVERLOAD);
    finish(&h);
}

/* ---- Nobody there ---- */

static void a_hub_without_outlets_asks_for_nothing(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(1, NULL);
    feed_from(&h, 0, 10);
    assert_int_equal(weir_probe_demand(h.r.from), 0);
    assert_int_equal(weir_probe_emitted(h.r.from), 0);
    weir_probe *a = join(&h, 0, NULL);
    ask(&h, a, 10);
    assert_range(a, 0, 10);
    finish(&h);
}

static void a_hub_without_outlets_may_drop(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(1, &(weir_hub_config){ .alone_drops = true });
    feed_from(&h, 0, 1000);
    assert_int_equal(weir_probe_ended(h.r.from, WEIR_FILTERED), 1000);
    assert_int_equal(stats_of(&h).dropped, 1000);
    finish(&h);
}

/* ---- Ends ---- */

static void consumers_end_after_what_is_queued(void **state)
{
    (void)state;
    weir_status with[] = { WEIR_OK, WEIR_EIO };
    for (int i = 0; i < 2; i++) {
        hub_rig h = hub_rig_new(2, NULL);
        weir_probe *a = join(&h, 0, NULL), *b = join(&h, 1, NULL);
        feed_from(&h, 0, 10);
        weir_probe_end_error(h.r.from, with[i]);
        rig_settle(&h.r);
        assert_false(weir_pipeline_is_finished(h.r.p)); /* its items are not over */
        assert_false(weir_probe_is_over(a, NULL));
        weir_status status = WEIR_EINTERNAL;
        ask(&h, a, 100);
        ask(&h, b, 100);
        assert_range(a, 0, 10);
        assert_range(b, 0, 10);
        assert_true(weir_probe_is_over(b, &status));
        assert_int_equal(status, with[i]);
        assert_true(weir_pipeline_is_finished(h.r.p));
        weir_probe *late = join(&h, 0, NULL);
        assert_true(weir_probe_is_over(late, NULL));
        hub_done(&h);
    }
}

static void a_producer_that_aborts_takes_back_what_is_queued(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(2, NULL);
    weir_probe *a = join(&h, 0, NULL), *b = join(&h, 1, NULL);
    ask(&h, a, 4);
    feed_from(&h, 0, 200);
    weir_pipeline_shutdown(h.r.p, WEIR_ABORT, 0);
    rig_settle(&h.r);
    assert_true(weir_pipeline_is_finished(h.r.p));
    assert_int_equal(weir_probe_received(b), 0);
    weir_status status = WEIR_OK;
    assert_true(weir_probe_is_over(b, &status));
    assert_int_equal(status, WEIR_ECANCELED);
    assert_range(a, 0, 4);
    hub_done(&h);
}

/* Its input is over, and its items fill the queue that the other producer waits for. */
static void what_a_producer_takes_back_makes_room_for_the_others(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(1, NULL);
    rig other = { .kit = h.r.kit, .p = weir_testkit_pipeline(h.r.kit) };
    other.from = weir_testkit_probe(other.kit);
    weir_from(other.p, weir_probe_source(other.from));
    weir_into(other.p, weir_into_hub(h.hub));
    rig_start(&other);
    weir_probe *to = join(&h, 0, &(weir_outlet_config){ .window = 1 });
    rig_feed(&other, 2);
    rig_feed(&h.r, 1);
    weir_probe_end(h.r.from);
    ask(&h, to, 1);
    assert_int_equal(weir_probe_emitted(other.from), 1);
    weir_pipeline_shutdown(h.r.p, WEIR_ABORT, 0);
    rig_settle(&h.r);
    assert_int_equal(weir_probe_emitted(other.from), 2);
    ask(&h, to, 1);
    assert_int_equal(weir_probe_received(to), 2);
    weir_probe_end(other.from);
    rig_settle(&h.r);
    weir_pipeline_free(other.p);
    finish(&h);
}

/* A new stage that nobody took has nothing to produce. The seed says whether the end is first. */
static void swapped_in_at_the_end(uint64_t seed)
{
    const weir_testkit_config config = { .seed = seed, .shuffle = true };
    const char *why = "";
    hub_rig h = hub_rig_of(weir_testkit_new_with(&config), NULL);
    rig_start(&h.r);
    weir_probe *to = join(&h, 0, NULL);
    weir_probe_keep(to, true);
    ask(&h, to, 1);
    rig_feed(&h.r, 1);
    weir_probe_end(h.r.from);
    for (int swaps = 0; swaps < 2; swaps++) {
        weir_status status = weir_pipeline_swap(h.r.p, "into_hub", weir_into_hub(h.hub), NULL,
                                                &why);
        assert_int_equal(status, WEIR_OK);
    }
    rig_settle(&h.r);
    weir_item_ack(weir_probe_take(to));
    rig_settle(&h.r);
    assert_true(weir_pipeline_is_finished(h.r.p));
    assert_true(weir_probe_is_over(to, NULL));
    finish(&h);
}

static void a_producer_that_was_swapped_in_too_late_is_not_waited_for(void **state)
{
    (void)state;
    for (uint64_t seed = 0; seed < 20; seed++)
        swapped_in_at_the_end(seed);
}

static void an_abort_waits_for_what_a_consumer_has_in_hand(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(2, NULL);
    weir_probe *a = join(&h, 1, NULL);
    weir_probe_keep(a, true);
    ask(&h, a, 4);
    feed_from(&h, 0, 10);
    weir_pipeline_shutdown(h.r.p, WEIR_ABORT, 0);
    for (int turns = 0; turns < 100; turns++)
        for (uint32_t i = 0; i < 2; i++)
            (void)weir_loop_turn(weir_testkit_loop(h.r.kit, i));
    assert_false(weir_pipeline_is_finished(h.r.p));
    for (weir_item *item; (item = weir_probe_take(a)) != NULL;)
        weir_item_ack(item);
    hub_done(&h);
}

static void a_consumer_that_drains_gets_what_is_queued(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(2, NULL);
    weir_probe *a = join(&h, 1, NULL);
    feed_from(&h, 0, 10);
    weir_pipeline_shutdown(h.consumers[0].p, WEIR_DRAIN, 0);
    rig_settle(&h.r);
    feed_from(&h, 10, 10);
    assert_int_equal(stats_of(&h).outlets, 0);
    ask(&h, a, 100);
    assert_in_range(weir_probe_received(a), 10, 10);
    assert_true(weir_pipeline_is_finished(h.consumers[0].p));
    finish(&h);
}

static void a_consumer_that_aborts_leaves_its_queue(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(2, NULL);
    weir_probe *a = join(&h, 1, NULL), *b = join(&h, 0, NULL);
    ask(&h, b, 100);
    feed_from(&h, 0, 10);
    weir_pipeline_shutdown(h.consumers[0].p, WEIR_ABORT, 0);
    rig_settle(&h.r);
    assert_int_equal(weir_probe_received(a), 0);
    assert_int_equal(weir_probe_ended(h.r.from, WEIR_ABORTED), 10);
    assert_range(b, 0, 10);
    finish(&h);
}

/* ---- Limits ---- */

static void outlets_beyond_the_limit_are_refused(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(1, &(weir_hub_config){ .outlets_max = 2 });
    join(&h, 0, NULL);
    weir_probe *b = join(&h, 0, NULL);
    assert_null(try_join(&h, 0, NULL));
    assert_int_equal(weir_pipeline_status(h.consumers[2].p), WEIR_ELIMIT);
    assert_int_equal(stats_of(&h).refused, 1);
    weir_probe_cancel(b);
    rig_settle(&h.r);
    join(&h, 0, NULL);
    finish(&h);
}

static void a_hub_that_is_over_takes_no_producer(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(1, NULL);
    weir_probe_end(h.r.from);
    rig_settle(&h.r);
    weir_pipeline *again = weir_testkit_pipeline(h.r.kit);
    weir_from(again, weir_probe_source(weir_testkit_probe(h.r.kit)));
    weir_into(again, weir_into_hub(h.hub));
    assert_int_equal(weir_testkit_start(h.r.kit, again), WEIR_ECLOSED);
    assert_non_null(strstr(weir_pipeline_why(again), "its hub is over"));
    weir_pipeline_free(again);
    hub_done(&h);
}

static void an_unknown_fate_is_refused(void **state)
{
    (void)state;
    hub_rig h = hub_rig_new(1, NULL);
    weir_pipeline *p = weir_testkit_pipeline(h.r.kit);
    weir_from(p, weir_from_hub(h.hub, &(weir_outlet_config){ .slow = (weir_hub_slow)3 }));
    weir_into(p, weir_probe_sink(weir_testkit_probe(h.r.kit)));
    assert_int_equal(weir_pipeline_check(p), WEIR_EINVAL);
    assert_non_null(strstr(weir_pipeline_why(p), "no such rule"));
    weir_pipeline_free(p);
    finish(&h);
}

static void a_failed_allocation_loses_nothing(void **state)
{
    (void)state;
    for (uint64_t nth = 1, before = 0; nth < 400; nth++) {
        weir_testkit *kit = weir_testkit_new(2, 7);
        weir_testkit_fail_allocation(kit, nth);
        weir_hub *hub = weir_hub_new(weir_testkit_env(kit), NULL);
        weir_pipeline *p = weir_testkit_pipeline(kit), *c = weir_testkit_pipeline(kit);
        weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
        if (p != NULL && c != NULL) {
            weir_from(p, weir_probe_source(from));
            weir_node_place(weir_into(p, weir_into_hub(hub)), 0);
            weir_node_place(weir_from(c, weir_from_hub(hub, NULL)), 1);
            weir_node_place(weir_into(c, weir_probe_sink(to)), 1);
            weir_status producing = weir_testkit_start(kit, p);
            weir_status consuming = weir_testkit_start(kit, c);
            weir_probe_request(to, WEIR_UNBOUNDED);
            for (uint64_t i = 0; i < 20; i++)
                (void)weir_probe_feed(from, i);
            (void)weir_testkit_settle(kit);
            weir_probe_end(from);
            (void)weir_testkit_settle(kit);
            if (producing == WEIR_OK)
                weir_pipeline_shutdown(p, WEIR_ABORT, 0);
            if (consuming == WEIR_OK)
                weir_pipeline_shutdown(c, WEIR_ABORT, 0);
            assert_true(weir_testkit_settle(kit));
            assert_int_equal(weir_probe_live(from), 0);
        }
        weir_pipeline_free(p);
        weir_pipeline_free(c);
        weir_hub_free(hub);
        before = weir_testkit_allocations(kit);
        assert_int_equal(weir_testkit_free(kit), 0);
        if (nth > before)
            return;
    }
    fail();
}

/* ---- At random moments ---- */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return *state >> 33;
}

static bool has_ended(const weir_probe *to)
{
    return to == NULL || weir_probe_is_over(to, NULL) || weir_probe_stage(to) == NULL;
}

static void check_gapless(const consumer *c)
{
    for (uint64_t i = 1; i < weir_probe_received(c->to); i++)
        assert_int_equal(weir_probe_value(c->to, i), weir_probe_value(c->to, 0) + i);
}

static void wander(uint32_t loops, uint64_t seed)
{
    uint64_t random = seed, fed = 0;
    bool stays[CONSUMERS_MAX] = { false };
    hub_rig h = hub_rig_of(weir_testkit_new_with(&(weir_testkit_config){
                               .loops = loops, .seed = seed, .shuffle = true }),
                           &(weir_hub_config){ .asked_max = 1 + (uint32_t)seed % 40 });
    rig_start(&h.r);
    for (int step = 0; step < 60; step++) {
        uint64_t what = next_random(&random) % 8, which = next_random(&random) % CONSUMERS_MAX;
        if (what == 0 && h.n < CONSUMERS_MAX) {
            stays[h.n] = true;
            weir_outlet_config config = { .window = 1 + (uint32_t)(next_random(&random) % 20) };
            join(&h, (uint32_t)next_random(&random) % loops, &config);
        } else if (what == 1 && which < h.n && !has_ended(h.consumers[which].to)) {
            stays[which] = false;
            weir_probe_cancel(h.consumers[which].to);
        } else if (what < 5 && which < h.n && !has_ended(h.consumers[which].to)) {
            weir_probe_request(h.consumers[which].to, 1 + next_random(&random) % 50);
        } else {
            for (uint64_t n = next_random(&random) % 30; n > 0; n--)
                assert_true(weir_probe_feed(h.r.from, fed++));
        }
        if (what % 2 == 0)
            rig_settle(&h.r);
    }
    weir_probe_end(h.r.from);
    for (uint32_t i = 0; i < h.n; i++)
        if (!has_ended(h.consumers[i].to))
            weir_probe_request(h.consumers[i].to, WEIR_UNBOUNDED);
    rig_settle(&h.r);
    bool any = false;
    for (uint32_t i = 0; i < h.n; i++) {
        check_gapless(&h.consumers[i]);
        uint64_t n = weir_probe_received(h.consumers[i].to);
        if (stays[i] && n != 0)
            assert_int_equal(weir_probe_value(h.consumers[i].to, n - 1), fed - 1);
        any |= stays[i];
    }
    if (!any) /* nobody is there to take it: the hub waits */
        weir_pipeline_shutdown(h.r.p, WEIR_ABORT, 0);
    hub_done(&h);
}

static void nobody_who_holds_loses_anything_whoever_comes_and_goes(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= effort(300); seed++)
        wander(seed % 2 == 0 ? 1 : 4, seed);
}

static void copies_of_the_producer_share_the_hub(void **state)
{
    (void)state;
    weir_testkit *kit = weir_testkit_new(4, 7);
    weir_hub *hub = weir_hub_new(weir_testkit_env(kit), NULL);
    weir_pipeline *p = weir_testkit_pipeline(kit), *c = weir_testkit_pipeline(kit);
    weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
    weir_from(p, weir_probe_source(from));
    weir_into(p, weir_into_hub(hub));
    weir_node_place(weir_from(c, weir_from_hub(hub, &(weir_outlet_config){ .window = 2 })), 3);
    weir_node_place(weir_into(c, weir_probe_sink(to)), 3);
    assert_int_equal(weir_testkit_start(kit, p), WEIR_OK);
    assert_int_equal(weir_testkit_start(kit, c), WEIR_OK);
    weir_probe_request(to, WEIR_UNBOUNDED);
    for (uint64_t i = 0; i < 100; i++) /* one copy works, the others hold a share each */
        assert_true(weir_probe_feed(weir_probe_replica(from, 2), i));
    assert_true(weir_testkit_settle(kit));
    assert_range(to, 0, 100);
    for (uint32_t i = 0; i < 4; i++) {
        assert_false(weir_probe_is_over(to, NULL));
        weir_probe_end(weir_probe_replica(from, i));
        assert_true(weir_testkit_settle(kit));
    }
    assert_true(weir_probe_is_over(to, NULL));
    weir_pipeline_free(p);
    weir_pipeline_free(c);
    weir_hub_free(hub);
    assert_int_equal(weir_testkit_free(kit), 0);
}

/* ---- On threads ---- */

enum { THREADS = 3, THREAD_ITEMS = 20000, ROUNDS = 20 };

typedef struct side {
    weir_hub *hub;
    sem_t *joined;
    uint64_t count, next;
    bool in_order;
    weir_status status;
} side;

typedef struct counter_config {
    side *side;
} counter_config;

static weir_status counter_open(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    *(side **)state = ((const counter_config *)config)->side;
    return WEIR_OK;
}

static weir_status counter_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                    void *state)
{
    side *s = *(side **)state;
    (void)stage;
    (void)in;
    for (size_t i = 0; i < n; i++) {
        s->in_order &= *(uint64_t *)weir_item_body(items[i]) == s->next++;
        s->count++;
    }
    weir_items_ack(items, n);
    return WEIR_OK;
}

static const weir_stage_type counter_type = { .name = "counter",
                                              .config_size = sizeof(counter_config),
                                              .state_size = sizeof(side *),
                                              .outputs = WEIR_PORTS_NONE,
                                              .open = counter_open,
                                              .on_items = counter_on_items };

static void stop_loop(weir_pipeline *p, weir_status status, void *user)
{
    (void)p;
    (void)status;
    weir_loop_stop(user);
}

/* As weir_run, with no hand on the process's signals: there are several here. */
static weir_status run_here(weir_pipeline *p)
{
    weir_loop *loop = weir_loop_new(NULL);
    weir_status status = weir_pipeline_start(p, &loop, 1, stop_loop, loop);
    if (status == WEIR_OK)
        status = weir_loop_run(loop);
    if (status == WEIR_OK)
        status = weir_pipeline_status(p);
    weir_pipeline_free(p);
    weir_loop_free(loop);
    return status;
}

static void *consume(void *user)
{
    side *s = user;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 1 });
    weir_from(p, weir_from_hub(s->hub, &(weir_outlet_config){ .window = 32 }));
    weir_into(p, weir_stage_of(&counter_type, &(counter_config){ s }));
    s->status = run_here(p);
    return NULL;
}

static void *wait_for_outlets(void *user)
{
    side *s = user;
    weir_hub_stats stats = { 0 };
    while (stats.outlets < THREADS) {
        weir_hub_stats_get(s->hub, &stats);
        sched_yield();
    }
    sem_post(s->joined);
    return NULL;
}

typedef struct numbers {
    uint64_t next;
} numbers;

static void numbers_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    numbers *n = state;
    for (; credit > 0 && n->next < THREAD_ITEMS; credit--) {
        weir_item *item = must(weir_item_new(weir_stage_loop(stage), NULL, sizeof n->next));
        *(uint64_t *)weir_item_body(item) = n->next++;
        weir_emit(out, item);
    }
    if (n->next == THREAD_ITEMS)
        weir_end(out);
}

static const weir_stage_type numbers_type = { .name = "numbers",
                                              .state_size = sizeof(numbers),
                                              .inputs = WEIR_PORTS_NONE,
                                              .on_demand = numbers_on_demand };

static void meet_once(void)
{
    sem_t joined;
    pthread_t threads[THREADS], watcher;
    side sides[THREADS];
    assert_int_equal(sem_init(&joined, 0, 0), 0);
    weir_hub *hub = weir_hub_new(NULL, NULL);
    for (int i = 0; i < THREADS; i++) {
        sides[i] = (side){ .hub = hub, .joined = &joined, .in_order = true };
        assert_int_equal(pthread_create(&threads[i], NULL, consume, &sides[i]), 0);
    }
    assert_int_equal(pthread_create(&watcher, NULL, wait_for_outlets, &sides[0]), 0);
    while (sem_wait(&joined) != 0)
        ;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 1 });
    weir_from(p, weir_stage_of(&numbers_type, NULL));
    weir_into(p, weir_into_hub(hub));
    assert_int_equal(run_here(p), WEIR_OK);
    pthread_join(watcher, NULL);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(sides[i].status, WEIR_OK);
        assert_int_equal(sides[i].count, THREAD_ITEMS);
        assert_true(sides[i].in_order);
    }
    weir_hub_free(hub);
    sem_destroy(&joined);
}

static void threads_meet_at_a_hub(void **state)
{
    (void)state;
    for (int i = 0; i < ROUNDS; i++)
        meet_once();
}

/* ---- Admission of an inlet ---- */

static weir_status offer(weir_inlet *inlet, uint32_t cost)
{
    weir_item *item = must(weir_item_new_foreign(NULL, NULL, 8));
    item->cost = cost;
    weir_status status = weir_inlet_offer(inlet, item);
    if (status != WEIR_OK)
        weir_item_end(item, WEIR_REJECTED, status);
    return status;
}

static void an_inlet_counts_whom_it_rejects_and_why(void **state)
{
    (void)state;
    weir_inlet_stats stats;
    weir_inlet *inlet = weir_inlet_new(NULL,
                                       &(weir_inlet_config){ .items_max = 3, .bytes_max = 100 });
    assert_int_equal(offer(inlet, 60), WEIR_OK);
    assert_int_equal(offer(inlet, 41), WEIR_EOVERLOAD);
    assert_int_equal(offer(inlet, 40), WEIR_OK);
    assert_int_equal(offer(inlet, 0), WEIR_OK);
    assert_int_equal(offer(inlet, 0), WEIR_EOVERLOAD);
    weir_inlet_end(inlet);
    assert_int_equal(offer(inlet, 0), WEIR_ECLOSED);
    weir_inlet_stats_get(inlet, &stats);
    assert_int_equal(stats.accepted, 3);
    assert_int_equal(stats.rejected_bytes, 1);
    assert_int_equal(stats.rejected_items, 1);
    assert_int_equal(stats.rejected_closed, 1);
    assert_int_equal(stats.queued, 3);
    assert_int_equal(stats.bytes, 100);
    weir_inlet_free(inlet);
}

static void an_inlet_takes_a_large_item_when_it_is_empty(void **state)
{
    (void)state;
    weir_inlet *inlet = weir_inlet_new(NULL, &(weir_inlet_config){ .bytes_max = 100 });
    assert_int_equal(offer(inlet, 1000), WEIR_OK);
    assert_int_equal(offer(inlet, 1), WEIR_EOVERLOAD);
    weir_inlet_free(inlet);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_consumer_gets_every_item_in_order),
        cmocka_unit_test(who_joins_late_gets_what_comes_from_then_on),
        cmocka_unit_test(an_item_ends_with_the_worst_of_its_ends),
        cmocka_unit_test(the_slowest_that_holds_sets_the_pace),
        cmocka_unit_test(who_misses_holds_back_nobody_and_is_counted),
        cmocka_unit_test(who_leaves_is_put_out_after_what_is_queued),
        cmocka_unit_test(a_hub_without_outlets_asks_for_nothing),
        cmocka_unit_test(a_hub_without_outlets_may_drop),
        cmocka_unit_test(consumers_end_after_what_is_queued),
        cmocka_unit_test(a_producer_that_aborts_takes_back_what_is_queued),
        cmocka_unit_test(what_a_producer_takes_back_makes_room_for_the_others),
        cmocka_unit_test(a_producer_that_was_swapped_in_too_late_is_not_waited_for),
        cmocka_unit_test(an_abort_waits_for_what_a_consumer_has_in_hand),
        cmocka_unit_test(a_consumer_that_drains_gets_what_is_queued),
        cmocka_unit_test(a_consumer_that_aborts_leaves_its_queue),
        cmocka_unit_test(outlets_beyond_the_limit_are_refused),
        cmocka_unit_test(a_hub_that_is_over_takes_no_producer),
        cmocka_unit_test(an_unknown_fate_is_refused),
        cmocka_unit_test(a_failed_allocation_loses_nothing),
        cmocka_unit_test(nobody_who_holds_loses_anything_whoever_comes_and_goes),
        cmocka_unit_test(copies_of_the_producer_share_the_hub),
        cmocka_unit_test(threads_meet_at_a_hub),
        cmocka_unit_test(an_inlet_counts_whom_it_rejects_and_why),
        cmocka_unit_test(an_inlet_takes_a_large_item_when_it_is_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
