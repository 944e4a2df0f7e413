/* grpc.health.v1.Health: states by name, and watchers on any loop who are told of changes. */
#include <weir/rpc_health.h>

#if WEIR_HAVE_RPC

#include "grpc/health/v1/health.weir.h"

#include <pthread.h>
#include <string.h>

#define SERVICE_UNKNOWN GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

enum { CHECK, LIST, WATCH, METHODS, UNTOLD = -1 };

typedef struct entry {
    weir_rpc_health_status status;
    char name[];
} entry;

/* The state of a Watch call. Its task is posted by whoever changes something; it and `sent` are the
 * call's loop's, the rest is under the lock. */
typedef struct watcher {
    weir_rpc_health *health;
    weir_rpc_call *call;
    weir_loop *loop;
    const char *service;
    struct watcher *next, *previous;
    weir_task task;
    int sent;
    bool is_over;
} watcher;

struct weir_rpc_health {
    const weir_env *env;
    pthread_mutex_t lock;
    entry **entries; /* by name */
    size_t count, cap;
    watcher *watchers;
    weir_rpc_handler handlers[METHODS];
    weir_rpc_service service;
};

/* ---- States, under the lock ---- */

/* Where it is, or would be. */
static size_t place_of(const weir_rpc_health *health, const char *name, bool *ret_found)
{
    size_t low = 0, high = health->count;
    *ret_found = false;
    while (low < high && !*ret_found) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, health->entries[middle]->name);
        *ret_found = order == 0;
        if (order > 0)
            low = middle + 1;
        else
            high = middle;
    }
    return high;
}

static weir_status add(weir_rpc_health *health, size_t place, const char *name,
                       weir_rpc_health_status status)
{
    size_t n = strlen(name) + 1;
    if (health->count == WEIR_RPC_HEALTH_SERVICES_MAX)
        return WEIR_ELIMIT;
    if (health->count == health->cap) {
        size_t cap = health->cap != 0 ? 2 * health->cap : 8;
        entry **at = weir_memory_resize(health->env, health->entries, cap * sizeof *at);
        if (at == NULL)
            return WEIR_ENOMEM;
        health->entries = at;
        health->cap = cap;
    }
    entry *new_ = weir_memory_new(health->env, sizeof *new_ + n);
    if (new_ == NULL)
        return WEIR_ENOMEM;
    new_->status = status;
    memcpy(new_->name, name, n);
    memmove(health->entries + place + 1, health->entries + place,
            (health->count - place) * sizeof(entry *));
    health->entries[place] = new_;
    health->count++;
    return WEIR_OK;
}

static void tell(const weir_rpc_health *health, const char *name)
{
    for (watcher *w = health->watchers; w != NULL; w = w->next)
        if (strcmp(w->service, name) == 0)
            weir_post(w->loop, &w->task);
}

weir_status weir_rpc_health_set(weir_rpc_health *health, const char *service,
                                weir_rpc_health_status status)
{
    bool found;
    weir_status added = WEIR_OK;
    if (health == NULL || service == NULL ||
        strnlen(service, WEIR_RPC_HEALTH_NAME_MAX + 1) > WEIR_RPC_HEALTH_NAME_MAX ||
        (unsigned)status > WEIR_RPC_HEALTH_NOT_SERVING)
        return WEIR_EINVAL;
    pthread_mutex_lock(&health->lock);
    size_t place = place_of(health, service, &found);
    if (found)
        health->entries[place]->status = status;
    else
        added = add(health, place, service, status);
    if (added == WEIR_OK)
        tell(health, service);
    pthread_mutex_unlock(&health->lock);
    return added;
}

static int status_of(weir_rpc_health *health, const char *service)
{
    bool found;
    pthread_mutex_lock(&health->lock);
    size_t place = place_of(health, service, &found);
    int status = found ? (int)health->entries[place]->status : (int)SERVICE_UNKNOWN;
    pthread_mutex_unlock(&health->lock);
    return status;
}

static weir_status send_status(weir_rpc_call *call, int status)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    return weir_rpc_send(call, &response.base);
}

/* ---- Check ---- */

static void check(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    const Grpc__Health__V1__HealthCheckRequest *request = (const void *)message;
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    int status = status_of(user, request->service);
    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)status;
    if (status == (int)SERVICE_UNKNOWN)
        (void)weir_rpc_finish(call, WEIR_RPC_NOT_FOUND, "unknown service");
    else
        (void)weir_rpc_reply(call, &response.base);
}

/* ---- List ---- */

typedef Grpc__Health__V1__HealthListResponse__StatusesEntry listed;

typedef struct row {
    listed listed;
    Grpc__Health__V1__HealthCheckResponse response;
} row;

/* Names of entries last as long as the service. */
static size_t copy_rows(weir_rpc_health *health, row *rows, listed **pointers)
{
    pthread_mutex_lock(&health->lock);
    size_t n = health->count;
    for (size_t i = 0; i < n && n <= WEIR_RPC_HEALTH_LIST_MAX; i++) {
        grpc__health__v1__health_list_response__statuses_entry__init(&rows[i].listed);
        grpc__health__v1__health_check_response__init(&rows[i].response);
        rows[i].listed.key = health->entries[i]->name;
        rows[i].listed.value = &rows[i].response;
        rows[i].response.status =
            (Grpc__Health__V1__HealthCheckResponse__ServingStatus)health->entries[i]->status;
        pointers[i] = &rows[i].listed;
    }
    pthread_mutex_unlock(&health->lock);
    return n;
}

static void list(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    Grpc__Health__V1__HealthListResponse response = GRPC__HEALTH__V1__HEALTH_LIST_RESPONSE__INIT;
    row *rows = weir_arena_take(weir_rpc_call_arena(call), WEIR_RPC_HEALTH_LIST_MAX * sizeof *rows);
    listed *pointers[WEIR_RPC_HEALTH_LIST_MAX];
    (void)message;
    if (rows == NULL) {
        (void)weir_rpc_finish(call, WEIR_RPC_RESOURCE_EXHAUSTED, "no memory");
        return;
    }
    response.statuses = pointers;
    response.n_statuses = copy_rows(user, rows, pointers);
    if (response.n_statuses > WEIR_RPC_HEALTH_LIST_MAX)
        (void)weir_rpc_finish(call, WEIR_RPC_RESOURCE_EXHAUSTED, "too many services to list");
    else
        (void)weir_rpc_reply(call, &response.base);
}

/* ---- Watch ---- */

/* Also told when there is room again. */
static void update(weir_rpc_call *call, void *user)
{
    watcher *w = weir_rpc_call_state(call);
    if (w->call == NULL) /* its request has not come */
        return;
    int status = status_of(user, w->service);
    if (status == w->sent)
        return;
    weir_status sent = send_status(call, status);
    if (sent == WEIR_OK)
        w->sent = status;
    else if (sent != WEIR_EAGAIN && sent != WEIR_ECLOSED)
        (void)weir_rpc_finish(call, WEIR_RPC_RESOURCE_EXHAUSTED, "no memory");
}

/* The call is held while the task is posted and it is over. */
static void changed(weir_task *task, void *user)
{
    watcher *w = user;
    (void)task;
    if (w->is_over)
        weir_rpc_release(w->call);
    else
        update(w->call, w->health);
}

static void watch(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    weir_rpc_health *health = user;
    watcher *w = weir_rpc_call_state(call);
    w->health = health;
    w->call = call;
    w->loop = weir_rpc_call_loop(call);
    w->service = ((const Grpc__Health__V1__HealthCheckRequest *)message)->service;
    w->task = (weir_task)WEIR_TASK(changed, w);
    w->sent = UNTOLD;
    pthread_mutex_lock(&health->lock);
    w->next = health->watchers;
    if (w->next != NULL)
        w->next->previous = w;
    health->watchers = w;
    pthread_mutex_unlock(&health->lock);
    update(call, user);
}

static void leave(weir_rpc_health *health, watcher *w)
{
    pthread_mutex_lock(&health->lock);
    if (w->previous != NULL)
        w->previous->next = w->next;
    else
        health->watchers = w->next;
    if (w->next != NULL)
        w->next->previous = w->previous;
    pthread_mutex_unlock(&health->lock);
}

static void watch_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    watcher *w = weir_rpc_call_state(call);
    (void)code;
    if (w->call == NULL)
        return;
    leave(user, w); /* nobody posts it from here on */
    w->is_over = true;
    if (w->task.queued)
        weir_rpc_hold(call);
}

static void watch_drain(weir_rpc_call *call, void *user)
{
    watcher *w = weir_rpc_call_state(call);
    (void)user;
    if (w->call != NULL && w->sent != WEIR_RPC_HEALTH_NOT_SERVING)
        (void)send_status(call, WEIR_RPC_HEALTH_NOT_SERVING); /* or else it learns by the end */
    w->sent = WEIR_RPC_HEALTH_NOT_SERVING;
    (void)weir_rpc_finish(call, WEIR_RPC_UNAVAILABLE, "shutting down");
}

/* ---- All of it ---- */

weir_rpc_health *weir_rpc_health_new(const weir_env *env)
{
    weir_rpc_health *health = weir_memory_new(env, sizeof *health);
    if (health == NULL)
        return NULL;
    health->env = env;
    pthread_mutex_init(&health->lock, NULL);
    health->handlers[CHECK] = (weir_rpc_handler){ .message = check };
    health->handlers[LIST] = (weir_rpc_handler){ .message = list };
    health->handlers[WATCH] = (weir_rpc_handler){ .message = watch,
                                                  .room = update,
                                                  .drain = watch_drain,
                                                  .over = watch_over,
                                                  .state_size = sizeof(watcher) };
    health->service = (weir_rpc_service){ &grpc_health_v1_health_service, health->handlers,
                                          health };
    if (weir_rpc_health_set(health, "", WEIR_RPC_HEALTH_SERVING) == WEIR_OK)
        return health;
    weir_rpc_health_free(health);
    return NULL;
}

void weir_rpc_health_free(weir_rpc_health *health)
{
    if (health == NULL)
        return;
    for (size_t i = 0; i < health->count; i++)
        weir_memory_free(health->env, health->entries[i]);
    weir_memory_free(health->env, health->entries);
    pthread_mutex_destroy(&health->lock);
    weir_memory_free(health->env, health);
}

const weir_rpc_service *weir_rpc_health_service(const weir_rpc_health *health)
{
    return health != NULL ? &health->service : NULL;
}

#endif
