/* Request targets and authorities: their forms (RFC 9112 section 3.2, RFC 3986) and their parts. */
#include "http1_internal.h"

/* The length of "http://" or "https://" at the start of an absolute target, or 0. */
static size_t scheme_len(const char *target, size_t len)
{
    if (len >= 7 && wi_http1_same(target, "http", 4) && memcmp(target + 4, "://", 3) == 0)
        return 7;
    if (len >= 8 && wi_http1_same(target, "https", 5) && memcmp(target + 5, "://", 3) == 0)
        return 8;
    return 0;
}

static size_t authority_len(const char *at, size_t len)
{
    size_t n = 0;
    while (n < len && at[n] != '/' && at[n] != '?')
        n++;
    return n;
}

/* An address in brackets; returns how long it is, or 0 if it is none. */
static size_t literal_len(const char *at, size_t len)
{
    size_t n = 1;
    while (n < len && (wi_http1_is((unsigned char)at[n], WI_REGNAME) || at[n] == ':'))
        n++;
    return n > 2 && n < len && at[n] == ']' ? n + 1 : 0;
}

static size_t name_len(const char *at, size_t len)
{
    size_t n = 0;
    while (n < len) {
        if (wi_http1_is((unsigned char)at[n], WI_REGNAME))
            n++;
        else if (at[n] == '%' && len - n >= 3 && wi_http1_is((unsigned char)at[n + 1], WI_HEX) &&
                 wi_http1_is((unsigned char)at[n + 2], WI_HEX))
            n += 3;
        else
            break;
    }
    return n;
}

static bool port_ok(const char *at, size_t len)
{
    unsigned port = 0;
    for (size_t i = 0; i < len; i++) {
        if (!wi_http1_is((unsigned char)at[i], WI_DIGIT))
            return false;
        port = port * 10 + (unsigned)(at[i] - '0');
        if (port > 65535)
            return false;
    }
    return true;
}

bool wi_http1_authority_ok(const char *at, size_t len, bool may_be_empty, bool needs_port)
{
    bool literal = len > 0 && at[0] == '[';
    size_t n = literal ? literal_len(at, len) : name_len(at, len);
    if (n == 0 && (literal || !(may_be_empty && len == 0)))
        return false;
    if (n == len)
        return !needs_port;
    return at[n] == ':' && port_ok(at + n + 1, len - n - 1) && (!needs_port || len > n + 1);
}

bool wi_http1_is_raw(unsigned char c)
{
    return c == '{' || c == '}' || c == '|' || c == '\\' || c == '^' || c == '`' || c == '[' ||
           c == ']';
}

bool wi_http1_target_bytes_ok(const char *target, size_t len)
{
    bool in_query = false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)target[i];
        bool bracket = (c == '[' || c == ']') && target[0] != '/';
        bool escape = c == '%' && len - i >= 3 &&
                      wi_http1_is((unsigned char)target[i + 1], WI_HEX) &&
                      wi_http1_is((unsigned char)target[i + 2], WI_HEX);
        if (!wi_http1_is(c, WI_TARGET) && !bracket && !escape && !(in_query && wi_http1_is_raw(c)))
            return false;
        in_query = in_query || c == '?';
    }
    return true;
}

bool wi_http1_target_ok(const char *target, size_t len, bool connect, bool options)
{
    if (len == 0)
        return false;
    if (connect)
        return wi_http1_authority_ok(target, len, false, true);
    if (target[0] == '/')
        return true;
    if (len == 1 && target[0] == '*')
        return options;
    size_t scheme = scheme_len(target, len);
    if (scheme == 0)
        return false;
    size_t authority = authority_len(target + scheme, len - scheme);
    size_t rest = scheme + authority;
    const char *mark = memchr(target + rest, '?', len - rest);
    size_t path = mark != NULL ? (size_t)(mark - target) - rest : len - rest;
    return wi_http1_authority_ok(target + scheme, authority, false, false) &&
           memchr(target + rest, '[', path) == NULL && memchr(target + rest, ']', path) == NULL;
}

void wi_http1_target_split(weir_http1_span target, bool connect, weir_http1_span *ret_path,
                           weir_http1_span *ret_query, weir_http1_span *ret_authority)
{
    weir_http1_span path = target, query = { NULL, 0 }, authority = { NULL, 0 };
    if (connect) {
        authority = target;
        path.at += path.len;
        path.len = 0;
    } else if (target.at[0] != '/' && target.at[0] != '*') {
        size_t scheme = scheme_len(target.at, target.len);
        authority.at = target.at + scheme;
        authority.len = authority_len(authority.at, target.len - scheme);
        path.at += scheme + authority.len;
        path.len -= scheme + authority.len;
    }
    const char *mark = path.len > 0 ? memchr(path.at, '?', path.len) : NULL;
    if (mark != NULL) {
        query.at = mark + 1;
        query.len = (size_t)(path.at + path.len - query.at);
        path.len = (size_t)(mark - path.at);
    }
    *ret_path = path;
    *ret_query = query;
    *ret_authority = authority;
}
