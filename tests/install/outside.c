/* Counts to 1,000 through a pipeline of two stages of its own; prints the version it runs on. */
#include <weir/weir.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { COUNT = 1000 };

typedef struct count {
    uint64_t next;
} count;

static void count_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    count *c = state;
    for (; credit > 0 && c->next < COUNT; credit--) {
        weir_item *item = weir_item_new(weir_stage_loop(stage), NULL, sizeof c->next);
        if (item == NULL) {
            weir_stage_fail(stage, WEIR_ENOMEM, "no memory for an item");
            return;
        }
        memcpy(weir_item_body(item), &c->next, sizeof c->next);
        c->next++;
        weir_emit(out, item);
    }
    if (c->next == COUNT)
        weir_end(out);
}

static const weir_stage_type count_type = {
    .name = "count",
    .state_size = sizeof(count),
    .inputs = WEIR_PORTS_NONE,
    .on_demand = count_on_demand,
};

typedef struct sum_config {
    uint64_t *total;
} sum_config;

static weir_status sum_open(weir_stage *stage, const void *config, void *state)
{
    (void)config;
    (void)state;
    return weir_request(weir_stage_in(stage), WEIR_UNBOUNDED);
}

static weir_status sum_on_item(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    const sum_config *config = weir_stage_config(stage);
    uint64_t value;
    (void)in;
    (void)state;
    memcpy(&value, weir_item_body(item), sizeof value);
    *config->total += value;
    weir_item_ack(item);
    return WEIR_OK;
}

static const weir_stage_type sum_type = {
    .name = "sum",
    .config_size = sizeof(sum_config),
    .outputs = WEIR_PORTS_NONE,
    .open = sum_open,
    .on_item = sum_on_item,
};

int main(void)
{
    uint64_t total = 0;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){ .loops = 1 });
    weir_from(p, weir_stage_of(&count_type, NULL));
    weir_into(p, weir_stage_of(&sum_type, &(sum_config){ .total = &total }));
    weir_status status = weir_run(p);
    if (status != WEIR_OK)
        fprintf(stderr, "outside: %s\n", weir_pipeline_why(p));
    weir_pipeline_free(p);
    if (strcmp(weir_version(), WEIR_VERSION) != 0 || weir_version_number() != WEIR_VERSION_NUMBER)
        return 2;
    printf("weir %s: %llu\n", weir_version(), (unsigned long long)total);
    return status == WEIR_OK && total == (uint64_t)COUNT * (COUNT - 1) / 2 ? 0 : 1;
}
