/* The watched folder: its files as a source, read off the loop, moved away when they are done. */
#include "service.h"

#include <dirent.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAMES_MAX = 1024 };

/* Names that wait to be emitted; when more are there than there is room for, the folder is looked
 * through again. */
struct folder {
    weir_stage *stage;
    service *service;
    int notify;
    struct event event;
    bool has_event, again, draining;
    image *taken; /* emitted, and not ended */
    uint32_t head, n;
    char names[NAMES_MAX][NAME_BYTES];
};

typedef struct folder_config {
    service *service;
} folder_config;

static void emit_more(folder *f);

/* ---- Names ---- */

static bool is_taken(const folder *f, const char *name)
{
    for (const image *im = f->taken; im != NULL; im = im->next)
        if (strcmp(im->name, name) == 0)
            return true;
    return false;
}

static bool is_waiting(const folder *f, const char *name)
{
    for (uint32_t i = 0; i < f->n; i++)
        if (strcmp(f->names[(f->head + i) % NAMES_MAX], name) == 0)
            return true;
    return false;
}

static void add_name(folder *f, const char *name)
{
    if (name[0] == '.' || is_taken(f, name) || is_waiting(f, name))
        return;
    if (f->n == NAMES_MAX) {
        f->again = true;
        return;
    }
    snprintf(f->names[(f->head + f->n) % NAMES_MAX], NAME_BYTES, "%s", name);
    f->n++;
}

/* The folder may be on a slow disk, but a directory is read rarely and is mostly in memory. */
static void scan(folder *f)
{
    int fd = openat(f->service->watch_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    f->again = false;
    if (dir == NULL) {
        if (fd >= 0)
            close(fd);
        weir_log(&f->service->env, WEIR_LOG_WARN, "the folder cannot be read: %s", strerror(errno));
        return;
    }
    for (const struct dirent *entry; !f->again && (entry = readdir(dir)) != NULL;)
        if (entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN)
            add_name(f, entry->d_name);
    closedir(dir);
}

static void on_change(evutil_socket_t fd, short what, void *user)
{
    folder *f = user;
    _Alignas(struct inotify_event) char buffer[4096];
    ssize_t n = read((int)fd, buffer, sizeof buffer);
    (void)what;
    for (char *at = buffer; n > 0 && at < buffer + n;) {
        const struct inotify_event *event = (const struct inotify_event *)at;
        if ((event->mask & IN_Q_OVERFLOW) != 0)
            f->again = true;
        else if (event->len != 0 && (event->mask & IN_ISDIR) == 0)
            add_name(f, event->name);
        at += sizeof *event + event->len;
    }
    emit_more(f);
}

/* ---- Files ---- */

static void move_to(const image *im, int folder_fd)
{
    if (renameat(im->service->watch_fd, im->name, folder_fd, im->name) != 0 && errno != ENOENT)
        weir_log(&im->service->env, WEIR_LOG_WARN, "%s cannot be moved: %s", im->name,
                 strerror(errno));
}

static void write_reason(const image *im)
{
    char path[NAME_BYTES + 8], line[WHY_BYTES + 1];
    snprintf(path, sizeof path, "%.*s.reason", NAME_BYTES - 8, im->name);
    int fd = openat(im->service->failed_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    int n = snprintf(line, sizeof line, "%s\n", im->why);
    if (fd < 0 || write(fd, line, (size_t)n) != n)
        weir_log(&im->service->env, WEIR_LOG_WARN, "%s: %s", im->name, im->why);
    if (fd >= 0)
        close(fd);
}

static void file_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    image *im = weir_item_body(item);
    folder *f = im->folder;
    image **at = &f->taken;
    image_note_end(im, outcome, status);
    weir_memory_free(&im->service->env, im->memory);
    if (im->end == IMAGE_MADE) {
        move_to(im, im->service->done_fd);
    } else if (im->end == IMAGE_REFUSED) {
        write_reason(im);
        move_to(im, im->service->failed_fd);
    }
    while (*at != im)
        at = &(*at)->next;
    *at = im->next;
    weir_stage_release(f->stage);
}

const weir_item_type file_type = { .name = "file", .ended = file_ended };

/* ---- The source ---- */

static bool emit_name(folder *f)
{
    weir_item *item = weir_item_new(weir_stage_loop(f->stage), &file_type, sizeof(image));
    if (item == NULL)
        return false;
    image *im = weir_item_body(item);
    memset(im, 0, sizeof *im);
    im->service = f->service;
    im->folder = f;
    memcpy(im->name, f->names[f->head], NAME_BYTES);
    im->next = f->taken;
    f->taken = im;
    f->head = (f->head + 1) % NAMES_MAX;
    f->n--;
    weir_stage_hold(f->stage);
    weir_emit(weir_stage_out(f->stage), item);
    return true;
}

static void emit_more(folder *f)
{
    weir_out *out = weir_stage_out(f->stage);
    while (!f->draining && !weir_out_is_over(out) && weir_out_fits(out, sizeof(image))) {
        if (f->n == 0 && f->again)
            scan(f);
        if (f->n == 0 || !emit_name(f))
            return;
    }
}

static weir_status folder_open(weir_stage *stage, const void *config, void *state)
{
    folder *f = state;
    f->stage = stage;
    f->service = ((const folder_config *)config)->service;
    f->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (f->notify < 0 ||
        inotify_add_watch(f->notify, f->service->options.watch,
                          IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR) < 0 ||
        event_assign(&f->event, weir_loop_base(weir_stage_loop(stage)), f->notify,
                     EV_READ | EV_PERSIST, on_change, f) != 0 ||
        event_add(&f->event, NULL) != 0) {
        weir_stage_fail(stage, WEIR_EIO, "the folder cannot be watched");
        if (f->notify >= 0)
            close(f->notify);
        return WEIR_EIO;
    }
    f->has_event = true;
    f->again = true; /* those that are there */
    return WEIR_OK;
}

static void folder_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    (void)stage;
    (void)out;
    (void)credit;
    emit_more(state);
}

static void folder_on_drain(weir_stage *stage, void *state)
{
    ((folder *)state)->draining = true;
    weir_end(weir_stage_out(stage));
}

static void folder_close(weir_stage *stage, void *state)
{
    folder *f = state;
    (void)stage;
    event_del(&f->event);
    close(f->notify);
}

static const weir_stage_type folder_type = {
    .name = "folder",
    .config_size = sizeof(folder_config),
    .state_size = sizeof(folder),
    .inputs = WEIR_PORTS_NONE,
    .acks = true,
    .open = folder_open,
    .close = folder_close,
    .on_demand = folder_on_demand,
    .on_drain = folder_on_drain,
};

weir_stage_spec *folder_stage(service *s)
{
    return weir_stage_of(&folder_type, &(folder_config){ s });
}

/* ---- Reading, in a thread of its own ---- */

typedef struct load {
    weir_offload *pool;
} load;

typedef struct load_job {
    weir_job job;
    weir_op *op;
    weir_status status;
} load_job;

static weir_status read_all(int fd, image *im, size_t n)
{
    size_t got = 0;
    im->memory = weir_memory_new(&im->service->env, n + 1);
    if (im->memory == NULL)
        return WEIR_ENOMEM;
    for (ssize_t more; got < n; got += (size_t)more) {
        more = read(fd, (char *)im->memory + got, n - got);
        if (more < 0)
            return WEIR_EDENIED;
        if (more == 0)
            break;
    }
    im->file = (weir_isolate_bytes){ im->memory, got };
    return WEIR_OK;
}

/* A symbolic link or a device is no file of ours. */
static weir_status read_file(image *im)
{
    struct stat is;
    int fd = openat(im->service->watch_fd, im->name,
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) {
        im->end = IMAGE_GONE; /* moved away meanwhile */
        return WEIR_OK;
    }
    weir_status status = fd < 0 || fstat(fd, &is) != 0 || !S_ISREG(is.st_mode) ? WEIR_EDENIED
                         : is.st_size > im->service->budget.upload_bytes_max
                             ? WEIR_ELIMIT
                             : read_all(fd, im, (size_t)is.st_size);
    if (fd >= 0)
        close(fd);
    return status;
}

static void run_jobs(weir_job **jobs, size_t n, void *thread_state, void *user)
{
    (void)thread_state;
    (void)user;
    for (size_t i = 0; i < n; i++) {
        load_job *job = jobs[i]->work;
        job->status = read_file(jobs[i]->user);
    }
}

static void loaded(weir_job *job, void *user)
{
    const image *im = user;
    load_job *mine = job->work;
    mine->op->item->cost += (uint32_t)im->file.n;
    if (im->end == IMAGE_GONE)
        weir_op_done_consumed(mine->op);
    else
        weir_op_done(mine->op, mine->status, "the file cannot be read");
}

static void load_start(weir_op *op, void *state)
{
    load *l = state;
    load_job *job = op->work;
    memset(job, 0, sizeof *job);
    job->op = op;
    job->job = (weir_job){
        .loop = weir_stage_loop(op->stage), .done = loaded, .user = image_of(op->item), .work = job
    };
    if (weir_offload_submit(l->pool, &job->job) != WEIR_OK)
        weir_op_done(op, WEIR_EOVERLOAD, "its reader is busy");
}

static weir_status load_open(weir_stage *stage, const void *config, void *state)
{
    load *l = state;
    (void)config;
    return weir_offload_new(
        &(weir_offload_config){ .env = weir_stage_env(stage), .name = "load", .run = run_jobs },
        &l->pool);
}

static void load_close(weir_stage *stage, void *state)
{
    (void)stage;
    weir_offload_free(((load *)state)->pool);
}

weir_stage_spec *load_stage(service *s)
{
    static const weir_async_type type = {
        .name = "load",
        .state_size = sizeof(load),
        .work_size = sizeof(load_job),
        .open = load_open,
        .close = load_close,
        .start = load_start,
    };
    (void)s;
    return weir_async_of(&type, &(weir_async_options){ .in_flight = 1 }, NULL);
}
