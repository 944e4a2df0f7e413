/* Building: nodes and links, checked before anything runs; the first error is latched. */
#include "wi_core.h"
#include "wi_sim.h"

#include <stdio.h>
#include <string.h>

#define NODES_MAX          1024
#define LINKS_MAX          4096
#define WINDOW_MAX         (1u << 20)
#define WINDOW_ONE_LOOP    256
#define WINDOW_ACROSS      1024
#define ITEM_BYTES_DEFAULT (2u << 20)

/* ---- Errors ---- */

void wi_pipeline_latch(weir_pipeline *p, const char *who, weir_status status, const char *why)
{
    pthread_mutex_lock(&p->lock);
    if (p->status == WEIR_OK) {
        p->status = status;
        snprintf(p->why, sizeof p->why, "%s: %s (%s)", who, why != NULL ? why : "failed",
                 weir_status_text(status));
        weir_log(p->env, WEIR_LOG_ERROR, "%s: %s", p->name, p->why);
    }
    pthread_mutex_unlock(&p->lock);
}

static void build_fail(weir_pipeline *p, const char *who, weir_status status, const char *why)
{
    wi_pipeline_latch(p, who, status, why);
    if (p->build_status == WEIR_OK)
        p->build_status = status;
}

const char *weir_pipeline_why(const weir_pipeline *p)
{
    return p != NULL ? p->why : "there was no memory for the pipeline";
}

weir_status weir_pipeline_status(const weir_pipeline *p)
{
    weir_pipeline *locked = (weir_pipeline *)(uintptr_t)p;
    pthread_mutex_lock(&locked->lock);
    weir_status status = p->status;
    pthread_mutex_unlock(&locked->lock);
    return status;
}

/* ---- Making ---- */

weir_pipeline *weir_pipeline_new(const weir_pipeline_config *config)
{
    const weir_env *env = config != NULL ? config->env : NULL;
    weir_pipeline *p = weir_memory_new(env, sizeof *p);
    if (p == NULL)
        return NULL;
    if (config != NULL)
        p->config = *config;
    p->env = env != NULL ? env : &p->env_default;
    strncpy(p->name, config != NULL && config->name != NULL ? config->name : "weir",
            sizeof p->name - 1);
    if (p->config.item_bytes_max == 0)
        p->config.item_bytes_max = ITEM_BYTES_DEFAULT;
    pthread_mutex_init(&p->lock, NULL);
    p->kit = wi_sim_kit_of(env);
    if (p->kit != NULL)
        wi_sim_made(p->kit, p);
    return p;
}

static bool grow(weir_pipeline *p, void **array, uint32_t *room, uint32_t n, size_t bytes)
{
    if (n < *room)
        return true;
    uint32_t wanted = *room == 0 ? 16 : *room * 2;
    void *larger = weir_memory_resize(p->env, *array, wanted * bytes);
    if (larger == NULL)
        return false;
    *array = larger;
    *room = wanted;
    return true;
}

static void name_node(weir_pipeline *p, weir_node *node)
{
    uint32_t same = 0;
    for (uint32_t i = 0; i < p->n_nodes; i++)
        same += strcmp(p->nodes[i]->spec->name, node->spec->name) == 0;
    if (same == 0)
        snprintf(node->name, sizeof node->name, "%s", node->spec->name);
    else
        snprintf(node->name, sizeof node->name, "%s_%u", node->spec->name, same + 1);
}

weir_node *weir_add(weir_pipeline *p, weir_stage_spec *spec)
{
    weir_node *node = NULL;
    if (p == NULL) {
        weir_stage_spec_free(spec);
        return NULL;
    }
    if (spec == NULL) {
        build_fail(p, p->name, WEIR_ENOMEM, "a stage could not be described");
    } else if (p->started || p->n_nodes == NODES_MAX) {
        build_fail(p, spec->name, WEIR_ELIMIT, p->started ? "added after the start" : "too many");
    } else if (!grow(p, (void **)&p->nodes, &p->nodes_room, p->n_nodes, sizeof *p->nodes) ||
               (node = weir_memory_new(p->env, sizeof *node)) == NULL) {
        build_fail(p, spec->name, WEIR_ENOMEM, "no memory for the node");
    }
    if (node == NULL) {
        weir_stage_spec_free(spec);
        return NULL;
    }
    node->pipeline = p;
    node->spec = spec;
    node->acks = spec->type->acks;
    name_node(p, node);
    node->index = p->n_nodes;
    p->nodes[p->n_nodes++] = node;
    p->checked = false;
    return node;
}

uint32_t wi_ports_of(int declared)
{
    return declared == WEIR_PORTS_ONE    ? 1
           : declared == WEIR_PORTS_NONE ? 0
           : declared == WEIR_PORTS_MANY ? WEIR_PORTS_MAX
                                         : (uint32_t)declared;
}

static wi_graph_link *add_link(weir_node *from, uint32_t output, weir_node *to, uint32_t input,
                               const weir_edge_config *config)
{
    weir_pipeline *p = from->pipeline;
    if (p->started || p->n_links == LINKS_MAX) {
        build_fail(p, from->name, WEIR_ELIMIT, "cannot link: too many, or after the start");
        return NULL;
    }
    if (!grow(p, (void **)&p->links, &p->links_room, p->n_links, sizeof *p->links)) {
        build_fail(p, from->name, WEIR_ENOMEM, "no memory for the link");
        return NULL;
    }
    wi_graph_link *link = &p->links[p->n_links++];
    memset(link, 0, sizeof *link);
    link->from = from;
    link->to = to;
    link->output = output;
    link->input = input;
    if (config != NULL)
        link->given = *config;
    p->checked = false;
    if (input + 1 > to->n_in)
        to->n_in = input + 1;
    return link;
}

void weir_link(weir_node *from, uint32_t output, weir_node *to, uint32_t input,
               const weir_edge_config *config)
{
    if (from == NULL || to == NULL)
        return;
    weir_pipeline *p = from->pipeline;
    if (to->pipeline != p) {
        build_fail(p, from->name, WEIR_EINVAL, "linked to a node of another pipeline");
        return;
    }
    if (output >= wi_ports_of(from->spec->type->outputs)) {
        build_fail(p, from->name, WEIR_EINVAL, "has no such output");
        return;
    }
    if (input >= wi_ports_of(to->spec->type->inputs)) {
        build_fail(p, to->name, WEIR_EINVAL, "has no such input");
        return;
    }
    if (add_link(from, output, to, input, config) != NULL && output + 1 > from->n_out)
        from->n_out = output + 1;
}

static weir_node *chain(weir_pipeline *p, weir_stage_spec *spec)
{
    weir_node *node = weir_add(p, spec);
    if (node == NULL)
        return NULL;
    if (p->last == NULL)
        build_fail(p, node->name, WEIR_EINVAL, "nothing before it in the chain");
    else
        weir_link(p->last, p->last->n_out, node, 0, NULL);
    return node;
}

weir_node *weir_from(weir_pipeline *p, weir_stage_spec *source)
{
    weir_node *node = weir_add(p, source);
    weir_at(p, node);
    return node;
}

weir_node *weir_via(weir_pipeline *p, weir_stage_spec *stage)
{
    weir_node *node = chain(p, stage);
    weir_at(p, node);
    return node;
}

weir_node *weir_into(weir_pipeline *p, weir_stage_spec *sink)
{
    weir_node *node = chain(p, sink);
    weir_at(p, NULL);
    return node;
}

void weir_at(weir_pipeline *p, weir_node *node)
{
    if (p != NULL)
        p->last = node;
}

void weir_node_window(weir_node *node, const weir_edge_config *config)
{
    if (node == NULL || config == NULL)
        return;
    node->edge_config = *config;
    node->has_edge_config = true;
    node->pipeline->checked = false;
}

void weir_node_place(weir_node *node, uint32_t loop_index)
{
    if (node == NULL)
        return;
    node->place = loop_index;
    node->placed = true;
    node->pipeline->placed = true;
    node->pipeline->checked = false;
}

bool wi_policy_complete(weir_error_policy *policy)
{
    policy->budget_percent = policy->budget_percent != 0 ? policy->budget_percent : 20;
    policy->budget_per_second = policy->budget_per_second != 0 ? policy->budget_per_second : 10;
    policy->budget_ms = policy->budget_ms != 0 ? policy->budget_ms : 10000;
    bool is_sane = policy->then != WEIR_ON_ERROR_RETRY && policy->retries_max <= UINT8_MAX;
    bool has_budget = (policy->budget_percent <= 1000 || policy->budget_percent == UINT32_MAX) &&
                      policy->budget_per_second <= 1000000 && policy->budget_ms >= 1000 &&
                      policy->budget_ms <= 60000;
    policy->retries_max = policy->retries_max != 0 ? policy->retries_max : 3;
    policy->backoff_ms = policy->backoff_ms != 0 ? policy->backoff_ms : 50;
    policy->backoff_ms_max = policy->backoff_ms_max != 0 ? policy->backoff_ms_max : 5000;
    policy->waiting_max = policy->waiting_max != 0 ? policy->waiting_max : 256;
    return is_sane && has_budget;
}

void weir_node_policy(weir_node *node, const weir_error_policy *policy)
{
    if (node == NULL || policy == NULL)
        return;
    node->policy = *policy;
    node->has_policy = true;
    node->pipeline->checked = false;
    if (!wi_policy_complete(&node->policy))
        build_fail(node->pipeline, node->name, WEIR_EINVAL, "its error policy makes no sense");
}

void weir_node_dead_letter(weir_node *node, weir_node *to, uint32_t input)
{
    if (node == NULL || to == NULL)
        return;
    if (!node->has_policy)
        weir_node_policy(node, &(weir_error_policy){ .on_error = WEIR_ON_ERROR_DEAD_LETTER });
    if (node->has_dead_letter || input >= wi_ports_of(to->spec->type->inputs)) {
        build_fail(node->pipeline, node->name, WEIR_EINVAL, "its dead letters cannot go there");
        return;
    }
    wi_graph_link *link = add_link(node, 0, to, input, NULL);
    if (link != NULL)
        link->dead_letter = node->has_dead_letter = true;
}

void weir_node_best_effort(weir_node *node)
{
    if (node != NULL)
        node->best_effort = true;
}

/* ---- Checking ---- */

static bool check_ports(weir_pipeline *p, weir_node *node)
{
    uint64_t ins = 0, outs = 0;
    const weir_stage_type *type = node->spec->type;
    for (uint32_t i = 0; i < p->n_links; i++) {
        const wi_graph_link *link = &p->links[i];
        uint64_t in_bit = UINT64_C(1) << link->input, out_bit = UINT64_C(1) << link->output;
        if (link->to == node) {
            if (ins & in_bit) {
                build_fail(p, node->name, WEIR_EINVAL, "two links to one input");
                return false;
            }
            ins |= in_bit;
        }
        if (link->from == node && !link->dead_letter) {
            if (outs & out_bit) {
                build_fail(p, node->name, WEIR_EINVAL, "two links from one output");
                return false;
            }
            outs |= out_bit;
        }
    }
    uint32_t n_in = (uint32_t)__builtin_popcountll(ins);
    uint32_t n_out = (uint32_t)__builtin_popcountll(outs);
    const char *why = "it has other ports";
    weir_status status = WEIR_EINVAL;
    if (type->inputs == WEIR_PORTS_MANY ? n_in != node->n_in : n_in != wi_ports_of(type->inputs))
        why = "an input is not linked";
    else if (type->outputs == WEIR_PORTS_MANY ? n_out != node->n_out
                                              : n_out != wi_ports_of(type->outputs))
        why = "an output is not linked";
    else
        status = wi_spec_has_ports(node->spec, n_in, n_out, &why);
    if (status != WEIR_OK)
        build_fail(p, node->name, status, why);
    return status == WEIR_OK;
}

static bool has_ports(int declared, uint32_t n)
{
    return declared == WEIR_PORTS_MANY || n == wi_ports_of(declared);
}

weir_status wi_spec_has_ports(const weir_stage_spec *spec, uint32_t n_in, uint32_t n_out,
                              const char **why)
{
    const weir_stage_type *type = spec->type;
    *why = "it has other ports";
    if (!has_ports(type->inputs, n_in) || !has_ports(type->outputs, n_out))
        return WEIR_EINVAL;
    if (type->check_ports != NULL)
        return type->check_ports(spec->config, n_in, n_out, why);
    *why = "none of its inputs, or of its outputs, is linked";
    bool lacks_one = (type->inputs == WEIR_PORTS_MANY && n_in == 0) ||
                     (type->outputs == WEIR_PORTS_MANY && n_out == 0);
    return lacks_one ? WEIR_EINVAL : WEIR_OK;
}

/* What is left over lies on a cycle or below one: upstream, as far as there are nodes, is on it. */
static const weir_node *on_cycle(const weir_pipeline *p, const uint32_t *waiting)
{
    const weir_node *at = NULL;
    for (uint32_t i = 0; i < p->n_nodes && at == NULL; i++)
        if (waiting[i] != 0)
            at = p->nodes[i];
    for (uint32_t steps = 0; steps < p->n_nodes; steps++)
        for (uint32_t i = 0; i < p->n_links; i++)
            if (p->links[i].to == at && waiting[p->links[i].from->index] != 0) {
                at = p->links[i].from;
                break;
            }
    return at;
}

/* Kahn 1962: nodes in topological order; what is left over is a cycle. */
static bool check_order(weir_pipeline *p)
{
    uint32_t n = 0;
    weir_memory_free(p->env, p->order);
    p->order = weir_memory_new(p->env, p->n_nodes * sizeof *p->order);
    uint32_t *waiting = weir_memory_new(p->env, p->n_nodes * sizeof *waiting);
    if (p->order == NULL || waiting == NULL) {
        weir_memory_free(p->env, waiting);
        build_fail(p, p->name, WEIR_ENOMEM, "no memory to check the graph");
        return false;
    }
    for (uint32_t i = 0; i < p->n_links; i++)
        waiting[p->links[i].to->index]++;
    for (uint32_t i = 0; i < p->n_nodes; i++)
        if (waiting[i] == 0)
            p->order[n++] = i;
    for (uint32_t at = 0; at < n; at++)
        for (uint32_t i = 0; i < p->n_links; i++)
            if (p->links[i].from->index == p->order[at] && --waiting[p->links[i].to->index] == 0)
                p->order[n++] = p->links[i].to->index;
    if (n < p->n_nodes)
        build_fail(p, on_cycle(p, waiting)->name, WEIR_EINVAL,
                   "lies on a cycle: feed back through an inlet");
    weir_memory_free(p->env, waiting);
    return n == p->n_nodes;
}

bool wi_node_is_acked(const weir_node *node)
{
    const weir_pipeline *p = node->pipeline;
    uint64_t seen[NODES_MAX / 64] = { 0 };
    uint32_t stack[NODES_MAX], depth = 0;
    stack[depth++] = node->index;
    seen[node->index / 64] |= UINT64_C(1) << node->index % 64;
    while (depth > 0) {
        const weir_node *at = p->nodes[stack[--depth]];
        if (at->acks)
            return true;
        for (uint32_t i = 0; i < p->n_links; i++) {
            uint32_t up = p->links[i].from->index;
            if (p->links[i].to != at || (seen[up / 64] >> up % 64 & 1) != 0)
                continue;
            seen[up / 64] |= UINT64_C(1) << up % 64;
            stack[depth++] = up;
        }
    }
    return false;
}

static bool check_node(weir_pipeline *p, weir_node *node)
{
    const weir_stage_type *type = node->spec->type;
    const char *why = "its configuration is refused";
    if (!check_ports(p, node))
        return false;
    if (type->lossy && !node->best_effort && wi_node_is_acked(node)) {
        build_fail(p, node->name, WEIR_EINVAL,
                   "may lose items of an acknowledged source; declare it best-effort");
        return false;
    }
    if (node->has_dead_letter && node->n_out == WEIR_PORTS_MAX) {
        build_fail(p, node->name, WEIR_ELIMIT, "has no output left for its dead letters");
        return false;
    }
    if ((node->policy.on_error == WEIR_ON_ERROR_DEAD_LETTER ||
         node->policy.then == WEIR_ON_ERROR_DEAD_LETTER) &&
        !node->has_dead_letter) {
        build_fail(p, node->name, WEIR_EINVAL, "has no link for its dead letters");
        return false;
    }
    weir_status status = type->check != NULL ? type->check(node->spec->config, &why) : WEIR_OK;
    if (status != WEIR_OK)
        build_fail(p, node->name, status, why);
    return status == WEIR_OK;
}

/* What stands in the link or its node is checked; what does not is cut to it. */
static void complete_window(const weir_pipeline *p, const wi_graph_link *link, weir_edge_config *c)
{
    const weir_edge_config *of_node = &link->to->edge_config;
    bool across = link->from->place != link->to->place;
    uint32_t usual = p->config.window != 0 ? p->config.window
                     : across              ? WINDOW_ACROSS
                                           : WINDOW_ONE_LOOP;
    c->window = c->window != 0 ? c->window : of_node->window;
    c->window_max = c->window_max != 0 ? c->window_max : of_node->window_max;
    c->window_min = c->window_min != 0 ? c->window_min : of_node->window_min;
    c->latency_us = c->latency_us != 0 ? c->latency_us : of_node->latency_us;
    if (c->window == 0)
        c->window = c->window_max != 0 && c->window_max < usual ? c->window_max : usual;
    if (c->window_max == 0)
        c->window_max = c->latency_us != 0 && usual > c->window ? usual : c->window;
    if (c->window_min == 0)
        c->window_min = 1;
    if (c->latency_us != 0 && c->window < c->window_min)
        c->window = c->window_min;
}

weir_edge_config wi_graph_link_complete(const weir_pipeline *p, const wi_graph_link *link)
{
    weir_edge_config c = link->given;
    const weir_edge_config *of_node = &link->to->edge_config;
    if (c.window_bytes == 0)
        c.window_bytes = of_node->window_bytes;
    if (c.item_bytes_max == 0)
        c.item_bytes_max = of_node->item_bytes_max;
    if (c.item_bytes_max == 0)
        c.item_bytes_max = p->config.item_bytes_max;
    c.error_jumps |= of_node->error_jumps;
    complete_window(p, link, &c);
    return c;
}

/* Why a completed window is refused; NULL: it is not. */
static const char *window_fault(const weir_edge_config *c, weir_status *ret_status)
{
    *ret_status = WEIR_ELIMIT;
    if (c->window > WINDOW_MAX || c->window_max > WINDOW_MAX)
        return "its window is over 1048576 items";
    *ret_status = WEIR_EINVAL;
    if (c->window > c->window_max || c->window_min > c->window_max)
        return "its window_max is below its window";
    *ret_status = WEIR_OK;
    return NULL;
}

static void check_link(weir_pipeline *p, wi_graph_link *link)
{
    weir_status status;
    link->config = wi_graph_link_complete(p, link);
    const char *why = window_fault(&link->config, &status);
    if (why != NULL)
        build_fail(p, link->to->name, status, why);
}

weir_status weir_pipeline_check(weir_pipeline *p)
{
    if (p == NULL)
        return WEIR_ENOMEM;
    if (p->build_status != WEIR_OK)
        return p->build_status;
    if (p->checked)
        return WEIR_OK;
    if (p->n_nodes == 0)
        build_fail(p, p->name, WEIR_EINVAL, "has no stages");
    for (uint32_t i = 0; i < p->n_links && p->build_status == WEIR_OK; i++)
        check_link(p, &p->links[i]);
    for (uint32_t i = 0; i < p->n_nodes && p->build_status == WEIR_OK; i++)
        check_node(p, p->nodes[i]);
    if (p->build_status == WEIR_OK)
        check_order(p);
    p->checked = p->build_status == WEIR_OK;
    return p->build_status;
}

uint64_t weir_pipeline_bound(const weir_pipeline *p)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < p->n_links; i++) {
        weir_edge_config c = wi_graph_link_complete(p, &p->links[i]);
        weir_status status;
        if (window_fault(&c, &status) != NULL)
            return WEIR_UNBOUNDED;
        uint64_t items = weir_credit_mul(c.window_max, c.item_bytes_max);
        uint64_t bytes = weir_credit_add(c.window_bytes, c.item_bytes_max);
        sum = weir_credit_add(sum, c.window_bytes != 0 && bytes < items ? bytes : items);
    }
    return sum;
}
