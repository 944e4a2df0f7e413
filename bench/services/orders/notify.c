/* Announces stored orders: a line of JSON in a file, or a message on a NATS subject. */
#include "service.h"

#include <weir/async.h>
#include <weir/json.h>
#include <weir/nats.h>
#include <weir/offload.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

enum { LINE_BYTES = 640, LINES_MAX = 256, IN_FLIGHT = 1024 };

static const char subject[] = "orders.created";

static void write_trace(weir_json_writer *w, const weir_context *context)
{
    static const uint8_t none[16];
    char hex[32];
    if (context == NULL || memcmp(context->trace.trace_id, none, sizeof none) == 0)
        return;
    for (size_t i = 0; i < 16; i++) {
        hex[2 * i] = "0123456789abcdef"[context->trace.trace_id[i] >> 4];
        hex[2 * i + 1] = "0123456789abcdef"[context->trace.trace_id[i] & 15];
    }
    weir_json_write_key(w, "trace_id");
    weir_json_write_string_span(w, hex, sizeof hex);
}

/* The announcement as JSON. `context` NULL: without the trace. */
static weir_status announcement(const work *done, const weir_context *context, char *text,
                                size_t cap, size_t *ret_bytes)
{
    weir_json_writer w;
    weir_json_write_begin(&w, text, cap);
    weir_json_write_object(&w);
    weir_json_write_key(&w, "event");
    weir_json_write_string(&w, subject);
    weir_json_write_key(&w, "id");
    weir_json_write_string_span(&w, done->order.id, done->order.id_bytes);
    weir_json_write_key(&w, "amount");
    weir_json_write_double(&w, done->order.amount);
    weir_json_write_key(&w, "currency");
    weir_json_write_string(&w, done->order.currency);
    if (done->price >= 0) {
        weir_json_write_key(&w, "price");
        weir_json_write_double(&w, done->price);
    }
    write_trace(&w, context);
    weir_json_write_object_end(&w);
    return weir_json_write_end(&w, ret_bytes);
}

/* ---- To a file: by a thread of its own, all that has gathered at once ---- */

typedef struct file_config {
    const char *path;
} file_config;

/* One for all replicas. */
typedef struct file {
    weir_offload *offload;
    int fd;
    bool torn; /* the last line is incomplete: begin a new one */
} file;

typedef struct line {
    weir_op *op;
    struct line *next;
    weir_status status;
    uint32_t bytes;
    char text[LINE_BYTES];
} line;

/* A replica's: what gathers while the lines before are being written. */
typedef struct writer {
    file *file;
    weir_job job;
    bool writing;
    uint32_t n;
    line *lines[LINES_MAX]; /* being written */
    line *head, *tail;
} writer;

/* Writes `n` pieces, gives how many bytes of them it could. */
static size_t write_all(int fd, struct iovec *pieces, size_t n)
{
    size_t written = 0;
    while (n != 0) {
        ssize_t got = writev(fd, pieces, (int)n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        written += (size_t)got;
        while (n != 0 && (size_t)got >= pieces->iov_len) {
            got -= (ssize_t)pieces->iov_len;
            pieces++;
            n--;
        }
        if (n != 0) {
            pieces->iov_base = (char *)pieces->iov_base + got;
            pieces->iov_len -= (size_t)got;
        }
    }
    return written;
}

static void write_lines(file *f, line *const *lines, uint32_t n)
{
    struct iovec pieces[LINES_MAX + 1];
    static char newline[] = "\n";
    size_t first = f->torn ? 1 : 0;
    pieces[0] = (struct iovec){ newline, 1 };
    for (uint32_t i = 0; i < n; i++)
        pieces[first + i] = (struct iovec){ lines[i]->text, lines[i]->bytes };
    size_t written = write_all(f->fd, pieces, first + n);
    if (first != 0 && written != 0) {
        f->torn = false;
        written--;
    }
    for (uint32_t i = 0; i < n; i++) {
        bool whole = written >= lines[i]->bytes;
        lines[i]->status = whole ? WEIR_OK : WEIR_EIO;
        f->torn = f->torn || (!whole && written != 0);
        written = whole ? written - lines[i]->bytes : 0;
    }
}

static void file_run(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    (void)thread_state;
    for (size_t i = 0; i < n; i++) {
        writer *w = jobs[i]->work;
        write_lines(user, w->lines, w->n);
    }
}

static weir_status file_share(const void *config, const weir_env *env, uint32_t replicas,
                              void **ret_shared, const char **why)
{
    const file_config *c = config;
    *why = "the file cannot be opened for writing";
    file *f = weir_memory_new(env, sizeof *f);
    if (f == NULL)
        return WEIR_ENOMEM;
    weir_status status = WEIR_EIO;
    f->fd = open(c->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (f->fd < 0)
        goto fail_open;
    status = weir_offload_new(&(weir_offload_config){ .env = env,
                                                      .queue_max = replicas,
                                                      .name = "orders-notify",
                                                      .run = file_run,
                                                      .user = f },
                              &f->offload);
    if (status != WEIR_OK)
        goto fail_offload;
    *ret_shared = f;
    return WEIR_OK;
fail_offload:
    close(f->fd);
fail_open:
    weir_memory_free(env, f);
    return status;
}

static void file_unshare(void *shared)
{
    file *f = shared;
    weir_offload_free(f->offload);
    close(f->fd);
    weir_memory_free(NULL, f);
}

static weir_status file_open(weir_stage *stage, const void *config, void *state)
{
    writer *w = state;
    (void)config;
    w->file = weir_async_shared(stage);
    return WEIR_OK;
}

static void file_start(weir_op *op, void *state)
{
    writer *w = state;
    line *l = op->work;
    work *done = work_of(op->item);
    size_t bytes = 0;
    done->step = AT_NOTIFICATION;
    weir_status status = announcement(done, op->context, l->text, sizeof l->text - 1, &bytes);
    if (status != WEIR_OK) {
        weir_op_done(op, status, "cannot be announced");
        return;
    }
    l->text[bytes] = '\n';
    l->bytes = (uint32_t)bytes + 1;
    l->op = op;
    l->next = NULL;
    if (w->tail != NULL)
        w->tail->next = l;
    else
        w->head = l;
    w->tail = l;
}

static void file_done(weir_job *job, void *user);

/* Hands on what has gathered, unless a write is under way. */
static void file_flush(weir_stage *stage, void *state)
{
    writer *w = state;
    if (w->writing || w->head == NULL)
        return;
    for (w->n = 0; w->n < LINES_MAX && w->head != NULL; w->head = w->head->next)
        w->lines[w->n++] = w->head;
    if (w->head == NULL)
        w->tail = NULL;
    w->job =
        (weir_job){ .loop = weir_stage_loop(stage), .done = file_done, .user = stage, .work = w };
    w->writing = true;
    weir_status status = weir_offload_submit(w->file->offload, &w->job);
    assert(status == WEIR_OK); /* a place in its queue for each replica */
    (void)status;
}

static void file_done(weir_job *job, void *user)
{
    writer *w = job->work;
    weir_stage *stage = user;
    uint32_t n = w->n;
    weir_stage_hold(stage); /* its last operation may be among these */
    w->writing = false;
    for (uint32_t i = 0; i < n; i++) {
        line *l = w->lines[i];
        weir_op_done(l->op, l->status, "cannot write to the notification file");
    }
    file_flush(stage, w);
    weir_stage_release(stage);
}

static const weir_async_type file_type = {
    .name = "notify",
    .config_size = sizeof(file_config),
    .state_size = sizeof(writer),
    .work_size = sizeof(line),
    .share = file_share,
    .unshare = file_unshare,
    .open = file_open,
    .start = file_start,
    .flush = file_flush,
};

/* ---- To NATS ---- */

static weir_status publication(const weir_item *item, weir_nats_publication *p, void *user)
{
    work *done = work_of(item);
    (void)user;
    done->step = AT_NOTIFICATION;
    p->subject = weir_nats_text_of(subject);
    p->payload.data = p->scratch;
    return announcement(done, NULL, p->scratch, p->scratch_bytes, &p->payload.size);
}

weir_stage_spec *notify_stage(service *s)
{
    const options *o = &s->options;
    if (o->notify == NOTIFY_FILE)
        return weir_async_of(&file_type, &(weir_async_options){ .in_flight = IN_FLIGHT },
                             &(file_config){ o->notify_at });
    return weir_stage_named(weir_nats_publish(&(weir_nats_config){
                                .connection = { .url = o->notify_at, .name = "orders" },
                                .publication = publication,
                                .in_flight = IN_FLIGHT,
                                .wait_ms = o->deadline_ms / 2 + 1,
                                .done = WEIR_NATS_FLUSHED }),
                            "notify");
}
