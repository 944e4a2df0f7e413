/* The README's RPC service, numbers: a server, and a client that calls it.
 *
 *   readme_rpc                   calls itself, as a test
 *   readme_rpc HOST:PORT         serves until SIGTERM
 *   readme_rpc HOST:PORT TOKEN   serves those who say "authorization: TOKEN" */
#include "numbers/v1/numbers.weir.h"

#include <weir/weir.h>

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- The server ---- */

static void square(weir_rpc_call *call, const Numbers__V1__SquareRequest *request, void *user)
{
    Numbers__V1__Number answer = NUMBERS__V1__NUMBER__INIT;
    (void)user;
    answer.number = request->number * request->number;
    if (request->number > UINT32_MAX)
        (void)weir_rpc_finish(call, WEIR_RPC_OUT_OF_RANGE, "its square has more than 64 bits");
    else
        (void)numbers_v1_numbers_square_reply(call, &answer);
}

typedef struct count {
    uint64_t sent, to;
} count;

static void count_message(weir_rpc_call *call, const Numbers__V1__CountRequest *request, void *user)
{
    (void)user;
    ((count *)weir_rpc_call_state(call))->to = request->to;
}

/* Called when there is room: first behind `message`, then whenever a send has found none. */
static void count_room(weir_rpc_call *call, void *user)
{
    count *c = weir_rpc_call_state(call); /* zeroed at the start */
    Numbers__V1__Number number = NUMBERS__V1__NUMBER__INIT;
    weir_status status = WEIR_OK;
    (void)user;
    while (status == WEIR_OK && c->sent < c->to) {
        number.number = c->sent + 1;
        status = numbers_v1_numbers_count_send(call, &number); /* WEIR_EAGAIN: no room */
        c->sent += status == WEIR_OK;
    }
    if (status != WEIR_EAGAIN)
        (void)weir_rpc_finish(call, weir_rpc_code_of(status), NULL);
}

/* ---- A request as an item ---- */

static weir_status halve(weir_item *item, void *user)
{
    const Numbers__V1__Number *asked =
        (const Numbers__V1__Number *)weir_rpc_message_of(item)->message;
    Numbers__V1__Number answer = NUMBERS__V1__NUMBER__INIT;
    (void)user;
    if (asked->number % 2 != 0)
        return weir_rpc_item_fail(item, WEIR_RPC_INVALID_ARGUMENT, "an odd number");
    answer.number = asked->number / 2;
    return weir_rpc_item_reply(item, &answer.base);
}

/* ---- An interceptor ---- */

static weir_status authenticate(weir_rpc_call *call, void *user)
{
    const char *token = user;
    weir_http1_span said = weir_rpc_metadata_find(call, "authorization");
    if (said.len == strlen(token) && memcmp(said.at, token, said.len) == 0)
        return WEIR_OK;
    (void)weir_rpc_finish(call, WEIR_RPC_UNAUTHENTICATED, "authorization: a token, please");
    return WEIR_OK;
}

/* ---- All of it ---- */

typedef struct app {
    numbers_v1_numbers_server numbers;
    weir_rpc_health *health;
    weir_rpc_reflection *reflection;
    const weir_rpc_service *services[3];
    weir_rpc_interceptor auth;
    const weir_rpc_interceptor *interceptors[1];
    weir_pipeline *pipeline;
    /* Of the client: */
    struct event_base *base;
    weir_loop *loop;
    char target[64];
    weir_rpc_channel *channel;
    uint64_t squared, halved, counted;
    weir_rpc_code odd;
    int under_way;
} app;

static void *must(void *made)
{
    if (made != NULL)
        return made;
    fputs("numbers: out of memory\n", stderr);
    exit(1);
}

static void wire(app *a, weir_rpc_server_config config)
{
    a->numbers = (numbers_v1_numbers_server){
        .square = { .message = square },
        .count = { .state_size = sizeof(count), .message = count_message, .room = count_room },
        .halve = { .output_plus_1 = 1 },
    };
    a->services[0] = numbers_v1_numbers_service_of(&a->numbers);
    a->health = must(weir_rpc_health_new(NULL));
    a->services[1] = weir_rpc_health_service(a->health);
    a->reflection = must(weir_rpc_reflection_new(NULL, a->services, 2));
    a->services[2] = weir_rpc_reflection_service(a->reflection, WEIR_RPC_REFLECTION_V1);
    config.services = a->services;
    config.service_count = 3;

    weir_pipeline *p = a->pipeline = weir_pipeline_new(NULL);
    weir_node *server = weir_add(p, weir_rpc_server(&config));
    weir_at(p, server); /* what follows stands at its output 0, which is 1 in output_plus_1 */
    weir_via(p, weir_rate_limit(&(weir_rate_limit_config){ .rate = 1000, .reject = true }));
    weir_into(p, weir_for_each(halve, NULL));
}

static void unwire(app *a)
{
    weir_pipeline_free(a->pipeline);
    weir_rpc_reflection_free(a->reflection);
    weir_rpc_health_free(a->health);
}

static int serve(app *a, const char *listen, const char *token)
{
    weir_rpc_server_config config = { .listen = listen };
    a->auth = (weir_rpc_interceptor){ "auth", .begin = authenticate, .user = (void *)token };
    a->interceptors[0] = &a->auth;
    config.interceptors = a->interceptors;
    config.interceptor_count = token != NULL;
    wire(a, config);
    weir_status status = weir_run(a->pipeline); /* one loop per core, until SIGTERM */
    if (status != WEIR_OK)
        fprintf(stderr, "numbers: %s\n", weir_pipeline_why(a->pipeline));
    unwire(a);
    return status == WEIR_OK ? 0 : 1;
}

/* ---- The client ---- */

static void leave(app *a)
{
    if (--a->under_way > 0)
        return;
    weir_rpc_channel_free(a->channel);
    weir_pipeline_shutdown(a->pipeline, WEIR_HYBRID, 1000);
}

static void squared(weir_rpc_call *call, const Numbers__V1__Number *answer, void *user)
{
    (void)call;
    ((app *)user)->squared = answer->number;
}

static void square_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    weir_http1_span text = weir_rpc_call_error(call)->text;
    if (code != WEIR_RPC_OK)
        fprintf(stderr, "square: %s: %.*s\n", weir_rpc_code_name(code), (int)text.len, text.at);
    leave(user);
}

static weir_status ask_square(app *a, uint64_t number)
{
    static const numbers_v1_numbers_square_client told = { .message = squared,
                                                           .over = square_over };
    Numbers__V1__SquareRequest request = NUMBERS__V1__SQUARE_REQUEST__INIT;
    weir_rpc_call *call;
    request.number = number;
    return numbers_v1_numbers_square(a->channel, &(weir_rpc_options){ .timeout_ms = 1000 },
                                     &request, &told, a, &call);
}

/* The reader's demand: ten at first, then one for each. */
static void count_begin(weir_rpc_call *call, void *user)
{
    (void)user;
    weir_rpc_request(call, 10);
}

static void counted(weir_rpc_call *call, const Numbers__V1__Number *number, void *user)
{
    app *a = user;
    a->counted += number->number == a->counted + 1;
    weir_rpc_request(call, 1);
}

static void count_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)code;
    leave(user);
}

static void halved(weir_rpc_call *call, const Numbers__V1__Number *answer, void *user)
{
    (void)call;
    ((app *)user)->halved = answer->number;
}

static void halve_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    if (code != WEIR_RPC_OK)
        ((app *)user)->odd = code;
    leave(user);
}

static weir_status ask_half(app *a, uint64_t number)
{
    static const numbers_v1_numbers_halve_client told = { .message = halved, .over = halve_over };
    Numbers__V1__Number request = NUMBERS__V1__NUMBER__INIT;
    weir_rpc_call *call;
    request.number = number;
    return numbers_v1_numbers_halve(a->channel, NULL, &request, &told, a, &call);
}

static weir_status ask_count(app *a, uint64_t to)
{
    static const numbers_v1_numbers_count_client told = { .begin = count_begin,
                                                          .message = counted,
                                                          .over = count_over };
    Numbers__V1__CountRequest request = NUMBERS__V1__COUNT_REQUEST__INIT;
    weir_rpc_call *call;
    request.to = to;
    return numbers_v1_numbers_count(a->channel, NULL, &request, &told, a, &call);
}

/* The server listens: on the loop's thread, so a channel can be made here. */
static void listening(uint16_t port, void *user)
{
    app *a = user;
    const char *why = "";
    snprintf(a->target, sizeof a->target, "http://127.0.0.1:%u", port);
    weir_rpc_channel_config config = { .target = a->target, .retry = { .attempts_max = 3 } };
    weir_status status = weir_rpc_channel_new(a->loop, &config, &a->channel, &why);
    if (status != WEIR_OK) {
        fprintf(stderr, "numbers: %s: %s\n", a->target, why);
        exit(1);
    }
    a->under_way = 4;
    if (ask_square(a, 12) != WEIR_OK || ask_count(a, 100000) != WEIR_OK ||
        ask_half(a, 42) != WEIR_OK || ask_half(a, 7) != WEIR_OK)
        exit(1);
}

static void finished(weir_pipeline *p, weir_status status, void *user)
{
    if (status != WEIR_OK)
        fprintf(stderr, "numbers: %s\n", weir_pipeline_why(p));
    event_base_loopbreak(((app *)user)->base);
}

static int call_itself(app *a)
{
    a->base = event_base_new();
    a->loop = weir_loop_new(&(weir_loop_config){ .base = a->base });
    wire(a, (weir_rpc_server_config){ .listen = "127.0.0.1:0", .listening = listening, .user = a });
    weir_status status = weir_pipeline_start(a->pipeline, &a->loop, 1, finished, a);
    if (status != WEIR_OK)
        fprintf(stderr, "numbers: %s\n", weir_pipeline_why(a->pipeline));
    else
        event_base_dispatch(a->base);
    unwire(a);
    weir_loop_free(a->loop);
    event_base_free(a->base);
    printf("numbers: 12 squared is %llu, counted to %llu, half of 42 is %llu, of 7: %s\n",
           (unsigned long long)a->squared, (unsigned long long)a->counted,
           (unsigned long long)a->halved, weir_rpc_code_name(a->odd));
    return a->squared == 144 && a->counted == 100000 && a->halved == 21 &&
                   a->odd == WEIR_RPC_INVALID_ARGUMENT
               ? 0
               : 1;
}

int main(int argc, char **argv)
{
    app a = { .odd = WEIR_RPC_OK };
    return argc > 1 ? serve(&a, argv[1], argc > 2 ? argv[2] : NULL) : call_itself(&a);
}
