/* The sink that answers each request with what a function fills in. */
#include "http_server_internal.h"

#include <string.h>

enum { SCRATCH_BYTES = 16 * 1024 };

typedef struct reply_config {
    weir_status (*fn)(const weir_item *item, weir_http_response *response, void *user);
    void *user;
} reply_config;

typedef struct reply_state {
    reply_config config;
    char *scratch;
} reply_state;

static weir_status reply_check(const void *config, const char **ret_why)
{
    if (((const reply_config *)config)->fn != NULL)
        return WEIR_OK;
    *ret_why = "no function to reply with";
    return WEIR_EINVAL;
}

static weir_status reply_open(weir_stage *stage, const void *config, void *state)
{
    reply_state *s = state;
    s->config = *(const reply_config *)config;
    s->scratch = weir_memory_resize(weir_stage_env(stage), NULL, SCRATCH_BYTES);
    return s->scratch != NULL ? WEIR_OK : WEIR_ENOMEM;
}

static void reply_close(weir_stage *stage, void *state)
{
    weir_memory_free(weir_stage_env(stage), ((reply_state *)state)->scratch);
}

/* Gives true if the item is to be acked; otherwise it was taken. */
static bool reply_one(weir_stage *stage, weir_item *item, reply_state *s)
{
    const char *why = "the reply function failed";
    weir_http_response response = { .scratch = s->scratch, .scratch_bytes = SCRATCH_BYTES };
    weir_status status = s->config.fn(item, &response, s->config.user);
    if (status == WEIR_OK) {
        why = "the reply can't be sent";
        status = weir_http_answer_with(item, &response.answer);
    }
    if (status == WEIR_OK || status == WEIR_EEXIST)
        return true;
    if (status == WEIR_ECLOSED)
        weir_item_end(item, WEIR_ABORTED, WEIR_ECLOSED);
    else
        weir_fail(stage, item, status, why);
    return false;
}

static weir_status reply_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    size_t answered = 0;
    (void)in;
    for (size_t i = 0; i < n; i++)
        if (reply_one(stage, items[i], state))
            items[answered++] = items[i];
    weir_items_ack(items, answered);
    return WEIR_OK;
}

static const weir_stage_type reply_type = {
    .name = "http_reply",
    .config_size = sizeof(reply_config),
    .state_size = sizeof(reply_state),
    .outputs = WEIR_PORTS_NONE,
    .check = reply_check,
    .open = reply_open,
    .close = reply_close,
    .on_items = reply_on_items,
};

weir_stage_spec *weir_http_reply_with(weir_status (*fn)(const weir_item *item,
                                                        weir_http_response *response, void *user),
                                      void *user)
{
    return weir_stage_of(&reply_type, &(reply_config){ .fn = fn, .user = user });
}
