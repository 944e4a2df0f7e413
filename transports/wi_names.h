/* A host's addresses without blocking: numbers at once, the hosts file, then DNS by evdns. One
 * thread: the loop's. */
#ifndef WI_NAMES_H
#define WI_NAMES_H

#include <weir/loop.h>

#include <sys/socket.h>

enum { WI_ADDRESSES_MAX = 16 }; /* of a name; more are ignored */

typedef struct wi_address {
    struct sockaddr_storage at;
    socklen_t len;
} wi_address;

typedef struct wi_names wi_names;

typedef struct wi_names_config {
    weir_loop *loop;
    const weir_env *env; /* NULL: the loop's */
    const char *host;    /* without brackets; copied */
    uint16_t port;
    uint32_t ttl_ms; /* how long an answer is good; 0: 30,000 */
    /* A lookup is over: WEIR_OK; WEIR_EUNAVAILABLE: no such name, or no answer; WEIR_ECANCELED: it
     * was given up. */
    void (*resolved)(weir_status status, void *user);
    /* A lookup goes on (true) or ended, after `resolved`: for who must stay until then. Optional.
     */
    void (*pending)(bool goes_on, void *user);
    void *user;
} wi_names_config;

weir_status wi_names_new(const wi_names_config *config, wi_names **ret_names);
/* Takes them. A lookup that goes on is given up without a word; its memory goes in a turn of the
 * loop's event_base, or with the loop if the base is its own. */
void wi_names_free(wi_names *names);
/* WEIR_OK: addresses are at hand. WEIR_EAGAIN: `resolved` will be called, later. Otherwise there
 * are none: WEIR_EUNAVAILABLE, WEIR_ENOMEM. */
weir_status wi_names_ask(wi_names *names);
void wi_names_give_up(wi_names *names);
/* Ask afresh next time: no address of it answered. */
void wi_names_distrust(wi_names *names);
uint32_t wi_names_count(const wi_names *names);
/* `index` goes round. There must be one. */
const wi_address *wi_names_at(const wi_names *names, uint32_t index);

#endif
