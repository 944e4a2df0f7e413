/* The README's stage of one's own, and tests of it on the testkit: by hand, and by seeds. */
#include <weir/weir.h>

#undef NDEBUG
#include <assert.h>
#include <stdio.h>

enum { BATCH_MAX = 1000 };

typedef struct batch_config {
    uint32_t count;
} batch_config;

typedef struct batch {
    uint32_t held;
    weir_item *items[BATCH_MAX];
} batch;

/* One credit from below asks for `count` above, less what is held. */
static void batch_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    const batch_config *config = weir_stage_config(stage);
    const batch *b = state;
    (void)out;
    weir_request_to(weir_stage_in(stage),
                    weir_credit_sub(weir_credit_mul(credit, config->count), b->held));
}

static void batch_flush(weir_stage *stage, batch *b)
{
    weir_item *joined;
    uint32_t n = b->held;
    if (n == 0)
        return;
    b->held = 0;
    weir_status status = weir_items_join(weir_stage_loop(stage), b->items, n, &joined);
    if (status == WEIR_OK)
        weir_emit(weir_stage_out(stage), joined); /* its end is the end of all its members */
    else
        for (uint32_t i = 0; i < n; i++)
            weir_fail(stage, b->items[i], status, "cannot join the batch");
}

static weir_status batch_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    const batch_config *config = weir_stage_config(stage);
    batch *b = state;
    (void)in;
    b->items[b->held++] = item;
    if (b->held == config->count)
        batch_flush(stage, b);
    return WEIR_OK;
}

static void batch_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)in;
    batch_flush(stage, state);
    weir_end_error(weir_stage_out(stage), status);
}

static void batch_close(weir_stage *stage, void *state)
{
    batch *b = state;
    (void)stage;
    for (uint32_t i = 0; i < b->held; i++) /* cancelled or aborted: tell the source */
        weir_item_end(b->items[i], WEIR_ABORTED, WEIR_ECANCELED);
}

static weir_status batch_check(const void *config, const char **why)
{
    uint32_t count = ((const batch_config *)config)->count;
    *why = "count must be 1..1000";
    return count >= 1 && count <= BATCH_MAX ? WEIR_OK : WEIR_EINVAL;
}

static const weir_stage_type batch_type = {
    .name = "batch",
    .config_size = sizeof(batch_config),
    .state_size = sizeof(batch),
    .check = batch_check,
    .close = batch_close,
    .on_demand = batch_on_demand,
    .on_item = batch_on_item,
    .on_end = batch_on_end,
};

static void batch_flushes_its_remainder_when_the_source_ends(void)
{
    weir_testkit *kit = weir_testkit_new(1, 7);
    weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
    weir_pipeline *p = weir_testkit_pipeline(kit);
    weir_from(p, weir_probe_source(from));
    weir_via(p, weir_stage_of(&batch_type, &(batch_config){ .count = 100 }));
    weir_into(p, weir_probe_sink(to));
    assert(weir_testkit_start(kit, p) == WEIR_OK);

    weir_probe_request(to, 2);
    for (uint64_t value = 0; value < 130; value++)
        weir_probe_feed(from, value);
    weir_probe_end(from);
    assert(weir_testkit_expect_clean(kit)); /* all is over, every item has ended, no rule broken */
    assert(weir_probe_expect(to, 2, (uint64_t[]){ 100, 30 })); /* of joined items: the members */
    assert(weir_probe_ended(from, WEIR_ACKED) == 130);

    weir_pipeline_free(p);
    assert(weir_testkit_free(kit) == 0); /* not a byte leaked */
}

static void batch_tells_the_source_what_an_abort_dropped(void)
{
    weir_testkit *kit = weir_testkit_new(1, 7);
    weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
    weir_pipeline *p = weir_testkit_pipeline(kit);
    weir_from(p, weir_probe_source(from));
    weir_via(p, weir_stage_of(&batch_type, &(batch_config){ .count = 100 }));
    weir_into(p, weir_probe_sink(to));
    assert(weir_testkit_start(kit, p) == WEIR_OK);

    weir_probe_request(to, 1);
    for (uint64_t value = 0; value < 30; value++)
        weir_probe_feed(from, value);
    weir_testkit_settle(kit);
    weir_pipeline_shutdown(p, WEIR_ABORT, 0);
    weir_testkit_settle(kit);
    assert(weir_probe_ended(from, WEIR_ABORTED) == 30);

    weir_pipeline_free(p);
    assert(weir_testkit_free(kit) == 0);
}

/* Items and demand come in bits, and then the source ends, or the pipeline is drained or aborted.
 */
static void drive(weir_testkit *kit, weir_pipeline *p, weir_probe *from, weir_probe *to,
                  uint64_t seed)
{
    for (uint64_t i = 0; i < 16; i++) {
        for (uint64_t k = 0; k < (seed + i * 7) % 12; k++)
            weir_probe_feed(from, k);
        if ((seed >> i % 8 & 1) != 0)
            weir_probe_request(to, 1);
        weir_testkit_advance(kit, WEIR_MS);
    }
    weir_probe_end(from);
    if (seed % 3 != 0)
        weir_pipeline_shutdown(p, seed % 3 == 1 ? WEIR_DRAIN : WEIR_ABORT, 0);
    weir_probe_request(to, 100);
}

static void batch_stands_whatever_comes(uint64_t seed)
{
    weir_testkit *kit = weir_testkit_new_with(&(weir_testkit_config){
        .seed = seed,
        .loops = 2,
        .shuffle = true, /* the seed chooses among all that may come next */
        .faults_ppm = { [WEIR_FAULT_ALLOCATION] = 20000, [WEIR_FAULT_CANCEL] = 500 } });
    weir_probe *from = weir_testkit_probe(kit), *to = weir_testkit_probe(kit);
    weir_pipeline *p = weir_testkit_pipeline(kit);
    weir_from(p, weir_probe_source(from));
    weir_node *node = weir_via(p, weir_stage_of(&batch_type, &(batch_config){ .count = 9 }));
    weir_into(p, weir_probe_sink(to));
    weir_node_place(node, 1); /* both its edges cross loops */
    if (weir_testkit_start(kit, p) == WEIR_OK)
        drive(kit, p, from, to, seed);
    bool is_clean = weir_testkit_expect_clean(kit);
    if (!is_clean)
        fprintf(stderr, "seed %llu: %s\n", (unsigned long long)seed, weir_testkit_why(kit));
    assert(is_clean);
    weir_pipeline_free(p);
    assert(weir_testkit_free(kit) == 0);
}

int main(void)
{
    batch_flushes_its_remainder_when_the_source_ends();
    batch_tells_the_source_what_an_abort_dropped();
    for (uint64_t seed = 0; seed < 1000; seed++)
        batch_stands_whatever_comes(seed);
    puts("batch: ok");
    return 0;
}
