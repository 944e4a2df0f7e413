/* The steps of an adaptive limit: plain arithmetic, window by window. */
#include "gradient.h"

enum { WARM_UP = 10 };

static double clamp(double value, double least, double most)
{
    return value < least ? least : value > most ? most : value;
}

/* A plain mean at first, an exponential one later. */
static void learn(wi_gradient *g, double time)
{
    g->n += g->n < WARM_UP;
    double factor = g->n < WARM_UP ? 1.0 / g->n : 2.0 / (g->baseline_n + 1.0);
    g->baseline += (time - g->baseline) * factor;
    if (g->baseline > 2 * time) /* back from a long time of load: sooner than by the mean */
        g->baseline *= 0.95;
}

static bool is_probe_due(wi_gradient *g, uint32_t jitter)
{
    if (g->probe_windows == 0 || ++g->windows < g->probe_windows)
        return false;
    g->windows = jitter % (g->probe_windows / 4 + 1);
    return g->n >= WARM_UP;
}

static double move(wi_gradient *g, double wanted)
{
    g->limit = clamp(wanted, g->limit_min, g->limit_max);
    return g->limit;
}

double wi_gradient_step(wi_gradient *g, const wi_gradient_window *w)
{
    if (w->lost * 10 >= w->n + w->lost) {
        g->phase = WI_GRADIENT_STEADY;
        return move(g, g->limit * 0.9);
    }
    if (g->phase == WI_GRADIENT_DRAINS) {
        g->phase = WI_GRADIENT_MEASURES;
        return g->limit_min;
    }
    if (g->phase == WI_GRADIENT_MEASURES) {
        g->phase = WI_GRADIENT_STEADY;
        g->baseline = w->time;
        return g->limit;
    }
    learn(g, w->time);
    if (is_probe_due(g, w->jitter)) {
        g->phase = WI_GRADIENT_DRAINS;
        return g->limit_min;
    }
    if ((double)w->peak < g->limit / 2)
        return g->limit; /* the limit was not what held it back */
    double gradient = clamp(g->tolerance * g->baseline / w->time, 0.5, 1);
    double wanted = g->limit * gradient + g->slack;
    return move(g, g->limit + (wanted - g->limit) * g->smoothing);
}
