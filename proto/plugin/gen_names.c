/* How names of a .proto become names of C. */
#include <string.h>

#include "gen.h"

static bool is_upper(char c)
{
    return c >= 'A' && c <= 'Z';
}

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char to_lower(char c)
{
    return is_upper(c) ? (char)(c - 'A' + 'a') : c;
}

static bool is_word(const char *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = name[i];
        if (!is_upper(c) && !is_lower(c) && c != '_' && !(is_digit(c) && i > 0)) {
            return false;
        }
    }
    return n > 0 && n <= WI_GEN_NAME_BYTES_MAX;
}

bool wi_gen_is_identifier(const char *name)
{
    return is_word(name, strlen(name));
}

bool wi_gen_is_dotted(const char *name)
{
    if (strlen(name) > WI_GEN_NAME_BYTES_MAX) {
        return false;
    }
    for (;;) {
        size_t n = strcspn(name, ".");
        if (!is_word(name, n)) {
            return false;
        }
        if (name[n] == '\0') {
            return true;
        }
        name += n + 1;
    }
}

char *wi_gen_snake(wi_gen_pool *pool, const char *name)
{
    wi_gen_text text;
    wi_gen_text_init(&text, pool);
    for (size_t i = 0; name[i] != '\0'; i++) {
        char c = name[i];
        char before = i > 0 ? name[i - 1] : '_';
        bool word = is_lower(before) || is_digit(before) ||
                    (is_upper(before) && is_lower(name[i + 1]));
        wi_gen_put(&text, "%s%c", is_upper(c) && word ? "_" : "", c == '.' ? '_' : to_lower(c));
    }
    return text.at;
}

char *wi_gen_c_type(wi_gen_pool *pool, const char *full_name)
{
    wi_gen_text text;
    wi_gen_text_init(&text, pool);
    bool up = true;
    for (const char *at = full_name; *at != '\0'; at++) {
        if (*at == '.') {
            wi_gen_put(&text, "__");
            up = true;
        } else if (*at == '_') {
            up = true;
        } else {
            wi_gen_put(&text, "%c", up && is_lower(*at) ? *at - 'a' + 'A' : *at);
            up = false;
        }
    }
    return text.at;
}

char *wi_gen_c_lower(wi_gen_pool *pool, const char *full_name)
{
    wi_gen_text text;
    wi_gen_text_init(&text, pool);
    bool was_upper = true; /* no underscore in front */
    for (const char *at = full_name; *at != '\0'; at++) {
        if (*at == '.') {
            wi_gen_put(&text, "__");
            was_upper = true;
            continue;
        }
        wi_gen_put(&text, "%s%c", is_upper(*at) && !was_upper ? "_" : "", to_lower(*at));
        was_upper = is_upper(*at);
    }
    return text.at;
}

char *wi_gen_flat(wi_gen_pool *pool, const char *path)
{
    char *flat = wi_gen_print(pool, "%s%s", is_digit(path[0]) ? "f_" : "", path);
    for (char *at = flat; *at != '\0'; at++) {
        if (!is_upper(*at) && !is_lower(*at) && !is_digit(*at)) {
            *at = '_';
        }
    }
    return flat;
}

bool wi_gen_is_keyword(const char *name)
{
    static const char *const words =
        " alignas alignof and and_eq asm atomic_cancel atomic_commit atomic_noexcept auto bitand"
        " bitor bool break case catch char char16_t char32_t char8_t class co_await co_return"
        " co_yield compl complex concept const const_cast consteval constexpr constinit continue"
        " decltype default delete do double dynamic_cast else enum explicit export extern false"
        " float for friend goto if imaginary inline int long mutable namespace new noexcept not"
        " not_eq nullptr operator or or_eq private protected public reflexpr register"
        " reinterpret_cast requires restrict return short signed sizeof static static_assert"
        " static_cast struct switch synchronized template this thread_local throw true try typedef"
        " typeid typename typeof typeof_unqual union unix linux unsigned using virtual void"
        " volatile wchar_t while xor xor_eq handlers service user ";
    size_t n = strlen(name);
    for (const char *at = strstr(words, name); at != NULL && n > 0; at = strstr(at + 1, name)) {
        if (at[-1] == ' ' && at[n] == ' ') {
            return true;
        }
    }
    return false;
}
