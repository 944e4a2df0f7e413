/* The streams service (S11): calls of every kind by gRPC, gRPC-Web and Connect on one port, and the
 * order service's pipeline behind an RPC.
 *
 *   rpc -+- submit - price - store - notify - tell - hub - (a pipeline for each who watches)
 *        +- compose
 */
#include "service.h"

#include <weir/rpc_server.h>
#include <weir/stages.h>

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SERVICES_MAX = 6, ARGS_MAX = 64 };

static const char help_text[] =
    "streams: calls of every kind by gRPC, gRPC-Web and Connect on one port; orders by RPC\n"
    "\n"
    "  streams.v1.Streams  Process, StreamData, Collect, Echo, Compose\n"
    "  orders.v1.Orders    Submit, into the order service's pipeline, and Watch\n"
    "  grpc.health.v1.Health, grpc.reflection.v1 and v1alpha\n"
    "\n"
    "  --listen HOST:PORT  where calls are taken; port 0: any free one (127.0.0.1:50051)\n"
    "  --tls CERT KEY      by TLS, with these PEM files; default: in clear\n"
    "  --client-ca FILE    take clients only that have a certificate of these\n"
    "  --loops N           event loops, one thread each (as many as processors may be used)\n"
    "  --admin HOST:PORT   /metrics /live /ready /graph; or none (none)\n"
    "  --store WHAT        sqlite:FILE, postgresql://..., or none (none)\n"
    "  --pricing WHAT      builtin, http://HOST:PORT, or none (builtin)\n"
    "  --notify WHAT       file:FILE, nats://HOST:PORT, or none (none)\n"
    "  --deadline-ms N     of a Submit that brings none (2000)\n"
    "  --drain-ms N        time to finish what was begun, on SIGTERM (5000)\n"
    "  --test              serves test.v1.Bombs too\n"
    "  --help              this text\n"
    "\n"
    "  curl -H 'Content-Type: application/json' -d '{\"text\": \"hello\"}' \\\n"
    "       http://127.0.0.1:50051/streams.v1.Streams/Process\n"
    "\n"
    "exit: 0 drained, 1 failed or gave up, 2 wrong command line\n";

static void log_line(weir_log_level level, const char *line, void *user)
{
    (void)user;
    if (level == WEIR_LOG_INFO || level == WEIR_LOG_WARN)
        fprintf(stderr, "streams: %s\n", line);
}

/* Each loop says so; the first is enough. */
static void listens(uint16_t port, void *user)
{
    streams *s = user;
    unsigned none = 0;
    if (!atomic_compare_exchange_strong(&s->orders.port, &none, port))
        return;
    printf("streams: listening on %s:%u", s->orders.options.listen.host, port);
    if (s->orders.admin_port != 0)
        printf(", admin on %s:%u", s->orders.options.admin.host, s->orders.admin_port);
    putchar('\n');
    fflush(stdout);
}

/* ---- The command line ---- */

static options_result read_ours(int argc, char **argv, int *at, streams_options *o)
{
    const char *name = argv[*at];
    if (strcmp(name, "--test") == 0) {
        o->test = true;
    } else if (strcmp(name, "--tls") == 0 && *at + 2 < argc) {
        o->tls_cert = argv[++*at];
        o->tls_key = argv[++*at];
    } else if (strcmp(name, "--client-ca") == 0 && *at + 1 < argc) {
        o->tls_client_ca = argv[++*at];
    } else {
        return OPTIONS_HELP; /* none of ours */
    }
    return OPTIONS_RUN;
}

/* What is not of RPC is the order service's, with defaults of our own. */
static options_result read_options(int argc, char **argv, streams *s)
{
    static char listen[] = "--listen=127.0.0.1:50051", admin[] = "--admin=none",
                store[] = "--store=none", notify[] = "--notify=none";
    char *rest[ARGS_MAX] = { argv[0], listen, admin, store, notify };
    int n = 5;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help_text, stdout);
            return OPTIONS_HELP;
        }
        if (strcmp(argv[i], "--demo") == 0 || strncmp(argv[i], "--reply", 7) == 0 ||
            n == ARGS_MAX - 1) {
            fprintf(stderr, "streams: \"%s\" is not an option (see --help)\n", argv[i]);
            return OPTIONS_WRONG;
        }
        if (read_ours(argc, argv, &i, &s->options) != OPTIONS_RUN)
            rest[n++] = argv[i];
    }
    if (s->options.tls_client_ca != NULL && s->options.tls_cert == NULL) {
        fputs("streams: --client-ca needs --tls (see --help)\n", stderr);
        return OPTIONS_WRONG;
    }
    return options_read(n, rest, &s->orders.options);
}

/* ---- Wiring ---- */

static void wire(streams *s, const char *listen, const weir_rpc_service *const *services, size_t n)
{
    const options *o = &s->orders.options;
    weir_pipeline *p = s->orders.pipeline;
    weir_node *rpc =
        weir_add(p, weir_stage_named(weir_rpc_server(&(weir_rpc_server_config){
                                         .listen = listen,
                                         .listening = listens,
                                         .user = s,
                                         .services = services,
                                         .service_count = n,
                                         .tls_cert_file = s->options.tls_cert,
                                         .tls_key_file = s->options.tls_key,
                                         .tls_client_ca_file = s->options.tls_client_ca,
                                         .tls_client_required = s->options.tls_client_ca != NULL }),
                                     "rpc"));
    weir_at(p, rpc); /* output OUTPUT_ORDERS */
    weir_via(p, submit_stage(s));
    if (o->pricing != PRICING_NONE)
        weir_via(p, pricing_stage(&s->orders));
    if (o->store != STORE_NONE)
        weir_via(p, store_stage(&s->orders));
    if (o->notify != NOTIFY_NONE)
        weir_via(p, notify_stage(&s->orders));
    weir_via(p, tell_stage(s));
    weir_into(p, weir_into_hub(s->receipts));
    weir_at(p, rpc); /* output OUTPUT_COMPOSE */
    weir_into(p, compose_stage(s));
}

static size_t list_services(streams *s, const weir_rpc_service **services)
{
    size_t n = 0;
    calls_serve(&s->streams_server);
    watch_serve(s);
    services[n++] = streams_v1_streams_service_of(&s->streams_server);
    services[n++] = orders_v1_orders_service_of(&s->orders_server);
    if (s->options.test) {
        bombs_serve(&s->bombs_server);
        services[n++] = test_v1_bombs_service_of(&s->bombs_server);
    }
    return n;
}

/* Health and reflection, of all that is in the list. Gives how many there are then; 0: no memory.
 */
static size_t list_standard(streams *s, const weir_rpc_service **services, size_t n)
{
    s->health = weir_rpc_health_new(&s->orders.env);
    if (s->health == NULL)
        return 0;
    for (size_t i = 0; i < n; i++)
        if (weir_rpc_health_set(s->health, services[i]->type->name, WEIR_RPC_HEALTH_SERVING) !=
            WEIR_OK)
            return 0;
    services[n++] = weir_rpc_health_service(s->health);
    s->reflection = weir_rpc_reflection_new(&s->orders.env, services, n);
    if (s->reflection == NULL)
        return 0;
    services[n++] = weir_rpc_reflection_service(s->reflection, WEIR_RPC_REFLECTION_V1);
    services[n++] = weir_rpc_reflection_service(s->reflection, WEIR_RPC_REFLECTION_V1ALPHA);
    return n;
}

/* ---- Running ---- */

static int run(streams *s, const char *listen)
{
    const weir_rpc_service *services[SERVICES_MAX];
    const options *o = &s->orders.options;
    ops *around = NULL;
    int code = 1;
    if (!ops_new(&s->orders, &around))
        return 1;
    size_t n = list_standard(s, services, list_services(s, services));
    s->receipts = weir_hub_new(&s->orders.env, &(weir_hub_config){ .alone_drops = true });
    s->orders.pipeline = weir_pipeline_new(&(weir_pipeline_config){
        .name = "streams", .env = &s->orders.env, .loops = o->loops, .drain_ms = o->drain_ms });
    if (n == 0 || s->receipts == NULL || s->orders.pipeline == NULL) {
        fputs("streams: out of memory\n", stderr);
        goto done;
    }
    wire(s, listen, services, n);
    if (weir_pipeline_check(s->orders.pipeline) != WEIR_OK) {
        fprintf(stderr, "streams: %s\n", weir_pipeline_why(s->orders.pipeline));
        goto done;
    }
    if (!ops_start(around))
        goto done;
    s->orders.admin_port = ops_admin_port(around);
    code = weir_run(s->orders.pipeline) == WEIR_OK ? 0 : 1;
    if (code != 0)
        fprintf(stderr, "streams: %s\n", weir_pipeline_why(s->orders.pipeline));
done:
    ops_free(around);
    weir_pipeline_free(s->orders.pipeline);
    weir_hub_free(s->receipts);
    weir_rpc_health_free(s->health);
    weir_rpc_reflection_free(s->reflection);
    return code;
}

static void raise_descriptor_limit(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        return;
    files.rlim_cur = files.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv)
{
    static streams s = { .orders = { .door = &rpc_door } };
    char listen[300];
    options_result result = read_options(argc, argv, &s);
    if (result != OPTIONS_RUN)
        return result == OPTIONS_HELP ? 0 : 2;
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    s.orders.env = (weir_env){ .log = log_line, .user = &s };
    const address *at = &s.orders.options.listen;
    snprintf(listen, sizeof listen, strchr(at->host, ':') ? "[%s]:%u" : "%s:%u", at->host,
             at->port);
    return run(&s, listen);
}
