/* Changes to a running pipeline: taken in from any thread, carried from replica to replica. */
#include "wi_live.h"

#include <stdalign.h>
#include <string.h>

enum { CHANGE_MS_MAX = 30000 };

static void live_task(weir_task *task, void *user);

/* ---- The way of a change ---- */

weir_status wi_live_new(weir_pipeline *p, const char *stage, const weir_on_changed *on_changed,
                        wi_live **ret_live, const char **why)
{
    weir_node *node = NULL;
    for (uint32_t i = 0; stage != NULL && i < p->n_nodes && node == NULL; i++)
        if (strcmp(p->nodes[i]->name, stage) == 0)
            node = p->nodes[i];
    *why = "there is no stage of this name";
    if (node == NULL)
        return WEIR_ENOTFOUND;
    *why = "no memory for the change";
    wi_live *live = weir_memory_new(p->env, sizeof *live);
    if (live == NULL)
        return WEIR_ENOMEM;
    live->pipeline = p;
    live->node = node;
    live->task = (weir_task)WEIR_TASK(live_task, live);
    if (on_changed != NULL)
        live->on_changed = *on_changed;
    *ret_live = live;
    return WEIR_OK;
}

void wi_live_free(wi_live *live)
{
    if (live->done != NULL)
        live->done(live);
    weir_memory_free(live->pipeline->env, live);
}

static weir_stage *stage_at(const wi_live *live)
{
    const weir_pipeline *p = live->pipeline;
    return &p->stages[live->replica * p->n_nodes + live->node->index];
}

/* Under the lock. Posts the change to where it is now; false if nobody is there any more. */
static bool post(wi_live *live)
{
    wi_part *part = stage_at(live)->part;
    if (part->done)
        return false;
    part->n_live_here++;
    weir_post(part->loop, &live->task);
    return true;
}

/* Under the lock. On to the next replica, or back to the one before; false: there is none. */
static bool advance(wi_live *live)
{
    while (live->undoing ? live->replica > 0 : live->replica + 1 < live->pipeline->n_replicas) {
        live->replica = live->undoing ? live->replica - 1 : live->replica + 1;
        if (post(live))
            return true;
    }
    return false;
}

static bool begin(wi_live *live)
{
    live->active = true;
    live->replica = 0;
    return post(live) || advance(live);
}

/* Under the lock: none before it concerns the same node, or any fused chain. */
static bool may_begin(const wi_live *live)
{
    for (const wi_live *before = live->pipeline->changes; before != live; before = before->next)
        if (before->node == live->node || (before->is_structural && live->is_structural))
            return false;
    return true;
}

/* Under the lock. Begins what waited, and moves what is over already to the list `over`. */
static void begin_waiting(weir_pipeline *p, wi_live **over)
{
    for (wi_live **link = &p->changes; *link != NULL;) {
        wi_live *live = *link;
        if (live->active || !may_begin(live) || begin(live)) {
            link = &live->next;
            continue;
        }
        *link = live->next;
        p->n_changes--;
        live->next = *over;
        *over = live;
        link = &p->changes; /* it may have been in the way of one before */
    }
}

/* Under the lock. Those that wait behind it wait as long as it does. */
static size_t to_answer(wi_live *late, weir_on_changed told[WEIR_CHANGES_MAX])
{
    size_t n = 0;
    for (wi_live *live = late->pipeline->changes; live != NULL; live = live->next) {
        if (live->answered || (live->active && live != late))
            continue;
        live->answered = true;
        told[n++] = live->on_changed;
    }
    return n;
}

static void is_late(weir_timer *timer, void *user)
{
    wi_live *live = user;
    weir_pipeline *p = live->pipeline;
    weir_on_changed told[WEIR_CHANGES_MAX];
    (void)timer;
    wi_live_waits(live, stage_at(live)); /* for those that come behind it */
    pthread_mutex_lock(&p->lock);
    size_t n = to_answer(live, told);
    pthread_mutex_unlock(&p->lock);
    for (size_t i = 0; i < n; i++)
        if (told[i].done != NULL)
            told[i].done(p, WEIR_EDEADLINE, "a stage is not through with its items: it goes on",
                         told[i].user);
}

void wi_live_waits(wi_live *live, weir_stage *stage)
{
    uint32_t ms = live->pipeline->config.change_ms_max;
    if (ms != UINT32_MAX)
        weir_timer_start(stage->loop, &live->late, (ms != 0 ? ms : CHANGE_MS_MAX) * WEIR_MS,
                         is_late, live);
}

void wi_live_waits_no_more(wi_live *live, weir_stage *stage)
{
    weir_timer_stop(stage->loop, &live->late);
}

static void tell(wi_live *live)
{
    weir_status status = live->any ? live->status : WEIR_ECLOSED;
    const char *why = status == WEIR_OK ? "" : live->any ? live->why : "its stages have closed";
    weir_on_changed told = live->on_changed;
    bool answered = live->answered;
    weir_pipeline *p = live->pipeline;
    if (!live->any && live->spec_new != NULL)
        wi_swap_take_back(live);
    if (live->keep) {
        pthread_mutex_lock(&p->lock);
        live->next = p->retired;
        p->retired = live;
        pthread_mutex_unlock(&p->lock);
    } else {
        wi_live_free(live);
    }
    if (told.done != NULL && !answered)
        told.done(p, status, why, told.user);
}

/* Under the lock. */
static void unlink_change(wi_live *live)
{
    weir_pipeline *p = live->pipeline;
    wi_live **link = &p->changes;
    while (*link != live)
        link = &(*link)->next;
    *link = live->next;
    p->n_changes--;
}

void wi_live_step_done(wi_live *live, wi_live_result result, weir_status status, const char *why)
{
    weir_pipeline *p = live->pipeline;
    wi_live *over = NULL;
    pthread_mutex_lock(&p->lock);
    wi_part *part = stage_at(live)->part;
    live->any |= result == WI_LIVE_DONE;
    if (status != WEIR_OK && live->status == WEIR_OK) {
        live->status = status;
        live->why = why;
        live->undoing = live->can_undo;
    }
    if ((live->status != WEIR_OK && !live->undoing) || !advance(live)) {
        unlink_change(live);
        live->next = NULL;
        over = live;
        begin_waiting(p, &over);
    }
    pthread_mutex_unlock(&p->lock);
    while (over != NULL) {
        wi_live *next = over->next;
        tell(over);
        over = next;
    }
    /* until here this part cannot end, and so neither the pipeline */
    pthread_mutex_lock(&p->lock);
    part->n_live_here--;
    pthread_mutex_unlock(&p->lock);
}

void wi_live_leave(wi_live *live, weir_stage *stage, void *left, weir_status status)
{
    live->leaves = true;
    live->left = left;
    live->left_status = status;
    weir_post(stage->loop, &live->task);
}

static void has_left(wi_live *live)
{
    live->leaves = false;
    weir_memory_free(live->pipeline->env, live->left);
    wi_live_step_done(live, WI_LIVE_DONE, live->left_status, "cannot open in the place of another");
}

static void live_task(weir_task *task, void *user)
{
    wi_live *live = user;
    weir_stage *stage = stage_at(live);
    weir_status status = WEIR_OK;
    wi_live_result result = WI_LIVE_GONE;
    (void)task;
    if (live->leaves) {
        has_left(live);
        return;
    }
    if (stage->opened && !stage->closed)
        result = live->apply(live, stage, &status);
    if (result != WI_LIVE_WAITS)
        wi_live_step_done(live, result, status, "a replica could not take it");
}

/* Under the lock: somebody is left to be changed. */
static bool is_open(const weir_pipeline *p, const weir_node *node)
{
    if (!p->running || p->closing || p->asked == 1 + WEIR_ABORT)
        return false;
    for (uint32_t r = 0; r < p->n_replicas; r++)
        if (!p->stages[r * p->n_nodes + node->index].part->done)
            return true;
    return false;
}

weir_status wi_live_admit(const wi_live *live, const char **why)
{
    if (!is_open(live->pipeline, live->node)) {
        *why = "the pipeline does not run";
        return WEIR_ECLOSED;
    }
    if (live->pipeline->n_changes == WEIR_CHANGES_MAX) {
        *why = "too many changes are under way";
        return WEIR_EOVERLOAD;
    }
    return WEIR_OK;
}

void wi_live_enqueue(wi_live *live)
{
    wi_live **link = &live->pipeline->changes;
    while (*link != NULL)
        link = &(*link)->next;
    *link = live;
    live->pipeline->n_changes++;
    if (may_begin(live))
        (void)begin(live); /* there is somebody */
}

void wi_live_free_retired(weir_pipeline *p)
{
    while (p->retired != NULL) {
        wi_live *next = p->retired->next;
        wi_live_free(p->retired);
        p->retired = next;
    }
}

/* Takes it; for changes that need no more than being admitted. */
static weir_status submit(wi_live *live, const char **why)
{
    weir_pipeline *p = live->pipeline;
    pthread_mutex_lock(&p->lock);
    weir_status status = wi_live_admit(live, why);
    if (status == WEIR_OK)
        wi_live_enqueue(live);
    pthread_mutex_unlock(&p->lock);
    if (status != WEIR_OK)
        wi_live_free(live);
    return status;
}

/* ---- Settings ---- */

static wi_setting *setting_new(const weir_env *env, size_t bytes)
{
    size_t head = (sizeof(wi_setting) + alignof(max_align_t) - 1) / alignof(max_align_t) *
                  alignof(max_align_t);
    wi_setting *setting = weir_memory_new(env, head + bytes);
    if (setting == NULL)
        return NULL;
    setting->env = env;
    setting->config = (char *)setting + head;
    atomic_init(&setting->holds, 1);
    return setting;
}

static wi_setting *setting_hold(wi_setting *setting)
{
    if (setting != NULL)
        atomic_fetch_add(&setting->holds, 1);
    return setting;
}

void wi_setting_release(wi_setting *setting)
{
    if (setting != NULL && atomic_fetch_sub(&setting->holds, 1) == 1)
        weir_memory_free(setting->env, setting);
}

/* ---- New settings for a stage ---- */

static weir_status give_setting(weir_stage *stage, const void *config, wi_setting *setting)
{
    const void *before = stage->config;
    stage->config = config;
    weir_status status = stage->type->on_change(stage, config, stage->state);
    if (status != WEIR_OK) {
        stage->config = before;
        return status;
    }
    setting_hold(setting);
    wi_setting_release(stage->setting);
    stage->setting = setting;
    if (stage->type->run != NULL)
        weir_stage_wake(stage);
    return WEIR_OK;
}

static void share_setting(weir_stage *stage, const void *config)
{
    if (stage->type->change_shared != NULL && stage->shared != NULL)
        stage->type->change_shared(stage, config, stage->shared);
}

static wi_live_result apply_setting(wi_live *live, weir_stage *stage, weir_status *status)
{
    if (stage->spec != live->made_for)
        return WI_LIVE_GONE; /* it ends in the place of the one that this is for */
    if (live->undoing) {
        (void)give_setting(stage, live->config_before, live->before);
        return WI_LIVE_DONE;
    }
    if (live->config_before == NULL) {
        live->config_before = stage->config;
        live->before = setting_hold(stage->setting);
        share_setting(stage, live->setting->config);
    }
    *status = give_setting(stage, live->setting->config, live->setting);
    if (*status != WEIR_OK)
        share_setting(stage, live->config_before);
    return WI_LIVE_DONE;
}

static void setting_done(wi_live *live)
{
    weir_node *node = live->node;
    if (live->status != WEIR_OK) {
        pthread_mutex_lock(&live->pipeline->lock);
        if (node->setting == live->setting) { /* none was accepted since */
            node->setting = setting_hold(live->before);
            wi_setting_release(live->setting);
        }
        pthread_mutex_unlock(&live->pipeline->lock);
    }
    wi_setting_release(live->before);
    wi_setting_release(live->setting);
}

static weir_status can_change(const weir_node *node, const void *change, size_t size,
                              const char **why)
{
    const weir_stage_type *type = node->spec->type;
    if (type->on_change == NULL) {
        *why = "this stage has nothing that can change while it runs";
        return WEIR_EUNSUPPORTED;
    }
    if (change == NULL ||
        size != (type->change_size != 0 ? type->change_size : type->config_size)) {
        *why = "this is not a configuration of the stage: its size differs";
        return WEIR_EINVAL;
    }
    return WEIR_OK;
}

/* Makes the setting: the present one, changed, and checked. */
static weir_status merge(wi_live *live, const void *change, const char **why)
{
    const weir_node *node = live->node;
    const weir_stage_type *type = node->spec->type;
    wi_setting *setting = setting_new(live->pipeline->env, type->config_size);
    weir_status status = WEIR_OK;
    *why = "no memory for the change";
    if (setting == NULL)
        return WEIR_ENOMEM;
    live->setting = setting;
    live->made_for = node->spec;
    *why = "its configuration is refused";
    memcpy(setting->config, node->setting != NULL ? node->setting->config : node->spec->config,
           type->config_size);
    if (type->merge_change != NULL)
        status = type->merge_change(setting->config, change, why);
    else
        memcpy(setting->config, change, type->config_size);
    if (status == WEIR_OK && type->check != NULL)
        status = type->check(setting->config, why);
    return status;
}

/* Under the lock. */
static weir_status submit_setting(wi_live *live, const void *change, size_t size, const char **why)
{
    weir_node *node = live->node;
    weir_status status = wi_live_admit(live, why);
    if (status == WEIR_OK)
        status = can_change(node, change, size, why);
    if (status == WEIR_OK)
        status = merge(live, change, why);
    if (status != WEIR_OK)
        return status;
    wi_setting_release(node->setting);
    node->setting = setting_hold(live->setting);
    wi_live_enqueue(live);
    return WEIR_OK;
}

weir_status weir_pipeline_change(weir_pipeline *p, const char *stage, const void *config,
                                 size_t config_size, const weir_on_changed *on_changed,
                                 const char **ret_why)
{
    const char *ignored = NULL, **why = ret_why != NULL ? ret_why : &ignored;
    wi_live *live;
    weir_status status = wi_live_new(p, stage, on_changed, &live, why);
    if (status != WEIR_OK)
        return status;
    live->apply = apply_setting;
    live->done = setting_done;
    live->can_undo = true;
    pthread_mutex_lock(&p->lock);
    status = submit_setting(live, config, config_size, why);
    pthread_mutex_unlock(&p->lock);
    if (status != WEIR_OK)
        wi_live_free(live);
    return status;
}

/* ---- Windows ---- */

static wi_live_result apply_window(wi_live *live, weir_stage *stage, weir_status *status)
{
    wi_edge *edge = stage->in[live->link]->edge;
    (void)status;
    if (edge->is_fused)
        return wi_live_unfuse(live, stage);
    wi_edge_set_window(edge, live->window);
    return WI_LIVE_DONE;
}

static const wi_graph_link *link_to(const weir_node *node, uint32_t input)
{
    const weir_pipeline *p = node->pipeline;
    for (uint32_t i = 0; i < p->n_links; i++)
        if (p->links[i].to == node && p->links[i].input == input)
            return &p->links[i];
    return NULL;
}

static weir_status can_set_window(const weir_node *node, uint32_t input, uint32_t window,
                                  const char **why)
{
    const wi_graph_link *link = link_to(node, input);
    *why = "there is no such input";
    if (link == NULL)
        return WEIR_ENOTFOUND;
    *why = "this window sizes itself";
    if (link->config.latency_us != 0)
        return WEIR_EINVAL;
    *why = "a window is 1 to window_max items";
    return window == 0 || window > link->config.window_max ? WEIR_EINVAL : WEIR_OK;
}

weir_status weir_pipeline_set_window(weir_pipeline *p, const char *stage, uint32_t input,
                                     uint32_t window, const weir_on_changed *on_changed,
                                     const char **ret_why)
{
    const char *ignored = NULL, **why = ret_why != NULL ? ret_why : &ignored;
    wi_live *live;
    weir_status status = wi_live_new(p, stage, on_changed, &live, why);
    if (status != WEIR_OK)
        return status;
    live->apply = apply_window;
    live->is_structural = true;
    live->link = input;
    live->window = window;
    if (atomic_load(&p->made)) /* else it is refused as not running */
        status = can_set_window(live->node, input, window, why);
    if (status == WEIR_OK)
        return submit(live, why);
    wi_live_free(live);
    return status;
}

/* ---- Error policies ---- */

static wi_live_result apply_policy(wi_live *live, weir_stage *stage, weir_status *status)
{
    wi_retry **fresh = live->retries != NULL ? &live->retries[stage->replica] : NULL;
    (void)status;
    if (fresh != NULL && wi_stage_is_fused(stage))
        return wi_live_unfuse(live, stage); /* a chain keeps no items */
    stage->policy = live->policy;
    if (fresh == NULL)
        return WI_LIVE_DONE; /* what waits still does */
    if (stage->retry == NULL || wi_retry_room(stage->retry) < wi_retry_room(*fresh)) {
        wi_retry *old = stage->retry;
        if (old != NULL)
            wi_retry_move(old, *fresh);
        stage->retry = *fresh;
        *fresh = old;
    }
    wi_stage_ready(stage->exec); /* there may be room for more to wait */
    return WI_LIVE_DONE;
}

static void policy_done(wi_live *live)
{
    const weir_pipeline *p = live->pipeline;
    for (uint32_t r = 0; live->retries != NULL && r < p->n_replicas; r++)
        wi_retry_free(live->retries[r], p->env);
    weir_memory_free(p->env, live->retries);
}

static weir_status policy_memory(wi_live *live)
{
    const weir_pipeline *p = live->pipeline;
    weir_status status = WEIR_OK;
    if (live->policy.on_error != WEIR_ON_ERROR_RETRY)
        return WEIR_OK;
    live->retries = weir_memory_new(p->env, p->n_replicas * sizeof(wi_retry *));
    if (live->retries == NULL)
        return WEIR_ENOMEM;
    for (uint32_t r = 0; r < p->n_replicas && status == WEIR_OK; r++)
        status = wi_retry_new(p->env, &live->policy, &live->retries[r]);
    return status;
}

static weir_status can_set_policy(wi_live *live, const weir_error_policy *policy, const char **why)
{
    *why = "this error policy makes no sense";
    if (policy == NULL)
        return WEIR_EINVAL;
    live->policy = *policy;
    if (!wi_policy_complete(&live->policy))
        return WEIR_EINVAL;
    *why = "the stage has no link for its dead letters";
    if ((policy->on_error == WEIR_ON_ERROR_DEAD_LETTER ||
         policy->then == WEIR_ON_ERROR_DEAD_LETTER) &&
        !live->node->has_dead_letter)
        return WEIR_EINVAL;
    *why = "no memory for the change";
    return atomic_load(&live->pipeline->made) ? policy_memory(live) : WEIR_OK;
}

weir_status weir_pipeline_set_policy(weir_pipeline *p, const char *stage,
                                     const weir_error_policy *policy,
                                     const weir_on_changed *on_changed, const char **ret_why)
{
    const char *ignored = NULL, **why = ret_why != NULL ? ret_why : &ignored;
    wi_live *live;
    weir_status status = wi_live_new(p, stage, on_changed, &live, why);
    if (status != WEIR_OK)
        return status;
    live->apply = apply_policy;
    live->done = policy_done;
    live->is_structural = true;
    status = can_set_policy(live, policy, why);
    if (status == WEIR_OK)
        return submit(live, why);
    wi_live_free(live);
    return status;
}
