/* What the two bare servers share: requests by http-parser, and one small 201 for each. */
#include "bare_reply.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

static const char reply[] = "HTTP/1.1 201 Created\r\n"
                            "Content-Type: application/json\r\n"
                            "Content-Length: 19\r\n"
                            "\r\n"
                            "{\"status\":\"stored\"}";

static int on_body(http_parser *parser, const char *at, size_t bytes)
{
    bare_out *out = parser->data;
    (void)at;
    out->body_bytes += bytes;
    return 0;
}

static int on_complete(http_parser *parser)
{
    bare_out *out = parser->data;
    if (out->bytes + sizeof(reply) > sizeof(out->data))
        return -1;
    memcpy(out->data + out->bytes, reply, sizeof(reply) - 1);
    out->bytes += sizeof(reply) - 1;
    out->close = out->close || !http_should_keep_alive(parser);
    return 0;
}

bool bare_reply(http_parser *parser, bare_out *out, const char *data, size_t bytes)
{
    static const http_parser_settings settings = { .on_body = on_body,
                                                   .on_message_complete = on_complete };
    parser->data = out;
    out->bytes = 0;
    out->close = false;
    return http_parser_execute(parser, &settings, data, bytes) == bytes;
}

int bare_listen(int port)
{
    int on = 1;
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof(address);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(fd, 4096) != 0 || getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        perror("listen");
        exit(1);
    }
    printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int bare_port(int argc, char **argv, const char *what)
{
    if (argc == 3 && strcmp(argv[1], "--port") == 0) {
        char *end = NULL;
        long port = strtol(argv[2], &end, 10);
        if (*end == '\0' && end != argv[2] && port >= 0 && port <= 65535)
            return (int)port;
    } else if (argc == 1) {
        return 0;
    }
    bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
    fprintf(help ? stdout : stderr, "%s\nusage: %s [--port PORT]  (0: any free port)\n", what,
            argv[0]);
    exit(help ? 0 : 2);
}

int bare_accept(int listener)
{
    int on = 1;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}
