/* The priority router (S10): premium work before normal work, each with a bounded queue, premium
 * with workers of its own as well, and nobody starved.
 *
 *   http - tier -+- premium queue - spare -+- reserved workers ---------------------------- reply
 *                |                         +- first (by priority, with ageing) - workers - reply
 *                +- normal queue ----------+
 */
#include "demo.h"
#include "options.h"

#include <weir/admin.h>
#include <weir/http_server.h>
#include <weir/stages.h>

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

typedef struct service {
    options options;
    weir_env env;
    weir_pipeline *pipeline;
    demo *demo;
    atomic_uint port;
} service;

static void log_line(weir_log_level level, const char *line, void *user)
{
    (void)user;
    if (level == WEIR_LOG_INFO || level == WEIR_LOG_WARN)
        fprintf(stderr, "priority: %s\n", line);
}

static void listens(uint16_t port, void *user)
{
    service *s = user;
    unsigned none = 0;
    if (!atomic_compare_exchange_strong(&s->port, &none, port))
        return;
    printf("priority: listening on port %u\n", port);
    fflush(stdout);
    if (s->demo != NULL)
        demo_go(s->demo, port);
}

/* ---- The work: a call that takes its time ---- */

typedef struct call {
    weir_timer timer;
    weir_op *op;
} call;

static void call_is_over(weir_timer *timer, void *user)
{
    (void)timer;
    weir_op_done(((call *)user)->op, WEIR_OK, NULL);
}

static void call_start(weir_op *op, void *state)
{
    call *c = op->work;
    (void)state;
    uint32_t work_us = *(const uint32_t *)weir_async_config(op->stage);
    c->op = op;
    weir_timer_start(weir_stage_loop(op->stage), &c->timer, work_us * WEIR_US, call_is_over, c);
}

static void call_cancel(weir_op *op, weir_status status, void *state)
{
    call *c = op->work;
    (void)state;
    weir_timer_stop(weir_stage_loop(op->stage), &c->timer);
    weir_op_done(op, status, "the caller is gone");
}

static const weir_async_type call_type = {
    .name = "workers",
    .config_size = sizeof(uint32_t),
    .work_size = sizeof(call),
    .start = call_start,
    .cancel = call_cancel,
};

static weir_stage_spec *workers(const service *s, const char *name, uint32_t n)
{
    const weir_async_options at_once = { .in_flight = n, .unordered = true };
    return weir_stage_named(weir_async_of(&call_type, &at_once, &s->options.work_us), name);
}

/* ---- Wiring ---- */

static uint32_t tier(const weir_item *item, void *user)
{
    (void)user;
    weir_http1_span value = weir_http_request_find(weir_http_request_of(item), "Tier");
    return value.len == 7 && memcmp(value.at, "premium", 7) == 0 ? 0 : 1;
}

static weir_status done(const weir_item *item, weir_http_response *response, void *user)
{
    (void)item;
    (void)user;
    response->answer =
        (weir_http_answer){ .content_type = "text/plain", .body = "done\n", .body_bytes = 5 };
    return WEIR_OK;
}

static weir_stage_spec *queue_named(const service *s, const char *name)
{
    return weir_stage_named(weir_buffer(&(weir_buffer_config){ .items_max = s->options.waiting_max,
                                                               .overflow = WEIR_OVERFLOW_REJECT }),
                            name);
}

static weir_stage_spec *first(const options *o)
{
    weir_merge_priority_config config = { .ageing_ms = o->ageing_ms, .ahead = 1 };
    if (o->weight != 0) {
        config.weights[0] = (uint16_t)o->weight;
        config.weights[1] = 1;
    }
    return weir_stage_named(weir_merge_priority(&config), "first");
}

/* What has left `first` is past choosing, so the edge behind it is as narrow as can be. */
static const weir_edge_config narrow = { .window = 1 };

static void wire(service *s)
{
    weir_pipeline *p = s->pipeline;
    const options *o = &s->options;
    weir_node *http =
        weir_from(p, weir_stage_named(weir_http_server(&(weir_http_server_config){
                                          .listen = o->listen, .listening = listens, .user = s }),
                                      "http"));
    weir_node *by_tier =
        weir_add(p, weir_stage_named(weir_route(&(weir_route_config){ .output = tier }), "tier"));
    weir_node *premium = weir_add(p, queue_named(s, "premium"));
    weir_node *normal = weir_add(p, queue_named(s, "normal"));
    weir_node *choice = weir_add(p, first(o));
    weir_node *shared = weir_add(p, workers(s, "workers", o->workers));
    weir_node *reply = weir_add(p, weir_stage_named(weir_http_reply_with(done, NULL), "reply"));
    weir_link(http, 0, by_tier, 0, NULL);
    weir_link(by_tier, 0, premium, 0, NULL);
    weir_link(by_tier, 1, normal, 0, NULL);
    weir_link(normal, 0, choice, 1, &narrow);
    weir_link(choice, 0, shared, 0, &narrow);
    weir_link(shared, 0, reply, 0, NULL);
    if (o->reserved == 0) {
        weir_link(premium, 0, choice, 0, &narrow);
        return;
    }
    weir_node *spare = weir_add(p, weir_stage_named(weir_balance(), "spare"));
    weir_node *own = weir_add(p, workers(s, "reserved", o->reserved));
    weir_node *answer = weir_add(p, weir_stage_named(weir_http_reply_with(done, NULL), "answer"));
    weir_link(premium, 0, spare, 0, &narrow);
    weir_link(spare, 0, own, 0, &narrow);
    weir_link(spare, 1, choice, 0, &narrow);
    weir_link(own, 0, answer, 0, NULL);
}

/* ---- Running ---- */

static int run(service *s)
{
    const char *why = "";
    weir_admin *admin = NULL;
    weir_pipeline *pipelines[] = { s->pipeline };
    weir_admin_config config = {
        .listen = s->options.admin, .pipelines = pipelines, .pipeline_count = 1, .env = &s->env
    };
    if (s->options.admin != NULL && weir_admin_start(NULL, &config, &admin, &why) != WEIR_OK) {
        fprintf(stderr, "priority: --admin %s: %s\n", s->options.admin, why);
        return 1;
    }
    if (s->options.demo && (s->demo = demo_new(s->pipeline, s->options.seconds)) == NULL) {
        weir_admin_stop(admin);
        return 1;
    }
    weir_status status = weir_run(s->pipeline);
    if (status != WEIR_OK)
        fprintf(stderr, "priority: %s\n", weir_pipeline_why(s->pipeline));
    bool ok = status == WEIR_OK;
    if (s->demo != NULL)
        ok &= demo_finish(s->demo);
    weir_admin_stop(admin);
    return ok ? 0 : 1;
}

int main(int argc, char **argv)
{
    static service s;
    options_result result = options_read(argc, argv, &s.options);
    if (result != OPTIONS_RUN)
        return result == OPTIONS_HELP ? 0 : 2;
    if (s.options.demo && strcmp(s.options.listen, "127.0.0.1:8080") == 0)
        s.options.listen = "127.0.0.1:0";
    signal(SIGPIPE, SIG_IGN);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    s.env = (weir_env){ .log = log_line, .user = &s };
    s.pipeline =
        weir_pipeline_new(&(weir_pipeline_config){ .name = "priority", .env = &s.env, .loops = 1 });
    if (s.pipeline == NULL) {
        fputs("priority: out of memory\n", stderr);
        return 1;
    }
    wire(&s);
    int code = run(&s);
    weir_pipeline_free(s.pipeline);
    return code;
}
