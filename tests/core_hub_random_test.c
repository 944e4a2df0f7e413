/* Hubs, inlets and switches at random moments: pipelines that produce and consume come, go, are
 * changed and fail, and all that is not waiting for a consumer comes to its end. Every other seed
 * has faults. */
#include "core_rig.h"
#include "effort.h"

#include <weir/hub.h>
#include <weir/inlet.h>
#include <weir/stages.h>

enum {
    SEEDS = 1500,
    SEEDS_LONG = 20000,
    STEPS = 150,
    PRODUCERS = 3,
    MEMBERS = 12,
    INLETS = 2,
    ROUNDS = 30
};

typedef struct member {
    weir_pipeline *p;
    weir_probe *probe; /* its source or its sink; NULL: its source is an inlet */
} member;

/* What a consumer has got, if it does not run as copies. */
typedef struct order {
    struct world *world;
    bool is_single;
    uint64_t next[PRODUCERS];
} order;

typedef struct world {
    uint64_t dice, seed;
    uint32_t loops;
    weir_testkit *kit;
    weir_hub *hub;
    weir_switch *off;
    weir_inlet *inlets[INLETS];
    member members[MEMBERS]; /* the producers first */
    order orders[MEMBERS];
    uint32_t producers, n;
    bool is_out_of_order;
} world;

static uint64_t foreign_alive;

static uint32_t roll(world *w, uint32_t sides)
{
    uint64_t z = w->dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 16) % sides;
}

static bool one_in(world *w, uint32_t n)
{
    return roll(w, n) == 0;
}

static void wrong(const world *w, const char *why)
{
    fail_msg("%s; again: WEIR_TEST_SEED=%llu core_hub_random_test", why,
             (unsigned long long)w->seed);
}

/* ---- Items of nobody's loop, for inlets ---- */

static void foreign_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    (void)item;
    (void)outcome;
    (void)status;
    foreign_alive--;
}

static weir_status foreign_clone(weir_item *to, const weir_item *from)
{
    (void)to;
    (void)from;
    foreign_alive++;
    return WEIR_OK;
}

static const weir_item_type foreign_type = { .name = "foreign",
                                             .ended = foreign_ended,
                                             .clone = foreign_clone };

static void offer(world *w, weir_inlet *inlet)
{
    if (inlet == NULL)
        return;
    weir_item *item = weir_item_new_foreign(weir_testkit_env(w->kit), &foreign_type, 8);
    if (item == NULL)
        return;
    item->cost = 1 + roll(w, 40);
    foreign_alive++;
    if (weir_inlet_offer(inlet, item) != WEIR_OK)
        weir_item_end(item, WEIR_REJECTED, WEIR_EOVERLOAD);
}

/* ---- Who produces and who consumes ---- */

static void start(world *w, weir_pipeline *p, weir_probe *probe)
{
    if (weir_testkit_start(w->kit, p) == WEIR_OK)
        w->members[w->n++] = (member){ .p = p, .probe = probe };
    else /* its hub is over, say */
        weir_pipeline_free(p);
}

static void dress(world *w, weir_node *node, uint32_t window_most, uint32_t bytes_most)
{
    weir_edge_config edge = { .window = one_in(w, 2) ? 1 + roll(w, window_most) : 0,
                              .window_bytes = one_in(w, 3) ? 1 + roll(w, bytes_most) : 0 };
    weir_node_window(node, &edge);
}

static weir_node *add_source(world *w, weir_pipeline *p, uint32_t index, weir_probe **ret_probe)
{
    *ret_probe = NULL;
    if (index >= INLETS || one_in(w, 2)) {
        *ret_probe = weir_testkit_probe(w->kit);
        return weir_from(p, weir_probe_source(*ret_probe));
    }
    w->inlets[index] =
        weir_inlet_new(weir_testkit_env(w->kit),
                       &(weir_inlet_config){ .items_max = 1 + roll(w, 20),
                                             .bytes_max = one_in(w, 2) ? 1 + roll(w, 300) : 0 });
    return weir_from(p, weir_from_inlet(w->inlets[index]));
}

static void add_producer(world *w, uint32_t index)
{
    weir_probe *probe;
    weir_pipeline *p = weir_testkit_pipeline(w->kit);
    weir_node_place(add_source(w, p, index, &probe), roll(w, w->loops));
    if (one_in(w, 3))
        weir_node_place(weir_via(p, weir_switch_stage(w->off)), roll(w, w->loops));
    weir_node *into = weir_into(p, weir_into_hub(w->hub));
    weir_node_place(into, roll(w, w->loops));
    dress(w, into, 5, 100);
    start(w, p, probe);
}

static void look_at_order(const weir_item *item, void *user)
{
    order *o = user;
    world *w = o->world;
    weir_probe *source;
    uint64_t index;
    if (!o->is_single || !weir_probe_origin(item, &source, &index))
        return;
    for (uint32_t i = 0; i < w->producers; i++) {
        if (w->members[i].probe != source)
            continue;
        w->is_out_of_order |= index < o->next[i];
        o->next[i] = index + 1;
    }
}

static void join(world *w)
{
    if (w->n == MEMBERS)
        return;
    weir_outlet_config config = { .slow = (weir_hub_slow)roll(w, 3),
                                  .window = one_in(w, 2)   ? 1 + roll(w, 6)
                                            : one_in(w, 9) ? UINT32_MAX
                                                           : 0 };
    order *o = &w->orders[w->n];
    weir_pipeline *p = weir_testkit_pipeline(w->kit);
    weir_probe *probe = weir_testkit_probe(w->kit);
    weir_node *from = weir_from(p, weir_from_hub(w->hub, &config));
    *o = (order){ .world = w, .is_single = w->loops == 1 || !one_in(w, 3) };
    if (o->is_single)
        weir_node_place(from, roll(w, w->loops));
    if (one_in(w, 4))
        (void)weir_via(p, weir_switch_stage(w->off));
    dress(w, weir_into(p, weir_probe_sink(probe)), 8, 60);
    weir_probe_look(probe, look_at_order, o);
    weir_probe_keep(probe, one_in(w, 3));
    start(w, p, probe);
}

/* ---- A step ---- */

/* A consumer; NULL: there is none. */
static member *any_consumer(world *w)
{
    uint32_t n = w->n - w->producers;
    return n != 0 ? &w->members[w->producers + roll(w, n)] : NULL;
}

static void shut_down(world *w, const member *m)
{
    if (m != NULL)
        weir_pipeline_shutdown(m->p, (weir_shutdown)roll(w, 3), roll(w, 50));
}

static void end_one(world *w, weir_probe *sink)
{
    weir_item *item = weir_probe_take(weir_probe_replica(sink, roll(w, w->loops)));
    weir_outcome outcome = one_in(w, 6) ? WEIR_FAILED : WEIR_ACKED;
    if (item != NULL)
        weir_item_end(item, outcome, outcome == WEIR_FAILED ? WEIR_EIO : WEIR_OK);
}

/* What a consumer does. */
static void consume(world *w)
{
    member *m = any_consumer(w);
    uint32_t what = roll(w, 60);
    if (m == NULL)
        return;
    if (what < 24)
        for (uint32_t r = 0; r < w->loops; r++)
            weir_probe_request(weir_probe_replica(m->probe, r), 1 + roll(w, 10));
    else if (what < 48)
        end_one(w, m->probe);
    else if (what < 55)
        shut_down(w, m);
    else
        weir_probe_cancel(weir_probe_replica(m->probe, roll(w, w->loops)));
}

/* A window, and one end of a hub or an inlet for another. */
static void change(world *w)
{
    weir_stage_stats stats;
    if (w->n == 0)
        return;
    weir_pipeline *p = w->members[roll(w, w->n)].p;
    uint32_t stage = roll(w, weir_pipeline_stages(p));
    weir_inlet *inlet = w->inlets[roll(w, INLETS)];
    weir_stage_spec *spec = NULL;
    if (weir_pipeline_stage_stats(p, stage, &stats) != WEIR_OK)
        return;
    (void)!weir_pipeline_set_window(p, stats.name, 0, 1 + roll(w, 5), NULL, NULL);
    if (strncmp(stats.name, "from_hub", 8) == 0)
        spec = weir_from_hub(w->hub, NULL);
    else if (strncmp(stats.name, "into_hub", 8) == 0)
        spec = weir_into_hub(w->hub);
    else if (strncmp(stats.name, "inlet", 5) == 0 && inlet != NULL)
        spec = weir_from_inlet(inlet);
    if (spec != NULL)
        (void)!weir_pipeline_swap(p, stats.name, spec, NULL, NULL);
}

static void feed(world *w)
{
    for (uint32_t i = 0; i < w->producers; i++)
        for (uint32_t n = roll(w, 6); n > 0; n--)
            if (w->members[i].probe != NULL)
                (void)weir_probe_feed_item(
                    w->members[i].probe, &(weir_probe_item){ .value = n, .cost = 1 + roll(w, 40) });
            else
                offer(w, w->inlets[roll(w, INLETS)]);
}

static void switch_off(world *w)
{
    if (one_in(w, 20))
        weir_switch_off(w->off, one_in(w, 2) ? WEIR_OK : WEIR_EIO);
    else if (one_in(w, 40))
        weir_switch_abort(w->off);
}

static void end_inlet(world *w)
{
    weir_inlet *inlet = w->inlets[roll(w, INLETS)];
    if (inlet == NULL || !one_in(w, 10))
        return;
    weir_inlet_end(inlet);
    weir_inlet_end(inlet);
}

static void step(world *w)
{
    uint32_t what = roll(w, 24);
    if (what < 4)
        join(w);
    else if (what < 10)
        consume(w);
    else if (what < 12 && one_in(w, 12) && w->producers != 0)
        shut_down(w, &w->members[roll(w, w->producers)]);
    else if (what < 14)
        switch_off(w);
    else if (what < 16)
        end_inlet(w);
    else if (what < 17)
        change(w);
    else
        feed(w);
    if (one_in(w, 3))
        (void)weir_testkit_advance(w->kit, roll(w, 10) * WEIR_MS);
    else if (one_in(w, 2))
        (void)weir_testkit_settle(w->kit);
}

/* ---- A run ---- */

static void take_all(world *w)
{
    weir_item *item;
    for (uint32_t i = w->producers; i < w->n; i++)
        for (uint32_t r = 0; r < w->loops; r++) {
            weir_probe *sink = weir_probe_replica(w->members[i].probe, r);
            weir_probe_keep(sink, false);
            weir_probe_request(sink, 1000);
            while ((item = weir_probe_take(sink)) != NULL)
                weir_item_ack(item);
        }
}

static void finish(world *w)
{
    for (uint32_t i = 0; i < w->producers; i++)
        if (w->members[i].probe != NULL)
            weir_probe_end(w->members[i].probe);
    for (uint32_t i = 0; i < INLETS; i++)
        if (w->inlets[i] != NULL)
            weir_inlet_end(w->inlets[i]);
    for (int round = 0; round < ROUNDS; round++) {
        take_all(w);
        (void)weir_testkit_advance(w->kit, 20 * WEIR_MS);
    }
}

static bool all_are_over(const world *w)
{
    for (uint32_t i = 0; i < w->n; i++)
        if (!weir_pipeline_is_finished(w->members[i].p))
            return false;
    return true;
}

/* A hub without outlets may have its producers wait for one, but a consumer ends with them. */
static void check(world *w)
{
    weir_hub_stats stats;
    weir_hub_stats_get(w->hub, &stats);
    if (!weir_testkit_check(w->kit))
        wrong(w, weir_testkit_why(w->kit));
    if (w->is_out_of_order)
        wrong(w, "an item of a producer came late, or again");
    if (!all_are_over(w) && stats.outlets != 0)
        wrong(w, "it does not come to its end");
    for (uint32_t i = 0; i < w->n; i++)
        if (!weir_pipeline_is_finished(w->members[i].p))
            weir_pipeline_shutdown(w->members[i].p, WEIR_ABORT, 0);
    take_all(w);
    (void)weir_testkit_advance(w->kit, WEIR_SEC);
    if (!weir_testkit_expect_clean(w->kit))
        wrong(w, weir_testkit_why(w->kit));
}

static void open_world(world *w)
{
    w->dice = w->seed * 31 + 7;
    w->loops = 1 + roll(w, 3);
    weir_testkit_config config = { .loops = w->loops, .seed = w->seed, .shuffle = !one_in(w, 4) };
    if (w->seed % 2 != 0) {
        config.faults_ppm[WEIR_FAULT_ALLOCATION] = 5000;
        config.faults_ppm[WEIR_FAULT_CANCEL] = one_in(w, 2) ? 1000 : 0;
        config.faults_ppm[WEIR_FAULT_LOOP_STALL] = one_in(w, 2) ? 5000 : 0;
    }
    w->kit = weir_testkit_new_with(&config);
    assert_non_null(w->kit);
    w->hub = weir_hub_new(weir_testkit_env(w->kit),
                          &(weir_hub_config){ .outlets_max = one_in(w, 3) ? 1 + roll(w, 4) : 0,
                                              .asked_max = one_in(w, 2)   ? 1 + roll(w, 9)
                                                           : one_in(w, 5) ? UINT32_MAX
                                                                          : 0,
                                              .alone_drops = one_in(w, 2) });
    w->off = weir_switch_new(weir_testkit_env(w->kit));
    for (uint32_t i = 1 + roll(w, PRODUCERS); i > 0; i--)
        add_producer(w, i - 1);
    w->producers = w->n;
}

static void run(uint64_t seed)
{
    world w = { .seed = seed };
    foreign_alive = 0;
    test_in_hand(); /* items, on their way to an inlet */
    open_world(&w);
    for (int i = 0; i < STEPS && weir_testkit_violations(w.kit) == 0; i++)
        step(&w);
    finish(&w);
    check(&w);
    for (uint32_t i = 0; i < w.n; i++)
        weir_pipeline_free(w.members[i].p);
    for (uint32_t i = 0; i < INLETS; i++)
        weir_inlet_free(w.inlets[i]);
    weir_hub_free(w.hub);
    weir_switch_free(w.off);
    if (weir_testkit_free(w.kit) != 0)
        wrong(&w, "bytes are left");
    if (foreign_alive != 0)
        wrong(&w, "an item of an inlet never ended");
}

static void whoever_comes_and_goes_all_comes_to_its_end(void **state)
{
    const char *only = getenv("WEIR_TEST_SEED");
    uint64_t seeds = getenv("WEIR_TEST_LONG") != NULL ? SEEDS_LONG : effort(SEEDS);
    (void)state;
    for (uint64_t seed = 1; only == NULL && seed <= seeds; seed++)
        run(seed);
    if (only != NULL)
        run(strtoull(only, NULL, 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_comes_and_goes_all_comes_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
