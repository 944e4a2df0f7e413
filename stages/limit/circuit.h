/* A circuit: closed, open or half open, by how the calls of all replicas end. */
#ifndef WI_CIRCUIT_H
#define WI_CIRCUIT_H

#include <weir/stages_limit.h>

#include "gate.h"

/* Ten make the window; one more is being filled with calls. */
enum { WI_CIRCUIT_BLOCKS = 11, WI_CIRCUIT_PARTS = 10 };

/* A tenth of the window, as one replica saw it; written by its loop alone. */
typedef struct wi_circuit_block {
    _Atomic uint64_t key; /* of which era and epoch its figures are */
    _Atomic uint64_t calls, failed, slow;
} wi_circuit_block;

typedef struct wi_circuit_tally {
    wi_circuit_block blocks[WI_CIRCUIT_BLOCKS];
    char apart[64];
} wi_circuit_tally;

typedef struct wi_circuit {
    const weir_env *env;
    weir_breaker_config config; /* with its defaults filled in; under the lock */
    _Atomic uint64_t slow_ns;
    _Atomic uint32_t failures;
    wi_waiters waiters;
    /* Era and state in one word: what passed in an era counts in that one only. */
    _Atomic uint64_t word;
    _Atomic uint64_t epoch;   /* of a window of calls; that of a window of time is the time's */
    _Atomic bool is_doubtful; /* some failed, and there were too few calls to judge by */
    _Atomic uint64_t until_ns, opened;
    pthread_mutex_t lock;                                  /* of all changes of state, and of: */
    uint32_t probes_out, probed, probe_failed, probe_slow; /* while it is half open */
    uint32_t in_a_row;                                     /* how often it opened without closing */
    uint32_t block_calls, block_share, replicas;           /* share: of one replica */
    uint64_t block_ns;
    wi_circuit_tally tallies[];
} wi_circuit;

/* How an end counts. */
typedef enum wi_verdict { WI_CALL_GOOD, WI_CALL_FAILED, WI_CALL_IGNORED } wi_verdict;

/* NULL for want of memory. `config` complete. */
wi_circuit *wi_circuit_new(const weir_env *env, const weir_breaker_config *config,
                           uint32_t replicas);
/* New settings; but the window stays as it is. */
void wi_circuit_change(wi_circuit *circuit, const weir_breaker_config *config);
void wi_circuit_free(wi_circuit *circuit);
/* Lets up to `most` calls begin: gives how many, and their era. *ret_wait_ns: when to try again, if
 * there is a time for it; else untouched. ret_era NULL: none begins, it only says how many could.
 */
uint64_t wi_circuit_begin(wi_circuit *circuit, weir_stage *stage, uint64_t most, uint64_t *ret_era,
                          uint64_t *ret_wait_ns);
/* `n` calls of `era` ended, `took_ns` after they began. */
void wi_circuit_ended(wi_circuit *circuit, weir_stage *stage, uint64_t n, uint64_t era,
                      wi_verdict verdict, uint64_t took_ns);
void wi_circuit_stats(wi_circuit *circuit, weir_breaker_stats *ret_stats);

#endif
