/* HTTP/2 sessions and peers that mean harm: raw frames, each rule at its threshold. */
#include "http2_frames.h"
#include "http_session_rig.h"

/* A server, and the frames that a hand has written for it. */
typedef struct hand {
    side *s;
    frames f;
    frames said; /* all that the server said */
} hand;

static hand *hand_of(side *s)
{
    hand *h = calloc(1, sizeof *h);
    h->s = s;
    assert_int_equal(side_start(s), WEIR_OK);
    assert_int_equal(side_output(s), WEIR_OK); /* SETTINGS */
    put(&h->said, s->out.at, s->out.len);
    put_preface(&h->f);
    put_frame(&h->f, FRAME_SETTINGS, ACK, 0, NULL, 0);
    return h;
}

static hand *hand_new(void)
{
    return hand_of(side_new(false));
}

/* Feeds what was written, then takes what the server says. */
static weir_status send_all(hand *h)
{
    weir_status status = side_feed(h->s, h->f.at, h->f.len);
    h->f.len = 0;
    weir_status after = side_output(h->s);
    put(&h->said, h->s->out.at, h->s->out.len);
    return status != WEIR_OK ? status : after;
}

static void hand_free(hand *h)
{
    side_free(h->s);
    free(h->f.at);
    free(h->said.at);
    free(h);
}

static size_t said(const hand *h, uint8_t type, uint32_t stream, seen_frame *ret_last)
{
    size_t at = 0, n = 0;
    seen_frame frame;
    while (next_frame(h->said.at, h->said.len, &at, &frame))
        if (frame.type == type && frame.stream == stream) {
            n++;
            *ret_last = frame;
        }
    assert_int_equal(at, h->said.len);
    return n;
}

/* It was cut off, by a GOAWAY with that code. */
static void assert_cut_off(hand *h, uint32_t code)
{
    seen_frame goaway;
    assert_int_not_equal(h->s->failed, WEIR_OK);
    assert_int_equal(said(h, FRAME_GOAWAY, 0, &goaway), 1);
    assert_int_equal(read32(goaway.payload + 4), code);
    assert_true(weir_http_session_is_over(h->s->session));
    assert_string_not_equal(weir_http_session_why(h->s->session), "");
}

static void assert_stream_reset(hand *h, uint32_t stream, uint32_t code)
{
    seen_frame reset;
    assert_int_equal(said(h, FRAME_RST_STREAM, stream, &reset), 1);
    assert_int_equal(read32(reset.payload), code);
}

/* ---- Floods: what the budget holds passes, one more does not ---- */

enum { BURST = 5 };

static side *tight(void)
{
    side *s = side_new(false);
    s->config.resets_burst = s->config.violations_burst = s->config.control_burst = BURST;
    s->config.resets_per_second = s->config.violations_per_second = 1;
    s->config.control_per_second = 1;
    return s;
}

typedef void write_one(hand *h, uint32_t n);

static void assert_flood_ends(write_one *write)
{
    hand *h = hand_of(tight());
    assert_int_equal(send_all(h), WEIR_OK);
    for (uint32_t i = 0; i < BURST; i++) {
        write(h, i);
        assert_int_equal(send_all(h), WEIR_OK);
    }
    h->s->now_ns += (uint64_t)1000 * RIG_MS; /* one more */
    write(h, BURST);
    assert_int_equal(send_all(h), WEIR_OK);
    write(h, BURST + 1);
    assert_int_equal(send_all(h), WEIR_ELIMIT);
    assert_cut_off(h, H2_ENHANCE_YOUR_CALM);
    hand_free(h);
}

/* All in one read: what is fine is told, then it is cut off. */
static void assert_flood_ends_at_once(write_one *write)
{
    hand *h = hand_of(tight());
    for (uint32_t i = 0; i <= BURST; i++)
        write(h, i);
    assert_int_equal(send_all(h), WEIR_ELIMIT);
    assert_cut_off(h, H2_ENHANCE_YOUR_CALM);
    hand_free(h);
}

static void open_and_reset(hand *h, uint32_t n)
{
    put_request(&h->f, 2 * n + 1, 0);
    put_u32_frame(&h->f, FRAME_RST_STREAM, 2 * n + 1, H2_CANCEL);
}

static void rapid_reset_is_cut_off(void **state)
{
    (void)state;
    assert_flood_ends(open_and_reset);
    assert_flood_ends_at_once(open_and_reset);
}

static void ping(hand *h, uint32_t n)
{
    (void)n;
    put_frame(&h->f, FRAME_PING, 0, 0, "12345678", 8);
}

static void settings(hand *h, uint32_t n)
{
    (void)n;
    put_frame(&h->f, FRAME_SETTINGS, 0, 0, NULL, 0);
}

static void priority(hand *h, uint32_t n)
{
    (void)n;
    put_frame(&h->f, FRAME_PRIORITY, 0, 7, "\0\0\0\0\1", 5);
}

static void window_update(hand *h, uint32_t n)
{
    (void)n;
    put_u32_frame(&h->f, FRAME_WINDOW_UPDATE, 0, 1);
}

static void unknown_frame(hand *h, uint32_t n)
{
    (void)n;
    put_frame(&h->f, 0xee, 0, 0, "?", 1);
}

static void pong(hand *h, uint32_t n)
{
    (void)n;
    put_frame(&h->f, FRAME_PING, ACK, 0, "12345678", 8);
}

static void empty_data(hand *h, uint32_t n)
{
    if (n == 0)
        put_request(&h->f, 1, 0);
    put_frame(&h->f, FRAME_DATA, 0, 1, NULL, 0);
}

static void padding_alone(hand *h, uint32_t n)
{
    if (n == 0)
        put_request(&h->f, 1, 0);
    put_frame(&h->f, FRAME_DATA, PADDED, 1, "\3\0\0\0", 4);
}

static void floods_of_control_frames_are_cut_off(void **state)
{
    static write_one *const floods[] = { ping,          settings, priority,   window_update,
                                         unknown_frame, pong,     empty_data, padding_alone };
    (void)state;
    for (size_t i = 0; i < sizeof floods / sizeof *floods; i++) {
        assert_flood_ends(floods[i]);
        assert_flood_ends_at_once(floods[i]);
    }
}

/* What makes us reset streams ("MadeYouReset", CVE-2025-8671). */
static void window_overflow(hand *h, uint32_t n)
{
    put_request(&h->f, 2 * n + 1, 0);
    put_u32_frame(&h->f, FRAME_WINDOW_UPDATE, 2 * n + 1, 0x7fffffff);
}

static void too_little_body(hand *h, uint32_t n)
{
    frames block = { 0 };
    put_pseudo(&block);
    put_field(&block, "content-length", "5");
    put_frame(&h->f, FRAME_HEADERS, END_HEADERS, 2 * n + 1, block.at, block.len);
    put_frame(&h->f, FRAME_DATA, END_STREAM, 2 * n + 1, "abc", 3);
    free(block.at);
}

static void too_much_body(hand *h, uint32_t n)
{
    frames block = { 0 };
    put_pseudo(&block);
    put_field(&block, "content-length", "2");
    put_frame(&h->f, FRAME_HEADERS, END_HEADERS, 2 * n + 1, block.at, block.len);
    put_frame(&h->f, FRAME_DATA, 0, 2 * n + 1, "abc", 3);
    free(block.at);
}

static void upper_case(hand *h, uint32_t n)
{
    frames block = { 0 };
    put_pseudo(&block);
    put_field(&block, "X-Upper", "5");
    put_frame(&h->f, FRAME_HEADERS, END_HEADERS, 2 * n + 1, block.at, block.len);
    free(block.at);
}

static void who_makes_us_reset_streams_is_cut_off(void **state)
{
    static write_one *const ways[] = { too_little_body, too_much_body, upper_case };
    (void)state;
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        assert_flood_ends(ways[i]);
        assert_flood_ends_at_once(ways[i]);
    }
    side *s = tight();
    s->config.control_burst = 100; /* WINDOW_UPDATE counts there, too */
    hand *h = hand_of(s);
    for (uint32_t i = 0; i < BURST; i++) {
        window_overflow(h, i);
        assert_int_equal(send_all(h), WEIR_OK);
        assert_stream_reset(h, 2 * i + 1, H2_FLOW_CONTROL_ERROR);
        assert_int_equal(s->x[i]->status, WEIR_EPROTO);
    }
    window_overflow(h, BURST);
    assert_int_equal(send_all(h), WEIR_ELIMIT);
    assert_cut_off(h, H2_ENHANCE_YOUR_CALM);
    hand_free(h);
}

/* `burst` pass at once, and the next is cut off; or `behind_ms` later one more passes, and then
 * not.
 */
static void assert_budget(write_one *write, uint32_t burst, uint32_t behind_ms)
{
    side *s = side_new(false);
    hand *h = hand_of(s);
    uint32_t n = 0;
    for (; n < burst; n++) {
        write(h, n);
        assert_int_equal(send_all(h), WEIR_OK);
    }
    if (behind_ms != 0) {
        s->now_ns += (uint64_t)behind_ms * RIG_MS;
        write(h, n++);
        assert_int_equal(send_all(h), WEIR_OK);
    }
    write(h, n);
    assert_int_equal(send_all(h), WEIR_ELIMIT);
    assert_cut_off(h, H2_ENHANCE_YOUR_CALM);
    hand_free(h);
}

/* In each second as many as 33 more, and in 30 ms none. */
static void assert_refilled(write_one *write, uint32_t burst)
{
    side *s = side_new(false);
    hand *h = hand_of(s);
    uint32_t n = 0;
    for (uint32_t second = 0; second < 3; second++) {
        for (uint32_t i = 0; i < (second == 0 ? burst : 33); i++) {
            write(h, n++);
            assert_int_equal(send_all(h), WEIR_OK);
        }
        s->now_ns += (uint64_t)1000 * RIG_MS;
    }
    s->now_ns -= (uint64_t)970 * RIG_MS;
    write(h, n);
    assert_int_equal(send_all(h), WEIR_ELIMIT);
    hand_free(h);
}

static void the_default_budgets_of_resets_are_1000_and_100_and_33_a_second(void **state)
{
    static const struct {
        write_one *write;
        uint32_t burst;
    } budgets[] = { { open_and_reset, 1000 }, { too_little_body, 100 } };
    (void)state;
    for (size_t i = 0; i < sizeof budgets / sizeof *budgets; i++) {
        assert_budget(budgets[i].write, budgets[i].burst, 0);
        assert_budget(budgets[i].write, budgets[i].burst, 31); /* 1 s / 33 is 30.3 ms */
        assert_refilled(budgets[i].write, budgets[i].burst);
    }
}

static void reset_it(side *s, rig_exchange *x)
{
    (void)s;
    weir_http_exchange_reset(x->exchange, WEIR_EDEADLINE, H2_CANCEL);
    assert_int_equal(x->overs, 0); /* not beneath the call */
}

static void resets_of_our_own_do_not_count_against_the_peer(void **state)
{
    side *s = tight();
    s->on_head = reset_it;
    hand *h = hand_of(s);
    (void)state;
    for (uint32_t i = 0; i < 10 * BURST; i++) {
        put_request(&h->f, 2 * i + 1, 0);
        assert_int_equal(send_all(h), WEIR_OK);
        assert_stream_reset(h, 2 * i + 1, H2_CANCEL);
        assert_int_equal(s->x[i]->status, WEIR_EDEADLINE);
        assert_int_equal(s->x[i]->code, H2_CANCEL);
        assert_int_equal(s->x[i]->overs, 1);
    }
    hand_free(h);
}

static void control_frames_that_answer_ours_are_free(void **state)
{
    side *s = tight();
    s->answer = true;
    hand *h = hand_of(s);
    (void)state;
    for (uint32_t i = 0; i < 10 * BURST; i++) {
        put_request(&h->f, 2 * i + 1, END_STREAM);
        assert_int_equal(send_all(h), WEIR_OK);
        window_update(h, i);
        ping(h, i);
        assert_int_equal(send_all(h), WEIR_OK);
    }
    hand_free(h);
}

/* Readers return what they have read in small steps: Go's does so for each 4 KiB, on the stream and
 * on the connection, and is as far behind as the windows that it opened. */
static void open_by_a_kib(hand *h, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 1024) {
        put_u32_frame(&h->f, FRAME_WINDOW_UPDATE, 0, 1024);
        put_u32_frame(&h->f, FRAME_WINDOW_UPDATE, 1, 1024);
    }
}

static void windows_that_are_opened_as_they_were_used_are_free(void **state)
{
    enum { STEP = 16384, STEPS = 1000 };
    static const char body[STEP];
    (void)state;
    for (int behind = 0; behind < 2; behind++) {
        hand *h = hand_of(tight());
        put_request(&h->f, 1, 0);
        put_u32_frame(&h->f, FRAME_WINDOW_UPDATE, 0, 1 << 30);
        put_u32_frame(&h->f, FRAME_WINDOW_UPDATE, 1, 1 << 30);
        assert_int_equal(send_all(h), WEIR_OK);
        assert_int_equal(rig_respond(h->s->x[0]->exchange, 200, false), WEIR_OK);
        for (int i = 0; i < STEPS; i++) {
            assert_int_equal(rig_write(h->s->x[0]->exchange, body, STEP), WEIR_OK);
            assert_int_equal(send_all(h), WEIR_OK);
            if (!behind)
                open_by_a_kib(h, STEP);
        }
        if (behind)
            open_by_a_kib(h, (size_t)STEP * STEPS);
        assert_int_equal(send_all(h), WEIR_OK);
        hand_free(h);
    }
}

static void answers_that_nobody_reads_are_limited(void **state)
{
    hand *h = hand_new();
    weir_status status = WEIR_OK;
    (void)state;
    for (int i = 0; i < 2000 && status == WEIR_OK; i++) {
        ping(h, 0);
        status = side_feed(h->s, h->f.at, h->f.len);
        h->f.len = 0;
        h->s->now_ns += (uint64_t)5 * RIG_MS; /* slow enough for the rate */
    }
    assert_int_equal(status, WEIR_ELIMIT);
    assert_int_equal(send_all(h), WEIR_ELIMIT);
    assert_cut_off(h, H2_ENHANCE_YOUR_CALM);
    hand_free(h);
}

/* ---- Heads ---- */

static void continuations(hand *h, uint32_t stream, int n)
{
    frames block = { 0 };
    put_pseudo(&block);
    put_frame(&h->f, FRAME_HEADERS, END_STREAM, stream, block.at, block.len);
    for (int i = 1; i <= n; i++)
        put_frame(&h->f, FRAME_CONTINUATION, i == n ? END_HEADERS : 0, stream, NULL, 0);
    free(block.at);
}

static void eight_continuations_pass_and_nine_do_not(void **state)
{
    hand *h = hand_new();
    (void)state;
    continuations(h, 1, 8);
    continuations(h, 3, 8);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(h->s->count, 2);
    continuations(h, 5, 9);
    assert_int_equal(send_all(h), WEIR_ELIMIT);
    assert_int_equal(h->s->count, 2);
    assert_cut_off(h, H2_ENHANCE_YOUR_CALM);
    hand_free(h);
}

/* The status that the server answers to a head with these fields; 0: none, or the head was told. */
static unsigned answer_to(side *s, frames *block, bool *ret_told)
{
    hand *h = hand_of(s);
    seen_frame frame;
    unsigned code = 0;
    while (block->len > 0) {
        size_t n = block->len < 16000 ? block->len : 16000;
        put_frame(&h->f, h->f.len < 100 ? FRAME_HEADERS : FRAME_CONTINUATION,
                  n == block->len ? END_HEADERS : 0, 1, block->at, n);
        memmove(block->at, block->at + n, block->len - n);
        block->len -= n;
    }
    (void)!send_all(h);
    *ret_told = s->count > 0 && s->x[0]->heads > 0;
    if (said(h, FRAME_HEADERS, 1, &frame) == 1) {
        /* size update, then ":status" as a literal of three digits, Huffman or not */
        const uint8_t *p = frame.payload;
        while ((*p & 0xe0) == 0x20)
            p += *p == 0x3f ? 3 : 1;
        code = (*p & 0x80) != 0 ? (*p == 0x8c ? 400 : 200) : 431;
    }
    free(block->at);
    hand_free(h);
    return code;
}

static void a_head_of_just_the_limit_passes_and_more_is_answered_431(void **state)
{
    char value[2000];
    bool told;
    (void)state;
    memset(value, 'x', sizeof value);
    for (size_t more = 0; more < 2; more++) {
        side *s = side_new(false);
        frames block = { 0 };
        s->config.head_bytes_max = 1000;
        put_pseudo(&block); /* 4 * 32 + 11 + 11 + 6 + 11 = 167 */
        put_field_n(&block, "big", value, 1000 - 167 - 32 - 3 + more);
        unsigned code = answer_to(s, &block, &told);
        assert_int_equal(told, more == 0);
        assert_int_equal(code, more == 0 ? 0 : 431);
    }
}

static void as_many_fields_as_allowed_pass_and_one_more_is_answered_431(void **state)
{
    bool told;
    (void)state;
    for (size_t more = 0; more < 2; more++) {
        side *s = side_new(false);
        frames block = { 0 };
        s->config.fields_max = 20;
        put_pseudo(&block);
        for (size_t i = 0; i < 20 + more; i++)
            put_field(&block, "x", "y");
        unsigned code = answer_to(s, &block, &told);
        assert_int_equal(told, more == 0);
        assert_int_equal(code, more == 0 ? 0 : 431);
    }
}

/* A large field put into the table once, then named again and again by one byte (RFC 7541 7.3). */
static void a_bomb_of_indexed_fields_is_cut_off(void **state)
{
    hand *h = hand_new();
    frames block = { 0 };
    char value[3000];
    (void)state;
    memset(value, 'x', sizeof value);
    put_pseudo(&block);
    put(&block, "\x40\x01z", 3);
    put_hpack_length(&block, sizeof value);
    put(&block, value, sizeof value);
    for (int i = 0; i < 1000; i++)
        put(&block, "\xbe", 1);
    put_frame(&h->f, FRAME_HEADERS, END_HEADERS, 1, block.at, block.len);
    assert_int_equal(send_all(h), WEIR_ELIMIT);
    assert_cut_off(h, H2_ENHANCE_YOUR_CALM);
    free(block.at);
    hand_free(h);
}

static void bad_heads_reset_their_stream(void **state)
{
    static const char *const bad[][2] = {
        { "Upper", "x" },
        { "connection", "close" },
        { "te", "gzip" },
        { "upgrade", "h2c" },
        { "transfer-encoding", "chunked" },
        { "keep-alive", "1" },
        { "sp ace", "x" },
        { "x", "a\r\nb: c" },
        { ":late", "x" },
        { "content-length", "x" },
        { ":path", "/twice" },
        { "", "x" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        hand *h = hand_new();
        frames block = { 0 };
        put_pseudo(&block);
        put_field(&block, bad[i][0], bad[i][1]);
        put_frame(&h->f, FRAME_HEADERS, END_HEADERS, 1, block.at, block.len);
        assert_int_equal(send_all(h), WEIR_OK);
        assert_stream_reset(h, 1, H2_PROTOCOL_ERROR);
        assert_int_equal(h->s->x[0]->heads, 0);
        assert_int_equal(h->s->x[0]->status, WEIR_EPROTO);
        free(block.at);
        hand_free(h);
    }
}

static void a_host_or_a_length_among_trailers_resets_the_stream(void **state)
{
    static const char *const names[] = { "host", "content-length", ":path", "x" };
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        hand *h = hand_new();
        frames block = { 0 };
        seen_frame frame;
        put_request(&h->f, 1, 0);
        put_field(&block, names[i], "0");
        put_frame(&h->f, FRAME_HEADERS, END_HEADERS | END_STREAM, 1, block.at, block.len);
        assert_int_equal(send_all(h), WEIR_OK);
        if (i < 3)
            assert_stream_reset(h, 1, H2_PROTOCOL_ERROR);
        else
            assert_int_equal(said(h, FRAME_RST_STREAM, 1, &frame), 0);
        assert_int_equal(h->s->x[0]->ends, i < 3 ? 0 : 1);
        free(block.at);
        hand_free(h);
    }
}

static void connect_and_two_hosts_are_answered_400(void **state)
{
    bool told;
    frames connect = { 0 }, hosts = { 0 };
    (void)state;
    put_field(&connect, ":method", "CONNECT");
    put_field(&connect, ":authority", "a:1");
    assert_int_equal(answer_to(side_new(false), &connect, &told), 400);
    assert_false(told);
    put_pseudo(&hosts);
    put_field(&hosts, "host", "b");
    assert_int_equal(answer_to(side_new(false), &hosts, &told), 400);
    assert_false(told);
}

static void a_head_without_a_path_resets_its_stream(void **state)
{
    hand *h = hand_new();
    frames block = { 0 };
    (void)state;
    put_field(&block, ":method", "GET");
    put_field(&block, ":scheme", "http");
    put_field(&block, ":authority", "a");
    put_frame(&h->f, FRAME_HEADERS, END_HEADERS | END_STREAM, 1, block.at, block.len);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_stream_reset(h, 1, H2_PROTOCOL_ERROR);
    free(block.at);
    hand_free(h);
}

/* ---- Streams ---- */

static void a_stream_that_was_skipped_cannot_be_opened(void **state)
{
    hand *h = hand_new();
    (void)state;
    put_request(&h->f, 5, 0);
    put_request(&h->f, 3, 0);
    assert_int_equal(send_all(h), WEIR_EPROTO);
    assert_int_equal(h->s->count, 1);
    assert_cut_off(h, H2_PROTOCOL_ERROR);
    hand_free(h);
}

static void more_streams_than_allowed_are_refused_also_before_the_peer_knows(void **state)
{
    side *s = side_new(false);
    s->config.exchanges_max = 2;
    hand *h = hand_of(s);
    (void)state;
    h->f.len = 0;
    put_preface(&h->f); /* and no acknowledgement */
    for (uint32_t i = 0; i < 3; i++)
        put_request(&h->f, 2 * i + 1, 0);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(s->count, 2);
    assert_stream_reset(h, 5, H2_REFUSED_STREAM);
    put_frame(&h->f, FRAME_SETTINGS, ACK, 0, NULL, 0);
    put_request(&h->f, 7, 0);
    assert_int_equal(send_all(h), WEIR_EPROTO);
    assert_cut_off(h, H2_PROTOCOL_ERROR);
    hand_free(h);
}

/* Each is an error of the connection at once. */
static void assert_ends_connection(hand *h, uint32_t code)
{
    assert_int_equal(send_all(h), WEIR_EPROTO);
    assert_cut_off(h, code);
    hand_free(h);
}

static void errors_of_the_connection_end_it(void **state)
{
    (void)state;
    hand *h = hand_new(); /* after the end of the stream */
    put_request(&h->f, 1, END_STREAM);
    put_frame(&h->f, FRAME_DATA, 0, 1, "x", 1);
    assert_ends_connection(h, H2_STREAM_CLOSED);

    side *s = side_new(false); /* also when the answer is out and the stream forgotten */
    s->answer = true;
    h = hand_of(s);
    put_request(&h->f, 1, END_STREAM);
    assert_int_equal(send_all(h), WEIR_OK);
    put_frame(&h->f, FRAME_DATA, 0, 1, "x", 1);
    assert_ends_connection(h, H2_STREAM_CLOSED);

    h = hand_new(); /* after the peer's own reset */
    open_and_reset(h, 0);
    put_request(&h->f, 1, 0);
    assert_ends_connection(h, H2_STREAM_CLOSED);

    h = hand_new();
    put_frame(&h->f, FRAME_PRIORITY, 0, 0, "12345", 5);
    assert_ends_connection(h, H2_PROTOCOL_ERROR);

    h = hand_new();
    put_request(&h->f, 1, 0);
    put_frame(&h->f, FRAME_PRIORITY, 0, 1, "1234", 4);
    assert_ends_connection(h, H2_FRAME_SIZE_ERROR);

    h = hand_new();
    put_request(&h->f, 1, 0);
    put_u32_frame(&h->f, FRAME_WINDOW_UPDATE, 1, 0);
    assert_ends_connection(h, H2_PROTOCOL_ERROR);

    h = hand_new();
    put_u32_frame(&h->f, FRAME_WINDOW_UPDATE, 0, 0x7fffffff);
    assert_ends_connection(h, H2_FLOW_CONTROL_ERROR);

    h = hand_new();
    put_frame(&h->f, FRAME_HEADERS, END_HEADERS, 1, "\xff\xff\xff\xff\xff\xff", 6);
    assert_ends_connection(h, H2_COMPRESSION_ERROR);

    h = hand_new();
    put_head(&h->f, 16385, FRAME_DATA, 0, 1);
    assert_ends_connection(h, H2_FRAME_SIZE_ERROR);

    h = hand_new();
    put_request(&h->f, 2, 0);
    assert_ends_connection(h, H2_PROTOCOL_ERROR);

    h = hand_new();
    put_frame(&h->f, FRAME_PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2", 4);
    assert_ends_connection(h, H2_PROTOCOL_ERROR);
}

static void bytes_beyond_a_window_end_the_connection_or_reset_the_stream(void **state)
{
    side *s = side_new(false);
    char bytes[16384] = { 0 };
    seen_frame frame;
    s->dont_consume = true;
    hand *h = hand_of(s);
    (void)state;
    put_request(&h->f, 1, 0);
    for (int i = 0; i < 4; i++)
        put_frame(&h->f, FRAME_DATA, 0, 1, bytes, sizeof bytes);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(s->x[0]->body_bytes, 65536);
    put_frame(&h->f, FRAME_DATA, 0, 1, bytes, 1);
    (void)!send_all(h);
    size_t resets = said(h, FRAME_RST_STREAM, 1, &frame);
    size_t goaways = said(h, FRAME_GOAWAY, 0, &frame);
    assert_int_equal(resets + goaways, 1);
    assert_int_equal(s->x[0]->body_bytes, 65536);
    hand_free(h);
}

static void padding_returns_to_the_windows_by_itself(void **state)
{
    hand *h = hand_new();
    uint8_t payload[202] = { 200, 'x' };
    seen_frame frame;
    (void)state;
    put_request(&h->f, 1, 0);
    for (int i = 0; i < 2000; i++) { /* six windows of a stream */
        put_frame(&h->f, FRAME_DATA, PADDED, 1, payload, sizeof payload);
        assert_int_equal(send_all(h), WEIR_OK);
    }
    assert_int_equal(h->s->x[0]->body_bytes, 2000);
    assert_int_equal(said(h, FRAME_RST_STREAM, 1, &frame), 0);
    assert_true(said(h, FRAME_WINDOW_UPDATE, 1, &frame) >= 5);
    hand_free(h);
}

static void resets_that_nobody_reads_are_limited(void **state)
{
    side *s = side_new(false);
    s->config.exchanges_max = 2;
    hand *h = hand_of(s);
    weir_status status = WEIR_OK;
    (void)state;
    h->f.len = 0;
    put_preface(&h->f); /* no acknowledgement: more than two streams are refused one by one */
    for (uint32_t i = 0; i < 3000 && status == WEIR_OK; i++) {
        put_request(&h->f, 2 * i + 1, 0);
        status = side_feed(s, h->f.at, h->f.len);
        h->f.len = 0;
    }
    assert_int_equal(status, WEIR_ELIMIT);
    assert_int_equal(send_all(h), WEIR_ELIMIT);
    assert_cut_off(h, H2_ENHANCE_YOUR_CALM);
    hand_free(h);
}

/* ---- Servers that mean harm ---- */

/* A client with a request out, and its peer's SETTINGS before what a hand writes. */
static hand *client_hand(uint32_t control_burst)
{
    side *s = side_new(true);
    s->config.control_burst = control_burst;
    hand *h = calloc(1, sizeof *h);
    h->s = s;
    assert_int_equal(side_start(s), WEIR_OK);
    (void)rig_open(s, true);
    assert_int_equal(side_output(s), WEIR_OK);
    put(&h->said, s->out.at + 24, s->out.len - 24);
    put_frame(&h->f, FRAME_SETTINGS, 0, 0, NULL, 0);
    return h;
}

static void a_client_takes_no_pushes(void **state)
{
    hand *h = client_hand(0);
    (void)state;
    put_frame(&h->f, FRAME_PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2\x82\x86\x84", 7);
    assert_int_equal(send_all(h), WEIR_EPROTO);
    assert_cut_off(h, H2_PROTOCOL_ERROR);
    hand_free(h);
}

static void interim_responses_without_end_are_cut_off(void **state)
{
    hand *h = client_hand(20);
    frames block = { 0 };
    weir_status status = WEIR_OK;
    int n = 0;
    (void)state;
    put_field(&block, ":status", "103");
    for (; n < 100 && status == WEIR_OK; n++) {
        put_frame(&h->f, FRAME_HEADERS, END_HEADERS, 1, block.at, block.len);
        status = send_all(h);
    }
    assert_int_equal(status, WEIR_ELIMIT);
    assert_in_range(n, 20, 30); /* our own HEADERS and what went before allows some */
    free(block.at);
    hand_free(h);
}

static void a_response_head_too_large_is_given_up(void **state)
{
    hand *h = client_hand(0);
    frames block = { 0 };
    static char value[10000];
    (void)state;
    memset(value, 'x', sizeof value);
    put_field(&block, ":status", "200");
    put_field_n(&block, "a", value, sizeof value);
    put_field_n(&block, "b", value, 6400);
    put_frame(&h->f, FRAME_HEADERS, 0, 1, block.at, 16384);
    put_frame(&h->f, FRAME_CONTINUATION, END_HEADERS, 1, block.at + 16384, block.len - 16384);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(h->s->x[0]->heads, 0);
    assert_int_equal(h->s->x[0]->status, WEIR_ELIMIT);
    assert_stream_reset(h, 1, H2_ENHANCE_YOUR_CALM);
    free(block.at);
    hand_free(h);
}

/* ---- Times ---- */

static weir_status sweep_at(side *s, uint64_t ms)
{
    s->now_ns += ms * RIG_MS;
    return weir_http_session_sweep(s->session, s->now_ns);
}

static void a_preface_that_does_not_come_is_waited_for_ten_seconds(void **state)
{
    hand *h = hand_new();
    (void)state;
    h->f.len = 0;
    put(&h->f, "PRI * HTTP", 10);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(sweep_at(h->s, 10000), WEIR_OK);
    assert_int_equal(sweep_at(h->s, 1), WEIR_EDEADLINE);
    (void)!send_all(h);
    hand_free(h);
}

static void a_head_that_is_not_completed_is_waited_for_ten_seconds(void **state)
{
    hand *h = hand_new();
    (void)state;
    put_head(&h->f, 100, FRAME_HEADERS, END_HEADERS, 1);
    put(&h->f, "\x82", 1);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(sweep_at(h->s, 10000), WEIR_OK);
    assert_int_equal(sweep_at(h->s, 1), WEIR_EDEADLINE);
    (void)!send_all(h);
    assert_cut_off(h, H2_ENHANCE_YOUR_CALM);
    hand_free(h);
}

static void settings_that_are_not_acknowledged_are_waited_for_ten_seconds(void **state)
{
    hand *h = hand_new();
    (void)state;
    h->f.len = 0;
    put_preface(&h->f);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(sweep_at(h->s, 10000), WEIR_OK);
    assert_int_equal(sweep_at(h->s, 1), WEIR_EDEADLINE);
    (void)!send_all(h);
    assert_cut_off(h, H2_SETTINGS_TIMEOUT);
    hand_free(h);
}

static void a_silent_peer_is_pinged_and_then_cut_off(void **state)
{
    side *s = side_new(false);
    seen_frame frame;
    s->config.keepalive_ms = 1000;
    hand *h = hand_of(s);
    (void)state;
    put_request(&h->f, 1, 0);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(sweep_at(s, 999), WEIR_OK);
    assert_false(weir_http_session_wants_output(s->session));
    assert_int_equal(sweep_at(s, 1), WEIR_OK);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(said(h, FRAME_PING, 0, &frame), 1);
    pong(h, 0);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(sweep_at(s, 1000), WEIR_OK);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(said(h, FRAME_PING, 0, &frame), 2);
    assert_int_equal(sweep_at(s, 20000), WEIR_OK);
    assert_int_equal(sweep_at(s, 1), WEIR_EDEADLINE);
    hand_free(h);
}

static void an_idle_connection_is_closed_after_its_time(void **state)
{
    side *s = side_new(false);
    s->answer = true;
    hand *h = hand_of(s);
    seen_frame frame;
    (void)state;
    put_request(&h->f, 1, END_STREAM);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_int_equal(sweep_at(s, 300000), WEIR_OK);
    assert_false(weir_http_session_is_over(s->session));
    assert_int_equal(sweep_at(s, 1), WEIR_OK);
    assert_int_equal(send_all(h), WEIR_OK);
    assert_true(said(h, FRAME_GOAWAY, 0, &frame) >= 1);
    assert_int_equal(read32(frame.payload + 4), H2_NO_ERROR);
    assert_true(weir_http_session_is_over(s->session));
    hand_free(h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rapid_reset_is_cut_off),
        cmocka_unit_test(floods_of_control_frames_are_cut_off),
        cmocka_unit_test(who_makes_us_reset_streams_is_cut_off),
        cmocka_unit_test(the_default_budgets_of_resets_are_1000_and_100_and_33_a_second),
        cmocka_unit_test(resets_of_our_own_do_not_count_against_the_peer),
        cmocka_unit_test(control_frames_that_answer_ours_are_free),
        cmocka_unit_test(windows_that_are_opened_as_they_were_used_are_free),
        cmocka_unit_test(answers_that_nobody_reads_are_limited),
        cmocka_unit_test(eight_continuations_pass_and_nine_do_not),
        cmocka_unit_test(a_head_of_just_the_limit_passes_and_more_is_answered_431),
        cmocka_unit_test(as_many_fields_as_allowed_pass_and_one_more_is_answered_431),
        cmocka_unit_test(a_bomb_of_indexed_fields_is_cut_off),
        cmocka_unit_test(bad_heads_reset_their_stream),
        cmocka_unit_test(a_host_or_a_length_among_trailers_resets_the_stream),
        cmocka_unit_test(connect_and_two_hosts_are_answered_400),
        cmocka_unit_test(a_head_without_a_path_resets_its_stream),
        cmocka_unit_test(a_stream_that_was_skipped_cannot_be_opened),
        cmocka_unit_test(more_streams_than_allowed_are_refused_also_before_the_peer_knows),
        cmocka_unit_test(errors_of_the_connection_end_it),
        cmocka_unit_test(bytes_beyond_a_window_end_the_connection_or_reset_the_stream),
        cmocka_unit_test(padding_returns_to_the_windows_by_itself),
        cmocka_unit_test(resets_that_nobody_reads_are_limited),
        cmocka_unit_test(a_client_takes_no_pushes),
        cmocka_unit_test(interim_responses_without_end_are_cut_off),
        cmocka_unit_test(a_response_head_too_large_is_given_up),
        cmocka_unit_test(a_preface_that_does_not_come_is_waited_for_ten_seconds),
        cmocka_unit_test(a_head_that_is_not_completed_is_waited_for_ten_seconds),
        cmocka_unit_test(settings_that_are_not_acknowledged_are_waited_for_ten_seconds),
        cmocka_unit_test(a_silent_peer_is_pinged_and_then_cut_off),
        cmocka_unit_test(an_idle_connection_is_closed_after_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
