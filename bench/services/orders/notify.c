/* Announces stored orders: a line of JSON in a file, or a message on a NATS subject. */
#include "service.h"

#include <weir/async.h>
#include <weir/json.h>
#include <weir/nats.h>
#include <weir/offload.h>

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

/* ---- To a file: written by a thread of its own, all that has gathered at once ---- */

typedef struct file_config {
    const char *path;
} file_config;

typedef struct file {
    weir_offload *offload;
    int fd;
    bool torn; /* the last line is incomplete: begin a new one */
} file;

typedef struct line {
    weir_job job;
    weir_op *op;
    weir_status status;
    uint32_t bytes;
    char text[LINE_BYTES];
} line;

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

static void file_run(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    struct iovec pieces[LINES_MAX + 1];
    static char newline[] = "\n";
    file *f = user;
    size_t first = f->torn ? 1 : 0;
    (void)thread_state;
    pieces[0] = (struct iovec){ newline, 1 };
    for (size_t i = 0; i < n; i++) {
        line *l = jobs[i]->work;
        pieces[first + i] = (struct iovec){ l->text, l->bytes };
    }
    size_t written = write_all(f->fd, pieces, first + n);
    if (written < first)
        written = 0;
    else
        written -= first;
    f->torn = f->torn && written == 0;
    for (size_t i = 0; i < n; i++) {
        line *l = jobs[i]->work;
        l->status = written >= l->bytes ? WEIR_OK : WEIR_EIO;
        f->torn = f->torn || (written != 0 && written < l->bytes);
        written = written >= l->bytes ? written - l->bytes : 0;
    }
}

static weir_status file_share(const void *config, const weir_env *env, uint32_t replicas,
                              void **ret_shared)
{
    const file_config *c = config;
    file *f = weir_memory_new(env, sizeof *f);
    if (f == NULL)
        return WEIR_ENOMEM;
    weir_status status = WEIR_EIO;
    f->fd = open(c->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (f->fd < 0)
        goto fail_open;
    status = weir_offload_new(&(weir_offload_config){ .env = env,
                                                      .queue_max = IN_FLIGHT * replicas,
                                                      .batch_max = LINES_MAX,
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

static void file_done(weir_job *job, void *user)
{
    line *l = user;
    (void)job;
    weir_op_done(l->op, l->status, "cannot write to the notification file");
}

static void file_start(weir_op *op, void *state)
{
    line *l = op->work;
    file *f = weir_async_shared(op->stage);
    work *done = work_of(op->item);
    size_t bytes = 0;
    (void)state;
    done->step = AT_NOTIFICATION;
    weir_status status = announcement(done, op->context, l->text, sizeof l->text - 1, &bytes);
    if (status == WEIR_OK) {
        l->text[bytes] = '\n';
        l->bytes = (uint32_t)bytes + 1;
        l->op = op;
        l->job = (weir_job){
            .loop = weir_stage_loop(op->stage), .done = file_done, .user = l, .work = l
        };
        status = weir_offload_submit(f->offload, &l->job);
    }
    if (status != WEIR_OK)
        weir_op_done(op, status, "cannot be announced");
}

static const weir_async_type file_type = {
    .name = "notify",
    .config_size = sizeof(file_config),
    .work_size = sizeof(line),
    .share = file_share,
    .unshare = file_unshare,
    .start = file_start,
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
                                .done = WEIR_NATS_FLUSHED }),
                            "notify");
}
