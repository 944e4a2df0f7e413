/* The NATS client protocol with headers, as bytes: no sockets, no clock, no allocation.
 *
 * Source: the NATS client protocol reference (docs.nats.io, "NATS Protocol Reference") and ADR-4
 * (message headers). Nothing here has a thread: a value may be used from any one thread at a
 * time. Text is counted (weir_nats_text), never NUL-terminated. */
#ifndef WEIR_NATS_PROTO_H
#define WEIR_NATS_PROTO_H

#include <weir/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define WEIR_NATS_LINE_BYTES_MAX    4096u    /* a control line, CRLF included (server default) */
#define WEIR_NATS_INFO_BYTES_MAX    32768u   /* an INFO line: a cluster lists its members in it */
#define WEIR_NATS_PAYLOAD_BYTES_MAX 1048576u /* header block and payload of a message together */
#define WEIR_NATS_SUBJECT_BYTES_MAX 1024u    /* a subject, a reply subject or a queue group */
#define WEIR_NATS_HEADERS_MAX       64u      /* header fields of a message we encode */
#define WEIR_NATS_INFO_DEPTH_MAX    16u      /* nesting of an INFO's JSON */

/* Counted text that someone else owns; {NULL, 0} is none. */
typedef struct weir_nats_text {
    const char *data;
    size_t size;
} weir_nats_text;

/* The text of a C string; NULL gives none. Borrows `string` for as long as the result is used. */
static inline weir_nats_text weir_nats_text_of(const char *string)
{
    weir_nats_text text = { string, string != NULL ? strlen(string) : 0 };
    return text;
}

/* Where a server is and who we are to it. Strings end in NUL; "" is none. */
typedef struct weir_nats_url {
    char host[256]; /* a name or a numeric address, without the brackets of IPv6 */
    char user[256], password[256], token[256];
    uint16_t port; /* host byte order */
} weir_nats_url;

#define WEIR_NATS_PORT 4222

/* Reads [nats://][user:password@|token@]host[:port]; user, password and token may hold
 * %-escapes. WEIR_EINVAL: malformed; WEIR_ELIMIT: a part is over 255 bytes; WEIR_EUNSUPPORTED:
 * another scheme (tls:// among them). */
WEIR_API WEIR_MUST_USE weir_status weir_nats_url_parse(const char *url, weir_nats_url *ret_url);

/* ---- What the peer sends ---- */

typedef enum weir_nats_op {
    WEIR_NATS_INFO,
    WEIR_NATS_MSG, /* MSG and HMSG: the latter has a header block */
    WEIR_NATS_PING,
    WEIR_NATS_PONG,
    WEIR_NATS_OK,
    WEIR_NATS_ERR
} weir_nats_op;

/* One operation. The texts point into the bytes given to weir_nats_parse. */
typedef struct weir_nats_event {
    weir_nats_op op;
    weir_nats_text text;    /* INFO: its JSON. ERR: the message without its quotes */
    weir_nats_text subject; /* MSG */
    weir_nats_text reply;   /* MSG: where an answer goes, or none */
    weir_nats_text header;  /* MSG: the block from "NATS/1.0" to its empty line, or none */
    weir_nats_text payload; /* MSG */
    uint64_t sid;           /* MSG: the subscription it is for */
} weir_nats_event;

/* Finds operations in a stream. Zeroed is ready, with the default limits; copy it freely. */
typedef struct weir_nats_parser {
    size_t line_bytes_max;    /* 0: WEIR_NATS_LINE_BYTES_MAX */
    size_t info_bytes_max;    /* 0: WEIR_NATS_INFO_BYTES_MAX */
    size_t payload_bytes_max; /* 0: WEIR_NATS_PAYLOAD_BYTES_MAX */
    size_t scanned;           /* private: bytes of the current line known to hold no LF */
    size_t need;              /* private: whole size of the current message, once known */
    weir_status failed;       /* private: what ended the stream */
} weir_nats_parser;

/* Takes the next operation off `data`, the caller's unread bytes in one piece. Borrows `data`.
 * WEIR_OK: `ret_event` is it, and `ret_used` bytes are done with; call again with the rest.
 * WEIR_EPARTIAL: not all there yet; keep every byte, append more (the buffer may move), call
 * again. WEIR_EPROTO: not NATS. WEIR_ELIMIT: a line or payload over its limit. Both are final:
 * the stream has lost its frame, and every later call says the same. The result does not depend
 * on where the stream was cut. A subject from the wire is free of blanks and controls but is not
 * held to weir_nats_subject_check: servers let other clients publish to odd subjects. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_parse(weir_nats_parser *parser, const char *data,
                                                   size_t size, size_t *ret_used,
                                                   weir_nats_event *ret_event);

/* How many bytes the caller's buffer must be able to hold for weir_nats_parse to get on, after it
 * said WEIR_EPARTIAL: the whole message if its line has been seen, else the longest line. */
WEIR_API size_t weir_nats_parser_need(const weir_nats_parser *parser);

/* What a server says of itself. Texts point into the JSON and are raw: escapes are not undone. */
typedef struct weir_nats_info {
    weir_nats_text server_id, server_name, version;
    weir_nats_text nonce; /* to be signed (NKEY, JWT), which this client cannot; or none */
    uint64_t max_payload; /* bytes; 0 if it did not say */
    uint64_t proto;
    bool headers, auth_required, tls_required, tls_available, jetstream;
    bool lame_duck; /* "ldm": it will close soon, connect elsewhere or again */
} weir_nats_info;

/* Reads the JSON of an INFO; unknown members are skipped. Borrows `json`. WEIR_EPROTO if it is not
 * one JSON object, a known member has the wrong type, or it nests over WEIR_NATS_INFO_DEPTH_MAX. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_info_parse(weir_nats_text json,
                                                        weir_nats_info *ret_info);

/* One header field. */
typedef struct weir_nats_header {
    weir_nats_text name, value;
} weir_nats_header;

/* Walks the fields of a header block received. `cursor` starts at 0. WEIR_OK: `ret_header` is the
 * next, value trimmed of blanks; WEIR_ENOTFOUND: no more; WEIR_EPROTO: a malformed block.
 * Borrows `block`. ADR-4. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_header_next(weir_nats_text block, size_t *cursor,
                                                         weir_nats_header *ret_header);

/* The first value of `name` (ASCII case is ignored) in a header block received, or WEIR_ENOTFOUND,
 * or WEIR_EPROTO for a block malformed before it. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_header_find(weir_nats_text block, const char *name,
                                                         weir_nats_text *ret_value);

/* The status of a header block such as "NATS/1.0 503": 100 to 999, or 0 if it carries none. */
WEIR_API int weir_nats_header_status(weir_nats_text block);

/* ---- What we send ----
 * Each encoder appends nothing unless all of it is valid and fits `capacity`: WEIR_EINVAL for what
 * the grammar forbids (CR and LF above all, so nothing can be smuggled in), WEIR_ELIMIT for what
 * is over a limit, WEIR_EAGAIN if `out` is too small. On WEIR_OK `ret_size` bytes were written.
 * All of them borrow everything. */

/* WEIR_OK if `subject` is dot-separated, non-empty tokens free of blanks and controls. Wildcards
 * ('*' as a token, '>' as the last) only with `wildcards`; else WEIR_EINVAL. WEIR_ELIMIT if it is
 * over WEIR_NATS_SUBJECT_BYTES_MAX. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_subject_check(weir_nats_text subject, bool wildcards);

/* How to introduce ourselves. None is left out. Verbose is off, headers are on. */
typedef struct weir_nats_connect {
    weir_nats_text user, password, token;
    weir_nats_text name;    /* shown in the server's monitoring */
    weir_nats_text version; /* of the client */
    bool no_echo;           /* do not deliver to us what we publish */
} weir_nats_connect;

/* CONNECT; the line is limited to WEIR_NATS_LINE_BYTES_MAX. Text must be free of controls. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_encode_connect(const weir_nats_connect *connect,
                                                            char *out, size_t capacity,
                                                            size_t *ret_size);

/* A message to publish. With headers it goes as HPUB, without as PUB. A header's name is printable
 * ASCII without ':' or blank; its value has no controls but tab. */
typedef struct weir_nats_message {
    weir_nats_text subject, reply, payload;
    const weir_nats_header *headers;
    size_t header_count; /* at most WEIR_NATS_HEADERS_MAX */
} weir_nats_message;

/* Checks a message and gives the exact number of bytes its encoding takes. `payload_bytes_max`
 * bounds header block and payload together (the server's max_payload); 0: the default. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_message_size(const weir_nats_message *message,
                                                          size_t payload_bytes_max,
                                                          size_t *ret_size);

/* PUB or HPUB. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_encode_message(const weir_nats_message *message,
                                                            size_t payload_bytes_max, char *out,
                                                            size_t capacity, size_t *ret_size);

/* SUB: wildcards allowed; `queue` is the queue group, or none. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_encode_sub(weir_nats_text subject,
                                                        weir_nats_text queue, uint64_t sid,
                                                        char *out, size_t capacity,
                                                        size_t *ret_size);

/* UNSUB: at once, or after `max_messages` if it is not 0. */
WEIR_API WEIR_MUST_USE weir_status weir_nats_encode_unsub(uint64_t sid, uint64_t max_messages,
                                                          char *out, size_t capacity,
                                                          size_t *ret_size);

/* PING and PONG are constant. */
#define WEIR_NATS_PING_LINE "PING\r\n"
#define WEIR_NATS_PONG_LINE "PONG\r\n"

#ifdef __cplusplus
}
#endif
#endif
