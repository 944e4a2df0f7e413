/* Result codes: one list holds code, name and text, for every layer. */
#ifndef WEIR_STATUS_H
#define WEIR_STATUS_H

#if defined(__GNUC__)
#define WEIR_API      __attribute__((visibility("default")))
#define WEIR_MUST_USE __attribute__((warn_unused_result))
#else
#define WEIR_API
#define WEIR_MUST_USE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, code, text). Codes are stable; 0 is success, errors are negative. */
#define WEIR_STATUS_LIST(X)                              \
    X(OK, 0, "ok")                                       \
    X(EINVAL, -1, "invalid argument")                    \
    X(ENOMEM, -2, "out of memory")                       \
    X(EAGAIN, -3, "not now: no credit, or would block")  \
    X(ELIMIT, -4, "a configured limit was exceeded")     \
    X(ECANCELED, -5, "cancelled")                        \
    X(EDEADLINE, -6, "deadline exceeded")                \
    X(EPROTO, -7, "the peer broke the protocol")         \
    X(EIO, -8, "input or output failed")                 \
    X(ECLOSED, -9, "closed")                             \
    X(EUNAVAILABLE, -10, "unavailable, try again later") \
    X(EOVERLOAD, -11, "overloaded")                      \
    X(ENOTFOUND, -12, "not found")                       \
    X(EEXIST, -13, "already exists")                     \
    X(EREJECTED, -14, "rejected")                        \
    X(EUNSUPPORTED, -15, "not supported by this build")  \
    X(EINTERNAL, -16, "a bug in weir or in a stage")     \
    X(EDENIED, -17, "permission denied")                 \
    X(EPARTIAL, -18, "incomplete input")

typedef enum weir_status {
#define WEIR_STATUS_ENUM(name, code, text) WEIR_##name = code,
    WEIR_STATUS_LIST(WEIR_STATUS_ENUM)
#undef WEIR_STATUS_ENUM
} weir_status;

/* How many codes there are: 0 down to -(WEIR_STATUS_COUNT - 1). What a stage or a function of yours
 * says besides, an errno say, counts as WEIR_EINTERNAL for whoever hears of it. */
#define WEIR_STATUS_COUNT 19

/* "EINVAL" and "invalid argument" for WEIR_EINVAL; "?" for a code that is none. Any thread. */
WEIR_API const char *weir_status_name(weir_status status);
WEIR_API const char *weir_status_text(weir_status status);

#ifdef __cplusplus
}
#endif
#endif
