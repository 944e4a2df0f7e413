/* blocking and pool in threads: a user's functions that may block. */
#include "feed.h"
#include "stages_rig.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ITEMS = 2000 };

/* ---- A gate at which threads wait ---- */

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    uint32_t inside, inside_most, opened, closed_threads, open_threads;
    bool is_open;
} gate;

#define GATE                                                                 \
    {                                                                        \
        .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER \
    }

static weir_status open_thread(void *user, void **ret_state)
{
    gate *g = user;
    pthread_mutex_lock(&g->lock);
    g->open_threads++;
    pthread_mutex_unlock(&g->lock);
    *ret_state = g;
    return WEIR_OK;
}

static void close_thread(void *thread_state, void *user)
{
    gate *g = user;
    assert_ptr_equal(thread_state, user);
    pthread_mutex_lock(&g->lock);
    g->closed_threads++;
    pthread_mutex_unlock(&g->lock);
}

static weir_status through(weir_item *item, void *thread_state, void *user)
{
    (void)item;
    (void)thread_state;
    gate *g = user;
    pthread_mutex_lock(&g->lock);
    g->inside++;
    g->inside_most = g->inside > g->inside_most ? g->inside : g->inside_most;
    pthread_cond_broadcast(&g->moved);
    while (!g->is_open)
        pthread_cond_wait(&g->moved, &g->lock);
    g->inside--;
    pthread_mutex_unlock(&g->lock);
    return WEIR_OK;
}

static void open_gate(gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->is_open = true;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
}

static void wait_inside(const rig *r, gate *g, uint32_t n)
{
    test_in_hand(); /* threads look at the gate */
    assert_true(weir_probe_live(r->from) >= n);
    pthread_mutex_lock(&g->lock);
    while (g->inside < n)
        pthread_cond_wait(&g->moved, &g->lock);
    pthread_mutex_unlock(&g->lock);
}

/* Turns the kit's loops, which nobody else runs, until `n` items have ended. */
static void turn_until_ended(rig *r, uint64_t n)
{
    while (weir_probe_emitted(r->from) - weir_probe_live(r->from) < n) {
        assert_true(weir_testkit_settle(r->kit));
        assert_true(weir_probe_emitted(r->from) >= n || weir_probe_live(r->from) > 0);
    }
}

/* ---- Many items ---- */

static weir_status twice(weir_item *item, void *thread_state, void *user)
{
    (void)thread_state;
    (void)user;
    feed_item *of = weir_item_body(item);
    of->answer = (int64_t)of->number * 2;
    return of->number % 10 == 3 ? WEIR_EIO : WEIR_OK;
}

static atomic_uint_fast64_t answers;

static void look_at_answer(feed *f, const feed_item *item, weir_status status)
{
    (void)f;
    assert_int_equal(status, item->number % 10 == 3 ? WEIR_EIO : WEIR_OK);
    if (item->answer == (int64_t)item->number * 2)
        answers++;
}

static void every_item_is_worked_on_once_on_one_loop_and_on_several(void **unused)
{
    (void)unused;
    for (uint32_t loops = 1; loops <= 3; loops += 2) {
        for (int unordered = 0; unordered < 2; unordered++) {
            feed f = { .loops = loops, .ended = look_at_answer };
            answers = 0;
            assert_int_equal(feed_run(&f, ITEMS,
                                      weir_blocking(&(weir_blocking_config){
                                          .run = twice, .threads = 3, .unordered = unordered })),
                             WEIR_OK);
            assert_int_equal(answers, ITEMS);
            feed_done(&f);
        }
    }
}

/* ---- Exactly ---- */

static rig rig_blocking(const weir_blocking_config *config)
{
    rig r = rig_with(weir_blocking(config));
    rig_request(&r, WEIR_UNBOUNDED);
    return r;
}

static void as_many_run_as_there_are_threads(void **unused)
{
    (void)unused;
    gate g = GATE;
    rig r = rig_blocking(&(weir_blocking_config){ .run = through,
                                                  .open = open_thread,
                                                  .close = close_thread,
                                                  .user = &g,
                                                  .threads = 3,
                                                  .queue = 2 });
    assert_int_equal(g.open_threads, 3);
    assert_demand(&r, 5);
    rig_feed(&r, 0, 20);
    assert_int_equal(weir_probe_emitted(r.from), 5);
    wait_inside(&r, &g, 3);
    open_gate(&g);
    turn_until_ended(&r, 20);
    assert_received(&r, 20);
    for (uint64_t i = 0; i < 20; i++)
        assert_int_equal(weir_probe_value(r.to, i), i);
    assert_int_equal(g.inside_most, 3);
    rig_finish(&r);
    assert_int_equal(g.closed_threads, 3);
}

static void what_waits_fails_when_its_context_is_over_and_what_runs_goes_on(void **unused)
{
    (void)unused;
    gate g = GATE;
    rig r = rig_blocking(
        &(weir_blocking_config){ .run = through, .user = &g, .threads = 1, .queue = 4 });
    weir_context context;
    weir_context_init(&context, weir_testkit_loop(r.kit, 0), NULL, 0);
    for (uint64_t i = 0; i < 2; i++)
        (void)weir_probe_feed_item(r.from, &(weir_probe_item){ .value = i, .context = &context });
    assert_true(weir_testkit_settle(r.kit));
    wait_inside(&r, &g, 1);
    weir_context_cancel(&context, WEIR_ECANCELED);
    assert_true(weir_testkit_advance(r.kit, 50 * WEIR_MS));
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_ECANCELED);
    assert_int_equal(weir_probe_live(r.from), 1); /* its thread is not interrupted */
    open_gate(&g);
    turn_until_ended(&r, 2);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ECANCELED); /* as no stage behind wants it */
    weir_context_done(&context);
    rig_finish(&r);
}

static weir_status until_over(weir_item *item, void *thread_state, void *user)
{
    (void)through(item, thread_state, user);
    return weir_context_status(item->context, 0);
}

static void long_work_may_look_at_its_context(void **unused)
{
    (void)unused;
    gate g = GATE;
    rig r = rig_blocking(&(weir_blocking_config){ .run = until_over, .user = &g, .threads = 1 });
    weir_context context;
    weir_context_init(&context, weir_testkit_loop(r.kit, 0), NULL, 0);
    (void)weir_probe_feed_item(r.from, &(weir_probe_item){ .value = 1, .context = &context });
    assert_true(weir_testkit_settle(r.kit));
    wait_inside(&r, &g, 1);
    weir_context_cancel(&context, WEIR_ECANCELED);
    open_gate(&g);
    turn_until_ended(&r, 1);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ECANCELED);
    weir_context_done(&context);
    rig_finish(&r);
}

static void an_abort_waits_for_the_threads_and_spares_the_rest(void **unused)
{
    (void)unused;
    gate g = GATE;
    rig r = rig_blocking(
        &(weir_blocking_config){ .run = through, .user = &g, .threads = 2, .queue = 4 });
    rig_feed(&r, 0, 20);
    wait_inside(&r, &g, 2);
    rig_abort(&r);
    assert_false(weir_pipeline_is_finished(r.pipeline));
    open_gate(&g);
    while (!weir_pipeline_is_finished(r.pipeline))
        assert_true(weir_testkit_settle(r.kit));
    assert_ended(&r, WEIR_ABORTED, 6);
    assert_int_equal(g.inside_most, 2);
    rig_done(&r);
}

static weir_status overwrite(weir_item *item, void *thread_state, void *user)
{
    (void)thread_state;
    (void)user;
    *(uint64_t *)weir_item_body(item) = 99;
    return WEIR_OK;
}

static void a_body_that_others_share_is_copied_first(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_probe *other = weir_testkit_probe(r.kit);
    weir_node *from = weir_add(r.pipeline, weir_probe_source(r.from));
    weir_node *split = weir_add(r.pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_node *work = weir_add(r.pipeline,
                               weir_blocking(&(weir_blocking_config){ .run = overwrite }));
    weir_link(from, 0, split, 0, NULL);
    weir_link(split, 0, work, 0, NULL);
    weir_link(work, 0, weir_add(r.pipeline, weir_probe_sink(other)), 0, NULL);
    weir_link(split, 1, weir_add(r.pipeline, weir_probe_sink(r.to)), 0, NULL);
    rig_start(&r);
    weir_probe_request(other, WEIR_UNBOUNDED);
    rig_request(&r, 1);
    rig_feed(&r, 1, 1);
    turn_until_ended(&r, 1);
    assert_int_equal(weir_probe_value(other, 0), 99);
    assert_got(&r, 1);
    rig_finish(&r);
}

static weir_status cannot_open(void *user, void **ret_state)
{
    (void)user;
    (void)ret_state;
    return WEIR_EDENIED;
}

static void threads_that_cannot_open_keep_the_pipeline_from_starting(void **unused)
{
    (void)unused;
    rig r = rig_of(weir_blocking(&(weir_blocking_config){ .run = overwrite, .open = cannot_open }));
    weir_status status = weir_testkit_start(r.kit, r.pipeline);
    assert_int_equal(status != WEIR_OK ? status : weir_pipeline_status(r.pipeline), WEIR_EDENIED);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

static void any_allocation_may_fail(void **unused)
{
    (void)unused;
    bool failed = true;
    for (uint64_t nth = 1; failed; nth++) {
        rig r = { .kit = weir_testkit_new(1, nth) };
        r.from = weir_testkit_probe(r.kit);
        r.to = weir_testkit_probe(r.kit);
        uint64_t before = weir_testkit_allocations(r.kit);
        weir_testkit_fail_allocation(r.kit, nth);
        r.pipeline = weir_testkit_pipeline(r.kit);
        if (r.pipeline != NULL) {
            weir_from(r.pipeline, weir_probe_source(r.from));
            weir_via(r.pipeline, weir_blocking(&(weir_blocking_config){ .run = overwrite }));
            weir_into(r.pipeline, weir_probe_sink(r.to));
            if (weir_testkit_start(r.kit, r.pipeline) == WEIR_OK) {
                (void)weir_probe_feed(r.from, 1);
                rig_request(&r, WEIR_UNBOUNDED);
                rig_abort(&r);
                while (!weir_pipeline_is_finished(r.pipeline))
                    assert_true(weir_testkit_settle(r.kit));
            }
        }
        failed = weir_testkit_allocations(r.kit) - before >= nth;
        assert_int_equal(weir_probe_live(r.from), 0);
        weir_pipeline_free(r.pipeline);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_worked_on_once_on_one_loop_and_on_several),
        cmocka_unit_test(as_many_run_as_there_are_threads),
        cmocka_unit_test(what_waits_fails_when_its_context_is_over_and_what_runs_goes_on),
        cmocka_unit_test(long_work_may_look_at_its_context),
        cmocka_unit_test(an_abort_waits_for_the_threads_and_spares_the_rest),
        cmocka_unit_test(a_body_that_others_share_is_copied_first),
        cmocka_unit_test(threads_that_cannot_open_keep_the_pipeline_from_starting),
        cmocka_unit_test(any_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
