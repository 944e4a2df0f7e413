/* An order on its way: what its client is told when it gets no further. */
#include "service.h"

/* What a failure is to the client, and whose it is. */
static refusal refusal_of(const work *w, weir_outcome outcome, weir_status status)
{
    static const char *const whys[] = {
        [AT_ADMISSION] = "given up before it was begun; it was not stored",
        [AT_PRICING] = "the pricing service does not answer; it was not stored",
        [AT_STORE] = "the store does not answer; it may have been stored, repeat it",
        [AT_NOTIFICATION] = "it was stored, but not announced; repeat it",
    };
    refusal r = { .status = 503,
                  .error = "unavailable",
                  .why = w->is_query ? "the store does not answer" : whys[w->step],
                  .header = "Retry-After",
                  .value = "1" };
    if (outcome == WEIR_FAILED && status == WEIR_EDEADLINE) {
        r.status = 504;
        r.error = "deadline exceeded";
    } else if (w->step == AT_PRICING && status == WEIR_ENOTFOUND) {
        r = (refusal){ .status = 422,
                       .error = "not an order",
                       .field = "id",
                       .why = "the pricing service does not know it" };
    } else if (w->step == AT_STORE && (status == WEIR_EINVAL || status == WEIR_EREJECTED)) {
        r = (refusal){ .status = 422,
                       .error = "not an order",
                       .field = "body",
                       .why = "the store cannot hold it" };
    }
    return r;
}

/* Nobody is waiting any more: it is counted, and said now and then. */
static void note_failure(work *w, weir_status status)
{
    static const char *const steps[] = { "admission", "pricing", "store", "notification" };
    uint64_t before = atomic_fetch_add(&w->service->failed_after_reply, 1);
    if (before < 10 || before % 1000 == 0)
        weir_log(&w->service->env, WEIR_LOG_WARN,
                 "order %s failed after it was answered \"queued\": %s: %s (%llu so far)",
                 w->order.id, steps[w->step], weir_status_text(status),
                 (unsigned long long)before + 1);
}

static void work_ended(weir_item *item, weir_outcome outcome, weir_status status)
{
    work *w = work_of(item);
    bool is_good = outcome == WEIR_ACKED || outcome == WEIR_FILTERED;
    if (w->replied) {
        if (!is_good && w->service->options.queued && !w->is_query)
            note_failure(w, status);
        return;
    }
    refusal r = refusal_of(w, outcome, status);
    w->service->door->refused(w->request, &r);
}

const weir_item_type work_type = { .name = "order", .ended = work_ended };
