/* Rows of <weir/stages_limit.h>. */
#include "table.h"

static weir_stage_spec *rate_limit_shapes(void)
{
    return weir_rate_limit(&(weir_rate_limit_config){ .rate = 100000, .burst = 8 });
}

static weir_stage_spec *rate_limit_rejects(void)
{
    return weir_rate_limit(&(weir_rate_limit_config){ .rate = 100000, .burst = 8, .reject = true });
}

/* More than any stage below keeps together, a batch say. */
static weir_stage_spec *semaphore_holds(void)
{
    return weir_semaphore(&(weir_semaphore_config){ .permits = 4096 });
}

static weir_stage_spec *semaphore_rejects(void)
{
    return weir_semaphore(&(weir_semaphore_config){ .permits = 4, .reject = true });
}

static weir_stage_spec *adaptive_limit_holds(void)
{
    return weir_adaptive_limit(
        &(weir_adaptive_limit_config){ .limit_min = 4096, .limit_max = 4096, .window_ms = 1 });
}

static weir_stage_spec *adaptive_limit_rejects(void)
{
    return weir_adaptive_limit(
        &(weir_adaptive_limit_config){ .limit = 4, .window_ms = 1, .reject = true });
}

/* They trip when the stages below fail items, or the source is cut off. However often they do, they
 * stay shut for no longer than a test waits, and so it is with probes that a window below keeps. */
static weir_stage_spec *breaker_rejects(void)
{
    return weir_breaker(&(weir_breaker_config){
        .window_calls = 20, .open_ms = 10, .open_ms_max = 80, .probe_ms = 100 });
}

static weir_stage_spec *breaker_holds(void)
{
    return weir_breaker(&(weir_breaker_config){
        .window_ms = 100, .open_ms = 10, .open_ms_max = 80, .probe_ms = 100, .hold = true });
}

static weir_stage_spec *timeout_of_items(void)
{
    return weir_timeout(&(weir_timeout_config){ .timeout_ms = 60000 });
}

static weir_stage_spec *timeout_of_idleness(void)
{
    return weir_timeout(&(weir_timeout_config){ .idle_ms = 86400000, .idle_ends = true });
}

static weir_status keep(const weir_item *item, const weir_failure *failure, void *user)
{
    (void)item;
    (void)user;
    return failure->tries > 0 ? WEIR_OK : WEIR_EINTERNAL;
}

static weir_stage_spec *dead_letter(void)
{
    return weir_dead_letter(keep, NULL);
}

static weir_status as_it_is(weir_loop *loop, weir_item *item, const weir_failure *failure,
                            void *user, weir_item **ret_made)
{
    (void)loop;
    (void)item;
    (void)failure;
    (void)user;
    (void)ret_made;
    return WEIR_OK;
}

static weir_stage_spec *fallback(void)
{
    return weir_fallback(as_it_is, NULL);
}

/* Never off, and there as long as the program. */
static weir_stage_spec *switch_stays_on(void)
{
    static weir_switch *on;
    if (on == NULL)
        on = weir_switch_new(NULL);
    return weir_switch_stage(on);
}

const stage_row stage_rows_limit[] = {
    { "rate_limit_shapes", rate_limit_shapes, 1, 1, STAGE_PASSES | STAGE_ORDERED | STAGE_TIMED },
    { "rate_limit_rejects", rate_limit_rejects, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "semaphore_holds", semaphore_holds, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "semaphore_rejects", semaphore_rejects, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "adaptive_limit_holds", adaptive_limit_holds, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "adaptive_limit_rejects", adaptive_limit_rejects, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "breaker_rejects", breaker_rejects, 1, 1, STAGE_DROPS | STAGE_ORDERED },
    { "breaker_holds", breaker_holds, 1, 1, STAGE_PASSES | STAGE_ORDERED | STAGE_TIMED },
    { "timeout_of_items", timeout_of_items, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { "timeout_of_idleness", timeout_of_idleness, 1, 1, STAGE_PASSES | STAGE_ORDERED | STAGE_ENDS },
    { "dead_letter", dead_letter, 2, 0, STAGE_DROPS },
    { "fallback", fallback, 2, 1, STAGE_PASSES | STAGE_DROPS | STAGE_ORDERED },
    { "switch_stays_on", switch_stays_on, 1, 1, STAGE_PASSES | STAGE_ORDERED },
    { 0 },
};
