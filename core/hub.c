/* The hub: one mutex, a queue per outlet, producers that ask for what all outlets have room for. */
#include "wi_core.h"
#include "wi_plant.h"

#include <weir/hub.h>

#include <string.h>

#define OUTLETS_DEFAULT 64
#define ASKED_DEFAULT   256
#define WINDOW_DEFAULT  256
#define MOST            65536

typedef struct producer {
    weir_hub *hub;
    weir_stage *stage;
    struct producer *next;
    weir_task task;
    uint64_t asked; /* for and not come yet: under the lock */
    bool wants;     /* may ask for more when there is room: under the lock */
    bool is_over;
} producer;

typedef struct queued_item {
    weir_item *item;
    const producer *from;
} queued_item;

/* All under the lock but `stage` and `task`. */
typedef struct outlet {
    weir_hub *hub;
    weir_stage *stage;
    struct outlet *next;
    weir_task task;
    queued_item *ring;
    uint32_t window, room, head, queued;
    weir_hub_slow slow;
    bool is_in; /* gets what comes */
    bool waits; /* has credit and found nothing */
    weir_status status;
} outlet;

struct weir_hub {
    const weir_env *env;
    weir_hub_config config;
    pthread_mutex_t lock;
    uint32_t holds;
    uint32_t expected; /* producers that started and have not ended */
    bool is_over;
    weir_status status;
    uint64_t asked; /* by all producers */
    producer *producers;
    outlet *outlets;
    weir_hub_stats stats;
};

/* ---- Making ---- */

static uint32_t within(uint32_t value, uint32_t default_, uint32_t most)
{
    return value == 0 ? default_ : value < most ? value : most;
}

weir_hub *weir_hub_new(const weir_env *env, const weir_hub_config *config)
{
    weir_hub *hub = weir_memory_new(env, sizeof *hub);
    if (hub == NULL)
        return NULL;
    hub->env = env;
    if (config != NULL)
        hub->config = *config;
    hub->config.outlets_max = within(hub->config.outlets_max, OUTLETS_DEFAULT,
                                     WEIR_HUB_OUTLETS_MAX);
    hub->config.asked_max = within(hub->config.asked_max, ASKED_DEFAULT, MOST);
    hub->holds = 1;
    pthread_mutex_init(&hub->lock, NULL);
    return hub;
}

static void hub_hold(weir_hub *hub)
{
    pthread_mutex_lock(&hub->lock);
    hub->holds++;
    pthread_mutex_unlock(&hub->lock);
}

static void hub_release(void *user)
{
    weir_hub *hub = user;
    pthread_mutex_lock(&hub->lock);
    bool last = --hub->holds == 0;
    pthread_mutex_unlock(&hub->lock);
    if (!last)
        return;
    pthread_mutex_destroy(&hub->lock);
    weir_memory_free(hub->env, hub);
}

void weir_hub_free(weir_hub *hub)
{
    if (hub != NULL)
        hub_release(hub);
}

void weir_hub_stats_get(const weir_hub *hub, weir_hub_stats *ret_stats)
{
    weir_hub *locked = (weir_hub *)(uintptr_t)hub;
    pthread_mutex_lock(&locked->lock);
    *ret_stats = hub->stats;
    for (const outlet *o = hub->outlets; o != NULL; o = o->next)
        ret_stats->queued += o->queued;
    pthread_mutex_unlock(&locked->lock);
}

/* ---- Credit; all under the lock ---- */

/* What all outlets that hold have room for; `ret_window`: would have, if they were empty. */
static uint64_t room_of_all(const weir_hub *hub, uint64_t *ret_window)
{
    uint64_t room = hub->config.asked_max;
    *ret_window = room;
    if (hub->stats.outlets == 0 && !hub->config.alone_drops)
        return 0;
    for (const outlet *o = hub->outlets; o != NULL; o = o->next) {
        if (!o->is_in || o->slow != WEIR_HUB_HOLDS)
            continue;
        uint64_t left = o->window > o->queued ? o->window - o->queued : 0;
        room = left < room ? left : room;
        *ret_window = o->window < *ret_window ? o->window : *ret_window;
    }
    return room;
}

/* How many more a producer may ask for: its share, so that one that has nothing does not keep all,
 * and one at least, for which every outlet has a slot to spare. */
static uint64_t may_ask(weir_hub *hub, producer *p)
{
    uint64_t window, room = room_of_all(hub, &window);
    uint64_t share = window / hub->stats.producers;
    share = share != 0 ? share : 1;
    uint64_t more = room > hub->asked ? room - hub->asked : 0;
    uint64_t lacks = p->asked < share ? share - p->asked : 0;
    more = lacks < more ? lacks : more;
    if (more == 0 && p->asked == 0 && room > 0)
        more = 1;
    p->asked += more;
    hub->asked += more;
    p->wants = p->asked < share;
    return more;
}

static void wake_producers(weir_hub *hub)
{
    for (producer *p = hub->producers; p != NULL; p = p->next)
        if (p->wants && !p->is_over)
            weir_post(weir_stage_loop(p->stage), &p->task);
}

static void wake_outlet(outlet *o)
{
    if (!o->waits)
        return;
    o->waits = false;
    weir_post(weir_stage_loop(o->stage), &o->task);
}

/* ---- Producers ---- */

static void producer_ask(producer *p)
{
    weir_hub *hub = p->hub;
    if (p->is_over || weir_in_is_over(weir_stage_in(p->stage)))
        return;
    pthread_mutex_lock(&hub->lock);
    uint64_t more = may_ask(hub, p);
    pthread_mutex_unlock(&hub->lock);
    if (more != 0)
        (void)weir_request(weir_stage_in(p->stage), more);
}

static void producer_run(weir_task *task, void *user)
{
    (void)task;
    producer_ask(user);
}

/* A slot for it, or what becomes of those without. */
static bool takes(weir_hub *hub, outlet *o)
{
    if (!o->is_in)
        return false;
    if (o->slow == WEIR_HUB_HOLDS || o->queued < o->window)
        return true;
    if (o->slow == WEIR_HUB_MISSES) {
        hub->stats.missed++;
        return false;
    }
    o->is_in = false;
    o->status = WEIR_EOVERLOAD;
    hub->stats.outlets--;
    hub->stats.put_out++;
    weir_post(weir_stage_loop(o->stage), &o->task);
    return false;
}

/* One hold of `item` for an outlet: on this loop the item itself. */
static weir_status copy_for(weir_loop *here, const outlet *o, weir_item *item, weir_item **ret_copy)
{
    weir_status status = weir_item_hold(item);
    *ret_copy = item;
    if (status != WEIR_OK || weir_stage_loop(o->stage) == here)
        return status;
    status = weir_item_clone(here, item, ret_copy);
    if (status != WEIR_OK)
        weir_item_end(item, WEIR_FAILED, status);
    return status;
}

/* To all that take it, or to none. Leaves the caller's hold. */
static weir_status hand_to_all(producer *p, weir_item *item, uint32_t *ret_n)
{
    weir_hub *hub = p->hub;
    weir_loop *here = weir_stage_loop(p->stage);
    weir_item *copies[WEIR_HUB_OUTLETS_MAX];
    outlet *to[WEIR_HUB_OUTLETS_MAX];
    uint32_t n = 0;
    weir_status status = WEIR_OK;
    for (outlet *o = hub->outlets; o != NULL && status == WEIR_OK; o = o->next)
        if (takes(hub, o) && (status = copy_for(here, o, item, &copies[n])) == WEIR_OK)
            to[n++] = o;
    for (uint32_t i = 0; i < n; i++) {
        outlet *o = to[i];
        if (status != WEIR_OK) {
            weir_item_end(copies[i], WEIR_FAILED, status);
            continue;
        }
        o->ring[(o->head + o->queued++) % o->room] = (queued_item){ copies[i], p };
        wake_outlet(o);
    }
    *ret_n = n;
    return status;
}

/* The producer stays until all that it handed on has ended: the memory is its loop's. */
static void ticket_ended(void *memory, weir_outcome outcome, weir_status status)
{
    (void)outcome;
    (void)status;
    weir_stage_release(*(weir_stage **)memory);
}

static const weir_ticket_type ticket_type = { .name = "hub",
                                              .bytes = sizeof(weir_stage *),
                                              .ended = ticket_ended };

/* Gives how many have one; the others fail. */
static size_t take_tickets(weir_stage *stage, weir_item **items, size_t n)
{
    size_t got = weir_tickets(weir_stage_loop(stage), &ticket_type, items, n);
    for (size_t i = 0; i < got; i++) {
        *(weir_stage **)weir_ticket_memory(items[i]) = stage;
        weir_stage_hold(stage);
    }
    for (size_t i = got; i < n; i++)
        weir_item_end(items[i], WEIR_FAILED, WEIR_ENOMEM);
    return got;
}

static weir_status producer_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                     void *state)
{
    producer *p = state;
    weir_hub *hub = p->hub;
    weir_outcome outcomes[WI_VECTOR_MAX];
    size_t got = take_tickets(stage, items, n);
    weir_status failed = got < n ? WEIR_ENOMEM : WEIR_OK;
    (void)in;
    pthread_mutex_lock(&hub->lock);
    hub->stats.items += n;
    hub->stats.failed += n - got;
    p->asked -= n;
    hub->asked -= n;
    for (size_t i = 0; i < got; i++) {
        uint32_t taken;
        hub->stats.dropped += hub->stats.outlets == 0;
        weir_status status = hand_to_all(p, items[i], &taken);
        outcomes[i] = status != WEIR_OK ? WEIR_FAILED : taken == 0 ? WEIR_FILTERED : WEIR_ACKED;
        hub->stats.failed += status != WEIR_OK;
        failed = status != WEIR_OK ? status : failed;
    }
    pthread_mutex_unlock(&hub->lock);
    for (size_t i = 0; i < got; i++)
        weir_item_end(items[i], outcomes[i], outcomes[i] == WEIR_FAILED ? failed : WEIR_OK);
    if (failed != WEIR_OK && !weir_stage_is_acked(stage))
        weir_stage_fail(stage, failed, "cannot hand an item to all outlets");
    producer_ask(p);
    return WEIR_OK;
}

/* Under the lock: `n` fewer will come. The last one ends all outlets. */
static void producers_ended(weir_hub *hub, uint32_t n, weir_status status)
{
    hub->expected -= n;
    if (hub->status == WEIR_OK)
        hub->status = status;
    if (hub->expected != 0)
        return;
    hub->is_over = true;
    for (outlet *o = hub->outlets; o != NULL; o = o->next)
        weir_post(weir_stage_loop(o->stage), &o->task);
}

/* What a start brought and may take back. */
typedef struct producer_share {
    weir_hub *hub;
    uint32_t unopened;
} producer_share;

static void producer_over(producer *p, weir_status status)
{
    weir_hub *hub = p->hub;
    if (p->is_over)
        return;
    pthread_mutex_lock(&hub->lock);
    p->is_over = true;
    hub->asked -= p->asked;
    p->asked = 0;
    hub->stats.producers--;
    for (producer **link = &hub->producers; *link != NULL; link = &(*link)->next)
        if (*link == p) {
            *link = p->next;
            break;
        }
    producers_ended(hub, 1, status);
    wake_producers(hub);
    pthread_mutex_unlock(&hub->lock);
}

static weir_status producer_share_new(const void *config, const weir_env *env, uint32_t replicas,
                                      void **ret_shared, const char **why)
{
    weir_hub *hub = *(weir_hub *const *)config;
    producer_share *shared = weir_memory_new(hub->env, sizeof *shared);
    weir_status status = shared != NULL ? WEIR_OK : WEIR_ENOMEM;
    (void)env;
    pthread_mutex_lock(&hub->lock);
    if (hub->is_over) {
        status = WEIR_ECLOSED;
        *why = "its hub is over";
    } else if (hub->expected + replicas > WEIR_HUB_PRODUCERS_MAX) {
        status = WEIR_ELIMIT;
        *why = "its hub has too many producers";
    } else if (status == WEIR_OK) {
        hub->expected += replicas;
    }
    pthread_mutex_unlock(&hub->lock);
    if (status != WEIR_OK) {
        weir_memory_free(hub->env, shared);
        return status;
    }
    *shared = (producer_share){ hub, replicas };
    *ret_shared = shared;
    return WEIR_OK;
}

static void producer_share_free(void *user)
{
    producer_share *shared = user;
    weir_hub *hub = shared->hub;
    pthread_mutex_lock(&hub->lock);
    if (shared->unopened != 0)
        producers_ended(hub, shared->unopened, WEIR_ECANCELED);
    pthread_mutex_unlock(&hub->lock);
    weir_memory_free(hub->env, shared);
}

static weir_status producer_open(weir_stage *stage, const void *config, void *state)
{
    producer *p = state;
    weir_hub *hub = *(weir_hub *const *)config;
    *p = (producer){ .hub = hub, .stage = stage, .wants = true };
    p->task = (weir_task)WEIR_TASK(producer_run, p);
    pthread_mutex_lock(&hub->lock);
    ((producer_share *)weir_stage_shared(stage))->unopened--;
    p->next = hub->producers;
    hub->producers = p;
    hub->stats.producers++;
    pthread_mutex_unlock(&hub->lock);
    producer_ask(p);
    return WEIR_OK;
}

static void producer_close(weir_stage *stage, void *state)
{
    (void)stage;
    producer_over(state, WEIR_ECANCELED);
}

static void producer_on_end(weir_stage *stage, weir_in *in, weir_status status, void *state)
{
    (void)stage;
    (void)in;
    producer_over(state, status);
}

/* Ends what `p` has in the queue. Under the lock: no callback comes of it at once. */
static void take_back(outlet *o, const producer *p)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < o->queued; i++) {
        queued_item at = o->ring[(o->head + i) % o->room];
        if (at.from == p)
            weir_item_end(at.item, WEIR_ABORTED, WEIR_ECANCELED);
        else
            o->ring[(o->head + kept++) % o->room] = at;
    }
    o->queued = kept;
}

/* What consumers have taken already ends with them; an abort does not wait for the rest of it. */
static void producer_on_abort(weir_stage *stage, void *state)
{
    producer *p = state;
    (void)stage;
    pthread_mutex_lock(&p->hub->lock);
    for (outlet *o = p->hub->outlets; o != NULL; o = o->next) {
        take_back(o, p);
        weir_post(weir_stage_loop(o->stage), &o->task); /* it may be over now */
    }
    wake_producers(p->hub); /* there is room for theirs */
    pthread_mutex_unlock(&p->hub->lock);
    producer_over(p, WEIR_ECANCELED);
}

/* Never called, as there are no outputs: it says that demand is for this stage to decide. */
static void producer_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    (void)state;
}

static weir_status producer_check(const void *config, const char **why)
{
    *why = "needs a hub";
    return *(weir_hub *const *)config != NULL ? WEIR_OK : WEIR_EINVAL;
}

static const weir_stage_type producer_type = {
    .name = "into_hub",
    .config_size = sizeof(weir_hub *),
    .state_size = sizeof(producer),
    .outputs = WEIR_PORTS_NONE,
    .share = producer_share_new,
    .unshare = producer_share_free,
    .check = producer_check,
    .open = producer_open,
    .close = producer_close,
    .on_demand = producer_on_demand,
    .on_items = producer_on_items,
    .on_end = producer_on_end,
    .on_abort = producer_on_abort,
};

/* ---- Outlets ---- */

/* Gets nothing any more. Under the lock. */
static void outlet_out(outlet *o)
{
    if (!o->is_in)
        return;
    o->is_in = false;
    o->hub->stats.outlets--;
    o->hub->stats.left++;
    wake_producers(o->hub); /* it may have been the slowest */
}

/* Under the lock. Gives how many it took off. */
static size_t outlet_pop(outlet *o, weir_item **items, size_t most, const weir_out *out)
{
    size_t n = 0;
    uint64_t credit = weir_out_credit(out);
    while (n < most && n < credit && o->queued > 0 &&
           weir_out_fits(out, o->ring[o->head].item->cost)) {
        items[n++] = o->ring[o->head].item;
        o->head = (o->head + 1) % o->room;
        o->queued--;
    }
    o->waits = credit > n && o->queued == 0;
    if (n != 0 && o->slow == WEIR_HUB_HOLDS && o->queued <= o->window / 2)
        wake_producers(o->hub);
    return n;
}

static void outlet_pull(outlet *o)
{
    weir_hub *hub = o->hub;
    weir_out *out = weir_stage_out(o->stage);
    /* into a window of bytes one by one, as each may be the last that fits */
    size_t most = out->edge->window_bytes != 0 ? 1 : WI_VECTOR_MAX;
    bool over = false;
    weir_status status = WEIR_OK;
    for (bool more = true; more && !weir_out_is_over(out);) {
        weir_item *items[WI_VECTOR_MAX];
        pthread_mutex_lock(&hub->lock);
        size_t n = outlet_pop(o, items, most, out);
        over = o->queued == 0 && (hub->is_over || !o->is_in);
        status = o->status != WEIR_OK || !o->is_in ? o->status : hub->status;
        pthread_mutex_unlock(&hub->lock);
        more = n == most && !over;
        if (n != 0)
            weir_emit_all(out, items, n);
    }
    if (over)
        weir_end_error(out, status);
}

static void outlet_run(weir_task *task, void *user)
{
    outlet *o = user;
    (void)task;
    if (o->ring != NULL) /* else it has closed */
        outlet_pull(o);
}

static weir_status outlet_join(weir_hub *hub, outlet *o)
{
    weir_status status = WEIR_OK;
    pthread_mutex_lock(&hub->lock);
    if (hub->stats.outlets == hub->config.outlets_max) {
        status = WEIR_ELIMIT;
        hub->stats.refused++;
    } else {
        o->is_in = true;
        o->next = hub->outlets;
        hub->outlets = o;
        hub->stats.outlets++;
        hub->stats.joined++;
        wake_producers(hub); /* there may have been none */
        if (hub->is_over)
            weir_post(weir_stage_loop(o->stage), &o->task);
    }
    pthread_mutex_unlock(&hub->lock);
    return status;
}

typedef struct outlet_spec {
    weir_hub *hub;
    weir_outlet_config config;
} outlet_spec;

static weir_status outlet_open(weir_stage *stage, const void *config, void *state)
{
    outlet *o = state;
    const outlet_spec *spec = config;
    weir_hub *hub = spec->hub;
    *o = (outlet){ .hub = hub, .stage = stage, .slow = spec->config.slow };
    o->task = (weir_task)WEIR_TASK(outlet_run, o);
    o->window = within(spec->config.window, WINDOW_DEFAULT, MOST);
    /* What the producers have asked for by now comes to it too. */
    o->room = o->window + hub->config.asked_max + WEIR_HUB_PRODUCERS_MAX;
    o->ring = weir_memory_new(hub->env, o->room * sizeof *o->ring);
    if (o->ring == NULL)
        return WEIR_ENOMEM;
    weir_status status = outlet_join(hub, o);
    if (status != WEIR_OK)
        weir_memory_free(hub->env, o->ring);
    return status;
}

/* Leaves without what is queued. */
static void outlet_leave(outlet *o)
{
    weir_hub *hub = o->hub;
    pthread_mutex_lock(&hub->lock);
    outlet_out(o);
    uint32_t n = o->queued; /* nobody adds any more */
    o->queued = 0;
    pthread_mutex_unlock(&hub->lock);
    for (uint32_t i = WI_PLANT(24); i < n; i++)
        weir_item_end(o->ring[(o->head + i) % o->room].item, WEIR_ABORTED, WEIR_ECANCELED);
}

static void outlet_close(weir_stage *stage, void *state)
{
    outlet *o = state;
    weir_hub *hub = o->hub;
    (void)stage;
    outlet_leave(o);
    pthread_mutex_lock(&hub->lock);
    for (outlet **link = &hub->outlets; *link != NULL; link = &(*link)->next)
        if (*link == o) {
            *link = o->next;
            break;
        }
    pthread_mutex_unlock(&hub->lock);
    weir_memory_free(hub->env, o->ring);
    o->ring = NULL;
}

static void outlet_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    outlet_pull(state);
}

static void outlet_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)stage;
    (void)out;
    outlet_leave(state);
}

static void outlet_on_abort(weir_stage *stage, void *state)
{
    (void)stage;
    outlet_leave(state);
}

/* Takes nothing new; what is queued still flows. */
static void outlet_on_drain(weir_stage *stage, void *state)
{
    outlet *o = state;
    (void)stage;
    pthread_mutex_lock(&o->hub->lock);
    outlet_out(o);
    pthread_mutex_unlock(&o->hub->lock);
    outlet_pull(o);
}

static weir_status outlet_check(const void *config, const char **why)
{
    const outlet_spec *spec = config;
    *why = spec->hub == NULL ? "needs a hub" : "no such rule for slow consumers";
    return spec->hub != NULL && spec->config.slow <= WEIR_HUB_LEAVES ? WEIR_OK : WEIR_EINVAL;
}

static const weir_stage_type outlet_type = {
    .name = "from_hub",
    .config_size = sizeof(outlet_spec),
    .state_size = sizeof(outlet),
    .inputs = WEIR_PORTS_NONE,
    .check = outlet_check,
    .open = outlet_open,
    .close = outlet_close,
    .on_demand = outlet_on_demand,
    .on_cancel = outlet_on_cancel,
    .on_drain = outlet_on_drain,
    .on_abort = outlet_on_abort,
};

/* ---- Specs ---- */

static weir_stage_spec *spec_of(weir_hub *hub, const weir_stage_type *type, const void *config)
{
    weir_stage_spec *spec = weir_stage_of(type, config);
    if (spec == NULL || hub == NULL)
        return spec;
    hub_hold(hub);
    spec->extra = hub;
    spec->free_extra = hub_release;
    return spec;
}

weir_stage_spec *weir_into_hub(weir_hub *hub)
{
    return spec_of(hub, &producer_type, &hub);
}

weir_stage_spec *weir_from_hub(weir_hub *hub, const weir_outlet_config *config)
{
    outlet_spec spec = { .hub = hub };
    if (config != NULL)
        spec.config = *config;
    return spec_of(hub, &outlet_type, &spec);
}
