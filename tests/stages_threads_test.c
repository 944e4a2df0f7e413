/* Stages on loops with threads of their own: what they share, and what crosses. */
#include "stages_rig.h"

#include <stdatomic.h>
#include <time.h>

enum { ITEMS = 20000, LOOPS = 3 };

typedef struct counter_state {
    uint64_t sent;
} counter_state;

/* A source of ITEMS numbers. */
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

static weir_status count(weir_item *const *items, size_t n, void *user)
{
    (void)items;
    atomic_fetch_add((atomic_uint_fast64_t *)user, n);
    return WEIR_OK;
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * WEIR_SEC + (uint64_t)now.tv_nsec;
}

static void loops_share_one_bucket(void **unused)
{
    (void)unused;
    atomic_uint_fast64_t counted = 0;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = LOOPS });
    weir_from(p, weir_stage_of(&counter_type, NULL));
    weir_via(p, weir_rate_limit(&(weir_rate_limit_config){ .rate = 1000000, .burst = 5000 }));
    weir_into(p, weir_for_each_all(count, &counted));
    uint64_t started = now_ns();
    assert_int_equal(weir_run(p), WEIR_OK);
    assert_int_equal(counted, LOOPS * ITEMS);
    assert_true(now_ns() - started >= (LOOPS * ITEMS - 5000) * WEIR_US - WEIR_MS);
    weir_pipeline_free(p);
}

static void done_at_once(weir_op *op, void *user)
{
    (void)user;
    weir_op_done(op, WEIR_OK, NULL);
}

static weir_status flatten(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                           weir_item **ret_made)
{
    (void)user;
    const weir_items *members = weir_item_members(item);
    if (index == members->n)
        return WEIR_OK;
    weir_item *made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(made) = value_of(members->items[index]);
    *ret_made = made;
    return WEIR_OK;
}

static uint64_t by_value(const weir_item *item, void *user)
{
    (void)user;
    return value_of(item);
}

/* counter (0), batch (1), flat_map (2), broadcast (0) to
 *   partition (1), async (2) and async (0), merge (1), count (2)
 *   count (1) */
static void stages_work_across_threads(void **unused)
{
    (void)unused;
    atomic_uint_fast64_t counted[2] = { 0, 0 };
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = LOOPS });
    weir_async_fn_config work = { .start = done_at_once };
    weir_from(p, weir_stage_of(&counter_type, NULL));
    weir_node_place(weir_via(p, weir_batch(&(weir_batch_config){ .count = 7 })), 1);
    weir_node_place(weir_via(p, weir_flat_map(flatten, NULL)), 2);
    weir_node *split = weir_via(p, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_node *partition = weir_add(p, weir_partition(by_value, NULL, 2));
    weir_node *left = weir_add(p, weir_async(&work)), *right = weir_add(p, weir_async(&work));
    weir_node *merge = weir_add(p, weir_merge());
    weir_node *all = weir_add(p, weir_for_each_all(count, &counted[0]));
    weir_node *direct = weir_add(p, weir_for_each_all(count, &counted[1]));
    weir_link(split, 0, partition, 0, NULL);
    weir_link(split, 1, direct, 0, NULL);
    weir_link(partition, 0, left, 0, NULL);
    weir_link(partition, 1, right, 0, NULL);
    weir_link(left, 0, merge, 0, NULL);
    weir_link(right, 0, merge, 1, NULL);
    weir_link(merge, 0, all, 0, NULL);
    weir_node_place(partition, 1);
    weir_node_place(left, 2);
    weir_node_place(merge, 1);
    weir_node_place(all, 2);
    weir_node_place(direct, 1);
    assert_int_equal(weir_run(p), WEIR_OK);
    assert_int_equal(counted[0], ITEMS);
    assert_int_equal(counted[1], ITEMS);
    weir_pipeline_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loops_share_one_bucket),
        cmocka_unit_test(stages_work_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
