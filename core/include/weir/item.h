/* An item: one line of header, a body, and the promise that its source hears how it ended.
 *
 * Ownership: whoever is handed an item holds one reference. Exactly one of these ends the hold:
 * weir_emit (takes), weir_fail (takes), weir_item_end / _ack / _drop (takes), weir_item_derive
 * (takes the parent), weir_tickets (takes the items), weir_items_join (takes the members).
 *
 * Acknowledgement: an item is its own token. When the last hold on it has ended, its type's `ended`
 * runs on the item's home loop with the worst outcome of all holds, and the memory goes back. An
 * item made from another (derive, join) keeps that one as its parent, and passes its end on: so a
 * source hears of an item after all that was made of it.
 *
 * Threads: an item belongs to one loop at a time. References are plain counters, so an item held
 * more than once must not cross loops (edges clone it). Ended on a foreign loop, it travels home,
 * in batches, and ends there. */
#ifndef WEIR_ITEM_H
#define WEIR_ITEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/loop.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_item weir_item;
typedef struct weir_context weir_context;

/* How an item ended, from best to worst. */
typedef enum weir_outcome {
    WEIR_ACKED,         /* done, durable as far as the pipeline promises */
    WEIR_FILTERED,      /* dropped on purpose */
    WEIR_DEAD_LETTERED, /* failed, and kept aside */
    WEIR_REJECTED,      /* not admitted */
    WEIR_ABORTED,       /* in flight when the pipeline was cancelled or aborted */
    WEIR_FAILED         /* failed, and nobody kept it */
} weir_outcome;

WEIR_API const char *weir_outcome_name(weir_outcome outcome);

/* What a body is. Immutable and static. */
typedef struct weir_item_type {
    const char *name;
    /* The last hold ended. Runs on the home loop, before the memory goes back; may start nothing
     * that needs the item afterwards. Optional. */
    void (*ended)(weir_item *item, weir_outcome outcome, weir_status status);
    /* Copies what `from`'s body owns into `to`'s (already a plain copy of the bytes). Optional: a
     * type with `ended` and no `clone` can't be cloned (WEIR_EUNSUPPORTED). */
    weir_status (*clone)(weir_item *to, const weir_item *from);
} weir_item_type;

/* The header. Read fields as you like; write body, cost, key and context only while you are the
 * only holder; leave the rest to weir. */
struct weir_item {
    void *body;                 /* borrowed from the item */
    weir_loop *home;            /* weir's: whose memory it is; NULL: the C heap's */
    const weir_item_type *type; /* NULL: plain bytes */
    weir_context *context;      /* borrowed; outlives the item (it belongs to its root source) */
    weir_item *parent;          /* weir's: hears of this item's end */
    uint64_t key;               /* partition and retry order; 0: none */
    weir_item *next;            /* for queues of whoever holds the item alone */
    uint32_t cost;              /* bytes, for byte credit; frozen while on an edge */
    uint8_t holds;              /* weir's: references, 1..255 */
    uint8_t attempts;           /* weir's: deliveries that failed, by the retry policy */
    int8_t status;              /* weir's: worst status so far */
    uint8_t bits;               /* weir's: size class, worst outcome, ticket */
};

/* Bodies up to this many bytes come from the loop's slabs; larger ones from the allocator. */
#define WEIR_ITEM_SLAB_BYTES_MAX 16320

/* Gives an item with `body_bytes` of body (uninitialised), cost = body_bytes, one hold. NULL for
 * want of memory. With no body at all, `body` is a pointer of yours to set. Loop thread only. */
WEIR_API weir_item *weir_item_new(weir_loop *loop, const weir_item_type *type, size_t body_bytes);
/* The same for `n` items at once: gives how many it made, into `ret_items`. */
WEIR_API size_t weir_items_new(weir_loop *loop, const weir_item_type *type, size_t body_bytes,
                               weir_item **ret_items, size_t n);
/* An item of the C heap for threads without a loop. env NULL: defaults. Its `ended` runs on
 * whichever thread ends it. */
WEIR_API weir_item *weir_item_new_foreign(const weir_env *env, const weir_item_type *type,
                                          size_t body_bytes);

static inline void *weir_item_body(const weir_item *item)
{
    return item->body;
}

/* Ends one hold with an outcome and a status (WEIR_OK for ACKED and FILTERED). Takes the hold. An
 * item without holds has ended already: to end it again is a bug in the stage; it aborts in debug
 * builds, and is counted (weir_loop_stats) in release builds. */
WEIR_API void weir_item_end(weir_item *item, weir_outcome outcome, weir_status status);
/* Ends `n` holds, one of each item. Takes them. */
WEIR_API void weir_items_ack(weir_item **items, size_t n);
static inline void weir_item_ack(weir_item *item)
{
    weir_item_end(item, WEIR_ACKED, WEIR_OK);
}

/* One more hold, for fan-out on one loop; the shared body is read-only from here on. WEIR_ELIMIT
 * at 255 holds. */
WEIR_API weir_status weir_item_hold(weir_item *item) WEIR_MUST_USE;
/* Makes a copy with a body of its own on `loop`, with the same type, key, cost and context, and
 * without a parent: derive it from what keeps `item` alive. Errors: WEIR_ENOMEM, WEIR_EUNSUPPORTED
 * (a type that cannot be cloned), or what its type's `clone` says. */
WEIR_API weir_status weir_item_copy(weir_loop *loop, const weir_item *item,
                                    weir_item **ret_copy) WEIR_MUST_USE;
/* Makes a copy with a body of its own on `loop`; the copy's end is passed on to `item`, one of
 * whose holds it takes. On an error nothing changed. */
WEIR_API weir_status weir_item_clone(weir_loop *loop, weir_item *item,
                                     weir_item **ret_copy) WEIR_MUST_USE;
/* `*item` with a body that may be written: itself when held once, otherwise a clone in its place.
 */
WEIR_API weir_status weir_item_writable(weir_loop *loop, weir_item **item) WEIR_MUST_USE;

/* `child` is made of `parent`: takes one hold of the parent, which ends as the child ends. The
 * child inherits context and key where it has none. A child has one parent; for more, join. */
WEIR_API void weir_item_derive(weir_item *child, weir_item *parent);

/* The same for `n` children, each with a hold of its own on `parent`; that of the caller stays.
 * WEIR_ELIMIT if that were more than 255 holds: nothing changed. */
WEIR_API weir_status weir_item_derive_all(weir_item **children, size_t n,
                                          weir_item *parent) WEIR_MUST_USE;

/* The body of an item made by weir_items_join. */
typedef struct weir_items {
    size_t n;
    weir_item **items; /* borrowed; never changed */
} weir_items;
/* Makes one item of `n` members, in order, 1..65535; cost is the sum of theirs. Takes the members:
 * each ends as the joined item ends. On an error nothing was taken. */
WEIR_API weir_status weir_items_join(weir_loop *loop, weir_item **members, size_t n,
                                     weir_item **ret_joined) WEIR_MUST_USE;
/* The members of a joined item, or NULL if it is none. */
WEIR_API const weir_items *weir_item_members(const weir_item *item);
/* Takes the members out of `joined` again: gives one hold of each, in an array that is the caller's
 * to read and write until it ends `joined`, whose end they no longer hear. `loop` is the caller's.
 * WEIR_EINVAL if `joined` is no joined item; WEIR_EUNSUPPORTED if it is held by others too, was
 * made of another item, or came from another loop with members that others hold: then nothing
 * changed, and who wants items of their own makes copies (weir_item_copy) derived from `joined`. */
WEIR_API weir_status weir_items_split(weir_loop *loop, weir_item *joined,
                                      const weir_items **ret_members) WEIR_MUST_USE;

/* ---- Tickets: to hear of an item's end on its way ---- */

/* Immutable and static. */
typedef struct weir_ticket_type {
    const char *name;
    size_t bytes; /* of memory that comes with each ticket, uninitialised, aligned for pointers */
    /* The last hold on the ticket ended, so with it all that was made of it. Runs on the ticket's
     * loop, in its own turn, as the `ended` of types does. The memory goes right after it. */
    void (*ended)(void *memory, weir_outcome outcome, weir_status status);
    /* In its place, for weir_tickets_alike: `n` of the items with this memory, 1 or more, ended so.
     * The memory goes after the last of them. */
    void (*ended_alike)(void *memory, size_t n, weir_outcome outcome, weir_status status);
} weir_ticket_type;

/* Puts a ticket in the place of each of items[0..n): an item that is derived from it and passes for
 * it whoever looks, for it has its type, body, cost, key, context and attempts. Takes the items as
 * weir_item_derive does, and gives how many, the first; the others, for want of memory, are left as
 * they were. Loop thread only. */
WEIR_API size_t weir_tickets(weir_loop *loop, const weir_ticket_type *type, weir_item **items,
                             size_t n);
/* The same for items that are alike to you: the memory of their tickets is a copy of `memory`,
 * which items may have in common. So an item of this loop that nobody else holds needs none of its
 * own, and stays what it is: it costs next to nothing. Each end is told once, in the order of the
 * ends. `type` has an ended_alike. */
WEIR_API size_t weir_tickets_alike(weir_loop *loop, const weir_ticket_type *type,
                                   const void *memory, weir_item **items, size_t n);
/* Of a ticket that you made by weir_tickets, and nobody else has seen yet. */
WEIR_API void *weir_ticket_memory(weir_item *ticket);
/* The memory of the nearest ticket of `type` that `item` is or was made of; NULL: there is none.
 * Borrowed from the item. The ticket's loop only. */
WEIR_API void *weir_ticket_find(weir_item *item, const weir_ticket_type *type);

/* For who makes good what failed, as a fallback does: forgets that the item was dead-lettered, and
 * gives the item to go on with, in the place of `item`. Tickets that only this item keeps open end
 * now, with the failure: what they guard is over (those above items of other loops end later, as
 * the item does). An item that others hold too, or that has ended worse for another holder, is
 * given back as it is. */
WEIR_API weir_item *weir_item_forgive(weir_item *item) WEIR_MUST_USE;

enum { WEIR_ITEM_TICKET = 0x80 }; /* in `bits` */

/* What the item was made of in the end: what its source emitted. */
static inline const weir_item *weir_item_root(const weir_item *item)
{
    const weir_item *root = item;
    for (; item != NULL; item = item->parent)
        root = (item->bits & WEIR_ITEM_TICKET) != 0 ? root : item;
    return root;
}

/* Does anybody else hold the item, or the one that it is a ticket of? */
static inline bool weir_item_is_shared(const weir_item *item)
{
    while (item->holds == 1 && (item->bits & WEIR_ITEM_TICKET) != 0)
        item = item->parent;
    return item->holds > 1;
}

#ifdef __cplusplus
}
#endif
#endif
