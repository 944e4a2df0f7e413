/* A switch: one handle, and a stage in each of the pipelines that it ends. */
#include <weir/pipeline.h>
#include <weir/stages.h>

#include <pthread.h>

typedef struct switch_stage {
    weir_switch *handle;
    weir_stage *stage;
    struct switch_stage *next; /* under the lock */
    weir_task task;
    bool is_closed;
} switch_stage;

struct weir_switch {
    const weir_env *env;
    pthread_mutex_t lock;
    bool off, aborts;
    weir_status status;
    switch_stage *stages;
};

weir_switch *weir_switch_new(const weir_env *env)
{
    weir_switch *handle = weir_memory_new(env, sizeof *handle);
    if (handle == NULL)
        return NULL;
    handle->env = env;
    pthread_mutex_init(&handle->lock, NULL);
    return handle;
}

void weir_switch_free(weir_switch *handle)
{
    if (handle == NULL)
        return;
    pthread_mutex_destroy(&handle->lock);
    weir_memory_free(handle->env, handle);
}

/* Under the lock, which keeps the stages open until they are told. */
static void tell_all(weir_switch *handle)
{
    for (switch_stage *s = handle->stages; s != NULL; s = s->next)
        weir_post(weir_stage_loop(s->stage), &s->task);
}

void weir_switch_off(weir_switch *handle, weir_status status)
{
    pthread_mutex_lock(&handle->lock);
    if (!handle->off) {
        handle->off = true;
        handle->status = status;
        tell_all(handle);
    }
    pthread_mutex_unlock(&handle->lock);
}

void weir_switch_abort(weir_switch *handle)
{
    pthread_mutex_lock(&handle->lock);
    if (!handle->aborts) {
        handle->off = handle->aborts = true;
        tell_all(handle);
    }
    pthread_mutex_unlock(&handle->lock);
}

bool weir_switch_is_off(const weir_switch *handle)
{
    weir_switch *locked = (weir_switch *)(uintptr_t)handle;
    pthread_mutex_lock(&locked->lock);
    bool off = handle->off;
    pthread_mutex_unlock(&locked->lock);
    return off;
}

/* ---- The stage ---- */

static void switch_told(weir_task *task, void *user)
{
    switch_stage *s = user;
    (void)task;
    if (s->is_closed)
        return; /* told as it went: another may be in its place */
    pthread_mutex_lock(&s->handle->lock);
    bool aborts = s->handle->aborts;
    weir_status status = s->handle->status;
    pthread_mutex_unlock(&s->handle->lock);
    if (aborts) {
        weir_pipeline_shutdown(weir_stage_pipeline(s->stage), WEIR_ABORT, 0);
        return;
    }
    weir_cancel(weir_stage_in(s->stage));
    weir_end_error(weir_stage_out(s->stage), status);
}

static weir_status switch_check(const void *config, const char **why)
{
    *why = "needs a switch";
    return *(weir_switch *const *)config != NULL ? WEIR_OK : WEIR_EINVAL;
}

static weir_status switch_open(weir_stage *stage, const void *config, void *state)
{
    switch_stage *s = state;
    s->handle = *(weir_switch *const *)config;
    s->stage = stage;
    s->task = (weir_task)WEIR_TASK(switch_told, s);
    pthread_mutex_lock(&s->handle->lock);
    s->next = s->handle->stages;
    s->handle->stages = s;
    if (s->handle->off)
        weir_post(weir_stage_loop(stage), &s->task);
    pthread_mutex_unlock(&s->handle->lock);
    return WEIR_OK;
}

static void switch_close(weir_stage *stage, void *state)
{
    switch_stage *s = state;
    (void)stage;
    s->is_closed = true;
    pthread_mutex_lock(&s->handle->lock);
    for (switch_stage **link = &s->handle->stages; *link != NULL; link = &(*link)->next)
        if (*link == s) {
            *link = s->next;
            break;
        }
    pthread_mutex_unlock(&s->handle->lock);
}

static const weir_stage_type switch_type = {
    .name = "switch",
    .config_size = sizeof(weir_switch *),
    .state_size = sizeof(switch_stage),
    .check = switch_check,
    .open = switch_open,
    .close = switch_close,
};

weir_stage_spec *weir_switch_stage(weir_switch *handle)
{
    return weir_stage_of(&switch_type, &handle);
}
