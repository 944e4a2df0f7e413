/* The NATS publisher: an asynchronous stage whose items are done when the server has them.
 *
 * Messages lie encoded, in order, in the link's bytes to send; a ring of records says which bytes
 * are whose. After each turn's messages goes one PING, and its PONG settles all before it. After a
 * loss what is not settled is sent again from those bytes. */
#include <weir/nats.h>

#include "nats_link.h"

#include <weir/async.h>

#include <event2/util.h>

#include <assert.h>
#include <string.h>

#define IN_FLIGHT_DEFAULT     1024u
#define PENDING_BYTES_DEFAULT (4u << 20)
#define SCRATCH_BYTES_DEFAULT 4096u
#define WAIT_MS_DEFAULT       5000u

/* A piece of the stream: a message, or the PING that settles those before it. */
typedef struct record {
    uint64_t at; /* position in the stream */
    uint32_t size;
    bool is_ping;
    weir_op *op;          /* of a message; NULL once its item was given up */
    uint64_t ping_serial; /* of a PING */
} record;

/* Per operation: in the ring, or in the list of those that wait to be encoded. */
typedef struct publish_work {
    weir_op *next, *prev;
    uint64_t index; /* of its record */
    bool waiting;
} publish_work;

typedef struct publisher {
    wi_nats_link link; /* first: the handlers get it back as a publisher */
    weir_stage *stage;
    const weir_nats_config *config;
    record *records;
    uint64_t head, tail; /* records [head, tail), each at its number & mask */
    uint32_t mask;
    weir_op *first_waiting, *last_waiting;
    char *scratch;
    weir_timer patience; /* runs while there is no server to settle anything */
    size_t pending_bytes;
    bool up, unanswered, failing, holding;
} publisher;

static uint32_t value_or(uint32_t value, uint32_t fallback)
{
    return value != 0 ? value : fallback;
}

static publisher *publisher_of(wi_nats_link *link)
{
    return (publisher *)link;
}

static record *record_at(publisher *p, uint64_t index)
{
    return &p->records[index & p->mask];
}

/* ---- Waiting operations, and demand ---- */

static void waiting_push(publisher *p, weir_op *op)
{
    publish_work *work = op->work;
    work->waiting = true;
    work->next = NULL;
    work->prev = p->last_waiting;
    if (p->last_waiting != NULL)
        ((publish_work *)p->last_waiting->work)->next = op;
    else
        p->first_waiting = op;
    p->last_waiting = op;
}

static void waiting_remove(publisher *p, weir_op *op)
{
    publish_work *work = op->work;
    if (work->prev != NULL)
        ((publish_work *)work->prev->work)->next = work->next;
    else
        p->first_waiting = work->next;
    if (work->next != NULL)
        ((publish_work *)work->next->work)->prev = work->prev;
    else
        p->last_waiting = work->prev;
    work->waiting = false;
    work->next = work->prev = NULL;
}

/* While nothing can be encoded no more is asked for; when hope is given up it is, to fail it. */
static void update_demand(publisher *p)
{
    bool hold = !p->failing && (!p->up || p->first_waiting != NULL);
    if (hold == p->holding)
        return;
    p->holding = hold;
    weir_async_limit(p->stage, hold ? 0 : UINT32_MAX);
}

/* ---- Encoding ---- */

static bool has_trace_header(const weir_nats_publication *publication)
{
    for (uint32_t i = 0; i < publication->header_count; i++) {
        weir_nats_text name = publication->headers[i].name;
        if (name.size == 8 && evutil_ascii_strncasecmp(name.data, "Trace-ID", 8) == 0)
            return true;
    }
    return false;
}

/* The trace id as hex; false if there is none. */
static bool trace_hex(const weir_context *context, char out[32])
{
    static const char digits[] = "0123456789abcdef";
    uint8_t any = 0;
    if (context == NULL)
        return false;
    for (size_t i = 0; i < sizeof context->trace.trace_id; i++) {
        uint8_t byte = context->trace.trace_id[i];
        any |= byte;
        out[2 * i] = digits[byte >> 4];
        out[2 * i + 1] = digits[byte & 15];
    }
    return any != 0;
}

static size_t payload_limit(const publisher *p)
{
    size_t limit = value_or(p->config->payload_bytes_max, WEIR_NATS_PAYLOAD_BYTES_MAX);
    uint64_t servers = p->link.max_payload;
    return servers != 0 && servers < limit ? (size_t)servers : limit;
}

/* Puts the message behind those before it. WEIR_EAGAIN: no room for now. */
static weir_status append_message(publisher *p, weir_op *op, const weir_nats_message *message)
{
    size_t limit = payload_limit(p), size, written;
    weir_status status = weir_nats_message_size(message, limit, &size);
    if (status != WEIR_OK)
        return status;
    if (size > p->pending_bytes)
        return WEIR_ELIMIT;
    size_t live = p->link.out.end - p->link.out.start;
    /* The turn's PING wants a record too. */
    if (live + size > p->pending_bytes || p->tail - p->head + 2 > p->mask)
        return WEIR_EAGAIN;
    char *room = wi_nats_out_room(&p->link, size);
    if (room == NULL)
        return WEIR_ENOMEM;
    status = weir_nats_encode_message(message, limit, room, size, &written);
    if (status != WEIR_OK)
        return status;
    record *r = record_at(p, p->tail);
    *r = (record){ .at = wi_nats_out_position(&p->link.out, p->link.out.end),
                   .size = (uint32_t)written,
                   .op = op };
    ((publish_work *)op->work)->index = p->tail++;
    wi_nats_out_commit(&p->link, written);
    p->unanswered = true;
    return WEIR_OK;
}

/* Asks the user what to publish, and encodes that. False: no room, ask again later. */
static bool publish(publisher *p, weir_op *op)
{
    weir_nats_publication publication;
    memset(&publication, 0, sizeof publication);
    publication.scratch = p->scratch;
    publication.scratch_bytes = value_or(p->config->scratch_bytes, SCRATCH_BYTES_DEFAULT);
    weir_status status = p->config->publication(op->item, &publication, p->config->user);
    if (status != WEIR_OK || publication.skip) {
        weir_op_done(op, status, "nats: the callback made no message");
        return true;
    }
    if (publication.header_count > WEIR_NATS_PUBLISH_HEADERS_MAX) {
        weir_op_done(op, WEIR_EINVAL, "nats: too many headers");
        return true;
    }
    weir_nats_header headers[WEIR_NATS_PUBLISH_HEADERS_MAX + 1];
    memcpy(headers, publication.headers, sizeof publication.headers);
    weir_nats_message message = { .subject = publication.subject,
                                  .reply = publication.reply,
                                  .payload = publication.payload,
                                  .headers = headers,
                                  .header_count = publication.header_count };
    char trace[32];
    if (!p->config->no_trace && trace_hex(op->context, trace) && !has_trace_header(&publication)) {
        headers[message.header_count].name = weir_nats_text_of("Trace-ID");
        headers[message.header_count].value = (weir_nats_text){ trace, sizeof trace };
        message.header_count++;
    }
    status = append_message(p, op, &message);
    if (status == WEIR_EAGAIN)
        return false;
    if (status != WEIR_OK)
        weir_op_done(op, status,
                     status == WEIR_ELIMIT ? "nats: the message is over a limit"
                                           : "nats: the message cannot be sent");
    return true;
}

/* The PING that settles what was encoded since the last one. */
static void append_ping(publisher *p)
{
    if (!p->up || !p->unanswered || p->config->done == WEIR_NATS_WRITTEN)
        return;
    uint64_t serial;
    if (!wi_nats_link_ping(&p->link, &serial)) {
        wi_nats_link_lost(&p->link, WEIR_ENOMEM, "nats: no memory to go on");
        return;
    }
    uint32_t size = sizeof WEIR_NATS_PING_LINE - 1;
    *record_at(p, p->tail++) =
        (record){ .at = wi_nats_out_position(&p->link.out, p->link.out.end) - size,
                  .size = size,
                  .is_ping = true,
                  .ping_serial = serial };
    p->unanswered = false;
}

static void publish_waiting(publisher *p)
{
    while (p->up && p->first_waiting != NULL) {
        weir_op *op = p->first_waiting;
        waiting_remove(p, op);
        if (publish(p, op))
            continue;
        /* Back to where it was. */
        publish_work *work = op->work;
        work->waiting = true;
        work->next = p->first_waiting;
        if (p->first_waiting != NULL)
            ((publish_work *)p->first_waiting->work)->prev = op;
        else
            p->last_waiting = op;
        p->first_waiting = op;
        break;
    }
    append_ping(p);
    if (p->up)
        wi_nats_link_kick(&p->link);
    update_demand(p);
}

/* ---- Settling ---- */

static void settle_first(publisher *p, weir_status status, const char *why)
{
    record *r = record_at(p, p->head++);
    weir_op *op = r->op;
    r->op = NULL;
    if (op != NULL)
        weir_op_done(op, status, why);
}

static void release_settled(publisher *p)
{
    /* Never past what was sent: a PONG of ours may lie before the first record. */
    uint64_t position = wi_nats_out_position(&p->link.out, p->link.out.sent);
    if (p->head != p->tail && record_at(p, p->head)->at < position)
        position = record_at(p, p->head)->at;
    wi_nats_out_release(&p->link, position);
}

/* Something got through: the server is there, and takes what we send. */
static void progress(publisher *p)
{
    p->failing = false;
    weir_timer_stop(weir_stage_loop(p->stage), &p->patience);
}

static void on_pong(wi_nats_link *link, uint64_t serial)
{
    publisher *p = publisher_of(link);
    uint64_t index = p->head;
    while (index != p->tail && !record_at(p, index)->is_ping)
        index++;
    /* A keepalive PING has no record. */
    if (index == p->tail || record_at(p, index)->ping_serial != serial)
        return;
    while (p->head != index)
        settle_first(p, WEIR_OK, NULL);
    p->head++;
    release_settled(p);
    progress(p);
    publish_waiting(p);
}

/* In written mode, a message is done when its last byte is in the socket. */
static void on_sent(wi_nats_link *link)
{
    publisher *p = publisher_of(link);
    if (p->config->done != WEIR_NATS_WRITTEN) {
        if (p->head == p->tail)
            release_settled(p); /* keepalives, that no PONG settles */
        return;
    }
    uint64_t sent = wi_nats_out_position(&link->out, link->out.sent);
    bool any = false;
    while (p->head != p->tail && record_at(p, p->head)->at + record_at(p, p->head)->size <= sent) {
        settle_first(p, WEIR_OK, NULL);
        any = true;
    }
    release_settled(p);
    if (any)
        progress(p);
    publish_waiting(p);
}

/* The subject of an encoded message. */
static weir_nats_text record_subject(const publisher *p, const record *r)
{
    const char *data = p->link.out.data + (r->at - p->link.out.origin);
    const char *subject = (const char *)memchr(data, ' ', r->size) + 1;
    const char *end = memchr(subject, ' ', r->size - (size_t)(subject - data));
    return (weir_nats_text){ subject, (size_t)(end - subject) };
}

/* 'Permissions Violation for Publish to "a.b"': comes before the PONG, names no message, so every
 * unsettled one of that subject before that PONG is the one. */
static void on_refused(wi_nats_link *link, weir_nats_text why)
{
    static const char says[] = "permissions violation for publish to \"";
    publisher *p = publisher_of(link);
    size_t size = sizeof says - 1;
    if (why.size <= size || evutil_ascii_strncasecmp(why.data, says, size) != 0)
        return;
    weir_nats_text subject = { why.data + size, why.size - size };
    const char *quote = memchr(subject.data, '"', subject.size);
    if (quote != NULL)
        subject.size = (size_t)(quote - subject.data);
    /* Ending one lets another start, behind `tail`: that one is not meant. */
    uint64_t tail = p->tail;
    for (uint64_t i = p->head; i != tail && !record_at(p, i)->is_ping; i++) {
        record *r = record_at(p, i);
        weir_nats_text theirs = record_subject(p, r);
        if (r->op == NULL || theirs.size != subject.size ||
            memcmp(theirs.data, subject.data, subject.size) != 0)
            continue;
        weir_op *op = r->op;
        r->op = NULL;
        weir_op_done(op, WEIR_EDENIED, "nats: the server forbids the subject");
    }
}

/* ---- Loss and return ---- */

static void give_up_all(publisher *p)
{
    while (p->head != p->tail)
        settle_first(p, WEIR_EUNAVAILABLE, "nats: no server for too long");
    while (p->first_waiting != NULL) {
        weir_op *op = p->first_waiting;
        waiting_remove(p, op);
        weir_op_done(op, WEIR_EUNAVAILABLE, "nats: no server for too long");
    }
    wi_nats_out_release(&p->link, wi_nats_out_position(&p->link.out, p->link.out.end));
    p->unanswered = false;
}

/* A server that accepts us and then drops us, over and over, is no server either: only progress
 * stops this timer. */
static void patience_over(weir_timer *timer, void *user)
{
    publisher *p = user;
    (void)timer;
    p->failing = true;
    if (p->up)
        wi_nats_link_lost(&p->link, WEIR_EUNAVAILABLE, "nats: nothing gets through");
    give_up_all(p);
    update_demand(p);
}

static void lose_patience_later(publisher *p)
{
    uint32_t wait_ms = value_or(p->config->wait_ms, WAIT_MS_DEFAULT);
    if (wait_ms != WEIR_NATS_FOREVER && !p->failing && !weir_timer_is_armed(&p->patience))
        weir_timer_start(weir_stage_loop(p->stage), &p->patience, wait_ms * WEIR_MS, patience_over,
                         p);
}

static void on_down(wi_nats_link *link)
{
    publisher *p = publisher_of(link);
    p->up = false;
    if (p->failing)
        give_up_all(p);
    else
        lose_patience_later(p);
    update_demand(p);
}

/* The payload size that the server will count, headers included. */
static size_t record_body(const publisher *p, const record *r)
{
    const char *data = p->link.out.data + (r->at - p->link.out.origin);
    const char *lf = memchr(data, '\n', r->size);
    return r->size - (size_t)(lf + 1 - data) - 2;
}

/* Closes up the messages that are still wanted, and leaves the rest out: PINGs of the connection
 * before, items given up meanwhile, messages that this server would close us for. */
static void compact(publisher *p)
{
    wi_nats_out *out = &p->link.out;
    uint64_t kept = p->head;
    size_t limit = payload_limit(p), end = out->start;
    assert(out->sent == out->start);
    for (uint64_t i = p->head; i != p->tail; i++) {
        record r = *record_at(p, i);
        if (r.is_ping || r.op == NULL)
            continue;
        if (record_body(p, &r) > limit) {
            weir_op_done(r.op, WEIR_ELIMIT, "nats: the message is over the server's limit");
            continue;
        }
        memmove(out->data + end, out->data + (r.at - out->origin), r.size);
        r.at = wi_nats_out_position(out, end);
        end += r.size;
        ((publish_work *)r.op->work)->index = kept;
        *record_at(p, kept++) = r;
    }
    p->tail = kept;
    out->end = end;
}

static void on_up(wi_nats_link *link, const weir_nats_info *info)
{
    publisher *p = publisher_of(link);
    (void)info;
    compact(p); /* before we are up: an operation that it ends lets another start */
    p->up = true;
    p->unanswered = p->head != p->tail;
    if (!p->unanswered)
        progress(p);
    publish_waiting(p);
}

/* ---- The stage ---- */

static const wi_nats_handler publish_handler = {
    .up = on_up, .down = on_down, .pong = on_pong, .refused = on_refused, .sent = on_sent
};

static weir_status publish_check(const void *opaque, const char **why)
{
    const weir_nats_config *config = opaque;
    if (config->publication == NULL) {
        *why = "nats: no publication callback";
        return WEIR_EINVAL;
    }
    if (config->in_flight > 65536) {
        *why = "nats: in_flight is over 65536";
        return WEIR_EINVAL;
    }
    if (config->pending_bytes > (1u << 30) || config->payload_bytes_max > (1u << 30)) {
        *why = "nats: a limit is over 1 GiB";
        return WEIR_EINVAL;
    }
    return wi_nats_connection_check(&config->connection, why);
}

static void publish_close(weir_stage *stage, void *state)
{
    publisher *p = state;
    const weir_env *env = weir_stage_env(stage);
    weir_timer_stop(weir_stage_loop(stage), &p->patience);
    wi_nats_link_close(&p->link);
    weir_memory_free(env, p->records);
    weir_memory_free(env, p->scratch);
}

static weir_status publish_open(weir_stage *stage, const void *opaque, void *state)
{
    publisher *p = state;
    const weir_env *env = weir_stage_env(stage);
    p->stage = stage;
    p->config = opaque;
    p->pending_bytes = value_or(p->config->pending_bytes, PENDING_BYTES_DEFAULT);
    /* A message and its PING each, and room for those given up and not yet settled. */
    uint32_t records = 16;
    while (records < 2 * value_or(p->config->in_flight, IN_FLIGHT_DEFAULT) + 4)
        records *= 2;
    p->mask = records - 1;
    p->records = weir_memory_new(env, records * sizeof *p->records);
    p->scratch = weir_memory_new(env, value_or(p->config->scratch_bytes, SCRATCH_BYTES_DEFAULT));
    wi_nats_link_config link = { .retain = true, .payload_bytes_max = 1 };
    weir_status status = WEIR_ENOMEM;
    if (p->records == NULL || p->scratch == NULL)
        goto fail;
    status = wi_nats_connection_fill(&link, &p->config->connection);
    if (status != WEIR_OK)
        goto fail;
    update_demand(p);
    lose_patience_later(p);
    status = wi_nats_link_open(&p->link, stage, &link, &publish_handler);
    if (status == WEIR_OK)
        return WEIR_OK;
fail:
    publish_close(stage, state);
    return status;
}

static void publish_start(weir_op *op, void *state)
{
    publisher *p = state;
    memset(op->work, 0, sizeof(publish_work));
    if (p->failing && !p->up)
        weir_op_done(op, WEIR_EUNAVAILABLE, "nats: no server");
    else if (!p->up || p->first_waiting != NULL || !publish(p, op)) {
        waiting_push(p, op);
        update_demand(p);
    }
}

static void publish_flush(weir_stage *stage, void *state)
{
    publisher *p = state;
    (void)stage;
    append_ping(p);
    wi_nats_link_flush(&p->link);
}

/* What was encoded stays in the stream, whose frame it is part of, and may still go out. */
static void publish_cancel(weir_op *op, weir_status status, void *state)
{
    publisher *p = state;
    publish_work *work = op->work;
    if (work->waiting)
        waiting_remove(p, op);
    else
        record_at(p, work->index)->op = NULL;
    weir_op_done(op, status, "nats: given up");
    update_demand(p);
}

static const weir_async_type publish_type = {
    .name = "nats_publish",
    .config_size = sizeof(weir_nats_config),
    .state_size = sizeof(publisher),
    .work_size = sizeof(publish_work),
    .check = publish_check,
    .open = publish_open,
    .close = publish_close,
    .start = publish_start,
    .flush = publish_flush,
    .cancel = publish_cancel,
};

weir_stage_spec *weir_nats_publish(const weir_nats_config *config)
{
    static const weir_nats_config none;
    if (config == NULL)
        config = &none;
    weir_async_options options = {
        .in_flight = value_or(config->in_flight, IN_FLIGHT_DEFAULT),
        .timeout_ms = config->timeout_ms,
    };
    return weir_async_of(&publish_type, &options, config);
}
