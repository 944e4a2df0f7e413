/* The README's changes to a pipeline that runs. */
#include <weir/weir.h>

#undef NDEBUG
#include <assert.h>
#include <stdio.h>

static weir_status double_it(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) *= 2;
    return WEIR_OK;
}

static weir_status triple_it(weir_item *item, void *user)
{
    (void)user;
    *(uint64_t *)weir_item_body(item) *= 3;
    return WEIR_OK;
}

static void changed(weir_pipeline *p, weir_status status, const char *why, void *user)
{
    (void)p;
    if (status != WEIR_OK)
        fprintf(stderr, "change: %s\n", why);
    ++*(uint32_t *)user;
}

static weir_pipeline *wire(weir_testkit *kit, weir_probe *from, weir_probe *to)
{
    weir_pipeline *p = weir_testkit_pipeline(kit);
    weir_from(p, weir_probe_source(from));
    weir_via(p, weir_rate_limit(&(weir_rate_limit_config){ .rate = 10, .burst = 1 }));
    weir_via(p, weir_stage_named(weir_map(double_it, NULL), "price"));
    weir_node *sink = weir_into(p, weir_stage_named(weir_probe_sink(to), "store"));
    weir_node_window(sink, &(weir_edge_config){ .window = 16, .window_max = 1024 });
    return p;
}

static void change_all(weir_pipeline *p, const weir_on_changed *told)
{
    const char *why = "";
    weir_status status;

    /* New settings, looked at by the stage's own check: */
    status = weir_pipeline_change(p, "rate_limit", &(weir_rate_limit_config){ .rate = 1000 },
                                  sizeof(weir_rate_limit_config), told, &why);
    if (status != WEIR_OK)
        fprintf(stderr, "refused, and nothing has happened: %s\n", why);
    /* another window for the edge to its input 0: */
    status = weir_pipeline_set_window(p, "store", 0, 512, told, &why);
    /* another policy for what fails: */
    status = weir_pipeline_set_policy(
        p, "store", &(weir_error_policy){ .on_error = WEIR_ON_ERROR_RETRY }, told, &why);
    /* another stage in its place, when the old one has emitted what it holds: */
    status = weir_pipeline_swap(p, "price", weir_map(triple_it, NULL), told, &why);
    assert(status == WEIR_OK);
}

int main(void)
{
    uint32_t n = 0;
    const char *why = "";
    weir_testkit *kit = weir_testkit_new(1, 7);
    weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
    weir_pipeline *p = wire(kit, from, to);
    assert(weir_testkit_start(kit, p) == WEIR_OK);
    for (uint64_t value = 1; value <= 3; value++)
        weir_probe_feed(from, value);
    weir_probe_request(to, 4);
    weir_testkit_settle(kit);
    assert(weir_probe_received(to) == 1); /* ten a second, one by one */

    change_all(p, &(weir_on_changed){ changed, &n });
    weir_testkit_advance(kit, 10 * WEIR_MS);
    assert(n == 4);
    weir_probe_feed(from, 4);
    weir_testkit_settle(kit);
    assert(weir_probe_expect(to, 4, (uint64_t[]){ 2, 4, 6, 12 }));
    assert(weir_pipeline_change(p, "rate_limit", &(weir_rate_limit_config){ 0 },
                                sizeof(weir_rate_limit_config), NULL, &why) == WEIR_EINVAL);
    printf("change: %s\n", why);

    weir_probe_end(from);
    assert(weir_testkit_expect_clean(kit));
    weir_pipeline_free(p);
    assert(weir_testkit_free(kit) == 0);
    return 0;
}
