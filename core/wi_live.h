/* Changes to a running pipeline: what is on its way from replica to replica. */
#ifndef WI_LIVE_H
#define WI_LIVE_H

#include "wi_core.h"

/* A config that came later than the spec's. Held by the node, the replicas and changes. */
struct wi_setting {
    const weir_env *env;
    atomic_uint holds;
    void *config;
};

typedef enum wi_live_result {
    WI_LIVE_DONE,
    WI_LIVE_GONE, /* this replica ends as it is */
    WI_LIVE_WAITS /* wi_live_step_done will be called */
} wi_live_result;

/* One change. It visits one replica after the other, so that one task serves them all, a replica
 * that fails is known before the next is touched, and every other goes on meanwhile. */
struct wi_live {
    weir_pipeline *pipeline;
    weir_node *node;
    wi_live *next;
    weir_task task;
    weir_on_changed on_changed;
    uint32_t replica; /* where it is */
    bool active, undoing, any;
    weir_status status;
    const char *why;
    /* Does it at one replica that is open, on its loop. */
    wi_live_result (*apply)(wi_live *live, weir_stage *stage, weir_status *status);
    /* Takes what belongs to the change: it is over, or was refused. */
    void (*done)(wi_live *live);
    bool can_undo;      /* if a replica fails, `apply` is called again for those before it */
    bool is_structural; /* may unfuse: one at a time */
    bool keep;          /* what belongs to it is in use until the pipeline has ended */

    wi_setting *setting, *before;
    const weir_stage_spec *made_for;
    const void *config_before;

    uint32_t link, window;

    weir_error_policy policy;
    wi_retry **retries; /* per replica */

    weir_stage_spec *spec; /* the new one; the old one once it is accepted, as `shared` */
    const weir_stage_spec *spec_new;
    const weir_stage_type *type;
    void *shared, *shared_new;
    void **states; /* per replica */
    bool told_end;
    bool leaves; /* `left`, the old one's state, is still to be freed at this replica */
    void *left;
    weir_status left_status;
    weir_timer late;    /* it waits at a replica */
    bool answered;      /* under the pipeline's lock: told as late, and never again */
    weir_stage *target; /* the stage whose head in a fused chain has this as its swap */
};

/* Gives a change of the stage named so, not yet under way. */
weir_status wi_live_new(weir_pipeline *p, const char *stage, const weir_on_changed *on_changed,
                        wi_live **ret_live, const char **why);
/* Takes it, and what belongs to it. */
void wi_live_free(wi_live *live);
/* Of a swap that was accepted, and came too late for every replica. */
void wi_swap_take_back(wi_live *live);
/* Both under the pipeline's lock: may there be a change now; then, that it is under way. */
weir_status wi_live_admit(const wi_live *live, const char **why);
void wi_live_enqueue(wi_live *live);
/* A replica that waited is through with it. On its loop, beneath no callback. */
void wi_live_step_done(wi_live *live, wi_live_result result, weir_status status, const char *why);
/* It waits at `stage`, on its loop, or no more: who made it, or one behind it, is told if that
 * lasts.
 */
void wi_live_waits(wi_live *live, weir_stage *stage);
void wi_live_waits_no_more(wi_live *live, weir_stage *stage);
/* The new stage is in its place, and `left` is the state of the old one, which has closed. Takes
 * it: it goes behind the tasks that were posted to it, and then this replica is through. */
void wi_live_leave(wi_live *live, weir_stage *stage, void *left, weir_status status);

/* Makes a fused chain stages of their own again, when it may be; then applies the change again. */
wi_live_result wi_live_unfuse(wi_live *live, weir_stage *stage);
static inline bool wi_stage_is_fused(const weir_stage *stage)
{
    return stage->exec != stage || stage->fused_next != NULL;
}

#endif
