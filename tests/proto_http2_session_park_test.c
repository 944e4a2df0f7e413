/* HTTP/2 sessions at rest: their memory is let go, and nobody can tell. */
#include "effort.h"
#include "http2_frames.h"
#include "http2_session.h"
#include "http_session_rig.h"

typedef struct pair {
    side *client, *server;
    weir_http_pool *pools[2];
} pair;

static pair pair_of(side *client, side *server)
{
    pair p = { client, server, { NULL } };
    side *sides[] = { client, server };
    for (int i = 0; i < 2; i++) {
        p.pools[i] = weir_http_pool_new(&sides[i]->env, 1);
        assert_non_null(p.pools[i]);
        sides[i]->config.pool = p.pools[i];
        assert_int_equal(side_start(sides[i]), WEIR_OK);
    }
    server->answer = true;
    pump(client, server);
    return p;
}

static pair pair_new(void)
{
    return pair_of(side_new(true), side_new(false));
}

static void pair_free(pair p)
{
    side_close(p.client);
    side_close(p.server);
    weir_http_pool_free(p.pools[0]);
    weir_http_pool_free(p.pools[1]);
    side_free(p.client);
    side_free(p.server);
}

static bool is_parked(const side *s)
{
    return wi_http2_is_parked(wi_http2_of(s->session));
}

static weir_status side_sweep(side *s, uint64_t ms)
{
    s->now_ns += ms * RIG_MS;
    weir_status status = weir_http_session_sweep(s->session, s->now_ns);
    if (s->config.pool != NULL)
        weir_http_pool_sweep(s->config.pool);
    return status;
}

/* Both are left alone for longer than it takes. */
static void rest(pair p)
{
    assert_int_equal(side_sweep(p.client, 1500), WEIR_OK);
    assert_int_equal(side_sweep(p.server, 1500), WEIR_OK);
}

static void rest_parked(pair p)
{
    rest(p);
    assert_true(is_parked(p.client));
    assert_true(is_parked(p.server));
}

/* A call that is answered; how many bytes its request was. */
static size_t call(pair p)
{
    rig_exchange *x = rig_open(p.client, true);
    assert_int_equal(side_output(p.client), WEIR_OK);
    size_t n = p.client->out.len;
    assert_int_equal(side_feed(p.server, p.client->out.at, n), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(x->status, WEIR_OK);
    assert_string_equal(x->head, "200 content-type=text/plain;");
    assert_string_equal(x->trailers, "grpc-status=0;");
    assert_string_equal(p.server->x[p.server->count - 1]->head, p.server->x[0]->head);
    return n;
}

static void an_idle_connection_is_parked_and_answers_as_before(void **state)
{
    pair p = pair_new();
    (void)state;
    size_t first = call(p), indexed = call(p);
    assert_true(indexed < first / 2);
    for (int i = 0; i < 5; i++) {
        rest_parked(p);
        assert_int_equal(call(p), indexed); /* HPACK's tables are what they were */
        assert_false(is_parked(p.client));
        assert_false(is_parked(p.server));
    }
    pair_free(p);
}

static void a_connection_in_use_is_not_parked(void **state)
{
    pair p = pair_new();
    (void)state;
    rig_exchange *x = rig_open(p.client, false);
    pump(p.client, p.server);
    rest(p);
    assert_false(is_parked(p.client));
    assert_false(is_parked(p.server));
    assert_int_equal(weir_http_exchange_end(x->exchange, NULL, 0), WEIR_OK);
    pump(p.client, p.server);
    assert_int_equal(side_sweep(p.server, 999), WEIR_OK);
    assert_false(is_parked(p.server));
    assert_int_equal(side_sweep(p.server, 1), WEIR_OK);
    assert_true(is_parked(p.server));
    pair_free(p);
}

static void one_whose_settings_are_not_acknowledged_is_not_parked(void **state)
{
    side *server = side_new(false);
    weir_http_pool *pool = weir_http_pool_new(NULL, 0);
    frames f = { 0 };
    (void)state;
    server->config.pool = pool;
    assert_int_equal(side_start(server), WEIR_OK);
    assert_int_equal(side_sweep(server, 1500), WEIR_OK);
    assert_false(is_parked(server));
    put_preface(&f);
    assert_int_equal(side_feed(server, f.at, f.len), WEIR_OK);
    assert_int_equal(side_output(server), WEIR_OK);
    assert_int_equal(side_sweep(server, 1500), WEIR_OK);
    assert_false(is_parked(server));
    f.len = 0;
    put_frame(&f, FRAME_SETTINGS, ACK, 0, NULL, 0);
    assert_int_equal(side_feed(server, f.at, f.len), WEIR_OK);
    assert_int_equal(side_sweep(server, 1500), WEIR_OK);
    assert_true(is_parked(server));
    free(f.at);
    side_close(server);
    weir_http_pool_free(pool);
    side_free(server);
}

static void parking_may_be_put_off_or_forbidden(void **state)
{
    side *client = side_new(true), *server = side_new(false);
    (void)state;
    client->config.park_ms = 5000;
    server->config.park_ms = UINT32_MAX;
    pair p = pair_of(client, server);
    rest(p);
    assert_false(is_parked(client));
    assert_int_equal(side_sweep(client, 3500), WEIR_OK);
    assert_true(is_parked(client));
    assert_int_equal(side_sweep(server, 100000), WEIR_OK);
    assert_false(is_parked(server));
    pair_free(p);
}

static void what_a_peer_says_wakes_a_parked_connection(void **state)
{
    static const uint8_t table_and_streams[] = { 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 9 };
    static const struct {
        uint8_t type;
        uint32_t stream;
        const void *payload;
        size_t n;
        uint8_t answer; /* the type of the frame that follows; 0: none does */
    } cases[] = {
        { FRAME_PING, 0, "12345678", 8, FRAME_PING },
        { FRAME_WINDOW_UPDATE, 0, "\0\0\1\0", 4, 0 },
        { FRAME_SETTINGS, 0, table_and_streams, sizeof table_and_streams, FRAME_SETTINGS },
        { FRAME_RST_STREAM, 1, "\0\0\0\10", 4, 0 },
        { FRAME_PRIORITY, 1, "\0\0\0\0\0", 5, 0 },
        { FRAME_WINDOW_UPDATE, 1, "\0\0\1\0", 4, 0 }, /* of a stream that is over */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pair p = pair_new();
        frames f = { 0 };
        call(p);
        rest_parked(p);
        put_frame(&f, cases[i].type, 0, cases[i].stream, cases[i].payload, cases[i].n);
        assert_int_equal(side_feed(p.server, f.at, f.len), WEIR_OK);
        assert_false(is_parked(p.server));
        assert_int_equal(side_output(p.server), WEIR_OK);
        assert_int_equal(p.server->out.len > 0, cases[i].answer != 0);
        if (cases[i].answer != 0)
            assert_int_equal((uint8_t)p.server->out.at[3], cases[i].answer);
        if (cases[i].type != FRAME_SETTINGS) /* our client knows nothing of it */
            call(p);
        assert_int_equal(side_sweep(p.server, 999), WEIR_OK);
        assert_false(is_parked(p.server)); /* it has come a moment ago */
        rest(p);
        assert_true(is_parked(p.server));
        free(f.at);
        pair_free(p);
    }
}

/* Wherever a frame is cut: what was read of it is kept. */
static void a_frame_in_pieces_may_rest_between_them(void **state)
{
    pair p = pair_new();
    (void)state;
    call(p);
    for (size_t at = 1; at < 60; at++) {
        rig_exchange *x = rig_open(p.client, true);
        assert_int_equal(side_output(p.client), WEIR_OK);
        size_t n = p.client->out.len < at ? p.client->out.len : at;
        assert_int_equal(side_feed(p.server, p.client->out.at, n), WEIR_OK);
        assert_int_equal(side_sweep(p.server, 1500), WEIR_OK);
        assert_true(n >= 9 || is_parked(p.server)); /* then it is a stream */
        assert_int_equal(side_feed(p.server, p.client->out.at + n, p.client->out.len - n), WEIR_OK);
        pump(p.client, p.server);
        assert_int_equal(x->status, WEIR_OK);
    }
    pair_free(p);
}

static void a_goaway_ends_a_parked_connection(void **state)
{
    pair p = pair_new();
    (void)state;
    call(p);
    rest_parked(p);
    weir_http_session_drain(p.server->session);
    assert_false(is_parked(p.server));
    assert_true(side_hand(p.server, p.client, 5));
    assert_false(is_parked(p.client));
    assert_int_equal(side_sweep(p.server, 1500), WEIR_OK);
    assert_false(is_parked(p.server)); /* it is not to last */
    pump(p.client, p.server);
    assert_true(weir_http_session_is_over(p.client->session));
    assert_true(weir_http_session_is_over(p.server->session));
    pair_free(p);
}

static void a_parked_client_knows_what_it_may_open(void **state)
{
    side *client = side_new(true), *server = side_new(false);
    (void)state;
    server->config.exchanges_max = 7;
    pair p = pair_of(client, server);
    rest_parked(p);
    assert_int_equal(weir_http_session_openable(client->session), 7);
    assert_false(weir_http_session_is_closing(client->session));
    assert_false(weir_http_session_is_over(client->session));
    assert_false(weir_http_session_wants_output(client->session));
    assert_true(weir_http_session_wants_input(client->session));
    assert_true(is_parked(client));
    assert_int_equal(weir_http_session_output(client->session, &client->out, 100, client->now_ns),
                     WEIR_OK);
    assert_int_equal(client->out.len, 0);
    assert_false(is_parked(client)); /* nghttp2 was asked */
    rest_parked(p);
    weir_http_session_drain(client->session);
    assert_int_equal(weir_http_session_openable(client->session), 0);
    pump(client, server);
    assert_true(weir_http_session_is_over(server->session));
    pair_free(p);
}

static void a_parked_connection_is_closed_after_its_time(void **state)
{
    pair p = pair_new();
    (void)state;
    call(p);
    rest_parked(p);
    assert_int_equal(side_sweep(p.server, 290000), WEIR_OK);
    assert_true(is_parked(p.server));
    assert_int_equal(side_sweep(p.server, 20000), WEIR_OK);
    pump(p.client, p.server);
    assert_true(weir_http_session_is_over(p.server->session));
    assert_true(weir_http_session_is_over(p.client->session));
    pair_free(p);
}

static void a_parked_connection_is_kept_alive_and_cut_off(void **state)
{
    side *client = side_new(true), *server = side_new(false);
    (void)state;
    server->config.keepalive_ms = 10000;
    server->config.keepalive_idle = true;
    pair p = pair_of(client, server);
    rest_parked(p);
    assert_int_equal(side_sweep(server, 10000), WEIR_OK);
    assert_true(side_hand(server, client, SIZE_MAX / 2));
    assert_int_equal(server->out.at[3], FRAME_PING);
    pump(client, server);
    rest_parked(p);
    assert_int_equal(side_sweep(server, 10000), WEIR_OK);
    assert_int_equal(side_output(server), WEIR_OK); /* and nobody answers */
    assert_int_equal(side_sweep(server, 5000), WEIR_OK);
    assert_false(is_parked(server));
    assert_int_equal(side_sweep(server, 20000), WEIR_EDEADLINE);
    assert_int_equal(side_output(server), WEIR_EDEADLINE);
    assert_int_equal(server->out.at[3], FRAME_GOAWAY);
    assert_memory_equal(server->out.at + 9, "\0\0\0\0", 4);
    pair_free(p);
}

static void nonsense_to_a_parked_connection_is_told_its_last_stream(void **state)
{
    pair p = pair_new();
    frames f = { 0 };
    (void)state;
    call(p);
    call(p);
    rest_parked(p);
    put_frame(&f, FRAME_PING, 0, 0, "123", 3);
    (void)!side_feed(p.server, f.at, f.len);
    assert_int_equal(side_output(p.server), WEIR_EPROTO);
    assert_int_equal(p.server->out.at[3], FRAME_GOAWAY);
    assert_memory_equal(p.server->out.at + 9, "\0\0\0\3", 4);
    free(f.at);
    pair_free(p);
}

static void the_peers_end_while_parked_is_the_end(void **state)
{
    pair p = pair_new();
    (void)state;
    call(p);
    rest_parked(p);
    weir_http_session_eof(p.server->session, WEIR_OK);
    weir_http_session_eof(p.client->session, WEIR_ECLOSED);
    assert_false(weir_http_session_wants_output(p.server->session));
    assert_true(weir_http_session_is_over(p.server->session));
    pair_free(p); /* as they are */
}

static void without_memory_for_its_image_it_is_not_parked(void **state)
{
    pair p = pair_new();
    (void)state;
    size_t first = call(p);
    p.server->memory.fail_at = p.client->memory.fail_at = 1;
    p.server->memory.for_good = p.client->memory.for_good = true;
    rest(p);
    assert_true(p.server->memory.failed && p.client->memory.failed);
    assert_false(is_parked(p.server));
    assert_false(is_parked(p.client));
    p.server->memory.fail_at = p.client->memory.fail_at = 0;
    rest_parked(p);
    p.server->memory.fail_at = 1; /* to wake needs none */
    frames f = { 0 };
    put_frame(&f, FRAME_WINDOW_UPDATE, 0, 0, "\0\0\1\0", 4);
    assert_int_equal(side_feed(p.server, f.at, f.len), WEIR_OK);
    assert_false(is_parked(p.server));
    p.server->memory.fail_at = 0;
    assert_true(call(p) < first / 2);
    free(f.at);
    pair_free(p);
}

/* Runs with the nth allocation of the server failing; false: there were not as many. */
static bool runs_with_failure(size_t nth, bool for_good)
{
    side *client = side_new(true), *server = side_new(false);
    weir_http_pool *pool = weir_http_pool_new(&server->env, 1);
    rig_exchange *x;
    server->config.pool = pool;
    server->answer = true;
    server->memory.fail_at = nth;
    server->memory.for_good = for_good;
    assert_int_equal(side_start(client), WEIR_OK);
    if (side_start(server) == WEIR_OK) {
        for (int i = 0; i < 3; i++) {
            pump(client, server);
            (void)!side_sweep(server, 1500);
            (void)!rig_try_open(client, true, &x);
        }
        pump(client, server);
        (void)!side_sweep(server, 1500);
        weir_http_session_drain(server->session);
        pump(client, server);
    }
    bool failed = server->memory.failed;
    server->memory.fail_at = 0;
    side_close(client);
    side_close(server);
    weir_http_pool_free(pool);
    side_free(client);
    side_free(server);
    return failed;
}

static void every_allocation_may_fail_around_parking(void **state)
{
    size_t nth[2] = { 1, 1 };
    (void)state;
    for (int for_good = 0; for_good < 2; for_good++)
        while (runs_with_failure(nth[for_good], for_good != 0))
            nth[for_good]++;
    assert_true(nth[0] > 20 && nth[1] > 20);
}

/* ---- Many of one pool ---- */

enum { MANY = 300 };

static size_t resident_bytes(void)
{
    size_t all = 0, resident = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    assert_non_null(statm);
    assert_int_equal(fscanf(statm, "%zu %zu", &all, &resident), 2);
    fclose(statm);
    return resident * 4096;
}

/* Each call's notes are larger than what is measured here. */
static void forget(side *s)
{
    while (s->count > 1)
        free(s->x[--s->count]);
}

static void hundreds_are_parked_woken_and_closed_by_chance(void **state)
{
    static pair p[MANY];
    weir_http_pool *clients = weir_http_pool_new(NULL, 1);
    side *memory = side_new(false); /* that of the servers' pool */
    weir_http_pool *servers = weir_http_pool_new(&memory->env, 1);
    uint32_t chance = 1;
    (void)state;
    for (int i = 0; i < MANY; i++) {
        p[i] = (pair){ .client = side_new(true), .server = side_new(false) };
        p[i].client->config.pool = clients;
        p[i].server->config.pool = servers;
        p[i].server->answer = true;
        assert_int_equal(side_start(p[i].client), WEIR_OK);
        assert_int_equal(side_start(p[i].server), WEIR_OK);
        pump(p[i].client, p[i].server);
    }
    for (int i = 0; i < MANY; i++)
        call(p[i]);
    size_t awake = resident_bytes();
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < MANY; i++)
            rest_parked(p[i]);
        if (round == 0 && !IS_SANITIZED) /* 18 KB and 7 KB */
            assert_true(resident_bytes() + (size_t)MANY * 24000 < awake);
        for (int i = 0; i < MANY; i++) {
            chance = chance * 1664525 + 1013904223;
            if ((chance >> 16) % 4 == 0)
                call(p[i]);
            forget(p[i].client);
            forget(p[i].server);
        }
    }
    for (int i = 0; i < MANY; i++) { /* in another order than they came in */
        int at = (i * 7) % MANY;
        side_free(p[at].client);
        side_free(p[at].server);
        weir_http_pool_sweep(servers);
    }
    weir_http_pool_sweep(servers);
    weir_http_pool_sweep(servers);
    assert_int_equal(memory->memory.live, 1); /* the pool itself */
    weir_http_pool_free(servers);
    weir_http_pool_free(clients);
    side_free(memory);
}

/* ---- Two alike, of which one parks whenever it may ---- */

enum { STEPS = 80, ALIKE_SEEDS = 60 };

static uint64_t draw(uint64_t *chance, uint64_t n) /* xorshift64* */
{
    *chance ^= *chance >> 12;
    *chance ^= *chance << 25;
    *chance ^= *chance >> 27;
    return (*chance * 2685821657736338717u >> 11) % n;
}

static pair drawn_pair(uint64_t *chance, bool parks)
{
    side *client = side_new(true), *server = side_new(false);
    client->config.park_ms = server->config.park_ms = parks ? 1 : UINT32_MAX;
    server->config.exchanges_max = 1 + (uint32_t)draw(chance, 5);
    server->config.keepalive_ms = draw(chance, 2) == 0 ? 700 : 0;
    server->config.keepalive_idle = client->config.keepalive_idle = draw(chance, 2) == 0;
    client->config.keepalive_ms = draw(chance, 2) == 0 ? 900 : 0;
    server->config.idle_timeout_ms = draw(chance, 4) == 0 ? 6000 : 0;
    return pair_of(client, server);
}

/* A frame that a peer may always send, to the server. */
static void drawn_frame(pair p, uint64_t kind)
{
    frames f = { 0 };
    if (kind == 0)
        put_frame(&f, FRAME_PING, 0, 0, "12345678", 8);
    else if (kind == 1)
        put_u32_frame(&f, FRAME_WINDOW_UPDATE, 0, 100);
    else
        put_frame(&f, FRAME_SETTINGS, 0, 0, kind == 2 ? "\0\1\0\0\1\0" : "\0\1\0\0\20\0", 6);
    if (p.server->failed == WEIR_OK)
        (void)!side_feed(p.server, f.at, f.len);
    free(f.at);
}

static void drawn_act(pair p, uint64_t *chance)
{
    rig_exchange *x = NULL;
    uint64_t act = draw(chance, 20), one = draw(chance, 1000), much = draw(chance, 3000);
    side *s = one % 2 == 0 ? p.client : p.server;
    if (s->count > 0)
        x = s->x[one % s->count];
    if (act < 8)
        (void)!rig_try_open(p.client, much % 2 == 0, &x);
    else if (act < 10 && x != NULL && x->exchange != NULL && s == p.client)
        (void)!rig_write(x->exchange, x->body, much);
    else if (act < 13 && x != NULL && x->exchange != NULL)
        (void)!weir_http_exchange_end(x->exchange, NULL, 0);
    else if (act == 13 && x != NULL && x->exchange != NULL)
        weir_http_exchange_reset(x->exchange, WEIR_ECANCELED, H2_CANCEL);
    else if (act == 14 && one < 100)
        weir_http_session_drain(s->session);
    else if (act > 16)
        drawn_frame(p, much % 4);
}

/* Hands over what both say, which must be the same. */
static void hand_alike(pair a, pair b, bool to_server, size_t step)
{
    side *from[] = { to_server ? a.client : a.server, to_server ? b.client : b.server };
    side *to[] = { to_server ? a.server : a.client, to_server ? b.server : b.client };
    assert_int_equal(side_output(from[0]), side_output(from[1]));
    assert_int_equal(from[0]->out.len, from[1]->out.len);
    if (from[0]->out.len > 0)
        assert_memory_equal(from[0]->out.at, from[1]->out.at, from[0]->out.len);
    for (int i = 0; i < 2; i++)
        for (size_t at = 0, n; at < from[i]->out.len && to[i]->failed == WEIR_OK; at += n) {
            n = from[i]->out.len - at < step ? from[i]->out.len - at : step;
            (void)!side_feed(to[i], from[i]->out.at + at, n);
            (void)!side_sweep(to[i], 0);
        }
}

static void were_told_alike(const side *a, const side *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_string_equal(a->x[i]->head, b->x[i]->head);
        assert_string_equal(a->x[i]->trailers, b->x[i]->trailers);
        assert_int_equal(a->x[i]->body_bytes, b->x[i]->body_bytes);
        assert_int_equal(a->x[i]->overs, b->x[i]->overs);
        assert_int_equal(a->x[i]->status, b->x[i]->status);
        assert_int_equal(a->x[i]->code, b->x[i]->code);
    }
}

static int alike_parked;

static void run_alike(uint64_t seed)
{
    uint64_t chance[2] = { seed * 2654435761u + 1, seed * 2654435761u + 1 };
    pair p[2] = { drawn_pair(&chance[0], true), drawn_pair(&chance[1], false) };
    for (int step = 0; step < STEPS; step++) {
        uint64_t ms = 0, cut = 0;
        for (int i = 0; i < 2; i++) {
            drawn_act(p[i], &chance[i]);
            ms = draw(&chance[i], 3) == 0 ? draw(&chance[i], 2000) : 2;
            cut = 1 + draw(&chance[i], draw(&chance[i], 2) == 0 ? 12 : 4000);
        }
        hand_alike(p[0], p[1], true, cut);
        hand_alike(p[0], p[1], false, cut);
        assert_int_equal(side_sweep(p[0].client, ms), side_sweep(p[1].client, ms));
        assert_int_equal(side_sweep(p[0].server, ms), side_sweep(p[1].server, ms));
        alike_parked += is_parked(p[0].client) + is_parked(p[0].server);
        assert_false(is_parked(p[1].client) || is_parked(p[1].server));
    }
    were_told_alike(p[0].client, p[1].client);
    were_told_alike(p[0].server, p[1].server);
    pair_free(p[0]);
    pair_free(p[1]);
}

static void one_that_parks_at_every_chance_says_what_one_that_never_does_says(void **state)
{
    (void)state;
    alike_parked = 0;
    uint64_t seeds = effort(ALIKE_SEEDS);
    for (uint64_t seed = 1; seed <= seeds; seed++)
        run_alike(seed);
    print_message("parked at the end of %d turns\n", alike_parked);
    assert_true(alike_parked > 3 * (int)seeds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_idle_connection_is_parked_and_answers_as_before),
        cmocka_unit_test(a_connection_in_use_is_not_parked),
        cmocka_unit_test(one_whose_settings_are_not_acknowledged_is_not_parked),
        cmocka_unit_test(parking_may_be_put_off_or_forbidden),
        cmocka_unit_test(what_a_peer_says_wakes_a_parked_connection),
        cmocka_unit_test(a_frame_in_pieces_may_rest_between_them),
        cmocka_unit_test(a_goaway_ends_a_parked_connection),
        cmocka_unit_test(a_parked_client_knows_what_it_may_open),
        cmocka_unit_test(a_parked_connection_is_closed_after_its_time),
        cmocka_unit_test(a_parked_connection_is_kept_alive_and_cut_off),
        cmocka_unit_test(nonsense_to_a_parked_connection_is_told_its_last_stream),
        cmocka_unit_test(the_peers_end_while_parked_is_the_end),
        cmocka_unit_test(without_memory_for_its_image_it_is_not_parked),
        cmocka_unit_test(every_allocation_may_fail_around_parking),
        cmocka_unit_test(hundreds_are_parked_woken_and_closed_by_chance),
        cmocka_unit_test(one_that_parks_at_every_chance_says_what_one_that_never_does_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
