/* The base URL of an HTTP client: scheme, host, port and nothing else. */
#include "http_client_internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool take_scheme(const char **text, wi_http_url *url)
{
    if (strncasecmp(*text, "http://", 7) == 0) {
        *text += 7;
        return true;
    }
    if (strncasecmp(*text, "https://", 8) == 0) {
        *text += 8;
        url->tls = true;
        return true;
    }
    return false;
}

static bool is_host_byte(unsigned char byte, bool bracketed)
{
    return isalnum(byte) || byte == '-' || byte == '.' || byte == '_' || (bracketed && byte == ':');
}

static bool take_host(const char **text, wi_http_url *url)
{
    bool bracketed = **text == '[';
    const char *at = *text + bracketed;
    size_t n = 0;
    while (is_host_byte((unsigned char)at[n], bracketed)) {
        if (n + 1 >= sizeof url->host)
            return false;
        url->host[n] = at[n];
        n++;
    }
    if (n == 0 || (bracketed && at[n] != ']'))
        return false;
    url->host[n] = '\0';
    *text = at + n + bracketed;
    return true;
}

static bool take_port(const char **text, wi_http_url *url)
{
    url->port = url->tls ? 443 : 80;
    if (**text != ':')
        return true;
    unsigned port = 0;
    const char *at = *text + 1;
    for (; isdigit((unsigned char)*at); at++) {
        port = port * 10 + (unsigned)(*at - '0');
        if (port > 65535)
            return false;
    }
    if (port == 0)
        return false;
    url->port = (uint16_t)port;
    *text = at;
    return true;
}

weir_status wi_http_url_parse(const char *text, wi_http_url *ret_url, const char **ret_why)
{
    wi_http_url url = { .tls = false };
    *ret_why = "base_url is missing";
    if (text == NULL)
        return WEIR_EINVAL;
    *ret_why = "base_url must begin with http:// or https://";
    if (!take_scheme(&text, &url))
        return WEIR_EINVAL;
    const char *authority = text;
    *ret_why = "base_url must be scheme://host[:port]";
    if (!take_host(&text, &url) || !take_port(&text, &url))
        return WEIR_EINVAL;
    size_t n = (size_t)(text - authority);
    if (*text == '/')
        text++;
    if (*text != '\0' || n >= sizeof url.authority)
        return WEIR_EINVAL;
    memcpy(url.authority, authority, n);
    *ret_url = url;
    return WEIR_OK;
}
