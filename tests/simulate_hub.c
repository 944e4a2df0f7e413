/* A hub at one end of a graph, and pipelines that join and leave it while it runs. */
#include "simulate_world.h"

bool world_hub_end(world *w, const route *routes)
{
    weir_hub_config config = { .outlets_max = 1 + roll(w, WORLD_CONSUMERS_MAX),
                               .asked_max = 1 + roll(w, 20),
                               .alone_drops = true };
    if (w->hub != NULL || !one_in(w, 6))
        return false;
    w->hub = weir_hub_new(weir_testkit_env(w->kit), &config);
    if (w->hub == NULL)
        return false;
    for (uint32_t s = 0; s < w->n_sources; s++)
        w->hub_routes[s] = routes[s];
    w->swallows = true; /* it may have nobody, or those who miss some */
    w->all_pass = false;
    return true;
}

/* On one loop: it gets every item once. */
static weir_pipeline *consumer_of(world *w, world_sink *sink)
{
    weir_outlet_config config = { .slow = (weir_hub_slow)roll(w, 3), .window = 1 + roll(w, 8) };
    uint32_t place = roll(w, w->loops);
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){
        .name = "consumer",
        .env = weir_testkit_env(w->kit),
        .window = 1 + roll(w, 8),
        .drain_ms_max = WORLD_DRAIN_MS,
    });
    weir_node_place(weir_from(p, weir_from_hub(w->hub, &config)), place);
    weir_node_place(weir_into(p, weir_probe_sink(sink->probe)), place);
    world_say(w, "- joins the hub as sink %u, loop %u: slow %d, window %u", sink->index, place,
              (int)config.slow, config.window);
    return p;
}

static void join(world *w)
{
    if (w->n_consumers == WORLD_CONSUMERS_MAX || w->n_sinks == WORLD_SINKS_MAX)
        return;
    world_sink *sink = &w->sinks[w->n_sinks];
    sink->world = w;
    sink->index = w->n_sinks;
    sink->probe = weir_testkit_probe(w->kit);
    weir_probe_look(sink->probe, world_arrived, sink);
    for (uint32_t s = 0; s < w->n_sources; s++)
        sink->from[s] = w->hub_routes[s];
    weir_pipeline *p = consumer_of(w, sink);
    w->n_sinks++;
    if (weir_testkit_start(w->kit, p) == WEIR_OK)
        w->consumers[w->n_consumers++] = p;
    else
        weir_pipeline_free(p);
}

void world_hub_step(world *w)
{
    uint32_t which = roll(w, WORLD_CONSUMERS_MAX);
    if (w->hub == NULL)
        return;
    if (which >= w->n_consumers) {
        join(w);
        return;
    }
    weir_shutdown how = (weir_shutdown)roll(w, 3);
    world_say(w, "- consumer %u leaves: shutdown %d", which, (int)how);
    weir_pipeline_shutdown(w->consumers[which], how, roll(w, 30));
}

bool world_consumers_are_over(const world *w)
{
    for (uint32_t i = 0; i < w->n_consumers; i++)
        if (!weir_pipeline_is_finished(w->consumers[i]))
            return false;
    return true;
}

/* A hub whose producer could not open is not over, and its consumers wait. */
void world_hub_abort(world *w)
{
    for (uint32_t i = 0; i < w->n_consumers; i++)
        weir_pipeline_shutdown(w->consumers[i], WEIR_ABORT, 0);
}

void world_hub_free(world *w)
{
    for (uint32_t i = 0; i < w->n_consumers; i++)
        weir_pipeline_free(w->consumers[i]);
    weir_hub_free(w->hub);
}
