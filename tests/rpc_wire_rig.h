/* What the tests of RPC's wire share: memory that is counted and can fail, heads out of text, bytes
 * fed in pieces. */
#ifndef RPC_WIRE_RIG_H
#define RPC_WIRE_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <weir/rpc_wire.h>

typedef struct wire_rig {
    weir_env env;
    size_t live, calls, fail_at; /* fail_at 0: never; otherwise that call, and no other */
    size_t largest;              /* block that was asked for */
    weir_arena arena;
    weir_rpc_gzip *gzip;
} wire_rig;

static void *rig_resize(void *memory, size_t bytes, void *user)
{
    wire_rig *rig = user;
    if (bytes == 0) {
        rig->live -= memory != NULL;
        free(memory);
        return NULL;
    }
    if (bytes > rig->largest)
        rig->largest = bytes;
    if (++rig->calls == rig->fail_at)
        return NULL;
    void *moved = realloc(memory, bytes);
    assert_non_null(moved);
    rig->live += memory == NULL;
    return moved;
}

static inline void rig_open(wire_rig *rig)
{
    *rig = (wire_rig){ .fail_at = 0 };
    rig->env = (weir_env){ .allocator = { rig_resize, rig } };
    weir_arena_init(&rig->arena, &rig->env, NULL, 0, 0);
    rig->gzip = weir_rpc_gzip_new(&rig->env);
}

static inline void rig_close(wire_rig *rig)
{
    weir_arena_done(&rig->arena);
    weir_rpc_gzip_free(rig->gzip);
    assert_int_equal(rig->live, 0);
}

static inline weir_http1_span text_of(const char *text)
{
    return (weir_http1_span){ text, strlen(text) };
}

static inline bool span_is(weir_http1_span span, const char *text)
{
    return span.len == strlen(text) && memcmp(span.at, text, span.len) == 0;
}

#define assert_span(span, expected)                                                 \
    do {                                                                            \
        weir_http1_span span_ = (span);                                             \
        if (!span_is(span_, expected))                                              \
            fail_msg("\"%.*s\" is not \"%s\"", (int)span_.len, span_.at, expected); \
    } while (0)

/* Fields from "name: value" lines; the array is static and lasts until the next call but three. */
static inline const weir_http1_field *fields_of(const char *lines, size_t *ret_n)
{
    static weir_http1_field fields[4][40];
    static unsigned turn;
    weir_http1_field *to = fields[turn++ % 4];
    size_t n = 0;
    while (*lines != '\0') {
        const char *end = strchr(lines, '\n');
        if (end == NULL)
            end = lines + strlen(lines);
        const char *colon = strstr(lines, ": ");
        assert_true(colon != NULL && colon < end);
        to[n].name = (weir_http1_span){ lines, (size_t)(colon - lines) };
        to[n++].value = (weir_http1_span){ colon + 2, (size_t)(end - colon - 2) };
        lines = *end == '\0' ? end : end + 1;
    }
    *ret_n = n;
    return to;
}

static inline weir_http_head request_of(const char *method, const char *path, const char *lines)
{
    weir_http_head head = { .method = text_of(method),
                            .path = text_of(path),
                            .content_length = UINT64_MAX };
    head.fields = fields_of(lines, &head.field_count);
    return head;
}

static inline weir_http_head response_of(unsigned status, const char *lines)
{
    weir_http_head head = { .status = status, .content_length = UINT64_MAX };
    head.fields = fields_of(lines, &head.field_count);
    return head;
}

/* The n-th value of a name, or "". */
static inline weir_http1_span field_at(const weir_http1_field *fields, size_t count,
                                       const char *name, size_t n)
{
    for (size_t i = 0; i < count; i++) {
        if (span_is(fields[i].name, name) && n-- == 0)
            return fields[i].value;
    }
    return (weir_http1_span){ "", 0 };
}
static inline weir_http1_span head_at(const weir_http_head *head, const char *name)
{
    return field_at(head->fields, head->field_count, name, 0);
}

/* What came out of feeding: how many messages, and all of them one behind the other. */
typedef struct fed {
    weir_status status; /* the first that is none of OK and EPARTIAL; or EPARTIAL */
    size_t count;
    char bytes[64 * 1024];
    size_t len;
} fed;

static inline void fed_add(fed *into, weir_http1_span message)
{
    assert_non_null(message.at);
    assert_true(message.len <= sizeof into->bytes - into->len);
    memcpy(into->bytes + into->len, message.at, message.len);
    into->len += message.len;
    into->count++;
}

/* Feeds pieces of at most `cut` bytes, each in memory of its own, so that reading beyond shows. */
static inline weir_status feed_cut(weir_rpc_wire *wire, const char *bytes, size_t n, size_t cut,
                                   fed *into)
{
    into->status = WEIR_EPARTIAL;
    while (n > 0) {
        size_t piece = n < cut ? n : cut, at = 0;
        char *copy = malloc(piece);
        assert_non_null(copy);
        memcpy(copy, bytes, piece);
        while (at < piece) {
            size_t used;
            weir_http1_span message;
            weir_status status = weir_rpc_wire_feed(wire, copy + at, piece - at, &used, &message);
            assert_true(used <= piece - at);
            at += used;
            if (status == WEIR_OK)
                fed_add(into, message);
            else
                assert_int_equal(at, piece);
            if (status != WEIR_OK && status != WEIR_EPARTIAL && into->status == WEIR_EPARTIAL)
                into->status = status;
        }
        free(copy);
        bytes += piece;
        n -= piece;
    }
    return into->status;
}

static inline weir_status end_of(weir_rpc_wire *wire, const char *trailers, wire_rig *rig,
                                 fed *into)
{
    size_t n;
    weir_http1_span message;
    const weir_http1_field *fields = fields_of(trailers, &n);
    weir_status status = weir_rpc_wire_feed_end(wire, fields, n, &rig->arena, &message);
    if (status == WEIR_OK)
        fed_add(into, message);
    return status;
}

static const weir_rpc_method unary_method = { .name = "One",
                                              .path = "/a.B/One",
                                              .kind = WEIR_RPC_UNARY };
static const weir_rpc_method get_method = { .name = "Get",
                                            .path = "/a.B/Get",
                                            .kind = WEIR_RPC_UNARY,
                                            .no_side_effects = true,
                                            .idempotent = true };
static const weir_rpc_method up_method = { .name = "Up",
                                           .path = "/a.B/Up",
                                           .kind = WEIR_RPC_CLIENT_STREAM };
static const weir_rpc_method down_method = { .name = "Down",
                                             .path = "/a.B/Down",
                                             .kind = WEIR_RPC_SERVER_STREAM };
static const weir_rpc_method both_method = { .name = "Both",
                                             .path = "/a.B/Both",
                                             .kind = WEIR_RPC_BIDI_STREAM };

static inline const weir_rpc_method *method_of(weir_rpc_kind kind)
{
    static const weir_rpc_method *const methods[] = { &unary_method, &up_method, &down_method,
                                                      &both_method };
    return methods[kind];
}

#endif
