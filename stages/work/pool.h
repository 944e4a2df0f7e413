/* The threads of a pool whose work blocks. */
#ifndef WI_POOL_H
#define WI_POOL_H

#include <weir/offload.h>
#include <weir/stages.h>

/* Of an operation's work, of which the first WEIR_ASYNC_FN_WORK_BYTES are the user's. */
enum { WI_THREADS_WORK_BYTES = WEIR_ASYNC_FN_WORK_BYTES + 128 };

/* Starts `n` threads for all replicas. `config` is copied. */
weir_status wi_threads_new(const weir_pool_config *config, const weir_env *env, uint32_t n,
                           uint32_t replicas, void **ret_threads, const char **why);
/* Waits for the threads. NULL is fine. */
void wi_threads_free(void *threads);
/* Has a thread work on op->item, then ends the operation. */
void wi_threads_start(void *threads, weir_op *op);
/* Spares the work if it has not begun. */
void wi_threads_cancel(weir_op *op);

#endif
