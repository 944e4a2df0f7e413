/* Stages that limit: how fast, how many at once, how long, and how often it may fail.
 *
 * What is common to all stages of the library stands in <weir/stages.h>. */
#ifndef WEIR_STAGES_LIMIT_H
#define WEIR_STAGES_LIMIT_H

#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Pace ---- */

typedef struct weir_rate_limit_config {
    uint64_t rate;      /* tokens that come in a period, 1..1,000,000,000; required */
    uint32_t period_ms; /* up to a day; 0: 1000 */
    uint64_t burst;     /* tokens the bucket holds, 1..1,000,000,000, filled within a year;
                           0: a tenth of `rate`, or 1 */
    /* Tokens that an item takes, borrowed; 0 is free. NULL: 1 each. One that costs more than
     * `burst` waits for a full bucket and leaves it in debt. */
    uint32_t (*cost)(const weir_item *item, void *user);
    void *user;
    bool enforce;       /* reject what comes too fast; default: withhold demand */
    weir_status status; /* of what is rejected; 0: WEIR_EOVERLOAD */
} weir_rate_limit_config;

/* A token bucket, full at the start; one for all replicas of the node, whatever loop they are on.
 *   demand    shaping: at most the tokens there are, and 64; items that find no token after all
 *             (cost, another replica) are held. Enforcing: as asked of the output; what finds no
 *             token ends as rejected, with `status`, and another is asked for.
 * Counted as GCRA counts cells (ITU-T I.371, annex A): in any interval at most burst and what
 * comes in it. A token's time is rounded up to 1/64 ns.
 *   change    of all but `enforce` (weir_pipeline_change). The tokens that the bucket lacks it
 * lacks still, and they come at the new rate. */
WEIR_API weir_stage_spec *weir_rate_limit(const weir_rate_limit_config *config);

#ifdef __cplusplus
}
#endif
#endif
