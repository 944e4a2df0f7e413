/* Calls of all kinds by chance: what both sides do, and when, is drawn from a seed. Whatever it is,
 * each call that began is over once, messages come in order and none that was not asked for, and
 * nothing is left behind. */
#include "effort.h"
#include "rpc_client_rig.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>

enum { CALLS_MAX = 96, LIVE_MAX = 4096, CONTEXTS = 3, SEEDS = 800, SEEDS_APART = 100 };

typedef enum finale { ANSWER_ALL, CANCEL_ALL, WAIT_FOR_DEADLINES, FREE_CHANNEL, FINALES } finale;

/* ---- Chance ---- */

typedef uint64_t chance; /* xorshift64* */

static uint64_t draw(chance *state, uint64_t n)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (*state * 2685821657736338717u >> 11) % n;
}

static uint64_t seed_now;

#define MUST(condition)                                                          \
    do {                                                                         \
        if (!(condition))                                                        \
            fail_msg("seed %llu: %s", (unsigned long long)seed_now, #condition); \
    } while (0)

/* ---- Memory ---- */

static atomic_size_t in_use;

static void *counted_resize(void *memory, size_t bytes, void *user)
{
    (void)user;
    if (memory != NULL)
        atomic_fetch_sub(&in_use, malloc_usable_size(memory));
    if (bytes == 0) {
        free(memory);
        return NULL;
    }
    void *at = realloc(memory, bytes);
    if (at != NULL)
        atomic_fetch_add(&in_use, malloc_usable_size(at));
    return at;
}

/* ---- The server ---- */

/* A call as the server has it; the state of the call. */
typedef struct line {
    weir_rpc_call *call;
    int method;
    uint64_t asked, got, sent;
    bool may_send, finished;
} line;

static struct {
    chance chance;
    line *live[LIVE_MAX];
    weir_rpc_call *held[LIVE_MAX];
    int live_count, held_count, begins, overs;
    bool answers, keeps_none;
} server;

static int method_of(const weir_rpc_call *call)
{
    return (int)(weir_rpc_call_method(call) - streams_methods);
}

static bool has_many_requests(int method)
{
    return method == COLLECT || method == ECHO;
}

static bool has_many_responses(int method)
{
    return method == STREAM_DATA || method == ECHO;
}

static weir_status send_data(weir_rpc_call *call, uint64_t sequence, size_t bytes)
{
    static uint8_t payload[4096];
    Streams__V1__Data data = STREAMS__V1__DATA__INIT;
    data.sequence = sequence;
    data.payload = (ProtobufCBinaryData){ bytes, payload };
    return weir_rpc_send(call, &data.base);
}

static weir_status reply(line *s)
{
    Streams__V1__ProcessResponse processed = STREAMS__V1__PROCESS_RESPONSE__INIT;
    Streams__V1__CollectResponse collected = STREAMS__V1__COLLECT_RESPONSE__INIT;
    collected.messages = s->got;
    return weir_rpc_reply(s->call, s->method == PROCESS ? &processed.base : &collected.base);
}

/* One that is tried again, often. */
static weir_rpc_code drawn_code(void)
{
    return draw(&server.chance, 2) == 0 ? WEIR_RPC_ABORTED
                                        : (weir_rpc_code)(1 + draw(&server.chance, 16));
}

static void finish(line *s, bool well)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%llu", (unsigned long long)s->sent);
    if (s->finished || (s->method == PROCESS && well && !s->may_send))
        return;
    weir_status status = weir_rpc_add_trailer(s->call, "x-sent", text, (size_t)n);
    s->finished = true;
    if (!well)
        status = weir_rpc_finish(s->call, drawn_code(), "by chance");
    else if (has_many_responses(s->method))
        status = weir_rpc_finish(s->call, WEIR_RPC_OK, NULL);
    else
        status = reply(s);
    MUST(status == WEIR_OK || status == WEIR_EEXIST || status == WEIR_ECLOSED);
    if (status == WEIR_OK)
        MUST(weir_rpc_finish(s->call, WEIR_RPC_OK, NULL) == WEIR_EEXIST);
}

static void server_keeps(weir_rpc_call *call)
{
    if (server.held_count == LIVE_MAX || server.keeps_none)
        return;
    weir_rpc_hold(call);
    server.held[server.held_count++] = call;
}

static void server_lets_go(void)
{
    if (server.held_count == 0)
        return;
    int i = (int)draw(&server.chance, (uint64_t)server.held_count);
    weir_rpc_call *call = server.held[i];
    server.held[i] = server.held[--server.held_count];
    weir_rpc_release(call);
}

static void server_sends(line *s)
{
    if (!s->may_send || !has_many_responses(s->method))
        return;
    weir_status status = send_data(s->call, s->sent, draw(&server.chance, 4000));
    s->sent += status == WEIR_OK;
    MUST(status == WEIR_OK || status == WEIR_EAGAIN || status == WEIR_ECLOSED);
}

static void server_acts(line *s)
{
    uint64_t what = draw(&server.chance, 40), n = 1 + draw(&server.chance, 3);
    if (what < 12 && has_many_requests(s->method)) {
        s->asked += n;
        weir_rpc_request(s->call, n);
    } else if (what < 30) {
        server_sends(s);
    } else if (what < 33) {
        finish(s, true);
    } else if (what < 35) {
        finish(s, false);
    } else if (what == 37) {
        weir_rpc_cancel(s->call);
    } else if (what == 35) {
        server_keeps(s->call);
    } else if (what == 36) {
        (void)weir_rpc_send_metadata(s->call);
    }
}

static void server_may_act(line *s)
{
    for (uint64_t n = draw(&server.chance, 4); n > 2; n--)
        server_acts(s);
}

static void served_begin(weir_rpc_call *call, void *user)
{
    line *s = weir_rpc_call_state(call);
    (void)user;
    *s = (line){ .call = call, .method = method_of(call) };
    MUST(server.live_count < LIVE_MAX);
    server.live[server.live_count++] = s;
    server.begins++;
    s->may_send = has_many_requests(s->method);
    server_may_act(s);
}

static void served_message(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    line *s = weir_rpc_call_state(call);
    (void)user;
    MUST(s->call == call);
    if (has_many_requests(s->method)) {
        MUST(((const Streams__V1__Data *)message)->sequence == s->got);
        MUST(++s->got <= s->asked);
    }
    s->may_send = true;
    server_may_act(s);
}

static void served_event(weir_rpc_call *call, void *user)
{
    (void)user;
    server_may_act(weir_rpc_call_state(call));
}

static void served_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    line *s = weir_rpc_call_state(call);
    int at = 0;
    (void)code;
    (void)user;
    MUST(s->call == call);
    server_may_act(s);
    s->call = NULL;
    server.overs++;
    while (at < server.live_count && server.live[at] != s)
        at++;
    MUST(at < server.live_count);
    server.live[at] = server.live[--server.live_count];
}

static void serve(rig *r)
{
    for (int i = 0; i < METHODS; i++)
        r->handlers[i] = (weir_rpc_handler){ .begin = served_begin,
                                             .message = served_message,
                                             .end = served_event,
                                             .room = served_event,
                                             .drain = served_event,
                                             .over = served_over,
                                             .state_size = sizeof(line) };
}

static void server_turn(void)
{
    for (int n = server.live_count < 8 ? server.live_count : 8; n > 0 && server.live_count > 0; n--)
        server_acts(server.live[draw(&server.chance, (uint64_t)server.live_count)]);
    if (draw(&server.chance, 8) == 0)
        server_lets_go();
    for (int i = 0; server.answers && i < server.live_count; i++)
        finish(server.live[i], true);
    for (int i = 0; server.answers && i < server.live_count; i++)
        if (has_many_requests(server.live[i]->method) &&
            server.live[i]->asked < WEIR_UNBOUNDED / 2) {
            server.live[i]->asked = WEIR_UNBOUNDED / 2;
            weir_rpc_request(server.live[i]->call, WEIR_UNBOUNDED / 2);
        }
}

/* ---- The client ---- */

typedef struct asked_call {
    weir_rpc_call *call; /* NULL: over */
    int method, begins, overs, holds;
    uint64_t asked, got, sent;
    bool ended, cancelled;
} asked_call;

static struct {
    chance chance;
    rig *r;
    weir_rpc_channel *channel;
    weir_context contexts[CONTEXTS];
    asked_call calls[CALLS_MAX];
    weir_rpc_call *held[CALLS_MAX];
    int count, over_count, held_count;
    bool inside, ends;
} us;

static void start_one(void);

static void our_hold(asked_call *c)
{
    if (us.held_count == CALLS_MAX)
        return;
    weir_rpc_hold(c->call);
    us.held[us.held_count++] = c->call;
}

static void our_release(void)
{
    if (us.held_count == 0)
        return;
    int i = (int)draw(&us.chance, (uint64_t)us.held_count);
    weir_rpc_call *call = us.held[i];
    us.held[i] = us.held[--us.held_count];
    weir_rpc_release(call);
}

static void our_free(void)
{
    weir_rpc_channel *channel = us.channel;
    us.channel = NULL;
    us.inside = true;
    weir_rpc_channel_free(channel);
    us.inside = false;
}

static void we_send(asked_call *c)
{
    if (!has_many_requests(c->method))
        return;
    weir_status status = send_data(c->call, c->sent, draw(&us.chance, 4000));
    c->sent += status == WEIR_OK;
    MUST(status == WEIR_OK || status == WEIR_EAGAIN || status == WEIR_ECLOSED);
}

static void we_end(asked_call *c)
{
    if (!has_many_requests(c->method))
        return;
    weir_status status = weir_rpc_send_end(c->call);
    MUST(status == WEIR_OK || status == WEIR_ECLOSED);
    c->ended = true;
}

static void we_act(asked_call *c)
{
    uint64_t what = draw(&us.chance, 400), n = 1 + draw(&us.chance, 4);
    us.inside = true;
    if (what < 140 && has_many_responses(c->method)) {
        c->asked = weir_credit_add(c->asked, n);
        weir_rpc_request(c->call, n);
    } else if (what < 280) {
        we_send(c);
    } else if (what < 300) {
        we_end(c);
    } else if (what < 315) {
        c->cancelled = true;
        weir_rpc_cancel(c->call);
    } else if (what < 325) {
        our_hold(c);
    } else if (what < 327) {
        weir_context_cancel(&us.contexts[draw(&us.chance, CONTEXTS)], WEIR_ECANCELED);
    } else if (what == 327 && us.ends) {
        our_free();
    } else if (what < 335) {
        (void)weir_rpc_call_context(c->call);
    }
    us.inside = false;
}

static void we_may_act(asked_call *c)
{
    if (draw(&us.chance, 4) == 0)
        we_act(c);
}

static void our_begin(weir_rpc_call *call, void *user)
{
    asked_call *c = user;
    MUST(!us.inside && c->call == call && ++c->begins == 1 && c->overs == 0);
    we_may_act(c);
}

static void our_message(weir_rpc_call *call, const ProtobufCMessage *message, void *user)
{
    asked_call *c = user;
    MUST(!us.inside && c->call == call && c->begins == 1 && c->overs == 0 && !c->cancelled);
    if (has_many_responses(c->method)) {
        MUST(((const Streams__V1__Data *)message)->sequence == c->got);
        MUST(c->got < c->asked);
    }
    c->got++;
    we_may_act(c);
}

static void our_room(weir_rpc_call *call, void *user)
{
    asked_call *c = user;
    MUST(!us.inside && c->call == call && c->overs == 0);
    we_may_act(c);
}

static void check_sent(const asked_call *c, weir_rpc_call *call)
{
    char text[24] = "";
    weir_http1_span sent = weir_rpc_trailer_find(call, "x-sent");
    MUST(sent.at != NULL && sent.len < sizeof text && c->begins == 1);
    memcpy(text, sent.at, sent.len);
    MUST(c->got == (has_many_responses(c->method) ? strtoull(text, NULL, 10) : 1));
}

static void our_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    asked_call *c = user;
    MUST(!us.inside && c->call == call && ++c->overs == 1);
    MUST(weir_rpc_call_error(call)->code == code);
    MUST(!c->cancelled || code != WEIR_RPC_OK);
    if (code == WEIR_RPC_OK)
        check_sent(c, call);
    we_may_act(c);
    c->call = NULL;
    us.over_count++;
    if (draw(&us.chance, 3) == 0)
        start_one();
}

static const weir_rpc_handler our_handler = {
    .begin = our_begin, .message = our_message, .room = our_room, .over = our_over
};

static weir_status ask_one_of(asked_call *c, const weir_rpc_options *options)
{
    Streams__V1__ProcessRequest process = STREAMS__V1__PROCESS_REQUEST__INIT;
    Streams__V1__StreamDataRequest data = STREAMS__V1__STREAM_DATA_REQUEST__INIT;
    const ProtobufCMessage *request = c->method == PROCESS ? &process.base : &data.base;
    const weir_rpc_method *method = &streams_methods[c->method];
    if (has_many_requests(c->method))
        return weir_rpc_start(us.channel, method, options, &our_handler, c, &c->call);
    return weir_rpc_ask(us.channel, method, options, request, &our_handler, c, &c->call);
}

static void start_one(void)
{
    static const uint32_t timeouts[] = { 0, 0, 0, 1, 5, 50 };
    if (us.count == CALLS_MAX || us.channel == NULL)
        return;
    asked_call *c = &us.calls[us.count++];
    uint64_t context = draw(&us.chance, 2 * CONTEXTS);
    weir_rpc_options options = {
        .context = context < CONTEXTS ? &us.contexts[context] : NULL,
        .timeout_ms = timeouts[draw(&us.chance, 6)],
        .wait_for_ready = draw(&us.chance, 2) == 0,
        .no_retry = draw(&us.chance, 3) == 0,
    };
    *c = (asked_call){ .method = (int)draw(&us.chance, METHODS) };
    bool inside = us.inside;
    us.inside = true;
    weir_status status = ask_one_of(c, &options);
    us.inside = inside;
    MUST(status == WEIR_OK || status == WEIR_ELIMIT);
    if (status != WEIR_OK)
        us.count--;
}

static asked_call *any_of_ours(void)
{
    for (int tries = 0; us.count > 0 && tries < 20; tries++) {
        asked_call *c = &us.calls[draw(&us.chance, (uint64_t)us.count)];
        if (c->call != NULL)
            return c;
    }
    return NULL;
}

static void our_turn(void)
{
    asked_call *c;
    if (us.count < CALLS_MAX / 2 && draw(&us.chance, 3) == 0)
        start_one();
    for (uint64_t n = draw(&us.chance, 6); n > 0 && (c = any_of_ours()) != NULL; n--)
        we_act(c);
    if (draw(&us.chance, 8) == 0)
        our_release();
}

/* ---- Interceptors ---- */

static int told_begin, told_over;

static weir_status intercept(weir_rpc_call *call, void *user)
{
    (void)user;
    told_begin++;
    uint64_t what = draw(&us.chance, 30);
    if (what == 0)
        weir_rpc_cancel(call);
    if (what == 1)
        return WEIR_EDENIED;
    if (what < 6) {
        weir_rpc_resume(call);
        return WEIR_EAGAIN;
    }
    return weir_rpc_add_metadata(call, "x-intercepted", "1", 1);
}

static void intercept_over(weir_rpc_call *call, weir_rpc_code code, void *user)
{
    (void)call;
    (void)code;
    (void)user;
    told_over++;
}

static const weir_rpc_interceptor interceptor = { .begin = intercept, .over = intercept_over };
static const weir_rpc_interceptor *const interceptors[] = { &interceptor, &interceptor };

/* ---- Worlds ---- */

static weir_rpc_channel_config drawn_config(void)
{
    static const uint32_t windows[] = { 0, 1024, 5000, 20000 };
    chance *by = &us.chance;
    weir_rpc_channel_config config = {
        .protocol = (weir_rpc_protocol)draw(by, 3),
        .codec = (weir_rpc_codec)draw(by, 2),
        .gzip = draw(by, 2) == 0,
        .connect_get = draw(by, 2) == 0,
        .stream_window_bytes = windows[draw(by, 4)],
        .send_bytes_max = windows[draw(by, 4)],
        .calls_max = draw(by, 4) == 0 ? 10 : 0,
        .retry = { .attempts_max = (uint32_t)draw(by, 4),
                   .codes = (uint32_t)draw(by, 2) << WEIR_RPC_ABORTED,
                   .buffer_bytes_max = windows[draw(by, 4)] },
        .interceptors = interceptors,
        .interceptor_count = draw(by, 3),
        .backoff_ms = 2,
        .park_ms = (uint32_t)draw(by, 2), /* whenever there is a chance; or hardly */
    };
    if (config.protocol != WEIR_RPC_GRPC && draw(by, 3) == 0)
        config.http = WEIR_RPC_HTTP1;
    if (config.protocol != WEIR_RPC_CONNECT)
        config.connect_get = false;
    return config;
}

static void drawn_server(rig *r)
{
    static const uint32_t bounds[] = { 0, 3, 10 };
    r->config.streams_max = bounds[draw(&us.chance, 3)];
    r->config.send_bytes_max = draw(&us.chance, 2) == 0 ? 3000 : 0;
    r->config.park_ms = (uint32_t)draw(&us.chance, 2);
    serve(r);
}

static void finale_begin(finale how)
{
    us.ends = false;
    for (int i = 0; i < us.count; i++) {
        asked_call *c = &us.calls[i];
        if (c->call == NULL)
            continue;
        us.inside = true;
        if (how == CANCEL_ALL || how == WAIT_FOR_DEADLINES) {
            c->cancelled = true;
            weir_rpc_cancel(c->call);
        } else if (how == ANSWER_ALL) {
            c->asked = WEIR_UNBOUNDED;
            weir_rpc_request(c->call, WEIR_UNBOUNDED);
            we_end(c);
        }
        us.inside = false;
    }
    if (how == FREE_CHANNEL && us.channel != NULL)
        our_free();
}

static void world_begin(uint64_t seed)
{
    seed_now = seed;
    memset(&us, 0, sizeof us);
    memset(&server, 0, sizeof server);
    us.chance = seed * 0x9e3779b97f4a7c15u + 1;
    server.chance = seed * 0xbf58476d1ce4e5b9u + 1;
    us.ends = draw(&us.chance, 4) == 0;
    told_begin = told_over = 0;
    atomic_store(&in_use, 0);
}

static void contexts_begin(weir_loop *loop)
{
    for (int i = 0; i < CONTEXTS; i++)
        weir_context_init(&us.contexts[i], loop, NULL, 0);
}

static void check_ours(void)
{
    for (int i = 0; i < us.count; i++)
        MUST(us.calls[i].overs == 1);
    MUST(told_begin == told_over);
    if (us.channel != NULL)
        MUST(stats_of(us.channel).calls == 0);
    while (us.held_count > 0)
        our_release();
    for (int i = 0; i < CONTEXTS; i++)
        weir_context_done(&us.contexts[i]);
}

static void fail_stuck(void)
{
    for (int i = 0; i < us.count; i++)
        if (us.calls[i].call != NULL)
            print_error("call %d of method %d: asked %llu got %llu sent %llu begun %d%s%s\n", i,
                        us.calls[i].method, (unsigned long long)us.calls[i].asked,
                        (unsigned long long)us.calls[i].got, (unsigned long long)us.calls[i].sent,
                        us.calls[i].begins, us.calls[i].ended ? " ended" : "",
                        us.calls[i].cancelled ? " cancelled" : "");
    fail_msg("seed %llu: calls are never over: %d of %d; %d at the server",
             (unsigned long long)seed_now, us.count - us.over_count, us.count, server.live_count);
}

/* Either end of one, by chance. */
static void break_a_connection(const rig *r)
{
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    int fd = r->fds + (int)draw(&us.chance, 20);
    if (getpeername(fd, (struct sockaddr *)&at, &len) == 0)
        MUST(shutdown(fd, SHUT_RDWR) == 0 || errno == ENOTCONN);
}

static void one_world(uint64_t seed)
{
    bool breaks;
    rig r = { .allocator = { counted_resize, NULL } };
    world_begin(seed);
    drawn_server(&r);
    rig_start(&r);
    contexts_begin(r.loop);
    us.channel = channel_of(&r, drawn_config());
    breaks = draw(&us.chance, 3) == 0;
    for (uint64_t n = 20 + draw(&us.chance, 200); n > 0; n--) {
        our_turn();
        server_turn();
        turn(&r);
        if (breaks && draw(&us.chance, 8) == 0)
            break_a_connection(&r);
        r.clock_ns += draw(&us.chance, 3) == 0 ? WEIR_MS : 1000;
    }
    finale_begin((finale)draw(&us.chance, FINALES));
    server.answers = true;
    uint64_t until = server_now_ms() + PATIENCE_MS;
    while (us.over_count < us.count || server.live_count > 0) {
        server_turn();
        pass_ms(&r, 1);
        for (int i = 0; i < us.count; i++) /* those started in `over` */
            if (us.calls[i].call != NULL && us.calls[i].asked != WEIR_UNBOUNDED)
                finale_begin(ANSWER_ALL);
        if (server_now_ms() >= until)
            fail_stuck();
    }
    check_ours();
    MUST(server.begins == server.overs);
    server.keeps_none = true;
    while (server.held_count > 0)
        server_lets_go();
    weir_rpc_channel_free(us.channel);
    turns(&r, 5);
    rig_stop(&r);
    MUST(atomic_load(&in_use) == 0);
}

/* ---- The server on a loop and thread of its own ---- */

typedef struct apart {
    rig rig;
    atomic_bool answers, stops;
    atomic_int live;
} apart;

static void *serve_apart(void *user)
{
    apart *a = user;
    while (!atomic_load(&a->stops)) {
        server.answers = atomic_load(&a->answers);
        server_turn();
        a->rig.clock_ns += 100 * WEIR_US;
        turn(&a->rig);
        atomic_store(&a->live, server.live_count);
    }
    server.keeps_none = true;
    while (server.held_count > 0)
        server_lets_go();
    return NULL;
}

static void apart_begin(apart *a, rig *ours, pthread_t *thread, uint64_t seed)
{
    world_begin(seed);
    *a = (apart){ .rig = { .allocator = { counted_resize, NULL } } };
    *ours = (rig){ .allocator = { counted_resize, NULL }, .clock_ns = WEIR_SEC };
    drawn_server(&a->rig);
    rig_start(&a->rig);
    ours->env =
        (weir_env){ .allocator = ours->allocator, .now_ns = rig_now, .user = &ours->clock_ns };
    ours->loop = weir_loop_new(&(weir_loop_config){ .env = &ours->env });
    ours->port = a->rig.port;
    contexts_begin(ours->loop);
    us.channel = channel_of(ours, drawn_config());
    assert_int_equal(pthread_create(thread, NULL, serve_apart, a), 0);
}

static void one_world_apart(uint64_t seed)
{
    apart a;
    rig ours;
    pthread_t thread;
    apart_begin(&a, &ours, &thread, seed);
    for (uint64_t n = 20 + draw(&us.chance, 200); n > 0; n--) {
        our_turn();
        turn(&ours);
        ours.clock_ns += draw(&us.chance, 3) == 0 ? WEIR_MS : 1000;
    }
    finale_begin((finale)draw(&us.chance, FINALES));
    atomic_store(&a.answers, true);
    uint64_t until = server_now_ms() + PATIENCE_MS;
    while (us.over_count < us.count || atomic_load(&a.live) > 0) {
        pass_ms(&ours, 1);
        for (int i = 0; i < us.count; i++)
            if (us.calls[i].call != NULL && us.calls[i].asked != WEIR_UNBOUNDED)
                finale_begin(ANSWER_ALL);
        if (server_now_ms() >= until)
            fail_stuck();
    }
    check_ours();
    weir_rpc_channel_free(us.channel);
    turns(&ours, 5);
    weir_loop_free(ours.loop);
    atomic_store(&a.stops, true);
    pthread_join(thread, NULL);
    rig_stop(&a.rig);
    MUST(server.begins == server.overs);
    MUST(atomic_load(&in_use) == 0);
}

static uint64_t only; /* this seed, given on the command line */

static void calls_by_chance_are_each_over_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; only == 0 && seed <= effort(SEEDS); seed++)
        one_world(seed);
    if (only != 0)
        one_world(only);
}

static void calls_across_loops_are_each_over_once(void **state)
{
    (void)state;
    for (uint64_t seed = 1; only == 0 && seed <= effort(SEEDS_APART); seed++)
        one_world_apart(seed);
    if (only != 0)
        one_world_apart(only);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        only = strtoull(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_by_chance_are_each_over_once),
        cmocka_unit_test(calls_across_loops_are_each_over_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
