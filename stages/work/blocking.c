/* blocking: a pool of threads that neither grows nor shrinks. */
#include <weir/stages.h>

weir_stage_spec *weir_blocking(const weir_blocking_config *config)
{
    static const weir_blocking_config none;
    if (config == NULL)
        config = &none;
    uint32_t threads = config->threads != 0 ? config->threads : 4;
    return weir_pool(&(weir_pool_config){ .name = config->name != NULL ? config->name : "blocking",
                                          .run = config->run,
                                          .open = config->open,
                                          .close = config->close,
                                          .user = config->user,
                                          .min = threads,
                                          .max = threads,
                                          .queue = config->queue != 0 ? config->queue : threads,
                                          .unordered = config->unordered,
                                          .timeout_ms = config->timeout_ms });
}
