/* The order service: takes orders over HTTP, prices, stores and announces them. */
#include "ops.h"

#include <weir/http_server.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OVERLOAD_WAIT_MS = 250, TEMP_PATH_BYTES = 128, LOG_AGAIN_S = 10 };

/* What the demo keeps its orders in. */
typedef struct temporary {
    char dir[TEMP_PATH_BYTES], store[TEMP_PATH_BYTES], notify[TEMP_PATH_BYTES];
} temporary;

/* The first error is the program's last word: see run. What is said again and again, say of a store
 * that is down, is said now and then. From any thread. */
static void log_line(weir_log_level level, const char *line, void *user)
{
    service *s = user;
    struct timespec now;
    if (level != WEIR_LOG_INFO && level != WEIR_LOG_WARN)
        return;
    clock_gettime(CLOCK_MONOTONIC, &now);
    pthread_mutex_lock(&s->log_lock);
    if (strcmp(s->log_last, line) != 0 || now.tv_sec >= s->log_last_s + LOG_AGAIN_S) {
        snprintf(s->log_last, sizeof s->log_last, "%s", line);
        s->log_last_s = now.tv_sec;
        fprintf(stderr, "orders: %s\n", line);
    }
    pthread_mutex_unlock(&s->log_lock);
}

/* Each loop says so; the first is enough. */
static void listens(uint16_t port, void *user)
{
    service *s = user;
    unsigned none = 0;
    if (!atomic_compare_exchange_strong(&s->port, &none, port))
        return;
    printf("orders: listening on %s:%u", s->options.listen.host, port);
    if (s->admin_port != 0)
        printf(", admin on %s:%u", s->options.admin.host, s->admin_port);
    putchar('\n');
    fflush(stdout);
    sem_post(&s->listens);
}

/* ---- Wiring ---- */

static weir_stage_spec *requests(service *s, const char *listen)
{
    const options *o = &s->options;
    uint32_t half = o->deadline_ms / 2 + 1;
    return weir_stage_named(
        weir_http_server(&(weir_http_server_config){
            .listen = listen,
            .listening = listens,
            .user = s,
            .overload_wait_ms = half < OVERLOAD_WAIT_MS ? half : OVERLOAD_WAIT_MS,
            .request_deadline_ms = o->deadline_ms }),
        "http");
}

static weir_pipeline *wire(service *s, const char *listen)
{
    const options *o = &s->options;
    weir_pipeline *p = weir_pipeline_new(&(weir_pipeline_config){
        .name = "orders", .env = &s->env, .loops = o->loops, .drain_ms = o->drain_ms });
    if (p == NULL)
        return NULL;
    weir_from(p, requests(s, listen));
    weir_node *admit = weir_via(p, admit_stage(s));
    if (o->pricing != PRICING_NONE)
        weir_via(p, pricing_stage(s));
    if (o->store != STORE_NONE)
        weir_via(p, store_stage(s));
    if (o->notify != NOTIFY_NONE)
        weir_via(p, notify_stage(s));
    weir_into(p, reply_stage(s));
    if (o->store == STORE_NONE)
        return p;
    weir_at(p, admit);
    weir_via(p, query_stage(s));
    weir_into(p, weir_stage_named(reply_stage(s), "answer"));
    return p;
}

/* ---- Surroundings ---- */

static bool make_temporary(options *o, temporary *t)
{
    const char *base = getenv("TMPDIR");
    int n = snprintf(t->dir, sizeof t->dir - 16, "%s/orders-XXXXXX", base != NULL ? base : "/tmp");
    if (n >= (int)sizeof t->dir - 16 || mkdtemp(t->dir) == NULL) {
        t->dir[0] = '\0';
        perror("orders: --demo: no temporary directory");
        return false;
    }
    snprintf(t->store, sizeof t->store, "%.100s/orders.db", t->dir);
    snprintf(t->notify, sizeof t->notify, "%.100s/orders.ndjson", t->dir);
    if (!o->store_given)
        o->store_at = t->store;
    if (!o->notify_given)
        o->notify_at = t->notify;
    if (!o->listen_given)
        o->listen.port = 0;
    if (!o->admin_given)
        o->admin.port = 0;
    return true;
}

static void remove_temporary(const temporary *t)
{
    static const char *const endings[] = { "", "-wal", "-shm" };
    char path[TEMP_PATH_BYTES + 8];
    if (t->dir[0] == '\0')
        return;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
        snprintf(path, sizeof path, "%s%s", t->store, endings[i]);
        unlink(path);
    }
    unlink(t->notify);
    rmdir(t->dir);
}

/* ---- Running ---- */

static int run(service *s, const char *listen)
{
    ops *o = NULL;
    int code = 1;
    if (!ops_new(s, &o))
        return 1;
    s->pipeline = wire(s, listen);
    if (s->pipeline == NULL)
        goto fail_pipeline;
    if (weir_pipeline_check(s->pipeline) != WEIR_OK) {
        fprintf(stderr, "orders: %s\n", weir_pipeline_why(s->pipeline));
        goto fail_start;
    }
    if (!ops_start(o))
        goto fail_start;
    s->admin_port = ops_admin_port(o);
    demo *d = s->options.demo ? demo_start(s) : NULL;
    weir_status status = weir_run(s->pipeline);
    if (status != WEIR_OK)
        fprintf(stderr, "orders: %s\n", weir_pipeline_why(s->pipeline));
    code = status == WEIR_OK ? 0 : 1;
    sem_post(&s->listens); /* it may have ended before it listened */
    if (s->options.demo && (d == NULL || !demo_finish(d)))
        code = 1;
    uint64_t failed = atomic_load(&s->failed_after_reply);
    if (failed != 0)
        fprintf(stderr, "orders: %llu orders failed after they were answered \"queued\"\n",
                (unsigned long long)failed);
fail_start:
    ops_free(o);
    weir_pipeline_free(s->pipeline);
    return code;
fail_pipeline:
    fputs("orders: out of memory\n", stderr);
    ops_free(o);
    return 1;
}

int main(int argc, char **argv)
{
    service s = { .door = &http_door };
    temporary t = { "", "", "" };
    char listen[300];
    options_result result = options_read(argc, argv, &s.options);
    if (result != OPTIONS_RUN)
        return result == OPTIONS_HELP ? 0 : 2;
    preflight_process();
    s.env.log = log_line;
    s.env.user = &s;
    pthread_mutex_init(&s.log_lock, NULL);
    sem_init(&s.listens, 0, 0);
    if (s.options.demo && !make_temporary(&s.options, &t))
        return 1;
    int code = 1;
    if (preflight(&s.options)) {
        const address *at = &s.options.listen;
        snprintf(listen, sizeof listen, strchr(at->host, ':') ? "[%s]:%u" : "%s:%u", at->host,
                 at->port);
        code = run(&s, listen);
    }
    remove_temporary(&t);
    return code;
}
