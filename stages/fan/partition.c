/* partition: each item to the output that its key says. */
#include <weir/stages.h>

#include <string.h>

#include "queue.h"
#include "entries.h"

enum { VECTOR_MAX = 64 };

typedef struct partition_config {
    uint64_t (*key)(const weir_item *item, void *user);
    void *user;
    uint32_t n;
} partition_config;

typedef struct partition {
    weir_item **runs; /* of each leg, VECTOR_MAX: its share of a vector */
    uint32_t least;   /* the leg that had the least credit when last looked at */
} partition;

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

static weir_status partition_open(weir_stage *stage, const void *config, void *state)
{
    uint32_t n = ((const partition_config *)config)->n;
    partition *p = state;
    p->runs = weir_memory_new(weir_stage_env(stage), n * VECTOR_MAX * sizeof *p->runs);
    return p->runs != NULL ? WEIR_OK : WEIR_ENOMEM;
}

static void partition_close(weir_stage *stage, void *state)
{
    weir_memory_free(weir_stage_env(stage), ((partition *)state)->runs);
}

/* One of `n`: the upper half of the hash, scaled without a division
 * (https://arxiv.org/abs/1805.10941). */
static uint32_t leg_of(uint64_t key, uint32_t n)
{
    return (uint32_t)((wi_mix(key) >> 32) * n >> 32);
}

/* The least credit of the open legs: any of them may be the next item's. */
static void partition_ask(weir_stage *stage, partition *p)
{
    uint64_t level = WEIR_UNBOUNDED;
    uint32_t n = weir_stage_outputs(stage), least = n;
    for (uint32_t i = 0; i < n; i++) {
        weir_out *leg = weir_stage_out_at(stage, i);
        uint64_t credit = weir_out_credit(leg);
        if ((credit >= level && least != n) || (credit == 0 && weir_out_is_over(leg)))
            continue;
        level = credit;
        least = i;
    }
    p->least = least;
    if (least != n)
        weir_request_to(weir_stage_in(stage), level);
    else
        weir_cancel(weir_stage_in(stage));
}

static uint64_t key_of(const partition_config *config, weir_item *item)
{
    uint64_t key = config->key(item, config->user);
    if (!weir_item_is_shared(item))
        item->key = key;
    return key;
}

static void hand_to(weir_out *leg, weir_item **items, size_t n)
{
    if (!weir_out_is_over(leg)) {
        weir_emit_all(leg, items, n);
        return;
    }
    wi_abort_items(items, n);
}

/* Sorts the vector by leg, so that each leg gets its items at once and in order. */
static weir_status partition_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                      void *state)
{
    (void)in;
    partition *p = state;
    const partition_config *config = weir_stage_config(stage);
    weir_item **runs = p->runs;
    uint32_t n_legs = config->n, n_of[WEIR_PORTS_MAX];
    bool has_key = config->key != NULL;
    memset(n_of, 0, n_legs * sizeof *n_of);
    for (size_t i = 0; i < n; i++) {
        weir_item *item = items[i];
        uint32_t leg = leg_of(has_key ? key_of(config, item) : item->key, n_legs);
        runs[leg * VECTOR_MAX + n_of[leg]++] = item;
    }
    for (uint32_t leg = 0; leg < n_legs; leg++)
        if (n_of[leg] != 0)
            hand_to(weir_stage_out_at(stage, leg), runs + leg * VECTOR_MAX, n_of[leg]);
    partition_ask(stage, p);
    return WEIR_OK;
}

/* More credit of another leg than the least changes nothing. */
static void partition_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)credit;
    partition *p = state;
    if (weir_out_index(out) == p->least)
        partition_ask(stage, p);
}

static void partition_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    partition_ask(stage, state);
}

static const weir_stage_type partition_type = {
    .name = "partition",
    .at_once = UINT64_MAX,
    .config_size = sizeof(partition_config),
    .state_size = sizeof(partition),
    .outputs = WEIR_PORTS_MANY,
    .check = partition_check,
    .check_ports = partition_check_ports,
    .open = partition_open,
    .close = partition_close,
    .on_demand = partition_on_demand,
    .on_items = partition_on_items,
    .on_cancel = partition_on_cancel,
};

weir_stage_spec *weir_partition(uint64_t (*key)(const weir_item *item, void *user), void *user,
                                uint32_t n)
{
    return weir_stage_of(&partition_type, &(partition_config){ .key = key, .user = user, .n = n });
}
