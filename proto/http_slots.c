/* Slots for sessions: taken, parked, woken, and their pages let go. */
#include "http_slots.h"

#include <assert.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { COUNT_MAX = 63, WORD_BITS = 64 };

/* What nghttp2 keeps in a slot is of many types. */
typedef uint64_t word __attribute__((may_alias));

typedef struct wi_http_piece {
    struct wi_http_piece *next, *previous;
    size_t bytes; /* of a slot */
    unsigned count;
    /* A bit for each slot. Awake: its memory counts; it is taken then. Stale: it went to rest, or
     * was given back, since the last sweep. */
    uint64_t taken, awake, stale;
    _Alignas(16) char slots[];
} piece;

/* ---- The list of pieces ---- */

static void unlink_piece(wi_http_slots *slots, piece *p)
{
    *(p->previous == NULL ? &slots->first : &p->previous->next) = p->next;
    *(p->next == NULL ? &slots->last : &p->next->previous) = p->previous;
}

static void link_first(wi_http_slots *slots, piece *p)
{
    p->previous = NULL;
    p->next = slots->first;
    *(p->next == NULL ? &slots->last : &p->next->previous) = p;
    slots->first = p;
}

static void link_last(wi_http_slots *slots, piece *p)
{
    p->next = NULL;
    p->previous = slots->last;
    *(p->previous == NULL ? &slots->first : &p->previous->next) = p;
    slots->last = p;
}

static uint64_t all_of(const piece *p)
{
    return (UINT64_C(1) << p->count) - 1;
}

/* One slot for the first session; what there is doubles from then on. */
static piece *new_piece(wi_http_slots *slots)
{
    unsigned count = slots->taken == 0          ? 1
                     : slots->taken < COUNT_MAX ? (unsigned)slots->taken
                                                : COUNT_MAX;
    piece *p = weir_memory_resize(slots->below, NULL, sizeof *p + count * slots->bytes);
    if (p == NULL)
        return NULL;
    *p = (piece){ .bytes = slots->bytes, .count = count };
    link_first(slots, p);
    return p;
}

/* ---- Slots ---- */

void wi_http_slot_take(wi_http_slots *slots, wi_http_slot *slot)
{
    piece *p = slots->first;
    if ((p == NULL || p->taken == all_of(p)) && (p = new_piece(slots)) == NULL)
        return;
    unsigned index = (unsigned)__builtin_ctzll(~p->taken);
    slots->taken++;
    p->taken |= UINT64_C(1) << index;
    p->awake |= UINT64_C(1) << index;
    if (p->taken == all_of(p)) {
        unlink_piece(slots, p);
        link_last(slots, p);
    }
    *slot = (wi_http_slot){ .piece = p, .index = index, .at = p->slots + index * p->bytes };
}

void *wi_http_slot_cut(wi_http_slot *slot, size_t bytes)
{
    size_t at = slot->used;
    bytes = (bytes + 7) & ~(size_t)7;
    if (slot->piece == NULL) {
        slot->used += bytes;
        return NULL;
    }
    if (bytes > slot->piece->bytes - at)
        return NULL;
    slot->used += bytes;
    return memset(slot->at + at, 0, bytes);
}

static void rest(wi_http_slot *slot)
{
    slot->piece->awake &= ~(UINT64_C(1) << slot->index);
    slot->piece->stale |= UINT64_C(1) << slot->index;
}

/* The image: a bit for each word, then the words that are not zero. */
bool wi_http_slot_park(wi_http_slots *slots, wi_http_slot *slot)
{
    const word *from = (const word *)(const void *)slot->at;
    size_t words = slot->used / sizeof *from, map = (words + WORD_BITS - 1) / WORD_BITS, n = map;
    for (size_t i = 0; i < words; i++)
        n += from[i] != 0;
    if (n > words / 2)
        return false;
    uint64_t *image = weir_memory_resize(slots->env, NULL, n * sizeof *image);
    if (image == NULL)
        return false;
    uint64_t *to = image + map;
    memset(image, 0, map * sizeof *image);
    for (size_t i = 0; i < words; i++)
        if (from[i] != 0) {
            image[i / WORD_BITS] |= UINT64_C(1) << i % WORD_BITS;
            *to++ = from[i];
        }
    slot->image = image;
    rest(slot);
    return true;
}

void wi_http_slot_wake(wi_http_slots *slots, wi_http_slot *slot)
{
    word *to = (word *)(void *)slot->at;
    uint64_t *image = slot->image;
    size_t words = slot->used / sizeof *to, map = (words + WORD_BITS - 1) / WORD_BITS;
    const uint64_t *from = image + map;
    memset(to, 0, slot->used);
    for (size_t i = 0; i < map; i++)
        for (uint64_t left = image[i]; left != 0; left &= left - 1)
            to[i * WORD_BITS + (unsigned)__builtin_ctzll(left)] = *from++;
    slot->piece->awake |= UINT64_C(1) << slot->index;
    slot->image = NULL;
    weir_memory_free(slots->env, image);
}

void wi_http_slot_give(wi_http_slots *slots, wi_http_slot *slot)
{
    piece *p = slot->piece;
    if (p == NULL)
        return;
    assert(slot->image == NULL);
    rest(slot);
    if (p->taken == all_of(p)) {
        unlink_piece(slots, p);
        link_first(slots, p);
    }
    slots->taken--;
    p->taken &= ~(UINT64_C(1) << slot->index);
    slot->piece = NULL;
}

/* ---- Pages ---- */

/* Runs of slots that rest, side by side: what lies between two of them goes, too. */
static void let_go(piece *p, uintptr_t page)
{
    for (uint64_t left = ~p->awake & all_of(p); left != 0;) {
        unsigned first = (unsigned)__builtin_ctzll(left);
        unsigned n = (unsigned)__builtin_ctzll(~(left >> first));
        uint64_t run = ((UINT64_C(1) << n) - 1) << first;
        left &= ~run;
        if ((p->stale & run) == 0)
            continue;
        uintptr_t begin = (uintptr_t)(p->slots + first * p->bytes), end = begin + n * p->bytes;
        begin = (begin + page - 1) & ~(page - 1);
        end &= ~(page - 1);
        if (begin < end)
            (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
    }
    p->stale = 0;
}

/* A piece that is not in use goes a sweep later than its pages, for the next session may come. */
void wi_http_slots_sweep(wi_http_slots *slots)
{
    uintptr_t page = 0;
    for (piece *p = slots->first, *next; p != NULL; p = next) {
        next = p->next;
        if (p->stale != 0) {
            if (page == 0)
                page = (uintptr_t)sysconf(_SC_PAGESIZE);
            let_go(p, page);
        } else if (p->taken == 0) {
            unlink_piece(slots, p);
            weir_memory_free(slots->below, p);
        }
    }
}

void wi_http_slots_done(wi_http_slots *slots)
{
    for (piece *p = slots->first, *next; p != NULL; p = next) {
        assert(p->taken == 0);
        next = p->next;
        weir_memory_free(slots->below, p);
    }
}
