/* The streams service (S11): calls of every kind by gRPC, gRPC-Web and Connect on one port, and the
 * order service's pipeline behind an RPC.
 *
 *   rpc -+- submit - timeout - price - store - notify - tell - hub - (a pipeline for each who
 * watches)
 *        +- compose
 */
#include "service.h"

#include <weir/rpc_server.h>
#include <weir/stages.h>

#include <stdio.h>
#include <string.h>

enum { SERVICES_MAX = 6, ORDERS_UNDER_WAY_MAX = 1024, WATCHERS_MAX = 1024 };

static const char help_text[] =
    "streams: calls of every kind by gRPC, gRPC-Web and Connect on one port; orders by RPC\n"
    "\n"
    "  streams.v1.Streams  Process, StreamData, Collect, Echo, Compose\n"
    "  orders.v1.Orders    Submit, into the order service's pipeline, and Watch\n"
    "  grpc.health.v1.Health, grpc.reflection.v1 and v1alpha\n"
    "\n"
    "  --listen HOST:PORT  where calls are taken; port 0: any free one (127.0.0.1:50051)\n"
    "  --tls CERT KEY      by TLS, with these PEM files; default: in clear\n"
    "  --client-ca FILE    take clients only that have a certificate of these; Compose calls this\n"
    "                      very service with CERT, which must be one of them for that\n"
    "  --cors ORIGIN,...   pages of these origins may call from a browser; *: of any (none)\n"
    "  --loops N           event loops, one thread each (as many as processors may be used)\n"
    "  --admin HOST:PORT   /metrics /live /ready /graph; or none (none)\n"
    "  --store WHAT        sqlite:FILE, postgresql://..., or none (none)\n"
    "  --pricing WHAT      builtin, http://HOST:PORT, or none (builtin)\n"
    "  --notify WHAT       file:FILE, nats://HOST:PORT, or none (none)\n"
    "  --deadline-ms N     of a Submit, unless its caller's is sooner (2000)\n"
    "  --drain-ms N        time to finish what was begun, on SIGTERM (5000)\n"
    "  --test              serve test.v1.Bombs too\n"
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

static void print_address(const address *at, uint16_t port)
{
    printf(strchr(at->host, ':') != NULL ? "[%s]:%u" : "%s:%u", at->host, port);
}

/* Each loop says so; the first is enough. */
static void listens(uint16_t port, void *user)
{
    streams *s = user;
    unsigned none = 0;
    if (!atomic_compare_exchange_strong(&s->orders.port, &none, port))
        return;
    printf("streams: listening on ");
    print_address(&s->orders.options.listen, port);
    if (s->orders.admin_port != 0) {
        printf(", admin on ");
        print_address(&s->orders.options.admin, s->orders.admin_port);
    }
    putchar('\n');
    fflush(stdout);
}

/* ---- The command line ---- */

enum { OPTION_TLS = 256, OPTION_CLIENT_CA, OPTION_CORS, OPTION_TEST };

/* Cuts `list` at its commas. */
static options_result read_origins(char *list, streams_options *o)
{
    char *rest = NULL;
    for (char *at = strtok_r(list, ",", &rest); at != NULL; at = strtok_r(NULL, ",", &rest)) {
        if (o->cors.origin_count == ORIGINS_MAX)
            return options_wrong("streams", "cors", at, "16 origins at most");
        o->origins[o->cors.origin_count++] = at;
    }
    static const char *const headers[] = { "*" };
    o->cors.origins = o->origins;
    o->cors.headers = headers;
    o->cors.header_count = 1;
    return OPTIONS_RUN;
}

static options_result read_ours(int option, const char *value, char **argv, void *user)
{
    streams_options *o = user;
    if (option == OPTION_TEST) {
        o->test = true;
    } else if (option == OPTION_CLIENT_CA) {
        o->tls_client_ca = value;
    } else if (option == OPTION_CORS) {
        return read_origins(optarg, o);
    } else {
        o->tls_cert = value;
        o->tls_key = argv[optind];
        if (o->tls_key == NULL || o->tls_key[0] == '-')
            return options_wrong("streams", "tls", value, "a key must follow the certificate");
        optind++;
    }
    return OPTIONS_RUN;
}

/* What is not of RPC is the order service's, with defaults of our own. */
static options_result read_options(int argc, char **argv, streams *s)
{
    static const struct option more[] = {
        { "tls", required_argument, NULL, OPTION_TLS },
        { "client-ca", required_argument, NULL, OPTION_CLIENT_CA },
        { "cors", required_argument, NULL, OPTION_CORS },
        { "test", no_argument, NULL, OPTION_TEST },
        { NULL, 0, NULL, 0 },
    };
    const options_program program = {
        .help = help_text,
        .defaults = { .listen = { "127.0.0.1", 50051 },
                      .pricing = PRICING_BUILTIN,
                      .deadline_ms = 2000,
                      .drain_ms = 5000 },
        .without = "rm",
        .more = more,
        .read = read_ours,
        .user = &s->options,
    };
    options_result result = options_read_for(&program, argc, argv, &s->orders.options);
    if (result == OPTIONS_RUN && s->options.tls_client_ca != NULL && s->options.tls_cert == NULL)
        return options_wrong("streams", "client-ca", s->options.tls_client_ca, "needs --tls");
    return result;
}

static bool files_are_fine(const streams_options *o)
{
    return (o->tls_cert == NULL || (preflight_may_read("streams", "tls", o->tls_cert) &&
                                    preflight_may_read("streams", "tls", o->tls_key))) &&
           (o->tls_client_ca == NULL ||
            preflight_may_read("streams", "client-ca", o->tls_client_ca));
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
                                         .cors = &s->options.cors,
                                         .tls_cert_file = s->options.tls_cert,
                                         .tls_key_file = s->options.tls_key,
                                         .tls_client_ca_file = s->options.tls_client_ca,
                                         .tls_client_required = s->options.tls_client_ca != NULL }),
                                     "rpc"));
    weir_at(p, rpc); /* output OUTPUT_ORDERS */
    weir_via(p, submit_stage(s));
    weir_via(p, weir_timeout(&(weir_timeout_config){ .timeout_ms = o->deadline_ms,
                                                     .in_flight = ORDERS_UNDER_WAY_MAX }));
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
    s->receipts = weir_hub_new(
        &s->orders.env, &(weir_hub_config){ .outlets_max = WATCHERS_MAX, .alone_drops = true });
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

int main(int argc, char **argv)
{
    static streams s = { .orders = { .door = &rpc_door } };
    char listen[300];
    options_result result = read_options(argc, argv, &s);
    if (result != OPTIONS_RUN)
        return result == OPTIONS_HELP ? 0 : 2;
    preflight_process();
    if (!preflight(&s.orders.options) || !files_are_fine(&s.options))
        return 1;
    s.orders.env = (weir_env){ .log = log_line, .user = &s };
    const address *at = &s.orders.options.listen;
    snprintf(listen, sizeof listen, strchr(at->host, ':') ? "[%s]:%u" : "%s:%u", at->host,
             at->port);
    return run(&s, listen);
}
