/* A channel against servers that lie: frames written by hand, over HTTP/2. Each call ends, once and
 * with a code; connecting again is bounded by the backoff. */
#include "rpc_client_rig.h"

/* ---- A server of bytes ---- */

enum { FDS = 256, SEEN = 1 << 16 };

static struct {
    int listener, fds[FDS], accepted;
    bool told[FDS];
    const char *hello, *answer; /* as it accepts; as a HEADERS frame has come */
    size_t hello_bytes, answer_bytes;
    bool closes_at_once, closes_behind;
    char seen[FDS][4096];
    size_t n[FDS];
} liar;

static void loop_only(rig *r)
{
    r->clock_ns = WEIR_SEC;
    r->env = (weir_env){ .allocator = r->allocator, .now_ns = rig_now, .user = &r->clock_ns };
    r->loop = weir_loop_new(&(weir_loop_config){ .env = &r->env });
}

static void liar_begin(rig *r)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof at;
    memset(r, 0, sizeof *r);
    memset(&liar, 0, sizeof liar);
    r->fds = server_count_fds();
    loop_only(r);
    liar.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(liar.listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(liar.listener, 64), 0);
    assert_int_equal(getsockname(liar.listener, (struct sockaddr *)&at, &len), 0);
    r->port = ntohs(at.sin_port);
}

static void liar_closes(int i)
{
    if (liar.fds[i] >= 0)
        close(liar.fds[i]);
    liar.fds[i] = -1;
}

static void liar_says(int i, const char *bytes, size_t n)
{
    if (n > 0)
        (void)!send(liar.fds[i], bytes, n, MSG_NOSIGNAL);
}

/* Whether the preface is followed by a frame of HEADERS. */
static bool asked(int i)
{
    size_t at = 24;
    while (at + 9 <= liar.n[i]) {
        const uint8_t *frame = (const uint8_t *)liar.seen[i] + at;
        if (frame[3] == 1)
            return true;
        at += 9 + ((size_t)frame[0] << 16 | (size_t)frame[1] << 8 | frame[2]);
    }
    return false;
}

static void liar_turn(void)
{
    int fd = accept(liar.listener, NULL, NULL);
    if (fd >= 0) {
        assert_true(liar.accepted < FDS);
        liar.fds[liar.accepted++] = fd;
        liar_says(liar.accepted - 1, liar.hello, liar.hello_bytes);
        if (liar.closes_at_once)
            liar_closes(liar.accepted - 1);
    }
    for (int i = 0; i < liar.accepted; i++) {
        if (liar.fds[i] < 0)
            continue;
        ssize_t n = recv(liar.fds[i], liar.seen[i] + liar.n[i], sizeof liar.seen[i] - liar.n[i],
                         MSG_DONTWAIT);
        liar.n[i] += n > 0 ? (size_t)n : 0;
        if (n == 0) {
            liar_closes(i);
        } else if (!liar.told[i] && asked(i)) {
            liar.told[i] = true;
            liar_says(i, liar.answer, liar.answer_bytes);
            if (liar.closes_behind)
                liar_closes(i);
        }
    }
}

static void liar_end(rig *r, weir_rpc_channel *channel)
{
    weir_rpc_channel_free(channel);
    turns(r, 5);
    weir_loop_free(r->loop);
    for (int i = 0; i < liar.accepted; i++)
        liar_closes(i);
    close(liar.listener);
    assert_int_equal(server_count_fds(), r->fds);
}

#define SAYS(field, text) (liar.field = (text), liar.field##_bytes = sizeof(text) - 1)
#define SETTINGS          "\0\0\0\4\0\0\0\0\0"
#define GOAWAY(last)      "\0\0\x08\7\0\0\0\0\0\0\0\0" last "\0\0\0\0"

/* ---- Connecting again and again ---- */

static int accepted_within(const char *hello, size_t n, bool closes, uint64_t ms)
{
    rig r;
    caller c;
    liar_begin(&r);
    liar.hello = hello;
    liar.hello_bytes = n;
    liar.closes_at_once = closes;
    weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ 0 });
    ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .wait_for_ready = true });
    for (uint64_t i = 0; i < ms && liar.accepted < FDS - 1; i++) {
        if (c.overs > 0) {
            assert_int_not_equal(c.code, WEIR_RPC_OK);
            ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .wait_for_ready = true });
        }
        for (int j = 0; j < 5; j++) {
            liar_turn();
            turn(&r);
        }
        r.clock_ns += WEIR_MS;
    }
    if (c.overs == 0)
        weir_rpc_cancel(c.call);
    TURN_UNTIL(&r, c.overs > 0);
    liar_end(&r, channel);
    return liar.accepted;
}

#define ACCEPTED(text, closes, ms) accepted_within(text, sizeof(text) - 1, closes, ms)

/* The backoff of 1, 2, 4, 8 s, a fifth less at most, makes 4 in 9 s, and one for chance. */
static void connecting_again_is_bounded_however_a_server_takes_its_leave(void **state)
{
    (void)state;
    assert_in_range(ACCEPTED("", true, 9000), 1, 5);
    assert_in_range(ACCEPTED(SETTINGS, true, 9000), 1, 5);
    assert_in_range(ACCEPTED("HTTP/1.1 400 No\r\n\r\n", false, 9000), 1, 5);
    assert_in_range(ACCEPTED(SETTINGS GOAWAY("\0"), false, 9000), 1, 5);
    assert_in_range(ACCEPTED(SETTINGS GOAWAY("\0"), true, 9000), 1, 5);
    assert_in_range(ACCEPTED(SETTINGS GOAWAY("\177"), false, 9000), 1, 5);
}

/* ---- Answers that are none ---- */

typedef struct lie {
    const char *bytes;
    size_t n;
    bool closes; /* behind it */
    bool waits;  /* up to the deadline */
} lie;

#define LIE(text)  text, sizeof(text) - 1
#define STATUS_200 "\x88"
#define TYPE           \
    "\0\x0c"           \
    "content-type\x10" \
    "application/grpc" /* literals, not indexed */
#define OK_0        \
    "\0\x0b"        \
    "grpc-status\1" \
    "0"

static const lie lies[] = {
    { LIE("\0\0\x1\1\4\0\0\0\3" STATUS_200), false, false },          /* never opened */
    { LIE("\0\0\x1\1\4\0\0\0\2" STATUS_200), false, false },          /* of our own making */
    { LIE("\0\0\x1\1\4\0\0\0\0" STATUS_200), false, false },          /* of no stream */
    { LIE("\0\0\4\0\0\0\0\0\1abcd"), false, false },                  /* body without a head */
    { LIE("\0\0\4\3\0\0\0\0\1\0\0\0\1"), false, false },              /* PROTOCOL_ERROR */
    { LIE("\0\0\4\3\0\0\0\0\1\0\0\0\0"), false, false },              /* NO_ERROR, no answer */
    { LIE("\0\0\4\3\0\0\0\0\1\xff\xff\xff\xff"), false, false },      /* an unknown code */
    { LIE("\0\0\4\x8\0\0\0\0\0\0\0\0\0"), false, false },             /* a window by 0 */
    { LIE("\0\0\4\x8\0\0\0\0\0\x7f\xff\xff\xff"), false, false },     /* a window overflows */
    { LIE("\0\0\4\x8\0\0\0\0\1\x7f\xff\xff\xff"), false, false },     /* the stream's */
    { LIE("\0\0\x6\4\0\0\0\0\0\0\4\xff\xff\xff\xff"), false, false }, /* INITIAL_WINDOW_SIZE */
    { LIE("\0\0\x6\4\0\0\0\0\0\0\5\0\0\0\1"), false, false },         /* MAX_FRAME_SIZE of 1 */
    { LIE("\0\0\5\4\0\0\0\0\0\0\4\0\0\0"), false, false },            /* not a multiple of 6 */
    { LIE("\xff\xff\xff\0\0\0\0\0\1"), false, false },                /* a frame of 16 MiB */
    { LIE("\0\0\x4\5\4\0\0\0\1\0\0\0\2"), false, false },             /* PUSH_PROMISE */
    { LIE("\0\0\1\1\4\0\0\0\1\xff"), false, false },                 /* HPACK of an index too far */
    { LIE("\0\0\1\x9\4\0\0\0\1" STATUS_200), false, false },         /* CONTINUATION of nothing */
    { LIE("\0\0\1\1\0\0\0\0\1" STATUS_200 SETTINGS), false, false }, /* a head interrupted */
    { LIE("\0\0\1\1\5\0\0\0\1" STATUS_200), false, false },        /* no content-type, no status */
    { LIE("\0\0\x20\1\5\0\0\0\1" STATUS_200 TYPE), false, false }, /* no grpc-status */
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE                   /* and then none behind */
          "\0\0\0\0\1\0\0\0\1"),
      false, false },
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE /* OK without a message */
          "\0\0\x0f\1\5\0\0\0\1" OK_0),
      false, false },
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE /* a status that is none */
          "\0\0\x0f\1\5\0\0\0\1\0\x0b"
          "grpc-status\1"
          "x"),
      false, false },
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE /* half a message */
          "\0\0\6\0\1\0\0\0\1\0\0\0\0\x9"
          "a"),
      false, false },
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE /* 4 GiB of message */
          "\0\0\5\0\0\0\0\0\1\0\xff\xff\xff\xff"),
      false, false },
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE /* compressed, and it is not */
          "\0\0\x9\0\0\0\0\0\1\1\0\0\0\4abcd"),
      false, false },
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE), true, false }, /* reset in the middle */
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE "\0\0\x9"), true, false },
    { LIE("\0\0\1\1\4\0\0\0\1\x8d"
          "\0\0\4\0\0\0\0\0\1abcd" /* 404 with a body */
          "\0\0\0\0\1\0\0\0\1"),
      false, false },
    { LIE("\0\0\x20\1\4\0\0\0\1"
          "\x8e" TYPE /* 500, of gRPC, a body */
          "\0\0\x9\0\1\0\0\0\1\0\0\0\0\4abcd"),
      false, false },
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE /* a head, again */
          "\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE),
      false, false },
    { LIE(GOAWAY("\0")), false, false },
    { LIE(GOAWAY("\0")), true, false },
    { LIE(GOAWAY("\1")), true, false },
    { LIE(GOAWAY("\1") GOAWAY("\177")), true, false },
    { LIE("\0\0\3\7\0\0\0\0\0abc"), false, false },               /* GOAWAY too short */
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE), false, true }, /* and then silence */
    { LIE(GOAWAY("\1")), false, true },
    { LIE("\0\0\x20\1\4\0\0\0\1" STATUS_200 TYPE "\0\0\5\0\0\0\0\0\1\0\0\0\0\x9"), false, true },
};

static void every_lie_ends_the_call(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        rig r;
        caller c;
        liar_begin(&r);
        SAYS(hello, SETTINGS);
        liar.answer = lies[i].bytes;
        liar.answer_bytes = lies[i].n;
        liar.closes_behind = lies[i].closes;
        weir_rpc_channel *channel = channel_of(&r, (weir_rpc_channel_config){ .gzip = true });
        ask(&c, &r, channel, "x", 0, &(weir_rpc_options){ .timeout_ms = 5000 });
        for (uint64_t ms = 0; ms < 600 && c.overs == 0; ms++) {
            for (int j = 0; j < 4; j++) {
                liar_turn();
                turn(&r);
            }
            r.clock_ns += 10 * WEIR_MS;
        }
        if (c.overs != 1 || c.code == WEIR_RPC_OK ||
            (c.code == WEIR_RPC_DEADLINE_EXCEEDED) != lies[i].waits)
            fail_msg("lie %zu: over %d times: %s: %s", i, c.overs, weir_rpc_code_name(c.code),
                     c.error);
        assert_in_range(liar.accepted, 1, 3);
        liar_end(&r, channel);
    }
}

int main(int argc, char **argv)
{
    if (argc > 1) /* only those */
        cmocka_set_test_filter(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connecting_again_is_bounded_however_a_server_takes_its_leave),
        cmocka_unit_test(every_lie_ends_the_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
