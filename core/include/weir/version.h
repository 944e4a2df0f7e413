/* Which weir this is: at compile time by macros, at run time by a call. */
#ifndef WEIR_VERSION_H
#define WEIR_VERSION_H

#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The one place where the version stands: the build reads it from here. While the major number is
 * 0 the shared library's name carries major and minor, later the major alone. */
#define WEIR_VERSION_MAJOR 0
#define WEIR_VERSION_MINOR 1
#define WEIR_VERSION_PATCH 0
#define WEIR_VERSION       "0.1.0"
/* Comparable: 0x00010203 for 1.2.3. */
#define WEIR_VERSION_NUMBER \
    (WEIR_VERSION_MAJOR << 16 | WEIR_VERSION_MINOR << 8 | WEIR_VERSION_PATCH)

/* The version of the library that is linked, as WEIR_VERSION; static text. Any thread. */
WEIR_API const char *weir_version(void);
/* The same as WEIR_VERSION_NUMBER. */
WEIR_API int weir_version_number(void);

#ifdef __cplusplus
}
#endif
#endif
