/* The version of the library, for programs that want to know what they run on. */
#include <weir/version.h>

const char *weir_version(void)
{
    return WEIR_VERSION;
}

int weir_version_number(void)
{
    return WEIR_VERSION_NUMBER;
}
