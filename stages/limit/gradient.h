/* Gradient2: how many at once, from how long they take. */
#ifndef WI_GRADIENT_H
#define WI_GRADIENT_H

#include <stdbool.h>
#include <stdint.h>

/* Netflix, concurrency-limits, Gradient2Limit: https://github.com/Netflix/concurrency-limits. With
 * a baseline that is measured anew at the lowest limit, as its predecessor and Envoy's gradient
 * controller do, for under steady load a moving baseline drifts. */
typedef struct wi_gradient {
    double limit_min, limit_max, slack, tolerance, smoothing;
    uint32_t baseline_n, probe_windows; /* 0: no probes */
    /* its own, from here on */
    double limit, baseline;
    uint32_t n, windows;
    enum { WI_GRADIENT_STEADY, WI_GRADIENT_DRAINS, WI_GRADIENT_MEASURES } phase;
} wi_gradient;

/* A window's figures. */
typedef struct wi_gradient_window {
    double time;      /* mean of the items that ended well */
    uint64_t n, lost; /* those, and those that say that there were too many */
    uint64_t peak;    /* most in use */
    uint32_t jitter;  /* random, for the time of the next probe */
} wi_gradient_window;

/* Takes a window in; gives the limit from now on. */
double wi_gradient_step(wi_gradient *gradient, const wi_gradient_window *window);

#endif
