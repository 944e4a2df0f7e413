/* Items: slabs per loop, ends that travel up to the source, and the way home from other loops. */
#include "wi_item.h"
#include "wi_plant.h"
#include "wi_sim.h"

#include <assert.h>
#include <string.h>

_Thread_local weir_loop *wi_here __attribute__((tls_model("initial-exec")));

/* Size class -> whole size of the item, header included. */
static const uint32_t class_bytes[WI_CLASSES] = { 64, 128, 256, 512, 1024, 2048, 4096, 16384 };
#define SLAB_BYTES  (64 * 1024)

#define CLASS_OF(b) ((b)&7u)
/* In front of a body with memory of its own: its size. */
#define BIG_PREFIX 16

const char *weir_outcome_name(weir_outcome outcome)
{
    static const char *const names[] = { "acked",    "filtered", "dead_lettered",
                                         "rejected", "aborted",  "failed" };
    return (unsigned)outcome < sizeof names / sizeof names[0] ? names[outcome] : "?";
}

/* ---- Slabs ---- */

static inline uint32_t class_for(size_t body_bytes)
{
    uint32_t i = 0;
    while (i + 1 < WI_CLASSES && class_bytes[i] - sizeof(weir_item) < body_bytes)
        i++;
    return i;
}

static weir_item *slab_first(void *slab)
{
    return (weir_item *)(((uintptr_t)slab + sizeof(void *) + WI_CACHE_LINE - 1) &
                         ~(uintptr_t)(WI_CACHE_LINE - 1));
}

static bool class_grow(weir_loop *loop, uint32_t which)
{
    wi_class *c = &loop->classes[which];
    size_t bytes = class_bytes[which], count = SLAB_BYTES / bytes;
    weir_item **free_stack = weir_memory_resize(loop->env, c->free,
                                                (c->n_total + count) * sizeof(weir_item *));
    if (free_stack == NULL)
        return false;
    c->free = free_stack;
    /* One line in front links the slabs, and one more is for alignment. */
    char *slab = weir_memory_resize(loop->env, NULL, SLAB_BYTES + 2 * WI_CACHE_LINE);
    if (slab == NULL)
        return false;
    *(void **)(void *)slab = c->slabs;
    c->slabs = slab;
    char *first = (char *)slab_first(slab);
    for (size_t i = 0; i < count; i++) {
        weir_item *item = (weir_item *)(void *)(first + i * bytes);
        item->home = loop;
        item->body = which == 0 ? NULL : item + 1;
        item->bits = (uint8_t)which;
        item->holds = 0;
        c->free[c->n_free + i] = item;
    }
    wi_set(&c->n_free, c->n_free + count);
    c->n_total += count;
    wi_count(&loop->stats.items_reserved, count);
    wi_count(&loop->stats.bytes_reserved, SLAB_BYTES);
    return true;
}

/* What every new item of a kind begins with: the header from `type` on, stored whole. */
typedef struct beginning {
    weir_item header;
} beginning;

#define BEGINNING_BYTES (sizeof(weir_item) - offsetof(weir_item, type))

static inline beginning beginning_of(const weir_item_type *type, size_t cost, uint32_t which)
{
    return (beginning){ { .type = type,
                          .cost = cost > UINT32_MAX ? UINT32_MAX : (uint32_t)cost,
                          .holds = 1,
                          .bits = (uint8_t)which } };
}

static inline void item_init(weir_item *item, const beginning *from)
{
    memcpy(&item->type, &from->header.type, BEGINNING_BYTES);
}

size_t weir_items_new(weir_loop *loop, const weir_item_type *type, size_t body_bytes,
                      weir_item **ret_items, size_t n)
{
    if (body_bytes > WEIR_ITEM_SLAB_BYTES_MAX) {
        size_t made = 0;
        while (made < n && (ret_items[made] = weir_item_new(loop, type, body_bytes)) != NULL)
            made++;
        return made;
    }
    uint32_t which = class_for(body_bytes);
    beginning first = beginning_of(type, body_bytes, which);
    wi_class *c = &loop->classes[which];
    size_t made = 0;
    while (made < n) {
        if (WI_UNLIKELY(c->n_free == 0)) {
            wi_items_collect(loop);
            if (c->n_free == 0 && !class_grow(loop, which))
                break;
        }
        size_t take = n - made < c->n_free ? n - made : c->n_free;
        weir_item **from = c->free + c->n_free - take;
        for (size_t i = 0; i < take; i++) {
            item_init(from[i], &first);
            ret_items[made + i] = from[i];
        }
        wi_set(&c->n_free, c->n_free - take);
        made += take;
    }
    return made;
}

/* Apart from the usual way, which is to stay short. */
__attribute__((noinline)) static weir_item *new_big(weir_loop *loop, const weir_item_type *type,
                                                    size_t body_bytes)
{
    weir_item *item;
    if (body_bytes > SIZE_MAX - BIG_PREFIX)
        return NULL;
    char *memory = weir_memory_resize(loop->env, NULL, BIG_PREFIX + body_bytes);
    if (memory == NULL)
        return NULL;
    if (weir_items_new(loop, type, 0, &item, 1) == 0) {
        weir_memory_free(loop->env, memory);
        return NULL;
    }
    *(size_t *)(void *)memory = body_bytes;
    item->body = memory + BIG_PREFIX;
    item->bits |= BIT_BIG;
    item->cost = body_bytes > UINT32_MAX ? UINT32_MAX : (uint32_t)body_bytes;
    return item;
}

__attribute__((noinline)) static weir_item *
new_after_refill(weir_loop *loop, const weir_item_type *type, size_t body_bytes)
{
    weir_item *item;
    return weir_items_new(loop, type, body_bytes, &item, 1) == 1 ? item : NULL;
}

weir_item *weir_item_new(weir_loop *loop, const weir_item_type *type, size_t body_bytes)
{
    if (body_bytes > WEIR_ITEM_SLAB_BYTES_MAX)
        return new_big(loop, type, body_bytes);
    uint32_t which = class_for(body_bytes);
    wi_class *c = &loop->classes[which];
    if (WI_UNLIKELY(c->n_free == 0))
        return new_after_refill(loop, type, body_bytes);
    weir_item *item = c->free[c->n_free - 1];
    wi_set(&c->n_free, c->n_free - 1);
    /* One by one: a header laid out first would be read back before its stores are through. */
    item->type = type;
    item->context = NULL;
    item->parent = item->next = NULL;
    item->key = 0;
    item->cost = (uint32_t)body_bytes;
    item->holds = 1;
    item->attempts = 0;
    item->status = 0;
    item->bits = (uint8_t)which;
    return item;
}

/* In front of an item of the heap: where its memory came from, and its body's size. */
typedef struct foreign {
    const weir_env *env;
    size_t body_bytes;
} foreign;

weir_item *weir_item_new_foreign(const weir_env *env, const weir_item_type *type, size_t body_bytes)
{
    if (body_bytes > SIZE_MAX - 2 * WI_CACHE_LINE)
        return NULL;
    char *memory = weir_memory_resize(env, NULL, WI_CACHE_LINE + sizeof(weir_item) + body_bytes);
    if (memory == NULL)
        return NULL;
    *(foreign *)(void *)memory = (foreign){ env, body_bytes };
    weir_item *item = (weir_item *)(void *)(memory + WI_CACHE_LINE);
    item->home = NULL;
    item->body = item + 1;
    beginning first = beginning_of(type, body_bytes, 0);
    item_init(item, &first);
    return item;
}

static inline void give_back(weir_item *item)
{
    weir_loop *home = item->home;
    if (WI_UNLIKELY(home == NULL)) {
        foreign *memory = (foreign *)(void *)((char *)item - WI_CACHE_LINE);
        weir_memory_free(memory->env, memory);
        return;
    }
    uint32_t which = CLASS_OF(item->bits);
    if (WI_UNLIKELY(item->bits & BIT_BIG))
        weir_memory_free(home->env, (char *)item->body - BIG_PREFIX);
    wi_class *c = &home->classes[which];
    c->free[c->n_free] = item;
    wi_set(&c->n_free, c->n_free + 1);
}

static inline bool tells_type(const weir_item *item)
{
    return item->type != NULL && item->type->ended != NULL;
}

/* Of a slab, with nobody to tell: the usual end of a plain item. */
static inline bool is_plain(const weir_item *item)
{
    return item->parent == NULL && (item->bits & BIT_TICKET) == 0 && !tells_type(item);
}

uint64_t wi_items_free(const weir_loop *loop)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WI_CLASSES; i++)
        sum += wi_read(&loop->classes[i].n_free);
    return sum;
}

/* ---- Whom to tell ---- */

/* Is there somebody to tell of this very item's end? */
static inline bool tells(const weir_item *item)
{
    return (item->bits & BIT_TICKET) != 0 || (item->type != NULL && item->type->ended != NULL);
}

static inline void tell(weir_item *item)
{
    weir_outcome outcome = (weir_outcome)wi_item_outcome(item);
    weir_status status = (weir_status)item->status;
    if (item->bits & BIT_TICKET)
        wi_ticket_tell(item, 1, outcome, status);
    else
        item->type->ended(item, outcome, status);
}

/* ---- The way home ---- */

static wi_home *home_ring(weir_loop *from, weir_loop *home)
{
    for (wi_home **link = &from->sent, *ring; (ring = *link) != NULL;) {
        if (atomic_load_explicit(&ring->closed, memory_order_acquire)) {
            *link = ring->next_sent;
            if (atomic_fetch_sub(&ring->ends, 1) == 1)
                weir_memory_free(ring->env, ring->memory);
            continue;
        }
        if (ring->home == home)
            return ring;
        link = &ring->next_sent;
    }
    void *memory = weir_memory_new(from->env, sizeof(wi_home) + WI_CACHE_LINE);
    if (memory == NULL)
        return NULL;
    wi_home *ring = wi_aligned(memory);
    ring->memory = memory;
    ring->home = home;
    /* The ring may outlive the loop, and with it the defaults that the loop keeps. */
    ring->env = from->env == &from->env_default ? NULL : from->env;
    atomic_store(&ring->ends, 2);
    ring->next_sent = from->sent;
    from->sent = ring;
    ring->next = atomic_load(&home->homes);
    while (!atomic_compare_exchange_weak(&home->homes, &ring->next, ring))
        ;
    return ring;
}

/* Once its last item is seen, a loop may end, while this thread still rings: it waits for guests.
 */
static void push_returned(weir_item *item)
{
    weir_loop *home = item->home;
    atomic_fetch_add_explicit(&home->guests, 1, memory_order_relaxed);
    weir_item *top = atomic_load_explicit(&home->returned, memory_order_relaxed);
    do {
        item->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&home->returned, &top, item,
                                                    memory_order_release, memory_order_relaxed));
    atomic_thread_fence(memory_order_seq_cst);
    wi_loop_ring(home);
    atomic_fetch_sub_explicit(&home->guests, 1, memory_order_release);
}

/* The item's last hold ended on another loop: it ends at home, where its source listens. */
static void send_home(weir_item *item)
{
    weir_loop *from = wi_here;
    wi_home *ring = from != NULL && weir_loop_is_here(from) ? home_ring(from, item->home) : NULL;
    if (ring == NULL) {
        push_returned(item);
        return;
    }
    if (ring->tail - ring->head_seen == WI_HOME_RING) {
        ring->head_seen = atomic_load_explicit(&ring->head_published, memory_order_acquire);
        if (ring->tail - ring->head_seen == WI_HOME_RING) {
            push_returned(item);
            return;
        }
    }
    ring->slots[ring->tail % WI_HOME_RING] = item;
    ring->tail++;
    ring->dirty = true;
    ring->urgent |= item->parent != NULL || tells(item);
    from->sent_dirty = true;
    /* all but one, so that its home is there still when the rest is published */
    if (ring->tail % WI_VECTOR_MAX == 0)
        atomic_store_explicit(&ring->tail_published, ring->tail - 1, memory_order_release);
}

void wi_items_publish(weir_loop *loop)
{
    if (!loop->sent_dirty)
        return;
    loop->sent_dirty = false;
    for (wi_home *ring = loop->sent; ring != NULL; ring = ring->next_sent) {
        if (!ring->dirty)
            continue;
        ring->dirty = false;
        bool rings = ring->urgent && !WI_PLANT(17) &&
                     !atomic_load_explicit(&ring->closed, memory_order_acquire);
        if (rings)
            atomic_fetch_add_explicit(&ring->home->guests, 1, memory_order_relaxed);
        atomic_store_explicit(&ring->tail_published, ring->tail, memory_order_release);
        if (rings) {
            ring->urgent = false;
            atomic_thread_fence(memory_order_seq_cst);
            wi_loop_ring(ring->home);
            atomic_fetch_sub_explicit(&ring->home->guests, 1, memory_order_release);
        }
    }
}

static bool collect_ring(wi_home *ring)
{
    uint64_t tail = atomic_load_explicit(&ring->tail_published, memory_order_acquire);
    if (tail == ring->head)
        return false;
    for (; ring->head != tail; ring->head++) {
        weir_item *item = ring->slots[ring->head % WI_HOME_RING];
        if (tail - ring->head > 8)
            __builtin_prefetch(ring->slots[(ring->head + 8) % WI_HOME_RING], 1);
        if (WI_LIKELY(is_plain(item)))
            give_back(item);
        else
            wi_item_finish(item);
    }
    atomic_store_explicit(&ring->head_published, ring->head, memory_order_release);
    return true;
}

bool wi_items_collect(weir_loop *loop)
{
    bool any = false;
    for (wi_home *ring = atomic_load_explicit(&loop->homes, memory_order_acquire); ring != NULL;
         ring = ring->next)
        any |= collect_ring(ring);
    if (atomic_load_explicit(&loop->returned, memory_order_relaxed) == NULL)
        return any;
    weir_item *item = atomic_exchange_explicit(&loop->returned, NULL, memory_order_acquire);
    while (item != NULL) {
        weir_item *next = item->next;
        wi_item_finish(item);
        item = next;
    }
    return true;
}

bool wi_items_pending(weir_loop *loop)
{
    if (atomic_load_explicit(&loop->returned, memory_order_relaxed) != NULL)
        return true;
    for (wi_home *ring = atomic_load_explicit(&loop->homes, memory_order_acquire); ring != NULL;
         ring = ring->next)
        if (atomic_load_explicit(&ring->tail_published, memory_order_acquire) != ring->head)
            return true;
    return false;
}

/* ---- Ends ---- */

static inline void note(weir_item *item, weir_outcome outcome, weir_status status)
{
    if (outcome > (weir_outcome)wi_item_outcome(item)) {
        /* worse than what it has: the bits above the class are only used until it ends */
        item->bits = (uint8_t)((item->bits & (0x0fu | BIT_TICKET)) | ((uint32_t)outcome << 4));
        item->status = (int8_t)wi_status_of(status);
    }
}

void wi_item_note(weir_item *item, weir_outcome outcome, weir_status status)
{
    note(item, outcome, status);
}

static bool is_home(const weir_item *item)
{
    if (item->home == NULL || item->home == wi_here)
        return true;
    /* While a loop runs here, no other loop is here, although one that has stopped could be. */
    return wi_here == NULL && weir_loop_is_here(item->home);
}

/* At the end of those that are told in the loop's own turn. */
static inline void wait_to_be_told(weir_loop *loop, weir_item *item)
{
    item->next = NULL;
    if (loop->ended_tail != NULL)
        loop->ended_tail->next = item;
    else
        loop->ended_head = item;
    loop->ended_tail = item;
    if (WI_UNLIKELY(!loop->in_turn))
        wi_loop_kick(loop);
}

/* ---- Groups: they wait as one for all of their items that end well in a row ---- */

static inline bool group_counts(const weir_item *group)
{
    return group->cost == 0 || group->home->ended_tail == group;
}

static void group_acked(weir_item *group, size_t n)
{
    if (group->cost == 0)
        wait_to_be_told(group->home, group);
    group->cost += (uint32_t)n;
}

static void group_left(weir_item *group, size_t n)
{
    group->holds = (uint8_t)(group->holds - n);
    if (group->holds == 0) {
        group->bits &= (uint8_t)~BITS_GROUP;
        give_back(group);
    }
}

/* In the loop's own turn: tells one group after the other, and gives what is above them if it ended
 * with these `n` items. */
static weir_item *groups_tell(weir_item *group, size_t n, weir_outcome outcome, weir_status status)
{
    while (group != NULL && wi_is_group(group)) {
        weir_item *parent = group->parent;
        wi_ticket_tell(group, n, outcome, status);
        group_left(group, n);
        group = parent;
    }
    if (group == NULL)
        return NULL;
    note(group, outcome, status);
    group->holds = (uint8_t)(group->holds - n);
    return group->holds == 0 ? group : NULL;
}

/* It goes on, but for its group it has ended: a blank says so. */
static const weir_item_type left_type = { .name = "left" };

bool wi_item_leave_groups(weir_item *item, weir_outcome outcome, weir_status status)
{
    while (item->home == wi_here && wi_is_of_group(item)) {
        weir_item *group = item->parent, *blank = weir_item_new(wi_here, &left_type, 0);
        if (blank == NULL)
            return false;
        item->parent = group->parent;
        blank->parent = group;
        note(blank, outcome, status);
        blank->holds = 0;
        wait_to_be_told(wi_here, blank);
    }
    return true;
}

/* ---- Ends, of all ---- */

/* Told already, or there is nobody to tell, nor is it of a group. Gives the parent if this was its
 * last hold. */
static inline weir_item *finish_one(weir_item *item)
{
    weir_item *parent = item->parent;
    weir_outcome outcome = (weir_outcome)wi_item_outcome(item);
    weir_status status = (weir_status)item->status;
    if (item->bits & BIT_TICKET)
        item->body = item + 1; /* its own again */
    give_back(item);
    if (parent == NULL)
        return NULL;
    note(parent, outcome, status);
    return --parent->holds == 0 ? parent : NULL;
}

/* It waits itself for its group to hear how it ended, or in its turn. */
static void finish_of_group(weir_item *item)
{
    weir_item *group = item->parent;
    if (wi_item_outcome(item) != WEIR_ACKED || !group_counts(group)) {
        wait_to_be_told(item->home, item);
        return;
    }
    give_back(item);
    group_acked(group, 1);
}

/* At home, with no holds left: tells the type, in its own turn; gives the memory back; passes the
 * end on to the parent. A loop over the parents, however many there are. */
void wi_item_finish(weir_item *item)
{
    while (item != NULL) {
        if (WI_UNLIKELY(!is_home(item))) {
            send_home(item);
            return;
        }
        if (tells(item)) {
            /* one of the heap: by the loop that is here, so that it is beneath no callback */
            weir_loop *loop = item->home != NULL ? item->home : wi_here;
            if (loop != NULL) {
                wait_to_be_told(loop, item);
                return;
            }
            tell(item);
        } else if (wi_is_of_group(item)) {
            finish_of_group(item);
            return;
        }
        item = finish_one(item);
    }
}

/* Told already. Gives what is above its groups if it ended with this. */
static weir_item *leave_and_tell(weir_item *item)
{
    weir_item *group = item->parent;
    weir_outcome outcome = (weir_outcome)wi_item_outcome(item);
    weir_status status = (weir_status)item->status;
    bool has_left = item->type == &left_type;
    give_back(item);
    if (!has_left)
        return groups_tell(group, 1, outcome, status);
    wi_ticket_tell(group, 1, outcome, status);
    group_left(group, 1);
    return NULL;
}

/* Its turn has come. Gives the parent if that ended with it. */
static inline weir_item *finish_in_turn(weir_item *item)
{
    if (wi_is_group(item)) {
        uint32_t n = item->cost;
        item->cost = 0;
        return groups_tell(item, n, WEIR_ACKED, WEIR_OK);
    }
    if (WI_LIKELY(tells(item)))
        tell(item);
    return WI_UNLIKELY(wi_is_of_group(item)) ? leave_and_tell(item) : finish_one(item);
}

bool wi_items_run_ended(weir_loop *loop)
{
    weir_item *item = loop->ended_head;
    if (item == NULL)
        return false;
    loop->ended_head = loop->ended_tail = NULL;
    while (item != NULL) {
        weir_item *next = item->next, *parent = finish_in_turn(item);
        if (parent != NULL)
            wi_item_finish(parent);
        item = next;
    }
    return true;
}

static void ended_twice(const weir_item *item)
{
    bool reported = item->home != NULL &&
                    wi_sim_reports(item->home, NULL, "an item was ended that had ended already");
    weir_loop *loop = wi_here != NULL ? wi_here : item->home;
    if (loop != NULL)
        wi_count(&loop->stats.items_ended_twice, 1);
    assert(reported && "an item was ended that had ended already");
    (void)reported;
}

void weir_item_end(weir_item *item, weir_outcome outcome, weir_status status)
{
    if (WI_UNLIKELY(item->holds == 0)) {
        ended_twice(item);
        return;
    }
    if (outcome != WEIR_ACKED)
        note(item, outcome, status);
    if (--item->holds == 0)
        wi_item_finish(item);
}

/* Of this loop and that size, with no type to tell, and all has gone well so far. */
static inline bool goes_back(const weir_item *item, const weir_loop *here, uint8_t which)
{
    return item->home == here && item->bits == which && !tells_type(item);
}

/* Plain items of one size that end well go back together, and so do their parents that end with
 * them: the top of the stack stays in a register. Gives how many did, the first. */
static size_t ack_run(weir_loop *here, weir_item **items, size_t n)
{
    uint8_t which = items[0]->bits;
    size_t i = 0;
    if (which >= WI_CLASSES)
        return 0;
    wi_class *c = &here->classes[which];
    weir_item **top = c->free + c->n_free, *ended = NULL;
    while (i < n && ended == NULL) {
        weir_item *parent = items[i]->parent;
        bool is_group = parent != NULL && wi_is_group(parent);
        size_t first = i;
        if (is_group && !group_counts(parent))
            break;
        for (; i < n && items[i]->holds == 1 && items[i]->parent == parent &&
               goes_back(items[i], here, which);
             i++) {
            items[i]->holds = 0; /* or to end it again would put it there twice */
            *top++ = items[i];
        }
        if (i == first)
            break;
        if (is_group)
            group_acked(parent, i - first);
        else if (parent == NULL || (parent->holds = (uint8_t)(parent->holds - (i - first))) != 0)
            continue;
        else if (parent->parent == NULL && goes_back(parent, here, which))
            *top++ = parent;
        else
            ended = parent;
    }
    wi_set(&c->n_free, (uint64_t)(top - c->free));
    if (ended != NULL)
        wi_item_finish(ended);
    return i;
}

void weir_items_ack(weir_item **items, size_t n)
{
    if (WI_PLANT(1) && n > 3)
        n--;
    weir_loop *here = wi_here;
    for (size_t i = 0; i < n;) {
        size_t run = here != NULL ? ack_run(here, items + i, n - i) : 0;
        if (run == 0)
            weir_item_end(items[i], WEIR_ACKED, WEIR_OK);
        i += run != 0 ? run : 1;
    }
}

weir_status weir_item_hold(weir_item *item)
{
    if (item->holds == UINT8_MAX)
        return WEIR_ELIMIT;
    item->holds++;
    return WEIR_OK;
}

/* ---- Made of one another ---- */

static inline void derive(weir_item *child, weir_item *parent)
{
    assert(child->parent == NULL);
    child->parent = parent;
    if (child->context == NULL)
        child->context = parent->context;
    if (child->key == 0)
        child->key = parent->key;
}

void weir_item_derive(weir_item *child, weir_item *parent)
{
    derive(child, parent);
}

weir_status weir_item_derive_all(weir_item **children, size_t n, weir_item *parent)
{
    if (n > (size_t)(UINT8_MAX - parent->holds))
        return WEIR_ELIMIT;
    parent->holds = (uint8_t)(parent->holds + n);
    for (size_t i = 0; i < n; i++)
        derive(children[i], parent);
    return WEIR_OK;
}

static size_t body_room(const weir_item *item)
{
    while (item->bits & BIT_TICKET)
        item = item->parent;
    if (item->home == NULL)
        return ((const foreign *)(const void *)((const char *)item - WI_CACHE_LINE))->body_bytes;
    if (item->bits & BIT_BIG)
        return *(const size_t *)(const void *)((const char *)item->body - BIG_PREFIX);
    return class_bytes[CLASS_OF(item->bits)] - sizeof(weir_item);
}

weir_status weir_item_copy(weir_loop *loop, const weir_item *item, weir_item **ret_copy)
{
    const weir_item_type *type = item->type;
    if (type != NULL && type->ended != NULL && type->clone == NULL)
        return WEIR_EUNSUPPORTED;
    size_t bytes = body_room(item);
    weir_item *copy = weir_item_new(loop, type, bytes);
    if (copy == NULL)
        return WEIR_ENOMEM;
    if (bytes != 0)
        memcpy(copy->body, item->body, bytes);
    else
        copy->body = item->body;
    copy->cost = item->cost;
    copy->context = item->context;
    copy->key = item->key;
    if (type != NULL && type->clone != NULL) {
        weir_status status = type->clone(copy, item);
        if (status != WEIR_OK) {
            copy->type = NULL;
            weir_item_ack(copy);
            return status;
        }
    }
    *ret_copy = copy;
    return WEIR_OK;
}

weir_status weir_item_clone(weir_loop *loop, weir_item *item, weir_item **ret_copy)
{
    weir_status status = weir_item_copy(loop, item, ret_copy);
    if (status == WEIR_OK)
        weir_item_derive(*ret_copy, item);
    return status;
}

weir_status weir_item_writable(weir_loop *loop, weir_item **item)
{
    return weir_item_is_shared(*item) ? weir_item_clone(loop, *item, item) : WEIR_OK;
}

/* Whether the members were held by nobody else when they were joined, stands in the body's last
 * word: only such members may be handed out on another loop than that of their holds. */
typedef struct joined_body {
    weir_items items;
    bool is_sole_holder;
} joined_body;

static void joined_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    const weir_items *members = weir_item_body(item);
    if (outcome == WEIR_ACKED) {
        weir_items_ack(members->items, members->n);
        return;
    }
    for (size_t i = 0; i < members->n; i++)
        weir_item_end(members->items[i], outcome, status);
}

/* A clone has the same members, and leaves their ends to the item it was made of. */
static const weir_item_type joined_clone_type = { .name = "items" };

static weir_status joined_clone(weir_item *to, const weir_item *from)
{
    joined_body *body = weir_item_body(to);
    (void)from;
    body->items.items = (weir_item **)(void *)(body + 1);
    to->type = &joined_clone_type;
    return WEIR_OK;
}

static const weir_item_type joined_type = { .name = "items",
                                            .ended = joined_ended,
                                            .clone = joined_clone };
/* What is left of a joined item whose members were taken out of it. */
static const weir_item_type split_type = { .name = "split" };

weir_status weir_items_join(weir_loop *loop, weir_item **members, size_t n, weir_item **ret_joined)
{
    if (n == 0 || n > UINT16_MAX)
        return WEIR_EINVAL;
    size_t bytes = sizeof(joined_body) + n * sizeof(weir_item *);
    weir_item *joined = weir_item_new(loop, &joined_type, bytes);
    if (joined == NULL)
        return WEIR_ENOMEM;
    joined_body *body = weir_item_body(joined);
    weir_item **to = (weir_item **)(void *)(body + 1);
    uint64_t cost = 0;
    bool is_shared = false;
    for (size_t i = 0; i < n; i++) {
        to[i] = members[i];
        cost += members[i]->cost;
        is_shared |= weir_item_is_shared(members[i]);
    }
    *body = (joined_body){ { n, to }, !is_shared };
    joined->cost = cost > UINT32_MAX ? UINT32_MAX : (uint32_t)cost;
    joined->context = n == 1 ? members[0]->context : NULL;
    joined->key = members[0]->key;
    *ret_joined = joined;
    return WEIR_OK;
}

const weir_items *weir_item_members(const weir_item *item)
{
    bool is_joined = item->type == &joined_type || item->type == &joined_clone_type;
    return is_joined ? weir_item_body(item) : NULL;
}

weir_status weir_items_split(weir_loop *loop, weir_item *joined, const weir_items **ret_members)
{
    const joined_body *body = weir_item_body(joined);
    if (weir_item_members(joined) == NULL)
        return WEIR_EINVAL;
    if (joined->type != &joined_type || joined->holds != 1 || joined->parent != NULL ||
        (!body->is_sole_holder && joined->home != loop))
        return WEIR_EUNSUPPORTED;
    joined->type = &split_type;
    *ret_members = &body->items;
    return WEIR_OK;
}

/* ---- The end of a loop's items ---- */

/* Items that nobody ended: their sources hear of it now, and we of the bug. */
void wi_items_nack_leaked(weir_loop *loop)
{
    uint64_t leaked = wi_read(&loop->stats.items_reserved) - wi_items_free(loop);
    if (leaked == 0)
        return;
    weir_log(loop->env, WEIR_LOG_ERROR, "%llu items were never ended", (unsigned long long)leaked);
    for (uint32_t i = 0; i < WI_CLASSES; i++)
        for (uint64_t k = 0; k < loop->classes[i].n_free; k++)
            loop->classes[i].free[k]->holds = 0;
    for (uint32_t i = 0; i < WI_CLASSES; i++)
        for (void *slab = loop->classes[i].slabs; slab != NULL; slab = *(void **)slab)
            for (size_t k = 0; k < SLAB_BYTES / class_bytes[i]; k++) {
                weir_item *item =
                    (weir_item *)(void *)((char *)slab_first(slab) + k * class_bytes[i]);
                if (item->holds == 0 || wi_is_group(item)) /* that ends as its items do */
                    continue;
                note(item, WEIR_ABORTED, WEIR_EINTERNAL);
                item->holds = 0;
                wi_item_finish(item);
                while (wi_items_run_ended(loop))
                    ;
            }
    bool reported = wi_sim_reports(loop, NULL, "items were never ended");
    assert(reported && "items were never ended");
    (void)reported;
}

void wi_items_done(weir_loop *loop)
{
    for (wi_home *ring = loop->sent, *next; ring != NULL; ring = next) {
        next = ring->next_sent;
        if (atomic_fetch_sub(&ring->ends, 1) == 1)
            weir_memory_free(ring->env, ring->memory);
    }
    for (wi_home *ring = atomic_load(&loop->homes), *next; ring != NULL; ring = next) {
        next = ring->next;
        atomic_store(&ring->closed, true);
        if (atomic_fetch_sub(&ring->ends, 1) == 1)
            weir_memory_free(ring->env, ring->memory);
    }
    for (uint32_t i = 0; i < WI_CLASSES; i++) {
        wi_class *c = &loop->classes[i];
        for (void *slab = c->slabs, *next; slab != NULL; slab = next) {
            next = *(void **)slab;
            weir_memory_free(loop->env, slab);
        }
        weir_memory_free(loop->env, c->free);
    }
}
