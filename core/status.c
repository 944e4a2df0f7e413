/* Names and texts of result codes. */
#include <weir/status.h>

const char *weir_status_name(weir_status status)
{
    switch (status) {
#define CASE_NAME(name, code, text) \
    case WEIR_##name:               \
        return #name;
        WEIR_STATUS_LIST(CASE_NAME)
#undef CASE_NAME
    }
    return "?";
}

const char *weir_status_text(weir_status status)
{
    switch (status) {
#define CASE_TEXT(name, code, text) \
    case WEIR_##name:               \
        return text;
        WEIR_STATUS_LIST(CASE_TEXT)
#undef CASE_TEXT
    }
    return "?";
}
