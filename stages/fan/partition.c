/* partition: each item to the output that its key says. */
#include <weir/stages.h>

enum { VECTOR_MAX = 64 };

typedef struct partition_config {
    uint64_t (*key)(const weir_item *item, void *user);
    void *user;
    uint32_t n;
} partition_config;

static weir_status partition_check(const void *config, const char **why)
{
    const partition_config *c = config;
    if (c->n >= 1 && c->n <= WEIR_PORTS_MAX)
        return WEIR_OK;
    *why = "has 1 to 64 outputs";
    return WEIR_EINVAL;
}

static weir_status partition_check_ports(const void *config, uint32_t inputs, uint32_t outputs,
                                         const char **why)
{
    (void)inputs;
    *why = "its n is not the number of outputs linked";
    uint32_t n = ((const partition_config *)config)->n;
    return n == outputs || n < 1 || n > WEIR_PORTS_MAX ? WEIR_OK : WEIR_EINVAL;
}

/* One of `n`. The finaliser of MurmurHash3 spreads keys that are counters evenly; its upper half is
 * scaled to `n` without a division (https://arxiv.org/abs/1805.10941). */
static uint32_t leg_of(uint64_t key, uint32_t n)
{
    key = (key ^ (key >> 33)) * UINT64_C(0xff51afd7ed558ccd);
    key = (key ^ (key >> 33)) * UINT64_C(0xc4ceb9fe1a85ec53);
    return (uint32_t)((key >> 32) * n >> 32);
}

/* The least credit of the open legs: any of them may be the next item's. */
static void partition_ask(weir_stage *stage)
{
    uint64_t level = WEIR_UNBOUNDED;
    uint32_t open = 0;
    for (uint32_t i = 0; i < weir_stage_outputs(stage); i++) {
        weir_out *leg = weir_stage_out_at(stage, i);
        if (weir_out_is_over(leg))
            continue;
        open++;
        level = weir_out_credit(leg) < level ? weir_out_credit(leg) : level;
    }
    if (open > 0)
        weir_request_to(weir_stage_in(stage), level);
    else
        weir_cancel(weir_stage_in(stage));
}

static uint32_t leg_of_item(const partition_config *config, weir_item *item)
{
    uint64_t key = config->key != NULL ? config->key(item, config->user) : item->key;
    if (!weir_item_is_shared(item))
        item->key = key;
    return leg_of(key, config->n);
}

static void hand_to(weir_out *leg, weir_item **items, size_t n)
{
    if (!weir_out_is_over(leg)) {
        weir_emit_all(leg, items, n);
        return;
    }
    for (size_t i = 0; i < n; i++)
        weir_item_end(items[i], WEIR_ABORTED, WEIR_ECANCELED);
}

/* Sorts the vector by leg, counting, so that each leg gets its items at once and in order. */
static weir_status partition_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                      void *state)
{
    (void)in;
    (void)state;
    const partition_config *config = weir_stage_config(stage);
    uint8_t legs[VECTOR_MAX], begin[WEIR_PORTS_MAX] = { 0 };
    weir_item *sorted[VECTOR_MAX];
    for (size_t i = 0; i < n; i++)
        begin[legs[i] = (uint8_t)leg_of_item(config, items[i])]++;
    for (uint32_t leg = 1; leg < config->n; leg++)
        begin[leg] = (uint8_t)(begin[leg] + begin[leg - 1]);
    for (size_t i = n; i-- > 0;)
        sorted[--begin[legs[i]]] = items[i]; /* from ends down to beginnings */
    for (uint32_t leg = 0; leg < config->n; leg++) {
        size_t end = leg + 1 < config->n ? begin[leg + 1] : n;
        if (end > begin[leg])
            hand_to(weir_stage_out_at(stage, leg), sorted + begin[leg], end - begin[leg]);
    }
    partition_ask(stage);
    return WEIR_OK;
}

static void partition_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)out;
    (void)credit;
    (void)state;
    partition_ask(stage);
}

static void partition_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    (void)state;
    partition_ask(stage);
}

static const weir_stage_type partition_type = {
    .name = "partition",
    .at_once = UINT64_MAX,
    .config_size = sizeof(partition_config),
    .outputs = WEIR_PORTS_MANY,
    .check = partition_check,
    .check_ports = partition_check_ports,
    .on_demand = partition_on_demand,
    .on_items = partition_on_items,
    .on_cancel = partition_on_cancel,
};

weir_stage_spec *weir_partition(uint64_t (*key)(const weir_item *item, void *user), void *user,
                                uint32_t n)
{
    return weir_stage_of(&partition_type, &(partition_config){ .key = key, .user = user, .n = n });
}
