/* Tickets that are alike: items share them, stay what they are, and each end is told once. */
#include "stages_rig.h"

#include <stdio.h>

/* What was told: "2A1F" is two that were acked, then one that failed. */
typedef struct told {
    char all[4000];
    uint64_t n, outcomes[6];
    weir_status status;
} told;

static void on_ended(void *memory, size_t n, weir_outcome outcome, weir_status status)
{
    told *t = *(told **)memory;
    size_t at = strlen(t->all);
    snprintf(t->all + at, sizeof t->all - at, "%zu%c", n, "AIDRBF"[outcome]);
    t->n += n;
    t->outcomes[outcome] += n;
    t->status = status;
}

static const weir_ticket_type ticket_type = { .name = "alike",
                                              .bytes = sizeof(told *),
                                              .ended_alike = on_ended };

typedef struct mark_config {
    told *of;
    bool stays; /* the items, which is checked */
} mark_config;

static weir_status mark_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                              void *state)
{
    (void)in;
    (void)state;
    mark_config c = *(const mark_config *)weir_stage_config(stage);
    weir_item *was[64];
    memcpy(was, items, n * sizeof *items);
    size_t made = weir_tickets_alike(weir_stage_loop(stage), &ticket_type, &c.of, items, n);
    for (size_t i = 0; i < n; i++)
        assert_true(!c.stays || items[i] == was[i]);
    weir_emit_all(weir_stage_out(stage), items, made);
    for (size_t i = made; i < n; i++)
        weir_fail(stage, items[i], WEIR_ENOMEM, "no ticket");
    return WEIR_OK;
}

static const weir_stage_type mark_type = { .name = "mark",
                                           .config_size = sizeof(mark_config),
                                           .on_items = mark_items };

static weir_stage_spec *mark(told *of, bool stays)
{
    return weir_stage_of(&mark_type, &(mark_config){ of, stays });
}

/* Items without a type, of one parent. */
static weir_status make_eight(weir_loop *loop, const weir_item *item, uint32_t index, void *user,
                              weir_item **ret_made)
{
    (void)user;
    if (index == 8)
        return WEIR_OK;
    *ret_made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(*ret_made) = value_of(item) + index;
    return WEIR_OK;
}

/* probe > eight of each > outer > inner > probe, which keeps them */
static rig rig_of_eights(told *outer, told *inner)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, weir_flat_map(make_eight, NULL));
    weir_via(r.pipeline, mark(outer, true));
    weir_via(r.pipeline, mark(inner, true));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_probe_keep(r.to, true);
    rig_start(&r);
    rig_request(&r, 8);
    rig_feed(&r, 0, 1);
    assert_received(&r, 8);
    return r;
}

static void end_next(rig *r, weir_outcome outcome, weir_status status)
{
    weir_item_end(weir_probe_take(r->to), outcome, status);
}

static void each_end_is_told_once_and_in_order(void **unused)
{
    (void)unused;
    told outer = { 0 }, inner = { 0 };
    rig r = rig_of_eights(&outer, &inner);
    end_next(&r, WEIR_ACKED, WEIR_OK);
    end_next(&r, WEIR_ACKED, WEIR_OK);
    end_next(&r, WEIR_FAILED, WEIR_EIO);
    end_next(&r, WEIR_ACKED, WEIR_OK);
    end_next(&r, WEIR_FILTERED, WEIR_OK);
    assert_int_equal(inner.n, 0); /* in the loop's own turn */
    assert_true(weir_testkit_settle(r.kit));
    assert_string_equal(inner.all, "2A1F1A1I");
    assert_string_equal(outer.all, "2A1F1A1I");
    for (int i = 0; i < 3; i++)
        end_next(&r, WEIR_ACKED, WEIR_OK);
    assert_true(weir_testkit_settle(r.kit));
    assert_string_equal(inner.all, "2A1F1A1I3A");
    assert_string_equal(outer.all, "2A1F1A1I3A");
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EIO); /* their parent hears the worst */
    rig_finish(&r);
}

static void what_is_made_of_an_item_ends_before_it(void **unused)
{
    (void)unused;
    told outer = { 0 }, inner = { 0 };
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, mark(&outer, true));
    weir_via(r.pipeline, weir_flat_map(make_eight, NULL));
    weir_via(r.pipeline, mark(&inner, true));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_probe_keep(r.to, true);
    rig_start(&r);
    rig_request(&r, 16);
    rig_feed(&r, 0, 2);
    for (int i = 0; i < 15; i++)
        end_next(&r, WEIR_ACKED, WEIR_OK);
    assert_true(weir_testkit_settle(r.kit));
    assert_int_equal(inner.outcomes[WEIR_ACKED], 15);
    assert_string_equal(outer.all, "1A");
    end_next(&r, WEIR_REJECTED, WEIR_EOVERLOAD);
    assert_true(weir_testkit_settle(r.kit));
    assert_string_equal(outer.all, "1A1R");
    assert_int_equal(outer.status, WEIR_EOVERLOAD);
    rig_finish(&r);
}

static weir_status fail_it(weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return WEIR_EIO;
}

static void of_a_shared_item_each_holder_hears_its_own_end(void **unused)
{
    (void)unused;
    told t[2] = { { { 0 }, 0, { 0 }, 0 }, { { 0 }, 0, { 0 }, 0 } };
    rig r = rig_new(1);
    weir_node *from = weir_add(r.pipeline, weir_probe_source(r.from));
    weir_node *split = weir_add(r.pipeline, weir_broadcast(WEIR_SLOW_LEG_HOLDS));
    weir_link(from, 0, split, 0, NULL);
    weir_stage_spec *ends[2] = { weir_probe_sink(r.to), weir_for_each(fail_it, NULL) };
    for (uint32_t i = 0; i < 2; i++) {
        weir_node *marked = weir_add(r.pipeline, mark(&t[i], false));
        weir_link(split, i, marked, 0, NULL);
        weir_link(marked, 0, weir_add(r.pipeline, ends[i]), 0, NULL);
    }
    rig_start(&r);
    rig_request(&r, 3);
    rig_feed(&r, 1, 3);
    assert_int_equal(t[0].outcomes[WEIR_ACKED], 3);
    assert_int_equal(t[1].outcomes[WEIR_FAILED], 3);
    assert_int_equal(t[0].n + t[1].n, 6);
    assert_ended(&r, WEIR_FAILED, 3);
    rig_finish(&r);
}

/* The last stages by turns on two loops. */
static void on_two_loops(uint32_t from, uint32_t marked, uint32_t into)
{
    told t = { 0 };
    rig r = rig_new(2);
    weir_node_place(weir_from(r.pipeline, weir_probe_source(r.from)), from);
    weir_node_place(weir_via(r.pipeline, weir_flat_map(make_eight, NULL)), from);
    weir_node_place(weir_via(r.pipeline, mark(&t, from == marked)), marked);
    weir_node_place(weir_into(r.pipeline, weir_probe_sink(r.to)), into);
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 1, 50);
    assert_int_equal(t.outcomes[WEIR_ACKED], 400);
    assert_int_equal(t.n, 400);
    assert_ended(&r, WEIR_ACKED, 50);
    rig_finish(&r);
}

static void ends_on_and_items_of_other_loops_are_told_on_its_own(void **unused)
{
    (void)unused;
    on_two_loops(0, 0, 1);
    on_two_loops(1, 0, 0);
    on_two_loops(1, 0, 1);
}

/* ---- Failures, kept and made good ---- */

static void what_befell_an_item_before_is_not_told(void **unused)
{
    (void)unused;
    told t = { 0 };
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_node *fails = weir_into(r.pipeline, weir_for_each(fail_it, NULL));
    weir_node *marked = weir_add(r.pipeline, mark(&t, false));
    weir_node_dead_letter(fails, marked, 0);
    weir_link(marked, 0, weir_add(r.pipeline, weir_probe_sink(r.to)), 0, NULL);
    rig_start(&r);
    rig_request(&r, 2);
    rig_feed(&r, 1, 2);
    assert_int_equal(t.outcomes[WEIR_ACKED], 2);
    assert_int_equal(t.n, 2);
    assert_ended(&r, WEIR_DEAD_LETTERED, 2);
    rig_finish(&r);
}

static weir_status forgive_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    (void)in;
    (void)state;
    weir_emit(weir_stage_out(stage), weir_item_forgive(item));
    return WEIR_OK;
}

static const weir_stage_type forgive_type = { .name = "forgive", .on_item = forgive_item };

static weir_status fail_odd(weir_item *item, void *user)
{
    (void)user;
    return value_of(item) % 2 != 0 ? WEIR_EIO : WEIR_OK;
}

/* probe > outer > [between] > inner > what fails, dead letters > forgive > probe */
static rig rig_forgiving(told *outer, told *inner, weir_stage_spec *between)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_via(r.pipeline, mark(outer, true));
    if (between != NULL)
        weir_via(r.pipeline, between);
    weir_via(r.pipeline, mark(inner, true));
    weir_node *fails = weir_into(r.pipeline, weir_for_each(fail_odd, NULL));
    weir_node *forgives = weir_add(r.pipeline, weir_stage_of(&forgive_type, NULL));
    weir_node_dead_letter(fails, forgives, 0);
    weir_link(forgives, 0, weir_add(r.pipeline, weir_probe_sink(r.to)), 0, NULL);
    weir_probe_keep(r.to, true);
    rig_start(&r);
    return r;
}

static void forgiving_tells_of_the_failure_and_not_of_the_end(void **unused)
{
    (void)unused;
    told outer = { 0 }, inner = { 0 };
    rig r = rig_forgiving(&outer, &inner, NULL);
    rig_request(&r, 2);
    rig_feed(&r, 0, 4);
    assert_got(&r, 1, 3);
    assert_int_equal(outer.outcomes[WEIR_DEAD_LETTERED], 2);
    assert_int_equal(inner.outcomes[WEIR_DEAD_LETTERED], 2);
    assert_int_equal(inner.status, WEIR_EIO);
    assert_int_equal(weir_probe_live(r.from), 2);
    end_next(&r, WEIR_ACKED, WEIR_OK);
    end_next(&r, WEIR_ACKED, WEIR_OK);
    assert_true(weir_testkit_settle(r.kit));
    assert_ended(&r, WEIR_ACKED, 4);
    assert_int_equal(outer.n, 4);
    assert_int_equal(inner.n, 4);
    rig_finish(&r);
}

static void forgiving_leaves_what_others_keep_open(void **unused)
{
    (void)unused;
    told outer = { 0 }, inner = { 0 };
    rig r = rig_forgiving(&outer, &inner, weir_flat_map(make_eight, NULL));
    rig_request(&r, 4);
    rig_feed(&r, 0, 1);
    assert_got(&r, 1, 3, 5, 7);
    assert_int_equal(inner.outcomes[WEIR_DEAD_LETTERED], 4);
    assert_int_equal(inner.outcomes[WEIR_ACKED], 4);
    assert_int_equal(outer.n, 0);
    for (int i = 0; i < 4; i++)
        end_next(&r, WEIR_ACKED, WEIR_OK);
    assert_true(weir_testkit_settle(r.kit));
    assert_string_equal(outer.all, "1A");
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    rig_finish(&r);
}

/* ---- Limits ---- */

static void without_memory_the_items_are_left_as_they_were(void **unused)
{
    (void)unused;
    for (uint64_t nth = 1; nth <= 2; nth++) {
        told t = { 0 };
        rig r = rig_with(mark(&t, true));
        rig_request(&r, 4);
        for (uint64_t i = 0; i < 4; i++)
            assert_true(weir_probe_feed(r.from, i));
        weir_testkit_fail_allocation(r.kit, nth);
        assert_true(weir_testkit_settle(r.kit));
        weir_testkit_fail_allocation(r.kit, 0);
        assert_int_equal(t.n + weir_probe_ended(r.from, WEIR_FAILED), 4);
        rig_finish(&r);
    }
}

static void the_root_of_an_item_is_what_its_source_emitted(void **unused)
{
    (void)unused;
    told outer = { 0 }, inner = { 0 };
    rig r = rig_of_eights(&outer, &inner);
    weir_item *item = weir_probe_take(r.to);
    weir_probe *source;
    uint64_t index;
    assert_ptr_not_equal(weir_item_root(item), item);
    assert_true(weir_probe_origin(weir_item_root(item), &source, &index));
    assert_ptr_equal(weir_item_root(weir_item_root(item)), weir_item_root(item));
    weir_item_ack(item);
    rig_abort_and_done(&r);
    assert_int_equal(outer.n, 8);
    assert_int_equal(inner.n, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_end_is_told_once_and_in_order),
        cmocka_unit_test(what_is_made_of_an_item_ends_before_it),
        cmocka_unit_test(of_a_shared_item_each_holder_hears_its_own_end),
        cmocka_unit_test(ends_on_and_items_of_other_loops_are_told_on_its_own),
        cmocka_unit_test(what_befell_an_item_before_is_not_told),
        cmocka_unit_test(forgiving_tells_of_the_failure_and_not_of_the_end),
        cmocka_unit_test(forgiving_leaves_what_others_keep_open),
        cmocka_unit_test(without_memory_the_items_are_left_as_they_were),
        cmocka_unit_test(the_root_of_an_item_is_what_its_source_emitted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
