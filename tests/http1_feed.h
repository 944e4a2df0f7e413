/* Feeds a message to the HTTP/1.1 layer in pieces of any cut, and notes everything it says. */
#ifndef HTTP1_FEED_H
#define HTTP1_FEED_H

#include <weir/http1.h>

#include <stdlib.h>
#include <string.h>

#define FEED_FIELDS_MAX 128
#define FEED_BODY_MAX   65536

typedef struct verdict {
    weir_status status;
    unsigned code; /* of a refusal, or of a response */
    const char *why;
    bool in_body;         /* the head was complete */
    size_t consumed;      /* bytes of the message */
    size_t refused_at;    /* how many bytes were there when it was refused */
    weir_http1_head head; /* its spans point into the message that was passed in */
    weir_http1_field fields[FEED_FIELDS_MAX];
    size_t body_len;
    unsigned char body[FEED_BODY_MAX];
} verdict;

typedef struct feeding {
    const weir_http1_limits *limits;
    const char *bytes;
    size_t len;
    bool response;
    weir_http1_method request_method;
} feeding;

static inline void feed_move(weir_http1_span *span, const char *from, const char *to)
{
    if (span->at != NULL)
        span->at = to + (span->at - from);
}

/* Points the spans of a head from the copy that was parsed to the message itself. */
static inline void feed_rebase(verdict *v, const char *from, const char *to)
{
    weir_http1_head *h = &v->head;
    feed_move(&h->target, from, to);
    feed_move(&h->path, from, to);
    feed_move(&h->query, from, to);
    feed_move(&h->host, from, to);
    feed_move(&h->content_type, from, to);
    feed_move(&h->reason, from, to);
    for (uint32_t i = 0; i < h->field_count; i++) {
        feed_move(&v->fields[i].name, from, to);
        feed_move(&v->fields[i].value, from, to);
    }
}

/* A copy of exactly that size, so that a sanitizer sees a read behind it. */
static inline char *feed_copy(const char *bytes, size_t len)
{
    char *copy = malloc(len != 0 ? len : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, bytes, len);
    return copy;
}

static inline void feed_head(const feeding *f, size_t len, weir_http1_scan *scan, verdict *v)
{
    char *copy = feed_copy(f->bytes, len);
    v->head.fields = v->fields;
    v->head.field_cap = FEED_FIELDS_MAX;
    v->status = f->response
                    ? weir_http1_response_head(f->limits, f->request_method, copy, len, scan,
                                               &v->head, &v->consumed)
                    : weir_http1_request_head(f->limits, copy, len, scan, &v->head, &v->consumed);
    if (v->status == WEIR_OK)
        feed_rebase(v, copy, f->bytes);
    if (v->status != WEIR_EPARTIAL) {
        v->code = v->head.status;
        v->why = v->head.why;
        v->refused_at = len;
    }
    free(copy);
}

static inline void feed_body(const feeding *f, size_t len, weir_http1_body *body, verdict *v)
{
    char *copy = feed_copy(f->bytes + v->consumed, len - v->consumed);
    size_t at = 0, used = 0, size = len - v->consumed;
    do {
        weir_http1_span data = { NULL, 0 };
        v->status = weir_http1_body_feed(body, copy + at, size - at, &data, &used);
        if (v->status != WEIR_OK && v->status != WEIR_EPARTIAL) {
            v->code = body->status;
            v->why = body->why;
            v->refused_at = len;
            break;
        }
        if (data.len > FEED_BODY_MAX - v->body_len)
            abort();
        if (data.len > 0)
            memcpy(v->body + v->body_len, data.at, data.len);
        v->body_len += data.len;
        at += used;
    } while (v->status == WEIR_EPARTIAL && at < size);
    v->consumed += at;
    free(copy);
}

/* Feeds the message as it grows: `first` bytes, then `step` more each time, up to all of it. */
static inline void feed(const feeding *f, size_t first, size_t step, verdict *v)
{
    weir_http1_scan scan = { 0 };
    weir_http1_body body;
    size_t len = first;
    memset(v, 0, offsetof(verdict, fields));
    v->body_len = 0;
    for (;;) {
        if (!v->in_body) {
            feed_head(f, len, &scan, v);
            v->in_body = v->status == WEIR_OK;
            if (v->in_body)
                weir_http1_body_init(&body, f->limits, &v->head);
        }
        if (v->in_body)
            feed_body(f, len, &body, v);
        if (v->status != WEIR_EPARTIAL || len == f->len)
            return;
        len = step < f->len - len ? len + step : f->len;
    }
}

static inline bool feed_same_span(weir_http1_span a, weir_http1_span b)
{
    return a.at == b.at && a.len == b.len;
}

static inline bool feed_same_head(const verdict *a, const verdict *b)
{
    const weir_http1_head *x = &a->head, *y = &b->head;
    for (uint32_t i = 0; i < x->field_count && x->field_count == y->field_count; i++)
        if (!feed_same_span(a->fields[i].name, b->fields[i].name) ||
            !feed_same_span(a->fields[i].value, b->fields[i].value))
            return false;
    return x->field_count == y->field_count && x->method == y->method && x->minor == y->minor &&
           x->status == y->status && x->framing == y->framing &&
           x->content_length == y->content_length && x->keep_alive == y->keep_alive &&
           x->expect_continue == y->expect_continue && x->upgrade == y->upgrade &&
           x->tunnel == y->tunnel && feed_same_span(x->target, y->target) &&
           feed_same_span(x->path, y->path) && feed_same_span(x->query, y->query) &&
           feed_same_span(x->host, y->host) && feed_same_span(x->content_type, y->content_type) &&
           feed_same_span(x->reason, y->reason);
}

/* Whether two ways of feeding one message led to the same. */
static inline bool feed_agree(const verdict *a, const verdict *b)
{
    if (a->status != b->status || a->in_body != b->in_body || a->code != b->code ||
        a->why != b->why)
        return false;
    if (a->in_body && !feed_same_head(a, b))
        return false;
    if (a->status != WEIR_OK && a->status != WEIR_EPARTIAL)
        return true;
    return a->consumed == b->consumed && a->body_len == b->body_len &&
           memcmp(a->body, b->body, a->body_len) == 0;
}

#endif
