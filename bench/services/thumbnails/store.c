/* The store: thumbnails as files, durable before anybody is told of them. */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { IN_FLIGHT = 16 };

typedef struct store_config {
    service *service;
} store_config;

typedef struct store {
    service *service;
    weir_offload *pool;
} store;

typedef struct store_job {
    weir_job job;
    weir_op *op;
    service *service;
    weir_isolate_bytes file;
    weir_status status;
    char name[NAME_BYTES], temporary[NAME_BYTES + 8];
} store_job;

/* ---- In the store's thread ---- */

static bool write_all(int fd, weir_isolate_bytes file)
{
    for (size_t at = 0; at < file.n;) {
        ssize_t n = write(fd, (const char *)file.bytes + at, file.n - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

/* Under a name that nobody looks for, until all of it is on the disk. */
static bool write_temporary(const store_job *job)
{
    int out = job->service->out_fd;
    int fd = openat(out, job->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW,
                    0644);
    if (fd < 0)
        return false;
    bool ok = write_all(fd, job->file) && fsync(fd) == 0;
    ok = close(fd) == 0 && ok;
    if (ok)
        ok = renameat(out, job->temporary, out, job->name) == 0;
    if (!ok)
        (void)unlinkat(out, job->temporary, 0);
    return ok;
}

/* The names are durable once the folder is: one fsync for as many as there are. */
static void run_jobs(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    service *s = user;
    (void)thread_state;
    for (size_t i = 0; i < n; i++) {
        store_job *job = jobs[i]->work;
        job->status = write_temporary(job) ? WEIR_OK : WEIR_EIO;
    }
    if (fsync(s->out_fd) == 0)
        return;
    for (size_t i = 0; i < n; i++)
        ((store_job *)jobs[i]->work)->status = WEIR_EIO;
}

/* ---- On the loop ---- */

static void stored(weir_job *job, void *user)
{
    store_job *mine = job->work;
    (void)user;
    weir_op_done(mine->op, mine->status, "the thumbnail cannot be stored");
}

static void start(weir_op *op, void *state)
{
    store *st = state;
    store_job *job = op->work;
    const image *im = image_of(op->item);
    codec_head head;
    memset(job, 0, sizeof *job);
    if (!thumbnail_read(op->item, &head, &job->file) || head.status != 200) {
        weir_op_done(op, WEIR_OK, NULL);
        return;
    }
    job->op = op;
    job->service = st->service;
    thumbnail_name(im, &head, job->name);
    snprintf(job->temporary, sizeof job->temporary, ".%.*s.new", NAME_BYTES - 8, job->name);
    job->job = (weir_job){ .loop = weir_stage_loop(op->stage), .done = stored, .work = job };
    if (weir_offload_submit(st->pool, &job->job) != WEIR_OK)
        weir_op_done(op, WEIR_EOVERLOAD, "the store is busy");
}

static weir_status store_open(weir_stage *stage, const void *config, void *state)
{
    store *st = state;
    st->service = ((const store_config *)config)->service;
    return weir_offload_new(&(weir_offload_config){ .env = weir_stage_env(stage),
                                                    .batch_max = IN_FLIGHT,
                                                    .name = "store",
                                                    .run = run_jobs,
                                                    .user = st->service },
                            &st->pool);
}

static void store_close(weir_stage *stage, void *state)
{
    (void)stage;
    weir_offload_free(((store *)state)->pool);
}

weir_stage_spec *store_stage(service *s)
{
    static const weir_async_type type = {
        .name = "store",
        .config_size = sizeof(store_config),
        .state_size = sizeof(store),
        .work_size = sizeof(store_job),
        .open = store_open,
        .close = store_close,
        .start = start,
    };
    return weir_async_of(&type, &(weir_async_options){ .in_flight = IN_FLIGHT, .unordered = true },
                         &(store_config){ s });
}
