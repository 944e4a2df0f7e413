/* The testkit's simulation: what the seed chooses, which faults come, and the trace of it all. */
#include "testkit_private.h"

#include <stdarg.h>
#include <stdio.h>

enum { PUT_OFF_ONE_IN = 4, SAME_DUE_MAX = 32, READY_MAX = 32, MILLION = 1000000 };

uint64_t wi_kit_choose(weir_testkit *kit, uint64_t n)
{
    return n > 1 ? wi_kit_random(&kit->choices) % n : 0;
}

/* ---- The trace ---- */

/* FNV-1a over the values, each mixed first. */
void wi_kit_fold(weir_testkit *kit, uint64_t value)
{
    kit->trace = (kit->trace ^ (value * UINT64_C(0x9e3779b97f4a7c15))) * UINT64_C(0x100000001b3);
    kit->trace ^= kit->trace >> 29;
}

uint64_t weir_testkit_trace(const weir_testkit *kit)
{
    return kit->trace;
}

uint64_t weir_testkit_steps(const weir_testkit *kit)
{
    return kit->steps;
}

void wi_kit_tell(weir_testkit *kit, const char *format, ...)
{
    char line[512];
    va_list arguments;
    if (kit->config.log == NULL)
        return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    kit->config.log(line, kit->config.user);
}

static void note_why(weir_testkit *kit, bool is_first, const char *format, va_list arguments)
{
    char why[sizeof kit->why];
    vsnprintf(why, sizeof why, format, arguments);
    kit->violations++;
    if (is_first)
        snprintf(kit->why, sizeof kit->why, "%s", why);
    wi_kit_tell(kit, "VIOLATION: %s", why);
}

void wi_kit_violated(weir_testkit *kit, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    note_why(kit, kit->breaches++ == 0, format, arguments);
    va_end(arguments);
}

void wi_kit_disappointed(weir_testkit *kit, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    note_why(kit, kit->violations == 0, format, arguments);
    va_end(arguments);
}

bool wi_sim_reports(const weir_loop *loop, const weir_stage *stage, const char *what)
{
    weir_testkit *kit = loop->kit;
    if (kit == NULL)
        return false;
    wi_kit_violated(kit, "%s%s%s", stage != NULL ? weir_stage_name(stage) : "",
                    stage != NULL ? ": " : "", what);
    return kit->reports;
}

/* ---- Faults ---- */

bool wi_kit_fault(weir_testkit *kit, weir_fault fault)
{
    uint32_t rate = kit->config.faults_ppm[fault];
    /* Threads of a pool allocate too, at moments that no seed decides. */
    if (fault == WEIR_FAULT_ALLOCATION && wi_here == NULL)
        return false;
    if (!kit->is_armed || (rate == 0 && kit->fault_at[fault] == 0))
        return false;
    bool hit = kit->fault_at[fault] != 0 && --kit->fault_at[fault] == 0;
    hit |= rate != 0 && wi_kit_random(&kit->choices) % MILLION < rate;
    if (hit)
        kit->fault_hits[fault]++;
    return hit;
}

void weir_testkit_fault(weir_testkit *kit, weir_fault fault, uint64_t nth)
{
    kit->fault_at[fault] = nth;
}

uint64_t weir_testkit_fault_hits(const weir_testkit *kit, weir_fault fault)
{
    return kit->fault_hits[fault];
}

/* ---- Choices ---- */

void wi_sim_pick(weir_loop *loop)
{
    weir_testkit *kit = loop->kit;
    uint64_t n = 0;
    if (!kit->steers)
        return;
    for (const weir_stage *s = loop->ready_head; s != NULL && n < READY_MAX; s = s->next_ready)
        n++;
    weir_stage *before = NULL, *chosen = loop->ready_head;
    for (uint64_t nth = wi_kit_choose(kit, n); nth > 0; nth--) {
        before = chosen;
        chosen = chosen->next_ready;
    }
    if (before == NULL)
        return;
    before->next_ready = chosen->next_ready;
    if (loop->ready_tail == chosen)
        loop->ready_tail = before;
    chosen->next_ready = loop->ready_head;
    loop->ready_head = chosen;
}

bool wi_sim_puts_off(weir_loop *loop)
{
    return loop->kit->steers && wi_kit_choose(loop->kit, PUT_OFF_ONE_IN) == 0;
}

/* Those that are due at the same instant as the first lie together at the top of the heap. */
static uint32_t same_due(weir_timer *timers[SAME_DUE_MAX])
{
    uint32_t n = 1;
    for (uint32_t at = 0; at < n; at++)
        for (weir_timer *t = timers[at]->child; t != NULL && n < SAME_DUE_MAX; t = t->sibling)
            if (t->due_ns == timers[0]->due_ns)
                timers[n++] = t;
    return n;
}

weir_timer *wi_sim_timer(weir_loop *loop)
{
    weir_testkit *kit = loop->kit;
    weir_timer *timers[SAME_DUE_MAX] = { loop->timers };
    if (!kit->steers)
        return loop->timers;
    for (uint32_t i = 0; i < kit->loop_count; i++)
        if (kit->loops[i] == loop && wi_kit_fault(kit, WEIR_FAULT_TIMER_LATE)) {
            kit->stalls[i].is_late = true;
            return NULL;
        }
    return timers[wi_kit_choose(kit, same_due(timers))];
}

uint64_t wi_sim_job_ns(const weir_env *env)
{
    weir_testkit *kit = wi_sim_kit_of(env);
    if (kit == NULL || kit->config.job_us_max == 0 || env->now_ns == NULL)
        return 0;
    return (1 + wi_kit_choose(kit, kit->config.job_us_max)) * WEIR_US;
}

/* The tail goes out before the end, and both may be seen apart from each other. */
static bool publish_out(weir_testkit *kit, wi_edge *edge)
{
    uint64_t how = wi_kit_choose(kit, 4);
    if (how == 0)
        return false;
    edge->out_published = edge->out.tail;
    atomic_store_explicit(&edge->tail_shared, edge->out.tail, memory_order_release);
    wi_loop_ring(edge->in.stage->loop);
    return how > 1 || !edge->ended;
}

/* As they go through the doors of wi_edges_publish, but not all at once. What is held back is noted
 * again, and published in a later turn. */
void wi_sim_publish(weir_loop *loop)
{
    weir_testkit *kit = loop->kit;
    wi_edge *outs = NULL, *ins = NULL;
    if (kit->steers) {
        for (wi_edge **link = &loop->dirty_out, *edge; (edge = *link) != NULL;) {
            if (publish_out(kit, edge)) {
                link = &edge->next_dirty_out;
                continue;
            }
            *link = edge->next_dirty_out;
            edge->next_dirty_out = outs;
            outs = edge;
        }
        for (wi_edge **link = &loop->dirty_in, *edge; (edge = *link) != NULL;) {
            if (wi_kit_choose(kit, PUT_OFF_ONE_IN) != 0) {
                link = &edge->next_dirty_in;
                continue;
            }
            *link = edge->next_dirty_in;
            edge->next_dirty_in = ins;
            ins = edge;
        }
    }
    wi_edges_publish(loop);
    loop->dirty_out = outs;
    loop->dirty_in = ins;
    if (!wi_sim_puts_off(loop))
        wi_items_publish(loop);
}

/* ---- After every step ---- */

static void fold_visit(weir_testkit *kit, const weir_stage *stage)
{
    const weir_stage_stats *s = &stage->stats;
    const uint64_t values[] = { stage->node->index, stage->replica, s->items_in, s->items_out,
                                s->filtered,        s->failed,      s->aborted,  stage->holds };
    for (uint32_t i = 0; i < sizeof values / sizeof *values; i++)
        wi_kit_fold(kit, values[i]);
    wi_kit_tell(kit, "%9.3f ms  visit %s/%u: in %llu, out %llu, failed %llu, aborted %llu",
                (double)(kit->now_ns - WEIR_SEC) / 1e6, weir_stage_name(stage), stage->replica,
                (unsigned long long)s->items_in, (unsigned long long)s->items_out,
                (unsigned long long)s->failed, (unsigned long long)s->aborted);
}

void wi_sim_after(weir_loop *loop, wi_step step, weir_stage *stage)
{
    static const char *const names[] = { "visit", "task", "timer", "credit" };
    weir_testkit *kit = loop->kit;
    kit->steps++;
    wi_kit_fold(kit, (uint64_t)step);
    wi_kit_fold(kit, kit->now_ns);
    if (stage != NULL)
        fold_visit(kit, stage);
    else
        wi_kit_tell(kit, "%9.3f ms  %s", (double)(kit->now_ns - WEIR_SEC) / 1e6, names[step]);
    if (kit->violations == 0)
        wi_kit_check(kit);
    if (wi_kit_fault(kit, WEIR_FAULT_CANCEL))
        wi_probes_cancel_one(kit, loop);
}
