/* A growing buffer with a limit. */
#include <weir/bytes.h>

#define BYTES_MIN     256
#define BYTES_DEFAULT (16 * 1024 * 1024)

weir_status weir_bytes_grow(weir_bytes *buffer, size_t more)
{
    size_t max = buffer->bytes_max == 0 ? BYTES_DEFAULT : buffer->bytes_max;
    if (buffer->len > max || more > max - buffer->len)
        return WEIR_ELIMIT;
    if (more <= buffer->cap - buffer->len)
        return WEIR_OK;
    size_t need = buffer->len + more, cap = buffer->cap < BYTES_MIN ? BYTES_MIN : buffer->cap;
    while (cap < need)
        cap = cap > max / 2 ? max : cap * 2;
    char *at = weir_memory_resize(buffer->env, buffer->at, cap);
    if (at == NULL)
        return WEIR_ENOMEM;
    buffer->at = at;
    buffer->cap = cap;
    return WEIR_OK;
}
