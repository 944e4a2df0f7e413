/* What comes from a worker: bytes of which nothing is believed. */
#include "isolate_internal.h"

#include <errno.h>
#include <sys/socket.h>

static bool is_answer(const wi_isolate_worker *worker)
{
    const wi_isolate_head *head = &worker->answer;
    return head->magic == WI_ISOLATE_MAGIC && worker->n_sent != 0 &&
           head->serial == worker->places[0].head.serial && head->status <= 0 &&
           head->status > -WEIR_STATUS_COUNT && head->bytes <= worker->of->config->out_bytes_max &&
           (head->status == 0 || head->bytes == 0);
}

/* Where the answer's bytes go. Without memory they are read all the same, and the item fails. */
static void make_item(wi_isolate_worker *worker)
{
    wi_isolate *isolate = worker->of;
    size_t n = (size_t)worker->answer.bytes;
    if (worker->places[0].op == NULL || worker->answer.status != 0)
        return;
    worker->made = weir_item_new(isolate->loop, &wi_isolate_item_type,
                                 sizeof(weir_isolate_bytes) + n);
    if (worker->made == NULL) {
        worker->why = "no memory for what was made of it";
        return;
    }
    weir_isolate_bytes *body = weir_item_body(worker->made);
    *body = (weir_isolate_bytes){ .bytes = body + 1, .n = n };
}

/* The next place to read to. */
static void *target(wi_isolate_worker *worker, size_t *ret_room)
{
    if (worker->got < sizeof worker->answer) {
        *ret_room = sizeof worker->answer - worker->got;
        return (char *)&worker->answer + worker->got;
    }
    size_t at = worker->got - sizeof worker->answer;
    *ret_room = (size_t)worker->answer.bytes - at;
    if (worker->made != NULL)
        return (char *)((weir_isolate_bytes *)weir_item_body(worker->made) + 1) + at;
    if (*ret_room > sizeof worker->of->scratch)
        *ret_room = sizeof worker->of->scratch;
    return worker->of->scratch;
}

/* False: the protocol was broken. */
static bool received(wi_isolate_worker *worker, size_t n)
{
    bool was_head = worker->got < sizeof worker->answer;
    worker->got += n;
    if (worker->got < sizeof worker->answer)
        return true;
    if (was_head) {
        if (!is_answer(worker))
            return false;
        make_item(worker);
    }
    if (worker->got - sizeof worker->answer == worker->answer.bytes)
        wi_isolate_answered(worker);
    return true;
}

wi_isolate_received wi_isolate_receive(wi_isolate_worker *worker, size_t bytes)
{
    for (size_t taken = 0; taken < bytes;) {
        size_t room;
        void *to = target(worker, &room);
        ssize_t n = recv(worker->socket, to, room, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return WI_ISOLATE_EMPTY;
        if (n <= 0)
            return WI_ISOLATE_ENDED;
        taken += (size_t)n;
        if (!received(worker, (size_t)n))
            return WI_ISOLATE_BREACH;
    }
    return WI_ISOLATE_TOOK;
}

void wi_isolate_receive_drop(wi_isolate_worker *worker)
{
    if (worker->made != NULL)
        weir_item_end(worker->made, WEIR_ABORTED, WEIR_ECANCELED);
    worker->made = NULL;
    worker->why = NULL;
    worker->got = 0;
}
