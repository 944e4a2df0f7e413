/* The demo: real HTTP load on the service from a thread of its own, and how the service does. */
#include "demo.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS = 4, SHOW_MS = 250, SHOW_PLAIN_MS = 1000, LINE_BYTES = 512 };

struct demo {
    service *service;
    pthread_t thread;
    demo_load load;
    bool started, is_terminal;
    uint64_t begin_ns, end_ns;
    weir_bottleneck bottleneck;
    char bottleneck_stage[64];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * WEIR_SEC + (uint64_t)now.tv_nsec;
}

/* ---- The line ---- */

static size_t terminal_columns(void)
{
    struct winsize size;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 80;
    return size.ws_col;
}

static void show(demo *d, const demo_histogram *recent, double seconds)
{
    char line[LINE_BYTES];
    weir_edge_stats edge;
    const weir_pipeline *p = d->service->pipeline;
    size_t n = (size_t)snprintf(line, sizeof line, "%7.0f/s  p50 %.1f ms  p99 %.1f ms  credit",
                                (double)recent->count / seconds, demo_quantile_ms(recent, 0.5),
                                demo_quantile_ms(recent, 0.99));
    for (uint32_t i = 0; i < weir_pipeline_edges(p) && n < sizeof line; i++)
        if (weir_pipeline_edge_stats(p, i, &edge) == WEIR_OK)
            n += (size_t)snprintf(line + n, sizeof line - n, " >%s %llu", edge.to,
                                  (unsigned long long)edge.credit);
    if (d->is_terminal)
        printf("\r%.*s\033[K", (int)terminal_columns() - 1, line);
    else
        printf("%s\n", line);
    fflush(stdout);
}

/* ---- The thread ---- */

static void load_it(demo *d)
{
    uint64_t every = (d->is_terminal ? SHOW_MS : SHOW_PLAIN_MS) * WEIR_MS;
    demo_histogram before = d->load.histogram;
    d->begin_ns = now_ns();
    uint64_t end = d->begin_ns + SECONDS * WEIR_SEC, shown = d->begin_ns;
    for (uint64_t now = d->begin_ns; now < end; now = now_ns()) {
        if (!demo_load_turn(&d->load, 20))
            break;
        if (now - shown < every)
            continue;
        demo_histogram recent;
        demo_since(&d->load.histogram, &before, &recent);
        show(d, &recent, (double)(now - shown) / 1e9);
        before = d->load.histogram;
        shown = now;
    }
    d->end_ns = now_ns();
}

static void *run(void *user)
{
    demo *d = user;
    service *s = d->service;
    while (sem_wait(&s->listens) != 0)
        ;
    uint16_t port = (uint16_t)atomic_load(&s->port);
    if (port != 0 && demo_load_start(&d->load, s->options.listen.host, port)) {
        d->started = true;
        load_it(d);
        weir_pipeline_bottleneck(s->pipeline, &d->bottleneck);
    }
    demo_load_stop(&d->load);
    weir_pipeline_shutdown(s->pipeline, WEIR_HYBRID, s->options.drain_ms);
    return NULL;
}

demo *demo_start(service *s)
{
    demo *d = weir_memory_new(&s->env, sizeof *d);
    if (d == NULL)
        return NULL;
    d->service = s;
    d->is_terminal = isatty(STDOUT_FILENO) != 0;
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&d->thread, NULL, run, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        weir_memory_free(&s->env, d);
        return NULL;
    }
    return d;
}

/* ---- The summary ---- */

static void print_stages(const weir_pipeline *p)
{
    weir_stage_stats stage;
    printf("\n  %-10s %10s %10s %10s %8s %8s\n", "stage", "in", "out", "failed", "busy %",
           "us/item");
    for (uint32_t i = 0; i < weir_pipeline_stages(p); i++) {
        if (weir_pipeline_stage_stats(p, i, &stage) != WEIR_OK)
            continue;
        double all = (double)(stage.busy_ns + stage.starved_ns + stage.blocked_ns + stage.idle_ns);
        uint64_t items = stage.items_in != 0 ? stage.items_in : stage.items_out;
        printf("  %-10s %10llu %10llu %10llu %8.1f %8.2f\n", stage.name,
               (unsigned long long)stage.items_in, (unsigned long long)stage.items_out,
               (unsigned long long)stage.failed, all > 0 ? 100 * (double)stage.busy_ns / all : 0,
               items != 0 ? (double)stage.busy_ns / 1e3 / (double)items : 0);
    }
}

static void print_bottleneck(const demo *d)
{
    const weir_bottleneck *b = &d->bottleneck;
    if (b->stage == NULL)
        puts("\n  bottleneck: none; the load itself was the limit");
    else
        printf("\n  bottleneck: %s, without credit for its senders %.0f %% of the time, busy %.0f "
               "%%\n",
               b->stage, 100 * b->held_back, 100 * b->busy);
}

/* Items that stages gave up. */
static uint64_t given_up(const weir_pipeline *p)
{
    uint64_t sum = 0;
    weir_stage_stats stage;
    for (uint32_t i = 0; i < weir_pipeline_stages(p); i++)
        if (weir_pipeline_stage_stats(p, i, &stage) == WEIR_OK)
            sum += stage.failed + stage.aborted;
    return sum;
}

/* How busy the machine is says nothing of the service: refused for want of time, as --help
 * promises, is answered well too, if a stage counts what it gave up. */
static bool is_good(const demo *d)
{
    const demo_load *l = &d->load;
    uint64_t stored = l->statuses[200] + l->statuses[201] + l->statuses[202];
    uint64_t late = l->statuses[503] + l->statuses[504];
    return stored != 0 && stored + late == l->histogram.count && l->errors == 0 &&
           late <= given_up(d->service->pipeline);
}

static bool print_summary(const demo *d)
{
    const demo_load *l = &d->load;
    double seconds = (double)(d->end_ns - d->begin_ns) / 1e9;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    printf("%sorders: %.1f s of load over HTTP, %u connections, in this process\n\n",
           d->is_terminal ? "\r\033[K" : "\n", seconds, DEMO_CONNECTIONS);
    printf("  answered   %llu, %.0f/s\n", (unsigned long long)l->histogram.count,
           (double)l->histogram.count / seconds);
    for (unsigned i = 0; i < sizeof l->statuses / sizeof *l->statuses; i++)
        if (l->statuses[i] != 0)
            printf("  status %u %llu\n", i, (unsigned long long)l->statuses[i]);
    printf("  latency    p50 %.2f ms, p99 %.2f ms, longest %.2f ms\n",
           demo_quantile_ms(&l->histogram, 0.5), demo_quantile_ms(&l->histogram, 0.99),
           (double)l->histogram.longest_ns / 1e6);
    printf("  memory     %.1f MiB at most, the load's included\n", (double)usage.ru_maxrss / 1024);
    print_stages(d->service->pipeline);
    print_bottleneck(d);
    return is_good(d);
}

bool demo_finish(demo *d)
{
    pthread_join(d->thread, NULL);
    bool ok = d->started && print_summary(d);
    if (!ok)
        fputs("orders: --demo: not all orders were answered well\n", stderr);
    weir_memory_free(&d->service->env, d);
    return ok;
}
