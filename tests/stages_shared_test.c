/* Items that several branches hold at once, each with a queue of its own for them. */
#include "stages_rig.h"

/* Fails the items whose value has this bit. */
static weir_status fail_bit(weir_item *item, void *user)
{
    return (value_of(item) & (uint64_t)(uintptr_t)user) != 0 ? WEIR_EIO : WEIR_OK;
}

enum { LEGS = 2 };

static void branches_queue_dead_letters_of_their_own(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_probe *dead[LEGS];
    weir_node *from = weir_add(r.pipeline, weir_probe_source(r.from));
    weir_node *split = weir_add(r.pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_link(from, 0, split, 0, NULL);
    for (uint32_t i = 0; i < LEGS; i++) {
        dead[i] = weir_testkit_probe(r.kit);
        weir_node *leg = weir_add(r.pipeline, weir_for_each(fail_bit, (void *)(uintptr_t)(1 << i)));
        weir_link(split, i, leg, 0, NULL);
        weir_node_dead_letter(leg, weir_add(r.pipeline, weir_probe_sink(dead[i])), 0);
    }
    rig_start(&r);
    for (uint64_t value = 1; value <= 7; value++)
        rig_feed(&r, value, 1);
    rig_end(&r);
    for (uint32_t i = 0; i < LEGS; i++)
        weir_probe_request(dead[i], WEIR_UNBOUNDED);
    assert_true(weir_testkit_settle(r.kit));
    for (uint32_t i = 0; i < LEGS; i++) {
        assert_int_equal(weir_probe_received(dead[i]), 4);
        for (uint64_t n = 0; n < 4; n++)
            assert_true((weir_probe_value(dead[i], n) & 1u << i) != 0);
    }
    assert_int_equal(weir_probe_ended(r.from, WEIR_ACKED), 1); /* the 4, which no leg refuses */
    assert_int_equal(weir_probe_ended(r.from, WEIR_DEAD_LETTERED), 6);
    rig_done(&r);
}

typedef struct held_op {
    weir_op *op;
} held_op;

static void keep_first(weir_op *op, void *user)
{
    held_op *held = user;
    if (held->op == NULL)
        held->op = op;
    else
        weir_op_done(op, WEIR_OK, NULL);
}

static void limit_to_none(weir_stage *stage, void *user)
{
    if (((held_op *)user)->op != NULL)
        weir_async_limit(stage, 0);
}

static bool is_not_three(const weir_item *item, void *user)
{
    (void)user;
    return value_of(item) != 3;
}

static bool is_any(const weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return true;
}

static void branches_queue_work_of_their_own(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    held_op held[LEGS] = { { NULL }, { NULL } };
    weir_probe *to[LEGS];
    weir_node *from = weir_add(r.pipeline, weir_probe_source(r.from));
    weir_node *split = weir_add(r.pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_link(from, 0, split, 0, NULL);
    for (uint32_t i = 0; i < LEGS; i++) {
        to[i] = weir_testkit_probe(r.kit);
        weir_node *some = weir_add(r.pipeline, weir_filter(i == 0 ? is_any : is_not_three, NULL));
        weir_node *work = weir_add(
            r.pipeline, weir_async(&(weir_async_fn_config){
                            .start = keep_first, .flush = limit_to_none, .user = &held[i] }));
        weir_link(split, i, some, 0, NULL);
        weir_link(some, 0, work, 0, NULL);
        weir_link(work, 0, weir_add(r.pipeline, weir_probe_sink(to[i])), 0, NULL);
        weir_probe_request(to[i], WEIR_UNBOUNDED);
    }
    rig_start(&r);
    rig_feed(&r, 1, 1); /* under way in both, and no more may start */
    rig_feed(&r, 2, 4);
    for (uint32_t i = 0; i < LEGS; i++) {
        assert_non_null(held[i].op);
        weir_async_limit(held[i].op->stage, UINT32_MAX);
        weir_op_done(held[i].op, WEIR_OK, NULL);
    }
    rig_end(&r);
    assert_int_equal(weir_probe_received(to[0]), 5);
    assert_int_equal(weir_probe_received(to[1]), 4);
    rig_done(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(branches_queue_dead_letters_of_their_own),
        cmocka_unit_test(branches_queue_work_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
