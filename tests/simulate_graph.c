/* Random graphs over all rows of the stage table, and some stages of the simulation's own. */
#include "simulate_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- Stages of its own ---- */

static size_t fifths(weir_stage *stage, weir_item **items, size_t n, void *state)
{
    uint64_t *seen = state;
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (++*seen % 5 == 0)
            weir_fail(stage, items[i], WEIR_EIO, "a fifth");
        else if (*seen % 7 == 0)
            weir_item_end(items[i], WEIR_FILTERED, WEIR_OK);
        else
            items[kept++] = items[i];
    }
    return kept;
}

static weir_status fourths(weir_stage *stage, weir_in *in, weir_item *item, void *state)
{
    uint64_t *seen = state;
    (void)in;
    if (++*seen % 4 == 0)
        weir_fail(stage, item, WEIR_EIO, "a fourth");
    else
        weir_emit(weir_stage_out(stage), item);
    return WEIR_OK;
}

static const weir_stage_type fifths_type = { .name = "fifths",
                                             .state_size = sizeof(uint64_t),
                                             .transform = fifths };
static const weir_stage_type fourths_type = { .name = "fourths",
                                              .state_size = sizeof(uint64_t),
                                              .on_item = fourths };
static const weir_stage_type pass_type = { .name = "pass" };

/* Operations that end after a random while, or not at all. */
typedef struct later {
    weir_timer timer;
    weir_op *op;
    weir_status status;
} later;

static void later_fire(weir_timer *timer, void *user)
{
    later *l = user;
    (void)timer;
    weir_op_done(l->op, l->status, "later");
}

static void later_start(weir_op *op, void *state)
{
    later *l = op->work;
    weir_loop *loop = weir_stage_loop(op->stage);
    uint64_t luck = weir_loop_entropy(loop) % 16;
    (void)state;
    l->op = op;
    l->status = luck % 4 == 0 ? WEIR_EUNAVAILABLE : WEIR_OK;
    if (luck < 4)
        weir_op_done(op, l->status, "at once");
    else if (luck < 15)
        weir_timer_start(loop, &l->timer, luck * 3 * WEIR_MS, later_fire, l);
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

weir_async_options world_async_options(world *w, const world_node *node)
{
    weir_async_options options = { .in_flight = 1 + roll(w, 8),
                                   .unordered = (node->traits & STAGE_ORDERED) == 0,
                                   .timeout_ms = one_in(w, 4) ? 0 : 20 };
    w->may_hang |= options.timeout_ms == 0;
    return options;
}

static uint32_t up_to_three(const weir_item *item, void *user)
{
    (void)user;
    return (uint32_t)(stage_value(item) % 4);
}

weir_stage_spec *world_own_stage(world *w, world_node *node)
{
    switch (node->own) {
    case OWN_FIFTHS:
        return weir_stage_of(&fifths_type, NULL);
    case OWN_FOURTHS:
        return weir_stage_of(&fourths_type, NULL);
    case OWN_BATCH:
        return weir_batch(&(weir_batch_config){ .count = 1 + roll(w, 5), .wait_us = 1000 });
    case OWN_BUFFER:
        return weir_buffer(&(weir_buffer_config){ .items_max = 1 + roll(w, 10) });
    case OWN_TAKE:
        return weir_take(1 + roll(w, 100));
    case OWN_LATER: {
        weir_async_options options = world_async_options(w, node);
        return weir_async_of(&later_type, &options, NULL);
    }
    case OWN_SEMAPHORE: /* what is below may keep the permits, and wait for more */
        w->may_hang = true;
        return weir_semaphore(
            &(weir_semaphore_config){ .permits = 1 + roll(w, 8), .cost = up_to_three });
    case OWN_SWITCH:
        if (w->off != NULL)
            return weir_switch_stage(w->off);
        break;
    default:
        break;
    }
    return weir_stage_of(&pass_type, NULL);
}

static weir_stage_spec *any_own_stage(world *w, world_node *node)
{
    static const uint32_t traits[OWN_KINDS] = {
        [OWN_PASS] = STAGE_PASSES | STAGE_ORDERED,
        [OWN_FIFTHS] = STAGE_DROPS | STAGE_ORDERED,
        [OWN_FOURTHS] = STAGE_DROPS | STAGE_ORDERED,
        [OWN_BATCH] = STAGE_JOINS | STAGE_ORDERED | STAGE_TIMED,
        [OWN_BUFFER] = STAGE_PASSES | STAGE_ORDERED,
        [OWN_TAKE] = STAGE_PASSES | STAGE_ORDERED | STAGE_ENDS,
        [OWN_LATER] = STAGE_DROPS | STAGE_TIMED,
        [OWN_SEMAPHORE] = STAGE_PASSES | STAGE_ORDERED,
        [OWN_SWITCH] = STAGE_PASSES | STAGE_ORDERED | STAGE_ENDS,
    };
    node->own = (world_own)(OWN_PASS + roll(w, OWN_KINDS - OWN_PASS));
    node->outputs = 1;
    node->traits = traits[node->own];
    if (node->own == OWN_LATER && one_in(w, 2))
        node->traits |= STAGE_ORDERED;
    node->may_fail = (node->traits & STAGE_DROPS) != 0;
    node->at_once = node->may_fail && node->own != OWN_LATER;
    return world_own_stage(w, node);
}

/* ---- Nodes ---- */

static const char *const how_names[] = { "default", "skip", "retry", "dead_letter", "stop" };

static weir_edge_config any_edge(world *w)
{
    weir_edge_config edge = { .window = one_in(w, 2) ? 1 + roll(w, 8) : 0,
                              .window_bytes = one_in(w, 4) ? 1 + roll(w, 200) : 0,
                              .error_jumps = one_in(w, 5) };
    if (edge.window != 0 && one_in(w, 3))
        edge.window_max = edge.window + roll(w, 20);
    if (edge.window_max != 0 && one_in(w, 3))
        edge.latency_us = 1000 * (1 + roll(w, 20));
    return edge;
}

static void dress(world *w, world_node *node)
{
    weir_edge_config edge = any_edge(w);
    weir_node_window(node->node, &edge);
    node->window_max = edge.window_max;
    node->place = w->is_placed ? roll(w, w->loops) : 0;
    if (w->is_placed)
        weir_node_place(node->node, node->place);
    world_say(w, "node %s, loop %u: input window %u to %u, bytes %llu%s%s", node->name, node->place,
              edge.window, edge.window_max, (unsigned long long)edge.window_bytes,
              edge.error_jumps ? ", errors jump" : "", edge.latency_us ? ", sizes itself" : "");
}

static uint32_t add_node(world *w, weir_stage_spec *spec, const char *name)
{
    world_node *node = &w->nodes[w->n_nodes];
    node->node = weir_add(w->pipeline, spec);
    snprintf(node->name, sizeof node->name, "%s#%u", name, w->n_nodes);
    return w->n_nodes++;
}

static route joined_routes(route a, route b)
{
    return (route){ .paths = a.paths + b.paths,
                    .makes = a.makes || b.makes,
                    .joins = a.joins || b.joins,
                    .mixed = a.mixed || b.mixed,
                    .unordered = a.unordered || b.unordered,
                    .unkeyed = a.unkeyed || b.unkeyed };
}

static void link_to(world *w, uint32_t from, uint32_t to, uint32_t input)
{
    world_node *a = &w->nodes[from], *b = &w->nodes[to];
    weir_link(a->node, a->linked++, b->node, input, NULL);
    world_say(w, "link %s -> %s input %u", a->name, b->name, input);
    for (uint32_t s = 0; s < w->n_sources; s++)
        b->from[s] = joined_routes(b->from[s], a->from[s]);
}

/* What the stage itself does to the routes of what comes to it. */
static void route_through(world *w, world_node *node)
{
    bool ordered = (node->traits & STAGE_ORDERED) != 0;
    bool keyed = ordered || (node->traits & STAGE_BY_KEY) != 0;
    if (node->retries) {
        ordered &= !node->may_fail && !w->has_faults;
        keyed &= !node->may_fail || node->at_once;
    }
    for (uint32_t s = 0; s < w->n_sources; s++) {
        route *way = &node->from[s];
        /* a joined item has one key, that of its first member: where only equal keys are kept in
         * order, it may pass another, and with it members of the same key pass each other */
        bool mixes = way->joins && (!ordered || (node->retries && node->may_fail));
        /* windows that overlap have members in common; what expands comes in between its like */
        bool overlaps = (node->traits & STAGE_COPIES) != 0 && node->outputs == 1;
        bool expands = (node->traits & STAGE_MAKES) != 0 && (node->traits & STAGE_PASSES) != 0;
        way->makes |= (node->traits & STAGE_MAKES) != 0 || overlaps;
        way->joins |= (node->traits & STAGE_JOINS) != 0;
        way->unordered |= !ordered || overlaps || expands;
        way->mixed |= mixes;
        way->unkeyed |= !keyed || overlaps || expands;
    }
    w->all_pass &= (node->traits & (STAGE_PASSES | STAGE_COPIES | STAGE_JOINS)) != 0 &&
                   (node->traits & (STAGE_DROPS | STAGE_LOSSY | STAGE_ENDS | STAGE_MAKES)) == 0 &&
                   ((node->traits & STAGE_JOINS) == 0 || w->item_bytes_max == 0);
}

static void add_hub(world *w, uint32_t from)
{
    uint32_t index = add_node(w, weir_into_hub(w->hub), "hub");
    w->nodes[index].inputs = 1;
    dress(w, &w->nodes[index]);
    link_to(w, from, index, 0);
}

static void add_sink(world *w, uint32_t from, bool is_dead_letter)
{
    if (!is_dead_letter && world_hub_end(w, w->nodes[from].from)) {
        add_hub(w, from);
        return;
    }
    world_sink *sink = &w->sinks[w->n_sinks];
    sink->world = w;
    sink->index = w->n_sinks++;
    sink->probe = weir_testkit_probe(w->kit);
    uint32_t index = add_node(w, weir_probe_sink(sink->probe), "sink");
    w->nodes[index].inputs = 1;
    dress(w, &w->nodes[index]);
    if (is_dead_letter) {
        weir_node_dead_letter(w->nodes[from].node, w->nodes[index].node, 0);
        world_say(w, "dead letters of %s -> %s", w->nodes[from].name, w->nodes[index].name);
    } else {
        link_to(w, from, index, 0);
    }
    for (uint32_t s = 0; s < w->n_sources; s++) {
        sink->from[s] = is_dead_letter ? w->nodes[from].from[s] : w->nodes[index].from[s];
        sink->from[s].unordered |= is_dead_letter;
        sink->from[s].unkeyed |= is_dead_letter;
    }
    weir_probe_look(sink->probe, world_arrived, sink);
}

weir_error_policy world_policy(world *w)
{
    return (weir_error_policy){ .on_error = (weir_on_error)roll(w, 5),
                                .then = WEIR_ON_ERROR_SKIP,
                                .retries_max = 1 + roll(w, 3),
                                .backoff_ms = 1 + roll(w, 20),
                                .waiting_max = 1 + roll(w, 10) };
}

/* Before what comes after it, which takes over its routes. */
static void any_policy(world *w, uint32_t index)
{
    world_node *node = &w->nodes[index];
    if (one_in(w, 2))
        return;
    weir_error_policy policy = world_policy(w);
    if (policy.on_error == WEIR_ON_ERROR_RETRY && one_in(w, 3))
        policy.then = one_in(w, 2) ? WEIR_ON_ERROR_STOP : WEIR_ON_ERROR_DEAD_LETTER;
    node->has_dead_letter = policy.on_error == WEIR_ON_ERROR_DEAD_LETTER ||
                            policy.then == WEIR_ON_ERROR_DEAD_LETTER;
    node->retries = policy.on_error == WEIR_ON_ERROR_RETRY;
    weir_node_policy(node->node, &policy);
    world_say(w, "policy of %s: %s, then %s, %u tries, %u ms, %u wait", node->name,
              how_names[policy.on_error], how_names[policy.then], policy.retries_max,
              policy.backoff_ms, policy.waiting_max);
}

/* ---- The graph ---- */

static uint32_t rows(void)
{
    uint32_t n = 0;
    while (stage_row_at(n) != NULL)
        n++;
    return n;
}

static const stage_row *row_named(const char *name)
{
    const stage_row *row;
    for (uint32_t i = 0; (row = stage_row_at(i)) != NULL; i++)
        if (strcmp(row->name, name) == 0)
            return row;
    return NULL;
}

bool sim_has_stage(const char *name)
{
    return row_named(name) != NULL;
}

/* Outputs to go on from, by their nodes. */
typedef struct ends {
    uint32_t nodes[WORLD_NODES_MAX], n;
} ends;

static uint32_t take_end(world *w, ends *e)
{
    uint32_t at = roll(w, e->n), node = e->nodes[at];
    e->nodes[at] = e->nodes[--e->n];
    return node;
}

static void add_stage(world *w, ends *e, const stage_row *row)
{
    world_node *node = &w->nodes[w->n_nodes];
    uint32_t inputs = 1;
    weir_stage_spec *spec;
    if (row == NULL) {
        spec = any_own_stage(w, node);
    } else {
        inputs = (uint32_t)row->inputs;
        node->outputs = (uint32_t)row->outputs;
        node->traits = row->traits;
        node->may_fail = (row->traits & STAGE_PASSES) == 0;
        spec = row->make();
    }
    node->row = row;
    node->inputs = inputs;
    uint32_t index = add_node(w, spec, row != NULL ? row->name : "own");
    dress(w, node);
    if (node->traits & STAGE_LOSSY)
        weir_node_best_effort(node->node);
    for (uint32_t i = 0; i < inputs; i++)
        link_to(w, take_end(w, e), index, i);
    /* what takes its inputs in turn can wait for one that waits for another */
    for (uint32_t s = 0; s < w->n_sources && inputs > 1 && strcmp(row->name, "merge") != 0; s++)
        w->may_hang |= node->from[s].paths > 1;
    any_policy(w, index);
    route_through(w, node);
    w->may_hang |= (node->traits & STAGE_INVENTS) != 0;
    w->swallows |= node->outputs == 0 || (node->traits & STAGE_MAKES) != 0;
    if (node->has_dead_letter)
        add_sink(w, index, true);
    for (uint32_t i = 0; i < node->outputs; i++)
        e->nodes[e->n++] = index;
}

/* ---- Copies of a stage ---- */

typedef struct copies {
    world *w;
    world_node like;
} copies;

static weir_stage_spec *copy_spec(uint32_t index, void *user)
{
    copies *c = user;
    (void)index;
    return world_own_stage(c->w, &c->like);
}

/* Notes a node that weir_parallel makes, in the order in which it does. */
static world_node *note_made(world *w, const char *name, uint32_t inputs)
{
    world_node *node = &w->nodes[w->n_nodes];
    snprintf(node->name, sizeof node->name, "%s#%u", name, w->n_nodes++);
    node->inputs = inputs;
    return node;
}

static void note_copy(weir_node *copy, uint32_t index, void *user)
{
    (void)index;
    note_made(((copies *)user)->w, "copy", 1)->node = copy;
}

/* Only the windows of what stands between the ends are changed while it runs: what is swapped there
 * could make several items of one. */
static void add_parallel(world *w, ends *e)
{
    copies c = { .w = w, .like = { .own = one_in(w, 2) ? OWN_FOURTHS : OWN_PASS } };
    weir_edge_config edge = any_edge(w);
    weir_parallel_config config = { .stage = copy_spec,
                                    .wired = note_copy,
                                    .user = &c,
                                    .copies = 1 + roll(w, 3),
                                    .unordered = one_in(w, 3),
                                    .in_flight = one_in(w, 2) ? 1 + roll(w, 8) : 0,
                                    .loops = w->is_placed ? 1 + roll(w, w->loops) : 0,
                                    .loop = w->is_placed ? roll(w, w->loops) : 0,
                                    .edge = &edge };
    uint32_t from = take_end(w, e), index = w->n_nodes + 1;
    world_node *begin = note_made(w, "share", 1), *end = note_made(w, "collect", 0);
    world_say(w, "%u copies of %s behind %s, %s, over %u loops", config.copies,
              c.like.own == OWN_PASS ? "pass" : "fourths", w->nodes[from].name,
              config.unordered ? "unordered" : "ordered", config.loops);
    weir_at(w->pipeline, w->nodes[from].node);
    end->node = weir_parallel(w->pipeline, &config);
    w->nodes[from].linked++;
    begin->outputs = config.copies;
    end->outputs = 1;
    end->traits = config.unordered ? 0 : STAGE_ORDERED;
    end->traits |= c.like.own == OWN_PASS ? STAGE_PASSES : STAGE_DROPS;
    memcpy(end->from, w->nodes[from].from, sizeof end->from);
    route_through(w, end);
    w->has_parallel = true;
    e->nodes[e->n++] = index;
}

static void add_source(world *w, ends *e)
{
    world_source *source = &w->sources[w->n_sources];
    source->probe = weir_testkit_probe(w->kit);
    uint32_t index = add_node(w, weir_probe_source(source->probe), "source");
    world_node *node = &w->nodes[index];
    node->traits = STAGE_PASSES | STAGE_ORDERED;
    if (w->is_placed)
        weir_node_place(node->node, source->place = roll(w, w->loops));
    world_say(w, "node %s, loop %u", node->name, source->place);
    node->from[w->n_sources++].paths = 1;
    e->nodes[e->n++] = index;
}

static const stage_row *any_row(world *w, const ends *e)
{
    const stage_row *row = NULL;
    if (one_in(w, 3))
        return NULL;
    row = stage_row_at(roll(w, rows()));
    bool fits = (uint32_t)row->inputs <= e->n &&
                (row->outputs > 0 || e->n > (uint32_t)row->inputs) &&
                e->n + (uint32_t)row->outputs < 8;
    return fits ? row : NULL;
}

void world_build(world *w)
{
    ends e = { .n = 0 };
    const stage_row *wanted = w->options->stage != NULL ? row_named(w->options->stage) : NULL;
    w->is_placed = w->loops > 1 && !one_in(w, 3);
    w->replicas = w->is_placed ? 1 : w->loops;
    w->all_pass = true;
    w->changes = one_in(w, 2);
    for (uint32_t n = 1 + (roll(w, 3) == 0); n > 0; n--)
        add_source(w, &e);
    uint32_t stages = 1 + roll(w, 6), when = roll(w, stages);
    for (uint32_t i = 0; i < stages; i++) {
        while (wanted != NULL && i == when && (uint32_t)wanted->inputs > e.n)
            if (w->n_sources < WORLD_SOURCES_MAX)
                add_source(w, &e);
            else
                add_stage(w, &e, row_named("broadcast_holds"));
        if (e.n == 0)
            break;
        bool is_wanted = wanted != NULL && i == when;
        if (!is_wanted && !w->has_parallel && one_in(w, 12))
            add_parallel(w, &e);
        else
            add_stage(w, &e, is_wanted ? wanted : any_row(w, &e));
    }
    while (e.n > 1 && one_in(w, 2))
        add_stage(w, &e, row_named("merge"));
    while (e.n > 0)
        add_sink(w, take_end(w, &e), false);
}
