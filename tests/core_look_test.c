/* `run` and `let_go`: a stage that holds items, and looks at all it has when something changed. */
#include "core_rig.h"

enum { HELD_MAX = 8 };

typedef struct holder {
    weir_item *held[HELD_MAX];
    uint32_t n;
    weir_timer timer;
} holder;

/* What the stages of a test did; one stage a test. */
static struct {
    uint32_t runs, lettings_go, changes;
    bool waits; /* emits only once it was woken by time */
    weir_stage *stage;
    bool said_over;
} saw;

static weir_status holder_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    saw.stage = stage;
    return WEIR_OK;
}

static weir_status holder_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                   void *state)
{
    (void)stage;
    (void)in;
    holder *h = state;
    for (size_t i = 0; i < n; i++)
        h->held[h->n++] = items[i];
    return WEIR_OK;
}

static void holder_run(weir_stage *stage, void *state)
{
    holder *h = state;
    weir_out *out = weir_stage_out(stage);
    saw.runs++;
    while (!saw.waits && h->n > 0 && weir_out_credit(out) > 0)
        weir_emit(out, h->held[--h->n]);
    saw.said_over = weir_finish(stage, h->n);
    for (uint32_t i = 0; i < weir_stage_inputs(stage); i++)
        weir_request_to(weir_stage_in_at(stage, i), (HELD_MAX - h->n) / weir_stage_inputs(stage));
}

static void holder_let_go(weir_stage *stage, void *state)
{
    holder *h = state;
    saw.lettings_go++;
    weir_timer_stop(weir_stage_loop(stage), &h->timer);
    while (h->n > 0)
        weir_item_end(h->held[--h->n], WEIR_ABORTED, WEIR_ECANCELED);
}

static weir_status holder_on_change(weir_stage *stage, const void *config, void *state)
{
    (void)stage;
    (void)config;
    (void)state;
    saw.changes++;
    return WEIR_OK;
}

#define HOLDER_TYPE(inputs_, outputs_)                                              \
    {                                                                               \
        .name = "holder", .config_size = sizeof(int), .state_size = sizeof(holder), \
        .inputs = (inputs_), .outputs = (outputs_), .open = holder_open,            \
        .on_items = holder_on_items, .run = holder_run, .let_go = holder_let_go,    \
        .on_change = holder_on_change                                               \
    }

static const weir_stage_type holder_type = HOLDER_TYPE(WEIR_PORTS_ONE, WEIR_PORTS_ONE);
static const weir_stage_type meeting_type = HOLDER_TYPE(2, WEIR_PORTS_ONE);
static const weir_stage_type forking_type = HOLDER_TYPE(WEIR_PORTS_ONE, 2);

/* Which there is, if there was memory to open it. */
static weir_stage *the_stage(void)
{
    assert_non_null(saw.stage);
    return saw.stage;
}

static rig rig_of_holder(void)
{
    memset(&saw, 0, sizeof saw);
    rig r = rig_new();
    rig_chain(&r, weir_stage_of(&holder_type, NULL));
    rig_start(&r);
    rig_settle(&r);
    return r;
}

static void a_stage_looks_when_items_come_and_when_they_are_asked_for(void **unused)
{
    (void)unused;
    rig r = rig_of_holder();
    uint32_t before = saw.runs;
    rig_feed(&r, 3);
    rig_settle(&r);
    assert_true(saw.runs > before);
    assert_int_equal(weir_probe_received(r.to), 0);
    weir_probe_request(r.to, 2);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 2);
    weir_probe_cancel(r.to);
    rig_done(&r);
}

static void a_stage_without_on_demand_asks_for_nothing_but_what_it_asks_for(void **unused)
{
    (void)unused;
    rig r = rig_of_holder();
    assert_int_equal(weir_in_outstanding(weir_stage_in(the_stage())), HELD_MAX);
    weir_probe_request(r.to, 100);
    rig_settle(&r);
    assert_int_equal(weir_in_outstanding(weir_stage_in(the_stage())), HELD_MAX);
    weir_probe_cancel(r.to);
    rig_done(&r);
}

static void the_end_follows_what_is_held(void **unused)
{
    (void)unused;
    rig r = rig_of_holder();
    rig_feed(&r, 1);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_true(saw.said_over);
    assert_true(weir_in_is_over(weir_stage_in(the_stage())));
    assert_false(weir_out_is_over(weir_stage_out(the_stage())));
    weir_probe_request(r.to, 1);
    rig_done(&r);
}

static void an_error_follows_what_is_held_and_stays_known(void **unused)
{
    (void)unused;
    rig r = rig_of_holder();
    rig_feed(&r, 1);
    weir_probe_end_error(r.from, WEIR_EIO);
    rig_settle(&r);
    assert_int_equal(weir_in_status(weir_stage_in(the_stage())), WEIR_EIO);
    assert_false(weir_out_is_over(weir_stage_out(the_stage())));
    weir_probe_request(r.to, 1);
    rig_settle(&r);
    assert_true(weir_probe_expect_end(r.to, WEIR_EIO));
    rig_done(&r);
}

static void a_cancel_lets_go_and_cancels_the_input(void **unused)
{
    (void)unused;
    rig r = rig_of_holder();
    rig_feed(&r, 3);
    rig_settle(&r);
    uint32_t runs = saw.runs;
    weir_probe_cancel(r.to);
    rig_settle(&r);
    assert_int_equal(saw.lettings_go, 2); /* and before it closed */
    assert_int_equal(saw.runs, runs);     /* nobody would hear */
    rig_assert_outcome(&r, 0, WEIR_ABORTED, WEIR_ECANCELED);
    rig_done(&r);
}

static void an_abort_lets_go(void **unused)
{
    (void)unused;
    rig r = rig_of_holder();
    rig_feed(&r, 3);
    rig_settle(&r);
    uint32_t runs = saw.runs;
    weir_pipeline_shutdown(r.p, WEIR_ABORT, 0);
    rig_settle(&r);
    assert_int_equal(saw.runs, runs);
    rig_assert_outcome(&r, 2, WEIR_ABORTED, WEIR_ECANCELED);
    rig_done(&r);
}

static void a_stage_that_is_woken_looks(void **unused)
{
    (void)unused;
    rig r = rig_of_holder();
    uint32_t runs = saw.runs;
    weir_stage_wake(the_stage());
    rig_settle(&r);
    assert_int_equal(saw.runs, runs + 1);
    holder *h = weir_stage_state(the_stage());
    weir_stage_wake_after(the_stage(), &h->timer, WEIR_MS);
    weir_testkit_advance(r.kit, WEIR_MS - 1);
    rig_settle(&r);
    assert_int_equal(saw.runs, runs + 1);
    weir_testkit_advance(r.kit, 1);
    rig_settle(&r);
    assert_int_equal(saw.runs, runs + 2);
    weir_probe_cancel(r.to);
    rig_done(&r);
}

static void a_stage_looks_when_it_has_new_settings(void **unused)
{
    (void)unused;
    rig r = rig_of_holder();
    uint32_t runs = saw.runs;
    int config = 1;
    const char *why = NULL;
    assert_int_equal(weir_pipeline_change(r.p, "holder", &config, sizeof config, NULL, &why),
                     WEIR_OK);
    rig_settle(&r);
    assert_int_equal(saw.changes, 1);
    assert_true(saw.runs > runs);
    weir_probe_cancel(r.to);
    rig_done(&r);
}

static void a_holder_is_swapped_once_it_holds_nothing(void **unused)
{
    (void)unused;
    rig r = rig_of_holder();
    rig_feed(&r, 2);
    rig_settle(&r);
    weir_stage *old = the_stage();
    const char *why = NULL;
    saw.stage = NULL;
    assert_int_equal(
        weir_pipeline_swap(r.p, "holder", weir_stage_of(&holder_type, NULL), NULL, &why), WEIR_OK);
    rig_settle(&r);
    assert_null(saw.stage); /* it waits for demand */
    weir_probe_request(r.to, 2);
    rig_settle(&r);
    assert_ptr_equal(the_stage(), old); /* the place is the same */
    assert_int_equal(weir_probe_received(r.to), 2);
    rig_feed(&r, 1);
    weir_probe_request(r.to, 1);
    rig_settle(&r);
    assert_int_equal(weir_probe_received(r.to), 3);
    weir_probe_end(r.from);
    rig_done(&r);
}

static void an_error_of_one_input_cancels_the_others(void **unused)
{
    (void)unused;
    memset(&saw, 0, sizeof saw);
    rig r = rig_new();
    weir_probe *other = weir_testkit_probe(r.kit);
    weir_node *meeting = weir_add(r.p, weir_stage_of(&meeting_type, NULL));
    weir_node *to = weir_add(r.p, weir_probe_sink(r.to));
    weir_link(weir_add(r.p, weir_probe_source(r.from)), 0, meeting, 0, NULL);
    weir_link(weir_add(r.p, weir_probe_source(other)), 0, meeting, 1, NULL);
    weir_link(meeting, 0, to, 0, NULL);
    rig_start(&r);
    rig_feed(&r, 1);
    weir_probe_end(r.from);
    rig_settle(&r);
    assert_false(saw.said_over); /* one of two */
    weir_probe_end_error(other, WEIR_EIO);
    rig_settle(&r);
    assert_true(saw.said_over);
    weir_probe_request(r.to, 1);
    rig_settle(&r);
    assert_true(weir_probe_expect_end(r.to, WEIR_EIO));
    rig_done(&r);
}

static void one_output_of_two_that_is_cancelled_is_looked_at_and_lets_nothing_go(void **unused)
{
    (void)unused;
    memset(&saw, 0, sizeof saw);
    rig r = rig_new();
    weir_probe *other = weir_testkit_probe(r.kit);
    weir_node *forking = weir_add(r.p, weir_stage_of(&forking_type, NULL));
    weir_link(weir_add(r.p, weir_probe_source(r.from)), 0, forking, 0, NULL);
    weir_link(forking, 0, weir_add(r.p, weir_probe_sink(r.to)), 0, NULL);
    weir_link(forking, 1, weir_add(r.p, weir_probe_sink(other)), 0, NULL);
    rig_start(&r);
    rig_feed(&r, 1);
    rig_settle(&r);
    uint32_t runs = saw.runs;
    weir_probe_cancel(other);
    rig_settle(&r);
    assert_true(saw.runs > runs);
    assert_int_equal(saw.lettings_go, 0);
    weir_probe_cancel(r.to);
    rig_settle(&r);
    rig_assert_outcome(&r, 0, WEIR_ABORTED, WEIR_ECANCELED);
    rig_done(&r);
}

/* ---- Sources ---- */

static void source_run(weir_stage *stage, void *state)
{
    (void)state;
    saw.runs++;
    if (!weir_stage_is_draining(stage))
        return;
    if (++saw.changes > 2) /* it has its time */
        weir_end(weir_stage_out(stage));
    weir_stage_wake(stage);
}

static const weir_stage_type source_type = { .name = "source",
                                             .inputs = WEIR_PORTS_NONE,
                                             .run = source_run };

static void a_drain_leaves_the_end_to_a_source_that_looks(void **unused)
{
    (void)unused;
    memset(&saw, 0, sizeof saw);
    rig r = rig_new();
    weir_from(r.p, weir_stage_of(&source_type, NULL));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    weir_pipeline_shutdown(r.p, WEIR_DRAIN, 0);
    rig_done(&r);
    assert_int_equal(saw.changes, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stage_looks_when_items_come_and_when_they_are_asked_for),
        cmocka_unit_test(a_stage_without_on_demand_asks_for_nothing_but_what_it_asks_for),
        cmocka_unit_test(the_end_follows_what_is_held),
        cmocka_unit_test(an_error_follows_what_is_held_and_stays_known),
        cmocka_unit_test(a_cancel_lets_go_and_cancels_the_input),
        cmocka_unit_test(an_abort_lets_go),
        cmocka_unit_test(a_stage_that_is_woken_looks),
        cmocka_unit_test(a_stage_looks_when_it_has_new_settings),
        cmocka_unit_test(a_holder_is_swapped_once_it_holds_nothing),
        cmocka_unit_test(an_error_of_one_input_cancels_the_others),
        cmocka_unit_test(one_output_of_two_that_is_cancelled_is_looked_at_and_lets_nothing_go),
        cmocka_unit_test(a_drain_leaves_the_end_to_a_source_that_looks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
