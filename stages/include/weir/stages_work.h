/* Stages that work on many items at once: asynchronous, in threads, in processes.
 *
 * What is common to all stages of the library stands in <weir/stages.h>. */
#ifndef WEIR_STAGES_WORK_H
#define WEIR_STAGES_WORK_H

#include <weir/async.h>
#include <weir/stage.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Asynchronous ---- */

enum { WEIR_ASYNC_FN_WORK_BYTES = 64 };

typedef struct weir_async_fn_config {
    const char *name; /* for metrics; copied; NULL: "async" */
    /* Starts work on op->item; weir_op_done, _done_consumed or _done_from ends it, once, now or
     * later. op->work is WEIR_ASYNC_FN_WORK_BYTES of your own, zeroed at first, kept from use to
     * use of the slot. Required. */
    void (*start)(weir_op *op, void *user);
    /* Timed out or cancelled: give up and call weir_op_done. Optional: without it the slot stays
     * taken until the work is done. */
    void (*cancel)(weir_op *op, weir_status status, void *user);
    /* After the last start of a turn: send what they prepared. Optional. */
    void (*flush)(weir_stage *stage, void *user);
    void *user;
    uint32_t in_flight;  /* operations at once per replica, 1..65536; 0: 64 */
    bool unordered;      /* emit as they finish; default: in the order of arrival */
    uint32_t timeout_ms; /* each operation; 0: none. The context's deadline counts too */
} weir_async_fn_config;

/* Work that is started now and finished later (see async.h, whose mechanism this is).
 *   demand    `in_flight` less those under way or done and not emitted, ahead of any demand below.
 *   change    by weir_async_options (weir_pipeline_change): in_flight and timeout_ms.
 *   cancel    of the output, or an abort, cancels what is under way. */
WEIR_API weir_stage_spec *weir_async(const weir_async_fn_config *config);

#ifdef __cplusplus
}
#endif
#endif
