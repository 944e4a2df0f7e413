/* async: a user's functions on core's asynchronous mechanism. */
#include <weir/stages.h>

static weir_status fn_check(const void *config, const char **why)
{
    if (((const weir_async_fn_config *)config)->start != NULL)
        return WEIR_OK;
    *why = "needs a start function";
    return WEIR_EINVAL;
}

static void fn_start(weir_op *op, void *state)
{
    (void)state;
    const weir_async_fn_config *config = weir_async_config(op->stage);
    config->start(op, config->user);
}

static void fn_cancel(weir_op *op, weir_status status, void *state)
{
    (void)state;
    const weir_async_fn_config *config = weir_async_config(op->stage);
    config->cancel(op, status, config->user);
}

static void fn_flush(weir_stage *stage, void *state)
{
    (void)state;
    const weir_async_fn_config *config = weir_async_config(stage);
    if (config->flush != NULL)
        config->flush(stage, config->user);
}

/* Two types, because a callback that is there means something: see weir_async_type.cancel. */
#define ASYNC_FN_TYPE(cancel_)                                                       \
    {                                                                                \
        .name = "async", .config_size = sizeof(weir_async_fn_config),                \
        .work_size = WEIR_ASYNC_FN_WORK_BYTES, .check = fn_check, .start = fn_start, \
        .flush = fn_flush, .cancel = (cancel_)                                       \
    }

static const weir_async_type patient_type = ASYNC_FN_TYPE(NULL);
static const weir_async_type cancelled_type = ASYNC_FN_TYPE(fn_cancel);

weir_stage_spec *weir_async(const weir_async_fn_config *config)
{
    weir_async_fn_config c = config != NULL ? *config : (weir_async_fn_config){ 0 };
    weir_async_options options = { .in_flight = c.in_flight,
                                   .unordered = c.unordered,
                                   .timeout_ms = c.timeout_ms };
    const weir_async_type *type = c.cancel != NULL ? &cancelled_type : &patient_type;
    return weir_stage_named(weir_async_of(type, &options, &c), c.name);
}
