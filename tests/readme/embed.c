/* The README's server on libevent that takes weir into its own event_base. */
#include <weir/weir.h>

#include <event2/event.h>
#include <stdio.h>

typedef struct server {
    struct event_base *base;
    weir_loop *loop;
    weir_inlet *inlet;
    uint32_t asked, answered;
} server;

typedef struct request {
    server *server;
    uint32_t number, answer;
} request;

/* On the server's thread, when all that was made of the request is over: the place to answer. */
static void request_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    request *r = weir_item_body(item);
    if (outcome == WEIR_ACKED)
        r->server->answered += r->answer == r->number * 2;
    else
        fprintf(stderr, "request %u: %s\n", r->number, weir_status_text(status));
}

static const weir_item_type request_type = { .name = "request", .ended = request_ended };

/* One of the server's own callbacks. */
static void on_request(evutil_socket_t fd, short what, void *user)
{
    server *s = user;
    weir_item *item = weir_item_new(s->loop, &request_type, sizeof(request));
    (void)fd;
    (void)what;
    if (item == NULL)
        return;
    *(request *)weir_item_body(item) = (request){ .server = s, .number = ++s->asked };
    weir_status status = weir_inlet_offer(s->inlet, item); /* WEIR_EOVERLOAD: it is full */
    if (status != WEIR_OK)
        weir_item_end(item, WEIR_REJECTED, status);
    if (s->asked == 10)
        weir_inlet_end(s->inlet);
}

static weir_status work(weir_item *item, void *user)
{
    request *r = weir_item_body(item);
    (void)user;
    r->answer = r->number * 2;
    return WEIR_OK;
}

static void finished(weir_pipeline *p, weir_status status, void *user)
{
    if (status != WEIR_OK)
        fprintf(stderr, "embed: %s\n", weir_pipeline_why(p));
    event_base_loopbreak(((server *)user)->base);
}

int main(void)
{
    server s = { .base = event_base_new() }; /* as it was before weir came */
    struct event *requests = event_new(s.base, -1, EV_PERSIST, on_request, &s);
    event_add(requests, &(struct timeval){ .tv_usec = 1000 });

    s.loop = weir_loop_new(&(weir_loop_config){ .base = s.base });
    s.inlet = weir_inlet_new(NULL, &(weir_inlet_config){ .items_max = 256 });
    weir_pipeline *p = weir_pipeline_new(NULL);
    weir_from(p, weir_from_inlet(s.inlet));
    weir_into(p, weir_for_each(work, NULL));
    weir_status status = weir_pipeline_start(p, &s.loop, 1, finished, &s);
    if (status != WEIR_OK)
        fprintf(stderr, "embed: %s\n", weir_pipeline_why(p));
    else
        event_base_dispatch(s.base);

    weir_pipeline_free(p);
    weir_inlet_free(s.inlet);
    weir_loop_free(s.loop);
    event_free(requests);
    event_base_free(s.base);
    printf("embed: %u of %u answered\n", s.answered, s.asked);
    return status == WEIR_OK && s.answered == 10 ? 0 : 1;
}
