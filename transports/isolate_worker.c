/* A worker as its stage sees it: started, given items, timed, buried, started again. */
#include "isolate_internal.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NEWS_MS = 2000, RECEIVE_BYTES = 1024 * 1024 };

static void on_readable(evutil_socket_t fd, short what, void *user);
static void on_writable(evutil_socket_t fd, short what, void *user);
static void on_leash(evutil_socket_t fd, short what, void *user);
static void bury(wi_isolate_worker *worker, weir_status status, const char *why);

/* ---- Its end ---- */

static const char *killed_by(int signal)
{
    static const char *const names[] = {
        [SIGILL] = "worker killed by signal 4 (SIGILL)",
        [SIGTRAP] = "worker killed by signal 5 (SIGTRAP)",
        [SIGABRT] = "worker killed by signal 6 (SIGABRT)",
        [SIGBUS] = "worker killed by signal 7 (SIGBUS)",
        [SIGFPE] = "worker killed by signal 8 (SIGFPE)",
        [SIGKILL] = "worker killed by signal 9 (SIGKILL)",
        [SIGSEGV] = "worker killed by signal 11 (SIGSEGV)",
        [SIGTERM] = "worker killed by signal 15 (SIGTERM)",
        [SIGXCPU] = "worker killed by signal 24 (SIGXCPU): its processor time was up",
        [SIGSYS] = "worker killed by signal 31 (SIGSYS): its sandbox allows no such system call",
    };
    const char *name = signal >= 0 && (size_t)signal < sizeof names / sizeof *names ? names[signal]
                                                                                    : NULL;
    return name != NULL ? name : "worker killed by a signal";
}

/* From here on the helper kills it, if it is not dead, and says how it ended. */
static void condemn(wi_isolate_worker *worker)
{
    (void)send(worker->leash, "k", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    worker->state = WI_ISOLATE_DYING;
    event_del(&worker->readable);
    event_del(&worker->writable);
    wi_isolate_receive_drop(worker);
}

/* Nobody said how it ended. */
static void on_no_news(weir_timer *timer, void *user)
{
    (void)timer;
    bury(user, WEIR_EUNAVAILABLE, "the helper does not answer");
}

static void expect_news(wi_isolate_worker *worker)
{
    condemn(worker);
    weir_timer_start(worker->of->loop, &worker->patience, NEWS_MS * WEIR_MS, on_no_news, worker);
}

static void on_timeout(weir_timer *timer, void *user)
{
    wi_isolate_worker *worker = user;
    (void)timer;
    worker->cause = WEIR_EDEADLINE;
    expect_news(worker);
}

static void kill_for_breach(wi_isolate_worker *worker)
{
    worker->cause = WEIR_EPROTO;
    expect_news(worker);
}

/* ---- Sending ---- */

static void patient_with_first(wi_isolate_worker *worker)
{
    if (worker->n != 0 && !weir_timer_is_armed(&worker->patience))
        weir_timer_start(worker->of->loop, &worker->patience,
                         worker->of->config->timeout_ms * WEIR_MS, on_timeout, worker);
}

/* 1: sent whole; 0: the socket is full; -1: the worker is gone. */
static int send_place(wi_isolate_worker *worker, wi_isolate_place *place)
{
    size_t all = sizeof place->head + (size_t)place->head.bytes;
    while (place->sent < all) {
        size_t of_head = place->sent < sizeof place->head ? sizeof place->head - place->sent : 0;
        size_t of_bytes = of_head != 0 ? 0 : place->sent - sizeof place->head;
        struct iovec parts[2] = {
            { (char *)&place->head + (sizeof place->head - of_head), of_head },
            { (char *)(uintptr_t)place->bytes + of_bytes, (size_t)place->head.bytes - of_bytes },
        };
        struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
        ssize_t n = sendmsg(worker->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : -1;
        place->sent += (size_t)n;
    }
    return 1;
}

static void sent(wi_isolate_worker *worker)
{
    wi_isolate_place *place = &worker->places[worker->n_sent++];
    place->bytes = NULL;
    if (!place->cancelled)
        return;
    weir_op *op = place->op;
    place->op = NULL;
    weir_op_done(op, WEIR_ECANCELED, "given up");
}

static void send_on(wi_isolate_worker *worker)
{
    while (worker->n_sent < worker->n) {
        int how = send_place(worker, &worker->places[worker->n_sent]);
        if (how == 0)
            event_add(&worker->writable, NULL);
        if (how < 0) /* what it may have answered before is still to be read */
            event_active(&worker->readable, EV_READ, 0);
        if (how <= 0)
            return;
        sent(worker);
    }
}

void wi_isolate_worker_take(wi_isolate_worker *worker, weir_op *op)
{
    wi_isolate *isolate = worker->of;
    wi_isolate_call *call = op->work;
    call->worker = worker;
    worker->places[worker->n++] = (wi_isolate_place){
        .op = op,
        .head = { .magic = WI_ISOLATE_MAGIC, .serial = ++isolate->serial, .bytes = call->in.n },
        .bytes = call->in.bytes,
    };
    wi_isolate_count(&isolate->stats->in_flight, 1);
    patient_with_first(worker);
    if (!event_pending(&worker->writable, EV_WRITE, NULL))
        send_on(worker);
}

/* ---- Giving up ---- */

static bool has_live_before(const wi_isolate_worker *worker, uint32_t index)
{
    for (uint32_t i = 0; i < index; i++)
        if (worker->places[i].op != NULL && !worker->places[i].cancelled)
            return true;
    return false;
}

static void take_out(wi_isolate_worker *worker, uint32_t index)
{
    worker->n--;
    memmove(&worker->places[index], &worker->places[index + 1],
            (worker->n - index) * sizeof *worker->places);
    wi_isolate_count(&worker->of->stats->in_flight, -1);
}

/* A worker that has taken only a part of an input can't be left in peace: its item's bytes are
 * needed until it has all of them. That is waited for, unless nobody minds that it is killed. */
static void kill_if_only_cancelled(wi_isolate_worker *worker)
{
    wi_isolate_place *partial = &worker->places[worker->n_sent];
    if (worker->state != WI_ISOLATE_UP || worker->n_sent == worker->n || !partial->cancelled ||
        has_live_before(worker, worker->n_sent))
        return;
    weir_op *op = partial->op;
    partial->op = NULL;
    worker->innocent = true;
    expect_news(worker);
    weir_op_done(op, WEIR_ECANCELED, "given up");
}

void wi_isolate_worker_cancel(wi_isolate_worker *worker, weir_op *op)
{
    uint32_t i = 0;
    while (worker->places[i].op != op)
        i++;
    wi_isolate_place *place = &worker->places[i];
    if (worker->state == WI_ISOLATE_UP && i >= worker->n_sent && place->sent != 0) {
        place->cancelled = true;
        kill_if_only_cancelled(worker);
        return;
    }
    if (worker->state == WI_ISOLATE_UP && place->sent == 0)
        take_out(worker, i);
    else
        place->op = NULL;
    if (i == 0 && worker->made != NULL) { /* the rest of the answer is dropped as it comes */
        weir_item_end(worker->made, WEIR_ABORTED, WEIR_ECANCELED);
        worker->made = NULL;
    }
    if (worker->n == 0)
        weir_timer_stop(worker->of->loop, &worker->patience);
    weir_op_done(op, WEIR_ECANCELED, "given up");
    kill_if_only_cancelled(worker);
}

/* ---- Events ---- */

static void on_writable(evutil_socket_t fd, short what, void *user)
{
    (void)fd;
    (void)what;
    send_on(user);
}

/* Gives whether the worker still stands. */
static bool take_answers(wi_isolate_worker *worker, size_t bytes)
{
    wi_isolate_received how = wi_isolate_receive(worker, bytes);
    if (how == WI_ISOLATE_BREACH)
        kill_for_breach(worker);
    else if (how == WI_ISOLATE_ENDED)
        expect_news(worker);
    else
        patient_with_first(worker);
    return worker->state == WI_ISOLATE_UP;
}

static void on_readable(evutil_socket_t fd, short what, void *user)
{
    wi_isolate_worker *worker = user;
    (void)fd;
    (void)what;
    if (worker->state == WI_ISOLATE_UP)
        (void)take_answers(worker, RECEIVE_BYTES);
    wi_isolate_dispatch(worker->of);
}

/* Why its items fail, and whose fault it was. */
static void bury_with_news(wi_isolate_worker *worker, const wi_isolate_news *news)
{
    wi_isolate *isolate = worker->of;
    if (worker->cause == WEIR_EDEADLINE) {
        wi_isolate_count(&isolate->stats->timeouts, 1);
        bury(worker, WEIR_EDEADLINE, "worker killed: it took longer than timeout_ms");
    } else if (worker->cause == WEIR_EPROTO) {
        wi_isolate_count(&isolate->stats->breaches, 1);
        bury(worker, WEIR_EPROTO, "worker killed: it broke the protocol");
    } else if (news->failed != 0) {
        bury(worker, WEIR_EUNAVAILABLE, "a worker could not be forked");
    } else {
        wi_isolate_count(&isolate->stats->crashes, worker->innocent ? 0 : 1);
        bury(worker, WEIR_EUNAVAILABLE,
             WIFSIGNALED(news->wait_status) ? killed_by(WTERMSIG(news->wait_status))
                                            : "worker exited");
    }
}

static void on_leash(evutil_socket_t fd, short what, void *user)
{
    wi_isolate_worker *worker = user;
    wi_isolate *isolate = worker->of;
    wi_isolate_news news;
    (void)what;
    ssize_t n = recv((int)fd, &news, sizeof news, MSG_DONTWAIT);
    if (n < 0 && errno == ECONNRESET) /* it did not read our last byte; its news is still there */
        n = recv((int)fd, &news, sizeof news, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
        return;
    /* What it answered before its end counts. */
    if (worker->state == WI_ISOLATE_UP)
        (void)take_answers(worker, SIZE_MAX);
    if (n == (ssize_t)sizeof news) {
        bury_with_news(worker, &news);
    } else {
        worker->innocent = true;
        bury(worker, WEIR_EUNAVAILABLE, "the helper process was killed");
    }
    wi_isolate_dispatch(isolate);
}

/* ---- Start and end ---- */

static void on_restart(weir_timer *timer, void *user)
{
    wi_isolate_worker *worker = user;
    (void)timer;
    wi_isolate_worker_start(worker);
    wi_isolate_dispatch(worker->of);
}

static uint64_t backoff_ns(const wi_isolate_worker *worker)
{
    const weir_isolate_config *c = worker->of->config;
    uint32_t doublings = worker->strikes - 1 < 31 ? worker->strikes - 1 : 31;
    uint64_t ms = (uint64_t)c->restart_ms << doublings;
    return (ms < c->restart_ms_max ? ms : c->restart_ms_max) * WEIR_MS;
}

/* Each failure without an answer between doubles the wait, and a window has only so many. */
static void restart_later(wi_isolate_worker *worker)
{
    wi_isolate *isolate = worker->of;
    const weir_isolate_config *c = isolate->config;
    uint64_t now = weir_loop_now(isolate->loop), wait = 0;
    uint64_t window = c->restarts_window_ms * WEIR_MS;
    if (now - isolate->window_from_ns >= window) {
        isolate->window_from_ns = now;
        isolate->window_restarts = 0;
    }
    if (!worker->innocent) {
        worker->strikes++;
        wait = backoff_ns(worker);
    }
    if (isolate->window_restarts >= c->restarts_max) {
        uint64_t left = isolate->window_from_ns + window - now;
        if (isolate->window_restarts == c->restarts_max)
            weir_log(weir_stage_env(isolate->stage), WEIR_LOG_WARN,
                     "%s: %u workers failed within %u ms: no more are started for a while",
                     weir_stage_name(isolate->stage), c->restarts_max, c->restarts_window_ms);
        wait = left > wait ? left : wait;
    }
    isolate->window_restarts++;
    weir_timer_start(isolate->loop, &worker->restart, wait, on_restart, worker);
}

static void close_all(wi_isolate_worker *worker)
{
    weir_timer_stop(worker->of->loop, &worker->patience);
    weir_timer_stop(worker->of->loop, &worker->restart);
    if (worker->has_events) {
        event_del(&worker->readable);
        event_del(&worker->writable);
        event_del(&worker->leashed);
        worker->has_events = false;
    }
    if (worker->socket >= 0)
        close(worker->socket);
    if (worker->leash >= 0)
        close(worker->leash);
    worker->socket = worker->leash = -1;
}

static void bury(wi_isolate_worker *worker, weir_status status, const char *why)
{
    wi_isolate *isolate = worker->of;
    uint32_t n = worker->n;
    wi_isolate_receive_drop(worker);
    close_all(worker);
    if (worker->state != WI_ISOLATE_DOWN)
        wi_isolate_count(&isolate->stats->workers, -1);
    worker->state = WI_ISOLATE_DOWN;
    worker->n = worker->n_sent = 0;
    wi_isolate_count(&isolate->stats->in_flight, -(int64_t)n);
    for (uint32_t i = 0; i < n; i++) {
        if (worker->places[i].op == NULL)
            continue;
        wi_isolate_count(&isolate->stats->items_failed, 1);
        weir_op_done(worker->places[i].op, status, why);
    }
    restart_later(worker);
}

static bool connect_both(wi_isolate_worker *worker, int ret_theirs[2])
{
    int socket[2], leash[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket) != 0)
        return false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, leash) != 0) {
        close(socket[0]);
        close(socket[1]);
        return false;
    }
    worker->socket = socket[0];
    worker->leash = leash[0];
    ret_theirs[0] = socket[1];
    ret_theirs[1] = leash[1];
    return true;
}

static bool watch(wi_isolate_worker *worker)
{
    struct event_base *base = weir_loop_base(worker->of->loop);
    if (event_assign(&worker->readable, base, worker->socket, EV_READ | EV_PERSIST, on_readable,
                     worker) != 0 ||
        event_assign(&worker->writable, base, worker->socket, EV_WRITE, on_writable, worker) != 0 ||
        event_assign(&worker->leashed, base, worker->leash, EV_READ | EV_PERSIST, on_leash,
                     worker) != 0)
        return false;
    worker->has_events = true;
    return event_add(&worker->readable, NULL) == 0 && event_add(&worker->leashed, NULL) == 0;
}

void wi_isolate_worker_start(wi_isolate_worker *worker)
{
    wi_isolate *isolate = worker->of;
    int theirs[2] = { -1, -1 };
    weir_status status = WEIR_ELIMIT;
    worker->cause = WEIR_OK;
    worker->innocent = false;
    if (connect_both(worker, theirs) && watch(worker))
        status = wi_isolate_helper_spawn(isolate->config->helper, &isolate->order, theirs[0],
                                         theirs[1]);
    if (theirs[0] >= 0) {
        close(theirs[0]);
        close(theirs[1]);
    }
    if (status == WEIR_OK) {
        worker->state = WI_ISOLATE_UP;
        wi_isolate_count(&isolate->stats->workers, 1);
        wi_isolate_count(&isolate->stats->restarts, worker->was_there);
        worker->was_there = true;
        return;
    }
    if (status == WEIR_ECLOSED)
        weir_stage_fail(isolate->stage, WEIR_EUNAVAILABLE, "there is no helper process any more");
    bury(worker, WEIR_EUNAVAILABLE, "a worker could not be started");
}

void wi_isolate_worker_stop(wi_isolate_worker *worker)
{
    wi_isolate_receive_drop(worker);
    close_all(worker);
    if (worker->state != WI_ISOLATE_DOWN)
        wi_isolate_count(&worker->of->stats->workers, -1);
    wi_isolate_count(&worker->of->stats->in_flight, -(int64_t)worker->n);
    worker->state = WI_ISOLATE_DOWN;
}
