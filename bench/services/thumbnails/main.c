/* The thumbnail service: images by HTTP or out of a folder, decoded in processes of their own. */
#include "service.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* An image has so much processor time; on a busy machine that takes its time. */
enum {
    ITEM_CPU_S = 10,
    ITEM_TIMEOUT_MS = 45000,
    DEADLINE_MS = 60000,
    OVERLOAD_WAIT_MS = 30000,
    CONNECTIONS_MAX = 256,
};

/* The first error is the program's last word: see run. From any thread. */
static void log_line(weir_log_level level, const char *line, void *user)
{
    (void)user;
    if (level == WEIR_LOG_WARN)
        fprintf(stderr, "thumbnails: %s\n", line);
}

static void listens(uint16_t port, void *user)
{
    service *s = user;
    printf("thumbnails: listening on %s:%u\n", s->host, port);
    fflush(stdout);
    atomic_store(&s->port, port);
    sem_post(&s->listens);
}

/* ---- Wiring ---- */

static weir_stage_spec *requests(service *s)
{
    return weir_stage_named(weir_http_server(&(weir_http_server_config){
                                .listen = s->options.listen,
                                .listening = listens,
                                .user = s,
                                .connections_max = CONNECTIONS_MAX,
                                .limits = { .body_bytes_max = s->budget.upload_bytes_max },
                                .body_bytes_max_all = s->budget.bodies_bytes_max,
                                .overload_wait_ms = OVERLOAD_WAIT_MS,
                                .request_deadline_ms = DEADLINE_MS }),
                            "http");
}

static weir_status give_file(const weir_item *item, weir_isolate_bytes *ret_in, void *user)
{
    (void)user;
    *ret_in = image_of(item)->file;
    return WEIR_OK;
}

/* What the sandbox allows was tried on this processor. */
static bool has_sandbox(void)
{
#if defined(__x86_64__)
    return true;
#else
    return false;
#endif
}

static weir_stage_spec *codec_stage(service *s)
{
    const budget *b = &s->budget;
    return weir_stage_named(
        weir_isolate(&(weir_isolate_config){ .helper = s->helper,
                                             .work = "thumbnail",
                                             .input = give_file,
                                             .workers = s->options.workers,
                                             .unordered = true,
                                             .in_bytes_max = b->upload_bytes_max,
                                             .out_bytes_max = b->output_bytes_max,
                                             .timeout_ms = ITEM_TIMEOUT_MS,
                                             .cpu_s_max = ITEM_CPU_S,
                                             .memory_bytes_max = b->worker_bytes,
                                             .sandbox = has_sandbox(),
                                             .stats = &s->workers }),
        "codec");
}

static weir_pipeline *wire(service *s)
{
    const options *o = &s->options;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){
        .name = "thumbnails",
        .env = &s->env,
        .loops = 1,
        .drain_ms = o->drain_ms,
        .item_bytes_max = s->budget.upload_bytes_max + ITEM_OVERHEAD_BYTES });
    if (p == NULL)
        return NULL;
    if (o->listen[0] != '\0') {
        weir_from(p, requests(s));
        weir_via(p, admit_stage(s));
    } else {
        weir_from(p, folder_stage(s));
        weir_via(p, load_stage(s));
    }
    if (o->listen[0] != '\0' && o->watch != NULL) {
        weir_node *merge = weir_via(p, weir_merge());
        weir_node *files = weir_add(p, folder_stage(s)), *load = weir_add(p, load_stage(s));
        weir_link(files, 0, load, 0, NULL);
        weir_link(load, 0, merge, 1, NULL);
    }
    weir_via(p, codec_stage(s));
    if (o->out != NULL)
        weir_via(p, store_stage(s));
    weir_into(p, reply_stage(s));
    return p;
}

/* ---- Surroundings ---- */

static bool open_folder(int at, const char *path, bool make, int *ret_fd)
{
    if (make && mkdirat(at, path, 0755) != 0 && errno != EEXIST) {
        fprintf(stderr, "thumbnails: %s: %m\n", path);
        return false;
    }
    *ret_fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*ret_fd < 0)
        fprintf(stderr, "thumbnails: %s: %m\n", path);
    return *ret_fd >= 0;
}

static bool open_folders(service *s)
{
    const options *o = &s->options;
    if (o->out != NULL && !open_folder(AT_FDCWD, o->out, true, &s->out_fd))
        return false;
    return o->watch == NULL || (open_folder(AT_FDCWD, o->watch, false, &s->watch_fd) &&
                                open_folder(s->watch_fd, "done", true, &s->done_fd) &&
                                open_folder(s->watch_fd, "failed", true, &s->failed_fd));
}

static void close_folders(const service *s)
{
    const int fds[] = { s->watch_fd, s->out_fd, s->done_fd, s->failed_fd };
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* Without this, malloc keeps what large bodies were in, and the budget with it. */
static void give_memory_back(void)
{
    mallopt(M_MMAP_THRESHOLD, 128 * 1024);
    mallopt(M_TRIM_THRESHOLD, 256 * 1024);
}

/* ---- Running ---- */

static int run(service *s)
{
    int code = 1;
    s->pipeline = wire(s);
    if (s->pipeline == NULL) {
        fputs("thumbnails: out of memory\n", stderr);
        return 1;
    }
    demo *d = s->options.demo ? demo_start(s) : NULL;
    weir_status status = weir_run(s->pipeline);
    if (status != WEIR_OK)
        fprintf(stderr, "thumbnails: %s\n", weir_pipeline_why(s->pipeline));
    code = status == WEIR_OK ? 0 : 1;
    sem_post(&s->listens); /* it may have ended before it listened */
    if (s->options.demo && (d == NULL || !demo_finish(d)))
        code = 1;
    weir_pipeline_free(s->pipeline);
    return code;
}

static bool share_memory(service *s)
{
    uint64_t least;
    const options *o = &s->options;
    if (budget_share(o->memory, o->workers, o->side, &s->budget, &least))
        return true;
    fprintf(stderr, "thumbnails: --memory is too little for %u workers: they need %llu MiB\n",
            o->workers, (unsigned long long)((least >> 20) + 1));
    return false;
}

static void note_host(service *s)
{
    const char *colon = strrchr(s->options.listen, ':');
    if (colon != NULL)
        snprintf(s->host, sizeof s->host, "%.*s", (int)(colon - s->options.listen),
                 s->options.listen);
}

int main(int argc, char **argv)
{
    service s = { .watch_fd = -1, .out_fd = -1, .done_fd = -1, .failed_fd = -1 };
    options_result result = options_read(argc, argv, &s.options);
    if (result != OPTIONS_RUN)
        return result == OPTIONS_HELP ? 0 : 2;
    if (!share_memory(&s))
        return 2;
    give_memory_back();
    codec_config config = { s.options.side, s.budget.decoder_bytes };
    weir_isolate_work work = { "thumbnail", codec_run, &config };
    weir_status status = weir_isolate_helper_new(NULL, &work, 1, &s.helper);
    if (status != WEIR_OK) {
        fprintf(stderr, "thumbnails: no helper process: %s\n", weir_status_text(status));
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);
    s.env.log = log_line;
    sem_init(&s.listens, 0, 0);
    note_host(&s);
    int code = open_folders(&s) ? run(&s) : 1;
    weir_isolate_helper_free(s.helper);
    close_folders(&s);
    return code;
}
