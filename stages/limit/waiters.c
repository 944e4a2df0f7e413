/* Gates on any loop that wait for room: a list in order, woken by posts. */
#include "gate.h"

weir_status wi_waiters_init(wi_waiters *waiters)
{
    atomic_init(&waiters->n, 0);
    waiters->head = waiters->tail = NULL;
    return pthread_mutex_init(&waiters->lock, NULL) == 0 ? WEIR_OK : WEIR_ENOMEM;
}

void wi_waiters_done(wi_waiters *waiters)
{
    pthread_mutex_destroy(&waiters->lock);
}

void wi_waiters_add(wi_waiters *waiters, wi_waiter *waiter)
{
    pthread_mutex_lock(&waiters->lock);
    waiter->next = NULL;
    waiter->listed = true;
    if (waiters->tail != NULL)
        waiters->tail->next = waiter;
    else
        waiters->head = waiter;
    waiters->tail = waiter;
    atomic_fetch_add(&waiters->n, 1);
    pthread_mutex_unlock(&waiters->lock);
}

static wi_waiter *pop(wi_waiters *waiters)
{
    wi_waiter *first = waiters->head;
    waiters->head = first->next;
    if (waiters->head == NULL)
        waiters->tail = NULL;
    first->listed = false;
    atomic_fetch_sub(&waiters->n, 1);
    return first;
}

/* Posts under the lock: whoever finds itself no longer listed knows that the task is on its way. */
void wi_waiters_wake(wi_waiters *waiters, bool all)
{
    if (atomic_load(&waiters->n) == 0)
        return;
    pthread_mutex_lock(&waiters->lock);
    while (waiters->head != NULL) {
        wi_waiter *first = pop(waiters);
        weir_post(first->loop, &first->task);
        if (!all)
            break;
    }
    pthread_mutex_unlock(&waiters->lock);
}

bool wi_waiters_remove(wi_waiters *waiters, wi_waiter *waiter)
{
    pthread_mutex_lock(&waiters->lock);
    bool was_listed = waiter->listed;
    wi_waiter *before = NULL;
    for (wi_waiter *at = waiters->head; was_listed && at != waiter; at = at->next)
        before = at;
    if (was_listed) {
        if (before != NULL)
            before->next = waiter->next;
        else
            waiters->head = waiter->next;
        if (waiters->tail == waiter)
            waiters->tail = before;
        waiter->listed = false;
        atomic_fetch_sub(&waiters->n, 1);
    }
    pthread_mutex_unlock(&waiters->lock);
    return was_listed;
}
