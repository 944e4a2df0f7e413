/* The stage library: ready-made stages, each built on the public headers alone.
 *
 * Common to all, unless an entry says otherwise:
 *   demand    asked of the input is never more than what is asked of the output. Entries that ask
 *             ahead say by how much; what came ahead is held inside, within that limit.
 *   order     is that of arrival.
 *   end       and error of the input follow what is held: it is emitted as demand comes, then the
 *             output ends the same way.
 *   cancel    of the output ends what is held as aborted and cancels the input. So does an abort.
 *   failing   an item is weir_fail: what becomes of it is the node's error policy. What that policy
 *             tries again comes on top of what was asked for; where there is no room for it, it
 *             fails with WEIR_ELIMIT.
 *   rejecting an item ends it as rejected. Where it is weir_reject, the entry says so: then it goes
 *             the way of dead letters, if the node has one.
 *   change    of settings while it runs (weir_pipeline_change) is refused, unless an entry says
 *             what can change.
 *   memory    is taken when the stage opens; none per item, but for the items that a stage makes.
 *   figures   of a config that are 0 stand for a default, which their comments give. Times are in
 *             _ms; those that set the pace of items (batches, windows, ticks) in _us.
 *   user      pointers are borrowed, shared by all replicas, and not synchronised by weir.
 *
 * Each factory gives a spec for weir_from, weir_via, weir_into or weir_add, who take it, or NULL
 * for want of memory (which they latch as WEIR_ENOMEM). Configs are copied; their faults are found
 * by weir_pipeline_check. Factories: any thread. User functions: the stage's loop thread; they may
 * not block, emit or request. */
#ifndef WEIR_STAGES_H
#define WEIR_STAGES_H

#include <weir/stages_fan.h>
#include <weir/stages_group.h>
#include <weir/stages_items.h>
#include <weir/stages_limit.h>
#include <weir/stages_work.h>

#endif
