/* Memory of sessions that rest. A session of nghttp2 1.52 is 9 KB that are made at once and never
 * move: a struct, a table of streams, two rings of header fields; at rest nine tenths of it are
 * zeros, but the rest is the state of HPACK, so the session cannot be freed. What is made at once
 * stands in a slot here, slots side by side in pieces. To park one is to write what is not zero to
 * a small image; whole pages of which no slot is in use go back to the system at the next sweep. To
 * wake one is to write the image where it was, so pointers hold; that allocates nothing and cannot
 * fail. Pages and the allocator may be of any kind: nothing is assumed of what comes back.
 *
 * All slots of a pool are as large as the first session needed. One thread. */
#ifndef WI_HTTP_SLOTS_H
#define WI_HTTP_SLOTS_H

#include <weir/env.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wi_http_piece; /* of neighbouring slots */

typedef struct wi_http_slots {
    const weir_env *below;              /* for pieces */
    const weir_env *env;                /* for images */
    size_t bytes;                       /* of a slot; 0: none was needed yet */
    struct wi_http_piece *first, *last; /* those with room come first */
    size_t taken;
} wi_http_slots;

/* Zeroed: none, and nothing to be given back. */
typedef struct wi_http_slot {
    struct wi_http_piece *piece; /* NULL: none, only `used` is counted */
    uint64_t *image;             /* parked, if it is not NULL */
    char *at;
    size_t used;
    unsigned index;
} wi_http_slot;

/* None, for want of memory: the slot is as before. slots->bytes is not 0. */
void wi_http_slot_take(wi_http_slots *slots, wi_http_slot *slot);
/* The next `bytes`, rounded up to eight, of it. NULL: it has no more room. */
void *wi_http_slot_cut(wi_http_slot *slot, size_t bytes);
/* False: it does not pay, or for want of memory. Until it is woken its memory is not to be touched.
 */
bool wi_http_slot_park(wi_http_slots *slots, wi_http_slot *slot);
/* Of a parked one. */
void wi_http_slot_wake(wi_http_slots *slots, wi_http_slot *slot);
/* Gives it back, not parked; of none it does nothing. */
void wi_http_slot_give(wi_http_slots *slots, wi_http_slot *slot);
/* Lets go of pages in which nothing is in use; about once a second. */
void wi_http_slots_sweep(wi_http_slots *slots);
/* All slots have been given back. */
void wi_http_slots_done(wi_http_slots *slots);

#endif
