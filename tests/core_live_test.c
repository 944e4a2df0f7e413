/* Changes while items flow: settings, windows, policies, stages; nothing lost, doubled, reordered.
 */
#include "core_rig.h"
#include "effort.h"

#include <pthread.h>
#include <stdatomic.h>

#include <weir/stages.h>

/* ---- What is told ---- */

typedef struct note {
    weir_status status;
    const char *why;
    uint32_t n;
} note;

static void told(weir_pipeline *p, weir_status status, const char *why, void *user)
{
    note *n = user;
    (void)p;
    *n = (note){ status, why, n->n + 1 };
}

#define NOTIFY(note_) (&(weir_on_changed){ told, (note_) })

#define assert_refused(status_, call_)    \
    do {                                  \
        const char *why = NULL;           \
        assert_int_equal(call_, status_); \
        assert_non_null(why);             \
        assert_true(why[0] != '\0');      \
    } while (0)

/* ---- Stages ---- */

/* Holds up to `hold` items back, asks as it is asked, and sees that it gets no more than that. */
typedef struct keeper_config {
    uint32_t hold;
    uint32_t fails_at; /* the replica + 1 whose change fails */
} keeper_config;

typedef struct keeper {
    weir_stage *stage;
    uint64_t asked, got;
    weir_item *items[512];
    uint32_t head, n, hold;
    bool over;
} keeper;

static uint32_t keepers_open, keepers_changed;
static bool keepers_fail;

static weir_status keeper_check(const void *config, const char **why)
{
    *why = "hold is at most 100";
    return ((const keeper_config *)config)->hold > 100 ? WEIR_EINVAL : WEIR_OK;
}

static void keeper_close(weir_stage *stage, void *state)
{
    (void)stage;
    assert_int_equal(((keeper *)state)->n, 0);
    keepers_open--;
}

static void keeper_run(keeper *k)
{
    weir_out *out = weir_stage_out(k->stage);
    while (k->n > (k->over ? 0 : k->hold) && weir_out_fits(out, k->items[k->head]->cost)) {
        weir_emit(out, k->items[k->head]);
        k->head = (k->head + 1) % 512;
        k->n--;
    }
    if (k->over && k->n == 0)
        weir_end(out);
    if (k->over)
        return;
    uint64_t level = weir_out_credit(out) < 64 ? weir_out_credit(out) : 64;
    if (k->n < k->hold)
        level += k->hold - k->n;
    uint64_t open = k->asked - k->got;
    assert_int_equal(weir_in_outstanding(weir_stage_in(k->stage)), open);
    if (level > open) {
        k->asked += level - open;
        assert_int_equal(weir_request(weir_stage_in(k->stage), level - open), WEIR_OK);
    }
}

static weir_status keeper_open(weir_stage *stage, const void *config, void *state)
{
    keeper *k = state;
    if (keepers_fail)
        return WEIR_EIO;
    k->stage = stage;
    k->hold = ((const keeper_config *)config)->hold;
    keepers_open++;
    keeper_run(k);
    return WEIR_OK;
}

static void keeper_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    keeper_run(state);
}

static weir_status keeper_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                   void *state)
{
    keeper *k = state;
    (void)stage;
    (void)in;
    k->got += n;
    assert_true(k->got <= k->asked);
    for (size_t i = 0; i < n; i++)
        k->items[(k->head + k->n++) % 512] = items[i];
    keeper_run(k);
    return WEIR_OK;
}

static void keeper_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    keeper *k = state;
    (void)stage;
    (void)in;
    (void)status;
    assert_false(k->over);
    k->over = true;
    keeper_run(k);
}

static void keeper_abort(keeper *k)
{
    for (; k->n != 0; k->n--) {
        weir_item_end(k->items[k->head], WEIR_ABORTED, WEIR_ECANCELED);
        k->head = (k->head + 1) % 512;
    }
}

static void keeper_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    keeper_abort(state);
    weir_cancel(weir_stage_in(stage));
}

static void keeper_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    keeper_abort(state);
}

static weir_status keeper_on_change(weir_stage *stage, const void *config, void *state)
{
    const keeper_config *c = config;
    keeper *k = state;
    assert_ptr_equal(weir_stage_config(stage), config);
    if (c->fails_at == weir_stage_replica(stage) + 1)
        return WEIR_EUNAVAILABLE;
    k->hold = c->hold;
    keepers_changed++;
    if (!k->over)
        keeper_run(k);
    return WEIR_OK;
}

static const weir_stage_type keeper_type = {
    .name = "keeper",
    .config_size = sizeof(keeper_config),
    .state_size = sizeof(keeper),
    .check = keeper_check,
    .open = keeper_open,
    .close = keeper_close,
    .on_demand = keeper_on_demand,
    .on_items = keeper_on_items,
    .on_end = keeper_on_end,
    .on_cancel = keeper_on_cancel,
    .on_abort = keeper_on_abort,
    .on_change = keeper_on_change,
};

static weir_stage_spec *keeper_of(uint32_t hold)
{
    return weir_stage_of(&keeper_type, &(keeper_config){ .hold = hold });
}

static const weir_stage_type pass_type = { .name = "pass" };
static const weir_stage_type acked_type = { .name = "acked",
                                            .inputs = WEIR_PORTS_NONE,
                                            .acks = true };

static weir_status add_thousand(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) += 1000;
    return WEIR_OK;
}

static weir_status same(weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return WEIR_OK;
}

/* Operations that end when told. */
typedef struct work {
    weir_op *ops[64];
    uint32_t n;
} work;

static void work_start(weir_op *op, void *user)
{
    work *w = user;
    w->ops[w->n++] = op;
}

static void work_cancel(weir_op *op, weir_status status, void *user)
{
    work *w = user;
    for (uint32_t i = 0; i < w->n; i++)
        if (w->ops[i] == op)
            w->ops[i] = w->ops[--w->n];
    weir_op_done(op, status, "cancelled");
}

static weir_stage_spec *work_of(work *w)
{
    return weir_async(&(weir_async_fn_config){
        .start = work_start, .cancel = work_cancel, .user = w, .in_flight = 8 });
}

static void work_finish(rig *r, work *w)
{
    while (w->n != 0) {
        weir_op *ops[64];
        uint32_t n = w->n;
        memcpy(ops, w->ops, sizeof ops);
        w->n = 0;
        for (uint32_t i = 0; i < n; i++)
            weir_op_done(ops[i], WEIR_OK, NULL);
        rig_settle(r);
    }
}

/* ---- The bench ---- */

static void request(rig *r, uint64_t n)
{
    weir_probe_request(r->to, n);
    rig_settle(r);
}

static void feed(rig *r, uint64_t first, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++)
        assert_true(weir_probe_feed(r->from, first + i));
    rig_settle(r);
}

static void assert_order(const weir_probe *to, uint64_t n)
{
    assert_int_equal(weir_probe_received(to), n);
    for (uint64_t i = 0; i < n; i++)
        assert_int_equal(weir_probe_value(to, i), i);
}

static void finish(rig *r)
{
    weir_probe_end(r->from);
    request(r, WEIR_UNBOUNDED);
    rig_done(r);
    assert_int_equal(keepers_open, 0);
}

static void abort_and_done(rig *r)
{
    weir_pipeline_shutdown(r->p, WEIR_ABORT, 0);
    rig_done(r);
    assert_int_equal(keepers_open, 0);
}

static weir_edge_stats edge_of(const rig *r, uint32_t index)
{
    weir_edge_stats stats;
    assert_int_equal(weir_pipeline_edge_stats(r->p, index, &stats), WEIR_OK);
    return stats;
}

static void swap_to(rig *r, const char *name, weir_stage_spec *spec)
{
    const char *why = NULL;
    weir_status status = weir_pipeline_swap(r->p, name, spec, NULL, &why);
    if (status != WEIR_OK)
        fail_msg("swap: %s", why);
    rig_settle(r);
}

/* ---- Settings ---- */

static void a_change_that_cannot_be_is_refused_with_a_reason(void **unused)
{
    (void)unused;
    rig r = rig_new();
    rig_chain(&r, keeper_of(3));
    keeper_config c = { .hold = 5 }, bad = { .hold = 101 };
    assert_refused(WEIR_ECLOSED, weir_pipeline_change(r.p, "keeper", &c, sizeof c, NULL, &why));
    rig_start(&r);
    assert_refused(WEIR_ENOTFOUND, weir_pipeline_change(r.p, "nobody", &c, sizeof c, NULL, &why));
    assert_refused(WEIR_ENOTFOUND, weir_pipeline_change(r.p, NULL, &c, sizeof c, NULL, &why));
    assert_refused(WEIR_EINVAL, weir_pipeline_change(r.p, "keeper", &c, 3, NULL, &why));
    assert_refused(WEIR_EINVAL, weir_pipeline_change(r.p, "keeper", NULL, sizeof c, NULL, &why));
    assert_refused(WEIR_EINVAL, weir_pipeline_change(r.p, "keeper", &bad, sizeof c, NULL, &why));
    assert_refused(WEIR_EUNSUPPORTED,
                   weir_pipeline_change(r.p, "probe_sink", &c, sizeof c, NULL, &why));
    weir_probe_end(r.from);
    request(&r, 1);
    assert_refused(WEIR_ECLOSED, weir_pipeline_change(r.p, "keeper", &c, sizeof c, NULL, &why));
    rig_done(&r);
}

static void a_change_reaches_every_replica_and_is_told_once(void **unused)
{
    (void)unused;
    note n = { 0 };
    rig r = rig_with(4, (weir_pipeline_config){ 0 });
    rig_chain(&r, keeper_of(3));
    rig_start(&r);
    keepers_changed = 0;
    assert_int_equal(weir_pipeline_change(r.p, "keeper", &(keeper_config){ .hold = 5 },
                                          sizeof(keeper_config), NOTIFY(&n), NULL),
                     WEIR_OK);
    assert_int_equal(keepers_changed, 0); /* on the loops, not here */
    rig_settle(&r);
    assert_int_equal(keepers_changed, 4);
    assert_int_equal(n.n, 1);
    assert_int_equal(n.status, WEIR_OK);
    abort_and_done(&r);
}

static void what_a_replica_cannot_take_is_taken_back_from_the_others(void **unused)
{
    (void)unused;
    note n = { 0 };
    rig r = rig_with(4, (weir_pipeline_config){ 0 });
    rig_chain(&r, keeper_of(0));
    rig_start(&r);
    for (uint32_t i = 0; i < 4; i++)
        weir_probe_request(weir_probe_replica(r.to, i), 10);
    assert_int_equal(weir_pipeline_change(r.p, "keeper", &(keeper_config){ 50, 3 },
                                          sizeof(keeper_config), NOTIFY(&n), NULL),
                     WEIR_OK);
    rig_settle(&r);
    assert_int_equal(n.n, 1);
    assert_int_equal(n.status, WEIR_EUNAVAILABLE);
    for (uint32_t i = 0; i < 4; i++) {
        for (uint64_t k = 0; k < 4; k++)
            assert_true(weir_probe_feed(weir_probe_replica(r.from, i), k));
        rig_settle(&r);
        assert_int_equal(weir_probe_received(weir_probe_replica(r.to, i)), 4);
    }
    abort_and_done(&r);
}

static void too_many_changes_are_refused(void **unused)
{
    (void)unused;
    rig r = rig_new();
    rig_chain(&r, keeper_of(0));
    rig_start(&r);
    keeper_config c = { .hold = 1 };
    for (int i = 0; i < WEIR_CHANGES_MAX; i++)
        assert_int_equal(weir_pipeline_change(r.p, "keeper", &c, sizeof c, NULL, NULL), WEIR_OK);
    assert_refused(WEIR_EOVERLOAD, weir_pipeline_change(r.p, "keeper", &c, sizeof c, NULL, &why));
    rig_settle(&r);
    assert_int_equal(weir_pipeline_change(r.p, "keeper", &c, sizeof c, NULL, NULL), WEIR_OK);
    finish(&r);
}

/* ---- Windows ---- */

static rig rig_window(uint32_t window, uint32_t window_max)
{
    rig r = rig_new();
    weir_from(r.p, weir_probe_source(r.from));
    weir_node_window(weir_into(r.p, weir_probe_sink(r.to)),
                     &(weir_edge_config){ .window = window, .window_max = window_max });
    rig_start(&r);
    return r;
}

static void set_window(rig *r, const char *name, uint32_t window)
{
    const char *why = "";
    if (weir_pipeline_set_window(r->p, name, 0, window, NULL, &why) != WEIR_OK)
        fail_msg("set_window: %s", why);
    rig_settle(r);
}

static void a_larger_window_is_granted_at_once(void **unused)
{
    (void)unused;
    rig r = rig_window(4, 100);
    request(&r, WEIR_UNBOUNDED);
    assert_int_equal(weir_probe_demand(r.from), 4);
    set_window(&r, "probe_sink", 100);
    assert_int_equal(weir_probe_demand(r.from), 100);
    assert_int_equal(edge_of(&r, 0).window, 100);
    assert_int_equal(edge_of(&r, 0).resizes, 1);
    finish(&r);
}

static void a_smaller_window_grants_nothing_until_fewer_are_in_flight(void **unused)
{
    (void)unused;
    rig r = rig_window(10, 10);
    request(&r, 100);
    assert_int_equal(weir_probe_demand(r.from), 10);
    set_window(&r, "probe_sink", 3);
    assert_int_equal(weir_probe_demand(r.from), 10); /* given is given */
    feed(&r, 0, 7);
    assert_int_equal(weir_probe_demand(r.from), 3);
    feed(&r, 7, 1);
    assert_int_equal(weir_probe_demand(r.from), 3);
    feed(&r, 8, 92);
    assert_order(r.to, 100);
    assert_int_equal(weir_probe_demand(r.from), 0);
    finish(&r);
}

static void a_window_beyond_its_room_is_refused(void **unused)
{
    (void)unused;
    rig r = rig_window(4, 100);
    assert_refused(WEIR_EINVAL, weir_pipeline_set_window(r.p, "probe_sink", 0, 101, NULL, &why));
    assert_refused(WEIR_EINVAL, weir_pipeline_set_window(r.p, "probe_sink", 0, 0, NULL, &why));
    assert_refused(WEIR_ENOTFOUND, weir_pipeline_set_window(r.p, "probe_sink", 1, 5, NULL, &why));
    assert_refused(WEIR_ENOTFOUND, weir_pipeline_set_window(r.p, "nobody", 0, 5, NULL, &why));
    finish(&r);
}

static void the_bound_counts_the_largest_window(void **unused)
{
    (void)unused;
    rig r = rig_window(4, 100);
    assert_int_equal(weir_pipeline_bound(r.p), UINT64_C(100) << 21);
    finish(&r);
}

static void bad_bounds_of_a_window_are_refused(void **unused)
{
    (void)unused;
    const weir_edge_config bad[] = { { .window = 5, .window_max = 4 },
                                     { .window_max = 4, .window_min = 5, .latency_us = 1 },
                                     { .window_max = (1 << 20) + 1 } };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r = rig_new();
        weir_from(r.p, weir_probe_source(r.from));
        weir_node_window(weir_into(r.p, weir_probe_sink(r.to)), &bad[i]);
        assert_true(weir_pipeline_check(r.p) != WEIR_OK);
        weir_pipeline_free(r.p);
        assert_int_equal(weir_testkit_free(r.kit), 0);
    }
}

static void figures_show_the_window_as_it_is_now(void **unused)
{
    (void)unused;
    char text[16384];
    rig r = rig_window(4, 100);
    set_window(&r, "probe_sink", 77);
    assert_true(weir_pipeline_json(r.p, text, sizeof text) < sizeof text);
    assert_non_null(strstr(text, "\"window\":77"));
    assert_non_null(strstr(text, "\"resizes\":1"));
    assert_true(weir_pipeline_dot(r.p, text, sizeof text) < sizeof text);
    assert_non_null(strstr(text, "label=\"77\""));
    assert_true(weir_pipeline_metrics(r.p, WEIR_OPENMETRICS, text, sizeof text) < sizeof text);
    assert_non_null(strstr(text, "weir_edge_resizes_total"));
    finish(&r);
}

static void a_window_within_a_fused_chain_unfuses_it(void **unused)
{
    (void)unused;
    rig r = rig_new();
    weir_from(r.p, weir_probe_source(r.from));
    weir_via(r.p, weir_map(add_thousand, NULL));
    weir_via(r.p, weir_map(same, NULL));
    weir_via(r.p, weir_map(same, NULL));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    request(&r, 50);
    feed(&r, 0, 10);
    set_window(&r, "map_2", 3);
    feed(&r, 10, 90);
    assert_int_equal(weir_probe_received(r.to), 50);
    assert_int_equal(edge_of(&r, 1).window, 3);
    assert_int_equal(weir_probe_emitted(r.from), 50);
    request(&r, 50);
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(weir_probe_value(r.to, i), 1000 + i);
    for (uint32_t i = 1; i < 4; i++) {
        assert_int_equal(rig_stats(&r, i).items_in, 100);
        assert_int_equal(rig_stats(&r, i).items_out, 100);
    }
    finish(&r);
}

/* ---- Policies ---- */

typedef struct flaky {
    uint32_t fails; /* so many first tries */
    uint32_t tries;
} flaky;

static weir_status flaky_map(weir_item *item, void *user)
{
    flaky *f = user;
    (void)item;
    return ++f->tries <= f->fails ? WEIR_EUNAVAILABLE : WEIR_OK;
}

static void a_retry_policy_put_on_a_fused_stage_retries(void **unused)
{
    (void)unused;
    flaky f = { 2, 0 };
    rig r = rig_new();
    weir_from(r.p, weir_probe_source(r.from));
    weir_via(r.p, weir_map(same, NULL));
    weir_via(r.p, weir_map(flaky_map, &f));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    request(&r, 100);
    feed(&r, 0, 1);
    assert_int_equal(weir_probe_ended(r.from, WEIR_FAILED), 1);
    f.tries = 0;
    assert_int_equal(
        weir_pipeline_set_policy(
            r.p, "map_2", &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY }, NULL, NULL),
        WEIR_OK);
    rig_settle(&r);
    feed(&r, 1, 1);
    assert_int_equal(weir_probe_received(r.to), 0);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, 10 * WEIR_MS));
    assert_int_equal(weir_probe_received(r.to), 1);
    assert_int_equal(weir_probe_ended(r.from, WEIR_FAILED), 1);
    finish(&r);
}

static void what_waits_for_a_retry_keeps_its_turn(void **unused)
{
    (void)unused;
    for (uint32_t waiting_max = 1; waiting_max <= 500; waiting_max += 499) {
        flaky f = { 3, 0 };
        rig r = rig_new();
        weir_node *node = rig_chain(&r, weir_map(flaky_map, &f));
        weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                                     .backoff_ms = 100,
                                                     .waiting_max = 10 });
        rig_start(&r);
        request(&r, 100);
        feed(&r, 0, 3);
        weir_error_policy policy = { .on_error = WEIR_ON_ERROR_RETRY,
                                     .backoff_ms = 60000,
                                     .backoff_ms_max = 60000,
                                     .waiting_max = waiting_max };
        assert_int_equal(weir_pipeline_set_policy(r.p, "map", &policy, NULL, NULL), WEIR_OK);
        assert_true(weir_testkit_advance_by(r.kit, 101 * WEIR_MS, WEIR_MS));
        assert_int_equal(weir_probe_received(r.to), 3);
        finish(&r);
    }
}

static void a_policy_that_makes_no_sense_is_refused(void **unused)
{
    (void)unused;
    rig r = rig_new();
    rig_chain(&r, keeper_of(0));
    rig_start(&r);
    weir_error_policy dead = { .on_error = WEIR_ON_ERROR_DEAD_LETTER },
                      then = { .then = WEIR_ON_ERROR_RETRY };
    assert_refused(WEIR_EINVAL, weir_pipeline_set_policy(r.p, "keeper", &dead, NULL, &why));
    assert_refused(WEIR_EINVAL, weir_pipeline_set_policy(r.p, "keeper", &then, NULL, &why));
    assert_refused(WEIR_EINVAL, weir_pipeline_set_policy(r.p, "keeper", NULL, NULL, &why));
    finish(&r);
}

/* ---- Swaps ---- */

static void a_swap_lets_the_old_stage_flush_first(void **unused)
{
    (void)unused;
    note n = { 0 };
    rig r = rig_new();
    rig_chain(&r, keeper_of(20));
    rig_start(&r);
    feed(&r, 0, 100);
    request(&r, 5);
    assert_order(r.to, 5);
    assert_int_equal(weir_pipeline_swap(r.p, "keeper", keeper_of(0), NOTIFY(&n), NULL), WEIR_OK);
    rig_settle(&r);
    assert_int_equal(n.n, 0); /* no demand for what it holds */
    request(&r, 19);
    assert_int_equal(n.n, 0);
    request(&r, 1);
    assert_int_equal(n.n, 1);
    assert_int_equal(n.status, WEIR_OK);
    assert_int_equal(keepers_open, 1);
    request(&r, 75);
    assert_order(r.to, 100);
    finish(&r);
}

static void a_swap_waits_for_operations_under_way(void **unused)
{
    (void)unused;
    work old = { .n = 0 }, young = { .n = 0 };
    rig r = rig_new();
    rig_chain(&r, work_of(&old));
    rig_start(&r);
    request(&r, 100);
    feed(&r, 0, 30);
    assert_int_equal(old.n, 8);
    swap_to(&r, "async", work_of(&young));
    assert_int_equal(young.n, 0);
    work_finish(&r, &old);
    assert_int_equal(old.n, 0);
    assert_int_equal(young.n, 8);
    work_finish(&r, &young);
    assert_order(r.to, 30);
    finish(&r);
}

static void a_batch_is_flushed_before_it_goes(void **unused)
{
    (void)unused;
    rig r = rig_new();
    rig_chain(&r, weir_batch(&(weir_batch_config){ .count = 10 }));
    rig_start(&r);
    request(&r, 100);
    feed(&r, 0, 25);
    assert_int_equal(weir_probe_received(r.to), 2);
    swap_to(&r, "batch", weir_batch(&(weir_batch_config){ .count = 2 }));
    assert_int_equal(weir_probe_received(r.to), 3);
    assert_int_equal(weir_probe_value(r.to, 2), 5);
    feed(&r, 25, 4);
    assert_int_equal(weir_probe_received(r.to), 5);
    assert_false(weir_probe_is_over(r.to, NULL));
    finish(&r);
}

static void pure_stages_change_places_in_a_fused_chain(void **unused)
{
    (void)unused;
    rig r = rig_new();
    weir_from(r.p, weir_probe_source(r.from));
    for (int i = 0; i < 3; i++)
        weir_via(r.p, weir_map(add_thousand, NULL));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    request(&r, 100);
    feed(&r, 0, 1);
    swap_to(&r, "map_2", weir_map(same, NULL));
    feed(&r, 0, 1);
    swap_to(&r, "map_3", weir_map(same, NULL));
    swap_to(&r, "map", weir_map(same, NULL));
    feed(&r, 0, 1);
    assert_int_equal(weir_probe_value(r.to, 0), 3000);
    assert_int_equal(weir_probe_value(r.to, 1), 2000);
    assert_int_equal(weir_probe_value(r.to, 2), 0);
    finish(&r);
}

static void any_stage_can_take_the_place_of_a_fused_one(void **unused)
{
    (void)unused;
    static const char *const names[] = { "map", "map_2", "map_3" };
    for (int at = 0; at < 3; at++) {
        rig r = rig_new();
        weir_from(r.p, weir_probe_source(r.from));
        for (int i = 0; i < 3; i++)
            weir_via(r.p, weir_map(same, NULL));
        weir_into(r.p, weir_probe_sink(r.to));
        rig_start(&r);
        request(&r, 20);
        feed(&r, 0, 10);
        swap_to(&r, names[at], keeper_of(4));
        feed(&r, 10, 90);
        assert_order(r.to, 20);
        request(&r, 50);
        assert_order(r.to, 70);
        swap_to(&r, names[at], weir_map(same, NULL));
        request(&r, 30);
        assert_order(r.to, 100);
        finish(&r);
    }
}

static void a_source_and_a_sink_can_be_swapped(void **unused)
{
    (void)unused;
    rig r = rig_new();
    weir_probe *from = weir_testkit_probe(r.kit), *to = weir_testkit_probe(r.kit);
    rig_chain(&r, NULL);
    rig_start(&r);
    request(&r, 10);
    feed(&r, 0, 10);
    swap_to(&r, "probe_sink", weir_probe_sink(to));
    feed(&r, 10, 5);
    assert_int_equal(weir_probe_received(to), 0); /* it has not asked */
    weir_probe_request(to, 100);
    rig_settle(&r);
    assert_order(r.to, 10);
    assert_int_equal(weir_probe_received(to), 5);
    swap_to(&r, "probe_source", weir_probe_source(from));
    assert_true(weir_probe_feed(from, 15));
    rig_settle(&r);
    assert_int_equal(weir_probe_received(to), 6);
    assert_int_equal(weir_probe_violations(to), 0);
    weir_probe_end(from);
    rig_done(&r);
}

static void a_merge_is_swapped_with_an_input_that_is_over(void **unused)
{
    (void)unused;
    rig r = rig_new();
    weir_probe *other = weir_testkit_probe(r.kit);
    weir_node *merge = weir_add(r.p, weir_merge());
    weir_link(weir_add(r.p, weir_probe_source(r.from)), 0, merge, 0, NULL);
    weir_link(weir_add(r.p, weir_probe_source(other)), 0, merge, 1, NULL);
    weir_link(merge, 0, weir_add(r.p, weir_probe_sink(r.to)), 0, NULL);
    rig_start(&r);
    weir_probe_end(other);
    request(&r, 100);
    feed(&r, 0, 10);
    swap_to(&r, "merge", weir_merge());
    feed(&r, 10, 10);
    assert_order(r.to, 20);
    weir_probe_end(r.from);
    rig_done(&r);
}

/* At its own end it cancels the inputs that are left: these are for the next one. */
static void a_zip_is_swapped_and_keeps_its_inputs(void **unused)
{
    (void)unused;
    rig r = rig_with(1, (weir_pipeline_config){ 0 });
    weir_probe *second = weir_testkit_probe(r.kit);
    weir_node *zip = weir_add(r.p, weir_zip());
    weir_link(weir_add(r.p, weir_probe_source(r.from)), 0, zip, 0, NULL);
    weir_link(weir_add(r.p, weir_probe_source(second)), 0, zip, 1, NULL);
    weir_link(zip, 0, weir_add(r.p, weir_probe_sink(r.to)), 0, NULL);
    rig_start(&r);
    request(&r, 100);
    for (uint64_t i = 0; i < 10; i++) {
        feed(&r, i, 1);
        (void)weir_probe_feed(second, i);
        rig_settle(&r);
        if (i == 4)
            swap_to(&r, "zip", weir_zip());
    }
    assert_int_equal(weir_probe_received(r.to), 10);
    weir_probe_end(second);
    finish(&r);
}

static void a_new_stage_that_cannot_open_fails_the_pipeline(void **unused)
{
    (void)unused;
    note n = { 0 };
    rig r = rig_with(2, (weir_pipeline_config){ 0 });
    rig_chain(&r, keeper_of(2));
    rig_start(&r);
    request(&r, 100);
    feed(&r, 0, 10);
    keepers_fail = true;
    assert_int_equal(weir_pipeline_swap(r.p, "keeper", keeper_of(0), NOTIFY(&n), NULL), WEIR_OK);
    rig_settle(&r);
    keepers_fail = false;
    assert_int_equal(n.n, 1);
    assert_int_equal(n.status, WEIR_EIO);
    assert_int_equal(weir_pipeline_status(r.p), WEIR_EIO);
    assert_non_null(strstr(weir_pipeline_why(r.p), "keeper"));
    rig_done(&r);
    assert_int_equal(keepers_open, 0);
}

static void a_stage_that_does_not_fit_is_refused(void **unused)
{
    (void)unused;
    rig r = rig_new();
    rig_chain(&r, keeper_of(2));
    assert_refused(WEIR_ECLOSED, weir_pipeline_swap(r.p, "keeper", keeper_of(1), NULL, &why));
    rig_start(&r);
    assert_refused(WEIR_EINVAL,
                   weir_pipeline_swap(r.p, "keeper", weir_probe_sink(r.to), NULL, &why));
    assert_refused(WEIR_EINVAL, weir_pipeline_swap(r.p, "keeper", keeper_of(101), NULL, &why));
    assert_refused(WEIR_ENOTFOUND, weir_pipeline_swap(r.p, "nobody", keeper_of(1), NULL, &why));
    assert_refused(WEIR_ENOMEM, weir_pipeline_swap(r.p, "keeper", NULL, NULL, &why));
    finish(&r);
}

/* Ends its output at once, but has something under way until told. */
static weir_stage *holder;

static weir_status holder_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    holder = stage;
    weir_stage_hold(stage);
    return WEIR_OK;
}

static void holder_on_abort(weir_stage *stage, void *state)
{
    (void)state;
    weir_stage_release(stage);
}

static const weir_stage_type holder_type = { .name = "holder",
                                             .open = holder_open,
                                             .on_abort = holder_on_abort };

static void a_swap_waits_until_nothing_is_under_way(void **unused)
{
    (void)unused;
    note n = { 0 };
    rig r = rig_new();
    rig_chain(&r, weir_stage_of(&holder_type, NULL));
    rig_start(&r);
    request(&r, 100);
    feed(&r, 0, 10);
    assert_int_equal(weir_pipeline_swap(r.p, "holder", keeper_of(0), NOTIFY(&n), NULL), WEIR_OK);
    feed(&r, 10, 10);
    assert_int_equal(n.n, 0);
    assert_int_equal(keepers_open, 0);
    assert_order(r.to, 10);
    weir_stage_release(holder);
    rig_settle(&r);
    assert_int_equal(n.n, 1);
    assert_order(r.to, 20);
    finish(&r);
}

static void a_cancel_after_the_old_ones_end_is_told_to_the_new_one(void **unused)
{
    (void)unused;
    for (uint32_t loops = 1; loops <= 2; loops++) {
        rig r = rig_with(loops, (weir_pipeline_config){ 0 });
        weir_from(r.p, weir_probe_source(r.from));
        weir_node_place(weir_via(r.p, weir_stage_of(&holder_type, NULL)), 0);
        weir_node_place(weir_into(r.p, weir_probe_sink(r.to)), loops - 1);
        rig_start(&r);
        request(&r, 100);
        feed(&r, 0, 10);
        swap_to(&r, "holder", keeper_of(0));
        weir_probe_cancel(r.to);
        rig_settle(&r);
        assert_false(weir_pipeline_is_finished(r.p));
        weir_stage_release(holder);
        rig_settle(&r);
        assert_true(weir_probe_is_cancelled(r.from));
        rig_done(&r);
        assert_int_equal(keepers_open, 0);
    }
}

/* In the middle of a swap, which waits for demand. */
static rig rig_in_a_swap(note *n)
{
    rig r = rig_new();
    rig_chain(&r, keeper_of(20));
    rig_start(&r);
    feed(&r, 0, 100);
    assert_int_equal(weir_pipeline_swap(r.p, "keeper", keeper_of(3), NOTIFY(n), NULL), WEIR_OK);
    rig_settle(&r);
    assert_int_equal(n->n, 0);
    return r;
}

static void an_abort_in_a_swap_ends_all(void **unused)
{
    (void)unused;
    note n = { 0 };
    rig r = rig_in_a_swap(&n);
    abort_and_done(&r);
    assert_int_equal(n.n, 1);
    assert_int_equal(n.status, WEIR_ECLOSED);
}

static void a_cancel_in_a_swap_ends_all(void **unused)
{
    (void)unused;
    note n = { 0 };
    rig r = rig_in_a_swap(&n);
    weir_probe_cancel(r.to);
    rig_done(&r);
    assert_int_equal(n.n, 1);
    assert_int_equal(keepers_open, 0);
}

static void an_end_in_a_swap_comes_after_what_is_queued(void **unused)
{
    (void)unused;
    note n = { 0 };
    rig r = rig_in_a_swap(&n);
    weir_probe_end(r.from);
    request(&r, 100);
    assert_order(r.to, 100);
    assert_int_equal(n.status, WEIR_OK);
    rig_done(&r);
}

static void a_drain_in_a_swap_drains(void **unused)
{
    (void)unused;
    note n = { 0 };
    rig r = rig_in_a_swap(&n);
    weir_pipeline_shutdown(r.p, WEIR_DRAIN, 0);
    rig_settle(&r);
    request(&r, 100);
    assert_order(r.to, weir_probe_emitted(r.from));
    rig_done(&r);
    assert_int_equal(keepers_open, 0);
}

static void a_change_after_a_swap_is_for_the_new_stage(void **unused)
{
    (void)unused;
    note n = { 0 }, m = { 0 };
    rig r = rig_in_a_swap(&n);
    keepers_changed = 0;
    keeper_config c = { .hold = 7 };
    assert_int_equal(weir_pipeline_change(r.p, "keeper", &c, sizeof c, NOTIFY(&m), NULL), WEIR_OK);
    rig_settle(&r);
    assert_int_equal(m.n, 0);
    request(&r, 20);
    assert_int_equal(n.n, 1);
    assert_int_equal(m.n, 1);
    assert_int_equal(keepers_changed, 1);
    finish(&r);
}

static void a_lossy_stage_is_no_substitute_on_an_acked_path(void **unused)
{
    (void)unused;
    weir_buffer_config drops = { .overflow = WEIR_OVERFLOW_DROP_OLDEST };
    rig r = rig_new();
    weir_from(r.p, weir_stage_of(&acked_type, NULL));
    weir_via(r.p, weir_buffer(NULL));
    weir_into(r.p, weir_probe_sink(r.to));
    rig_start(&r);
    assert_refused(WEIR_EINVAL, weir_pipeline_swap(r.p, "buffer", weir_buffer(&drops), NULL, &why));
    assert_refused(WEIR_EINVAL,
                   weir_pipeline_swap(r.p, "acked", weir_probe_source(r.from), NULL, &why));
    abort_and_done(&r);
}

/* ---- Memory ---- */

static weir_status change_all(rig *r, note *n, uint32_t which)
{
    weir_error_policy policy = { .on_error = WEIR_ON_ERROR_RETRY, .waiting_max = 20 };
    keeper_config c = { .hold = 9 };
    switch (which) {
    case 0:
        return weir_pipeline_change(r->p, "keeper", &c, sizeof c, NOTIFY(n), NULL);
    case 1:
        return weir_pipeline_set_window(r->p, "map_2", 0, 3, NOTIFY(n), NULL);
    case 2:
        return weir_pipeline_set_policy(r->p, "map_2", &policy, NOTIFY(n), NULL);
    case 3:
        return weir_pipeline_swap(r->p, "map_2", keeper_of(4), NOTIFY(n), NULL);
    case 4: {
        weir_rate_limit_config limit = { .rate = 1000000 };
        return weir_pipeline_swap(r->p, "keeper", weir_rate_limit(&limit), NOTIFY(n), NULL);
    }
    default:
        return weir_pipeline_swap(r->p, "map", weir_map(same, NULL), NOTIFY(n), NULL);
    }
}

/* Refused for want of memory and all as before, or done; or the new stage had none to open with. */
static void change_without_memory(uint32_t which)
{
    bool hit = true;
    for (uint64_t nth = 1; hit; nth++) {
        note n = { 0 };
        rig r = rig_with(2, (weir_pipeline_config){ 0 });
        weir_from(r.p, weir_probe_source(r.from));
        weir_via(r.p, weir_map(same, NULL));
        weir_via(r.p, weir_map(same, NULL));
        weir_via(r.p, keeper_of(2));
        weir_into(r.p, weir_probe_sink(r.to));
        rig_start(&r);
        request(&r, 20);
        feed(&r, 0, 40);
        uint64_t before = weir_testkit_allocations(r.kit);
        weir_testkit_fail_allocation(r.kit, nth);
        weir_status status = change_all(&r, &n, which);
        hit = weir_testkit_allocations(r.kit) - before >= nth;
        assert_int_equal(status, hit ? WEIR_ENOMEM : WEIR_OK);
        for (uint32_t i = 0; i < 2; i++) {
            weir_probe_end(weir_probe_replica(r.from, i));
            weir_probe_request(weir_probe_replica(r.to, i), 100);
        }
        assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, 100 * WEIR_MS));
        assert_int_equal(n.n, status == WEIR_OK);
        weir_status ended = weir_pipeline_status(r.p);
        if (ended == WEIR_OK)
            assert_order(r.to, 40);
        else
            assert_true(weir_testkit_allocations(r.kit) - before >= nth);
        weir_testkit_fail_allocation(r.kit, 0);
        rig_done(&r);
        assert_int_equal(keepers_open, 0);
    }
}

static void changes_without_memory_are_refused_and_nothing_has_happened(void **unused)
{
    (void)unused;
    for (uint32_t which = 0; which < 6; which++)
        change_without_memory(which);
}

/* ---- Windows that size themselves ---- */

/* A loop whose clock the sink moves: an item takes it `service_ns`. */
typedef struct lab {
    weir_env env;
    uint64_t now, service_ns, taken, most_queued;
    weir_loop *loop;
    weir_pipeline *p;
    bool ends;
} lab;

static uint64_t lab_now(void *user)
{
    return ((lab *)user)->now;
}

static void lab_source_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    lab *l = *(lab *const *)weir_stage_config(stage);
    (void)state;
    if (l->ends) {
        weir_end(out);
        return;
    }
    for (; credit > 0; credit--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), NULL, 0);
        assert_non_null(item);
        weir_emit(out, item);
    }
    weir_edge_stats edge;
    assert_int_equal(weir_pipeline_edge_stats(l->p, 0, &edge), WEIR_OK);
    l->most_queued = edge.queued > l->most_queued ? edge.queued : l->most_queued;
}

static weir_status lab_sink_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    lab *l = *(lab *const *)weir_stage_config(stage);
    (void)in;
    (void)state;
    l->now += l->service_ns;
    l->taken++;
    weir_item_ack(item);
    return WEIR_OK;
}

static const weir_stage_type lab_source_type = { .name = "lab_source",
                                                 .config_size = sizeof(lab *),
                                                 .inputs = WEIR_PORTS_NONE,
                                                 .on_demand = lab_source_on_demand };
static const weir_stage_type lab_sink_type = { .name = "lab_sink",
                                               .config_size = sizeof(lab *),
                                               .outputs = WEIR_PORTS_NONE,
                                               .on_item = lab_sink_on_item };

static lab *lab_new(uint64_t service_ns, const weir_edge_config *edge)
{
    lab *l = calloc(1, sizeof *l);
    assert_non_null(l);
    l->env = (weir_env){ .now_ns = lab_now, .user = l };
    l->now = WEIR_SEC;
    l->service_ns = service_ns;
    l->loop = weir_loop_new(&(weir_loop_config){ .env = &l->env, .is_virtual = true });
    test_in_hand();
    assert_non_null(l->loop);
    l->p = weir_pipeline_new(&(weir_pipeline_config){ .env = &l->env });
    weir_from(l->p, weir_stage_of(&lab_source_type, &l));
    weir_node_window(weir_into(l->p, weir_stage_of(&lab_sink_type, &l)), edge);
    assert_int_equal(weir_pipeline_start(l->p, &l->loop, 1, NULL, NULL), WEIR_OK);
    return l;
}

static weir_edge_stats lab_edge(const lab *l)
{
    weir_edge_stats edge;
    assert_int_equal(weir_pipeline_edge_stats(l->p, 0, &edge), WEIR_OK);
    return edge;
}

/* Lets the time pass, and looks at the invariants of credit all along. */
static void lab_run(lab *l, uint64_t ns)
{
    for (uint64_t until = l->now + ns; l->now < until;) {
        uint64_t before = l->now;
        (void)weir_loop_turn(l->loop);
        weir_edge_stats edge = lab_edge(l);
        assert_true(edge.queued + edge.credit <= 400);
        if (l->now == before)
            l->now += 10 * WEIR_US; /* an idle moment */
    }
}

static void lab_free(lab *l)
{
    l->ends = true;
    while (!weir_pipeline_is_finished(l->p))
        (void)weir_loop_turn(l->loop);
    weir_pipeline_free(l->p);
    weir_loop_free(l->loop);
    free(l);
}

static const weir_edge_config twenty_ms = {
    .latency_us = 20000, .window = 200, .window_min = 4, .window_max = 400
};

static void a_window_settles_where_the_wait_is_as_wanted(void **unused)
{
    (void)unused;
    lab *l = lab_new(2 * WEIR_MS, &twenty_ms);
    assert_int_equal(lab_edge(l).window, 200);
    lab_run(l, 6 * WEIR_SEC);
    assert_in_range(lab_edge(l).window, 9, 11);
    l->most_queued = 0;
    lab_run(l, WEIR_SEC);
    assert_in_range(l->most_queued, 5, 11);
    assert_true(lab_edge(l).resizes >= 4);
    lab_free(l);
}

static void a_window_follows_the_service_rate(void **unused)
{
    (void)unused;
    lab *l = lab_new(2 * WEIR_MS, &twenty_ms);
    lab_run(l, 6 * WEIR_SEC);
    l->service_ns = 200 * WEIR_US;
    lab_run(l, 3 * WEIR_SEC);
    assert_in_range(lab_edge(l).window, 95, 105);
    l->service_ns = 4 * WEIR_MS;
    lab_run(l, 3 * WEIR_SEC);
    assert_in_range(lab_edge(l).window, 4, 6);
    lab_free(l);
}

static void a_window_stays_between_floor_and_cap(void **unused)
{
    (void)unused;
    lab *l = lab_new(50 * WEIR_MS, &twenty_ms);
    lab_run(l, 60 * WEIR_SEC);
    assert_int_equal(lab_edge(l).window, 4);
    l->service_ns = WEIR_US;
    lab_run(l, 2 * WEIR_SEC);
    assert_int_equal(lab_edge(l).window, 400);
    lab_free(l);
}

static void a_window_rests_without_traffic(void **unused)
{
    (void)unused;
    rig r = rig_new();
    weir_from(r.p, weir_probe_source(r.from));
    weir_node_window(weir_into(r.p, weir_probe_sink(r.to)), &twenty_ms);
    rig_start(&r);
    request(&r, 10);
    feed(&r, 0, 10);
    assert_true(weir_testkit_advance_by(r.kit, 10 * WEIR_SEC, 10 * WEIR_MS));
    assert_int_equal(edge_of(&r, 0).resizes, 0);
    assert_int_equal(edge_of(&r, 0).window, 200);
    assert_refused(WEIR_EINVAL, weir_pipeline_set_window(r.p, "probe_sink", 0, 10, NULL, &why));
    finish(&r);
}

/* ---- Anything, at any moment ---- */

enum { SEEDS = 400, STEPS = 80, NODES = 4 };

typedef struct dice {
    uint64_t state;
} dice;

static uint32_t roll(dice *d, uint32_t sides)
{
    d->state = d->state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(d->state >> 33) % sides;
}

/* Operations that end after a while. */
typedef struct later {
    weir_timer timer;
    weir_op *op;
} later;

static void later_fire(weir_timer *timer, void *user)
{
    later *l = user;
    (void)timer;
    weir_op_done(l->op, WEIR_OK, NULL);
}

static void later_start(weir_op *op, void *state)
{
    later *l = op->work;
    weir_loop *loop = weir_stage_loop(op->stage);
    (void)state;
    l->op = op;
    uint64_t luck = weir_loop_entropy(loop) % 8;
    if (luck == 0)
        weir_op_done(op, WEIR_OK, NULL);
    else
        weir_timer_start(loop, &l->timer, luck * WEIR_MS, later_fire, l);
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

/* Fails one try in four; retried in the order of the key. */
static weir_status unlucky(weir_item *item, void *user)
{
    uint64_t *n = user;
    (void)item;
    return __atomic_add_fetch(n, 1, __ATOMIC_RELAXED) % 4 == 0 ? WEIR_EUNAVAILABLE : WEIR_OK;
}

static uint64_t unlucky_tries;

static weir_stage_spec *any_stage(dice *d)
{
    weir_async_options options = { .in_flight = 1 + roll(d, 8) };
    switch (roll(d, 7)) {
    case 0:
        return weir_stage_of(&pass_type, NULL);
    case 1:
    case 2:
        return weir_map(same, NULL);
    case 3:
        return weir_async_of(&later_type, &options, NULL);
    case 4:
        return weir_buffer(&(weir_buffer_config){ .items_max = 1 + roll(d, 10) });
    default:
        return keeper_of(roll(d, 30));
    }
}

typedef struct world {
    rig r;
    dice d;
    uint32_t loops, asked, answered;
    bool placed, retries;
    char names[NODES][16];
    uint64_t fed[4];
} world;

static void world_told(weir_pipeline *p, weir_status status, const char *why, void *user)
{
    world *w = user;
    (void)p;
    (void)status;
    (void)why;
    w->answered++;
}

static void world_build(world *w)
{
    weir_from(w->r.p, weir_probe_source(w->r.from));
    for (uint32_t i = 0; i <= NODES; i++) {
        bool fails = w->retries && i == 1;
        weir_stage_spec *spec = i == NODES ? weir_probe_sink(w->r.to)
                                : fails    ? weir_map(unlucky, &unlucky_tries)
                                           : any_stage(&w->d);
        if (i < NODES)
            snprintf(w->names[i], sizeof w->names[i], "stage%u", i);
        weir_node *node = weir_via(w->r.p, i < NODES ? weir_stage_named(spec, w->names[i]) : spec);
        weir_edge_config window = { .window = 1 + roll(&w->d, 20),
                                    .window_max = 64,
                                    .window_bytes = roll(&w->d, 4) == 0 ? 1 + roll(&w->d, 200) : 0,
                                    .latency_us = roll(&w->d, 4) == 0 ? 3000 : 0 };
        weir_node_window(node, &window);
        if (fails)
            weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                                         .retries_max = 255,
                                                         .budget_percent = UINT32_MAX,
                                                         .backoff_ms = 3,
                                                         .backoff_ms_max = 9 });
        if (w->placed)
            weir_node_place(node, roll(&w->d, w->loops));
    }
}

static void world_change(world *w)
{
    uint32_t i = roll(&w->d, NODES);
    const char *name = w->names[i];
    weir_on_changed on_changed = { world_told, w };
    bool is_flaky = w->retries && i == 1;
    weir_error_policy policy = { .on_error = WEIR_ON_ERROR_RETRY,
                                 .retries_max = 255,
                                 .budget_percent = UINT32_MAX,
                                 .backoff_ms = 1 + roll(&w->d, 8),
                                 .backoff_ms_max = 9,
                                 .waiting_max = 1 + roll(&w->d, 20) };
    keeper_config c = { .hold = roll(&w->d, 30) };
    weir_async_options options = { .in_flight = 1 + roll(&w->d, 12) };
    weir_status status;
    switch (roll(&w->d, 5)) {
    case 0:
        status = weir_pipeline_change(w->r.p, name, &c, sizeof c, &on_changed, NULL);
        break;
    case 1:
        status = weir_pipeline_change(w->r.p, name, &options, sizeof options, &on_changed, NULL);
        break;
    case 2:
        status = weir_pipeline_set_window(w->r.p, name, 0, 1 + roll(&w->d, 64), &on_changed, NULL);
        break;
    case 3:
        status = weir_pipeline_set_policy(w->r.p, name, &policy, &on_changed, NULL);
        break;
    default:
        status = weir_pipeline_swap(w->r.p, name,
                                    is_flaky ? weir_map(unlucky, &unlucky_tries) : any_stage(&w->d),
                                    &on_changed, NULL);
    }
    w->asked += status == WEIR_OK;
}

static void world_step(world *w)
{
    uint32_t r = w->placed ? 0 : roll(&w->d, w->loops);
    switch (roll(&w->d, 8)) {
    case 0:
    case 1:
        for (uint32_t n = roll(&w->d, 40); n > 0; n--) {
            weir_probe_item item = { .value = w->fed[r]++, .key = 1, .cost = 1 + roll(&w->d, 50) };
            assert_true(weir_probe_feed_item(weir_probe_replica(w->r.from, r), &item));
        }
        break;
    case 2:
    case 3:
        weir_probe_request(weir_probe_replica(w->r.to, r), 1 + roll(&w->d, 40));
        break;
    case 4:
        assert_true(weir_testkit_advance(w->r.kit, roll(&w->d, 5) * WEIR_MS));
        break;
    case 5:
        (void)weir_loop_turn(weir_testkit_loop(w->r.kit, roll(&w->d, w->loops)));
        break;
    default:
        world_change(w);
    }
}

static void world_end(world *w, bool aborts)
{
    uint32_t n = w->placed ? 1 : w->loops;
    if (aborts)
        weir_pipeline_shutdown(w->r.p, WEIR_ABORT, 0);
    for (uint32_t r = 0; r < n && !aborts; r++) {
        weir_probe_end(weir_probe_replica(w->r.from, r));
        weir_probe_request(weir_probe_replica(w->r.to, r), WEIR_UNBOUNDED);
    }
    for (int i = 0; i < 100000 && !weir_pipeline_is_finished(w->r.p); i++)
        assert_true(weir_testkit_advance(w->r.kit, WEIR_MS));
    assert_int_equal(w->asked, w->answered);
    for (uint32_t r = 0; r < n; r++) {
        assert_int_equal(weir_probe_violations(weir_probe_replica(w->r.to, r)), 0);
        assert_int_equal(weir_probe_live(weir_probe_replica(w->r.from, r)), 0);
        uint64_t got = weir_probe_received(weir_probe_replica(w->r.to, r));
        assert_order(weir_probe_replica(w->r.to, r), aborts ? got : w->fed[r]);
    }
    for (uint32_t i = 0; i < weir_pipeline_stages(w->r.p); i++)
        assert_int_equal(rig_stats(&w->r, i).over_emitted, 0);
    rig_done(&w->r);
    assert_int_equal(keepers_open, 0);
}

static void nothing_is_lost_doubled_or_overtaken_by_changes(void **unused)
{
    (void)unused;
    for (uint64_t seed = 0; seed < effort(SEEDS); seed++) {
        world w = { .d = { seed }, .loops = 1u << seed % 3, .retries = seed % 5 == 0 };
        w.placed = seed / 3 % 2 == 1;
        w.r = (rig){ .kit = weir_testkit_new(w.loops, seed) };
        w.r.p = weir_testkit_pipeline(w.r.kit);
        w.r.from = weir_testkit_probe(w.r.kit);
        w.r.to = weir_testkit_probe(w.r.kit);
        world_build(&w);
        rig_start(&w.r);
        for (int i = 0; i < STEPS; i++)
            world_step(&w);
        world_end(&w, seed % 7 == 0);
    }
}

/* ---- Threads ---- */

enum { LOOPS = 3, ITEMS = 300000 };

typedef struct line {
    uint64_t sent;
} line;

static void line_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    line *l = state;
    for (; credit > 0 && l->sent < ITEMS; credit--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), NULL, sizeof(uint64_t));
        if (item == NULL)
            return;
        *(uint64_t *)weir_item_body(item) = l->sent++;
        weir_emit(out, item);
    }
    if (l->sent == ITEMS)
        weir_end(out);
}

static const weir_stage_type line_type = { .name = "line",
                                           .state_size = sizeof(line),
                                           .inputs = WEIR_PORTS_NONE,
                                           .on_demand = line_on_demand };

/* Sees that each replica's items come in order, all of them. */
static atomic_uint_fast64_t lines_counted;

static weir_status line_sink_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    line *l = state;
    (void)stage;
    (void)in;
    assert_int_equal(*(uint64_t *)weir_item_body(item), l->sent);
    l->sent++;
    atomic_fetch_add(&lines_counted, 1);
    weir_item_ack(item);
    return WEIR_OK;
}

static const weir_stage_type line_sink_type = { .name = "line_sink",
                                                .state_size = sizeof(line),
                                                .outputs = WEIR_PORTS_NONE,
                                                .on_item = line_sink_on_item };

typedef struct changer {
    weir_pipeline *p;
    atomic_uint answered;
    uint32_t asked;
    atomic_bool over;
} changer;

static void changer_told(weir_pipeline *p, weir_status status, const char *why, void *user)
{
    changer *c = user;
    (void)p;
    (void)status;
    (void)why;
    atomic_fetch_add(&c->answered, 1);
}

static void *change_it(void *user)
{
    changer *c = user;
    weir_on_changed on_changed = { changer_told, c };
    weir_rate_limit_config rate = { .rate = 900000000, .burst = 1000000 };
    char text[8192];
    for (uint32_t i = 0; !atomic_load(&c->over); i++) {
        weir_status status;
        rate.burst = 1000000 + i % 100;
        switch (i % 5) {
        case 0:
            status = weir_pipeline_change(c->p, "rate_limit", &rate, sizeof rate, &on_changed,
                                          NULL);
            break;
        case 1:
            status = weir_pipeline_set_window(c->p, "line_sink", 0, 1 + i % 256, &on_changed, NULL);
            break;
        case 2:
            status = weir_pipeline_swap(c->p, "buffer",
                                        i % 2 ? weir_buffer(NULL) : weir_map(same, NULL),
                                        &on_changed, NULL);
            break;
        case 3:
            status = weir_pipeline_set_policy(
                c->p, "map", &(weir_error_policy){ .on_error = WEIR_ON_ERROR_SKIP }, &on_changed,
                NULL);
            break;
        default:
            status = weir_pipeline_swap(c->p, "map", weir_map(same, NULL), &on_changed, NULL);
            (void)weir_pipeline_json(c->p, text, sizeof text);
        }
        c->asked += status == WEIR_OK;
    }
    return NULL;
}

static void another_thread_changes_what_runs(void **unused)
{
    (void)unused;
    for (int placed = 0; placed < 2; placed++) {
        changer c = { .p = weir_pipeline_new(&(weir_pipeline_config){ .loops = LOOPS }) };
        lines_counted = 0;
        weir_from(c.p, weir_stage_of(&line_type, NULL));
        weir_node *nodes[] = { weir_via(c.p, weir_map(same, NULL)),
                               weir_via(c.p, weir_map(same, NULL)),
                               weir_via(c.p, weir_rate_limit(&(weir_rate_limit_config){
                                                 .rate = 900000000, .burst = 1000000 })),
                               weir_via(c.p, weir_buffer(NULL)),
                               weir_into(c.p, weir_stage_of(&line_sink_type, NULL)) };
        for (uint32_t i = 0; placed && i < 5; i++)
            weir_node_place(nodes[i], i / 2);
        pthread_t thread;
        assert_int_equal(weir_pipeline_check(c.p), WEIR_OK); /* before others look at it */
        assert_int_equal(pthread_create(&thread, NULL, change_it, &c), 0);
        assert_int_equal(weir_run(c.p), WEIR_OK);
        atomic_store(&c.over, true);
        pthread_join(thread, NULL);
        assert_int_equal(lines_counted, placed ? ITEMS : LOOPS * ITEMS);
        assert_int_equal(atomic_load(&c.answered), c.asked);
        assert_true(c.asked > 0);
        weir_pipeline_free(c.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_that_cannot_be_is_refused_with_a_reason),
        cmocka_unit_test(a_change_reaches_every_replica_and_is_told_once),
        cmocka_unit_test(what_a_replica_cannot_take_is_taken_back_from_the_others),
        cmocka_unit_test(too_many_changes_are_refused),
        cmocka_unit_test(a_larger_window_is_granted_at_once),
        cmocka_unit_test(a_smaller_window_grants_nothing_until_fewer_are_in_flight),
        cmocka_unit_test(a_window_beyond_its_room_is_refused),
        cmocka_unit_test(the_bound_counts_the_largest_window),
        cmocka_unit_test(bad_bounds_of_a_window_are_refused),
        cmocka_unit_test(figures_show_the_window_as_it_is_now),
        cmocka_unit_test(a_window_within_a_fused_chain_unfuses_it),
        cmocka_unit_test(a_retry_policy_put_on_a_fused_stage_retries),
        cmocka_unit_test(what_waits_for_a_retry_keeps_its_turn),
        cmocka_unit_test(a_policy_that_makes_no_sense_is_refused),
        cmocka_unit_test(a_swap_lets_the_old_stage_flush_first),
        cmocka_unit_test(a_swap_waits_for_operations_under_way),
        cmocka_unit_test(a_batch_is_flushed_before_it_goes),
        cmocka_unit_test(pure_stages_change_places_in_a_fused_chain),
        cmocka_unit_test(any_stage_can_take_the_place_of_a_fused_one),
        cmocka_unit_test(a_source_and_a_sink_can_be_swapped),
        cmocka_unit_test(a_merge_is_swapped_with_an_input_that_is_over),
        cmocka_unit_test(a_zip_is_swapped_and_keeps_its_inputs),
        cmocka_unit_test(a_new_stage_that_cannot_open_fails_the_pipeline),
        cmocka_unit_test(a_stage_that_does_not_fit_is_refused),
        cmocka_unit_test(a_swap_waits_until_nothing_is_under_way),
        cmocka_unit_test(a_cancel_after_the_old_ones_end_is_told_to_the_new_one),
        cmocka_unit_test(an_abort_in_a_swap_ends_all),
        cmocka_unit_test(a_cancel_in_a_swap_ends_all),
        cmocka_unit_test(an_end_in_a_swap_comes_after_what_is_queued),
        cmocka_unit_test(a_drain_in_a_swap_drains),
        cmocka_unit_test(a_change_after_a_swap_is_for_the_new_stage),
        cmocka_unit_test(a_lossy_stage_is_no_substitute_on_an_acked_path),
        cmocka_unit_test(changes_without_memory_are_refused_and_nothing_has_happened),
        cmocka_unit_test(a_window_settles_where_the_wait_is_as_wanted),
        cmocka_unit_test(a_window_follows_the_service_rate),
        cmocka_unit_test(a_window_stays_between_floor_and_cap),
        cmocka_unit_test(a_window_rests_without_traffic),
        cmocka_unit_test(nothing_is_lost_doubled_or_overtaken_by_changes),
        cmocka_unit_test(another_thread_changes_what_runs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
