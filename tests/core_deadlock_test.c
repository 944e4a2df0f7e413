/* Deadlocks are found and named; whoever waits for something that can come is left in peace. */
#include "core_rig.h"
#include "effort.h"

#include <pthread.h>
#include <semaphore.h>

#include <weir/stages.h>

/* ---- A stage that asks its inputs in turn: one item of each ---- */

typedef struct turns {
    uint32_t at;
} turns;

static weir_stage *turns_stage; /* the one that opened last */

static weir_status turns_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    turns_stage = stage;
    return WEIR_OK;
}

static void turns_ask(weir_stage *stage, turns *t)
{
    if (weir_out_credit(weir_stage_out(stage)) > 0)
        weir_request_to(weir_stage_in_at(stage, t->at), 1);
}

static void turns_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    turns_ask(stage, state);
}

static weir_status turns_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    turns *t = state;
    (void)in;
    weir_emit(weir_stage_out(stage), item);
    t->at = (t->at + 1) % weir_stage_inputs(stage);
    turns_ask(stage, t);
    return WEIR_OK;
}

static const weir_stage_type turns_type = {
    .name = "turns",
    .state_size = sizeof(turns),
    .inputs = WEIR_PORTS_MANY,
    .open = turns_open,
    .on_demand = turns_on_demand,
    .on_item = turns_on_item,
};

/* ---- Helpers ---- */

static weir_status same(weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return WEIR_OK;
}

static weir_node *leg(weir_pipeline *p, const char *name)
{
    return weir_add(p, weir_stage_named(weir_map(same, NULL), name));
}

/* from -> split -> left and right -> joint -> to. */
static void wire(weir_pipeline *p, weir_stage_spec *from, weir_stage_spec *split,
                 weir_stage_spec *joint, weir_stage_spec *to, uint32_t loops)
{
    weir_from(p, from);
    weir_node *split_node = weir_via(p, weir_stage_named(split, "split"));
    weir_node *left = leg(p, "left"), *right = leg(p, "right");
    weir_node *joint_node = weir_add(p, weir_stage_named(joint, "joint"));
    weir_node *to_node = weir_add(p, to);
    weir_link(split_node, 0, left, 0, NULL);
    weir_link(split_node, 1, right, 0, NULL);
    weir_link(left, 0, joint_node, 0, NULL);
    weir_link(right, 0, joint_node, 1, NULL);
    weir_link(joint_node, 0, to_node, 0, NULL);
    if (loops > 1) {
        weir_node_place(left, 1);
        weir_node_place(joint_node, loops - 1);
    }
}

static void rig_wire(rig *r, weir_stage_spec *split, weir_stage_spec *joint, uint32_t loops)
{
    wire(r->p, weir_probe_source(r->from), split, joint, weir_probe_sink(r->to), loops);
    rig_start(r);
}

static weir_stage_spec *holding_broadcast(void)
{
    return weir_broadcast(WEIR_SLOW_LEG_HOLDS);
}

static bool never(const weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return false;
}

#define CIRCLE                                                                     \
    "deadlock: split waits for credit of right, right waits for credit of joint, " \
    "joint waits for items of left, left waits for items of split"

static void assert_deadlock(const rig *r, const char *expected)
{
    char text[512];
    size_t n = weir_pipeline_deadlock(r->p, text, sizeof text);
    assert_string_equal(text, expected);
    assert_int_equal(n, strlen(expected));
}

static void count_line(const char *line, void *user)
{
    *(uint32_t *)user += strstr(line, "deadlock: ") != NULL;
}

static rig rig_counting(uint32_t loops, uint32_t *ret_lines)
{
    rig r = { .kit = weir_testkit_new_with(&(weir_testkit_config){
                  .loops = loops, .seed = 7, .log = count_line, .user = ret_lines }) };
    r.p = weir_testkit_pipeline(r.kit);
    r.from = weir_testkit_probe(r.kit);
    r.to = weir_testkit_probe(r.kit);
    *ret_lines = 0;
    return r;
}

static void abort_and_free(rig *r)
{
    weir_pipeline_shutdown(r->p, WEIR_ABORT, 0);
    rig_settle(r);
    assert_true(weir_pipeline_is_finished(r->p));
    assert_deadlock(r, "");
    weir_pipeline_free(r->p);
    assert_int_equal(weir_testkit_free(r->kit), 0);
}

/* ---- Found ---- */

static void a_stage_that_asks_in_turn_below_a_broadcast_is_a_deadlock(void **state)
{
    (void)state;
    uint32_t lines;
    rig r = rig_counting(1, &lines);
    rig_wire(&r, holding_broadcast(), weir_stage_of(&turns_type, NULL), 1);
    rig_feed(&r, 3);
    rig_settle(&r);
    assert_int_equal(lines, 0); /* the sink has not asked for anything yet: that is all it is */
    assert_deadlock(&r, "");
    weir_probe_request(r.to, 10);
    rig_settle(&r);
    assert_deadlock(&r, CIRCLE);
    assert_int_equal(lines, 1);
    abort_and_free(&r);
}

static void a_deadlock_is_told_once_until_something_moves(void **state)
{
    (void)state;
    uint32_t lines;
    rig r = rig_counting(1, &lines);
    rig_wire(&r, holding_broadcast(), weir_stage_of(&turns_type, NULL), 1);
    weir_probe_request(r.to, 1);
    for (int i = 0; i < 5; i++)
        assert_true(weir_testkit_advance(r.kit, WEIR_SEC));
    assert_int_equal(lines, 1);
    weir_probe_request(r.to, 1); /* credit moved, and it stands again */
    rig_settle(&r);
    assert_int_equal(lines, 2);
    abort_and_free(&r);
}

static void a_deadlock_across_loops_is_found(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        uint32_t lines = 0;
        rig r = {
            .kit = weir_testkit_new_with(&(weir_testkit_config){
                .loops = 3, .seed = seed, .shuffle = true, .log = count_line, .user = &lines })
        };
        r.p = weir_testkit_pipeline(r.kit);
        r.from = weir_testkit_probe(r.kit);
        r.to = weir_testkit_probe(r.kit);
        rig_wire(&r, holding_broadcast(), weir_concat(), 3);
        rig_feed(&r, 3);
        weir_probe_request(r.to, 10);
        rig_settle(&r);
        assert_deadlock(&r, CIRCLE);
        assert_int_equal(lines, 1);
        abort_and_free(&r);
    }
}

static void zip_below_a_leg_that_drops_all_is_a_deadlock(void **state)
{
    (void)state;
    rig r = rig_new();
    weir_from(r.p, weir_probe_source(r.from));
    weir_node *split = weir_via(r.p, weir_stage_named(holding_broadcast(), "split"));
    weir_node *left = weir_add(r.p, weir_stage_named(weir_filter(never, NULL), "none"));
    weir_node *right = leg(r.p, "right"), *zip = weir_add(r.p, weir_zip());
    weir_link(split, 0, left, 0, NULL);
    weir_link(left, 0, zip, 0, NULL);
    weir_link(split, 1, right, 0, NULL);
    weir_link(right, 0, zip, 1, NULL);
    weir_link(zip, 0, weir_add(r.p, weir_probe_sink(r.to)), 0, NULL);
    rig_start(&r);
    rig_feed(&r, 2000);
    weir_probe_request(r.to, 10);
    rig_settle(&r);
    assert_deadlock(&r, "deadlock: split waits for credit of right, right waits for credit of zip, "
                        "zip waits for items of none, none waits for items of split");
    abort_and_free(&r);
}

/* ---- Not one ---- */

static void an_idle_diamond_is_none(void **state)
{
    (void)state;
    for (uint32_t loops = 1; loops <= 3; loops += 2) {
        uint32_t lines;
        rig r = rig_counting(loops, &lines);
        rig_wire(&r, holding_broadcast(), weir_zip(), loops);
        rig_feed(&r, 5);
        rig_settle(&r);
        assert_deadlock(&r, "");
        weir_probe_request(r.to, 3); /* less than there is: missing demand */
        rig_settle(&r);
        assert_int_equal(weir_probe_received(r.to), 3);
        assert_deadlock(&r, "");
        weir_probe_request(r.to, 100); /* more than there is: the source has nothing */
        rig_settle(&r);
        assert_int_equal(weir_probe_received(r.to), 5);
        assert_deadlock(&r, "");
        assert_int_equal(lines, 0);
        weir_probe_end(r.from);
        rig_settle(&r);
        assert_true(weir_pipeline_is_finished(r.p));
        assert_int_equal(lines, 0);
        abort_and_free(&r);
    }
}

static void a_diamond_across_loops_at_work_is_none(void **state)
{
    (void)state;
    uint32_t lines = 0;
    for (uint64_t seed = 1; seed <= effort(200); seed++) {
        rig r = {
            .kit = weir_testkit_new_with(&(weir_testkit_config){
                .loops = 3, .seed = seed, .shuffle = true, .log = count_line, .user = &lines })
        };
        r.p = weir_pipeline_new(&(weir_pipeline_config){ .env = weir_testkit_env(r.kit),
                                                         .window = 1 + (uint32_t)seed % 3 });
        r.from = weir_testkit_probe(r.kit);
        r.to = weir_testkit_probe(r.kit);
        rig_wire(&r, holding_broadcast(), seed % 2 == 0 ? weir_zip() : weir_merge(), 3);
        weir_probe_request(r.to, WEIR_UNBOUNDED);
        for (uint64_t i = 0; i < 20; i++) {
            rig_feed(&r, 1 + i % 7);
            rig_settle(&r);
        }
        weir_probe_end(r.from);
        rig_settle(&r);
        assert_true(weir_pipeline_is_finished(r.p));
        assert_int_equal(lines, 0);
        abort_and_free(&r);
    }
}

static void a_chain_is_never_looked_at(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_chain(&r, weir_map(same, NULL));
    rig_start(&r);
    rig_feed(&r, 5);
    rig_settle(&r);
    assert_deadlock(&r, "");
    abort_and_free(&r);
}

static void who_waits_for_a_timer_is_not_deadlocked(void **state)
{
    (void)state;
    rig r = rig_new();
    weir_timer timer = { 0 };
    rig_wire(&r, holding_broadcast(), weir_stage_of(&turns_type, NULL), 1);
    weir_timer_start(weir_testkit_loop(r.kit, 0), &timer, WEIR_SEC, NULL, NULL);
    weir_probe_request(r.to, 1);
    rig_settle(&r);
    assert_deadlock(&r, "");
    weir_timer_stop(weir_testkit_loop(r.kit, 0), &timer);
    rig_settle(&r);
    assert_deadlock(&r, CIRCLE);
    abort_and_free(&r);
}

static void who_waits_for_an_operation_is_not_deadlocked(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_wire(&r, holding_broadcast(), weir_stage_of(&turns_type, NULL), 1);
    weir_stage_hold(weir_probe_stage(r.from)); /* it is not the source that is waited for */
    weir_probe_request(r.to, 1);
    rig_settle(&r);
    assert_deadlock(&r, CIRCLE);
    weir_stage *joint = turns_stage;
    weir_stage_hold(joint);
    rig_settle(&r);
    assert_deadlock(&r, "");
    weir_stage_release(joint);
    weir_stage_release(weir_probe_stage(r.from));
    rig_settle(&r);
    assert_deadlock(&r, CIRCLE);
    abort_and_free(&r);
}

static void the_text_is_cut_to_the_buffer(void **state)
{
    (void)state;
    rig r = rig_new();
    rig_wire(&r, holding_broadcast(), weir_stage_of(&turns_type, NULL), 1);
    weir_probe_request(r.to, 1);
    rig_settle(&r);
    char text[16];
    assert_int_equal(weir_pipeline_deadlock(r.p, text, sizeof text), strlen(CIRCLE));
    assert_int_equal(strlen(text), sizeof text - 1);
    assert_int_equal(weir_pipeline_deadlock(r.p, NULL, 0), strlen(CIRCLE));
    abort_and_free(&r);
}

/* ---- On real loops ---- */

typedef struct heard {
    sem_t told;
    char line[512];
    weir_pipeline *pipeline;
} heard;

static void hear(weir_log_level level, const char *line, void *user)
{
    heard *h = user;
    if (level != WEIR_LOG_WARN || strstr(line, "deadlock: ") == NULL)
        return;
    snprintf(h->line, sizeof h->line, "%s", line);
    sem_post(&h->told);
}

static void *abort_when_told(void *user)
{
    heard *h = user;
    while (sem_wait(&h->told) != 0)
        ;
    weir_pipeline_shutdown(h->pipeline, WEIR_ABORT, 0);
    return NULL;
}

static void numbers_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)state;
    for (; credit > 0; credit--)
        weir_emit(out, weir_item_new(weir_stage_loop(stage), NULL, 8));
}

static const weir_stage_type numbers_type = { .name = "numbers",
                                              .inputs = WEIR_PORTS_NONE,
                                              .on_demand = numbers_on_demand };
static const weir_stage_type sink_type = { .name = "sink", .outputs = WEIR_PORTS_NONE };

static void threads_that_sleep_for_good_say_so(void **state)
{
    (void)state;
    heard h;
    assert_int_equal(sem_init(&h.told, 0, 0), 0);
    weir_env env = { .log = hear, .user = &h };
    h.pipeline = weir_pipeline_new(&(weir_pipeline_config){ .env = &env, .loops = 3 });
    wire(h.pipeline, weir_stage_of(&numbers_type, NULL), holding_broadcast(), weir_concat(),
         weir_stage_of(&sink_type, NULL), 3);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, abort_when_told, &h), 0);
    assert_int_equal(weir_run(h.pipeline), WEIR_OK);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_string_equal(h.line, "weir: " CIRCLE);
    weir_pipeline_free(h.pipeline);
    sem_destroy(&h.told);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stage_that_asks_in_turn_below_a_broadcast_is_a_deadlock),
        cmocka_unit_test(a_deadlock_is_told_once_until_something_moves),
        cmocka_unit_test(a_deadlock_across_loops_is_found),
        cmocka_unit_test(zip_below_a_leg_that_drops_all_is_a_deadlock),
        cmocka_unit_test(an_idle_diamond_is_none),
        cmocka_unit_test(a_diamond_across_loops_at_work_is_none),
        cmocka_unit_test(a_chain_is_never_looked_at),
        cmocka_unit_test(who_waits_for_a_timer_is_not_deadlocked),
        cmocka_unit_test(who_waits_for_an_operation_is_not_deadlocked),
        cmocka_unit_test(the_text_is_cut_to_the_buffer),
        cmocka_unit_test(threads_that_sleep_for_good_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
