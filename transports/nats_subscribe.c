/* The NATS source: each message of a subscription is an item; without demand it stops reading. */
#include <weir/nats.h>

#include "nats_link.h"

#include <event2/util.h>

#include <string.h>

#define SUB_LINE_BYTES_MAX (2 * WEIR_NATS_SUBJECT_BYTES_MAX + 64)

typedef struct subscriber {
    wi_nats_link link; /* first: the handlers get it back as a subscriber */
    weir_stage *stage;
    const weir_nats_subscribe_config *config;
} subscriber;

static const weir_item_type received_type = { .name = "nats_received" };

static void on_up(wi_nats_link *link, const weir_nats_info *info)
{
    subscriber *s = (subscriber *)link;
    size_t size = 0;
    (void)info;
    char *room = wi_nats_out_room(link, SUB_LINE_BYTES_MAX);
    if (room == NULL || weir_nats_encode_sub(weir_nats_text_of(s->config->subject),
                                             weir_nats_text_of(s->config->queue), 1, room,
                                             SUB_LINE_BYTES_MAX, &size) != WEIR_OK) {
        wi_nats_link_lost(link, WEIR_ENOMEM, "nats: no memory to go on");
        return;
    }
    wi_nats_out_commit(link, size);
    wi_nats_link_kick(link);
}

static void on_down(wi_nats_link *link)
{
    (void)link;
}

static void on_refused(wi_nats_link *link, weir_nats_text why)
{
    static const char says[] = "permissions violation for subscription";
    subscriber *s = (subscriber *)link;
    if (why.size >= sizeof says - 1 &&
        evutil_ascii_strncasecmp(why.data, says, sizeof says - 1) == 0)
        weir_stage_fail(s->stage, WEIR_EDENIED, "nats: the server forbids the subscription");
}

/* Copies a text to `*at`, which moves on. */
static weir_nats_text keep(weir_nats_text text, char **at)
{
    weir_nats_text kept = { *at, text.size };
    if (text.size != 0)
        memcpy(*at, text.data, text.size);
    *at += text.size;
    return kept;
}

static weir_status on_message(wi_nats_link *link, const weir_nats_event *event)
{
    subscriber *s = (subscriber *)link;
    weir_out *out = weir_stage_out(s->stage);
    size_t bytes = sizeof(weir_nats_received) + event->subject.size + event->reply.size +
                   event->header.size + event->payload.size;
    if (!weir_out_fits(out, (uint32_t)bytes))
        return WEIR_EAGAIN;
    weir_item *item = weir_item_new(weir_stage_loop(s->stage), &received_type, bytes);
    if (item == NULL) {
        wi_nats_link_lost(link, WEIR_ENOMEM, "nats: no memory for a message");
        return WEIR_ENOMEM;
    }
    weir_nats_received *received = weir_item_body(item);
    char *at = (char *)(received + 1);
    received->subject = keep(event->subject, &at);
    received->reply = keep(event->reply, &at);
    received->header = keep(event->header, &at);
    received->payload = keep(event->payload, &at);
    weir_emit(out, item);
    return WEIR_OK;
}

static const wi_nats_handler subscribe_handler = {
    .up = on_up, .down = on_down, .refused = on_refused, .message = on_message
};

static weir_status subscribe_check(const void *opaque, const char **why)
{
    const weir_nats_subscribe_config *config = opaque;
    char line[SUB_LINE_BYTES_MAX];
    size_t size;
    weir_status status = weir_nats_encode_sub(weir_nats_text_of(config->subject),
                                              weir_nats_text_of(config->queue), 1, line,
                                              sizeof line, &size);
    if (status != WEIR_OK) {
        *why = "nats: the subject or the queue group is not valid";
        return status;
    }
    if (config->payload_bytes_max > (1u << 30)) {
        *why = "nats: a limit is over 1 GiB";
        return WEIR_EINVAL;
    }
    return wi_nats_connection_check(&config->connection, why);
}

static weir_status subscribe_open(weir_stage *stage, const void *opaque, void *state)
{
    subscriber *s = state;
    s->stage = stage;
    s->config = opaque;
    wi_nats_link_config link = { .payload_bytes_max = s->config->payload_bytes_max };
    weir_status status = wi_nats_connection_fill(&link, &s->config->connection);
    if (status != WEIR_OK)
        return status;
    return wi_nats_link_open(&s->link, stage, &link, &subscribe_handler);
}

static void subscribe_close(weir_stage *stage, void *state)
{
    subscriber *s = state;
    (void)stage;
    wi_nats_link_close(&s->link);
}

static void subscribe_on_demand(weir_stage *stage, weir_out *out, uint64_t credit, void *state)
{
    subscriber *s = state;
    (void)stage, (void)out, (void)credit;
    wi_nats_link_resume(&s->link);
}

static void subscribe_on_cancel(weir_stage *stage, weir_out *out, void *state)
{
    (void)out;
    subscribe_close(stage, state);
}

static void subscribe_on_drain(weir_stage *stage, void *state)
{
    subscribe_close(stage, state);
    weir_end(weir_stage_out(stage));
}

static const weir_stage_type subscribe_type = {
    .name = "nats_subscribe",
    .config_size = sizeof(weir_nats_subscribe_config),
    .state_size = sizeof(subscriber),
    .inputs = WEIR_PORTS_NONE,
    .check = subscribe_check,
    .open = subscribe_open,
    .close = subscribe_close,
    .on_demand = subscribe_on_demand,
    .on_cancel = subscribe_on_cancel,
    .on_drain = subscribe_on_drain,
};

weir_stage_spec *weir_nats_subscribe(const weir_nats_subscribe_config *config)
{
    return weir_stage_of(&subscribe_type, config);
}
