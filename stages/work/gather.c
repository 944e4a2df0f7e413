/* gather: several calls for one item at once, joined; the first error cancels the others. */
#include <weir/stages.h>

#include <assert.h>

typedef struct gathering gathering;

typedef struct one_call {
    weir_call call; /* first: the author's handle */
    gathering *of;
    bool is_running, is_cancelled;
    weir_status from_status;
    const char *from_why;
    weir_task from_task;
    char work[WEIR_GATHER_WORK_BYTES];
} one_call;

struct gathering {
    weir_op *op;
    weir_context context;
    uint32_t running, n;
    uint32_t depth; /* of calls into the author's functions: none of them ends the operation */
    weir_status status;
    const char *why;
    one_call calls[WEIR_GATHER_CALLS_MAX];
};

static weir_status gather_check(const void *config, const char **why)
{
    const weir_gather_config *c = config;
    uint32_t n = 0;
    while (n < WEIR_GATHER_CALLS_MAX && c->calls[n].start != NULL)
        n++;
    *why = "has a gap between its calls";
    for (uint32_t i = n; i < WEIR_GATHER_CALLS_MAX; i++)
        if (c->calls[i].start != NULL)
            return WEIR_EINVAL;
    *why = "needs a call";
    return n != 0 ? WEIR_OK : WEIR_EINVAL;
}

static const weir_gather_config *config_of(const gathering *g)
{
    return weir_async_config(g->op->stage);
}

static void finish_if_done(gathering *g)
{
    if (g->running != 0 || g->depth != 0)
        return;
    const weir_gather_config *config = config_of(g);
    void *works[WEIR_GATHER_CALLS_MAX];
    for (uint32_t i = 0; i < g->n; i++)
        works[i] = g->calls[i].work;
    if (g->status == WEIR_OK && config->join != NULL) {
        g->status = config->join(g->op->item, works, config->user);
        g->why = "the results could not be joined";
    }
    weir_context_done(&g->context);
    weir_op_done(g->op, g->status, g->why);
}

/* Once; the first status is the one that is reported. */
static void give_up(gathering *g, weir_status status, const char *why, weir_status tell)
{
    if (g->status != WEIR_OK)
        return;
    g->status = status;
    g->why = why;
    g->depth++;
    weir_context_cancel(&g->context, tell);
    for (uint32_t i = 0; i < g->n; i++) {
        one_call *c = &g->calls[i];
        void (*cancel)(weir_call *, weir_status, void *) = config_of(g)->calls[i].cancel;
        if (!c->is_running || c->is_cancelled || cancel == NULL)
            continue;
        c->is_cancelled = true;
        cancel(&c->call, tell, config_of(g)->calls[i].user);
    }
    g->depth--;
}

static void call_init(gathering *g, uint32_t i)
{
    one_call *c = &g->calls[i];
    c->call = (weir_call){ .stage = g->op->stage,
                           .item = g->op->item,
                           .context = &g->context,
                           .work = c->work,
                           .index = i };
    c->of = g;
    c->is_running = true;
    c->is_cancelled = false;
    g->running++;
}

/* A context of its own on this loop: the item's may be another's. Its cancel comes by
 * gather_cancel.
 */
static void context_init(gathering *g, weir_loop *loop)
{
    const weir_context *above = g->op->context;
    weir_context_init(&g->context, loop, NULL, above != NULL ? above->deadline_ns : 0);
    if (above == NULL)
        return;
    g->context.trace = above->trace;
    g->context.values = above->values;
}

static void gather_start(weir_op *op, void *state)
{
    (void)state;
    gathering *g = op->work;
    g->op = op;
    g->n = 0;
    g->status = WEIR_OK;
    g->why = NULL;
    const weir_gather_config *config = config_of(g);
    context_init(g, weir_stage_loop(op->stage));
    g->depth++;
    for (uint32_t i = 0; i < WEIR_GATHER_CALLS_MAX && config->calls[i].start != NULL; i++) {
        if (g->status != WEIR_OK)
            break; /* one has failed at once */
        g->n++;
        call_init(g, i);
        config->calls[i].start(&g->calls[i].call, config->calls[i].user);
    }
    g->depth--;
    finish_if_done(g);
}

static void gather_cancel(weir_op *op, weir_status status, void *state)
{
    (void)state;
    gathering *g = op->work;
    give_up(g, status, "the calls were given up", status);
    finish_if_done(g);
}

void weir_call_done(weir_call *call, weir_status status, const char *why)
{
    one_call *c = (one_call *)call;
    gathering *g = c->of;
    assert(c->is_running);
    c->is_running = false;
    g->running--;
    if (status != WEIR_OK)
        give_up(g, status, why, WEIR_ECANCELED);
    finish_if_done(g);
}

static void done_here(weir_task *task, void *user)
{
    (void)task;
    one_call *c = user;
    weir_call_done(&c->call, c->from_status, c->from_why);
}

void weir_call_done_from(weir_call *call, weir_status status, const char *why)
{
    one_call *c = (one_call *)call;
    c->from_status = status;
    c->from_why = why;
    c->from_task = (weir_task)WEIR_TASK(done_here, c);
    weir_post(weir_stage_loop(call->stage), &c->from_task);
}

static const weir_async_type gather_type = {
    .name = "gather",
    .config_size = sizeof(weir_gather_config),
    .work_size = sizeof(gathering),
    .check = gather_check,
    .start = gather_start,
    .cancel = gather_cancel,
};

weir_stage_spec *weir_gather(const weir_gather_config *config)
{
    weir_gather_config c = config != NULL ? *config : (weir_gather_config){ 0 };
    weir_async_options options = { .in_flight = c.in_flight,
                                   .unordered = c.unordered,
                                   .timeout_ms = c.timeout_ms };
    return weir_stage_named(weir_async_of(&gather_type, &options, &c), c.name);
}
