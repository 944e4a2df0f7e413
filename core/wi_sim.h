/* What a loop of the testkit does differently: chances to choose, and a look after every step.
 * Every call stands behind `loop->kit != NULL`, which is false for every other loop. */
#ifndef WI_SIM_H
#define WI_SIM_H

#include "wi_core.h"

typedef enum wi_step { WI_STEP_VISIT, WI_STEP_TASK, WI_STEP_TIMER, WI_STEP_FLUSH } wi_step;

/* Brings the stage to the front of the ready queue whose turn the seed says it is. */
void wi_sim_pick(weir_loop *loop);
/* True: what could be looked at now is looked at in a later turn. */
bool wi_sim_puts_off(weir_loop *loop);
/* The due timer that fires next; NULL: the rest fires late. */
weir_timer *wi_sim_timer(weir_loop *loop);
/* Publishes some of what there is to publish; the rest stays noted. */
void wi_sim_publish(weir_loop *loop);
/* A stage asked for `n` more. */
void wi_sim_asked(weir_in *in, uint64_t n);
/* What was asked for and not granted was taken back. */
void wi_sim_forgot(weir_in *in);
/* Another stage is in its place; it has not opened yet. */
void wi_sim_swapped(weir_stage *stage);
/* After a visit of `stage`, or (NULL) a task, a timer, a flush of credit kept back. */
void wi_sim_after(weir_loop *loop, wi_step step, weir_stage *stage);
/* The time that a job of a pool waits, or takes; 0: pools have threads. */
uint64_t wi_sim_job_ns(const weir_env *env);
/* The kit that an env is of, or NULL. */
struct weir_testkit *wi_sim_kit_of(const weir_env *env);
/* A pipeline was made with the kit's env, or is about to be freed. */
void wi_sim_made(struct weir_testkit *kit, weir_pipeline *pipeline);
void wi_sim_freed(struct weir_testkit *kit, weir_pipeline *pipeline);
/* A stage broke the contract. True: the kit reports it, so that the process need not end. */
bool wi_sim_reports(const weir_loop *loop, const weir_stage *stage, const char *what);

#endif
