/* A token bucket that any number of threads may take from. */
#ifndef WI_BUCKET_H
#define WI_BUCKET_H

#include <stdatomic.h>
#include <stdint.h>

/* The whole state is when the bucket will be full again: one word, so replicas share it freely.
 * Time is counted in 1/64 ns, so that the time of a token is exact enough at 10^9 a second. A clock
 * in nanoseconds since boot lasts nine years so. Counted as in GCRA (ITU-T I.371, annex A). */
typedef struct wi_bucket {
    _Atomic uint64_t full_at;
    _Atomic uint64_t burst_ticks, token_ticks; /* change only by wi_bucket_change */
} wi_bucket;

/* A full bucket of `burst` tokens, of which `rate` come in `period_ns`, none of them 0; it fills
 * within a year. */
void wi_bucket_init(wi_bucket *bucket, uint64_t rate, uint64_t period_ns, uint64_t burst);
/* Another pace from now on; the tokens that are missing stay missing. One thread at a time, while
 * others take. */
void wi_bucket_change(wi_bucket *bucket, uint64_t rate, uint64_t period_ns, uint64_t burst,
                      uint64_t now_ns);
/* Takes `tokens`; or gives the nanoseconds to wait until they may be there, at least 1. More than
 * the burst are taken from a full bucket, and leave it in debt. */
uint64_t wi_bucket_take(wi_bucket *bucket, uint64_t tokens, uint64_t now_ns);
/* Takes up to `most` tokens, gives how many. */
uint64_t wi_bucket_take_some(wi_bucket *bucket, uint64_t most, uint64_t now_ns);
/* Tokens there are, at most `most`; *ret_wait_ns: until the next, written only if there is none. */
uint64_t wi_bucket_look(const wi_bucket *bucket, uint64_t most, uint64_t now_ns,
                        uint64_t *ret_wait_ns);

#endif
