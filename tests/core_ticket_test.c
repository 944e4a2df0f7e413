/* Tickets: items that pass for what they were made of, and hear of its end. */
#include "stages_rig.h"

typedef struct seen {
    uint64_t n, outcomes[6];
    weir_status status;
} seen;

typedef struct memory {
    seen *seen;
    uint64_t mark;
} memory;

static void on_ended(void *of, weir_outcome outcome, weir_status status)
{
    memory *m = of;
    assert_int_equal(m->mark, 0x7157);
    m->seen->n++;
    m->seen->outcomes[outcome]++;
    m->seen->status = status;
}

static const weir_ticket_type ticket_type = { .name = "ticket",
                                              .bytes = sizeof(memory),
                                              .ended = on_ended };

/* A stage that puts a ticket on whatever passes. */
static weir_status mark_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                              void *state)
{
    (void)in;
    (void)state;
    seen *s = *(seen *const *)weir_stage_config(stage);
    weir_item *was[64];
    memcpy(was, items, n * sizeof *items);
    size_t made = weir_tickets(weir_stage_loop(stage), &ticket_type, items, n);
    for (size_t i = 0; i < made; i++) {
        *(memory *)weir_ticket_memory(items[i]) = (memory){ s, 0x7157 };
        assert_ptr_equal(items[i]->parent, was[i]);
        assert_ptr_equal(items[i]->body, was[i]->body);
        assert_ptr_equal(items[i]->type, was[i]->type);
        assert_int_equal(items[i]->cost, was[i]->cost);
        assert_int_equal(items[i]->key, was[i]->key);
    }
    weir_emit_all(weir_stage_out(stage), items, made);
    for (size_t i = made; i < n; i++)
        weir_fail(stage, items[i], WEIR_ENOMEM, "no ticket");
    return WEIR_OK;
}

static const weir_stage_type mark_type = { .name = "mark",
                                           .config_size = sizeof(seen *),
                                           .on_items = mark_items };

static weir_stage_spec *mark(seen *s)
{
    return weir_stage_of(&mark_type, &s);
}

static void a_ticket_passes_for_its_item_and_hears_of_its_end(void **unused)
{
    (void)unused;
    seen s = { 0 };
    rig r = rig_with(mark(&s));
    weir_probe_keep(r.to, true);
    rig_request(&r, 3);
    rig_feed(&r, 5, 3);
    assert_got(&r, 5, 6, 7);
    assert_int_equal(s.n, 0);
    weir_item_ack(weir_probe_take(r.to));
    weir_item_end(weir_probe_take(r.to), WEIR_FAILED, WEIR_EIO);
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(s.outcomes[WEIR_ACKED], 1);
    assert_int_equal(s.outcomes[WEIR_FAILED], 1);
    assert_int_equal(s.status, WEIR_EIO);
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    assert_outcome(&r, 1, WEIR_FAILED, WEIR_EIO);
    assert_int_equal(weir_probe_live(r.from), 1);
    rig_abort_and_done(&r);
    assert_int_equal(s.outcomes[WEIR_ABORTED], 1);
}

static void a_ticket_of_a_joined_item_shows_its_members(void **unused)
{
    (void)unused;
    seen s = { 0 };
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_batch(&(weir_batch_config){ .count = 3 }));
    weir_via(r.pipeline, mark(&s));
    weir_via(r.pipeline, mark(&s)); /* and one of a ticket, too */
    weir_into(r.pipeline, weir_probe_sink(r.to));
    rig_start(&r);
    rig_request(&r, 1);
    rig_feed(&r, 1, 3);
    assert_got(&r, 3);
    assert_int_equal(s.outcomes[WEIR_ACKED], 2);
    assert_ended(&r, WEIR_ACKED, 3);
    rig_finish(&r);
}

static weir_status add_hundred(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) += 100;
    return WEIR_OK;
}

/* Both legs see their own body, although each ticket is held once only. */
static void a_ticket_of_a_shared_item_is_cloned_before_it_is_written(void **unused)
{
    (void)unused;
    seen s[2] = { { 0 }, { 0 } };
    rig r = rig_new(1);
    weir_probe *to[2] = { r.to, weir_testkit_probe(r.kit) };
    weir_node *from = weir_add(r.pipeline, weir_probe_source(r.from));
    weir_node *split = weir_add(r.pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_link(from, 0, split, 0, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        weir_node *marked = weir_add(r.pipeline, mark(&s[i]));
        weir_node *add = weir_add(r.pipeline, weir_map(add_hundred, NULL));
        weir_link(split, i, marked, 0, NULL);
        weir_link(marked, 0, add, 0, NULL);
        weir_link(add, 0, weir_add(r.pipeline, weir_probe_sink(to[i])), 0, NULL);
        weir_probe_request(to[i], WEIR_UNBOUNDED);
    }
    rig_start(&r);
    rig_feed(&r, 1, 2);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(weir_probe_value(to[i], 0), 101);
        assert_int_equal(weir_probe_value(to[i], 1), 102);
        assert_int_equal(s[i].outcomes[WEIR_ACKED], 2);
    }
    assert_ended(&r, WEIR_ACKED, 2);
    rig_finish(&r);
}

static void a_ticket_that_ends_on_another_loop_is_told_on_its_own(void **unused)
{
    (void)unused;
    seen s = { 0 };
    rig r = rig_new(2);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, mark(&s));
    weir_node_place(weir_into(r.pipeline, weir_probe_sink(r.to)), 1);
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 200);
    assert_int_equal(s.outcomes[WEIR_ACKED], 200);
    assert_ended(&r, WEIR_ACKED, 200);
    rig_finish(&r);
}

/* ---- Forgiving ---- */

/* Emits what was dead-lettered, forgiven. */
static weir_status forgive_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    (void)state;
    weir_emit(weir_stage_out(stage), weir_item_forgive(item));
    return WEIR_OK;
}

static const weir_stage_type forgive_type = { .name = "forgive", .on_item = forgive_item };

static weir_status fail_it(weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return WEIR_EIO;
}

/* probe > outer > [flat_map] > inner > what fails, dead letters > forgive > probe */
static rig rig_forgiving(seen *outer, seen *inner, weir_stage_spec *between)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, mark(outer));
    if (between != NULL)
        weir_via(r.pipeline, between);
    weir_via(r.pipeline, mark(inner));
    weir_node *fails = weir_into(r.pipeline, weir_for_each(fail_it, NULL));
    weir_node *forgives = weir_add(r.pipeline, weir_stage_of(&forgive_type, NULL));
    weir_node_dead_letter(fails, forgives, 0);
    weir_link(forgives, 0, weir_add(r.pipeline, weir_probe_sink(r.to)), 0, NULL);
    rig_start(&r);
    return r;
}

static void forgiving_ends_the_tickets_with_the_failure_and_the_item_as_it_ends(void **unused)
{
    (void)unused;
    seen outer = { 0 }, inner = { 0 };
    rig r = rig_forgiving(&outer, &inner, NULL);
    weir_probe_keep(r.to, true);
    rig_request(&r, 1);
    rig_feed(&r, 9, 1);
    assert_got(&r, 9);
    assert_int_equal(outer.outcomes[WEIR_DEAD_LETTERED], 1); /* at once: the guarded part is over */
    assert_int_equal(inner.outcomes[WEIR_DEAD_LETTERED], 1);
    assert_int_equal(inner.status, WEIR_EIO);
    assert_int_equal(weir_probe_live(r.from), 1);
    weir_item_ack(weir_probe_take(r.to));
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    rig_finish(&r);
}

static weir_status make_two(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                            weir_item **ret_made)
{
    (void)user;
    if (index == 2)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(*ret_made) = value_of(item) + index;
    return WEIR_OK;
}

static void forgiving_leaves_tickets_that_others_keep_open(void **unused)
{
    (void)unused;
    seen outer = { 0 }, inner = { 0 };
    rig r = rig_forgiving(&outer, &inner, weir_flat_map(make_two, NULL));
    weir_probe_keep(r.to, true);
    rig_request(&r, 2);
    rig_feed(&r, 1, 1);
    assert_got(&r, 1, 2);
    assert_int_equal(inner.outcomes[WEIR_DEAD_LETTERED], 2);
    assert_int_equal(outer.n, 0); /* two items were made of it */
    weir_item_ack(weir_probe_take(r.to));
    weir_item_ack(weir_probe_take(r.to));
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(outer.n, 1);
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    rig_finish(&r);
}

static void without_memory_the_items_are_left_as_they_were(void **unused)
{
    (void)unused;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        seen s = { 0 };
        rig r = rig_with(mark(&s));
        rig_request(&r, 4);
        for (uint64_t i = 0; i < 4; i++)
            assert_true(weir_probe_feed(r.from, i));
        weir_testkit_fail_allocation(r.kit, nth);
        assert_true(weir_testkit_settle(r.kit));
        weir_testkit_fail_allocation(r.kit, 0);
        assert_int_equal(s.n + weir_probe_ended(r.from, WEIR_FAILED), 4);
        rig_finish(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_ticket_passes_for_its_item_and_hears_of_its_end),
        cmocka_unit_test(a_ticket_of_a_joined_item_shows_its_members),
        cmocka_unit_test(a_ticket_of_a_shared_item_is_cloned_before_it_is_written),
        cmocka_unit_test(a_ticket_that_ends_on_another_loop_is_told_on_its_own),
        cmocka_unit_test(forgiving_ends_the_tickets_with_the_failure_and_the_item_as_it_ends),
        cmocka_unit_test(forgiving_leaves_tickets_that_others_keep_open),
        cmocka_unit_test(without_memory_the_items_are_left_as_they_were),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
