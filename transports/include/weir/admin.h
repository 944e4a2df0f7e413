/* The admin listener: metrics, probes for an orchestrator, and the graph, over HTTP. */
#ifndef WEIR_ADMIN_H
#define WEIR_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <weir/pipeline.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_admin weir_admin;

/* Something besides the pipelines that must be well for the service to be ready, say that its store
 * answers. Must not block. */
typedef struct weir_admin_check {
    const char *name; /* as /ready shows it; borrowed */
    /* WEIR_OK, or what is wrong; may set `*ret_why` to a static text. Runs on the admin's loop, for
     * each GET /ready. */
    weir_status (*ready)(void *user, const char **ret_why);
    void *user;
} weir_admin_check;

/* Zero is the default that is given. Pointers stay borrowed until weir_admin_stop returns. */
typedef struct weir_admin_config {
    const char *listen; /* "127.0.0.1:9090", "[::1]:9090", ":9090" (every address); port 0: any.
                           NULL: "127.0.0.1:9090" */
    weir_pipeline *const *pipelines;
    uint32_t pipeline_count;
    const weir_admin_check *checks;
    uint32_t check_count;
    const char *token; /* needed as "Authorization: Bearer …" for all but /live and /ready; NULL:
                          none is */
    uint32_t stuck_ms; /* not ready once a stage has had items queued or operations under way for
                          so long and nothing of it moved: 5,000. Looked at four times in that time;
                          keep it above the longest operation */
    uint32_t connections_max; /* at once, 1..1024: 16; more wait */
    uint32_t timeout_ms;      /* of a connection, from accept to close: 5,000 */
    const weir_env *env;      /* NULL: the defaults */
} weir_admin_config;

/* Starts to listen: on `loop`, from its thread or before it runs; or, with NULL, on a loop and a
 * thread of its own, which is what goes with weir_run: start before it, stop after it. Gives the
 * admin. WEIR_EINVAL, or why it can't listen: WEIR_EEXIST (address in use), WEIR_EDENIED,
 * WEIR_ENOTFOUND (no such address), WEIR_ENOMEM, WEIR_EIO; `*ret_why` (optional) is a static text.
 *
 *   GET /         what there is
 *   GET /metrics  Prometheus text 0.0.4; OpenMetrics 1.0.0 if Accept names it
 *   GET /live     200 while the process serves
 *   GET /ready    200, or 503 and a JSON text naming what is not ready
 *   GET /graph    JSON; Graphviz DOT with ?format=dot or Accept: text/vnd.graphviz */
WEIR_API weir_status weir_admin_start(weir_loop *loop, const weir_admin_config *config,
                                      weir_admin **ret_admin, const char **ret_why) WEIR_MUST_USE;
/* Closes its connections and frees it. Takes the admin. The thread of its loop, or after that loop
 * ran; any thread for one with a thread of its own. NULL is fine. */
WEIR_API void weir_admin_stop(weir_admin *admin);
/* The port it listens on. Any thread. */
WEIR_API uint16_t weir_admin_port(const weir_admin *admin);

#ifdef __cplusplus
}
#endif
#endif
