/* A connection's HTTP/2 on nghttp2: its making, bytes in and out, times, and what nghttp2 tells. */
#include "http2_session.h"

enum {
    SERVER_DEFLATE_BYTES = 1024, /* of a server's dynamic table: few fields come again */
    QUEUED_PER_EXCHANGE = 8,
    GOAWAY_BYTES = 8
};
#define LINGER_NS (1000 * WI_HTTP_MS)

weir_status wi_http2_fail(wi_http2 *h2, weir_status status, uint32_t code, const char *why)
{
    if (h2->session->failed == WEIR_OK)
        h2->goaway_code = code;
    return wi_http_session_fail(h2->session, status, why);
}

static weir_status fail_by(wi_http2 *h2, int rv)
{
    switch (rv) {
    case NGHTTP2_ERR_NOMEM:
    case NGHTTP2_ERR_CALLBACK_FAILURE: /* has failed already, and said why */
        return wi_http2_fail(h2, WEIR_ENOMEM, NGHTTP2_INTERNAL_ERROR, "out of memory");
    case NGHTTP2_ERR_FLOODED:
        return wi_http2_fail(h2, WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM,
                             "too many frames that want an answer");
    case NGHTTP2_ERR_BAD_CLIENT_MAGIC:
        return wi_http2_fail(h2, WEIR_EPROTO, NGHTTP2_PROTOCOL_ERROR, "not HTTP/2's preface");
    default:
        return wi_http2_fail(h2, WEIR_EPROTO, NGHTTP2_PROTOCOL_ERROR, nghttp2_strerror(rv));
    }
}

int wi_http2_go_on(wi_http2 *h2)
{
    if (h2->starved)
        (void)fail_by(h2, NGHTTP2_ERR_NOMEM);
    return h2->session->failed == WEIR_OK ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

/* ---- What nghttp2 tells ---- */

static int on_begin_headers(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    static const nghttp2_extpri in_turn = { NGHTTP2_EXTPRI_DEFAULT_URGENCY, 1 };
    wi_http2 *h2 = user;
    int32_t stream = frame->hd.stream_id;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        wi_http2_exchange *x = (wi_http2_exchange *)wi_http_exchange_new(h2->session);
        if (x == NULL)
            return fail_by(h2, NGHTTP2_ERR_NOMEM), NGHTTP2_ERR_CALLBACK_FAILURE;
        x->stream = stream;
        h2->recent = x;
        nghttp2_session_set_stream_user_data(ng, stream, x);
        nghttp2_session_change_extpri_stream_priority(ng, stream, &in_turn, 1);
    }
    return wi_http2_block_begin(h2, frame);
}

/* nghttp2 resets a stream whose window is overrun, and tells the bytes nevertheless. A peer that
 * has not yet read our SETTINGS may take the window to be the initial one. */
static bool in_window(const wi_http2 *h2, const wi_http2_exchange *x, size_t n)
{
    size_t window = h2->session->config.stream_window_bytes;
    if (window < NGHTTP2_INITIAL_WINDOW_SIZE)
        window = NGHTTP2_INITIAL_WINDOW_SIZE;
    return x->base.unconsumed + x->unreturned + n <= window;
}

static int on_data_chunk(nghttp2_session *ng, uint8_t flags, int32_t stream, const uint8_t *bytes,
                         size_t n, void *user)
{
    wi_http2 *h2 = user;
    int rv = nghttp2_session_consume_connection(ng, n);
    if (rv != 0) {
        fail_by(h2, rv);
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    wi_http2_exchange *x = wi_http2_exchange_of(h2, stream);
    if (x != NULL && x->counts && !x->finished && n > x->expected) {
        x->expected = 0;
        return wi_http2_reject(h2, stream);
    }
    if (x != NULL && !x->finished && in_window(h2, x, n)) {
        x->expected -= x->counts ? n : 0;
        x->last_data = (flags & NGHTTP2_FLAG_END_STREAM) != 0;
        wi_http_tell_body(&x->base, (const char *)bytes, n);
    }
    return wi_http2_go_on(h2);
}

static int on_data_frame(wi_http2 *h2, const nghttp2_frame *frame)
{
    bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (!ends && frame->data.padlen > 0 && frame->hd.length == frame->data.padlen)
        wi_http2_count_control(h2);
    wi_http2_exchange *x = ends ? wi_http2_exchange_of(h2, frame->hd.stream_id) : NULL;
    if (x == NULL || x->finished)
        return 0;
    /* Who has read his answer may leave the rest out: curl does when it is refused. */
    if (x->counts && x->expected > 0 && !wi_http2_is_held(x))
        return wi_http2_reject(h2, x->stream);
    wi_http_tell_end(&x->base, NULL, 0);
    if (x->base.ended)
        wi_http2_resume(x); /* it was held */
    return 0;
}

/* Whoever has answered it has read our first GOAWAY, and opens no more: the last word may be said.
 */
static const uint8_t drain_ping[8] = "drained?";

static void on_ping(wi_http2 *h2, const nghttp2_ping *frame)
{
    if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && h2->session->drains == 1 &&
        memcmp(frame->opaque_data, drain_ping, sizeof drain_ping) == 0)
        weir_http_session_drain(h2->session);
}

static int on_frame_recv(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    wi_http2 *h2 = user;
    (void)ng;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
        if (on_data_frame(h2, frame) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        break;
    case NGHTTP2_HEADERS:
        if (wi_http2_on_headers(h2, frame) != 0)
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        break;
    case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0)
            h2->settings_ns = 0;
        else
            h2->settings_received = true;
        break;
    case NGHTTP2_GOAWAY:
        h2->goaway_received = true;
        break;
    case NGHTTP2_PING:
        on_ping(h2, &frame->ping);
        break;
    default:
        break;
    }
    return wi_http2_go_on(h2);
}

/* Tells the peer to stop with a request that was answered. */
static void stop_request(wi_http2 *h2, int32_t stream)
{
    int rv = nghttp2_submit_rst_stream(h2->ng, NGHTTP2_FLAG_NONE, stream, NGHTTP2_NO_ERROR);
    if (rv != 0)
        fail_by(h2, rv);
}

/* Ours is out. A peer that is still at its request gets a moment to read that before it is told to
 * stop, which RFC 9113 section 8.1 allows: curl, up to 7.88 at least, drops a complete answer with
 * RST_STREAM behind it, and forgets one that is complete before it has sent its body: see
 * wi_http2_is_held. */
static void on_end_sent(wi_http2 *h2, int32_t stream)
{
    if (h2->session->config.is_client)
        return;
    wi_http2_exchange *x = wi_http2_exchange_of(h2, stream);
    if ((x != NULL && x->base.peer_ended) ||
        nghttp2_session_get_stream_remote_close(h2->ng, stream))
        return;
    if (x == NULL) {
        stop_request(h2, stream);
    } else if (!x->base.peer_ended) { /* or it ends beneath this very call */
        x->finished = true;
        x->finished_ns = h2->session->now_ns;
    }
}

static void look_at_finished(wi_http2 *h2, uint64_t now)
{
    for (weir_http_exchange *e = h2->session->first; e != NULL; e = e->next) {
        wi_http2_exchange *x = (wi_http2_exchange *)e;
        if (e->was_reset || !e->ended || e->peer_ended || now - x->finished_ns < LINGER_NS)
            continue;
        x->finished_ns = now;
        if (x->finished) {
            stop_request(h2, x->stream);
        } else if (wi_http2_is_held(x)) {
            x->waited = true;
            wi_http2_resume(x);
        }
    }
}

static void on_reset_sent(wi_http2 *h2, const nghttp2_frame *frame)
{
    void *user = nghttp2_session_get_stream_user_data(h2->ng, frame->hd.stream_id);
    wi_http2_exchange *x = user == &wi_http2_disowned ? NULL : user;
    if (user == &wi_http2_disowned || (x != NULL && x->finished))
        return;
    if (x != NULL)
        x->violated = true;
    if (x != NULL ? !x->has_head : frame->rst_stream.error_code == NGHTTP2_REFUSED_STREAM)
        wi_http_tell_refused(h2->session);
    wi_http2_count_violation(h2, frame->rst_stream.error_code);
}

static int on_frame_send(nghttp2_session *ng, const nghttp2_frame *frame, void *user)
{
    wi_http2 *h2 = user;
    (void)ng;
    switch (frame->hd.type) {
    case NGHTTP2_DATA:
    case NGHTTP2_HEADERS:
        wi_http2_earn(h2, frame->hd.length);
        if ((frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0)
            on_end_sent(h2, frame->hd.stream_id);
        break;
    case NGHTTP2_RST_STREAM:
        on_reset_sent(h2, frame);
        break;
    case NGHTTP2_GOAWAY: /* of nghttp2's own making, if for an error */
        if (frame->goaway.error_code == NGHTTP2_NO_ERROR)
            break;
        h2->goaway_said = true;
        /* One that leaves is no offender: grpc-go's last GOAWAY names a stream of its own. */
        (void)wi_http2_fail(h2, h2->guard.goaway ? WEIR_ECLOSED : WEIR_EPROTO,
                            frame->goaway.error_code,
                            nghttp2_http2_strerror(frame->goaway.error_code));
        break;
    default:
        break;
    }
    return frame->hd.type == NGHTTP2_GOAWAY ? 0 : wi_http2_go_on(h2);
}

/* A head of ours that nghttp2 cannot say. */
static int on_frame_not_send(nghttp2_session *ng, const nghttp2_frame *frame, int why, void *user)
{
    wi_http2 *h2 = user;
    (void)ng;
    if (frame->hd.type != NGHTTP2_HEADERS || why == NGHTTP2_ERR_STREAM_CLOSED ||
        why == NGHTTP2_ERR_STREAM_CLOSING || why == NGHTTP2_ERR_START_STREAM_NOT_ALLOWED)
        return 0;
    wi_http2_exchange *x = wi_http2_exchange_of(h2, frame->hd.stream_id);
    if (x != NULL)
        weir_http_exchange_reset(&x->base, WEIR_ELIMIT, NGHTTP2_INTERNAL_ERROR);
    return 0;
}

static int on_stream_close(nghttp2_session *ng, int32_t stream, uint32_t code, void *user)
{
    wi_http2 *h2 = user;
    wi_http2_exchange *x = wi_http2_exchange_of(h2, stream);
    if (h2->block.stream == stream)
        wi_http2_block_end(h2);
    if (x == NULL)
        return 0;
    (void)ng;
    weir_status status = WEIR_ECANCELED;
    if (x->violated)
        status = WEIR_EPROTO;
    else if (x->finished || (x->base.peer_ended && code == NGHTTP2_NO_ERROR))
        status = WEIR_OK;
    else if (code == NGHTTP2_REFUSED_STREAM)
        status = WEIR_EUNAVAILABLE;
    wi_http_exchange_over(&x->base, status, code);
    return 0;
}

/* ---- Making and freeing ---- */

static void *ng_malloc(size_t n, void *user)
{
    wi_http2 *h2 = user;
    void *memory = h2->makes ? wi_http_pool_cut(&h2->slot, n) : NULL;
    if (memory == NULL)
        memory = wi_http_pool_take(h2->session->pool, n);
    if (memory != NULL)
        return memory;
    h2->starved = true;
    return wi_http_pool_take_reserve(h2->session->pool, n);
}

static void ng_free(void *memory, void *user)
{
    wi_http2 *h2 = user;
    if (memory != NULL)
        wi_http_pool_give(h2->session->pool, memory);
}

static void *ng_calloc(size_t n, size_t each, void *user)
{
    void *memory = n != 0 && each > SIZE_MAX / n ? NULL : ng_malloc(n * each, user);
    if (memory != NULL)
        memset(memory, 0, n * each);
    return memory;
}

/* nghttp2 (lib/nghttp2_frame.h, NGHTTP2_FRAMEBUF_CHUNKLEN) has a buffer of a frame's size, which
 * it fills within nghttp2_session_mem_send, and of which nothing is needed any more once what that
 * gave was copied: so all sessions of a server have the same. Further ones for long heads, and
 * that of clients, where the preface waits in it, are their own. */
enum { FRAME_BUFFER = WI_FRAME_HEAD + 1 + 16384 };

static void *ng_realloc(void *memory, size_t n, void *user)
{
    wi_http2 *h2 = user;
    void *moved = NULL;
    if (h2->makes && memory == NULL)
        moved = n == FRAME_BUFFER && !h2->session->config.is_client
                    ? wi_http_pool_borrow(h2->session->pool, n)
                    : wi_http_pool_cut(&h2->slot, n);
    if (moved == NULL)
        moved = weir_memory_resize(h2->session->env, memory, n);
    if (moved != NULL || n == 0)
        return moved;
    h2->starved = true;
    moved = wi_http_pool_take_reserve(h2->session->pool, n);
    if (moved == NULL || memory == NULL)
        return moved;
    size_t had = wi_http_pool_bytes(memory);
    memcpy(moved, memory, had < n ? had : n); /* of a large block: what fits in here */
    wi_http_pool_give(h2->session->pool, memory);
    return moved;
}

static ssize_t frame_bytes(nghttp2_session *ng, uint8_t type, int32_t stream,
                           int32_t connection_window, int32_t stream_window, uint32_t frame_max,
                           void *user)
{
    wi_http2 *h2 = user;
    uint32_t max = h2->session->config.frame_bytes_max;
    (void)ng;
    (void)type;
    (void)stream;
    (void)connection_window;
    (void)stream_window;
    return max < frame_max ? max : frame_max;
}

static nghttp2_session_callbacks *new_callbacks(const weir_http_session_config *config)
{
    nghttp2_session_callbacks *c;
    if (nghttp2_session_callbacks_new(&c) != 0)
        return NULL;
    nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(c, wi_http2_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
    nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(c, on_frame_not_send);
    nghttp2_session_callbacks_set_on_stream_close_callback(c, on_stream_close);
    nghttp2_session_callbacks_set_send_data_callback(c, wi_http2_send_data);
    if (config->frame_bytes_max != 16 * 1024)
        nghttp2_session_callbacks_set_data_source_read_length_callback(c, frame_bytes);
    return c;
}

static nghttp2_option *new_option(const weir_http_session_config *config)
{
    nghttp2_option *o;
    if (nghttp2_option_new(&o) != 0)
        return NULL;
    nghttp2_option_set_no_auto_window_update(o, 1);
    nghttp2_option_set_no_closed_streams(o, 1);
    nghttp2_option_set_max_outbound_ack(o, config->control_burst);
    if (!config->is_client)
        nghttp2_option_set_no_http_messaging(o, 1); /* http2_session_rules.c does that */
    if (!config->is_client)
        nghttp2_option_set_max_deflate_dynamic_table_size(o, SERVER_DEFLATE_BYTES);
#if WEIR_NGHTTP2_RESET_RATE
    nghttp2_option_set_stream_reset_rate_limit(o, UINT32_MAX, UINT32_MAX);
#endif
#if WEIR_NGHTTP2_CONTINUATIONS
    nghttp2_option_set_max_continuations(o, (size_t)config->continuations_max + 1);
#endif
    return o;
}

static int make(wi_http2 *h2)
{
    const weir_http_session_config *config = &h2->session->config;
    nghttp2_mem mem = { h2, ng_malloc, ng_free, ng_calloc, ng_realloc };
    nghttp2_session_callbacks *callbacks = new_callbacks(config);
    nghttp2_option *option = new_option(config);
    int rv = NGHTTP2_ERR_NOMEM;
    h2->makes = true;
    if (callbacks != NULL && option != NULL)
        rv = (config->is_client ? nghttp2_session_client_new3 : nghttp2_session_server_new3)(
            &h2->ng, callbacks, h2, option, &mem);
    h2->makes = false;
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return rv;
}

static wi_http_slots *slots_of(const wi_http2 *h2)
{
    return wi_http_pool_slots(h2->session->pool, h2->session->config.is_client);
}

/* In a slot, if somebody sweeps its pool. How large one must be shows the first session of a pool:
 * it is made twice. */
static int new_session(wi_http2 *h2)
{
    wi_http_slots *slots = slots_of(h2);
    if (!h2->session->owns_pool && slots->bytes == 0) {
        int rv = make(h2);
        if (rv != 0 || h2->starved)
            return rv;
        nghttp2_session_del(h2->ng);
        slots->bytes = (h2->slot.used + 15) & ~(size_t)15;
    }
    if (!h2->session->owns_pool)
        wi_http_slot_take(slots, &h2->slot);
    int rv = make(h2);
    if (rv != 0)
        wi_http_slot_give(slots, &h2->slot);
    return rv;
}

static void delete_session(wi_http2 *h2)
{
    wi_http2_wake(h2);
    nghttp2_session_del(h2->ng);
    wi_http_slot_give(slots_of(h2), &h2->slot);
}

static int submit_settings(wi_http2 *h2)
{
    const weir_http_session_config *c = &h2->session->config;
    const nghttp2_settings_entry entries[] = {
        { NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, c->stream_window_bytes },
        { NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, c->head_bytes_max },
        { NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, c->is_client ? 0 : c->exchanges_max },
        { NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
        { NGHTTP2_SETTINGS_ENABLE_PUSH, 0 }, /* a client's only */
    };
    size_t n = sizeof entries / sizeof *entries - (c->is_client ? 0 : 1);
    int rv = nghttp2_submit_settings(h2->ng, NGHTTP2_FLAG_NONE, entries, n);
    if (rv != 0)
        return rv;
    return nghttp2_session_set_local_window_size(h2->ng, NGHTTP2_FLAG_NONE, 0,
                                                 (int32_t)c->connection_window_bytes);
}

static weir_status start(weir_http_session *session)
{
    wi_http2 *h2 = weir_memory_new(session->env, sizeof *h2);
    if (h2 == NULL)
        return WEIR_ENOMEM;
    h2->session = session;
    h2->goaway_code = NGHTTP2_INTERNAL_ERROR;
    h2->received_ns = h2->idle_ns = session->now_ns;
    wi_http2_guard_init(h2);
    int rv = new_session(h2);
    if (rv != 0)
        goto fail_new;
    rv = submit_settings(h2);
    if (rv == 0 && h2->starved)
        rv = NGHTTP2_ERR_NOMEM;
    if (rv != 0)
        goto fail_settings;
    session->impl = h2;
    return WEIR_OK;

fail_settings:
    delete_session(h2);
fail_new:
    weir_memory_free(session->env, h2);
    return rv == NGHTTP2_ERR_NOMEM ? WEIR_ENOMEM : WEIR_EINVAL;
}

static void done(weir_http_session *session)
{
    wi_http2 *h2 = wi_http2_of(session);
    wi_http2_block_end(h2);
    delete_session(h2);
    weir_memory_free(session->env, h2);
}

/* ---- Bytes ---- */

/* What nghttp2 has queued is answers to the peer, which does not read them. */
static bool queue_over(const wi_http2 *h2)
{
    const weir_http_session_config *c = &h2->session->config;
    size_t max = (size_t)c->control_burst + c->violations_burst + c->resets_burst +
                 (size_t)QUEUED_PER_EXCHANGE * ((size_t)c->exchanges_max + h2->session->exchanges);
    return nghttp2_session_get_outbound_queue_size(h2->ng) > max;
}

static weir_status feed(weir_http_session *session, const char *bytes, size_t n,
                        size_t *ret_consumed)
{
    wi_http2 *h2 = wi_http2_of(session);
    size_t good;
    h2->received_ns = session->now_ns;
    h2->ping_out = false;
    *ret_consumed = n;
    wi_http2_wake(h2);
    wi_http2_verdict verdict = wi_http2_guard_look(h2, bytes, n, &good);
    if (good > 0) {
        ssize_t rv = nghttp2_session_mem_recv(h2->ng, (const uint8_t *)bytes, good);
        if (rv < 0)
            return fail_by(h2, (int)rv);
        if (wi_http2_go_on(h2) != 0)
            return session->failed;
    }
    if (verdict.status != WEIR_OK)
        return wi_http2_fail(h2, verdict.status, verdict.code, verdict.why);
    if (queue_over(h2))
        return wi_http2_fail(h2, WEIR_ELIMIT, NGHTTP2_ENHANCE_YOUR_CALM,
                             "what it makes us answer is not read");
    return session->failed;
}

static bool wants_input(const weir_http_session *session)
{
    (void)session;
    return true;
}

static void put32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

/* The last word, which no lack of memory in nghttp2 keeps us from. */
static weir_status say_goaway(wi_http2 *h2, weir_bytes *out)
{
    const char *why = h2->session->why;
    size_t n = strlen(why);
    uint8_t frame[WI_FRAME_HEAD + GOAWAY_BYTES] = { [3] = NGHTTP2_GOAWAY };
    frame[1] = (uint8_t)((n + GOAWAY_BYTES) >> 8);
    frame[2] = (uint8_t)(n + GOAWAY_BYTES);
    bool is_client = h2->session->config.is_client;
    put32(frame + WI_FRAME_HEAD,
          is_client ? 0 : (uint32_t)nghttp2_session_get_last_proc_stream_id(h2->ng));
    put32(frame + WI_FRAME_HEAD + 4, h2->goaway_code);
    h2->goaway_said = true;
    weir_status status = weir_bytes_reserve(out, sizeof frame + n);
    if (status != WEIR_OK)
        return status;
    memcpy(out->at + out->len, frame, sizeof frame);
    memcpy(out->at + out->len + sizeof frame, why, n);
    out->len += sizeof frame + n;
    return WEIR_OK;
}

/* The next frame of nghttp2's, or several of DATA. False: there is none, for now. */
static bool next_frame(wi_http2 *h2, weir_bytes *out)
{
    const uint8_t *bytes;
    ssize_t n = nghttp2_session_mem_send(h2->ng, &bytes);
    if (n < 0) {
        fail_by(h2, (int)n);
        return false;
    }
    if (n > 0 && weir_bytes_append(out, bytes, (size_t)n) != WEIR_OK)
        fail_by(h2, NGHTTP2_ERR_NOMEM);
    return wi_http2_go_on(h2) == 0 && n > 0;
}

static weir_status output(weir_http_session *session, weir_bytes *out, size_t bytes_max)
{
    wi_http2 *h2 = wi_http2_of(session);
    wi_http2_wake(h2);
    h2->out = out;
    h2->out_end = bytes_max > SIZE_MAX - out->len ? SIZE_MAX : out->len + bytes_max;
    if (!h2->settings_said && !h2->starved) { /* whatever follows, SETTINGS comes first */
        h2->settings_said = true;
        h2->settings_ns = session->now_ns;
        if (next_frame(h2, out) && session->config.is_client)
            (void)next_frame(h2, out);
    }
    if (session->failed == WEIR_OK)
        while (out->len < h2->out_end && next_frame(h2, out))
            ;
    h2->out = NULL;
    if (session->failed != WEIR_OK && !h2->goaway_said)
        (void)say_goaway(h2, out);
    return session->failed;
}

static bool wants_output(const weir_http_session *session)
{
    const wi_http2 *h2 = wi_http2_of(session);
    if (session->failed != WEIR_OK)
        return !h2->goaway_said;
    return !wi_http2_is_parked(h2) && nghttp2_session_want_write(h2->ng) != 0;
}

/* ---- Ending and times ---- */

static void drain(weir_http_session *session)
{
    wi_http2 *h2 = wi_http2_of(session);
    int rv;
    wi_http2_wake(h2);
    if (session->drains == 1 && !session->config.is_client) {
        rv = nghttp2_submit_shutdown_notice(h2->ng);
        if (rv == 0)
            rv = nghttp2_submit_ping(h2->ng, NGHTTP2_FLAG_NONE, drain_ping);
    } else if (session->config.is_client && session->drains > 1) {
        rv = 0;
    } else {
        rv = nghttp2_submit_goaway(h2->ng, NGHTTP2_FLAG_NONE,
                                   nghttp2_session_get_last_proc_stream_id(h2->ng),
                                   NGHTTP2_NO_ERROR, NULL, 0);
    }
    if (rv != 0)
        fail_by(h2, rv);
}

static bool is_over(const weir_http_session *session)
{
    const wi_http2 *h2 = wi_http2_of(session);
    if (h2->goaway_received)
        return true;
    if (wi_http2_is_parked(h2))
        return false;
    if (session->config.is_client)
        return session->drains > 0 || !nghttp2_session_check_request_allowed(h2->ng);
    return session->drains > 1;
}

static void ping(wi_http2 *h2, uint64_t now)
{
    const weir_http_session_config *c = &h2->session->config;
    if (c->keepalive_ms == 0 || (h2->session->exchanges == 0 && !c->keepalive_idle))
        return;
    if (h2->ping_out) {
        if (now - h2->ping_ns > c->keepalive_timeout_ms * WI_HTTP_MS)
            (void)wi_http2_fail(h2, WEIR_EDEADLINE, NGHTTP2_NO_ERROR, "no answer to a PING");
        return;
    }
    if (now - h2->received_ns < c->keepalive_ms * WI_HTTP_MS)
        return;
    wi_http2_wake(h2);
    int rv = nghttp2_submit_ping(h2->ng, NGHTTP2_FLAG_NONE, NULL);
    if (rv != 0)
        fail_by(h2, rv);
    h2->ping_out = true;
    h2->ping_ns = now;
    h2->session->keepalives++;
}

static void look_at_idle(wi_http2 *h2, uint64_t now)
{
    weir_http_session *session = h2->session;
    uint32_t timeout = session->config.idle_timeout_ms;
    if (session->exchanges > 0)
        h2->idle_ns = now;
    if (timeout == UINT32_MAX || now - h2->idle_ns <= timeout * WI_HTTP_MS)
        return;
    while (session->drains < 2 && session->failed == WEIR_OK)
        weir_http_session_drain(session);
}

/* Nothing is under way, nothing is to be sent or to be heard, and nothing was for a while. */
static bool may_park(const wi_http2 *h2, uint64_t now)
{
    const weir_http_session *session = h2->session;
    uint64_t quiet_ns = session->config.park_ms * WI_HTTP_MS;
    if (h2->slot.piece == NULL || wi_http2_is_parked(h2) || session->exchanges > 0 ||
        session->config.park_ms == UINT32_MAX)
        return false;
    if (now - h2->idle_ns < quiet_ns || now - h2->received_ns < quiet_ns)
        return false;
    if (session->failed != WEIR_OK || session->drains > 0 || h2->ping_out || h2->starved ||
        h2->settings_ns != 0 || !h2->settings_received || h2->block.stream != 0)
        return false;
    return !nghttp2_session_want_write(h2->ng) && !is_over(session);
}

static void park(wi_http2 *h2)
{
    h2->openable_max = nghttp2_session_get_remote_settings(h2->ng,
                                                           NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    (void)wi_http_slot_park(slots_of(h2), &h2->slot);
}

static weir_status sweep(weir_http_session *session)
{
    wi_http2 *h2 = wi_http2_of(session);
    uint64_t now = session->now_ns, timeout = session->config.header_timeout_ms * WI_HTTP_MS;
    if (!h2->settings_received && now - session->start_ns > timeout)
        return wi_http2_fail(h2, WEIR_EDEADLINE, NGHTTP2_PROTOCOL_ERROR, "no preface in time");
    if (h2->settings_ns != 0 && now - h2->settings_ns > timeout)
        return wi_http2_fail(h2, WEIR_EDEADLINE, NGHTTP2_SETTINGS_TIMEOUT,
                             "SETTINGS were not acknowledged in time");
    if (h2->block.stream != 0 && now - h2->block.start_ns > timeout)
        return wi_http2_fail(h2, WEIR_EDEADLINE, NGHTTP2_ENHANCE_YOUR_CALM,
                             "a head was not complete in time");
    look_at_finished(h2, now);
    ping(h2, now);
    look_at_idle(h2, now);
    if (may_park(h2, now))
        park(h2);
    return session->failed;
}

/* As many as the peer allows at once, less those under way. */
static uint32_t openable(const weir_http_session *session)
{
    const wi_http2 *h2 = wi_http2_of(session);
    uint32_t max = wi_http2_is_parked(h2) ? h2->openable_max
                                          : nghttp2_session_get_remote_settings(
                                                h2->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return session->exchanges < max ? max - session->exchanges : 0;
}

const wi_http_ops wi_http2_ops = {
    .version = WEIR_HTTP_2,
    .exchange_bytes = sizeof(wi_http2_exchange),
    .start = start,
    .done = done,
    .feed = feed,
    .wants_input = wants_input,
    .output = output,
    .wants_output = wants_output,
    .drain = drain,
    .is_over = is_over,
    .sweep = sweep,
    .openable = openable,
    .open = wi_http2_open,
    .respond = wi_http2_respond,
    .written = wi_http2_written,
    .end = wi_http2_end,
    .consume = wi_http2_consume,
    .reset = wi_http2_reset,
    .exchange_done = wi_http2_exchange_done,
};
