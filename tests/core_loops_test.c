/* Loops on threads of their own: edges, ends, cancels and shutdown across them, and the ways in. */
#include "effort.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <event2/event.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include <weir/async.h>
#include <weir/inlet.h>
#include <weir/offload.h>
#include <weir/pipeline.h>
#include <weir/stages.h>

enum { MANY = IS_SANITIZED ? 100000 : 1000000, ROUNDS = IS_SANITIZED ? 60 : 300 };

/* ---- A source that waits for the end of every item, and a sink that checks the order ---- */

typedef struct numbers {
    uint64_t n;      /* items to make; 0: without end */
    bool is_tracked; /* each item tells of its end */
    uint64_t made, ended[WEIR_FAILED + 1];
    weir_stage *stage;
    bool closed;
} numbers;

typedef struct number {
    uint64_t value;
    numbers *from;
} number;

static void number_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    numbers *from = ((number *)weir_item_body(item))->from;
    (void)status;
    if (from == NULL)
        return;
    assert_true(weir_loop_is_here(item->home));
    assert_ptr_equal(item->home, weir_stage_loop(from->stage));
    assert_false(from->closed);
    from->ended[outcome]++;
    weir_stage_release(from->stage);
}

static weir_status number_clone(weir_item *to, const weir_item *from)
{
    (void)from;
    ((number *)weir_item_body(to))->from = NULL;
    return WEIR_OK;
}

static const weir_item_type number_type = { .name = "number",
                                            .ended = number_ended,
                                            .clone = number_clone };

typedef struct pointer {
    void *to;
} pointer;

static weir_status numbers_open(weir_stage *stage, const void *config, void *state)
{
    numbers *s = ((const pointer *)config)->to;
    (void)state;
    s->stage = stage;
    return WEIR_OK;
}

static void numbers_close(weir_stage *stage, void *state)
{
    numbers *s = ((const pointer *)weir_stage_config(stage))->to;
    (void)state;
    s->closed = true;
}

static void numbers_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    numbers *s = ((const pointer *)weir_stage_config(stage))->to;
    (void)state;
    (void)credit;
    while (weir_out_credit(out) > 0 && (s->n == 0 || s->made < s->n)) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), s->is_tracked ? &number_type : NULL,
                                        sizeof(number));
        *(number *)weir_item_body(item) = (number){ s->made++, s };
        if (s->is_tracked)
            weir_stage_hold(stage);
        weir_emit(out, item);
    }
    if (s->n != 0 && s->made == s->n)
        weir_end(out);
}

static const weir_stage_type numbers_type = {
    .name = "numbers",
    .config_size = sizeof(pointer),
    .inputs = WEIR_PORTS_NONE,
    .open = numbers_open,
    .close = numbers_close,
    .on_demand = numbers_on_demand,
};

typedef struct checker {
    uint64_t received, next, out_of_order;
    uint64_t cancel_at, fail_at; /* 0: never */
    weir_status over;
} checker;

static weir_status checker_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    checker *c = ((const pointer *)weir_stage_config(stage))->to;
    uint64_t value = ((number *)weir_item_body(item))->value;
    (void)state;
    c->out_of_order += value < c->next;
    c->next = value + 1;
    weir_item_ack(item);
    c->received++;
    if (c->received == c->cancel_at)
        weir_cancel(in);
    return c->received == c->fail_at ? WEIR_EIO : WEIR_OK;
}

static void checker_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    checker *c = ((const pointer *)weir_stage_config(stage))->to;
    (void)in;
    (void)state;
    c->over = status;
}

static const weir_stage_type checker_type = {
    .name = "checker",
    .config_size = sizeof(pointer),
    .outputs = WEIR_PORTS_NONE,
    .on_item = checker_on_item,
    .on_end = checker_on_end,
};

static weir_stage_spec *spec(const weir_stage_type *type, void *to)
{
    return weir_stage_of(type, &(pointer){ to });
}

static const weir_stage_type pass_type = { .name = "pass" };
static const weir_stage_type take_all_type = { .name = "take_all", .outputs = WEIR_PORTS_NONE };

static uint64_t sum_of_ends(const numbers *s)
{
    uint64_t sum = 0;
    for (int i = 0; i <= WEIR_FAILED; i++)
        sum += s->ended[i];
    return sum;
}

/* numbers on loop 0 -> a stage on each loop -> checker on the last. */
static weir_pipeline *line(uint32_t loops, numbers *from, checker *to)
{
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = loops });
    weir_from(p, spec(&numbers_type, from));
    for (uint32_t i = 1; i < loops; i++)
        weir_node_place(weir_via(p, weir_stage_of(&pass_type, NULL)), i);
    weir_node_place(weir_into(p, spec(&checker_type, to)), loops - 1);
    return p;
}

static void many_items_cross_loops_all_and_in_order(void **state)
{
    (void)state;
    for (uint32_t loops = 1; loops <= 4; loops++)
        for (int tracked = 0; tracked < 2; tracked++) {
            numbers from = { .n = MANY, .is_tracked = tracked };
            checker to = { 0 };
            weir_pipeline *p = line(loops, &from, &to);
            assert_int_equal(weir_run(p), WEIR_OK);
            assert_int_equal(to.received, MANY);
            assert_int_equal(to.out_of_order, 0);
            assert_int_equal(from.ended[WEIR_ACKED], tracked ? MANY : 0);
            weir_pipeline_free(p);
        }
}

static void a_cancel_crosses_loops_and_every_item_ends(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        numbers from = { .is_tracked = true };
        checker to = { .cancel_at = 1 + i * 37 };
        weir_pipeline *p = line(2 + (uint32_t)(i % 2), &from, &to);
        assert_int_equal(weir_run(p), WEIR_OK);
        assert_int_equal(to.received, to.cancel_at);
        assert_int_equal(sum_of_ends(&from), from.made);
        assert_int_equal(from.ended[WEIR_ACKED], to.received);
        weir_pipeline_free(p);
    }
}

static void an_error_crosses_loops_and_every_item_ends(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        numbers from = { .is_tracked = true };
        checker to = { .fail_at = 1 + i * 37 };
        weir_pipeline *p = line(2 + (uint32_t)(i % 2), &from, &to);
        assert_int_equal(weir_run(p), WEIR_EIO);
        assert_int_equal(sum_of_ends(&from), from.made);
        weir_pipeline_free(p);
    }
}

static void small_windows_cross_loops(void **state)
{
    (void)state;
    const weir_edge_config configs[] = { { .window = 1 },
                                         { .window = 3 },
                                         { .window_bytes = 1 },
                                         { .window = 64, .window_bytes = 100 } };
    for (int i = 0; i < 4; i++) {
        numbers from = { .n = 3000, .is_tracked = true };
        checker to = { 0 };
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
        weir_from(p, spec(&numbers_type, &from));
        weir_node *pass = weir_via(p, weir_stage_of(&pass_type, NULL));
        weir_node *sink = weir_into(p, spec(&checker_type, &to));
        weir_node_place(pass, 1);
        weir_node_window(pass, &configs[i]);
        weir_node_window(sink, &configs[i]);
        assert_int_equal(weir_run(p), WEIR_OK);
        assert_int_equal(to.received, 3000);
        assert_int_equal(from.ended[WEIR_ACKED], 3000);
        weir_pipeline_free(p);
    }
}

/* One body, two branches, two loops: what crosses is a clone, and the root hears of both. */
static void a_shared_item_crosses_as_a_clone(void **state)
{
    (void)state;
    numbers from = { .n = MANY / 10, .is_tracked = true };
    checker near = { 0 }, far = { 0 }, farther = { 0 };
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 3 });
    weir_from(p, spec(&numbers_type, &from));
    weir_node *split = weir_via(p, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_into(p, spec(&checker_type, &near));
    weir_at(p, split);
    weir_node_place(weir_into(p, spec(&checker_type, &far)), 1);
    weir_at(p, split);
    weir_node_place(weir_into(p, spec(&checker_type, &farther)), 2);
    assert_int_equal(weir_run(p), WEIR_OK);
    assert_int_equal(farther.received, from.n);
    assert_int_equal(near.received, from.n);
    assert_int_equal(far.received, from.n);
    assert_int_equal(from.ended[WEIR_ACKED], from.n);
    weir_pipeline_free(p);
}

static void joined_items_cross_and_their_members_end_at_home(void **state)
{
    (void)state;
    numbers from = { .n = MANY / 10, .is_tracked = true };
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 3 });
    weir_from(p, spec(&numbers_type, &from));
    weir_node_place(weir_via(p, weir_batch(&(weir_batch_config){ .count = 10 })), 1);
    weir_node *split = weir_via(p, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_node_place(split, 1);
    weir_into(p, weir_stage_of(&take_all_type, NULL));
    weir_at(p, split);
    weir_node_place(weir_into(p, weir_stage_of(&take_all_type, NULL)), 2);
    assert_int_equal(weir_run(p), WEIR_OK);
    assert_int_equal(from.ended[WEIR_ACKED], from.n);
    weir_pipeline_free(p);
}

/* ---- Other threads ---- */

typedef struct thrower {
    weir_inlet *inlet;
    uint64_t n, taken, refused;
    pthread_t thread;
    atomic_ullong *ended;
} thrower;

static void thrown_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    (void)outcome;
    (void)status;
    atomic_fetch_add(((thrower *)((pointer *)weir_item_body(item))->to)->ended, 1);
}

static const weir_item_type thrown_type = { .name = "thrown", .ended = thrown_ended };

static void *throw_items(void *user)
{
    thrower *t = user;
    for (uint64_t i = 0; i < t->n;) {
        weir_item *item = weir_item_new_foreign(NULL, &thrown_type, sizeof(pointer));
        ((pointer *)weir_item_body(item))->to = t;
        weir_status status = weir_inlet_offer(t->inlet, item);
        if (status == WEIR_OK) {
            t->taken++;
            i++;
            continue;
        }
        item->type = NULL;
        weir_item_end(item, WEIR_REJECTED, status);
        t->refused++;
        if (status == WEIR_ECLOSED)
            break;
        sched_yield();
    }
    return NULL;
}

static void *run_pipeline(void *user)
{
    weir_status status = weir_run(user); /* no thread but the first may fail a test */
    return (void *)(uintptr_t)(status == WEIR_OK ? "" : weir_pipeline_why(user));
}

static void join_pipeline(pthread_t runner)
{
    void *why = NULL;
    pthread_join(runner, &why);
    if (strstr(why, "not drained in time") == NULL) /* what a hybrid says that had to abort */
        assert_string_equal(why, "");
}

static void an_inlet_takes_offers_of_many_threads(void **state)
{
    (void)state;
    for (uint32_t loops = 1; loops <= 3; loops++) {
        atomic_ullong ended = 0;
        thrower throwers[3];
        pthread_t runner;
        weir_inlet *inlet = weir_inlet_new(NULL, &(weir_inlet_config){ .items_max = 100 });
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = loops });
        weir_from(p, weir_from_inlet(inlet));
        weir_via(p, weir_stage_of(&pass_type, NULL));
        weir_into(p, weir_stage_of(&take_all_type, NULL));
        assert_int_equal(pthread_create(&runner, NULL, run_pipeline, p), 0);
        for (int i = 0; i < 3; i++) {
            throwers[i] = (thrower){ .inlet = inlet, .n = MANY / 50, .ended = &ended };
            assert_int_equal(pthread_create(&throwers[i].thread, NULL, throw_items, &throwers[i]),
                             0);
        }
        uint64_t taken = 0;
        for (int i = 0; i < 3; i++) {
            pthread_join(throwers[i].thread, NULL);
            taken += throwers[i].taken;
        }
        weir_inlet_end(inlet);
        join_pipeline(runner);
        assert_int_equal(taken, 3 * (MANY / 50));
        weir_pipeline_free(p);
        weir_inlet_free(inlet);
        assert_int_equal(atomic_load(&ended), taken);
    }
}

static void an_inlet_closes_under_offers(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < ROUNDS / 3; round++) {
        atomic_ullong ended = 0;
        thrower throwers[2];
        pthread_t runner;
        weir_inlet *inlet = weir_inlet_new(NULL, &(weir_inlet_config){ .items_max = 10 });
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
        weir_from(p, weir_from_inlet(inlet));
        weir_into(p, weir_stage_of(&take_all_type, NULL));
        assert_int_equal(pthread_create(&runner, NULL, run_pipeline, p), 0);
        for (int i = 0; i < 2; i++) {
            throwers[i] = (thrower){ .inlet = inlet, .n = UINT64_MAX, .ended = &ended };
            assert_int_equal(pthread_create(&throwers[i].thread, NULL, throw_items, &throwers[i]),
                             0);
        }
        for (uint64_t i = 0; i < round; i++)
            sched_yield();
        weir_pipeline_shutdown(p, (weir_shutdown)(round % 3), 1);
        join_pipeline(runner);
        weir_inlet_end(inlet);
        uint64_t taken = 0;
        for (int i = 0; i < 2; i++) {
            pthread_join(throwers[i].thread, NULL);
            taken += throwers[i].taken;
        }
        weir_pipeline_free(p);
        weir_inlet_free(inlet);
        assert_int_equal(atomic_load(&ended), taken);
    }
}

typedef struct poster {
    weir_loop *loop;
    pthread_t thread;
    weir_task tasks[64];
    atomic_uint ran;
    atomic_uint *left;
} poster;

static void posted(weir_task *task, void *user)
{
    poster *p = user;
    (void)task;
    assert_true(weir_loop_is_here(p->loop));
    if (atomic_fetch_add(&p->ran, 1) + 1 == 64 && atomic_fetch_sub(p->left, 1) == 1)
        weir_loop_stop(p->loop);
}

static void *post_all(void *user)
{
    poster *p = user;
    for (int i = 0; i < 64; i++)
        weir_post(p->loop, &p->tasks[i]);
    return NULL;
}

static void posts_of_many_threads_all_run_once_on_the_loop(void **state)
{
    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        weir_loop *loop = weir_loop_new(NULL);
        poster posters[3];
        atomic_uint left = 3;
        memset(posters, 0, sizeof posters);
        for (int i = 0; i < 3; i++) {
            posters[i].loop = loop;
            posters[i].left = &left;
            for (int k = 0; k < 64; k++)
                posters[i].tasks[k] = (weir_task)WEIR_TASK(posted, &posters[i]);
        }
        for (int i = 0; i < 3; i++)
            assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
        assert_int_equal(weir_loop_run(loop), WEIR_OK);
        for (int i = 0; i < 3; i++) {
            pthread_join(posters[i].thread, NULL);
            assert_int_equal(atomic_load(&posters[i].ran), 64);
        }
        weir_loop_free(loop);
    }
}

/* ---- Offload and asynchronous ends ---- */

typedef struct blocking {
    weir_job job;
    weir_op *op;
    uint64_t result;
} blocking;

static void blocking_done(weir_job *job, void *user)
{
    blocking *b = user;
    (void)job;
    assert_int_equal(b->result, ((number *)weir_item_body(b->op->item))->value * 2);
    weir_op_done(b->op, WEIR_OK, NULL);
}

static void blocking_run(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    (void)thread_state;
    (void)user;
    for (size_t i = 0; i < n; i++) {
        blocking *b = jobs[i]->work;
        b->result *= 2;
    }
}

static void blocking_start(weir_op *op, void *state)
{
    blocking *b = op->work;
    weir_offload *offload = ((const pointer *)weir_async_config(op->stage))->to;
    (void)state;
    *b = (blocking){ .op = op, .result = ((number *)weir_item_body(op->item))->value };
    b->job = (weir_job){
        .loop = weir_stage_loop(op->stage), .done = blocking_done, .user = b, .work = b
    };
    weir_status status = weir_offload_submit(offload, &b->job);
    if (status != WEIR_OK)
        weir_op_done(op, status, "the pool is full");
}

static const weir_async_type blocking_type = { .name = "blocking",
                                               .config_size = sizeof(pointer),
                                               .work_size = sizeof(blocking),
                                               .start = blocking_start };

static void offloaded_work_comes_back_in_order(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 3; threads++) {
        weir_offload *offload;
        weir_offload_config config = { .threads = threads,
                                       .batch_max = threads,
                                       .run = blocking_run };
        assert_int_equal(weir_offload_new(&config, &offload), WEIR_OK);
        numbers from = { .n = MANY / 50, .is_tracked = true };
        checker to = { 0 };
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
        weir_from(p, spec(&numbers_type, &from));
        weir_node_place(weir_via(p, weir_async_of(&blocking_type, NULL, &(pointer){ offload })), 1);
        weir_into(p, spec(&checker_type, &to));
        assert_int_equal(weir_run(p), WEIR_OK);
        assert_int_equal(to.received, from.n);
        assert_int_equal(to.out_of_order, 0);
        assert_int_equal(from.ended[WEIR_ACKED], from.n);
        weir_offload_free(offload);
        weir_pipeline_free(p);
    }
}

/* Lets the others run for a moment; however busy the machine is, not for much longer. */
static void let_run_us(uint64_t us)
{
    struct timespec t;
    uint64_t end = 0, now;
    do {
        clock_gettime(CLOCK_MONOTONIC, &t);
        now = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
        end = end == 0 ? now + us : end;
        sched_yield();
    } while (now < end);
}

/* Work that ends on another thread, while timeouts and contexts cancel it on the loop. */
typedef struct enders {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    weir_op *ops[1024];
    uint32_t head, n;
    bool stop;
    pthread_t threads[2];
} enders;

static void *end_ops(void *user)
{
    enders *e = user;
    for (;;) {
        pthread_mutex_lock(&e->lock);
        while (e->n == 0 && !e->stop)
            pthread_cond_wait(&e->wake, &e->lock);
        weir_op *op = e->n != 0 ? e->ops[e->head] : NULL;
        e->head = (e->head + (op != NULL)) % 1024;
        e->n -= op != NULL;
        pthread_mutex_unlock(&e->lock);
        if (op == NULL)
            return NULL;
        weir_op_done_from(op, WEIR_OK, NULL);
    }
}

static enders *enders_new(void)
{
    enders *e = calloc(1, sizeof *e);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->wake, NULL);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&e->threads[i], NULL, end_ops, e), 0);
    return e;
}

static void enders_free(enders *e)
{
    pthread_mutex_lock(&e->lock);
    e->stop = true;
    pthread_cond_broadcast(&e->wake);
    pthread_mutex_unlock(&e->lock);
    for (int i = 0; i < 2; i++)
        pthread_join(e->threads[i], NULL);
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->wake);
    free(e);
}

static void racing_start(weir_op *op, void *state)
{
    enders *e = ((const pointer *)weir_async_config(op->stage))->to;
    (void)state;
    pthread_mutex_lock(&e->lock);
    assert_true(e->n < 1024);
    e->ops[(e->head + e->n++) % 1024] = op;
    pthread_cond_signal(&e->wake);
    pthread_mutex_unlock(&e->lock);
}

static void racing_cancel(weir_op *op, weir_status status, void *state)
{
    (void)op;
    (void)status;
    (void)state; /* it ends by itself */
}

static const weir_async_type racing_type = {
    .name = "racing", .config_size = sizeof(pointer), .start = racing_start, .cancel = racing_cancel
};

static void an_end_from_a_thread_races_with_an_abort(void **state)
{
    (void)state;
    enders *e = enders_new();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        numbers from = { .is_tracked = true };
        checker to = { 0 };
        pthread_t runner;
        weir_async_options options = { .in_flight = 16, .timeout_ms = 1 };
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
        weir_from(p, spec(&numbers_type, &from));
        weir_node_place(weir_via(p, weir_async_of(&racing_type, &options, &(pointer){ e })), 1);
        weir_into(p, spec(&checker_type, &to));
        assert_int_equal(pthread_create(&runner, NULL, run_pipeline, p), 0);
        let_run_us(round * 3);
        weir_pipeline_shutdown(p, (weir_shutdown)(round % 2), 0);
        join_pipeline(runner);
        assert_int_equal(sum_of_ends(&from), from.made);
        weir_pipeline_free(p);
    }
    enders_free(e);
}

/* ---- Shutdown ---- */

static void a_shutdown_at_any_moment_ends_every_item_once(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < 2 * ROUNDS; round++) {
        numbers from = { .is_tracked = true };
        checker to = { 0 };
        pthread_t runner;
        weir_pipeline *p = line(1 + (uint32_t)(round % 4), &from, &to);
        assert_int_equal(pthread_create(&runner, NULL, run_pipeline, p), 0);
        let_run_us(round * 7919 % 500);
        weir_pipeline_shutdown(p, (weir_shutdown)(round % 3), (uint32_t)(round % 5));
        if (round % 7 == 0)
            weir_pipeline_shutdown(p, WEIR_ABORT, 0);
        join_pipeline(runner);
        assert_true(weir_pipeline_is_finished(p));
        assert_int_equal(sum_of_ends(&from), from.made);
        assert_int_equal(to.out_of_order, 0);
        if (round % 3 == WEIR_DRAIN && round % 7 != 0)
            assert_int_equal(to.received, from.made);
        weir_pipeline_free(p);
    }
}

/* ---- Contexts ---- */

enum { WATCHES = 8 };

typedef struct watcher {
    weir_loop *loop;
    pthread_t thread;
    weir_context *context;
    weir_context_watch watches[WATCHES];
    bool stopped[WATCHES];
    uint32_t told;
    weir_task begin, end;
    atomic_int *started;
} watcher;

static void watch_told(weir_context_watch *watch, weir_status status, void *user)
{
    watcher *w = user;
    assert_int_equal(status, WEIR_ECANCELED);
    assert_false(w->stopped[watch - w->watches]);
    w->told++;
}

static void watcher_end(weir_task *task, void *user)
{
    watcher *w = user;
    (void)task;
    for (int i = 0; i < WATCHES; i++)
        if (w->watches[i].context != NULL)
            (void)weir_context_watch_stop(&w->watches[i]);
    weir_loop_stop(w->loop);
}

static void watcher_begin(weir_task *task, void *user)
{
    watcher *w = user;
    (void)task;
    for (int i = 0; i < WATCHES; i++)
        weir_context_watch_start(&w->watches[i], w->context, w->loop, watch_told, w);
    atomic_fetch_add(w->started, 1);
    for (int i = 0; i < WATCHES; i += 2) {
        w->stopped[i] = true;
        (void)weir_context_watch_stop(&w->watches[i]);
    }
    weir_post(w->loop, &w->end);
}

static void *run_loop(void *user)
{
    assert_int_equal(weir_loop_run(user), WEIR_OK);
    return NULL;
}

static void a_context_is_cancelled_while_watches_on_other_loops_stop(void **state)
{
    (void)state;
    for (int round = 0; round < 2 * ROUNDS; round++) {
        watcher watchers[2];
        weir_context root, child;
        atomic_int started = 0;
        weir_loop *owner = weir_loop_new(NULL);
        weir_context_init(&root, owner, NULL, 0);
        weir_context_init(&child, owner, &root, 0);
        memset(watchers, 0, sizeof watchers);
        for (int i = 0; i < 2; i++) {
            watcher *w = &watchers[i];
            w->loop = weir_loop_new(NULL);
            w->context = i == 0 ? &root : &child;
            w->started = &started;
            w->begin = (weir_task)WEIR_TASK(watcher_begin, w);
            w->end = (weir_task)WEIR_TASK(watcher_end, w);
            weir_post(w->loop, &w->begin);
            assert_int_equal(pthread_create(&w->thread, NULL, run_loop, w->loop), 0);
        }
        while (round % 2 == 0 && atomic_load(&started) < 1)
            sched_yield();
        weir_context_cancel(&root, WEIR_ECANCELED);
        weir_context_cancel(&root, WEIR_EIO);
        for (int i = 0; i < 2; i++) {
            pthread_join(watchers[i].thread, NULL);
            weir_loop_free(watchers[i].loop);
        }
        assert_int_equal(weir_context_status(&child, 0), WEIR_ECANCELED);
        weir_context_done(&child);
        weir_context_done(&root);
        weir_loop_free(owner);
    }
}

/* Requests with contexts in their bodies: the body goes as the item ends, on another loop. */
typedef struct request {
    number head; /* first, as the checker reads it */
    weir_context context;
} request;

static void request_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    request *q = weir_item_body(item);
    weir_context_done(&q->context);
    memset(&q->context, 0xee, sizeof q->context);
    number_ended(item, outcome, status);
}

static const weir_item_type request_type = { .name = "request", .ended = request_ended };

static void requests_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    numbers *s = ((const pointer *)weir_stage_config(stage))->to;
    weir_loop *loop = weir_stage_loop(stage);
    (void)state;
    (void)credit;
    while (weir_out_credit(out) > 0 && s->made < s->n) {
        weir_item *item = weir_item_new(loop, &request_type, sizeof(request));
        request *q = weir_item_body(item);
        q->head = (number){ s->made++, s };
        weir_context_init(&q->context, loop, NULL, 0);
        item->context = &q->context;
        weir_stage_hold(stage);
        weir_emit(out, item);
        if (s->made % 5 == 0)
            weir_context_cancel(&q->context, WEIR_ECANCELED);
    }
    if (s->made == s->n)
        weir_end(out);
}

static const weir_stage_type requests_type = {
    .name = "requests",
    .config_size = sizeof(pointer),
    .inputs = WEIR_PORTS_NONE,
    .open = numbers_open,
    .close = numbers_close,
    .on_demand = requests_on_demand,
};

static void contexts_in_requests_outlive_the_operations_on_other_loops(void **state)
{
    (void)state;
    enders *e = enders_new();
    numbers from = { .n = MANY / 20, .is_tracked = true };
    checker to = { 0 };
    weir_async_options options = { .in_flight = 256, .unordered = true };
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 3 });
    weir_from(p, spec(&requests_type, &from));
    weir_node_place(weir_via(p, weir_async_of(&racing_type, &options, &(pointer){ e })), 1);
    weir_node_place(weir_into(p, spec(&checker_type, &to)), 2);
    assert_int_equal(weir_run(p), WEIR_OK);
    assert_int_equal(sum_of_ends(&from), from.n);
    weir_pipeline_free(p);
    enders_free(e);
}

/* ---- Pipelines that are freed while the loop goes on ---- */

enum { BRIEF = 50 };

/* One stage on its own, which asks to be visited once more as it ends. */
typedef struct brief {
    weir_pipeline *pipeline;
    weir_task task;
    uint32_t *left; /* of all of them */
} brief;

static weir_status brief_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    weir_stage_hold(stage);
    return WEIR_OK;
}

static void brief_on_drain(weir_stage *stage, void *state)
{
    (void)state;
    weir_stage_release(stage);
}

static const weir_stage_type brief_type = {
    .name = "brief",
    .config_size = sizeof(pointer),
    .inputs = WEIR_PORTS_NONE,
    .outputs = WEIR_PORTS_NONE,
    .open = brief_open,
    .on_drain = brief_on_drain,
};

static void brief_free(weir_task *task, void *user)
{
    brief *b = user;
    (void)task;
    weir_loop *loop = weir_pipeline_loop(b->pipeline, 0);
    weir_pipeline_free(b->pipeline);
    if (--*b->left == 0)
        weir_loop_stop(loop);
}

static void brief_finished(weir_pipeline *p, weir_status status, void *user)
{
    brief *b = user;
    assert_int_equal(status, WEIR_OK);
    b->task = (weir_task)WEIR_TASK(brief_free, b);
    weir_post(weir_pipeline_loop(p, 0), &b->task);
}

static void a_pipeline_is_freed_though_turns_are_too_short_for_what_is_ready(void **state)
{
    (void)state;
    brief all[BRIEF];
    uint32_t left = BRIEF;
    weir_loop *loop = weir_loop_new(&(weir_loop_config){ .turn_items_max = 1 });
    for (int i = 0; i < BRIEF; i++) {
        all[i] = (brief){ .pipeline = weir_pipeline_new(NULL), .left = &left };
        weir_add(all[i].pipeline, spec(&brief_type, &all[i]));
        assert_int_equal(weir_pipeline_start(all[i].pipeline, &loop, 1, brief_finished, &all[i]),
                         WEIR_OK);
        weir_pipeline_shutdown(all[i].pipeline, WEIR_DRAIN, 0);
    }
    assert_int_equal(weir_loop_run(loop), WEIR_OK);
    assert_int_equal(left, 0);
    weir_loop_free(loop);
}

/* ---- Adopted bases ---- */

typedef struct adopter {
    struct event_base *base;
    struct event *tick;
    uint64_t ticks;
    bool finished;
} adopter;

static void on_tick(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    ((adopter *)user)->ticks++;
}

static void adopted_finished(weir_pipeline *p, weir_status status, void *user)
{
    adopter *a = user;
    (void)p;
    assert_int_equal(status, WEIR_OK);
    a->finished = true;
    event_base_loopbreak(a->base);
}

static void a_pipeline_runs_on_an_adopted_base(void **state)
{
    (void)state;
    adopter a = { .base = event_base_new() };
    const struct timeval often = { 0, 1000 };
    a.tick = event_new(a.base, -1, EV_PERSIST, on_tick, &a);
    event_add(a.tick, &often);
    weir_loop *loop = weir_loop_new(&(weir_loop_config){ .base = a.base });
    numbers from = { .n = MANY, .is_tracked = true };
    checker to = { 0 };
    weir_pipeline *p = line(1, &from, &to);
    assert_int_equal(weir_pipeline_start(p, &loop, 1, adopted_finished, &a), WEIR_OK);
    assert_int_equal(event_base_dispatch(a.base), 0);
    assert_true(a.finished);
    assert_true(a.ticks > 0);
    assert_int_equal(to.received, MANY);
    assert_int_equal(from.ended[WEIR_ACKED], MANY);
    weir_pipeline_free(p);
    weir_loop_free(loop);
    event_free(a.tick);
    event_base_free(a.base);
}

static void an_adopted_loop_and_one_of_our_own_share_a_pipeline(void **state)
{
    (void)state;
    for (int adopted_first = 0; adopted_first < 2; adopted_first++) {
        adopter a = { .base = event_base_new() };
        weir_loop *adopted = weir_loop_new(&(weir_loop_config){ .base = a.base });
        weir_loop *own = weir_loop_new(NULL);
        weir_loop *loops[] = { adopted, own };
        pthread_t thread;
        numbers from = { .n = MANY / 4, .is_tracked = true };
        checker to = { 0 };
        weir_pipeline *p = weir_pipeline_new(NULL);
        weir_node_place(weir_from(p, spec(&numbers_type, &from)), adopted_first ? 0 : 1);
        weir_node_place(weir_into(p, spec(&checker_type, &to)), adopted_first ? 1 : 0);
        assert_int_equal(weir_pipeline_start(p, loops, 2, adopted_finished, &a), WEIR_OK);
        assert_int_equal(pthread_create(&thread, NULL, run_loop, own), 0);
        assert_int_equal(event_base_dispatch(a.base), 0);
        weir_loop_stop(own);
        pthread_join(thread, NULL);
        assert_int_equal(to.received, from.n);
        assert_int_equal(from.ended[WEIR_ACKED], from.n);
        weir_pipeline_free(p);
        weir_loop_free(adopted);
        weir_loop_free(own);
        event_base_free(a.base);
    }
}

static void timer_ticks(weir_timer *timer, void *user)
{
    adopter *a = user;
    (void)timer;
    if (++a->ticks == 3)
        event_base_loopbreak(a->base);
}

static void timers_fire_on_an_adopted_base(void **state)
{
    (void)state;
    adopter a = { .base = event_base_new() };
    weir_loop *loop = weir_loop_new(&(weir_loop_config){ .base = a.base });
    weir_timer timers[3];
    memset(timers, 0, sizeof timers);
    for (uint64_t i = 0; i < 3; i++)
        weir_timer_start(loop, &timers[i], (3 - i) * WEIR_MS, timer_ticks, &a);
    assert_int_equal(event_base_dispatch(a.base), 0);
    assert_int_equal(a.ticks, 3);
    weir_loop_free(loop);
    event_base_free(a.base);
}

/* ---- Looking on ---- */

typedef struct looker {
    const weir_pipeline *pipeline;
    atomic_bool over;
    uint64_t bound, looks;
} looker;

static void *look(void *user)
{
    looker *l = user;
    char text[4096];
    do {
        assert_true(weir_pipeline_json(l->pipeline, text, sizeof text) < sizeof text);
        assert_true(weir_pipeline_dot(l->pipeline, text, sizeof text) < sizeof text);
        assert_true(weir_pipeline_deadlock(l->pipeline, text, sizeof text) < sizeof text);
        l->bound = weir_pipeline_bound(l->pipeline);
        l->looks++;
    } while (!atomic_load(&l->over));
    return NULL;
}

static void a_thread_looks_on_from_before_the_check_to_the_end(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < ROUNDS / 10; round++) {
        numbers from = { .n = 1000, .is_tracked = true };
        checker to = { 0 };
        pthread_t thread;
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
        weir_from(p, spec(&numbers_type, &from));
        weir_node_place(weir_into(p, spec(&checker_type, &to)), 1);
        looker l = { .pipeline = p };
        assert_int_equal(pthread_create(&thread, NULL, look, &l), 0);
        assert_int_equal(weir_run(p), WEIR_OK);
        atomic_store(&l.over, true);
        pthread_join(thread, NULL);
        assert_true(l.looks > 0);
        assert_int_equal(l.bound, UINT64_C(1024) << 21);
        weir_pipeline_free(p);
    }
}

/* ---- The end of what is shared ---- */

typedef struct counted {
    atomic_ullong ended;
    uint64_t n, ended_at_unshare;
} counted;

static void counted_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    (void)outcome;
    (void)status;
    atomic_fetch_add(&((counted *)((pointer *)weir_item_body(item))->to)->ended, 1);
}

static const weir_item_type counted_item = { .name = "counted", .ended = counted_ended };

static weir_status counted_share(const void *config, const weir_env *env, uint32_t replicas,
                                 void **ret_shared, const char **ret_why)
{
    (void)env;
    (void)replicas;
    (void)ret_why;
    *ret_shared = ((const pointer *)config)->to;
    return WEIR_OK;
}

static void counted_unshare(void *shared)
{
    counted *c = shared;
    c->ended_at_unshare = atomic_load(&c->ended);
}

/* It holds nothing for its items: whoever ends them may do so after the source has closed. */
static void counted_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    counted *c = weir_stage_shared(stage);
    (void)state;
    for (; credit > 0 && c->n > 0; credit--, c->n--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), &counted_item, sizeof(pointer));
        ((pointer *)weir_item_body(item))->to = c;
        weir_emit(out, item);
    }
    if (c->n == 0)
        weir_end(out);
}

static const weir_stage_type counted_type = {
    .name = "counted",
    .config_size = sizeof(pointer),
    .inputs = WEIR_PORTS_NONE,
    .share = counted_share,
    .unshare = counted_unshare,
    .on_demand = counted_on_demand,
};

/* On a loop between: what it emits ends there first, then at the source's. */
static weir_status derive_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    weir_item *child = weir_item_new(weir_stage_loop(stage), NULL, 0);
    (void)in;
    (void)state;
    weir_item_derive(child, item);
    weir_emit(weir_stage_out(stage), child);
    return WEIR_OK;
}

static const weir_stage_type derive_type = { .name = "derive", .on_item = derive_on_item };

enum { KEPT_MAX = 100 };
typedef struct keeper {
    weir_item *items[KEPT_MAX];
    uint32_t n;
} keeper;

static weir_status keeper_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    keeper *k = state;
    (void)stage;
    (void)in;
    assert_true(k->n < KEPT_MAX);
    k->items[k->n++] = item;
    return WEIR_OK;
}

static void keeper_close(weir_stage *stage, void *state)
{
    keeper *k = state;
    (void)stage;
    while (k->n > 0)
        weir_item_end(k->items[--k->n], WEIR_ACKED, WEIR_OK);
}

static const weir_stage_type keeper_type = { .name = "keeper",
                                             .state_size = sizeof(keeper),
                                             .outputs = WEIR_PORTS_NONE,
                                             .on_item = keeper_on_item,
                                             .close = keeper_close };

static void what_is_shared_outlives_the_last_item(void **state)
{
    (void)state;
    for (uint64_t round = 0; round < ROUNDS / 10; round++) {
        counted c = { .n = KEPT_MAX };
        weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
        weir_from(p, spec(&counted_type, &c));
        weir_node_place(weir_via(p, weir_stage_of(&derive_type, NULL)), 1);
        weir_into(p, weir_stage_of(&keeper_type, NULL));
        assert_int_equal(weir_run(p), WEIR_OK);
        weir_pipeline_free(p);
        assert_int_equal(c.ended_at_unshare, KEPT_MAX);
    }
}

/* ---- Idle ---- */

typedef struct idler {
    weir_pipeline *p;
    weir_timer timer;
    weir_loop_stats before, after;
} idler;

static void idle_over(weir_timer *timer, void *user)
{
    idler *i = user;
    (void)timer;
    weir_loop_stats_get(weir_pipeline_loop(i->p, 1), &i->after);
    weir_pipeline_shutdown(i->p, WEIR_DRAIN, 0);
}

static void idle_begin(weir_timer *timer, void *user)
{
    idler *i = user;
    weir_loop_stats_get(weir_pipeline_loop(i->p, 1), &i->before);
    weir_timer_start(weir_pipeline_loop(i->p, 0), timer, 50 * WEIR_MS, idle_over, i);
}

static weir_status idle_open(weir_stage *stage, const void *config, void *state)
{
    idler *i = ((const pointer *)config)->to;
    (void)state;
    weir_timer_start(weir_stage_loop(stage), &i->timer, 20 * WEIR_MS, idle_begin, i);
    return WEIR_OK;
}

static const weir_stage_type idle_type = {
    .name = "idle", .config_size = sizeof(pointer), .inputs = WEIR_PORTS_NONE, .open = idle_open
};

static void an_idle_loop_sleeps(void **state)
{
    (void)state;
    idler i = { 0 };
    checker to = { 0 };
    i.p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 2 });
    weir_from(i.p, spec(&idle_type, &i));
    weir_node_place(weir_into(i.p, spec(&checker_type, &to)), 1);
    assert_int_equal(weir_run(i.p), WEIR_OK);
    assert_in_range(i.after.polls - i.before.polls, 0, 1);
    assert_int_equal(i.after.wakeups_received, i.before.wakeups_received);
    weir_pipeline_free(i.p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(many_items_cross_loops_all_and_in_order),
        cmocka_unit_test(a_cancel_crosses_loops_and_every_item_ends),
        cmocka_unit_test(an_error_crosses_loops_and_every_item_ends),
        cmocka_unit_test(small_windows_cross_loops),
        cmocka_unit_test(a_shared_item_crosses_as_a_clone),
        cmocka_unit_test(joined_items_cross_and_their_members_end_at_home),
        cmocka_unit_test(an_inlet_takes_offers_of_many_threads),
        cmocka_unit_test(an_inlet_closes_under_offers),
        cmocka_unit_test(posts_of_many_threads_all_run_once_on_the_loop),
        cmocka_unit_test(offloaded_work_comes_back_in_order),
        cmocka_unit_test(an_end_from_a_thread_races_with_an_abort),
        cmocka_unit_test(a_shutdown_at_any_moment_ends_every_item_once),
        cmocka_unit_test(a_context_is_cancelled_while_watches_on_other_loops_stop),
        cmocka_unit_test(contexts_in_requests_outlive_the_operations_on_other_loops),
        cmocka_unit_test(a_pipeline_is_freed_though_turns_are_too_short_for_what_is_ready),
        cmocka_unit_test(a_pipeline_runs_on_an_adopted_base),
        cmocka_unit_test(an_adopted_loop_and_one_of_our_own_share_a_pipeline),
        cmocka_unit_test(timers_fire_on_an_adopted_base),
        cmocka_unit_test(a_thread_looks_on_from_before_the_check_to_the_end),
        cmocka_unit_test(what_is_shared_outlives_the_last_item),
        cmocka_unit_test(an_idle_loop_sleeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
