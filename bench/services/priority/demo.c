/* The demo: premium requests at a steady rate below a flood of normal ones, by http_load. */
#include "demo.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, OUTPUT_BYTES = 4096, PREMIUM_MS_MAX = 100 };

struct demo {
    weir_pipeline *pipeline;
    uint32_t seconds;
    char load[PATH_BYTES]; /* http_load, beside this program */
    pthread_t thread;
    sem_t go;
    atomic_uint port;
    bool ok;
};

typedef struct run {
    pid_t pid;
    int from; /* its standard output */
} run;

static bool start(const demo *d, char *const argv[], run *ret_run)
{
    int ends[2];
    if (pipe(ends) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGTERM);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(d->load, argv);
        _exit(127);
    }
    close(ends[1]);
    if (pid < 0)
        close(ends[0]);
    *ret_run = (run){ .pid = pid, .from = ends[0] };
    return pid > 0;
}

/* Reads all it prints, and waits for its end. */
static bool finish(run *r, char text[OUTPUT_BYTES])
{
    size_t n = 0;
    ssize_t got;
    while (n < OUTPUT_BYTES - 1 &&
           ((got = read(r->from, text + n, OUTPUT_BYTES - 1 - n)) > 0 || errno == EINTR))
        n += got > 0 ? (size_t)got : 0;
    text[n] = '\0';
    close(r->from);
    int status = 0;
    while (waitpid(r->pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) < 2 && n > 0;
}

static double figure(const char *text, const char *name)
{
    const char *at = strstr(text, name);
    return at != NULL ? strtod(at + strlen(name), NULL) : -1;
}

static void say(const char *tier, const char *text)
{
    double seconds = figure(text, " seconds="), refused = figure(text, " code_503=");
    printf("  %-8s %8.0f done/s  %8.0f refused/s  p50 %6.2f ms  p99 %6.2f ms  p99.9 %6.2f ms\n",
           tier, figure(text, " 2xx=") / seconds, refused > 0 ? refused / seconds : 0,
           figure(text, "p50_us=") / 1e3, figure(text, "p99_us=") / 1e3,
           figure(text, "p999_us=") / 1e3);
}

static bool load(demo *d, unsigned port)
{
    char url[64], seconds[16], normal[OUTPUT_BYTES], premium[OUTPUT_BYTES];
    run flood, first;
    snprintf(url, sizeof url, "http://127.0.0.1:%u/work", port);
    snprintf(seconds, sizeof seconds, "%u", d->seconds);
    char *flood_argv[] = { d->load,  "--url",  url,     "--method",      "POST", "--body-template",
                           "normal", "--rate", "20000", "--connections", "1024", "--seconds",
                           seconds,  NULL };
    char *first_argv[] = { d->load,    "--url",     url,
                           "--method", "POST",      "--body-template",
                           "premium",  "--header",  "Tier: premium",
                           "--rate",   "2000",      "--connections",
                           "64",       "--seconds", seconds,
                           NULL };
    if (!start(d, flood_argv, &flood))
        return false;
    if (!start(d, first_argv, &first)) {
        kill(flood.pid, SIGTERM);
        (void)finish(&flood, normal);
        return false;
    }
    bool ok = finish(&first, premium);
    ok &= finish(&flood, normal);
    if (!ok) {
        fprintf(stderr, "priority: --demo: %s did not run\n", d->load);
        return false;
    }
    say("premium", premium);
    say("normal", normal);
    double worst = figure(premium, "p999_us=") / 1e3;
    return worst >= 0 && worst < PREMIUM_MS_MAX && figure(premium, " code_503=") <= 0;
}

static void *run_demo(void *user)
{
    demo *d = user;
    while (sem_wait(&d->go) != 0)
        ;
    unsigned port = atomic_load(&d->port);
    d->ok = port != 0 && load(d, port);
    weir_pipeline_shutdown(d->pipeline, WEIR_HYBRID, 5000);
    return NULL;
}

demo *demo_new(weir_pipeline *pipeline, uint32_t seconds)
{
    demo *d = calloc(1, sizeof *d);
    if (d == NULL)
        return NULL;
    d->pipeline = pipeline;
    d->seconds = seconds;
    ssize_t n = readlink("/proc/self/exe", d->load, sizeof d->load - sizeof "http_load");
    char *slash = n > 0 ? memrchr(d->load, '/', (size_t)n) : NULL;
    if (slash != NULL)
        memcpy(slash + 1, "http_load", sizeof "http_load");
    if (slash == NULL || access(d->load, X_OK) != 0) {
        fprintf(stderr, "priority: --demo needs http_load beside this program\n");
        free(d);
        return NULL;
    }
    sem_init(&d->go, 0, 0);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    int failed = pthread_create(&d->thread, NULL, run_demo, d);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        free(d);
        return NULL;
    }
    return d;
}

void demo_go(demo *d, uint16_t port)
{
    atomic_store(&d->port, port);
    sem_post(&d->go);
}

bool demo_finish(demo *d)
{
    sem_post(&d->go); /* it may have ended before it listened */
    pthread_join(d->thread, NULL);
    bool ok = d->ok;
    sem_destroy(&d->go);
    free(d);
    return ok;
}
