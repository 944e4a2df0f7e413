/* What the tests of protobuf's JSON share: an arena, and both directions with their checks. */
#ifndef PROTOBUF_JSON_RIG_H
#define PROTOBUF_JSON_RIG_H

#include <weir/protobuf_json.h>

#include <protobuf-c/protobuf-c.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "json_kinds.pb-c.h"
#include "json_old.pb-c.h"

#define KINDS (&json_kinds__kinds__descriptor)
#define OLD   (&json_old__old__descriptor)

/* Types of ours that an Any may hold. */
static const ProtobufCMessageDescriptor *const rig_list[] = { KINDS, &json_kinds__leaf__descriptor,
                                                              OLD };
static const weir_protobuf_types rig_types = { rig_list, 3 };
static const weir_protobuf_json_options rig_lenient = { .types = &rig_types };
static const weir_protobuf_json_options rig_strict = { .types = &rig_types,
                                                       .refuse_unknown = true };

typedef struct rig {
    weir_arena arena;
    weir_bytes text;
    const char *why;
} rig;

static inline void rig_begin(rig *r, const weir_env *env)
{
    memset(r, 0, sizeof *r);
    weir_arena_init(&r->arena, env, NULL, 0, 0);
    r->text.env = env;
    r->why = "";
}

static inline void rig_end(rig *r)
{
    weir_arena_done(&r->arena);
    weir_bytes_done(&r->text);
}

/* Reads a text from a block of exactly its size, so that a sanitizer sees a byte too many. */
static inline weir_status rig_read_n(rig *r, const ProtobufCMessageDescriptor *type,
                                     const char *text, size_t n,
                                     const weir_protobuf_json_options *options,
                                     ProtobufCMessage **ret_message)
{
    char *copy = malloc(n > 0 ? n : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, text, n);
    weir_status status = weir_protobuf_from_json(type, copy, n, options, &r->arena, ret_message,
                                                 &r->why);
    memset(copy, '#', n);
    free(copy);
    return status;
}

static inline weir_status rig_write(rig *r, const ProtobufCMessage *message,
                                    const weir_protobuf_json_options *options)
{
    r->text.len = 0;
    weir_status status = weir_protobuf_to_json(message, options, &r->text, &r->why);
    if (status == WEIR_OK && weir_bytes_append(&r->text, "", 1) == WEIR_OK)
        r->text.len--;
    return status;
}

/* What a text is when it was read and written again. */
static inline void check_becomes(const ProtobufCMessageDescriptor *type, const char *text,
                                 const char *expected, const weir_protobuf_json_options *options)
{
    rig r;
    ProtobufCMessage *message = NULL;
    rig_begin(&r, NULL);
    if (rig_read_n(&r, type, text, strlen(text), options, &message) != WEIR_OK)
        fail_msg("%s: not read: %s", text, r.why);
    if (rig_write(&r, message, options) != WEIR_OK)
        fail_msg("%s: not written: %s", text, r.why);
    assert_string_equal(r.text.at, expected);
    rig_end(&r);
}

static inline void check_same(const ProtobufCMessageDescriptor *type, const char *text)
{
    check_becomes(type, text, text, &rig_strict);
}

static inline void check_refused_as(const ProtobufCMessageDescriptor *type, const char *text,
                                    weir_status expected, const char *why,
                                    const weir_protobuf_json_options *options)
{
    rig r;
    ProtobufCMessage *message = NULL;
    rig_begin(&r, NULL);
    weir_status status = rig_read_n(&r, type, text, strlen(text), options, &message);
    if (status != expected || (why != NULL && strcmp(why, r.why) != 0))
        fail_msg("%s: %d %s, not %d %s", text, status, r.why, expected, why != NULL ? why : "");
    assert_null(message);
    rig_end(&r);
}

static inline void check_refused(const ProtobufCMessageDescriptor *type, const char *text)
{
    check_refused_as(type, text, WEIR_EPROTO, NULL, &rig_strict);
}

#endif
