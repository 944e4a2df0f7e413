/* Random graphs that change at random while they run: every item ends exactly once. */
#include "core_rig.h"

#include <weir/stages.h>

enum { SEEDS = 1500, STEPS = 60 };

typedef struct dice {
    uint64_t state;
} dice;

static uint32_t roll(dice *d, uint32_t sides)
{
    d->state = d->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(d->state >> 33) % sides;
}

/* ---- Stages of all kinds ---- */

static size_t thirds(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    uint64_t *seen = state;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (++*seen % 5 == 0)
            weir_fail(stage, items[i], WEIR_EIO, "a fifth");
        else if (*seen % 7 == 0)
            weir_item_end(items[i], WEIR_FILTERED, WEIR_OK);
        else
            items[kept++] = items[i];
    }
    return kept;
}

static const weir_stage_type thirds_type = { .name = "thirds",
                                             .state_size = sizeof(uint64_t),
                                             .transform = thirds };
static const weir_stage_type pass_type = { .name = "pass" };

static weir_status same(weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return WEIR_OK;
}

static weir_status two_of_each(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                               weir_item **ret_made)
{
    (void)user;
    if (index == 2)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, 16);
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    memset(weir_item_body(*ret_made), 0, 16);
    (*ret_made)->key = item->key + index;
    return WEIR_OK;
}

/* Operations that end after a random while, or not at all. */
typedef struct later {
    weir_timer timer;
    weir_op *op;
    weir_status status;
} later;

static void later_fire(weir_timer *timer, void *user)
{
    later *l = user;
    (void)timer;
    weir_op_done(l->op, l->status, "later");
}

static void later_start(weir_op *op, void *state)
{
    later *l = op->work;
    weir_loop *loop = weir_stage_loop(op->stage);
    uint64_t luck = weir_loop_entropy(loop) % 16;
    (void)state;
    l->op = op;
    l->status = luck % 4 == 0 ? WEIR_EUNAVAILABLE : WEIR_OK;
    if (luck < 4)
        weir_op_done(op, l->status, "at once");
    else if (luck < 15)
        weir_timer_start(loop, &l->timer, luck * 3 * WEIR_MS, later_fire, l);
}

static void later_cancel(weir_op *op, weir_status status, void *state)
{
    later *l = op->work;
    (void)state;
    weir_timer_stop(weir_stage_loop(op->stage), &l->timer);
    weir_op_done(op, status, "cancelled");
}

static const weir_async_type later_type = {
    .name = "later", .work_size = sizeof(later), .start = later_start, .cancel = later_cancel
};

static weir_stage_spec *any_stage(dice *d)
{
    weir_async_options options = { .in_flight = 1 + roll(d, 8),
                                   .unordered = roll(d, 2),
                                   .timeout_ms = roll(d, 2) * 20 };
    switch (roll(d, 10)) {
    case 0:
        return weir_stage_of(&pass_type, NULL);
    case 1:
    case 2:
        return weir_map(same, NULL);
    case 3:
        return weir_stage_of(&thirds_type, NULL);
    case 4:
    case 5:
        return weir_async_of(&later_type, &options, NULL);
    case 6:
        return weir_batch(&(weir_batch_config){ .count = 1 + roll(d, 5), .wait_us = 1000 });
    case 7:
        return weir_flat_map(two_of_each, NULL);
    case 8:
        return weir_buffer(&(weir_buffer_config){ .items_max = 1 + roll(d, 10) });
    default:
        return weir_take(1 + roll(d, 100));
    }
}

static weir_edge_config any_window(dice *d)
{
    return (weir_edge_config){ .window = roll(d, 3) == 0 ? 1 + roll(d, 5) : 0,
                               .window_bytes = roll(d, 4) == 0 ? 1 + roll(d, 200) : 0,
                               .error_jumps = roll(d, 4) == 0 };
}

typedef struct world {
    weir_testkit *kit;
    weir_pipeline *p;
    weir_probe *from, *to[16];
    uint32_t n_to, loops;
    uint32_t asked, answered; /* changes while it runs */
    dice d;
} world;

static void dress(world *w, weir_node *node)
{
    weir_edge_config window = any_window(&w->d);
    weir_node_window(node, &window);
    if (w->loops > 1 && roll(&w->d, 2))
        weir_node_place(node, roll(&w->d, w->loops));
    else
        weir_node_place(node, 0);
}

/* Up to three stages after an output; gives the last, or `at` if there is none: then the output to
 * go on from is the one given, otherwise 0. */
static weir_node *any_chain(world *w, weir_node *at, uint32_t *output)
{
    for (uint32_t i = roll(&w->d, 4); i > 0; i--) {
        weir_node *next = weir_add(w->p, any_stage(&w->d));
        weir_link(at, *output, next, 0, NULL);
        dress(w, next);
        weir_error_policy policy = { .on_error = WEIR_ON_ERROR_SKIP,
                                     .then = WEIR_ON_ERROR_SKIP,
                                     .retries_max = 1 + roll(&w->d, 3),
                                     .backoff_ms = 1 + roll(&w->d, 20),
                                     .waiting_max = 1 + roll(&w->d, 10) };
        policy.on_error = roll(&w->d, 2) ? WEIR_ON_ERROR_RETRY : WEIR_ON_ERROR_SKIP;
        if (roll(&w->d, 4) != 0)
            weir_node_policy(next, &policy);
        if (roll(&w->d, 4) == 0 && w->n_to < 8) {
            weir_probe *dead = w->to[w->n_to++] = weir_testkit_probe(w->kit);
            policy.then = WEIR_ON_ERROR_DEAD_LETTER;
            weir_node_policy(next, &policy);
            weir_node_dead_letter(next, weir_add(w->p, weir_probe_sink(dead)), 0);
        }
        at = next;
        *output = 0;
    }
    return at;
}

static void end_in_a_sink(world *w, weir_node *at, uint32_t output)
{
    weir_probe *to = w->to[w->n_to++] = weir_testkit_probe(w->kit);
    weir_node *sink = weir_add(w->p, weir_probe_sink(to));
    weir_link(at, output, sink, 0, NULL);
    dress(w, sink);
}

static void build(world *w)
{
    uint32_t output = 0;
    weir_node *at = any_chain(w, weir_add(w->p, weir_probe_source(w->from)), &output);
    uint32_t shape = roll(&w->d, 4);
    if (shape < 2) {
        end_in_a_sink(w, at, output);
        return;
    }
    weir_node *split = weir_add(w->p, roll(&w->d, 2) ? weir_broadcast(WEIR_SLOW_LEG_HOLDS)
                                                     : weir_balance());
    weir_link(at, output, split, 0, NULL);
    dress(w, split);
    uint32_t outputs[] = { 0, 1 };
    weir_node *ends[] = { any_chain(w, split, &outputs[0]), any_chain(w, split, &outputs[1]) };
    if (shape == 2) {
        end_in_a_sink(w, ends[0], outputs[0]);
        end_in_a_sink(w, ends[1], outputs[1]);
        return;
    }
    weir_node *merge = weir_add(w->p, weir_merge());
    weir_link(ends[0], outputs[0], merge, 0, NULL);
    weir_link(ends[1], outputs[1], merge, 1, NULL);
    dress(w, merge);
    end_in_a_sink(w, merge, 0);
}

static void change_told(weir_pipeline *p, weir_status status, const char *why, void *user)
{
    (void)p;
    (void)status;
    (void)why;
    ((world *)user)->answered++;
}

/* Of any stage, most often one that can: ports that do not fit are refused. */
static void change(world *w)
{
    weir_stage_stats stats;
    uint32_t i = roll(&w->d, weir_pipeline_stages(w->p));
    weir_on_changed on_changed = { change_told, w };
    weir_async_options options = { .in_flight = 1 + roll(&w->d, 12) };
    weir_error_policy policy = { .on_error = roll(&w->d, 2) ? WEIR_ON_ERROR_RETRY
                                                            : WEIR_ON_ERROR_SKIP,
                                 .then = WEIR_ON_ERROR_SKIP,
                                 .retries_max = 1 + roll(&w->d, 3),
                                 .backoff_ms = 1 + roll(&w->d, 20),
                                 .waiting_max = 1 + roll(&w->d, 20) };
    assert_int_equal(weir_pipeline_stage_stats(w->p, i, &stats), WEIR_OK);
    weir_status status = WEIR_OK;
    switch (roll(&w->d, 6)) {
    case 0:
        status = weir_pipeline_change(w->p, stats.name, &options, sizeof options, &on_changed,
                                      NULL);
        break;
    case 1:
        status = weir_pipeline_set_window(w->p, stats.name, 0, 1 + roll(&w->d, 300), &on_changed,
                                          NULL);
        break;
    case 2:
        status = weir_pipeline_set_policy(w->p, stats.name, &policy, &on_changed, NULL);
        break;
    case 3:
        status = weir_pipeline_swap(
            w->p, stats.name, roll(&w->d, 2) ? weir_merge() : weir_balance(), &on_changed, NULL);
        break;
    default:
        status = weir_pipeline_swap(w->p, stats.name, any_stage(&w->d), &on_changed, NULL);
    }
    w->asked += status == WEIR_OK;
}

static void step(world *w)
{
    uint32_t which = roll(&w->d, w->n_to);
    switch (roll(&w->d, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        for (uint32_t i = roll(&w->d, 40); i > 0; i--)
            (void)weir_probe_feed_item(w->from, &(weir_probe_item){ .value = i,
                                                                    .key = roll(&w->d, 4),
                                                                    .cost = 1 + roll(&w->d, 100) });
        break;
    case 4:
    case 5:
    case 6:
        weir_probe_request(w->to[which], 1 + roll(&w->d, 50));
        break;
    case 7:
    case 8:
        assert_true(weir_testkit_advance(w->kit, roll(&w->d, 20) * WEIR_MS));
        break;
    case 9:
        (void)weir_loop_turn(weir_testkit_loop(w->kit, roll(&w->d, w->loops)));
        break;
    case 10:
        if (roll(&w->d, 10) == 0)
            weir_probe_cancel(w->to[which]);
        else
            weir_testkit_fail_allocation(w->kit, roll(&w->d, 30));
        break;
    default:
        if (roll(&w->d, 10) == 0)
            weir_probe_end_error(w->from, roll(&w->d, 2) ? WEIR_OK : WEIR_EIO);
        else if (roll(&w->d, 20) == 0)
            weir_pipeline_shutdown(w->p, (weir_shutdown)roll(&w->d, 3), roll(&w->d, 30));
    }
}

static void run(uint64_t seed)
{
    world w = { .d = { seed * 977 + 1 } };
    w.loops = 1 + roll(&w.d, 3);
    w.kit = weir_testkit_new(w.loops, seed);
    weir_pipeline_config config = { .env = weir_testkit_env(w.kit), .no_fuse = roll(&w.d, 2) };
    w.p = weir_pipeline_new(&config);
    w.from = weir_testkit_probe(w.kit);
    build(&w);
    assert_int_equal(weir_testkit_start(w.kit, w.p), WEIR_OK);
    for (int i = 0; i < STEPS; i++) {
        step(&w);
        if (roll(&w.d, 3) == 0)
            change(&w);
    }
    bool aborts = roll(&w.d, 2);
    if (aborts) {
        weir_pipeline_shutdown(w.p, WEIR_ABORT, 0);
    } else {
        weir_pipeline_shutdown(w.p, WEIR_HYBRID, 5000);
        for (uint32_t i = 0; i < w.n_to; i++)
            weir_probe_request(w.to[i], WEIR_UNBOUNDED);
    }
    assert_true(weir_testkit_advance_by(w.kit, 6 * WEIR_SEC, 50 * WEIR_MS));
    if (!weir_pipeline_is_finished(w.p) || weir_probe_live(w.from) != 0)
        fail_msg("seed %u: finished %d, live %u", (unsigned)seed, weir_pipeline_is_finished(w.p),
                 (unsigned)weir_probe_live(w.from));
    assert_int_equal(w.asked, w.answered);
    assert_int_equal(weir_probe_violations(w.from), 0);
    for (uint32_t i = 0; i < w.n_to; i++)
        assert_int_equal(weir_probe_violations(w.to[i]), 0);
    for (uint32_t i = 0; i < weir_pipeline_stages(w.p); i++) {
        weir_stage_stats stats;
        assert_int_equal(weir_pipeline_stage_stats(w.p, i, &stats), WEIR_OK);
        assert_int_equal(stats.over_emitted, 0);
    }
    weir_pipeline_free(w.p);
    assert_int_equal(weir_testkit_free(w.kit), 0);
}

static void every_item_of_every_random_graph_that_changes_ends_exactly_once(void **state)
{
    const char *only = getenv("WEIR_TEST_SEED");
    (void)state;
    for (uint64_t seed = 0; only == NULL && seed < SEEDS; seed++)
        run(seed);
    if (only != NULL)
        run(strtoull(only, NULL, 10));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_of_every_random_graph_that_changes_ends_exactly_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
