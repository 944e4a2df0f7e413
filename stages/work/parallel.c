/* parallel: wires several copies of a stage between one that shares out and one that collects. */
#include "ordered.h"

#include <weir/pipeline.h>

enum { COPIES_DEFAULT = 4, IN_FLIGHT_OF_COPY = 64, IN_FLIGHT_MAX = 65536 };

/* ---- What stands in the chain when nothing can ---- */

static weir_status refused_check(const void *config, const char **why)
{
    *why = *(const char *const *)config;
    return WEIR_EINVAL;
}

static const weir_stage_type refused_type = { .name = "parallel",
                                              .config_size = sizeof(const char *),
                                              .check = refused_check };

static const char *fault_of(const weir_parallel_config *c)
{
    return c == NULL || c->stage == NULL  ? "needs a function that gives the copies"
           : c->copies > WI_COPIES_MAX    ? "has 1 to 63 copies"
           : c->in_flight > IN_FLIGHT_MAX ? "in_flight is at most 65536"
                                          : NULL;
}

/* ---- Wiring ---- */

/* Links copy `i` between `from` and `to`, whose first `port` ports are not for copies. */
static void wire_copy(weir_pipeline *p, const weir_parallel_config *c, uint32_t i, weir_node *from,
                      weir_node *to, uint32_t port)
{
    weir_node *copy = weir_add(p, c->stage(i, c->user));
    weir_link(from, port + i, copy, 0, c->edge);
    weir_link(copy, 0, to, port + i, c->edge);
    if (c->loops != 0)
        weir_node_place(copy, c->first_loop + i % c->loops);
    if (c->wired != NULL)
        c->wired(copy, i, c->user);
}

weir_node *weir_parallel(weir_pipeline *pipeline, const weir_parallel_config *config)
{
    const char *why = fault_of(config);
    if (why != NULL)
        return weir_via(pipeline, weir_stage_of(&refused_type, &why));
    weir_parallel_config c = *config;
    c.copies = c.copies != 0 ? c.copies : COPIES_DEFAULT;
    wi_ordered_config ordered = { .copies = c.copies, .in_flight = c.in_flight };
    if (ordered.in_flight == 0)
        ordered.in_flight = c.copies * IN_FLIGHT_OF_COPY;
    weir_node *from = weir_via(pipeline, c.unordered ? weir_balance() : wi_scatter(&ordered));
    weir_node *to = weir_add(pipeline, c.unordered ? weir_merge() : wi_collect(&ordered));
    if (!c.unordered)
        weir_link(from, 0, to, 0, &(weir_edge_config){ .window = ordered.in_flight });
    if (c.loops != 0) {
        weir_node_place(from, c.loop);
        weir_node_place(to, c.loop);
    }
    for (uint32_t i = 0; i < c.copies; i++)
        wire_copy(pipeline, &c, i, from, to, c.unordered ? 0 : 1);
    weir_at(pipeline, to);
    return to;
}
