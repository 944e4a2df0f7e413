/* What the two bare servers share: requests by http-parser, and one small 201 for each. */
#ifndef BARE_REPLY_H
#define BARE_REPLY_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>

enum { BARE_IN_BYTES = 64 * 1024, BARE_OUT_BYTES = 256 * 1024 };

/* The replies to one read, written at once. One per server: connections take turns. */
typedef struct bare_out {
    size_t bytes;
    size_t body_bytes; /* read and thrown away */
    bool close;
    char data[BARE_OUT_BYTES];
} bare_out;

/* Parses what was read and collects the replies in `out`; false for a request that is none. */
bool bare_reply(http_parser *parser, bare_out *out, const char *data, size_t bytes);

/* Listens on 127.0.0.1:`port` (0: any free one), non-blocking, prints where. Exits if it cannot. */
int bare_listen(int port);

/* The --port of the command line; exits after --help or a wrong one. */
int bare_port(int argc, char **argv, const char *what);

/* Accepts one connection, non-blocking, TCP_NODELAY; -1 if there is none. */
int bare_accept(int listener);

#endif
