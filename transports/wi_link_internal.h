/* What the files of links share. */
#ifndef WI_LINK_INTERNAL_H
#define WI_LINK_INTERNAL_H

#include "wi_link.h"

#include <event2/event.h>
#include <event2/event_struct.h>

#include <netinet/in.h>

enum {
    WI_LINK_READ_BYTES = 64 * 1024,
    WI_LINK_READS_MAX = 4,         /* of one link, before others get their turn */
    WI_LINK_WRITES_MAX = 8,        /* likewise, portions of its session's output */
    WI_LINK_LINGER_BYTES = 8 << 20 /* dropped after our own end: more than a request may have */
};

typedef enum wi_link_phase {
    WI_LINK_CONNECTING,
    WI_LINK_HANDSHAKE,
    WI_LINK_UP,
    WI_LINK_LINGER, /* all is said; the peer is to close */
    WI_LINK_DEAD
} wi_link_phase;

/* Lives from accept or dial to the end of the turn after the one in which it ended. */
struct wi_link {
    struct event io; /* edge-triggered, for everything, from beginning to end */
    wi_links *links;
    wi_link *next, *prev;
    wi_link *next_dirty; /* or the next dead one */
    weir_http_session *session;
    wi_tls_session *tls;
    void *user;
    char *subject;  /* of the peer's certificate */
    weir_bytes in;  /* read, and not consumed by the session; mostly empty */
    weir_bytes out; /* handed out by the session, and not taken by the socket; likewise */
    size_t out_sent;
    uint64_t since_ns; /* the beginning of connecting, of the handshake, of lingering */
    uint64_t wrote_ns; /* when the peer last took something, or there was first something */
    const char *why;
    weir_status failed;   /* what its session said */
    weir_status closes;   /* what wi_link_close said; WEIR_OK: nothing */
    struct in6_addr peer; /* IPv4 is mapped */
    uint32_t lingered;
    uint16_t peer_port;
    int fd;
    uint8_t phase;
    bool accepted, is_dirty;
    bool readable;   /* the socket may have more */
    bool unsure;     /* it was not asked since a read that seemed to be the last */
    bool blocked;    /* the socket takes no more */
    bool peer_ended; /* the peer sends no more */
    bool told_end;   /* the session knows that */
    bool hup;        /* its end was seen to come */
    bool unwatched;  /* the poll after its end is over */
    bool at_rest;    /* it was, when the drain began, and nothing came since */
    uint8_t drains;  /* 1: said; then counted up by sweeps, to say it again */
};

struct wi_links {
    wi_links_config config; /* with its defaults filled in */
    weir_loop *loop;
    const weir_env *env;
    weir_http_pool *pool;
    wi_tls *tls; /* of those accepted */
    wi_listener listener;
    wi_link *first, *dirty, *dead;
    weir_task flush;
    weir_timer sweep;
    weir_timer hurry; /* while they drain */
    weir_bytes scratch_out;
    char *scratch;
    uint32_t count, accepted;
    bool listening, draining, told_gone;
};

/* ---- wi_link.c ---- */
/* A link on `fd`, which it takes if it is given. */
wi_link *wi_link_new(wi_links *links, int fd, wi_link_phase phase, void *user);
/* Flushes it at the end of the turn. */
void wi_link_dirty(wi_link *link);
/* Shaken hands with: makes its session. */
void wi_link_is_up(wi_link *link);
/* Over, now: exchanges and user are told, the socket closes. Where events may run. */
void wi_link_kill(wi_link *link, weir_status status, const char *why);
/* Over, but for the peer's own end. */
void wi_link_wind_down(wi_link *link, weir_status status, const char *why);
void wi_links_flush(weir_task *task, void *user);

/* ---- wi_link_io.c ---- */
void wi_link_on_event(evutil_socket_t fd, short what, void *user);
/* Reads and feeds as long as it may; then it has to be flushed. */
void wi_link_pump(wi_link *link);
/* Hands out and sends as long as it may; winds it down when it is over. */
void wi_link_send(wi_link *link);
/* Goes on with the handshake, or begins with what follows it. */
void wi_link_shake(wi_link *link);

/* ---- wi_link_sweep.c ---- */
void wi_links_sweep_start(wi_links *links);
/* They drain: those at rest are not waited for as long as others. */
void wi_links_hurry_start(wi_links *links);

#endif
