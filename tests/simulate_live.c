/* Changes of a running graph, at moments that the seed chooses. */
#include <stdio.h>
#include <string.h>

#include "simulate_world.h"

/* ---- Being told ---- */

static void told(weir_pipeline *pipeline, weir_status status, const char *why, void *user)
{
    world *w = user;
    (void)pipeline;
    w->changes_told++;
    world_say(w, "- a change is over: %s %s", weir_status_name(status), why);
}

static void note(world *w, weir_status status, const char *what, const char *stage, const char *why)
{
    world_say(w, "- %s of %s: %s %s", what, stage, weir_status_name(status),
              status != WEIR_OK ? why : "");
    w->changes_taken += status == WEIR_OK;
}

/* ---- What changes ---- */

static void change_window(world *w, const world_node *node, const char *stage)
{
    weir_on_changed on_changed = { told, w };
    const char *why;
    uint32_t input = roll(w, node->inputs), most = node->window_max != 0 ? node->window_max : 8;
    weir_status status = weir_pipeline_set_window(w->pipeline, stage, input, 1 + roll(w, most),
                                                  &on_changed, &why);
    note(w, status, "a window", stage, why);
}

/* One that keeps the order that was promised at the start: retries only where there were some, dead
 * letters only where they lead somewhere. */
static void change_policy(world *w, const world_node *node, const char *stage)
{
    weir_on_changed on_changed = { told, w };
    const char *why;
    weir_error_policy policy = world_policy(w);
    if (policy.on_error == WEIR_ON_ERROR_RETRY && !node->retries)
        policy.on_error = WEIR_ON_ERROR_SKIP;
    weir_status status = weir_pipeline_set_policy(w->pipeline, stage, &policy, &on_changed, &why);
    note(w, status, "the policy", stage, why);
}

static void change_settings(world *w, const world_node *node, const char *stage)
{
    weir_on_changed on_changed = { told, w };
    weir_batch_config batch = { .count = 1 + roll(w, 5), .wait_us = 500 };
    weir_buffer_config buffer = { .items_max = 1 + roll(w, 10) };
    weir_rate_limit_config rate = { .rate = 1000 * (1 + roll(w, 100)), .burst = 1 + roll(w, 8) };
    weir_async_options later = { 0 };
    const void *config = NULL;
    size_t bytes = 0;
    const char *why;
#define TAKE(from) config = &(from), bytes = sizeof(from)
    if (node->own == OWN_BATCH)
        TAKE(batch);
    else if (node->own == OWN_BUFFER)
        TAKE(buffer);
    else if (node->own == OWN_LATER)
        later = world_async_options(w, node), TAKE(later);
    else if (node->row != NULL && strcmp(node->row->name, "rate_limit_shapes") == 0)
        TAKE(rate);
    else
        return;
#undef TAKE
    weir_status status = weir_pipeline_change(w->pipeline, stage, config, bytes, &on_changed, &why);
    note(w, status, "the settings", stage, why);
}

/* They have tickets in what flows below, and so the old one ends when that has ended: which may
 * wait for more to come through it. */
static bool waits_for_what_is_below(const world_node *node)
{
    static const char *const names[] = { "semaphore_", "adaptive_", "breaker_", "timeout_",
                                         "dedup_forgets" };
    if (node->own == OWN_SEMAPHORE)
        return true;
    for (size_t i = 0; node->row != NULL && i < sizeof names / sizeof *names; i++)
        if (strncmp(node->row->name, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Another of its kind, so that what it promises stays. */
static void swap(world *w, const world_node *node, const char *stage)
{
    weir_on_changed on_changed = { told, w };
    world_node other = *node;
    const char *why;
    if (waits_for_what_is_below(node))
        return;
    if (node->own == OWN_PASS || node->own == OWN_BUFFER)
        other.own = one_in(w, 2) ? OWN_PASS : OWN_BUFFER;
    if (node->own == OWN_FIFTHS || node->own == OWN_FOURTHS)
        other.own = one_in(w, 2) ? OWN_FIFTHS : OWN_FOURTHS;
    weir_stage_spec *spec = node->row != NULL ? node->row->make() : world_own_stage(w, &other);
    weir_status status = weir_pipeline_swap(w->pipeline, stage, spec, &on_changed, &why);
    note(w, status, "a swap", stage, why);
}

void world_change(world *w)
{
    uint32_t index = roll(w, w->n_nodes);
    world_node *node = &w->nodes[index];
    weir_stage_stats stats;
    bool is_probe = node->row == NULL && node->own == OWN_NONE;
    uint32_t what = roll(w, 4);
    if (weir_pipeline_stage_stats(w->pipeline, index, &stats) != WEIR_OK)
        return;
    if (what == 0 && node->inputs != 0)
        change_window(w, node, stats.name);
    else if (what == 1 && !is_probe)
        change_policy(w, node, stats.name);
    else if (what == 2)
        change_settings(w, node, stats.name);
    else if (what == 3 && !is_probe)
        swap(w, node, stats.name);
}
