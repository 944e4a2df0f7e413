/* Permits whose number follows the time that items take: what the replicas see, and a step of the
 * limit each window. */
#ifndef WI_FEEDBACK_H
#define WI_FEEDBACK_H

#include "gradient.h"
#include "permits.h"

/* What one replica has seen since the start; written by its loop alone. */
typedef struct wi_tally {
    _Atomic uint64_t time_ns, n, lost, peak;
    char apart[32];
} wi_tally;

/* Of all replicas. */
typedef struct wi_feedback {
    wi_permits permits;
    pthread_mutex_t lock; /* of the gradient, and of what was taken in */
    _Atomic uint64_t step_at, time_ns, baseline_ns;
    uint64_t window_ns, time_seen, n_seen, lost_seen;
    wi_gradient gradient;
    uint32_t replicas;
    wi_tally tallies[];
} wi_feedback;

/* NULL for want of memory. */
wi_feedback *wi_feedback_new(const weir_env *env, const wi_gradient *gradient, uint64_t window_ns,
                             uint32_t replicas);
void wi_feedback_free(wi_feedback *feedback);
/* `n` items ended, `took_ns` after they passed, or were lost to overload. By replica. */
void wi_feedback_took(wi_feedback *feedback, uint32_t replica, uint64_t n, uint64_t took_ns);
void wi_feedback_lost(wi_feedback *feedback, uint32_t replica, uint64_t n);
/* Once for all that ended in a turn: notes what is in use, and makes a step if the window is over
 * and enough has ended in it. */
void wi_feedback_settle(wi_feedback *feedback, uint32_t replica, weir_loop *loop);

#endif
