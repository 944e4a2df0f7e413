/* The members of protoc-gen-c's structs: it puts an underscore behind the keywords of C++98 and no
 * others, and has a member of its own. */
#include <string.h>

#include "gen.h"

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* What C since C11, GNU's C and C++ since C++11 keep for themselves, and `base`. */
static bool is_taken(const char *name, size_t n)
{
    static const char *const words[] = {
        "alignas",       "alignof",   "base",         "char16_t",      "char32_t",
        "char8_t",       "co_await",  "co_return",    "co_yield",      "concept",
        "consteval",     "constexpr", "constinit",    "decltype",      "export",
        "linux",         "noexcept",  "nullptr",      "requires",      "restrict",
        "static_assert", "typeof",    "thread_local", "typeof_unqual", "unix",
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strlen(words[i]) == n && memcmp(words[i], name, n) == 0) {
            return true;
        }
    }
    return false;
}

/* Where a line has the name of a member, it is one of two: a declaration, "  int32_t name;", or
 * "    offsetof(Type, name),". Gives the name's end; NULL: neither. */
static const char *member_end(const char *line, const char *end)
{
    static const char own[] = "  ProtobufCMessage base;", of[] = "offsetof(";
    size_t n = (size_t)(end - line);
    if (n < 3 || line[0] != ' ' || line[1] != ' ' ||
        (n == sizeof own - 1 && memcmp(line, own, n) == 0)) {
        return NULL;
    }
    if (end[-1] == ';') {
        return end - 1;
    }
    while (line < end && *line == ' ') {
        line++;
    }
    if ((size_t)(end - line) < sizeof of || memcmp(line, of, sizeof of - 1) != 0) {
        return NULL;
    }
    return memchr(line, ')', (size_t)(end - line));
}

char *wi_gen_members(wi_gen_pool *pool, const char *content)
{
    wi_gen_text text;
    wi_gen_text_init(&text, pool);
    for (const char *line = content; *line != '\0';) {
        const char *end = line + strcspn(line, "\n");
        const char *last = member_end(line, end);
        const char *name = last;
        while (name != NULL && name > line && is_name_char(name[-1])) {
            name--;
        }
        if (name != NULL && is_taken(name, (size_t)(last - name))) {
            wi_gen_append(&text, line, (size_t)(last - line));
            wi_gen_put(&text, "_");
            line = last;
        }
        end += *end == '\n';
        wi_gen_append(&text, line, (size_t)(end - line));
        line = end;
    }
    return text.at;
}
