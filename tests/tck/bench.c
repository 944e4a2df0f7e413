/* The bench: builds the graph around a row, turns its loops one by one, and closes it. */
#include "tck.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { ROUNDS_MAX = 20000 };

static const uint64_t first_step_ns = 10 * WEIR_US, last_step_ns = 10 * WEIR_SEC,
                      patience_ns = 100 * WEIR_SEC;

void tck_fail(tck *t, const char *format, ...)
{
    va_list arguments;
    if (t->failed)
        return;
    t->failed = true;
    va_start(arguments, format);
    (void)vsnprintf(t->why, sizeof t->why, format, arguments);
    va_end(arguments);
}

/* ---- Surroundings ---- */

static uint64_t next_random(tck *t)
{
    t->random ^= t->random << 13; /* xorshift64, Marsaglia 2003 */
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

static uint64_t env_now(void *user)
{
    return ((tck *)user)->now_ns;
}

static uint64_t env_entropy(void *user)
{
    return next_random(user);
}

static weir_status real_request(tck *t, weir_in *in, uint64_t n)
{
    (void)t;
    return weir_request(in, n);
}

static void real_cancel(tck *t, weir_in *in)
{
    (void)t;
    weir_cancel(in);
}

static uint64_t real_outstanding(tck *t, const weir_in *in)
{
    (void)t;
    return weir_in_outstanding(in);
}

static void real_emit(tck *t, weir_out *out, weir_item *item)
{
    (void)t;
    weir_emit(out, item);
}

static void real_end(tck *t, weir_out *out, weir_status status)
{
    (void)t;
    if (status == WEIR_OK)
        weir_end(out);
    else
        weir_end_error(out, status);
}

static weir_status real_check(tck *t, weir_pipeline *pipeline)
{
    (void)t;
    return weir_pipeline_check(pipeline);
}

static weir_status real_start(tck *t, weir_pipeline *pipeline)
{
    return weir_pipeline_start(pipeline, t->loop, t->loops, NULL, NULL);
}

static const tck_engine real = { real_request, real_cancel, real_outstanding, real_emit,
                                 real_end,     real_check,  real_start };

void tck_init(tck *t, const stage_row *row, const tck_engine *engine, uint32_t loops,
              uint32_t window, uint64_t seed)
{
    memset(t, 0, sizeof *t);
    t->row = row;
    t->engine = engine != NULL ? engine : &real;
    t->loops = loops;
    t->window = window;
    t->now_ns = WEIR_SEC;
    t->seed = seed;
    t->random = UINT64_C(0x9e3779b97f4a7c15) * (2 * seed + 1);
    for (uint32_t i = 0; i < TCK_PORTS; i++) {
        t->in[i].t = t->out[i].t = t;
        t->in[i].index = t->out[i].index = i;
        t->out[i].cancel_at = UINT64_MAX;
    }
    t->kit = weir_testkit_new_with(&(weir_testkit_config){ .seed = 1, .job_us_max = 1000 });
    if (!TCK(t, t->kit != NULL, "no testkit"))
        return;
    t->env = *weir_testkit_env(t->kit);
    t->env.now_ns = env_now;
    t->env.entropy = env_entropy;
    t->env.user = t;
    for (uint32_t i = 0; i < loops; i++) {
        t->loop[i] = weir_loop_new(&(weir_loop_config){ .env = &t->env, .is_virtual = true });
        (void)TCK(t, t->loop[i] != NULL, "no loop");
    }
    t->n_in = (uint32_t)row->inputs;
    t->n_out = (uint32_t)row->outputs;
    t->row_index = t->n_in;
    (void)TCK(t, t->n_in <= TCK_PORTS / 2 && t->n_out <= TCK_PORTS / 2, "has too many ports");
}

/* ---- The graph ---- */

/* Neighbours are on different loops, so that every edge crosses. */
static void place(const tck *t, weir_node *node, uint32_t loop)
{
    if (t->loops > 1)
        weir_node_place(node, loop % t->loops);
}

weir_node *tck_add_source(tck *t, weir_pipeline *p, uint32_t index)
{
    weir_node *node = weir_add(p, tck_source_spec(&t->in[index]));
    place(t, node, t->loops == 2 || index % 2 == 0 ? 0 : 3);
    return node;
}

weir_node *tck_add_sink(tck *t, weir_pipeline *p, uint32_t index)
{
    weir_node *node = weir_add(p, tck_sink_spec(&t->out[index]));
    place(t, node, 2 + (t->loops == 2 ? 0 : index % 2));
    return node;
}

weir_node *tck_add_row(tck *t, weir_pipeline *p)
{
    weir_node *node = weir_add(p, t->row->make());
    place(t, node, 1);
    if (tck_has(t, STAGE_LOSSY))
        weir_node_best_effort(node);
    return node;
}

static void add_graph(tck *t, weir_pipeline *p, uint32_t twin)
{
    uint32_t inputs = (uint32_t)t->row->inputs, outputs = (uint32_t)t->row->outputs;
    weir_node *above[TCK_PORTS] = { NULL };
    for (uint32_t i = 0; i < inputs; i++)
        above[i] = tck_add_source(t, p, twin * inputs + i);
    weir_node *row = tck_add_row(t, p);
    for (uint32_t i = 0; i < inputs; i++)
        weir_link(above[i], 0, row, i, NULL);
    for (uint32_t i = 1; i < t->chain; i++) {
        weir_node *next = tck_add_row(t, p);
        place(t, next, 1 + i);
        weir_link(row, 0, next, 0, NULL);
        row = next;
    }
    for (uint32_t i = 0; i < outputs; i++)
        weir_link(row, i, tck_add_sink(t, p, twin * outputs + i), 0, NULL);
}

weir_pipeline *tck_build(tck *t)
{
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){
        .name = "tck", .env = &t->env, .window = t->window, .loops = t->loops });
    if (!TCK(t, p != NULL, "no pipeline"))
        return NULL;
    uint32_t twins = t->twins != 0 ? t->twins : 1;
    t->n_in = twins * (uint32_t)t->row->inputs;
    t->n_out = twins * (uint32_t)t->row->outputs;
    for (uint32_t twin = 0; twin < twins; twin++)
        add_graph(t, p, twin);
    return p;
}

bool tck_start(tck *t)
{
    if (t->failed || (t->pipeline = tck_build(t)) == NULL)
        return false;
    weir_status status = t->engine->start(t, t->pipeline);
    if (!TCK(t, status == WEIR_OK, "does not start: %s", weir_pipeline_why(t->pipeline)))
        return false;
    t->is_started = true;
    tck_settle(t);
    return !t->failed;
}

bool tck_run_on_threads(tck *t)
{
    t->has_threads = true;
    t->env.now_ns = NULL; /* the real ones */
    t->env.entropy = NULL;
    for (uint32_t i = 0; i < t->n_in; i++)
        t->in[i].ends_when_dry = true;
    for (uint32_t i = 0; i < t->n_out; i++)
        t->out[i].ask_in_open = WEIR_UNBOUNDED;
    if (t->failed || (t->pipeline = tck_build(t)) == NULL)
        return false;
    weir_status status = weir_run(t->pipeline);
    t->is_started = true;
    return TCK(t, tck_has(t, STAGE_ENDS) || status == WEIR_OK, "on threads: %s",
               weir_pipeline_why(t->pipeline));
}

static bool check_sources(tck *t)
{
    for (uint32_t i = 0; i < t->n_in; i++) {
        const tck_source *source = &t->in[i];
        if (!TCK(t, source->ended_twice == 0, "%lu items ended twice", source->ended_twice) ||
            !TCK(t, source->ends == source->emitted, "of %lu items %lu ended", source->emitted,
                 source->ends) ||
            !TCK(t, source->opened == source->closed, "a source opened %u times, closed %u",
                 source->opened, source->closed))
            return false;
    }
    return true;
}

static bool check_over_emitted(tck *t)
{
    for (uint32_t i = 0; i < weir_pipeline_stages(t->pipeline); i++) {
        weir_stage_stats stats;
        if (weir_pipeline_stage_stats(t->pipeline, i, &stats) == WEIR_OK &&
            !TCK(t, stats.over_emitted == 0, "%s emitted %lu items without credit", stats.name,
                 stats.over_emitted))
            return false;
    }
    return true;
}

/* Of a release build, which counts what a debug build aborts at. */
static bool check_ended_once(tck *t)
{
    for (uint32_t i = 0; i < t->loops; i++) {
        weir_loop_stats stats;
        weir_loop_stats_get(t->loop[i], &stats);
        if (!TCK(t, stats.items_ended_twice == 0, "%lu items were ended again on loop %u",
                 stats.items_ended_twice, i))
            return false;
    }
    return true;
}

void tck_close(tck *t)
{
    if (t->is_started && !tck_is_finished(t)) {
        weir_pipeline_shutdown(t->pipeline, WEIR_ABORT, 0);
        (void)TCK(t, tck_wait(t, tck_is_finished), "does not end when aborted");
    }
    if (t->is_started)
        tck_settle(t); /* items on their way home */
    if (t->failed ||
        (t->is_started && (!check_sources(t) || !check_over_emitted(t) || !check_ended_once(t))))
        return;
    weir_pipeline_free(t->pipeline);
    for (uint32_t i = 0; i < t->loops; i++)
        weir_loop_free(t->loop[i]);
    size_t leaked = weir_testkit_free(t->kit);
    (void)TCK(t, leaked == 0, "%zu bytes leaked", leaked);
}

void tck_again(tck *t)
{
    tck_close(t);
    if (!t->failed)
        tck_init(t, t->row, t->engine, t->loops, t->window, t->seed);
}

/* ---- Turning ---- */

void tck_turn(tck *t, uint32_t loop)
{
    t->base = __builtin_frame_address(0);
    t->turning = t->loop[loop];
    (void)weir_loop_turn(t->loop[loop]);
    t->turning = NULL;
}

static bool turn_all(tck *t)
{
    bool did = false;
    uint32_t first = (uint32_t)(next_random(t) % t->loops);
    for (uint32_t i = 0; i < t->loops && t->seed != 0; i++) /* some more often than others */
        tck_turn(t, (uint32_t)(next_random(t) % t->loops));
    t->base = __builtin_frame_address(0);
    for (uint32_t i = 0; i < t->loops; i++) {
        t->turning = t->loop[(first + i) % t->loops];
        did |= weir_loop_turn(t->turning);
    }
    t->turning = NULL;
    return did;
}

void tck_settle(tck *t)
{
    for (uint32_t round = 0; round < ROUNDS_MAX && !t->failed; round++)
        if (!turn_all(t))
            return;
    tck_fail(t, "spins: still busy after %d rounds", ROUNDS_MAX);
}

static void advance(tck *t, uint64_t ns)
{
    t->now_ns += ns;
    for (uint32_t i = 0; i < t->loops; i++)
        (void)weir_loop_update_now(t->loop[i]);
    tck_settle(t);
}

bool tck_wait(tck *t, bool (*holds)(const tck *t))
{
    tck_settle(t);
    uint64_t passed = 0, step = first_step_ns;
    while (!holds(t) && !t->failed && tck_has(t, STAGE_TIMED) && passed < patience_ns) {
        advance(t, step);
        passed += step;
        /* small steps first, and enough of them for a row that gives an item a step */
        if (passed >= 256 * step && step < last_step_ns)
            step *= 2;
    }
    return holds(t);
}

void tck_idle(tck *t)
{
    tck_settle(t);
    for (uint64_t step = first_step_ns; tck_has(t, STAGE_TIMED) && step < WEIR_SEC; step *= 8)
        advance(t, step);
}

bool tck_is_finished(const tck *t)
{
    return weir_pipeline_is_finished(t->pipeline);
}

bool tck_all_over(const tck *t)
{
    if (tck_has(t, STAGE_ENDS) && tck_is_finished(t))
        return true; /* a stage that fails ends all */
    for (uint32_t i = 0; i < t->n_out; i++)
        if (!t->out[i].is_over && !t->out[i].cancelled)
            return false;
    return t->n_out != 0 || tck_is_finished(t);
}

bool tck_all_emitted(const tck *t)
{
    for (uint32_t i = 0; i < t->n_in; i++)
        if (t->in[i].emitted < t->in[i].allowed && !t->in[i].cancelled)
            return false;
    return true;
}

bool tck_got_wanted(const tck *t)
{
    return tck_received(t) >= t->wanted;
}

bool tck_sources_told(const tck *t)
{
    for (uint32_t i = 0; i < t->n_in; i++)
        if (!t->in[i].ended && t->in[i].cancels + t->in[i].aborts == 0)
            return false;
    return true;
}

bool tck_all_taken(tck *t)
{
    bool all = tck_wait(t, tck_all_emitted);
    for (uint32_t i = 0; i < t->n_in && !all; i++)
        if (t->in[i].emitted == t->in[i].allowed && !t->in[i].ended) {
            tck_end(t, i, WEIR_OK);
            all = tck_wait(t, tck_all_emitted);
        }
    return all;
}

uint64_t tck_row_items_in(const tck *t)
{
    weir_stage_stats stats;
    if (weir_pipeline_stage_stats(t->pipeline, t->row_index, &stats) != WEIR_OK)
        return 0;
    return stats.items_in;
}

uint64_t tck_expected(const tck *t, uint64_t n)
{
    if (tck_has(t, STAGE_DROPS | STAGE_MAKES | STAGE_ENDS | STAGE_LOSSY | STAGE_INVENTS) ||
        !tck_has(t, STAGE_PASSES | STAGE_JOINS | STAGE_COPIES) || t->n_out == 0)
        return UINT64_MAX;
    if (tck_has(t, STAGE_JOINS) && tck_has(t, STAGE_COPIES))
        return UINT64_MAX; /* an item is in several groups */
    return n;
}
