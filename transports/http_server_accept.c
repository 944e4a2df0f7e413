/* Accepting: while there is demand, and room for a connection. */
#include "http_server_internal.h"

#include <unistd.h>

bool wi_httpd_may_accept(const wi_httpd *server)
{
    bool wanted = server->config.overload_wait_ms != 0 || weir_out_fits(server->out, 1);
    return wanted && !server->draining && server->conns_live < server->shared->connections_max;
}

void wi_httpd_accept_or_not(wi_httpd *server)
{
    bool may = wi_httpd_may_accept(server);
    if (server->config.door != NULL) {
        if (may && wi_httpd_door_waits(server))
            weir_post(server->loop, &server->door_task);
        return;
    }
    if (may == server->accepting || server->draining)
        return;
    server->accepting = may;
    if (may)
        wi_listener_resume(&server->listener);
    else
        wi_listener_pause(&server->listener);
}

static void accepted(int fd, void *user)
{
    wi_httpd *server = user;
    if (wi_httpd_conn_new(server, fd) == NULL)
        close(fd);
    wi_httpd_accept_or_not(server);
}

weir_status wi_httpd_listen(wi_httpd *server, const char **ret_why)
{
    const wi_httpd_shared *shared = server->shared;
    int fd = -1;
    if (server->config.door != NULL) {
        wi_httpd_door_open(server);
        return WEIR_OK;
    }
    weir_status status = wi_port_bind(&shared->port, &fd, ret_why);
    if (status == WEIR_OK)
        status = wi_listener_start(&server->listener, server->loop, fd, server->config.backlog,
                                   accepted, server, ret_why);
    server->accepting = status == WEIR_OK;
    return status;
}
