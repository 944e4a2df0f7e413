/* dead_letter and fallback: what becomes of what failed. */
#include "stages_rig.h"

typedef struct kept {
    uint64_t n, values[64];
    weir_failure failures[64];
    weir_status status;
} kept;

static weir_status keep(const weir_item *item, const weir_failure *failure, void *user)
{
    kept *k = user;
    k->values[k->n] = value_of(item);
    k->failures[k->n++] = *failure;
    return k->status;
}

/* Fails what is at least 10, and 20 only once. */
static weir_status fail_some(weir_item *item, void *user)
{
    uint64_t *twenties = user;
    if (value_of(item) == 20)
        return (*twenties)++ == 0 ? WEIR_EIO : WEIR_OK;
    return value_of(item) >= 10 ? WEIR_EPROTO : WEIR_OK;
}

static void the_sink_is_told_what_failed_where_how_and_how_often(void **unused)
{
    (void)unused;
    kept k = { 0 };
    uint64_t twenties = 0;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_node *plain = weir_via(
        r.pipeline,
        weir_stage_named(weir_semaphore(&(weir_semaphore_config){ .permits = 2, .reject = true }),
                         "door"));
    weir_node *work = weir_into(r.pipeline,
                                weir_stage_named(weir_for_each(fail_some, &twenties), "work"));
    weir_node *dead = weir_add(r.pipeline, weir_dead_letter(keep, &k));
    weir_node_policy(work, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY,
                                                 .retries_max = 2,
                                                 .then = WEIR_ON_ERROR_DEAD_LETTER });
    weir_node_dead_letter(work, dead, 0);
    weir_node_dead_letter(plain, dead, 1);
    rig_start(&r);
    rig_feed(&r, 20, 1);
    rig_feed(&r, 10, 3);
    assert_int_equal(k.n, 2);
    assert_true(weir_testkit_advance_by(r.kit, WEIR_SEC, WEIR_MS));
    assert_int_equal(k.n, 3);
    assert_int_equal(k.values[0], 11);
    assert_string_equal(k.failures[0].stage, "door");
    assert_int_equal(k.failures[0].status, WEIR_EOVERLOAD);
    assert_int_equal(k.failures[0].tries, 1);
    assert_int_equal(k.values[2], 10);
    assert_string_equal(k.failures[2].stage, "work");
    assert_int_equal(k.failures[2].status, WEIR_EPROTO);
    assert_int_equal(k.failures[2].tries, 3);
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK); /* the second time */
    assert_outcome(&r, 1, WEIR_DEAD_LETTERED, WEIR_EPROTO);
    assert_outcome(&r, 2, WEIR_DEAD_LETTERED, WEIR_EOVERLOAD);
    rig_end(&r);
    rig_done(&r);
}

static uint32_t to_the_first(const weir_item *item, void *user)
{
    (void)item;
    (void)user;
    return 0;
}

/* Whatever stage it is that turns items away. */
static void what_is_rejected_goes_the_way_of_dead_letters(void **unused)
{
    (void)unused;
    for (int i = 0; i < 4; i++) {
        kept k = { 0 };
        weir_stage_spec *door =
            i == 0 ? weir_buffer(
                         &(weir_buffer_config){ .items_max = 2, .overflow = WEIR_OVERFLOW_REJECT })
            : i == 1 ? weir_fair_queue(&(weir_fair_queue_config){ .of_key_max = 2 })
            : i == 2 ? weir_semaphore(&(weir_semaphore_config){ .permits = 2, .reject = true })
                     : weir_route(&(weir_route_config){ .output = to_the_first,
                                                        .slow_leg = WEIR_SLOW_LEG_MISSES });
        rig r = rig_of(door);
        weir_probe *other = weir_testkit_probe(r.kit);
        if (i == 3)
            weir_link(r.node, 1, weir_add(r.pipeline, weir_probe_sink(other)), 0, NULL);
        weir_node_dead_letter(r.node, weir_add(r.pipeline, weir_dead_letter(keep, &k)), 0);
        rig_start(&r);
        weir_probe_keep(r.to, true);
        if (i == 2)
            rig_request(&r, 3);
        if (i == 3) {
            weir_probe_request(other, 3);
            rig_request(&r, 2);
        }
        rig_feed(&r, 7, 3);
        assert_int_equal(k.n, 1);
        assert_int_equal(k.values[0], 9);
        assert_outcome(&r, 2, WEIR_DEAD_LETTERED, WEIR_EOVERLOAD);
        rig_abort_and_done(&r);
    }
}

static void a_dead_letter_that_cannot_be_kept_fails(void **unused)
{
    (void)unused;
    kept k = { .status = WEIR_ENOMEM };
    uint64_t twenties = 0;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_node *work = weir_into(r.pipeline, weir_for_each(fail_some, &twenties));
    weir_node_dead_letter(work, weir_add(r.pipeline, weir_dead_letter(keep, &k)), 0);
    rig_start(&r);
    rig_feed(&r, 10, 1);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_ENOMEM);
    rig_end(&r);
    rig_done(&r);
}

/* ---- fallback ---- */

typedef struct plan {
    uint64_t n;
    weir_failure last;
    bool makes; /* a new item */
    weir_status status;
} plan;

static weir_status substitute(weir_loop *loop, weir_item *item, const weir_failure *failure,
                              void *user, weir_item **ret_made)
{
    plan *p = user;
    p->n++;
    p->last = *failure;
    if (p->status != WEIR_OK)
        return p->status;
    if (!p->makes) {
        *(uint64_t *)weir_item_body(item) += 1000;
        return WEIR_OK;
    }
    *ret_made = weir_item_new(loop, NULL, sizeof(uint64_t));
    if (*ret_made == NULL)
        return WEIR_ENOMEM;
    *(uint64_t *)weir_item_body(*ret_made) = value_of(item) + 2000;
    return WEIR_OK;
}

static weir_status map_fails(weir_item *item, void *user)
{
    (void)user;
    return value_of(item) >= 10 ? WEIR_EPROTO : WEIR_OK;
}

/* probe > guard > what fails > fallback > probe, with dead letters from what fails, and from the
 * guard. */
static rig rig_fallback(weir_stage_spec *guard, plan *p)
{
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    r.node = weir_via(r.pipeline, guard);
    weir_node *work = weir_via(r.pipeline, weir_map(map_fails, NULL));
    weir_node *made_good = weir_via(r.pipeline, weir_fallback(substitute, p));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_node_dead_letter(work, made_good, 1);
    rig_start(&r);
    return r;
}

static weir_stage_spec *no_guard(void)
{
    return weir_rate_limit(&(weir_rate_limit_config){ .rate = 1000000, .burst = 100000 });
}

static void a_substitute_goes_on_in_the_normal_flow_and_ends_as_acked(void **unused)
{
    (void)unused;
    for (int makes = 0; makes < 2; makes++) {
        plan p = { .makes = makes != 0 };
        rig r = rig_fallback(no_guard(), &p);
        rig_request(&r, WEIR_UNBOUNDED);
        rig_feed(&r, 1, 1);
        rig_feed(&r, 10, 1);
        rig_feed(&r, 2, 1);
        assert_got(&r, 1, makes ? 2010 : 1010, 2);
        assert_ended(&r, WEIR_ACKED, 3);
        assert_int_equal(p.last.status, WEIR_EPROTO);
        assert_string_equal(p.last.stage, "map");
        rig_finish(&r);
    }
}

static void without_a_substitute_the_item_fails_as_it_had(void **unused)
{
    (void)unused;
    plan p = { .status = WEIR_ENOTFOUND };
    rig r = rig_fallback(no_guard(), &p);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 10, 2);
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EPROTO);
    assert_received(&r, 0);
    rig_finish(&r);
}

static void what_fails_later_still_fails(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_fallback(no_guard(), &p);
    rig_request(&r, 1);
    weir_probe_keep(r.to, true);
    rig_feed(&r, 10, 1);
    weir_item_end(weir_probe_take(r.to), WEIR_FAILED, WEIR_EIO);
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_FAILED, WEIR_EIO);
    rig_finish(&r);
}

static void demand_is_shared_by_both_inputs_and_never_exceeded(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_fallback(no_guard(), &p);
    for (uint64_t i = 0; i < 40; i++)
        weir_probe_feed(r.from, i % 2 == 0 ? 1 : 10);
    assert_true(weir_testkit_settle(r.kit));
    assert_received(&r, 0);
    for (uint64_t i = 1; i <= 40; i++) {
        rig_request(&r, 1);
        assert_received(&r, i);
    }
    assert_int_equal(p.n, 20);
    rig_finish(&r);
}

static void the_breaker_above_counts_the_failure_and_not_the_substitute(void **unused)
{
    (void)unused;
    plan p = { 0 };
    weir_breaker_stats stats;
    rig r = rig_fallback(weir_breaker(&(weir_breaker_config){ .window_calls = 4 }), &p);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 10, 4);
    assert_true(weir_breaker_look(r.node, &stats));
    assert_int_equal(stats.state, WEIR_BREAKER_OPEN);
    assert_ended(&r, WEIR_ACKED, 4);
    rig_finish(&r);
}

/* A service that is down: the caller is answered by the substitute, at once. */
static void what_an_open_breaker_rejects_can_be_made_good(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_node *breaker = weir_via(r.pipeline,
                                  weir_breaker(&(weir_breaker_config){ .window_calls = 4 }));
    weir_node *work = weir_via(r.pipeline, weir_map(map_fails, NULL));
    weir_node *good = weir_via(r.pipeline, weir_fallback(substitute, &p));
    weir_node *good_too = weir_via(r.pipeline, weir_fallback(substitute, &p));
    weir_into(r.pipeline, weir_probe_sink(r.to));
    weir_node_dead_letter(work, good, 1);
    weir_node_dead_letter(breaker, good_too, 1);
    rig_start(&r);
    rig_request(&r, WEIR_UNBOUNDED);
    rig_feed(&r, 10, 4);
    rig_feed(&r, 1, 1);
    assert_int_equal(weir_probe_value(r.to, 4), 1001);
    assert_int_equal(p.last.status, WEIR_EUNAVAILABLE);
    assert_string_equal(p.last.stage, "breaker");
    assert_ended(&r, WEIR_ACKED, 5);
    rig_finish(&r);
}

static void what_timed_out_is_made_good_within_its_callers_time(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_fallback(weir_timeout(&(weir_timeout_config){ .timeout_ms = 100 }), &p);
    weir_context callers;
    weir_context_init(&callers, weir_testkit_loop(r.kit, 0), NULL, 0);
    weir_probe_keep(r.to, true);
    rig_request(&r, 1);
    weir_probe_feed_item(r.from, &(weir_probe_item){ .value = 10, .context = &callers });
    assert_true(weir_testkit_advance(r.kit, 200 * WEIR_MS));
    weir_item *item = weir_probe_take(r.to);
    assert_non_null(item);
    assert_ptr_equal(item->context, &callers);
    weir_item_ack(item);
    assert_true(weir_testkit_settle(r.kit));
    assert_outcome(&r, 0, WEIR_ACKED, WEIR_OK);
    weir_context_done(&callers);
    rig_finish(&r);
}

static void held_items_end_as_aborted_and_the_end_follows_both_inputs(void **unused)
{
    (void)unused;
    plan p = { 0 };
    rig r = rig_fallback(no_guard(), &p);
    rig_request(&r, 1);
    for (uint64_t i = 0; i < 40; i++)
        weir_probe_feed(r.from, i % 2 == 0 ? 1 : 10);
    rig_end(&r);
    assert_false(weir_probe_is_over(r.to, NULL));
    rig_request(&r, 39);
    assert_received(&r, 40);
    assert_true(weir_probe_is_over(r.to, NULL));
    rig_done(&r);
    r = rig_fallback(no_guard(), &p);
    rig_request(&r, 1);
    for (uint64_t i = 0; i < 40; i++)
        weir_probe_feed(r.from, i % 2 == 0 ? 1 : 10);
    assert_true(weir_testkit_settle(r.kit));
    rig_cancel(&r);
    rig_abort_and_done(&r);
}

static void a_function_is_needed(void **unused)
{
    (void)unused;
    rig r = rig_new(1);
    weir_from(r.pipeline, weir_probe_source(r.from));
    weir_into(r.pipeline, weir_dead_letter(NULL, NULL));
    assert_int_equal(weir_pipeline_check(r.pipeline), WEIR_EINVAL);
    weir_pipeline_free(r.pipeline);
    assert_int_equal(weir_testkit_free(r.kit), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_rejected_goes_the_way_of_dead_letters),
        cmocka_unit_test(the_sink_is_told_what_failed_where_how_and_how_often),
        cmocka_unit_test(a_dead_letter_that_cannot_be_kept_fails),
        cmocka_unit_test(a_substitute_goes_on_in_the_normal_flow_and_ends_as_acked),
        cmocka_unit_test(without_a_substitute_the_item_fails_as_it_had),
        cmocka_unit_test(what_fails_later_still_fails),
        cmocka_unit_test(demand_is_shared_by_both_inputs_and_never_exceeded),
        cmocka_unit_test(the_breaker_above_counts_the_failure_and_not_the_substitute),
        cmocka_unit_test(what_an_open_breaker_rejects_can_be_made_good),
        cmocka_unit_test(what_timed_out_is_made_good_within_its_callers_time),
        cmocka_unit_test(held_items_end_as_aborted_and_the_end_follows_both_inputs),
        cmocka_unit_test(a_function_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
