/* The testkit's walk through a test's allocations, and the end of what a test left half done. */
#include "testkit_private.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- Abandoning a kit ---- */

enum { JOBS_MAX = 10000 }; /* that an aborted pipeline is waited for */

void wi_sim_made(weir_testkit *kit, weir_pipeline *pipeline)
{
    pipeline->next_on_kit = kit->pipelines;
    kit->pipelines = pipeline;
}

void wi_sim_freed(weir_testkit *kit, weir_pipeline *pipeline)
{
    weir_pipeline **link = &kit->pipelines;
    while (*link != pipeline)
        link = &(*link)->next_on_kit;
    *link = pipeline->next_on_kit;
}

static bool is_running(const weir_pipeline *p)
{
    return p->started && !atomic_load(&p->finished);
}

/* Nothing goes wrong any more; and what a test expected in vain is no breach. */
static void calm(weir_testkit *kit)
{
    weir_testkit_fail_allocation(kit, 0);
    weir_testkit_fail_all(kit, false);
    for (int fault = 0; fault < WEIR_FAULTS; fault++) {
        kit->config.faults_ppm[fault] = 0;
        kit->fault_at[fault] = 0;
    }
    if (kit->breaches == 0)
        kit->violations = 0;
}

/* Frees those that are over. Gives one that is not, or NULL. */
static const weir_pipeline *free_pipelines(weir_testkit *kit)
{
    const weir_pipeline *running = NULL;
    for (weir_pipeline *p = kit->pipelines, *next; p != NULL; p = next) {
        next = p->next_on_kit;
        if (is_running(p))
            running = p;
        else
            weir_pipeline_free(p);
    }
    return running;
}

/* Those that wait for jobs on virtual time are given it. */
static bool settle_jobs(weir_testkit *kit)
{
    bool settled = weir_testkit_settle(kit);
    const weir_pipeline *p = kit->pipelines;
    for (uint32_t i = 0; i < JOBS_MAX && settled && kit->config.job_us_max != 0; i++) {
        while (p != NULL && !is_running(p))
            p = p->next_on_kit;
        if (p == NULL)
            break;
        settled = weir_testkit_advance(kit, kit->config.job_us_max * WEIR_US);
    }
    return settled;
}

bool weir_testkit_abandon(weir_testkit *kit)
{
    if (kit->depth != 0 || wi_here != NULL) {
        wi_kit_violated(kit, "a callback was left by a jump");
        return false;
    }
    calm(kit);
    for (weir_pipeline *p = kit->pipelines; p != NULL; p = p->next_on_kit)
        if (is_running(p))
            weir_pipeline_shutdown(p, WEIR_ABORT, 0);
    if (!settle_jobs(kit) || !weir_testkit_check(kit))
        return false;
    const weir_pipeline *running = free_pipelines(kit);
    uint64_t live = wi_probes_live(kit);
    if (running != NULL)
        wi_kit_disappointed(kit, "%s was aborted, and is not over", running->name);
    else if (live != 0)
        wi_kit_disappointed(kit, "%llu items of a source have not ended", (unsigned long long)live);
    else if ((live = wi_kit_items_live(kit)) != 0)
        wi_kit_disappointed(kit, "%llu items were never ended", (unsigned long long)live);
    return running == NULL && live == 0;
}

/* ---- The walk ---- */

enum { OWNED_MAX = 64 };

typedef struct owned {
    void *what;
    void (*free_it)(void *what);
} owned;

struct weir_testkit_walk {
    weir_testkit *kits; /* of this run, and not freed */
    owned owned[OWNED_MAX];
    uint32_t n_owned;
    /* Offload threads allocate too. */
    _Atomic uint64_t allocations, fail_at;
    char why[256];
};

static _Thread_local weir_testkit_walk *walking;

weir_testkit_walk *weir_testkit_walk_new(void)
{
    return calloc(1, sizeof(weir_testkit_walk));
}

void weir_testkit_walk_free(weir_testkit_walk *walk)
{
    free(walk);
}

static void note(weir_testkit_walk *walk, const char *why)
{
    if (walk->why[0] == '\0')
        snprintf(walk->why, sizeof walk->why, "%s", why);
}

void wi_walk_joined(weir_testkit *kit)
{
    kit->walk = walking;
    if (walking == NULL)
        return;
    kit->next_on_walk = walking->kits;
    walking->kits = kit;
}

void wi_walk_left(weir_testkit *kit, size_t leaked)
{
    weir_testkit_walk *walk = kit->walk;
    char why[64];
    if (walk == NULL)
        return;
    weir_testkit **link = &walk->kits;
    while (*link != kit)
        link = &(*link)->next_on_walk;
    *link = kit->next_on_walk;
    if (kit->breaches != 0)
        note(walk, kit->why);
    snprintf(why, sizeof why, "%zu bytes were left", leaked);
    if (leaked != 0)
        note(walk, why);
}

void weir_testkit_walk_begin(weir_testkit_walk *walk, uint64_t nth)
{
    walk->kits = NULL;
    walk->n_owned = 0;
    walk->why[0] = '\0';
    atomic_store(&walk->allocations, 0);
    atomic_store(&walk->fail_at, nth);
    walking = walk;
}

bool weir_testkit_walk_owns(weir_testkit_walk *walk, void *what, void (*free_it)(void *what))
{
    if (walk->n_owned == OWNED_MAX)
        return false;
    walk->owned[walk->n_owned++] = (owned){ what, free_it };
    return true;
}

void weir_testkit_walk_freed(weir_testkit_walk *walk, const void *what)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < walk->n_owned; i++)
        if (walk->owned[i].what != what)
            walk->owned[kept++] = walk->owned[i];
    walk->n_owned = kept;
}

static void free_owned(weir_testkit_walk *walk)
{
    while (walk->n_owned > 0) {
        const owned *last = &walk->owned[--walk->n_owned];
        last->free_it(last->what);
    }
}

bool weir_testkit_walk_end(weir_testkit_walk *walk)
{
    bool is_over = true;
    walking = NULL;
    for (weir_testkit *kit = walk->kits; kit != NULL; kit = kit->next_on_walk) {
        bool is_clean = weir_testkit_abandon(kit);
        if (!is_clean)
            note(walk, weir_testkit_why(kit));
        is_over &= is_clean || (kit->pipelines == NULL && wi_kit_items_live(kit) == 0);
    }
    for (weir_testkit *kit = walk->kits, *next; kit != NULL && is_over; kit = next) {
        next = kit->next_on_walk;
        if (kit == walk->kits)
            free_owned(walk);
        (void)weir_testkit_free(kit);
    }
    return walk->why[0] == '\0';
}

bool weir_testkit_walk_fails(weir_testkit_walk *walk)
{
    return atomic_fetch_add(&walk->allocations, 1) + 1 == atomic_load(&walk->fail_at);
}

bool weir_testkit_walk_hit(const weir_testkit_walk *walk)
{
    uint64_t nth = atomic_load(&walk->fail_at);
    return nth != 0 && atomic_load(&walk->allocations) >= nth;
}

uint64_t weir_testkit_walk_allocations(const weir_testkit_walk *walk)
{
    return atomic_load(&walk->allocations);
}

const char *weir_testkit_walk_why(const weir_testkit_walk *walk)
{
    return walk->why;
}
