/* The sink that writes items back to the connections they came from. */
#include "tcp_internal.h"

static void reply_one(weir_stage *stage, weir_item *item)
{
    wi_tcp_conn *conn = wi_tcp_conn_of(item);
    const char *at;
    size_t n;
    bool is_line;
    if (conn == NULL)
        weir_fail(stage, item, WEIR_EINVAL, "came from no TCP connection");
    else if (conn->source->loop != weir_stage_loop(stage))
        weir_fail(stage, item, WEIR_EUNSUPPORTED, "its connection is on another loop");
    else if (!wi_tcp_reply_bytes(item, &at, &n, &is_line))
        weir_fail(stage, item, WEIR_EINVAL, "neither a chunk nor made of a line");
    else
        wi_tcp_conn_reply(conn, item);
}

/* Demand, a sink's default, does not wait for slow peers: what their connections have under way is
 * bounded where it is read. */
static weir_status reply_on_items(weir_stage *stage, weir_in *in, weir_item **items, size_t n,
                                  void *state)
{
    (void)in;
    (void)state;
    for (size_t i = 0; i < n; i++)
        reply_one(stage, items[i]);
    return WEIR_OK;
}

static const weir_stage_type reply_type = {
    .name = "tcp_reply",
    .outputs = WEIR_PORTS_NONE,
    .on_items = reply_on_items,
};

weir_stage_spec *weir_tcp_reply(void)
{
    return weir_stage_of(&reply_type, NULL);
}
