/* One seed's run: what is done to the graph, and what must hold when it is over. */
#include "simulate_world.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 30, OVER_ROUNDS = 60 };

uint32_t roll(world *w, uint32_t sides)
{
    uint64_t z = w->dice += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (uint32_t)((z ^ (z >> 31)) >> 16) % sides;
}

void world_wrong(world *w, const char *format, ...)
{
    va_list arguments;
    if (w->why[0] != '\0')
        return;
    va_start(arguments, format);
    vsnprintf(w->why, sizeof w->why, format, arguments);
    va_end(arguments);
}

void world_say(const world *w, const char *format, ...)
{
    char line[256];
    va_list arguments;
    if (w->options->log == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    w->options->log(line, w->options->user);
}

/* ---- What arrives ---- */

static void count_arrival(world_sink *sink, uint32_t s, uint32_t r, uint64_t index, bool is_first)
{
    world *w = sink->world;
    const route *way = &sink->from[s];
    uint64_t *last = &sink->last[s][r];
    uint8_t key = w->sources[s].keys[r][index];
    uint64_t *last_of_key = &sink->last_of_key[s][r][key];
    uint8_t *count = &sink->count[s][r][index];
    if (*count < UINT8_MAX)
        ++*count;
    if (!way->makes && *count > way->paths)
        world_wrong(w, "sink %u got item %u of source %u %u times, by %u ways", sink->index,
                    (unsigned)index, s, *count, way->paths);
    bool is_late = index + 1 < *last, is_late_of_key = index + 1 < *last_of_key;
    if (way->paths == 1 && !way->unordered && is_late)
        world_wrong(w, "sink %u got item %u of source %u after item %u: out of order", sink->index,
                    (unsigned)index, s, (unsigned)*last - 1);
    *last = index + 1;
    if (way->mixed && !is_first)
        return;
    if (way->paths == 1 && !way->unkeyed && key != 0 && is_late_of_key)
        world_wrong(w, "sink %u got item %u of source %u after item %u of the same key %u",
                    sink->index, (unsigned)index, s, (unsigned)*last_of_key - 1, key);
    *last_of_key = index + 1;
}

/* Of joined items within joined ones too, one by one. */
void world_arrived(const weir_item *item, void *user)
{
    world_sink *sink = user;
    world *w = sink->world;
    const weir_item *todo[256];
    size_t n = 0;
    bool is_first = true;
    todo[n++] = item;
    while (n > 0) {
        const weir_item *at = todo[--n];
        const weir_items *members = weir_item_members(at);
        weir_probe *source;
        uint64_t index;
        if (members != NULL && n + members->n < sizeof todo / sizeof *todo)
            for (size_t i = members->n; i-- > 0;)
                todo[n++] = members->items[i];
        if (members != NULL)
            continue;
        bool leads = is_first;
        is_first = false;
        if (!weir_probe_origin(at, &source, &index))
            continue;
        for (uint32_t s = 0; s < w->n_sources; s++)
            for (uint32_t r = 0; r < w->replicas; r++)
                if (weir_probe_replica(w->sources[s].probe, r) == source)
                    count_arrival(sink, s, r, index, leads);
    }
}

static bool has_arrived(const world *w, uint32_t s, uint32_t r, uint32_t index)
{
    for (uint32_t i = 0; i < w->n_sinks; i++)
        if (w->sinks[i].count[s][r][index] != 0)
            return true;
    return false;
}

static void account_item(world *w, uint32_t s, uint32_t r, uint32_t index)
{
    weir_outcome outcome;
    weir_status status;
    weir_probe *source = weir_probe_replica(w->sources[s].probe, r);
    if (!weir_probe_outcome(source, index, &outcome, &status))
        return; /* not emitted, as the kit has seen that all that were have ended */
    if (outcome == WEIR_ACKED && !w->swallows && !has_arrived(w, s, r, index))
        world_wrong(w, "item %u of source %u was acked, and came to no sink", index, s);
    if (outcome != WEIR_ACKED && w->all_pass && !w->was_stopped && !w->has_faults)
        world_wrong(w, "item %u of source %u was %s, and nothing here may do that", index, s,
                    weir_outcome_name(outcome));
}

void world_account(world *w)
{
    for (uint32_t s = 0; s < w->n_sources; s++)
        for (uint32_t r = 0; r < w->replicas; r++)
            for (uint32_t i = 0; i < w->sources[s].fed[r]; i++)
                account_item(w, s, r, i);
    for (uint32_t i = 0; i < weir_pipeline_stages(w->pipeline); i++) {
        weir_stage_stats stats;
        if (weir_pipeline_stage_stats(w->pipeline, i, &stats) == WEIR_OK && stats.over_emitted != 0)
            world_wrong(w, "%s emitted without credit", stats.name);
    }
    if (w->changes_told != w->changes_taken)
        world_wrong(w, "of %u changes %u were told of", w->changes_taken, w->changes_told);
}

/* ---- What is done ---- */

static void feed(world *w)
{
    uint32_t s = roll(w, w->n_sources), r = roll(w, w->replicas);
    world_source *source = &w->sources[s];
    for (uint32_t n = roll(w, 30); n > 0 && source->fed[r] < WORLD_ITEMS_MAX; n--) {
        uint32_t index = source->fed[r];
        weir_probe_item item = { .value = index + 1, .key = roll(w, 4), .cost = 1 + roll(w, 60) };
        if (one_in(w, 12))
            item.context = &w->contexts[w->is_placed ? source->place : r][roll(w, WORLD_CONTEXTS)];
        if (item.context != NULL)
            w->was_stopped = true; /* it may run out */
        source->keys[r][index] = (uint8_t)item.key;
        if (!weir_probe_feed_item(weir_probe_replica(source->probe, r), &item))
            return;
        source->fed[r]++;
    }
}

static weir_probe *any_sink(world *w)
{
    return weir_probe_replica(w->sinks[roll(w, w->n_sinks)].probe, roll(w, w->replicas));
}

static void end_source(world *w, world_source *source, weir_status status)
{
    w->was_stopped |= status != WEIR_OK && !source->ended;
    source->ended = true;
    for (uint32_t r = 0; r < w->replicas; r++)
        weir_probe_end_error(weir_probe_replica(source->probe, r), status);
}

static void switch_off(world *w)
{
    weir_status status = one_in(w, 2) ? WEIR_OK : WEIR_EUNAVAILABLE;
    world_say(w, "- the switch goes off");
    w->was_stopped = true;
    if (w->off == NULL)
        return;
    if (one_in(w, 3))
        weir_switch_abort(w->off);
    else
        weir_switch_off(w->off, status);
}

static void rare_step(world *w)
{
    weir_shutdown how = (weir_shutdown)roll(w, 3);
    switch (roll(w, 9)) {
    case 0:
        world_say(w, "- a sink cancels");
        w->was_stopped = true;
        if (w->n_sinks > 0)
            weir_probe_cancel(any_sink(w));
        break;
    case 1:
        world_say(w, "- a source ends");
        end_source(w, &w->sources[roll(w, w->n_sources)], one_in(w, 3) ? WEIR_EIO : WEIR_OK);
        break;
    case 2:
        if (!one_in(w, 3))
            break;
        world_say(w, "- shutdown %d", (int)how);
        w->was_stopped = true;
        weir_pipeline_shutdown(w->pipeline, how, roll(w, 30));
        break;
    case 3:
        world_say(w, "- a context is cancelled");
        w->was_stopped = true;
        weir_context_cancel(&w->contexts[roll(w, w->loops)][roll(w, WORLD_CONTEXTS)],
                            WEIR_ECANCELED);
        break;
    case 4:
        if (one_in(w, 2))
            switch_off(w);
        break;
    default:
        if (w->has_faults)
            weir_testkit_fault(w->kit, (weir_fault)roll(w, WEIR_FAULT_ACK_LOST), 1 + roll(w, 60));
    }
}

static void step(world *w)
{
    if (weir_pipeline_is_finished(w->pipeline))
        return;
    if (w->changes && one_in(w, 4))
        world_change(w);
    if (w->hub != NULL && one_in(w, 5))
        world_hub_step(w);
    switch (roll(w, 12)) {
    case 0:
    case 1:
    case 2:
    case 3:
        feed(w);
        break;
    case 4:
    case 5:
    case 6:
        if (w->n_sinks > 0)
            weir_probe_request(any_sink(w), 1 + roll(w, one_in(w, 3) ? 100 : 6));
        break;
    case 7:
    case 8:
    case 9:
        (void)weir_testkit_advance(w->kit, roll(w, 20) * WEIR_MS);
        break;
    case 10:
        (void)weir_testkit_settle(w->kit);
        break;
    default:
        rare_step(w);
    }
}

/* ---- The end ---- */

static bool is_over(const world *w)
{
    return weir_testkit_violations(w->kit) != 0 || w->why[0] != '\0' ||
           (weir_pipeline_is_finished(w->pipeline) && world_consumers_are_over(w));
}

static void ask_all(world *w, bool bounded)
{
    for (uint32_t i = 0; i < w->n_sinks; i++)
        for (uint32_t r = 0; r < w->replicas; r++)
            weir_probe_request(weir_probe_replica(w->sinks[i].probe, r),
                               bounded ? 1 + roll(w, 50) : WEIR_UNBOUNDED);
}

static uint64_t progress(const world *w)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < weir_pipeline_stages(w->pipeline); i++) {
        weir_stage_stats stats;
        if (weir_pipeline_stage_stats(w->pipeline, i, &stats) == WEIR_OK)
            sum += stats.items_in + stats.items_out + stats.failed + stats.retried;
    }
    for (uint32_t i = 0; i < w->n_consumers; i++) {
        weir_stage_stats stats;
        if (weir_pipeline_stage_stats(w->consumers[i], 1, &stats) == WEIR_OK)
            sum += stats.items_in;
    }
    return sum;
}

static void advance_to_the_end(world *w, bool asks_on)
{
    uint64_t before = progress(w);
    for (uint32_t round = 0; round < OVER_ROUNDS && !is_over(w); round++) {
        uint64_t now = progress(w);
        round = now == before ? round : 0;
        before = now;
        if (asks_on) /* a probe without memory tries again when it is asked */
            for (uint32_t s = 0; s < w->n_sources; s++)
                end_source(w, &w->sources[s], WEIR_OK);
        if (asks_on || w->n_consumers != 0) /* what the hub has queued for them holds it up */
            ask_all(w, true);
        (void)weir_testkit_advance(w->kit, (round < 20 ? 7 : 250) * WEIR_MS);
    }
}

/* By itself, when the sources have ended and all is asked for; otherwise it is made to. */
static void finish(world *w)
{
    uint32_t how = roll(w, 4);
    if (how == 0 || (w->may_hang && how > 1)) {
        w->was_stopped = true;
        world_say(w, "- abort");
        weir_pipeline_shutdown(w->pipeline, WEIR_ABORT, 0);
    } else if (how == 1) {
        w->was_stopped = true;
        world_say(w, "- drain");
        weir_pipeline_shutdown(w->pipeline, one_in(w, 2) ? WEIR_HYBRID : WEIR_DRAIN,
                               WORLD_DRAIN_MS);
        ask_all(w, true);
    } else {
        world_say(w, "- to the end");
        if (how == 2)
            ask_all(w, false);
    }
    advance_to_the_end(w, how > 1 && !w->may_hang);
    if (w->has_faults && weir_pipeline_is_finished(w->pipeline)) {
        world_hub_abort(w);
        advance_to_the_end(w, false);
    }
    if (!is_over(w))
        world_wrong(w, "it did not come to its end (%s)",
                    how == 0   ? "aborted"
                    : how == 1 ? "drained"
                               : "by itself");
}

static void set_faults(world *w, weir_testkit_config *config)
{
    static const uint32_t rates[WEIR_FAULT_ACK_LOST] = {
        [WEIR_FAULT_CALLBACK] = 100,    [WEIR_FAULT_OPEN] = 10000,
        [WEIR_FAULT_ALLOCATION] = 1000, [WEIR_FAULT_TIMER_LATE] = 100000,
        [WEIR_FAULT_CLOCK_JUMP] = 5000, [WEIR_FAULT_LOOP_STALL] = 5000,
        [WEIR_FAULT_CANCEL] = 200,      [WEIR_FAULT_ACK_LATE] = 100000,
    };
    for (uint32_t i = 0; i < WEIR_FAULT_ACK_LOST; i++)
        if (one_in(w, 3))
            config->faults_ppm[i] = rates[i];
}

static void open_world(world *w, uint64_t seed, const sim_options *options)
{
    w->options = options;
    w->dice = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
    w->loops = 1 + roll(w, WORLD_LOOPS_MAX);
    if (options->loops != 0)
        w->loops = options->loops;
    bool half = one_in(w, 2);
    w->has_faults = options->faults == SIM_FAULTS_ON ||
                    (options->faults == SIM_FAULTS_MIXED && half);
    weir_testkit_config config = { .loops = w->loops,
                                   .seed = seed,
                                   .shuffle = true,
                                   .job_us_max = 3000,
                                   .log = options->log,
                                   .user = options->user };
    if (w->has_faults)
        set_faults(w, &config);
    w->item_bytes_max = one_in(w, 3) ? 100 + roll(w, 300) : 0;
    w->kit = weir_testkit_new_with(&config);
    w->pipeline = weir_pipeline_new(&(weir_pipeline_config){
        .env = weir_testkit_env(w->kit),
        .no_fuse = one_in(w, 2),
        .window = 1 + roll(w, 32),
        .item_bytes_max = w->item_bytes_max,
        .drain_ms_max = WORLD_DRAIN_MS,
    });
    w->was_stopped = w->pipeline == NULL;
    w->off = weir_switch_new(weir_testkit_env(w->kit));
    for (uint32_t i = 0; i < w->loops; i++)
        for (uint32_t c = 0; c < WORLD_CONTEXTS; c++)
            weir_context_init(&w->contexts[i][c], weir_testkit_loop(w->kit, i), NULL,
                              one_in(w, 2) ? weir_testkit_now(w->kit) + roll(w, 200) * WEIR_MS : 0);
}

static void play(world *w)
{
    weir_status status = weir_testkit_start(w->kit, w->pipeline);
    if (status != WEIR_OK) {
        world_wrong(w, "it does not start: %s", weir_pipeline_why(w->pipeline));
        return;
    }
    for (int i = 0; i < STEPS && !is_over(w); i++)
        step(w);
    if (!is_over(w))
        finish(w);
    if (weir_testkit_violations(w->kit) == 0)
        w->was_stopped |= weir_pipeline_status(w->pipeline) != WEIR_OK;
    if (weir_testkit_violations(w->kit) == 0 && w->why[0] == '\0' &&
        weir_testkit_expect_clean(w->kit))
        world_account(w);
}

bool sim_run(uint64_t seed, const sim_options *options, sim_result *ret_result)
{
    world *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    open_world(w, seed, options);
    world_build(w);
    play(w);
    *ret_result = (sim_result){ .trace = weir_testkit_trace(w->kit),
                                .steps = weir_testkit_steps(w->kit) };
    if (weir_testkit_violations(w->kit) != 0)
        snprintf(w->why, sizeof w->why, "%s", weir_testkit_why(w->kit));
    if (w->why[0] == '\0') {
        weir_pipeline_free(w->pipeline);
        weir_switch_free(w->off);
        world_hub_free(w);
        size_t leaked = weir_testkit_free(w->kit);
        if (leaked != 0)
            world_wrong(w, "%zu bytes were not freed", leaked);
    } /* else: it is in no state to be freed */
    snprintf(ret_result->why, sizeof ret_result->why, "%s", w->why);
    free(w);
    return ret_result->why[0] == '\0';
}
